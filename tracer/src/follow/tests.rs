//! What is followed, by made-up calls.

use std::sync::Arc;

use super::*;
use crate::{
    event::{Comm, Container, Exit, Loss, LossReason, Task},
    explain::rules::testing::failed,
};

const PID: u32 = 70;

fn event(ktime: u64, body: Body) -> Event {
    Event {
        time_ns: ktime,
        ktime,
        container: Arc::new(Container::default()),
        body,
    }
}

fn task(pid: u32) -> Task {
    Task {
        pid: pid - 60,
        tid: pid - 60,
        host_pid: pid,
        host_tid: pid,
        ..Task::default()
    }
}

/// A call of a process, which returned that value.
fn of(pid: u32, name: &'static str, value: i64, args: &[(&'static str, u64, &str)]) -> Syscall {
    let mut call = failed(name, libc::EBADF, args);
    call.task = task(pid);
    call.outcome = Outcome::Value(value);
    call
}

fn fails(mut call: Syscall, errno: i32) -> Syscall {
    call.outcome = Outcome::Error(errno as u16);
    call
}

fn open(value: i64, path: &str, flags: &str) -> Syscall {
    let args = [
        ("dfd", 0xffff_ff9c, "AT_FDCWD"),
        ("filename", 1, path),
        ("flags", 0, flags),
    ];
    of(PID, "openat", value, &args)
}

fn fd(name: &'static str, value: i64, fd: u64) -> Syscall {
    of(PID, name, value, &[("fd", fd, "")])
}

fn chdir(path: &str) -> Syscall {
    of(PID, "chdir", 0, &[("filename", 1, path)])
}

/// What a process has after these calls, a millisecond apart; another daemon has seen them.
fn after(calls: &[Syscall]) -> Followed {
    let mut followed = Followed::default();
    for (time, call) in (1..).zip(calls) {
        followed.see(&event(time * 1_000_000, Body::Syscall(call.clone())));
    }
    handed_over(&followed)
}

fn handed_over(followed: &Followed) -> Followed {
    let left = serde_json::to_vec(&followed.leave()).unwrap();
    let resumed = Followed::resume(serde_json::from_slice(&left).unwrap());
    assert_eq!(resumed.room, followed.room);
    resumed
}

fn happens(followed: &mut Followed, pid: u32, what: ProcessEvent) {
    let process = ProcessBody {
        task: task(pid),
        what,
    };
    followed.see(&event(50_000_000, Body::Process(process)));
}

fn forks(followed: &mut Followed, child: u32) {
    let what = ProcessEvent::Fork {
        pid: child - 60,
        tid: child - 60,
        host_pid: child,
        host_tid: child,
        comm: Comm::default(),
        thread: false,
    };
    happens(followed, PID, what);
}

fn resolved(followed: &Followed, call: &Syscall) -> Option<String> {
    let index = call.args.list.len() - 1;
    let text = call.args.text_of(&call.args.list[index]).to_owned();
    followed
        .resolved(call, index, text.trim_matches('"'))
        .map(Cow::into_owned)
}

fn stat(pid: u32, path: &str) -> Syscall {
    of(pid, "stat", 0, &[("filename", 1, path)])
}

#[test]
fn relative_paths_begin_where_the_calls_before_led() {
    let mut followed = after(&[chdir("\"/srv\""), chdir("\"app\"")]);
    assert_eq!(
        resolved(&followed, &stat(PID, "\"lib/x\"")).unwrap(),
        "/srv/app/lib/x"
    );
    assert_eq!(resolved(&followed, &stat(PID, "\"./x\"")).unwrap(), "/srv/app/x");
    assert_eq!(resolved(&followed, &stat(PID, "\"/x\"")).unwrap(), "/x");
    assert_eq!(resolved(&followed, &stat(PID, "\"\"")), None);
    // A child goes its own way.
    forks(&mut followed, 71);
    followed.see(&event(1, Body::Syscall(chdir("\"/\""))));
    assert_eq!(resolved(&followed, &stat(PID, "\"x\"")).unwrap(), "/x");
    assert_eq!(resolved(&followed, &stat(71, "\"x\"")).unwrap(), "/srv/app/x");
    assert_eq!(resolved(&followed, &stat(72, "\"x\"")), None, "nobody knows it");
    // Whatever was lost may have been a chdir.
    let loss = Loss {
        reason: LossReason::RingFull,
        count: 1,
        hole: None,
    };
    followed.see(&event(2, Body::Loss(loss)));
    assert_eq!(resolved(&followed, &stat(71, "\"x\"")), None);
    assert_eq!(followed.room, room::Room::default());
}

