//! The hook's program against daemons that answer, refuse, lie, stop half-way or say nothing. No root, no kernel
//! program and no daemon is needed; `with_runc` needs root and runc.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it must be"
)]

mod daemon;
mod with_runc;
mod wrapper;

use std::{
    io::Write,
    os::{fd::AsRawFd, unix::net::UnixListener},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use daemon::Directory;
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with},
};
use serde_json::{Value, json};
use tracer_hook::protocol::{MAX_MESSAGE, Receipt, Reply, Request};

const HOOK: &str = env!("CARGO_BIN_EXE_tracer-hook");
const RECEIPT: Receipt = Receipt {
    armed_at_ns: 5,
    round_trip_ns: 7,
    already: false,
};
/// The default timeout, and what a busy machine may add.
const TIMEOUT: Duration = Duration::from_millis(1200);

/// A process that lives until it is dropped, and stands for a container's init.
struct Init(Child);

impl Init {
    fn start() -> Self {
        Self(
            Command::new("cat")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Its state as runc writes it, asking for trace.
    fn state(&self) -> Value {
        json!({
            "ociVersion": "1.0.2-dev", "id": "web", "status": "creating", "pid": self.pid(), "bundle": "/b",
            "annotations": {"container-tracer.io/trace": "true", "org.example": "x"},
        })
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// How the hook ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stderr: String,
    took: Duration,
}

impl Ended {
    /// It succeeded and had nothing to say.
    fn silently(&self) {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""));
    }

    /// It ended with `code` in time and said why in one line.
    fn says(&self, code: i32, text: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains(text), "{text:?} is not in {self:?}");
        assert!(
            self.stderr.starts_with("tracer-hook: ") && self.stderr.ends_with('\n'),
            "{self:?}"
        );
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(self.took < TIMEOUT, "{self:?}");
    }
}

