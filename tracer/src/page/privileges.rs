//! What the calls tell of the capabilities and the seccomp filter that a container has, for where the kernel's own checks
//! were not seen.

use std::collections::BTreeMap;

use crate::{
    decode,
    event::{DeniedBy, Syscall},
};

/// Rows that are kept; more than there are calls times capabilities that a kernel asks for.
const MOST: usize = 4_096;

/// By capability and call.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Failed calls that asked for a capability and did not have it.
    pub(super) denied: BTreeMap<(u8, String), u64>,
    /// Calls that seccomp refused.
    pub(super) refused: BTreeMap<String, u64>,
    /// Some failed call came with what the kernel knew of its task.
    pub(super) evidence: bool,
}

impl Asked {
    pub(super) fn take(&mut self, call: &Syscall) {
        if call.denied_by == Some(DeniedBy::Seccomp) {
            add(&mut self.refused, call.name.to_string());
        }
        let Some(denied) = call.evidence.as_deref().and_then(|evidence| evidence.denied) else {
            return;
        };
        self.evidence = true;
        for number in (0..64_u8).filter(|number| denied >> number & 1 != 0) {
            add(&mut self.denied, (number, call.name.to_string()));
        }
    }

    /// Capabilities that failed calls were denied, each with the calls.
    pub(super) fn by_capability(&self) -> BTreeMap<u8, Vec<(&str, u64)>> {
        let mut all: BTreeMap<u8, Vec<(&str, u64)>> = BTreeMap::new();
        for ((number, call), count) in &self.denied {
            all.entry(*number).or_default().push((call, *count));
        }
        all
    }
}

pub(super) fn name(number: u8) -> String {
    decode::capability_name(number).into_owned()
}

fn add<K: Ord>(to: &mut BTreeMap<K, u64>, key: K) {
    if to.len() < MOST || to.contains_key(&key) {
        *to.entry(key).or_default() += 1;
    }
}
