//! A runtime's file: read, changed whole or not at all, and put back as it was.
//!
//! Beside a file that was changed lie `FILE.before-tracer`, a copy of it as it was, and `FILE.tracer-record`, which
//! holds what was written: so that uninstalling knows whether somebody edited it since. Both go with our part.

use std::{
    fs,
    io::{self, ErrorKind, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// Bytes of a configuration file that are read.
const MAX_FILE: u64 = 16 << 20;

const BACKUP: &str = "before-tracer";
const RECORD: &str = "tracer-record";

/// What was written, for who takes it back.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    v: u32,
    /// Whether there was a file; then its copy lies beside it.
    existed: bool,
    /// The text that was written.
    after: String,
    /// Directories that were made for it.
    made: Vec<PathBuf>,
}

/// A file as it is.
pub(super) struct File {
    path: PathBuf,
    /// `None`: there is none.
    pub(super) text: Option<String>,
    record: Option<Record>,
}

/// A change of one file, planned.
#[derive(Debug)]
pub struct Edit {
    pub path: PathBuf,
    old: Option<String>,
    new: Option<String>,
    /// What it is shown against, when the file is new.
    like: Option<(String, String)>,
    direction: Direction,
    /// Directories that installing had made.
    made: Vec<PathBuf>,
}

/// Installing leaves a backup and a record; uninstalling takes them away.
#[derive(Debug)]
enum Direction {
    Install {
        /// The file without our part, which uninstalling puts back: what the backup holds.
        base: Option<String>,
    },
    Uninstall {
        /// The file was edited since, so it does not come back from the backup.
        keeps_backup: bool,
    },
}

impl File {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let record = match read(&beside(path, RECORD))? {
            Some(text) => Some(serde_json::from_str(&text).with_context(|| {
                format!(
                    "{} is damaged; compare {} with {} and remove it",
                    beside(path, RECORD).display(),
                    path.display(),
                    beside(path, BACKUP).display()
                )
            })?),
            None => None,
        };
        Ok(Self {
            path: path.to_owned(),
            text: read(path)?,
            record,
        })
    }

    /// What was there before us, when nobody has changed the file since we wrote it.
    pub(super) fn before(&self) -> Option<Result<Option<String>>> {
        let record = self.record.as_ref()?;
        if self.text.as_ref() != Some(&record.after) {
            return None;
        }
        if !record.existed {
            return Some(Ok(None));
        }
        let backup = beside(&self.path, BACKUP);
        match read(&backup) {
            Ok(None) => None,
            other => Some(other),
        }
    }

    pub(super) fn is_recorded(&self) -> bool {
        self.record.is_some()
    }

    pub(super) fn backup_note(&self) -> String {
        match &self.record {
            Some(record) if record.existed => {
                format!("; as it was: {}", beside(&self.path, BACKUP).display())
            }
            _ => String::new(),
        }
    }

    /// The edit that makes this text of it, from `base`; `None` when it is so already.
    pub(super) fn put(
        self,
        base: Option<String>,
        after: String,
        like: Option<(String, String)>,
    ) -> Option<Edit> {
        (self.text.as_ref() != Some(&after)).then(|| Edit {
            path: self.path,
            old: self.text,
            new: Some(after),
            like,
            direction: Direction::Install { base },
            made: self.record.map(|record| record.made).unwrap_or_default(),
        })
    }

    /// The edit that leaves this of it.
    pub(super) fn restore(self, after: Option<String>) -> Option<Edit> {
        let edited = self.before().is_none();
        (self.text != after || self.record.is_some()).then(|| Edit {
            path: self.path,
            old: self.text,
            new: after,
            like: None,
            direction: Direction::Uninstall { keeps_backup: edited },
            made: self.record.map(|record| record.made).unwrap_or_default(),
        })
    }
}

