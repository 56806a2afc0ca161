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
    let kinds = if *found == 1 { "kind" } else { "kinds" };
    let seen = match (found, calls) {
        (0, 0) => "no failed call was seen".to_owned(),
        (0, calls) => format!("no failure to explain; {calls} failed calls mean nothing"),
        (found, calls) => format!("{found} {kinds} of failure explained; {calls} failed calls mean nothing"),
    };
    let listed = if all || expected.is_empty() {
        ""
    } else {
        " (--expected lists them)"
    };
    writeln!(
        to,
        "container {} ({}): {seen}{listed}",
        safe(&container.name),
        state.name()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Expected, State};

    fn said(found: usize, expected: &[u64], all: bool) -> String {
        let explained = Explained {
            container: serde_json::from_str(r#"{"id":"web","name":"web"}"#).unwrap(),
            state: State::Gone,
            lines: String::new(),
            found,
            expected: expected
                .iter()
                .map(|count| Expected {
                    syscall: "access".into(),
                    errno: Some("ENOENT".into()),
                    why: "a search".into(),
                    count: *count,
                })
                .collect(),
            left_out: 0,
            lost: 0,
            filtered: 0,
            counted: 0,
        };
        let mut to = Vec::new();
        summary(&mut to, &explained, all).unwrap();
        String::from_utf8(to).unwrap().trim_start().to_owned()
    }

    #[test]
    fn the_last_line_says_what_there_was() {
        assert_eq!(
            said(0, &[], false),
            "container web (gone): no failed call was seen\n"
        );
        assert_eq!(
            said(0, &[2, 3], false),
            "container web (gone): no failure to explain; 5 failed calls mean nothing (--expected lists them)\n"
        );
        assert_eq!(
            said(1, &[], false),
            "container web (gone): 1 kind of failure explained; 0 failed calls mean nothing\n"
        );
        assert_eq!(
            said(2, &[1], true),
            "container web (gone): 2 kinds of failure explained; 1 failed calls mean nothing\n        1 access ENOENT: a search\n"
        );
    }
}
