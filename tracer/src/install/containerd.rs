//! containerd: a base spec with our hooks for its runtime handlers, and our annotations let through to the container.
//!
//! The way for nodes without NRI: the hook runs for every container of the handler and looks at the annotation itself.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use toml_edit::{Array, DocumentMut, Item, Table, TableLike, value};

use super::{Kind, Part, Plan, Settings, after_change, files, json};

const CONFIG: &str = "/etc/containerd/config.toml";

/// Our base spec, beside the configuration.
const SPEC: &str = "tracer-base-spec.json";

/// The annotations that containerd shall pass on.
pub(super) const ANNOTATIONS: &str = "container-tracer.io/*";

/// The lists of annotations to pass on, of the Pod and of the container.
pub(super) const LISTS: [&str; 2] = ["pod_annotations", "container_annotations"];

/// The shim that runs runc and crun; hooks mean nothing to the others.
const RUNC_SHIM: &str = "io.containerd.runc.";

/// `config.toml` as containerd names it, and our base spec.
pub(super) fn paths(settings: &Settings) -> (PathBuf, PathBuf) {
    let config = settings.config.clone().unwrap_or_else(|| CONFIG.into());
    let spec = config.with_file_name(SPEC);
    (config, spec)
}

pub(super) fn parts(settings: &Settings, plan: &mut Plan) -> Result<Vec<Part>> {
    ensure!(
        settings.home.is_none(),
        "containerd has one configuration: leave --user out, or name the user's with --config"
    );
    let (config, own_spec) = paths(settings);
    let path = settings.real(&config);
    let file = files::File::read(&path)?;
    // The configuration without our part decides what ours is.
    let text = match file.before() {
        Some(before) => before?.unwrap_or_default(),
        None => without(file.text.as_deref().unwrap_or_default(), &own_spec)?,
    };
    let document = read(&text, &config)?;
    let handlers = handlers(settings, &document, plan)?;
    let mut parts = Vec::new();
    let mut own = false;
    for handler in &handlers {
        let spec =
            handler_table(&document, handler).and_then(|table| table.get("base_runtime_spec")?.as_str());
        match spec.filter(|spec| !spec.is_empty()) {
            Some(spec) => {
                let path = settings.real(Path::new(spec));
                if parts.iter().any(|part: &Part| part.path == path) {
                    continue;
                }
                let hook = settings.hook.clone();
                let named = spec.to_owned();
                let with = move |text: Option<&str>| {
                    let text = text
                        .with_context(|| format!("{named} is not there, but the configuration names it"))?;
                    json::with_hooks(text, &hook).with_context(|| named.clone())
                };
                parts.push(Part {
                    path,
                    kind: Kind::BaseSpec,
                    with: Box::new(with),
                    like: None,
                });
            }
            None => own = true,
        }
    }
    if own {
        parts.push(own_part(settings, &own_spec)?);
    }
    let spec = own_spec.clone();
    let with = move |text: Option<&str>| with_hooks(text.unwrap_or_default(), &config, &handlers, &spec);
    // Last: it refers to the spec.
    parts.push(Part {
        path,
        kind: Kind::ContainerdConfig(own_spec),
        with: Box::new(with),
        like: None,
    });
    plan.notes.extend(after_change(settings));
    Ok(parts)
}

fn own_part(settings: &Settings, spec: &Path) -> Result<Part> {
    let path = settings.real(spec);
    // Uninstalling needs no base, and has perhaps no `ctr` any more.
    let base = base_spec(settings);
    let like = base
        .as_ref()
        .ok()
        .map(|(name, text)| (name.clone(), text.clone()));
    let hook = settings.hook.clone();
    let base = base.map_err(|why| format!("{why:#}"));
    let with = move |_nothing: Option<&str>| match &base {
        Ok((_, text)) => json::with_hooks(text, &hook),
        Err(why) => bail!("{why}"),
    };
    Ok(Part {
        path,
        kind: Kind::OwnBaseSpec,
        with: Box::new(with),
        like,
    })
}

