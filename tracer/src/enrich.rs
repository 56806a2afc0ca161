//! Adds to a decoded record what it does not carry: the container, the task's name, the wall clock. Sees holes in the
//! sequence numbers and turns them into losses with their place.
//!
//! It must not know where records come from nor where events go.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::{
    decode::{self, Record},
    event::{
        Body, Comm, Container, Event, Exit, Hole, Lifecycle, Loss, LossReason, Process, ProcessEvent, Task,
    },
    observe::{self, Observed},
    slots::Slots,
};

/// Holes that are remembered a container: enough to say where, bounded for a stream of nothing but holes.
const MAX_HOLES: usize = 1024;

/// What the pipeline has seen of a container; read by `verify` and `ps` meanwhile.
#[derive(Debug, Default)]
pub struct Progress {
    pub decoded: AtomicU64,
    pub undecodable: AtomicU64,
    /// `ktime` of the first call recorded; 0 = none yet.
    pub first_call: AtomicU64,
    /// `ktime` of init's first successful execve; 0 = none yet.
    pub first_exec: AtomicU64,
    /// What was seen in its events.
    pub observed: Observed,
    seen: Mutex<Seen>,
}

/// The parts of [`Progress`] that are rare.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    pub holes: Vec<Hole>,
    /// How init ended.
    pub exit: Option<Exit>,
}

impl Progress {
    /// A copy of the rare parts.
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        // Plain data: a panic elsewhere leaves nothing half-made in it.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A container as one daemon's pipeline leaves it for the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Left {
    decoded: u64,
    undecodable: u64,
    first_call: u64,
    first_exec: u64,
    seen: Seen,
    observed: observe::Left,
    comms: Vec<(u32, Comm)>,
    last_seq: Vec<u64>,
}

/// A container as the pipeline holds it.
#[derive(Debug)]
pub struct Live {
    pub generation: u32,
    pub info: Arc<Container>,
    pub init_tgid: u32,
    pub progress: Arc<Progress>,
    comms: HashMap<u32, Comm>,
    last_seq: Vec<u64>,
}

impl Live {
    pub fn new(generation: u32, info: Arc<Container>, init_tgid: u32, progress: Arc<Progress>) -> Self {
        Self {
            generation,
            info,
            init_tgid,
            progress,
            comms: HashMap::new(),
            last_seq: Vec::new(),
        }
    }

    /// For a daemon that comes after this one.
    pub fn leave(&self) -> Left {
        let Progress {
            decoded,
            undecodable,
            first_call,
            first_exec,
            ..
        } = &*self.progress;
        Left {
            decoded: decoded.load(Relaxed),
            undecodable: undecodable.load(Relaxed),
            first_call: first_call.load(Relaxed),
            first_exec: first_exec.load(Relaxed),
            seen: self.progress.seen(),
            observed: self.progress.observed.leave(),
            comms: self.comms.iter().map(|(tid, comm)| (*tid, *comm)).collect(),
            last_seq: self.last_seq.clone(),
        }
    }

    /// Goes on where another daemon left.
    pub fn resume(&mut self, left: Left) {
        let progress = &self.progress;
        progress.decoded.store(left.decoded, Relaxed);
        progress.undecodable.store(left.undecodable, Relaxed);
        progress.first_call.store(left.first_call, Relaxed);
        progress.first_exec.store(left.first_exec, Relaxed);
        *progress.lock() = left.seen;
        progress.observed.resume(left.observed);
        self.comms = left.comms.into_iter().collect();
        self.last_seq = left.last_seq;
    }
}

/// Wall-clock time for the kernel's.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    offset: i128,
}

impl Clock {
    /// Reads both clocks now.
    pub fn now() -> Self {
        Self::read(|id| {
            let time = clock_gettime(id);
            i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
        })
    }

    /// The thread may lose its processor between two readings, and all events would be told that much too late: so one
    /// clock is read before and after the other, a few times if they are far apart, and the nearest tell.
    fn read(mut clock: impl FnMut(ClockId) -> i128) -> Self {
        const TRIES: usize = 5;
        const NEAR_NS: i128 = 1_000;
        let mut best = (i128::MAX, 0);
        for _ in 0..TRIES {
            let before = clock(ClockId::Monotonic);
            let wall = clock(ClockId::Realtime);
            let apart = clock(ClockId::Monotonic) - before;
            best = best.min((apart, wall - before - apart / 2));
            if apart <= NEAR_NS {
                break;
            }
        }
        Self { offset: best.1 }
    }

