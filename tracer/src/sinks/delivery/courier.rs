//! What a delivery's thread does, one step at a time: which batch is next, when it is tried, what goes to the spool. In
//! order: what is held, then the spool, then memory.
//!
//! It must not wait itself, nor look at a clock but the delivery's: tests make time pass.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Accounts, Batch, Receiver, Refusal, Shared,
    spool::{Record, Spool},
};
use crate::{
    log::note,
    sinks::{Account, Chunk, chunk::Parts},
};

/// A receiver that asks for more is not believed.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// Between two looks at a spool that another has, or at a disk that refused.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
const DISK_AGAIN: Duration = Duration::from_secs(1);

/// What is to be done after a step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Step,
    /// Until then, or until something comes.
    Wait(Option<Instant>),
    Done,
}

/// Pauses that grow, each between half and all of what it might be: receivers are not asked by all at once.
#[derive(Debug)]
struct Backoff {
    bounds: (Duration, Duration),
    next: Duration,
    random: u64,
}

impl Backoff {
    fn pause(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(self.bounds.1);
        // xorshift64; its state is never 0.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        full / 2 + full.mul_f64((self.random % 1024) as f64 / 2048.0)
    }

    fn reset(&mut self) {
        self.next = self.bounds.0;
    }
}

enum Spooling {
    /// There is none.
    Without,
    /// Not opened yet: another process may still have it.
    Unopened,
    Open(Box<Spool>),
}

pub(super) struct Courier<R> {
    shared: Arc<Shared>,
    receiver: R,
    spooling: Spooling,
    /// Whose calls are in the spool.
    accounts: Accounts,
    /// The spool's oldest, as far as it is delivered.
    spooled: Option<Batch>,
    /// Calls of an earlier daemon's containers that were refused.
    refused: u64,
    /// What was tried, and found no place in the spool.
    held: Option<Batch>,
    backoff: Backoff,
    /// Nothing is tried before.
    retry: Option<Instant>,
    /// Nothing is written to the disk before.
    disk: Option<Instant>,
}

impl<R: Receiver> Courier<R> {
    pub(super) fn new(shared: Arc<Shared>, receiver: R) -> Self {
        let bounds = shared.settings.retry;
        let spooling = match &shared.settings.directory {
            Some(_) if shared.settings.spool > 0 => Spooling::Unopened,
            _ => Spooling::Without,
        };
        Self {
            receiver,
            spooling,
            accounts: Accounts::new(),
            spooled: None,
            refused: 0,
            held: None,
            backoff: Backoff {
                bounds,
                next: bounds.0,
                random: shared.run | 1,
            },
            retry: None,
            disk: None,
            shared,
        }
    }

    pub(super) fn now(&self) -> Instant {
        (self.shared.clock)()
    }

