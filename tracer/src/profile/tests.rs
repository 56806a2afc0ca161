//! Profiles from made-up counts, and real forms of profiles.

use std::collections::BTreeMap;

use super::{base::Base, *};
use crate::report::{
    Names, State,
    observed::{CallName, Refused},
};

fn row(syscall: &str, nr: u32, calls: u64, errnos: &[(&str, u64)]) -> Row {
    Row {
        syscall: syscall.into(),
        arch: "x86_64".into(),
        nr,
        calls,
        errors: errnos.iter().map(|(_, count)| count).sum(),
        errnos: errnos
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect(),
        ..Row::default()
    }
}

fn stats(calls: Vec<Row>) -> Stats {
    Stats {
        container: Names::default(),
        state: State::Gone,
        calls,
        overflow: 0,
    }
}

fn call(nr: u32) -> CallName {
    CallName {
        arch: "x86_64".into(),
        nr,
    }
}

fn values(syscall: &str, nr: u32, calls: u64, seen: &[u64]) -> Values {
    Values {
        call: call(nr),
        syscall: syscall.into(),
        calls,
        seen: seen.to_vec(),
        more: false,
    }
}

fn made(calls: Vec<Row>, seen: &Arguments) -> Made {
    make(&stats(calls), seen, &[])
}

fn said_of(made: &Made, name: &str) -> String {
    made.profile
        .calls
        .get(name)
        .map_or("none".into(), |rules| said(rules))
}

#[test]
fn what_was_called_is_allowed_and_nothing_else() {
    let made = made(
        vec![row("read", 0, 3, &[]), row("openat", 257, 2, &[("ENOENT", 2)])],
        &Arguments::default(),
    );
    assert_eq!(made.profile.calls.keys().collect::<Vec<_>>(), ["openat", "read"]);
    assert_eq!(said_of(&made, "openat"), "allowed");
    assert_eq!(made.profile.default.to_string(), "ENOSYS");
    assert!(made.notes.is_empty());
}

#[test]
fn a_call_that_never_returned_counts() {
    let mut exit = row("exit_group", 231, 0, &[]);
    exit.unfinished = 1;
    assert_eq!(
        said_of(&made(vec![exit], &Arguments::default()), "exit_group"),
        "allowed"
    );
}

#[test]
fn what_the_kernel_has_not_keeps_its_answer() {
    let made = made(
        vec![row("clone3", 435, 2, &[("ENOSYS", 2)])],
        &Arguments::default(),
    );
    assert_eq!(said_of(&made, "clone3"), "ENOSYS");
}

#[test]
fn what_seccomp_refused_keeps_its_answer_unless_some_of_it_passed() {
    let seen = Arguments {
        refused: vec![Refused {
            call: call(321),
            errno: libc::EPERM as u16,
            calls: 2,
        }],
        ..Arguments::default()
    };
    let of =
        |calls, errnos: &[(&str, u64)]| said_of(&made(vec![row("bpf", 321, calls, errnos)], &seen), "bpf");
    assert_eq!(of(2, &[("EPERM", 2)]), "EPERM");
    assert_eq!(
        of(3, &[("EPERM", 3)]),
        "allowed",
        "one of them was refused by the kernel itself, or not seen"
    );
    // Killed or signalled instead of answered: the default is as good.
    let killed = Arguments {
        refused: vec![Refused {
            call: call(321),
            errno: 0,
            calls: 2,
        }],
        ..Arguments::default()
    };
    assert_eq!(
        said_of(&made(vec![row("bpf", 321, 2, &[])], &killed), "bpf"),
        "none"
    );
}

#[test]
fn refused_and_missing_together_are_missing() {
    let seen = Arguments {
        refused: vec![Refused {
            call: call(435),
            errno: libc::ENOSYS as u16,
            calls: 1,
        }],
        ..Arguments::default()
    };
    let made = made(vec![row("clone3", 435, 2, &[("ENOSYS", 2)])], &seen);
    assert_eq!(said_of(&made, "clone3"), "ENOSYS");
}

#[test]
fn families_and_flags_become_conditions() {
    let thread = (libc::CLONE_VM | libc::CLONE_THREAD) as u64;
    let seen = Arguments {
        values: vec![
            values("socket", 41, 3, &[1, 2]),
            values("clone", 56, 2, &[thread, libc::SIGCHLD as u64]),
            values("unshare", 272, 1, &[libc::CLONE_NEWUSER as u64]),
            values("personality", 135, 1, &[0xffff_ffff]),
        ],
        ..Arguments::default()
    };
    let made = made(
        vec![
            row("socket", 41, 3, &[]),
            row("clone", 56, 2, &[]),
            row("unshare", 272, 1, &[]),
            row("personality", 135, 1, &[]),
        ],
        &seen,
    );
    assert_eq!(
        said_of(&made, "socket"),
        "allowed where argument 0 & 0xffffffff == 0x1, allowed where argument 0 & 0xffffffff == 0x2"
    );
    // Docker's own mask: 2114060288.
    assert_eq!(
        said_of(&made, "clone"),
        "allowed where argument 0 & 0x7e020000 == 0x0"
    );
    assert_eq!(
        said_of(&made, "unshare"),
        "allowed where argument 0 & 0x6e020080 == 0x0"
    );
    assert_eq!(
        said_of(&made, "personality"),
        "allowed where argument 0 & 0xffffffff == 0xffffffff"
    );
    assert!(made.notes.is_empty(), "{:?}", made.notes);
}

