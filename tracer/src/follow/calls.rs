//! The calls that are followed, by their names.

/// Calls that return a descriptor.
pub(super) const GIVES: &[&str] = &[
    "open",
    "openat",
    "openat2",
    "creat",
    "open_by_handle_at",
    "memfd_create",
    "memfd_secret",
    "epoll_create",
    "epoll_create1",
    "eventfd",
    "eventfd2",
    "signalfd",
    "signalfd4",
    "timerfd_create",
    "inotify_init",
    "inotify_init1",
    "fanotify_init",
    "userfaultfd",
    "perf_event_open",
    "pidfd_open",
    "pidfd_getfd",
    "io_uring_setup",
    "open_tree",
    "fsopen",
    "fsmount",
    "fspick",
    "mq_open",
    "socket",
    "accept",
    "accept4",
];

/// Whether what is followed may depend on the arguments of a call of that name that succeeded: all others change nothing.
pub fn looks_into(name: &str) -> bool {
    matches!(
        name,
        "close"
            | "close_range"
            | "dup"
            | "dup2"
            | "dup3"
            | "fcntl"
            | "pipe"
            | "pipe2"
            | "socketpair"
            | "connect"
            | "bind"
            | "chdir"
            | "fchdir"
            | "getcwd"
            | "chroot"
            | "pivot_root"
            | "setns"
            | "landlock_create_ruleset"
            | "landlock_add_rule"
            | "landlock_restrict_self"
            | "setuid"
            | "setreuid"
            | "setresuid"
            | "setfsuid"
            | "capset"
            | "prctl"
    ) || GIVES.contains(&name)
}
