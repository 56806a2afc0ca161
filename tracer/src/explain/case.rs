//! What a rule sees of a failed call, and what it can say.

use std::borrow::Cow;

use super::Scene;
use crate::{
    errno,
    event::{Arg, Cause, Evidence, Fact, Fix, Outcome, Place, Syscall, Taken, Verdict},
};

/// A failed call, with all that is known.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    pub call: &'a Syscall,
    pub scene: &'a Scene,
}

/// What a rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// This call, or this errno, is none of mine.
    NotMine,
    /// It could have been this, and was not: what, and how that is known.
    RuledOut(String),
    Is(Verdict),
}

impl<'a> Case<'a> {
    /// Whether the call has one of these names.
    pub fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.call.name.as_ref())
    }

    /// The errno; `None` for a call that was answered by a signal.
    pub fn errno(&self) -> Option<i32> {
        match self.call.outcome {
            Outcome::Error(errno) => Some(i32::from(errno)),
            _ => None,
        }
    }

    /// Whether it failed with one of these.
    pub fn failed_with(&self, errnos: &[i32]) -> bool {
        self.errno().is_some_and(|errno| errnos.contains(&errno))
    }

    /// `EPERM`, or what stands for it.
    pub fn errno_name(&self) -> Cow<'static, str> {
        match self.call.outcome {
            Outcome::Error(number) => errno::name(number),
            _ => "a signal".into(),
        }
    }

    /// The argument of that name, as the kernel names it.
    pub fn arg(&self, name: &str) -> Option<&'a Arg> {
        self.call.args.list.iter().find(|arg| arg.name == name)
    }

    /// Its register.
    pub fn raw(&self, name: &str) -> Option<u64> {
        self.arg(name).map(|arg| arg.raw)
    }

    /// What strace prints for it.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.arg(name).map(|arg| self.call.args.text_of(arg))
    }

    /// Whether an argument's text has that word: a flag's name.
    pub fn says(&self, word: &str) -> bool {
        self.call.args.text.contains(word)
    }

    /// Whether the task has that capability in its effective set, which counts in its own user namespace.
    pub fn has(&self, capability: u8) -> Option<bool> {
        Some(self.evidence()?.effective & 1 << capability != 0)
    }

    /// What the kernel knew at the moment of the call.
    pub fn evidence(&self) -> Option<&'a Evidence> {
        self.call.evidence.as_deref()
    }

    /// The soft limit at the moment of the call; `resource` is `RLIMIT_*` of the generic numbering.
    pub fn limit(&self, resource: u32) -> Option<u64> {
        self.evidence()?.limits.get(resource as usize).copied()
    }

    /// Whether the kernel found that capability missing during the call: `None` where nobody watched.
    pub fn denied(&self, capability: u8) -> Option<bool> {
        Some(self.evidence()?.denied? & 1 << capability != 0)
    }

    /// Whether the task runs in a user namespace other than the initial one (a rootless container).
    pub fn in_user_namespace(&self) -> Option<bool> {
        Some(self.evidence()?.user_ns_level > 0)
    }
}

/// A verdict in the making.
#[derive(Debug)]
pub(super) struct Found(Verdict);

impl Found {
    pub(super) fn new(cause: Cause, why: impl Into<String>) -> Self {
        Self(Verdict {
            cause,
            why: why.into(),
            evidence: Vec::new(),
            fixes: Vec::new(),
            ruled_out: Vec::new(),
        })
    }

    fn fact(mut self, taken: Taken, text: impl Into<String>) -> Self {
        self.0.evidence.push(Fact {
            text: text.into(),
            taken,
        });
        self
    }

    /// Something that its calls before this one tell.
    pub(super) fn before(self, text: impl Into<String>) -> Self {
        self.fact(Taken::Before, text)
    }

    /// Something that the kernel knew at the moment of the call.
    pub(super) fn at_call(self, text: impl Into<String>) -> Self {
        self.fact(Taken::Call, text)
    }

    /// Something that the daemon saw at once after it.
    pub(super) fn after(self, text: impl Into<String>) -> Self {
        self.fact(Taken::After, text)
    }

    /// Something that holds always, with the man page or kernel file that says so.
    pub(super) fn always(self, text: impl Into<String>) -> Self {
        self.fact(Taken::Always, text)
    }

    pub(super) fn fix(mut self, place: Place, line: impl Into<String>) -> Self {
        self.0.fixes.push(Fix {
            place,
            line: line.into(),
        });
        self
    }

    /// The same option of podman and docker.
    pub(super) fn flag(self, line: &str) -> Self {
        self.fix(Place::Podman, line).fix(Place::Docker, line)
    }

    pub(super) fn done(self) -> Finding {
        Finding::Is(self.verdict())
    }

    pub(super) fn verdict(self) -> Verdict {
        self.0
    }
}
