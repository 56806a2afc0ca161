//! `--lossless`: however fast a container calls and however small the ring, it loses nothing; and it is never left frozen.

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal};
use std::fs;
use tracer_tests::{
    Bundle, Container, Daemon, Rootfs, Runtime, Verdict,
    bundle::fifo,
    event,
    freezer::Switch,
    podman::Podman,
    process::children,
    programs,
    told::{Waiting, WaitingRun},
    wait,
};

/// Half a million and nine.
const CALLS: &str = "500009";
const CALL: &str = "sched_get_priority_max";
const DAEMON: [&str; 4] = ["--ring-size", "1M", "--annotation-options", "all,lossless"];
const LOSSLESS: (&str, &str) = ("container-tracer.io/lossless", "true");

/// A container that asks to be held back, and has been: its program has begun, and was frozen.
fn held_back_once(daemon: &Daemon, what: &str, calls: &str) -> Result<Container> {
    let (waiting, switch) = waiting(daemon, what, calls)?;
    switch.turned_on_by(daemon.id(), || waiting.go(), || Ok(()))?;
    Ok(waiting.container)
}

/// One that asks, and waits to make so many calls.
fn waiting(daemon: &Daemon, what: &str, calls: &str) -> Result<(Waiting, Switch)> {
    let args = ["/workloads/calls", calls, CALL];
    let waiting = Waiting::start(what, &args, daemon, &[LOSSLESS])?;
    let switch = Switch::of(waiting.container.init_pid()?)?;
    Ok((waiting, switch))
}

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

#[test]
fn a_container_that_floods_a_small_ring_loses_nothing() -> Result<()> {
    let daemon = Daemon::start_with(&DAEMON)?;
    let mut container = held_back_once(&daemon, "lossless", CALLS)?;
    container.success()?;
    let verdict = daemon.verdict_at_end(container.id())?;
    held_back(&verdict)?;
    let calls = daemon.stats(container.id())?.counts()?;
    assert_eq!(calls.get(CALL).copied(), Some(CALLS.parse()?));
    let before = verdict.number("/frozen/ns")?;

    // Its readers are told, to the nanosecond.
    let (waiting, switch) = waiting(&daemon, "told", "100003")?;
    let tail = daemon.tail(waiting.container.id(), &["-o", "json"])?;
    switch.turned_on_by(daemon.id(), || waiting.go(), || Ok(()))?;
    let mut container = waiting.container;
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
    let args = ["/workloads/calls", CALLS, CALL];
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
    let dir = tempfile::tempdir()?;
    let go = dir.path().join("go");
    fifo(&go)?;
    let volume = format!("{}:/scratch", dir.path().display());
    let options = [&asks[..], &["--volume", &volume]].concat();
    let script = "read go </scratch/go; exec dd if=/dev/zero of=/dev/null bs=1 count=150001";
    let id = podman.create(&options, &["/bin/sh", "-c", script])?;
    let switch = Switch::of(podman.start_detached(&id)?)?;
    switch.turned_on_by(daemon.id(), || Ok(fs::write(&go, "go\n")?), || Ok(()))?;
    let verdict = daemon.verdict_at_end(&id)?;
    held_back(&verdict)?;
    ensure!(verdict.book("decoded")? > 300_002, "{}", verdict.0);
    Ok(())
}

#[test]
fn a_daemon_that_is_killed_leaves_nobody_frozen() -> Result<()> {
    let mut daemon = Daemon::start_with(&DAEMON)?;
    let (waiting, switch) = waiting(&daemon, "left", "forever")?;
    switch.turned_on_by(
        daemon.id(),
        || waiting.go(),
        || {
            // Standing, it thaws nobody: what is frozen now was so when it is killed.
            daemon.signal(Signal::STOP)?;
            ensure!(switch.is_on()?, "it is thawed already");
            daemon.signal(Signal::KILL)
        },
    )?;
    daemon.wait()?;
    wait::until("the container to be thawed", wait::LONG, || {
        Ok((!switch.is_on()?).then_some(()))
    })?;
    let mut container = waiting.container;
    container.kill("KILL")?;
    container.wait()?;
    Ok(())
}

#[test]
fn without_its_guard_a_daemon_holds_nobody_back() -> Result<()> {
    let daemon = Daemon::start_with(&DAEMON)?;
    let (waiting, switch) = waiting(&daemon, "unguarded", "forever")?;
    switch.turned_on_by(daemon.id(), || waiting.go(), || Ok(()))?;
    let mut container = waiting.container;
    let given_up = || -> Result<u64> { Ok(frozen(&daemon.verify_now(container.id())?)?[2]) };
    let before = given_up()?;

    let guard = guard(daemon.id())?;
    rustix::process::kill_process(guard, Signal::KILL)?;
    wait::until("the daemon to see that its guard is gone", wait::LONG, || {
        Ok((given_up()? > before).then_some(()))
    })?;
    ensure!(!switch.is_on()?, "it is frozen");
    let times = frozen(&daemon.verify_now(container.id())?)?[0];

    // It floods on, and nothing freezes it. Another one is told that it cannot be frozen, and is traced all the same.
    let next = ["/workloads/calls", "10007", CALL];
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
    let children = children(daemon)?;
    let [pid] = children[..] else {
        bail!("one child: {children:?}")
    };
    Pid::from_raw(pid.try_into()?).context("a pid")
}

#[test]
fn a_command_is_held_back_in_a_cgroup_of_its_own() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let run = |options: &[&str], begin: &dyn Fn(&mut WaitingRun) -> Result<()>| -> Result<Verdict> {
        let verify = dir.path().join("verify");
        let mut command = programs::command(programs::tracer()?);
        command.args(["run", "--phase", "all", "-o", "json", "--ring-size", "1M", "-w"]);
        command
            .arg(dir.path().join("events"))
            .arg("--verify")
            .arg(&verify);
        command.args(options);
        let calls = programs::workload("calls")?;
        let calls = [calls.to_str().context("a path")?, CALLS, CALL];
        let mut run = WaitingRun::start(&mut command, &calls)?;
        let said = begin(&mut run).and_then(|()| run.over());
        let out = run.end(said)?;
        assert_eq!(String::from_utf8_lossy(&out.stdout), format!("done {CALLS}\n"));
        Verdict::parse(&fs::read_to_string(&verify).with_context(|| programs::both(&out))?)
    };
    let frozen = run(&["--lossless"], &|run| {
        Switch::of(run.command)?.turned_on_by(run.id(), || run.go(), || Ok(()))
    })?;
    held_back(&frozen)?;
    let free = run(&[], &WaitingRun::go)?;
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
