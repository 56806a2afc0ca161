//! Takes what a member's call was: its arguments at the enter, its result at the exit. `copy` and `execve` take what the
//! arguments point to. Decides nothing about membership and writes no ring.

use core::ptr;

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use tracer_common::{
    MAX_CONTAINERS,
    filter::{
        Books, COMPAT_PLANS, Container, Counter, Filter, NR_X32, Plan, Task, X32_BIT, plan, state, task,
    },
    record::{Kind, flag, section},
};

use crate::{
    admit::{self, Member},
    aggregate::{self, Counted},
    capability, copy, dentry,
    emit::{self, Call, Ended},
    evidence, execve, files,
    kernel::{self, NR_EXECVEAT, NR_SIGRETURN, PREEMPTED, Regs, TaskPtr},
    known::{Known, Place},
    maps::{BOOKS, CONTAINERS, EXECS, LAST, PLANS, TASKS, count},
    sieve,
};

#[inline(always)]
fn now() -> u64 {
    // SAFETY: no precondition.
    unsafe { bpf_ktime_get_ns() }
}

/// A slot's books. Never `None`, since no slot lies beyond the table; but the verifier does not know it.
#[inline(always)]
pub(crate) fn books(slot: u32) -> Option<&'static mut Books> {
    // SAFETY: a value of this CPU, which no other program runs on meanwhile; it lives as long as the map.
    BOOKS
        .get_ptr_mut(slot & (MAX_CONTAINERS - 1))
        .map(|books| unsafe { &mut *books })
}

/// A slot's entry, likewise.
#[inline(always)]
fn entry(slot: u32) -> Option<&'static Container> {
    // SAFETY: array values live as long as the map. The daemon writes them while no task is a member.
    CONTAINERS
        .get_ptr_mut(slot & (MAX_CONTAINERS - 1))
        .map(|container| unsafe { &*container })
}

/// A call's number as records and plans hold it.
#[inline(always)]
pub(crate) fn short_nr(nr: u64) -> u16 {
    let low = nr as u32;
    if low < COMPAT_PLANS {
        return low as u16;
    }
    let number = low & !(X32_BIT as u32);
    let number = if number >= u32::from(NR_X32) {
        NR_X32 - 1
    } else {
        number as u16
    };
    if low & X32_BIT as u32 != 0 && low != u32::MAX {
        number | NR_X32
    } else {
        number
    }
}

#[inline(always)]
pub(crate) fn plan_of(nr: u16, compat: bool) -> Option<&'static Plan> {
    let index = u32::from(nr & !NR_X32);
    if index >= COMPAT_PLANS {
        return None;
    }
    PLANS.get(if compat { index + COMPAT_PLANS } else { index })
}

/// Notes which call it is and its arguments; only as many as it has, by three: what is written is what costs. Returns
/// its plan's flags.
#[inline(always)]
fn begin(task: TaskPtr, state: &mut Task, regs: Regs, nr: u64) -> u8 {
    state.nr = short_nr(nr);
    let compat = task.is_compat();
    let plan = plan_of(state.nr, compat);
    let (nargs, nops, flags) = plan.map_or((6, 0, 0), |plan| (plan.nargs, plan.nops, plan.flags));
    state.nargs = nargs;
    state.nops = nops;
    if compat {
        state.flags |= task::COMPAT;
        regs.copy_compat_args(&mut state.args);
    } else if nargs > 0 {
        regs.copy_first_args(&mut state.args);
        if nargs > 3 {
            regs.copy_last_args(&mut state.args);
        }
    }
    flags
}

