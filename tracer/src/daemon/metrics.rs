//! Serves the metrics over HTTP where the configuration says so: an address or a socket. Slow and many clients cost only
//! themselves: connections are few, each has its time, and figures are gathered at most once a second.

use std::{
    convert::Infallible,
    os::unix::fs::PermissionsExt,
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
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{Shared, group_id};
use crate::{
    log::note,
    metrics::{Memory, Settings},
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
    text: Option<(Instant, Bytes)>,
}

/// Listens where the configuration says, and elsewhere when it says so, until it is aborted.
pub(super) async fn serve(shared: Arc<Shared>) {
    let mut config = shared.config.subscribe();
    let page = Arc::new(Page {
        shared,
        clients: Arc::new(Semaphore::new(CLIENTS)),
        latest: Mutex::default(),
    });
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
                if let Err(error) = listen_on(&listen, &page).await {
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
    loop {
        let (stream, _) = listener.accept().await.context("accept")?;
        take(stream, page);
    }
}

/// A socket for root and group tracer: who may read the metrics may know of all containers.
fn socket(path: &Path) -> Result<(UnixListener, Named)> {
    let new = path.with_extension("new");
    let _absent = std::fs::remove_file(&new);
    let listener = UnixListener::bind(&new).with_context(|| format!("bind {}", new.display()))?;
    let ready = || -> std::io::Result<()> {
        let group = group_id("tracer");
        if group.is_some() {
            std::os::unix::fs::chown(&new, None, group)?;
        }
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o660))?;
        std::fs::rename(&new, path)
    };
    ready().with_context(|| format!("set up {}", path.display()))?;
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
    /// The latest figures. Whoever comes while they are gathered gets the same.
    async fn text(&self) -> Result<Bytes> {
        let mut latest = self.latest.lock().await;
        if let Some((since, text)) = &latest.text
            && since.elapsed() < FRESH
        {
            return Ok(text.clone());
        }
        let shared = self.shared.clone();
        let mut figures = spawn_blocking(move || shared.node.figures()).await??;
        let status = &mut figures.status;
        status.missed = self.shared.missed.lines().len();
        status.refused = self.shared.quotas.refusals();
        status.sinks = self.shared.sinks.status();
        // As the last audit found; a scrape makes none.
        status.tracer_unregistered_containers = self.shared.audit.last().len();
        let settings = self.shared.config.borrow().metrics.clone();
        let text = Bytes::from(latest.memory.text(&figures, &settings)?);
        latest.text = Some((Instant::now(), text.clone()));
        Ok(text)
    }
}
