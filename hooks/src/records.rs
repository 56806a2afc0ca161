//! What a runtime's own records say of a container and the OCI state does not: podman's and Docker's name, image and
//! labels.
//!
//! The hook reads them, not the daemon: it has the rights of whoever starts the container and stands in the mount
//! namespace of its runtime, so a path can lead it to nothing that this user could not read, and the daemon opens no
//! path that a client names. Whatever is missing, too large or malformed only leaves the container with its id.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    annotations::{IMAGE, LABELS, NAME},
    state::State,
};

/// Most bytes of a record: podman keeps those of all its containers in one file.
const MAX_RECORD: u64 = 1 << 20;

/// Puts what the records say into the annotations, where a user has not annotated it.
pub fn add(state: &State, annotations: &mut BTreeMap<String, String>) {
    let bundle = Path::new(&state.bundle);
    let names = if annotations
        .get("io.container.manager")
        .is_some_and(|manager| manager == "libpod")
    {
        podman(&state.id, bundle)
    } else if annotations.contains_key("nerdctl/name") {
        nerdctl(&state.annotations)
    } else {
        docker(&state.id, bundle)
    };
    let Some(names) = names else { return };
    // cri-dockerd marks the sandbox of a Pod by a label.
    if let Some(kind) = names.labels.get("io.kubernetes.docker.type") {
        annotations
            .entry("io.kubernetes.docker.type".to_owned())
            .or_insert_with(|| kind.clone());
    }
    let labels = (!names.labels.is_empty())
        .then(|| serde_json::to_string(&names.labels).ok())
        .flatten();
    for (key, value) in [(NAME, names.name), (IMAGE, names.image), (LABELS, labels)] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            annotations.entry(key.to_owned()).or_insert(value);
        }
    }
}

/// What a record says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    name: Option<String>,
    image: Option<String>,
    labels: BTreeMap<String, String>,
}

/// containers/storage: `<root>/<driver>-containers/<id>/userdata` is the bundle, and what it is a container of stands
/// two folders above. Those of `--rm` have a list of their own from podman 4.4 on. Labels are only in podman's database.
fn podman(id: &str, bundle: &Path) -> Option<Names> {
    #[derive(Deserialize)]
    struct Record {
        id: String,
        #[serde(default)]
        names: Option<Vec<String>>,
        #[serde(default)]
        metadata: Option<String>,
    }
    #[derive(Deserialize)]
    struct Metadata {
        #[serde(rename = "image-name")]
        image: Option<String>,
    }
    let of_container = bundle.parent().filter(|_| bundle.ends_with("userdata"))?;
    let all = of_container.parent().filter(|_| of_container.ends_with(id))?;
    let record = ["containers.json", "volatile-containers.json"]
        .iter()
        .filter_map(|list| read::<Vec<Record>>(&all.join(list)))
        .flatten()
        .find(|record| record.id == id)?;
    let metadata = record
        .metadata
        .and_then(|text| serde_json::from_str::<Metadata>(&text).ok());
    Some(Names {
        name: record.names.unwrap_or_default().into_iter().next(),
        image: metadata.and_then(|metadata| metadata.image),
        labels: BTreeMap::new(),
    })
}

