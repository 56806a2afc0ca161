//! What must not stay behind: programs in the kernel, processes.

use crate::{programs, wait};
use anyhow::{Result, ensure};
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path};

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
