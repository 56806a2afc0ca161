//! Follows what the processes of a container have, by their calls alone: working directories, descriptors, programs, and the
//! Landlock rules that tasks put on themselves. Who asks of a call asks before it is followed, and learns how it was when
//! the call was made.
//!
//! Bounded: what finds no room is not followed. What was lost, or left out by filters, may have changed anything: then all
//! is forgotten but what no call undoes. It must not know the running system, nor who asks.

mod calls;
mod descriptor;
mod landlock;
mod left;
mod room;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use calls::GIVES;
pub use calls::looks_into;
use descriptor::{ANY, NAME_SERVER, NETLINK};
pub use descriptor::{Access, Descriptor, State};
pub use landlock::{Domain, Rule, Ruleset};
pub use left::Left;
use room::Room;
use serde::{Deserialize, Serialize};

use crate::event::{Body, Event, Outcome, Process as ProcessBody, ProcessEvent, Syscall};

/// Descriptors of a process, and the longest path that is kept.
const DESCRIPTORS: usize = 256;
/// Rulesets of a process, and tasks whose Landlock rules are kept.
const RULESETS: usize = 16;
const TASKS: usize = 4096;
const PATH: usize = 512;
/// What they take beside their paths.
const PROCESS: usize = 512;
const DESCRIPTOR: usize = 128;
/// Longest text of a call that is kept.
const TEXT: usize = 200;

/// A container's processes.
#[derive(Debug, Default)]
pub struct Followed {
    /// Filters leave calls out.
    blind: bool,
    /// By their host process ids. A child shares its parent's until one of them makes a call.
    processes: HashMap<u32, Arc<Process>>,
    /// Of tasks that restricted themselves, by their host thread ids.
    domains: HashMap<u32, Arc<Domain>>,
    room: Room,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    /// As strace writes it, without quotes.
    cwd: Option<Arc<str>>,
    descriptors: BTreeMap<i32, Descriptor>,
    rulesets: BTreeMap<i32, Ruleset>,
    failed: Option<Arc<Failed>>,
    /// The file that it executes, as long as it has the rights that execve gave it.
    // Not in the form of the daemons before it, which pass over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    program: Option<Arc<[u8]>>,
    #[serde(skip)]
    bytes: usize,
    /// How many of its descriptors ask somebody (see [`Descriptor::asks`]).
    #[serde(skip)]
    asking: usize,
}

/// A call that was to give a process a descriptor, and failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    pub call: String,
    pub errno: u16,
    pub ktime: u64,
}

/// What was known of a task when it made a call, from what it had called before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Earlier {
    /// When the call was made.
    pub ktime: u64,
    /// Where its relative paths begin, by the descriptor; `None` stands for the working directory. Of a descriptor that is
    /// written to, the file. As strace writes it.
    pub directories: Vec<(Option<i32>, Arc<str>)>,
    /// Of a call that failed for its descriptor.
    pub descriptor: Option<Descriptor>,
    /// The process has been followed, and what it was given is known.
    pub followed: bool,
    pub failed: Option<Arc<Failed>>,
    /// The file that the process executes, from the root on; `None` where it has changed its ids, capabilities or
    /// no_new_privs since its execve.
    pub program: Option<Arc<[u8]>>,
    /// The Landlock rules that bind it.
    pub domain: Option<Arc<Domain>>,
    /// Whom the socket that the call was given speaks to.
    pub peer: Option<Arc<str>>,
}

impl Followed {
    /// Whether filters leave calls out from here on: then nothing more is known, until they do not.
    pub fn narrow(&mut self, narrow: bool) {
        self.blind = narrow;
        self.forget();
    }

    /// Follows one of the container's events.
    pub fn see(&mut self, event: &Event) {
        match &event.body {
            Body::Syscall(call) if !self.blind => self.call(event.ktime, call),
            Body::Process(process) => self.process(event.ktime, process),
            Body::Loss(_) => self.forget(),
            _ => {}
        }
    }

