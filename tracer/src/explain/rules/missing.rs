//! Files that are not there: which name of a path it is, what there is of a like name, and links that lead nowhere.

use super::{
    Rule, mount,
    words::{leads_nowhere, shown},
};
use crate::{
    event::{Cause, Place},
    explain::{Case, Finding, Kind, Path, arguments, case::Found},
};

pub(super) const RULE: Rule = Rule {
    name: "missing",
    source: "path_resolution(7), open(2), symlink(7): ENOENT, ENOTDIR, ELOOP",
    judge,
};

fn judge(case: &Case<'_>) -> Finding {
    if case.scene.paths.iter().any(|path| !path.is_named()) {
        // A call on a descriptor: what is not there is something else than a file.
        return Finding::NotMine;
    }
    match case.errno() {
        Some(libc::ENOENT) => not_there(case),
        Some(libc::ENOTDIR) => no_directory(case),
        Some(libc::ELOOP) => ring(case),
        _ => Finding::NotMine,
    }
}

fn not_there(case: &Case<'_>) -> Finding {
    if case.scene.paths.is_empty() {
        if case.is(&["execve", "execveat"]) {
            return Finding::RuledOut(
                "which file is not there, the program or its loader: the process had gone before it could be looked for"
                    .to_owned(),
            );
        }
        return by_text(case);
    }
    let missing = case.scene.paths.iter().find(|path| is_missing(case, path));
    let Some(path) = missing else {
        if case.scene.paths.iter().any(|path| path.given.is_empty()) {
            return Found::new(Cause::Arguments, "the path is empty")
                .always("ENOENT of an empty path (path_resolution(7))")
                .fix(Place::Program, "a variable that was never set, perhaps")
                .done();
        }
        let there = case
            .scene
            .paths
            .iter()
            .all(|path| path.missing.is_none() && path.left == 0);
        if case.is(&["execve", "execveat"]) {
            // The program, or what it needs to start: which of them is not known.
            return Finding::RuledOut(format!(
                "a program that is not there: {}",
                if there {
                    "it is"
                } else {
                    "it could not be looked for"
                }
            ));
        }
        if there {
            let path = case
                .scene
                .paths
                .first()
                .map(|path| shown(&path.whole()))
                .unwrap_or_default();
            return Found::new(
                Cause::Missing,
                format!("{path} was not there at the call; right after it was"),
            )
            .after(format!("{path} is there"))
            .fix(
                Place::Program,
                "wait for what makes it: the file came too late, or was replaced just then",
            )
            .done();
        }
        return by_text(case);
    };
    if path.masked
        && let Some(mount) = &path.mount
    {
        return mount::masked(path, mount);
    }
    let name = shown(path.missing.as_deref().unwrap_or_default());
    let directory = shown(&path.ended_in);
    let given = shown(&path.whole());
    let why = match (path.dangling(), path.left) {
        (Some(link), _) => leads_nowhere(link),
        (None, 0) => match path.near.first() {
            Some(near) => format!("there is no {name} in {directory}, but {}", shown(near)),
            None => format!("there is no {name} in {directory}"),
        },
        (None, _) => format!("there is no directory {name} in {directory}, on the way to {given}"),
    };
    let mut found = Found::new(Cause::Missing, why).after(format!("{directory} has no {name}"));
    for near in &path.near {
        found = found.after(format!("{directory} has {}", shown(near)));
    }
    for elsewhere in &path.elsewhere {
        found = found.after(format!("{} is there", shown(elsewhere)));
    }
    if let Some(near) = path
        .near
        .first()
        .filter(|near| near.eq_ignore_ascii_case(path.missing.as_deref().unwrap_or_default()))
    {
        found = found.fix(
            Place::Program,
            format!("the name is {}: case matters", shown(near)),
        );
    } else if arguments::creates(case.call, path.arg) {
        found = found
            .fix(
                Place::Image,
                format!("RUN mkdir -p {directory}/{name}").replace("//", "/"),
            )
            .fix(Place::Program, "mkdir -p before it makes a file there");
    } else {
        let target = path.dangling().and_then(|link| link.target.as_deref());
        let whole = match (target, path.left) {
            (Some(target), _) if target.starts_with(b"/") => shown(target),
            (_, 0) => given.clone(),
            _ => format!("{directory}/{name}").replace("//", "/"),
        };
        if whole.starts_with("/dev/") {
            return found
                .always("a container has the devices alone that its engine gives it")
                .flag(&format!("--device={whole}, where the host has it"))
                .fix(
                    Place::Kubernetes,
                    "a device plugin's resource under resources.limits; or privileged: true",
                )
                .done();
        }
        let kind = path.mount.as_ref().map_or("", |mount| mount.kind.as_str());
        if ["proc", "sysfs", "cgroup", "cgroup2"].contains(&kind) {
            return found
                .always(format!("{whole} is the kernel's to make: no image and no volume has it"))
                .fix(
                    Place::Host,
                    format!("a kernel that has {whole}: its version, its configuration, a module, or a controller that is not on"),
                )
                .done();
        }
        if whole == "/etc/resolv.conf" {
            return found
                .always("without it the name server is one on 127.0.0.1 (resolv.conf(5)), which a container seldom has: no name is found")
                .flag("--dns=ADDRESS, and a network: without --network=none")
                .fix(Place::Kubernetes, "spec.dnsPolicy, spec.dnsConfig")
                .done();
        }
        found = found
            .fix(
                Place::Image,
                format!("put {whole} into the image, or install what has it"),
            )
            .flag(&format!("-v SOURCE:{whole}"))
            .fix(
                Place::Kubernetes,
                format!("a volume (configMap, secret, hostPath) with mountPath: {whole}"),
            );
    }
    found.done()
}

