//! What a program does to itself: descriptors that it has no more, lists that are too long, rules of its own.

use super::{
    Failure, Fix, How,
    bundles::{PLAIN, limit},
};

pub(super) fn rows() -> Vec<Failure> {
    let descriptor = |name, run, names, fix| Failure {
        name,
        how: PLAIN,
        run,
        call: "read",
        errno: libc::EBADF,
        part: "",
        causes: &["arguments"],
        names,
        fix: Fix::Run(fix),
    };
    vec![
        descriptor(
            "a descriptor that was closed before",
            "fail used closed",
            &["was closed before", "close closed it"],
            "fail used open",
        ),
        descriptor(
            "reading from what is open for writing",
            "fail used write-only",
            &["open for writing, not for reading", "openat opened it so"],
            "fail used open",
        ),
        descriptor(
            "a descriptor that execve closed",
            "fail handed cloexec",
            &["closed by execve", "close-on-exec"],
            "fail handed on",
        ),
        descriptor(
            "what a failed call returned",
            "fail read -1",
            &["-1 is no descriptor"],
            "fail used open",
        ),
        Failure {
            name: "longer argument lists than the stack's limit allows",
            how: How::Runc(|bundle, _| limit(bundle, "RLIMIT_STACK", 8_388_608)),
            run: "fail args 1000 4000",
            call: "execve",
            errno: libc::E2BIG,
            part: "/bin/fail",
            causes: &["arguments"],
            names: &["too long", "a quarter of RLIMIT_STACK"],
            fix: Fix::Start(How::Runc(|bundle, _| limit(bundle, "RLIMIT_STACK", 25_165_824))),
        },
        Failure {
            name: "one argument of more than 128 KiB",
            how: PLAIN,
            run: "fail args 1 140000",
            call: "execve",
            errno: libc::E2BIG,
            part: "/bin/fail",
            causes: &["arguments"],
            names: &["too long", "4 arguments and 0 variables"],
            fix: Fix::Run("fail args 1 130000"),
        },
        Failure {
            name: "a file that the program's own Landlock rules leave out",
            how: PLAIN,
            run: "fail landlock /srv open read /etc/group",
            call: "openat",
            errno: libc::EACCES,
            part: "/etc/group",
            causes: &["lsm"],
            names: &[
                "Landlock",
                "FS_READ_FILE on /etc/group",
                "FS_READ_FILE beneath /srv",
            ],
            fix: Fix::Run("fail landlock /etc open read /etc/group"),
        },
    ]
}