    /// Where a relative path of that call begins: at a descriptor, or at the working directory.
    pub fn directory(&self, call: &Syscall, fd: Option<i32>) -> Option<&Arc<str>> {
        let process = self.processes.get(&call.task.host_pid)?;
        match fd {
            None => process.cwd.as_ref(),
            Some(fd) => process.descriptors.get(&fd)?.path.as_ref(),
        }
    }

    /// Whom a socket of that process speaks to, as strace writes it.
    pub fn peer(&self, host_pid: u32, fd: i32) -> Option<&Arc<str>> {
        let known = self.processes.get(&host_pid)?.descriptors.get(&fd)?;
        known
            .peer
            .as_ref()
            .filter(|peer| matches!(known.state, State::Open(_)) && !peer.contains(ANY))
    }

    /// Whether that process has descriptors the answers to which may tell of failures that no call returns.
    pub fn is_asking(&self, host_pid: u32) -> bool {
        self.processes
            .get(&host_pid)
            .is_some_and(|process| process.asking > 0)
    }

    /// All that may tell why that call, of that time, failed.
    pub fn earlier(&self, ktime: u64, call: &Syscall) -> Earlier {
        let mut earlier = Earlier {
            ktime,
            domain: self.domains.get(&call.task.host_tid).cloned(),
            ..Earlier::default()
        };
        let Some(process) = self.processes.get(&call.task.host_pid) else {
            return earlier;
        };
        earlier.followed = true;
        earlier.failed.clone_from(&process.failed);
        earlier.program.clone_from(&process.program);
        let cwd = process.cwd.iter().map(|cwd| (None, cwd.clone()));
        let given = descriptors_of(call).filter_map(|fd| {
            let path = process.descriptors.get(&fd)?.path.clone()?;
            Some((Some(fd), path))
        });
        earlier.directories = cwd.chain(given).collect();
        let socket = descriptors_of(call).next();
        earlier.peer = socket.and_then(|fd| self.peer(call.task.host_pid, fd).cloned());
        if matches!(call.outcome, Outcome::Error(errno) if i32::from(errno) == libc::EBADF) {
            let first = descriptors_of(call).next();
            earlier.descriptor = first.and_then(|fd| process.descriptors.get(&fd).cloned());
        }
        earlier
    }

    fn forget(&mut self) {
        for (_, process) in self.processes.drain() {
            self.room.give_back(process.bytes);
        }
    }

    fn call(&mut self, ktime: u64, call: &Syscall) {
        if call.denied_by.is_some() {
            return;
        }
        let name = call.name.as_ref();
        match call.outcome {
            Outcome::Value(value) => self.succeeded(ktime, call, name, value),
            // It is being made.
            Outcome::Error(errno) if name == "connect" && i32::from(errno) == libc::EINPROGRESS => {
                self.speaks(call, "uservaddr", |_| true);
            }
            Outcome::Error(errno) if GIVES.contains(&name) && !later(errno) => {
                let failed = Arc::new(Failed {
                    call: written(call),
                    errno,
                    ktime,
                });
                self.change(call.task.host_pid, |process| process.failed = Some(failed));
            }
            _ => {}
        }
    }

