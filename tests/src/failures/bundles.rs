//! Failures in bundles of root's runc, which start faster than podman's: limits, capabilities, files, programs, network.

use super::{Failure, Fix, How, in_root};
use crate::Bundle;
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
};

/// A user that nobody else on a machine is.
const NOBODY: u32 = 41_234;

pub(super) const PLAIN: How = How::Runc(|bundle, _| bundle);
/// Not root, without capabilities.
pub(super) const USER: How = How::Runc(|bundle, _| user(bundle));

/// May have a privileged port.
const SERVER: How = How::Runc(|bundle, _| bundle.capability("CAP_NET_BIND_SERVICE"));

/// May found a user namespace that has an id 0, and write its sysctls.
const FOUNDER: How = How::Runc(|bundle, _| {
    set(
        bundle.capability("CAP_SETFCAP"),
        "/linux/readonlyPaths",
        json!([]),
    )
});

pub(super) fn set(mut bundle: Bundle, pointer: &str, value: Value) -> Bundle {
    let (parent, key) = pointer.rsplit_once('/').unwrap_or(("", pointer));
    if let Some(parent) = bundle.config.pointer_mut(parent) {
        parent[key] = value;
    }
    bundle
}

pub(super) fn user(bundle: Bundle) -> Bundle {
    set(bundle, "/process/user", json!({"uid": NOBODY, "gid": NOBODY}))
}

pub(super) fn limit(bundle: Bundle, name: &str, value: u64) -> Bundle {
    let limits = json!([{"type": name, "soft": value, "hard": value}]);
    set(bundle, "/process/rlimits", limits)
}

/// A real-time budget of so many microseconds in a second.
fn budget(bundle: Bundle, us: u64) -> Bundle {
    let cpu = json!({"cpu": {"realtimeRuntime": us, "realtimePeriod": 1_000_000}});
    set(bundle, "/linux/resources", cpu)
}

fn mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

pub(super) fn rows() -> Vec<Failure> {
    [limits(), capabilities(), files(), programs(), network()]
        .into_iter()
        .flatten()
        .collect()
}

