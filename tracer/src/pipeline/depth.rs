//! How far a call is decoded that no sink prints: most calls of a busy server are reads, writes and waits that succeed, and of
//! these nobody else looks at the arguments. Their text is most of what decoding costs; what is held of them is the record.

use tracer_common::{
    filter::COMPAT_PLANS,
    record::{Header, Kind, Syscall, flag},
};

use super::Pipeline;
use crate::{
    decode::{self, Depth},
    enrich,
    event::Arch,
    explain,
    follow::{self, Followed},
    observe,
};

/// Calls of the native table of which nobody but a sink looks at the arguments where they succeed.
pub(super) struct Idle(Vec<bool>);

impl Idle {
    pub(super) fn of(arch: Arch) -> Self {
        let is_idle = |nr| {
            let (Some(name), Some(takes)) = (decode::name(arch, nr), decode::takes(arch, nr)) else {
                return false;
            };
            // Whoever asks why calls fail looks at the paths of those that succeed, to see where a search ends.
            !(takes.path || enrich::looks_into(name) || follow::looks_into(name) || observe::looks_into(name))
        };
        Self((0..COMPAT_PLANS).map(is_idle).collect())
    }

    /// How far that record is to be decoded where no sink looks at its arguments.
    pub(super) fn depth(&self, record: &[u8], followed: Option<&Followed>) -> Depth {
        if self.is_idle(record) == Some(true) && !is_answer(record, followed).unwrap_or_default() {
            Depth::Outline
        } else {
            Depth::Whole
        }
    }

    fn is_idle(&self, record: &[u8]) -> Option<bool> {
        const ODD: u16 = flag::COMPAT | flag::SECCOMP | flag::SKIPPED | flag::UNFINISHED;
        let half = |at: usize| Some(u16::from_le_bytes(record.get(at..at + 2)?.try_into().ok()?));
        let ret = std::mem::offset_of!(Syscall, ret);
        let ret = i64::from_le_bytes(record.get(ret..ret + 8)?.try_into().ok()?);
        let is_plain = half(std::mem::offset_of!(Header, kind))? == Kind::Syscall as u16
            && half(std::mem::offset_of!(Header, flags))? & ODD == 0
            && !(-4095..0).contains(&ret);
        // An x32 number is beyond the table.
        let nr = usize::from(half(std::mem::offset_of!(Header, nr))?);
        Some(is_plain && *self.0.get(nr)?)
    }
}

/// Whether that call may bring an answer that tells of a failure which no call returns, or ask for one.
fn is_answer(record: &[u8], followed: Option<&Followed>) -> Option<bool> {
    let at = std::mem::offset_of!(Header, tgid);
    let host_pid = u32::from_le_bytes(record.get(at..at + 4)?.try_into().ok()?);
    let at = std::mem::offset_of!(Header, nr);
    let nr = u16::from_le_bytes(record.get(at..at + 2)?.try_into().ok()?);
    if !followed?.is_asking(host_pid) {
        return Some(false);
    }
    Some(decode::name(Arch::NATIVE, u32::from(nr)).is_some_and(explain::brings))
}

