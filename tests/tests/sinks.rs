//! Configured sinks: what they hold is what was called, over rotations, full disks and readers that are away.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};
use tracer_tests::{
    Bundle, Daemon, Rootfs, Runtime, Verdict, event, faults::Disk, journal::Journal, programs, wait,
};

/// A daemon with these sinks.
fn daemon(dir: &Path, sinks: &str) -> Result<Daemon> {
    let path = dir.join("tracer.toml");
    fs::write(&path, sinks)?;
    Daemon::start_with(&["--config", path.to_str().context("a path that is no text")?])
}

/// Runs a container that makes so many calls of one name, to its end.
fn run(daemon: &Daemon, what: &str, calls: u64) -> Result<Verdict> {
    let args = ["/workloads/calls", &calls.to_string(), "sched_get_priority_max"];
    let mut container = Runtime::Runc.start(Bundle::traced(what, Rootfs::Host, &args, daemon)?)?;
    container.success()?;
    let verdict = daemon.verdict_at_end(container.id())?;
    verdict.whole()?;
    Ok(verdict)
}

/// The books of a sink once all is delivered or dropped.
fn settled(daemon: &Daemon, id: &str, sink: &str) -> Result<Value> {
    wait::until("the sink to have all", wait::LONG, || {
        let verdict = daemon.verify_now(id)?;
        let sinks = verdict.0["sinks"].as_array().context("no sinks")?;
        let found = sinks
            .iter()
            .find(|found| found["name"] == sink)
            .context("no such sink")?;
        Ok((found["queued"] == 0).then(|| found.clone()))
    })
}

fn id(verdict: &Verdict) -> Result<String> {
    Ok(verdict.0["container"]["id"].as_str().context("no id")?.to_owned())
}

/// What a file and those that were rotated from it hold, the oldest first.
fn whole_text(path: &Path) -> Result<(String, usize)> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .context("no name")?;
    let mut rotated = BTreeSet::<PathBuf>::new();
    for entry in fs::read_dir(path.parent().context("no parent")?)? {
        let found = entry?.path();
        let is_its = found.file_name().and_then(|found| found.to_str());
        if is_its.is_some_and(|found| found.starts_with(&format!("{name}-"))) {
            rotated.insert(found);
        }
    }
    let mut text = String::new();
    for found in &rotated {
        text += &match found.extension().and_then(|word| word.to_str()) {
            Some("gz") => programs::success(programs::command("gzip").arg("-dc").arg(found))?,
            Some("zst") => programs::success(programs::command("zstd").arg("-dcq").arg(found))?,
            _ => fs::read_to_string(found)?,
        };
    }
    Ok((text + &fs::read_to_string(path)?, rotated.len()))
}

#[test]
fn rotated_and_compressed_files_hold_every_call_once() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let sink = |kind: &str, more: &str| {
        let path = dir.path().join(kind);
        format!("[[sink]]\nkind = \"file\"\nname = {kind:?}\npath = {path:?}\nqueue = \"512M\"\n{more}\n")
    };
    const CALLS: u64 = 60_013;
    let text = sink("gzip", "rotate_size = \"4M\"\nkeep = 0\ncompress = \"gzip\"\n")
        + &sink(
            "zstd",
            "rotate_size = \"4M\"\nrotate_every = \"1s\"\nkeep = 0\ncompress = \"zstd\"\n",
        )
        + &sink(
            "plain",
            "rotate_size = \"1M\"\nkeep = 3\nformat = \"text\"\nphases = \"all\"\n",
        );
    let mut daemon = daemon(dir.path(), &text)?;
    let verdict = run(&daemon, "rotate", CALLS)?;
    let id = id(&verdict)?;
    for sink in ["gzip", "zstd", "plain"] {
        let books = settled(&daemon, &id, sink)?;
        let number = |key: &str| {
            books[key]
                .as_u64()
                .with_context(|| format!("no {key} in {books}"))
        };
        assert_eq!(number("dropped")?, 0, "{books}");
        assert_eq!(
            number("written")? + number("skipped")?,
            verdict.book("decoded")?,
            "{books}"
        );
    }
    daemon.stop()?;
    let calls = |name: &str| -> Result<Vec<u64>> {
        let (text, files) = whole_text(&dir.path().join(name))?;
        ensure!(files > 3, "{files} files were rotated of {name}");
        let events = event::parse(&text)?;
        let calls = events
            .iter()
            .filter(|event| event.syscall() == "sched_get_priority_max");
        calls.map(|event| event.number("seq")).collect()
    };
    let gzip = calls("gzip")?;
    assert_eq!(gzip.len() as u64, CALLS);
    ensure!(calls("zstd")? == gzip, "both have the same");
    // The newest of what was kept ends where all ends, and no line is torn.
    let (text, files) = whole_text(&dir.path().join("plain"))?;
    assert_eq!(files, 3);
    let broken = text
        .lines()
        .find(|line| !line.contains("[pid ") && !line.contains("container"));
    ensure!(broken.is_none() && text.ends_with('\n'), "{broken:?}");
    Ok(())
}

