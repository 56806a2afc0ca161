//! `tracer nri` in containerd, with Pods as the kubelet makes them: who asks by annotation is traced from its execve,
//! nobody else is, and whatever of ours is away, containers start.

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use tracer_tests::{
    Daemon,
    containerd::BUSYBOX,
    cri::{Pod, RunningPod},
    nri::{self, Plugin, RELEASES, STABLE},
    wait,
};

/// A call that busybox's shell makes for its built-in `kill -0`, and for nothing else here.
const OURS: &str = "kill";

/// A script that makes so many of our calls.
fn script(calls: u64) -> String {
    format!("i=0; while [ $i -lt {calls} ]; do kill -0 $$; i=$((i+1)); done")
}

/// The same, and then lives on.
fn lasting(calls: u64) -> String {
    format!("{}; echo done; exec sleep 10000", script(calls))
}

fn counted(daemon: &Daemon, id: &str) -> Result<u64> {
    Ok(daemon.stats(id)?.counts()?.get(OURS).copied().unwrap_or(0))
}

/// Waits until a container has made exactly so many of our calls.
fn has_made(daemon: &Daemon, id: &str, calls: u64) -> Result<()> {
    wait::until(&format!("{calls} calls of {id}"), wait::LONG, || {
        Ok((counted(daemon, id)? == calls).then_some(()))
    })
}

/// Makes and starts a container that makes so many calls and lives on; returns when it has made them.
fn start_lasting(pod: &RunningPod<'_>, name: &str, calls: u64) -> Result<String> {
    let id = pod.create(name, BUSYBOX, &["/bin/sh", "-c", &lasting(calls)])?;
    pod.start(&id)?;
    wait::until("the container's word", wait::LONG, || {
        Ok((pod.log(name).unwrap_or_default() == "done\n").then_some(()))
    })?;
    Ok(id)
}

fn ids(rows: &[Value]) -> Vec<&str> {
    rows.iter().filter_map(|row| row["id"].as_str()).collect()
}

#[test]
fn who_asks_is_traced_from_its_execve() -> Result<()> {
    for release in RELEASES {
        let daemon = Daemon::start()?;
        let mut containerd = nri::containerd(release)?;
        let cri = containerd.start()?;
        let _plugin = Plugin::start(&containerd, daemon.dir())?;

        let plain = cri.pod(Pod::new("plain"))?;
        plain.run("c", BUSYBOX, &["/bin/sh", "-c", &script(11)])?;
        let mut other = Pod::new("other");
        other.annotations["container-tracer.io/trace"] = "True".into();
        cri.pod(other)?.run("c", BUSYBOX, &["/bin/true"])?;
        ensure!(daemon.ps()?.is_empty(), "{release}: {:?}", daemon.ps()?);

        let pod = cri.pod(Pod::new("web").traced())?;
        let id = pod.run("front", BUSYBOX, &["/bin/sh", "-c", &script(1009)])?;
        daemon.verdict_at_end(&id)?.whole().context(release)?;
        assert_eq!(counted(&daemon, &id)?, 1009, "{release}");
        // The container and nothing else: no sandbox.
        let rows = daemon.ps()?;
        assert_eq!(ids(&rows), [id.as_str()], "{release}");
        let row = &rows[0];
        assert_eq!(row["name"], "front", "{row}");
        assert_eq!(row["pod"], "web", "{row}");
        assert_eq!(row["namespace"], "default", "{row}");
        assert_eq!(row["image"], BUSYBOX, "{row}");
        let events = daemon.tail_all(&id)?.events()?;
        let first = events
            .iter()
            .find(|event| event.is_syscall() && event.is_app())
            .context("no call of the application")?;
        assert_eq!(first.syscall(), "execve", "{}", first.0);
    }
    Ok(())
}

#[test]
fn containers_that_share_a_pid_namespace_are_told_apart() -> Result<()> {
    let daemon = Daemon::start()?;
    let mut containerd = nri::containerd(STABLE)?;
    let cri = containerd.start()?;
    let _plugin = Plugin::start(&containerd, daemon.dir())?;
    let mut pod = Pod::new("pair").traced();
    pod.shares_pid_namespace = true;
    let pod = cri.pod(pod)?;
    let one = start_lasting(&pod, "one", 1009)?;
    let two = start_lasting(&pod, "two", 1013)?;
    let ns = |id: &str| -> Result<Value> {
        Ok(pod.exec(id, &["/bin/readlink", "/proc/self/ns/pid"])?["stdout"].take())
    };
    assert_eq!(ns(&one)?, ns(&two)?, "they do not share it");
    has_made(&daemon, &one, 1009)?;
    has_made(&daemon, &two, 1013)?;
    // What joins later joins the right one too.
    pod.exec(&two, &["/bin/sh", "-c", &script(17)])?;
    has_made(&daemon, &two, 1013 + 17)?;
    has_made(&daemon, &one, 1009)?;
    let mut rows = daemon.ps()?;
    rows.sort_by_key(|row| row["name"].to_string());
    assert_eq!(ids(&rows), [one.as_str(), two.as_str()]);
    drop(pod);
    for id in [&one, &two] {
        daemon.verdict_at_end(id)?.whole()?;
    }
    Ok(())
}

