//! Classes of system calls, by the definitions of strace(1): `%file` and `%desc` by what arguments a call takes, the
//! others by name. It knows no numbers.

use crate::decode::Takes;

/// Whether a call of that name, with such arguments, belongs to a class.
pub(super) type Class = fn(&str, Takes) -> bool;

/// The classes there are.
pub const NAMES: [&str; 17] = [
    "%file", "%desc", "%network", "%process", "%signal", "%ipc", "%memory", "%creds", "%clock", "%pure",
    "%stat", "%lstat", "%fstat", "%%stat", "%statfs", "%fstatfs", "%%statfs",
];

/// The class of that name. The oldest go without `%` too, as in strace.
pub(super) fn find(word: &str) -> Option<Class> {
    Some(match word {
        "%file" | "file" => |name, takes| takes.path && !among(TEXTS, name) || among(FILE, name),
        "%desc" | "desc" => |name, takes| takes.descriptor && !among(SOCKET, name) || among(DESC, name),
        "%network" | "%net" | "network" => |name, _| among(SOCKET, name) || among(NETWORK, name),
        "%process" | "process" => |name, _| among(PROCESS, name),
        "%signal" | "signal" => |name, _| among(SIGNAL, name),
        "%ipc" | "ipc" => |name, _| among(IPC, name),
        "%memory" | "memory" => |name, _| among(MEMORY, name),
        "%creds" => |name, _| among(CREDS, name),
        "%clock" => |name, _| among(CLOCK, name),
        "%pure" => |name, _| among(PURE, name),
        "%stat" => |name, _| among(STAT, name),
        "%lstat" => |name, _| among(LSTAT, name),
        "%fstat" => |name, _| among(FSTAT, name),
        "%%stat" => |name, _| among(STAT, name) || among(LSTAT, name) || among(FSTAT, name),
        "%statfs" => |name, _| among(STATFS, name),
        "%fstatfs" => |name, _| among(FSTATFS, name),
        "%%statfs" => |name, _| among(STATFS, name) || among(FSTATFS, name) || name == "ustat",
        _ => return None,
    })
}

fn among(list: &str, name: &str) -> bool {
    list.split_ascii_whitespace().any(|one| one == name)
}

/// Calls with a string that is shown like a path and names no file.
const TEXTS: &str = "memfd_create mq_open mq_unlink init_module delete_module finit_module add_key request_key \
                     kexec_file_load fsopen sethostname setdomainname";
/// Calls on a file by name whose arguments do not tell.
const FILE: &str = "uselib fsconfig";
/// Calls that make descriptors, or take them in memory or under another name.
const DESC: &str = "open creat pipe pipe2 dup dup2 dup3 select _newselect pselect6 pselect6_time64 poll ppoll \
                    ppoll_time64 epoll_create epoll_create1 eventfd eventfd2 inotify_init inotify_init1 \
                    timerfd_create fanotify_init memfd_create memfd_secret userfaultfd bpf io_uring_setup pidfd_open \
                    fsopen landlock_create_ruleset mq_open mq_timedsend mq_timedsend_time64 mq_timedreceive \
                    mq_timedreceive_time64 mq_notify mq_getsetattr sendfile sendfile64";
/// Calls on sockets, which are descriptors too but a class of their own.
const SOCKET: &str = "socket socketpair bind connect listen accept accept4 getsockname getpeername getsockopt \
                      setsockopt shutdown send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg \
                      recvmmsg_time64 socketcall";
const NETWORK: &str = "sendfile sendfile64 getpmsg putpmsg";
const PROCESS: &str = "fork vfork clone clone3 execve execveat exit exit_group wait4 waitid waitpid kill tkill tgkill \
                       rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal";
const SIGNAL: &str = "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal signal sigaction \
                      rt_sigaction sigprocmask rt_sigprocmask sigpending rt_sigpending sigsuspend rt_sigsuspend \
                      rt_sigtimedwait rt_sigtimedwait_time64 sigreturn rt_sigreturn sigaltstack signalfd signalfd4 \
                      pause ssetmask sgetmask io_uring_enter";
const IPC: &str = "ipc msgget msgsnd msgrcv msgctl semget semop semctl semtimedop semtimedop_time64 shmget shmat \
                   shmdt shmctl";
const MEMORY: &str = "mmap mmap2 munmap mremap mprotect pkey_mprotect msync mincore madvise mlock mlock2 mlockall \
                      munlock munlockall brk remap_file_pages mbind set_mempolicy get_mempolicy \
                      set_mempolicy_home_node migrate_pages move_pages shmat shmdt io_setup io_destroy \
                      io_uring_register map_shadow_stack mseal";
const CREDS: &str = "getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32 \
                     getresgid getresgid32 getgroups getgroups32 setuid setuid32 setgid setgid32 setreuid \
                     setreuid32 setregid setregid32 setresuid setresuid32 setresgid setresgid32 setfsuid \
                     setfsuid32 setfsgid setfsgid32 setgroups setgroups32 capget capset prctl";
const CLOCK: &str = "time stime gettimeofday settimeofday adjtimex clock_gettime clock_gettime64 clock_settime \
                     clock_settime64 clock_getres clock_getres_time64 clock_adjtime clock_adjtime64";
const PURE: &str =
    "getpid getppid gettid getpgrp getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32";
const STAT: &str = "stat stat64 oldstat";
const LSTAT: &str = "lstat lstat64 oldlstat";
const FSTAT: &str = "fstat fstat64 oldfstat newfstatat fstatat64 statx";
const STATFS: &str = "statfs statfs64";
const FSTATFS: &str = "fstatfs fstatfs64";
