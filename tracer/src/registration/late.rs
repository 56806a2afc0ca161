//! Containers that run already: attached and detached by hand, found by an audit, or left by a daemon before this one.
//!
//! Their beginning, or a piece of them, was missed: they are never called complete.

use std::{
    collections::{BTreeMap, HashSet},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::SystemTime,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::task::spawn_blocking;
use tracer_hook::{
    annotations::NAME,
    identity::Init,
    missed::{Marker, timestamp},
    protocol::check_id,
};

use super::{Denied, asked, authorise, end, left, watch_init};
use crate::{
    daemon::Shared,
    event::{self, Away},
    identity,
    log::note,
    names::{self, describe},
    node::Admitted,
    registry::Identity,
    report::{Attached, Names, Verdict},
    runtimes::Found,
};

/// A container to be taken in.
struct Candidate {
    info: event::Container,
    annotations: BTreeMap<String, String>,
    runtime: Option<String>,
    init: Init,
    identity: Identity,
    away: Vec<Away>,
}

/// `tracer attach`: registers the container that the word means, a host process id or what a runtime calls it, for that
/// uid (`None` may all).
///
/// # Errors
/// When there is none, it is not the peer's, or it cannot be registered.
pub async fn attach(
    shared: &Arc<Shared>,
    word: String,
    name: Option<String>,
    uid: Option<u32>,
) -> Result<Attached> {
    if let Some(name) = &name {
        check_id(name).context("the name")?;
    }
    let shared = shared.clone();
    let found = {
        let shared = shared.clone();
        spawn_blocking(move || find(&word, uid, &shared)).await??
    };
    take_found(&shared, found, name, uid).await
}

/// Registers a container that an audit found.
///
/// # Errors
/// When it cannot be registered.
pub async fn attach_found(shared: &Arc<Shared>, found: &Found) -> Result<Attached> {
    let init = open(found)?;
    take_found(shared, (Some(found.clone()), found.pid, init), None, None).await
}

async fn take_found(
    shared: &Arc<Shared>,
    (found, pid, init): (Option<Found>, u32, Init),
    name: Option<String>,
    uid: Option<u32>,
) -> Result<Attached> {
    let owner = authorise(&init, uid.unwrap_or(0)).map_err(|Denied(word, text)| {
        shared.quotas.refused(word);
        anyhow!(text)
    })?;
    let identity = identity::of(init.pidfd.as_fd(), init.pid_ns.as_fd(), init.mnt_ns.as_fd())?;
    if let Some((_, info)) = shared.node.registered(identity) {
        return Ok(Attached {
            names: Names::from(&info),
            runtime: found.map(|found| found.runtime.to_owned()),
            pid,
            already: true,
        });
    }
    let (id, mut annotations, runtime, engines) = match found {
        Some(found) => (
            found.id,
            found.annotations,
            Some(found.runtime.to_owned()),
            found.name,
        ),
        None => (
            identity::id_by_cgroup(pid).unwrap_or_else(|| format!("pid-{pid}")),
            BTreeMap::new(),
            None,
            None,
        ),
    };
    if let Some(name) = name {
        // The user's word goes before all others, also when the daemon comes back.
        names::set(&mut annotations, name);
    } else if let Some(name) = engines {
        annotations.entry(NAME.to_owned()).or_insert(name);
    }
    let runtime = names::manager(&annotations).or(runtime);
    let info = describe(&id, &annotations, owner);
    let attached = Attached {
        names: Names::from(&info),
        runtime: runtime.clone(),
        pid,
        already: false,
    };
    let candidate = Candidate {
        info,
        annotations,
        runtime,
        init,
        identity,
        away: Vec::new(),
    };
    take_in(shared, candidate).await?;
    note(&format!(
        "container {id}: attached late; its beginning was missed"
    ));
    Ok(attached)
}

async fn take_in(shared: &Arc<Shared>, candidate: Candidate) -> Result<Admitted> {
    let Candidate {
        info,
        annotations,
        runtime,
        init,
        identity,
        away,
    } = candidate;
    let id = info.id.clone();
    let admitted = {
        let (shared, runtime, away) = (shared.clone(), runtime.clone(), away.clone());
        let options = asked(&id, &annotations, &shared);
        spawn_blocking(move || {
            shared
                .node
                .restore(info, runtime, identity, options, away)
                .inspect_err(|error| shared.quotas.refused(error.word()))
        })
        .await??
    };
    if !admitted.already {
        shared
            .missed
            .note_traced(&id, &annotations, &init, identity.init_tgid, runtime, &away);
        watch_init(init.pidfd, admitted, id, shared);
        shared.changed();
    }
    Ok(admitted)
}

/// The container that a word means, its init's process id, and its init.
fn find(word: &str, uid: Option<u32>, shared: &Shared) -> Result<(Option<Found>, u32, Init)> {
    let sees = |found: &Found| uid.is_none_or(|uid| uid == found.owner);
    let mut running = shared.runtimes().running();
    running.retain(sees);
    if let Ok(task) = word.parse()
        && identity::exists(task)
    {
        let (pid, init) = identity::container_of(task)?;
        let found = running.into_iter().find(|found| found.pid == pid);
        return Ok((found, pid, init));
    }
    let named = |found: &Found| {
        found.id == word
            || found.name.as_deref() == Some(word)
            || describe(&found.id, &found.annotations, found.owner).name == word
    };
    let mut found: Vec<_> = running.iter().filter(|found| named(found)).collect();
    if found.is_empty() && !word.is_empty() {
        found = running
            .iter()
            .filter(|found| found.id.starts_with(word))
            .collect();
    }
    match found.as_slice() {
        [found] => Ok((Some((*found).clone()), found.pid, open(found)?)),
        [] if word.parse::<u32>().is_ok() => bail!(
            "there is no process {word}, and no runtime on this machine runs a container of that name or id"
        ),
        [] => bail!(
            "no runtime on this machine runs a container {word:?}; give the host process id of one of its processes"
        ),
        several => {
            let ids: Vec<_> = several.iter().map(|found| &*found.id).collect();
            bail!("{word:?} may mean {}; give more of the id", ids.join(", "))
        }
    }
}

/// The init that a runtime's state names.
fn open(found: &Found) -> Result<Init> {
    let init = Init::open(found.pid.into())?;
    // Looked at after the descriptors were opened: a number used again meanwhile shows.
    ensure!(
        identity::is_same_process(i32::try_from(found.pid)?, found.pid_start),
        "container {} has just ended",
        found.id
    );
    Ok(init)
}

/// `tracer detach`: lets a container go that runs on; its verdict. Its end is waited for no longer.
///
/// # Errors
/// When it is not traced, or its books cannot be closed.
pub async fn detach(shared: &Arc<Shared>, id: &str) -> Result<Verdict> {
    let not_traced = || format!("container {id} is not traced now; `tracer ps` lists those that are");
    let (admitted, _) = shared.node.admitted(id).with_context(not_traced)?;
    let pid = shared.node.init_of(admitted);
    let verdict = {
        let shared = shared.clone();
        spawn_blocking(move || shared.node.detach(admitted)).await??
    };
    let verdict = verdict.with_context(not_traced)?;
    if let Some(watch) = shared.watches.remove(admitted) {
        watch.abort();
    }
    // Somebody wants it so: no audit shall take it in again.
    if let Some(pid) = pid {
        shared.audit.leave_alone(pid);
    }
    left(id, shared);
    note(&format!("container {id}: detached; it goes on untraced"));
    Ok(verdict)
}

/// Watches over the containers that were taken over from the daemon before, as that one did.
pub async fn resume(shared: &Arc<Shared>) {
    for (admitted, id, pid) in shared.node.taken_over() {
        // The kernel side saw an end that nobody booked; else the process id is still init's, and is when it is asked
        // again with the descriptor in hand.
        let ended = || shared.node.has_ended(admitted.slot).unwrap_or(true);
        match (!ended()).then(|| pidfd(pid)) {
            Some(Ok(pidfd)) if !ended() => watch_init(pidfd, admitted, id, shared),
            _ => end(admitted, &id, shared).await,
        }
    }
}

fn pidfd(pid: u32) -> Result<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("process id 0")?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Takes in what ran while the daemon was away, and says what was missed.
pub async fn attach_missed(shared: &Arc<Shared>) {
    let running = {
        let shared = shared.clone();
        let kept: HashSet<_> = shared
            .node
            .taken_over()
            .into_iter()
            .map(|(_, id, _)| id)
            .collect();
        spawn_blocking(move || shared.missed.collect(&kept)).await
    };
    for running in running.unwrap_or_default() {
        let (marker, mut away) = (running.marker.clone(), running.away.clone());
        if let Some(last) = away.last_mut() {
            // Those before it took their time.
            last.to = timestamp(SystemTime::now());
        }
        shared.missed.taken(&running);
        match restore(shared, running.init, &marker, away.clone()).await {
            // Both a note of the daemon's and somebody's marker may tell of one container.
            Ok(admitted) if admitted.already => {}
            Ok(_) if away.is_empty() => note(&format!(
                "container {}: attached late; its beginning was missed",
                marker.id
            )),
            Ok(_) => {
                let last = away
                    .last()
                    .map_or_else(String::new, |away| format!("{} to {}", away.from, away.to));
                note(&format!(
                    "container {}: traced again; the daemon was away from {last}",
                    marker.id
                ));
            }
            Err(error) => {
                note(&format!("container {}: not attached late: {error:#}", marker.id));
                if !away.is_empty() {
                    shared.missed.forget_traced(&marker.id);
                }
                shared.missed.book(&marker);
            }
        }
    }
}

async fn restore(shared: &Arc<Shared>, init: Init, marker: &Marker, away: Vec<Away>) -> Result<Admitted> {
    let identity = identity::of(init.pidfd.as_fd(), init.pid_ns.as_fd(), init.mnt_ns.as_fd())?;
    let owner = identity::owner_of(init.pid_ns.as_fd()).unwrap_or(0);
    let runtime = marker
        .runtime
        .clone()
        .or_else(|| names::manager(&marker.annotations));
    let candidate = Candidate {
        info: describe(&marker.id, &marker.annotations, owner),
        annotations: marker.annotations.clone(),
        runtime,
        init,
        identity,
        away,
    };
    take_in(shared, candidate).await
}

/// Closes the books of all containers before the daemon goes. They run on; their notes stay, for the next daemon.
pub async fn leave_all(shared: &Arc<Shared>) {
    for (info, _) in shared.node.known().into_iter().filter(|(_, live)| *live) {
        let id = &info.id;
        let Some((admitted, _)) = shared.node.admitted(id) else {
            continue;
        };
        let left = {
            let shared = shared.clone();
            spawn_blocking(move || shared.node.detach(admitted)).await
        };
        if let Err(error) = left.map_err(anyhow::Error::from).and_then(|left| left) {
            note(&format!(
                "container {id}: its books could not be closed: {error:#}"
            ));
        }
    }
    shared.missed.beat();
}
