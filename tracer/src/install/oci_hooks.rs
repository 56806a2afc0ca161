//! podman and CRI-O: a file in the form of oci-hooks(5) in a directory that they read.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;
use toml_edit::{Array, DocumentMut, Item, Table};
use tracer_hook::{annotations::TRACE, spec};

use super::{Kind, Part, Plan, Settings, after_change, files};

/// What podman and CRI-O read when they are not told otherwise. podman 4.3 reads none in /etc.
const DEFAULT_DIR: &str = "/usr/share/containers/oci/hooks.d";

/// Name of our file.
const FILE: &str = "10-tracer.json";

/// containers.conf and its like: files, and folders of `*.conf` files, a later one before an earlier one.
const PODMAN_CONFIGS: [&str; 3] = [
    "/usr/share/containers/containers.conf",
    "/etc/containers/containers.conf",
    "/etc/containers/containers.conf.d",
];
const CRIO_CONFIGS: [&str; 2] = ["/etc/crio/crio.conf", "/etc/crio/crio.conf.d"];

#[derive(Serialize)]
struct HookFile<'a> {
    version: &'a str,
    hook: Call<'a>,
    when: When,
    stages: [&'a str; 2],
}

#[derive(Serialize)]
struct Call<'a> {
    path: &'a Path,
    args: Vec<&'a str>,
    timeout: u64,
}

#[derive(Serialize)]
struct When {
    annotations: std::collections::BTreeMap<String, &'static str>,
}

pub(super) fn podman(settings: &Settings, plan: &mut Plan) -> Result<Vec<Part>> {
    let dir = podman_dir(settings)?;
    let told = settings
        .hooks_dir
        .as_ref()
        .map_or_else(String::new, |dir| format!("--hooks-dir {} ", dir.display()));
    plan.notes.push(format!(
        "trace a container: podman {told}run --annotation {TRACE}=true IMAGE"
    ));
    let mut parts = vec![hook_file(settings, &dir)?];
    if let (Some(home), None) = (&settings.home, &settings.hooks_dir) {
        let conf = settings.real(&home.join(".config/containers/containers.conf"));
        let system = configured(settings, &PODMAN_CONFIGS, &["engine", "hooks_dir"])?;
        let system = system.unwrap_or_else(|| vec![DEFAULT_DIR.into()]);
        let ours = dir.clone();
        parts.push(Part {
            path: conf,
            kind: Kind::ContainersConf(dir),
            with: Box::new(move |text| with_dir(text.unwrap_or_default(), &ours, &system)),
            like: None,
        });
    }
    Ok(parts)
}

pub(super) fn crio(settings: &Settings, plan: &mut Plan) -> Result<Vec<Part>> {
    plan.notes.extend(after_change(settings));
    Ok(vec![hook_file(settings, &crio_dir(settings)?)?])
}

/// The directory that our file is for, as podman names it.
pub(super) fn podman_dir(settings: &Settings) -> Result<PathBuf> {
    match (&settings.hooks_dir, &settings.home) {
        (Some(dir), _) => Ok(dir.clone()),
        (None, Some(home)) => Ok(home.join(".config/containers/oci/hooks.d")),
        (None, None) => first(configured(settings, &PODMAN_CONFIGS, &["engine", "hooks_dir"])?),
    }
}

pub(super) fn crio_dir(settings: &Settings) -> Result<PathBuf> {
    match &settings.hooks_dir {
        Some(dir) => Ok(dir.clone()),
        None => first(configured(
            settings,
            &CRIO_CONFIGS,
            &["crio", "runtime", "hooks_dir"],
        )?),
    }
}

fn first(dirs: Option<Vec<PathBuf>>) -> Result<PathBuf> {
    Ok(dirs
        .and_then(|dirs| dirs.into_iter().next())
        .unwrap_or_else(|| DEFAULT_DIR.into()))
}

/// Directories that podman reads with this configuration, as it names them.
pub(super) fn podman_reads(settings: &Settings) -> Result<Vec<PathBuf>> {
    if let Some(home) = &settings.home {
        let own = settings.real(&home.join(".config/containers/containers.conf"));
        if let Some(text) = files::read(&own)?
            && let Some(dirs) = listed(&text, &own, &["engine", "hooks_dir"])?
        {
            return Ok(dirs);
        }
    }
    let system = configured(settings, &PODMAN_CONFIGS, &["engine", "hooks_dir"])?;
    Ok(system.unwrap_or_else(|| vec![DEFAULT_DIR.into()]))
}

