//! One node's tracer put together: kernel programs, registry, pipeline. The daemon and `tracer run` drive it; it must
//! not know sockets or the command line.

mod books;
mod dentries;
mod figures;
mod handover;
mod held_back;
mod late;
mod proof;
mod rates;
mod readers;
mod recorded;
mod refused;
mod told;

use std::{
    collections::{HashMap, VecDeque},
    fmt, io,
    os::fd::AsFd,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::AtomicU64,
        mpsc::{channel, sync_channel},
    },
    thread::JoinHandle,
};

use anyhow::{Context, Result};
use tracer_common::filter::{self as kernel_filter, Aggregate, AggregateKey};

use crate::{
    decode,
    enrich::{Clock, Progress, monotonic_ns},
    event, explain,
    filter::Filter,
    freezer::{self, Freezer},
    identity::{Namespaces, negative_dentries},
    log::note,
    options::Options,
    pipeline::{self, Accounts, Asked, Births, End, Mark, Pipeline, Proofs},
    quota::Limits,
    recording::{Bounds, Origin},
    registry::{Entry, FilterChange, Identity, Mode, Refusal, Registered, Registry},
    report::{State, Verdict, counted::Counted},
    sinks::Selection,
    source::{
        self, Begin, Marks, QUEUE_BATCHES,
        kernel::{self, Kernel, PROOF_SLOT},
    },
};

pub use handover::{Left, Predecessor};
pub use proof::{PROOF_TIME, Proof, unseen};
pub use refused::RegisterError;

use handover::TakenOver;

/// A container's aggregate rows.
type Rows = HashMap<AggregateKey, Aggregate>;

/// Ended containers whose books are kept.
pub const PAST: usize = 64;

/// How to start.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub kernel: kernel::Options,
    pub decode: decode::Options,
    /// How calls are taken.
    pub mode: Mode,
    /// Whether to observe containers and to hold their last events, and how much of them.
    pub hold: Option<Bounds>,
    /// Who hears of what happens to containers.
    pub watch: Option<pipeline::Watch>,
    /// What one user may take.
    pub limits: Limits,
    /// Whether failed calls are explained.
    pub explain: bool,
    /// Whether containers may be frozen: what that needs is got ready at the start, and cannot be later.
    pub lossless: bool,
}

/// A container that was taken in.
#[derive(Clone, Copy, Debug)]
pub struct Admitted {
    pub slot: u32,
    pub generation: u32,
    /// It was in already.
    pub already: bool,
}

/// An open sink, and what it asks.
struct Reader {
    id: u64,
    selection: Selection,
    descriptors: event::Descriptors,
    /// It has a place for summaries.
    records: bool,
}

/// A container while it lives.
struct Live {
    progress: Arc<Progress>,
    runtime: Option<String>,
    armed_wall_ns: u64,
    /// How often the kernel had skipped a program when it came.
    missed_runs_before: u64,
    /// When the daemon was away.
    away: Vec<event::Away>,
    /// Nanoseconds of its proof's round trip.
    proved: Arc<OnceLock<u64>>,
    /// What the kernel side lets pass.
    filter: kernel_filter::Filter,
    /// What it lets pass at most: the container asked for no more.
    at_most: Option<Arc<Filter>>,
    /// How many events a second it may have.
    rates: rates::Rates,
    /// How it is held back, where it asked for that.
    frozen: Option<held_back::HeldBack>,
}

/// A container that ended.
struct Past {
    /// Slot and generation: no other container has had both.
    key: (u32, u32),
    verdict: Verdict,
    /// They may not have delivered all at its end.
    sinks: Accounts,
    progress: Arc<Progress>,
    counted: Counted,
    checked: books::Checked,
    info: Arc<event::Container>,
    pid: u32,
    runtime: Option<String>,
}

struct Inner {
    kernel: Kernel,
    registry: Registry,
    live: HashMap<u32, Live>,
    past: VecDeque<Past>,
    /// The books of those that ended and are known no more.
    retired: event::Books,
    /// Containers that were ever taken in.
    registered: u64,
    readers: Vec<Reader>,
    /// The kernel's look-ups of names are watched.
    watched: Option<dentries::Watched>,
    /// Events a second of one user that is not root, of all its containers together; 0 is no limit.
    user_rate: u64,
}