/// A member enters a call.
#[inline(always)]
pub(crate) fn enter(member: Member, regs: Regs, nr: u64) {
    let (Some(books), Some(filter)) = (books(member.slot), sieve::filter(member.slot)) else {
        return;
    };
    if filter.active & Filter::EXIT_ONLY != 0 {
        return;
    }
    let task = TaskPtr::current();
    books.admitted += 1;
    if filter.active & Filter::SIEVES != 0
        && let Some(place) = member.place
        && !member.light
    {
        let index = sieve::index_of(short_nr(nr), task.is_compat());
        if filter.is_light(index) {
            let timed = filter.active & Filter::TIMES != 0 && filter.takes(index);
            return place.begin_light(if timed { now() } else { 0 });
        }
    }
    let Some(state) = state_of(member, task) else {
        // Whatever becomes of it, it is booked here; its exit finds no call in flight and no state.
        books.finished += 1;
        books.no_storage += 1;
        books.overflow += 1;
        return;
    };
    if state.flags & task::PENDING != 0 || member.light {
        unpaired(member, state, books);
    }
    state.flags = state.flags & task::LASTING | task::PENDING;
    let flags = begin(task, state, regs, nr);
    if flags & plan::EXEC != 0 {
        state.flags |= task::EXEC;
        execve::keep_strings(state);
    } else if flags & (plan::ENTER | plan::STACK) != 0 {
        copy::at_enter(task, state, regs);
    }
    if filter.files != tracer_common::filter::files::NONE {
        files::at_enter(task, state);
    }
    // Last, so that the duration is the call's and not ours.
    state.entered = now();
}

/// A member's state, which it has had since it was decided.
#[inline(always)]
fn state_of(member: Member, task: TaskPtr) -> Option<&'static mut Task> {
    let state = if member.state.is_null() {
        TASKS.get(task)
    } else {
        member.state
    };
    // SAFETY: null is checked; the value is the current task's own, and the task is here.
    unsafe { state.as_mut() }
}

/// The call in flight will never be seen to end: book it, so that the equation holds.
#[inline(never)]
fn unpaired(member: Member, state: &mut Task, books: &mut Books) {
    books.unpaired += 1;
    books.finished += 1;
    if let (true, Some(place)) = (member.light, member.place) {
        // Which call it was, nobody kept.
        place.end_light();
        books.overflow += 1;
        return;
    }
    let app = admit::container(state).is_some_and(|container| container.state & state::APP != 0);
    let flags = flag::UNFINISHED | if app { flag::APP } else { 0 };
    aggregate::add(&counted(state, flags, 0), None, books);
}

#[inline(always)]
fn counted(state: &Task, flags: u16, ret: i64) -> Counted {
    Counted {
        slot: state.slot,
        generation: state.generation,
        nr: state.nr,
        compat: state.flags & task::COMPAT != 0,
        flags,
        ret,
    }
}

/// A member leaves a call, or was kept out of one. True where [`crate::record::queue`] is due.
///
/// A function of its own that has returned before the record is made: before Linux 6.13 the frames of all functions that
/// are in progress have 512 bytes together.
#[inline(never)]
pub(crate) fn exit(member: &Member, regs: Regs, ret: i64) -> bool {
    let member = *member;
    let task = TaskPtr::current();
    if member.light {
        let flags = if task.is_killed() { flag::UNFINISHED } else { 0 };
        return light_exit(member, task, regs, flags, ret);
    }
    let Some(container) = entry(member.slot) else {
        return false;
    };
    if container.state & state::EXIT_ONLY != 0 {
        return exit_only(member, container, task, regs, ret);
    }
    let now = now();
    let Some(state) = state_of(member, task) else {
        return false;
    };
    if container.generation != state.generation || container.state & state::LIVE == 0 {
        state.flags &= !task::PENDING;
        count(Counter::Stale);
        return false;
    }
    if state.flags & task::PENDING != 0 {
        state.flags &= !task::PENDING;
        let duration_ns = now - state.entered;
        let flags = if task.is_killed() { flag::UNFINISHED } else { 0 };
        finish(task, state, container, flags, ret, now, duration_ns)
    } else if state.flags & task::FRESH != 0 {
        // The fork's own return in the child.
        state.flags &= !task::FRESH;
        false
    } else {
        let flags = refused(task, state, regs, ret);
        finish(task, state, container, flags, ret, now, 0)
    }
}

