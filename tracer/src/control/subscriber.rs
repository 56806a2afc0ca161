//! The sink of a live subscriber: a queue, bounded in bytes, to the task that writes its socket.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::mpsc;

use crate::{
    quota::Room,
    sinks::{self, Sink, Taken},
};

/// A live subscriber: a bounded queue to the task that writes its socket.
pub(super) struct Subscriber {
    queue: mpsc::UnboundedSender<Chunk>,
    room: Room,
}

/// Lines on their way to a subscriber; gives its room back when it is dropped.
pub(super) struct Chunk {
    pub(super) lines: Vec<u8>,
    waiting: Arc<AtomicUsize>,
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.lines.len(), Ordering::Relaxed);
    }
}

impl Subscriber {
    /// A subscriber and the end that its writer reads. The channel counts no items, so its bound is in bytes.
    pub(super) fn new(room: Room) -> (Self, mpsc::UnboundedReceiver<Chunk>) {
        let (queue, chunks) = mpsc::unbounded_channel();
        (Self { queue, room }, chunks)
    }
}

impl Sink for Subscriber {
    fn write(&mut self, chunk: &mut sinks::Chunk) -> io::Result<Taken> {
        let lines = chunk.bytes();
        let len = lines.len();
        if self.room.waiting.load(Ordering::Relaxed) + len > self.room.most() {
            if self.queue.is_closed() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            return Ok(Taken::Dropped);
        }
        self.room.waiting.fetch_add(len, Ordering::Relaxed);
        let mut lines = chunk.take_bytes();
        // A buffer that was grown for them may have room for twice as much, which would wait with them.
        lines.shrink_to_fit();
        let chunk = Chunk {
            lines,
            waiting: self.room.waiting.clone(),
        };
        // It waits, but for the client: what it does not fetch is its own loss.
        self.queue
            .send(chunk)
            .map(|()| Taken::Written)
            .map_err(|_closed| io::ErrorKind::BrokenPipe.into())
    }
}