/// The node.
pub struct Node {
    inner: Mutex<Inner>,
    marks: Marks<Mark>,
    births: Births,
    proofs: Proofs,
    outputs: AtomicU64,
    mode: Mode,
    /// The kernel side's counts, read without the lock.
    tally: kernel::Tally,
    /// Bytes that waited in the ring when it was last read.
    backlog: Arc<AtomicU64>,
    freezer: Freezer,
    /// How its records are read elsewhere.
    origin: Arc<Origin>,
    observes: bool,
    /// Where failed calls are explained.
    questions: Option<explain::Questions>,
    /// Lets the ring be read, once what is in it has readers, which go on with the books that they had before.
    begin: Mutex<Option<(Begin<Mark>, pipeline::Left)>>,
    /// The containers of the node before this one: id, init.
    taken_over: Vec<(Admitted, String, u32)>,
}

/// The node's threads.
pub struct Threads {
    ring: JoinHandle<()>,
    pipeline: JoinHandle<()>,
    inquiry: Option<JoinHandle<()>>,
}

impl Threads {
    /// Waits until the ring is drained and the sinks have all; the [`Node`] must have been dropped.
    pub fn join(self) {
        for thread in [self.ring, self.pipeline].into_iter().chain(self.inquiry) {
            // A panic there has been printed by its thread.
            let _panicked = thread.join();
        }
    }
}

impl Node {
    /// Takes over what the node before this one left, or loads the programs (attaches none), and starts the threads; the
    /// ring is read from [`Self::begin`] on. This process is never traced.
    ///
    /// # Errors
    /// What the kernel lacks or refuses.
    pub fn start(settings: &Settings, before: Option<Predecessor>) -> Result<(Self, Threads)> {
        let host = Namespaces::of_host()?;
        let (mnt_ns, pid_ns) = (u32::try_from(host.mnt)?, u32::try_from(host.pid)?);
        let slots = PROOF_SLOT as usize - 1;
        let registry = || Registry::new(mnt_ns, pid_ns, slots, settings.limits.containers);
        let taken_over = before.and_then(|before| {
            before
                .take_over(registry(), &settings.decode)
                .inspect_err(|error| note(&format!("{error:#}: what it traced is traced anew")))
                .ok()
        });
        let TakenOver {
            mut kernel,
            ring,
            registry,
            live,
            pipeline: mut left,
        } = match taken_over {
            Some(taken_over) => taken_over,
            None => TakenOver::nothing(settings, registry())?,
        };
        let (tally, backlog) = (kernel.tally()?, ring.backlog());
        let ready = ring.as_fd().try_clone_to_owned();
        let freezer = Freezer::new(
            ready.context("copy the ring's descriptor")?,
            ring.shares(),
            settings.lossless,
        )?;
        kernel.open_proof_slot()?;
        kernel.exclude(std::process::id())?;
        let (queue, items) = sync_channel(QUEUE_BATCHES);
        let proofs = Proofs::default();
        let births = Births::default();
        let (failures, inquiry, questions) = match settings.explain.then(explain::open) {
            Some((failures, inquiry, questions)) => (Some(failures), Some(inquiry), Some(questions)),
            None => (None, None, None),
        };
        let pipeline = Pipeline::new(
            settings.decode,
            births.clone(),
            settings.hold,
            settings.watch.clone(),
            failures,
        );
        let pipeline = std::thread::Builder::new()
            .name("pipeline".into())
            .spawn(move || pipeline.run(&items))
            .context("start a thread")?;
        let intercept = proofs.clone();
        let (marks, begin, ring) = source::read_ring(ring, queue, move |record| {
            intercept.take(PROOF_SLOT as u16, record)
        })?;
        let inquiry = inquiry.map(|inquiry| {
            let poke = marks.clone();
            // A node that ends fetches nothing more.
            inquiry.start(move || poke.post(Mark::Explained).unwrap_or_default())
        });
        let inquiry = inquiry.transpose()?;
        let mut inner = Inner {
            kernel,
            registry,
            live: HashMap::new(),
            past: VecDeque::new(),
            retired: event::Books::default(),
            registered: 0,
            readers: Vec::new(),
            watched: None,
            user_rate: settings.limits.event_rate,
        };
        let taken_over = inner.resume(live, &mut left, &births, &marks, questions.as_ref())?;
        inner.hold_back_again(&freezer);
        let node = Self {
            inner: Mutex::new(inner),
            begin: Mutex::new(Some((begin, left))),
            taken_over,
            marks,
            births,
            proofs,
            outputs: AtomicU64::new(1),
            mode: settings.mode,
            tally,
            backlog,
            freezer,
            origin: Arc::new(Origin::here(&settings.decode)),
            observes: settings.hold.is_some(),
            questions,
        };
        let threads = Threads {
            ring,
            pipeline,
            inquiry,
        };
        Ok((node, threads))
    }

