//! Printers of prctl(2): its arguments mean something else with each option.

use super::{
    names,
    show::{Call, Captured, Out},
    values,
};

/// How many arguments the option looks at.
fn count(option: &str) -> usize {
    match option {
        "PR_GET_DUMPABLE"
        | "PR_GET_KEEPCAPS"
        | "PR_GET_SECCOMP"
        | "PR_GET_TIMERSLACK"
        | "PR_GET_TIMING"
        | "PR_GET_SECUREBITS"
        | "PR_TASK_PERF_EVENTS_DISABLE"
        | "PR_TASK_PERF_EVENTS_ENABLE"
        | "PR_GET_FP_MODE"
        | "PR_MPX_ENABLE_MANAGEMENT"
        | "PR_MPX_DISABLE_MANAGEMENT" => 1,
        "PR_SET_PDEATHSIG"
        | "PR_GET_PDEATHSIG"
        | "PR_SET_DUMPABLE"
        | "PR_SET_KEEPCAPS"
        | "PR_SET_NAME"
        | "PR_GET_NAME"
        | "PR_CAPBSET_READ"
        | "PR_CAPBSET_DROP"
        | "PR_SET_SECUREBITS"
        | "PR_SET_TIMERSLACK"
        | "PR_SET_CHILD_SUBREAPER"
        | "PR_GET_CHILD_SUBREAPER"
        | "PR_SET_PTRACER"
        | "PR_GET_TID_ADDRESS"
        | "PR_GET_UNALIGN"
        | "PR_SET_UNALIGN"
        | "PR_GET_TSC"
        | "PR_SET_TSC"
        | "PR_SET_TIMING"
        | "PR_SET_FP_MODE"
        | "PR_GET_SPECULATION_CTRL" => 2,
        "PR_SET_SPECULATION_CTRL" => 3,
        _ => 5,
    }
}

