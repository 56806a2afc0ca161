//! What a node tells of its containers: which there are, their books and counts, how it is itself.

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc::channel},
    time::Duration,
};

use anyhow::{Context, Result};
use tracer_common::{
    ABI_VERSION,
    filter::{self, Books, Counter},
};

use super::{Inner, Live, Node, Rows, books};
use crate::{
    decode,
    enrich::monotonic_ns,
    event,
    explain::Explanation,
    observe::Observed,
    pipeline::Mark,
    registry::Entry,
    report::{
        Line, Names, State, Stats, Status, Verdict,
        activity::Activities,
        capabilities::Capabilities,
        counted::{Counted, activity},
        observed,
    },
    sinks::{Phases, Selection},
};

impl Node {
    /// Whether the ring's reader and the pipeline take what comes, and answer in that time.
    ///
    /// # Errors
    /// They do not.
    pub fn answers(&self, patience: Duration) -> Result<()> {
        // Whoever holds it for ever holds every registration.
        drop(self.lock());
        let (sender, reached) = channel();
        self.marks.post(Mark::Sync {
            slot: None,
            reached: sender,
        })?;
        let answered = reached.recv_timeout(patience);
        answered
            .map(drop)
            .with_context(|| format!("ring and pipeline do not answer within {patience:?}"))
    }

    /// The containers that are known, the ended first, and whether they live.
    pub fn known(&self) -> Vec<(Arc<event::Container>, bool)> {
        let inner = self.lock();
        let past = inner.past.iter().map(|past| (past.info.clone(), false));
        let live = inner.registry.iter().map(|entry| (entry.info.clone(), true));
        past.chain(live).collect()
    }

    /// The containers whose name is, or whose id begins with, that word, for that uid (`None` sees all): (id, live). Who
    /// has it for an id goes before those that were given it for a name: a name is anybody's to give.
    pub fn find(&self, word: &str, uid: Option<u32>) -> Vec<(String, bool)> {
        let mut all = self.known();
        all.retain(|(info, _)| uid.is_none_or(|uid| uid == info.owner) && info.is_meant_by(word));
        if all.iter().any(|(info, _)| info.id == word) {
            all.retain(|(info, _)| info.id == word);
        } else if all.iter().any(|(info, _)| info.name == word) {
            all.retain(|(info, _)| info.name == word);
        }
        all.into_iter()
            .map(|(info, live)| (info.id.clone(), live))
            .collect()
    }

    /// `tracer verify`; the newest of that id.
    ///
    /// # Errors
    /// When the kernel side refuses or the pipeline has ended.
    pub fn verify(&self, id: &str) -> Result<Option<Verdict>> {
        let slot = self.slot(id);
        let sinks = self.reached(slot)?;
        let inner = self.lock();
        if let Some(entry) = slot.and_then(|slot| inner.registry.get(slot))
            && let Some(live) = inner.live.get(&entry.slot)
        {
            let rows = inner.kernel.aggregates(entry.slot, entry.generation)?;
            let mut verdict = inner.verdict(entry, live, &rows, inner.missed_runs()?)?;
            verdict.sinks = books::sink_books(&sinks);
            return Ok(Some(verdict));
        }
        Ok(inner
            .past
            .iter()
            .rev()
            .find(|past| past.verdict.container.id == id)
            .map(|past| Verdict {
                sinks: books::sink_books(&past.sinks),
                ..past.verdict.clone()
            }))
    }

    /// `tracer stats` of these phases' calls; the newest of that id.
    ///
    /// # Errors
    /// When the kernel side refuses or the pipeline has ended.
    pub fn stats(&self, id: &str, phases: Phases) -> Result<Option<Stats>> {
        let slot = self.slot(id);
        // What came before the application is counted by its events.
        self.reached(slot)?;
        let inner = self.lock();
        if let Some(entry) = slot.and_then(|slot| inner.registry.get(slot)) {
            let rows = inner.kernel.aggregates(entry.slot, entry.generation)?;
            let per_cpu = inner.kernel.books(entry.slot)?;
            let counted = Counted::new(&per_cpu, rows);
            return Ok(Some(counted.stats((&*entry.info).into(), State::Live, phases)));
        }
        Ok(inner
            .past
            .iter()
            .rev()
            .find(|past| past.verdict.container.id == id)
            .map(|past| {
                let names = past.verdict.container.clone();
                past.counted.stats(names, past.verdict.state, phases)
            }))
    }

