//! `hook.sock`: takes containers in from hooks, proves the path to each, and takes them out when their init has ended.
//! docs/hook.md has the protocol; the `tracer-hook` crate owns its words.
//!
//! A peer is whoever the kernel says; what it sends is checked before it is believed.

mod late;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, recvmsg, send,
};
use tokio::{
    io::{AsyncWriteExt, Interest, unix::AsyncFd},
    net::{UnixListener, UnixStream, unix::UCred},
    sync::oneshot,
    task::{AbortHandle, spawn_blocking},
    time::{Instant, timeout, timeout_at},
};
use tracer_hook::{
    identity::Init,
    protocol::{self, Lines, REGISTER_FDS, Receipt, Reply, Request},
};

use crate::{
    cli,
    daemon::Shared,
    identity,
    log::note,
    names::{self, describe},
    node::{Admitted, PROOF_TIME, RegisterError, unseen},
    options::{self, Options},
    quota::{self, Connections},
};

pub use late::{attach, attach_found, attach_missed, detach, leave_all, resume};

/// How long a connection may take in all. The hook's own deadline is 1 s.
const CONNECTION_TIME: Duration = Duration::from_secs(2);
/// Connections at one time, in all and of one uid that is not root.
const MAX_CONNECTIONS: usize = 1024;
const MAX_CONNECTIONS_OF_USER: usize = 64;
/// How long poststop's answer waits for a container's end to be booked: half of what the hook waits for it.
const GONE_TIME: Duration = Duration::from_millis(100);
/// Descriptors that containers leave free: hooks still hear why they are refused, and commands are answered.
const SPARE_FDS: u64 = 24;

/// Serves hooks until it is aborted.
pub async fn serve(listener: UnixListener, shared: Arc<Shared>) {
    let connections = Connections::new(MAX_CONNECTIONS, MAX_CONNECTIONS_OF_USER);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors: the connections that are open give theirs back in time.
                note(&format!("hook.sock: {error}"));
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let Ok(peer) = stream.peer_cred() else { continue };
        let Some(place) = connections.take(peer.uid()) else {
            shared.quotas.refused("connections");
            refuse(stream, "too many connections at this time; try again").await;
            continue;
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = connection(stream, peer, &shared).await {
                note(&format!("hook.sock: uid {}: {error:#}", peer.uid()));
            }
        });
    }
}

async fn refuse(mut stream: UnixStream, reason: &str) {
    if let Ok(line) = protocol::encode(&Reply::Refused {
        reason: reason.to_owned(),
    }) {
        // The peer may have gone; the reason was for it.
        let _gone = timeout(Duration::from_millis(100), stream.write_all(&line)).await;
    }
}

/// Reads lines and the descriptors that come with them. The peer has until the deadline; what the daemon does meanwhile
/// is never cut short by it, so that a container that is in is watched, and a proof that began is ended.
struct Receiver {
    stream: Arc<UnixStream>,
    deadline: Instant,
    lines: Lines,
    fds: Vec<OwnedFd>,
    /// Some came for which there was no room.
    cut: bool,
}

