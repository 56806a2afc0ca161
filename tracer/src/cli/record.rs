//! The options of `record`, `replay` and `dump`.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::Args;

use super::{Events, Filter, Output, Select, Start, Summary, Tuning};
use crate::{
    event::Descriptors,
    filter::{self, Begin},
    recording::{Moment, Reasons, Window},
    sinks::Phases,
};

/// `tracer record`.
#[derive(Debug, Args)]
pub struct Record {
    /// Names, ids, or beginnings of them, also of containers that are not there yet; none means all.
    #[arg(value_name = "CONTAINER", conflicts_with_all = ["command", "starts", "tunes"])]
    pub containers: Vec<String>,
    #[command(flatten)]
    pub select: Select,
    /// Write the recording to FILE; `-` is standard output.
    #[arg(short, long, value_name = "FILE", required = true)]
    pub write: PathBuf,
    /// Whose calls: the application's, the container runtime's before it, or all.
    #[arg(long, default_value = "all", value_name = "app|runtime|all")]
    pub phase: Phases,
    #[command(flatten)]
    pub filter: Filter,
    /// Also record what file descriptors stand for; twice, also the addresses of sockets and the numbers of devices.
    #[arg(short = 'y', action = clap::ArgAction::Count)]
    pub descriptors: u8,
    /// First record what the daemon still holds.
    #[arg(long)]
    pub since_start: bool,
    /// End when the containers are gone and all their events are written.
    #[arg(long)]
    pub until_gone: bool,
    #[command(flatten)]
    pub start: Start,
    #[command(flatten)]
    pub tuning: Tuning,
    /// A command to run and record, with no daemon and no container runtime.
    #[arg(last = true, value_name = "CMD", conflicts_with_all = ["Select", "since_start", "until_gone"])]
    pub command: Vec<OsString>,
}

impl Record {
    /// Which calls.
    pub fn words(&self) -> filter::Words {
        filter::Words {
            begin: if self.descriptors > 0 {
                Begin::Whole
            } else {
                Begin::Time
            },
            ..self.filter.words()
        }
    }

    /// What `-y` asks.
    pub const fn descriptors(&self) -> Descriptors {
        super::descriptors(self.descriptors)
    }
}

/// `tracer replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// The file of a recording; `-` is standard input.
    #[arg(value_name = "RECORDING")]
    pub file: PathBuf,
    /// Only these: names, ids, or beginnings of them.
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
    #[command(flatten)]
    pub select: Select,
    #[command(flatten)]
    pub events: Events,
    #[command(flatten)]
    pub stretch: Stretch,
    /// Bytes of each string and buffer to show: no more than were recorded.
    #[arg(short = 's', long = "string-limit", value_name = "BYTES", value_parser = super::number::<u16>)]
    pub strings: Option<u16>,
    /// Show no calls, only their counts, as strace -c does.
    #[arg(short = 'c', long, conflicts_with = "summary_too")]
    pub summary_only: bool,
    /// Show the calls, and their counts at the end, as strace -C does.
    #[arg(short = 'C', long = "summary")]
    pub summary_too: bool,
    #[command(flatten)]
    pub summary: Summary,
}

/// Which stretch of a recording.
#[derive(Clone, Copy, Debug, Args)]
pub struct Stretch {
    /// Begin there in the recording: so long after its first event (`1.5s`, `2m`), or at a time
    /// (`2026-11-27T22:10:44Z`).
    #[arg(long, value_name = "TIME")]
    pub from: Option<Moment>,
    /// End there, likewise.
    #[arg(long, value_name = "TIME")]
    pub to: Option<Moment>,
}

impl From<Stretch> for Window {
    fn from(Stretch { from, to }: Stretch) -> Self {
        Self { from, to }
    }
}

/// `tracer dump`.
#[derive(Debug, Args)]
pub struct Dump {
    /// Name, id, or the beginning of one; also of a container that has ended.
    #[arg(required_unless_present = "list")]
    pub container: Option<String>,
    /// Write the recording to FILE; `-` is standard output. Else to a new file here, named by the time.
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// List the dumps that the daemon made by itself.
    #[arg(long, conflicts_with_all = ["container", "write"])]
    pub list: bool,
    #[command(flatten)]
    pub output: Output,
}

/// The flight recorder of a daemon.
#[derive(Debug, Args)]
pub struct Recorder {
    /// What is always held of each container's last events, packed [default: 2M].
    #[arg(long, value_parser = super::size, value_name = "BYTES")]
    pub flight_recorder: Option<u32>,
    /// Hold no event longer than that (`30s`, `5m`) [default: no limit].
    #[arg(long, value_parser = super::duration, value_name = "TIME")]
    pub flight_recorder_time: Option<Duration>,
    /// What is held of all containers together; the ended give way first [default: 16M].
    #[arg(long, value_parser = super::size, value_name = "BYTES")]
    pub flight_recorder_total: Option<u32>,
    /// Keep a file of what is held when that happens: all, none, or of exit (another code than 0), signal (a fatal one),
    /// oom, diagnosis [default: none].
    #[arg(long, value_name = "LIST")]
    pub dump_on: Option<Reasons>,
    /// Where these files are kept [default: /var/lib/tracer/dumps].
    #[arg(long, value_name = "DIR")]
    pub dump_dir: Option<PathBuf>,
    /// How many bytes of them; the oldest give way [default: 256M].
    #[arg(long, value_parser = super::size, value_name = "BYTES")]
    pub dump_bytes: Option<u32>,
}