/// A call ends of whose begin nothing was kept. Mostly only its counts are wanted; where a reader waited for how it ends,
/// its arguments are still in its registers.
#[inline(always)]
fn light_exit(member: Member, task: TaskPtr, regs: Regs, mut flags: u16, ret: i64) -> bool {
    if let Some(place) = member.place {
        place.end_light();
    }
    let (Some(books), Some(container)) = (books(member.slot), entry(member.slot)) else {
        return false;
    };
    if container.state & state::LIVE == 0 {
        count(Counter::Stale);
        return false;
    }
    if container.state & state::APP != 0 {
        flags |= flag::APP;
    }
    books.finished += 1;
    let call = Counted {
        slot: member.slot,
        generation: container.generation,
        nr: short_nr(regs.nr()),
        compat: task.is_compat(),
        flags,
        ret,
    };
    aggregate::add(&call, None, books);
    if sieve::passes_light(&call) {
        let entered = member.place.map_or(0, Place::entered);
        match late(task, regs, flags, ret, entered) {
            Late::Due => return true,
            Late::Done => {}
            Late::NoState => books.no_storage += 1,
        }
    } else {
        books.filtered += 1;
    }
    false
}

/// What became of the record of a call of whose begin nothing was kept.
enum Late {
    Due,
    Done,
    NoState,
}

/// Queues the record of a call of whose begin nothing was kept, but when it was (0: not even that).
#[inline(never)]
fn late(task: TaskPtr, regs: Regs, flags: u16, ret: i64, entered: u64) -> Late {
    // SAFETY: null is checked; the value is the current task's own, and the task is here.
    let state = unsafe { TASKS.get(task).as_mut() };
    let Some(state) = state else { return Late::NoState };
    let (Some(container), Some(books)) = (admit::container(state), books(state.slot)) else {
        return Late::NoState;
    };
    state.flags = state.flags & task::LASTING | task::LATE;
    begin(task, state, regs, regs.nr());
    let now = now();
    let (flags, duration_ns) = if entered == 0 {
        (flags | flag::NO_DURATION, 0)
    } else {
        (flags, now - entered)
    };
    if queue(task, state, container, books, flags, ret, now, duration_ns) {
        Late::Due
    } else {
        Late::Done
    }
}

/// A call of a container whose calls are taken at their exits alone.
#[inline(always)]
fn exit_only(member: Member, container: &Container, task: TaskPtr, regs: Regs, ret: i64) -> bool {
    if container.state & state::LIVE == 0 {
        count(Counter::Stale);
        return false;
    }
    // A fork's own return in the child comes here with its state: nobody knew the child before.
    // SAFETY: null is checked; the value is the current task's own.
    if let Some(state) = unsafe { member.state.as_mut() }
        && state.flags & task::FRESH != 0
    {
        state.flags &= !task::FRESH;
        return false;
    }
    let Some(books) = books(member.slot) else {
        return false;
    };
    // The kernel sets no number while it restores a signal's context.
    let nr = regs.nr();
    let nr = if nr as u32 == u32::MAX {
        u64::from(NR_SIGRETURN.load())
    } else {
        nr
    };
    let mut flags = if task.is_killed() { flag::UNFINISHED } else { 0 };
    books.admitted += 1;
    if container.state & state::COUNTS != 0 {
        if container.state & state::APP != 0 {
            flags |= flag::APP;
        }
        books.finished += 1;
        books.counted += 1;
        let call = Counted {
            slot: member.slot,
            generation: container.generation,
            nr: short_nr(nr),
            compat: task.is_compat(),
            flags,
            ret,
        };
        aggregate::add(&call, None, books);
        return false;
    }
    let Some(state) = state_of(member, task) else {
        books.finished += 1;
        books.no_storage += 1;
        books.overflow += 1;
        return false;
    };
    state.flags &= task::LASTING | task::CHECKED;
    if begin(task, state, regs, nr) & plan::EXEC != 0 {
        state.flags |= task::EXEC;
        if ret < 0 {
            execve::keep_strings(state);
        }
    }
    let due = finish(task, state, container, flags | flag::NO_DURATION, ret, now(), 0);
    state.flags &= !task::CHECKED;
    due
}

/// No enter: seccomp and ptrace come before it, the exit comes all the same. Or, where programs are preempted, the kernel
/// skipped ours. Returns the record's flags.
#[inline(never)]
fn refused(task: TaskPtr, state: &mut Task, regs: Regs, ret: i64) -> u16 {
    state.flags &= task::LASTING;
    begin(task, state, regs, regs.nr());
    files::at_enter(task, state);
    if let Some(books) = books(state.slot) {
        books.admitted += 1;
    }
    let refusal = if task.has_seccomp() {
        flag::SECCOMP
    } else {
        flag::SKIPPED
    };
    if PREEMPTED.load() != 0 && !(refusal == flag::SECCOMP && refuses(state.nr, ret)) {
        return flag::NO_DURATION;
    }
    flag::NO_DURATION | refusal
}

