//! The table of `strace -c`, from [`Stats`]: its columns, their order, the order of the rows. Text from values; it must
//! not know where the counts come from nor where the table goes.

use std::{cmp::Reverse, io, str::FromStr};

use super::{
    Row, Stats,
    table::{self, Layout, Line},
};

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    TimePercent,
    TotalTime,
    MinTime,
    MaxTime,
    AvgTime,
    Calls,
    Errors,
    Name,
    // What strace has not.
    Unfinished,
    P50,
    P95,
    P99,
    Max,
    Errnos,
}

use Column::{
    AvgTime, Calls, Errnos, Errors, Max, MaxTime, MinTime, Name, P50, P95, P99, TimePercent, TotalTime,
    Unfinished,
};

/// Each with its head and its names, those of strace first.
const COLUMNS: [(Column, &str, &[&str]); 14] = [
    (TimePercent, "% time", &["time-percent", "time"]),
    (TotalTime, "seconds", &["total-time", "time-total"]),
    (MinTime, "shortest", &["min-time", "time-min", "shortest"]),
    (MaxTime, "longest", &["max-time", "time-max", "longest"]),
    (AvgTime, "usecs/call", &["avg-time", "time-avg"]),
    (Calls, "calls", &["calls", "count"]),
    (Errors, "errors", &["errors", "error"]),
    (Name, "syscall", &["name", "syscall", "syscall-name"]),
    (Unfinished, "unfinished", &["unfinished"]),
    (P50, "p50 usecs", &["p50"]),
    (P95, "p95 usecs", &["p95"]),
    (P99, "p99 usecs", &["p99"]),
    (Max, "max usecs", &["max"]),
    (Errnos, "errors by name", &["errnos"]),
];

/// Widths that strace starts with; a longer cell widens its column. Names of calls are never cut.
const fn layout(column: Column) -> Layout {
    Layout {
        right: !matches!(column, Name | Errnos),
        wide: match column {
            TimePercent => 6,
            TotalTime | AvgTime => 11,
            MinTime | MaxTime => 8,
            Calls | Errors | Unfinished | P50 | P95 | P99 | Max => 9,
            Name => 16,
            Errnos => 14,
        },
        narrow: match column {
            Errnos => Some(14),
            _ => None,
        },
    }
}

/// What is left out first where there is no room for all.
const LEFT_OUT: [Column; 5] = [Unfinished, P50, Max, P95, P99];

impl Column {
    fn head(self) -> &'static str {
        self.words().map_or("", |(_, head, _)| head)
    }

    /// As `-U` knows it.
    fn name(self) -> &'static str {
        self.words().and_then(|(.., names)| names.first()).unwrap_or(&"")
    }

    fn words(self) -> Option<&'static (Self, &'static str, &'static [&'static str])> {
        COLUMNS.iter().find(|(column, ..)| *column == self)
    }

    const fn is_time(self) -> bool {
        !matches!(self, Calls | Errors | Name | Unfinished | Errnos)
    }
}

/// The columns of a table, left to right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    list: Vec<Column>,
    /// Asked for: none is left out.
    chosen: bool,
}

impl Columns {
    /// Those of `strace -c`.
    pub fn strace() -> Self {
        Self::usual(&[TimePercent, TotalTime, AvgTime, Calls, Errors, Name])
    }

    /// Those that tell something where no call was timed.
    pub fn untimed() -> Self {
        Self::usual(&[Calls, Errors, Name, Errnos])
    }

    fn usual(list: &[Column]) -> Self {
        Self {
            list: list.to_vec(),
            chosen: false,
        }
    }
}

/// Those of `strace -c`, then ours.
impl Default for Columns {
    fn default() -> Self {
        let mut columns = Self::strace();
        columns.list.extend([P50, P95, P99, Max, Unfinished, Errnos]);
        columns
    }
}

impl FromStr for Columns {
    type Err = String;

