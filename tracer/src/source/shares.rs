//! The daemon's side of what containers have on their way to it: each record's bytes are given back when nobody holds
//! the record any more (`tracer_common::share`).

use std::{
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Result;
use rustix::mm::ProtFlags;
use tracer_common::{MAX_CONTAINERS, record::Header, share};

use super::ring::Mapping;

/// The kernel side's table, mapped.
pub struct Shares(Mapping);

impl Shares {
    /// Maps the table behind `fd`.
    ///
    /// # Errors
    /// When it is no table that can be mapped.
    pub(super) fn new(fd: impl AsFd) -> Result<Self> {
        let len = MAX_CONTAINERS as usize * size_of::<share::Share>();
        Mapping::new(fd.as_fd(), 0, len, ProtFlags::READ | ProtFlags::WRITE).map(Self)
    }

    /// Bytes that a slot's container has on its way; not all of them are in the ring yet.
    pub fn on_its_way(&self, slot: u16) -> i64 {
        self.held(slot)
            .map_or(0, |held| held.load(Ordering::Relaxed).cast_signed())
    }

    /// Whether the kernel side has called for a slot's container to be held back, since this was asked last.
    pub fn take_pressed(&self, slot: u16) -> bool {
        const AT: usize = std::mem::offset_of!(share::Share, pressed);
        let pressed = self.word(slot, AT);
        pressed.is_some_and(|word| word.load(Ordering::Relaxed) != 0 && word.swap(0, Ordering::Relaxed) != 0)
    }

    /// From how many bytes on a slot's container is to be held back; 0 is never.
    pub fn set_mark(&self, slot: u16, mark: u64) {
        const AT: usize = std::mem::offset_of!(share::Share, mark);
        if let Some(word) = self.word(slot, AT) {
            word.store(mark, Ordering::Relaxed);
        }
    }

    /// Bytes of all that are out of the ring and not decoded.
    pub(super) fn all_queued(&self) -> u64 {
        self.queued(ALL)
            .map_or(0, |queued| queued.load(Ordering::Relaxed))
    }

    /// Bytes of a slot's container in the queue; of all, by [`share::ALL`].
    fn queued(&self, slot: u16) -> Option<&AtomicU64> {
        const AT: usize = std::mem::offset_of!(share::Share, queued);
        self.word(slot, AT)
    }

    fn held(&self, slot: u16) -> Option<&AtomicU64> {
        const AT: usize = std::mem::offset_of!(share::Share, held);
        self.word(slot, AT)
    }

    fn word(&self, slot: u16, at: usize) -> Option<&AtomicU64> {
        let slot = usize::from(slot);
        (slot < MAX_CONTAINERS as usize).then(|| self.0.word(slot * size_of::<share::Share>() + at))
    }
}

const ALL: u16 = share::ALL as u16;

/// What records hold of their containers' shares; given back when dropped.
#[derive(Default)]
pub(super) struct Held {
    shares: Option<Arc<Shares>>,
    /// Slot and bytes, of records that came one after the other.
    runs: Vec<(u16, u64)>,
    /// So many of these are in the queue.
    queued: usize,
    /// Of all.
    bytes: u64,
}

impl Held {
    /// Nothing yet.
    pub(super) fn of(shares: &Arc<Shares>) -> Self {
        Self {
            shares: Some(shares.clone()),
            runs: Vec::new(),
            queued: 0,
            bytes: 0,
        }
    }

    /// All that was added is out of the ring, and in the queue from here on.
    pub(super) fn queue(&mut self) {
        let Some(shares) = &self.shares else { return };
        for (slot, bytes) in self.runs.iter().skip(self.queued) {
            for queued in [*slot, ALL].into_iter().filter_map(|slot| shares.queued(slot)) {
                queued.fetch_add(*bytes, Ordering::Relaxed);
            }
        }
        self.queued = self.runs.len();
    }

    /// What all that was added takes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A record of the ring more.
    pub(super) fn add(&mut self, record: &[u8]) {
        const AT: usize = std::mem::offset_of!(Header, slot);
        let slot = record.get(AT..AT + 2).and_then(|bytes| bytes.try_into().ok());
        let (Some(slot), Ok(len)) = (slot.map(u16::from_le_bytes), u32::try_from(record.len())) else {
            return;
        };
        let bytes = u64::from(share::bytes(len));
        self.bytes += bytes;
        match self.runs.get_mut(self.queued..).and_then(<[_]>::last_mut) {
            Some((last, sum)) if *last == slot => *sum += bytes,
            _ => self.runs.push((slot, bytes)),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(shares) = &self.shares else { return };
        for (index, (slot, bytes)) in self.runs.iter().enumerate() {
            if let Some(held) = shares.held(*slot) {
                held.fetch_sub(*bytes, Ordering::Relaxed);
            }
            let out = [*slot, ALL].into_iter().filter(|_| index < self.queued);
            for queued in out.filter_map(|slot| shares.queued(slot)) {
                // A slot's next user begins with nothing, while its last one's records may still be here.
                let _never = queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                    Some(now.saturating_sub(*bytes))
                });
            }
        }
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_tuple("Held").field(&self.runs).finish()
    }
}