fn limits() -> Vec<Failure> {
    vec![
        Failure {
            name: "real-time without limit and group",
            how: PLAIN,
            run: "fail scheduler fifo 50",
            call: "sched_setscheduler",
            errno: libc::EPERM,
            part: "SCHED_FIFO, [50]",
            causes: &["rlimit"],
            names: &["RLIMIT_RTPRIO", "no real-time budget either"],
            fix: Fix::Start(How::Runc(|bundle, _| {
                budget(bundle.capability("CAP_SYS_NICE"), 10_000)
            })),
        },
        Failure {
            name: "real-time in a group without budget",
            how: How::Runc(|bundle, _| bundle.capability("CAP_SYS_NICE")),
            run: "fail scheduler rr 1",
            call: "sched_setscheduler",
            errno: libc::EPERM,
            part: "SCHED_RR, [1]",
            causes: &["rt-group"],
            names: &["no real-time budget"],
            fix: Fix::Start(How::Runc(|bundle, _| {
                budget(bundle.capability("CAP_SYS_NICE"), 10_000)
            })),
        },
        Failure {
            name: "chrt in a group without budget",
            how: How::Runc(|bundle, _| bundle.capability("CAP_SYS_NICE")),
            run: "chrt -f 10 /bin/true",
            call: "sched_setscheduler",
            errno: libc::EPERM,
            part: "SCHED_FIFO, [10]",
            causes: &["rt-group"],
            names: &["no real-time budget"],
            fix: Fix::Start(How::Runc(|bundle, _| {
                budget(bundle.capability("CAP_SYS_NICE"), 10_000)
            })),
        },
        Failure {
            name: "nicer than the limit",
            how: PLAIN,
            run: "fail nice -5",
            call: "setpriority",
            errno: libc::EACCES,
            part: "-5",
            causes: &["rlimit"],
            names: &["RLIMIT_NICE"],
            fix: Fix::Start(How::Runc(|bundle, _| bundle.capability("CAP_SYS_NICE"))),
        },
        Failure {
            name: "more open files than the limit",
            how: How::Runc(|bundle, _| limit(bundle, "RLIMIT_NOFILE", 16)),
            run: "fail opens 40 /dev/null",
            call: "openat",
            errno: libc::EMFILE,
            part: "/dev/null",
            causes: &["rlimit"],
            names: &["RLIMIT_NOFILE", "16"],
            fix: Fix::Start(How::Runc(|bundle, _| limit(bundle, "RLIMIT_NOFILE", 64))),
        },
        Failure {
            name: "more processes than the limit",
            how: How::Runc(|bundle, _| limit(user(bundle), "RLIMIT_NPROC", 20)),
            run: "fail fork 40",
            call: "clone",
            errno: libc::EAGAIN,
            part: "SIGCHLD",
            causes: &["rlimit"],
            names: &["RLIMIT_NPROC", "20"],
            fix: Fix::Start(How::Runc(|bundle, _| limit(user(bundle), "RLIMIT_NPROC", 100))),
        },
        Failure {
            name: "more locked memory than the limit",
            how: How::Runc(|bundle, _| limit(bundle, "RLIMIT_MEMLOCK", 65_536)),
            run: "fail lock 1048576",
            call: "mlock",
            errno: libc::ENOMEM,
            part: "1048576",
            causes: &["rlimit"],
            names: &["RLIMIT_MEMLOCK", "65536"],
            fix: Fix::Start(How::Runc(|bundle, _| limit(bundle, "RLIMIT_MEMLOCK", 4_194_304))),
        },
        Failure {
            name: "a longer file than the limit",
            how: How::Runc(|bundle, _| limit(bundle, "RLIMIT_FSIZE", 2048)),
            run: "fail fill 4 /tmp/long",
            call: "write",
            errno: libc::EFBIG,
            part: "1024",
            causes: &["rlimit"],
            names: &["RLIMIT_FSIZE", "2048"],
            fix: Fix::Start(How::Runc(|bundle, _| limit(bundle, "RLIMIT_FSIZE", 1_048_576))),
        },
        Failure {
            name: "more memory than the limit of the address space",
            how: How::Runc(|bundle, _| limit(bundle, "RLIMIT_AS", 67_108_864)),
            run: "fail map 268435456",
            call: "mmap",
            errno: libc::ENOMEM,
            part: "268435456",
            causes: &["rlimit"],
            names: &["RLIMIT_AS", "67108864"],
            fix: Fix::Start(How::Runc(|bundle, _| limit(bundle, "RLIMIT_AS", 1_073_741_824))),
        },
        Failure {
            name: "a longer core file than the hard limit",
            how: How::Runc(|bundle, _| limit(bundle, "RLIMIT_CORE", 0)),
            run: "fail raise 1048576",
            call: "prlimit64",
            errno: libc::EPERM,
            part: "RLIMIT_CORE",
            causes: &["rlimit"],
            names: &["RLIMIT_CORE", "1048576"],
            fix: Fix::Start(How::Runc(|bundle, _| limit(bundle, "RLIMIT_CORE", 1_048_576))),
        },
        Failure {
            name: "more inotify instances than the sysctl",
            how: USER,
            run: "fail instances 200",
            call: "inotify_init1",
            errno: libc::EMFILE,
            part: "",
            causes: &["sysctl"],
            names: &["max_user_instances", "128"],
            fix: Fix::Sysctl("fs.inotify.max_user_instances", "512"),
        },
        Failure {
            name: "more user namespaces than the sysctl",
            how: FOUNDER,
            run: "fail own limit 0 /proc/sys/user/max_user_namespaces unshare user",
            call: "unshare",
            errno: libc::ENOSPC,
            part: "CLONE_NEWUSER",
            causes: &["sysctl"],
            names: &["user.max_user_namespaces"],
            fix: Fix::Run("fail own limit 5 /proc/sys/user/max_user_namespaces unshare user"),
        },
        Failure {
            name: "more watches than the sysctl",
            how: FOUNDER,
            run: "fail own limit 1 /proc/sys/user/max_inotify_watches watch /etc/passwd /etc/group",
            call: "inotify_add_watch",
            errno: libc::ENOSPC,
            part: "/etc/group",
            causes: &["sysctl"],
            names: &["max_inotify_watches"],
            fix: Fix::Run("fail own limit 5 /proc/sys/user/max_inotify_watches watch /etc/passwd /etc/group"),
        },
    ]
}

