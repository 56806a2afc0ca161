//! The short form of `cargo xtask soak`: what the daemon holds stays flat under mixed load and churn.

use anyhow::{Result, ensure};
use std::time::Duration;
use tracer_tests::soak;

#[test]
fn a_minute_of_everything_is_flat() -> Result<()> {
    let report = soak::run(Duration::from_secs(60), |_| {})?;
    eprintln!("{}", report.table()?);
    // What a minute's latencies say is what else the machine did; the long form judges them.
    let mut complaints = report.complaints();
    complaints.retain(|complaint| !complaint.starts_with("latency"));
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}
