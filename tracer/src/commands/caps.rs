//! `tracer caps`: asks for a container's capabilities and prints them: a table, then what to give a runtime.

use std::{
    fmt::Write as _,
    io::{self, Write},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{json_line, print::safe, told};
use crate::{
    cli::{Format, OfTraced},
    control::Request,
    report::capabilities::{Asked, Capabilities, Capability},
};

/// Kinds of call that a line shows; JSON has all.
const CALLS: usize = 3;

pub(super) fn run(directory: &Path, arguments: OfTraced) -> Result<u8> {
    let request = Request::Caps {
        container: arguments.container.clone(),
    };
    let all = told(directory, &arguments.container, &request, |summary| {
        summary.capabilities
    })?;
    let mut to = io::stdout().lock();
    for capabilities in &all {
        match arguments.output.output {
            Format::Json => json_line(&mut to, capabilities)?,
            Format::Text => write(&mut to, capabilities)?,
        }
    }
    Ok(0)
}

/// `tracer profile capabilities`: only what follows, for programs.
pub(super) fn profile(directory: &Path, arguments: OfTraced) -> Result<u8> {
    let request = Request::Caps {
        container: arguments.container.clone(),
    };
    let mut all = told(directory, &arguments.container, &request, |summary| {
        summary.capabilities
    })?;
    let told = all.pop().context("nothing is known of it")?;
    ensure!(
        all.is_empty(),
        "{}: it is of {} containers, and a profile is for one: record one alone (`tracer record CONTAINER`)",
        arguments.container,
        all.len() + 1
    );
    if let Some(reason) = &told.unseen {
        bail!(
            "the capability checks of {} were not seen: {reason}",
            told.container.id
        );
    }
    let mut to = io::stdout().lock();
    match arguments.output.output {
        Format::Json => json_line(&mut to, &profile_json(&told))?,
        Format::Text => {
            write!(to, "--cap-drop=ALL")?;
            for name in told.least() {
                write!(to, " --cap-add={name}")?;
            }
            writeln!(to)?;
        }
    }
    Ok(0)
}

/// `capabilities` is as Kubernetes has it in a securityContext.
fn profile_json(told: &Capabilities) -> Value {
    json!({
        "capabilities": {"drop": ["ALL"], "add": told.least()},
        "missing": told.missing(),
        "given_up": told.given_up(),
        "out_of_reach": told.out_of_reach(),
    })
}

/// The table, and what follows from it.
pub(super) fn write(to: &mut impl Write, told: &Capabilities) -> io::Result<()> {
    writeln!(
        to,
        "container      {} ({}), {}",
        safe(&told.container.name),
        safe(&told.container.id),
        told.state.name()
    )?;
    if let Some(reason) = &told.unseen {
        return writeln!(to, "not seen       {}", safe(reason));
    }
    match &told.held {
        Some(held) => {
            let place = match held.user_ns_level {
                0 => "the initial user namespace".to_owned(),
                level => format!("a user namespace of its own, level {level}"),
            };
            writeln!(
                to,
                "held           {} when the application began, in {place}",
                held.effective.len()
            )?;
            let bound = held.bounding.len();
            writeln!(
                to,
                "at most        {} permitted, {bound} in the bounding set",
                held.permitted.len()
            )?;
        }
        None => writeln!(to, "held           not known: nobody saw its application begin")?,
    }
    if told.late {
        writeln!(
            to,
            "late           it ran already when it was registered: what it needed before is not here"
        )?;
    }
    if told.overflow > 0 {
        writeln!(
            to,
            "overflow       {} checks found no row: the lists may lack some",
            told.overflow
        )?;
    }
    table(to, told)?;
    advice(to, told)
}

fn table(to: &mut impl Write, told: &Capabilities) -> io::Result<()> {
    let width = told
        .capabilities
        .iter()
        .map(|capability| capability.name.len())
        .max()
        .unwrap_or(0)
        .max("CAPABILITY".len());
    writeln!(
        to,
        "\n{:width$} {:10} {:4} {:9} ASKED BY",
        "CAPABILITY", "VERDICT", "HELD", "NAMESPACE"
    )?;
    let mut lines: Vec<&Capability> = told.capabilities.iter().collect();
    lines.sort_by_key(|capability| capability.verdict);
    for capability in lines {
        let held = match capability.held {
            Some(true) => "yes",
            Some(false) => "no",
            None => "?",
        };
        let namespace = capability.asked.first().map_or_else(|| "-".to_owned(), namespace);
        let line = format!(
            "{:width$} {:10} {held:4} {namespace:9} {}",
            capability.name,
            capability.verdict.name(),
            asked_by(capability)
        );
        writeln!(to, "{}", line.trim_end())?;
    }
    Ok(())
}

fn namespace(asked: &Asked) -> String {
    match (asked.own_user_ns, asked.user_ns_level) {
        (_, 0) => "initial".into(),
        (true, _) => "own".into(),
        (false, level) => format!("level {level}"),
    }
}

/// `chown 3, bind 1 (1 refused)`, and why it is no more.
fn asked_by(capability: &Capability) -> String {
    let mut text = String::new();
    for asked in capability.asked.iter().take(CALLS) {
        if !text.is_empty() {
            text.push_str(", ");
        }
        // A String takes all that is written.
        let _whole = write!(
            text,
            "{} {}",
            asked.syscall.as_deref().unwrap_or("outside any call"),
            asked.checks
        );
        if asked.refused > 0 {
            let _whole = write!(text, " ({} refused)", asked.refused);
        } else if !asked.granted {
            text.push_str(" (without it)");
        }
    }
    if capability.asked.len() > CALLS {
        let _whole = write!(text, ", {} more", capability.asked.len() - CALLS);
    }
    if let Some(note) = &capability.note {
        let _whole = write!(text, ": {note}");
    }
    text
}

fn advice(to: &mut impl Write, told: &Capabilities) -> io::Result<()> {
    let (least, missing) = (told.least(), told.missing());
    write!(to, "\npodman, docker --cap-drop ALL")?;
    for name in &least {
        write!(to, " --cap-add {name}")?;
    }
    let quoted: Vec<_> = least.iter().map(|name| format!("{name:?}")).collect();
    writeln!(to, "\nKubernetes     securityContext:")?;
    writeln!(to, "                 capabilities:")?;
    writeln!(to, "                   drop: [\"ALL\"]")?;
    if !quoted.is_empty() {
        writeln!(to, "                   add: [{}]", quoted.join(", "))?;
    }
    if !missing.is_empty() {
        writeln!(
            to,
            "denied         calls failed for want of {}: --cap-add, if they should succeed; `tracer explain` says what else would do",
            missing.join(", ")
        )?;
    }
    let given_up = told.given_up();
    if !given_up.is_empty() {
        writeln!(
            to,
            "given up       calls failed for want of {}, which the container was given: not by the task that called, \
             another user's or one that had dropped it",
            given_up.join(", ")
        )?;
    }
    let out_of_reach = told.out_of_reach();
    if !out_of_reach.is_empty() {
        writeln!(
            to,
            "out of reach   {}: asked for in a user namespace above the container's, where no flag of a rootless \
             container gives it",
            out_of_reach.join(", ")
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
