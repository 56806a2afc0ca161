//! The same container under each runtime and hook stage, from the application's execve to its end.

use anyhow::{Context, Result, ensure};
use tracer_tests::{
    Bundle, Daemon, Event, HookStage, Rootfs, Runtime, event::Sequence, leaks, podman::Podman,
};

/// A container of one program: seen whole, with its own execve first and its exit_group last.
fn seen_whole(daemon: &Daemon, id: &str, events: &[Event], program: &str) -> Result<()> {
    Sequence::of(events)?.whole(true)?;
    let app: Vec<&Event> = events
        .iter()
        .filter(|event| event.is_syscall() && event.is_app())
        .collect();
    let first = app.first().context("no application event")?;
    let quoted = format!("\"{program}\"");
    assert_eq!(
        (first.syscall(), first.0["ret"].as_i64(), first.arg(0)),
        ("execve", Some(0), &*quoted),
        "{}",
        first.0
    );
    // runc's init is dead by then, so no other call may follow.
    assert_eq!(app.last().map(|event| event.syscall()), Some("exit_group"));
    ensure!(
        events.iter().all(|event| event.0["container"]["id"] == id),
        "an event of another container"
    );
    ensure!(
        app.iter().all(|event| event.text("via") == "start"),
        "an event marked as joined"
    );
    let verdict = daemon.verdict_at_end(id)?;
    verdict.whole()?;
    let lines = events.iter().filter(|event| event.is_syscall()).count() as u64;
    assert_eq!(verdict.book("decoded")?, lines, "lines {lines}: {}", verdict.0);
    ensure!(
        verdict.number("/first_exec_ktime")? > 0,
        "no first execve: {}",
        verdict.0
    );
    ensure!(verdict.0["armed_at"].is_string(), "no receipt: {}", verdict.0);
    Ok(())
}

fn under(runtime: Runtime, stage: HookStage) -> Result<()> {
    leaks::no_programs_after(|| {
        let mut daemon = Daemon::start()?;
        let args = ["/bin/ls", "/"];
        let bundle = Bundle::new("runtime", Rootfs::Busybox, &args)?
            .hook(stage, daemon.dir())?
            .annotate("true");
        let tail = daemon.tail_all(&bundle.id)?;
        let mut container = runtime.start(bundle)?;
        container.success()?;
        ensure!(
            container.stdout().lines().any(|line| line == "proc"),
            "{}",
            container.outputs()
        );
        let row = daemon.row(container.id())?.context("not in `tracer ps`")?;
        assert_eq!(row["id"], container.id(), "{row}");
        seen_whole(&daemon, container.id(), &tail.events()?, "/bin/ls")?;
        daemon.detached()?;
        ensure!(
            daemon.stop()?.success(),
            "the daemon ends with an error: {}",
            daemon.log()
        );
        daemon.leaves_nothing()
    })
}

#[test]
fn runc_create_runtime() -> Result<()> {
    under(Runtime::Runc, HookStage::CreateRuntime)
}

#[test]
fn runc_prestart_only() -> Result<()> {
    under(Runtime::Runc, HookStage::Prestart)
}

#[test]
fn crun_create_runtime() -> Result<()> {
    under(Runtime::Crun, HookStage::CreateRuntime)
}

#[test]
fn crun_prestart_only() -> Result<()> {
    under(Runtime::Crun, HookStage::Prestart)
}

#[test]
fn podman_with_the_annotation() -> Result<()> {
    let daemon = Daemon::start()?;
    let podman = Podman::new(daemon.dir())?;
    let id = podman.create(
        &["--annotation", "container-tracer.io/trace=true"],
        &["/bin/echo", "hello"],
    )?;
    let tail = daemon.tail_all(&id)?;
    assert_eq!(podman.start(&id)?, "hello\n");
    seen_whole(&daemon, &id, &tail.events()?, "/bin/echo")
}

#[test]
fn podman_without_the_annotation() -> Result<()> {
    let daemon = Daemon::start()?;
    let podman = Podman::new(daemon.dir())?;
    for options in [
        &[][..],
        &["--annotation", "container-tracer.io/trace=false"],
        &["--annotation", "other=true"],
    ] {
        let id = podman.create(options, &["/bin/echo", "hello"])?;
        assert_eq!(podman.start(&id)?, "hello\n", "{options:?}");
    }
    assert_eq!(daemon.ps()?, Vec::<serde_json::Value>::new(), "nothing is traced");
    daemon.detached()?;
    Ok(())
}
