//! What is held of one container in memory, as blocks of a recording: bounded in bytes and in time, the oldest block goes
//! first. It is the flight recorder, and what `tail --since-start` begins with.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Draft, Origin, Raw, Reasons,
    block::{Containers, HEAD, Head, Items, Said, Want},
};
use crate::event::Event;

/// Bytes of items in a block, at most: it goes as a whole.
const BLOCK: usize = 64 * 1024;
/// A history has as many blocks at least, so that what it has room for is not lost with one of them.
const LEAST: usize = 4;

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
    blocks: VecDeque<Arc<[u8]>>,
    bytes: usize,
    draft: Draft,
    /// Records that were held and are no more.
    dropped: u64,
}

impl History {
    pub fn new(origin: Arc<Origin>, bounds: Bounds) -> Self {
        Self {
            bounds,
            blocks: VecDeque::new(),
            bytes: 0,
            draft: Draft::new(origin),
            dropped: 0,
        }
    }

    /// Goes on with blocks that another daemon held, and the number of records that it held no more.
    pub fn resume(&mut self, blocks: Vec<Arc<[u8]>>, dropped: u64) {
        self.blocks = blocks
            .into_iter()
            .filter(|block| Head::read(block).is_some())
            .collect();
        self.bytes = self.blocks.iter().map(|block| block.len()).sum();
        self.dropped = dropped;
    }

    /// Holds an event.
    pub fn take(&mut self, event: &Event, raw: Option<Raw<'_>>) {
        self.draft.take(event, raw);
        if self.draft.len() < BLOCK.min(self.bounds.bytes / LEAST) {
            return;
        }
        let mut block = Vec::new();
        self.draft.close(&mut block);
        self.bytes += block.len();
        self.blocks.push_back(block.into());
        while self.bytes > self.bounds.bytes {
            self.drop_oldest();
        }
        if let Some(time) = self.bounds.time {
            self.forget_before(event.ktime.saturating_sub(time.as_nanos() as u64));
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
                self.dropped += records(&block);
                self.bytes -= block.len();
            }
            None => {
                self.dropped += u64::from(self.draft.records());
                self.draft.close(&mut Vec::new());
            }
        }
    }

    /// Drops the blocks that end before that time.
    fn forget_before(&mut self, ktime: u64) {
        while let Some(block) = self.blocks.front()
            && Head::read(block).is_some_and(|head| head.last < ktime)
        {
            self.drop_oldest();
        }
    }

    /// The blocks, whole; what has not become one yet becomes one.
    pub fn blocks(&mut self) -> impl Iterator<Item = Arc<[u8]>> {
        if !self.draft.is_empty() {
            let mut block = Vec::new();
            self.draft.close(&mut block);
            self.bytes += block.len();
            self.blocks.push_back(block.into());
        }
        self.blocks.iter().cloned()
    }

    /// The events, oldest first, each with its record.
    pub fn replay(&self, mut to: impl FnMut(&Event, Option<Raw<'_>>)) {
        let mut known = Containers::default();
        let whole = self.blocks.iter().filter_map(|block| {
            let plain = Head::read(block)?.unpack(block.get(HEAD..)?).ok()?;
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
