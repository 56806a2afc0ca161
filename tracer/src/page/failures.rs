//! The failed calls: by call and errno, by what the explain stage takes for one kind, and why.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{
    errno,
    event::{Cause, DeniedBy, Diagnosis, Outcome, Syscall, Task, Verdict},
    explain,
};

use super::html;

/// Kinds, and diagnoses, that are kept.
const KINDS: usize = 4096;
const CAUSES: usize = 1024;
/// Calls that are shown of one cause.
const CALLS: usize = 6;

#[derive(Debug, Default)]
pub(super) struct Failures {
    /// By call, and how it failed.
    pub(super) groups: BTreeMap<(String, String), Group>,
    kinds: HashMap<u64, Kind>,
    causes: Vec<Explained>,
    /// Failures that mean nothing, by call and errno: why, and how many the explain stage counted.
    usual: HashMap<(String, String), (String, u64)>,
    /// Diagnoses that found no room.
    pub(super) left_out: u64,
    pub(super) failed: u64,
}

/// Failures of one call with one errno.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) count: u64,
    /// The first line.
    pub(super) example: String,
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
    /// Who did it first: number and name.
    pub(super) by: (u32, String),
}

/// What the explain stage takes for one kind of failure.
#[derive(Debug)]
struct Kind {
    /// The first call, as a diagnosis has it.
    call: String,
    errno: Option<u16>,
    count: u64,
}

#[derive(Debug)]
struct Explained {
    time_ns: u64,
    found: Diagnosis,
}

/// One cause, and the calls that failed for it.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) verdict: Verdict,
    pub(super) first_ns: u64,
    pub(super) by: Task,
    pub(super) errno: String,
    pub(super) count: u64,
    /// The first calls, each with how often it failed.
    pub(super) calls: Vec<(String, u64)>,
    /// Further kinds of calls.
    pub(super) more: usize,
}

impl Failures {
    /// Takes a call, whatever became of it; whether it failed.
    pub(super) fn take(&mut self, time_ns: u64, call: &Syscall, line: &[u8]) -> bool {
        let how = match (call.outcome, call.denied_by) {
            (Outcome::Error(errno), None) => errno::name(errno).into_owned(),
            (Outcome::Error(errno), Some(by)) => format!("{} ({})", errno::name(errno), refuser(by)),
            (_, Some(by)) => format!("signal ({})", refuser(by)),
            _ => return false,
        };
        self.failed += 1;
        // A number without a name is the container's choice.
        let name = if call.name.starts_with("syscall_0x") {
            "(no such call)"
        } else {
            &call.name
        };
        let group = self
            .groups
            .entry((name.to_owned(), how))
            .or_insert_with(|| Group {
                count: 0,
                example: String::from_utf8_lossy(line).into_owned(),
                first_ns: time_ns,
                last_ns: time_ns,
                by: (call.task.pid, html::bytes_shown(call.task.comm.bytes())),
            });
        group.count += 1;
        group.last_ns = group.last_ns.max(time_ns);
        let has_room = self.kinds.len() < KINDS;
        let kind = explain::kind(call, true);
        match self.kinds.get_mut(&kind) {
            Some(kind) => kind.count += 1,
            None if has_room => {
                let errno = match call.outcome {
                    Outcome::Error(errno) => Some(errno),
                    _ => None,
                };
                self.kinds.insert(
                    kind,
                    Kind {
                        call: explain::written(call),
                        errno,
                        count: 1,
                    },
                );
            }
            None => {}
        }
        true
    }

    pub(super) fn explained(&mut self, time_ns: u64, found: &Diagnosis) {
        if found.verdict.cause == Cause::Expected {
            if let Some(errno) = found.errno
                && self.usual.len() < CAUSES
            {
                let key = (found.syscall.to_string(), errno::name(errno).into_owned());
                let usual = self
                    .usual
                    .entry(key)
                    .or_insert_with(|| (found.verdict.why.clone(), 0));
                usual.1 += found.count;
            }
            return;
        }
        if self.causes.len() >= CAUSES {
            self.left_out += 1;
            return;
        }
        self.causes.push(Explained {
            time_ns,
            found: found.clone(),
        });
    }
}

