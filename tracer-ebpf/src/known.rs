//! A memory of whose task it is, by the address of the task's registers: what an untraced task's call costs.
//!
//! The registers of a system call lie at the top of the task's kernel stack, so their address tells live tasks apart,
//! and a tracepoint's program has it without asking a helper. A word says in which epoch the task's membership was
//! decided and to which slot it belongs. One word is read and written at once, so nobody sees half of it.
//!
//! - Another task may hold the place (the address's low bits are shared): then the task's storage tells, as it does
//!   after a new epoch.
//! - A word with a slot is its owner's alone, so that [`word::LIGHT`] is never lost. Others' are replaced.
//! - A new task may get a dead one's stack: the fork clears the place before the child runs.

use core::arch::asm;

use tracer_common::filter::word;

use crate::{
    kernel::Regs,
    maps::{KNOWN, epoch, origin},
};

/// What stands at a place of the memory; one cache line has all of it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Entry {
    word: u64,
    /// CLOCK_MONOTONIC nanoseconds at which the light call in flight began; 0 where nobody wants to know.
    entered: u64,
}

/// A task's place in the memory.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    place: *mut Entry,
    owner: u64,
}

/// What the memory knows of a task.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Decided in this epoch: no member.
    Stranger,
    /// Decided in this epoch: of that slot. Whether a light call is in flight.
    Member { slot: u32, light: bool },
    /// Not of this epoch, but a light call is in flight.
    Light,
    /// Nothing.
    Nothing,
}

#[inline(always)]
fn of_this_epoch() -> u64 {
    (u64::from(epoch()) & word::EPOCH_MASK) << word::EPOCH_SHIFT
}

impl Place {
    /// VERIFIER: arithmetic on a pointer is refused, but for the difference of two, which is a number.
    #[inline(always)]
    pub(crate) fn of(regs: Regs) -> Option<Self> {
        let distance = (regs.address() as u64).wrapping_sub(origin() as u64);
        let page = distance >> word::STACK_SHIFT;
        let place = KNOWN.get_ptr_mut(page as u32 & (word::ENTRIES - 1))?;
        Some(Self {
            place,
            owner: page << word::OWNER_SHIFT,
        })
    }

    #[inline(always)]
    fn read(self) -> u64 {
        // SAFETY: array values live as long as the map; one aligned word.
        unsafe { (&raw const (*self.place).word).read_volatile() }
    }

    #[inline(always)]
    pub(crate) fn known(self) -> Known {
        let word = self.read();
        let rest = word ^ (self.owner | of_this_epoch());
        if rest == 0 {
            return Known::Stranger;
        }
        if rest < 2 * word::LIGHT {
            return Known::Member {
                slot: (rest & word::SLOT_MASK) as u32,
                light: rest & word::LIGHT != 0,
            };
        }
        if rest >> word::OWNER_SHIFT == 0 && word & word::LIGHT != 0 {
            return Known::Light;
        }
        Known::Nothing
    }

    /// Keeps a decision of this epoch, if the place is free or the task's own. Returns whether it is kept.
    #[inline(always)]
    pub(crate) fn keep(self, slot: u32, light: bool) -> bool {
        let there = self.read();
        if there & word::SLOT_MASK != 0 && (there ^ self.owner) >> word::OWNER_SHIFT != 0 {
            return false;
        }
        let mut word = self.owner | of_this_epoch() | u64::from(slot) & word::SLOT_MASK;
        if light {
            word |= word::LIGHT;
        }
        self.replace(there, word);
        self.read() == word
    }

    #[inline(always)]
    fn write(self, word: u64) {
        // SAFETY: as in `read`.
        unsafe { (&raw mut (*self.place).word).write_volatile(word) };
    }

    /// Notes that a light call begins. The place must be known to be the current task's: a word with a slot is written by
    /// its owner alone.
    #[inline(always)]
    pub(crate) fn begin_light(self, entered: u64) {
        // SAFETY: as in `read`.
        unsafe { (*self.place).entered = entered };
        self.write(self.read() | word::LIGHT);
    }

    /// When the light call in flight began, if anybody wanted to know. The place must be known to be the current task's.
    #[inline(always)]
    pub(crate) fn entered(self) -> u64 {
        // SAFETY: as in `read`.
        unsafe { (*self.place).entered }
    }

    /// Notes that the light call has ended. The place must be known to be the current task's.
    #[inline(always)]
    pub(crate) fn end_light(self) {
        self.write(self.read() & !word::LIGHT);
    }

    /// Forgets the task that has its registers here.
    #[inline(always)]
    pub(crate) fn forget(self) {
        let there = self.read();
        if (there ^ self.owner) >> word::OWNER_SHIFT == 0 {
            self.replace(there, 0);
        }
    }

    /// Replaces a word, unless it is another by now.
    #[inline(always)]
    fn replace(self, there: u64, word: u64) {
        // SAFETY: the place is an array value, which lives as long as the map. The target has the instruction (v3), but
        // `core` offers no atomics on it.
        unsafe {
            asm!(
                "r0 = cmpxchg_64({place} + 0, r0, {word})",
                place = in(reg) self.place,
                word = in(reg) word,
                inout("r0") there => _,
                options(nostack),
            );
        }
    }
}
