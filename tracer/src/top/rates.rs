//! What containers and their calls do in a second, from two looks at sums that only grow. Pure; it must not know what a
//! terminal is.

use std::{cmp::Ordering, collections::HashMap, str::FromStr};

use serde::Serialize;

use crate::report::{
    self, Line, State, Stats,
    activity::{Activities, Activity, Calls},
};

/// A container between two looks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    pub(super) line: Line,
    /// Since it was registered, calls that returned.
    pub(super) calls: u64,
    pub(super) errors: u64,
    pub(super) total_ns: u64,
    /// In a second; `None` before the second look.
    pub(super) calls_per_s: Option<f64>,
    pub(super) errors_per_s: Option<f64>,
    /// Seconds that its tasks were in calls, a second.
    pub(super) busy: Option<f64>,
    /// What 99 of 100 calls between the looks took at most; `None` where none was timed.
    pub(super) p99_ns: Option<u64>,
    /// Its calls, most frequent between the looks first.
    pub(super) syscalls: Vec<Syscall>,
}

/// A system call of a container between two looks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Syscall {
    pub(super) syscall: String,
    pub(super) calls: u64,
    pub(super) errors: u64,
    pub(super) total_ns: u64,
    pub(super) calls_per_s: Option<f64>,
    pub(super) errors_per_s: Option<f64>,
}

/// A row of `tracer stats` between two looks; the percentiles are of all calls until now.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Detail {
    pub(super) row: report::Row,
    pub(super) calls_per_s: Option<f64>,
    pub(super) errors_per_s: Option<f64>,
}

/// The order of the rows: numbers from the greatest down, names from the first on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Calls a second.
    #[default]
    Calls,
    /// Errors a second.
    Errors,
    P99,
    /// Time in calls: between the looks, of one system call until now.
    Time,
    /// Calls until now.
    Total,
    Lost,
    Name,
}

impl Sort {
    pub const ALL: [Self; 7] = [
        Self::Calls,
        Self::Errors,
        Self::P99,
        Self::Time,
        Self::Total,
        Self::Lost,
        Self::Name,
    ];

    /// As the command line and the screen have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Errors => "errors",
            Self::P99 => "p99",
            Self::Time => "time",
            Self::Total => "total",
            Self::Lost => "lost",
            Self::Name => "name",
        }
    }

    /// The one after it, or before it.
    pub fn next(self, forward: bool) -> Self {
        let at = Self::ALL.iter().position(|sort| *sort == self).unwrap_or(0);
        let step = if forward { 1 } else { Self::ALL.len() - 1 };
        Self::ALL[(at + step) % Self::ALL.len()]
    }
}

impl FromStr for Sort {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|sort| sort.name() == word);
        found.ok_or_else(|| format!("no order {word:?}: calls, errors, p99, time, total, lost or name"))
    }
}

/// The rows of the later look, in its order.
pub(super) fn rows(before: Option<&Activities>, now: &Activities) -> Vec<Row> {
    let seconds = before
        .and_then(|before| now.ktime.checked_sub(before.ktime))
        .filter(|ns| *ns > 0)
        .map(|ns| ns as f64 / 1e9);
    // A container that comes again has another init.
    let earlier: HashMap<_, _> = before
        .into_iter()
        .flat_map(|look| &look.containers)
        .map(|it| ((it.line.names.id.as_str(), it.line.pid), it))
        .collect();
    let row = |it: &Activity| {
        let id = it.line.names.id.as_str();
        row(earlier.get(&(id, it.line.pid)).copied(), it, seconds)
    };
    now.containers.iter().map(row).collect()
}

