//! Who a container is: the names that each runtime tells, and who is meant by them.

use anyhow::{Context, Result, ensure};
use tracer_tests::{Bundle, Daemon, Rootfs, Runtime, event, hook, podman::Podman, programs, unique_id, wait};

const TRACE: &str = "container-tracer.io/trace=true";

#[test]
fn podmans_name_is_known_before_the_first_event() -> Result<()> {
    let daemon = Daemon::start()?;
    let podman = Podman::new(daemon.dir())?;
    let name = unique_id("named");
    let tail = daemon
        .tail_of("named", &["-o", "json", "--phase", "all", "--container", &name])?
        .opened()?;
    let id = podman.create(&["--name", &name, "--annotation", TRACE], &["/bin/echo", "hello"])?;
    assert_eq!(podman.start(&id)?, "hello\n");
    let events = tail.events()?;
    ensure!(!events.is_empty(), "the tail by name saw nothing");
    for event in &events {
        assert_eq!(
            (&event.0["container"]["id"], &event.0["container"]["name"]),
            (&id.as_str().into(), &name.as_str().into()),
            "{}",
            event.0
        );
        assert_eq!(
            event.0["container"]["image"], "localhost/tt-busybox:1",
            "{}",
            event.0
        );
    }
    let verdict = daemon.verdict_at_end(&name)?;
    verdict.whole()?;
    let row = daemon.row(&id)?.context("not in `tracer ps`")?;
    assert_eq!(
        (&row["name"], &row["runtime"]),
        (&name.as_str().into(), &"podman".into())
    );
    Ok(())
}

#[test]
fn a_pods_sandbox_is_left_out_unless_it_is_asked_for() -> Result<()> {
    let daemon = Daemon::start()?;
    for (key, value) in [
        ("io.kubernetes.cri.container-type", "sandbox"),
        ("io.kubernetes.cri-o.ContainerType", "sandbox"),
        ("io.kubernetes.docker.type", "podsandbox"),
    ] {
        let init = hook::Init::start()?;
        let id = unique_id("sandbox");
        let mut state = hook::state(&id, init.pid);
        state["annotations"][key] = value.into();
        let state = state.to_string();
        let out = hook::patient(
            daemon.dir(),
            &["--fail-closed", "createRuntime"],
            state.as_bytes(),
        )?;
        ensure!(
            out.status.success() && out.stderr.is_empty(),
            "{}",
            programs::both(&out)
        );
        assert_eq!(daemon.row(&id)?, None, "{key}: left out");
        let out = hook::patient(daemon.dir(), &["--sandboxes", "createRuntime"], state.as_bytes())?;
        ensure!(
            out.status.success() && out.stderr.is_empty(),
            "{}",
            programs::both(&out)
        );
        assert_eq!(daemon.row(&id)?.context("asked for")?["name"], "POD", "{key}");
    }
    Ok(())
}

#[test]
fn pods_namespaces_names_and_labels_select() -> Result<()> {
    let daemon = Daemon::start()?;
    let front = [
        ("io.kubernetes.cri.container-name", "app"),
        ("io.kubernetes.cri.sandbox-name", "web-0"),
        ("io.kubernetes.cri.sandbox-namespace", "shop"),
        ("container-tracer.io/labels", "app=shop,tier=front"),
    ];
    let back = [
        ("io.kubernetes.container.name", "app"),
        ("io.kubernetes.cri-o.KubeName", "db-0"),
        ("io.kubernetes.cri-o.Namespace", "shop"),
        ("io.kubernetes.cri-o.Labels", r#"{"app":"shop","tier":"back"}"#),
    ];
    // Opened before any is there: they are followed as they come.
    let tail = daemon
        .tail_of(
            "later",
            &["-o", "json", "--namespace", "shop", "-l", "app=shop,tier!=back"],
        )?
        .opened()?;
    let run = |what: &str, annotations: &[(&str, &str)]| {
        let bundle = Bundle::traced(what, Rootfs::Busybox, &["/bin/true"], &daemon)?.annotations(annotations);
        let mut container = Runtime::Runc.start(bundle)?;
        container.success()?;
        let id = container.id().to_owned();
        daemon.verdict_at_end(&id)?.whole()?;
        anyhow::Ok(id)
    };
    let back = run("back", &back)?;
    let other = run("other", &[("nerdctl/name", "lone"), ("tier", "front")])?;
    let front = run("front", &front)?;
    let events = tail.events()?;
    ensure!(
        events.iter().any(event::Event::is_syscall),
        "the tail by label saw nothing"
    );
    for event in &events {
        assert_eq!(event.0["container"]["id"], *front, "{}", event.0);
    }
    let labels = events
        .iter()
        .find(|event| event.0["type"] == "container")
        .context("no event of the container itself")?;
    assert_eq!(labels.0["container"]["labels"]["tier"], "front", "{}", labels.0);

    let ps = |args: &[&str]| {
        let text = programs::success(daemon.client("ps").args(["-o", "json"]).args(args))?;
        let mut ids: Vec<String> = event::parse(&text)?
            .iter()
            .map(|row| row.text("id").to_owned())
            .collect();
        ids.sort();
        anyhow::Ok(ids)
    };
    let sorted = |mut ids: Vec<&String>| {
        ids.sort();
        ids.into_iter().cloned().collect::<Vec<_>>()
    };
    for (args, want) in [
        (&["--pod", "web-0"][..], vec![&front]),
        (&["--pod", "web-0", "--pod", "db-0"], vec![&front, &back]),
        (&["--namespace", "shop"], vec![&front, &back]),
        (&["--container", "app"], vec![&front, &back]),
        (&["--container", "app", "--pod", "db-0"], vec![&back]),
        (&["--container", "lone"], vec![&other]),
        (&["-l", "tier=front"], vec![&front, &other]),
        (&["-l", "tier in (front,back)", "-l", "app"], vec![&front, &back]),
        (&["-l", "!app"], vec![&other]),
        (&["-l", "app=shop", &back], vec![&back]),
        (&["--namespace", "none"], vec![]),
        (&[], vec![&front, &back, &other]),
    ] {
        assert_eq!(ps(args)?, sorted(want), "{args:?}");
    }
    let out = programs::output(daemon.client("ps").args(["-l", "a b"]))?;
    assert_eq!(out.status.code(), Some(2), "{}", programs::both(&out));
    wait::until("all of it to be detached", wait::LONG, || {
        Ok((daemon.status()?["containers"] == 0).then_some(()))
    })
}
