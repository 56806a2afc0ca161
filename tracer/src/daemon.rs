//! The node daemon: puts node and sockets together, in this order: one daemon a directory, node, what was missed, the
//! sockets, ready. Ends in reverse: sockets, containers, ring, sinks.
//!
//! It is the one place that knows all stages, and decides nothing itself.

mod audit;
mod handover;
mod metrics;
mod recorder;
mod reload;
mod rights;
mod sinks;
mod watchdog;

use std::{
    fs,
    os::{
        fd::FromRawFd,
        unix::{
            fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
            net::UnixListener as StdListener,
        },
    },
    path::{Path, PathBuf},
    sync::{Arc, mpsc::sync_channel},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::{
    fs::{FlockOperation, Mode, fchmod, flock},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use tokio::{
    net::UnixListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use crate::{
    audit::Audit,
    config::Config,
    control::{self, Door},
    decode,
    log::note,
    missed::Missed,
    node::{self, Node, Predecessor},
    pipeline::Watch,
    quota::Quotas,
    recording::{Bounds, Dumps},
    registration,
    runtimes::Runtimes,
    source::kernel,
};

pub(crate) use audit::now as audit_now;
pub use sinks::Sinks;

/// Reasons for a dump that wait to be heard.
const TRIGGERS: usize = 64;
/// Files that a daemon opens with a few containers and clients; with fewer allowed it would fail at some later moment.
const LEAST_FILES: u64 = 128;
/// Between two signs of life while containers are traced.
const BEAT: Duration = Duration::from_secs(1);

/// How to run the daemon.
pub struct Settings {
    pub runtime_dir: PathBuf,
    /// Reads the configuration: at the start, and again when it is asked for.
    pub load: Box<dyn Fn() -> Result<Config>>,
}

/// What all sockets serve from.
pub struct Shared {
    pub node: Node,
    pub missed: Missed,
    /// What holds now.
    pub config: watch::Sender<Config>,
    pub sinks: Sinks,
    pub quotas: Quotas,
    pub watches: registration::Watches,
    pub audit: Audit,
    /// Where dumps are kept, if any are made.
    pub dumps: Option<Dumps>,
    auditing: tokio::sync::Mutex<()>,
    /// Changes whenever a container comes or goes.
    pub changes: watch::Sender<u64>,
}

impl Shared {
    /// Tells all who wait that a container came or went.
    pub fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Where runtimes keep their states.
    pub fn runtimes(&self) -> Runtimes {
        Runtimes {
            extra: self.config.borrow().audit.runtime_state.clone(),
        }
    }
}

/// What the node is told of the configuration.
fn node_settings(config: &Config, watch: Option<Watch>) -> node::Settings {
    node::Settings {
        kernel: kernel::Options {
            // A larger one is not read.
            ring_bytes: u32::try_from(config.daemon.ring_size.0).unwrap_or(u32::MAX),
            ..kernel::Options::default()
        },
        decode: decode::Options {
            limits: decode::Limits {
                string: config.daemon.string_limit,
                ..decode::Limits::default()
            },
            ..decode::Options::native()
        },
        mode: config.daemon.mode.into(),
        hold: Some(Bounds {
            bytes: config.flight_recorder.bytes.count(),
            time: (!config.flight_recorder.time.0.is_zero()).then_some(config.flight_recorder.time.0),
            all: config.flight_recorder.total.count(),
        }),
        watch,
        limits: (&config.users).into(),
        explain: true,
        lossless: config.annotations.options.lossless(),
    }
}

/// Runs until SIGTERM or SIGINT; SIGHUP reads the configuration again.
///
/// # Errors
/// A set-up error, with what to do next.
pub fn run(settings: &Settings) -> Result<()> {
    rights::keep_few()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    // One that comes before all is ready is not the end.
    let hangup = {
        let _within = runtime.enter();
        signal(SignalKind::hangup()).context("watch SIGHUP")?
    };
    let config = (settings.load)()?;
    allow_files()?;
    let directory = &settings.runtime_dir;
    // Whatever the umask: nobody else ever writes there.
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)
        .with_context(|| format!("make {}", directory.display()))?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("set the mode of {}", directory.display()))?;
    let only = only_one(directory)?;
    let before = predecessor().unwrap_or_else(|error| {
        note(&format!("{error:#}; what it traced is traced anew"));
        None
    });
    let recorder = &config.flight_recorder;
    let dumps = match config.dump_on().is_empty() {
        true => None,
        false => Some(Dumps::open(
            &recorder.dump_dir,
            recorder.dump_bytes.0,
            group_id("tracer"),
        )?),
    };
    let (to, triggers) = sync_channel(TRIGGERS);
    let watch = dumps.is_some().then(|| Watch {
        on: recorder.dump_on.clone(),
        to,
    });
    // The pipeline alone keeps the triggers' other end.
    let (node, threads) = Node::start(&node_settings(&config, watch), before)?;
    let missed = Missed::new(directory, only).context("read the last sign of life")?;
    let sinks = Sinks::default();
    // Before the ring is read: they miss nothing.
    sinks.set(&node, &config.sinks)?;
    let shared = Arc::new(Shared {
        node,
        missed,
        quotas: Quotas::new((&config.users).into()),
        config: watch::Sender::new(config),
        sinks,
        watches: registration::Watches::default(),
        audit: Audit::default(),
        dumps: dumps.clone(),
        auditing: tokio::sync::Mutex::new(()),
        changes: watch::Sender::new(0),
    });
    let recorder = match dumps {
        Some(dumps) => Some(recorder::start(triggers, Arc::downgrade(&shared), dumps)?),
        None => None,
    };
    let result = runtime.block_on(serve(settings, &shared, hangup));
    // Tasks hold the node; they end with the runtime.
    runtime.shutdown_timeout(Duration::from_secs(2));
    match Arc::try_unwrap(shared) {
        Ok(Shared { node, sinks, .. }) => {
            drop(node);
            threads.join();
            sinks.end();
            if let Some(recorder) = recorder {
                // A panic there has been printed by its thread.
                let _panicked = recorder.join();
            }
        }
        Err(_held) => note("a client still holds on; leaving without draining the ring"),
    }
    result
}

async fn serve(settings: &Settings, shared: &Arc<Shared>, mut hangup: Signal) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("watch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watch SIGINT")?;
    let directory = &settings.runtime_dir;
    let (hook, own_hook) = listener(directory, "hook.sock", 0o666, None)?;
    let (control, own_control) = listener(directory, "control.sock", 0o660, group_id("tracer"))?;
    let (user, own_user) = listener(directory, "user.sock", 0o666, None)?;
    shared.node.begin();
    registration::resume(shared).await;
    registration::attach_missed(shared).await;
    shared.missed.beat();
    let beats = tokio::spawn(beat(shared.clone()));
    let hooks = tokio::spawn(registration::serve(hook, shared.clone()));
    let clients = tokio::spawn(control::serve(control, Door::Control, shared.clone()));
    let users = tokio::spawn(control::serve(user, Door::User, shared.clone()));
    let losses = tokio::spawn(tell_limited(shared.clone()));
    let audits = tokio::spawn(audit::repeat(shared.clone()));
    let scrapes = tokio::spawn(metrics::serve(shared.clone()));
    // All threads that stay are there, and nobody has been answered yet.
    if let Err(error) = rights::deny_calls() {
        note(&format!("{error:#}; the daemon goes on without"));
    }
    note(&format!("ready: {}", directory.display()));
    // Without systemd there is nobody to tell.
    let _nobody = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let health = tokio::spawn(watchdog::run(shared.clone()));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => reload::reload(settings, shared).await,
        }
    }
    let _nobody = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    note("stopping");
    for task in [hooks, clients, users, losses, audits, beats, health, scrapes] {
        task.abort();
    }
    let leaves = shared.config.borrow().daemon.hand_over;
    if leaves && handover::is_possible() && !shared.node.inits().is_empty() {
        if let Err(error) = hand_over(shared).await {
            note(&format!("the containers could not be handed over: {error:#}"));
        }
    } else {
        registration::leave_all(shared).await;
    }
    for path in [own_hook, own_control, own_user].into_iter().flatten() {
        // Somebody else's removal is as good.
        let _absent = fs::remove_file(path);
    }
    Ok(())
}

