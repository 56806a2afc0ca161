//! A private daemon with a runtime directory of its own, and its clients.

use crate::{Event, Verdict, event, leaks, manager::Manager, programs, user::User, wait};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// A running `tracer daemon`. Its log is printed when this is dropped, which the test program shows on failure.
pub struct Daemon {
    dir: TempDir,
    child: Child,
    args: Vec<String>,
    /// How often it was started in this directory.
    starts: u32,
    quiet: bool,
    /// What keeps its descriptors over a restart.
    managed: Option<Manager>,
}

impl Daemon {
    /// Starts one that detaches as soon as nothing is registered, and waits until it answers.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// With further arguments.
    pub fn start_with(args: &[&str]) -> Result<Self> {
        Self::start_as(programs::command(programs::tracer()?), args)
    }

    /// As that command, which becomes the daemon: one that first takes something away from itself.
    pub fn start_as(command: Command, args: &[&str]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("tt-daemon-").tempdir()?;
        let child = spawn(command, dir.path(), 1, args)?;
        Self::started(dir, child, args, None)
    }

    /// As a service of that manager.
    pub fn start_by(manager: Manager, args: &[&str]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("tt-daemon-").tempdir()?;
        let (command, _given) = manager.service(&programs::tracer()?)?;
        let child = spawn(command, dir.path(), 1, args)?;
        Self::started(dir, child, args, Some(manager))
    }

    fn started(dir: TempDir, child: Child, args: &[&str], managed: Option<Manager>) -> Result<Self> {
        let mut daemon = Self {
            dir,
            child,
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            starts: 1,
            quiet: false,
            managed,
        };
        daemon.wait_ready()?;
        Ok(daemon)
    }

    /// The manager whose service it is.
    pub fn manager(&self) -> Result<&Manager> {
        self.managed.as_ref().context("it is nobody's service")
    }

    /// The same, with nothing printed at its end.
    pub fn quiet() -> Result<Self> {
        Ok(Self::start()?.silent())
    }

