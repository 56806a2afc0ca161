//! The plugin's answers, to a real runtime's recorded bytes and to what no runtime should send.

use proptest::prelude::*;

use super::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// A plugin whose hook is a program that is there.
fn with(own: &OwnPod, test: impl FnOnce(Plugin<'_>)) {
    test(Plugin::new(
        Path::new("/proc/self/exe"),
        Path::new("/run/tracer"),
        own,
    ));
}

fn pod(annotations: &[(&str, &str)]) -> PodSandbox {
    PodSandbox {
        id: "5".repeat(64),
        name: "web".into(),
        uid: "6c3f6e7c-0b1d-4a58-9d0e-2f6f4b1f2a11".into(),
        namespace: "prod".into(),
        labels: map(&[("app", "shop")]),
        annotations: map(annotations),
    }
}

fn container(annotations: &[(&str, &str)]) -> Container {
    Container {
        id: "c".repeat(64),
        pod_sandbox_id: "5".repeat(64),
        name: "front".into(),
        state: RUNNING,
        annotations: map(annotations),
        hooks: None,
        pid: 4711,
    }
}

fn call(plugin: &mut Plugin<'_>, method: &str, payload: Vec<u8>) -> Answer {
    let request = Request {
        service: PLUGIN_SERVICE.into(),
        method: method.into(),
        payload,
    };
    plugin.call(&request.encode_to_vec())
}

fn create(plugin: &mut Plugin<'_>, pod: PodSandbox, container: Container) -> Option<ContainerAdjustment> {
    let request = CreateContainerRequest {
        pod: Some(pod),
        container: Some(container),
    };
    let answer = call(plugin, "CreateContainer", request.encode_to_vec());
    assert_eq!(answer.response.status, None, "an error fails the container");
    CreateContainerResponse::decode(answer.response.payload.as_slice())
        .unwrap()
        .adjust
}

const YES: (&str, &str) = (TRACE, "true");

#[test]
fn who_asks_gets_the_hook_and_what_it_looks_for() {
    with(&OwnPod::default(), |mut plugin| {
        let asking = pod(&[YES, ("container-tracer.io/mode", "full"), ("other", "x")]);
        let adjust = create(&mut plugin, asking, container(&[])).unwrap();
        assert_eq!(
            adjust.annotations,
            map(&[
                YES,
                ("container-tracer.io/mode", "full"),
                ("container-tracer.io/labels", r#"{"app":"shop"}"#),
                ("io.kubernetes.container.name", "front"),
                ("io.kubernetes.pod.name", "web"),
                ("io.kubernetes.pod.namespace", "prod"),
                ("io.kubernetes.pod.uid", "6c3f6e7c-0b1d-4a58-9d0e-2f6f4b1f2a11"),
            ])
        );
        let hooks = adjust.hooks.unwrap();
        for (stage, hooks) in [
            ("createRuntime", hooks.create_runtime),
            ("poststop", hooks.poststop),
        ] {
            let [hook] = hooks.as_slice() else {
                panic!("{hooks:?}")
            };
            assert_eq!(hook.path, "/proc/self/exe");
            assert_eq!(hook.args, ["tracer-hook", "--runtime-dir", "/run/tracer", stage]);
            assert_eq!(hook.timeout, Some(OptionalInt { value: HOOK_TIMEOUT }));
        }
    });
}

#[test]
fn the_nearer_word_holds() {
    with(&OwnPod::default(), |mut plugin| {
        for (of_pod, of_container, traced) in [
            (None, None, false),
            (Some("True"), None, false),
            (Some("true"), None, true),
            (None, Some("true"), true),
            (Some("true"), Some("false"), false),
            (Some("false"), Some("true"), true),
        ] {
            let of = |value: Option<&'static str>| {
                value.map(|value| (TRACE, value)).into_iter().collect::<Vec<_>>()
            };
            let adjust = create(&mut plugin, pod(&of(of_pod)), container(&of(of_container)));
            assert_eq!(adjust.is_some(), traced, "{of_pod:?} {of_container:?}");
        }
    });
}

#[test]
fn what_is_there_is_neither_put_in_twice_nor_claimed() {
    with(&OwnPod::default(), |mut plugin| {
        let mut done = container(&[("io.kubernetes.cri.sandbox-name", "web")]);
        let adjust = create(&mut plugin, pod(&[YES]), done.clone()).unwrap();
        assert!(
            !adjust.annotations.contains_key("io.kubernetes.pod.name"),
            "the runtime says it"
        );
        done.annotations.extend(adjust.annotations);
        done.hooks = adjust.hooks;
        assert_eq!(create(&mut plugin, pod(&[YES]), done.clone()), None);
        // A hook of the base specification finds the Pod's annotations nowhere but here.
        done.annotations.clear();
        let adjust = create(&mut plugin, pod(&[YES]), done).unwrap();
        assert!(adjust.hooks.is_none() && adjust.annotations.contains_key(TRACE));
    });
}

#[test]
fn sandboxes_and_our_own_pod_are_left_out() {
    let own = |uid: Option<&str>, cgroups: &str| OwnPod {
        uid: uid.map(Into::into),
        cgroups: cgroups.into(),
    };
    for own in [
        own(Some("6c3f6e7c-0b1d-4a58-9d0e-2f6f4b1f2a11"), ""),
        own(
            None,
            "0::/kubepods.slice/kubepods-pod6c3f6e7c_0b1d_4a58_9d0e_2f6f4b1f2a11.slice/x",
        ),
        own(None, &format!("0::/system.slice/{}", "c".repeat(64))),
    ] {
        with(&own, |mut plugin| {
            assert_eq!(create(&mut plugin, pod(&[YES]), container(&[])), None, "{own:?}");
        });
    }
    // Words that are empty or short mean nobody.
    with(&own(Some(""), "0::/c/5/web"), |mut plugin| {
        let mut short = container(&[]);
        short.id = "c".into();
        assert!(create(&mut plugin, pod(&[YES]), short).is_some());
        let kind = ("io.kubernetes.cri.container-type", "sandbox");
        assert_eq!(create(&mut plugin, pod(&[YES]), container(&[kind])), None);
        let mut sandbox = container(&[]);
        sandbox.id = pod(&[]).id;
        assert_eq!(create(&mut plugin, pod(&[YES]), sandbox), None);
    });
}

#[test]
fn a_hook_that_is_not_there_is_not_put_in() {
    let (own, dir) = (OwnPod::default(), tempfile::tempdir().unwrap());
    let file = dir.path().join("plain");
    fs::write(&file, "").unwrap();
    for hook in [dir.path(), &file, &dir.path().join("none")] {
        let mut plugin = Plugin::new(hook, Path::new("/run/tracer"), &own);
        assert_eq!(create(&mut plugin, pod(&[YES]), container(&[])), None, "{hook:?}");
    }
}

#[test]
fn what_runs_is_gathered_over_all_parts() {
    with(&OwnPod::default(), |mut plugin| {
        let mut stopped = container(&[YES]);
        stopped.state = 4;
        let mut plain = container(&[]);
        plain.pod_sandbox_id = "another".into();
        let parts = [
            (vec![pod(&[YES])], vec![plain, stopped], true),
            (vec![], vec![container(&[])], false),
        ];
        let mut answers = parts.map(|(pods, containers, more)| {
            let request = SynchronizeRequest {
                pods,
                containers,
                more,
            };
            let answer = call(&mut plugin, "Synchronize", request.encode_to_vec());
            let response = SynchronizeResponse::decode(answer.response.payload.as_slice()).unwrap();
            assert_eq!(
                response.more, more,
                "the runtime sends no more to who does not say so"
            );
            answer.running
        });
        assert_eq!(answers[0], None);
        let running = answers[1].take().unwrap();
        let [only] = running.as_slice() else {
            panic!("{running:?}")
        };
        assert_eq!((only.id.as_str(), only.pid), ("c".repeat(64).as_str(), 4711));
        assert_eq!(only.annotations["io.kubernetes.pod.name"], "web");
        assert_eq!(only.annotations[TRACE], "true");
    });
}

#[test]
fn what_cannot_be_read_is_answered_with_nothing() {
    with(&OwnPod::default(), |mut plugin| {
        let answer = call(&mut plugin, "CreateContainer", vec![0xff; 20]);
        assert_eq!(answer.response, Response::default());
        assert_eq!(plugin.call(&[0xff; 20]).response, Response::default());
        assert_eq!(
            create(&mut plugin, PodSandbox::default(), Container::default()),
            None
        );
        let unknown = call(&mut plugin, "Dance", vec![]).response.status.unwrap();
        assert_eq!(unknown.code, UNIMPLEMENTED);
        for method in ["Shutdown", "StateChange"] {
            assert_eq!(
                call(&mut plugin, method, vec![1, 2, 3]).response,
                Response::default()
            );
        }
    });
}

proptest! {
    #[test]
    fn any_bytes_are_answered(
        method in "(Configure|Synchronize|CreateContainer|x)",
        payload in proptest::collection::vec(any::<u8>(), 0..300)
    ) {
        with(&OwnPod::default(), |mut plugin| {
            let answer = call(&mut plugin, &method, payload);
            assert!(answer.response.status.is_none() || method == "x");
        });
    }
}
