//! Containers that are taken in, and let go, while they run: by hand, by a daemon that comes back, by the audit.

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::{fs, os::fd::OwnedFd, os::unix::net::UnixListener, path::Path, process::Stdio};
use tracer_tests::{
    Bundle, Container, Daemon, HookStage, Rootfs, Runtime, event, leaks::Held, podman::Podman,
    process::children, programs, wait,
};

/// Makes 1009 calls when it is told to, as often as it is told to, until it is told to end.
const STEPS: &str = "echo ready; for step in 1 2 3; do \
     until [ -e /scratch/go$step ] || [ -e /scratch/end ]; do sleep 0.02; done; \
     [ -e /scratch/end ] && exit 0; /workloads/calls 1009 sched_get_priority_max; done; \
     until [ -e /scratch/end ]; do sleep 0.02; done";
const CALL: &str = "sched_get_priority_max";

fn started(runtime: Runtime, bundle: Bundle) -> Result<Container> {
    let mut container = runtime.start(bundle)?;
    container.printed("ready")?;
    Ok(container)
}

fn untraced(what: &str) -> Result<Bundle> {
    Bundle::new(what, Rootfs::Host, &["/bin/sh", "-c", STEPS])
}

/// Lets it make its calls, and waits until it has.
fn step(container: &Container, step: usize) -> Result<()> {
    fs::write(container.bundle.scratch().join(format!("go{step}")), "")?;
    wait::until(&format!("step {step}"), wait::LONG, || {
        let done = container.stdout().matches("done 1009").count();
        Ok((done >= step).then_some(()))
    })
}

fn end(mut container: Container) -> Result<()> {
    fs::write(container.bundle.scratch().join("end"), "")?;
    container.success()
}

/// How often it was seen to make the call.
fn calls(daemon: &Daemon, id: &str) -> Result<u64> {
    Ok(daemon.stats(id)?.counts()?.get(CALL).copied().unwrap_or(0))
}

fn by_hand(runtime: Runtime) -> Result<()> {
    let daemon = Daemon::start()?;
    let container = started(runtime, untraced("hand")?)?;
    let id = container.id().to_owned();
    step(&container, 1)?;
    let before = Held::of(daemon.id())?;

    // Any of its processes will do: here the one that sleeps.
    let init = container.init_pid()?;
    let attached = wait::until("a child to attach by", wait::LONG, || {
        let Some(child) = children(init)?.first().map(u32::to_string) else {
            return Ok(None);
        };
        // It may have ended since.
        Ok(daemon.attach(&[&child, "--name", "by hand"]).ok())
    })?;
    assert_eq!(
        (
            &attached["id"],
            &attached["name"],
            &attached["pid"],
            &attached["already"]
        ),
        (
            &id.as_str().into(),
            &"by hand".into(),
            &init.into(),
            &false.into()
        ),
        "{attached}"
    );
    assert_eq!(daemon.attach(&[&id])?["already"], true);
    step(&container, 2)?;
    assert_eq!(calls(&daemon, &id)?, 1009, "what it did since it was attached");
    let verdict = daemon.verify_now("by hand")?;
    ensure!(!verdict.is_complete(), "{}", verdict.0);

    let verdict = daemon.detach("by hand")?;
    verdict.balances()?;
    assert_eq!(
        (verdict.state(), verdict.number("/lost")?),
        ("detached", 0),
        "{}",
        verdict.0
    );
    daemon.detached()?;
    step(&container, 3)?;
    assert_eq!(
        calls(&daemon, &id)?,
        1009,
        "nothing is counted after it was detached"
    );
    assert_eq!(daemon.row(&id)?.context("its row")?["state"], "detached");
    let after = wait::until("the daemon to hold what it held", wait::LONG, || {
        let after = Held::of(daemon.id())?;
        Ok((after == before).then_some(after))
    });
    ensure!(
        after.is_ok(),
        "before {before:#?}\nafter {:#?}",
        Held::of(daemon.id())?
    );

    // Once more, by the id; this time to its end.
    assert_eq!(daemon.attach(&[&id])?["name"], id.as_str());
    end(container)?;
    wait::until("its end", wait::LONG, || {
        Ok((daemon.row_of(&id, "gone")?.is_some()).then_some(()))
    })?;
    let error = programs::output(daemon.client("detach").arg(&id))?;
    assert_eq!(error.status.code(), Some(2), "{}", programs::both(&error));
    Ok(())
}

