//! What the daemon has seen of a container beside its counts.

use serde::{Deserialize, Serialize};

use super::{Names, State};

/// A container and what is asked of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed<T> {
    pub container: Names,
    pub state: State,
    pub seen: T,
}

/// A system call by its number in a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CallName {
    pub arch: String,
    pub nr: u32,
}

/// What a seccomp profile needs beyond the counts. What it says of the application's calls holds where it has seen as
/// many of them as were counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arguments {
    pub values: Vec<Values>,
    pub refused: Vec<Refused>,
    /// What the runtime called between its loading of a seccomp filter and the application; `None` where none was
    /// loaded, or that was not seen.
    pub under_filter: Option<Vec<String>>,
    /// Not all had room.
    pub full: bool,
}

/// The values of a call's deciding argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Values {
    pub call: CallName,
    pub syscall: String,
    /// How often it was seen.
    pub calls: u64,
    /// 32 bits each, without those of refused calls.
    pub seen: Vec<u64>,
    /// There were more values.
    pub more: bool,
}

/// Calls that seccomp refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub call: CallName,
    /// What they got; 0 for a signal.
    pub errno: u16,
    pub calls: u64,
}

/// `tracer dentry`: the look-ups of an application that found nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lookups {
    /// How many were seen.
    pub failed: u64,
    /// Of these, those whose path could not be read.
    pub unnamed: u64,
    /// And those whose path found no room.
    pub unkept: u64,
    /// Searches that found no room.
    pub searches_unkept: u64,
    /// By path, the most frequent first.
    pub paths: Vec<Lookup>,
    /// Names that were looked for in several places.
    pub searches: Vec<Search>,
    pub negative: Negative,
    /// What the kernel's own functions told; `None` of a recording, where nobody asked.
    #[serde(default)]
    pub detail: Option<Detail>,
}

/// Whether the kernel's functions that look names up are watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// Those, while they are.
    pub functions: Vec<String>,
    /// From when on, in UTC.
    pub since: Option<String>,
    /// Why they are not.
    pub absent: Option<String>,
}

/// A path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lookup {
    /// As the call had it, with strace's escapes.
    pub path: String,
    /// How often nothing was there (ENOENT).
    pub missing: u64,
    /// How often a part of it was no directory (ENOTDIR).
    pub not_a_directory: u64,
    /// How often the kernel's cache knew that nothing is there, and how often the file system had to be asked; as far as
    /// that was watched.
    #[serde(default)]
    pub cached: u64,
    #[serde(default)]
    pub looked_up: u64,
    pub first: String,
    pub last: String,
    /// Between these two, in a second; of less than a second, in that.
    pub per_second: f64,
    pub calls: Vec<String>,
    pub by: Vec<By>,
    /// By processes beyond those.
    pub others: u64,
}

impl Lookup {
    /// How often it failed.
    pub fn count(&self) -> u64 {
        self.missing + self.not_a_directory
    }
}

/// How often by whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    #[serde(flatten)]
    pub who: Who,
    pub count: u64,
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// Its number in the container; 0 where only the other is known.
    pub pid: u32,
    pub host_pid: u32,
    pub comm: String,
}

/// A name that one process looked for in several places.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    pub name: String,
    /// Where it was not, in that order.
    pub places: Vec<String>,
    /// Where it was at last.
    pub found: Option<String>,
    pub times: u64,
    pub by: Who,
}

/// Negative dentries of the whole node (nr_negative of /proc/sys/fs/dentry-state).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Negative {
    /// When the container began.
    pub began: Option<u64>,
    /// Now, or at its end.
    pub ended: Option<u64>,
}
