//! Queues records, and counts what it queued and what found no room. The only code that touches the ring: each reserve ends in a submit, each failure in a count.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{bpf_get_smp_processor_id, generated::bpf_ktime_get_ns, generated::bpf_ringbuf_output},
};
use tracer_common::filter::Books;
use tracer_common::{
    filter::{Container, Task, state, task},
    record::{Header, Kind, MAX_RECORD, Process, Syscall, flag},
};

use crate::{
    capture, execve,
    kernel::{RING_BYTES, TaskPtr},
    maps::{EVENTS, Exec, SCRATCH, Scratch},
    share,
};

/// Backlog at which the reader is woken, where the ring is large; below it, its own timeout serves.
const WAKE_AT: u64 = 1024 * 1024;
/// Of a small ring one of so many parts.
const WAKE_PART: u32 = 4;
/// One in so many records asks for the backlog (a power of two).
const WAKE_EVERY: u64 = 16;
/// Width of the window in which it is woken: wide enough that no run of [`WAKE_EVERY`] small records jumps over it,
/// narrow enough that a reader that lags is not woken at each record (an irq_work each: +680 ns a call).
const WAKE_WINDOW: u64 = 8 * 1024;

/// How a call ended, and when.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Ended {
    pub ret: i64,
    pub ktime: u64,
    pub duration_ns: u64,
    pub flags: u16,
}

/// A call that ended.
pub(crate) struct Call<'a> {
    pub task: TaskPtr,
    pub state: &'a Task,
    pub ended: Ended,
}

/// The same, put down for the functions that make a record of it one after the other: a look at the task's storage costs
/// more than the copy, and each of them would need one.
#[repr(C)]
pub(crate) struct Last {
    pub state: Task,
    pub ended: Ended,
}

/// Wakes the reader when it is urgent, or when the backlog crosses the mark.
#[inline(always)]
fn wake(seq: u64, urgent: bool) -> u64 {
    if urgent {
        return u64::from(BPF_RB_FORCE_WAKEUP);
    }
    if seq & (WAKE_EVERY - 1) == 0 {
        let backlog = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA));
        let part = u64::from(RING_BYTES.load() / WAKE_PART);
        let mark = if part < WAKE_AT { part } else { WAKE_AT };
        if (mark..mark + WAKE_WINDOW).contains(&backlog) {
            return u64::from(BPF_RB_FORCE_WAKEUP);
        }
    }
    u64::from(BPF_RB_NO_WAKEUP)
}

#[inline(always)]
fn header(kind: Kind, flags: u16, task: TaskPtr, state: &Task, seq: u64, ktime: u64) -> Header {
    Header {
        kind: kind as u16,
        flags,
        slot: state.slot as u16,
        // SAFETY: no precondition.
        cpu: unsafe { bpf_get_smp_processor_id() } as u16,
        generation: state.generation,
        nr: state.nr,
        nargs: 0,
        seq,
        ktime,
        tgid: task.tgid(),
        tid: task.tid(),
        ns_tgid: state.ns_tgid,
        ns_tid: state.ns_tid,
    }
}

/// Why numbers are missing before the next record.
#[inline(always)]
fn behind(books: &Books) -> u16 {
    if books.behind == 0 { 0 } else { flag::OVER_SHARE }
}

/// A system call's fixed part and its first `N` arguments.
#[repr(C)]
struct Plain<const N: usize> {
    fixed: Syscall,
    args: [u64; N],
}

/// Queues a call of which nothing is copied. The record has room for no, three or six arguments: a reserve wants a
/// constant size, and what is written to the ring is what costs.
#[inline(always)]
pub(crate) fn plain(call: &Call<'_>, books: &mut Books) {
    let nargs = call.state.nargs;
    if nargs == 0 {
        reserve::<0>(call, books);
    } else if nargs <= 3 {
        reserve::<3>(call, books);
    } else {
        reserve::<6>(call, books);
    }
}

/// The same for a call whose copies could not be made.
#[inline(never)]
pub(crate) fn bare(call: &Call<'_>, books: &mut Books) -> u32 {
    let ended = Ended {
        flags: call.ended.flags | flag::NO_ROOM,
        ..call.ended
    };
    reserve::<6>(&Call { ended, ..*call }, books);
    0
}

