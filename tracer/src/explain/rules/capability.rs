//! A capability that the kernel asked for and did not find. Where it asked decides what helps: one that is wanted in a
//! user namespace above the container's cannot be had by any flag.
//!
//! Checks of file permissions (CAP_DAC_*, CAP_FOWNER of another's file) are evidence of the rule `dac`, checks beside a
//! limit that of `rlimit` and `sysctl`: those are asked first.

use super::{
    Rule,
    words::{capability, namespace, short_capability},
};
use crate::{
    event::{Cause, Evidence, Place},
    explain::{Case, Finding, case::Found},
};

pub(super) const RULE: Rule = Rule {
    name: "capability",
    source: "security/commoncap.c: cap_capable; capabilities(7), user_namespaces(7)",
    judge,
};

pub(super) const CAP_CHOWN: u8 = 0;
pub(super) const CAP_DAC_OVERRIDE: u8 = 1;
pub(super) const CAP_DAC_READ_SEARCH: u8 = 2;
pub(super) const CAP_FOWNER: u8 = 3;
const CAP_FSETID: u8 = 4;
pub(super) const CAP_SETGID: u8 = 6;
pub(super) const CAP_SETUID: u8 = 7;
pub(super) const CAP_NET_BIND_SERVICE: u8 = 10;
pub(super) const CAP_NET_ADMIN: u8 = 12;
const CAP_NET_RAW: u8 = 13;
pub(super) const CAP_IPC_LOCK: u8 = 14;
pub(super) const CAP_SYS_MODULE: u8 = 16;
pub(super) const CAP_SYS_RAWIO: u8 = 17;
pub(super) const CAP_SYS_CHROOT: u8 = 18;
pub(super) const CAP_SYS_PTRACE: u8 = 19;
pub(super) const CAP_SYS_PACCT: u8 = 20;
pub(super) const CAP_SYS_ADMIN: u8 = 21;
pub(super) const CAP_SYS_BOOT: u8 = 22;
pub(super) const CAP_SYS_NICE: u8 = 23;
pub(super) const CAP_SYS_RESOURCE: u8 = 24;
pub(super) const CAP_SYS_TIME: u8 = 25;
pub(super) const CAP_MKNOD: u8 = 27;
const CAP_SYSLOG: u8 = 34;
const CAP_PERFMON: u8 = 38;
pub(super) const CAP_BPF: u8 = 39;

/// Calls that fail with EPERM for want of just one capability, and whether it is always asked for in the initial user
/// namespace. They decide where nobody watched the kernel's checks.
const NEED: &[(&str, u8, bool)] = &[
    ("acct", CAP_SYS_PACCT, true),
    ("adjtimex", CAP_SYS_TIME, true),
    ("chroot", CAP_SYS_CHROOT, false),
    ("clock_adjtime", CAP_SYS_TIME, true),
    ("clock_settime", CAP_SYS_TIME, true),
    ("delete_module", CAP_SYS_MODULE, true),
    ("finit_module", CAP_SYS_MODULE, true),
    ("init_module", CAP_SYS_MODULE, true),
    ("ioperm", CAP_SYS_RAWIO, true),
    ("iopl", CAP_SYS_RAWIO, true),
    ("open_by_handle_at", CAP_DAC_READ_SEARCH, true),
    ("pivot_root", CAP_SYS_ADMIN, false),
    ("reboot", CAP_SYS_BOOT, false),
    ("setdomainname", CAP_SYS_ADMIN, false),
    ("setgroups", CAP_SETGID, false),
    ("sethostname", CAP_SYS_ADMIN, false),
    ("settimeofday", CAP_SYS_TIME, true),
    ("swapoff", CAP_SYS_ADMIN, true),
    ("swapon", CAP_SYS_ADMIN, true),
];

/// Checks whose failure never fails a call: they only clear set-id bits.
const NEVER_FATAL: u64 = 1 << CAP_FSETID;

