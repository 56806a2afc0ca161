//! The bounded queue between the pipeline and a sink that may be slow or away, and the thread that empties it. Full, it
//! drops what comes, counted; it never makes the pipeline wait. It must not know what its receiver is.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{Chunk, Sink, Taken};
use crate::log::note;

/// Small chunks are joined up to this: a receiver gets few large pieces rather than many small ones.
const JOINED: usize = 256 * 1024;
/// Between two tries to deliver, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// How long an ending sink tries on.
const LAST_TRY: Duration = Duration::from_secs(2);

/// What empties the queue, on a thread of its own: a file, journald, a receiver on the network. It may wait.
pub trait Receiver: Send + 'static {
    /// Delivers what the chunk has, from its first entry, and settles what it has delivered or given up.
    ///
    /// # Errors
    /// What is in the way. What is not settled is kept and tried again; meanwhile the queue fills, and then drops.
    fn deliver(&mut self, chunk: &mut Chunk) -> io::Result<()>;

    /// Opens what it writes to: when it begins, and again when the administrator asks for it (SIGHUP), for a file may have
    /// been moved away.
    fn open(&mut self) {}

    /// When to call [`Self::tick`] though nothing comes.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// That moment has come.
    fn tick(&mut self) {}

    /// Its end.
    fn finish(&mut self) {}
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Chunk>,
    /// Of all chunks, and of the one that is being delivered.
    bytes: usize,
    delivering: usize,
    reopen: bool,
    /// Nothing more comes, since then.
    closed: Option<Instant>,
    /// The thread has ended.
    ended: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Most bytes that wait.
    most: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end of the thread.
    fn ended(&self, most: Option<Duration>) {
        let state = self.lock();
        let waits = |state: &mut State| !state.ended;
        let ended = match most {
            Some(most) => {
                let waited = self.changed.wait_timeout_while(state, most, waits);
                waited.unwrap_or_else(PoisonError::into_inner).0.ended
            }
            None => {
                let waited = self.changed.wait_while(state, waits);
                waited.unwrap_or_else(PoisonError::into_inner).ended
            }
        };
        if !ended {
            note("a sink hangs; what waits for it is lost");
        }
    }
}

/// The pipeline's end of a queue.
#[derive(Debug)]
pub struct Queue(Arc<Shared>);

impl Sink for Queue {
    fn write(&mut self, chunk: &mut Chunk) -> io::Result<Taken> {
        let size = chunk.size();
        let mut state = self.0.lock();
        if state.bytes + size > self.0.most {
            return Ok(Taken::Dropped);
        }
        state.bytes += size;
        let chunk = std::mem::take(chunk);
        match state.chunks.back_mut() {
            Some(last) if last.size() + size <= JOINED => last.append(chunk),
            _ => state.chunks.push_back(chunk),
        }
        drop(state);
        self.0.changed.notify_all();
        Ok(Taken::Queued)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.lock().closed = Some(Instant::now());
        self.0.changed.notify_all();
        Ok(())
    }

    fn wait(&mut self) {
        self.0.ended(Some(LAST_TRY + LAST_TRY));
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.0.lock().closed.get_or_insert_with(Instant::now);
        self.0.changed.notify_all();
    }
}

/// Whoever opened the sink: asks and waits.
#[derive(Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Has the receiver open what it writes to again.
    pub fn reopen(&self) {
        self.shared.lock().reopen = true;
        self.shared.changed.notify_all();
    }

    /// Bytes that wait, and how many may.
    pub fn waiting(&self) -> (usize, usize) {
        (self.shared.lock().bytes, self.shared.most)
    }

    /// Waits until all that was queued is delivered or given up, at most so long; the [`Queue`] must have been closed. A disk
    /// that hangs is left to itself.
    pub fn join(self, most: Option<Duration>) {
        self.shared.ended(most);
    }
}

/// Opens a queue of at most so many bytes, which that receiver empties. It begins when `after` have ended: who had its
/// file before.
///
/// # Errors
/// When no thread can be started.
pub fn open(
    name: &str,
    most: usize,
    after: Vec<super::Handle>,
    receiver: impl Receiver,
) -> io::Result<(Queue, Handle)> {
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        changed: Condvar::new(),
        most,
    });
    let (its, sink) = (Ending(shared.clone()), name.to_owned());
    std::thread::Builder::new().name("sink".into()).spawn(move || {
        for before in after {
            before.join(None);
        }
        empty(&its.0, &sink, receiver);
    })?;
    Ok((Queue(shared.clone()), Handle { shared }))
}

/// Held by the thread: it has ended when this is dropped.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

enum Next {
    Chunk(Chunk),
    Reopen,
    Tick,
    End,
}