/// The spec that containers of no base spec get, and where it is from.
fn base_spec(settings: &Settings) -> Result<(String, String)> {
    if let Some(path) = &settings.base_spec {
        let text = files::read(path)?.with_context(|| format!("{} is not there", path.display()))?;
        return Ok((path.display().to_string(), text));
    }
    let out = Command::new("ctr")
        .args(["oci", "spec"])
        .output()
        .context("start ctr, which prints containerd's base spec; or give one with --base-spec FILE")?;
    ensure!(
        out.status.success(),
        "`ctr oci spec` failed; give a base spec with --base-spec FILE: {}",
        String::from_utf8_lossy(&out.stderr).trim()
    );
    Ok((
        "ctr oci spec".into(),
        String::from_utf8(out.stdout).context("ctr oci spec")?,
    ))
}

pub(super) fn read(text: &str, path: &Path) -> Result<DocumentMut> {
    let document: DocumentMut = text.parse().with_context(|| path.display().to_string())?;
    let version = document.get("version").and_then(Item::as_integer);
    ensure!(
        version.is_some_and(|version| version >= 2) || document.is_empty(),
        "{} is a configuration of version 1: let `containerd config migrate` write a newer one",
        path.display()
    );
    Ok(document)
}

/// Where the runtime handlers are in a configuration of this version.
fn runtimes_path(document: &DocumentMut) -> [&'static str; 4] {
    let plugin = match document.get("version").and_then(Item::as_integer) {
        Some(3..) => "io.containerd.cri.v1.runtime",
        _ => "io.containerd.grpc.v1.cri",
    };
    ["plugins", plugin, "containerd", "runtimes"]
}

fn below<'a>(document: &'a DocumentMut, path: &[&str]) -> Option<&'a Item> {
    path.iter()
        .try_fold(document.as_item(), |item, name| item.get(name))
}

pub(super) fn handler_table<'a>(document: &'a DocumentMut, handler: &str) -> Option<&'a dyn TableLike> {
    below(document, &runtimes_path(document))?
        .get(handler)?
        .as_table_like()
}

fn default_handler(document: &DocumentMut) -> &str {
    let [plugins, plugin, containerd, _] = runtimes_path(document);
    below(document, &[plugins, plugin, containerd, "default_runtime_name"])
        .and_then(Item::as_str)
        .unwrap_or("runc")
}

/// The handlers that get our part.
pub(super) fn handlers(settings: &Settings, document: &DocumentMut, plan: &mut Plan) -> Result<Vec<String>> {
    if !settings.handlers.is_empty() {
        return Ok(settings.handlers.clone());
    }
    let mut handlers = Vec::new();
    let known = below(document, &runtimes_path(document)).and_then(Item::as_table_like);
    for (name, handler) in known.iter().flat_map(|known| known.iter()) {
        let shim = handler.get("runtime_type").and_then(Item::as_str);
        // Without one it is containerd's default, which is runc's.
        if shim.is_none_or(|shim| shim.starts_with(RUNC_SHIM)) {
            handlers.push(name.to_owned());
        } else {
            plan.notes.push(format!(
                "handler {name} ({}) is left alone: its containers know no hooks",
                shim.unwrap_or_default()
            ));
        }
    }
    if handlers.is_empty() {
        handlers.push(default_handler(document).to_owned());
    }
    Ok(handlers)
}

