//! What the daemon tells of a container: its books (`verify`), its counts (`stats`), its line in `ps`. Plain data, the
//! same in the daemon, on the control socket and in the client that prints it.

pub mod activity;
pub mod capabilities;
pub mod counted;
pub mod explained;
pub mod observed;
pub mod summary;
pub mod table;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    event::{self, Away, Books, Hole},
    sinks::Counts,
};

/// A container's names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    pub id: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pod: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub image: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub labels: BTreeMap<String, String>,
}

impl From<Names> for event::Container {
    /// Nobody's but root's.
    fn from(names: Names) -> Self {
        let Names {
            id,
            name,
            pod,
            namespace,
            image,
            labels,
        } = names;
        Self {
            id,
            name,
            pod,
            namespace,
            image,
            owner: 0,
            labels,
        }
    }
}

impl From<&event::Container> for Names {
    fn from(container: &event::Container) -> Self {
        let event::Container {
            id,
            name,
            pod,
            namespace,
            image,
            owner: _,
            labels,
        } = container.clone();
        Self {
            id,
            name,
            pod,
            namespace,
            image,
            labels,
        }
    }
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Live,
    Gone,
    /// It goes on, but is traced no longer.
    Detached,
    /// It started while the daemon was away.
    Missed,
}

impl State {
    /// The word in JSON and text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Gone => "gone",
            Self::Detached => "detached",
            Self::Missed => "missed",
        }
    }
}

/// A hole in a CPU's sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub cpu: u16,
    pub after: u64,
    pub before: u64,
}

impl From<Hole> for Gap {
    fn from(Hole { cpu, after, before }: Hole) -> Self {
        Self { cpu, after, before }
    }
}

/// What a sink did with the container's events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkBooks {
    pub name: String,
    pub written: u64,
    pub dropped: u64,
    pub skipped: u64,
    /// Taken, and not delivered yet.
    #[serde(default)]
    pub queued: u64,
}

impl SinkBooks {
    pub fn new(name: &str, counts: Counts) -> Self {
        let Counts {
            written,
            dropped,
            skipped,
            queued,
        } = counts;
        Self {
            name: name.to_owned(),
            written,
            dropped,
            skipped,
            queued,
        }
    }
}

/// `tracer verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub container: Names,
    pub state: State,
    /// Nothing is missing since before the application's execve.
    pub complete: bool,
    /// Why it is not.
    pub reason: Option<String>,
    /// When the filter entry was written and read back.
    pub armed_at: Option<String>,
    /// From the challenge to the proof's record coming out of the ring.
    pub round_trip_ns: Option<u64>,
    /// CLOCK_MONOTONIC nanoseconds of the first call recorded.
    pub first_call_ktime: Option<u64>,
    /// CLOCK_MONOTONIC nanoseconds of init's first successful execve.
    pub first_exec_ktime: Option<u64>,
    pub books: Books,
    /// Whether the equations hold.
    pub balanced: bool,
    /// Events that existed and reached no sink's door.
    pub lost: u64,
    pub gaps: Vec<Gap>,
    /// When the daemon was away: the container ran, and nobody traced it.
    #[serde(default)]
    pub away: Vec<Away>,
    /// Process events (fork, exec, exit, join) for which the ring had no room.
    #[serde(default)]
    pub process_lost: u64,
    /// How often the kernel skipped a tracing program on the node meanwhile: each may have been a call, or a task, of this
    /// container.
    #[serde(default)]
    pub missed_runs: u64,
    /// How it was held back, where it asked for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Frozen>,
    pub sinks: Vec<SinkBooks>,
}

/// How a container was held back, so that none of its events was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    pub times: u64,
    /// In all.
    pub ns: u64,
    /// Of these, how often it was let go although the daemon had not caught up.
    pub given_up: u64,
}

impl Verdict {
    /// Whether the counts have every call, whatever the ring lost.
    pub fn counts_are_whole(&self) -> bool {
        let lost = &self.books.dropped;
        self.balanced
            && self.round_trip_ns.is_some()
            && lost.no_storage == 0
            && lost.unpaired == 0
            && self.missed_runs == 0
    }

    /// Whether it ended before its application's execve: the program was not there, or the runtime failed.
    pub fn never_began(&self) -> bool {
        self.complete && self.state == State::Gone && self.first_exec_ktime.is_none()
    }
}

