//! Ring records. A record is a [`Header`], then what its kind adds ([`Syscall`] or [`Process`]), then zero or more
//! captured sections: an 8-byte [`Section`] header and `len` bytes, one after the other without padding.
//!
//! A [`Syscall`] record carries only the arguments that its call has: `header.nargs` words follow the fixed part,
//! and sections follow these.

/// What a record is about. Travels as `u16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// A system call that returned, was refused before it began, or never returned.
    Syscall = 1,
    /// A member task made another task. The header is the parent's.
    Fork = 2,
    /// A member task replaced its program. One section: the path (`arg` 0).
    Exec = 3,
    /// A member task ended.
    Exit = 4,
    /// A task was found to be a member by its namespaces: it was there at registration, or it joined.
    Join = 5,
}

impl Kind {
    /// The kind of that number, if there is one.
    pub const fn from_raw(raw: u16) -> Option<Self> {
        Some(match raw {
            1 => Self::Syscall,
            2 => Self::Fork,
            3 => Self::Exec,
            4 => Self::Exit,
            5 => Self::Join,
            _ => return None,
        })
    }
}

/// Bits of [`Header::flags`].
pub mod flag {
    /// Made through the 32-bit entry (i386 on x86_64): `nr` counts in that table.
    pub const COMPAT: u16 = 1 << 0;
    /// Exit without an enter, for a task in a seccomp mode: seccomp refused it.
    pub const SECCOMP: u16 = 1 << 1;
    /// Exit without an enter, no seccomp: skipped by a ptracer or by syscall user dispatch.
    pub const SKIPPED: u16 = 1 << 2;
    /// The task ended inside the call: no return value, `duration_ns` is the time spent in it.
    pub const UNFINISHED: u16 = 1 << 3;
    /// The task, or an ancestor of it, joined the container from outside after its start (`exec`).
    pub const VIA_EXEC: u16 = 1 << 4;
    /// The container's init had made its first successful execve when the record was taken.
    pub const APP: u16 = 1 << 5;
    /// `duration_ns` was not measured.
    pub const NO_DURATION: u16 = 1 << 6;
    /// Fork only: the new task is a thread of the same process.
    pub const THREAD: u16 = 1 << 7;
    /// There was no room to copy all that the plan asked for.
    pub const NO_ROOM: u16 = 1 << 8;
    /// A reader asked for all the data that the call moved: there is as much of it as there was room for.
    pub const DATA: u16 = 1 << 9;
    /// A reader wants nothing abbreviated, and there is more of the call than its record has else.
    pub const VERBOSE: u16 = 1 << 10;
    /// What is missing before it on its CPU was more than the container's share of the ring; else the ring was full.
    pub const OVER_SHARE: u16 = 1 << 11;
    /// The last name that the call looked up was not there, as the kernel's cache knew (a negative dentry). Known of calls
    /// only while somebody asks.
    pub const CACHED: u16 = 1 << 12;
    /// The same, and the file system had to be asked.
    pub const LOOKED_UP: u16 = 1 << 13;
    /// Exit only, of a process's last thread: the kernel's OOM killer chose the process. In the place of the other task's
    /// numbers there is an [`OutOfMemory`](super::OutOfMemory).
    pub const OOM: u16 = 1 << 14;
}

/// The common part of each record: 48 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    /// A [`Kind`].
    pub kind: u16,
    /// Bits of [`flag`].
    pub flags: u16,
    /// Index of the container in the kernel's table.
    pub slot: u16,
    /// CPU that took the record, and that `seq` is counted on.
    pub cpu: u16,
    /// Generation of the slot: a reused slot or namespace inode is never taken for its former owner.
    pub generation: u32,
    /// System call number (`Syscall`), exit code as `wait(2)` encodes it (`Exit`), else 0.
    pub nr: u16,
    /// Words of arguments that follow (`Syscall`: 0..=6), else 0.
    pub nargs: u16,
    /// `Syscall`: number within container and CPU, from 1, no holes but for losses. `Fork`, `Exec`, `Exit`, `Join`:
    /// the same, counted apart.
    pub seq: u64,
    /// CLOCK_MONOTONIC in nanoseconds when the record was taken (for a call: when it returned).
    pub ktime: u64,
    /// Process id in the host's (initial) PID namespace.
    pub tgid: u32,
    /// Thread id in the host's PID namespace.
    pub tid: u32,
    /// Process id in the container's PID namespace.
    pub ns_tgid: u32,
    /// Thread id in the container's PID namespace.
    pub ns_tid: u32,
}

