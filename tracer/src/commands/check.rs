//! `tracer check`: one line a need of this machine, found by trying, never by a version number. A need is a function; the
//! table in [`needs`] is the order in which they are told.

mod daemon;
mod kernel;
mod runtimes;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::Path,
};

use anyhow::Result;
use serde::Serialize;

use super::{INCOMPLETE, json_line, print};
use crate::cli::{self, Format};

/// One thing that tracing needs, or can use.
#[derive(Debug, Serialize)]
struct Need {
    need: String,
    ok: bool,
    /// Without it nothing can be traced; of the others one may do without.
    required: bool,
    /// What was found, or how to get it.
    detail: String,
    /// The numbers of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    figures: BTreeMap<&'static str, u64>,
    /// What that rests on, a line each; asked for with `-v`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<String>,
}

impl Need {
    fn new(need: impl Into<String>, required: bool, found: Result<String, String>) -> Self {
        Self {
            need: need.into(),
            ok: found.is_ok(),
            required,
            detail: found.unwrap_or_else(|how| how),
            figures: BTreeMap::new(),
            evidence: Vec::new(),
        }
    }

    /// Something that tracing does not work without.
    fn required(need: impl Into<String>, found: Result<String, String>) -> Self {
        Self::new(need, true, found)
    }

    /// Something that some uses need.
    fn useful(need: impl Into<String>, found: Result<String, String>) -> Self {
        Self::new(need, false, found)
    }

    fn with(mut self, evidence: impl IntoIterator<Item = String>) -> Self {
        self.evidence.extend(evidence);
        self
    }
}

/// Prints the needs; 1 when a required one is missing.
pub(super) fn run(runtime_dir: &Path, asked: &cli::Check) -> Result<u8> {
    let mut needs = needs(runtime_dir);
    if !asked.verbose {
        needs.iter_mut().for_each(|need| need.evidence.clear());
    }
    let mut to = io::stdout().lock();
    match asked.output.output {
        Format::Json => json_line(&mut to, &needs)?,
        Format::Text => print::folded(&mut to, 32, |to| {
            needs.iter().try_for_each(|need| write(to, need))
        })?,
    }
    Ok(if needs.iter().any(|need| need.required && !need.ok) {
        INCOMPLETE
    } else {
        0
    })
}

fn write(to: &mut impl Write, need: &Need) -> io::Result<()> {
    let state = match (need.ok, need.required) {
        (true, _) => "ok",
        (false, true) => "missing",
        (false, false) => "absent",
    };
    writeln!(to, "{state:8} {:22} {}", need.need, print::safe(&need.detail))?;
    let mut evidence = need.evidence.iter();
    evidence.try_for_each(|line| writeln!(to, "{:31} {}", "", print::safe(line)))
}

/// All needs, in the order in which they are told: the kernel, this process, the daemon, the runtimes.
fn needs(runtime_dir: &Path) -> Vec<Need> {
    let mut needs = vec![kernel::privilege(), kernel::btf()];
    needs.extend(kernel::programs());
    needs.extend([
        kernel::pidfd(),
        kernel::lockdown(),
        kernel::seccomp(),
        kernel::unprivileged(),
        kernel::ring(),
        kernel::clock(),
        kernel::realtime(),
        kernel::cgroups(),
        daemon::limits(runtime_dir),
        daemon::configuration(),
        daemon::group(),
        daemon::sockets(runtime_dir),
        daemon::answers(runtime_dir),
        runtimes::hook(),
    ]);
    needs.extend(runtimes::engines(runtime_dir));
    needs.extend(runtimes::programs());
    needs
}

/// A small file of /proc or /sys, trimmed.
fn line(path: impl AsRef<Path>) -> Result<String, String> {
    let path = path.as_ref();
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text.trim().to_owned())
}

/// Evidence: what a file says.
fn says(path: &str) -> String {
    match line(path) {
        Ok(text) => format!("{path}: {text}"),
        Err(why) => why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_fails_nothing_and_what_is_missing_does() {
        let mut text = Vec::new();
        write(&mut text, &Need::useful("group", Err("make it".into()))).unwrap();
        let seen = Need::required("kernel BTF", Ok("there\u{1b}[2J".into())).with(["a line".to_owned()]);
        write(&mut text, &seen).unwrap();
        let pad = " ".repeat(31);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            format!(
                "absent   group                  make it\nok       kernel BTF             there\\u{{1b}}[2J\n{pad} a line\n"
            )
        );
    }
}
