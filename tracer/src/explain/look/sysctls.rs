//! Sysctls that bound a call. It decides nothing.

use std::collections::BTreeMap;

use super::{read, text_of};

/// Sysctls that bound such a call. Those of the host; a namespace of the container may have its own beside.
pub(super) fn of(name: &str, errno: i32) -> BTreeMap<&'static str, String> {
    let wanted: &[&'static str] = match (name, errno) {
        (_, libc::ENFILE) => &["fs.file-max", "fs.file-nr"],
        ("inotify_add_watch", libc::ENOSPC) => &["fs.inotify.max_user_watches"],
        ("inotify_init" | "inotify_init1", libc::EMFILE) => &["fs.inotify.max_user_instances"],
        ("fanotify_init", libc::EMFILE) => &["fs.fanotify.max_user_groups"],
        ("fanotify_mark", libc::ENOSPC) => &["fs.fanotify.max_user_marks"],
        ("epoll_ctl", libc::ENOSPC) => &["fs.epoll.max_user_watches"],
        ("unshare" | "clone" | "clone3", libc::ENOSPC) => &[
            "user.max_user_namespaces",
            "user.max_mnt_namespaces",
            "user.max_pid_namespaces",
            "user.max_net_namespaces",
            "user.max_ipc_namespaces",
            "user.max_uts_namespaces",
            "user.max_cgroup_namespaces",
            "user.max_time_namespaces",
        ],
        ("unshare" | "clone" | "clone3", libc::EPERM | libc::EACCES) => &[
            "kernel.unprivileged_userns_clone",
            "kernel.apparmor_restrict_unprivileged_userns",
            "user.max_user_namespaces",
        ],
        ("clone" | "clone3" | "fork" | "vfork", libc::EAGAIN) => &["kernel.threads-max", "kernel.pid_max"],
        ("mmap" | "mprotect" | "munmap" | "mremap" | "brk" | "madvise", libc::ENOMEM) => {
            &["vm.max_map_count", "vm.overcommit_memory"]
        }
        ("mmap", libc::EPERM) => &["vm.mmap_min_addr"],
        ("bpf", libc::EPERM) => &["kernel.unprivileged_bpf_disabled"],
        ("perf_event_open", libc::EPERM | libc::EACCES) => &["kernel.perf_event_paranoid"],
        ("syslog", libc::EPERM) => &["kernel.dmesg_restrict"],
        ("ptrace" | "process_vm_readv" | "process_vm_writev", libc::EPERM) => &["kernel.yama.ptrace_scope"],
        ("userfaultfd", libc::EPERM) => &["vm.unprivileged_userfaultfd"],
        ("io_uring_setup", libc::EPERM) => &["kernel.io_uring_disabled"],
        ("open" | "openat" | "openat2" | "creat", libc::EACCES) => &[
            "fs.protected_regular",
            "fs.protected_fifos",
            "fs.protected_symlinks",
        ],
        ("link" | "linkat", libc::EPERM) => &["fs.protected_hardlinks"],
        ("mq_open", _) => &[
            "fs.mqueue.queues_max",
            "fs.mqueue.msg_max",
            "fs.mqueue.msgsize_max",
        ],
        ("add_key" | "request_key" | "keyctl", libc::EDQUOT) => {
            &["kernel.keys.maxkeys", "kernel.keys.maxbytes"]
        }
        ("io_setup", libc::EAGAIN) => &["fs.aio-max-nr", "fs.aio-nr"],
        ("setrlimit" | "prlimit64", libc::EPERM) => &["fs.nr_open"],
        ("fcntl", libc::EPERM) => &["fs.pipe-max-size"],
        ("shmget", libc::ENOSPC | libc::EINVAL | libc::ENOMEM) => {
            &["kernel.shmmni", "kernel.shmmax", "kernel.shmall"]
        }
        ("semget", libc::ENOSPC | libc::EINVAL) => &["kernel.sem"],
        ("msgget", libc::ENOSPC) => &["kernel.msgmni"],
        _ => &[],
    };
    wanted
        .iter()
        .filter_map(|name| {
            let path = format!("/proc/sys/{}", name.replace('.', "/"));
            Some((*name, text_of(&read(&path).ok()?).trim().to_owned()))
        })
        .collect()
}
