//! Calls that this kernel does not have, and arguments that no kernel takes. Only what the man page leaves no doubt of is
//! called the program's mistake; other EINVALs stay undetermined.

use super::{Rule, words};
use crate::{
    errno,
    event::{Cause, Place},
    explain::{Case, Finding, case::Found},
    follow::{Access, Descriptor, State},
};

pub(super) const RULE: Rule = Rule {
    name: "asked",
    source: "the man page of each call: ENOSYS, EAFNOSUPPORT, ENOPROTOOPT, EINVAL, EBADF, EFAULT",
    judge,
};

/// An EINVAL with one reason.
struct Mistake {
    calls: &'static [&'static str],
    is: fn(&Case<'_>) -> bool,
    why: &'static str,
    source: &'static str,
}

const SIGNALS: u64 = 64;

fn raw(case: &Case<'_>, name: &str) -> Option<u64> {
    case.raw(name)
}

fn int(case: &Case<'_>, name: &str) -> Option<i32> {
    case.raw(name).map(|raw| raw as u32 as i32)
}

const MISTAKES: &[Mistake] = &[
    Mistake {
        calls: &["kill", "tkill", "tgkill", "rt_sigqueueinfo"],
        is: |case| int(case, "sig").is_some_and(|sig| sig < 0 || sig as u64 > SIGNALS),
        why: "there is no signal of that number: they go from 1 to 64",
        source: "kill(2): EINVAL",
    },
    Mistake {
        calls: &["rt_sigaction"],
        is: |case| {
            matches!(int(case, "sig"), Some(libc::SIGKILL | libc::SIGSTOP))
                || int(case, "sig").is_some_and(|sig| sig < 1 || sig as u64 > SIGNALS)
        },
        why: "SIGKILL and SIGSTOP cannot be caught or ignored, and signals go from 1 to 64",
        source: "sigaction(2): EINVAL",
    },
    Mistake {
        calls: &["mmap"],
        is: |case| raw(case, "len") == Some(0),
        why: "a mapping of 0 bytes was asked for",
        source: "mmap(2): EINVAL",
    },
    Mistake {
        calls: &["mmap"],
        is: |case| raw(case, "flags").is_some_and(|flags| flags & 3 == 0),
        why: "neither MAP_SHARED nor MAP_PRIVATE was asked for",
        source: "mmap(2): EINVAL",
    },
    Mistake {
        calls: &["mmap"],
        is: |case| raw(case, "off").is_some_and(|offset| offset & 0xfff != 0),
        why: "the offset is no multiple of the page size",
        source: "mmap(2): EINVAL",
    },
    Mistake {
        calls: &["munmap"],
        is: |case| raw(case, "addr").is_some_and(|addr| addr & 0xfff != 0) || raw(case, "len") == Some(0),
        why: "the address is no multiple of the page size, or the length is 0",
        source: "munmap(2): EINVAL",
    },
    Mistake {
        calls: &["mprotect", "madvise", "msync", "mremap"],
        is: |case| {
            ["start", "addr"]
                .iter()
                .any(|arg| raw(case, arg).is_some_and(|addr| addr & 0xfff != 0))
        },
        why: "the address is no multiple of the page size",
        source: "mprotect(2), madvise(2): EINVAL",
    },
    Mistake {
        calls: &["sched_setscheduler"],
        // SCHED_EXT is 7 (include/uapi/linux/sched.h); SCHED_RESET_ON_FORK may stand beside the number.
        is: |case| int(case, "policy").is_some_and(|policy| !(0..=7).contains(&(policy & !0x4000_0000))),
        why: "there is no scheduling policy of that number",
        source: "sched_setscheduler(2): EINVAL",
    },
    Mistake {
        calls: &["sched_setscheduler"],
        is: |case| {
            let realtime = case.says("SCHED_FIFO") || case.says("SCHED_RR");
            let priority = case
                .text("param")
                .and_then(|text| text.trim_matches(['[', ']']).parse::<i64>().ok());
            priority.is_some_and(|priority| {
                if realtime {
                    !(1..=99).contains(&priority)
                } else {
                    priority != 0
                }
            })
        },
        why: "the priority must be from 1 to 99 for SCHED_FIFO and SCHED_RR, and 0 for other policies",
        source: "sched_setscheduler(2): EINVAL; sched(7)",
    },
    Mistake {
        calls: &["epoll_wait", "epoll_pwait", "epoll_pwait2"],
        is: |case| int(case, "maxevents").is_some_and(|max| max <= 0),
        why: "maxevents must be more than 0",
        source: "epoll_wait(2): EINVAL",
    },
    Mistake {
        calls: &["epoll_create"],
        is: |case| int(case, "size").is_some_and(|size| size <= 0),
        why: "the size must be more than 0",
        source: "epoll_create(2): EINVAL",
    },
    Mistake {
        calls: &["dup3"],
        is: |case| {
            raw(case, "oldfd").is_some_and(|old| Some(old as u32) == raw(case, "newfd").map(|new| new as u32))
        },
        why: "both descriptors are the same",
        source: "dup3(2): EINVAL",
    },
    Mistake {
        calls: &["ftruncate", "truncate"],
        is: |case| raw(case, "length").is_some_and(|length| length.cast_signed() < 0),
        why: "the length is negative",
        source: "truncate(2): EINVAL",
    },
    Mistake {
        calls: &["lseek"],
        is: |case| int(case, "whence").is_some_and(|whence| !(0..=4).contains(&whence)),
        why: "whence is none of SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE",
        source: "lseek(2): EINVAL",
    },
    Mistake {
        calls: &["access", "faccessat", "faccessat2"],
        is: |case| raw(case, "mode").is_some_and(|mode| mode as u32 & !7 != 0),
        why: "the mode has more than R_OK, W_OK and X_OK",
        source: "access(2): EINVAL",
    },
    Mistake {
        calls: &["setrlimit", "getrlimit", "prlimit64"],
        is: |case| raw(case, "resource").is_some_and(|resource| resource as u32 > 15),
        why: "there is no limit of that number",
        source: "getrlimit(2): EINVAL",
    },
    Mistake {
        calls: &["socket"],
        is: |case| raw(case, "type").is_some_and(|kind| !(1..=10).contains(&(kind & 0xf))),
        why: "there is no socket type of that number",
        source: "socket(2): EINVAL",
    },
    Mistake {
        calls: &["shutdown"],
        is: |case| int(case, "how").is_some_and(|how| !(0..=2).contains(&how)),
        why: "how is none of SHUT_RD, SHUT_WR, SHUT_RDWR",
        source: "shutdown(2): EINVAL",
    },
];