/// The option's name; empty where it has none.
fn option(call: &Call<'_>) -> &'static str {
    names::PRCTL.get(call.int(0)).unwrap_or_default()
}

/// Whether the option has that argument.
pub(super) fn has<const INDEX: usize>(call: &Call<'_>) -> bool {
    let option = option(call);
    let count = match option {
        // Strict mode needs nothing, a filter one thing; what is neither is shown whole.
        "PR_SET_SECCOMP" => match names::SECCOMP_MODE.get(call.arg(1)) {
            Some("SECCOMP_MODE_FILTER") => 3,
            Some("SECCOMP_MODE_STRICT") => 2,
            _ => 5,
        },
        _ => count(option),
    };
    INDEX < count
}

/// The second argument where it points to a string or number.
pub(super) fn memory(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let byte = u64::from(memory.u8(0).unwrap_or(0));
    match option(call) {
        "PR_SET_NAME" => out.limited(memory.bytes, 15, memory.cut),
        "PR_GET_NAME" if call.succeeded => out.quoted(memory.bytes),
        "PR_GET_PDEATHSIG" if call.succeeded => {
            out.str("[");
            values::signal(out, call, byte);
            out.str("]");
        }
        "PR_GET_CHILD_SUBREAPER" if call.succeeded => {
            out.ufield("[", byte);
            out.str("]");
        }
        "PR_GET_TSC" if call.succeeded => {
            out.name_field("[", byte, &names::PR_TSC);
            out.str("]");
        }
        // The copy ends at a zero byte: an address of user space has two at its end, and no other if this is right.
        "PR_GET_TID_ADDRESS" if call.succeeded && memory.bytes.len() == 6 => {
            let mut address = [0; 8];
            address.get_mut(..6)?.copy_from_slice(memory.bytes);
            out.hfield("[", u64::from_le_bytes(address));
            out.str("]");
        }
        _ => return None,
    }
    Some(())
}

/// The second argument where it is a value.
pub(super) fn second(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    match option(call) {
        "PR_SET_PDEATHSIG" => values::signal(out, call, value),
        "PR_CAPBSET_READ" | "PR_CAPBSET_DROP" => values::capability(out, value),
        "PR_SET_DUMPABLE" => out.name(value, &names::DUMPABLE),
        "PR_SET_SECCOMP" => out.name(value, &names::SECCOMP_MODE),
        "PR_CAP_AMBIENT" => out.name(value, &names::PR_AMBIENT),
        "PR_SET_VMA" => out.name(value, &names::PR_VMA),
        "PR_SET_SECUREBITS" => out.flags(value, &names::SECUREBITS),
        "PR_SET_PTRACER" if value == u64::MAX => out.str("PR_SET_PTRACER_ANY"),
        "PR_SET_TSC" => out.name(value, &names::PR_TSC),
        "PR_MCE_KILL" => out.name(value, &names::PR_MCE),
        "PR_SET_MM" => out.name(value, &names::PR_MM),
        "PR_GET_SPECULATION_CTRL" | "PR_SET_SPECULATION_CTRL" => out.name(value, &names::PR_SPEC),
        "PR_SCHED_CORE" => out.name(value, &names::PR_CORE),
        "PR_SET_FP_MODE" => out.flags(value, &names::PR_FP),
        "PR_GET_PDEATHSIG"
        | "PR_SET_NAME"
        | "PR_GET_NAME"
        | "PR_GET_UNALIGN"
        | "PR_GET_TSC"
        | "PR_GET_CHILD_SUBREAPER"
        | "PR_GET_TID_ADDRESS" => out.pointer(value),
        option if decimal(option) => out.unsigned(value),
        _ => out.hex(value),
    }
}

/// The third argument where it points to a filter.
pub(super) fn third_memory(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let filter = option(call) == "PR_SET_SECCOMP"
        && names::SECCOMP_MODE.get(call.arg(1)) == Some("SECCOMP_MODE_FILTER");
    if filter {
        super::services::filter(out, memory)
    } else {
        None
    }
}

/// The third argument where it is a value.
pub(super) fn third(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    match option(call) {
        "PR_CAP_AMBIENT" if names::PR_AMBIENT.get(call.arg(1)) != Some("PR_CAP_AMBIENT_CLEAR_ALL") => {
            values::capability(out, value);
        }
        "PR_MCE_KILL" if names::PR_MCE.get(call.arg(1)) == Some("PR_MCE_KILL_SET") => {
            out.name(value, &names::PR_MCE_POLICY);
        }
        "PR_SET_SPECULATION_CTRL" => out.flags(value, &names::PR_SPEC_STATE),
        "PR_SCHED_CORE" => values::int(out, call, value),
        "PR_SET_SECCOMP" if names::SECCOMP_MODE.get(call.arg(1)) == Some("SECCOMP_MODE_FILTER") => {
            out.pointer(value);
        }
        _ => rest(out, call, value),
    }
}

/// The fourth argument.
pub(super) fn fourth(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    match option(call) {
        "PR_SET_VMA" => out.unsigned(value),
        "PR_SCHED_CORE" => {
            out.unsigned(value);
            out.comment(names::PID_TYPE.get(value).unwrap_or(names::PID_TYPE.unknown));
        }
        _ => rest(out, call, value),
    }
}

/// The last argument where it is a string.
pub(super) fn fifth_memory(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    if option(call) != "PR_SET_VMA" {
        return None;
    }
    out.limited(memory.bytes, call.limit, memory.cut);
    Some(())
}

/// The last argument where it is a value.
pub(super) fn rest(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    match option(call) {
        "PR_SET_VMA" | "PR_SCHED_CORE" if value != 0 => out.pointer(value),
        option if decimal(option) => out.unsigned(value),
        _ => out.hex(value),
    }
}

/// Options whose arguments are plain numbers.
fn decimal(option: &str) -> bool {
    matches!(
        option,
        "PR_SET_KEEPCAPS"
            | "PR_SET_NO_NEW_PRIVS"
            | "PR_GET_NO_NEW_PRIVS"
            | "PR_SET_TIMERSLACK"
            | "PR_SET_CHILD_SUBREAPER"
            | "PR_SET_THP_DISABLE"
            | "PR_GET_THP_DISABLE"
            | "PR_SET_PTRACER"
            | "PR_SET_TIMING"
    )
}

/// `(SUID_DUMP_USER)` after what it returned.
pub(super) fn note(out: &mut Out<'_>, call: &Call<'_>) -> Option<()> {
    let value = call.ret.unsigned_abs();
    match option(call) {
        "PR_GET_DUMPABLE" => out.name(value, &names::DUMPABLE),
        "PR_GET_SECUREBITS" if value != 0 => out.flags(value, &names::SECUREBITS),
        "PR_MCE_KILL_GET" => out.name(value, &names::PR_MCE_POLICY),
        "PR_GET_SPECULATION_CTRL" => out.flags(value, &names::PR_SPEC_STATE),
        _ => return None,
    }
    Some(())
}

pub(super) fn in_hex(call: &Call<'_>) -> bool {
    matches!(option(call), "PR_GET_SECUREBITS" | "PR_GET_SPECULATION_CTRL")
}
