//! Delivery to a receiver that is elsewhere and may be away: a bounded queue in memory, and one thread that empties it.
//! What the receiver does not take is tried again, later and later; meanwhile what comes goes to a bounded spool on disk,
//! which outlives the daemon; what finds no room there is dropped, booked, and told to the receiver as a loss when it is
//! back. The pipeline never waits.
//!
//! In order and at least once: an attempt whose answer was lost is made again, so each event has an id ([`Id`]) by which a
//! receiver can drop what it has. It must not know formats, nor what a receiver is.

mod courier;
mod spool;

use std::{
    collections::{HashMap, VecDeque},
    fmt, io,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

use self::courier::{Courier, Next};
use super::{Account, Chunk, Format, Sink, Taken, render};
use crate::{
    enrich::{Clock, monotonic_ns},
    event::{Body, Event, Loss, LossReason},
    filter::Detail,
    log::note,
    units::{Bytes, Time},
};

/// Losses of so many containers are kept to be told; further ones are only booked.
const MOST_UNTOLD: usize = 4096;

/// Nobody waits for a change without an end.
const LONG: Duration = Duration::from_secs(3600);

/// Bounds and times of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most bytes that wait in memory.
    pub queue: usize,
    /// Where the spool is; without it there is none.
    pub directory: Option<PathBuf>,
    /// Most bytes on disk.
    pub spool: u64,
    /// Most bytes and events of a batch, and how long one may wait for more.
    pub batch_bytes: usize,
    pub batch_events: usize,
    pub linger: Duration,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Between two attempts, at first and at most.
    pub retry: (Duration, Duration),
    /// How long the daemon's end may wait for what is in the queue; the rest goes to the spool.
    pub flush: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queue: 16 << 20,
            directory: None,
            spool: 256 << 20,
            batch_bytes: 512 << 10,
            batch_events: 2048,
            linger: Duration::from_millis(200),
            timeout: Duration::from_secs(10),
            retry: (Duration::from_millis(250), Duration::from_secs(30)),
            flush: Duration::from_secs(5),
        }
    }
}

impl Settings {
    /// What an end may take: its time, and an attempt that began before.
    fn longest(&self) -> Duration {
        self.flush + self.timeout
    }
}

/// What the sinks that deliver may say beside their own keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// Bytes on disk, for a receiver that is away; `0` is none.
    pub spool: Bytes,
    /// Where; each sink has a directory of its name in it.
    pub spool_directory: PathBuf,
    /// How long an event may wait for others, to go with them.
    pub linger: Time,
    /// How long an attempt may take.
    pub timeout: Time,
    /// Most time between two attempts.
    pub retry_max: Time,
    /// How long the daemon's end waits; the rest goes to the spool.
    pub flush: Time,
}

impl Default for Keys {
    fn default() -> Self {
        let settings = Settings::default();
        Self {
            spool: Bytes(settings.spool),
            spool_directory: "/var/lib/tracer/spool".into(),
            linger: Time(settings.linger),
            timeout: Time(settings.timeout),
            retry_max: Time(settings.retry.1),
            flush: Time(settings.flush),
        }
    }
}

impl Keys {
    /// What cannot be, by the key that says it.
    ///
    /// # Errors
    /// The key, and what to write.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.spool.0 != 0 && self.spool.0 < 1 << 16 {
            return Err(("spool", format!("{} is too small: 64K or more, or 0", self.spool)));
        }
        if !self.spool_directory.is_absolute() {
            return Err(("spool_directory", "write a path from / on".into()));
        }
        let least = Duration::from_millis(100);
        for (key, time) in [("timeout", self.timeout), ("retry_max", self.retry_max)] {
            if time.0 < least {
                return Err((key, format!("{time} is too short: 100ms or more")));
            }
        }
        Ok(())
    }

    /// The settings of the sink of that name, of whose events so many bytes may wait in memory.
    pub fn settings(&self, name: &str, queue: usize) -> Settings {
        let settings = Settings::default();
        let first = settings.retry.0.min(self.retry_max.0);
        Settings {
            queue,
            directory: Some(self.spool_directory.join(name)),
            spool: self.spool.0,
            linger: self.linger.0,
            timeout: self.timeout.0,
            retry: (first, self.retry_max.0),
            flush: self.flush.0,
            ..settings
        }
    }
}