/// Calls of which only the descriptor can be what is bad.
const ONE_FD: &[&str] = &[
    "read",
    "write",
    "readv",
    "writev",
    "pread64",
    "pwrite64",
    "fstat",
    "lseek",
    "fsync",
    "fdatasync",
    "ftruncate",
    "dup",
    "getdents",
    "getdents64",
    "fchmod",
    "fchown",
    "fchdir",
    "flock",
    "listen",
    "accept",
    "accept4",
    "connect",
    "bind",
    "getsockname",
    "getpeername",
    "getsockopt",
    "setsockopt",
    "sendto",
    "recvfrom",
    "shutdown",
    "ioctl",
    "fcntl",
    "fstatfs",
    "fallocate",
    "timerfd_settime",
    "timerfd_gettime",
    "inotify_add_watch",
    "inotify_rm_watch",
    "epoll_wait",
    "epoll_pwait",
    "recvmsg",
    "sendmsg",
];

fn judge(case: &Case<'_>) -> Finding {
    match case.errno() {
        Some(libc::ENOSYS) => no_call(case),
        Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::ESOCKTNOSUPPORT)
            if case.is(&["socket", "socketpair"]) =>
        {
            no_family(case)
        }
        Some(libc::ENOPROTOOPT) if case.is(&["setsockopt", "getsockopt"]) => Found::new(
            Cause::Unsupported,
            format!(
                "this kernel, or this kind of socket, has no option {}",
                case.text("optname").unwrap_or("of that number")
            ),
        )
        .always("getsockopt(2): ENOPROTOOPT")
        .done(),
        Some(libc::EFAULT) => bad_address(case),
        Some(libc::EBADF) => bad_descriptor(case),
        Some(libc::ENOTSOCK) => Found::new(Cause::Arguments, format!("descriptor {} is no socket", fd(case)))
            .always("socket(2): ENOTSOCK")
            .fix(
                Place::Program,
                "a descriptor that was closed and used again, perhaps",
            )
            .done(),
        Some(libc::EINVAL) if case.is(&["sched_setaffinity"]) => no_processor(case),
        Some(libc::EISDIR) => Found::new(Cause::Arguments, "it is a directory, and the call is for files")
            .always("open(2), read(2), unlink(2): EISDIR")
            .fix(
                Place::Program,
                "the name of a file; where a volume's source is not there, docker makes a directory of it",
            )
            .done(),
        Some(libc::EINVAL) => invalid(case),
        _ => Finding::NotMine,
    }
}

