//! Recordings: what is replayed is what was told, whatever is asked of it, and however its writer ended.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{fs, path::Path, process::Output};
use tracer_tests::{
    bundle::{Bundle, Rootfs},
    daemon::{Daemon, Stats},
    event, programs,
    runtime::Runtime,
    wait,
};

/// Successes, failures, several programs, strings that are longer than what is shown.
const SCRIPT: &str = "cat /etc/hostname /nonexistent; ls -l / >/dev/null; echo a-line-that-is-longer-than-thirty-two-bytes; \
                      kill -0 1; (exec true); mkdir /proc/x; exit 3";

/// What a reader may ask of calls.
const ASKED: &[&[&str]] = &[
    &["-o", "json", "--phase", "all"],
    &["-o", "json"],
    &["-o", "json", "-e", "trace=openat,read,!read"],
    &["-o", "json", "-e", "trace=%file", "-Z"],
    &["-o", "json", "-z", "--comm", "cat"],
    &["-o", "json", "--errno", "ENOENT"],
    &["-o", "json", "-P", "/etc/hostname"],
    &["-o", "json", "--phase", "runtime", "-e", "trace=/^set"],
    &["-o", "json", "--explain", "-e", "status=failed"],
    &["-o", "json", "--min-duration", "1us"],
    &["-ttt", "-T", "--phase", "all"],
    &["--lifecycle", "--no-duration", "-e", "trace=process"],
    &["-Z", "--explain"],
    &["--tree"],
];

fn replay(file: &Path, args: &[&str]) -> Result<Output> {
    // A user without rights, to whom the recording was given.
    let mut command = programs::command(programs::tracer()?);
    programs::output(command.arg("replay").arg(file).args(args))
}

fn replayed(file: &Path, args: &[&str]) -> Result<String> {
    let out = replay(file, args)?;
    ensure!(
        out.status.success() && out.stderr.is_empty(),
        "replay {args:?}: {}",
        programs::both(&out)
    );
    Ok(String::from_utf8(out.stdout)?)
}

/// The first line that differs.
fn same(what: &str, told: &str, again: &str) -> Result<()> {
    let (mut left, mut right) = (told.lines(), again.lines());
    for number in 1.. {
        match (left.next(), right.next()) {
            (None, None) => break,
            (a, b) => ensure!(
                a == b,
                "{what}, line {number}:\n  told   {}\n  again  {}",
                a.unwrap_or("(nothing)"),
                b.unwrap_or("(nothing)")
            ),
        }
    }
    ensure!(!told.is_empty(), "{what}: nothing was told");
    Ok(())
}

#[test]
fn a_container_is_replayed_as_each_reader_was_told_it() -> Result<()> {
    let daemon = Daemon::start()?;
    let bundle = Bundle::traced("record", Rootfs::Busybox, &["/bin/sh", "-c", SCRIPT], &daemon)?;
    let id = bundle.id.clone();
    let file = daemon.dir().join("it.trec");
    let path = file.to_str().context("a path")?;
    let recorder = daemon
        .tail_by(daemon.client("record"), "record", &["-w", path, &id])?
        .opened()?;
    let tails: Vec<_> = ASKED
        .iter()
        .enumerate()
        .map(|(number, args)| {
            let args = [args, [id.as_str()].as_slice()].concat();
            Ok((
                args.clone(),
                daemon.tail_of(&number.to_string(), &args)?.opened()?,
            ))
        })
        .collect::<Result<_>>()?;
    let (status, _container) = Runtime::Runc.run(bundle)?;
    ensure!(status.code() == Some(3), "{status}");
    let (code, said, complaint) = recorder.end()?;
    ensure!(
        code == Some(0) && said.is_empty(),
        "record: {code:?} {said} {complaint}"
    );
    for (args, tail) in tails {
        let told = tail.text()?;
        let again = replayed(&file, &args)?;
        same(&format!("{args:?}"), &told, &again)?;
    }
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&file)?);
    ensure!(mode & 0o777 == 0o600, "a recording of mode {mode:o}");

    // Its counts are those of the kernel side: nothing was lost.
    let verdict = daemon.verdict_at_end(&id)?;
    verdict.whole()?;
    let counted = replayed(&file, &["-c", "-o", "json", "--phase", "all"])?;
    let (counted, told) = (Stats::parse(&counted)?, daemon.stats(&id)?);
    let difference = event::difference("replayed", &counted.counts()?, "stats", &told.counts()?);
    ensure!(difference.is_none(), "{}", difference.unwrap_or_default());
    Ok(())
}

/// Records a command; the events that `run` printed of it, as JSON.
fn record(dir: &Path, options: &[&str], script: &str) -> Result<(std::path::PathBuf, String)> {
    let (file, events) = (dir.join("run.trec"), dir.join("events"));
    let mut command = programs::command(programs::tracer()?);
    command.args(["run", "-o", "json", "--phase", "all", "--explain", "-w"]);
    command.arg(&events).arg("--record").arg(&file).args(options);
    let out = programs::output(command.args(["--", "/bin/sh", "-c", script]))?;
    ensure!(out.status.code() == Some(3), "{}", programs::both(&out));
    Ok((file, fs::read_to_string(events)?))
}

const ALL: &[&str] = &["-o", "json", "--phase", "all", "--explain"];

