//! What is held of one container in memory, as blocks of a recording: bounded in bytes and in time, the oldest block goes
//! first. It is the flight recorder, and what `tail --since-start` begins with.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Draft, Origin, Raw, Reasons,
    block::{Containers, HEAD, Head, Items, Said, Want},
};
use crate::event::{Body, Event};

/// Bytes of items in a block, at most: it goes as a whole.
const BLOCK: usize = 64 * 1024;
/// A history has as many blocks at least, so that what it has room for is not lost with one of them.
const LEAST: usize = 4;
/// One part in so many of a history may be diagnoses: a container that fails in many ways gets them all at its end, and
/// what led there would be pushed out. `explain` and a dump's summary have all of them.
const DIAGNOSES: usize = 4;

/// How much is held of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes, packed.
    pub bytes: usize,
    /// How long an event is held while there is room; for ever, where none is given.
    pub time: Option<Duration>,
    /// Bytes of all containers together, the ended among them.
    pub all: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes: 2 << 20,
            time: None,
            all: 16 << 20,
        }
    }
}

/// What a container asked for of the flight recorder; all else is the node's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recorder {
    /// Bytes, packed.
    pub bytes: Option<usize>,
    /// How long an event is held while there is room.
    pub time: Option<Duration>,
    /// What it is dumped on.
    pub dump_on: Option<Reasons>,
}

impl Recorder {
    /// What is held of it, where the node holds that much of each.
    #[must_use]
    pub fn bounds(&self, node: Bounds) -> Bounds {
        Bounds {
            bytes: self.bytes.unwrap_or(node.bytes),
            time: self.time.or(node.time),
            all: node.all,
        }
    }
}

/// A container's last events, oldest first.
#[derive(Debug)]
pub struct History {
    bounds: Bounds,
    blocks: VecDeque<Block>,
    bytes: usize,
    draft: Draft,
    /// Bytes of diagnoses in the draft, and in the blocks.
    drafted: usize,
    diagnoses: usize,
    /// Records that were held and are no more.
    dropped: u64,
}

#[derive(Debug)]
struct Block {
    packed: Arc<[u8]>,
    /// How many of its bytes are diagnoses', about.
    diagnoses: usize,
}

impl History {
    pub fn new(origin: Arc<Origin>, bounds: Bounds) -> Self {
        Self {
            bounds,
            blocks: VecDeque::new(),
            bytes: 0,
            draft: Draft::new(origin),
            drafted: 0,
            diagnoses: 0,
            dropped: 0,
        }
    }

    /// Goes on with blocks that another daemon held, and the number of records that it held no more.
    pub fn resume(&mut self, blocks: Vec<Arc<[u8]>>, dropped: u64) {
        let whole = blocks.into_iter().filter(|block| Head::read(block).is_some());
        self.blocks = whole.map(|packed| Block { packed, diagnoses: 0 }).collect();
        self.bytes = self.blocks.iter().map(|block| block.packed.len()).sum();
        self.dropped = dropped;
    }

    /// Holds an event.
    pub fn take(&mut self, event: &Event, raw: Option<Raw<'_>>) {
        let before = self.draft.len();
        if let Body::Diagnosis(_) = event.body {
            if self.drafted + self.diagnoses >= self.bounds.bytes / DIAGNOSES {
                return;
            }
            self.draft.take(event, raw);
            self.drafted += self.draft.len() - before;
        } else {
            self.draft.take(event, raw);
        }
        if self.draft.len() < BLOCK.min(self.bounds.bytes / LEAST) {
            return;
        }
        self.close();
        while self.bytes > self.bounds.bytes {
            self.drop_oldest();
        }
        if let Some(time) = self.bounds.time {
            self.forget_before(event.ktime.saturating_sub(time.as_nanos() as u64));
        }
    }

    /// Makes a block of the draft, if there is anything in it.
    fn close(&mut self) {
        let plain = self.draft.len().max(1);
        let mut packed = Vec::new();
        self.draft.close(&mut packed);
        let diagnoses = std::mem::take(&mut self.drafted) * packed.len() / plain;
        if !packed.is_empty() {
            self.bytes += packed.len();
            self.diagnoses += diagnoses;
            self.blocks.push_back(Block {
                packed: packed.into(),
                diagnoses,
            });
        }
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.bytes + self.draft.len()
    }

    /// Records that were held and are no more.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Drops the oldest block, or what has not become one.
    pub fn drop_oldest(&mut self) {
        match self.blocks.pop_front() {
            Some(block) => {
                self.dropped += records(&block.packed);
                self.bytes -= block.packed.len();
                self.diagnoses -= block.diagnoses;
            }
            None => {
                self.dropped += u64::from(self.draft.records());
                self.draft.close(&mut Vec::new());
                self.drafted = 0;
            }
        }
    }

    /// Drops the blocks that end before that time.
    fn forget_before(&mut self, ktime: u64) {
        while let Some(block) = self.blocks.front()
            && Head::read(&block.packed).is_some_and(|head| head.last < ktime)
        {
            self.drop_oldest();
        }
    }

    /// The blocks, whole; what has not become one yet becomes one.
    pub fn blocks(&mut self) -> impl Iterator<Item = Arc<[u8]>> {
        self.close();
        self.blocks.iter().map(|block| block.packed.clone())
    }

    /// The events, oldest first, each with its record.
    pub fn replay(&self, mut to: impl FnMut(&Event, Option<Raw<'_>>)) {
        let mut known = Containers::default();
        let whole = self.blocks.iter().filter_map(|block| {
            let packed = &block.packed;
            let plain = Head::read(packed)?.unpack(packed.get(HEAD..)?).ok()?;
            Some(Items::new(plain))
        });
        for mut items in whole.chain(std::iter::once_with(|| self.draft.items())) {
            // They are our own: nothing in them is of another version, or damaged.
            while let Ok(Some((_, said))) = items.read(&mut known, Want::All) {
                if let Said::Event(event) = said {
                    to(&event, items.raw());
                }
            }
        }
    }
}

/// Records in a block.
fn records(block: &[u8]) -> u64 {
    Head::read(block).map_or(0, |head| u64::from(head.records))
}
