//! The hook's side of a connection: connect, send, wait for the answer, all against one deadline.
//!
//! No step can hang: a daemon that is stopped, slow, dead or hostile costs the time until the deadline and no more. No
//! thread and no async runtime: the task that connects is the task that proves.

use std::{
    collections::BTreeMap,
    fmt,
    io::IoSlice,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
        SocketFlags, SocketType, connect, recv, sendmsg, socket_with,
        sockopt::{Timeout, set_socket_timeout},
    },
};

use crate::{
    identity::Init,
    protocol::{self, Lines, ProtocolError, REGISTER_FDS, Receipt, Reply, Request},
};

/// A container to register.
#[derive(Debug)]
pub struct Registration {
    /// The runtime's id.
    pub id: String,
    /// Path of the bundle.
    pub bundle: String,
    /// What [`crate::annotations::useful`] left.
    pub annotations: BTreeMap<String, String>,
    /// It runs already.
    pub late: bool,
    /// Its identity.
    pub init: Init,
}

/// Why the daemon did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterError {
    /// Nobody listens there.
    NoDaemon(PathBuf, Errno),
    /// The socket cannot be used: its path is too long, or this user may not connect.
    Socket(PathBuf, Errno),
    /// The deadline came during this step.
    Timeout(Step),
    /// The daemon closed the connection during this step.
    Closed(Step),
    /// The kernel refused this step.
    Io(Step, Errno),
    /// A message is too long to be sent, or the daemon's cannot be read.
    Protocol(ProtocolError),
    /// The daemon sent a reply that has no place in this step.
    OutOfPlace(Step),
    /// The daemon said no, and why. Any text: escape it before a terminal sees it.
    Refused(String),
}

/// The steps of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Waiting for a place in the daemon's backlog.
    Connect,
    /// Sending.
    Send,
    /// Waiting for the reply to the first request: a challenge, or the answer to `gone`.
    Reply,
    /// Waiting for the reply to the proof.
    Proof,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "waiting for it to accept the connection",
            Self::Send => "sending the request",
            Self::Reply => "waiting for the reply to the request",
            Self::Proof => "waiting for the reply to the proof",
        })
    }
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDaemon(socket, errno) => write!(
                f,
                "no daemon listens on {} ({errno}): start it with 'systemctl start tracer' or 'tracer daemon'",
                socket.display()
            ),
            Self::Socket(socket, errno) => write!(
                f,
                "socket {} cannot be used ({errno}): check --runtime-dir, and that every user may connect (mode 0666)",
                socket.display()
            ),
            Self::Timeout(step) => write!(
                f,
                "daemon was too slow ({step}): see whether it runs ('tracer status'), or raise --timeout"
            ),
            Self::Closed(step) => {
                write!(
                    f,
                    "daemon closed the connection ({step}): see its log ('journalctl -u tracer')"
                )
            }
            Self::Io(step, errno) => write!(
                f,
                "daemon cannot be reached ({step}: {errno}): see its log ('journalctl -u tracer'), and this machine's limits"
            ),
            Self::Protocol(error) => write!(f, "daemon and hook do not understand each other: {error}"),
            Self::OutOfPlace(step) => write!(
                f,
                "daemon sent a reply out of place ({step}): install tracer-hook and tracer of the same release"
            ),
            Self::Refused(reason) => write!(f, "daemon refused: {reason}"),
        }
    }
}

impl std::error::Error for RegisterError {}

