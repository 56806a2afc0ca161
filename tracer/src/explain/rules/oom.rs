//! A process that the kernel killed for want of memory. No call of it failed, so it is no rule of the list: it is asked
//! when a process has been killed and the kernel has counted one for its memory cgroup.

use crate::{
    event::{Cause, Place, Verdict},
    explain::{MemoryGroup, case::Found},
    units::Bytes,
};

/// Why, from the memory cgroups of the container, its own first. mm/oom_kill.c: `oom_kill_process`; mm/memcontrol.c:
/// `mem_cgroup_oom`; cgroups(7).
pub(in crate::explain) fn killed(groups: &[MemoryGroup]) -> Verdict {
    let own = groups.first();
    let kills = own.and_then(|own| {
        let kills = own.oom_kills?;
        Some(format!(
            "{}: the OOM killer has ended {kills} of its processes",
            own.path
        ))
    });
    // The lowest limit that was met: one above may bind as well.
    let Some((group, max)) = groups
        .iter()
        .filter(|group| group.met.is_some_and(|met| met > 0))
        .filter_map(|group| Some((group, group.max?)))
        .min_by_key(|(_, max)| *max)
    else {
        let found = Found::new(
            Cause::Undetermined,
            "the kernel's OOM killer chose it, and no memory limit of its cgroups was met: the machine itself had none left",
        );
        return kills
            .into_iter()
            .fold(found, Found::after)
            .fix(
                Place::Host,
                "dmesg names what took the memory; give the machine more, or its containers limits",
            )
            .verdict();
    };
    let met = group.met.unwrap_or_default();
    let found = Found::new(
        Cause::CgroupMemory,
        format!(
            "the container used all of the memory that its cgroup may have, {}, and the kernel's OOM killer chose this process",
            Bytes(max)
        ),
    );
    let found = match kills {
        Some(kills) if own == Some(group) => found.after(format!(
            "{kills}, and its limit of {max} bytes was met {met} times"
        )),
        kills => kills
            .into_iter()
            .fold(found, Found::after)
            .after(format!(
                "{}: its limit of {max} bytes was met {met} times",
                group.path
            ))
            .after("that is a cgroup above the container's own: what else is in it counts too"),
    };
    let wanted = (max.saturating_mul(2) >> 20).max(16);
    found
        .always("memory is taken when it is touched, not when it is mapped: who touches too much is killed, and no call fails (SIGKILL; exit code 137)")
        .flag(&format!("--memory={wanted}m"))
        .fix(Place::Kubernetes, format!("resources.limits.memory: {wanted}Mi"))
        .fix(Place::Systemd, format!("MemoryMax={wanted}M"))
        .fix(
            Place::Program,
            "a bound of its own below the cgroup's: -XX:MaxRAMPercentage of Java, --max-old-space-size of Node, GOMEMLIMIT of Go",
        )
        .verdict()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(path: &str, max: Option<u64>, met: u64) -> MemoryGroup {
        MemoryGroup {
            path: path.into(),
            current: 0,
            max,
            met: Some(met),
            oom_kills: Some(1),
        }
    }

    #[test]
    fn the_limit_that_was_met_is_told() {
        let told = killed(&[
            group("/c/pod/app", None, 0),
            group("/c/pod", Some(32 << 20), 9),
            group("/c", Some(1 << 30), 0),
        ]);
        assert_eq!(told.cause, Cause::CgroupMemory);
        assert!(told.why.contains("may have, 32M,"), "{}", told.why);
        let facts: Vec<_> = told.evidence.iter().map(|fact| fact.text.as_str()).collect();
        assert!(
            facts[1].starts_with("/c/pod: its limit of 33554432 bytes"),
            "{facts:?}"
        );
        assert!(facts[2].contains("above the container's own"), "{facts:?}");
        assert!(told.fixes.iter().any(|fix| fix.line == "--memory=64m"));
    }

    #[test]
    fn without_one_it_is_the_machines() {
        let told = killed(&[group("/c/app", Some(1 << 30), 0), group("/c", None, 5)]);
        assert_eq!(told.cause, Cause::Undetermined);
        assert!(told.why.contains("the machine itself"), "{}", told.why);
    }
}
