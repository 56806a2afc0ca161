//! The columns of both tables, for a screen and for lines of text: what stands in a cell, and which columns there is room
//! for. Text from values; what a container chose is escaped here.

use super::rates::{Detail, Row};
use crate::report::table::{self, Layout, Line, safe, short};

/// A column of rows of that kind.
pub(super) struct Column<R> {
    pub(super) head: &'static str,
    /// Its least width.
    pub(super) least: u16,
    /// Numbers stand at its right.
    pub(super) right: bool,
    /// It takes what room there is left, as much as its cells need.
    pub(super) grows: bool,
    /// What is left out last has the lowest.
    pub(super) rank: u8,
    pub(super) cell: fn(&R) -> String,
    /// Where a cell says that something is wrong.
    pub(super) alarms: fn(&R) -> bool,
}

const fn never<R>(_: &R) -> bool {
    false
}

const fn number<R>(head: &'static str, least: u16, rank: u8, cell: fn(&R) -> String) -> Column<R> {
    Column {
        head,
        least,
        right: true,
        grows: false,
        rank,
        cell,
        alarms: never,
    }
}

const fn text<R>(head: &'static str, least: u16, rank: u8, cell: fn(&R) -> String) -> Column<R> {
    Column {
        head,
        least,
        right: false,
        grows: true,
        rank,
        cell,
        alarms: never,
    }
}

/// Of containers.
pub(super) const CONTAINERS: [Column<Row>; 12] = [
    text("NAME", 8, 0, |row| safe(short(&row.line.names.name))),
    text("POD", 8, 8, pod),
    Column {
        grows: false,
        ..text("STATE", 8, 5, |row| row.line.state.name().into())
    },
    number("CALLS/S", 8, 1, |row| rate(row.calls_per_s)),
    Column {
        alarms: |row| row.errors_per_s.is_some_and(|rate| rate > 0.0),
        ..number("ERR/S", 7, 2, |row| rate(row.errors_per_s))
    },
    number("P99", 7, 3, |row| row.p99_ns.map_or_else(dash, time)),
    number("BUSY", 7, 10, |row| {
        row.busy.map_or_else(dash, |busy| format!("{:.0}%", busy * 100.0))
    }),
    Column {
        alarms: |row| row.line.lost > 0,
        ..number("LOST", 7, 4, |row| count(row.line.lost))
    },
    number("CALLS", 8, 7, |row| count(row.calls)),
    number("ERRORS", 8, 9, |row| count(row.errors)),
    Column {
        grows: false,
        ..text("RUNTIME", 10, 11, |row| {
            row.line.runtime.as_deref().map_or_else(dash, safe)
        })
    },
    text("TOP CALLS", 12, 6, top),
];

/// Of a container's calls.
pub(super) const CALLS: [Column<Detail>; 10] = [
    Column {
        grows: true,
        ..text("SYSCALL", 12, 0, name)
    },
    number("CALLS/S", 8, 1, |it| rate(it.calls_per_s)),
    Column {
        alarms: |it| it.errors_per_s.is_some_and(|rate| rate > 0.0),
        ..number("ERR/S", 7, 2, |it| rate(it.errors_per_s))
    },
    number("CALLS", 8, 3, |it| count(it.row.calls)),
    number("ERRORS", 7, 6, |it| count(it.row.errors)),
    number("P50", 7, 9, |it| timed(it, it.row.p50_ns)),
    number("P95", 7, 8, |it| timed(it, it.row.p95_ns)),
    number("P99", 7, 4, |it| timed(it, it.row.p99_ns)),
    number("TIME", 7, 5, |it| timed(it, it.row.total_ns)),
    text("ERRORS BY NAME", 14, 7, |it| {
        let each = it
            .row
            .errnos
            .iter()
            .map(|(name, number)| format!("{name} {number}"));
        each.collect::<Vec<_>>().join(", ")
    }),
];

