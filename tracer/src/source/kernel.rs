//! The kernel side as userspace sees it: loads, verifies and attaches the programs, writes their tables, reads their
//! books and their ring. It and what lies below it alone know aya.
//!
//! It must not know containers by name, events, sinks or the command line: a slot is a number here.

mod aggregates;
mod batch;
mod bpf;
mod capabilities;
mod dentries;
mod events;
mod kfunc;
mod load;
mod objects;
mod offsets;
mod share;
mod table;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use anyhow::{Context, Result, anyhow, ensure};
use aya::{
    Pod,
    maps::{self, Array, MapData, MapError, PerCpuArray},
};
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use serde::{Deserialize, Serialize};
use tracer_common::{
    MAX_CONTAINERS,
    capability::{CheckKey, Checks, Held},
    filter::{Aggregate, AggregateKey, Books, COUNTERS, Container, Filter, MAX_PLANS, Plan, Rate, state},
    share::Share,
};

use aggregates::Aggregates;
pub use aggregates::{ByUse, Tally};
use capabilities::Capabilities;
use dentries::Dentries;
pub use dentries::FUNCTIONS as DENTRY_FUNCTIONS;
pub use load::Verified;
use objects::{EPOCH, Objects};
use table::Table;

use super::{ring::Ring, shares::Shares};
use crate::log::note;

/// Program, tracepoint. In the order in which they are attached; detached in reverse, so that no exit is seen
/// without its enter.
const PROGRAMS: [(&str, &str); 5] = [
    ("sched_process_exit", "sched_process_exit"),
    ("sched_process_exec", "sched_process_exec"),
    ("sched_process_fork", "sched_process_fork"),
    ("sys_enter", "sys_enter"),
    ("sys_exit", "sys_exit"),
];

/// The one that calls taken at their exits alone do without.
const ENTER: &str = "sys_enter";
/// The one that none does without.
const EXIT: &str = "sys_exit";

/// The pair that `cargo xtask bench` measures the others against.
const EMPTY: [(&str, &str); 2] = [("empty_enter", "sys_enter"), ("empty_exit", "sys_exit")];

/// Gives a type of the contract to the maps.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Abi<T>(T);

// SAFETY: the contract's types are `repr(C)` with explicit padding and integers only; the maps' values are theirs.
unsafe impl<T: Copy + 'static> Pod for Abi<T> {}

/// How to load.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the ring: made a power of two, at least a page.
    pub ring_bytes: u32,
    /// Rows of the aggregate map, over all containers.
    pub aggregate_rows: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ring_bytes: 32 << 20,
            aggregate_rows: 16_384,
        }
    }
}

/// The loaded programs.
pub struct Kernel {
    verified: Vec<Verified>,
    /// Known of programs that this loaded.
    skipping: Option<String>,
    objects: Objects,
    containers: Table<Container>,
    filters: Table<Filter>,
    rates: Table<Rate>,
    shares: Table<Share>,
    plans: Table<Plan>,
    ring_bytes: u32,
    mount_namespaces: maps::HashMap<MapData, u32, u32>,
    pid_namespaces: maps::HashMap<MapData, u32, u32>,
    excluded: maps::HashMap<MapData, u32, u8>,
    proofs: maps::HashMap<MapData, u32, u32>,
    books: PerCpuArray<MapData, Abi<Books>>,
    aggregates: Aggregates,
    capabilities: Capabilities,
    dentries: Dentries,
    counts: PerCpuArray<MapData, u64>,
    epoch: Array<MapData, u64>,
    now: u64,
    /// Not of programs that were taken over: aya finds the log of those that it loaded.
    log: Option<EbpfLogger<Diagnostics>>,
}

/// What a daemon leaves of the kernel side for the one after it, beside descriptors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Left {
    /// Which object its programs are of.
    object: u32,
    /// The process that was kept out.
    tgid: u32,
    /// Why capability checks are not seen.
    unseen: Option<String>,
    /// Why look-ups of names are not watched.
    unwatched: Option<String>,
    /// Rows that were given up and not yet free.
    resting: Vec<u32>,
}

