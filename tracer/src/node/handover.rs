//! Hands a node's containers over to the one that comes after it, with programs attached and the ring in place: what
//! they call meanwhile waits in the ring. It must not know by which way descriptors travel.
//!
//! What ends with a node: what was observed in events and explained, the counts of containers that have ended, and the
//! readers that are no configured sinks.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    sync::{OnceLock, mpsc::channel},
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{
    Admitted, Inner, Live, Node, Settings,
    rates::Rates,
    readers::leaves_out,
    recorded::{explained, explanation_of},
};
use crate::{
    decode,
    event::{self, Arch},
    explain,
    filter::{Filter, Words},
    pipeline::{self, Births, Mark},
    recording::Explained,
    registry::{self, Registry},
    source::{
        Marks, Ring,
        kernel::{self, Kernel},
    },
};

/// The form of what is left. Whoever changes what any part of [`Left`] holds, or what that means, raises it: a daemon reads no
/// other form, and the sample among the tests is written anew with it.
const FORM: u32 = 1;

/// What a node leaves, beside descriptors. Only a program that has the same form and the same eBPF object reads it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Left {
    form: u32,
    /// Of the program that left it.
    version: String,
    kernel: kernel::Left,
    registry: registry::Left,
    containers: Vec<Container>,
    pipeline: pipeline::Left,
}

/// The part of it that is read first.
#[derive(Debug, Deserialize)]
struct Head {
    #[serde(default)]
    form: u32,
    version: String,
}

impl Left {
    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// When it is of another form.
    pub fn read(text: &[u8]) -> Result<Self> {
        let head: Head =
            serde_json::from_slice(text).context("what the daemon before left is not understood")?;
        ensure!(
            head.form == FORM,
            "the daemon before, of version {}, left what it knew in another form ({}, and this one reads {FORM})",
            head.version,
            head.form
        );
        serde_json::from_slice(text).context("what the daemon before left is not understood")
    }

    /// All but the bulk.
    ///
    /// # Errors
    /// Never, as far as is known: all of it can be written.
    pub fn write(&self) -> Result<Vec<u8>> {
        Ok(serde_json::to_vec(self)?)
    }

    /// What is too large for text, in the order in which [`Self::attach`] takes it back.
    pub fn bulk(&self) -> impl Iterator<Item = &[u8]> {
        let containers = self.pipeline.containers.values();
        containers.flat_map(|left| left.held.blocks.iter().map(AsRef::as_ref))
    }

