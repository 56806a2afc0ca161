//! The options of `report`.

use std::path::PathBuf;

use clap::{
    Args,
    builder::{PathBufValueParser, TypedValueParser},
};

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
    /// Write the page to FILE; `-` is standard output [default: report.html, which is then said].
    #[arg(short, long, value_name = "FILE", value_parser = PathBufValueParser::new().try_map(page))]
    pub output: Option<PathBuf>,
    /// Whose calls: the application's, the container runtime's before it, or all.
    #[arg(long, default_value = "app", value_name = "app|runtime|all")]
    pub phase: Phases,
}

/// The file of the page. Elsewhere `-o` is a format, and a file of that name is not what was meant.
fn page(file: PathBuf) -> Result<PathBuf, String> {
    match file.to_str() {
        Some(format @ ("text" | "json" | "html")) => Err(format!(
            "-o names the file of the page here, which is always HTML: -o report.html, or -o ./{format} if that is its name"
        )),
        _ => Ok(file),
    }
}
