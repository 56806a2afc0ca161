//! `cargo xtask fuzz`: the readers of others' bytes under libFuzzer, one after the other, each for a bounded time.
//!
//! What a target reads is the `tracer` crate's (`tracer/src/fuzz.rs`). CI does not run this: the build alone takes
//! minutes. There the unit tests run the same targets on the same corpus, and on random changes of it.

use crate::{ebpf, sh};
use anyhow::{Context, Result, bail, ensure};
use std::{fs, path::Path};

/// What is installed when there is none.
const CARGO_FUZZ: &str = "0.13.2";
const FOLDER: &str = "tests/fuzz";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these, of tests/fuzz/fuzz_targets
    targets: Vec<String>,
    /// How long each of them runs
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let all = targets()?;
    for target in &args.targets {
        ensure!(
            all.contains(target),
            "there is no target {target}: {}",
            all.join(", ")
        );
    }
    let nightly = ebpf::installed_nightly()?;
    let cargo = || ebpf::rustup_run(nightly, "cargo");
    if !sh::have("cargo-fuzz") {
        sh::run(cargo().args(["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ]))?;
    }
    let target_dir = sh::target().join("fuzz");
    let mut failed = Vec::new();
    for target in if args.targets.is_empty() {
        &all
    } else {
        &args.targets
    } {
        // What it finds goes into the first folder, and seeds of the second are only read.
        let found = target_dir.join("corpus").join(target);
        fs::create_dir_all(&found).with_context(|| found.display().to_string())?;
        let mut fuzz = cargo();
        // The readers are safe Rust, which overflow checks and debug assertions watch: an address sanitizer only slows them.
        fuzz.args([
            "fuzz",
            "run",
            "--fuzz-dir",
            FOLDER,
            "--sanitizer",
            "none",
            "--target-dir",
        ])
        .arg(&target_dir)
        .arg(target)
        .arg(&found)
        .arg(Path::new(FOLDER).join("corpus").join(target))
        .args([
            "--",
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-max_len=65536",
            "-print_final_stats=1",
        ])
        .arg(format!("-max_total_time={}", args.seconds));
        if let Err(why) = sh::run(&mut fuzz) {
            eprintln!("{target}: {why:#}");
            failed.push(target.as_str());
        }
    }
    if !failed.is_empty() {
        bail!(
            "{} failed: the input is in {FOLDER}/artifacts; fix it, and add it to {FOLDER}/corpus as a seed",
            failed.join(", ")
        );
    }
    Ok(())
}

/// By their files.
fn targets() -> Result<Vec<String>> {
    let folder = sh::root().join(FOLDER).join("fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}