/// Whether that path has to do with the error: one that the call makes needs its directory alone.
fn is_missing(case: &Case<'_>, path: &Path) -> bool {
    path.missing.is_some() && (path.left > 0 || !arguments::creates(case.call, path.arg))
}

/// What could not be walked.
fn by_text(case: &Case<'_>) -> Finding {
    let given = arguments::paths(case.call);
    let Some(path) = given.first() else {
        return Finding::NotMine;
    };
    if path.path.is_empty() {
        return Found::new(Cause::Arguments, "the path is empty")
            .always("ENOENT of an empty path (path_resolution(7))")
            .done();
    }
    let given = shown(&path.path);
    let mounts = case.scene.paths.iter().filter_map(|walked| walked.mount.as_ref());
    if let Some(mount) = mounts
        .into_iter()
        .find(|mount| matches!(mount.kind.as_str(), "proc" | "sysfs"))
        && arguments::creates(case.call, path.arg)
    {
        return Found::new(
            Cause::FileSystem,
            format!(
                "{given} would be on a {}, whose files the kernel makes: nobody can make one there",
                mount.kind
            ),
        )
        .after(format!("{} is a mount of {}", shown(&mount.point), mount.kind))
        .always("proc(5), sysfs(5)")
        .fix(Place::Program, "name a path on another file system")
        .done();
    }
    Found::new(
        Cause::Missing,
        format!("{given}, or a directory on the way to it, was not there"),
    )
    .always("ENOENT of a call that takes a path (path_resolution(7))")
    .fix(Place::Image, format!("put {given} into the image, or mount it"))
    .done()
}

fn no_directory(case: &Case<'_>) -> Finding {
    for path in &case.scene.paths {
        let Some(last) = path.steps.last() else {
            continue;
        };
        let wants_directory = path.given.ends_with(b"/")
            || case.says("O_DIRECTORY")
            || case.is(&[
                "chdir",
                "chroot",
                "rmdir",
                "pivot_root",
                "mount",
                "inotify_add_watch",
            ]);
        let blocks =
            path.missing.is_none() && last.kind != Kind::Directory && (path.left > 0 || wants_directory);
        if blocks {
            return Found::new(
                Cause::Missing,
                match path.left {
                    0 => format!("{} is no directory", shown(&last.path)),
                    _ => format!(
                        "{} is no directory, and {} leads through it",
                        shown(&last.path),
                        shown(&path.whole())
                    ),
                },
            )
            .after(format!("{} is a {}", shown(&last.path), kind(last.kind)))
            .always("path_resolution(7): ENOTDIR")
            .fix(Place::Image, format!("a directory {}", shown(&last.path)))
            .done();
        }
    }
    Finding::NotMine
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Link => "link",
        Kind::Character => "character device",
        Kind::Block => "block device",
        Kind::Fifo => "FIFO",
        Kind::Socket => "socket",
    }
}

