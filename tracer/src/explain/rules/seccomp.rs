//! Calls that were refused before the kernel's own function ran.

use super::{
    Rule,
    capability::{
        CAP_DAC_READ_SEARCH, CAP_SYS_ADMIN, CAP_SYS_BOOT, CAP_SYS_CHROOT, CAP_SYS_MODULE, CAP_SYS_NICE,
        CAP_SYS_PACCT, CAP_SYS_PTRACE, CAP_SYS_RAWIO, CAP_SYS_TIME,
    },
    words::{capability, short_capability},
};
use crate::{
    event::{Arch, Cause, DeniedBy, Outcome, Place},
    explain::{Case, Finding, case::Found},
};

pub(super) const RULE: Rule = Rule {
    name: "seccomp",
    source: "kernel/entry/common.c: syscall_trace_enter; seccomp(2)",
    judge,
};

fn judge(case: &Case<'_>) -> Finding {
    match case.call.denied_by {
        Some(DeniedBy::Seccomp) => seccomp(case),
        Some(DeniedBy::Ptrace) => Found::new(
            Cause::Skipped,
            format!(
                "{} was skipped before it began, by a ptracer or by syscall user dispatch",
                case.call.name
            ),
        )
        .at_call("the call left the kernel without having entered it, and the task has no seccomp filter")
        .done(),
        None => Finding::NotMine,
    }
}

/// Calls that the default profiles of podman and Docker allow to those who have a capability (containers-common
/// pkg/seccomp, moby profiles/seccomp).
const WITH_CAPABILITY: &[(u8, &[&str])] = &[
    (CAP_DAC_READ_SEARCH, &["open_by_handle_at"]),
    (CAP_SYS_MODULE, &["delete_module", "finit_module", "init_module"]),
    (CAP_SYS_RAWIO, &["ioperm", "iopl"]),
    (CAP_SYS_CHROOT, &["chroot"]),
    (
        CAP_SYS_PTRACE,
        &[
            "kcmp",
            "pidfd_getfd",
            "process_madvise",
            "process_vm_readv",
            "process_vm_writev",
            "ptrace",
        ],
    ),
    (CAP_SYS_PACCT, &["acct"]),
    (
        CAP_SYS_ADMIN,
        &[
            "bpf",
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "perf_event_open",
            "quotactl",
            "setdomainname",
            "sethostname",
            "setns",
            "syslog",
            "umount",
            "umount2",
            "unshare",
        ],
    ),
    (CAP_SYS_BOOT, &["reboot"]),
    (CAP_SYS_NICE, &["get_mempolicy", "mbind", "set_mempolicy"]),
    (
        CAP_SYS_TIME,
        &["clock_settime", "clock_settime64", "settimeofday", "stime"],
    ),
];

/// The capability with which engines allow the call, where the task does not have it.
fn lacking(case: &Case<'_>) -> Option<u8> {
    let (capability, _) = WITH_CAPABILITY.iter().find(|(_, calls)| case.is(calls))?;
    (case.has(*capability) == Some(false)).then_some(*capability)
}

