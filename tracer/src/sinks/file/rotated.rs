//! The files that were moved away: their names, their compression, their end. A thread of their own compresses and
//! removes, so that the sink writes on.
//!
//! A name is the file's own with the moment of its rotation: `calls.jsonl-20261127T211845.123456789Z`, with `.gz` or
//! `.zst` behind it when it is compressed; in the order of their names they are in the order of their lines. Nothing
//! else in the directory is touched.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{log::note, sinks::json::rfc3339};

/// How rotated files are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Zstd,
}

impl Compression {
    const fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }
}

/// What a file is called that is not compressed as a whole yet.
const UNFINISHED: &str = ".tmp";
/// Bytes between two looks at whether to end.
const BLOCK: usize = 64 * 1024;

/// Gives the file the name of its rotation.
///
/// # Errors
/// When it cannot be moved; then it is where it was.
pub(super) fn move_away(path: &Path) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut stamp = rfc3339(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)).replace(['-', ':'], "");
    // A clock that was set back must not put it before the others, nor in the place of one.
    if let Some(last) = Found::all(path)?.last().filter(|last| last.stamp >= stamp) {
        stamp = after(&last.stamp).ok_or_else(|| io::Error::other("the clock was set back"))?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push("-");
    name.push(stamp);
    fs::rename(path, PathBuf::from(name))
}

/// The next stamp in the same second.
fn after(stamp: &str) -> Option<String> {
    let (second, fraction) = stamp.strip_suffix('Z')?.split_once('.')?;
    let next = fraction.parse::<u32>().ok()? + 1;
    (next < 1_000_000_000).then(|| format!("{second}.{next:09}Z"))
}

/// A rotated file.
#[derive(Debug)]
struct Found {
    path: PathBuf,
    stamp: String,
    /// `""`, `.gz`, `.zst`, or of one that is not finished: `.gz.tmp`.
    suffix: String,
}

impl Found {
    /// All that belong to that file, the oldest first.
    fn all(path: &Path) -> io::Result<Vec<Self>> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(Vec::new());
        };
        let mut all: Vec<_> = fs::read_dir(directory)?
            .filter_map(|entry| Self::of(directory, name, &entry.ok()?.file_name()))
            .collect();
        all.sort_by(|a, b| (&a.stamp, &a.suffix).cmp(&(&b.stamp, &b.suffix)));
        Ok(all)
    }

    fn of(directory: &Path, name: &OsStr, entry: &OsString) -> Option<Self> {
        let rest = entry
            .as_bytes()
            .strip_prefix(name.as_bytes())?
            .strip_prefix(b"-")?;
        let rest = std::str::from_utf8(rest).ok()?;
        let (stamp, suffix) = rest.split_at_checked(rest.find('Z')? + 1)?;
        let is_stamp = stamp.len() == "20261127T211845.123456789Z".len()
            && stamp.bytes().enumerate().all(|(at, byte)| match at {
                8 => byte == b'T',
                15 => byte == b'.',
                25 => byte == b'Z',
                _ => byte.is_ascii_digit(),
            });
        let is_ours = ["", ".gz", ".zst", ".gz.tmp", ".zst.tmp"].contains(&suffix);
        (is_stamp && is_ours).then(|| Self {
            path: directory.join(entry),
            stamp: stamp.to_owned(),
            suffix: suffix.to_owned(),
        })
    }
}

