//! What a container may ask for by annotation.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use tracer_tests::{Bundle, Daemon, Event, Rootfs, Runtime, Verdict};

const WORK: [&str; 3] = [
    "/bin/sh",
    "-c",
    "i=0; while [ $i -lt 101 ]; do i=$((i+1)); cat /none-$((i%7)) 2>/dev/null; done",
];

/// Runs it with these annotations; its events, its books, and its id.
fn run(daemon: &Daemon, annotations: &[(&str, &str)]) -> Result<(Vec<Event>, Verdict, String)> {
    let bundle = Bundle::traced("asks", Rootfs::Busybox, &WORK, daemon)?.annotations(annotations);
    let tail = daemon.tail_all(&bundle.id)?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.wait()?;
    let id = container.id().to_owned();
    let verdict = daemon.verdict_at_end(&id)?;
    let (_, text, _) = tail.end()?;
    Ok((tracer_tests::event::parse(&text)?, verdict, id))
}

fn calls(events: &[Event]) -> BTreeSet<&str> {
    events
        .iter()
        .filter(|event| event.is_syscall())
        .map(Event::syscall)
        .collect()
}

fn warnings(events: &[Event]) -> Vec<&str> {
    events
        .iter()
        .filter(|event| event.text("type") == "container" && event.text("state") == "warning")
        .map(|event| event.text("warning"))
        .collect()
}

#[test]
fn counts_alone() -> Result<()> {
    let daemon = Daemon::start()?;
    let (events, verdict, id) = run(&daemon, &[("container-tracer.io/mode", "counts")])?;
    assert_eq!((calls(&events), warnings(&events)), (BTreeSet::new(), vec![]));
    verdict.whole()?;
    ensure!(verdict.book("counted")? == verdict.book("admitted")? && verdict.book("emitted")? == 0);
    let counts = daemon.stats(&id)?.counts()?;
    ensure!(counts.get("openat").copied().unwrap_or(0) >= 101, "{counts:?}");
    Ok(())
}

#[test]
fn a_filter_holds_for_every_reader() -> Result<()> {
    let daemon = Daemon::start()?;
    let filter = ("container-tracer.io/filter", "trace=openat,open -Z -P /none-3");
    let (events, verdict, id) = run(&daemon, &[filter])?;
    verdict.whole()?;
    ensure!(verdict.book("filtered")? > 0, "{}", verdict.0);
    let opens: Vec<_> = events.iter().filter(|event| event.is_syscall()).collect();
    // 3, 10, … 94, 101: what a shell's own look-ups do is of other names.
    assert_eq!(opens.len(), 15, "{events:?}");
    for open in opens {
        let named = [open.arg(0), open.arg(1)].contains(&"\"/none-3\"");
        ensure!(named && open.text("errno") == "ENOENT", "{}", open.0);
    }
    // The replay is of no more, and the counts are of all.
    let replay = daemon
        .tail_of("replay", &["-o", "json", "--phase", "all", &id])?
        .events()?;
    assert_eq!(replay.iter().filter(|event| event.is_syscall()).count(), 15);
    ensure!(daemon.stats(&id)?.counts()?.contains_key("close"));
    Ok(())
}

#[test]
fn a_rate_holds_and_what_it_costs_is_told() -> Result<()> {
    let daemon = Daemon::start()?;
    let (events, verdict, _) = run(&daemon, &[("container-tracer.io/event-rate", "211")])?;
    verdict.balances()?;
    let over = verdict.book("dropped/rate_limit")?;
    ensure!(over > 0, "{}", verdict.0);
    let told: u64 = events
        .iter()
        .filter(|event| event.text("type") == "loss" && event.text("reason") == "rate_limit")
        .filter_map(|event| event.0["count"].as_u64())
        .sum();
    assert_eq!(told, over);
    // Nobody else pays for it.
    let (_, verdict, _) = run(&daemon, &[])?;
    verdict.whole()
}

#[test]
fn what_is_not_understood_or_not_allowed_is_told_and_ignored() -> Result<()> {
    let daemon = Daemon::start_with(&[
        "--annotation-options",
        "filter,event-rate",
        "--max-event-rate",
        "100000",
    ])?;
    let (events, verdict, id) = run(
        &daemon,
        &[
            ("container-tracer.io/mode", "counts"),
            ("container-tracer.io/filter", "trace=no_such_call"),
            ("container-tracer.io/event-rate", "100001"),
            ("container-tracer.io/colour", "red"),
        ],
    )?;
    verdict.whole()?;
    ensure!(calls(&events).len() > 5, "it is traced all the same");
    let told = warnings(&events);
    assert_eq!(told.len(), 4, "{told:?}");
    for (what, why) in [
        ("mode", "not allowed"),
        ("filter", "no_such_call"),
        ("event-rate", "100000"),
        ("colour", "no option"),
    ] {
        let about = format!("annotation container-tracer.io/{what} ");
        let warning = told.iter().find(|text| text.starts_with(&about)).context(what)?;
        ensure!(warning.contains(why), "{warning}");
    }
    // In text they stand without being asked for, also for who comes late.
    let text = daemon.tail_of("text", &[&id])?.text()?;
    assert_eq!(
        text.lines().filter(|line| line.contains("it is ignored")).count(),
        4,
        "{text}"
    );
    Ok(())
}
