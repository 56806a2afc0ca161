//! Fairness: however small the ring, however slow the daemon and however loud one container, another loses nothing.

use std::{fs, process::Stdio};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use tracer_tests::{Bundle, Daemon, Rootfs, Runtime, podman::Podman, wait};

/// Some two thousand calls and three hundred processes' events, in bursts.
const QUIET: [&str; 3] = [
    "/bin/sh",
    "-c",
    "i=0; while [ $i -lt 97 ]; do i=$((i+1)); cat /none-$i 2>/dev/null; done",
];

/// A sixth of it holds all that a quiet container does, whenever the daemon gets a processor.
const SMALL: [&str; 2] = ["--ring-size", "4M"];

/// More than the ring and the queue behind it hold, then without end.
const FLOOD: [&str; 3] = [
    "/bin/sh",
    "-c",
    "echo up; read go </scratch/go; /workloads/calls 2000003 sched_get_priority_max; \
     exec /workloads/calls forever sched_get_priority_max",
];

/// Quiet containers beside one that floods and has begun to lose.
fn beside_a_flood(daemon: &Daemon) -> Result<()> {
    let podman = Podman::new(daemon.dir())?;
    let bundle = Bundle::traced("noisy", Rootfs::Host, &FLOOD, daemon)?;
    let go = bundle.fifo("go")?;
    let mut noisy = Runtime::Runc.start(bundle)?;
    noisy.printed("up")?;
    let mut reader = daemon
        .client("tail")
        .args([noisy.id(), "-o", "json"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // However fast the daemon is, it takes nothing while it sleeps.
    daemon.signal(Signal::STOP)?;
    fs::write(&go, "go\n")?;
    noisy.printed("done 2000003")?;
    daemon.signal(Signal::CONT)?;
    wait::until("the noisy container to lose events", wait::LONG, || {
        let lost = daemon.verify_now(noisy.id())?.book("dropped/ring_share")?;
        Ok((lost > 0).then_some(()))
    })?;

    let bundle = Bundle::traced("quiet", Rootfs::Busybox, &QUIET, daemon)?;
    let mut quiet = Runtime::Runc.start(bundle)?;
    quiet.wait()?;
    let under_runc = daemon.verdict_at_end(quiet.id())?;
    let id = podman.create(&["--annotation", "container-tracer.io/trace=true"], &QUIET)?;
    podman.attempt(&id)?;
    let under_podman = daemon.verdict_at_end(&id)?;
    noisy.kill("KILL")?;
    noisy.wait()?;
    let noisy = daemon.verdict_at_end(noisy.id())?;
    reader.kill()?;
    reader.wait()?;

    for quiet in [&under_runc, &under_podman] {
        quiet.whole()?;
        assert_eq!(quiet.number("/process_lost")?, 0, "{}", quiet.0);
        ensure!(quiet.book("decoded")? > 1900, "{}", quiet.0);
    }
    // Its losses are its own, and it never had the whole ring.
    noisy.balances()?;
    assert_eq!(noisy.dropped()?, noisy.book("dropped/ring_share")?, "{}", noisy.0);
    ensure!(
        !noisy.is_complete() && noisy.book("decoded")? > 10_000,
        "{}",
        noisy.0
    );
    Ok(())
}

#[test]
fn a_noisy_container_costs_quiet_ones_nothing_in_a_small_ring() -> Result<()> {
    beside_a_flood(&Daemon::start_with(&SMALL)?)
}

#[test]
fn a_noisy_container_costs_quiet_ones_nothing_behind_the_ring() -> Result<()> {
    // The ring is drained fast enough; what is behind it has no room.
    beside_a_flood(&Daemon::start()?)
}
