//! Reads the kernel side's [`record::Evidence`], and what else it noted of a failure.

use tracer_common::record::{self, evidence, flag};

use super::{Reader, Undecodable};
use crate::event::{DeniedBy, Evidence, Negative};

/// Who refused a call before it began, by its record's flags.
pub(super) fn denied_by(flags: u16) -> Option<DeniedBy> {
    if flags & flag::SECCOMP != 0 {
        Some(DeniedBy::Seccomp)
    } else {
        (flags & flag::SKIPPED != 0).then_some(DeniedBy::Ptrace)
    }
}

/// Where the kernel found that a name is not there, by a record's flags.
pub(super) fn negative(flags: u16) -> Option<Negative> {
    if flags & flag::LOOKED_UP != 0 {
        Some(Negative::LookedUp)
    } else {
        (flags & flag::CACHED != 0).then_some(Negative::Cached)
    }
}

/// Reads the body of a section.
pub(super) fn read(bytes: &[u8]) -> Result<Evidence, Undecodable> {
    let mut reader = Reader::of(bytes);
    let raw = record::Evidence {
        denied: reader.u64()?,
        granted: reader.u64()?,
        effective: reader.u64()?,
        permitted: reader.u64()?,
        bounding: reader.u64()?,
        limits: words(&mut reader)?,
        hard: words(&mut reader)?,
        rt_runtime: reader.u64()?,
        total_vm: reader.u64()?,
        locked_vm: reader.u64()?,
        user_tasks: reader.u64()?,
        user_ns: reader.u32()?,
        denied_ns: reader.u32()?,
        user_ns_level: reader.u32()?,
        denied_ns_level: reader.u32()?,
        euid: reader.u32()?,
        fsuid: reader.u32()?,
        egid: reader.u32()?,
        fsgid: reader.u32()?,
        flags: reader.u32()?,
        seccomp: reader.u32()?,
    };
    let has = |bit: u32| raw.flags & bit != 0;
    let watched = has(evidence::CAPABILITIES);
    let [hard_rtprio, hard_nice, hard_nofile, hard_nproc] = raw.hard;
    Ok(Evidence {
        denied: watched.then_some(raw.denied),
        granted: watched.then_some(raw.granted),
        effective: raw.effective,
        permitted: raw.permitted,
        bounding: raw.bounding,
        limits: raw.limits,
        hard_rtprio,
        hard_nice,
        hard_nofile,
        hard_nproc,
        rt_runtime: has(evidence::RT_GROUP).then_some(raw.rt_runtime.cast_signed()),
        total_vm: raw.total_vm,
        locked_vm: raw.locked_vm,
        user_tasks: has(evidence::USER_TASKS).then_some(raw.user_tasks),
        user_ns: raw.user_ns,
        user_ns_level: raw.user_ns_level,
        denied_ns: (watched && raw.denied_ns != 0).then_some((raw.denied_ns, raw.denied_ns_level)),
        euid: raw.euid,
        fsuid: raw.fsuid,
        egid: raw.egid,
        fsgid: raw.fsgid,
        no_new_privs: has(evidence::NO_NEW_PRIVS),
        seccomp: raw.seccomp,
    })
}

fn words<const N: usize>(reader: &mut Reader<'_>) -> Result<[u64; N], Undecodable> {
    let mut words = [0; N];
    for word in &mut words {
        *word = reader.u64()?;
    }
    Ok(words)
}
