//! A chunk taken apart and put together again, for who keeps it elsewhere meanwhile: its books stay open.

use std::sync::Arc;

use super::{Account, Chunk, Entry};

/// What a chunk is made of.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    pub bytes: Vec<u8>,
    /// Each entry's end in `bytes`, and its owner's place among `owners`, or `u16::MAX`.
    pub entries: Vec<(usize, u16)>,
    pub owners: Vec<Arc<Account>>,
}

impl Chunk {
    /// What is not settled.
    pub fn parts(&self) -> Parts {
        let rest = self.entries.iter().skip(self.settled);
        Parts {
            bytes: self.bytes().to_vec(),
            entries: rest.map(|entry| (entry.end - self.from, entry.owner)).collect(),
            owners: self.owners.clone(),
        }
    }

    /// Ends it without settling what is in it: that is kept elsewhere.
    pub fn dismantle(mut self) {
        self.settled = self.entries.len();
    }

    /// One of these parts, which are in the books as queued.
    pub fn assemble(parts: Parts, total: Arc<Account>) -> Self {
        let mut chunk = Self::new(total);
        let entries = parts.entries.into_iter();
        chunk.entries = entries.map(|(end, owner)| Entry { end, owner }).collect();
        chunk.bytes = parts.bytes;
        chunk.owners = parts.owners;
        chunk
    }

    /// The calls among the first so many entries, by account.
    pub fn calls(&self, entries: usize) -> Vec<(Arc<Account>, u64)> {
        let mut calls: Vec<_> = self.owners.iter().map(|owner| (owner.clone(), 0)).collect();
        for entry in self.entries.iter().skip(self.settled).take(entries) {
            if let Some((_, count)) = calls.get_mut(usize::from(entry.owner)) {
                *count += 1;
            }
        }
        calls.retain(|(_, count)| *count > 0);
        calls
    }
}
