//! Makes what is told of a container from what the kernel side and the pipeline have counted. Pure functions.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tracer_common::{
    capability::Held,
    filter::{Aggregate, AggregateKey},
};

use super::Live;
use crate::{
    capabilities, decode,
    enrich::Progress,
    event::{Books, Dropped},
    pipeline::Accounts,
    registry::Entry,
    report::{Line, Names, SinkBooks, State, Verdict, capabilities::Capabilities},
    sinks::Account,
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
            rate_limit: total(|books| books.limited),
            ring_share: total(|books| books.over_share),
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

/// Whether no call is under way, and all that was told of them has been read.
pub(super) fn is_quiet(per_cpu: &[tracer_common::filter::Books], progress: &Progress) -> bool {
    let total = |of: fn(&tracer_common::filter::Books) -> u64| per_cpu.iter().map(of).sum::<u64>();
    let read = progress.decoded.load(Relaxed) + progress.undecodable.load(Relaxed);
    total(|books| books.emitted) == read && total(|books| books.admitted) == total(|books| books.finished)
}

/// Process events for which the ring, or the container's share of it, had no room.
pub(super) fn process_lost(per_cpu: &[tracer_common::filter::Books]) -> u64 {
    per_cpu.iter().map(|books| books.process_ring_full).sum()
}

/// `missed_runs`: how often the kernel skipped a program while it was in.
pub(super) fn verdict(
    entry: &Entry,
    live: &Live,
    state: State,
    books: Books,
    process_lost: u64,
    missed_runs: u64,
) -> Verdict {
    let seen = live.progress.seen();
    let some = |value: &AtomicU64| Some(value.load(Relaxed)).filter(|value| *value != 0);
    let lost = books.lost();
    let reason = if let [first, rest @ ..] = live.away.as_slice() {
        let more = match rest.len() {
            0 => String::new(),
            1 => ", and once more".to_owned(),
            times => format!(", and {times} times more"),
        };
        Some(format!(
            "the daemon was away from {} to {}{more}",
            first.from, first.to
        ))
    } else if entry.late {
        Some("it ran already when it was registered".to_owned())
    } else if lost > 0 {
        Some(format!("{lost} events were lost"))
    } else if missed_runs > 0 {
        Some(format!(
            "the kernel skipped tracing programs {missed_runs} times on this node meanwhile: calls may be missing"
        ))
    } else if state == State::Detached {
        Some("it was detached and goes on untraced".to_owned())
    } else if live.proved.get().is_none() {
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
        round_trip_ns: live.proved.get().copied(),
        first_call_ktime: some(&live.progress.first_call),
        first_exec_ktime: some(&live.progress.first_exec),
        balanced: books.balance(),
        lost,
        books,
        gaps: seen.holes.into_iter().map(Into::into).collect(),
        away: live.away.clone(),
        process_lost,
        missed_runs,
        frozen: live.frozen.as_ref().map(|frozen| frozen.counts.now()),
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

pub(super) fn sink_books(sinks: &Accounts) -> Vec<SinkBooks> {
    let book = |(name, account): &(String, Arc<Account>)| SinkBooks::new(name, account.counts());
    sinks.iter().map(book).collect()
}

/// What the kernel asked a container for: its capability checks, which are never lost.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub(super) rows: capabilities::Rows,
    pub(super) held: Option<Held>,
    /// Why there are none.
    pub(super) unseen: Option<String>,
    pub(super) overflow: u64,
    /// It ran already when it was registered.
    pub(super) late: bool,
}

impl Checked {
    pub(super) fn report(&self, container: Names, state: State) -> Capabilities {
        Capabilities {
            container,
            state,
            unseen: self.unseen.clone(),
            late: self.late,
            held: self.held.as_ref().map(capabilities::held),
            capabilities: capabilities::judge(decode::Options::native().arch, &self.rows, self.held.as_ref()),
            overflow: self.overflow,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event,
        registry::{Identity, Mode},
    };

    #[test]
    fn what_the_kernel_did_not_run_leaves_nothing_complete() {
        let entry = Entry {
            slot: 1,
            generation: 1,
            identity: Identity {
                mnt_ns: 1,
                pid_ns: 1,
                owns_pid_ns: true,
                init_tgid: 1,
            },
            info: Arc::new(event::Container::default()),
            armed_at: 0,
            late: false,
            mode: Mode::Full,
        };
        let live = Live {
            progress: Arc::default(),
            runtime: None,
            armed_wall_ns: 0,
            missed_runs_before: 0,
            away: Vec::new(),
            proved: Arc::new(std::sync::OnceLock::from(1)),
            filter: tracer_common::filter::Filter::ALL,
            at_most: None,
            rates: Default::default(),
            frozen: None,
        };
        let of = |missed_runs| verdict(&entry, &live, State::Gone, Books::default(), 0, missed_runs);
        let whole = of(0);
        assert!(whole.complete && whole.balanced && whole.counts_are_whole());
        let missed = of(3);
        let reason = missed.reason.as_deref().unwrap_or_default();
        assert!(!missed.complete && missed.balanced && !missed.counts_are_whole());
        assert!(reason.contains("skipped tracing programs 3 times"), "{reason}");
        assert_eq!((missed.missed_runs, missed.lost), (3, 0));
    }
}
