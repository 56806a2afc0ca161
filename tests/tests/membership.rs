//! Which task belongs to which container: each case that could be taken for another.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::{fs, os::unix::fs::MetadataExt, path::PathBuf};
use tracer_tests::{Bundle, Container, Daemon, Event, Rootfs, Runtime, bundle, hook, programs};

/// The call that only our workloads make.
const OURS: &str = "sched_get_priority_max";

fn calls(n: u64) -> [String; 3] {
    ["/workloads/calls".to_owned(), n.to_string(), OURS.to_owned()]
}

fn traced(daemon: &Daemon, what: &str, args: &[String]) -> Result<Bundle> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Bundle::traced(what, Rootfs::Host, &args, daemon)
}

/// Our calls by the aggregates.
fn counted(daemon: &Daemon, id: &str) -> Result<u64> {
    Ok(daemon.stats(id)?.counts()?.get(OURS).copied().unwrap_or(0))
}

/// Our calls by the events.
fn delivered(events: &[Event]) -> u64 {
    events.iter().filter(|event| event.syscall() == OURS).count() as u64
}

fn primes(after: u64) -> impl Iterator<Item = u64> {
    (after..).filter(|n| (2..).take_while(|d| d * d <= *n).all(|d| n % d != 0))
}

#[test]
fn fifty_at_once_keep_their_own_books() -> Result<()> {
    let daemon = Daemon::start()?;
    let mut running: Vec<(u64, Container)> = Vec::new();
    for prime in primes(1000).take(50) {
        running.push((
            prime,
            Runtime::Runc.start(traced(&daemon, "fifty", &calls(prime))?)?,
        ));
    }
    let mut wrong = Vec::new();
    for (prime, container) in &mut running {
        container.success()?;
        let verdict = daemon.verdict_at_end(container.id())?;
        let counted = counted(&daemon, container.id())?;
        if counted != *prime {
            wrong.push(format!(
                "{}: counted {counted} of {prime}: {}",
                container.id(),
                verdict.0
            ));
        }
        wrong.extend(verdict.whole().err().map(|why| format!("{why:#}")));
    }
    ensure!(wrong.is_empty(), "{} of 50:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

#[test]
fn one_that_ends_at_once_is_whole() -> Result<()> {
    let daemon = Daemon::start()?;
    for _ in 0..7 {
        let bundle = Bundle::traced("short", Rootfs::Busybox, &["/bin/true"], &daemon)?;
        let tail = daemon.tail(&bundle.id, &["-o", "json"])?;
        let mut container = Runtime::Runc.start(bundle)?;
        container.success()?;
        let events = tail.events()?;
        let names: Vec<&str> = events
            .iter()
            .filter(|event| event.is_syscall())
            .map(Event::syscall)
            .collect();
        ensure!(
            names.first() == Some(&"execve") && names.last() == Some(&"exit_group"),
            "{names:?}"
        );
        daemon.verdict_at_end(container.id())?.whole()?;
    }
    Ok(())
}

#[test]
fn with_the_hosts_pid_namespace_the_mount_namespace_decides() -> Result<()> {
    let daemon = Daemon::start()?;
    let bundle = traced(&daemon, "hostpid", &calls(1013))?.namespace("pid", None)?;
    let tail = daemon.tail_all(&bundle.id)?;
    let mut container = Runtime::Runc.start(bundle)?;
    // The same call on the host, in the same PID namespace, meanwhile.
    programs::success(programs::command(programs::workload("calls")?).args(["2003", OURS]))?;
    container.success()?;
    let events = tail.events()?;
    daemon.verdict_at_end(container.id())?.whole()?;
    assert_eq!(
        (counted(&daemon, container.id())?, delivered(&events)),
        (1013, 1013),
        "aggregates and events"
    );
    Ok(())
}

#[test]
fn with_both_namespaces_of_the_host_it_is_refused() -> Result<()> {
    let daemon = Daemon::start()?;
    let state = hook::state("tt-host", std::process::id()).to_string();
    let out = hook::patient(
        daemon.dir(),
        &["--fail-closed", "createRuntime"],
        state.as_bytes(),
    )?;
    ensure!(
        !out.status.success(),
        "the host is traced: {}",
        programs::both(&out)
    );
    let stderr = String::from_utf8_lossy(&out.stderr);
    ensure!(stderr.contains("namespace"), "the reason is not told: {stderr}");
    let rows = daemon.ps()?;
    ensure!(rows.iter().all(|row| row["state"] != "live"), "{rows:?}");
    Ok(())
}

#[test]
fn two_that_share_a_pid_namespace_are_told_apart() -> Result<()> {
    let daemon = Daemon::start()?;
    // The first lives until the second is done; the second lives in its PID namespace.
    let script = format!("/workloads/calls 1019 {OURS}; read line </scratch/end; exit 0");
    let args = ["/bin/sh".to_owned(), "-c".to_owned(), script];
    let first = traced(&daemon, "first", &args)?;
    let fifo = first.fifo("end")?;
    let mut first = Runtime::Runc.start(first)?;
    first.printed("done 1019")?;
    let shared = PathBuf::from(format!("/proc/{}/ns/pid", first.init_pid()?));
    let second = traced(&daemon, "second", &calls(1021))?.namespace("pid", Some(shared))?;
    let mut second = Runtime::Runc.start(second)?;
    second.success()?;
    fs::write(&fifo, "end\n")?;
    first.success()?;
    for (container, calls) in [(&first, 1019), (&second, 1021)] {
        daemon.verdict_at_end(container.id())?.whole()?;
        assert_eq!(counted(&daemon, container.id())?, calls, "{}", container.id());
    }
    Ok(())
}

#[test]
fn what_unshares_inside_stays_a_member() -> Result<()> {
    let daemon = Daemon::start()?;
    let args = ["/workloads/unshare_inside".to_owned(), "1031".to_owned()];
    let bundle = traced(&daemon, "unshare", &args)?.capability("CAP_SYS_ADMIN");
    let tail = daemon.tail_all(&bundle.id)?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.success()?;
    let events = tail.events()?;
    daemon.verdict_at_end(container.id())?.whole()?;
    assert_eq!(
        (counted(&daemon, container.id())?, delivered(&events)),
        (1031, 1031),
        "aggregates and events"
    );
    Ok(())
}

#[test]
fn what_joins_later_is_marked() -> Result<()> {
    let daemon = Daemon::start()?;
    let script = "echo ready; read line </scratch/end; exit 0";
    let args = ["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()];
    let bundle = traced(&daemon, "exec", &args)?;
    let fifo = bundle.fifo("end")?;
    let tail = daemon.tail_all(&bundle.id)?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.printed("ready")?;
    assert_eq!(
        container.exec(&["/workloads/calls", "1033", OURS])?,
        "done 1033\n"
    );
    fs::write(&fifo, "end\n")?;
    container.success()?;
    let events = tail.events()?;
    daemon.verdict_at_end(container.id())?.whole()?;
    let ours: Vec<&Event> = events.iter().filter(|event| event.syscall() == OURS).collect();
    assert_eq!(
        (ours.len(), counted(&daemon, container.id())?),
        (1033, 1033),
        "events and aggregates"
    );
    ensure!(
        ours.iter().all(|event| event.text("via") == "exec"),
        "an exec'ed task not marked as joined"
    );
    ensure!(
        ours.iter().all(|event| event.0["pid"] != event.0["host_pid"]),
        "an exec'ed task has the host's numbers: {}",
        ours[0].0
    );
    // pid 1 of the container and the shell's children were there from the start.
    let init = events
        .iter()
        .filter(|event| event.is_syscall() && event.is_app() && event.0["pid"] == 1);
    ensure!(
        init.clone().count() > 0 && init.clone().all(|event| event.text("via") == "start"),
        "init is marked"
    );
    Ok(())
}

#[test]
fn an_init_that_is_killed_ends_whole() -> Result<()> {
    let daemon = Daemon::start()?;
    // It is killed inside a call that does not return.
    let args = [
        "/bin/sh".to_owned(),
        "-c".to_owned(),
        "echo ready; read line </scratch/never".to_owned(),
    ];
    let bundle = traced(&daemon, "killed", &args)?;
    bundle.fifo("never")?;
    let tail = daemon.tail_all(&bundle.id)?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.printed("ready")?;
    container.stands_in(libc::SYS_openat)?;
    container.kill("KILL")?;
    let status = container.wait()?;
    assert_eq!(status.code(), Some(137), "{}", container.outputs());
    let events = tail.events()?;
    daemon.verdict_at_end(container.id())?.whole()?;
    let last = events
        .iter()
        .rfind(|event| event.is_syscall())
        .context("no system call")?;
    assert_eq!(
        (last.syscall(), &last.0["unfinished"]),
        ("openat", &json!(true)),
        "{}",
        last.0
    );
    Ok(())
}

/// The end of init and the runtime's poststop both tell of a container's end; the second comes while the books of so
/// many calls are being closed.
#[test]
fn an_end_that_is_told_twice_reaches_those_who_wait_for_it() -> Result<()> {
    const CALLS: u64 = 100_003;
    let daemon = Daemon::start()?;
    for runtime in [Runtime::Crun, Runtime::Runc].into_iter().cycle().take(10) {
        let args = [
            "/workloads/calls".to_owned(),
            CALLS.to_string(),
            "sched_get_priority_max".to_owned(),
        ];
        let bundle = traced(&daemon, "twice", &args)?;
        let tail = daemon.tail(&bundle.id, &["-o", "text"])?.opened()?;
        let mut container = runtime.start(bundle)?.quiet();
        container.success()?;
        tail.text()?;
        daemon.detached()?;
        daemon.verdict_at_end(container.id())?.whole()?;
    }
    Ok(())
}

#[test]
fn calls_that_seccomp_refused_are_seen_and_said_so() -> Result<()> {
    let daemon = Daemon::start()?;
    let mut bundle = traced(
        &daemon,
        "seccomp",
        &["/workloads/seccomp_denied".to_owned(), "1039".to_owned()],
    )?;
    bundle.config["linux"]["seccomp"] = bundle::refuse(OURS);
    let tail = daemon.tail_all(&bundle.id)?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.success()?;
    assert_eq!(container.stdout(), "refused 1039\n");
    let events = tail.events()?;
    daemon.verdict_at_end(container.id())?.whole()?;
    let ours: Vec<&Event> = events.iter().filter(|event| event.syscall() == OURS).collect();
    assert_eq!(
        (ours.len(), counted(&daemon, container.id())?),
        (1039, 1039),
        "events and aggregates"
    );
    let said = ours
        .iter()
        .all(|event| event.text("denied_by") == "seccomp" && event.text("errno") == "EPERM");
    ensure!(
        said,
        "not all say who refused: {}",
        ours.first().context("none")?.0
    );
    Ok(())
}

#[test]
fn a_reused_namespace_inode_is_never_the_old_container() -> Result<()> {
    let daemon = Daemon::start()?;
    let inode = |container: &Container| -> Result<u64> {
        Ok(fs::metadata(format!("/proc/{}/ns/mnt", container.init_pid()?))?.ino())
    };
    let living = |bundle: Bundle| -> Result<Container> {
        bundle.fifo("end")?;
        let mut container = Runtime::Runc.start(bundle)?;
        container.printed("ready")?;
        Ok(container)
    };
    let end = |container: &mut Container| -> Result<()> {
        fs::write(container.bundle.scratch().join("end"), "end\n")?;
        container.success()
    };
    let script = |n: u64| format!("/workloads/calls {n} {OURS}; echo ready; read line </scratch/end; exit 0");
    let args = |n: u64| ["/bin/sh".to_owned(), "-c".to_owned(), script(n)];

    let mut old = living(traced(&daemon, "old", &args(1049))?)?;
    let number = inode(&old)?;
    end(&mut old)?;
    let before = daemon.verdict_at_end(old.id())?;
    before.whole()?;

    // The kernel gives the lowest free number, so the next namespace tends to get the old one's, if no other of this machine
    // is faster. Untraced and traced: neither may show up in the old container, nor the old one in them.
    let mut reused = 0;
    for (turn, prime) in primes(1050).take(50).enumerate() {
        if turn >= 10 && reused > 0 {
            break;
        }
        let new = args(prime);
        let traces = turn % 2 == 1;
        let bundle = if traces {
            traced(&daemon, "new", &new)?
        } else {
            let words: Vec<&str> = new.iter().map(String::as_str).collect();
            Bundle::new("new", Rootfs::Host, &words)?
        };
        let mut container = living(bundle)?;
        reused += u32::from(inode(&container)? == number);
        end(&mut container)?;
        if traces {
            daemon.verdict_at_end(container.id())?.whole()?;
            assert_eq!(counted(&daemon, container.id())?, prime, "turn {turn}");
        }
        let after = daemon.verify(old.id())?;
        assert_eq!(
            after.0["books"], before.0["books"],
            "turn {turn}: the old container's books moved"
        );
    }
    assert_eq!(counted(&daemon, old.id())?, 1049);
    ensure!(
        reused > 0,
        "no namespace reused inode {number}: this machine cannot show what this test is for"
    );
    Ok(())
}
