//! OpenTelemetry: events as log records, and the daemon's metrics where they are asked for, over HTTP as protobuf (OTLP
//! 1.x), to a collector or whoever else takes it.
//!
//! It must not know how events came to be.

pub mod logs;
mod metrics;

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use flate2::{Compression as Level, write::GzEncoder};
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde::{Deserialize, Serialize};
use ureq::{
    Agent,
    http::{HeaderName, HeaderValue, Response, StatusCode, header},
    tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem},
};

use super::delivery::{Batch, Receiver, Refusal};
use crate::{event::Descriptors, log::note, metrics::Family, units::Time};

/// Bytes of an answer that are read: it says what was rejected, or why.
const ANSWER: u64 = 64 << 10;
/// Between two lines in the log about what a receiver refuses for good.
const NOTE_AGAIN: Duration = Duration::from_secs(60);

/// What `kind = "otlp"` may say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where the receiver is, without `/v1/logs` and `/v1/metrics`.
    pub endpoint: String,
    /// How often the daemon's metrics go there, too; 0: never.
    pub metrics_every: Time,
    /// A file of `Name: value` lines, which go with each request: a token stands here, not in this file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers_file: Option<PathBuf>,
    /// Certificates (PEM) of who may have signed the receiver's; unless given, the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our own certificate and its key (PEM), for a receiver that asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    pub compression: Compression,
    /// Further attributes of the resource: `{ "deployment.environment.name" = "staging" }`.
    pub resource: BTreeMap<String, String>,
    pub descriptors: Descriptors,
}

impl fmt::Display for Settings {
    /// Where it goes.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.endpoint)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoint: "http://127.0.0.1:4318".into(),
            metrics_every: Time(Duration::ZERO),
            headers_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            compression: Compression::default(),
            resource: BTreeMap::new(),
            descriptors: Descriptors::default(),
        }
    }
}

/// How requests are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    #[default]
    Gzip,
    None,
}

impl Settings {
    /// What cannot be, by the key that says it.
    ///
    /// # Errors
    /// The key, and what to write.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let uri = self.endpoint.parse::<ureq::http::Uri>();
        let usable = uri.is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some()
                && uri.query().is_none()
        });
        if !usable {
            return Err((
                "endpoint",
                format!("{:?} is no address like http://127.0.0.1:4318", self.endpoint),
            ));
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err(("cert_file", "a certificate and its key_file go together".into()));
        }
        let Time(every) = self.metrics_every;
        if !every.is_zero() && every < Duration::from_secs(1) {
            return Err(("metrics_every", "write 1s or more, or 0s for never".into()));
        }
        Ok(())
    }

    fn url(&self, signal: Signal) -> String {
        let signal = match signal {
            Signal::Logs => "logs",
            Signal::Metrics => "metrics",
        };
        format!("{}/v1/{signal}", self.endpoint.trim_end_matches('/'))
    }

    fn resource(&self) -> Resource {
        let host = rustix::system::uname();
        let mut attributes: BTreeMap<String, String> = BTreeMap::from([
            ("service.name".into(), "tracer".into()),
            ("service.version".into(), env!("CARGO_PKG_VERSION").into()),
            ("host.name".into(), host.nodename().to_string_lossy().into_owned()),
            ("os.type".into(), "linux".into()),
        ]);
        attributes.extend(self.resource.clone());
        Resource {
            attributes: attributes
                .into_iter()
                .map(|(key, value)| logs::word(&key, value))
                .collect(),
            ..Resource::default()
        }
    }
}

/// What a request carries.
#[derive(Clone, Copy, Debug)]
enum Signal {
    Logs,
    Metrics,
}

