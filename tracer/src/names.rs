//! Who a container is, from what its runtime annotated: name, Pod, namespace, image, labels. Pure; docs/annotations.md
//! has the keys.
//!
//! All of it is the container maker's text: shown escaped, compared, and never opened or run.

use std::collections::BTreeMap;

use tracer_hook::annotations::{IMAGE, LABELS, NAME, is_sandbox};

use crate::event::Container;

/// The runtimes' keys for the same thing, first to last.
const NAMES: [&str; 4] = [
    "io.kubernetes.cri.container-name",
    "io.kubernetes.container.name",
    "nerdctl/name",
    NAME,
];
const PODS: [&str; 3] = [
    "io.kubernetes.cri.sandbox-name",
    "io.kubernetes.pod.name",
    "io.kubernetes.cri-o.KubeName",
];
const NAMESPACES: [&str; 3] = [
    "io.kubernetes.cri.sandbox-namespace",
    "io.kubernetes.pod.namespace",
    "io.kubernetes.cri-o.Namespace",
];
const IMAGES: [&str; 4] = [
    "io.kubernetes.cri.image-name",
    "io.kubernetes.cri-o.ImageName",
    IMAGE,
    "org.opencontainers.image.ref.name",
];

/// Those of labels; of a label in both, the later holds.
const LABELLED: [&str; 2] = [LABELS, "io.kubernetes.cri-o.Labels"];

/// The container of that id, owned by that uid.
pub fn describe(id: &str, annotations: &BTreeMap<String, String>, owner: u32) -> Container {
    let labels = labels(annotations);
    // The kubelet labels what it starts with the same keys, and cri-dockerd has them nowhere else.
    let first = |keys: &[&str]| {
        keys.iter()
            .find_map(|key| annotations.get(*key).or_else(|| labels.get(*key)))
            .filter(|value| !value.is_empty())
            .cloned()
    };
    // What the kubelet calls the container that has no name: containerd does not annotate it.
    let of_sandbox = || is_sandbox(annotations).then(|| "POD".to_owned());
    Container {
        id: id.to_owned(),
        name: first(&NAMES).or_else(of_sandbox).unwrap_or_else(|| id.to_owned()),
        pod: first(&PODS),
        namespace: first(&NAMESPACES),
        image: first(&IMAGES),
        owner,
        labels,
    }
}

/// Gives the container that name, whatever its runtime calls it.
pub fn set(annotations: &mut BTreeMap<String, String>, name: String) {
    annotations.retain(|key, _| !NAMES.contains(&key.as_str()));
    // cri-dockerd's labels name it too, and go before.
    for key in LABELLED {
        if let Some(text) = annotations.get_mut(key) {
            let mut labels = written(text);
            labels.retain(|key, _| !NAMES.contains(&key.as_str()));
            *text = serde_json::json!(labels).to_string();
        }
    }
    annotations.insert(NAME.to_owned(), name);
}

/// Who manages the container, where its annotations tell.
pub fn manager(annotations: &BTreeMap<String, String>) -> Option<String> {
    let has = |prefix: &str| annotations.keys().any(|key| key.starts_with(prefix));
    match annotations.get("io.container.manager").map(String::as_str) {
        Some("libpod") => Some("podman".to_owned()),
        Some(manager) => Some(manager.to_owned()),
        None if has("nerdctl/") => Some("nerdctl".to_owned()),
        None if has("io.kubernetes.cri.") => Some("containerd".to_owned()),
        None if has("io.kubernetes.cri-o.") => Some("cri-o".to_owned()),
        None => None,
    }
}

/// CRI-O's labels and the tracer's own; of a key in both, CRI-O's holds.
fn labels(annotations: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    LABELLED
        .iter()
        .filter_map(|key| annotations.get(*key))
        .flat_map(|text| written(text))
        .collect()
}

