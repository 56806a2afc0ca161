//! Containers that started, or ran, while the daemon was away: from the markers that hooks leave, and from the notes
//! that the daemon keeps of those it traces (what a SIGKILL leaves behind).

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use tracer_hook::{
    identity::Init,
    missed::{self, Marker},
};

use crate::{
    event::Away,
    identity,
    log::note,
    names::describe,
    report::{Line, Names, State},
};

/// Lines kept for `ps`.
const MAX_LINES: usize = 1024;
/// Times away that are told of one container; the oldest are forgotten.
const MAX_AWAY: usize = 16;

/// The notes and what they told.
#[derive(Debug)]
pub struct Missed {
    runtime_dir: PathBuf,
    lines: Mutex<Vec<Line>>,
    /// Its time of change is the daemon's last sign of life.
    life: File,
    /// That of the daemon before, and when this one began.
    before: (String, String),
}

/// A container of which a marker tells, and that still runs.
#[derive(Debug)]
pub struct Running {
    pub marker: Marker,
    pub init: Init,
    /// An earlier daemon traced it; when nobody did.
    pub away: Vec<Away>,
    path: PathBuf,
}

impl Missed {
    /// `life` is a file that no other daemon of this directory writes to.
    ///
    /// # Errors
    /// When its time cannot be read.
    pub fn new(runtime_dir: &Path, life: File) -> io::Result<Self> {
        let last = life.metadata()?.modified()?;
        Ok(Self {
            runtime_dir: runtime_dir.to_owned(),
            lines: Mutex::default(),
            life,
            before: (missed::timestamp(last), missed::timestamp(SystemTime::now())),
        })
    }

    /// Leaves a sign of life, for the daemon that comes after.
    pub fn beat(&self) {
        if let Err(error) = self.life.set_modified(SystemTime::now()) {
            note(&format!("the sign of life could not be written: {error}"));
        }
    }

    /// When nobody traced the container of a note of the daemon before.
    fn away(&self, marker: &Marker) -> Vec<Away> {
        let (last, now) = self.before.clone();
        // A container that came after the last sign was traced from then on.
        // Nor does a clock that was set back make it end before it began.
        let from = last.max(marker.time.clone());
        let now = now.max(from.clone());
        let mut away: Vec<_> = marker.away.iter().cloned().chain([(from, now)]).collect();
        away.drain(..away.len().saturating_sub(MAX_AWAY));
        away.into_iter().map(|(from, to)| Away { from, to }).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the daemon's own notes are: markers of containers that it traces now.
    fn own(&self) -> PathBuf {
        self.runtime_dir.join("traced")
    }

    /// Notes a container that is being traced, so that the next daemon knows if this one dies.
    pub fn note_traced(
        &self,
        id: &str,
        annotations: &BTreeMap<String, String>,
        init: &Init,
        pid: u32,
        runtime: Option<String>,
        away: &[Away],
    ) {
        let Some(numbers) = init.numbers(pid.into()) else {
            return;
        };
        let marker = Marker {
            v: missed::VERSION,
            id: id.to_owned(),
            bundle: String::new(),
            reason: "it ended while the daemon was away".to_owned(),
            time: missed::timestamp(SystemTime::now()),
            annotations: annotations.clone(),
            pid: pid.into(),
            pid_start: Some(numbers.pid_start),
            pid_ns: Some(numbers.pid_ns),
            mnt_ns: Some(numbers.mnt_ns),
            runtime,
            away: away
                .iter()
                .map(|away| (away.from.clone(), away.to.clone()))
                .collect(),
        };
        if let Err(error) = missed::write(&self.own(), &marker) {
            note(&format!("container {id}: its note could not be written: {error}"));
        }
    }

    /// The container's end is booked.
    pub fn forget_traced(&self, id: &str) {
        if let Err(error) = missed::remove(&self.own(), id) {
            note(&format!("container {id}: its note could not be removed: {error}"));
        }
    }

    /// Reads all markers, books the containers that have ended, returns those that still run, each of them once.
    /// The daemon's own notes of those in `kept` stay: they are traced on.
    pub fn collect(&self, kept: &HashSet<String>) -> Vec<Running> {
        let mut running: Vec<Running> = Vec::new();
        for (directory, own) in [(self.own(), true), (self.runtime_dir.clone(), false)] {
            let markers = match missed::read_all(&directory) {
                Ok(markers) => markers,
                Err(error) => {
                    note(&format!(
                        "markers under {} cannot be read: {error}",
                        directory.display()
                    ));
                    continue;
                }
            };
            for (path, marker) in markers {
                let marker = match marker {
                    Ok(marker) => marker,
                    Err(error) => {
                        note(&format!("marker {}: {error}", path.display()));
                        let _gone = fs::remove_file(&path);
                        continue;
                    }
                };
                if own && kept.contains(&marker.id) {
                    continue;
                }
                let init = still_runs(&marker);
                if !own || init.is_none() {
                    note(&format!(
                        "missed: container {}: {} ({})",
                        marker.id, marker.reason, marker.time
                    ));
                }
                let same = |other: &Running| {
                    (other.marker.pid, other.marker.pid_start) == (marker.pid, marker.pid_start)
                };
                match init {
                    Some(_) if running.iter().any(same) => drop(fs::remove_file(&path)),
                    Some(init) => running.push(Running {
                        away: if own { self.away(&marker) } else { Vec::new() },
                        marker,
                        init,
                        path,
                    }),
                    None => {
                        let _gone = fs::remove_file(&path);
                        self.book(&marker);
                    }
                }
            }
        }
        running
    }

    /// That container is registered, or cannot be: its marker has told what it had to.
    pub fn taken(&self, running: &Running) {
        // The daemon's own note of it has the same name by now.
        if running.away.is_empty() {
            let _gone = fs::remove_file(&running.path);
        }
    }

    /// Books a container that was missed and cannot be attached.
    pub fn book(&self, marker: &Marker) {
        let mut lines = self.lock();
        if lines.len() < MAX_LINES {
            lines.push(Line {
                names: Names::from(&describe(&marker.id, &marker.annotations, 0)),
                runtime: marker.runtime.clone(),
                pid: u32::try_from(marker.pid).ok(),
                state: State::Missed,
                events: 0,
                lost: 0,
                complete: false,
                reason: Some(marker.reason.clone()),
            });
        }
    }

    /// For `ps`.
    pub fn lines(&self) -> Vec<Line> {
        self.lock().clone()
    }
}

/// The init of a marker's container, if it is the same process in the same namespaces.
fn still_runs(marker: &Marker) -> Option<Init> {
    let start = marker.pid_start?;
    if !identity::is_same_process(i32::try_from(marker.pid).ok()?, start) {
        return None;
    }
    let init = Init::open(marker.pid).ok()?;
    let now = init.numbers(marker.pid)?;
    // Looked at after the descriptors were opened: a number used again meanwhile shows.
    (Some(now.pid_start) == marker.pid_start
        && Some(now.pid_ns) == marker.pid_ns
        && Some(now.mnt_ns) == marker.mnt_ns)
        .then_some(init)
}
