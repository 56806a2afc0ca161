//! Calls for the kernel's services, devices, queues and keys: the texts are strace's own.

use libc::*;

use super::fake::{A, A::*, Fake, fields, golden};

fn n(value: impl Into<i64>) -> A {
    N(value.into())
}

/// `name` in a field of 16 bytes and what follows, as `struct ifreq` has it.
fn interface(name: &[u8], rest: &[u8]) -> A {
    let mut bytes = name.to_vec();
    bytes.resize(16, 0);
    bytes.extend(rest);
    bytes.resize(40, 0);
    B(bytes)
}

fn signal(number: i32, code: i32, words: [u32; 3]) -> A {
    let [a, b, c] = words;
    fields(&[&number, &0_u32, &code, &0_u32, &a, &b, &c, &0_u32, &0_u64, &0_u64])
}

fn permissions() -> [u8; 48] {
    let mut bytes = [0; 48];
    bytes[20..22].copy_from_slice(&0o600_u16.to_le_bytes());
    bytes
}

golden! {
    ioctls: [
        ("ioctl", [n(0), n(0x5401), fields(&[&0x500_u32, &5_u32, &0xbf_u32, &0x8a3b_u32, &[0_u8; 24]])], 0,
            "ioctl(0, TCGETS, {c_iflag=ICRNL|IXON, c_oflag=NL0|CR0|TAB0|BS0|VT0|FF0|OPOST|ONLCR, c_cflag=B38400|CS8|CREAD, \
            c_lflag=ISIG|ICANON|ECHO|ECHOE|ECHOK|IEXTEN|ECHOCTL|ECHOKE, ...}) = 0"),
        ("ioctl", [n(1), n(0x5401), n(0x7fff)], -ENOTTY, "ioctl(1, TCGETS, 0x7fff) = -1 ENOTTY (Inappropriate ioctl for device)"),
        ("ioctl", [n(1), n(0x540b), n(2)], 0, "ioctl(1, TCFLSH, TCIOFLUSH) = 0"),
        ("ioctl", [n(1), n(0x5417), fields(&[&6_u32, &[0_u8; 36]])], -EIO, "ioctl(1, TIOCMBIC, [TIOCM_DTR|TIOCM_RTS]) = -1 EIO (Input/output error)"),
        ("ioctl", [n(3), n(0x5441), n(0x102)], 4, "ioctl(3, TIOCGPTPEER, 0x102) = 4"),
        ("ioctl", [n(3), n(0x5451)], 0, "ioctl(3, FIOCLEX) = 0"),
        ("ioctl", [n(3), n(0x8913), interface(b"lo", &[0x49, 0])], 0, r#"ioctl(3, SIOCGIFFLAGS, {ifr_name="lo", ifr_flags=IFF_UP|IFF_LOOPBACK|IFF_RUNNING}) = 0"#),
        ("ioctl", [n(3), n(0x8913), interface(b"no", &[0x49, 0])], -ENODEV, r#"ioctl(3, SIOCGIFFLAGS, {ifr_name="no"}) = -1 ENODEV (No such device)"#),
        ("ioctl", [n(3), n(0x8915), interface(b"lo", &[2, 0, 0, 0, 127, 0, 0, 1])], 0,
            r#"ioctl(3, SIOCGIFADDR, {ifr_name="lo", ifr_addr={sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr("127.0.0.1")}}) = 0"#),
        ("ioctl", [n(3), n(0x8927), interface(b"lo", &[4, 3])], 0,
            r#"ioctl(3, SIOCGIFHWADDR, {ifr_name="lo", ifr_hwaddr={sa_family=ARPHRD_LOOPBACK, sa_data=00:00:00:00:00:00}}) = 0"#),
        ("ioctl", [n(3), n(0x8910), interface(b"lo", &[1])], 0, r#"ioctl(3, SIOCGIFNAME, {ifr_ifindex=1, ifr_name="lo"}) = 0"#),
        ("ioctl", [n(5), n(0x8008_6601_i64), fields(&[&0x80000_u64, &[0_u8; 32]])], 0, "ioctl(5, FS_IOC_GETFLAGS, [FS_EXTENT_FL]) = 0"),
        ("ioctl", [n(5), n(0x4004_9409), n(99)], -EBADF, "ioctl(5, BTRFS_IOC_CLONE or FICLONE, 99) = -1 EBADF (Bad file descriptor)"),
        ("ioctl", [n(99), n(0xc000_00ff_i64), n(7)], -EBADF, "ioctl(99, _IOC(_IOC_READ|_IOC_WRITE, 0, 0xff, 0), 0x7) = -1 EBADF (Bad file descriptor)"),
    ]

    queues_and_semaphores: [
        ("semctl", [n(12), n(0), n(IPC_STAT), fields(&[&permissions(), &0_u64, &0_u64, &1_795_548_458_u64, &0_u64, &2_u64, &0_u64, &0_u64])], 0,
            "semctl(12, 0, IPC_STAT, {sem_perm={uid=0, gid=0, mode=0600, key=0, cuid=0, cgid=0}, sem_otime=0, sem_ctime=1795548458, sem_nsems=2}) = 0"),
        ("semctl", [n(12), n(0), n(SETVAL), n(5)], 0, "semctl(12, 0, SETVAL, 0x5) = 0"),
        ("semctl", [n(12), n(0), n(77), n(5)], -EINVAL, "semctl(12, 0, 0x4d /* SEM_??? */, 0x5) = -1 EINVAL (Invalid argument)"),
        ("semop", [n(12), fields(&[&0_u16, &1_u16, &0_u16, &1_u16, &0xffff_u16, &0x1800_u16]), n(2)], 0,
            "semop(12, [{sem_num=0, sem_op=1, sem_flg=0}, {sem_num=1, sem_op=-1, sem_flg=SEM_UNDO|IPC_NOWAIT}], 2) = 0"),
        ("shmget", [n(0), n(4096), n(IPC_CREAT | 0o640)], 12, "shmget(IPC_PRIVATE, 4096, IPC_CREAT|0640) = 12"),
        ("shmat", [n(-1), n(0x10), n(0o170_000)], -EINVAL, "shmat(-1, 0x10, SHM_RDONLY|SHM_RND|SHM_REMAP|SHM_EXEC) = -1 EINVAL (Invalid argument)"),
        ("shmctl", [n(12), n(11), n(0)], 0, "shmctl(12, SHM_LOCK, NULL) = 0"),
        ("msgsnd", [n(12), fields(&[&7_i64, b"message! and one", &[9_u8; 17]]), n(16), n(IPC_NOWAIT)], 0, r#"msgsnd(12, {mtype=7, mtext="message! and one"}, 16, IPC_NOWAIT) = 0"#),
        ("msgrcv", [n(12), fields(&[&7_i64, b"message!", &[9_u8; 25]]), n(100), n(0), n(MSG_NOERROR)], 8, r#"msgrcv(12, {mtype=7, mtext="message!"}, 100, 0, MSG_NOERROR) = 8"#),
        ("mq_open", [S(b"r"), n(O_RDWR | O_CREAT), n(0o600), fields(&[&0_u64, &2_u64, &32_u64, &0_u64])], 3,
            r#"mq_open("r", O_RDWR|O_CREAT, 0600, {mq_flags=0, mq_maxmsg=2, mq_msgsize=32, mq_curmsgs=0}) = 3"#),
        ("mq_open", [S(b"r"), n(O_RDWR), n(0), n(0)], -ENOENT, r#"mq_open("r", O_RDWR) = -1 ENOENT (No such file or directory)"#),
        ("mq_timedreceive", [n(3), S(b"message"), n(32), fields(&[&3_u32]), fields(&[&1_i64, &5_i64])], 7, r#"mq_timedreceive(3, "message", 32, [3], {tv_sec=1, tv_nsec=5}) = 7"#),
    ]

    signals_with_data: [
        ("rt_sigqueueinfo", [n(9), n(SIGUSR1), signal(SIGUSR1, SI_QUEUE, [5, 6, 7])], 0,
            "rt_sigqueueinfo(9, SIGUSR1, {si_signo=SIGUSR1, si_code=SI_QUEUE, si_pid=5, si_uid=6, si_int=7, si_ptr=0x7}) = 0"),
        ("rt_sigqueueinfo", [n(9), n(SIGUSR2), signal(SIGUSR2, SI_TIMER, [5, 6, 7])], 0,
            "rt_sigqueueinfo(9, SIGUSR2, {si_signo=SIGUSR2, si_code=SI_TIMER, si_timerid=0x5, si_overrun=6, si_int=7, si_ptr=0x7}) = 0"),
        ("rt_sigqueueinfo", [n(9), n(99), signal(99, -99, [5, 6, 7])], -ESRCH,
            "rt_sigqueueinfo(9, 99, {si_signo=99, si_code=0xffffff9d, si_pid=5, si_uid=6, si_int=7, si_ptr=0x7}) = -1 ESRCH (No such process)"),
        ("waitid", [n(i64::from(P_PID)), n(5), signal(SIGCHLD, 2, [5, 0, 9]), n(WEXITED), n(0)], 0,
            "waitid(P_PID, 5, {si_signo=SIGCHLD, si_code=CLD_KILLED, si_pid=5, si_uid=0, si_status=SIGKILL, si_utime=0, si_stime=0}, WEXITED, NULL) = 0"),
        ("waitid", [n(i64::from(P_ALL)), n(0), signal(0, 0, [0; 3]), n(WEXITED | WNOHANG), n(0)], 0, "waitid(P_ALL, 0, {}, WNOHANG|WEXITED, NULL) = 0"),
        ("pidfd_send_signal", [n(-1), n(SIGSEGV), signal(SIGSEGV, 1, [5, 6, 0]), n(0)], -EBADF,
            "pidfd_send_signal(-1, SIGSEGV, {si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=0x600000005}, 0) = -1 EBADF (Bad file descriptor)"),
        ("timer_create", [n(CLOCK_MONOTONIC), fields(&[&0_u64, &14_u32, &0_u32, &0_u64, &0_u64]), fields(&[&5_i32])], 0,
            "timer_create(CLOCK_MONOTONIC, {sigev_signo=SIGALRM, sigev_notify=SIGEV_SIGNAL}, [5]) = 0"),
        ("timer_create", [n(CLOCK_MONOTONIC), fields(&[&7_u64, &12_u32, &4_u32, &7_u64, &0_u64]), n(0x10)], -EINVAL,
            "timer_create(CLOCK_MONOTONIC, {sigev_value={sival_int=7, sival_ptr=0x7}, sigev_signo=SIGUSR2, sigev_notify=SIGEV_THREAD_ID, \
            sigev_notify_thread_id=7}, 0x10) = -1 EINVAL (Invalid argument)"),
    ]

    rings_and_programs: [
        ("io_setup", [n(4), fields(&[&0x7f5c_b8dd_3000_u64])], 0, "io_setup(4, [0x7f5cb8dd3000]) = 0"),
        ("io_cancel", [n(0x7000), fields(&[&7_u64, &0_u64, &0_u16, &1_u16, &1_u32, &[1_u8; 40]]), n(0x7fff)], -EINVAL,
            "io_cancel(0x7000, {aio_data=0x7, aio_lio_opcode=IOCB_CMD_PREAD, aio_reqprio=1, aio_fildes=1}, 0x7fff) = -1 EINVAL (Invalid argument)"),
        ("io_uring_register", [n(3), n(2), fields(&[&0_i32, &1_i32, &-1_i32]), n(3)], 0, "io_uring_register(3, IORING_REGISTER_FILES, [0, 1, -1], 3) = 0"),
        ("io_uring_register", [n(3), n(99), n(0), n(0)], -EINVAL, "io_uring_register(3, 0x63 /* IORING_REGISTER_??? */, NULL, 0) = -1 EINVAL (Invalid argument)"),
        ("io_uring_setup", [n(4), fields(&[&0_u64, &0x8000_0003_u32, &1_u32, &[0_u8; 104]])], -EINVAL,
            "io_uring_setup(4, {flags=IORING_SETUP_IOPOLL|IORING_SETUP_SQPOLL|0x80000000, sq_thread_cpu=0x1, sq_thread_idle=0}) = -1 EINVAL (Invalid argument)"),
        ("bpf", [n(99), n(0), n(0)], -EINVAL, "bpf(0x63 /* BPF_??? */, NULL, 0) = -1 EINVAL (Invalid argument)"),
        ("bpf", [n(3), fields(&[&4_u64, &0x7fff_u64, &0_u64, &0_u64]), n(32)], -EINVAL,
            "bpf(BPF_MAP_DELETE_ELEM, {map_fd=4, key=0x7fff, ...}, 32) = -1 EINVAL (Invalid argument)"),
        ("landlock_create_ruleset", [n(0), n(0), n(1)], 7, "landlock_create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) = 7"),
        ("landlock_add_rule", [n(3), n(1), fields(&[&4_u64, &4_u32]), n(0)], 0,
            "landlock_add_rule(3, LANDLOCK_RULE_PATH_BENEATH, {allowed_access=LANDLOCK_ACCESS_FS_READ_FILE, parent_fd=4}, 0) = 0"),
        ("seccomp", [n(1), n(1), fields(&[&1_u64, &0x7fff_u64])], 0, "seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, {len=1, filter=0x7fff}) = 0"),
    ]

    policies_and_watches: [
        ("set_mempolicy", [n(0x8004), fields(&[&1_u64, &[0_u8; 120]]), n(65)], -EINVAL,
            "set_mempolicy(MPOL_LOCAL|MPOL_F_STATIC_NODES, [0x00000000000001], 65) = -1 EINVAL (Invalid argument)"),
        ("get_mempolicy", [fields(&[&0_u32]), fields(&[&[0_u8; 128]]), n(128), n(0), n(0)], 0,
            "get_mempolicy([MPOL_DEFAULT], [0000000000000000, 0000000000000000], 128, NULL, 0) = 0"),
        ("mincore", [n(0x7000), n(8192), fields(&[&[1_u8, 0, 9, 9]])], 0, "mincore(0x7000, 8192, [1, 0]) = 0"),
        ("mmap", [n(0), n(2_097_152), n(3), n(0x4_0022 | 21 << 26), n(-1), n(0)], -ENOMEM,
            "mmap(NULL, 2097152, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS|MAP_HUGETLB|21<<MAP_HUGE_SHIFT, -1, 0) = -1 ENOMEM (Cannot allocate memory)"),
        ("membarrier", [n(0), n(0), n(0)], 0x3ff, "membarrier(MEMBARRIER_CMD_QUERY, 0) = 0x3ff (MEMBARRIER_CMD_GLOBAL|MEMBARRIER_CMD_GLOBAL_EXPEDITED|\
            MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED|MEMBARRIER_CMD_PRIVATE_EXPEDITED|MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED|\
            MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE|MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE|\
            MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ|MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ|0x200)"),
        ("fanotify_init", [n(0x203), n(O_CLOEXEC)], 3, "fanotify_init(FAN_CLASS_NOTIF|FAN_CLOEXEC|FAN_NONBLOCK|FAN_REPORT_FID, O_RDONLY|O_CLOEXEC) = 3"),
        ("fanotify_mark", [n(3), n(0x11), n(0x28), n(AT_FDCWD), S(b".")], 0, r#"fanotify_mark(3, FAN_MARK_ADD|FAN_MARK_MOUNT, FAN_CLOSE_WRITE|FAN_OPEN, AT_FDCWD, ".") = 0"#),
        ("quotactl", [n(0x8000_0201_i64), S(b"/dev/none"), n(2), S(b"/quota\0")], -ENOENT,
            r#"quotactl(QCMD(Q_QUOTAON, GRPQUOTA), "/dev/none", QFMT_VFS_V0, "/quota") = -1 ENOENT (No such file or directory)"#),
        ("quotactl", [n(0x8000_0301_i64), S(b"/dev/none"), n(0), n(0)], -ENOENT,
            r#"quotactl(QCMD(Q_QUOTAOFF, GRPQUOTA), "/dev/none") = -1 ENOENT (No such file or directory)"#),
        ("mount_setattr", [n(AT_FDCWD), S(b"x"), n(0x8000), fields(&[&1_u64, &0_u64, &0_u64, &0_u64]), n(32)], 0,
            r#"mount_setattr(AT_FDCWD, "x", AT_RECURSIVE, {attr_set=MOUNT_ATTR_RDONLY, attr_clr=0, propagation=0 /* MS_??? */, userns_fd=0}, 32) = 0"#),
    ]

    machine: [
        ("reboot", [n(0xfee1_dead_i64), n(1), n(0x4321_fedc), n(0)], -EINVAL,
            "reboot(LINUX_REBOOT_MAGIC1, 0x1 /* LINUX_REBOOT_MAGIC_??? */, LINUX_REBOOT_CMD_POWER_OFF) = -1 EINVAL (Invalid argument)"),
        ("syslog", [n(10), n(0), n(0)], 262_144, "syslog(10 /* SYSLOG_ACTION_SIZE_BUFFER */) = 262144"),
        ("syslog", [n(8), n(0), n(99)], -EINVAL, "syslog(8 /* SYSLOG_ACTION_CONSOLE_LEVEL */, NULL, 99 /* LOGLEVEL_??? */) = -1 EINVAL (Invalid argument)"),
        ("kcmp", [n(4), n(4), n(0), n(1), n(2)], 0, "kcmp(4, 4, KCMP_FILE, 1, 2) = 0"),
        ("kcmp", [n(4), n(4), n(1), n(1), n(2)], 0, "kcmp(4, 4, KCMP_VM) = 0"),
        ("kexec_load", [n(0), n(0), n(0), n(0x3e_0001)], -ENOSYS, "kexec_load(NULL, 0, NULL, KEXEC_ARCH_X86_64|KEXEC_ON_CRASH) = -1 ENOSYS (Function not implemented)"),
        ("ioprio_set", [n(1), n(0), n(2 << 13 | 4)], 0, "ioprio_set(IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 4)) = 0"),
        ("ioprio_get", [n(1), n(0)], 0, "ioprio_get(IOPRIO_WHO_PROCESS, 0) = 0 (IOPRIO_PRIO_VALUE(IOPRIO_CLASS_NONE, 0))"),
        ("umask", [n(0o22)], 0, "umask(022) = 000"),
        ("umask", [n(0)], 7, "umask(000) = 007"),
        ("ptrace", [n(0x4206), n(9), n(0), n(0x51)], -ESRCH,
            "ptrace(PTRACE_SEIZE, 9, NULL, PTRACE_O_TRACESYSGOOD|PTRACE_O_TRACEEXEC|PTRACE_O_TRACEEXIT) = -1 ESRCH (No such process)"),
        ("ptrace", [n(0), n(0), n(0), n(0)], -EPERM, "ptrace(PTRACE_TRACEME) = -1 EPERM (Operation not permitted)"),
        ("ptrace", [n(3), n(9), n(80), n(5)], -ESRCH, "ptrace(PTRACE_PEEKUSER, 9, 8*RAX, 0x5) = -1 ESRCH (No such process)"),
        ("time", [n(0)], 86_400, "time(NULL) = 86400 (1970-01-02T00:00:00+0000)"),
        ("nanosleep", [fields(&[&0_i64, &-1_i64]), n(0)], -EINVAL, "nanosleep({tv_sec=0, tv_nsec=18446744073709551615}, NULL) = -1 EINVAL (Invalid argument)"),
    ]

    keys_and_options: [
        ("keyctl", [n(0), n(0xffff_fffd_i64), n(0), n(0), n(0)], 29, "keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0) = 29"),
        ("keyctl", [n(1), S(b"session\0"), n(0), n(0), n(0)], 24, r#"keyctl(KEYCTL_JOIN_SESSION_KEYRING, "session") = 24"#),
        ("keyctl", [n(11), n(39), S(b"other..."), n(64), n(0)], 5, r#"keyctl(KEYCTL_READ, 39, "other", 64) = 5"#),
        ("keyctl", [n(10), n(-3), S(b"user\0"), S(b"name\0"), n(0)], -ENOKEY,
            r#"keyctl(KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", "name", 0) = -1 ENOKEY (Required key not available)"#),
        ("keyctl", [n(19), n(99), n(5), n(13), n(-3)], -EPERM, "keyctl(KEYCTL_REJECT, 99, 5, EACCES, KEY_SPEC_SESSION_KEYRING) = -1 EPERM (Operation not permitted)"),
        ("prctl", [n(PR_GET_SPECULATION_CTRL), n(0), n(0), n(0), n(0)], 2, "prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS) = 0x2 (PR_SPEC_ENABLE)"),
        ("prctl", [n(PR_SET_MM), n(1), n(0x1000), n(0), n(0)], -EPERM, "prctl(PR_SET_MM, PR_SET_MM_START_CODE, 0x1000, 0, 0) = -1 EPERM (Operation not permitted)"),
        ("prctl", [n(PR_SET_VMA), n(0), n(0x1000), n(4096), S(b"area")], -EINVAL,
            r#"prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, 0x1000, 4096, "area") = -1 EINVAL (Invalid argument)"#),
        ("setsockopt", [n(3), n(SOL_NETLINK), n(11), fields(&[&1_i32]), n(4)], 0, "setsockopt(3, SOL_NETLINK, NETLINK_EXT_ACK, [1], 4) = 0"),
        ("getsockopt", [n(3), n(SOL_SOCKET), n(SO_ERROR), fields(&[&111_i32]), fields(&[&4_i32])], 0, "getsockopt(3, SOL_SOCKET, SO_ERROR, [ECONNREFUSED], [4]) = 0"),
        ("fcntl", [n(3), n(F_GETLEASE), n(0)], 1, "fcntl(3, F_GETLEASE) = 0x1 (F_WRLCK)"),
        ("fcntl", [n(3), n(15), fields(&[&1_i32, &1_i32, &[0_u8; 24]])], 0, "fcntl(3, F_SETOWN_EX, {type=F_OWNER_PID, pid=1}) = 0"),
        ("clone3", [fields(&[&0_u64, &0_u64, &0_u64, &0_u64, &77_u64, &5_u64, &6_u64, &7_u64, &16_u64, &1_u64, &3_u64]), n(88)], -EINVAL,
            "clone3({flags=0, exit_signal=77, stack=0x5, stack_size=0x6, set_tid=0x10, set_tid_size=1, cgroup=3}, 88) = -1 EINVAL (Invalid argument)"),
    ]
}