/// Calls that ask for CAP_SYS_ADMIN only for the share of memory that is kept for root (cap_vm_enough_memory).
const ACCOUNTED: &[&str] = &[
    "brk",
    "execve",
    "execveat",
    "fork",
    "mmap",
    "mprotect",
    "mremap",
    "pkey_mprotect",
    "shmat",
    "shmget",
    "vfork",
];

/// Checks that say nothing of why this call failed.
pub(super) fn noise(case: &Case<'_>) -> u64 {
    // Overlayfs and xattrs ask for CAP_SYS_ADMIN on the way; what it guards fails with EPERM.
    let on_the_way =
        case.failed_with(&[libc::EACCES]) && !case.scene.paths.is_empty() && !case.is(&["mount"]);
    let forks = case.is(&["clone", "clone3"]) && !case.says("CLONE_NEW");
    if case.is(ACCOUNTED) || forks || on_the_way {
        NEVER_FATAL | 1 << CAP_SYS_ADMIN
    } else {
        NEVER_FATAL
    }
}

fn judge(case: &Case<'_>) -> Finding {
    if !case.failed_with(&[libc::EPERM, libc::EACCES]) {
        return Finding::NotMine;
    }
    let Some(evidence) = case.evidence() else {
        return Finding::RuledOut(
            "capabilities: what the kernel knew of the task was not recorded".to_owned(),
        );
    };
    let Some(denied) = evidence.denied else {
        return unwatched(case, evidence);
    };
    let of_files = 1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH;
    let mut missing = denied & !noise(case);
    // Probes of file permissions, where it is the mode that speaks; open_by_handle_at(2) knows no modes.
    if !case.is(&["open_by_handle_at"]) {
        missing &= !of_files;
    }
    if missing == 0 {
        return Finding::RuledOut("a capability: the kernel missed none that the call needs".to_owned());
    }
    // The kernel may ask for an older one after the one that is meant (CAP_BPF, then CAP_SYS_ADMIN): the one that stands
    // for less is the better answer.
    let number = match missing & !(1 << CAP_SYS_ADMIN) {
        0 => CAP_SYS_ADMIN,
        others => others.trailing_zeros() as u8,
    };
    let (inode, level) = evidence
        .denied_ns
        .unwrap_or((evidence.user_ns, evidence.user_ns_level));
    let lacking = Lacking {
        number,
        asked: namespace(evidence, inode, level),
        above: level < evidence.user_ns_level,
        watched: true,
    };
    decide(case, evidence, &lacking)
}

struct Lacking {
    number: u8,
    /// The user namespace that it was asked for in.
    asked: String,
    /// That is one above the task's.
    above: bool,
    watched: bool,
}

fn unwatched(case: &Case<'_>, evidence: &Evidence) -> Finding {
    let needed = NEED.iter().find(|(name, ..)| case.is(&[name]));
    let Some((_, number, initial)) = needed.filter(|_| case.failed_with(&[libc::EPERM])) else {
        return Finding::RuledOut(
            "a capability: nothing watched the kernel's checks, and the call has other ways to fail"
                .to_owned(),
        );
    };
    let held = evidence.effective & 1 << number != 0;
    let above = evidence.user_ns_level > 0 && (*initial || held);
    if held && !above {
        return Finding::RuledOut(format!("a capability: the task has {}", capability(*number)));
    }
    let lacking = Lacking {
        number: *number,
        asked: if above {
            "the initial user namespace"
        } else {
            "the container's own user namespace"
        }
        .to_owned(),
        above,
        watched: false,
    };
    decide(case, evidence, &lacking)
}

