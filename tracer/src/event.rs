//! The event model: what the pipeline hands to the sinks, and what schema version 1 (`docs/events.md`) says in JSON.
//!
//! It knows nothing of the kernel's records, of sinks or of formats. Bytes chosen by a container stay bytes until a
//! sink writes them.

mod data;
mod diagnosis;
mod evidence;

use std::{borrow::Cow, collections::BTreeMap, ops::Range, sync::Arc};

pub use data::{Buffer, Data, Direction};
pub use diagnosis::{Cause, Diagnosis, Fact, Fix, Place, Taken, Verdict};
pub use evidence::Evidence;
use serde::{Deserialize, Serialize};

/// Version of the JSON schema. Fields may be added within a version; none changes its meaning.
pub const SCHEMA_VERSION: u32 = 1;

/// The container an event belongs to, as people know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// The runtime's id.
    pub id: String,
    /// The name that a user gave it, or the id where there is none.
    pub name: String,
    /// Pod, namespace and image, where the runtime told.
    pub pod: Option<String>,
    /// Kubernetes namespace.
    pub namespace: Option<String>,
    /// Image reference.
    pub image: Option<String>,
    /// Uid that registered it and may read its events beside root and group tracer.
    pub owner: u32,
    /// Labels, where the runtime told.
    pub labels: BTreeMap<String, String>,
}

impl Container {
    /// Whether that word means it: its name, its id, or how its id begins.
    pub fn is_meant_by(&self, word: &str) -> bool {
        !word.is_empty() && (self.name == word || self.id.starts_with(word))
    }
}

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Wall-clock time in nanoseconds since 1970, from `ktime`.
    pub time_ns: u64,
    /// CLOCK_MONOTONIC nanoseconds when the kernel took it.
    pub ktime: u64,
    pub container: Arc<Container>,
    pub body: Body,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Body {
    Syscall(Syscall),
    Process(Process),
    Container(Lifecycle),
    Loss(Loss),
    Diagnosis(Box<Diagnosis>),
}

/// The task that an event is about. `pid` and `tid` are the container's own numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub cpu: u16,
    pub pid: u32,
    pub tid: u32,
    pub host_pid: u32,
    pub host_tid: u32,
    /// Name without trailing NULs; any bytes, at most 15.
    pub comm: Comm,
    pub via: Via,
    pub phase: Phase,
}

/// A task's name, as TASK_COMM_LEN bytes padded with NUL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comm(pub [u8; 16]);

impl Comm {
    /// The bytes before the first NUL.
    pub fn bytes(&self) -> &[u8] {
        self.0.split(|b| *b == 0).next().unwrap_or_default()
    }
}

/// How a task came into the container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Via {
    /// It, or the ancestor it descends from, was started with the container.
    #[default]
    Start,
    /// It, or an ancestor, joined later (`podman exec`, `nsenter`).
    Exec,
}

impl Via {
    /// The word in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Exec => "exec",
        }
    }
}

/// Whose code ran: the container runtime's preparation, or the application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    #[default]
    Runtime,
    App,
}

impl Phase {
    /// The word in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::App => "app",
        }
    }
}

/// Which system call table a call was made through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Arch {
    X86_64,
    I386,
    X32,
    Aarch64,
    Arm,
}

impl Arch {
    /// This machine's.
    pub const NATIVE: Self = if cfg!(target_arch = "aarch64") {
        Self::Aarch64
    } else {
        Self::X86_64
    };

    /// The word in JSON, the kernel's own.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::I386 => "i386",
            Self::X32 => "x32",
            Self::Aarch64 => "aarch64",
            Self::Arm => "arm",
        }
    }
}

/// A system call.
#[derive(Clone, Debug)]
pub struct Syscall {
    pub task: Task,
    /// Number within container and CPU, from 1.
    pub seq: u64,
    pub arch: Arch,
    pub nr: u32,
    /// The kernel's name, or `syscall_0x…` as strace prints a number without one.
    pub name: std::borrow::Cow<'static, str>,
    pub args: Args,
    pub outcome: Outcome,
    /// Nanoseconds from enter to exit; `None` where it was not measured.
    pub duration_ns: Option<u64>,
    /// Who refused the call before the kernel's own function ran.
    pub denied_by: Option<DeniedBy>,
    /// Where the kernel found that a name is not there, of the last one that the call looked up; known only while somebody
    /// asks.
    pub negative: Option<Negative>,
    /// What the kernel knew of the task, where the call failed in a way that wants a reason.
    pub evidence: Option<Box<Evidence>>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returned this value.
    Value(i64),
    /// It failed with this errno (1..=4095, the kernel-internal ERESTART* among them).
    Error(u16),
    /// The task ended inside it, or it is one that never returns.
    Unfinished,
    /// It was refused and the task got a signal instead of a return value.
    Refused,
}

