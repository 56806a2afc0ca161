//! Hands a node's containers over to the one that comes after it, with programs attached and the ring in place: what
//! they call meanwhile waits in the ring. It must not know by which way descriptors travel.
//!
//! What ends with a node: what was observed in events and explained, the counts of containers that have ended, and the
//! readers that are no configured sinks.

use std::{collections::BTreeMap, os::fd::OwnedFd, sync::mpsc::channel};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{Admitted, Inner, Live, Node, Settings, rates::Rates, readers::leaves_out};
use crate::{
    decode,
    event::{self, Arch},
    explain,
    filter::{Filter, Words},
    pipeline::{self, Births, Mark},
    registry::{self, Registry},
    source::{
        Marks, Ring,
        kernel::{self, Kernel},
    },
};

/// What a node leaves, beside descriptors. Only a program of the same version and the same eBPF object reads it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Left {
    version: String,
    kernel: kernel::Left,
    registry: registry::Left,
    containers: Vec<Container>,
    pipeline: pipeline::Left,
}

impl Left {
    /// What is too large for text, in the order in which [`Self::attach`] takes it back.
    pub fn bulk(&self) -> impl Iterator<Item = &[u8]> {
        let held = self.pipeline.held.values();
        held.flat_map(|held| held.blocks.iter().map(AsRef::as_ref))
    }

    /// Takes the bulk back.
    pub fn attach(&mut self, mut bulk: impl Iterator<Item = Vec<u8>>) {
        for held in self.pipeline.held.values_mut() {
            held.blocks = bulk.by_ref().take(held.count).map(Into::into).collect();
        }
    }
}

/// A container that is handed over.
#[derive(Debug, Serialize, Deserialize)]
struct Container {
    slot: u32,
    runtime: Option<String>,
    armed_wall_ns: u64,
    away: Vec<event::Away>,
    round_trip_ns: Option<u64>,
    /// What it asked for, at most.
    filter: Option<Words>,
    rates: Rates,
    /// It is held back.
    lossless: bool,
}

/// What the node before this one left.
#[derive(Debug)]
pub struct Predecessor {
    pub left: Left,
    pub descriptors: BTreeMap<String, OwnedFd>,
}

/// The kernel side, the containers and the books of the node before, taken over.
pub(super) struct TakenOver {
    pub(super) kernel: Kernel,
    pub(super) ring: Ring,
    pub(super) registry: Registry,
    pub(super) live: Vec<(u32, Live)>,
    pub(super) pipeline: pipeline::Left,
}

impl Predecessor {
    /// Takes all of it over, or nothing.
    ///
    /// # Errors
    /// When it is another version's, or does not fit this node's settings; its programs are detached then.
    pub(super) fn take_over(mut self, mut registry: Registry, decode: &decode::Options) -> Result<TakenOver> {
        let Left {
            version,
            kernel,
            registry: entries,
            containers,
            pipeline,
        } = self.left;
        ensure!(
            version == env!("CARGO_PKG_VERSION"),
            "the daemon before was version {version}"
        );
        ensure!(
            registry.resume(entries),
            "the daemon before had another number of slots"
        );
        let live = containers
            .into_iter()
            .map(|container| Ok((container.slot, container.resume(decode.arch)?)))
            .collect::<Result<_>>()?;
        let plans = decode::plans(decode.arch, decode.limits);
        let (kernel, ring) = Kernel::take_over(&mut self.descriptors, &kernel, plans)?;
        Ok(TakenOver {
            kernel,
            ring,
            registry,
            live,
            pipeline,
        })
    }
}

impl TakenOver {
    /// A kernel side that begins, where there is nothing to take over.
    pub(super) fn nothing(settings: &Settings, registry: Registry) -> Result<Self> {
        let plans = decode::plans(settings.decode.arch, settings.decode.limits);
        let (kernel, ring) = Kernel::load(&settings.kernel, plans)?;
        Ok(Self {
            kernel,
            ring,
            registry,
            live: Vec::new(),
            pipeline: pipeline::Left::default(),
        })
    }
}

