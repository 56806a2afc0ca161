//! Verdicts on rows as kernels give them.

use super::*;

const CHOWN: u8 = 0;
const DAC_OVERRIDE: u8 = 1;
const DAC_READ_SEARCH: u8 = 2;
const NET_BIND_SERVICE: u8 = 10;
const SYS_CHROOT: u8 = 18;
const SYS_NICE: u8 = 23;

/// succeeded, refused, failed; as many checks.
type Ends = (u64, u64, u64);

fn row(capability: u8, call: &str, granted: bool, level: u8, ends: Ends) -> (CheckKey, Checks) {
    let nr = (0..512)
        .find(|nr| decode::name(Arch::X86_64, *nr) == Some(call))
        .map_or(CheckKey::OUTSIDE, |nr| u16::try_from(nr).unwrap());
    let what = u16::from(capability)
        | u16::from(level) << CheckKey::LEVEL_SHIFT
        | if granted { 0 } else { CheckKey::DENIED }
        | CheckKey::APP;
    let (succeeded, refused, failed) = ends;
    let key = CheckKey {
        slot: 1,
        generation: 1,
        nr,
        what,
    };
    let checks = Checks {
        checks: (succeeded + refused + failed).max(1),
        succeeded,
        refused,
        failed,
    };
    (key, checks)
}

fn judged(rows: &[(CheckKey, Checks)], held: u64, level: u32) -> Vec<Capability> {
    let held = Held {
        effective: held,
        permitted: held,
        bounding: held,
        user_ns: 7,
        user_ns_level: level,
    };
    judge(Arch::X86_64, &rows.iter().copied().collect(), Some(&held))
}

fn verdicts(rows: &[(CheckKey, Checks)], held: u64) -> Vec<(String, Verdict)> {
    judged(rows, held, 0)
        .into_iter()
        .map(|capability| (capability.name, capability.verdict))
        .collect()
}

fn one(name: &str, verdict: Verdict) -> Vec<(String, Verdict)> {
    vec![(name.to_owned(), verdict)]
}

#[test]
fn what_a_call_that_succeeded_had_is_needed() {
    assert_eq!(
        verdicts(&[row(CHOWN, "fchownat", true, 0, (3, 0, 0))], 1),
        one("CAP_CHOWN", Verdict::Needed)
    );
    // It failed for another reason: a port in use is one that could be bound.
    let bound = row(NET_BIND_SERVICE, "bind", true, 0, (0, 0, 1));
    assert_eq!(
        verdicts(&[bound], 1 << NET_BIND_SERVICE),
        one("CAP_NET_BIND_SERVICE", Verdict::Needed)
    );
}

#[test]
fn what_a_refused_call_lacked_is_denied() {
    assert_eq!(
        verdicts(&[row(SYS_CHROOT, "chroot", false, 0, (0, 2, 0))], 0),
        one("CAP_SYS_CHROOT", Verdict::Denied)
    );
    // Refused although it was held: something else was in the way.
    assert_eq!(
        verdicts(&[row(SYS_CHROOT, "chroot", true, 0, (0, 1, 0))], 1 << SYS_CHROOT),
        one("CAP_SYS_CHROOT", Verdict::Noise)
    );
}

#[test]
fn what_no_call_depends_on_is_noise() {
    // Of reading a directory the kernel asks for the one, then for the other.
    let rows = [
        row(DAC_READ_SEARCH, "openat", false, 0, (4, 0, 1)),
        row(DAC_OVERRIDE, "openat", true, 0, (4, 0, 1)),
    ];
    let expected = [
        ("CAP_DAC_OVERRIDE".to_owned(), Verdict::Needed),
        ("CAP_DAC_READ_SEARCH".to_owned(), Verdict::Noise),
    ];
    assert_eq!(verdicts(&rows, 1 << DAC_OVERRIDE), expected);
    // A privileged container holds what is asked for memory; denied elsewhere, it succeeds all the same.
    for granted in [true, false] {
        assert_eq!(
            verdicts(&[row(CAP_SYS_ADMIN, "mmap", granted, 0, (90, 0, 0))], 0),
            one("CAP_SYS_ADMIN", Verdict::Noise)
        );
    }
    assert_eq!(
        verdicts(&[row(CAP_SYS_ADMIN, "a page fault", true, 0, (0, 0, 0))], 0),
        one("CAP_SYS_ADMIN", Verdict::Noise)
    );
    // The same kind of call succeeded without it: the other one did not need it either.
    let rows = [
        row(SYS_NICE, "sched_setaffinity", false, 0, (1, 0, 0)),
        row(SYS_NICE, "sched_setaffinity", true, 0, (1, 0, 0)),
    ];
    assert_eq!(verdicts(&rows, 0), one("CAP_SYS_NICE", Verdict::Noise));
}

#[test]
fn one_call_that_needs_it_outweighs_all_noise() {
    let rows = [
        row(CAP_SYS_ADMIN, "mmap", true, 0, (90, 0, 0)),
        row(CAP_SYS_ADMIN, "mount", true, 0, (1, 0, 0)),
    ];
    let judged = judged(&rows, 1 << CAP_SYS_ADMIN, 0);
    assert_eq!(judged[0].verdict, Verdict::Needed);
    assert_eq!(judged[0].asked[0].syscall.as_deref(), Some("mount"));
}

#[test]
fn what_nobody_saw_the_end_of_is_not_called_denied() {
    let rows = [
        row(CHOWN, "fchownat", true, 0, (0, 0, 0)),
        row(SYS_CHROOT, "chroot", false, 0, (0, 0, 0)),
    ];
    let expected = [
        ("CAP_CHOWN".to_owned(), Verdict::Needed),
        ("CAP_SYS_CHROOT".to_owned(), Verdict::Unclear),
    ];
    assert_eq!(verdicts(&rows, 1), expected);
}

#[test]
fn held_and_never_asked_for() {
    assert_eq!(
        verdicts(&[], 1 << SYS_CHROOT),
        one("CAP_SYS_CHROOT", Verdict::NeverUsed)
    );
    // The container runtime's own checks are not the application's.
    let (key, checks) = row(CHOWN, "fchownat", true, 0, (3, 0, 0));
    let before = CheckKey {
        what: key.what & !CheckKey::APP,
        ..key
    };
    assert_eq!(
        verdicts(&[(before, checks)], 1),
        one("CAP_CHOWN", Verdict::NeverUsed)
    );
}

#[test]
fn what_a_rootless_container_asks_of_the_initial_namespace_is_out_of_reach() {
    let nice = |level| row(SYS_NICE, "sched_setscheduler", false, level, (0, 1, 0));
    let rootless = judged(&[nice(0)], 1 << SYS_NICE, 1);
    assert_eq!(
        (rootless[0].verdict, rootless[0].out_of_reach, rootless[0].held),
        (Verdict::Denied, true, Some(true))
    );
    assert!(!judged(&[nice(1)], 0, 1)[0].out_of_reach);
    assert!(!judged(&[nice(0)], 0, 0)[0].out_of_reach);
}

#[test]
fn probes_name_calls_that_exist() {
    for call in PROBES
        .iter()
        .flat_map(|probe| probe.calls)
        .filter(|call| !call.is_empty())
    {
        let known = |arch| (0..1024).any(|nr| decode::name(arch, nr) == Some(*call));
        assert!(known(Arch::X86_64) || known(Arch::I386), "no call {call}");
    }
}