impl Pipeline {
    /// Whether somebody looks at the arguments of all calls of that container.
    pub(super) fn is_read(&self, slot: u16) -> bool {
        let Some(live) = self.enricher.get(slot) else {
            return true;
        };
        self.filters
            .get(&slot)
            .is_some_and(|filter| filter.reads_arguments())
            || self
                .outputs
                .iter()
                .any(|output| output.reads_arguments(&live.info))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(name: &str) -> u16 {
        let mut all = 0..COMPAT_PLANS;
        let found = all.find(|nr| decode::name(Arch::X86_64, *nr) == Some(name));
        found.and_then(|nr| u16::try_from(nr).ok()).unwrap()
    }

    fn record(name: &str, flags: u16, ret: i64) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<Syscall>()];
        bytes[..2].copy_from_slice(&(Kind::Syscall as u16).to_le_bytes());
        bytes[2..4].copy_from_slice(&flags.to_le_bytes());
        let nr = std::mem::offset_of!(Header, nr);
        bytes[nr..nr + 2].copy_from_slice(&number(name).to_le_bytes());
        let at = std::mem::offset_of!(Syscall, ret);
        bytes[at..at + 8].copy_from_slice(&ret.to_le_bytes());
        bytes
    }

    #[test]
    fn only_what_nobody_looks_at_is_an_outline() {
        let idle = Idle::of(Arch::X86_64);
        for name in [
            "read",
            "write",
            "epoll_wait",
            "futex",
            "recvfrom",
            "sendto",
            "mmap",
        ] {
            assert_eq!(idle.depth(&record(name, 0, 1), None), Depth::Outline, "{name}");
            assert_eq!(
                idle.depth(&record(name, 0, -11), None),
                Depth::Whole,
                "{name} that fails"
            );
            assert_eq!(
                idle.depth(&record(name, flag::COMPAT, 1), None),
                Depth::Whole,
                "{name} of 32 bits"
            );
            assert_eq!(
                idle.depth(&record(name, flag::UNFINISHED, 0), None),
                Depth::Whole,
                "{name}"
            );
        }
        let looked_at = [
            "openat",
            "execve",
            "readlink",
            "stat",
            "connect",
            "bind",
            "chdir",
            "close",
            "socket",
            "pipe2",
            "clone",
            "prctl",
            "seccomp",
            "fcntl",
            "landlock_add_rule",
        ];
        for name in looked_at {
            assert_eq!(idle.depth(&record(name, 0, 0), None), Depth::Whole, "{name}");
        }
        assert_eq!(idle.depth(&[], None), Depth::Whole);
        let mut fork = record("read", 0, 1);
        fork[0] = Kind::Fork as u8;
        assert_eq!(idle.depth(&fork, None), Depth::Whole);
    }

    #[test]
    fn answers_of_who_asks_are_whole() {
        let args = [("protocol", 0, "NETLINK_ROUTE")];
        let mut socket = explain::rules::testing::failed("socket", 0, &args);
        socket.outcome = crate::event::Outcome::Value(3);
        let mut followed = Followed::default();
        followed.see(&crate::event::Event {
            time_ns: 0,
            ktime: 0,
            container: std::sync::Arc::default(),
            body: crate::event::Body::Syscall(socket),
        });
        let idle = Idle::of(Arch::X86_64);
        let depth = |name, pid: u32, followed| {
            let mut record = record(name, 0, 1);
            let at = std::mem::offset_of!(Header, tgid);
            record[at..at + 4].copy_from_slice(&pid.to_le_bytes());
            idle.depth(&record, followed)
        };
        assert_eq!(depth("recvmsg", 0, Some(&followed)), Depth::Whole);
        assert_eq!(depth("recvmsg", 1, Some(&followed)), Depth::Outline);
        assert_eq!(depth("recvmsg", 0, None), Depth::Outline);
        assert_eq!(depth("read", 0, Some(&followed)), Depth::Outline);
    }

    #[test]
    fn an_outline_is_the_call_without_its_arguments() {
        let options = decode::Options {
            arch: Arch::X86_64,
            ..decode::Options::default()
        };
        let record = record("read", 0, 7);
        let of = |depth| match decode::decode_to(depth, &record, &options).unwrap().body {
            decode::Body::Syscall(call) => call,
            decode::Body::Process(_) => panic!("no call"),
        };
        let (whole, outline) = (of(Depth::Whole), of(Depth::Outline));
        assert!(outline.args.list.is_empty() && outline.args.text.is_empty());
        assert_eq!((outline.name, outline.outcome), (whole.name, whole.outcome));
        assert!(decode::decode_to(Depth::Outline, &record[..60], &options).is_err());
    }
}
