//! Classes of calls by what they are about: the colours of the timeline. One each, so unlike strace's, which overlap.

use crate::{decode, event::Syscall, filter};

/// Their names, in the page's order; `page.css` has a colour for each.
pub(super) const NAMES: [&str; 8] = [
    "file",
    "input/output",
    "network",
    "process",
    "memory",
    "waiting",
    "signal/ipc",
    "other",
];

/// Calls that wait for something, as their work.
const WAITING: &str = "futex futex_wait futex_waitv poll ppoll select pselect6 epoll_wait epoll_pwait epoll_pwait2 \
                       nanosleep clock_nanosleep wait4 waitid waitpid pause rt_sigsuspend rt_sigtimedwait sched_yield \
                       io_getevents io_pgetevents restart_syscall";

/// The class of a call, a place in [`NAMES`].
pub(super) fn of(call: &Syscall) -> usize {
    let name: &str = &call.name;
    let takes = decode::takes(call.arch, call.nr).unwrap_or_default();
    let is = |class| filter::is_in(class, name, takes);
    if WAITING.split_ascii_whitespace().any(|waiting| waiting == name) {
        5
    } else if is("%network") {
        2
    } else if is("%memory") {
        4
    } else if is("%process") || name == "unshare" || name == "setns" || name.starts_with("sched_") {
        3
    } else if is("%file") {
        0
    } else if is("%signal") || is("%ipc") {
        6
    } else if is("%desc") {
        1
    } else {
        7
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::tests::fake::Fake;

    #[test]
    fn each_call_has_one() {
        for (name, class) in [
            ("openat", "file"),
            ("newfstatat", "file"),
            ("read", "input/output"),
            ("close", "input/output"),
            ("connect", "network"),
            ("execve", "process"),
            ("mmap", "memory"),
            ("futex", "waiting"),
            ("wait4", "waiting"),
            ("rt_sigaction", "signal/ipc"),
            ("getpid", "other"),
        ] {
            assert_eq!(NAMES[of(&Fake::new(name, [], 0).call())], class, "{name}");
        }
    }
}
