//! Failures that no call returns: what the kernel refused in a message of netlink, and name servers that gave no answer.
//! The first stands in what a call received; the second is a wait that ended without an answer, on a socket that the
//! process then gave up.
//!
//! It knows calls, and what is followed of them. Why it failed is for the rules.

use std::{collections::HashMap, sync::Arc};

use super::arguments::{number_after, quoted};
use crate::{
    event::{Event, Outcome, Syscall},
    follow::{Earlier, Followed},
};

/// Waits of a container that are remembered.
const MAX: usize = 64;
/// `NLMSG_ERROR` of include/uapi/linux/netlink.h.
const NLMSG_ERROR: u16 = 2;
/// Its protocols in which EPERM has one meaning.
const PROTOCOLS: &[&str] = &[
    "NETLINK_ROUTE",
    "NETLINK_NETFILTER",
    "NETLINK_GENERIC",
    "NETLINK_XFRM",
    "NETLINK_SOCK_DIAG",
];

/// What failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Quiet {
    /// The kernel refused a request that came by netlink, by its protocol and number.
    Request { protocol: Arc<str>, number: u16 },
    /// A name server gave no answer; its address as strace writes it.
    NameServer(Arc<str>),
}

/// A call that did not fail, as if it had.
#[derive(Debug)]
pub(super) struct Noted {
    pub event: Event,
    pub call: Syscall,
    pub quiet: Quiet,
    pub earlier: Earlier,
}

/// Whether such a call may tell of it, or has to be known before: of a process that asks somebody.
pub fn brings(name: &str) -> bool {
    matches!(name, "recvmsg" | "recvfrom" | "poll" | "ppoll" | "sendto")
}

/// Waits that ended without an answer, by the process and the descriptor; `None` where one came, before or after: a server
/// that answers half of what it is asked is there.
#[derive(Debug, Default)]
pub(super) struct Waits(HashMap<(u32, i32), Option<Noted>>);

impl Waits {
    /// Looks at a call that succeeded; what has failed by now.
    pub(super) fn see(&mut self, event: &Event, call: &Syscall, followed: &Followed) -> Option<Noted> {
        match call.name.as_ref() {
            "recvmsg" | "recvfrom" => {
                let quiet = refused(call, followed)?;
                Some(note(event, call, quiet, libc::EPERM, followed))
            }
            "poll" | "ppoll" => {
                self.waited(event, call, followed);
                None
            }
            // It was given up.
            "close" if !self.0.is_empty() => {
                let fd = call.args.list.first()?.raw as u32 as i32;
                self.0.remove(&(call.task.host_pid, fd))?
            }
            _ => None,
        }
    }

    /// The process ended.
    pub(super) fn end(&mut self, host_pid: u32) -> Vec<Noted> {
        let all = self.0.extract_if(|(pid, _), _| *pid == host_pid);
        all.filter_map(|(_, noted)| noted).collect()
    }

    fn waited(&mut self, event: &Event, call: &Syscall, followed: &Followed) {
        let Some((fd, timeout)) = waits_for(call) else {
            return;
        };
        let Some(peer) = followed
            .peer(call.task.host_pid, fd)
            .filter(|peer| peer.contains("htons(53)"))
        else {
            return;
        };
        let found = call.args.ret_note.as_deref().unwrap_or_default();
        let errno = match call.outcome {
            Outcome::Value(0) if timeout != 0 => libc::ETIMEDOUT,
            Outcome::Value(1..) if found.contains("POLLIN") => 0,
            Outcome::Value(1..) if found.contains("POLLERR") => libc::ECONNREFUSED,
            _ => return,
        };
        let key = (call.task.host_pid, fd);
        if errno == 0 {
            if self.0.len() < MAX || self.0.contains_key(&key) {
                self.0.insert(key, None);
            }
        } else if self.0.len() < MAX {
            let quiet = || Quiet::NameServer(peer.clone());
            let noted = self.0.entry(key);
            noted.or_insert_with(|| Some(note(event, call, quiet(), errno, followed)));
        }
    }
}

fn note(event: &Event, call: &Syscall, quiet: Quiet, errno: i32, followed: &Followed) -> Noted {
    let mut call = call.clone();
    call.outcome = Outcome::Error(errno as u16);
    Noted {
        earlier: followed.earlier(event.ktime, &call),
        event: event.clone(),
        call,
        quiet,
    }
}

/// The one descriptor that a call waits to read from, and for how long.
fn waits_for(call: &Syscall) -> Option<(i32, i32)> {
    let mut args = call.args.list.iter();
    let all = call.args.text_of(args.next()?);
    let is_one = all.matches("{fd=").count() == 1 && all.contains("POLLIN");
    let fd = number_after(all, "{fd=").filter(|_| is_one)?;
    let timeout = match call.name.as_ref() {
        "poll" => args.nth(1)?.raw as u32 as i32,
        _ => -1,
    };
    Some((i32::try_from(fd).ok()?, timeout))
}

