//! `--lossless`: however fast a container calls and however small the ring, it loses nothing; and it is never left frozen.

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tracer_tests::{Bundle, Daemon, Rootfs, Runtime, Verdict, event, podman::Podman, programs, wait};

/// Half a million and nine.
const CALLS: &str = "500009";
const DAEMON: [&str; 4] = ["--ring-size", "256K", "--annotation-options", "all,lossless"];
const LOSSLESS: (&str, &str) = ("container-tracer.io/lossless", "true");

/// How often, how long in nanoseconds, how often in vain.
fn frozen(verdict: &Verdict) -> Result<[u64; 3]> {
    Ok([
        verdict.number("/frozen/times")?,
        verdict.number("/frozen/ns")?,
        verdict.number("/frozen/given_up")?,
    ])
}

/// It lost nothing, and that was not luck.
fn held_back(verdict: &Verdict) -> Result<()> {
    verdict.whole()?;
    assert_eq!(verdict.number("/process_lost")?, 0, "{}", verdict.0);
    assert_eq!(
        verdict.book("admitted")?,
        verdict.book("emitted")?,
        "{}",
        verdict.0
    );
    let [times, ns, given_up] = frozen(verdict)?;
    ensure!(times > 0 && ns > 0 && given_up == 0, "{}", verdict.0);
    Ok(())
}

/// What freezes that process's cgroup, of either version.
fn switch(pid: u32) -> Result<PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    for (kind, prefix, file) in [
        (" - cgroup2 ", "0::", "cgroup.freeze"),
        (",freezer", ":freezer:", "freezer.state"),
    ] {
        let mount = mounts.lines().find(|line| line.contains(kind));
        let path = groups.lines().find_map(|line| line.split_once(prefix));
        if let (Some(mount), Some((_, path))) = (mount, path)
            && path != "/"
        {
            let point = mount.split(' ').nth(4).context("a mount point")?;
            return Ok(Path::new(point).join(path.trim_start_matches('/')).join(file));
        }
    }
    anyhow::bail!("no freezer for {pid}: {groups}")
}

fn is_frozen(switch: &Path) -> Result<bool> {
    let is = fs::read_to_string(switch).with_context(|| switch.display().to_string())?;
    Ok(["1", "FROZEN", "FREEZING"].contains(&is.trim()))
}

#[test]
fn a_container_that_floods_a_small_ring_loses_nothing() -> Result<()> {
    let daemon = Daemon::start_with(&DAEMON)?;
    let args = ["/workloads/calls", CALLS, "sched_get_priority_max"];
    let bundle = Bundle::traced("lossless", Rootfs::Host, &args, &daemon)?.annotations(&[LOSSLESS]);
    let mut container = Runtime::Runc.start(bundle)?;
    container.success()?;
    let verdict = daemon.verdict_at_end(container.id())?;
    held_back(&verdict)?;
    let calls = daemon.stats(container.id())?.counts()?;
    assert_eq!(calls.get("sched_get_priority_max").copied(), Some(CALLS.parse()?));
    let before = verdict.number("/frozen/ns")?;

    // Its readers are told, to the nanosecond.
    let fewer = ["/workloads/calls", "100003", "sched_get_priority_max"];
    let bundle = Bundle::traced("told", Rootfs::Host, &fewer, &daemon)?.annotations(&[LOSSLESS]);
    let tail = daemon.tail(&bundle.id, &["-o", "json"])?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.success()?;
    let verdict = daemon.verdict_at_end(container.id())?;
    held_back(&verdict)?;
    let (_, text, _) = tail.end()?;
    let mut told = [0, 0];
    for event in event::parse(&text)? {
        if event.text("state") == "frozen" {
            told[0] += event.number("times")?;
            told[1] += event.number("frozen_ns")?;
        }
    }
    assert_eq!(told, frozen(&verdict)?[..2]);
    assert_eq!(daemon.status()?["frozen_ns"].as_u64(), Some(before + told[1]));

    // Nobody is held back who did not ask: the same may lose then, and says what.
    let mut free = Runtime::Runc.start(Bundle::traced("free", Rootfs::Host, &args, &daemon)?)?;
    free.success()?;
    let verdict = daemon.verdict_at_end(free.id())?;
    verdict.balances()?;
    let lost = verdict.book("dropped/ring_share")? + verdict.book("dropped/ring_full")?;
    assert_eq!(
        verdict.book("admitted")?,
        verdict.book("emitted")? + lost,
        "{}",
        verdict.0
    );
    ensure!(verdict.0.get("frozen").is_none(), "{}", verdict.0);
    Ok(())
}

#[test]
fn podmans_containers_are_held_back_too() -> Result<()> {
    let daemon = Daemon::start_with(&DAEMON)?;
    let podman = Podman::new(daemon.dir())?;
    let asks = [
        "--annotation",
        "container-tracer.io/trace=true",
        "--annotation",
        "container-tracer.io/lossless=true",
    ];
    // Two at a time: with one a daemon on a processor of its own keeps up.
    let copy = "dd if=/dev/zero of=/dev/null bs=1 count=150001";
    let both = format!("{copy} & {copy} & wait");
    let id = podman.create(&asks, &["/bin/sh", "-c", &both])?;
    podman.attempt(&id)?;
    let verdict = daemon.verdict_at_end(&id)?;
    held_back(&verdict)?;
    ensure!(verdict.book("decoded")? > 600_004, "{}", verdict.0);
    Ok(())
}

