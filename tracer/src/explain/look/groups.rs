//! Control groups that bound a call: of processes, of memory, of real-time scheduling (cgroups(7);
//! Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst).

use super::{read, text_of};
use crate::{
    cgroup::{self, Hierarchy, Member},
    event::Syscall,
    explain::{Budget, CgroupVersion, MemoryGroup, PidsGroup, Scene},
};

/// Levels of a path that are looked at.
const MAX_DEPTH: usize = 32;

/// Whether such a failure may come from a group.
pub(super) fn concerns(name: &str, errno: i32) -> bool {
    matches!(errno, libc::ENOMEM | libc::EAGAIN) || name.starts_with("sched_set")
}

/// Fills in the groups that it may come from.
pub(super) fn look(call: &Syscall, errno: i32, members: &[Member], scene: &mut Scene) {
    let name = call.name.as_ref();
    let forks = matches!(name, "clone" | "clone3" | "fork" | "vfork");
    if forks && errno == libc::EAGAIN {
        scene.pids = above(members, "pids", |path, _| {
            Some(PidsGroup {
                current: number(path, "pids.current")?,
                max: bound(path, "pids.max"),
                refused: event(path, "pids.events", "max"),
                path: path.to_owned(),
            })
        });
    }
    if matches!(errno, libc::ENOMEM | libc::EAGAIN) {
        scene.memory = memory(members);
    }
    if name.starts_with("sched_set") {
        scene.rt = above(members, "cpu", |path, version| {
            Some(Budget {
                version,
                runtime_us: file(path, "cpu.rt_runtime_us").and_then(|text| text.parse().ok()),
                period_us: number(path, "cpu.rt_period_us"),
                path: path.to_owned(),
            })
        });
    }
}

/// The memory cgroup and those above it.
pub(super) fn memory(members: &[Member]) -> Option<Vec<MemoryGroup>> {
    // Without one, a file of version 1 has the largest number of whole pages.
    let is_limit = |max: &u64| *max < 1 << 62;
    above(members, "memory", |path, version| {
        Some(match version {
            CgroupVersion::Two => MemoryGroup {
                current: number(path, "memory.current")?,
                max: bound(path, "memory.max"),
                met: event(path, "memory.events", "oom"),
                oom_kills: kills(path, version),
                with_swap: None,
                path: path.to_owned(),
            },
            CgroupVersion::One => MemoryGroup {
                current: number(path, "memory.usage_in_bytes")?,
                max: bound(path, "memory.limit_in_bytes").filter(is_limit),
                met: number(path, "memory.failcnt"),
                oom_kills: kills(path, version),
                with_swap: bound(path, "memory.memsw.limit_in_bytes")
                    .filter(is_limit)
                    .zip(number(path, "memory.memsw.max_usage_in_bytes")),
                path: path.to_owned(),
            },
        })
    })
}

/// Where the memory cgroup is, or was, and those above it.
pub(super) fn memory_paths(members: &[Member]) -> Vec<String> {
    let place = place(cgroup::mounted(), members, "memory");
    place.map_or_else(Vec::new, |(point, path, _)| ancestors(point, path))
}

fn kills(path: &str, version: CgroupVersion) -> Option<u64> {
    match version {
        CgroupVersion::Two => event(path, "memory.events", "oom_kill"),
        CgroupVersion::One => event(path, "memory.oom_control", "oom_kill"),
    }
}

/// The process's group of that controller and those above it, its own first. Those without the controller's files are
/// left out. `None` where the controller is mounted nowhere.
fn above<T>(
    members: &[Member],
    controller: &str,
    of: impl Fn(&str, CgroupVersion) -> Option<T>,
) -> Option<Vec<T>> {
    let (point, path, version) = place(cgroup::mounted(), members, controller)?;
    let all = ancestors(point, path);
    // A container that has ended may have no group any more; those above it do not say what it had.
    if !all.first().is_some_and(|own| std::path::Path::new(own).is_dir()) {
        return None;
    }
    Some(all.iter().filter_map(|path| of(path, version)).collect())
}

fn place<'a>(
    mounted: &'a [Hierarchy],
    members: &'a [Member],
    controller: &str,
) -> Option<(&'a str, &'a str, CgroupVersion)> {
    if let Some((point, path)) = cgroup::one(mounted, members, controller) {
        return Some((point, path, CgroupVersion::One));
    }
    let (point, path) = cgroup::two(mounted, members)?;
    Some((point, path, CgroupVersion::Two))
}

fn ancestors(point: &str, path: &str) -> Vec<String> {
    let mut all = Vec::new();
    // A path with `..` is outside of what this process's cgroup namespace shows.
    if cgroup::is_outside(path) {
        return all;
    }
    let mut path = path.trim_end_matches('/');
    while all.len() < MAX_DEPTH {
        all.push(format!("{point}{path}"));
        match path.rsplit_once('/') {
            Some((above, _)) => path = above,
            None => break,
        }
    }
    all
}

fn file(path: &str, name: &str) -> Option<String> {
    let text = read(&format!("{path}/{name}")).ok()?;
    Some(text_of(&text).trim().to_owned())
}

fn number(path: &str, name: &str) -> Option<u64> {
    file(path, name)?.parse().ok()
}

/// `None` is `max`, or no such file: the root has none.
fn bound(path: &str, name: &str) -> Option<u64> {
    number(path, name)
}

/// A line of a file of `name number` lines.
fn event(path: &str, name: &str, event: &str) -> Option<u64> {
    let text = file(path, name)?;
    text.lines()
        .find_map(|line| line.strip_prefix(event)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_is_found_in_either_version() {
        let mounted = cgroup::hierarchies(
            b"30 25 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
              31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
              32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n",
        );
        let members = cgroup::parse(b"2:cpu,cpuacct:/a/b\n1:name=systemd:/s\n0::/a/c\n");
        assert_eq!(
            place(&mounted, &members, "cpu"),
            Some(("/sys/fs/cgroup/cpu,cpuacct", "/a/b", CgroupVersion::One))
        );
        assert_eq!(
            place(&mounted, &members, "pids"),
            Some(("/sys/fs/cgroup/unified", "/a/c", CgroupVersion::Two))
        );
    }

    #[test]
    fn all_above_are_asked() {
        assert_eq!(ancestors("/c", "/a/b"), ["/c/a/b", "/c/a", "/c"]);
        assert_eq!(ancestors("/c", "/"), ["/c"]);
        assert_eq!(ancestors("/c", "/../x"), Vec::<String>::new());
    }

    #[test]
    fn the_files_of_a_group_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap();
        std::fs::write(directory.path().join("pids.max"), "max\n").unwrap();
        std::fs::write(directory.path().join("pids.current"), "7\n").unwrap();
        std::fs::write(directory.path().join("pids.events"), "max 3\nmax.imposed 9\n").unwrap();
        assert_eq!(bound(path, "pids.max"), None);
        assert_eq!(number(path, "pids.current"), Some(7));
        assert_eq!(event(path, "pids.events", "max"), Some(3));
        // Of this group alone, and whatever else it has or has not.
        std::fs::write(directory.path().join("memory.events"), "oom 2\noom_kill 4\n").unwrap();
        assert_eq!(kills(path, CgroupVersion::Two), Some(4));
        assert_eq!(kills(path, CgroupVersion::One), None);
    }
}
