//! `tracer report`'s page: one file of HTML that holds what is to be known of a container's calls, for whoever has a
//! browser and nothing else.
//!
//! It takes events one at a time and what the daemon or a recording told beside them ([`Known`]); it must not know where
//! either comes from. All its tables are bounded, and what found no room is counted and said on the page. Without
//! scripts the page has all but the timeline's picture; with them, nothing is loaded from anywhere.

mod calls;
mod class;
mod failures;
mod html;
mod privileges;
mod tasks;
mod timeline;
mod traffic;
mod write;

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    event::{
        Body, Books, Container, Event, Exit, Hole, Lifecycle, Loss, LossReason, Outcome, Phase, Syscall,
    },
    follow::Followed,
    observe::Observed,
    report::{self, Stats, capabilities::Capabilities, observed::Arguments},
    sinks::{
        Phases,
        text::{self, TextOptions},
    },
};

/// Losses with a place that are kept, warnings, and holes.
const LOSSES: usize = 4_096;
const WARNINGS: usize = 64;

/// What is known of the container beside its events. What is not known is made from the events, and the page says so.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// What the page was made from: a file's name, or the daemon.
    pub source: String,
    pub runtime: Option<String>,
    pub verdict: Option<report::Verdict>,
    /// The kernel side's counts of the calls that the page is about.
    pub stats: Option<Stats>,
    pub capabilities: Option<Capabilities>,
    pub arguments: Option<Arguments>,
    /// What the reader of the events has to say of them.
    pub notes: Vec<String>,
}

/// The page in the making.
#[derive(Debug)]
pub struct Page {
    phases: Phases,
    container: Option<Arc<Container>>,
    /// The first and the last event.
    span: Option<(u64, u64)>,
    moments: Vec<(u64, &'static str)>,
    /// Whether it was registered when it ran already.
    late: Option<bool>,
    ended: Option<Ended>,
    warnings: Vec<(u64, String)>,
    calls: u64,
    /// Calls of the phases that the page is not about.
    other_phase: u64,
    tasks: tasks::Tasks,
    timeline: timeline::Timeline,
    /// Calls of tasks that have no row.
    without_row: u64,
    table: calls::Calls,
    failures: failures::Failures,
    traffic: traffic::Traffic,
    asked: privileges::Asked,
    observed: Observed,
    followed: Followed,
    losses: Vec<Lost>,
    lost: BTreeMap<&'static str, u64>,
    line: Vec<u8>,
}

/// How the container ended, by its own event.
#[derive(Clone, Debug)]
struct Ended {
    books: Books,
    complete: Option<bool>,
    exit: Option<Exit>,
}

/// A loss and its place.
#[derive(Clone, Debug)]
struct Lost {
    time_ns: u64,
    reason: LossReason,
    count: u64,
    hole: Option<Hole>,
}

impl Page {
    /// A page of the calls of those phases.
    pub fn new(phases: Phases) -> Self {
        Self {
            phases,
            container: None,
            span: None,
            moments: Vec::new(),
            late: None,
            ended: None,
            warnings: Vec::new(),
            calls: 0,
            other_phase: 0,
            tasks: tasks::Tasks::default(),
            timeline: timeline::Timeline::default(),
            without_row: 0,
            table: calls::Calls::default(),
            failures: failures::Failures::default(),
            traffic: traffic::Traffic::default(),
            asked: privileges::Asked::default(),
            observed: Observed::default(),
            followed: Followed::default(),
            losses: Vec::new(),
            lost: BTreeMap::new(),
            line: Vec::new(),
        }
    }

    /// Whether the page is of that container: it is of the first that is asked for.
    pub fn is_of(&mut self, container: &Arc<Container>) -> bool {
        self.container.get_or_insert_with(|| container.clone()).id == container.id
    }

    /// Whether it is of no container yet.
    pub const fn is_empty(&self) -> bool {
        self.container.is_none()
    }

    /// Takes the next event of its container; those of others are none of its business.
    pub fn take(&mut self, event: &Event) {
        if !self.is_of(&event.container) {
            return;
        }
        match &event.body {
            Body::Syscall(call) => {
                self.observed.take(event, Some(&self.followed));
                self.call(event.time_ns, call);
            }
            Body::Process(process) => {
                // What the runtime opened, the application inherits.
                self.traffic.process(process);
                if self.shows(process.task.phase) {
                    self.seen(event.time_ns);
                    self.tasks.take(process, event.time_ns);
                }
            }
            Body::Container(life) => {
                self.observed.take(event, Some(&self.followed));
                self.life(event.time_ns, life);
            }
            Body::Loss(loss) => self.loss(event.time_ns, loss),
            Body::Diagnosis(found) => self.failures.explained(event.time_ns, found),
        }
        self.followed.see(event);
    }

