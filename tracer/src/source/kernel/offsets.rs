//! Where this kernel has what the programs read: offsets of structures' members, from its BTF.

use anyhow::{Context, Result};

use super::super::btf::Btf;

/// Values of the programs' constants on this kernel.
pub(super) fn globals(btf: &Btf<'_>) -> Result<Vec<(&'static str, u32)>> {
    let member = |name, structure, path| Ok::<_, anyhow::Error>((name, btf.offset(structure, path)?));
    let mut globals = vec![
        member("OFF_TASK_NSPROXY", "task_struct", "nsproxy")?,
        member("OFF_TASK_THREAD_PID", "task_struct", "thread_pid")?,
        member("OFF_TASK_GROUP_LEADER", "task_struct", "group_leader")?,
        member("OFF_TASK_TID", "task_struct", "pid")?,
        member("OFF_TASK_TGID", "task_struct", "tgid")?,
        member("OFF_TASK_START_TIME", "task_struct", "start_time")?,
        member("OFF_TASK_EXIT_CODE", "task_struct", "exit_code")?,
        member("OFF_TASK_PENDING", "task_struct", "pending.signal")?,
        member("OFF_TASK_SIGNAL", "task_struct", "signal")?,
        member("OFF_SIGNAL_EXIT_CODE", "signal_struct", "group_exit_code")?,
        member("OFF_SIGNAL_LIVE", "signal_struct", "live.counter")?,
        member("OFF_SIGNAL_OOM_MM", "signal_struct", "oom_mm")?,
        member("OFF_TASK_COMM", "task_struct", "comm")?,
        member("OFF_TASK_SECCOMP_MODE", "task_struct", "seccomp.mode")?,
        member("OFF_NSPROXY_MNT", "nsproxy", "mnt_ns")?,
        member("OFF_MNT_INUM", "mnt_namespace", "ns.inum")?,
        member("OFF_PID_LEVEL", "pid", "level")?,
        member("OFF_PID_NUMBERS", "pid", "numbers")?,
        member("OFF_UPID_NS", "upid", "ns")?,
        ("SIZE_UPID", btf.size("upid")?),
        member("OFF_PIDNS_INUM", "pid_namespace", "ns.inum")?,
        member("OFF_BPRM_FILENAME", "linux_binprm", "filename")?,
        member("OFF_BPRM_ARGC", "linux_binprm", "argc")?,
        member("OFF_BPRM_ENVC", "linux_binprm", "envc")?,
        member("OFF_TASK_MM", "task_struct", "mm")?,
        member("OFF_MM_ARG_START", "mm_struct", "arg_start")?,
        member("OFF_MM_ARG_END", "mm_struct", "arg_end")?,
    ];
    globals.extend(files(btf)?);
    globals.extend(credentials(btf)?);
    globals.extend(registers(btf)?);
    globals.extend(memory(btf).unwrap_or_default());
    Ok(globals)
}

/// Members on the way from a task to the limits of its memory cgroups; none where the kernel has no such cgroups.
fn memory(btf: &Btf<'_>) -> Result<Vec<(&'static str, u32)>> {
    /// MEMCG_OOM of enum memcg_memory_event, include/linux/memcontrol.h.
    const OOM: u32 = 3;
    let controller = btf.value("memory_cgrp_id")?;
    Ok(vec![
        ("OFF_TASK_CGROUPS", btf.offset("task_struct", "cgroups")?),
        (
            "OFF_CSS_SET_MEMORY",
            btf.offset("css_set", "subsys")? + 8 * controller,
        ),
        ("OFF_CSS_PARENT", btf.offset("cgroup_subsys_state", "parent")?),
        ("OFF_MEMCG_MAX", btf.offset("mem_cgroup", "memory.max")?),
        (
            "OFF_MEMCG_OOM",
            btf.offset("mem_cgroup", "memory_events_local")? + 8 * OOM,
        ),
    ])
}

