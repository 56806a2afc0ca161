//! Containers that are about to send records, on their way from the node to the pipeline.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Before, Blocks};
use crate::{
    enrich::{Live, Progress, monotonic_ns},
    event::{Away, Container},
    filter::Filter,
    follow,
    recording::Recorder,
};

/// Containers that are about to send records. They are put here before the filter is armed, and fetched at their first
/// record or mark: no record can come before its container, and no registration waits for the queue.
#[derive(Clone, Debug, Default)]
pub struct Births(Arc<Mutex<HashMap<u16, Birth>>>);

#[derive(Debug)]
pub(super) struct Birth {
    pub(super) live: Box<Live>,
    pub(super) late: bool,
    pub(super) asked: Asked,
    pub(super) away: Vec<Away>,
    pub(super) ktime: u64,
    /// Another pipeline had it before, and left this of it.
    pub(super) resumed: Option<(Blocks, follow::Left)>,
}

/// What a container asked for that concerns its events.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// What all its readers get at most.
    pub filter: Option<Arc<Filter>>,
    pub recorder: Recorder,
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
                ktime: monotonic_ns(),
                resumed: None,
            },
        );
    }

    /// Announces a container that another pipeline had before.
    pub fn resume(&self, slot: u16, mut live: Box<Live>, filter: Option<Arc<Filter>>, before: Before) {
        let Before {
            live: enriched,
            held,
            followed,
        } = before;
        live.resume(enriched);
        let birth = Birth {
            live,
            late: false,
            asked: Asked {
                filter,
                recorder: held.asked.clone(),
                warnings: Vec::new(),
            },
            away: Vec::new(),
            ktime: monotonic_ns(),
            resumed: Some((held, followed)),
        };
        self.lock().insert(slot, birth);
    }

    /// The container that is announced for that slot.
    pub(super) fn take(&self, slot: u16) -> Option<Birth> {
        self.lock().remove(&slot)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u16, Birth>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