/// What the daemon before left, where it left something.
fn predecessor() -> Result<Option<Predecessor>> {
    let Some(kept) = handover::take()? else {
        return Ok(None);
    };
    let mut left = node::Left::read(&kept.state)?;
    left.attach(kept.bulk.into_iter());
    Ok(Some(Predecessor {
        left,
        descriptors: kept.descriptors,
    }))
}

/// Gives the containers to the service manager, for the daemon that comes after this one.
async fn hand_over(shared: &Arc<Shared>) -> Result<()> {
    shared.watches.end();
    // Should nobody be able to take them over, they are untraced from here on.
    shared.missed.beat();
    let count = shared.node.inits().len();
    let giver = shared.clone();
    tokio::task::spawn_blocking(move || {
        let (left, descriptors) = giver.node.leave_all()?;
        handover::give(&left.write()?, left.bulk(), &descriptors)
    })
    .await??;
    note(&format!(
        "{count} container{} left to the next daemon; their calls wait in the ring",
        if count == 1 { "" } else { "s" }
    ));
    Ok(())
}

/// Once a second, what rate limits have cost.
async fn tell_limited(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let shared = shared.clone();
        let tell = move || {
            shared
                .node
                .tell_limited()
                .and_then(|()| shared.node.tell_held_back())
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(tell).await {
            note(&format!("losses by rate limits could not be told: {error:#}"));
        }
    }
}

