//! What is known of a descriptor: what the last call did to it, what it stands for, and whom a socket speaks to.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};

/// How the texts of protocols and addresses are known: `NETLINK_ROUTE`, a name server's port, and the port of who lets the
/// kernel choose one, and says with each message where it goes.
pub(super) const NETLINK: &str = "NETLINK_";
pub(super) const NAME_SERVER: &str = "htons(53)";
pub(super) const ANY: &str = "htons(0)";

/// What became of a descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// The call that did it last.
    pub call: Cow<'static, str>,
    /// CLOCK_MONOTONIC nanoseconds of that.
    pub ktime: u64,
    /// The container's number of the thread.
    pub tid: u32,
    pub state: State,
    pub(super) cloexec: bool,
    /// Of a directory, or of what was opened with O_PATH.
    pub(super) path: Option<Arc<str>>,
    /// Of a socket whom it speaks to, as strace writes it: the address that it was connected to, the protocol of netlink.
    // Not in the form of the daemons before it, which pass over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) peer: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    Open(Access),
    Closed,
    /// It was open until an execve, and not for the new program.
    ClosedByExec,
}

/// What an open descriptor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    Read,
    Write,
    Both,
    /// O_PATH: neither.
    Path,
}

#[cfg(test)]
impl Descriptor {
    pub fn new(call: &'static str, ktime: u64, tid: u32, state: State) -> Self {
        Self {
            call: call.into(),
            ktime,
            tid,
            state,
            cloexec: false,
            path: None,
            peer: None,
        }
    }
}

impl Descriptor {
    /// Whether answers to it may tell of failures that no call returns: of the kernel's by netlink, or a name server's.
    pub(super) fn asks(&self) -> bool {
        let asks = |peer: &str| peer.starts_with(NETLINK) || peer.contains(NAME_SERVER) || peer.contains(ANY);
        matches!(self.state, State::Open(_)) && self.peer.as_deref().is_some_and(asks)
    }

    /// What it takes beside a descriptor's own room.
    pub(super) fn more(&self) -> usize {
        let length = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
        length(&self.path) + length(&self.peer)
    }
}
