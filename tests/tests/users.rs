//! Users who are not root: each registers, sees and pays for its own containers, and no others.

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tracer_tests::{
    Bundle, Daemon, Event, Rootfs, Runtime, event, podman::Podman, programs, unique_id, user::User, wait,
};

const TRACED: [&str; 2] = ["--annotation", "container-tracer.io/trace=true"];

fn ids(rows: &str) -> Result<Vec<String>> {
    Ok(event::parse(rows)?
        .iter()
        .map(|row| row.text("id").to_owned())
        .collect())
}

fn refused(daemon: &Daemon, reason: &str) -> Result<u64> {
    Ok(daemon.status()?["refused"][reason].as_u64().unwrap_or(0))
}

#[test]
fn a_user_traces_its_own_containers_and_sees_no_others() -> Result<()> {
    let daemon = Daemon::start()?;
    let args = ["/bin/sh", "-c", "echo ready; while :; do sleep 1009; done"];
    let mut roots = Runtime::Runc.start(Bundle::traced("roots", Rootfs::Busybox, &args, &daemon)?)?;
    roots.printed("ready")?;
    let podman = Podman::hooked(daemon.dir(), Some(User::new()?))?;
    let user = podman.user().context("a user's podman")?;
    let third = User::new()?;

    // Its own: from execve on, with its name, by whoever may see it.
    let name = unique_id("own");
    let id = podman.create(
        &[&TRACED[..], &["--name", &name]].concat(),
        &["/bin/echo", "hello"],
    )?;
    let client = daemon.client_of(user, "tail")?;
    let tail = daemon
        .tail_by(client, "own", &["-o", "json", "--phase", "all", &name])?
        .opened()?;
    assert_eq!(podman.start(&id)?, "hello\n");
    let events = tail.events()?;
    event::Sequence::of(&events)?.whole(true)?;
    let first = events
        .iter()
        .find(|event| event.is_syscall() && event.is_app())
        .context("no call of the application")?;
    assert_eq!(
        (first.syscall(), first.arg(0)),
        ("execve", "\"/bin/echo\""),
        "{}",
        first.0
    );
    daemon.verdict_at_end(&id)?.whole()?;
    let calls = events.iter().filter(|event| event.is_syscall()).count() as u64;
    let verdict = programs::success(daemon.client_of(user, "verify")?.args(["-o", "json", &name]))?;
    let verdict: Value = serde_json::from_str(&verdict)?;
    assert_eq!(verdict["books"]["decoded"], calls, "{verdict}");

    // Nothing of others', by whatever command.
    let ps = |user: &User| {
        ids(&programs::success(
            daemon.client_of(user, "ps")?.args(["-o", "json"]),
        )?)
    };
    assert_eq!((ps(user)?, ps(&third)?), (vec![id.clone()], vec![]));
    assert_eq!(daemon.ps()?.len(), 2);
    for (user, id) in [(user, roots.id()), (&third, roots.id()), (&third, id.as_str())] {
        for verb in ["verify", "stats", "caps"] {
            let out = programs::output(daemon.client_of(user, verb)?.arg(id))?;
            ensure!(
                out.status.code() == Some(2),
                "{verb} {id}: {}",
                programs::both(&out)
            );
        }
    }
    let all = daemon.client_of(user, "tail")?;
    let all = daemon
        .tail_by(all, "all", &["-o", "json", "--phase", "all"])?
        .events()?;
    ensure!(
        !all.is_empty() && all.iter().all(|event| event.0["container"]["id"] == *id),
        "others' events"
    );
    let status = programs::success(daemon.client_of(&third, "status")?.args(["-o", "json"]))?;
    let status: Value = serde_json::from_str(&status)?;
    assert_eq!(
        (&status["containers"], &status["admitted"]),
        (&0.into(), &0.into()),
        "{status}"
    );

    // Descriptors of others' containers are no right to them, wherever they came from.
    let register = |uid: u32, pid: u32| {
        let mut command = programs::command(programs::workload("register")?);
        let words = [unique_id("stolen"), pid.to_string(), uid.to_string()];
        programs::success(command.arg(daemon.dir()).args(words))
    };
    let sleeper = podman.create(&TRACED, &["/bin/sleep", "1009"])?;
    let pid = podman.start_detached(&sleeper)?;
    for (uid, pid) in [
        (user.uid, roots.init_pid()?),
        (third.uid, roots.init_pid()?),
        (third.uid, pid),
    ] {
        let answer = register(uid, pid)?;
        ensure!(answer.contains("does not own"), "uid {uid}, pid {pid}: {answer}");
    }
    assert_eq!(refused(&daemon, "not_owner")?, 3);

    // Nobody but root begins or ends a trace by hand, whosever the container is.
    for (user, container) in [
        (user, roots.id().to_owned()),
        (user, sleeper.clone()),
        (&third, sleeper.clone()),
        (&third, pid.to_string()),
    ] {
        for verb in ["attach", "detach"] {
            let out = programs::output(daemon.client_of(user, verb)?.arg(&container))?;
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            ensure!(
                out.status.code() == Some(2) && said.contains("root"),
                "{verb} {container}: {}",
                programs::both(&out)
            );
        }
    }
    for id in [roots.id(), &sleeper] {
        assert_eq!(daemon.row(id)?.context("its row")?["state"], "live");
    }
    ensure!(ids(&programs::success(daemon.client("ps").args(["-o", "json"]))?)?.len() == 3);
    roots.kill("KILL")?;
    roots.wait()?;
    Ok(())
}

