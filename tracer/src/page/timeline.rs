//! The calls as marks on a time line, a row each task: bounded, and packed for the page's script (`page.js` unpacks them).
//!
//! All calls have a mark of their own up to [`MARKS`]; beyond that, neighbours that are close in time become one mark
//! that knows how many it stands for. Failed calls are joined last. Nothing is left out without being counted.

use std::{
    borrow::Cow,
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    io::Write as _,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};

use super::class;
use crate::{
    errno,
    event::{Arch, DeniedBy, Outcome, Syscall},
};

/// Marks that are kept. Beyond, they are joined until half as many are left.
const MARKS: usize = 1 << 20;
/// Bytes of the different lines that are kept, and how many.
const LINES_BYTES: usize = 24 << 20;
const LINES: usize = 1 << 20;
/// Kinds of calls that are told apart.
const KINDS: usize = 1 << 14;
/// The finest cell in which neighbours are joined.
const CELL_NS: u64 = 1 << 10;

/// One call, or several that were joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    start: u64,
    duration: u64,
    kind: u16,
    /// Number of its line from 1; 0 where it is not kept.
    line: u32,
    /// Calls that it stands for.
    count: u32,
}

/// What a mark is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    arch: Arch,
    nr: u32,
    end: End,
    by_seccomp: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    Value,
    Error(u16),
    Unfinished,
    Refused,
}

/// A kind as the page shows it.
#[derive(Clone, Debug)]
struct Named {
    name: Cow<'static, str>,
    class: usize,
    end: End,
    by_seccomp: bool,
}

impl Named {
    fn failed(&self) -> bool {
        matches!(self.end, End::Error(_) | End::Refused)
    }
}

#[derive(Debug)]
pub(super) struct Timeline {
    most: usize,
    rows: Vec<Vec<Mark>>,
    marks: usize,
    cell_ns: u64,
    kinds: HashMap<Kind, u16>,
    names: Vec<Named>,
    lines: Lines,
}

impl Default for Timeline {
    fn default() -> Self {
        Self::with(MARKS)
    }
}

/// What the script reads, beside the packed columns.
#[derive(Debug, serde::Serialize)]
pub(super) struct Packed {
    /// Name, class, how it ended (empty for a value, `?` for a call that did not return, `!` for a refused one, or the
    /// errno), and whether it failed: 0 no, 1 as programs do and go on, 2 so that it is worth a look.
    kinds: Vec<(String, usize, String, u8)>,
    /// Marks of each row, in the page's order.
    rows: Vec<u32>,
    /// Bytes of each column: starts, durations, kinds, lines, counts.
    columns: [usize; 5],
    lines: usize,
    /// The packed columns, and the lines: gzip as base64.
    #[serde(skip)]
    pub(super) marks: String,
    #[serde(skip)]
    pub(super) texts: String,
}

/// How whole it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wholeness {
    pub(super) marks: u64,
    /// Marks that stand for several calls, those calls, and within what time they were joined.
    pub(super) joined: u64,
    pub(super) joined_calls: u64,
    pub(super) cell_ns: u64,
    /// Single calls without their line.
    pub(super) without_line: u64,
}

impl Timeline {
    fn with(most: usize) -> Self {
        Self {
            most,
            rows: Vec::new(),
            marks: 0,
            cell_ns: CELL_NS,
            kinds: HashMap::new(),
            names: Vec::new(),
            lines: Lines::default(),
        }
    }

    /// Takes a call of that row, which began at that time.
    pub(super) fn take(&mut self, row: usize, start: u64, call: &Syscall, line: &[u8]) {
        if self.rows.len() <= row {
            self.rows.resize_with(row + 1, Vec::new);
        }
        let mark = Mark {
            start,
            duration: call.duration_ns.unwrap_or(0),
            kind: self.kind(call),
            line: self.lines.number(line),
            count: 1,
        };
        if let Some(marks) = self.rows.get_mut(row) {
            marks.push(mark);
            self.marks += 1;
        }
        if self.marks > self.most {
            self.join();
        }
    }

