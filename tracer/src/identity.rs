//! What a process file descriptor and namespace file descriptors say of a container's init. Numbers come from the
//! kernel, by fstat(2), fdinfo and ioctl_ns(2), never from a client.

mod tasks;

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use anyhow::{Context, Result, bail};
use procfs::process::Process;

use crate::registry::Identity;

pub use tasks::{Namespaces, container_of, id_by_cgroup};

/// Bytes of a file that has some hundred: a line of /proc/PID/stat, say.
const SHORT: usize = 4096;

/// Host process id behind a pidfd, and its number in its own PID namespace.
///
/// # Errors
/// When it is no pidfd, or its process is gone.
pub fn pids_of(pidfd: BorrowedFd<'_>) -> Result<(u32, u32)> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    // pidfd_open(2), and `pidfd_show_fdinfo` in kernel/fork.c: "Pid:" and "NSpid:"; -1 when it has been reaped.
    let text = short(&path).with_context(|| format!("read {path}"))?;
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    let pid = field("Pid:").context("the first file descriptor is no pidfd")?;
    if pid.starts_with('-') {
        bail!("the process has ended");
    }
    let pid = pid.parse().context("read the pid behind the pidfd")?;
    if pid == 0 {
        bail!("the process is in a PID namespace that is not below this one");
    }
    let inner = field("NSpid:")
        .and_then(|pids| pids.split_whitespace().last())
        .and_then(|pid| pid.parse().ok());
    Ok((pid, inner.unwrap_or(pid)))
}

/// Identity of the container whose init is behind `pidfd`.
///
/// # Errors
/// Names the descriptor that is not what it should be.
pub fn of(pidfd: BorrowedFd<'_>, pid_ns: BorrowedFd<'_>, mnt_ns: BorrowedFd<'_>) -> Result<Identity> {
    let (init_tgid, inner) = pids_of(pidfd)?;
    Ok(Identity {
        mnt_ns: namespace(mnt_ns, "mnt").context("the mount namespace descriptor")?,
        pid_ns: namespace(pid_ns, "pid").context("the PID namespace descriptor")?,
        owns_pid_ns: inner == 1,
        init_tgid,
    })
}

/// Inode of a namespace descriptor of that kind.
fn namespace(fd: BorrowedFd<'_>, kind: &str) -> Result<u32> {
    // nsfs names its files `mnt:[4026531832]`; no other file system's names look so.
    let link = rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())
        .context("read its name")?;
    let name = link.to_string_lossy();
    let inode = rustix::fs::fstat(fd).context("fstat")?.st_ino;
    if *name != *format!("{kind}:[{inode}]") {
        bail!("it is {name}, not a {kind} namespace");
    }
    u32::try_from(inode).context("its inode number")
}

/// The uid that owns the user namespace which owns a PID namespace: `None` when that user namespace is not below ours.
pub fn owner_of(pid_ns: BorrowedFd<'_>) -> Option<u32> {
    // NS_GET_USERNS and NS_GET_OWNER_UID, ioctl_ns(2).
    const NS_GET_USERNS: libc::c_ulong = 0xb701;
    const NS_GET_OWNER_UID: libc::c_ulong = 0xb704;
    // SAFETY: takes no argument and returns a new descriptor or -1.
    let user_ns = unsafe { libc::ioctl(pid_ns.as_raw_fd(), NS_GET_USERNS) };
    if user_ns < 0 {
        return None;
    }
    // SAFETY: the ioctl has just made it, and nobody else has it.
    let user_ns = unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(user_ns) };
    let mut uid: libc::uid_t = 0;
    // SAFETY: writes one uid_t to the pointer.
    let result = unsafe { libc::ioctl(user_ns.as_fd().as_raw_fd(), NS_GET_OWNER_UID, &raw mut uid) };
    (result == 0).then_some(uid)
}

/// Whether there is a task of that host process id.
pub fn exists(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(|pid| Process::new(pid).is_ok())
}

/// Clock ticks since boot when that process started.
pub fn started(pid: u32) -> Option<u64> {
    Some(
        Process::new(i32::try_from(pid).ok()?)
            .ok()?
            .stat()
            .ok()?
            .starttime,
    )
}

/// Whether the process of that marker is still the one that the marker means.
pub fn is_same_process(pid: i32, start: u64) -> bool {
    Process::new(pid)
        .and_then(|process| process.stat())
        .is_ok_and(|stat| stat.starttime == start)
}

/// Negative dentries of the node: names of which the kernel remembers that they are not there. `None` where it does not
/// tell (nr_negative of /proc/sys/fs/dentry-state, Linux 5.0).
pub fn negative_dentries() -> Option<u64> {
    let state = short("/proc/sys/fs/dentry-state").ok()?;
    state.split_whitespace().nth(4)?.parse().ok()
}

/// The environment that a process began with. Reads the process's own memory, which it may have made slow to read: for
/// the command line alone, never the daemon.
pub fn environment(pid: u32) -> Option<Vec<(String, String)>> {
    let environment = Process::new(i32::try_from(pid).ok()?).ok()?.environ().ok()?;
    let text = |word: &std::ffi::OsStr| word.to_string_lossy().into_owned();
    let mut pairs: Vec<_> = environment
        .iter()
        .map(|(name, value)| (text(name), text(value)))
        .collect();
    pairs.sort_unstable();
    Some(pairs)
}

/// Name of a process's parent: the runtime, for a hook.
pub fn parent_name(pid: u32) -> Option<String> {
    let stat = short(&format!("/proc/{pid}/stat")).ok()?;
    // Behind the name in parentheses, which may hold anything: the state, then the parent.
    let parent: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
    let name = short(&format!("/proc/{parent}/comm")).ok()?;
    Some(name.strip_suffix('\n').unwrap_or(&name).to_owned())
}

/// A short file of /proc in one read: `std` begins with 32 bytes, and a container's start waits for these.
fn short(path: &str) -> io::Result<String> {
    let mut bytes = Vec::with_capacity(SHORT);
    File::open(path)?.take(SHORT as u64).read_to_end(&mut bytes)?;
    // A name may be any bytes.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
