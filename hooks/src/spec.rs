//! Our hooks in an OCI configuration (`config.json`, or containerd's base spec): whether a container asks to be traced,
//! and how the hooks get in. Pure; what was there stays.
//!
//! Source: <https://github.com/opencontainers/runtime-spec/blob/v1.2.1/config.md#posix-platform-hooks>.

use std::{fmt, path::PathBuf, time::Duration};

use serde_json::{Map, Value, json};

use crate::annotations::TRACE;

/// The variable of the container's environment that turns tracing on, when its value is exactly `true`: for engines
/// that pass on no annotations.
pub const TRACE_ENV: &str = "CONTAINER_TRACER_TRACE";

/// The stages that the hook runs in.
pub const STAGES: [&str; 2] = ["createRuntime", "poststop"];

/// Name of the program, by which an entry is known as ours.
pub const PROGRAM: &str = "tracer-hook";

/// The hook as a runtime shall call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Path of the program.
    pub program: PathBuf,
    /// Its options, without the stage.
    pub options: Vec<String>,
    /// Its `--timeout`.
    pub timeout: Duration,
}

impl Hook {
    /// The entry of a stage.
    pub fn entry(&self, stage: &str) -> Value {
        let options = self.options.iter().map(String::as_str);
        let args: Vec<&str> = [PROGRAM].into_iter().chain(options).chain([stage]).collect();
        json!({"path": self.program, "args": args, "timeout": self.runtime_timeout()})
    }

    /// Whole seconds that a runtime shall give it. The runtime's time starts earlier and ends in a failed container, so
    /// it is longer than the hook's own.
    pub fn runtime_timeout(&self) -> u64 {
        self.timeout.as_secs() + 1 + u64::from(self.timeout.subsec_nanos() > 0)
    }
}

/// Why the hooks cannot be put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpecError {
    /// What it is at this place is not what it must be.
    NoObject(&'static str),
    /// Not a list.
    NoList(&'static str),
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoObject(place) => write!(f, "{place} of the configuration is no JSON object"),
            Self::NoList(stage) => write!(f, "hooks.{stage} of the configuration is no list"),
        }
    }
}

impl std::error::Error for SpecError {}

/// Whether the container of this configuration asks to be traced: by its annotation, else by its environment, else
/// `otherwise`. An annotation or variable with another value than `true` says no.
pub fn asks_for_trace(config: &Value, otherwise: bool) -> bool {
    if let Some(annotation) = config.get("annotations").and_then(|all| all.get(TRACE)) {
        return annotation == "true";
    }
    let variables = config
        .pointer("/process/env")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    variables
        .filter_map(|variable| variable.as_str()?.strip_prefix(TRACE_ENV)?.strip_prefix('='))
        .next_back()
        .map_or(otherwise, |value| value == "true")
}

/// Writes the annotation, so that the hook and whoever reads the state see what was asked for.
pub fn annotate(config: &mut Value) -> Result<(), SpecError> {
    let root = config.as_object_mut().ok_or(SpecError::NoObject("root"))?;
    object(root, "annotations")?.insert(TRACE.into(), "true".into());
    Ok(())
}

/// Appends our hooks where there are none of ours; whether anything changed.
pub fn insert(config: &mut Value, hook: &Hook) -> Result<bool, SpecError> {
    let root = config.as_object_mut().ok_or(SpecError::NoObject("root"))?;
    let hooks = object(root, "hooks")?;
    let mut changed = false;
    for stage in STAGES {
        let list = hooks.entry(stage).or_insert(Value::Null);
        if list.is_null() {
            *list = json!([]);
        }
        let list = list.as_array_mut().ok_or(SpecError::NoList(stage))?;
        if !list.iter().any(is_ours) {
            list.push(hook.entry(stage));
            changed = true;
        }
    }
    Ok(changed)
}

/// Whether an entry of a stage calls our program.
pub fn is_ours(entry: &Value) -> bool {
    let path = entry.get("path").and_then(Value::as_str).unwrap_or_default();
    path.rsplit('/').next() == Some(PROGRAM)
}

