//! The Landlock rules that a task puts on itself, as its calls said them (landlock(7)). Of what was not seen it says so; it
//! decides nothing.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::Syscall;

/// Rules of a ruleset that are kept, and rulesets of a task.
const RULES: usize = 64;
/// The kernel's own bound (LANDLOCK_MAX_NUM_LAYERS).
const LAYERS: usize = 16;
/// What a text takes beside itself.
const NAME: usize = 32;

/// What binds a task: each of the rulesets that it, and those that made it, put on themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    pub layers: Vec<Arc<Ruleset>>,
    /// There are more, of which nothing is known.
    pub more: bool,
    /// CLOCK_MONOTONIC nanoseconds of the last.
    pub ktime: u64,
}

/// Rights that are asked about, and the places where they are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// Names of LANDLOCK_ACCESS_*.
    pub handled: Vec<String>,
    pub rules: Vec<Rule>,
    /// It has rules for files of which it is not known what they allow.
    pub more: bool,
    /// It has rules for ports.
    pub ports: bool,
}

/// Rights beneath a directory, or on a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub allowed: Vec<String>,
    /// As strace writes it, without quotes.
    pub beneath: Arc<str>,
}

impl Domain {
    pub(super) fn of(before: Option<&Self>, ruleset: Option<Ruleset>, ktime: u64) -> Self {
        let mut domain = before.cloned().unwrap_or_default();
        domain.ktime = ktime;
        match ruleset {
            Some(ruleset) if domain.layers.len() < LAYERS => domain.layers.push(Arc::new(ruleset)),
            _ => domain.more = true,
        }
        domain
    }

    /// Some rules, of which there is no more to know.
    pub(super) fn unknown(ktime: u64) -> Self {
        Self {
            more: true,
            ktime,
            ..Self::default()
        }
    }

    /// What it takes. One that is not known takes nothing, so that there is always room for it.
    pub(super) fn bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.bytes()).sum()
    }
}

impl Ruleset {
    /// Of landlock_create_ruleset(2); `None` where that asked for a number.
    pub(super) fn created(call: &Syscall) -> Option<Self> {
        let attr = super::text(call, "attr")?;
        if super::raw(call, "attr") == Some(0) {
            return None;
        }
        let handled: Vec<String> = ["handled_access_fs=", "handled_access_net="]
            .iter()
            .filter_map(|field| attr.split_once(field))
            .flat_map(|(_, rest)| names(rest))
            .collect();
        // What the text does not have, or has as a number, is not known.
        let more = handled.is_empty() || attr.contains("=0x") || attr.contains("|0x");
        Some(Self {
            handled,
            more,
            ..Self::default()
        })
    }

    /// By landlock_add_rule(2): what is allowed beneath that path, where it is known.
    pub(super) fn add(&mut self, call: &Syscall, beneath: Option<Arc<str>>) {
        let text = super::text(call, "rule_attr").unwrap_or_default();
        match (text.split_once("allowed_access="), beneath) {
            (Some((_, rest)), Some(beneath)) if self.rules.len() < RULES => self.rules.push(Rule {
                allowed: names(rest),
                beneath,
            }),
            // It gives no right on a file.
            (None, _) if super::text(call, "rule_type") == Some("LANDLOCK_RULE_NET_PORT") => {
                self.ports = true
            }
            _ => self.more = true,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let names = |names: &[String]| names.iter().map(|name| NAME + name.len()).sum::<usize>();
        let rule = |rule: &Rule| NAME + names(&rule.allowed) + rule.beneath.len();
        4 * NAME + names(&self.handled) + self.rules.iter().map(rule).sum::<usize>()
    }

    /// Whether its rules decide about that right.
    pub fn handles(&self, right: &str) -> bool {
        self.handled.iter().any(|handled| handled == right)
    }
}

/// `parent_fd` of landlock_add_rule(2).
pub(super) fn parent(call: &Syscall) -> Option<i32> {
    let (_, rest) = super::text(call, "rule_attr")?.split_once("parent_fd=")?;
    rest.trim_end_matches('}').parse().ok()
}

/// `A|B, …` or `A|B}`: the names.
fn names(rest: &str) -> Vec<String> {
    let end = rest.find([',', '}']).unwrap_or(rest.len());
    let list = rest.get(..end).unwrap_or_default();
    list.split('|')
        .filter(|name| name.starts_with("LANDLOCK_"))
        .map(str::to_owned)
        .collect()
}
