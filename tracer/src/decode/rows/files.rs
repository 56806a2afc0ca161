//! Rows of calls on files, mounts, descriptors and memory.

use super::*;

/// Calls that return a descriptor.
const RETURN_DESCRIPTORS: &str = "open openat openat2 creat open_by_handle_at memfd_create memfd_secret dup dup2 dup3 \
     epoll_create epoll_create1 eventfd eventfd2 signalfd signalfd4 timerfd_create inotify_init inotify_init1 \
     fanotify_init userfaultfd perf_event_open pidfd_open pidfd_getfd io_uring_setup landlock_create_ruleset \
     open_tree open_tree_attr fsopen fsmount fspick mq_open socket accept accept4";

pub(super) static ROWS: &[Row] = &[
    row(RETURN_DESCRIPTORS, &[]).descriptor(|_| true),
    // Files by name.
    row("open", &[("flags", OPEN), ("mode", When(creates, &MODE))]),
    row("openat", &[("flags", OPEN), ("mode", When(creates_at, &MODE))]),
    row("openat2", &[("how", Show::sized("usize", 24, fs::open_how))]),
    row("access faccessat", &[("mode", Flags(&names::ACCESS))]),
    row(
        "faccessat2",
        &[
            ("mode", Flags(&names::ACCESS)),
            ("flags", Flags(&names::AT_ACCESS)),
        ],
    ),
    row(
        "stat lstat fstat",
        &[("statbuf", Show::output(64, fs::stat).wide().full(18, whole::stat))],
    ),
    row(
        "newfstatat",
        &[
            ("statbuf", Show::output(64, fs::stat).wide().full(18, whole::stat)),
            ("flag", AT),
        ],
    ),
    row(
        "statx",
        &[
            ("flags", Value(values::statx_flags)),
            ("mask", Flags(&names::STATX)),
            ("buffer", Show::output(48, fs::statx).full(20, whole::statx)),
        ],
    ),
    row("statfs fstatfs", &[("buf", Show::output(88, fs::statfs).wide())]),
    row("readlink readlinkat", &[("buf", RETURNED)]),
    row("getcwd", &[("buf", PATH_OUT), ("size", UINT)]),
    row(
        "unlinkat fchownat utimensat name_to_handle_at linkat execveat fchmodat2",
        &[
            ("flag", AT),
            ("flags", AT),
            ("utimes", Show::input(32, fs::file_times).wide()),
            ("argv", ARGV),
            ("envp", envp(process::envp::<3>)),
        ],
    ),
    row("renameat2", &[("flags", Flags(&names::RENAME))]),
    row(
        "mknod",
        &[
            ("mode", Value(values::node_mode)),
            ("dev", When(is_device, &Value(values::node_device))),
        ],
    ),
    row(
        "mknodat",
        &[
            ("mode", Value(values::node_mode)),
            ("dev", When(is_device_at, &Value(values::node_device))),
        ],
    ),
    row("umask", &[("mask", MODE)]).ret(Ret::Octal),
    row(
        "utime",
        &[
            ("filename", PATH),
            ("times", Show::input(16, time::utimbuf).wide()),
        ],
    ),
    row(
        "utimes futimesat",
        &[
            ("filename", PATH),
            ("utimes", Show::input(32, time::file_timevals).wide()),
        ],
    ),
    row("sync_file_range", &[("flags", Flags(&names::SYNC_RANGE))]),
    row("name_to_handle_at", &[("flag", AT)]),
    row(
        "setxattr lsetxattr fsetxattr",
        &[
            ("name", TEXT),
            ("value", Show::buffer("size")),
            ("flags", Flags(&names::XATTR)),
        ],
    ),
    row(
        "getxattr lgetxattr fgetxattr",
        &[("name", TEXT), ("value", RETURNED)],
    ),
    row("removexattr lremovexattr fremovexattr", &[("name", TEXT)]),
    row(
        "listxattr llistxattr flistxattr",
        &[("list", Show::returned(1, 33, fs::attribute_names))],
    ),
    row("inotify_add_watch", &[("mask", Flags(&names::INOTIFY))]),
    row("inotify_init1", &[("flags", Flags(&names::INOTIFY_INIT))]),
    row(
        "memfd_create",
        &[("uname", PATH), ("flags", Value(values::memfd_flags))],
    ),
    // Mounts.
    row(
        "mount",
        &[
            ("dev_name", PATH),
            ("dir_name", PATH),
            ("type", TEXT),
            ("flags", Flags(&names::MOUNT)),
            ("data", TEXT),
        ],
    ),
    row("umount2", &[("name", PATH), ("flags", Flags(&names::UMOUNT))]),
    row("open_tree open_tree_attr", &[("flags", Flags(&names::OPEN_TREE))]),
    row("move_mount", &[("flags", Flags(&names::MOVE_MOUNT))]),
    row("fsopen", &[("_fs_name", TEXT), ("flags", Flags(&names::FSOPEN))]),
    row(
        "fsmount",
        &[
            ("flags", Flags(&names::FSMOUNT)),
            ("attr_flags", Flags(&names::MOUNT_ATTR)),
        ],
    ),
    row(
        "fsconfig",
        &[
            ("cmd", Enum(&names::FSCONFIG)),
            ("_key", TEXT),
            ("_value", TEXT),
            ("aux", INT),
        ],
    ),
    // Descriptors.
    row("read", &[("buf", RETURNED.data())]),
    row("pread64", &[("buf", RETURNED.data()), ("pos", LONG)]),
    row(
        "write pwrite64",
        &[("buf", Show::buffer("count").data()), ("pos", LONG)],
    ),
    row(
        "readv writev preadv pwritev preadv2 pwritev2 vmsplice",
        &[
            ("fd", FD),
            ("vec", Show::vector("vlen", message::vector::<1>).data()),
            ("uiov", Show::vector("nr_segs", message::vector::<1>).data()),
            ("vlen", UINT),
            ("nr_segs", UINT),
            ("pos_l", LONG),
            // The upper half of an offset that x86-64 takes whole: nothing to show.
            ("pos_h", When(|call| !call.wide, &HEX)),
            ("flags", HEX),
        ],
    ),
    row(
        "readv preadv preadv2",
        &[("vec", Show::vector("vlen", message::filled::<1>).filled().data())],
    ),
    row(
        "process_vm_readv",
        &[("lvec", Show::vector("liovcnt", message::filled::<1>).filled())],
    ),
    row(
        "process_vm_writev",
        &[("lvec", Show::vector("liovcnt", message::vector::<1>))],
    ),
    row(
        "process_vm_readv process_vm_writev",
        &[
            ("rvec", Show::array("riovcnt", 16, 32, fs::iovec::<4>).wide()),
            ("flags", UINT),
        ],
    ),
    row(
        "getdents",
        &[("dirent", Show::entries(fs::entries).full(0, whole::old_entries))],
    ),
    row(
        "getdents64",
        &[("dirent", Show::entries(fs::entries).full(0, whole::entries))],
    ),
    row("lseek", &[("whence", Enum(&names::SEEK))]),
    row("dup", &[("fildes", FD)]),
    row(
        "dup2 dup3",
        &[
            ("oldfd", FD),
            ("newfd", FD),
            ("flags", Value(values::fd_creation_flags)),
        ],
    ),
    row(
        "close_range",
        &[
            ("fd", UINT),
            ("max_fd", UINT),
            ("flags", Flags(&names::CLOSE_RANGE)),
        ],
    ),
    row(
        "fcntl fcntl64",
        &[
            ("cmd", Enum(&names::FCNTL)),
            (
                "arg",
                When(
                    fs::fcntl_has_arg,
                    &Show::input(32, fs::fcntl_arg).wide().or(fs::fcntl_number),
                ),
            ),
        ],
    )
    .ret(Ret::HexWhen(fs::fcntl_in_hex))
    .descriptor(fs::fcntl_duplicates)
    .note(fs::fcntl_note),
    row(
        "ioctl",
        &[
            ("cmd", Value(ioctl::command)),
            (
                "arg",
                When(
                    ioctl::has_argument,
                    &Show::input(40, ioctl::memory).wide().or(ioctl::number),
                ),
            ),
        ],
    ),
    row("flock", &[("cmd", Flags(&names::FLOCK))]),
    row("fallocate", &[("mode", Flags(&names::FALLOCATE))]),
    row("fadvise64", &[("advice", Enum(&names::FADVISE))]),
    row(
        "pipe pipe2",
        &[
            ("fildes", Show::output(8, fs::descriptors)),
            ("flags", Value(values::fd_creation_flags)),
        ],
    )
    .list("fildes", list::PAIR),
    row("poll ppoll", &[]).list("ufds", list::POLL),
    row("select pselect6", &[]).list("inp", list::SETS),
    row("poll", &[("ufds", POLLFDS)]).note(fs::poll_note::<false>),
    row(
        "ppoll",
        &[
            ("ufds", POLLFDS),
            ("tsp", TIMESPEC.at(Moment::Both)),
            ("sigmask", SIGSET),
        ],
    )
    .note(fs::poll_note::<true>),
    row(
        "select",
        &[
            ("inp", FD_SET),
            ("outp", FD_SET),
            ("exp", FD_SET),
            ("tvp", Show::input(16, time::timeval).wide().at(Moment::Both)),
        ],
    )
    .note(fs::select_note::<false>),
    row(
        "pselect6",
        &[
            ("inp", FD_SET),
            ("outp", FD_SET),
            ("exp", FD_SET),
            ("tsp", TIMESPEC.at(Moment::Both)),
            ("sig", Show::pointed(8, signal::pointed_set::<5>)),
        ],
    )
    .note(fs::select_note::<true>),
    row("epoll_create1", &[("flags", Flags(&names::EPOLL_CREATE))]),
    row(
        "epoll_ctl",
        &[
            ("op", Enum(&names::EPOLL_CTL)),
            ("event", Show::input(16, fs::epoll_event).or(values::pointer)),
        ],
    ),
    row(
        "epoll_wait epoll_pwait epoll_pwait2",
        &[("events", EPOLL_EVENTS), ("sigmask", SIGSET), ("timeout", INT)],
    ),
    row("epoll_pwait2", &[("timeout", TIMESPEC)]),
    row("eventfd2", &[("flags", Flags(&names::EVENTFD))]),
    row(
        "signalfd signalfd4",
        &[("user_mask", SIGSET), ("flags", Flags(&names::SIGNALFD))],
    ),
    row(
        "copy_file_range splice",
        &[
            ("off_in", OFFSET.at(Moment::Before)),
            ("off_out", OFFSET.at(Moment::Before)),
        ],
    ),
    row(
        "splice tee vmsplice",
        &[("fdin", FD), ("fdout", FD), ("flags", Flags(&names::SPLICE))],
    ),
    row(
        "sendfile",
        &[("offset", Show::input(8, fs::moved::<2>).at(Moment::Both))],
    ),
    // Memory.
    row(
        "mmap mmap2",
        &[
            ("addr", POINTER),
            ("len", UINT),
            ("prot", Flags(&names::PROT)),
            ("flags", Value(values::map_flags)),
            ("fd", FD),
            ("off", HEX),
        ],
    )
    .ret(Ret::Hex),
    row(
        "mprotect pkey_mprotect",
        &[("start", POINTER), ("prot", Flags(&names::PROT)), ("pkey", INT)],
    ),
    row("munmap mlock munlock", &[("start", POINTER), ("addr", POINTER)]),
    row("mlock2", &[("start", POINTER), ("flags", Flags(&names::MLOCK2))]),
    row("mlockall", &[("flags", Flags(&names::MLOCKALL))]),
    row(
        "mincore",
        &[
            ("start", POINTER),
            ("vec", Show::bytes(Max::String, service::pages).written()),
        ],
    ),
    row(
        "remap_file_pages",
        &[
            ("start", POINTER),
            ("prot", Flags(&names::PROT)),
            ("pgoff", UINT),
            ("flags", Value(values::map_flags)),
        ],
    ),
    row(
        "madvise",
        &[("start", POINTER), ("behavior", Enum(&names::MADVISE))],
    ),
    row("process_madvise", &[("behavior", Enum(&names::MADVISE))]),
    row("msync", &[("start", POINTER), ("flags", Flags(&names::MSYNC))]),
    row(
        "mremap",
        &[
            ("addr", POINTER),
            ("flags", Flags(&names::MREMAP)),
            ("new_addr", When(moves, &POINTER)),
        ],
    )
    .ret(Ret::Hex),
    row("brk", &[("brk", POINTER)]).ret(Ret::Hex),
    row(
        "membarrier",
        &[
            ("cmd", Enum(&names::MEMBARRIER)),
            ("flags", Flags(&names::MEMBARRIER_FLAGS)),
            ("cpu_id", When(service::membarrier_for_cpu, &INT)),
        ],
    )
    .ret(Ret::HexWhen(service::membarrier_asked))
    .note(service::membarrier_note),
];
