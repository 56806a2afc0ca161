//! `tracer hook install --write` with each engine: a container that asks is traced from its execve and complete, one
//! that does not ask is not traced, both start without a daemon, and uninstalling leaves the files as they were.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};
use tracer_tests::{
    Daemon,
    containerd::{BUSYBOX, Containerd},
    cri::Pod,
    docker::Docker,
    install::{Installation, tree},
    podman::Podman,
    programs,
    user::User,
    whole::seen_whole,
};

const TRACE: [&str; 2] = ["--annotation", "container-tracer.io/trace=true"];
const HELLO: [&str; 2] = ["/bin/echo", "hello"];

/// `tracer` for the daemon in that directory.
fn tracer(runtime_dir: &Path) -> Result<impl Fn() -> Command + 'static> {
    let (program, dir) = (programs::tracer()?, runtime_dir.to_owned());
    Ok(move || {
        let mut command = programs::command(&program);
        command.arg("--runtime-dir").arg(&dir);
        command
    })
}

/// What the daemon knows of, to its surprise or not.
fn known(daemon: &Daemon) -> Result<Vec<Value>> {
    Ok(daemon.ps()?.iter().map(|row| row["id"].clone()).collect())
}

fn podman(user: Option<User>) -> Result<()> {
    let mut daemon = Daemon::start()?;
    let podman = Podman::bare(user)?;
    let hook = programs::hook()?;
    let mut places = vec![
        Path::new("/usr/share/containers").to_owned(),
        "/etc/containers".into(),
    ];
    let (hook, tracer_program) = match podman.user() {
        None => (hook, programs::tracer()?),
        Some(user) => {
            fs::set_permissions(daemon.dir(), fs::Permissions::from_mode(0o755))?;
            places.push(user.home());
            (user.program(&hook)?, user.program(&programs::tracer()?)?)
        }
    };
    let hook = hook.to_str().context("hook's path")?;
    let mut args = vec!["--runtime", "podman"];
    args.extend(podman.user().map(|_| "--user"));
    let dir = daemon.dir().to_owned();
    let command = || {
        let mut command = match podman.user() {
            None => programs::command(&tracer_program),
            Some(user) => user.command(&tracer_program),
        };
        command.arg("--runtime-dir").arg(&dir);
        command
    };
    let mut installation = Installation::new(command, &args, &["--hook", hook]);
    let places: Vec<&Path> = places.iter().map(|place| place.as_path()).collect();
    // What podman itself writes at its first run is not ours.
    let first = podman.create(&[], &HELLO)?;
    assert_eq!(podman.start(&first)?, "hello\n");
    let before = tree(&places)?;
    ensure!(!installation.missing()?.is_empty(), "it is not installed yet");
    installation.install()?;
    assert_eq!(installation.missing()?, Vec::<String>::new());

    let traced = podman.create(&TRACE, &HELLO)?;
    let tail = daemon.tail_all(&traced)?;
    assert_eq!(podman.start(&traced)?, "hello\n");
    seen_whole(&daemon, &traced, &tail.events()?, "/bin/echo")?;
    let plain = podman.create(&[], &HELLO)?;
    assert_eq!(podman.start(&plain)?, "hello\n");
    assert_eq!(known(&daemon)?, [json!(traced)], "the plain one is not traced");

    daemon.stop()?;
    assert_eq!(installation.missing()?, ["daemon"]);
    for options in [&TRACE[..], &[]] {
        let id = podman.create(options, &HELLO)?;
        assert_eq!(podman.start(&id)?, "hello\n", "without a daemon, {options:?}");
    }
    installation.uninstall()?;
    let after = tree(&places)?;
    assert_eq!(
        after.keys().collect::<Vec<_>>(),
        before.keys().collect::<Vec<_>>()
    );
    ensure!(after == before, "a file is not as it was");
    Ok(())
}

#[test]
fn podman_of_root() -> Result<()> {
    podman(None)
}

#[test]
fn podman_of_another_user() -> Result<()> {
    podman(Some(User::new()?))
}

