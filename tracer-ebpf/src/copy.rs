//! Copies what the arguments of a member's call point to, by the call's plan: sections of a record. Decides nothing
//! about membership and knows no system call.
//!
//! Most copies are made when the call has ended. What the call may overwrite is copied when it begins ([`at_enter`]),
//! kept in the task's storage, and put before the rest of the record when it ends ([`sections`]).
//!
//! The functions that nest (a call has copies, a message has a vector, a vector has buffers) are global ones: the verifier
//! looks at each once, for all arguments, instead of at each path that leads to it. So a vector in a message in an array
//! of messages costs it no more than its own few instructions, on any kernel that knows global functions with pointers
//! (5.12); bpf_loop, which would do as well, came with 5.17.

use core::{ffi::c_void, hint::black_box, ptr};

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user, bpf_probe_read_user_str};
use tracer_common::{
    filter::{
        MAX_CONTROL, MAX_COPY, MAX_ENTRIES, MAX_KEPT, MAX_NAME, MAX_OPS, MAX_VECTOR, NEAR_BYTES, Op, Plan,
        Task, copy, descriptors, part, plan, task, when,
    },
    record::{DATA_END, MAX_RECORD, Section, flag, section},
};

use crate::{
    capture::plan_of,
    emit,
    kernel::{Regs, TaskPtr},
    maps::{KEPT, Scratch},
    sieve,
};

/// Bytes of a section's head.
pub(crate) const HEAD: u32 = size_of::<Section>() as u32;
/// No page is smaller, so memory is there or not from one multiple of it to the next.
const PAGE: u32 = 4096;
/// `struct msghdr`, `struct mmsghdr` and `struct iovec` of 64-bit callers; plans ask for them only there.
const MSGHDR: u32 = 56;
const MMSGHDR: u32 = 64;
const IOVEC: u32 = 16;
/// Bytes before a `struct linux_dirent64`'s name; its `d_reclen` is where `struct linux_dirent` has it, too.
const DIRENT: u64 = 19;
const DIRENT_RECLEN: u64 = 16;
/// As much as there is.
const ALL: u64 = u64::MAX;

/// Length without NUL, and flags, from what a `bpf_probe_read_*_str` returned for a buffer of `size`.
#[inline(always)]
pub(crate) fn string_result(len: i64, size: u32) -> (u32, u32) {
    if len < 0 {
        return (0, u32::from(section::FAULT));
    }
    if len == 0 {
        return (0, 0);
    }
    let len = len as u32;
    (len - 1, if len >= size { u32::from(section::CUT) } else { 0 })
}

/// A section's head as one number: what a global function can be given.
#[inline(always)]
const fn head(arg: u8, kind: u8, flags: u16, len: u16, total: u16) -> u64 {
    arg as u64 | (kind as u64) << 8 | (flags as u64) << 16 | (len as u64) << 32 | (total as u64) << 48
}

/// [`section::DATA`] in such a number.
const DATA: u64 = (section::DATA as u64) << 16;

/// Another part of the same argument, with its own flags; the length is left out, and that it is data.
#[inline(always)]
const fn part_of(of: u64, add: u16, flags: u16) -> u64 {
    (of & !(0xffff << 32 | DATA)) + ((add as u64) << 48) | (flags as u64) << 16
}

/// The length in such a number.
#[inline(always)]
const fn len_of(head: u64) -> u32 {
    (head >> 32) as u32 & 0xffff
}

/// `index + 1`. VERIFIER(6.18): left to itself LLVM counts down from the smaller bound, which is no constant, and the
/// verifier finds no end; a number of less than eight bytes it forgets on the way through the stack.
#[inline(always)]
fn after(index: u32) -> u32 {
    black_box(u64::from(index)) as u32 + 1
}

