//! A daemon with configured sinks, and a container for them.

use crate::{Bundle, Container, Daemon, Event, Rootfs, Runtime, Tail, Verdict, wait};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{fs, path::Path};

/// A call that neither a runtime nor libc makes by itself.
pub const CALL: &str = "sched_get_priority_max";

/// A daemon with that configuration.
pub fn daemon(dir: &Path, config: &str) -> Result<Daemon> {
    let path = dir.join("tracer.toml");
    fs::write(&path, config)?;
    Daemon::start_with(&["--config", path.to_str().context("a path that is no text")?])
}

/// A container that makes calls until it is told to end, and what a tail sees of it.
pub struct Caller {
    container: Container,
    tail: Tail,
    end: std::path::PathBuf,
}

impl Caller {
    /// Starts it; it makes so many calls, pauses for a moment, and so on.
    pub fn start(daemon: &Daemon, what: &str, calls: u32) -> Result<Self> {
        let script = format!(
            "echo ready; while [ ! -e /scratch/end ]; do /workloads/calls {calls} {CALL}; sleep 0.05; done >/dev/null; \
             echo well"
        );
        let bundle = Bundle::traced(what, Rootfs::Host, &["/bin/sh", "-c", &script], daemon)?;
        let end = bundle.scratch().join("end");
        let tail = daemon.tail_all(&bundle.id)?.opened()?;
        let mut container = Runtime::Runc.start(bundle)?;
        container.printed("ready")?;
        Ok(Self { container, tail, end })
    }

    pub fn id(&self) -> &str {
        self.container.id()
    }

    /// Has it end; its verdict, and all its events as lines of JSON.
    pub fn end(mut self, daemon: &Daemon) -> Result<(Verdict, Vec<String>)> {
        fs::write(&self.end, "")?;
        self.container.success()?;
        let verdict = daemon.verdict_at_end(self.container.id())?;
        verdict.whole()?;
        let text = self.tail.text()?;
        Ok((verdict, text.lines().map(str::to_owned).collect()))
    }
}

/// Runs a container that makes so many calls, to its end; all its events as lines of JSON.
pub fn run(daemon: &Daemon, what: &str, calls: u64) -> Result<(Verdict, Vec<String>)> {
    let args = ["/workloads/calls", &calls.to_string(), CALL];
    let bundle = Bundle::traced(what, Rootfs::Host, &args, daemon)?;
    let tail = daemon.tail_all(&bundle.id)?.opened()?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.success()?;
    let verdict = daemon.verdict_at_end(container.id())?;
    verdict.whole()?;
    Ok((verdict, tail.text()?.lines().map(str::to_owned).collect()))
}

/// What a sink did with a container's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Books {
    pub written: u64,
    pub dropped: u64,
    pub skipped: u64,
    pub queued: u64,
}

/// A sink's books of a container, which must balance.
pub fn books(verdict: &Verdict, sink: &str) -> Result<Books> {
    let sinks = verdict.0["sinks"].as_array().context("no sinks")?;
    let found = sinks.iter().find(|found| found["name"] == sink);
    let found = found.with_context(|| format!("no sink {sink}: {}", verdict.0))?;
    let number = |key: &str| found[key].as_u64().with_context(|| format!("no {key}: {found}"));
    let books = Books {
        written: number("written")?,
        dropped: number("dropped")?,
        skipped: number("skipped")?,
        queued: number("queued")?,
    };
    let sum = books.written + books.dropped + books.skipped + books.queued;
    ensure!(
        sum == verdict.book("decoded")?,
        "{books:?} is {sum} of {}",
        verdict.book("decoded")?
    );
    Ok(books)
}

/// A sink's books of a container once nothing of it is queued.
pub fn settled(daemon: &Daemon, id: &str, sink: &str) -> Result<Books> {
    wait::until("the sink to have nothing queued", 2 * wait::LONG, || {
        let books = books(&daemon.verify_now(id)?, sink)?;
        Ok((books.queued == 0).then_some(books))
    })
}

/// A sink's line in `tracer status`.
pub fn status(daemon: &Daemon, sink: &str) -> Result<Value> {
    let status = daemon.status()?;
    let sinks = status["sinks"].as_array().context("no sinks")?.iter();
    let mut found = sinks.filter(|found| found["name"] == sink);
    found
        .next()
        .cloned()
        .with_context(|| format!("no sink {sink}: {status}"))
}

/// The container's id in a verdict.
pub fn id(verdict: &Verdict) -> Result<String> {
    Ok(verdict.0["container"]["id"].as_str().context("no id")?.to_owned())
}

/// How many events the losses among these tell of, all of them by a sink.
pub fn told(events: &[Event]) -> Result<u64> {
    let losses = events.iter().filter(|event| event.text("type") == "loss");
    losses
        .map(|loss| {
            ensure!(loss.text("reason") == "sink_drop", "{}", loss.0);
            loss.number("count")
        })
        .sum()
}
