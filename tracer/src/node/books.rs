//! Makes what is told of a container from what the kernel side and the pipeline have counted. Pure functions.

use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use tracer_common::filter::{Aggregate, AggregateKey};

use super::Live;
use crate::{
    decode,
    enrich::Progress,
    event::{Books, Dropped},
    registry::Entry,
    report::{Line, Names, Row, SinkBooks, State, Stats, Verdict},
    sinks::Counts,
};

pub(super) fn sum(
    per_cpu: &[tracer_common::filter::Books],
    rows: &HashMap<AggregateKey, Aggregate>,
    progress: &Progress,
) -> Books {
    let total = |of: fn(&tracer_common::filter::Books) -> u64| per_cpu.iter().map(of).sum::<u64>();
    let admitted = total(|books| books.admitted);
    Books {
        admitted,
        emitted: total(|books| books.emitted),
        dropped: Dropped {
            ring_full: total(|books| books.ring_full),
            no_storage: total(|books| books.no_storage),
            unpaired: total(|books| books.unpaired),
        },
        filtered: total(|books| books.filtered),
        counted: total(|books| books.counted),
        in_flight: admitted.saturating_sub(total(|books| books.finished)),
        decoded: progress.decoded.load(Relaxed),
        undecodable: progress.undecodable.load(Relaxed),
        queue_drop: 0,
        aggregated: rows.values().map(|row| row.count).sum::<u64>() + total(|books| books.overflow),
    }
}

pub(super) fn verdict(entry: &Entry, live: &Live, state: State, books: Books) -> Verdict {
    let seen = live.progress.seen();
    let some = |value: &AtomicU64| Some(value.load(Relaxed)).filter(|value| *value != 0);
    let lost = books.lost();
    let reason = if entry.late {
        Some("it ran already when it was registered".to_owned())
    } else if lost > 0 {
        Some(format!("{lost} events were lost"))
    } else if live.round_trip_ns.is_none() {
        Some("the proof round has not come back".to_owned())
    } else if state == State::Gone && !books.balance() {
        Some("the books do not balance".to_owned())
    } else {
        None
    };
    Verdict {
        container: Names::from(&*entry.info),
        state,
        complete: reason.is_none(),
        reason,
        armed_at: Some(crate::sinks::json::rfc3339(live.armed_wall_ns)),
        round_trip_ns: live.round_trip_ns,
        first_call_ktime: some(&live.progress.first_call),
        first_exec_ktime: some(&live.progress.first_exec),
        balanced: books.balance(),
        lost,
        books,
        gaps: seen.holes.into_iter().map(Into::into).collect(),
        sinks: Vec::new(),
    }
}

pub(super) fn line(verdict: &Verdict, pid: u32, runtime: Option<String>) -> Line {
    Line {
        names: verdict.container.clone(),
        runtime,
        pid: Some(pid),
        state: verdict.state,
        events: verdict.books.decoded,
        lost: verdict.lost,
        complete: verdict.complete,
        reason: verdict.reason.clone(),
    }
}

pub(super) fn sink_books(counts: Vec<(String, Counts)>) -> Vec<SinkBooks> {
    let book = |(
        name,
        Counts {
            written,
            dropped,
            skipped,
        },
    )| SinkBooks {
        name,
        written,
        dropped,
        skipped,
    };
    counts.into_iter().map(book).collect()
}

pub(super) fn stats(entry: &Entry, rows: &HashMap<AggregateKey, Aggregate>, overflow: u64) -> Stats {
    let native = decode::Options::native().arch;
    let mut table: BTreeMap<(u16, String), Row> = BTreeMap::new();
    for (key, row) in rows {
        let (arch, name) = decode::named(native, key.nr);
        let line = table
            .entry((key.nr & AggregateKey::COMPAT, name.to_string()))
            .or_insert_with(|| Row {
                syscall: name.to_string(),
                arch: arch.name().to_owned(),
                ..Row::default()
            });
        if key.errno == AggregateKey::UNFINISHED {
            line.unfinished += row.count;
            continue;
        }
        line.calls += row.count;
        line.total_ns += row.total_ns;
        if key.errno != 0 {
            line.errors += row.count;
            *line
                .errnos
                .entry(decode::errno_name(key.errno).into_owned())
                .or_default() += row.count;
        }
    }
    let mut calls: Vec<_> = table.into_values().collect();
    calls.sort_by(|a, b| {
        b.total_ns
            .cmp(&a.total_ns)
            .then_with(|| a.syscall.cmp(&b.syscall))
    });
    Stats {
        container: Names::from(&*entry.info),
        calls,
        overflow,
    }
}
