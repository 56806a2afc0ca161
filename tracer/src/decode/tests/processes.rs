//! Calls on processes, signals, limits, privileges and time.

use libc::*;

use super::fake::{A, A::*, Fake, fields, golden};

fn n(value: impl Into<i64>) -> A {
    N(value.into())
}

fn pair(first: i64, second: i64) -> A {
    fields(&[&first, &second])
}

fn set(bits: u64) -> A {
    fields(&[&bits])
}

fn action(handler: u64, flags: u64, restorer: u64, mask: u64) -> A {
    fields(&[&handler, &flags, &restorer, &mask])
}

const RESTORER: u64 = 0x0400_0000;

golden! {
    making: [
        ("fork", [], 26456, "fork() = 26456"),
        ("vfork", [], 26466, "vfork() = 26466"),
        ("clone", [n(CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD), n(0), n(0), n(0x7f3d_ef88), n(0)], 26457,
            "clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f3def88) = 26457"),
        ("clone", [n(CLONE_PARENT_SETTID | SIGCHLD), n(0), fields(&[&26461_i32]), n(0), n(0)], 26461,
            "clone(child_stack=NULL, flags=CLONE_PARENT_SETTID|SIGCHLD, parent_tid=[26461]) = 26461"),
        ("clone", [n(i64::from(CLONE_VM | CLONE_THREAD | CLONE_SETTLS) | 0x1_0000_0000), n(0x1000), n(0), n(0), n(5)], -EINVAL,
            "clone(child_stack=0x1000, flags=CLONE_VM|CLONE_THREAD|CLONE_SETTLS|0x100000000, tls=0x5) = -1 EINVAL (Invalid argument)"),
        ("clone", [n(0), n(0), n(0), n(0), n(0)], 26462, "clone(child_stack=NULL, flags=0) = 26462"),
        ("clone3", [fields(&[&0_u64, &0_u64, &0_u64, &0_u64, &(SIGCHLD as u64), &0_u64, &0_u64, &0_u64, &0_u64, &0_u64, &0_u64]), n(88)], 26464,
            "clone3({flags=0, exit_signal=SIGCHLD, stack=NULL, stack_size=0}, 88) = 26464"),
        ("execve", [S(b"/nope"), V(vec!["nope", "a b", "\n"]), n(0x7fff)], -ENOENT,
            r#"execve("/nope", ["nope", "a b", "\n"], 0x7fff) = -1 ENOENT (No such file or directory)"#),
        ("execve", [S(b"/nope"), n(0), n(0)], -ENOENT, r#"execve("/nope", NULL, NULL) = -1 ENOENT (No such file or directory)"#),
        ("execve", [S(b"/bin/ls"), V(vec!["01234567890123456789012345678901234567890"]), n(0x7fff)], 0,
            r#"execve("/bin/ls", ["01234567890123456789012345678901"...], 0x7fff) = 0"#),
        ("execve", [S(b"/nope"), V(vec!["x"; 34]), n(0x7fff)], 0, format!(r#"execve("/nope", [{}...], 0x7fff) = 0"#, r#""x", "#.repeat(32))),
        ("execveat", [n(AT_FDCWD), S(b""), V(vec![]), n(0x7fff), n(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)], -EACCES,
            r#"execveat(AT_FDCWD, "", [], 0x7fff, AT_SYMLINK_NOFOLLOW|AT_EMPTY_PATH) = -1 EACCES (Permission denied)"#),
        ("unshare", [n(CLONE_NEWNS | 0x1000)], -EINVAL, "unshare(CLONE_NEWNS|0x1000) = -1 EINVAL (Invalid argument)"),
        ("setns", [n(99), n(CLONE_NEWPID)], -EBADF, "setns(99, CLONE_NEWPID) = -1 EBADF (Bad file descriptor)"),
        ("set_tid_address", [n(0x7fff)], 26558, "set_tid_address(0x7fff) = 26558"),
        ("set_robust_list", [n(0x7fff), n(24)], 0, "set_robust_list(0x7fff, 24) = 0"),
        ("rseq", [n(0x7fff), n(32), n(0), n(0x5305_3053)], 0, "rseq(0x7fff, 0x20, 0, 0x53053053) = 0"),
        ("pidfd_open", [n(1), n(0)], 21, "pidfd_open(1, 0) = 21"),
    ]

    waiting: [
        ("wait4", [n(26456), fields(&[&0x300_i32]), n(0), n(0)], 26456, "wait4(26456, [{WIFEXITED(s) && WEXITSTATUS(s) == 3}], 0, NULL) = 26456"),
        ("wait4", [n(-1), n(0x7ffd), n(WNOHANG | WUNTRACED), n(0)], -ECHILD, "wait4(-1, 0x7ffd, WNOHANG|WSTOPPED, NULL) = -1 ECHILD (No child processes)"),
        ("wait4", [n(-1), fields(&[&0_i32]), n(WNOHANG), n(0)], 0, "wait4(-1, 0x7100, WNOHANG, NULL) = 0"),
        ("wait4", [n(-1), fields(&[&9_i32]), n(__WALL), fields(&[&0_u64, &120_u64, &0_u64, &0_u64])], 5, "wait4(-1, [{WIFSIGNALED(s) && WTERMSIG(s) == SIGKILL}], \
            __WALL, {ru_utime={tv_sec=0, tv_usec=120}, ru_stime={tv_sec=0, tv_usec=0}, ...}) = 5"),
        ("wait4", [n(5), fields(&[&0x86_i32]), n(0), n(0)], 5, "wait4(5, [{WIFSIGNALED(s) && WTERMSIG(s) == SIGABRT && WCOREDUMP(s)}], 0, NULL) = 5"),
        ("wait4", [n(5), fields(&[&0x137f_i32]), n(WUNTRACED), n(0)], 5, "wait4(5, [{WIFSTOPPED(s) && WSTOPSIG(s) == SIGSTOP}], WSTOPPED, NULL) = 5"),
        ("wait4", [n(5), fields(&[&0xffff_i32]), n(WCONTINUED), n(0)], 5, "wait4(5, [{WIFCONTINUED(s)}], WCONTINUED, NULL) = 5"),
        ("wait4", [n(5), n(0x7ffd), n(0), n(0)], -512, "wait4(5, 0x7ffd, 0, NULL) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)"),
        ("waitid", [n(i64::from(P_PID)), n(5), n(0x7ffd), n(WEXITED | WNOWAIT), n(0)], 0, "waitid(P_PID, 5, 0x7ffd, WEXITED|WNOWAIT, NULL) = 0"),
    ]

    signals: [
        ("kill", [n(-1_234_567), n(SIGTERM)], -ESRCH, "kill(-1234567, SIGTERM) = -1 ESRCH (No such process)"),
        ("kill", [n(5), n(0)], 0, "kill(5, 0) = 0"),
        ("kill", [n(5), n(99)], -EINVAL, "kill(5, 99) = -1 EINVAL (Invalid argument)"),
        ("tgkill", [n(1), n(2), n(SIGUSR1)], -ESRCH, "tgkill(1, 2, SIGUSR1) = -1 ESRCH (No such process)"),
        ("tkill", [n(9), n(34)], -ESRCH, "tkill(9, SIGRT_2) = -1 ESRCH (No such process)"),
        ("rt_sigaction", [n(SIGCHLD), action(1, RESTORER | SA_RESTART as u64, 0x10, 0x10000), action(0, 0, 0, 0), n(8)], 0,
            "rt_sigaction(SIGCHLD, {sa_handler=SIG_IGN, sa_mask=[CHLD], sa_flags=SA_RESTORER|SA_RESTART, sa_restorer=0x10}, \
            {sa_handler=SIG_DFL, sa_mask=[], sa_flags=0}, 8) = 0"),
        ("rt_sigaction", [n(SIGUSR1), n(0), action(0x1234, RESTORER | (SA_RESTART | SA_NODEFER | SA_SIGINFO) as u64, 0x10, 0), n(8)], 0,
            "rt_sigaction(SIGUSR1, NULL, {sa_handler=0x1234, sa_mask=[], sa_flags=SA_RESTORER|SA_RESTART|SA_NODEFER|SA_SIGINFO, sa_restorer=0x10}, 8) = 0"),
        ("rt_sigprocmask", [n(SIG_BLOCK), set(0x10000), set(0), n(8)], 0, "rt_sigprocmask(SIG_BLOCK, [CHLD], [], 8) = 0"),
        ("rt_sigprocmask", [n(SIG_SETMASK), set(u64::MAX), set(0x10000), n(8)], 0, "rt_sigprocmask(SIG_SETMASK, ~[], [CHLD], 8) = 0"),
        ("rt_sigprocmask", [n(SIG_SETMASK), set(0), set(0xffff_ffff_fffb_feff), n(8)], 0, "rt_sigprocmask(SIG_SETMASK, [], ~[KILL STOP], 8) = 0"),
        ("rt_sigprocmask", [n(SIG_UNBLOCK), set(0x3_0000_0003), n(0), n(8)], 0, "rt_sigprocmask(SIG_UNBLOCK, [HUP INT RT_1 RT_2], NULL, 8) = 0"),
        ("rt_sigprocmask", [n(77), set(0), n(0), n(8)], -EINVAL, "rt_sigprocmask(0x4d /* SIG_??? */, [], NULL, 8) = -1 EINVAL (Invalid argument)"),
        ("sigaltstack", [n(0), fields(&[&0_u64, &2_u32, &0_u32, &0_u64])], 0, "sigaltstack(NULL, {ss_sp=NULL, ss_flags=SS_DISABLE, ss_size=0}) = 0"),
    ]

    prctls: [
        ("prctl", [n(PR_SET_NAME), S(b"foo")], 0, r#"prctl(PR_SET_NAME, "foo") = 0"#),
        ("prctl", [n(PR_GET_NAME), S(b"foo")], 0, r#"prctl(PR_GET_NAME, "foo") = 0"#),
        ("prctl", [n(PR_SET_PDEATHSIG), n(SIGKILL)], 0, "prctl(PR_SET_PDEATHSIG, SIGKILL) = 0"),
        ("prctl", [n(PR_SET_NO_NEW_PRIVS), n(1), n(0), n(0), n(0)], 0, "prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) = 0"),
        ("prctl", [n(PR_CAPBSET_READ), n(21)], 1, "prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN) = 1"),
        ("prctl", [n(PR_CAPBSET_DROP), n(99)], -EINVAL, "prctl(PR_CAPBSET_DROP, 0x63 /* CAP_??? */) = -1 EINVAL (Invalid argument)"),
        ("prctl", [n(PR_SET_DUMPABLE), n(1)], 0, "prctl(PR_SET_DUMPABLE, SUID_DUMP_USER) = 0"),
        ("prctl", [n(PR_GET_DUMPABLE)], 1, "prctl(PR_GET_DUMPABLE) = 1 (SUID_DUMP_USER)"),
        ("prctl", [n(PR_SET_SECCOMP), n(2), n(0x10)], -EFAULT, "prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, 0x10) = -1 EFAULT (Bad address)"),
        ("prctl", [n(PR_CAP_AMBIENT), n(PR_CAP_AMBIENT_RAISE), n(0), n(0), n(0)], -EPERM,
            "prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0) = -1 EPERM (Operation not permitted)"),
        ("prctl", [n(PR_CAP_AMBIENT), n(PR_CAP_AMBIENT_CLEAR_ALL), n(0), n(0), n(0)], 0, "prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) = 0"),
        ("prctl", [n(0x777), n(1), n(2), n(3), n(4)], -EINVAL, "prctl(0x777 /* PR_??? */, 0x1, 0x2, 0x3, 0x4) = -1 EINVAL (Invalid argument)"),
        ("prctl", [n(PR_GET_SECUREBITS)], 1, "prctl(PR_GET_SECUREBITS) = 0x1 (SECBIT_NOROOT)"),
        ("prctl", [n(PR_GET_PDEATHSIG), fields(&[&9_i32])], 0, "prctl(PR_GET_PDEATHSIG, [SIGKILL]) = 0"),
        ("arch_prctl", [n(0x1003), fields(&[&0x7f3d_ef88_u64])], 0, "arch_prctl(ARCH_GET_FS, [0x7f3def88]) = 0"),
        ("arch_prctl", [n(0x1011), n(5)], 1, "arch_prctl(ARCH_GET_CPUID) = 1"),
        ("arch_prctl", [n(0x1021), fields(&[&0xe7_u64])], 0,
            "arch_prctl(ARCH_GET_XCOMP_SUPP, [0xe7 /* XFEATURE_MASK_FPSSE|XFEATURE_MASK_YMM|XFEATURE_MASK_AVX512 */]) = 0"),
        ("prctl", [n(PR_SET_SECCOMP), n(77), n(0), n(0), n(0)], -EINVAL, "prctl(PR_SET_SECCOMP, 0x4d /* SECCOMP_MODE_??? */, 0, 0, 0) = -1 EINVAL (Invalid argument)"),
        ("arch_prctl", [n(0x3001), n(5)], -EINVAL, "arch_prctl(0x3001 /* ARCH_??? */, 0x5) = -1 EINVAL (Invalid argument)"),
        ("arch_prctl", [n(0x1002), n(0x10)], 0, "arch_prctl(ARCH_SET_FS, 0x10) = 0"),
        ("seccomp", [n(1), n(2), n(0)], -EFAULT, "seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_LOG, NULL) = -1 EFAULT (Bad address)"),
        ("seccomp", [n(2), n(0), fields(&[&1_u32])], -EOPNOTSUPP, "seccomp(SECCOMP_GET_ACTION_AVAIL, 0, [0x1 /* SECCOMP_RET_??? */]) = -1 EOPNOTSUPP (Operation not supported)"),
    ]

    limits: [
        ("prlimit64", [n(0), n(RLIMIT_NOFILE as i64), n(0), fields(&[&20000_u64, &20000_u64])], 0, "prlimit64(0, RLIMIT_NOFILE, NULL, {rlim_cur=20000, rlim_max=20000}) = 0"),
        ("prlimit64", [n(0), n(RLIMIT_STACK as i64), fields(&[&8_388_608_u64, &u64::MAX]), n(0)], 0,
            "prlimit64(0, RLIMIT_STACK, {rlim_cur=8192*1024, rlim_max=RLIM64_INFINITY}, NULL) = 0"),
        ("getrlimit", [n(RLIMIT_CORE as i64), fields(&[&0_u64, &u64::MAX])], 0, "getrlimit(RLIMIT_CORE, {rlim_cur=0, rlim_max=RLIM64_INFINITY}) = 0"),
        ("sched_setscheduler", [n(0), n(SCHED_FIFO), fields(&[&0_i32])], -EINVAL, "sched_setscheduler(0, SCHED_FIFO, [0]) = -1 EINVAL (Invalid argument)"),
        ("sched_setscheduler", [n(0), n(SCHED_RR | SCHED_RESET_ON_FORK), fields(&[&50_i32])], -EPERM,
            "sched_setscheduler(0, SCHED_RR|SCHED_RESET_ON_FORK, [50]) = -1 EPERM (Operation not permitted)"),
        ("sched_getscheduler", [n(0)], 0, "sched_getscheduler(0) = 0 (SCHED_OTHER)"),
        ("sched_getparam", [n(0), fields(&[&0_i32])], 0, "sched_getparam(0, [0]) = 0"),
        ("sched_get_priority_max", [n(SCHED_FIFO)], 99, "sched_get_priority_max(SCHED_FIFO) = 99"),
        ("sched_getaffinity", [n(0), n(128), fields(&[&3_u64, &[0; 24]])], 32, "sched_getaffinity(0, 128, [0 1]) = 32"),
        ("sched_setaffinity", [n(0), n(8), fields(&[&3_u64])], 0, "sched_setaffinity(0, 8, [0 1]) = 0"),
        ("sched_yield", [], 0, "sched_yield() = 0"),
        ("sched_getattr", [n(0), fields(&[&48_u32, &0_u32, &0_u64, &0_i32, &0_u32, &1_400_000_u64, &0_u64, &0_u64]), n(48), n(1)], 0,
            "sched_getattr(0, {size=48, sched_policy=SCHED_OTHER, sched_flags=0, sched_nice=0, sched_priority=0, sched_runtime=1400000, \
            sched_deadline=0, sched_period=0}, 48, 1) = 0"),
        ("getpriority", [n(PRIO_PROCESS as i64), n(0)], 20, "getpriority(PRIO_PROCESS, 0) = 20"),
        ("getcpu", [fields(&[&0_i32]), fields(&[&0_i32]), n(0)], 0, "getcpu([0], [0], NULL) = 0"),
    ]

    identity: [
        ("getpid", [], 26558, "getpid() = 26558"),
        ("getuid", [], 0, "getuid() = 0"),
        ("getresuid", [fields(&[&0_i32]), fields(&[&0_i32]), fields(&[&0_i32])], 0, "getresuid([0], [0], [0]) = 0"),
        ("setresuid", [n(-1), n(0), n(-1)], 0, "setresuid(-1, 0, -1) = 0"),
        ("setuid", [n(0)], 0, "setuid(0) = 0"),
        ("setpgid", [n(0), n(0)], 0, "setpgid(0, 0) = 0"),
        ("setsid", [], -EPERM, "setsid() = -1 EPERM (Operation not permitted)"),
        ("capget", [fields(&[&0x2008_0522_u32, &0_i32]), n(0)], 0, "capget({version=_LINUX_CAPABILITY_VERSION_3, pid=0}, NULL) = 0"),
        ("capset", [fields(&[&0x2008_0522_u32, &77_i32]), fields(&[&0x20_0001_u32, &3_u32, &0_u32, &1_u32, &0_u32, &0_u32])], -EPERM,
            "capset({version=_LINUX_CAPABILITY_VERSION_3, pid=77}, {effective=1<<CAP_CHOWN|1<<CAP_SYS_ADMIN|1<<CAP_MAC_OVERRIDE, \
            permitted=1<<CAP_CHOWN|1<<CAP_DAC_OVERRIDE, inheritable=0}) = -1 EPERM (Operation not permitted)"),
        ("uname", [A::B([b"Linux".to_vec(), vec![0; 60], b"vm".to_vec(), vec![0; 323]].concat())], 0, r#"uname({sysname="Linux", nodename="vm", ...}) = 0"#),
        ("sysinfo", [fields(&[&2072_i64, &99392_u64, &109_184_u64, &64416_u64, &25_u64, &20_u64, &9_u64, &23_u64, &0_u64, &0_u64, &112_u16, &[0; 6], &0_u64, &0_u64, &1_u32, &0_u32])], 0,
            "sysinfo({uptime=2072, loads=[99392, 109184, 64416], totalram=25, freeram=20, sharedram=9, bufferram=23, totalswap=0, freeswap=0, \
            procs=112, totalhigh=0, freehigh=0, mem_unit=1}) = 0"),
        ("personality", [n(0xffff_ffff_i64)], 0, "personality(0xffffffff) = 0 (PER_LINUX)"),
        ("sethostname", [Bad, n(3)], -EFAULT, "sethostname(0x7000, 3) = -1 EFAULT (Bad address)"),
        ("semget", [n(0), n(1), n(0o1600)], 0, "semget(IPC_PRIVATE, 1, IPC_CREAT|0600) = 0"),
        ("shmget", [n(5), n(100), n(0o1600)], 0, "shmget(0x5, 100, IPC_CREAT|0600) = 0"),
        ("ptrace", [n(16), n(1), n(0), n(0)], -EPERM, "ptrace(PTRACE_ATTACH, 1) = -1 EPERM (Operation not permitted)"),
        ("keyctl", [n(0), n(-3), n(0), n(0), n(0)], 5, "keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0) = 5"),
        ("add_key", [S(b"user"), S(b"x"), S(b"abc"), n(3), n(-1)], 5, r#"add_key("user", "x", "abc", 3, KEY_SPEC_THREAD_KEYRING) = 5"#),
    ]

    time: [
        ("futex", [n(0x7fff), n(FUTEX_WAIT | FUTEX_PRIVATE_FLAG), n(0), pair(0, 1000)], -ETIMEDOUT,
            "futex(0x7fff, FUTEX_WAIT_PRIVATE, 0, {tv_sec=0, tv_nsec=1000}) = -1 ETIMEDOUT (Connection timed out)"),
        ("futex", [n(0x7fff), n(FUTEX_WAKE | FUTEX_PRIVATE_FLAG), n(1)], 0, "futex(0x7fff, FUTEX_WAKE_PRIVATE, 1) = 0"),
        ("futex", [n(0x7fff), n(FUTEX_WAIT), n(1), n(0)], -EAGAIN, "futex(0x7fff, FUTEX_WAIT, 1, NULL) = -1 EAGAIN (Resource temporarily unavailable)"),
        ("futex", [n(0x7fff), n(FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME), n(0), pair(0, 1000), n(0), n(-1)], -ETIMEDOUT,
            "futex(0x7fff, FUTEX_WAIT_BITSET_PRIVATE|FUTEX_CLOCK_REALTIME, 0, {tv_sec=0, tv_nsec=1000}, FUTEX_BITSET_MATCH_ANY) = -1 ETIMEDOUT (Connection timed out)"),
        ("futex", [n(0x7fff), n(FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG), n(1), n(2), n(0x7ff0), n(0)], 0, "futex(0x7fff, FUTEX_CMP_REQUEUE_PRIVATE, 1, 2, 0x7ff0, 0) = 0"),
        ("futex", [n(0x7fff), n(FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG), n(1), n(0), n(0), n(5)], 0, "futex(0x7fff, FUTEX_WAKE_BITSET_PRIVATE, 1, 0x5) = 0"),
        ("futex", [n(0x7fff), n(FUTEX_LOCK_PI | FUTEX_PRIVATE_FLAG), n(0), n(0)], 0, "futex(0x7fff, FUTEX_LOCK_PI_PRIVATE, NULL) = 0"),
        ("futex", [n(0x7fff), n(FUTEX_UNLOCK_PI | FUTEX_PRIVATE_FLAG)], 0, "futex(0x7fff, FUTEX_UNLOCK_PI_PRIVATE) = 0"),
        ("futex", [n(0x7fff), n(77), n(1), n(2), n(0x7ff0), n(3)], -ENOSYS, "futex(0x7fff, 0x4d /* FUTEX_??? */, 1, 0x2, 0x7ff0, 0x3) = -1 ENOSYS (Function not implemented)"),
        ("clock_gettime", [n(CLOCK_MONOTONIC), pair(2071, 717_500_689)], 0, "clock_gettime(CLOCK_MONOTONIC, {tv_sec=2071, tv_nsec=717500689}) = 0"),
        ("clock_gettime", [n(99), n(0x7fff)], -EINVAL, "clock_gettime(0x63 /* CLOCK_??? */, 0x7fff) = -1 EINVAL (Invalid argument)"),
        ("clock_nanosleep", [n(CLOCK_MONOTONIC), n(TIMER_ABSTIME), pair(0, 1000), n(0)], 0, "clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, {tv_sec=0, tv_nsec=1000}, NULL) = 0"),
        ("clock_nanosleep", [n(CLOCK_REALTIME), n(0), pair(1, 0), pair(0, 999_623_518)], -516,
            "clock_nanosleep(CLOCK_REALTIME, 0, {tv_sec=1, tv_nsec=0}, {tv_sec=0, tv_nsec=999623518}) = ? ERESTART_RESTARTBLOCK (Interrupted by signal)"),
        ("nanosleep", [pair(0, 1000), pair(0, 0)], 0, "nanosleep({tv_sec=0, tv_nsec=1000}, 0x7100) = 0"),
        ("gettimeofday", [pair(1_795_379_770, 979_696), n(0)], 0, "gettimeofday({tv_sec=1795379770, tv_usec=979696}, NULL) = 0"),
        ("setitimer", [n(0), fields(&[&0_i64, &0_i64, &0_i64, &0_i64]), n(0)], 0,
            "setitimer(ITIMER_REAL, {it_interval={tv_sec=0, tv_usec=0}, it_value={tv_sec=0, tv_usec=0}}, NULL) = 0"),
        ("timerfd_create", [n(CLOCK_MONOTONIC), n(TFD_CLOEXEC | TFD_NONBLOCK)], 25, "timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC|TFD_NONBLOCK) = 25"),
        ("timerfd_settime", [n(25), n(TFD_TIMER_ABSTIME), fields(&[&1_i64, &2_i64, &3_i64, &4_i64]), n(0)], 0,
            "timerfd_settime(25, TFD_TIMER_ABSTIME, {it_interval={tv_sec=1, tv_nsec=2}, it_value={tv_sec=3, tv_nsec=4}}, NULL) = 0"),
        ("alarm", [n(0)], 0, "alarm(0) = 0"),
    ]
}
