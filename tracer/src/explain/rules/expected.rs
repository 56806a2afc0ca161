//! Failures that mean nothing: questions whose answer is no, waits that end, searches that go on. A program that does
//! this all day is well.

use super::{Rule, words::shown};
use crate::{
    event::{Cause, Verdict},
    explain::{Case, Finding, arguments, case::Found},
};

pub(super) const RULE: Rule = Rule {
    name: "expected",
    source: "the man page of each call; signal(7), isatty(3), ld.so(8)",
    judge,
};

/// ERESTARTSYS and those after it (include/linux/errno.h): the kernel makes the call again, or answers EINTR.
const RESTARTS: std::ops::RangeInclusive<i32> = 512..=516;

/// Calls that move data or wait for it: EAGAIN of them is "not now".
const MOVES: &[&str] = &[
    "read",
    "readv",
    "pread64",
    "preadv",
    "preadv2",
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "recvfrom",
    "recvmsg",
    "recvmmsg",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "accept",
    "accept4",
    "splice",
    "tee",
    "vmsplice",
    "sendfile",
    "futex",
    "futex_wait",
    "futex_waitv",
    "flock",
    "fcntl",
    "mq_timedreceive",
    "mq_timedsend",
    "msgrcv",
    "msgsnd",
    "semop",
    "semtimedop",
    "rt_sigtimedwait",
    "io_getevents",
    "io_submit",
    "io_uring_enter",
    "copy_file_range",
    "getrandom",
    "timerfd_settime",
    "wait4",
    "waitid",
];

/// Files that libraries look for and that most systems do not have, by their paths' ends.
const OPTIONAL: &[&str] = &[
    "/etc/ld.so.preload",
    "/etc/ld.so.nohwcap",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/selinux/config",
    "/etc/gcrypt/fips_enabled",
    "/etc/system-fips",
    "/etc/gai.conf",
    "/etc/krb5.conf",
    "/etc/host.conf",
    "/etc/suid-debug",
    "/proc/sys/crypto/fips_enabled",
    "/sys/fs/selinux",
    "/selinux",
    "/run/nscd/socket",
    "/var/run/nscd/socket",
    "/run/systemd/userdb/",
    "/usr/lib/locale/locale-archive",
    "/gconv-modules.cache",
    "/LC_MESSAGES",
    "/pyvenv.cfg",
    "/pybuilddir.txt",
    "._pth",
    "/__pycache__",
    ".pyc",
    "/openssl.cnf",
    "/.terminfo",
    "/.inputrc",
    "/.bashrc",
    "/.profile",
    "/locale.alias",
    "/etc/nsswitch.conf",
    "/etc/gnutls/config",
    "/etc/login.defs",
    "/dev/log",
    "/Modules/Setup.local",
    "/sitecustomize.py",
    "/usercustomize.py",
    ".abi3.so",
    "/__init__.so",
    "/__init__.py",
    "/.pgpass",
    "/.pg_service.conf",
    "/etc/busybox.conf",
    "/etc/connlabel.conf",
    "/etc/malloc.conf",
    "/.curlrc",
    "/.config/curlrc",
];

const LOOKS: &[&str] = &[
    "open",
    "openat",
    "openat2",
    "stat",
    "lstat",
    "newfstatat",
    "statx",
    "access",
    "faccessat",
    "faccessat2",
    "readlink",
    "readlinkat",
    "statfs",
    "execve",
    "connect",
    "getxattr",
    "lgetxattr",
];