/// Where the kernel found that a name is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negative {
    /// In its cache: a negative dentry.
    Cached,
    /// It asked the file system, and made a negative dentry.
    LookedUp,
}

/// Who refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeniedBy {
    Seccomp,
    /// A ptracer or syscall user dispatch skipped it.
    Ptrace,
}

impl DeniedBy {
    /// The word in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seccomp => "seccomp",
            Self::Ptrace => "ptrace",
        }
    }
}

/// Arguments, rendered as strace prints them. One text buffer for all keeps a call at one allocation.
#[derive(Clone, Debug, Default)]
pub struct Args {
    pub text: String,
    pub list: Vec<Arg>,
    /// What strace appends to the return value: a decoded form (`O_RDONLY`, `Timeout`), without its parentheses.
    pub ret_note: Option<String>,
    /// How strace writes the return value.
    pub ret_base: Base,
    /// What descriptors among them stand for, where a reader asked.
    pub files: Option<Box<Files>>,
    /// Which way it moves data through its first argument, a descriptor; `None`: it is no call that does.
    pub moves: Option<Direction>,
    /// That data, where a reader asked for it.
    pub data: Option<Box<Data>>,
    /// Arguments without abbreviation, first to last, where a reader asked and that is something else.
    pub verbose: Vec<Verbose>,
    /// Where the text of the first argument begins that the call writes, for a call that never returned: what follows
    /// was not known yet when it began.
    pub before_output: Option<usize>,
}

/// What a reader asks to know of descriptors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Descriptors {
    #[default]
    Numbers,
    /// What they stand for: `3</etc/passwd>` (`-y`).
    Paths,
    /// Also the addresses of sockets, the numbers of devices and processes (`-yy`).
    All,
}

/// What the descriptors of a call stand for, at the moment of the call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    pub list: Vec<File>,
    /// Places in [`Args::text`] after which one stands, first to last.
    pub marks: Vec<Mark>,
    /// Which one was returned.
    pub returned: Option<usize>,
}

/// A place in a text, right after a descriptor, and which of [`Files::list`] that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub at: usize,
    pub file: usize,
}

/// An open file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// Its path in the container, or the kernel's word for what has none (`pipe:[4711]`); any bytes.
    pub path: Vec<u8>,
    /// That name is gone.
    pub deleted: bool,
    /// The path has more directories above than were taken: it begins with `...`.
    pub cut: bool,
    /// `TCP:[127.0.0.1:80]`, `char 1:3`, `pid:7`.
    pub detail: Option<String>,
    /// What strace's `-y` puts after the number.
    pub text: String,
    /// What its `-yy` puts there, where that is something else.
    pub full: Option<String>,
}

impl File {
    /// What stands after the number.
    pub fn text(&self, descriptors: Descriptors) -> &str {
        match (&self.full, descriptors) {
            (_, Descriptors::Numbers) => "",
            (Some(full), Descriptors::All) => full,
            _ => &self.text,
        }
    }
}

/// An argument without abbreviation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verbose {
    /// Its place in [`Args::list`].
    pub arg: usize,
    pub text: String,
    /// There was more than what was copied.
    pub truncated: bool,
    /// Not all of it could be read.
    pub fault: bool,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Base {
    #[default]
    Decimal,
    Hex,
    Octal,
}

impl Args {
    /// What strace prints for that argument.
    pub fn text_of(&self, arg: &Arg) -> &str {
        self.text.get(arg.text.clone()).unwrap_or_default()
    }