    fn succeeded(&mut self, ktime: u64, call: &Syscall, name: &str, value: i64) {
        if !looks_into(name) && name != "sendto" {
            return;
        }
        let pid = call.task.host_pid;
        let last = |state| Descriptor {
            call: call.name.clone(),
            ktime,
            tid: call.task.tid,
            state,
            cloexec: is_cloexec(call),
            path: None,
            peer: None,
        };
        let given = i32::try_from(value).ok();
        match name {
            "close" => {
                let Some(fd) = int(call, "fd") else { return };
                self.change(pid, |process| {
                    process.put_ruleset(fd, None);
                    process.put(fd, last(State::Closed));
                });
            }
            "close_range" => self.close_range(call, &last(State::Closed)),
            "open" | "openat" | "openat2" | "creat" => {
                let Some(fd) = given else { return };
                let flags = flags_of(call);
                let access = if name == "creat" || flags.contains("O_WRONLY") {
                    Access::Write
                } else if flags.contains("O_PATH") {
                    Access::Path
                } else if flags.contains("O_RDWR") {
                    Access::Both
                } else {
                    Access::Read
                };
                // Where paths begin; and what may have no room left.
                let is_told = access != Access::Read || flags.contains("O_DIRECTORY");
                let path = is_told.then(|| self.absolute(call)).flatten();
                let last = last(State::Open(access));
                self.change(pid, |process| process.put(fd, Descriptor { path, ..last }));
            }
            "dup" => self.copy(call, int(call, "fildes"), given, &last(State::Closed)),
            "dup2" | "dup3" => self.copy(call, int(call, "oldfd"), given, &last(State::Closed)),
            "fcntl" => match text(call, "cmd") {
                Some("F_DUPFD" | "F_DUPFD_CLOEXEC") => {
                    self.copy(call, int(call, "fd"), given, &last(State::Closed));
                }
                Some("F_SETFD") => {
                    let (fd, cloexec) = (int(call, "fd"), is_cloexec(call));
                    self.change(pid, |process| {
                        if let Some(known) = fd.and_then(|fd| process.descriptors.get_mut(&fd)) {
                            known.cloexec = cloexec;
                        }
                    });
                }
                _ => {}
            },
            "pipe" | "pipe2" | "socketpair" => {
                let Some([one, other]) = call.args.list.iter().find_map(|arg| pair(call.args.text_of(arg)))
                else {
                    return;
                };
                let ends = match name {
                    "socketpair" => [Access::Both; 2],
                    _ => [Access::Read, Access::Write],
                };
                self.change(pid, |process| {
                    for (fd, access) in [one, other].into_iter().zip(ends) {
                        process.put(fd, last(State::Open(access)));
                    }
                });
            }
            "connect" => self.speaks(call, "uservaddr", |_| true),
            "bind" => self.speaks(call, "umyaddr", |address| address.contains(ANY)),
            "sendto" => self.speaks(call, "addr", |address| address.contains(NAME_SERVER)),
            "socket" => {
                let Some(fd) = given else { return };
                let protocol = text(call, "protocol").filter(|protocol| protocol.starts_with(NETLINK));
                let peer = protocol.map(Arc::from);
                let last = last(State::Open(Access::Both));
                self.change(pid, |process| process.put(fd, Descriptor { peer, ..last }));
            }
            "chdir" => {
                let to = self.absolute(call);
                self.change(pid, |process| process.go(to));
            }
            "fchdir" => {
                let to = int(call, "fd").and_then(|fd| self.directory(call, Some(fd)).cloned());
                self.change(pid, |process| process.go(to));
            }
            "getcwd" => {
                // The kernel's own word for it; below no root of this process it is none.
                let to = call
                    .args
                    .list
                    .first()
                    .and_then(|arg| path(call.args.text_of(arg)));
                let to = to.filter(|path| path.starts_with('/')).map(Arc::from);
                self.change(pid, |process| process.go(to));
            }
            // Paths begin elsewhere from here on.
            "chroot" | "pivot_root" | "setns" => self.change(pid, Process::lose_paths),
            "landlock_create_ruleset" => {
                let Some(fd) = given else { return };
                // With LANDLOCK_CREATE_RULESET_VERSION it is a number.
                let Some(ruleset) = Ruleset::created(call) else {
                    return;
                };
                self.change(pid, |process| {
                    process.put_ruleset(fd, Some(ruleset));
                    let last = last(State::Open(Access::Both));
                    process.put(
                        fd,
                        Descriptor {
                            cloexec: true,
                            ..last
                        },
                    );
                });
            }
            "landlock_add_rule" => {
                let beneath = landlock::parent(call).and_then(|fd| self.directory(call, Some(fd)).cloned());
                self.change(pid, |process| {
                    let fd = int(call, "ruleset_fd");
                    let known = fd.and_then(|fd| Some((fd, process.rulesets.get(&fd)?.clone())));
                    if let Some((fd, mut ruleset)) = known {
                        ruleset.add(call, beneath);
                        process.put_ruleset(fd, Some(ruleset));
                    }
                });
            }
            "landlock_restrict_self" => self.restrict(ktime, call),
            "setuid" | "setreuid" | "setresuid" | "setfsuid" | "capset" => {
                self.change(pid, |process| process.execute(None));
            }
            "prctl" if text(call, "option") == Some("PR_SET_NO_NEW_PRIVS") => {
                self.change(pid, |process| process.execute(None));
            }
            _ if GIVES.contains(&name) => {
                let Some(fd) = given else { return };
                let known = matches!(name, "pidfd_open" | "pidfd_getfd");
                let last = last(State::Open(Access::Both));
                let cloexec = known || last.cloexec;
                self.change(pid, |process| process.put(fd, Descriptor { cloexec, ..last }));
            }
            _ => {}
        }
    }

