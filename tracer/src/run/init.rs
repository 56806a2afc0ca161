//! The init of the command's namespaces, and how its process becomes the command. It must not know how the command is
//! traced, nor what its caller does about a stop.

use std::{
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use anyhow::{Context, Result};
use nix::{
    sched::{CloneFlags, setns, unshare},
    sys::signal::SigSet,
    unistd::{ForkResult, Pid, fork, pivot_root},
};
use rustix::{
    fs::CWD,
    io::Errno,
    mount::{
        MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change, unmount,
    },
    process::{WaitOptions, WaitStatus},
};

use super::Command;

/// The word that lets the other side go on.
pub(super) const GO: u8 = 1;

/// What [`Started::stops`] tells when the command goes on or has ended; else the number of the signal that stopped it.
pub(super) const CONTINUED: u8 = 0;

/// The init, waiting for its word.
pub(super) struct Started {
    pub(super) reaper: Pid,
    pub(super) link: UnixStream,
    /// A byte for each stop of the command and each time that it goes on; its end is the init's.
    pub(super) stops: PipeReader,
    /// A byte after each [`CONTINUED`]; its end is the init's.
    pub(super) goes_on: PipeReader,
}

/// The init's ends of these.
struct Told {
    stops: PipeWriter,
    goes_on: PipeWriter,
}

/// Forks the init of the command's namespaces, which waits for its word. Must be called while there is one thread.
pub(super) fn start(command: &Command, path: &Path) -> Result<Started> {
    let (link, far) = UnixStream::pair().context("make a socket pair")?;
    let (stops, tell_stops) = io::pipe().context("make a pipe")?;
    let (goes_on, tell_goes_on) = io::pipe().context("make a pipe")?;
    let told = Told {
        stops: tell_stops,
        goes_on: tell_goes_on,
    };
    let own = std::fs::File::open("/proc/self/ns/pid").context("open /proc/self/ns/pid")?;
    unshare(CloneFlags::CLONE_NEWPID).context("make a PID namespace (root, or CAP_SYS_ADMIN, is needed)")?;
    // SAFETY: there is one thread yet, so the child may do anything.
    match unsafe { fork() }.context("fork")? {
        ForkResult::Child => {
            drop((link, stops, goes_on));
            let code = match reaper(command, path, far, told) {
                Ok(code) => code,
                Err(error) => {
                    let _closed = writeln!(io::stderr(), "tracer: {error:#}");
                    2
                }
            };
            exit_now(code)
        }
        ForkResult::Parent { child } => {
            // Threads cannot be made while children go to another PID namespace.
            setns(own, CloneFlags::CLONE_NEWPID).context("come back to this PID namespace")?;
            Ok(Started {
                reaper: child,
                link,
                stops,
                goes_on,
            })
        }
    }
}

/// Ends a forked child without running what the parent has registered for its own end.
fn exit_now(code: i32) -> ! {
    // SAFETY: no precondition.
    unsafe { libc::_exit(code) }
}

/// The first process of the PID namespace: makes the command's process, and reaps until none is left, as strace -f
/// stays until the last process that it follows has ended. Returns the command's exit code.
fn reaper(command: &Command, path: &Path, mut link: UnixStream, mut told: Told) -> Result<i32> {
    if link.read_exact(&mut [0]).is_err() {
        // The tracer could not start; it has said why.
        return Ok(2);
    }
    // SAFETY: there is one thread, so the child may do anything.
    let first = match unsafe { fork() }.context("fork")? {
        ForkResult::Child => {
            drop(told);
            let error = become_command(command, path, link);
            let _closed = writeln!(io::stderr(), "tracer: {error:#}");
            exit_now(2)
        }
        ForkResult::Parent { child } => child.as_raw(),
    };
    drop(link);
    let mut code = 0;
    loop {
        let (pid, status) = match rustix::process::wait(WaitOptions::UNTRACED | WaitOptions::CONTINUED) {
            Ok(Some((pid, status))) => (pid.as_raw_pid(), status),
            Ok(None) | Err(Errno::INTR) => continue,
            Err(_no_more_children) => return Ok(code),
        };
        if let Some(signal) = status.stopping_signal()
            && let_go(pid, signal)
        {
            continue;
        }
        if pid != first {
            continue;
        }
        code = ended(status).unwrap_or(code);
        let word = status
            .stopping_signal()
            .and_then(|signal| u8::try_from(signal).ok())
            .unwrap_or(CONTINUED);
        // The tracer may have been killed; what runs here goes on.
        let _gone = told.stops.write_all(&[word]);
        if word == CONTINUED {
            let _gone = told.goes_on.write_all(&[word]);
        }
    }
}

/// The exit code that a shell would tell; `None` while it lives. Real-time signals have numbers and no names.
fn ended(status: WaitStatus) -> Option<i32> {
    status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
}

/// Lets go of a child that has made us its tracer by PTRACE_TRACEME, and stopped for our word: nobody else could give
/// it. It gets its signal, but for the SIGTRAP that tells of an execve; ptrace(2). `false`: we are not its tracer.
fn let_go(pid: i32, signal: i32) -> bool {
    let delivered = if signal == libc::SIGTRAP { 0 } else { signal };
    // SAFETY: no memory is passed: the address is not looked at, the data is a number.
    unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, 0, delivered) == 0 }
}

/// Becomes the command. Returns only with what went wrong.
fn become_command(command: &Command, path: &Path, link: UnixStream) -> anyhow::Error {
    match prepare(command, link) {
        Err(error) => error,
        Ok(()) => command.exec(path),
    }
}

/// Makes the mounts, proves, and waits for the word.
fn prepare(command: &Command, mut link: UnixStream) -> Result<()> {
    // Our number outside: the proc file system is still the outer one.
    let own = rustix::fs::readlinkat(CWD, "/proc/self", Vec::new()).context("read /proc/self")?;
    let pid: u32 = own
        .to_str()
        .ok()
        .and_then(|pid| pid.parse().ok())
        .context("read /proc/self")?;
    unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .context("make the mounts private")?;
    if let Some(rootfs) = &command.rootfs {
        enter_root(rootfs).with_context(|| format!("enter {}", rootfs.display()))?;
    }
    let proc = mount(
        "proc",
        "/proc",
        "proc",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        None,
    );
    if let Err(error) = proc
        && command.rootfs.is_none()
    {
        return Err(error).context("mount /proc");
    }
    link.write_all(&pid.to_le_bytes()).context("tell the pid")?;
    let mut nonce = [0; 8];
    link.read_exact(&mut nonce).context("the tracer has given up")?;
    // SAFETY: the descriptor is none, so the call fails with EBADF whatever the offset; that it is made is the point.
    unsafe { libc::lseek(-1, i64::from_le_bytes(nonce), libc::SEEK_SET) };
    link.write_all(&[GO]).context("the tracer has given up")?;
    link.read_exact(&mut [0]).context("the tracer has given up")?;
    // What the tracer blocked for itself is not the command's; exec keeps the mask.
    SigSet::all().thread_unblock().context("unblock signals")
}

/// Makes a directory the root, as container runtimes do: pivot_root(2), NOTES.
fn enter_root(rootfs: &Path) -> Result<()> {
    mount_bind_recursive(rootfs, rootfs).context("bind it onto itself")?;
    rustix::process::chdir(rootfs).context("change to it")?;
    pivot_root(".", ".").context("pivot_root")?;
    unmount(".", UnmountFlags::DETACH).context("detach the old root")?;
    rustix::process::chdir("/").context("change to /")
}
