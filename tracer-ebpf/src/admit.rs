//! Whose call is it? The only decision, in one place.
//!
//! A task belongs to a container when its mount namespace is the container's; else when it already did, or its parent
//! (membership is inherited at fork and survives what the task does to its own namespaces); else when its active PID
//! namespace, or an ancestor of it, is one that the container alone has.
//!
//! The answer is kept in the task's storage and holds for one epoch, which the daemon ends with each registration and
//! removal. [`crate::known`] remembers it, so that a call costs an untraced task a word's comparison.

use core::{hint::black_box, ptr};

use aya_log_ebpf::warn;
use tracer_common::{
    filter::{Container, Counter, Task, state, task},
    record::Kind,
};

use crate::{
    emit,
    kernel::{MAX_LEVEL, NR_COMPAT_SETNS, NR_SETNS, TaskPtr},
    known::{Known, Place},
    maps::{BOOKS, CONTAINERS, EXCLUDED, MOUNT_NAMESPACES, PID_NAMESPACES, PROOFS, TASKS, count, epoch},
};

/// A task of a container.
#[derive(Clone, Copy)]
pub(crate) struct Member {
    pub slot: u32,
    /// Its place in the memory; `None` where it is another's.
    pub place: Option<Place>,
    /// A call of which only the counts are wanted is in flight.
    pub light: bool,
    /// Its state, where it had to be looked up.
    pub state: *mut Task,
}

/// Whether a call that begins is none of a member's, and stays so: what is known of its task tells.
#[inline(always)]
pub(crate) fn is_strangers(known: Known, nr: u64) -> bool {
    // What setns(2) does shows only after it: decide again at the next call.
    known == Known::Stranger && !joins(nr)
}

/// Whose call begins, if it is a member's; decides first where that is due.
#[inline(always)]
pub(crate) fn on_enter(place: Place, known: Known, nr: u64) -> Option<Member> {
    match known {
        Known::Stranger => joining(place),
        Known::Member { slot, light } => Some(Member {
            slot,
            place: Some(place),
            light,
            state: ptr::null_mut(),
        }),
        known => look_up(place, known == Known::Light, joins(nr)).map(|(member, _new)| member),
    }
}

/// Whose call ends, if it is a member's. A call that began before the registration is not the container's: a task that
/// is found to be a member only here is one from its next call on.
#[inline(always)]
pub(crate) fn on_exit(place: Place, known: Known) -> Option<Member> {
    match known {
        Known::Stranger => None,
        Known::Member { slot, light } => Some(Member {
            slot,
            place: Some(place),
            light,
            state: ptr::null_mut(),
        }),
        known => exit_look_up(place, known == Known::Light),
    }
}

/// As [`look_up`], where a call ends. It is of whom it was when it began, whatever the tables say by now.
#[inline(always)]
fn exit_look_up(place: Place, light: bool) -> Option<Member> {
    let state = TASKS.get(TaskPtr::current());
    // SAFETY: null is checked; the value is the current task's own.
    if let Some(value) = unsafe { state.as_ref() }
        && (light || value.flags & task::PENDING != 0)
    {
        let member = Member {
            slot: value.slot,
            place: light.then_some(place),
            light,
            state,
        };
        return (value.slot != 0).then_some(member);
    }
    match look_up(place, light, false)? {
        (_, true) => None,
        (member, false) => Some(member),
    }
}

/// The current task and its state, if it is known to be a member. Nothing is decided here.
#[inline(always)]
pub(crate) fn member() -> Option<(TaskPtr, *mut Task)> {
    let task = TaskPtr::current();
    let state = TASKS.get(task);
    // SAFETY: checked for null first; the value is this task's own, and the task is here.
    if state.is_null() || unsafe { (*state).slot } == 0 {
        return None;
    }
    Some((task, state))
}

/// A task was made, on a kernel stack that another may have had before.
#[inline(always)]
pub(crate) fn born(child: TaskPtr) {
    if let Some(place) = Place::of(child.regs()) {
        place.forget();
    }
}

/// Whether that call may bring its task into other namespaces.
#[inline(always)]
fn joins(nr: u64) -> bool {
    nr as u32 == NR_SETNS.load() || nr as u32 == NR_COMPAT_SETNS.load()
}

/// A task that is no member calls setns(2).
#[inline(never)]
fn joining(place: Place) -> Option<Member> {
    place.forget();
    let state = TASKS.get_or_create(TaskPtr::current());
    // SAFETY: null is checked; the value is the current task's own.
    if let Some(state) = unsafe { state.as_mut() } {
        state.epoch = 0;
        state.flags |= task::JOINING;
    }
    None
}

/// Asks the task's storage, decides where that is due, and keeps the answer. Also tells whether the task is a member
/// only from here on.
#[inline(always)]
fn look_up(place: Place, light: bool, joins: bool) -> Option<(Member, bool)> {
    let task = TaskPtr::current();
    let mut state = TASKS.get(task);
    let mut new = false;
    // SAFETY: checked for null first; the value is this task's own, and the task is here.
    if state.is_null() || unsafe { (*state).epoch } != epoch() {
        // SAFETY: as above.
        let before = unsafe { state.as_ref() }.map_or((0, 0), |state| (state.slot, state.generation));
        state = decide(task, state);
        // SAFETY: as above.
        let after = unsafe { state.as_ref() }.map_or((0, 0), |state| (state.slot, state.generation));
        new = before != after;
    }
    // SAFETY: null is checked; as above.
    let value = unsafe { state.as_mut() }?;
    if value.slot == 0 {
        if joins {
            value.epoch = 0;
            value.flags |= task::JOINING;
            place.forget();
        } else {
            place.keep(0, false);
        }
        return None;
    }
    let light = light && !new;
    let own = place.keep(value.slot, light);
    let member = Member {
        slot: value.slot,
        place: own.then_some(place),
        light,
        state,
    };
    Some((member, new))
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
        value.flags |= task::VIA_EXEC | task::GUEST;
    }
    value.slot = slot;
    value.generation = container.generation;
    value.level = level_of(task, container.pid_ns);
    number(task, value);
    emit::process(Kind::Join, 0, task, value, container, None, 0, [0; 4]);
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
