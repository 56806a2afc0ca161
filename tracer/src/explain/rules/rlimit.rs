//! Resource limits (getrlimit(2)), except RLIMIT_RTPRIO, which `realtime` knows. Where the kernel asks for a capability only
//! once a limit is passed, its asking is the proof; elsewhere the numbers are compared.

use super::{
    Rule,
    capability::{CAP_IPC_LOCK, CAP_SYS_ADMIN, CAP_SYS_NICE, CAP_SYS_RESOURCE},
    words::bound,
};
use crate::{
    event::{Cause, Evidence, Place},
    explain::{Case, Finding, arguments::number_after, case::Found},
};

pub(super) const RULE: Rule = Rule {
    name: "rlimit",
    source: "getrlimit(2); kernel/sys.c, kernel/fork.c: copy_process, mm/mlock.c, mm/mmap.c: may_expand_vm, fs/attr.c",
    judge,
};

/// A limit, as the tools call it.
struct Limit {
    number: u32,
    name: &'static str,
    /// `--ulimit NAME=`; empty where there is none.
    flag: &'static str,
    /// systemd.exec(5)
    unit: &'static str,
}

const FSIZE: Limit = Limit {
    number: libc::RLIMIT_FSIZE,
    name: "RLIMIT_FSIZE",
    flag: "fsize",
    unit: "LimitFSIZE",
};
const NPROC: Limit = Limit {
    number: libc::RLIMIT_NPROC,
    name: "RLIMIT_NPROC",
    flag: "nproc",
    unit: "LimitNPROC",
};
const NOFILE: Limit = Limit {
    number: libc::RLIMIT_NOFILE,
    name: "RLIMIT_NOFILE",
    flag: "nofile",
    unit: "LimitNOFILE",
};
const MEMLOCK: Limit = Limit {
    number: libc::RLIMIT_MEMLOCK,
    name: "RLIMIT_MEMLOCK",
    flag: "memlock",
    unit: "LimitMEMLOCK",
};
const AS: Limit = Limit {
    number: libc::RLIMIT_AS,
    name: "RLIMIT_AS",
    flag: "",
    unit: "LimitAS",
};
const DATA: Limit = Limit {
    number: libc::RLIMIT_DATA,
    name: "RLIMIT_DATA",
    flag: "data",
    unit: "LimitDATA",
};
const NICE: Limit = Limit {
    number: libc::RLIMIT_NICE,
    name: "RLIMIT_NICE",
    flag: "nice",
    unit: "LimitNICE",
};
const MSGQUEUE: Limit = Limit {
    number: libc::RLIMIT_MSGQUEUE,
    name: "RLIMIT_MSGQUEUE",
    flag: "msgqueue",
    unit: "LimitMSGQUEUE",
};
const SIGPENDING: Limit = Limit {
    number: libc::RLIMIT_SIGPENDING,
    name: "RLIMIT_SIGPENDING",
    flag: "sigpending",
    unit: "LimitSIGPENDING",
};
/// Those that setrlimit(2) may raise and that have no other part here.
const STACK: Limit = Limit {
    number: libc::RLIMIT_STACK,
    name: "RLIMIT_STACK",
    flag: "stack",
    unit: "LimitSTACK",
};
const CORE: Limit = Limit {
    number: libc::RLIMIT_CORE,
    name: "RLIMIT_CORE",
    flag: "core",
    unit: "LimitCORE",
};
const CPU: Limit = Limit {
    number: libc::RLIMIT_CPU,
    name: "RLIMIT_CPU",
    flag: "cpu",
    unit: "LimitCPU",
};
const RSS: Limit = Limit {
    number: libc::RLIMIT_RSS,
    name: "RLIMIT_RSS",
    flag: "rss",
    unit: "LimitRSS",
};
const LOCKS: Limit = Limit {
    number: libc::RLIMIT_LOCKS,
    name: "RLIMIT_LOCKS",
    flag: "locks",
    unit: "LimitLOCKS",
};
const RTPRIO: Limit = Limit {
    number: libc::RLIMIT_RTPRIO,
    name: "RLIMIT_RTPRIO",
    flag: "rtprio",
    unit: "LimitRTPRIO",
};
const RTTIME: Limit = Limit {
    number: libc::RLIMIT_RTTIME,
    name: "RLIMIT_RTTIME",
    flag: "rttime",
    unit: "LimitRTTIME",
};

