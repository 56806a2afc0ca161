//! The stage as a whole: events in, diagnoses out, no kernel.

use std::sync::Arc;

use super::*;
use crate::{
    event::{
        Body, Container, DeniedBy, Diagnosis, Exit, Outcome, Phase, Process, ProcessEvent, Syscall, Task,
    },
    explain::rules::testing::failed,
};

/// A call of the container's application, as it comes by.
fn event(mut call: Syscall) -> Event {
    call.task.phase = Phase::App;
    // Above all that Linux gives: nothing is there to look at.
    call.task.host_pid = 1 << 30;
    Event {
        time_ns: 1,
        ktime: 1,
        container: Arc::new(Container {
            id: "c".into(),
            ..Container::default()
        }),
        body: Body::Syscall(call),
    }
}

fn refused(nr: u32, option: &str) -> Syscall {
    let mut call = failed("keyctl", libc::EPERM, &[("option", 0, option)]).denied(DeniedBy::Seccomp);
    call.nr = nr;
    call
}

fn opens(path: &str, outcome: Outcome) -> Syscall {
    let mut call = failed("openat", libc::ENOENT, &[("filename", 0x7fff, path)]);
    call.outcome = outcome;
    call
}

/// What a container's failures come to.
fn explain(calls: impl IntoIterator<Item = Syscall>) -> Explanation {
    let (mut failures, inquiry, questions) = open();
    let thread = inquiry.start(|| {}).unwrap();
    for call in calls {
        failures.see(1, &event(call), None);
    }
    let explanation = questions.explain("c").unwrap_or_default();
    failures.end(1);
    let after = questions.explain("c").unwrap_or_default();
    assert_eq!(
        (after.diagnoses.len(), after.expected.len()),
        (explanation.diagnoses.len(), explanation.expected.len()),
        "what was found is known after the end, too"
    );
    drop((failures, questions));
    thread.join().unwrap();
    explanation
}

/// The pipeline ends a container while what it told waits to be judged: others' events are behind it.
#[test]
fn an_end_waits_for_nobody() {
    let end = || {
        let (mut failures, inquiry, questions) = open();
        failures.see(1, &event(opens("\"/none\"", Outcome::Error(2))), None);
        let begun = std::time::Instant::now();
        failures.end(1);
        (begun.elapsed(), failures, inquiry, questions)
    };
    // What else the machine does only adds to it: of a few, one has to be quick.
    let mut ends = (0..5).map(|_| end());
    let quick = ends.find(|(took, ..)| *took < std::time::Duration::from_millis(500));
    let (_, failures, inquiry, questions) = quick.unwrap();
    // It is judged nevertheless.
    let thread = inquiry.start(|| {}).unwrap();
    assert_eq!(questions.explain("c").unwrap().diagnoses.len(), 1);
    drop((failures, questions));
    thread.join().unwrap();
}

fn of(event: &Event) -> &Diagnosis {
    match &event.body {
        Body::Diagnosis(found) => found,
        other => panic!("{other:?}"),
    }
}

#[test]
fn failures_of_one_verdict_are_one_diagnosis_with_their_number() {
    let calls = ["KEYCTL_READ", "KEYCTL_JOIN", "KEYCTL_READ", "KEYCTL_READ"];
    let found = explain(calls.map(|option| refused(250, option)));
    let [only] = found.diagnoses.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!((of(only).verdict.cause, of(only).count), (Cause::Seccomp, 4));
    assert_eq!(of(only).call, "keyctl(KEYCTL_READ)");
    assert_eq!(found.left_out, 0);
}

#[test]
fn more_kinds_than_are_kept_are_counted_to_the_last() {
    const KINDS: u32 = 3000;
    let found = explain((0..KINDS).map(|nr| {
        let mut call = refused(nr, "KEYCTL_READ");
        call.name = format!("call{nr}").into();
        call
    }));
    let told: u64 = found.diagnoses.iter().map(|event| of(event).count).sum();
    assert!(found.diagnoses.len() <= 256);
    assert_eq!(told + found.left_out, u64::from(KINDS));
}

#[test]
fn what_is_found_elsewhere_was_a_search() {
    let found = explain([
        opens("\"/lib/libx.so.1\"", Outcome::Error(libc::ENOENT as u16)),
        opens("\"/lib64/libx.so.1\"", Outcome::Error(libc::ENOENT as u16)),
        opens("\"/usr/lib/libx.so.1\"", Outcome::Value(3)),
        opens("\"/lib/liby.so.1\"", Outcome::Error(libc::ENOENT as u16)),
    ]);
    let [search] = found.expected.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(of(search).count, 2);
    let [missing] = found.diagnoses.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(of(missing).call, "openat(\"/lib/liby.so.1\")");
}