    /// `tracer explain`: why calls of it failed, with its books; the newest of that id.
    ///
    /// # Errors
    /// When the kernel side refuses or the pipeline has ended.
    pub fn explain(&self, id: &str) -> Result<Option<(Explanation, Verdict)>> {
        // Also has all that was in the ring looked at.
        let Some(verdict) = self.verify(id)? else {
            return Ok(None);
        };
        let explanation = self
            .questions
            .as_ref()
            .and_then(|questions| questions.explain(id));
        Ok(Some((explanation.unwrap_or_default(), verdict)))
    }

    /// What was seen of a container's calls beside their counts; the newest of that id. All calls that were counted before
    /// are in it.
    ///
    /// # Errors
    /// When the pipeline has ended.
    pub fn observed<T>(
        &self,
        id: &str,
        told: impl FnOnce(&Observed) -> T,
    ) -> Result<Option<observed::Observed<T>>> {
        let slot = self.slot(id);
        self.reached(slot)?;
        let inner = self.lock();
        let live = slot.and_then(|slot| Some((inner.registry.get(slot)?, inner.live.get(&slot)?)));
        let past = || {
            inner
                .past
                .iter()
                .rev()
                .find(|past| past.verdict.container.id == id)
        };
        let (container, state, progress) = match live {
            Some((entry, live)) => (Names::from(&*entry.info), State::Live, &live.progress),
            None => match past() {
                Some(past) => (past.verdict.container.clone(), past.verdict.state, &past.progress),
                None => return Ok(None),
            },
        };
        Ok(Some(observed::Observed {
            container,
            state,
            seen: told(&progress.observed),
        }))
    }

    /// `tracer caps`; the newest of that id.
    ///
    /// # Errors
    /// When the kernel side refuses.
    pub fn capabilities(&self, id: &str) -> Result<Option<Capabilities>> {
        let slot = self.slot(id);
        let inner = self.lock();
        if let Some(entry) = slot.and_then(|slot| inner.registry.get(slot)) {
            let checked = inner.checked(entry, &inner.kernel.books(entry.slot)?)?;
            return Ok(Some(checked.report((&*entry.info).into(), State::Live)));
        }
        Ok(inner
            .past
            .iter()
            .rev()
            .find(|past| past.verdict.container.id == id)
            .map(|past| {
                let names = past.verdict.container.clone();
                past.checked.report(names, past.verdict.state)
            }))
    }

    /// `tracer ps`: the live ones, then the ended, newest last.
    ///
    /// # Errors
    /// When the kernel side refuses.
    pub fn list(&self, selection: &Selection) -> Result<Vec<Line>> {
        let inner = self.lock();
        let missed_runs = inner.missed_runs()?;
        let mut lines = Vec::new();
        for past in inner
            .past
            .iter()
            .filter(|past| selection.takes_container(&past.info))
        {
            let verdict = &past.verdict;
            lines.push(books::line(verdict, past.pid, past.runtime.clone()));
        }
        for entry in inner
            .registry
            .iter()
            .filter(|entry| selection.takes_container(&entry.info))
        {
            let Some(live) = inner.live.get(&entry.slot) else {
                continue;
            };
            lines.push(books::line(
                &inner.verdict(entry, live, &Rows::new(), missed_runs)?,
                entry.identity.init_tgid,
                live.runtime.clone(),
            ));
        }
        Ok(lines)
    }

    /// `tracer top`: what the containers did until now, in one walk through the aggregates. It does not wait for the
    /// pipeline: `events` may lag behind the calls.
    ///
    /// # Errors
    /// When the kernel side refuses.
    pub fn activities(&self, selection: &Selection) -> Result<Activities> {
        // The longest part, and no hook waits for it.
        let mut rows = self.tally.all()?;
        let inner = self.lock();
        let past = inner
            .past
            .iter()
            .filter(|past| selection.takes_container(&past.info));
        let mut containers: Vec<_> = past
            .map(|past| {
                let line = books::line(&past.verdict, past.pid, past.runtime.clone());
                past.counted.activity(line, selection.phases)
            })
            .collect();
        let missed_runs = inner.missed_runs()?;
        let native = decode::Options::native().arch;
        for entry in inner
            .registry
            .iter()
            .filter(|entry| selection.takes_container(&entry.info))
        {
            let Some(live) = inner.live.get(&entry.slot) else {
                continue;
            };
            let per_cpu = inner.kernel.books(entry.slot)?;
            let verdict = verdict(entry, live, &per_cpu, &Rows::new(), missed_runs);
            let line = books::line(&verdict, entry.identity.init_tgid, live.runtime.clone());
            let rows = rows
                .remove(&(entry.slot, entry.generation as u16))
                .unwrap_or_default();
            let rows = rows.iter().map(|(key, row)| (key, row));
            let overflow = per_cpu.iter().map(|books| books.overflow).sum();
            containers.push(activity(native, rows, overflow, line, selection.phases));
        }
        Ok(Activities {
            ktime: monotonic_ns(),
            containers,
        })
    }