#[test]
fn a_directory_is_known_by_its_descriptor() {
    let at = |dfd: u64| {
        let args = [("dfd", dfd, ""), ("filename", 1, "\"x\"")];
        of(PID, "newfstatat", 0, &args)
    };
    let followed = after(&[
        open(3, "\"/opt\"", "O_RDONLY|O_DIRECTORY"),
        of(PID, "dup", 9, &[("fildes", 3, "3")]),
        open(4, "\"/etc/passwd\"", "O_RDONLY"),
    ]);
    assert_eq!(resolved(&followed, &at(3)).unwrap(), "/opt/x");
    assert_eq!(resolved(&followed, &at(9)).unwrap(), "/opt/x");
    assert_eq!(resolved(&followed, &at(4)), None, "no directory");
    assert_eq!(resolved(&followed, &at(0xffff_ff9c)), None);
    let followed = after(&[
        open(3, "\"/opt\"", "O_PATH"),
        fd("fchdir", 0, 3),
        of(PID, "chroot", 0, &[("filename", 1, "\".\"")]),
    ]);
    assert_eq!(resolved(&followed, &stat(PID, "\"x\"")), None, "another root");
    let followed = after(&[of(PID, "getcwd", 5, &[("buf", 1, "\"/var\"")])]);
    assert_eq!(resolved(&followed, &stat(PID, "\"x\"")).unwrap(), "/var/x");
    let followed = after(&[chdir("\"/srv\""), chdir("\"cut\"...")]);
    assert_eq!(resolved(&followed, &stat(PID, "\"x\"")), None);
}

#[test]
fn what_became_of_a_descriptor() {
    let of_fd = |followed: &Followed, number: u64| {
        let earlier = followed.earlier(90_000_000, &fails(fd("read", 0, number), libc::EBADF));
        (earlier.followed, earlier.descriptor)
    };
    let mut followed = after(&[
        open(3, "\"/a\"", "O_WRONLY|O_CREAT"),
        open(4, "\"/b\"", "O_RDONLY|O_CLOEXEC"),
        fd("close", 0, 3),
        of(PID, "pipe2", 0, &[("fildes", 1, "[5, 6]"), ("flags", 0, "0")]),
    ]);
    let (known, closed) = of_fd(&followed, 3);
    let closed = closed.unwrap();
    assert!(known && closed.state == State::Closed && closed.call == "close");
    assert_eq!((closed.ktime, closed.tid), (3_000_000, 10));
    assert_eq!(of_fd(&followed, 6).1.unwrap().state, State::Open(Access::Write));
    assert_eq!(of_fd(&followed, 4).1.unwrap().state, State::Open(Access::Read));
    assert_eq!(of_fd(&followed, 7), (true, None));
    let exec = ProcessEvent::Exec {
        path: b"/bin/x".to_vec(),
        truncated: false,
    };
    happens(&mut followed, PID, exec);
    assert_eq!(of_fd(&followed, 4).1.unwrap().state, State::ClosedByExec);
    assert_eq!(of_fd(&followed, 5).1.unwrap().state, State::Open(Access::Read));
    let range = [("fd", 4, "4"), ("max_fd", 0xffff_ffff, "~0U"), ("flags", 0, "0")];
    followed.see(&event(1, Body::Syscall(of(PID, "close_range", 0, &range))));
    assert_eq!(of_fd(&followed, 5).1.unwrap().call, "close_range");
    followed.narrow(true);
    followed.see(&event(1, Body::Syscall(fd("close", 0, 3))));
    assert_eq!(of_fd(&followed, 3), (false, None), "filters leave calls out");
}

#[test]
fn the_call_that_failed_to_give_one() {
    let missing = fails(open(0, "\"/a\"", "O_RDONLY"), libc::ENOENT);
    let later = fails(of(PID, "accept4", 0, &[("fd", 3, "3")]), libc::EAGAIN);
    let followed = after(&[missing, later]);
    let earlier = followed.earlier(9_000_000, &fd("read", 0, 0xffff_ffff));
    let failed = earlier.failed.unwrap();
    assert_eq!(failed.call, "openat(AT_FDCWD \"/a\" O_RDONLY )");
    assert_eq!((failed.errno, failed.ktime), (libc::ENOENT as u16, 1_000_000));
}

fn add_rule(parent: u64, text: &str) -> Syscall {
    let args = [
        ("ruleset_fd", 5, "5"),
        ("rule_type", 1, "LANDLOCK_RULE_PATH_BENEATH"),
        ("rule_attr", 0x7fff, text),
        ("flags", parent, "0"),
    ];
    of(PID, "landlock_add_rule", 0, &args)
}