#[test]
fn a_command_is_replayed_as_it_was_printed_and_read_as_far_as_it_is_whole() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (file, told) = record(dir.path(), &["-y", "-s", "64"], SCRIPT)?;
    same("run --record", &told, &replayed(&file, &[ALL, &["-y"]].concat())?)?;
    let plain = replayed(&file, ALL)?;

    // Cut anywhere, it is read up to its last whole block, and says that it was cut.
    let bytes = fs::read(&file)?;
    let cut = dir.path().join("cut.trec");
    let mut lengths = Vec::new();
    for part in 1..24 {
        fs::write(&cut, &bytes[..bytes.len() * part / 24])?;
        let out = replay(&cut, ALL)?;
        let (read, said) = (String::from_utf8(out.stdout)?, String::from_utf8(out.stderr)?);
        ensure!(plain.starts_with(&read), "cut at {part}/24: other events");
        ensure!(out.status.code() == Some(1), "cut at {part}/24: {}", out.status);
        ensure!(
            said.contains("the recording is not whole") && said.contains("no whole block"),
            "cut at {part}/24: {said}"
        );
        lengths.push(read.len());
    }
    ensure!(lengths.is_sorted(), "{lengths:?}");

    // Other files are refused, and nothing is written over the recording itself.
    for (name, content) in [("text", "{\"type\":\"syscall\"}\n"), ("empty", "")] {
        fs::write(dir.path().join(name), content)?;
        let out = replay(&dir.path().join(name), &[])?;
        ensure!(out.status.code() == Some(2), "{}", programs::both(&out));
        ensure!(String::from_utf8(out.stderr)?.contains("no recording"));
    }
    let out = replay(&file, &["-w", file.to_str().context("a path")?])?;
    ensure!(out.status.code() == Some(2), "{}", programs::both(&out));
    ensure!(fs::read(&file)? == bytes, "the recording was written over");

    // And `record -- CMD` does without the printed events.
    let other = dir.path().join("other.trec");
    let mut command = programs::command(programs::tracer()?);
    command
        .args(["record", "-w"])
        .arg(&other)
        .args(["--", "/bin/sh", "-c", "exit 7"]);
    let out = programs::output(&mut command)?;
    ensure!(
        out.status.code() == Some(7) && out.stdout.is_empty() && out.stderr.is_empty(),
        "{}",
        programs::both(&out)
    );
    let events = event::parse(&replayed(&other, &["-o", "json", "-e", "trace=exit_group"])?)?;
    let exits = events.iter().filter(|event| event.is_syscall()).count();
    ensure!(exits == 1, "{exits} calls of exit_group");
    Ok(())
}

#[test]
fn a_recorder_that_was_killed_leaves_what_it_had() -> Result<()> {
    let daemon = Daemon::start()?;
    let script = "while :; do cat /etc/hostname; done";
    let bundle = Bundle::traced("killed", Rootfs::Busybox, &["/bin/sh", "-c", script], &daemon)?;
    let id = bundle.id.clone();
    let file = daemon.dir().join("killed.trec");
    let mut command = daemon.client("record");
    command.arg("-w").arg(&file).arg(&id);
    let mut recorder = command.stderr(std::process::Stdio::null()).spawn()?;
    let mut container = Runtime::Runc.start(bundle)?;
    let two_blocks = || {
        let length = fs::metadata(&file).map_or(0, |found| found.len());
        Ok((length > 100_000).then_some(()))
    };
    wait::until("the recording to grow", wait::LONG, two_blocks)?;
    recorder.kill()?;
    recorder.wait()?;
    let out = replay(&file, &["-o", "json", "--phase", "all"])?;
    let said = String::from_utf8(out.stderr)?;
    ensure!(
        out.status.code() == Some(1) && said.contains("not whole"),
        "{said}"
    );
    let events = event::parse(&String::from_utf8(out.stdout)?)?;
    event::Sequence::of(&events)?.whole(true)?;
    ensure!(events.len() > 1000, "{} events", events.len());

    // One that is interrupted ends its file, with the books of what goes on.
    let file = daemon.dir().join("interrupted.trec");
    let mut command = daemon.client("record");
    command.arg("-w").arg(&file).arg(&id);
    let mut recorder = command.stderr(std::process::Stdio::piped()).spawn()?;
    let grown = || Ok((fs::metadata(&file).map_or(0, |found| found.len()) > 10_000).then_some(()));
    wait::until("the recording to grow", wait::LONG, grown)?;
    let pid = rustix::process::Pid::from_child(&recorder);
    rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
    let status = wait::exit(&mut recorder, "tracer record", wait::LONG)?;
    ensure!(status.success(), "record: {status}");
    let events = event::parse(&replayed(&file, &["-o", "json"])?)?;
    ensure!(!events.is_empty());

    // What the daemon holds is a recording too, and the newest events are in it.
    let file = daemon.dir().join("held.trec");
    programs::success(daemon.client("dump").arg(&id).arg("-w").arg(&file))?;
    let held = event::parse(&replay_lossy(&file)?)?;
    let last = |events: &[event::Event]| {
        let calls = events.iter().rev().find(|event| event.is_syscall());
        calls.map(|event| event.number("ktime"))
    };
    ensure!(
        last(&held).context("nothing is held")?? > last(&events).context("nothing was recorded")??,
        "the dump is older than the recording before it"
    );
    container.kill("KILL")?;
    container.wait()?;
    Ok(())
}

/// What is held may lack the oldest, and says so.
fn replay_lossy(file: &Path) -> Result<String> {
    let out = replay(file, &["-o", "json", "--phase", "all"])?;
    ensure!(
        matches!(out.status.code(), Some(0 | 1)),
        "{}",
        programs::both(&out)
    );
    let text = String::from_utf8(out.stdout)?;
    let _whole: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok(text)
}
