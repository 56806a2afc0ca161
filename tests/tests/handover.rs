//! A daemon is restarted while containers run under load: the next one goes on, and not one event is missing.

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};
use tracer_tests::{
    Bundle, Container, Daemon, Rootfs, Runtime, event, event::Sequence, leaks, manager::Manager, programs,
    wait,
};

/// Calls of one round, of a kind that nothing else makes.
const ROUND: u64 = 503;

/// A container that makes rounds of calls until it is told to end; then it says how many there were. With the pause in
/// between the ring bears what it does in the many seconds that a restart takes on a busy machine.
fn rounds(daemon: &Daemon, what: &str) -> Result<(Container, PathBuf)> {
    let script = format!(
        "echo ready; n=0; while [ ! -e /scratch/end ]; do \
         /workloads/calls {ROUND} sched_get_priority_max >/dev/null; n=$((n+1)); sleep 0.01; done; echo $n rounds"
    );
    let bundle = Bundle::traced(what, Rootfs::Host, &["/bin/sh", "-c", &script], daemon)?;
    let scratch = bundle.scratch();
    let mut container = Runtime::Runc.start(bundle)?;
    container.printed("ready")?;
    Ok((container, scratch))
}

fn admitted(daemon: &Daemon, id: &str) -> Result<u64> {
    daemon.verify_now(id)?.book("admitted")
}

/// Waits until that many calls more were made.
fn more(daemon: &Daemon, id: &str, calls: u64) -> Result<()> {
    let from = admitted(daemon, id)?;
    wait::until("calls", wait::LONG, || {
        Ok((admitted(daemon, id)? >= from + calls).then_some(()))
    })
}

/// Ends it and returns how many rounds it made.
fn end(container: &mut Container, scratch: &Path) -> Result<u64> {
    fs::write(scratch.join("end"), "")?;
    container.success()?;
    let said = container.stdout();
    let rounds = said.lines().last().and_then(|line| line.strip_suffix(" rounds"));
    Ok(rounds.with_context(|| said.clone())?.parse()?)
}

#[test]
fn a_restart_under_load_misses_nothing() -> Result<()> {
    let before = leaks::programs()?;
    let dir = tempfile::tempdir()?;
    let (config, file) = (dir.path().join("tracer.toml"), dir.path().join("calls"));
    let sink = format!(
        "[[sink]]\nkind = \"file\"\nname = \"calls\"\npath = {file:?}\nphases = \"all\"\nqueue = \"256M\"\nrotate_size = \"0\"\n"
    );
    fs::write(&config, sink)?;
    let config = config.to_str().context("a path that is no text")?;
    let mut daemon = Daemon::start_by(Manager::start()?, &["--hand-over", "--config", config])?;
    let (mut container, scratch) = rounds(&daemon, "restart")?;
    let id = container.id().to_owned();
    for _ in 0..3 {
        more(&daemon, &id, 20 * ROUND)?;
        let so_far = admitted(&daemon, &id)?;
        ensure!(daemon.stop()?.success(), "{}", daemon.log());
        ensure!(
            daemon.manager()?.keeps().contains(&"kept-map.EVENTS".to_owned()),
            "the ring is not kept: {:?}",
            daemon.manager()?.keeps()
        );
        daemon.restart()?;
        let manager = daemon.manager()?;
        wait::until("the manager to let go of what was taken back", wait::LONG, || {
            Ok(manager.keeps().is_empty().then_some(()))
        })?;
        let verdict = daemon.verify_now(&id)?;
        ensure!(
            verdict.book("admitted")? >= so_far,
            "the books began again: {}",
            verdict.0
        );
    }
    let tail = daemon.tail_all(&id)?;
    more(&daemon, &id, 5 * ROUND)?;
    let calls = ROUND * end(&mut container, &scratch)?;
    let verdict = daemon.verdict_at_end(&id)?;
    verdict.whole()?;
    assert_eq!(
        verdict.book("decoded")?,
        verdict.book("admitted")?,
        "{}",
        verdict.0
    );
    assert_eq!(daemon.stats(&id)?.counts()?["sched_get_priority_max"], calls);
    let events = tail.events()?;
    let states = events.iter().map(|event| event.text("state"));
    let states: Vec<_> = states.filter(|state| !state.is_empty()).collect();
    ensure!(
        states.ends_with(&["resumed", "gone"]),
        "the stream does not tell of the last restart: {states:?}"
    );
    // What is held is handed over too: all calls of its life are there, but those that were counted as held no more.
    let seen = events.iter().filter(|event| event.is_syscall()).count() as u64;
    let mut no_more = 0;
    for loss in events.iter().filter(|event| event.text("type") == "loss") {
        assert_eq!(loss.text("reason"), "not_held", "{}", loss.0);
        no_more += loss.number("count")?;
    }
    assert_eq!(
        seen + no_more,
        verdict.book("decoded")?,
        "of which {no_more} not held"
    );
    ensure!(daemon.stop()?.success(), "{}", daemon.log());
    daemon.leaves_nothing()?;
    leaks::gone(&before)?;

    // What the four daemons wrote into one file is the whole stream, and the books of the last say so.
    let decoded = verdict.book("decoded")?;
    let sinks = verdict.0["sinks"].as_array().context("no sinks")?;
    let book = sinks
        .iter()
        .find(|sink| sink["name"] == "calls")
        .context("no such sink")?;
    let told = ["written", "dropped", "skipped", "queued"].map(|what| book[what].as_u64());
    assert_eq!(told.iter().flatten().sum::<u64>(), decoded, "{book}");
    assert_eq!(told[1], Some(0), "{book}");
    let (mut lines, mut sequence) = (0, Sequence::default());
    event::each(&file, |event| {
        if event.is_syscall() {
            lines += 1;
            sequence.add(&event)?;
        }
        Ok(())
    })?;
    assert_eq!(lines, decoded, "lines of calls in the file");
    sequence.whole(true)
}

