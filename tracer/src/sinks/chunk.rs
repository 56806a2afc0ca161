//! What goes from the pipeline to a sink: rendered events, and whose books they are in. It must not know formats or
//! receivers.
//!
//! Books are kept by both ends: the pipeline books what it hands over as queued, whoever delivers it settles it. A chunk
//! that is dropped before has been dropped for the books, too.

mod parts;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

pub(super) use parts::Parts;

use crate::event::Container;

/// What a sink did with events. At any time, of those that were handed to it:
/// `taken = written + dropped + skipped + queued`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub written: u64,
    pub dropped: u64,
    /// Left out by the sink's own selection.
    pub skipped: u64,
    /// Taken, and not delivered yet.
    #[serde(default)]
    pub queued: u64,
}

/// Counts that the pipeline and a sink's own thread keep together.
#[derive(Debug, Default)]
pub struct Account {
    counts: Mutex<Counts>,
    of: OnceLock<Arc<Container>>,
}

impl Account {
    /// Says whose it is; the first word holds.
    pub fn belongs_to(&self, container: &Arc<Container>) {
        self.of.get_or_init(|| container.clone());
    }

    /// Whose it is, where it is a container's.
    pub fn of(&self) -> Option<&Arc<Container>> {
        self.of.get()
    }

    /// As they are now, at one moment.
    pub fn counts(&self) -> Counts {
        *self.lock()
    }

    /// Books so many as left out.
    pub fn skip(&self, count: u64) {
        self.lock().skipped += count;
    }

    /// Goes on with what another has counted.
    pub fn resume(&self, before: &Counts) {
        let mut counts = self.lock();
        counts.written += before.written;
        counts.dropped += before.dropped;
        counts.skipped += before.skipped;
        counts.queued += before.queued;
    }

    /// Books so many as queued.
    pub fn queue(&self, count: u64) {
        self.lock().queued += count;
    }

    /// Books so many that were queued as delivered, or as dropped.
    pub fn settle(&self, count: u64, delivered: bool) {
        let mut counts = self.lock();
        counts.queued = counts.queued.saturating_sub(count);
        if delivered {
            counts.written += count;
        } else {
            counts.dropped += count;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        // Each change leaves the numbers whole.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry's end in the bytes, and its owner among the chunk's.
#[derive(Clone, Copy, Debug)]
struct Entry {
    end: usize,
    owner: u16,
}

/// The owner of an entry that is no call.
const NOBODY: u16 = u16::MAX;
/// What an entry costs beside its bytes.
const OVERHEAD: usize = size_of::<Entry>();

/// Rendered events, oldest first, and the accounts that their calls are in.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    owners: Vec<Arc<Account>>,
    /// All entries, calls or not.
    total: Option<Arc<Account>>,
    /// Entries and bytes that are settled.
    settled: usize,
    from: usize,
}

impl Chunk {
    /// An empty one, whose entries are all booked there.
    pub fn new(total: Arc<Account>) -> Self {
        let mut chunk = Self::default();
        chunk.total = Some(total);
        chunk
    }

    /// Adds what `render` writes as an entry; as a call of that account. A call of which nothing is written is an entry all
    /// the same.
    pub fn push(&mut self, call_of: Option<&Arc<Account>>, render: impl FnOnce(&mut Vec<u8>)) {
        let before = self.bytes.len();
        render(&mut self.bytes);
        if self.bytes.len() == before && call_of.is_none() {
            return;
        }
        let owner = call_of.map_or(NOBODY, |account| self.owner(account));
        self.entries.push(Entry {
            end: self.bytes.len(),
            owner,
        });
    }

    /// Books all that is in it as queued, once.
    pub fn book(&self) {
        self.tally(self.len(), Account::queue);
        if let Some(total) = &self.total {
            total.queue(self.len() as u64);
        }
    }

    /// How many of the first so many entries each account has.
    fn tally(&self, entries: usize, mut each: impl FnMut(&Account, u64)) {
        let mut of_owner = vec![0; self.owners.len()];
        for entry in self.entries.iter().skip(self.settled).take(entries) {
            if let Some(count) = of_owner.get_mut(usize::from(entry.owner)) {
                *count += 1;
            }
        }
        for (account, count) in self.owners.iter().zip(of_owner) {
            if count > 0 {
                each(account, count);
            }
        }
    }

    fn owner(&mut self, account: &Arc<Account>) -> u16 {
        // Mostly the same one again.
        let known = self.owners.iter().rposition(|known| Arc::ptr_eq(known, account));
        let index = known.unwrap_or_else(|| {
            self.owners.push(account.clone());
            self.owners.len() - 1
        });
        // There are fewer containers than that.
        u16::try_from(index).unwrap_or(NOBODY)
    }

    /// What is not settled.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(self.from..).unwrap_or_default()
    }

    /// The first entries that have at most so many bytes together: how many entries, how many bytes. At least one.
    pub fn within(&self, most: u64) -> (usize, usize) {
        let rest = self.entries.get(self.settled..).unwrap_or_default();
        let fitting = rest.partition_point(|entry| (entry.end - self.from) as u64 <= most);
        let count = fitting.max(1).min(rest.len());
        let end = count
            .checked_sub(1)
            .and_then(|last| rest.get(last))
            .map_or(self.from, |last| last.end);
        (count, end - self.from)
    }

    /// Takes the bytes out, for a sink that needs nothing else of it; the entries stay, to be settled.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.drain(..self.from);
        bytes
    }