impl Inner {
    /// Goes on with the containers of the node before: their records may be in the ring already.
    pub(super) fn resume(
        &mut self,
        live: Vec<(u32, Live)>,
        left: &mut pipeline::Left,
        births: &Births,
        marks: &Marks<Mark>,
        questions: Option<&explain::Questions>,
    ) -> Result<Vec<(Admitted, String, u32)>> {
        let mut taken_over = Vec::new();
        for (slot, mut live) in live {
            let Some(entry) = self.registry.get(slot).cloned() else {
                continue;
            };
            let init = entry.identity.init_tgid;
            let (piped, progress) = pipeline::live(entry.generation, entry.info.clone(), init);
            live.progress = progress;
            live.filter = self.wanted_of(&entry, live.at_most.as_deref());
            self.kernel.set_filter(slot, &live.filter)?;
            let (Some(before), held) = (
                left.containers.remove(&(slot as u16)),
                left.held.remove(&(slot as u16)).unwrap_or_default(),
            ) else {
                continue;
            };
            births.resume(slot as u16, piped, live.at_most.clone(), before, held);
            marks.post(Mark::Registered { slot: slot as u16 })?;
            if leaves_out(&live.filter) {
                let slot = slot as u16;
                marks.post(Mark::Narrow { slot, narrow: true })?;
            }
            if let Some(questions) = questions {
                questions.came(slot as u16, entry.info.clone(), init);
            }
            self.live.insert(slot, live);
            let admitted = Admitted {
                slot,
                generation: entry.generation,
                already: true,
            };
            taken_over.push((admitted, entry.info.id.clone(), init));
        }
        Ok(taken_over)
    }
}

impl Container {
    fn of(slot: u32, live: &Live) -> Self {
        Self {
            slot,
            runtime: live.runtime.clone(),
            armed_wall_ns: live.armed_wall_ns,
            away: live.away.clone(),
            round_trip_ns: live.round_trip_ns,
            filter: live.at_most.as_ref().map(|filter| filter.words().clone()),
            rates: live.rates.clone(),
            lossless: live.frozen.is_some(),
        }
    }

    fn resume(self, native: Arch) -> Result<Live> {
        let at_most = self.filter.map(|words| Filter::new(&words, native));
        Ok(Live {
            progress: std::sync::Arc::default(),
            runtime: self.runtime,
            armed_wall_ns: self.armed_wall_ns,
            away: self.away,
            round_trip_ns: self.round_trip_ns,
            filter: tracer_common::filter::Filter::ALL,
            at_most: at_most
                .transpose()
                .map_err(anyhow::Error::msg)
                .context("a container's own filter")?
                .map(std::sync::Arc::new),
            rates: self.rates,
            frozen: self.lossless.then(Default::default),
        })
    }
}

impl Node {
    /// Leaves everything to a node that comes after this one: all that is in the ring now has reached the sinks, which
    /// are ended; what comes later stays in the ring. This node is of no more use.
    ///
    /// # Errors
    /// When the pipeline has ended.
    pub fn leave_all(&self) -> Result<(Left, Vec<(String, OwnedFd)>)> {
        // Nobody comes, goes or changes a filter from here on.
        let inner = self.lock();
        for slot in inner.live.keys() {
            self.freezer.release(*slot as u16);
        }
        let (sender, answered) = channel();
        self.marks.post_last(Mark::Leave { answer: sender })?;
        let pipeline = answered.recv().context("the pipeline has ended")?;
        let (kernel, descriptors) = inner.kernel.leave();
        let descriptors = descriptors
            .into_iter()
            .map(|(name, fd)| Ok((name, fd.try_clone_to_owned().context("copy a descriptor")?)))
            .collect::<Result<_>>()?;
        let left = Left {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel,
            registry: inner.registry.leave(),
            containers: inner
                .live
                .iter()
                .map(|(slot, live)| Container::of(*slot, live))
                .collect(),
            pipeline,
        };
        Ok((left, descriptors))
    }

    /// The containers of the node before this one: each with its id and its init's host process id.
    pub fn taken_over(&self) -> Vec<(Admitted, String, u32)> {
        self.taken_over.clone()
    }

    /// Whether the kernel side saw that container's init end.
    ///
    /// # Errors
    /// When the kernel side refuses.
    pub fn has_ended(&self, slot: u32) -> Result<bool> {
        self.lock().kernel.has_ended(slot)
    }
}
