//! `control.sock`: answers the command line. One request, a JSON line; one answer, a JSON line; for `tail`, then
//! frames of rendered lines until a closing frame and a last line with the subscriber's books.
//!
//! Root and group tracer see all; any other uid sees only the containers that it owns, through `user.sock`, which
//! answers what changes nothing.

mod subscriber;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf, UCred},
    },
    task::spawn_blocking,
    time::timeout,
};

use crate::{
    daemon::{self, Shared},
    decode, event,
    filter::{self, Filter},
    identity,
    log::note,
    node::Node,
    observe::Observed,
    pipeline::Dump,
    quota::{self, Connections},
    recording::{Draft, Kept, Summary},
    registration,
    report::{Audited, Line, State, activity::Activity, explained},
    selector::Selector,
    sinks::{Format, Output, Phases, Selection, text::TextOptions, tree::Tree},
};

use subscriber::Subscriber;

/// Longest request.
pub const MAX_REQUEST: u64 = 64 * 1024;
/// How long a client may take to say what it wants.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// Connections to `user.sock` at one time, in all and of one uid that is not root.
const MAX_USERS: usize = 256;
const MAX_OF_USER: usize = 16;
/// Descriptors that clients leave free: a further one still hears why it is refused.
const SPARE_FDS: u64 = 8;
/// How long a subscriber may take nothing before it is given up.
const STALL: Duration = Duration::from_secs(60);

/// What a client asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum Request {
    Status,
    Ps {
        #[serde(default)]
        select: Selector,
    },
    /// What all containers did until now, at once.
    Top {
        #[serde(default)]
        select: Selector,
        #[serde(default)]
        phases: Phases,
    },
    Verify {
        container: String,
    },
    Stats {
        container: String,
        #[serde(default)]
        phases: Phases,
    },
    /// Why calls failed: as text so, else as JSON.
    Explain {
        container: String,
        #[serde(default)]
        text: Option<TextOptions>,
    },
    /// What a profile is made from beside the counts.
    Arguments {
        container: String,
    },
    /// Path look-ups that found nothing.
    Lookups {
        container: String,
    },
    /// Which capabilities the kernel asked it for.
    Caps {
        container: String,
    },
    Tail(Tail),
    /// What is held of it, as blocks of a recording.
    Dump {
        container: String,
    },
    /// The flight recorder's dumps.
    Dumps,
    /// Registers a container that runs already.
    Attach {
        /// A host process id, or what a runtime calls it.
        container: String,
        #[serde(default)]
        name: Option<String>,
    },
    /// Ends the tracing of a container that goes on.
    Detach {
        container: String,
    },
    /// Looks for containers that ask to be traced and are not.
    Audit,
}

/// What a subscriber wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tail {
    /// Which containers.
    #[serde(default)]
    pub select: Selector,
    pub phases: Phases,
    pub json: bool,
    /// The processes at the end, instead of events.
    #[serde(default)]
    pub tree: bool,
    /// Blocks of a recording, instead of lines. Who has heard enough says so by ending its side, and gets the rest.
    #[serde(default)]
    pub recording: bool,
    pub text: TextOptions,
    /// First what is still held.
    pub since_start: bool,
    /// End when they are gone.
    pub until_gone: bool,
    /// Which calls.
    #[serde(default)]
    pub filter: filter::Words,
    /// Also why they failed.
    #[serde(default)]
    pub explain: bool,
}

/// How a subscription ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Calls that this subscriber's queue had no room for.
    pub dropped: u64,
    /// Calls of its containers that reached no sink.
    pub lost: u64,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer<T> {
    Ok(T),
    Error(String),
}

/// Which socket a client came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `control.sock`, for root and group tracer.
    Control,
    /// `user.sock`, for everybody.
    User,
}

