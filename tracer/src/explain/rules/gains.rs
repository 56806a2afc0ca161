//! Programs that gained nothing by what stands on their file, the set-user-ID bit of root (sudo, su) or capabilities (ping,
//! a server for a port below 1024): no_new_privs is set, the file is on a mount with nosuid, or its owner is not mapped.
//! What then fails for want of these rights has that as its cause.

use super::{
    Rule, capability,
    words::{capabilities, id, inside, owned, shown},
};
use crate::{
    event::{Cause, Evidence, Place},
    explain::{Case, Component, Finding, Kind, Mount, Path, Program, case::Found},
};

pub(super) const RULE: Rule = Rule {
    name: "gains",
    source: "execve(2), prctl(2), mount(2); fs/exec.c: bprm_fill_uid, mnt_may_suid; security/commoncap.c: get_file_caps, cap_bprm_creds_from_file",
    judge,
};

const SET_USER_ID: u32 = 0o4000;
const OF_FILES: u64 = 1 << capability::CAP_DAC_OVERRIDE | 1 << capability::CAP_DAC_READ_SEARCH;
const OF_IDS: u64 = 1 << capability::CAP_SETUID | 1 << capability::CAP_SETGID;

fn judge(case: &Case<'_>) -> Finding {
    if !case.failed_with(&[libc::EPERM, libc::EACCES]) {
        return Finding::NotMine;
    }
    let (Some(program), Some(evidence)) = (&case.scene.program, case.evidence()) else {
        return Finding::NotMine;
    };
    if let Some(lost) = lost_capabilities(case, program, evidence)
        && let Some(kept_back) = kept_back(program, evidence)
    {
        return without_capabilities(program, evidence, lost, kept_back);
    }
    let Some(file) = set_user_id(program) else {
        return Finding::NotMine;
    };
    let owner = inside(case.scene.uids.as_deref(), file.uid);
    let is_roots = owner == Some(0) || (owner.is_none() && file.uid == 0);
    if !is_roots || evidence.euid == file.uid || !would_help(case, evidence) {
        return Finding::NotMine;
    }
    why_not(case, evidence, program, file, owner)
}

/// The program's file, if it has the bit and is one of which the bit counts.
fn set_user_id(program: &Path) -> Option<&Component> {
    let file = program.steps.last()?;
    let counts = program.missing.is_none()
        && program.left == 0
        && file.kind == Kind::File
        && matches!(program.program, Some(Program::Elf { .. }));
    (counts && file.mode & SET_USER_ID != 0).then_some(file)
}

/// The capabilities that stand on the program's file, where one of them was missing, and was to be had.
fn lost_capabilities(case: &Case<'_>, program: &Path, evidence: &Evidence) -> Option<u64> {
    let granted = program.file_capabilities?;
    let missing = evidence.denied? & !capability::noise(case);
    let is_program = program.missing.is_none() && matches!(program.program, Some(Program::Elf { .. }));
    // Those of a file count in the user namespace that it is executed in.
    let is_above = evidence
        .denied_ns
        .is_some_and(|(_, level)| level < evidence.user_ns_level);
    if is_above {
        return None;
    }
    let would_have = missing & granted & evidence.bounding & !evidence.effective;
    (is_program && would_have != 0).then_some(would_have)
}

fn nosuid(program: &Path) -> Option<&Mount> {
    program.mount.as_ref().filter(|mount| mount.nosuid)
}

/// What keeps back all that stands on the program's file, in words.
fn kept_back(program: &Path, evidence: &Evidence) -> Option<(Cause, String)> {
    let by_mount = nosuid(program).map(|mount| {
        (
            Cause::Nosuid,
            format!("{} is mounted nosuid", shown(&mount.point)),
        )
    });
    let by_process = || (Cause::NoNewPrivs, "no_new_privs is set".to_owned());
    by_mount.or_else(|| evidence.no_new_privs.then(by_process))
}

