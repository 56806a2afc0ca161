//! What a mount or a file system refuses whoever asks: read-only, noexec, nodev, a full one, another one (EXDEV), and
//! operations that a kind of file system does not have.

use super::{Rule, capability::CAP_MKNOD, words::shown};
use crate::{
    event::{Cause, Place},
    explain::{Case, Finding, Kind, Mount, Path, case::Found},
};

pub(super) const RULE: Rule = Rule {
    name: "mount",
    source: "mount(2), mmap(2), execve(2), rename(2), open(2); fs/namei.c, fs/overlayfs/",
    judge,
};

const OPENS: &[&str] = &["open", "openat", "openat2", "creat"];
const RUNS: &[&str] = &["execve", "execveat"];
const XATTRS: &[&str] = &[
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "getxattr",
    "lgetxattr",
    "fgetxattr",
    "removexattr",
    "listxattr",
];

fn judge(case: &Case<'_>) -> Finding {
    match case.errno() {
        Some(libc::EROFS) => read_only(case),
        Some(libc::EACCES) if case.is(RUNS) => noexec(case, "execve(2): EACCES"),
        Some(libc::EPERM) if case.is(&["mmap"]) && case.says("PROT_EXEC") => noexec(case, "mmap(2): EPERM"),
        Some(libc::EACCES) if case.is(OPENS) => nodev(case),
        Some(libc::EPERM) if case.is(OPENS) => device(case),
        Some(libc::EPERM) if case.is(&["mknod", "mknodat"]) => node(case),
        Some(libc::ENOSPC) => full(case),
        Some(libc::EDQUOT) if !case.scene.paths.is_empty() => quota(),
        Some(libc::EXDEV) => across(case),
        Some(libc::EOPNOTSUPP) if case.is(XATTRS) => attributes(case),
        Some(libc::EINVAL) if case.is(OPENS) && case.says("O_DIRECT") && !case.says("O_DIRECTORY") => {
            direct(case)
        }
        Some(libc::EOPNOTSUPP) if case.is(OPENS) && case.says("O_TMPFILE") => temporary(case),
        Some(libc::EOPNOTSUPP) if case.is(&["fallocate"]) => allocate(case),
        _ => Finding::NotMine,
    }
}

pub(super) fn mounted(mount: &Mount) -> String {
    format!(
        "{} is a mount of {} ({}){}{}{}{}",
        shown(&mount.point),
        mount.kind,
        mount.source,
        if mount.read_only { ", read-only" } else { "" },
        if mount.noexec { ", noexec" } else { "" },
        if mount.nosuid { ", nosuid" } else { "" },
        if mount.nodev { ", nodev" } else { "" },
    )
}

