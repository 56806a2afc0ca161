//! The freezer of a container's cgroup, and containers that are frozen for certain, however fast the tracer reads.

use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{held::Held, wait};

/// The file that freezes a process's cgroup.
pub struct Switch(PathBuf);

impl Switch {
    /// Of either version.
    pub fn of(pid: u32) -> Result<Self> {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        for (kind, prefix, file) in [
            (" - cgroup2 ", "0::", "cgroup.freeze"),
            (",freezer", ":freezer:", "freezer.state"),
        ] {
            let mount = mounts.lines().find(|line| line.contains(kind));
            let path = groups.lines().find_map(|line| line.split_once(prefix));
            if let (Some(mount), Some((_, path))) = (mount, path)
                && path != "/"
            {
                let point = mount.split(' ').nth(4).context("a mount point")?;
                return Ok(Self(
                    Path::new(point).join(path.trim_start_matches('/')).join(file),
                ));
            }
        }
        bail!("no freezer for {pid}: {groups}")
    }

    /// Whether it is frozen, or about to be.
    pub fn is_on(&self) -> Result<bool> {
        let is = fs::read_to_string(&self.0).with_context(|| self.0.display().to_string())?;
        Ok(["1", "FROZEN", "FREEZING"].contains(&is.trim()))
    }

    /// Lets calls begin while that tracer reads none, until so many are on their way that they are frozen. The tracer
    /// gives a freeze up after a second: what `then` is to find frozen, it must look at before.
    pub fn turned_on_by(
        &self,
        tracer: u32,
        begin: impl FnOnce() -> Result<()>,
        then: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let reader = Held::thread(tracer, "ring")?;
        begin()?;
        wait::until("what calls to be frozen", wait::LONG, || {
            Ok(self.is_on()?.then_some(()))
        })?;
        then()?;
        reader.release()
    }
}
