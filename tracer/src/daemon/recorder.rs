//! Makes the flight recorder's dumps: what is held of a container goes into a file when something happened to it.

use std::{
    collections::BTreeMap,
    sync::{
        Weak,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::Shared;
use crate::{
    log::note,
    pipeline::Trigger,
    recording::{Draft, Dumps, Reason},
};

/// How long a dump waits for what comes after what happened; a container's end is the end of it.
const AFTER: Duration = Duration::from_secs(1);
/// Dumps that may wait: what comes beyond them is told, and not dumped.
const MOST_WAITING: usize = 64;

/// A dump that is to be made.
struct Due {
    at: Instant,
    reasons: Vec<Reason>,
}

/// Starts the thread; it ends with the pipeline.
///
/// # Errors
/// When the kernel gives no thread.
pub(super) fn start(
    triggers: Receiver<Trigger>,
    shared: Weak<Shared>,
    dumps: Dumps,
) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("recorder".into())
        .spawn(move || run(&triggers, &shared, &dumps))
        .context("start a thread")
}

fn run(triggers: &Receiver<Trigger>, shared: &Weak<Shared>, dumps: &Dumps) {
    let mut waiting: BTreeMap<String, Due> = BTreeMap::new();
    loop {
        let next = waiting.values().map(|due| due.at).min();
        let told = match next {
            None => triggers.recv().map_err(|_ended| RecvTimeoutError::Disconnected),
            Some(at) => triggers.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        match told {
            Ok(trigger) => take(&mut waiting, trigger),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        let due: Vec<_> = waiting
            .iter()
            .filter(|(_, due)| due.at <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            // A daemon that ends keeps nothing any more.
            let (Some(due), Some(shared)) = (waiting.remove(&id), shared.upgrade()) else {
                return;
            };
            if let Err(error) = dump(&shared, dumps, &id, due) {
                note(&format!("no dump of container {id}: {error:#}"));
            }
        }
    }
}

fn take(waiting: &mut BTreeMap<String, Due>, trigger: Trigger) {
    let Trigger { id, reason, over } = trigger;
    let now = Instant::now();
    if let Some(reason) = reason {
        if waiting.len() >= MOST_WAITING && !waiting.contains_key(&id) {
            note(&format!("no dump of container {id}: {MOST_WAITING} others wait"));
            return;
        }
        let due = waiting.entry(id.clone()).or_insert(Due {
            at: now + AFTER,
            reasons: Vec::new(),
        });
        if !due.reasons.contains(&reason) {
            due.reasons.push(reason);
        }
    }
    // An end alone is no reason: what there was may have been dumped long ago.
    if over && let Some(due) = waiting.get_mut(&id) {
        due.at = now;
    }
}

fn dump(shared: &Shared, dumps: &Dumps, id: &str, due: Due) -> Result<()> {
    let Due { mut reasons, .. } = due;
    // As they are listed.
    reasons.sort_by_key(|reason| Reason::ALL.iter().position(|one| one == reason));
    let (dump, summary) = shared.node.dump(id)?.context("nothing is held of it any more")?;
    let mut last = Vec::new();
    let mut draft = Draft::new(shared.node.origin());
    draft.summary(&dump.info, &summary);
    draft.close(&mut last);
    let mut blocks = dump.blocks;
    blocks.push(last.into());
    let path = dumps.keep(&reasons, &blocks)?;
    note(&format!("container {id} dumped into {}", path.display()));
    Ok(())
}
