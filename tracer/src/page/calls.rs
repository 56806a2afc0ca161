//! The calls by name: counts, errors and durations, from the events.

use std::collections::BTreeMap;

use tracer_common::filter::BUCKETS;

use crate::{
    errno,
    event::{Arch, Outcome, Syscall},
    histogram::{self, Histogram},
    report::Row,
};

/// Calls that are told apart; more than there are in the tables of one machine.
const MOST: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Calls(BTreeMap<(&'static str, u32), Call>);

#[derive(Debug, Default)]
struct Call {
    name: String,
    class: usize,
    calls: u64,
    unfinished: u64,
    errnos: BTreeMap<u16, u64>,
    durations: Histogram,
}

/// A call of the table, and its durations by power of two.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) row: Row,
    pub(super) class: usize,
    pub(super) buckets: [u64; BUCKETS],
}

impl Calls {
    pub(super) fn take(&mut self, call: &Syscall) {
        let known = self.0.len() < MOST && !call.name.starts_with("syscall_0x");
        let (nr, name) = if known || self.0.contains_key(&(call.arch.name(), call.nr)) {
            (call.nr, &*call.name)
        } else {
            (u32::MAX, "(no such call)")
        };
        let row = self.0.entry((call.arch.name(), nr)).or_insert_with(|| Call {
            name: name.to_owned(),
            class: super::class::of(call),
            ..Call::default()
        });
        match call.outcome {
            Outcome::Unfinished => row.unfinished += 1,
            Outcome::Error(errno) => {
                row.calls += 1;
                *row.errnos.entry(errno).or_default() += 1;
            }
            Outcome::Value(_) | Outcome::Refused => row.calls += 1,
        }
        if let Some(ns) = call.duration_ns.filter(|_| call.outcome != Outcome::Unfinished) {
            row.durations.took(ns);
        }
    }

    /// All of them, the one that took longest first.
    pub(super) fn told(&self) -> Vec<Told> {
        let mut all: Vec<_> = self
            .0
            .iter()
            .map(|((arch, nr), call)| {
                let durations = &call.durations;
                Told {
                    row: Row {
                        syscall: call.name.clone(),
                        arch: (*arch).to_owned(),
                        nr: *nr,
                        calls: call.calls,
                        errors: call.errnos.values().sum(),
                        unfinished: call.unfinished,
                        timed: durations.calls(),
                        total_ns: durations.total_ns(),
                        min_ns: durations.at_least().unwrap_or(0),
                        p50_ns: durations.at_most(50).unwrap_or(0),
                        p95_ns: durations.at_most(95).unwrap_or(0),
                        p99_ns: durations.at_most(99).unwrap_or(0),
                        max_ns: durations.at_most(100).unwrap_or(0),
                        errnos: call
                            .errnos
                            .iter()
                            .map(|(errno, count)| (errno::name(*errno).into_owned(), *count))
                            .collect(),
                    },
                    class: call.class,
                    buckets: *durations.counts(),
                }
            })
            .collect();
        all.sort_by_key(|told| std::cmp::Reverse((told.row.total_ns, told.row.calls)));
        all
    }
}

/// Whether a name is one of the machine's own table.
pub(super) fn is_native(arch: &str) -> bool {
    [Arch::X86_64, Arch::Aarch64]
        .iter()
        .any(|native| native.name() == arch)
}

/// Where a bucket begins, in nanoseconds.
pub(super) fn begins(bucket: usize) -> u64 {
    histogram::bounds(bucket).0
}