/// A JSON object of texts, or `key=value,key=value`; what is neither is no label.
fn written(text: &str) -> BTreeMap<String, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).unwrap_or_default();
    }
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        Some((key.trim().to_owned(), value.trim().to_owned()))
    };
    text.split(',').filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Container {
        describe("4f1c", &annotations(pairs), 0)
    }

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// name, pod, namespace, image
    fn names(container: &Container) -> [Option<&str>; 4] {
        [
            Some(&*container.name),
            container.pod.as_deref(),
            container.namespace.as_deref(),
            container.image.as_deref(),
        ]
    }

    #[test]
    fn containerd_annotates_by_cri() {
        let all = [
            ("io.kubernetes.cri.container-name", "app"),
            ("io.kubernetes.cri.container-type", "container"),
            ("io.kubernetes.cri.image-name", "localhost/bb:1"),
            ("io.kubernetes.cri.sandbox-id", "9a"),
            ("io.kubernetes.cri.sandbox-name", "web-0"),
            ("io.kubernetes.cri.sandbox-namespace", "shop"),
        ];
        let want = [Some("app"), Some("web-0"), Some("shop"), Some("localhost/bb:1")];
        assert_eq!(names(&of(&all)), want);
        assert_eq!(manager(&annotations(&all)).as_deref(), Some("containerd"));
        let sandbox = [
            ("io.kubernetes.cri.container-type", "sandbox"),
            ("io.kubernetes.cri.sandbox-name", "web-0"),
        ];
        assert_eq!(names(&of(&sandbox)), [Some("POD"), Some("web-0"), None, None]);
    }

    #[test]
    fn crio_annotates_labels_as_json() {
        let all = [
            ("io.kubernetes.container.name", "app"),
            ("io.kubernetes.cri-o.KubeName", "web-0"),
            ("io.kubernetes.cri-o.Namespace", "shop"),
            ("io.kubernetes.cri-o.ImageName", "quay.io/bb:1"),
            (
                "io.kubernetes.cri-o.Labels",
                r#"{"app":"shop","io.kubernetes.pod.uid":"7c"}"#,
            ),
            (LABELS, "app=mine,tier=front"),
        ];
        let container = of(&all);
        let want = [Some("app"), Some("web-0"), Some("shop"), Some("quay.io/bb:1")];
        assert_eq!(names(&container), want);
        assert_eq!(
            (&*container.labels["app"], &*container.labels["tier"]),
            ("shop", "front")
        );
        assert_eq!(manager(&annotations(&all)).as_deref(), Some("cri-o"));
    }

    #[test]
    fn podman_docker_and_nerdctl_name_the_container() {
        let podman = [("io.container.manager", "libpod"), (NAME, "web"), (IMAGE, "bb:1")];
        assert_eq!(names(&of(&podman)), [Some("web"), None, None, Some("bb:1")]);
        // podman uses some of CRI-O's keys.
        let in_pod = [
            ("io.container.manager", "libpod"),
            ("io.kubernetes.cri-o.TTY", "false"),
        ];
        assert_eq!(manager(&annotations(&in_pod)).as_deref(), Some("podman"));
        assert_eq!(names(&of(&[("nerdctl/name", "web")]))[0], Some("web"));
        let dockerd = [
            (NAME, "k8s_app_web-0"),
            (
                LABELS,
                r#"{"io.kubernetes.container.name":"app","io.kubernetes.pod.name":"web-0"}"#,
            ),
        ];
        assert_eq!(names(&of(&dockerd))[..2], [Some("app"), Some("web-0")]);
    }

    #[test]
    fn a_name_that_is_set_goes_before_all_others() {
        let mut annotations = annotations(&[
            ("io.kubernetes.cri.container-name", "app"),
            (NAME, "web"),
            (LABELS, r#"{"io.kubernetes.container.name":"app","tier":"front"}"#),
        ]);
        set(&mut annotations, "mine".into());
        let container = describe("4f1c", &annotations, 0);
        assert_eq!((&*container.name, &*container.labels["tier"]), ("mine", "front"));
    }

    #[test]
    fn without_annotations_the_id_is_the_name() {
        assert_eq!(names(&of(&[])), [Some("4f1c"), None, None, None]);
        assert_eq!(names(&of(&[(NAME, "")]))[0], Some("4f1c"));
        assert_eq!(manager(&BTreeMap::new()), None);
    }

    proptest::proptest! {
        #[test]
        fn any_labels_are_read(text in "(\\PC|[=,{}\":]){0,60}") {
            let _read = of(&[(LABELS, &text), ("io.kubernetes.cri-o.Labels", &text)]);
        }
    }

    #[test]
    fn labels_that_are_none_are_none() {
        for text in ["", "x", "{", "[1]", "{\"a\":1}", ",,"] {
            assert_eq!(of(&[(LABELS, text)]).labels, BTreeMap::new(), "{text}");
        }
    }
}
