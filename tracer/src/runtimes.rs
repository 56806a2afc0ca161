//! The containers that runtimes on this machine say they run, from what they keep under /run: runc's `state.json`,
//! crun's `status`, and podman's and Docker's names beside them.
//!
//! It reads, and believes little: a state directory may be a user's. What is no regular file, is another user's, or is
//! too long is not read, and a process id is worth nothing until its start time and its owner are the same.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, open};
use serde::{Deserialize, de::DeserializeOwned};
use tracer_hook::annotations;

use crate::identity;

/// Where runtimes keep their states by default, a folder a container. `*` is any one folder.
const STATES: [&str; 6] = [
    "/run/runc",
    "/run/crun",
    "/run/containerd/runc/*",
    "/run/docker/runtime-*/*",
    "/run/user/*/runc",
    "/run/user/*/crun",
];

/// Longest state. runc's holds the whole configuration.
const MAX_STATE: u64 = 4 << 20;
/// Containers that one look takes in.
const MAX_CONTAINERS: usize = 8192;

/// A container that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub id: String,
    /// What its engine calls it.
    pub name: Option<String>,
    pub runtime: &'static str,
    /// Its init, on the host.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub pid_start: u64,
    /// The uid whose state it is.
    pub owner: u32,
    /// As the hook would tell them.
    pub annotations: BTreeMap<String, String>,
}

/// Where to look.
#[derive(Clone, Debug, Default)]
pub struct Runtimes {
    /// State directories beside the usual ones.
    pub extra: Vec<PathBuf>,
}

/// Lists of names that were read already.
type Lists = HashMap<PathBuf, BTreeMap<String, String>>;

impl Runtimes {
    /// The containers that run now.
    pub fn running(&self) -> Vec<Found> {
        let mut found = Vec::new();
        let mut lists = Lists::new();
        let usual = STATES.iter().flat_map(|pattern| expand(pattern));
        for directory in usual.chain(self.extra.iter().cloned()) {
            // No such runtime, or none of its containers.
            let Ok(entries) = fs::read_dir(&directory) else {
                continue;
            };
            for entry in entries.flatten() {
                if found.len() >= MAX_CONTAINERS {
                    return found;
                }
                found.extend(container(&entry.path(), &mut lists));
            }
        }
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found.dedup_by(|a, b| a.id == b.id && a.pid == b.pid);
        found
    }
}

/// The folders that a pattern means.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let Some((prefix, "")) = part.split_once('*') else {
            paths.iter_mut().for_each(|path| path.push(part));
            continue;
        };
        paths = paths
            .iter()
            .filter_map(|path| fs::read_dir(path).ok())
            .flat_map(|entries| entries.flatten())
            .filter(|entry| {
                entry
                    .file_name()
                    .as_encoded_bytes()
                    .starts_with(prefix.as_bytes())
            })
            .map(|entry| entry.path())
            .collect();
    }
    paths
}

#[derive(Deserialize)]
struct Runc {
    id: String,
    init_process_pid: u32,
    init_process_start: u64,
    config: RuncConfig,
}