impl Receiver {
    /// The next request; `None` at the end of the stream.
    async fn next(&mut self) -> Result<Option<Request>> {
        loop {
            if let Some(line) = self.lines.next_line().context("a message")? {
                return Ok(Some(protocol::parse_request(&line).context("a message")?));
            }
            in_time(self.deadline, self.stream.readable()).await?;
            let mut bytes = [0; 8192];
            let (fds, cut) = (&mut self.fds, &mut self.cut);
            let received = self.stream.try_io(Interest::READABLE, || {
                receive(self.stream.as_fd(), &mut bytes, fds, cut)
            });
            match received {
                Ok(0) => return Ok(None),
                Ok(len) => self.lines.push(bytes.get(..len).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn send(&mut self, reply: &Reply) -> Result<()> {
        let line = protocol::encode(reply)?;
        let mut rest = line.as_slice();
        while !rest.is_empty() {
            in_time(self.deadline, self.stream.writable()).await?;
            match self.stream.try_write(rest) {
                Ok(len) => rest = rest.get(len..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("answer"),
            }
        }
        Ok(())
    }

    async fn refuse(&mut self, reason: String) -> Result<()> {
        self.send(&Reply::Refused {
            reason: reason.clone(),
        })
        .await?;
        bail!("refused: {reason}")
    }
}

async fn in_time(deadline: Instant, what: impl Future<Output = io::Result<()>>) -> Result<()> {
    match timeout_at(deadline, what).await {
        Ok(done) => Ok(done?),
        Err(_elapsed) => bail!("too slow, closed"),
    }
}

/// recvmsg(2) with room for the descriptors of a registration; more than that is cut by the kernel, which closes them, and
/// so is what this process may not open any more.
fn receive(socket: impl AsFd, bytes: &mut [u8], fds: &mut Vec<OwnedFd>, cut: &mut bool) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(REGISTER_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [io::IoSliceMut::new(bytes)];
    let received = recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(given) = message {
            // Only what one registration needs is kept; the rest is closed here.
            fds.extend(given.take(REGISTER_FDS.saturating_sub(fds.len())));
        }
    }
    *cut |= received.flags.contains(ReturnFlags::CTRUNC);
    Ok(received.bytes)
}

async fn connection(stream: UnixStream, peer: UCred, shared: &Arc<Shared>) -> Result<()> {
    let mut receiver = Receiver {
        stream: Arc::new(stream),
        deadline: Instant::now() + CONNECTION_TIME,
        lines: Lines::default(),
        fds: Vec::new(),
        cut: false,
    };
    let request = match receiver.next().await {
        Ok(Some(request)) => request,
        Ok(None) => return Ok(()),
        Err(error) => return receiver.refuse(format!("{error:#}")).await,
    };
    match request {
        Request::Register {
            id,
            annotations,
            late,
            ..
        } => register(receiver, peer, shared, id, annotations, late).await,
        Request::Gone { id, .. } => {
            gone(peer, shared, &id).await;
            receiver.send(&Reply::Ok).await
        }
        Request::Proved { .. } => {
            receiver
                .refuse("no proof was asked for; register first".into())
                .await
        }
    }
}

async fn register(
    mut receiver: Receiver,
    peer: UCred,
    shared: &Arc<Shared>,
    id: String,
    annotations: BTreeMap<String, String>,
    late: bool,
) -> Result<()> {
    let fds = std::mem::take(&mut receiver.fds);
    let few = match fds.last() {
        _ if receiver.cut && fds.len() < REGISTER_FDS => Some(quota::no_descriptors()),
        Some(newest) => quota::out_of_descriptors(newest, SPARE_FDS),
        None => None,
    };
    if let Some(few) = few {
        shared.quotas.refused("descriptors");
        return receiver.refuse(few).await;
    }
    let mut fds = fds.into_iter();
    let (Some(pidfd), Some(pid_ns), Some(mnt_ns)) = (fds.next(), fds.next(), fds.next()) else {
        return receiver
            .refuse("register needs three descriptors: pidfd, PID namespace, mount namespace".into())
            .await;
    };
    let init = Init {
        pidfd,
        pid_ns,
        mnt_ns,
    };
    let owner = match authorise(&init, peer.uid()) {
        Ok(owner) => owner,
        Err(Denied(reason, text)) => {
            shared.quotas.refused(reason);
            return receiver.refuse(text).await;
        }
    };
    let identity = match identity::of(init.pidfd.as_fd(), init.pid_ns.as_fd(), init.mnt_ns.as_fd()) {
        Ok(identity) => identity,
        Err(error) => return receiver.refuse(format!("{error:#}")).await,
    };
    let Some(hook) = peer
        .pid()
        .and_then(|pid| u32::try_from(pid).ok())
        .filter(|pid| *pid != 0)
    else {
        return receiver
            .refuse(
                "the hook's process cannot be seen from here: it must not be in another PID namespace".into(),
            )
            .await;
    };
    let info = describe(&id, &annotations, owner);
    let options = asked(&id, &annotations, shared);
    // Who registers late is not the runtime's child.
    let runtime = runtime_of((!late).then_some(hook), &annotations);
    let (seen, proof_seen) = oneshot::channel();
    let registered = spawn_blocking({
        let (shared, stream, id) = (shared.clone(), receiver.stream.clone(), id.clone());
        // All of it at a stretch: the hook waits for each thread that is woken.
        move || {
            let admitted = shared
                .node
                .register(info, runtime.clone(), identity, late, options)?;
            if admitted.already {
                return Ok((admitted, None, init));
            }
            let proof = shared.node.begin_proof(admitted.slot, hook, move || {
                // Whoever waited may have given up.
                let _gone = seen.send(());
            });
            let challenged = proof.and_then(|proof| {
                if let Err(error) = challenge(&stream, proof.nonce) {
                    shared.node.dismiss(&proof)?;
                    return Err(error);
                }
                Ok(proof)
            });
            // While the hook proves.
            shared
                .missed
                .note_traced(&id, &annotations, &init, identity.init_tgid, runtime, &[]);
            // By now it has, as a rule.
            shared.node.look_for_proof();
            Ok::<_, RegisterError>((admitted, Some(challenged), init))
        }
    });
    let (admitted, challenged, init) = match registered.await? {
        Ok(registered) => registered,
        Err(error) => {
            shared.quotas.refused(error.word());
            return receiver.refuse(error.to_string()).await;
        }
    };
    let armed_at_ns = shared.node.armed_at(admitted.slot).unwrap_or(0);
    let Some(challenged) = challenged else {
        let receipt = Receipt {
            armed_at_ns,
            round_trip_ns: 0,
            already: true,
        };
        return receiver.send(&Reply::Ready { receipt }).await;
    };
    watch_init(init.pidfd, admitted, id, shared);
    shared.changed();
    let proof = match challenged {
        Ok(proof) => proof,
        Err(error) => return unproved(&mut receiver, &error).await,
    };
    let told = match prove(&mut receiver, proof_seen, shared).await {
        Ok(()) => {
            let receipt = Receipt {
                armed_at_ns,
                round_trip_ns: proof.round_trip_ns(),
                already: false,
            };
            let told = receiver.send(&Reply::Ready { receipt }).await;
            shared.node.book_proof(&proof).and(told)
        }
        Err(error) => unproved(&mut receiver, &error).await,
    };
    let shared = shared.clone();
    // The hook has its answer: it need not wait for this.
    spawn_blocking(move || {
        if let Err(error) = shared.node.dismiss(&proof) {
            note(&format!("a proof could not be ended: {error:#}"));
        }
    });
    told
}

/// Has the hook make the call of the proof.
fn challenge(stream: &UnixStream, nonce: u64) -> Result<()> {
    let line = protocol::encode(&Reply::Challenge { nonce })?;
    // Nothing was sent before: there is room for all of it, whether the runtime has heard so or not.
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let sent = send(stream.as_fd(), &line, flags).context("send the challenge")?;
    ensure!(sent == line.len(), "the challenge could not be sent whole");
    Ok(())
}

/// Waits until the hook has proved the path.
async fn prove(receiver: &mut Receiver, seen: oneshot::Receiver<()>, shared: &Shared) -> Result<()> {
    match receiver.next().await? {
        Some(Request::Proved { .. }) => {}
        Some(_) => bail!("another message than proved"),
        None => bail!("the hook has gone"),
    }
    if seen.is_empty() {
        shared.node.look_for_proof();
    }
    match timeout(PROOF_TIME, seen).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(unseen()),
    }
}

/// It stays in and says that it is unproved: to trace what can be traced helps more than to drop it.
async fn unproved(receiver: &mut Receiver, error: &anyhow::Error) -> Result<()> {
    receiver
        .refuse(format!("the proof round failed: {error:#}"))
        .await
}

/// Why a peer may not register: the word that it is counted by, and the sentence that it gets.
struct Denied(&'static str, String);

/// Section "Security" of docs/hook.md: a pidfd proves nothing, so a peer that is not root must own the user namespace
/// that the container's PID namespace belongs to. Returns the uid that the container is booked under.
fn authorise(init: &Init, uid: u32) -> Result<u32, Denied> {
    if tracer_hook::identity::has_ended(&init.pidfd) {
        return Err(Denied("ended", "the container's process has ended".into()));
    }
    let owner = identity::owner_of(init.pid_ns.as_fd());
    if uid == 0 {
        return Ok(owner.unwrap_or(0));
    }
    let not_of = |what: &str| {
        let text = format!("uid {uid} does not own the user namespace of the container's {what} namespace");
        Denied("not_owner", text)
    };
    if owner != Some(uid) {
        return Err(not_of("PID"));
    }
    if identity::owner_of(init.mnt_ns.as_fd()).is_some_and(|owner| owner != uid) {
        return Err(not_of("mount"));
    }
    Ok(uid)
}

/// The tasks that wait for the containers' ends, by slot: each holds its container's pidfd.
#[derive(Debug, Default)]
pub struct Watches(Mutex<HashMap<u32, (u32, AbortHandle)>>);

impl Watches {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u32, (u32, AbortHandle)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, admitted: Admitted, task: AbortHandle) {
        self.lock().insert(admitted.slot, (admitted.generation, task));
    }

    /// Ends them all: from here on nobody books an end.
    pub fn end(&self) {
        for (_, (_, task)) in self.lock().drain() {
            task.abort();
        }
    }

    fn remove(&self, admitted: Admitted) -> Option<AbortHandle> {
        let mut watches = self.lock();
        watches
            .get(&admitted.slot)
            .filter(|(generation, _)| *generation == admitted.generation)?;
        watches.remove(&admitted.slot).map(|(_, task)| task)
    }
}

/// Ends the container when its init has: a pidfd is readable from then on.
fn watch_init(pidfd: OwnedFd, admitted: Admitted, id: String, shared: &Arc<Shared>) {
    let task = tokio::spawn({
        let shared = shared.clone();
        async move {
            // SAFETY: the descriptor is owned by the value that is registered, and closed only after it.
            let watched = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
            let readable = match &watched {
                Ok(pidfd) => pidfd
                    .readable()
                    .await
                    .map(drop)
                    .map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = readable {
                return note(&format!("container {id}: its end cannot be watched: {error}"));
            }
            end(admitted, &id, &shared).await;
        }
    });
    shared.watches.add(admitted, task.abort_handle());
}

/// Books a container's end, whoever saw it first. A task of its own: a hook's connection may be out of time meanwhile,
/// and that the books are closed must not be lost on those who wait for it.
async fn end(admitted: Admitted, id: &str, shared: &Arc<Shared>) {
    let (id, shared) = (id.to_owned(), shared.clone());
    let booking = tokio::spawn(async move {
        let ended = {
            let shared = shared.clone();
            spawn_blocking(move || shared.node.end(admitted)).await
        };
        match ended.map_err(anyhow::Error::from).and_then(|ended| ended) {
            Ok(Some(_verdict)) => left(&id, &shared),
            Ok(None) => {}
            Err(error) => note(&format!("container {id}: its end could not be booked: {error:#}")),
        }
        // It may be its own watch that called: it ends by itself.
        let _ending = shared.watches.remove(admitted);
    });
    // It ends before us only with the daemon.
    let _stopped = booking.await;
}

/// A container is in no longer.
fn left(id: &str, shared: &Arc<Shared>) {
    // Another of the same id may have come already, and has its note there.
    if shared.node.admitted(id).is_none() {
        shared.missed.forget_traced(id);
    }
    shared.changed();
    tokio::spawn(detach_later(shared.clone()));
}

async fn detach_later(shared: Arc<Shared>) {
    let linger = shared.config.borrow().daemon.linger.0;
    tokio::time::sleep(linger).await;
    let detached = spawn_blocking(move || shared.node.detach_if_idle()).await;
    if let Err(error) = detached {
        note(&format!("the programs could not be detached: {error}"));
    }
}

/// Poststop: only root and who registered the container may say so.
async fn gone(peer: UCred, shared: &Arc<Shared>, id: &str) {
    if let Some((admitted, owner)) = shared.node.admitted(id)
        && (peer.uid() == 0 || peer.uid() == owner)
    {
        // Its watch may be booking the end at this moment, and must come to tell of it; else it finds the end booked. The
        // booking goes on where it takes longer than the runtime is to wait.
        let _booked = timeout(GONE_TIME, end(admitted, id, shared)).await;
    }
}

/// What the container asks for by annotation; what is ignored of it is said here too.
fn asked(id: &str, annotations: &BTreeMap<String, String>, shared: &Shared) -> Options {
    let options = options::read(annotations, &shared.config.borrow().policy(), cli::filter_words);
    for warning in &options.warnings {
        note(&format!("container {id}: {warning}"));
    }
    options
}

/// Who runs the container: its manager by its annotations, else the hook's parent.
fn runtime_of(hook: Option<u32>, annotations: &BTreeMap<String, String>) -> Option<String> {
    names::manager(annotations).or_else(|| identity::parent_name(hook?))
}