    /// Reads the ring from here on: the sinks that are open get what was in it.
    pub fn begin(&self) {
        let begin = self.begin.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((begin, left)) = begin {
            // A pipeline that has ended has no books.
            let _ended = self.marks.post(Mark::Resumed { sinks: left.sinks });
            begin.begin();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change leaves the tables whole; a panic elsewhere does not unmake them.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never admits that process.
    ///
    /// # Errors
    /// When the kernel side refuses.
    pub fn exclude(&self, tgid: u32) -> Result<()> {
        self.lock().kernel.exclude(tgid)
    }

    /// Takes a container in: attaches the programs if they are not, writes the filter entry and reads it back.
    ///
    /// # Errors
    /// A refusal with its reason, or what the kernel side said.
    pub fn register(
        &self,
        info: event::Container,
        runtime: Option<String>,
        identity: Identity,
        late: bool,
        options: Options,
    ) -> Result<Admitted, RegisterError> {
        self.admit(info, runtime, identity, late, options, Vec::new())
    }

    fn admit(
        &self,
        info: event::Container,
        runtime: Option<String>,
        identity: Identity,
        late: bool,
        mut options: Options,
        away: Vec<event::Away>,
    ) -> Result<Admitted, RegisterError> {
        let group = held_back::group_of(&mut options, &identity);
        let mut inner = loop {
            self.end_former(identity, &info)?;
            let mut inner = self.lock();
            // Unless another has come meanwhile.
            if inner.claim(&info)? {
                break inner;
            }
        };
        let missed_runs_before = inner.missed_runs()?;
        let armed_at = monotonic_ns();
        let registered = inner
            .registry
            .register(
                Arc::new(info),
                identity,
                armed_at,
                late,
                options.mode.unwrap_or(self.mode),
            )
            .map_err(RegisterError::Refused)?;
        let (entry, mut changes) = match registered {
            Registered::Already(entry) => {
                return Ok(Admitted {
                    slot: entry.slot,
                    generation: entry.generation,
                    already: true,
                });
            }
            Registered::New { entry, changes } => (entry, changes),
        };
        let (live, progress) = pipeline::live(entry.generation, entry.info.clone(), identity.init_tgid);
        progress.observed.began(negative_dentries());
        // Before the filter entry: no record of it can come before it is known.
        let asked = Asked {
            filter: options.filter.clone(),
            recorder: options.recorder,
            warnings: options.warnings,
        };
        self.births
            .announce(entry.slot as u16, live, late, asked, away.clone());
        let mark = Mark::Registered {
            slot: entry.slot as u16,
        };
        let filter = inner.wanted_of(&entry, options.filter.as_deref());
        let rates = inner.rates_of(&entry, options.event_rate);
        for change in &mut changes {
            if let FilterChange::Arm { container, .. } = change {
                rates.bound(container);
            }
        }
        // All programs are attached before anybody is a member: no enter is seen without its exit.
        let enters = inner.enters();
        let done = self
            .marks
            // Its first record tells of it as well; the hook need not wait for a thread that is woken to say it.
            .leave(mark)
            .and_then(|()| self.begin_narrow(entry.slot as u16, &filter))
            .and_then(|()| inner.kernel.attach(enters))
            .and_then(|()| inner.kernel.set_filter(entry.slot, &filter))
            .and_then(|()| inner.set_rates(&rates))
            .and_then(|()| {
                let parts = group.is_some().then_some(freezer::MARK);
                inner.kernel.set_share(entry.slot, options.ring_share, parts)
            })
            .and_then(|()| inner.apply(changes));
        if let Err(error) = done {
            if let Some((_, changes)) = inner.registry.remove(entry.slot) {
                // It never was in; what is left of it is overwritten by the slot's next user.
                let _unfinished = inner.apply(changes);
            }
            return Err(error.into());
        }
        let frozen = group.and_then(|group| self.hold_back(&inner.kernel, entry.slot, group));
        let armed_wall_ns = Clock::now().wall(armed_at);
        inner.registered += 1;
        inner.live.insert(
            entry.slot,
            Live {
                progress,
                runtime,
                armed_wall_ns,
                missed_runs_before,
                away,
                proved: Arc::default(),
                filter,
                at_most: options.filter,
                rates,
                frozen,
            },
        );
        drop(inner);
        if let Some(questions) = &self.questions {
            questions.came(entry.slot as u16, entry.info, identity.init_tgid);
        }
        Ok(Admitted {
            slot: entry.slot,
            generation: entry.generation,
            already: false,
        })
    }

    /// Ends the containers whose init has ended and whose inode numbers this one has now: it came before their end was
    /// noticed. Also users' containers that have the id of root's.
    fn end_former(&self, identity: Identity, info: &event::Container) -> Result<()> {
        let former: Vec<_> = {
            let inner = self.lock();
            let same = |entry: &&Entry| {
                let Identity { mnt_ns, pid_ns, .. } = entry.identity;
                let ended = (mnt_ns == identity.mnt_ns || pid_ns == identity.pid_ns)
                    && inner.kernel.has_ended(entry.slot).unwrap_or(false);
                ended || info.owner == 0 && takes_id(info, &entry.info)
            };
            let admitted = |entry: &Entry| Admitted {
                slot: entry.slot,
                generation: entry.generation,
                already: true,
            };
            inner.registry.iter().filter(same).map(admitted).collect()
        };
        for admitted in former {
            self.end(admitted)?;
        }
        Ok(())
    }

    /// The receipt's time for a container: CLOCK_MONOTONIC nanoseconds.
    pub fn armed_at(&self, slot: u32) -> Option<u64> {
        self.lock().registry.get(slot).map(|entry| entry.armed_at)
    }

    /// Takes a container out, after all that it did has reached the sinks. `None` when it is not in, or its slot has
    /// another user by now.
    ///
    /// # Errors
    /// When the kernel side refuses or the pipeline has ended.
    pub fn end(&self, admitted: Admitted) -> Result<Option<Verdict>> {
        self.leave(admitted, State::Gone)
    }

    fn leave(&self, admitted: Admitted, state: State) -> Result<Option<Verdict>> {
        let is_its = |inner: &Inner| {
            inner
                .registry
                .get(admitted.slot)
                .is_some_and(|entry| entry.generation == admitted.generation)
        };
        if !is_its(&self.lock()) {
            return Ok(None);
        }
        self.freezer.release(admitted.slot as u16);
        self.reached(Some(admitted.slot))?;
        // Neither the node nor the pipeline waits for it: other containers come meanwhile.
        if let Some(questions) = &self.questions {
            questions.settle();
        }
        let mut inner = self.lock();
        inner.kernel.print_log();
        if !is_its(&inner) {
            return Ok(None);
        }
        let Some((entry, changes)) = inner.registry.remove(admitted.slot) else {
            return Ok(None);
        };
        inner.apply(changes)?;
        let Some(mut live) = inner.live.remove(&entry.slot) else {
            return Ok(None);
        };
        let goes_on =
            || -> Result<bool> { Ok(!books::is_quiet(&inner.kernel.books(entry.slot)?, &live.progress)) };
        if state == State::Detached || goes_on()? {
            // Its tasks go on, or some outlive its first: what they had begun when they left the filter must be in the
            // books on both sides.
            late::wait_for_programs();
            self.reached(Some(entry.slot))?;
        }
        if !inner.enters() {
            inner.kernel.detach_enter();
        }
        let per_cpu = inner.kernel.books(entry.slot)?;
        let rows = inner.kernel.aggregates(entry.slot, entry.generation)?;
        let checked = inner.checked(&entry, &per_cpu)?;
        inner.kernel.forget(entry.slot)?;
        live.progress.observed.ended(negative_dentries());
        let books = books::sum(&per_cpu, &rows, &live.progress);
        let process_lost = books::process_lost(&per_cpu);
        let missed_runs = inner.missed_runs()?.saturating_sub(live.missed_runs_before);
        let mut verdict = books::verdict(&entry, &live, state, books.clone(), process_lost, missed_runs);
        if let Some(mark) = live.frozen.as_mut().and_then(|frozen| frozen.mark(entry.slot)) {
            self.marks.post(mark)?;
        }
        let (sinks, answered) = channel();
        let end = End {
            last_seq: per_cpu
                .iter()
                .map(|books| (books.seq, books.behind != 0))
                .collect(),
            books,
            complete: verdict.complete,
            exit: live.progress.seen().exit,
            limited: live.rates.untold(&per_cpu),
            detached: state == State::Detached,
        };
        let mark = Mark::Gone {
            slot: entry.slot as u16,
            ktime: monotonic_ns(),
            end: Box::new(end),
            sinks,
        };
        self.marks.post(mark)?;
        // The pipeline takes no lock of ours: to wait for it here keeps the order of ends.
        let sinks = answered.recv().context("the pipeline has ended")?;
        verdict.sinks = books::sink_books(&sinks);
        // What the last look at the holes revealed.
        verdict.gaps = live.progress.seen().holes.into_iter().map(Into::into).collect();
        let past = Past {
            key: (entry.slot, entry.generation),
            verdict: verdict.clone(),
            sinks,
            progress: live.progress,
            counted: Counted::new(&per_cpu, rows),
            checked,
            info: entry.info,
            pid: entry.identity.init_tgid,
            runtime: live.runtime,
        };
        self.summarize(&inner, &past)?;
        inner.past.push_back(past);
        while inner.past.len() > PAST
            && let Some(past) = inner.past.pop_front()
        {
            inner.retired.add(&past.verdict.books);
        }
        Ok(Some(verdict))
    }

    /// Detaches the programs if nothing is registered; the host then pays nothing.
    pub fn detach_if_idle(&self) {
        let mut inner = self.lock();
        if inner.registry.iter().next().is_none() {
            inner.watched = None;
            inner.kernel.detach();
        }
    }

    /// Waits until all that was in the ring has reached the sinks; tells what each did with the slot's calls.
    fn reached(&self, slot: Option<u32>) -> Result<Accounts> {
        let (sender, reached) = channel();
        self.marks.post(Mark::Sync {
            slot: slot.map(|slot| slot as u16),
            reached: sender,
        })?;
        reached.recv().context("the pipeline has ended")
    }

    fn slot(&self, id: &str) -> Option<u32> {
        self.lock()
            .registry
            .iter()
            .find(|entry| entry.info.id == id)
            .map(|entry| entry.slot)
    }

    /// What is known by that id and in: for its end by poststop.
    pub fn admitted(&self, id: &str) -> Option<(Admitted, u32)> {
        self.lock()
            .registry
            .iter()
            .find(|entry| entry.info.id == id)
            .map(|entry| {
                let admitted = Admitted {
                    slot: entry.slot,
                    generation: entry.generation,
                    already: true,
                };
                (admitted, entry.info.owner)
            })
    }
}

/// Whether the other has this id, and is somebody else's.
fn takes_id(info: &event::Container, other: &event::Container) -> bool {
    info.id == other.id && info.owner != other.owner
}

impl Inner {
    /// Sees to it that all containers that are known by an id are of one owner: what is asked for by id is then never
    /// another's. An id is its maker's word, so root's container takes it from a user's, and no user's from anybody.
    /// False while there is one that must end before.
    fn claim(&mut self, info: &event::Container) -> Result<bool, RegisterError> {
        let lives = self.registry.iter().any(|entry| takes_id(info, &entry.info));
        let ended = || self.past.iter().any(|past| takes_id(info, &past.info));
        if info.owner != 0 && (lives || ended()) {
            return Err(RegisterError::Refused(Refusal::IdTaken));
        }
        let (taken, kept): (VecDeque<_>, VecDeque<_>) =
            self.past.drain(..).partition(|past| takes_id(info, &past.info));
        self.past = kept;
        for past in taken {
            self.retired.add(&past.verdict.books);
        }
        Ok(!lives)
    }

    fn apply(&mut self, changes: Vec<FilterChange>) -> Result<()> {
        for change in changes {
            match change {
                FilterChange::Arm {
                    slot,
                    container,
                    mount_rule,
                    pid_rule,
                } => {
                    self.kernel.arm(slot, container, mount_rule, pid_rule)?;
                }
                FilterChange::PidRule { pid_ns, slot } => self.kernel.set_pid_rule(pid_ns, slot)?,
                FilterChange::Disarm { slot, mnt_ns, pid_ns } => self.kernel.disarm(slot, mnt_ns, pid_ns)?,
            }
        }
        Ok(())
    }

    /// Whether some container's calls are looked at when they begin; with none at all the programs stay as they are, for
    /// the next one.
    fn enters(&self) -> bool {
        let mut entries = self.registry.iter().peekable();
        entries.peek().is_none() || entries.any(|entry| entry.mode.enters())
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Node").finish_non_exhaustive()
    }
}

/// Whether an error is that of a reader who left.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
