//! Writes a recording: the head, whole blocks as they come, the index at the end.

use std::io::{self, Write};

use super::{HEAD, MAGIC, VERSION, block};

/// What the end of a whole file says: where the index is, then these letters.
pub(super) const END: &[u8; 8] = b"tracend\0";
/// Bytes of the end.
pub(super) const END_BYTES: usize = 16;
/// Bytes of a row of the index.
pub(super) const ROW: usize = 32;

/// Writes a recording.
#[derive(Debug)]
pub struct Writer<W: Write> {
    to: W,
    at: u64,
    /// A row a block: where it is (8 bytes), when its first and its last event were (8 each), how many records and other
    /// events it has (4 each).
    index: Vec<u8>,
    begun: bool,
}

impl<W: Write> Writer<W> {
    pub fn new(to: W) -> Self {
        Self {
            to,
            at: 0,
            index: Vec::new(),
            begun: false,
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            let mut head = [0; HEAD];
            let version = VERSION.to_le_bytes();
            for (to, from) in head.iter_mut().zip(MAGIC.iter().chain(&version)) {
                *to = *from;
            }
            self.to.write_all(&head)?;
            self.at = HEAD as u64;
        }
        Ok(())
    }

    /// Writes whole blocks, and hands them on: what has been written survives this process.
    ///
    /// # Errors
    /// The writer's.
    pub fn blocks(&mut self, blocks: &[u8]) -> io::Result<()> {
        self.begin()?;
        let mut rest = blocks;
        let mut at = self.at;
        while let Some(head) = block::Head::read(rest) {
            let length = block::HEAD + head.stored as usize;
            self.index.extend(at.to_le_bytes());
            self.index.extend(head.first.to_le_bytes());
            self.index.extend(head.last.to_le_bytes());
            self.index.extend(head.records.to_le_bytes());
            self.index.extend(head.others.to_le_bytes());
            at += length as u64;
            rest = rest.get(length..).unwrap_or_default();
        }
        self.to.write_all(blocks)?;
        self.at += blocks.len() as u64;
        self.to.flush()
    }

    /// Ends the recording: writes the index.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(&mut self) -> io::Result<()> {
        self.begin()?;
        let mut end = Vec::new();
        block::pack(block::INDEX, &self.index, (0, 0), (0, 0), &mut end);
        end.extend(self.at.to_le_bytes());
        end.extend(END);
        self.to.write_all(&end)?;
        self.to.flush()
    }
}

/// Takes whole blocks, as [`Writer::blocks`].
impl<W: Write> Write for Writer<W> {
    fn write(&mut self, blocks: &[u8]) -> io::Result<usize> {
        self.blocks(blocks)?;
        Ok(blocks.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