fn row(before: Option<&Activity>, now: &Activity, seconds: Option<f64>) -> Row {
    let earlier: HashMap<_, _> = before
        .into_iter()
        .flat_map(|it| &it.calls)
        .map(|calls| (calls.syscall.as_str(), calls))
        .collect();
    let since = |now: u64, before: u64| seconds.map(|seconds| now.saturating_sub(before) as f64 / seconds);
    let mut syscalls: Vec<_> = now
        .calls
        .iter()
        .map(|it| {
            let before = earlier.get(it.syscall.as_str());
            let before = |of: fn(&Calls) -> u64| before.map_or(0, |calls| of(calls));
            Syscall {
                syscall: it.syscall.clone(),
                calls: it.calls,
                errors: it.errors,
                total_ns: it.total_ns,
                calls_per_s: since(it.calls, before(|calls| calls.calls)),
                errors_per_s: since(it.errors, before(|calls| calls.errors)),
            }
        })
        .collect();
    let rate = |it: &Syscall| it.calls_per_s.unwrap_or(0.0);
    // Stable: those at rest stay in the order of their calls until now.
    syscalls.sort_by(|a, b| rate(b).total_cmp(&rate(a)));
    let sum = |of: fn(&Calls) -> u64, all: &[Calls]| all.iter().map(of).sum::<u64>();
    let old = before.map_or(&[][..], |it| &it.calls);
    let (calls, errors) = (sum(|it| it.calls, &now.calls), sum(|it| it.errors, &now.calls));
    let total_ns = sum(|it| it.total_ns, &now.calls);
    let nothing = Default::default();
    let durations = now
        .durations
        .since(before.map_or(&nothing, |before| &before.durations));
    Row {
        line: now.line.clone(),
        calls,
        errors,
        total_ns,
        calls_per_s: since(calls, sum(|it| it.calls, old)),
        errors_per_s: since(errors, sum(|it| it.errors, old)),
        busy: since(total_ns, sum(|it| it.total_ns, old)).map(|ns| ns / 1e9),
        p99_ns: seconds.and_then(|_| durations.at_most(99)),
        syscalls,
    }
}

/// The rows of a container's `stats`, between two looks that lie so many seconds apart.
pub(super) fn details(before: Option<(&Stats, f64)>, now: &Stats) -> Vec<Detail> {
    let earlier: HashMap<_, _> = before
        .into_iter()
        .flat_map(|(stats, _)| &stats.calls)
        .map(|row| ((row.arch.as_str(), row.nr), row))
        .collect();
    let seconds = before
        .map(|(_, seconds)| seconds)
        .filter(|seconds| *seconds > 0.0);
    let detail = |row: &report::Row| {
        let old = earlier.get(&(row.arch.as_str(), row.nr));
        let since = |now: u64, before: Option<u64>| {
            seconds.map(|seconds| now.saturating_sub(before.unwrap_or(0)) as f64 / seconds)
        };
        Detail {
            calls_per_s: since(row.calls, old.map(|old| old.calls)),
            errors_per_s: since(row.errors, old.map(|old| old.errors)),
            row: row.clone(),
        }
    };
    now.calls.iter().map(detail).collect()
}

/// Sorts containers: those that live first.
pub(super) fn sort(rows: &mut [Row], sort: Sort, reverse: bool) {
    let name = |row: &Row| (row.line.names.name.clone(), row.line.names.id.clone());
    let by = |a: &Row, b: &Row| match sort {
        Sort::Calls => greatest(a.calls_per_s, b.calls_per_s),
        Sort::Errors => greatest(a.errors_per_s, b.errors_per_s),
        Sort::P99 => b.p99_ns.cmp(&a.p99_ns),
        Sort::Time => greatest(a.busy, b.busy),
        Sort::Total => b.calls.cmp(&a.calls),
        Sort::Lost => b.line.lost.cmp(&a.line.lost),
        Sort::Name => Ordering::Equal,
    };
    let lives = |row: &Row| row.line.state == State::Live;
    rows.sort_by(|a, b| {
        let order = by(a, b).then_with(|| name(a).cmp(&name(b)));
        lives(b)
            .cmp(&lives(a))
            .then(if reverse { order.reverse() } else { order })
    });
}

