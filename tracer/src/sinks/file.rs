//! The sink of `kind = "file"`: lines, appended to a file that is rotated by size and time. It must not know events.
//!
//! A line is never split over two files, and none is lost between them: a file is moved away between two lines. What
//! could not be written whole is cut off again, so that no torn line stays in the middle; it is tried anew.

mod rotated;

use std::{
    fmt,
    fs::{self, OpenOptions, Permissions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

pub use rotated::Compression;

use super::{Chunk, Format, configured::Lines, queue::Receiver};
use crate::{
    event::Descriptors,
    log::note,
    units::{Bytes, Time},
};
use rotated::Packer;

/// What `[[sink]]` says of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub path: PathBuf,
    #[serde(default)]
    pub format: Lines,
    /// What is said of file descriptors: `numbers`, `paths` (`-y`), `all` (`-yy`).
    #[serde(default)]
    pub descriptors: Descriptors,
    /// Moved away before it is larger; 0: never for its size.
    #[serde(default = "rotate_size")]
    pub rotate_size: Bytes,
    /// Moved away at each multiple of that time, in UTC; 0: never for its age.
    #[serde(default)]
    pub rotate_every: Time,
    /// How many that were moved away are kept; 0: all.
    #[serde(default = "keep")]
    pub keep: u32,
    #[serde(default)]
    pub compress: Compression,
}

const fn rotate_size() -> Bytes {
    Bytes(100 << 20)
}

const fn keep() -> u32 {
    10
}

impl Settings {
    pub(super) fn format(&self) -> Format {
        self.format.format(self.descriptors)
    }

    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let told = |what: &str| format!("{:?} {what}", self.path);
        if !self.path.is_absolute() || self.path.file_name().is_none() {
            return Err((
                "path",
                told("is no absolute path of a file, like \"/var/log/tracer/calls.jsonl\""),
            ));
        }
        if self
            .path
            .to_str()
            .is_none_or(|path| path.contains(char::is_control))
        {
            return Err(("path", told("has control characters")));
        }
        if self.rotate_size != Bytes(0) && self.rotate_size < Bytes(4096) {
            return Err(("rotate_size", "is less than 4K; 0 is no limit".to_owned()));
        }
        if self.rotate_every != Time::default() && self.rotate_every < Time(Duration::from_secs(1)) {
            return Err(("rotate_every", "is less than 1s; 0 is never".to_owned()));
        }
        Ok(())
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            rotate_size,
            rotate_every,
            keep,
            ..
        } = self;
        write!(to, "file {}", path.display())?;
        match (*rotate_size != Bytes(0), *rotate_every != Time::default()) {
            (true, true) => write!(to, ", rotated at {rotate_size} and every {rotate_every}")?,
            (true, false) => write!(to, ", rotated at {rotate_size}")?,
            (false, true) => write!(to, ", rotated every {rotate_every}")?,
            (false, false) => return Ok(()),
        }
        match keep {
            0 => to.write_str(", all kept"),
            keep => write!(to, ", {keep} kept"),
        }
    }
}

/// After a rotation that failed: how long the file grows on before the next try.
const PATIENCE: Duration = Duration::from_secs(10);
/// The end of a file in which the end of its last whole line is looked for.
const TAIL: u64 = 1 << 20;
const MODE: u32 = 0o640;

/// The open file.
struct Open {
    file: fs::File,
    /// Where it is to be cut: behind it there is a part of a line.
    torn: Option<u64>,
    /// The end of its time.
    until: Option<SystemTime>,
}

/// The receiver.
pub struct File {
    sink: String,
    settings: Settings,
    open: Option<Open>,
    packer: Option<Packer>,
    /// No rotation before that moment.
    patience: Option<Instant>,
}

impl File {
    pub fn new(sink: &str, settings: Settings) -> Self {
        Self {
            sink: sink.to_owned(),
            settings,
            open: None,
            packer: None,
            patience: None,
        }
    }

    fn say(&self, line: &str) {
        note(&format!("sink {}: {line}", self.sink));
    }

