//! One block: items one after the other, compressed, behind a head with lengths and sums. An item is a word, its kind
//! and its length, and that many bytes; all numbers are little-endian.
//!
//! What an item needs to be understood (the node, the container, the task's name, the wall clock) stands before it in the
//! same block, once for all that follow.
#![deny(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    unsafe_code
)]

use std::{
    cell::RefCell,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tracer_common::{ABI_VERSION, record::MAX_RECORD};
use zstd::bulk::Compressor;

use super::{Origin, Raw, Summary, Told};
use crate::{
    decode,
    event::{Body, Comm, Container, Event, Loss, LossReason},
};

/// Length of a block's head.
pub(super) const HEAD: usize = 48;
/// What it begins with.
pub(super) const MAGIC: [u8; 4] = *b"TRBK";
/// Bytes of items after which a block is closed.
const FULL: usize = 256 * 1024;
/// How long a block stays open while there is little.
const OLD: Duration = Duration::from_secs(1);
/// Most bytes of a block's items; a [`Summary`] is the largest of them.
const MAX_PLAIN: u32 = 32 << 20;
/// Most bytes of an item.
const MAX_ITEM: usize = 0x00ff_ffff;
/// What zstd calls the quickest of its usual levels: it keeps up with a pipeline.
const LEVEL: i32 = 1;

/// Kinds of blocks.
pub(super) const ITEMS: u8 = 1;
pub(super) const INDEX: u8 = 2;

/// How a block's items are packed.
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

/// Kinds of items.
mod item {
    /// [`super::Origin`], as JSON.
    pub(super) const ORIGIN: u8 = 1;
    /// A container, as JSON: the next one by number, from 0, and whose the following items are.
    pub(super) const CONTAINER: u8 = 2;
    /// The number of the container whose the following items are (2 bytes).
    pub(super) const OF: u8 = 3;
    /// The name of the tasks of the following records (16 bytes).
    pub(super) const COMM: u8 = 4;
    /// Wall clock less CLOCK_MONOTONIC of the following records, in nanoseconds (8 bytes, signed).
    pub(super) const CLOCK: u8 = 5;
    /// A record.
    pub(super) const RAW: u8 = 6;
    /// [`super::Told`], as JSON.
    pub(super) const TOLD: u8 = 7;
    /// [`super::Summary`], as JSON.
    pub(super) const SUMMARY: u8 = 8;
}

/// A block's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: u8,
    packing: u8,
    /// Bytes that follow.
    pub(super) stored: u32,
    /// Bytes that these unpack to.
    pub(super) plain: u32,
    /// CLOCK_MONOTONIC nanoseconds of the earliest and of the latest event.
    pub(super) first: u64,
    pub(super) last: u64,
    /// Records in it.
    pub(super) records: u32,
    /// Other events in it.
    pub(super) others: u32,
    /// CRC-32 of what follows.
    sum: u32,
}

impl Head {
    fn bytes(&self) -> [u8; HEAD] {
        let mut bytes = Vec::with_capacity(HEAD);
        bytes.extend(MAGIC);
        bytes.extend([self.kind, self.packing, 0, 0]);
        bytes.extend(self.stored.to_le_bytes());
        bytes.extend(self.plain.to_le_bytes());
        bytes.extend(self.first.to_le_bytes());
        bytes.extend(self.last.to_le_bytes());
        bytes.extend(self.records.to_le_bytes());
        bytes.extend(self.others.to_le_bytes());
        bytes.extend(self.sum.to_le_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes.try_into().unwrap_or([0; HEAD])
    }

    /// Reads a head; `None` where it is none, or damaged.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEAD)?;
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        if !bytes.starts_with(&MAGIC) || crc32fast::hash(bytes.get(..HEAD - 4)?) != word(HEAD - 4)? {
            return None;
        }
        let head = Self {
            kind: *bytes.get(4)?,
            packing: *bytes.get(5)?,
            stored: word(8)?,
            plain: word(12)?,
            first: long(16)?,
            last: long(24)?,
            records: word(32)?,
            others: word(36)?,
            sum: word(40)?,
        };
        // What does not shrink is stored as it is.
        (head.plain <= MAX_PLAIN && head.stored <= head.plain).then_some(head)
    }

