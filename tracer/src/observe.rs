//! What is kept of a container's calls beside its events and counts: what they were given, who refused them. Bounded, and
//! whole only where its numbers say so.
//!
//! It looks at events that have passed; it must not know where they come from, the kernel, or who will ask.

mod arguments;

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{
    event::{Body, Event, Lifecycle, Syscall},
    report::observed,
};

/// What was seen of one container.
#[derive(Debug, Default)]
pub struct Observed(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    arguments: arguments::Arguments,
}

impl Observed {
    /// Looks at one of its events.
    pub fn take(&self, event: &Event) {
        match &event.body {
            Body::Syscall(call) => self.call(call),
            Body::Container(Lifecycle::Exec) => self.lock().arguments.application(),
            _ => {}
        }
    }

    fn call(&self, call: &Syscall) {
        if arguments::concern(call) {
            self.lock().arguments.take(call);
        }
    }

    /// What a profile is made from beside the counts.
    pub fn arguments(&self) -> observed::Arguments {
        self.lock().arguments.told()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // Each change leaves the tables whole; a panic elsewhere does not unmake them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