#[test]
fn no_condition_where_not_all_was_seen() {
    let fewer = Arguments {
        values: vec![values("socket", 41, 2, &[1])],
        ..Arguments::default()
    };
    let many = Arguments {
        values: vec![Values {
            more: true,
            ..values("socket", 41, 3, &[1])
        }],
        ..Arguments::default()
    };
    for seen in [fewer, many, Arguments::default()] {
        let made = made(vec![row("socket", 41, 3, &[])], &seen);
        assert_eq!(said_of(&made, "socket"), "allowed");
        assert_eq!(made.notes.len(), 1, "{:?}", made.notes);
    }
}

#[test]
fn a_second_architecture_ends_conditions() {
    let seen = Arguments {
        values: vec![values("socket", 41, 3, &[1])],
        ..Arguments::default()
    };
    let compat = Row {
        arch: "i386".into(),
        ..row("read", 3, 1, &[])
    };
    let made = made(vec![row("socket", 41, 3, &[]), compat], &seen);
    assert_eq!(said_of(&made, "socket"), "allowed");
    assert_eq!(
        made.profile.architectures,
        [Arch::ScmpArchX86_64, Arch::ScmpArchX86]
    );
}

#[test]
fn the_base_opens_no_namespace_to_the_application() {
    let base = base::calls(
        Base::All,
        &["capset".into(), "dup3".into(), "syscall_0x1ff".into()],
    );
    let names: Vec<_> = base.iter().map(|(name, _)| name.as_str()).collect();
    assert!(
        names.is_sorted()
            && names.contains(&"execve")
            && names.contains(&"dup3")
            && !names.contains(&"syscall_0x1ff")
    );
    let made = make(&stats(vec![row("read", 0, 1, &[])]), &Arguments::default(), &base);
    assert_eq!(
        said_of(&made, "clone"),
        "allowed where argument 0 & 0x7e020000 == 0x0"
    );
    assert_eq!(said_of(&made, "clone3"), "ENOSYS");
    // What the application did itself counts more.
    let own = make(
        &stats(vec![row("clone3", 435, 1, &[])]),
        &Arguments::default(),
        &base,
    );
    assert_eq!(said_of(&own, "clone3"), "allowed");
    assert!(base::calls(Base::None, &["capset".into()]).is_empty());
}

#[test]
fn what_is_written_is_read_again() {
    let seen = Arguments {
        values: vec![values("socket", 41, 3, &[1, 2])],
        ..Arguments::default()
    };
    let made = made(
        vec![row("socket", 41, 3, &[]), row("clone3", 435, 1, &[("ENOSYS", 1)])],
        &seen,
    );
    let text = write(&made.profile, Form::Oci, "web").unwrap();
    assert_eq!(read(&text, &[]).unwrap().profile, made.profile);
    let object = write(&made.profile, Form::Kubernetes, "Web_1").unwrap();
    assert!(
        object.contains("\"name\": \"web-1\"") && !object.contains("defaultErrnoRet"),
        "{object}"
    );
    assert_eq!(read(&object, &[]).unwrap().profile.calls, made.profile.calls);
    for none in [
        "{}",
        "x",
        "7",
        "[]",
        "null",
        r#"{"kind":"SeccompProfile","spec":"x"}"#,
    ] {
        assert!(read(none, &[]).is_err(), "{none}");
    }
}