    /// Nanoseconds since 1970 of a CLOCK_MONOTONIC time.
    pub fn wall(self, ktime: u64) -> u64 {
        u64::try_from(i128::from(ktime) + self.offset).unwrap_or(0)
    }
}

/// CLOCK_MONOTONIC nanoseconds.
pub fn monotonic_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// The stage.
pub struct Enricher {
    pub clock: Clock,
    live: Slots<Live>,
}

impl Default for Enricher {
    fn default() -> Self {
        Self {
            clock: Clock::now(),
            live: Slots::default(),
        }
    }
}

impl Enricher {
    /// Takes a container in.
    pub fn insert(&mut self, slot: u16, live: Live) {
        self.live.insert(slot, live);
    }

    /// Takes a container out.
    pub fn remove(&mut self, slot: u16) -> Option<Live> {
        self.live.remove(&slot)
    }

    /// A container that is in.
    pub fn get(&self, slot: u16) -> Option<&Live> {
        self.live.get(&slot)
    }

    /// An event of a container's own.
    pub fn lifecycle(&self, slot: u16, ktime: u64, what: Lifecycle) -> Option<Event> {
        let live = self.live.get(&slot)?;
        Some(event(self.clock, live, ktime, Body::Container(what)))
    }

    /// Turns a record into events: losses that it reveals, itself, and what it means for the container. Returns the
    /// name of the task, `None` when the record is no live container's.
    pub fn enrich(&mut self, record: Record, out: &mut Vec<Event>) -> Option<Comm> {
        let clock = self.clock;
        let Record {
            slot,
            generation,
            ktime,
            over_share,
            body,
        } = record;
        let live = self
            .live
            .get_mut(&slot)
            .filter(|live| live.generation == generation)?;
        match body {
            decode::Body::Syscall(mut call) => {
                if let Some(hole) = live.number(call.task.cpu, call.seq) {
                    out.push(event(clock, live, ktime, Body::Loss(missing(hole, over_share))));
                }
                live.progress.decoded.fetch_add(1, Relaxed);
                let _set = live
                    .progress
                    .first_call
                    .compare_exchange(0, ktime, Relaxed, Relaxed);
                call.task.comm = live.comm(&call.task);
                let comm = call.task.comm;
                if let Some(name) = renamed(&call) {
                    live.comms.insert(call.task.host_tid, name);
                }
                out.push(event(clock, live, ktime, Body::Syscall(call)));
                Some(comm)
            }
            decode::Body::Process(process) => Some(live.process(clock, ktime, process, out)),
        }
    }

    /// Books a record that could not be decoded, from what its first bytes tell.
    pub fn undecodable(&mut self, slot: u16, cpu: u16, seq: Option<u64>, ktime: u64, out: &mut Vec<Event>) {
        let clock = self.clock;
        let Some(live) = self.live.get_mut(&slot) else {
            return;
        };
        if let Some(seq) = seq {
            live.number(cpu, seq);
        }
        live.progress.undecodable.fetch_add(1, Relaxed);
        let loss = Loss {
            reason: LossReason::Undecodable,
            count: 1,
            hole: None,
        };
        out.push(event(clock, live, ktime, Body::Loss(loss)));
    }

    /// The losses after the last record of each CPU: `last` are the kernel's last sequence numbers, and whether those that
    /// are missing were more than the container's share.
    pub fn close(&mut self, slot: u16, last: &[(u64, bool)], ktime: u64, out: &mut Vec<Event>) {
        let clock = self.clock;
        let Some(live) = self.live.get_mut(&slot) else {
            return;
        };
        for (cpu, (seq, over_share)) in (0u16..).zip(last) {
            if let Some(hole) = live.number(cpu, seq + 1) {
                out.push(event(clock, live, ktime, Body::Loss(missing(hole, *over_share))));
            }
        }
    }
}

/// The loss that a hole tells of. Where both reasons were at work, it is the container's share.
fn missing(hole: Hole, over_share: bool) -> Loss {
    Loss {
        reason: if over_share {
            LossReason::RingShare
        } else {
            LossReason::RingFull
        },
        count: hole.before - hole.after - 1,
        hole: Some(hole),
    }
}

