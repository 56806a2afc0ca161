//! What the containers of a node did until now, for `tracer top`: sums that only grow. Rates are made by whoever looks
//! twice.

use serde::{Deserialize, Serialize};

use super::Line;
use crate::histogram::Histogram;

/// All containers at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activities {
    /// CLOCK_MONOTONIC nanoseconds of the look.
    pub ktime: u64,
    pub containers: Vec<Activity>,
}

/// A container's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    #[serde(flatten)]
    pub line: Line,
    /// By system call, those that returned.
    pub calls: Vec<Calls>,
    /// How long they took.
    pub durations: Histogram,
    /// Calls that found no row of their own.
    pub overflow: u64,
}

impl Activity {
    /// Of a container of whose calls nothing is known.
    pub fn nothing(line: Line) -> Self {
        Self {
            line,
            calls: Vec::new(),
            durations: Histogram::default(),
            overflow: 0,
        }
    }
}

/// Of one system call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// Its name; with its architecture, where that is not the machine's.
    pub syscall: String,
    pub calls: u64,
    /// Of these, those that failed.
    pub errors: u64,
    pub total_ns: u64,
}
