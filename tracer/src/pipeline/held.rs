//! What is held of a container after its records have been handed out: its last events, as blocks of a recording.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    enrich::{Clock, monotonic_ns},
    event::{Body, Container, Event, Lifecycle, Loss, LossReason},
    filter::Filter,
    recording::{Draft, History, Origin, Raw, Reason, Recorder},
};

/// What was held of a container: blocks of a recording.
#[derive(Clone, Debug)]
pub struct Dump {
    pub info: Arc<Container>,
    pub blocks: Vec<Arc<[u8]>>,
}

/// What was held of a container: blocks of a recording, oldest first.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Blocks {
    /// They travel apart from the rest, which is text.
    #[serde(skip)]
    pub blocks: Vec<Arc<[u8]>>,
    /// How many they are.
    pub count: usize,
    /// Records that were held and are no more.
    dropped: u64,
    /// What the container asked for.
    pub(super) asked: Recorder,
    /// What was told of it to whoever keeps dumps.
    triggered: Vec<Reason>,
}

/// A container whose records are still held.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) info: Arc<Container>,
    /// What is told of it first, whatever has become of the rest.
    pub(super) begun: Vec<Event>,
    pub(super) history: History,
    /// What it asked for.
    pub(super) asked: Recorder,
    /// What of it was told to the [`Watch`].
    pub(super) triggered: Vec<Reason>,
}

impl Held {
    /// Holds an event, if the container asked for it.
    pub(super) fn take(&mut self, event: &Event, raw: Option<Raw<'_>>, at_most: Option<&Filter>) {
        let wanted = match (&event.body, at_most) {
            (Body::Syscall(call), Some(filter)) => filter.takes(call),
            // These are in `begun`.
            (Body::Container(Lifecycle::Registered { .. } | Lifecycle::Warning { .. }), _) => false,
            _ => true,
        };
        if wanted {
            self.history.take(event, raw);
        }
    }

    /// All of it, for another pipeline.
    pub(super) fn leave(mut self, origin: &Arc<Origin>) -> Blocks {
        let begun = std::mem::take(&mut self.begun);
        let blocks = self.blocks(&begun, origin);
        Blocks {
            count: blocks.len(),
            blocks,
            dropped: self.history.dropped(),
            asked: self.asked,
            triggered: self.triggered,
        }
    }

    /// Goes on with what another pipeline left.
    pub(super) fn resume(&mut self, left: Blocks) {
        self.history.resume(left.blocks, left.dropped);
        self.triggered = left.triggered;
    }

    /// What is held, as a recording has it.
    pub(super) fn dump(&mut self, origin: &Arc<Origin>, clock: Clock) -> Dump {
        let first = self.first(clock);
        Dump {
            info: self.info.clone(),
            blocks: self.blocks(&first, origin),
        }
    }

    /// Blocks of these events and of what is held.
    fn blocks(&mut self, before: &[Event], origin: &Arc<Origin>) -> Vec<Arc<[u8]>> {
        let mut draft = Draft::new(origin.clone());
        for told in before {
            draft.take(told, None);
        }
        let mut first = Vec::new();
        draft.close(&mut first);
        let whole = std::iter::once(first.into()).chain(self.history.blocks());
        whole.filter(|block: &Arc<[u8]>| !block.is_empty()).collect()
    }

    /// What comes before what is held: how it began, and how much is held no more.
    pub(super) fn first(&self, clock: Clock) -> Vec<Event> {
        let mut first = self.begun.clone();
        if self.history.dropped() > 0 {
            let now = monotonic_ns();
            first.push(Event {
                time_ns: clock.wall(now),
                ktime: now,
                container: self.info.clone(),
                body: Body::Loss(Loss {
                    reason: LossReason::NotHeld,
                    count: self.history.dropped(),
                    hole: None,
                }),
            });
        }
        first
    }
}