/// The connection, with what was read from files for it.
struct Link {
    agent: Agent,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Who sends requests.
struct Sender {
    name: String,
    settings: Settings,
    resource: Resource,
    link: Option<Link>,
    noted: Option<Instant>,
}

/// A receiver of events.
pub struct Otlp {
    sender: Sender,
    /// Records of one request at most: halved when the receiver finds one too large.
    most: usize,
}

/// A receiver of metrics. What it does not take is not kept: the next figures have it in them.
pub struct Meter(Sender);

/// What an answer means.
enum Answer {
    Taken(Vec<u8>),
    /// It will never be taken.
    Rejected(String),
    TooLarge,
}

impl Receiver for Otlp {
    fn deliver(&mut self, batch: &mut Batch, within: Duration) -> Result<(), Refusal> {
        let until = Instant::now() + within;
        while !batch.is_empty() {
            let count = batch.len().min(self.most);
            let sender = &mut self.sender;
            let request = logs::request(&sender.resource, batch.events().take(count));
            let left = until.saturating_duration_since(Instant::now());
            match sender.post(Signal::Logs, &request, left)? {
                Answer::Taken(answer) => {
                    let (rejected, why) = logs::rejected(&answer);
                    let rejected = rejected.min(count);
                    if rejected > 0 {
                        sender.complain(&format!("{rejected} of {count} events are rejected: {why:?}"));
                    } else if !why.is_empty() {
                        sender.complain(&format!("the receiver says: {why:?}"));
                    }
                    // Which ones is not said.
                    batch.refuse(rejected);
                    batch.accept(count - rejected);
                }
                Answer::TooLarge if count > 1 => self.most = count / 2,
                Answer::TooLarge => {
                    sender.complain("an event is too large for the receiver");
                    batch.refuse(1);
                }
                Answer::Rejected(why) => {
                    sender.complain(&format!("{count} events are rejected: {why}"));
                    batch.refuse(count);
                }
            }
        }
        Ok(())
    }
}

impl Otlp {
    pub fn new(name: &str, settings: Settings) -> Self {
        Self {
            sender: Sender::new(name, settings),
            most: usize::MAX,
        }
    }
}

impl Meter {
    pub fn new(name: &str, settings: Settings) -> Self {
        Self(Sender::new(name, settings))
    }

    /// Sends them all, as of `now`, counted since `since` (nanoseconds since 1970), and waits that long for each answer.
    /// What goes wrong is said in the log, but not all the time.
    pub fn send(&mut self, families: &[Family], since: u64, now: u64, within: Duration) {
        let Self(sender) = self;
        for request in metrics::requests(&sender.resource, families, since, now) {
            let wrong = match sender.post(Signal::Metrics, &request, within) {
                Err(Refusal { why, .. }) => why,
                Ok(Answer::Rejected(why)) => why,
                Ok(Answer::TooLarge) => "too large for the receiver".to_owned(),
                Ok(Answer::Taken(answer)) => match metrics::rejected(&answer) {
                    (0, why) if why.is_empty() => continue,
                    (count, why) => format!("{count} points are rejected: {why:?}"),
                },
            };
            sender.complain(&format!("metrics: {wrong}"));
        }
    }
}

impl Sender {
    fn new(name: &str, settings: Settings) -> Self {
        Self {
            name: name.to_owned(),
            resource: settings.resource(),
            settings,
            link: None,
            noted: None,
        }
    }

    /// Says it in the log, but not all the time.
    fn complain(&mut self, what: &str) {
        if self.noted.is_none_or(|noted| noted.elapsed() > NOTE_AGAIN) {
            note(&format!("sink {}: {what}", self.name));
            self.noted = Some(Instant::now());
        }
    }

