//! The files that were named and the peers that were met, with the bytes that went to and fro: from the calls' arguments,
//! and from what their descriptors stand for. That is told by the events where a reader asked (`-y`); else it is followed
//! from the calls that make and close descriptors.

use std::collections::{BTreeMap, HashMap};

use crate::{
    decode, errno,
    event::{Arg, Outcome, Process, ProcessEvent, Syscall},
};

/// Paths, peers and processes that are kept, and descriptors of one process.
const PATHS: usize = 20_000;
const PEERS: usize = 4_096;
const PROCESSES: usize = 4_096;
const OPEN: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) files: BTreeMap<String, File>,
    pub(super) peers: BTreeMap<Peer, Met>,
    /// What the descriptors of a process stand for, by its number on the host.
    processes: HashMap<u32, HashMap<i32, Open>>,
    /// Uses of paths and of peers that found no room.
    pub(super) files_left_out: u64,
    pub(super) peers_left_out: u64,
    /// Bytes of calls on descriptors of which nothing is known.
    pub(super) unknown: Bytes,
    /// Descriptors were told by the events.
    pub(super) told: bool,
}

/// Bytes in both directions, as the program sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bytes {
    pub(super) read: u64,
    pub(super) written: u64,
}

/// What became of one path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct File {
    pub(super) opens: u64,
    /// Other calls that named it and succeeded.
    pub(super) other: u64,
    /// Failed calls that named it, by errno.
    pub(super) failed: BTreeMap<u16, u64>,
    pub(super) bytes: Bytes,
}

impl File {
    pub(super) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

/// An address, and what was done with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Peer {
    pub(super) what: &'static str,
    pub(super) family: &'static str,
    pub(super) address: String,
    pub(super) port: Option<u16>,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Met {
    pub(super) succeeded: u64,
    /// Outcomes other than success, by errno.
    pub(super) failed: BTreeMap<u16, u64>,
    pub(super) bytes: Bytes,
}

/// What a descriptor stands for.
#[derive(Clone, Debug)]
enum Open {
    File(String),
    Socket(Option<Peer>),
    Other,
}

impl Traffic {
    /// A process that was forked has the descriptors of its maker.
    pub(super) fn process(&mut self, process: &Process) {
        match &process.what {
            ProcessEvent::Fork {
                host_pid,
                thread: false,
                ..
            } if self.processes.len() < PROCESSES => {
                let inherited = self
                    .processes
                    .get(&process.task.host_pid)
                    .cloned()
                    .unwrap_or_default();
                self.processes.insert(*host_pid, inherited);
            }
            ProcessEvent::Exit { .. } if process.task.host_pid == process.task.host_tid => {
                self.processes.remove(&process.task.host_pid);
            }
            _ => {}
        }
    }