fn without_capabilities(
    program: &Path,
    evidence: &Evidence,
    lost: u64,
    (cause, reason): (Cause, String),
) -> Finding {
    let names = capabilities(lost).join(", ");
    let path = shown(&program.given);
    let mut found = Found::new(
        cause,
        format!("{path} has {names} on its file, and runs without: {reason}"),
    )
    .before(format!(
        "the process executes {path}, and has not changed its ids or no_new_privs since"
    ))
    .at_call(format!("the kernel asked for {names} and did not find it"));
    if evidence.no_new_privs {
        found = found.at_call("no_new_privs is 1");
    }
    found = found
        .after(format!("security.capability of {path} gives {names}"))
        .always("execve(2) gives no capabilities of a file under no_new_privs, nor on a nosuid mount (capabilities(7))");
    released(found, program, evidence, &path).done()
}

/// Without what keeps it back.
fn released(mut found: Found, program: &Path, evidence: &Evidence, path: &str) -> Found {
    if let Some(mount) = nosuid(program) {
        let target = shown(&mount.point);
        found = found
            .fix(Place::Podman, format!("-v SOURCE:{target}:suid"))
            .fix(
                Place::Host,
                format!("mount -o remount,suid, where the host has mounted what is on {target} nosuid"),
            )
            .fix(
                Place::Image,
                format!("put {path} into the image itself, not on {target}"),
            );
    }
    if evidence.no_new_privs {
        found = found
            .flag("without --security-opt no-new-privileges")
            .fix(
                Place::Kubernetes,
                "securityContext.allowPrivilegeEscalation: true",
            )
            .fix(Place::Systemd, "NoNewPrivileges=no");
    }
    found
}

/// Whether root would have had what was missing: an id, a file of root's, or a capability of the bounding set.
fn would_help(case: &Case<'_>, evidence: &Evidence) -> bool {
    match evidence.denied {
        Some(denied) => {
            let missing = denied & !capability::noise(case);
            missing != 0 && missing & !(OF_FILES | OF_IDS | evidence.bounding) == 0
        }
        // Nobody watched: calls that fail so for want of an id's right alone.
        None => case.is(&[
            "setuid",
            "setreuid",
            "setresuid",
            "setgid",
            "setregid",
            "setresgid",
            "setgroups",
        ]),
    }
}

