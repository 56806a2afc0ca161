//! Which annotations turn tracing on, and which ones the daemon is told. Pure.
//!
//! An annotation is a user's text: it names no host path and no command, and nobody opens or runs what it says.

use std::collections::BTreeMap;

/// The annotation that turns tracing on, when its value is exactly `true`.
pub const TRACE: &str = "container-tracer.io/trace";

/// The container's name, where no runtime annotates it: by the user, or from the runtime's [`crate::records`].
pub const NAME: &str = "container-tracer.io/name";
/// Its image, likewise.
pub const IMAGE: &str = "container-tracer.io/image";
/// Its labels, likewise: a JSON object of texts, or `key=value,key=value`.
pub const LABELS: &str = "container-tracer.io/labels";

/// Bytes that the subset for the daemon takes as JSON at most. With the longest id and bundle path, every character
/// of them escaped, a register still fits in [`crate::protocol::MAX_MESSAGE`] (a test holds it to that).
pub const MAX_USEFUL: usize = 32 * 1024;

/// Keys that say who the container is, by the runtimes that set them: CRI (containerd), CRI-O and the kubelet,
/// podman, cri-dockerd, nerdctl.
const USEFUL: [&str; 20] = [
    "io.container.manager",
    "io.kubernetes.container.name",
    "io.kubernetes.cri-o.ContainerType",
    "io.kubernetes.cri-o.ImageName",
    "io.kubernetes.cri-o.KubeName",
    "io.kubernetes.cri-o.Labels",
    "io.kubernetes.cri-o.Namespace",
    "io.kubernetes.cri-o.SandboxID",
    "io.kubernetes.cri.container-name",
    "io.kubernetes.cri.container-type",
    "io.kubernetes.cri.image-name",
    "io.kubernetes.cri.sandbox-id",
    "io.kubernetes.cri.sandbox-name",
    "io.kubernetes.cri.sandbox-namespace",
    "io.kubernetes.cri.sandbox-uid",
    "io.kubernetes.docker.type",
    "io.kubernetes.pod.name",
    "io.kubernetes.pod.namespace",
    "io.kubernetes.pod.uid",
    "nerdctl/name",
];

/// How runtimes mark the container that only holds a Pod's namespaces: containerd, CRI-O and podman, cri-dockerd.
const SANDBOX: [(&str, &str); 3] = [
    ("io.kubernetes.cri.container-type", "sandbox"),
    ("io.kubernetes.cri-o.ContainerType", "sandbox"),
    ("io.kubernetes.docker.type", "podsandbox"),
];

/// Families of keys that are told whole: options for the tracer, podman's, the image's.
const USEFUL_PREFIXES: [&str; 3] = [
    "container-tracer.io/",
    "io.podman.annotations.",
    "org.opencontainers.image.",
];

/// Whether the container asks to be traced.
pub fn asks_for_trace(annotations: &BTreeMap<String, String>) -> bool {
    annotations.get(TRACE).is_some_and(|value| value == "true")
}

/// Whether it is the sandbox of a Pod: the pause container, which runs nothing of the user's.
pub fn is_sandbox(annotations: &BTreeMap<String, String>) -> bool {
    SANDBOX
        .iter()
        .any(|(key, value)| annotations.get(*key).is_some_and(|given| given == value))
}

/// The annotations that the daemon is told, at most [`MAX_USEFUL`] bytes of JSON: the largest go first when they are
/// more.
pub fn useful(annotations: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let wanted = |key: &str| USEFUL.contains(&key) || USEFUL_PREFIXES.iter().any(|p| key.starts_with(p));
    let mut by_size: Vec<_> = annotations
        .iter()
        .filter(|(key, _)| wanted(key))
        .map(|(key, value)| (json_len(key) + json_len(value) + ":,".len(), key, value))
        .collect();
    by_size.sort_unstable();
    let mut left = MAX_USEFUL - "{}".len();
    by_size
        .into_iter()
        .map_while(|(size, key, value)| {
            left = left.checked_sub(size)?;
            Some((key.clone(), value.clone()))
        })
        .collect()
}

