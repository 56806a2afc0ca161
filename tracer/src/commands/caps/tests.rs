//! What is printed.

use super::*;
use crate::report::{
    Names, State,
    capabilities::{Held, Verdict},
};

fn asked(call: &str, granted: bool, level: u8, refused: u64) -> Asked {
    Asked {
        syscall: Some(call.into()),
        arch: Some("x86_64".into()),
        granted,
        user_ns_level: level,
        own_user_ns: level == 1,
        checks: 2,
        succeeded: 2 - refused,
        refused,
        failed: 0,
    }
}

fn capability(name: &str, verdict: Verdict, asked: Vec<Asked>) -> Capability {
    Capability {
        name: name.into(),
        verdict,
        held: Some(true),
        out_of_reach: false,
        note: (verdict == Verdict::Noise).then(|| "the calls succeeded without it".into()),
        asked,
    }
}

fn told() -> Capabilities {
    let mut nice = capability(
        "CAP_SYS_NICE",
        Verdict::Denied,
        vec![asked("sched_setscheduler", false, 0, 2)],
    );
    nice.out_of_reach = true;
    let mut chroot = capability(
        "CAP_SYS_CHROOT",
        Verdict::Denied,
        vec![asked("chroot", false, 1, 2)],
    );
    chroot.held = Some(false);
    Capabilities {
        container: Names {
            id: "4f1c".into(),
            name: "web\u{1b}[2J".into(),
            ..Names::default()
        },
        state: State::Gone,
        unseen: None,
        late: false,
        held: Some(Held {
            effective: vec!["CAP_CHOWN".into(), "CAP_SYS_NICE".into()],
            permitted: vec!["CAP_CHOWN".into(), "CAP_SYS_NICE".into()],
            bounding: vec!["CAP_CHOWN".into()],
            user_ns: 7,
            user_ns_level: 1,
        }),
        capabilities: vec![
            capability("CAP_CHOWN", Verdict::Needed, vec![asked("fchownat", true, 1, 0)]),
            capability("CAP_KILL", Verdict::NeverUsed, Vec::new()),
            capability("CAP_SETUID", Verdict::Denied, vec![asked("setuid", false, 1, 1)]),
            chroot,
            capability("CAP_SYS_ADMIN", Verdict::Noise, vec![asked("mmap", false, 0, 0)]),
            nice,
        ],
        overflow: 0,
    }
}

fn text(told: &Capabilities) -> String {
    let mut text = Vec::new();
    write(&mut text, told).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn the_table_and_what_follows() {
    assert_eq!(
        text(&told()),
        "\
container      web\\u{1b}[2J (4f1c), gone
held           2 when the application began, in a user namespace of its own, level 1
at most        2 permitted, 1 in the bounding set

CAPABILITY     VERDICT    HELD NAMESPACE ASKED BY
CAP_CHOWN      needed     yes  own       fchownat 2
CAP_SETUID     denied     yes  own       setuid 2 (1 refused)
CAP_SYS_CHROOT denied     no   own       chroot 2 (2 refused)
CAP_SYS_NICE   denied     yes  initial   sched_setscheduler 2 (2 refused)
CAP_SYS_ADMIN  noise      yes  initial   mmap 2 (without it): the calls succeeded without it
CAP_KILL       never used yes  -

podman, docker --cap-drop ALL --cap-add CHOWN
Kubernetes     securityContext:
                 capabilities:
                   drop: [\"ALL\"]
                   add: [\"CHOWN\"]
denied         calls failed for want of SYS_CHROOT: --cap-add, if they should succeed; `tracer explain` says what else would do
given up       calls failed for want of SETUID, which the container was given: not by the task that called, another \
user's or one that had dropped it
out of reach   SYS_NICE: asked for in a user namespace above the container's, where no flag of a rootless container \
gives it
"
    );
}

#[test]
fn what_was_not_seen_is_not_listed() {
    let mut told = told();
    told.unseen = Some("the kernel refused the program".into());
    let text = text(&told);
    assert!(
        text.ends_with("not seen       the kernel refused the program\n"),
        "{text}"
    );
    assert!(!text.contains("cap-drop"), "{text}");
}

#[test]
fn the_lists_alone() {
    assert_eq!(
        profile_json(&told()),
        json!({
            "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]},
            "missing": ["SYS_CHROOT"],
            "given_up": ["SETUID"],
            "out_of_reach": ["SYS_NICE"],
        })
    );
}