const ALL: [&Limit; 16] = [
    &CPU,
    &FSIZE,
    &DATA,
    &STACK,
    &CORE,
    &RSS,
    &NPROC,
    &NOFILE,
    &MEMLOCK,
    &AS,
    &LOCKS,
    &SIGPENDING,
    &MSGQUEUE,
    &NICE,
    &RTPRIO,
    &RTTIME,
];

const FORKS: &[&str] = &["clone", "clone3", "fork", "vfork", "execve", "execveat"];
const LOCKS_MEMORY: &[&str] = &["mlock", "mlock2", "mlockall", "shmctl", "munlockall"];
const MAPS: &[&str] = &["mmap", "mremap", "brk"];
const WRITES: &[&str] = &[
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "ftruncate",
    "truncate",
    "fallocate",
    "sendfile",
    "copy_file_range",
    "splice",
];

fn judge(case: &Case<'_>) -> Finding {
    let Some(errno) = case.errno() else {
        return Finding::NotMine;
    };
    match errno {
        libc::EMFILE if case.is(&["mq_open"]) => with(case, mq_open),
        // The rule of sysctls has these; the limit may still be meant.
        libc::EMFILE if case.is(&["inotify_init", "inotify_init1", "fanotify_init"]) => with(case, instances),
        libc::EMFILE => with(case, files),
        libc::EBADF if case.is(&["dup2", "dup3"]) => with(case, beyond_files),
        libc::EAGAIN if case.is(FORKS) => with(case, processes),
        libc::EAGAIN if case.is(&["timer_create", "rt_sigqueueinfo", "rt_tgsigqueueinfo"]) => {
            with(case, signals)
        }
        libc::ENOMEM | libc::EPERM | libc::EAGAIN if locks_memory(case) => with(case, locked),
        libc::ENOMEM if case.is(MAPS) => with(case, mapped),
        libc::EFBIG if case.is(WRITES) => with(case, size),
        libc::EACCES if case.is(&["setpriority"]) => with(case, nice),
        libc::EPERM if case.is(&["sched_setattr"]) => with(case, nice),
        libc::EPERM if case.is(&["setrlimit", "prlimit64"]) => with(case, raised),
        _ => Finding::NotMine,
    }
}

fn with(case: &Case<'_>, judge: fn(&Case<'_>, &Evidence) -> Finding) -> Finding {
    match case.evidence() {
        Some(evidence) => judge(case, evidence),
        None => {
            Finding::RuledOut("resource limits: what the kernel knew of the task was not recorded".into())
        }
    }
}

fn limit(case: &Case<'_>, limit: &Limit) -> u64 {
    case.limit(limit.number).unwrap_or(u64::MAX)
}

/// A verdict on a limit, with the lines that raise it to what was wanted.
fn verdict(case: &Case<'_>, limit: &Limit, why: String, wanted: &str) -> Found {
    let evidence = case.evidence();
    let hard = match (limit.number, evidence) {
        (libc::RLIMIT_NICE, Some(evidence)) => Some(evidence.hard_nice),
        (libc::RLIMIT_NOFILE, Some(evidence)) => Some(evidence.hard_nofile),
        (libc::RLIMIT_NPROC, Some(evidence)) => Some(evidence.hard_nproc),
        (libc::RLIMIT_RTPRIO, Some(evidence)) => Some(evidence.hard_rtprio),
        _ => None,
    };
    let soft = bound(case.limit(limit.number).unwrap_or(u64::MAX));
    let mut found = Found::new(Cause::Rlimit, why).at_call(match hard {
        Some(hard) => format!("{}: soft {soft}, hard {}", limit.name, bound(hard)),
        None => format!("{}: soft {soft}", limit.name),
    });
    found = if limit.flag.is_empty() {
        found.fix(
            Place::Image,
            "`ulimit -v` in the start script: neither podman nor docker has an option for it",
        )
    } else {
        found.flag(&format!("--ulimit {}={wanted}:{wanted}", limit.flag))
    };
    let rootless = case.in_user_namespace() == Some(true);
    found
        .fix(
            Place::Systemd,
            format!(
                "{}={wanted}, in the unit that starts the container{}",
                limit.unit,
                if rootless {
                    ": of a rootless one, user@.service (systemctl edit user@.service), which bounds its --ulimit too"
                } else {
                    ""
                }
            ),
        )
        .fix(
            Place::Kubernetes,
            format!(
                "no field sets it: {}={wanted} in the unit of the container runtime (containerd.service, crio.service)",
                limit.unit
            ),
        )
}