    /// Takes the bulk back.
    pub fn attach(&mut self, mut bulk: impl Iterator<Item = Vec<u8>>) {
        for left in self.pipeline.containers.values_mut() {
            let held = &mut left.held;
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
    missed_runs_before: u64,
    away: Vec<event::Away>,
    round_trip_ns: Option<u64>,
    /// What it asked for, at most.
    filter: Option<Words>,
    rates: Rates,
    /// It is held back.
    lossless: bool,
    /// Why its calls failed.
    explained: Explained,
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
    pub(super) live: Vec<(u32, Live, Explained)>,
    pub(super) pipeline: pipeline::Left,
}

impl Predecessor {
    /// Takes all of it over, or nothing.
    ///
    /// # Errors
    /// When its programs are others, or it does not fit this node's settings; they are detached then.
    pub(super) fn take_over(mut self, mut registry: Registry, decode: &decode::Options) -> Result<TakenOver> {
        let Left {
            kernel,
            registry: entries,
            containers,
            pipeline,
            ..
        } = self.left;
        ensure!(
            registry.resume(entries),
            "the daemon before had another number of slots"
        );
        let live = containers
            .into_iter()
            .map(|container| container.resume(decode.arch))
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
        live: Vec<(u32, Live, Explained)>,
        left: &mut pipeline::Left,
        births: &Births,
        marks: &Marks<Mark>,
        questions: Option<&explain::Questions>,
    ) -> Result<Vec<(Admitted, String, u32)>> {
        let mut taken_over = Vec::new();
        for (slot, mut live, explained) in live {
            let Some(entry) = self.registry.get(slot).cloned() else {
                continue;
            };
            let init = entry.identity.init_tgid;
            let (piped, progress) = pipeline::live(entry.generation, entry.info.clone(), init);
            live.progress = progress;
            live.filter = self.wanted_of(&entry, live.at_most.as_deref());
            self.kernel.set_filter(slot, &live.filter)?;
            let Some(before) = left.containers.remove(&(slot as u16)) else {
                continue;
            };
            births.resume(slot as u16, piped, live.at_most.clone(), before);
            marks.post(Mark::Registered { slot: slot as u16 })?;
            if leaves_out(&live.filter) {
                let slot = slot as u16;
                marks.post(Mark::Narrow { slot, narrow: true })?;
            }
            if let Some(questions) = questions {
                let slot = slot as u16;
                questions.came(slot, entry.info.clone(), init);
                questions.resumed(slot, entry.info.clone(), explanation_of(explained, &entry.info));
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
    fn of(slot: u32, live: &Live, explained: Explained) -> Self {
        Self {
            slot,
            runtime: live.runtime.clone(),
            armed_wall_ns: live.armed_wall_ns,
            missed_runs_before: live.missed_runs_before,
            away: live.away.clone(),
            round_trip_ns: live.proved.get().copied(),
            filter: live.at_most.as_ref().map(|filter| filter.words().clone()),
            rates: live.rates.clone(),
            lossless: live.frozen.is_some(),
            explained,
        }
    }

    fn resume(self, native: Arch) -> Result<(u32, Live, Explained)> {
        let at_most = self.filter.map(|words| Filter::new(&words, native));
        let live = Live {
            progress: std::sync::Arc::default(),
            runtime: self.runtime,
            armed_wall_ns: self.armed_wall_ns,
            missed_runs_before: self.missed_runs_before,
            away: self.away,
            proved: std::sync::Arc::new(self.round_trip_ns.map_or_else(OnceLock::new, OnceLock::from)),
            filter: tracer_common::filter::Filter::ALL,
            at_most: at_most
                .transpose()
                .map_err(anyhow::Error::msg)
                .context("a container's own filter")?
                .map(std::sync::Arc::new),
            rates: self.rates,
            frozen: self.lossless.then(Default::default),
        };
        Ok((self.slot, live, self.explained))
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
        let mut inner = self.lock();
        // Who asked for look-ups asks the next node again.
        inner.kernel.unwatch_dentries();
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
        // All that was told before the last mark is judged.
        let mut known = self
            .questions
            .as_ref()
            .map(explain::Questions::leave)
            .unwrap_or_default();
        let mut explanation = |slot| known.remove(&slot).map(explained).unwrap_or_default();
        let left = Left {
            form: FORM,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel,
            registry: inner.registry.leave(),
            containers: inner
                .live
                .iter()
                .map(|(slot, live)| Container::of(*slot, live, explanation(*slot as u16)))
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// As a daemon of this form left it, of a real container, with some of everything.
    const SAMPLE: &str = include_str!("handover/sample.json");

    #[test]
    fn what_is_left_has_the_form_that_its_number_says() {
        let sample: Value = serde_json::from_str(SAMPLE).unwrap();
        let left = Left::read(SAMPLE.as_bytes()).unwrap();
        let written: Value = serde_json::from_slice(&left.write().unwrap()).unwrap();
        assert_eq!(
            written, sample,
            "the form of what is left has changed: raise FORM, write the sample anew, and name it in CHANGELOG.md"
        );
    }

    #[test]
    fn another_form_is_not_read() {
        let mut sample: Value = serde_json::from_str(SAMPLE).unwrap();
        sample["version"] = "9.9.9".into();
        Left::read(sample.to_string().as_bytes()).unwrap();
        sample["form"] = (FORM + 1).into();
        let error = Left::read(sample.to_string().as_bytes()).unwrap_err().to_string();
        assert!(
            error.contains("9.9.9") && error.contains("another form"),
            "{error}"
        );
        Left::read(b"{}").unwrap_err();
    }
}
