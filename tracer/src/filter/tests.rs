//! What people type, and which calls pass.

use std::borrow::Cow;

use super::*;
use crate::event::{Arg, Args, Comm, Task};

fn words(expressions: &[&str]) -> Words {
    Words {
        expressions: expressions.iter().map(|word| (*word).to_owned()).collect(),
        ..Words::default()
    }
}

fn filter(expressions: &[&str]) -> Filter {
    Filter::new(&words(expressions), Arch::X86_64).unwrap()
}

fn of(words: &Words) -> Filter {
    Filter::new(words, Arch::X86_64).unwrap()
}

fn error(expressions: &[&str]) -> String {
    Filter::new(&words(expressions), Arch::X86_64).unwrap_err()
}

fn call_of(arch: Arch, name: &str, outcome: Outcome) -> Syscall {
    let nr = (0..1024)
        .find(|nr| decode::name(arch, *nr) == Some(name))
        .unwrap_or(1000);
    Syscall {
        task: Task::default(),
        seq: 1,
        arch,
        nr: if arch == Arch::X32 { nr | X32_MARK } else { nr },
        name: Cow::Owned(name.to_owned()),
        args: Args::default(),
        outcome,
        duration_ns: Some(1_000),
        denied_by: None,
        negative: None,
        evidence: None,
    }
}

fn call(name: &str) -> Syscall {
    call_of(Arch::X86_64, name, Outcome::Value(0))
}

/// The native calls that pass, by name.
fn names(expression: &str) -> Vec<&'static str> {
    let filter = filter(&[expression]);
    (0..1024)
        .filter_map(|nr| decode::name(Arch::X86_64, nr))
        .filter(|name| filter.takes(&call(name)))
        .collect()
}

#[test]
fn nothing_asked_for_is_everything() {
    let filter = of(&Words::default());
    assert_eq!(filter, Filter::default());
    assert!(filter.takes(&call("openat")) && filter.takes(&call("no such")));
    assert_eq!(Filter::union([]), kernel::Filter::ALL);
    assert_eq!(Filter::union([&filter]).active, 0);
}

#[test]
fn sets_are_read_as_strace_reads_them() {
    assert_eq!(names("openat,close"), ["close", "openat"]);
    assert_eq!(names("trace=openat"), ["openat"]);
    assert_eq!(names("t=none"), [""; 0]);
    assert_eq!(names("?nosuch,getpid"), ["getpid"]);
    assert_eq!(
        names("/^sched_get_prio"),
        ["sched_get_priority_max", "sched_get_priority_min"]
    );
    assert_eq!(names("%%statfs"), ["ustat", "statfs", "fstatfs"]);
    assert_eq!(
        names("%clock,!time,!/^clock_"),
        ["gettimeofday", "adjtimex", "settimeofday"]
    );
    let all = names("all").len();
    assert_eq!(names("!openat,close").len(), all - 2);
    assert_eq!(names("!!openat"), ["openat"]);
    assert_eq!(names("!all").len(), 0);
    // The last of each kind holds; another kind narrows it.
    assert!(!filter(&["openat", "close"]).takes(&call("openat")));
    let failed = filter(&["openat", "status=failed"]);
    assert!(!failed.takes(&call("openat")));
    assert!(failed.takes(&call_of(Arch::X86_64, "openat", Outcome::Error(2))));
    // Calls without a name are in what is everything but some.
    assert!(filter(&["!openat"]).takes(&call("no such")) && !filter(&["openat"]).takes(&call("no such")));
}

#[test]
fn numbers_and_tables_are_read_as_strace_reads_them() {
    let compat = |name| call_of(Arch::I386, name, Outcome::Value(0));
    assert_eq!(names("0,39"), ["read", "getpid"]);
    assert_eq!(names("!all,1"), [""; 0]);
    // 39 is another call in the 32-bit table.
    let both = filter(&["39"]);
    assert!(both.takes(&call("getpid")) && both.takes(&compat("mkdir")) && !both.takes(&compat("getpid")));
    assert!(!filter(&["39@64"]).takes(&compat("mkdir")) && filter(&["39@32"]).takes(&compat("mkdir")));
    // What has no name here has a number: kernels go on.
    assert!(filter(&["1000"]).takes(&call("no such")) && !filter(&["999"]).takes(&call("no such")));
    for (set, native, other) in [
        ("openat", true, true),
        ("openat@64", true, false),
        ("openat@32", false, true),
        ("%file@64", true, false),
        ("/^openat$@32", false, true),
        ("all@64", true, false),
        ("all,!openat@32", true, false),
        ("!openat@64", false, true),
        ("?nosuch@64,openat@32", false, true),
    ] {
        let filter = filter(&[set]);
        assert_eq!(filter.takes(&call("openat")), native, "{set}");
        assert_eq!(filter.takes(&compat("openat")), other, "{set}");
    }
    for (set, says) in [
        ("1023", "0 to 1022"),
        ("12monkeys", "0 to 1022"),
        ("openat@128", "@64 or @32"),
        ("openat@", "@64 or @32"),
        ("openat@x32", "not told apart"),
    ] {
        assert!(error(&[set]).contains(says), "{set}: {}", error(&[set]));
    }
}

