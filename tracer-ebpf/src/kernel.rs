//! What the programs read of the kernel's structures: direct loads through offsets that the daemon resolves from the
//! kernel's own BTF and writes into .rodata before the load, where the verifier takes them for constants.
//!
//! A load must have exactly its member's size, or the verifier refuses it ("access beyond the end of member").

mod credentials;
mod files;
mod memory;

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    EbpfContext, Global,
    bindings::task_struct,
    helpers::generated::{bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_task_pt_regs},
};

pub(crate) use credentials::{Credentials, UserNamespace};
pub(crate) use files::{AF_UNIX, Dentry, File, Mount, Name};

macro_rules! offsets {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        $( $(#[$doc])* #[unsafe(no_mangle)] pub(crate) static $name: Global<u32> = Global::new(0); )*
    };
}

offsets! {
    /// task_struct.nsproxy
    OFF_TASK_NSPROXY,
    /// task_struct.thread_pid
    OFF_TASK_THREAD_PID,
    /// task_struct.group_leader
    OFF_TASK_GROUP_LEADER,
    /// task_struct.pid: the thread
    OFF_TASK_TID,
    /// task_struct.tgid: the process
    OFF_TASK_TGID,
    /// task_struct.start_time: CLOCK_MONOTONIC nanoseconds
    OFF_TASK_START_TIME,
    /// task_struct.exit_code
    OFF_TASK_EXIT_CODE,
    /// task_struct.pending.signal
    OFF_TASK_PENDING,
    /// task_struct.signal
    OFF_TASK_SIGNAL,
    /// signal_struct.group_exit_code
    OFF_SIGNAL_EXIT_CODE,
    /// signal_struct.live.counter: threads that have not exited
    OFF_SIGNAL_LIVE,
    /// signal_struct.oom_mm: set where the OOM killer chose the process
    OFF_SIGNAL_OOM_MM,
    /// task_struct.cgroups
    OFF_TASK_CGROUPS,
    /// css_set.subsys[memory_cgrp_id]; 0: there are no memory cgroups, as of those below
    OFF_CSS_SET_MEMORY,
    /// cgroup_subsys_state.parent
    OFF_CSS_PARENT,
    /// mem_cgroup.memory.max, in pages
    OFF_MEMCG_MAX,
    /// mem_cgroup.memory_events_local[MEMCG_OOM]
    OFF_MEMCG_OOM,
    /// task_struct.comm
    OFF_TASK_COMM,
    /// task_struct.thread_info.status (x86)
    OFF_TASK_STATUS,
    /// task_struct.seccomp.mode
    OFF_TASK_SECCOMP_MODE,
    /// nsproxy.mnt_ns
    OFF_NSPROXY_MNT,
    /// mnt_namespace.ns.inum
    OFF_MNT_INUM,
    /// pid.level
    OFF_PID_LEVEL,
    /// pid.numbers: an array of struct upid
    OFF_PID_NUMBERS,
    /// upid.ns
    OFF_UPID_NS,
    /// sizeof(struct upid)
    SIZE_UPID,
    /// pid_namespace.ns.inum
    OFF_PIDNS_INUM,
    /// linux_binprm.filename
    OFF_BPRM_FILENAME,
    /// linux_binprm.argc
    OFF_BPRM_ARGC,
    /// linux_binprm.envc
    OFF_BPRM_ENVC,
    /// task_struct.mm
    OFF_TASK_MM,
    /// mm_struct.arg_start: where the new program's arguments begin
    OFF_MM_ARG_START,
    /// mm_struct.arg_end
    OFF_MM_ARG_END,
    /// pt_regs: the number of the call, as it is at exit
    OFF_REGS_NR,
    /// pt_regs: the stack pointer
    OFF_REGS_STACK,
    /// pt_regs: the six arguments
    OFF_ARG0, OFF_ARG1, OFF_ARG2, OFF_ARG3, OFF_ARG4, OFF_ARG5,
    /// pt_regs: the six arguments of a 32-bit call
    OFF_COMPAT_ARG0, OFF_COMPAT_ARG1, OFF_COMPAT_ARG2, OFF_COMPAT_ARG3, OFF_COMPAT_ARG4, OFF_COMPAT_ARG5,
    /// Bit of task_struct.thread_info.status that tells a 32-bit call; 0 where there are none.
    STATUS_COMPAT,
    /// task_struct.files, files_struct.fdt, fdtable.max_fds, fdtable.fd
    OFF_TASK_FILES, OFF_FILES_FDT, OFF_FDTABLE_MAX, OFF_FDTABLE_FD,
    /// task_struct.fs, fs_struct.pwd.mnt, fs_struct.pwd.dentry
    OFF_TASK_FS, OFF_FS_PWD_MNT, OFF_FS_PWD_DENTRY,
    /// file.f_path.mnt, file.f_path.dentry, file.private_data
    OFF_FILE_MNT, OFF_FILE_DENTRY, OFF_FILE_PRIVATE,
    /// mount.mnt, mount.mnt.mnt_root, mount.mnt_parent, mount.mnt_mountpoint
    OFF_MOUNT_MNT, OFF_MOUNT_ROOT, OFF_MOUNT_PARENT, OFF_MOUNT_POINT,
    /// dentry.d_parent, dentry.d_name.name, dentry.d_hash.pprev, dentry.d_inode
    OFF_DENTRY_PARENT, OFF_DENTRY_NAME, OFF_DENTRY_HASHED, OFF_DENTRY_INODE,
    /// inode.i_mode, inode.i_ino, inode.i_rdev, inode.i_sb, inode.i_private, super_block.s_magic
    OFF_INODE_MODE, OFF_INODE_NUMBER, OFF_INODE_RDEV, OFF_INODE_SB, OFF_INODE_PRIVATE, OFF_SB_MAGIC,
    /// ns_common.ops, proc_ns_operations.name
    OFF_NS_OPS, OFF_NS_NAME,
    /// socket.sk; from a socket to its inode, in struct socket_alloc
    OFF_SOCKET_SK, OFF_SOCKET_INODE,
    /// Members of struct sock and of its sock_common
    OFF_SK_FAMILY, OFF_SK_TYPE, OFF_SK_PROTOCOL, OFF_SK_STATE, OFF_SK_PROTO, OFF_SK_SOCKET, OFF_SK_PORT,
    OFF_SK_PEER_PORT, OFF_SK_ADDRESS, OFF_SK_PEER,
    /// The same, 0 in a kernel without IPv6
    OFF_SK_ADDRESS6, OFF_SK_PEER6,
    /// proto.name
    OFF_PROTO_NAME,
    /// netlink_sock.portid; 0 in a kernel that says nothing of it
    OFF_NETLINK_PORTID,
    /// unix_sock.peer, unix_sock.addr, unix_address.len, unix_address.name; 0 in a kernel that says nothing of them
    OFF_UNIX_PEER, OFF_UNIX_ADDR, OFF_UNIX_ADDR_LEN, OFF_UNIX_ADDR_NAME,
    /// task_struct.cred, task_struct.real_cred, task_struct.atomic_flags, signal_struct.rlim
    OFF_TASK_CRED, OFF_TASK_REAL_CRED, OFF_TASK_ATOMIC_FLAGS, OFF_SIGNAL_RLIM,
    /// cred.cap_effective, cred.cap_permitted, cred.cap_bset
    OFF_CRED_EFFECTIVE, OFF_CRED_PERMITTED, OFF_CRED_BOUNDING,
    /// cred.euid, cred.fsuid, cred.egid, cred.fsgid, cred.user_ns
    OFF_CRED_EUID, OFF_CRED_FSUID, OFF_CRED_EGID, OFF_CRED_FSGID, OFF_CRED_USER_NS,
    /// user_namespace.ns.inum, user_namespace.level
    OFF_USERNS_INUM, OFF_USERNS_LEVEL,
    /// cred.ucounts, ucounts.rlimit[UCOUNT_RLIMIT_NPROC]; 0 in a kernel that counts elsewhere
    OFF_CRED_UCOUNTS, OFF_UCOUNTS_TASKS,
    /// task_struct.sched_task_group, task_group.rt_bandwidth.rt_runtime; 0 without CONFIG_RT_GROUP_SCHED
    OFF_TASK_GROUP, OFF_GROUP_RT_RUNTIME,
    /// task_group.autogroup; 0 without CONFIG_SCHED_AUTOGROUP
    OFF_GROUP_AUTOGROUP,
    /// mm_struct.total_vm, mm_struct.locked_vm
    OFF_MM_TOTAL_VM, OFF_MM_LOCKED_VM,
    /// Numbers of execveat, setns and rt_sigreturn in the native table, of setns in the 32-bit one.
    NR_EXECVEAT, NR_SETNS, NR_SIGRETURN, NR_COMPAT_SETNS,
    /// The event sched_process_fork: child_pid; 0 where no program is there.
    OFF_FORK_CHILD,
    /// Programs at system calls are preempted, so some runs are skipped; else 0.
    PREEMPTED,
    /// Bytes of the ring; what a CPU takes of it for a container at a time.
    RING_BYTES, GRANT,
}

/// A typed load from kernel memory that the verifier knows.
#[inline(always)]
fn load<T: Copy>(base: *const u8, offset: &Global<u32>) -> T {
    load_at(base, offset.load())
}

/// The same at an offset that was computed from one.
#[inline(always)]
fn load_at<T: Copy>(base: *const u8, offset: u32) -> T {
    // SAFETY: the verifier proves the pointer and the offset against the kernel's BTF, or refuses the program; a
    // pointer that turns out to be NULL reads as zero by its exception table.
    unsafe { *base.wrapping_add(offset as usize).cast::<T>() }
}

/// Reads kernel memory whose address the verifier does not know; zero where it cannot be read.
#[inline(always)]
fn probe<T: Copy + Default>(address: *const u8) -> T {
    let mut value = T::default();
    // SAFETY: the destination is a local of exactly that size; the helper checks the source.
    unsafe {
        bpf_probe_read_kernel(
            ptr::from_mut(&mut value).cast::<c_void>(),
            size_of::<T>() as u32,
            address.cast(),
        );
    }
    value
}

/// Deepest nesting of PID namespaces that the kernel makes: MAX_PID_NS_LEVEL, include/linux/pid_namespace.h.
pub(crate) const MAX_LEVEL: u32 = 32;

/// `struct task_struct *`.
#[derive(Clone, Copy)]
pub(crate) struct TaskPtr(*const u8);

impl TaskPtr {
    pub(crate) const fn new(pointer: *const u8) -> Self {
        Self(pointer)
    }

    #[inline(always)]
    pub(crate) fn current() -> Self {
        // SAFETY: no precondition.
        Self(unsafe { bpf_get_current_task_btf() }.cast::<u8>().cast_const())
    }

    #[inline(always)]
    pub(crate) const fn as_ptr(self) -> *mut task_struct {
        self.0.cast::<task_struct>().cast_mut()
    }

    /// The registers of the task's system call, at the top of its kernel stack.
    #[inline(always)]
    pub(crate) fn regs(self) -> Regs {
        // SAFETY: a task pointer that the verifier knows.
        Regs(unsafe { bpf_task_pt_regs(self.as_ptr()) } as *const u8)
    }

    #[inline(always)]
    pub(crate) fn tgid(self) -> u32 {
        load(self.0, &OFF_TASK_TGID)
    }

    #[inline(always)]
    pub(crate) fn tid(self) -> u32 {
        load(self.0, &OFF_TASK_TID)
    }

    #[inline(always)]
    pub(crate) fn start_time(self) -> u64 {
        load(self.0, &OFF_TASK_START_TIME)
    }

    #[inline(always)]
    pub(crate) fn exit_code(self) -> i32 {
        load(self.0, &OFF_TASK_EXIT_CODE)
    }

    /// Whether a seccomp mode is set: SECCOMP_MODE_DISABLED is 0.
    #[inline(always)]
    pub(crate) fn has_seccomp(self) -> bool {
        load::<i32>(self.0, &OFF_TASK_SECCOMP_MODE) != 0
    }

    /// Whether the call in progress came by the 32-bit entry (TS_COMPAT, arch/x86/include/asm/thread_info.h; the code
    /// segment alone would miss `int 0x80` from 64-bit code).
    #[inline(always)]
    pub(crate) fn is_compat(self) -> bool {
        load::<u32>(self.0, &OFF_TASK_STATUS) & STATUS_COMPAT.load() != 0
    }

    /// Whether the task is being killed, so that the call it is in never returns to it: SIGKILL is pending
    /// (`__fatal_signal_pending`, include/linux/sched/signal.h), for its own sake or because its process exits. When
    /// another signal's default action kills, the kernel sets the same bit at once; there the call is interrupted
    /// first, and a debugger sees it return.
    #[inline(always)]
    pub(crate) fn is_killed(self) -> bool {
        const SIGKILL: u32 = 9;
        if load::<u64>(self.0, &OFF_TASK_PENDING) & (1 << (SIGKILL - 1)) == 0 {
            return false;
        }
        let signal: *const u8 = load(self.0, &OFF_TASK_SIGNAL);
        let by = load::<u32>(signal, &OFF_SIGNAL_EXIT_CODE) & 0x7f;
        by == 0 || by == SIGKILL
    }

    /// Whether the task, which is exiting, is the last thread of its process.
    #[inline(always)]
    pub(crate) fn is_last_thread(self) -> bool {
        let signal: *const u8 = load(self.0, &OFF_TASK_SIGNAL);
        load::<i32>(signal, &OFF_SIGNAL_LIVE) == 0
    }

    #[inline(always)]
    pub(crate) fn comm(self) -> [u8; 16] {
        probe(self.0.wrapping_add(OFF_TASK_COMM.load() as usize))
    }

    #[inline(always)]
    pub(crate) fn mount_namespace(self) -> u32 {
        let nsproxy: *const u8 = load(self.0, &OFF_TASK_NSPROXY);
        let mnt: *const u8 = load(nsproxy, &OFF_NSPROXY_MNT);
        load(mnt, &OFF_MNT_INUM)
    }

    #[inline(always)]
    pub(crate) fn pid(self) -> Pid {
        Pid(probe(self.0.wrapping_add(OFF_TASK_THREAD_PID.load() as usize)))
    }

    #[inline(always)]
    pub(crate) fn leader_pid(self) -> Pid {
        let leader: *const u8 = load(self.0, &OFF_TASK_GROUP_LEADER);
        Pid(probe(leader.wrapping_add(OFF_TASK_THREAD_PID.load() as usize)))
    }
}

/// Address of a `struct pid`: a thread's numbers, one a level of PID namespaces.
///
/// VERIFIER(6.18): a variable offset on a BTF pointer is refused, even as the source of a probe; so this is a number
/// and each read a probe. It is used only where a task's membership is decided.
#[derive(Clone, Copy)]
pub(crate) struct Pid(usize);

impl Pid {
    #[inline(always)]
    pub(crate) fn level(self) -> u32 {
        probe((self.0 + OFF_PID_LEVEL.load() as usize) as *const u8)
    }

    /// `numbers[level]`
    #[inline(always)]
    fn upid(self, level: u32) -> usize {
        self.0 + OFF_PID_NUMBERS.load() as usize + level as usize * SIZE_UPID.load() as usize
    }

    /// The number at that level; `level` must not exceed [`Self::level`].
    #[inline(always)]
    pub(crate) fn number(self, level: u32) -> u32 {
        probe(self.upid(level) as *const u8)
    }

    /// Inode of the PID namespace at that level.
    #[inline(always)]
    pub(crate) fn namespace(self, level: u32) -> u32 {
        let namespace: usize = probe((self.upid(level) + OFF_UPID_NS.load() as usize) as *const u8);
        probe((namespace + OFF_PIDNS_INUM.load() as usize) as *const u8)
    }
}

/// The thread that the event sched_process_fork tells of.
///
/// VERIFIER: of an event's record it takes a load at an offset that is in the instruction alone.
#[inline(always)]
pub(crate) fn forked(event: &impl EbpfContext) -> u32 {
    probe(
        event
            .as_ptr()
            .cast::<u8>()
            .wrapping_add(OFF_FORK_CHILD.load() as usize),
    )
}

/// `linux_binprm.filename`: the path that execve(2) was called with, in kernel memory.
#[inline(always)]
pub(crate) fn exec_filename(bprm: *const u8) -> *const u8 {
    load(bprm, &OFF_BPRM_FILENAME)
}

/// What a program that was just started has as arguments.
pub(crate) struct ProgramArgs {
    pub start: u64,
    pub len: u64,
    pub argc: u32,
    pub envc: u32,
}

/// The arguments of the program that the current task has just become: `linux_binprm` and the task's `mm_struct`.
#[inline(always)]
pub(crate) fn program_args(task: TaskPtr, bprm: *const u8) -> ProgramArgs {
    let mm: *const u8 = load(task.0, &OFF_TASK_MM);
    let start: u64 = load(mm, &OFF_MM_ARG_START);
    let end: u64 = load(mm, &OFF_MM_ARG_END);
    ProgramArgs {
        start,
        len: end.wrapping_sub(start),
        argc: load(bprm, &OFF_BPRM_ARGC),
        envc: load(bprm, &OFF_BPRM_ENVC),
    }
}

/// `struct pt_regs *` of a system call.
#[derive(Clone, Copy)]
pub(crate) struct Regs(*const u8);

impl Regs {
    pub(crate) const fn new(pointer: *const u8) -> Self {
        Self(pointer)
    }

    #[inline(always)]
    pub(crate) const fn address(self) -> *const u8 {
        self.0
    }

    /// The call's number, where no enter told it.
    #[inline(always)]
    pub(crate) fn nr(self) -> u64 {
        load(self.0, &OFF_REGS_NR)
    }

    /// The caller's stack pointer.
    #[inline(always)]
    pub(crate) fn stack(self) -> u64 {
        load(self.0, &OFF_REGS_STACK)
    }

    #[inline(always)]
    pub(crate) fn copy_first_args(self, to: &mut [u64; 6]) {
        to[0] = load(self.0, &OFF_ARG0);
        to[1] = load(self.0, &OFF_ARG1);
        to[2] = load(self.0, &OFF_ARG2);
    }

    #[inline(always)]
    pub(crate) fn copy_last_args(self, to: &mut [u64; 6]) {
        to[3] = load(self.0, &OFF_ARG3);
        to[4] = load(self.0, &OFF_ARG4);
        to[5] = load(self.0, &OFF_ARG5);
    }

    #[inline(always)]
    pub(crate) fn copy_compat_args(self, to: &mut [u64; 6]) {
        to[0] = load::<u64>(self.0, &OFF_COMPAT_ARG0) & 0xffff_ffff;
        to[1] = load::<u64>(self.0, &OFF_COMPAT_ARG1) & 0xffff_ffff;
        to[2] = load::<u64>(self.0, &OFF_COMPAT_ARG2) & 0xffff_ffff;
        to[3] = load::<u64>(self.0, &OFF_COMPAT_ARG3) & 0xffff_ffff;
        to[4] = load::<u64>(self.0, &OFF_COMPAT_ARG4) & 0xffff_ffff;
        to[5] = load::<u64>(self.0, &OFF_COMPAT_ARG5) & 0xffff_ffff;
    }
}