/// Tasks that share the container's mount namespace alone do not end with its first one.
#[test]
fn the_books_balance_while_others_go_on() -> Result<()> {
    let daemon = Daemon::quiet()?;
    let dir = tempfile::tempdir()?;
    for round in 0..5 {
        // It ends with the folder at the latest.
        let goes_on = dir.path().join(format!("{round}"));
        fs::write(&goes_on, "")?;
        let mut command = programs::command("unshare");
        command.args([
            "--mount",
            "sh",
            "-c",
            "while [ -e \"$0\" ]; do kill -0 0; done & read go",
        ]);
        let mut first = command.arg(&goes_on).stdin(Stdio::piped()).spawn()?;
        let all = (|| {
            let name = format!("round{round}");
            let pid = first.id().to_string();
            let attached = wait::until("a namespace of its own", wait::LONG, || {
                Ok(daemon.attach(&[&pid, "--name", &name]).ok())
            })?;
            let id = attached["id"].as_str().context("no id")?.to_owned();
            wait::until("its calls", wait::LONG, || {
                Ok((daemon.verify_now(&id)?.book("admitted")? > 1000).then_some(()))
            })?;
            drop(first.stdin.take());
            wait::exit(&mut first, "the first", wait::LONG)?;
            daemon.verdict_at_end(&id)?.balances()
        })();
        fs::remove_file(&goes_on)?;
        drop(first.stdin.take());
        first.wait()?;
        all?;
    }
    Ok(())
}

#[test]
fn runc_by_hand() -> Result<()> {
    by_hand(Runtime::Runc)
}

#[test]
fn crun_by_hand() -> Result<()> {
    by_hand(Runtime::Crun)
}

#[test]
fn what_is_no_container_is_refused() -> Result<()> {
    let daemon = Daemon::start()?;
    let own = std::process::id().to_string();
    for (word, says) in [
        (&*own, "is in no container"),
        ("4194304", "no runtime"),
        ("nobody", "no runtime"),
    ] {
        let out = programs::output(daemon.client("attach").arg(word))?;
        let text = programs::both(&out);
        ensure!(
            out.status.code() == Some(2) && text.contains(says),
            "{word}: {text}"
        );
    }
    assert_eq!(daemon.status()?["containers"], 0);
    Ok(())
}

