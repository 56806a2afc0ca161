//! The configuration file: what is wrong in it is said, flags go before it, SIGHUP takes in what has changed and costs
//! nobody an event.

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::{
    fs,
    path::{Path, PathBuf},
};
use tracer_tests::{Bundle, Daemon, Event, Rootfs, Runtime, event, programs, wait};

/// A file in a directory of its own.
fn config(dir: &Path, text: &str) -> Result<PathBuf> {
    let path = dir.join("tracer.toml");
    fs::write(&path, text)?;
    Ok(path)
}

fn daemon(path: &Path, flags: &[&str]) -> Result<Daemon> {
    let path = path.to_str().context("a path that is no text")?;
    Daemon::start_with(&[&["--config", path], flags].concat())
}

/// Has the daemon read its file again; what its log says from then on, once it has said that line.
fn reload(daemon: &Daemon, says: &str) -> Result<String> {
    let before = daemon.log().len();
    daemon.signal(Signal::HUP)?;
    wait::until(&format!("the log to say {says:?}"), wait::LONG, || {
        let log = daemon.log().split_off(before);
        Ok(log.contains(says).then_some(log))
    })
}

#[test]
fn a_file_is_checked_shown_and_explained() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let tracer = |args: &[&str], path: &Path| {
        let mut command = programs::command(programs::tracer()?);
        programs::output(command.arg("config").args(args).arg(path))
    };
    let bad = config(dir.path(), "[daemon]\nlingr = \"5s\"\nring_size = \"1\"\n")?;
    let out = tracer(&["check"], &bad)?;
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{}", programs::both(&out));
    let lines: Vec<_> = said.lines().collect();
    let start = bad.display();
    assert_eq!(
        lines,
        [
            format!(
                "{start}:2:1: there is no key \"lingr\"; did you mean linger? There are ring_size, mode, string_limit, \
                 linger, hand_over"
            ),
            format!("{start}:3:13: ring_size is 1: write a size from 4K to 1G"),
        ]
    );
    // The same words keep a daemon from starting.
    let mut command = programs::command(programs::tracer()?);
    let out = programs::output(
        command
            .args(["daemon", "--runtime-dir"])
            .arg(dir.path())
            .arg("--config")
            .arg(&bad),
    )?;
    assert_eq!(out.status.code(), Some(2));
    ensure!(
        programs::both(&out).contains(lines[0]),
        "{}",
        programs::both(&out)
    );

    // The default file is a file; what it shows is what is shown of none.
    let mut command = programs::command(programs::tracer()?);
    let default = programs::success(command.args(["config", "default"]))?;
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/tracer.toml");
    assert_eq!(default, fs::read_to_string(packed)?);
    let default = config(dir.path(), &default)?;
    let shown = tracer(&["show"], &default)?;
    let empty = config(dir.path(), "")?;
    assert_eq!(shown.stdout, tracer(&["show"], &empty)?.stdout);
    assert_eq!(tracer(&["check"], &empty)?.status.code(), Some(0));
    // One that was asked for must be there.
    assert_eq!(
        tracer(&["check"], &dir.path().join("none"))?.status.code(),
        Some(2)
    );
    Ok(())
}

#[test]
fn flags_go_before_the_file_and_a_bad_file_changes_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = config(
        dir.path(),
        "[annotations]\noptions = \"none\"\nmax_event_rate = 7\n[daemon]\nmode = \"counts\"\n",
    )?;
    let daemon = daemon(&path, &["--annotation-options", "mode"])?;
    let warnings = |daemon: &Daemon, what: &str| -> Result<String> {
        let bundle = Bundle::traced(what, Rootfs::Host, &["/workloads/calls", "1"], daemon)?.annotations(&[
            ("container-tracer.io/mode", "full"),
            ("container-tracer.io/event-rate", "5"),
        ]);
        let id = bundle.id.clone();
        let mut container = Runtime::Runc.start(bundle)?;
        container.success()?;
        daemon.verdict_at_end(&id)?;
        let log = daemon.log();
        let of_it: Vec<_> = log
            .lines()
            .filter(|line| line.contains(&id) && line.contains("annotation"))
            .collect();
        Ok(of_it.join("\n"))
    };
    // `mode` is heard, by the flag, and asks for too much, by the file.
    let said = warnings(&daemon, "flags")?;
    ensure!(
        said.contains("mode asks for more than this node's --mode"),
        "{said}"
    );
    ensure!(said.contains("event-rate is not allowed"), "{said}");

    config(dir.path(), "[annotations]\nmax_event_rat = 9\n")?;
    let said = reload(&daemon, "the configuration is left as it was")?;
    ensure!(said.contains("did you mean max_event_rate?"), "{said}");
    let said = warnings(&daemon, "bad")?;
    ensure!(
        said.contains("mode asks for more") && said.contains("not allowed"),
        "{said}"
    );

    config(
        dir.path(),
        "[daemon]\nring_size = \"1M\"\nmode = \"full\"\nlinger = \"1s\"\n",
    )?;
    let said = reload(&daemon, "the configuration holds")?;
    for key in ["daemon.ring_size", "daemon.mode"] {
        ensure!(
            said.contains(&format!("{key} has changed and needs a restart")),
            "{said}"
        );
    }
    ensure!(!said.contains("string_limit"), "{said}");
    Ok(())
}