fn why_not(
    case: &Case<'_>,
    evidence: &Evidence,
    program: &Path,
    file: &Component,
    owner: Option<u32>,
) -> Finding {
    let uids = case.scene.uids.as_deref();
    let path = shown(&file.path);
    let foreign = || {
        (
            Cause::UnmappedId,
            "the container's user namespace does not map its owner".to_owned(),
        )
    };
    let reason = kept_back(program, evidence).or_else(|| owner.is_none().then(foreign));
    let Some((cause, reason)) = reason else {
        return Finding::NotMine;
    };
    let mut found = Found::new(
        cause,
        format!(
            "{path} is set-user-ID root, but runs as user {}: {reason}",
            id(uids, evidence.euid)
        ),
    )
    .before(format!(
        "the process executes {path}, and has not changed its ids or no_new_privs since"
    ));
    if evidence.no_new_privs {
        found = found.at_call("no_new_privs is 1");
    }
    found = found
        .after(owned(file, uids, case.scene.gids.as_deref()))
        .always("execve(2) ignores the set-user-ID bit under no_new_privs, on a nosuid mount, and of an owner that is not mapped");
    found = released(found, program, evidence, &path);
    if owner.is_none() {
        found = found.fix(
            Place::Image,
            format!("put {path} into the image, as the container's root"),
        );
    }
    found
        .flag("--user 0, where the process may be root from the start")
        .done()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Syscall,
        explain::{
            Mount, Scene,
            rules::testing::{ask, failed, id_map, verdict},
        },
    };

    fn call(no_new_privs: bool, denied: u64) -> Syscall {
        failed("setuid", libc::EPERM, &[("uid", 0, "0")]).knowing(Evidence {
            denied: Some(denied),
            euid: 1000,
            no_new_privs,
            ..Evidence::default()
        })
    }

    fn scene(mode: u32, uid: u32, nosuid: bool) -> Scene {
        Scene {
            program: Some(Path {
                steps: vec![Component {
                    path: b"/usr/bin/su".to_vec(),
                    mode,
                    uid,
                    ..Component::default()
                }],
                mount: Some(Mount {
                    point: b"/usr".to_vec(),
                    nosuid,
                    ..Mount::default()
                }),
                program: Some(Program::Elf {
                    machine: 62,
                    wide: true,
                    loader: None,
                }),
                ..Path::default()
            }),
            ..Scene::default()
        }
    }

    #[test]
    fn what_keeps_the_bit_from_counting_is_told() {
        let told = verdict(&RULE, &call(true, OF_IDS), &scene(0o4755, 0, false));
        assert_eq!(told.cause, Cause::NoNewPrivs);
        assert_eq!(
            told.why,
            "/usr/bin/su is set-user-ID root, but runs as user 1000: no_new_privs is set"
        );
        let told = verdict(&RULE, &call(true, OF_IDS), &scene(0o4755, 0, true));
        assert_eq!(told.cause, Cause::Nosuid);
        // Either alone keeps it: both are to be changed.
        assert!(
            told.fixes
                .iter()
                .any(|fix| fix.line.contains("no-new-privileges"))
        );
        assert!(told.fixes.iter().any(|fix| fix.line == "-v SOURCE:/usr:suid"));
        let mut foreign = scene(0o4755, 0, false);
        foreign.uids = Some(id_map().to_vec());
        let told = verdict(&RULE, &call(false, OF_IDS), &foreign);
        assert_eq!(told.cause, Cause::UnmappedId);
    }

    #[test]
    fn capabilities_of_the_file_that_it_did_not_get_are_told() {
        const PORT: u64 = 1 << capability::CAP_NET_BIND_SERVICE;
        let bind = |no_new_privs: bool, denied: u64| {
            failed("bind", libc::EACCES, &[("fd", 3, "3")]).knowing(Evidence {
                denied: Some(denied),
                euid: 1000,
                bounding: PORT,
                no_new_privs,
                ..Evidence::default()
            })
        };
        let with = |nosuid: bool, granted: Option<u64>| {
            let mut scene = scene(0o755, 0, nosuid);
            let program = scene.program.as_mut().unwrap();
            program.given = b"/opt/server".to_vec();
            program.file_capabilities = granted;
            scene
        };
        let told = verdict(&RULE, &bind(true, PORT), &with(false, Some(PORT | 1)));
        assert_eq!(told.cause, Cause::NoNewPrivs);
        assert_eq!(
            told.why,
            "/opt/server has CAP_NET_BIND_SERVICE on its file, and runs without: no_new_privs is set"
        );
        assert!(
            told.fixes
                .iter()
                .any(|fix| fix.line == "securityContext.allowPrivilegeEscalation: true")
        );
        let told = verdict(&RULE, &bind(false, PORT), &with(true, Some(PORT)));
        assert_eq!(told.cause, Cause::Nosuid);
        assert!(told.fixes.iter().any(|fix| fix.line == "-v SOURCE:/usr:suid"));
        let mut unbounded = bind(true, PORT);
        unbounded.evidence.as_mut().unwrap().bounding = 0;
        // A port of the host's network namespace, for a rootless container.
        let mut above = bind(true, PORT);
        let evidence = above.evidence.as_mut().unwrap();
        (evidence.user_ns_level, evidence.denied_ns) = (1, Some((1, 0)));
        for (call, scene) in [
            // Nothing kept it back; another is missing; the container may not have it.
            (bind(false, PORT), with(false, Some(PORT))),
            (bind(true, PORT), with(false, Some(1 << capability::CAP_CHOWN))),
            (bind(true, PORT), with(false, None)),
            (unbounded, with(false, Some(PORT))),
            (above, with(false, Some(PORT))),
        ] {
            assert_eq!(ask(&RULE, &call, &scene), Finding::NotMine);
        }
    }

    #[test]
    fn where_the_bit_is_not_the_reason_it_is_not_blamed() {
        let mut gained = call(true, OF_IDS);
        gained.evidence.as_mut().unwrap().euid = 0;
        for (call, scene) in [
            (call(true, OF_IDS), scene(0o755, 0, true)),
            (call(true, OF_IDS), scene(0o4755, 33, true)),
            (call(false, OF_IDS), scene(0o4755, 0, false)),
            // Root of this container lacks it too.
            (
                call(true, 1 << capability::CAP_SYS_ADMIN),
                scene(0o4755, 0, false),
            ),
            (call(true, 0), scene(0o4755, 0, false)),
            (gained, scene(0o4755, 0, true)),
            (call(true, OF_IDS), Scene::default()),
        ] {
            assert_eq!(ask(&RULE, &call, &scene), Finding::NotMine);
        }
    }
}
