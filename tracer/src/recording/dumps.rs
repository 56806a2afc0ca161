//! The directory of the flight recorder's dumps: bounded in files and bytes, the oldest go first. A name is a time, a
//! number and why: nothing in it is a container's choice.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    str::FromStr,
    time::SystemTime,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{EXTENSION, Entry, Recording, Writer};
use crate::report::Names;

/// Most files that are kept.
const MOST: usize = 128;

/// Why a dump is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The container's first process ended with another code than 0.
    Exit,
    /// A signal ended a process that nobody sends to end one in peace.
    Signal,
    /// The kernel's out-of-memory killer did.
    Oom,
    /// It was found out why a call failed.
    Diagnosis,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Exit, Self::Signal, Self::Oom, Self::Diagnosis];

    /// The word in names and options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exit => "exit",
            Self::Signal => "signal",
            Self::Oom => "oom",
            Self::Diagnosis => "diagnosis",
        }
    }
}

/// What dumps are made on; by default nothing. It travels as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Reasons(Vec<Reason>);

impl From<Reasons> for String {
    fn from(Reasons(list): Reasons) -> Self {
        match list.as_slice() {
            [] => "none".to_owned(),
            all if all == Reason::ALL => "all".to_owned(),
            some => some
                .iter()
                .map(|reason| reason.name())
                .collect::<Vec<_>>()
                .join(","),
        }
    }
}

impl TryFrom<String> for Reasons {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Reasons {
    pub fn has(&self, reason: Reason) -> bool {
        self.0.contains(&reason)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These and those.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        let either = |reason: &Reason| self.has(*reason) || others.has(*reason);
        Self(Reason::ALL.into_iter().filter(either).collect())
    }

    /// Those of these that the others have not.
    #[must_use]
    pub fn without(&self, others: &Self) -> Self {
        let missing = |reason: &Reason| self.has(*reason) && !others.has(*reason);
        Self(Reason::ALL.into_iter().filter(missing).collect())
    }
}

impl FromStr for Reasons {
    type Err = String;

    /// `all`, `none`, or names with commas between them.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self(Reason::ALL.to_vec())),
            "none" => Ok(Self::default()),
            list => list
                .split(',')
                .map(|word| {
                    let reason = Reason::ALL
                        .into_iter()
                        .find(|reason| reason.name() == word.trim());
                    reason.ok_or_else(|| {
                        format!("no reason {word:?}: all, none, or of exit,signal,oom,diagnosis")
                    })
                })
                .collect::<Result<_, _>>()
                .map(Self),
        }
    }
}

/// A dump that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub path: PathBuf,
    /// When it was made.
    pub time: String,
    pub reasons: Vec<String>,
    pub bytes: u64,
    pub container: Names,
    /// Uid that owns the container.
    #[serde(skip)]
    pub owner: u32,
}

/// A name for a new recording, which sorts by time.
pub fn name_now(why: &str) -> String {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let time = crate::sinks::json::rfc3339(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    format!("{}.{why}.{EXTENSION}", time.replace([':', '-', '.'], ""))
}

/// The directory.
#[derive(Clone, Debug)]
pub struct Dumps {
    directory: PathBuf,
    /// Most bytes of all files together.
    most: u64,
    group: Option<u32>,
}

impl Dumps {
    /// Makes the directory if it is not there: for root, and for that group to read.
    ///
    /// # Errors
    /// The system's.
    pub fn open(directory: &Path, most: u64, group: Option<u32>) -> Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(directory)
            .with_context(|| format!("make {}", directory.display()))?;
        let dumps = Self {
            directory: directory.to_owned(),
            most,
            group,
        };
        dumps.give(directory, 0o750)?;
        Ok(dumps)
    }

    /// Gives the group what it may have; where it may not be given, root has it alone.
    fn give(&self, path: &Path, mode: u32) -> Result<()> {
        if self.group.is_some() {
            let _roots_alone = std::os::unix::fs::chown(path, None, self.group);
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .with_context(|| format!("set the mode of {}", path.display()))
    }

    /// Keeps a dump, made of blocks; the oldest ones make room. Where it is.
    ///
    /// # Errors
    /// The system's, or that it is larger than all may be.
    pub fn keep(&self, reasons: &[Reason], blocks: &[impl AsRef<[u8]>]) -> Result<PathBuf> {
        let bytes: u64 = blocks.iter().map(|block| block.as_ref().len() as u64).sum();
        anyhow::ensure!(
            bytes <= self.most,
            "a dump of {bytes} bytes, where all together may have {}",
            self.most
        );
        self.make_room(bytes)?;
        let names: Vec<_> = reasons.iter().map(|reason| reason.name()).collect();
        let name = name_now(&names.join("+"));
        let path = self.directory.join(&name);
        let new = self.directory.join(format!(".{name}.new"));
        let written = self.write(&new, blocks).and_then(|()| {
            fs::rename(&new, &path).with_context(|| format!("move {} into place", path.display()))
        });
        if written.is_err() {
            let _absent = fs::remove_file(&new);
        }
        written.map(|()| path)
    }

    fn write(&self, path: &Path, blocks: &[impl AsRef<[u8]>]) -> Result<()> {
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("open {}", path.display()))?;
        let mut to = Writer::new(&file);
        let mut write = || -> io::Result<()> {
            for block in blocks {
                to.blocks(block.as_ref())?;
            }
            to.finish()
        };
        write().with_context(|| format!("write {}", path.display()))?;
        self.give(path, 0o640)
    }

    /// Removes the oldest until so many bytes more fit.
    fn make_room(&self, bytes: u64) -> Result<()> {
        let mut files = self.files()?;
        files.reverse();
        let mut all: u64 = files.iter().map(|(_, length)| length).sum();
        while files.len() >= MOST || all + bytes > self.most {
            let Some((oldest, length)) = files.pop() else {
                break;
            };
            // Somebody else's removal is as good.
            let _absent = fs::remove_file(oldest);
            all -= length;
        }
        Ok(())
    }

    /// Our files and their lengths, the oldest first.
    fn files(&self) -> Result<Vec<(PathBuf, u64)>> {
        let entries =
            fs::read_dir(&self.directory).with_context(|| format!("read {}", self.directory.display()))?;
        let mut files: Vec<_> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let path = entry.path();
                let found = entry.metadata().ok().filter(fs::Metadata::is_file)?;
                path.extension()
                    .is_some_and(|ending| ending == EXTENSION)
                    .then_some((path, found.len()))
            })
            .collect();
        files.sort();
        Ok(files)
    }

    /// What is kept, the oldest first.
    ///
    /// # Errors
    /// The system's.
    pub fn list(&self) -> Result<Vec<Kept>> {
        let kept = |(path, bytes): (PathBuf, u64)| {
            let name = path.file_name()?.to_str()?.to_owned();
            let mut parts = name.rsplit('.').skip(1);
            let reasons = parts.next()?.split('+').map(str::to_owned).collect();
            // The first event tells whose it is.
            let Ok(Some(Entry::Event(_, event))) = Recording::open(&path).ok()?.entry() else {
                return None;
            };
            Some(Kept {
                time: fs::metadata(&path)
                    .ok()
                    .and_then(|found| found.modified().ok())
                    .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
                    .map(|since| crate::sinks::json::rfc3339(since.as_nanos() as u64))?,
                path,
                reasons,
                bytes,
                container: Names::from(&*event.container),
                owner: event.container.owner,
            })
        };
        Ok(self.files()?.into_iter().filter_map(kept).collect())
    }
}
