//! NRI's wire: frames of the connection multiplexer (`pkg/net/multiplex` of containerd/nri), and in them the messages
//! of ttrpc. Bytes in, messages out; it knows nothing of what they say.
//!
//! Not by the `ttrpc` crate: its server wants an async runtime and a listener of its own (40 crates, or protoc), and
//! what a plugin needs of ttrpc is a header of ten bytes.
//!
//! A frame is `[u32 connection][u32 length]` and that many bytes, a message `[u32 length][u32 stream][u8 kind]
//! [u8 flags]` and that many bytes, all big-endian. Every length is the peer's word, and bounded.

use std::io::{self, ErrorKind, Read, Write};

use anyhow::{Context, Result, bail, ensure};

/// The connection on which the runtime calls the plugin.
pub(super) const PLUGIN: u32 = 1;
/// The connection on which the plugin calls the runtime.
pub(super) const RUNTIME: u32 = 2;

/// ttrpc's kinds of message.
pub(super) const REQUEST: u8 = 1;
pub(super) const RESPONSE: u8 = 2;

const FRAME_HEADER: usize = 8;
const MESSAGE_HEADER: usize = 10;
/// Longest message (`messageLengthMax` of ttrpc).
const MAX_MESSAGE: usize = 4 << 20;
/// Longest frame (`maxPayloadSize` of the multiplexer).
const MAX_FRAME: usize = MESSAGE_HEADER + MAX_MESSAGE;
/// Longest frame that we send. The runtime's ttrpc reads through a buffer of this size, and its multiplexer fails a
/// read into a buffer that is smaller than the frame.
const OUR_FRAME: usize = 4096;

/// A ttrpc message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub stream: u32,
    pub kind: u8,
    pub payload: Vec<u8>,
}

/// What came of waiting for a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// A message, and its connection.
    Message(u32, Message),
    /// Nothing, in the stream's read timeout.
    Idle,
    /// The peer has closed.
    End,
}

/// Both connections over one stream.
pub(super) struct Wire<S> {
    stream: S,
    /// Bytes that are no whole message yet, by connection ([`PLUGIN`], [`RUNTIME`]).
    pending: [Vec<u8>; 2],
}

impl<S: Read + Write> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            pending: [Vec::new(), Vec::new()],
        }
    }

    /// Sends a message.
    pub(super) fn send(&mut self, connection: u32, message: &Message) -> Result<()> {
        ensure!(
            message.payload.len() <= MAX_MESSAGE,
            "an answer of {} bytes",
            message.payload.len()
        );
        let mut bytes = Vec::with_capacity(MESSAGE_HEADER + message.payload.len());
        bytes.extend(u32::try_from(message.payload.len())?.to_be_bytes());
        bytes.extend(message.stream.to_be_bytes());
        bytes.extend([message.kind, 0]);
        bytes.extend(&message.payload);
        let mut frames = Vec::with_capacity(bytes.len() + 2 * FRAME_HEADER);
        for frame in bytes.chunks(OUR_FRAME) {
            frames.extend(connection.to_be_bytes());
            frames.extend(u32::try_from(frame.len())?.to_be_bytes());
            frames.extend(frame);
        }
        self.stream.write_all(&frames).context("write to the runtime")
    }

    /// The next message.
    pub(super) fn receive(&mut self) -> Result<Received> {
        loop {
            for (connection, pending) in [PLUGIN, RUNTIME].into_iter().zip(&mut self.pending) {
                if let Some(message) = cut(pending)? {
                    return Ok(Received::Message(connection, message));
                }
            }
            let mut header = [0; FRAME_HEADER];
            match self.fill(&mut header, true)? {
                Filled::All => {}
                Filled::Idle => return Ok(Received::Idle),
                Filled::End => return Ok(Received::End),
            }
            let [a, b, c, d, e, f, g, h] = header;
            let connection = u32::from_be_bytes([a, b, c, d]);
            let length = u32::from_be_bytes([e, f, g, h]) as usize;
            ensure!(length <= MAX_FRAME, "the runtime sent a frame of {length} bytes");
            let mut frame = vec![0; length];
            self.fill(&mut frame, false)?;
            match connection {
                PLUGIN => self.pending[0].extend(frame),
                RUNTIME => self.pending[1].extend(frame),
                _ => {} // one that we have not opened, as the multiplexer itself has it
            }
        }
    }

    /// Fills the buffer. Between two frames (`may_be_idle`) the peer may be silent, or close.
    fn fill(&mut self, buffer: &mut [u8], may_be_idle: bool) -> Result<Filled> {
        let mut got = 0;
        while let Some(rest) = buffer.get_mut(got..).filter(|rest| !rest.is_empty()) {
            let between = may_be_idle && got == 0;
            match self.stream.read(rest) {
                Ok(0) if between => return Ok(Filled::End),
                Ok(0) => bail!("the runtime closed in the middle of a frame"),
                Ok(more) => got += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) && between => return Ok(Filled::Idle),
                Err(error) if error.kind() == ErrorKind::ConnectionReset && between => {
                    return Ok(Filled::End);
                }
                Err(error) => return Err(error).context("read from the runtime"),
            }
        }
        Ok(Filled::All)
    }
}

