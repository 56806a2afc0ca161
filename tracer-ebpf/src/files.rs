//! What a call's descriptors stand for, at the moment of the call: walks from the task's table to the file, and from
//! the file's dentry up to the top of its mounts, which is what a path is. Only where a reader asked.
//!
//! All is read by probes, since the walk goes where the verifier knows no types. Another task can change what is walked
//! meanwhile; no look can crash. A descriptor that stands for another file after the walk is left out.

use core::{ffi::c_void, hint::black_box, ptr};

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_probe_read_user};
use tracer_common::{
    filter::{Filter, Plan, Task, copy, files, list, task},
    record::{File, MAX_RECORD, Section, Socket, file, flag},
};

use crate::{
    capture,
    emit::Call,
    kernel::{AF_UNIX, Dentry, File as Opened, Mount, Name, Pid, TaskPtr},
    maps::{FILES, FILES_ROOM, Files, NAME, Scratch, TASKS},
    sieve,
};

/// Most names of a path, and mounts that it crosses.
const MAX_STEPS: u64 = 64;
/// Most `struct pollfd`s of a call.
const MAX_LIST: u64 = 32;
/// Words of a `fd_set`.
const SET_WORDS: u64 = 16;
const AT_FDCWD: i32 = -100;

/// How [`describe`] looks: as the call returns.
const AT_EXIT: u64 = 1;
/// Also what is behind a socket.
const ALL: u64 = 2;

// File systems that have no directories: include/uapi/linux/magic.h.
const SOCKFS: u32 = 0x534f_434b;
const NSFS: u32 = 0x6e73_6673;
const PIDFS: u32 = 0x5049_4446;

/// A call begins: takes what its descriptors stand for, if it has any and somebody asked.
#[inline(never)]
pub(crate) fn at_enter(task: TaskPtr, state: &mut Task) -> u32 {
    let compat = state.flags & task::COMPAT != 0;
    let (Some(filter), Some(plan)) = (sieve::filter(state.slot), capture::plan_of(state.nr, compat)) else {
        return 0;
    };
    if filter.files == files::NONE
        || (plan.fds == 0 && plan.list == list::NONE)
        || (filter.active & Filter::SIEVES != 0 && !filter.takes(sieve::index_of(state.nr, compat)))
    {
        return 0;
    }
    let stash = FILES.get_or_create(task);
    // SAFETY: null is checked; the value is the current task's own.
    let Some(stash) = (unsafe { stash.as_mut() }) else {
        return 0;
    };
    stash.len = 0;
    state.flags |= task::FILES;
    let mut how = 0;
    if filter.files >= files::ALL {
        state.flags |= task::FILES_ALL;
        how = ALL;
    }
    for arg in 0..6 {
        if plan.fds >> arg & 1 != 0 {
            describe(state.args[arg], how);
        }
    }
    if plan.list == list::POLL {
        polled(state, plan, how);
    } else if plan.list == list::SETS {
        sets(state, plan, how);
    }
    0
}

/// The descriptors of poll(2).
#[inline(always)]
fn polled(state: &Task, plan: &Plan, how: u64) {
    let arg = plan.list_arg as usize;
    if arg > 4 {
        return;
    }
    let (array, count) = (state.args[arg], state.args[arg + 1] & 0xffff_ffff);
    let mut index = 0u64;
    while index < MAX_LIST && index < count {
        match int_at(array.wrapping_add(index * 8)) {
            Some(fd) => describe(fd, how),
            None => break,
        };
        index = next(index);
    }
}

/// The members of select(2)'s sets.
#[inline(always)]
fn sets(state: &Task, plan: &Plan, how: u64) {
    let width = state.args[0] & 0xffff_ffff;
    let mut word = 0u64;
    while word < SET_WORDS && word * 64 < width {
        members(word, u64::from(plan.list_arg), how);
        word = next(word);
    }
}

/// The members of one word of the current task's sets, which begin at that argument. A function of its own to the
/// verifier, as [`describe`] is.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn members(word: u64, arg: u64, how: u64) -> u64 {
    let state = TASKS.get(TaskPtr::current());
    // SAFETY: null is checked; the value is the current task's own.
    let Some(state) = (unsafe { state.as_ref() }) else {
        return 0;
    };
    let (arg, at) = (arg as usize, word * 8);
    if arg > 3 || word >= SET_WORDS {
        return 0;
    }
    let mut members =
        word_at(state.args[arg], at) | word_at(state.args[arg + 1], at) | word_at(state.args[arg + 2], at);
    // What is beyond the width is no member, whatever it holds.
    let width = (state.args[0] & 0xffff_ffff).wrapping_sub(word * 64);
    if width < 64 {
        members &= (1 << width) - 1;
    }
    let mut bit = 0u64;
    while bit < 64 {
        if members >> bit & 1 != 0 {
            describe(word * 64 + bit, how);
        }
        bit = next(bit);
    }
    0
}

