//! A tracer that sleeps while calls are made: what its ring has no room for is lost for certain, however fast its reader
//! is when it is awake.

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::process::{Command, ExitStatus, Output};

use crate::{
    Container, Daemon,
    told::{Waiting, WaitingRun},
};

fn pid(id: u32) -> Result<Pid> {
    Pid::from_raw(id.try_into()?).context("no pid")
}

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
    let mut run = WaitingRun::start(tracer, args)?;
    let tracer = pid(run.id())?;
    let said = stop(tracer).and_then(|()| {
        run.go()?;
        run.over()
    });
    kill_process(tracer, Signal::CONT)?;
    run.end(said)
}

/// Runs a traced container to its end while the daemon sleeps, from before its program's first call.
pub fn container(daemon: &Daemon, what: &str, args: &[&str]) -> Result<Container> {
    let (status, container) = to_its_end(daemon, Waiting::start(what, args, daemon, &[])?)?;
    ensure!(status.success(), "{status}: {}", container.outputs());
    Ok(container)
}

/// The same with so many bytes of memory at most, and however it ends.
pub fn limited(daemon: &Daemon, what: &str, args: &[&str], limit: u64) -> Result<(ExitStatus, Container)> {
    to_its_end(daemon, Waiting::limited(what, args, daemon, limit)?)
}

fn to_its_end(daemon: &Daemon, mut waiting: Waiting) -> Result<(ExitStatus, Container)> {
    stop(pid(daemon.id())?)?;
    let during = waiting.go().and_then(|()| waiting.container.wait());
    daemon.signal(Signal::CONT)?;
    let status = during?;
    daemon.verdict_at_end(waiting.container.id())?;
    Ok((status, waiting.container))
}
