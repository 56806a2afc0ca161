//! `tracer nri`: a plugin of the container runtime (containerd, CRI-O) that puts our hook into the containers that ask
//! for tracing by annotation, and registers those that run already.
//!
//! It changes how containers are made and is on nobody's critical path: each call is answered at once from what it
//! says, and what takes time (registering with the daemon) is done elsewhere. Two threads: `nri` talks with the
//! runtime; the main one hands over, because the task that proves the path must be the peer that `hook.sock` names.
//! It knows nothing of the daemon but the hook's protocol.

mod api;
mod plugin;
mod wire;

use std::{
    convert::Infallible,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use prost::Message as _;
use tracer_hook::{
    client::{self, RegisterError, Registration},
    identity::{IdentityError, Init},
    missed::{self, Marker},
};

use self::{
    api::{RUNTIME_SERVICE, RegisterPluginRequest, Request, Response},
    plugin::{OwnPod, Plugin, Running},
    wire::{Message, PLUGIN, REQUEST, RESPONSE, RUNTIME, Received, Wire},
};
use crate::log::note;

/// How long registration may take: NRI's own limit, after which the runtime has closed.
const REGISTRATION: Duration = Duration::from_secs(5);
/// How long the runtime may take what we say; it gives us no longer either.
const WRITE: Duration = Duration::from_secs(2);
/// How often a silent connection is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Between two attempts to connect: doubled from the first to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long the daemon may take for one container.
const HAND_OVER: Duration = Duration::from_secs(2);

/// How to run the plugin.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The runtime's NRI socket.
    pub socket: PathBuf,
    /// Name and two-digit index that it registers with; the runtime calls plugins in the order of their indexes.
    pub name: String,
    pub index: String,
    /// The hook's program, as the runtime sees it.
    pub hook: PathBuf,
    /// The daemon's.
    pub runtime_dir: PathBuf,
    /// Uid of the Pod that it runs in.
    pub pod_uid: Option<String>,
}

/// Runs until it is killed: there is nothing to tidy up.
///
/// # Errors
/// A set-up error, with what to do next. That no runtime is there is none: it may come.
pub fn run(settings: &Settings) -> Result<Infallible> {
    let settings = Settings {
        hook: plugin::absolute(&settings.hook)?,
        runtime_dir: plugin::absolute(&settings.runtime_dir)?,
        ..settings.clone()
    };
    let own = OwnPod::find(settings.pod_uid.clone());
    let runtime_dir = settings.runtime_dir.clone();
    let mailbox: &'static Mailbox = Box::leak(Box::default());
    thread::Builder::new()
        .name("nri".into())
        .spawn(move || talk(&settings, &own, mailbox))
        .context("start a thread")?;
    // Without systemd there is nobody to tell.
    let _nobody = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    loop {
        for container in mailbox.wait() {
            hand_over(&runtime_dir, container);
        }
    }
}

/// What the latest synchronization found: it holds all that runs, so it takes the place of an earlier one.
#[derive(Default)]
struct Mailbox {
    latest: Mutex<Option<Vec<Running>>>,
    came: Condvar,
}

impl Mailbox {
    fn put(&self, running: Vec<Running>) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        self.came.notify_one();
    }

    fn wait(&self) -> Vec<Running> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(running) = latest.take() {
                return running;
            }
            latest = self.came.wait(latest).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Connects again and again. A runtime that is away costs a line when it goes, and none while it stays away.