    /// The entries that are not settled, one by one.
    pub fn entries(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = self.from;
        self.entries.iter().skip(self.settled).map(move |entry| {
            let bytes = self.bytes.get(from..entry.end).unwrap_or_default();
            from = entry.end;
            bytes
        })
    }

    /// The first of them.
    pub fn first(&self) -> &[u8] {
        self.entries().next().unwrap_or_default()
    }

    /// How many these are.
    pub fn len(&self) -> usize {
        self.entries.len() - self.settled
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that it takes.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.entries.len() * OVERHEAD
    }

    /// Books its first so many entries as delivered, or as dropped; they are no longer in it.
    pub fn settle(&mut self, entries: usize, delivered: bool) {
        let entries = entries.min(self.len());
        if entries == 0 {
            return;
        }
        self.tally(entries, |account, count| account.settle(count, delivered));
        if let Some(total) = &self.total {
            total.settle(entries as u64, delivered);
        }
        self.settled += entries;
        self.from = self
            .entries
            .get(self.settled - 1)
            .map_or(self.from, |last| last.end);
    }

    /// Takes what is in the other behind its own.
    pub fn append(&mut self, mut other: Self) {
        let owners: Vec<_> = std::mem::take(&mut other.owners)
            .iter()
            .map(|account| self.owner(account))
            .collect();
        let (from, base) = (other.from, self.bytes.len());
        self.bytes.extend_from_slice(other.bytes());
        let entries = std::mem::take(&mut other.entries);
        self.entries
            .extend(entries.iter().skip(other.settled).map(|entry| Entry {
                end: base + entry.end - from,
                owner: owners.get(usize::from(entry.owner)).copied().unwrap_or(NOBODY),
            }));
        other.settled = 0;
        self.total = self.total.take().or(other.total.take());
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.settle(self.len(), false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Arc<Account> {
        Arc::default()
    }

    fn counts(written: u64, dropped: u64, queued: u64) -> Counts {
        Counts {
            written,
            dropped,
            skipped: 0,
            queued,
        }
    }

    #[test]
    fn entries_are_booked_one_by_one() {
        let (total, web, db) = (account(), account(), account());
        let mut chunk = Chunk::new(total.clone());
        chunk.push(Some(&web), |to| to.extend_from_slice(b"one\n"));
        chunk.push(Some(&db), |to| to.extend_from_slice(b"two\n"));
        chunk.push(None, |to| to.extend_from_slice(b"three\n"));
        chunk.push(None, |_| {});
        chunk.push(Some(&web), |to| to.extend_from_slice(b"four\n"));
        chunk.book();
        assert_eq!((web.counts(), total.counts()), (counts(0, 0, 2), counts(0, 0, 4)));
        chunk.settle(2, true);
        assert_eq!(chunk.bytes(), b"three\nfour\n");
        assert_eq!(
            chunk.entries().collect::<Vec<_>>(),
            [b"three\n".as_slice(), b"four\n"]
        );
        assert_eq!((web.counts(), db.counts()), (counts(1, 0, 1), counts(1, 0, 0)));
        drop(chunk);
        assert_eq!((web.counts(), total.counts()), (counts(1, 1, 0), counts(2, 2, 0)));
    }

    #[test]
    fn what_is_joined_keeps_its_owners() {
        let (total, web, db) = (account(), account(), account());
        let mut chunks = [Chunk::new(total.clone()), Chunk::new(total.clone())];
        chunks[0].push(Some(&web), |to| to.extend_from_slice(b"a\n"));
        for (call_of, text) in [
            (Some(&web), "gone\n"),
            (Some(&db), "bb\n"),
            (None, "ccc\n"),
            (Some(&web), "d\n"),
        ] {
            chunks[1].push(call_of, |to| to.extend_from_slice(text.as_bytes()));
        }
        chunks.iter().for_each(Chunk::book);
        chunks[1].settle(1, true);
        let [mut first, second] = chunks;
        first.append(second);
        assert_eq!(first.bytes(), b"a\nbb\nccc\nd\n");
        assert_eq!((first.len(), total.counts()), (4, counts(1, 0, 4)));
        first.settle(2, true);
        first.settle(9, false);
        assert_eq!(
            (web.counts(), db.counts(), total.counts()),
            (counts(2, 1, 0), counts(1, 0, 0), counts(3, 2, 0))
        );
    }
}
