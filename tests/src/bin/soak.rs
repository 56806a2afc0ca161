//! What `cargo xtask soak` runs: `soak MINUTES [--write]`. Prints a line a sample, then the table; with `--write` the table
//! goes into docs/reliability.md, too. Ends with 1 if something is not flat.

use anyhow::{Context, Result, ensure};
use std::{fs, path::Path, process::ExitCode, time::Duration};
use tracer_tests::soak;

/// Between these lines of docs/reliability.md the table stands.
const MARKS: (&str, &str) = ("<!-- soak -->\n", "<!-- end of soak -->\n");

fn main() -> ExitCode {
    match soak() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("soak: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn soak() -> Result<bool> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let minutes: f64 = words.first().context("usage: soak MINUTES [--write]")?.parse()?;
    ensure!(minutes >= 0.5, "half a minute at least");
    let report = soak::run(Duration::from_secs_f64(60.0 * minutes), |sample| {
        eprintln!(
            "{:6.0} s  {:6.1} MiB ({:.1})  {} descriptors  {} entries  {:.1} / {:.1} ms  {} containers  {} events",
            sample.at,
            sample.rss,
            sample.own,
            sample.fds,
            sample.entries,
            sample.p50,
            sample.p99,
            sample.containers,
            sample.events
        );
    })?;
    let table = report.table()?;
    println!("{table}");
    let complaints = report.complaints();
    for complaint in &complaints {
        eprintln!("soak: {complaint}");
    }
    if words.iter().any(|word| word == "--write") {
        write(&table)?;
    }
    Ok(complaints.is_empty())
}

fn write(table: &str) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reliability.md");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (before, rest) = text
        .split_once(MARKS.0)
        .context("no mark where the table begins")?;
    let (_, after) = rest.split_once(MARKS.1).context("no mark where the table ends")?;
    let text = format!("{before}{}\n{table}\n{}{after}", MARKS.0, MARKS.1);
    fs::write(&path, text).with_context(|| path.display().to_string())
}