    /// A part of [`Self::text`], with what descriptors stand for.
    pub fn text_with(&self, part: Range<usize>, descriptors: Descriptors) -> Cow<'_, str> {
        let plain = self.text.get(part.clone()).unwrap_or_default();
        let Some(files) = self
            .files
            .as_deref()
            .filter(|_| descriptors != Descriptors::Numbers)
        else {
            return plain.into();
        };
        let mut text = String::new();
        let mut from = part.start;
        for mark in files
            .marks
            .iter()
            .filter(|mark| part.start < mark.at && mark.at <= part.end)
        {
            text.push_str(self.text.get(from..mark.at).unwrap_or_default());
            text.push_str(
                files
                    .list
                    .get(mark.file)
                    .map_or("", |file| file.text(descriptors)),
            );
            from = mark.at;
        }
        text.push_str(self.text.get(from..part.end).unwrap_or_default());
        text.into()
    }

    /// [`Self::text`] up to `end` with what descriptors stand for, and without abbreviation.
    pub fn text_whole(&self, end: usize, descriptors: Descriptors) -> Cow<'_, str> {
        let mut text = Cow::Borrowed("");
        let mut from = 0;
        for whole in &self.verbose {
            if let Some(arg) = self.list.get(whole.arg).filter(|arg| arg.text.end <= end) {
                text += self.text_with(from..arg.text.start, descriptors);
                text += whole.text.as_str();
                from = arg.text.end;
            }
        }
        text + self.text_with(from..end, descriptors)
    }

    /// What an argument stands for that is a descriptor.
    pub fn file_of(&self, arg: &Arg) -> Option<&File> {
        let files = self.files.as_deref()?;
        let mark = files.marks.iter().find(|mark| mark.at == arg.text.end)?;
        files.list.get(mark.file)
    }

    /// What a descriptor stands for that the call returned.
    pub fn returned_file(&self) -> Option<&File> {
        let files = self.files.as_deref()?;
        files.list.get(files.returned?)
    }
}

/// One argument.
#[derive(Clone, Debug)]
pub struct Arg {
    /// The kernel's name of the parameter.
    pub name: &'static str,
    /// The register.
    pub raw: u64,
    /// Where [`Args::text`] holds its text.
    pub text: Range<usize>,
    /// It was longer than what was copied.
    pub truncated: bool,
    /// Its memory could not be read.
    pub fault: bool,
}

/// A process event.
#[derive(Clone, Debug)]
pub struct Process {
    /// The task; for a fork the parent.
    pub task: Task,
    pub what: ProcessEvent,
}

/// What a task did as a process.
#[derive(Clone, Debug)]
pub enum ProcessEvent {
    /// It made another task; `task` is the new one's numbers and name.
    Fork {
        pid: u32,
        tid: u32,
        host_pid: u32,
        host_tid: u32,
        comm: Comm,
        thread: bool,
    },
    /// It replaced its program by the file of this path (bytes as the kernel had them).
    Exec { path: Vec<u8>, truncated: bool },
    /// It ended.
    /// `oom`: of a process's last thread, where the kernel's OOM killer chose the process.
    Exit { code: Exit, oom: Option<OutOfMemory> },
    /// It was found in the container: there at registration, or joined.
    Join,
}

impl Process {
    /// Of a fork, the new task; it is in its maker's phase, and there by the same way.
    pub fn child(&self) -> Option<Task> {
        let ProcessEvent::Fork {
            pid,
            tid,
            host_pid,
            host_tid,
            comm,
            ..
        } = self.what
        else {
            return None;
        };
        Some(Task {
            pid,
            tid,
            host_pid,
            host_tid,
            comm,
            ..self.task.clone()
        })
    }
}

/// Whose limit it was that left somebody without memory, so that the OOM killer chose a process: as the kernel side found it
/// when the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    /// How many levels the memory cgroup is above the process's own; `None`: no limit of a cgroup, the machine's memory.
    pub level: Option<u32>,
    /// Its `memory.max` in bytes, where there is one.
    pub max: Option<u64>,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    Code(u8),
    Signal { number: u8, core_dumped: bool },
}

/// A container's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lifecycle {
    /// The registry took it; `late` = it ran already, so its beginning was missed. `away` = it was traced before, by a
    /// daemon that ended: when nobody traced it.
    Registered { late: bool, away: Vec<Away> },
    /// Another daemon traced it and left it to this one: nothing is missing between.
    Resumed,
    /// The proof round came back: from here on nothing is missed.
    Armed { round_trip_ns: u64 },
    /// Something that it asked for is not done, and why.
    Warning { text: String },
    /// Init's first successful execve: the application begins.
    Exec,
    /// It ended; these are its final books.
    Gone {
        books: Books,
        complete: bool,
        exit: Option<Exit>,
    },
    /// It goes on, but is traced no longer; these are the books of what was traced.
    Detached { books: Books },
    /// It asks to be traced, runs, and is not.
    Unregistered { reason: String },
    /// It was frozen, as it had asked, until its events were taken: how often and how long since this was told last.
    Frozen { times: u64, ns: u64 },
}