const CREATED: &str =
    "{handled_access_fs=LANDLOCK_ACCESS_FS_READ_FILE|LANDLOCK_ACCESS_FS_READ_DIR, handled_access_net=0}";
const GIVES_READ: &str = "{allowed_access=LANDLOCK_ACCESS_FS_READ_FILE, parent_fd=3}";

fn restricts(rules: &[Syscall]) -> Followed {
    let create = of(PID, "landlock_create_ruleset", 5, &[("attr", 0x7fff, CREATED)]);
    let restrict = of(PID, "landlock_restrict_self", 0, &[("ruleset_fd", 5, "5")]);
    let calls: Vec<_> = [open(3, "\"/usr\"", "O_RDONLY|O_PATH|O_CLOEXEC"), create]
        .into_iter()
        .chain(rules.iter().cloned())
        .chain([restrict])
        .collect();
    after(&calls)
}

fn domain(followed: &Followed, pid: u32) -> Option<Arc<Domain>> {
    followed.earlier(9_000_000, &stat(pid, "\"/x\"")).domain
}

#[test]
fn a_task_that_restricts_itself_is_bound_with_all_that_it_starts() {
    let mut followed = restricts(&[add_rule(0, GIVES_READ)]);
    let bound = domain(&followed, PID).unwrap();
    assert_eq!(
        (bound.layers.len(), bound.more, bound.ktime),
        (1, false, 4_000_000)
    );
    let layer = &bound.layers[0];
    assert_eq!(layer.handled.len(), 2);
    assert!(layer.handles("LANDLOCK_ACCESS_FS_READ_DIR") && !layer.more && !layer.ports);
    let rule = Rule {
        allowed: vec!["LANDLOCK_ACCESS_FS_READ_FILE".to_owned()],
        beneath: "/usr".into(),
    };
    assert_eq!(layer.rules, [rule]);
    forks(&mut followed, 71);
    happens(
        &mut followed,
        PID,
        ProcessEvent::Exit {
            code: Exit::Code(0),
            oom: None,
        },
    );
    assert_eq!(
        (domain(&followed, PID), domain(&followed, 71)),
        (None, Some(bound))
    );
    // It cannot be undone: what is lost changes nothing.
    followed.narrow(true);
    assert!(domain(&followed, 71).is_some());
    happens(
        &mut followed,
        71,
        ProcessEvent::Exit {
            code: Exit::Code(0),
            oom: None,
        },
    );
    assert_eq!(followed.room, room::Room::default());
}

#[test]
fn rules_that_are_not_known_are_said_to_be_there() {
    let unknown = add_rule(0, "{allowed_access=LANDLOCK_ACCESS_FS_READ_FILE, parent_fd=8}");
    assert!(domain(&restricts(&[unknown]), PID).unwrap().layers[0].more);
    let many: Vec<_> = (0..70).map(|_| add_rule(0, GIVES_READ)).collect();
    let layer = &domain(&restricts(&many), PID).unwrap().layers[0];
    assert!(layer.more && layer.rules.len() == 64);
    let mut port = add_rule(0, "0x7fff");
    let args = [
        ("ruleset_fd", 5, "5"),
        ("rule_type", 2, "LANDLOCK_RULE_NET_PORT"),
        ("rule_attr", 1, "0x7fff"),
    ];
    port.args = of(PID, "landlock_add_rule", 0, &args).args;
    let layer = &domain(&restricts(&[port]), PID).unwrap().layers[0];
    assert!(layer.ports && !layer.more && layer.rules.is_empty());
    let restrict = of(PID, "landlock_restrict_self", 0, &[("ruleset_fd", 77, "77")]);
    let bound = domain(&after(&[restrict]), PID).unwrap();
    assert!(bound.more && bound.layers.is_empty());
}

#[test]
fn what_finds_no_room_is_not_followed() {
    let mut followed = Followed::default();
    let long = format!("\"/{}\"", "x".repeat(500));
    for pid in 1..=200 {
        for number in 0..300 {
            let mut call = open(number, &long, "O_PATH");
            call.task = task(100 + pid);
            followed.see(&event(1, Body::Syscall(call)));
        }
    }
    assert!(followed.processes.len() < 20, "{}", followed.processes.len());
    for process in followed.processes.values() {
        assert!(process.descriptors.len() <= DESCRIPTORS);
    }
    let resumed = handed_over(&followed);
    assert_eq!(resumed.processes.len(), followed.processes.len());
    followed.narrow(false);
    assert_eq!(followed.room, room::Room::default());
}