fn event(clock: Clock, live: &Live, ktime: u64, body: Body) -> Event {
    Event {
        time_ns: clock.wall(ktime),
        ktime,
        container: live.info.clone(),
        body,
    }
}

impl Live {
    /// Notes a CPU's next sequence number; a hole before it, if there is one.
    fn number(&mut self, cpu: u16, seq: u64) -> Option<Hole> {
        let index = usize::from(cpu);
        if self.last_seq.len() <= index {
            self.last_seq.resize(index + 1, 0);
        }
        let last = self.last_seq.get_mut(index)?;
        let after = std::mem::replace(last, seq.max(*last));
        if seq <= after + 1 {
            return None;
        }
        let hole = Hole {
            cpu,
            after,
            before: seq,
        };
        let mut seen = self.progress.lock();
        if seen.holes.len() < MAX_HOLES {
            seen.holes.push(hole);
        }
        Some(hole)
    }

    /// The task's name: as last told, or its leader's.
    fn comm(&self, task: &Task) -> Comm {
        self.comms
            .get(&task.host_tid)
            .or_else(|| self.comms.get(&task.host_pid))
            .copied()
            .unwrap_or_default()
    }

    fn process(&mut self, clock: Clock, ktime: u64, mut process: Process, out: &mut Vec<Event>) -> Comm {
        let tid = process.task.host_tid;
        let told = process.task.comm;
        let mut begins = false;
        match &process.what {
            ProcessEvent::Fork { host_tid, comm, .. } => {
                self.comms.insert(*host_tid, *comm);
                process.task.comm = self.comm(&process.task);
            }
            ProcessEvent::Exec { .. } | ProcessEvent::Join => {
                self.comms.insert(tid, told);
                begins = matches!(process.what, ProcessEvent::Exec { .. })
                    && process.task.host_pid == self.init_tgid
                    && self
                        .progress
                        .first_exec
                        .compare_exchange(0, ktime, Relaxed, Relaxed)
                        .is_ok();
            }
            ProcessEvent::Exit { code, .. } => {
                self.comms.remove(&tid);
                if tid == self.init_tgid {
                    self.progress.lock().exit = Some(*code);
                }
            }
        }
        let comm = process.task.comm;
        out.push(event(clock, self, ktime, Body::Process(process)));
        if begins {
            out.push(event(clock, self, ktime, Body::Container(Lifecycle::Exec)));
        }
        comm
    }
}

/// Whether a call of that name may give its task another name.
pub fn looks_into(name: &str) -> bool {
    name == "prctl"
}

/// The task's new name, when the call was a successful prctl(PR_SET_NAME).
fn renamed(call: &crate::event::Syscall) -> Option<Comm> {
    if !looks_into(&call.name) || call.outcome != crate::event::Outcome::Value(0) {
        return None;
    }
    let [option, name, ..] = call.args.list.as_slice() else {
        return None;
    };
    if option.raw != libc::PR_SET_NAME as u64 {
        return None;
    }
    // The text is the name quoted; a name with escapes keeps them, which is how it would be shown anyway.
    let text = call.args.text_of(name).trim_end_matches("...").trim_matches('"');
    let mut comm = Comm::default();
    for (to, byte) in comm.0.iter_mut().zip(text.bytes().take(15)) {
        *to = byte;
    }
    Some(comm)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AHEAD: i128 = 1_700_000_000_000_000_000;

    /// How far the wall clock is found to be ahead, where a look takes 50 ns and the thread waits so long before it.
    fn found(waits: impl Fn(usize) -> i128) -> i128 {
        let (mut now, mut looks) = (0, 0);
        let clock = Clock::read(|id| {
            now += 50 + waits(looks);
            looks += 1;
            now + if id == ClockId::Realtime { AHEAD } else { 0 }
        });
        clock.offset
    }

    #[test]
    fn a_thread_that_waits_between_two_clocks_moves_no_time() {
        const WAIT: i128 = 20_000_000;
        for at in 0..9 {
            let off = (found(|look| if look == at { WAIT } else { 0 }) - AHEAD).abs();
            assert!(off <= 100, "{off} ns off by a wait before look {at}");
        }
        // It waits each time: the shortest wait tells.
        let off = (found(|look| if look == 4 { 2_000 } else { WAIT }) - AHEAD).abs();
        assert!(off <= WAIT / 2, "{off} ns off");
    }
}
