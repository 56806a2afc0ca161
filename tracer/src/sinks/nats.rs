//! NATS JetStream: each event a message of its own, JSON (`docs/events.md`), on a subject that says whose it is. A message
//! is delivered when its stream has acknowledged it; its `Nats-Msg-Id` is the event's id, so that the server drops what
//! comes twice.
//!
//! The client is async: its runtime has this sink's thread alone, and runs while an attempt does. It must not know how
//! events came to be.

mod subject;

use std::{
    fmt, fs,
    future::IntoFuture,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::{
    ConnectOptions, Event as Change,
    jetstream::{
        self, Context,
        context::PublishErrorKind,
        message::PublishMessage,
        stream::{self, StorageType},
    },
};
use serde::{Deserialize, Serialize};
pub use subject::Subject;
use tokio::{runtime::Runtime, sync::Notify, time::timeout_at};

use super::{
    delivery::{Batch, Receiver, Refusal},
    json,
};
use crate::{
    event::{Descriptors, Event},
    filter::Detail,
    log::note,
    units::{Bytes, Time},
};

/// Messages that wait for their acknowledgement at one time.
const WINDOW: usize = 1024;
/// How often an idle connection is looked after: a server gives up a client that does not answer its pings.
const LOOK_AFTER: Duration = Duration::from_secs(20);
/// How long that may take.
const LOOKING: Duration = Duration::from_millis(250);

/// What `kind = "nats"` may say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `nats://HOST:PORT`, or `tls://HOST:PORT`; several are tried in turn.
    pub servers: Vec<String>,
    pub subject: Subject,
    /// A stream that is made if it is not there; without one, whoever runs the server has made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Of a stream that is made: the most that it keeps, its oldest go first; and how long it knows an event's id.
    pub stream_bytes: Bytes,
    pub duplicates: Time,
    /// A credentials file (`.creds`), or one with a token, or one with `user:password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_file: Option<PathBuf>,
    /// Certificates (PEM) of who may have signed the server's; unless given, the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our own certificate and its key (PEM), for a server that asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    pub descriptors: Descriptors,
}

impl fmt::Display for Settings {
    /// Where it goes.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} on {}", self.subject, self.servers.join(", "))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: vec!["nats://127.0.0.1:4222".into()],
            subject: Subject::default(),
            stream: None,
            stream_bytes: Bytes(1 << 30),
            duplicates: Time(Duration::from_secs(600)),
            credentials_file: None,
            token_file: None,
            user_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            descriptors: Descriptors::default(),
        }
    }
}

impl Settings {
    /// What cannot be, by the key that says it.
    ///
    /// # Errors
    /// The key, and what to write.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.servers.is_empty() {
            return Err(("servers", "name one: nats://127.0.0.1:4222".into()));
        }
        for server in &self.servers {
            let address = server.parse::<async_nats::ServerAddr>();
            let why = match address {
                Ok(address) if address.username().is_none() && address.password().is_none() => continue,
                Ok(_) => "credentials stand in a file of their own: user_file".into(),
                Err(error) => format!("{server:?}: {error}"),
            };
            return Err(("servers", why));
        }
        let files = [&self.credentials_file, &self.token_file, &self.user_file];
        if files.into_iter().flatten().count() > 1 {
            return Err((
                "credentials_file",
                "one of credentials_file, token_file and user_file".into(),
            ));
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err(("cert_file", "a certificate and its key_file go together".into()));
        }
        if let Some(stream) = &self.stream
            && (stream.is_empty()
                || !stream
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)))
        {
            return Err((
                "stream",
                format!("{stream:?} has more than letters, digits, `-` and `_`"),
            ));
        }
        Ok(())
    }

    /// What must not be read by others.
    fn options(&self) -> Result<ConnectOptions, String> {
        let mut options = ConnectOptions::new()
            .name("tracer")
            // Each server is tried once; a connection that broke is given up (`Link`).
            .max_reconnects(self.servers.len());
        if let Some(file) = &self.credentials_file {
            let creds = read_file(file)?;
            options = options
                .credentials(&creds)
                .map_err(|error| format!("{}: {error}", file.display()))?;
        }
        if let Some(file) = &self.token_file {
            options = options.token(read_file(file)?.trim().to_owned());
        }
        if let Some(file) = &self.user_file {
            let text = read_file(file)?;
            let (user, password) = text
                .trim()
                .split_once(':')
                .ok_or_else(|| format!("{}: no `user:password`", file.display()))?;
            options = options.user_and_password(user.to_owned(), password.to_owned());
        }
        if let Some(file) = &self.ca_file {
            options = options.add_root_certificates(file.clone()).require_tls(true);
        }
        if let (Some(cert), Some(key)) = (&self.cert_file, &self.key_file) {
            options = options
                .add_client_certificate(cert.clone(), key.clone())
                .require_tls(true);
        }
        Ok(options)
    }
}