    /// `tracer status`, as that uid sees it: no other's containers are in its sums.
    ///
    /// # Errors
    /// When the kernel side refuses.
    pub fn status(&self, uid: Option<u32>) -> Result<Status> {
        let inner = self.lock();
        let sees = |info: &event::Container| uid.is_none_or(|uid| uid == info.owner);
        let (mut containers, mut admitted, mut lost, mut frozen_ns) = (0, 0, 0, 0);
        let mut balanced = true;
        for entry in inner.registry.iter().filter(|entry| sees(&entry.info)) {
            containers += 1;
            let Some(live) = inner.live.get(&entry.slot) else {
                continue;
            };
            let verdict = inner.verdict(entry, live, &Rows::new(), 0)?;
            admitted += verdict.books.admitted;
            lost += verdict.books.lost();
            frozen_ns += verdict.frozen.unwrap_or_default().ns;
        }
        for past in inner.past.iter().filter(|past| sees(&past.info)) {
            admitted += past.verdict.books.admitted;
            lost += past.verdict.books.lost();
            frozen_ns += past.verdict.frozen.unwrap_or_default().ns;
            balanced &= past.verdict.balanced;
        }
        let programs = inner.kernel.missed_runs()?.into_iter();
        let programs = programs.map(|(program, times)| (program.to_owned(), times));
        let counters = inner.kernel.counters()?;
        let counters: BTreeMap<_, _> = Counter::ALL
            .iter()
            .zip(counters)
            .map(|(counter, value)| (counter.name().to_owned(), value))
            .collect();
        Ok(Status {
            ready: true,
            version: env!("CARGO_PKG_VERSION").into(),
            abi_version: ABI_VERSION,
            attached: inner.kernel.attached(),
            containers,
            missed: 0,
            unregistered: Vec::new(),
            tracer_unregistered_containers: 0,
            admitted,
            lost,
            frozen_ns,
            balanced,
            // The kernel side's are of all containers together.
            counters: if uid.is_none() { counters } else { BTreeMap::new() },
            missed_runs: programs.filter(|_| uid.is_none()).collect(),
            refused: BTreeMap::new(),
            sinks: Vec::new(),
        })
    }
}

impl Inner {
    /// The capability checks of a container that is in.
    pub(super) fn checked(&self, entry: &Entry, per_cpu: &[filter::Books]) -> Result<books::Checked> {
        Ok(books::Checked {
            rows: self.kernel.checks(entry.slot, entry.generation)?,
            held: self.kernel.held(entry.slot)?,
            unseen: self.kernel.unchecked().map(str::to_owned),
            overflow: per_cpu.iter().map(|books| books.checks_overflow).sum(),
            late: entry.late,
        })
    }

    /// How often the kernel skipped a program, of all that watch containers.
    pub(super) fn missed_runs(&self) -> Result<u64> {
        Ok(self.kernel.missed_runs()?.values().sum())
    }

    /// A live container's verdict; `rows` are its aggregates, which take a walk of the whole map: none will do where
    /// nobody looks at `balanced` and `aggregated`. `missed_runs` are those of now.
    pub(super) fn verdict(
        &self,
        entry: &Entry,
        live: &Live,
        rows: &Rows,
        missed_runs: u64,
    ) -> Result<Verdict> {
        let per_cpu = self.kernel.books(entry.slot)?;
        Ok(verdict(entry, live, &per_cpu, rows, missed_runs))
    }
}

fn verdict(entry: &Entry, live: &Live, per_cpu: &[Books], rows: &Rows, missed_runs: u64) -> Verdict {
    books::verdict(
        entry,
        live,
        State::Live,
        books::sum(per_cpu, rows, &live.progress),
        books::process_lost(per_cpu),
        missed_runs.saturating_sub(live.missed_runs_before),
    )
}
