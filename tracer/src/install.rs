//! `tracer hook`: puts the hook into a container runtime's configuration, takes it out again, and tells how it stands.
//!
//! Each runtime's module says which files are concerned, how our part gets into each and how it is taken out of one
//! that others have edited since. What is the same for all stands here: an edit is planned first and shown; written
//! whole or not at all; and undone byte for byte, from the backup and the record beside each file (`install/files.rs`).
//! Nothing here starts, stops or reloads a runtime, and nothing speaks to the kernel.

mod containerd;
mod docker;
mod files;
mod json;
mod oci_hooks;
mod status;

use std::path::{Path, PathBuf};

use anyhow::Result;
use tracer_hook::spec::Hook;

pub use files::{Edit, show, write};
pub(crate) use status::answer;
pub use status::{Check, checks};

/// Where the program is installed by our packages.
pub const PROGRAM: &str = "/usr/libexec/oci/hooks.d/tracer-hook";

/// A runtime, or the engine that has its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    Podman,
    Crio,
    Containerd,
    Docker,
}

impl Runtime {
    /// The word of `--runtime`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Podman => "podman",
            Self::Crio => "crio",
            Self::Containerd => "containerd",
            Self::Docker => "docker",
        }
    }
}

/// What to install, and where.
#[derive(Clone, Debug)]
pub struct Settings {
    pub runtime: Runtime,
    /// Stands before every path that is read or written; what is written names paths without it.
    pub root: PathBuf,
    /// The home of the user whose own configuration it is; `None` is the machine's.
    pub home: Option<PathBuf>,
    pub hook: Hook,
    pub runtime_dir: PathBuf,
    /// podman, CRI-O: the directory for the hook's file.
    pub hooks_dir: Option<PathBuf>,
    /// The runtime's configuration file.
    pub config: Option<PathBuf>,
    /// containerd: the runtime handlers; none are all that run runc.
    pub handlers: Vec<String>,
    /// containerd: a base spec in place of what `ctr oci spec` prints.
    pub base_spec: Option<PathBuf>,
    /// Docker: name of the runtime that is registered.
    pub name: String,
    /// Docker: the runtime that is wrapped.
    pub wrapped: Option<PathBuf>,
    /// Docker: trace every container that is run with it.
    pub all: bool,
}

impl Settings {
    /// Where a path of the configured system is on this one.
    fn real(&self, path: &Path) -> PathBuf {
        match path.strip_prefix("/") {
            Ok(below) => self.root.join(below),
            Err(_relative) => path.to_owned(),
        }
    }
}

/// Makes the text with our part in it, from one without it; `None` stands for no file.
type PutIn = Box<dyn Fn(Option<&str>) -> Result<String>>;

/// A file, and what becomes of it.
struct Part {
    path: PathBuf,
    kind: Kind,
    with: PutIn,
    /// What a new file is shown against.
    like: Option<(String, String)>,
}

/// How our part is known in a file.
#[derive(Clone, Debug)]
enum Kind {
    /// An oci-hooks(5) file of our own.
    HookFile,
    /// containers.conf, whose `hooks_dir` lists this directory.
    ContainersConf(PathBuf),
    /// containerd's config.toml, whose handlers refer to this base spec.
    ContainerdConfig(PathBuf),
    /// A base spec of our own.
    OwnBaseSpec,
    /// A base spec of somebody else.
    BaseSpec,
    /// Docker's daemon.json.
    DaemonJson,
}

impl Kind {
    /// The text without our part; `None` when nothing is left of the file. Text without our part stays as it is.
    fn without(&self, text: &str) -> Result<Option<String>> {
        match self {
            Self::HookFile => Ok((!oci_hooks::is_ours(text)).then(|| text.to_owned())),
            Self::ContainersConf(dir) => oci_hooks::without_dir(text, dir).map(Some),
            Self::ContainerdConfig(spec) => containerd::without(text, spec).map(Some),
            Self::OwnBaseSpec => Ok(None),
            Self::BaseSpec => json::without_hooks(text).map(Some),
            Self::DaemonJson => docker::without(text).map(Some),
        }
    }
}

/// What is to be done, and what the user does after it.
#[derive(Debug, Default)]
pub struct Plan {
    pub edits: Vec<Edit>,
    pub notes: Vec<String>,
}

fn parts(settings: &Settings, plan: &mut Plan) -> Result<Vec<Part>> {
    match settings.runtime {
        Runtime::Podman => oci_hooks::podman(settings, plan),
        Runtime::Crio => oci_hooks::crio(settings, plan),
        Runtime::Containerd => containerd::parts(settings, plan),
        Runtime::Docker => docker::parts(settings, plan),
    }
}

/// What installing would do.
///
/// # Errors
/// A file of the runtime that cannot be read or understood, or settings that cannot be.
pub fn install(settings: &Settings) -> Result<Plan> {
    let mut plan = Plan::default();
    for part in parts(settings, &mut plan)? {
        let file = files::File::read(&part.path)?;
        let base = match file.before() {
            Some(before) => before?,
            None => match &file.text {
                Some(text) => part.kind.without(text)?,
                None => None,
            },
        };
        let after = (part.with)(base.as_deref())?;
        plan.edits.extend(file.put(base, after, part.like));
    }
    Ok(plan)
}

/// What uninstalling would do.
///
/// # Errors
/// A file of the runtime that cannot be read or understood.
pub fn uninstall(settings: &Settings) -> Result<Plan> {
    let mut plan = Plan::default();
    // What is to be done after an installation is of no use after its end.
    for part in parts(settings, &mut Plan::default())? {
        let file = files::File::read(&part.path)?;
        let after = match (file.before(), &file.text) {
            (Some(before), _) => before?,
            (None, None) => None,
            (None, Some(text)) => {
                let without = part.kind.without(text)?;
                if file.is_recorded() && without.is_some() {
                    plan.notes.push(format!(
                        "{} was edited since: only our part is taken out{}",
                        part.path.display(),
                        file.backup_note()
                    ));
                }
                without
            }
        };
        plan.edits.extend(file.restore(after));
    }
    // What refers to another file goes first.
    plan.edits.reverse();
    if !plan.edits.is_empty() {
        plan.notes.extend(match settings.runtime {
            Runtime::Docker => Some(format!("then: {}", docker::restart(settings))),
            _ => after_change(settings),
        });
    }
    Ok(plan)
}

/// What makes the runtime read its configuration again.
fn after_change(settings: &Settings) -> Option<String> {
    let command = match settings.runtime {
        Runtime::Podman => return None,
        Runtime::Crio => "systemctl restart crio",
        Runtime::Containerd => "systemctl restart containerd (running containers go on)",
        Runtime::Docker => docker::reload(settings),
    };
    Some(format!("then: {command}"))
}

#[cfg(test)]
mod tests;
