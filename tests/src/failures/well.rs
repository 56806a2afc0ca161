//! Failed calls where nothing is wrong, where the program itself is, or where nobody can know: no verdict may blame the
//! container.

use super::{ERESTARTNOHAND, Failure, Fix, How, NONE};

const PLAIN: How = How::Runc(|bundle, _| bundle);

/// What may be said where programs do this every day.
const NORMAL: &[&str] = &["expected"];
/// Where the program asked for what cannot be.
const ITS_OWN: &[&str] = &["arguments", "expected", "undetermined"];

fn row(
    name: &'static str,
    run: &'static str,
    (call, errno): (&'static str, i32),
    causes: &'static [&'static str],
) -> Failure {
    Failure {
        name,
        how: PLAIN,
        run,
        call,
        errno,
        part: "",
        causes,
        names: &[],
        fix: Fix::Needless,
    }
}

pub(super) fn rows() -> Vec<Failure> {
    vec![
        row("nothing fails", "true", (NONE, 0), NORMAL),
        row(
            "a pipe's reader has had enough",
            "sh: trap '' PIPE; yes | head -n 1; true",
            ("write", libc::EPIPE),
            NORMAL,
        ),
        row(
            "a crash leaves no core file",
            "sh: ulimit -c 0; sh -c 'kill -SEGV $$'; true",
            (NONE, 0),
            NORMAL,
        ),
        row(
            "a process is killed, and not for want of memory",
            "sh: sh -c 'kill -KILL $$'; true",
            (NONE, 0),
            NORMAL,
        ),
        row(
            "a program is looked for in PATH",
            "env PATH=/nowhere:/bin fail map 4096",
            ("execve", libc::ENOENT),
            NORMAL,
        ),
        row(
            "libraries are looked for, and found",
            "fail map 4096",
            (NONE, 0),
            // ld.so has a cache where there is one, and a preload file where there is one (ld.so(8)).
            NORMAL,
        ),
        row(
            "nothing to read yet",
            "fail empty-pipe",
            ("read", libc::EAGAIN),
            NORMAL,
        ),
        row(
            "a connection under way",
            "fail connecting 127.0.0.1 7777",
            ("connect", libc::EINPROGRESS),
            NORMAL,
        ),
        row(
            "a file is always ready",
            "fail poll-file",
            ("epoll_ctl", libc::EPERM),
            NORMAL,
        ),
        row("no terminal", "fail terminal", ("ioctl", libc::ENOTTY), NORMAL),
        row(
            "a pipe has no place",
            "fail seek-pipe",
            ("lseek", libc::ESPIPE),
            NORMAL,
        ),
        row(
            "no such descriptor",
            "fail close 77",
            ("close", libc::EBADF),
            ITS_OWN,
        ),
        row("no children", "fail children", ("wait4", libc::ECHILD), ITS_OWN),
        row(
            "no such memory",
            "fail bad-address",
            ("write", libc::EFAULT),
            ITS_OWN,
        ),
        row("a signal", "fail pause", ("pause", ERESTARTNOHAND), NORMAL),
        row("mkdir -p", "mkdir -p /srv/drop", ("mkdir", libc::EEXIST), NORMAL),
        row(
            "a leader of a group founds no session",
            "fail session",
            ("setsid", libc::EPERM),
            NORMAL,
        ),
        row(
            "no such process",
            "fail kill 9999",
            ("kill", libc::ESRCH),
            ITS_OWN,
        ),
        row(
            "no such policy",
            "fail policy 77",
            ("sched_setscheduler", libc::EINVAL),
            &["arguments", "expected"],
        ),
    ]
}