#[test]
fn classes_are_what_strace_says_they_are() {
    for (class, inside, outside) in [
        (
            "%file",
            "open openat execve stat statx unlinkat rename symlinkat mount umount2 getcwd quotactl fsconfig",
            "read close memfd_create mq_open fsopen delete_module add_key ioctl fchmod",
        ),
        (
            "%desc",
            "read close openat creat pipe2 mmap epoll_wait ioctl poll splice newfstatat dup2 mq_open sendfile",
            "socket connect execve unlink getpid munmap",
        ),
        (
            "%network",
            "socket connect accept4 sendmsg sendfile",
            "read close",
        ),
        ("%process", "clone3 execve exit_group wait4 kill", "getpid ptrace"),
        ("%signal", "rt_sigaction kill signalfd4", "wait4"),
        ("%ipc", "shmat semop msgget", "mq_open"),
        ("%memory", "mmap brk munmap mseal", "read"),
        ("%creds", "getuid setresgid capset", "getpid"),
        ("%pure", "getpid getegid", "getsid"),
        ("%stat", "stat", "lstat fstat"),
        ("%%stat", "stat lstat fstat newfstatat statx", "statfs"),
        ("file", "openat", "read"),
    ] {
        let filter = filter(&[class]);
        for name in inside.split(' ') {
            assert!(filter.takes(&call(name)), "{name} is in {class}");
        }
        for name in outside.split(' ') {
            assert!(!filter.takes(&call(name)), "{name} is not in {class}");
        }
    }
    for class in classes::NAMES {
        assert!(
            names(class).len() < 200 && !names(class).is_empty(),
            "{class}: {:?}",
            names(class)
        );
    }
}

#[test]
fn other_tables_have_their_own_numbers() {
    let filter = filter(&["execve,stat64"]);
    for (arch, name, taken) in [
        (Arch::I386, "execve", true),
        (Arch::I386, "stat64", true),
        (Arch::I386, "munmap", false),
        (Arch::X32, "execve", true),
        (Arch::X32, "readv", false),
        (Arch::X32, "getpid", false),
    ] {
        let call = call_of(arch, name, Outcome::Value(0));
        assert_eq!(filter.takes(&call), taken, "{arch:?} {name}");
    }
}

#[test]
fn outcomes() {
    let with = |outcome| call_of(Arch::X86_64, "openat", outcome);
    let passing = |words: &Words| {
        let filter = of(words);
        [
            Outcome::Value(3),
            Outcome::Error(2),
            Outcome::Error(512),
            Outcome::Unfinished,
            Outcome::Refused,
        ]
        .map(|outcome| filter.takes(&with(outcome)))
    };
    let status = |set: &str| passing(&words(&[&format!("status={set}")]));
    assert_eq!(status("successful"), [true, false, false, false, false]);
    assert_eq!(status("failed"), [false, true, true, false, false]);
    assert_eq!(
        status("unfinished,unavailable"),
        [false, false, false, true, true]
    );
    assert_eq!(status("!failed"), [true, false, false, true, true]);
    assert_eq!(status("none"), [false; 5]);
    assert_eq!(status("all"), [true; 5]);
    let mut only = Words {
        failed: true,
        ..Words::default()
    };
    assert_eq!(passing(&only), status("failed"));
    only.errnos = vec!["ENOENT,EACCES".into(), "13".into()];
    assert_eq!(passing(&only), [false, true, false, false, false]);
    only.errnos = vec!["ERESTARTSYS".into()];
    assert_eq!(passing(&only), [false, false, true, false, false]);
    only = Words {
        successful: true,
        ..Words::default()
    };
    assert_eq!(passing(&only), status("successful"));
}