    /// As `strace -U`: without `name`, it is added at the end.
    fn from_str(words: &str) -> Result<Self, String> {
        let mut columns = Vec::new();
        for word in words.split(',') {
            let name = word.replace('_', "-");
            let found = COLUMNS
                .iter()
                .find(|(_, _, names)| names.contains(&name.as_str()));
            let Some(&(column, ..)) = found else {
                let known: Vec<_> = COLUMNS
                    .iter()
                    .filter_map(|(_, _, names)| names.first().copied())
                    .collect();
                return Err(format!("no column {word:?}: {}", known.join(", ")));
            };
            if columns.contains(&column) {
                return Err(format!("column {word:?} is there twice"));
            }
            columns.push(column);
        }
        if !columns.contains(&Name) {
            columns.push(Name);
        }
        Ok(Self {
            list: columns,
            chosen: true,
        })
    }
}

/// The order of the rows: numbers from the greatest down, names from the first on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    #[default]
    Time,
    MinTime,
    MaxTime,
    AvgTime,
    Calls,
    Errors,
    Name,
    /// By the number of the system call.
    Nothing,
}

impl FromStr for Sort {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Ok(match word.replace('_', "-").as_str() {
            "time" | "time-percent" | "time-total" | "total-time" => Self::Time,
            "min-time" | "time-min" | "shortest" => Self::MinTime,
            "max-time" | "time-max" | "longest" => Self::MaxTime,
            "avg-time" | "time-avg" => Self::AvgTime,
            "calls" | "count" => Self::Calls,
            "errors" | "error" => Self::Errors,
            "name" | "syscall" | "syscall-name" => Self::Name,
            "nothing" | "none" => Self::Nothing,
            _ => {
                return Err(format!(
                    "no order {word:?}: time, min-time, max-time, avg-time, calls, errors, name or nothing"
                ));
            }
        })
    }
}

impl Sort {
    fn sort(self, rows: &mut [&Row]) {
        rows.sort_by(|a, b| (&a.arch, a.nr).cmp(&(&b.arch, b.nr)));
        match self {
            Self::Time => rows.sort_by_key(|row| Reverse(row.total_ns)),
            Self::MinTime => rows.sort_by_key(|row| Reverse(row.min_ns)),
            Self::MaxTime => rows.sort_by_key(|row| Reverse(row.max_ns)),
            Self::AvgTime => rows.sort_by_key(|row| Reverse(average(row))),
            Self::Calls => rows.sort_by_key(|row| Reverse(row.calls)),
            Self::Errors => rows.sort_by_key(|row| Reverse(row.errors)),
            Self::Name => rows.sort_by(|a, b| a.syscall.cmp(&b.syscall)),
            Self::Nothing => {}
        }
    }
}

fn average(row: &Row) -> u64 {
    row.total_ns.checked_div(row.timed).unwrap_or(0)
}

fn seconds(ns: u64) -> String {
    format!("{:.6}", ns as f64 / 1e9)
}

fn micros(ns: u64) -> String {
    format!("{:.3}", ns as f64 / 1e3)
}

fn blank_zero(number: u64) -> String {
    if number == 0 {
        String::new()
    } else {
        number.to_string()
    }
}

