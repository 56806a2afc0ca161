//! The units of `packaging/systemd` under a real systemd, on the host: its user manager, run by root in a cgroup of its own.
//! It needs no init and applies all that a unit says of rights (capabilities, seccomp, mounts), and what it starts sees
//! the host's processes, which a booted container ([`crate::machine`]) does not.

use crate::{programs, unique_id, wait};
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// What a machine that systemd booted has, in a mount namespace of the manager's own: the mark that it did, nodes that
/// hide others, and a `/run` that is a mount. Then the manager, in the cgroups that `$@` names.
const MANAGER: &str = r#"
set -e
for group in "$@"; do echo $$ > "$group/cgroup.procs"; done
if [ ! -d /run/systemd/system ]; then
    mount --bind /run /run
    mkdir -p /run/systemd
    mount -t tmpfs -o mode=755 none /run/systemd
    mkdir -p /run/systemd/system /run/systemd/inaccessible
    cd /run/systemd/inaccessible
    mkdir -m 000 dir
    mkfifo -m 000 fifo
    mknod -m 000 chr c 0 0
    mknod -m 000 blk b 0 0
    touch reg
    chmod 000 reg
    cd /
fi
exec /lib/systemd/systemd --user --unit=tracer.socket
"#;

/// A manager with `tracer.socket` started, and `tracer.service` to be started by it.
pub struct Service {
    dir: TempDir,
    manager: Child,
    groups: Vec<PathBuf>,
}

impl Service {
    /// With further lines in the unit's `[Service]`.
    pub fn start(lines: &str) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("tt-service-")
            .tempdir_in("/run")?;
        units(dir.path(), lines)?;
        let groups = groups(&unique_id("service"))?;
        let mut manager = programs::command("unshare");
        manager.args(["--mount", "sh", "-c", MANAGER, "sh"]).args(&groups);
        let path = format!("{}:/usr/lib/systemd/user", dir.path().display());
        manager.env("SYSTEMD_UNIT_PATH", path);
        manager.env("XDG_RUNTIME_DIR", dir.path()).env("HOME", dir.path());
        let manager = manager.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut service = Self { dir, manager, groups };
        wait::until("tracer.socket", wait::LONG, || {
            ensure!(service.manager.try_wait()?.is_none(), "systemd --user ended");
            Ok((service.property("tracer.socket", "ActiveState")? == "active").then_some(()))
        })?;
        Ok(service)
    }

    /// The daemon's runtime directory.
    pub fn runtime_dir(&self) -> PathBuf {
        self.dir.path().join("tracer")
    }

    /// `systemctl`.
    pub fn systemctl(&self, words: &[&str]) -> Command {
        let mut command = programs::command("systemctl");
        command
            .env("XDG_RUNTIME_DIR", self.dir.path())
            .arg("--user")
            .args(words);
        command
    }

    /// Of a unit, what systemd says of it; nothing while the manager does not answer.
    pub fn property(&self, unit: &str, name: &str) -> Result<String> {
        let out = programs::output(&mut self.systemctl(&["show", "--value", "--property", name, unit]))?;
        Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    }

    /// Process id of the daemon, once it is ready.
    pub fn ready(&self) -> Result<u32> {
        wait::until("tracer.service", wait::LONG, || {
            let state = self.property("tracer.service", "ActiveState")?;
            ensure!(state != "failed", "tracer.service failed\n{}", self.log());
            let pid = self.property("tracer.service", "MainPID")?.parse().unwrap_or(0);
            Ok((state == "active" && pid != 0).then_some(pid))
        })
        .with_context(|| self.log())
    }

    /// What the daemon wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// A client command of this daemon.
    pub fn client(&self, words: &[&str]) -> Result<Command> {
        let mut command = programs::command(programs::tracer()?);
        command.env("TRACER_RUNTIME_DIR", self.runtime_dir()).args(words);
        Ok(command)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It stops its units first.
        let ended = i32::try_from(self.manager.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = ended {
            let _gone = kill_process(pid, Signal::TERM);
        }
        if let Err(why) = wait::exit(&mut self.manager, "systemd --user", wait::LONG) {
            eprintln!("{why:#}");
            let _gone = self.manager.kill();
            let _gone = self.manager.wait();
        }
        for group in &self.groups {
            if let Err(why) = remove(group) {
                eprintln!("{}: {why}", group.display());
            }
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

/// The units, with the paths of this checkout and of this directory in place of the installed ones.
fn units(dir: &Path, lines: &str) -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    let daemon = programs::tracer()?;
    let service = fs::read_to_string(source.join("tracer.service"))?;
    let exec = "ExecStart=/usr/bin/tracer";
    ensure!(service.contains(exec), "the unit starts another program");
    let service = service
        .replace(
            exec,
            &format!("ExecStart={} --runtime-dir %t/tracer", daemon.display()),
        )
        // Only an installation makes the group; packages' tests have it.
        .replace("SupplementaryGroups=tracer\n", "")
        .replace(
            "\n[Install]",
            &format!("StandardError=file:{}/log\n{lines}\n\n[Install]", dir.display()),
        );
    fs::write(dir.join("tracer.service"), service)?;
    let socket = fs::read_to_string(source.join("tracer.socket"))?;
    fs::write(
        dir.join("tracer.socket"),
        socket.replace("/run/tracer/", "%t/tracer/"),
    )?;
    Ok(())
}

/// A cgroup of that name in each hierarchy that systemd uses.
fn groups(name: &str) -> Result<Vec<PathBuf>> {
    let mut groups = Vec::new();
    for root in [
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/systemd",
        "/sys/fs/cgroup/unified",
    ] {
        let root = Path::new(root);
        if root.join("cgroup.procs").exists() {
            let group = root.join(name);
            fs::create_dir(&group).with_context(|| group.display().to_string())?;
            groups.push(group);
        }
    }
    ensure!(!groups.is_empty(), "no cgroups are mounted");
    Ok(groups)
}

/// Removes a cgroup and those in it, once their last processes have gone.
fn remove(group: &Path) -> Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    wait::until("an empty cgroup", wait::LONG, || Ok(fs::remove_dir(group).ok()))
}
