//! Recordings: what a node took of its containers, in a file that is read without the node. docs/recordings.md has the
//! format.
//!
//! A recording is a [`HEAD`], then blocks, each of which is read without the others: whoever writes one may be killed,
//! and whoever receives one may miss a block. `block` makes and reads one block, `writer` and `reader` a whole file.
//! The daemon's history is of the same blocks. Its bytes are untrusted when they are read.
//!
//! It must not know where events come from and go, the kernel or sockets.

mod block;
mod dumps;
mod history;
mod reader;
mod window;
mod writer;

#[cfg(test)]
mod tests;

use std::{io, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};

pub use block::Draft;
pub use dumps::{Dumps, Kept, Reason, Reasons, name_now};
pub use history::{Bounds, History, Recorder};
pub use reader::{Damage, Entry, Recording};
pub use window::{Moment, Window};
pub use writer::Writer;

use crate::{
    decode,
    event::{Arch, Body, Comm, Container, Diagnosis, Event, Lifecycle, Loss},
    report::{self, Stats, capabilities::Capabilities, observed},
    sinks::Phases,
};

/// How a file of ours is named.
pub const EXTENSION: &str = "trec";

/// Version of the format: a reader refuses what is newer.
pub const VERSION: u16 = 1;

/// What a file begins with: eight letters, the version, six bytes that are zero.
const HEAD: usize = 16;
const MAGIC: &[u8; 8] = b"tracerec";

/// A record as the kernel side wrote it, and the name of its task, which calls do not carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a> {
    pub comm: Comm,
    pub record: &'a [u8],
}

/// A recording of one block that holds these bytes.
#[cfg(any(test, fuzzing))]
pub(crate) fn around(items: &[u8]) -> Vec<u8> {
    let (mut block, mut file) = (Vec::new(), Vec::new());
    block::pack(block::ITEMS, items, (0, 0), (0, 0), &mut block);
    let mut writer = Writer::new(&mut file);
    // A vector takes all that is written.
    let _written = writer.blocks(&block).and_then(|()| writer.finish());
    file
}

/// What one has to know of the node to read its records elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// [`tracer_common::ABI_VERSION`] of the records.
    pub abi: u32,
    /// Of the machine.
    pub arch: Arch,
    /// Bytes of a string that were copied at most.
    pub string: u16,
    /// Bytes of a path.
    pub path: u16,
    /// `uname -r`
    pub kernel: String,
    /// Version of the program that wrote it.
    pub tracer: String,
}

impl Origin {
    /// This node, with these settings.
    pub fn here(options: &decode::Options) -> Self {
        Self {
            abi: tracer_common::ABI_VERSION,
            arch: options.arch,
            string: options.limits.string,
            path: options.limits.path,
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            tracer: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// How its records are read.
    fn options(&self, want: block::Want) -> decode::Options {
        decode::Options {
            arch: self.arch,
            limits: decode::Limits {
                string: match want {
                    block::Want::Strings(most) => most.min(self.string),
                    _ => self.string,
                },
                path: self.path,
            },
        }
    }
}

/// What a recording holds of a container beside its events: its books and counts, at its end or when the recording
/// ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// `tracer verify`
    pub verdict: report::Verdict,
    /// `tracer stats`, from the kernel's own aggregates: complete, whatever was lost.
    pub stats: Counts,
    /// `tracer caps`
    pub capabilities: Capabilities,
    /// What a profile is made from beside the counts; `None` where nobody observed.
    pub arguments: Option<observed::Arguments>,
    /// Path look-ups that found nothing; `None` where nobody observed.
    pub lookups: Option<observed::Lookups>,
    /// `tracer explain`; `None` where nothing was explained.
    pub explanation: Option<Explained>,
}

/// `tracer stats` of each phase.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counts {
    pub app: Stats,
    pub runtime: Stats,
    pub all: Stats,
}

impl Counts {
    /// Those of that phase.
    pub const fn of(&self, phases: Phases) -> &Stats {
        match phases {
            Phases::App => &self.app,
            Phases::Runtime => &self.runtime,
            Phases::All => &self.all,
        }
    }
}

/// Why calls of a container failed, with how often.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Explained {
    pub diagnoses: Vec<Told>,
    pub expected: Vec<Told>,
    pub left_out: u64,
}

/// An event that is no record of the kernel side's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Told {
    pub time_ns: u64,
    pub ktime: u64,
    pub what: What,
}

/// What it says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum What {
    Container(Lifecycle),
    Loss(Loss),
    Diagnosis(Box<Diagnosis>),
}

impl Told {
    /// `None` for an event that has a record.
    pub fn new(event: &Event) -> Option<Self> {
        let what = match &event.body {
            Body::Syscall(_) | Body::Process(_) => return None,
            Body::Container(what) => What::Container(what.clone()),
            Body::Loss(loss) => What::Loss(loss.clone()),
            Body::Diagnosis(found) => What::Diagnosis(found.clone()),
        };
        Some(Self {
            time_ns: event.time_ns,
            ktime: event.ktime,
            what,
        })
    }

    /// The event again.
    pub fn event(self, container: Arc<Container>) -> Event {
        Event {
            time_ns: self.time_ns,
            ktime: self.ktime,
            container,
            body: match self.what {
                What::Container(what) => Body::Container(what),
                What::Loss(loss) => Body::Loss(loss),
                What::Diagnosis(found) => Body::Diagnosis(found),
            },
        }
    }
}

/// Whether a word means a recording rather than a container: something of that name exists, it has a `/`, or it ends as
/// our files do.
pub fn is_file(word: &str) -> bool {
    word.contains('/')
        || Path::new(word)
            .extension()
            .is_some_and(|ending| ending == EXTENSION)
        || Path::new(word).exists()
}

/// Opens a new file that only its owner may read: it holds what programs read and wrote.
///
/// # Errors
/// The system's.
pub fn create(path: &Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}
