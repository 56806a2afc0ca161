//! Real-time scheduling that is not permitted: the case this project began with. A process without CAP_SYS_NICE in the
//! initial user namespace may have a real-time policy up to RLIMIT_RTPRIO; on a kernel with CONFIG_RT_GROUP_SCHED its
//! group must have a budget besides, whatever the process may.

use super::{Rule, words::bound};
use crate::{
    event::{Cause, Evidence, Place},
    explain::{Budget, Case, CgroupVersion, Finding, arguments::number_after, case::Found},
};

pub(super) const RULE: Rule = Rule {
    name: "realtime",
    source: "kernel/sched/syscalls.c: user_check_sched_setscheduler, __sched_setscheduler; sched(7)",
    judge,
};

const CAP_SYS_NICE: u8 = 23;
const RLIMIT_RTPRIO: u32 = 14;
/// Priorities go to 99.
const HIGHEST: u64 = 99;

fn judge(case: &Case<'_>) -> Finding {
    if !case.is(&["sched_setscheduler", "sched_setattr", "sched_setparam"])
        || !case.failed_with(&[libc::EPERM])
    {
        return Finding::NotMine;
    }
    let Some(evidence) = case.evidence() else {
        return Finding::RuledOut(
            "real-time limits: what the kernel knew of the task was not recorded".into(),
        );
    };
    let Some(asked) = Asked::of(case) else {
        return Finding::NotMine;
    };
    let limit = case.limit(RLIMIT_RTPRIO).unwrap_or_default();
    // The kernel asks for the capability only where the limit does not do.
    let capability = case.denied(CAP_SYS_NICE).unwrap_or(limit < asked.priority.max(1));
    if capability && limit < asked.priority.max(1) {
        return rlimit(case, evidence, asked, limit);
    }
    if capability {
        return Finding::RuledOut(format!(
            "RLIMIT_RTPRIO: it is {limit}, and priority {} was asked for",
            asked.priority
        ));
    }
    match evidence.rt_runtime {
        Some(0) => group(case, &asked),
        Some(budget) => Finding::RuledOut(format!(
            "real-time group scheduling: the task's group has a budget of {} us",
            budget / 1000
        )),
        None => Finding::RuledOut("real-time group scheduling: this kernel has none".into()),
    }
}

/// What was asked for.
struct Asked {
    policy: &'static str,
    priority: u64,
}

impl Asked {
    /// `None` when it is no real-time policy, or is not known.
    fn of(case: &Case<'_>) -> Option<Self> {
        let said = match case.call.name.as_ref() {
            "sched_setscheduler" => case.text("policy")?,
            // The task has its policy already.
            "sched_setparam" => "",
            _ => case.text("uattr")?,
        };
        let policy = match case.call.name.as_ref() {
            "sched_setparam" => "its real-time policy",
            _ if said.contains("SCHED_FIFO") => "SCHED_FIFO",
            _ if said.contains("SCHED_RR") => "SCHED_RR",
            _ => return None,
        };
        let priority = match case.call.name.as_ref() {
            "sched_setattr" => number_after(said, "sched_priority="),
            _ => number_after(case.text("param")?, "["),
        }?;
        Some(Self { policy, priority })
    }
}

fn rlimit(case: &Case<'_>, evidence: &Evidence, asked: Asked, limit: u64) -> Finding {
    let Asked { policy, priority } = asked;
    let rootless = evidence.user_ns_level > 0;
    let mut found = Found::new(
        Cause::Rlimit,
        format!("RLIMIT_RTPRIO is {limit}, and {policy} with priority {priority} was asked for"),
    )
    .at_call(format!(
        "RLIMIT_RTPRIO: soft {limit}, hard {}",
        bound(evidence.hard_rtprio)
    ));
    if let Some((_, level)) = evidence.denied_ns {
        found = found.at_call(format!(
            "the kernel then asked for CAP_SYS_NICE in {} and did not find it",
            if level == 0 {
                "the initial user namespace".to_owned()
            } else {
                format!("a user namespace of level {level}")
            }
        ));
    }
    if rootless {
        found = found.at_call(format!(
            "the container runs in a user namespace of level {}: a CAP_SYS_NICE of its own is one of that namespace, and --cap-add=SYS_NICE can never help",
            evidence.user_ns_level
        ));
    }
    found = found.always(
        "without CAP_SYS_NICE in the initial user namespace, RLIMIT_RTPRIO bounds the priority (sched(7))",
    );
    let wanted = priority.clamp(1, HIGHEST);
    found = found
        .flag(&format!("--ulimit rtprio={wanted}:{wanted}"))
        .fix(
            Place::Systemd,
            format!(
                "LimitRTPRIO={wanted}, in the unit that starts the container{}",
                if rootless {
                    ": of a rootless one, user@.service (systemctl edit user@.service)"
                } else {
                    ""
                }
            ),
        )
        .fix(
            Place::Kubernetes,
            if rootless {
                "no field sets it: LimitRTPRIO= in the unit of the container runtime".to_owned()
            } else {
                "securityContext.capabilities.add: [\"SYS_NICE\"] (no field sets a limit)".to_owned()
            },
        );
    if !rootless {
        found = found.flag("--cap-add=SYS_NICE");
    }
    if evidence.rt_runtime == Some(0) {
        // The second wall behind the first: whoever removes one shall not have to come again.
        found = budget(case, found.at_call("its group has no real-time budget either (CONFIG_RT_GROUP_SCHED): with the limit raised alone, the call still fails"));
    }
    found.done()
}

