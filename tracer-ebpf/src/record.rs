//! Puts the record of a call that has ended together, of its parts in their order: head, evidence, what was kept when it
//! began, what its arguments point to, its files. Copies nothing itself and decides nothing.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use tracer_common::{
    filter::{MAX_KEPT, plan, task},
    record::{MAX_RECORD, flag},
};

use crate::{
    capture::{self, plan_of},
    copy::{FAILED, copy_all, no_room},
    emit::{self, Call, Last},
    evidence, execve, files,
    kernel::TaskPtr,
    maps::{KEPT, LAST, Scratch},
};

/// Puts the record of the current task's call that has just ended together and queues it.
///
/// Three functions, one after the other, called by the programs themselves: see [`crate::capture::exit`].
#[inline(always)]
pub(crate) fn queue() {
    let at = begin_record();
    if at != 0 {
        end_record(copy_arguments(at));
    }
}

/// The current task's call that has just ended. Never `None`; but the verifier does not know it.
#[inline(always)]
fn last() -> Option<&'static Last> {
    // SAFETY: a value of this CPU, which no other program runs on meanwhile; it lives as long as the map.
    LAST.get_ptr_mut(0).map(|last| unsafe { &*last })
}

#[inline(always)]
fn call_of(last: &Last) -> Call<'_> {
    Call {
        task: TaskPtr::current(),
        state: &last.state,
        ended: last.ended,
    }
}

/// Its head, the evidence and what was kept when it began. Returns where the next section begins; 0 where it needs no
/// more.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn begin_record() -> u32 {
    let Some(last) = last() else { return 0 };
    let call = &call_of(last);
    let Some(books) = capture::books(call.state.slot) else {
        return 0;
    };
    let plan = plan_of(call.state.nr, call.ended.flags & flag::COMPAT != 0);
    // Both are there for all numbers that have copies; if not, the call is told without them rather than not at all.
    let (Some(plan), Some(scratch)) = (plan, emit::scratch()) else {
        return emit::bare(call, books);
    };
    let at = emit::head(scratch, call, books);
    let at = if call.state.flags & task::EVIDENCE == 0 {
        at
    } else {
        evidence::take_evidence(at)
    };
    if plan.flags & plan::EXEC != 0 {
        execve::sections(scratch, at, call)
    } else if plan.flags & plan::ENTER != 0 {
        kept(scratch, at, call)
    } else {
        at
    }
}

/// What its arguments point to. Returns where the next section begins.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn copy_arguments(at: u32) -> u32 {
    let Some(Last { state, ended }) = last() else {
        return at;
    };
    let failed = ended.flags & flag::UNFINISHED != 0 || (ended.ret < 0 && ended.ret >= -4095);
    match plan_of(state.nr, ended.flags & flag::COMPAT != 0) {
        Some(plan) if plan.flags & plan::EXEC == 0 => {
            copy_all(at, state, plan, ended.ret, if failed { FAILED } else { 0 })
        }
        _ => at,
    }
}

/// Its files; and queues it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn end_record(at: u32) -> u32 {
    let (Some(last), Some(scratch)) = (last(), emit::scratch()) else {
        return 0;
    };
    let Last { state, ended } = last;
    let Some(books) = capture::books(state.slot) else {
        return 0;
    };
    let end = if state.flags & task::FILES == 0 {
        at
    } else if let Some(plan) = plan_of(state.nr, ended.flags & flag::COMPAT != 0) {
        files::append(scratch, at, &call_of(last), plan)
    } else {
        at
    };
    let urgent = evidence::wakes(state.flags, ended.ktime);
    emit::scratch_record(scratch, state.slot, end, books, urgent);
    0
}

/// Appends the sections that were kept when the call began.
#[inline(always)]
fn kept(scratch: &mut Scratch, at: u32, call: &Call<'_>) -> u32 {
    if call.state.flags & task::NONE_KEPT != 0 {
        return at;
    }
    if call.state.flags & task::KEPT == 0 {
        // A call that seccomp refused never began.
        return if call.ended.flags & (flag::SECCOMP | flag::SKIPPED) == 0 {
            no_room(scratch, at)
        } else {
            at
        };
    }
    let kept = KEPT.get(call.task);
    // SAFETY: null is checked; the value is the current task's own.
    let Some(kept) = (unsafe { kept.as_mut() }) else {
        return no_room(scratch, at);
    };
    let at = at & (MAX_RECORD as u32 - 1);
    let mut len = kept.len & (2 * MAX_KEPT as u32 - 1);
    if len > MAX_KEPT as u32 {
        len = MAX_KEPT as u32;
    }
    // SAFETY: at most MAX_KEPT bytes at an offset below MAX_RECORD, both within the scratch; the source is a map value.
    unsafe {
        let to = scratch.0.as_mut_ptr().add(at as usize);
        bpf_probe_read_kernel(to.cast(), len, kept.sections.as_ptr().cast());
    }
    at + len
}
