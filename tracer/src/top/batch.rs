//! Tables for scripts: text as `ps` prints it, and JSON, a line a look.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    columns::{self, CONTAINERS},
    rates::Row,
    view,
};
use crate::{
    report::{activity::Activities, table},
    sinks::json::rfc3339,
};

/// One look.
#[derive(Serialize)]
struct Table<'a> {
    time: String,
    /// Seconds since the look before.
    interval: f64,
    containers: &'a [Row],
}

/// Writes a line of JSON.
pub(super) fn json(to: &mut impl Write, rows: &[Row], seconds: f64) -> io::Result<()> {
    let table = Table {
        time: rfc3339(wall_ns()),
        interval: seconds,
        containers: rows,
    };
    serde_json::to_writer(&mut *to, &table)?;
    to.write_all(b"\n")
}

/// Writes a head and the table.
pub(super) fn text(
    to: &mut impl Write,
    now: &Activities,
    rows: &[Row],
    seconds: f64,
    width: Option<usize>,
) -> io::Result<()> {
    writeln!(
        to,
        "tracer top  {}  in {seconds:.1} s",
        view::summary(&now.containers, rows)
    )?;
    let (lines, layouts) = columns::lines(&CONTAINERS, rows);
    table::write(to, &lines, &layouts, 2, width)
}

fn wall_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
