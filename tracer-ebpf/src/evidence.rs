//! What the kernel knew of a task whose call failed: the one section that is not about the call's own memory. Taken on the
//! task itself as the call returns, and only where the errno is one that wants a reason.

use tracer_common::{
    filter::{Task, copy, plan, state, task, wants_evidence},
    record::{Evidence, Section, evidence, flag},
};

use crate::{
    admit, capture,
    copy::{HEAD, put_head},
    emit,
    kernel::TaskPtr,
    maps::{TASKS, WOKEN},
};

/// Nanoseconds in which a CPU wakes the reader for evidence at most once: an irq_work each.
const WAKE_PAUSE: u64 = 1_000_000;

/// Whether the record of a call that ended so carries evidence.
#[inline(always)]
pub(crate) fn is_wanted(state: &Task, flags: u16, ret: i64) -> bool {
    flags & flag::SECCOMP != 0
        || (ret < 0 && wants_reason(ret, u64::from(state.nr), u64::from(state.flags)) != 0)
}

/// Whether that errno of that call does. `flags` are the task's, as in all of its storage.
///
/// This and what follows are functions of their own to the verifier: it looks at each once, not at each path that leads
/// there, and what comes after them it looks at once, too.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn wants_reason(ret: i64, nr: u64, flags: u64) -> u64 {
    if ret < -4095 {
        return 0;
    }
    let plan = capture::plan_of(nr as u16, flags as u32 & task::COMPAT != 0);
    let refusal = plan.is_some_and(|plan| plan.flags & plan::EVIDENCE != 0);
    u64::from(wants_evidence((-ret) as u16, refusal))
}

/// Puts the evidence on the current task into the scratch, which has room for it right behind a call's arguments. Returns
/// where the next section begins.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn take_evidence(at: u32) -> u32 {
    let task = TaskPtr::current();
    let state = TASKS.get(task);
    // SAFETY: null is checked; the value is the current task's own.
    let (Some(scratch), Some(state)) = (emit::scratch(), unsafe { state.as_ref() }) else {
        return at;
    };
    // Behind six arguments at most, at a multiple of eight; masked for the verifier.
    let at = at & 0xf8;
    let section = Section {
        arg: 0,
        kind: copy::EVIDENCE,
        flags: 0,
        len: size_of::<Evidence>() as u16,
        total: 0,
    };
    put_head(scratch, at, section);
    let body = at + HEAD;
    // SAFETY: a multiple of eight below 512 in an aligned buffer of more than MAX_RECORD bytes; all of it is written
    // below.
    let to = unsafe { &mut *scratch.0.as_mut_ptr().add(body as usize).cast::<Evidence>() };
    task.testify(to);
    // Of a call of whose begin nothing was kept, its checks were not either.
    if state.flags & task::LATE == 0
        && admit::container(state).is_some_and(|container| container.state & state::CAPABILITIES != 0)
    {
        to.flags |= evidence::CAPABILITIES;
    }
    if state.flags & task::CHECKED != 0 {
        to.denied = state.denied;
        to.granted = state.granted;
        to.denied_ns = state.denied_ns;
        to.denied_ns_level = state.denied_ns_level;
    } else {
        to.denied = 0;
        to.granted = 0;
        to.denied_ns = 0;
        to.denied_ns_level = 0;
    }
    body + size_of::<Evidence>() as u32
}

/// Whether the reader is woken for a record whose task has these flags: what else there is to know of a failure lies in
/// files of a process that may soon be gone.
#[inline(always)]
pub(crate) fn wakes(flags: u32, now: u64) -> bool {
    flags & task::EVIDENCE != 0 && may_wake(now) != 0
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn may_wake(now: u64) -> u64 {
    let Some(woken) = WOKEN.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: a value of this CPU, which no other program runs on meanwhile.
    let woken = unsafe { &mut *woken };
    if now.wrapping_sub(*woken) < WAKE_PAUSE {
        return 0;
    }
    *woken = now;
    1
}