    fn post(&mut self, signal: Signal, request: &[u8], within: Duration) -> Result<Answer, Refusal> {
        let url = self.settings.url(signal);
        if self.link.is_none() {
            self.link = Some(Link::new(&self.settings).map_err(Refusal::new)?);
        }
        let Some(link) = &self.link else {
            return Err(Refusal::new("no link"));
        };
        let mut post = link
            .agent
            .post(&url)
            .config()
            .timeout_global(Some(within.max(Duration::from_millis(1))))
            .build()
            .header(header::CONTENT_TYPE, "application/x-protobuf");
        for (name, value) in &link.headers {
            post = post.header(name, value);
        }
        let answer = match self.settings.compression {
            Compression::None => post.send(request),
            Compression::Gzip => {
                let body = gzip(request).map_err(Refusal::new)?;
                post.header(header::CONTENT_ENCODING, "gzip").send(&body[..])
            }
        };
        let outcome = answer
            .map_err(|error| Refusal::new(format!("{url}: {error}")))
            .and_then(|mut answer| read(&url, &mut answer));
        if outcome.is_err() {
            // What its files say may have changed: a new token, a new certificate.
            self.link = None;
        }
        outcome
    }
}

/// What an answer means, by the protocol's list: 429, 502, 503 and 504 are tried again. So are 401 and 403, and a 404: the
/// administrator can mend these, and the events need not pay for it.
fn read(url: &str, answer: &mut Response<ureq::Body>) -> Result<Answer, Refusal> {
    let status = answer.status();
    let after = answer
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| retry_after(value, SystemTime::now()));
    let body = answer.body_mut().with_config().limit(ANSWER).read_to_vec();
    if status.is_success() {
        // It has said that it took them.
        return Ok(Answer::Taken(body.unwrap_or_default()));
    }
    let why = format!("{url}: {status}");
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => Ok(Answer::TooLarge),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT
        | StatusCode::UNAUTHORIZED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND => Err(Refusal { why, after }),
        _ => Ok(Answer::Rejected(why)),
    }
}

/// Seconds, or a date.
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(value).ok()?.duration_since(now).ok()
}

fn gzip(request: &[u8]) -> io::Result<Vec<u8>> {
    // Log records are much alike: the fastest level makes a tenth of them.
    let mut encoder = GzEncoder::new(Vec::with_capacity(request.len() / 8), Level::fast());
    encoder.write_all(request)?;
    encoder.finish()
}

impl Link {
    fn new(settings: &Settings) -> Result<Self, String> {
        let mut tls = TlsConfig::builder();
        if settings.endpoint.starts_with("https:") {
            tls = tls.root_certs(RootCerts::new_with_certs(&roots(settings.ca_file.as_deref())?));
            if let (Some(cert), Some(key)) = (&settings.cert_file, &settings.key_file) {
                let key = PrivateKey::from_pem(&read_file(key)?)
                    .map_err(|error| format!("{}: {error}", key.display()))?;
                tls = tls.client_cert(Some(ClientCert::new_with_certs(&certificates(cert)?, key)));
            }
        }
        let agent = Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("tracer/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let headers = match &settings.headers_file {
            Some(file) => headers(&String::from_utf8_lossy(&read_file(file)?))
                .map_err(|line| format!("{}: line {line} is no `Name: value`", file.display()))?,
            None => Vec::new(),
        };
        Ok(Self { agent, headers })
    }
}

fn read_file(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("read {}: {error}", file.display()))
}

/// `Name: value` lines; the number of the first that is none. Empty lines and `#` lines are skipped.
fn headers(text: &str) -> Result<Vec<(HeaderName, HeaderValue)>, usize> {
    let lines = text
        .lines()
        .zip(1usize..)
        .map(|(line, number)| (line.trim(), number));
    lines
        .filter(|(line, _)| !line.is_empty() && !line.starts_with('#'))
        .map(|(line, number)| {
            let (name, value) = line.split_once(':').ok_or(number)?;
            let mut value = HeaderValue::from_str(value.trim()).map_err(|_bad| number)?;
            value.set_sensitive(true);
            Ok((name.trim().parse().map_err(|_bad| number)?, value))
        })
        .collect()
}

fn roots(file: Option<&Path>) -> Result<Vec<Certificate<'static>>, String> {
    if let Some(file) = file {
        return certificates(file);
    }
    let system = rustls_native_certs::load_native_certs();
    let found: Vec<_> = system
        .certs
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect();
    match (found.is_empty(), system.errors.first()) {
        (true, Some(error)) => Err(format!("the system's certificates: {error}; name a ca_file")),
        (true, None) => Err("the system has no certificates; name a ca_file".into()),
        (false, _) => Ok(found),
    }
}

fn certificates(file: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let pem = read_file(file)?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(format!("{}: {error}", file.display())),
        }
    }
    if found.is_empty() {
        return Err(format!("{}: no certificate (PEM)", file.display()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