/// Writes a section's head.
#[inline(always)]
pub(crate) fn put_head(scratch: &mut Scratch, at: u32, head: Section) {
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

/// The same from one number, with what became of it.
#[inline(always)]
fn put_number(scratch: &mut Scratch, at: u32, head: u64, len: u32, flags: u16) {
    let all = head & !(0xffff << 32) | (flags as u64) << 16 | (len as u64) << 32;
    // SAFETY: as in `put_head`; a `Section` is these eight bytes, lowest first.
    unsafe {
        scratch
            .0
            .as_mut_ptr()
            .add(at as usize & (MAX_RECORD - 1))
            .cast::<u64>()
            .write_unaligned(all);
    }
}

/// Adds to the flags of the record that is in the scratch; where it holds none yet, they are written over.
#[inline(always)]
fn mark(scratch: &mut Scratch, more: u16) {
    // SAFETY: the flags of a record's header.
    unsafe {
        let flags = scratch.0.as_mut_ptr().add(2).cast::<u16>();
        flags.write(flags.read() | more);
    }
}

/// Marks the record as one that lacks a copy.
#[inline(always)]
pub(crate) fn no_room(scratch: &mut Scratch, at: u32) -> u32 {
    mark(scratch, flag::NO_ROOM);
    at
}

/// Bytes of the scratch, from a section that was just put there.
#[inline(always)]
fn read<T: Copy>(scratch: &Scratch, at: u32) -> T {
    // SAFETY: masked; the scratch holds more than MAX_RECORD and the largest T.
    unsafe {
        scratch
            .0
            .as_ptr()
            .add(at as usize & (MAX_RECORD - 1))
            .cast::<T>()
            .read_unaligned()
    }
}

/// Rounds of [`copy_bytes`]: a record has room for no more.
const ROUNDS: u32 = (MAX_RECORD / MAX_COPY as usize) as u32;

/// Puts a section of `size` bytes from user memory at `at` of the scratch, as many of them as are there. Of data it is as
/// many as there is room for, but as many as `head` has for a length in any case. Returns where the next one begins; `at`
/// itself when there is no room.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn copy_bytes(at: u32, address: u64, size: u32, head: u64) -> u32 {
    let Some(scratch) = emit::scratch() else { return at };
    // VERIFIER(6.18): of a sum it keeps no bound of its parts, so each has its own.
    let body = (at & (2 * MAX_RECORD as u32 - 1)) + HEAD;
    let mut flags = 0;
    let mut most = u32::from(MAX_COPY);
    if head & DATA != 0 {
        most = (DATA_END as u32).saturating_sub(body).max(len_of(head));
        if size > most {
            flags = section::CUT;
        }
    }
    let size = if size > most { most } else { size };
    if body > MAX_RECORD as u32 || size > MAX_RECORD as u32 || body + size > MAX_RECORD as u32 {
        return no_room(scratch, at);
    }
    let (mut len, mut round) = (0, 0);
    while round < ROUNDS && len < size {
        let left = size - len;
        let take = if left > u32::from(MAX_COPY) {
            u32::from(MAX_COPY)
        } else {
            left
        };
        // VERIFIER(6.18): LLVM knows that this holds and leaves it out; the verifier does not.
        let end = black_box(u64::from(body + len)) as u32;
        if end > MAX_RECORD as u32 {
            break;
        }
        // SAFETY: `end` is at most MAX_RECORD, and the scratch holds MAX_COPY more.
        let to: *mut c_void = unsafe { scratch.0.as_mut_ptr().add(end as usize) }.cast();
        let from = address.wrapping_add(u64::from(len));
        // SAFETY: see `to`; the helper checks the source.
        let got = unsafe { bpf_probe_read_user(to, take, from as *const c_void) };
        if got != 0 {
            flags |= section::FAULT;
            let whole = PAGE - (from as u32 & (PAGE - 1));
            // SAFETY: as above, and less than `take`.
            if whole < take && unsafe { bpf_probe_read_user(to, whole, from as *const c_void) } == 0 {
                len += whole;
            }
            break;
        }
        len += take;
        round = after(round);
    }
    put_number(scratch, at, head, len, flags);
    body + len
}

/// The same of a NUL-terminated string of at most `size` bytes.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn copy_string(at: u32, address: u64, size: u32, head: u64) -> u32 {
    let Some(scratch) = emit::scratch() else { return at };
    let size = if size > u32::from(MAX_COPY) {
        u32::from(MAX_COPY)
    } else {
        size
    };
    let body = (at & (2 * MAX_RECORD as u32 - 1)) + HEAD;
    if body > MAX_RECORD as u32 || body + size > MAX_RECORD as u32 {
        return no_room(scratch, at);
    }
    // SAFETY: as in `copy_bytes`; the helper checks the source.
    let got = unsafe {
        let to = scratch.0.as_mut_ptr().add(body as usize);
        bpf_probe_read_user_str(to.cast(), size, address as *const c_void)
    };
    let (len, flags) = string_result(got, size);
    put_number(scratch, at, head, len, flags as u16);
    body + len
}

