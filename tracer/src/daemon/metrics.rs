//! Serves the metrics over HTTP where the configuration says so, an address or a socket, and sends them to the OTLP sinks
//! that ask for them. Slow and many clients cost only themselves: connections are few, each has its time, and figures are
//! gathered at most once a second, whoever wants them.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{Mutex, Semaphore},
    task::{JoinSet, spawn_blocking},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::{Shared, group_id, own_socket};
use crate::{
    config::Config,
    enrich::{Clock, monotonic_ns},
    log::note,
    metrics::{self, Family, Memory, Settings},
    sinks::{
        configured::{Delivered, Kind},
        otlp::{self, Meter},
    },
};

/// Clients at one time.
const CLIENTS: usize = 16;
/// What one may take, from its first byte to the last of its answer.
const TIME: Duration = Duration::from_secs(10);
/// How long figures are good for.
const FRESH: Duration = Duration::from_secs(1);
/// Between two tries to listen.
const PAUSE: Duration = Duration::from_secs(5);

/// What the clients share.
struct Page {
    shared: Arc<Shared>,
    clients: Arc<Semaphore>,
    latest: Mutex<Latest>,
}

#[derive(Default)]
struct Latest {
    memory: Memory,
    gathered: Option<Gathered>,
}

struct Gathered {
    since: Instant,
    families: Arc<Vec<Family>>,
    text: Option<Bytes>,
}

/// Serves and sends them as the configuration says, until it is aborted.
pub(super) async fn serve(shared: Arc<Shared>) {
    let page = Arc::new(Page {
        shared,
        clients: Arc::new(Semaphore::new(CLIENTS)),
        latest: Mutex::default(),
    });
    tokio::join!(listen(&page), send(&page));
}

/// Listens where the configuration says, and elsewhere when it says so.
async fn listen(page: &Arc<Page>) {
    let mut config = page.shared.config.subscribe();
    loop {
        let listen = config.borrow_and_update().metrics.listen.clone();
        let changed = async {
            // Only that key matters here.
            while config.changed().await.is_ok() {
                if config.borrow_and_update().metrics.listen != listen {
                    return true;
                }
            }
            false
        };
        let listening = async {
            if listen.is_empty() {
                std::future::pending::<()>().await;
            }
            loop {
                if let Err(error) = listen_on(&listen, page).await {
                    note(&format!("metrics: {error:#}; tried again"));
                }
                sleep(PAUSE).await;
            }
        };
        tokio::select! {
            changed = changed => if !changed { return },
            () = listening => {}
        }
    }
}

/// The OTLP sinks that want them: by name.
fn wanted(config: &Config) -> Vec<(String, otlp::Settings)> {
    let sinks = config.sinks.iter();
    sinks
        .filter_map(|sink| match &sink.kind {
            Kind::Otlp(Delivered { own, .. }) if !own.metrics_every.0.is_zero() => {
                Some((sink.common.name.clone(), own.clone()))
            }
            _ => None,
        })
        .collect()
}

/// Sends them to the sinks of the configuration that want them, and to others when it says so.
async fn send(page: &Arc<Page>) {
    let mut config = page.shared.config.subscribe();
    let since = wall_ns();
    loop {
        let now = wanted(&config.borrow_and_update());
        // They end with it.
        let mut senders = JoinSet::new();
        for (name, settings) in now.clone() {
            senders.spawn(send_to(page.clone(), name, settings, since));
        }
        loop {
            if config.changed().await.is_err() {
                return;
            }
            if wanted(&config.borrow_and_update()) != now {
                break;
            }
        }
    }
}

/// Nanoseconds since 1970.
fn wall_ns() -> u64 {
    Clock::now().wall(monotonic_ns())
}

/// Sends them to one.
async fn send_to(page: Arc<Page>, name: String, settings: otlp::Settings, since: u64) {
    let mut due = interval(settings.metrics_every.0);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut meter = Meter::new(&name, settings);
    loop {
        due.tick().await;
        let families = match page.families().await {
            Ok(families) => families,
            Err(error) => {
                note(&format!("metrics: {error:#}"));
                continue;
            }
        };
        let sent = spawn_blocking(move || {
            meter.send(&families, since, wall_ns(), TIME);
            meter
        });
        match sent.await {
            Ok(its) => meter = its,
            // A panic there has been printed by its thread.
            Err(_panicked) => return,
        }
    }
}

