//! A profile as JSON: the OCI runtime specification's form, which podman, Docker and the kubelet read, and the
//! security-profiles-operator's object. Also reads what podman and Docker add to the first in their own default profiles.

use std::collections::BTreeMap;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompArg, LinuxSeccompBuilder, LinuxSyscall, LinuxSyscallBuilder,
};
use serde_json::{Value, json};

use super::{Answer, Profile, Rule};

/// How to write a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// The OCI runtime specification's: for `--security-opt seccomp=FILE`, and for the kubelet's `localhostProfile`.
    Oci,
    /// A SeccompProfile object of the security-profiles-operator.
    Kubernetes,
}

/// A profile that was read.
#[derive(Clone, Debug)]
pub struct Read {
    pub profile: Profile,
    /// Entries that were left out because they hold only with a capability that was not given.
    pub needing_capabilities: usize,
}

/// Reads any of the forms, for a container with these capabilities.
///
/// # Errors
/// Says what is wrong with it.
pub fn read(text: &str, capabilities: &[String]) -> Result<Read, String> {
    let mut value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    if value["kind"] == "SeccompProfile" {
        value = value.get_mut("spec").map(Value::take).unwrap_or_default();
    }
    let mut needing_capabilities = 0;
    // By `get_mut`: an index that is written to panics where it meets something else than an object.
    if let Some(entries) = value.get_mut("syscalls").and_then(Value::as_array_mut) {
        entries.retain(|entry| {
            let (holds, by_capability) = holds(entry, capabilities);
            needing_capabilities += usize::from(!holds && by_capability);
            holds
        });
        for entry in entries {
            // The older form has one name an entry.
            if let Some(name) = entry.get("name").cloned() {
                entry["names"] = json!([name]);
            }
        }
    }
    let native = if cfg!(target_arch = "aarch64") {
        Arch::ScmpArchAarch64
    } else {
        Arch::ScmpArchX86_64
    };
    if value.get("architectures").is_none_or(Value::is_null)
        && let Some(map) = value["archMap"].as_array()
        && let Some(entry) = map
            .iter()
            .find(|entry| entry["architecture"] == native.to_string().as_str())
    {
        let mut all = vec![entry["architecture"].clone()];
        all.extend(entry["subArchitectures"].as_array().cloned().unwrap_or_default());
        value["architectures"] = Value::Array(all);
    }
    let seccomp: LinuxSeccomp =
        serde_json::from_value(value).map_err(|error| format!("not a seccomp profile: {error}"))?;
    let mut calls: BTreeMap<String, Vec<Rule>> = BTreeMap::new();
    for entry in seccomp.syscalls().iter().flatten() {
        let rule = Rule {
            answer: Answer {
                action: entry.action(),
                errno: entry.errno_ret(),
            },
            conditions: entry.args().clone().unwrap_or_default(),
        };
        for name in entry.names() {
            calls.entry(name.clone()).or_default().push(rule.clone());
        }
    }
    Ok(Read {
        profile: Profile {
            default: Answer {
                action: seccomp.default_action(),
                errno: seccomp.default_errno_ret(),
            },
            architectures: seccomp.architectures().clone().unwrap_or_default(),
            calls,
        },
        needing_capabilities,
    })
}

/// Whether an entry of a default profile holds here (`includes` and `excludes`), and, where not, whether for want of a
/// capability.
fn holds(entry: &Value, capabilities: &[String]) -> (bool, bool) {
    let listed = |which: &str, what: &str| -> Vec<String> {
        let list = entry[which][what].as_array();
        let words = list.into_iter().flatten().filter_map(Value::as_str);
        words.map(str::to_owned).collect()
    };
    let native: &[&str] = if cfg!(target_arch = "aarch64") {
        &["arm64"]
    } else {
        &["amd64"]
    };
    let is_native = |arch: &String| native.contains(&arch.as_str());
    let held = |capability: &String| capabilities.contains(capability);
    let arches = listed("includes", "arches");
    if !arches.is_empty() && !arches.iter().any(is_native) {
        return (false, false);
    }
    if listed("excludes", "arches").iter().any(is_native) {
        return (false, false);
    }
    // A minimal kernel older than what the tracer itself needs is there.
    (
        listed("includes", "caps").iter().all(held) && !listed("excludes", "caps").iter().any(held),
        !listed("includes", "caps").is_empty(),
    )
}

/// Writes it; `name` is for an object that has one.
///
/// # Errors
/// Only for a profile that cannot be said in this form.
pub fn write(profile: &Profile, form: Form, name: &str) -> Result<String, String> {
    let mut entries = Vec::new();
    // What has the same answer without conditions is one entry.
    let mut alike: Vec<(Answer, Vec<String>)> = Vec::new();
    for (name, rules) in &profile.calls {
        for rule in rules.iter().filter(|rule| rule.conditions.is_empty()) {
            match alike.iter_mut().find(|(answer, _)| *answer == rule.answer) {
                Some((_, names)) => names.push(name.clone()),
                None => alike.push((rule.answer, vec![name.clone()])),
            }
        }
    }
    alike.sort_by_key(|(answer, _)| (!answer.allows(), answer.errno));
    for (answer, names) in alike {
        entries.push(entry(names, answer, None)?);
    }
    for (name, rules) in &profile.calls {
        for rule in rules.iter().filter(|rule| !rule.conditions.is_empty()) {
            entries.push(entry(
                vec![name.clone()],
                rule.answer,
                Some(rule.conditions.clone()),
            )?);
        }
    }
    let mut builder = LinuxSeccompBuilder::default()
        .default_action(profile.default.action)
        .syscalls(entries);
    if let Some(errno) = profile.default.errno.filter(|_| form == Form::Oci) {
        builder = builder.default_errno_ret(errno);
    }
    if !profile.architectures.is_empty() {
        builder = builder.architectures(profile.architectures.clone());
    }
    let said = |error: &dyn std::fmt::Display| format!("write the profile: {error}");
    let seccomp = builder.build().map_err(|error| said(&error))?;
    let text = match form {
        Form::Oci => serde_json::to_string_pretty(&seccomp),
        Form::Kubernetes => serde_json::to_string_pretty(&json!({
            "apiVersion": "security-profiles-operator.x-k8s.io/v1beta1",
            "kind": "SeccompProfile",
            "metadata": {"name": object_name(name)},
            "spec": seccomp,
        })),
    };
    Ok(text.map_err(|error| said(&error))? + "\n")
}

fn entry(
    names: Vec<String>,
    answer: Answer,
    conditions: Option<Vec<LinuxSeccompArg>>,
) -> Result<LinuxSyscall, String> {
    let mut builder = LinuxSyscallBuilder::default().names(names).action(answer.action);
    if let Some(errno) = answer.errno {
        builder = builder.errno_ret(errno);
    }
    if let Some(conditions) = conditions {
        builder = builder.args(conditions);
    }
    builder
        .build()
        .map_err(|error| format!("write the profile: {error}"))
}

/// A name that Kubernetes takes (RFC 1123): at most 63 of `a-z0-9-`, a letter or digit at both ends.
fn object_name(name: &str) -> String {
    let mut word: String = name
        .chars()
        .take(63)
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    word = word.trim_matches('-').to_owned();
    if word.is_empty() { "container".into() } else { word }
}