/// Tells objects apart: of another, the maps may hold other things.
fn object_id() -> u32 {
    crc32fast::hash(load::OBJECT)
}

/// Where the programs' own diagnostics go: few, and never about the traced.
struct Diagnostics;

impl Log for Diagnostics {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        note(&format!("kernel side: {}", record.args()));
    }

    fn flush(&self) {}
}

/// Gives memory back that the allocator keeps: types and objects of tens of megabytes are read once.
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it frees nothing that is in use; malloc_trim(3).
    let _was_any = unsafe { libc::malloc_trim(0) };
}

impl Kernel {
    /// Loads and verifies all programs; attaches none. The ring is given apart: one thread reads it.
    ///
    /// # Errors
    /// Names what the kernel lacks, or the verifier's last words.
    pub fn load(options: &Options, plans: impl IntoIterator<Item = (u32, Plan)>) -> Result<(Self, Ring)> {
        let ring_bytes = options.ring_bytes.clamp(4096, 1 << 30).next_power_of_two();
        let load::Loaded {
            mut ebpf,
            verified,
            unseen,
            unwatched,
            skipping,
        } = load::load(ring_bytes, options.aggregate_rows.max(64))?;
        let log = EbpfLogger::init_with_logger(&mut ebpf, Diagnostics).context("open the programs' log")?;
        let (mut kernel, ring) = Self::of(Objects::of(&mut ebpf)?, unseen, unwatched)?;
        kernel.aggregates.fill()?;
        kernel.plan(plans)?;
        kernel.verified = verified;
        kernel.skipping = skipping;
        kernel.log = Some(log);
        drop(ebpf);
        give_back();
        Ok((kernel, ring))
    }

    /// Takes over what a daemon before this one had loaded, attached and counted; `left` is what it left beside its
    /// descriptors.
    ///
    /// # Errors
    /// When they are not those of this program's object.
    pub fn take_over(
        descriptors: &mut BTreeMap<String, OwnedFd>,
        left: &Left,
        plans: impl IntoIterator<Item = (u32, Plan)>,
    ) -> Result<(Self, Ring)> {
        ensure!(
            left.object == object_id(),
            "the programs of this version are others; those that run are of another build"
        );
        let (mut kernel, ring) = Self::of(
            Objects::taken_over(descriptors)?,
            left.unseen.clone(),
            left.unwatched.clone(),
        )?;
        kernel.aggregates.resume(&left.resting);
        kernel.plan(plans)?;
        kernel.now = kernel.epoch.get(&0, 0).context("read the epoch")?;
        // What is gone is no longer kept out, and proves nothing.
        absent_is_fine(kernel.excluded.remove(&left.tgid)).context("clear the exclusion table")?;
        for tid in kernel.proofs.keys().filter_map(Result::ok).collect::<Vec<_>>() {
            absent_is_fine(kernel.proofs.remove(&tid)).context("clear the table of proofs")?;
        }
        Ok((kernel, ring))
    }

