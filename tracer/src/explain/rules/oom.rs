//! A process that the kernel killed for want of memory. No call of it failed, so it is no rule of the list: it is asked
//! when a process has ended that the OOM killer had chosen.

use crate::{
    event::{Cause, OutOfMemory, Place, Verdict},
    explain::{MemoryGroup, case::Found},
    units::Bytes,
};

/// Why, from what the kernel had of it as it ended, and from its container's memory cgroups, the own first: those that can
/// still be read, and where all of them are or were. mm/oom_kill.c: `oom_kill_process`; mm/memcontrol.c: `mem_cgroup_oom`;
/// cgroups(7).
pub(in crate::explain) fn killed(oom: OutOfMemory, groups: &[MemoryGroup], paths: &[String]) -> Verdict {
    let own = groups.first();
    let kills = own.and_then(|own| {
        let kills = own.oom_kills?;
        Some(format!(
            "{}: the OOM killer has ended {kills} of its processes",
            own.path
        ))
    });
    let Some(level) = oom.level else {
        let found = Found::new(
            Cause::Undetermined,
            "the kernel's OOM killer chose it, and no memory limit of its cgroups was met: the machine itself had none left",
        )
        .at_call("the kernel's OOM killer had chosen the process, and no limit of its cgroups had left anybody without memory");
        return kills
            .into_iter()
            .fold(found, Found::after)
            .fix(
                Place::Host,
                "dmesg names what took the memory; give the machine more, or its containers limits",
            )
            .verdict();
    };
    let path = usize::try_from(level).ok().and_then(|level| paths.get(level));
    // Its own files say more, where they are still there; and whether it is that cgroup: the process may have been in one below
    // that of its container's first process, from which these are.
    let at = |path: &String| groups.iter().find(|group| group.path == *path);
    let path = path.filter(|path| at(path).is_none_or(|group| group.max == oom.max));
    let group = path.and_then(at);
    let met = group.and_then(|group| limits(group).min_by_key(|limit| limit.max));
    let max = met.as_ref().map(|limit| limit.max).or(oom.max);
    let with_swap = met.as_ref().map_or(oom.max.is_none(), |limit| limit.with_swap);
    let what = if with_swap { "memory and swap" } else { "memory" };
    let bound = max.map_or_else(String::new, |max| format!(", {}", Bytes(max)));
    let of = path.map_or_else(
        || "its cgroup".to_owned(),
        |path| path.trim_end_matches('/').to_owned(),
    );
    let mut found = Found::new(
        Cause::CgroupMemory,
        format!(
            "the container used all of the {what} that its cgroup may have{bound}, and the kernel's OOM killer chose this process"
        ),
    )
    .at_call(format!(
        "the kernel's OOM killer had chosen the process, and a limit of {of} had left somebody without memory{}",
        oom.max.map_or_else(String::new, |max| format!(": memory.max is {max} bytes")),
    ));
    found = match (kills, met) {
        (Some(kills), Some(limit)) if level == 0 => found.after(format!("{kills}, and its {}", limit.met)),
        (kills, met) => {
            let found = kills.into_iter().fold(found, Found::after);
            let met = met.map(|limit| format!("{of}: its {}", limit.met));
            met.into_iter().fold(found, Found::after)
        }
    };
    if level > 0 {
        found = found.at_call("that is a cgroup above the container's own: what else is in it counts too");
    }
    found = found.always("memory is taken when it is touched, not when it is mapped: who touches too much is killed, and no call fails (SIGKILL; exit code 137)");
    if let Some(max) = max {
        let wanted = (max.saturating_mul(2) >> 20).max(16);
        let swap = if with_swap {
            format!(" --memory-swap={wanted}m")
        } else {
            String::new()
        };
        found = found
            .flag(&format!("--memory={wanted}m{swap}"))
            .fix(Place::Kubernetes, format!("resources.limits.memory: {wanted}Mi"))
            .fix(Place::Systemd, format!("MemoryMax={wanted}M"));
    }
    found
        .fix(
            Place::Program,
            "a bound of its own below the cgroup's: -XX:MaxRAMPercentage of Java, --max-old-space-size of Node, GOMEMLIMIT of Go",
        )
        .verdict()
}

/// A bound that was met.
struct Limit {
    max: u64,
    /// How that is known.
    met: String,
    /// It is of memory and swap together.
    with_swap: bool,
}