/// A call that needs a capability of root's which the container does not have.
fn needs(
    name: &'static str,
    run: &'static str,
    (call, part): (&'static str, &'static str),
    capability: &'static [&'static str],
    with: How,
) -> Failure {
    Failure {
        name,
        how: PLAIN,
        run,
        call,
        errno: libc::EPERM,
        part,
        causes: &["capability"],
        names: capability,
        fix: Fix::Start(with),
    }
}

fn capabilities() -> Vec<Failure> {
    vec![
        needs(
            "chown without CAP_CHOWN",
            "fail chown 1000 /srv/own",
            ("fchownat", "/srv/own"),
            &["CAP_CHOWN"],
            How::Runc(|bundle, _| bundle.capability("CAP_CHOWN")),
        ),
        needs(
            "mount without CAP_SYS_ADMIN",
            "fail mount tmpfs /mnt",
            ("mount", "/mnt"),
            &["CAP_SYS_ADMIN"],
            How::Runc(|bundle, _| bundle.capability("CAP_SYS_ADMIN")),
        ),
        needs(
            "setuid without CAP_SETUID",
            "fail setuid 1000",
            ("setuid", "1000"),
            &["CAP_SETUID"],
            How::Runc(|bundle, _| bundle.capability("CAP_SETUID")),
        ),
        needs(
            "setgroups without CAP_SETGID",
            "fail setgroups 1000",
            ("setgroups", "1000"),
            &["CAP_SETGID"],
            How::Runc(|bundle, _| bundle.capability("CAP_SETGID")),
        ),
        needs(
            "busybox chroot without CAP_SYS_CHROOT",
            "chroot / true",
            ("chroot", "/"),
            &["CAP_SYS_CHROOT"],
            How::Runc(|bundle, _| bundle.capability("CAP_SYS_CHROOT")),
        ),
        needs(
            "setting the clock without CAP_SYS_TIME",
            "fail timezone",
            ("settimeofday", ""),
            &["CAP_SYS_TIME"],
            How::Runc(|bundle, _| bundle.capability("CAP_SYS_TIME")),
        ),
        needs(
            "busybox ifconfig without CAP_NET_ADMIN",
            "ifconfig lo mtu 1400",
            ("ioctl", "SIOCSIFMTU"),
            &["CAP_NET_ADMIN"],
            How::Runc(|bundle, _| bundle.capability("CAP_NET_ADMIN")),
        ),
        needs(
            "a raw socket without CAP_NET_RAW",
            "fail socket raw",
            ("socket", "SOCK_RAW"),
            &["CAP_NET_RAW"],
            How::Runc(|bundle, _| bundle.capability("CAP_NET_RAW")),
        ),
        needs(
            "mknod without CAP_MKNOD",
            "sh: rm -f /tmp/null; mknod /tmp/null c 1 3",
            ("mknodat", "/tmp/null"),
            &["CAP_MKNOD"],
            How::Runc(|bundle, _| bundle.capability("CAP_MKNOD")),
        ),
    ]
}