/// Puts a `struct iovec` array there, and its buffers: of each at most as many bytes as `head` has for a length (of data
/// as many as there is room for), of all no more than `left`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn copy_vector(at: u32, address: u64, count: u64, head: u64, left: u64) -> u32 {
    let Some(scratch) = emit::scratch() else { return at };
    let (taken, cut) = if count > u64::from(MAX_VECTOR) {
        (MAX_VECTOR, section::CUT)
    } else {
        (count as u32, 0)
    };
    let mut next = copy_bytes(at, address, taken * IOVEC, part_of(head, 0, cut));
    if next == at {
        return at;
    }
    let there = next.wrapping_sub(at).wrapping_sub(HEAD) / IOVEC;
    let most = len_of(head);
    let mut left = left;
    let mut index = 0;
    while index < MAX_VECTOR && index < there {
        let element = at + HEAD + index * IOVEC;
        let base: u64 = read(scratch, element);
        let len: u64 = read(scratch, element + 8);
        let len = if len > left { left } else { len };
        if left != ALL {
            left -= len;
        }
        if base != 0 && len != 0 {
            let limit = if head & DATA != 0 { MAX_RECORD as u32 } else { most };
            let (take, cut) = if len > u64::from(limit) {
                (limit, section::CUT)
            } else {
                (len as u32, 0)
            };
            let buffer = part_of(head, part::BUFFER - part::VECTOR + index as u16, cut);
            let buffer = buffer | head & (DATA | 0xffff << 32);
            let end = copy_bytes(next, base, take, buffer);
            if end == next {
                break;
            }
            next = end;
        }
        index = after(index);
    }
    next
}

/// Puts a `struct msghdr` there (a `struct mmsghdr`, when `size` is that), its name, control data and vector. `left` is
/// as in [`copy_vector`]; 0 stands for what the `struct mmsghdr` says.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn copy_message(at: u32, address: u64, size: u32, of: u64, left: u64) -> u32 {
    let Some(scratch) = emit::scratch() else { return at };
    let mut next = copy_bytes(at, address, size, part_of(of, 0, 0));
    if next.wrapping_sub(at) != HEAD + size {
        return next;
    }
    let body = at + HEAD;
    let name: u64 = read(scratch, body);
    let name_len: u32 = read(scratch, body + 8);
    if name != 0 && name_len != 0 {
        let take = if name_len > MAX_NAME { MAX_NAME } else { name_len };
        next = copy_bytes(next, name, take, part_of(of, part::NAME, 0));
    }
    let control: u64 = read(scratch, body + 32);
    let control_len: u64 = read(scratch, body + 40);
    if control != 0 && control_len != 0 {
        let (take, cut) = if control_len > u64::from(MAX_CONTROL) {
            (MAX_CONTROL, section::CUT)
        } else {
            (control_len as u32, 0)
        };
        next = copy_bytes(next, control, take, part_of(of, part::CONTROL, cut));
    }
    let left = if left == 0 && size == MMSGHDR {
        u64::from(read::<u32>(scratch, body + MSGHDR))
    } else {
        left
    };
    let vector: u64 = read(scratch, body + 16);
    let count: u64 = read(scratch, body + 24);
    if vector != 0 && count != 0 {
        let of = of + (u64::from(part::VECTOR) << 48);
        next = copy_vector(next, vector, count, of, left);
    }
    next
}

/// Puts an array of `struct mmsghdr` there. `left` is as in [`copy_message`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn copy_messages(at: u32, address: u64, count: u64, of: u64, left: u64) -> u32 {
    let mut next = at;
    let mut index = 0;
    while index < MAX_VECTOR && u64::from(index) < count {
        let message = address.wrapping_add(u64::from(index * MMSGHDR));
        let of = of + (u64::from(index) << 56);
        let end = copy_message(next, message, MMSGHDR, of, left);
        // No room, or no memory: what follows would be taken for what comes next.
        if end.wrapping_sub(next) < HEAD + MMSGHDR {
            return end;
        }
        next = end;
        index = after(index);
    }
    next
}

/// Most entries that [`count_entries`] looks at.
const ENTRIES: u32 = 64;
/// In what it returns: one was not there, one was no entry; above them how many bytes it went, below how many it counted.
const ENTRY_FAULT: u64 = 1 << 8;
const ENTRY_BROKEN: u64 = 1 << 9;
const ENTRY_BYTES: u32 = 10;

/// Counts directory entries. A loop within a loop, so that the verifier looks at this one once.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn count_entries(address: u64, bytes: u64) -> u64 {
    let (mut from, mut left, mut count) = (address, bytes, 0u32);
    let mut broken = 0;
    while count < ENTRIES && left >= DIRENT {
        let mut length = 0u16;
        // SAFETY: two bytes into a local of two; the helper checks the source.
        let got = unsafe {
            let from = from.wrapping_add(DIRENT_RECLEN) as *const c_void;
            bpf_probe_read_user(ptr::from_mut(&mut length).cast(), 2, from)
        };
        if got != 0 {
            broken = ENTRY_FAULT;
            break;
        }
        count = after(count);
        let length = u64::from(length);
        if length < DIRENT || length > left {
            broken = ENTRY_BROKEN;
            break;
        }
        from = from.wrapping_add(length);
        left -= length;
    }
    u64::from(count) | broken | bytes.wrapping_sub(left) << ENTRY_BYTES
}

