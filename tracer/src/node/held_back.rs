//! Containers that asked to be frozen rather than to lose events: which group freezes them, what is told of it.

use std::sync::Arc;

use anyhow::Result;

use super::{Inner, Node};
use crate::{
    enrich::monotonic_ns,
    event::Lifecycle,
    freezer::{Counts, Freezer, Group},
    log::note,
    options::Options,
    pipeline::Mark,
    registry::Identity,
    report::Frozen,
    source::kernel::Kernel,
};

const NOT_FROZEN: &str = "it cannot be frozen, and may lose events";

/// A container that is held back.
#[derive(Debug, Default)]
pub(super) struct HeldBack {
    pub(super) counts: Arc<Counts>,
    /// What its readers have been told.
    told: Frozen,
}

impl HeldBack {
    /// Tells the container's readers what they have not been told yet.
    pub(super) fn mark(&mut self, slot: u32) -> Option<Mark> {
        let now = self.counts.now();
        let told = std::mem::replace(&mut self.told, now);
        let what = Lifecycle::Frozen {
            times: now.times - told.times,
            ns: now.ns - told.ns,
        };
        (now != told).then(|| Mark::Life {
            slot: slot as u16,
            ktime: monotonic_ns(),
            what: Box::new(what),
        })
    }
}

/// The group by which a container that asks for it is frozen. Where there is none, its readers are told.
pub(super) fn group_of(options: &mut Options, identity: &Identity) -> Option<Group> {
    if !options.lossless {
        return None;
    }
    Group::of(identity)
        .inspect_err(|error| {
            let warning = format!("{NOT_FROZEN}: {error:#}");
            note(&format!(
                "the container of process {}: {warning}",
                identity.init_tgid
            ));
            options.warnings.push(warning);
        })
        .ok()
}

impl Inner {
    /// Holds back what the node before this one held back.
    pub(super) fn hold_back_again(&mut self, freezer: &Freezer) {
        for (slot, live) in &mut self.live {
            let (Some(held), Some(entry)) = (&mut live.frozen, self.registry.get(*slot)) else {
                continue;
            };
            let again = Group::of(&entry.identity)
                .and_then(|group| freezer.watch(*slot as u16, group, self.kernel.mark(*slot)?));
            match again {
                Ok(counts) => held.counts = counts,
                Err(error) => note(&format!(
                    "container {}: it is no longer frozen: {error:#}",
                    entry.info.id
                )),
            }
        }
    }
}

impl Node {
    /// Holds a container back by that group from now on. Where that cannot be, its readers are told.
    pub(super) fn hold_back(&self, kernel: &Kernel, slot: u32, group: Group) -> Option<HeldBack> {
        let mark = kernel.mark(slot);
        match mark.and_then(|mark| self.freezer.watch(slot as u16, group, mark)) {
            Ok(counts) => Some(HeldBack {
                counts,
                told: Frozen::default(),
            }),
            Err(error) => {
                let text = format!("{NOT_FROZEN}: {error:#}");
                note(&text);
                let warning = Mark::Life {
                    slot: slot as u16,
                    ktime: monotonic_ns(),
                    what: Box::new(Lifecycle::Warning { text }),
                };
                // A pipeline that has ended has no readers.
                let _ended = self.marks.post(warning);
                None
            }
        }
    }

    /// Whether a container that asked for it is held back.
    pub fn is_held_back(&self, slot: u32) -> bool {
        self.lock()
            .live
            .get(&slot)
            .is_some_and(|live| live.frozen.is_some())
    }

    /// Tells the readers of containers how they were held back since the last time.
    ///
    /// # Errors
    /// When the pipeline has ended.
    pub fn tell_held_back(&self) -> Result<()> {
        let mut inner = self.lock();
        for (slot, live) in &mut inner.live {
            if let Some(mark) = live.frozen.as_mut().and_then(|frozen| frozen.mark(*slot)) {
                self.marks.post(mark)?;
            }
        }
        Ok(())
    }
}