/// The kernel takes of the processors that are asked for those that the cpuset has, and fails where none is left.
fn no_processor(case: &Case<'_>) -> Finding {
    let asked = case.text("user_mask_ptr").unwrap_or("the processors asked for");
    Found::new(
        Cause::Arguments,
        format!("none of {asked} is a processor that is online and that the container may run on"),
    )
    .always("sched_setaffinity(2): EINVAL; kernel/sched/syscalls.c: __sched_setaffinity, cpuset(7)")
    .flag("--cpuset-cpus=LIST with one of them, where it is narrower")
    .fix(
        Place::Kubernetes,
        "the kubelet's cpuManagerPolicy: static gives a Pod processors whose numbers it does not choose",
    )
    .fix(
        Place::Program,
        "ask which there are (sched_getaffinity(2), nproc), and choose among those",
    )
    .done()
}

fn fd(case: &Case<'_>) -> String {
    ["fd", "sockfd", "oldfd", "epfd", "ufd"]
        .iter()
        .find_map(|name| int(case, name))
        .map_or_else(|| "it was given".to_owned(), |fd| fd.to_string())
}

/// A filter would have refused it before (rule `seccomp`).
fn no_call(case: &Case<'_>) -> Finding {
    let name = &case.call.name;
    if case.call.denied_by.is_some() {
        return Finding::NotMine;
    }
    let number = name.starts_with("syscall_0x");
    Found::new(
        Cause::Unsupported,
        if number {
            format!("there is no call of that number ({})", case.call.nr)
        } else {
            format!("this kernel does not have {name}, or not this form of it")
        },
    )
    .at_call("no seccomp filter refused it: the kernel itself answered")
    .always("ENOSYS: syscalls(2) says since when each call is there; C libraries ask for a new one first and do with an older one")
    .fix(Place::Host, "a kernel that has it, where the program needs it")
    .done()
}

fn no_family(case: &Case<'_>) -> Finding {
    Found::new(
        Cause::Unsupported,
        format!(
            "this kernel has no such sockets: {}, {}",
            case.text("family").unwrap_or("of that family"),
            case.text("type").unwrap_or("of that type")
        ),
    )
    .always("socket(2): EAFNOSUPPORT, EPROTONOSUPPORT")
    .fix(
        Place::Host,
        "load the module of the protocol on the host (modprobe sctp, vsock), or boot without ipv6.disable=1",
    )
    .done()
}

fn bad_address(case: &Case<'_>) -> Finding {
    let bad: Vec<_> = case
        .call
        .args
        .list
        .iter()
        .filter(|arg| arg.fault)
        .map(|arg| arg.name)
        .collect();
    Found::new(
        Cause::Arguments,
        match bad.as_slice() {
            [] => "an argument points outside of the process's memory".to_owned(),
            [one] => format!("the argument {one} points outside of the process's memory"),
            several => format!(
                "the arguments {} point outside of the process's memory",
                several.join(", ")
            ),
        },
    )
    .always("EFAULT (errno(3))")
    .fix(Place::Program, "a pointer of the program's is wrong")
    .done()
}