fn limits(group: &MemoryGroup) -> impl Iterator<Item = Limit> {
    let memory = group.max.zip(group.met).filter(|(_, met)| *met > 0);
    let memory = memory.map(|(max, met)| Limit {
        max,
        met: format!("limit of {max} bytes was met {met} times"),
        with_swap: false,
    });
    // The kernel takes some pages at a time: what is left of a limit may be less.
    let both = group
        .with_swap
        .filter(|(max, used)| used.saturating_add(max / 64) >= *max);
    let both = both.map(|(max, used)| Limit {
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

    /// A limit of the cgroup so many levels above was met.
    fn met(level: u32, max: Option<u64>) -> OutOfMemory {
        OutOfMemory {
            level: Some(level),
            max,
        }
    }

    fn told(oom: OutOfMemory, groups: &[MemoryGroup]) -> Verdict {
        let paths: Vec<_> = groups.iter().map(|group| group.path.clone()).collect();
        killed(oom, groups, &paths)
    }

    fn facts(verdict: &Verdict) -> Vec<&str> {
        verdict.evidence.iter().map(|fact| fact.text.as_str()).collect()
    }

    #[test]
    fn memory_and_swap_have_a_limit_together() {
        let mut own = group("/c/app", Some(32 << 20), 0);
        own.with_swap = Some((32 << 20, (32 << 20) - 4096));
        let told = told(met(0, Some(32 << 20)), &[own]);
        assert_eq!(told.cause, Cause::CgroupMemory);
        assert!(told.why.contains("all of the memory and swap"), "{}", told.why);
        assert!(
            facts(&told)[1].contains(
                "its limit of memory and swap together is 33554432 bytes, of which it used 33550336"
            ),
            "{told:?}"
        );
        assert!(
            told.fixes
                .iter()
                .any(|fix| fix.line == "--memory=64m --memory-swap=64m")
        );
    }

    #[test]
    fn the_limit_that_was_met_is_told() {
        let told = told(
            met(1, Some(32 << 20)),
            &[
                // What made room counts, too, in version 1.
                group("/c/pod/app", Some(16 << 20), 5),
                group("/c/pod", Some(32 << 20), 9),
                group("/c", Some(1 << 30), 0),
            ],
        );
        assert_eq!(told.cause, Cause::CgroupMemory);
        assert!(told.why.contains("may have, 32M,"), "{}", told.why);
        let facts = facts(&told);
        assert!(
            facts[0].contains("a limit of /c/pod had left somebody without memory: memory.max is 33554432"),
            "{facts:?}"
        );
        assert!(
            facts[2].starts_with("/c/pod: its limit of 33554432 bytes"),
            "{facts:?}"
        );
        assert!(facts[3].contains("above the container's own"), "{facts:?}");
        assert!(told.fixes.iter().any(|fix| fix.line == "--memory=64m"));
    }

    #[test]
    fn a_cgroup_that_is_gone_is_told_by_the_kernel() {
        let told = killed(
            met(0, Some(24 << 20)),
            &[],
            &["/c/app".to_owned(), "/c".to_owned()],
        );
        assert_eq!(told.cause, Cause::CgroupMemory);
        assert!(
            told.why
                .contains("all of the memory that its cgroup may have, 24M,"),
            "{}",
            told.why
        );
        assert!(facts(&told)[0].contains("a limit of /c/app had left"), "{told:?}");
        assert!(told.fixes.iter().any(|fix| fix.line == "--memory=48m"));
        // One of another limit is another.
        let other = group("/c/app", Some(1 << 30), 0);
        let told = killed(met(0, Some(24 << 20)), &[other], &["/c/app".to_owned()]);
        assert!(
            facts(&told)[0].contains("a limit of its cgroup had left"),
            "{told:?}"
        );
        assert!(told.why.contains("24M,"), "{}", told.why);
        // Of a recording nothing else is known.
        let told = killed(met(3, None), &[], &[]);
        assert_eq!(told.cause, Cause::CgroupMemory);
        assert!(
            told.why.contains("memory and swap that its cgroup may have, and"),
            "{}",
            told.why
        );
    }

    #[test]
    fn without_one_it_is_the_machines() {
        let oom = OutOfMemory {
            level: None,
            max: None,
        };
        let told = told(oom, &[group("/c/app", Some(1 << 30), 7), group("/c", None, 5)]);
        assert_eq!(told.cause, Cause::Undetermined);
        assert!(told.why.contains("the machine itself"), "{}", told.why);
    }
}