/// Leaves a sign of life while there are containers, so that the next daemon knows since when nobody traced them.
async fn beat(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(BEAT);
    loop {
        ticks.tick().await;
        if !shared.node.inits().is_empty() {
            shared.missed.beat();
        }
    }
}

/// Has this process open as many files as it may: containers and clients take some each.
fn allow_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Where that is refused, what was allowed before may do.
    let _refused = setrlimit(Resource::Nofile, raised);
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if most < LEAST_FILES {
        bail!(
            "may open only {most} files of the {LEAST_FILES} that it needs: raise LimitNOFILE= of its unit (ulimit -n)"
        );
    }
    Ok(())
}

/// Holds the lock of the directory for as long as it lives.
fn only_one(directory: &Path) -> Result<fs::File> {
    let path = directory.join("lock");
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    // Also one that an older daemon left: whoever may read it may lock it, and no daemon would start.
    file.set_permissions(fs::Permissions::from_mode(0o600))
        .with_context(|| format!("set the mode of {}", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!(
            "another daemon serves {}; stop it, or choose another --runtime-dir",
            directory.display()
        );
    }
    Ok(file)
}

/// A socket of systemd's by that name, or one of our own, with its path, to be removed.
fn listener(
    directory: &Path,
    name: &str,
    mode: u32,
    group: Option<u32>,
) -> Result<(UnixListener, Option<PathBuf>)> {
    if let Some(given) = given_by_systemd(name) {
        let given = UnixListener::from_std(given).with_context(|| format!("use systemd's {name}"))?;
        return Ok((given, None));
    }
    let path = directory.join(name);
    let socket = own_socket(&path, &directory.join(format!(".{name}.new")), mode, group)?;
    let socket = UnixListener::from_std(socket).with_context(|| format!("listen on {}", path.display()))?;
    Ok((socket, Some(path)))
}

/// A socket at that path that is never open to more than it should be, whatever the umask: bound as `new`, for root alone
/// (unix(7): bind takes the mode of the socket), given its group and mode, listened on, then moved into place.
fn own_socket(path: &Path, new: &Path, mode: u32, group: Option<u32>) -> Result<StdListener> {
    let _absent = fs::remove_file(new);
    let ready = || -> Result<StdListener> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        bind(&socket, &SocketAddrUnix::new(new)?)?;
        if group.is_some() {
            std::os::unix::fs::chown(new, None, group).context("give it to its group")?;
        }
        fs::set_permissions(new, fs::Permissions::from_mode(mode))?;
        // The kernel's limit of waiting connections, net.core.somaxconn, bounds this.
        listen(&socket, i32::MAX)?;
        fs::rename(new, path)?;
        Ok(socket.into())
    };
    ready().with_context(|| format!("set up {}", path.display()))
}

fn given_by_systemd(name: &str) -> Option<StdListener> {
    let (fd, _) = sd_notify::listen_fds_with_names()
        .ok()?
        .find(|(_, given)| given == name)?;
    // SAFETY: systemd gave it to this process and nobody else here takes it: the variables are read once, at start.
    let given = unsafe { StdListener::from_raw_fd(fd) };
    given.set_nonblocking(true).ok()?;
    Some(given)
}

fn group_id(name: &str) -> Option<u32> {
    nix::unistd::Group::from_name(name)
        .ok()
        .flatten()
        .map(|group| group.gid.as_raw())
}