#[test]
fn what_was_found_out_goes_on() -> Result<()> {
    let mut daemon = Daemon::start_by(Manager::start()?, &["--hand-over"])?;
    let script = "cd /tmp; cat /etc/shadow.d /none/a; unshare -U true; echo ready; read go </scratch/go; \
                  cat /none/a none/b; exit 3";
    let bundle = Bundle::traced("found-out", Rootfs::Host, &["/bin/sh", "-c", script], &daemon)?;
    let go = bundle.fifo("go")?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.printed("ready")?;
    let id = container.id().to_owned();
    // It waits, and makes no call.
    let ask = |daemon: &Daemon, words: &[&str]| -> Result<Vec<Value>> {
        let out = programs::output(daemon.client(words[0]).args(&words[1..]).arg(&id))?;
        let mut told: Vec<Value> = serde_json::Deserializer::from_slice(&out.stdout)
            .into_iter()
            .collect::<Result<_, _>>()?;
        ensure!(!told.is_empty(), "{}", programs::both(&out));
        for value in &mut told {
            // Of the whole machine.
            if let Some(seen) = value.as_object_mut() {
                seen.remove("negative");
            }
        }
        Ok(told)
    };
    let questions: [&[&str]; 3] = [
        &["explain", "-o", "json"],
        &["dentry", "-o", "json"],
        &["profile", "seccomp"],
    ];
    let before: Vec<_> = questions
        .iter()
        .map(|words| ask(&daemon, words))
        .collect::<Result<_>>()?;
    ensure!(daemon.stop()?.success(), "{}", daemon.log());
    daemon.restart()?;
    for (words, before) in questions.iter().zip(&before) {
        assert_eq!(&ask(&daemon, words)?, before, "{words:?}");
    }
    // It goes on from there.
    fs::write(&go, "\n")?;
    let status = container.wait()?;
    ensure!(status.code() == Some(3), "{status}");
    daemon.verdict_at_end(&id)?.whole()?;
    let lookups = ask(&daemon, questions[1])?;
    let paths = lookups[0]["paths"].as_array().context("no paths")?;
    // The second was relative to a directory that the shell had entered before.
    for (path, missing) in [("/none/a", 2), ("/tmp/none/b", 1)] {
        let path = paths.iter().find(|other| other["path"] == path);
        ensure!(path.is_some_and(|path| path["missing"] == missing), "{paths:?}");
    }
    ensure!(daemon.stop()?.success(), "{}", daemon.log());
    daemon.leaves_nothing()
}

