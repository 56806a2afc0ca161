//! `cargo xtask test-vm`: other kernels. Boots Debian's in virtual machines on this machine's files and runs `guest`
//! there, or a suite of the end-to-end tests; compares what their verifiers had to do with what is written down.

mod kernels;
mod machine;
mod table;

use crate::{prepare, sh};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{collections::BTreeMap, path::PathBuf, thread};

pub(crate) use machine::FILES;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Debian releases whose kernels to boot; none means all
    #[arg(long = "release")]
    releases: Vec<String>,
    /// Write what was measured into tests/kernels.tsv and docs/kernels.md
    #[arg(long)]
    write: bool,
    /// A suite of the end-to-end tests to run there instead, and its arguments
    #[arg(last = true)]
    suite: Vec<String>,
}

/// A release's kernel, and whether the programs load there. A guest has so many seconds: it is emulated, and the verifier
/// takes ten there for what it does in half a one.
struct Release {
    name: &'static str,
    loads: bool,
}

static RELEASES: [Release; 4] = [
    Release {
        name: "bullseye",
        loads: false,
    },
    Release {
        name: "bookworm",
        loads: true,
    },
    Release {
        name: "trixie",
        loads: true,
    },
    Release {
        name: "sid",
        loads: true,
    },
];
const SECONDS: u64 = 300;
const SUITE_SECONDS: u64 = 1800;

/// What a kernel made of the programs.
pub(super) struct Found {
    release: &'static str,
    version: String,
    report: Value,
}

impl Found {
    fn instructions(&self) -> BTreeMap<String, u64> {
        let figures = self.report["instructions"].as_object();
        let figures = figures.into_iter().flatten();
        figures
            .filter_map(|(name, figure)| Some((name.clone(), figure.as_u64()?)))
            .collect()
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    prepare::run()?;
    prepare::build()?;
    matrix(args)
}

/// Boots these, and compares what was found; all that it needs is there.
fn matrix(args: &Args) -> Result<()> {
    for name in &args.releases {
        let known = RELEASES.iter().any(|release| release.name == name);
        ensure!(known, "no kernel of {name} is booted here");
    }
    let chosen: Vec<&Release> = RELEASES
        .iter()
        .filter(|release| args.releases.is_empty() || args.releases.iter().any(|name| name == release.name))
        .collect();
    if !args.suite.is_empty() {
        return chosen.iter().try_for_each(|release| suite(release, &args.suite));
    }
    let workloads = ["build", "--release", "--package", "tracer-tests", "--bins"];
    sh::run(&mut sh::cargo(workloads))?;
    let mut found = Vec::new();
    // Two at a time: a guest's work is mostly one processor's.
    for pair in chosen.chunks(2) {
        let done: Vec<Result<Found>> = thread::scope(|scope| {
            let runs: Vec<_> = pair
                .iter()
                .map(|release| scope.spawn(|| examine(release)))
                .collect();
            let ends = runs.into_iter().map(|run| run.join());
            ends.map(|end| end.unwrap_or_else(|_| bail!("a thread panicked")))
                .collect()
        });
        for one in done {
            found.push(one?);
        }
    }
    table::compare(&found, args.write)
}

/// Boots a kernel and runs the guest's program.
fn examine(release: &'static Release) -> Result<Found> {
    let kernel = kernels::of(release.name)?;
    let program = sh::target().join("release/guest");
    let outcome = machine::run(&kernel, &program.display().to_string(), SECONDS)?;
    let report: Value = serde_json::from_str(&outcome.output).with_context(|| {
        format!(
            "{}: the guest says {:?}\n{}",
            kernel.version, outcome.output, outcome.console
        )
    })?;
    let found = Found {
        release: release.name,
        version: kernel.version,
        report,
    };
    println!("{}", table::summary(&found));
    let detail = found.report["detail"].as_str().unwrap_or_default();
    if release.loads {
        ensure!(
            outcome.status == 0 && found.report["loads"] == true,
            "{}: {:#}",
            found.version,
            found.report
        );
    } else {
        // It may not work; but then it says what is missing, and from when it is there.
        ensure!(
            outcome.status == 0 && found.report["loads"] == false && detail.contains("boot Linux 5.15"),
            "{}: what check says is not what is missing: {detail}",
            found.version
        );
    }
    Ok(found)
}

/// Runs a suite of the end-to-end tests under a kernel.
fn suite(release: &Release, suite: &[String]) -> Result<()> {
    let kernel = kernels::of(release.name)?;
    let (name, rest) = suite.split_first().context("no suite")?;
    let mut command = format!("cd {} && exec {}", sh::root().display(), program(name)?.display());
    for argument in rest.iter().map(String::as_str).chain(["--test-threads=1"]) {
        ensure!(!argument.contains('\''), "an argument with a quote");
        command += &format!(" '{argument}'");
    }
    command += " 2>&1";
    let outcome = machine::run(&kernel, &command, SUITE_SECONDS)?;
    println!("{} on {}\n{}", name, kernel.version, outcome.output);
    ensure!(
        outcome.status == 0,
        "suite {name} failed on {}\n{}",
        kernel.version,
        outcome.console
    );
    Ok(())
}

/// Builds a suite; its program.
fn program(suite: &str) -> Result<PathBuf> {
    let arguments = [
        "test",
        "--release",
        "--package",
        "tracer-tests",
        "--no-run",
        "--message-format=json",
        "--test",
        suite,
    ];
    let text = sh::output(&mut sh::cargo(arguments))?;
    let made = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = made.filter(|message| message["target"]["name"] == suite);
    let program = programs.find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    program.with_context(|| format!("cargo made no program of the suite {suite}"))
}