enum Filled {
    All,
    Idle,
    End,
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Takes the first message out, when it is whole.
fn cut(pending: &mut Vec<u8>) -> Result<Option<Message>> {
    let Some(&[a, b, c, d, e, f, g, h, kind, _flags]) = pending.first_chunk::<MESSAGE_HEADER>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    ensure!(
        length <= MAX_MESSAGE,
        "the runtime sent a message of {length} bytes"
    );
    if pending.len() < MESSAGE_HEADER + length {
        return Ok(None);
    }
    let rest = pending.split_off(MESSAGE_HEADER + length);
    let mut payload = std::mem::replace(pending, rest);
    payload.drain(..MESSAGE_HEADER);
    Ok(Some(Message {
        stream: u32::from_be_bytes([e, f, g, h]),
        kind,
        payload,
    }))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    /// A stream whose reads are given and whose writes are kept.
    struct Both(Cursor<Vec<u8>>, Vec<u8>);

    impl Read for Both {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            self.0.read(to)
        }
    }

    impl Write for Both {
        fn write(&mut self, from: &[u8]) -> io::Result<usize> {
            self.1.extend(from);
            Ok(from.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn wire(bytes: &[u8]) -> Wire<Both> {
        Wire::new(Both(Cursor::new(bytes.to_vec()), Vec::new()))
    }

    fn message(payload: &[u8]) -> Message {
        Message {
            stream: 7,
            kind: REQUEST,
            payload: payload.to_vec(),
        }
    }

    #[test]
    fn a_long_message_goes_in_frames_that_the_runtime_can_read() {
        let long: Vec<u8> = (0..10_000_u32).map(|n| n as u8).collect();
        let mut out = wire(&[]);
        out.send(RUNTIME, &message(&long)).unwrap();
        let sent = out.stream.1;
        assert_eq!(&sent[..8], [0, 0, 0, 2, 0, 0, 16, 0]);
        assert_eq!(&sent[8..18], [0, 0, 39, 16, 0, 0, 0, 7, 1, 0]);
        assert_eq!(sent.len(), 10_000 + MESSAGE_HEADER + 3 * FRAME_HEADER);
        let mut back = wire(&sent);
        assert_eq!(
            back.receive().unwrap(),
            Received::Message(RUNTIME, message(&long))
        );
        assert_eq!(back.receive().unwrap(), Received::End);
    }

    #[test]
    fn messages_of_both_connections_come_apart() {
        let mut out = wire(&[]);
        out.send(PLUGIN, &message(b"one")).unwrap();
        out.send(RUNTIME, &message(b"two")).unwrap();
        let mut sent = out.stream.1;
        // Two messages in one frame, and a connection that nobody has opened.
        sent.extend([0, 0, 0, 9, 0, 0, 0, 1, 255]);
        sent.extend([0, 0, 0, 1, 0, 0, 0, 20]);
        sent.extend([0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0]);
        let mut back = wire(&sent);
        assert_eq!(
            back.receive().unwrap(),
            Received::Message(PLUGIN, message(b"one"))
        );
        assert_eq!(
            back.receive().unwrap(),
            Received::Message(RUNTIME, message(b"two"))
        );
        for stream in [1, 2] {
            let empty = Message {
                stream,
                ..message(b"")
            };
            assert_eq!(back.receive().unwrap(), Received::Message(PLUGIN, empty));
        }
        assert_eq!(back.receive().unwrap(), Received::End);
    }

    #[test]
    fn lengths_are_bounded() {
        let frame = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff];
        assert!(
            wire(&frame)
                .receive()
                .unwrap_err()
                .to_string()
                .contains("a frame of 4294967295")
        );
        let long = [0, 0, 0, 1, 0, 0, 0, 10, 0, 0x40, 0, 1, 0, 0, 0, 1, 1, 0];
        assert!(
            wire(&long)
                .receive()
                .unwrap_err()
                .to_string()
                .contains("a message of 4194305")
        );
        assert!(wire(&[0, 0, 0, 1, 0, 0, 0, 5, 1]).receive().is_err(), "cut short");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut wire = wire(&bytes);
            while let Ok(Received::Message(..)) = wire.receive() {}
        }

        #[test]
        fn what_is_sent_is_received(payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9000), 0..5)) {
            let mut out = wire(&[]);
            for payload in &payloads {
                out.send(PLUGIN, &message(payload)).unwrap();
            }
            let mut back = wire(&out.stream.1);
            for payload in &payloads {
                prop_assert_eq!(back.receive().unwrap(), Received::Message(PLUGIN, message(payload)));
            }
            prop_assert_eq!(back.receive().unwrap(), Received::End);
        }
    }
}
