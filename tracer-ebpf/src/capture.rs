//! Copies what a member's call was: its arguments at the enter, what they point to at the exit, execve's strings at
//! its enter. Decides nothing about membership and writes no ring.

use core::{ffi::c_void, ptr};

use aya_ebpf::helpers::generated::{
    bpf_ktime_get_ns, bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_probe_read_user,
    bpf_probe_read_user_str,
};
use tracer_common::filter::{Books, Container, NR_X32, X32_BIT};
use tracer_common::{
    filter::{COMPAT_PLANS, Counter, MAX_COPY, MAX_OPS, Op, Plan, Task, copy, plan, state, task, when},
    record::{Kind, MAX_RECORD, Section, flag, section},
};

use crate::{
    admit,
    emit::{self, Call},
    kernel::{self, NR_EXECVEAT, Regs, TaskPtr},
    maps::{BOOKS, EXECS, PLANS, STASH, Scratch, TASKS, count},
    sieve,
};

/// Most strings of an argv that are looked at.
const MAX_ARGV: u32 = 64;
/// Most strings of an environment that are counted.
const MAX_ENVP: u32 = 512;

#[inline(always)]
fn now() -> u64 {
    // SAFETY: no precondition.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
pub(crate) fn books(slot: u32) -> Option<&'static mut Books> {
    // SAFETY: a value of this CPU, which no other program runs on meanwhile; it lives as long as the map.
    BOOKS.get_ptr_mut(slot).map(|books| unsafe { &mut *books })
}

/// A call's number as records and plans hold it.
#[inline(always)]
fn short_nr(nr: u64) -> u16 {
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
fn plan_of(nr: u16, compat: bool) -> Option<&'static Plan> {
    let index = u32::from(nr & !NR_X32);
    if index >= COMPAT_PLANS {
        return None;
    }
    PLANS.get(if compat { index + COMPAT_PLANS } else { index })
}

/// Notes which call it is and its arguments; only as many as it has, by three: what is written is what costs. Returns
/// whether it is an execve.
#[inline(always)]
fn begin(task: TaskPtr, state: &mut Task, regs: Regs, nr: u64) -> bool {
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
    flags & plan::EXEC != 0
}

/// A member enters a call.
#[inline(always)]
pub(crate) fn enter(task: TaskPtr, state: *mut Task, regs: Regs, nr: u64) {
    // SAFETY: not null: admit saw to it; the value is the current task's own.
    let state = unsafe { &mut *state };
    if let Some(books) = books(state.slot) {
        books.admitted += 1;
        if state.flags & task::PENDING != 0 {
            unpaired(state, books);
        }
    }
    state.flags = state.flags & task::VIA_EXEC | task::PENDING;
    if begin(task, state, regs, nr) {
        state.flags |= task::EXEC;
        exec_enter(task, state);
    }
    // Last, so that the duration is the call's and not ours.
    state.entered = now();
}

/// The call in flight will never be seen to end: book it, so that the equation holds.
#[inline(never)]
fn unpaired(state: &mut Task, books: &mut Books) {
    books.unpaired += 1;
    books.finished += 1;
    let app = admit::container(state).is_some_and(|container| container.state & state::APP != 0);
    let flags = flag::UNFINISHED | if app { flag::APP } else { 0 };
    emit::aggregate(state, flags, 0, 0, books);
}

/// A member leaves a call, or was kept out of one.
#[inline(always)]
pub(crate) fn exit(task: TaskPtr, state: *mut Task, regs: Regs, ret: i64) {
    let now = now();
    // SAFETY: not null: admit saw to it; the value is the current task's own.
    let state = unsafe { &mut *state };
    let Some(container) = admit::container(state) else {
        state.flags &= !task::PENDING;
        return count(Counter::Stale);
    };
    if state.flags & task::PENDING != 0 {
        state.flags &= !task::PENDING;
        let duration_ns = now - state.entered;
        let flags = if task.is_killed() { flag::UNFINISHED } else { 0 };
        finish(task, state, container, flags, ret, now, duration_ns);
    } else if state.flags & task::FRESH != 0 {
        // The fork's own return in the child.
        state.flags &= !task::FRESH;
    } else {
        let flags = refused(task, state, regs);
        finish(task, state, container, flags, ret, now, 0);
    }
}

/// No enter: seccomp and ptrace come before it, the exit comes all the same. Returns the record's flags.
#[inline(never)]
fn refused(task: TaskPtr, state: &mut Task, regs: Regs) -> u16 {
    state.flags &= !task::COMPAT;
    begin(task, state, regs, regs.nr());
    if let Some(books) = books(state.slot) {
        books.admitted += 1;
    }
    flag::NO_DURATION
        | if task.has_seccomp() {
            flag::SECCOMP
        } else {
            flag::SKIPPED
        }
}

