//! The harness itself, without the tracer: if a runtime, a workload or strace does not do what the other tests rely
//! on, this says so first.

use anyhow::{Result, ensure};
use tracer_tests::{Bundle, Counts, Rootfs, Runtime, bundle::refuse, podman::Podman, programs, strace};

const OURS: &str = "sched_get_priority_max";

#[test]
fn each_runtime_runs_each_rootfs() -> Result<()> {
    for runtime in [Runtime::Runc, Runtime::Crun] {
        let mut container = runtime.start(Bundle::new("plain", Rootfs::Busybox, &["/bin/echo", "hello"])?)?;
        container.success()?;
        assert_eq!(container.stdout(), "hello\n", "{runtime:?}");
        let args = ["/workloads/calls", "13", OURS];
        let mut container = runtime.start(Bundle::new("plain", Rootfs::Host, &args)?)?;
        container.success()?;
        assert_eq!(container.stdout(), "done 13\n", "{runtime:?}");
    }
    Ok(())
}

#[test]
fn podman_runs_with_a_storage_of_its_own() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let podman = Podman::new(dir.path())?;
    let id = podman.create(&[], &["/bin/echo", "hello"])?;
    assert_eq!(podman.start(&id)?, "hello\n");
    Ok(())
}

#[test]
fn a_container_can_be_joined_and_killed() -> Result<()> {
    let mut container = Runtime::Runc.start(Bundle::new(
        "joined",
        Rootfs::Host,
        &["/workloads/calls", "forever"],
    )?)?;
    container.printed("ready")?;
    ensure!(container.init_pid()? > 1);
    assert_eq!(container.exec(&["/workloads/calls", "17"])?, "done 17\n");
    container.kill("KILL")?;
    assert_eq!(container.wait()?.code(), Some(137), "{}", container.outputs());
    Ok(())
}

#[test]
fn the_workloads_make_the_calls_that_they_say() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let count = |args: &[&str], name: &str| -> Result<u64> {
        let program = programs::workload(args[0])?.display().to_string();
        let counts: Counts = strace::counts(&[&[program.as_str()], &args[1..]].concat(), dir.path())?;
        Ok(counts.get(name).copied().unwrap_or(0))
    };
    assert_eq!(count(&["calls", "1009"], "getppid")?, 1009);
    assert_eq!(count(&["calls", "1009", OURS], OURS)?, 1009);
    assert_eq!(count(&["threads", "5", "101"], "getppid")?, 505);
    assert_eq!(count(&["unshare_inside", "103"], OURS)?, 103);
    assert_eq!(count(&["fork_signal"], "wait4")?, 3);
    assert_eq!(count(&["seccomp_denied", "107"], OURS)?, 107);
    Ok(())
}

#[test]
fn the_odd_containers_run() -> Result<()> {
    let host = |args: &[&str]| Bundle::new("odd", Rootfs::Host, args);
    let run = |bundle: Bundle| -> Result<String> {
        let mut container = Runtime::Runc.start(bundle)?;
        container.success()?;
        Ok(container.stdout())
    };
    assert_eq!(
        run(host(&["/workloads/calls", "3"])?.namespace("pid", None)?)?,
        "done 3\n",
        "host's PID namespace"
    );
    run(host(&["/workloads/unshare_inside", "3"])?.capability("CAP_SYS_ADMIN"))?;
    let mut denied = host(&["/workloads/seccomp_denied", "3"])?;
    denied.config["linux"]["seccomp"] = refuse(OURS);
    assert_eq!(run(denied)?, "refused 3\n");

    // One that waits at a FIFO, another in its PID namespace meanwhile.
    let first = host(&["/bin/sh", "-c", "echo ready; read line </scratch/end; exit 0"])?;
    let fifo = first.fifo("end")?;
    let mut first = Runtime::Runc.start(first)?;
    first.printed("ready")?;
    first.stands_in(libc::SYS_openat)?;
    let shared = format!("/proc/{}/ns/pid", first.init_pid()?).into();
    assert_eq!(
        run(host(&["/workloads/calls", "5"])?.namespace("pid", Some(shared))?)?,
        "done 5\n"
    );
    std::fs::write(&fifo, "end\n")?;
    first.success()
}

#[test]
fn fifty_containers_start_at_once() -> Result<()> {
    let start = |_| Runtime::Runc.start(Bundle::new("fifty", Rootfs::Host, &["/workloads/calls", "3"])?);
    let running = (0..50).map(start).collect::<Result<Vec<_>>>()?;
    running
        .into_iter()
        .try_for_each(|mut container| container.success())
}
