//! Proof rounds: that what a thread does comes out of the ring, before its container goes on (docs/hook.md).

use std::{
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use rustix::rand::{GetRandomFlags, getrandom};

use super::Node;
use crate::{enrich::monotonic_ns, pipeline::Mark, source::kernel::PROOF_SLOT};

/// How long a proof's record may take. The hook's own deadline is 1 s in all.
const PROOF_TIME: Duration = Duration::from_millis(700);

/// A proof round under way.
#[derive(Debug)]
pub struct Proof {
    /// 63 bits: an offset for lseek(2).
    pub nonce: u64,
    tid: u32,
    began: u64,
    seen: Receiver<u64>,
}

impl Node {
    /// Begins a proof round: that thread's `lseek(-1, nonce, SEEK_SET)` must come out of the ring.
    ///
    /// # Errors
    /// When the kernel side refuses.
    pub fn begin_proof(&self, tid: u32) -> Result<Proof> {
        let mut bytes = [0; 8];
        getrandom(&mut bytes, GetRandomFlags::empty()).context("draw a nonce")?;
        let nonce = u64::from_ne_bytes(bytes) >> 1;
        let (sender, seen) = channel();
        self.proofs.expect(tid, nonce, sender);
        self.lock().kernel.set_proof(tid, Some(PROOF_SLOT))?;
        Ok(Proof {
            nonce,
            tid,
            began: monotonic_ns(),
            seen,
        })
    }

    /// Waits for the record of the proof's call, which has been made, and books the round trip for that container.
    ///
    /// # Errors
    /// When the record does not come.
    pub fn finish_proof(&self, slot: u32, proof: &Proof) -> Result<u64> {
        self.marks.wake();
        let seen = proof.seen.recv_timeout(PROOF_TIME);
        self.dismiss(proof)?;
        seen.map_err(|_timeout| {
            anyhow!("the proof's record did not come out of the ring within {PROOF_TIME:?}")
        })?;
        let ktime = monotonic_ns();
        let round_trip_ns = ktime.saturating_sub(proof.began);
        if let Some(live) = self.lock().live.get_mut(&slot) {
            live.round_trip_ns = Some(round_trip_ns);
        }
        self.marks.post(Mark::Armed {
            slot: slot as u16,
            ktime,
            round_trip_ns,
        })?;
        Ok(round_trip_ns)
    }

    /// Gives a proof up.
    ///
    /// # Errors
    /// When the kernel side refuses.
    pub fn dismiss(&self, proof: &Proof) -> Result<()> {
        self.proofs.dismiss(proof.tid);
        self.lock().kernel.set_proof(proof.tid, None)
    }
}