    /// Unpacks what follows the head.
    pub(super) fn unpack(&self, stored: &[u8]) -> Result<Vec<u8>> {
        ensure!(
            stored.len() == self.stored as usize && crc32fast::hash(stored) == self.sum,
            "its sum is wrong"
        );
        match self.packing {
            PLAIN => {
                ensure!(self.stored == self.plain, "its lengths differ");
                Ok(stored.to_vec())
            }
            ZSTD => {
                // The bound was looked at when the head was read.
                let plain =
                    zstd::bulk::decompress(stored, self.plain as usize).context("it cannot be unpacked")?;
                ensure!(plain.len() == self.plain as usize, "its length is wrong");
                Ok(plain)
            }
            other => bail!("it is packed in a way ({other}) that this program does not know"),
        }
    }
}

thread_local! {
    /// Its tables have some hundred kilobytes, which are new pages to clear where each block takes them anew.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
}

/// `None` where zstd has no memory.
fn compress(plain: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = match kept {
            Some(compressor) => compressor,
            none => none.insert(Compressor::new(LEVEL).ok()?),
        };
        compressor.compress(plain).ok()
    })
}

/// Appends a block of these bytes.
pub(super) fn pack(kind: u8, plain: &[u8], of: (u64, u64), counts: (u32, u32), to: &mut Vec<u8>) {
    let Ok(length) = u32::try_from(plain.len()) else {
        return;
    };
    let packed = compress(plain).filter(|packed| packed.len() < plain.len());
    let (packing, stored) = match &packed {
        Some(packed) => (ZSTD, packed.as_slice()),
        None => (PLAIN, plain),
    };
    let head = Head {
        kind,
        packing,
        // No more than `length`.
        stored: u32::try_from(stored.len()).unwrap_or(length),
        plain: length,
        first: of.0,
        last: of.1,
        records: counts.0,
        others: counts.1,
        sum: crc32fast::hash(stored),
    };
    to.extend_from_slice(&head.bytes());
    to.extend_from_slice(stored);
}

/// A block in the making.
#[derive(Clone, Debug)]
pub struct Draft {
    origin: Arc<Origin>,
    plain: Vec<u8>,
    containers: Vec<Arc<Container>>,
    /// Whose the next item is, by its place in `containers`.
    current: usize,
    comm: Option<Comm>,
    clock: Option<i64>,
    first: u64,
    last: u64,
    records: u32,
    others: u32,
    opened: Option<Instant>,
}

impl Draft {
    /// An empty block of records that were taken there.
    pub fn new(origin: Arc<Origin>) -> Self {
        Self {
            origin,
            plain: Vec::new(),
            containers: Vec::new(),
            current: 0,
            comm: None,
            clock: None,
            first: u64::MAX,
            last: 0,
            records: 0,
            others: 0,
            opened: None,
        }
    }

    /// Adds an event: its record where it has one, which is then all that is kept of it.
    pub fn take(&mut self, event: &Event, raw: Option<Raw<'_>>) {
        if let Some(told) = Told::new(event) {
            let Ok(json) = serde_json::to_vec(&told) else {
                return;
            };
            self.of(&event.container);
            self.item(item::TOLD, &json);
            self.others += 1;
        } else if let Some(Raw { comm, record }) = raw {
            self.of(&event.container);
            let clock = event
                .time_ns
                .cast_signed()
                .wrapping_sub(event.ktime.cast_signed());
            if self.clock != Some(clock) {
                self.clock = Some(clock);
                self.item(item::CLOCK, &clock.to_le_bytes());
            }
            if self.comm != Some(comm) {
                self.comm = Some(comm);
                self.item(item::COMM, &comm.0);
            }
            self.item(item::RAW, record);
            self.records += 1;
        } else {
            return;
        }
        self.first = self.first.min(event.ktime);
        self.last = self.last.max(event.ktime);
    }

    /// Adds what is known of a container beside its events.
    pub fn summary(&mut self, container: &Arc<Container>, summary: &Summary) {
        if let Ok(json) = serde_json::to_vec(summary) {
            self.of(container);
            self.item(item::SUMMARY, &json);
        }
    }

