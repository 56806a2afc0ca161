//! Bounds of control groups: processes (`pids.max`) and memory. A limit of any group above the process's own counts too.

use super::{Rule, words::bound};
use crate::{
    event::{Cause, Place},
    explain::{Case, Finding, MemoryGroup, PidsGroup, case::Found},
    units::Bytes,
};

pub(super) const RULE: Rule = Rule {
    name: "cgroup",
    source: "kernel/cgroup/pids.c: pids_can_fork; mm/memcontrol.c; cgroups(7), Documentation/admin-guide/cgroup-v2.rst",
    judge,
};

fn judge(case: &Case<'_>) -> Finding {
    match case.errno() {
        Some(libc::EAGAIN) if case.is(&["clone", "clone3", "fork", "vfork"]) => pids(case),
        Some(libc::ENOMEM) => memory(case),
        _ => Finding::NotMine,
    }
}

fn pids(case: &Case<'_>) -> Finding {
    let Some(groups) = case.scene.pids.as_deref() else {
        return Finding::RuledOut("pids.max: the process's cgroups could not be read".into());
    };
    let bounded: Vec<&PidsGroup> = groups.iter().filter(|group| group.max.is_some()).collect();
    // A fork that ended meanwhile makes room: then the kernel's own count of refusals is what is left.
    let full = |group: &&&PidsGroup| group.max.is_some_and(|max| group.current >= max);
    let refused = |group: &&&PidsGroup| group.refused.is_some_and(|refused| refused > 0);
    let Some(group) = bounded
        .iter()
        .find(full)
        .or_else(|| bounded.iter().find(refused))
        .copied()
    else {
        let most = bounded
            .iter()
            .map(|group| {
                format!(
                    "{} has {} of {}",
                    group.path,
                    group.current,
                    bound(group.max.unwrap_or(u64::MAX))
                )
            })
            .collect::<Vec<_>>()
            .join(", ");
        return Finding::RuledOut(if most.is_empty() {
            "pids.max: no cgroup of the process has one".to_owned()
        } else {
            format!("pids.max: {most}")
        });
    };
    let max = group.max.unwrap_or_default();
    let found = Found::new(
        Cause::CgroupPids,
        format!("the cgroup may have {max} tasks (pids.max), and has them"),
    )
    .after(format!(
        "{}: pids.max {max}, pids.current {}{}",
        group.path,
        group.current,
        match group.refused {
            Some(1) => "; 1 fork was refused".to_owned(),
            Some(refused) => format!("; {refused} forks were refused"),
            None => String::new(),
        }
    ));
    let wanted = max.saturating_mul(2).max(512);
    found
        .always("pids.max counts processes and threads of the group and of those below it")
        .flag(&format!("--pids-limit={wanted}"))
        .fix(
            Place::Kubernetes,
            format!("podPidsLimit: {wanted} in the kubelet's configuration (no field of the Pod sets it)"),
        )
        .fix(
            Place::Systemd,
            format!("TasksMax={wanted}, in the unit or slice that the container runs in"),
        )
        .done()
}

/// Whether a group is so full that the next page may be refused: less than one in 64 is left.
fn is_full(group: &MemoryGroup) -> bool {
    group
        .max
        .is_some_and(|max| group.current.saturating_add(max / 64) >= max)
}

fn memory(case: &Case<'_>) -> Finding {
    if case.is(&["mmap", "mremap", "brk", "mprotect", "mlock", "mlock2", "mlockall"]) {
        // They count against the address space; the group is asked when memory is touched, and then it is the OOM killer
        // that answers.
        return Finding::RuledOut(
            "the memory cgroup: it bounds memory that is used, not memory that is mapped".into(),
        );
    }
    let Some(groups) = case.scene.memory.as_deref() else {
        return Finding::RuledOut("the memory cgroup: it could not be read".into());
    };
    let Some(group) = groups.iter().find(|group| is_full(group)) else {
        return Finding::RuledOut("the memory cgroup: none of the process's is full".into());
    };
    let max = group.max.unwrap_or_default();
    let mut found = Found::new(
        Cause::CgroupMemory,
        format!(
            "the cgroup may have {} of memory, and none was left for {}",
            Bytes(max),
            case.call.name
        ),
    )
    .after(format!(
        "{}: {} of {max} bytes are in use",
        group.path, group.current
    ));
    if let Some(met) = group.met {
        found = found.after(format!("the limit was met {met} times"));
    }
    if let Some(kills) = group.oom_kills.filter(|kills| *kills > 0) {
        found = found.after(format!("the OOM killer ended {kills} processes of the group"));
    }
    let wanted = (max.saturating_mul(2) >> 20).max(16);
    found
        .flag(&format!("--memory={wanted}m"))
        .fix(Place::Kubernetes, format!("resources.limits.memory: {wanted}Mi"))
        .fix(Place::Systemd, format!("MemoryMax={wanted}M"))
        .done()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::{
        Scene,
        rules::testing::{ask, failed, verdict},
    };

    fn group(current: u64, max: Option<u64>, refused: u64) -> PidsGroup {
        PidsGroup {
            path: format!("/sys/fs/cgroup/{current}"),
            current,
            max,
            refused: Some(refused),
        }
    }

    #[test]
    fn a_full_group_above_is_found() {
        let scene = Scene {
            pids: Some(vec![
                group(3, None, 0),
                group(20, Some(20), 1),
                group(90, Some(1000), 0),
            ]),
            ..Scene::default()
        };
        let call = failed("clone", libc::EAGAIN, &[]);
        let verdict = verdict(&RULE, &call, &scene);
        assert_eq!(verdict.cause, Cause::CgroupPids);
        assert_eq!(
            verdict.why,
            "the cgroup may have 20 tasks (pids.max), and has them"
        );
        assert_eq!(verdict.fixes[0].line, "--pids-limit=512");
    }

    #[test]
    fn one_that_was_full_is_known_by_its_count_of_refusals() {
        let scene = Scene {
            pids: Some(vec![group(3, Some(20), 7)]),
            ..Scene::default()
        };
        let call = failed("fork", libc::EAGAIN, &[]);
        assert_eq!(verdict(&RULE, &call, &scene).cause, Cause::CgroupPids);
    }

    #[test]
    fn groups_with_room_are_ruled_out() {
        let scene = Scene {
            pids: Some(vec![group(3, Some(20), 0)]),
            ..Scene::default()
        };
        let call = failed("fork", libc::EAGAIN, &[]);
        assert_eq!(
            ask(&RULE, &call, &scene),
            Finding::RuledOut("pids.max: /sys/fs/cgroup/3 has 3 of 20".into())
        );
        let read = failed("read", libc::EAGAIN, &[]);
        assert_eq!(ask(&RULE, &read, &scene), Finding::NotMine);
    }

    #[test]
    fn memory_counts_for_what_the_kernel_keeps() {
        let scene = Scene {
            memory: Some(vec![MemoryGroup {
                path: "/m".into(),
                current: (64 << 20) - 4096,
                max: Some(64 << 20),
                met: Some(9),
                oom_kills: Some(0),
                with_swap: None,
            }]),
            ..Scene::default()
        };
        let call = failed("clone", libc::ENOMEM, &[]);
        let verdict = verdict(&RULE, &call, &scene);
        assert_eq!(verdict.cause, Cause::CgroupMemory);
        assert_eq!(verdict.fixes[0].line, "--memory=128m");
        let map = failed("mmap", libc::ENOMEM, &[]);
        assert!(matches!(ask(&RULE, &map, &scene), Finding::RuledOut(_)));
    }
}
