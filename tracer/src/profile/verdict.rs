//! Whether a profile lets a container do what it did.

use std::collections::BTreeSet;

use oci_spec::runtime::{LinuxSeccompArg as Condition, LinuxSeccompOperator as Operator};
use serde::{Deserialize, Serialize};

use super::{Answer, Profile, Rule, architectures, is};
use crate::report::{Row, Stats, observed::Arguments};

/// What a profile would do to a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Calls that it made and that the profile refuses.
    pub refused: Vec<Finding>,
    /// Calls for which it depends on arguments that were not all seen.
    pub undecided: Vec<Finding>,
    /// Architectures of its calls that the profile does not have.
    pub architectures: Vec<String>,
    /// Calls that the profile allows and that it has not made.
    pub unused: Vec<String>,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub syscall: String,
    pub arch: String,
    /// `app`, or `runtime`: under the filter, before the application.
    pub phase: String,
    /// How often it was made; 0 where only that it was is known.
    pub calls: u64,
    /// What it would get.
    pub answer: String,
}

impl Verdict {
    /// Whether all would go as it went.
    pub fn fits(&self) -> bool {
        self.refused.is_empty() && self.undecided.is_empty() && self.architectures.is_empty()
    }
}

enum Outcome {
    Allowed,
    Refused(Answer),
    Undecided,
}

/// Holds a profile against what a container did.
pub fn check(profile: &Profile, app: &Stats, seen: &Arguments) -> Verdict {
    let runtime = seen.under_filter.as_deref().unwrap_or_default();
    let mut verdict = Verdict::default();
    for row in &app.calls {
        let calls = reached(row, seen);
        if calls == 0 {
            // It never got to the kernel's function; to be refused is nothing new to it.
            continue;
        }
        let finding = |answer: String| Finding {
            syscall: row.syscall.clone(),
            arch: row.arch.clone(),
            phase: "app".into(),
            calls,
            answer,
        };
        match outcome(profile, &row.syscall, row, seen) {
            Outcome::Allowed => {}
            Outcome::Refused(answer) => verdict.refused.push(finding(answer.to_string())),
            Outcome::Undecided => verdict.undecided.push(finding("depends on its arguments".into())),
        }
    }
    let native = architectures(app)
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    for name in runtime {
        let rules = profile.calls.get(name).map_or(&[][..], Vec::as_slice);
        // Its arguments are not kept: one rule that allows is enough.
        let allowed = match rules {
            [] => profile.default.allows(),
            rules => rules.iter().any(|rule| rule.answer.allows()),
        };
        if !allowed {
            let answer = rules.first().map_or(profile.default, |rule| rule.answer);
            verdict.refused.push(Finding {
                syscall: name.clone(),
                arch: native.clone(),
                phase: "runtime".into(),
                calls: 0,
                answer: answer.to_string(),
            });
        }
    }
    if !profile.architectures.is_empty() {
        verdict.architectures = architectures(app)
            .iter()
            .filter(|arch| !profile.architectures.contains(arch))
            .map(ToString::to_string)
            .collect();
    }
    let made: BTreeSet<&str> = app
        .calls
        .iter()
        .map(|row| row.syscall.as_str())
        .chain(runtime.iter().map(String::as_str))
        .collect();
    verdict.unused = profile
        .calls
        .iter()
        .filter(|(name, rules)| {
            rules.iter().any(|rule| rule.answer.allows()) && !made.contains(name.as_str())
        })
        .map(|(name, _)| name.clone())
        .collect();
    verdict
}

/// How many of a row's calls reached the kernel's function: not those that seccomp refused or that the kernel has not.
fn reached(row: &Row, seen: &Arguments) -> u64 {
    let refused = seen.refused.iter().filter(|refused| is(&refused.call, row));
    let (mut refusals, mut refused_so) = (0, 0);
    for refused in refused {
        refusals += refused.calls;
        if i32::from(refused.errno) == libc::ENOSYS {
            refused_so += refused.calls;
        }
    }
    let no_such_call = row.errnos.get("ENOSYS").copied().unwrap_or(0);
    (row.calls + row.unfinished)
        .saturating_sub(refusals)
        .saturating_sub(no_such_call.saturating_sub(refused_so))
}

fn outcome(profile: &Profile, name: &str, row: &Row, seen: &Arguments) -> Outcome {
    let Some(rules) = profile.calls.get(name).filter(|rules| !rules.is_empty()) else {
        return of(profile.default);
    };
    if let Some(always) = rules.iter().find(|rule| rule.conditions.is_empty()) {
        return of(always.answer);
    }
    let values = seen
        .values
        .iter()
        .find(|values| is(&values.call, row))
        .filter(|values| !values.more && values.calls >= row.calls + row.unfinished);
    let Some(values) = values else {
        return Outcome::Undecided;
    };
    let mut undecided = false;
    for value in &values.seen {
        match by_value(profile, rules, *value) {
            Outcome::Allowed => {}
            refused @ Outcome::Refused(_) => return refused,
            Outcome::Undecided => undecided = true,
        }
    }
    if undecided {
        Outcome::Undecided
    } else {
        Outcome::Allowed
    }
}

fn of(answer: Answer) -> Outcome {
    if answer.allows() {
        Outcome::Allowed
    } else {
        Outcome::Refused(answer)
    }
}

/// What a call with that value of argument 0 gets.
fn by_value(profile: &Profile, rules: &[Rule], value: u64) -> Outcome {
    let mut open = false;
    let mut met = Vec::new();
    for rule in rules {
        let first = rule.conditions.iter().filter(|condition| condition.index() == 0);
        if first.into_iter().all(|condition| meets(condition, value)) {
            if rule.conditions.iter().any(|condition| condition.index() != 0) {
                open = true;
            } else {
                met.push(rule.answer);
            }
        }
    }
    // The kernel takes the strictest of what is met; that of an allowed and a refused rule is the refusal.
    match met.iter().find(|answer| !answer.allows()) {
        Some(refusal) => Outcome::Refused(*refusal),
        None if !met.is_empty() && !open => Outcome::Allowed,
        None if open => Outcome::Undecided,
        None => of(profile.default),
    }
}

fn meets(condition: &Condition, value: u64) -> bool {
    let with = condition.value();
    match condition.op() {
        Operator::ScmpCmpNe => value != with,
        Operator::ScmpCmpLt => value < with,
        Operator::ScmpCmpLe => value <= with,
        Operator::ScmpCmpEq => value == with,
        Operator::ScmpCmpGe => value >= with,
        Operator::ScmpCmpGt => value > with,
        Operator::ScmpCmpMaskedEq => value & with == condition.value_two().unwrap_or(0) & with,
    }
}