fn command(dir: &Directory, words: &[&str]) -> Command {
    let mut command = Command::new(HOOK);
    command
        .args(words)
        .arg("--runtime-dir")
        .arg(dir.path())
        .env_clear();
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn hook(dir: &Directory, words: &[&str], state: impl AsRef<[u8]>) -> Ended {
    let started = Instant::now();
    let mut child = command(dir, words).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(state.as_ref())
        .expect("the hook reads its state to the end");
    ended(child.wait_with_output().unwrap(), started)
}

fn ended(output: Output, started: Instant) -> Ended {
    assert_eq!(
        output.stdout, b"",
        "a hook's standard output belongs to the runtime"
    );
    let stderr = String::from_utf8(output.stderr).unwrap();
    Ended {
        code: output.status.code(),
        stderr,
        took: started.elapsed(),
    }
}

#[test]
fn a_container_is_registered_and_proved() {
    let (dir, init) = (Directory::new(), Init::start());
    let pid = init.pid();
    let daemon = dir.daemon(move |mut peer| {
        let (request, [pidfd, pid_ns, mnt_ns]) = peer.registered();
        assert_eq!(
            peer.pid_and_threads().1,
            1,
            "the peer's pid is the task that proves"
        );
        peer.challenge(i64::MAX as u64);
        peer.challenge(0); // repeated: the ring was full
        peer.say(&Reply::Ready { receipt: RECEIPT });
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
        assert!(info.lines().any(|line| line == format!("Pid:\t{pid}")), "{info}");
        for (fd, name) in [(pid_ns, "pid"), (mnt_ns, "mnt")] {
            let passed = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
            assert_eq!(
                passed,
                std::fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap()
            );
        }
        request
    });
    hook(&dir, &["createRuntime"], init.state().to_string()).silently();
    let annotations = [("container-tracer.io/trace".to_owned(), "true".to_owned())].into();
    let want = Request::Register {
        v: 1,
        id: "web".into(),
        bundle: "/b".into(),
        annotations,
        late: false,
    };
    assert_eq!(daemon.join().unwrap(), want);
    assert!(dir.markers().is_empty());
}

/// Follows the hook's system calls: the proof is exactly `lseek(-1, nonce, SEEK_SET)`, between challenge and proved.
#[test]
fn the_proof_is_the_documented_call() {
    const NONCE: u64 = 0x1234_5678_9abc_def0;
    let (dir, init) = (Directory::new(), Init::start());
    let daemon = dir.daemon(|mut peer| {
        let pid = peer.pid_and_threads().0;
        peer.registered();
        peer.challenge(NONCE);
        peer.say(&Reply::Ready { receipt: RECEIPT });
        pid
    });
    let mut command = command(&dir, &["createRuntime"]);
    // SAFETY: ptrace(2) is one system call, and allocates nothing between fork and exec.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(&mut command, || {
            match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            }
        });
    }
    let started = Instant::now();
    let mut child = command.spawn().expect("ptrace is allowed");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(init.state().to_string().as_bytes())
        .unwrap();
    let pid = child.id().cast_signed();
    let mut calls = Vec::new();
    let status = loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place; `pid` is our child, which nobody else waits for.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        if !libc::WIFSTOPPED(status) {
            break status;
        }
        // SAFETY: a plain structure, of which all zeroes is a value.
        let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
        // SAFETY: the child is stopped, and the kernel writes at most the size that it is told.
        unsafe {
            libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, libc::PTRACE_O_TRACESYSGOOD);
            libc::ptrace(
                libc::PTRACE_GET_SYSCALL_INFO,
                pid,
                size_of_val(&info),
                &raw mut info,
            );
            libc::ptrace(libc::PTRACE_SYSCALL, pid, 0, 0);
        }
        if info.op == libc::PTRACE_SYSCALL_INFO_ENTRY {
            // SAFETY: `op` says that `entry` is the part that the kernel filled.
            let entry = unsafe { info.u.entry };
            calls.push((entry.nr as libc::c_long, entry.args));
        }
    };
    assert_eq!(daemon.join().unwrap(), pid);
    std::mem::forget(child); // waited for above; std must not wait for a number that may be another's by now
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 && started.elapsed() < TIMEOUT);
    let at = calls
        .iter()
        .position(|(nr, args)| *nr == libc::SYS_lseek && args[1] == NONCE)
        .expect("the proof");
    let (_, proof) = calls[at];
    assert_eq!((proof[0] as i32, proof[2]), (-1, libc::SEEK_SET as u64));
    assert_eq!(
        calls[at - 1].0,
        libc::SYS_recvfrom,
        "the proof is the next call after the challenge"
    );
    assert_eq!(
        calls[at + 1].0,
        libc::SYS_sendmsg,
        "and `proved` is the next after it"
    );
}

#[test]
fn a_refusal_is_told_and_leaves_no_marker() {
    for (words, code) in [(&["prestart"][..], 0), (&["prestart", "--fail-closed"], 1)] {
        let (dir, init) = (Directory::new(), Init::start());
        let daemon = dir.daemon(|mut peer| {
            peer.registered();
            peer.say(&Reply::Refused {
                reason: "quota of uid 7\n\u{1b}[2J reached".into(),
            });
        });
        let ended = hook(&dir, words, init.state().to_string());
        ended.says(
            code,
            "container web is not traced: daemon refused: quota of uid 7\\n\\u{1b}[2J reached",
        );
        daemon.join().unwrap();
        assert!(dir.markers().is_empty(), "the daemon knows");
    }
}

#[test]
fn a_refusal_is_heard_from_a_daemon_that_does_not_read() {
    let (dir, init) = (Directory::new(), Init::start());
    let daemon = dir.daemon(|mut peer| {
        peer.say(&Reply::Refused {
            reason: "too many connections".into(),
        })
    });
    hook(&dir, &[], init.state().to_string()).says(0, "too many connections");
    daemon.join().unwrap();
}

#[test]
fn a_container_that_is_registered_needs_no_proof_and_another_does() {
    for (already, code) in [(true, 0), (false, 1)] {
        let (dir, init) = (Directory::new(), Init::start());
        let daemon = dir.daemon(move |mut peer| {
            peer.registered();
            peer.say(&Reply::Ready {
                receipt: Receipt { already, ..RECEIPT },
            });
        });
        let ended = hook(&dir, &["--on-failure", "block"], init.state().to_string());
        daemon.join().unwrap();
        if already {
            ended.silently()
        } else {
            ended.says(code, "out of place")
        }
    }
}

