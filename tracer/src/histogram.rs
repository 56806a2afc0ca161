//! What the kernel side's log2 histograms tell of durations. Pure arithmetic; it must not know whose calls they are.
//!
//! A histogram holds how many durations fell into each power of two, and their sum. From that no quantile is known
//! exactly, but each is bounded, and only bounds are told: [`Histogram::at_most`] is never below the true value and
//! less than twice it, except in the last bucket, which has no upper end of its own.

use serde::{Deserialize, Serialize};
use tracer_common::filter::{Aggregate, BUCKETS};

/// Durations, by power of two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    total_ns: u64,
}

/// The shortest and the longest duration of a bucket; the last has no end.
pub(crate) fn bounds(bucket: usize) -> (u64, u64) {
    let shortest = if bucket == 0 { 0 } else { 1 << bucket };
    let longest = if bucket + 1 == BUCKETS {
        u64::MAX
    } else {
        (1 << (bucket + 1)) - 1
    };
    (shortest, longest)
}

/// The bucket of a duration, as the kernel side chooses it.
pub fn bucket(ns: u64) -> usize {
    (ns.max(1).ilog2() as usize).min(BUCKETS - 1)
}

impl Histogram {
    /// Adds a row's durations.
    pub fn add(&mut self, row: &Aggregate) {
        self.total_ns = self.total_ns.saturating_add(row.total_ns);
        for (sum, count) in self.counts.iter_mut().zip(row.buckets) {
            *sum += u64::from(count);
        }
    }

    /// The durations that came after an earlier look at the same calls.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        since.total_ns = since.total_ns.saturating_sub(earlier.total_ns);
        for (count, before) in since.counts.iter_mut().zip(earlier.counts) {
            *count = count.saturating_sub(before);
        }
        since
    }

    /// Adds one duration.
    pub fn took(&mut self, ns: u64) {
        self.total_ns = self.total_ns.saturating_add(ns);
        if let Some(count) = self.counts.get_mut(bucket(ns)) {
            *count += 1;
        }
    }

    /// How many fell into each power of two.
    pub fn counts(&self) -> &[u64; BUCKETS] {
        &self.counts
    }

    /// Adds another's durations.
    pub fn merge(&mut self, other: &Self) {
        self.total_ns = self.total_ns.saturating_add(other.total_ns);
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
    }

    /// How many durations it holds.
    pub fn calls(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many are shorter than that power of two of nanoseconds.
    pub fn below(&self, power: usize) -> u64 {
        self.counts.iter().take(power.min(BUCKETS - 1)).sum()
    }

    /// Their sum.
    pub const fn total_ns(&self) -> u64 {
        self.total_ns
    }

    /// What so many percent of the calls took at most (nearest rank; 100 = the longest call); `None` without calls.
    ///
    /// It is the upper end of the bucket that holds the call of that rank, or less where the sum allows less: all
    /// calls from that rank on took at least as long, and those before it at least the lower ends of their buckets.
    /// So of a single call the exact duration is told.
    pub fn at_most(&self, percent: u64) -> Option<u64> {
        let calls = self.calls();
        let rank = (u128::from(calls) * u128::from(percent)).div_ceil(100).max(1);
        let rank = u64::try_from(rank).unwrap_or(u64::MAX).min(calls);
        let (mut before, mut before_ns) = (0, 0u64);
        for (index, &count) in self.counts.iter().enumerate() {
            let (shortest, longest) = bounds(index);
            if rank > before && rank <= before + count {
                let shorter = (rank - 1 - before).saturating_mul(shortest);
                let rest = self.total_ns.saturating_sub(before_ns.saturating_add(shorter));
                let by_sum = rest / (calls - rank + 1);
                return Some(longest.min(by_sum).max(shortest));
            }
            before += count;
            before_ns = before_ns.saturating_add(count.saturating_mul(shortest));
        }
        None
    }

    /// What every call took at least: the lower end of the first bucket in use, or more where the sum demands more.
    pub fn at_least(&self) -> Option<u64> {
        let first = self.counts.iter().position(|count| *count > 0)?;
        let (shortest, longest) = bounds(first);
        let others = self
            .counts
            .iter()
            .enumerate()
            .map(|(index, count)| {
                let others = count - u64::from(index == first);
                others.saturating_mul(bounds(index).1)
            })
            .fold(0u64, u64::saturating_add);
        Some(self.total_ns.saturating_sub(others).clamp(shortest, longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ns: u64) -> Aggregate {
        let mut buckets = [0; BUCKETS];
        buckets[bucket(ns)] = 1;
        Aggregate {
            count: 1,
            total_ns: ns,
            buckets,
        }
    }

    fn of(durations: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        durations.iter().for_each(|&ns| histogram.add(&row(ns)));
        histogram
    }

    #[test]
    fn nothing_is_told_of_no_calls() {
        assert_eq!((of(&[]).at_most(50), of(&[]).at_least()), (None, None));
    }

    #[test]
    fn a_single_call_is_known_exactly() {
        for ns in [0, 1, 700, 5_000_000_000, 1 << 40] {
            let one = of(&[ns]);
            assert_eq!(
                (one.at_most(50), one.at_most(100), one.at_least()),
                (Some(ns), Some(ns), Some(ns))
            );
        }
    }

    #[test]
    fn a_percentile_is_the_end_of_its_bucket() {
        // 99 short ones, and one of a second.
        let mut durations = vec![100; 99];
        durations.push(1_000_000_000);
        let histogram = of(&durations);
        assert_eq!(
            (histogram.at_most(50), histogram.at_most(99)),
            (Some(127), Some(127))
        );
        // The sum allows less than the 2^30 - 1 of its bucket: the others took 64 ns at least.
        assert_eq!(histogram.at_most(100), Some(1_000_000_000 + 99 * (100 - 64)));
    }

    #[test]
    fn what_came_since_is_told_alone() {
        let before = of(&[100, 1_000_000_000]);
        let mut now = before.clone();
        (0..10).for_each(|_| now.add(&row(700)));
        assert_eq!(now.since(&before), of(&[700; 10]));
        assert_eq!(now.since(&before).at_most(99), Some(1023));
        assert_eq!(now.since(&now).at_most(99), None);
    }

    #[test]
    fn bounds_hold_whatever_the_durations() {
        let mut state = 7u64;
        for round in 1..200u64 {
            let durations: Vec<u64> = (0..round)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 20) >> (state >> 58)
                })
                .collect();
            let histogram = of(&durations);
            let mut sorted = durations.clone();
            sorted.sort_unstable();
            assert!(histogram.at_least().unwrap() <= sorted[0]);
            for percent in [1, 50, 95, 99, 100] {
                let rank = (sorted.len() * percent).div_ceil(100);
                let truth = sorted[rank - 1];
                let told = histogram.at_most(percent as u64).unwrap();
                assert!(told >= truth, "{percent} % of {sorted:?}: {told}");
                assert!(
                    truth >= 1 << 31 || told <= (2 * truth).max(1),
                    "{percent} % of {sorted:?}: {told}"
                );
            }
        }
    }
}