fn bad_descriptor(case: &Case<'_>) -> Finding {
    if !case.is(ONE_FD) {
        return Finding::NotMine;
    }
    let number = ["fd", "sockfd", "oldfd", "epfd", "ufd"]
        .iter()
        .find_map(|name| int(case, name));
    if let Some(number) = number.filter(|number| *number < 0) {
        return never_given(case, number);
    }
    let fd = fd(case);
    if let (Some(number), Some(past)) = (number, &case.scene.earlier.descriptor) {
        return by_its_past(case, number, past);
    }
    let mut found = Found::new(
        Cause::Arguments,
        format!("descriptor {fd} is not open, or not open for that"),
    );
    if case.scene.earlier.followed {
        found =
            found.before("no call that was seen gave the process a descriptor of that number, or closed one");
    }
    if let (Some(number), Some(limit)) = (number, case.limit(libc::RLIMIT_NOFILE))
        && u64::from(number.cast_unsigned()) >= limit
    {
        found = found.at_call(format!(
            "RLIMIT_NOFILE is {limit}: none from {limit} on is opened, only one from before the limit was lowered"
        ));
    }
    found
        .always("read(2), write(2): EBADF, also of a descriptor that is open for the other direction alone")
        .fix(
            Place::Program,
            "a descriptor that was closed before, or never opened because an earlier call failed",
        )
        .done()
}

/// A number that stands for an error.
fn never_given(case: &Case<'_>, number: i32) -> Finding {
    let mut found = Found::new(
        Cause::Arguments,
        format!("{number} is no descriptor: it is what a call returns that failed"),
    );
    if let Some(failed) = &case.scene.earlier.failed {
        found = found.before(format!(
            "the last call that was to give the process one, {} before: {} failed with {}",
            ago(case, failed.ktime),
            failed.call,
            errno::name(failed.errno)
        ));
    }
    found
        .always("open(2), socket(2): -1 is returned on error; descriptors are from 0 on")
        .fix(
            Place::Program,
            "look at what should have opened it: it failed before, and nobody asked whether it did",
        )
        .done()
}

/// A descriptor of which it is known what became of it.
fn by_its_past(case: &Case<'_>, number: i32, past: &Descriptor) -> Finding {
    let when = ago(case, past.ktime);
    let by = if past.tid == case.call.task.tid {
        String::new()
    } else {
        format!(" of thread {}", past.tid)
    };
    let (why, fact, source, fix) = match past.state {
        State::Closed => (
            format!("descriptor {number} was closed before"),
            format!("{}{by} closed it {when} before", past.call),
            "close(2): the number stands for nothing until it is given anew",
            "who closes it does so too early, or for the second time: in a program with threads it may be another's by then",
        ),
        State::ClosedByExec => (
            format!("descriptor {number} was closed by execve: it was open for the program before alone"),
            format!("it was open with the close-on-exec flag until the execve {when} before"),
            "execve(2), fcntl(2): FD_CLOEXEC",
            "hand it on without O_CLOEXEC, or clear the flag before execve: fcntl(FD, F_SETFD, 0)",
        ),
        State::Open(access) => {
            let (is, wants) = match access {
                Access::Read => ("reading", "writing"),
                Access::Write => ("writing", "reading"),
                Access::Path => ("its place alone (O_PATH)", "what is in it"),
                // Closed by a call that was not seen.
                Access::Both => {
                    return Found::new(
                        Cause::Arguments,
                        format!("descriptor {number} is not open, or not open for that"),
                    )
                    .before(format!("{}{by} gave it to the process {when} before", past.call))
                    .always("read(2), write(2): EBADF")
                    .fix(Place::Program, "look at who closed it since")
                    .done();
                }
            };
            (
                format!("descriptor {number} is open for {is}, not for {wants}"),
                format!("{}{by} opened it so {when} before", past.call),
                "read(2), write(2): EBADF of a descriptor that is open for the other direction alone; open(2): O_PATH",
                "open it with O_RDWR, or use the descriptor that is for this",
            )
        }
    };
    Found::new(Cause::Arguments, why)
        .before(fact)
        .always(source)
        .fix(Place::Program, fix)
        .done()
}