/// The edit as a unified diff.
pub fn show(edit: &Edit) -> String {
    let path = edit.path.display().to_string();
    let nothing = || ("/dev/null".to_owned(), String::new());
    let (old_name, old) = match &edit.old {
        Some(old) => (path.clone(), old.clone()),
        None => edit.like.clone().unwrap_or_else(nothing),
    };
    let (new_name, new) = match &edit.new {
        Some(new) => (path, new.clone()),
        None => nothing(),
    };
    similar::TextDiff::from_lines(&old, &new)
        .unified_diff()
        .header(&old_name, &new_name)
        .to_string()
}

/// Writes it; what was done, in words.
///
/// # Errors
/// The file is then as it was.
pub fn write(edit: &Edit) -> Result<String> {
    let path = &edit.path;
    ensure!(
        read(path)? == edit.old,
        "{} was changed by somebody else in this moment; try again",
        path.display()
    );
    let (backup, record) = (beside(path, BACKUP), beside(path, RECORD));
    let keeps_backup = match &edit.direction {
        Direction::Uninstall { keeps_backup } => *keeps_backup,
        Direction::Install { base } => {
            let after = edit.new.clone().unwrap_or_default();
            let mut made = make_dirs(path)?;
            made.extend(edit.made.iter().cloned());
            match base {
                Some(base) => replace(&backup, base, Some(path))?,
                None => remove(&backup)?,
            }
            let text = serde_json::to_string_pretty(&Record {
                v: 1,
                existed: base.is_some(),
                after: after.clone(),
                made,
            })?;
            replace(&record, &text, None)?;
            replace(path, &after, Some(path))?;
            return Ok(match base {
                Some(_) => format!("wrote {}; as it was: {}", path.display(), backup.display()),
                None => format!("wrote {}", path.display()),
            });
        }
    };
    let done = match &edit.new {
        Some(new) if edit.old.as_ref() == Some(new) => format!("{} had nothing of ours", path.display()),
        Some(new) => {
            replace(path, new, Some(if keeps_backup { path } else { &backup }))?;
            format!("restored {}", path.display())
        }
        None => {
            remove(path)?;
            format!("removed {}", path.display())
        }
    };
    if !keeps_backup {
        remove(&backup)?;
    }
    remove(&record)?;
    for dir in &edit.made {
        // Others may have put something there since.
        drop(fs::remove_dir(dir));
    }
    Ok(done)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// The text of a file, `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>> {
    match fs::metadata(path) {
        Ok(file) if file.len() > MAX_FILE => bail!("{} is longer than {MAX_FILE} bytes", path.display()),
        Ok(_) => fs::read_to_string(path)
            .map(Some)
            .with_context(|| format!("read {}", path.display())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// Makes the directories above a file; those that were made, the deepest first.
fn make_dirs(path: &Path) -> Result<Vec<PathBuf>> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let missing: Vec<PathBuf> = dir
        .ancestors()
        .take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists())
        .map(Path::to_owned)
        .collect();
    fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    Ok(missing)
}

/// Puts a file in place of the old one, whole or not at all, with the mode and the owner of `like`.
fn replace(path: &Path, text: &str, like: Option<&Path>) -> Result<()> {
    // A file that is a link stays one.
    let path = &fs::canonicalize(path).unwrap_or_else(|_absent| path.to_owned());
    let like = like.and_then(|like| fs::metadata(like).ok());
    let new = beside(path, &format!("{}.new", process::id()));
    let written = (|| -> io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(text.as_bytes())?;
        let own = file.metadata()?;
        if let Some(like) = &like
            && (like.uid(), like.gid()) != (own.uid(), own.gid())
        {
            chown(&new, Some(like.uid()), Some(like.gid()))?;
        }
        let mode = like.as_ref().map_or(0o644, |like| like.mode() & 0o7777);
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        match path.parent() {
            Some(dir) => fs::File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    })();
    if written.is_err() {
        drop(fs::remove_file(&new));
    }
    written.with_context(|| format!("write {}", path.display()))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