#[test]
fn an_end_during_the_restart_is_booked() -> Result<()> {
    let mut daemon = Daemon::start_by(Manager::start()?, &["--hand-over"])?;
    let (mut container, scratch) = rounds(&daemon, "ends")?;
    let id = container.id().to_owned();
    ensure!(daemon.stop()?.success(), "{}", daemon.log());
    let calls = ROUND * end(&mut container, &scratch)?;
    daemon.restart()?;
    daemon.verdict_at_end(&id)?.whole()?;
    assert_eq!(daemon.stats(&id)?.counts()?["sched_get_priority_max"], calls);
    ensure!(daemon.stop()?.success(), "{}", daemon.log());
    daemon.leaves_nothing()
}

#[test]
fn another_version_takes_over() -> Result<()> {
    let mut daemon = Daemon::start_by(Manager::start()?, &["--hand-over"])?;
    let (mut container, scratch) = rounds(&daemon, "upgraded")?;
    let id = container.id().to_owned();
    ensure!(daemon.stop()?.success(), "{}", daemon.log());
    daemon
        .manager()?
        .rewrite(|left| left["version"] = "0.0.1".into())?;
    daemon.restart()?;
    more(&daemon, &id, 5 * ROUND)?;
    let calls = ROUND * end(&mut container, &scratch)?;
    daemon.verdict_at_end(&id)?.whole()?;
    assert_eq!(daemon.stats(&id)?.counts()?["sched_get_priority_max"], calls);
    ensure!(daemon.stop()?.success(), "{}", daemon.log());
    daemon.leaves_nothing()
}

#[test]
fn where_nothing_is_kept_the_gap_is_stated() -> Result<()> {
    gap_is_stated(|manager| {
        manager.discard();
        Ok(())
    })
}

/// Its maps may hold what this one does not understand.
#[test]
fn over_another_ebpf_object_the_gap_is_stated() -> Result<()> {
    gap_is_stated(|manager| manager.rewrite(|left| left["kernel"]["object"] = 1.into()))
}

#[test]
fn over_another_form_of_what_is_left_the_gap_is_stated() -> Result<()> {
    gap_is_stated(|manager| manager.rewrite(|left| left["form"] = 0.into()))
}

/// A daemon that cannot take over, after that.
fn gap_is_stated(happens: impl FnOnce(&Manager) -> Result<()>) -> Result<()> {
    let before = leaks::programs()?;
    let mut daemon = Daemon::start_by(Manager::start()?, &["--hand-over"])?;
    let (mut container, scratch) = rounds(&daemon, "anew")?;
    let id = container.id().to_owned();
    ensure!(daemon.stop()?.success(), "{}", daemon.log());
    happens(daemon.manager()?)?;
    daemon.restart()?;
    more(&daemon, &id, 5 * ROUND)?;
    end(&mut container, &scratch)?;
    let verdict = daemon.verdict_at_end(&id)?;
    verdict.balances()?;
    ensure!(
        !verdict.is_complete(),
        "it misses what nobody traced: {}",
        verdict.0
    );
    ensure!(
        verdict.0["away"].as_array().is_some_and(|away| away.len() == 1),
        "no word of the gap: {}",
        verdict.0
    );
    ensure!(daemon.stop()?.success(), "{}", daemon.log());
    daemon.leaves_nothing()?;
    leaks::gone(&before)
}

#[test]
fn killed_with_a_manager_it_leaves_nothing_attached() -> Result<()> {
    let before = leaks::programs()?;
    let mut daemon = Daemon::start_by(Manager::start()?, &["--hand-over"])?;
    let (mut container, scratch) = rounds(&daemon, "killed")?;
    // Twice: what the second took over is its own, and the manager keeps nothing.
    ensure!(daemon.stop()?.success(), "{}", daemon.log());
    daemon.restart()?;
    daemon.signal(Signal::KILL)?;
    daemon.wait()?;
    leaks::gone(&before)?;
    end(&mut container, &scratch)?;
    Ok(())
}
