//! What a seccomp profile needs beyond the counts: the values of a few arguments, which calls seccomp refused, and what
//! the runtime called under the filter before the application began.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    event::{Arch, DeniedBy, Outcome, Phase, Syscall},
    report::observed::{self, CallName},
};

/// Calls and the argument of each that decides what they may do. clone3's flags lie in memory, where no filter looks.
const CONDITIONED: [(&str, &str); 4] = [
    ("clone", "clone_flags"),
    ("personality", "personality"),
    ("socket", "family"),
    ("unshare", "unshare_flags"),
];

/// Calls that load a filter.
const LOADERS: [&str; 2] = ["prctl", "seccomp"];

/// Values that are kept of one argument; beyond these it decides nothing.
const VALUES: usize = 32;
/// Rows of what was refused, and calls of the runtime: more than there are system calls of one table.
const ROWS: usize = 1024;

/// Linux's seccomp(2) operation and prctl(2) option that load a filter, and prctl's mode (include/uapi/linux/seccomp.h,
/// prctl.h).
const SECCOMP_SET_MODE_FILTER: u64 = 1;
const PR_SET_SECCOMP: u64 = 22;
const SECCOMP_MODE_FILTER: u64 = 2;

/// The mark of an x32 number, which the counts go without (arch/x86/include/uapi/asm/unistd.h).
const X32: u32 = 0x4000_0000;

#[derive(Debug, Default)]
pub(super) struct Arguments {
    /// Of the application.
    values: BTreeMap<(Key, &'static str), Values>,
    refused: BTreeMap<(Key, u16), u64>,
    /// Since the runtime has loaded a filter; `None` before, and where it loads none.
    under_filter: Option<BTreeSet<String>>,
    began: bool,
    /// Something found no room.
    full: bool,
}

/// A call of a table, in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    arch: &'static str,
    nr: u32,
}

#[derive(Debug, Default)]
struct Values {
    calls: u64,
    seen: BTreeSet<u64>,
    more: bool,
}

/// Whether it may matter to [`Arguments::take`].
pub(super) fn concern(call: &Syscall) -> bool {
    call.task.phase == Phase::Runtime
        || call.denied_by.is_some()
        || CONDITIONED.iter().any(|(name, _)| call.name == *name)
}

impl Key {
    fn of(call: &CallName) -> Option<Self> {
        const ALL: [Arch; 5] = [Arch::X86_64, Arch::I386, Arch::X32, Arch::Aarch64, Arch::Arm];
        let mut names = ALL.iter().map(|arch| arch.name());
        Some(Self {
            arch: names.find(|name| *name == call.arch)?,
            nr: call.nr,
        })
    }
}

/// Whether [`Arguments::take`] looks at arguments of a call of that name.
pub(super) fn looks_into(name: &str) -> bool {
    LOADERS.contains(&name) || CONDITIONED.iter().any(|(call, _)| *call == name)
}

impl Arguments {
    /// Goes on with what another told, of a container whose application has begun or not.
    pub(super) fn resume(told: observed::Arguments, began: bool) -> Self {
        let values = told.values.into_iter().filter_map(|values| {
            let (name, _) = CONDITIONED.iter().find(|(name, _)| values.syscall == *name)?;
            let seen = Values {
                calls: values.calls,
                seen: values.seen.into_iter().collect(),
                more: values.more,
            };
            Some(((Key::of(&values.call)?, *name), seen))
        });
        let refused = told
            .refused
            .into_iter()
            .filter_map(|refused| Some(((Key::of(&refused.call)?, refused.errno), refused.calls)));
        Self {
            values: values.collect(),
            refused: refused.collect(),
            under_filter: told.under_filter.map(|calls| calls.into_iter().collect()),
            began,
            full: told.full,
        }
    }

    /// Whether the runtime's calls are over.
    pub(super) const fn began(&self) -> bool {
        self.began
    }

    pub(super) fn take(&mut self, call: &Syscall) {
        let key = Key {
            arch: call.arch.name(),
            nr: call.nr & !X32,
        };
        match call.task.phase {
            Phase::Runtime => self.of_runtime(call),
            Phase::App => self.of_application(key, call),
        }
    }

    /// The runtime's calls are over.
    pub(super) fn application(&mut self) {
        self.began = true;
    }

    fn of_runtime(&mut self, call: &Syscall) {
        if self.began {
            return;
        }
        match &mut self.under_filter {
            Some(calls) if calls.contains(&*call.name) => {}
            Some(calls) if calls.len() < ROWS => {
                calls.insert(call.name.clone().into_owned());
            }
            Some(_) => self.full = true,
            none if loads_filter(call) => *none = Some(BTreeSet::new()),
            _ => {}
        }
    }

    fn of_application(&mut self, key: Key, call: &Syscall) {
        let refused = call.denied_by == Some(DeniedBy::Seccomp);
        if refused {
            let errno = match call.outcome {
                Outcome::Error(errno) => errno,
                _ => 0,
            };
            let has_room = self.refused.len() < ROWS;
            match self.refused.get_mut(&(key, errno)) {
                Some(count) => *count += 1,
                None if has_room => {
                    self.refused.insert((key, errno), 1);
                }
                None => self.full = true,
            }
        }
        let Some((name, argument)) = CONDITIONED.iter().find(|(name, _)| call.name == *name) else {
            return;
        };
        let values = self.values.entry((key, name)).or_default();
        values.calls += 1;
        if refused {
            return;
        }
        match call.args.list.iter().find(|arg| arg.name == *argument) {
            // All of these are ints or, of clone, flags that fit in one.
            Some(arg) if values.seen.len() < VALUES || values.seen.contains(&low(arg.raw)) => {
                values.seen.insert(low(arg.raw));
            }
            _ => values.more = true,
        }
    }

    pub(super) fn told(&self) -> observed::Arguments {
        let named = |key: &Key| CallName {
            arch: key.arch.to_owned(),
            nr: key.nr,
        };
        observed::Arguments {
            values: self
                .values
                .iter()
                .map(|((key, syscall), values)| observed::Values {
                    call: named(key),
                    syscall: (*syscall).to_owned(),
                    calls: values.calls,
                    seen: values.seen.iter().copied().collect(),
                    more: values.more,
                })
                .collect(),
            refused: self
                .refused
                .iter()
                .map(|((key, errno), calls)| observed::Refused {
                    call: named(key),
                    errno: *errno,
                    calls: *calls,
                })
                .collect(),
            under_filter: self
                .under_filter
                .as_ref()
                .map(|calls| calls.iter().cloned().collect()),
            full: self.full,
        }
    }
}

fn low(raw: u64) -> u64 {
    raw & u64::from(u32::MAX)
}

/// Whether the task has a seccomp filter from here on.
fn loads_filter(call: &Syscall) -> bool {
    let raw = |index: usize| {
        let mut args = call.args.list.iter();
        args.nth(index).map(|arg| low(arg.raw))
    };
    let is_done = call.outcome == Outcome::Value(0);
    match &*call.name {
        "seccomp" => is_done && raw(0) == Some(SECCOMP_SET_MODE_FILTER),
        "prctl" => is_done && raw(0) == Some(PR_SET_SECCOMP) && raw(1) == Some(SECCOMP_MODE_FILTER),
        _ => false,
    }
}
