//! Reads a recording from its begin to its end: block after block, past what is damaged, up to the last whole block where
//! it was cut. Nothing it reads is trusted.
#![deny(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    unsafe_code
)]

use std::{
    fmt,
    fs::File,
    io::{self, BufReader, Cursor, ErrorKind, Read},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    HEAD, MAGIC, Origin, Raw, Summary, VERSION,
    block::{self, Containers, Items, Said, Want},
    writer::{END, END_BYTES},
};
use crate::event::Event;

/// What a recording has, in its order.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are events, and none is kept"
)]
pub enum Entry {
    /// With the number that its container has in this recording.
    Event(u16, Event),
    Summary(u16, Box<Summary>),
}

/// What is missing of a recording. Known when it has been read to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Its writer ended it: nothing is missing behind the last block.
    pub ended: bool,
    /// Bytes at its end that are no whole block.
    pub cut: u64,
    /// Blocks whose sums or contents are wrong; none of their events is shown from there on.
    pub damaged: u64,
    /// Bytes between blocks that are none.
    pub skipped: u64,
}

impl Damage {
    /// Whether all is there.
    pub const fn is_none(&self) -> bool {
        self.ended && self.cut == 0 && self.damaged == 0 && self.skipped == 0
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.damaged > 0 {
            parts.push(format!("{} of its blocks are damaged", self.damaged));
        }
        if self.skipped > 0 {
            parts.push(format!("{} bytes in it are no block", self.skipped));
        }
        if self.cut > 0 {
            parts.push(format!(
                "it is cut: its last {} bytes are no whole block",
                self.cut
            ));
        } else if !self.ended {
            parts.push("it was never ended: what came after its last block is not in it".to_owned());
        }
        to.write_str(&parts.join("; "))
    }
}

/// A recording that is being read.
pub struct Recording {
    from: Box<dyn Read + Send>,
    items: Option<Items>,
    origin: Option<Arc<Origin>>,
    containers: Containers,
    want: Want,
    /// Bytes that were read ahead of where a block might begin.
    ahead: Vec<u8>,
    damage: Damage,
    done: bool,
}

impl fmt::Debug for Recording {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Recording")
            .field("origin", &self.origin)
            .field("damage", &self.damage)
            .finish_non_exhaustive()
    }
}