#[test]
fn a_silent_daemon_costs_the_timeout_and_leaves_a_marker() {
    let (dir, init) = (Directory::new(), Init::start());
    let daemon = dir.daemon(daemon::Peer::until_closed);
    let ended = hook(&dir, &["createRuntime"], init.state().to_string());
    ended.says(0, "daemon was too slow (waiting for the reply to the request)");
    daemon.join().unwrap();
    let marker = &dir.markers()[0];
    assert_eq!(
        (marker.id.as_str(), marker.bundle.as_str(), marker.pid),
        ("web", "/b", i64::from(init.pid()))
    );
    assert!(ended.stderr.contains(&marker.reason), "{ended:?}");
    let inode = |name: &str| {
        let path = format!("/proc/{}/ns/{name}", init.pid());
        std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap())
    };
    assert_eq!(
        (marker.pid_ns, marker.mnt_ns),
        (Some(inode("pid")), Some(inode("mnt")))
    );
    assert!(marker.pid_start.is_some_and(|ticks| ticks > 0));
    assert_eq!(marker.annotations.len(), 1);
    assert_eq!(marker.time.len(), "2026-01-01T00:00:00.000Z".len());
}

#[test]
fn a_stopped_daemon_is_a_silent_daemon() {
    let (dir, init) = (Directory::new(), Init::start());
    let _never_accepts = UnixListener::bind(dir.socket()).unwrap();
    let ended = hook(&dir, &["--timeout=300ms"], init.state().to_string());
    ended.says(0, "daemon was too slow");
    assert!(
        ended.took >= Duration::from_millis(300) && ended.took < Duration::from_millis(500),
        "{ended:?}"
    );
}

#[test]
fn a_full_backlog_costs_the_timeout() {
    let (dir, init) = (Directory::new(), Init::start());
    let address = SocketAddrUnix::new(dir.socket()).unwrap();
    let listener = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    bind(&listener, &address).unwrap();
    listen(&listener, 0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        match connect(&socket, &address) {
            Ok(()) => waiting.push(socket),
            Err(Errno::AGAIN) => break,
            Err(errno) => panic!("{errno}"),
        }
    }
    let ended = hook(&dir, &["--fail-closed"], init.state().to_string());
    ended.says(1, "daemon was too slow (waiting for it to accept the connection)");
    assert!(
        dir.markers().is_empty(),
        "a container that does not start is not missed"
    );
    hook(&dir, &[], init.state().to_string()).says(0, "noted in");
    assert_eq!(dir.markers().len(), 1);
}

#[test]
fn broken_replies_are_told() {
    for (reply, says) in [
        (&b"{\"op\":\"chall"[..], "daemon closed the connection"),
        (b"", "daemon closed the connection"),
        (b"\xff\xfe\n", "malformed"),
        (b"\n", "malformed"),
        (b"{\"op\":\"dance\"}\n", "unknown variant `dance`"),
        (
            b"{\"op\":\"challenge\",\"nonce\":\"18446744073709551615\"}\n",
            "above 2^63-1",
        ),
        (b"{\"op\":\"ok\"}\n", "out of place"),
        (&[b'x'; MAX_MESSAGE], "longer than 65536 bytes"),
    ] {
        let (dir, init) = (Directory::new(), Init::start());
        let daemon = dir.daemon(move |mut peer| {
            peer.registered();
            peer.say_bytes(reply);
        });
        let ended = hook(&dir, &["createRuntime"], init.state().to_string());
        ended.says(0, says);
        assert!(
            ended.took < Duration::from_millis(500),
            "it does not wait for more: {ended:?}"
        );
        daemon.join().unwrap();
        assert_eq!(dir.markers().len(), 1);
    }
}

