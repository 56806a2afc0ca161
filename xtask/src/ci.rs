//! `cargo xtask ci`: exactly what CI runs, fast things first; the first that fails ends it.

use crate::{ebpf, lint, test, test_vm};
use anyhow::Result;

pub(crate) fn run() -> Result<()> {
    lint::run()?;
    ebpf::check(true)?;
    test::suites(&test::Args::default())?;
    test_vm::all()
}
