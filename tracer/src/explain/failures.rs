//! The pipeline's end of the explain stage: sees each event, counts failed calls by kind, and hands on the first of each
//! kind. It waits for nothing: what finds no room in the queue is counted, and handed on the next time.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel},
    },
    time::Duration,
};

use super::{
    Home, Quiet,
    quiet::{Noted, Waits, brings},
    start::Tries,
};
use crate::{
    event::{
        Body, Container, Event, Exit, Lifecycle, OutOfMemory, Outcome, Phase, Process, ProcessEvent, Syscall,
        Task,
    },
    follow::{Earlier, Followed},
    slots::Slots,
};

/// Kinds of failures that a container may have; what comes after them is counted by call and errno alone.
const MAX_KINDS: usize = 2048;
/// Searches that may be under way in a container.
const MAX_SEARCHES: usize = 1024;
/// How long a container's end waits for what is being looked at, at most.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is told to the thread that finds out.
#[derive(Debug)]
pub(super) enum Told {
    Came {
        slot: u16,
        info: Arc<Container>,
        home: Box<Home>,
    },
    /// Another daemon had it, and found that out.
    Resumed {
        slot: u16,
        info: Arc<Container>,
        before: super::Explanation,
    },
    /// Its application has begun.
    Began {
        slot: u16,
    },
    /// The first failure of its kind.
    Failed(Box<Failure>),
    /// All that was told before is to be judged now.
    Settle {
        done: std::sync::mpsc::Sender<()>,
    },
    /// A process was killed for want of memory.
    Killed(Box<Killed>),
    Ended {
        slot: u16,
    },
    Ask {
        id: String,
        answer: std::sync::mpsc::Sender<Option<super::Explanation>>,
    },
    /// What is known of all that live.
    Leave {
        answer: std::sync::mpsc::Sender<HashMap<u16, super::Explanation>>,
    },
    /// No more pokes: the node ends.
    Stop,
}

/// A failed call, the first of its kind.
#[derive(Debug)]
pub(super) struct Failure {
    pub slot: u16,
    pub info: Arc<Container>,
    pub time_ns: u64,
    pub ktime: u64,
    pub call: Syscall,
    pub earlier: Earlier,
    pub count: Arc<AtomicU64>,
    /// Failures of the container that found no room.
    pub missed: Arc<AtomicU64>,
    /// Where it was no call that failed, what.
    pub quiet: Option<Quiet>,
    /// Capabilities that its container's runtime took out of the bounding set.
    pub dropped: u64,
    /// Which search of the process it may be a part of.
    pub search: Option<u64>,
    /// Where the process then found what it was looking for.
    pub found: Arc<OnceLock<Vec<u8>>>,
}

/// A process of a container that the kernel's OOM killer ended.
#[derive(Debug)]
pub(super) struct Killed {
    pub slot: u16,
    pub info: Arc<Container>,
    pub time_ns: u64,
    pub ktime: u64,
    pub task: Task,
    pub oom: OutOfMemory,
}

/// Diagnoses on their way back to the pipeline.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox(Arc<Mutex<Vec<(u16, Event)>>>);

