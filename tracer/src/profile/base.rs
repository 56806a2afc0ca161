//! What a container runtime calls between its loading of the filter and the application's execve: a profile without these
//! starts nothing.
//!
//! The lists were measured with strace: every call of the container's init after the seccomp(2) or prctl(2) that loads
//! the filter, over all of no_new_privs on and off, root and another user, ambient capabilities, working directories,
//! programs by path and by name. With no_new_privs the runtimes load the filter last; without it, before they give up
//! their capabilities.

use super::{Answer, Rule, no_namespace};

/// runc 1.1.5 (Debian 12).
const RUNC: &[&str] = &[
    "capget",
    "capset",
    "chdir",
    "close",
    "epoll_ctl",
    "execve",
    "faccessat2",
    "fchown",
    "fcntl",
    "fstat",
    "fstatfs",
    "getcwd",
    "getdents64",
    "getpid",
    "getppid",
    "newfstatat",
    "openat",
    "prctl",
    "read",
    "setgid",
    "setgroups",
    "setuid",
    "write",
];

/// runc is a Go program: its other threads, and the runtime's own signals, call these whenever it happens
/// (runtime/sys_linux_amd64.s of Go, and pthread_create(3), by which cgo makes threads).
const GO: &[&str] = &[
    "clone",
    "clone3",
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
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_yield",
    "set_robust_list",
    "sigaltstack",
    "tgkill",
    "tkill",
    "write",
];

/// crun 1.8.1 (Debian 12).
const CRUN: &[&str] = &[
    "capset",
    "close",
    "execve",
    "exit_group",
    "lseek",
    "prctl",
    "rt_sigaction",
    "rt_sigprocmask",
    "setresgid",
    "setresuid",
    "write",
];

/// Whose needs a profile meets beside the application's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Base {
    /// What this container's runtime was seen to call, and both lists.
    All,
    /// What it was seen to call, and the list of runc.
    Runc,
    /// What it was seen to call, and the list of crun.
    Crun,
    /// Only what it was seen to call: needs a container that ran under a seccomp filter.
    Seen,
    /// Nothing: the application alone. No runtime starts a container with it.
    None,
}

/// The calls of that base; `seen` are the names of what the container's runtime called under its filter.
pub fn calls(base: Base, seen: &[String]) -> Vec<(String, Vec<Rule>)> {
    let lists: &[&[&str]] = match base {
        Base::All => &[RUNC, GO, CRUN],
        Base::Runc => &[RUNC, GO],
        Base::Crun => &[CRUN],
        Base::Seen | Base::None => &[],
    };
    let seen = if base == Base::None { &[] } else { seen };
    let listed = lists.iter().flat_map(|list| list.iter().copied());
    let mut names: Vec<&str> = listed.chain(seen.iter().map(String::as_str)).collect();
    // A number without a name is none that a profile could use.
    names.retain(|name| !name.starts_with("syscall_0x"));
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|name| (name.to_owned(), vec![rule(name)]))
        .collect()
}

fn rule(name: &str) -> Rule {
    match name {
        // Threads, and no namespaces: what the runtime needs here must not open more to the application.
        "clone" => Rule {
            answer: Answer::ALLOW,
            conditions: vec![no_namespace()],
        },
        // Its flags are in memory, where no filter looks. The C library takes clone(2) then.
        "clone3" => Rule {
            answer: Answer::errno(super::DEFAULT_ERRNO),
            conditions: Vec::new(),
        },
        _ => Rule {
            answer: Answer::ALLOW,
            conditions: Vec::new(),
        },
    }
}