/// Puts there how many directory entries are in so many bytes.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn copy_entries(at: u32, address: u64, bytes: u64, of: u64) -> u32 {
    let Some(scratch) = emit::scratch() else { return at };
    if at > MAX_RECORD as u32 - HEAD {
        return no_room(scratch, at);
    }
    let (mut from, mut left, mut count, mut flags) = (address, bytes, 0u64, 0);
    let mut round = 0;
    while round < MAX_ENTRIES / ENTRIES && left >= DIRENT {
        let counted = count_entries(from, left);
        count += counted & (2 * u64::from(ENTRIES) - 1);
        if counted & ENTRY_FAULT != 0 {
            flags = section::FAULT;
            break;
        }
        if counted & ENTRY_BROKEN != 0 {
            left = 0;
            break;
        }
        from = from.wrapping_add(counted >> ENTRY_BYTES);
        left -= counted >> ENTRY_BYTES;
        round = after(round);
    }
    if left != 0 {
        flags |= section::CUT;
    }
    put_number(scratch, at, of + (count << 48), 0, flags);
    at + HEAD
}

/// Puts there the pointer that the argument points to with the word after it, and what that pointer points to.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn copy_pointed(at: u32, address: u64, of: u64) -> u32 {
    let Some(scratch) = emit::scratch() else { return at };
    let next = copy_bytes(at, address, 16, part_of(of, part::HEAD, 0));
    if next.wrapping_sub(at) != HEAD + 16 {
        return next;
    }
    let pointer: u64 = read(scratch, at + HEAD);
    if pointer == 0 {
        return next;
    }
    copy_bytes(next, pointer, len_of(of), part_of(of, part::NAME, 0))
}

/// The copy is made when the call begins.
const BEFORE: u64 = 1;
/// The call failed, or did not return.
pub(crate) const FAILED: u64 = 2;

/// Whether a reader asked for all that goes through the descriptor of such a call.
#[inline(always)]
fn is_asked(state: &Task, reads: bool) -> bool {
    sieve::filter(state.slot).is_some_and(|filter| {
        let set = if reads { filter.reads } else { filter.writes };
        set & descriptors::bit(state.args[0]) != 0
    })
}

/// Copies what one argument points to. Returns where the next section begins.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn copy_one(at: u32, state: *const Task, op: *const Op, ret: i64, how: u64) -> u32 {
    // SAFETY: null is checked; the verifier sees to it that each caller gives one of that size.
    let (Some(state), Some(op)) = (unsafe { state.as_ref() }, unsafe { op.as_ref() }) else {
        return at;
    };
    let failed = how & FAILED != 0;
    let flags = if how & BEFORE != 0 { section::BEFORE } else { 0 };
    let arg = op.arg as usize;
    let len_arg = op.len_arg as usize;
    if arg > 5 || len_arg > 5 {
        return at;
    }
    // VERIFIER(6.1): it forgets the bound on the way through the stack, so both are read here, volatile lest LLVM reads
    // them later.
    // SAFETY: references to words of the array.
    let (address, mut asked) = unsafe {
        (
            ptr::read_volatile(&raw const state.args[arg]),
            ptr::read_volatile(&raw const state.args[len_arg]),
        )
    };
    let filled = op.flags & when::FILLED != 0;
    let data = op.flags & when::DATA != 0 && is_asked(state, filled || op.kind == copy::LEN_RET);
    if data && let Some(scratch) = emit::scratch() {
        mark(scratch, flag::DATA);
    }
    let verbose =
        op.flags & when::VERBOSE != 0 && sieve::filter(state.slot).is_some_and(|filter| filter.verbose != 0);
    if verbose && let Some(scratch) = emit::scratch() {
        mark(scratch, flag::VERBOSE);
    }
    if address == 0 {
        return at;
    }
    let address = address.wrapping_add(u64::from(op.skip) * 8);
    let mut max = u32::from(op.max);
    if verbose && op.kind == copy::FIXED && op.scale != 0 {
        max = u32::from(op.scale) * 8;
    }
    if max > u32::from(MAX_COPY) {
        max = u32::from(MAX_COPY);
    }
    if op.kind == copy::LEN_RET || op.kind == copy::ENTRIES {
        asked = ret as u64;
    } else if op.flags & when::LEN_INT != 0 {
        asked &= 0xffff_ffff;
    }
    let flags = if data { flags | section::DATA } else { flags };
    let part = head(op.arg, copy::PART, flags, max as u16, 0);
    match op.kind {
        copy::STR => copy_string(at, address, max, head(op.arg, op.kind, flags, 0, 0)),
        copy::VECTOR => {
            let left = if !filled {
                ALL
            } else if failed {
                0
            } else {
                ret as u64
            };
            let part = part + (u64::from(part::VECTOR) << 48);
            copy_vector(at, address, asked, part, left)
        }
        copy::MESSAGE => {
            let left = if filled { ret as u64 } else { ALL };
            copy_message(at, address, MSGHDR, part, left)
        }
        copy::MESSAGES => {
            let (count, left) = if filled { (ret as u64, 0) } else { (asked, ALL) };
            copy_messages(at, address, count, part, left)
        }
        copy::ENTRIES => {
            let next = copy_entries(at, address, asked, head(op.arg, op.kind, flags, 0, 0));
            if verbose && asked < 1 << 32 {
                let entries = head(op.arg, copy::PART, flags | section::DATA, 0, part::NAME);
                copy_bytes(next, address, asked as u32, entries)
            } else {
                next
            }
        }
        copy::POINTED => copy_pointed(at, address, part),
        copy::FIXED => copy_bytes(at, address, max, head(op.arg, op.kind, flags, 0, 0)),
        _ => {
            if op.scale > 1 {
                // More than this is cut anyway, and cannot overflow; u64 multiplication with a check is a call on BPF.
                asked = if asked > 0xffff_ffff {
                    asked
                } else {
                    asked * u64::from(op.scale)
                };
            }
            let limit = if data { MAX_RECORD as u32 } else { max };
            let (take, cut) = if asked > u64::from(limit) {
                (limit, section::CUT)
            } else {
                (asked as u32, 0)
            };
            copy_bytes(
                at,
                address,
                take,
                head(op.arg, op.kind, flags | cut, max as u16, 0),
            )
        }
    }
}