/// A member ends: the call that it is in ends with it, unfinished.
#[inline(always)]
pub(crate) fn task_exit(task: TaskPtr, state: *mut Task) {
    // SAFETY: not null: admit saw to it; the value is the current task's own.
    let state = unsafe { &mut *state };
    let Some(container) = admit::container(state) else {
        return count(Counter::Stale);
    };
    if state.flags & task::PENDING != 0 {
        let now = now();
        state.flags &= !task::PENDING;
        let duration_ns = now - state.entered;
        finish(task, state, container, flag::UNFINISHED, 0, now, duration_ns);
    }
    emit::process(
        Kind::Exit,
        0,
        task,
        state,
        container,
        None,
        task.exit_code() as u16,
        0,
    );
    // Its namespaces go only after it: no inode number of theirs is used again before this.
    if task.tgid() == container.init_tgid && task.is_last_thread() {
        container.state |= state::ENDED;
    }
    // Nothing that this task might still do is a call.
    state.slot = 0;
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
    made.flags = state.flags & task::VIA_EXEC | task::FRESH;
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
        0,
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
    if task.tgid() == container.init_tgid {
        container.state |= state::APP;
    }
    let stash = EXECS.get_or_create(task);
    // SAFETY: null is checked; the value is the current task's own.
    if let Some(stash) = unsafe { stash.as_mut() } {
        // For execveat(2) the kernel's own name of the file may be /dev/fd/N: there the caller's words stand, if they
        // could be read.
        let caller_named = u32::from(state.nr) == NR_EXECVEAT.load() && state.flags & task::COMPAT == 0;
        if !(caller_named && stash.path_flags & u32::from(section::FAULT) == 0) {
            // SAFETY: the destination is of that size; the helper checks the source.
            let len = unsafe {
                bpf_probe_read_kernel_str(
                    stash.path.as_mut_ptr().cast(),
                    STASH as u32,
                    kernel::exec_filename(bprm).cast(),
                )
            };
            (stash.path_len, stash.path_flags) = string_result(len, STASH as u32);
        }
        emit::exec(task, state, container, old_tid, stash);
    }
}

/// Length without NUL, and flags, from what a `bpf_probe_read_*_str` returned for a buffer of `size`.
#[inline(always)]
fn string_result(len: i64, size: u32) -> (u32, u32) {
    if len < 0 {
        return (0, u32::from(section::FAULT));
    }
    if len == 0 {
        return (0, 0);
    }
    let len = len as u32;
    (len - 1, if len >= size { u32::from(section::CUT) } else { 0 })
}

/// Takes execve's strings before the call can succeed.
#[inline(never)]
fn exec_enter(task: TaskPtr, state: &mut Task) -> u32 {
    let stash = EXECS.get_or_create(task);
    // SAFETY: null is checked; the value is the current task's own.
    let Some(stash) = (unsafe { stash.as_mut() }) else {
        return 0;
    };
    let at = state.flags & task::COMPAT == 0 && u32::from(state.nr) == NR_EXECVEAT.load();
    let (path, argv, envp) = if at {
        (state.args[1], state.args[2], state.args[3])
    } else {
        (state.args[0], state.args[1], state.args[2])
    };
    // SAFETY: the destination is of that size; the helper checks the source.
    let len = unsafe {
        bpf_probe_read_user_str(
            stash.path.as_mut_ptr().cast(),
            STASH as u32,
            path as *const c_void,
        )
    };
    (stash.path_len, stash.path_flags) = string_result(len, STASH as u32);
    stash.argv_flags = 0;
    stash.argc = 0;
    let wide = state.flags & task::COMPAT == 0;
    let mut at = 0u32;
    for index in 0..MAX_ARGV {
        let Some(address) = pointer(argv, index, wide) else {
            // A NULL argv is an empty one (execve(2), NOTES).
            if argv != 0 {
                stash.argv_flags |= u32::from(section::FAULT);
            }
            break;
        };
        if address == 0 {
            break;
        }
        stash.argc += 1;
        if at >= STASH as u32 {
            stash.argv_flags |= u32::from(section::CUT);
            break;
        }
        // SAFETY: `at` is below STASH and the buffer holds twice that; the helper checks the source.
        let len = unsafe {
            bpf_probe_read_user_str(
                stash.argv.as_mut_ptr().add(at as usize & (STASH - 1)).cast(),
                STASH as u32,
                address as *const c_void,
            )
        };
        if len < 0 {
            stash.argv_flags |= u32::from(section::FAULT);
            break;
        }
        at += len as u32 & (2 * STASH as u32 - 1);
        if index == MAX_ARGV - 1 {
            stash.argv_flags |= u32::from(section::CUT);
        }
    }
    if at > STASH as u32 {
        at = STASH as u32;
        stash.argv_flags |= u32::from(section::CUT);
    }
    stash.argv_len = at;
    // Of the environment only the number: it is where secrets are.
    stash.envc = 0;
    stash.envp_flags = u32::from(section::CUT);
    for index in 0..MAX_ENVP {
        match pointer(envp, index, wide) {
            Some(0) => {
                stash.envp_flags = 0;
                break;
            }
            Some(_) => stash.envc += 1,
            None => {
                stash.envp_flags = if envp == 0 { 0 } else { u32::from(section::FAULT) };
                break;
            }
        }
    }
    0
}

