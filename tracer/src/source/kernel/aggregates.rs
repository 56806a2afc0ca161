//! The aggregate rows as the daemon sees them: which row a key has, which rows are free, what the CPUs counted in them.
//!
//! The programs take rows, this side gives them back. A CPU remembers rows by their keys, and a program that began before
//! its container was taken out may still add to one: so a row that was given up rests a while before another gets it.

use std::{
    collections::{HashMap, VecDeque},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use aya::{
    maps::{self, MapData, MapError, PerCpuArray, PerCpuValues, Queue},
    util::nr_cpus,
};
use tracer_common::filter::{Aggregate, AggregateKey, BUCKETS};

use super::{Abi, absent_is_fine, batch, objects::Objects};

/// The maps that have one entry a row.
pub(super) const MAPS: [&str; 3] = ["ROWS", "ROW_NUMBERS", "FREE_ROWS"];

/// How long a row rests: far longer than any program runs.
const REST: Duration = Duration::from_secs(1);

/// Rows that are read in one call, and how far one may be from the next: those between them are read in vain.
const RUN: usize = 127;
const NEAR: u32 = 4;

const ZERO: Aggregate = Aggregate {
    count: 0,
    total_ns: 0,
    buckets: [0; BUCKETS],
};

/// Rows, each of another key, by slot and the low half of its generation. They are gone through and no more: thousands of
/// them in hash tables took longer than all else.
pub type ByUse = HashMap<(u32, u16), Vec<(AggregateKey, Aggregate)>>;

pub(super) struct Aggregates {
    numbers: maps::HashMap<MapData, Abi<AggregateKey>, u32>,
    rows: PerCpuArray<MapData, Abi<Aggregate>>,
    free: Queue<MapData, u32>,
    resting: VecDeque<(Instant, u32)>,
    /// Two of them again, for who reads many entries at once.
    numbers_map: MapData,
    rows_map: MapData,
    /// Possible CPUs.
    cpus: usize,
    /// The programs are at trace events: the kernel skips those for all tasks of a CPU while one that it has preempted there
    /// is in a look-up (`bpf_disable_instrumentation`, include/linux/bpf.h). One of many entries takes long, since it goes
    /// over all empty buckets of a hash map; one of a single entry does not.
    skipped: bool,
}

impl Aggregates {
    pub(super) fn of(objects: &Objects) -> Result<Self> {
        Ok(Self {
            numbers: objects.map("ROW_NUMBERS")?,
            rows: objects.map("ROWS")?,
            free: objects.map("FREE_ROWS")?,
            resting: VecDeque::new(),
            numbers_map: objects.data("ROW_NUMBERS")?,
            rows_map: objects.data("ROWS")?,
            cpus: nr_cpus().map_err(|(what, error)| anyhow!("{what}: {error}"))?,
            skipped: objects.is_at_event(super::EXIT)?,
        })
    }

    /// Makes all rows free, of maps that are new.
    pub(super) fn fill(&mut self) -> Result<()> {
        for row in 0..self.free.capacity() {
            self.free.push(row, 0).context("fill the table of free rows")?;
        }
        Ok(())
    }

    /// The rows that were given up and are not free yet.
    pub(super) fn resting(&self) -> Vec<u32> {
        self.resting.iter().map(|(_, row)| *row).collect()
    }

    /// Goes on with maps that are in use.
    pub(super) fn resume(&mut self, resting: &[u32]) {
        let now = Instant::now();
        self.resting = resting.iter().map(|row| (now, *row)).collect();
    }

    /// The rows of a use of a slot, summed over CPUs.
    pub(super) fn summed(&self, slot: u32, generation: u32) -> Result<HashMap<AggregateKey, Aggregate>> {
        let mut rows = HashMap::new();
        let is_its = |key| slot_of(key) == slot && u32::from(key.generation) == generation & 0xffff;
        self.each(is_its, |key, row| {
            rows.insert(key, row);
        })?;
        Ok(rows)
    }

    /// The rows of all slots, by slot and generation, in one walk.
    pub(super) fn all(&self) -> Result<ByUse> {
        let mut all = ByUse::new();
        self.each(
            |_| true,
            |key, row| {
                let of = all.entry((slot_of(key), key.generation)).or_default();
                of.push((key, row));
            },
        )?;
        Ok(all)
    }

    /// Reads the wanted rows, summed over CPUs.
    fn each(
        &self,
        wanted: impl Fn(AggregateKey) -> bool,
        mut see: impl FnMut(AggregateKey, Aggregate),
    ) -> Result<()> {
        let mut taken = self.taken().context("read the aggregates")?;
        taken.retain(|(key, _)| wanted(key.0));
        taken.sort_unstable_by_key(|(_, row)| *row);
        // A walk begins anew where the entry that it is at goes meanwhile.
        taken.dedup_by_key(|(_, row)| *row);
        let mut rest = taken.as_slice();
        while let Some((_, first)) = rest.first() {
            let near = |pair: &&[(_, u32)]| matches!(pair, [(_, a), (_, b)] if b - a <= NEAR);
            let (run, behind) = rest.split_at(1 + rest.windows(2).take(RUN).take_while(near).count());
            rest = behind;
            let place = |row: &u32| (row - first) as usize;
            let count = 1 + run.last().map_or(0, |(_, last)| place(last));
            let cpus: Vec<Abi<Aggregate>> =
                batch::per_cpu(self.rows_map.fd().as_fd(), *first, count, self.cpus)
                    .context("read aggregate rows")?;
            for (key, row) in run {
                let mut sum = ZERO;
                for Abi(cpu) in cpus.iter().skip(place(row) * self.cpus).take(self.cpus) {
                    sum.count += cpu.count;
                    sum.total_ns += cpu.total_ns;
                    for (sum, bucket) in sum.buckets.iter_mut().zip(cpu.buckets) {
                        *sum = sum.saturating_add(bucket);
                    }
                }
                see(key.0, sum);
            }
        }
        Ok(())
    }

    /// Which keys have rows, and which rows.
    fn taken(&self) -> Result<Vec<(Abi<AggregateKey>, u32)>> {
        if !self.skipped {
            return Ok(batch::entries(self.numbers_map.fd().as_fd())?);
        }
        let entries = self.numbers.iter();
        let there = entries.filter(|entry| !matches!(entry, Err(MapError::KeyNotFound)));
        Ok(there.collect::<Result<_, _>>()?)
    }

    /// Gives up the rows of these slots, whatever their generation, and frees those that have rested.
    pub(super) fn forget(&mut self, slots: &[u32]) -> Result<()> {
        let given_up: Vec<_> = self
            .numbers
            .iter()
            .filter_map(Result::ok)
            .filter(|(key, _)| slots.contains(&slot_of(key.0)))
            .collect();
        let now = Instant::now();
        for (key, row) in given_up {
            absent_is_fine(self.numbers.remove(&key)).context("remove an aggregate row")?;
            self.resting.push_back((now, row));
        }
        while let Some(&(since, row)) = self.resting.front()
            && now.duration_since(since) > REST
        {
            self.clear(row)?;
            self.free.push(row, 0).context("free an aggregate row")?;
            self.resting.pop_front();
        }
        Ok(())
    }

    fn clear(&mut self, row: u32) -> Result<()> {
        let cpus = self.rows.get(&row, 0).context("read an aggregate row")?.len();
        let zero = PerCpuValues::try_from(vec![Abi(ZERO); cpus]).map_err(|error| anyhow!(error))?;
        self.rows.set(row, zero, 0).context("clear an aggregate row")
    }
}

/// All rows, for who reads them beside the one that takes and gives them: by descriptors of its own. A row that is given up
/// meanwhile rests long enough to be read.
pub struct Tally(Aggregates);

impl Tally {
    pub(super) fn open(objects: &Objects) -> Result<Self> {
        Aggregates::of(objects).map(Self)
    }

    /// The rows of all slots, by slot and the low half of its generation, in one walk.
    ///
    /// # Errors
    /// When a map refuses.
    pub fn all(&self) -> Result<ByUse> {
        self.0.all()
    }
}

fn slot_of(key: AggregateKey) -> u32 {
    u32::from(key.slot & !AggregateKey::APP)
}