/// The daemon goes and comes back while a container runs: what was known of it is known, and the gap is told.
fn comes_back(signal: Signal) -> Result<()> {
    let mut daemon = Daemon::start()?;
    let container = started(
        Runtime::Runc,
        Bundle::traced("back", Rootfs::Host, &["/bin/sh", "-c", STEPS], &daemon)?.annotations(&[
            ("container-tracer.io/name", "web"),
            ("container-tracer.io/labels", "tier=front"),
        ]),
    )?;
    let id = container.id().to_owned();
    step(&container, 1)?;
    assert_eq!(calls(&daemon, &id)?, 1009);
    let row = daemon.row(&id)?.context("its row")?;

    daemon.signal(signal)?;
    daemon.wait()?;
    step(&container, 2)?;
    daemon.restart()?;

    let again = daemon.row(&id)?.context("its row after the daemon came back")?;
    for field in ["name", "labels", "runtime", "pid", "state"] {
        assert_eq!(again[field], row[field], "{field}: {again}");
    }
    assert_eq!(again["labels"]["tier"], "front", "{again}");
    let tail = daemon.tail(&id, &["-o", "json"])?;
    step(&container, 3)?;
    assert_eq!(calls(&daemon, &id)?, 1009, "the calls since the daemon came back");
    end(container)?;
    let verdict = daemon.verdict_at_end(&id)?;
    verdict.balances()?;
    let [away] = verdict.0["away"].as_array().context("away")?.as_slice() else {
        anyhow::bail!("not one time away: {}", verdict.0)
    };
    let (from, to) = (
        away["from"].as_str().context("from")?,
        away["to"].as_str().context("to")?,
    );
    ensure!(from < to, "{away}");
    let reason = verdict.0["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains(from) && reason.contains(to), "{reason}");
    let events = tail.events()?;
    let told = events.iter().find(|event| event.text("state") == "registered");
    assert_eq!(
        &told.context("not told that it is registered")?.0["away"][0],
        away
    );
    Ok(())
}

#[test]
fn a_daemon_that_was_killed_goes_on() -> Result<()> {
    comes_back(Signal::KILL)
}

#[test]
fn a_daemon_that_was_stopped_goes_on() -> Result<()> {
    comes_back(Signal::TERM)
}

/// Started while nobody listened, under that runtime: taken in late, by its marker, when the daemon comes.
fn missed(runtime: Runtime) -> Result<()> {
    let mut daemon = Daemon::start()?;
    daemon.stop()?;
    let bundle = Bundle::traced("late", Rootfs::Host, &["/bin/sh", "-c", STEPS], &daemon)?;
    let container = started(runtime, bundle)?;
    daemon.restart()?;
    let row = daemon.row(container.id())?.context("its row")?;
    assert_eq!(
        (&row["state"], &row["complete"]),
        (&"live".into(), &false.into()),
        "{row}"
    );
    step(&container, 1)?;
    assert_eq!(calls(&daemon, container.id())?, 1009);
    end(container)
}

#[test]
fn runc_missed() -> Result<()> {
    missed(Runtime::Runc)
}

#[test]
fn crun_missed() -> Result<()> {
    missed(Runtime::Crun)
}

/// By podman's own hooks: one that still runs is attached late, one that has ended is told.
#[test]
fn podman_missed() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let podman = Podman::new(daemon.dir())?;
    let traced = ["--annotation", "container-tracer.io/trace=true"];
    let ended = podman.create(&traced, &["/bin/echo", "untraced"])?;
    let lives = podman.create(&traced, &["/bin/sh", "-c", "while :; do sleep 0.1; done"])?;
    daemon.stop()?;
    assert_eq!(podman.start(&ended)?, "untraced\n");
    podman.start_detached(&lives)?;
    daemon.restart()?;
    let row = daemon.row(&ended)?.context("the ended one's row")?;
    assert_eq!(
        (&row["state"], &row["complete"]),
        (&"missed".into(), &false.into()),
        "{row}"
    );
    let row = daemon.row(&lives)?.context("the living one's row")?;
    assert_eq!(
        (&row["state"], &row["complete"]),
        (&"live".into(), &false.into()),
        "{row}"
    );
    wait::until("its calls", wait::LONG, || {
        let row = daemon.row(&lives)?.context("its row")?;
        Ok((row["events"].as_u64() > Some(50)).then_some(()))
    })?;
    for id in [&ended, &lives] {
        let log = daemon.log();
        ensure!(
            log.contains(&format!("missed: container {id}: no daemon ")),
            "{log}"
        );
    }
    podman.remove(&lives)
}

/// Asks to be traced, and has no hook that could register it.
fn forgotten(mode: &str) -> Result<(Daemon, Container)> {
    let daemon = Daemon::start_with(&["--audit", mode, "--audit-every", "200ms"])?;
    let container = started(Runtime::Runc, untraced("forgotten")?.annotate("true"))?;
    Ok((daemon, container))
}

#[test]
fn the_audit_finds_what_is_not_registered() -> Result<()> {
    let (daemon, container) = forgotten("report")?;
    let id = container.id().to_owned();
    let out = daemon.dir().join("all.json");
    let mut tail = daemon.client("tail");
    tail.args(["-o", "json"]);
    let mut tail = tail
        .stdout(fs::File::create(&out)?)
        .stderr(Stdio::null())
        .spawn()?;
    wait::until("the warning in the stream", wait::LONG, || {
        let events = event::parse(&fs::read_to_string(&out)?).unwrap_or_default();
        let warned = |event: &&event::Event| event.text("state") == "unregistered" && event.container() == id;
        Ok(events.iter().find(warned).map(|_| ()))
    })?;
    tail.kill()?;
    tail.wait()?;
    let status = daemon.status()?;
    let mine = |list: &serde_json::Value| {
        let list = list.as_array().cloned().unwrap_or_default();
        list.iter().filter(|line| line["id"] == id.as_str()).count()
    };
    assert_eq!(mine(&status["unregistered"]), 1, "{status}");
    ensure!(
        status["tracer_unregistered_containers"].as_u64() >= Some(1),
        "{status}"
    );
    ensure!(
        daemon.log().matches(&id).count() == 1,
        "told once: {}",
        daemon.log()
    );
    let audit = programs::output(daemon.client("audit").args(["-o", "json"]))?;
    assert_eq!(audit.status.code(), Some(1), "{}", programs::both(&audit));
    let told = programs::both(&programs::output(&mut daemon.client("audit"))?);
    let mut lines = told.lines();
    ensure!(
        lines.any(|line| line.starts_with("unregistered") && line.contains(&id))
            && lines.any(|line| line.starts_with("containers") && line.ends_with(" of these not traced")),
        "{told}"
    );
    // What somebody attached is registered, and what somebody detached shall not be.
    daemon.attach(&[&id])?;
    assert_eq!(mine(&daemon.status()?["unregistered"]), 0);
    daemon.detach(&id)?;
    assert_eq!(mine(&daemon.status()?["unregistered"]), 0);
    end(container)
}