/// A cell; `all_ns` is what the whole table took.
fn cell(row: &Row, column: Column, all_ns: u64) -> String {
    match column {
        TimePercent => {
            let share = row.total_ns as f64 * 100.0 / all_ns.max(1) as f64;
            format!("{share:.2}")
        }
        TotalTime => seconds(row.total_ns),
        MinTime => seconds(row.min_ns),
        MaxTime => seconds(row.max_ns),
        AvgTime => (average(row) / 1000).to_string(),
        Calls => row.calls.to_string(),
        Errors => blank_zero(row.errors),
        Name if matches!(row.arch.as_str(), "x86_64" | "aarch64" | "") => row.syscall.clone(),
        Name => format!("{} ({})", row.syscall, row.arch),
        Unfinished => blank_zero(row.unfinished),
        P50 | P95 | P99 | Max if row.timed == 0 => String::new(),
        P50 => micros(row.p50_ns),
        P95 => micros(row.p95_ns),
        P99 => micros(row.p99_ns),
        Max => micros(row.max_ns),
        Errnos => {
            let each = row.errnos.iter().map(|(name, count)| format!("{name} {count}"));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

/// A cell of the last line. Of percentiles there is no sum.
fn total(sum: &Row, column: Column) -> String {
    match column {
        TimePercent => "100.00".into(),
        P50 | P95 | P99 | Errnos => String::new(),
        _ => cell(sum, column, 0),
    }
}

fn sum(rows: &[&Row]) -> Row {
    let total = |of: fn(&Row) -> u64| rows.iter().map(|row| of(row)).sum();
    Row {
        syscall: "total".into(),
        calls: total(|row| row.calls),
        errors: total(|row| row.errors),
        unfinished: total(|row| row.unfinished),
        total_ns: total(|row| row.total_ns),
        timed: total(|row| row.timed),
        min_ns: rows
            .iter()
            .filter(|row| row.timed > 0)
            .map(|row| row.min_ns)
            .min()
            .unwrap_or(0),
        max_ns: rows.iter().map(|row| row.max_ns).max().unwrap_or(0),
        ..Row::default()
    }
}

/// Writes the table as `strace -c` does. Calls of which none returned have a row only where `unfinished` is a column:
/// strace has none for them. Where a width is given, columns that nobody asked for are left out until the others fit.
///
/// # Errors
/// The writer's.
pub fn write(
    to: &mut impl io::Write,
    stats: &Stats,
    columns: &Columns,
    sort: Sort,
    width: Option<usize>,
) -> io::Result<()> {
    let mut list = columns.list.clone();
    let mut left_out = Vec::new();
    let sum = loop {
        let (lines, sum) = lines(stats, &list, sort);
        let layouts: Vec<_> = list.iter().map(|column| layout(*column)).collect();
        let fits = width.is_none_or(|width| table::least(&lines, &layouts, 1) <= width);
        let less = LEFT_OUT.into_iter().find(|column| list.contains(column));
        match less.filter(|_| !fits && !columns.chosen) {
            Some(less) => {
                list.retain(|column| *column != less);
                left_out.push(less.name());
            }
            None => {
                table::write(to, &lines, &layouts, 1, width)?;
                break sum;
            }
        }
    };
    if let Some(width) = width
        && !left_out.is_empty()
    {
        let names = left_out.join(", ");
        let note = format!("no room for {names}: -U chooses columns");
        write!(to, "{}", table::fold(&note, 0, width))?;
    }
    let untimed = sum.calls.saturating_sub(sum.timed);
    if untimed > 0 && list.iter().any(|column| column.is_time()) {
        writeln!(
            to,
            "{untimed} calls were counted and not timed: seccomp refused them, a filter dropped them, or the mode has no \
             durations"
        )?;
    }
    if stats.overflow > 0 {
        writeln!(
            to,
            "{} more calls found no row of their own: the aggregate map is full",
            stats.overflow
        )?;
    }
    Ok(())
}

/// The lines of the table, and the sum of all.
fn lines(stats: &Stats, columns: &[Column], sort: Sort) -> (Vec<Line>, Row) {
    let with_unfinished = columns.contains(&Unfinished);
    let mut rows: Vec<&Row> = stats
        .calls
        .iter()
        .filter(|row| row.calls > 0 || (with_unfinished && row.unfinished > 0))
        .collect();
    sort.sort(&mut rows);
    let sum = sum(&rows);
    let line =
        |of: &dyn Fn(Column) -> String| Line::Cells(columns.iter().map(|&column| of(column)).collect());
    let mut lines = vec![line(&|column| column.head().to_owned()), Line::Rule];
    let body = rows
        .iter()
        .map(|row| line(&|column| cell(row, column, sum.total_ns)));
    lines.extend(body);
    lines.extend([Line::Rule, line(&|column| total(&sum, column))]);
    (lines, sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Names, State};

    fn stats() -> Stats {
        let row = |syscall: &str, nr, calls, errors, total_ns| Row {
            syscall: syscall.into(),
            arch: "x86_64".into(),
            nr,
            calls,
            errors,
            timed: calls,
            total_ns,
            max_ns: total_ns,
            errnos: (errors > 0)
                .then(|| ("ENOENT".to_owned(), errors))
                .into_iter()
                .collect(),
            ..Row::default()
        };
        let ends = Row {
            unfinished: 1,
            ..row("exit_group", 231, 0, 0, 0)
        };
        Stats {
            container: Names::default(),
            state: State::Gone,
            calls: vec![
                row("read", 0, 4, 0, 1_000_000),
                row("openat", 257, 3, 2, 3_000_000),
                ends,
            ],
            overflow: 0,
        }
    }

    fn text(columns: &Columns, sort: Sort) -> String {
        let mut out = Vec::new();
        write(&mut out, &stats(), columns, sort, None).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn it_is_the_table_of_strace() {
        let table = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 75.00    0.003000        1000         3         2 openat
 25.00    0.001000         250         4           read
------ ----------- ----------- --------- --------- ----------------
100.00    0.004000         571         7         2 total
";
        assert_eq!(text(&Columns::strace(), Sort::Time), table);
    }

    #[test]
    fn ours_stand_behind_it() {
        let table = text(&Columns::default(), Sort::Nothing);
        let line = |name: &str| table.lines().find(|line| line.contains(name)).unwrap().to_owned();
        assert!(line("openat").ends_with("ENOENT 2"), "{table}");
        assert_eq!(line("exit_group").split_whitespace().last(), Some("1"), "{table}");
    }

    #[test]
    fn it_fits_a_width_and_says_what_it_left_out() {
        let at = |columns: &Columns, width| {
            let mut out = Vec::new();
            write(&mut out, &stats(), columns, Sort::Time, Some(width)).unwrap();
            String::from_utf8(out).unwrap()
        };
        for width in 64..200 {
            let table = at(&Columns::default(), width);
            let longest = table.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(width), "{width}:\n{table}");
            assert!(table.contains("ENOENT 2"), "{width}:\n{table}");
            assert_eq!(width < 116, table.contains("no room for"), "{width}:\n{table}");
        }
        let table = at(&Columns::default(), 80);
        assert!(
            table.contains("no room for unfinished, p50, max, p95: -U"),
            "{table}"
        );
        // What was asked for stays.
        let table = at(&"time,calls,p50,p95,p99,max,name".parse().unwrap(), 40);
        assert!(
            table.contains("p50 usecs p95 usecs p99 usecs max usecs"),
            "{table}"
        );
    }

    #[test]
    fn columns_are_chosen_as_strace_does() {
        let table = concat!(
            "    calls syscall\n",
            "\
--------- ----------------
        4 read
        3 openat
--------- ----------------
        7 total
"
        );
        assert_eq!(text(&"calls".parse().unwrap(), Sort::Calls), table);
        assert_eq!(
            "time_percent,syscall".parse(),
            Ok(Columns {
                list: vec![TimePercent, Name],
                chosen: true
            })
        );
        assert!("calls,calls".parse::<Columns>().is_err() && "nothing".parse::<Columns>().is_err());
    }

    #[test]
    fn rows_are_ordered_as_asked() {
        let first = |sort: &str| {
            let table = text(&"name".parse().unwrap(), sort.parse().unwrap());
            table.lines().nth(2).unwrap().to_owned()
        };
        for (sort, name) in [
            ("time", "openat"),
            ("calls", "read"),
            ("errors", "openat"),
            ("name", "openat"),
        ] {
            assert_eq!(first(sort), name, "{sort}");
        }
        assert_eq!(
            (first("avg-time"), first("longest"), first("none")),
            ("openat".into(), "openat".into(), "read".into())
        );
        assert!("bad".parse::<Sort>().is_err());
    }
}
