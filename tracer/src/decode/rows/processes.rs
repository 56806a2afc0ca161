//! Rows of calls on processes, limits, privileges, signals and time.

use super::*;

/// An argument of keyctl(2): copied if it may point to something.
const fn key_argument(
    print: fn(&mut Out<'_>, &Call<'_>, show::Captured<'_>) -> Option<()>,
    number: fn(&mut Out<'_>, &Call<'_>, u64),
) -> Show {
    Show::bytes(Max::String, print).or(number)
}

pub(super) static ROWS: &[Row] = &[
    // Processes.
    row(
        "clone",
        &[
            ("clone_flags", Value(process::clone_flags)),
            ("newsp", Value(process::clone_stack)),
            (
                "parent_tidptr",
                When(
                    |call| process::clones(call, libc::CLONE_PARENT_SETTID | libc::CLONE_PIDFD),
                    &Show::output(4, process::clone_parent_tid).or(process::clone_parent_address),
                ),
            ),
            (
                "tls",
                When(
                    |call| process::clones(call, libc::CLONE_SETTLS),
                    &Value(process::clone_tls),
                ),
            ),
            (
                "child_tidptr",
                When(
                    |call| process::clones(call, libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID),
                    &Value(process::clone_child_tid),
                ),
            ),
        ],
    )
    .order(&["newsp", "clone_flags", "parent_tidptr", "tls", "child_tidptr"]),
    row(
        "clone3",
        &[("uargs", Show::sized("size", 88, process::clone_args))],
    ),
    row("execveat", &[("fd", DIRFD)]),
    row("execve", &[("argv", ARGV), ("envp", envp(process::envp::<2>))]),
    row(
        "wait4 waitpid",
        &[
            ("upid", INT),
            (
                "stat_addr",
                Show::output(4, process::wait_status).or(values::pointer),
            ),
            ("options", Flags(&names::WAIT)),
            (
                "ru",
                Show::output(32, process::rusage).wide().full(18, whole::rusage),
            ),
        ],
    ),
    row(
        "waitid",
        &[
            ("which", Enum(&names::WAITID)),
            ("upid", INT),
            ("infop", Show::output(48, signal::info).wide()),
            ("options", Flags(&names::WAIT)),
            (
                "ru",
                Show::output(32, process::rusage).wide().full(18, whole::rusage),
            ),
        ],
    ),
    row("exit exit_group", &[("error_code", INT)]),
    row("unshare", &[("unshare_flags", Flags(&names::UNSHARE))]),
    row("setns", &[("flags", Flags(&names::UNSHARE))]),
    row("pidfd_open", &[("flags", Flags(&names::PIDFD))]),
    row(
        "prctl",
        &[
            ("option", Enum(&names::PRCTL)),
            (
                "arg2",
                When(
                    prctl::has::<1>,
                    &Show::string(16, prctl::memory).or(prctl::second),
                ),
            ),
            (
                "arg3",
                When(
                    prctl::has::<2>,
                    &Show::input(16, prctl::third_memory).wide().or(prctl::third),
                ),
            ),
            ("arg4", When(prctl::has::<3>, &Value(prctl::fourth))),
            (
                "arg5",
                When(
                    prctl::has::<4>,
                    &Show::memory(copy::STR, Max::String, false, false, prctl::fifth_memory).or(prctl::rest),
                ),
            ),
        ],
    )
    .ret(Ret::HexWhen(prctl::in_hex))
    .note(prctl::note),
    row(
        "arch_prctl",
        &[
            ("option", Enum(&names::ARCH_PRCTL)),
            (
                "arg2",
                When(
                    process::arch_prctl_has_argument,
                    &Show::output(8, process::arch_prctl).or(values::hex),
                ),
            ),
        ],
    ),
    row(
        "ptrace",
        &[
            ("request", Enum(&names::PTRACE)),
            ("pid", When(service::ptrace_has_pid, &INT)),
            (
                "addr",
                When(service::ptrace_has_address, &Value(service::ptrace_address)),
            ),
            (
                "data",
                When(
                    service::ptrace_has_data,
                    &Show::input(16, service::ptrace_memory)
                        .wide()
                        .or(service::ptrace_data),
                ),
            ),
        ],
    ),
    row(
        "seccomp",
        &[
            ("op", Enum(&names::SECCOMP)),
            ("flags", Value(process::seccomp_flags)),
            (
                "uargs",
                Show::input(16, service::seccomp).wide().or(values::pointer),
            ),
        ],
    ),
    row("personality", &[("personality", Value(values::personality))])
        .ret(Ret::Hex)
        .note(|out, call| {
            values::personality(out, call, call.ret.unsigned_abs());
            Some(())
        }),
    row("set_tid_address", &[("tidptr", POINTER)]),
    row(
        "rseq",
        &[("rseq", HEX), ("rseq_len", HEX), ("flags", HEX), ("sig", HEX)],
    ),
    row("sysinfo", &[("info", Show::output(112, process::sysinfo).wide())]),
    row(
        "uname",
        &[(
            "name",
            Show::output(390, process::utsname).full(0, whole::utsname),
        )],
    ),
    row(
        "sethostname setdomainname",
        &[(
            "name",
            Show::memory(copy::LEN_ARG, Max::String, false, false, process::host_name).of("len"),
        )],
    ),
    row(
        "getrandom",
        &[
            (
                "ubuf",
                Show::Memory(Memory {
                    kind: copy::LEN_RET,
                    max: Max::String,
                    len: "",
                    scale: 0,
                    output: true,
                    moment: Moment::After,
                    filled: false,
                    data: false,
                    full: None,
                    skip: 0,
                    wide: false,
                    print: crate::decode::show::hex_buffer,
                    number: None,
                }),
            ),
            ("flags", Flags(&names::GETRANDOM)),
        ],
    ),
    row("getcpu", &[("cpup", INT_OUT), ("nodep", INT_OUT)]),
    row(
        "add_key",
        &[
            ("_type", TEXT),
            ("_description", TEXT),
            ("_payload", Show::buffer("plen")),
            ("ringid", Value(values::keyring)),
        ],
    ),
    row(
        "request_key",
        &[
            ("_type", TEXT),
            ("_description", TEXT),
            ("_callout_info", TEXT),
            ("destringid", Value(values::keyring)),
        ],
    ),
    row(
        "keyctl",
        &[
            ("option", Enum(&names::KEYCTL)),
            (
                "arg2",
                When(
                    keys::has::<1>,
                    &key_argument(keys::memory::<1>, keys::number::<1>),
                ),
            ),
            (
                "arg3",
                When(
                    keys::has::<2>,
                    &key_argument(keys::memory::<2>, keys::number::<2>),
                ),
            ),
            (
                "arg4",
                When(
                    keys::has::<3>,
                    &key_argument(keys::memory::<3>, keys::number::<3>),
                ),
            ),
            ("arg5", When(keys::has::<4>, &Value(keys::number::<4>))),
        ],
    ),
    // Limits, scheduling, privileges.
    row(
        "prlimit64",
        &[
            ("resource", Enum(&names::RLIMIT)),
            ("new_rlim", RLIMIT.over("old_rlim")),
            ("old_rlim", RLIMIT_OUT),
        ],
    ),
    row(
        "getrlimit",
        &[("resource", Enum(&names::RLIMIT)), ("rlim", RLIMIT_OUT)],
    ),
    row(
        "setrlimit",
        &[("resource", Enum(&names::RLIMIT)), ("rlim", RLIMIT)],
    ),
    row(
        "getrusage",
        &[
            ("who", Enum(&names::RUSAGE)),
            (
                "ru",
                Show::output(32, process::rusage).wide().full(18, whole::rusage),
            ),
        ],
    ),
    row("getpriority setpriority", &[("which", Enum(&names::PRIORITY))]),
    row(
        "sched_setscheduler",
        &[
            ("policy", Value(values::scheduler)),
            ("param", Show::input(4, fs::int)),
        ],
    ),
    row("sched_getscheduler", &[]).note(process::scheduler_note),
    row("sched_setparam", &[("param", Show::input(4, fs::int))]),
    row("sched_getparam", &[("param", INT_OUT)]),
    row(
        "sched_get_priority_max sched_get_priority_min",
        &[("policy", Enum(&names::SCHED))],
    ),
    row(
        "sched_getaffinity",
        &[(
            "user_mask_ptr",
            Show::Memory(Memory {
                kind: copy::LEN_RET,
                max: Max::Bytes(128),
                len: "",
                scale: 0,
                output: true,
                moment: Moment::After,
                filled: false,
                data: false,
                full: None,
                skip: 0,
                wide: false,
                print: process::cpus,
                number: None,
            }),
        )],
    ),
    row(
        "sched_setaffinity",
        &[("user_mask_ptr", Show::sized("len", 128, process::cpus))],
    ),
    row(
        "sched_getattr",
        &[
            ("uattr", Show::sized("usize", 56, process::sched_attr).written()),
            ("flags", UINT),
        ],
    ),
    row(
        "sched_setattr",
        &[("uattr", Show::input(56, process::sched_attr)), ("flags", UINT)],
    ),
    row("sched_rr_get_interval", &[("interval", TIMESPEC_OUT)]),
    row("setgroups", &[("grouplist", GROUPS)]),
    row(
        "getgroups",
        &[("grouplist", Show::returned(4, 33, process::groups_out))],
    ),
    row(
        "getresuid",
        &[("ruidp", ID_OUT), ("euidp", ID_OUT), ("suidp", ID_OUT)],
    ),
    row(
        "getresgid",
        &[("rgidp", ID_OUT), ("egidp", ID_OUT), ("sgidp", ID_OUT)],
    ),
    row(
        "capget",
        &[
            ("header", Show::input(8, process::cap_header).at(Moment::Before)),
            ("dataptr", Show::output(24, process::cap_data)),
        ],
    ),
    row(
        "capset",
        &[
            ("header", Show::input(8, process::cap_header)),
            ("data", Show::input(24, process::cap_data)),
        ],
    ),
    // Signals.
    row(
        "kill tgkill tkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal",
        &[("sig", SIGNAL), ("uinfo", SIGINFO), ("info", SIGINFO)],
    ),
    row(
        "rt_sigaction",
        &[
            ("sig", SIGNAL),
            ("act", Show::input(32, signal::action).wide().over("oact")),
            ("oact", Show::output(32, signal::action).wide()),
        ],
    ),
    row(
        "rt_sigprocmask",
        &[
            ("how", Enum(&names::SIG_HOW)),
            ("nset", SIGSET.over("oset")),
            ("oset", SIGSET_OUT),
        ],
    ),
    // The mask lies in the frame that the signal left on the stack: `uc.uc_sigmask` of `struct rt_sigframe`, whose
    // first word the handler's return has taken.
    row(
        "rt_sigreturn",
        &[(
            "frame",
            Show::input(8, signal::frame).wide().at(Moment::Before).beyond(37),
        )],
    ),
    row("rt_sigpending", &[("uset", SIGSET_OUT)]),
    row("rt_sigsuspend", &[("unewset", SIGSET)]),
    row(
        "rt_sigtimedwait",
        &[
            ("uthese", SIGSET),
            ("uinfo", Show::output(48, signal::info).wide()),
            ("uts", TIMESPEC),
        ],
    )
    .note(signal::note),
    row(
        "sigaltstack",
        &[
            ("uss", Show::input(24, signal::stack).wide().over("uoss")),
            ("uoss", Show::output(24, signal::stack).wide()),
        ],
    ),
    // Time.
    row(
        "futex",
        &[
            ("op", Value(values::futex_op)),
            ("val", When(|call| time::futex(call).value, &UINT)),
            (
                "utime",
                When(
                    |call| time::futex(call).timeout || time::futex(call).value2,
                    &Show::input(16, time::futex_timeout).wide().or(time::futex_value2),
                ),
            ),
            ("uaddr2", When(|call| time::futex(call).address2, &POINTER)),
            (
                "val3",
                When(|call| time::futex(call).value3, &Value(time::futex_value3)),
            ),
        ],
    ),
    row(
        "futex_waitv",
        &[
            ("waiters", Show::array("nr_futexes", 24, 32, uring::futex_waiters)),
            ("timeout", TIMESPEC),
            ("clockid", Enum(&names::CLOCK)),
        ],
    ),
    row(
        "clock_gettime clock_getres",
        &[("which_clock", Enum(&names::CLOCK)), ("tp", TIMESPEC_OUT)],
    ),
    row(
        "clock_settime",
        &[("which_clock", Enum(&names::CLOCK)), ("tp", TIMESPEC)],
    ),
    row(
        "clock_nanosleep",
        &[
            ("which_clock", Enum(&names::CLOCK)),
            ("flags", Flags(&names::TIMER)),
            ("rqtp", TIMESPEC.over("rmtp")),
            (
                "rmtp",
                Show::input(16, time::remaining).wide().or(values::pointer),
            ),
        ],
    ),
    row(
        "nanosleep",
        &[
            ("rqtp", TIMESPEC.over("rmtp")),
            (
                "rmtp",
                Show::input(16, time::remaining).wide().or(values::pointer),
            ),
        ],
    ),
    row(
        "clock_adjtime adjtimex",
        &[
            ("which_clock", Enum(&names::CLOCK)),
            ("utx", Show::output(168, time::clock_state).wide()),
            ("txc_p", Show::output(168, time::clock_state).wide()),
        ],
    )
    .note(time::clock_note),
    row("time", &[("tloc", Show::output(8, time::stored).wide())]).note(time::date_note),
    row("times", &[("tbuf", Show::output(32, process::times).wide())]),
    row(
        "timer_create",
        &[
            ("which_clock", Enum(&names::CLOCK)),
            ("timer_event_spec", SIGEVENT),
            ("created_timer_id", INT_OUT),
        ],
    ),
    row(
        "gettimeofday",
        &[
            ("tv", Show::output(16, time::timeval).wide()),
            ("tz", Show::output(8, time::zone)),
        ],
    ),
    row(
        "settimeofday",
        &[
            ("tv", Show::input(16, time::timeval).wide()),
            ("tz", Show::input(8, time::zone)),
        ],
    ),
    row(
        "getitimer",
        &[
            ("which", Enum(&names::ITIMER)),
            ("value", Show::output(32, time::itimerval).wide()),
        ],
    ),
    row(
        "setitimer",
        &[
            ("which", Enum(&names::ITIMER)),
            ("value", Show::input(32, time::itimerval).wide().over("ovalue")),
            ("ovalue", Show::output(32, time::itimerval).wide()),
        ],
    ),
    row(
        "timer_settime",
        &[
            ("flags", Flags(&names::TIMER)),
            (
                "new_setting",
                Show::input(32, time::itimerspec).wide().over("old_setting"),
            ),
            ("old_setting", Show::output(32, time::itimerspec).wide()),
        ],
    ),
    row(
        "timer_gettime",
        &[("setting", Show::output(32, time::itimerspec).wide())],
    ),
    row(
        "timerfd_create",
        &[
            ("clockid", Enum(&names::CLOCK)),
            ("flags", Flags(&names::TIMERFD)),
        ],
    ),
    row(
        "timerfd_settime",
        &[
            ("flags", Flags(&names::TIMERFD_SET)),
            ("utmr", Show::input(32, time::itimerspec).wide().over("otmr")),
            ("otmr", Show::output(32, time::itimerspec).wide()),
        ],
    ),
    row(
        "timerfd_gettime",
        &[("otmr", Show::output(32, time::itimerspec).wide())],
    ),
];
