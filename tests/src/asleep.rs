//! A tracer that sleeps while calls are made: what its ring has no room for is lost for certain, however fast its reader
//! is when it is awake.

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Command, Output, Stdio},
};

use crate::{Bundle, Container, Daemon, Rootfs, Runtime, programs};

/// Sends a child of ours to sleep, and waits until its last thread sleeps.
fn stop(pid: Pid) -> Result<()> {
    kill_process(pid, Signal::STOP)?;
    let state = waitpid(Some(pid), WaitOptions::UNTRACED)?;
    ensure!(
        state.is_some_and(|(_, state)| state.stopped()),
        "it ended: {state:?}"
    );
    Ok(())
}

/// Runs `tracer run` with these options and this command, asleep from before the command's first call to its end. Its
/// standard output is the command's.
pub fn run(tracer: &mut Command, args: &[&str]) -> Result<Output> {
    const SCRIPT: &str = "echo up; read go; \"$@\"; echo over";
    tracer.args(["--", "/bin/sh", "-c", SCRIPT, "sh"]).args(args);
    tracer
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = tracer.spawn().with_context(|| programs::show(tracer))?;
    let mut said = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    let pid = Pid::from_child(&child);
    let mut go = child.stdin.take().context("no stdin")?;
    let mut out = String::new();
    let during = (|| {
        ensure!(said.next().transpose()?.as_deref() == Some("up"), "not up");
        stop(pid)?;
        go.write_all(b"go\n")?;
        for line in said {
            match line?.as_str() {
                "over" => return Ok(()),
                line => out.extend([line, "\n"]),
            }
        }
        bail!("it ended before its command")
    })();
    kill_process(pid, Signal::CONT)?;
    drop(go);
    let mut output = child.wait_with_output()?;
    output.stdout = out.into_bytes();
    during.with_context(|| programs::both(&output))?;
    Ok(output)
}

/// Runs a traced container to its end while the daemon sleeps, from before its program's first call.
pub fn container(daemon: &Daemon, what: &str, args: &[&str]) -> Result<Container> {
    const SCRIPT: &str = "echo up; read go </scratch/go; exec \"$@\"";
    let args = [&["/bin/sh", "-c", SCRIPT, "sh"], args].concat();
    let bundle = Bundle::traced(what, Rootfs::Host, &args, daemon)?;
    let go = bundle.scratch().join("go");
    programs::success(programs::command("mkfifo").arg(&go))?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.printed("up")?;
    stop(Pid::from_raw(i32::try_from(daemon.id())?).context("no pid")?)?;
    let during = fs::write(&go, "go\n")
        .map_err(Into::into)
        .and_then(|()| container.success());
    daemon.signal(Signal::CONT)?;
    during?;
    daemon.verdict_at_end(container.id())?;
    Ok(container)
}