    /// This one, with nothing printed at its end.
    pub fn silent(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Starts another in the same directory and with the same arguments, after this one has ended.
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_some(), "the daemon still runs");
        self.starts += 1;
        let args: Vec<_> = self.args.iter().map(String::as_str).collect();
        self.child = match &self.managed {
            None => spawn(
                programs::command(programs::tracer()?),
                self.dir.path(),
                self.starts,
                &args,
            )?,
            Some(manager) => {
                let (command, _given) = manager.service(&programs::tracer()?)?;
                spawn(command, self.dir.path(), self.starts, &args)?
            }
        };
        self.wait_ready()
    }

    fn wait_ready(&mut self) -> Result<()> {
        wait::until("the daemon to answer", wait::LONG, || {
            if let Some(status) = self.child.try_wait()? {
                bail!("tracer daemon: {status}\n{}", self.log());
            }
            let out = programs::output(self.client("status").args(["-o", "json"]))?;
            let status: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
            Ok((status["ready"] == Value::Bool(true)).then_some(()))
        })
    }

    /// The runtime directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn hook_socket(&self) -> PathBuf {
        self.dir().join("hook.sock")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Result<Pid> {
        Pid::from_raw(self.child.id().try_into()?).context("pid 0")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid()?, signal)?)
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        wait::exit(&mut self.child, "tracer daemon", wait::LONG)
    }

    /// Ends it as a service manager does.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait()
    }

    /// What it wrote since its latest start.
    pub fn log(&self) -> String {
        fs::read_to_string(log_path(self.dir(), self.starts)).unwrap_or_default()
    }

    /// A client command of this daemon.
    pub fn client(&self, verb: &str) -> Command {
        let tracer = programs::tracer().unwrap_or_else(|_| "tracer".into());
        let mut command = programs::command(tracer);
        command.env("TRACER_RUNTIME_DIR", self.dir()).arg(verb);
        command
    }

    /// The same, as that user runs it.
    pub fn client_of(&self, user: &User, verb: &str) -> Result<Command> {
        let mut command = user.command(user.program(&programs::tracer()?)?);
        command.env("TRACER_RUNTIME_DIR", self.dir()).arg(verb);
        Ok(command)
    }

    pub fn status(&self) -> Result<Value> {
        let text = programs::success(self.client("status").args(["-o", "json"]))?;
        serde_json::from_str(&text).with_context(|| text)
    }

    /// Waits until nothing is attached: without containers the programs stay loaded and cost nobody anything.
    pub fn detached(&self) -> Result<()> {
        wait::until("the daemon to detach", wait::LONG, || {
            Ok((self.status()?["attached"] == Value::Bool(false)).then_some(()))
        })
    }

    /// The rows of `tracer ps`.
    pub fn ps(&self) -> Result<Vec<Value>> {
        let text = programs::success(self.client("ps").args(["-o", "json"]))?;
        text.lines()
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect()
    }

    /// The row of one container.
    pub fn row(&self, id: &str) -> Result<Option<Value>> {
        Ok(self.ps()?.into_iter().find(|row| row["id"] == id))
    }

    /// The row of one container in that state.
    pub fn row_of(&self, id: &str, state: &str) -> Result<Option<Value>> {
        let mut rows = self.ps()?.into_iter();
        Ok(rows.find(|row| row["id"] == id && row["state"] == state))
    }

    /// `tracer verify`, whose exit code must say the same as its text.
    pub fn verify(&self, id: &str) -> Result<Verdict> {
        let out = programs::output(self.client("verify").args(["-o", "json", id]))?;
        let verdict =
            Verdict::parse(&String::from_utf8_lossy(&out.stdout)).with_context(|| programs::both(&out))?;
        let code = if verdict.is_complete() { 0 } else { 1 };
        ensure!(
            out.status.code() == Some(code),
            "verify ends with {} for {}",
            out.status,
            verdict.0
        );
        Ok(verdict)
    }

    /// `tracer verify` of a container that still runs: whatever it ends with.
    pub fn verify_now(&self, id: &str) -> Result<Verdict> {
        let out = programs::output(self.client("verify").args(["-o", "json", id]))?;
        Verdict::parse(&String::from_utf8_lossy(&out.stdout)).with_context(|| programs::both(&out))
    }

    /// `tracer attach`; what it says.
    pub fn attach(&self, args: &[&str]) -> Result<Value> {
        let text = programs::success(self.client("attach").args(["-o", "json"]).args(args))?;
        serde_json::from_str(&text).with_context(|| text)
    }

    /// `tracer detach`, which must have lost nothing.
    pub fn detach(&self, id: &str) -> Result<Verdict> {
        Verdict::parse(&programs::success(
            self.client("detach").args(["-o", "json", id]),
        )?)
    }

    /// The verdict once the container has gone and its ring is drained.
    pub fn verdict_at_end(&self, id: &str) -> Result<Verdict> {
        wait::until(&format!("the end of {id} in the daemon"), wait::LONG, || {
            let verdict = self.verify_now(id)?;
            Ok((verdict.state() == "gone").then_some(()))
        })?;
        self.verify(id)
    }

    /// `tracer stats` of all phases: the rows, by system call.
    pub fn stats(&self, id: &str) -> Result<Stats> {
        Stats::parse(&programs::success(
            self.client("stats").args(["--phase", "all", "-o", "json", id]),
        )?)
    }

    /// Starts `tracer tail` of a container that may not be there yet: from its first event to its end.
    pub fn tail(&self, id: &str, args: &[&str]) -> Result<Tail> {
        self.tail_of(id, &[args, &[id]].concat())
    }

    /// The same of whatever the arguments select; `name` is for its files.
    pub fn tail_of(&self, name: &str, args: &[&str]) -> Result<Tail> {
        self.tail_by(self.client("tail"), name, args)
    }

    /// The same by that command.
    pub fn tail_by(&self, mut command: Command, name: &str, args: &[&str]) -> Result<Tail> {
        let base = self.dir().join(format!("tail-{name}"));
        let (out, err) = (base.with_extension("out"), base.with_extension("err"));
        command.args(["--since-start", "--until-gone"]).args(args);
        command.stdout(File::create(&out)?).stderr(File::create(&err)?);
        let child = command.spawn().with_context(|| programs::show(&command))?;
        Ok(Tail { child, out, err })
    }

    /// Starts `tracer tail` that collects all events as JSON.
    pub fn tail_all(&self, id: &str) -> Result<Tail> {
        self.tail(id, &["-o", "json", "--phase", "all"])
    }

    /// After the daemon has ended: none of its programs is attached, no process of it lives.
    pub fn leaves_nothing(&self) -> Result<()> {
        leaks::none_of(self.dir())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // It may have been stopped by SIGSTOP, or hang: then it goes without good-bye.
            let ended = self
                .signal(Signal::CONT)
                .and_then(|()| self.signal(Signal::TERM))
                .and_then(|()| {
                    wait::exit(&mut self.child, "tracer daemon", Duration::from_secs(10)).map(|_| ())
                });
            if let Err(why) = ended {
                eprintln!("daemon: {why:#}; killed");
                drop(self.child.kill());
                drop(self.child.wait());
            }
        }
        if self.quiet {
            return;
        }
        for start in 1..=self.starts {
            let log = fs::read_to_string(log_path(self.dir(), start)).unwrap_or_default();
            eprintln!("--- log of daemon {} (start {start})\n{log}", self.child.id());
        }
    }
}