    /// What [`Self::take_over`] needs, for a daemon that comes after this one.
    pub fn leave(&self) -> (Left, Vec<(String, BorrowedFd<'_>)>) {
        let left = Left {
            object: object_id(),
            tgid: std::process::id(),
            unseen: self.capabilities.absent().map(str::to_owned),
            unwatched: self.dentries.absent().map(str::to_owned),
            resting: self.aggregates.resting(),
        };
        (left, self.objects.descriptors())
    }

    fn of(objects: Objects, unseen: Option<String>, unwatched: Option<String>) -> Result<(Self, Ring)> {
        let events = objects.data("EVENTS")?;
        let bytes = events.info().context("look at the ring")?.max_entries();
        let ring = events.fd().as_fd().try_clone_to_owned();
        let shares = Shares::new(objects.data("SHARES")?.fd()).context("map the table of shares")?;
        let ring = Ring::new(ring.context("copy the ring's descriptor")?, bytes, shares)?;
        let kernel = Self {
            verified: Vec::new(),
            skipping: None,
            log: None,
            containers: Table::of(&objects, "CONTAINERS")?,
            filters: Table::of(&objects, "FILTERS")?,
            rates: Table::of(&objects, "RATES")?,
            shares: Table::of(&objects, "SHARES")?,
            plans: Table::of(&objects, "PLANS")?,
            ring_bytes: bytes,
            mount_namespaces: objects.map("MOUNT_NAMESPACES")?,
            pid_namespaces: objects.map("PID_NAMESPACES")?,
            excluded: objects.map("EXCLUDED")?,
            proofs: objects.map("PROOFS")?,
            books: objects.map("BOOKS")?,
            aggregates: Aggregates::of(&objects)?,
            capabilities: Capabilities::of(&objects, unseen)?,
            dentries: Dentries::of(&objects, unwatched),
            counts: objects.map("COUNTS")?,
            epoch: objects.map(EPOCH)?,
            now: 0,
            objects,
        };
        Ok((kernel, ring))
    }

    /// Writes what to copy of each call.
    fn plan(&self, plans: impl IntoIterator<Item = (u32, Plan)>) -> Result<()> {
        let mut plans = plans.into_iter().filter(|(index, _)| *index < MAX_PLANS);
        plans.try_for_each(|(index, plan)| self.plans.set(index, &plan))
    }

    /// What the verifier had to do for each program, in the order in which they were loaded.
    pub fn verified(&self) -> &[Verified] {
        &self.verified
    }

    /// Why the programs are where this kernel skips them while a task is preempted in one; `None` where they are not.
    pub fn skipping(&self) -> Option<&str> {
        self.skipping.as_deref()
    }

    /// Attaches the programs that are not attached yet; the one at the enters of calls only where some container wants
    /// it, since every task of the host pays for it.
    ///
    /// # Errors
    /// Names the tracepoint; what was attached before it stays until [`Self::detach`].
    pub fn attach(&mut self, enters: bool) -> Result<()> {
        PROGRAMS
            .iter()
            .filter(|(name, _)| enters || *name != ENTER)
            .try_for_each(|program| self.attach_one(program))?;
        self.capabilities.attach(&mut self.objects);
        Ok(())
    }

    /// Attaches the empty pair instead, to measure what no program can avoid.
    ///
    /// # Errors
    /// As [`Self::attach`].
    pub fn attach_empty(&mut self) -> Result<()> {
        EMPTY.iter().try_for_each(|program| self.attach_one(program))
    }

    fn attach_one(&mut self, &(name, tracepoint): &(&'static str, &str)) -> Result<()> {
        let attached = self.objects.attach(name, tracepoint);
        attached.with_context(|| format!("attach to tracepoint {tracepoint}"))
    }

    /// Detaches the program at the enters: no container wants it any more.
    pub fn detach_enter(&mut self) {
        self.objects.detach(ENTER);
    }

    /// Detaches all programs: from here on the host pays nothing.
    pub fn detach(&mut self) {
        self.unwatch_dentries();
        self.capabilities.detach(&mut self.objects);
        for (name, _) in PROGRAMS.iter().chain(&EMPTY).rev() {
            self.objects.detach(name);
        }
    }

    /// Notes of each call, from here on, where its last look-up of a name that is not there was answered.
    ///
    /// # Errors
    /// Why this kernel cannot.
    pub fn watch_dentries(&mut self) -> Result<(), String> {
        self.dentries.attach(&mut self.objects)
    }

    /// Ends that.
    pub fn unwatch_dentries(&mut self) {
        self.dentries.detach(&mut self.objects);
    }

    /// Why [`Self::watch_dentries`] cannot; `None` where it can.
    pub fn unwatched(&self) -> Option<&str> {
        self.dentries.absent()
    }

    /// Whether the programs are attached.
    pub fn attached(&self) -> bool {
        PROGRAMS.iter().any(|(name, _)| self.objects.attached(name))
    }

    /// Begins a new epoch: each task's membership is decided anew at its next call.
    fn begin_epoch(&mut self) -> Result<()> {
        self.now += 1;
        // 0 means "decide again" in a task's storage.
        if self.now & 0xffff_ffff == 0 {
            self.now += 1;
        }
        self.epoch.set(0, self.now, 0).context("begin a new epoch")
    }

    /// Writes a container's entry and reads it back, sets its namespace rules, and has all tasks decided anew.
    /// `pid_rule` is the PID namespace that may decide alone.
    ///
    /// # Errors
    /// When a map refuses, or what is read back differs.
    pub fn arm(
        &mut self,
        slot: u32,
        mut container: Container,
        mount_rule: bool,
        pid_rule: bool,
    ) -> Result<()> {
        if self.capabilities.attached(&self.objects) {
            container.state |= state::CAPABILITIES;
        }
        self.zero_books(slot)?;
        self.containers.set(slot, &container)?;
        if mount_rule {
            self.mount_namespaces
                .insert(container.mnt_ns, slot, 0)
                .context("write the mount namespace filter")?;
        }
        if pid_rule {
            self.set_pid_rule(container.pid_ns, Some(slot))?;
        }
        self.begin_epoch()?;
        let back = self.containers.get(slot)?;
        let mount = if mount_rule {
            self.mount_namespaces.get(&container.mnt_ns, 0).ok()
        } else {
            Some(slot)
        };
        if back != container || mount != Some(slot) {
            return Err(anyhow!(
                "the filter entry of slot {slot} does not read back as it was written"
            ));
        }
        Ok(())
    }

    /// Sets which of a slot's calls go into the ring, from here on. Written once before the slot is armed, and whenever
    /// that changes.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn set_filter(&mut self, slot: u32, filter: &Filter) -> Result<()> {
        self.filters.set(slot, filter)
    }

    /// Lets so many events a second pass by an entry of the rate table, from now on.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn set_rate(&mut self, index: u16, limit: u64) -> Result<()> {
        let rate = Rate {
            limit,
            ..Rate::default()
        };
        self.rates.set(index.into(), &rate)
    }