/// Whether that is how a filter refuses (seccomp(2)): by an errno that profiles have for it, or with the number of the
/// call in the place of its result (SECCOMP_RET_TRAP, SECCOMP_RET_KILL_PROCESS).
#[inline(always)]
fn refuses(nr: u16, ret: i64) -> bool {
    const EPERM: i64 = -1;
    const EACCES: i64 = -13;
    const ENOSYS: i64 = -38;
    matches!(ret, EPERM | EACCES | ENOSYS) || ret as u64 & !X32_BIT == u64::from(nr & !NR_X32)
}

/// A member ends: the call that it is in ends with it, unfinished. True where [`crate::record::queue`] is due.
#[inline(never)]
pub(crate) fn last_call(task: TaskPtr, state: *mut Task) -> bool {
    // SAFETY: not null: admit saw to it; the value is the current task's own.
    let state = unsafe { &mut *state };
    let Some(container) = admit::container(state) else {
        return false;
    };
    let mut due = false;
    let regs = task.regs();
    if let Some(place) = Place::of(regs) {
        if let Known::Light | Known::Member { light: true, .. } = place.known() {
            let member = Member {
                slot: state.slot,
                place: Some(place),
                light: true,
                state: ptr::null_mut(),
            };
            due = light_exit(member, task, regs, flag::UNFINISHED, 0);
        }
        place.forget();
    }
    if state.flags & task::PENDING != 0 {
        let now = now();
        state.flags &= !task::PENDING;
        let duration_ns = now - state.entered;
        due = finish(task, state, container, flag::UNFINISHED, 0, now, duration_ns);
    }
    due
}

/// A member ends, after its last call.
#[inline(never)]
pub(crate) fn task_exit(task: TaskPtr, state: *mut Task) -> u32 {
    // SAFETY: not null: admit saw to it; the value is the current task's own.
    let state = unsafe { &mut *state };
    let Some(container) = admit::container(state) else {
        count(Counter::Stale);
        return 0;
    };
    let is_last = task.is_last_thread();
    let (flags, words) = if is_last && task.is_oom_victim() {
        (flag::OOM, task.out_of_memory().words())
    } else {
        (0, [0; 4])
    };
    emit::process(
        Kind::Exit,
        flags,
        task,
        state,
        container,
        None,
        task.exit_code() as u16,
        words,
    );
    // Its namespaces go only after it: no inode number of theirs is used again before this.
    if is_last && task.tgid() == container.init_tgid {
        container.state |= state::ENDED;
    }
    // Nothing that this task might still do is a call.
    state.slot = 0;
    0
}

/// A member made a task: it is a member from its first instruction.
#[inline(always)]
pub(crate) fn fork(parent: TaskPtr, state: *mut Task, child: TaskPtr) {
    // SAFETY: not null: admit saw to it; the value is the current task's own.
    let state = unsafe { &mut *state };
    let Some(container) = admit::container(state) else {
        return count(Counter::Stale);
    };
    let made = TASKS.get_or_create(child);
    // SAFETY: null is checked; the child does not run before this program ends.
    let Some(made) = (unsafe { made.as_mut() }) else {
        // The child's namespaces will tell at its first call.
        return count(Counter::Undecided);
    };
    made.epoch = state.epoch;
    made.slot = state.slot;
    made.generation = state.generation;
    // A task that joined the PID namespace is not in it; its children are.
    made.level = admit::level_of(child, container.pid_ns);
    made.flags = state.flags & task::LASTING | task::FRESH;
    admit::number(child, made);
    let thread = if child.tgid() == parent.tgid() {
        flag::THREAD
    } else {
        0
    };
    emit::process(
        Kind::Fork,
        thread,
        parent,
        state,
        container,
        Some((child, made)),
        0,
        [0; 4],
    );
}