impl Door {
    const fn socket(self) -> &'static str {
        match self {
            Self::Control => "control.sock",
            Self::User => "user.sock",
        }
    }

    /// The uid whose containers the peer sees; `None` sees all.
    fn sees(self, peer: UCred) -> Option<u32> {
        let all = match self {
            Self::Control => peer.uid() == 0 || in_group(peer.uid(), peer.gid()),
            // Whoever is in the group may use the other door, and no stranger makes us ask who is.
            Self::User => peer.uid() == 0,
        };
        (!all).then(|| peer.uid())
    }

    /// Whether that may be asked through it. What is new must be thought of here.
    const fn takes(self, request: &Request) -> bool {
        match (self, request) {
            (Self::Control, _) => true,
            (
                Self::User,
                Request::Status
                | Request::Ps { .. }
                | Request::Top { .. }
                | Request::Verify { .. }
                | Request::Stats { .. }
                | Request::Explain { .. }
                | Request::Arguments { .. }
                | Request::Lookups { .. }
                | Request::Caps { .. }
                | Request::Dump { .. }
                | Request::Dumps
                | Request::Tail(_),
            ) => true,
            // The first two change what is traced, and an audit looks through all users' containers.
            (Self::User, Request::Attach { .. } | Request::Detach { .. } | Request::Audit) => false,
        }
    }
}

/// Serves clients until it is aborted.
pub async fn serve(listener: UnixListener, door: Door, shared: Arc<Shared>) {
    let (all, of_user) = match door {
        Door::Control => (usize::MAX, usize::MAX),
        Door::User => (MAX_USERS, MAX_OF_USER),
    };
    let connections = Connections::new(all, of_user);
    loop {
        let mut stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                note(&format!("{}: {error}", door.socket()));
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let Ok(peer) = stream.peer_cred() else { continue };
        let place = connections.take(peer.uid());
        let full = match &place {
            None => Some((
                "connections",
                "too many connections at this time; end a tail, or try again".to_owned(),
            )),
            Some(_) => quota::out_of_descriptors(&stream, SPARE_FDS).map(|few| ("descriptors", few)),
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            let _place = place;
            if let Some((reason, why)) = full {
                shared.quotas.refused(reason);
                let full = Answer::<()>::Error(why);
                // The peer may have gone; the reason was for it.
                let _gone = timeout(Duration::from_millis(100), say(&mut stream, &full)).await;
                return;
            }
            if let Err(error) = connection(stream, peer, door, shared).await
                && !crate::node::is_broken_pipe(&error)
            {
                note(&format!("{}: {error:#}", door.socket()));
            }
        });
    }
}