/// The columns that there is room for, with their widths; a space stands between two. A column comes only where it
/// leaves those that grow and have a lower rank the room for their cells; the first column is a name, which may be cut.
pub(super) fn fitted<'a, R>(columns: &'a [Column<R>], rows: &[R], width: u16) -> Vec<(&'a Column<R>, u16)> {
    let more_wanted = |column: &Column<R>| {
        let cells = rows.iter().map(|row| (column.cell)(row).chars().count());
        let longest = u16::try_from(cells.max().unwrap_or(0)).unwrap_or(u16::MAX);
        if column.grows {
            longest.saturating_sub(column.least)
        } else {
            0
        }
    };
    let mut ranked: Vec<_> = columns.iter().enumerate().collect();
    ranked.sort_by_key(|(_, column)| column.rank);
    let mut shown = Vec::new();
    let (mut room, mut kept) = (width, 0u16);
    for (at, column) in ranked {
        let least = if shown.is_empty() {
            // Of the first, a narrow terminal shows a part.
            column.least.min(width)
        } else {
            column.least + 1
        };
        match room.checked_sub(least).filter(|rest| *rest >= kept) {
            Some(rest) => room = rest,
            None => break,
        }
        let grows = more_wanted(column);
        if column.rank > 0 {
            kept = kept.saturating_add(grows);
        }
        shown.push((at, grows));
    }
    shown.sort_by_key(|(at, _)| *at);
    let widen = |(at, grows): (usize, u16)| {
        let column = &columns[at];
        let more = grows.min(room);
        room -= more;
        (column, column.least.min(width) + more)
    };
    shown.into_iter().map(widen).collect()
}

/// The same as lines of text, all columns, cut to a width where one is given.
pub(super) fn lines<R>(columns: &[Column<R>], rows: &[R]) -> (Vec<Line>, Vec<Layout>) {
    let head = columns.iter().map(|column| column.head.to_owned()).collect();
    let mut lines = vec![Line::Cells(head)];
    lines.extend(
        rows.iter()
            .map(|row| Line::Cells(columns.iter().map(|column| (column.cell)(row)).collect())),
    );
    let layout = |column: &Column<R>| Layout {
        right: column.right,
        wide: 0,
        narrow: column.grows.then_some(column.least.into()),
    };
    (lines, columns.iter().map(layout).collect::<Vec<table::Layout>>())
}

fn pod(row: &Row) -> String {
    let names = &row.line.names;
    match (&names.namespace, &names.pod) {
        (Some(namespace), Some(pod)) => safe(&format!("{namespace}/{pod}")),
        (None, Some(pod)) => safe(pod),
        _ => dash(),
    }
}

fn top(row: &Row) -> String {
    let moving = |it: &&super::rates::Syscall| it.calls_per_s.is_none_or(|rate| rate > 0.0);
    let each = row
        .syscalls
        .iter()
        .filter(moving)
        .take(5)
        .map(|it| match it.calls_per_s {
            Some(_) => format!("{} {}", it.syscall, rate(it.calls_per_s)),
            None => format!("{} {}", it.syscall, count(it.calls)),
        });
    each.collect::<Vec<_>>().join(", ")
}

fn name(it: &Detail) -> String {
    match it.row.arch.as_str() {
        "x86_64" | "aarch64" | "" => it.row.syscall.clone(),
        arch => format!("{} ({arch})", it.row.syscall),
    }
}

fn timed(it: &Detail, ns: u64) -> String {
    if it.row.timed == 0 { dash() } else { time(ns) }
}

fn dash() -> String {
    "-".into()
}

/// `0`, `0.4`, `17`, `123k`, `1.2M`: at most six characters.
pub(super) fn rate(rate: Option<f64>) -> String {
    match rate {
        None => dash(),
        Some(rate) if rate <= 0.0 => "0".into(),
        Some(rate) if rate < 9.95 => format!("{rate:.1}"),
        Some(rate) => count(rate.round() as u64),
    }
}

