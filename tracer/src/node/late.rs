//! Containers that are taken in, or let go, while they run.

use anyhow::Result;
use rustix::thread::{MembarrierCommand, membarrier};

use super::{Admitted, Node, RegisterError};
use crate::{
    event,
    options::Options,
    registry::Identity,
    report::{State, Verdict},
};

impl Node {
    /// Takes a container in again that an earlier daemon traced; `away` is when nobody did.
    ///
    /// # Errors
    /// As of [`Node::register`].
    pub fn restore(
        &self,
        info: event::Container,
        runtime: Option<String>,
        identity: Identity,
        options: Options,
        away: Vec<event::Away>,
    ) -> Result<Admitted, RegisterError> {
        self.admit(info, runtime, identity, true, options, away)
    }

    /// Lets a container go that runs on, after all that it did has reached the sinks.
    ///
    /// # Errors
    /// As of [`Node::end`].
    pub fn detach(&self, admitted: Admitted) -> Result<Option<Verdict>> {
        self.leave(admitted, State::Detached)
    }

    /// What is registered with these namespaces.
    pub fn registered(&self, identity: Identity) -> Option<(Admitted, event::Container)> {
        let inner = self.lock();
        let same = |other: Identity| other.mnt_ns == identity.mnt_ns && other.pid_ns == identity.pid_ns;
        let entry = inner.registry.iter().find(|entry| same(entry.identity))?;
        let admitted = Admitted {
            slot: entry.slot,
            generation: entry.generation,
            already: true,
        };
        Some((admitted, (*entry.info).clone()))
    }

    /// The host process id of its init.
    pub fn init_of(&self, admitted: Admitted) -> Option<u32> {
        let inner = self.lock();
        let entry = inner.registry.get(admitted.slot)?;
        (entry.generation == admitted.generation).then_some(entry.identity.init_tgid)
    }

    /// Host process ids of the registered containers' inits.
    pub fn inits(&self) -> Vec<u32> {
        let inner = self.lock();
        inner
            .registry
            .iter()
            .map(|entry| entry.identity.init_tgid)
            .collect()
    }

    /// Tells all readers of a container that asks to be traced and is not.
    ///
    /// # Errors
    /// When the pipeline has ended.
    pub fn warn_unregistered(&self, info: event::Container, reason: String) -> Result<()> {
        let info = std::sync::Arc::new(info);
        self.marks
            .post(crate::pipeline::Mark::Unregistered { info, reason })
    }
}

/// Waits until no CPU runs a program that saw the filter as it was before: programs run under RCU, and this barrier
/// waits for all of its readers.
pub(super) fn wait_for_programs() {
    // A kernel without it leaves a call that is in a program at this moment out of the books.
    let _absent = membarrier(MembarrierCommand::Global);
}
