//! What is in use and so cannot be changed: what a mount stands on, a program that runs, a cgroup that has processes.

use super::{Rule, mount::mounted, words::shown};
use crate::{
    event::{Cause, Place},
    explain::{Case, Component, Finding, Kind, Mount, case::Found},
};

pub(super) const RULE: Rule = Rule {
    name: "busy",
    source: "rename(2), unlink(2), rmdir(2): EBUSY; open(2), truncate(2): ETXTBSY; fs/namei.c, fs/exec.c, kernel/cgroup/cgroup.c",
    judge,
};

const REMOVES: &[&str] = &["rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir"];
const WRITES: &[&str] = &["open", "openat", "openat2", "creat", "truncate"];
/// Of a cgroup of version 2: which controllers the groups below have.
const CONTROLLERS: &[u8] = b"/cgroup.subtree_control";

fn judge(case: &Case<'_>) -> Finding {
    match case.errno() {
        Some(libc::EBUSY) if case.is(REMOVES) => mounted_on(case),
        Some(libc::EBUSY) if case.is(&["write"]) => has_processes(case),
        Some(libc::ETXTBSY) if case.is(WRITES) => runs(case),
        _ => Finding::NotMine,
    }
}

/// is_local_mountpoint of fs/namei.c: what a mount stands on is neither removed nor replaced in its mount namespace.
fn mounted_on(case: &Case<'_>) -> Finding {
    let on = case.scene.paths.iter().find_map(|path| {
        let (mount, last) = (path.mount.as_ref()?, path.steps.last()?);
        let is_there = path.missing.is_none() && path.left == 0;
        (is_there && last.path == mount.point && mount.point != b"/").then_some((mount, last))
    });
    match on {
        Some((mount, last)) => keeps(mount, last),
        None if case.scene.paths.is_empty() => Finding::NotMine,
        None => Finding::RuledOut("a mount: right after, none stood there".to_owned()),
    }
}

fn keeps(mount: &Mount, on: &Component) -> Finding {
    let target = shown(&mount.point);
    let found = Found::new(
        Cause::FileSystem,
        format!("a mount stands on {target}: it can be neither removed nor replaced"),
    )
    .after(mounted(mount))
    .always("rename(2), unlink(2), rmdir(2): EBUSY");
    if on.kind == Kind::Directory {
        return found
            .fix(
                Place::Program,
                format!("remove what is in {target}, not {target} itself"),
            )
            .flag(&format!(
                "without the volume or tmpfs on {target}, where it is to go"
            ))
            .done();
    }
    let found = found.fix(
        Place::Program,
        format!(
            "write into {target} itself (cp, cat >): mv, sed -i and most editors put a new file in its place"
        ),
    );
    match mount.point.as_slice() {
        b"/etc/hosts" => found
            .flag("--add-host=NAME:ADDRESS")
            .fix(Place::Kubernetes, "spec.hostAliases"),
        b"/etc/resolv.conf" => found
            .flag("--dns=ADDRESS, --dns-search=DOMAIN, --dns-option=OPTION")
            .fix(Place::Kubernetes, "spec.dnsPolicy: None, and spec.dnsConfig"),
        b"/etc/hostname" => found
            .flag("--hostname=NAME")
            .fix(Place::Kubernetes, "spec.hostname"),
        _ => found
            .flag(&format!(
                "-v of the directory that {target} is in, not of the file"
            ))
            .fix(
                Place::Kubernetes,
                "volumeMounts: the whole directory, without subPath",
            ),
    }
    .done()
}

/// cgroup_vet_subtree_control_enable of kernel/cgroup/cgroup.c.
fn has_processes(case: &Case<'_>) -> Finding {
    let group = case
        .scene
        .paths
        .iter()
        .find_map(|path| path.given.strip_suffix(CONTROLLERS));
    let Some(group) = group.map(shown) else {
        return Finding::NotMine;
    };
    Found::new(
        Cause::FileSystem,
        format!(
            "the cgroup {group} has processes of its own, and so gives the groups below it no controllers"
        ),
    )
    .always("Documentation/admin-guide/cgroup-v2.rst, No Internal Process Constraint: EBUSY")
    .fix(
        Place::Program,
        format!(
            "make a group below it, move all of {group}/cgroup.procs there, then write cgroup.subtree_control"
        ),
    )
    .done()
}

/// deny_write_access of include/linux/fs.h: a file is written to, or executed.
fn runs(case: &Case<'_>) -> Finding {
    let Some(path) = case.scene.paths.first() else {
        return Finding::NotMine;
    };
    let file = shown(&path.whole());
    Found::new(
        Cause::Arguments,
        format!("{file} is a program that runs, and nobody may write to it meanwhile"),
    )
    .always("open(2), truncate(2): ETXTBSY")
    .fix(
        Place::Program,
        format!(
            "write another file and rename(2) it to {file}, as install and mv do; or end the program before"
        ),
    )
    .done()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::{
        Path, Scene,
        rules::testing::{ask, failed, verdict},
    };

    fn scene(given: &str, kind: Kind, point: &str) -> Scene {
        let last = Component {
            path: given.into(),
            kind,
            ..Component::default()
        };
        Scene {
            paths: vec![Path {
                arg: "newname",
                given: given.into(),
                steps: vec![last],
                mount: Some(Mount {
                    point: point.into(),
                    kind: "ext4".into(),
                    ..Mount::default()
                }),
                ..Path::default()
            }],
            ..Scene::default()
        }
    }

    #[test]
    fn what_a_mount_stands_on_stays() {
        let call = failed("rename", libc::EBUSY, &[]);
        let told = verdict(&RULE, &call, &scene("/etc/hosts", Kind::File, "/etc/hosts"));
        assert_eq!(
            told.why,
            "a mount stands on /etc/hosts: it can be neither removed nor replaced"
        );
        assert!(told.fixes.iter().any(|fix| fix.line.starts_with("--add-host")));
        let volume = verdict(&RULE, &call, &scene("/app.conf", Kind::File, "/app.conf"));
        assert!(volume.fixes.iter().any(|fix| fix.line.contains("subPath")));
        let directory = failed("rmdir", libc::EBUSY, &[]);
        let told = verdict(&RULE, &directory, &scene("/data", Kind::Directory, "/data"));
        assert_eq!(told.fixes[0].line, "remove what is in /data, not /data itself");
        let other = ask(&RULE, &call, &scene("/data/x", Kind::File, "/data"));
        assert!(matches!(other, Finding::RuledOut(_)), "{other:?}");
        assert_eq!(ask(&RULE, &call, &Scene::default()), Finding::NotMine);
    }

    #[test]
    fn a_group_with_processes_gives_no_controllers() {
        let call = failed("write", libc::EBUSY, &[("fd", 3, "3")]);
        let file = "/sys/fs/cgroup/cgroup.subtree_control";
        let told = verdict(&RULE, &call, &scene(file, Kind::File, "/sys/fs/cgroup"));
        assert!(told.why.contains("/sys/fs/cgroup has processes"), "{}", told.why);
        let other = scene("/sys/fs/cgroup/x", Kind::File, "/sys/fs/cgroup");
        assert_eq!(ask(&RULE, &call, &other), Finding::NotMine);
    }

    #[test]
    fn a_program_that_runs_is_not_written_to() {
        let call = failed("openat", libc::ETXTBSY, &[]);
        let told = verdict(&RULE, &call, &scene("/app", Kind::File, "/"));
        assert_eq!(
            told.why,
            "/app is a program that runs, and nobody may write to it meanwhile"
        );
        assert_eq!(ask(&RULE, &call, &Scene::default()), Finding::NotMine);
    }
}