    fn of(&mut self, container: &Arc<Container>) {
        if self.plain.is_empty() {
            self.opened = Some(Instant::now());
            if let Ok(json) = serde_json::to_vec(&*self.origin) {
                self.item(item::ORIGIN, &json);
            }
        }
        let is_it = |known: &Arc<Container>| Arc::ptr_eq(known, container);
        if self.containers.get(self.current).is_some_and(is_it) {
            return;
        }
        match self.containers.iter().position(is_it) {
            Some(place) => {
                self.current = place;
                let place = u16::try_from(place).unwrap_or(u16::MAX);
                self.item(item::OF, &place.to_le_bytes());
            }
            None => {
                let Ok(json) = serde_json::to_vec(&**container) else {
                    return;
                };
                self.current = self.containers.len();
                self.containers.push(container.clone());
                self.item(item::CONTAINER, &json);
            }
        }
    }

    fn item(&mut self, kind: u8, bytes: &[u8]) {
        // The largest item, a summary, is bounded by what is kept of a container, far below this.
        let bytes = bytes.get(..MAX_ITEM).unwrap_or(bytes);
        let length = u32::try_from(bytes.len()).unwrap_or(0);
        let word = u32::from(kind) << 24 | length;
        self.plain.extend_from_slice(&word.to_le_bytes());
        self.plain.extend_from_slice(bytes);
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty()
    }

    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.plain.len()
    }

    /// Whether it is to be closed for its size.
    pub fn is_full(&self) -> bool {
        // A container has its number in two bytes.
        self.plain.len() >= FULL || self.containers.len() >= usize::from(u16::MAX)
    }

    /// Whether it is to be closed for its age.
    pub fn is_old(&self) -> bool {
        self.opened.is_some_and(|since| since.elapsed() >= OLD)
    }

    /// Closes it: appends the block, if there is anything in it, and begins the next.
    pub fn close(&mut self, to: &mut Vec<u8>) {
        if !self.plain.is_empty() {
            let times = (self.first.min(self.last), self.last);
            pack(ITEMS, &self.plain, times, (self.records, self.others), to);
        }
        self.plain.clear();
        let plain = std::mem::take(&mut self.plain);
        *self = Self {
            plain,
            ..Self::new(self.origin.clone())
        };
    }

    /// What is in it, to be read.
    pub(super) fn items(&self) -> Items {
        Items::new(self.plain.clone())
    }

    /// Records in it.
    pub(super) fn records(&self) -> u32 {
        self.records
    }
}

/// The containers of a recording: one [`Container`] for all blocks that name it.
#[derive(Debug, Default)]
pub(super) struct Containers {
    all: Vec<Arc<Container>>,
    by_id: std::collections::HashMap<String, Vec<usize>>,
}

impl Containers {
    /// The container, and its number in this recording.
    fn known(&mut self, container: Container) -> (u16, Arc<Container>) {
        let places = self.by_id.entry(container.id.clone()).or_default();
        let same = places
            .iter()
            .find_map(|&place| Some((place, self.all.get(place).filter(|known| ***known == container)?)));
        if let Some((place, known)) = same {
            return (u16::try_from(place).unwrap_or(u16::MAX), known.clone());
        }
        let place = self.all.len();
        places.push(place);
        let container = Arc::new(container);
        self.all.push(container.clone());
        (u16::try_from(place).unwrap_or(u16::MAX), container)
    }
}

/// The records are of a version that this program does not read.
#[derive(Debug)]
pub(super) struct OtherVersion(Origin);

impl std::fmt::Display for OtherVersion {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            to,
            "the recording's records are of version {}, and this program reads version {ABI_VERSION}: take the tracer that \
             wrote it ({})",
            self.0.abi,
            self.0.tracer.escape_default()
        )
    }
}

impl std::error::Error for OtherVersion {}

/// What of a block is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// All, but no more of strings than so many bytes.
    Strings(u16),
    All,
    Summaries,
}

/// What an item says.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are events, and none is kept"
)]
pub(super) enum Said {
    Event(Event),
    Summary(Box<Summary>),
}

/// The items of a block, in their order.
#[derive(Clone, Debug)]
pub(super) struct Items {
    plain: Vec<u8>,
    at: usize,
    origin: Option<Arc<Origin>>,
    containers: Vec<(u16, Arc<Container>)>,
    current: usize,
    comm: Comm,
    clock: i64,
    /// The record that the last event was made of.
    record: std::ops::Range<usize>,
}