/// Takes the socket's name away with it.
struct Named(PathBuf);

impl Drop for Named {
    fn drop(&mut self) {
        // Somebody else's removal is as good.
        let _absent = std::fs::remove_file(&self.0);
    }
}

async fn listen_on(listen: &str, page: &Arc<Page>) -> Result<()> {
    if let Some(path) = Settings::socket(listen) {
        let (listener, _named) = socket(path)?;
        note(&format!("metrics: at {listen}"));
        loop {
            let (stream, _) = listener.accept().await.context("accept")?;
            take(stream, page);
        }
    }
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("listen on {listen}"))?;
    let address = listener.local_addr().context("listen")?;
    note(&format!("metrics: at http://{address}/metrics"));
    if let Some(warning) = page.shared.config.borrow().metrics.warning() {
        note(&format!("metrics: {warning}"));
    }
    loop {
        let (stream, _) = listener.accept().await.context("accept")?;
        take(stream, page);
    }
}

/// A socket for root and group tracer: who may read the metrics may know of all containers.
fn socket(path: &Path) -> Result<(UnixListener, Named)> {
    let listener = own_socket(path, &path.with_extension("new"), 0o660, group_id("tracer"))?;
    let listener =
        UnixListener::from_std(listener).with_context(|| format!("listen on {}", path.display()))?;
    Ok((listener, Named(path.to_owned())))
}

fn take(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, page: &Arc<Page>) {
    // One too many is closed at once.
    let Ok(place) = page.clients.clone().try_acquire_owned() else {
        return;
    };
    let page = page.clone();
    tokio::spawn(async move {
        let _place = place;
        let answers = service_fn(|request| answer(request, page.clone()));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(TIME)
            .max_buf_size(16 * 1024)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), answers);
        // What goes wrong is the client's.
        let _theirs = timeout(TIME, connection).await;
    });
}

async fn answer(request: Request<Incoming>, page: Arc<Page>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    if request.uri().path() != "/metrics" {
        *response.status_mut() = StatusCode::NOT_FOUND;
        *response.body_mut() = Full::from("the metrics are at /metrics\n");
    } else if ![Method::GET, Method::HEAD].contains(request.method()) {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        let get = hyper::header::HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, get);
    } else {
        match page.text().await {
            Ok(text) => {
                let kind =
                    hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, kind);
                *response.body_mut() = Full::new(text);
            }
            Err(error) => {
                note(&format!("metrics: {error:#}"));
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
        }
    }
    Ok(response)
}

impl Page {
    /// The latest figures by name.
    async fn families(&self) -> Result<Arc<Vec<Family>>> {
        let mut latest = self.latest.lock().await;
        Ok(self.gather(&mut latest).await?.families.clone())
    }

    /// The latest figures as text.
    async fn text(&self) -> Result<Bytes> {
        let mut latest = self.latest.lock().await;
        let gathered = self.gather(&mut latest).await?;
        if let Some(text) = &gathered.text {
            return Ok(text.clone());
        }
        let text = Bytes::from(metrics::text(&gathered.families)?);
        gathered.text = Some(text.clone());
        Ok(text)
    }

    /// Gathers figures, where the latest are too old. Whoever comes meanwhile gets the same.
    async fn gather<'a>(&self, latest: &'a mut Latest) -> Result<&'a mut Gathered> {
        let is_fresh = |gathered: &Gathered| gathered.since.elapsed() < FRESH;
        if !latest.gathered.as_ref().is_some_and(is_fresh) {
            let shared = self.shared.clone();
            let mut figures = spawn_blocking(move || shared.node.figures()).await??;
            let status = &mut figures.status;
            status.missed = self.shared.missed.lines().len();
            status.refused = self.shared.quotas.refusals();
            status.sinks = self.shared.sinks.status();
            // As the last audit found; a scrape makes none.
            status.tracer_unregistered_containers = self.shared.audit.last().unregistered.len();
            let settings = self.shared.config.borrow().metrics.clone();
            latest.gathered = Some(Gathered {
                since: Instant::now(),
                families: Arc::new(latest.memory.families(&figures, &settings)),
                text: None,
            });
        }
        latest.gathered.as_mut().context("no figures")
    }
}