fn judge(case: &Case<'_>) -> Finding {
    let Some(errno) = case.errno() else {
        return Finding::NotMine;
    };
    if RESTARTS.contains(&errno) {
        return fine(
            "a signal came while the call waited: the kernel makes it again, or answers EINTR",
            "signal(7)",
        );
    }
    let name = case.call.name.as_ref();
    match errno {
        libc::EINTR => fine("a signal came while the call waited", "signal(7): EINTR"),
        libc::EAGAIN if MOVES.contains(&name) => again(name),
        libc::EINPROGRESS if case.is(&["connect"]) => fine(
            "the connection is being made: the socket does not wait for it",
            "connect(2): EINPROGRESS of a non-blocking socket",
        ),
        libc::EALREADY if case.is(&["connect"]) => {
            fine("the connection is still being made", "connect(2): EALREADY")
        }
        libc::EISCONN if case.is(&["connect"]) => {
            fine("the connection has been made meanwhile", "connect(2): EISCONN")
        }
        libc::ETIMEDOUT
            if case.is(&[
                "futex",
                "futex_wait",
                "futex_waitv",
                "mq_timedreceive",
                "mq_timedsend",
                "semtimedop",
                "clock_nanosleep",
                "rt_sigtimedwait",
            ]) =>
        {
            fine(
                "the time that the program gave it to wait has passed",
                "futex(2): ETIMEDOUT",
            )
        }
        libc::EPERM if case.is(&["setsid"]) => fine(
            "the process leads a group already, as a container's first does: programs fork before they ask for a session",
            "setsid(2): EPERM",
        ),
        libc::EPERM if case.is(&["epoll_ctl"]) && case.says("EPOLL_CTL_ADD") => fine(
            "the descriptor is a file or directory, which is always ready, and epoll takes none such: Go's runtime tries each file that it opens",
            "epoll_ctl(2): EPERM",
        ),
        libc::EINVAL if case.is(&["rt_sigaction"]) && of_kill_or_stop(case) => fine(
            "SIGKILL and SIGSTOP are as they are: the program sets all signals back, these among them",
            "sigaction(2): EINVAL",
        ),
        libc::ENOTEMPTY if case.is(&["rmdir", "unlinkat"]) => {
            fine("the directory is not empty, and stays", "rmdir(2): ENOTEMPTY")
        }
        libc::ECHILD if case.is(&["wait4", "waitid"]) => {
            fine("there is no child to wait for", "wait(2): ECHILD")
        }
        libc::ESRCH if case.is(&["kill", "tkill", "tgkill", "pidfd_send_signal"]) => fine(
            match case.raw("sig") {
                Some(0) => "the program asked whether that process exists: it does not",
                _ => "the process, or task, had ended already",
            },
            "kill(2): ESRCH",
        ),
        libc::ENOTTY if case.is(&["ioctl"]) => not_a_terminal(case),
        libc::ENODATA
            if case.is(&[
                "getxattr",
                "lgetxattr",
                "fgetxattr",
                "removexattr",
                "lremovexattr",
                "fremovexattr",
                "getxattrat",
            ]) =>
        {
            fine("the file has no such attribute", "getxattr(2): ENODATA")
        }
        libc::EOPNOTSUPP
            if case.is(&[
                "getxattr",
                "lgetxattr",
                "fgetxattr",
                "listxattr",
                "llistxattr",
                "flistxattr",
            ]) =>
        {
            fine(
                "the file system has no such attributes: no file of it has one",
                "getxattr(2): ENOTSUP",
            )
        }
        libc::EINVAL if case.is(&["readlink", "readlinkat"]) => fine(
            "the file is no link: the program asked whether it is one",
            "readlink(2): EINVAL; realpath(3)",
        ),
        libc::ESPIPE if case.is(&["lseek"]) => fine(
            "the descriptor is a pipe, socket or terminal: the program asked whether it can go back in it",
            "lseek(2): ESPIPE",
        ),
        libc::EEXIST if case.is(&["mkdir", "mkdirat"]) => fine(
            "the directory is there already, as `mkdir -p` wants it",
            "mkdir(2): EEXIST",
        ),
        libc::EEXIST
            if case.is(&[
                "open",
                "openat",
                "openat2",
                "link",
                "linkat",
                "symlink",
                "symlinkat",
                "mknod",
                "mknodat",
            ]) =>
        {
            fine(
                "a file of that name is there already, and the call was to make a new one: lock files and temporary names work so",
                "open(2), O_EXCL: EEXIST",
            )
        }
        libc::EBADF if case.is(&["close"]) => fine(
            "the descriptor was not open: programs close all that they may have inherited",
            "close(2): EBADF",
        ),
        libc::EBADF if case.is(&["fcntl"]) && (case.says("F_GETFD") || case.says("F_SETFD")) => fine(
            "the descriptor is not open: programs ask whether it is, or mark all that they may have inherited",
            "fcntl(2): EBADF",
        ),
        libc::EINVAL | libc::ENOSPC | libc::ENOSYS if case.is(&["pkey_alloc"]) => fine(
            "the processor has no protection keys, or none is left: programs ask, and do without",
            "pkey_alloc(2), pkeys(7)",
        ),
        libc::EINVAL if case.is(&["ioctl"]) && case.says("TCGETS") => not_a_terminal(case),
        libc::EXDEV | libc::EOPNOTSUPP if case.is(&["copy_file_range"]) => fine(
            "the two files are on file systems between which the kernel does not copy: programs read and write then",
            "copy_file_range(2): EXDEV, EOPNOTSUPP",
        ),
        libc::EXDEV | libc::EOPNOTSUPP | libc::EINVAL | libc::ETXTBSY
            if case.is(&["ioctl"]) && case.says("FICLONE") =>
        {
            fine(
                "the two files cannot share their blocks: programs copy them then",
                "ioctl_ficlonerange(2): EXDEV, EOPNOTSUPP, EINVAL",
            )
        }
        libc::EEXIST if case.is(&["renameat2"]) && case.says("RENAME_NOREPLACE") => fine(
            "a file, or directory, of that name is there already, and was not to be replaced: mv asks so whether its target is a directory",
            "rename(2), RENAME_NOREPLACE: EEXIST",
        ),
        libc::EPIPE if MOVES.contains(&name) => fine(
            "nobody reads the pipe, or socket, any more: who did has ended, or had enough",
            "write(2), pipe(7): EPIPE",
        ),
        libc::ENOTCONN if case.is(&["shutdown", "getpeername"]) => fine(
            "the socket has no peer, or has it no more",
            "shutdown(2), getpeername(2): ENOTCONN",
        ),
        libc::EINVAL if case.is(&["prctl"]) && case.says("PR_CAPBSET_READ") => fine(
            "the kernel has no capability of that number: programs ask so for the highest",
            "prctl(2), PR_CAPBSET_READ: EINVAL",
        ),
        libc::ENOENT if case.is(&["epoll_ctl"]) && case.says("EPOLL_CTL_DEL") => {
            fine("the descriptor is in the set no more", "epoll_ctl(2): ENOENT")
        }
        libc::ENOENT if LOOKS.contains(&name) => optional(case),
        _ => Finding::NotMine,
    }
}