fn decide(case: &Case<'_>, evidence: &Evidence, lacking: &Lacking) -> Finding {
    let name = capability(lacking.number);
    let call = match case.text("cmd").filter(|_| case.is(&["ioctl"])) {
        Some(request) => format!("ioctl {request}"),
        None => case.call.name.to_string(),
    };
    let cause = if lacking.above {
        Cause::UserNamespace
    } else {
        Cause::Capability
    };
    let why = if lacking.above {
        format!(
            "{call} needs {name} in {}, and the container runs in a user namespace below: no flag gives it that",
            lacking.asked
        )
    } else {
        format!("{call} needs {name}, and the task does not have it")
    };
    let mut found = Found::new(cause, why);
    found = if lacking.watched {
        found.at_call(format!(
            "the kernel asked for {name} in {} and did not find it",
            lacking.asked
        ))
    } else {
        found.always(format!("{} asks for {name} (capabilities(7))", case.call.name))
    };
    let has = |set: u64| set & 1 << lacking.number != 0;
    found = found.at_call(format!(
        "{name} is {} the task's effective set and {} its bounding set{}",
        if has(evidence.effective) { "in" } else { "not in" },
        if has(evidence.bounding) { "in" } else { "not in" },
        if evidence.user_ns_level > 0 {
            ", both of which count in its own user namespace"
        } else {
            ""
        }
    ));
    let yama = case.scene.sysctls.get("kernel.yama.ptrace_scope");
    if let Some(scope) = yama.filter(|scope| lacking.number == CAP_SYS_PTRACE && *scope != "0") {
        found = found.after(format!(
            "kernel.yama.ptrace_scope is {scope}: without the capability only descendants may be traced (ptrace(2))"
        ));
    }
    if lacking.above {
        return help_above(case, lacking.number, found).done();
    }
    // Of a program that is known, the rule `gains` has judged that.
    let may_gain = matches!(lacking.number, CAP_SETUID | CAP_SETGID)
        && evidence.no_new_privs
        && evidence.euid != 0
        && case.scene.program.is_none();
    if may_gain {
        found = found
            .at_call("no_new_privs is set: a set-user-ID program such as sudo or su gains nothing (prctl(2), PR_SET_NO_NEW_PRIVS)")
            .flag("without --security-opt no-new-privileges")
            .fix(
                Place::Kubernetes,
                "securityContext.allowPrivilegeEscalation: true",
            )
            .fix(Place::Systemd, "NoNewPrivileges=no");
    }
    help(case, evidence, lacking.number, found).done()
}

