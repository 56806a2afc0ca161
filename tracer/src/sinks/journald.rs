//! The sink of `kind = "journald"`: events as entries of the journal, by its native protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>): one datagram an entry, or a sealed memory file where it is too large for
//! one.
//!
//! Meant for what people look for in a journal: how containers ended, why calls failed, what was lost.

use std::{
    fmt,
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{fd::AsFd, unix::net::UnixDatagram},
    path::PathBuf,
    time::Duration,
};

use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create},
    io::Errno,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr},
};
use serde::{Deserialize, Serialize};

use super::{Chunk, Kind, configured::Wrong, json, queue::Receiver, text};
use crate::{
    errno,
    event::{Body, Descriptors, Event, Lifecycle, Outcome, Task},
};

/// What `[[sink]]` says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Another journal's socket: of a namespace, `/run/systemd/journal.NAME/socket`.
    #[serde(default = "socket")]
    pub socket: PathBuf,
    /// Also the whole event, as JSON, in the field `TRACER_EVENT`.
    #[serde(default)]
    pub json: bool,
}

fn socket() -> PathBuf {
    "/run/systemd/journal/socket".into()
}

/// What it takes unless it is told otherwise.
pub(super) const EVENTS: &[Kind] = &[Kind::End, Kind::Warning, Kind::Loss, Kind::Diagnosis];

impl Settings {
    pub(super) fn check(&self) -> Result<(), Wrong> {
        if !self.socket.is_absolute() || SocketAddrUnix::new(&self.socket).is_err() {
            let what = format!("{:?} is no path of a socket, like {:?}", self.socket, socket());
            return Err(("socket", what));
        }
        Ok(())
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "journal at {}", self.socket.display())
    }
}

/// How grave an entry is: syslog(3).
#[derive(Clone, Copy)]
enum Priority {
    Warning = 4,
    Notice = 5,
    Info = 6,
    Debug = 7,
}

/// Writes an event's fields.
pub(super) fn write_event(to: &mut Vec<u8>, event: &Event, json: bool) {
    let container = &event.container;
    field(to, "MESSAGE", &message(event));
    let (kind, priority) = match &event.body {
        Body::Syscall(_) => ("syscall", Priority::Debug),
        Body::Process(_) => ("process", Priority::Debug),
        Body::Loss(_) => ("loss", Priority::Warning),
        Body::Diagnosis(_) => ("diagnosis", Priority::Notice),
        Body::Container(life) => (
            "container",
            match life {
                Lifecycle::Gone { complete: true, .. } => Priority::Info,
                Lifecycle::Gone { .. } | Lifecycle::Warning { .. } | Lifecycle::Unregistered { .. } => {
                    Priority::Warning
                }
                Lifecycle::Detached { .. } => Priority::Notice,
                _ => Priority::Info,
            },
        ),
    };
    number(to, "PRIORITY", priority as u64);
    field(to, "SYSLOG_IDENTIFIER", b"tracer");
    field(to, "TRACER_TYPE", kind.as_bytes());
    field(to, "TRACER_TIME", json::rfc3339(event.time_ns).as_bytes());
    field(to, "CONTAINER_ID", container.id.as_bytes());
    field(to, "CONTAINER_NAME", container.name.as_bytes());
    let names = [
        ("POD", &container.pod),
        ("NAMESPACE", &container.namespace),
        ("IMAGE", &container.image),
    ];
    for (name, value) in names {
        if let Some(value) = value {
            field(to, name, value.as_bytes());
        }
    }
    match &event.body {
        Body::Syscall(call) => {
            task(to, &call.task);
            field(to, "SYSCALL", call.name.as_bytes());
            if let Outcome::Error(number) = call.outcome {
                field(to, "ERRNO", errno::name(number).as_bytes());
            }
        }
        Body::Process(process) => task(to, &process.task),
        Body::Diagnosis(found) => {
            task(to, &found.task);
            if !found.is_of_process() {
                field(to, "SYSCALL", found.syscall.as_bytes());
            }
            if let Some(number) = found.errno {
                field(to, "ERRNO", errno::name(number).as_bytes());
            }
            field(to, "TRACER_CAUSE", found.verdict.cause.name().as_bytes());
            number(to, "TRACER_COUNT", found.count);
        }
        Body::Loss(loss) => {
            field(to, "TRACER_REASON", loss.reason.name().as_bytes());
            number(to, "TRACER_COUNT", loss.count);
        }
        Body::Container(Lifecycle::Gone { books, complete, .. }) => {
            number(to, "TRACER_CALLS", books.admitted);
            number(to, "TRACER_LOST", books.lost());
            field(to, "TRACER_COMPLETE", if *complete { b"1" } else { b"0" });
        }
        Body::Container(Lifecycle::Detached { books }) => {
            number(to, "TRACER_CALLS", books.admitted);
            number(to, "TRACER_LOST", books.lost());
        }
        Body::Container(_) => {}
    }
    if json {
        let mut line = Vec::new();
        json::write_event(&mut line, event, Descriptors::Numbers);
        field(to, "TRACER_EVENT", line.trim_ascii_end());
    }
}