async fn connection(stream: UnixStream, peer: UCred, door: Door, shared: Arc<Shared>) -> Result<()> {
    let sees = door.sees(peer);
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(read.take(MAX_REQUEST));
    timeout(REQUEST_TIME, reader.read_until(b'\n', &mut line))
        .await
        .context("no request came")??;
    let request = match serde_json::from_slice(&line) {
        Ok(request) => request,
        Err(error) => {
            let answer =
                format!("the request is not understood ({error}); are client and daemon of one version?");
            return say(&mut write, &Answer::<()>::Error(answer)).await;
        }
    };
    if !door.takes(&request) {
        let answer = format!(
            "{} serves no such request: only root and group tracer may make it, through control.sock",
            door.socket()
        );
        return say(&mut write, &Answer::<()>::Error(answer)).await;
    }
    match request {
        Request::Status => {
            let audited = audited(&shared, sees).await;
            let status = blocking(&shared, move |node| node.status(sees)).await;
            let status = status.and_then(|mut status| {
                status.unregistered = audited?.unregistered;
                status.tracer_unregistered_containers = status.unregistered.len();
                if sees.is_none() {
                    status.missed = shared.missed.lines().len();
                    status.refused = shared.quotas.refusals();
                    status.sinks = shared.sinks.status();
                }
                Ok(status)
            });
            answer(&mut write, status).await
        }
        Request::Attach { container, name } => {
            let attached = registration::attach(&shared, container, name, sees).await;
            answer(&mut write, attached).await
        }
        Request::Detach { container } => {
            let verdict = match one(&shared.node, &container, sees) {
                Ok(id) => registration::detach(&shared, &id).await,
                Err(error) => Err(error),
            };
            answer(&mut write, verdict).await
        }
        Request::Audit => {
            let audited = audited(&shared, sees).await;
            answer(&mut write, audited).await
        }
        Request::Top { select, phases } => {
            let missed = missed(&shared, sees, &select);
            let selection = Selection {
                select,
                phases,
                visible_to: sees,
                ..Selection::default()
            };
            let looked = blocking(&shared, move |node| node.activities(&selection)).await;
            let looked = looked.map(|mut looked| {
                looked
                    .containers
                    .extend(missed.into_iter().map(Activity::nothing));
                looked
            });
            answer(&mut write, looked).await
        }
        Request::Ps { select } => {
            let missed = missed(&shared, sees, &select);
            let selection = Selection {
                select,
                visible_to: sees,
                ..Selection::default()
            };
            let lines = blocking(&shared, move |node| node.list(&selection)).await;
            answer(
                &mut write,
                lines.map(|lines| missed.into_iter().chain(lines).collect::<Vec<_>>()),
            )
            .await
        }
        Request::Verify { container } => {
            let word = container.clone();
            let verdict = blocking(&shared, move |node| {
                let id = one(node, &container, sees)?;
                node.verify(&id)?
                    .with_context(|| format!("container {id} has just gone"))
            });
            answer(&mut write, or_missed(&shared, &word, sees, verdict.await)).await
        }
        Request::Stats { container, phases } => {
            let word = container.clone();
            let stats = blocking(&shared, move |node| {
                let id = one(node, &container, sees)?;
                node.stats(&id, phases)?
                    .with_context(|| format!("container {id} has just gone"))
            });
            answer(&mut write, or_missed(&shared, &word, sees, stats.await)).await
        }
        Request::Arguments { container } => {
            let seen = blocking(&shared, move |node| {
                let id = one(node, &container, sees)?;
                node.observed(&id, Observed::arguments)?
                    .with_context(|| format!("container {id} has just gone"))
            });
            answer(&mut write, seen.await).await
        }
        Request::Lookups { container } => {
            let seen = blocking(&shared, move |node| {
                let id = one(node, &container, sees)?;
                let seen = node.observed(&id, Observed::lookups)?;
                let mut seen = seen.with_context(|| format!("container {id} has just gone"))?;
                let mut begins = false;
                if seen.state == State::Live {
                    // Those of the whole node, which everybody may read.
                    seen.seen.negative.ended = identity::negative_dentries();
                    let (detail, new) = node.watch_dentries();
                    seen.seen.detail = Some(detail);
                    begins = new;
                }
                Ok((seen, begins))
            });
            let seen = seen.await.map(|(seen, begins)| {
                if begins {
                    tokio::spawn(unwatch_later(shared.clone()));
                }
                seen
            });
            answer(&mut write, seen).await
        }
        Request::Explain { container, text } => {
            let explained = blocking(&shared, move |node| {
                let id = one(node, &container, sees)?;
                let (explanation, verdict) = node
                    .explain(&id)?
                    .with_context(|| format!("container {id} has just gone"))?;
                Ok(explained::render(&explanation, (&verdict).into(), text.as_ref()))
            });
            answer(&mut write, explained.await).await
        }
        Request::Caps { container } => {
            let capabilities = blocking(&shared, move |node| {
                let id = one(node, &container, sees)?;
                node.capabilities(&id)?
                    .with_context(|| format!("container {id} has just gone"))
            });
            answer(&mut write, capabilities.await).await
        }
        Request::Dump { container } => {
            let dump = blocking(&shared, move |node| {
                let id = one(node, &container, sees)?;
                node.dump(&id)?
                    .with_context(|| format!("nothing is held of container {id} any more"))
            });
            recorded(&mut write, dump.await, &shared).await
        }
        Request::Dumps => {
            let shared = shared.clone();
            let kept = spawn_blocking(move || match &shared.dumps {
                Some(dumps) => dumps.list(),
                None => Ok(Vec::new()),
            })
            .await?;
            let own = |kept: &Kept| sees.is_none_or(|uid| uid == kept.owner);
            answer(
                &mut write,
                kept.map(|kept| kept.into_iter().filter(own).collect::<Vec<_>>()),
            )
            .await
        }
        Request::Tail(tail) => subscribe(write, reader.into_inner().into_inner(), tail, sees, shared).await,
    }
}

/// The containers that were missed. Nobody but root owns them.
fn missed(shared: &Shared, sees: Option<u32>, select: &Selector) -> Vec<Line> {
    let mut missed = shared.missed.lines();
    missed.retain(|line| sees.is_none() && select.takes(&line.names.clone().into()));
    missed
}

/// What an audit finds now. What is not registered has no owner yet: only who sees all sees it.
async fn audited(shared: &Arc<Shared>, sees: Option<u32>) -> Result<Audited> {
    if sees.is_some() {
        return Ok(Audited::default());
    }
    daemon::audit_now(shared).await
}

