//! What one user may take of the node, and what all may together; how often somebody was refused, by reason. Bookkeeping
//! alone: who refuses and drops is elsewhere.
//!
//! Root has no quota, but shares what there is for all.

use std::{
    collections::{BTreeMap, HashMap},
    os::fd::{AsFd, AsRawFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use rustix::process::{Resource, getrlimit};

/// Most bytes that wait for one live subscriber that has no quota.
const SUBSCRIBER_BYTES: usize = 64 << 20;
/// Most bytes that wait for all of these together, in equal shares: so those that read on never pay for those that do not.
const SUBSCRIBERS_BYTES: usize = 256 << 20;

/// What one uid that is not root may have at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Containers that are registered.
    pub containers: usize,
    /// Events a second that go to the daemon, of all its containers together; 0 is no limit.
    pub event_rate: u64,
    /// Bytes that wait for its readers, of all its tails together.
    pub queue: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            containers: 64,
            event_rate: 200_000,
            queue: 16 << 20,
        }
    }
}

/// The users' accounts.
#[derive(Debug, Default)]
pub struct Quotas {
    /// Bytes that wait for one user's readers.
    queue: AtomicUsize,
    /// Each reader without a quota holds it, too.
    readers: Arc<()>,
    queues: Mutex<HashMap<u32, Weak<AtomicUsize>>>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

/// Room for what waits for a reader.
#[derive(Clone, Debug)]
pub struct Room {
    /// Bytes that wait now, of all who share it.
    pub waiting: Arc<AtomicUsize>,
    most: usize,
    /// Held by all who share [`SUBSCRIBERS_BYTES`], and by who counts them.
    readers: Option<Arc<()>>,
}

impl Room {
    /// Most bytes that may wait, now that there are so many others.
    pub fn most(&self) -> usize {
        match &self.readers {
            None => self.most,
            Some(readers) => self
                .most
                .min(SUBSCRIBERS_BYTES / (Arc::strong_count(readers) - 1).max(1)),
        }
    }
}

/// Why that descriptor, the newest, is one too many where so many are to stay free. The kernel gives the lowest number
/// that is free (open(2)), so what it gave tells how many are left.
pub fn out_of_descriptors(newest: impl AsFd, spare: u64) -> Option<String> {
    let most = getrlimit(Resource::Nofile).current?;
    let number = u64::try_from(newest.as_fd().as_raw_fd()).ok()?;
    (number.saturating_add(spare) >= most).then(no_descriptors)
}

/// What to do where there is no room for a further descriptor.
pub fn no_descriptors() -> String {
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    format!(
        "the daemon may open {most} files, and they are taken: raise LimitNOFILE= of its unit, or end containers or tails"
    )
}

impl Quotas {
    pub fn new(limits: Limits) -> Self {
        Self {
            queue: AtomicUsize::new(limits.queue),
            ..Self::default()
        }
    }

    /// From now on; who reads already has the room that it had.
    pub fn set(&self, limits: Limits) {
        self.queue.store(limits.queue, Relaxed);
    }

    /// The room of a new reader: its own for who sees all, else the one that the uid has.
    pub fn room(&self, uid: Option<u32>) -> Room {
        let Some(uid) = uid else {
            return Room {
                waiting: Arc::default(),
                most: SUBSCRIBER_BYTES,
                readers: Some(self.readers.clone()),
            };
        };
        let mut queues = lock(&self.queues);
        queues.retain(|_, queue| queue.strong_count() > 0);
        let waiting = queues.get(&uid).and_then(Weak::upgrade).unwrap_or_default();
        queues.insert(uid, Arc::downgrade(&waiting));
        Room {
            waiting,
            most: self.queue.load(Relaxed),
            readers: None,
        }
    }

    /// Counts a refusal.
    pub fn refused(&self, reason: &'static str) {
        *lock(&self.refused).entry(reason).or_default() += 1;
    }

    /// The refusals since the start.
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        let refused = lock(&self.refused);
        refused
            .iter()
            .map(|(reason, count)| ((*reason).to_owned(), *count))
            .collect()
    }
}

/// Connections at this time, by uid.
#[derive(Clone, Debug)]
pub struct Connections {
    open: Arc<Mutex<HashMap<u32, usize>>>,
    all: usize,
    of_user: usize,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub struct Place {
    connections: Connections,
    uid: u32,
}

impl Connections {
    /// At most so many, and so many of one uid that is not root.
    pub fn new(all: usize, of_user: usize) -> Self {
        Self {
            open: Arc::default(),
            all,
            of_user,
        }
    }

    /// A place, while there is one.
    pub fn take(&self, uid: u32) -> Option<Place> {
        let mut open = lock(&self.open);
        let all: usize = open.values().sum();
        let own = open.get(&uid).copied().unwrap_or(0);
        if all >= self.all || (uid != 0 && own >= self.of_user) {
            return None;
        }
        open.insert(uid, own + 1);
        Some(Place {
            connections: self.clone(),
            uid,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.connections.open);
        if let Some(own) = open.get_mut(&self.uid) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.uid);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change leaves the table whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn a_users_readers_share_one_room_and_roots_do_not() {
        let quotas = Quotas::new(Limits {
            queue: 10,
            ..Limits::default()
        });
        let (first, second) = (quotas.room(Some(7)), quotas.room(Some(7)));
        first.waiting.fetch_add(4, Ordering::Relaxed);
        assert_eq!((second.waiting.load(Ordering::Relaxed), second.most()), (4, 10));
        assert_eq!(quotas.room(Some(8)).waiting.load(Ordering::Relaxed), 0);
        let root = quotas.room(None);
        root.waiting.fetch_add(4, Ordering::Relaxed);
        assert_eq!(quotas.room(None).waiting.load(Ordering::Relaxed), 0);
        drop((first, second));
        assert_eq!(quotas.room(Some(7)).waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn readers_without_a_quota_share_what_there_is_for_all() {
        let quotas = Quotas::default();
        let first = quotas.room(None);
        assert_eq!(first.most(), SUBSCRIBER_BYTES);
        let others: Vec<_> = (1..16).map(|_| quotas.room(None)).collect();
        assert_eq!(first.most(), SUBSCRIBERS_BYTES / 16);
        assert!(others.iter().all(|room| room.most() == first.most()));
        drop(others);
        assert_eq!(first.most(), SUBSCRIBER_BYTES);
    }

    #[test]
    fn a_number_near_the_limit_is_one_too_many() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(out_of_descriptors(&file, 0), None);
        assert!(
            out_of_descriptors(&file, u64::MAX)
                .unwrap()
                .contains("LimitNOFILE")
        );
    }

    #[test]
    fn places_are_bounded_and_given_back() {
        let connections = Connections::new(4, 2);
        let places = [connections.take(7), connections.take(7)];
        assert!(places.iter().all(Option::is_some) && connections.take(7).is_none());
        let _root = [connections.take(0), connections.take(0)];
        assert!(connections.take(8).is_none(), "full");
        drop(places);
        assert!(connections.take(8).is_some() && connections.take(7).is_some());
    }

    #[test]
    fn refusals_are_counted_by_reason() {
        let quotas = Quotas::default();
        for reason in ["not_owner", "user_containers", "not_owner"] {
            quotas.refused(reason);
        }
        assert_eq!(quotas.refusals()["not_owner"], 2);
        assert_eq!(quotas.refusals()["user_containers"], 1);
    }
}
