//! Path look-ups that found nothing: by path, and by the searches that they are parts of. Where all places of a name fail,
//! the kernel keeps a negative dentry for each.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use serde::{Deserialize, Serialize};

use crate::{
    decode,
    event::{Negative, Outcome, Phase, Syscall, Task},
    follow::Followed,
    report::observed::{self, Who},
};

/// Bytes that one container's table takes at most, and those of all together.
const MOST: usize = 1 << 20;
const MOST_OF_ALL: usize = 32 << 20;
static OF_ALL: AtomicUsize = AtomicUsize::new(0);
/// What an entry takes beside its texts.
const ROW: usize = 256;

/// Processes that are told of a path, each with its count.
const PROCESSES: usize = 8;
/// Tasks whose searches are followed at one time, searches of each, places of each.
const TASKS: usize = 256;
const OPEN: usize = 8;
const PLACES: usize = 32;

const ENOENT: u16 = libc::ENOENT as u16;
const ENOTDIR: u16 = libc::ENOTDIR as u16;

#[derive(Debug, Default)]
pub(super) struct Lookups {
    failed: u64,
    /// Of these, those whose path could not be read.
    unnamed: u64,
    /// And those that found no room.
    unkept: u64,
    rows: HashMap<String, Row>,
    open: HashMap<u32, VecDeque<Search>>,
    searches: HashMap<Searched, (u64, Who)>,
    searches_unkept: u64,
    bytes: usize,
}

/// What is left for another daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Left {
    failed: u64,
    unnamed: u64,
    unkept: u64,
    rows: Vec<(String, Row)>,
    open: Vec<(u32, Vec<Search>)>,
    searches: Vec<(Searched, u64, Who)>,
    searches_unkept: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    missing: u64,
    not_a_directory: u64,
    cached: u64,
    looked_up: u64,
    first_ns: u64,
    last_ns: u64,
    calls: Vec<String>,
    by: Vec<(Who, u64)>,
    /// By processes beyond those.
    others: u64,
}

/// A name that a task looks for in one place after another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Search {
    name: String,
    places: Vec<String>,
    by: Who,
    /// Taken of the table's room.
    #[serde(skip)]
    bytes: usize,
}

/// A search that is over.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Searched {
    name: String,
    places: Vec<String>,
    found: Option<String>,
    host_pid: u32,
}

/// Whether it may matter to [`Lookups::take`]: a call of the application that names a path.
pub(super) fn concern(call: &Syscall) -> bool {
    if call.task.phase != Phase::App || call.denied_by.is_some() {
        return false;
    }
    let texts = || call.args.list.iter().map(|arg| call.args.text_of(arg));
    match call.outcome {
        Outcome::Error(ENOENT | ENOTDIR) => is_lookup(call),
        // Where a search may end: with a string for a path. Cheaper to see than what the table says.
        Outcome::Value(_) => texts().any(|text| text.starts_with('"')) && is_lookup(call),
        _ => false,
    }
}

/// Whether an argument that is no path by its kind may be one here.
pub(super) fn looks_into(name: &str) -> bool {
    name == "connect"
}

/// Whether a failure of that call to find something is a path's: it takes one, or the path of a socket.
fn is_lookup(call: &Syscall) -> bool {
    looks_into(&call.name) || decode::takes(call.arch, call.nr).is_some_and(|takes| takes.path)
}

/// The path that was looked up, as its text has it, from the root on where it is known where it begins; of two the one
/// that had to be there.
fn path_of(call: &Syscall, followed: Option<&Followed>) -> Option<String> {
    let (index, path) = given(call)?;
    let whole = followed.and_then(|followed| followed.resolved(call, index, &path));
    Some(whole.map(Cow::into_owned).unwrap_or(path))
}

/// The number of that argument, and the path as the call had it.
fn given(call: &Syscall) -> Option<(usize, String)> {
    let mut texts = call
        .args
        .list
        .iter()
        .map(|arg| call.args.text_of(arg))
        .enumerate();
    if call.name == "connect" {
        let (index, text) = texts.nth(1)?;
        let (_, after) = text.split_once("sun_path=\"")?;
        return Some((index, after.split_once('"')?.0.to_owned()));
    }
    let mut quoted = texts.filter(|(_, text)| text.starts_with('"'));
    let (index, text) = match &*call.name {
        // What the link says is looked up by nobody.
        "symlink" | "symlinkat" => quoted.next_back()?,
        // The source is a name of the file system's own.
        "mount" => quoted.nth(1)?,
        _ => quoted.next()?,
    };
    let inner = text.strip_prefix('"')?;
    let path = match inner.strip_suffix("\"...") {
        Some(cut) => format!("{cut}..."),
        None => inner.strip_suffix('"')?.to_owned(),
    };
    Some((index, path))
}

/// Directory and last part; none of a path that ends in a slash or is one part.
fn split(path: &str) -> Option<(&str, &str)> {
    let (place, name) = path.rsplit_once('/')?;
    (!name.is_empty()).then_some((if place.is_empty() { "/" } else { place }, name))
}

