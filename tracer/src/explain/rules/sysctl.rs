//! Sysctls that bound a call: quotas of a user, switches of the kernel. Which one is told by the call and its errno; where
//! the errno has other reasons too, a number or the kernel's asking for a capability decides.

use super::{
    Rule,
    capability::{CAP_BPF, CAP_SYS_ADMIN, CAP_SYS_RESOURCE},
};
use crate::{
    event::{Cause, Place},
    explain::{Case, Finding, case::Found},
};

pub(super) const RULE: Rule = Rule {
    name: "sysctl",
    source: "proc_sys_fs(5), proc_sys_kernel(5), proc_sys_user(5), inotify(7), ip(7); Documentation/admin-guide/sysctl/",
    judge,
};

/// A call that fails so for that sysctl alone.
struct Quota {
    calls: &'static [&'static str],
    errno: i32,
    sysctl: &'static str,
    /// What is used up.
    what: &'static str,
    /// A value that many use.
    usual: u64,
    source: &'static str,
    /// Whether the sysctl is one of an IPC or network namespace, which engines set a container's own of.
    own: bool,
}

/// Sysctls of which each user namespace has its own beside the host's (proc_sys_user(5)).
const OF_NAMESPACES: [(&str, &str); 4] = [
    ("fs.inotify.max_user_watches", "user.max_inotify_watches"),
    ("fs.inotify.max_user_instances", "user.max_inotify_instances"),
    ("fs.fanotify.max_user_groups", "user.max_fanotify_groups"),
    ("fs.fanotify.max_user_marks", "user.max_fanotify_marks"),
];

const QUOTAS: &[Quota] = &[
    Quota {
        calls: &["inotify_add_watch"],
        errno: libc::ENOSPC,
        sysctl: "fs.inotify.max_user_watches",
        what: "the user's inotify watches are used up",
        usual: 524_288,
        source: "inotify_add_watch(2): ENOSPC",
        own: false,
    },
    Quota {
        calls: &["inotify_init", "inotify_init1"],
        errno: libc::EMFILE,
        sysctl: "fs.inotify.max_user_instances",
        what: "the user's inotify instances are used up",
        usual: 1024,
        source: "inotify_init(2): EMFILE",
        own: false,
    },
    Quota {
        calls: &["fanotify_init"],
        errno: libc::EMFILE,
        sysctl: "fs.fanotify.max_user_groups",
        what: "the user's fanotify groups are used up",
        usual: 1024,
        source: "fanotify_init(2): EMFILE",
        own: false,
    },
    Quota {
        calls: &["fanotify_mark"],
        errno: libc::ENOSPC,
        sysctl: "fs.fanotify.max_user_marks",
        what: "the user's fanotify marks are used up",
        usual: 524_288,
        source: "fanotify_mark(2): ENOSPC",
        own: false,
    },
    Quota {
        calls: &["epoll_ctl"],
        errno: libc::ENOSPC,
        sysctl: "fs.epoll.max_user_watches",
        what: "the user's epoll watches are used up",
        usual: 4_000_000,
        source: "epoll_ctl(2): ENOSPC",
        own: false,
    },
    Quota {
        calls: &["io_setup"],
        errno: libc::EAGAIN,
        sysctl: "fs.aio-max-nr",
        what: "the machine's asynchronous I/O contexts are used up",
        usual: 1_048_576,
        source: "io_setup(2): EAGAIN",
        own: false,
    },
    Quota {
        calls: &["add_key", "request_key", "keyctl"],
        errno: libc::EDQUOT,
        sysctl: "kernel.keys.maxkeys",
        what: "the user's keys, or their bytes (kernel.keys.maxbytes), are used up",
        usual: 2000,
        source: "keyctl(2), keyrings(7): EDQUOT",
        own: false,
    },
    Quota {
        calls: &["mq_open"],
        errno: libc::ENOSPC,
        sysctl: "fs.mqueue.queues_max",
        what: "the IPC namespace has as many message queues as it may",
        usual: 1024,
        source: "mq_open(3): ENOSPC; mq_overview(7)",
        own: true,
    },
    Quota {
        calls: &["shmget"],
        errno: libc::ENOSPC,
        sysctl: "kernel.shmmni",
        what: "the IPC namespace has as many shared memory segments, or as much shared memory (kernel.shmall), as it may",
        usual: 8192,
        source: "shmget(2): ENOSPC",
        own: true,
    },
    Quota {
        calls: &["semget"],
        errno: libc::ENOSPC,
        sysctl: "kernel.sem",
        what: "the IPC namespace has as many semaphores as it may",
        usual: 0,
        source: "semget(2): ENOSPC",
        own: true,
    },
    Quota {
        calls: &["msgget"],
        errno: libc::ENOSPC,
        sysctl: "kernel.msgmni",
        what: "the IPC namespace has as many message queues as it may",
        usual: 32000,
        source: "msgget(2): ENOSPC",
        own: true,
    },
    Quota {
        calls: &["mount", "fsmount", "move_mount", "open_tree"],
        errno: libc::ENOSPC,
        sysctl: "fs.mount-max",
        what: "the mount namespace has as many mounts as it may",
        usual: 100_000,
        source: "Documentation/admin-guide/sysctl/fs.rst: mount-max",
        own: false,
    },
];