#[test]
fn whatever_of_ours_is_away_containers_start() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let mut containerd = nri::containerd(STABLE)?;
    let cri = containerd.start()?;
    let mut plugin = Plugin::start(&containerd, daemon.dir())?;
    let pod = cri.pod(Pod::new("alone").traced())?;

    daemon.stop()?;
    let missed = start_lasting(&pod, "no-daemon", 11)?;
    daemon.restart()?;
    // The hook left its marker, the daemon takes the container in late.
    let row = wait::until("the missed container", wait::LONG, || daemon.row(&missed))?;
    assert_eq!(row["complete"], false, "{row}");
    assert_eq!(row["pod"], "alone", "{row}");

    plugin.kill()?;
    let unseen = pod.run("no-plugin", BUSYBOX, &["/bin/true"])?;
    ensure!(daemon.row(&unseen)?.is_none(), "who told of it?");

    // A hook that is not there would fail the container: the plugin puts none in.
    let nowhere = containerd.dir().join("nowhere");
    let mut plugin = Plugin::start_with(&containerd, daemon.dir(), &nowhere)?;
    let unhooked = pod.run("no-hook", BUSYBOX, &["/bin/true"])?;
    ensure!(daemon.row(&unhooked)?.is_none(), "who told of it?");
    ensure!(plugin.log().contains("is no program here"), "it says nothing");
    plugin.kill()?;

    // A daemon that hangs costs the hook's deadline.
    let _plugin = Plugin::start(&containerd, daemon.dir())?;
    daemon.signal(Signal::STOP)?;
    pod.run("stopped-daemon", BUSYBOX, &["/bin/true"])?;
    daemon.signal(Signal::CONT)?;
    Ok(())
}

#[test]
fn the_plugin_comes_back_with_containerd() -> Result<()> {
    let daemon = Daemon::start()?;
    let mut containerd = nri::containerd(STABLE)?;
    let cri = containerd.start()?;
    let mut plugin = Plugin::start(&containerd, daemon.dir())?;
    let pod = cri.pod(Pod::new("before").traced())?;
    let before = start_lasting(&pod, "c", 1009)?;

    containerd.stop()?;
    let new_cri = containerd.start()?;
    plugin.synchronized(2)?;
    let after = new_cri.pod(Pod::new("after").traced())?;
    let id = after.run("c", BUSYBOX, &["/bin/sh", "-c", &script(1013)])?;
    daemon.verdict_at_end(&id)?.whole()?;
    assert_eq!(counted(&daemon, &id)?, 1013);

    // The one that ran was told again, and was in already: nothing of it is lost or stands twice.
    assert_eq!(counted(&daemon, &before)?, 1009);
    let rows = daemon.ps()?;
    assert_eq!(
        ids(&rows).iter().filter(|row| **row == before).count(),
        1,
        "{rows:?}"
    );
    drop(pod);
    daemon.verdict_at_end(&before)?.whole()
}

#[test]
fn what_ran_before_is_attached_late() -> Result<()> {
    let mut daemon = Daemon::start()?;
    let mut containerd = nri::containerd(STABLE)?;
    let cri = containerd.start()?;
    let plain = cri.pod(Pod::new("plain"))?;
    start_lasting(&plain, "c", 11)?;
    let pod = cri.pod(Pod::new("early").traced())?;
    let id = start_lasting(&pod, "c", 1009)?;

    let mut plugin = Plugin::start(&containerd, daemon.dir())?;
    let row = wait::until("the container that ran", wait::LONG, || daemon.row(&id))?;
    assert_eq!(row["complete"], false, "{row}");
    assert_eq!(row["pod"], "early", "{row}");
    assert_eq!(row["name"], "c", "{row}");
    assert_eq!(
        ids(&daemon.ps()?),
        [id.as_str()],
        "no sandbox, and not the other Pod"
    );
    pod.exec(&id, &["/bin/sh", "-c", &script(17)])?;
    has_made(&daemon, &id, 17)?;

    // No daemon: what the plugin finds is left for the next one.
    plugin.kill()?;
    daemon.stop()?;
    // The daemon's own notes would tell it as well.
    fs::remove_dir_all(daemon.dir().join("traced"))?;
    let _plugin = Plugin::start(&containerd, daemon.dir())?;
    let missed = daemon.dir().join("missed");
    wait::until("the plugin's marker", wait::LONG, || {
        let noted = fs::read_dir(&missed).is_ok_and(|mut markers| markers.next().is_some());
        Ok(noted.then_some(()))
    })?;
    daemon.restart()?;
    let row = wait::until("the container that ran", wait::LONG, || daemon.row(&id))?;
    assert_eq!(row["pod"], "early", "{row}");
    pod.exec(&id, &["/bin/sh", "-c", &script(19)])?;
    has_made(&daemon, &id, 19)?;
    drop(pod);
    let verdict = daemon.verdict_at_end(&id)?;
    verdict.balances()?;
    ensure!(!verdict.is_complete(), "its beginning was missed: {}", verdict.0);
    Ok(())
}
