//! The hook can never break a container, and nobody at its socket can harm the daemon.

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use std::{
    collections::VecDeque,
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::Output,
    time::Duration,
};
use tracer_tests::{Bundle, Daemon, HookStage, Rootfs, Runtime, hook, programs, unique_id, wait};

/// What the hook may take when no daemon is there.
const ABSENT: Duration = Duration::from_millis(50);
/// What it may take at most: its deadline of 1 s and a process.
const STOPPED: Duration = Duration::from_millis(1200);

/// The outcome of a run that took less than that: of a few, since a machine that does something else only adds to it.
fn within(limit: Duration, run: impl Fn() -> Result<(Output, Duration)>) -> Result<Output> {
    const SAMPLES: usize = 5;
    let mut all = Vec::new();
    for _ in 0..SAMPLES {
        let (out, took) = run()?;
        if took < limit {
            return Ok(out);
        }
        all.push(took);
    }
    bail!("none of {all:?} is less than {limit:?}")
}

/// One line that says what happened, on stderr alone.
fn one_line(out: &Output) -> Result<String> {
    let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
    ensure!(
        out.stdout.is_empty(),
        "something on stdout: {}",
        programs::both(out)
    );
    ensure!(
        stderr.trim_end().lines().count() == 1,
        "not one line: {}",
        programs::both(out)
    );
    Ok(stderr)
}

/// The daemon answers, and still takes a container and proves that it sees it.
fn unharmed(daemon: &Daemon) -> Result<()> {
    assert_eq!(daemon.status()?["ready"], true);
    let bundle = Bundle::traced("after", Rootfs::Busybox, &["/bin/true"], daemon)?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.success()?;
    daemon.verdict_at_end(container.id())?.whole()
}

#[test]
fn without_a_daemon_it_returns_at_once() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let init = hook::Init::start()?;
    let state = hook::state(&unique_id("absent"), init.pid).to_string();
    let run = |words: &[&str]| within(ABSENT, || hook::run(dir.path(), words, state.as_bytes()));
    let out = run(&["createRuntime"])?;
    ensure!(out.status.success(), "fail-open: {}", programs::both(&out));
    one_line(&out)?;
    let out = run(&["--fail-closed", "createRuntime"])?;
    ensure!(!out.status.success(), "--fail-closed: {}", programs::both(&out));
    Ok(())
}

#[test]
fn without_a_daemon_the_container_runs() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let bundle = Bundle::new("absent", Rootfs::Busybox, &["/bin/echo", "it runs"])?;
    let mut container = Runtime::Runc.start(
        bundle
            .hook(HookStage::CreateRuntime, dir.path())?
            .annotate("true"),
    )?;
    container.success()?;
    assert_eq!(container.stdout(), "it runs\n");
    Ok(())
}

#[test]
fn a_container_that_was_missed_is_told_later() -> Result<()> {
    let mut daemon = Daemon::start()?;
    daemon.stop()?;
    let args = ["/workloads/calls", "forever"];
    let mut container = Runtime::Runc.start(Bundle::traced("missed", Rootfs::Host, &args, &daemon)?)?;
    container.printed("ready")?;
    daemon.restart()?;
    let id = container.id().to_owned();
    let row = wait::until("the missed container", wait::LONG, || daemon.row(&id))?;
    assert_eq!(row["complete"], false, "{row}");
    container.kill("KILL")?;
    container.wait()?;
    Ok(())
}

#[test]
fn a_stopped_daemon_costs_no_more_than_the_deadline() -> Result<()> {
    let daemon = Daemon::start()?;
    let init = hook::Init::start()?;
    let state = hook::state(&unique_id("stopped"), init.pid).to_string();
    daemon.signal(Signal::STOP)?;
    let run =
        |limit: Duration, words: &[&str]| within(limit, || hook::run(daemon.dir(), words, state.as_bytes()));
    let out = run(STOPPED, &["createRuntime"])?;
    ensure!(out.status.success(), "fail-open: {}", programs::both(&out));
    one_line(&out)?;
    let out = run(
        Duration::from_millis(300),
        &["--timeout", "100ms", "createRuntime"],
    )?;
    ensure!(out.status.success(), "{}", programs::both(&out));

    let bundle = Bundle::traced("stopped", Rootfs::Busybox, &["/bin/echo", "it runs"], &daemon)?;
    let bundle = bundle.deadline("1s")?;
    let mut container = Runtime::Runc.start(bundle)?;
    container.success()?;
    assert_eq!(container.stdout(), "it runs\n");
    daemon.signal(Signal::CONT)?;
    unharmed(&daemon)
}

#[test]
fn an_unusable_state_is_a_clear_error_and_no_obstacle() -> Result<()> {
    let daemon = Daemon::start()?;
    let gone = {
        let init = hook::Init::start()?;
        init.pid
    };
    let good = hook::state(&unique_id("state"), gone).to_string();
    let mut large = hook::state(&unique_id("large"), gone);
    large["annotations"]["x"] = "x".repeat(10 << 20).into();
    let large = large.to_string();
    let mut no_pid = hook::state(&unique_id("no-pid"), 0);
    no_pid.as_object_mut().context("object")?.remove("pid");
    let no_pid = no_pid.to_string();
    let cases: [(&str, &[u8]); 8] = [
        ("a pid that is gone", good.as_bytes()),
        ("10 MB", large.as_bytes()),
        ("no pid", no_pid.as_bytes()),
        ("nothing", b""),
        ("half a state", &good.as_bytes()[..good.len() / 2]),
        ("an array", b"[]"),
        ("no text", &[0xff, 0xfe, 0x00, 0x01]),
        ("deep nesting", &[b'['; 100_000]),
    ];
    for (what, stdin) in cases {
        let out = within(STOPPED, || hook::run(daemon.dir(), &["createRuntime"], stdin))
            .with_context(|| what.to_owned())?;
        ensure!(
            out.status.success(),
            "{what}: fail-open: {}",
            programs::both(&out)
        );
        let line = one_line(&out).with_context(|| what.to_owned())?;
        ensure!(!line.trim().is_empty(), "{what}: says nothing");
        let (out, _) = hook::run(daemon.dir(), &["--fail-closed", "createRuntime"], stdin)?;
        ensure!(
            !out.status.success(),
            "{what}: --fail-closed: {}",
            programs::both(&out)
        );
    }
    unharmed(&daemon)
}