fn read_file(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("read {}: {error}", file.display()))
}

/// How a message is made of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Messages {
    subject: Arc<Subject>,
    node: Arc<str>,
    descriptors: Descriptors,
}

impl Messages {
    pub fn new(settings: &Settings) -> Self {
        let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self {
            subject: Arc::new(settings.subject.clone()),
            node: node.into(),
            descriptors: settings.descriptors,
        }
    }

    pub const fn descriptors(&self) -> Descriptors {
        self.descriptors
    }

    /// Writes an event as an entry: its subject behind the subject's length, then its line.
    pub fn write_event(&self, out: &mut Vec<u8>, event: &Event, detail: &Detail) {
        let subject = self.subject.of(event, &self.node);
        out.extend_from_slice(&(subject.len() as u16).to_le_bytes());
        out.extend_from_slice(subject.as_bytes());
        json::write_detailed(out, event, self.descriptors, detail);
        out.pop();
    }
}

/// An entry's subject and line.
fn message(entry: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = entry.split_at_checked(2)?;
    let length = u16::from_le_bytes(length.try_into().ok()?);
    let (subject, line) = rest.split_at_checked(usize::from(length))?;
    Some((std::str::from_utf8(subject).ok()?, line))
}

/// A JetStream server.
pub struct Nats {
    name: String,
    settings: Settings,
    runtime: Option<Runtime>,
    link: Option<Link>,
    looked: Instant,
}

/// A connection, for as long as it holds. The client would make itself a new one, and send there what it still had behind
/// what went down with the old one: events would come out of order.
struct Link {
    context: Context,
    /// The connection broke.
    broken: Arc<Notify>,
}

impl Receiver for Nats {
    fn deliver(&mut self, batch: &mut Batch, within: Duration) -> Result<(), Refusal> {
        let until = tokio::time::Instant::now() + within;
        let runtime = match self.runtime.take() {
            Some(runtime) => runtime,
            None => tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(Refusal::new)?,
        };
        let outcome = runtime.block_on(async {
            if self.link.is_none() {
                let link = timeout_at(until, Link::new(&self.settings)).await;
                self.link = Some(link.map_err(|_late| "no connection in time".to_owned())??);
            }
            match &self.link {
                Some(link) => link.publish(&self.name, batch, until).await,
                None => Ok(()),
            }
        });
        if outcome.is_err() {
            // With its tasks goes what they had not sent: all that is not acknowledged comes again, in order.
            self.link = None;
            runtime.shutdown_background();
        } else {
            self.runtime = Some(runtime);
        }
        self.looked = Instant::now();
        outcome.map_err(Refusal::new)
    }

    fn tick(&mut self) -> Option<Instant> {
        let (Some(runtime), Some(link)) = (&self.runtime, &self.link) else {
            return None;
        };
        if self.looked.elapsed() >= LOOK_AFTER {
            let client = link.context.client();
            let looking = async { tokio::time::timeout(LOOKING, client.flush()).await };
            // A connection that has died is found out by the next message.
            let _later = runtime.block_on(looking);
            self.looked = Instant::now();
        }
        Some(self.looked + LOOK_AFTER)
    }
}