/// A row of `tracer stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub syscall: String,
    pub arch: String,
    /// Its number in that table.
    pub nr: u32,
    /// Calls that returned, as `strace -c` counts them.
    pub calls: u64,
    /// Of these, those that failed.
    pub errors: u64,
    /// Calls that did not return.
    pub unfinished: u64,
    /// Of those that returned, how many were timed: not those that a reader's filter let the kernel side drop by their
    /// name, nor any in a mode without durations, nor those that seccomp refused.
    #[serde(default)]
    pub timed: u64,
    /// Time spent in the calls that were timed.
    pub total_ns: u64,
    /// What each of these took at least, from the log2 histogram as the following; 0 where nothing returned.
    pub min_ns: u64,
    /// What half of them took at most.
    pub p50_ns: u64,
    pub p95_ns: u64,
    pub p99_ns: u64,
    /// What each of them took at most.
    pub max_ns: u64,
    pub errnos: BTreeMap<String, u64>,
}

/// `tracer stats`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    pub container: Names,
    pub state: State,
    pub calls: Vec<Row>,
    /// Calls that found no row of their own.
    pub overflow: u64,
}

/// A line of `tracer ps`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    #[serde(flatten)]
    pub names: Names,
    pub runtime: Option<String>,
    pub pid: Option<u32>,
    pub state: State,
    pub events: u64,
    pub lost: u64,
    pub complete: bool,
    pub reason: Option<String>,
}

/// `tracer status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub ready: bool,
    pub version: String,
    pub abi_version: u32,
    /// Whether the programs are attached: only while a container is registered, and a while after.
    pub attached: bool,
    pub containers: usize,
    pub missed: usize,
    /// Containers that ask to be traced, run, and are not, as the last audit found.
    #[serde(default)]
    pub unregistered: Vec<Unregistered>,
    /// How many: a Prometheus name, so that it is the same everywhere.
    #[serde(default)]
    pub tracer_unregistered_containers: usize,
    /// Sums over the containers that are known.
    pub admitted: u64,
    pub lost: u64,
    /// How long containers were held back, in nanoseconds.
    #[serde(default)]
    pub frozen_ns: u64,
    pub balanced: bool,
    /// The kernel side's counters that belong to no container.
    pub counters: BTreeMap<String, u64>,
    /// How often the kernel skipped each tracing program, since it was in progress on that CPU (`recursion_misses`).
    #[serde(default)]
    pub missed_runs: BTreeMap<String, u64>,
    /// Registrations and connections that were refused, by reason.
    #[serde(default)]
    pub refused: BTreeMap<String, u64>,
    /// The configured sinks.
    #[serde(default)]
    pub sinks: Vec<SinkStatus>,
}

/// A configured sink, with all its events, calls or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkStatus {
    pub kind: String,
    #[serde(flatten)]
    pub books: SinkBooks,
    /// Bytes that wait for it, and how many may.
    pub queue_bytes: usize,
    pub queue_size: usize,
    /// Bytes that wait for it on disk.
    #[serde(default)]
    pub spooled_bytes: u64,
    /// Why its receiver took nothing when it was last tried.
    #[serde(default)]
    pub down: Option<String>,
}

/// A container that asks to be traced, runs, and is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unregistered {
    #[serde(flatten)]
    pub names: Names,
    pub runtime: Option<String>,
    pub pid: u32,
    /// What became of it.
    pub reason: String,
}

/// `tracer audit`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audited {
    /// Whether the daemon looks at all.
    pub looks: bool,
    /// Containers that run, by the runtimes' states, and how many of them ask to be traced.
    pub running: usize,
    pub asking: usize,
    /// What asks to be traced and is not.
    pub unregistered: Vec<Unregistered>,
}

/// `tracer attach`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    #[serde(flatten)]
    pub names: Names,
    pub runtime: Option<String>,
    pub pid: u32,
    /// It was registered before.
    pub already: bool,
}

/// `tracer explain`: why calls of a container failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    pub container: Names,
    pub state: State,
    /// The diagnoses as lines, rendered: JSON (`docs/events.md`), or text.
    pub lines: String,
    /// How many diagnoses that are.
    pub found: usize,
    /// Failures that mean nothing, by call and errno.
    pub expected: Vec<Expected>,
    /// Failed calls of which nothing is known: too many kinds, or too many at once.
    pub left_out: u64,
    /// Calls that reached no sink, or that a filter left out: some may have failed.
    pub lost: u64,
    pub filtered: u64,
    /// Calls were only counted: none can be explained.
    pub counted: u64,
    /// It ended before its application's execve: what failed is the container runtime's.
    pub never_began: bool,
}

/// Failures as programs make them all day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    pub syscall: String,
    pub errno: Option<String>,
    pub why: String,
    pub count: u64,
}
