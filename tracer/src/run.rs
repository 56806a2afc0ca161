//! `tracer run`: no daemon and no runtime. The command starts in a PID and a mount namespace of its own, under a small
//! init that reaps, and is held before its execve until the proof round has come back; then the same registry, filter,
//! ring and sinks as in the daemon.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Read, Write},
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow, bail};
use nix::{
    sched::{CloneFlags, setns, unshare},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, pivot_root},
};
use rustix::{
    fs::CWD,
    mount::{
        MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change, unmount,
    },
    process::pidfd_send_signal,
};

use crate::{
    event, identity,
    node::{self, Node},
    options::Options,
    report::{Stats, Verdict},
    sinks::{Output, Phases},
};

/// What to run.
#[derive(Clone, Debug)]
pub struct Settings {
    pub command: Vec<OsString>,
    pub rootfs: Option<PathBuf>,
    /// Whose calls [`Outcome::stats`] counts.
    pub phases: Phases,
    pub node: node::Settings,
}

/// How it went.
#[derive(Debug)]
pub struct Outcome {
    /// The command's exit code, 128 + n for a signal.
    pub code: u8,
    pub verdict: Verdict,
    pub stats: Stats,
}

/// The signals that are passed on to the command. Those of the terminal it gets from the terminal itself.
const FORWARDED: [Signal; 6] = [
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Runs the command to the end of all its processes. `output` makes the sink, which is opened before anything runs.
///
/// # Errors
/// A set-up error: the command has not run.
pub fn run(settings: &Settings, output: impl FnOnce(u64) -> Result<Output>) -> Result<Outcome> {
    let command = settings
        .command
        .first()
        .context("no command: tracer run [options] -- CMD…")?;
    let path = resolve(command, settings.rootfs.as_deref())?;
    // All threads inherit the mask; the signals are read where the command is waited for.
    let mut forwarded = SigSet::empty();
    forwarded.extend(FORWARDED);
    forwarded.add(Signal::SIGCHLD);
    forwarded.thread_block().context("block signals")?;
    let (reaper, mut link) = start_reaper(settings, &path)?;

    let (node, threads) = Node::start(&settings.node)?;
    node.exclude(reaper.as_raw().cast_unsigned())?;
    let output = output(node.output_id())?;
    let sink = output.id;
    node.open(output, false)?;

    // The reaper makes the command's process, which makes its mounts and waits for the nonce.
    link.write_all(&[GO]).context("start the command's init")?;
    let pid = told_pid(&mut link)?;
    let init = tracer_hook::identity::Init::open(pid.into())
        .map_err(|error| anyhow!("look at the command's process: {error}"))?;
    let mut identity = identity::of(init.pidfd.as_fd(), init.pid_ns.as_fd(), init.mnt_ns.as_fd())?;
    // The PID namespace is the command's: its first process is our own reaper, which is excluded.
    identity.owns_pid_ns = true;
    let name = Path::new(command)
        .file_name()
        .unwrap_or(command)
        .to_string_lossy()
        .into_owned();
    let info = event::Container {
        id: format!("run-{pid}"),
        name,
        ..event::Container::default()
    };
    let id = info.id.clone();
    let admitted = node.register(
        info,
        Some("tracer run".into()),
        identity,
        false,
        Options::default(),
    )?;
    let proof = node.begin_proof(identity.init_tgid)?;
    link.write_all(&proof.nonce.to_le_bytes())
        .context("hand out the nonce")?;
    link.read_exact(&mut [0])
        .context("the command's process has ended before its proof")?;
    node.finish_proof(admitted.slot, &proof)?;
    link.write_all(&[GO]).context("start the command")?;

    let code = wait(reaper, init.pidfd.as_fd())?;
    drop(link);
    let verdict = node
        .end(admitted)?
        .context("the command's container has ended before its command")?;
    let stats = node
        .stats(&id, settings.phases)?
        .context("the command's counts are gone")?;
    let closed = node.close(sink);
    drop(node);
    threads.join();
    closed?;
    Ok(Outcome { code, verdict, stats })
}

const GO: u8 = 1;

/// Forks the init of the command's namespaces, which waits for its word. Must be called while there is one thread.
fn start_reaper(settings: &Settings, path: &Path) -> Result<(Pid, UnixStream)> {
    let (link, far) = UnixStream::pair().context("make a socket pair")?;
    let own = std::fs::File::open("/proc/self/ns/pid").context("open /proc/self/ns/pid")?;
    unshare(CloneFlags::CLONE_NEWPID).context("make a PID namespace (root, or CAP_SYS_ADMIN, is needed)")?;
    // SAFETY: there is one thread yet, so the child may do anything.
    match unsafe { fork() }.context("fork")? {
        ForkResult::Child => {
            drop(link);
            let code = match reaper(settings, path, far) {
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
            Ok((child, link))
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
fn reaper(settings: &Settings, path: &Path, mut link: UnixStream) -> Result<i32> {
    if link.read_exact(&mut [0]).is_err() {
        // The tracer could not start; it has said why.
        return Ok(2);
    }
    // SAFETY: there is one thread, so the child may do anything.
    let command = match unsafe { fork() }.context("fork")? {
        ForkResult::Child => {
            let error = command(settings, path, link);
            let _closed = writeln!(io::stderr(), "tracer: {error:#}");
            exit_now(2)
        }
        ForkResult::Parent { child } => child,
    };
    drop(link);
    let mut code = 0;
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, status)) if pid == command => code = status,
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == command => code = 128 + signal as i32,
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_no_more_children) => return Ok(code),
        }
    }
}

