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
