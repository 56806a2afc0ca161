//! JSON that keeps its layout: only what is ours is put in and taken out.

use anyhow::{Context, Result, anyhow, ensure};
use jsonc_parser::{
    ParseOptions,
    cst::{CstArray, CstInputValue, CstNode, CstObject, CstRootNode},
};
use serde_json::Value;
use tracer_hook::spec::{self, Hook, STAGES};

/// The document and its object. JSON as the runtimes read it: no comments, no trailing commas.
pub(super) fn parse(text: &str) -> Result<(CstRootNode, CstObject)> {
    // What our editor takes for JSON and the runtime does not would be an error only when the runtime starts again.
    let value: Value = serde_json::from_str(text).context("no JSON")?;
    ensure!(value.is_object(), "no JSON object");
    let root =
        CstRootNode::parse(text, &ParseOptions::default()).map_err(|error| anyhow!("no JSON: {error}"))?;
    let object = root.object_value().context("no JSON object")?;
    Ok((root, object))
}

/// What a node holds.
pub(super) fn value(node: &CstNode) -> Value {
    serde_json::from_str(&node.to_string()).unwrap_or_default()
}

pub(super) fn text(text: impl Into<String>) -> CstInputValue {
    CstInputValue::String(text.into())
}

pub(super) fn object(pairs: Vec<(&str, CstInputValue)>) -> CstInputValue {
    let pairs = pairs.into_iter().map(|(name, value)| (name.to_owned(), value));
    CstInputValue::Object(pairs.collect())
}

pub(super) fn texts(list: impl IntoIterator<Item = String>) -> CstInputValue {
    CstInputValue::Array(list.into_iter().map(text).collect())
}

/// The object of that name, made when it is absent or null.
pub(super) fn child(parent: &CstObject, name: &str) -> Result<CstObject> {
    match parent.get(name).and_then(|property| property.value()) {
        Some(node) if node.as_null_keyword().is_none() => {
            node.as_object().with_context(|| format!("{name} is no object"))
        }
        _ => Ok(parent.object_value_or_set(name)),
    }
}

fn list(parent: &CstObject, name: &str) -> Result<CstArray> {
    match parent.get(name).and_then(|property| property.value()) {
        Some(node) if node.as_null_keyword().is_none() => {
            node.as_array().with_context(|| format!("{name} is no list"))
        }
        _ => Ok(parent.array_value_or_set(name)),
    }
}

/// A spec with our hooks behind those that are there.
pub(super) fn with_hooks(spec: &str, hook: &Hook) -> Result<String> {
    let (root, object_) = parse(spec)?;
    let hooks = child(&object_, "hooks")?;
    for stage in STAGES {
        let entry = hook.entry(stage);
        let args = entry["args"].as_array().into_iter().flatten();
        let args = args.filter_map(Value::as_str).map(str::to_owned);
        list(&hooks, stage)?.append(object(vec![
            ("path", text(hook.program.display().to_string())),
            ("args", texts(args)),
            (
                "timeout",
                CstInputValue::Number(hook.runtime_timeout().to_string()),
            ),
        ]));
    }
    Ok(root.to_string())
}

/// A spec without our hooks.
pub(super) fn without_hooks(spec: &str) -> Result<String> {
    let (root, object) = parse(spec)?;
    let Some(hooks) = object.object_value("hooks") else {
        return Ok(spec.to_owned());
    };
    for stage in STAGES {
        let Some(list) = hooks.array_value(stage) else {
            continue;
        };
        let mut ours = 0;
        for element in list.elements() {
            if spec::is_ours(&value(&element)) {
                element.remove();
                ours += 1;
            }
        }
        if ours > 0
            && list.elements().is_empty()
            && let Some(property) = hooks.get(stage)
        {
            property.remove();
        }
    }
    if hooks.properties().is_empty()
        && let Some(property) = object.get("hooks")
    {
        property.remove();
    }
    Ok(root.to_string())
}
