//! How much may be kept of the processes that are followed: of a container's, and of all containers' together. It knows
//! nothing of what is kept.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes that one container takes at most, and all together.
const MOST: usize = 1 << 20;
const MOST_OF_ALL: usize = 32 << 20;
static OF_ALL: AtomicUsize = AtomicUsize::new(0);

/// What a container takes of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Room(usize);

impl Room {
    /// Takes so many bytes, where there are.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        if self.0 + bytes > MOST {
            return false;
        }
        if OF_ALL.fetch_add(bytes, Relaxed) + bytes > MOST_OF_ALL {
            OF_ALL.fetch_sub(bytes, Relaxed);
            return false;
        }
        self.0 += bytes;
        true
    }

    pub(super) fn give_back(&mut self, bytes: usize) {
        self.0 -= bytes;
        OF_ALL.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.give_back(self.0);
    }
}