    /// A socket is given an address to speak to.
    fn speaks(&mut self, call: &Syscall, arg: &str, is_one: impl Fn(&str) -> bool) {
        let Some(fd) = int(call, "fd") else { return };
        let address = text(call, arg).filter(|text| text.len() <= PATH && is_one(text));
        let Some(peer) = address.filter(|text| text.contains("sa_family=AF_")) else {
            return;
        };
        self.change(call.task.host_pid, |process| {
            if let Some(known) = process.descriptors.get(&fd).cloned() {
                let peer = Some(Arc::from(peer));
                process.put(fd, Descriptor { peer, ..known });
            }
        });
    }

    fn close_range(&mut self, call: &Syscall, closed: &Descriptor) {
        let bound = |name: &str| Some(raw(call, name)? as u32);
        let (Some(first), Some(last)) = (bound("fd"), bound("max_fd")) else {
            return;
        };
        let only_marks = flags_of(call).contains("CLOSE_RANGE_CLOEXEC");
        self.change(call.task.host_pid, |process| {
            for (fd, known) in &mut process.descriptors {
                if !(first..=last).contains(&fd.cast_unsigned()) {
                    continue;
                }
                if only_marks {
                    known.cloexec = true;
                } else if matches!(known.state, State::Open(_)) {
                    *known = Descriptor {
                        path: known.path.take(),
                        peer: known.peer.take(),
                        ..closed.clone()
                    };
                }
            }
            process.count();
        });
    }

    /// A descriptor stands for what another one does.
    fn copy(&mut self, call: &Syscall, from: Option<i32>, to: Option<i32>, last: &Descriptor) {
        let (Some(from), Some(to)) = (from, to) else {
            return;
        };
        self.change(call.task.host_pid, |process| {
            let known = process.descriptors.get(&from);
            let state = known.map_or(State::Open(Access::Both), |known| known.state);
            let path = known.and_then(|known| known.path.clone());
            let peer = known.and_then(|known| known.peer.clone());
            process.put(
                to,
                Descriptor {
                    state,
                    path,
                    peer,
                    ..last.clone()
                },
            );
            let ruleset = process.rulesets.get(&from).cloned();
            process.put_ruleset(to, ruleset);
        });
    }

    fn restrict(&mut self, ktime: u64, call: &Syscall) {
        let process = self.processes.get(&call.task.host_pid);
        let ruleset = int(call, "ruleset_fd").and_then(|fd| process?.rulesets.get(&fd).cloned());
        let before = self.domains.get(&call.task.host_tid);
        let domain = Domain::of(before.map(Arc::as_ref), ruleset, ktime);
        self.bind(call.task.host_tid, Arc::new(domain));
    }