/// The configuration with our part for these handlers.
fn with_hooks(text: &str, path: &Path, handlers: &[String], spec: &Path) -> Result<String> {
    let mut document = read(text, path)?;
    if document.is_empty() {
        document.insert("version", value(2));
    }
    let default = handler_table(&document, default_handler(&document))
        .map(|_| default_handler(&document).to_owned())
        .and_then(|name| below(&document, &runtimes_path(&document))?.get(&name).cloned());
    let path = runtimes_path(&document);
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for name in path {
        table = child(table, name)?;
    }
    for handler in handlers {
        if table.get(handler).is_none() {
            let new = default.clone().map_or_else(
                || {
                    let mut new = Table::new();
                    new.insert("runtime_type", value("io.containerd.runc.v2"));
                    Item::Table(new)
                },
                without_position,
            );
            table.insert(handler, new);
        }
        let handler_table = table
            .get_mut(handler)
            .and_then(Item::as_table_like_mut)
            .with_context(|| format!("runtime handler {handler} is no table"))?;
        let named = handler_table.get("base_runtime_spec").and_then(Item::as_str);
        if named.is_none_or(str::is_empty) {
            put(
                handler_table,
                "base_runtime_spec",
                value(spec.display().to_string()),
            );
        }
        for list in LISTS {
            match handler_table.get_mut(list) {
                Some(item) => {
                    let patterns = item
                        .as_array_mut()
                        .with_context(|| format!("{list} is no list"))?;
                    if !patterns
                        .iter()
                        .any(|pattern| pattern.as_str() == Some(ANNOTATIONS))
                    {
                        patterns.push(ANNOTATIONS);
                    }
                }
                None => put(handler_table, list, value(Array::from_iter([ANNOTATIONS]))),
            }
        }
    }
    Ok(document.to_string())
}

/// A copy that goes to the end, and not between the tables of its original.
fn without_position(mut item: Item) -> Item {
    fn forget(table: &mut Table) {
        table.set_position(None);
        for (_, item) in table.iter_mut() {
            if let Item::Table(below) = item {
                forget(below);
            }
        }
    }
    if let Item::Table(table) = &mut item {
        forget(table);
    }
    item
}

fn child<'a>(table: &'a mut dyn TableLike, name: &str) -> Result<&'a mut dyn TableLike> {
    let item = table.entry(name).or_insert_with(|| {
        let mut new = Table::new();
        new.set_implicit(true);
        Item::Table(new)
    });
    item.as_table_like_mut()
        .with_context(|| format!("{name} is no table"))
}

/// Inserts a key, indented as its neighbour is.
fn put(table: &mut dyn TableLike, name: &str, item: Item) {
    let first = table
        .iter()
        .find(|(_, item)| item.is_value())
        .map(|(name, _)| name.to_owned());
    let indent = first.and_then(|first| {
        let prefix = table.key(&first)?.leaf_decor().prefix()?.as_str()?;
        Some(prefix.rsplit('\n').next().unwrap_or_default().to_owned())
    });
    table.insert(name, item);
    if let (Some(indent), Some(mut key)) = (indent, table.key_mut(name)) {
        key.leaf_decor_mut().set_prefix(indent);
    }
}

/// The configuration without references to our base spec and without our annotations.
pub(super) fn without(text: &str, spec: &Path) -> Result<String> {
    let mut document: DocumentMut = text.parse().context("config.toml")?;
    let path = runtimes_path(&document);
    let runtimes = path
        .iter()
        .try_fold(document.as_item_mut(), |item, name| item.get_mut(name))
        .and_then(Item::as_table_like_mut);
    let Some(runtimes) = runtimes else {
        return Ok(text.to_owned());
    };
    let spec = spec.display().to_string();
    for (_, handler) in runtimes.iter_mut() {
        let Some(handler) = handler.as_table_like_mut() else {
            continue;
        };
        if handler.get("base_runtime_spec").and_then(Item::as_str) == Some(&spec) {
            handler.remove("base_runtime_spec");
        }
        for name in LISTS {
            let Some(list) = handler.get_mut(name).and_then(Item::as_array_mut) else {
                continue;
            };
            let before = list.len();
            list.retain(|pattern| pattern.as_str() != Some(ANNOTATIONS));
            if list.is_empty() && before > 0 {
                handler.remove(name);
            }
        }
    }
    Ok(document.to_string())
}
