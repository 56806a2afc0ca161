//! Seccomp profiles: made from what a container called, compared, joined, held against a container. Pure: it knows neither
//! the daemon nor files.

pub mod base;
mod document;
mod verdict;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use oci_spec::runtime::{
    Arch, LinuxSeccompAction as Action, LinuxSeccompArg as Condition, LinuxSeccompArgBuilder,
    LinuxSeccompOperator as Operator,
};

use crate::report::{
    Row, Stats,
    observed::{Arguments, Values},
};

pub use document::{Form, read, write};
pub use verdict::{Finding, Verdict, check};

/// What podman's own profile answers to what it does not know: programs take ENOSYS for an older kernel, and go on.
pub const DEFAULT_ERRNO: u32 = libc::ENOSYS as u32;

/// Flags of clone(2) and unshare(2) that make a namespace (include/uapi/linux/sched.h).
const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u64;
/// unshare(2) takes this one too; in clone(2) its bit is of the signal.
const NEW_TIME: u64 = 0x80;

/// A profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub default: Answer,
    /// None: the native one.
    pub architectures: Vec<Arch>,
    /// Each call's rules; those that are met decide.
    pub calls: BTreeMap<String, Vec<Rule>>,
}

/// What a call gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub action: Action,
    pub errno: Option<u32>,
}

impl Answer {
    pub const ALLOW: Self = Self {
        action: Action::ScmpActAllow,
        errno: None,
    };

    pub const fn errno(errno: u32) -> Self {
        Self {
            action: Action::ScmpActErrno,
            errno: Some(errno),
        }
    }

    /// Whether the call reaches the kernel.
    pub const fn allows(self) -> bool {
        matches!(self.action, Action::ScmpActAllow | Action::ScmpActLog)
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.action, self.errno.map(u16::try_from)) {
            (Action::ScmpActErrno, Some(Ok(errno))) => to.write_str(&crate::decode::errno_name(errno)),
            // libseccomp's own default.
            (Action::ScmpActErrno, None) => to.write_str("EPERM"),
            (action, _) => write!(to, "{action}"),
        }
    }
}

/// What a call gets whose arguments meet all conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub answer: Answer,
    pub conditions: Vec<Condition>,
}

impl Rule {
    const fn always(answer: Answer) -> Self {
        Self {
            answer,
            conditions: Vec::new(),
        }
    }
}

/// A profile, and what its maker should know.
#[derive(Clone, Debug)]
pub struct Made {
    pub profile: Profile,
    pub notes: Vec<String>,
}

/// Makes the profile of a container from the counts of its application, from what was seen beside them, and from the
/// calls that its runtime needs.
pub fn make(app: &Stats, seen: &Arguments, base: &[(String, Vec<Rule>)]) -> Made {
    let mut made = Made {
        profile: Profile {
            default: Answer::errno(DEFAULT_ERRNO),
            architectures: architectures(app),
            calls: BTreeMap::new(),
        },
        notes: Vec::new(),
    };
    let native_only = made.profile.architectures.len() == 1;
    for row in &app.calls {
        if row.syscall.starts_with("syscall_0x") {
            made.notes.push(format!(
                "{} ({}) has no name that a profile could use: it is left out",
                row.syscall, row.arch
            ));
            continue;
        }
        for rule in rules_of(row, seen, native_only, &mut made.notes) {
            made.profile.add(&row.syscall, rule);
        }
    }
    for (name, rules) in base {
        for rule in rules {
            made.profile.add(name, rule.clone());
        }
    }
    made.profile.simplify();
    made
}

fn architectures(app: &Stats) -> Vec<Arch> {
    let mut all = if cfg!(target_arch = "aarch64") {
        vec![Arch::ScmpArchAarch64]
    } else {
        vec![Arch::ScmpArchX86_64]
    };
    let others: BTreeSet<&str> = app.calls.iter().map(|row| row.arch.as_str()).collect();
    all.extend(others.into_iter().filter_map(|arch| match arch {
        "i386" => Some(Arch::ScmpArchX86),
        "x32" => Some(Arch::ScmpArchX32),
        "arm" => Some(Arch::ScmpArchArm),
        _ => None,
    }));
    all
}