/// A look-up of what the process could not make: that has its own verdict.
pub(in crate::explain) fn not_made() -> Verdict {
    Found::new(
        Cause::Expected,
        "the process looked for what it could not make: why it could not is told of that call",
    )
    .verdict()
}

fn fine(why: &str, source: &str) -> Finding {
    Found::new(Cause::Expected, why).always(source).done()
}

fn again(name: &str) -> Finding {
    match name {
        "futex" | "futex_wait" | "futex_waitv" => fine(
            "the value had changed before the task slept: it looks again",
            "futex(2), FUTEX_WAIT: EAGAIN",
        ),
        "flock" | "fcntl" => fine(
            "somebody else has the lock, and the call does not wait for it",
            "flock(2), fcntl(2): EAGAIN",
        ),
        _ => fine(
            "nothing is there to read, or no room to write, and the call does not wait for it",
            "read(2), write(2), socket(7): EAGAIN of a non-blocking descriptor",
        ),
    }
}

fn of_kill_or_stop(case: &Case<'_>) -> bool {
    let signal = case.raw("sig").map(|signal| signal as u32 as i32);
    matches!(signal, Some(libc::SIGKILL | libc::SIGSTOP)) && case.says("SIG_DFL")
}

/// isatty(3) asks TCGETS; others ask a file for what only its own kind answers.
fn not_a_terminal(case: &Case<'_>) -> Finding {
    const OF_TERMINALS: &[&str] = &[
        "TCGETS",
        "TCSETS",
        "TIOCGWINSZ",
        "TIOCSWINSZ",
        "TIOCGPGRP",
        "TIOCSPGRP",
        "TIOCGSID",
        "TIOCSCTTY",
        "TIOCNOTTY",
        "SNDCTL_TMR",
    ];
    if OF_TERMINALS.iter().any(|request| case.says(request)) {
        return fine(
            "the descriptor is no terminal: the program asked whether it is one",
            "ioctl_tty(2), isatty(3): ENOTTY",
        );
    }
    if [
        "FICLONE",
        "FIDEDUPERANGE",
        "FS_IOC_GETFLAGS",
        "FS_IOC_FSGETXATTR",
        "FS_IOC_FIEMAP",
        "FIEMAP",
        "BTRFS_IOC",
        "BLKGETSIZE",
        "FIOCLEX",
    ]
    .iter()
    .any(|request| case.says(request))
    {
        return fine(
            "the file system, or this kind of file, has not that request: programs ask, and do without",
            "ioctl(2): ENOTTY",
        );
    }
    Finding::NotMine
}

/// Whether it is a directory that a loader asks for before it looks in it: libraries for newer processors, which few
/// systems have (ld.so(8), "hardware capabilities"; glibc until 2.36).
fn is_loaders_directory(path: &str) -> bool {
    const KINDS: [&str; 10] = [
        "tls",
        "haswell",
        "avx512_1",
        "xeon_phi",
        "x86_64",
        "i686",
        "sse2",
        "aarch64",
        "atomics",
        "glibc-hwcaps",
    ];
    let mut names = path.rsplit('/');
    names.next().is_some_and(|name| KINDS.contains(&name)) && names.any(|name| name.starts_with("lib"))
}

