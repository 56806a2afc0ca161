//! What of a container goes into a recording beside its events, and what is held of it as a recording.

use std::sync::{Arc, mpsc::channel};

use anyhow::{Context, Result};

use super::{Inner, Node, Past, books};
use crate::{
    event::{self, Event},
    explain::Explanation,
    pipeline::{Dump, Mark},
    recording::{self, Explained, Origin, Summary, Told},
    registry::Entry,
    report::{Names, counted::Counted},
    sinks::Phases,
};

/// What a summary is made from.
struct Known<'a> {
    names: Names,
    verdict: &'a super::Verdict,
    counted: &'a Counted,
    checked: &'a books::Checked,
    progress: &'a super::Progress,
}

impl Known<'_> {
    fn summary(&self, observes: bool, explanation: Option<Explanation>) -> Summary {
        let state = self.verdict.state;
        let stats = |phases| self.counted.stats(self.names.clone(), state, phases);
        let observed = observes.then_some(&self.progress.observed);
        Summary {
            verdict: self.verdict.clone(),
            stats: recording::Counts {
                app: stats(Phases::App),
                runtime: stats(Phases::Runtime),
                all: stats(Phases::All),
            },
            capabilities: self.checked.report(self.names.clone(), state),
            arguments: observed.map(|seen| seen.arguments()),
            lookups: observed.map(|seen| seen.lookups()),
            explanation: explanation.map(explained),
        }
    }
}

/// What is known of failures, without the container that it is of.
pub(super) fn explained(explanation: Explanation) -> Explained {
    let told = |events: &[Event]| events.iter().filter_map(Told::new).collect();
    Explained {
        diagnoses: told(&explanation.diagnoses),
        expected: told(&explanation.expected),
        left_out: explanation.left_out,
    }
}

/// The same again, of that container.
pub(super) fn explanation_of(explained: Explained, info: &Arc<event::Container>) -> Explanation {
    let events = |told: Vec<Told>| told.into_iter().map(|told| told.event(info.clone())).collect();
    Explanation {
        diagnoses: events(explained.diagnoses),
        expected: events(explained.expected),
        left_out: explained.left_out,
    }
}

impl Inner {
    /// Whether a recording of that container is being made.
    fn is_recorded(&self, info: &event::Container) -> bool {
        self.readers
            .iter()
            .any(|reader| reader.records && reader.selection.takes_container(info))
    }

    fn summary_of(
        &self,
        entry: &Entry,
        observes: bool,
        explanation: Option<Explanation>,
    ) -> Result<Option<Summary>> {
        let Some(live) = self.live.get(&entry.slot) else {
            return Ok(None);
        };
        let rows = self.kernel.aggregates(entry.slot, entry.generation)?;
        let per_cpu = self.kernel.books(entry.slot)?;
        let known = Known {
            names: Names::from(&*entry.info),
            verdict: &self.verdict(entry, live, &rows, self.missed_runs()?)?,
            checked: &self.checked(entry, &per_cpu)?,
            counted: &Counted::new(&per_cpu, rows),
            progress: &live.progress,
        };
        Ok(Some(known.summary(observes, explanation)))
    }
}

impl Node {
    /// How this node's records are read elsewhere.
    pub fn origin(&self) -> Arc<Origin> {
        self.origin.clone()
    }

    fn explanation(&self, id: &str) -> Option<Explanation> {
        self.questions.as_ref()?.explain(id)
    }

    fn past_summary(&self, past: &Past) -> Summary {
        let known = Known {
            names: past.verdict.container.clone(),
            verdict: &past.verdict,
            counted: &past.counted,
            checked: &past.checked,
            progress: &past.progress,
        };
        known.summary(self.observes, self.explanation(&past.info.id))
    }

    /// Gives the recordings of a container that has ended its books and counts. In the order of ends: `inner` is locked.
    pub(super) fn summarize(&self, inner: &Inner, past: &Past) -> Result<()> {
        if !inner.is_recorded(&past.info) {
            return Ok(());
        }
        self.marks.post(Mark::Summary {
            info: past.info.clone(),
            summary: Box::new(self.past_summary(past)),
            only: None,
        })
    }

    /// Gives a recording that ends the books and counts of its containers that go on.
    pub(super) fn summarize_for(&self, reader: u64) -> Result<()> {
        let live: Vec<_> = {
            let inner = self.lock();
            let recording = inner
                .readers
                .iter()
                .find(|open| open.id == reader && open.records);
            let Some(recording) = recording else {
                return Ok(());
            };
            let entries = inner.registry.iter();
            entries
                .filter(|entry| recording.selection.takes_container(&entry.info))
                .map(|entry| (entry.slot, entry.info.id.clone()))
                .collect()
        };
        for (slot, id) in live {
            self.reached(Some(slot))?;
            let explanation = self.explanation(&id);
            let inner = self.lock();
            // It may have ended meanwhile, and then its summary is on its way.
            let Some(entry) = inner.registry.get(slot).filter(|entry| entry.info.id == id) else {
                continue;
            };
            if let Some(summary) = inner.summary_of(entry, self.observes, explanation)? {
                self.marks.post(Mark::Summary {
                    info: entry.info.clone(),
                    summary: Box::new(summary),
                    only: Some(reader),
                })?;
            }
        }
        Ok(())
    }

    /// What is held of a container, with its books and counts; the newest of that id.
    ///
    /// # Errors
    /// When the kernel side refuses or the pipeline has ended.
    pub fn dump(&self, id: &str) -> Result<Option<(Dump, Summary)>> {
        let slot = self.slot(id);
        self.reached(slot)?;
        let explanation = self.explanation(id);
        let (sender, held) = channel();
        self.marks.post(Mark::Dump {
            id: id.to_owned(),
            held: sender,
        })?;
        let Some(dump) = held.recv().context("the pipeline has ended")? else {
            return Ok(None);
        };
        let inner = self.lock();
        let summary = match slot.and_then(|slot| inner.registry.get(slot)) {
            Some(entry) => inner.summary_of(entry, self.observes, explanation)?,
            None => {
                let mut past = inner.past.iter().rev();
                past.find(|past| past.info.id == id)
                    .map(|past| self.past_summary(past))
            }
        };
        Ok(summary.map(|summary| (dump, summary)))
    }
}