fn files() -> Vec<Failure> {
    vec![
        Failure {
            name: "a directory that only its owner may pass",
            how: USER,
            run: "fail open read /srv/private/key",
            call: "openat",
            errno: libc::EACCES,
            part: "/srv/private/key",
            causes: &["dac"],
            names: &["/srv/private"],
            fix: Fix::File(|ground| mode(&in_root(ground, "srv/private"), 0o755)),
        },
        Failure {
            name: "a file that only its owner may read",
            how: USER,
            run: "fail open read /srv/secret",
            call: "openat",
            errno: libc::EACCES,
            part: "/srv/secret",
            causes: &["dac"],
            names: &["/srv/secret", "rw-------"],
            fix: Fix::File(|ground| mode(&in_root(ground, "srv/secret"), 0o644)),
        },
        Failure {
            name: "a new file in another's directory",
            how: USER,
            run: "fail open create /srv/drop/new",
            call: "openat",
            errno: libc::EACCES,
            part: "/srv/drop/new",
            causes: &["dac"],
            names: &["/srv/drop"],
            fix: Fix::File(|ground| Ok(chown(in_root(ground, "srv/drop"), Some(NOBODY), Some(NOBODY))?)),
        },
        Failure {
            name: "another's file in a sticky directory",
            how: USER,
            run: "fail unlink /srv/sticky/note",
            call: "unlinkat",
            errno: libc::EPERM,
            part: "/srv/sticky/note",
            causes: &["dac"],
            names: &["sticky"],
            fix: Fix::File(|ground| {
                Ok(chown(
                    in_root(ground, "srv/sticky/note"),
                    Some(NOBODY),
                    Some(NOBODY),
                )?)
            }),
        },
        Failure {
            name: "a mode that only the owner may change",
            how: USER,
            run: "fail chmod /srv/unwritable",
            call: "fchmodat",
            errno: libc::EPERM,
            part: "/srv/unwritable",
            causes: &["dac"],
            names: &["/srv/unwritable"],
            fix: Fix::File(|ground| Ok(chown(in_root(ground, "srv/unwritable"), Some(NOBODY), None)?)),
        },
        Failure {
            name: "a program that nobody may execute",
            how: PLAIN,
            run: "fail exec /srv/tool map 4096",
            call: "execve",
            errno: libc::EACCES,
            part: "/srv/tool",
            causes: &["dac"],
            names: &["/srv/tool"],
            fix: Fix::File(|ground| mode(&in_root(ground, "srv/tool"), 0o755)),
        },
        Failure {
            name: "a typing error",
            how: PLAIN,
            run: "cat /etc/paswd",
            call: "openat",
            errno: libc::ENOENT,
            part: "/etc/paswd",
            causes: &["missing"],
            names: &["paswd", "passwd"],
            fix: Fix::Run("cat /etc/passwd"),
        },
        Failure {
            name: "a program that is looked for in PATH, and a link to nothing there",
            how: PLAIN,
            run: "env PATH=/srv/links:/usr/bin tool map 4096",
            call: "execve",
            errno: libc::ENOENT,
            part: "/srv/links/tool",
            causes: &["missing"],
            names: &["/srv/links/tool is a link to /opt/7/tool, which is not there"],
            fix: Fix::File(|ground| {
                fs::create_dir_all(in_root(ground, "opt/7"))?;
                Ok(symlink("/bin/fail", in_root(ground, "opt/7/tool"))?)
            }),
        },
        Failure {
            name: "a script whose interpreter is a link to nothing",
            how: PLAIN,
            run: "fail exec /srv/script-link",
            call: "execve",
            errno: libc::ENOENT,
            part: "/srv/script-link",
            causes: &["interpreter"],
            names: &["its interpreter /srv/links/sh is a link to /opt/sh, which is not there"],
            fix: Fix::File(|ground| {
                fs::create_dir_all(in_root(ground, "opt"))?;
                Ok(symlink("/bin/busybox", in_root(ground, "opt/sh"))?)
            }),
        },
        Failure {
            name: "a program is written to while it runs",
            how: PLAIN,
            run: "fail file /bin/fail /tmp/runs exec /tmp/runs open write /tmp/runs",
            call: "openat",
            errno: libc::ETXTBSY,
            part: "/tmp/runs",
            causes: &["arguments"],
            names: &["/tmp/runs is a program that runs"],
            fix: Fix::Run(
                "sh: cp /bin/fail /tmp/next; fail file /bin/fail /tmp/now exec /bin/mv /tmp/next /tmp/now",
            ),
        },
        Failure {
            name: "a name that is too long",
            how: PLAIN,
            run: concat!(
                "fail open read /etc/",
                "0123456789012345678901234567890123456789012345678901234567890123456789",
                "0123456789012345678901234567890123456789012345678901234567890123456789",
                "0123456789012345678901234567890123456789012345678901234567890123456789",
                "0123456789012345678901234567890123456789012345678901234567890123456789",
            ),
            call: "openat",
            errno: libc::ENAMETOOLONG,
            part: "/etc/0123456789",
            causes: &["arguments"],
            names: &["a name of 280 bytes"],
            fix: Fix::Run("fail open read /etc/group"),
        },
        Failure {
            name: "a dangling link",
            how: PLAIN,
            run: "fail open read /srv/current",
            call: "openat",
            errno: libc::ENOENT,
            part: "/srv/current",
            causes: &["missing"],
            names: &["releases"],
            fix: Fix::File(|ground| {
                fs::create_dir(in_root(ground, "srv/releases"))?;
                Ok(fs::write(in_root(ground, "srv/releases/7"), "7\n")?)
            }),
        },
    ]
}