/// nerdctl makes annotations of all its labels, the user's and its own.
fn nerdctl(annotations: &BTreeMap<String, String>) -> Option<Names> {
    let own = [
        "nerdctl/",
        "io.containerd.",
        "container-tracer.io/",
        "org.opencontainers.",
    ];
    let of_user = |key: &str| !own.iter().any(|prefix| key.starts_with(prefix));
    Some(Names {
        labels: annotations
            .iter()
            .filter(|(key, _)| of_user(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        ..Names::default()
    })
}

/// Docker: containerd's namespace `moby` is the folder of its bundles. What Docker knows of the container lies beside
/// the file that it mounts on `/etc/hostname`, `<data-root>/containers/<id>/hostname`.
fn docker(id: &str, bundle: &Path) -> Option<Names> {
    #[derive(Deserialize)]
    struct Spec {
        mounts: Option<Vec<Mount>>,
    }
    #[derive(Deserialize)]
    struct Mount {
        destination: String,
        #[serde(default)]
        source: PathBuf,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Record {
        #[serde(rename = "ID")]
        id: String,
        name: Option<String>,
        config: Option<Config>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Config {
        image: Option<String>,
        labels: Option<BTreeMap<String, String>>,
    }
    bundle.parent().filter(|parent| parent.ends_with("moby"))?;
    let spec: Spec = read(&bundle.join("config.json"))?;
    let hostname = spec
        .mounts?
        .into_iter()
        .find(|mount| mount.destination == "/etc/hostname")?
        .source;
    let its = hostname.parent().filter(|folder| folder.ends_with(id))?;
    let record: Record = read(&its.join("config.v2.json")).filter(|record: &Record| record.id == id)?;
    let (image, labels) = record.config.map_or((None, None), |c| (c.image, c.labels));
    Some(Names {
        name: record.name.map(|name| name.trim_start_matches('/').to_owned()),
        image,
        labels: labels.unwrap_or_default(),
    })
}

/// A JSON file, if it is a regular one of at most [`MAX_RECORD`] bytes. Opening a pipe does not wait.
fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
        .open(path)
        .ok()?;
    let about = file.metadata().ok()?;
    if !about.is_file() || about.len() > MAX_RECORD {
        return None;
    }
    let mut text = Vec::new();
    file.take(MAX_RECORD).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ID: &str = "ff0e8f850a50b40b";

    fn added(bundle: &Path, annotations: &[(&str, &str)]) -> BTreeMap<String, String> {
        let annotations: BTreeMap<_, _> = annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let state = State {
            id: ID.into(),
            bundle: bundle.display().to_string(),
            annotations: annotations.clone(),
            ..State::default()
        };
        let mut told = annotations;
        add(&state, &mut told);
        told
    }

    #[test]
    fn podmans_name_and_image_come_from_its_storage() {
        let root = tempfile::tempdir().unwrap();
        let bundle = root.path().join("vfs-containers").join(ID).join("userdata");
        fs::create_dir_all(&bundle).unwrap();
        let record = |id: &str, name: &str| {
            format!(
                r#"[{{"id":"other","names":["no"]}},{{"id":"{id}","names":["{name}"],"image":"0116",
                "metadata":"{{\"image-name\":\"localhost/x:1\",\"name\":\"{name}\",\"created-at\":1795548172}}"}}]"#
            )
        };
        let libpod = ("io.container.manager", "libpod");
        assert_eq!(added(&bundle, &[libpod]).get(NAME), None, "no list yet");
        let lists = root.path().join("vfs-containers");
        fs::write(lists.join("containers.json"), record("another", "no")).unwrap();
        fs::write(lists.join("volatile-containers.json"), record(ID, "web")).unwrap();
        let told = added(&bundle, &[libpod]);
        assert_eq!((&*told[NAME], &*told[IMAGE]), ("web", "localhost/x:1"));
        assert_eq!(told.get(LABELS), None);
        // What the user annotated stays, and nobody else's containers are looked up there.
        assert_eq!(added(&bundle, &[libpod, (NAME, "mine")])[NAME], "mine");
        assert_eq!(added(&bundle, &[]).get(NAME), None);
        // A list that is no file, or no JSON, is no obstacle.
        fs::remove_file(lists.join("volatile-containers.json")).unwrap();
        std::os::unix::fs::symlink("containers.json", lists.join("volatile-containers.json")).unwrap();
        fs::write(lists.join("containers.json"), "[{").unwrap();
        assert_eq!(added(&bundle, &[libpod]).get(NAME), None);
    }

    #[test]
    fn dockers_names_stand_beside_its_hostname_file() {
        let root = tempfile::tempdir().unwrap();
        let bundle = root.path().join("moby").join(ID);
        let its = root.path().join("containers").join(ID);
        fs::create_dir_all(&bundle).unwrap();
        fs::create_dir_all(&its).unwrap();
        let spec = serde_json::json!({"mounts": [
            {"destination": "/proc", "source": "proc"},
            {"destination": "/etc/hostname", "source": its.join("hostname")},
        ]});
        fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
        let record = serde_json::json!({"ID": ID, "Name": "/web", "Config": {"Image": "bb:1", "Labels": {
            "app": "shop", "io.kubernetes.docker.type": "podsandbox",
        }}});
        fs::write(its.join("config.v2.json"), record.to_string()).unwrap();
        let told = added(&bundle, &[]);
        assert_eq!((&*told[NAME], &*told[IMAGE]), ("web", "bb:1"));
        assert_eq!(told["io.kubernetes.docker.type"], "podsandbox");
        let labels: BTreeMap<String, String> = serde_json::from_str(&told[LABELS]).unwrap();
        assert_eq!(labels["app"], "shop");
        // Another container's record says nothing of this one.
        let other = serde_json::json!({"ID": "other", "Name": "/other"});
        fs::write(its.join("config.v2.json"), other.to_string()).unwrap();
        assert_eq!(added(&bundle, &[]), BTreeMap::new());
    }

    #[test]
    fn nerdctls_annotations_are_its_labels() {
        let told = added(
            Path::new("/b"),
            &[
                ("nerdctl/name", "web"),
                ("nerdctl/networks", "[]"),
                ("app", "shop"),
            ],
        );
        assert_eq!(told[LABELS], r#"{"app":"shop"}"#);
        assert_eq!(told.get(NAME), None);
    }
}