    pub(super) fn take(&mut self, call: &Syscall) {
        match &*call.name {
            "open" | "openat" | "openat2" | "creat" => self.open(call),
            "connect" | "bind" => self.address(call),
            "accept" | "accept4" => self.accepted(call),
            "read" | "pread64" | "readv" | "preadv" | "preadv2" | "getdents" | "getdents64" => {
                self.moved(call, 0, |bytes, count| bytes.read += count);
            }
            "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" => {
                self.moved(call, 0, |bytes, count| bytes.written += count);
            }
            "recvfrom" | "recvmsg" => {
                self.sent_to(call);
                self.moved(call, 0, |bytes, count| bytes.read += count);
            }
            "sendto" | "sendmsg" => {
                self.sent_to(call);
                self.moved(call, 0, |bytes, count| bytes.written += count);
            }
            "sendfile" | "sendfile64" => {
                self.moved(call, 0, |bytes, count| bytes.written += count);
                self.moved(call, 1, |bytes, count| bytes.read += count);
            }
            "copy_file_range" | "splice" => {
                self.moved(call, 0, |bytes, count| bytes.read += count);
                self.moved(call, 2, |bytes, count| bytes.written += count);
            }
            "socket" => self.made(call, Open::Socket(None)),
            "dup" | "dup2" | "dup3" => self.copied(call),
            "fcntl" | "fcntl64" if text(call, 1).starts_with("F_DUPFD") => self.copied(call),
            "close" => {
                if let (Outcome::Value(_), Some(descriptor), Some(open)) = (
                    call.outcome,
                    descriptor(call, 0),
                    self.processes.get_mut(&call.task.host_pid),
                ) {
                    open.remove(&descriptor);
                }
            }
            "close_range" => self.closed(call),
            "pipe" | "pipe2" => self.pair(call, 0, &Open::Other),
            "socketpair" => self.pair(call, 3, &Open::Socket(None)),
            "epoll_create"
            | "epoll_create1"
            | "eventfd"
            | "eventfd2"
            | "timerfd_create"
            | "signalfd"
            | "signalfd4"
            | "memfd_create"
            | "inotify_init"
            | "inotify_init1"
            | "pidfd_open"
            | "userfaultfd"
            | "io_uring_setup"
            | "fanotify_init"
            | "perf_event_open"
            | "bpf"
            | "memfd_secret"
            | "landlock_create_ruleset"
            | "fsopen"
            | "open_tree" => self.made(call, Open::Other),
            _ => self.named(call),
        }
    }

    fn open(&mut self, call: &Syscall) {
        let Some(path) = path(call).map(|path| self.whole(call, path)) else {
            return;
        };
        self.file(&path, |file| match call.outcome {
            Outcome::Error(errno) => *file.failed.entry(errno).or_default() += 1,
            _ => file.opens += 1,
        });
        self.made(call, Open::File(path));
    }

    /// A call that names a path and opens nothing.
    fn named(&mut self, call: &Syscall) {
        if !decode::takes(call.arch, call.nr).is_some_and(|takes| takes.path) {
            return;
        }
        if let Some(path) = path(call) {
            let path = self.whole(call, path);
            self.file(&path, |file| match call.outcome {
                Outcome::Error(errno) => *file.failed.entry(errno).or_default() += 1,
                _ => file.other += 1,
            });
        }
    }

    fn file(&mut self, path: &str, change: impl FnOnce(&mut File)) {
        if let Some(file) = self.files.get_mut(path) {
            change(file);
        } else if self.files.len() < PATHS {
            change(self.files.entry(path.to_owned()).or_default());
        } else {
            self.files_left_out += 1;
        }
    }

    fn peer(&mut self, peer: &Peer, change: impl FnOnce(&mut Met)) {
        if let Some(met) = self.peers.get_mut(peer) {
            change(met);
        } else if self.peers.len() < PEERS {
            change(self.peers.entry(peer.clone()).or_default());
        } else {
            self.peers_left_out += 1;
        }
    }

    /// A path under the directory that it was given with, where that is known.
    fn whole(&self, call: &Syscall, path: String) -> String {
        if path.starts_with('/') || !call.name.contains("at") {
            return path;
        }
        let directory = call
            .args
            .list
            .first()
            .filter(|arg| arg.name.contains("fd"))
            .and_then(|arg| self.file_of(call, arg));
        match directory {
            Some(directory) if path.is_empty() => directory,
            Some(directory) if directory != "/" => format!("{directory}/{path}"),
            Some(_) => format!("/{path}"),
            None => path,
        }
    }

    fn file_of(&self, call: &Syscall, arg: &Arg) -> Option<String> {
        if let Some(file) = call.args.file_of(arg) {
            return Some(super::html::bytes_shown(&file.path));
        }
        match self.processes.get(&call.task.host_pid)?.get(&(arg.raw as i32))? {
            Open::File(path) => Some(path.clone()),
            _ => None,
        }
    }