/// A program that cannot be one.
fn exec(
    run: &'static str,
    name: &'static str,
    errno: i32,
    (cause, names): (&'static [&'static str], &'static [&'static str]),
    fix: fn(&Path) -> anyhow::Result<()>,
) -> Failure {
    let part = run.split_whitespace().nth(2).unwrap_or_default();
    Failure {
        name,
        how: PLAIN,
        run,
        call: "execve",
        errno,
        part,
        causes: cause,
        names,
        fix: Fix::File(fix),
    }
}

fn programs() -> Vec<Failure> {
    vec![
        exec(
            "fail exec /srv/loader socket stream",
            "a program whose loader is not there",
            libc::ENOENT,
            (&["interpreter"], &["ld-musl-x86-64.so.1"]),
            |ground| {
                Ok(symlink(
                    "ld-linux-x86-64.so.2",
                    in_root(ground, "lib64/ld-musl-x86-64.so.1"),
                )?)
            },
        ),
        exec(
            "fail exec /srv/script-sh",
            "a script whose interpreter is not there",
            libc::ENOENT,
            (&["interpreter"], &["/usr/bin/sh"]),
            |ground| Ok(symlink("/bin/sh", in_root(ground, "usr/bin/sh"))?),
        ),
        exec(
            "fail exec /srv/script-dos",
            "a script with carriage returns",
            libc::ENOENT,
            (&["interpreter"], &["carriage return"]),
            |ground| {
                Ok(fs::write(
                    in_root(ground, "srv/script-dos"),
                    "#!/bin/sh\necho ok\n",
                )?)
            },
        ),
        exec(
            "fail exec /srv/arm map 4096",
            "a program for another machine",
            libc::ENOEXEC,
            (&["architecture"], &["arm64"]),
            |ground| {
                fs::copy(in_root(ground, "bin/fail"), in_root(ground, "srv/arm"))?;
                Ok(())
            },
        ),
        exec(
            "fail exec /srv/text",
            "a script without its first line",
            libc::ENOEXEC,
            (&["no-program"], &["/srv/text"]),
            |ground| Ok(fs::write(in_root(ground, "srv/text"), "#!/bin/sh\necho ok\n")?),
        ),
    ]
}

