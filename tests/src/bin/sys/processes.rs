//! Calls on processes, signals, time, scheduling and privileges.

use super::{BAD, NULL};
use std::ptr;

extern "C" fn handler(_: i32) {}

pub(crate) fn signals() {
    // SAFETY: a handler that does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGUSR1, &raw const action, ptr::null_mut());
        libc::sigaction(libc::SIGRTMIN() + 3, &raw const action, ptr::null_mut());
    }
    let (own, set) = (call!(SYS_getpid), 1_u64 << 9 | 1 << 16 | 1 << 36);
    let mut old = 0_u64;
    let mut buffer = [0_u64; 16];
    call!(SYS_kill, own, libc::SIGUSR1);
    call!(SYS_tkill, own, libc::SIGUSR1);
    call!(SYS_tgkill, own, own, libc::SIGUSR1);
    call!(SYS_kill, own, 0);
    call!(SYS_kill, -999_999, libc::SIGKILL);
    call!(
        SYS_rt_sigprocmask,
        libc::SIG_BLOCK,
        &raw const set,
        &raw mut old,
        8
    );
    call!(SYS_rt_sigprocmask, 77, &raw const set, &raw mut old, 8);
    call!(SYS_kill, own, libc::SIGUSR1);
    call!(SYS_rt_sigpending, &raw mut old, 8);
    let info = [
        10_i32, 0, -1, 0, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    call!(SYS_rt_sigqueueinfo, own, libc::SIGUSR1, info.as_ptr());
    call!(SYS_rt_tgsigqueueinfo, own, own, libc::SIGUSR1, info.as_ptr());
    let time = [0_i64, 1_000_000];
    call!(
        SYS_rt_sigtimedwait,
        &raw const set,
        buffer.as_mut_ptr(),
        time.as_ptr(),
        8
    );
    call!(SYS_rt_sigtimedwait, &raw const set, NULL, time.as_ptr(), 8);
    call!(SYS_rt_sigtimedwait, &raw const set, NULL, time.as_ptr(), 8);
    let stack = [buffer.as_ptr() as u64, 0, 8192];
    call!(SYS_sigaltstack, NULL, buffer.as_mut_ptr());
    call!(SYS_sigaltstack, stack.as_ptr(), NULL);
    let fd = call!(SYS_signalfd4, -1, &raw const set, 8, libc::SFD_NONBLOCK);
    call!(SYS_signalfd, fd, &raw const set, 8);
    call!(SYS_read, fd, buffer.as_mut_ptr(), 128);
    call!(SYS_restart_syscall);
    call!(SYS_rt_sigsuspend, BAD, 8);
    call!(
        SYS_setitimer,
        libc::ITIMER_REAL,
        [0_i64, 0, 0, 5000].as_ptr(),
        NULL
    );
    let pidfd = call!(SYS_pidfd_open, own, 0);
    call!(SYS_pidfd_send_signal, pidfd, 0, NULL, 0);
    call!(SYS_pidfd_getfd, pidfd, 1, 0);
    // SAFETY: SIGALRM comes once and ends it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        libc::sigaction(libc::SIGALRM, &raw const action, ptr::null_mut());
    }
    call!(
        SYS_setitimer,
        libc::ITIMER_REAL,
        [0_i64, 0, 0, 5000].as_ptr(),
        NULL
    );
    call!(SYS_pause);
}

