//! A program cannot make us tell what is not so: what could not be read says so, and what was cut says so.

use anyhow::{Context, Result, ensure};
use std::fs;
use tracer_tests::{Event, Verdict, event, programs};

struct Seen {
    events: Vec<Event>,
}

impl Seen {
    /// The one call of `hostile` that has this first argument.
    fn call(&self, first: &str) -> Result<&Event> {
        let mut found = self.events.iter().filter(|event| event.arg(0) == first);
        let call = found.next().with_context(|| format!("no call on {first}"))?;
        ensure!(found.next().is_none(), "more than one call on {first}");
        Ok(call)
    }

    /// Its second argument has that text and is marked so.
    fn holds(&self, first: &str, text: &str, truncated: bool, fault: bool) -> Result<()> {
        let arg = &self.call(first)?.0["args"][1];
        let is = |mark: &str| arg[mark].as_bool().unwrap_or(false);
        let shown = arg["text"].as_str().unwrap_or_default();
        ensure!(
            shown.starts_with(text) && is("truncated") == truncated && is("fault") == fault,
            "{first}: {arg}"
        );
        Ok(())
    }
}

#[test]
fn partial_memory_is_marked() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name);
    let mut command = programs::command(programs::tracer()?);
    command.args(["run", "-o", "json", "-w"]).arg(path("events"));
    command
        .arg("--verify")
        .arg(path("verify"))
        .arg("--")
        .arg(programs::workload("hostile")?);
    programs::success(&mut command)?;
    Verdict::parse(&fs::read_to_string(path("verify"))?)?.whole()?;
    let seen = Seen {
        events: event::parse(&fs::read_to_string(path("events"))?)?,
    };

    // No pointer, and a string that runs into nothing: the address, never a part of it as if it were all.
    seen.holds("1001", "0x10", false, true)?;
    seen.holds("1002", "0x", false, true)?;
    seen.holds("1003", "0x", false, true)?;
    // Memory that ends exactly where the page does is whole.
    seen.holds("1004", "\"abcd\"", false, false)?;
    seen.holds("1005", "\"abc\"", false, false)?;
    let first = "[{iov_base=0x";
    seen.holds("1006", first, true, false)?;
    ensure!(seen.call("1006")?.arg(1).ends_with(", ...]"));
    // Addresses alone are shown of these, so that nothing is missing.
    seen.holds("1007", first, false, false)?;
    ensure!(seen.call("1007")?.arg(1).ends_with("{iov_base=0x10, iov_len=5}]"));
    seen.holds("1008", "0x", false, true)?;
    seen.holds(
        "\"/nothing/here\"",
        "[\"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\"..., ",
        true,
        false,
    )?;
    let poll = seen
        .events
        .iter()
        .find(|event| event.syscall() == "poll" && event.arg(1) == "1000");
    let ufds = &poll.context("no poll")?.0["args"][0];
    ensure!(
        ufds["fault"] == true && ufds["text"].as_str().is_some_and(|text| text.starts_with("0x")),
        "{ufds}"
    );

    // Bytes that change while they are read: what is shown was there, byte by byte, and is a string in quotes.
    let mut changing = 0;
    for event in seen.events.iter().filter(|event| event.arg(0) == "1009") {
        let text = event.arg(1).trim_matches('"');
        let whole = event.arg(1).len() == text.len() + 2 && text.len() == 64;
        ensure!(
            whole && text.bytes().all(|byte| matches!(byte, b'a' | b'b')) || text.is_empty(),
            "{}",
            event.arg(1)
        );
        changing += 1;
    }
    ensure!(changing == 2000, "{changing} of 2000 calls");
    Ok(())
}