    /// The call returned a descriptor.
    fn made(&mut self, call: &Syscall, open: Open) {
        if let Outcome::Value(value) = call.outcome
            && let Ok(descriptor) = i32::try_from(value)
        {
            self.set(call.task.host_pid, descriptor, open);
        }
    }

    fn set(&mut self, process: u32, descriptor: i32, open: Open) {
        if self.processes.len() >= PROCESSES && !self.processes.contains_key(&process) {
            return;
        }
        let all = self.processes.entry(process).or_default();
        if all.len() < OPEN || all.contains_key(&descriptor) {
            all.insert(descriptor, open);
        }
    }

    fn copied(&mut self, call: &Syscall) {
        let from = descriptor(call, 0);
        let open = from.and_then(|from| self.processes.get(&call.task.host_pid)?.get(&from).cloned());
        match (open, call.outcome) {
            (Some(open), _) => self.made(call, open),
            (None, Outcome::Value(value)) => {
                if let Some(all) = self.processes.get_mut(&call.task.host_pid) {
                    all.remove(&(value as i32));
                }
            }
            (None, _) => {}
        }
    }

    fn closed(&mut self, call: &Syscall) {
        let raw = |index| call.args.list.get(index).map(|arg: &Arg| arg.raw);
        // With CLOSE_RANGE_CLOEXEC they stay open.
        if let (Outcome::Value(_), Some(from), Some(to), Some(0 | 2)) = (call.outcome, raw(0), raw(1), raw(2))
            && let Some(all) = self.processes.get_mut(&call.task.host_pid)
        {
            all.retain(|descriptor, _| !(from..=to).contains(&u64::from(descriptor.cast_unsigned())));
        }
    }

    /// Two descriptors in memory: `[3, 4]`.
    fn pair(&mut self, call: &Syscall, index: usize, open: &Open) {
        if !matches!(call.outcome, Outcome::Value(_)) {
            return;
        }
        let both = text(call, index).trim_matches(['[', ']']).to_owned();
        for descriptor in both.split(", ").filter_map(|number| number.parse().ok()) {
            self.set(call.task.host_pid, descriptor, open.clone());
        }
    }

    fn address(&mut self, call: &Syscall) {
        let what = if call.name == "bind" { "bind" } else { "connect" };
        let Some(peer) = address(what, text(call, 1)) else {
            return;
        };
        self.peer(&peer, |met| count(met, call.outcome));
        // A socket that does not wait goes on connecting.
        let goes_on = matches!(call.outcome, Outcome::Value(_))
            || call.outcome == Outcome::Error(libc::EINPROGRESS as u16);
        if goes_on && let Some(descriptor) = descriptor(call, 0) {
            self.set(call.task.host_pid, descriptor, Open::Socket(Some(peer)));
        }
    }

    fn accepted(&mut self, call: &Syscall) {
        if !matches!(call.outcome, Outcome::Value(_)) {
            return;
        }
        let mut peer = address("accept", text(call, 1));
        if let Some(peer) = &mut peer {
            // Each client has a port of its own.
            if peer.family != "unix" {
                peer.port = None;
            }
            self.peer(peer, |met| count(met, call.outcome));
        }
        self.made(call, Open::Socket(peer));
    }

    /// A datagram names its peer itself.
    fn sent_to(&mut self, call: &Syscall) {
        let given = match &*call.name {
            "sendto" | "recvfrom" => text(call, 4),
            _ => text(call, 1).split_once("msg_name=").map_or("", |(_, name)| name),
        };
        let what = if call.name.starts_with("send") {
            "send"
        } else {
            "receive"
        };
        let Some(peer) = address(what, given) else {
            return;
        };
        self.peer(&peer, |met| count(met, call.outcome));
        if let Some(descriptor) = descriptor(call, 0) {
            let known = self
                .processes
                .get(&call.task.host_pid)
                .and_then(|all| all.get(&descriptor));
            if !matches!(known, Some(Open::Socket(Some(_)))) {
                // Of this call alone.
                if let Outcome::Value(bytes @ 1..) = call.outcome {
                    self.peer(&peer, |met| {
                        if what == "send" {
                            met.bytes.written += bytes.unsigned_abs();
                        } else {
                            met.bytes.read += bytes.unsigned_abs();
                        }
                    });
                }
            }
        }
    }