impl Nats {
    pub fn new(name: &str, settings: Settings) -> Self {
        Self {
            name: name.to_owned(),
            settings,
            runtime: None,
            link: None,
            looked: Instant::now(),
        }
    }
}

impl Link {
    async fn new(settings: &Settings) -> Result<Self, String> {
        let broken = Arc::new(Notify::new());
        let tell = broken.clone();
        let connected = Arc::new(AtomicBool::new(false));
        let once = connected.clone();
        let options = settings
            .options()?
            .event_callback(move |change| {
                if matches!(change, Change::Disconnected | Change::Closed) {
                    tell.notify_one();
                }
                std::future::ready(())
            })
            .reconnect_delay_callback(move |_attempts| match once.load(Ordering::Relaxed) {
                true => Duration::MAX,
                false => Duration::ZERO,
            });
        let servers: Vec<async_nats::ServerAddr> = settings
            .servers
            .iter()
            .filter_map(|server| server.parse().ok())
            .collect();
        let client = options
            .connect(servers)
            .await
            .map_err(|error| format!("{}: {error}", settings.servers.join(", ")))?;
        connected.store(true, Ordering::Relaxed);
        let context = jetstream::new(client);
        if let Some(name) = &settings.stream {
            let wanted = stream::Config {
                name: name.clone(),
                subjects: vec![settings.subject.wildcard()],
                max_bytes: i64::try_from(settings.stream_bytes.0).unwrap_or(i64::MAX),
                duplicate_window: settings.duplicates.0,
                storage: StorageType::File,
                ..stream::Config::default()
            };
            context
                .get_or_create_stream(wanted)
                .await
                .map_err(|error| format!("stream {name}: {error}"))?;
        }
        Ok(Self { context, broken })
    }

    /// Publishes the batch, a window at a time, and settles it as acknowledgements come, in order.
    async fn publish(
        &self,
        sink: &str,
        batch: &mut Batch,
        until: tokio::time::Instant,
    ) -> Result<(), String> {
        while !batch.is_empty() {
            let mut waiting = Vec::with_capacity(WINDOW.min(batch.len()));
            let window: Vec<_> = batch
                .events()
                .take(WINDOW)
                .map(|(id, entry)| {
                    message(entry).map(|(subject, line)| {
                        let message = PublishMessage::build()
                            .payload(line.to_vec().into())
                            .message_id(id.to_string());
                        (subject.to_owned(), message)
                    })
                })
                .collect();
            for each in window {
                let Some((subject, message)) = each else {
                    waiting.push(None);
                    continue;
                };
                let publish = self.context.send_publish(subject, message);
                match timeout_at(until, publish).await {
                    Err(_late) => return Err("messages are not sent in time".into()),
                    Ok(published) => waiting.push(Some(published)),
                }
            }
            for publish in waiting {
                let Some(publish) = publish else {
                    // The spool has given it, and this is no entry of ours.
                    batch.refuse(1);
                    continue;
                };
                let publish = match publish {
                    Ok(publish) => publish,
                    Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                        note(&format!("sink {sink}: an event is larger than the server takes"));
                        batch.refuse(1);
                        continue;
                    }
                    Err(error) => return Err(error.to_string()),
                };
                tokio::select! {
                    biased;
                    acknowledged = publish.into_future() => match acknowledged {
                        Ok(_) => batch.accept(1),
                        Err(error) if error.kind() == PublishErrorKind::StreamNotFound => {
                            return Err("no stream takes the subject; make one, or name `stream`".into());
                        }
                        Err(error) => return Err(error.to_string()),
                    },
                    () = self.broken.notified() => return Err("the connection broke".into()),
                    () = tokio::time::sleep_until(until) => return Err("no acknowledgement in time".into()),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
