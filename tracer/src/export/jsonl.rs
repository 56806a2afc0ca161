//! JSON Lines: what `tracer tail -o json` prints (`docs/events.md`).

use std::io::{self, Write};

use super::{Buffered, Export};
use crate::{
    event::{Descriptors, Event},
    sinks::json,
};

pub(super) struct Jsonl<W> {
    to: Buffered<W>,
    descriptors: Descriptors,
}

impl<W: Write> Jsonl<W> {
    pub(super) fn begin(to: W, descriptors: Descriptors) -> Self {
        Self {
            to: Buffered::new(to),
            descriptors,
        }
    }
}

impl<W: Write> Export for Jsonl<W> {
    fn take(&mut self, event: &Event) -> io::Result<()> {
        json::write_event(&mut self.to.bytes, event, self.descriptors);
        self.to.drain()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.to.finish()
    }
}
