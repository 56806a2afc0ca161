//! Proof rounds whose records the ring's reader looks for. It must not know who proves, nor why.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
};

use super::Head;

/// Proof rounds that wait for their record.
#[derive(Clone, Default)]
pub struct Proofs(Arc<Mutex<HashMap<u32, Waiting>>>);

struct Waiting {
    nonce: u64,
    seen: Box<dyn FnOnce() + Send>,
}

impl Proofs {
    /// Waits for that thread's call with that nonce; `seen` is called when it came, and must wait for nothing.
    pub fn expect(&self, tid: u32, nonce: u64, seen: Box<dyn FnOnce() + Send>) {
        self.lock().insert(tid, Waiting { nonce, seen });
    }

    /// Waits for it no longer; whether no other call of that thread is waited for.
    pub fn dismiss(&self, tid: u32, nonce: u64) -> bool {
        let mut waiting = self.lock();
        let is_other = waiting.get(&tid).is_some_and(|proof| proof.nonce != nonce);
        if !is_other {
            waiting.remove(&tid);
        }
        !is_other
    }

    /// Looks at a record that came out of the ring; true when it is of the proof slot, and so nobody else's. Done by the
    /// ring's reader: a hook must not wait behind what other containers have queued.
    pub fn take(&self, proof_slot: u16, record: &[u8]) -> bool {
        let Some(head) = Head::peek(record).filter(|head| head.slot == proof_slot) else {
            return false;
        };
        // args[1] is the second word behind the fixed part.
        let at = size_of::<tracer_common::record::Syscall>() + 8;
        let nonce = record
            .get(at..at + 8)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u64::from_le_bytes);
        let mut waiting = self.lock();
        let is_it = |proof: &Waiting| i64::from(head.nr) == libc::SYS_lseek && Some(proof.nonce) == nonce;
        let proof = match waiting.entry(head.tid) {
            Entry::Occupied(entry) if is_it(entry.get()) => Some(entry.remove()),
            _ => None,
        };
        drop(waiting);
        if let Some(proof) = proof {
            (proof.seen)();
        }
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
