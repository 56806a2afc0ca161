//! What of the ring a slot's container may have, in the kernel side's table. What it has is `source::shares`.

use anyhow::Result;
use tracer_common::{
    record::MAX_RECORD,
    share::{self, Share},
};

use super::Kernel;

impl Kernel {
    /// Lets a slot have so many percent of the ring on its way at most, whatever is free; 0 is no such bound. With `parts`,
    /// the kernel side calls when it has more than that part of it. Written before the slot is armed.
    ///
    /// # Errors
    /// When there is no such slot.
    pub fn set_share(&mut self, slot: u32, percent: u8, parts: Option<u64>) -> Result<()> {
        let ring = u64::from(self.ring_bytes);
        let most = match percent {
            0 => 0,
            // Room for any one record there must be.
            percent => (ring * u64::from(percent) / 100).max(u64::from(share::bytes(MAX_RECORD as u32))),
        };
        let share = Share {
            most,
            mark: parts.map_or(0, |parts| if most == 0 { ring } else { most } / parts),
            ..Share::default()
        };
        self.shares.set(slot, &share)
    }

    /// Above how many bytes on its way the kernel side calls for a slot's container to be held back.
    ///
    /// # Errors
    /// When there is no such slot.
    pub fn mark(&self, slot: u32) -> Result<u64> {
        Ok(self.shares.get(slot)?.mark)
    }
}
