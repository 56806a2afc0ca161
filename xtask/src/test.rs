//! `cargo xtask test`: all tests. The last lines are cargo test's own.

use crate::{ebpf, package, prepare, sh};
use anyhow::{Result, ensure};

#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Only what needs neither root nor a runtime
    #[arg(long)]
    unit: bool,
    /// Passed to the end-to-end tests: names to select, or options of the test program
    #[arg(last = true)]
    filter: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    ebpf::check(false)?;
    suites(args)
}

/// The tests without the check of the eBPF object.
pub(crate) fn suites(args: &Args) -> Result<()> {
    if !args.unit {
        prepare::run()?;
        prepare::build()?;
        package::all()?;
    }
    let unit = sh::run(&mut sh::cargo([
        "test",
        "--workspace",
        "--exclude",
        "tracer-tests",
        "--no-fail-fast",
    ]));
    if args.unit {
        return unit;
    }
    // One at a time: each has a daemon of its own, and some measure how long a hook takes. The workloads have no tests.
    let e2e = [
        "test",
        "--release",
        "--package",
        "tracer-tests",
        "--lib",
        "--test",
        "*",
        "--no-fail-fast",
    ];
    let e2e = e2e.into_iter().chain(["--", "--test-threads=1"]);
    // A test's own message says what was wrong; where it stood says nothing more.
    let mut e2e = sh::cargo(e2e);
    e2e.args(&args.filter).env("RUST_BACKTRACE", "0");
    // The programs under test are built as they ship; to optimise forty test programs across crates takes ten minutes.
    e2e.env("CARGO_PROFILE_RELEASE_LTO", "off");
    e2e.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    let e2e = sh::run(&mut e2e);
    ensure!(
        unit.is_ok(),
        "unit tests failed: their report is above that of the end-to-end tests"
    );
    e2e
}