pub(super) fn crio_reads(settings: &Settings) -> Result<Vec<PathBuf>> {
    let dirs = configured(settings, &CRIO_CONFIGS, &["crio", "runtime", "hooks_dir"])?;
    Ok(dirs.unwrap_or_else(|| vec![DEFAULT_DIR.into()]))
}

/// Where our file is on this machine.
pub(super) fn file(settings: &Settings, dir: &Path) -> PathBuf {
    settings.real(&dir.join(FILE))
}

fn hook_file(settings: &Settings, dir: &Path) -> Result<Part> {
    let options = settings.hook.options.iter().map(String::as_str);
    let args = [spec::PROGRAM].into_iter().chain(options).collect();
    let annotation = format!("^{}$", TRACE.replace('.', "\\."));
    let mut text = serde_json::to_string_pretty(&HookFile {
        version: "1.0.0",
        hook: Call {
            path: &settings.hook.program,
            args,
            timeout: settings.hook.runtime_timeout(),
        },
        when: When {
            annotations: [(annotation, "^true$")].into(),
        },
        stages: spec::STAGES,
    })?;
    text.push('\n');
    Ok(Part {
        path: file(settings, dir),
        kind: Kind::HookFile,
        with: Box::new(move |_nothing| Ok(text.clone())),
        like: None,
    })
}

/// Whether a hook file calls our program.
pub(super) fn is_ours(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|file| spec::is_ours(&file["hook"]))
}

/// What the last of these files that says anything says.
fn configured(settings: &Settings, places: &[&str], key: &[&str]) -> Result<Option<Vec<PathBuf>>> {
    let mut dirs = None;
    let mut look = |path: &Path| -> Result<()> {
        if let Some(text) = files::read(path)?
            && let Some(found) = listed(&text, path, key)?
        {
            dirs = Some(found);
        }
        Ok(())
    };
    for place in places {
        let path = settings.real(Path::new(place));
        if !path.is_dir() {
            look(&path)?;
            continue;
        }
        let entries = fs::read_dir(&path).with_context(|| format!("read {}", path.display()))?;
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
        paths.sort();
        paths.iter().try_for_each(|path| look(path))?;
    }
    Ok(dirs)
}

fn listed(text: &str, path: &Path, key: &[&str]) -> Result<Option<Vec<PathBuf>>> {
    let document: DocumentMut = text.parse().with_context(|| path.display().to_string())?;
    let item = key
        .iter()
        .try_fold(document.as_item(), |item, name| item.get(name));
    let list = item.and_then(Item::as_array);
    Ok(list.map(|list| {
        list.iter()
            .filter_map(|value| value.as_str())
            .map(PathBuf::from)
            .collect()
    }))
}

/// containers.conf that lists our directory too, behind those that were in force.
fn with_dir(text: &str, dir: &Path, system: &[PathBuf]) -> Result<String> {
    let mut document: DocumentMut = text.parse().context("containers.conf")?;
    let engine = document.entry("engine").or_insert(Item::Table(Table::new()));
    let engine = engine.as_table_like_mut().context("engine is no table")?;
    let list = engine.entry("hooks_dir").or_insert_with(|| {
        let dirs = system.iter().map(|dir| dir.display().to_string());
        toml_edit::value(dirs.collect::<Array>())
    });
    let list = list.as_array_mut().context("hooks_dir is no list")?;
    let dir = dir.display().to_string();
    if !list.iter().any(|value| value.as_str() == Some(&dir)) {
        list.push(dir);
    }
    Ok(document.to_string())
}

/// containers.conf that does not list our directory.
pub(super) fn without_dir(text: &str, dir: &Path) -> Result<String> {
    let mut document: DocumentMut = text.parse().context("containers.conf")?;
    let list = document
        .get_mut("engine")
        .and_then(|engine| engine.get_mut("hooks_dir"))
        .and_then(Item::as_array_mut);
    let Some(list) = list else {
        return Ok(text.to_owned());
    };
    let dir = dir.display().to_string();
    list.retain(|value| value.as_str() != Some(&dir));
    Ok(document.to_string())
}
