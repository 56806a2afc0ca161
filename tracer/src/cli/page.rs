//! The options of `report`.

use std::path::PathBuf;

use clap::Args;

use crate::sinks::Phases;

/// `tracer report`.
#[derive(Debug, Args)]
pub struct Report {
    /// A container by its name, its id or the beginning of one, also one that has ended; or the file of a recording, `-`
    /// for standard input.
    #[arg(value_name = "CONTAINER|RECORDING")]
    pub of: String,
    /// Which container of a recording of several; without it, the first.
    #[arg(long, value_name = "CONTAINER")]
    pub container: Option<String>,
    /// Write the page to FILE; `-` is standard output.
    #[arg(short, long, default_value = "report.html", value_name = "FILE")]
    pub output: PathBuf,
    /// Whose calls: the application's, the container runtime's before it, or all.
    #[arg(long, default_value = "app", value_name = "app|runtime|all")]
    pub phase: Phases,
}