#[test]
fn half_a_reply_costs_the_timeout() {
    let (dir, init) = (Directory::new(), Init::start());
    let daemon = dir.daemon(|mut peer| {
        peer.registered();
        peer.challenge(7);
        peer.say_bytes(b"{\"op\":\"ready\",\"receipt\":{");
        peer.until_closed();
    });
    let ended = hook(&dir, &["--timeout", "300ms"], init.state().to_string());
    ended.says(0, "waiting for the reply to the proof");
    daemon.join().unwrap();
}

#[test]
fn an_absent_daemon_costs_nothing() {
    let (dir, init) = (Directory::new(), Init::start());
    let took = (0..5).map(|_| {
        let ended = hook(&dir, &["createRuntime"], init.state().to_string());
        ended.says(0, "no daemon listens on");
        ended.took
    });
    assert!(took.min().unwrap() < Duration::from_millis(50));
    drop(UnixListener::bind(dir.socket()).unwrap()); // a socket that a dead daemon left
    let ended = hook(
        &dir,
        &["createRuntime", "--on-failure=block"],
        init.state().to_string(),
    );
    ended.says(1, "start it with 'systemctl start tracer'");
    assert_eq!(dir.markers().len(), 1, "one for each container");
}

#[test]
fn a_container_that_does_not_ask_is_left_alone() {
    let (dir, init) = (Directory::new(), Init::start());
    let listener = UnixListener::bind(dir.socket()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut state = init.state();
    for annotations in [
        json!({}),
        json!(null),
        json!({"container-tracer.io/trace": "false"}),
    ] {
        state["annotations"] = annotations;
        state["id"] = json!("");
        hook(&dir, &["createRuntime", "--fail-closed"], state.to_string()).silently();
        hook(&dir, &["poststop"], state.to_string()).silently();
    }
    assert_eq!(
        listener.accept().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock,
        "nobody connected"
    );
    assert!(!dir.path().join("missed").exists());
}

#[test]
fn all_registers_without_the_annotation() {
    let (dir, init) = (Directory::new(), Init::start());
    let daemon = dir.daemon(|mut peer| {
        peer.registered();
        peer.challenge(7);
        peer.say(&Reply::Ready { receipt: RECEIPT });
    });
    let mut state = init.state();
    state["annotations"] = Value::Null;
    hook(&dir, &["--all"], state.to_string()).silently();
    daemon.join().unwrap();
}

#[test]
fn states_that_are_none_are_told() {
    let dir = Directory::new();
    let big = vec![b' '; 10 << 20];
    for (state, says) in [
        (&b""[..], "state on standard input is empty"),
        (b"garbage", "is no OCI state"),
        (b"{\"id\":\"web\"", "is no OCI state"),
        (&big, "longer than 1048576 bytes"),
    ] {
        hook(&dir, &["createRuntime"], state).says(0, says);
        hook(&dir, &["createRuntime", "--fail-closed"], state).says(1, says);
        hook(&dir, &["poststop", "--fail-closed"], state).says(0, says);
    }
}

#[test]
fn a_state_that_does_not_end_costs_the_timeout() {
    let dir = Directory::new();
    let started = Instant::now();
    let mut child = command(&dir, &["createRuntime"]).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"{\"id\":").unwrap();
    ended(child.wait_with_output().unwrap(), started).says(0, "did not end in time");
    drop(stdin);
}

#[test]
fn ids_and_pids_that_cannot_be_are_told() {
    let (dir, init) = (Directory::new(), Init::start());
    let gone = {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    };
    for (field, value, says) in [
        (
            "id",
            json!(""),
            "tracer-hook: container is not traced: container id is empty",
        ),
        ("id", json!("x".repeat(1025)), "container id has 1025 bytes"),
        (
            "id",
            json!("a\nb"),
            "container a\\nb is not traced: container id holds a control character",
        ),
        ("bundle", json!("x".repeat(4097)), "bundle path has 4097 bytes"),
        ("pid", json!(0), "state has pid 0, which is no container's init"),
        ("pid", json!(1), "wire the hook as createRuntime"),
        ("pid", json!(null), "state has pid 0"),
        ("pid", json!(gone), "has ended before it could be traced"),
    ] {
        let mut state = init.state();
        state[field] = value;
        hook(&dir, &["createRuntime"], state.to_string()).says(0, says);
        hook(&dir, &["createRuntime", "--fail-closed"], state.to_string()).says(1, says);
    }
    assert!(
        std::fs::read_dir(dir.path())
            .unwrap()
            .all(|entry| entry.unwrap().file_name() == "missed")
    );
}

