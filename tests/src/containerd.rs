//! A containerd with everything of its own: configuration, storage, sockets, images.

use crate::{cri::Cri, image, programs, wait};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command},
};
use tempfile::TempDir;

/// Runs what its arguments say.
pub const BUSYBOX: &str = "localhost/tt-busybox:1";
/// Does nothing: the sandbox of a Pod.
const PAUSE: &str = "localhost/tt-pause:1";

/// Its files, in a folder that goes with this. The daemon is started by [`Containerd::start`].
pub struct Containerd {
    dir: TempDir,
    /// The daemon's program, and that of its client `ctr`.
    pub program: PathBuf,
    pub ctr: PathBuf,
    child: Option<Child>,
    starts: u32,
}

impl Containerd {
    /// Debian's containerd with a configuration of version 2, which a test may change before the start.
    pub fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("tt-containerd-").tempdir()?;
        let containerd = Self {
            dir,
            program: "containerd".into(),
            ctr: "ctr".into(),
            child: None,
            starts: 0,
        };
        fs::write(containerd.config(), containerd.config_v2())?;
        Ok(containerd)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn config(&self) -> PathBuf {
        self.dir().join("config.toml")
    }

    pub fn socket(&self) -> PathBuf {
        self.dir().join("containerd.sock")
    }

    /// A configuration as administrators write them, comments and all.
    fn config_v2(&self) -> String {
        let dir = self.dir().display();
        format!(
            r#"# A node's configuration.
version = 2
root = "{dir}/root"
state = "{dir}/state"
oom_score = 0

[grpc]
  address = "{dir}/containerd.sock"
[ttrpc]
  address = "{dir}/containerd.sock.ttrpc"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true   # root may have no right to lower it
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{dir}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "runc" # the first in PATH
[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/opt"
"#
        )
    }

    /// Starts the daemon, imports the images when this is its first start, and waits until CRI answers.
    pub fn start(&mut self) -> Result<Cri> {
        self.starts += 1;
        let log = File::create(self.log_path())?;
        let mut command = programs::command(&self.program);
        command.arg("--config").arg(self.config());
        command.stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().with_context(|| programs::show(&command))?);
        let cri = Cri::new(&self.socket())?;
        wait::until("containerd to answer", wait::LONG, || {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().transpose()) {
                bail!("containerd: {}\n{}", status?, self.log());
            }
            Ok(cri.call("Version", &serde_json::json!({})).ok())
        })
        .with_context(|| self.log())?;
        if self.starts == 1 {
            let layer = image::rootfs_tar(self.dir())?;
            for (name, entrypoint) in [(BUSYBOX, &[][..]), (PAUSE, &["/bin/sleep", "86400"])] {
                let archive = image::archive(self.dir(), name, &layer, entrypoint)?;
                programs::success(self.ctr().args(["images", "import"]).arg(archive))?;
            }
        }
        Ok(cri)
    }

    /// Its command-line client, in Kubernetes' namespace.
    pub fn ctr(&self) -> Command {
        let mut command = programs::command(&self.ctr);
        command
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", "k8s.io"]);
        command
    }

    /// Ends the daemon; Pods that run go on without it.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let pid = Pid::from_raw(child.id().try_into()?).context("pid 0")?;
        kill_process(pid, Signal::TERM)?;
        wait::exit(&mut child, "containerd", wait::LONG)?;
        Ok(())
    }

    /// What it wrote since its latest start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.dir().join(format!("containerd-{}.log", self.starts))
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if let Err(why) = self.stop() {
            eprintln!("containerd: {why:#}");
        }
        eprintln!("--- log of containerd\n{}", self.log());
    }
}