/// What an event is known by at its receiver: the same whenever it is delivered, and no other event's. Within a run (of a
/// daemon, and of a sink) numbers go up by one, so a hole is a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    pub run: u64,
    pub number: u64,
}

impl fmt::Display for Id {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:016x}-{}", self.run, self.number)
    }
}

/// Rendered events on their way, oldest first.
#[derive(Debug)]
pub struct Batch {
    run: u64,
    first: u64,
    chunk: Chunk,
    /// When its first event came.
    began: Instant,
    /// Whose calls the receiver refused for good.
    refused: Vec<(Arc<Account>, u64)>,
}

impl Batch {
    /// The events that are neither accepted nor refused.
    pub fn events(&self) -> impl Iterator<Item = (Id, &[u8])> {
        let run = self.run;
        (self.first..)
            .zip(self.chunk.entries())
            .map(move |(number, bytes)| (Id { run, number }, bytes))
    }

    /// How many these are.
    pub fn len(&self) -> usize {
        self.chunk.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The receiver has taken the first so many of them.
    pub fn accept(&mut self, events: usize) {
        self.settle(events, true);
    }

    /// The receiver will never take the first so many of them: they are dropped.
    pub fn refuse(&mut self, events: usize) {
        self.refused.extend(self.chunk.calls(events));
        self.settle(events, false);
    }

    fn settle(&mut self, events: usize, delivered: bool) {
        let events = events.min(self.len());
        self.chunk.settle(events, delivered);
        self.first += events as u64;
    }
}

/// A receiver does not take events now: to be tried again.
#[derive(Debug)]
pub struct Refusal {
    pub why: String,
    /// It asked not to be tried again before.
    pub after: Option<Duration>,
}

impl Refusal {
    /// For that reason, with no time asked for.
    pub fn new(why: impl fmt::Display) -> Self {
        Self {
            why: why.to_string(),
            after: None,
        }
    }
}

/// Who takes the events. It is called by the sink's own thread alone, and may make that wait.
pub trait Receiver: Send + 'static {
    /// One attempt, of at most so long: accepts ([`Batch::accept`]) or refuses ([`Batch::refuse`]) events from the first.
    /// With `Ok`, those about which it has said nothing are accepted.
    ///
    /// # Errors
    /// Those about which it has said nothing are kept and tried again.
    fn deliver(&mut self, batch: &mut Batch, within: Duration) -> Result<(), Refusal>;

    /// What is due by now beside events, and when something will be; called while events are taken.
    fn tick(&mut self) -> Option<Instant> {
        None
    }
}

/// How a delivery fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Bytes that wait on disk.
    pub spooled_bytes: u64,
    /// Attempts that failed, since the daemon began.
    pub failures: u64,
    /// Why the last attempt failed, while none has succeeded since.
    pub down: Option<String>,
}

#[derive(Default)]
struct State {
    batches: VecDeque<Batch>,
    /// Of all these.
    bytes: usize,
    /// Of the event that comes next.
    number: u64,
    /// Whose calls were dropped, and the receiver has not been told.
    untold: Vec<(Arc<Account>, u64)>,
    /// Whose calls, and how many, an earlier daemon has left in the spool.
    resumed: Vec<(Arc<Account>, u64)>,
    /// How often something has come: a thread that looks and then waits misses nothing.
    changes: u64,
    /// Nothing more comes; by then all is to be over.
    end: Option<Instant>,
    ended: bool,
    health: Health,
}