impl Lifecycle {
    /// The word in JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Registered { .. } => "registered",
            Self::Armed { .. } => "armed",
            Self::Resumed => "resumed",
            Self::Warning { .. } => "warning",
            Self::Exec => "exec",
            Self::Gone { .. } => "gone",
            Self::Detached { .. } => "detached",
            Self::Unregistered { .. } => "unregistered",
            Self::Frozen { .. } => "frozen",
        }
    }
}

/// A time in which nobody traced a container: UTC as in RFC 3339, to the millisecond.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Away {
    /// The last sign of life of the daemon that ended.
    pub from: String,
    pub to: String,
}

/// The books of one container, summed over CPUs and stages.
/// `admitted = emitted + Σ dropped + filtered + in_flight`, `emitted = decoded + undecodable + queue_drop`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    pub admitted: u64,
    pub emitted: u64,
    pub dropped: Dropped,
    pub filtered: u64,
    pub counted: u64,
    pub in_flight: u64,
    pub decoded: u64,
    pub undecodable: u64,
    pub queue_drop: u64,
    /// Sum of all aggregate rows.
    pub aggregated: u64,
}

/// Losses on the kernel side, by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    pub ring_full: u64,
    pub no_storage: u64,
    pub unpaired: u64,
    #[serde(default)]
    pub rate_limit: u64,
    #[serde(default)]
    pub ring_share: u64,
}

impl Dropped {
    /// All of them.
    pub fn sum(&self) -> u64 {
        self.ring_full + self.no_storage + self.unpaired + self.rate_limit + self.ring_share
    }
}

impl Books {
    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        self.admitted += other.admitted;
        self.emitted += other.emitted;
        self.dropped.ring_full += other.dropped.ring_full;
        self.dropped.no_storage += other.dropped.no_storage;
        self.dropped.unpaired += other.dropped.unpaired;
        self.dropped.rate_limit += other.dropped.rate_limit;
        self.dropped.ring_share += other.dropped.ring_share;
        self.filtered += other.filtered;
        self.counted += other.counted;
        self.in_flight += other.in_flight;
        self.decoded += other.decoded;
        self.undecodable += other.undecodable;
        self.queue_drop += other.queue_drop;
        self.aggregated += other.aggregated;
    }

    /// Calls of this container that did not reach the sinks' doors.
    pub fn lost(&self) -> u64 {
        self.dropped.sum() + self.undecodable + self.queue_drop
    }

    /// Whether both equations hold.
    pub fn balance(&self) -> bool {
        let dropped = self.dropped.sum();
        self.admitted == self.emitted + dropped + self.filtered + self.counted + self.in_flight
            && self.emitted == self.decoded + self.undecodable + self.queue_drop
            && self.aggregated == self.admitted - self.in_flight
    }
}

/// A loss: events that existed and that this stream does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    pub reason: LossReason,
    pub count: u64,
    /// Where it lies, when a hole in the sequence numbers tells: the CPU and the numbers before and after the hole.
    pub hole: Option<Hole>,
}

/// A hole in a CPU's sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    pub cpu: u16,
    pub after: u64,
    pub before: u64,
}

/// Why events were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LossReason {
    /// The ring had no room.
    RingFull,
    /// The kernel gave no task storage.
    NoStorage,
    /// A call's exit was never seen.
    Unpaired,
    /// They were more in a second than the container, or its owner, may have.
    RateLimit,
    /// A record could not be decoded.
    Undecodable,
    /// The queue behind the ring was full.
    Queue,
    /// This sink or subscriber was too slow.
    Sink,
    /// Not lost when they happened, but no longer held for a replay.
    NotHeld,
    /// They were more than the container's share of the ring.
    RingShare,
}

impl LossReason {
    /// The word in JSON and text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::RingShare => "ring_share",
            Self::NoStorage => "no_storage",
            Self::Unpaired => "unpaired",
            Self::RateLimit => "rate_limit",
            Self::Undecodable => "undecodable",
            Self::Queue => "queue_drop",
            Self::Sink => "sink_drop",
            Self::NotHeld => "not_held",
        }
    }
}