#[test]
fn without_the_annotation_it_does_nothing() -> Result<()> {
    let daemon = Daemon::start()?;
    let init = hook::Init::start()?;
    for value in [None, Some("false"), Some("True"), Some("")] {
        let id = unique_id("plain");
        let mut state = hook::state(&id, init.pid);
        match value {
            Some(value) => state["annotations"]["container-tracer.io/trace"] = value.into(),
            None => drop(state.as_object_mut().context("object")?.remove("annotations")),
        }
        let (out, _) = hook::run(daemon.dir(), &["createRuntime"], state.to_string().as_bytes())?;
        ensure!(
            out.status.success() && out.stderr.is_empty(),
            "{value:?}: {}",
            programs::both(&out)
        );
        ensure!(daemon.row(&id)?.is_none(), "{value:?}: it is traced");
    }
    Ok(())
}

#[test]
fn garbage_at_the_socket_harms_nobody() -> Result<()> {
    let daemon = Daemon::start()?;
    let long = vec![b'x'; 10 << 20];
    let cases: [&[u8]; 7] = [
        b"garbage\n",
        b"{\"v\":1",
        b"{}\n{}\n{}\n",
        b"{\"v\":4294967295,\"op\":\"register\"}\n",
        &[0; 4096],
        &[0xff; 70_000],
        &long,
    ];
    for (number, case) in cases.iter().enumerate() {
        let mut stream = UnixStream::connect(daemon.hook_socket())?;
        stream.set_read_timeout(Some(wait::LONG))?;
        stream.set_write_timeout(Some(wait::LONG))?;
        // The daemon may hang up before it has taken it all, and owes no answer: but it must end the conversation.
        drop(stream.write_all(case));
        drop(stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(why) if why.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(why) => {
                return Err(why).with_context(|| format!("case {number}: the daemon did not hang up"));
            }
        }
    }
    assert_eq!(daemon.ps()?, Vec::<serde_json::Value>::new());
    unharmed(&daemon)
}

/// Registers process PID as ID and never proves it; prints each message of the daemon's, to the end of the conversation.
const SILENT: &str = r#"
import json, os, socket, sys
path, id, pid = sys.argv[1:]
fds = [os.pidfd_open(int(pid))] + [os.open(f"/proc/{pid}/ns/{ns}", os.O_RDONLY) for ns in ("pid", "mnt")]
with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon:
    daemon.connect(path)
    message = {"op": "register", "v": 1, "id": id, "bundle": "/b", "annotations": {"container-tracer.io/trace": "true"}}
    socket.send_fds(daemon, [json.dumps(message).encode() + b"\n"], fds)
    for line in daemon.makefile():
        print(json.loads(line)["op"])
"#;

#[test]
fn who_never_proves_is_traced_and_watched_all_the_same() -> Result<()> {
    let daemon = Daemon::quiet()?;
    let init = hook::Init::start()?;
    let id = unique_id("silent");
    let mut peer = programs::command("python3");
    let socket = daemon.hook_socket();
    peer.args(["-c", SILENT])
        .arg(socket)
        .args([&id, &init.pid.to_string()]);
    // After its time the daemon says so and hangs up.
    assert_eq!(programs::success(&mut peer)?, "challenge\nrefused\n");
    let row = daemon.row(&id)?.context("it is not traced")?;
    assert_eq!(
        (&row["state"], &row["complete"]),
        (&"live".into(), &false.into()),
        "{row}"
    );
    drop(init);
    // Its end is seen, the programs go, and the proof that never came is no longer waited for.
    let verdict = daemon.verdict_at_end(&id)?;
    assert_eq!(
        verdict.0["reason"], "the proof round has not come back",
        "{}",
        verdict.0
    );
    daemon.detached()?;
    unharmed(&daemon)
}

#[test]
fn ten_thousand_connections_do_not_stop_it() -> Result<()> {
    let daemon = Daemon::start()?;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )?;
    // Where fewer may be open at once, the oldest make room for the newest.
    const SPARE: u64 = 64;
    let most = limit.maximum.map_or(u64::MAX, |most| most.saturating_sub(SPARE));
    let mut open = VecDeque::new();
    let mut refused = 0;
    for _ in 0..10_000 {
        if open.len() as u64 >= most {
            open.pop_front();
        }
        // The backlog may be full: a non-blocking socket is refused then, where a blocking one would wait here.
        match connect_at_once(&daemon)? {
            Some(socket) => open.push_back(socket),
            None => refused += 1,
        }
    }
    eprintln!("{} open, {refused} refused", open.len());
    assert_eq!(daemon.status()?["ready"], true, "it answers while they are open");
    drop(open);
    // As soon as they are gone, a hook finds its way again.
    wait::until("the daemon to take a container", wait::LONG, || {
        Ok(unharmed(&daemon).ok())
    })
}

fn connect_at_once(daemon: &Daemon) -> Result<Option<std::os::fd::OwnedFd>> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(daemon.hook_socket())?) {
        Ok(()) => Ok(Some(socket)),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(why) => Err(why).context("connect to hook.sock"),
    }
}