/// A system call: [`Header`], this, `header.nargs` words, sections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Syscall {
    /// The common part.
    pub header: Header,
    /// Nanoseconds from enter to exit.
    pub duration_ns: u64,
    /// What the kernel returned: a value, or a negative errno (also the internal ERESTART* ones, 512..=516).
    pub ret: i64,
}

/// A process record: [`Header`], this, sections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Process {
    /// The common part; of the parent for a fork.
    pub header: Header,
    /// Fork: the new task. Exec: the thread id that called execve (it becomes the leader). Exit with [`flag::OOM`]: it and the
    /// three after it are an [`OutOfMemory`]. Else 0.
    pub other_tid: u32,
    /// Fork: the new task's process id in the container's PID namespace.
    pub other_ns_tgid: u32,
    /// Fork: the new task's thread id in the container's PID namespace.
    pub other_ns_tid: u32,
    /// Fork: the new task's process id on the host.
    pub other_tgid: u32,
    /// Name of the task (Fork: of the new one), NUL-padded, TASK_COMM_LEN.
    pub comm: [u8; 16],
}

/// What left somebody without memory, so that the OOM killer chose a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutOfMemory {
    /// The limit of the memory cgroup so many levels above the process, its own being 1; 0: of none of them.
    pub level: u32,
    /// `memory.max` of that cgroup in bytes; without such a limit nearly all that the type holds.
    pub max: u64,
}

impl OutOfMemory {
    /// As it is in a record: `other_tid` and what follows it in a [`Process`].
    #[inline(always)]
    pub const fn words(self) -> [u32; 4] {
        [self.level, self.max as u32, (self.max >> 32) as u32, 0]
    }

    /// From a record.
    pub const fn of([level, low, high, _]: [u32; 4]) -> Self {
        Self {
            level,
            max: (high as u64) << 32 | low as u64,
        }
    }
}

/// Head of a captured section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Section {
    /// Which argument (0..=5).
    pub arg: u8,
    /// A [`super::filter::copy`] kind.
    pub kind: u8,
    /// Bits of [`section`].
    pub flags: u16,
    /// Bytes that follow.
    pub len: u16,
    /// `ARGV`: how many strings there were in all, capped at 65535. `ENTRIES`: how many were counted. `PART`: which part
    /// it is. Else 0.
    pub total: u16,
}

/// Bits of [`Section::flags`].
pub mod section {
    /// There was more than was copied.
    pub const CUT: u16 = 1 << 0;
    /// Nothing, or not all, could be read: the page was not there.
    pub const FAULT: u16 = 1 << 1;
    /// Copied when the call began.
    pub const BEFORE: u16 = 1 << 2;
    /// As much as there was room for.
    pub const DATA: u16 = 1 << 3;
}

/// What a descriptor stands for, in a section of kind [`super::filter::copy::FILE`]. After it `len` bytes: names, the
/// last one first, each with its NUL; for a socket of which more was asked a [`Socket`], and its address if it is a
/// path; all zero-padded to eight bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct File {
    /// The descriptor; -100 (AT_FDCWD) is the working directory.
    pub fd: i32,
    /// Bits of [`file`].
    pub flags: u16,
    /// `i_mode` of its inode.
    pub mode: u16,
    /// `s_magic` of its file system.
    pub magic: u32,
    /// `i_rdev`, as the kernel holds it: 12 bits of the major number, 20 of the minor.
    pub rdev: u32,
    /// `i_ino`.
    pub ino: u64,
    /// Bytes that follow, without the padding.
    pub len: u16,
    /// Explicit padding.
    pub _pad: [u16; 3],
}

/// Bits of [`File::flags`].
pub mod file {
    /// As it was when the call returned; else as it was when it began.
    pub const AT_EXIT: u16 = 1 << 0;
    /// Its name is gone.
    pub const DELETED: u16 = 1 << 1;
    /// It is in no directory: a pipe, a socket, an eventfd, a memfd. The one name is what the kernel has of it.
    pub const PSEUDO: u16 = 1 << 2;
    /// There are more directories above than were taken.
    pub const CUT: u16 = 1 << 3;
    /// A [`super::Socket`] follows.
    pub const SOCKET: u16 = 1 << 4;
    /// The descriptor of a process, whose number is in `rdev`.
    pub const PID: u16 = 1 << 5;
}