pub(crate) fn timers() {
    let mut out = [0_u64; 32];
    let to = out.as_mut_ptr();
    let short = [0_i64, 1000];
    call!(SYS_nanosleep, short.as_ptr(), to);
    call!(SYS_nanosleep, [0_i64, -1].as_ptr(), NULL);
    call!(
        SYS_clock_nanosleep,
        libc::CLOCK_MONOTONIC,
        0,
        short.as_ptr(),
        NULL
    );
    call!(
        SYS_clock_nanosleep,
        libc::CLOCK_MONOTONIC,
        libc::TIMER_ABSTIME,
        short.as_ptr(),
        NULL
    );
    call!(SYS_clock_gettime, libc::CLOCK_BOOTTIME, to);
    call!(SYS_clock_getres, libc::CLOCK_REALTIME, to);
    call!(SYS_clock_settime, 99, short.as_ptr());
    call!(SYS_clock_adjtime, 99, to);
    call!(SYS_gettimeofday, to, NULL);
    call!(SYS_settimeofday, BAD, NULL);
    call!(SYS_time, to);
    call!(SYS_times, to);
    call!(SYS_adjtimex, BAD);
    call!(SYS_alarm, 100);
    call!(SYS_alarm, 0);
    call!(SYS_getitimer, libc::ITIMER_VIRTUAL, to);
    let interval = [0_i64, 7, 100, 5];
    call!(SYS_setitimer, libc::ITIMER_REAL, interval.as_ptr(), to);
    call!(SYS_setitimer, libc::ITIMER_REAL, [0_i64; 4].as_ptr(), NULL);
    let fd = call!(
        SYS_timerfd_create,
        libc::CLOCK_MONOTONIC,
        libc::TFD_CLOEXEC | libc::TFD_NONBLOCK
    );
    call!(
        SYS_timerfd_settime,
        fd,
        libc::TFD_TIMER_ABSTIME,
        interval.as_ptr(),
        to
    );
    call!(SYS_timerfd_gettime, fd, to);
    let mut event = [0_u64; 8];
    event[1] = libc::SIGUSR1 as u64 | (libc::SIGEV_NONE as u64) << 32;
    let mut timer = 0_i32;
    call!(
        SYS_timer_create,
        libc::CLOCK_MONOTONIC,
        event.as_ptr(),
        &raw mut timer
    );
    call!(SYS_timer_settime, timer, 0, interval.as_ptr(), to);
    call!(SYS_timer_gettime, timer, to);
    call!(SYS_timer_getoverrun, timer);
    call!(SYS_timer_delete, timer);
    call!(SYS_timer_delete, 99);
    let word = 5_u32;
    call!(SYS_futex, &raw const word, libc::FUTEX_WAIT, 7, short.as_ptr());
    call!(
        SYS_futex,
        &raw const word,
        libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
        5,
        short.as_ptr()
    );
    call!(SYS_futex, &raw const word, libc::FUTEX_WAKE, i32::MAX);
    call!(
        SYS_futex,
        &raw const word,
        libc::FUTEX_WAIT_BITSET | libc::FUTEX_CLOCK_REALTIME,
        5,
        short.as_ptr(),
        NULL,
        -1
    );
    call!(
        SYS_futex,
        &raw const word,
        libc::FUTEX_CMP_REQUEUE,
        1,
        2,
        &raw const word,
        5
    );
    call!(SYS_futex_waitv, NULL, 0, 0, NULL, 0);
}

pub(crate) fn processes() {
    // SAFETY: the child makes one call and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        call!(SYS_exit_group, 3);
    }
    let (mut status, mut usage, mut info) = (0_i32, [0_u64; 18], [0_u8; 128]);
    call!(
        SYS_waitid,
        libc::P_PID,
        child,
        info.as_mut_ptr(),
        libc::WEXITED | libc::WNOWAIT,
        NULL
    );
    call!(SYS_wait4, child, &raw mut status, 0, usage.as_mut_ptr());
    call!(SYS_wait4, -1, &raw mut status, libc::WNOHANG, NULL);
    call!(SYS_waitid, libc::P_ALL, 0, NULL, libc::WEXITED, NULL);
    // SAFETY: the child makes its own end.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let own = call!(SYS_getpid);
        call!(SYS_kill, own, libc::SIGKILL);
    }
    call!(SYS_kill, child, 0);
    call!(SYS_wait4, child, &raw mut status, libc::__WALL, NULL);
    call!(
        SYS_execve,
        c!("none"),
        [c!("a"), c!("b \t"), NULL].as_ptr(),
        [c!("X=1"), NULL].as_ptr()
    );
    call!(
        SYS_execveat,
        libc::AT_FDCWD,
        c!("none"),
        [c!("a"), NULL].as_ptr(),
        NULL,
        libc::AT_EMPTY_PATH
    );
    call!(SYS_execve, BAD, BAD, BAD);
    call!(SYS_clone, 0x1_u64, 0, 0, 0, 0);
    call!(SYS_clone3, NULL, 0);
    call!(
        SYS_clone3,
        [libc::CLONE_SIGHAND as u64, 0, 0, 0, 17, 0, 0, 0].as_ptr(),
        64
    );
    call!(SYS_unshare, libc::CLONE_FILES | libc::CLONE_FS);
    call!(SYS_setns, 99, libc::CLONE_NEWNET);
    for (option, value) in [
        (libc::PR_GET_DUMPABLE, 0),
        (libc::PR_SET_DUMPABLE, 1),
        (libc::PR_GET_KEEPCAPS, 0),
        (libc::PR_SET_PDEATHSIG, 9),
        (libc::PR_GET_SECCOMP, 0),
        (libc::PR_CAPBSET_READ, 5),
        (libc::PR_SET_NO_NEW_PRIVS, 1),
        (libc::PR_GET_NO_NEW_PRIVS, 0),
        (libc::PR_GET_TIMERSLACK, 0),
        (libc::PR_SET_TIMERSLACK, 60_000),
        (libc::PR_GET_SECUREBITS, 0),
        (libc::PR_SET_CHILD_SUBREAPER, 0),
        (999, 5),
    ] {
        call!(SYS_prctl, option, value, 0, 0, 0);
    }
    call!(SYS_prctl, libc::PR_SET_NAME, c!("renamed"));
    call!(SYS_prctl, libc::PR_GET_NAME, info.as_mut_ptr());
    call!(SYS_prctl, libc::PR_GET_PDEATHSIG, info.as_mut_ptr());
    call!(SYS_arch_prctl, 0x1003, info.as_mut_ptr());
    call!(SYS_personality, 0xffff_ffff_u32);
    call!(SYS_ptrace, libc::PTRACE_PEEKDATA, 0, BAD, 0);
    call!(
        SYS_seccomp,
        libc::SECCOMP_GET_ACTION_AVAIL,
        0,
        [libc::SECCOMP_RET_KILL_PROCESS].as_ptr()
    );
    call!(SYS_seccomp, 99, 0, NULL);
    call!(SYS_kcmp, 1, 1, 0, 0, 0);
    call!(SYS_getcpu, info.as_mut_ptr(), NULL, NULL);
    call!(SYS_acct, BAD);
}

