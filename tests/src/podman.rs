//! podman with a storage of its own and one image, busybox.

use crate::{hook, image, programs, user::User};
use anyhow::{Context, Result};
use serde_json::json;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;

const IMAGE: &str = "localhost/tt-busybox:1";

/// A storage; it goes with this.
pub struct Podman {
    dir: TempDir,
    /// Whose podman it is; root's without one.
    user: Option<User>,
    hooks_dir: bool,
}

impl Podman {
    /// Imports the image and hangs our hook in for containers of that daemon that bear the annotation.
    pub fn new(runtime_dir: &Path) -> Result<Self> {
        Self::hooked(runtime_dir, None)
    }

    /// The same for a user's own podman.
    pub fn hooked(runtime_dir: &Path, user: Option<User>) -> Result<Self> {
        Self::bare(user)?.with_hooks(runtime_dir)
    }

    /// The same with an image of that root file system.
    pub fn of(tar: &Path, runtime_dir: &Path, user: Option<User>) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("tt-podman-").tempdir()?;
        Self::importing(dir, tar, user)?.with_hooks(runtime_dir)
    }

    fn with_hooks(mut self, runtime_dir: &Path) -> Result<Self> {
        fs::create_dir(self.path("hooks.d"))?;
        self.hook(runtime_dir, &[], "^container-tracer\\.io/trace$", "^true$")?;
        self.hooks_dir = true;
        Ok(self)
    }

    /// Hangs our hook in with these options for containers with an annotation that these expressions match.
    pub fn hook(&self, runtime_dir: &Path, options: &[&str], key: &str, value: &str) -> Result<()> {
        let program = match &self.user {
            Some(user) => user.program(&programs::hook()?)?,
            None => programs::hook()?,
        };
        let dir = runtime_dir.to_str().context("runtime directory")?;
        for stage in ["createRuntime", "poststop"] {
            let words = ["tracer-hook", "--runtime-dir", dir, "--timeout", hook::PATIENCE];
            let args = [&words, options, &[stage]].concat();
            let hook = json!({
                "version": "1.0.0",
                "hook": {"path": program, "args": args, "timeout": 60},
                "when": {"annotations": {key: value}},
                "stages": [stage],
            });
            let name = format!("{}{stage}.json", options.concat());
            fs::write(Path::new(&self.path("hooks.d")).join(name), hook.to_string())?;
        }
        Ok(())
    }

    /// Imports the image. The hooks are those that podman reads with this machine's or the user's configuration.
    pub fn bare(user: Option<User>) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("tt-podman-").tempdir()?;
        let tar = image::rootfs_tar(dir.path())?;
        Self::importing(dir, &tar, user)
    }

    fn importing(dir: TempDir, tar: &Path, user: Option<User>) -> Result<Self> {
        if let Some(user) = &user {
            user.own(dir.path())?;
        }
        let podman = Self {
            dir,
            user,
            hooks_dir: false,
        };
        programs::success(podman.command().args(["import", "--quiet"]).arg(tar).arg(IMAGE))?;
        Ok(podman)
    }

    pub fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn command(&self) -> Command {
        let mut command = match &self.user {
            Some(user) => user.command("podman"),
            None => programs::command("podman"),
        };
        // conmon leaves a file `oom` where it was started, of a container that was short of memory.
        command.current_dir(self.dir.path());
        command.args([
            "--root",
            &self.path("root"),
            "--runroot",
            &self.path("run"),
            "--tmpdir",
            &self.path("tmp"),
        ]);
        command.args([
            "--storage-driver",
            "vfs",
            "--cgroup-manager",
            "cgroupfs",
            "--events-backend",
            "none",
        ]);
        command.args(["--runtime", "runc"]);
        if self.hooks_dir {
            command.args(["--hooks-dir", &self.path("hooks.d")]);
        }
        command
    }

    /// Makes a container of that command, with these options; its id. Without others, it has no network, and limits
    /// that a machine does not refuse.
    pub fn create(&self, options: &[&str], args: &[&str]) -> Result<String> {
        let mut command = self.command();
        command.args(["create", "--rm"]);
        if !options.contains(&"--network") {
            command.args(["--network", "none"]);
        }
        // The defaults raise limits, which a machine may refuse even to root.
        for limit in ["nofile=1024:4096", "nproc=4096:8192"] {
            let (name, _) = limit.split_once('=').unwrap_or_default();
            if !options.iter().any(|option| option.starts_with(name)) {
                command.args(["--ulimit", limit]);
            }
        }
        Ok(programs::success(command.args(options).arg(IMAGE).args(args))?
            .trim()
            .to_owned())
    }

    /// Runs it to its end; what it printed.
    pub fn start(&self, id: &str) -> Result<String> {
        programs::success(self.command().args(["start", "--attach", id]))
    }

    /// The same, whatever it ends with.
    pub fn attempt(&self, id: &str) -> Result<Output> {
        programs::output(self.command().args(["start", "--attach", id]))
    }

    /// Starts it and leaves it running; init's host process id.
    pub fn start_detached(&self, id: &str) -> Result<u32> {
        programs::success(self.command().args(["start", id]))?;
        let pid = programs::success(self.command().args(["inspect", "--format", "{{.State.Pid}}", id]))?;
        pid.trim().parse().with_context(|| pid.clone())
    }

    /// Kills and removes it.
    pub fn remove(&self, id: &str) -> Result<()> {
        programs::success(self.command().args(["rm", "--force", "--time", "0", id])).map(drop)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Its containers first: what they have mounted would keep the folder.
        let removed = programs::output(self.command().args(["rm", "--all", "--force"]));
        if let Ok(out) = removed.as_ref().map(programs::both)
            && !removed.is_ok_and(|out| out.status.success())
        {
            eprintln!("podman rm: {out}");
        }
        if self.user.is_some() {
            // The process that keeps the user's namespaces would keep the user too.
            drop(programs::output(self.command().args(["system", "migrate"])));
        }
    }
}
