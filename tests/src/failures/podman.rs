//! Failures in containers of root's podman, under its own seccomp profile and its own set of capabilities.

use super::{Failure, Fix, How};

pub(super) fn rows() -> Vec<Failure> {
    vec![
        Failure {
            name: "a call that the profile refuses",
            how: How::Podman(""),
            run: "fail vmsplice",
            call: "vmsplice",
            errno: libc::EPERM,
            part: "",
            causes: &["seccomp"],
            names: &["vmsplice"],
            fix: Fix::Start(How::Podman("--security-opt seccomp={ground}/vmsplice.json")),
        },
        Failure {
            name: "a call that the profile allows with a capability",
            how: How::Podman(""),
            run: "fail hostname there",
            call: "sethostname",
            errno: libc::EPERM,
            part: "there",
            causes: &["seccomp"],
            names: &["sethostname"],
            fix: Fix::Start(How::Podman("--cap-add SYS_ADMIN")),
        },
        Failure {
            name: "mount with podman's own capabilities",
            how: How::Podman(""),
            run: "fail mount tmpfs /mnt",
            call: "mount",
            errno: libc::EPERM,
            part: "/mnt",
            causes: &["capability"],
            names: &["CAP_SYS_ADMIN"],
            fix: Fix::Start(How::Podman("--cap-add SYS_ADMIN")),
        },
        Failure {
            name: "chown after --cap-drop",
            how: How::Podman("--cap-drop CHOWN"),
            run: "chown 1000 /srv/own",
            call: "chown",
            errno: libc::EPERM,
            part: "/srv/own",
            causes: &["capability"],
            names: &["CAP_CHOWN"],
            fix: Fix::Start(How::Podman("")),
        },
        Failure {
            name: "more tasks than --pids-limit",
            how: How::Podman("--pids-limit 8"),
            run: "fail fork 20",
            call: "clone",
            errno: libc::EAGAIN,
            part: "SIGCHLD",
            causes: &["cgroup-pids"],
            names: &["pids.max", "8"],
            fix: Fix::Start(How::Podman("--pids-limit 100")),
        },
        Failure {
            name: "another's file with --user",
            how: How::Podman("--user 1000"),
            run: "cat /srv/secret",
            call: "openat",
            errno: libc::EACCES,
            part: "/srv/secret",
            causes: &["dac"],
            names: &["/srv/secret"],
            fix: Fix::Start(How::Podman("")),
        },
    ]
}