#[test]
fn names_durations_and_paths() {
    let mut one = call("openat");
    one.task.comm = Comm(*b"kworker/u8:0-ev\0");
    one.args = Args {
        text: "AT_FDCWD\"/tmp/a\\nb\"".into(),
        list: vec![arg(0..8), arg(8..19)],
        ..Args::default()
    };
    let with = |change: &dyn Fn(&mut Words)| {
        let mut words = Words::default();
        change(&mut words);
        of(&words).takes(&one)
    };
    assert!(with(
        &|words| words.comms = vec!["sh".into(), "kworker/u8:0-events".into()]
    ));
    assert!(!with(&|words| words.comms = vec!["kworker".into()]));
    assert!(with(&|words| words.min_ns = 1_000));
    assert!(!with(&|words| words.min_ns = 1_001));
    assert!(with(
        &|words| words.paths = vec!["/etc".into(), "/tmp/a\nb".into()]
    ));
    assert!(!with(&|words| words.paths = vec!["/tmp".into()]));
}

fn arg(text: std::ops::Range<usize>) -> Arg {
    Arg {
        name: "filename",
        raw: 0,
        text,
        truncated: false,
        fault: false,
    }
}

#[test]
fn the_kernel_lets_pass_what_any_of_them_takes() {
    let (a, b) = (filter(&["openat", "status=failed"]), filter(&["close"]));
    let union = Filter::union([&a, &b]);
    let passes = |call: &Syscall| union.passes(index(call), outcome(call), 0);
    assert!(passes(&call_of(Arch::X86_64, "openat", Outcome::Error(2))) && passes(&call("close")));
    assert!(!passes(&call("read")));
    let comm = of(&Words {
        comms: vec!["sh".into()],
        ..Words::default()
    });
    assert_eq!(
        Filter::union([&a, &comm]),
        kernel::Filter::ALL,
        "names are not the kernel side's"
    );
    let path = of(&Words {
        paths: vec!["/etc".into()],
        ..Words::default()
    });
    let pushed = Filter::union([&path]);
    assert!(pushed.passes(index(&call("openat")), 0, 0) && !pushed.passes(index(&call("getpid")), 0, 0));
    assert_eq!(pushed.rename, [157, 1024 + 172]);
}

#[test]
fn a_call_that_nobody_takes_is_light_unless_the_kernel_side_needs_more_of_it() {
    let files = filter(&["%file"]);
    let sockets = filter(&["trace=%network", "status=failed"]);
    let light = |filter: &kernel::Filter, name: &str| filter.is_light(index(&call(name)));
    let union = Filter::union([&files, &sockets]);
    for (name, of_files, of_both) in [
        ("read", true, true),
        ("openat", false, false),
        ("connect", true, false),
        ("exit_group", true, true),
        // Its strings, its task's new name, its number.
        ("execve", false, false),
        ("prctl", false, false),
        ("rt_sigreturn", false, false),
    ] {
        assert_eq!(light(&files.kernel, name), of_files, "{name} of the one");
        assert_eq!(light(&union, name), of_both, "{name} of both");
    }
    // Who takes all by name and drops by outcome has to know each call whole.
    assert_eq!(filter(&["status=failed"]).kernel.light, [0; kernel::CALL_WORDS]);
    assert!(!kernel::Filter::ALL.is_light(0));
}

