//! A daemon that says what a test wants it to say, on a socket in a directory of its own.

use std::{
    fs,
    io::{IoSliceMut, Write},
    mem::MaybeUninit,
    os::fd::OwnedFd,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg, sockopt::socket_peercred};
use tracer_hook::protocol::{Lines, MAX_MESSAGE, REGISTER_FDS, Reply, Request, encode, parse_request};

/// The runtime directory of one test; gone with it.
pub(crate) struct Directory(tempfile::TempDir);

impl Directory {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        tracer_hook::socket_path(self.path())
    }

    /// The markers, each of which must be whole.
    pub(crate) fn markers(&self) -> Vec<tracer_hook::missed::Marker> {
        let markers = tracer_hook::missed::read_all(self.path()).unwrap();
        markers.into_iter().map(|(_, marker)| marker.unwrap()).collect()
    }

    /// Listens, then runs `talk` with the first connection in a thread.
    pub(crate) fn daemon<T: Send + 'static>(
        &self,
        talk: impl FnOnce(Peer) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let listener = UnixListener::bind(self.socket()).unwrap();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            talk(Peer {
                stream,
                lines: Lines::default(),
            })
        })
    }
}

/// A hook that is connected.
pub(crate) struct Peer {
    stream: UnixStream,
    lines: Lines,
}

impl Peer {
    /// The next request and the descriptors of the recvmsg(2) that brought its first byte.
    pub(crate) fn receive(&mut self) -> (Request, Vec<OwnedFd>) {
        let (mut fds, mut buffer, mut first) = (Vec::new(), vec![0; MAX_MESSAGE], true);
        loop {
            if let Some(line) = self.lines.next_line().unwrap() {
                return (parse_request(&line).unwrap(), fds);
            }
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(REGISTER_FDS + 1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let message = recvmsg(
                &self.stream,
                &mut [IoSliceMut::new(&mut buffer)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            )
            .unwrap();
            assert_ne!(message.bytes, 0, "the hook closed the connection");
            for part in control.drain() {
                if let RecvAncillaryMessage::ScmRights(passed) = part {
                    assert!(first, "descriptors come with the first byte");
                    fds.extend(passed);
                }
            }
            self.lines.push(&buffer[..message.bytes]);
            first = false;
        }
    }

    /// What the register says, and its descriptors.
    pub(crate) fn registered(&mut self) -> (Request, [OwnedFd; REGISTER_FDS]) {
        let (request, fds) = self.receive();
        assert!(matches!(request, Request::Register { .. }), "{request:?}");
        (request, fds.try_into().expect("three descriptors"))
    }

    pub(crate) fn say(&mut self, reply: &Reply) {
        self.say_bytes(&encode(reply).unwrap());
    }

    pub(crate) fn say_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Challenges and takes the hook's word for it.
    pub(crate) fn challenge(&mut self, nonce: u64) {
        self.say(&Reply::Challenge { nonce });
        assert_eq!(self.receive().0, Request::Proved { v: 1 });
    }

    /// The pid that the kernel names as the peer, and its threads.
    pub(crate) fn pid_and_threads(&self) -> (i32, usize) {
        let pid = socket_peercred(&self.stream).unwrap().pid.as_raw_nonzero().get();
        (pid, fs::read_dir(format!("/proc/{pid}/task")).unwrap().count())
    }

    /// Waits until the hook closes. No answer, however long it takes.
    pub(crate) fn until_closed(mut self) {
        std::io::copy(&mut self.stream, &mut std::io::sink()).ok();
    }
}
