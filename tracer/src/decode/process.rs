//! Printers of what calls on processes read and write: programs, clones, waiting, limits, scheduling, privileges.

use super::{
    names,
    show::{Call, Captured, Out},
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
    if address == 0 && memory.total == 0 {
        out.str("NULL");
        return Some(());
    }
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
    out.flags(flags, &names::CLONE3);
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
        out.pfield(", tls=", memory.u64(56)?);
    }
    // Kernels took these later; a caller's shorter structure lacks them.
    let threads = memory.u64(64).unwrap_or(0);
    let count = memory.u64(72).unwrap_or(0);
    if threads != 0 || count != 0 {
        out.pfield(", set_tid=", threads);
        out.ufield(", set_tid_size=", count);
    }
    let group = memory.u64(80).unwrap_or(0);
    if group != 0 || flags & names::CLONE_INTO_CGROUP != 0 {
        out.ufield(", cgroup=", group);
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
    // The structure says how long it is.
    if memory.u32(0)? >= 56 {
        out.ufield(", sched_util_min=", u64::from(memory.u32(48)?));
        out.ufield(", sched_util_max=", u64::from(memory.u32(52)?));
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

/// A domain's or host's name; what is longer than one can be is not looked at.
pub(super) fn host_name(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    if call.int(1) > 64 {
        return None;
    }
    out.limited(memory.bytes, call.limit, memory.cut);
    Some(())
}

/// `[ru_utime…]` of times(2), in hundredths of a second.
pub(super) fn times(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let labels = ["{tms_utime=", ", tms_stime=", ", tms_cutime=", ", tms_cstime="];
    for (label, at) in labels.into_iter().zip((0..).step_by(8)) {
        let ticks = memory.u64(at)?;
        out.ufield(label, ticks);
        if ticks != 0 {
            out.ufield(" /* ", ticks / 100);
            out.str(if ticks % 100 < 10 { ".0" } else { "." });
            out.ufield("", ticks % 100);
            out.str(" s */");
        }
    }
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
    if call.int(0) == 0 && call.ret != 0 {
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

/// Whether arch_prctl(2)'s option has an argument.
pub(super) fn arch_prctl_has_argument(call: &Call<'_>) -> bool {
    names::ARCH_PRCTL.get(call.int(0)) != Some("ARCH_GET_CPUID")
}

/// What arch_prctl(2) stored: an address, or the states that the processor has.
pub(super) fn arch_prctl(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let stored = memory.u64(0)?;
    match names::ARCH_PRCTL.get(call.int(0))? {
        "ARCH_GET_FS" | "ARCH_GET_GS" => {
            out.str("[");
            out.pointer(stored);
        }
        "ARCH_GET_XCOMP_SUPP" | "ARCH_GET_XCOMP_PERM" | "ARCH_GET_XCOMP_GUEST_PERM" => {
            out.hfield("[", stored);
            if stored != 0 {
                out.str(" /* ");
                out.flags(stored, &names::XFEATURE);
                out.str(" */");
            }
        }
        _ => return None,
    }
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
