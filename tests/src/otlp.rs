//! A receiver of OTLP that is not ours: `otlp/receiver.py`, on the messages that OpenTelemetry publishes for Python
//! (`cargo xtask test` fetches them). It can be told what to answer, and can be killed.

use crate::{Event, event, programs, wait};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Stdio},
};
use tempfile::TempDir;

/// A receiver, running or not.
pub struct Receiver {
    dir: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Receiver {
    /// One that runs.
    pub fn start() -> Result<Self> {
        let mut receiver = Self::stopped()?;
        receiver.run()?;
        Ok(receiver)
    }

    /// One that does not run yet.
    pub fn stopped() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("tt-otlp-").tempdir()?;
        fs::write(dir.path().join("receiver.py"), include_str!("otlp/receiver.py"))?;
        Ok(Self {
            dir,
            port: 0,
            child: None,
        })
    }

    /// Starts it; again at the port that it had.
    pub fn run(&mut self) -> Result<()> {
        let mut command = programs::command(programs::target()?.join("python/bin/python"));
        command
            .arg(self.dir.path().join("receiver.py"))
            .arg(self.dir.path());
        if self.port != 0 {
            command.arg(self.port.to_string());
        }
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| programs::show(&command))?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut line)?;
        self.child = Some(child);
        self.port = line.trim().parse().context("the receiver does not start")?;
        Ok(())
    }

    /// Kills it, wherever it is.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("it does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Waits until it has ended by itself.
    pub fn ended(&mut self) -> Result<()> {
        let mut child = self.child.take().context("it does not run")?;
        wait::exit(&mut child, "the receiver", wait::LONG)?;
        Ok(())
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it answers from now on.
    pub fn answer(&self, what: &str) -> Result<()> {
        let new = self.dir.path().join("answer.new");
        fs::write(&new, what)?;
        Ok(fs::rename(new, self.dir.path().join("answer"))?)
    }

    fn lines(&self, name: &str) -> Result<Vec<Event>> {
        let path: PathBuf = self.dir.path().join(name);
        let text = if path.exists() {
            fs::read_to_string(path)?
        } else {
            String::new()
        };
        // The last line may be under way.
        event::parse(text.rsplit_once('\n').map_or("", |(whole, _)| whole))
    }

    /// The log records that it has taken.
    pub fn logs(&self) -> Result<Vec<Event>> {
        self.lines("logs")
    }

    /// The points of metrics that it has taken.
    pub fn points(&self) -> Result<Vec<Event>> {
        self.lines("metrics")
    }

    /// Path, headers and length of each request.
    pub fn requests(&self) -> Result<Vec<Event>> {
        self.lines("requests")
    }

    /// Has it speak TLS from its next start, with a certificate of its own for 127.0.0.1; the path of that.
    pub fn certify(&self) -> Result<PathBuf> {
        certify(self.dir.path())
    }
}

/// Makes `cert.pem` and `key.pem`, for 127.0.0.1.
pub fn certify(dir: &Path) -> Result<PathBuf> {
    // Its own: it signs no other.
    let config = "[req]\nprompt=no\ndistinguished_name=name\nx509_extensions=what\n[name]\nCN=receiver\n\
                  [what]\nsubjectAltName=IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n";
    fs::write(dir.join("req.conf"), config)?;
    let words = "req -x509 -config req.conf -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
                 -keyout key.pem -out cert.pem";
    programs::success(
        programs::command("openssl")
            .current_dir(dir)
            .args(words.split_whitespace()),
    )?;
    Ok(dir.join("cert.pem"))
}

/// Ids of log records: none twice.
pub fn ids(logs: &[Event]) -> Result<Vec<String>> {
    let ids: Vec<_> = logs
        .iter()
        .map(|log| log.0["attributes"]["tracer.id"].as_str().map(str::to_owned))
        .collect::<Option<_>>()
        .context("a record without an id")?;
    let mut sorted = ids.clone();
    sorted.sort();
    sorted.dedup();
    ensure!(
        sorted.len() == ids.len(),
        "{} ids stand twice",
        ids.len() - sorted.len()
    );
    Ok(ids)
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if self.child.is_some() {
            drop(self.kill());
        }
    }
}
