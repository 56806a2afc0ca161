//! Text lines, as strace writes them.

use super::*;
use crate::{
    decode::tests::fake::{A::*, Fake, line},
    event::{self, Books, Comm, Hole, LossReason},
};

fn openat() -> Syscall {
    let flags = i64::from(libc::O_RDONLY | libc::O_CLOEXEC);
    let mut call = Fake::new("openat", [N(-100), S(b"/etc/passwd"), N(flags)], 3).call();
    call.task.tid = 7;
    call.task.comm = Comm(*b"ng\x1b[31m\xe2\x80\xaex\0\0\0\0\0");
    call
}

fn text(options: TextOptions) -> String {
    line(event::Body::Syscall(openat()), &options)
}

#[test]
fn the_contracts_line() {
    assert_eq!(
        text(TextOptions::default()),
        r#"[pid     7] openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 3 <0.000002>"#
    );
}

#[test]
fn what_a_line_shows_is_an_option() {
    let bare = TextOptions {
        show_pid: false,
        show_duration: false,
        ..Default::default()
    };
    let call = r#"openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 3"#;
    assert_eq!(text(bare), call);
    let at = |timestamps| text(TextOptions { timestamps, ..bare });
    assert_eq!(at(Timestamps::Time), format!("18:03:11 {call}"));
    // When it began, 2 us before it was reported.
    assert_eq!(at(Timestamps::Micros), format!("18:03:11.123454 {call}"));
    assert_eq!(at(Timestamps::Epoch), format!("1795370591.123454 {call}"));
    let previous_ns = 1_795_370_589_123_000_000;
    assert_eq!(
        at(Timestamps::Relative { previous_ns }),
        format!("     2.000454 {call}")
    );
    assert_eq!(
        at(Timestamps::Relative { previous_ns: 0 }),
        format!("     0.000000 {call}")
    );
    let all = TextOptions {
        show_pid: true,
        show_comm: true,
        show_container: true,
        ..bare
    };
    assert_eq!(
        text(all),
        format!(r"[web] [pid     7<ng\033[31m\342\200\256x>] {call}")
    );
}

#[test]
fn losses() {
    let loss = |count, hole| {
        let loss = Loss {
            reason: LossReason::RingFull,
            count,
            hole,
        };
        line(event::Body::Loss(loss), &TextOptions::default())
    };
    let hole = Some(Hole {
        cpu: 1,
        after: 41,
        before: 54,
    });
    assert_eq!(
        loss(12, hole),
        "--- 12 events lost: ring_full (cpu 1, after seq 41) ---"
    );
    assert_eq!(loss(1, None), "--- 1 event lost: ring_full ---");
}

#[test]
fn lines_that_strace_does_not_have_are_optional() {
    let gone = || {
        let books = Books {
            emitted: 5,
            ..Books::default()
        };
        event::Body::Container(Lifecycle::Gone {
            books,
            complete: true,
            exit: Some(Exit::Code(0)),
        })
    };
    let exec = || {
        let what = ProcessEvent::Exec {
            path: b"/bin/\x1b".to_vec(),
            truncated: false,
        };
        event::Body::Process(Process {
            task: Task {
                tid: 7,
                ..Task::default()
            },
            what,
        })
    };
    assert_eq!(line(gone(), &TextOptions::default()), "");
    assert_eq!(line(exec(), &TextOptions::default()), "");
    let all = TextOptions {
        show_processes: true,
        show_containers: true,
        ..Default::default()
    };
    assert_eq!(
        line(gone(), &all),
        "--- container web gone, exited with 0: 5 events, 0 lost, complete ---"
    );
    assert_eq!(line(exec(), &all), r#"[pid     7] --- program "/bin/\033" ---"#);
}

#[test]
fn a_warning_quotes_as_it_was_written() {
    let warning = event::Body::Container(Lifecycle::Warning {
        text: "no mode \"some\u{1b}\"".into(),
    });
    assert_eq!(
        line(warning, &TextOptions::default()),
        r#"--- container web: no mode "some\033" ---"#
    );
}

#[test]
fn colour_is_an_option_and_so_is_the_cut() {
    let color = TextOptions {
        show_pid: false,
        show_duration: false,
        color: true,
        ..Default::default()
    };
    assert_eq!(
        text(color),
        "\x1b[36mopenat\x1b[0m(AT_FDCWD, \x1b[32m\"/etc/passwd\"\x1b[0m, O_RDONLY|O_CLOEXEC) = 3"
    );
    let cut = TextOptions {
        columns: Some(10),
        ..color
    };
    assert_eq!(text(cut), "\x1b[36mopenat\x1b[0m(AT_\x1b[0m");
    let failed = Fake::new("openat", [N(-100), S(b"/nope"), N(0)], -2).call();
    let failed = line(event::Body::Syscall(failed), &color);
    assert!(
        failed.ends_with("= \x1b[31m-1 ENOENT (No such file or directory)\x1b[0m"),
        "{failed}"
    );
}

#[test]
fn a_diagnosis_stands_in_lines_that_drive_no_terminal() {
    use event::{Cause, Diagnosis, Fact, Fix, Place, Taken, Verdict};
    let fix = |place, line: &str| Fix {
        place,
        line: line.into(),
    };
    let found = Diagnosis {
        task: event::Task::default(),
        arch: event::Arch::X86_64,
        nr: 83,
        syscall: "mkdir".into(),
        errno: Some(1),
        call: r#"mkdir("/x", 0755)"#.into(),
        count: 2,
        verdict: Verdict {
            cause: Cause::Dac,
            why: "\u{1b}[31m is not yours".into(),
            evidence: vec![Fact {
                text: "mode 0700".into(),
                taken: Taken::Call,
            }],
            fixes: vec![
                fix(Place::Podman, "--user 0"),
                fix(Place::Docker, "--user 0"),
                fix(Place::Image, "chmod"),
            ],
            ruled_out: vec![],
        },
    };
    let bare = TextOptions {
        show_pid: false,
        columns: Some(20),
        ..TextOptions::default()
    };
    let mut out = Vec::new();
    let event = Event {
        time_ns: 0,
        ktime: 0,
        container: Default::default(),
        body: event::Body::Diagnosis(Box::new(found)),
    };
    write_event(&mut out, &event, &bare);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"*** mkdir("/x", 0755) fails with EPERM, 2 times: dac
      \033[31m is not yours
      at the call: mode 0700
      change, podman and docker: --user 0
      change, image: chmod
"#
    );
}
