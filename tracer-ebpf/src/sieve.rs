//! Does a call that ended go into the ring? What the daemon's sinks want of the container, as much as it may have in a
//! second, and no more; the books and the aggregates have it all the same.

use core::{arch::asm, ptr};

use tracer_common::{
    MAX_CONTAINERS,
    filter::{Container, Filter, NR_X32, Task, X32_BIT, outcome, state, task},
    record::flag,
};

use crate::{
    aggregate::Counted,
    maps::{FILTERS, RATES},
};

const SECOND: u64 = 1_000_000_000;

/// prctl(2)'s first argument when it renames the task: include/uapi/linux/prctl.h.
const PR_SET_NAME: u64 = 15;

/// What a slot's sinks want. Never `None`, since no slot lies beyond the table; but the verifier does not know it.
#[inline(always)]
pub(crate) fn filter(slot: u32) -> Option<&'static Filter> {
    FILTERS.get(slot & (MAX_CONTAINERS - 1))
}

/// The same number, of which LLVM knows nothing: a mask stays where it is, and the verifier finds the bound next to the
/// access. VERIFIER(6.1): it forgets bounds at a merge of two words of four bytes, and on the way through the stack.
#[inline(always)]
pub(crate) fn opaque(mut number: u64) -> u64 {
    // SAFETY: a move; without an instruction two places of the source would be one of the program, which no kernel takes.
    unsafe {
        asm!("{number} = {number}", number = inlateout(reg) number, options(pure, nomem, nostack, preserves_flags))
    };
    number
}

/// The number, or `MOST` if it is more, as a bound that the verifier finds and LLVM does not know of: where a mask will not
/// do. VERIFIER(6.1): LLVM reads a number that it has compared from where it stood on the stack before, and there it has
/// no bound.
#[inline(always)]
pub(crate) fn at_most<const MOST: u32>(mut number: u64) -> u64 {
    // SAFETY: a comparison and a move.
    unsafe {
        asm!(
            "if {number} <= {most} goto +1",
            "{number} = {most}",
            number = inlateout(reg) number,
            most = const MOST,
            options(pure, nomem, nostack, preserves_flags)
        )
    };
    number
}

/// [`Filter::index`] that the verifier follows.
#[inline(always)]
pub(crate) fn index_of(nr: u16, compat: bool) -> u32 {
    opaque(u64::from(Filter::index(nr, compat))) as u32
}

/// Whether some sink may want the call.
#[inline(always)]
pub(crate) fn passes(state: &Task, flags: u16, ret: i64, duration_ns: u64) -> bool {
    let Some(filter) = filter(state.slot) else {
        return true;
    };
    if filter.active & Filter::SIEVES == 0 {
        return true;
    }
    let index = index_of(state.nr, state.flags & task::COMPAT != 0);
    filter.passes(index, outcome(state.nr, flags, ret), duration_ns) || renames(filter, state, index, ret)
}

/// The same of a call of whose begin nothing was kept: none of them renames, or is wanted for its duration.
#[inline(always)]
pub(crate) fn passes_light(call: &Counted) -> bool {
    let Some(filter) = filter(call.slot) else {
        return true;
    };
    let index = index_of(call.nr, call.compat);
    filter.active & Filter::SIEVES == 0
        || filter.takes(index) && filter.passes(index, outcome(call.nr, call.flags, call.ret), 0)
}

/// How a call ended, as a [`Filter`] has it.
#[inline(always)]
fn outcome(nr: u16, flags: u16, ret: i64) -> u16 {
    if flags & (flag::UNFINISHED | flag::SECCOMP) != 0 {
        without_value(nr, flags, ret)
    } else if ret < 0 && ret >= -4095 {
        (-ret) as u16
    } else {
        outcome::VALUE
    }
}

/// The outcome of a call that was killed or refused: as decode has it.
#[inline(never)]
fn without_value(nr: u16, flags: u16, ret: i64) -> u16 {
    if flags & flag::UNFINISHED != 0 {
        outcome::UNFINISHED
    } else if ret as u64 & !X32_BIT == u64::from(nr & !NR_X32) {
        outcome::REFUSED
    } else if ret < 0 && ret >= -4095 {
        (-ret) as u16
    } else {
        outcome::VALUE
    }
}

/// Whether it gave its task a new name, which the daemon must learn whoever wants the call.
#[inline(always)]
fn renames(filter: &Filter, state: &Task, index: u32, ret: i64) -> bool {
    ret == 0
        && state.args[0] == PR_SET_NAME
        && (index == u32::from(filter.rename[0]) || index == u32::from(filter.rename[1]))
        && index != 0
}

/// Whether the container, and its owner, may have one event more in this second.
#[inline(always)]
pub(crate) fn may_have(container: &Container, now: u64) -> bool {
    container.state & state::LIMITED == 0 || within(container.rates, now)
}

#[inline(never)]
fn within(rates: [u16; 2], now: u64) -> bool {
    may(rates[0], now) && may(rates[1], now)
}

#[inline(always)]
fn may(index: u16, now: u64) -> bool {
    if index == 0 {
        return true;
    }
    let Some(rate) = RATES.get_ptr_mut(u32::from(index)) else {
        return true;
    };
    // Several CPUs may find the second over at once: each begins it anew, and what was asked for in between is forgotten.
    // SAFETY: a value of the map, which lives as long; its words are read and written whole.
    unsafe {
        let began = ptr::read_volatile(&raw const (*rate).began);
        if now > began && now - began >= SECOND {
            ptr::write_volatile(&raw mut (*rate).began, now);
            ptr::write_volatile(&raw mut (*rate).asked, 0);
        }
        fetch_add(&raw mut (*rate).asked, 1) < ptr::read_volatile(&raw const (*rate).limit)
    }
}

/// Adds to a word that other CPUs add to; what it was before. The target has the instruction, but core has no
/// `AtomicU64::fetch_add` for it.
#[inline(always)]
pub(crate) unsafe fn fetch_add(at: *mut u64, add: u64) -> u64 {
    let before;
    // SAFETY: the caller's: `at` is a word of a map.
    unsafe {
        asm!(
            "{value} = atomic_fetch_add((u64 *)({at} + 0), {value})",
            at = in(reg) at,
            value = inout(reg) add => before,
            options(nostack),
        );
    }
    before
}