    fn kind(&mut self, call: &Syscall) -> u16 {
        let end = match call.outcome {
            Outcome::Value(_) => End::Value,
            Outcome::Error(errno) => End::Error(errno),
            Outcome::Unfinished => End::Unfinished,
            Outcome::Refused => End::Refused,
        };
        // Calls without a name have a number that the container chose: they are one kind, beyond the bound too.
        let has_name = !call.name.starts_with("syscall_0x") && self.names.len() < KINDS;
        let by_seccomp = call.denied_by == Some(DeniedBy::Seccomp);
        let key = Kind {
            arch: call.arch,
            nr: if has_name { call.nr } else { u32::MAX },
            end: if self.names.len() < 2 * KINDS {
                end
            } else {
                End::Value
            },
            by_seccomp,
        };
        let names = &mut self.names;
        *self.kinds.entry(key).or_insert_with(|| {
            names.push(Named {
                name: if has_name {
                    call.name.clone()
                } else {
                    "(other)".into()
                },
                class: class::of(call),
                end,
                by_seccomp,
            });
            u16::try_from(names.len() - 1).unwrap_or(u16::MAX)
        })
    }

    /// Joins neighbours until there is room for as many again.
    fn join(&mut self) {
        let fails: Vec<bool> = self.names.iter().map(Named::failed).collect();
        let failed = |kind: u16| fails.get(usize::from(kind)).copied().unwrap_or(false);
        loop {
            // Beyond an hour, nothing but failures is left to be joined.
            let all = self.cell_ns > 3_600_000_000_000;
            for row in &mut self.rows {
                row.sort_by_key(|mark| mark.start);
                joined(row, self.cell_ns, all, failed);
            }
            self.marks = self.rows.iter().map(Vec::len).sum();
            if self.marks <= self.most / 2 || self.cell_ns == u64::MAX {
                break;
            }
            self.cell_ns = self.cell_ns.saturating_mul(4);
        }
        self.lines.keep(self.rows.iter_mut().flatten());
    }

    /// Packs it, the rows in that order, its times from that one on. `is_usual` says of a call and an errno whether such
    /// failures mean nothing.
    pub(super) fn pack(
        mut self,
        order: &[usize],
        from: u64,
        is_usual: impl Fn(&str, &str) -> bool,
    ) -> (Packed, Wholeness) {
        let mut whole = Wholeness::default();
        for row in &mut self.rows {
            row.sort_by_key(|mark| mark.start);
        }
        self.lines.keep(self.rows.iter_mut().flatten());
        let mut columns: [Vec<u8>; 5] = Default::default();
        let mut lengths = Vec::new();
        for row in order {
            let empty = Vec::new();
            let marks = self.rows.get(*row).unwrap_or(&empty);
            lengths.push(marks.len() as u32);
            let mut before = from;
            for mark in marks {
                whole.marks += 1;
                if mark.count > 1 {
                    whole.joined += 1;
                    whole.joined_calls += u64::from(mark.count);
                } else {
                    whole.without_line += u64::from(mark.line == 0);
                }
                let values = [
                    mark.start.saturating_sub(before),
                    mark.duration,
                    mark.kind.into(),
                    mark.line.into(),
                    u64::from(mark.count) - 1,
                ];
                before = mark.start.max(before);
                for (column, value) in columns.iter_mut().zip(values) {
                    push(column, value);
                }
            }
        }
        if whole.joined > 0 {
            whole.cell_ns = self.cell_ns;
        }
        let kinds = self
            .names
            .iter()
            .map(|kind| {
                let end = match kind.end {
                    End::Value => String::new(),
                    End::Error(errno) if kind.by_seccomp => format!("{} (seccomp)", errno::name(errno)),
                    End::Error(errno) => errno::name(errno).into_owned(),
                    End::Unfinished => "?".into(),
                    End::Refused => "!".into(),
                };
                let failed = match kind.failed() {
                    false => 0,
                    true if is_usual(&kind.name, &end) => 1,
                    true => 2,
                };
                (kind.name.to_string(), kind.class, end, failed)
            })
            .collect();
        let packed = Packed {
            kinds,
            rows: lengths,
            columns: columns.each_ref().map(Vec::len),
            lines: self.lines.ends.len(),
            marks: zipped(&columns.concat()),
            texts: zipped(&self.lines.bytes),
        };
        (packed, whole)
    }
}