impl From<ProtocolError> for RegisterError {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

/// Registers a container and proves the path. When it returns a receipt, the daemon has seen this task's own system
/// call come out of the ring buffer. Call it from a program of one thread: the daemon knows the task that proves by
/// the peer that the socket names.
pub fn register(
    socket: &Path,
    registration: &Registration,
    deadline: Instant,
) -> Result<Receipt, RegisterError> {
    let mut connection = Connection::open(socket, deadline)?;
    let init = &registration.init;
    connection.send(
        &Request::Register {
            v: protocol::VERSION,
            id: registration.id.clone(),
            bundle: registration.bundle.clone(),
            annotations: registration.annotations.clone(),
            late: registration.late,
        },
        &[init.pidfd.as_fd(), init.pid_ns.as_fd(), init.mnt_ns.as_fd()],
    )?;
    let mut step = Step::Reply;
    loop {
        match connection.reply(step)? {
            // A second one is in order: the daemon may repeat a proof that a full ring lost.
            Reply::Challenge { nonce } => {
                prove(nonce);
                connection.send(&Request::Proved { v: protocol::VERSION }, &[])?;
                step = Step::Proof;
            }
            // Without a proof only what was proved before is ready.
            Reply::Ready { receipt } if step == Step::Proof || receipt.already => return Ok(receipt),
            Reply::Refused { reason } => return Err(RegisterError::Refused(reason)),
            Reply::Ready { .. } | Reply::Ok => return Err(RegisterError::OutOfPlace(step)),
        }
    }
}

/// Tells the daemon that a container was deleted.
pub fn gone(socket: &Path, id: &str, deadline: Instant) -> Result<(), RegisterError> {
    let mut connection = Connection::open(socket, deadline)?;
    connection.send(
        &Request::Gone {
            v: protocol::VERSION,
            id: id.to_owned(),
        },
        &[],
    )?;
    match connection.reply(Step::Reply)? {
        Reply::Ok => Ok(()),
        Reply::Refused { reason } => Err(RegisterError::Refused(reason)),
        Reply::Challenge { .. } | Reply::Ready { .. } => Err(RegisterError::OutOfPlace(Step::Reply)),
    }
}

/// The call that the daemon must see: it fails with EBADF, moves no file and carries the nonce in a register.
fn prove(nonce: u64) {
    const { assert!(size_of::<libc::off_t>() == 8, "the nonce has 63 bits") };
    // SAFETY: lseek takes three integers and touches no memory; no file has the descriptor -1.
    unsafe { libc::lseek(-1, nonce.cast_signed(), libc::SEEK_SET) };
}

struct Connection {
    socket: OwnedFd,
    lines: Lines,
    deadline: Instant,
}

impl Connection {
    fn open(path: &Path, deadline: Instant) -> Result<Self, RegisterError> {
        let failed = |errno| RegisterError::Socket(path.to_owned(), errno);
        let address = SocketAddrUnix::new(path).map_err(failed)?;
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(failed)?;
        loop {
            // A backlog that is full makes connect(2) wait, for as long as the send timeout: a non-blocking one could
            // only be repeated, poll(2) does not wait for this. At least 1 ms: 0 would be for ever.
            let left = deadline
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1));
            set_socket_timeout(&socket, Timeout::Send, Some(left)).map_err(failed)?;
            match connect(&socket, &address) {
                Ok(()) => {
                    return Ok(Self {
                        socket,
                        lines: Lines::default(),
                        deadline,
                    });
                }
                Err(errno @ (Errno::NOENT | Errno::CONNREFUSED)) => {
                    return Err(RegisterError::NoDaemon(path.to_owned(), errno));
                }
                Err(Errno::AGAIN | Errno::INTR) if Instant::now() < deadline => {}
                Err(Errno::AGAIN | Errno::INTR) => return Err(RegisterError::Timeout(Step::Connect)),
                Err(errno) => return Err(failed(errno)),
            }
        }
    }

    /// Sends a message; the descriptors travel with its first byte.
    fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<(), RegisterError> {
        let line = protocol::encode(request)?;
        let mut rest = line.as_slice();
        let mut fds = Some(fds).filter(|fds| !fds.is_empty());
        while !rest.is_empty() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(REGISTER_FDS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if let Some(fds) = fds {
                control.push(SendAncillaryMessage::ScmRights(fds));
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match sendmsg(&self.socket, &[IoSlice::new(rest)], &mut control, flags) {
                Ok(sent) => {
                    rest = rest.get(sent..).unwrap_or_default();
                    fds = None;
                }
                Err(Errno::AGAIN) => self.wait(Wait::Write, Step::Send)?,
                Err(Errno::INTR) => {}
                // The daemon has closed. It may have said why before: the reply, or its absence, tells.
                Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
                Err(errno) => return Err(RegisterError::Io(Step::Send, errno)),
            }
        }
        Ok(())
    }

    fn reply(&mut self, step: Step) -> Result<Reply, RegisterError> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(line) = self.lines.next_line()? {
                return Ok(protocol::parse_reply(&line)?);
            }
            self.wait(Wait::Read, step)?;
            match recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((_, 0)) | Err(Errno::CONNRESET) => return Err(RegisterError::Closed(step)),
                Ok((_, n)) => self.lines.push(buffer.get(..n).unwrap_or_default()),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(RegisterError::Io(step, errno)),
            }
        }
    }

    fn wait(&self, what: Wait, step: Step) -> Result<(), RegisterError> {
        match wait(&self.socket, what, self.deadline) {
            Ok(true) => Ok(()),
            Ok(false) => Err(RegisterError::Timeout(step)),
            Err(errno) => Err(RegisterError::Io(step, errno)),
        }
    }
}

/// What to wait for.
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    Read,
    Write,
}

/// Waits until the descriptor can be read or written (or has ended); `false` when the deadline comes first.
pub(crate) fn wait(fd: impl AsFd, what: Wait, deadline: Instant) -> Result<bool, Errno> {
    let flags = match what {
        Wait::Read => PollFlags::IN,
        Wait::Write => PollFlags::OUT,
    };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| Errno::OVERFLOW)?;
        match poll(&mut [PollFd::new(&fd, flags)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