fn network() -> Vec<Failure> {
    vec![
        Failure {
            name: "nobody listens",
            how: PLAIN,
            run: "fail connect 127.0.0.1 7777",
            call: "connect",
            errno: libc::ECONNREFUSED,
            part: "7777",
            causes: &["refused"],
            names: &["127.0.0.1", "7777"],
            fix: Fix::Run("fail hold 7777 connect 127.0.0.1 7777"),
        },
        Failure {
            name: "no route",
            how: PLAIN,
            run: "fail datagram 198.51.100.1 53",
            call: "connect",
            errno: libc::ENETUNREACH,
            part: "198.51.100.1",
            causes: &["unreachable"],
            names: &["198.51.100.1"],
            fix: Fix::Run("fail datagram 127.0.0.1 53"),
        },
        Failure {
            name: "another has the port",
            how: PLAIN,
            run: "fail hold 8080 bind 0.0.0.0 8080",
            call: "bind",
            errno: libc::EADDRINUSE,
            part: "8080",
            causes: &["address-in-use"],
            names: &["8080"],
            fix: Fix::Run("fail hold 8081 bind 0.0.0.0 8080"),
        },
        Failure {
            name: "a privileged port",
            how: USER,
            run: "fail bind 0.0.0.0 80",
            call: "bind",
            errno: libc::EACCES,
            part: "80",
            causes: &["privileged-port"],
            names: &["80", "ip_unprivileged_port_start"],
            fix: Fix::Start(How::Runc(|bundle, _| {
                let start = json!({"net.ipv4.ip_unprivileged_port_start": "80"});
                set(user(bundle), "/linux/sysctl", start)
            })),
        },
        Failure {
            name: "an address for an interface, by netlink",
            how: PLAIN,
            run: "ip addr add 198.51.100.9/32 dev lo",
            call: "recvmsg",
            errno: libc::EPERM,
            part: "RTM_NEWADDR",
            causes: &["capability"],
            names: &["CAP_NET_ADMIN", "NLMSG_ERROR"],
            fix: Fix::Start(How::Runc(|bundle, _| bundle.capability("CAP_NET_ADMIN"))),
        },
        Failure {
            name: "a name server that is not there",
            how: SERVER,
            run: "fail ask 127.0.0.1 10000",
            call: "poll",
            errno: libc::ECONNREFUSED,
            part: "127.0.0.1:53",
            causes: &["refused"],
            names: &["nobody answers at the name server 127.0.0.1:53"],
            fix: Fix::Run("fail server answers ask 127.0.0.1 10000"),
        },
        Failure {
            name: "a name server that does not answer",
            how: SERVER,
            run: "fail server silent ask 127.0.0.1 100",
            call: "poll",
            errno: libc::ETIMEDOUT,
            part: "127.0.0.1:53",
            causes: &["unreachable"],
            names: &["the name server 127.0.0.1:53 did not answer within 100 ms"],
            fix: Fix::Run("fail server answers ask 127.0.0.1 10000"),
        },
        Failure {
            name: "a message that is too long for a datagram",
            how: PLAIN,
            run: "fail send 70000 127.0.0.1 7777",
            call: "sendto",
            errno: libc::EMSGSIZE,
            part: "70000",
            causes: &["arguments"],
            names: &["70000 bytes"],
            fix: Fix::Run("fail send 7000 127.0.0.1 7777"),
        },
        Failure {
            name: "an interface that is not there",
            how: PLAIN,
            run: "fail device eth7",
            call: "setsockopt",
            errno: libc::ENODEV,
            part: "SO_BINDTODEVICE",
            causes: &["no-interface"],
            names: &["eth7", "lo"],
            fix: Fix::Run("fail device lo"),
        },
        Failure {
            name: "an address of another machine",
            how: PLAIN,
            run: "fail bind 198.51.100.7 8080",
            call: "bind",
            errno: libc::EADDRNOTAVAIL,
            part: "198.51.100.7",
            causes: &["no-interface"],
            names: &["198.51.100.7"],
            fix: Fix::Run("fail bind 127.0.0.1 8080"),
        },
        Failure {
            name: "a protocol that the kernel does not have",
            how: PLAIN,
            run: "fail socket decnet",
            call: "socket",
            errno: libc::EAFNOSUPPORT,
            part: "DECnet",
            causes: &["unsupported"],
            names: &["DECnet"],
            fix: Fix::Run("fail socket stream"),
        },
        Failure {
            name: "a priority that no policy has",
            how: How::Runc(|bundle, _| budget(bundle.capability("CAP_SYS_NICE"), 10_000)),
            run: "fail scheduler fifo 200",
            call: "sched_setscheduler",
            errno: libc::EINVAL,
            part: "[200]",
            causes: &["arguments"],
            names: &["1 to 99"],
            fix: Fix::Run("fail scheduler fifo 20"),
        },
        Failure {
            name: "a mapping of no length",
            how: PLAIN,
            run: "fail map 0",
            call: "mmap",
            errno: libc::EINVAL,
            part: "NULL, 0",
            causes: &["arguments"],
            names: &["0 bytes"],
            fix: Fix::Run("fail map 4096"),
        },
    ]
}
