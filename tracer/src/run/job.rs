//! What the caller of `tracer run` and the command tell each other while it runs: signals go to the command, its stops
//! and its end come back, so that a shell sees one job. It must not know how the command is traced.

use std::{
    fs::File,
    io::{PipeReader, Read},
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use nix::{
    sys::{
        signal::{SigSet, Signal, raise},
        signalfd::{SfdFlags, SignalFd, siginfo},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::pidfd_send_signal,
};

use super::init::CONTINUED;

/// The libc crate has it not for glibc.
const F_SETSIG: i32 = linux_raw_sys::general::F_SETSIG.cast_signed();

/// The signals that are passed on to the command. Those of the terminal it gets from the terminal itself.
const FORWARDED: [Signal; 9] = [
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];

/// What must be blocked in all threads: what is passed on, SIGCHLD, and SIGCONT, which is looked at.
pub(super) fn awaited() -> SigSet {
    let mut awaited = SigSet::from_iter(FORWARDED);
    awaited.extend([Signal::SIGCHLD, Signal::SIGCONT]);
    awaited
}

/// Waits for the reaper, and so for all. Passes signals on to the command meanwhile, and stops when the command does.
/// Returns the command's exit code.
pub(super) fn wait(reaper: Pid, command: impl AsFd, stops: Stops) -> Result<u8> {
    let signals = SignalFd::with_flags(&awaited(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context("make a signalfd")?;
    let mut stops = Some(stops);
    // By the last word of the reaper.
    let mut stopped = false;
    let send = |number| {
        if let Some(signal) = rustix::process::Signal::from_named_raw(number) {
            // It may have ended just now.
            let _ended = pidfd_send_signal(&command, signal);
        }
    };
    loop {
        match waitpid(reaper, Some(WaitPidFlag::WNOHANG)).context("wait for the command")? {
            WaitStatus::Exited(_, code) => return Ok(u8::try_from(code).unwrap_or(2)),
            WaitStatus::Signaled(_, signal, _) => return Ok(128 + signal as u8),
            _ => {}
        }
        let mut awaited = vec![PollFd::new(&signals, PollFlags::IN)];
        awaited.extend(
            stops
                .as_ref()
                .map(|stops| PollFd::new(&stops.words, PollFlags::IN)),
        );
        match poll(&mut awaited, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("wait for a signal"),
        }
        // Signals first: a stop takes a SIGCONT back that nobody has looked at.
        while let Some(signal) = signals.read_signal().context("read a signal")? {
            let number = signal.ssi_signo.cast_signed();
            if by_another(&signal) && number != libc::SIGCHLD && (number != libc::SIGCONT || stopped) {
                send(number);
            }
        }
        let Some(told) = stops.as_mut().filter(|stops| stops.ready()) else {
            continue;
        };
        match told.next()? {
            None => stops = None,
            Some(CONTINUED) => stopped = false,
            Some(signal) => {
                stopped = true;
                told.stop_too(signal)?;
            }
        }
    }
}

/// Whether a process sent it, other than this one. What the terminal sends (SI_KERNEL) the command has got itself,
/// being in its foreground group.
fn by_another(signal: &siginfo) -> bool {
    signal.ssi_code <= 0 && signal.ssi_pid != std::process::id()
}

/// What the reaper tells.
pub(super) struct Stops {
    /// Of what and when.
    words: PipeReader,
    /// Continues this process, by a SIGCONT for each byte and at its end: whoever continues the command, or ends it, need
    /// not know that its tracer has stopped with it.
    goes_on: File,
}

impl Stops {
    pub(super) fn new(words: PipeReader, goes_on: PipeReader) -> Result<Self> {
        let goes_on = OwnedFd::from(goes_on);
        let fd = goes_on.as_raw_fd();
        let own = std::process::id().cast_signed();
        // SAFETY: numbers for a descriptor that is open.
        let set = unsafe {
            libc::fcntl(fd, libc::F_SETOWN, own) == 0
                && libc::fcntl(fd, F_SETSIG, libc::SIGCONT) == 0
                && libc::fcntl(fd, libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK) == 0
        };
        let goes_on = File::from(goes_on);
        set.then_some(Self { words, goes_on })
            .ok_or_else(std::io::Error::last_os_error)
            .context("ask for SIGCONT when the command goes on")
    }

    fn ready(&self) -> bool {
        let mut awaited = [PollFd::new(&self.words, PollFlags::IN)];
        poll(&mut awaited, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// The next word; `None` at the end. Must be ready.
    fn next(&mut self) -> Result<Option<u8>> {
        let mut word = [0];
        let length = self
            .words
            .read(&mut word)
            .context("read of the command's stops")?;
        if word == [CONTINUED] {
            // They have done their work by their arrival, and must not fill the pipe.
            while self.goes_on.read(&mut [0; 64]).is_ok_and(|length| length > 0) {}
        }
        Ok(word.first().copied().filter(|_| length > 0))
    }

    /// Stops this process as the command has, for the shell to see, until it is continued. In an orphaned process group,
    /// which no shell watches, the kernel stops nobody: then this goes on waiting.
    fn stop_too(&self, signal: u8) -> Result<()> {
        // SIGSTOP cannot be held back.
        let signal = match i32::from(signal) {
            libc::SIGTTIN => Signal::SIGTTIN,
            libc::SIGTTOU => Signal::SIGTTOU,
            _ => Signal::SIGTSTP,
        };
        // It is pending first, so that a SIGCONT for a word of the reaper that comes now takes it back.
        raise(signal).context("stop")?;
        if !self.ready() {
            let held = SigSet::from(signal);
            held.thread_unblock().context("stop")?;
            held.thread_block().context("stop")?;
        }
        Ok(())
    }
}
