//! The thread that finds out: looks at the scene of a failure, judges, and keeps what it found by container and verdict.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use super::{
    Case, Explanation, Home, Scene, arguments,
    failures::{Failure, Killed, Outbox, Told, looked_up},
    judge, look,
    look::rights,
    rules::{self, search::Place},
};
use crate::event::{Arch, Body, Cause, Container, Diagnosis, Event, Outcome, Syscall, Verdict};

/// Verdicts that are kept of a container; failures beyond them are counted.
const MAX_GROUPS: usize = 256;
/// Ended containers that are remembered.
const PAST: usize = crate::node::PAST;
/// How long a program may take to find elsewhere what it did not find here.
const SEARCH_TIME: Duration = Duration::from_millis(300);
/// Longer than a recording is read.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);
/// Places of a search that are kept.
const MAX_PLACES: usize = 64;
/// Verdicts of a container on files that are not there: the others must find room.
const MAX_MISSING: usize = MAX_GROUPS / 2;
/// Paths of a container that could not be made, and are kept.
const MAX_NOT_MADE: usize = 64;
/// Longest text of a call in a diagnosis.
const MAX_CALL: usize = 400;

/// Judges what comes until the node and the pipeline have ended. `poke` has the pipeline fetch what was found.
/// Where the system that the calls were made on is not here, nothing is looked at.
pub(super) fn run(inbox: &Receiver<Told>, outbox: &Outbox, here: bool, poke: impl Fn() + Send + 'static) {
    let mut inquiry = Inquiry {
        outbox: outbox.clone(),
        here,
        poke: Some(Box::new(poke)),
        live: HashMap::new(),
        past: VecDeque::new(),
        open: VecDeque::new(),
    };
    loop {
        let told = match inquiry.open.front() {
            None => inbox.recv().map_err(|_ended| RecvTimeoutError::Disconnected),
            Some((due, _)) => inbox.recv_timeout(due.saturating_duration_since(Instant::now())),
        };
        match told {
            // All that there is: what may be gone soonest is looked at first.
            Ok(told) => urgent_first(std::iter::once(told).chain(inbox.try_iter()))
                .into_iter()
                .for_each(|told| inquiry.take(told)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        inquiry.settle(Some(Instant::now()));
    }
}

/// The same, killed processes and failures with evidence before others: they want a right or room, of which the daemon
/// reads the rest in files that a container's end removes. A container's beginning and end keep their places.
fn urgent_first(told: impl Iterator<Item = Told>) -> Vec<Told> {
    let mut all: Vec<Told> = told.collect();
    let later = |told: &Told| match told {
        Told::Failed(failure) => 1 + u8::from(failure.call.evidence.is_none()),
        _ => 0,
    };
    let may_move = |told: &Told| matches!(told, Told::Failed(_) | Told::Killed(_));
    for run in all.chunk_by_mut(|a, b| may_move(a) && may_move(b)) {
        run.sort_by_key(later);
    }
    all
}

struct Inquiry {
    outbox: Outbox,
    here: bool,
    poke: Option<Box<dyn Fn() + Send>>,
    live: HashMap<u16, Known>,
    past: VecDeque<Known>,
    /// Failures that may turn out to be a search, by when they are judged at the latest.
    open: VecDeque<(Instant, Open)>,
}

/// A failure whose scene has been looked at.
struct Open {
    failure: Box<Failure>,
    scene: Scene,
}

/// A container.
struct Known {
    info: Arc<Container>,
    home: Option<Home>,
    groups: Vec<Group>,
    /// Kinds of failures that found no room among the groups.
    left_out: Vec<Arc<AtomicU64>>,
    /// Failures that did not reach this thread.
    missed: Arc<AtomicU64>,
    /// The process that was last killed for want of memory.
    victim: Option<u32>,
    /// Paths that its processes could not make, by the process.
    not_made: Vec<(u32, Vec<u8>)>,
}

/// Failures with one verdict.
struct Group {
    first: Event,
    counts: Vec<Arc<AtomicU64>>,
    /// The search that found nothing, and where it looked.
    search: Option<u64>,
    places: Vec<Place>,
}

impl Group {
    /// The process looked for the same in a place where it was not either.
    fn looked_on(&mut self, path: &str, scene: &Scene) {
        if self.places.len() >= MAX_PLACES || self.places.iter().any(|place| place.is(path)) {
            return;
        }
        self.places.push(Place::new(path, scene));
        if self.places.len() > 1
            && let Body::Diagnosis(first) = &mut self.first.body
        {
            first.verdict = rules::search::nowhere(&self.places);
        }
    }
}

impl Inquiry {
    fn take(&mut self, told: Told) {
        match told {
            Told::Came { slot, info, home } => self.known(slot, &info).home = Some(*home),
            Told::Resumed { slot, info, before } => {
                let known = self.known(slot, &info);
                let counted = |count| vec![Arc::new(AtomicU64::new(count))];
                known.left_out.extend(counted(before.left_out));
                for first in before.diagnoses.into_iter().chain(before.expected) {
                    if let Body::Diagnosis(found) = &first.body {
                        let counts = counted(found.count);
                        known.groups.push(Group {
                            first,
                            counts,
                            search: None,
                            places: Vec::new(),
                        });
                    }
                }
            }
            Told::Began { slot } => {
                if let Some(home) = self.live.get_mut(&slot).and_then(|known| known.home.as_mut()) {
                    home.begin();
                }
            }
            Told::Failed(mut failure) => {
                let here = self.here;
                let known = self.known(failure.slot, &failure.info);
                known.missed = failure.missed.clone();
                let earlier = std::mem::take(&mut failure.earlier);
                let mut scene = if here {
                    let home = known
                        .home
                        .get_or_insert_with(|| Home::early(failure.call.task.host_pid));
                    home.begin();
                    let mut scene = look(&failure.call, earlier, home);
                    if failure.quiet.is_some() {
                        rights(&failure.call, home, &mut scene);
                    }
                    scene
                } else {
                    Scene::elsewhere(earlier)
                };
                scene.quiet.clone_from(&failure.quiet);
                scene.dropped = failure.dropped;
                let open = Open { failure, scene };
                // Only a path that was not found may be found elsewhere. A recording is read in its own time.
                let time = if here { SEARCH_TIME } else { FOR_EVER };
                if may_be_search(&open.failure.call)
                    && let Some(due) = Instant::now().checked_add(time)
                {
                    self.open.push_back((due, open));
                } else {
                    self.judge(open);
                }
            }
            Told::Settle { done } => {
                self.settle(None);
                // Who asked may have given up.
                let _gave_up = done.send(());
            }
            Told::Killed(killed) => self.killed(*killed),
            Told::Ended { slot } => {
                self.settle(None);
                if let Some(mut known) = self.live.remove(&slot) {
                    known.home = None;
                    self.past.push_back(known);
                    while self.past.len() > PAST {
                        self.past.pop_front();
                    }
                }
            }
            Told::Ask { id, answer } => {
                self.settle(None);
                let known = self.of(&id);
                // Who asked may have given up.
                let _gave_up = answer.send(known.map(Known::explanation));
            }
            Told::Leave { answer } => {
                let live = self.live.iter();
                // Who asked may have given up.
                let _gave_up = answer.send(live.map(|(slot, known)| (*slot, known.explanation())).collect());
            }
            Told::Stop => self.poke = None,
        }
    }

    fn known(&mut self, slot: u16, info: &Arc<Container>) -> &mut Known {
        self.live.entry(slot).or_insert_with(|| Known {
            info: info.clone(),
            home: None,
            groups: Vec::new(),
            left_out: Vec::new(),
            missed: Arc::default(),
            victim: None,
            not_made: Vec::new(),
        })
    }

    /// The newest container of that id.
    fn of(&self, id: &str) -> Option<&Known> {
        let all = self.live.values().chain(self.past.iter().rev());
        all.into_iter().find(|known| known.info.id == id)
    }

    /// Judges what is open: that which is due by then, or all.
    fn settle(&mut self, due_by: Option<Instant>) {
        while let Some((due, _)) = self.open.front()
            && due_by.is_none_or(|now| *due <= now)
            && let Some((_, open)) = self.open.pop_front()
        {
            self.judge(open);
        }
    }

    fn judge(&mut self, open: Open) {
        let Open { failure, mut scene } = open;
        scene.found_after = failure.found.get().cloned();
        let mut verdict = judge(&Case {
            call: &failure.call,
            scene: &scene,
        });
        if let Some(known) = self.live.get_mut(&failure.slot)
            && known.could_not_make(&failure.call, verdict.cause)
        {
            verdict = rules::expected::not_made();
        }
        let Failure {
            slot,
            info,
            time_ns,
            ktime,
            call,
            count,
            quiet,
            search,
            ..
        } = *failure;
        // Names that are nowhere: the verdict of the first place is that of all.
        if verdict.cause == Cause::Missing
            && let Some(known) = self.live.get_mut(&slot)
            && let Some(path) = looked_up(&call)
            && let Some(group) = known
                .groups
                .iter_mut()
                .find(|group| search.is_some() && group.search == search)
        {
            group.counts.push(count);
            group.looked_on(path.trim_matches('"'), &scene);
            return;
        }
        let search = search.filter(|_| verdict.cause == Cause::Missing);
        let place = looked_up(&call).map(|path| Place::new(path.trim_matches('"'), &scene));
        let errno = match call.outcome {
            Outcome::Error(errno) => Some(errno),
            _ => None,
        };
        let found = Diagnosis {
            call: quiet.map_or_else(|| written(&call), |quiet| quiet.told()),
            arch: call.arch,
            nr: call.nr,
            syscall: call.name,
            errno,
            count: count.load(Relaxed),
            task: call.task,
            verdict,
        };
        let event = Event {
            time_ns,
            ktime,
            container: info,
            body: Body::Diagnosis(Box::new(found)),
        };
        self.keep(slot, event, count, search.zip(place));
    }

    /// A process was killed for want of memory.
    fn killed(&mut self, killed: Killed) {
        let Killed {
            slot,
            info,
            time_ns,
            ktime,
            task,
            oom,
        } = killed;
        let known = self.known(slot, &info);
        // Of two threads that end at once, each may be the last.
        if known.victim.replace(task.host_pid) == Some(task.host_pid) {
            return;
        }
        let (groups, paths) = known.home.as_ref().map(Home::memory).unwrap_or_default();
        let found = Diagnosis {
            call: "killed by SIGKILL".to_owned(),
            arch: Arch::NATIVE,
            nr: u32::MAX,
            syscall: "".into(),
            errno: None,
            count: 1,
            task,
            verdict: rules::oom::killed(oom, &groups, &paths),
        };
        let event = Event {
            time_ns,
            ktime,
            container: info,
            body: Body::Diagnosis(Box::new(found)),
        };
        self.keep(slot, event, Arc::new(AtomicU64::new(1)), None);
    }

    /// Keeps a diagnosis, and tells it the first time.
    fn keep(&mut self, slot: u16, event: Event, count: Arc<AtomicU64>, search: Option<(u64, Place)>) {
        let Some(known) = self.live.get_mut(&slot) else {
            return;
        };
        let Body::Diagnosis(found) = &event.body else {
            return;
        };
        let verdict = &found.verdict;
        let same = known.groups.iter_mut().find(|group| match &group.first.body {
            Body::Diagnosis(first) => {
                first.syscall == found.syscall
                    && first.errno == found.errno
                    && first.verdict.cause == verdict.cause
                    && same_but_for_numbers(first, verdict)
                    // What nobody understands may have several reasons.
                    && (verdict.cause != Cause::Undetermined || first.call == found.call)
            }
            _ => false,
        });
        if let Some(group) = same {
            group.counts.push(count);
            return;
        }
        let missing = |group: &&Group| group.search.is_some();
        if known.groups.len() >= MAX_GROUPS
            || (search.is_some() && known.groups.iter().filter(missing).count() >= MAX_MISSING)
        {
            known.left_out.push(count);
            return;
        }
        let tell = verdict.cause != Cause::Expected;
        known.groups.push(Group {
            first: event.clone(),
            counts: vec![count],
            search: search.as_ref().map(|(search, _)| *search),
            places: search.into_iter().map(|(_, place)| place).collect(),
        });
        if tell {
            self.outbox.put(slot, event);
            if let Some(poke) = &self.poke {
                poke();
            }
        }
    }
}

impl Known {
    /// Whether that call looks for what its process could not make before; one that could not make something is noted.
    fn could_not_make(&mut self, call: &Syscall, cause: Cause) -> bool {
        let process = call.task.host_pid;
        let mut paths = arguments::paths(call).into_iter();
        if let Some(made) = paths.find(|given| arguments::creates(call, given.arg)) {
            if cause != Cause::Expected && self.not_made.len() < MAX_NOT_MADE {
                self.not_made.push((process, made.path));
            }
            return false;
        }
        let looked_for = |given: arguments::Given| self.not_made.contains(&(process, given.path));
        cause == Cause::Missing && arguments::paths(call).into_iter().any(looked_for)
    }

    fn explanation(&self) -> Explanation {
        let sum = |counts: &[Arc<AtomicU64>]| counts.iter().map(|count| count.load(Relaxed)).sum();
        let mut all: Vec<Event> = self
            .groups
            .iter()
            .map(|group| {
                let mut event = group.first.clone();
                if let Body::Diagnosis(found) = &mut event.body {
                    found.count = sum(&group.counts);
                }
                event
            })
            .collect();
        // In the order of their first time, which is that of the program's story.
        all.sort_by_key(|event| event.ktime);
        let is_expected = |event: &Event| match &event.body {
            Body::Diagnosis(found) => found.verdict.cause == Cause::Expected,
            _ => false,
        };
        let (expected, diagnoses) = all.into_iter().partition(is_expected);
        Explanation {
            diagnoses,
            expected,
            left_out: sum(&self.left_out) + self.missed.load(Relaxed),
        }
    }
}

/// Whether two verdicts of one call, errno and cause say the same. A program that tries one limit, or one descriptor, after
/// the other fails for one reason.
fn same_but_for_numbers(first: &Diagnosis, other: &Verdict) -> bool {
    fn words(why: &str) -> impl Iterator<Item = &str> {
        why.split(|c: char| c.is_ascii_digit())
            .filter(|part| !part.is_empty())
    }
    match other.cause {
        Cause::Rlimit | Cause::Arguments => words(&first.verdict.why).eq(words(&other.why)),
        _ => first.verdict.why == other.why,
    }
}

fn may_be_search(call: &Syscall) -> bool {
    matches!(call.outcome, Outcome::Error(errno) if [libc::ENOENT, libc::ENOTDIR, libc::EACCES].contains(&i32::from(errno)))
}

/// The call as strace writes it, without its result.
pub(crate) fn written(call: &Syscall) -> String {
    let texts: Vec<_> = call.args.list.iter().map(|arg| call.args.text_of(arg)).collect();
    let mut text = format!("{}({})", call.name, texts.join(", "));
    if text.len() > MAX_CALL {
        let end = (0..=MAX_CALL)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or_default();
        text.truncate(end);
        text.push_str("...");
    }
    text
}
