//! Where records come from: the kernel's ring, or recorded bytes. All stages behind it are the same for both, so all
//! of them are testable without root.
//!
//! It copies and forwards; it must not know what a record says, beyond the two words of it that order needs.

mod btf;
pub mod kernel;
mod ring;
mod shares;

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};

pub use ring::Ring;
use shares::Held;
pub use shares::Shares;

/// Bytes of records in one batch: what a fast producer fills in a millisecond.
const BATCH_BYTES: usize = 256 * 1024;
/// Batches and marks that wait for the decoder: never as many, since the reader hands on small ones only while less than
/// [`BATCH_BYTES`] waits. What bounds the queue is its bytes: the kernel side counts what finds no room there
/// ([`share::QUEUE_BYTES`](tracer_common::share::QUEUE_BYTES)), as it does for the ring, with its place. Nothing is dropped
/// here; a full queue would hold the reader, for all containers.
pub const QUEUE_BATCHES: usize = 8192;
/// How long a record may wait in the ring while there are few.
const IDLE: Duration = Duration::from_millis(15);

/// The kernel's own types.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Nice value of the reader, which sleeps most of the time.
const READER_NICE: i32 = -15;

/// Whether this kernel's structure has that member, by its BTF: members of an option that is off are not there.
///
/// # Errors
/// The BTF cannot be read, or has no such structure.
pub fn kernel_has(structure: &str, member: &str) -> Result<bool> {
    let file = std::fs::read(BTF).context(BTF)?;
    let btf = btf::Btf::parse(&file)?;
    btf.size(structure)?;
    Ok(btf.offset(structure, member).is_ok())
}

/// Whether the bytes are BTF; these members of its structures are looked for.
#[cfg(any(test, fuzzing))]
pub(crate) fn reads(file: &[u8], members: &[(&str, &str)]) -> bool {
    btf::Btf::parse(file).is_ok_and(|btf| {
        for (structure, path) in members {
            let _found = (
                btf.offset(structure, path),
                btf.size(structure),
                btf.has_typedef(structure),
            );
        }
        true
    })
}

/// Records, back to back. While it lives, they count for what their containers have on their way.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    held: Held,
}

impl Batch {
    /// With room for so many bytes.
    fn of(shares: &Arc<Shares>, bytes: usize) -> Self {
        Self {
            held: Held::of(shares),
            bytes: Vec::with_capacity(bytes),
            ..Self::default()
        }
    }

    /// Appends a record.
    pub fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// By what its records take of the queue, which is more than their bytes here: one that is not full may wait while
    /// others are queued, and not for itself.
    fn is_full(&self) -> bool {
        self.held.bytes() >= BATCH_BYTES as u64
    }

    /// The records by the time that the kernel took them. The ring's own order is that of reservation: a record can
    /// come a little after a later one of another CPU. One CPU's records never change places.
    pub fn by_time(&self) -> Vec<&[u8]> {
        let mut start = 0;
        let mut records: Vec<&[u8]> = Vec::with_capacity(self.ends.len());
        for end in &self.ends {
            records.push(self.bytes.get(start..*end).unwrap_or_default());
            start = *end;
        }
        if !records.is_sorted_by_key(|record| ktime(record)) {
            records.sort_by_key(|record| ktime(record));
        }
        records
    }
}

