//! Failures on mounts of bundles: read-only, noexec, nosuid and nodev ones, masked paths, a full one, an overlay; and
//! set-user-ID programs that gain nothing.

use super::{
    Failure, Fix, How,
    bundles::{PLAIN, USER, set, user},
};
use crate::Bundle;
use serde_json::json;
use std::path::Path;

fn mount(mut bundle: Bundle, kind: &str, source: &Path, options: &[&str]) -> Bundle {
    let mount = json!({"destination": "/mnt", "type": kind, "source": source, "options": options});
    if let Some(mounts) = bundle.config["mounts"].as_array_mut() {
        mounts.push(mount);
    }
    bundle
}

/// A user who may gain rights by a program, with one on a mount of these options.
fn gaining(bundle: Bundle, ground: &Path, options: &[&str]) -> Bundle {
    let bundle = set(user(bundle), "/process/noNewPrivileges", json!(false));
    mount(bundle, "bind", &ground.join("tools"), options)
}

/// An overlay with one directory in its lower layer.
fn overlay(bundle: Bundle, ground: &Path, redirect: &str) -> Bundle {
    let layer = |name: &str| format!("{name}dir={}", ground.join(name).display());
    let options = [
        layer("lower"),
        layer("upper"),
        layer("work"),
        format!("redirect_dir={redirect}"),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    mount(bundle, "overlay", Path::new("overlay"), &options)
}

pub(super) fn rows() -> Vec<Failure> {
    vec![
        Failure {
            name: "a read-only root file system",
            how: How::Runc(|bundle, _| set(bundle, "/root/readonly", json!(true))),
            run: "fail open create /tmp/new",
            call: "openat",
            errno: libc::EROFS,
            part: "/tmp/new",
            causes: &["read-only"],
            names: &["/"],
            fix: Fix::Start(PLAIN),
        },
        Failure {
            name: "a sysctl that the runtime made read-only",
            how: PLAIN,
            run: "fail open write /proc/sys/kernel/hostname",
            call: "openat",
            errno: libc::EROFS,
            part: "/proc/sys/kernel/hostname",
            causes: &["read-only"],
            names: &["/proc/sys"],
            fix: Fix::Start(How::Runc(|bundle, _| {
                set(bundle, "/linux/readonlyPaths", json!([]))
            })),
        },
        Failure {
            name: "a program on a noexec mount",
            how: How::Runc(|bundle, ground| {
                mount(bundle, "bind", &ground.join("tools"), &["bind", "noexec"])
            }),
            run: "fail exec /mnt/fail map 4096",
            call: "execve",
            errno: libc::EACCES,
            part: "/mnt/fail",
            causes: &["noexec"],
            names: &["/mnt"],
            fix: Fix::Start(How::Runc(|bundle, ground| {
                mount(bundle, "bind", &ground.join("tools"), &["bind"])
            })),
        },
        Failure {
            name: "a device on a nodev mount",
            how: How::Runc(|bundle, ground| {
                mount(bundle, "bind", &ground.join("devices"), &["bind", "nodev"])
            }),
            run: "fail open read /mnt/null",
            call: "openat",
            errno: libc::EACCES,
            part: "/mnt/null",
            causes: &["nodev"],
            names: &["/mnt"],
            fix: Fix::Start(How::Runc(|bundle, ground| {
                mount(bundle, "bind", &ground.join("devices"), &["bind"])
            })),
        },
        Failure {
            name: "a set-user-ID program on a nosuid mount",
            how: How::Runc(|bundle, ground| gaining(bundle, ground, &["bind", "nosuid"])),
            run: "/mnt/gains setuid 0",
            call: "setuid",
            errno: libc::EPERM,
            part: "0",
            causes: &["nosuid"],
            names: &["/mnt/gains", "/mnt is mounted nosuid"],
            fix: Fix::Start(How::Runc(|bundle, ground| gaining(bundle, ground, &["bind"]))),
        },
        Failure {
            name: "a program's file capabilities on a nosuid mount",
            how: How::Runc(|bundle, ground| gaining(bundle, ground, &["bind", "nosuid"])),
            run: "/mnt/serves bind 127.0.0.1 80",
            call: "bind",
            errno: libc::EACCES,
            part: "htons(80)",
            causes: &["nosuid"],
            names: &["/mnt/serves has CAP_NET_BIND_SERVICE", "/mnt is mounted nosuid"],
            fix: Fix::Start(How::Runc(|bundle, ground| gaining(bundle, ground, &["bind"]))),
        },
        Failure {
            name: "a set-user-ID program with no_new_privs",
            how: USER,
            run: "/srv/gains setuid 0",
            call: "setuid",
            errno: libc::EPERM,
            part: "0",
            causes: &["no-new-privs"],
            names: &["/srv/gains", "no_new_privs is set"],
            fix: Fix::Start(How::Runc(|bundle, _| {
                set(user(bundle), "/process/noNewPrivileges", json!(false))
            })),
        },
        Failure {
            name: "a set-user-ID program with no_new_privs reads a file of root's",
            how: USER,
            run: "/srv/gains open read /srv/roots",
            call: "openat",
            errno: libc::EACCES,
            part: "/srv/roots",
            causes: &["no-new-privs"],
            names: &["/srv/gains", "no_new_privs is set"],
            fix: Fix::Start(How::Runc(|bundle, _| {
                set(user(bundle), "/process/noNewPrivileges", json!(false))
            })),
        },
        Failure {
            name: "a directory of an overlay's lower layer is renamed",
            how: How::Runc(|bundle, ground| overlay(bundle, ground, "off")),
            run: "fail rename /mnt/old /mnt/new",
            call: "renameat2",
            errno: libc::EXDEV,
            part: "/mnt/old",
            causes: &["file-system"],
            names: &["/mnt/old is a directory of the image"],
            fix: Fix::Start(How::Runc(|bundle, ground| overlay(bundle, ground, "on"))),
        },
        Failure {
            name: "a masked directory of /proc",
            how: How::Runc(|bundle, _| set(bundle, "/linux/maskedPaths", json!(["/proc/tty"]))),
            run: "fail open read /proc/tty/drivers",
            call: "openat",
            errno: libc::ENOENT,
            part: "/proc/tty/drivers",
            causes: &["masked"],
            names: &["/proc/tty"],
            fix: Fix::Start(How::Runc(|bundle, _| {
                set(bundle, "/linux/maskedPaths", json!([]))
            })),
        },
        Failure {
            name: "a full tmpfs",
            how: How::Runc(|bundle, _| mount(bundle, "tmpfs", Path::new("tmpfs"), &["size=64k"])),
            run: "fail fill 128 /mnt/full",
            call: "write",
            errno: libc::ENOSPC,
            part: "1024",
            causes: &["file-system"],
            names: &["no room left"],
            fix: Fix::Start(How::Runc(|bundle, _| {
                mount(bundle, "tmpfs", Path::new("tmpfs"), &["size=1m"])
            })),
        },
    ]
}