/// The pointer at an index of a user array.
#[inline(always)]
fn pointer(array: u64, index: u32, wide: bool) -> Option<u64> {
    let mut value = 0u64;
    let size = if wide { 8 } else { 4 };
    let from = array.wrapping_add(u64::from(index * size));
    // SAFETY: at most eight bytes into a local of eight; the helper checks the source.
    let read = unsafe { bpf_probe_read_user(ptr::from_mut(&mut value).cast(), size, from as *const c_void) };
    (read == 0).then_some(value)
}

/// Counts a call that ended and queues its record.
#[inline(always)]
fn finish(
    task: TaskPtr,
    state: &mut Task,
    container: &Container,
    mut flags: u16,
    ret: i64,
    ktime: u64,
    duration_ns: u64,
) {
    let Some(books) = books(state.slot) else { return };
    books.finished += 1;
    if container.state & state::APP != 0 {
        flags |= flag::APP;
    }
    emit::aggregate(state, flags, ret, duration_ns, books);
    if container.state & state::COUNTS != 0 {
        books.counted += 1;
        return drop_strings(task, state);
    }
    if !sieve::passes(state, flags, ret, duration_ns) {
        books.filtered += 1;
        return drop_strings(task, state);
    }
    if state.flags & task::VIA_EXEC != 0 {
        flags |= flag::VIA_EXEC;
    }
    if state.flags & task::COMPAT != 0 {
        flags |= flag::COMPAT;
    }
    let call = Call {
        task,
        state,
        flags,
        ret,
        ktime,
        duration_ns,
    };
    if state.nops == 0 {
        emit::plain(&call, books);
    } else {
        with_sections(&call, books);
    }
}

/// Frees what was kept of an execve of which no record is made.
#[inline(always)]
fn drop_strings(task: TaskPtr, state: &Task) {
    if state.flags & task::EXEC != 0 {
        EXECS.delete(task);
    }
}

/// Puts a record with sections together and queues it.
#[inline(never)]
fn with_sections(call: &Call<'_>, books: &mut Books) -> u32 {
    let Some(plan) = plan_of(call.state.nr, call.flags & flag::COMPAT != 0) else {
        return 0;
    };
    let Some(scratch) = emit::scratch() else { return 0 };
    let mut at = emit::head(scratch, call, books);
    let unfinished = call.flags & flag::UNFINISHED != 0;
    if plan.flags & plan::EXEC != 0 {
        at = exec_sections(scratch, at, call);
    } else {
        let failed = unfinished || (call.ret < 0 && call.ret >= -4095);
        for index in 0..MAX_OPS {
            if index >= plan.nops as usize {
                break;
            }
            let op = &plan.ops[index];
            if op.kind == copy::NONE || (op.flags & when::SUCCESS != 0 && failed) {
                continue;
            }
            at = one_section(scratch, at, call, op);
        }
    }
    emit::scratch_record(scratch, at, books);
    0
}