impl Outbox {
    pub(super) fn put(&self, slot: u16, event: Event) {
        self.lock().push((slot, event));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(u16, Event)>> {
        // A list of whole events: a panic elsewhere leaves none half-made.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pipeline's end.
#[derive(Debug)]
pub struct Failures {
    to: SyncSender<Told>,
    outbox: Outbox,
    /// Waits for room in the queue: nothing is behind it that could not wait.
    patient: bool,
    containers: Slots<Kinds>,
}

/// The failures of a container, by kind.
#[derive(Debug, Default)]
struct Kinds {
    counts: HashMap<u64, Arc<AtomicU64>>,
    searches: HashMap<u64, Vec<Arc<OnceLock<Vec<u8>>>>>,
    missed: Arc<AtomicU64>,
    /// Of the container runtime, before it executes the application.
    tries: Tries,
    /// For answers that did not come.
    waits: Waits,
    /// Capabilities that it took out of its bounding set, before the application began.
    dropped: u64,
    began: bool,
}

impl Failures {
    pub(super) fn new(to: SyncSender<Told>, outbox: Outbox, patient: bool) -> Self {
        Self {
            to,
            outbox,
            patient,
            containers: Slots::default(),
        }
    }

    /// Looks at an event on its way to the sinks, and at what its container's processes had before it.
    pub fn see(&mut self, slot: u16, event: &Event, followed: Option<&Followed>) {
        let earlier = |call: &Syscall| {
            followed
                .map(|followed| followed.earlier(event.ktime, call))
                .unwrap_or_default()
        };
        self.end_of_process(slot, event);
        match &event.body {
            // What the runtime executes is the application: where that fails, there is none.
            Body::Syscall(call) if call.task.phase == Phase::App || executes(call) => {
                if succeeded(call) {
                    self.succeeded(slot, event, call, followed);
                } else {
                    self.call(slot, event, call, None, || earlier(call));
                }
            }
            Body::Syscall(call) => {
                let kinds = self.containers.entry(slot).or_default();
                kinds.tries.see(event, call, || earlier(call));
                kinds.dropped |= drops(call).filter(|_| !kinds.began).unwrap_or_default();
            }
            Body::Container(Lifecycle::Exec) => {
                self.containers.entry(slot).or_default().began = true;
                // Where there is no room, the first failure makes up for it.
                let _no_room = self.to.try_send(Told::Began { slot });
            }
            Body::Process(Process {
                task,
                what:
                    ProcessEvent::Exit {
                        code: Exit::Signal { number, .. },
                        oom: Some(oom),
                    },
            }) if i32::from(*number) == libc::SIGKILL => {
                let killed = Killed {
                    slot,
                    info: event.container.clone(),
                    time_ns: event.time_ns,
                    ktime: event.ktime,
                    task: task.clone(),
                    oom: *oom,
                };
                // Where there is no room, nobody explains it; its exit tells.
                let _no_room = self.to.try_send(Told::Killed(Box::new(killed)));
            }
            Body::Process(Process {
                task,
                what: ProcessEvent::Exit {
                    code: Exit::Code(_), ..
                },
            }) if task.phase == Phase::Runtime && task.host_pid == task.host_tid => {
                let tries = self.containers.get_mut(&slot).map(|kinds| &mut kinds.tries);
                for (event, earlier) in tries.map(|tries| tries.of(task.host_pid)).into_iter().flatten() {
                    if let Body::Syscall(call) = &event.body {
                        self.call(slot, &event, call, None, || earlier);
                    }
                }
            }
            _ => {}
        }
    }

    /// A call that did not fail: it may end a search, or tell of what no call returns.
    fn succeeded(&mut self, slot: u16, event: &Event, call: &Syscall, followed: Option<&Followed>) {
        if let Some(kinds) = self.containers.get_mut(&slot)
            && !kinds.searches.is_empty()
            && let Some(path) = looked_up(call)
        {
            kinds.found(call, path);
        }
        let name = call.name.as_ref();
        let Some(followed) = followed.filter(|_| name == "close" || brings(name)) else {
            return;
        };
        let kinds = self.containers.entry(slot).or_default();
        if let Some(noted) = kinds.waits.see(event, call, followed) {
            self.quiet(slot, noted);
        }
    }

    fn end_of_process(&mut self, slot: u16, event: &Event) {
        let Body::Process(Process {
            task,
            what: ProcessEvent::Exit { .. },
        }) = &event.body
        else {
            return;
        };
        if task.host_pid == task.host_tid
            && let Some(kinds) = self.containers.get_mut(&slot)
        {
            for noted in kinds.waits.end(task.host_pid) {
                self.quiet(slot, noted);
            }
        }
    }

    fn quiet(&mut self, slot: u16, noted: Noted) {
        let Noted {
            event,
            call,
            quiet,
            earlier,
        } = noted;
        self.call(slot, &event, &call, Some(quiet), || earlier);
    }

    fn call(
        &mut self,
        slot: u16,
        event: &Event,
        call: &Syscall,
        quiet: Option<Quiet>,
        earlier: impl FnOnce() -> Earlier,
    ) {
        let kinds = self.containers.entry(slot).or_default();
        let mut key = match &quiet {
            Some(quiet) => {
                let mut hasher = DefaultHasher::new();
                (kind(call, false), quiet).hash(&mut hasher);
                hasher.finish()
            }
            None => kind(call, true),
        };
        if !kinds.counts.contains_key(&key) && kinds.counts.len() >= MAX_KINDS {
            key = kind(call, false);
        }
        let vacant = match kinds.counts.entry(key) {
            Entry::Occupied(known) => {
                known.get().fetch_add(1, Relaxed);
                return;
            }
            Entry::Vacant(vacant) => vacant,
        };
        let count = Arc::new(AtomicU64::new(1));
        let found = Arc::new(OnceLock::new());
        let search = looked_up(call).map(|path| search(call, path));
        let failure = Failure {
            slot,
            info: event.container.clone(),
            time_ns: event.time_ns,
            ktime: event.ktime,
            call: call.clone(),
            earlier: earlier(),
            count: count.clone(),
            missed: kinds.missed.clone(),
            quiet,
            dropped: kinds.dropped,
            search,
            found: found.clone(),
        };
        let told = Told::Failed(Box::new(failure));
        let sent = if self.patient {
            self.to
                .send(told)
                .map_err(|unsent| TrySendError::Disconnected(unsent.0))
        } else {
            self.to.try_send(told)
        };
        match sent {
            Ok(()) => {
                vacant.insert(count);
                if let Some(search) = search
                    && kinds.searches.len() < MAX_SEARCHES
                {
                    kinds.searches.entry(search).or_default().push(found);
                }
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                kinds.missed.fetch_add(1, Relaxed);
            }
        }
    }

    /// What has been found out since the last time.
    pub fn found(&self) -> Vec<(u16, Event)> {
        std::mem::take(&mut *self.outbox.lock())
    }

    /// Waits as [`Questions::settle`] does, for a pipeline that ends.
    pub fn settle(&self) {
        settle(&self.to);
    }

    /// A container's end. It waits for nothing: whoever ends a container has waited for what is judged
    /// ([`Questions::settle`]).
    pub fn end(&mut self, slot: u16) {
        self.containers.remove(&slot);
        // Whoever is gone asks for nothing.
        let _gone = self.to.send(Told::Ended { slot });
    }
}

impl Kinds {
    /// A process found a file: those of that name that it did not find elsewhere were a search.
    fn found(&mut self, call: &Syscall, path: &str) {
        for search in self.searches.remove(&search(call, path)).unwrap_or_default() {
            // The first place is what it found.
            let _found_before = search.set(path.trim_matches('"').as_bytes().to_vec());
        }
    }
}

/// The capability that a call takes out of its task's bounding set, as a bit (prctl(2)).
fn drops(call: &Syscall) -> Option<u64> {
    let mut args = call.args.list.iter();
    let is_one = call.name == "prctl" && call.args.text_of(args.next()?) == "PR_CAPBSET_DROP";
    let number = args.next().filter(|_| is_one && succeeded(call))?.raw;
    1_u64.checked_shl(u32::try_from(number).ok()?)
}

fn succeeded(call: &Syscall) -> bool {
    !matches!(call.outcome, Outcome::Error(_)) && call.denied_by.is_none()
}

fn executes(call: &Syscall) -> bool {
    matches!(call.name.as_ref(), "execve" | "execveat")
}

/// What makes a failure one of a kind: call, errno, and with `fine` also what its arguments say, addresses apart.
pub(crate) fn kind(call: &Syscall, fine: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    (call.arch, call.nr, fine).hash(&mut hasher);
    match call.outcome {
        Outcome::Error(errno) => errno.hash(&mut hasher),
        _ => u16::MAX.hash(&mut hasher),
    }
    call.denied_by.map(|by| by as u8).hash(&mut hasher);
    if fine {
        for arg in &call.args.list {
            let text = call.args.text_of(arg);
            if !text.starts_with("0x") {
                text.hash(&mut hasher);
            }
        }
    }
    hasher.finish()
}

/// The path that a call looked up, quoted, for calls by which programs search.
pub(super) fn looked_up(call: &Syscall) -> Option<&str> {
    let searches = matches!(
        call.name.as_ref(),
        "open"
            | "openat"
            | "openat2"
            | "stat"
            | "lstat"
            | "newfstatat"
            | "statx"
            | "access"
            | "faccessat"
            | "faccessat2"
            | "readlink"
            | "readlinkat"
            | "execve"
            | "execveat"
    );
    let texts = call.args.list.iter().map(|arg| call.args.text_of(arg));
    searches.then(|| texts.into_iter().find(|text| text.starts_with('"')))?
}

/// A search: the process, and the name without its directory and without what follows the first dot: `libm.so.6` is
/// looked for in several directories, `json.py` as `json.so` before.
fn search(call: &Syscall, path: &str) -> u64 {
    let path = path.trim_matches('"');
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = match name.split_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => name,
    };
    let mut hasher = DefaultHasher::new();
    (call.task.host_pid, stem).hash(&mut hasher);
    hasher.finish()
}

/// Waits, for a second at most, until what was told is judged.
fn settle(to: &SyncSender<Told>) {
    let (done, judged) = channel();
    if to.send(Told::Settle { done }).is_ok() {
        match judged.recv_timeout(PATIENCE) {
            // Too late for the stream; `tracer explain` has it.
            Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
}

/// The node's end: tells of containers, and asks.
#[derive(Debug)]
pub struct Questions(pub(super) SyncSender<Told>);

impl Questions {
    /// A container came. Told while its hook still waits: its first process may be gone as soon as it fails.
    pub fn came(&self, slot: u16, info: Arc<Container>, init_tgid: u32) {
        let home = Box::new(Home::early(init_tgid));
        // Where there is no room, the first failure makes up for it.
        let _no_room = self.0.try_send(Told::Came { slot, info, home });
    }

    /// What is known of the failures of a container, the newest of that id; all that was told before is judged first.
    pub fn explain(&self, id: &str) -> Option<super::Explanation> {
        let (answer, answered): (_, Receiver<_>) = channel();
        self.0
            .send(Told::Ask {
                id: id.to_owned(),
                answer,
            })
            .ok()?;
        answered.recv().ok()?
    }
}

impl Questions {
    /// Waits, for a second at most, until what was told is judged: then its diagnoses come before a container's end. For
    /// whoever holds nothing that others wait for.
    pub fn settle(&self) {
        settle(&self.0);
    }

    /// What is known of the failures of each container that lives, for another daemon; nothing where that takes more
    /// than a second.
    pub fn leave(&self) -> HashMap<u16, super::Explanation> {
        let (answer, answered) = channel();
        let _ended = self.0.send(Told::Leave { answer });
        answered.recv_timeout(PATIENCE).unwrap_or_default()
    }

    /// Another daemon had that container, and found that out; none of it is told again.
    pub fn resumed(&self, slot: u16, info: Arc<Container>, before: super::Explanation) {
        // The stage ends after this does.
        let _ended = self.0.send(Told::Resumed { slot, info, before });
    }
}

impl Drop for Questions {
    fn drop(&mut self) {
        // Ended before: then nobody pokes.
        let _ended = self.0.send(Told::Stop);
    }
}