/// `Header::ktime`; 0 for what is too short to have one.
fn ktime(record: &[u8]) -> u64 {
    const AT: usize = std::mem::offset_of!(tracer_common::record::Header, ktime);
    record
        .get(AT..AT + 8)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

/// What goes through the queue.
#[derive(Debug)]
pub enum Item<M> {
    Records(Batch),
    /// Something from outside that has its place between the records: all that were in the ring when it was posted
    /// come before it.
    Mark(M),
}

/// A mark on its way to the reader.
enum Posted<M> {
    /// The ring is read from here on, unless that was given up.
    Begin(bool),
    Mark(M),
    /// The reader ends behind it: what the kernel writes from then on stays in the ring.
    Last(M),
}

/// The posting end for marks.
pub struct Marks<M> {
    marks: Sender<Posted<M>>,
    wake: Arc<OwnedFd>,
}

impl<M> Clone for Marks<M> {
    fn clone(&self) -> Self {
        Self {
            marks: self.marks.clone(),
            wake: self.wake.clone(),
        }
    }
}

impl<M> Marks<M> {
    /// Posts a mark; the reader forwards it once it has drained the ring.
    ///
    /// # Errors
    /// When the reader has ended.
    pub fn post(&self, mark: M) -> Result<()> {
        self.send(Posted::Mark(mark))
    }

    /// Posts a mark that nobody waits for: it goes with what has the ring drained next, in [`IDLE`] at the latest.
    ///
    /// # Errors
    /// When the reader has ended.
    pub fn leave(&self, mark: M) -> Result<()> {
        let left = self.marks.send(Posted::Mark(mark));
        left.ok().context("the ring reader has ended")
    }

    /// Posts the last mark: behind it the reader ends, and leaves in the ring what comes later.
    ///
    /// # Errors
    /// When the reader has ended.
    pub fn post_last(&self, mark: M) -> Result<()> {
        self.send(Posted::Last(mark))
    }

    fn send(&self, mark: Posted<M>) -> Result<()> {
        self.marks.send(mark).ok().context("the ring reader has ended")?;
        self.wake();
        Ok(())
    }

    /// Has the ring drained now.
    pub fn wake(&self) {
        // A counter that is full is set as well.
        let _full = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }
}

/// Lets a reader begin. Dropped, it lets the reader end.
pub struct Begin<M> {
    marks: Sender<Posted<M>>,
    begun: bool,
}

impl<M> Begin<M> {
    /// From here on the ring is read: marks that are posted later come behind what is in it, however late the reader's
    /// thread gets a processor.
    pub fn begin(mut self) {
        self.begun = true;
    }
}

impl<M> Drop for Begin<M> {
    fn drop(&mut self) {
        // A reader that has ended needs no word.
        let _ended = self.marks.send(Posted::Begin(self.begun));
    }
}

/// The marks that were posted before the reader may begin, and whether none will follow; `None` where that is given up.
fn before_begin<M>(posted: &Receiver<Posted<M>>) -> Option<(Vec<M>, bool)> {
    let (mut marks, mut last) = (Vec::new(), false);
    loop {
        match posted.recv() {
            Ok(Posted::Begin(begun)) => return begun.then_some((marks, last)),
            Ok(Posted::Mark(mark)) => marks.push(mark),
            Ok(Posted::Last(mark)) => {
                marks.push(mark);
                last = true;
            }
            Err(_nobody) => return None,
        }
    }
}

/// Starts the thread that reads the ring, once it is told to begin; marks that were posted before come before what is in
/// the ring then. A record that `intercept` takes (returns true for) goes no further. The thread ends when the last
/// [`Marks`] is dropped and the ring is drained, behind a last mark, or when the receiver of the queue is gone.
///
/// # Errors
/// When the kernel gives no eventfd or thread.
pub fn read_ring<M: Send + 'static>(
    ring: Ring,
    queue: SyncSender<Item<M>>,
    intercept: impl Fn(&[u8]) -> bool + Send + 'static,
) -> Result<(Marks<M>, Begin<M>, JoinHandle<()>)> {
    let wake =
        Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).context("make an eventfd")?);
    let (marks, posted) = channel();
    // Edge-triggered: level would return at once while anything is in the ring, and the reader chase the writer.
    let events = epoll::create(epoll::CreateFlags::CLOEXEC).context("make an epoll")?;
    let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&events, ring.as_fd(), epoll::EventData::new_u64(0), edge).context("watch the ring")?;
    epoll::add(&events, &wake, epoll::EventData::new_u64(1), edge).context("watch an eventfd")?;
    let reader = Reader {
        queue,
        posted,
        wake: wake.clone(),
        batch: Batch::of(&ring.shares(), 0),
        ring,
        events,
        intercept,
    };
    let begin = Begin {
        marks: marks.clone(),
        begun: false,
    };
    let thread = std::thread::Builder::new()
        .name("ring".into())
        .spawn(move || {
            if let Some((before, last)) = before_begin(&reader.posted) {
                reader.run(before, last);
            }
        })
        .context("start a thread")?;
    Ok((Marks { marks, wake }, begin, thread))
}

struct Reader<M, I> {
    ring: Ring,
    /// What is out of the ring and not handed on.
    batch: Batch,
    queue: SyncSender<Item<M>>,
    posted: Receiver<Posted<M>>,
    wake: Arc<OwnedFd>,
    events: OwnedFd,
    intercept: I,
}

impl<M, I: Fn(&[u8]) -> bool> Reader<M, I> {
    /// Works; `before` are marks that come before what is in the ring, with the last one among them or not.
    fn run(mut self, before: Vec<M>, mut last: bool) {
        // What the reader does not get done in time is lost, so it goes before the work that it hands on. Where that is
        // not allowed, the ring has to be large enough.
        let _not_allowed = rustix::process::setpriority_process(Some(rustix::thread::gettid()), READER_NICE);
        if self.forward(before).is_none() {
            return;
        }
        loop {
            let mut marks = Vec::new();
            if !last {
                self.wait();
                // Before the ring: what was in it when they were posted comes first.
                (marks, last) = self.posted();
            }
            let handed_on = self.drain().and_then(|()| self.forward(marks));
            if last {
                // Nobody may take it any more.
                let _ended = self.hand_on();
            }
            if last || handed_on.is_none() {
                return;
            }
        }
    }

    /// The marks that are there, and whether none will follow.
    fn posted(&self) -> (Vec<M>, bool) {
        let mut marks = Vec::new();
        loop {
            match self.posted.try_recv() {
                Ok(Posted::Begin(_)) => {}
                Ok(Posted::Mark(mark)) => marks.push(mark),
                Ok(Posted::Last(mark)) => {
                    marks.push(mark);
                    return (marks, true);
                }
                Err(TryRecvError::Empty) => return (marks, false),
                Err(TryRecvError::Disconnected) => return (marks, true),
            }
        }
    }