/// How much more than a limit to ask for, where the need is not known.
fn twice(limit: u64, least: u64) -> String {
    limit.saturating_mul(2).max(least).to_string()
}

/// alloc_fd, fs/file.c: EMFILE from the soft limit on.
fn files(case: &Case<'_>, _: &Evidence) -> Finding {
    let limit = limit(case, &NOFILE);
    if limit == u64::MAX {
        return Finding::RuledOut("RLIMIT_NOFILE: it is unlimited".into());
    }
    let found = verdict(
        case,
        &NOFILE,
        format!("the process has as many files open as RLIMIT_NOFILE lets it: {limit}"),
        &twice(limit, 1024),
    );
    let found = match case.scene.open_files {
        Some(open) => found.after(format!("it has {open} files open")),
        None => found,
    };
    found
        .always("a new descriptor must be lower than RLIMIT_NOFILE (getrlimit(2))")
        .fix(
            Place::Program,
            "close what is no longer needed: a number that only grows is a leak",
        )
        .done()
}

/// EMFILE means either all descriptors or all instances.
fn instances(case: &Case<'_>, evidence: &Evidence) -> Finding {
    let limit = limit(case, &NOFILE);
    match case.scene.open_files {
        Some(open) if open >= limit => files(case, evidence),
        Some(open) => Finding::RuledOut(format!(
            "RLIMIT_NOFILE: it is {}, and {open} files are open",
            bound(limit)
        )),
        None => Finding::NotMine,
    }
}

/// dup2(2): EBADF where the new number is out of range.
fn beyond_files(case: &Case<'_>, _: &Evidence) -> Finding {
    let limit = limit(case, &NOFILE);
    let Some(wanted) = case.raw("newfd").map(|raw| u64::from(raw as u32)) else {
        return Finding::NotMine;
    };
    if wanted < limit || wanted > i32::MAX as u64 {
        return Finding::NotMine;
    }
    let to = (wanted + 1).to_string();
    verdict(
        case,
        &NOFILE,
        format!("descriptor {wanted} was asked for, and RLIMIT_NOFILE is {limit}"),
        &to,
    )
    .always("a new descriptor must be lower than RLIMIT_NOFILE (dup(2))")
    .done()
}

fn mq_open(case: &Case<'_>, _: &Evidence) -> Finding {
    let limit = limit(case, &MSGQUEUE);
    if limit == u64::MAX {
        return files_or_none(case);
    }
    verdict(
        case,
        &MSGQUEUE,
        format!("the user's message queues would take more than RLIMIT_MSGQUEUE, {limit} bytes"),
        &twice(limit, 819_200),
    )
    .always("mq_open fails with EMFILE when the queue's room would pass RLIMIT_MSGQUEUE (mq_overview(7))")
    .fix(
        Place::Program,
        "ask for fewer or smaller messages in mq_open's attributes",
    )
    .done()
}

fn files_or_none(case: &Case<'_>) -> Finding {
    match case.evidence() {
        Some(evidence) => files(case, evidence),
        None => Finding::NotMine,
    }
}

