//! What waits on disk for a receiver that is away: batches in order, bounded in bytes, kept over the daemon's end.
//!
//! A directory of segments, files that are only added to and are removed when all of it is delivered. Each record stands
//! behind its length and the CRC-32 of its bytes, so a torn or damaged one is seen; what follows it in its segment is
//! given up, since nothing tells where the next one begins. A cursor says how far the first segment is delivered; a stale
//! one makes deliveries again, never leaves one out. Nothing is synced to the disk: it outlives the daemon, and of what
//! the machine's own death tears off the CRC tells.
//!
//! It must not know receivers, nor what a record means beyond whose calls are in it.

use std::{
    collections::{HashMap, VecDeque},
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, OFlags, flock};

/// What each segment begins with; the last byte is the version of what follows.
const MAGIC: &[u8; 8] = b"TRSPOOL\x01";
/// Length and CRC before each record.
const HEAD: u64 = 8;
/// A record is never longer: a length beyond it is damage.
const LONGEST: u32 = 64 << 20;
/// A segment is given up to the next one from there on, or at an eighth of what the spool may hold.
const SEGMENT: u64 = 8 << 20;
/// How a segment's file is called after its number.
const SUFFIX: &str = ".spool";

/// A key of an account, and its calls in a record.
pub(super) type Calls = Vec<(u64, u64)>;

/// A batch as it lies on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// The daemon's run that numbered the events, and the number of the first.
    pub(super) run: u64,
    pub(super) first: u64,
    /// Keys of accounts, which mean something to that run alone.
    pub(super) owners: Vec<u64>,
    /// Each event's end in `bytes`, and its owner's place among `owners`, or `u16::MAX`.
    pub(super) entries: Vec<(u32, u16)>,
    pub(super) bytes: Vec<u8>,
}

impl Record {
    /// Calls by account.
    pub(super) fn calls(&self) -> Calls {
        let mut calls: Calls = self.owners.iter().map(|key| (*key, 0)).collect();
        for (_, owner) in &self.entries {
            if let Some((_, count)) = calls.get_mut(usize::from(*owner)) {
                *count += 1;
            }
        }
        calls
    }

    fn encode(&self) -> Vec<u8> {
        let len = 24 + self.owners.len() * 8 + self.entries.len() * 6 + self.bytes.len();
        let mut out = Vec::with_capacity(len + HEAD as usize);
        out.extend_from_slice(&[0; HEAD as usize]);
        out.extend_from_slice(&self.run.to_le_bytes());
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&(self.owners.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        for key in &self.owners {
            out.extend_from_slice(&key.to_le_bytes());
        }
        for (end, owner) in &self.entries {
            out.extend_from_slice(&end.to_le_bytes());
            out.extend_from_slice(&owner.to_le_bytes());
        }
        out.extend_from_slice(&self.bytes);
        let (head, body) = out.split_at_mut(HEAD as usize);
        let (length, crc) = head.split_at_mut(4);
        length.copy_from_slice(&(body.len() as u32).to_le_bytes());
        crc.copy_from_slice(&crc32fast::hash(body).to_le_bytes());
        out
    }

    /// `None` for what [`Self::encode`] never makes.
    fn decode(body: &[u8]) -> Option<Self> {
        let mut rest = Bytes(body);
        let (run, first) = (rest.long()?, rest.long()?);
        let (owners, entries) = (rest.word()? as usize, rest.word()? as usize);
        if owners * 8 + entries * 6 > rest.0.len() {
            return None;
        }
        let owners: Vec<_> = (0..owners).map(|_| rest.long()).collect::<Option<_>>()?;
        let entries: Vec<_> = (0..entries)
            .map(|_| Some((rest.word()?, rest.half()?)))
            .collect::<Option<_>>()?;
        let mut before = 0;
        for (end, _) in &entries {
            if *end < before || *end as usize > rest.0.len() {
                return None;
            }
            before = *end;
        }
        (before as usize == rest.0.len()).then(|| Self {
            run,
            first,
            owners,
            entries,
            bytes: rest.0.to_vec(),
        })
    }
}

/// Bytes from which numbers are taken.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_at_checked(N)?;
        self.0 = rest;
        head.try_into().ok()
    }

    fn long(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn word(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn half(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }
}

#[derive(Debug)]
struct Segment {
    number: u64,
    /// Up to where its records are good.
    bytes: u64,
    /// Events and calls in it that are not delivered.
    events: u64,
    calls: HashMap<u64, u64>,
    /// It was there when the spool was opened.
    earlier: bool,
}

/// What was given up because it could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Damaged {
    pub(super) bytes: u64,
    pub(super) events: u64,
    /// Of these, what was there when the spool was opened.
    pub(super) earlier: u64,
    /// Of what this run has put in.
    pub(super) calls: Calls,
}

