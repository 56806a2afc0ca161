//! What must not stay behind: programs in the kernel, processes.

use crate::{programs, wait};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Names of our kernel programs; the kernel keeps 15 bytes, newer tools find the whole name in the BTF.
const PROGRAMS: [&str; 7] = [
    "sys_enter",
    "sys_exit",
    "sched_process_f",
    "sched_process_e",
    "sched_process_fork",
    "sched_process_exec",
    "sched_process_exit",
];

/// Ids of the programs in the kernel that bear one of our names.
pub fn programs() -> Result<BTreeSet<u64>> {
    let list = programs::success(programs::command("bpftool").args(["-j", "prog", "show"]))?;
    let list: Value = serde_json::from_str(&list)?;
    let ours = list.as_array().into_iter().flatten().filter(|program| {
        let name = program["name"].as_str().unwrap_or_default();
        PROGRAMS.contains(&name)
    });
    Ok(ours.filter_map(|program| program["id"].as_u64()).collect())
}

/// Processes that name this directory in their command line.
pub fn processes(dir: &Path) -> Result<Vec<String>> {
    let needle = dir.as_os_str().as_encoded_bytes();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        // Processes come and go while we look.
        let words = fs::read(path.join("cmdline")).unwrap_or_default();
        if words.windows(needle.len()).any(|bytes| bytes == needle) {
            found.push(format!(
                "{}: {}",
                path.display(),
                String::from_utf8_lossy(&words).replace('\0', " ")
            ));
        }
    }
    Ok(found)
}

/// Runs `body`; then no program of ours is in the kernel that was not there before.
pub fn no_programs_after<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = programs()?;
    let value = body()?;
    gone(&before)?;
    Ok(value)
}

/// Waits until only those are left: the kernel frees programs some time after their last user.
pub fn gone(before: &BTreeSet<u64>) -> Result<()> {
    let mut left = BTreeSet::new();
    let freed = wait::until("our programs to leave the kernel", wait::LONG, || {
        left = programs()?.difference(before).copied().collect();
        Ok(left.is_empty().then_some(()))
    });
    ensure!(freed.is_ok(), "programs left in the kernel: {left:?}");
    Ok(())
}

/// No process names this directory any more.
pub fn none_of(dir: &Path) -> Result<()> {
    let left = processes(dir)?;
    ensure!(left.is_empty(), "processes left: {left:#?}");
    Ok(())
}

/// What a process holds that must not grow with what it has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// By what they are open on: sockets and anonymous files without their numbers.
    pub fds: BTreeMap<String, usize>,
    /// Processes that it started and that are there.
    pub children: usize,
    /// Entries of its hash maps in the kernel, by the maps' ids.
    pub entries: BTreeMap<u64, usize>,
}

impl Held {
    pub fn of(pid: u32) -> Result<Self> {
        let mut held = Self {
            fds: BTreeMap::new(),
            children: 0,
            entries: BTreeMap::new(),
        };
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            let entry = entry?;
            // One that has just been closed is not open.
            let Ok(target) = fs::read_link(entry.path()) else {
                continue;
            };
            let target = target.to_string_lossy();
            let kind = target.split(":[").next().unwrap_or_default().to_owned();
            *held.fds.entry(kind).or_default() += 1;
            let name = entry.file_name();
            let info = format!("/proc/{pid}/fdinfo/{}", name.to_string_lossy());
            let info = fs::read_to_string(info).unwrap_or_default();
            let field = |name: &str| {
                let line = info.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|value| value.trim().parse::<u64>().ok())
            };
            // BPF_MAP_TYPE_HASH, PERCPU_HASH, LRU_HASH, LRU_PERCPU_HASH.
            if let (Some(id), Some(1 | 5 | 9 | 10)) = (field("map_id:"), field("map_type:")) {
                let mut dump = programs::command("bpftool");
                let dump = programs::success(dump.args(["-j", "map", "dump", "id", &id.to_string()]))?;
                let dump: Value = serde_json::from_str(&dump)?;
                held.entries
                    .insert(id, dump.as_array().context("no list of entries")?.len());
            }
        }
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let children = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
            held.children += children.split_whitespace().count();
        }
        Ok(held)
    }
}

/// Bytes of memory that a process has to itself.
pub fn memory(pid: u32) -> Result<u64> {
    field(pid, "RssAnon:")
}

/// Bytes of memory that are resident, its own and those of files.
pub fn resident(pid: u32) -> Result<u64> {
    field(pid, "VmRSS:")
}

fn field(pid: u32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib: u64 = line
        .and_then(|line| line.split_whitespace().next())
        .with_context(|| format!("no {name}"))?
        .parse()?;
    Ok(kib * 1024)
}
