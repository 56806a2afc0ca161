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
    let Some(Limit {
        group,
        max,
        met,
        with_swap,
    }) = groups.iter().flat_map(limits).min_by_key(|limit| limit.max)
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
    let what = if with_swap { "memory and swap" } else { "memory" };
    let found = Found::new(
        Cause::CgroupMemory,
        format!(
            "the container used all of the {what} that its cgroup may have, {}, and the kernel's OOM killer chose this process",
            Bytes(max)
        ),
    );
    let found = match kills {
        Some(kills) if own == Some(group) => found.after(format!("{kills}, and its {met}")),
        kills => kills
            .into_iter()
            .fold(found, Found::after)
            .after(format!("{}: its {met}", group.path))
            .after("that is a cgroup above the container's own: what else is in it counts too"),
    };
    let wanted = (max.saturating_mul(2) >> 20).max(16);
    let swap = if with_swap {
        format!(" --memory-swap={wanted}m")
    } else {
        String::new()
    };
    found
        .always("memory is taken when it is touched, not when it is mapped: who touches too much is killed, and no call fails (SIGKILL; exit code 137)")
        .flag(&format!("--memory={wanted}m{swap}"))
        .fix(Place::Kubernetes, format!("resources.limits.memory: {wanted}Mi"))
        .fix(Place::Systemd, format!("MemoryMax={wanted}M"))
        .fix(
            Place::Program,
            "a bound of its own below the cgroup's: -XX:MaxRAMPercentage of Java, --max-old-space-size of Node, GOMEMLIMIT of Go",
        )
        .verdict()
}

/// A bound that was met.
struct Limit<'a> {
    group: &'a MemoryGroup,
    max: u64,
    /// How that is known.
    met: String,
    /// It is of memory and swap together.
    with_swap: bool,
}

fn limits(group: &MemoryGroup) -> impl Iterator<Item = Limit<'_>> {
    let memory = group.max.zip(group.met).filter(|(_, met)| *met > 0);
    let memory = memory.map(|(max, met)| Limit {
        group,
        max,
        met: format!("limit of {max} bytes was met {met} times"),
        with_swap: false,
    });
    // The kernel takes some pages at a time: what is left of a limit may be less.
    let both = group
        .with_swap
        .filter(|(max, used)| used.saturating_add(max / 64) >= *max);
    let both = both.map(|(max, used)| Limit {
        group,
        max,
        met: format!("limit of memory and swap together is {max} bytes, of which it used {used}"),
        with_swap: true,
    });
    memory.into_iter().chain(both)
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
            with_swap: None,
        }
    }

    #[test]
    fn memory_and_swap_have_a_limit_together() {
        let mut own = group("/c/app", Some(32 << 20), 0);
        own.with_swap = Some((32 << 20, (32 << 20) - 4096));
        let told = killed(&[own]);
        assert_eq!(told.cause, Cause::CgroupMemory);
        assert!(told.why.contains("all of the memory and swap"), "{}", told.why);
        assert!(
            told.evidence[0].text.contains(
                "its limit of memory and swap together is 33554432 bytes, of which it used 33550336"
            ),
            "{told:?}"
        );
        assert!(
            told.fixes
                .iter()
                .any(|fix| fix.line == "--memory=64m --memory-swap=64m")
        );
        let mut with_room = group("/c/app", None, 0);
        with_room.with_swap = Some((32 << 20, 16 << 20));
        assert_eq!(killed(&[with_room]).cause, Cause::Undetermined);
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