#[test]
fn a_daemon_that_is_killed_leaves_nobody_frozen() -> Result<()> {
    let mut daemon = Daemon::start_with(&DAEMON)?;
    let args = ["/workloads/calls", "forever", "sched_get_priority_max"];
    let bundle = Bundle::traced("left", Rootfs::Host, &args, &daemon)?.annotations(&[LOSSLESS]);
    let mut container = Runtime::Runc.start(bundle)?;
    container.printed("ready")?;
    let switch = switch(container.init_pid()?)?;
    wait::until(
        "the container to be frozen while its daemon stands",
        wait::LONG,
        || {
            if !is_frozen(&switch)? {
                return Ok(None);
            }
            // Standing, it thaws nobody: what is frozen now was so when it is killed.
            daemon.signal(Signal::STOP)?;
            if is_frozen(&switch)? {
                return Ok(Some(()));
            }
            daemon.signal(Signal::CONT)?;
            Ok(None)
        },
    )?;
    daemon.signal(Signal::KILL)?;
    daemon.wait()?;
    wait::until("the container to be thawed", wait::LONG, || {
        Ok((!is_frozen(&switch)?).then_some(()))
    })?;
    container.kill("KILL")?;
    container.wait()?;
    Ok(())
}

#[test]
fn without_its_guard_a_daemon_holds_nobody_back() -> Result<()> {
    let daemon = Daemon::start_with(&DAEMON)?;
    let args = ["/workloads/calls", "forever", "sched_get_priority_max"];
    let bundle = Bundle::traced("unguarded", Rootfs::Host, &args, &daemon)?.annotations(&[LOSSLESS]);
    let mut container = Runtime::Runc.start(bundle)?;
    container.printed("ready")?;
    let switch = switch(container.init_pid()?)?;
    let given_up = || -> Result<u64> { Ok(frozen(&daemon.verify_now(container.id())?)?[2]) };
    wait::until("the container to be held back", wait::LONG, || {
        Ok((frozen(&daemon.verify_now(container.id())?)?[0] > 0).then_some(()))
    })?;
    let before = given_up()?;

    let guard = guard(daemon.id())?;
    rustix::process::kill_process(guard, Signal::KILL)?;
    wait::until("the daemon to see that its guard is gone", wait::LONG, || {
        Ok((given_up()? > before).then_some(()))
    })?;
    ensure!(!is_frozen(&switch)?, "{} is frozen", switch.display());
    let times = frozen(&daemon.verify_now(container.id())?)?[0];

    // It floods on, and nothing freezes it. Another one is told that it cannot be frozen, and is traced all the same.
    let next = ["/workloads/calls", "10007", "sched_get_priority_max"];
    let bundle = Bundle::traced("next", Rootfs::Host, &next, &daemon)?.annotations(&[LOSSLESS]);
    let tail = daemon.tail(&bundle.id, &["-o", "json"])?;
    let mut next = Runtime::Runc.start(bundle)?;
    next.success()?;
    daemon.verdict_at_end(next.id())?.balances()?;
    let (_, text, _) = tail.end()?;
    let told = event::parse(&text)?;
    ensure!(
        told.iter()
            .any(|event| event.text("warning").contains("restart the daemon")),
        "{text}"
    );
    let verdict = daemon.verify_now(container.id())?;
    assert_eq!(frozen(&verdict)?[0], times, "{}", verdict.0);
    container.kill("KILL")?;
    container.wait()?;
    daemon.verdict_at_end(container.id())?.balances()?;
    Ok(())
}

/// The process that a daemon started.
fn guard(daemon: u32) -> Result<Pid> {
    let path = format!("/proc/{daemon}/task/{daemon}/children");
    let children = fs::read_to_string(&path).with_context(|| path)?;
    let pid = children
        .trim()
        .parse()
        .with_context(|| format!("one child: {children:?}"))?;
    Pid::from_raw(pid).context("a pid")
}

#[test]
fn a_command_is_held_back_in_a_cgroup_of_its_own() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let run = |options: &[&str]| -> Result<Verdict> {
        let verify = dir.path().join("verify");
        let mut command = programs::command(programs::tracer()?);
        command.args(["run", "--phase", "all", "-o", "json", "--ring-size", "256K", "-w"]);
        command
            .arg(dir.path().join("events"))
            .arg("--verify")
            .arg(&verify);
        command.args(options).arg("--");
        command.arg(programs::workload("calls")?).arg(CALLS);
        let out = programs::output(&mut command)?;
        assert_eq!(String::from_utf8_lossy(&out.stdout), format!("done {CALLS}\n"));
        Verdict::parse(&fs::read_to_string(&verify).with_context(|| programs::both(&out))?)
    };
    held_back(&run(&["--lossless"])?)?;
    let free = run(&[])?;
    free.balances()?;
    ensure!(free.0.get("frozen").is_none(), "{}", free.0);
    for root in [
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/unified",
        "/sys/fs/cgroup/freezer",
    ] {
        let groups = fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
        let left: Vec<_> = groups
            .map(|group| group.file_name())
            .filter(|name| name.to_string_lossy().starts_with("tracer-run-"))
            .collect();
        ensure!(left.is_empty(), "{root}: {left:?}");
    }
    Ok(())
}
