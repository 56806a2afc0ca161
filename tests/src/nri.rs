//! containerd with NRI, of newer Debian releases than the machine's, and our plugin beside it.

use crate::{containerd::Containerd, programs, wait};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Child,
};

/// Debian's releases with NRI: containerd 1.7 and 2.x.
pub const RELEASES: [&str; 2] = ["trixie", "sid"];
/// The one that does not move.
pub const STABLE: &str = "trixie";

/// containerd of that release, with NRI on, not started yet. `cargo xtask test` has fetched it.
pub fn containerd(release: &str) -> Result<Containerd> {
    let bin = programs::target()?
        .join("containerd")
        .join(release)
        .join("usr/bin");
    ensure!(
        bin.join("containerd").is_file(),
        "no containerd in {}: run `cargo xtask test`",
        bin.display()
    );
    let mut containerd = Containerd::new()?;
    containerd.program = bin.join("containerd");
    containerd.ctr = bin.join("ctr");
    let runtime_type = "runtime_type = \"io.containerd.runc.v2\"\n";
    let config = fs::read_to_string(containerd.config())?;
    ensure!(config.contains(runtime_type), "no runtime in {config}");
    // The shim of the machine's own containerd comes first in PATH.
    let shim = bin.join("containerd-shim-runc-v2");
    let config = config.replace(
        runtime_type,
        &format!("{runtime_type}      runtime_path = {shim:?}\n"),
    );
    let (socket, dir) = (socket(&containerd), containerd.dir().display().to_string());
    let nri = format!(
        "[plugins.\"io.containerd.nri.v1.nri\"]\n  disable = false\n  socket_path = {socket:?}\n  \
         plugin_path = \"{dir}/nri/plugins\"\n  plugin_config_path = \"{dir}/nri/conf.d\"\n"
    );
    fs::write(containerd.config(), config + &nri)?;
    Ok(containerd)
}

fn socket(containerd: &Containerd) -> PathBuf {
    containerd.dir().join("nri.sock")
}

/// A running `tracer nri`. Its log is printed when this is dropped, which the test program shows on failure.
pub struct Plugin {
    child: Child,
    log: PathBuf,
}

impl Plugin {
    /// Starts it for a daemon's directory, and waits until the runtime has told it what runs.
    pub fn start(containerd: &Containerd, runtime_dir: &Path) -> Result<Self> {
        Self::start_with(containerd, runtime_dir, &programs::hook()?)
    }

    /// With another program for the hook.
    pub fn start_with(containerd: &Containerd, runtime_dir: &Path, hook: &Path) -> Result<Self> {
        let log = containerd
            .dir()
            .join(format!("{}.log", crate::unique_id("plugin")));
        let mut command = programs::command(programs::tracer()?);
        command.arg("nri").arg("--socket").arg(socket(containerd));
        command.arg("--hook").arg(hook);
        command.arg("--runtime-dir").arg(runtime_dir);
        let file = File::create(&log)?;
        command.stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| programs::show(&command))?;
        let mut plugin = Self { child, log };
        plugin.synchronized(1)?;
        Ok(plugin)
    }

    /// Waits until the runtime has told it so many times what runs.
    pub fn synchronized(&mut self, times: usize) -> Result<()> {
        wait::until("the plugin to be in", wait::LONG, || {
            if let Some(status) = self.child.try_wait()? {
                bail!("tracer nri: {status}\n{}", self.log());
            }
            let told = self.log().matches("that ask for tracing run already").count();
            Ok((told >= times).then_some(()))
        })
        .with_context(|| self.log())
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Kills it, as the kernel would.
    pub fn kill(&mut self) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().try_into()?).context("pid 0")?;
        kill_process(pid, Signal::KILL)?;
        wait::exit(&mut self.child, "tracer nri", wait::LONG).map(|_| ())
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait()
            && let Err(why) = self.kill()
        {
            eprintln!("tracer nri: {why:#}");
        }
        eprintln!("--- log of the plugin\n{}", self.log());
    }
}