/// Joins the marks of a row that begin in one cell, and end in it: those of successful calls, and failed ones of one kind;
/// with `all`, failed ones of any kind.
fn joined(row: &mut Vec<Mark>, cell_ns: u64, all: bool, failed: impl Fn(u16) -> bool) {
    // The joined marks of the cell at hand: those of successful calls, and of each kind of failure.
    let mut open: Vec<(Option<u16>, usize)> = Vec::new();
    let mut cell = u64::MAX;
    let mut kept: Vec<Mark> = Vec::with_capacity(row.len() / 2);
    // The longest call in a joined mark is what the mark shows.
    let mut longest: Vec<u64> = Vec::with_capacity(row.len() / 2);
    for mark in row.iter() {
        if mark.start / cell_ns != cell {
            cell = mark.start / cell_ns;
            open.clear();
        }
        let group = match failed(mark.kind) {
            true if all => Some(u16::MAX),
            true => Some(mark.kind),
            false => None,
        };
        let fits = mark.duration < cell_ns;
        let with = open
            .iter()
            .find(|(other, _)| fits && *other == group)
            .map(|(_, at)| *at);
        match with.and_then(|at| Some((kept.get_mut(at)?, longest.get_mut(at)?))) {
            Some((into, longest)) => {
                let end = (into.start + into.duration).max(mark.start + mark.duration);
                if mark.duration > *longest {
                    *longest = mark.duration;
                    into.kind = mark.kind;
                }
                into.duration = end - into.start;
                into.line = 0;
                into.count = into.count.saturating_add(mark.count);
            }
            None => {
                if fits {
                    open.push((group, kept.len()));
                }
                kept.push(*mark);
                longest.push(mark.duration);
            }
        }
    }
    *row = kept;
}

