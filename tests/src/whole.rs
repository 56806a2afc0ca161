//! A container that was seen whole: from the first call of its program to the last, with books that balance.

use crate::{Daemon, Event, event::Sequence};
use anyhow::{Context, Result, ensure};

/// A container of one program: seen whole, with its own execve first and its exit_group last.
pub fn seen_whole(daemon: &Daemon, id: &str, events: &[Event], program: &str) -> Result<()> {
    Sequence::of(events)?.whole(true)?;
    let app: Vec<&Event> = events
        .iter()
        .filter(|event| event.is_syscall() && event.is_app())
        .collect();
    let first = app.first().context("no application event")?;
    let quoted = format!("\"{program}\"");
    assert_eq!(
        (first.syscall(), first.0["ret"].as_i64(), first.arg(0)),
        ("execve", Some(0), &*quoted),
        "{}",
        first.0
    );
    // runc's init is dead by then, so no other call may follow.
    assert_eq!(app.last().map(|event| event.syscall()), Some("exit_group"));
    ensure!(
        events.iter().all(|event| event.0["container"]["id"] == id),
        "an event of another container"
    );
    ensure!(
        app.iter().all(|event| event.text("via") == "start"),
        "an event marked as joined"
    );
    let verdict = daemon.verdict_at_end(id)?;
    verdict.whole()?;
    let lines = events.iter().filter(|event| event.is_syscall()).count() as u64;
    assert_eq!(verdict.book("decoded")?, lines, "lines {lines}: {}", verdict.0);
    ensure!(
        verdict.number("/first_exec_ktime")? > 0,
        "no first execve: {}",
        verdict.0
    );
    ensure!(verdict.0["armed_at"].is_string(), "no receipt: {}", verdict.0);
    Ok(())
}