#[test]
fn a_call_taken_by_how_it_ends_is_light_where_nothing_more_is_shown_of_its_begin() {
    let light = |filter: &kernel::Filter, name: &str| filter.is_light(index(&call(name)));
    let failed = |begin| Words {
        failed: true,
        begin,
        ..words(&["%file,%network"])
    };
    let timed = |filter: &kernel::Filter| filter.active & kernel::Filter::TIMES != 0;
    let of = |words: &Words| of(words).kernel;
    let (nothing, time, whole) = (
        of(&failed(Begin::Nothing)),
        of(&failed(Begin::Time)),
        of(&failed(Begin::Whole)),
    );
    assert!(!timed(&nothing) && timed(&time) && !timed(&whole));
    for (name, late) in [
        ("openat", true),
        ("newfstatat", true),
        ("connect", true),
        // What they write over is copied first; the strings of the other are.
        ("accept4", false),
        ("recvmsg", false),
        ("execve", false),
    ] {
        assert_eq!(light(&nothing, name), late, "{name}");
        assert_eq!(light(&time, name), late, "{name}, timed");
        assert!(!light(&whole, name), "{name}, whole");
        assert!(nothing.takes(index(&call(name))));
    }
    assert!(light(&nothing, "read") && light(&whole, "read"));

    // By how a call ends alone: not by its duration, nor by what its descriptors are.
    for more in [
        Words {
            min_ns: 1,
            ..failed(Begin::Nothing)
        },
        Words {
            paths: vec!["/".into()],
            ..failed(Begin::Nothing)
        },
        Words {
            failed: false,
            ..failed(Begin::Nothing)
        },
    ] {
        let filter = of(&more);
        assert!(!light(&filter, "openat") && !timed(&filter), "{more:?}");
        // Nor where the container itself asked for no others.
        assert!(
            !light(&both(&filter, &nothing), "openat") || filter.outcomes == kernel::Filter::ALL.outcomes
        );
    }
    // A container's own filter that is looked up by name takes nothing from that.
    assert!(light(&both(&of(&words(&["openat"])), &time), "openat"));
    assert!(timed(&both(&of(&words(&["openat"])), &time)));

    // Each reader has what it shows.
    let filter = |words: &Words| Filter::new(words, Arch::X86_64).unwrap();
    let (a, b) = (filter(&failed(Begin::Nothing)), filter(&failed(Begin::Whole)));
    let c = filter(&failed(Begin::Time));
    assert!(!light(&Filter::union([&a, &b]), "openat"));
    assert!(light(&Filter::union([&a, &c]), "openat") && timed(&Filter::union([&a, &c])));
    let reads = filter(&words(&["read"]));
    assert!(light(&Filter::union([&a, &reads]), "openat") && !light(&Filter::union([&a, &reads]), "read"));
}

#[test]
fn errors_name_the_word() {
    for (expression, says) in [
        ("nosuch", "no system call \"nosuch\""),
        ("openat,", "no system call \"\" on this machine:"),
        (
            "trace=%file,opnat",
            "no system call \"opnat\" on this machine (did you mean openat?)",
        ),
        (
            "sched_setshceduler",
            "no system call \"sched_setshceduler\" on this machine (did you mean sched_setscheduler?)",
        ),
        ("%nosuch", "no class \"%nosuch\": %file"),
        ("status=odd", "no status \"odd\": successful"),
        ("abbrev=all", "\"abbrev\" is no filter: trace=SET"),
        ("/(", "/(:"),
    ] {
        let error = error(&[expression]);
        assert!(error.starts_with(says), "{expression}: {error}");
    }
    let wrong = Words {
        errnos: vec!["EWHAT".into()],
        ..Words::default()
    };
    let error = Filter::new(&wrong, Arch::X86_64).unwrap_err();
    assert!(
        error.starts_with("no errno \"EWHAT\": a name like ENOENT"),
        "{error}"
    );
}

#[test]
fn a_diagnosis_passes_as_the_call_that_it_explains() {
    use crate::event::{Cause, Verdict};
    let found = |name: &str, errno: Option<u16>| Diagnosis {
        task: Task {
            comm: Comm(*b"cat\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            ..Task::default()
        },
        arch: Arch::X86_64,
        nr: call_of(Arch::X86_64, name, Outcome::Value(0)).nr,
        syscall: name.to_owned().into(),
        errno,
        call: String::new(),
        count: 1,
        verdict: Verdict {
            cause: Cause::Undetermined,
            why: String::new(),
            evidence: Vec::new(),
            fixes: Vec::new(),
            ruled_out: Vec::new(),
        },
    };
    let mount = found("mount", Some(1));
    assert!(Filter::default().takes_failure(&mount));
    assert!(filter(&["trace=mount"]).takes_failure(&mount));
    assert!(!filter(&["trace=setuid"]).takes_failure(&mount));
    assert!(!filter(&["!mount"]).takes_failure(&mount));
    assert!(filter(&["status=unavailable"]).takes_failure(&found("mount", None)));
    // No call failed of a process that was killed.
    let killed = Diagnosis {
        syscall: "".into(),
        nr: u32::MAX,
        ..found("mount", None)
    };
    assert!(filter(&["trace=mount"]).takes_failure(&killed));
    let of_errno = |errno: &str| {
        of(&Words {
            errnos: vec![errno.to_owned()],
            ..Words::default()
        })
    };
    assert!(of_errno("EPERM").takes_failure(&mount));
    assert!(!of_errno("EACCES").takes_failure(&mount));
    let of_comm = |comm: &str| {
        of(&Words {
            comms: vec![comm.to_owned()],
            ..Words::default()
        })
    };
    assert!(of_comm("cat").takes_failure(&mount));
    assert!(!of_comm("sh").takes_failure(&mount));
}
