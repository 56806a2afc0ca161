//! Finds why a call failed: from the call itself, from what the kernel knew of the task at that moment
//! ([`crate::event::Evidence`]) and from what the daemon sees at once after ([`Scene`]).
//!
//! [`look`] fills the scene; only it reads the running system. [`judge`] decides by the rules of `rules/`, which read
//! nothing but their [`Case`]. It must not know sinks, sockets or the kernel source.

mod acl;
mod arguments;
mod case;
mod failures;
mod inquiry;
mod look;
mod quiet;
pub mod rules;
mod scene;
mod start;

use std::{sync::mpsc::sync_channel, thread::JoinHandle};

pub use acl::{Acl, Caller};
use anyhow::Context as _;
pub use case::{Case, Finding};
pub(crate) use failures::kind;
pub use failures::{Failures, Questions};
pub(crate) use inquiry::written;
pub use look::{Home, look};
pub use quiet::{Quiet, brings};
pub use scene::{
    Budget, CgroupVersion, Component, Filesystem, IdMap, Kind, Listener, Machine, MemoryGroup, Mount,
    Network, Path, PidsGroup, Program, Scene,
};

use crate::event::{Cause, Event, Verdict};

/// Failures that wait to be looked at. One that finds no room is told at its next time.
const QUEUE: usize = 1024;

/// What is known of a container's failures.
#[derive(Clone, Debug, Default)]
pub struct Explanation {
    /// By the time of their first call.
    pub diagnoses: Vec<Event>,
    /// Those that mean nothing.
    pub expected: Vec<Event>,
    /// Failed calls of which nothing is known: there were too many kinds, or too many at once.
    pub left_out: u64,
}

/// The stage before it runs: the pipeline has its end already.
#[derive(Debug)]
pub struct Inquiry {
    inbox: std::sync::mpsc::Receiver<failures::Told>,
    outbox: failures::Outbox,
}

/// Makes the stage: the pipeline's end, what becomes its thread, and the end that asks.
pub fn open() -> (Failures, Inquiry, Questions) {
    stage(false)
}

fn stage(patient: bool) -> (Failures, Inquiry, Questions) {
    let (to, inbox) = sync_channel(QUEUE);
    let outbox = failures::Outbox::default();
    (
        Failures::new(to.clone(), outbox.clone(), patient),
        Inquiry { inbox, outbox },
        Questions(to),
    )
}

/// The stage for calls that were made at another time, perhaps elsewhere: it judges by what was recorded of them, looks
/// at nothing, and so leaves open what only the system could tell.
///
/// # Errors
/// When the kernel gives no thread.
pub fn afterwards() -> anyhow::Result<(Failures, Questions, JoinHandle<()>)> {
    let (failures, inquiry, questions) = stage(true);
    Ok((failures, questions, inquiry.thread(false, || {})?))
}

impl Inquiry {
    /// Starts the thread; `poke` has the pipeline fetch what was found. It ends when both other ends are dropped.
    ///
    /// # Errors
    /// When the kernel gives no thread.
    pub fn start(self, poke: impl Fn() + Send + 'static) -> anyhow::Result<JoinHandle<()>> {
        self.thread(true, poke)
    }

    fn thread(self, here: bool, poke: impl Fn() + Send + 'static) -> anyhow::Result<JoinHandle<()>> {
        std::thread::Builder::new()
            .name("explain".into())
            .spawn(move || inquiry::run(&self.inbox, &self.outbox, here, poke))
            .context("start a thread")
    }
}

#[cfg(test)]
mod tests;

/// Why the call failed. Rules are asked in their order; the first that knows decides. Where none does, the verdict is
/// [`Cause::Undetermined`] and says what was ruled out.
pub fn judge(case: &Case<'_>) -> Verdict {
    let mut ruled_out = Vec::new();
    let not_looked_at = |what: &String| format!("(not looked at) {what}");
    for rule in rules::ALL {
        match (rule.judge)(case) {
            Finding::NotMine => {}
            Finding::RuledOut(what) => ruled_out.push(what),
            Finding::Is(mut verdict) => {
                // What is found rests on the less.
                let rights = case.scene.gone.iter().filter(|what| *what == scene::NOT_JOINED);
                ruled_out.extend(rights.map(not_looked_at));
                verdict.ruled_out = ruled_out;
                return verdict;
            }
        }
    }
    // What could not be looked at may be what it is.
    let unseen = case.scene.gone.iter();
    ruled_out.extend(unseen.map(not_looked_at));
    Verdict {
        cause: Cause::Undetermined,
        why: format!("no rule explains {} of {}", case.errno_name(), case.call.name),
        evidence: Vec::new(),
        fixes: Vec::new(),
        ruled_out,
    }
}
