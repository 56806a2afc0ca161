//! The thread behind the queue: decode reads, enrich adds, sinks write. Marks tell it, in their place between the
//! records, that a container comes or goes and that a sink is opened or closed.
//!
//! It must not know the kernel, the registry or sockets.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender},
    },
};

use tracer_common::record::{Header, Kind};

use crate::{
    decode,
    enrich::{Clock, Enricher, Live, Progress},
    event::{Away, Body, Books, Comm, Container, Event, Exit, Lifecycle, Loss, LossReason},
    explain::Failures,
    filter::Filter,
    sinks::{Counts, Output},
    source::{Batch, Item},
};

/// Records kept of a container for `tail --since-start`, in bytes.
const HISTORY_BYTES: usize = 2 << 20;
/// Records kept of all containers, the ended ones among them.
const ALL_HISTORY_BYTES: usize = 16 << 20;
/// A piece of history is dropped whole.
const CHUNK_BYTES: usize = 64 * 1024;

/// What comes from outside.
#[derive(Debug)]
pub enum Mark {
    /// A container is in [`Births`].
    Registered {
        slot: u16,
    },
    Armed {
        slot: u16,
        ktime: u64,
        round_trip_ns: u64,
    },
    /// All of its records came before. `last_seq` is the kernel's last number on each CPU. Answers with what each sink
    /// did with its calls.
    Gone {
        slot: u16,
        ktime: u64,
        end: Box<End>,
        sinks: Sender<Vec<(String, Counts)>>,
    },
    /// So many calls more were lost to the rate limit.
    Limited {
        slot: u16,
        ktime: u64,
        count: u64,
    },
    /// A container that is not registered and asks to be.
    Unregistered {
        info: Arc<Container>,
        reason: String,
    },
    /// Opens a sink; with `history`, it first gets what is still held.
    Open {
        output: Box<Output>,
        history: bool,
    },
    Close {
        id: u64,
        result: Sender<io::Result<()>>,
    },
    /// Why calls failed has been found out.
    Explained,
    /// Answers once all before it has reached the sinks, with each sink's counts of that container.
    Sync {
        slot: Option<u16>,
        reached: Sender<Vec<(String, Counts)>>,
    },
}

/// A container's end.
#[derive(Debug)]
pub struct End {
    pub last_seq: Vec<u64>,
    pub books: Books,
    pub complete: bool,
    pub exit: Option<Exit>,
    /// Calls lost to the rate limit that no [`Mark::Limited`] told.
    pub limited: u64,
    /// It goes on.
    pub detached: bool,
}

/// Containers that are about to send records. They are put here before the filter is armed, and fetched at their first
/// record or mark: no record can come before its container, and no registration waits for the queue.
#[derive(Clone, Debug, Default)]
pub struct Births(Arc<Mutex<HashMap<u16, Birth>>>);

#[derive(Debug)]
struct Birth {
    live: Box<Live>,
    late: bool,
    asked: Asked,
    away: Vec<Away>,
    ktime: u64,
}

/// What a container asked for that concerns its events.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// What all its readers get at most.
    pub filter: Option<Arc<Filter>>,
    /// What is told on its stream.
    pub warnings: Vec<String>,
}

