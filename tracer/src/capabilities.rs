//! What the kernel's capability checks say of a container: pure functions from counted rows to verdicts. It knows neither
//! where the rows come from nor how the verdicts are printed.
//!
//! A check does not say whether the call depended on it. Three things do: how the call ended, whether the same kind of
//! call succeeded although it was denied, and a short list of checks that no call ever fails for.

use std::collections::{BTreeMap, HashMap};

use tracer_common::capability::{CheckKey, Checks, Held};

use crate::{
    decode,
    event::Arch,
    report::capabilities::{Asked, Capability, Held as HeldSets, Verdict},
};

/// A container's rows.
pub type Rows = HashMap<CheckKey, Checks>;

/// Checks that no call fails for, with the kernel's source.
struct Probe {
    capability: u8,
    /// Empty: whatever the call.
    calls: &'static [&'static str],
    note: &'static str,
}

const CAP_FSETID: u8 = 4;
const CAP_IPC_LOCK: u8 = 14;
const CAP_SYS_ADMIN: u8 = 21;
const CAP_SYSLOG: u8 = 34;

const PROBES: [Probe; 5] = [
    Probe {
        // cap_vm_enough_memory, security/commoncap.c, from each place that accounts for memory.
        capability: CAP_SYS_ADMIN,
        calls: &[
            "",
            "brk",
            "clone",
            "clone3",
            "execve",
            "execveat",
            "fork",
            "mmap",
            "mmap2",
            "mprotect",
            "mremap",
            "pkey_mprotect",
            "shmat",
            "shmget",
            "vfork",
        ],
        note: "asked whenever memory is mapped, for the share that is kept for root",
    },
    Probe {
        // xattr handler of trusted.*, fs/xattr.c: a name that is not listed.
        capability: CAP_SYS_ADMIN,
        calls: &["flistxattr", "listxattr", "listxattrat", "llistxattr"],
        note: "decides which names are listed",
    },
    Probe {
        // io_uring_create, io_uring/io_uring.c: without it the ring's memory is accounted for.
        capability: CAP_IPC_LOCK,
        calls: &["io_uring_setup"],
        note: "decides whether the ring counts as locked memory",
    },
    Probe {
        // setattr_prepare and setattr_should_drop_sgid, fs/attr.c.
        capability: CAP_FSETID,
        calls: &[],
        note: "no call fails without it: set-group-id bits of a foreign group are cleared",
    },
    Probe {
        // kallsyms_show_value and restricted_pointer: addresses read as zeros.
        capability: CAP_SYSLOG,
        calls: &["openat", "pread64", "read"],
        note: "decides whether the kernel's addresses are shown",
    },
];

/// The kind of call that asked: table and name; the name is empty outside any call.
type Call = (Option<Arch>, String);

/// Checks of one capability by one kind of call in one kind of namespace.
struct Row {
    call: Call,
    key: CheckKey,
    checks: Checks,
}

impl Row {
    const fn granted(&self) -> bool {
        self.key.what & CheckKey::DENIED == 0
    }

    /// Whether nobody saw how the calls ended.
    const fn open_ended(&self) -> bool {
        let Checks {
            succeeded,
            refused,
            failed,
            ..
        } = self.checks;
        succeeded + refused + failed == 0
    }

    fn probe(&self) -> Option<&'static Probe> {
        PROBES.iter().find(|probe| {
            probe.capability == self.key.capability()
                && (probe.calls.is_empty() || probe.calls.contains(&self.call.1.as_str()))
        })
    }
}

