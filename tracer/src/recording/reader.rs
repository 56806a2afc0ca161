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
    io::{self, BufReader, Cursor, ErrorKind, Read, Seek, SeekFrom},
    ops::RangeInclusive,
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    HEAD, MAGIC, Origin, Raw, Summary, VERSION,
    block::{self, Containers, Items, Said, Want},
    window::{self, Row, Window},
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

/// What can be read from anywhere in it.
trait Whole: Read + Seek + Send {}

impl<T: Read + Seek + Send> Whole for T {}

/// Where a recording comes from.
enum Source {
    Whole(Box<dyn Whole>),
    Stream(Box<dyn Read + Send>),
}

impl Read for Source {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Whole(from) => from.read(to),
            Self::Stream(from) => from.read(to),
        }
    }
}

/// The part of a recording that is read.
struct Part {
    window: Window,
    /// CLOCK_MONOTONIC nanoseconds; no less than the window.
    times: RangeInclusive<u64>,
    /// Its blocks, and where the index behind them is; none where it has no index.
    index: Option<(Vec<Row>, u64)>,
}

impl Part {
    /// Whether any of a block may be in it.
    fn has(&self, first: u64, last: u64) -> bool {
        first <= *self.times.end() && last >= *self.times.start()
    }

    fn takes(&self, said: &Said) -> bool {
        match said {
            // What could not be read has no time, and is a loss.
            Said::Event(event) => {
                let is_in = self.times.contains(&event.ktime) && self.window.has(event.time_ns);
                event.ktime == 0 || is_in
            }
            Said::Summary(_) => false,
        }
    }
}

/// A recording that is being read.
pub struct Recording {
    from: Source,
    part: Option<Part>,
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
        let file = BufReader::with_capacity(256 * 1024, file);
        Self::whole(file).with_context(|| format!("{}", path.display()))
    }

    /// Reads what was fetched.
    ///
    /// # Errors
    /// When it is no recording.
    pub fn of(bytes: Vec<u8>) -> Result<Self> {
        Self::whole(Cursor::new(bytes))
    }

    /// Reads what can be read from anywhere in it.
    pub(super) fn whole(from: impl Read + Seek + Send + 'static) -> Result<Self> {
        Self::begin(Source::Whole(Box::new(from)))
    }

    /// Reads from anywhere.
    ///
    /// # Errors
    /// The reader's, or that it is no recording.
    pub fn new(from: impl Read + Send + 'static) -> Result<Self> {
        Self::begin(Source::Stream(Box::new(from)))
    }

    fn begin(mut from: Source) -> Result<Self> {
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
            part: None,
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

    /// Reads no more than that stretch of it, and leaves out what is of a container's whole life. Blocks that have none
    /// of it are passed over: by the index where there is one and the recording is a file, else by their heads. For what
    /// has been opened and not read.
    ///
    /// # Errors
    /// The reader's, or that the stretch ends before it begins.
    pub fn within(mut self, window: &Window) -> Result<Self> {
        if window.is_all() {
            return Ok(self);
        }
        let Some((first, clock)) = self.first()? else {
            return Ok(self);
        };
        let mut index = None;
        if let Source::Whole(from) = &mut self.from {
            // What is no file, but a pipe with a name, has no places.
            if let Ok(at) = from.stream_position() {
                index = window::index(&mut **from).ok().flatten();
                from.seek(SeekFrom::Start(at)).context("read the recording")?;
            }
        }
        self.part = Some(Part {
            window: *window,
            times: window.of(first, clock)?,
            index,
        });
        Ok(self)
    }

    /// When its first block begins, and how much the wall clock was ahead of CLOCK_MONOTONIC then; `None` where it has no
    /// event.
    fn first(&mut self) -> Result<Option<(u64, i64)>> {
        while !self.done {
            self.block()?;
            let Some(items) = &self.items else { continue };
            let mut probe = items.clone();
            let mut first: Option<(u64, i64)> = None;
            // Damage is counted when it is read again.
            while let Ok(Some((_, said))) = probe.read(&mut Containers::default(), self.want) {
                let Said::Event(Event { time_ns, ktime, .. }) = said else {
                    continue;
                };
                if ktime != 0 {
                    let clock = time_ns.cast_signed().wrapping_sub(ktime.cast_signed());
                    let so_far = first.map_or(u64::MAX, |(first, _)| first);
                    first = Some((so_far.min(ktime), first.map_or(clock, |(_, clock)| clock)));
                }
            }
            if first.is_some() {
                return Ok(first);
            }
        }
        Ok(None)
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
                        if let Some(part) = &self.part
                            && !part.takes(&said)
                        {
                            continue;
                        }
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
        self.pass_over()?;
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
        let part = self.part.as_ref().filter(|_| head.kind == block::ITEMS);
        if part.is_some_and(|part| !part.has(head.first, head.last)) {
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

    /// Goes to the next block that has any of what is read, or to the index.
    fn pass_over(&mut self) -> Result<()> {
        let (Some(part), Source::Whole(from)) = (&self.part, &mut self.from) else {
            return Ok(());
        };
        // Where it has lost its place it looks for a block, byte by byte.
        let Some((rows, end)) = part.index.as_ref().filter(|_| self.ahead.is_empty()) else {
            return Ok(());
        };
        let at = from.stream_position().context("read the recording")?;
        let behind = rows.partition_point(|row| row.at < at);
        let ahead = rows.get(behind..).unwrap_or_default();
        let next = ahead
            .iter()
            .find(|row| part.has(row.first, row.last))
            .map_or(*end, |row| row.at);
        if next > at {
            from.seek(SeekFrom::Start(next)).context("read the recording")?;
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
