//! Sysctls that bound a call.

use super::*;
use crate::{
    event::{Evidence, Syscall, Verdict},
    explain::{
        Scene,
        rules::testing::{ask, failed, verdict},
    },
};

fn scene(sysctls: &[(&'static str, &str)]) -> Scene {
    Scene {
        sysctls: sysctls
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect(),
        ..Scene::default()
    }
}

fn told(call: &Syscall, sysctls: &[(&'static str, &str)]) -> Verdict {
    let verdict = verdict(&RULE, call, &scene(sysctls));
    assert_eq!(verdict.cause, Cause::Sysctl);
    verdict
}

#[test]
fn quotas_of_a_user() {
    let call = failed("inotify_add_watch", libc::ENOSPC, &[]);
    let verdict = told(&call, &[("fs.inotify.max_user_watches", "8192")]);
    assert_eq!(
        verdict.why,
        "the user's inotify watches are used up (fs.inotify.max_user_watches)"
    );
    assert!(
        verdict.fixes[0]
            .line
            .starts_with("sysctl -w fs.inotify.max_user_watches=524288")
    );
    let call = failed("add_key", libc::EDQUOT, &[]);
    assert!(told(&call, &[]).why.contains("kernel.keys.maxkeys"));
    let call = failed("mq_open", libc::ENOSPC, &[]);
    let verdict = told(&call, &[("fs.mqueue.queues_max", "256")]);
    assert_eq!(verdict.fixes[0].line, "--sysctl fs.mqueue.queues_max=1024");
}

#[test]
fn no_more_namespaces() {
    let call = failed(
        "unshare",
        libc::ENOSPC,
        &[("unshare_flags", 0x1000_0000, "CLONE_NEWUSER|CLONE_NEWNS")],
    );
    let verdict = told(
        &call,
        &[
            ("user.max_user_namespaces", "0"),
            ("user.max_mnt_namespaces", "9"),
        ],
    );
    assert_eq!(
        verdict.why,
        "CLONE_NEWUSER: user.max_user_namespaces is 0, so nobody may make such a namespace"
    );
    let call = failed(
        "unshare",
        libc::EPERM,
        &[("unshare_flags", 0x1000_0000, "CLONE_NEWUSER")],
    );
    told(&call, &[("kernel.unprivileged_userns_clone", "0")]);
    assert!(matches!(
        ask(&RULE, &call, &scene(&[("kernel.unprivileged_userns_clone", "1")])),
        Finding::RuledOut(_)
    ));
}

#[test]
fn mappings_and_promises() {
    let map = failed(
        "mmap",
        libc::ENOMEM,
        &[
            ("len", 1 << 40, "1099511627776"),
            ("prot", 3, "PROT_READ|PROT_WRITE"),
        ],
    );
    let mut full = scene(&[("vm.max_map_count", "65530"), ("vm.overcommit_memory", "0")]);
    full.mappings = Some(65530);
    assert!(verdict(&RULE, &map, &full).why.contains("65530 memory mappings"));
    full.mappings = Some(20);
    full.machine.memory = 8 << 30;
    assert!(verdict(&RULE, &map, &full).why.contains("vm.overcommit_memory=0"));
    full.machine.memory = 1 << 50;
    assert!(matches!(ask(&RULE, &map, &full), Finding::RuledOut(_)));
}

#[test]
fn switches_name_the_capability_beside_them() {
    let evidence = Evidence {
        denied: Some(1 << CAP_BPF | 1 << CAP_SYS_ADMIN),
        ..Evidence::default()
    };
    let call = failed("bpf", libc::EPERM, &[]).knowing(evidence);
    let verdict = told(&call, &[("kernel.unprivileged_bpf_disabled", "2")]);
    assert!(verdict.fixes.iter().any(|fix| fix.line == "--cap-add=BPF"));
    let rootless = Evidence {
        user_ns_level: 1,
        ..evidence
    };
    let call = failed("perf_event_open", libc::EACCES, &[]).knowing(rootless);
    let verdict = told(&call, &[("kernel.perf_event_paranoid", "3")]);
    assert!(!verdict.fixes.iter().any(|fix| fix.line.contains("--cap-add")));
    let open = scene(&[("kernel.unprivileged_bpf_disabled", "0")]);
    let call = failed("bpf", libc::EPERM, &[]).knowing(evidence);
    assert_eq!(ask(&RULE, &call, &open), Finding::NotMine);
}

#[test]
fn ping_sockets() {
    let call = failed(
        "socket",
        libc::EACCES,
        &[
            ("family", 2, "AF_INET"),
            ("type", 2, "SOCK_DGRAM"),
            ("protocol", 1, "IPPROTO_ICMP"),
        ],
    );
    assert_eq!(
        told(&call, &[]).fixes[0].line,
        "--sysctl net.ipv4.ping_group_range=\"0 2147483647\""
    );
}

#[test]
fn sizes() {
    let call = failed(
        "mq_open",
        libc::EINVAL,
        &[("u_attr", 1, "{mq_flags=0, mq_maxmsg=100, mq_msgsize=8}")],
    );
    assert_eq!(
        told(
            &call,
            &[("fs.mqueue.msg_max", "10"), ("fs.mqueue.msgsize_max", "8192")]
        )
        .why,
        "mq_maxmsg=100 was asked for, and fs.mqueue.msg_max is 10"
    );
    let call = failed("shmget", libc::EINVAL, &[("size", 4096, "4096")]);
    assert_eq!(
        ask(&RULE, &call, &scene(&[("kernel.shmmax", "8192")])),
        Finding::NotMine
    );
}

#[test]
fn more_descriptors_than_the_kernel_gives() {
    let call = failed(
        "prlimit64",
        libc::EPERM,
        &[
            ("resource", 7, "RLIMIT_NOFILE"),
            ("new_rlim", 1, "{rlim_cur=1024, rlim_max=RLIM64_INFINITY}"),
        ],
    );
    assert_eq!(
        told(&call, &[("fs.nr_open", "1048576")]).why,
        "a RLIMIT_NOFILE of unlimited was asked for, and fs.nr_open is 1048576"
    );
}

#[test]
fn files_of_the_machine() {
    let call = failed("openat", libc::ENFILE, &[]);
    told(&call, &[("fs.file-max", "100"), ("fs.file-nr", "100\t0\t100")]);
    let roomy = scene(&[("fs.file-max", "1000"), ("fs.file-nr", "100\t0\t1000")]);
    assert!(matches!(ask(&RULE, &call, &roomy), Finding::RuledOut(_)));
}
