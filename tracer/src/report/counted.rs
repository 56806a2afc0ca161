//! Counts of calls by call and outcome, and the table that is told of them (`strace -c`). It must not know who counted.

use std::collections::{BTreeMap, HashMap};

use tracer_common::filter::{Aggregate, AggregateKey, BUCKETS, Books};

use super::{
    Line, Names, Row, State, Stats,
    activity::{Activity, Calls},
};
use crate::{
    decode,
    event::{Arch, Outcome, Phase, Syscall},
    histogram::{self, Histogram},
    sinks::Phases,
};

/// What was counted of a container: by the kernel side, which loses none, or here.
#[derive(Clone, Debug)]
pub struct Counted {
    native: Arch,
    rows: HashMap<AggregateKey, Aggregate>,
    overflow: u64,
}

/// A call by name: how often it returned, failed, and how long it took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    pub count: u64,
    pub errors: BTreeMap<String, u64>,
    pub durations: Histogram,
}

impl Counted {
    /// What the kernel side counted on this machine.
    pub fn new(per_cpu: &[Books], rows: HashMap<AggregateKey, Aggregate>) -> Self {
        Self {
            native: decode::Options::native().arch,
            rows,
            overflow: per_cpu.iter().map(|books| books.overflow).sum(),
        }
    }

    /// Nothing yet, of a machine of that architecture.
    pub fn none(native: Arch) -> Self {
        Self {
            native,
            rows: HashMap::new(),
            overflow: 0,
        }
    }

    /// Counts a call.
    pub fn take(&mut self, call: &Syscall) {
        let table = match call.arch {
            Arch::I386 | Arch::Arm => AggregateKey::COMPAT,
            Arch::X32 => AggregateKey::X32,
            Arch::X86_64 | Arch::Aarch64 => 0,
        };
        let key = AggregateKey {
            slot: match call.task.phase {
                Phase::App => AggregateKey::APP,
                Phase::Runtime => 0,
            },
            // The mark of an x32 number is above these bits.
            nr: call.nr as u16 & !(AggregateKey::COMPAT | AggregateKey::X32) | table,
            errno: match call.outcome {
                Outcome::Value(_) => 0,
                Outcome::Error(errno) => errno,
                Outcome::Unfinished | Outcome::Refused => AggregateKey::UNFINISHED,
            },
            generation: 0,
        };
        let row = self.rows.entry(key).or_insert(Aggregate {
            count: 0,
            total_ns: 0,
            buckets: [0; BUCKETS],
        });
        row.count += 1;
        if let Some(ns) = call.duration_ns {
            row.total_ns = row.total_ns.saturating_add(ns);
            if let Some(bucket) = row.buckets.get_mut(histogram::bucket(ns)) {
                *bucket = bucket.saturating_add(1);
            }
        }
    }

    /// The rows of these phases.
    fn of(&self, phases: Phases) -> impl Iterator<Item = (&AggregateKey, &Aggregate)> {
        self.rows.iter().filter(move |(key, _)| is_of(**key, phases))
    }

    /// The same in short, with the container's line.
    pub fn activity(&self, line: Line, phases: Phases) -> Activity {
        activity(self.native, &self.rows, self.overflow, line, phases)
    }

    /// The calls of these phases that returned, by name.
    pub fn by_name(&self, phases: Phases) -> HashMap<String, Call> {
        let mut calls: HashMap<String, Call> = HashMap::new();
        for (&AggregateKey { nr, errno, .. }, counted) in self.of(phases) {
            if errno == AggregateKey::UNFINISHED {
                continue;
            }
            let call = calls.entry(decode::named(self.native, nr).1.into()).or_default();
            call.count += counted.count;
            call.durations.add(counted);
            if errno != 0 {
                let errno = decode::errno_name(errno).into_owned();
                *call.errors.entry(errno).or_default() += counted.count;
            }
        }
        calls
    }

    /// The table of these phases.
    pub fn stats(&self, container: Names, state: State, phases: Phases) -> Stats {
        let mut table: BTreeMap<(u16, String), (Row, Histogram)> = BTreeMap::new();
        for (&AggregateKey { nr, errno, .. }, counted) in self.of(phases) {
            let (arch, name) = decode::named(self.native, nr);
            let (row, histogram) = table
                .entry((nr & AggregateKey::COMPAT, name.to_string()))
                .or_insert_with(|| {
                    let row = Row {
                        syscall: name.to_string(),
                        arch: arch.name().to_owned(),
                        nr: u32::from(nr & !(AggregateKey::COMPAT | AggregateKey::X32)),
                        ..Row::default()
                    };
                    (row, Histogram::default())
                });
            if errno == AggregateKey::UNFINISHED {
                row.unfinished += counted.count;
                continue;
            }
            row.calls += counted.count;
            row.total_ns += counted.total_ns;
            row.timed += counted.buckets.iter().copied().map(u64::from).sum::<u64>();
            histogram.add(counted);
            if errno != 0 {
                row.errors += counted.count;
                let errno = decode::errno_name(errno).into_owned();
                *row.errnos.entry(errno).or_default() += counted.count;
            }
        }
        let bounded = |(row, histogram): (Row, Histogram)| Row {
            min_ns: histogram.at_least().unwrap_or(0),
            p50_ns: histogram.at_most(50).unwrap_or(0),
            p95_ns: histogram.at_most(95).unwrap_or(0),
            p99_ns: histogram.at_most(99).unwrap_or(0),
            max_ns: histogram.at_most(100).unwrap_or(0),
            ..row
        };
        let mut calls: Vec<_> = table.into_values().map(bounded).collect();
        calls.sort_by(|a, b| {
            b.total_ns
                .cmp(&a.total_ns)
                .then_with(|| a.syscall.cmp(&b.syscall))
        });
        Stats {
            container,
            state,
            calls,
            overflow: self.overflow,
        }
    }
}

/// Whether a row is of these phases.
const fn is_of(key: AggregateKey, phases: Phases) -> bool {
    match phases {
        Phases::All => true,
        Phases::App => key.slot & AggregateKey::APP != 0,
        Phases::Runtime => key.slot & AggregateKey::APP == 0,
    }
}

/// What a container did in these phases, by its rows, each of another key.
pub fn activity<'a>(
    native: Arch,
    rows: impl IntoIterator<Item = (&'a AggregateKey, &'a Aggregate)>,
    overflow: u64,
    line: Line,
    phases: Phases,
) -> Activity {
    let mut calls: HashMap<u16, Calls> = HashMap::new();
    let mut durations = Histogram::default();
    for (key, counted) in rows {
        let AggregateKey { nr, errno, .. } = *key;
        if errno == AggregateKey::UNFINISHED || !is_of(*key, phases) {
            continue;
        }
        let row = calls.entry(nr).or_insert_with(|| Calls {
            syscall: match decode::named(native, nr) {
                (arch, name) if arch == native => name.into_owned(),
                (arch, name) => format!("{name} ({})", arch.name()),
            },
            ..Calls::default()
        });
        row.calls += counted.count;
        row.total_ns += counted.total_ns;
        if errno != 0 {
            row.errors += counted.count;
        }
        durations.add(counted);
    }
    let mut calls: Vec<_> = calls.into_values().collect();
    calls.sort_by(|a, b| b.calls.cmp(&a.calls).then_with(|| a.syscall.cmp(&b.syscall)));
    Activity {
        line,
        calls,
        durations,
        overflow,
    }
}
