//! Ways to take calls: what a mode leaves out is left out, all else is as in full, and the books balance.

use anyhow::{Context, Result, ensure};
use std::{collections::BTreeMap, fs};
use tracer_tests::{
    Verdict,
    daemon::Stats,
    event::{self, Event},
    programs,
};

struct Run {
    events: Vec<Event>,
    verdict: Verdict,
    stats: Stats,
}

fn run(options: &[&str], args: &[&str]) -> Result<Run> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name);
    let mut command = programs::command(programs::tracer()?);
    command
        .args(["run", "-o", "json"])
        .arg("-w")
        .arg(path("events"))
        .arg("--verify")
        .arg(path("verify"))
        .arg("--stats")
        .arg(path("stats"))
        .args(options)
        .arg("--")
        .args(args);
    let out = programs::output(&mut command)?;
    ensure!(out.status.success(), "{}: {}", out.status, programs::both(&out));
    let read = |name: &str| fs::read_to_string(path(name)).with_context(|| programs::both(&out));
    let lines = read("events")?;
    // The last line of a summary is its table.
    let lines = lines.lines().filter(|line| line.contains("\"type\""));
    Ok(Run {
        events: lines.map(Event::parse).collect::<Result<_>>()?,
        verdict: Verdict::parse(&read("verify")?)?,
        stats: Stats::parse(&read("stats")?)?,
    })
}

const SCRIPT: [&str; 3] = [
    "/bin/sh",
    "-c",
    "for i in 1 2 3; do /bin/true; done; /bin/cat /nonexistent 2>/dev/null; exec /bin/echo done",
];

/// What a call is without its time: name, arguments as text but for addresses (and the environment, which is told beside
/// its address where that is known), result.
fn key(event: &Event) -> (String, Vec<String>, String) {
    let args = event.0["args"].as_array().into_iter().flatten();
    let args = args
        .map(|arg| arg["text"].as_str().unwrap_or_default().to_owned())
        .filter(|text| !text.contains("0x") && !text.contains(" vars */"))
        .collect();
    (event.syscall().to_owned(), args, event.text("errno").to_owned())
}

/// How often each call was made; calls that did not return and those whose number or arguments differ from run to run
/// are left out.
fn made(events: &[Event]) -> BTreeMap<(String, Vec<String>, String), usize> {
    let mut made = BTreeMap::new();
    for event in events
        .iter()
        .filter(|event| event.is_syscall() && event.returned())
    {
        if ![
            "wait4",
            "rt_sigreturn",
            "set_tid_address",
            "getrandom",
            "prlimit64",
        ]
        .contains(&event.syscall())
        {
            *made.entry(key(event)).or_default() += 1;
        }
    }
    made
}

#[test]
fn without_durations_the_calls_are_the_same() -> Result<()> {
    let full = run(&[], &SCRIPT)?;
    let mode = run(&["--mode", "no-duration"], &SCRIPT)?;
    mode.verdict.whole()?;
    assert_eq!(mode.verdict.book("in_flight")?, 0, "{}", mode.verdict.0);
    for event in mode.events.iter().filter(|event| event.is_syscall()) {
        ensure!(event.0["duration_ns"].is_null(), "timed: {}", event.0);
    }
    // The first call, too: execve with what it was called with, taken from the program's own memory.
    let execs = |run: &Run| -> Vec<_> {
        let execs = run.events.iter().filter(|event| event.syscall() == "execve");
        execs.map(key).collect()
    };
    assert_eq!(execs(&mode), execs(&full));
    assert_eq!(execs(&mode).len(), 6, "{:?}", execs(&mode));
    assert_eq!(made(&mode.events), made(&full.events));
    Ok(())
}

#[test]
fn counts_are_those_of_full_and_of_no_event() -> Result<()> {
    let calls = programs::workload("calls")?.display().to_string();
    let full = run(&["-C"], &[&calls, "20011"])?;
    let mode = run(&["--mode", "counts"], &[&calls, "20011"])?;
    mode.verdict.whole()?;
    assert_eq!(mode.verdict.book("counted")?, mode.verdict.book("admitted")?);
    ensure!(mode.events.is_empty(), "{} events", mode.events.len());
    assert_eq!(
        event::difference("full", &full.stats.counts()?, "counts", &mode.stats.counts()?),
        None
    );
    let row = |run: &Run, field: &str| -> Result<u64> {
        let rows = run.stats.0["calls"].as_array().context("no rows")?;
        let row = rows
            .iter()
            .find(|row| row["syscall"] == "getppid")
            .context("no getppid")?;
        row[field].as_u64().with_context(|| format!("no {field}: {row}"))
    };
    assert_eq!((row(&full, "calls")?, row(&full, "timed")?), (20_011, 20_011));
    assert_eq!((row(&mode, "calls")?, row(&mode, "timed")?), (20_011, 0));
    Ok(())
}

#[test]
fn what_a_filter_drops_by_name_is_counted_and_not_timed() -> Result<()> {
    let calls = programs::workload("calls")?.display().to_string();
    let run = run(&["-e", "trace=execve"], &[&calls, "20011"])?;
    run.verdict.whole()?;
    let shown = run.events.iter().filter(|event| event.is_syscall());
    assert_eq!(shown.map(Event::syscall).collect::<Vec<_>>(), ["execve"]);
    ensure!(run.verdict.book("filtered")? > 20_011, "{}", run.verdict.0);
    let rows = run.stats.0["calls"].as_array().context("no rows")?;
    let row = rows
        .iter()
        .find(|row| row["syscall"] == "getppid")
        .context("no getppid")?;
    assert_eq!(
        (&row["calls"], &row["timed"], &row["errors"]),
        (&20_011.into(), &0.into(), &0.into())
    );
    let unfinished = rows
        .iter()
        .find(|row| row["syscall"] == "exit_group")
        .context("no exit_group")?;
    assert_eq!(unfinished["unfinished"], 1, "{unfinished}");
    Ok(())
}
