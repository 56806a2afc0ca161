//! The capability checks that the kernel makes for members: notes them in the task's state, for the evidence of the call
//! in flight, and counts them in rows of their own, with how the call ended. It decides nothing about membership and
//! writes no ring.

use aya_ebpf::bindings::BPF_NOEXIST;
use tracer_common::{
    capability::{CheckKey, Checks},
    filter::{AggregateKey, Container, NR_X32, Task, state, task},
    record::flag,
};

use crate::{
    admit,
    capture::{books, short_nr},
    kernel::{Credentials, Regs, TaskPtr, UserNamespace},
    known::{Known, Place},
    maps::{CHECKS, HELD, TASKS},
    sieve::fetch_add,
};

/// A check.
#[derive(Clone, Copy)]
pub(crate) struct Check {
    /// Whose credentials.
    pub cred: Credentials,
    /// Where the capability was asked.
    pub namespace: UserNamespace,
    pub capability: u32,
    pub denied: bool,
}

/// A container's application begins, with what its task holds.
#[inline(always)]
pub(crate) fn begin(task: TaskPtr, slot: u32) {
    if let Some(held) = HELD.get_ptr_mut(slot) {
        // SAFETY: a value of the map, which lives as long; only this container's init writes it, once.
        unsafe { held.write(task.held()) };
    }
}

/// How a call ended.
enum Ended {
    Succeeded,
    Refused,
    Failed,
}

/// Notes a check, if the current task is a member.
#[inline(always)]
pub(crate) fn note(check: &Check) {
    let task = TaskPtr::current();
    let regs = task.regs();
    let Some(place) = Place::of(regs) else { return };
    let light = match place.known() {
        Known::Stranger => return,
        Known::Member { light, .. } => light,
        known => known == Known::Light,
    };
    let state = TASKS.get(task);
    // SAFETY: null is checked; the value is the current task's own.
    let Some(state) = (unsafe { state.as_mut() }) else {
        return;
    };
    if state.slot == 0 || check.capability > 63 || borrowed(task, check.cred) {
        return;
    }
    if let Some(container) = admit::container(state) {
        count(check, task, regs, state, container, light);
    }
}

/// Whether the credentials are another's with more rights: overlayfs looks at the layers with those of who mounted them.
#[inline(always)]
fn borrowed(task: TaskPtr, cred: Credentials) -> bool {
    let own = task.real_credentials();
    cred != own && cred.permitted() & !own.permitted() != 0
}

#[inline(always)]
fn count(check: &Check, task: TaskPtr, regs: Regs, state: &mut Task, container: &Container, light: bool) {
    let pending = state.flags & task::PENDING != 0;
    let exits_only = container.state & state::EXIT_ONLY != 0;
    let number = regs.nr();
    let nr = if pending {
        marked(state.nr, state.flags & task::COMPAT != 0)
    } else if light || (exits_only && number as u32 != u32::MAX) {
        marked(short_nr(number), task.is_compat())
    } else {
        CheckKey::OUTSIDE
    };
    let mut what = check.capability as u16 | (check.namespace.level() as u16 & 0x3f) << CheckKey::LEVEL_SHIFT;
    if check.cred.user_namespace() == check.namespace {
        what |= CheckKey::OWN;
    }
    if check.denied {
        what |= CheckKey::DENIED;
    }
    if container.state & state::APP != 0 && state.flags & task::GUEST == 0 {
        what |= CheckKey::APP;
    }
    add(CheckKey {
        slot: state.slot as u16,
        generation: state.generation as u16,
        nr,
        what,
    });
    let followed = pending || (exits_only && container.state & state::COUNTS == 0 && nr != CheckKey::OUTSIDE);
    if followed {
        follow(check, state, what);
    }
}

/// A number with the marks that rows have.
#[inline(always)]
fn marked(nr: u16, compat: bool) -> u16 {
    const _: () = assert!(NR_X32 == AggregateKey::X32);
    if compat { nr | AggregateKey::COMPAT } else { nr }
}

/// Keeps the check for the end of the call.
#[inline(always)]
fn follow(check: &Check, state: &mut Task, what: u16) {
    if state.flags & task::CHECKED == 0 {
        state.flags |= task::CHECKED;
        state.denied = 0;
        state.granted = 0;
        state.denied_ns = 0;
        state.denied_ns_level = 0;
        state.checked = 0;
    }
    let bit = 1 << (check.capability & 63);
    let before = if check.denied { state.denied } else { state.granted };
    if check.denied {
        state.denied |= bit;
        state.denied_ns = check.namespace.inum();
        state.denied_ns_level = check.namespace.level();
    } else {
        state.granted |= bit;
    }
    let at = state.checked as usize;
    if before & bit == 0 && at < state.checks.len() {
        state.checks[at] = what;
        state.checked = at as u32 + 1;
    }
}

#[inline(always)]
fn add(key: CheckKey) {
    if let Some(row) = row_of(key) {
        // SAFETY: a value of the map, whose words are added to atomically; its memory stays while the program runs.
        unsafe { fetch_add(&raw mut (*row).checks, 1) };
    } else if let Some(books) = books(u32::from(key.slot)) {
        books.checks_overflow += 1;
    }
}

#[inline(always)]
fn row_of(key: CheckKey) -> Option<*mut Checks> {
    if let Some(row) = CHECKS.get_ptr_mut(key) {
        return Some(row);
    }
    // Another CPU may be first; then its row is there.
    let _there = CHECKS.insert(key, Checks::default(), u64::from(BPF_NOEXIST));
    CHECKS.get_ptr_mut(key)
}

/// The call in flight ended: tells its checks how.
#[inline(always)]
pub(crate) fn conclude(state: &Task, flags: u16, ret: i64) {
    if state.flags & task::CHECKED != 0 {
        conclude_checks(u64::from(flags), ret);
    }
}

/// A function of its own to the verifier: it looks at it once, not at each path that leads there.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn conclude_checks(flags: u64, ret: i64) -> u64 {
    const EPERM: i64 = 1;
    const EACCES: i64 = 13;
    if flags as u16 & flag::UNFINISHED != 0 {
        return 0;
    }
    let how = match -ret {
        EPERM | EACCES => Ended::Refused,
        1..=4095 => Ended::Failed,
        _ => Ended::Succeeded,
    };
    let state = TASKS.get(TaskPtr::current());
    // SAFETY: null is checked; the value is the current task's own.
    let Some(state) = (unsafe { state.as_ref() }) else {
        return 0;
    };
    let nr = marked(state.nr, state.flags & task::COMPAT != 0);
    for (at, what) in state.checks.iter().enumerate() {
        if at as u32 >= state.checked {
            break;
        }
        let key = CheckKey {
            slot: state.slot as u16,
            generation: state.generation as u16,
            nr,
            what: *what,
        };
        let Some(row) = CHECKS.get_ptr_mut(key) else {
            continue;
        };
        // SAFETY: as in `add`.
        unsafe {
            match how {
                Ended::Succeeded => fetch_add(&raw mut (*row).succeeded, 1),
                Ended::Refused => fetch_add(&raw mut (*row).refused, 1),
                Ended::Failed => fetch_add(&raw mut (*row).failed, 1),
            };
        }
    }
    0
}
