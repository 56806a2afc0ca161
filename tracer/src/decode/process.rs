//! Printers of what calls on processes read and write: programs, clones, waiting, limits, scheduling, privileges.

use super::{
    names,
    show::{Call, Captured, Out, signed},
    values,
};

/// Most strings of an argument vector that strace shows.
const MOST_STRINGS: usize = 32;

/// `["/bin/ls", "/"]`.
pub(super) fn argv(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let total = usize::from(memory.total);
    // Each string ends with its NUL; what follows the last NUL is a string that was cut.
    let mut rest = memory.bytes;
    out.str("[");
    for index in 0..total {
        if index > 0 {
            out.str(", ");
        }
        if index >= MOST_STRINGS || rest.is_empty() {
            out.str("...");
            out.truncated = true;
            break;
        }
        let end = rest.iter().position(|byte| *byte == 0);
        let (string, tail) = rest.split_at(end.unwrap_or(rest.len()));
        out.limited(string, call.limit, end.is_none());
        rest = tail.get(1..).unwrap_or_default();
    }
    out.str("]");
    Some(())
}

/// `0x7ffc… /* 23 vars */`, where the environment was counted.
pub(super) fn envp<const INDEX: usize>(
    out: &mut Out<'_>,
    call: &Call<'_>,
    memory: Captured<'_>,
) -> Option<()> {
    let address = call.arg(INDEX);
    if address == 0 {
        out.str("[");
    } else {
        out.pointer(address);
        out.str(" ");
    }
    out.ufield("/* ", u64::from(memory.total));
    out.str(if memory.total == 1 { " var */" } else { " vars */" });
    if address == 0 {
        out.str("]");
    }
    Some(())
}

/// The flags of clone(2) carry the exit signal in their low byte.
pub(super) fn clone_flags(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    let signal = value & 0xff;
    let flags = value & !0xff;
    out.str("flags=");
    if flags != 0 || signal == 0 {
        out.flags(flags, &names::CLONE);
    }
    if signal != 0 {
        if flags != 0 {
            out.str("|");
        }
        values::write_signal_or_number(out, signal);
    }
}

pub(super) fn clone_stack(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    out.str("child_stack=");
    out.pointer(value);
}

pub(super) fn clone_parent_tid(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.field("parent_tid=[", i64::from(memory.i32(0)?));
    out.str("]");
    Some(())
}

pub(super) fn clone_parent_address(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    out.str("parent_tid=");
    out.pointer(value);
}

pub(super) fn clone_tls(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    out.str("tls=");
    out.pointer(value);
}

pub(super) fn clone_child_tid(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    out.str("child_tidptr=");
    out.pointer(value);
}

pub(super) fn clones(call: &Call<'_>, flags: i32) -> bool {
    call.arg(0) & u64::from(flags.cast_unsigned()) != 0
}

/// `struct clone_args`.
pub(super) fn clone_args(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let flags = memory.u64(0)?;
    let has = |flag: i32| flags & u64::from(flag.cast_unsigned()) != 0;
    out.str("{flags=");
    out.flags(flags, &names::CLONE);
    let pointers = [
        (has(libc::CLONE_PIDFD), ", pidfd=", 8),
        (
            has(libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID),
            ", child_tid=",
            16,
        ),
        (has(libc::CLONE_PARENT_SETTID), ", parent_tid=", 24),
    ];
    for (_, label, at) in pointers.into_iter().filter(|(shown, ..)| *shown) {
        out.str(label);
        out.pointer(memory.u64(at)?);
    }
    out.str(", exit_signal=");
    values::write_signal_or_number(out, memory.u64(32)?);
    out.str(", stack=");
    out.pointer(memory.u64(40)?);
    out.str(", stack_size=");
    out.hex(memory.u64(48)?);
    if has(libc::CLONE_SETTLS) {
        out.str(", tls=");
        out.pointer(memory.u64(56)?);
    }
    out.str("}");
    Some(())
}

