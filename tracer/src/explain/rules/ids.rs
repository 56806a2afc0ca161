//! Ids that the container's user namespace does not map: nobody in it can have them, give them away, or make files with
//! them.

use super::{Rule, words::maps};
use crate::{
    event::{Cause, Place},
    explain::{Case, Finding, IdMap, case::Found},
};

pub(super) const RULE: Rule = Rule {
    name: "ids",
    source: "user_namespaces(7), setuid(2), chown(2): EINVAL; kernel/sys.c; fs/namei.c: EOVERFLOW",
    judge,
};

const OF_USERS: &[&str] = &["setuid", "setreuid", "setresuid"];
const OF_GROUPS: &[&str] = &["setgid", "setregid", "setresgid"];
const CHOWNS: &[&str] = &["chown", "lchown", "fchown", "fchownat"];

fn judge(case: &Case<'_>) -> Finding {
    match case.errno() {
        Some(libc::EINVAL) => invalid(case),
        Some(libc::EOVERFLOW) if !case.scene.paths.is_empty() => overflow(case),
        Some(libc::EPERM) if case.is(&["setgroups"]) => setgroups(case),
        _ => Finding::NotMine,
    }
}

fn invalid(case: &Case<'_>) -> Finding {
    let users = case.scene.uids.as_deref();
    let groups = case.scene.gids.as_deref();
    let asked: Vec<(&str, &str, Option<&[IdMap]>)> = if case.is(OF_USERS) {
        ["uid", "ruid", "euid", "suid"]
            .map(|arg| (arg, "user", users))
            .to_vec()
    } else if case.is(OF_GROUPS) {
        ["gid", "rgid", "egid", "sgid"]
            .map(|arg| (arg, "group", groups))
            .to_vec()
    } else if case.is(CHOWNS) {
        vec![("user", "user", users), ("group", "group", groups)]
    } else if case.is(&["setgroups"]) {
        let all = case.text("grouplist").unwrap_or_default();
        let ids = all
            .trim_matches(['[', ']'])
            .split([',', ' '])
            .filter_map(|id| id.parse::<u32>().ok());
        return match groups.and_then(|map| ids.into_iter().find(|id| !maps(map, *id))) {
            Some(id) => unmapped(case, id, "group"),
            None => Finding::NotMine,
        };
    } else {
        return Finding::NotMine;
    };
    for (arg, kind, map) in asked {
        let Some(id) = case.raw(arg).map(|raw| raw as u32) else {
            continue;
        };
        // -1 leaves it as it is.
        if let Some(map) = map
            && id != u32::MAX
            && !maps(map, id)
        {
            return unmapped(case, id, kind);
        }
    }
    Finding::NotMine
}

fn unmapped(case: &Case<'_>, id: u32, kind: &str) -> Finding {
    let (map, file) = match kind {
        "user" => (case.scene.uids.as_deref(), "uid_map"),
        _ => (case.scene.gids.as_deref(), "gid_map"),
    };
    let ranges: Vec<_> = map
        .unwrap_or_default()
        .iter()
        .take(8)
        .map(|line| {
            let last = line.inside.saturating_add(line.count.saturating_sub(1));
            format!("{}-{last}", line.inside)
        })
        .collect();
    help(
        Found::new(
            Cause::UnmappedId,
            format!("the container's user namespace has no {kind} {id}"),
        )
        .after(format!("/proc/PID/{file} maps {}", ranges.join(", ")))
        .always("an id that is not mapped does not exist in a user namespace: EINVAL (user_namespaces(7))"),
        kind,
        id,
    )
}

fn help(found: Found, kind: &str, id: u32) -> Finding {
    let file = if kind == "user" {
        "/etc/subuid"
    } else {
        "/etc/subgid"
    };
    found
        .fix(
            Place::Host,
            format!(
                "a range of at least {} ids for the user in {file}, then `podman system migrate`",
                u64::from(id) + 1
            ),
        )
        .fix(
            Place::Podman,
            format!(
                "--{}map that covers {id}, or --userns=auto:size={}",
                if kind == "user" { "uid" } else { "gid" },
                u64::from(id) + 1
            ),
        )
        .fix(
            Place::Docker,
            format!("a range that covers {id} for userns-remap's user in {file}"),
        )
        .fix(Place::Image, format!("no file or process of {kind} {id}"))
        .done()
}

