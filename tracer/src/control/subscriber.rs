//! The sink of a live subscriber: a queue, bounded in bytes, to the task that writes its socket.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::mpsc;

use crate::sinks::Sink;

/// Most bytes that wait for a live subscriber.
const SUBSCRIBER_BYTES: usize = 64 << 20;

/// A live subscriber: a bounded queue to the task that writes its socket.
pub(super) struct Subscriber {
    queue: mpsc::UnboundedSender<Chunk>,
    waiting: Arc<AtomicUsize>,
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
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Chunk>) {
        let (queue, chunks) = mpsc::unbounded_channel();
        (
            Self {
                queue,
                waiting: Arc::default(),
            },
            chunks,
        )
    }
}

impl Sink for Subscriber {
    fn write(&mut self, lines: &mut Vec<u8>) -> io::Result<bool> {
        let len = lines.len();
        if self.waiting.load(Ordering::Relaxed) + len > SUBSCRIBER_BYTES {
            if self.queue.is_closed() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            lines.clear();
            return Ok(false);
        }
        self.waiting.fetch_add(len, Ordering::Relaxed);
        let chunk = Chunk {
            lines: std::mem::take(lines),
            waiting: self.waiting.clone(),
        };
        self.queue
            .send(chunk)
            .map(|()| true)
            .map_err(|_closed| io::ErrorKind::BrokenPipe.into())
    }
}