struct Shared {
    name: String,
    settings: Settings,
    run: u64,
    /// How a loss is rendered.
    format: Mutex<Format>,
    /// All events, of all containers.
    total: Arc<Account>,
    state: Mutex<State>,
    changed: Condvar,
    /// Tests make time pass.
    clock: Box<dyn Fn() -> Instant + Send + Sync>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the thread's end, at most so long.
    fn ended(&self, most: Duration) {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, most, |state| !state.ended);
        if !waited.unwrap_or_else(PoisonError::into_inner).0.ended {
            note(&format!("sink {} hangs; what waits for it is lost", self.name));
        }
    }

    /// Takes a chunk, or drops it when there is no room.
    fn put(&self, mut chunk: Chunk) {
        let mut state = self.lock();
        let size = chunk.size();
        state.changes += 1;
        let number = state.number;
        // What is dropped has its numbers, too: a receiver sees the hole.
        state.number += chunk.len() as u64;
        if state.bytes + size > self.settings.queue {
            state.lost(chunk.calls(chunk.len()));
            chunk.settle(chunk.len(), false);
            return;
        }
        state.bytes += size;
        let settings = &self.settings;
        match state.batches.back_mut() {
            Some(last)
                if last.chunk.size() + size <= settings.batch_bytes
                    && last.len() + chunk.len() <= settings.batch_events
                    && last.first + last.len() as u64 == number =>
            {
                last.chunk.append(chunk);
            }
            _ => state.batches.push_back(Batch {
                run: self.run,
                first: number,
                chunk,
                began: (self.clock)(),
                refused: Vec::new(),
            }),
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Whether a batch waits for no more events.
    fn is_closed(&self, batch: &Batch, now: Instant) -> bool {
        let settings = &self.settings;
        batch.len() >= settings.batch_events / 2
            || batch.chunk.size() >= settings.batch_bytes / 2
            || now >= batch.began + settings.linger
    }

    /// Queues what was dropped, as losses, where there is room for them.
    fn tell(&self, state: &mut State) {
        if state.untold.is_empty() || state.bytes >= self.settings.queue {
            return;
        }
        let mut format = self.format.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chunk = Chunk::new(self.total.clone());
        let now = monotonic_ns();
        for (account, count) in std::mem::take(&mut state.untold) {
            let Some(container) = account.of() else { continue };
            let loss = Event {
                time_ns: Clock::now().wall(now),
                ktime: now,
                container: container.clone(),
                body: Body::Loss(Loss {
                    reason: LossReason::Sink,
                    count,
                    hole: None,
                }),
            };
            chunk.push(None, |to| {
                render(&mut format, &Detail::default(), to, &loss, None)
            });
        }
        if chunk.is_empty() {
            return;
        }
        chunk.book();
        let first = state.number;
        state.number += chunk.len() as u64;
        state.bytes += chunk.size();
        state.batches.push_back(Batch {
            run: self.run,
            first,
            chunk,
            began: (self.clock)(),
            refused: Vec::new(),
        });
    }
}

impl State {
    /// Keeps whose calls were dropped, to be told.
    fn lost(&mut self, calls: impl IntoIterator<Item = (Arc<Account>, u64)>) {
        for (account, count) in calls {
            if let Some((_, sum)) = self
                .untold
                .iter_mut()
                .find(|(known, _)| Arc::ptr_eq(known, &account))
            {
                *sum += count;
            } else if self.untold.len() < MOST_UNTOLD {
                self.untold.push((account, count));
            }
        }
    }

    fn put_back(&mut self, batch: Batch) {
        self.bytes += batch.chunk.size();
        self.batches.push_front(batch);
    }

    fn take(&mut self) -> Option<Batch> {
        let batch = self.batches.pop_front()?;
        self.bytes = self.bytes.saturating_sub(batch.chunk.size());
        Some(batch)
    }
}

/// The pipeline's end of a delivery.
pub struct Delivery {
    shared: Arc<Shared>,
}

impl Sink for Delivery {
    fn write(&mut self, chunk: &mut Chunk) -> io::Result<Taken> {
        let next = Chunk::new(self.shared.total.clone());
        self.shared.put(std::mem::replace(chunk, next));
        // What was dropped is booked, and will be told: no concern of the caller's.
        Ok(Taken::Queued)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.end();
        Ok(())
    }

    fn resume(&mut self, account: &Arc<Account>, queued: u64) {
        let mut state = self.shared.lock();
        state.resumed.push((account.clone(), queued));
        state.changes += 1;
        drop(state);
        self.shared.changed.notify_all();
    }

    fn wait(&mut self) {
        self.shared.ended(self.shared.settings.longest());
    }
}

impl Delivery {
    fn end(&self) {
        let end = (self.shared.clock)() + self.shared.settings.flush;
        let mut state = self.shared.lock();
        state.end.get_or_insert(end);
        state.changes += 1;
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whoever opened the delivery: asks how it fares, and waits for its end.
pub struct Handle {
    shared: Arc<Shared>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_tuple("Handle").field(&self.shared.name).finish()
    }
}

impl Handle {
    /// How it fares.
    pub fn health(&self) -> Health {
        self.shared.lock().health.clone()
    }

    /// Bytes that wait in memory, and how many may.
    pub fn waiting(&self) -> (usize, usize) {
        (self.shared.lock().bytes, self.shared.settings.queue)
    }

    /// Waits until all is delivered, spooled or given up, which `flush` and an attempt bound; the [`Delivery`] must have
    /// been closed. With `most`, a receiver or a disk that hangs is left to itself.
    pub fn join(self, most: Option<Duration>) {
        let most = most.map(|most| most.max(self.shared.settings.longest()));
        self.shared.ended(most.unwrap_or(LONG));
    }
}

/// Opens a delivery, whose events are all in the books of `total`. It begins when `after` have ended, who had its
/// spool. The thread makes the receiver itself.
///
/// # Errors
/// When no thread can be started.
pub fn open<R: Receiver>(
    name: &str,
    settings: Settings,
    format: Format,
    total: Arc<Account>,
    after: Vec<super::Handle>,
    receiver: impl FnOnce() -> R + Send + 'static,
) -> io::Result<(Delivery, Handle)> {
    let mut run = [0; 8];
    getrandom(&mut run, GetRandomFlags::empty())?;
    let shared = Arc::new(Shared {
        name: name.to_owned(),
        settings,
        run: u64::from_ne_bytes(run),
        format: Mutex::new(format),
        total,
        state: Mutex::default(),
        changed: Condvar::new(),
        clock: Box::new(Instant::now),
    });
    let its = Ending(shared.clone());
    std::thread::Builder::new()
        .name(format!("sink {name}").chars().take(15).collect())
        .spawn(move || {
            for before in after {
                before.join(None);
            }
            work(&its.0, receiver());
        })?;
    let delivery = Delivery {
        shared: shared.clone(),
    };
    Ok((delivery, Handle { shared }))
}

/// Held by the thread: it has ended when this is dropped.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

fn work(shared: &Arc<Shared>, receiver: impl Receiver) {
    let mut courier = Courier::new(shared.clone(), receiver);
    loop {
        let before = shared.lock().changes;
        match courier.step() {
            Next::Step => {}
            Next::Done => return,
            Next::Wait(until) => {
                let mut state = shared.lock();
                while state.changes == before && until.is_none_or(|until| Instant::now() < until) {
                    let time = until.map_or(LONG, |until| until.saturating_duration_since(Instant::now()));
                    let woken = shared.changed.wait_timeout(state, time);
                    state = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
}

/// Accounts by the keys that they have in the spool.
type Accounts = HashMap<u64, (Arc<Account>, u64)>;

#[cfg(test)]
mod tests;