/// A member's execve succeeded.
#[inline(always)]
pub(crate) fn exec(task: TaskPtr, state: *mut Task, old_tid: u32, bprm: *const u8) {
    // SAFETY: not null: admit saw to it; the value is the current task's own.
    let state = unsafe { &mut *state };
    let Some(container) = admit::container(state) else {
        return count(Counter::Stale);
    };
    admit::number(task, state);
    state.flags &= !task::GUEST;
    if task.tgid() == container.init_tgid {
        if container.state & state::APP == 0 {
            capability::begin(task, state.slot);
        }
        container.state |= state::APP;
    }
    let stash = EXECS.get_or_create(task);
    // SAFETY: null is checked; the value is the current task's own.
    let stash = unsafe { stash.as_mut() }.map(|stash| {
        // For execveat(2) the kernel's own name of the file may be /dev/fd/N: there the caller's words stand, if they
        // could be read.
        let caller_named = u32::from(state.nr) == NR_EXECVEAT.load() && state.flags & task::COMPAT == 0;
        if !(caller_named && stash.path_flags & u32::from(section::FAULT) == 0) {
            execve::keep_path(stash, bprm);
        }
        if container.state & state::EXIT_ONLY != 0 {
            execve::of_program(stash, &kernel::program_args(task, bprm));
        }
        &*stash
    });
    emit::exec(task, state, container, old_tid, stash, bprm);
}

/// Counts a call that ended and queues its record. True where [`crate::record::queue`] is to do that.
#[inline(always)]
fn finish(
    task: TaskPtr,
    state: &mut Task,
    container: &Container,
    mut flags: u16,
    ret: i64,
    ktime: u64,
    duration_ns: u64,
) -> bool {
    let Some(books) = books(state.slot) else {
        return false;
    };
    books.finished += 1;
    capability::conclude(state, flags, ret);
    if container.state & state::APP != 0 {
        flags |= flag::APP;
    }
    let timed = flags & flag::NO_DURATION == 0;
    aggregate::add(&counted(state, flags, ret), timed.then_some(duration_ns), books);
    if container.state & state::COUNTS != 0 {
        books.counted += 1;
        drop_strings(task, state);
        return false;
    }
    if !sieve::passes(state, flags, ret, duration_ns) {
        books.filtered += 1;
        drop_strings(task, state);
        return false;
    }
    queue(task, state, container, books, flags, ret, ktime, duration_ns)
}

/// Queues the record of a call that some reader may want, if the container may have one more. One with sections is only
/// put down for [`crate::record::queue`]: true then.
#[allow(
    clippy::too_many_arguments,
    reason = "a call's parts; a struct for them would be built once and taken apart"
)]
#[inline(always)]
fn queue(
    task: TaskPtr,
    state: &mut Task,
    container: &Container,
    books: &mut Books,
    mut flags: u16,
    ret: i64,
    ktime: u64,
    duration_ns: u64,
) -> bool {
    if !sieve::may_have(container, ktime) {
        books.limited += 1;
        drop_strings(task, state);
        return false;
    }
    if state.flags & task::VIA_EXEC != 0 {
        flags |= flag::VIA_EXEC;
    }
    if state.flags & task::COMPAT != 0 {
        flags |= flag::COMPAT;
    }
    flags |= dentry::told(state.flags);
    if evidence::is_wanted(state, flags, ret) {
        state.flags |= task::EVIDENCE;
    }
    let ended = Ended {
        flags,
        ret,
        ktime,
        duration_ns,
    };
    if state.nops == 0 && state.flags & (task::FILES | task::EVIDENCE) == 0 {
        emit::plain(&Call { task, state, ended }, books);
        return false;
    }
    // Never `None`; but the verifier does not know it.
    let Some(to) = LAST.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: a value of this CPU, which no other program runs on meanwhile.
    unsafe {
        // Not by value: that is a loop over bytes on this target.
        (&raw mut (*to).state).copy_from_nonoverlapping(state, 1);
        (&raw mut (*to).ended).write(ended);
    }
    true
}

/// Frees what was kept of an execve of which no record is made.
#[inline(always)]
fn drop_strings(task: TaskPtr, state: &Task) {
    if state.flags & task::EXEC != 0 {
        EXECS.delete(task);
    }
}
