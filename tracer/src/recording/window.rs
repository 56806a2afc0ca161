//! A stretch of a recording's time, as people name it, and the index by which a reader gets there.

use std::{
    io::{self, Read, Seek, SeekFrom},
    ops::RangeInclusive,
    str::FromStr,
};

use anyhow::{Result, ensure};

use super::{
    HEAD, block,
    writer::{END, END_BYTES, ROW},
};
use crate::units::Time;

/// How far the wall clock's distance from CLOCK_MONOTONIC may move, in nanoseconds.
const SLACK: i128 = 1_000_000_000;

/// A moment of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nanoseconds after its first event.
    After(u64),
    /// Nanoseconds since 1970.
    At(u64),
}

impl FromStr for Moment {
    type Err = String;

    /// `1.5s`, `2m`; `2026-11-27T22:10:44Z` (RFC 3339).
    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('T') {
            let time = chrono::DateTime::parse_from_rfc3339(text)
                .map_err(|_error| format!("{text:?} is no time like 2026-11-27T22:10:44Z"))?;
            let ns = time.timestamp_nanos_opt().and_then(|ns| u64::try_from(ns).ok());
            return ns
                .map(Self::At)
                .ok_or_else(|| format!("{text:?} is no time that an event can have"));
        }
        let Time(after) = text.parse()?;
        Ok(Self::After(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// From one moment to another, both in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub from: Option<Moment>,
    pub to: Option<Moment>,
}

impl Window {
    /// Whether it is the whole recording.
    pub const fn is_all(&self) -> bool {
        self.from.is_none() && self.to.is_none()
    }

    /// Whether an event of that wall clock time is in it, as far as that decides.
    pub(super) fn has(&self, time_ns: u64) -> bool {
        let before = |to| matches!(to, Some(Moment::At(ns)) if time_ns > ns);
        let after = |from| matches!(from, Some(Moment::At(ns)) if time_ns < ns);
        !before(self.to) && !after(self.from)
    }

    /// In CLOCK_MONOTONIC nanoseconds, where the recording's first event was at `first` and the wall clock ahead by
    /// `clock`: all of it, and a little more where it is said by the wall clock, which is read again and again.
    pub(super) fn of(&self, first: u64, clock: i64) -> Result<RangeInclusive<u64>> {
        let moment = |moment, slack: i128| match moment {
            Moment::After(ns) => first.saturating_add(ns),
            Moment::At(ns) => {
                let ktime = i128::from(ns) - i128::from(clock) + slack;
                u64::try_from(ktime.max(0)).unwrap_or(u64::MAX)
            }
        };
        let from = self.from.map_or(0, |from| moment(from, -SLACK));
        let to = self.to.map_or(u64::MAX, |to| moment(to, SLACK));
        ensure!(from <= to, "--from is after --to");
        Ok(from..=to)
    }
}

/// A row of the index: a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Where it begins.
    pub(super) at: u64,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// The blocks by the index at the recording's end, and behind them the index itself; `None` where it has none that could
/// be right. What it reads from is left at some place.
pub(super) fn index(from: &mut (impl Read + Seek + ?Sized)) -> io::Result<Option<(Vec<Row>, u64)>> {
    let length = from.seek(SeekFrom::End(0))?;
    let Some(end_at) = length.checked_sub(END_BYTES as u64) else {
        return Ok(None);
    };
    from.seek(SeekFrom::Start(end_at))?;
    let mut end = [0; END_BYTES];
    from.read_exact(&mut end)?;
    let at = end.first_chunk().map_or(0, |at| u64::from_le_bytes(*at));
    if !end.ends_with(END) || at < HEAD as u64 || at >= end_at {
        return Ok(None);
    }
    from.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    Read::take(&mut *from, end_at - at).read_to_end(&mut bytes)?;
    let plain = block::Head::read(&bytes)
        .filter(|head| head.kind == block::INDEX)
        .and_then(|head| head.unpack(bytes.get(block::HEAD..)?).ok());
    let Some(plain) = plain else { return Ok(None) };
    let rows: Option<Vec<Row>> = plain
        .chunks(ROW)
        .map(|row| {
            let long = |at: usize| Some(u64::from_le_bytes(row.get(at..at + 8)?.try_into().ok()?));
            Some(Row {
                at: long(0)?,
                first: long(8)?,
                last: long(16)?,
            })
        })
        .collect();
    let in_order = |rows: &Vec<Row>| {
        rows.is_sorted_by(|a, b| a.at < b.at) && rows.last().is_none_or(|last| last.at < at)
    };
    Ok(rows.filter(in_order).map(|rows| (rows, at)))
}