/// A socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Socket {
    /// `sk_family`
    pub family: u16,
    /// `sk_type`
    pub kind: u16,
    /// `sk_protocol`
    pub protocol: u16,
    /// Own port.
    pub port: u16,
    /// The peer's port, in network order.
    pub peer_port: u16,
    /// `sk_state`
    pub state: u16,
    /// Netlink: its port id.
    pub portid: u32,
    /// Unix: the inode of the socket at the other end.
    pub peer_ino: u64,
    /// Own address: four bytes, or sixteen.
    pub address: [u8; 16],
    /// The peer's.
    pub peer_address: [u8; 16],
    /// The kernel's name of the protocol, NUL-padded.
    pub name: [u8; 16],
}

/// What the kernel knew of the task at the moment a call of it failed, in a section of kind
/// [`super::filter::copy::EVIDENCE`]: `arg` is 0. Taken on the task itself, as the call returned. 272 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Evidence {
    /// Capabilities that the kernel asked for during the call and found missing, a bit each.
    pub denied: u64,
    /// Those that it asked for and found.
    pub granted: u64,
    /// `cred->cap_effective`
    pub effective: u64,
    /// `cred->cap_permitted`
    pub permitted: u64,
    /// `cred->cap_bset`
    pub bounding: u64,
    /// `signal->rlim[i].rlim_cur`, i < RLIM_NLIMITS = 16.
    pub limits: [u64; 16],
    /// `signal->rlim[RLIMIT_RTPRIO].rlim_max`, of RLIMIT_NICE, RLIMIT_NOFILE, RLIMIT_NPROC.
    pub hard: [u64; 4],
    /// `sched_task_group->rt_bandwidth.rt_runtime` in nanoseconds; with [`evidence::RT_GROUP`].
    pub rt_runtime: u64,
    /// `mm->total_vm`, in pages.
    pub total_vm: u64,
    /// `mm->locked_vm`, in pages.
    pub locked_vm: u64,
    /// `cred->ucounts->rlimit[UCOUNT_RLIMIT_NPROC]`: tasks of this user in this user namespace.
    pub user_tasks: u64,
    /// Inode of the task's user namespace (`cred->user_ns->ns.inum`).
    pub user_ns: u32,
    /// Inode of the user namespace in which the last missing capability was asked for; 0 = none was missing.
    pub denied_ns: u32,
    /// `cred->user_ns->level`; 0 is the initial one.
    pub user_ns_level: u32,
    /// `level` of the namespace of `denied_ns`.
    pub denied_ns_level: u32,
    /// `cred->euid` as the initial user namespace counts it, as the three after it.
    pub euid: u32,
    /// `cred->fsuid`
    pub fsuid: u32,
    /// `cred->egid`
    pub egid: u32,
    /// `cred->fsgid`
    pub fsgid: u32,
    /// Bits of [`evidence`].
    pub flags: u32,
    /// `task->seccomp.mode`
    pub seccomp: u32,
}

/// Bits of [`Evidence::flags`].
pub mod evidence {
    /// `task->no_new_privs`
    pub const NO_NEW_PRIVS: u32 = 1 << 0;
    /// The kernel has CONFIG_RT_GROUP_SCHED, and `rt_runtime` is what it says; not for a task in an autogroup, which
    /// no budget binds.
    pub const RT_GROUP: u32 = 1 << 1;
    /// `denied` and `granted` were watched: the capability program is attached.
    pub const CAPABILITIES: u32 = 1 << 2;
    /// `user_tasks` is known.
    pub const USER_TASKS: u32 = 1 << 3;
}

/// The largest record, in bytes: what the scratch buffer holds.
pub const MAX_RECORD: usize = 16 * 1024;
/// Where a record's [`section::DATA`] ends, so that what is shown of the other arguments has room in any case.
pub const DATA_END: usize = MAX_RECORD - 1536;

const _: () = {
    assert!(size_of::<Header>() == 48);
    assert!(size_of::<Syscall>() == 64);
    assert!(size_of::<Process>() == 80);
    assert!(size_of::<Section>() == 8);
    assert!(size_of::<File>() == 32);
    assert!(size_of::<Socket>() == 72);
    assert!(size_of::<Evidence>() == 272);
};
