//! The thread behind the queue: decode reads, enrich adds, sinks write. Marks tell it, in their place between the
//! records, that a container comes or goes and that a sink is opened or closed.
//!
//! It must not know the kernel, the registry or sockets.

mod births;
mod depth;
mod held;
mod proofs;
mod watch;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::Duration,
};

pub use births::{Asked, Births, live};
use depth::Idle;
use held::Held;
pub use held::{Blocks, Dump};
pub use proofs::Proofs;
use serde::{Deserialize, Serialize};
use tracer_common::record::{Header, Kind};
pub use watch::{Trigger, Watch};

use crate::{
    decode::{self, Depth},
    enrich::{self, Clock, Enricher},
    event::{Body, Books, Container, Event, Exit, Lifecycle, Loss, LossReason},
    explain::Failures,
    filter::Filter,
    follow::{self, Followed},
    recording::{Bounds, History, Origin, Raw, Summary},
    sinks::{Account, Counts, Output},
    slots::Slots,
    source::{Batch, Item},
};

/// How long sinks that hold something back wait for more while nothing comes.
const PAUSE: Duration = Duration::from_secs(1);

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
        sinks: Sender<Accounts>,
    },
    /// From here on filters leave calls of it out, or do so no more.
    Narrow {
        slot: u16,
        narrow: bool,
    },
    /// So many calls more were lost to the rate limit.
    Limited {
        slot: u16,
        ktime: u64,
        count: u64,
    },
    /// Something of a container's life that others did.
    Life {
        slot: u16,
        ktime: u64,
        what: Box<Lifecycle>,
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
    /// Closes sinks and opens others, with no event between: none is lost, none goes to both.
    Exchange {
        close: Vec<u64>,
        open: Vec<Output>,
        done: Sender<()>,
    },
    /// What is known of a container beside its events: for the recordings that are open, or only for that one.
    Summary {
        info: Arc<Container>,
        summary: Box<Summary>,
        only: Option<u64>,
    },
    /// Answers with what is held of the container of that id, the newest.
    Dump {
        id: String,
        held: Sender<Option<Dump>>,
    },
    /// Why calls failed has been found out.
    Explained,
    /// What the sinks, all open by now, did with the calls of the containers that were taken over.
    Resumed {
        sinks: BTreeMap<String, BTreeMap<u16, Counts>>,
    },
    /// The last mark: ends the sinks and answers with what the pipeline after this one must know.
    Leave {
        answer: Sender<Left>,
    },
    /// Answers once all before it has reached the sinks, with each sink's counts of that container.
    Sync {
        slot: Option<u16>,
        reached: Sender<Accounts>,
    },
}

/// What one pipeline leaves for the next.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Left {
    /// By slot.
    pub containers: BTreeMap<u16, Before>,
    /// What each sink did with each container's calls.
    pub sinks: BTreeMap<String, BTreeMap<u16, Counts>>,
}

/// A container as one pipeline leaves it for the next.
#[derive(Debug, Serialize, Deserialize)]
pub struct Before {
    pub live: enrich::Left,
    /// What was held of it.
    pub held: Blocks,
    /// What its processes had.
    pub followed: follow::Left,
}

/// What each sink, by its name, did with a container's calls. What is still queued is settled there later.
pub type Accounts = Vec<(String, Arc<Account>)>;

