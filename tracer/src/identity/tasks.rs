//! Finds the container that a task runs in, from /proc alone: its init, with descriptors that prove it.
//!
//! A number is only believed between two looks at a pidfd: while its process lives, the number is its own.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};
use procfs::process::{Process, all_processes};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tracer_hook::identity::{Init, has_ended};

/// Inode numbers of a mount and a PID namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespaces {
    pub mnt: u64,
    pub pid: u64,
}

impl Namespaces {
    /// Those of a process: `None` when it has gone, or may not be looked at.
    pub fn of(pid: i32) -> Option<Self> {
        let inode = |kind: &str| {
            let path = PathBuf::from(format!("/proc/{pid}/ns/{kind}"));
            Some(rustix::fs::stat(&path).ok()?.st_ino)
        };
        Some(Self {
            mnt: inode("mnt")?,
            pid: inode("pid")?,
        })
    }

    /// The host's: those of its first process. This process may have a mount namespace of its own (systemd's
    /// `ProtectSystem=`, say), and what shares the host's with everybody else must not pass for a container. Where the
    /// first process may not be looked at, those of this process.
    pub fn of_host() -> Result<Self> {
        let own = || Self::of(i32::try_from(std::process::id()).ok()?);
        Self::of(1)
            .or_else(own)
            .context("read /proc/self/ns; is /proc mounted?")
    }
}

/// A process, as far as it matters here.
struct Seen {
    pid: i32,
    parent: i32,
    start: u64,
    /// The first of its PID namespace.
    first: bool,
    namespaces: Namespaces,
}

fn see(pid: i32) -> Option<Seen> {
    let process = Process::new(pid).ok()?;
    let stat = process.stat().ok()?;
    let numbers = process.status().ok()?.nspid?;
    Some(Seen {
        pid,
        parent: stat.ppid,
        start: stat.starttime,
        first: numbers.last() == Some(&1),
        namespaces: Namespaces::of(pid)?,
    })
}

/// The init of the container that the task of that host process id runs in, and its host process id.
///
/// # Errors
/// When there is no such task, it is in no container, or it or init ends while we look.
pub fn container_of(task: u32) -> Result<(u32, Init)> {
    let tid = i32::try_from(task).ok().filter(|pid| *pid > 0);
    let tid = tid.with_context(|| format!("{task} is no process id"))?;
    let gone = || format!("there is no process {task}; give the number that it has on the host");
    let pid = Process::new(tid)
        .and_then(|process| process.status())
        .with_context(gone)?
        .tgid;
    let held = Pid::from_raw(pid)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        .with_context(gone)?;
    let host = Namespaces::of_host()?;
    let seen = see(pid).with_context(gone)?;
    if seen.namespaces == host {
        bail!("process {task} is in no container: its mount and its PID namespace are the host's");
    }
    let wanted = container_namespaces(&seen, host);
    let init =
        first_of(wanted).with_context(|| format!("process {task}: its container has no first process"))?;
    let opened =
        Init::open(init.into()).with_context(|| format!("process {task}: open its container's init"))?;
    let inode = |fd| rustix::fs::fstat(fd).map(|stat| stat.st_ino);
    let now = Namespaces {
        mnt: inode(&opened.mnt_ns).context("fstat the mount namespace")?,
        pid: inode(&opened.pid_ns).context("fstat the PID namespace")?,
    };
    // All that was read by number was read while both lived, and so was theirs.
    ensure!(
        now == wanted && !has_ended(&held) && !has_ended(&opened.pidfd),
        "process {task}: it or its container's init ended meanwhile; try again"
    );
    let init = u32::try_from(init).context("init's process id")?;
    Ok((init, opened))
}

/// The namespaces of the task's container. The task itself may have others than its container (bubblewrap); what was
/// started within a PID namespace is of the container that it was started from.
fn container_namespaces(task: &Seen, host: Namespaces) -> Namespaces {
    if task.namespaces.pid == host.pid {
        return task.namespaces;
    }
    let mut top = Seen { ..*task };
    // Bounded: a process that goes and comes again meanwhile must not make a ring of parents.
    for _ in 0..1024 {
        match see(top.parent) {
            Some(parent) if parent.namespaces.pid == task.namespaces.pid => top = parent,
            _ => break,
        }
    }
    // Orphans of all containers that share the namespace are given to its first process: another container's, if its
    // cgroup is another one.
    let adopted =
        top.first && top.namespaces.mnt != task.namespaces.mnt && cgroups(top.pid) != cgroups(task.pid);
    if adopted { task.namespaces } else { top.namespaces }
}

/// The first process of both namespaces: the first of the PID namespace if it is one of them, else the oldest.
fn first_of(wanted: Namespaces) -> Option<i32> {
    let of_both = all_processes()
        .ok()?
        .filter_map(|process| Some(process.ok()?.pid))
        // Cheap first: most processes are elsewhere.
        .filter(|pid| Namespaces::of(*pid) == Some(wanted))
        .filter_map(see);
    of_both
        .min_by_key(|seen| (!seen.first, seen.start, seen.pid))
        .map(|seen| seen.pid)
}

fn cgroups(pid: i32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()
}

/// The id that a runtime put into the name of the process's cgroup, as in `docker-ID.scope` or `/machine/ID`.
pub fn id_by_cgroup(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    text.lines().find_map(id_in)
}

fn id_in(line: &str) -> Option<String> {
    let mut names = line.rsplit('/');
    names.find_map(|name| {
        let name = name.strip_suffix(".scope").unwrap_or(name);
        let id = name.rsplit(['-', ':']).next().unwrap_or(name);
        (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stands_in_the_cgroups_name() {
        let id = "8a".repeat(32);
        for line in [
            format!("0::/system.slice/docker-{id}.scope"),
            format!("0::/machine.slice/libpod-{id}.scope/container"),
            format!("1:name=systemd:/kubepods/besteffort/pod1-2/{id}"),
            format!("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
            format!("0::/system.slice/kubepods-pod1.slice:cri-containerd:{id}"),
        ] {
            assert_eq!(id_in(&line).as_deref(), Some(&*id), "{line}");
        }
        assert_eq!(id_in("0::/user.slice/user-1000.slice/session-1.scope"), None);
        assert_eq!(id_in(""), None);
    }

    #[test]
    fn a_process_of_the_host_is_in_no_container() {
        let own = Namespaces::of(std::process::id() as i32).unwrap();
        assert_eq!(own, Namespaces::of_host().unwrap(), "the tests run on the host");
        let error = container_of(std::process::id()).unwrap_err().to_string();
        assert!(error.contains("in no container"), "{error}");
        assert!(container_of(0).is_err() && container_of(u32::MAX).is_err());
    }
}
