//! The options of `tracer export`: which events, of tail; as what, where to.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Filter, Select, Stretch};
use crate::{
    event::Descriptors,
    export,
    filter::{self, Begin},
    sinks::Phases,
};

/// `tracer export`.
#[derive(Debug, Args)]
pub struct Export {
    /// A container by its name, its id or the beginning of one: what the daemon holds of it; or the file of a recording, `-`
    /// for standard input.
    #[arg(value_name = "CONTAINER|RECORDING")]
    pub source: String,
    /// Only these containers of a recording: names, ids, or beginnings of them.
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
    #[command(flatten)]
    pub select: Select,
    /// Format of what is written.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Format,
    /// Write to FILE; `-` is standard output.
    #[arg(short, long, default_value = "-", value_name = "FILE")]
    pub write: PathBuf,
    /// Whose calls: the application's, the container runtime's before it, or all.
    #[arg(long, default_value = "app", value_name = "app|runtime|all")]
    pub phase: Phases,
    #[command(flatten)]
    pub filter: Filter,
    /// Write what file descriptors stand for, where it was recorded; twice, also the addresses of sockets and the numbers
    /// of devices.
    #[arg(short = 'y', action = clap::ArgAction::Count)]
    pub descriptors: u8,
    #[command(flatten)]
    pub stretch: Stretch,
    /// Bytes of each string and buffer to write: no more than were recorded.
    #[arg(short = 's', long = "string-limit", value_name = "BYTES", value_parser = super::number::<u16>)]
    pub strings: Option<u16>,
}

/// What an export is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A Chrome trace, which Perfetto opens: a track a thread.
    Chrome,
    /// A table with types, for DuckDB and its like.
    Parquet,
    /// The same table for spreadsheets.
    Csv,
    /// The lines of `tail -o json`.
    Jsonl,
}

impl From<Format> for export::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Chrome => Self::Chrome,
            Format::Parquet => Self::Parquet,
            Format::Csv => Self::Csv,
            Format::Jsonl => Self::Jsonl,
        }
    }
}

impl Export {
    /// Which calls.
    pub fn words(&self) -> filter::Words {
        filter::Words {
            begin: Begin::Whole,
            ..self.filter.words()
        }
    }

    /// What `-y` asks.
    pub const fn descriptors(&self) -> Descriptors {
        super::descriptors(self.descriptors)
    }
}