fn optional(case: &Case<'_>) -> Finding {
    let paths = arguments::paths(case.call);
    let Some(path) = paths.first() else {
        return Finding::NotMine;
    };
    let given = shown(&path.path);
    let asks = !case.is(&["open", "openat", "openat2", "execve", "connect"]);
    if given.is_empty() && asks {
        return fine(
            "the program asked for a file without a name: searches begin so (python)",
            "path_resolution(7): ENOENT of an empty path",
        );
    }
    let is_optional = OPTIONAL.iter().any(|end| given.ends_with(end))
        || given.contains("/glibc-hwcaps/")
        || given.contains("/tls/")
        || is_loaders_directory(&given)
        || (given.contains("/locale/") && (given.contains("LC_") || given.ends_with(".mo")))
        || given.starts_with("/run/systemd/userdb")
        // Names for numbers, and a plug-in for each kind of link.
        || given.contains("/iproute2/")
        || (given.contains("/ip/link_") && given.ends_with(".so"))
        || given.contains("/__pycache__/")
        // Python's own archive, its users' packages, and each form that a module may have.
        || (given.contains("/python") && given.ends_with(".zip"))
        || given.contains("/.local/lib/python")
        || given.contains(".cpython-");
    if !is_optional {
        return Finding::NotMine;
    }
    fine(
        &format!("{given} is one that libraries look for and do without"),
        "ld.so(8), locale(7), nscd(8): the file is optional",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::{
        Scene,
        rules::testing::{ask, failed, verdict},
    };

    #[test]
    fn what_programs_do_all_day() {
        for call in [
            failed("read", libc::EAGAIN, &[]),
            failed("epoll_wait", libc::EINTR, &[]),
            failed("connect", libc::EINPROGRESS, &[]),
            failed("wait4", libc::ECHILD, &[]),
            failed("ioctl", libc::ENOTTY, &[("cmd", 0x5401, "TCGETS")]),
            failed("kill", libc::ESRCH, &[("pid", 9, "9"), ("sig", 0, "0")]),
            failed("mkdir", libc::EEXIST, &[]),
            failed("futex", libc::ETIMEDOUT, &[]),
            failed("futex", libc::EAGAIN, &[]),
            failed("setsid", libc::EPERM, &[]),
            failed("epoll_ctl", libc::EPERM, &[("op", 1, "EPOLL_CTL_ADD")]),
            failed(
                "rt_sigaction",
                libc::EINVAL,
                &[("sig", 9, "SIGKILL"), ("act", 1, "{sa_handler=SIG_DFL}")],
            ),
            failed("rmdir", libc::ENOTEMPTY, &[]),
            failed("lgetxattr", libc::ENODATA, &[]),
            failed("readlink", libc::EINVAL, &[]),
            failed("lseek", libc::ESPIPE, &[]),
            failed("close", libc::EBADF, &[]),
            failed(
                "fcntl",
                libc::EBADF,
                &[("cmd", 2, "F_SETFD"), ("arg", 1, "FD_CLOEXEC")],
            ),
            failed("pkey_alloc", libc::EINVAL, &[]),
            failed("copy_file_range", libc::EXDEV, &[]),
            failed("ioctl", libc::EINVAL, &[("cmd", 0x5401, "TCGETS")]),
            failed(
                "ioctl",
                libc::EXDEV,
                &[("cmd", 0x4004_9409, "BTRFS_IOC_CLONE or FICLONE")],
            ),
            failed("renameat2", libc::EEXIST, &[("flags", 1, "RENAME_NOREPLACE")]),
            failed("write", libc::EPIPE, &[]),
            failed("newfstatat", libc::ENOENT, &[("filename", 1, "\"\"")]),
            failed("wait4", 512, &[]),
            failed(
                "access",
                libc::ENOENT,
                &[("filename", 1, "\"/etc/ld.so.preload\"")],
            ),
        ] {
            let told = verdict(&RULE, &call, &Scene::default());
            assert_eq!(told.cause, Cause::Expected, "{}", call.name);
            assert!(told.fixes.is_empty() && !told.evidence.is_empty());
        }
    }

    #[test]
    fn what_may_be_trouble() {
        for call in [
            failed("clone", libc::EAGAIN, &[]),
            failed("io_setup", libc::EAGAIN, &[]),
            failed("connect", libc::ETIMEDOUT, &[]),
            failed("read", libc::EBADF, &[]),
            failed("rename", libc::EEXIST, &[]),
            failed("openat", libc::ENOENT, &[("filename", 1, "\"\"")]),
            failed("ioctl", libc::ENOTTY, &[("cmd", 1, "0x1")]),
            failed("openat", libc::ENOENT, &[("filename", 1, "\"/etc/app.conf\"")]),
        ] {
            assert_eq!(
                ask(&RULE, &call, &Scene::default()),
                Finding::NotMine,
                "{}",
                call.name
            );
        }
    }
}
