//! The stage as a whole: events in, diagnoses out, no kernel.

use std::sync::Arc;

use super::*;
use crate::{
    event::{Body, Container, DeniedBy, Diagnosis, Outcome, Phase, Syscall},
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
    let (mut failures, inquiry, questions) = open();
    failures.see(1, &event(opens("\"/none\"", Outcome::Error(2))), None);
    let begun = std::time::Instant::now();
    failures.end(1);
    assert!(
        begun.elapsed() < std::time::Duration::from_millis(500),
        "{:?}",
        begun.elapsed()
    );
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
