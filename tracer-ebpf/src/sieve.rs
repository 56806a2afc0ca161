//! Does a call that ended go into the ring? What the daemon's sinks want of the container, and no more; the books and the
//! aggregates have it all the same.

use tracer_common::{
    filter::{Filter, NR_X32, Task, X32_BIT, outcome, task},
    record::flag,
};

use crate::maps::FILTERS;

/// prctl(2)'s first argument when it renames the task: include/uapi/linux/prctl.h.
const PR_SET_NAME: u64 = 15;

/// Whether some sink may want the call.
#[inline(always)]
pub(crate) fn passes(state: &Task, flags: u16, ret: i64, duration_ns: u64) -> bool {
    let Some(filter) = FILTERS.get(state.slot) else {
        return true;
    };
    if filter.active & Filter::SIEVES == 0 {
        return true;
    }
    let index = Filter::index(state.nr, state.flags & task::COMPAT != 0);
    let failed = ret < 0 && ret >= -4095;
    let outcome = if flags & (flag::UNFINISHED | flag::SECCOMP) != 0 {
        without_value(state, flags, ret)
    } else if failed {
        (-ret) as u16
    } else {
        outcome::VALUE
    };
    filter.passes(index, outcome, duration_ns) || renames(filter, state, index, ret)
}

/// The outcome of a call that was killed or refused: as decode has it.
#[inline(never)]
fn without_value(state: &Task, flags: u16, ret: i64) -> u16 {
    if flags & flag::UNFINISHED != 0 {
        outcome::UNFINISHED
    } else if ret as u64 & !X32_BIT == u64::from(state.nr & !NR_X32) {
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