fn who(task: &Task) -> Who {
    Who {
        pid: task.pid,
        host_pid: task.host_pid,
        comm: String::from_utf8_lossy(task.comm.bytes()).into_owned(),
    }
}

/// What a search takes of the table's room.
fn bytes(name: &str, places: &[String]) -> usize {
    ROW + name.len() + places.iter().map(String::len).sum::<usize>()
}

impl Lookups {
    /// For another daemon.
    pub(super) fn leave(&self) -> Left {
        let rows = self.rows.iter();
        let open = self.open.iter();
        let searches = self.searches.iter();
        Left {
            failed: self.failed,
            unnamed: self.unnamed,
            unkept: self.unkept,
            rows: rows.map(|(path, row)| (path.clone(), row.clone())).collect(),
            open: open
                .map(|(task, open)| (*task, open.iter().cloned().collect()))
                .collect(),
            searches: searches
                .map(|(search, (times, by))| (search.clone(), *times, by.clone()))
                .collect(),
            searches_unkept: self.searches_unkept,
        }
    }

    /// Goes on with what another left; what finds no room here is counted.
    pub(super) fn resume(left: Left) -> Self {
        let mut new = Self::default();
        (new.failed, new.unnamed) = (left.failed, left.unnamed);
        (new.unkept, new.searches_unkept) = (left.unkept, left.searches_unkept);
        for (path, row) in left.rows {
            if new.room(ROW + path.len()) {
                new.rows.insert(path, row);
            } else {
                new.unkept += row.missing + row.not_a_directory;
            }
        }
        for (search, times, by) in left.searches {
            if new.room(bytes(&search.name, &search.places)) {
                new.searches.insert(search, (times, by));
            } else {
                new.searches_unkept += times;
            }
        }
        for (task, open) in left.open {
            for mut search in open {
                search.bytes = bytes(&search.name, &search.places);
                if new.room(search.bytes) {
                    new.open.entry(task).or_default().push_back(search);
                } else {
                    new.searches_unkept += 1;
                }
            }
        }
        new
    }

    pub(super) fn take(&mut self, time_ns: u64, call: &Syscall, followed: Option<&Followed>) {
        let Outcome::Error(errno) = call.outcome else {
            if self.open.contains_key(&call.task.host_tid)
                && let Some((place, name)) = path_of(call, followed).as_deref().and_then(split)
            {
                self.found(&call.task, place, name);
            }
            return;
        };
        let path = path_of(call, followed);
        self.failed += 1;
        let Some(path) = path else {
            self.unnamed += 1;
            return;
        };
        if let Some((place, name)) = split(&path) {
            self.missed(&call.task, place, name);
        }
        if !self.rows.contains_key(&path) && !self.room(ROW + path.len()) {
            self.unkept += 1;
            return;
        }
        let row = self.rows.entry(path).or_insert_with(|| Row {
            missing: 0,
            not_a_directory: 0,
            cached: 0,
            looked_up: 0,
            first_ns: time_ns,
            last_ns: time_ns,
            calls: Vec::new(),
            by: Vec::new(),
            others: 0,
        });
        row.take(time_ns, errno, call);
    }

    /// Takes so many bytes, where there are.
    fn room(&mut self, bytes: usize) -> bool {
        if self.bytes + bytes > MOST {
            return false;
        }
        if OF_ALL.fetch_add(bytes, Relaxed) + bytes > MOST_OF_ALL {
            OF_ALL.fetch_sub(bytes, Relaxed);
            return false;
        }
        self.bytes += bytes;
        true
    }

    fn give_back(&mut self, bytes: usize) {
        self.bytes -= bytes;
        OF_ALL.fetch_sub(bytes, Relaxed);
    }

    /// A name was not in that place.
    fn missed(&mut self, task: &Task, place: &str, name: &str) {
        if !self.open.contains_key(&task.host_tid) && self.open.len() >= TASKS {
            // Tasks end without a word here; what they had open is over.
            self.close_all();
        }
        let of_task = |open: &HashMap<u32, VecDeque<Search>>| {
            let searches = open.get(&task.host_tid)?;
            let index = searches.iter().position(|search| search.name == name)?;
            let places = &searches.get(index)?.places;
            let is_new = places.len() < PLACES && !places.iter().any(|tried| tried == place);
            Some((index, is_new))
        };
        let known = of_task(&self.open);
        let bytes = match known {
            Some((_, false)) => return,
            Some((_, true)) => place.len(),
            None => ROW + name.len() + place.len(),
        };
        if !self.room(bytes) {
            self.searches_unkept += 1;
            return;
        }
        let open = self.open.entry(task.host_tid).or_default();
        if let Some(search) = known.and_then(|(index, _)| open.get_mut(index)) {
            search.places.push(place.to_owned());
            search.bytes += bytes;
            return;
        }
        open.push_back(Search {
            name: name.to_owned(),
            places: vec![place.to_owned()],
            by: who(task),
            bytes,
        });
        if open.len() > OPEN
            && let Some(search) = open.pop_front()
        {
            self.close(search, None);
        }
    }

