//! Failures in containers of root's podman, under its own seccomp profile and its own set of capabilities.

use super::{Failure, Fix, How, KILLED};
use std::path::Path;

pub(super) fn rows() -> Vec<Failure> {
    let mut all = with_any_cgroups();
    // Version 2 has no switch for the OOM killer, without which calls fail.
    if Path::new("/sys/fs/cgroup/memory/memory.oom_control").exists() {
        all.push(without_oom_killer());
    }
    all
}

fn without_oom_killer() -> Failure {
    Failure {
        name: "more memory than --memory, without the OOM killer",
        how: How::Podman("--memory 32m --oom-kill-disable"),
        run: "fail swell 49152 /dev/shm/full",
        call: "write",
        errno: libc::ENOMEM,
        part: "1024",
        causes: &["cgroup-memory"],
        names: &["32M"],
        fix: Fix::Start(How::Podman("--memory 256m --oom-kill-disable")),
    }
}

fn with_any_cgroups() -> Vec<Failure> {
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
            names: &["sethostname", "where the container has CAP_SYS_ADMIN"],
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
            name: "sed -i of a file that podman mounts",
            how: How::Podman(""),
            run: "sed -i s/localhost/here/ /etc/hosts",
            call: "rename",
            errno: libc::EBUSY,
            part: "/etc/hosts",
            causes: &["file-system"],
            names: &["a mount stands on /etc/hosts"],
            fix: Fix::Run("sh: sed s/localhost/here/ /etc/hosts >/tmp/hosts && cat /tmp/hosts >/etc/hosts"),
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
            name: "more memory than --memory",
            how: How::Podman("--memory 32m"),
            // The first process goes on for a while: its cgroup is there to be read.
            run: "sh: fail touch 134217728 && exit 0; fail pause; exit 1",
            call: KILLED,
            errno: 0,
            part: "killed by SIGKILL",
            causes: &["cgroup-memory"],
            names: &["32M", "OOM killer"],
            fix: Fix::Start(How::Podman("--memory 256m")),
        },
        Failure {
            name: "more memory than --memory-swap",
            how: How::Podman("--memory 32m --memory-swap 32m"),
            run: "sh: fail touch 134217728 && exit 0; fail pause; exit 1",
            call: KILLED,
            errno: 0,
            part: "killed by SIGKILL",
            causes: &["cgroup-memory"],
            names: &["32M", "OOM killer"],
            fix: Fix::Start(How::Podman("--memory 256m --memory-swap 256m")),
        },
        Failure {
            name: "a program's file capabilities with no-new-privileges",
            how: How::Podman("--user 1000 --security-opt no-new-privileges"),
            run: "/srv/serves bind 127.0.0.1 80",
            call: "bind",
            errno: libc::EACCES,
            part: "htons(80)",
            causes: &["no-new-privs"],
            names: &["/srv/serves has CAP_NET_BIND_SERVICE", "no_new_privs is set"],
            fix: Fix::Start(How::Podman("--user 1000")),
        },
        Failure {
            name: "a processor that --cpuset-cpus leaves out",
            how: How::Podman("--cpuset-cpus 0"),
            run: "fail cpu 1",
            call: "sched_setaffinity",
            errno: libc::EINVAL,
            part: "[1]",
            causes: &["arguments"],
            names: &["none of [1]"],
            fix: Fix::Run("fail cpu 0"),
        },
        Failure {
            name: "more than a tmpfs holds, of a program that has ended",
            how: How::Podman("--tmpfs /data:size=64k"),
            run: "sh: yes | head -c 200000 >/data/x",
            call: "write",
            errno: libc::ENOSPC,
            part: "write(1",
            causes: &["file-system"],
            names: &["the file system on /data has no room left"],
            fix: Fix::Start(How::Podman("--tmpfs /data:size=1m")),
        },
        Failure {
            name: "a file of a group that the caller is not in",
            how: How::Podman("--user 1000"),
            run: "cat /srv/grouped",
            call: "openat",
            errno: libc::EACCES,
            part: "/srv/grouped",
            causes: &["dac"],
            names: &["/srv/grouped is rw-r----- of user 0, group 42"],
            fix: Fix::Start(How::Podman("--user 1000 --group-add 42")),
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
