//! podman with a storage of its own and one image, busybox.

use crate::{Rootfs, bundle, programs};
use anyhow::Result;
use serde_json::json;
use std::{fs, path::Path, process::Command};
use tempfile::TempDir;

const IMAGE: &str = "localhost/tt-busybox:1";

/// A storage; it goes with this.
pub struct Podman {
    dir: TempDir,
}

impl Podman {
    /// Imports the image and installs our hook for containers of that daemon that bear the annotation.
    pub fn new(runtime_dir: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("tt-podman-").tempdir()?;
        let podman = Self { dir };
        let hooks = podman.path("hooks.d");
        fs::create_dir(&hooks)?;
        let (rootfs, tar) = (podman.path("rootfs"), podman.path("rootfs.tar"));
        bundle::make_rootfs(Path::new(&rootfs), Rootfs::Busybox)?;
        programs::success(programs::command("tar").args(["-C", &rootfs, "-cf", &tar, "."]))?;
        programs::success(podman.command().args(["import", "--quiet", &tar, IMAGE]))?;
        for stage in ["createRuntime", "poststop"] {
            let hook = json!({
                "version": "1.0.0",
                "hook": {
                    "path": programs::hook()?,
                    "args": ["tracer-hook", "--runtime-dir", runtime_dir, stage],
                    "timeout": 10,
                },
                "when": {"annotations": {"^container-tracer\\.io/trace$": "^true$"}},
                "stages": [stage],
            });
            fs::write(Path::new(&hooks).join(format!("{stage}.json")), hook.to_string())?;
        }
        Ok(podman)
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn command(&self) -> Command {
        let mut command = programs::command("podman");
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
        command.args(["--runtime", "runc", "--hooks-dir", &self.path("hooks.d")]);
        command
    }

    /// Makes a container of that command, with these options; its id.
    pub fn create(&self, options: &[&str], args: &[&str]) -> Result<String> {
        let mut command = self.command();
        command.args(["create", "--rm", "--network", "none"]);
        // The defaults raise limits, which a machine may refuse even to root.
        command.args(["--ulimit", "nofile=1024:4096", "--ulimit", "nproc=4096:8192"]);
        Ok(programs::success(command.args(options).arg(IMAGE).args(args))?
            .trim()
            .to_owned())
    }

    /// Runs it to its end; what it printed.
    pub fn start(&self, id: &str) -> Result<String> {
        programs::success(self.command().args(["start", "--attach", id]))
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
    }
}