#[test]
fn a_full_disk_costs_what_is_counted_and_tears_no_line() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let small = Disk::small(dir.path().join("small"), "4M")?;
    let path = small.path().join("calls");
    let ballast = small.path().join("ballast");
    fs::write(&ballast, vec![0; 3 << 20])?;
    let text = format!(
        "[[sink]]\nkind = \"file\"\nname = \"full\"\npath = {path:?}\nqueue = \"1M\"\nphases = \"all\"\nrotate_size = 0\n"
    );
    let mut daemon = daemon(dir.path(), &text)?;
    // Its lines are more than the disk and the queue have room for.
    let first = id(&run(&daemon, "full", 20_011)?)?;
    wait::until("the disk to be full", wait::LONG, || {
        Ok(daemon.log().contains("sink full: write to").then_some(()))
    })?;
    let books = daemon.verify(&first)?.0;
    let sink = &books["sinks"][0];
    ensure!(
        sink["dropped"].as_u64() > Some(0) && sink["queued"].as_u64() > Some(0),
        "{sink}"
    );
    let whole = fs::read_to_string(&path)?;
    ensure!(
        whole.ends_with('\n') && whole.len() < 2 << 20,
        "{} bytes",
        whole.len()
    );

    fs::remove_file(&ballast)?;
    let sink = settled(&daemon, &first, "full")?;
    ensure!(
        daemon.log().contains("sink full: works again"),
        "{}",
        daemon.log()
    );
    let second = id(&run(&daemon, "more", 11)?)?;
    settled(&daemon, &second, "full")?;
    daemon.stop()?;

    let events = event::parse(&fs::read_to_string(&path)?)?;
    let of = |id: &str, kind: &str| {
        let found = events
            .iter()
            .filter(|event| event.container() == id && event.text("type") == kind);
        found.cloned().collect::<Vec<_>>()
    };
    assert_eq!(
        Some(of(&first, "syscall").len() as u64),
        sink["written"].as_u64(),
        "{sink}"
    );
    assert_eq!(
        of(&second, "syscall")
            .iter()
            .filter(|call| call.syscall() == "sched_get_priority_max")
            .count(),
        11
    );
    // What was dropped is told, though the container had gone before there was room.
    let told: u64 = of(&first, "loss")
        .iter()
        .filter_map(|loss| loss.0["count"].as_u64())
        .sum();
    assert_eq!(Some(told), sink["dropped"].as_u64(), "{sink}");
    Ok(())
}

#[test]
fn a_journal_has_how_containers_ended_over_its_own_death() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut journal = Journal::start()?;
    let text = format!(
        "[[sink]]\nkind = \"journald\"\nsocket = {:?}\njson = true\n",
        journal.socket()
    );
    let daemon = daemon(dir.path(), &text)?;
    let entries = |journal: &Journal, id: &str| -> Result<Vec<Value>> {
        let mut entries = journal.entries("tracer")?;
        entries.retain(|entry| entry["CONTAINER_ID"] == id);
        Ok(entries)
    };
    let ended = |journal: &Journal, id: &str| {
        wait::until(&format!("the end of {id} in the journal"), wait::LONG, || {
            let entries = entries(journal, id)?;
            Ok(entries
                .iter()
                .any(|entry| entry["TRACER_CALLS"].is_string())
                .then_some(entries))
        })
    };
    let first = run(&daemon, "journal", 1009)?;
    let found = ended(&journal, &id(&first)?)?;
    let summary = found.last().context("no entry")?;
    let event: Value = serde_json::from_str(summary["TRACER_EVENT"].as_str().context("no event")?)?;
    assert_eq!(event["books"]["admitted"], first.book("admitted")?);
    assert_eq!(summary["TRACER_CALLS"], first.book("admitted")?.to_string());
    for (key, value) in [
        ("PRIORITY", "6"),
        ("TRACER_TYPE", "container"),
        ("TRACER_LOST", "0"),
        ("TRACER_COMPLETE", "1"),
    ] {
        assert_eq!(summary[key], value, "{summary}");
    }
    ensure!(
        summary["MESSAGE"]
            .as_str()
            .is_some_and(|text| text.contains("complete")),
        "{summary}"
    );
    let firehose = found.iter().find(|entry| {
        ["syscall", "process"]
            .iter()
            .any(|kind| entry["TRACER_TYPE"] == *kind)
    });
    ensure!(firehose.is_none(), "{firehose:?}");

    // What fails is told with its cause.
    let failing = Bundle::traced(
        "diagnosis",
        Rootfs::Host,
        &["/workloads/fail", "open", "read", "/no/such/file"],
        &daemon,
    )?;
    let (_, container) = Runtime::Runc.run(failing)?;
    daemon.verdict_at_end(container.id())?;
    let found = ended(&journal, container.id())?;
    let cause = found
        .iter()
        .find(|entry| entry["TRACER_TYPE"] == "diagnosis" && entry["ERRNO"] == "ENOENT");
    ensure!(
        cause.is_some_and(|entry| entry["TRACER_CAUSE"] == "missing"),
        "{found:#?}"
    );

    // Killed in the middle: what comes waits, and is there when it is back.
    journal.kill()?;
    let second = id(&run(&daemon, "waits", 11)?)?;
    wait::until("the sink to miss its journal", wait::LONG, || {
        Ok(daemon.log().contains("sink journald: send to").then_some(()))
    })?;
    let sink = daemon.status()?["sinks"][0].clone();
    ensure!(
        sink["queued"].as_u64() > Some(0) && sink["dropped"] == 0,
        "{sink}"
    );
    journal.begin()?;
    ended(&journal, &second)?;
    wait::until("nothing to wait", wait::LONG, || {
        Ok((daemon.status()?["sinks"][0]["queued"] == 0).then_some(()))
    })?;
    assert_eq!(daemon.status()?["sinks"][0]["dropped"], 0);
    ensure!(
        daemon.log().contains("sink journald: works again"),
        "{}",
        daemon.log()
    );
    Ok(())
}
