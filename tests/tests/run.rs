//! `tracer run`: the whole pipeline in one process, without daemon and runtime.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};
use tracer_tests::{Event, Verdict, daemon::Stats, event, event::Sequence, leaks, programs};

/// `tracer run` with its events in a file, and its verdict and statistics beside them.
struct Run {
    dir: tempfile::TempDir,
    out: Output,
}

impl Run {
    fn new(options: &[&str], args: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut command = command(dir.path(), options, args)?;
        let out = programs::output(&mut command)?;
        Ok(Self { dir, out })
    }

    fn read(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.dir.path().join(name))
            .with_context(|| format!("{name}: {}", programs::both(&self.out)))
    }

    fn events(&self) -> Result<Vec<Event>> {
        event::parse(&self.read("events")?)
    }

    fn verdict(&self) -> Result<Verdict> {
        Verdict::parse(&self.read("verify")?)
    }

    fn stats(&self) -> Result<Stats> {
        Stats::parse(&self.read("stats")?)
    }
}

fn command(dir: &Path, options: &[&str], args: &[&str]) -> Result<Command> {
    let mut command = programs::command(programs::tracer()?);
    command.args(["run", "-o", "json", "-w"]).arg(dir.join("events"));
    command
        .arg("--verify")
        .arg(dir.join("verify"))
        .arg("--stats")
        .arg(dir.join("stats"));
    command.args(options).arg("--").args(args);
    Ok(command)
}

fn syscalls(events: &[Event]) -> Vec<&Event> {
    events.iter().filter(|event| event.is_syscall()).collect()
}

#[test]
fn ls_is_seen_from_its_execve_to_its_exit_group() -> Result<()> {
    let run = leaks::no_programs_after(|| Run::new(&[], &["/bin/ls", "/"]))?;
    ensure!(
        run.out.status.success(),
        "{}: {}",
        run.out.status,
        programs::both(&run.out)
    );
    let listing = programs::success(programs::command("/bin/ls").arg("/"))?;
    assert_eq!(
        String::from_utf8_lossy(&run.out.stdout),
        listing,
        "its output is its own"
    );

    let events = run.events()?;
    let calls = syscalls(&events);
    let first = calls
        .iter()
        .find(|event| event.is_app())
        .context("no application event")?;
    assert_eq!(
        (first.syscall(), first.0["ret"].as_i64(), first.arg(0)),
        ("execve", Some(0), "\"/bin/ls\""),
        "{}",
        first.0
    );
    let last = calls.last().context("no system call")?;
    assert_eq!(
        (last.syscall(), &last.0["unfinished"]),
        ("exit_group", &Value::Bool(true)),
        "{}",
        last.0
    );
    ensure!(
        calls.iter().all(|event| event.is_app()),
        "events of the preparation without --phase all"
    );
    Sequence::of(&events)?.whole(false)?;
    run.verdict()?.whole()
}

#[test]
fn all_phases_have_every_number_from_one() -> Result<()> {
    let run = Run::new(&["--phase", "all"], &["/bin/ls", "/"])?;
    let events = run.events()?;
    Sequence::of(&events)?.whole(true)?;
    let verdict = run.verdict()?;
    verdict.whole()?;
    let lines = syscalls(&events).len() as u64;
    assert_eq!(
        (verdict.book("decoded")?, verdict.book("admitted")?),
        (lines, lines),
        "lines {lines}: {}",
        verdict.0
    );
    // Per sink too: what was decoded was written or counted.
    for sink in verdict.0["sinks"].as_array().context("no sinks")? {
        let out = sink["written"]
            .as_u64()
            .zip(sink["dropped"].as_u64())
            .map(|(a, b)| a + b);
        assert_eq!(out, Some(lines), "{sink}");
    }
    let (counted, streamed) = (run.stats()?.counts()?, event::counts(&events));
    assert_eq!(
        event::difference("aggregates", &counted, "events", &streamed),
        None
    );
    Ok(())
}

#[test]
fn every_line_keeps_the_schema() -> Result<()> {
    let schema = programs::success(programs::command(programs::tracer()?).arg("schema"))?;
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema)?)?;
    let workload = programs::workload("fork_signal")?;
    let script = format!(
        "{}; ls /nonexistent; echo a | cat; true & wait",
        workload.display()
    );
    let run = Run::new(&["--phase", "all"], &["/bin/sh", "-c", &script])?;
    let events = run.events()?;
    ensure!(events.len() > 100, "only {} events", events.len());
    for event in events {
        if let Err(why) = schema.validate(&event.0) {
            anyhow::bail!("{why}: {}", event.0);
        }
        assert_eq!(event.0["v"], 1, "{}", event.0);
    }
    Ok(())
}