    /// A name was in that place: where it had been looked for elsewhere, that search is over.
    fn found(&mut self, task: &Task, place: &str, name: &str) {
        let Some(open) = self.open.get_mut(&task.host_tid) else {
            return;
        };
        let Some(index) = open.iter().position(|search| search.name == name) else {
            return;
        };
        if let Some(search) = open.remove(index) {
            // In a place where it was not before: it was made meanwhile.
            let found = (!search.places.iter().any(|tried| tried == place)).then(|| place.to_owned());
            self.close(search, found);
        }
    }

    fn close_all(&mut self) {
        for search in std::mem::take(&mut self.open).into_values().flatten() {
            self.close(search, None);
        }
    }

    /// Keeps a search of more than one place.
    fn close(&mut self, search: Search, found: Option<String>) {
        let Search {
            name,
            places,
            by,
            bytes,
        } = search;
        if places.len() + usize::from(found.is_some()) < 2 {
            self.give_back(bytes);
            return;
        }
        let key = Searched {
            name,
            places,
            found,
            host_pid: by.host_pid,
        };
        match self.searches.get_mut(&key) {
            Some((times, _)) => {
                *times += 1;
                self.give_back(bytes);
            }
            // The room that it had while it was open is its own now.
            None => {
                self.searches.insert(key, (1, by));
            }
        }
    }

    pub(super) fn told(&self) -> observed::Lookups {
        let several = |search: &&Search| search.places.len() > 1;
        let open = self
            .open
            .values()
            .flatten()
            .filter(several)
            .map(|search| observed::Search {
                name: search.name.clone(),
                places: search.places.clone(),
                found: None,
                times: 1,
                by: search.by.clone(),
            });
        let over = self.searches.iter().map(|(key, (times, who))| observed::Search {
            name: key.name.clone(),
            places: key.places.clone(),
            found: key.found.clone(),
            times: *times,
            by: who.clone(),
        });
        let mut searches: Vec<_> = over.chain(open).collect();
        searches.sort_by(|a, b| {
            (b.times.cmp(&a.times)).then_with(|| (&a.name, &a.places).cmp(&(&b.name, &b.places)))
        });
        let mut paths: Vec<_> = self.rows.iter().map(|(path, row)| row.told(path)).collect();
        paths.sort_by(|a, b| b.count().cmp(&a.count()).then_with(|| a.path.cmp(&b.path)));
        observed::Lookups {
            failed: self.failed,
            unnamed: self.unnamed,
            unkept: self.unkept,
            searches_unkept: self.searches_unkept,
            paths,
            searches,
            negative: observed::Negative::default(),
            detail: None,
        }
    }
}

impl Drop for Lookups {
    fn drop(&mut self) {
        OF_ALL.fetch_sub(self.bytes, Relaxed);
    }
}

impl Row {
    fn take(&mut self, time_ns: u64, errno: u16, call: &Syscall) {
        if errno == ENOTDIR {
            self.not_a_directory += 1;
        } else {
            self.missing += 1;
        }
        match call.negative {
            Some(Negative::Cached) => self.cached += 1,
            Some(Negative::LookedUp) => self.looked_up += 1,
            None => {}
        }
        self.first_ns = self.first_ns.min(time_ns);
        self.last_ns = self.last_ns.max(time_ns);
        if self.calls.len() < PROCESSES && !self.calls.iter().any(|name| *name == call.name) {
            self.calls.push(call.name.clone().into_owned());
        }
        let pid = call.task.host_pid;
        let has_room = self.by.len() < PROCESSES;
        match self.by.iter_mut().find(|(who, _)| who.host_pid == pid) {
            Some((_, count)) => *count += 1,
            None if has_room => self.by.push((who(&call.task), 1)),
            None => self.others += 1,
        }
    }

    fn told(&self, path: &str) -> observed::Lookup {
        let by = self.by.iter().map(|(who, count)| observed::By {
            who: who.clone(),
            count: *count,
        });
        observed::Lookup {
            path: path.to_owned(),
            missing: self.missing,
            not_a_directory: self.not_a_directory,
            cached: self.cached,
            looked_up: self.looked_up,
            first: crate::sinks::json::rfc3339(self.first_ns),
            last: crate::sinks::json::rfc3339(self.last_ns),
            per_second: per_second(self.missing + self.not_a_directory, self.last_ns - self.first_ns),
            calls: self.calls.clone(),
            by: by.collect(),
            others: self.others,
        }
    }
}

/// How often in a second, from the first to the last of so many; a time of at least a second.
fn per_second(count: u64, span_ns: u64) -> f64 {
    count as f64 * 1e9 / span_ns.max(1_000_000_000) as f64
}