/// In the manner of podman's and Docker's own.
const DEFAULT: &str = r#"{
    "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "defaultErrno": "ENOSYS",
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
    "syscalls": [
        {"names": ["read", "openat"], "action": "SCMP_ACT_ALLOW", "args": [], "comment": "", "includes": {}, "excludes": {}},
        {"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_CHROOT"]}},
        {"names": ["chroot"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "errno": "EPERM", "excludes": {"caps": ["CAP_SYS_CHROOT"]}},
        {"names": ["breakpoint"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm"]}},
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ"}]},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 2, "value": 9, "op": "SCMP_CMP_NE"}]}
    ]
}"#;

#[test]
fn a_default_profile_is_read_for_what_the_container_holds() {
    let of = |capabilities: &[String]| {
        let read = read(DEFAULT, capabilities).unwrap();
        let said = read.profile.calls.get("chroot").map(|rules| said(rules));
        assert!(!read.profile.calls.contains_key("breakpoint"));
        assert_eq!(read.profile.architectures.len(), 3);
        (said, read.needing_capabilities)
    };
    assert_eq!(of(&[]), (Some("EPERM".into()), 1));
    assert_eq!(of(&["CAP_SYS_CHROOT".into()]), (Some("allowed".into()), 0));
}

#[test]
fn a_check_tells_refused_from_undecided() {
    let profile = read(DEFAULT, &[]).unwrap().profile;
    let seen = Arguments {
        values: vec![
            values("personality", 135, 2, &[8, 0xffff_ffff]),
            values("socket", 41, 1, &[2]),
        ],
        refused: vec![Refused {
            call: call(321),
            errno: 1,
            calls: 1,
        }],
        under_filter: Some(vec!["read".into(), "capset".into()]),
        ..Arguments::default()
    };
    let app = stats(vec![
        row("read", 0, 5, &[]),
        row("personality", 135, 2, &[]),
        row("socket", 41, 1, &[]),
        row("chroot", 161, 1, &[]),
        row("bpf", 321, 1, &[("EPERM", 1)]),
        row("clone3", 435, 1, &[("ENOSYS", 1)]),
    ]);
    let verdict = check(&profile, &app, &seen);
    let told: Vec<_> = verdict
        .refused
        .iter()
        .map(|finding| {
            (
                finding.syscall.as_str(),
                finding.answer.as_str(),
                finding.phase.as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("personality", "ENOSYS", "app"),
            ("chroot", "EPERM", "app"),
            ("capset", "ENOSYS", "runtime")
        ]
    );
    assert_eq!(
        verdict.undecided.len(),
        1,
        "argument 2 of socket is not kept: {:?}",
        verdict.undecided
    );
    assert_eq!(verdict.unused, ["openat"]);
    assert!(!verdict.fits());
}

#[test]
fn a_profile_fits_what_it_was_made_from() {
    let seen = Arguments {
        values: vec![
            values("socket", 41, 3, &[1, 2]),
            values("clone", 56, 1, &[0x0001_0000]),
        ],
        ..Arguments::default()
    };
    let calls = || {
        vec![
            row("socket", 41, 3, &[]),
            row("clone", 56, 1, &[]),
            row("clone3", 435, 1, &[("ENOSYS", 1)]),
        ]
    };
    let profile = made(calls(), &seen).profile;
    let verdict = check(&profile, &stats(calls()), &seen);
    assert!(verdict.fits() && verdict.unused.is_empty(), "{verdict:?}");
    let more = Arguments {
        values: vec![
            values("socket", 41, 3, &[1, 2, 16]),
            values("clone", 56, 1, &[libc::CLONE_NEWUSER as u64]),
        ],
        ..Arguments::default()
    };
    let verdict = check(&profile, &stats(calls()), &more);
    let names: Vec<_> = verdict
        .refused
        .iter()
        .map(|finding| finding.syscall.as_str())
        .collect();
    assert_eq!(names, ["socket", "clone"]);
}

#[test]
fn joined_profiles_allow_what_either_does() {
    let one = Arguments {
        values: vec![values("socket", 41, 1, &[1])],
        ..Arguments::default()
    };
    let two = Arguments {
        values: vec![values("socket", 41, 1, &[2])],
        ..Arguments::default()
    };
    let a = made(
        vec![
            row("socket", 41, 1, &[]),
            row("read", 0, 1, &[]),
            row("bpf", 321, 1, &[("ENOSYS", 1)]),
        ],
        &one,
    )
    .profile;
    let b = made(
        vec![
            row("socket", 41, 1, &[]),
            row("write", 1, 1, &[]),
            row("bpf", 321, 1, &[]),
        ],
        &two,
    )
    .profile;
    let joined = a.clone().merge(b.clone()).unwrap();
    assert_eq!(
        joined.calls.keys().collect::<Vec<_>>(),
        ["bpf", "read", "socket", "write"]
    );
    let said_of = |name: &str| joined.calls.get(name).map(|rules| said(rules)).unwrap();
    assert_eq!(said_of("bpf"), "allowed");
    assert!(said_of("socket").contains("== 0x1") && said_of("socket").contains("== 0x2"));
    assert_eq!(
        a.differences(&b),
        [
            "-bpf ENOSYS",
            "+bpf allowed",
            "-read allowed",
            "-socket allowed where argument 0 & 0xffffffff == 0x1",
            "+socket allowed where argument 0 & 0xffffffff == 0x2",
            "+write allowed",
        ]
    );
    assert!(a.differences(&a).is_empty());
    let other = Profile {
        default: Answer::errno(1),
        calls: BTreeMap::new(),
        architectures: vec![],
    };
    assert!(a.merge(other).unwrap_err().contains("ENOSYS"));
}