#[test]
fn docker() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let mut docker = Docker::new()?;
    let before = fs::read(docker.config())?;
    let (config, hook) = (docker.config(), programs::hook()?);
    let args = [
        "--runtime",
        "docker",
        "--config",
        config.to_str().context("path")?,
    ];
    let wanted = ["--hook", hook.to_str().context("path")?];
    let mut installation = Installation::new(tracer(daemon.dir())?, &args, &wanted);
    installation.install()?;
    assert_eq!(installation.missing()?, Vec::<String>::new());
    docker.start()?;

    let ask = ["--runtime", "traced", "--env", "CONTAINER_TRACER_TRACE=true"];
    let traced = docker.create(&ask, &HELLO)?;
    let tail = daemon.tail_all(&traced)?;
    assert_eq!(docker.start_container(&traced)?, "hello\n");
    seen_whole(&daemon, &traced, &tail.events()?, "/bin/echo")?;
    for options in [
        &["--runtime", "traced"][..],
        &["--env", "CONTAINER_TRACER_TRACE=true"],
        &[],
    ] {
        let plain = docker.create(options, &HELLO)?;
        assert_eq!(docker.start_container(&plain)?, "hello\n", "{options:?}");
    }
    assert_eq!(known(&daemon)?, [json!(traced)], "the others are not traced");

    daemon.stop()?;
    for options in [&ask[..], &["--runtime", "traced"]] {
        let id = docker.create(options, &HELLO)?;
        assert_eq!(
            docker.start_container(&id)?,
            "hello\n",
            "without a daemon, {options:?}"
        );
    }
    let failing = docker.create(&ask, &["/bin/sh", "-c", "exit 7"])?;
    let failure = docker.start_container(&failing).expect_err("exit code 7");
    ensure!(format!("{failure:#}").contains("exit status: 7"), "{failure:#}");
    docker.stop()?;
    installation.uninstall()?;
    assert_eq!(fs::read(docker.config())?, before, "byte for byte");
    Ok(())
}

#[test]
fn containerd_by_its_base_spec() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let mut containerd = Containerd::new()?;
    let before = tree(&[containerd.dir()])?;
    let (config, hook) = (containerd.config(), programs::hook()?);
    let args = [
        "--runtime",
        "containerd",
        "--config",
        config.to_str().context("path")?,
    ];
    let wanted = ["--hook", hook.to_str().context("path")?];
    let mut installation = Installation::new(tracer(daemon.dir())?, &args, &wanted);
    installation.install()?;
    assert_eq!(installation.missing()?, Vec::<String>::new());
    let cri = containerd.start()?;

    let pod = cri.pod(Pod::new("traced").traced())?;
    let traced = pod.create("web", BUSYBOX, &HELLO)?;
    let tail = daemon.tail_all(&traced)?;
    pod.start(&traced)?;
    assert_eq!(pod.exit_code(&traced)?, 0);
    assert_eq!(pod.log("web")?, "hello\n");
    seen_whole(&daemon, &traced, &tail.events()?, "/bin/echo")?;
    let row = daemon.row(&traced)?.context("not in `tracer ps`")?;
    assert_eq!(row["name"], "web", "{row}");
    assert_eq!(row["namespace"], "default", "{row}");

    let plain = cri.pod(Pod::new("plain"))?;
    plain.run("c", BUSYBOX, &HELLO)?;
    assert_eq!(
        known(&daemon)?,
        [json!(traced)],
        "neither the plain one nor a sandbox"
    );

    daemon.stop()?;
    for pod in [Pod::new("away").traced(), Pod::new("away")] {
        let pod = cri.pod(pod)?;
        pod.run("c", BUSYBOX, &HELLO)?;
        assert_eq!(pod.log("c")?, "hello\n", "without a daemon");
    }
    drop((pod, plain));
    containerd.stop()?;
    installation.uninstall()?;
    let after = tree(&[containerd.dir()])?;
    for (path, was) in &before {
        if path != containerd.dir() {
            ensure!(
                after.get(path) == Some(was),
                "{} is not as it was",
                path.display()
            );
        }
    }
    let left = after
        .keys()
        .filter(|path| path.parent() == Some(containerd.dir()) && path.to_string_lossy().contains("tracer"));
    assert_eq!(
        left.collect::<Vec<_>>(),
        Vec::<&PathBuf>::new(),
        "our files are gone"
    );
    Ok(())
}