/// LEB128: seven bits a byte, the lowest first.
fn push(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn zipped(bytes: &[u8]) -> String {
    let mut to = GzEncoder::new(Vec::new(), Compression::default());
    // A vector takes all.
    let zipped = to.write_all(bytes).and_then(|()| to.finish());
    STANDARD.encode(zipped.unwrap_or_default())
}

/// Lines, each different one once.
#[derive(Debug, Default)]
struct Lines {
    /// Each with its line feed.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    by_hash: HashMap<u64, u32>,
}

impl Lines {
    /// The number of a line, from 1; 0 where there is no room for it.
    fn number(&mut self, line: &[u8]) -> u32 {
        let mut hasher = DefaultHasher::new();
        line.hash(&mut hasher);
        let hash = hasher.finish();
        if let Some(number) = self.by_hash.get(&hash)
            && self.get(*number) == Some(line)
        {
            return *number;
        }
        if self.bytes.len() + line.len() >= LINES_BYTES || self.ends.len() >= LINES {
            return 0;
        }
        self.bytes.extend_from_slice(line);
        self.bytes.push(b'\n');
        self.ends.push(self.bytes.len());
        let number = self.ends.len() as u32;
        self.by_hash.insert(hash, number);
        number
    }

    fn get(&self, number: u32) -> Option<&[u8]> {
        let index = (number as usize).checked_sub(1)?;
        let end = *self.ends.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.bytes.get(start..end.checked_sub(1)?)
    }

    /// Keeps those that marks still have, in the marks' order: near ones are alike, which packs well.
    fn keep<'a>(&mut self, marks: impl Iterator<Item = &'a mut Mark>) {
        let old = std::mem::take(self);
        let mut numbers = vec![0_u32; old.ends.len() + 1];
        for mark in marks.filter(|mark| mark.line > 0) {
            let Some(number) = numbers.get_mut(mark.line as usize) else {
                continue;
            };
            if *number == 0 {
                *number = self.number(old.get(mark.line).unwrap_or_default());
            }
            mark.line = *number;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::decode::tests::fake::{A::*, Fake};

    fn read(text: &str) -> Vec<u8> {
        let zipped = STANDARD.decode(text).unwrap();
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(zipped.as_slice())
            .read_to_end(&mut bytes)
            .unwrap();
        bytes
    }

    fn numbers(bytes: &[u8]) -> Vec<u64> {
        let mut numbers = Vec::new();
        let (mut value, mut shift) = (0, 0);
        for byte in bytes {
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                numbers.push(value);
                (value, shift) = (0, 0);
            }
        }
        numbers
    }

    fn columns(packed: &Packed) -> Vec<Vec<u64>> {
        let bytes = read(&packed.marks);
        let mut rest = bytes.as_slice();
        packed
            .columns
            .iter()
            .map(|length| {
                let (column, after) = rest.split_at(*length);
                rest = after;
                numbers(column)
            })
            .collect()
    }

    fn call(name: &str, ret: i64, duration: u64) -> Syscall {
        let mut call = Fake::new(name, [N(0)], ret).call();
        call.duration_ns = Some(duration);
        call
    }

    #[test]
    fn what_is_packed_is_what_was_taken() {
        let mut timeline = Timeline::default();
        timeline.take(1, 2_000, &call("close", 0, 50), b"close(3) = 0");
        timeline.take(0, 1_500, &call("getppid", 1, 300), b"getppid() = 1");
        // It ended before, and is told later.
        timeline.take(1, 1_000, &call("close", -9, 70), b"close(9) = -1 EBADF");
        timeline.take(1, 3_000, &call("close", 0, 50), b"close(3) = 0");
        let (packed, whole) = timeline.pack(&[1, 0], 1_000, |_, _| false);
        assert_eq!(packed.rows, [3, 1]);
        assert_eq!(
            columns(&packed),
            [
                vec![0, 1_000, 1_000, 500],
                vec![70, 50, 50, 300],
                vec![2, 0, 0, 1],
                vec![2, 3, 3, 1],
                vec![0; 4],
            ]
        );
        assert_eq!(
            read(&packed.texts),
            b"getppid() = 1\nclose(9) = -1 EBADF\nclose(3) = 0\n"
        );
        let ends: Vec<_> = packed
            .kinds
            .iter()
            .map(|(name, _, end, _)| format!("{name} {end}"))
            .collect();
        assert_eq!(ends, ["close ", "getppid ", "close EBADF"]);
        assert_eq!(
            whole,
            Wholeness {
                marks: 4,
                ..Wholeness::default()
            }
        );
    }

    #[test]
    fn beyond_the_bound_neighbours_are_joined_and_no_call_is_lost() {
        let mut timeline = Timeline::with(1_000);
        for at in 0..50_000_u64 {
            let failed = at % 5_000 == 0;
            let call = call("close", if failed { -9 } else { 0 }, 100);
            timeline.take((at % 2) as usize, at * 200, &call, b"close(3) = 0");
            assert!(timeline.marks <= 1_000);
        }
        let (packed, whole) = timeline.pack(&[0, 1], 0, |_, _| false);
        let columns = columns(&packed);
        let calls: u64 = columns[4].iter().map(|more| more + 1).sum();
        assert_eq!(calls, 50_000);
        assert!(whole.joined > 0 && whole.joined_calls + (whole.marks - whole.joined) == 50_000);
        // The failures are apart still: each is a mark of its own.
        let failed = packed.kinds.iter().position(|kind| kind.2 == "EBADF").unwrap() as u64;
        let alone = columns[2]
            .iter()
            .zip(&columns[4])
            .filter(|(kind, more)| **kind == failed && **more == 0);
        assert_eq!(alone.count(), 10);
    }

    #[test]
    fn failures_alone_are_bounded_too() {
        let mut timeline = Timeline::with(100);
        for at in 0..10_000_u64 {
            let call = call("close", -(1 + (at % 90) as i64), 100);
            timeline.take((at % 7) as usize, at * 1_000_000, &call, b"x");
            assert!(timeline.marks <= 100);
        }
    }
}
