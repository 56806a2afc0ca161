//! Real container runtimes: runc, and crun where cgroups are mounted as it wants them.

use crate::{Bundle, programs, unique_id, wait};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// A runtime's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    Runc,
    Crun,
}

/// crun refuses a cgroup2 mounted beside v1 controllers; it does not see it in a mount namespace of its own.
const WITHOUT_CGROUP2: &str =
    "if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; exec \"$@\"";

impl Runtime {
    /// The runtime with these arguments.
    pub fn command(self, args: &[&str]) -> Command {
        let mut command = match self {
            Self::Runc => programs::command("runc"),
            Self::Crun => {
                let mut command = programs::command("unshare");
                command.args([
                    "-m",
                    "--propagation",
                    "private",
                    "sh",
                    "-c",
                    WITHOUT_CGROUP2,
                    "sh",
                    "crun",
                ]);
                command
            }
        };
        command.args(args);
        command
    }

    /// Time of `create` and `start`, under an id of its own; the container is deleted then.
    pub fn start_timed(self, bundle: &mut Bundle) -> Result<Duration> {
        bundle.id = unique_id("start");
        let (id, path) = (bundle.id.clone(), bundle.path().to_owned());
        let path = path.to_str().context("bundle path")?;
        let log = File::create(bundle.path().join("log"))?;
        let run = |args: &[&str]| -> Result<()> {
            let mut command = self.command(args);
            // The container has them too: a pipe would end only with it.
            let status = command.stdout(Stdio::null()).stderr(log.try_clone()?).status()?;
            ensure!(status.success(), "{}: {status}", programs::show(&command));
            Ok(())
        };
        let begin = Instant::now();
        run(&["create", "-b", path, &id])?;
        run(&["start", &id])?;
        let time = begin.elapsed();
        run(&["delete", "--force", &id])?;
        Ok(time)
    }

    /// Starts `run` in the foreground and does not wait for it.
    pub fn start(self, bundle: Bundle) -> Result<Container> {
        bundle.write()?;
        let (stdout, stderr) = (bundle.path().join("stdout"), bundle.path().join("stderr"));
        let path = bundle.path().to_str().context("bundle path")?.to_owned();
        let mut command = self.command(&["run", "-b", &path, &bundle.id]);
        command
            .stdout(File::create(&stdout)?)
            .stderr(File::create(&stderr)?);
        let child = command.spawn().with_context(|| programs::show(&command))?;
        Ok(Container {
            runtime: self,
            bundle,
            child: Some(child),
            stdout,
            stderr,
            quiet: false,
        })
    }

    /// Runs to the end.
    pub fn run(self, bundle: Bundle) -> Result<(ExitStatus, Container)> {
        let mut container = self.start(bundle)?;
        let status = container.wait()?;
        Ok((status, container))
    }
}

/// A container that was started; it is deleted when this is dropped.
pub struct Container {
    runtime: Runtime,
    pub bundle: Bundle,
    child: Option<Child>,
    stdout: PathBuf,
    stderr: PathBuf,
    quiet: bool,
}

impl Container {
    /// Prints nothing at its end.
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    pub fn id(&self) -> &str {
        &self.bundle.id
    }

    /// Waits for the runtime's `run` to end; its status is the container's.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let child = self.child.as_mut().context("waited for already")?;
        let status = wait::exit(child, &self.bundle.id, 3 * wait::LONG)?;
        self.child = None;
        Ok(status)
    }

    /// Waits for it, and for success.
    pub fn success(&mut self) -> Result<()> {
        let status = self.wait()?;
        ensure!(
            status.success(),
            "container {}: {status}\n{}",
            self.bundle.id,
            self.outputs()
        );
        Ok(())
    }

    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    pub fn outputs(&self) -> String {
        format!(
            "--- stdout\n{}\n--- stderr\n{}",
            read(&self.stdout),
            read(&self.stderr)
        )
    }

    /// Waits until it has printed this line.
    pub fn printed(&mut self, line: &str) -> Result<()> {
        let (stdout, stderr) = (self.stdout.clone(), self.stderr.clone());
        let child = self.child.as_mut().context("it has ended")?;
        wait::until(&format!("{line:?} of {}", self.bundle.id), wait::LONG, || {
            if read(&stdout).lines().any(|printed| printed == line) {
                return Ok(Some(()));
            }
            let ended = child.try_wait()?;
            ensure!(
                ended.is_none(),
                "container ended ({ended:?}) before {line:?}: {} {}",
                read(&stdout),
                read(&stderr)
            );
            Ok(None)
        })
    }

    /// Host process id of its init.
    pub fn init_pid(&self) -> Result<u32> {
        let state = programs::success(&mut self.runtime.command(&["state", &self.bundle.id]))?;
        let state: Value = serde_json::from_str(&state)?;
        let pid = state["pid"]
            .as_u64()
            .filter(|pid| *pid > 0)
            .with_context(|| format!("no pid in {state}"))?;
        Ok(u32::try_from(pid)?)
    }

    /// Waits until its init stands in this system call.
    pub fn stands_in(&self, nr: libc::c_long) -> Result<()> {
        let path = format!("/proc/{}/syscall", self.init_pid()?);
        wait::until(
            &format!("init of {} to be in call {nr}", self.id()),
            wait::LONG,
            || {
                let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
                Ok((text.split_whitespace().next() == Some(&nr.to_string())).then_some(()))
            },
        )
    }

    /// Runs a command in it.
    pub fn exec(&self, args: &[&str]) -> Result<String> {
        let args = [&["exec", self.id()], args].concat();
        programs::success(&mut self.runtime.command(&args))
    }

    /// Kills the runtime that started it, wherever that is; the container may be there or not.
    pub fn kill_runtime(&mut self) -> Result<()> {
        let mut child = self.child.take().context("waited for already")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Sends a signal to its init.
    pub fn kill(&self, signal: &str) -> Result<()> {
        programs::success(&mut self.runtime.command(&["kill", self.id(), signal])).map(|_| ())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.child.is_some() {
            let delete = self
                .runtime
                .command(&["delete", "--force", &self.bundle.id])
                .stderr(Stdio::null())
                .output();
            // A container that has already been deleted is what we want.
            drop(delete);
        }
        if let Some(child) = &mut self.child
            && wait::exit(child, &self.bundle.id, wait::LONG).is_err()
        {
            eprintln!("{}: the runtime does not end", self.bundle.id);
        }
        if self.quiet {
            return;
        }
        eprintln!("container {}:\n{}", self.bundle.id, self.outputs());
    }
}

fn read(path: &Path) -> String {
    std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}