/// Members on the way from a descriptor to a path or a socket's address. What a kernel may lack is 0 there.
fn files(btf: &Btf<'_>) -> Result<Vec<(&'static str, u32)>> {
    let member = |name, structure, path| Ok::<_, anyhow::Error>((name, btf.offset(structure, path)?));
    let maybe = |name, structure, path| (name, btf.offset(structure, path).unwrap_or(0));
    let inode = btf
        .offset("socket_alloc", "vfs_inode")?
        .wrapping_sub(btf.offset("socket_alloc", "socket")?);
    Ok(vec![
        member("OFF_TASK_FILES", "task_struct", "files")?,
        member("OFF_FILES_FDT", "files_struct", "fdt")?,
        member("OFF_FDTABLE_MAX", "fdtable", "max_fds")?,
        member("OFF_FDTABLE_FD", "fdtable", "fd")?,
        member("OFF_TASK_FS", "task_struct", "fs")?,
        member("OFF_FS_PWD_MNT", "fs_struct", "pwd.mnt")?,
        member("OFF_FS_PWD_DENTRY", "fs_struct", "pwd.dentry")?,
        member("OFF_FILE_MNT", "file", "f_path.mnt")?,
        member("OFF_FILE_DENTRY", "file", "f_path.dentry")?,
        member("OFF_FILE_PRIVATE", "file", "private_data")?,
        member("OFF_MOUNT_MNT", "mount", "mnt")?,
        member("OFF_MOUNT_ROOT", "mount", "mnt.mnt_root")?,
        member("OFF_MOUNT_PARENT", "mount", "mnt_parent")?,
        member("OFF_MOUNT_POINT", "mount", "mnt_mountpoint")?,
        member("OFF_DENTRY_PARENT", "dentry", "d_parent")?,
        member("OFF_DENTRY_NAME", "dentry", "d_name.name")?,
        member("OFF_DENTRY_HASHED", "dentry", "d_hash.pprev")?,
        member("OFF_DENTRY_INODE", "dentry", "d_inode")?,
        member("OFF_INODE_MODE", "inode", "i_mode")?,
        member("OFF_INODE_NUMBER", "inode", "i_ino")?,
        member("OFF_INODE_RDEV", "inode", "i_rdev")?,
        member("OFF_INODE_SB", "inode", "i_sb")?,
        member("OFF_INODE_PRIVATE", "inode", "i_private")?,
        member("OFF_SB_MAGIC", "super_block", "s_magic")?,
        member("OFF_NS_OPS", "ns_common", "ops")?,
        member("OFF_NS_NAME", "proc_ns_operations", "name")?,
        member("OFF_SOCKET_SK", "socket", "sk")?,
        ("OFF_SOCKET_INODE", inode),
        member("OFF_SK_FAMILY", "sock", "__sk_common.skc_family")?,
        member("OFF_SK_TYPE", "sock", "sk_type")?,
        member("OFF_SK_PROTOCOL", "sock", "sk_protocol")?,
        member("OFF_SK_STATE", "sock", "__sk_common.skc_state")?,
        member("OFF_SK_PROTO", "sock", "__sk_common.skc_prot")?,
        member("OFF_SK_SOCKET", "sock", "sk_socket")?,
        member("OFF_SK_PORT", "sock", "__sk_common.skc_num")?,
        member("OFF_SK_PEER_PORT", "sock", "__sk_common.skc_dport")?,
        member("OFF_SK_ADDRESS", "sock", "__sk_common.skc_rcv_saddr")?,
        member("OFF_SK_PEER", "sock", "__sk_common.skc_daddr")?,
        maybe("OFF_SK_ADDRESS6", "sock", "__sk_common.skc_v6_rcv_saddr"),
        maybe("OFF_SK_PEER6", "sock", "__sk_common.skc_v6_daddr"),
        member("OFF_PROTO_NAME", "proto", "name")?,
        maybe("OFF_NETLINK_PORTID", "netlink_sock", "portid"),
        maybe("OFF_UNIX_PEER", "unix_sock", "peer"),
        maybe("OFF_UNIX_ADDR", "unix_sock", "addr"),
        maybe("OFF_UNIX_ADDR_LEN", "unix_address", "len"),
        maybe("OFF_UNIX_ADDR_NAME", "unix_address", "name"),
    ])
}

/// Members that tell what a task may do. What a kernel may lack is 0 there.
fn credentials(btf: &Btf<'_>) -> Result<Vec<(&'static str, u32)>> {
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

#[cfg(target_arch = "x86_64")]
fn registers(btf: &Btf<'_>) -> Result<Vec<(&'static str, u32)>> {
    let reg = |name, path| Ok::<_, anyhow::Error>((name, btf.offset("pt_regs", path)?));
    // Numbers: arch/x86/entry/syscalls/syscall_{64,32}.tbl, through libc; i386's setns has no constant there.
    let nr = |number: i64| u32::try_from(number).context("a system call number");
    Ok(vec![
        reg("OFF_REGS_NR", "orig_ax")?,
        reg("OFF_REGS_STACK", "sp")?,
        reg("OFF_ARG0", "di")?,
        reg("OFF_ARG1", "si")?,
        reg("OFF_ARG2", "dx")?,
        reg("OFF_ARG3", "r10")?,
        reg("OFF_ARG4", "r8")?,
        reg("OFF_ARG5", "r9")?,
        reg("OFF_COMPAT_ARG0", "bx")?,
        reg("OFF_COMPAT_ARG1", "cx")?,
        reg("OFF_COMPAT_ARG2", "dx")?,
        reg("OFF_COMPAT_ARG3", "si")?,
        reg("OFF_COMPAT_ARG4", "di")?,
        reg("OFF_COMPAT_ARG5", "bp")?,
        (
            "OFF_TASK_STATUS",
            btf.offset("task_struct", "thread_info.status")?,
        ),
        // TS_COMPAT, arch/x86/include/asm/thread_info.h
        ("STATUS_COMPAT", 2),
        ("NR_EXECVEAT", nr(libc::SYS_execveat)?),
        ("NR_SETNS", nr(libc::SYS_setns)?),
        ("NR_SIGRETURN", nr(libc::SYS_rt_sigreturn)?),
        ("NR_COMPAT_SETNS", syscalls::x86::Sysno::setns as u32),
    ])
}
