//! What an execve was called with: taken at its enter, since success leaves no memory to read it from, and kept in the
//! task's storage until it returns. It knows no plan and writes no ring.

use core::{ffi::c_void, ptr};

use aya_ebpf::helpers::generated::{
    bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_probe_read_user, bpf_probe_read_user_str,
};
use tracer_common::{
    filter::{Task, copy, task},
    record::{MAX_RECORD, Section, flag, section},
};

use crate::{
    copy::{no_room, put_head, string_result},
    emit::{self, Call},
    kernel::{self, NR_EXECVEAT, TaskPtr},
    maps::{ARGV, EXECS, Exec, STASH, Scratch},
};

/// Most strings of an argv that are looked at.
const MAX_ARGV: u32 = 64;
/// Most strings of an environment that are counted.
const MAX_ENVP: u32 = 512;

/// Takes the kernel's name of the program that was just started.
#[inline(always)]
pub(crate) fn keep_path(stash: &mut Exec, bprm: *const u8) {
    (stash.path_len, stash.path_flags) = path(stash.path.as_mut_ptr(), bprm);
}

/// Copies the kernel's name of the program that was just started to where [`STASH`] bytes have room: its length and flags.
#[inline(always)]
fn path(to: *mut u8, bprm: *const u8) -> (u32, u32) {
    // SAFETY: the callers' destinations are of that size; the helper checks the source.
    let len =
        unsafe { bpf_probe_read_kernel_str(to.cast(), STASH as u32, kernel::exec_filename(bprm).cast()) };
    string_result(len, STASH as u32)
}

/// Appends that name, straight from the kernel.
#[inline(always)]
pub(crate) fn path_section(scratch: &mut Scratch, at: u32, bprm: *const u8) -> u32 {
    let body = at + size_of::<Section>() as u32;
    // The scratch has room for it at each offset below MAX_RECORD.
    let to = scratch
        .0
        .as_mut_ptr()
        .wrapping_add(body as usize & (MAX_RECORD - 1));
    let (len, flags) = path(to, bprm);
    put_head(scratch, at, path_head(0, len, flags));
    body + (len & (2 * STASH as u32 - 1))
}

/// The head of a path's section.
#[inline(always)]
pub(crate) fn path_head(arg: u8, len: u32, flags: u32) -> Section {
    Section {
        arg,
        kind: copy::STR,
        flags: flags as u16,
        len: len as u16,
        total: 0,
    }
}

/// Takes the new program's arguments from its own memory, where no enter has kept them: they lie there as in a section.
#[inline(always)]
pub(crate) fn of_program(stash: &mut Exec, args: &kernel::ProgramArgs) {
    let cut = args.len > ARGV as u64;
    let len = if cut { ARGV as u32 } else { args.len as u32 };
    // SAFETY: the destination is of that size; the helper checks the source.
    let read =
        unsafe { bpf_probe_read_user(stash.argv.as_mut_ptr().cast(), len, args.start as *const c_void) };
    let (len, flags) = match (read, cut) {
        (0, false) => (len, 0),
        (0, true) => (len, section::CUT),
        _ => (0, section::FAULT),
    };
    stash.argv_len = len;
    stash.argv_flags = u32::from(flags);
    stash.argc = args.argc;
    stash.envc = args.envc;
    stash.envp_flags = 0;
}

/// Takes execve's strings before the call can succeed. Its argv is put together in the scratch, where no record is yet:
/// there the verifier sees that a string of the largest size that begins at the last offset stays inside.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn keep_strings(state: *const Task) -> u32 {
    // SAFETY: null is checked; the verifier sees to it that each caller gives one of that size.
    let Some(state) = (unsafe { state.as_ref() }) else {
        return 0;
    };
    let stash = EXECS.get_or_create(TaskPtr::current());
    // SAFETY: null is checked; the value is the current task's own.
    let (Some(stash), Some(scratch)) = (unsafe { stash.as_mut() }, emit::scratch()) else {
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
        if at >= ARGV as u32 {
            stash.argv_flags |= u32::from(section::CUT);
            break;
        }
        // SAFETY: `at` is below STASH and the scratch holds more than twice that; the helper checks the source.
        let len = unsafe {
            bpf_probe_read_user_str(
                scratch.0.as_mut_ptr().add(at as usize & (STASH - 1)).cast(),
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
    if at > ARGV as u32 {
        at = ARGV as u32;
        stash.argv_flags |= u32::from(section::CUT);
    }
    stash.argv_len = at;
    // SAFETY: at most ARGV bytes, which the destination holds; the source is a map value that is larger.
    unsafe { bpf_probe_read_kernel(stash.argv.as_mut_ptr().cast(), at, scratch.0.as_ptr().cast()) };
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

/// The path and the argv of an execve, from what was kept at its enter; a failed one's path is read again if it was
/// not there then. Where the kernel gave no memory to keep them in, the record says that it lacks them.
#[inline(always)]
pub(crate) fn sections(scratch: &mut Scratch, at: u32, call: &Call<'_>) -> u32 {
    let stash = EXECS.get(call.task);
    // SAFETY: null is checked; the value is the current task's own.
    let Some(stash) = (unsafe { stash.as_mut() }) else {
        // A call that seccomp refused never began.
        return if call.ended.flags & (flag::SECCOMP | flag::SKIPPED) == 0 {
            no_room(scratch, at)
        } else {
            at
        };
    };
    let execveat = call.state.flags & task::COMPAT == 0 && u32::from(call.state.nr) == NR_EXECVEAT.load();
    let first = u8::from(execveat);
    if call.ended.ret < 0 && stash.path_flags & u32::from(section::FAULT) != 0 {
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
    let path = path_head(first, stash.path_len, stash.path_flags);
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
    put_head(scratch, at, head);
    let body = at + size_of::<Section>() as u32;
    // SAFETY: at most STASH bytes at an offset below MAX_RECORD, both within the scratch; the source is a map value.
    unsafe {
        let to = scratch.0.as_mut_ptr().add(body as usize & (MAX_RECORD - 1));
        bpf_probe_read_kernel(to.cast(), len, from.cast());
    }
    body + len
}
