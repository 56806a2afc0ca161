//! `cargo xtask audit`: what the dependencies bring in: licences, sources, versions (deny.toml), and known vulnerabilities.
//!
//! Not in CI, which fetches nothing but crates and packages: the database of advisories is a git repository.

use crate::sh;
use anyhow::{Result, ensure};
use std::path::PathBuf;

/// What is installed when there is none.
const CARGO_DENY: &str = "0.20.2";
const CARGO_AUDIT: &str = "0.22.2";
/// Of the workspace, and of the fuzzers, which are none of its members.
const LOCKS: [&str; 2] = ["Cargo.lock", "tests/fuzz/Cargo.lock"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A checkout of https://github.com/rustsec/advisory-db to look in, instead of fetching one
    #[arg(long, value_name = "DIR")]
    database: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let database = args.database.as_deref().map(std::path::absolute).transpose()?;
    if let Some(database) = &database {
        ensure!(
            database.join("crates").is_dir(),
            "{}: no database of advisories: it has no folder crates",
            database.display()
        );
    }
    for (program, version) in [("cargo-deny", CARGO_DENY), ("cargo-audit", CARGO_AUDIT)] {
        if !sh::have(program) {
            sh::run(&mut sh::cargo([
                "install",
                program,
                "--locked",
                "--version",
                version,
            ]))?;
        }
    }
    sh::run(&mut sh::cargo(["deny", "check", "bans", "licenses", "sources"]))?;
    for lock in LOCKS {
        let mut audit = sh::cargo(["audit", "--deny", "warnings", "--file", lock]);
        if let Some(database) = &database {
            audit.arg("--no-fetch").arg("--db").arg(database);
        }
        sh::run(&mut audit)?;
    }
    Ok(())
}