/// Sorts a container's calls.
pub(super) fn sort_details(rows: &mut [Detail], sort: Sort, reverse: bool) {
    let by = |a: &Detail, b: &Detail| match sort {
        Sort::Calls => greatest(a.calls_per_s, b.calls_per_s).then(b.row.calls.cmp(&a.row.calls)),
        Sort::Errors => greatest(a.errors_per_s, b.errors_per_s).then(b.row.errors.cmp(&a.row.errors)),
        Sort::P99 => b.row.p99_ns.cmp(&a.row.p99_ns),
        Sort::Time => b.row.total_ns.cmp(&a.row.total_ns),
        Sort::Total | Sort::Lost => b.row.calls.cmp(&a.row.calls),
        Sort::Name => Ordering::Equal,
    };
    rows.sort_by(|a, b| {
        let order = by(a, b).then_with(|| a.row.syscall.cmp(&b.row.syscall));
        if reverse { order.reverse() } else { order }
    });
}

fn greatest(a: Option<f64>, b: Option<f64>) -> Ordering {
    b.unwrap_or(-1.0).total_cmp(&a.unwrap_or(-1.0))
}

/// Whether a text is in the container's name, Pod, namespace or id, in whatever case.
pub(super) fn has(line: &Line, text: &str) -> bool {
    let text = text.to_lowercase();
    let names = &line.names;
    [
        Some(&names.name),
        Some(&names.id),
        names.pod.as_ref(),
        names.namespace.as_ref(),
    ]
    .into_iter()
    .flatten()
    .any(|name| name.to_lowercase().contains(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::tests::{activity, look};

    #[test]
    fn rates_are_of_what_came_between_the_looks() {
        let first = look(
            1_000_000_000,
            vec![activity("web", &[("read", 100, 0), ("openat", 50, 50)])],
        );
        let second = look(
            3_000_000_000,
            vec![
                activity("web", &[("read", 110, 0), ("openat", 90, 60)]),
                activity("new", &[("futex", 8, 2)]),
            ],
        );
        let alone = rows(None, &first);
        assert_eq!(
            (alone[0].calls, alone[0].calls_per_s, alone[0].p99_ns),
            (150, None, None)
        );
        let both = rows(Some(&first), &second);
        let web = &both[0];
        assert_eq!((web.calls, web.errors), (200, 60));
        assert_eq!((web.calls_per_s, web.errors_per_s), (Some(25.0), Some(5.0)));
        let top: Vec<_> = web
            .syscalls
            .iter()
            .map(|it| (it.syscall.as_str(), it.calls_per_s))
            .collect();
        assert_eq!(top, [("openat", Some(20.0)), ("read", Some(5.0))]);
        assert_eq!(both[1].calls_per_s, Some(4.0), "it came between the looks");
        // A container of the same id with another init is another one.
        let mut again = second.clone();
        again.ktime += 1_000_000_000;
        again.containers[0].line.pid = Some(99);
        again.containers[0].calls.truncate(1);
        assert_eq!(rows(Some(&second), &again)[0].calls_per_s, Some(110.0));
    }

    #[test]
    fn those_that_live_stand_first_in_each_order() {
        let mut gone = activity("a-gone", &[("read", 1_000_000, 9)]);
        gone.line.state = State::Gone;
        gone.line.lost = 7;
        let all = look(
            1,
            vec![
                gone,
                activity("b", &[("read", 1, 1)]),
                activity("c", &[("read", 2, 0)]),
            ],
        );
        for order in Sort::ALL {
            for reverse in [false, true] {
                let mut rows = rows(None, &all);
                sort(&mut rows, order, reverse);
                assert_eq!(rows[2].line.names.name, "a-gone", "{order:?}");
                if order == Sort::Total {
                    assert_eq!(rows[0].line.names.name, if reverse { "b" } else { "c" });
                }
            }
        }
        assert_eq!(Sort::Name.next(true), Sort::Calls);
        assert_eq!(Sort::Calls.next(false), Sort::Name);
        assert!("x".parse::<Sort>().is_err());
    }

    #[test]
    fn a_filter_looks_at_all_names() {
        let line = &activity("Web", &[]).line;
        assert!(has(line, "wEb") && has(line, "shop") && has(line, "web-0") && has(line, "id-"));
        assert!(!has(line, "nothing") && has(line, ""));
    }
}