fn read_only(case: &Case<'_>) -> Finding {
    // The one that is read-only: of rename and link, either may be.
    let path = case
        .scene
        .paths
        .iter()
        .find(|path| path.mount.as_ref().is_some_and(|mount| mount.read_only))
        .or(case.scene.paths.first());
    let Some((path, mount)) = path.and_then(|path| Some((path, path.mount.as_ref()?))) else {
        return Found::new(Cause::ReadOnly, "the file is on a read-only file system")
            .always("EROFS means nothing else (errno(3))")
            .done();
    };
    if path.masked {
        return masked(path, mount);
    }
    let found = Found::new(
        Cause::ReadOnly,
        format!(
            "{} is on {}, which is mounted read-only",
            shown(&path.whole()),
            shown(&mount.point)
        ),
    )
    .after(mounted(mount))
    .always("EROFS means nothing else (errno(3))");
    let target = shown(&mount.point);
    if mount.point.starts_with(b"/sys/fs/cgroup") {
        return found
            .flag("--cgroupns=private")
            .fix(
                Place::Podman,
                "--systemd=always, or --security-opt unmask=/sys/fs/cgroup",
            )
            .fix(
                Place::Docker,
                "--privileged: no lesser option makes /sys/fs/cgroup writable",
            )
            .fix(
                Place::Kubernetes,
                "securityContext.privileged: true: no lesser field makes it writable",
            )
            .done();
    }
    if mount.point.starts_with(b"/proc") || mount.point.starts_with(b"/sys") {
        let found = match path.given.strip_prefix(b"/proc/sys/") {
            Some(name) => {
                let name = shown(name).replace('/', ".");
                found
                    .flag(&format!("--sysctl {name}=VALUE, if the kernel keeps it for each namespace"))
                    .fix(
                        Place::Kubernetes,
                        format!(r#"spec.securityContext.sysctls: [{{name: "{name}", value: "VALUE"}}], if it is one of a namespace"#),
                    )
                    .fix(Place::Host, format!("sysctl -w {name}=VALUE"))
            }
            None => found,
        };
        return found
            .always("runtimes mount the kernel's files read-only for a container (OCI readonlyPaths)")
            .fix(Place::Podman, format!("--security-opt unmask={target}"))
            .fix(Place::Docker, "--security-opt systempaths=unconfined")
            .done();
    }
    if mount.point == b"/" {
        let directory = path
            .steps
            .iter()
            .rev()
            .find(|step| step.kind == Kind::Directory && step.path != b"/")
            .map_or_else(|| "/DIRECTORY".to_owned(), |step| shown(&step.path));
        return found
            .flag(&format!("--tmpfs {directory}, or -v VOLUME:{directory}; or without --read-only"))
            .fix(
                Place::Kubernetes,
                format!("an emptyDir volume with mountPath: {directory}; or securityContext.readOnlyRootFilesystem: false"),
            )
            .fix(Place::Systemd, format!("ReadWritePaths={directory}"))
            .done();
    }
    found
        .flag(&format!(
            "-v SOURCE:{target} without :ro, --mount OPTIONS without ro"
        ))
        .fix(
            Place::Kubernetes,
            format!("volumeMounts: of mountPath {target}, readOnly: false"),
        )
        .fix(
            Place::Host,
            "where the host itself has mounted it read-only: mount -o remount,rw",
        )
        .done()
}

/// What the runtime has put /dev/null or an empty directory over.
pub(super) fn masked(path: &Path, mount: &Mount) -> Finding {
    let target = shown(&mount.point);
    Found::new(
        Cause::Masked,
        format!("{} is hidden from the container: the runtime masks {target}", shown(&path.whole())),
    )
    .after(mounted(mount))
    .always("runtimes put /dev/null or an empty tmpfs over what of /proc and /sys is the host's (OCI maskedPaths)")
    .fix(Place::Podman, format!("--security-opt unmask={target}"))
    .fix(Place::Docker, "--security-opt systempaths=unconfined")
    .fix(Place::Kubernetes, "securityContext.procMount: Unmasked, with hostUsers: false")
    .done()
}

fn noexec(case: &Case<'_>, source: &str) -> Finding {
    let mut mounts = case
        .scene
        .paths
        .iter()
        .filter_map(|path| Some((path, path.mount.as_ref()?)));
    let Some((path, mount)) = mounts.find(|(_, mount)| mount.noexec) else {
        return match case.scene.paths.iter().find_map(|path| path.mount.as_ref()) {
            Some(mount) => Finding::RuledOut(format!("noexec: {} is not mounted so", shown(&mount.point))),
            None => Finding::NotMine,
        };
    };
    let target = shown(&mount.point);
    let found = Found::new(
        Cause::Noexec,
        format!("{} is on {target}, which is mounted noexec", shown(&path.whole())),
    )
    .after(mounted(mount))
    .always(source);
    let found = if mount.kind == "tmpfs" {
        found.flag(&format!("--tmpfs {target}:exec"))
    } else {
        // Docker's -v has no such option: its mounts are as the host's.
        found.fix(Place::Podman, format!("-v SOURCE:{target}:exec"))
    };
    found
        .fix(
            Place::Host,
            "mount -o remount,exec, where the host has mounted it noexec",
        )
        .fix(Place::Image, format!("put programs elsewhere than on {target}"))
        .done()
}

fn is_device(path: &Path) -> bool {
    path.missing.is_none()
        && path.left == 0
        && path
            .steps
            .last()
            .is_some_and(|step| matches!(step.kind, Kind::Character | Kind::Block))
}

fn nodev(case: &Case<'_>) -> Finding {
    let device = case.scene.paths.iter().find(|path| is_device(path));
    let Some((path, mount)) = device.and_then(|path| Some((path, path.mount.as_ref()?))) else {
        return Finding::NotMine;
    };
    if !mount.nodev {
        return Finding::RuledOut(format!("nodev: {} is not mounted so", shown(&mount.point)));
    }
    let given = shown(&path.whole());
    Found::new(
        Cause::Nodev,
        format!("{given} is a device on {}, which is mounted nodev", shown(&mount.point)),
    )
    .after(mounted(mount))
    .always("open(2): EACCES of a device on a nodev mount (may_open_dev, fs/namei.c); mounts of a user namespace are nodev")
    .flag(&format!("--device={given}"))
    .fix(Place::Kubernetes, "a device plugin, or a hostPath volume of type CharDevice and privileged: true")
    .done()
}

/// devcgroup_check_permission: EPERM, and no capability is asked for.
fn device(case: &Case<'_>) -> Finding {
    let Some(path) = case.scene.paths.iter().find(|path| is_device(path)) else {
        return Finding::NotMine;
    };
    if case
        .evidence()
        .is_some_and(|evidence| evidence.denied.is_some_and(|denied| denied != 0))
    {
        return Finding::NotMine;
    }
    if case.denied(0).is_none() {
        return Finding::RuledOut(
            "the device cgroup: nothing watched for capabilities, which drivers ask for too".into(),
        );
    }
    let given = shown(&path.whole());
    Found::new(
        Cause::CgroupDevices,
        format!("the container's device cgroup does not list {given}, or its driver refuses it"),
    )
    .at_call("the kernel missed no capability")
    .after(format!("{given} is a device"))
    .always("a device that the cgroup does not list is refused with EPERM (Documentation/admin-guide/cgroup-v2.rst, Device controller)")
    .flag(&format!("--device={given}"))
    .fix(Place::Kubernetes, "a device plugin, or securityContext.privileged: true")
    .fix(Place::Systemd, format!("DeviceAllow={given} rw"))
    .done()
}

/// The same check, of a device that is to be made: vfs_mknod asks for CAP_MKNOD before.
fn node(case: &Case<'_>) -> Finding {
    if !(case.says("S_IFCHR") || case.says("S_IFBLK")) || case.denied(CAP_MKNOD) != Some(false) {
        return Finding::NotMine;
    }
    Found::new(
        Cause::CgroupDevices,
        "the container's device cgroup does not let that device be made",
    )
    .at_call("the kernel did not miss CAP_MKNOD")
    .always("what the device cgroup does not list is refused with EPERM (Documentation/admin-guide/cgroup-v2.rst, Device controller)")
    .flag("--device=/dev/NAME, or --device-cgroup-rule='c MAJOR:MINOR rwm'")
    .fix(Place::Kubernetes, "a device plugin, or securityContext.privileged: true")
    .fix(Place::Systemd, "DeviceAllow=/dev/NAME rwm")
    .done()
}

fn full(case: &Case<'_>) -> Finding {
    let asked = match case.is(&["fallocate"]) {
        true => case.raw("len"),
        false => case.raw("count"),
    };
    for path in &case.scene.paths {
        let (Some(space), Some(mount)) = (path.file_system, path.mount.as_ref()) else {
            continue;
        };
        let what = match () {
            () if space.inodes > 0 && space.free_inodes == 0 => "no inode left for another file",
            // Less than a page: the next write finds none.
            () if space.bytes > 0 && space.free_bytes < 4096 => "no room left",
            () if space.bytes > 0 && asked.is_some_and(|asked| asked > space.free_bytes) => {
                "less room than was asked for"
            }
            () => continue,
        };
        let target = shown(&mount.point);
        let found = Found::new(
            Cause::FileSystem,
            format!("the file system on {target} has {what}"),
        )
        .after(mounted(mount))
        .after(format!(
            "{} bytes and {} of {} inodes are free",
            space.free_bytes, space.free_inodes, space.inodes
        ))
        .always("write(2), open(2): ENOSPC");
        let found = match (mount.kind.as_str(), mount.point.as_slice()) {
            ("tmpfs", b"/dev/shm") => found.flag("--shm-size=BYTES").fix(
                Place::Kubernetes,
                "an emptyDir volume of medium Memory on /dev/shm",
            ),
            ("tmpfs", _) => found
                .flag(&format!("--tmpfs {target}:size=BYTES,nr_inodes=NUMBER"))
                .fix(Place::Kubernetes, "emptyDir.sizeLimit"),
            _ => found
                .fix(
                    Place::Host,
                    format!("make room on the file system that {target} is on (df -h, df -i)"),
                )
                .fix(
                    Place::Kubernetes,
                    "resources.limits.ephemeral-storage, or a larger volume",
                ),
        };
        return found.done();
    }
    match case.scene.paths.iter().find_map(|path| path.file_system) {
        Some(space) => Finding::RuledOut(format!(
            "a full file system: {} bytes and {} inodes are free",
            space.free_bytes, space.free_inodes
        )),
        // Nothing else makes a write fail so (write(2)): which file it was, was not to be seen any more.
        None if case.is(&["write", "writev", "pwrite64", "pwritev", "pwritev2"])
            && case.scene.paths.is_empty() =>
        {
            Found::new(
                Cause::FileSystem,
                "the file system that the descriptor's file is on has no room left",
            )
            .after("which file that is is not known: the process had ended, or closed it (-y shows it)")
            .always("write(2): ENOSPC")
            .flag("--tmpfs PATH:size=BYTES, or a larger volume")
            .fix(Place::Host, "make room on that file system (df -h, df -i)")
            .done()
        }
        None => Finding::NotMine,
    }
}

fn quota() -> Finding {
    Found::new(
        Cause::FileSystem,
        "the user's, group's or project's quota of the file system is used up",
    )
    .always("EDQUOT means a disk quota for calls on files (errno(3), quotactl(2))")
    .fix(
        Place::Host,
        "setquota, or xfs_quota for the project that the engine gave the container (--storage-opt size=)",
    )
    .done()
}

fn across(case: &Case<'_>) -> Finding {
    if case.is(&["openat2"]) {
        return Found::new(
            Cause::Arguments,
            "the path leads out of where the call's own RESOLVE_ flags keep it",
        )
        .always("openat2(2): EXDEV of RESOLVE_BENEATH, RESOLVE_IN_ROOT and RESOLVE_NO_XDEV")
        .done();
    }
    let [old, new] = case.scene.paths.as_slice() else {
        return Finding::NotMine;
    };
    let (Some(from), Some(to)) = (&old.mount, &new.mount) else {
        return Finding::NotMine;
    };
    if from.point != to.point {
        return Found::new(
            Cause::FileSystem,
            format!(
                "{} is on {} and {} is on {}: names do not go from one mount to another",
                shown(&old.whole()),
                shown(&from.point),
                shown(&new.whole()),
                shown(&to.point)
            ),
        )
        .after(mounted(from))
        .after(mounted(to))
        .always("rename(2), link(2): EXDEV, also between two mounts of one file system")
        .fix(Place::Program, "copy and remove, as mv(1) does")
        .flag("one volume that holds both directories")
        .done();
    }
    Finding::NotMine
}

fn on<'a>(case: &Case<'a>) -> Option<(&'a Path, &'a Mount)> {
    case.scene
        .paths
        .iter()
        .find_map(|path| Some((path, path.mount.as_ref()?)))
}