fn judge(case: &Case<'_>) -> Finding {
    if let Some(quota) = QUOTAS
        .iter()
        .find(|quota| case.is(quota.calls) && case.failed_with(&[quota.errno]))
    {
        return used_up(case, quota);
    }
    match (case.call.name.as_ref(), case.errno()) {
        ("unshare" | "clone" | "clone3", Some(libc::ENOSPC)) => namespaces(case),
        ("unshare" | "clone" | "clone3", Some(libc::EPERM)) if case.says("CLONE_NEWUSER") => {
            user_namespaces(case)
        }
        (_, Some(libc::ENFILE)) => files(case),
        ("mmap" | "mremap" | "mprotect" | "munmap" | "madvise", Some(libc::ENOMEM)) => mappings(case),
        ("mmap", Some(libc::EPERM)) => lowest(case),
        ("bpf", Some(libc::EPERM)) => bpf(case),
        ("perf_event_open", Some(libc::EPERM | libc::EACCES)) => perf(case),
        ("syslog", Some(libc::EPERM)) => switch(
            case,
            "kernel.dmesg_restrict",
            |value| value != "0",
            "the kernel's log is for CAP_SYSLOG alone",
            "0",
            "SYSLOG",
        ),
        ("userfaultfd", Some(libc::EPERM)) => switch(
            case,
            "vm.unprivileged_userfaultfd",
            |value| value == "0",
            "userfaultfd is for CAP_SYS_PTRACE alone",
            "1",
            "SYS_PTRACE",
        ),
        ("io_uring_setup", Some(libc::EPERM)) => switch(
            case,
            "kernel.io_uring_disabled",
            |value| value != "0",
            "io_uring is switched off",
            "0",
            "SYS_ADMIN",
        ),
        ("socket", Some(libc::EACCES)) if case.says("IPPROTO_ICMP") && case.says("SOCK_DGRAM") => ping(),
        ("mq_open", Some(libc::EINVAL)) if case.says("mq_maxmsg") => queue_size(case),
        ("shmget", Some(libc::EINVAL)) => segment_size(case),
        ("setrlimit" | "prlimit64", Some(libc::EPERM)) => descriptors(case),
        ("fcntl", Some(libc::EPERM)) if case.says("F_SETPIPE_SZ") => pipe_size(case),
        ("clone" | "clone3" | "fork" | "vfork", Some(libc::EAGAIN)) => Finding::RuledOut(format!(
            "kernel.threads-max ({}) and kernel.pid_max ({}): how many tasks the machine has was not counted",
            value(case, "kernel.threads-max"),
            value(case, "kernel.pid_max")
        )),
        _ => Finding::NotMine,
    }
}

fn value<'a>(case: &Case<'a>, name: &str) -> &'a str {
    case.scene.sysctls.get(name).map_or("not known", String::as_str)
}

fn number(case: &Case<'_>, name: &str) -> Option<u64> {
    case.scene.sysctls.get(name)?.parse().ok()
}

