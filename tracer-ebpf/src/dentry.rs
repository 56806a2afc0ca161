//! Where the kernel found that a name is not there: in its cache, or by asking the file system. Notes it in the state of the
//! task's call in flight, for its record. Attached only while somebody asks: each name that any task of the host looks up
//! passes here.

use tracer_common::{filter::task, record::flag};

use crate::{
    kernel::{Dentry, TaskPtr},
    known::{Known, Place},
    maps::TASKS,
};

const EITHER: u32 = task::CACHED | task::LOOKED_UP;

/// `lookup_fast` (fs/namei.c) returns what the cache has of a name: nothing, an error, or a dentry.
#[inline(always)]
pub(crate) fn looked_in_cache(found: usize) {
    // IS_ERR_OR_NULL, include/linux/err.h
    const MAX_ERRNO: usize = 4095;
    if found != 0 && found < MAX_ERRNO.wrapping_neg() && Dentry::new(found).is_negative() {
        note(task::CACHED);
    }
}

/// A file system gives a dentry its inode (`d_add`, `d_splice_alias`, fs/dcache.c): NULL where it has no such name.
#[inline(always)]
pub(crate) fn given(inode: *const u8) {
    if inode.is_null() {
        note(task::LOOKED_UP);
    }
}

/// The last one decides: a walk ends at the first name that is not there.
#[inline(always)]
fn note(what: u32) {
    let task = TaskPtr::current();
    let Some(place) = Place::of(task.regs()) else {
        return;
    };
    // Of a light call nothing is kept.
    if let Known::Stranger | Known::Light | Known::Member { light: true, .. } = place.known() {
        return;
    }
    let state = TASKS.get(task);
    // SAFETY: null is checked; the value is the current task's own.
    if let Some(state) = unsafe { state.as_mut() }
        && state.slot != 0
        && state.flags & task::PENDING != 0
    {
        state.flags = state.flags & !EITHER | what;
    }
}

/// What is known of the call in flight, as its record has it.
#[inline(always)]
pub(crate) fn told(flags: u32) -> u16 {
    const SHIFT: u32 = task::CACHED.trailing_zeros() - flag::CACHED.trailing_zeros();
    const _: () = assert!((EITHER >> SHIFT) as u16 == flag::CACHED | flag::LOOKED_UP);
    ((flags & EITHER) >> SHIFT) as u16
}