impl Failures {
    /// The causes, those first that are known and were met most often; calls with one verdict are one cause.
    pub(super) fn roots(&self) -> Vec<Root> {
        // A diagnosis says how often a call had failed when it was made; the calls themselves say how often in all.
        let mut counts: HashMap<(&str, Option<u16>), u64> = HashMap::new();
        for kind in self.kinds.values() {
            *counts.entry((&kind.call, kind.errno)).or_default() += kind.count;
        }
        let mut roots: Vec<Root> = Vec::new();
        let mut seen: HashMap<(&str, Option<u16>), ()> = HashMap::new();
        for Explained { time_ns, found } in &self.causes {
            if seen.insert((&found.call, found.errno), ()).is_some() {
                continue;
            }
            let count = counts
                .get(&(found.call.as_str(), found.errno))
                .copied()
                .unwrap_or(0)
                .max(found.count);
            match roots.iter_mut().find(|root| {
                root.verdict.cause == found.verdict.cause
                    && root.verdict.why == found.verdict.why
                    && root.verdict.fixes == found.verdict.fixes
            }) {
                Some(root) => {
                    root.count += count;
                    if root.calls.len() < CALLS {
                        root.calls.push((found.call.clone(), count));
                    } else {
                        root.more += 1;
                    }
                }
                None => roots.push(Root {
                    verdict: found.verdict.clone(),
                    first_ns: *time_ns,
                    by: found.task.clone(),
                    errno: found
                        .errno
                        .map_or_else(|| "a signal".to_owned(), |errno| errno::name(errno).into_owned()),
                    count,
                    calls: vec![(found.call.clone(), count)],
                    more: 0,
                }),
            }
        }
        roots.sort_by_key(|root| (rank(root.verdict.cause), root.first_ns));
        roots
    }

    /// The groups, the most frequent first, those last of which all were found to mean nothing; with why that is so.
    pub(super) fn by_count(&self) -> Vec<Listed<'_>> {
        let mut groups: Vec<_> = self
            .groups
            .iter()
            .map(|(key, group)| Listed {
                name: &key.0,
                how: &key.1,
                group,
                usual: self.usual(key, group),
            })
            .collect();
        groups.sort_by_key(|listed| (listed.usual.is_some(), std::cmp::Reverse(listed.group.count)));
        groups
    }
}

impl Failures {
    /// Why all failures of that group mean nothing, where they do.
    fn usual(&self, key: &(String, String), group: &Group) -> Option<&str> {
        let (why, count) = self.usual.get(key)?;
        (*count >= group.count).then_some(why.as_str())
    }

    /// The calls and errnos of which all failures mean nothing.
    pub(super) fn all_usual(&self) -> HashSet<(String, String)> {
        self.groups
            .iter()
            .filter(|(key, group)| self.usual(key, group).is_some())
            .map(|(key, _)| key.clone())
            .collect()
    }
}

/// Failures of one call with one errno, as they are listed.
#[derive(Debug)]
pub(super) struct Listed<'a> {
    pub(super) name: &'a str,
    pub(super) how: &'a str,
    pub(super) group: &'a Group,
    /// Why they mean nothing.
    pub(super) usual: Option<&'a str>,
}

/// What somebody forbade comes before what is not there, and that before what is not known.
const fn rank(cause: Cause) -> u8 {
    match cause {
        Cause::Missing | Cause::Arguments | Cause::Unsupported => 1,
        Cause::Undetermined => 2,
        _ => 0,
    }
}

const fn refuser(by: DeniedBy) -> &'static str {
    match by {
        DeniedBy::Seccomp => "seccomp",
        DeniedBy::Ptrace => "ptrace",
    }
}