/// copy_process asks for CAP_SYS_RESOURCE and then CAP_SYS_ADMIN only past the limit.
fn processes(case: &Case<'_>, evidence: &Evidence) -> Finding {
    let limit = limit(case, &NPROC);
    let asked = match (case.denied(CAP_SYS_RESOURCE), case.denied(CAP_SYS_ADMIN)) {
        (Some(resource), Some(admin)) => Some(resource && admin),
        _ => None,
    };
    let over = evidence.user_tasks.map(|tasks| tasks >= limit);
    // The namespaces above have the limit of whoever made them: passed there, it is asked for the same.
    // execve(2) looks at the number alone: a set*uid call before it passed the limit.
    let asked = asked.filter(|_| !case.is(&["execve", "execveat"]));
    let proved = match (asked, over) {
        (Some(asked), _) => asked,
        (None, Some(over)) => over && limit != u64::MAX,
        (None, None) => false,
    };
    if !proved {
        let count = evidence.user_tasks.map_or_else(
            || "the number of the user's tasks is not known".to_owned(),
            |tasks| format!("the user has {tasks} tasks"),
        );
        return Finding::RuledOut(format!("RLIMIT_NPROC: it is {}, and {count}", bound(limit)));
    }
    let mut found = verdict(
        case,
        &NPROC,
        match evidence.user_tasks {
            Some(tasks) => format!("the user has {tasks} tasks, and RLIMIT_NPROC is {}", bound(limit)),
            None => format!("the user has as many tasks as RLIMIT_NPROC lets it: {}", bound(limit)),
        },
        &twice(if limit == u64::MAX { 0 } else { limit }, 4096),
    )
    .always("RLIMIT_NPROC counts all tasks, threads too, of the real user id in its user namespace: other containers' as well, where they share it (getrlimit(2))");
    if asked == Some(true) {
        found = found.at_call(
            "the kernel asked for CAP_SYS_RESOURCE and CAP_SYS_ADMIN, which lift this limit, and found neither",
        );
    }
    found.done()
}

/// sigqueue_alloc, kernel/signal.c.
fn signals(case: &Case<'_>, _: &Evidence) -> Finding {
    let limit = limit(case, &SIGPENDING);
    if limit == u64::MAX {
        return Finding::RuledOut("RLIMIT_SIGPENDING: it is unlimited".into());
    }
    verdict(
        case,
        &SIGPENDING,
        format!(
            "the user has as many signals queued, timers' among them, as RLIMIT_SIGPENDING lets it: {limit}"
        ),
        &twice(limit, 8192),
    )
    .always("each timer keeps a queued signal (timer_create(2), getrlimit(2))")
    .done()
}

fn locks_memory(case: &Case<'_>) -> bool {
    case.is(LOCKS_MEMORY)
        || (case.is(&["mmap"])
            && case
                .text("flags")
                .is_some_and(|flags| flags.contains("MAP_LOCKED")))
        || (case.is(&["bpf", "io_uring_setup", "io_uring_register"]) && !case.failed_with(&[libc::EPERM]))
}

/// The kernel asks for CAP_IPC_LOCK only past the limit.
fn locked(case: &Case<'_>, evidence: &Evidence) -> Finding {
    let limit = limit(case, &MEMLOCK);
    let page = case.scene.machine.page_size.max(4096);
    let have = evidence.locked_vm.saturating_mul(page);
    let length = if case.is(&["mlockall"]) {
        // All that the process has.
        Some(evidence.total_vm.saturating_mul(page))
    } else {
        case.raw("len")
    };
    let total = length.map(|length| match case.is(&["mlockall"]) {
        true => length,
        false => have.saturating_add(length),
    });
    let proved = case.denied(CAP_IPC_LOCK).unwrap_or_else(|| {
        total.is_some_and(|total| total > limit) || (limit == 0 && case.failed_with(&[libc::EPERM]))
    });
    if !proved {
        return Finding::RuledOut(format!(
            "RLIMIT_MEMLOCK: it is {}, {have} bytes are locked, and the kernel did not ask for CAP_IPC_LOCK",
            bound(limit)
        ));
    }
    let asked = match total {
        Some(total) => format!("{total} bytes of memory were to be locked"),
        None => "memory was to be locked".to_owned(),
    };
    let wanted = match total {
        Some(total) => total.next_multiple_of(1 << 20).to_string(),
        None => twice(limit, 8 << 20),
    };
    let mut found = verdict(
        case,
        &MEMLOCK,
        format!("{asked}, and RLIMIT_MEMLOCK is {}", bound(limit)),
        &wanted,
    )
    .at_call(format!("{have} bytes are locked already"));
    if case.denied(CAP_IPC_LOCK) == Some(true) {
        found =
            found.at_call("the kernel asked for CAP_IPC_LOCK, which lifts this limit, and did not find it");
    }
    match evidence.user_ns_level {
        0 => found.flag("--cap-add=IPC_LOCK"),
        _ => found.always(
            "CAP_IPC_LOCK counts in the initial user namespace alone: --cap-add=IPC_LOCK cannot help here",
        ),
    }
    .done()
}

