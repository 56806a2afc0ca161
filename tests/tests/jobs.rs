//! `tracer run` as a job of a shell: what stops the command stops it, what continues it continues the command, and
//! nothing hangs for a signal or a debugger that does not come. This process is the shell.

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};
use std::{
    cell::Cell,
    fs,
    os::unix::process::CommandExt,
    process::{Child, Stdio},
};
use tracer_tests::{Verdict, leaks, process::children, programs, wait};

/// A job in a process group of its own, so that it can stop: its parent is in another group of this session.
struct Job {
    child: Child,
    dir: tempfile::TempDir,
    /// How it ended, if it has.
    ended: Cell<Option<WaitStatus>>,
}

impl Job {
    fn start(args: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut command = programs::command(programs::tracer()?);
        command.args(["run", "-w"]).arg(dir.path().join("events"));
        command.arg("--verify").arg(dir.path().join("verify"));
        command
            .arg("--")
            .args(args)
            .current_dir(dir.path())
            .process_group(0);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        Ok(Self {
            child,
            dir,
            ended: Cell::new(None),
        })
    }

    fn pid(&self) -> Result<Pid> {
        Pid::from_raw(self.child.id().cast_signed()).context("no pid")
    }

    /// Its next change of state, as a shell sees it.
    fn changed(&self, what: &str) -> Result<WaitStatus> {
        let options = WaitOptions::UNTRACED | WaitOptions::CONTINUED | WaitOptions::NOHANG;
        let pid = self.pid()?;
        wait::until(what, wait::LONG, || {
            Ok(waitpid(Some(pid), options)?.map(|(_, status)| status))
        })
    }

    fn stops(&self, signal: Signal) -> Result<()> {
        let status = self.changed("a stop")?;
        ensure!(status.stopping_signal() == Some(signal.as_raw()), "{status:?}");
        Ok(())
    }

    /// One that ends soon afterwards may have ended before it is looked at: the continuation is told no more then, but
    /// what is stopped does not exit.
    fn goes_on(&self) -> Result<()> {
        let status = self.changed("the continuation")?;
        if !status.continued() {
            ensure!(status.exited(), "{status:?}");
            self.ended.set(Some(status));
        }
        Ok(())
    }

    fn send(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid()?, signal)?)
    }

    /// What it printed. Its exit code must be that one, and its trace complete.
    fn ends(self, code: i32) -> Result<String> {
        let status = match self.ended.get() {
            Some(status) => status,
            None => self.changed("the end")?,
        };
        let out = self.child.wait_with_output();
        // This process has waited for it already; what it wrote is still in the pipes.
        let out = out.map(|out| programs::both(&out)).unwrap_or_default();
        ensure!(status.exit_status() == Some(code), "{status:?}: {out}");
        Verdict::parse(&fs::read_to_string(self.dir.path().join("verify"))?)?.whole()?;
        Ok(fs::read_to_string(self.dir.path().join("events"))?)
    }

    /// The command's own id on the host, which it wrote into its file `pid`.
    fn command(&self) -> Result<Pid> {
        let init = *children(self.child.id())?.first().context("no init")?;
        let command = *children(init)?.first().context("no command")?;
        Pid::from_raw(command.try_into()?).context("no pid")
    }
}

#[test]
fn a_command_that_stops_stops_its_tracer_and_goes_on_with_it() -> Result<()> {
    for (name, seen) in [
        ("STOP", Signal::TSTP),
        ("TSTP", Signal::TSTP),
        ("TTIN", Signal::TTIN),
        ("TTOU", Signal::TTOU),
    ] {
        leaks::no_programs_after(|| {
            let job = Job::start(&["/bin/sh", "-c", &format!("kill -{name} $$; exit 7")])?;
            job.stops(seen).with_context(|| name.to_owned())?;
            job.send(Signal::CONT)?;
            job.goes_on()?;
            job.ends(7).map(drop)
        })?;
    }
    Ok(())
}

#[test]
fn a_stop_and_an_end_that_others_cause_reach_the_tracer() -> Result<()> {
    // Stopped and continued by somebody who knows the command alone.
    let job = Job::start(&["/bin/sh", "-c", "kill -STOP $$; exit 5"])?;
    job.stops(Signal::TSTP)?;
    kill_process(job.command()?, Signal::CONT)?;
    job.goes_on()?;
    job.ends(5)?;
    // And killed while both are stopped.
    let job = Job::start(&["/bin/sh", "-c", "kill -STOP $$"])?;
    job.stops(Signal::TSTP)?;
    kill_process(job.command()?, Signal::KILL)?;
    job.goes_on()?;
    job.ends(128 + 9)?;
    Ok(())
}

#[test]
fn a_signal_for_the_tracer_stops_continues_and_ends_the_command() -> Result<()> {
    let script = "trap 'exit 9' TERM; echo > ready; while :; do read x < fifo; done";
    let job = Job::start(&["/bin/sh", "-c", &format!("mkfifo fifo; {script}")])?;
    let ready = job.dir.path().join("ready");
    wait::until("the command", wait::LONG, || Ok(ready.exists().then_some(())))?;
    job.send(Signal::TSTP)?;
    job.stops(Signal::TSTP)?;
    // As outside: SIGTERM waits for the continuation.
    job.send(Signal::TERM)?;
    job.send(Signal::CONT)?;
    job.goes_on()?;
    job.ends(9)?;
    Ok(())
}

#[test]
fn a_command_that_waits_for_a_debugger_is_let_go() -> Result<()> {
    let traceme = programs::workload("traceme")?;
    let traceme = traceme.to_str().context("path")?;
    let job = Job::start(&[traceme, "/bin/sh", "-c", "kill -USR1 $$; exit 4"])?;
    let events = job.ends(128 + 10)?;
    ensure!(events.contains("ptrace(PTRACE_TRACEME) = 0"), "{events}");
    let job = Job::start(&[traceme, "--stop", "/bin/sh", "-c", "exit 6"])?;
    job.stops(Signal::TSTP)?;
    job.send(Signal::CONT)?;
    job.goes_on()?;
    job.ends(6)?;
    Ok(())
}

#[test]
fn a_signal_without_a_name_ends_a_command_as_any_other() -> Result<()> {
    let script = "kill -40 $$";
    Job::start(&["/bin/bash", "-c", script])?.ends(128 + 40)?;
    // An orphan that ends so leaves the command alone.
    let script = "(bash -c 'kill -40 $$' &); read x < /proc/version; exit 3";
    Job::start(&["/bin/bash", "-c", script])?.ends(3)?;
    Ok(())
}
