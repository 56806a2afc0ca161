//! What a container runtime tried last before it gave up: the program that it did not find, the directory that it could
//! not enter. No call of an application tells of that, for none was started.
//!
//! It knows calls alone. That the process then ended without having executed anything is for whoever asks.

use crate::{
    event::{Event, Outcome, Syscall},
    follow::Earlier,
};

use super::failures::looked_up;

/// Tries that are kept: as many directories of a PATH.
const MAX: usize = 64;

/// Calls that a runtime makes to tell of its failure and to end. Of all others, what failed before them was not the end.
const REPORTS: &[&str] = &[
    "brk",
    "close",
    "epoll_ctl",
    "epoll_pwait",
    "exit",
    "exit_group",
    "futex",
    "getpid",
    "gettid",
    "madvise",
    "mmap",
    "mprotect",
    "munmap",
    "nanosleep",
    "read",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_yield",
    "sendmsg",
    "sendto",
    "tgkill",
    "write",
    "writev",
];

/// The failed look-ups of a process of the runtime after which it did nothing but report.
#[derive(Debug, Default)]
pub(super) struct Tries {
    host_pid: u32,
    failed: Vec<(Event, Earlier)>,
}

impl Tries {
    /// Looks at a call of the runtime, other than an execve, in its process's first thread.
    pub(super) fn see(&mut self, event: &Event, call: &Syscall, earlier: impl FnOnce() -> Earlier) {
        if call.task.host_pid != call.task.host_tid {
            return;
        }
        let is_own = self.host_pid == call.task.host_pid;
        if matches!(call.outcome, Outcome::Error(errno) if looks(call, errno)) {
            if !is_own {
                self.failed.clear();
                self.host_pid = call.task.host_pid;
            }
            if self.failed.len() < MAX {
                self.failed.push((event.clone(), earlier()));
            }
        } else if is_own && !REPORTS.contains(&call.name.as_ref()) {
            self.failed.clear();
        }
    }

    /// That process ended: what it had tried.
    pub(super) fn of(&mut self, host_pid: u32) -> Vec<(Event, Earlier)> {
        if self.host_pid != host_pid {
            return Vec::new();
        }
        std::mem::take(&mut self.failed)
    }
}

/// Whether it looks for a program or a directory, and what it found is a reason not to start.
fn looks(call: &Syscall, errno: u16) -> bool {
    let errno = i32::from(errno);
    let found = [libc::ENOENT, libc::ENOTDIR, libc::EACCES, libc::ELOOP].contains(&errno);
    found && (call.name == "chdir" || looked_up(call).is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{event::Body, explain::rules::testing::failed};

    fn event(name: &'static str, errno: i32, host_tid: u32) -> Event {
        let mut call = failed(name, errno, &[("filename", 1, "\"/opt/app\"")]);
        if errno == 0 {
            call.outcome = Outcome::Value(0);
        }
        (call.task.host_pid, call.task.host_tid) = (7, host_tid);
        Event {
            time_ns: 0,
            ktime: 0,
            container: Arc::default(),
            body: Body::Syscall(call),
        }
    }

    fn tried(calls: &[(&'static str, i32)], of: u32) -> usize {
        let mut tries = Tries::default();
        for (name, errno) in calls {
            let event = event(name, *errno, 7);
            if let Body::Syscall(call) = &event.body {
                tries.see(&event, call, Earlier::default);
            }
        }
        tries.of(of).len()
    }

    #[test]
    fn what_was_looked_for_last_is_the_reason() {
        const GONE: (&str, i32) = ("newfstatat", libc::ENOENT);
        assert_eq!(tried(&[GONE, GONE, ("write", 0), ("exit_group", 0)], 7), 2);
        assert_eq!(tried(&[("chdir", libc::EACCES), ("write", 0)], 7), 1);
        // It went on: that was not why it ended.
        assert_eq!(tried(&[GONE, ("openat", 0), ("write", 0)], 7), 0);
        assert_eq!(tried(&[GONE, ("mount", libc::EPERM)], 7), 0);
        // Another process's.
        assert_eq!(tried(&[GONE], 8), 0);
        assert_eq!(tried(&[("newfstatat", libc::EINTR)], 7), 0);
        assert_eq!(tried(&[GONE; 100], 7), MAX);
    }

    #[test]
    fn another_thread_says_nothing_of_it() {
        let mut tries = Tries::default();
        for (name, errno, tid) in [
            ("newfstatat", libc::ENOENT, 7),
            ("openat", 0, 8),
            ("newfstatat", libc::ENOENT, 8),
        ] {
            let event = event(name, errno, tid);
            if let Body::Syscall(call) = &event.body {
                tries.see(&event, call, Earlier::default);
            }
        }
        assert_eq!(tries.of(7).len(), 1);
    }
}