#[test]
fn the_audit_attaches_if_it_shall() -> Result<()> {
    let (daemon, container) = forgotten("attach")?;
    let id = container.id().to_owned();
    wait::until("the audit to attach it", wait::LONG, || daemon.row(&id))?;
    step(&container, 1)?;
    assert_eq!(calls(&daemon, &id)?, 1009);
    end(container)
}

/// systemd holds the socket: the hook waits for the daemon, which the connection starts.
#[test]
fn a_hook_that_is_early_waits_for_the_daemon() -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let socket = dir.path().join("hook.sock");
    let mut activate = programs::command("systemd-socket-activate");
    activate.args(["--fdname=hook.sock", "-l"]).arg(&socket);
    activate.arg(programs::tracer()?);
    activate
        .args(["daemon", "--linger", "0s", "--runtime-dir"])
        .arg(dir.path());
    let log = fs::File::create(dir.path().join("log"))?;
    let mut service = activate.stderr(log).spawn()?;
    wait::until("the socket", wait::LONG, || Ok(socket.exists().then_some(())))?;

    let mut bundle = Bundle::new("early", Rootfs::Busybox, &["/bin/true"])?
        .hook(HookStage::CreateRuntime, dir.path())?
        .annotate("true");
    // On a busy machine the programs take more than a second to be verified.
    let hook = &mut bundle.config["hooks"]["createRuntime"][0];
    hook["timeout"] = 60.into();
    hook["args"]
        .as_array_mut()
        .context("args")?
        .extend(["--timeout".into(), "55s".into()]);
    let mut container = Runtime::Runc.start(bundle)?;
    container.success()?;
    let log = || fs::read_to_string(dir.path().join("log")).unwrap_or_default();
    let verify = || {
        let mut verify = programs::command(programs::tracer()?);
        verify
            .args(["verify", "-o", "json", container.id(), "--runtime-dir"])
            .arg(dir.path());
        programs::output(&mut verify)
    };
    let verdict = wait::until("its end in the daemon", wait::LONG, || {
        let out = verify()?;
        let verdict: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        Ok((verdict["state"] == "gone").then_some(verdict))
    });
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(service.id().try_into()?).context("pid")?,
        Signal::TERM,
    )?;
    wait::exit(&mut service, "the daemon", wait::LONG)?;
    let verdict = verdict.with_context(log)?;
    assert_eq!(verdict["complete"], true, "{verdict}");
    // It is not the daemon's to remove.
    ensure!(socket.exists(), "the daemon removed systemd's socket");
    Ok(())
}

/// Somebody holds the socket and no daemon comes: the container starts at the deadline, with a marker.
#[test]
fn a_hook_that_waits_in_vain_lets_the_container_start() -> Result<()> {
    let mut daemon = Daemon::start()?;
    daemon.stop()?;
    let held: OwnedFd = UnixListener::bind(daemon.hook_socket())?.into();
    let bundle = Bundle::traced("vain", Rootfs::Host, &["/bin/sh", "-c", STEPS], &daemon)?.deadline("1s")?;
    let container = started(Runtime::Runc, bundle)?;
    let markers = |dir: &Path| Ok::<_, anyhow::Error>(fs::read_dir(dir.join("missed"))?.count());
    assert_eq!(markers(daemon.dir())?, 1);
    drop(held);
    daemon.restart()?;
    assert_eq!(markers(daemon.dir())?, 0, "told and removed");
    assert_eq!(daemon.row(container.id())?.context("its row")?["state"], "live");
    end(container)
}