    fn shows(&self, phase: Phase) -> bool {
        match self.phases {
            Phases::All => true,
            Phases::App => phase == Phase::App,
            Phases::Runtime => phase == Phase::Runtime,
        }
    }

    fn seen(&mut self, at: u64) {
        let (from, to) = self.span.get_or_insert((at, at));
        *from = at.min(*from);
        *to = at.max(*to);
    }

    fn call(&mut self, time_ns: u64, call: &Syscall) {
        if !self.shows(call.task.phase) {
            self.other_phase += 1;
            return;
        }
        self.calls += 1;
        let start = time_ns.saturating_sub(call.duration_ns.unwrap_or(0));
        self.seen(start);
        self.seen(time_ns);
        self.line.clear();
        text::syscall(&mut self.line, call, &LINE, false);
        while self.line.last() == Some(&b'\n') {
            self.line.pop();
        }
        self.table.take(call);
        self.traffic.take(call);
        self.asked.take(call);
        let failed = self.failures.take(time_ns, call, &self.line);
        match self.tasks.row(&call.task, start) {
            Some(row) => {
                self.tasks.call(row, failed);
                if call.outcome != Outcome::Unfinished {
                    // Its end, too, is a sign of life.
                    let _same = self.tasks.row(&call.task, time_ns);
                }
                self.timeline.take(row, start, call, &self.line);
            }
            None => self.without_row += 1,
        }
    }

    fn life(&mut self, at: u64, life: &Lifecycle) {
        match life {
            Lifecycle::Registered { late, away } => {
                self.late = Some(*late);
                for away in away {
                    self.warn(
                        at,
                        format!(
                            "the daemon was away from {} to {}: nobody traced it then",
                            away.from, away.to
                        ),
                    );
                }
            }
            Lifecycle::Armed { .. } => self.moments.push((at, "armed")),
            Lifecycle::Resumed => self.moments.push((at, "handed over to another daemon")),
            Lifecycle::Exec => self.moments.push((at, "application begins")),
            Lifecycle::Warning { text } => self.warn(at, text.clone()),
            Lifecycle::Gone {
                books,
                complete,
                exit,
            } => {
                self.moments.push((at, "gone"));
                self.ended = Some(Ended {
                    books: books.clone(),
                    complete: Some(*complete),
                    exit: *exit,
                });
            }
            Lifecycle::Detached { books } => {
                self.moments.push((at, "detached"));
                self.ended = Some(Ended {
                    books: books.clone(),
                    complete: None,
                    exit: None,
                });
            }
            Lifecycle::Unregistered { reason } => self.warn(at, format!("it was not traced: {reason}")),
            Lifecycle::Frozen { times, ns } => {
                let ms = *ns as f64 / 1e6;
                self.warn(
                    at,
                    format!("it was frozen for {ms:.3} ms until its events were taken ({times} times)"),
                );
            }
        }
        // A container may be registered again and again.
        self.moments.truncate(WARNINGS);
    }

    fn warn(&mut self, at: u64, text: String) {
        if self.warnings.len() < WARNINGS {
            self.warnings.push((at, text));
        }
    }

    fn loss(&mut self, time_ns: u64, loss: &Loss) {
        *self.lost.entry(loss.reason.name()).or_default() += loss.count;
        if self.losses.len() < LOSSES {
            self.losses.push(Lost {
                time_ns,
                reason: loss.reason,
                count: loss.count,
                hole: loss.hole,
            });
        }
    }

    /// The page, as a whole file.
    pub fn finish(self, known: &Known) -> String {
        write::page(self, known)
    }
}

/// How a line of the page looks: who and how long stand beside it.
const LINE: TextOptions = TextOptions {
    timestamps: text::Timestamps::None,
    show_duration: false,
    show_pid: false,
    show_comm: false,
    show_container: false,
    show_processes: false,
    show_containers: false,
    color: false,
    columns: None,
    descriptors: crate::event::Descriptors::All,
};

#[cfg(test)]
mod tests;