/// The object of that name, made where it is absent or null.
fn object<'a>(
    root: &'a mut Map<String, Value>,
    name: &'static str,
) -> Result<&'a mut Map<String, Value>, SpecError> {
    let value = root.entry(name).or_insert(Value::Null);
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut().ok_or(SpecError::NoObject(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hook() -> Hook {
        Hook {
            program: "/opt/tracer-hook".into(),
            options: vec!["--runtime-dir".into(), "/r".into()],
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn hooks_are_appended_once() {
        let other = json!({"path": "/bin/other", "args": ["other"]});
        let mut config =
            json!({"hooks": {"createRuntime": [other], "prestart": [other]}, "process": {"args": ["x"]}});
        assert_eq!(insert(&mut config, &hook()), Ok(true));
        let ours = |stage: &str| json!({"path": "/opt/tracer-hook", "args": ["tracer-hook", "--runtime-dir", "/r", stage], "timeout": 2});
        let want = json!({
            "hooks": {
                "createRuntime": [other, ours("createRuntime")], "poststop": [ours("poststop")], "prestart": [other],
            },
            "process": {"args": ["x"]},
        });
        assert_eq!(config, want);
        assert_eq!(insert(&mut config, &hook()), Ok(false));
        assert_eq!(config, want);
    }

    #[test]
    fn annotation_then_environment_then_the_option_decide() {
        let env = |values: &[&str]| json!({"process": {"env": values}});
        assert!(asks_for_trace(
            &env(&["A=b", "CONTAINER_TRACER_TRACE=true"]),
            false
        ));
        assert!(!asks_for_trace(&env(&["CONTAINER_TRACER_TRACE=1"]), true));
        assert!(!asks_for_trace(&env(&["CONTAINER_TRACER_TRACED=true"]), false));
        assert!(!asks_for_trace(
            &env(&["CONTAINER_TRACER_TRACE=true", "CONTAINER_TRACER_TRACE="]),
            false
        ));
        let mut both = env(&["CONTAINER_TRACER_TRACE=true"]);
        both["annotations"] = json!({"container-tracer.io/trace": "false"});
        assert!(!asks_for_trace(&both, true));
        both["annotations"] = json!({"container-tracer.io/trace": "true"});
        assert!(asks_for_trace(&both, false));
        for otherwise in [true, false] {
            assert_eq!(
                asks_for_trace(&json!({"annotations": null}), otherwise),
                otherwise
            );
        }
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        assert_eq!(insert(&mut json!([]), &hook()), Err(SpecError::NoObject("root")));
        assert_eq!(
            insert(&mut json!({"hooks": 1}), &hook()),
            Err(SpecError::NoObject("hooks"))
        );
        assert_eq!(
            insert(&mut json!({"hooks": {"poststop": {}}}), &hook()),
            Err(SpecError::NoList("poststop"))
        );
        assert_eq!(
            annotate(&mut json!({"annotations": "x"})),
            Err(SpecError::NoObject("annotations"))
        );
    }

    #[test]
    fn the_runtime_waits_longer_than_the_hook() {
        for (ms, seconds) in [(1, 2), (1000, 2), (1001, 3), (1500, 3), (60_000, 61)] {
            let hook = Hook {
                timeout: Duration::from_millis(ms),
                ..hook()
            };
            assert_eq!(hook.runtime_timeout(), seconds, "{ms} ms");
        }
    }

    proptest! {
        #[test]
        fn any_json_is_taken_or_refused(text in r#"\{("(hooks|createRuntime|annotations|process|env|path)":(\{\}|\[\]|null|1|"a"),?){0,4}\}?"#) {
            if let Ok(mut config) = serde_json::from_str::<Value>(&text) {
                asks_for_trace(&config, false);
                annotate(&mut config).ok();
                if insert(&mut config, &hook()).is_ok() {
                    prop_assert_eq!(insert(&mut config, &hook()), Ok(false));
                }
            }
        }
    }
}
