//! Docker: the wrapper as a runtime in `daemon.json`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tracer_hook::spec;

use super::{Kind, Part, Plan, Settings, after_change, json};

const CONFIG: &str = "/etc/docker/daemon.json";

/// `daemon.json`, as Docker names it and where it is here.
pub(super) fn config(settings: &Settings) -> PathBuf {
    let path = match (&settings.config, &settings.home) {
        (Some(path), _) => path.clone(),
        (None, Some(home)) => home.join(".config/docker/daemon.json"),
        (None, None) => CONFIG.into(),
    };
    settings.real(&path)
}

pub(super) fn parts(settings: &Settings, plan: &mut Plan) -> Result<Vec<Part>> {
    let arguments = arguments(settings);
    let program = settings.hook.program.display().to_string();
    let name = settings.name.clone();
    ensure!(
        !name.is_empty() && !["runc", "io.containerd.runc.v2"].contains(&name.as_str()),
        "{name:?} is Docker's own runtime: choose another --name"
    );
    plan.notes.extend(after_change(settings));
    plan.notes.push(match settings.all {
        true => format!("trace a container: docker run --runtime {name} IMAGE"),
        false => format!(
            "trace a container: docker run --runtime {name} -e {}=true IMAGE",
            spec::TRACE_ENV
        ),
    });
    let with = move |text: Option<&str>| {
        for word in arguments.iter().chain([&program]) {
            // Docker before 23 puts them into a shell script as they are.
            ensure!(
                word.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"/._-+:=@%,".contains(&byte)),
                "{word:?} cannot be an argument of a Docker runtime: use a path without spaces and special characters"
            );
        }
        let text = text.filter(|text| !text.trim().is_empty()).unwrap_or("{}\n");
        let (root, object) = json::parse(text).context("daemon.json")?;
        let runtimes = json::child(&object, "runtimes").context("daemon.json")?;
        if runtimes.get(&name).is_some() {
            bail!("daemon.json has a runtime {name:?} that is not ours: choose another --name");
        }
        object.ensure_multiline();
        runtimes.ensure_multiline();
        runtimes.append(
            &name,
            json::object(vec![
                ("path", json::text(&program)),
                ("runtimeArgs", json::texts(arguments.clone())),
            ]),
        );
        Ok(root.to_string())
    };
    Ok(vec![Part {
        path: config(settings),
        kind: Kind::DaemonJson,
        with: Box::new(with),
        like: None,
    }])
}

/// What makes dockerd read `daemon.json`. A signal to a rootless one reaches rootlesskit, its parent, and not it.
pub(super) fn reload(settings: &Settings) -> &'static str {
    match settings.home {
        None => "systemctl reload docker",
        Some(_) => restart(settings),
    }
}

/// What makes it forget our runtime: a reload leaves the runtimes as they are where the file names none any more.
pub(super) fn restart(settings: &Settings) -> &'static str {
    match settings.home {
        None => "systemctl restart docker",
        Some(_) => "systemctl --user restart docker",
    }
}

/// The words between the wrapper and those of Docker.
fn arguments(settings: &Settings) -> Vec<String> {
    let mut words = vec!["runtime".to_owned()];
    if let Some(path) = &settings.wrapped {
        words.extend(["--runtime".into(), path.display().to_string()]);
    }
    words.extend(settings.hook.options.iter().cloned());
    words.extend(settings.all.then(|| "--all".to_owned()));
    words.push("--".into());
    words
}

/// Without runtimes that are ours, and without a default runtime that would be gone.
pub(super) fn without(text: &str) -> Result<String> {
    if text.trim().is_empty() {
        return Ok(text.to_owned());
    }
    let (root, object) = json::parse(text).context("daemon.json")?;
    let Some(runtimes) = object.object_value("runtimes") else {
        return Ok(text.to_owned());
    };
    let default = object
        .get("default-runtime")
        .and_then(|property| property.value());
    let default = default.map(|node| json::value(&node));
    let mut removed = false;
    for property in runtimes.properties() {
        if property.value().is_some_and(|node| is_ours(&json::value(&node))) {
            if let (Some(name), Some(Value::String(default))) = (property.decoded_name(), &default)
                && name == *default
                && let Some(property) = object.get("default-runtime")
            {
                property.remove();
            }
            property.remove();
            removed = true;
        }
    }
    if removed
        && runtimes.properties().is_empty()
        && let Some(property) = object.get("runtimes")
    {
        property.remove();
    }
    Ok(root.to_string())
}

/// Whether a runtime's entry calls our wrapper.
pub(super) fn is_ours(entry: &Value) -> bool {
    let path = entry["path"].as_str().unwrap_or_default();
    Path::new(path).file_name() == Some(spec::PROGRAM.as_ref()) && entry["runtimeArgs"][0] == "runtime"
}
