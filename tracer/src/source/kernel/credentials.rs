//! Where the kernel keeps what a task may do, by its BTF.

use anyhow::Result;

use super::Btf;

/// Members that tell what a task may do. What a kernel may lack is 0 there.
pub(super) fn offsets(btf: &Btf<'_>) -> Result<Vec<(&'static str, u32)>> {
    let member = |name, structure, path| Ok::<_, anyhow::Error>((name, btf.offset(structure, path)?));
    let maybe = |name, structure, path| (name, btf.offset(structure, path).unwrap_or(0));
    Ok(vec![
        member("OFF_TASK_CRED", "task_struct", "cred")?,
        member("OFF_TASK_REAL_CRED", "task_struct", "real_cred")?,
        member("OFF_TASK_ATOMIC_FLAGS", "task_struct", "atomic_flags")?,
        member("OFF_SIGNAL_RLIM", "signal_struct", "rlim")?,
        member("OFF_CRED_EFFECTIVE", "cred", "cap_effective")?,
        member("OFF_CRED_PERMITTED", "cred", "cap_permitted")?,
        member("OFF_CRED_BOUNDING", "cred", "cap_bset")?,
        member("OFF_CRED_EUID", "cred", "euid")?,
        member("OFF_CRED_FSUID", "cred", "fsuid")?,
        member("OFF_CRED_EGID", "cred", "egid")?,
        member("OFF_CRED_FSGID", "cred", "fsgid")?,
        member("OFF_CRED_USER_NS", "cred", "user_ns")?,
        member("OFF_USERNS_INUM", "user_namespace", "ns.inum")?,
        member("OFF_USERNS_LEVEL", "user_namespace", "level")?,
        maybe("OFF_CRED_UCOUNTS", "cred", "ucounts"),
        // UCOUNT_RLIMIT_NPROC is the first of enum rlimit_type, include/linux/user_namespace.h.
        maybe("OFF_UCOUNTS_TASKS", "ucounts", "rlimit"),
        maybe("OFF_TASK_GROUP", "task_struct", "sched_task_group"),
        maybe("OFF_GROUP_RT_RUNTIME", "task_group", "rt_bandwidth.rt_runtime"),
        maybe("OFF_GROUP_AUTOGROUP", "task_group", "autogroup"),
        member("OFF_MM_TOTAL_VM", "mm_struct", "total_vm")?,
        member("OFF_MM_LOCKED_VM", "mm_struct", "locked_vm")?,
    ])
}