/// The status that wait4(2) stored: nothing, when no child had changed.
pub(super) fn wait_status(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    if call.ret == 0 {
        return None;
    }
    let status = memory.i32(0)?;
    let sig = |out: &mut Out<'_>, number: i32| values::signal(out, call, u64::from(number.cast_unsigned()));
    out.str("[{");
    if libc::WIFEXITED(status) {
        out.field(
            "WIFEXITED(s) && WEXITSTATUS(s) == ",
            i64::from(libc::WEXITSTATUS(status)),
        );
    } else if libc::WIFSTOPPED(status) {
        out.str("WIFSTOPPED(s) && WSTOPSIG(s) == ");
        sig(out, libc::WSTOPSIG(status));
    } else if libc::WIFCONTINUED(status) {
        out.str("WIFCONTINUED(s)");
    } else if libc::WIFSIGNALED(status) {
        out.str("WIFSIGNALED(s) && WTERMSIG(s) == ");
        sig(out, libc::WTERMSIG(status));
        if libc::WCOREDUMP(status) {
            out.str(" && WCOREDUMP(s)");
        }
    } else {
        return None;
    }
    out.str("}]");
    Some(())
}

/// `struct rusage`, as strace abbreviates it.
pub(super) fn rusage(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.str("{ru_utime=");
    super::time::pair(out, "tv_usec", memory.i64(0)?, memory.i64(8)?);
    out.str(", ru_stime=");
    super::time::pair(out, "tv_usec", memory.i64(16)?, memory.i64(24)?);
    out.str(", ...}");
    Some(())
}

/// `struct rlimit64`.
pub(super) fn rlimit(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    for (label, at) in [("{rlim_cur=", 0), (", rlim_max=", 8)] {
        out.str(label);
        match memory.u64(at)? {
            u64::MAX => out.str("RLIM64_INFINITY"),
            value if value > 1024 && value.is_multiple_of(1024) => {
                out.unsigned(value / 1024);
                out.str("*1024");
            }
            value => out.unsigned(value),
        }
    }
    out.str("}");
    Some(())
}

/// The CPUs of an affinity mask: `[0 1]`.
pub(super) fn cpus(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    // What sched_getaffinity returns is the bytes that it wrote.
    let length = if call.ret > 0 {
        call.ret.unsigned_abs()
    } else {
        call.int(1)
    };
    let length = usize::try_from(length).ok()?;
    out.str("[");
    let mut first = true;
    for (index, byte) in memory.bytes.iter().take(length).enumerate() {
        for bit in (0..8_usize).filter(|bit| byte >> bit & 1 == 1) {
            if !first {
                out.str(" ");
            }
            first = false;
            out.unsigned(u64::try_from(index * 8 + bit).ok()?);
        }
    }
    if memory.bytes.len() < length {
        out.str(" ...");
        out.truncated = true;
    }
    out.str("]");
    Some(())
}

/// `struct sched_attr`.
pub(super) fn sched_attr(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.ufield("{size=", u64::from(memory.u32(0)?));
    out.str(", sched_policy=");
    values::scheduler(out, call, u64::from(memory.u32(4)?));
    out.str(", sched_flags=");
    out.flags(memory.u64(8)?, &names::SCHED_ATTR);
    out.field(", sched_nice=", i64::from(memory.i32(16)?));
    out.ufield(", sched_priority=", u64::from(memory.u32(20)?));
    for (label, at) in [
        (", sched_runtime=", 24),
        (", sched_deadline=", 32),
        (", sched_period=", 40),
    ] {
        out.ufield(label, memory.u64(at)?);
    }
    out.str("}");
    Some(())
}

/// `(SCHED_OTHER)` after what sched_getscheduler(2) returned.
pub(super) fn scheduler_note(out: &mut Out<'_>, call: &Call<'_>) -> Option<()> {
    values::scheduler(out, call, call.ret.unsigned_abs());
    Some(())
}

/// `struct __user_cap_header_struct`.
pub(super) fn cap_header(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.str("{version=");
    out.name(u64::from(memory.u32(0)?), &names::CAPABILITY_VERSION);
    out.field(", pid=", i64::from(memory.i32(4)?));
    out.str("}");
    Some(())
}