#[test]
fn a_users_quotas_hold_and_no_container_minds() -> Result<()> {
    let daemon = Daemon::start_with(&[
        "--user-containers",
        "1",
        "--user-event-rate",
        "3001",
        "--user-queue",
        "4K",
    ])?;
    let podman = Podman::hooked(daemon.dir(), Some(User::new()?))?;
    let user = podman.user().context("a user's podman")?;

    // A second container starts untraced while the first lives.
    let first = podman.create(&TRACED, &["/bin/sleep", "1009"])?;
    podman.start_detached(&first)?;
    let second = podman.create(&TRACED, &["/bin/echo", "hello"])?;
    assert_eq!(podman.start(&second)?, "hello\n");
    assert_eq!(refused(&daemon, "user_containers")?, 1);
    assert_eq!(
        (daemon.row(&first)?.is_some(), daemon.row(&second)?),
        (true, None)
    );
    podman.remove(&first)?;
    daemon.verdict_at_end(&first)?.balances()?;

    // More events than it may have are counted and told; the container goes on.
    let loop_of_calls = "i=0; while [ $i -lt 4001 ]; do i=$((i+1)); : >/dev/null; done; echo done";
    let busy = podman.create(&TRACED, &["/bin/sh", "-c", loop_of_calls])?;
    let tail = daemon.tail_all(&busy)?.opened()?;
    let client = daemon.client_of(user, "tail")?;
    let own = daemon
        .tail_by(client, "own", &["-o", "json", "--phase", "all", &busy])?
        .opened()?;
    // It reads nothing until all is told: one that is fast enough would lose nothing.
    own.signal(Signal::STOP)?;
    assert_eq!(podman.start(&busy)?, "done\n");
    let verdict = daemon.verdict_at_end(&busy)?;
    verdict.balances()?;
    let over = verdict.book("dropped/rate_limit")?;
    ensure!(over > 1009 && !verdict.is_complete(), "{}", verdict.0);
    ensure!(verdict.book("emitted")? > 0, "{}", verdict.0);
    let (code, text, _) = tail.end()?;
    assert_eq!(code, Some(1), "events were lost");
    let events = event::parse(&text)?;
    let told = |events: &[Event], reason: &str| -> u64 {
        let losses = events.iter().filter(|event| event.text("type") == "loss");
        losses
            .filter(|loss| loss.text("reason") == reason)
            .filter_map(|loss| loss.0["count"].as_u64())
            .sum()
    };
    assert_eq!(told(&events, "rate_limit"), over);

    // What waits for its reader is bounded, and what that costs is this reader's alone.
    own.signal(Signal::CONT)?;
    let (code, text, complaint) = own.end()?;
    assert_eq!(code, Some(1), "{complaint}");
    let read = event::parse(&text)?
        .iter()
        .filter(|event| event.is_syscall())
        .count();
    let all = events.iter().filter(|event| event.is_syscall()).count();
    ensure!(
        read < all,
        "the user's reader got all {all} calls past its quota of 4 KiB"
    );
    ensure!(
        complaint.contains(&format!("{} dropped for this tail", all - read)),
        "{read} of {all}: {complaint}"
    );
    wait::until("the end of all", wait::LONG, || {
        Ok((daemon.status()?["containers"] == 0).then_some(()))
    })
}
