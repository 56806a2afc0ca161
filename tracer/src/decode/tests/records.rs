//! Records: kinds, outcomes, flags, architectures.

use tracer_common::record::{self, Kind, flag, section};

use super::fake::{A::*, Fake, address, header, line, plain, push_section};
use crate::{
    decode::{self, Body, Limits, Options, Undecodable, decode},
    event::{self, Arch, DeniedBy, Exit, OutOfMemory, Outcome, Phase, ProcessEvent, Via},
    sinks::text::TextOptions,
};

fn options() -> Options {
    Options {
        arch: Arch::X86_64,
        limits: Limits::default(),
    }
}

/// A process record.
fn process(kind: Kind, flags: u16, status: u16, section: Option<(&[u8], u16)>) -> event::Process {
    with_words(kind, flags, status, [4713, 7, 9, 4711], section)
}

fn with_words(
    kind: Kind,
    flags: u16,
    status: u16,
    words: [u32; 4],
    section: Option<(&[u8], u16)>,
) -> event::Process {
    let mut bytes = header(kind, flags, status, 0);
    for word in words {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(b"nginx\0\0\0\0\0\0\0\0\0\0\0");
    if let Some((path, flags)) = section {
        push_section(&mut bytes, 0, tracer_common::filter::copy::STR, flags, 0, path);
    }
    match decode(&bytes, &options()).unwrap().body {
        Body::Process(process) => process,
        other => panic!("{other:?}"),
    }
}

#[test]
fn header_fields_reach_the_event() {
    let fake = Fake::new("getppid", [], 1).flags(flag::APP | flag::VIA_EXEC);
    let record = decode(&fake.record(), &options()).unwrap();
    assert_eq!(
        (record.slot, record.generation, record.ktime),
        (3, 9, 5_123_456_789)
    );
    let call = fake.call();
    let task = call.task;
    assert_eq!(
        (task.cpu, task.pid, task.tid, task.host_pid, task.host_tid),
        (1, 7, 8, 4711, 4712)
    );
    assert_eq!((task.phase, task.via), (Phase::App, Via::Exec));
    assert_eq!((call.seq, call.nr, call.duration_ns), (42, 110, Some(1832)));
}

#[test]
fn outcomes() {
    let outcome = |ret| Fake::new("getppid", [], ret).call().outcome;
    assert_eq!(outcome(0), Outcome::Value(0));
    assert_eq!(outcome(-4096), Outcome::Value(-4096));
    assert_eq!(outcome(-4095), Outcome::Error(4095));
    assert_eq!(outcome(-1), Outcome::Error(1));
    assert_eq!(outcome(i64::MIN), Outcome::Value(i64::MIN));
    let no_duration = Fake::new("getppid", [], 1).flags(flag::NO_DURATION).call();
    assert_eq!(no_duration.duration_ns, None);
}

#[test]
fn refused_by_seccomp() {
    let errno = Fake::new("getppid", [], -1).flags(flag::SECCOMP);
    assert_eq!(
        (errno.call().outcome, errno.call().denied_by),
        (Outcome::Error(1), Some(DeniedBy::Seccomp))
    );
    assert_eq!(
        errno.line(),
        "getppid() = -1 EPERM (Operation not permitted) (denied by seccomp)"
    );
    // A trap or a kill rolls the return register back to the number.
    let trap = Fake::new("getppid", [], 110).flags(flag::SECCOMP);
    assert_eq!(trap.call().outcome, Outcome::Refused);
    assert_eq!(trap.line(), "getppid() = ? (denied by seccomp)");
    // What was not looked at is not a fault.
    let open = Fake::new("open", [S(b"/x"), N(0)], 2).flags(flag::SECCOMP);
    assert!(!open.call().args.list[0].fault);
}

#[test]
fn unfinished() {
    assert_eq!(
        Fake::new("exit_group", [N(0)], 0).flags(flag::UNFINISHED).line(),
        "exit_group(0) = ?"
    );
    let read = Fake::new("read", [N(3), N(0x7000), N(10)], 0).flags(flag::UNFINISHED);
    assert_eq!(read.line(), "read(3, <unfinished ...>) = ?");
    let futex = Fake::new("futex", [N(0x7fff), N(0), N(1), N(0)], 0).flags(flag::UNFINISHED);
    assert_eq!(
        futex.line(),
        "futex(0x7fff, FUTEX_WAIT, 1, NULL <unfinished ...>) = ?"
    );
    assert_eq!(
        Fake::new("pause", [], 0).flags(flag::UNFINISHED).line(),
        "pause(<unfinished ...>) = ?"
    );
}

#[test]
fn faults_and_cuts_are_marked_by_argument() {
    let call = Fake::new("openat", [N(-100), Bad, N(0)], -14).call();
    assert!(call.args.list[1].fault && !call.args.list[0].fault);
    assert_eq!(
        call.args.text_of(&call.args.list[1]),
        format!("{:#x}", address(1))
    );
    let call = Fake::new(
        "write",
        [N(1), S(b"0123456789012345678901234567890123456789"), N(40)],
        40,
    )
    .call();
    assert!(call.args.list[1].truncated);
    // An output of a call that failed is no fault.
    let call = Fake::new("read", [N(1), N(0x10), N(40)], -9).call();
    assert!(!call.args.list[1].fault);
    // Neither is an argument that only looks like a pointer to the table.
    let call = Fake::new("fcntl", [N(1), N(i64::from(libc::F_SETFL)), N(2)], 0).call();
    assert!(!call.args.list[2].fault);
}

#[test]
fn names_of_calls_without_a_name() {
    let mut record = header(Kind::Syscall, 0, 999, 6);
    record.extend([0; 8]);
    record.extend((-38_i64).to_le_bytes());
    record.extend((1..=6_u64).flat_map(u64::to_le_bytes));
    let Body::Syscall(call) = decode(&record, &options()).unwrap().body else {
        panic!()
    };
    let options = TextOptions {
        show_pid: false,
        show_duration: false,
        ..plain()
    };
    assert_eq!(
        line(event::Body::Syscall(call), &options),
        "syscall_0x3e7(0x1, 0x2, 0x3, 0x4, 0x5, 0x6) = -1 ENOSYS (Function not implemented)"
    );
}

#[test]
fn other_tables() {
    let open = Fake::on(Arch::I386, "openat", [N(0xffff_ff9c), S(b"/x"), N(0)], 3);
    assert_eq!(open.call().arch, Arch::I386);
    assert_eq!(open.line(), r#"openat(AT_FDCWD, "/x", O_RDONLY) = 3 [i386]"#);
    // A layout of another word size is not read, and that is no fault.
    let stat = Fake::on(Arch::I386, "stat64", [S(b"/x"), B(vec![0; 64])], 0);
    assert_eq!(stat.line(), r#"stat64("/x", 0x7100) = 0 [i386]"#);
    assert!(!stat.call().args.list[1].fault);
    let mmap = Fake::on(
        Arch::I386,
        "mmap2",
        [N(0), N(4096), N(1), N(2), N(-1), N(0)],
        0x1000,
    );
    assert_eq!(
        mmap.line(),
        "mmap2(NULL, 4096, PROT_READ, MAP_PRIVATE, -1, 0) = 0x1000 [i386]"
    );
    let clone = Fake::on(Arch::I386, "clone", [N(17), N(0), N(0), N(0), N(0)], 5);
    assert_eq!(clone.line(), "clone(child_stack=NULL, flags=SIGCHLD) = 5 [i386]");
    let stat = Fake::on(
        Arch::Aarch64,
        "newfstatat",
        [
            N(-100),
            S(b"/x"),
            B([vec![0; 16], vec![0xa4, 0x81], vec![0; 46]].concat()),
            N(0),
        ],
        0,
    );
    assert_eq!(
        stat.line(),
        r#"newfstatat(AT_FDCWD, "/x", {st_mode=S_IFREG|0644, st_size=0, ...}, 0) = 0"#
    );
    // x32: bit 14 stands for bit 30, and no memory is copied.
    let nr = tracer_common::filter::NR_X32 | 39;
    let x32 = Fake {
        arch: Arch::X86_64,
        nr,
        ret: -38,
        flags: 0,
        args: vec![],
        blind: false,
    };
    assert_eq!(
        (x32.call().arch, x32.call().nr, x32.call().name.as_ref()),
        (Arch::X32, 0x4000_0027, "getpid")
    );
    assert_eq!(decode::name(Arch::X32, 0x4000_0000 | 520), Some("execve"));
}

#[test]
fn processes() {
    let fork = process(Kind::Fork, flag::THREAD, 0, None);
    let ProcessEvent::Fork {
        pid,
        tid,
        host_pid,
        host_tid,
        comm,
        thread,
    } = fork.what
    else {
        panic!()
    };
    assert_eq!(
        (pid, tid, host_pid, host_tid, comm.bytes(), thread),
        (7, 9, 4711, 4713, &b"nginx"[..], true)
    );
    let exec = process(Kind::Exec, 0, 0, Some((b"/bin/a\xff", section::CUT)));
    let ProcessEvent::Exec { path, truncated } = exec.what else {
        panic!()
    };
    assert_eq!((path.as_slice(), truncated), (&b"/bin/a\xff"[..], true));
    assert_eq!(exec.task.comm.bytes(), b"nginx");
    let text = |status| {
        line(
            event::Body::Process(process(Kind::Exit, 0, status, None)),
            &plain(),
        )
    };
    assert_eq!(text(0x300), "[pid     8] +++ exited with 3 +++");
    assert_eq!(text(9), "[pid     8] +++ killed by SIGKILL +++");
    assert_eq!(text(0x86), "[pid     8] +++ killed by SIGABRT (core dumped) +++");
    let join = process(Kind::Join, 0, 0, None);
    assert!(matches!(join.what, ProcessEvent::Join));
    let exit = process(Kind::Exit, 0, 0x8b, None);
    assert!(matches!(
        exit.what,
        ProcessEvent::Exit {
            code: Exit::Signal {
                number: 11,
                core_dumped: true
            },
            oom: None,
        }
    ));
    let oom = |level, max| {
        let words = record::OutOfMemory { level, max }.words();
        match with_words(Kind::Exit, flag::OOM, 9, words, None).what {
            ProcessEvent::Exit { oom, .. } => oom,
            other => panic!("{other:?}"),
        }
    };
    let told = |level, max| Some(OutOfMemory { level, max });
    assert_eq!(oom(1, 24 << 20), told(Some(0), Some(24 << 20)));
    assert_eq!(oom(3, 5 << 32), told(Some(2), Some(5 << 32)));
    assert_eq!(oom(2, (1 << 63) - 4096), told(Some(1), None));
    assert_eq!(oom(0, 0), told(None, None));
}

#[test]
fn what_is_no_record() {
    let good = Fake::new("openat", [N(-100), S(b"/x"), N(0)], 3).record();
    let short = |have, need| Some(Undecodable::Short { have, need });
    assert_eq!(decode(&[], &options()).err(), short(0, 48));
    assert_eq!(
        decode(&good[..good.len() - 1], &options()).err(),
        short(good.len() - 1, good.len())
    );
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        decode(&bytes, &options()).err()
    };
    assert_eq!(with(0, 77), Some(Undecodable::Kind(77)));
    assert_eq!(with(14, 7), Some(Undecodable::Arguments(7)));
    assert_eq!(with(64 + 4 * 8, 6), Some(Undecodable::Section { arg: 6 }));
}