/// What one counted call needs.
fn rules_of(row: &Row, seen: &Arguments, native_only: bool, notes: &mut Vec<String>) -> Vec<Rule> {
    let made = row.calls + row.unfinished;
    let refused: BTreeMap<u16, u64> = seen
        .refused
        .iter()
        .filter(|refused| is(&refused.call, row))
        .map(|refused| (refused.errno, refused.calls))
        .collect();
    let refusals: u64 = refused.values().sum();
    if refusals >= made {
        // It never reached the kernel, and the program went on: it keeps the answer that it got.
        return refused
            .keys()
            .take(1)
            .filter(|errno| **errno != 0)
            .map(|errno| Rule::always(Answer::errno(u32::from(*errno))))
            .collect();
    }
    let no_such_call = row.errnos.get("ENOSYS").copied().unwrap_or(0);
    let refused_so = refused.get(&(libc::ENOSYS as u16)).copied().unwrap_or(0);
    if no_such_call.saturating_sub(refused_so) + refusals >= made {
        return vec![Rule::always(Answer::errno(DEFAULT_ERRNO))];
    }
    let Some(values) = seen.values.iter().find(|values| is(&values.call, row)) else {
        if is_conditioned(&row.syscall) {
            notes.push(format!(
                "{}: none of its calls was seen with its arguments: it is allowed with any",
                row.syscall
            ));
        }
        return vec![Rule::always(Answer::ALLOW)];
    };
    let why_not = if !native_only {
        // libseccomp applies a rule to all architectures of a profile, and i386 has socketcall(2).
        Some("the container has calls of two architectures".to_owned())
    } else if values.calls < made {
        Some(format!(
            "only {} of its {made} calls were seen with their arguments (events were lost, or a reader's filter left them out)",
            values.calls
        ))
    } else if values.more {
        Some("it had too many values".to_owned())
    } else {
        None
    };
    match why_not {
        Some(why) => {
            notes.push(format!(
                "{}: {why}: it is allowed with any arguments",
                row.syscall
            ));
            vec![Rule::always(Answer::ALLOW)]
        }
        None => conditioned(values),
    }
}

fn is(call: &crate::report::observed::CallName, row: &Row) -> bool {
    call.arch == row.arch && call.nr == row.nr
}

fn is_conditioned(name: &str) -> bool {
    matches!(name, "clone" | "personality" | "socket" | "unshare")
}

/// One rule a value; for flags one rule, which forbids the namespaces that were not asked for.
fn conditioned(values: &Values) -> Vec<Rule> {
    let allowed = |conditions| Rule {
        answer: Answer::ALLOW,
        conditions,
    };
    let may_make = match values.syscall.as_str() {
        "clone" => NAMESPACES,
        "unshare" => NAMESPACES | NEW_TIME,
        _ => {
            // The kernel takes an int: the register's upper half means nothing.
            let equals = |value: &u64| allowed(vec![masked(u64::from(u32::MAX), *value)]);
            return values.seen.iter().map(equals).collect();
        }
    };
    let asked = values.seen.iter().fold(0, |all, flags| all | flags);
    match may_make & !asked {
        0 => vec![Rule::always(Answer::ALLOW)],
        forbidden => vec![allowed(vec![masked(forbidden, 0)])],
    }
}

/// That argument 0, of these bits, is this.
pub(crate) fn masked(mask: u64, value: u64) -> Condition {
    let built = LinuxSeccompArgBuilder::default()
        .index(0usize)
        .value(mask)
        .value_two(value)
        .op(Operator::ScmpCmpMaskedEq)
        .build();
    // All four fields are given.
    built.unwrap_or_default()
}

/// The condition that no namespace is made.
pub(crate) fn no_namespace() -> Condition {
    masked(NAMESPACES, 0)
}