/// may_expand_vm, mm/mmap.c.
fn mapped(case: &Case<'_>, evidence: &Evidence) -> Finding {
    let page = case.scene.machine.page_size.max(4096);
    let have = evidence.total_vm.saturating_mul(page);
    let length = case.raw("new_len").or_else(|| case.raw("len"));
    let limit_of_space = limit(case, &AS);
    if let Some(length) = length
        && limit_of_space != u64::MAX
        && have.saturating_add(length) > limit_of_space
    {
        let wanted = have.saturating_add(length).next_multiple_of(1 << 20);
        return verdict(
            case,
            &AS,
            format!("the process has {have} bytes of address space, asked for {length} more, and RLIMIT_AS is {limit_of_space}"),
            &wanted.to_string(),
        )
        .always("RLIMIT_AS bounds the address space, used or not (getrlimit(2))")
        .done();
    }
    let limit_of_data = limit(case, &DATA);
    if limit_of_data != u64::MAX {
        // What of the address space is data is not known, but it is less than all of it.
        let private = case
            .text("flags")
            .is_none_or(|flags| flags.contains("MAP_PRIVATE"));
        let writable = case.text("prot").is_none_or(|prot| prot.contains("PROT_WRITE"));
        if private && writable && length.is_some_and(|length| length > limit_of_data) {
            return verdict(
                case,
                &DATA,
                format!(
                    "{} bytes of data were asked for, and RLIMIT_DATA is {limit_of_data}",
                    length.unwrap_or_default()
                ),
                &twice(length.unwrap_or_default(), 1 << 30),
            )
            .always("RLIMIT_DATA bounds private writable memory (getrlimit(2))")
            .done();
        }
        return Finding::RuledOut(format!(
            "RLIMIT_AS; RLIMIT_DATA is {limit_of_data}, and how much of the memory counts for it is not known"
        ));
    }
    Finding::RuledOut(format!(
        "RLIMIT_AS is {}, with {have} bytes of address space; RLIMIT_DATA is unlimited",
        bound(limit_of_space)
    ))
}

/// inode_newsize_ok and generic_write_check_limits.
fn size(case: &Case<'_>, _: &Evidence) -> Finding {
    let limit = limit(case, &FSIZE);
    if limit == u64::MAX {
        return Finding::RuledOut("RLIMIT_FSIZE: it is unlimited".into());
    }
    let length = case.raw("length").or_else(|| case.raw("len"));
    if case.is(&["ftruncate", "truncate"]) && length.is_some_and(|length| length <= limit) {
        return Finding::RuledOut(format!("RLIMIT_FSIZE: it is {limit}"));
    }
    let wanted = length.map_or_else(
        || "unlimited".to_owned(),
        |length| length.max(limit.saturating_mul(2)).to_string(),
    );
    let wanted = if wanted == "unlimited" {
        "-1".to_owned()
    } else {
        wanted
    };
    verdict(
        case,
        &FSIZE,
        format!("the file would become longer than RLIMIT_FSIZE, {limit} bytes"),
        &wanted,
    )
    .always("a file beyond RLIMIT_FSIZE is refused with SIGXFSZ and EFBIG (getrlimit(2))")
    .done()
}