fn task(to: &mut Vec<u8>, task: &Task) {
    number(to, "TRACER_PID", u64::from(task.pid));
    number(to, "TRACER_HOST_PID", u64::from(task.host_pid));
    field(to, "TRACER_COMM", task.comm.bytes());
}

/// The line of text, without what only frames it among others. Container-chosen bytes in it are escaped already.
fn message(event: &Event) -> Vec<u8> {
    let mut line = Vec::new();
    let options = text::TextOptions {
        show_container: !matches!(event.body, Body::Container(_)),
        show_processes: true,
        show_containers: true,
        ..text::TextOptions::default()
    };
    text::write_event(&mut line, event, &options);
    let line = line.trim_ascii();
    let Some(line) = line.strip_suffix(b" ---") else {
        return line.to_vec();
    };
    // It begins the line, or stands behind the container's name.
    let frame = b"--- ";
    let at = if line.starts_with(frame) {
        Some(0)
    } else {
        line.windows(frame.len()).rposition(|piece| piece == frame)
    };
    let Some((before, after)) = at.and_then(|at| line.split_at_checked(at)) else {
        return line.to_vec();
    };
    [before, after.strip_prefix(frame).unwrap_or(after)].concat()
}

/// A field: `NAME=value`, or where the value has line ends, the name, its length and the value.
fn field(to: &mut Vec<u8>, name: &str, value: &[u8]) {
    to.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        to.push(b'\n');
        to.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        to.push(b'=');
    }
    to.extend_from_slice(value);
    to.push(b'\n');
}

fn number(to: &mut Vec<u8>, name: &str, value: u64) {
    field(to, name, value.to_string().as_bytes());
}

/// How long one send may wait for a journald that has no room.
const WAIT: Duration = Duration::from_secs(1);

/// The receiver.
pub(super) struct Journald {
    settings: Settings,
    socket: Option<UnixDatagram>,
}

impl Journald {
    pub(super) const fn new(settings: Settings) -> Self {
        Self {
            settings,
            socket: None,
        }
    }

    fn send(&mut self, entry: &[u8]) -> io::Result<()> {
        let path = &self.settings.socket;
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => {
                let socket = UnixDatagram::unbound()?;
                socket.set_write_timeout(Some(WAIT))?;
                socket
            }
        };
        let socket = self.socket.insert(socket);
        match socket.send_to(entry, path) {
            Ok(_) => Ok(()),
            Err(error) if too_large(&error) => send_file(socket, path, entry),
            Err(error) => Err(error),
        }
    }
}

fn too_large(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MSGSIZE | Errno::NOBUFS))
}