fn seccomp(case: &Case<'_>) -> Finding {
    let call = case.call;
    // They answer EINVAL to say that there is no audit log, as a kernel without one does (libaudit, PAM).
    if case.is(&["socket"]) && case.says("NETLINK_AUDIT") && case.failed_with(&[libc::EINVAL]) {
        return Found::new(
            Cause::Expected,
            "the container's seccomp filter says that there is no audit log: programs do without",
        )
        .at_call("the call left the kernel without having entered it: its function never ran")
        .done();
    }
    let answer = match call.outcome {
        Outcome::Error(_) => format!("answered {}", case.errno_name()),
        _ => "sent SIGSYS, or killed the process".to_owned(),
    };
    let found = Found::new(
        Cause::Seccomp,
        format!(
            "the container's seccomp filter refuses {} and {answer}",
            call.name
        ),
    )
    .at_call("the call left the kernel without having entered it: its function never ran")
    .always("seccomp filters run before the system call (seccomp(2))");
    let found = match call.arch {
        Arch::X86_64 | Arch::Aarch64 | Arch::Arm => found,
        other => found.at_call(format!("it came through the table of {}", other.name())),
    };
    let found = match lacking(case) {
        Some(number) => found
            .at_call(format!("the task does not have {}", capability(number)))
            .always(format!(
                "the default profiles of podman and Docker allow {} where the container has {}",
                call.name,
                capability(number)
            ))
            .flag(&format!("--cap-add={}", short_capability(number)))
            .fix(
                Place::Kubernetes,
                format!(
                    r#"securityContext.capabilities.add: ["{}"]"#,
                    short_capability(number)
                ),
            ),
        None => found,
    };
    let line = format!(r#"{{"names": ["{}"], "action": "SCMP_ACT_ALLOW"}}"#, call.name);
    found
        .fix(
            Place::Podman,
            format!("--security-opt seccomp=PROFILE.json, with this among its \"syscalls\": {line}"),
        )
        .fix(
            Place::Docker,
            format!("--security-opt seccomp=PROFILE.json, with this among its \"syscalls\": {line}"),
        )
        .fix(
            Place::Kubernetes,
            format!(
                "securityContext.seccompProfile: {{type: Localhost, localhostProfile: PROFILE.json}}, with this among its \"syscalls\": {line}"
            ),
        )
        .fix(
            Place::Host,
            "tracer profile seccomp CONTAINER > PROFILE.json: a whole profile, from a run without one",
        )
        .done()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::{
        Scene,
        rules::testing::{ask, failed, verdict},
    };

    #[test]
    fn a_refused_call_is_told_with_the_line_that_allows_it() {
        let call = failed("keyctl", libc::EPERM, &[]).denied(DeniedBy::Seccomp);
        let verdict = verdict(&RULE, &call, &Scene::default());
        assert_eq!(verdict.cause, Cause::Seccomp);
        assert_eq!(
            verdict.why,
            "the container's seccomp filter refuses keyctl and answered EPERM"
        );
        assert!(
            verdict
                .fixes
                .iter()
                .filter(|fix| fix.place != Place::Host)
                .all(|fix| fix.line.contains(r#""names": ["keyctl"]"#))
        );
    }

    #[test]
    fn that_there_is_no_audit_log_is_no_refusal() {
        let socket = |family: &str, errno: i32| {
            let args = [("family", 16, family), ("protocol", 9, "NETLINK_AUDIT")];
            let call = failed("socket", errno, &args).denied(DeniedBy::Seccomp);
            verdict(&RULE, &call, &Scene::default()).cause
        };
        assert_eq!(socket("AF_NETLINK", libc::EINVAL), Cause::Expected);
        assert_eq!(socket("AF_NETLINK", libc::EPERM), Cause::Seccomp);
    }

    #[test]
    fn a_capability_opens_the_call_in_default_profiles() {
        let call = |effective: u64| {
            failed("chroot", libc::EPERM, &[])
                .denied(DeniedBy::Seccomp)
                .knowing(crate::event::Evidence {
                    effective,
                    ..crate::event::Evidence::default()
                })
        };
        let first = |effective: u64| {
            let told = verdict(&RULE, &call(effective), &Scene::default());
            told.fixes[0].line.clone()
        };
        assert_eq!(first(0), "--cap-add=SYS_CHROOT");
        // One that has it is refused for another reason.
        assert!(first(1 << CAP_SYS_CHROOT).contains("PROFILE.json"));
    }

    #[test]
    fn a_call_that_ran_is_not_seccomps() {
        let call = failed("keyctl", libc::EPERM, &[]);
        assert_eq!(ask(&RULE, &call, &Scene::default()), Finding::NotMine);
    }

    #[test]
    fn a_skipped_call_is_a_tracers() {
        let call = failed("getpid", libc::ENOSYS, &[]).denied(DeniedBy::Ptrace);
        assert_eq!(verdict(&RULE, &call, &Scene::default()).cause, Cause::Skipped);
    }
}