/// How long before the call that was.
fn ago(case: &Case<'_>, ktime: u64) -> String {
    words::span(case.scene.earlier.ktime.saturating_sub(ktime))
}

fn invalid(case: &Case<'_>) -> Finding {
    let Some(mistake) = MISTAKES
        .iter()
        .find(|mistake| case.is(mistake.calls) && (mistake.is)(case))
    else {
        return Finding::RuledOut(format!(
            "the arguments of {}: the kernel does not say which of them it does not take, and none is wrong in itself",
            case.call.name
        ));
    };
    Found::new(Cause::Arguments, mistake.why)
        .always(mistake.source)
        .fix(
            Place::Program,
            "the program's own mistake: no setting of the container changes it",
        )
        .done()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{DeniedBy, Syscall},
        explain::{
            Scene,
            rules::testing::{ask, failed, verdict},
        },
    };

    #[test]
    fn processors_that_the_container_does_not_have() {
        let call = failed(
            "sched_setaffinity",
            libc::EINVAL,
            &[("len", 128, "128"), ("user_mask_ptr", 1, "[1]")],
        );
        let told = verdict(&RULE, &call, &Scene::default());
        assert!(told.why.starts_with("none of [1] is a processor"), "{told:?}");
        assert!(told.fixes.iter().any(|fix| fix.line.contains("--cpuset-cpus")));
    }

    fn told(call: &Syscall) -> (Cause, String) {
        let verdict = verdict(&RULE, call, &Scene::default());
        (verdict.cause, verdict.why)
    }

    #[test]
    fn calls_that_the_kernel_has_not() {
        let (cause, why) = told(&failed("fsopen", libc::ENOSYS, &[]));
        assert_eq!(cause, Cause::Unsupported);
        assert_eq!(why, "this kernel does not have fsopen, or not this form of it");
        let call = failed("fsopen", libc::ENOSYS, &[]).denied(DeniedBy::Seccomp);
        assert_eq!(ask(&RULE, &call, &Scene::default()), Finding::NotMine);
        let call = failed(
            "socket",
            libc::EAFNOSUPPORT,
            &[("family", 10, "AF_INET6"), ("type", 1, "SOCK_STREAM")],
        );
        assert!(told(&call).1.contains("AF_INET6, SOCK_STREAM"));
    }

    #[test]
    fn mistakes_without_a_doubt() {
        for call in [
            failed(
                "mmap",
                libc::EINVAL,
                &[("len", 0, "0"), ("flags", 2, "MAP_PRIVATE")],
            ),
            failed(
                "mmap",
                libc::EINVAL,
                &[("len", 4096, "4096"), ("flags", 0x20, "MAP_ANONYMOUS")],
            ),
            failed("kill", libc::EINVAL, &[("sig", 99, "99")]),
            failed("rt_sigaction", libc::EINVAL, &[("sig", 9, "SIGKILL")]),
            failed(
                "sched_setscheduler",
                libc::EINVAL,
                &[("policy", 1, "SCHED_FIFO"), ("param", 1, "[0]")],
            ),
            failed(
                "sched_setscheduler",
                libc::EINVAL,
                &[("policy", 0, "SCHED_OTHER"), ("param", 1, "[5]")],
            ),
            failed("sched_setscheduler", libc::EINVAL, &[("policy", 77, "0x4d")]),
            failed("dup3", libc::EINVAL, &[("oldfd", 3, "3"), ("newfd", 3, "3")]),
            failed("epoll_wait", libc::EINVAL, &[("maxevents", 0, "0")]),
            failed("read", libc::EBADF, &[("fd", 99, "99")]),
            failed("read", libc::EBADF, &[("fd", u64::from(u32::MAX), "-1")]),
            failed("read", libc::EFAULT, &[("buf", 1, "0x1")]),
            failed("accept", libc::ENOTSOCK, &[("fd", 1, "1")]),
        ] {
            assert_eq!(told(&call).0, Cause::Arguments, "{}", call.name);
        }
    }

    #[test]
    fn what_is_known_of_a_bad_descriptor_is_told() {
        let bad = |number: u64, text: &str| {
            let mut evidence = crate::event::Evidence::default();
            evidence.limits[libc::RLIMIT_NOFILE as usize] = 1024;
            let call = failed("read", libc::EBADF, &[("fd", number, text)]).knowing(evidence);
            verdict(&RULE, &call, &Scene::default())
        };
        assert_eq!(
            bad(u64::from(u32::MAX), "-1").why,
            "-1 is no descriptor: it is what a call returns that failed"
        );
        let tells = |number| {
            let told = bad(number, "").evidence;
            told.iter()
                .any(|fact| fact.text.contains("RLIMIT_NOFILE is 1024"))
        };
        assert!(tells(1024) && tells(5000) && !tells(1023) && !tells(3));
    }

    #[test]
    fn where_there_is_a_doubt_it_stays() {
        for call in [
            failed("mount", libc::EINVAL, &[]),
            failed(
                "mmap",
                libc::EINVAL,
                &[("len", 4096, "4096"), ("flags", 1, "MAP_SHARED")],
            ),
            failed("setsockopt", libc::EINVAL, &[]),
            failed("kill", libc::EINVAL, &[("sig", 9, "SIGKILL")]),
        ] {
            assert!(
                matches!(ask(&RULE, &call, &Scene::default()), Finding::RuledOut(_)),
                "{}",
                call.name
            );
        }
    }

    #[test]
    fn a_descriptor_is_told_by_its_past() {
        let call = failed("write", libc::EBADF, &[("fd", 5, "5")]);
        let mut scene = Scene::default();
        scene.earlier.ktime = 5_000_000;
        scene.earlier.followed = true;
        let first = |scene: &Scene| {
            let told = verdict(&RULE, &call, scene);
            (told.why, told.evidence[0].text.clone())
        };
        assert_eq!(
            first(&scene).1,
            "no call that was seen gave the process a descriptor of that number, or closed one"
        );
        for (state, call, why, fact) in [
            (
                State::Closed,
                "close",
                "descriptor 5 was closed before",
                "close of thread 9 closed it 2.0 ms before",
            ),
            (
                State::ClosedByExec,
                "execve",
                "descriptor 5 was closed by execve: it was open for the program before alone",
                "it was open with the close-on-exec flag until the execve 2.0 ms before",
            ),
            (
                State::Open(Access::Read),
                "openat",
                "descriptor 5 is open for reading, not for writing",
                "openat of thread 9 opened it so 2.0 ms before",
            ),
            (
                State::Open(Access::Both),
                "socket",
                "descriptor 5 is not open, or not open for that",
                "socket of thread 9 gave it to the process 2.0 ms before",
            ),
        ] {
            scene.earlier.descriptor = Some(Descriptor::new(call, 3_000_000, 9, state));
            assert_eq!(first(&scene), (why.to_owned(), fact.to_owned()));
        }
        let call = failed("write", libc::EBADF, &[("fd", 0xffff_ffff, "-1")]);
        scene.earlier.failed = Some(std::sync::Arc::new(crate::follow::Failed {
            call: "openat(AT_FDCWD, \"/x\", O_RDONLY)".to_owned(),
            errno: libc::ENOENT as u16,
            ktime: 4_500_000,
        }));
        let told = verdict(&RULE, &call, &scene);
        assert_eq!(
            told.evidence[0].text,
            "the last call that was to give the process one, 500.0 us before: openat(AT_FDCWD, \"/x\", O_RDONLY) failed with ENOENT"
        );
    }
}
