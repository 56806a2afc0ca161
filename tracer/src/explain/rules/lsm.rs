//! Security modules that label tasks. The kernel does not say that one refused: it is the verdict only where everything else that gives
//! EACCES or EPERM for the call has been looked at and permits it, and a label that confines is there.

use super::{Rule, capability, dac};
use crate::{
    event::{Cause, Place},
    explain::{Case, Finding, case::Found},
};

pub(super) const RULE: Rule = Rule {
    name: "lsm",
    source: "apparmor(7), selinux(8); Documentation/admin-guide/LSM/",
    judge,
};

/// A label that confines.
enum Label<'a> {
    AppArmor(&'a str),
    SeLinux(&'a str),
}

/// `None` for one that confines nobody.
fn confining(label: &str) -> Option<Label<'_>> {
    if let Some(profile) = label.strip_suffix(" (enforce)") {
        return Some(Label::AppArmor(profile));
    }
    let domain = label.split(':').nth(2)?;
    let free = matches!(domain, "unconfined_t" | "spc_t" | "kernel_t" | "init_t");
    (!free).then_some(Label::SeLinux(label))
}

fn judge(case: &Case<'_>) -> Finding {
    if !case.failed_with(&[libc::EACCES, libc::EPERM]) {
        return Finding::NotMine;
    }
    let Some(label) = case.scene.label.as_deref() else {
        return Finding::RuledOut("AppArmor and SELinux: the task has no label of theirs".to_owned());
    };
    let Some(confining) = confining(label) else {
        return Finding::RuledOut(format!("AppArmor and SELinux: the task's label is {label}"));
    };
    let asked = case
        .evidence()
        .and_then(|evidence| Some((evidence.denied?, evidence.granted?)));
    // EPERM of root has many reasons beside modules; EACCES of root has none that is not asked before.
    let proved = match asked.filter(|_| case.failed_with(&[libc::EACCES])) {
        // No module overrides a capability that the task lacks.
        Some((denied, _)) if denied & !capability::noise(case) != 0 => false,
        // The kernel found the capability, and the call was refused all the same: modules come after it.
        Some((_, granted)) if granted & !capability::noise(case) != 0 => true,
        // The modes of all steps permit it.
        Some(_) => dac::permits(case) == Some(true),
        None => false,
    };
    if !proved {
        return Finding::RuledOut(format!(
            "a security module could be it (the task's label is {label}), and nothing proves it: the audit log would (ausearch -m AVC,APPARMOR_DENIED, dmesg)"
        ));
    }
    let (module, name) = match confining {
        Label::AppArmor(profile) => ("AppArmor", profile),
        Label::SeLinux(label) => ("SELinux", label),
    };
    let found = Found::new(
        Cause::Lsm,
        format!("modes and capabilities permit it, and the task is confined by {module} ({name})"),
    )
    .after(format!("/proc/PID/attr/current is {label}"))
    .at_call("the kernel missed no capability")
    .fix(
        Place::Host,
        "the audit log names the rule: ausearch -m AVC,APPARMOR_DENIED -ts recent, or dmesg",
    );
    match module {
        "AppArmor" => found
            .always("a profile may deny what capabilities and modes permit (apparmor.d(5))")
            .flag("--security-opt apparmor=PROFILE with a rule for it; apparmor=unconfined proves the point")
            .fix(
                Place::Kubernetes,
                "securityContext.appArmorProfile: {type: Localhost, localhostProfile: PROFILE}",
            )
            .done(),
        _ => found
            .always("the policy decides by labels, after modes and capabilities (selinux(8))")
            .flag("-v SOURCE:TARGET:z (or :Z) for a volume; --security-opt label=disable proves the point")
            .fix(Place::Kubernetes, "securityContext.seLinuxOptions")
            .done(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Evidence, Syscall},
        explain::{
            Acl, Component, Path, Scene,
            rules::testing::{ask, failed, verdict},
        },
    };

    fn scene(label: &str) -> Scene {
        Scene {
            label: Some(label.to_owned()),
            ..Scene::default()
        }
    }

    fn call(errno: i32, denied: u64, granted: u64) -> Syscall {
        let evidence = Evidence {
            denied: Some(denied),
            granted: Some(granted),
            ..Evidence::default()
        };
        failed("mount", errno, &[]).knowing(evidence)
    }

    #[test]
    fn a_capability_that_was_found_and_did_not_help() {
        let call = call(libc::EACCES, 0, 1 << 21);
        let told = verdict(&RULE, &call, &scene("docker-default (enforce)"));
        assert_eq!(told.cause, Cause::Lsm);
        assert!(told.why.ends_with("confined by AppArmor (docker-default)"));
        let told = verdict(&RULE, &call, &scene("system_u:system_r:container_t:s0:c1,c2"));
        assert!(told.why.contains("SELinux"));
    }

    #[test]
    fn without_a_proof_it_is_not_blamed() {
        for (call, label) in [
            (call(libc::EPERM, 1 << 21, 0), "docker-default (enforce)"),
            (call(libc::EPERM, 0, 0), "docker-default (enforce)"),
            (call(libc::EPERM, 0, 1 << 21), "docker-default (enforce)"),
            (call(libc::EACCES, 0, 1 << 21), "unconfined"),
            (call(libc::EACCES, 0, 1 << 21), "docker-default (complain)"),
            (call(libc::EACCES, 0, 1 << 21), "u:r:spc_t:s0"),
        ] {
            assert!(
                matches!(ask(&RULE, &call, &scene(label)), Finding::RuledOut(_)),
                "{label}"
            );
        }
        let call = call(libc::EACCES, 0, 1 << 21);
        assert!(matches!(
            ask(&RULE, &call, &Scene::default()),
            Finding::RuledOut(_)
        ));
    }

    #[test]
    fn modes_that_permit_are_a_proof() {
        let evidence = Evidence {
            denied: Some(0),
            granted: Some(0),
            fsuid: 5,
            ..Evidence::default()
        };
        let call = failed("openat", libc::EACCES, &[("flags", 0, "O_RDONLY")]).knowing(evidence);
        let mut scene = scene("p (enforce)");
        scene.groups = Some(vec![]);
        scene.paths = vec![Path {
            steps: vec![Component {
                mode: 0o644,
                uid: 5,
                ..Component::default()
            }],
            ..Path::default()
        }];
        assert_eq!(verdict(&RULE, &call, &scene).cause, Cause::Lsm);
        scene.paths[0].steps[0].acl = Some(Acl::default());
        assert!(matches!(ask(&RULE, &call, &scene), Finding::RuledOut(_)));
    }
}