/// `count + 1`, hidden from LLVM, which would count in a way in which the verifier finds no end. VERIFIER(6.18): it
/// follows a constant through the stack only in a whole word.
#[inline(always)]
fn next(count: u64) -> u64 {
    black_box(count) + 1
}

/// A word of a user's set; nothing is in one that is not there. A function of its own: three of it take no stack where
/// [`describe`] is in progress (see [`crate::capture::exit`]).
#[inline(never)]
fn word_at(set: u64, at: u64) -> u64 {
    let mut word = 0u64;
    let from = set.wrapping_add(at) as *const c_void;
    // SAFETY: eight bytes into a local of eight; the helper checks the source.
    unsafe { bpf_probe_read_user(ptr::from_mut(&mut word).cast(), 8, from) };
    word
}

/// An `int` of the user.
#[inline(always)]
fn int_at(address: u64) -> Option<u64> {
    let mut value = 0u32;
    // SAFETY: four bytes into a local of four; the helper checks the source.
    let read = unsafe { bpf_probe_read_user(ptr::from_mut(&mut value).cast(), 4, address as *const c_void) };
    (read == 0).then_some(u64::from(value))
}

/// The call ended and its record is put together: adds the files that it made, and appends all. Returns where the next
/// section begins.
#[inline(never)]
pub(crate) fn append(scratch: &mut Scratch, at: u32, call: &Call<'_>, plan: &Plan) -> u32 {
    let how = AT_EXIT
        | if call.state.flags & task::FILES_ALL != 0 {
            ALL
        } else {
            0
        };
    if call.ended.ret >= 0 && call.ended.flags & flag::UNFINISHED == 0 {
        if plan.fds & list::RETURNED != 0 {
            describe(call.ended.ret as u64, how);
        }
        let arg = plan.list_arg as usize;
        if plan.list == list::PAIR && arg < 6 {
            let pair = call.state.args[arg];
            if let (Some(first), Some(second)) = (int_at(pair), int_at(pair.wrapping_add(4))) {
                describe(first, how);
                describe(second, how);
            }
        }
    }
    let stash = FILES.get(call.task);
    // SAFETY: null is checked; the value is the current task's own.
    let Some(stash) = (unsafe { stash.as_mut() }) else {
        return at;
    };
    let mut len = stash.len & (2 * MAX_RECORD as u32 - 1);
    if len > FILES_ROOM as u32 {
        len = FILES_ROOM as u32;
    }
    if at as usize > MAX_RECORD - FILES_ROOM {
        return at;
    }
    // SAFETY: at most FILES_ROOM bytes at an offset that leaves room for as many; the source is a map value.
    unsafe {
        let to = scratch.0.as_mut_ptr().add(at as usize & (MAX_RECORD - 1));
        bpf_probe_read_kernel(to.cast(), len, stash.bytes.as_ptr().cast());
    }
    at + len
}

/// Adds what a descriptor of the current task stands for to what is kept of its call; nothing, where it stands for
/// nothing.
///
/// A function of its own to the verifier: it looks at it once, not at each place that calls it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn describe(fd: u64, how: u64) -> u64 {
    let task = TaskPtr::current();
    let stash = FILES.get(task);
    // SAFETY: null is checked; the value is the current task's own.
    let Some(stash) = (unsafe { stash.as_mut() }) else {
        return 0;
    };
    let at = stash.len;
    if at as usize > FILES_ROOM - 2 * NAME {
        return 0;
    }
    let fd = fd as i32;
    let opened = if fd == AT_FDCWD {
        None
    } else {
        task.file(fd as u32)
    };
    let (mount, dentry) = match opened {
        Some(opened) => opened.path(),
        None if fd == AT_FDCWD => task.working_directory(),
        None => return 0,
    };
    if dentry.is_null() {
        return 0;
    }
    let inode = dentry.inode();
    let mut head = File {
        fd,
        flags: if how & AT_EXIT != 0 { file::AT_EXIT } else { 0 },
        mode: inode.mode(),
        magic: inode.magic(),
        rdev: inode.rdev(),
        ino: inode.number(),
        len: 0,
        _pad: [0; 3],
    };
    let is_root = dentry.parent() == dentry;
    if is_root && dentry != mount.root() {
        head.flags |= file::PSEUDO;
    } else if !is_root && dentry.is_unhashed() {
        head.flags |= file::DELETED;
    }
    let body = at as usize + size_of::<Section>() + size_of::<File>();
    let end = if head.flags & file::PSEUDO == 0 {
        let (end, cut) = walk(stash, body, mount, dentry);
        if cut {
            head.flags |= file::CUT;
        }
        end
    } else if head.magic == SOCKFS {
        match opened {
            Some(opened) if how & ALL != 0 => {
                head.flags |= file::SOCKET;
                socket(stash, body, opened)
            }
            _ => body,
        }
    } else {
        // A file system of its own since 6.9; before, nothing tells such a descriptor from others.
        if how & ALL != 0 && head.magic == PIDFS {
            head.flags |= file::PID;
            head.rdev = number(task, inode.pid());
        }
        let name = if head.magic == NSFS {
            inode.namespace_name()
        } else {
            dentry.name()
        };
        put_name(stash, body, name)
    };
    // Closed, or closed and opened again, while we looked: what was read may be of neither.
    if opened.is_some() && task.file(fd as u32) != opened {
        return 0;
    }
    head.len = (end - body) as u16;
    let padded = (end - body + 7) & !7;
    let section = Section {
        arg: 0,
        kind: copy::FILE,
        flags: 0,
        len: (size_of::<File>() + padded) as u16,
        total: 0,
    };
    // SAFETY: a multiple of eight up to FILES_ROOM, and the buffer reaches far beyond it.
    unsafe {
        let to = stash.bytes.as_mut_ptr().add(place_of(at as usize & !7));
        to.cast::<Section>().write(section);
        to.add(size_of::<Section>()).cast::<File>().write(head);
    }
    stash.len = (body + padded) as u32;
    0
}

