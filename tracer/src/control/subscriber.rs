//! The sink of a live subscriber: a queue, bounded in bytes, to the task that writes its socket.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::mpsc;

use crate::{quota::Room, sinks::Sink};

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
    fn write(&mut self, lines: &mut Vec<u8>) -> io::Result<bool> {
        let len = lines.len();
        if self.room.waiting.load(Ordering::Relaxed) + len > self.room.most {
            if self.queue.is_closed() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            lines.clear();
            return Ok(false);
        }
        self.room.waiting.fetch_add(len, Ordering::Relaxed);
        let chunk = Chunk {
            lines: std::mem::take(lines),
            waiting: self.room.waiting.clone(),
        };
        self.queue
            .send(chunk)
            .map(|()| true)
            .map_err(|_closed| io::ErrorKind::BrokenPipe.into())
    }
}