    /// The open file, with whole lines in it alone.
    fn ready(&mut self) -> io::Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) => open,
            None => self.begin()?,
        };
        let open = self.open.insert(open);
        if let Some(end) = open.torn {
            open.file.set_len(end)?;
            open.torn = None;
        }
        Ok(open)
    }

    fn begin(&self) -> io::Result<Open> {
        let Settings { path, .. } = &self.settings;
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("open {}: {error}", path.display()));
        let how = |new: bool| {
            let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
            let mut options = OpenOptions::new();
            options.read(true).append(true).create_new(new);
            options.mode(MODE).custom_flags(flags).open(path)
        };
        let mut file = match how(true) {
            Ok(file) => {
                // Whatever the umask is.
                file.set_permissions(Permissions::from_mode(MODE))
                    .map_err(named)?;
                file
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => how(false).map_err(named)?,
            Err(error) => return Err(named(error)),
        };
        let found = file.metadata().map_err(named)?;
        if !found.is_file() {
            return Err(named(io::Error::other("it is no regular file")));
        }
        let torn = torn(&mut file, found.len()).map_err(named)?;
        if torn.is_some() {
            self.say(&format!(
                "{} ended within a line, which is cut off",
                path.display()
            ));
        }
        // A file with lines belongs to the time of its last one.
        let written = (found.len() > 0).then(|| found.modified().ok()).flatten();
        let until = self.end_of(written.unwrap_or_else(SystemTime::now));
        Ok(Open { file, torn, until })
    }

    /// The end of the time in which that moment lies.
    fn end_of(&self, moment: SystemTime) -> Option<SystemTime> {
        let every = self.settings.rotate_every.0.as_nanos();
        let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let end = (since.checked_div(every)? + 1) * every;
        Some(UNIX_EPOCH + Duration::from_nanos(u64::try_from(end).ok()?))
    }

    /// Moves the file away and begins another. When that cannot be, it grows on.
    fn rotate(&mut self) {
        self.open = None;
        match rotated::move_away(&self.settings.path) {
            Ok(()) => {
                self.patience = None;
                if let Some(packer) = &self.packer {
                    packer.poke();
                }
            }
            Err(error) => {
                self.say(&format!(
                    "{} is not rotated: {error}",
                    self.settings.path.display()
                ));
                self.patience = Some(Instant::now() + PATIENCE);
            }
        }
    }

    fn is_patient(&self) -> bool {
        self.patience.is_some_and(|until| Instant::now() < until)
    }

    /// Rotates when its time is over.
    fn keep_time(&mut self) -> io::Result<()> {
        let now = SystemTime::now();
        let patient = self.is_patient();
        let next = self.end_of(now);
        let open = self.ready()?;
        // No end lies behind that of this time, but where the clock was set back since.
        open.until = open.until.min(next);
        if patient || open.until.is_none_or(|until| now < until) {
            return Ok(());
        }
        if open.file.metadata()?.len() > 0 {
            self.rotate();
        } else {
            let until = self.end_of(now);
            self.ready()?.until = until;
        }
        Ok(())
    }
}

impl Receiver for File {
    fn deliver(&mut self, chunk: &mut Chunk) -> io::Result<()> {
        self.keep_time()?;
        while !chunk.is_empty() {
            let most = match self.settings.rotate_size.0 {
                0 => u64::MAX,
                most => most,
            };
            let patient = self.is_patient();
            let open = self.ready()?;
            // Somebody else may have cut it.
            let len = open.file.metadata()?.len();
            let (count, bytes) = chunk.within(most.saturating_sub(len));
            if len > 0 && len + bytes as u64 > most && !patient {
                self.rotate();
                continue;
            }
            if let Err(error) = open
                .file
                .write_all(chunk.bytes().get(..bytes).unwrap_or_default())
            {
                open.torn = Some(len);
                // Where even that fails, it is done before the next line.
                if let Err(error) = self.ready() {
                    self.say(&format!("a torn line stays for now: {error}"));
                }
                let what = format!("write to {}: {error}", self.settings.path.display());
                return Err(io::Error::new(error.kind(), what));
            }
            chunk.settle(count, true);
        }
        Ok(())
    }

    fn open(&mut self) {
        self.open = None;
        self.patience = None;
        if let Err(error) = self.ready() {
            self.say(&format!("{error}; tried again with the next event"));
        }
        if self.packer.is_none() {
            let Settings {
                path, keep, compress, ..
            } = &self.settings;
            match Packer::start(&self.sink, path, *keep, *compress) {
                Ok(packer) => self.packer = Some(packer),
                Err(error) => self.say(&format!("rotated files stay as they are: {error}")),
            }
        }
    }

    fn due(&self) -> Option<Instant> {
        let time = self.open.as_ref()?.until?.duration_since(SystemTime::now());
        let due = Instant::now() + time.unwrap_or_default();
        Some(self.patience.map_or(due, |until| due.max(until)))
    }

    fn tick(&mut self) {
        // What is in the way is in the way of the next event, too, and is told then.
        let _later = self.keep_time();
        // Where even the file cannot be opened again, there is nothing to be due.
        let _later = self.ready();
    }

    fn finish(&mut self) {
        if let Some(Err(error)) = self.open.take().map(|open| open.file.sync_all()) {
            self.say(&format!("{error}"));
        }
        if let Some(packer) = self.packer.take() {
            packer.end();
        }
    }
}

/// Where a file is to be cut that ends within a line: its writer was killed, or its disk was full.
fn torn(file: &mut fs::File, len: u64) -> io::Result<Option<u64>> {
    let from = len.saturating_sub(TAIL);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.take(TAIL).read_to_end(&mut tail)?;
    let whole = match tail.iter().rposition(|byte| *byte == b'\n') {
        Some(last) => from + last as u64 + 1,
        // It is none of ours, or all of it is one line.
        None if from > 0 => return Ok(None),
        None => 0,
    };
    Ok((whole < from + tail.len() as u64).then_some(whole))
}

#[cfg(test)]
mod tests;
