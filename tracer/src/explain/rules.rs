//! The rules, in the order in which they are asked: what the kernel itself tells comes first, what must be concluded
//! comes last. A rule is one file: what it decides, the source that it rests on, its tests.
//!
//! A rule is a pure function of its case. It says "not mine" at the first look that tells so, "ruled out" where a reader
//! of an undetermined verdict would have asked, and decides only on what is known.

mod asked;
mod busy;
mod capability;
mod cgroup;
mod dac;
mod exec;
pub(super) mod expected;
mod gains;
mod ids;
mod landlock;
mod long;
mod lsm;
mod missing;
mod mount;
mod name_server;
mod netlink;
mod network;
pub(super) mod oom;
mod overlay;
mod realtime;
mod rlimit;
pub(super) mod search;
mod seccomp;
mod sysctl;
#[cfg(test)]
mod tests;
mod words;

use super::{Case, Finding};

/// A rule.
pub struct Rule {
    /// Its file's name.
    pub name: &'static str,
    /// The man page or kernel file that it rests on.
    pub source: &'static str,
    pub judge: fn(&Case<'_>) -> Finding,
}

/// All rules. Those that say what a failure means that is none come before those that look for files; those that rest on
/// a check that the kernel made come before those that compare numbers of their own.
pub const ALL: &[Rule] = &[
    seccomp::RULE,
    netlink::RULE,
    name_server::RULE,
    search::RULE,
    expected::RULE,
    gains::RULE,
    realtime::RULE,
    rlimit::RULE,
    cgroup::RULE,
    sysctl::RULE,
    overlay::RULE,
    busy::RULE,
    long::RULE,
    mount::RULE,
    exec::RULE,
    network::RULE,
    ids::RULE,
    dac::RULE,
    capability::RULE,
    landlock::RULE,
    lsm::RULE,
    missing::RULE,
    asked::RULE,
];

#[cfg(test)]
pub(crate) mod testing {
    //! Builds cases for the rules' tests.

    use crate::{
        event::{Arch, Arg, Args, DeniedBy, Evidence, Outcome, Syscall, Task, Verdict},
        explain::{Case, Finding, IdMap, Scene},
    };

    /// A call that failed, from its arguments' names, registers and texts.
    pub(crate) fn failed(name: &'static str, errno: i32, args: &[(&'static str, u64, &str)]) -> Syscall {
        let mut all = Args::default();
        for (name, raw, text) in args {
            let from = all.text.len();
            all.text.push_str(text);
            all.list.push(Arg {
                name,
                raw: *raw,
                text: from..all.text.len(),
                truncated: false,
                fault: false,
            });
            all.text.push(' ');
        }
        Syscall {
            task: Task::default(),
            seq: 1,
            arch: Arch::X86_64,
            nr: 0,
            name: name.into(),
            args: all,
            outcome: Outcome::Error(u16::try_from(errno).unwrap_or_default()),
            duration_ns: None,
            denied_by: None,
            negative: None,
            evidence: None,
        }
    }

    impl Syscall {
        /// With what the kernel knew.
        pub(crate) fn knowing(mut self, evidence: Evidence) -> Self {
            self.evidence = Some(Box::new(evidence));
            self
        }

        pub(crate) fn denied(mut self, by: DeniedBy) -> Self {
            self.denied_by = Some(by);
            self
        }
    }

    /// A rootless container's: its root is user 1000, the others begin at 100000.
    pub(crate) fn id_map() -> [IdMap; 2] {
        let line = |inside, outside, count| IdMap {
            inside,
            outside,
            count,
        };
        [line(0, 1000, 1), line(1, 100_000, 65536)]
    }

    /// What one rule says of it.
    pub(crate) fn ask(rule: &super::Rule, call: &Syscall, scene: &Scene) -> Finding {
        (rule.judge)(&Case { call, scene })
    }

    /// The verdict that a rule must have come to.
    pub(crate) fn verdict(rule: &super::Rule, call: &Syscall, scene: &Scene) -> Verdict {
        match ask(rule, call, scene) {
            Finding::Is(verdict) => verdict,
            other => panic!("{}: {other:?}", rule.name),
        }
    }
}