fn attributes(case: &Case<'_>) -> Finding {
    let name = case.text("name").unwrap_or("the attribute").to_owned();
    let mut found = Found::new(
        Cause::FileSystem,
        match on(case) {
            Some((path, mount)) => format!(
                "{} on {} ({}) has no extended attribute {name}",
                shown(&path.whole()),
                shown(&mount.point),
                mount.kind
            ),
            None => format!("the file system has no extended attribute {name}"),
        },
    );
    if let Some((_, mount)) = on(case) {
        found = found.after(mounted(mount));
    }
    found
        .always("setxattr(2): ENOTSUP of a namespace that the file system does not have, or has switched off")
        .fix(
            Place::Program,
            "programs that copy files take it as \"not supported\" and go on",
        )
        .done()
}

fn direct(case: &Case<'_>) -> Finding {
    let Some((path, mount)) = on(case).filter(|(path, _)| path.missing.is_none()) else {
        return Finding::NotMine;
    };
    if !matches!(
        mount.kind.as_str(),
        "tmpfs" | "ramfs" | "proc" | "sysfs" | "overlay" | "fuse"
    ) && !mount.kind.starts_with("fuse.")
    {
        return Finding::RuledOut(format!("O_DIRECT: {} takes it on most devices", mount.kind));
    }
    Found::new(
        Cause::FileSystem,
        format!(
            "{} is on {}, and that does not take O_DIRECT",
            shown(&path.whole()),
            mount.kind
        ),
    )
    .after(mounted(mount))
    .always("open(2): EINVAL of O_DIRECT on a file system without it (do_dentry_open, fs/open.c)")
    .flag(&format!(
        "a volume of a disk's file system on {}",
        shown(&mount.point)
    ))
    .fix(Place::Program, "its switch for direct I/O")
    .done()
}

