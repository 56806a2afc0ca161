//! Whose call is it? The only decision, in one place.
//!
//! A task belongs to a container when its mount namespace is the container's; else when it already did, or its parent
//! (membership is inherited at fork and survives what the task does to its own namespaces); else when its active PID
//! namespace, or an ancestor of it, is one that the container alone has.
//!
//! The answer is kept in the task's storage and holds for one epoch: a call costs an untraced task one look-up of its
//! own storage, not one in a table of containers. The daemon begins a new epoch with each registration and removal.

use core::hint::black_box;

use aya_log_ebpf::warn;
use tracer_common::{
    filter::{Container, Counter, Task, state, task},
    record::Kind,
};

use crate::{
    emit,
    kernel::{MAX_LEVEL, NR_COMPAT_SETNS, NR_SETNS, TaskPtr},
    maps::{BOOKS, CONTAINERS, EXCLUDED, MOUNT_NAMESPACES, PID_NAMESPACES, PROOFS, TASKS, count, epoch},
};

/// The current task and its state, if it is a member; decides first where that is due.
#[inline(always)]
pub(crate) fn on_enter(nr: u64) -> Option<(TaskPtr, *mut Task)> {
    let task = TaskPtr::current();
    let mut state = TASKS.get(task);
    // SAFETY: checked for null first; the value is this task's own, and the task is here.
    if state.is_null() || unsafe { (*state).epoch } != epoch() {
        state = decide(task, state);
        if state.is_null() {
            return None;
        }
    }
    // SAFETY: not null; as above.
    let value = unsafe { &mut *state };
    if value.slot == 0 {
        // What setns(2) does shows only after it: decide again at the next call.
        if nr as u32 == NR_SETNS.load() || nr as u32 == NR_COMPAT_SETNS.load() {
            value.epoch = 0;
            value.flags |= task::JOINING;
        }
        return None;
    }
    Some((task, state))
}

/// The current task and its state, if it is known to be a member. Nothing is decided outside of an enter: a call that
/// began before the registration is not the container's.
#[inline(always)]
pub(crate) fn on_exit() -> Option<(TaskPtr, *mut Task)> {
    let task = TaskPtr::current();
    let state = TASKS.get(task);
    // SAFETY: checked for null first; the value is this task's own, and the task is here.
    if state.is_null() || unsafe { (*state).slot } == 0 {
        return None;
    }
    Some((task, state))
}

/// The container of a task that was a member, if it still is registered.
#[inline(always)]
pub(crate) fn container(state: &Task) -> Option<&'static mut Container> {
    let container = CONTAINERS.get_ptr_mut(state.slot)?;
    // SAFETY: array values live as long as the map. The daemon writes them while no task is a member.
    let container = unsafe { &mut *container };
    (container.generation == state.generation && container.state & state::LIVE != 0).then_some(container)
}

/// Decides membership and keeps the answer. Null when there is no storage to keep it in.
#[inline(never)]
fn decide(task: TaskPtr, previous: *mut Task) -> *mut Task {
    count(Counter::Decided);
    let now = epoch();
    // SAFETY: null is checked; the value is the current task's own.
    let before = unsafe { previous.as_ref() }.map_or((0, 0), |state| (state.slot, state.generation));
    let slot = find(task, before);
    let state = if previous.is_null() {
        TASKS.get_or_create(task)
    } else {
        previous
    };
    // SAFETY: null is checked; as above.
    let Some(value) = (unsafe { state.as_mut() }) else {
        unkept(task.tid(), slot);
        return state;
    };
    value.epoch = now;
    if slot == 0 {
        value.slot = 0;
        return state;
    }
    let Some(container) = CONTAINERS.get(slot) else {
        value.slot = 0;
        return state;
    };
    if value.slot == slot && value.generation == container.generation {
        return state;
    }
    let joining = value.flags & task::JOINING != 0 || task.start_time() > container.armed_at;
    value.flags = 0;
    if joining && task.tgid() != container.init_tgid {
        value.flags |= task::VIA_EXEC;
    }
    value.slot = slot;
    value.generation = container.generation;
    value.level = level_of(task, container.pid_ns);
    number(task, value);
    emit::process(Kind::Join, 0, task, value, container, None, 0, 0);
    state
}

/// Books a decision that could not be kept.
#[inline(never)]
fn unkept(tid: u32, slot: u32) {
    count(Counter::Undecided);
    warn!(
        (),
        "no task storage for thread {} (slot {}): decided again at its next call", tid, slot
    );
    if slot != 0
        && let Some(books) = BOOKS.get_ptr_mut(slot)
    {
        // SAFETY: a value of this CPU, which no other program runs on meanwhile.
        let books = unsafe { &mut *books };
        books.admitted += 1;
        books.finished += 1;
        books.no_storage += 1;
        books.overflow += 1;
    }
}

/// The slot that the task belongs to, 0 for none. `before` is where it belonged: (slot, generation).
#[inline(always)]
fn find(task: TaskPtr, before: (u32, u32)) -> u32 {
    // SAFETY (each): the reference is read at once; an entry that the daemon changes meanwhile belongs to an epoch
    // that is over, and the task decides again.
    if unsafe { EXCLUDED.get(task.tgid()) }.is_some() {
        return 0;
    }
    // SAFETY: as above.
    if let Some(slot) = unsafe { PROOFS.get(task.tid()) } {
        return *slot;
    }
    // SAFETY: as above.
    if let Some(slot) = unsafe { MOUNT_NAMESPACES.get(task.mount_namespace()) }
        && takes_members(*slot)
    {
        return *slot;
    }
    if before.0 != 0
        && let Some(container) = CONTAINERS.get(before.0)
        && container.generation == before.1
        && container.state & state::LIVE != 0
    {
        return before.0;
    }
    // From below: the deepest namespace that decides wins. Level 0 is the host's own, which no container has alone.
    let pid = task.pid();
    let active = pid.level();
    let mut slot = 0;
    let mut level = 1;
    while level <= MAX_LEVEL && level <= active {
        // SAFETY: as above.
        if let Some(found) = unsafe { PID_NAMESPACES.get(pid.namespace(level)) }
            && takes_members(*found)
        {
            slot = *found;
        }
        level = next(level);
    }
    slot
}

/// Whether a namespace of that container may still find members.
#[inline(always)]
fn takes_members(slot: u32) -> bool {
    CONTAINERS
        .get(slot)
        .is_some_and(|container| container.state & (state::LIVE | state::ENDED) == state::LIVE)
}

/// `level + 1`. VERIFIER(6.18): left to itself LLVM counts down from the smaller bound, which is no constant, and the
/// verifier finds no end.
#[inline(always)]
fn next(level: u32) -> u32 {
    black_box(level) + 1
}

/// The level of `namespace` in the task's PID namespaces; its active one where the task is not below it (a task that
/// joined the mount namespace alone).
#[inline(always)]
pub(crate) fn level_of(task: TaskPtr, namespace: u32) -> u32 {
    let pid = task.pid();
    let active = pid.level();
    let mut level = 0;
    while level <= MAX_LEVEL && level <= active {
        if pid.namespace(level) == namespace {
            return level;
        }
        level = next(level);
    }
    active
}

/// Notes the task's numbers in its container; again after an execve, when a thread takes its leader's.
#[inline(always)]
pub(crate) fn number(task: TaskPtr, state: &mut Task) {
    state.ns_tid = task.pid().number(state.level);
    state.ns_tgid = task.leader_pid().number(state.level);
}
