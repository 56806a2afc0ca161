//! Resource limits: what proves one, and what does not.

use super::*;
use crate::{
    event::Syscall,
    explain::{
        Scene,
        rules::testing::{ask, failed, verdict as ask_verdict},
    },
};

fn knew(number: u32, limit: u64, denied: u64, level: u32) -> Evidence {
    let mut evidence = Evidence {
        denied: Some(denied),
        user_ns_level: level,
        limits: [u64::MAX; 16],
        ..Evidence::default()
    };
    evidence.limits[number as usize] = limit;
    evidence
}

fn why(call: &Syscall) -> String {
    let verdict = ask_verdict(&RULE, call, &Scene::default());
    assert_eq!(verdict.cause, Cause::Rlimit);
    verdict.why
}

fn is_ruled_out(call: &Syscall) -> bool {
    matches!(ask(&RULE, call, &Scene::default()), Finding::RuledOut(_))
}

#[test]
fn descriptors() {
    let call = failed("socket", libc::EMFILE, &[]).knowing(knew(libc::RLIMIT_NOFILE, 20, 0, 0));
    assert_eq!(
        why(&call),
        "the process has as many files open as RLIMIT_NOFILE lets it: 20"
    );
    let call = failed("dup2", libc::EBADF, &[("oldfd", 1, "1"), ("newfd", 2000, "2000")]).knowing(knew(
        libc::RLIMIT_NOFILE,
        1024,
        0,
        0,
    ));
    assert_eq!(
        why(&call),
        "descriptor 2000 was asked for, and RLIMIT_NOFILE is 1024"
    );
    let call = failed("dup2", libc::EBADF, &[("oldfd", 99, "99"), ("newfd", 2, "2")]).knowing(knew(
        libc::RLIMIT_NOFILE,
        1024,
        0,
        0,
    ));
    assert_eq!(ask(&RULE, &call, &Scene::default()), Finding::NotMine);
}

#[test]
fn an_inotify_instance_too_many_is_no_descriptor_too_many() {
    let scene = Scene {
        open_files: Some(9),
        ..Scene::default()
    };
    let call = failed("inotify_init1", libc::EMFILE, &[]).knowing(knew(libc::RLIMIT_NOFILE, 1024, 0, 0));
    assert!(matches!(ask(&RULE, &call, &scene), Finding::RuledOut(_)));
    let scene = Scene {
        open_files: Some(1024),
        ..Scene::default()
    };
    assert_eq!(ask_verdict(&RULE, &call, &scene).cause, Cause::Rlimit);
}

#[test]
fn processes_are_the_limits_when_the_kernel_asked_for_what_lifts_it() {
    let denied = 1 << CAP_SYS_RESOURCE | 1 << CAP_SYS_ADMIN;
    let evidence = Evidence {
        user_tasks: Some(5),
        ..knew(libc::RLIMIT_NPROC, 5, denied, 1)
    };
    let call = failed("clone3", libc::EAGAIN, &[]).knowing(evidence);
    assert_eq!(why(&call), "the user has 5 tasks, and RLIMIT_NPROC is 5");
    let evidence = Evidence {
        denied: Some(0),
        ..evidence
    };
    let call = failed("clone3", libc::EAGAIN, &[]).knowing(evidence);
    assert!(is_ruled_out(&call));
    let evidence = Evidence {
        denied: None,
        ..evidence
    };
    let call = failed("fork", libc::EAGAIN, &[]).knowing(evidence);
    assert_eq!(why(&call), "the user has 5 tasks, and RLIMIT_NPROC is 5");
}

#[test]
fn locked_memory() {
    let lock = |denied| {
        let evidence = knew(libc::RLIMIT_MEMLOCK, 65536, denied, 1);
        failed(
            "mlock",
            libc::ENOMEM,
            &[("start", 4096, "0x1000"), ("len", 1 << 20, "1048576")],
        )
        .knowing(evidence)
    };
    let call = lock(1 << CAP_IPC_LOCK);
    assert_eq!(
        why(&call),
        "1048576 bytes of memory were to be locked, and RLIMIT_MEMLOCK is 65536"
    );
    let verdict = ask_verdict(&RULE, &call, &Scene::default());
    assert_eq!(verdict.fixes[0].line, "--ulimit memlock=1048576:1048576");
    assert!(!verdict.fixes.iter().any(|fix| fix.line.contains("--cap-add")));
    assert!(is_ruled_out(&lock(0)), "a hole in the range fails so too");
}

#[test]
fn address_space() {
    let evidence = Evidence {
        total_vm: 1000,
        ..knew(libc::RLIMIT_AS, 8 << 20, 1 << CAP_SYS_ADMIN, 0)
    };
    let map =
        |length| failed("mmap", libc::ENOMEM, &[("addr", 0, "NULL"), ("len", length, "…")]).knowing(evidence);
    assert!(why(&map(16 << 20)).contains("RLIMIT_AS is 8388608"));
    assert!(is_ruled_out(&map(4096)));
}

#[test]
fn sizes_of_files() {
    let call = failed("write", libc::EFBIG, &[("fd", 3, "3")]).knowing(knew(libc::RLIMIT_FSIZE, 1000, 0, 0));
    assert_eq!(
        why(&call),
        "the file would become longer than RLIMIT_FSIZE, 1000 bytes"
    );
    let call = failed("ftruncate", libc::EFBIG, &[("length", 10, "10")]).knowing(knew(
        libc::RLIMIT_FSIZE,
        1000,
        0,
        0,
    ));
    assert!(is_ruled_out(&call));
}

#[test]
fn nice_values() {
    let set = |level| {
        let args = [
            ("which", 0, "PRIO_PROCESS"),
            ("who", 0, "0"),
            ("niceval", 0xffff_fff6, "-10"),
        ];
        failed("setpriority", libc::EACCES, &args).knowing(knew(
            libc::RLIMIT_NICE,
            0,
            1 << CAP_SYS_NICE,
            level,
        ))
    };
    assert_eq!(
        why(&set(1)),
        "nice value -10 was asked for, which takes a RLIMIT_NICE of 30; it is 0"
    );
    let verdict = ask_verdict(&RULE, &set(0), &Scene::default());
    let lines: Vec<_> = verdict.fixes.iter().map(|fix| &*fix.line).collect();
    assert!(lines.contains(&"--ulimit nice=30:30") && lines.contains(&"--cap-add=SYS_NICE"));
}

#[test]
fn a_hard_limit_that_is_to_be_raised() {
    let call = failed(
        "prlimit64",
        libc::EPERM,
        &[
            ("pid", 0, "0"),
            ("resource", u64::from(libc::RLIMIT_NOFILE), "RLIMIT_NOFILE"),
            ("new_rlim", 1, "{rlim_cur=1024, rlim_max=2048*1024}"),
            ("old_rlim", 0, "NULL"),
        ],
    )
    .knowing(knew(libc::RLIMIT_NOFILE, 1024, 1 << CAP_SYS_RESOURCE, 0));
    assert_eq!(
        why(&call),
        "the hard limit of RLIMIT_NOFILE was to become 2097152, which is more than it is"
    );
    let verdict = ask_verdict(&RULE, &call, &Scene::default());
    assert_eq!(verdict.fixes[0].line, "--ulimit nofile=2097152:2097152");
}
