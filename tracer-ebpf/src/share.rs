//! Bounds what a container has on its way to the daemon, so that there is always room for others: see
//! `tracer_common::share`. It knows no records but by their size.

use core::ptr;

use aya_ebpf::{bindings::BPF_RB_AVAIL_DATA, helpers::generated::bpf_ktime_get_ns};
use tracer_common::{
    MAX_CONTAINERS,
    filter::Books,
    share::{ALL, PAUSE_NS, QUEUE_BYTES, TIMES_FREE, URGENT, bytes},
};

use crate::{
    kernel::{GRANT, RING_BYTES},
    maps::{EVENTS, SHARES},
    sieve::fetch_add,
};

/// Most looks at the clock in a pause, for the verifier; one takes some 20 ns.
const LOOKS: u32 = 1024;

/// Takes room for a record of so many bytes, and tells whether the daemon is to be woken by it; `None` where the container
/// has its share. What a CPU was granted lasts for many records, so most cost a comparison.
#[inline(always)]
pub(crate) fn take(slot: u32, books: &mut Books, len: u32) -> Option<bool> {
    let need = bytes(len);
    let mut urgent = false;
    if books.credit < need {
        let granted = grant(slot, need);
        if granted == 0 {
            return None;
        }
        urgent = granted & URGENT != 0;
        books.credit += granted & !URGENT;
    }
    books.credit -= need;
    Some(urgent)
}

/// Gives back what [`take`] took: the ring had no room all the same.
#[inline(always)]
pub(crate) fn put_back(books: &mut Books, len: u32) {
    books.credit += bytes(len);
}

/// Grants at least so many bytes, or none, and [`URGENT`]. A global function: the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn grant(slot: u32, need: u32) -> u32 {
    let (Some(share), Some(all)) = (
        SHARES.get_ptr_mut(slot & (MAX_CONTAINERS - 1)),
        SHARES.get_ptr(ALL),
    ) else {
        return 0;
    };
    // SAFETY: a value of the map, which lives as long.
    let held = unsafe { &raw const (*share).held };
    // SAFETY: as above; a word that is read whole.
    let with_it = || unsafe { ptr::read_volatile(held) as i64 + i64::from(need) };
    let mut urgent = 0;
    let mut granted = if need > GRANT.load() { need } else { GRANT.load() };
    let ring = u64::from(RING_BYTES.load());
    let backlog = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA));
    let free = if backlog < ring { ring - backlog } else { 0 };
    // SAFETY: a value of the map, which lives as long; its words are read whole, and added to by one instruction.
    unsafe {
        let most = ptr::read_volatile(&raw const (*share).most);
        let queued = ptr::read_volatile(&raw const (*share).queued);
        let waiting = ptr::read_volatile(&raw const (*all).queued);
        let room = if waiting < QUEUE_BYTES {
            QUEUE_BYTES - waiting
        } else {
            0
        };
        if queued > TIMES_FREE * room {
            return 0;
        }
        // What is queued is in the ring no more.
        let may = TIMES_FREE * free + queued;
        let may = if most != 0 && most < may { most } else { may };
        let mark = ptr::read_volatile(&raw const (*share).mark);
        let mut wanted = with_it();
        // What is refused wakes nobody, so the reader is woken before: one that floods keeps the ring as full as it may,
        // and neither its records nor what others put in must wait for the reader's time-out.
        if backlog > ring / 2 || wanted > (may / 2) as i64 {
            urgent = URGENT;
        }
        if mark != 0 && wanted > (if mark < may / 2 { mark } else { may / 2 }) as i64 {
            ptr::write_volatile(&raw mut (*share).pressed, 1);
            granted = need;
            urgent = URGENT;
            pause();
            wanted = with_it();
        }
        if wanted > may as i64 {
            return 0;
        }
        fetch_add(&raw mut (*share).held, u64::from(granted));
    }
    granted | urgent
}

/// Waits for [`PAUSE_NS`]: nothing that a program may call sleeps.
#[inline(always)]
fn pause() {
    // SAFETY: no precondition.
    let now = || unsafe { bpf_ktime_get_ns() };
    let until = now() + PAUSE_NS;
    for _ in 0..LOOKS {
        if now() >= until {
            break;
        }
    }
}