impl Recording {
    /// Opens a file; `-` is standard input.
    ///
    /// # Errors
    /// The system's, or that it is no recording.
    pub fn open(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Self::new(io::stdin()).context("read a recording from standard input");
        }
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        Self::new(BufReader::with_capacity(256 * 1024, file)).with_context(|| format!("{}", path.display()))
    }

    /// Reads what was fetched.
    ///
    /// # Errors
    /// When it is no recording.
    pub fn of(bytes: Vec<u8>) -> Result<Self> {
        Self::new(Cursor::new(bytes))
    }

    /// Reads from anywhere.
    ///
    /// # Errors
    /// The reader's, or that it is no recording.
    pub fn new(from: impl Read + Send + 'static) -> Result<Self> {
        let mut from: Box<dyn Read + Send> = Box::new(from);
        let head = take(&mut from, HEAD)?;
        ensure!(
            head.starts_with(MAGIC),
            "this is no recording: it begins with other bytes"
        );
        let version = head
            .get(MAGIC.len()..)
            .and_then(|rest| rest.first_chunk())
            .map(|version| u16::from_le_bytes(*version));
        match version {
            Some(VERSION) if head.len() == HEAD => {}
            Some(version) if version != VERSION => {
                bail!(
                    "the recording has format {version}, and this program reads format {VERSION}: take the tracer that \
                     wrote it"
                )
            }
            _ => bail!("the recording is cut within its first bytes: nothing is left of it"),
        }
        Ok(Self {
            from,
            items: None,
            origin: None,
            containers: Containers::default(),
            want: Want::All,
            ahead: Vec::new(),
            damage: Damage::default(),
            done: false,
        })
    }

    /// Shows no more than that many bytes of strings.
    #[must_use]
    pub fn strings(self, most: u16) -> Self {
        Self {
            want: Want::Strings(most),
            ..self
        }
    }

    /// What it holds of its containers beside their events, the last of each.
    ///
    /// # Errors
    /// As of [`Self::entry`]; or that it holds nothing.
    pub fn summaries(mut self) -> Result<Vec<Summary>> {
        self.want = Want::Summaries;
        let mut all: Vec<(u16, Summary)> = Vec::new();
        while let Some(entry) = self.entry()? {
            if let Entry::Summary(number, summary) = entry {
                all.retain(|(known, _)| *known != number);
                all.push((number, *summary));
            }
        }
        ensure!(
            !all.is_empty(),
            "the recording has no books: they come at its end, and it was cut before"
        );
        Ok(all.into_iter().map(|(_, summary)| summary).collect())
    }

    /// The next entry; `None` at the end, after which [`Self::damage`] tells what is missing.
    ///
    /// # Errors
    /// The reader's; or the records are of another version. Damage is no error: what is whole is read.
    pub fn entry(&mut self) -> Result<Option<Entry>> {
        loop {
            if let Some(items) = &mut self.items {
                match items.read(&mut self.containers, self.want) {
                    Ok(Some((number, said))) => {
                        return Ok(Some(match said {
                            Said::Event(event) => Entry::Event(number, event),
                            Said::Summary(summary) => Entry::Summary(number, summary),
                        }));
                    }
                    Ok(None) => {}
                    Err(error) if error.is::<block::OtherVersion>() => {
                        self.done = true;
                        return Err(error);
                    }
                    Err(_damaged) => self.damage.damaged += 1,
                }
                self.origin = items.origin().or(self.origin.as_ref()).cloned();
                self.items = None;
            }
            if self.done {
                return Ok(None);
            }
            self.block()?;
        }
    }

    /// The record that the last event was made of, where it was one.
    pub fn raw(&self) -> Option<Raw<'_>> {
        self.items.as_ref()?.raw()
    }

    /// The node that it was recorded on, as far as that has been read.
    pub fn origin(&self) -> Option<&Origin> {
        let current = self.items.as_ref().and_then(Items::origin);
        current.or(self.origin.as_ref()).map(AsRef::as_ref)
    }

    /// What is missing, as far as it has been read.
    pub const fn damage(&self) -> &Damage {
        &self.damage
    }

    /// Reads the next block, or finds the end.
    fn block(&mut self) -> Result<()> {
        let Some(head) = self.head()? else {
            self.done = true;
            return Ok(());
        };
        let stored = take(&mut self.from, head.stored as usize)?;
        if stored.len() < head.stored as usize {
            self.damage.cut = (block::HEAD + stored.len()) as u64;
            self.done = true;
            return Ok(());
        }
        match (head.kind, head.unpack(&stored)) {
            (block::ITEMS, Ok(plain)) => self.items = Some(Items::new(plain)),
            (block::INDEX, Ok(_index)) => self.end()?,
            // Of a later version that adds to this one.
            (_, Ok(_other)) => {}
            (_, Err(_damaged)) => self.damage.damaged += 1,
        }
        Ok(())
    }

    /// The next block's head, past what is none; `None` at the end.
    fn head(&mut self) -> Result<Option<block::Head>> {
        let mut none = 0;
        loop {
            let missing = block::HEAD.saturating_sub(self.ahead.len());
            self.ahead.extend(take(&mut self.from, missing)?);
            if let Some(head) = block::Head::read(&self.ahead) {
                self.ahead.clear();
                self.damage.skipped += none;
                return Ok(Some(head));
            }
            if self.ahead.len() < block::HEAD {
                self.damage.cut = none + self.ahead.len() as u64;
                self.ahead.clear();
                return Ok(None);
            }
            // To where one may begin.
            let rest = self.ahead.get(1..).unwrap_or_default();
            let next = rest.iter().position(|byte| Some(byte) == block::MAGIC.first());
            let gone = 1 + next.unwrap_or(rest.len());
            self.ahead.drain(..gone);
            none += gone as u64;
        }
    }

    /// What follows an index.
    fn end(&mut self) -> Result<()> {
        let end = take(&mut self.from, END_BYTES)?;
        if end.len() == END_BYTES && end.ends_with(END) {
            self.damage.ended = true;
        } else {
            self.damage.cut = end.len() as u64;
        }
        let behind = io::copy(&mut self.from, &mut io::sink()).context("read the recording")?;
        self.damage.skipped += behind;
        self.done = true;
        Ok(())
    }
}

/// So many bytes, or what there is of them; what is reserved grows with what comes.
fn take(from: &mut impl Read, bytes: usize) -> Result<Vec<u8>> {
    let mut taken = Vec::new();
    let read = from.by_ref().take(bytes as u64).read_to_end(&mut taken);
    match read {
        Ok(_) => Ok(taken),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(taken),
        Err(error) => Err(error).context("read the recording"),
    }
}
