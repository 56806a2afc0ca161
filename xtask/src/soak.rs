//! `cargo xtask soak`: the daemon under mixed load and churn for a while; what it holds must stay flat. The soak itself is a
//! program of the tests' harness.

use crate::{prepare, sh};
use anyhow::{Result, ensure};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long
    #[arg(long, value_name = "N", default_value_t = 30.0)]
    minutes: f64,
    /// Put the table into docs/reliability.md
    #[arg(long)]
    write: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(args.minutes >= 0.5, "--minutes is half a minute at least");
    prepare::run()?;
    prepare::build()?;
    // With the workloads that its containers run.
    sh::run(&mut sh::cargo([
        "build",
        "--release",
        "--package",
        "tracer-tests",
        "--bins",
    ]))?;
    let mut soak = std::process::Command::new(sh::target().join("release/soak"));
    soak.arg(args.minutes.to_string());
    if args.write {
        soak.arg("--write");
    }
    sh::run(&mut soak)
}