    fn process(&mut self, ktime: u64, process: &ProcessBody) {
        let task = &process.task;
        match &process.what {
            ProcessEvent::Fork {
                host_pid,
                host_tid,
                thread,
                ..
            } => {
                if let Some(domain) = self.domains.get(&task.host_tid).cloned() {
                    self.bind(*host_tid, domain);
                }
                if !thread
                    && let Some(parent) = self.processes.get(&task.host_pid).cloned()
                    && self.room.take(parent.bytes)
                {
                    self.processes.insert(*host_pid, parent);
                }
            }
            ProcessEvent::Exec { path, truncated } => {
                let is_known = !self.blind && !truncated && path.starts_with(b"/") && path.len() <= PATH;
                let program = is_known.then(|| path.as_slice().into());
                self.change(task.host_pid, |process| {
                    process.execute(program);
                    for (_, ruleset) in std::mem::take(&mut process.rulesets) {
                        process.bytes -= ruleset.bytes();
                    }
                    for known in process.descriptors.values_mut() {
                        if known.cloexec && matches!(known.state, State::Open(_)) {
                            *known = Descriptor {
                                call: "execve".into(),
                                ktime,
                                tid: task.tid,
                                state: State::ClosedByExec,
                                ..known.clone()
                            };
                        }
                    }
                    process.count();
                });
            }
            ProcessEvent::Exit { .. } => {
                self.free(task.host_tid);
                if task.host_tid == task.host_pid
                    && let Some(process) = self.processes.remove(&task.host_pid)
                {
                    self.room.give_back(process.bytes);
                }
            }
            ProcessEvent::Join => {}
        }
    }

    /// A task is bound by these rules. Where there is no room for them, it is known that there are some.
    fn bind(&mut self, tid: u32, domain: Arc<Domain>) {
        self.free(tid);
        if self.domains.len() >= TASKS {
            return;
        }
        let kept = if self.room.take(domain.bytes()) {
            domain
        } else {
            Arc::new(Domain::unknown(domain.ktime))
        };
        self.domains.insert(tid, kept);
    }

    fn free(&mut self, tid: u32) {
        if let Some(domain) = self.domains.remove(&tid) {
            self.room.give_back(domain.bytes());
        }
    }

    /// Changes what is known of a process. One that has no room is followed no more.
    fn change(&mut self, pid: u32, change: impl FnOnce(&mut Process)) {
        if !self.processes.contains_key(&pid) {
            if !self.room.take(PROCESS) {
                return;
            }
            let process = Process {
                bytes: PROCESS,
                ..Process::default()
            };
            self.processes.insert(pid, Arc::new(process));
        }
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        let process = Arc::make_mut(process);
        let before = process.bytes;
        change(process);
        let after = process.bytes;
        if after > before && !self.room.take(after - before) {
            self.processes.remove(&pid);
            self.room.give_back(before);
        } else if before > after {
            self.room.give_back(before - after);
        }
    }

    /// The path that a call was given, from the root on.
    fn absolute(&self, call: &Syscall) -> Option<Arc<str>> {
        let index = call
            .args
            .list
            .iter()
            .position(|arg| call.args.text_of(arg).starts_with('"'))?;
        let path = path(call.args.text_of(call.args.list.get(index)?))?;
        self.resolved(call, index, path).map(Arc::from)
    }

    /// The same of a path that is the argument of that number: `None` where it is not known where it begins.
    pub fn resolved<'a>(&self, call: &Syscall, index: usize, path: &'a str) -> Option<Cow<'a, str>> {
        if path.starts_with('/') {
            return Some(path.into());
        }
        if path.is_empty() {
            // It stands for nothing (path_resolution(7)), or for the descriptor itself.
            return None;
        }
        let from = self.directory(call, base(call, index))?;
        let mut rest = path;
        while let Some(shorter) = rest.strip_prefix("./") {
            rest = shorter.trim_start_matches('/');
        }
        if rest.is_empty() || rest == "." {
            return Some(from.to_string().into());
        }
        let whole = format!("{}/{rest}", from.trim_end_matches('/'));
        (whole.len() <= PATH).then_some(whole.into())
    }
}

impl Process {
    fn execute(&mut self, program: Option<Arc<[u8]>>) {
        let bytes = |program: &Option<Arc<[u8]>>| program.as_ref().map_or(0, |path| path.len());
        self.bytes = self.bytes - bytes(&self.program) + bytes(&program);
        self.program = program;
    }

    fn put(&mut self, fd: i32, descriptor: Descriptor) {
        let (more, asks) = (descriptor.more(), usize::from(descriptor.asks()));
        if let Some(known) = self.descriptors.get_mut(&fd) {
            self.bytes = self.bytes - known.more() + more;
            self.asking = self.asking - usize::from(known.asks()) + asks;
            *known = descriptor;
        } else if self.descriptors.len() < DESCRIPTORS {
            self.bytes += DESCRIPTOR + more;
            self.asking += asks;
            self.descriptors.insert(fd, descriptor);
        }
    }

