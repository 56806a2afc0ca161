//! A dockerd with everything of its own: configuration, storage, socket, one image.

use crate::{image, programs, wait};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command},
};
use tempfile::TempDir;

const IMAGE: &str = "tt-busybox:1";

/// Its files, in a folder that goes with this. The daemon is started by [`Docker::start`].
pub struct Docker {
    dir: TempDir,
    child: Option<Child>,
}

impl Docker {
    /// A configuration as administrators write them; a test may change it before the start.
    pub fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("tt-docker-").tempdir()?;
        let docker = Self { dir, child: None };
        let configuration = "{\n    \"log-level\": \"warn\",\n    \"shutdown-timeout\": 3\n}\n";
        fs::write(docker.config(), configuration)?;
        Ok(docker)
    }

    pub fn config(&self) -> PathBuf {
        self.path("daemon.json")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn socket(&self) -> String {
        format!("unix://{}", self.path("docker.sock").display())
    }

    /// Starts the daemon without networks, waits until it answers, and imports the image.
    pub fn start(&mut self) -> Result<()> {
        let log = File::create(self.path("log"))?;
        let mut command = programs::command("dockerd");
        command.arg("--config-file").arg(self.config());
        command.arg("--data-root").arg(self.path("data"));
        command.arg("--exec-root").arg(self.path("exec"));
        command.arg("--pidfile").arg(self.path("pid"));
        command.arg("--host").arg(self.socket());
        command.args([
            "--iptables=false",
            "--ip6tables=false",
            "--bridge=none",
            // The defaults raise limits, which a machine may refuse even to root.
            "--default-ulimit",
            "nofile=1024:4096",
        ]);
        command.stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().with_context(|| programs::show(&command))?);
        wait::until("dockerd to answer", wait::LONG, || {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().transpose()) {
                bail!("dockerd: {}\n{}", status?, self.log());
            }
            let out = programs::output(self.command().arg("info"))?;
            Ok(out.status.success().then_some(()))
        })
        .with_context(|| self.log())?;
        let tar = image::rootfs_tar(self.dir.path())?;
        programs::success(self.command().arg("import").arg(tar).arg(IMAGE)).map(|_| ())
    }

    fn command(&self) -> Command {
        let mut command = programs::command("docker");
        command.env("DOCKER_CONFIG", self.dir.path());
        command.arg("--host").arg(self.socket());
        command
    }

    /// Makes a container; its id.
    pub fn create(&self, options: &[&str], args: &[&str]) -> Result<String> {
        let mut command = self.command();
        command.args(["create", "--network", "none"]).args(options);
        Ok(programs::success(command.arg(IMAGE).args(args))?
            .trim()
            .to_owned())
    }

    /// Runs it to its end; what it printed.
    pub fn start_container(&self, id: &str) -> Result<String> {
        programs::success(self.command().args(["start", "--attach", id]))
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Ends the daemon, and its containerd with it.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let pid = Pid::from_raw(child.id().try_into()?).context("pid 0")?;
        kill_process(pid, Signal::TERM)?;
        wait::exit(&mut child, "dockerd", wait::LONG)?;
        Ok(())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if let Err(why) = self.stop() {
            eprintln!("dockerd: {why:#}");
        }
        eprintln!("--- log of dockerd\n{}", self.log());
    }
}