    /// `None` when nobody takes them any more.
    fn forward(&mut self, marks: Vec<M>) -> Option<()> {
        if !marks.is_empty() {
            self.hand_on()?;
        }
        marks
            .into_iter()
            .try_for_each(|mark| self.queue.send(Item::Mark(mark)).ok())
    }

    /// Until the ring's mark is crossed, a mark is posted, or a while has passed.
    fn wait(&self) {
        let idle = Timespec {
            tv_sec: 0,
            tv_nsec: IDLE.as_nanos() as i64,
        };
        let mut happened = Vec::with_capacity(2);
        // A signal is as good as a time-out.
        let _interrupted = epoll::wait(
            &self.events,
            rustix::buffer::spare_capacity(&mut happened),
            Some(&idle),
        );
        let mut counter = [0; 8];
        let _empty = rustix::io::read(&*self.wake, &mut counter);
    }

    /// `None` when nobody takes the records any more.
    fn drain(&mut self) -> Option<()> {
        let Self {
            ring,
            batch,
            queue,
            intercept,
            ..
        } = self;
        let shares = ring.shares();
        let mut open = true;
        ring.drain(|record| {
            batch.held.add(record);
            if !intercept(record) {
                batch.push(record);
            }
            if batch.is_full() {
                batch.held.queue();
                // What comes next is about as much: it need not be copied as it grows.
                let next = Batch::of(&shares, batch.bytes.len());
                let full = std::mem::replace(batch, next);
                open &= queue.send(Item::Records(full)).is_ok();
            }
        });
        batch.held.queue();
        if !open {
            return None;
        }
        // While the decoder has work, a batch may grow: many small ones would fill the queue.
        if shares.all_queued() < BATCH_BYTES as u64 {
            self.hand_on()?;
        }
        Some(())
    }

    /// Hands on the batch that there is.
    fn hand_on(&mut self) -> Option<()> {
        let next = Batch::of(&self.ring.shares(), self.batch.bytes.len());
        let batch = std::mem::replace(&mut self.batch, next);
        if batch.is_empty() {
            return Some(());
        }
        self.queue.send(Item::Records(batch)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_common::record::Header;

    fn record(cpu: u16, seq: u64, ktime: u64) -> Vec<u8> {
        let header = Header {
            cpu,
            seq,
            ktime,
            ..Header::default()
        };
        let mut bytes = vec![0; size_of::<Header>()];
        bytes[6..8].copy_from_slice(&header.cpu.to_le_bytes());
        bytes[16..24].copy_from_slice(&header.seq.to_le_bytes());
        bytes[24..32].copy_from_slice(&header.ktime.to_le_bytes());
        bytes
    }

    #[test]
    fn a_batch_is_handed_on_by_time_and_keeps_each_cpus_order() {
        let mut batch = Batch::default();
        for (cpu, seq, ktime) in [
            (0, 1, 10),
            (1, 1, 7),
            (0, 2, 12),
            (1, 2, 12),
            (1, 3, 11),
            (0, 3, 12),
        ] {
            batch.push(&record(cpu, seq, ktime));
        }
        let order: Vec<_> = batch
            .by_time()
            .iter()
            .map(|record| (record[6], record[16], ktime(record)))
            .collect();
        assert_eq!(
            order,
            [
                (1, 1, 7),
                (0, 1, 10),
                (1, 3, 11),
                (0, 2, 12),
                (1, 2, 12),
                (0, 3, 12)
            ]
        );
    }

    /// A container that is held back makes no more records: what it waits for must not wait for them.
    #[test]
    fn a_batch_that_fills_the_queue_is_full() {
        let mut batch = Batch::default();
        let record = record(0, 1, 10);
        let takes = tracer_common::share::bytes(record.len() as u32) as usize;
        for _ in 0..BATCH_BYTES.div_ceil(takes) {
            assert!(!batch.is_full());
            batch.held.add(&record);
            batch.push(&record);
        }
        assert!(batch.is_full());
    }

    #[test]
    fn what_is_posted_after_the_beginning_waits_for_the_ring() {
        let post = |begun: bool| {
            let (marks, posted) = channel();
            let send = |mark| marks.send(Posted::Mark(mark)).unwrap();
            send(1);
            let begin = Begin {
                marks: marks.clone(),
                begun: false,
            };
            if begun {
                begin.begin();
            } else {
                drop(begin);
            }
            // Before the reader's thread looks.
            send(2);
            (before_begin(&posted), posted)
        };
        let (before, posted) = post(true);
        assert_eq!(before, Some((vec![1], false)));
        assert!(matches!(posted.try_recv(), Ok(Posted::Mark(2))));
        assert_eq!(post(false).0, None);
    }

    #[test]
    fn a_record_too_short_for_a_time_sorts_first() {
        let mut batch = Batch::default();
        batch.push(&record(0, 1, 5));
        batch.push(b"short");
        assert_eq!(batch.by_time()[0], b"short");
    }
}