/// Becomes the command. Returns only with what went wrong.
fn command(settings: &Settings, path: &Path, link: UnixStream) -> anyhow::Error {
    match prepare(settings, link) {
        Err(error) => error,
        Ok(()) => {
            let arguments = settings.command.get(1..).unwrap_or_default();
            let name = settings
                .command
                .first()
                .map_or(OsStr::new(""), OsString::as_os_str);
            let error = Command::new(path).arg0(name).args(arguments).exec();
            anyhow::Error::from(error).context(format!("start {}", path.display()))
        }
    }
}

/// Makes the mounts, proves, and waits for the word.
fn prepare(settings: &Settings, mut link: UnixStream) -> Result<()> {
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
    if let Some(rootfs) = &settings.rootfs {
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
        && settings.rootfs.is_none()
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

/// The command's process id, once its namespaces are made.
fn told_pid(link: &mut UnixStream) -> Result<u32> {
    let mut pid = [0; 4];
    if link.read_exact(&mut pid).is_err() {
        bail!("the command's namespaces could not be made");
    }
    Ok(u32::from_le_bytes(pid))
}

/// Waits for the reaper, and so for all; passes signals on to the command meanwhile.
fn wait(reaper: Pid, command: impl AsFd) -> Result<u8> {
    let mut awaited = SigSet::empty();
    awaited.extend(FORWARDED);
    awaited.add(Signal::SIGCHLD);
    let signals = SignalFd::with_flags(&awaited, SfdFlags::SFD_CLOEXEC).context("make a signalfd")?;
    loop {
        match waitpid(reaper, Some(WaitPidFlag::WNOHANG)).context("wait for the command")? {
            WaitStatus::Exited(_, code) => return Ok(u8::try_from(code).unwrap_or(2)),
            WaitStatus::Signaled(_, signal, _) => return Ok(128 + signal as u8),
            _ => {}
        }
        let Some(signal) = signals.read_signal().context("read a signal")? else {
            continue;
        };
        let number = signal.ssi_signo.cast_signed();
        // What the terminal sends (SI_KERNEL) the command has got itself, being in its foreground group.
        let by_kernel = signal.ssi_code == libc::SI_KERNEL;
        if number != libc::SIGCHLD
            && !by_kernel
            && let Some(signal) = rustix::process::Signal::from_named_raw(number)
        {
            // It may have ended just now.
            let _ended = pidfd_send_signal(&command, signal);
        }
    }
}

/// The file that the command means, as execvp(3) finds it.
fn resolve(command: &OsStr, rootfs: Option<&Path>) -> Result<PathBuf> {
    let inside = |path: &Path| match rootfs {
        Some(rootfs) => rootfs.join(path.strip_prefix("/").unwrap_or(path)),
        None => path.to_owned(),
    };
    if command.as_bytes().contains(&b'/') {
        let path = PathBuf::from(command);
        // A link inside the root may point anywhere there; only execve knows.
        if rootfs.is_none() && !path.exists() {
            bail!("{}: no such file", path.display());
        }
        return Ok(path);
    }
    let search = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    std::env::split_paths(&search)
        .map(|directory| directory.join(command))
        .find(|path| std::fs::symlink_metadata(inside(path)).is_ok_and(|found| !found.is_dir()))
        .with_context(|| format!("{}: no such command in PATH", command.to_string_lossy()))
}