/// The thread.
#[derive(Debug)]
pub(super) struct Packer {
    pokes: SyncSender<()>,
    ending: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Packer {
    /// Starts it; it looks at once at what an earlier one has left.
    pub(super) fn start(sink: &str, path: &Path, keep: u32, compression: Compression) -> io::Result<Self> {
        let (pokes, poked) = sync_channel(1);
        let ending = Arc::new(AtomicBool::new(false));
        let work = Work {
            sink: sink.to_owned(),
            path: path.to_owned(),
            keep: keep as usize,
            compression,
            ending: ending.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("sink-pack".into())
            .spawn(move || work.repeat(&poked))?;
        let packer = Self {
            pokes,
            ending,
            thread,
        };
        packer.poke();
        Ok(packer)
    }

    /// There is another rotated file.
    pub(super) fn poke(&self) {
        // A poke that waits stands for this one, too.
        let _enough = self.pokes.try_send(());
    }

    /// Ends it, in the middle of its work too: what it has not finished, the next one does.
    pub(super) fn end(self) {
        self.ending.store(true, Relaxed);
        drop(self.pokes);
        // A panic there has been printed by its thread.
        let _panicked = self.thread.join();
    }
}

struct Work {
    sink: String,
    path: PathBuf,
    keep: usize,
    compression: Compression,
    ending: Arc<AtomicBool>,
}

impl Work {
    fn repeat(&self, poked: &Receiver<()>) {
        while poked.recv().is_ok() {
            if let Err(error) = self.once() {
                note(&format!("sink {}: its rotated files: {error}", self.sink));
            }
        }
    }

    fn once(&self) -> io::Result<()> {
        let found = match Found::all(&self.path) {
            // There is no such directory yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found?,
        };
        let (unfinished, mut all): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|found| found.suffix.ends_with(UNFINISHED));
        for found in unfinished {
            fs::remove_file(found.path)?;
        }
        // Both there: the packed one is whole, for it got its name last.
        all.dedup_by(|packed, plain| {
            packed.stamp == plain.stamp
                && plain.suffix.is_empty()
                && fs::remove_file(&plain.path).is_ok()
                && {
                    std::mem::swap(packed, plain);
                    true
                }
        });
        let too_many = if self.keep == 0 {
            0
        } else {
            all.len().saturating_sub(self.keep)
        };
        for found in all.drain(..too_many) {
            fs::remove_file(found.path)?;
        }
        let plain = all.iter().filter(|found| found.suffix.is_empty());
        for found in plain.filter(|_| self.compression != Compression::None) {
            if !self.pack(&found.path)? {
                break;
            }
        }
        Ok(())
    }

    /// Compresses a file beside itself; false when it is to end. The plain one goes when the other is on the disk.
    fn pack(&self, plain: &Path) -> io::Result<bool> {
        let with = |suffix: &str| {
            let mut name = plain.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let packed = with(self.compression.suffix());
        let unfinished = with(&format!("{}{UNFINISHED}", self.compression.suffix()));
        let whole = self.write(plain, &unfinished);
        if !matches!(whole, Ok(true)) {
            // It takes room that there may not be.
            let _absent = fs::remove_file(&unfinished);
            return whole;
        }
        fs::rename(&unfinished, packed)?;
        fs::remove_file(plain)?;
        Ok(true)
    }

    fn write(&self, plain: &Path, packed: &Path) -> io::Result<bool> {
        let from = fs::File::open(plain)?;
        let mode = from.metadata()?.permissions();
        let to = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(packed)?;
        let done = match self.compression {
            Compression::None => return Ok(true),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(to, flate2::Compression::default());
                self.copy(from, &mut encoder)?
                    .then(|| encoder.finish())
                    .transpose()?
            }
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(to, 0)?;
                self.copy(from, &mut encoder)?
                    .then(|| encoder.finish())
                    .transpose()?
            }
        };
        let Some(file) = done else { return Ok(false) };
        file.set_permissions(mode)?;
        file.sync_all()?;
        Ok(true)
    }

    fn copy(&self, mut from: impl Read, to: &mut impl Write) -> io::Result<bool> {
        let mut block = vec![0; BLOCK];
        while !self.ending.load(Relaxed) {
            let len = from.read(&mut block)?;
            if len == 0 {
                return Ok(true);
            }
            to.write_all(block.get(..len).unwrap_or_default())?;
        }
        Ok(false)
    }
}
