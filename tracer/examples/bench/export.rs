//! How many events a core decodes and exports in each format, and what memory that takes beside the recording.

use std::{fs, io, time::Instant};

use anyhow::{Context, Result};
use tracer::{
    decode, event,
    export::{self, Format},
};

use crate::decode::{EVENTS, event_of, record};

const FORMATS: [(&str, Format); 4] = [
    ("chrome", Format::Chrome),
    ("parquet", Format::Parquet),
    ("csv", Format::Csv),
    ("jsonl", Format::Jsonl),
];

/// Counts what is written.
struct Count(u64);

impl io::Write for &mut Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints the figures.
pub(super) fn bench() -> Result<()> {
    let records = record().context("record programs")?;
    let options = decode::Options::native();
    let container = std::sync::Arc::new(event::Container {
        id: "bench".into(),
        ..event::Container::default()
    });
    println!("## What a core exports\n");
    println!("| format | million events a second | bytes each | memory |\n| --- | --- | --- | --- |");
    for (name, format) in FORMATS {
        // Resets the peak; proc(5).
        fs::write("/proc/self/clear_refs", "5")?;
        let before = peak()?;
        let mut count = Count(0);
        let begin = Instant::now();
        let mut to = export::begin(format, &mut count, event::Descriptors::Numbers)?;
        // As if they had gone on: time never goes back.
        let span = records.last().map_or(0, |last| ktime(last, &options))
            - records.first().map_or(0, |first| ktime(first, &options));
        for (at, record) in records.iter().cycle().take(EVENTS).enumerate() {
            let mut event = event_of(record, &options, &container)?;
            let later = (at / records.len()) as u64 * span;
            event.ktime += later;
            event.time_ns += later;
            to.take(&event)?;
        }
        to.finish()?;
        drop(to);
        let rate = EVENTS as f64 / begin.elapsed().as_secs_f64() / 1e6;
        println!(
            "| {name} | {rate:.2} | {} | {} KiB |",
            count.0 / EVENTS as u64,
            peak()?.saturating_sub(before)
        );
    }
    println!();
    Ok(())
}

fn ktime(record: &[u8], options: &decode::Options) -> u64 {
    decode::decode(record, options).map_or(0, |record| record.ktime)
}

/// KiB that this process had at most.
fn peak() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.context("no VmHWM")?.parse().context("VmHWM")
}
