//! What tracing costs, seen from outside: whole programs with and without it, beside other tracers, in one run.
//! `cargo xtask bench` runs it, and the bench program of the `tracer` crate for what is measured inside.
//!
//! `bench [--quick] [--check] [SECTION…]` prints a Markdown section for each: `machine`, `peers`, `redis`, `containers`,
//! `clients`, `start`. Ways to trace take turns in each round, the least of all rounds counts: what is above it is the
//! machine's noise. With `--check`, a goal that is missed is a failure.

mod figure;
mod machine;
mod node;
mod peers;
mod redis;
mod start;
mod ways;

use anyhow::{Result, bail};
use figure::Goals;
use std::{env, process::ExitCode};

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let (options, sections): (Vec<_>, Vec<_>) = words.iter().partition(|word| word.starts_with("--"));
    let quick = options.iter().any(|word| *word == "--quick");
    let check = options.iter().any(|word| *word == "--check");
    let mut goals = Goals::default();
    for section in sections {
        eprintln!("bench: {section}");
        if let Err(why) = measure(section, quick, &mut goals) {
            eprintln!("bench: {section}: {why:#}");
            return ExitCode::from(2);
        }
    }
    for missed in goals.missed() {
        eprintln!("bench: missed: {missed}");
    }
    if check && !goals.missed().is_empty() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn measure(section: &str, quick: bool, goals: &mut Goals) -> Result<()> {
    match section {
        "machine" => machine::print(),
        "peers" => peers::print(quick, goals),
        "redis" => redis::print(quick, goals),
        "containers" => node::containers(quick, goals),
        "clients" => node::clients(quick),
        "start" => start::print(quick, goals),
        other => bail!("no such section: {other}"),
    }
}
