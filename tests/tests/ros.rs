//! A ROS node under a user's podman, traced from its start, with a talker that wants a real-time policy. The case study
//! (`docs/case-study-ros.md`) is what this prints.
//!
//! Outside CI: the image takes debootstrap, two minutes of downloads and 270 MB. `cargo xtask test -- --ignored ros`

use anyhow::{Context, Result, ensure};
use tracer_tests::{Daemon, event, podman::Podman, programs, ros, user::User};

const MESSAGES: &str = "50";
/// What the nodes do at the beginning of their work.
const CALLS: &str = "sched_setscheduler,bind,listen,connect";

#[test]
#[ignore = "makes an image of 270 MB from Debian's packages"]
fn ros_is_traced_from_its_start() -> Result<()> {
    let tar = ros::rootfs_tar()?;
    let daemon = Daemon::start()?;
    let podman = Podman::of(&tar, daemon.dir(), Some(User::new()?))?;
    let options = ["--name", "ros", "--annotation", "container-tracer.io/trace=true"];
    let id = podman.create(&options, &[ros::COMMAND, MESSAGES])?;
    let tail = daemon.tail_all(&id)?.opened()?;
    let filter = format!("trace={CALLS}");
    let lines = daemon
        .tail_of("lines", &["--explain", "-e", &filter, &id])?
        .opened()?;
    let said = podman.start(&id)?;
    println!("$ podman start --attach ros\n{said}");
    ensure!(said.contains(&format!("listener: heard {MESSAGES}")), "{said}");
    ensure!(said.contains("talker: no real-time"), "{said}");

    // Whole, from the first call to the last.
    let verdict = daemon.verdict_at_end(&id)?;
    verdict.whole()?;
    let events = tail.events()?;
    event::Sequence::of(&events)?.whole(true)?;
    assert_eq!(event::counts(&events), daemon.stats(&id)?.counts()?);

    // The messages went from process to process through a socket, which strace's -f would show in the same place.
    let sent = events
        .iter()
        .filter(|event| event.is_app() && event.syscall() == "sendto");
    let messages = sent.filter(|event| event.arg(1).starts_with("\"\\6\\0\\0\\0\\2\\0\\0\\0"));
    ensure!(
        messages.count() >= 41,
        "the messages with numbers of two digits are in no sendto"
    );

    // And why it is not real-time.
    let text = programs::success(daemon.client("explain").args(["-o", "json", &id]))?;
    let found = event::parse(&text)?;
    let found = found.iter().find(|event| event.syscall() == "sched_setscheduler");
    let found = found.with_context(|| format!("the talker's call is not explained: {text}"))?;
    assert_eq!(
        (found.text("cause"), found.text("errno"), found.text("comm")),
        ("rlimit", "EPERM", "python3"),
        "{}",
        found.0
    );
    println!("$ tracer tail --explain -e trace={CALLS} ros\n{}", lines.text()?);
    for verb in ["stats", "explain", "verify"] {
        let out = programs::output(daemon.client(verb).arg(&id))?;
        println!("$ tracer {verb} ros\n{}", programs::both(&out));
    }
    Ok(())
}