fn temporary(case: &Case<'_>) -> Finding {
    let Some((path, mount)) = on(case) else {
        return Finding::NotMine;
    };
    Found::new(
        Cause::FileSystem,
        format!(
            "{} is on {}, which has no O_TMPFILE",
            shown(&path.whole()),
            mount.kind
        ),
    )
    .after(mounted(mount))
    .always("open(2), O_TMPFILE: EOPNOTSUPP; programs make a named file then")
    .done()
}

fn allocate(case: &Case<'_>) -> Finding {
    let Some((path, mount)) = on(case) else {
        return Finding::NotMine;
    };
    Found::new(
        Cause::FileSystem,
        format!(
            "{} is on {}, which has not this form of fallocate",
            shown(&path.whole()),
            mount.kind
        ),
    )
    .after(mounted(mount))
    .always("fallocate(2): EOPNOTSUPP; the C library writes zeros then")
    .done()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Evidence,
        explain::{
            Component, Filesystem, Scene,
            rules::testing::{ask, failed, verdict},
        },
    };

    fn mount(point: &str, kind: &str) -> Mount {
        Mount {
            point: point.into(),
            kind: kind.into(),
            source: kind.into(),
            ..Mount::default()
        }
    }

    fn scene(given: &str, kind: Kind, mount: Mount) -> Scene {
        Scene {
            paths: vec![Path {
                arg: "filename",
                given: given.into(),
                steps: vec![Component {
                    path: given.into(),
                    kind,
                    ..Component::default()
                }],
                mount: Some(mount),
                ..Path::default()
            }],
            ..Scene::default()
        }
    }

    #[test]
    fn each_read_only_place_has_its_own_way_out() {
        let call = failed("openat", libc::EROFS, &[]);
        let lines = |given: &str, point: &str| {
            let mount = Mount {
                read_only: true,
                ..mount(point, "overlay")
            };
            let told = verdict(&RULE, &call, &scene(given, Kind::Directory, mount));
            assert_eq!(told.cause, Cause::ReadOnly);
            told.fixes
                .into_iter()
                .map(|fix| fix.line)
                .collect::<Vec<_>>()
                .join("\n")
        };
        assert!(lines("/var/log", "/").contains("--tmpfs /var/log"));
        assert!(lines("/data/x", "/data").contains("-v SOURCE:/data without :ro"));
        assert!(
            lines("/proc/sys/net/core/somaxconn", "/proc/sys").contains("--sysctl net.core.somaxconn=VALUE")
        );
        assert!(lines("/sys/fs/cgroup/x", "/sys/fs/cgroup").contains("--cgroupns=private"));
        let blind = verdict(&RULE, &call, &Scene::default());
        assert_eq!(blind.cause, Cause::ReadOnly);
    }

    #[test]
    fn programs_on_a_noexec_mount() {
        let call = failed("execve", libc::EACCES, &[]);
        let noexec = Mount {
            noexec: true,
            ..mount("/tmp", "tmpfs")
        };
        let told = verdict(&RULE, &call, &scene("/tmp/x", Kind::File, noexec));
        assert_eq!(told.cause, Cause::Noexec);
        assert_eq!(told.fixes[0].line, "--tmpfs /tmp:exec");
        let other = scene("/tmp/x", Kind::File, mount("/tmp", "tmpfs"));
        assert!(matches!(ask(&RULE, &call, &other), Finding::RuledOut(_)));
    }

    #[test]
    fn devices() {
        let call = failed("openat", libc::EACCES, &[]);
        let nodev = Mount {
            nodev: true,
            ..mount("/mnt", "tmpfs")
        };
        assert_eq!(
            verdict(&RULE, &call, &scene("/mnt/null", Kind::Character, nodev)).cause,
            Cause::Nodev
        );
        let evidence = Evidence {
            denied: Some(0),
            ..Evidence::default()
        };
        let call = failed("openat", libc::EPERM, &[]).knowing(evidence);
        let device = scene("/dev/kmsg", Kind::Character, mount("/dev", "tmpfs"));
        assert_eq!(verdict(&RULE, &call, &device).cause, Cause::CgroupDevices);
        let node = |denied| {
            let evidence = Evidence {
                denied: Some(denied),
                ..evidence
            };
            failed("mknod", libc::EPERM, &[("mode", 0o20666, "S_IFCHR|0666")]).knowing(evidence)
        };
        assert_eq!(
            verdict(&RULE, &node(0), &Scene::default()).cause,
            Cause::CgroupDevices
        );
        assert_eq!(
            ask(&RULE, &node(1 << CAP_MKNOD), &Scene::default()),
            Finding::NotMine
        );
        let missed = Evidence {
            denied: Some(1 << 34),
            ..evidence
        };
        let call = failed("openat", libc::EPERM, &[]).knowing(missed);
        assert_eq!(ask(&RULE, &call, &device), Finding::NotMine);
    }

    #[test]
    fn full_file_systems() {
        let call = failed("write", libc::ENOSPC, &[]);
        let mut scene = scene("/dev/shm/x", Kind::File, mount("/dev/shm", "tmpfs"));
        let space = Filesystem {
            bytes: 1 << 26,
            free_bytes: 0,
            free_inodes: 9,
            inodes: 10,
        };
        scene.paths[0].file_system = Some(space);
        let told = verdict(&RULE, &call, &scene);
        assert_eq!(told.why, "the file system on /dev/shm has no room left");
        assert_eq!(told.fixes[0].line, "--shm-size=BYTES");
        scene.paths[0].file_system = Some(Filesystem {
            free_bytes: 1 << 20,
            free_inodes: 0,
            ..space
        });
        assert!(verdict(&RULE, &call, &scene).why.contains("no inode"));
        scene.paths[0].file_system = Some(Filesystem {
            free_bytes: 1 << 20,
            ..space
        });
        assert!(matches!(ask(&RULE, &call, &scene), Finding::RuledOut(_)));
        let large = failed("fallocate", libc::ENOSPC, &[("len", 1 << 30, "1073741824")]);
        assert!(
            verdict(&RULE, &large, &scene)
                .why
                .ends_with("less room than was asked for")
        );
        // A cgroup's files are on a file system that counts no blocks.
        scene.paths[0].file_system = Some(Filesystem::default());
        assert!(matches!(ask(&RULE, &call, &scene), Finding::RuledOut(_)));
    }

    #[test]
    fn from_one_mount_to_another() {
        let call = failed("rename", libc::EXDEV, &[]);
        let mut both = scene("/a", Kind::Directory, mount("/", "overlay"));
        both.paths
            .extend(scene("/v/a", Kind::Directory, mount("/v", "ext4")).paths);
        assert!(
            verdict(&RULE, &call, &both)
                .why
                .contains("from one mount to another")
        );
        both.paths[1].mount = Some(mount("/", "overlay"));
        assert_eq!(ask(&RULE, &call, &both), Finding::NotMine);
    }

    #[test]
    fn what_a_kind_of_file_system_has_not() {
        let call = failed("setxattr", libc::EOPNOTSUPP, &[("name", 1, "\"user.x\"")]);
        let told = verdict(&RULE, &call, &scene("/p", Kind::File, mount("/p", "proc")));
        assert_eq!(told.why, "/p on /p (proc) has no extended attribute \"user.x\"");
        let call = failed("openat", libc::EINVAL, &[("flags", 0, "O_RDONLY|O_DIRECT")]);
        let told = verdict(&RULE, &call, &scene("/t", Kind::File, mount("/t", "tmpfs")));
        assert_eq!(told.cause, Cause::FileSystem);
        let disk = scene("/t", Kind::File, mount("/t", "ext4"));
        assert!(matches!(ask(&RULE, &call, &disk), Finding::RuledOut(_)));
    }
}