    /// Bytes went through the descriptor of that argument.
    fn moved(&mut self, call: &Syscall, index: usize, add: impl FnOnce(&mut Bytes, u64)) {
        let Outcome::Value(bytes @ 1..) = call.outcome else {
            return;
        };
        let bytes = bytes.unsigned_abs();
        let Some(arg) = call.args.list.get(index) else {
            return;
        };
        let told = call.args.file_of(arg);
        self.told |= told.is_some();
        let known = self
            .processes
            .get(&call.task.host_pid)
            .and_then(|all| all.get(&(arg.raw as i32)))
            .cloned();
        match (known, told) {
            (Some(Open::Socket(Some(peer))), _) => self.peer(&peer, |met| add(&mut met.bytes, bytes)),
            (Some(Open::Socket(None) | Open::Other), _) => {}
            (_, Some(file)) => {
                // What has no path of its own is no file: `pipe:[4711]`.
                let path = super::html::bytes_shown(&file.path);
                if path.starts_with('/') {
                    self.file(&path, |file| add(&mut file.bytes, bytes));
                }
            }
            (Some(Open::File(path)), None) => self.file(&path, |file| add(&mut file.bytes, bytes)),
            (None, None) => add(&mut self.unknown, bytes),
        }
    }
}

fn count(met: &mut Met, outcome: Outcome) {
    match outcome {
        Outcome::Error(errno) => *met.failed.entry(errno).or_default() += 1,
        _ => met.succeeded += 1,
    }
}

fn text(call: &Syscall, index: usize) -> &str {
    call.args.list.get(index).map_or("", |arg| call.args.text_of(arg))
}

fn descriptor(call: &Syscall, index: usize) -> Option<i32> {
    call.args.list.get(index).map(|arg| arg.raw as i32)
}

/// The path that a call names, as its text has it, without quotes; of two the one that has to be there.
fn path(call: &Syscall) -> Option<String> {
    let mut texts = call
        .args
        .list
        .iter()
        .map(|arg| call.args.text_of(arg))
        .filter(|text| text.starts_with('"'));
    let text = match &*call.name {
        // What the link says is looked up by nobody.
        "symlink" | "symlinkat" => texts.next_back()?,
        "mount" => texts.nth(1)?,
        // What follows is a name of another kind.
        "memfd_create" | "sethostname" | "setdomainname" | "add_key" | "request_key" => return None,
        _ => texts.next()?,
    };
    let inner = text.strip_prefix('"')?;
    Some(match inner.strip_suffix("\"...") {
        Some(cut) => format!("{cut}..."),
        None => inner.strip_suffix('"')?.to_owned(),
    })
}

/// An address as arguments show it (`decode/net.rs`, sockaddr).
fn address(what: &'static str, text: &str) -> Option<Peer> {
    let between = |from: &str, to: &str| {
        let (_, after) = text.split_once(from)?;
        Some(after.split_once(to)?.0.to_owned())
    };
    let family = text.strip_prefix("{sa_family=")?;
    let family = family.split([',', '}']).next()?;
    Some(match family {
        "AF_INET" => Peer {
            what,
            family: "IPv4",
            address: between("inet_addr(\"", "\"")?,
            port: between("htons(", ")")?.parse().ok(),
        },
        "AF_INET6" => Peer {
            what,
            family: "IPv6",
            address: between("inet_pton(AF_INET6, \"", "\"")?,
            port: between("htons(", ")")?.parse().ok(),
        },
        "AF_UNIX" => Peer {
            what,
            family: "unix",
            address: match between("sun_path=@\"", "\"") {
                Some(name) => format!("@{name}"),
                None => between("sun_path=\"", "\"").unwrap_or_else(|| "(no name)".into()),
            },
            port: None,
        },
        "AF_NETLINK" => Peer {
            what,
            family: "netlink",
            address: "the kernel".into(),
            port: None,
        },
        _ => return None,
    })
}

/// `2 ECONNREFUSED, 1 ETIMEDOUT`
pub(super) fn outcomes(failed: &BTreeMap<u16, u64>) -> String {
    let each: Vec<_> = failed
        .iter()
        .map(|(errno, count)| format!("{count} {}", errno::name(*errno)))
        .collect();
    each.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::tests::fake::{A::*, Fake};

    fn take(
        traffic: &mut Traffic,
        name: &str,
        args: impl Into<Vec<crate::decode::tests::fake::A>>,
        ret: i64,
    ) {
        traffic.take(&Fake::new(name, args, ret).call());
    }

    #[test]
    fn bytes_are_those_of_the_file_that_is_open_then() {
        let mut traffic = Traffic::default();
        take(&mut traffic, "openat", [N(-100), S(b"/a"), N(0)], 3);
        take(&mut traffic, "read", [N(3), B(b"12345".to_vec()), N(100)], 5);
        take(&mut traffic, "dup", [N(3)], 4);
        take(&mut traffic, "close", [N(3)], 0);
        take(&mut traffic, "write", [N(4), B(b"12".to_vec()), N(2)], 2);
        take(&mut traffic, "openat", [N(-100), S(b"/d"), N(0)], 3);
        take(&mut traffic, "openat", [N(3), S(b"b"), N(0)], -2);
        take(&mut traffic, "read", [N(9), B(b"1234567".to_vec()), N(100)], 7);
        let a = File {
            opens: 1,
            bytes: Bytes { read: 5, written: 2 },
            ..File::default()
        };
        assert_eq!(traffic.files["/a"], a);
        assert_eq!(traffic.files["/d/b"].failed, [(2, 1)].into());
        assert_eq!(traffic.unknown, Bytes { read: 7, written: 0 });
    }

    #[test]
    fn a_peer_has_its_outcome_and_its_bytes() {
        let mut inet = vec![2, 0, 0, 80, 192, 0, 2, 7];
        inet.resize(16, 0);
        let mut traffic = Traffic::default();
        take(&mut traffic, "connect", [N(5), B(inet.clone()), N(16)], -111);
        take(&mut traffic, "connect", [N(5), B(inet), N(16)], -115);
        take(&mut traffic, "write", [N(5), B(b"GET".to_vec()), N(3)], 3);
        let (peer, met) = traffic.peers.first_key_value().unwrap();
        assert_eq!(
            (peer.what, peer.family, &*peer.address, peer.port),
            ("connect", "IPv4", "192.0.2.7", Some(80))
        );
        assert_eq!(met.failed, [(111, 1), (115, 1)].into());
        assert_eq!(met.bytes, Bytes { read: 0, written: 3 });
    }

    #[test]
    fn addresses_are_read_as_they_are_written() {
        let told = |text| address("connect", text).map(|peer| (peer.family, peer.address, peer.port));
        assert_eq!(
            told(
                r#"{sa_family=AF_INET6, sin6_port=htons(53), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::1", &sin6_addr), sin6_scope_id=0}"#
            ),
            Some(("IPv6", "::1".into(), Some(53)))
        );
        assert_eq!(
            told(r#"{sa_family=AF_UNIX, sun_path="/run/x.sock"}"#),
            Some(("unix", "/run/x.sock".into(), None))
        );
        assert_eq!(
            told(r#"{sa_family=AF_UNIX, sun_path=@"bus"}"#),
            Some(("unix", "@bus".into(), None))
        );
        assert_eq!(told("NULL"), None);
        assert_eq!(told("0x7ffe"), None);
    }
}
