//! The command line against the daemon: who is meant, who has left, what is no longer held.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tracer_tests::{
    bundle::{Bundle, Rootfs},
    daemon::Daemon,
    event::{self, Event},
    programs,
    runtime::Runtime,
    wait,
};

#[test]
fn a_container_is_meant_by_the_beginning_of_its_id_too() -> Result<()> {
    let daemon = Daemon::start()?;
    let bundle = Bundle::traced("prefix", Rootfs::Busybox, &["/bin/true"], &daemon)?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.success()?;
    daemon.verdict_at_end(container.id())?.whole()?;
    let prefix = container.id().get(..container.id().len() - 1).context("an id")?;
    let replay = |word: &str| {
        let args = ["-o", "json", "--since-start", "--until-gone", word];
        programs::success(daemon.client("tail").args(args)).and_then(|text| event::parse(&text))
    };
    let (by_id, by_prefix) = (replay(container.id())?, replay(prefix)?);
    let calls = |events: &[Event]| events.iter().filter(|event| event.is_syscall()).count();
    ensure!(calls(&by_id) > 0, "nothing by the whole id");
    assert_eq!(calls(&by_id), calls(&by_prefix));
    Ok(())
}

#[test]
fn a_tail_that_has_left_is_in_no_books() -> Result<()> {
    let daemon = Daemon::start()?;
    let bundle = Bundle::traced(
        "left",
        Rootfs::Host,
        &["/bin/sh", "-c", "echo ready; exec sleep 1009"],
        &daemon,
    )?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.printed("ready")?;
    // The container is silent, so only the client's own end can tell that it has left.
    let mut tail = daemon
        .client("tail")
        .arg(container.id())
        .stdout(std::process::Stdio::null())
        .spawn()?;
    let sinks = || Ok::<_, anyhow::Error>(daemon.verify_now(container.id())?.0["sinks"].clone());
    wait::until("the tail in the books", wait::LONG, || {
        Ok((sinks()? != json!([])).then_some(()))
    })?;
    tail.kill()?;
    tail.wait()?;
    wait::until("the tail out of the books", wait::LONG, || {
        Ok((sinks()? == json!([])).then_some(()))
    })?;
    container.kill("KILL")?;
    container.wait()?;
    Ok(())
}

#[test]
fn what_is_no_longer_held_is_told() -> Result<()> {
    const CALLS: u64 = 100_003;
    let daemon = Daemon::start_with(&["--flight-recorder", "256K"])?;
    let args = ["/workloads/calls", &CALLS.to_string(), "sched_get_priority_max"];
    let mut container = Runtime::Runc.start(Bundle::traced("held", Rootfs::Host, &args, &daemon)?)?;
    container.success()?;
    let verdict = daemon.verdict_at_end(container.id())?;
    verdict.whole()?;
    let args = [
        "-o",
        "json",
        "--phase",
        "all",
        "--since-start",
        "--until-gone",
        container.id(),
    ];
    let events = event::parse(&programs::success(daemon.client("tail").args(args))?)?;
    // How it began is told in any case, and then how much is not there.
    let told: Vec<_> = events
        .iter()
        .take(2)
        .map(|event| (event.text("state"), event.text("reason")))
        .collect();
    assert_eq!(told, [("registered", ""), ("", "not_held")]);
    let first = events.get(1).context("no event")?;
    // Process records are held beside the calls.
    let held = events
        .iter()
        .filter(|event| matches!(event.text("type"), "syscall" | "process"))
        .count() as u64;
    let all = first.number("count")? + held;
    ensure!(
        held > 0 && all >= verdict.book("decoded")? && all < verdict.book("decoded")? + 1009,
        "{held} held and {} not, of {}",
        first.number("count")?,
        verdict.0
    );
    Ok(())
}

#[test]
fn an_option_that_run_does_not_have_is_no_command() -> Result<()> {
    let out = programs::output(programs::command(programs::tracer()?).args([
        "run",
        "--no-such-option",
        "/bin/true",
    ]))?;
    assert_eq!(out.status.code(), Some(2), "{}", programs::both(&out));
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    ensure!(told.contains("no option --no-such-option"), "{told}");
    Ok(())
}