/// `struct __user_cap_data_struct`, two of them in all but the first version.
pub(super) fn cap_data(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    for (label, at) in [("{effective=", 0), (", permitted=", 4), (", inheritable=", 8)] {
        out.str(label);
        let set = u64::from(memory.u32(at)?) | u64::from(memory.u32(at + 12)?) << 32;
        if set == 0 {
            out.str("0");
        }
        let mut first = true;
        for number in (0..64).filter(|number| set >> number & 1 == 1) {
            out.str(if first { "1<<" } else { "|1<<" });
            first = false;
            values::capability(out, number);
        }
    }
    out.str("}");
    Some(())
}

/// `struct new_utsname`, as strace abbreviates it.
pub(super) fn utsname(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    for (label, at) in [("{sysname=", 0), (", nodename=", 65)] {
        let field = memory.bytes.get(at..at + 65)?;
        out.str(label);
        out.quoted(field.split(|byte| *byte == 0).next()?);
    }
    out.str(", ...}");
    Some(())
}

/// `struct sysinfo`.
pub(super) fn sysinfo(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.field("{uptime=", memory.i64(0)?);
    for (label, at) in [(", loads=[", 8), (", ", 16), (", ", 24)] {
        out.ufield(label, memory.u64(at)?);
    }
    let sizes = [
        "], totalram=",
        ", freeram=",
        ", sharedram=",
        ", bufferram=",
        ", totalswap=",
        ", freeswap=",
    ];
    for (label, at) in sizes.into_iter().zip((32..).step_by(8)) {
        out.ufield(label, memory.u64(at)?);
    }
    out.ufield(", procs=", u64::from(memory.u16(80)?));
    out.ufield(", totalhigh=", memory.u64(88)?);
    out.ufield(", freehigh=", memory.u64(96)?);
    out.ufield(", mem_unit=", u64::from(memory.u32(104)?));
    out.str("}");
    Some(())
}

/// Ids in memory: `[0, 1]`.
pub(super) fn id(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    super::fs::int(out, call, memory)
}

/// The groups that setgroups(2) gets.
pub(super) fn groups(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    list_of_groups(out, memory, call.int(0))
}

/// The groups that getgroups(2) gave; asked for none, it only counts them.
pub(super) fn groups_out(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    if call.int(0) == 0 {
        return None;
    }
    list_of_groups(out, memory, call.ret.unsigned_abs())
}

fn list_of_groups(out: &mut Out<'_>, memory: Captured<'_>, count: u64) -> Option<()> {
    super::fs::array(out, memory, count, 4, |out, one| {
        out.unsigned(u64::from(one.u32(0)?));
        Some(())
    })
}

/// How many arguments prctl(2) looks at, with the option.
fn prctl_args(option: i32) -> usize {
    match option {
        libc::PR_GET_DUMPABLE
        | libc::PR_GET_KEEPCAPS
        | libc::PR_GET_SECCOMP
        | libc::PR_GET_TIMERSLACK
        | libc::PR_GET_TIMING
        | libc::PR_GET_SECUREBITS
        | libc::PR_TASK_PERF_EVENTS_DISABLE
        | libc::PR_TASK_PERF_EVENTS_ENABLE => 1,
        libc::PR_SET_PDEATHSIG
        | libc::PR_GET_PDEATHSIG
        | libc::PR_SET_DUMPABLE
        | libc::PR_SET_KEEPCAPS
        | libc::PR_SET_NAME
        | libc::PR_GET_NAME
        | libc::PR_CAPBSET_READ
        | libc::PR_CAPBSET_DROP
        | libc::PR_SET_SECUREBITS
        | libc::PR_SET_TIMERSLACK
        | libc::PR_SET_CHILD_SUBREAPER
        | libc::PR_GET_CHILD_SUBREAPER
        | libc::PR_SET_PTRACER
        | libc::PR_GET_TID_ADDRESS => 2,
        libc::PR_SET_SECCOMP => 3,
        _ => 5,
    }
}

pub(super) fn prctl_has<const INDEX: usize>(call: &Call<'_>) -> bool {
    INDEX < prctl_args(signed(call.arg(0)))
}

/// prctl(2)'s second argument where it points to a string or number.
pub(super) fn prctl_memory(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let byte = u64::from(memory.u8(0).unwrap_or(0));
    match signed(call.arg(0)) {
        libc::PR_SET_NAME => out.quoted(memory.bytes.get(..15).unwrap_or(memory.bytes)),
        libc::PR_GET_NAME if call.succeeded => out.quoted(memory.bytes),
        libc::PR_GET_PDEATHSIG if call.succeeded => {
            out.str("[");
            values::signal(out, call, byte);
            out.str("]");
        }
        libc::PR_GET_CHILD_SUBREAPER if call.succeeded => {
            out.ufield("[", byte);
            out.str("]");
        }
        _ => return None,
    }
    Some(())
}