fn overflow(case: &Case<'_>) -> Finding {
    if case.in_user_namespace() == Some(false) {
        return Finding::NotMine;
    }
    let uids = case.scene.uids.as_deref();
    let Some(map) = uids else {
        return Finding::NotMine;
    };
    let all = |id: u32| super::words::inside(Some(map), id).is_some();
    let caller = case.evidence().map(|evidence| evidence.fsuid);
    let strange = case
        .scene
        .paths
        .iter()
        .filter_map(|path| path.steps.last())
        .find(|step| !all(step.uid));
    match (strange, caller) {
        (Some(step), _) => Found::new(
            Cause::UnmappedId,
            format!(
                "{} belongs to user {} of the host, whom the container's user namespace does not map",
                super::words::shown(&step.path),
                step.uid
            ),
        )
        .after(super::words::owned(step, uids, case.scene.gids.as_deref()))
        .always("an id that a mount or a user namespace does not map gives EOVERFLOW")
        .fix(Place::Host, "chown the file to a user that is mapped")
        .fix(Place::Podman, "-v SOURCE:TARGET:U, or :idmap")
        .done(),
        (None, _) => Finding::NotMine,
    }
}

fn setgroups(case: &Case<'_>) -> Finding {
    const CAP_SETGID: u8 = 6;
    // may_setgroups: the capability is there, and the namespace's own switch is not.
    if case.in_user_namespace() != Some(true) || case.denied(CAP_SETGID) != Some(false) {
        return Finding::NotMine;
    }
    Found::new(
        Cause::UnmappedId,
        "setgroups is switched off in the container's user namespace (/proc/PID/setgroups is `deny`)",
    )
    .at_call("the kernel did not miss CAP_SETGID")
    .always("whoever makes a user namespace without the privilege to map groups must give setgroups up (user_namespaces(7))")
    .fix(
        Place::Host,
        "install newuidmap and newgidmap (package uidmap) and give the user ranges in /etc/subuid and /etc/subgid",
    )
    .done()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Evidence,
        explain::{
            Component, Path, Scene,
            rules::testing::{ask, failed, id_map, verdict},
        },
    };

    fn scene() -> Scene {
        let map = id_map().to_vec();
        Scene {
            uids: Some(map.clone()),
            gids: Some(map),
            ..Scene::default()
        }
    }

    #[test]
    fn an_id_beyond_the_range() {
        let call = failed("setuid", libc::EINVAL, &[("uid", 70000, "70000")]);
        let told = verdict(&RULE, &call, &scene());
        assert_eq!(told.cause, Cause::UnmappedId);
        assert_eq!(told.why, "the container's user namespace has no user 70000");
        assert_eq!(told.evidence[0].text, "/proc/PID/uid_map maps 0-0, 1-65536");
        let call = failed(
            "fchownat",
            libc::EINVAL,
            &[("user", 0xffff_ffff, "-1"), ("group", 70000, "70000")],
        );
        assert!(verdict(&RULE, &call, &scene()).why.ends_with("no group 70000"));
        let call = failed("setgroups", libc::EINVAL, &[("grouplist", 1, "[0, 70001]")]);
        assert!(verdict(&RULE, &call, &scene()).why.ends_with("no group 70001"));
    }

    #[test]
    fn mapped_ids_are_no_matter_of_this_rule() {
        for call in [
            failed("setuid", libc::EINVAL, &[("uid", 65536, "65536")]),
            failed(
                "chown",
                libc::EINVAL,
                &[("user", 0xffff_ffff, "-1"), ("group", 5, "5")],
            ),
            failed("read", libc::EINVAL, &[]),
        ] {
            assert_eq!(ask(&RULE, &call, &scene()), Finding::NotMine);
        }
    }

    #[test]
    fn a_file_of_nobody() {
        let mut scene = scene();
        scene.paths = vec![Path {
            steps: vec![Component {
                path: b"/x".to_vec(),
                ..Component::default()
            }],
            ..Path::default()
        }];
        let evidence = Evidence {
            user_ns_level: 1,
            ..Evidence::default()
        };
        let call = failed("openat", libc::EOVERFLOW, &[]).knowing(evidence);
        assert_eq!(verdict(&RULE, &call, &scene).cause, Cause::UnmappedId);
    }
}