pub(crate) fn scheduling() {
    let (mut out, zero) = ([0_u64; 32], [0_i32; 2]);
    let to = out.as_mut_ptr();
    call!(SYS_sched_yield);
    call!(SYS_sched_getscheduler, 0);
    call!(SYS_sched_setscheduler, 0, libc::SCHED_BATCH, zero.as_ptr());
    call!(SYS_sched_getparam, 0, to);
    call!(SYS_sched_setparam, 0, zero.as_ptr());
    call!(SYS_sched_get_priority_max, libc::SCHED_FIFO);
    call!(SYS_sched_get_priority_min, libc::SCHED_RR);
    call!(SYS_sched_rr_get_interval, 0, to);
    call!(SYS_sched_getaffinity, 0, 128, to);
    call!(SYS_sched_setaffinity, 0, 8, [1_u64].as_ptr());
    call!(SYS_sched_getattr, 0, to, 56, 0);
    let attr = [48_u64, 0, 5, 0, 0, 0];
    call!(SYS_sched_setattr, 0, attr.as_ptr(), 0);
    call!(SYS_getpriority, libc::PRIO_PROCESS, 0);
    call!(SYS_setpriority, libc::PRIO_PROCESS, 0, 3);
    call!(SYS_ioprio_get, 1, 0);
    call!(SYS_ioprio_set, 1, 0, 2 << 13 | 4);
    call!(SYS_getrlimit, libc::RLIMIT_NOFILE, to);
    call!(SYS_setrlimit, libc::RLIMIT_CORE, [0_u64, 4096].as_ptr());
    call!(SYS_prlimit64, 0, libc::RLIMIT_STACK, NULL, to);
    call!(SYS_prlimit64, 0, libc::RLIMIT_CORE, [1024_u64, 2048].as_ptr(), to);
    call!(SYS_getrusage, libc::RUSAGE_SELF, to);
    call!(SYS_sysinfo, to);
    call!(SYS_uname, [0_u8; 400].as_mut_ptr());
    call!(SYS_syslog, 10, NULL, 0);
    call!(SYS_getrandom, to, 16, libc::GRND_NONBLOCK);
}

pub(crate) fn ids() {
    let mut out = [0_u32; 16];
    let (a, b, c) = (&raw mut out[0], &raw mut out[4], &raw mut out[8]);
    call!(SYS_getuid);
    call!(SYS_getgid);
    call!(SYS_geteuid);
    call!(SYS_getegid);
    call!(SYS_getppid);
    call!(SYS_getpgrp);
    call!(SYS_getpgid, 0);
    call!(SYS_getsid, 0);
    call!(SYS_gettid);
    call!(SYS_setpgid, 0, 0);
    call!(SYS_setsid);
    call!(SYS_getresuid, a, b, c);
    call!(SYS_getresgid, a, b, c);
    call!(SYS_setresuid, 0, 0, 0);
    call!(SYS_setresgid, -1, -1, -1);
    call!(SYS_setreuid, 0, 0);
    call!(SYS_setregid, 0, -1);
    call!(SYS_setuid, 0);
    call!(SYS_setgid, 0);
    call!(SYS_setfsuid, 0);
    call!(SYS_setfsgid, 0);
    call!(SYS_setgroups, 3, [1_u32, 2, 3].as_ptr());
    call!(SYS_getgroups, 0, NULL);
    call!(SYS_getgroups, 16, a);
    let (header, mut data) = ([0x2008_0522_u32, 0], [0_u32; 6]);
    call!(SYS_capget, header.as_ptr(), data.as_mut_ptr());
    call!(SYS_capset, header.as_ptr(), data.as_ptr());
    call!(SYS_sethostname, BAD, 5);
    call!(SYS_setdomainname, c!("x"), 99);
}

pub(crate) fn keys() {
    call!(SYS_add_key, c!("user"), c!("name"), c!("secret"), 6, -2);
    call!(SYS_request_key, c!("user"), c!("none"), NULL, 0);
    call!(SYS_keyctl, 0, -3, 0, 0, 0);
    call!(SYS_keyctl, 999, 1, 2, 3, 4);
}