/// The request that the kernel refused in the message that a call received.
fn refused(call: &Syscall, followed: &Followed) -> Option<Quiet> {
    let fd = call.args.list.first()?.raw as u32 as i32;
    let protocol = followed.peer(call.task.host_pid, fd)?;
    if !PROTOCOLS.contains(&protocol.as_ref()) {
        return None;
    }
    // The buffer: of recvmsg(2) its first part.
    let text = call.args.text_of(call.args.list.get(1)?);
    let (message, _) = match text.split_once("iov_base=") {
        Some((_, rest)) => quoted(rest)?,
        None => quoted(text)?,
    };
    // struct nlmsghdr (length, type, flags, sequence, port), the error, and the request's own nlmsghdr.
    let half = |at: usize| Some(u16::from_ne_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let error = i32::from_ne_bytes(message.get(16..20)?.try_into().ok()?);
    (half(4)? == NLMSG_ERROR && error == -libc::EPERM).then_some(Quiet::Request {
        protocol: protocol.clone(),
        number: half(24)?,
    })
}

impl Quiet {
    /// What failed, where a diagnosis names a call.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Request { protocol, number } => {
                format!("request {} by netlink", request(protocol, *number))
            }
            Self::NameServer(address) => format!("question to the name server {}", server(address)),
        }
    }
}

/// `RTM_NEWLINK`: what a request is called.
pub(super) fn request(protocol: &str, number: u16) -> String {
    let name = match (protocol, number) {
        ("NETLINK_ROUTE", 16) => "RTM_NEWLINK",
        ("NETLINK_ROUTE", 17) => "RTM_DELLINK",
        ("NETLINK_ROUTE", 19) => "RTM_SETLINK",
        ("NETLINK_ROUTE", 20) => "RTM_NEWADDR",
        ("NETLINK_ROUTE", 21) => "RTM_DELADDR",
        ("NETLINK_ROUTE", 24) => "RTM_NEWROUTE",
        ("NETLINK_ROUTE", 25) => "RTM_DELROUTE",
        ("NETLINK_ROUTE", 28) => "RTM_NEWNEIGH",
        ("NETLINK_ROUTE", 29) => "RTM_DELNEIGH",
        ("NETLINK_ROUTE", 32) => "RTM_NEWRULE",
        ("NETLINK_ROUTE", 33) => "RTM_DELRULE",
        ("NETLINK_ROUTE", 36) => "RTM_NEWQDISC",
        ("NETLINK_ROUTE", 37) => "RTM_DELQDISC",
        // The subsystem is the upper half (include/uapi/linux/netfilter/nfnetlink.h).
        ("NETLINK_NETFILTER", 0x0a00..=0x0aff | 16 | 17) => "of nftables",
        ("NETLINK_NETFILTER", 0x0100..=0x02ff) => "of connection tracking",
        ("NETLINK_NETFILTER", 0x0600..=0x06ff) => "of ipset",
        _ => return format!("{number} of {protocol}"),
    };
    name.to_owned()
}

