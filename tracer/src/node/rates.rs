//! How many events a second a container and its owner may have: which entry of the kernel side's rate table counts
//! them, and what is told of those that were too many.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tracer_common::filter::{Books, Container, MAX_RATES, USER_RATES, state};

use super::{Inner, Node};
use crate::{enrich::monotonic_ns, pipeline::Mark, quota::Limits, registry::Entry};

/// The bounds of one container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Rates {
    /// Entry and limit: its own, its owner's.
    bounds: [Option<(u16, u64)>; 2],
    /// Whether the owner's entry is in use by another container, so that its second goes on.
    shared: bool,
    /// Calls over the rate that its readers have been told.
    told: u64,
}

impl Rates {
    /// Puts the bounds into the container's entry.
    pub(super) fn bound(&self, container: &mut Container) {
        container.rates = self.bounds.map(|bound| bound.map_or(0, |(index, _)| index));
        if container.rates != [0; 2] {
            container.state |= state::LIMITED;
        }
    }

    /// Calls over the rate that its readers have not been told.
    pub(super) fn untold(&self, per_cpu: &[Books]) -> u64 {
        let limited: u64 = per_cpu.iter().map(|books| books.limited).sum();
        limited.saturating_sub(self.told)
    }

    fn is_bounded(&self) -> bool {
        self.bounds.iter().any(Option::is_some)
    }
}

impl Inner {
    /// The bounds of a new container: what it asked for or the node gives it, and what its owner has for all of its own.
    pub(super) fn rates_of(&self, entry: &Entry, limit: u64) -> Rates {
        let own = (limit > 0).then_some((entry.slot as u16, limit));
        let owner = entry.info.owner;
        if owner == 0 || self.user_rate == 0 {
            return Rates {
                bounds: [own, None],
                ..Rates::default()
            };
        }
        let of_users = || {
            self.registry.iter().filter_map(|other| {
                let (index, _) = self.live.get(&other.slot)?.rates.bounds[1]?;
                Some((other.info.owner, index))
            })
        };
        let shared = of_users().find(|(uid, _)| *uid == owner).map(|(_, index)| index);
        let free =
            || (USER_RATES as u16..MAX_RATES as u16).find(|index| of_users().all(|(_, used)| used != *index));
        Rates {
            bounds: [own, shared.or_else(free).map(|index| (index, self.user_rate))],
            shared: shared.is_some(),
            told: 0,
        }
    }

    /// Writes the bounds, before the container is armed.
    pub(super) fn set_rates(&mut self, rates: &Rates) -> Result<()> {
        let [own, owners] = rates.bounds;
        for (index, limit) in own.into_iter().chain(owners.filter(|_| !rates.shared)) {
            self.kernel.set_rate(index, limit)?;
        }
        Ok(())
    }
}

impl Node {
    /// What one user may take from now on. Of containers that are in, the users' rates change where they have any.
    ///
    /// # Errors
    /// When the kernel side refuses.
    pub fn set_limits(&self, limits: Limits) -> Result<()> {
        let mut inner = self.lock();
        inner.registry.set_quota(limits.containers);
        inner.user_rate = limits.event_rate;
        let Inner { kernel, live, .. } = &mut *inner;
        for (index, limit) in live.values_mut().filter_map(|live| live.rates.bounds[1].as_mut()) {
            *limit = limits.event_rate;
            // An entry without a limit would stop all; the largest is none.
            let most = if limits.event_rate == 0 {
                u64::MAX
            } else {
                limits.event_rate
            };
            kernel.set_rate(*index, most)?;
        }
        Ok(())
    }

    /// Tells the readers of containers what the rate limit has cost them since the last time.
    ///
    /// # Errors
    /// When the kernel side refuses or the pipeline has ended.
    pub fn tell_limited(&self) -> Result<()> {
        let mut inner = self.lock();
        let Inner { kernel, live, .. } = &mut *inner;
        for (slot, live) in live.iter_mut().filter(|(_, live)| live.rates.is_bounded()) {
            let count = live.rates.untold(&kernel.books(*slot)?);
            if count > 0 {
                live.rates.told += count;
                self.marks.post(Mark::Limited {
                    slot: *slot as u16,
                    ktime: monotonic_ns(),
                    count,
                })?;
            }
        }
        Ok(())
    }
}