#[inline(always)]
fn reserve<const N: usize>(call: &Call<'_>, books: &mut Books) {
    books.seq += 1;
    let seq = books.seq;
    let len = size_of::<Plain<N>>() as u32;
    let Some(urgent) = share::take(call.state.slot, books, len) else {
        books.over_share += 1;
        books.behind = 1;
        return;
    };
    let Some(mut entry) = EVENTS.reserve::<Plain<N>>(0) else {
        share::put_back(books, len);
        books.ring_full += 1;
        return;
    };
    let record = entry.as_mut_ptr();
    let flags = call.ended.flags | behind(books);
    books.behind = 0;
    let mut head = header(Kind::Syscall, flags, call.task, call.state, seq, call.ended.ktime);
    head.nargs = N as u16;
    // SAFETY: the entry is of that size and ours until the submit.
    unsafe {
        (&raw mut (*record).fixed).write(Syscall {
            header: head,
            duration_ns: call.ended.duration_ns,
            ret: call.ended.ret,
        });
        for index in 0..N {
            (&raw mut (*record).args)
                .cast::<u64>()
                .add(index)
                .write(call.state.args[index]);
        }
    }
    books.emitted += 1;
    entry.submit(wake(seq, urgent));
}

/// The buffer in which records with sections are put together.
#[inline(always)]
pub(crate) fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: a value of this CPU, which no other program runs on meanwhile: preemption is off (see `preempt`).
    SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}

/// Writes a call's head into the scratch and gives it its number. Returns where the sections begin.
#[inline(always)]
pub(crate) fn head(scratch: &mut Scratch, call: &Call<'_>, books: &mut Books) -> u32 {
    let nargs = call.state.nargs;
    books.seq += 1;
    let mut head = header(
        Kind::Syscall,
        call.ended.flags | behind(books),
        call.task,
        call.state,
        books.seq,
        call.ended.ktime,
    );
    head.nargs = 6;
    let record = scratch.0.as_mut_ptr().cast::<Plain<6>>();
    // SAFETY: the scratch is aligned and far larger.
    unsafe {
        // Not by value: that is a loop over bytes on this target.
        (&raw mut (*record).args).copy_from_nonoverlapping(&raw const call.state.args, 1);
        if nargs <= 3 {
            head.nargs = 3;
        }
        (&raw mut (*record).fixed).write(Syscall {
            header: head,
            duration_ns: call.ended.duration_ns,
            ret: call.ended.ret,
        });
    }
    if nargs <= 3 {
        size_of::<Plain<3>>() as u32
    } else {
        size_of::<Plain<6>>() as u32
    }
}

/// Copies `len` bytes of the scratch into the ring.
#[inline(always)]
fn output(scratch: &Scratch, len: u32, wake: u64) -> bool {
    let len = len as usize & (2 * MAX_RECORD - 1);
    let len = if len > MAX_RECORD { MAX_RECORD } else { len };
    // SAFETY: the scratch holds more than MAX_RECORD bytes.
    let result = unsafe {
        bpf_ringbuf_output(
            ptr::from_ref(&EVENTS).cast_mut().cast::<c_void>(),
            scratch.0.as_ptr().cast_mut().cast::<c_void>(),
            len as u64,
            wake,
        )
    };
    result == 0
}

/// Queues the call that is in the scratch, and wakes the reader where it is urgent.
#[inline(always)]
pub(crate) fn scratch_record(scratch: &Scratch, slot: u32, len: u32, books: &mut Books, urgent: bool) {
    let Some(pressed) = share::take(slot, books, len) else {
        books.over_share += 1;
        books.behind = 1;
        return;
    };
    if output(scratch, len, wake(books.seq, urgent || pressed)) {
        books.emitted += 1;
        books.behind = 0;
    } else {
        share::put_back(books, len);
        books.ring_full += 1;
    }
}