fn log_path(dir: &Path, start: u32) -> PathBuf {
    dir.join(format!("daemon-{start}.log"))
}

fn spawn(mut command: Command, dir: &Path, start: u32, args: &[&str]) -> Result<Child> {
    let log = File::create(log_path(dir, start))?;
    command
        .args(["daemon", "--linger", "0s", "--runtime-dir"])
        .arg(dir)
        .args(args);
    command.stdout(log.try_clone()?).stderr(log).stdin(Stdio::null());
    command.spawn().with_context(|| programs::show(&command))
}

/// A running `tracer tail`.
pub struct Tail {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Tail {
    /// Waits until the daemon has taken it; only for a container that is not there yet.
    pub fn opened(self) -> Result<Self> {
        wait::until("the tail to be open", wait::LONG, || {
            let said = fs::read_to_string(&self.err)?;
            Ok(said.contains("waiting for container").then_some(()))
        })?;
        Ok(self)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Waits for its end and returns the events.
    pub fn events(mut self) -> Result<Vec<Event>> {
        event::parse(&self.finish()?)
    }

    /// Waits for its end and returns what it printed.
    pub fn text(mut self) -> Result<String> {
        self.finish()
    }

    /// Waits for its end, whatever it says of losses: its exit code, what it printed, what it complained of.
    pub fn end(mut self) -> Result<(Option<i32>, String, String)> {
        let status = wait::exit(&mut self.child, "tracer tail", 2 * wait::LONG)?;
        Ok((
            status.code(),
            fs::read_to_string(&self.out)?,
            fs::read_to_string(&self.err)?,
        ))
    }

    fn finish(&mut self) -> Result<String> {
        let status = wait::exit(&mut self.child, "tracer tail", 2 * wait::LONG)
            .with_context(|| fs::read_to_string(&self.err).unwrap_or_default())?;
        let out = fs::read_to_string(&self.out)?;
        let err = fs::read_to_string(&self.err)?;
        ensure!(status.success(), "tracer tail: {status}\n{err}");
        Ok(out)
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// The answer of `tracer stats -o json`.
#[derive(Clone, Debug)]
pub struct Stats(pub Value);

impl Stats {
    pub fn parse(text: &str) -> Result<Self> {
        let stats = Self(serde_json::from_str(text).with_context(|| text.to_owned())?);
        ensure!(
            stats.0["overflow"] == 0,
            "stats has calls without a row: {}",
            stats.0
        );
        Ok(stats)
    }

    /// Calls that returned, by name.
    pub fn counts(&self) -> Result<event::Counts> {
        let mut counts = event::Counts::new();
        for row in self.0["calls"].as_array().context("stats has no calls")? {
            let name = row["syscall"]
                .as_str()
                .with_context(|| format!("no name in {row}"))?;
            let calls = row["calls"]
                .as_u64()
                .with_context(|| format!("no calls in {row}"))?;
            if calls > 0 {
                *counts.entry(name.to_owned()).or_default() += calls;
            }
        }
        Ok(counts)
    }
}
