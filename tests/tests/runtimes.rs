//! The same container under each runtime and hook stage, from the application's execve to its end.

use anyhow::{Context, Result, ensure};
use tracer_tests::{Bundle, Daemon, HookStage, Rootfs, Runtime, leaks, podman::Podman, whole::seen_whole};

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
