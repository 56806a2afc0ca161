//! What whoever opened a sink keeps of it, whatever empties its queue: to ask, to wait.

use std::time::Duration;

use super::{delivery, queue};

/// A sink that is open.
#[derive(Debug)]
pub enum Handle {
    Queue(queue::Handle),
    Delivery(delivery::Handle),
}

impl Handle {
    /// Has the receiver open what it writes to again.
    pub fn reopen(&self) {
        match self {
            Self::Queue(handle) => handle.reopen(),
            // What it reads from files it reads again when it connects.
            Self::Delivery(_) => {}
        }
    }

    /// Bytes that wait in memory, and how many may.
    pub fn waiting(&self) -> (usize, usize) {
        match self {
            Self::Queue(handle) => handle.waiting(),
            Self::Delivery(handle) => handle.waiting(),
        }
    }

    /// How a delivery fares.
    pub fn health(&self) -> Option<delivery::Health> {
        match self {
            Self::Queue(_) => None,
            Self::Delivery(handle) => Some(handle.health()),
        }
    }

    /// Waits until all that was queued is delivered or given up, at most so long, or as long as the sink itself has been
    /// given; what wrote to it must have been closed.
    pub fn join(self, most: Option<Duration>) {
        match self {
            Self::Queue(handle) => handle.join(most),
            Self::Delivery(handle) => handle.join(most),
        }
    }
}
