//! Counts calls by container, system call and outcome, apart from the records: complete when records are lost.
//!
//! A row is found by its key in a hash table, which costs as much as all else that a counted call needs; so each CPU
//! remembers the rows that it used last. What it remembers stays right: a key names a use of a slot, and a row of a slot
//! that was given up gets another key only a while later (see the daemon's side).

use aya_ebpf::bindings::BPF_NOEXIST;
use tracer_common::{
    filter::{Aggregate, AggregateKey, BUCKETS, Books},
    record::flag,
};

use crate::maps::{FREE_ROWS, RECENT, ROW_NUMBERS, ROWS};

/// What the aggregates tell calls apart by.
pub(crate) struct Counted {
    pub slot: u32,
    pub generation: u32,
    pub nr: u16,
    pub compat: bool,
    /// Bits of [`flag`].
    pub flags: u16,
    pub ret: i64,
}

/// Adds a call to its row; to the overflow when there is no room for a new row. Without a duration where it was not
/// measured.
#[inline(always)]
pub(crate) fn add(call: &Counted, duration_ns: Option<u64>, books: &mut Books) {
    let mut nr = call.nr;
    if call.compat {
        nr |= AggregateKey::COMPAT;
    }
    let errno = if call.flags & flag::UNFINISHED != 0 {
        AggregateKey::UNFINISHED
    } else if call.ret < 0 && call.ret >= -4095 {
        (-call.ret) as u16
    } else {
        0
    };
    let key = AggregateKey {
        slot: call.slot as u16
            | if call.flags & flag::APP != 0 {
                AggregateKey::APP
            } else {
                0
            },
        nr,
        errno,
        generation: call.generation as u16,
    };
    let row = row_of(key);
    match row {
        // SAFETY: a value of this CPU, which no other program runs on meanwhile.
        Some(row) => unsafe {
            (*row).count += 1;
            if let Some(ns) = duration_ns {
                (*row).total_ns += ns;
                (*row).buckets[bucket(ns) & (BUCKETS - 1)] += 1;
            }
        },
        None => books.overflow += 1,
    }
}

/// The row of a key on this CPU.
#[inline(always)]
fn row_of(key: AggregateKey) -> Option<*mut Aggregate> {
    let word = key.word();
    let recent = RECENT.get_ptr_mut(AggregateKey::place(word))?;
    // SAFETY: a value of this CPU, which no other program runs on meanwhile.
    let recent = unsafe { &mut *recent };
    if recent.key != word {
        recent.row = find(key)?;
        recent.key = word;
    }
    ROWS.get_ptr_mut(recent.row)
}

/// The row of a key in the table; takes a free one where it has none.
#[inline(never)]
fn find(key: AggregateKey) -> Option<u32> {
    // SAFETY (each): the value is read at once, and a key's row does not change while its slot is in use.
    if let Some(row) = unsafe { ROW_NUMBERS.get(key) } {
        return Some(*row);
    }
    let row = FREE_ROWS.pop().ok()??;
    if ROW_NUMBERS.insert(key, row, u64::from(BPF_NOEXIST)).is_err() {
        // Another CPU was first, or the table is full.
        let _full = FREE_ROWS.push(row, 0);
    }
    // SAFETY: as above.
    unsafe { ROW_NUMBERS.get(key) }.copied()
}

/// Position of the highest set bit, 0 for 0, at most [`BUCKETS`] - 1.
#[inline(always)]
fn bucket(ns: u64) -> usize {
    if ns >> 32 != 0 {
        return BUCKETS - 1;
    }
    let mut rest = ns as u32;
    let mut log = 0usize;
    if rest >> 16 != 0 {
        log += 16;
        rest >>= 16;
    }
    if rest >> 8 != 0 {
        log += 8;
        rest >>= 8;
    }
    if rest >> 4 != 0 {
        log += 4;
        rest >>= 4;
    }
    if rest >> 2 != 0 {
        log += 2;
        rest >>= 2;
    }
    if rest >> 1 != 0 {
        log += 1;
    }
    log
}