/// A process's number in the container of the current task; 0 where it has none there.
#[inline(always)]
fn number(task: TaskPtr, pid: Pid) -> u32 {
    let state = TASKS.get(task);
    // SAFETY: null is checked; the value is the current task's own.
    let level = unsafe { state.as_ref() }.map_or(0, |state| state.level);
    if level > pid.level() { 0 } else { pid.number(level) }
}

/// Puts the names of a path, the last first. Returns where they end, and whether there were more.
#[inline(always)]
fn walk(stash: &mut Files, body: usize, mount: Mount, dentry: Dentry) -> (usize, bool) {
    let (mut mount, mut dentry) = (mount, dentry);
    let mut root = mount.root();
    let mut at = body;
    let mut step = 0u64;
    while step < MAX_STEPS {
        if dentry == root {
            let above = mount.parent();
            if above == mount || above.is_null() {
                return (at, false);
            }
            dentry = mount.point();
            mount = above;
            root = mount.root();
        } else {
            let parent = dentry.parent();
            // A directory that is in none: its name is the file system's.
            if parent == dentry || parent.is_null() {
                return (at, false);
            }
            if at > FILES_ROOM - NAME {
                return (at, true);
            }
            at = put_name(stash, at, dentry.name());
            dentry = parent;
        }
        step = next(step);
    }
    (at, true)
}

/// Puts a name with its NUL. Returns where it ends.
#[inline(always)]
fn put_name(stash: &mut Files, at: usize, name: Name) -> usize {
    let at = place_of(at);
    // SAFETY: NAME bytes at an offset up to FILES_ROOM: the buffer holds both; the helper checks the source.
    let len = unsafe {
        bpf_probe_read_kernel_str(
            stash.bytes.as_mut_ptr().add(at).cast(),
            NAME as u32,
            name.as_ptr(),
        )
    };
    if len < 0 {
        at
    } else {
        at + (len as usize & (2 * NAME - 1))
    }
}

/// An offset up to FILES_ROOM. It is one; but the verifier does not know it, or forgets.
#[inline(always)]
fn place_of(at: usize) -> usize {
    sieve::at_most::<{ FILES_ROOM as u32 }>(at as u64) as usize
}

/// Puts what is known of a socket. Returns where it ends.
#[inline(always)]
fn socket(stash: &mut Files, body: usize, opened: Opened) -> usize {
    let sock = opened.sock();
    let body = place_of(body & !7);
    // SAFETY: an offset up to FILES_ROOM that is a multiple of eight, and the buffer reaches far beyond it.
    let value = unsafe { &mut *stash.bytes.as_mut_ptr().add(body).cast::<Socket>() };
    *value = Socket::default();
    sock.describe(value);
    let at = body + size_of::<Socket>();
    if value.family != AF_UNIX {
        return at;
    }
    let (address, len) = sock.unix_address();
    if len == 0 || len > UNIX_PATH {
        return at;
    }
    // SAFETY: at most UNIX_PATH bytes at an offset up to FILES_ROOM + a socket: the buffer holds that.
    unsafe { bpf_probe_read_kernel(stash.bytes.as_mut_ptr().add(at).cast(), len, address.as_ptr()) };
    at + len as usize
}

/// Most bytes of a Unix socket's address after its family: `sizeof(sun_path)`, and one for the kernel's NUL.
const UNIX_PATH: u32 = 109;