/// runc makes labels of the annotations, `key=value`, and one of the bundle.
#[derive(Deserialize)]
struct RuncConfig {
    #[serde(default)]
    labels: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Crun {
    pid: u32,
    process_start_time: u64,
    bundle: PathBuf,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The container of a state, if it runs.
fn container(state: &Path, lists: &mut Lists) -> Option<Found> {
    let owner = fs::symlink_metadata(state)
        .ok()
        .filter(fs::Metadata::is_dir)?
        .uid();
    let (id, runtime, pid, start, bundle, annotations);
    if let Some(runc) = read::<Runc>(&state.join("state.json"), owner) {
        let mut labels: BTreeMap<_, _> = runc
            .config
            .labels
            .iter()
            .filter_map(|label| label.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        bundle = labels.remove("bundle").map(PathBuf::from);
        (id, runtime, annotations) = (runc.id, "runc", labels);
        (pid, start) = (runc.init_process_pid, runc.init_process_start);
    } else {
        let crun = read::<Crun>(&state.join("status"), owner)?;
        let spec = read::<Spec>(&state.join("config.json"), owner)?;
        id = state.file_name()?.to_str()?.to_owned();
        (runtime, annotations) = ("crun", spec.annotations);
        (pid, start, bundle) = (crun.pid, crun.process_start_time, Some(crun.bundle));
    }
    tracer_hook::protocol::check_id(&id).ok()?;
    if pid <= 1 || !identity::is_same_process(i32::try_from(pid).ok()?, start) {
        return None;
    }
    Some(Found {
        name: bundle.and_then(|bundle| name(&id, &bundle, owner, lists)),
        annotations: annotations::useful(&annotations),
        id,
        runtime,
        pid,
        pid_start: start,
        owner,
    })
}

/// What the engine calls its container: podman keeps a list two folders above the bundle, Docker a file a container.
fn name(id: &str, bundle: &Path, owner: u32, lists: &mut Lists) -> Option<String> {
    #[derive(Deserialize)]
    struct Listed {
        id: String,
        #[serde(default)]
        names: Option<Vec<String>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Docker {
        name: String,
    }
    if bundle.ends_with("userdata") {
        let all = bundle.parent()?.parent()?;
        let names = lists.entry(all.to_owned()).or_insert_with(|| {
            ["containers.json", "volatile-containers.json"]
                .iter()
                .filter_map(|list| read::<Vec<Listed>>(&all.join(list), owner))
                .flatten()
                .filter_map(|listed| Some((listed.id, listed.names?.into_iter().next()?)))
                .collect()
        });
        return names.get(id).cloned();
    }
    if bundle.parent()?.ends_with("moby") && !id.contains('/') {
        let record = Path::new("/var/lib/docker/containers")
            .join(id)
            .join("config.v2.json");
        let docker: Docker = read(&record, owner)?;
        return Some(docker.name.trim_start_matches('/').to_owned());
    }
    None
}

/// A JSON file that is root's or that user's.
fn read<T: DeserializeOwned>(path: &Path, owner: u32) -> Option<T> {
    // Opening must have no effect and must not wait, whatever stands there.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty()).ok()?);
    let metadata = file.metadata().ok()?;
    let is_its = metadata.uid() == 0 || metadata.uid() == owner;
    if !metadata.is_file() || !is_its || metadata.len() > MAX_STATE {
        return None;
    }
    let mut text = Vec::new();
    file.take(MAX_STATE).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// This process, which certainly runs.
    fn own() -> (u32, u64) {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let rest = stat.rsplit(')').next().unwrap();
        let start = rest.split_whitespace().nth(19).unwrap().parse().unwrap();
        (std::process::id(), start)
    }

    fn running(directory: &Path) -> Vec<Found> {
        let mut lists = Lists::new();
        let mut entries: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        entries.sort();
        entries
            .iter()
            .filter_map(|path| container(path, &mut lists))
            .collect()
    }

    fn state(directory: &Path, id: &str, file: &str, text: &str) {
        let folder = directory.join(id);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(file), text).unwrap();
    }

    #[test]
    fn the_states_of_both_runtimes_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let (pid, start) = own();
        let userdata = dir.path().join("vfs-containers/c/userdata");
        fs::create_dir_all(&userdata).unwrap();
        fs::write(
            dir.path().join("vfs-containers/containers.json"),
            r#"[{"id":"c","names":["web"]},{"id":"d"}]"#,
        )
        .unwrap();
        let states = dir.path().join("states");
        let runc = serde_json::json!({
            "id": "a", "init_process_pid": pid, "init_process_start": start,
            "config": {"labels": ["container-tracer.io/trace=true", "secret=1", "bundle=/run/b"]},
        });
        state(&states, "a", "state.json", &runc.to_string());
        let crun =
            serde_json::json!({"pid": pid, "process-start-time": start, "bundle": userdata, "owner": "root"});
        state(&states, "c", "status", &crun.to_string());
        state(
            &states,
            "c",
            "config.json",
            r#"{"annotations":{"container-tracer.io/trace":"true"}}"#,
        );
        let [a, c] = running(&states).try_into().unwrap();
        assert_eq!((&*a.id, a.runtime, a.pid, a.name), ("a", "runc", pid, None));
        assert_eq!(
            (&*c.id, c.runtime, c.pid, c.name.as_deref()),
            ("c", "crun", pid, Some("web"))
        );
        for annotations in [a.annotations, c.annotations] {
            assert_eq!(annotations.len(), 1, "{annotations:?}");
            assert!(annotations::asks_for_trace(&annotations));
        }
    }

    #[test]
    fn what_does_not_run_or_is_no_state_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let (pid, start) = own();
        let runc = |pid: u32, start: u64| {
            serde_json::json!({"id": "a", "init_process_pid": pid, "init_process_start": start, "config": {}})
                .to_string()
        };
        // A number that is used again, no process, the host's init, garbage, nothing.
        state(dir.path(), "reused", "state.json", &runc(pid, start + 1));
        state(dir.path(), "none", "state.json", &runc(0, 0));
        state(dir.path(), "init", "state.json", &runc(1, 0));
        state(dir.path(), "torn", "state.json", &runc(pid, start)[1..]);
        state(dir.path(), "crun", "status", "[]");
        fs::create_dir(dir.path().join("empty")).unwrap();
        // What is no regular file is not opened for long.
        let fifo = dir.path().join("fifo");
        fs::create_dir(&fifo).unwrap();
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            fifo.join("state.json"),
            Mode::from_raw_mode(0o600),
        )
        .unwrap();
        let link = dir.path().join("link");
        fs::create_dir(&link).unwrap();
        state(dir.path(), "real", "other.json", &runc(pid, start));
        symlink(dir.path().join("real/other.json"), link.join("state.json")).unwrap();
        assert_eq!(running(dir.path()), []);
    }

    #[test]
    fn a_star_is_any_folder() {
        assert_eq!(expand("/nowhere/*/x"), Vec::<PathBuf>::new());
        assert!(expand("/proc/sel*/fd").contains(&PathBuf::from("/proc/self/fd")));
        assert_eq!(expand("/run/runc"), [PathBuf::from("/run/runc")]);
    }
}