/// `10.0.0.2:53`, of an address as strace writes it.
pub(super) fn server(address: &str) -> String {
    use super::arguments::{Address, address_of};
    match address_of(address) {
        Some(Address::Inet(to, port)) => std::net::SocketAddr::new(to, port).to_string(),
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Body, Container},
        explain::rules::testing::failed,
    };

    const SERVER: &str = r#"{sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.0.2")}"#;

    fn event(name: &'static str, value: i64, args: &[(&'static str, u64, &str)]) -> Event {
        let mut call = failed(name, libc::EPERM, args);
        call.outcome = Outcome::Value(value);
        Event {
            time_ns: 0,
            ktime: 0,
            container: Arc::new(Container::default()),
            body: Body::Syscall(call),
        }
    }

    /// Sees them one after the other; what failed, with its errno.
    fn seen(events: Vec<Event>) -> Vec<(Quiet, Outcome)> {
        let (mut waits, mut followed) = (Waits::default(), Followed::default());
        let mut found = Vec::new();
        for event in events {
            if let Body::Syscall(call) = &event.body {
                let noted = waits.see(&event, call, &followed);
                found.extend(noted.map(|noted| (noted.quiet, noted.call.outcome)));
            }
            followed.see(&event);
        }
        found
    }

    fn netlink(protocol: &'static str) -> Event {
        let args = [("family", 16, "AF_NETLINK"), ("protocol", 0, protocol)];
        event("socket", 3, &args)
    }

    fn message(kind: u8, errno: i32, request: u8) -> String {
        let mut bytes = vec![36, 0, 0, 0, kind, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0];
        bytes.extend((-errno).to_ne_bytes());
        bytes.extend([40, 0, 0, 0, request, 0, 5, 6, 1, 0, 0, 0]);
        bytes.iter().map(|byte| format!("\\{byte:03o}")).collect()
    }

    fn received(text: &str) -> Event {
        let text = format!(
            "{{msg_name={{sa_family=AF_NETLINK, nl_pid=0}}, msg_iov=[{{iov_base=\"{text}\"..., iov_len=32768}}]}}"
        );
        event("recvmsg", 36, &[("fd", 3, "3"), ("msg", 1, &text)])
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_request_that_the_kernel_refused() {
        let refusal = || received(&message(2, libc::EPERM, 16));
        let found = seen(vec![netlink("NETLINK_ROUTE"), refusal()]);
        let [(quiet, outcome)] = found.try_into().unwrap();
        assert_eq!(quiet.told(), "request RTM_NEWLINK by netlink");
        assert_eq!(outcome, Outcome::Error(libc::EPERM as u16));
        // Another error, an answer that is none, a protocol where it means other things, a socket that is unknown.
        for others in [
            vec![netlink("NETLINK_ROUTE"), received(&message(2, libc::EEXIST, 16))],
            vec![netlink("NETLINK_ROUTE"), received(&message(2, 0, 16))],
            vec![netlink("NETLINK_ROUTE"), received(&message(16, libc::EPERM, 0))],
            vec![netlink("NETLINK_ROUTE"), received("\\002")],
            vec![netlink("NETLINK_AUDIT"), refusal()],
            vec![refusal()],
        ] {
            assert_eq!(seen(others), []);
        }
        let args = [
            ("fd", 3, "3"),
            ("ubuf", 1, &*format!("\"{}\"...", message(2, libc::EPERM, 24))),
        ];
        let found = seen(vec![netlink("NETLINK_ROUTE"), event("recvfrom", 36, &args)]);
        assert_eq!(found[0].0.told(), "request RTM_NEWROUTE by netlink");
    }

    fn poll(value: i64, note: &str, timeout: u64) -> Event {
        let fds = "[{fd=5, events=POLLIN}]";
        let args = [("ufds", 1, fds), ("nfds", 1, "1"), ("timeout_msecs", timeout, "")];
        let mut event = event("poll", value, &args);
        if let Body::Syscall(call) = &mut event.body {
            call.args.ret_note = Some(note.to_owned());
        }
        event
    }

    /// A socket that asks a name server: connected, as glibc has it, or not, as musl does.
    fn asks(connected: bool) -> Vec<Event> {
        let socket = event("socket", 5, &[("protocol", 17, "IPPROTO_IP")]);
        let any = r#"{sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr("0.0.0.0")}"#;
        let fd = ("fd", 5, "5");
        match connected {
            true => vec![socket, event("connect", 0, &[fd, ("uservaddr", 1, SERVER)])],
            false => vec![
                socket,
                event("bind", 0, &[fd, ("umyaddr", 1, any)]),
                event("sendto", 30, &[fd, ("addr", 1, SERVER)]),
            ],
        }
    }

    #[test]
    fn a_name_server_that_gives_no_answer() {
        let close = || event("close", 0, &[("fd", 5, "5")]);
        let answered = || poll(1, "[{fd=5, revents=POLLIN}]", 5000);
        let server = Quiet::NameServer(SERVER.into());
        for connected in [true, false] {
            let after = |waits: Vec<Event>| {
                let all = asks(connected).into_iter().chain(waits);
                seen(all.chain([close()]).collect())
            };
            let silent = || (server.clone(), Outcome::Error(libc::ETIMEDOUT as u16));
            assert_eq!(after(vec![poll(0, "Timeout", 5000)]), [silent()]);
            let both = vec![poll(0, "Timeout", 5000), poll(0, "Timeout", 5000)];
            assert_eq!(after(both), [silent()], "told once");
            let refused = (server.clone(), Outcome::Error(libc::ECONNREFUSED as u16));
            assert_eq!(after(vec![poll(1, "[{fd=5, revents=POLLERR}]", 5000)]), [refused]);
            // An answer came in the end, or nobody waited.
            assert_eq!(after(vec![poll(0, "Timeout", 5000), answered()]), []);
            assert_eq!(after(vec![answered(), poll(0, "Timeout", 5000)]), []);
            assert_eq!(after(vec![poll(0, "Timeout", 0)]), []);
        }
        assert_eq!(server.told(), "question to the name server 10.0.0.2:53");
        assert_eq!(seen(vec![poll(0, "Timeout", 5000), close()]), []);
    }
}