/// A verdict on each capability that the application was asked for or held.
pub fn judge(native: Arch, rows: &Rows, held: Option<&Held>) -> Vec<Capability> {
    let mut by_capability: BTreeMap<u8, Vec<Row>> = BTreeMap::new();
    for (key, checks) in rows {
        if key.what & CheckKey::APP == 0 {
            continue;
        }
        by_capability.entry(key.capability()).or_default().push(Row {
            call: call(native, key.nr),
            key: *key,
            checks: *checks,
        });
    }
    let effective = held.map(|held| held.effective);
    for number in 0..64 {
        if effective.is_some_and(|set| set >> number & 1 != 0) {
            by_capability.entry(number).or_default();
        }
    }
    by_capability
        .into_iter()
        .map(|(number, rows)| capability(number, rows, held))
        .collect()
}

/// The sets by name.
pub fn held(held: &Held) -> HeldSets {
    let names = |set: u64| {
        (0..64_u8)
            .filter(|number| set >> number & 1 != 0)
            .map(|number| decode::capability_name(number).into_owned())
            .collect()
    };
    HeldSets {
        effective: names(held.effective),
        permitted: names(held.permitted),
        bounding: names(held.bounding),
        user_ns: held.user_ns,
        user_ns_level: held.user_ns_level,
    }
}

fn call(native: Arch, nr: u16) -> Call {
    if nr == CheckKey::OUTSIDE {
        return (None, String::new());
    }
    let (arch, name) = decode::named(native, nr);
    (Some(arch), name.into_owned())
}

fn capability(number: u8, mut rows: Vec<Row>, held: Option<&Held>) -> Capability {
    // Where a call succeeded although it was denied, calls of its kind do not depend on it.
    let independent: Vec<Call> = rows
        .iter()
        .filter(|row| !row.granted() && row.checks.succeeded > 0)
        .map(|row| row.call.clone())
        .collect();
    let weigh = |row: &Row| {
        let noise = row.probe().is_some() || independent.contains(&row.call);
        match (row.granted(), row.open_ended()) {
            // Refused all the same; and a call that failed of a denial is one, whatever others of its kind did.
            (false, _) if row.checks.refused > 0 && row.probe().is_none() => Verdict::Denied,
            _ if noise => Verdict::Noise,
            (true, true) => Verdict::Needed,
            (true, false) if row.checks.succeeded + row.checks.failed > 0 => Verdict::Needed,
            (true, false) => Verdict::Noise,
            (false, true) => Verdict::Unclear,
            (false, false) => Verdict::Noise,
        }
    };
    rows.sort_by_key(|row| {
        (
            weigh(row),
            std::cmp::Reverse(row.checks.checks),
            row.call.1.clone(),
            row.key.what,
        )
    });
    let verdict = rows.first().map_or(Verdict::NeverUsed, weigh);
    let level = held.map_or(0, |held| held.user_ns_level);
    let note = rows
        .first()
        .filter(|_| verdict == Verdict::Noise)
        .map(|row| match row.probe() {
            Some(probe) => probe.note.to_owned(),
            None if row.granted() => "held, and refused all the same".to_owned(),
            None if row.checks.succeeded > 0 => "the calls succeeded without it".to_owned(),
            None => "the calls failed for another reason".to_owned(),
        });
    Capability {
        name: decode::capability_name(number).into_owned(),
        verdict,
        held: held.map(|held| held.effective >> number & 1 != 0),
        out_of_reach: verdict == Verdict::Denied
            && rows
                .iter()
                .filter(|row| weigh(row) == Verdict::Denied)
                .all(|row| u32::from(row.key.level()) < level),
        note,
        asked: rows.into_iter().map(asked).collect(),
    }
}

fn asked(row: Row) -> Asked {
    let granted = row.granted();
    let (arch, name) = row.call;
    let Checks {
        checks,
        succeeded,
        refused,
        failed,
    } = row.checks;
    Asked {
        syscall: arch.is_some().then_some(name),
        arch: arch.map(|arch| arch.name().to_owned()),
        granted,
        user_ns_level: row.key.level(),
        own_user_ns: row.key.what & CheckKey::OWN != 0,
        checks,
        succeeded,
        refused,
        failed,
    }
}

#[cfg(test)]
mod tests;