impl Items {
    pub(super) fn new(plain: Vec<u8>) -> Self {
        Self {
            plain,
            at: 0,
            origin: None,
            containers: Vec::new(),
            current: 0,
            comm: Comm::default(),
            clock: 0,
            record: 0..0,
        }
    }

    /// The node that the block is of, once its first item has been read.
    pub(super) fn origin(&self) -> Option<&Arc<Origin>> {
        self.origin.as_ref()
    }

    /// The record that the last event was made of.
    pub(super) fn raw(&self) -> Option<Raw<'_>> {
        let record = self.plain.get(self.record.clone())?;
        (!record.is_empty()).then_some(Raw {
            comm: self.comm,
            record,
        })
    }

    /// The next event or summary, with the number of its container; `None` at the end.
    ///
    /// # Errors
    /// When the bytes are not what a block's may be, or of another version.
    pub(super) fn read(&mut self, known: &mut Containers, want: Want) -> Result<Option<(u16, Said)>> {
        self.record = 0..0;
        while self.at < self.plain.len() {
            let rest = self.plain.get(self.at..).unwrap_or_default();
            let (word, rest) = rest.split_first_chunk().context("it ends inside an item")?;
            let word = u32::from_le_bytes(*word);
            let (kind, length) = (word.to_le_bytes()[3], word as usize & MAX_ITEM);
            let bytes = rest.get(..length).context("it ends inside an item")?;
            let start = self.at + 4;
            self.at = start + length;
            let said = match kind {
                item::ORIGIN => {
                    let origin: Origin = serde_json::from_slice(bytes).context("its origin")?;
                    if origin.abi != ABI_VERSION {
                        bail!(OtherVersion(origin));
                    }
                    self.origin = Some(Arc::new(origin));
                    continue;
                }
                item::CONTAINER => {
                    let container = serde_json::from_slice(bytes).context("a container")?;
                    self.current = self.containers.len();
                    self.containers.push(known.known(container));
                    continue;
                }
                item::OF => {
                    self.current =
                        u16::from_le_bytes(bytes.try_into().context("a container's number")?).into();
                    continue;
                }
                item::COMM => {
                    self.comm = Comm(bytes.try_into().context("a name")?);
                    continue;
                }
                item::CLOCK => {
                    self.clock = i64::from_le_bytes(bytes.try_into().context("a clock")?);
                    continue;
                }
                item::RAW | item::TOLD if want == Want::Summaries => continue,
                item::RAW => {
                    ensure!(length <= MAX_RECORD, "a record of {length} bytes");
                    let (_, container) = self.container()?;
                    let origin = self
                        .origin
                        .as_ref()
                        .context("it does not say of which node it is")?;
                    let event = event(bytes, container, self.comm, self.clock, &origin.options(want));
                    self.record = start..start + length;
                    Said::Event(event)
                }
                item::TOLD => {
                    let told: Told = serde_json::from_slice(bytes).context("an event")?;
                    let (_, container) = self.container()?;
                    Said::Event(told.event(container))
                }
                item::SUMMARY => Said::Summary(Box::new(serde_json::from_slice(bytes).context("a summary")?)),
                // Of a later version that adds to this one.
                _ => continue,
            };
            return Ok(Some((self.container()?.0, said)));
        }
        Ok(None)
    }

    fn container(&self) -> Result<(u16, Arc<Container>)> {
        let container = self.containers.get(self.current);
        container.cloned().context("it does not say whose its events are")
    }
}

/// Makes the event of a record that was taken before.
fn event(
    record: &[u8],
    container: Arc<Container>,
    comm: Comm,
    clock: i64,
    options: &decode::Options,
) -> Event {
    let (ktime, body) = match decode::decode(record, options) {
        Ok(decoded) => (
            decoded.ktime,
            match decoded.body {
                decode::Body::Syscall(mut call) => {
                    call.task.comm = comm;
                    Body::Syscall(call)
                }
                decode::Body::Process(mut process) => {
                    process.task.comm = comm;
                    Body::Process(process)
                }
            },
        ),
        Err(_undecodable) => (
            0,
            Body::Loss(Loss {
                reason: LossReason::Undecodable,
                count: 1,
                hole: None,
            }),
        ),
    };
    Event {
        time_ns: ktime.cast_signed().wrapping_add(clock).cast_unsigned(),
        ktime,
        container,
        body,
    }
}