#[test]
fn a_failed_call_says_why() -> Result<()> {
    let run = Run::new(&[], &["/bin/cat", "/nonexistent"])?;
    assert_eq!(run.out.status.code(), Some(1), "{}", programs::both(&run.out));
    let events = run.events()?;
    let failed = events
        .iter()
        .find(|event| event.syscall() == "openat" && event.arg(1) == "\"/nonexistent\"");
    let failed = failed.context("no openat of /nonexistent")?;
    assert_eq!(
        (failed.0["ret"].as_i64(), failed.text("errno")),
        (Some(-1), "ENOENT"),
        "{}",
        failed.0
    );
    Ok(())
}

#[test]
fn the_exit_code_is_the_commands() -> Result<()> {
    for code in [0, 1, 7, 255] {
        let run = Run::new(&[], &["/bin/sh", "-c", &format!("exit {code}")])?;
        assert_eq!(run.out.status.code(), Some(code), "{}", programs::both(&run.out));
        run.verdict()?.whole()?;
    }
    for (name, number) in [("KILL", 9), ("TERM", 15), ("SEGV", 11)] {
        let run = Run::new(&[], &["/bin/sh", "-c", &format!("kill -{name} $$")])?;
        assert_eq!(
            run.out.status.code(),
            Some(128 + number),
            "{name}: {}",
            programs::both(&run.out)
        );
        run.verdict()?.whole()?;
    }
    Ok(())
}

#[test]
fn a_command_that_is_not_there_is_a_set_up_error() -> Result<()> {
    let run = Run::new(&[], &["/nonexistent/program"])?;
    assert_eq!(run.out.status.code(), Some(2), "{}", programs::both(&run.out));
    let stderr = String::from_utf8_lossy(&run.out.stderr);
    ensure!(
        stderr.contains("/nonexistent/program"),
        "the message names the command: {stderr}"
    );
    Ok(())
}

#[test]
fn events_go_to_stderr_unless_told() -> Result<()> {
    let mut command = programs::command(programs::tracer()?);
    let out = programs::output(command.args(["run", "--", "/bin/echo", "hello"]))?;
    assert_eq!(String::from_utf8_lossy(&out.stdout), "hello\n");
    let lines = String::from_utf8_lossy(&out.stderr).into_owned();
    ensure!(
        lines.contains("execve(\"/bin/echo\", [\"/bin/echo\", \"hello\"]"),
        "no execve as strace prints it: {lines}"
    );
    ensure!(lines.contains("exit_group(0)"), "no exit_group: {lines}");
    Ok(())
}

#[test]
fn it_starts_a_command_as_strace_does() -> Result<()> {
    let script =
        "id; echo \"$A-$HOME-${LEFT-none}\"; cat /proc/self/environ | tr '\\0' '\\n' | grep -c '^A='";
    let options = [
        "-u", "nobody", "-E", "A=1", "-E", "A=b=c", "-E", "HOME", "-E", "LEFT",
    ];
    let of = |mut command: Command| {
        command.env("LEFT", "over").env("HOME", "/root").args(options);
        programs::success(command.args(["-e", "trace=none", "--", "/bin/sh", "-c", script]))
    };
    let mut tracer = programs::command(programs::tracer()?);
    tracer.args(["run", "-w", "/dev/null"]);
    let mut strace = programs::command("strace");
    strace.args(["-f", "-o", "/dev/null"]);
    let ours = of(tracer)?;
    ensure!(
        ours.contains("(nobody)") && ours.contains("b=c--none\n1\n"),
        "{ours}"
    );
    assert_eq!(ours, of(strace)?);

    for (options, said) in [
        (["-u", "no-such-user"], "no user no-such-user"),
        (["-E", "=1"], "a variable has a name"),
    ] {
        let run = Run::new(&options, &["true"])?;
        assert_eq!(run.out.status.code(), Some(2));
        ensure!(
            programs::both(&run.out).contains(said),
            "{}",
            programs::both(&run.out)
        );
    }
    Ok(())
}
