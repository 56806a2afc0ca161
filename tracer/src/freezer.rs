//! Holds containers back that asked for it: when one's share of the way to the daemon nears full, its cgroup is frozen
//! until the daemon has caught up. It must not know what containers call, nor who reads it.
//!
//! The kernel side tells that it is time, wakes this thread by the ring, and slows the container's calls until it stands
//! (`tracer_common::share`). No freeze lasts longer than [`LONGEST`]; after one that did, the container is let go until
//! its backlog is gone. A process of its own ([`guard`]) thaws what is frozen when this one is gone, however it ended.

mod group;
pub mod guard;

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};

use crate::{log::note, report::Frozen, source::Shares};
pub use group::{Group, Made};
use guard::Guard;

/// No freeze lasts longer.
pub const LONGEST: Duration = Duration::from_secs(1);
/// Between two looks while something is frozen, and while nothing is.
const SOON: Duration = Duration::from_micros(500);
const IDLE: Duration = Duration::from_millis(10);
/// What a container that asked to be held back may have on its way before it is: one of so many parts of its share.
pub const MARK: u64 = 2;
/// It goes on when it has so small a part of that.
const LOW: u64 = 4;
/// As the ring's reader: what is late here is lost.
const NICE: i32 = -15;
/// Which of what the thread waits for has happened.
const RING: u64 = 0;
const WAKE: u64 = 1;
const GUARD: u64 = 2;
/// Why there is no guard.
const NOT_WANTED: &str =
    "no container might be when the daemon was started: name lossless in annotations.options, and restart it";
const GONE: &str = "the process that would thaw it after the daemon is gone: restart the daemon";

/// How often and how long a container was held back.
#[derive(Debug, Default)]
pub struct Counts {
    times: AtomicU64,
    ns: AtomicU64,
    /// Freezes that were given up, since the daemon did not catch up, or its guard was gone.
    given_up: AtomicU64,
}

impl Counts {
    /// As it is now.
    pub fn now(&self) -> Frozen {
        Frozen {
            times: self.times.load(Relaxed),
            ns: self.ns.load(Relaxed),
            given_up: self.given_up.load(Relaxed),
        }
    }
}

/// A container that is watched.
struct Watched {
    group: Group,
    /// With more on its way it is frozen.
    mark: u64,
    /// It goes on when no more is on its way.
    low: i64,
    since: Option<Instant>,
    /// Let go until its backlog is gone.
    given_up: bool,
    counts: Arc<Counts>,
}

struct State {
    watched: Mutex<HashMap<u16, Watched>>,
    /// Or why there is none.
    guard: Mutex<Result<Guard, &'static str>>,
    shares: Arc<Shares>,
    wake: OwnedFd,
    ended: AtomicBool,
}

/// The thread, once a container wants it.
pub struct Freezer {
    state: Arc<State>,
    /// Whose readiness is the kernel side's call.
    ring: OwnedFd,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Freezer {
    /// Watches nothing yet. `ring` becomes ready when the kernel side calls. Where nothing `may` be frozen, there is no
    /// guard, and later none can be started: a daemon gives up starting programs.
    ///
    /// # Errors
    /// When the kernel gives no descriptor, or the guard cannot be started.
    pub fn new(ring: OwnedFd, shares: Arc<Shares>, may: bool) -> Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).context("make an eventfd")?;
        let guard = if may { Ok(Guard::start()?) } else { Err(NOT_WANTED) };
        Ok(Self {
            state: Arc::new(State {
                watched: Mutex::default(),
                guard: Mutex::new(guard),
                shares,
                wake,
                ended: AtomicBool::new(false),
            }),
            ring,
            thread: Mutex::default(),
        })
    }

    /// Holds a slot's container back, by that group, when more than `mark` bytes of it are on their way.
    ///
    /// # Errors
    /// When there is no guard, or the thread cannot be started: then it is not held back.
    pub fn watch(&self, slot: u16, group: Group, mark: u64) -> Result<Arc<Counts>> {
        let counts = Arc::<Counts>::default();
        // Held until the container is watched: a guard that goes meanwhile is missed by nobody.
        let mut guard = lock(&self.state.guard);
        let kept = guard.as_mut().map_err(|why| anyhow!(*why))?;
        kept.keep(group.switch())
            .context("tell the guard of the cgroup")?;
        let watched = Watched {
            group,
            mark,
            low: i64::try_from(mark / LOW).unwrap_or(i64::MAX),
            since: None,
            given_up: false,
            counts: counts.clone(),
        };
        lock(&self.state.watched).insert(slot, watched);
        let mut thread = lock(&self.thread);
        if thread.is_none() {
            *thread = Some(start(self.state.clone(), &self.ring, kept)?);
        }
        self.state.wake();
        Ok(counts)
    }

    /// Lets a slot's container go.
    pub fn release(&self, slot: u16) {
        let watched = lock(&self.state.watched).remove(&slot);
        if let Some(mut watched) = watched {
            watched.thaw();
            if let Ok(guard) = &mut *lock(&self.state.guard) {
                guard.forget(watched.group.switch());
            }
        }
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.state.ended.store(true, Release);
        self.state.wake();
        if let Some(thread) = lock(&self.thread).take() {
            // A panic there has been printed by its thread.
            let _panicked = thread.join();
        }
        for watched in lock(&self.state.watched).values_mut() {
            watched.thaw();
        }
    }
}