fn ring(case: &Case<'_>) -> Finding {
    if let Some(path) = case.scene.paths.iter().find(|path| path.ring) {
        return Found::new(
            Cause::Missing,
            format!(
                "{} leads through more than 40 links: they form a ring",
                shown(&path.whole())
            ),
        )
        .always("path_resolution(7): ELOOP")
        .fix(Place::Image, format!("remove the link {}", shown(&path.whole())))
        .done();
    }
    let last = case.scene.paths.iter().find_map(|path| path.steps.last());
    match last {
        Some(step)
            if step.kind == Kind::Link && (case.says("O_NOFOLLOW") || case.says("RESOLVE_NO_SYMLINKS")) =>
        {
            Found::new(
                Cause::Arguments,
                format!(
                    "{} is a link, and the call asked not to follow one",
                    shown(&step.path)
                ),
            )
            .always("open(2), O_NOFOLLOW: ELOOP")
            .done()
        }
        _ => Finding::NotMine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Syscall,
        explain::{
            Component, Mount, Scene,
            rules::testing::{ask, failed, verdict},
        },
    };

    fn step(path: &str, kind: Kind) -> Component {
        Component {
            path: path.into(),
            kind,
            ..Component::default()
        }
    }

    fn scene(given: &str, steps: Vec<Component>, missing: Option<&str>, left: usize) -> Scene {
        let ended_in = steps.last().map(|step| step.path.clone()).unwrap_or_default();
        Scene {
            paths: vec![Path {
                arg: "filename",
                given: given.into(),
                steps,
                missing: missing.map(Into::into),
                ended_in,
                left,
                ..Path::default()
            }],
            ..Scene::default()
        }
    }

    fn open(errno: i32, flags: &str) -> Syscall {
        failed("openat", errno, &[("filename", 1, "\"/x\""), ("flags", 0, flags)])
    }

    #[test]
    fn the_name_that_is_missing_is_told_with_those_like_it() {
        let mut scene = scene(
            "/etc/App.conf",
            vec![step("/", Kind::Directory), step("/etc", Kind::Directory)],
            Some("App.conf"),
            0,
        );
        scene.paths[0].near = vec![b"app.conf".to_vec()];
        let told = verdict(&RULE, &open(libc::ENOENT, "O_RDONLY"), &scene);
        assert_eq!(told.cause, Cause::Missing);
        assert_eq!(told.why, "there is no App.conf in /etc, but app.conf");
        assert_eq!(told.fixes[0].line, "the name is app.conf: case matters");
    }

    #[test]
    fn a_device_comes_from_the_engine() {
        let steps = vec![step("/", Kind::Directory), step("/dev", Kind::Directory)];
        let told = verdict(
            &RULE,
            &open(libc::ENOENT, "O_RDWR"),
            &scene("/dev/fuse", steps, Some("fuse"), 0),
        );
        assert_eq!(told.fixes[0].line, "--device=/dev/fuse, where the host has it");
        assert!(
            told.fixes
                .iter()
                .all(|fix| !fix.line.contains("image") && !fix.line.contains("-v "))
        );
    }

    #[test]
    fn a_directory_that_is_missing_on_the_way() {
        let scene = scene(
            "/run/app/pid",
            vec![step("/", Kind::Directory), step("/run", Kind::Directory)],
            Some("app"),
            1,
        );
        let told = verdict(&RULE, &open(libc::ENOENT, "O_WRONLY|O_CREAT"), &scene);
        assert_eq!(
            told.why,
            "there is no directory app in /run, on the way to /run/app/pid"
        );
        assert_eq!(told.fixes[0].line, "RUN mkdir -p /run/app");
    }

    #[test]
    fn a_link_that_leads_nowhere() {
        let link = Component {
            target: Some(b"/opt/none".to_vec()),
            ..step("/l", Kind::Link)
        };
        let steps = vec![step("/", Kind::Directory), link, step("/opt", Kind::Directory)];
        let told = verdict(
            &RULE,
            &open(libc::ENOENT, "O_RDONLY"),
            &scene("/l", steps, Some("none"), 0),
        );
        assert_eq!(told.why, "/l is a link to /opt/none, which is not there");
    }

    #[test]
    fn a_good_link_on_the_way_is_not_blamed() {
        let link = Component {
            target: Some(b"usr/bin".to_vec()),
            ..step("/bin", Kind::Link)
        };
        let steps = vec![
            link,
            step("/usr", Kind::Directory),
            step("/usr/bin", Kind::Directory),
        ];
        let told = verdict(
            &RULE,
            &open(libc::ENOENT, "O_RDONLY"),
            &scene("/bin/x", steps, Some("x"), 0),
        );
        assert_eq!(told.why, "there is no x in /usr/bin");
    }

    #[test]
    fn what_came_too_late_and_what_is_masked() {
        let there = scene("/x", vec![step("/x", Kind::File)], None, 0);
        assert!(
            verdict(&RULE, &open(libc::ENOENT, ""), &there)
                .why
                .contains("right after it was")
        );
        let mut masked = scene(
            "/proc/acpi/wakeup",
            vec![step("/proc/acpi", Kind::Directory)],
            Some("wakeup"),
            0,
        );
        masked.paths[0].masked = true;
        masked.paths[0].mount = Some(Mount {
            point: b"/proc/acpi".to_vec(),
            ..Mount::default()
        });
        assert_eq!(
            verdict(&RULE, &open(libc::ENOENT, ""), &masked).cause,
            Cause::Masked
        );
    }

    #[test]
    fn what_no_image_has() {
        let missing = |given: &str, directory: &str, name: &str, kind: &str| {
            let mut scene = scene(given, vec![step(directory, Kind::Directory)], Some(name), 0);
            scene.paths[0].ended_in = directory.into();
            scene.paths[0].mount = Some(Mount {
                kind: kind.into(),
                ..Mount::default()
            });
            verdict(&RULE, &open(libc::ENOENT, ""), &scene).fixes
        };
        let kernel = missing("/proc/kcore", "/proc", "kcore", "proc");
        assert!(kernel.iter().all(|fix| fix.place == Place::Host), "{kernel:?}");
        let servers = missing("/etc/resolv.conf", "/etc", "resolv.conf", "overlay");
        assert!(servers[0].line.starts_with("--dns="), "{servers:?}");
    }

    #[test]
    fn what_is_no_directory() {
        let scene = scene(
            "/etc/passwd/x",
            vec![step("/etc", Kind::Directory), step("/etc/passwd", Kind::File)],
            None,
            1,
        );
        assert_eq!(
            verdict(&RULE, &open(libc::ENOTDIR, ""), &scene).why,
            "/etc/passwd is no directory, and /etc/passwd/x leads through it"
        );
    }

    #[test]
    fn without_a_walk_the_path_is_all_that_is_known() {
        let told = verdict(&RULE, &open(libc::ENOENT, ""), &Scene::default());
        assert_eq!(told.why, "/x, or a directory on the way to it, was not there");
        let empty = failed("open", libc::ENOENT, &[("filename", 1, "\"\"")]);
        assert_eq!(verdict(&RULE, &empty, &Scene::default()).cause, Cause::Arguments);
        let mut proc = scene("/proc/x", vec![step("/proc", Kind::Directory)], Some("x"), 0);
        proc.paths[0].mount = Some(Mount {
            point: b"/proc".to_vec(),
            kind: "proc".into(),
            ..Mount::default()
        });
        let made = failed("mkdir", libc::ENOENT, &[("pathname", 1, "\"/proc/x\"")]);
        assert_eq!(verdict(&RULE, &made, &proc).cause, Cause::FileSystem);
        let other = failed("keyctl", libc::ENOENT, &[]);
        assert_eq!(ask(&RULE, &other, &Scene::default()), Finding::NotMine);
    }

    #[test]
    fn what_a_call_on_a_descriptor_misses_is_no_file() {
        let mut scene = scene("/x", vec![step("/x", Kind::File)], None, 0);
        scene.paths[0].arg = "fd";
        let call = failed("ioctl", libc::ENOENT, &[("fd", 3, "3")]);
        assert_eq!(ask(&RULE, &call, &scene), Finding::NotMine);
    }

    #[test]
    fn rings() {
        let mut scene = scene("/r", vec![], None, 1);
        scene.paths[0].ring = true;
        assert!(
            verdict(&RULE, &open(libc::ELOOP, ""), &scene)
                .why
                .contains("ring")
        );
    }
}