/// prctl(2)'s second argument where it is a value.
pub(super) fn prctl_second(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    match signed(call.arg(0)) {
        libc::PR_SET_PDEATHSIG => values::signal(out, call, value),
        libc::PR_CAPBSET_READ | libc::PR_CAPBSET_DROP => values::capability(out, value),
        libc::PR_SET_DUMPABLE => out.name(value, &names::DUMPABLE),
        libc::PR_SET_SECCOMP => out.name(value, &names::SECCOMP_MODE),
        libc::PR_CAP_AMBIENT => out.name(value, &names::PR_AMBIENT),
        libc::PR_SET_VMA => out.name(value, &names::PR_VMA),
        libc::PR_SET_SECUREBITS => out.flags(value, &names::SECUREBITS),
        libc::PR_SET_PTRACER if value == u64::MAX => out.str("PR_SET_PTRACER_ANY"),
        libc::PR_GET_PDEATHSIG | libc::PR_SET_NAME | libc::PR_GET_NAME => out.pointer(value),
        option if decimal(option) => out.unsigned(value),
        _ => out.hex(value),
    }
}

/// prctl(2)'s third argument.
pub(super) fn prctl_third(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    let ambient = signed(call.arg(0)) == libc::PR_CAP_AMBIENT;
    if ambient && signed(call.arg(1)) != libc::PR_CAP_AMBIENT_CLEAR_ALL {
        values::capability(out, value);
    } else {
        prctl_rest(out, call, value);
    }
}

/// prctl(2)'s other arguments.
pub(super) fn prctl_rest(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    if decimal(signed(call.arg(0))) {
        out.unsigned(value)
    } else {
        out.hex(value)
    }
}

/// prctl(2)'s options whose arguments are plain numbers.
fn decimal(option: i32) -> bool {
    matches!(
        option,
        libc::PR_SET_KEEPCAPS
            | libc::PR_SET_NO_NEW_PRIVS
            | libc::PR_GET_NO_NEW_PRIVS
            | libc::PR_SET_TIMERSLACK
            | libc::PR_SET_CHILD_SUBREAPER
            | libc::PR_SET_THP_DISABLE
            | libc::PR_GET_THP_DISABLE
            | libc::PR_SET_PTRACER
    )
}

/// `(SUID_DUMP_USER)` after what prctl(2) returned.
pub(super) fn prctl_note(out: &mut Out<'_>, call: &Call<'_>) -> Option<()> {
    let value = call.ret.unsigned_abs();
    match signed(call.arg(0)) {
        libc::PR_GET_DUMPABLE => out.name(value, &names::DUMPABLE),
        libc::PR_GET_SECUREBITS if value != 0 => out.flags(value, &names::SECUREBITS),
        _ => return None,
    }
    Some(())
}

pub(super) fn prctl_in_hex(call: &Call<'_>) -> bool {
    signed(call.arg(0)) == libc::PR_GET_SECUREBITS
}

/// The address that arch_prctl(2) stored.
pub(super) fn arch_prctl(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let name = names::ARCH_PRCTL.get(call.int(0))?;
    if !matches!(name, "ARCH_GET_FS" | "ARCH_GET_GS") {
        return None;
    }
    out.str("[");
    out.pointer(memory.u64(0)?);
    out.str("]");
    Some(())
}

/// What seccomp(2) gets: an action to ask for.
pub(super) fn seccomp(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    if call.int(0) != u64::from(libc::SECCOMP_GET_ACTION_AVAIL) {
        return None;
    }
    out.str("[");
    out.name(u64::from(memory.u32(0)?), &names::SECCOMP_RET);
    out.str("]");
    Some(())
}

pub(super) fn seccomp_flags(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    if call.int(0) == u64::from(libc::SECCOMP_SET_MODE_FILTER) {
        out.flags(value, &names::SECCOMP_FILTER);
    } else {
        out.hex(value);
    }
}
