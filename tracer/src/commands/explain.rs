//! `tracer explain`: asks why calls of a container failed, and prints it.

use std::{
    io::{self, Write},
    path::Path,
};

use anyhow::Result;

use super::print::safe;
use crate::{
    cli::{self, Format},
    client,
    control::Request,
    report::Explained,
    sinks::text::TextOptions,
};

pub(super) fn run(directory: &Path, arguments: cli::Explain) -> Result<u8> {
    let mut to = io::stdout().lock();
    let json = arguments.output.output == Format::Json;
    let options = TextOptions {
        color: arguments.color.on(&to),
        ..TextOptions::default()
    };
    let request = Request::Explain {
        container: arguments.container,
        text: (!json).then_some(options),
    };
    let explained: Explained = client::ask(directory, &request)?;
    to.write_all(explained.lines.as_bytes())?;
    if !json {
        summary(&mut to, &explained, arguments.expected)?;
    }
    to.flush()?;
    Ok(0)
}

/// What the diagnoses do not tell: failures that mean nothing, and what could not be seen.
fn summary(to: &mut impl Write, explained: &Explained, all: bool) -> io::Result<()> {
    let Explained {
        container,
        state,
        found,
        expected,
        left_out,
        lost,
        filtered,
        counted,
        lines: _,
    } = explained;
    if *found > 0 {
        writeln!(to)?;
    }
    let calls: u64 = expected.iter().map(|row| row.count).sum();
    writeln!(
        to,
        "container {} ({}): {found} {} of failure explained, {calls} failed calls are what programs do and go on",
        safe(&container.name),
        state.name(),
        if *found == 1 { "kind" } else { "kinds" },
    )?;
    if all {
        for row in expected {
            writeln!(
                to,
                "  {:>7} {} {}: {}",
                row.count,
                safe(&row.syscall),
                row.errno.as_deref().unwrap_or("(a signal)"),
                safe(&row.why)
            )?;
        }
    } else if !expected.is_empty() {
        writeln!(to, "  --expected lists them")?;
    }
    if *left_out > 0 {
        writeln!(
            to,
            "  {left_out} failed calls were not looked at: too many kinds, or too many at once"
        )?;
    }
    if *lost > 0 {
        writeln!(to, "  {lost} calls were lost on their way: some may have failed")?;
    }
    if *filtered > 0 {
        writeln!(
            to,
            "  {filtered} calls were left out by the filters of all readers: some may have failed"
        )?;
    }
    if *counted > 0 {
        writeln!(
            to,
            "  {counted} calls were only counted (mode counts): none of them can be explained"
        )?;
    }
    Ok(())
}
