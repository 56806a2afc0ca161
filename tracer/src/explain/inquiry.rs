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
    Case, Explanation, Home, Scene,
    failures::{Failure, Outbox, Told},
    judge, look,
};
use crate::event::{Body, Cause, Container, Diagnosis, Event, Outcome, Syscall};

/// Verdicts that are kept of a container; failures beyond them are counted.
const MAX_GROUPS: usize = 256;
/// Ended containers that are remembered.
const PAST: usize = crate::node::PAST;
/// How long a program may take to find elsewhere what it did not find here.
const SEARCH_TIME: Duration = Duration::from_millis(300);
/// Longer than a recording is read.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);
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

/// The same, failures with evidence before those without: they want a right or room, of which the daemon reads the
/// rest in files that a container's end removes. A container's beginning and end keep their places.
fn urgent_first(told: impl Iterator<Item = Told>) -> Vec<Told> {
    let mut all: Vec<Told> = told.collect();
    let later = |told: &Told| match told {
        Told::Failed(failure) => failure.call.evidence.is_none(),
        _ => false,
    };
    for run in all.chunk_by_mut(|a, b| matches!((a, b), (Told::Failed(_), Told::Failed(_)))) {
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
    /// A process of it was killed for want of memory.
    out_of_memory: bool,
}

/// Failures with one verdict.
struct Group {
    first: Event,
    counts: Vec<Arc<AtomicU64>>,
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
                        known.groups.push(Group { first, counts });
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
                let scene = if here {
                    let home = known
                        .home
                        .get_or_insert_with(|| Home::early(failure.call.task.host_pid));
                    home.begin();
                    look(&failure.call, earlier, home)
                } else {
                    Scene::elsewhere(earlier)
                };
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
            Told::Killed { slot } => {
                if let Some(known) = self.live.get_mut(&slot)
                    && let Some(home) = &known.home
                {
                    known.out_of_memory |= home.oom_kills() > 0;
                }
            }
            Told::AskMemory { id, answer } => {
                let known = self.of(&id);
                // Who asked may have given up.
                let _gave_up = answer.send(known.is_some_and(|known| known.out_of_memory));
            }
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
            out_of_memory: false,
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
        let verdict = judge(&Case {
            call: &failure.call,
            scene: &scene,
        });
        let Some(known) = self.live.get_mut(&failure.slot) else {
            return;
        };
        let Failure {
            slot,
            info,
            time_ns,
            ktime,
            call,
            count,
            ..
        } = *failure;
        let errno = match call.outcome {
            Outcome::Error(errno) => Some(errno),
            _ => None,
        };
        let written = written(&call);
        let same = known.groups.iter_mut().find(|group| match &group.first.body {
            Body::Diagnosis(first) => {
                first.syscall == call.name
                    && first.errno == errno
                    && first.verdict.cause == verdict.cause
                    && first.verdict.why == verdict.why
                    // What nobody understands may have several reasons.
                    && (verdict.cause != Cause::Undetermined || first.call == written)
            }
            _ => false,
        });
        if let Some(group) = same {
            group.counts.push(count);
            return;
        }
        if known.groups.len() >= MAX_GROUPS {
            known.left_out.push(count);
            return;
        }
        let tell = verdict.cause != Cause::Expected;
        let first = Event {
            time_ns,
            ktime,
            container: info,
            body: Body::Diagnosis(Box::new(Diagnosis {
                call: written,
                arch: call.arch,
                nr: call.nr,
                syscall: call.name.clone(),
                errno,
                count: count.load(Relaxed),
                task: call.task,
                verdict,
            })),
        };
        known.groups.push(Group {
            first: first.clone(),
            counts: vec![count],
        });
        if tell {
            self.outbox.put(slot, first);
            if let Some(poke) = &self.poke {
                poke();
            }
        }
    }
}

impl Known {
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
