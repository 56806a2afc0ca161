//! What the kernel knew of a task whose call failed.

use tracer_common::{
    filter::{copy, plan, wants_evidence},
    record::{self, evidence},
};

use super::fake::{A::*, Fake, push_section};
use crate::{
    decode::{self, Body, Limits, Undecodable, decode},
    event::{self, Arch},
};

/// Words that tell the fields apart: each holds its place.
fn section(flags: u32) -> Vec<u8> {
    let mut bytes: Vec<u8> = (1..=29_u64).flat_map(u64::to_le_bytes).collect();
    bytes.extend((101..=108_u32).flat_map(u32::to_le_bytes));
    bytes.extend(flags.to_le_bytes());
    bytes.extend(2_u32.to_le_bytes());
    bytes
}

fn with(bytes: &[u8]) -> Result<event::Syscall, Undecodable> {
    let fake = Fake::new("chroot", [S(b"/")], -1);
    let mut record = fake.record();
    push_section(&mut record, 0, copy::EVIDENCE, 0, 0, bytes);
    decode(&record, &fake.options()).map(|record| match record.body {
        Body::Syscall(call) => call,
        other => panic!("{other:?}"),
    })
}

#[test]
fn all_of_it_reaches_the_event() {
    let bytes =
        section(evidence::NO_NEW_PRIVS | evidence::RT_GROUP | evidence::CAPABILITIES | evidence::USER_TASKS);
    assert_eq!(bytes.len(), size_of::<record::Evidence>());
    let call = with(&bytes).unwrap();
    let expected = event::Evidence {
        denied: Some(1),
        granted: Some(2),
        effective: 3,
        permitted: 4,
        bounding: 5,
        limits: std::array::from_fn(|index| 6 + index as u64),
        hard_rtprio: 22,
        hard_nice: 23,
        hard_nofile: 24,
        hard_nproc: 25,
        rt_runtime: Some(26),
        total_vm: 27,
        locked_vm: 28,
        user_tasks: Some(29),
        user_ns: 101,
        denied_ns: Some((102, 104)),
        user_ns_level: 103,
        euid: 105,
        fsuid: 106,
        egid: 107,
        fsgid: 108,
        no_new_privs: true,
        seccomp: 2,
    };
    assert_eq!(call.evidence.as_deref(), Some(&expected));
    // It is no memory of the call's: the line is as without it.
    assert_eq!(call.args.list.len(), 1);
    assert_eq!(call.args.text_of(&call.args.list[0]), "\"/\"");
}

#[test]
fn what_the_kernel_side_does_not_know_is_not_told() {
    let call = with(&section(0)).unwrap();
    let seen = call.evidence.unwrap();
    assert_eq!(
        (
            seen.denied,
            seen.granted,
            seen.denied_ns,
            seen.rt_runtime,
            seen.user_tasks
        ),
        (None, None, None, None, None)
    );
    assert!(!seen.no_new_privs);
    assert!(Fake::new("chroot", [S(b"/")], -1).call().evidence.is_none());
}

#[test]
fn a_cut_section_is_undecodable() {
    let bytes = section(0);
    for len in 0..bytes.len() {
        assert!(
            matches!(with(&bytes[..len]), Err(Undecodable::Short { .. })),
            "{len} bytes"
        );
    }
    // A later version may say more.
    assert!(with(&[bytes.as_slice(), &[0; 8]].concat()).is_ok());
}

#[test]
fn which_failures_want_a_reason() {
    let plans: Vec<_> = decode::plans(Arch::X86_64, Limits::default()).collect();
    let refusal = |name: &str| {
        let nr = u32::from(super::fake::number(Arch::X86_64, name));
        let (_, plan) = plans.iter().find(|(at, _)| *at == nr).unwrap();
        plan.flags & plan::EVIDENCE != 0
    };
    let wants = |name: &str, errno: i32| wants_evidence(u16::try_from(errno).unwrap(), refusal(name));
    for errno in [
        libc::EPERM,
        libc::EACCES,
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOMEM,
        libc::ENOSPC,
        libc::EROFS,
        libc::EFBIG,
        libc::ENOEXEC,
        libc::EUSERS,
        libc::EDQUOT,
        libc::EOVERFLOW,
    ] {
        assert!(wants("read", errno), "errno {errno}");
    }
    for errno in [libc::ENOENT, libc::EINVAL, libc::EINTR, libc::EAGAIN, 512, 4095] {
        assert!(!wants("read", errno), "errno {errno}");
    }
    assert!(wants("clone", libc::EAGAIN) && wants("mlock", libc::EAGAIN) && wants("execve", libc::EAGAIN));
    assert!(!wants("clone", libc::ENOENT) && !wants("recvmsg", libc::EAGAIN));
}