    /// Lets a PID namespace decide for a slot, or for none.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn set_pid_rule(&mut self, pid_ns: u32, slot: Option<u32>) -> Result<()> {
        match slot {
            Some(slot) => {
                self.pid_namespaces
                    .insert(pid_ns, slot, 0)
                    .context("write the PID namespace filter")?;
            }
            None => absent_is_fine(self.pid_namespaces.remove(&pid_ns))
                .context("clear the PID namespace filter")?,
        }
        self.begin_epoch()
    }

    /// Takes a container's entry away. Its books and rows stay until the slot is armed again or [`Self::forget`].
    ///
    /// # Errors
    /// When a map refuses.
    pub fn disarm(&mut self, slot: u32, mnt_ns: u32, pid_ns: u32) -> Result<()> {
        let mut container = self.containers.get(slot)?;
        container.state &= !state::LIVE;
        self.containers.set(slot, &container)?;
        if self.mount_namespaces.get(&mnt_ns, 0).ok() == Some(slot) {
            absent_is_fine(self.mount_namespaces.remove(&mnt_ns))
                .context("clear the mount namespace filter")?;
        }
        if self.pid_namespaces.get(&pid_ns, 0).ok() == Some(slot) {
            absent_is_fine(self.pid_namespaces.remove(&pid_ns)).context("clear the PID namespace filter")?;
        }
        self.begin_epoch()
    }

    /// Whether the container's init has ended, as the kernel side saw it.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn has_ended(&self, slot: u32) -> Result<bool> {
        Ok(self.containers.get(slot)?.state & state::ENDED != 0)
    }

    /// Never admits that process again.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn exclude(&mut self, tgid: u32) -> Result<()> {
        self.excluded
            .insert(tgid, 1, 0)
            .context("write the exclusion table")?;
        self.begin_epoch()
    }

    /// Records that thread's next calls under `slot`, for a proof round; `None` ends it.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn set_proof(&mut self, tid: u32, slot: Option<u32>) -> Result<()> {
        match slot {
            Some(slot) => self
                .proofs
                .insert(tid, slot, 0)
                .context("admit the proving thread")?,
            None => absent_is_fine(self.proofs.remove(&tid)).context("dismiss the proving thread")?,
        }
        self.begin_epoch()
    }

    /// A container's books, one a CPU.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn books(&self, slot: u32) -> Result<Vec<Books>> {
        let books = self.books.get(&slot, 0).context("read the books")?;
        Ok(books.iter().map(|books| books.0).collect())
    }

    fn zero_books(&mut self, slot: u32) -> Result<()> {
        let cpus = self.books.get(&slot, 0).context("read the books")?.len();
        let zero = aya::maps::PerCpuValues::try_from(vec![Abi(Books::default()); cpus])
            .map_err(|error: io::Error| anyhow!(error))?;
        self.books.set(slot, zero, 0).context("clear the books")
    }

    /// A container's aggregate rows, summed over CPUs.
    ///
    /// # Errors
    /// When a map refuses.
    pub fn aggregates(&self, slot: u32, generation: u32) -> Result<HashMap<AggregateKey, Aggregate>> {
        self.aggregates.summed(slot, generation)
    }

    /// A reader of all containers' aggregate rows, which needs nothing of this.
    ///
    /// # Errors
    /// When a map cannot be opened again.
    pub fn tally(&self) -> Result<Tally> {
        Tally::open(&self.objects)
    }

    /// A container's capability checks.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn checks(&self, slot: u32, generation: u32) -> Result<HashMap<CheckKey, Checks>> {
        self.capabilities.rows(slot, generation)
    }

    /// What the slot's init held when its application began; `None` where nobody saw that.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn held(&self, slot: u32) -> Result<Option<Held>> {
        self.capabilities.held(slot)
    }

    /// Why capability checks are not seen; `None` where they are.
    pub fn unchecked(&self) -> Option<&str> {
        self.capabilities.absent()
    }

    /// Gives up a slot's aggregate rows and capability checks, whatever their generation, and what proof rounds have left,
    /// unless one is under way: who proves may make any call, and would fill the tables in time.
    ///
    /// # Errors
    /// When a map refuses.
    pub fn forget(&mut self, slot: u32) -> Result<()> {
        let mut slots = vec![slot];
        if self.proofs.keys().next().is_none() {
            // Of another generation, so that no CPU takes a row for the next proof's that it remembers from this one.
            self.open_proof_slot()?;
            slots.push(PROOF_SLOT);
        }
        self.capabilities.forget(&slots)?;
        self.aggregates.forget(&slots)
    }

    /// How often the kernel did not run each of the programs that watch containers, since the same one was in progress on
    /// that CPU: a task that it had preempted there. Since they were loaded; of all tasks of the host.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn missed_runs(&self) -> Result<BTreeMap<&'static str, u64>> {
        let programs = PROGRAMS.iter().map(|(name, _)| *name);
        programs
            .chain(self.capabilities.program())
            .map(|name| Ok((name, self.objects.missed_runs(name)?)))
            .collect()
    }

    /// Prints what the programs have to say of themselves.
    pub fn print_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    /// The global counters, in the order of [`filter::Counter`].
    ///
    /// # Errors
    /// When the map refuses.
    pub fn counters(&self) -> Result<[u64; COUNTERS as usize]> {
        let mut sums = [0; COUNTERS as usize];
        for (index, sum) in (0..COUNTERS).zip(&mut sums) {
            *sum = self
                .counts
                .get(&index, 0)
                .context("read the counters")?
                .iter()
                .sum();
        }
        Ok(sums)
    }
}

fn absent_is_fine(removed: Result<(), MapError>) -> Result<(), MapError> {
    match removed {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Slot under which proof rounds are recorded: the last one, never given to a container.
pub const PROOF_SLOT: u32 = MAX_CONTAINERS - 1;

impl Kernel {
    /// Opens the proof slot, with another generation than it had. Its records belong to no container's books.
    ///
    /// # Errors
    /// When a map refuses.
    pub fn open_proof_slot(&mut self) -> Result<()> {
        let entry = Container {
            generation: self.containers.get(PROOF_SLOT)?.generation.wrapping_add(1),
            state: state::LIVE,
            ..Container::default()
        };
        self.containers.set(PROOF_SLOT, &entry)
    }
}
