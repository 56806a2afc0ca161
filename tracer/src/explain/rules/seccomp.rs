//! Calls that were refused before the kernel's own function ran.

use super::Rule;
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

fn seccomp(case: &Case<'_>) -> Finding {
    let call = case.call;
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
                .all(|fix| fix.line.contains(r#""names": ["keyctl"]"#))
        );
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