    /// Does what is next.
    pub(super) fn step(&mut self) -> Next {
        let now = self.now();
        let end = {
            let mut state = self.shared.lock();
            self.shared.tell(&mut state);
            state.end
        };
        if let Spooling::Unopened = self.spooling
            && !self.open_spool()
        {
            return match end {
                Some(end) if now >= end => self.leave(now),
                _ => Next::Wait(Some(now + LOOK_AGAIN)),
            };
        }
        self.book_damage();
        self.book_earlier();
        if end.is_some_and(|end| now >= end) {
            return self.leave(now);
        }
        if let Some(retry) = self.retry.filter(|retry| now < *retry) {
            self.spill(now, false);
            return match (end, &self.spooling) {
                (Some(_), Spooling::Open(_)) => self.leave(now),
                (end, _) => Next::Wait(self.earliest(now, Some(retry).into_iter().chain(end))),
            };
        }
        let due = self.retry.is_none().then(|| self.receiver.tick()).flatten();
        if self.spool_is_used() || self.memory_is_short() {
            self.spill(now, end.is_some());
        }
        match self.next_batch(now, end.is_some()) {
            Ok(Some((batch, spooled))) => {
                let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(now));
                self.attempt(batch, spooled, left);
                Next::Step
            }
            Ok(None) if end.is_some() => self.leave(now),
            Ok(None) => Next::Wait(self.earliest(now, due)),
            Err(error) => {
                note(&format!(
                    "sink {}: the spool cannot be read: {error}",
                    self.shared.name
                ));
                self.retry = Some(now + DISK_AGAIN);
                Next::Step
            }
        }
    }

    /// The first of these moments, or of the one when the batch at hand waits for no more.
    fn earliest(&self, now: Instant, moments: impl IntoIterator<Item = Instant>) -> Option<Instant> {
        let state = self.shared.lock();
        let closes = state
            .batches
            .front()
            .map(|batch| batch.began + self.shared.settings.linger)
            .filter(|closes| *closes > now);
        moments.into_iter().chain(closes).min()
    }

    fn spool_is_used(&self) -> bool {
        matches!(&self.spooling, Spooling::Open(spool) if !spool.is_empty())
    }

    fn memory_is_short(&self) -> bool {
        self.shared.lock().bytes > self.shared.settings.queue / 2
    }

    /// False while another process has it.
    fn open_spool(&mut self) -> bool {
        let settings = &self.shared.settings;
        let Some(directory) = &settings.directory else {
            return true;
        };
        let name = &self.shared.name;
        match Spool::open(directory, settings.spool, self.shared.run) {
            Ok(None) => return false,
            Ok(Some(spool)) => {
                let events = spool.events();
                if events > 0 {
                    note(&format!(
                        "sink {name}: {events} events are left from before in {}",
                        directory.display()
                    ));
                    self.shared.total.queue(events);
                }
                self.spooling = Spooling::Open(Box::new(spool));
                self.tell_bytes();
            }
            Err(error) => {
                note(&format!(
                    "sink {name}: no spool in {}: {error}; what waits longer than memory has room will be dropped",
                    directory.display()
                ));
                self.spooling = Spooling::Without;
            }
        }
        true
    }

    /// The batch that is next, and whether it is the spool's.
    fn next_batch(&mut self, now: Instant, all: bool) -> io::Result<Option<(Batch, bool)>> {
        if let Some(held) = self.held.take() {
            return Ok(Some((held, false)));
        }
        if let Some(spooled) = self.spooled.take() {
            return Ok(Some((spooled, true)));
        }
        if let Spooling::Open(spool) = &mut self.spooling
            && !spool.is_empty()
            && let Some(record) = spool.head()?
        {
            let batch = unspool(record, &self.shared, &self.accounts, now);
            return Ok(Some((batch, true)));
        }
        let mut state = self.shared.lock();
        let ready = state
            .batches
            .front()
            .is_some_and(|batch| all || self.shared.is_closed(batch, now));
        Ok(if ready { state.take() } else { None }.map(|batch| (batch, false)))
    }

    fn attempt(&mut self, mut batch: Batch, spooled: bool, left: Duration) {
        let within = self.shared.settings.timeout.min(left);
        let before = batch.len();
        let outcome = self.receiver.deliver(&mut batch, within);
        if outcome.is_ok() {
            batch.accept(batch.len());
        }
        if batch.len() < before {
            self.backoff.reset();
        }
        if batch.run != self.shared.run {
            let calls = batch.refused.drain(..).map(|(_, calls)| calls);
            self.refused += calls.sum::<u64>();
        }
        self.shared.lock().lost(batch.refused.drain(..));
        match outcome {
            Ok(()) => {
                self.retry = None;
                if self.shared.lock().health.down.take().is_some() {
                    note(&format!("sink {}: events are taken again", self.shared.name));
                }
            }
            Err(refusal) => self.put_off(refusal),
        }
        match (batch.is_empty(), spooled) {
            (true, true) => self.unspooled(),
            (true, false) => {}
            (false, true) => self.spooled = Some(batch),
            (false, false) => {
                self.held = Some(batch);
                self.spill(self.now(), false);
            }
        }
    }

    fn put_off(&mut self, refusal: Refusal) {
        let asked = refusal.after.unwrap_or_default().min(LONGEST_WAIT);
        self.retry = Some(self.now() + self.backoff.pause().max(asked));
        let mut state = self.shared.lock();
        state.health.failures += 1;
        if state.health.down.replace(refusal.why.clone()).is_none() {
            drop(state);
            note(&format!(
                "sink {}: events are not taken: {}; tried again until they are",
                self.shared.name, refusal.why
            ));
        }
    }

    /// The spool's oldest is delivered.
    fn unspooled(&mut self) {
        let Spooling::Open(spool) = &mut self.spooling else {
            return;
        };
        // It is read at most once: from its record, before it was delivered.
        let calls = match spool.head() {
            Ok(Some(record)) if record.run == self.shared.run => record.calls(),
            _ => Vec::new(),
        };
        if let Err(error) = spool.pop() {
            note(&format!("sink {}: spool: {error}", self.shared.name));
        }
        forget(&mut self.accounts, calls);
        self.tell_bytes();
    }

    /// Books what the spool had to give up.
    fn book_damage(&mut self) {
        let Spooling::Open(spool) = &mut self.spooling else {
            return;
        };
        let Some(damaged) = spool.damaged() else { return };
        note(&format!(
            "sink {}: {} bytes of the spool are damaged and given up",
            self.shared.name, damaged.bytes
        ));
        self.shared.total.settle(damaged.events, false);
        self.refused += damaged.earlier;
        let lost: Vec<_> = damaged
            .calls
            .iter()
            .filter_map(|(key, calls)| Some((self.accounts.get(key)?.0.clone(), *calls)))
            .collect();
        for (account, calls) in &lost {
            account.settle(*calls, false);
        }
        self.shared.lock().lost(lost);
        forget(&mut self.accounts, damaged.calls);
    }

    /// Books what an earlier daemon has left, once all of it is delivered. Whose the refused ones were is not known: they
    /// are the first ones'.
    fn book_earlier(&mut self) {
        let kept = match &self.spooling {
            Spooling::Open(spool) if spool.has_earlier() => return,
            Spooling::Open(_) => true,
            _ => false,
        };
        let resumed = std::mem::take(&mut self.shared.lock().resumed);
        for (account, calls) in resumed {
            let refused = if kept { calls.min(self.refused) } else { calls };
            self.refused = self.refused.saturating_sub(refused);
            account.settle(refused, false);
            account.settle(calls - refused, true);
        }
    }

    /// Moves what waits in memory to the spool, while there is room: the batches that wait for no more events, or all.
    fn spill(&mut self, now: Instant, all: bool) {
        let Spooling::Open(spool) = &mut self.spooling else {
            return;
        };
        if self.disk.is_some_and(|disk| now < disk) {
            return;
        }
        loop {
            let (batch, was_held) = match self.held.take() {
                Some(held) => (held, true),
                None => {
                    let mut state = self.shared.lock();
                    let ready = |front: &Batch| all || self.shared.is_closed(front, now);
                    match state.batches.front().is_some_and(ready).then(|| state.take()) {
                        Some(Some(batch)) => (batch, false),
                        _ => break,
                    }
                }
            };
            let appended = spool.append(&record_of(&batch));
            if let Ok(true) = appended {
                keep(batch, &mut self.accounts);
                continue;
            }
            // In its place: behind what the spool has, but for what was tried, which is before all.
            if was_held {
                self.held = Some(batch);
            } else {
                self.shared.lock().put_back(batch);
            }
            if let Err(error) = appended {
                note(&format!("sink {}: spool: {error}", self.shared.name));
                self.disk = Some(now + DISK_AGAIN);
            }
            break;
        }
        self.tell_bytes();
    }

    fn tell_bytes(&self) {
        if let Spooling::Open(spool) = &self.spooling {
            self.shared.lock().health.spooled_bytes = spool.bytes();
        }
    }

    /// Ends: what is left goes to the spool, and what finds no room there is dropped.
    fn leave(&mut self, now: Instant) -> Next {
        self.disk = None;
        self.spill(now, true);
        if let Some(spooled) = self.spooled.take() {
            // It lies in the spool as a whole.
            spooled.chunk.dismantle();
        }
        let mut state = self.shared.lock();
        let rest: Vec<_> = self
            .held
            .take()
            .into_iter()
            .chain(state.batches.drain(..))
            .collect();
        state.bytes = 0;
        drop(state);
        let dropped: usize = rest.iter().map(Batch::len).sum();
        // Their end books them as dropped.
        drop(rest);
        let name = &self.shared.name;
        if dropped > 0 {
            note(&format!("sink {name}: {dropped} events are dropped at the end"));
        }
        if let Spooling::Open(spool) = &self.spooling
            && !spool.is_empty()
        {
            note(&format!(
                "sink {name}: {} events are left in the spool for the next daemon",
                spool.events()
            ));
        }
        Next::Done
    }
}

