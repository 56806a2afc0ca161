//! `tracer caps`: which capabilities the kernel asked a container for, what became of it, and what follows.

use serde::{Deserialize, Serialize};

use super::{Names, State};

/// `tracer caps`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    pub container: Names,
    pub state: State,
    /// Why the kernel's checks were not seen.
    pub unseen: Option<String>,
    /// Its beginning was missed: what it needed then is not here.
    pub late: bool,
    /// What its first process held when the application began; `None` where nobody saw that.
    pub held: Option<Held>,
    /// One a capability that was asked for or held, by its number.
    pub capabilities: Vec<Capability>,
    /// Checks that found no row of their own.
    pub overflow: u64,
}

/// Sets of capabilities, by name, and where they count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub effective: Vec<String>,
    pub permitted: Vec<String>,
    pub bounding: Vec<String>,
    /// Inode of the user namespace.
    pub user_ns: u32,
    /// How deep that is; 0 is the initial one.
    pub user_ns_level: u32,
}

/// One capability.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// `CAP_CHOWN`
    pub name: String,
    pub verdict: Verdict,
    /// Whether it was in the effective set when the application began.
    pub held: Option<bool>,
    /// It was denied in a user namespace above the container's: nothing that a runtime can add gives it there.
    pub out_of_reach: bool,
    /// Why the verdict is not what the counts seem to say.
    pub note: Option<String>,
    /// The calls that asked for it, first those that the verdict rests on.
    pub asked: Vec<Asked>,
}

/// What a capability is to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A call that needed it was made, and it was held.
    Needed,
    /// A call failed for want of it.
    Denied,
    /// It was not held when asked for; how the call ended, nobody saw.
    Unclear,
    /// The kernel asked, and no call depended on the answer.
    Noise,
    /// Held, and never asked for.
    NeverUsed,
}

impl Verdict {
    /// As it is printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Needed => "needed",
            Self::Denied => "denied",
            Self::Unclear => "unclear",
            Self::Noise => "noise",
            Self::NeverUsed => "never used",
        }
    }
}

/// The checks that one kind of call made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Its name; `None` outside any call.
    pub syscall: Option<String>,
    pub arch: Option<String>,
    pub granted: bool,
    /// How deep the user namespace is in which it was asked; 0 is the initial one.
    pub user_ns_level: u8,
    /// That is the user namespace of the task's own credentials.
    pub own_user_ns: bool,
    pub checks: u64,
    /// Calls with such a check that succeeded; of calls that only the counts took, how they ended is not known.
    pub succeeded: u64,
    /// Calls that failed with EPERM or EACCES.
    pub refused: u64,
    /// Calls that failed otherwise.
    pub failed: u64,
}

impl Capabilities {
    fn with(&self, verdict: Verdict) -> impl Iterator<Item = &Capability> {
        self.capabilities
            .iter()
            .filter(move |capability| capability.verdict == verdict)
    }

    /// The least set that what was seen needs, as runtimes write it (`CHOWN`).
    pub fn least(&self) -> Vec<&str> {
        self.with(Verdict::Needed).map(Capability::short).collect()
    }

    /// What failed calls asked for and a runtime could add.
    pub fn missing(&self) -> Vec<&str> {
        self.with(Verdict::Denied)
            .filter(|capability| !capability.out_of_reach && capability.held != Some(true))
            .map(Capability::short)
            .collect()
    }

    /// What failed calls asked for in a user namespace above the container's.
    pub fn out_of_reach(&self) -> Vec<&str> {
        self.with(Verdict::Denied)
            .filter(|capability| capability.out_of_reach)
            .map(Capability::short)
            .collect()
    }

    /// What failed calls asked for that the container held, but not the task that called.
    pub fn given_up(&self) -> Vec<&str> {
        self.with(Verdict::Denied)
            .filter(|capability| !capability.out_of_reach && capability.held == Some(true))
            .map(Capability::short)
            .collect()
    }
}

impl Capability {
    /// Without `CAP_`.
    pub fn short(&self) -> &str {
        self.name.strip_prefix("CAP_").unwrap_or(&self.name)
    }
}
