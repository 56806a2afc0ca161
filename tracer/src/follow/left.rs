//! What is known of a container's processes, as one daemon leaves it for the next. What they share is written with each of
//! them, as its room is counted.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{DESCRIPTOR, Domain, Followed, PROCESS, Process};

/// Of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// By their host process ids.
    processes: Vec<(u32, Process)>,
    /// By their host thread ids.
    domains: Vec<(u32, Domain)>,
}

impl Followed {
    /// For the daemon that comes after this one.
    pub(crate) fn leave(&self) -> Left {
        let processes = self.processes.iter();
        let domains = self.domains.iter();
        Left {
            processes: processes
                .map(|(pid, process)| (*pid, Process::clone(process)))
                .collect(),
            domains: domains
                .map(|(tid, domain)| (*tid, Domain::clone(domain)))
                .collect(),
        }
    }

    /// Goes on with what another left. What finds no room is not followed.
    pub(crate) fn resume(left: Left) -> Self {
        let mut followed = Self::default();
        for (pid, mut process) in left.processes {
            process.bytes = process.size();
            process.count();
            if followed.room.take(process.bytes) {
                followed.processes.insert(pid, Arc::new(process));
            }
        }
        for (tid, domain) in left.domains {
            followed.bind(tid, Arc::new(domain));
        }
        followed
    }
}

impl Process {
    /// What it takes.
    fn size(&self) -> usize {
        let paths: usize = self.descriptors.values().map(super::Descriptor::more).sum();
        let rulesets: usize = self.rulesets.values().map(super::Ruleset::bytes).sum();
        let program = self.program.as_ref().map_or(0, |path| path.len());
        PROCESS + DESCRIPTOR * self.descriptors.len() + paths + rulesets + program
    }
}
