//! Proof rounds: that what a thread does comes out of the ring, before its container goes on (docs/hook.md).

use std::{
    sync::{Arc, OnceLock, mpsc::Receiver},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use rustix::rand::{GetRandomFlags, getrandom};

use super::Node;
use crate::{enrich::monotonic_ns, pipeline::Mark, source::kernel::PROOF_SLOT};

/// How long a proof's record may take. The hook's own deadline is 1 s in all.
pub const PROOF_TIME: Duration = Duration::from_millis(700);

/// A proof round under way.
#[derive(Debug)]
pub struct Proof {
    /// 63 bits: an offset for lseek(2).
    pub nonce: u64,
    tid: u32,
    slot: u32,
    began: u64,
    proved: Arc<OnceLock<u64>>,
}

impl Proof {
    /// Nanoseconds of the round trip, whose record has been seen.
    pub fn round_trip_ns(&self) -> u64 {
        let took = || monotonic_ns().saturating_sub(self.began);
        *self.proved.get_or_init(took)
    }
}

impl Node {
    /// Begins a proof round for the container in that slot: the thread's `lseek(-1, nonce, SEEK_SET)` must come out of the
    /// ring. Then `seen` is called, by the ring's reader, for which it must not wait.
    ///
    /// # Errors
    /// When the container has ended, or the kernel side refuses.
    pub fn begin_proof(&self, slot: u32, tid: u32, seen: impl FnOnce() + Send + 'static) -> Result<Proof> {
        let mut bytes = [0; 8];
        getrandom(&mut bytes, GetRandomFlags::empty()).context("draw a nonce")?;
        let nonce = u64::from_ne_bytes(bytes) >> 1;
        let mut inner = self.lock();
        let live = inner.live.get(&slot).context("the container has ended")?;
        let proved = live.proved.clone();
        self.proofs.expect(tid, nonce, Box::new(seen));
        inner.kernel.set_proof(tid, Some(PROOF_SLOT))?;
        Ok(Proof {
            nonce,
            tid,
            slot,
            began: monotonic_ns(),
            proved,
        })
    }

    /// Has the ring read now: the proof's call has been made. It waits for nothing.
    pub fn look_for_proof(&self) {
        self.marks.wake();
    }

    /// Books the round trip, whose record has been seen. It waits for nothing.
    ///
    /// # Errors
    /// When the ring's reader has ended.
    pub fn book_proof(&self, proof: &Proof) -> Result<()> {
        self.marks.post(Mark::Armed {
            slot: proof.slot as u16,
            ktime: monotonic_ns(),
            round_trip_ns: proof.round_trip_ns(),
        })
    }

    /// Waits for the record of the proof's call, which has been made and of which `seen` tells, and books the round trip.
    ///
    /// # Errors
    /// When the record does not come.
    pub fn finish_proof(&self, proof: &Proof, seen: &Receiver<()>) -> Result<()> {
        self.look_for_proof();
        let came = seen.recv_timeout(PROOF_TIME);
        self.dismiss(proof)?;
        came.map_err(|_timeout| unseen())?;
        self.book_proof(proof)
    }

    /// The thread proves no more, unless it has begun again meanwhile.
    ///
    /// # Errors
    /// When the kernel side refuses.
    pub fn dismiss(&self, proof: &Proof) -> Result<()> {
        let mut inner = self.lock();
        if self.proofs.dismiss(proof.tid, proof.nonce) {
            inner.kernel.set_proof(proof.tid, None)?;
        }
        Ok(())
    }
}

/// The record of a proof did not come.
pub fn unseen() -> anyhow::Error {
    anyhow!("the proof's record did not come out of the ring within {PROOF_TIME:?}")
}
