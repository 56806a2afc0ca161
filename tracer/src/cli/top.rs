//! The options of `tracer top`: those of top(1) where it has them.

use std::{num::NonZeroU64, time::Duration};

use clap::Args;

use super::{Output, Select, look, number};
use crate::{sinks::Phases, top::Sort};

/// `tracer top`.
#[derive(Debug, Args)]
pub struct Top {
    /// Only these: names, ids, or beginnings of them.
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
    #[command(flatten)]
    pub select: Select,
    /// Look again after so long (`5`, `500ms`).
    #[arg(short = 'd', long = "delay", default_value = "1s", value_name = "TIME", value_parser = look::delay)]
    pub delay: Duration,
    /// End after so many tables.
    #[arg(short = 'n', long = "iterations", value_name = "NUMBER", value_parser = number::<NonZeroU64>)]
    pub iterations: Option<NonZeroU64>,
    /// Print table after table, for files and scripts; also where -o is json.
    #[arg(short = 'b', long)]
    pub batch: bool,
    /// Print one table: look, wait, look again. The same as -b -n 1.
    #[arg(long, conflicts_with = "iterations")]
    pub once: bool,
    /// Order of the rows: calls or errors (a second), p99, time, total, lost or name.
    #[arg(short = 'S', long, default_value = "calls", value_name = "KEY")]
    pub sort: Sort,
    /// Reverse the order.
    #[arg(short = 'R', long)]
    pub reverse: bool,
    /// Also containers that ended or were missed.
    #[arg(short = 'a', long)]
    pub all: bool,
    /// Whose calls: the application's, the container runtime's before it, or all.
    #[arg(long, default_value = "app", value_name = "app|runtime|all")]
    pub phase: Phases,
    #[command(flatten)]
    pub output: Output,
}