/// What gives a container a capability.
fn help(case: &Case<'_>, evidence: &Evidence, number: u8, found: Found) -> Found {
    let short = short_capability(number);
    let uids = case.scene.uids.as_deref();
    let is_root = super::words::inside(uids, evidence.euid) == Some(0);
    let bounded = evidence.bounding & 1 << number != 0;
    let docker = match (is_root, bounded) {
        (true, _) => format!("--cap-add={short}"),
        // Docker has no ambient capabilities.
        (false, false) => format!(
            "--cap-add={short}, and --user 0 or `setcap cap_{}+ep PROGRAM` in the image: docker gives capabilities to root alone",
            short.to_ascii_lowercase()
        ),
        (false, true) => format!(
            "--user 0, or `setcap cap_{}+ep PROGRAM` in the image: the container may have {short}, but its user is not root",
            short.to_ascii_lowercase()
        ),
    };
    let kubernetes = if is_root {
        format!(r#"securityContext.capabilities.add: ["{short}"]"#)
    } else {
        format!(
            r#"securityContext.capabilities.add: ["{short}"], with runAsUser: 0 or file capabilities in the image"#
        )
    };
    found
        .fix(Place::Podman, format!("--cap-add={short}"))
        .fix(Place::Docker, docker)
        .fix(Place::Kubernetes, kubernetes)
        .fix(
            Place::Systemd,
            format!("AmbientCapabilities=CAP_{short} and CapabilityBoundingSet=CAP_{short}"),
        )
}

/// What helps instead.
fn help_above(case: &Case<'_>, number: u8, found: Found) -> Found {
    let short = short_capability(number);
    let found = found.always(format!(
        "a user namespace gives no power over what belongs to one above it (user_namespaces(7)): --cap-add={short} cannot help"
    ));
    let found = match number {
        CAP_SYS_NICE => found
            .flag("--ulimit rtprio=N:N for real-time policies, --ulimit nice=N:N for priorities")
            .fix(
                Place::Systemd,
                "LimitRTPRIO= and LimitNICE= in user@.service, of a rootless container",
            ),
        CAP_IPC_LOCK => found.flag("--ulimit memlock=BYTES:BYTES"),
        CAP_SYS_RESOURCE => found.fix(
            Place::Systemd,
            "the limit that is wanted, as LimitNAME= of user@.service (systemctl edit user@.service)",
        ),
        CAP_SYS_TIME => found.fix(
            Place::Host,
            "set the clock on the host (chrony, systemd-timesyncd): it is one for all containers",
        ),
        CAP_SYS_MODULE => found.fix(
            Place::Host,
            "load the module on the host: modprobe, or a line in /etc/modules-load.d/",
        ),
        CAP_MKNOD => found.flag("--device=/dev/NAME: the device comes from the host, nobody needs to make it"),
        CAP_SYSLOG => found.fix(Place::Host, "sysctl -w kernel.dmesg_restrict=0"),
        CAP_NET_ADMIN | CAP_NET_RAW => found.flag(
            "a network namespace of the container's own (not --network=host): over that one it has the capability",
        ),
        CAP_PERFMON => found.fix(Place::Host, "sysctl -w kernel.perf_event_paranoid=1"),
        _ => found,
    };
    let found = if case.is(&["mount", "fsconfig", "fsmount"]) {
        found
            .always("of block devices and most file systems only the initial user namespace may mount; tmpfs, proc, sysfs, overlay, bind and FUSE mounts are for all (FS_USERNS_MOUNT)")
            .flag("-v SOURCE:TARGET: let the engine mount it")
    } else {
        found
    };
    found
        .fix(
            Place::Podman,
            format!("as root (sudo podman run --cap-add={short} IMAGE): a rootful container is in the initial user namespace"),
        )
        .fix(
            Place::Docker,
            format!("--userns=host --cap-add={short}, with a daemon that is not rootless"),
        )
        .fix(
            Place::Kubernetes,
            format!(r#"hostUsers: true and securityContext.capabilities.add: ["{short}"]"#),
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::{
        IdMap, Scene,
        rules::testing::{ask, failed, verdict},
    };

    fn knew(denied: u64, ns: (u32, u32), level: u32) -> Evidence {
        Evidence {
            denied: Some(denied),
            granted: Some(0),
            user_ns: 400,
            user_ns_level: level,
            denied_ns: Some(ns),
            ..Evidence::default()
        }
    }

    #[test]
    fn one_that_the_container_could_have_is_given_by_a_flag() {
        let call = failed("sethostname", libc::EPERM, &[]).knowing(knew(1 << CAP_SYS_ADMIN, (400, 0), 0));
        let verdict = verdict(&RULE, &call, &Scene::default());
        assert_eq!(verdict.cause, Cause::Capability);
        assert_eq!(
            verdict.why,
            "sethostname needs CAP_SYS_ADMIN, and the task does not have it"
        );
        let fixes: Vec<_> = verdict.fixes.iter().map(|fix| &*fix.line).collect();
        assert_eq!(
            fixes,
            [
                "--cap-add=SYS_ADMIN",
                "--cap-add=SYS_ADMIN",
                r#"securityContext.capabilities.add: ["SYS_ADMIN"]"#,
                "AmbientCapabilities=CAP_SYS_ADMIN and CapabilityBoundingSet=CAP_SYS_ADMIN"
            ]
        );
    }

    #[test]
    fn one_that_is_wanted_above_the_container_cannot_be_given() {
        let call = failed("clock_settime", libc::EPERM, &[]).knowing(knew(1 << CAP_SYS_TIME, (1, 0), 1));
        let verdict = verdict(&RULE, &call, &Scene::default());
        assert_eq!(verdict.cause, Cause::UserNamespace);
        assert!(
            verdict.why.contains("the initial user namespace"),
            "{}",
            verdict.why
        );
        assert!(
            verdict
                .evidence
                .iter()
                .any(|fact| fact.text.ends_with("--cap-add=SYS_TIME cannot help"))
        );
    }

    #[test]
    fn a_rootless_container_can_lack_one_in_its_own_namespace() {
        let call = failed("chroot", libc::EPERM, &[]).knowing(knew(1 << CAP_SYS_CHROOT, (400, 1), 1));
        let verdict = verdict(&RULE, &call, &Scene::default());
        assert_eq!(verdict.cause, Cause::Capability);
        assert!(
            verdict.evidence[0]
                .text
                .contains("the container's own user namespace")
        );
    }

    #[test]
    fn probes_of_file_permissions_are_not_its() {
        let probe = 1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH | NEVER_FATAL;
        let call = failed("openat", libc::EACCES, &[]).knowing(knew(probe, (400, 0), 0));
        assert!(matches!(
            ask(&RULE, &call, &Scene::default()),
            Finding::RuledOut(_)
        ));
    }

    #[test]
    fn the_narrower_of_two_is_named() {
        let denied = 1 << CAP_BPF | 1 << CAP_SYS_ADMIN;
        let call = failed("bpf", libc::EPERM, &[]).knowing(knew(denied, (1, 0), 0));
        assert!(verdict(&RULE, &call, &Scene::default()).why.contains("CAP_BPF"));
    }

    #[test]
    fn a_program_that_did_not_become_root_is_told_why() {
        let evidence = Evidence {
            no_new_privs: true,
            euid: 1000,
            ..knew(1 << CAP_SETUID, (400, 0), 0)
        };
        let call = failed("setuid", libc::EPERM, &[("uid", 0, "0")]).knowing(evidence);
        let verdict = verdict(&RULE, &call, &Scene::default());
        assert_eq!(verdict.fixes[0].line, "without --security-opt no-new-privileges");
    }

    #[test]
    fn who_is_not_root_gets_nothing_of_docker() {
        let scene = Scene {
            uids: Some(vec![IdMap {
                inside: 0,
                outside: 0,
                count: u32::MAX,
            }]),
            ..Scene::default()
        };
        let evidence = Evidence {
            euid: 1000,
            bounding: 1 << CAP_NET_RAW,
            ..knew(1 << CAP_NET_RAW, (400, 0), 0)
        };
        let call = failed("socket", libc::EPERM, &[]).knowing(evidence);
        let verdict = verdict(&RULE, &call, &scene);
        assert!(verdict.fixes.iter().any(|fix| fix.place == Place::Docker
            && fix.line.contains("setcap cap_net_raw+ep")
            && fix.line.starts_with("--user 0")));
    }

    #[test]
    fn where_nobody_watched_only_what_has_one_reason_is_decided() {
        let blind = Evidence {
            denied: None,
            ..Evidence::default()
        };
        let call = failed("chroot", libc::EPERM, &[]).knowing(blind);
        assert_eq!(verdict(&RULE, &call, &Scene::default()).cause, Cause::Capability);
        let call = failed("mount", libc::EPERM, &[]).knowing(blind);
        assert!(matches!(
            ask(&RULE, &call, &Scene::default()),
            Finding::RuledOut(_)
        ));
        let rootless = Evidence {
            effective: u64::MAX,
            user_ns_level: 1,
            ..blind
        };
        let call = failed("settimeofday", libc::EPERM, &[]).knowing(rootless);
        assert_eq!(
            verdict(&RULE, &call, &Scene::default()).cause,
            Cause::UserNamespace
        );
        let held = Evidence {
            effective: u64::MAX,
            ..blind
        };
        let call = failed("chroot", libc::EPERM, &[]).knowing(held);
        assert!(matches!(
            ask(&RULE, &call, &Scene::default()),
            Finding::RuledOut(_)
        ));
    }
}
