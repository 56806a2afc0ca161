//! A NATS server with JetStream, and a reader of its streams that is not the tracer's client: the protocol's own lines
//! over TCP (docs.nats.io, "Client Protocol" and "JetStream wire API").

use crate::{programs, wait};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Child,
    time::Duration,
};
use tempfile::TempDir;

/// A server, running or not; what it has stored outlives it.
pub struct Server {
    dir: TempDir,
    port: u16,
    child: Option<Child>,
}

/// A message of a stream.
#[derive(Clone, Debug)]
pub struct Message {
    pub subject: String,
    pub headers: HashMap<String, String>,
    pub payload: String,
}

impl Server {
    /// One that runs, with these lines in its configuration.
    pub fn start(config: &str) -> Result<Self> {
        let mut server = Self::stopped(config)?;
        server.run()?;
        Ok(server)
    }

    /// One that does not run yet, on a port that nobody has.
    pub fn stopped(config: &str) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("tt-nats-").tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {:?} }}\n{config}\n",
            dir.path().join("store")
        );
        fs::write(dir.path().join("nats.conf"), text)?;
        Ok(Self {
            dir,
            port,
            child: None,
        })
    }

    /// Starts it and waits until it answers.
    pub fn run(&mut self) -> Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))?;
        let mut command = programs::command("/usr/sbin/nats-server");
        command
            .arg("-c")
            .arg(self.dir.path().join("nats.conf"))
            .stderr(log);
        let mut child = command.spawn().with_context(|| programs::show(&command))?;
        wait::until("nats-server to listen", wait::LONG, || {
            if let Some(status) = child.try_wait()? {
                bail!("nats-server: {status}\n{}", self.log());
            }
            Ok(TcpStream::connect(("127.0.0.1", self.port)).ok())
        })?;
        self.child = Some(child);
        Ok(())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Kills it, wherever it is.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("it does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// How many messages the stream has; none while it is not there.
    pub fn messages(&self, stream: &str) -> Result<u64> {
        let info = Reader::new(self.port)?.request(&format!("$JS.API.STREAM.INFO.{stream}"), &json!({}))?;
        Ok(info["state"]["messages"].as_u64().unwrap_or(0))
    }

    /// All that the stream has, in order.
    pub fn read(&self, stream: &str) -> Result<Vec<Message>> {
        let count = self.messages(stream)?;
        let mut reader = Reader::new(self.port)?;
        reader.send("SUB all 7\r\n")?;
        let config = json!({"stream_name": stream, "config": {
            "deliver_subject": "all", "deliver_policy": "all", "ack_policy": "none", "replay_policy": "instant",
        }});
        let answer = reader.request(&format!("$JS.API.CONSUMER.CREATE.{stream}"), &config)?;
        ensure!(answer["error"].is_null(), "{answer}");
        let mut found = std::mem::take(&mut reader.messages);
        while (found.len() as u64) < count {
            found.push(reader.message()?);
        }
        Ok(found)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            drop(self.kill());
        }
        eprintln!("--- log of nats-server\n{}", self.log());
    }
}

struct Reader {
    stream: BufReader<TcpStream>,
    /// Of the subscription with number 7.
    messages: Vec<Message>,
}

impl Reader {
    fn new(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut reader = Self {
            stream: BufReader::new(stream),
            messages: Vec::new(),
        };
        reader.send("CONNECT {\"verbose\":false,\"headers\":true,\"user\":\"reader\",\"pass\":\"reader\"}\r\nSUB answer 1\r\n")?;
        Ok(reader)
    }

    fn send(&mut self, text: &str) -> Result<()> {
        Ok(self.stream.get_mut().write_all(text.as_bytes())?)
    }

    fn request(&mut self, subject: &str, body: &Value) -> Result<Value> {
        let body = body.to_string();
        self.send(&format!("PUB {subject} answer {}\r\n{body}\r\n", body.len()))?;
        loop {
            let (number, message) = self.next()?;
            if number == "1" {
                return serde_json::from_str(&message.payload).with_context(|| message.payload);
            }
            self.messages.push(message);
        }
    }

    fn message(&mut self) -> Result<Message> {
        Ok(self.next()?.1)
    }

    /// The next message, and its subscription.
    fn next(&mut self) -> Result<(String, Message)> {
        loop {
            let mut line = String::new();
            ensure!(
                self.stream.read_line(&mut line)? > 0,
                "nats-server closed the connection"
            );
            let words: Vec<&str> = line.split_whitespace().collect();
            let (&verb, rest) = words.split_first().context("an empty line")?;
            let headed = match verb {
                "MSG" => false,
                "HMSG" => true,
                "PING" => {
                    self.send("PONG\r\n")?;
                    continue;
                }
                "-ERR" => bail!("nats-server: {line}"),
                _ => continue,
            };
            let lengths = if headed { 2 } else { 1 };
            let at = rest.len().checked_sub(lengths).context("a short line")?;
            let sizes: Vec<usize> = rest[at..]
                .iter()
                .map(|word| word.parse())
                .collect::<Result<_, _>>()?;
            let total = *sizes.last().context("no length")?;
            let mut bytes = vec![0; total + 2];
            self.stream.read_exact(&mut bytes)?;
            bytes.truncate(total);
            let payload = bytes.split_off(if headed { sizes[0] } else { 0 });
            let headers = String::from_utf8(bytes)?;
            let message = Message {
                subject: rest[0].to_owned(),
                headers: headers
                    .lines()
                    .filter_map(|line| line.split_once(": "))
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
                payload: String::from_utf8(payload)?,
            };
            return Ok((rest[1].to_owned(), message));
        }
    }
}
