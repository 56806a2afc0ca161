//! `cargo xtask VERB`: what a contributor runs. One file a verb; this one only names them.

mod audit;
mod bench;
mod ci;
mod debian;
mod demo;
mod ebpf;
mod fuzz;
mod generate;
mod lint;
mod package;
mod prepare;
mod sh;
mod soak;
mod test;
mod test_vm;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Build, check, test and show the tracer")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

// A new verb is a file beside this one, a line here and a line in `main`.
#[derive(Subcommand)]
enum Verb {
    /// Build the kernel programs from source into tracer-ebpf/prebuilt/
    Ebpf(ebpf::Args),
    /// Formatting, clippy, who may import what, links, leftovers
    Lint,
    /// Install what the end-to-end tests need, and no more: to run one of them by itself afterwards
    Prepare,
    /// Install what is missing, build, run all tests
    Test(test::Args),
    /// Boot other kernels in virtual machines and trace containers there
    TestVm(test_vm::Args),
    /// What CI runs, in its order: lint, ebpf --check, test, test-vm
    Ci,
    /// Look what the dependencies bring in: licences, sources, known vulnerabilities
    Audit(audit::Args),
    /// Trace a real container and print its system calls
    Demo(demo::Args),
    /// Refresh the argument tables from the running kernel's own metadata
    Generate,
    /// Make the .deb and the .rpm, with the tools that this needs
    Package(package::Args),
    /// Measure what tracing costs, beside other tracers
    Bench(bench::Args),
    /// Give the readers of others' bytes what libFuzzer thinks of
    Fuzz(fuzz::Args),
    /// Run the daemon under mixed load and churn; what it holds must stay flat
    Soak(soak::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Ebpf(args) => ebpf::run(&args),
        Verb::Lint => lint::run(),
        Verb::Prepare => prepare::run(),
        Verb::Test(args) => test::run(&args),
        Verb::TestVm(args) => test_vm::run(&args),
        Verb::Ci => ci::run(),
        Verb::Audit(args) => audit::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Generate => generate::run(&sh::root()),
        Verb::Package(args) => package::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Fuzz(args) => fuzz::run(&args),
        Verb::Soak(args) => soak::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // One line, the whole chain: a backtrace of this program helps nobody.
        Err(why) => {
            eprintln!("xtask: {why:#}");
            ExitCode::FAILURE
        }
    }
}