    /// Counts anew what was changed in several descriptors.
    fn count(&mut self) {
        self.asking = self.descriptors.values().filter(|known| known.asks()).count();
    }

    /// A ruleset's descriptor is given, or closed.
    fn put_ruleset(&mut self, fd: i32, ruleset: Option<Ruleset>) {
        if let Some(known) = self.rulesets.remove(&fd) {
            self.bytes -= known.bytes();
        }
        if let Some(ruleset) = ruleset.filter(|_| self.rulesets.len() < RULESETS) {
            self.bytes += ruleset.bytes();
            self.rulesets.insert(fd, ruleset);
        }
    }

    fn go(&mut self, to: Option<Arc<str>>) {
        // Its room is part of that of a process.
        self.cwd = to.filter(|path| path.len() <= PATH);
    }

    fn lose_paths(&mut self) {
        self.cwd = None;
        for known in self.descriptors.values_mut() {
            self.bytes -= known.path.take().map_or(0, |path| path.len());
        }
    }
}

/// "Not now" is no failure.
fn later(errno: u16) -> bool {
    [libc::EAGAIN, libc::EINTR].contains(&i32::from(errno)) || errno >= 512
}

/// The argument of that name.
fn raw(call: &Syscall, name: &str) -> Option<u64> {
    call.args
        .list
        .iter()
        .find(|arg| arg.name == name)
        .map(|arg| arg.raw)
}

fn int(call: &Syscall, name: &str) -> Option<i32> {
    raw(call, name).map(|raw| raw as u32 as i32)
}

fn text<'a>(call: &'a Syscall, name: &str) -> Option<&'a str> {
    let arg = call.args.list.iter().find(|arg| arg.name == name)?;
    Some(call.args.text_of(arg))
}

/// The descriptors that a call was given, in the order of its parameters.
fn descriptors_of(call: &Syscall) -> impl Iterator<Item = i32> {
    let is_one = |name: &str| name.ends_with("fd") || name == "fildes";
    let all = call.args.list.iter().filter(move |arg| is_one(arg.name));
    all.map(|arg| arg.raw as u32 as i32)
}

/// The descriptor that the path of that number is relative to; `None` stands for the working directory.
fn base(call: &Syscall, index: usize) -> Option<i32> {
    let before = call.args.list.get(index.checked_sub(1)?)?;
    let is_base = matches!(before.name, "dfd" | "olddfd" | "newdfd" | "from_dfd" | "to_dfd")
        || (before.name == "fd" && call.name == "execveat");
    let fd = before.raw as u32 as i32;
    (is_base && fd != libc::AT_FDCWD).then_some(fd)
}

/// What is asked for beside the path.
fn flags_of(call: &Syscall) -> &str {
    text(call, "flags")
        .or_else(|| text(call, "how"))
        .unwrap_or_default()
}

fn is_cloexec(call: &Syscall) -> bool {
    let texts = || call.args.list.iter().map(|arg| call.args.text_of(arg));
    texts().any(|text| !text.starts_with('"') && text.contains("CLOEXEC"))
}

/// What is between quotes; `None` of what was cut.
fn path(text: &str) -> Option<&str> {
    text.strip_prefix('"')?.strip_suffix('"')
}

/// `[3, 4]`
fn pair(text: &str) -> Option<[i32; 2]> {
    let (one, other) = text.strip_prefix('[')?.strip_suffix(']')?.split_once(", ")?;
    Some([one.parse().ok()?, other.parse().ok()?])
}

fn written(call: &Syscall) -> String {
    let all = &call.args.text;
    let end = (0..=TEXT.min(all.len()))
        .rev()
        .find(|at| all.is_char_boundary(*at));
    let end = end.unwrap_or_default();
    let more = if end < all.len() { "..." } else { "" };
    format!("{}({}{more})", call.name, all.get(..end).unwrap_or_default())
}
