//! Events as a file that another program opens: a Chrome trace, Parquet, CSV, JSON Lines. One event at a time; what is
//! held does not grow with their number.
//!
//! It must not know where events come from. Each format is a file in `export/`; `row` is the table that Parquet and CSV
//! share.

mod chrome;
mod csv;
mod jsonl;
mod parquet;
mod row;

use std::io::{self, Write};

use crate::event::{Descriptors, Event};

/// What an export is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Chrome's Trace Event Format, which Perfetto and chrome://tracing open.
    Chrome,
    /// A table, typed and compressed, in row groups.
    Parquet,
    /// The same table as text (RFC 4180).
    Csv,
    /// The lines of `tracer tail -o json`.
    Jsonl,
}

/// Takes events, in the order in which they come.
pub trait Export {
    /// Takes one.
    ///
    /// # Errors
    /// The writer's.
    fn take(&mut self, event: &Event) -> io::Result<()>;

    /// Writes what makes the file whole. Without it a Chrome trace or a Parquet file is damaged.
    ///
    /// # Errors
    /// The writer's.
    fn finish(&mut self) -> io::Result<()>;
}

/// Begins a file.
///
/// # Errors
/// The writer's.
pub fn begin<'a>(
    format: Format,
    to: impl Write + Send + 'a,
    descriptors: Descriptors,
) -> io::Result<Box<dyn Export + 'a>> {
    Ok(match format {
        Format::Chrome => Box::new(chrome::Chrome::begin(to, descriptors)?),
        Format::Parquet => Box::new(parquet::Parquet::begin(to, descriptors)?),
        Format::Csv => Box::new(csv::Csv::begin(to, descriptors)?),
        Format::Jsonl => Box::new(jsonl::Jsonl::begin(to, descriptors)),
    })
}

/// Bytes that are gathered before they are written.
const CHUNK: usize = 256 * 1024;

/// A buffer before a writer, as long as lines are short.
struct Buffered<W> {
    to: W,
    bytes: Vec<u8>,
}

impl<W: Write> Buffered<W> {
    fn new(to: W) -> Self {
        Self {
            to,
            bytes: Vec::with_capacity(CHUNK + CHUNK / 4),
        }
    }

    /// Writes, when there is enough.
    fn drain(&mut self) -> io::Result<()> {
        if self.bytes.len() >= CHUNK {
            self.to.write_all(&self.bytes)?;
            self.bytes.clear();
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.to.write_all(&self.bytes)?;
        self.bytes.clear();
        self.to.flush()
    }
}

#[cfg(test)]
mod tests;
