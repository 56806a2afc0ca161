//! The daemon dies at the worst moment: no container notices, nothing stays attached, the next start says so.

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use std::fs;
use tracer_tests::{Bundle, Daemon, Event, Rootfs, Runtime, event, leaks, programs, wait};

#[test]
fn killed_under_load_it_leaves_nothing_and_harms_nobody() -> Result<()> {
    let before = leaks::programs()?;
    let mut daemon = Daemon::start()?;
    // It makes calls without pause until it is told to end, and then says that it was well.
    let script =
        "echo ready; while [ ! -e /scratch/end ]; do /workloads/calls 20011; done >/dev/null; echo well";
    let bundle = Bundle::traced("load", Rootfs::Host, &["/bin/sh", "-c", script], &daemon)?;
    let end = bundle.scratch().join("end");
    let mut container = Runtime::Runc.start(bundle)?;
    container.printed("ready")?;
    let id = container.id().to_owned();
    wait::until("a hundred thousand calls", wait::LONG, || {
        Ok((daemon.verify_now(&id)?.book("admitted")? > 100_000).then_some(()))
    })?;
    ensure!(
        !leaks::programs()?.is_subset(&before),
        "nothing attached: this test would prove nothing"
    );

    daemon.signal(Signal::KILL)?;
    daemon.wait()?;
    leaks::gone(&before)?;
    ensure!(
        container.init_pid()? > 0,
        "the container died with the daemon: {}",
        container.outputs()
    );

    daemon.restart()?;
    let row = wait::until("what was missed", wait::LONG, || daemon.row(&id))?;
    assert_eq!(row["complete"], false, "{row}");
    // What runs already is the application: a plain tail shows it.
    let tail = daemon.tail(&id, &["-o", "json"])?;

    fs::write(&end, "")?;
    container.success()?;
    assert_eq!(container.stdout(), "ready\nwell\n", "the container's own output");
    // It may have lost some: the container makes more than anybody takes.
    let (code, after, said) = tail.end()?;
    ensure!(matches!(code, Some(0 | 1)), "{code:?}: {said}");
    let after = event::parse(&after)?;
    ensure!(
        after.iter().any(Event::is_syscall)
            && after.iter().filter(|event| event.is_syscall()).all(Event::is_app),
        "of what was attached late the application's calls are shown"
    );

    // The next container is as if nothing had been.
    let next = Bundle::traced("next", Rootfs::Busybox, &["/bin/true"], &daemon)?;
    let mut next = Runtime::Runc.start(next)?;
    next.success()?;
    daemon.verdict_at_end(next.id())?.whole()?;
    ensure!(daemon.stop()?.success(), "{}", daemon.log());
    daemon.leaves_nothing()?;
    leaks::gone(&before)
}

#[test]
fn ended_in_order_it_leaves_nothing() -> Result<()> {
    let daemon = leaks::no_programs_after(|| {
        let mut daemon = Daemon::start()?;
        let args = ["/workloads/calls", "forever"];
        let mut container = Runtime::Runc.start(Bundle::traced("order", Rootfs::Host, &args, &daemon)?)?;
        container.printed("ready")?;
        ensure!(daemon.stop()?.success(), "{}", daemon.log());
        ensure!(container.init_pid()? > 0, "the container ended with the daemon");
        container.kill("KILL")?;
        container.wait()?;
        Ok(daemon)
    })?;
    daemon.leaves_nothing()?;
    for entry in fs::read_dir(daemon.dir())? {
        let name = entry?.file_name();
        ensure!(
            !name.to_string_lossy().ends_with(".sock"),
            "a socket is left: {name:?}"
        );
    }
    Ok(())
}

#[test]
fn a_second_daemon_in_the_same_place_is_refused() -> Result<()> {
    let daemon = Daemon::start()?;
    let mut second = programs::command(programs::tracer()?);
    let out = programs::output(second.args(["daemon", "--runtime-dir"]).arg(daemon.dir()))?;
    assert_eq!(out.status.code(), Some(2), "{}", programs::both(&out));
    let dir = daemon.dir().to_str().context("path")?;
    ensure!(
        String::from_utf8_lossy(&out.stderr).contains(dir),
        "it does not say where: {}",
        programs::both(&out)
    );
    assert_eq!(daemon.status()?["ready"], true, "the first is unharmed");
    Ok(())
}