fn group(case: &Case<'_>, asked: &Asked) -> Finding {
    let found = Found::new(
        Cause::RtGroup,
        format!(
            "the task's group has no real-time budget, so no task in it may have {}",
            asked.policy
        ),
    )
    .at_call("sched_task_group->rt_bandwidth.rt_runtime is 0")
    .at_call("neither a capability nor a limit was missing")
    .always("CONFIG_RT_GROUP_SCHED: a group needs a budget before its tasks may run with SCHED_FIFO or SCHED_RR (Documentation/scheduler/sched-rt-group.rst)");
    budget(case, found).done()
}

/// Which groups lack it, and how to give it.
fn budget(case: &Case<'_>, mut found: Found) -> Found {
    let groups = case.scene.rt.as_deref().unwrap_or_default();
    let lacking = |group: &&Budget| group.runtime_us == Some(0);
    for group in groups.iter().filter(lacking) {
        found = found.after(format!("{}/cpu.rt_runtime_us is 0", group.path));
    }
    if groups
        .iter()
        .any(|group| group.version == CgroupVersion::Two && group.runtime_us.is_none())
    {
        return found
            .after("the task's CPU cgroup is of version 2, which has no file for the budget")
            .fix(
                Place::Host,
                "boot with rt_group_sched=0 (since Linux 6.15), or use a kernel without CONFIG_RT_GROUP_SCHED",
            );
    }
    // From the top down: a group cannot have more than the one above it.
    for group in groups.iter().filter(lacking).rev() {
        found = found.fix(
            Place::Host,
            format!("echo 100000 > {}/cpu.rt_runtime_us", group.path),
        );
    }
    if groups.is_empty() {
        found = found.fix(
            Place::Host,
            "give each cgroup from the root of the cpu controller down to the container's a budget in cpu.rt_runtime_us",
        );
    }
    found
        .fix(
            Place::Docker,
            "--cpu-rt-runtime=95000, with dockerd --cpu-rt-runtime=950000",
        )
        .fix(
            Place::Podman,
            "--cpu-rt-runtime=95000 (cgroup version 1), the parent cgroups having a budget",
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Syscall,
        explain::{
            Scene,
            rules::testing::{ask, failed, verdict},
        },
    };

    fn call(policy: &str, priority: u64) -> Syscall {
        failed(
            "sched_setscheduler",
            libc::EPERM,
            &[
                ("pid", 0, "0"),
                ("policy", 1, policy),
                ("param", 0x7fff, &format!("[{priority}]")),
            ],
        )
    }

    fn knew(limit: u64, denied: bool, rt_runtime: Option<i64>, level: u32) -> Evidence {
        let mut evidence = Evidence {
            denied: Some(u64::from(denied) << CAP_SYS_NICE),
            rt_runtime,
            user_ns_level: level,
            ..Evidence::default()
        };
        evidence.limits[RLIMIT_RTPRIO as usize] = limit;
        evidence.hard_rtprio = limit;
        evidence
    }

    #[test]
    fn a_limit_of_0_is_the_cause_and_a_capability_of_a_rootless_container_no_fix() {
        let call = call("SCHED_FIFO", 50).knowing(knew(0, true, Some(950_000_000), 1));
        let verdict = verdict(&RULE, &call, &Scene::default());
        assert_eq!(verdict.cause, Cause::Rlimit);
        assert_eq!(
            verdict.why,
            "RLIMIT_RTPRIO is 0, and SCHED_FIFO with priority 50 was asked for"
        );
        let lines: Vec<_> = verdict.fixes.iter().map(|fix| fix.line.as_str()).collect();
        assert!(lines.contains(&"--ulimit rtprio=50:50"));
        assert!(!lines.iter().any(|line| line.contains("--cap-add")));
    }

    #[test]
    fn both_walls_are_told_at_once() {
        let scene = Scene {
            rt: Some(vec![Budget {
                path: "/sys/fs/cgroup/cpu/user".into(),
                version: CgroupVersion::One,
                runtime_us: Some(0),
                period_us: Some(1_000_000),
            }]),
            ..Scene::default()
        };
        let call = call("SCHED_RR", 10).knowing(knew(0, true, Some(0), 1));
        let verdict = verdict(&RULE, &call, &scene);
        assert_eq!(verdict.cause, Cause::Rlimit);
        assert!(
            verdict
                .fixes
                .iter()
                .any(|fix| fix.line == "echo 100000 > /sys/fs/cgroup/cpu/user/cpu.rt_runtime_us")
        );
    }

    #[test]
    fn without_a_missing_capability_it_is_the_group() {
        let call = call("SCHED_FIFO|SCHED_RESET_ON_FORK", 1).knowing(knew(0, false, Some(0), 0));
        assert_eq!(verdict(&RULE, &call, &Scene::default()).cause, Cause::RtGroup);
    }

    #[test]
    fn a_group_with_a_budget_is_ruled_out() {
        let call = call("SCHED_FIFO", 1).knowing(knew(99, false, Some(950_000_000), 0));
        assert!(matches!(
            ask(&RULE, &call, &Scene::default()),
            Finding::RuledOut(_)
        ));
    }

    #[test]
    fn a_policy_that_is_not_real_time_is_no_matter_of_this_rule() {
        let call = call("SCHED_IDLE", 0).knowing(knew(0, true, Some(0), 0));
        assert_eq!(ask(&RULE, &call, &Scene::default()), Finding::NotMine);
    }

    #[test]
    fn the_priority_of_an_attribute_is_read() {
        let call = failed(
            "sched_setattr",
            libc::EPERM,
            &[(
                "uattr",
                1,
                "{size=48, sched_policy=SCHED_RR, sched_flags=0, sched_nice=0, sched_priority=7}",
            )],
        )
        .knowing(knew(5, true, None, 0));
        assert_eq!(
            verdict(&RULE, &call, &Scene::default()).why,
            "RLIMIT_RTPRIO is 5, and SCHED_RR with priority 7 was asked for"
        );
    }
}