fn next(shared: &Shared, due: Option<Instant>) -> Next {
    let mut state = shared.lock();
    loop {
        let taken = std::mem::take(&mut state.delivering);
        state.bytes = state.bytes.saturating_sub(taken);
        if std::mem::take(&mut state.reopen) {
            return Next::Reopen;
        }
        if due.is_some_and(|due| due <= Instant::now()) {
            return Next::Tick;
        }
        if let Some(chunk) = state.chunks.pop_front() {
            state.delivering = chunk.size();
            return Next::Chunk(chunk);
        }
        if state.closed.is_some() {
            return Next::End;
        }
        state = match due {
            Some(due) => {
                let time = due.saturating_duration_since(Instant::now());
                let waited = shared.changed.wait_timeout(state, time);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
    }
}

/// Waits until the next try; whether it is worth one. `Some(true)` when the receiver is to open again first.
fn pause(shared: &Shared, pause: Duration) -> Option<bool> {
    let until = Instant::now() + pause;
    let mut state = shared.lock();
    loop {
        if std::mem::take(&mut state.reopen) {
            return Some(true);
        }
        let now = Instant::now();
        let (until, last) = match state.closed {
            Some(closed) if now >= closed + LAST_TRY => return None,
            Some(closed) => (until.min(closed + LAST_TRY), true),
            None => (until, false),
        };
        if now >= until {
            return Some(false);
        }
        let waited = shared.changed.wait_timeout(state, until - now);
        let timed_out;
        (state, timed_out) = {
            let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            (state, timeout.timed_out())
        };
        if timed_out && !last {
            return Some(false);
        }
    }
}

fn empty(shared: &Shared, name: &str, mut receiver: impl Receiver) {
    receiver.open();
    loop {
        match next(shared, receiver.due()) {
            Next::Chunk(chunk) => deliver(shared, name, &mut receiver, chunk),
            Next::Reopen => receiver.open(),
            Next::Tick => receiver.tick(),
            Next::End => return receiver.finish(),
        }
    }
}

fn deliver(shared: &Shared, name: &str, receiver: &mut impl Receiver, mut chunk: Chunk) {
    let mut time = PAUSES.0;
    let mut told = false;
    loop {
        match receiver.deliver(&mut chunk) {
            Ok(()) => {
                chunk.settle(chunk.len(), true);
                if told {
                    note(&format!("sink {name}: works again"));
                }
                return;
            }
            Err(error) if !told => {
                note(&format!(
                    "sink {name}: {error}; trying on, {} bytes may wait",
                    shared.most
                ));
                told = true;
            }
            Err(_still) => {}
        }
        match pause(shared, time) {
            Some(true) => receiver.open(),
            Some(false) => time = (time * 2).min(PAUSES.1),
            None => {
                note(&format!(
                    "sink {name}: ended with {} events undelivered",
                    chunk.len()
                ));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::sinks::{Account, Counts};

    /// Delivers when it is let, what it was let.
    struct Gate {
        open: std::sync::mpsc::Receiver<bool>,
        got: Sender<Vec<u8>>,
    }

    impl Receiver for Gate {
        fn deliver(&mut self, chunk: &mut Chunk) -> io::Result<()> {
            // Nobody opens it any more: it stays shut.
            if !self.open.recv().unwrap_or(false) {
                return Err(io::ErrorKind::NotConnected.into());
            }
            self.got.send(chunk.bytes().to_vec()).unwrap();
            Ok(())
        }
    }

    fn chunk(account: &Arc<Account>, text: &str) -> Chunk {
        let mut chunk = Chunk::new(Arc::default());
        chunk.push(Some(account), |to| to.extend_from_slice(text.as_bytes()));
        chunk.book();
        chunk
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
    fn a_full_queue_drops_and_what_it_took_is_delivered_in_order() {
        let (gate, open) = channel();
        let (got, delivered) = channel();
        let (mut queue, handle) = super::open("test", 200, Vec::new(), Gate { open, got }).unwrap();
        let account = Arc::default();
        let long = "x".repeat(100);
        let mut offer = |text: &str| queue.write(&mut chunk(&account, text)).unwrap();
        assert_eq!(
            [offer("a"), offer(&long), offer(&long), offer("b")].map(|taken| taken == Taken::Queued),
            [true, true, false, true]
        );
        assert_eq!(
            account.counts(),
            counts(0, 1, 3),
            "a chunk that was refused is dropped by its owner"
        );
        gate.send(false).unwrap();
        for _ in 0..4 {
            gate.send(true).unwrap();
        }
        queue.finish().unwrap();
        handle.join(None);
        let all: Vec<u8> = delivered.iter().flatten().collect();
        assert_eq!(String::from_utf8(all).unwrap(), format!("a{long}b"));
        assert_eq!(account.counts(), counts(3, 1, 0));
    }

    #[test]
    fn one_that_ends_gives_up_what_it_cannot_deliver() {
        let (gate, open) = channel();
        let (got, _delivered) = channel();
        let (mut queue, handle) = super::open("test", 200, Vec::new(), Gate { open, got }).unwrap();
        let account = Arc::default();
        assert_eq!(queue.write(&mut chunk(&account, "a")).unwrap(), Taken::Queued);
        drop(gate);
        queue.finish().unwrap();
        let (_, after) = {
            let (got, _) = channel();
            let (_, open) = channel();
            super::open(
                "next",
                200,
                vec![crate::sinks::Handle::Queue(handle)],
                Gate { open, got },
            )
            .unwrap()
        };
        after.join(None);
        assert_eq!(account.counts(), counts(0, 1, 0));
    }
}