/// Bytes of a JSON string, quotes included: `"` and `\` take two, control characters two or six.
fn json_len(text: &str) -> usize {
    let escaped: usize = text
        .bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
            0..0x20 => 5,
            _ => 0,
        })
        .sum();
    text.len() + escaped + 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::{MAX_BUNDLE, MAX_ID, MAX_MESSAGE, Request, VERSION, encode};

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn only_the_exact_annotation_turns_tracing_on() {
        assert!(asks_for_trace(&map(&[(TRACE, "true")])));
        for no in [
            (TRACE, "True"),
            (TRACE, "1"),
            (TRACE, ""),
            ("container-tracer.io/trace2", "true"),
        ] {
            assert!(!asks_for_trace(&map(&[no])), "{no:?}");
        }
        assert!(!asks_for_trace(&BTreeMap::new()));
    }

    #[test]
    fn sandboxes_are_recognised() {
        for (key, value) in SANDBOX {
            assert!(is_sandbox(&map(&[(key, value)])), "{key}");
            assert!(!is_sandbox(&map(&[(key, "container")])), "{key}");
        }
        assert!(!is_sandbox(&map(&[(TRACE, "true")])));
    }

    #[test]
    fn the_daemon_is_told_who_it_is_and_nothing_else() {
        let told = map(&[
            ("container-tracer.io/trace", "true"),
            ("io.kubernetes.cri.sandbox-name", "web-0"),
            ("io.kubernetes.pod.namespace", "prod"),
            ("io.podman.annotations.init", "FALSE"),
            ("org.opencontainers.image.stopSignal", "15"),
        ]);
        let mut all = told.clone();
        all.extend(map(&[
            ("kubectl.kubernetes.io/last-applied-configuration", "{secret}"),
            ("io.kubernetes.cri.sandbox-log-directory", "/var/log/x"),
            ("container-tracer.io", "x"),
        ]));
        assert_eq!(useful(&all), told);
    }

    #[test]
    fn the_largest_go_first() {
        let big = "x".repeat(20 * 1024);
        let pairs = [
            ("container-tracer.io/a", big.as_str()),
            ("container-tracer.io/b", &big[1..]),
            ("container-tracer.io/trace", "true"),
        ];
        let kept = useful(&map(&pairs));
        assert_eq!(
            kept.keys().collect::<Vec<_>>(),
            ["container-tracer.io/b", "container-tracer.io/trace"]
        );
        let huge = "x".repeat(1 << 20);
        assert_eq!(
            useful(&map(&[("container-tracer.io/a", &huge), (TRACE, "true")])),
            map(&[(TRACE, "true")])
        );
    }

    #[test]
    fn the_longest_register_fits() {
        let annotations = (0..900)
            .map(|n| (format!("container-tracer.io/{n:05}"), "\u{1}".repeat(n)))
            .collect();
        let annotations = useful(&annotations);
        assert!(serde_json::to_vec(&annotations).unwrap().len() > MAX_USEFUL / 2);
        let (id, bundle) = ("\"".repeat(MAX_ID), "\u{1}".repeat(MAX_BUNDLE));
        let line = encode(&Request::Register {
            v: VERSION,
            id,
            bundle,
            annotations,
            late: true,
        })
        .unwrap();
        assert!(line.len() <= MAX_MESSAGE);
    }

    proptest! {
        #[test]
        fn the_subset_is_bounded(
            values in proptest::collection::vec(("[a-z]{1,6}", "(.|[\\x00-\\x1f\"]){0,900}"), 0..40)
        ) {
            let all = values.into_iter().map(|(k, v)| (format!("container-tracer.io/{k}"), v)).collect();
            prop_assert!(serde_json::to_vec(&useful(&all)).unwrap().len() <= MAX_USEFUL);
        }

        #[test]
        fn lengths_are_those_of_the_encoder(text in "(.|[\\x00-\\x1f\"\\\\\\x7f]){0,60}") {
            prop_assert_eq!(json_len(&text), serde_json::to_string(&text).unwrap().len());
        }
    }
}
