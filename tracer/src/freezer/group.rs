//! The cgroup by which a container is frozen: the one that has its processes and no others (Documentation/admin-guide:
//! cgroup-v2.rst, "cgroup.freeze"; cgroup-v1/freezer-subsystem.rst).

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{cgroup, registry::Identity};

/// Cgroups below a container's that are looked at.
const MAX_GROUPS: usize = 256;

/// A group that can be frozen.
#[derive(Debug)]
pub struct Group {
    switch: PathBuf,
    file: File,
}

impl Group {
    /// The group of the container's init.
    ///
    /// # Errors
    /// When no freezer is there, or the group has others' processes too.
    pub fn of(identity: &Identity) -> Result<Self> {
        let pid = identity.init_tgid;
        let path = format!("/proc/{pid}/cgroup");
        let members = cgroup::parse(&fs::read(&path).with_context(|| format!("read {path}"))?);
        let mut why = None;
        for (switch, found) in [
            ("cgroup.freeze", cgroup::two(cgroup::mounted(), &members)),
            (
                "freezer.state",
                cgroup::one(cgroup::mounted(), &members, "freezer"),
            ),
        ] {
            let Some((point, path)) = found else { continue };
            match own(point, path, switch, identity) {
                Ok(group) => return Ok(group),
                Err(error) => why = Some(error),
            }
        }
        Err(why.unwrap_or_else(|| {
            anyhow::anyhow!(
                "no cgroup hierarchy with a freezer is mounted: mount cgroup2, or version 1's freezer"
            )
        }))
    }

    /// What freezes it when it is written.
    pub fn switch(&self) -> &Path {
        &self.switch
    }

    /// Freezes it; false where somebody else has done so.
    pub(super) fn freeze(&self) -> io::Result<bool> {
        let [frozen, _] = words(&self.switch);
        let mut is = [0; 8];
        let read = self.file.read_at(&mut is, 0)?;
        if is[..read].trim_ascii() == frozen.as_bytes() {
            return Ok(false);
        }
        self.file.write_at(frozen.as_bytes(), 0).map(|_all| true)
    }

    pub(super) fn thaw(&self) -> io::Result<()> {
        let [_, thawed] = words(&self.switch);
        self.file.write_at(thawed.as_bytes(), 0).map(drop)
    }
}

/// What freezes and what thaws, by the file's name.
pub(super) fn words(switch: &Path) -> [&'static str; 2] {
    if switch.ends_with("cgroup.freeze") {
        ["1", "0"]
    } else {
        ["FROZEN", "THAWED"]
    }
}

fn own(point: &str, path: &str, switch: &str, identity: &Identity) -> Result<Group> {
    if path == "/" || cgroup::is_outside(path) {
        bail!("its processes are in no cgroup of their own: {point}{path}");
    }
    let group = PathBuf::from(format!("{point}{path}"));
    let mut left = vec![group.clone()];
    let mut seen = 0;
    while let Some(group) = left.pop() {
        seen += 1;
        if seen > MAX_GROUPS {
            bail!("more than {MAX_GROUPS} cgroups are below {}", group.display());
        }
        let procs = group.join("cgroup.procs");
        let text = fs::read_to_string(&procs).with_context(|| format!("read {}", procs.display()))?;
        if let Some(stranger) = text.lines().find(|pid| !is_its(pid, identity)) {
            bail!(
                "process {stranger} is in its cgroup {} and not in the container",
                group.display()
            );
        }
        let below = fs::read_dir(&group).with_context(|| format!("read {}", group.display()))?;
        let is_group = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        left.extend(
            below
                .filter_map(Result::ok)
                .filter(is_group)
                .map(|entry| entry.path()),
        );
    }
    let switch = group.join(switch);
    let file = File::options().read(true).write(true).open(&switch);
    let file = file.with_context(|| format!("open {}", switch.display()))?;
    Ok(Group { switch, file })
}

/// Whether a process is of the container, by its namespaces; one that has just ended is nobody.
fn is_its(pid: &str, identity: &Identity) -> bool {
    let inode = |kind: &str| fs::metadata(format!("/proc/{pid}/ns/{kind}")).map(|file| file.ino());
    match (inode("mnt"), inode("pid")) {
        (Ok(mnt), Ok(pid)) => mnt == u64::from(identity.mnt_ns) || pid == u64::from(identity.pid_ns),
        _ => true,
    }
}

/// A group that was made for a command; removed when dropped, when nobody is left in it.
#[derive(Debug)]
pub struct Made(PathBuf);

impl Made {
    /// Makes one beside this process's own, or below it, and moves that process into it.
    ///
    /// # Errors
    /// When there is no freezer, or the group cannot be made.
    pub fn around(pid: u32) -> Result<Self> {
        let mut text = Vec::new();
        File::open("/proc/self/cgroup")
            .and_then(|mut file| file.read_to_end(&mut text))
            .context("read /proc/self/cgroup")?;
        let members = cgroup::parse(&text);
        let mounted = cgroup::mounted();
        let (point, path) = cgroup::two(mounted, &members)
            .or_else(|| cgroup::one(mounted, &members, "freezer"))
            .context(
                "no cgroup hierarchy with a freezer is mounted: mount cgroup2, or version 1's freezer",
            )?;
        let group = PathBuf::from(format!("{point}{path}")).join(format!("tracer-run-{pid}"));
        fs::create_dir(&group).with_context(|| format!("make the cgroup {}", group.display()))?;
        let made = Self(group);
        let procs = made.0.join("cgroup.procs");
        fs::write(&procs, pid.to_string()).with_context(|| format!("write {}", procs.display()))?;
        Ok(made)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // What is still in it keeps it.
        let _busy = fs::remove_dir(&self.0);
    }
}
