//! `cargo xtask test-vm`: other kernels. Boots Debian's in virtual machines on this machine's files and runs `guest`
//! there, or a suite of the end-to-end tests; compares what their verifiers had to do with what is written down.

mod kernels;
mod machine;
mod table;

use self::kernels::Kernel;
use crate::{prepare, sh};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{collections::BTreeMap, path::PathBuf, thread};

pub(crate) use machine::FILES;

#[derive(clap::Args, Default)]
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

/// A release's kernel. A guest has so many seconds: it is emulated, and the verifier takes ten there for what it does in
/// half a one.
struct Release {
    name: &'static str,
    /// The programs load there.
    loads: bool,
    /// Its kernel is another one next week.
    moves: bool,
    /// Its packages may not be where they were: an old release leaves the mirrors, the newest one is rebuilt. Without
    /// it the others are tried all the same.
    may_be_absent: bool,
}

static RELEASES: [Release; 4] = [
    Release {
        name: "bullseye",
        loads: false,
        moves: false,
        may_be_absent: true,
    },
    Release {
        name: "bookworm",
        loads: true,
        moves: false,
        may_be_absent: false,
    },
    Release {
        name: "trixie",
        loads: true,
        moves: false,
        may_be_absent: false,
    },
    Release {
        name: "sid",
        loads: true,
        moves: true,
        may_be_absent: true,
    },
];
const SECONDS: u64 = 300;
const SUITE_SECONDS: u64 = 1800;

/// What a kernel made of the programs.
pub(super) struct Found {
    release: &'static str,
    moves: bool,
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

/// All of them, as CI does; all that it needs is there.
pub(crate) fn all() -> Result<()> {
    matrix(&Args::default())
}

/// Boots these, and compares what was found.
fn matrix(args: &Args) -> Result<()> {
    for name in &args.releases {
        let known = RELEASES.iter().any(|release| release.name == name);
        ensure!(known, "no kernel of {name} is booted here");
    }
    let chosen: Vec<&'static Release> = RELEASES
        .iter()
        .filter(|release| args.releases.is_empty() || args.releases.iter().any(|name| name == release.name))
        .collect();
    if !args.suite.is_empty() {
        return chosen.iter().try_for_each(|release| suite(release, &args.suite));
    }
    let workloads = ["build", "--release", "--package", "tracer-tests", "--bins"];
    sh::run(&mut sh::cargo(workloads))?;
    let mut kernels = Vec::new();
    for release in chosen {
        match kernels::of(release.name) {
            Ok(kernel) => kernels.push((release, kernel)),
            // Asked for by name, or where it has to be, it is a failure.
            Err(error) if release.may_be_absent && args.releases.is_empty() => {
                println!("{}: NOT TRIED, its kernel cannot be had: {error:#}", release.name);
            }
            Err(error) => return Err(error),
        }
    }
    let mut found = Vec::new();
    // Two at a time: a guest's work is mostly one processor's.
    for pair in kernels.chunks(2) {
        let done: Vec<Result<Found>> = thread::scope(|scope| {
            let runs: Vec<_> = pair
                .iter()
                .map(|(release, kernel)| scope.spawn(|| examine(release, kernel)))
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
fn examine(release: &'static Release, kernel: &Kernel) -> Result<Found> {
    let program = sh::target().join("release/guest");
    let outcome = machine::run(kernel, &program.display().to_string(), SECONDS)?;
    let report: Value = serde_json::from_str(&outcome.output).with_context(|| {
        format!(
            "{}: the guest says {:?}\n{}",
            kernel.version, outcome.output, outcome.errors
        )
    })?;
    let found = Found {
        release: release.name,
        moves: release.moves,
        version: kernel.version.clone(),
        report,
    };
    println!("{}", table::summary(&found));
    for step in found.report["steps"].as_array().into_iter().flatten() {
        println!("    {}: {}", word(&step["step"]), word(&step["detail"]));
    }
    let detail = word(&found.report["detail"]);
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
            outcome.status == 0
                && found.report["loads"] == false
                && detail.contains(
                    "no task-local storage for tracing programs, which came with Linux 5.11: boot Linux 5.15"
                ),
            "{}: what check says is not what is missing: {detail}",
            found.version
        );
    }
    Ok(found)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
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
        outcome.errors
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