/// Whether it is only for memory that the call may write over, and this is not.
#[inline(always)]
fn is_apart(state: &Task, op: &Op) -> bool {
    if op.flags & when::NEAR == 0 {
        return false;
    }
    let (input, output) = (op.arg as usize, op.len_arg as usize);
    if input > 5 || output > 5 {
        return true;
    }
    let apart = state.args[output].wrapping_sub(state.args[input]);
    apart.wrapping_add(NEAR_BYTES) >= 2 * NEAR_BYTES
}

/// Copies what a call's arguments point to: with [`BEFORE`], what is taken when it begins; else the rest. Returns where
/// the next section begins.
#[inline(always)]
pub(crate) fn copy_all(at: u32, state: &Task, plan: &Plan, ret: i64, how: u64) -> u32 {
    let mut at = at;
    let mut index = 0;
    while index < MAX_OPS as u32 && index < u32::from(plan.nops) {
        let op = &plan.ops[index as usize & (MAX_OPS - 1)];
        let now = (op.flags & when::ENTER != 0) == (how & BEFORE != 0) && !is_apart(state, op);
        if now && !(op.flags & when::SUCCESS != 0 && how & FAILED != 0) {
            at = copy_one(at, state, op, ret, how);
        }
        index = after(index);
    }
    at
}

/// Copies what a call may overwrite, when it begins, and keeps it in the task's storage.
#[inline(never)]
pub(crate) fn at_enter(task: TaskPtr, state: &mut Task, regs: Regs) -> u32 {
    let Some(plan) = plan_of(state.nr, state.flags & task::COMPAT != 0) else {
        return 0;
    };
    if plan.flags & plan::STACK != 0 {
        state.args[0] = regs.stack();
    }
    let at = copy_all(0, state, plan, 0, BEFORE | FAILED);
    if at == 0 {
        state.flags |= task::NONE_KEPT;
        return 0;
    }
    let kept = KEPT.get_or_create(task);
    // SAFETY: null is checked; the value is the current task's own.
    let (Some(kept), Some(scratch)) = (unsafe { kept.as_mut() }, emit::scratch()) else {
        return 0;
    };
    // What does not fit is not there at all: the record says that there was no room.
    if at > MAX_KEPT as u32 {
        return 0;
    }
    // SAFETY: at most MAX_KEPT bytes, which both hold.
    unsafe { bpf_probe_read_kernel(kept.sections.as_mut_ptr().cast(), at, scratch.0.as_ptr().cast()) };
    kept.len = at;
    state.flags |= task::KEPT;
    0
}
