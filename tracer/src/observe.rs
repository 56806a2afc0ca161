//! What is kept of a container's calls beside its events and counts: what they were given, who refused them. Bounded, and
//! whole only where its numbers say so.
//!
//! It looks at events that have passed; it must not know where they come from, the kernel, or who will ask.

mod arguments;
mod lookups;

#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::{
    event::{Body, Event, Lifecycle, Syscall},
    follow::Followed,
    report::observed,
};

/// Whether what is kept may depend on the arguments of a call of that name that succeeded, beside its paths.
pub fn looks_into(name: &str) -> bool {
    arguments::looks_into(name) || lookups::looks_into(name)
}

/// What was seen of one container.
#[derive(Debug, Default)]
pub struct Observed(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    arguments: arguments::Arguments,
    lookups: lookups::Lookups,
    negative: observed::Negative,
}

/// What one daemon leaves of it for the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Left {
    arguments: observed::Arguments,
    began: bool,
    lookups: lookups::Left,
    negative: observed::Negative,
}

impl Observed {
    /// For the daemon that comes after this one.
    pub fn leave(&self) -> Left {
        let seen = self.lock();
        Left {
            arguments: seen.arguments.told(),
            began: seen.arguments.began(),
            lookups: seen.lookups.leave(),
            negative: seen.negative.clone(),
        }
    }

    /// Goes on with what another left.
    pub fn resume(&self, left: Left) {
        *self.lock() = Seen {
            arguments: arguments::Arguments::resume(left.arguments, left.began),
            lookups: lookups::Lookups::resume(left.lookups),
            negative: left.negative,
        };
    }

    /// Looks at one of its events, and at what its processes had before it.
    pub fn take(&self, event: &Event, followed: Option<&Followed>) {
        match &event.body {
            Body::Syscall(call) => self.call(event.time_ns, call, followed),
            Body::Container(Lifecycle::Exec) => self.lock().arguments.application(),
            _ => {}
        }
    }

    fn call(&self, time_ns: u64, call: &Syscall, followed: Option<&Followed>) {
        if arguments::concern(call) {
            self.lock().arguments.take(call);
        }
        if lookups::concern(call) {
            self.lock().lookups.take(time_ns, call, followed);
        }
    }

    /// The node's negative dentries when the container began.
    pub fn began(&self, negative: Option<u64>) {
        self.lock().negative.began = negative;
    }

    /// The same at its end.
    pub fn ended(&self, negative: Option<u64>) {
        self.lock().negative.ended = negative;
    }

    /// What a profile is made from beside the counts.
    pub fn arguments(&self) -> observed::Arguments {
        self.lock().arguments.told()
    }

    /// The look-ups that failed.
    pub fn lookups(&self) -> observed::Lookups {
        let seen = self.lock();
        observed::Lookups {
            negative: seen.negative.clone(),
            ..seen.lookups.told()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // Each change leaves the tables whole; a panic elsewhere does not unmake them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