/// A container's end.
#[derive(Debug)]
pub struct End {
    /// And whether what is missing up to it was more than the container's share of the ring.
    pub last_seq: Vec<(u64, bool)>,
    pub books: Books,
    pub complete: bool,
    pub exit: Option<Exit>,
    /// Calls lost to the rate limit that no [`Mark::Limited`] told.
    pub limited: u64,
    /// It goes on.
    pub detached: bool,
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

/// The thread's state.
pub struct Pipeline {
    options: decode::Options,
    births: Births,
    enricher: Enricher,
    outputs: Vec<Output>,
    /// By slot while it lives; the ended ones by their order.
    held: Slots<Held>,
    past: VecDeque<Held>,
    /// The filters that containers have of their own.
    filters: Slots<Arc<Filter>>,
    origin: Arc<Origin>,
    hold: Option<Bounds>,
    watch: Option<Watch>,
    failures: Option<Failures>,
    followed: Slots<Followed>,
    idle: Idle,
    events: Vec<Event>,
}

impl Pipeline {
    /// With `hold`, each container is observed and its last events are held, and with `watch` somebody hears of what
    /// happens to it; with `failures`, failed calls are explained.
    pub fn new(
        options: decode::Options,
        births: Births,
        hold: Option<Bounds>,
        watch: Option<Watch>,
        failures: Option<Failures>,
    ) -> Self {
        Self {
            origin: Arc::new(Origin::here(&options)),
            idle: Idle::of(options.arch),
            options,
            births,
            enricher: Enricher::default(),
            outputs: Vec::new(),
            held: Slots::default(),
            past: VecDeque::new(),
            filters: Slots::default(),
            hold,
            watch,
            failures,
            followed: Slots::default(),
            events: Vec::new(),
        }
    }

