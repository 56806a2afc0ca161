//! Thaws what a process froze that is gone: a small process of its own, which lives as long as the other end of its
//! standard input. What ends the one, be it SIGKILL, does not end the other.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    io::{self, BufRead, Write},
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::group::words;

/// The hidden verb of the command line that is the guard.
pub const VERB: &str = "thaw-when-gone";

/// The guard's other end.
pub(super) struct Guard {
    child: Child,
    /// Readable when the guard has ended.
    pub(super) ended: OwnedFd,
    /// Closed first: its end is what the guard waits for.
    tell: Option<ChildStdin>,
}

impl Guard {
    pub(super) fn start() -> Result<Self> {
        let program = std::env::current_exe().context("find this program")?;
        let mut child = Command::new(program)
            .arg(VERB)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("start the process that thaws what is frozen when this one is gone")?;
        let tell = child.stdin.take();
        let ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
            .context("watch the process that thaws what is frozen")?;
        Ok(Self { child, ended, tell })
    }

    /// Thaws that, if this process ends.
    pub(super) fn keep(&mut self, switch: &Path) -> io::Result<()> {
        self.line(b'+', switch)
    }

    /// No more: it is thawed.
    pub(super) fn forget(&mut self, switch: &Path) {
        // One that is gone has thawed all.
        let _gone = self.line(b'-', switch);
    }

    fn line(&mut self, sign: u8, switch: &Path) -> io::Result<()> {
        let path = switch.as_os_str().as_bytes();
        let line = [&[sign], path, b"\n"].concat();
        self.tell.as_mut().map_or(Ok(()), |tell| tell.write_all(&line))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.tell.take());
        // It ends at once.
        let _reaped = self.child.wait();
    }
}

/// The guard: reads what is to be thawed, until the other end is gone.
///
/// # Errors
/// When the signals that end the other process cannot be held off.
pub fn run() -> Result<()> {
    let ends = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&ends), None).context("block signals")?;
    let mut switches = BTreeSet::new();
    for line in io::stdin().lock().split(b'\n') {
        let Ok(line) = line else { break };
        let path = |line: &[u8]| OsStr::from_bytes(line).to_owned();
        match line.split_first() {
            Some((b'+', switch)) => switches.insert(path(switch)),
            Some((b'-', switch)) => switches.remove(&path(switch)),
            _ => false,
        };
    }
    for switch in switches {
        let switch = Path::new(&switch);
        // A group that is gone holds nobody.
        let _gone = fs::write(switch, words(switch)[1]);
    }
    Ok(())
}