/// Whether the peer is in group tracer, by its own group or by the group's members.
fn in_group(uid: u32, gid: u32) -> bool {
    let Ok(Some(group)) = nix::unistd::Group::from_name("tracer") else {
        return false;
    };
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
    group.gid.as_raw() == gid || user.is_some_and(|user| group.mem.contains(&user.name))
}

/// The kernel's look-ups are watched until nobody has asked for a while.
async fn unwatch_later(shared: Arc<Shared>) {
    let mut left = Some(Duration::ZERO);
    while let Some(pause) = left {
        tokio::time::sleep(pause).await;
        left = blocking(&shared, |node| Ok(node.unwatch_dentries()))
            .await
            .unwrap_or_default();
    }
}

async fn blocking<T: Send + 'static>(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Node) -> Result<T> + Send + 'static,
) -> Result<T> {
    let shared = shared.clone();
    spawn_blocking(move || work(&shared.node)).await?
}

async fn say<T: Serialize>(to: &mut (impl AsyncWriteExt + Unpin), answer: &Answer<T>) -> Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    Ok(to.write_all(&line).await?)
}

async fn answer<T: Serialize>(to: &mut (impl AsyncWriteExt + Unpin), result: Result<T>) -> Result<()> {
    let answer = match result {
        Ok(value) => Answer::Ok(value),
        Err(error) => Answer::Error(format!("{error:#}")),
    };
    say(to, &answer).await
}

/// The one container that a word means; of several with one id, the newest.
fn one(node: &Node, word: &str, sees: Option<u32>) -> Result<String> {
    let mut found = node.find(word, sees);
    found.sort();
    found.dedup_by(|a, b| a.0 == b.0);
    match found.as_slice() {
        [(id, _)] => Ok(id.clone()),
        [] => bail!("no container {word:?} is known; `tracer ps` lists them"),
        several => {
            let ids: Vec<_> = several.iter().map(|(id, _)| id.as_str()).collect();
            bail!("{word:?} may mean {}; give more of the id", ids.join(", "))
        }
    }
}

/// The same; but where nothing is known of a container because it was missed, that is the answer.
fn or_missed<T>(shared: &Shared, word: &str, sees: Option<u32>, result: Result<T>) -> Result<T> {
    let Err(error) = result else {
        return result;
    };
    if sees.is_some() || !shared.node.find(word, sees).is_empty() {
        return Err(error);
    }
    let lines = shared.missed.lines();
    let of_it = |line: &&Line| event::Container::from(line.names.clone()).is_meant_by(word);
    match lines.iter().rfind(of_it) {
        Some(line) => bail!(
            "container {} was missed, so nothing of it was traced: {}",
            line.names.id,
            line.reason.as_deref().unwrap_or("no reason is known")
        ),
        None => Err(error),
    }
}