/// The spool of one sink.
#[derive(Debug)]
pub(super) struct Spool {
    directory: PathBuf,
    /// Held for as long as it lives: two daemons must not share one.
    _lock: File,
    most: u64,
    run: u64,
    segments: VecDeque<Segment>,
    /// How far the first segment is delivered.
    at: u64,
    /// The next one's number: none is used again, or an old cursor would be taken for its.
    next: u64,
    /// The last segment, while it is added to.
    writer: Option<File>,
    /// The first one.
    reader: Option<File>,
    cursor: File,
    head: Option<(Record, u64)>,
    damaged: Damaged,
}

impl Spool {
    /// Opens the directory, which is made if it is not there. `None` while another process has it.
    ///
    /// # Errors
    /// When it cannot be made, or what is in it cannot be read.
    pub(super) fn open(directory: &Path, most: u64, run: u64) -> io::Result<Option<Self>> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        fs::set_permissions(directory, Permissions::from_mode(0o700))?;
        let lock = private().create(true).open(directory.join("lock"))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        let cursor = private().create(true).open(directory.join("cursor"))?;
        let mut spool = Self {
            directory: directory.to_owned(),
            _lock: lock,
            most,
            run,
            segments: VecDeque::new(),
            at: 0,
            next: 1,
            writer: None,
            reader: None,
            cursor,
            head: None,
            damaged: Damaged::default(),
        };
        spool.scan()?;
        Ok(Some(spool))
    }

    /// Finds what an earlier daemon has left.
    fn scan(&mut self) -> io::Result<()> {
        let mut numbers: Vec<u64> = fs::read_dir(&self.directory)?
            .filter_map(|entry| {
                let name = entry.ok()?.file_name();
                name.to_str()?.strip_suffix(SUFFIX)?.parse().ok()
            })
            .collect();
        numbers.sort_unstable();
        let cursor = self.read_cursor();
        let used = numbers.last().copied().max(cursor.map(|(of, _)| of));
        self.next = used.unwrap_or(0).saturating_add(1);
        for number in numbers {
            let content = fs::read(self.path(number))?;
            let done = cursor.filter(|(of, _)| *of == number).map_or(0, |(_, at)| at);
            let mut segment = Segment {
                number,
                bytes: MAGIC.len() as u64,
                events: 0,
                calls: HashMap::new(),
                earlier: true,
            };
            let mut begins = Vec::new();
            if content.starts_with(MAGIC) {
                while let Some((record, length)) = record_at(&content, segment.bytes) {
                    begins.push((segment.bytes, record.entries.len() as u64));
                    segment.bytes += length;
                }
            }
            self.damaged.bytes += (content.len() as u64).saturating_sub(segment.bytes);
            // A cursor in the middle of a record is none.
            let at = if done == segment.bytes || begins.iter().any(|(begin, _)| *begin == done) {
                done
            } else {
                MAGIC.len() as u64
            };
            let waiting = begins.iter().filter(|(begin, _)| *begin >= at);
            segment.events = waiting.map(|(_, events)| events).sum();
            if segment.events == 0 {
                fs::remove_file(self.path(number))?;
                continue;
            }
            if self.segments.is_empty() {
                self.at = at;
            }
            self.segments.push_back(segment);
        }
        Ok(())
    }

    /// Segment and place.
    fn read_cursor(&self) -> Option<(u64, u64)> {
        let mut text = [0; 42];
        let len = self.cursor.read_at(&mut text, 0).ok()?;
        let (number, at) = std::str::from_utf8(text.get(..len)?)
            .ok()?
            .trim_end()
            .split_once(' ')?;
        Some((number.parse().ok()?, at.parse().ok()?))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:020}{SUFFIX}"))
    }

    /// Adds a record at the end; false where there is no room.
    ///
    /// # Errors
    /// What the disk says (full, broken); the record is not in.
    pub(super) fn append(&mut self, record: &Record) -> io::Result<bool> {
        let encoded = record.encode();
        let len = encoded.len() as u64;
        if len > u64::from(LONGEST) || self.bytes() + len > self.most {
            return Ok(false);
        }
        let segment_bytes = SEGMENT.min(self.most / 8);
        let full = |segment: &Segment| segment.bytes + len > segment_bytes;
        if self.writer.is_none() || self.segments.back().is_none_or(full) {
            self.begin_segment()?;
        }
        let (Some(file), Some(segment)) = (&self.writer, self.segments.back_mut()) else {
            return Ok(false);
        };
        if let Err(error) = file.write_all_at(&encoded, segment.bytes) {
            // What is torn would be given up with all that follows it.
            file.set_len(segment.bytes)?;
            return Err(error);
        }
        segment.bytes += len;
        segment.events += record.entries.len() as u64;
        for (key, calls) in record.calls() {
            *segment.calls.entry(key).or_default() += calls;
        }
        Ok(true)
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let number = self.next;
        let path = self.path(number);
        let mut file = private().create_new(true).open(&path)?;
        if let Err(error) = file.write_all(MAGIC) {
            fs::remove_file(&path)?;
            return Err(error);
        }
        if self.segments.is_empty() {
            self.at = MAGIC.len() as u64;
        }
        self.segments.push_back(Segment {
            number,
            bytes: MAGIC.len() as u64,
            events: 0,
            calls: HashMap::new(),
            earlier: false,
        });
        self.next += 1;
        self.writer = Some(file);
        Ok(())
    }

    /// The oldest record.
    ///
    /// # Errors
    /// When its file cannot be opened.
    pub(super) fn head(&mut self) -> io::Result<Option<&Record>> {
        while self.head.is_none() {
            let Some(first) = self.segments.front() else {
                return Ok(None);
            };
            if self.at >= first.bytes {
                self.remove_first()?;
                continue;
            }
            if self.reader.is_none() {
                self.reader = Some(private().open(self.path(first.number))?);
            }
            let read = self
                .reader
                .as_ref()
                .and_then(|file| read_record(file, self.at, first.bytes));
            match read {
                Some(head) => self.head = Some(head),
                None => self.give_up_first()?,
            }
        }
        Ok(self.head.as_ref().map(|(record, _)| record))
    }

    /// Takes the oldest record out: it is delivered.
    ///
    /// # Errors
    /// When that could not be noted: after a restart it may be delivered again.
    pub(super) fn pop(&mut self) -> io::Result<()> {
        let Some((record, len)) = self.head.take() else {
            return Ok(());
        };
        self.at += len;
        let Some(first) = self.segments.front_mut() else {
            return Ok(());
        };
        first.events = first.events.saturating_sub(record.entries.len() as u64);
        if record.run == self.run {
            for (key, calls) in record.calls() {
                if let Some(left) = first.calls.get_mut(&key) {
                    *left = left.saturating_sub(calls);
                }
            }
        }
        let number = first.number;
        if self.at >= first.bytes {
            return self.remove_first();
        }
        let at = self.at;
        self.cursor
            .write_all_at(format!("{number:020} {at:020}\n").as_bytes(), 0)
    }

    fn remove_first(&mut self) -> io::Result<()> {
        if let Some(first) = self.segments.pop_front() {
            if self.segments.is_empty() {
                self.writer = None;
            }
            self.reader = None;
            self.head = None;
            self.at = MAGIC.len() as u64;
            fs::remove_file(self.path(first.number))?;
        }
        Ok(())
    }

    /// The first segment cannot be read on.
    fn give_up_first(&mut self) -> io::Result<()> {
        if let Some(first) = self.segments.front() {
            self.damaged.bytes += first.bytes.saturating_sub(self.at);
            self.damaged.events += first.events;
            self.damaged.earlier += if first.earlier { first.events } else { 0 };
            let left = first.calls.iter().filter(|(_, calls)| **calls > 0);
            self.damaged.calls.extend(left.map(|(key, calls)| (*key, *calls)));
        }
        self.remove_first()
    }

    /// What was given up since it was last asked.
    pub(super) fn damaged(&mut self) -> Option<Damaged> {
        let damaged = std::mem::take(&mut self.damaged);
        (damaged != Damaged::default()).then_some(damaged)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.segments.iter().all(|segment| segment.events == 0)
    }

    /// Whether something waits that was there when it was opened.
    pub(super) fn has_earlier(&self) -> bool {
        self.segments
            .iter()
            .any(|segment| segment.earlier && segment.events > 0)
    }

    /// Events that wait.
    pub(super) fn events(&self) -> u64 {
        self.segments.iter().map(|segment| segment.events).sum()
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

/// Files that only their owner reads, and that are no links to elsewhere.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32);
    options
}

/// The record that begins there, and its length with its head.
fn record_at(content: &[u8], at: u64) -> Option<(Record, u64)> {
    let rest = content.get(usize::try_from(at).ok()?..)?;
    let (head, rest) = rest.split_at_checked(HEAD as usize)?;
    let mut head = Bytes(head);
    let (length, crc) = (head.word()?, head.word()?);
    let body = rest.get(..length as usize)?;
    if length > LONGEST || crc32fast::hash(body) != crc {
        return None;
    }
    Some((Record::decode(body)?, HEAD + u64::from(length)))
}

fn read_record(file: &File, at: u64, end: u64) -> Option<(Record, u64)> {
    let mut head = [0; HEAD as usize];
    file.read_exact_at(&mut head, at).ok()?;
    let length = u64::from(Bytes(&head).word()?);
    if at + HEAD + length > end {
        return None;
    }
    let mut content = head.to_vec();
    content.resize(usize::try_from(HEAD + length).ok()?, 0);
    file.read_exact_at(content.get_mut(HEAD as usize..)?, at + HEAD)
        .ok()?;
    record_at(&content, 0)
}

#[cfg(test)]
mod tests;