/// `17`, `99999`, `123k`, `12.3M`.
pub(super) fn count(number: u64) -> String {
    let scaled = |unit: f64, letter: char| {
        let value = number as f64 / unit;
        let digits = usize::from(value < 99.95);
        format!("{value:.digits$}{letter}")
    };
    match number {
        0..=99_999 => number.to_string(),
        100_000..=999_999 => format!("{}k", number / 1000),
        1_000_000..=999_999_999 => scaled(1e6, 'M'),
        1_000_000_000..=999_999_999_999 => scaled(1e9, 'G'),
        _ => scaled(1e12, 'T'),
    }
}

/// `640ns`, `1.8us`, `12ms`, `3.2s`, `41m`, `12h`.
pub(super) fn time(ns: u64) -> String {
    let scaled = |unit: f64, name: &str| {
        let value = ns as f64 / unit;
        let digits = usize::from(value < 9.95);
        format!("{value:.digits$}{name}")
    };
    match ns {
        0..=999 => format!("{ns}ns"),
        1_000..=999_499 => scaled(1e3, "us"),
        999_500..=999_499_999 => scaled(1e6, "ms"),
        999_500_000..=119_999_999_999 => scaled(1e9, "s"),
        120_000_000_000..=7_199_999_999_999 => scaled(60e9, "m"),
        _ => scaled(3600e9, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::{
        rates,
        tests::{activity, look},
    };

    #[test]
    fn numbers_are_short() {
        let told = [
            0,
            99_999,
            100_000,
            1_234_567,
            123_456_789,
            5_000_000_000,
            u64::MAX,
        ]
        .map(count);
        assert_eq!(told, ["0", "99999", "100k", "1.2M", "123M", "5.0G", "18446744T"]);
        let told = [0.0, 0.04, 3.12, 9.96, 12_345.4].map(|it| rate(Some(it)));
        assert_eq!(told, ["0", "0.0", "3.1", "10", "12345"]);
        let told = [
            0,
            999,
            1_840,
            999_499,
            12_000_000,
            3_210_000_000,
            2_460_000_000_000,
            43_200_000_000_000,
        ]
        .map(time);
        assert_eq!(
            told,
            ["0ns", "999ns", "1.8us", "999us", "12ms", "3.2s", "41m", "12h"]
        );
    }

    #[test]
    fn columns_go_by_their_ranks_and_fill_the_width() {
        let now = look(
            1,
            vec![activity("a-container-with-a-long-name", &[("read", 5, 1)])],
        );
        let rows = rates::rows(None, &now);
        for width in 0..300 {
            let fitted = fitted(&CONTAINERS, &rows, width);
            let all = fitted.iter().map(|(_, width)| usize::from(*width)).sum::<usize>() + fitted.len() - 1;
            assert!(all <= usize::from(width), "{width}: {all}");
            assert_eq!(fitted[0].0.head, "NAME", "{width}");
        }
        let heads = |width| -> Vec<_> {
            fitted(&CONTAINERS, &rows, width)
                .iter()
                .map(|(column, _)| column.head)
                .collect()
        };
        assert_eq!(heads(20), ["NAME", "CALLS/S"]);
        assert_eq!(
            heads(80),
            [
                "NAME",
                "STATE",
                "CALLS/S",
                "ERR/S",
                "P99",
                "LOST",
                "CALLS",
                "TOP CALLS"
            ]
        );
        assert_eq!(heads(200).len(), CONTAINERS.len());
    }

    #[test]
    fn what_a_container_chose_is_escaped() {
        let mut it = activity("web", &[]);
        it.line.names.name = "x\u{1b}[2J".into();
        it.line.names.pod = Some("\u{202e}pod".into());
        let rows = rates::rows(None, &look(1, vec![it]));
        let cells: Vec<_> = CONTAINERS.iter().map(|column| (column.cell)(&rows[0])).collect();
        assert!(
            cells.iter().all(|cell| cell.chars().all(|c| !c.is_control())),
            "{cells:?}"
        );
        assert_eq!(cells[1], "shop/\\u{202e}pod");
    }
}
