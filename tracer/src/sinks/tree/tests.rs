//! Trees from events.

use super::*;
use crate::{
    decode::tests::fake::{A::*, Fake, event},
    event::{Comm, Process},
};

fn task(pid: u32, tid: u32) -> Task {
    Task {
        pid,
        tid,
        host_pid: 4000 + pid,
        host_tid: 4000 + tid,
        ..Task::default()
    }
}

fn process(pid: u32, tid: u32, what: ProcessEvent) -> Event {
    event(Body::Process(Process {
        task: task(pid, tid),
        what,
    }))
}

fn fork(from: u32, pid: u32, tid: u32) -> Event {
    let what = ProcessEvent::Fork {
        pid,
        tid,
        host_pid: 4000 + pid,
        host_tid: 4000 + tid,
        comm: Comm::default(),
        thread: from == pid,
    };
    process(from, from, what)
}

fn exec(pid: u32, path: &'static [u8], ret: i64) -> Event {
    let mut call = Fake::new("execve", [S(path), N(0), N(0)], ret).call();
    call.task = task(pid, pid);
    event(Body::Syscall(call))
}

fn exit(pid: u32, tid: u32, code: Exit) -> Event {
    process(pid, tid, ProcessEvent::Exit { code, oom: None })
}

fn text(events: &[Event]) -> String {
    let mut tree = Tree::default();
    events.iter().for_each(|event| tree.take(event));
    let mut out = Vec::new();
    tree.write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn processes_stand_under_those_that_made_them() {
    let killed = Exit::Signal {
        number: 9,
        core_dumped: false,
    };
    let events = [
        exec(2, b"/bin/sh", 0),
        fork(2, 3, 3),
        exec(3, b"/nope", -2),
        exec(3, b"/bin/ls", 0),
        fork(3, 3, 4),
        fork(2, 5, 5),
        fork(5, 6, 6),
        exit(3, 4, Exit::Code(0)),
        exit(3, 3, Exit::Code(2)),
        exit(6, 6, killed),
        exit(2, 2, Exit::Code(0)),
    ];
    let expected = "\
web
└─ 2 /bin/sh (exited with 0)
   ├─ 3 /bin/ls (2 threads, exited with 2)
   └─ 5 (running)
      └─ 6 (killed by SIGKILL)
";
    assert_eq!(text(&events), expected);
}

#[test]
fn a_number_that_is_used_again_is_another_process() {
    let events = [
        exec(2, b"/bin/sh", 0),
        fork(2, 3, 3),
        exit(3, 3, Exit::Code(0)),
        fork(2, 3, 3),
        exit(3, 3, Exit::Code(1)),
    ];
    let text = text(&events);
    assert!(
        text.contains("├─ 3 (exited with 0)\n   └─ 3 (exited with 1)"),
        "{text}"
    );
}

#[test]
fn a_command_line_is_quoted_where_it_must_be() {
    let line = |argv| program("\"/bin/sh\"", argv);
    assert_eq!(
        line(r#"["sh", "-c", "ls -l, \"x\"; true"]"#),
        r#"/bin/sh -c "ls -l, \"x\"; true""#
    );
    assert_eq!(line(r#"["ls"]"#), "/bin/sh");
    assert_eq!(
        line(r#"["ls", "", "long"..., ...]"#),
        r#"/bin/sh "" "long"... ..."#
    );
    assert_eq!(line("0x7f00"), "/bin/sh");
}