    /// Works until the queue's senders are gone, then ends the sinks.
    pub fn run(mut self, queue: &Receiver<Item<Mark>>) {
        loop {
            match queue.recv_timeout(PAUSE) {
                Ok(Item::Records(batch)) => self.records(&batch),
                Ok(Item::Mark(mark)) => self.mark(mark),
                Err(RecvTimeoutError::Timeout) => self.flush(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for output in self.outputs.drain(..) {
            // Whoever cared closed it and got the result.
            let _uncared = output.finish();
        }
    }

    fn records(&mut self, batch: &Batch) {
        self.enricher.clock = Clock::now();
        let mut read = Slots::default();
        for record in batch.by_time() {
            let Some(head) = Head::peek(record) else { continue };
            if self
                .enricher
                .get(head.slot)
                .is_none_or(|live| live.generation != head.generation)
            {
                self.born(head.slot);
                read.remove(&head.slot);
            }
            let is_read = *read.entry(head.slot).or_insert_with(|| self.is_read(head.slot));
            let depth = if is_read {
                Depth::Whole
            } else {
                self.idle.depth(record, self.followed.get(&head.slot))
            };
            let raw = match decode::decode_to(depth, record, &self.options) {
                Ok(decoded) => {
                    let comm = self.enricher.enrich(decoded, &mut self.events);
                    comm.map(|comm| Raw { comm, record })
                }
                Err(_undecodable) => {
                    let seq = (head.kind == Kind::Syscall as u16).then_some(head.seq);
                    self.enricher
                        .undecodable(head.slot, head.cpu, seq, head.ktime, &mut self.events);
                    None
                }
            };
            self.hand_out(head.slot, raw);
        }
        self.flush();
        self.bound_history();
    }

    /// Gives the events at hand to each sink; `raw` is the record that they came of.
    fn hand_out(&mut self, slot: u16, raw: Option<Raw<'_>>) {
        let at_most = self.filters.get(&slot).map(Arc::as_ref);
        let observed = self
            .enricher
            .get(slot)
            .filter(|_| self.hold.is_some())
            .map(|live| &live.progress.observed);
        let mut held = self.held.get_mut(&slot).filter(|_| self.hold.is_some());
        let mut followed = self.followed.get_mut(&slot);
        for event in self.events.drain(..) {
            // A record may also reveal a loss, or mean something for the container.
            let raw = raw.filter(|_| matches!(event.body, Body::Syscall(_) | Body::Process(_)));
            if let Some(observed) = observed {
                observed.take(&event, followed.as_deref());
            }
            if let Some(held) = &mut held {
                held.take(&event, raw, at_most);
                if let Some(watch) = &self.watch {
                    watch.see(held, &event);
                }
            }
            for output in &mut self.outputs {
                output.take(slot, &event, raw, at_most);
            }
            if let Some(failures) = &mut self.failures {
                failures.see(slot, &event, followed.as_deref());
            }
            // Who looks at a call wants to know how things were before it.
            if let Some(followed) = &mut followed {
                followed.see(&event);
            }
        }
    }

    /// Gives the sinks what was found out of calls that failed.
    fn explained(&mut self) {
        let found = self.failures.as_ref().map(Failures::found).unwrap_or_default();
        for (slot, event) in found {
            self.events.push(event);
            self.hand_out(slot, None);
        }
    }

    fn flush(&mut self) {
        for output in &mut self.outputs {
            output.flush();
        }
    }

    fn settle(&mut self) {
        for output in &mut self.outputs {
            output.settle();
        }
    }

    fn bound_history(&mut self) {
        let Some(bounds) = self.hold else { return };
        let mut bytes: usize = self
            .past
            .iter()
            .chain(self.held.values())
            .map(|held| held.history.bytes())
            .sum();
        while bytes > bounds.all {
            if let Some(oldest) = self.past.pop_front() {
                bytes -= oldest.history.bytes();
            } else if let Some(largest) = self.held.values_mut().max_by_key(|held| held.history.bytes()) {
                let before = largest.history.bytes();
                largest.history.drop_oldest();
                bytes -= before - largest.history.bytes();
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
            Mark::Narrow { slot, narrow } => {
                if let Some(followed) = self.followed.get_mut(&slot) {
                    followed.narrow(narrow);
                }
            }
            Mark::Limited { slot, ktime, count } => {
                self.lost(slot, ktime, LossReason::RateLimit, count);
                self.hand_out(slot, None);
            }
            Mark::Life { slot, ktime, what } => self.lifecycle(slot, ktime, *what),
            Mark::Unregistered { info, reason } => {
                let now = crate::enrich::monotonic_ns();
                let event = Event {
                    time_ns: Clock::now().wall(now),
                    ktime: now,
                    container: info,
                    body: Body::Container(Lifecycle::Unregistered { reason }),
                };
                for output in &mut self.outputs {
                    output.take(u16::MAX, &event, None, None);
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
            Mark::Exchange { close, open, done } => {
                let (closed, kept) = self
                    .outputs
                    .drain(..)
                    .partition(|output| close.contains(&output.id));
                self.outputs = kept;
                self.outputs.extend(open);
                let closed: Vec<Output> = closed;
                for output in closed {
                    // Its own thread tells how it fared.
                    let _uncared = output.finish();
                }
                let _gave_up = done.send(());
            }
            Mark::Explained => self.explained(),
            Mark::Summary { info, summary, only } => {
                let of = |output: &&mut Output| only.is_none_or(|id| output.id == id);
                for output in self.outputs.iter_mut().filter(of) {
                    output.summary(&info, &summary);
                }
            }
            Mark::Dump { id, held } => {
                let _gave_up = held.send(self.dump(&id));
            }
            Mark::Resumed { sinks } => {
                for output in &mut self.outputs {
                    output.resume(sinks.get(&output.name));
                }
            }
            Mark::Leave { answer } => {
                let _gave_up = answer.send(self.leave());
            }
            Mark::Sync { slot, reached } => {
                // What is rendered is booked.
                self.settle();
                let account = |output: &Output| {
                    let account = slot.map(|slot| output.account(slot)).unwrap_or_default();
                    (output.name.clone(), account)
                };
                let _gave_up = reached.send(self.outputs.iter().map(account).collect());
            }
        }
        self.flush();
    }

    /// Takes an announced container in.
    fn born(&mut self, slot: u16) {
        let Some(birth) = self.births.take(slot) else {
            return;
        };
        let births::Birth {
            live,
            late,
            asked,
            away,
            ktime,
            resumed,
        } = birth;
        let info = live.info.clone();
        self.enricher.insert(slot, *live);
        match &asked.filter {
            Some(filter) => self.filters.insert(slot, filter.clone()),
            None => self.filters.remove(&slot),
        };
        let began = if resumed.is_some() {
            Lifecycle::Resumed
        } else {
            Lifecycle::Registered { late, away }
        };
        let registered = self.enricher.lifecycle(slot, ktime, began);
        let warnings: Vec<_> = asked
            .warnings
            .into_iter()
            .filter_map(|text| self.enricher.lifecycle(slot, ktime, Lifecycle::Warning { text }))
            .collect();
        self.events.extend(registered.iter().chain(&warnings).cloned());
        let bounds = asked.recorder.bounds(self.hold.unwrap_or_default());
        let mut held = Held {
            info,
            begun: Vec::new(),
            history: History::new(self.origin.clone(), bounds),
            asked: asked.recorder,
            triggered: Vec::new(),
        };
        let followed = match resumed {
            // Its beginning is in what is taken over.
            Some((blocks, followed)) => {
                held.resume(blocks);
                Followed::resume(followed)
            }
            None => {
                held.begun = registered.into_iter().chain(warnings).collect();
                Followed::default()
            }
        };
        self.held.insert(slot, held);
        if self.hold.is_some() || self.failures.is_some() {
            self.followed.insert(slot, followed);
        }
        self.hand_out(slot, None);
    }

    fn lifecycle(&mut self, slot: u16, ktime: u64, what: Lifecycle) {
        self.events.extend(self.enricher.lifecycle(slot, ktime, what));
        self.hand_out(slot, None);
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

    fn gone(&mut self, slot: u16, ktime: u64, end: End, sinks: &Sender<Accounts>) {
        self.enricher.close(slot, &end.last_seq, ktime, &mut self.events);
        let rest = [
            (LossReason::NoStorage, end.books.dropped.no_storage),
            (LossReason::Unpaired, end.books.dropped.unpaired),
            (LossReason::RateLimit, end.limited),
        ];
        for (reason, count) in rest {
            self.lost(slot, ktime, reason, count);
        }
        self.hand_out(slot, None);
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
        self.events.extend(ended);
        self.hand_out(slot, None);
        self.enricher.remove(slot);
        self.followed.remove(&slot);
        if let Some(held) = self.held.remove(&slot)
            && self.hold.is_some()
        {
            self.past.push_back(held);
            while self.past.len() > crate::node::PAST {
                self.past.pop_front();
            }
        }
        self.settle();
        let counts = self
            .outputs
            .iter_mut()
            .map(|output| (output.name.clone(), output.forget(slot)))
            .collect();
        let _gave_up = sinks.send(counts);
        // A sink that failed is of no more use; its last counts have just been told.
        self.outputs.retain(|output| !output.has_failed());
    }

    /// What the next pipeline must know; the sinks are ended, and have all.
    fn leave(&mut self) -> Left {
        // What is found out of calls that they have seen, they are told.
        if let Some(failures) = &self.failures {
            failures.settle();
        }
        self.explained();
        self.settle();
        let slots: Vec<_> = self.held.keys().copied().collect();
        let mut outputs: Vec<_> = self.outputs.drain(..).collect();
        for output in &mut outputs {
            // One that failed said so in its books.
            let _failed = output.close();
        }
        let counts = |output: &mut Output| {
            // What waits for it is delivered, or given up, before it is booked for good.
            output.wait();
            let counts = slots.iter().map(|slot| (*slot, output.account(*slot).counts()));
            (output.name.clone(), counts.collect())
        };
        let sinks = outputs.iter_mut().map(counts).collect();
        let containers = self.held.drain().filter_map(|(slot, held)| {
            let followed = self.followed.get(&slot);
            let before = Before {
                live: self.enricher.get(slot)?.leave(),
                held: held.leave(&self.origin),
                followed: followed.map(Followed::leave).unwrap_or_default(),
            };
            Some((slot, before))
        });
        Left {
            containers: containers.collect(),
            sinks,
        }
    }

    /// Gives a new sink what is still held of the containers that it takes.
    fn replay(&self, output: &mut Output) {
        let past = self.past.iter().map(|held| (u16::MAX, held));
        for (slot, held) in past.chain(self.held.iter().map(|(slot, held)| (*slot, held))) {
            if !output.selection.takes_container(&held.info) {
                continue;
            }
            for told in held.first(self.enricher.clock) {
                output.take(slot, &told, None, None);
            }
            // What a container's own filter leaves out is not held.
            held.history
                .replay(|event, raw| output.take(slot, event, raw, None));
        }
    }

    /// What is held of the newest container of that id.
    fn dump(&mut self, id: &str) -> Option<Dump> {
        let clock = self.enricher.clock;
        let all = self.held.values_mut().chain(self.past.iter_mut().rev());
        let held = all.into_iter().find(|held| held.info.id == id)?;
        Some(held.dump(&self.origin, clock))
    }
}