async fn subscribe(
    mut write: OwnedWriteHalf,
    mut read: OwnedReadHalf,
    tail: Tail,
    sees: Option<u32>,
    shared: Arc<Shared>,
) -> Result<()> {
    let unknown = waits_for(&shared, &tail.select, sees);
    let filter = match Filter::new(&tail.filter, decode::Options::native().arch) {
        Ok(filter) => filter,
        Err(error) => return say(&mut write, &Answer::<()>::Error(error)).await,
    };
    let mut changes = shared.changes.subscribe();
    let (subscriber, mut chunks) = Subscriber::new(shared.quotas.room(sees));
    let id = shared.node.output_id();
    let selection = Selection {
        phases: tail.phases,
        select: tail.select.clone(),
        visible_to: sees,
        filter,
        explain: tail.explain,
        ..Selection::default()
    };
    let records = tail.recording;
    let format = match (tail.json, tail.tree) {
        _ if records => {
            let draft = Draft::new(shared.node.origin());
            Format::Recording(Box::new(draft), tail.text.descriptors)
        }
        (_, true) => Format::Tree(Tree::default()),
        (true, _) => Format::Json(tail.text.descriptors),
        _ => Format::Text(tail.text),
    };
    let output = Output::new(
        id,
        format!("tail-{id}"),
        selection.clone(),
        format,
        Box::new(subscriber),
    );
    shared.node.open(output, tail.since_start)?;
    if let Err(error) = say(&mut write, &Answer::Ok(unknown)).await {
        // What it asked for must not outlive it: it decides what the kernel side lets pass.
        spawn_blocking(move || shared.node.close(id)).await??;
        return Err(error);
    }

    let mut seen = Vec::new();
    let followed: Result<bool> = async {
        while !(tail.until_gone && all_gone(&shared, &selection, &mut seen)) {
            tokio::select! {
                chunk = chunks.recv() => match chunk {
                    Some(chunk) => frame(&mut write, &chunk.lines).await?,
                    None => return Ok(false),
                },
                _ = changes.changed(), if tail.until_gone => {}
                () = closed(&mut read) => return Ok(records),
            }
        }
        Ok(true)
    }
    .await;
    let (mut dropped, mut lost) = (0, 0);
    if followed.as_ref().is_ok_and(|goes_on| *goes_on) {
        // Ended by its client: of containers that live.
        all_gone(&shared, &selection, &mut seen);
        for container in seen {
            if let Some(verdict) = blocking(&shared, move |node| node.verify(&container)).await? {
                lost += verdict.lost;
                let name = format!("tail-{id}");
                dropped += verdict
                    .sinks
                    .iter()
                    .find(|sink| sink.name == name)
                    .map_or(0, |sink| sink.dropped);
            }
        }
    }
    // Closing flushes: what is in the queue is then all there is, and the channel ends behind it.
    blocking(&shared, move |node| node.close(id)).await?;
    if !followed? {
        return Ok(());
    }
    while let Some(chunk) = chunks.recv().await {
        frame(&mut write, &chunk.lines).await?;
    }
    write.write_all(&0u32.to_le_bytes()).await?;
    say(&mut write, &Answer::Ok(Ended { dropped, lost })).await
}

/// Resolves when the client has gone: it says nothing more, so what can be read is its end.
async fn closed(read: &mut OwnedReadHalf) {
    let mut rest = [0; 64];
    while read.read(&mut rest).await.is_ok_and(|len| len > 0) {}
}

async fn frame(write: &mut OwnedWriteHalf, lines: &[u8]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let write_all = async {
        write.write_all(&(lines.len() as u32).to_le_bytes()).await?;
        write.write_all(lines).await
    };
    Ok(timeout(STALL, write_all)
        .await
        .context("the client takes nothing")??)
}

/// Sends what is held of a container, with its books and counts, as blocks of a recording.
async fn recorded(write: &mut OwnedWriteHalf, dump: Result<(Dump, Summary)>, shared: &Shared) -> Result<()> {
    let (Dump { info, blocks }, summary) = match dump {
        Ok(dump) => dump,
        Err(error) => return say(write, &Answer::<()>::Error(format!("{error:#}"))).await,
    };
    say(write, &Answer::Ok(())).await?;
    for block in blocks {
        frame(write, &block).await?;
    }
    let mut last = Vec::new();
    let mut draft = Draft::new(shared.node.origin());
    draft.summary(&info, &summary);
    draft.close(&mut last);
    frame(write, &last).await?;
    Ok(write.write_all(&0u32.to_le_bytes()).await?)
}

/// What no container answers to yet: each word, and the rest of the selector as one.
fn waits_for(shared: &Shared, select: &Selector, sees: Option<u32>) -> Vec<String> {
    let mut unknown: Vec<_> = select
        .words
        .iter()
        .filter(|word| shared.node.find(word, sees).is_empty())
        .cloned()
        .collect();
    let visible = |owner: u32| sees.is_none_or(|uid| uid == owner);
    let mut known = shared.node.known().into_iter();
    if select.is_by_names() && !known.any(|(info, _)| visible(info.owner) && select.takes(&info)) {
        unknown.push(select.to_string());
    }
    unknown
}

/// Whether containers that the tail means have been there and all of them are gone; gathers their ids.
fn all_gone(shared: &Shared, selection: &Selection, seen: &mut Vec<String>) -> bool {
    let words = &selection.select.words;
    let mut met = vec![false; words.len()];
    let mut live = false;
    for (info, lives) in shared.node.known() {
        if !selection.takes_container(&info) {
            continue;
        }
        for (word, met) in words.iter().zip(&mut met) {
            *met |= info.is_meant_by(word);
        }
        live |= lives;
        if !seen.contains(&info.id) {
            seen.push(info.id.clone());
        }
    }
    !live && !seen.is_empty() && met.iter().all(|met| *met)
}
