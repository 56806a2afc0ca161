//! How much of the way to the daemon each container has taken: the ring is one for all, and so is the queue behind it.
//!
//! A record takes its bytes before the ring is asked for room; the daemon gives them back when it is done with the record.
//! A container may have in the ring at most [`TIMES_FREE`] times what is free there, and the same of the queue. So one that
//! floods ends where a fifth is free for the others, and each that floods beside it leaves a smaller part, but always one
//! as large as a fourth of what each of them has.

/// How many times what is free in the ring a container may have there; the same of the queue.
pub const TIMES_FREE: u64 = 4;

/// Bytes that may wait in the daemon's queue behind the ring.
pub const QUEUE_BYTES: u64 = 64 << 20;

/// The slot, of no container, whose [`Share::queued`] is that of all.
pub const ALL: u32 = 0;

/// One of [`GRANTS`] parts of the ring, shared among the CPUs, is what a CPU takes for a container at a time: with most
/// records it need not touch what other CPUs touch.
pub const GRANTS: u32 = 256;

/// Most bytes of a grant.
pub const MAX_GRANT: u32 = 64 * 1024;

/// What one slot holds, and may hold; a cache line of its own, since CPUs and the daemon write it at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Share {
    /// Bytes taken and not given back: of records in the ring and in the daemon, and what CPUs may yet fill. The programs
    /// add, the daemon subtracts. To be read as signed: what a slot's former user had on its way is given back late.
    pub held: u64,
    /// Of these, bytes in the daemon's queue. The daemon alone writes it.
    pub queued: u64,
    /// Most bytes, whatever is free; 0 is no such bound.
    pub most: u64,
    /// Above so many bytes, or above half of what it may hold, the container is to be held back until the daemon has caught
    /// up: each record wakes the daemon then, and costs its task up to [`PAUSE_NS`]. 0: never.
    pub mark: u64,
    /// Not 0: it came above. The programs set it, the daemon clears it.
    pub pressed: u64,
    /// Explicit padding.
    pub _pad: [u64; 3],
}

/// How long a task of a container that is to be held back waits in each of its calls while it still runs: until it is
/// stopped, so many calls a second still come from each CPU, and their records need room.
pub const PAUSE_NS: u64 = 20_000;

/// In what a CPU is granted: the daemon is to be woken.
pub const URGENT: u32 = 1 << 31;

/// Bytes that a record of `len` bytes takes in the ring: BPF_RINGBUF_HDR_SZ and its alignment, kernel/bpf/ringbuf.c.
#[inline(always)]
pub const fn bytes(len: u32) -> u32 {
    (len + 8 + 7) & !7
}

const _: () = {
    assert!(size_of::<Share>() == 64);
    assert!(bytes(120) == 128 && bytes(121) == 136);
};
