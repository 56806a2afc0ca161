//! Has the kernel's look-ups of names watched while somebody asks for them: every task of the host pays for it.

use std::time::{Duration, Instant};

use super::Node;
use crate::{
    enrich::{Clock, monotonic_ns},
    report::observed::Detail,
    sinks::json::rfc3339,
    source::kernel::DENTRY_FUNCTIONS,
};

/// How long they are watched after they were asked for last.
const LEASE: Duration = Duration::from_secs(30);

/// Since when (UTC) they are watched, and when that was asked for last.
pub(super) struct Watched {
    since: String,
    asked: Instant,
}

impl Node {
    /// Has them watched, of all containers, from here on; whether that has just begun: then the caller sees to it that
    /// [`Self::unwatch_dentries`] is called.
    pub fn watch_dentries(&self) -> (Detail, bool) {
        let mut inner = self.lock();
        if let Err(why) = inner.kernel.watch_dentries() {
            let absent = Detail {
                absent: Some(why),
                ..Detail::default()
            };
            return (absent, false);
        }
        let begins = inner.watched.is_none();
        let now = || rfc3339(Clock::now().wall(monotonic_ns()));
        let watched = inner.watched.get_or_insert_with(|| Watched {
            since: now(),
            asked: Instant::now(),
        });
        watched.asked = Instant::now();
        let detail = Detail {
            functions: DENTRY_FUNCTIONS.map(str::to_owned).into(),
            since: Some(watched.since.clone()),
            absent: None,
        };
        (detail, begins)
    }

    /// Ends it where nobody has asked for long enough; else tells after what time to look again.
    pub fn unwatch_dentries(&self) -> Option<Duration> {
        let mut inner = self.lock();
        let left = LEASE.saturating_sub(inner.watched.as_ref()?.asked.elapsed());
        if !left.is_zero() {
            return Some(left);
        }
        inner.watched = None;
        inner.kernel.unwatch_dentries();
        None
    }
}