#[test]
fn an_id_is_no_path() {
    let (dir, init) = (Directory::new(), Init::start());
    let mut state = init.state();
    state["id"] = json!("../../../escaped");
    hook(&dir, &[], state.to_string()).says(0, "noted in");
    assert_eq!(dir.markers()[0].id, "../../../escaped");
}

#[test]
fn annotations_are_cut_to_what_fits() {
    let (dir, init) = (Directory::new(), Init::start());
    let daemon = dir.daemon(|mut peer| {
        let (request, _fds) = peer.registered();
        peer.challenge(7);
        peer.say(&Reply::Ready { receipt: RECEIPT });
        request
    });
    let mut state = init.state();
    for n in 0..90 {
        state["annotations"][format!("org.opencontainers.image.{n}")] = json!("\u{1}".repeat(n * 10));
    }
    state["bundle"] = json!("\u{1}".repeat(4096));
    hook(&dir, &["createRuntime"], state.to_string()).silently();
    let Request::Register { annotations, .. } = daemon.join().unwrap() else {
        panic!()
    };
    assert!(annotations.contains_key("container-tracer.io/trace") && annotations.len() < 90);
}

#[test]
fn poststop_tells_the_daemon_and_never_fails() {
    let stopped = r#"{"id":"web","status":"stopped","annotations":{"container-tracer.io/trace":"true"}}"#;
    for words in [&["poststop", "--fail-closed"][..], &["--fail-closed"]] {
        let dir = Directory::new();
        hook(&dir, words, stopped).silently(); // nobody there
        let daemon = dir.daemon(|mut peer| {
            let (request, fds) = peer.receive();
            assert!(fds.is_empty());
            peer.say(&Reply::Ok);
            request
        });
        hook(&dir, words, stopped).silently();
        assert_eq!(
            daemon.join().unwrap(),
            Request::Gone {
                v: 1,
                id: "web".into()
            }
        );
        std::fs::remove_file(dir.socket()).unwrap();
        let _never_accepts = UnixListener::bind(dir.socket()).unwrap();
        let ended = hook(&dir, words, stopped);
        ended.says(0, "end was not told: daemon was too slow");
        assert!(ended.took < Duration::from_millis(400), "{ended:?}");
        assert!(dir.markers().is_empty());
    }
}

#[test]
fn a_wrong_command_line_stops_no_container() {
    let (dir, init) = (Directory::new(), Init::start());
    hook(&dir, &["startContainer"], init.state().to_string()).says(0, "the stages are");
    hook(&dir, &["--timeout=soon"], init.state().to_string()).says(0, "1ms to 60s");
    hook(&dir, &["--fail-closed", "--nonsense"], init.state().to_string()).says(1, "unknown");
}

#[test]
fn nobody_reads_standard_error() {
    let (dir, init) = (Directory::new(), Init::start());
    let mut child = command(&dir, &[]).spawn().unwrap();
    drop(child.stderr.take());
    child
        .stdin
        .take()
        .unwrap()
        .write_all(init.state().to_string().as_bytes())
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// The form is oci-hooks(5), version 1.0.0.
#[test]
fn the_committed_hook_file_asks_what_the_hook_asks() {
    let file: Value = serde_json::from_str(include_str!("../../oci/10-tracer.json")).unwrap();
    assert_eq!(file["version"], "1.0.0");
    assert_eq!(file["stages"], json!(["createRuntime", "poststop"]));
    assert_eq!(
        file["when"],
        json!({"annotations": {"^container-tracer\\.io/trace$": "^true$"}})
    );
    assert_eq!(
        file["hook"]["args"],
        json!(["tracer-hook"]),
        "without a stage: poststop is told by the status"
    );
    assert!(
        file["hook"]["timeout"].as_u64() > Some(1),
        "the hook's own deadline comes first"
    );
}
