//! Configured sinks: what they hold is what was called, over rotations, full disks and readers that are away.

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};
use tracer_tests::{Bundle, Daemon, Rootfs, Runtime, Verdict, event, programs, wait};

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

/// A file system of its own, gone with this.
struct Small(PathBuf);

impl Small {
    fn new(path: PathBuf, size: &str) -> Result<Self> {
        fs::create_dir(&path)?;
        let options = std::ffi::CString::new(format!("size={size}"))?;
        mount(
            "none",
            &path,
            "tmpfs",
            MountFlags::empty(),
            Some(options.as_c_str()),
        )?;
        Ok(Self(path))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(unmount(&self.0, UnmountFlags::DETACH));
    }
}

#[test]
fn a_full_disk_costs_what_is_counted_and_tears_no_line() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let small = Small::new(dir.path().join("small"), "4M")?;
    let path = small.0.join("calls");
    let ballast = small.0.join("ballast");
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