/// can_nice, kernel/sched/syscalls.c: the limit is 20 less the lowest nice value.
fn nice(case: &Case<'_>, evidence: &Evidence) -> Finding {
    let wanted = if case.is(&["setpriority"]) {
        if case
            .text("which")
            .is_some_and(|which| !which.contains("PRIO_PROCESS"))
        {
            return Finding::NotMine;
        }
        case.raw("niceval").map(|raw| i64::from(raw as u32 as i32))
    } else {
        let text = case.text("uattr").unwrap_or_default();
        if text.contains("SCHED_FIFO") || text.contains("SCHED_RR") || text.contains("SCHED_DEADLINE") {
            return Finding::NotMine;
        }
        text.split_once("sched_nice=-")
            .and_then(|_| number_after(text, "sched_nice=-"))
            .and_then(|number| i64::try_from(number).ok())
            .map(|number| -number)
    };
    let Some(wanted) = wanted.map(|nice| nice.clamp(-20, 19)) else {
        return Finding::NotMine;
    };
    let limit = limit(case, &NICE);
    let needed = u64::try_from(20 - wanted).unwrap_or_default();
    if limit >= needed || case.denied(CAP_SYS_NICE) == Some(false) {
        return Finding::RuledOut(format!("RLIMIT_NICE: it is {limit}, and {needed} is needed"));
    }
    let found = verdict(
        case,
        &NICE,
        format!("nice value {wanted} was asked for, which takes a RLIMIT_NICE of {needed}; it is {limit}"),
        &needed.to_string(),
    )
    .always("without CAP_SYS_NICE in the initial user namespace the nice value may go down to 20 - RLIMIT_NICE (getrlimit(2))");
    lifted_by(found, evidence, "SYS_NICE").done()
}

/// The capability that lifts the limit, in a container that can have it: the kernel asks in the initial user namespace.
fn lifted_by(found: Found, evidence: &Evidence, capability: &str) -> Found {
    match evidence.user_ns_level {
        0 => found.flag(&format!("--cap-add={capability}")).fix(
            Place::Kubernetes,
            format!(r#"securityContext.capabilities.add: ["{capability}"]"#),
        ),
        level => found.at_call(format!(
            "the container runs in a user namespace of level {level}: --cap-add={capability} cannot help"
        )),
    }
}

/// do_prlimit, kernel/sys.c: a hard limit is raised with CAP_SYS_RESOURCE in the initial user namespace alone.
fn raised(case: &Case<'_>, evidence: &Evidence) -> Finding {
    let Some(new) = case.text("new_rlim").or_else(|| case.text("rlim")) else {
        return Finding::NotMine;
    };
    let resource = case.raw("resource").unwrap_or_default() as u32;
    let Some(limit) = ALL.iter().find(|limit| limit.number == resource) else {
        return Finding::NotMine;
    };
    let others = case
        .raw("pid")
        .is_some_and(|pid| pid != 0 && pid as u32 != case.call.task.pid);
    let wanted = new
        .split_once("rlim_max=")
        .and_then(|(_, rest)| value(rest.trim_end_matches('}')));
    let Some(wanted) = wanted.filter(|_| !others) else {
        return Finding::NotMine;
    };
    if case.denied(CAP_SYS_RESOURCE) == Some(false) {
        // Of RLIMIT_NOFILE the rule of sysctls knows more.
        return Finding::RuledOut(format!(
            "raising {}: the kernel did not miss CAP_SYS_RESOURCE",
            limit.name
        ));
    }
    let number = match wanted {
        u64::MAX => "-1".to_owned(),
        wanted => wanted.to_string(),
    };
    let found = verdict(
        case,
        limit,
        format!(
            "the hard limit of {} was to become {}, which is more than it is",
            limit.name,
            bound(wanted)
        ),
        &number,
    )
    .always("only CAP_SYS_RESOURCE in the initial user namespace raises a hard limit (setrlimit(2))");
    lifted_by(found, evidence, "SYS_RESOURCE").done()
}

/// `20000`, `8192*1024`, `RLIM64_INFINITY`.
pub(super) fn value(text: &str) -> Option<u64> {
    if text.contains("INFINITY") {
        return Some(u64::MAX);
    }
    text.split('*').try_fold(1_u64, |product, factor| {
        product.checked_mul(factor.trim().parse().ok()?)
    })
}

#[cfg(test)]
mod tests;