fn talk(settings: &Settings, own: &OwnPod, mailbox: &Mailbox) {
    let mut pause = PAUSE.0;
    let mut said = String::new();
    loop {
        let began = Instant::now();
        let mut plugin = Plugin::new(&settings.hook, &settings.runtime_dir, own);
        let why = match session(settings, &mut plugin, mailbox) {
            Ok(()) => "the runtime has closed the connection".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        // One that is thrown out as soon as it is in waits longer each time.
        if plugin.configured && began.elapsed() > PAUSE.1 {
            pause = PAUSE.0;
            said.clear();
        }
        if why != said {
            note(&format!("nri: {why}; trying again"));
            let _nobody = sd_notify::notify(&[sd_notify::NotifyState::Status(&why)]);
            said = why;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// One connection, to its end.
fn session(settings: &Settings, plugin: &mut Plugin<'_>, mailbox: &Mailbox) -> Result<()> {
    let socket = &settings.socket;
    let stream = UnixStream::connect(socket)
        .with_context(|| format!("{}: no runtime with NRI listens there", socket.display()))?;
    stream.set_read_timeout(Some(TICK))?;
    stream.set_write_timeout(Some(WRITE))?;
    let mut wire = Wire::new(stream);
    let register = Request {
        service: RUNTIME_SERVICE.into(),
        method: "RegisterPlugin".into(),
        payload: RegisterPluginRequest {
            plugin_name: settings.name.clone(),
            plugin_idx: settings.index.clone(),
        }
        .encode_to_vec(),
    };
    let asked = Instant::now();
    let message = Message {
        stream: 1, // a client's numbers are odd
        kind: REQUEST,
        payload: register.encode_to_vec(),
    };
    wire.send(RUNTIME, &message)?;
    loop {
        let (connection, message) = match wire.receive()? {
            Received::Message(connection, message) => (connection, message),
            Received::End => return Ok(()),
            Received::Idle if !plugin.configured && asked.elapsed() > REGISTRATION => {
                bail!("the runtime did not take the plugin in within {REGISTRATION:?}");
            }
            Received::Idle => continue,
        };
        match (connection, message.kind) {
            (PLUGIN, REQUEST) => {
                let was_configured = plugin.configured;
                let answer = plugin.call(&message.payload);
                let reply = Message {
                    stream: message.stream,
                    kind: RESPONSE,
                    payload: answer.response.encode_to_vec(),
                };
                wire.send(PLUGIN, &reply)?;
                if plugin.configured && !was_configured {
                    let _nobody = sd_notify::notify(&[sd_notify::NotifyState::Status("registered")]);
                }
                if let Some(running) = answer.running {
                    note(&format!(
                        "nri: {} containers that ask for tracing run already",
                        running.len()
                    ));
                    mailbox.put(running);
                }
            }
            (RUNTIME, RESPONSE) => {
                let response =
                    Response::decode(message.payload.as_slice()).context("read the registration's answer")?;
                if let Some(status) = response.status.filter(|status| status.code != 0) {
                    bail!("the runtime refuses the plugin: {:?}", status.message);
                }
            }
            _ => {} // a part of ttrpc that nobody here asked for
        }
    }
}

/// Registers a container that runs. What the daemon does not get is left to its next start, as the hook does it.
fn hand_over(runtime_dir: &Path, container: Running) {
    let Running { id, pid, annotations } = container;
    let init = match Init::open(i64::from(pid)) {
        Ok(init) => init,
        // It has ended since the runtime told of it.
        Err(IdentityError::Exited(_)) => return,
        Err(error) => return note(&format!("nri: container {id:?} is not attached: {error}")),
    };
    let registration = Registration {
        id,
        bundle: String::new(),
        annotations,
        late: true,
        init,
    };
    let deadline = Instant::now() + HAND_OVER;
    let error = match client::register(&tracer_hook::socket_path(runtime_dir), &registration, deadline) {
        Ok(_) => return,
        Err(error) => error,
    };
    let id = &registration.id;
    note(&format!("nri: container {id:?} is not attached: {error}"));
    if matches!(error, RegisterError::Refused(_)) {
        return; // the daemon knows
    }
    let numbers = registration.init.numbers(pid.into());
    let marker = Marker {
        v: missed::VERSION,
        id: id.clone(),
        reason: "it ran before the NRI plugin did, and no daemon took it in".to_owned(),
        time: missed::timestamp(SystemTime::now()),
        annotations: registration.annotations.clone(),
        pid: pid.into(),
        pid_start: numbers.map(|numbers| numbers.pid_start),
        pid_ns: numbers.map(|numbers| numbers.pid_ns),
        mnt_ns: numbers.map(|numbers| numbers.mnt_ns),
        ..Marker::default()
    };
    if let Err(error) = missed::write(runtime_dir, &marker) {
        note(&format!(
            "nri: container {id:?} is not noted for the daemon: {error}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Cursor, Read, Write};

    use super::{
        api::{CREATE_CONTAINER, ConfigureResponse, CreateContainerResponse, SynchronizeResponse},
        *,
    };

    /// All that containerd 1.7.24 sent to a plugin: the answer to its registration, then Configure, Synchronize with
    /// a Pod and its running container, CreateContainer of a second one in it.
    const RECORDED: &[u8] = include_bytes!("nri/recorded/containerd-1.7.bin");

    struct Recorded(Cursor<&'static [u8]>);

    impl Read for Recorded {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            // A few bytes at a time, as a socket may.
            let few = to.len().min(7);
            self.0.read(&mut to[..few])
        }
    }

    impl Write for Recorded {
        fn write(&mut self, from: &[u8]) -> io::Result<usize> {
            Ok(from.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_runtimes_recorded_words_are_understood() {
        let own = OwnPod::default();
        let mut plugin = Plugin::new(Path::new("/proc/self/exe"), Path::new("/run/tracer"), &own);
        let mut wire = Wire::new(Recorded(Cursor::new(RECORDED)));
        let mut next = || match wire.receive().unwrap() {
            Received::Message(connection, message) => Some((connection, message)),
            Received::End => None,
            Received::Idle => panic!("idle"),
        };
        let (connection, registered) = next().unwrap();
        assert_eq!(
            (connection, registered.kind, registered.stream),
            (RUNTIME, RESPONSE, 1)
        );
        assert_eq!(
            Response::decode(registered.payload.as_slice()).unwrap(),
            Response::default()
        );
        let mut call = || {
            let (connection, message) = next().unwrap();
            assert_eq!((connection, message.kind), (PLUGIN, REQUEST));
            let answer = plugin.call(&message.payload);
            assert_eq!(answer.response.status, None);
            (answer.response.payload, answer.running)
        };

        let (configured, _) = call();
        let events = ConfigureResponse::decode(configured.as_slice()).unwrap().events;
        assert_eq!(events, CREATE_CONTAINER);

        let (synchronized, running) = call();
        assert_eq!(
            SynchronizeResponse::decode(synchronized.as_slice()).unwrap(),
            SynchronizeResponse { more: false }
        );
        let running = running.unwrap();
        let [early] = running.as_slice() else {
            panic!("{running:?}")
        };
        assert!(early.pid > 1 && early.id.len() == 64, "{early:?}");
        for (key, value) in [
            ("container-tracer.io/trace", "true"),
            ("io.kubernetes.cri.container-name", "early"),
            ("io.kubernetes.cri.sandbox-name", "web"),
            ("io.kubernetes.cri.sandbox-namespace", "prod"),
        ] {
            assert_eq!(early.annotations[key], value);
        }

        let (created, _) = call();
        let adjust = CreateContainerResponse::decode(created.as_slice())
            .unwrap()
            .adjust
            .unwrap();
        // containerd says itself who the container is, but of its Pod's annotations and labels nothing.
        let added = [
            ("container-tracer.io/labels", r#"{"app":"a"}"#),
            ("container-tracer.io/mode", "full"),
            ("container-tracer.io/trace", "true"),
        ];
        let added = added.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(adjust.annotations, added.into());
        let hooks = adjust.hooks.unwrap();
        assert_eq!((hooks.create_runtime.len(), hooks.poststop.len()), (1, 1));
    }
}