/// Flags that a process record takes from its task and its container.
#[inline(always)]
fn process_flags(state: &Task, container: &Container) -> u16 {
    let mut flags = 0;
    if state.flags & task::VIA_EXEC != 0 {
        flags |= flag::VIA_EXEC;
    }
    if container.state & state::APP != 0 {
        flags |= flag::APP;
    }
    flags
}

/// Queues a process record without sections.
#[allow(
    clippy::too_many_arguments,
    reason = "a record's fields; a struct for them would be built once and taken apart"
)]
#[inline(always)]
pub(crate) fn process(
    kind: Kind,
    flags: u16,
    task: TaskPtr,
    state: &Task,
    container: &Container,
    child: Option<(TaskPtr, &Task)>,
    code: u16,
    words: [u32; 4],
) {
    let Some(books) = capture::books(state.slot) else {
        return;
    };
    if container.state & state::COUNTS != 0 {
        return;
    }
    books.process_seq += 1;
    let seq = books.process_seq;
    let len = size_of::<Process>() as u32;
    let Some(urgent) = share::take(state.slot, books, len) else {
        books.process_ring_full += 1;
        return;
    };
    let Some(mut entry) = EVENTS.reserve::<Process>(0) else {
        share::put_back(books, len);
        books.process_ring_full += 1;
        return;
    };
    let flags = flags | process_flags(state, container);
    // SAFETY: no precondition.
    let ktime = unsafe { bpf_ktime_get_ns() };
    let mut head = header(kind, flags, task, state, seq, ktime);
    head.nr = code;
    let record = entry.as_mut_ptr();
    // SAFETY: the entry is of that size and ours until the submit.
    unsafe {
        (&raw mut (*record).header).write(head);
        if let Some((child, made)) = child {
            (*record).other_tid = child.tid();
            (*record).other_tgid = child.tgid();
            (*record).other_ns_tgid = made.ns_tgid;
            (*record).other_ns_tid = made.ns_tid;
            (&raw mut (*record).comm).write(child.comm());
        } else {
            (*record).other_tid = words[0];
            (*record).other_ns_tgid = words[1];
            (*record).other_ns_tid = words[2];
            (*record).other_tgid = words[3];
            (&raw mut (*record).comm).write(task.comm());
        }
    }
    books.process_emitted += 1;
    entry.submit(wake(seq, urgent));
}

/// Queues an exec record with its path: that which was kept, or else the kernel's own.
#[inline(always)]
pub(crate) fn exec(
    task: TaskPtr,
    state: &Task,
    container: &Container,
    old_tid: u32,
    stash: Option<&Exec>,
    bprm: *const u8,
) {
    let Some(books) = capture::books(state.slot) else {
        return;
    };
    if container.state & state::COUNTS != 0 {
        return;
    }
    books.process_seq += 1;
    let seq = books.process_seq;
    let Some(scratch) = scratch() else {
        books.process_ring_full += 1;
        return;
    };
    // SAFETY: no precondition.
    let ktime = unsafe { bpf_ktime_get_ns() };
    let mut head = header(
        Kind::Exec,
        process_flags(state, container),
        task,
        state,
        seq,
        ktime,
    );
    head.nr = 0;
    let record = scratch.0.as_mut_ptr().cast::<Process>();
    // SAFETY: the scratch is aligned and far larger.
    unsafe {
        (&raw mut (*record).header).write(head);
        (*record).other_tid = old_tid;
        (*record).other_tgid = 0;
        (*record).other_ns_tgid = 0;
        (*record).other_ns_tid = 0;
        (&raw mut (*record).comm).write(task.comm());
    }
    let at = size_of::<Process>() as u32;
    let end = match stash {
        Some(stash) => {
            let path = execve::path_head(0, stash.path_len, stash.path_flags);
            execve::stashed(scratch, at, path, stash.path.as_ptr(), stash.path_len)
        }
        None => execve::path_section(scratch, at, bprm),
    };
    let Some(urgent) = share::take(state.slot, books, end) else {
        books.process_ring_full += 1;
        return;
    };
    if output(scratch, end, wake(seq, urgent)) {
        books.process_emitted += 1;
    } else {
        share::put_back(books, end);
        books.process_ring_full += 1;
    }
}
