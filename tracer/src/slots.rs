//! Tables by container slot, looked into several times for each event. Slots are small numbers that the registry gives out,
//! so nobody outside can make them collide, and std's keyed hash would be a tenth of what an event costs.
//!
//! It knows nothing of what is in them.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// What somebody knows of containers, by their slots.
pub(crate) type Slots<T> = HashMap<u16, T, BuildHasherDefault<BySlot>>;

/// A slot's number, spread: the table looks at the lowest bits and at the seven highest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BySlot(u64);

impl Hasher for BySlot {
    fn write_u16(&mut self, slot: u16) {
        // 2^64 over the golden ratio, odd: all low bits of the product differ where those of slots do.
        self.0 = u64::from(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8 | u64::from(*byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, hash::BuildHasher as _};

    use tracer_common::MAX_CONTAINERS;

    use super::*;

    #[test]
    fn no_two_slots_share_a_place() {
        let hash = |slot| BuildHasherDefault::<BySlot>::default().hash_one(slot);
        let slots = || 0..MAX_CONTAINERS as u16;
        let low: HashSet<_> = slots()
            .map(|slot| hash(slot) & u64::from(MAX_CONTAINERS - 1))
            .collect();
        let high: HashSet<_> = slots().map(|slot| hash(slot) >> 57).collect();
        assert_eq!((low.len(), high.len()), (MAX_CONTAINERS as usize, 128));
    }
}
