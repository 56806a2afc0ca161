//! The reading end of a BPF ring buffer (kernel/bpf/ringbuf.c, Documentation/bpf/ringbuf.rst).
//!
//! Own code for one reason: aya's reader gives each record back to the kernel by itself, and the kernel side looks at
//! that position before each record that it writes. On two CPUs that is a cache miss a record: +20 ns to each traced
//! call, measured. This one gives back [`GIVE_BACK`] bytes at a time.

use std::{
    ffi::c_void,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result, ensure};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::shares::Shares;

/// BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT and BPF_RINGBUF_HDR_SZ, include/uapi/linux/bpf.h.
const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
const HEADER: u64 = 8;

/// Bytes after which the kernel is told that they are free again, or one of [`PARTS`] parts of a small ring.
const GIVE_BACK: u64 = 128 * 1024;
const PARTS: u64 = 8;

/// A mapping, unmapped when dropped.
pub(super) struct Mapping {
    start: NonNull<c_void>,
    len: usize,
}

impl Mapping {
    pub(super) fn new(fd: BorrowedFd<'_>, offset: u64, len: usize, protection: ProtFlags) -> Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses touches none that exist.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                protection,
                MapFlags::SHARED,
                fd,
                offset,
            )
        }
        .context("map the ring")?;
        let start = NonNull::new(start).context("map the ring: at address zero")?;
        Ok(Self { start, len })
    }

    /// The counter at the mapping's beginning.
    fn position(&self) -> &AtomicU64 {
        self.word(0)
    }

    /// The word so many bytes behind the mapping's beginning: a multiple of eight, within it.
    pub(super) fn word(&self, at: usize) -> &AtomicU64 {
        assert!(
            at.is_multiple_of(8) && at + 8 <= self.len,
            "a word of the mapping"
        );
        // SAFETY: aligned, within the mapping, and mapped for as long as self; the kernel changes it as a whole.
        unsafe { self.start.byte_add(at).cast::<AtomicU64>().as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is ours and nothing borrows from it: every borrow is bound to self.
        let _unmapped = unsafe { munmap(self.start.as_ptr(), self.len) };
    }
}

// SAFETY: what is shared with the kernel is accessed through atomics or before it is given back, by whichever thread.
unsafe impl Send for Mapping {}
// SAFETY: as above; what is no atomic is read by a ring's one owner alone.
unsafe impl Sync for Mapping {}

/// The reading end. One at a time: the position is the ring's own.
pub struct Ring {
    fd: OwnedFd,
    consumer: Mapping,
    /// The producer's page, then the data twice in a row, so that no record is in two pieces.
    producer: Mapping,
    page: usize,
    bytes: u64,
    backlog: Arc<AtomicU64>,
    shares: Arc<Shares>,
}

impl Ring {
    /// Maps the ring behind `fd`, which has room for `bytes`, in which containers have these shares.
    ///
    /// # Errors
    /// When it is no ring of that size.
    pub(super) fn new(fd: OwnedFd, bytes: u32, shares: Shares) -> Result<Self> {
        ensure!(
            bytes.is_power_of_two(),
            "a ring of {bytes} bytes, which is no power of two"
        );
        let page = rustix::param::page_size();
        let consumer = Mapping::new(fd.as_fd(), 0, page, ProtFlags::READ | ProtFlags::WRITE)?;
        let producer = Mapping::new(
            fd.as_fd(),
            page as u64,
            page + 2 * bytes as usize,
            ProtFlags::READ,
        )?;
        Ok(Self {
            fd,
            consumer,
            producer,
            page,
            bytes: bytes.into(),
            backlog: Arc::default(),
            shares: Arc::new(shares),
        })
    }

    /// What the containers have of it.
    pub fn shares(&self) -> Arc<Shares> {
        self.shares.clone()
    }

    /// Bytes that waited when it was last read, for whoever wants to know.
    pub fn backlog(&self) -> Arc<AtomicU64> {
        self.backlog.clone()
    }

    /// Calls `take` with each record that is there; at most a ring's worth, so that a flood cannot keep it for ever.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) {
        let give_back = GIVE_BACK.min(self.bytes / PARTS);
        let begin = self.consumer.position().load(Ordering::Relaxed);
        let mut at = begin;
        let mut given_back = begin;
        let mut end = self.producer.position().load(Ordering::Acquire);
        self.backlog.store(end.wrapping_sub(begin), Ordering::Relaxed);
        while at.wrapping_sub(begin) < self.bytes {
            if at == end {
                end = self.producer.position().load(Ordering::Acquire);
                if at == end {
                    break;
                }
            }
            let Some((head, record)) = self.record(at) else {
                break;
            };
            if head & DISCARDED == 0 {
                take(record);
            }
            at += (u64::from(head & !DISCARDED) + HEADER).next_multiple_of(8);
            if at.wrapping_sub(given_back) >= give_back {
                self.consumer.position().store(at, Ordering::Release);
                given_back = at;
            }
        }
        if at != given_back {
            self.consumer.position().store(at, Ordering::Release);
        }
    }

    /// The record at a position: its header's first word and its bytes; `None` while it is being written.
    fn record(&self, at: u64) -> Option<(u32, &[u8])> {
        let offset = self.page + (at & (self.bytes - 1)) as usize;
        // SAFETY: within the mapping: the offset into the data is below its size, and the data is mapped twice;
        // records are aligned to 8.
        let head = unsafe { self.producer.start.byte_add(offset).cast::<AtomicU32>().as_ref() };
        let head = head.load(Ordering::Acquire);
        let len = u64::from(head & !(BUSY | DISCARDED));
        // The kernel never writes a record larger than the ring; the mapping ends there.
        if head & BUSY != 0 || len > self.bytes {
            return None;
        }
        // SAFETY: the record begins behind its header and ends within the second mapping of the data; it is not
        // written any more, and not given back while the slice lives.
        let record = unsafe {
            let start = self
                .producer
                .start
                .byte_add(offset + HEADER as usize)
                .cast::<u8>();
            std::slice::from_raw_parts(start.as_ptr(), len as usize)
        };
        Some((head, record))
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
