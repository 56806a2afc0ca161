//! What the kernel's OOM killer left at the process that it chose: its mark (mm/oom_kill.c, `mark_oom_victim`), and in the
//! memory cgroups above it whose limit left somebody without memory (mm/memcontrol.c, `mem_cgroup_oom`).

use super::{
    OFF_CSS_PARENT, OFF_CSS_SET_MEMORY, OFF_MEMCG_MAX, OFF_MEMCG_OOM, OFF_SIGNAL_OOM_MM, OFF_TASK_CGROUPS,
    OFF_TASK_SIGNAL, TaskPtr, load, probe,
};
use tracer_common::record::OutOfMemory;

/// Levels of cgroups that are looked at.
const MAX_LEVELS: u32 = 16;
/// PAGE_SIZE is two to the power of it, on x86 and most others.
const PAGE_SHIFT: u32 = 12;

impl TaskPtr {
    /// Whether the OOM killer chose the task's process.
    #[inline(always)]
    pub(crate) fn is_oom_victim(self) -> bool {
        let signal: *const u8 = load(self.0, &OFF_TASK_SIGNAL);
        load::<usize>(signal, &OFF_SIGNAL_OOM_MM) != 0
    }

    /// The lowest of the task's memory cgroups whose limit has left somebody without memory.
    #[inline(always)]
    pub(crate) fn out_of_memory(self) -> OutOfMemory {
        let mut out = OutOfMemory::default();
        // 0: a kernel without memory cgroups.
        if OFF_CSS_SET_MEMORY.load() == 0 {
            return out;
        }
        let set: usize = probe(self.0.wrapping_add(OFF_TASK_CGROUPS.load() as usize));
        // A cgroup's state begins with the part that all controllers have.
        let mut group: usize = at(set, OFF_CSS_SET_MEMORY.load());
        let mut level = 1;
        while level <= MAX_LEVELS && group != 0 {
            if at::<u64>(group, OFF_MEMCG_OOM.load()) != 0 {
                out.level = level;
                out.max = at::<u64>(group, OFF_MEMCG_MAX.load()) << PAGE_SHIFT;
                return out;
            }
            group = at(group, OFF_CSS_PARENT.load());
            level += 1;
        }
        out
    }
}

#[inline(always)]
fn at<T: Copy + Default>(start: usize, offset: u32) -> T {
    probe((start + offset as usize) as *const u8)
}
