//! Containers that started, or ran, while the daemon was away: from the markers that hooks leave, and from the notes
//! that the daemon keeps of those it traces (what a SIGKILL leaves behind).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use tracer_hook::{
    identity::Init,
    missed::{self, Marker},
};

use crate::{
    identity,
    log::note,
    report::{Line, Names, State},
};

/// Lines kept for `ps`.
const MAX_LINES: usize = 1024;

/// The notes and what they told.
#[derive(Debug)]
pub struct Missed {
    runtime_dir: PathBuf,
    lines: Mutex<Vec<Line>>,
}

/// A container of which a marker tells, and that still runs.
#[derive(Debug)]
pub struct Running {
    pub marker: Marker,
    pub init: Init,
}

impl Missed {
    pub fn new(runtime_dir: &Path) -> Self {
        Self {
            runtime_dir: runtime_dir.to_owned(),
            lines: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the daemon's own notes are: markers of containers that it traces now.
    fn own(&self) -> PathBuf {
        self.runtime_dir.join("traced")
    }

    /// Notes a container that is being traced, so that the next daemon knows if this one dies.
    pub fn note_traced(&self, id: &str, annotations: &BTreeMap<String, String>, init: &Init, pid: u32) {
        let Some(numbers) = init.numbers(pid.into()) else {
            return;
        };
        let marker = Marker {
            v: missed::VERSION,
            id: id.to_owned(),
            bundle: String::new(),
            reason: "the daemon ended without a word while it traced this container".to_owned(),
            time: missed::timestamp(SystemTime::now()),
            annotations: annotations.clone(),
            pid: pid.into(),
            pid_start: Some(numbers.pid_start),
            pid_ns: Some(numbers.pid_ns),
            mnt_ns: Some(numbers.mnt_ns),
        };
        if let Err(error) = missed::write(&self.own(), &marker) {
            note(&format!("container {id}: its note could not be written: {error}"));
        }
    }

    /// The container's end is booked.
    pub fn forget_traced(&self, id: &str) {
        for (path, marker) in missed::read_all(&self.own()).unwrap_or_default() {
            if marker.is_ok_and(|marker| marker.id == id) {
                let _gone = fs::remove_file(path);
            }
        }
    }

    /// Reads and removes all markers, books the containers that have ended, returns those that still run.
    pub fn collect(&self) -> Vec<Running> {
        let mut running = Vec::new();
        for directory in [self.own(), self.runtime_dir.clone()] {
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
                let _gone = fs::remove_file(&path);
                match marker {
                    Err(error) => note(&format!("marker {}: {error}", path.display())),
                    Ok(marker) => {
                        note(&format!(
                            "missed: container {}: {} ({})",
                            marker.id, marker.reason, marker.time
                        ));
                        match still_runs(&marker) {
                            Some(init) => running.push(Running { marker, init }),
                            None => self.book(&marker),
                        }
                    }
                }
            }
        }
        running
    }

    /// Books a container that was missed and cannot be attached.
    pub fn book(&self, marker: &Marker) {
        let mut lines = self.lock();
        if lines.len() < MAX_LINES {
            lines.push(Line {
                names: Names {
                    id: marker.id.clone(),
                    name: marker.id.clone(),
                    ..Names::default()
                },
                runtime: None,
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