/// Sends what a datagram does not hold: an empty one, with a file in memory that nobody can change any more.
fn send_file(socket: &UnixDatagram, path: &PathBuf, entry: &[u8]) -> io::Result<()> {
    let file = memfd_create("tracer", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC)?;
    let file = std::fs::File::from(file);
    io::Write::write_all(&mut &file, entry)?;
    fcntl_add_seals(
        &file,
        SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL,
    )?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    let files = [file.as_fd()];
    with.push(SendAncillaryMessage::ScmRights(&files));
    let address = SocketAddrUnix::new(path)?;
    sendmsg_addr(
        socket,
        &address,
        &[IoSlice::new(&[])],
        &mut with,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

impl Receiver for Journald {
    fn deliver(&mut self, chunk: &mut Chunk) -> io::Result<()> {
        while !chunk.is_empty() {
            let entry = chunk.first();
            if !entry.is_empty() {
                let sent = self.send(entry);
                let named = |error: io::Error| {
                    let what = format!("send to {}: {error}", self.settings.socket.display());
                    io::Error::new(error.kind(), what)
                };
                sent.map_err(named)?;
            }
            chunk.settle(1, true);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::fd::OwnedFd, sync::Arc};

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::*;
    use crate::{
        event::{Books, Comm, Container, Exit, Loss, LossReason, Process, ProcessEvent},
        sinks::Account,
    };

    fn event(body: Body) -> Event {
        Event {
            time_ns: 1_795_370_591_123_456_789,
            ktime: 5,
            container: Arc::new(Container {
                id: "4f1c".into(),
                name: "web\nPRIORITY=0".into(),
                pod: Some("web-0".into()),
                ..Container::default()
            }),
            body,
        }
    }

    fn loss() -> Event {
        event(Body::Loss(Loss {
            reason: LossReason::RingFull,
            count: 3,
            hole: None,
        }))
    }

    /// The fields of an entry, as a journal reads them.
    fn fields(mut entry: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut fields = Vec::new();
        while !entry.is_empty() {
            let end = entry.iter().position(|byte| *byte == b'\n').unwrap();
            let (line, rest) = entry.split_at(end);
            let (name, value, rest) = match line.iter().position(|byte| *byte == b'=') {
                Some(at) => (&line[..at], line[at + 1..].to_vec(), &rest[1..]),
                None => {
                    let len = u64::from_le_bytes(rest[1..9].try_into().unwrap()) as usize;
                    (line, rest[9..9 + len].to_vec(), &rest[10 + len..])
                }
            };
            fields.push((String::from_utf8(name.to_vec()).unwrap(), value));
            entry = rest;
        }
        fields
    }

    fn of(event: &Event, json: bool) -> Vec<(String, String)> {
        let mut entry = Vec::new();
        write_event(&mut entry, event, json);
        let fields = fields(&entry).into_iter();
        fields
            .map(|(name, value)| (name, String::from_utf8(value).unwrap()))
            .collect()
    }

    fn value<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
        fields
            .iter()
            .find(|(found, _)| found == name)
            .map_or("", |(_, value)| value)
    }

    #[test]
    fn an_entry_has_fields_that_nobody_can_forge() {
        let fields = of(&loss(), true);
        let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "MESSAGE",
                "PRIORITY",
                "SYSLOG_IDENTIFIER",
                "TRACER_TYPE",
                "TRACER_TIME",
                "CONTAINER_ID",
                "CONTAINER_NAME",
                "POD",
                "TRACER_REASON",
                "TRACER_COUNT",
                "TRACER_EVENT"
            ]
        );
        assert_eq!(value(&fields, "PRIORITY"), "4");
        assert_eq!(value(&fields, "CONTAINER_NAME"), "web\nPRIORITY=0");
        assert!(
            value(&fields, "MESSAGE").contains("3 events lost: ring_full"),
            "{fields:?}"
        );
        assert!(!value(&fields, "MESSAGE").contains("---"));
        let json: serde_json::Value = serde_json::from_str(value(&fields, "TRACER_EVENT")).unwrap();
        assert_eq!(json["type"], "loss");
    }

    #[test]
    fn a_containers_end_is_a_summary() {
        let gone = |complete| {
            event(Body::Container(Lifecycle::Gone {
                books: Books {
                    admitted: 11,
                    emitted: 11,
                    ..Books::default()
                },
                complete,
                exit: Some(Exit::Code(3)),
            }))
        };
        let fields = of(&gone(true), false);
        assert_eq!(
            [
                "PRIORITY",
                "TRACER_TYPE",
                "TRACER_CALLS",
                "TRACER_LOST",
                "TRACER_COMPLETE"
            ]
            .map(|name| value(&fields, name)),
            ["6", "container", "11", "0", "1"]
        );
        assert!(
            value(&fields, "MESSAGE").starts_with("container web"),
            "{fields:?}"
        );
        assert_eq!(value(&of(&gone(false), false), "PRIORITY"), "4");
        let process = event(Body::Process(Process {
            task: Task {
                comm: Comm(*b"a=b\n\0\0\0\0\0\0\0\0\0\0\0\0"),
                ..Task::default()
            },
            what: ProcessEvent::Join,
        }));
        assert_eq!(value(&of(&process, false), "TRACER_COMM"), "a=b\n");
    }

    #[test]
    fn entries_arrive_one_by_one_and_large_ones_in_a_sealed_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let mut receiver = Journald::new(Settings {
            socket: path.clone(),
            json: false,
        });
        let account = Arc::<Account>::default();
        let large = vec![b'x'; 4 << 20];
        let mut chunk = Chunk::new(account.clone());
        chunk.push(None, |to| to.extend_from_slice(b"A=1\n"));
        chunk.push(None, |to| to.extend_from_slice(&large));
        chunk.book();
        // Nobody is there: nothing is settled.
        let error = receiver.deliver(&mut chunk).unwrap_err();
        assert!(error.to_string().contains("socket"), "{error}");
        assert_eq!(account.counts().queued, 2);
        let journal = UnixDatagram::bind(&path).unwrap();
        receiver.deliver(&mut chunk).unwrap();
        assert_eq!((account.counts().written, account.counts().queued), (2, 0));
        let mut bytes = [0; 64];
        assert_eq!(journal.recv(&mut bytes).unwrap(), 4);
        assert_eq!(&bytes[..4], b"A=1\n");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut with = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; 64];
        let got = recvmsg(
            &journal,
            &mut [io::IoSliceMut::new(&mut bytes)],
            &mut with,
            RecvFlags::empty(),
        )
        .unwrap();
        assert_eq!(got.bytes, 0);
        let mut files: Vec<OwnedFd> = Vec::new();
        for message in with.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                files.extend(rights);
            }
        }
        let seals = rustix::fs::fcntl_get_seals(&files[0]).unwrap();
        assert!(seals.contains(SealFlags::WRITE | SealFlags::SEAL));
        let mut file = std::fs::File::from(files.remove(0));
        let mut all = Vec::new();
        io::Seek::rewind(&mut file).unwrap();
        file.read_to_end(&mut all).unwrap();
        assert!(all == large);
    }
}
