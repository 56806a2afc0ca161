//! `cargo xtask bench`: runs the bench program of the `tracer` crate, which owns what is measured and how.

use crate::sh;
use anyhow::Result;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Passed on as they are
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let cargo = [
        "run",
        "--release",
        "--package",
        "tracer",
        "--example",
        "bench",
        "--",
    ];
    sh::run(sh::cargo(cargo).args(&args.args))
}