/// One line a call, in the order of a single thread; the container makes them until it is told to end.
#[test]
fn a_reload_under_load_costs_no_sink_an_event() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = |name: &str| dir.path().join(name);
    let sink = |name: &str, more: &str| {
        format!(
            "[[sink]]\nkind = \"file\"\nname = {name:?}\npath = {:?}\nqueue = \"256M\"\n\
             rotate_size = 0\nfilter = \"sched_get_priority_max\"\n{more}\n",
            file(name)
        )
    };
    let path = config(
        dir.path(),
        &(sink("kept", "") + &sink("changed", "") + &sink("leaving", "")),
    )?;
    let daemon = daemon(&path, &[])?;
    const ROUND: u64 = 2003;
    let script = format!(
        "n=0; while [ ! -e /scratch/end ]; do /workloads/calls {ROUND} sched_get_priority_max 1 >/dev/null; n=$((n+1)); \
         sleep 0.01; done; echo $n rounds"
    );
    let bundle = Bundle::traced("reload", Rootfs::Host, &["/bin/sh", "-c", &script], &daemon)?;
    let end = bundle.scratch().join("end");
    let mut container = Runtime::Runc.start(bundle)?;
    let written = |name: &str| fs::metadata(file(name)).map_or(0, |found| found.len());
    wait::until("calls to be written", wait::LONG, || {
        Ok((written("kept") > 100_000).then_some(()))
    })?;
    config(
        dir.path(),
        &(sink("kept", "") + &sink("changed", "keep = 1") + &sink("coming", "")),
    )?;
    reload(&daemon, "the configuration holds: 3 sinks")?;
    wait::until("calls for the new sink", wait::LONG, || {
        Ok((written("coming") > 0).then_some(()))
    })?;
    fs::write(&end, "")?;
    container.success()?;
    let said = container.stdout();
    let rounds: u64 = said
        .trim()
        .strip_suffix(" rounds")
        .with_context(|| said.clone())?
        .parse()?;
    let verdict = daemon.verdict_at_end(container.id())?;
    verdict.whole()?;
    wait::until("all to be written", wait::LONG, || {
        let verdict = daemon.verify_now(container.id())?;
        let sinks = verdict.0["sinks"].as_array().context("no sinks")?;
        Ok(sinks.iter().all(|sink| sink["queued"] == 0).then_some(()))
    })?;
    // Untouched and exchanged: each call once, in order. What came and went has a part, without a hole.
    let numbers = |name: &str| -> Result<Vec<u64>> {
        let events = event::parse(&fs::read_to_string(file(name))?)?;
        let calls = events
            .iter()
            .filter(|event| event.syscall() == "sched_get_priority_max");
        calls.map(|event: &Event| event.number("ktime")).collect()
    };
    let kept = numbers("kept")?;
    assert_eq!(kept.len() as u64, rounds * ROUND);
    ensure!(
        numbers("changed")? == kept,
        "the exchanged sink has not what the untouched one has"
    );
    let leaving = numbers("leaving")?;
    ensure!(
        kept.starts_with(&leaving) && (1..kept.len()).contains(&leaving.len()),
        "{} calls",
        leaving.len()
    );
    let coming = numbers("coming")?;
    assert_eq!(
        kept[kept.len() - coming.len()..],
        coming,
        "what came is the end of it"
    );
    assert_eq!(
        leaving.len() + coming.len(),
        kept.len(),
        "one went as the other came"
    );
    Ok(())
}