/// Copies what one argument points to. Returns where the next section begins.
#[inline(always)]
fn one_section(scratch: &mut Scratch, at: u32, call: &Call<'_>, op: &Op) -> u32 {
    let arg = op.arg as usize;
    let len_arg = op.len_arg as usize;
    if arg > 5 || len_arg > 5 {
        return at;
    }
    let address = call.state.args[arg];
    if address == 0 {
        return at;
    }
    let mut max = u32::from(op.max);
    if max > u32::from(MAX_COPY) {
        max = u32::from(MAX_COPY);
    }
    if at as usize >= MAX_RECORD - size_of::<Section>() - MAX_COPY as usize {
        return at;
    }
    let body = at + size_of::<Section>() as u32;
    // SAFETY: `body + max` is below MAX_RECORD, which the scratch holds; masked for the verifier.
    let to = unsafe { scratch.0.as_mut_ptr().add(body as usize & (MAX_RECORD - 1)) };
    let (len, flags);
    if op.kind == copy::STR {
        // SAFETY: see `to`; the helper checks the source.
        let got = unsafe { bpf_probe_read_user_str(to.cast(), max, address as *const c_void) };
        let result = string_result(got, max);
        (len, flags) = (result.0, result.1 as u16);
    } else {
        let mut asked = match op.kind {
            copy::LEN_ARG => call.state.args[len_arg],
            copy::LEN_RET => call.ret as u64,
            _ => u64::from(max),
        };
        if op.flags & when::LEN_INT != 0 {
            asked &= 0xffff_ffff;
        }
        if op.scale > 1 && op.kind != copy::FIXED {
            // More than this is cut anyway, and cannot overflow; u64 multiplication with a check is a call on BPF.
            asked = if asked > 0xffff_ffff {
                asked
            } else {
                asked * u64::from(op.scale)
            };
        }
        let take = if asked > u64::from(max) { max } else { asked as u32 };
        let cut = if asked > u64::from(max) && op.kind != copy::FIXED {
            section::CUT
        } else {
            0
        };
        let size = take & (2 * u32::from(MAX_COPY) - 1);
        let size = if size > u32::from(MAX_COPY) {
            u32::from(MAX_COPY)
        } else {
            size
        };
        // SAFETY: see `to`; the helper checks the source.
        let got = unsafe { bpf_probe_read_user(to.cast(), size, address as *const c_void) };
        (len, flags) = if got == 0 {
            (size, cut)
        } else {
            (0, section::FAULT)
        };
    }
    put_section(
        scratch,
        at,
        Section {
            arg: op.arg,
            kind: op.kind,
            flags,
            len: len as u16,
            total: 0,
        },
    );
    body + (len & (2 * u32::from(MAX_COPY) - 1))
}

/// Writes a section's head.
#[inline(always)]
fn put_section(scratch: &mut Scratch, at: u32, head: Section) {
    // SAFETY: the caller saw to room for it; masked for the verifier, unaligned since sections are not padded.
    unsafe {
        scratch
            .0
            .as_mut_ptr()
            .add(at as usize & (MAX_RECORD - 1))
            .cast::<Section>()
            .write_unaligned(head);
    }
}

/// The path and the argv of an execve, from what was kept at its enter; a failed one's path is read again if it was
/// not there then.
#[inline(always)]
fn exec_sections(scratch: &mut Scratch, at: u32, call: &Call<'_>) -> u32 {
    let stash = EXECS.get(call.task);
    // SAFETY: null is checked; the value is the current task's own.
    let Some(stash) = (unsafe { stash.as_mut() }) else {
        return at;
    };
    let execveat = call.state.flags & task::COMPAT == 0 && u32::from(call.state.nr) == NR_EXECVEAT.load();
    let first = u8::from(execveat);
    if call.ret < 0 && stash.path_flags & u32::from(section::FAULT) != 0 {
        let path = if execveat {
            call.state.args[1]
        } else {
            call.state.args[0]
        };
        // SAFETY: the destination is of that size; the helper checks the source.
        let len = unsafe {
            bpf_probe_read_user_str(
                stash.path.as_mut_ptr().cast(),
                STASH as u32,
                path as *const c_void,
            )
        };
        (stash.path_len, stash.path_flags) = string_result(len, STASH as u32);
    }
    let path = Section {
        arg: first,
        kind: copy::STR,
        flags: stash.path_flags as u16,
        len: stash.path_len as u16,
        total: 0,
    };
    let at = stashed(scratch, at, path, stash.path.as_ptr(), stash.path_len);
    let argv = Section {
        arg: first + 1,
        kind: copy::ARGV,
        flags: stash.argv_flags as u16,
        len: stash.argv_len as u16,
        total: stash.argc as u16,
    };
    let at = stashed(scratch, at, argv, stash.argv.as_ptr(), stash.argv_len);
    let envp = Section {
        arg: first + 2,
        kind: copy::ARGV,
        flags: stash.envp_flags as u16,
        len: 0,
        total: stash.envc as u16,
    };
    let at = stashed(scratch, at, envp, stash.argv.as_ptr(), 0);
    EXECS.delete(call.task);
    at
}

/// Appends a section from kernel memory; at most [`STASH`] bytes.
#[inline(always)]
pub(crate) fn stashed(scratch: &mut Scratch, at: u32, head: Section, from: *const u8, len: u32) -> u32 {
    let at = at & (MAX_RECORD as u32 - 1);
    let mut len = len & (2 * STASH as u32 - 1);
    if len > STASH as u32 {
        len = STASH as u32;
    }
    put_section(scratch, at, head);
    let body = at + size_of::<Section>() as u32;
    // SAFETY: at most STASH bytes at an offset below MAX_RECORD, both within the scratch; the source is a map value.
    unsafe {
        let to = scratch.0.as_mut_ptr().add(body as usize & (MAX_RECORD - 1));
        bpf_probe_read_kernel(to.cast(), len, from.cast());
    }
    body + len
}