impl Profile {
    fn add(&mut self, name: &str, rule: Rule) {
        let rules = self.calls.entry(name.to_owned()).or_default();
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }

    /// Leaves out what another rule of the same call makes void: an allowed call is allowed whatever its conditions, and
    /// needs no refusal.
    fn simplify(&mut self) {
        for rules in self.calls.values_mut() {
            let allowed = rules.iter().any(|rule| rule.answer.allows());
            if let Some(always) = rules
                .iter()
                .find(|rule| rule.answer.allows() && rule.conditions.is_empty())
                .cloned()
            {
                *rules = vec![always];
            } else if allowed {
                rules.retain(|rule| rule.answer.allows());
            }
            rules.sort_by_key(|rule| {
                rule.conditions
                    .iter()
                    .map(|condition| (condition.index(), condition.value(), condition.value_two()))
                    .collect::<Vec<_>>()
            });
        }
    }

    /// What each of the two allows, in one.
    ///
    /// # Errors
    /// When they answer differently to what they do not name: neither is right for both.
    pub fn merge(mut self, other: Self) -> Result<Self, String> {
        if self.default != other.default {
            return Err(format!(
                "one profile answers {} to what it does not name, another {}: make them alike first",
                self.default, other.default
            ));
        }
        for arch in other.architectures {
            if !self.architectures.contains(&arch) {
                self.architectures.push(arch);
            }
        }
        for (name, rules) in other.calls {
            for rule in rules {
                self.add(&name, rule);
            }
        }
        self.simplify();
        Ok(self)
    }

    /// What differs, a line each: in the first alone (`-`), in the second alone (`+`).
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut tell = |what: &str, a: Option<String>, b: Option<String>| {
            if a != b {
                lines.extend(a.map(|a| format!("-{what} {a}")));
                lines.extend(b.map(|b| format!("+{what} {b}")));
            }
        };
        tell(
            "default",
            Some(self.default.to_string()),
            Some(other.default.to_string()),
        );
        let architectures = self.architectures.iter().chain(&other.architectures);
        let mut told = Vec::new();
        for arch in architectures {
            if !told.contains(arch) {
                told.push(*arch);
                let of = |profile: &Self| profile.architectures.contains(arch).then(|| arch.to_string());
                tell("architecture", of(self), of(other));
            }
        }
        let names: BTreeSet<&String> = self.calls.keys().chain(other.calls.keys()).collect();
        for name in names {
            let of = |profile: &Self| profile.calls.get(name).map(|rules| said(rules));
            tell(name, of(self), of(other));
        }
        lines
    }
}

/// Rules in words.
fn said(rules: &[Rule]) -> String {
    let words = rules.iter().map(|rule| {
        let conditions: Vec<_> = rule.conditions.iter().map(said_condition).collect();
        let when = if conditions.is_empty() {
            String::new()
        } else {
            format!(" where {}", conditions.join(" and "))
        };
        let answer = if rule.answer.allows() {
            "allowed".to_owned()
        } else {
            rule.answer.to_string()
        };
        format!("{answer}{when}")
    });
    words.collect::<Vec<_>>().join(", ")
}

fn said_condition(condition: &Condition) -> String {
    let (index, value) = (condition.index(), condition.value());
    let second = condition.value_two().unwrap_or(0);
    match condition.op() {
        Operator::ScmpCmpNe => format!("argument {index} != {value:#x}"),
        Operator::ScmpCmpLt => format!("argument {index} < {value:#x}"),
        Operator::ScmpCmpLe => format!("argument {index} <= {value:#x}"),
        Operator::ScmpCmpEq => format!("argument {index} == {value:#x}"),
        Operator::ScmpCmpGe => format!("argument {index} >= {value:#x}"),
        Operator::ScmpCmpGt => format!("argument {index} > {value:#x}"),
        Operator::ScmpCmpMaskedEq => format!("argument {index} & {value:#x} == {second:#x}"),
    }
}
