//! What the kernel knew of a task at the moment a call of it failed. Facts, no verdict.

/// The facts, taken on the task itself as the call returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Capabilities that the kernel asked for during the call and found missing, a bit each (capabilities(7)); `None`
    /// where nobody watched.
    pub denied: Option<u64>,
    /// Those that it asked for and found.
    pub granted: Option<u64>,
    /// The task's effective set.
    pub effective: u64,
    /// Its permitted set.
    pub permitted: u64,
    /// Its bounding set.
    pub bounding: u64,
    /// Its soft limits by number (getrlimit(2)); `u64::MAX` is none.
    pub limits: [u64; 16],
    /// Its hard limit of RLIMIT_RTPRIO.
    pub hard_rtprio: u64,
    /// Its hard limit of RLIMIT_NICE.
    pub hard_nice: u64,
    /// Its hard limit of RLIMIT_NOFILE.
    pub hard_nofile: u64,
    /// Its hard limit of RLIMIT_NPROC.
    pub hard_nproc: u64,
    /// Nanoseconds that its task group may run real-time tasks in a period; -1 is no bound. `None` where the kernel has
    /// no CONFIG_RT_GROUP_SCHED, or the task is in an autogroup, which no budget binds. A kernel booted with
    /// `rt_group_sched=0` (6.16) gives groups none and looks at none: 0 here.
    pub rt_runtime: Option<i64>,
    /// Pages of its address space.
    pub total_vm: u64,
    /// Of these, locked ones.
    pub locked_vm: u64,
    /// Tasks of its user in its user namespace; `None` where the kernel does not tell.
    pub user_tasks: Option<u64>,
    /// Inode of its user namespace.
    pub user_ns: u32,
    /// How deep that is; 0 is the initial one.
    pub user_ns_level: u32,
    /// Where the last missing capability was asked for: the user namespace's inode and level.
    pub denied_ns: Option<(u32, u32)>,
    /// Effective user, as the initial user namespace counts.
    pub euid: u32,
    /// User for file access, counted so.
    pub fsuid: u32,
    /// Effective group, counted so.
    pub egid: u32,
    /// Group for file access, counted so.
    pub fsgid: u32,
    /// no_new_privs is set (prctl(2)).
    pub no_new_privs: bool,
    /// seccomp's mode: 0 none, 1 strict, 2 filter.
    pub seccomp: u32,
}
