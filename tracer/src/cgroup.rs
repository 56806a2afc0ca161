//! Which control groups a process is in, and where they lie (cgroups(7); Documentation/admin-guide/cgroup-v1 and
//! cgroup-v2.rst). It must not know what they bound.

use std::sync::LazyLock;

/// A cgroup that a process is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Controllers of a version 1 hierarchy; empty for version 2.
    pub(crate) controllers: Vec<String>,
    pub(crate) path: String,
}

/// A hierarchy that is mounted on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Controllers of version 1; empty for version 2.
    pub(crate) controllers: Vec<String>,
    pub(crate) point: String,
}

/// `/proc/PID/cgroup`: number, controllers, path.
pub(crate) fn parse(text: &[u8]) -> Vec<Member> {
    String::from_utf8_lossy(text)
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some(Member {
                controllers: list(fields.next()?),
                path: fields.next()?.to_owned(),
            })
        })
        .collect()
}

/// The hierarchies that this host has mounted.
pub(crate) fn mounted() -> &'static [Hierarchy] {
    static MOUNTED: LazyLock<Vec<Hierarchy>> =
        LazyLock::new(|| hierarchies(&std::fs::read("/proc/self/mountinfo").unwrap_or_default()));
    &MOUNTED
}

/// Where version 1 has that controller's group of the process.
pub(crate) fn one<'a>(
    mounted: &'a [Hierarchy],
    members: &'a [Member],
    controller: &str,
) -> Option<(&'a str, &'a str)> {
    let has = |controllers: &[String]| controllers.iter().any(|each| each == controller);
    let member = members.iter().find(|member| has(&member.controllers))?;
    let hierarchy = mounted.iter().find(|hierarchy| has(&hierarchy.controllers))?;
    Some((&hierarchy.point, &member.path))
}

/// Where version 2 has the process's group.
pub(crate) fn two<'a>(mounted: &'a [Hierarchy], members: &'a [Member]) -> Option<(&'a str, &'a str)> {
    let member = members.iter().find(|member| member.controllers.is_empty())?;
    let hierarchy = mounted
        .iter()
        .find(|hierarchy| hierarchy.controllers.is_empty())?;
    Some((&hierarchy.point, &member.path))
}

/// Whether a path leads out of what this process's cgroup namespace shows.
pub(crate) fn is_outside(path: &str) -> bool {
    path.split('/').any(|name| name == "..")
}

pub(crate) fn hierarchies(mountinfo: &[u8]) -> Vec<Hierarchy> {
    String::from_utf8_lossy(mountinfo)
        .lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let point = before.split(' ').nth(4)?.to_owned();
            let mut fields = after.split(' ');
            let controllers = match fields.next()? {
                "cgroup2" => Vec::new(),
                "cgroup" => list(fields.nth(1)?),
                _ => return None,
            };
            Some(Hierarchy { controllers, point })
        })
        .collect()
}

fn list(text: &str) -> Vec<String> {
    text.split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}