impl Births {
    /// Announces a container.
    pub fn announce(&self, slot: u16, live: Box<Live>, late: bool, asked: Asked, away: Vec<Away>) {
        self.lock().insert(
            slot,
            Birth {
                live,
                late,
                asked,
                away,
                ktime: crate::enrich::monotonic_ns(),
            },
        );
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u16, Birth>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Proof rounds that wait for their record.
#[derive(Clone, Debug, Default)]
pub struct Proofs(Arc<Mutex<HashMap<u32, Waiting>>>);

#[derive(Debug)]
struct Waiting {
    nonce: u64,
    seen: Sender<u64>,
}

impl Proofs {
    /// Waits for that thread's call with that nonce; its `ktime` comes through `seen`.
    pub fn expect(&self, tid: u32, nonce: u64, seen: Sender<u64>) {
        self.lock().insert(tid, Waiting { nonce, seen });
    }

    /// Waits no longer.
    pub fn dismiss(&self, tid: u32) {
        self.lock().remove(&tid);
    }

    /// Looks at a record that came out of the ring; true when it is of the proof slot, and so nobody else's. Done by the
    /// ring's reader: a hook must not wait behind what other containers have queued.
    pub fn take(&self, proof_slot: u16, record: &[u8]) -> bool {
        let Some(head) = Head::peek(record).filter(|head| head.slot == proof_slot) else {
            return false;
        };
        // args[1] is the second word behind the fixed part.
        let at = size_of::<tracer_common::record::Syscall>() + 8;
        let nonce = record
            .get(at..at + 8)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u64::from_le_bytes);
        let mut waiting = self.lock();
        if i64::from(head.nr) == libc::SYS_lseek
            && waiting
                .get(&head.tid)
                .is_some_and(|proof| Some(proof.nonce) == nonce)
            && let Some(proof) = waiting.remove(&head.tid)
        {
            // Whoever waited may have given up.
            let _gone = proof.seen.send(head.ktime);
        }
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The words of a header that are needed before, or instead of, decoding.
struct Head {
    kind: u16,
    slot: u16,
    generation: u32,
    cpu: u16,
    nr: u16,
    seq: u64,
    ktime: u64,
    tid: u32,
}

impl Head {
    fn peek(record: &[u8]) -> Option<Self> {
        let half = |at: usize| record.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes);
        let word = |at: usize| record.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let long = |at: usize| record.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        Some(Self {
            kind: half(std::mem::offset_of!(Header, kind))?,
            slot: half(std::mem::offset_of!(Header, slot))?,
            generation: word(std::mem::offset_of!(Header, generation))?,
            cpu: half(std::mem::offset_of!(Header, cpu))?,
            nr: half(std::mem::offset_of!(Header, nr))?,
            seq: long(std::mem::offset_of!(Header, seq))?,
            ktime: long(std::mem::offset_of!(Header, ktime))?,
            tid: word(std::mem::offset_of!(Header, tid))?,
        })
    }
}

/// Raw records of one container, oldest first, each behind its length and its task's name.
#[derive(Debug, Default)]
struct History {
    chunks: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Records that were held and are no more.
    dropped: u64,
}

impl History {
    fn push(&mut self, comm: Comm, record: &[u8]) {
        if self.chunks.back().is_none_or(|chunk| chunk.len() >= CHUNK_BYTES) {
            self.chunks.push_back(Vec::with_capacity(CHUNK_BYTES + 4096));
        }
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.extend_from_slice(&(record.len() as u32).to_le_bytes());
            chunk.extend_from_slice(&comm.0);
            chunk.extend_from_slice(record);
            self.bytes += record.len() + 20;
        }
        while self.bytes > HISTORY_BYTES {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(chunk) = self.chunks.pop_front() {
            self.dropped += records(&chunk).count() as u64;
            self.bytes = self.bytes.saturating_sub(chunk.len());
        } else {
            self.bytes = 0;
        }
    }

    fn records(&self) -> impl Iterator<Item = (Comm, &[u8])> {
        self.chunks.iter().flat_map(|chunk| records(chunk))
    }
}

/// The records of a piece of history, with their tasks' names.
fn records(chunk: &[u8]) -> impl Iterator<Item = (Comm, &[u8])> {
    let mut rest = chunk;
    std::iter::from_fn(move || {
        let (len, after) = rest.split_at_checked(4)?;
        let len = u32::from_le_bytes(len.try_into().ok()?) as usize;
        let (comm, after) = after.split_at_checked(16)?;
        let (record, after) = after.split_at_checked(len)?;
        rest = after;
        Some((Comm(comm.try_into().ok()?), record))
    })
}

/// A container whose records are still held.
#[derive(Debug)]
struct Held {
    info: Arc<Container>,
    filter: Option<Arc<Filter>>,
    registered: Option<Event>,
    warnings: Vec<Event>,
    ended: Option<Event>,
    history: History,
}

/// The thread's state.
pub struct Pipeline {
    options: decode::Options,
    births: Births,
    enricher: Enricher,
    outputs: Vec<Output>,
    /// By slot while it lives; the ended ones by their order.
    held: HashMap<u16, Held>,
    past: VecDeque<Held>,
    /// The filters that containers have of their own.
    filters: HashMap<u16, Arc<Filter>>,
    keep_history: bool,
    failures: Option<Failures>,
    events: Vec<Event>,
}

impl Pipeline {
    /// With `failures`, failed calls are explained.
    pub fn new(
        options: decode::Options,
        births: Births,
        keep_history: bool,
        failures: Option<Failures>,
    ) -> Self {
        Self {
            options,
            births,
            enricher: Enricher::default(),
            outputs: Vec::new(),
            held: HashMap::new(),
            past: VecDeque::new(),
            filters: HashMap::new(),
            keep_history,
            failures,
            events: Vec::new(),
        }
    }

    /// Works until the queue's senders are gone, then ends the sinks.
    pub fn run(mut self, queue: &Receiver<Item<Mark>>) {
        while let Ok(item) = queue.recv() {
            match item {
                Item::Records(batch) => self.records(&batch),
                Item::Mark(mark) => self.mark(mark),
            }
        }
        for output in self.outputs.drain(..) {
            // Whoever cared closed it and got the result.
            let _uncared = output.finish();
        }
    }

    fn records(&mut self, batch: &Batch) {
        self.enricher.clock = Clock::now();
        for record in batch.by_time() {
            let Some(head) = Head::peek(record) else { continue };
            if self
                .enricher
                .get(head.slot)
                .is_none_or(|live| live.generation != head.generation)
            {
                self.born(head.slot);
            }
            match decode::decode(record, &self.options) {
                Ok(decoded) => {
                    let comm = self.enricher.enrich(decoded, &mut self.events);
                    if let Some(comm) = comm
                        && self.keep_history
                        && let Some(held) = self.held.get_mut(&head.slot)
                    {
                        held.history.push(comm, record);
                    }
                }
                Err(_undecodable) => {
                    let seq = (head.kind == Kind::Syscall as u16).then_some(head.seq);
                    self.enricher
                        .undecodable(head.slot, head.cpu, seq, head.ktime, &mut self.events);
                }
            }
            self.hand_out(head.slot);
        }
        self.flush();
        self.bound_history();
    }

    /// Gives the events at hand to each sink.
    fn hand_out(&mut self, slot: u16) {
        let at_most = self.filters.get(&slot).map(Arc::as_ref);
        let observed = self
            .enricher
            .get(slot)
            .filter(|_| self.keep_history)
            .map(|live| &live.progress.observed);
        for event in self.events.drain(..) {
            if let Some(observed) = observed {
                observed.take(&event);
            }
            for output in &mut self.outputs {
                output.take(slot, &event, at_most);
            }
            if let Some(failures) = &mut self.failures {
                failures.see(slot, &event);
            }
        }
    }

    /// Gives the sinks what was found out of calls that failed.
    fn explained(&mut self) {
        let found = self.failures.as_ref().map(Failures::found).unwrap_or_default();
        for (slot, event) in found {
            self.events.push(event);
            self.hand_out(slot);
        }
    }

    fn flush(&mut self) {
        for output in &mut self.outputs {
            output.flush();
        }
    }

    fn bound_history(&mut self) {
        let mut bytes: usize = self
            .past
            .iter()
            .chain(self.held.values())
            .map(|held| held.history.bytes)
            .sum();
        while bytes > ALL_HISTORY_BYTES {
            if let Some(oldest) = self.past.pop_front() {
                bytes -= oldest.history.bytes;
            } else if let Some(largest) = self.held.values_mut().max_by_key(|held| held.history.bytes) {
                let before = largest.history.bytes;
                largest.history.drop_oldest();
                bytes -= before - largest.history.bytes;
            } else {
                return;
            }
        }
    }

    fn mark(&mut self, mark: Mark) {
        match mark {
            Mark::Registered { slot } => self.born(slot),
            Mark::Armed {
                slot,
                ktime,
                round_trip_ns,
            } => {
                self.lifecycle(slot, ktime, Lifecycle::Armed { round_trip_ns });
            }
            Mark::Gone {
                slot,
                ktime,
                end,
                sinks,
            } => self.gone(slot, ktime, *end, &sinks),
            Mark::Limited { slot, ktime, count } => {
                self.lost(slot, ktime, LossReason::RateLimit, count);
                self.hand_out(slot);
            }
            Mark::Unregistered { info, reason } => {
                let now = crate::enrich::monotonic_ns();
                let event = Event {
                    time_ns: Clock::now().wall(now),
                    ktime: now,
                    container: info,
                    body: Body::Container(Lifecycle::Unregistered { reason }),
                };
                for output in &mut self.outputs {
                    output.take(u16::MAX, &event, None);
                }
            }
            Mark::Open { output, history } => {
                let mut output = *output;
                if history {
                    self.replay(&mut output);
                }
                self.outputs.push(output);
            }
            Mark::Close { id, result } => {
                if let Some(index) = self.outputs.iter().position(|output| output.id == id) {
                    let _uncared = result.send(self.outputs.swap_remove(index).finish());
                }
            }
            Mark::Explained => self.explained(),
            Mark::Sync { slot, reached } => {
                let counts = |output: &Output| {
                    (
                        output.name.clone(),
                        slot.map_or_else(Counts::default, |s| output.counts(s)),
                    )
                };
                let _gave_up = reached.send(self.outputs.iter().map(counts).collect());
            }
        }
        self.flush();
    }

    /// Takes an announced container in.
    fn born(&mut self, slot: u16) {
        let Some(birth) = self.births.lock().remove(&slot) else {
            return;
        };
        let Birth {
            live,
            late,
            asked,
            away,
            ktime,
        } = birth;
        let info = live.info.clone();
        self.enricher.insert(slot, *live);
        match &asked.filter {
            Some(filter) => self.filters.insert(slot, filter.clone()),
            None => self.filters.remove(&slot),
        };
        let registered = self
            .enricher
            .lifecycle(slot, ktime, Lifecycle::Registered { late, away });
        let warnings: Vec<_> = asked
            .warnings
            .into_iter()
            .filter_map(|text| self.enricher.lifecycle(slot, ktime, Lifecycle::Warning { text }))
            .collect();
        self.events.extend(registered.iter().chain(&warnings).cloned());
        let held = Held {
            info,
            filter: asked.filter,
            // Only this one tells that what is held is not all.
            registered: registered.filter(|_| late),
            warnings,
            ended: None,
            history: History::default(),
        };
        self.held.insert(slot, held);
        self.hand_out(slot);
    }

    fn lifecycle(&mut self, slot: u16, ktime: u64, what: Lifecycle) {
        self.events.extend(self.enricher.lifecycle(slot, ktime, what));
        self.hand_out(slot);
    }

    /// Tells a loss that has no place.
    fn lost(&mut self, slot: u16, ktime: u64, reason: LossReason, count: u64) {
        if count > 0
            && let Some(mut event) = self.enricher.lifecycle(slot, ktime, Lifecycle::Exec)
        {
            event.body = Body::Loss(Loss {
                reason,
                count,
                hole: None,
            });
            self.events.push(event);
        }
    }

    fn gone(&mut self, slot: u16, ktime: u64, end: End, sinks: &Sender<Vec<(String, Counts)>>) {
        self.enricher.close(slot, &end.last_seq, ktime, &mut self.events);
        let rest = [
            (LossReason::NoStorage, end.books.dropped.no_storage),
            (LossReason::Unpaired, end.books.dropped.unpaired),
            (LossReason::RateLimit, end.limited),
        ];
        for (reason, count) in rest {
            self.lost(slot, ktime, reason, count);
        }
        self.hand_out(slot);
        self.flush();
        if let Some(failures) = &mut self.failures {
            failures.end(slot);
            self.explained();
        }
        let gone = if end.detached {
            Lifecycle::Detached { books: end.books }
        } else {
            Lifecycle::Gone {
                books: end.books,
                complete: end.complete,
                exit: end.exit,
            }
        };
        let ended = self.enricher.lifecycle(slot, ktime, gone);
        self.events.extend(ended.clone());
        self.hand_out(slot);
        self.enricher.remove(slot);
        if let Some(mut held) = self.held.remove(&slot)
            && self.keep_history
        {
            held.ended = ended;
            self.past.push_back(held);
            while self.past.len() > crate::node::PAST {
                self.past.pop_front();
            }
        }
        self.flush();
        let counts = self
            .outputs
            .iter_mut()
            .map(|output| (output.name.clone(), output.forget(slot)))
            .collect();
        let _gave_up = sinks.send(counts);
        // A sink that failed is of no more use; its last counts have just been told.
        self.outputs.retain(|output| !output.has_failed());
    }

    /// Gives a new sink what is still held of the containers that it takes.
    fn replay(&self, output: &mut Output) {
        let clock = self.enricher.clock;
        let past = self.past.iter().map(|held| (u16::MAX, held));
        for (slot, held) in past.chain(self.held.iter().map(|(slot, held)| (*slot, held))) {
            if !output.selection.takes_container(&held.info) {
                continue;
            }
            for told in held.registered.iter().chain(&held.warnings) {
                output.take(slot, told, None);
            }
            if held.history.dropped > 0 {
                let loss = Loss {
                    reason: LossReason::NotHeld,
                    count: held.history.dropped,
                    hole: None,
                };
                let now = crate::enrich::monotonic_ns();
                let event = Event {
                    time_ns: clock.wall(now),
                    ktime: now,
                    container: held.info.clone(),
                    body: Body::Loss(loss),
                };
                output.take(slot, &event, None);
            }
            for (comm, record) in held.history.records() {
                let Ok(mut decoded) = decode::decode(record, &self.options) else {
                    continue;
                };
                match &mut decoded.body {
                    decode::Body::Syscall(call) => call.task.comm = comm,
                    decode::Body::Process(process) => process.task.comm = comm,
                }
                let event = Event {
                    time_ns: clock.wall(decoded.ktime),
                    ktime: decoded.ktime,
                    container: held.info.clone(),
                    body: match decoded.body {
                        decode::Body::Syscall(call) => Body::Syscall(call),
                        decode::Body::Process(process) => Body::Process(process),
                    },
                };
                output.take(slot, &event, held.filter.as_deref());
            }
            if let Some(ended) = &held.ended {
                output.take(slot, ended, None);
            }
        }
    }
}

/// A fresh entry for the pipeline, and the progress that it will tell.
pub fn live(generation: u32, info: Arc<Container>, init_tgid: u32) -> (Box<Live>, Arc<Progress>) {
    let progress = Arc::new(Progress::default());
    (
        Box::new(Live::new(generation, info, init_tgid, progress.clone())),
        progress,
    )
}
