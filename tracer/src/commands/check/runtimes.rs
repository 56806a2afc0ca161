//! The container runtimes of this machine, and how the hook stands with them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{super::hook as standing, Need};
use crate::{
    cli::Runtime,
    install::{self, Check},
};

/// The hook's program: one of another version than the daemon's is told its contract by number, and still works or says so.
pub(super) fn hook() -> Need {
    let beside = std::env::current_exe()
        .ok()
        .map(|exe| exe.with_file_name("tracer-hook"));
    let mut places = [Some(PathBuf::from(install::PROGRAM)), beside]
        .into_iter()
        .flatten();
    let found = match places.find(|path| path.exists()) {
        None => Err("tracer-hook is not installed; docs/install.md says how".to_owned()),
        Some(path) => version(&path).map(|version| format!("{}: {version}", path.display())),
    };
    Need::useful("hook", found)
}

/// Engines that are here, by the program that shows it, and the configuration that the hook goes into.
const ENGINES: [(&str, Runtime, &str); 4] = [
    ("podman", Runtime::Podman, "podman"),
    ("containerd", Runtime::Containerd, "containerd"),
    ("dockerd", Runtime::Docker, "docker"),
    ("crio", Runtime::Crio, "crio"),
];

/// Whether the hook is in the configuration of each engine, and works from there.
pub(super) fn engines(runtime_dir: &Path) -> Vec<Need> {
    let here = ENGINES.iter().filter(|(program, ..)| in_path(program).is_some());
    here.map(|(_, runtime, name)| engine(runtime_dir, *runtime, name))
        .collect()
}

fn engine(runtime_dir: &Path, runtime: Runtime, name: &str) -> Need {
    let need = format!("hook in {name}");
    let checks = match standing::standing(runtime_dir, runtime) {
        Ok(checks) => checks,
        Err(error) => return Need::useful(need, Err(format!("{error:#}"))),
    };
    // The daemon and the program have lines of their own.
    let lacks = |check: &&Check| check.required && !check.ok && check.check != "daemon";
    let found = match checks.iter().find(lacks) {
        None => Ok("installed, each step works".to_owned()),
        Some(check) => Err(format!("{}: {}", check.check, check.detail)),
    };
    let evidence = checks.iter().map(|check| {
        let state = if check.ok { "ok" } else { "not" };
        format!("{state} {}: {}", check.check, check.detail)
    });
    Need::useful(need, found).with(evidence.collect::<Vec<_>>())
}

/// Which runtimes there are.
pub(super) fn programs() -> Vec<Need> {
    let programs = ["runc", "crun", "podman", "containerd", "dockerd", "crio"];
    let need = |name| match in_path(name) {
        None => Need::useful(name, Err("not in PATH".to_owned())),
        Some(path) => Need::useful(
            name,
            version(&path).or_else(|_silent| Ok(path.display().to_string())),
        )
        .with([path.display().to_string()]),
    };
    programs.map(need).into()
}

/// The first line of what it says of its version.
fn version(program: &Path) -> Result<String, String> {
    let said =
        install::answer(Command::new(program).arg("--version")).map_err(|error| format!("{error:#}"))?;
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.exists())
}