/// The line for the host.
fn set(found: Found, name: &str, value: &str) -> Found {
    found.fix(
        Place::Host,
        format!("sysctl -w {name}={value}, and the same in /etc/sysctl.d/"),
    )
}

/// The lines for a container that has namespaces of its own.
fn set_own(found: Found, name: &str, value: &str) -> Found {
    found.flag(&format!("--sysctl {name}={value}")).fix(
        Place::Kubernetes,
        format!(r#"spec.securityContext.sysctls: [{{name: "{name}", value: "{value}"}}]"#),
    )
}

fn used_up(case: &Case<'_>, quota: &Quota) -> Finding {
    let mut found = Found::new(Cause::Sysctl, format!("{} ({})", quota.what, quota.sysctl))
        .after(format!("{} is {}", quota.sysctl, value(case, quota.sysctl)))
        .always(quota.source);
    if let Some((_, own)) = OF_NAMESPACES.iter().find(|(of, _)| *of == quota.sysctl)
        && case.in_user_namespace() == Some(true)
    {
        // inc_ucount, kernel/ucount.c: the bound holds in each user namespace above, too.
        found = found.always(format!(
            "each user namespace bounds it for itself and those below it: {own}, in the container's or one above"
        ));
    }
    let wanted = match number(case, quota.sysctl) {
        Some(now) => quota.usual.max(now.saturating_mul(2)).to_string(),
        None if quota.usual == 0 => "\"32000 1024000000 500 32000\"".to_owned(),
        None => quota.usual.to_string(),
    };
    if quota.own {
        set_own(found, quota.sysctl, &wanted).done()
    } else {
        set(found, quota.sysctl, &wanted)
            .always("it counts all that the user has on this machine, other containers' too")
            .done()
    }
}

/// inc_ucount, kernel/ucount.c: of the namespace's maker, in each user namespace above.
fn namespaces(case: &Case<'_>) -> Finding {
    const KINDS: [(&str, &str); 8] = [
        ("CLONE_NEWUSER", "user.max_user_namespaces"),
        ("CLONE_NEWNS", "user.max_mnt_namespaces"),
        ("CLONE_NEWPID", "user.max_pid_namespaces"),
        ("CLONE_NEWNET", "user.max_net_namespaces"),
        ("CLONE_NEWIPC", "user.max_ipc_namespaces"),
        ("CLONE_NEWUTS", "user.max_uts_namespaces"),
        ("CLONE_NEWCGROUP", "user.max_cgroup_namespaces"),
        ("CLONE_NEWTIME", "user.max_time_namespaces"),
    ];
    let asked: Vec<_> = KINDS.iter().filter(|(flag, _)| case.says(flag)).collect();
    // One that is 0 is certainly it.
    let closed = asked.iter().find(|(_, name)| number(case, name) == Some(0));
    let Some((flag, name)) = closed.or(asked.first()) else {
        return Finding::NotMine;
    };
    if closed.is_none() && asked.len() > 1 {
        let names: Vec<_> = asked.iter().map(|(_, name)| *name).collect();
        let mut found = Found::new(
            Cause::Sysctl,
            format!("one of the kinds of namespaces is used up: {}", names.join(", ")),
        )
        .always("unshare(2): ENOSPC");
        for name in names {
            found = found.after(format!("{name} is {}", value(case, name)));
            found = set(found, name, &more(case, name));
        }
        return found.done();
    }
    let now = value(case, name);
    let found = Found::new(
        Cause::Sysctl,
        match now {
            "0" => format!("{flag}: {name} is 0, so nobody may make such a namespace"),
            _ => format!("{flag}: the namespaces of this kind are used up ({name})"),
        },
    )
    .after(format!("{name} is {now} on the host"))
    .always("a limit of any user namespace above counts too, and 32 of them may be nested (namespaces(7), user_namespaces(7))");
    set(found, name, &more(case, name)).done()
}

/// More than the host has now: a namespace on the way has less then, or its own makers used it up.
fn more(case: &Case<'_>, name: &str) -> String {
    number(case, name)
        .unwrap_or_default()
        .saturating_mul(2)
        .max(16384)
        .to_string()
}

/// Debian's own switch, Ubuntu's, and create_user_ns of kernel/user_namespace.c.
fn user_namespaces(case: &Case<'_>) -> Finding {
    const SWITCH: &str = "kernel.unprivileged_userns_clone";
    if value(case, SWITCH) == "0" {
        let found = Found::new(
            Cause::Sysctl,
            format!("user namespaces are for CAP_SYS_ADMIN alone: {SWITCH} is 0"),
        )
        .after(format!("{SWITCH} is 0"))
        .always("a switch of Debian's kernels: create_user_ns asks for CAP_SYS_ADMIN then");
        return set(found, SWITCH, "1").flag("--cap-add=SYS_ADMIN").done();
    }
    Finding::RuledOut(format!(
        "{SWITCH}: it is {}, and the caller's user and group must be mapped and its root not changed by chroot (user_namespaces(7))",
        value(case, SWITCH)
    ))
}

/// alloc_empty_file, fs/file_table.c: beyond the limit it asks for CAP_SYS_ADMIN.
fn files(case: &Case<'_>) -> Finding {
    let used = value(case, "fs.file-nr")
        .split_whitespace()
        .next()
        .and_then(|used| used.parse::<u64>().ok());
    let max = number(case, "fs.file-max");
    let full = matches!((used, max), (Some(used), Some(max)) if used >= max);
    if !full && case.denied(CAP_SYS_ADMIN) != Some(true) {
        return Finding::RuledOut(format!(
            "fs.file-max: it is {}, and fs.file-nr is {}",
            value(case, "fs.file-max"),
            value(case, "fs.file-nr")
        ));
    }
    let found = Found::new(
        Cause::Sysctl,
        "the machine has as many files open as it may (fs.file-max)",
    )
    .after(format!(
        "fs.file-max is {}, fs.file-nr is {}",
        value(case, "fs.file-max"),
        value(case, "fs.file-nr")
    ))
    .always("open(2): ENFILE");
    set(
        found,
        "fs.file-max",
        &max.unwrap_or(1 << 20).saturating_mul(2).to_string(),
    )
    .done()
}

fn mappings(case: &Case<'_>) -> Finding {
    let max = number(case, "vm.max_map_count");
    if let (Some(have), Some(max)) = (case.scene.mappings, max)
        && have >= max
    {
        let found = Found::new(
            Cause::Sysctl,
            format!("the process has {have} memory mappings, and vm.max_map_count is {max}"),
        )
        .after(format!(
            "/proc/PID/maps has {have} lines, vm.max_map_count is {max}"
        ))
        .always("mmap(2): ENOMEM");
        return set(found, "vm.max_map_count", &max.saturating_mul(4).to_string()).done();
    }
    let asked = case.raw("len").unwrap_or_default();
    let whole = case.scene.machine.memory;
    match (value(case, "vm.overcommit_memory"), case.is(&["mmap"])) {
        ("0", true)
            if whole != 0 && asked > whole && !case.says("MAP_NORESERVE") && !case.says("PROT_NONE") =>
        {
            let found = Found::new(
                Cause::Sysctl,
                format!("{asked} bytes were asked for, and the machine has {whole} with swap: vm.overcommit_memory=0 refuses that"),
            )
            .after("vm.overcommit_memory is 0")
            .always("what is obviously too much is refused: __vm_enough_memory, mm/util.c; proc_sys_vm(5)");
            set(found, "vm.overcommit_memory", "1")
                .fix(Place::Program, "map with MAP_NORESERVE, or ask for less")
                .done()
        }
        ("2", true) => {
            let found = Found::new(
                Cause::Sysctl,
                "vm.overcommit_memory is 2: memory that is promised must be there, and no more is",
            )
            .after("vm.overcommit_memory is 2")
            .always("__vm_enough_memory, mm/util.c; proc_sys_vm(5)");
            set(found, "vm.overcommit_memory", "0").done()
        }
        _ => Finding::RuledOut(format!(
            "vm.max_map_count ({}) and vm.overcommit_memory ({}): {}",
            value(case, "vm.max_map_count"),
            value(case, "vm.overcommit_memory"),
            match case.scene.mappings {
                Some(have) => format!("the process has {have} mappings"),
                None => "how many mappings the process had is not known".to_owned(),
            }
        )),
    }
}

/// cap_mmap_addr, security/commoncap.c.
fn lowest(case: &Case<'_>) -> Finding {
    let asked = case.raw("addr").unwrap_or_default();
    let fixed = case.says("MAP_FIXED");
    match number(case, "vm.mmap_min_addr") {
        Some(least) if fixed && asked < least => {
            let found = Found::new(
                Cause::Sysctl,
                format!("a mapping at {asked:#x} was asked for, and vm.mmap_min_addr is {least}"),
            )
            .after(format!("vm.mmap_min_addr is {least}"))
            .always("below it, mmap(2) needs CAP_SYS_RAWIO in the initial user namespace");
            set(found, "vm.mmap_min_addr", "0").done()
        }
        _ => Finding::NotMine,
    }
}

/// bpf(2) without CAP_BPF, kernel/bpf/syscall.c.
fn bpf(case: &Case<'_>) -> Finding {
    let now = value(case, "kernel.unprivileged_bpf_disabled");
    let refused = case.denied(CAP_BPF).unwrap_or(case.has(CAP_BPF) == Some(false));
    if !refused || matches!(now, "0" | "not known") {
        return Finding::NotMine;
    }
    let found = Found::new(
        Cause::Sysctl,
        format!("bpf is for CAP_BPF alone: kernel.unprivileged_bpf_disabled is {now}"),
    )
    .after(format!("kernel.unprivileged_bpf_disabled is {now}"))
    .at_call("the kernel asked for CAP_BPF in the initial user namespace and did not find it")
    .always(
        "bpf(2); 1 cannot be undone without a reboot, 2 can (Documentation/admin-guide/sysctl/kernel.rst)",
    );
    privileged(case, found, "BPF")
        .fix(
            Place::Host,
            match now {
                "1" => "kernel.unprivileged_bpf_disabled=0 in /etc/sysctl.d/, then reboot: most program types want CAP_BPF all the same",
                _ => "sysctl -w kernel.unprivileged_bpf_disabled=0: most program types want CAP_BPF all the same",
            },
        )
        .done()
}

fn perf(case: &Case<'_>) -> Finding {
    let now = value(case, "kernel.perf_event_paranoid");
    // perf_event_open without CAP_PERFMON; it asks for CAP_SYS_ADMIN after it.
    if case.denied(CAP_SYS_ADMIN) == Some(false) || now == "not known" {
        return Finding::NotMine;
    }
    let found = Found::new(
        Cause::Sysctl,
        format!("what was to be measured is for CAP_PERFMON alone: kernel.perf_event_paranoid is {now}"),
    )
    .after(format!("kernel.perf_event_paranoid is {now}"))
    .always("2 keeps kernel events for CAP_PERFMON, 1 CPU events, 0 raw tracepoints; Debian's 3 keeps all (perf_event_open(2))");
    privileged(case, set(found, "kernel.perf_event_paranoid", "1"), "PERFMON").done()
}

/// The capability that a switch asks for instead.
fn privileged(case: &Case<'_>, found: Found, capability: &str) -> Found {
    match case.in_user_namespace() {
        Some(true) => found.at_call(format!(
            "the container runs in a user namespace below the initial one: --cap-add={capability} cannot help"
        )),
        _ => found.flag(&format!("--cap-add={capability}")).fix(
            Place::Kubernetes,
            format!(r#"securityContext.capabilities.add: ["{capability}"]"#),
        ),
    }
}

fn switch(
    case: &Case<'_>,
    name: &'static str,
    refuses: fn(&str) -> bool,
    what: &str,
    open: &str,
    capability: &str,
) -> Finding {
    let now = value(case, name);
    if now == "not known" || !refuses(now) {
        return Finding::RuledOut(format!("{name}: it is {now}"));
    }
    let found =
        Found::new(Cause::Sysctl, format!("{what}: {name} is {now}")).after(format!("{name} is {now}"));
    privileged(case, set(found, name, open), capability).done()
}

/// ping_init_sock, net/ipv4/ping.c: no capability is asked for.
fn ping() -> Finding {
    const NAME: &str = "net.ipv4.ping_group_range";
    let found = Found::new(
        Cause::Sysctl,
        format!("the caller's groups may not have ping sockets ({NAME})"),
    )
    .always("a socket of SOCK_DGRAM and IPPROTO_ICMP is for groups within that range of the network namespace (icmp(7)): EACCES");
    set_own(found, NAME, "\"0 2147483647\"").done()
}

fn queue_size(case: &Case<'_>) -> Finding {
    use crate::explain::arguments::number_after;
    let text = case.text("u_attr").unwrap_or_default();
    for (word, name) in [
        ("mq_maxmsg=", "fs.mqueue.msg_max"),
        ("mq_msgsize=", "fs.mqueue.msgsize_max"),
    ] {
        if let (Some(asked), Some(max)) = (number_after(text, word), number(case, name))
            && asked > max
            && case.denied(CAP_SYS_RESOURCE) != Some(false)
        {
            let found = Found::new(
                Cause::Sysctl,
                format!("{word}{asked} was asked for, and {name} is {max}"),
            )
            .after(format!(
                "{name} is {max} on the host; the container's IPC namespace may have another"
            ))
            .always("mq_open(3): EINVAL; mq_overview(7)");
            return set_own(found, name, &asked.to_string()).done();
        }
    }
    Finding::NotMine
}

fn segment_size(case: &Case<'_>) -> Finding {
    const NAME: &str = "kernel.shmmax";
    match (case.raw("size"), number(case, NAME)) {
        (Some(asked), Some(max)) if asked > max => {
            let found = Found::new(
                Cause::Sysctl,
                format!("{asked} bytes were asked for, and {NAME} is {max}"),
            )
            .after(format!("{NAME} is {max}"))
            .always("shmget(2): EINVAL");
            set_own(found, NAME, &asked.to_string()).done()
        }
        _ => Finding::NotMine,
    }
}

/// do_prlimit, kernel/sys.c: beyond it RLIMIT_NOFILE is refused, whatever the caller may.
fn descriptors(case: &Case<'_>) -> Finding {
    const NAME: &str = "fs.nr_open";
    let new = case.text("new_rlim").or_else(|| case.text("rlim"));
    let asked = new
        .and_then(|text| text.split_once("rlim_max="))
        .and_then(|(_, rest)| super::rlimit::value(rest.trim_end_matches('}')));
    match (asked, number(case, NAME)) {
        (Some(asked), Some(max)) if asked > max && case.says("RLIMIT_NOFILE") => {
            let found = Found::new(
                Cause::Sysctl,
                format!(
                    "a RLIMIT_NOFILE of {} was asked for, and {NAME} is {max}",
                    super::words::bound(asked)
                ),
            )
            .after(format!("{NAME} is {max}"))
            .always("setrlimit(2): EPERM beyond fs.nr_open")
            .fix(Place::Program, format!("ask for at most {max}"));
            set(found, NAME, &asked.min(1 << 30).to_string()).done()
        }
        _ => Finding::NotMine,
    }
}

fn pipe_size(case: &Case<'_>) -> Finding {
    const NAME: &str = "fs.pipe-max-size";
    match (case.raw("arg"), number(case, NAME)) {
        (Some(asked), Some(max)) if asked > max => {
            let found = Found::new(
                Cause::Sysctl,
                format!("a pipe of {asked} bytes was asked for, and {NAME} is {max}"),
            )
            .after(format!("{NAME} is {max}"))
            .always(
                "fcntl(2), F_SETPIPE_SZ: EPERM; more takes CAP_SYS_RESOURCE in the initial user namespace",
            );
            set(found, NAME, &asked.to_string()).done()
        }
        _ => Finding::RuledOut(format!(
            "{NAME}: it is {}; the user's pipes may be used up (fs.pipe-user-pages-soft)",
            value(case, NAME)
        )),
    }
}

#[cfg(test)]
mod tests;
