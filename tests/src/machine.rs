//! A Debian machine: systemd as its first process, in systemd-nspawn, with nothing installed but a minimal system. What is
//! written goes into a layer that goes with it.

use crate::{programs, unique_id, wait};
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command},
};
use tempfile::TempDir;

/// Beside a minimal Debian.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,man-db,bash-completion,init-system-helpers";

/// The system, made by debootstrap where cargo's folder does not have it yet.
fn system() -> Result<PathBuf> {
    let dir = programs::target()?.join("machine");
    let (system, new) = (dir.join("system"), dir.join("new"));
    if !system.exists() {
        // Half of one from an earlier try is worth nothing.
        if new.exists() {
            fs::remove_dir_all(&new)?;
        }
        fs::create_dir_all(&dir)?;
        let mut debootstrap = programs::command("debootstrap");
        debootstrap.args(["--variant=minbase", "--include", PACKAGES, "bookworm"]);
        programs::success(debootstrap.arg(&new)).context("make a Debian system")?;
        fs::rename(&new, &system)?;
    }
    Ok(system)
}

/// A layer over the system, mounted.
pub struct Root {
    dir: TempDir,
}

impl Root {
    pub fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("tt-machine-").tempdir()?;
        for part in ["root", "upper", "work"] {
            fs::create_dir(dir.path().join(part))?;
        }
        let at = |part: &str| dir.path().join(part).display().to_string();
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            system()?.display(),
            at("upper"),
            at("work")
        );
        let mut mount = programs::command("mount");
        programs::success(
            mount
                .args(["-t", "overlay", "-o", &layers, "overlay"])
                .arg(at("root")),
        )?;
        Ok(Self { dir })
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// All paths there are, without what the kernel makes up.
    pub fn paths(&self) -> Result<BTreeSet<String>> {
        let mut find = programs::command("find");
        find.current_dir(self.path())
            .args([".", "-xdev", "-printf", "%P\\n"]);
        Ok(programs::success(&mut find)?.lines().map(str::to_owned).collect())
    }

    /// A command in there, without starting the system.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = programs::command("chroot");
        command.arg(self.path()).args(words);
        command
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if let Err(why) = programs::success(programs::command("umount").arg(self.path())) {
            eprintln!("{why:#}");
        }
    }
}

/// The machine while it runs.
pub struct Machine {
    root: Root,
    nspawn: Child,
    init: u32,
}

impl Machine {
    /// Boots it.
    pub fn boot() -> Result<Self> {
        let root = Root::new()?;
        let log = File::create(root.dir.path().join("console"))?;
        let mut nspawn = programs::command("systemd-nspawn");
        nspawn.args([
            "--quiet",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--capability=all",
        ]);
        nspawn.args(["--system-call-filter=bpf perf_event_open", "--console=pipe"]);
        nspawn.arg(format!("--machine={}", unique_id("machine")));
        nspawn.arg("--directory").arg(root.path());
        let nspawn = nspawn.stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut machine = Self {
            root,
            nspawn,
            init: 0,
        };
        wait::until("the machine to be up", wait::LONG, || {
            ensure!(machine.nspawn.try_wait()?.is_none(), "systemd-nspawn ended");
            // At first its child is one that makes the machine, and ends.
            let children = format!("/proc/{0}/task/{0}/children", machine.nspawn.id());
            let children = fs::read_to_string(children).unwrap_or_default();
            let first = children
                .split_whitespace()
                .next()
                .and_then(|pid| pid.parse().ok());
            let Some(init) = first else { return Ok(None) };
            machine.init = init;
            let out = programs::output(&mut machine.command(&["systemctl", "is-system-running"]))?;
            let state = String::from_utf8_lossy(&out.stdout).trim().to_owned();
            Ok(["running", "degraded"].contains(&state.as_str()).then_some(()))
        })
        .with_context(|| machine.console())?;
        Ok(machine)
    }

    pub fn root(&self) -> &Root {
        &self.root
    }

    fn console(&self) -> String {
        fs::read_to_string(self.root.dir.path().join("console")).unwrap_or_default()
    }

    /// A command in there.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = programs::command("nsenter");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command.arg(format!("--target={}", self.init));
        command.args([
            "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd",
        ]);
        command.args(words);
        command
    }

    /// Runs one; what it prints.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        programs::success(&mut self.command(words))
    }

    /// Copies a file into its `/root`; the path there.
    pub fn put(&self, from: &Path) -> Result<String> {
        let name = from
            .file_name()
            .context("no file name")?
            .to_string_lossy()
            .into_owned();
        // Past the mounts that it has on top of its directories.
        fs::copy(from, format!("/proc/{}/root/root/{name}", self.init))?;
        Ok(format!("/root/{name}"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.console());
        }
        // nspawn passes it on as an order to power off.
        if let Some(pid) = i32::try_from(self.nspawn.id()).ok().and_then(Pid::from_raw) {
            let _gone = kill_process(pid, Signal::TERM);
        }
        if let Err(why) = wait::exit(&mut self.nspawn, "systemd-nspawn", wait::LONG) {
            eprintln!("{why:#}");
            let _gone = self.nspawn.kill();
            let _gone = self.nspawn.wait();
        }
    }
}