#[test]
fn what_could_not_be_made_is_not_missed() {
    let found = explain([
        failed("mkdir", libc::EROFS, &[("pathname", 1, "\"/var/app\"")]),
        opens("\"/var/app\"", Outcome::Error(libc::ENOENT as u16)),
        opens("\"/var/other\"", Outcome::Error(libc::ENOENT as u16)),
    ]);
    let calls: Vec<_> = found
        .diagnoses
        .iter()
        .map(|event| of(event).call.as_str())
        .collect();
    assert_eq!(calls, ["mkdir(\"/var/app\")", "openat(\"/var/other\")"]);
    assert_eq!(found.expected.len(), 1);
}

/// An event of the container runtime, in the process that is to be the application.
fn of_runtime(body: Body) -> Event {
    let mut event = event(failed("getpid", 0, &[]));
    event.body = body;
    match &mut event.body {
        Body::Syscall(Syscall { task, .. }) | Body::Process(Process { task, .. }) => {
            (task.phase, task.host_pid, task.host_tid) = (Phase::Runtime, 1 << 30, 1 << 30);
        }
        other => panic!("{other:?}"),
    }
    event
}

/// What the failures come to of a container whose runtime makes these calls and exits.
fn of_start(calls: impl IntoIterator<Item = Syscall>) -> Vec<String> {
    let (mut failures, inquiry, questions) = open();
    let thread = inquiry.start(|| {}).unwrap();
    for call in calls {
        failures.see(1, &of_runtime(Body::Syscall(call)), None);
    }
    let code = Exit::Code(1);
    let exit = of_runtime(Body::Process(Process {
        task: Task::default(),
        what: ProcessEvent::Exit { code, oom: None },
    }));
    failures.see(1, &exit, None);
    let found = questions.explain("c").unwrap_or_default();
    drop((failures, questions));
    thread.join().unwrap();
    found
        .diagnoses
        .iter()
        .map(|event| of(event).call.clone())
        .collect()
}

#[test]
fn a_program_that_does_not_start_is_told_by_its_runtimes_calls() {
    let stat = |path| failed("newfstatat", libc::ENOENT, &[("filename", 1, path)]);
    let mut write = failed("write", 0, &[]);
    write.outcome = Outcome::Value(1);
    assert_eq!(
        of_start([stat("\"/bin/app\""), write.clone()]),
        ["newfstatat(\"/bin/app\")"]
    );
    let execve = failed("execve", libc::ENOEXEC, &[("filename", 1, "\"/bin/app\"")]);
    assert_eq!(of_start([execve, write]), ["execve(\"/bin/app\")"]);
    let mut mount = failed("mount", 0, &[]);
    mount.outcome = Outcome::Value(0);
    assert_eq!(of_start([stat("\"/etc/none\""), mount]), [""; 0]);
}

#[test]
fn a_search_that_finds_nothing_is_one_failure() {
    let found = explain(["/lib64", "/usr/lib", "/lib"].map(|directory| {
        opens(
            &format!("\"{directory}/liby.so.1\""),
            Outcome::Error(libc::ENOENT as u16),
        )
    }));
    let [missing] = found.diagnoses.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(
        (of(missing).call.as_str(), of(missing).count),
        ("openat(\"/lib64/liby.so.1\")", 3)
    );
    assert_eq!(
        of(missing).verdict.why,
        "liby.so.1 is in none of the 3 places where the process looked for it"
    );
}

#[test]
fn a_program_that_tries_number_after_number_buries_nothing() {
    let tries = (0..600_u64).map(|fd| failed("dup", libc::EBADF, &[("fildes", fd, &fd.to_string())]));
    let last = refused(250, "KEYCTL_READ");
    let found = explain(tries.chain([last]));
    let told: Vec<_> = found
        .diagnoses
        .iter()
        .map(|event| (of(event).syscall.as_ref(), of(event).count))
        .collect();
    assert_eq!(told, [("dup", 600), ("keyctl", 1)]);
}

#[test]
fn files_that_are_not_there_leave_room_for_what_else_fails() {
    let opens = (0..600).map(|number| {
        opens(
            &format!("\"/none/{number}\""),
            Outcome::Error(libc::ENOENT as u16),
        )
    });
    let found = explain(opens.chain([refused(250, "KEYCTL_READ")]));
    assert!(found.left_out > 0);
    assert!(found.diagnoses.iter().any(|event| of(event).syscall == "keyctl"));
}

#[test]
fn calls_that_succeed_are_nobodys_concern() {
    let found = explain([opens("\"/etc/hosts\"", Outcome::Value(3))]);
    assert!(found.diagnoses.is_empty() && found.expected.is_empty());
}
