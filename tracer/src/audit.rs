//! The coverage audit: containers that ask to be traced, run, and are not registered, by what the runtimes say.
//!
//! It looks and remembers what it has said; whether such a container is attached is the daemon's doing.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tracer_hook::annotations::{asks_for_trace, is_sandbox};

use crate::{
    identity,
    names::{self, describe},
    report::{Audited, Names, Unregistered},
    runtimes::{Found, Runtimes},
};

/// A younger container may still be on its way: its hook has two seconds at most.
const SETTLED: Duration = Duration::from_secs(3);
/// Containers that are remembered; the runtimes' states bound them already.
const MAX_REMEMBERED: usize = 16 * 1024;

/// What to do with a container that should be traced and is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Attach it late, and say so.
    Attach,
    /// Say so.
    #[default]
    Report,
    /// Do not look.
    Off,
}

/// A process that cannot be another one later: its number and its start.
type Process = (u32, u64);

/// What was found and said.
#[derive(Debug, Default)]
pub struct Audit {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Inits of containers of which was told.
    told: HashSet<Process>,
    /// Inits of containers that somebody detached by hand.
    left_alone: HashSet<Process>,
    /// What the last look came to.
    last: Audited,
}

impl Audit {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The containers that ask to be traced, run, and have none of these inits.
    pub fn look(&self, runtimes: &Runtimes, registered: impl FnOnce() -> Vec<u32>) -> Vec<Found> {
        let mut running = runtimes.running();
        // After the runtimes' states: what was registered meanwhile is registered.
        let registered: HashSet<u32> = registered().into_iter().collect();
        let now = clock_gettime(ClockId::Boottime);
        let now = now.tv_sec.unsigned_abs();
        let mut known = self.lock();
        let live: HashSet<Process> = running.iter().map(|found| (found.pid, found.pid_start)).collect();
        known.told.retain(|process| live.contains(process));
        // A container that no runtime names may have been attached by its process id.
        known
            .left_alone
            .retain(|(pid, start)| identity::started(*pid) == Some(*start));
        known.last = Audited {
            looks: true,
            running: running.len(),
            ..Audited::default()
        };
        running.retain(|found| {
            let age = now.saturating_sub(found.pid_start / rustix::param::clock_ticks_per_second().max(1));
            let is_registered = registered.contains(&found.pid);
            let is_left_alone = known.left_alone.contains(&(found.pid, found.pid_start));
            let asks = asks_for_trace(&found.annotations) && !is_sandbox(&found.annotations);
            // Whoever is excused from being registered is not counted either.
            let shall = asks && (is_registered || !is_left_alone && age >= SETTLED.as_secs());
            known.last.asking += usize::from(shall);
            shall && !is_registered
        });
        running
    }

    /// Nobody looks.
    pub fn rest(&self) {
        self.lock().last = Audited::default();
    }

    /// Keeps what a look has led to, for `status`, and returns those that are new.
    pub fn keep(&self, found: &[(Found, String)]) -> Vec<Unregistered> {
        let mut known = self.lock();
        known.last.unregistered.clear();
        let mut news = Vec::new();
        for (found, reason) in found {
            let line = Unregistered {
                names: names_of(found),
                runtime: names::manager(&found.annotations).or_else(|| Some(found.runtime.to_owned())),
                pid: found.pid,
                reason: reason.clone(),
            };
            if known.told.len() < MAX_REMEMBERED && known.told.insert((found.pid, found.pid_start)) {
                news.push(line.clone());
            }
            known.last.unregistered.push(line);
        }
        news
    }

    /// What the last look came to.
    pub fn last(&self) -> Audited {
        self.lock().last.clone()
    }

    /// Somebody detached the container of that init: it is not to be found again.
    pub fn leave_alone(&self, pid: u32) {
        let mut known = self.lock();
        if known.left_alone.len() < MAX_REMEMBERED
            && let Some(start) = identity::started(pid)
        {
            known.left_alone.insert((pid, start));
        }
    }
}

/// The container's names, its engine's among them.
pub fn names_of(found: &Found) -> Names {
    let mut annotations = found.annotations.clone();
    if let Some(name) = &found.name {
        let name = name.clone();
        annotations
            .entry(tracer_hook::annotations::NAME.to_owned())
            .or_insert(name);
    }
    Names::from(&describe(&found.id, &annotations, found.owner))
}
