//! The options for how things look, which several commands share.

use std::{io::IsTerminal, time::Duration};

use clap::{ArgAction, Args, ValueEnum};

use crate::report::summary::{Columns, Sort};

/// The table of counts.
#[derive(Clone, Debug, Args)]
pub struct Summary {
    /// Order of the rows: time, min-time, max-time, avg-time, calls, errors, name or nothing.
    #[arg(
        short = 'S',
        long = "summary-sort-by",
        default_value = "time",
        value_name = "KEY"
    )]
    pub sort: Sort,
    /// Columns, as strace's: time-percent, total-time, min-time, max-time, avg-time, calls, errors, name; and ours:
    /// unfinished, p50, p95, p99, max, errnos.
    #[arg(
        id = "summary_columns",
        short = 'U',
        long = "summary-columns",
        value_name = "COLUMNS"
    )]
    pub columns: Option<Columns>,
}

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    Always,
    Never,
}

impl Color {
    /// Whether text for that stream is coloured.
    pub fn on(self, stream: &impl IsTerminal) -> bool {
        let unwanted = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = || std::env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => stream.is_terminal() && !unwanted() && !dumb(),
        }
    }
}

/// Lines of text.
#[derive(Clone, Debug, Args)]
pub struct Look {
    /// Show how long each call took: it is shown anyway, except with -z, -Z, --errno and `-e status=`.
    #[arg(short = 'T', overrides_with = "no_duration")]
    pub duration: bool,
    /// Do not show how long each call took.
    #[arg(long, action = ArgAction::SetTrue)]
    pub no_duration: bool,
    /// Colour: names, errors, strings. Never in files.
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
    /// Cut lines at that many columns; without a number, at the terminal's width.
    #[arg(long, value_name = "NUMBER", num_args = 0..=1, require_equals = true, default_missing_value = "0", value_parser = super::number::<u16>)]
    pub columns: Option<u16>,
    /// Show the processes and their programs as a tree at the end, instead of the calls.
    #[arg(long)]
    pub tree: bool,
}

/// The time between two looks.
pub(super) fn delay(text: &str) -> Result<Duration, String> {
    let time = super::duration(text)?;
    if (Duration::from_millis(10)..=Duration::from_secs(86_400)).contains(&time) {
        Ok(time)
    } else {
        Err(format!("{text:?} is no time from 10ms to 1d"))
    }
}