fn start(state: Arc<State>, ring: &OwnedFd, guard: &Guard) -> Result<JoinHandle<()>> {
    let events = epoll::create(epoll::CreateFlags::CLOEXEC).context("make an epoll")?;
    let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&events, ring, epoll::EventData::new_u64(RING), edge).context("watch the ring")?;
    epoll::add(&events, &state.wake, epoll::EventData::new_u64(WAKE), edge).context("watch an eventfd")?;
    epoll::add(&events, &guard.ended, epoll::EventData::new_u64(GUARD), edge).context("watch the guard")?;
    std::thread::Builder::new()
        .name("freezer".into())
        .spawn(move || {
            let _not_allowed = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
            while !state.ended.load(Acquire) {
                let frozen = state.look();
                if is_guard_gone(&events, if frozen { SOON } else { IDLE }) {
                    state.give_up();
                }
            }
        })
        .context("start a thread")
}

/// Waits for something to do.
fn is_guard_gone(events: &OwnedFd, most: Duration) -> bool {
    let most = Timespec {
        tv_sec: 0,
        tv_nsec: most.subsec_nanos().into(),
    };
    let mut happened = Vec::with_capacity(3);
    // A signal is as good as a time-out; the counter's value is of no use.
    let _interrupted = epoll::wait(events, rustix::buffer::spare_capacity(&mut happened), Some(&most));
    happened
        .iter()
        .any(|event: &epoll::Event| event.data.u64() == GUARD)
}

impl State {
    fn wake(&self) {
        // A counter that is full is set as well.
        let _full = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// Freezes and thaws what is due; whether anything is frozen.
    fn look(&self) -> bool {
        let mut any = false;
        for (slot, watched) in lock(&self.watched).iter_mut() {
            watched.look(*slot, &self.shares);
            any |= watched.since.is_some();
        }
        any
    }

    /// Without a guard nobody is held back: a daemon that is killed would leave them so.
    fn give_up(&self) {
        *lock(&self.guard) = Err(GONE);
        note(
            "the process that thaws what is frozen is gone: nothing is held back until the daemon is restarted",
        );
        for (slot, mut watched) in lock(&self.watched).drain() {
            watched.thaw();
            watched.give_up(slot, &self.shares);
        }
    }
}

impl Watched {
    fn look(&mut self, slot: u16, shares: &Shares) {
        let pressed = shares.take_pressed(slot);
        let low = shares.on_its_way(slot) <= self.low;
        match self.since {
            Some(since) => {
                let over = since.elapsed() >= LONGEST;
                if low || over {
                    self.thaw();
                    if !low {
                        self.give_up(slot, shares);
                    }
                }
            }
            None => {
                if self.given_up && low {
                    self.given_up = false;
                    shares.set_mark(slot, self.mark);
                }
                if pressed && !low && !self.given_up {
                    match self.group.freeze() {
                        Ok(true) => {
                            self.since = Some(Instant::now());
                            self.counts.times.fetch_add(1, Relaxed);
                        }
                        // Somebody else holds it.
                        Ok(false) => {}
                        Err(error) => {
                            self.give_up(slot, shares);
                            note(&format!("freeze {}: {error}", self.group.switch().display()));
                        }
                    }
                }
            }
        }
    }

    /// Lets it go, and not even be slowed, until its backlog is gone.
    fn give_up(&mut self, slot: u16, shares: &Shares) {
        self.given_up = true;
        self.counts.given_up.fetch_add(1, Relaxed);
        shares.set_mark(slot, 0);
    }

    fn thaw(&mut self) {
        let Some(since) = self.since.take() else { return };
        if let Err(error) = self.group.thaw() {
            // A group that is gone holds nobody.
            note(&format!("thaw {}: {error}", self.group.switch().display()));
        }
        let ns = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.counts.ns.fetch_add(ns, Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change leaves the table whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