#[test]
fn a_program_is_known_as_long_as_it_has_what_execve_gave_it() {
    let executes = |followed: &mut Followed, path: &str| {
        let path = path.as_bytes().to_vec();
        happens(
            followed,
            PID,
            ProcessEvent::Exec {
                path,
                truncated: false,
            },
        );
    };
    let program = |followed: &Followed, pid: u32| followed.earlier(0, &stat(pid, "\"x\"")).program;
    let mut followed = Followed::default();
    executes(&mut followed, "/usr/bin/su");
    forks(&mut followed, 80);
    assert_eq!(program(&followed, 80).as_deref(), Some(&b"/usr/bin/su"[..]));
    let calls = [
        of(PID, "setresuid", 0, &[]),
        of(PID, "capset", 0, &[]),
        of(PID, "prctl", 0, &[("option", 38, "PR_SET_NO_NEW_PRIVS")]),
    ];
    for call in calls {
        executes(&mut followed, "/usr/bin/su");
        let other = of(PID, "prctl", 0, &[("option", 15, "PR_SET_NAME")]);
        followed.see(&event(60_000_000, Body::Syscall(other)));
        followed.see(&event(
            60_000_000,
            Body::Syscall(fails(call.clone(), libc::EPERM)),
        ));
        assert!(program(&followed, PID).is_some());
        followed.see(&event(60_000_000, Body::Syscall(call)));
        assert_eq!(program(&followed, PID), None);
    }
    // A relative one is not known.
    executes(&mut followed, "su");
    assert_eq!(program(&followed, PID), None);
    followed.narrow(true);
    executes(&mut followed, "/usr/bin/su");
    assert_eq!(
        program(&followed, PID),
        None,
        "calls are left out: it may change unseen"
    );
}

#[test]
fn whom_a_socket_speaks_to() {
    const SERVER: &str = r#"{sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.0.2")}"#;
    const OTHER: &str = r#"{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("10.0.0.3")}"#;
    let mut followed = Followed::default();
    let see = |followed: &mut Followed, call| followed.see(&event(1, Body::Syscall(call)));
    let socket = |fd, protocol| of(PID, "socket", fd, &[("protocol", 0, protocol)]);
    let connect = |to| of(PID, "connect", 0, &[("fd", 5, "5"), ("uservaddr", 1, to)]);
    let peer = |followed: &Followed, fd| followed.peer(PID, fd).map(|peer| peer.to_string());
    see(&mut followed, socket(4, "NETLINK_ROUTE"));
    see(&mut followed, socket(5, "IPPROTO_TCP"));
    assert_eq!(
        (peer(&followed, 4).as_deref(), peer(&followed, 5)),
        (Some("NETLINK_ROUTE"), None)
    );
    assert!(followed.is_asking(PID) && !followed.is_asking(PID + 1));
    see(&mut followed, fd("close", 0, 4));
    assert!(peer(&followed, 4).is_none() && !followed.is_asking(PID));
    see(&mut followed, connect(OTHER));
    assert!(!followed.is_asking(PID), "a server of another kind");
    assert_eq!(
        followed.earlier(2, &fd("recvfrom", -1, 5)).peer.as_deref(),
        Some(OTHER)
    );
    see(&mut followed, fails(connect(SERVER), libc::EINPROGRESS));
    assert_eq!(peer(&followed, 5).as_deref(), Some(SERVER));
    // A copy speaks to whom the other does, and what another daemon left is as it was.
    see(&mut followed, of(PID, "dup", 6, &[("fildes", 5, "5")]));
    let mut followed = Followed::resume(followed.leave());
    see(&mut followed, fd("close", 0, 5));
    assert!(followed.is_asking(PID));
    see(&mut followed, fd("close", 0, 6));
    assert!(!followed.is_asking(PID));
    // Without an address of its own it says with each message where that goes.
    let any = r#"{sa_family=AF_INET, sin_port=htons(0), sin_addr=inet_addr("0.0.0.0")}"#;
    see(&mut followed, socket(7, "IPPROTO_IP"));
    see(
        &mut followed,
        of(PID, "bind", 0, &[("fd", 7, "7"), ("umyaddr", 1, any)]),
    );
    assert!(followed.is_asking(PID) && peer(&followed, 7).is_none());
    see(
        &mut followed,
        of(PID, "sendto", 1, &[("fd", 7, "7"), ("addr", 1, SERVER)]),
    );
    assert_eq!(peer(&followed, 7).as_deref(), Some(SERVER));
}