/// As it lies in the spool; accounts by the address that they have while [`Accounts`] hold them.
fn record_of(batch: &Batch) -> Record {
    let Parts {
        bytes,
        entries,
        owners,
    } = batch.chunk.parts();
    Record {
        run: batch.run,
        first: batch.first,
        owners: owners.iter().map(key).collect(),
        entries: entries
            .into_iter()
            .map(|(end, owner)| (u32::try_from(end).unwrap_or(u32::MAX), owner))
            .collect(),
        bytes,
    }
}

fn key(account: &Arc<Account>) -> u64 {
    Arc::as_ptr(account).addr() as u64
}

/// The batch is in the spool: its books stay open.
fn keep(batch: Batch, accounts: &mut Accounts) {
    for (account, calls) in batch.chunk.calls(batch.len()) {
        accounts.entry(key(&account)).or_insert((account, 0)).1 += calls;
    }
    batch.chunk.dismantle();
}

/// So many calls of these accounts are no longer in the spool.
fn forget(accounts: &mut Accounts, calls: Vec<(u64, u64)>) {
    for (key, calls) in calls {
        if let Some((_, left)) = accounts.get_mut(&key) {
            *left = left.saturating_sub(calls);
            if *left == 0 {
                accounts.remove(&key);
            }
        }
    }
}

fn unspool(record: &Record, shared: &Shared, accounts: &Accounts, now: Instant) -> Batch {
    let owner = |key: &u64| match accounts.get(key) {
        Some((account, _)) if record.run == shared.run => account.clone(),
        // An earlier daemon's container.
        _ => Arc::default(),
    };
    let parts = Parts {
        bytes: record.bytes.clone(),
        entries: record
            .entries
            .iter()
            .map(|(end, owner)| (*end as usize, *owner))
            .collect(),
        owners: record.owners.iter().map(owner).collect(),
    };
    Batch {
        run: record.run,
        first: record.first,
        chunk: Chunk::assemble(parts, shared.total.clone()),
        began: now,
        refused: Vec::new(),
    }
}
