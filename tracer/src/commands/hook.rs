//! `tracer hook`: shows, writes, takes back and checks a runtime's configuration.

use std::{
    env,
    ffi::OsStr,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tracer_hook::spec::Hook;

use super::{INCOMPLETE, json_line, print};
use crate::{
    cli::{self, Format, HookCommand, Place, Runtime, Wanted},
    install::{self, PROGRAM, Plan, Settings},
};

/// Time that the hook takes at most when nobody says otherwise.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Docker's name of the runtime when nobody says otherwise.
const NAME: &str = "traced";

pub(super) fn run(runtime_dir: &Path, arguments: cli::Hook) -> Result<u8> {
    match arguments.command {
        HookCommand::Install { place, wanted, write } => {
            let settings = settings(runtime_dir, place, *wanted)?;
            let mut plan = install::install(&settings)?;
            if !settings_program_exists(&settings) {
                plan.notes.push(format!(
                    "{} is not there: install tracer-hook, or name it with --hook",
                    settings.hook.program.display()
                ));
            }
            carry_out(&plan, write, "the hook is installed already")
        }
        HookCommand::Uninstall { place, write } => {
            let plan = install::uninstall(&settings(runtime_dir, place, Wanted::default())?)?;
            carry_out(&plan, write, "the hook is not installed")
        }
        HookCommand::Status { place, output } => {
            let checks = install::checks(&settings(runtime_dir, place, Wanted::default())?);
            let mut to = io::stdout().lock();
            for check in &checks {
                match output.output {
                    Format::Json => json_line(&mut to, check)?,
                    Format::Text => {
                        let state = match (check.ok, check.required) {
                            (true, _) => "ok",
                            (false, true) => "missing",
                            (false, false) => "absent",
                        };
                        print::folded(&mut to, 26, |to| {
                            writeln!(to, "{state:8} {:16} {}", check.check, check.detail)
                        })?;
                    }
                }
            }
            let works = checks.iter().all(|check| check.ok || !check.required);
            Ok(if works { 0 } else { INCOMPLETE })
        }
    }
}

/// Shows the plan, and does it when it shall be written.
fn carry_out(plan: &Plan, write: bool, nothing: &str) -> Result<u8> {
    let mut to = io::stdout().lock();
    if plan.edits.is_empty() {
        writeln!(to, "nothing to do: {nothing}")?;
        return Ok(0);
    }
    for edit in &plan.edits {
        write!(to, "{}", install::show(edit))?;
    }
    for edit in plan.edits.iter().filter(|_| write) {
        writeln!(to, "{}", install::write(edit)?)?;
    }
    for note in &plan.notes {
        writeln!(to, "{note}")?;
    }
    if !write {
        writeln!(to, "nothing was written: add --write")?;
    }
    Ok(0)
}

fn settings(runtime_dir: &Path, place: Place, wanted: Wanted) -> Result<Settings> {
    use Runtime::{Containerd, Crio, Docker, Podman};
    let of = |runtimes: &[Runtime]| runtimes.contains(&place.runtime);
    for (given, allowed, option) in [
        (place.user, of(&[Podman, Docker]), "--user"),
        (place.hooks_dir.is_some(), of(&[Podman, Crio]), "--hooks-dir"),
        (place.config.is_some(), of(&[Containerd, Docker]), "--config"),
        (!place.handlers.is_empty(), of(&[Containerd]), "--handler"),
        (wanted.base_spec.is_some(), of(&[Containerd]), "--base-spec"),
        (wanted.name.is_some(), of(&[Docker]), "--name"),
        (wanted.wrap.is_some(), of(&[Docker]), "--wrap"),
        (wanted.all, of(&[Docker]), "--all"),
    ] {
        ensure!(!given || allowed, "{option} means nothing for this runtime");
    }
    let home = match place.user {
        false => None,
        true => {
            let home = env::var_os("HOME").filter(|home| !home.is_empty());
            Some(PathBuf::from(
                home.context("--user needs HOME in the environment")?,
            ))
        }
    };
    let runtime_dir = absolute(runtime_dir)?;
    let mut options = Vec::new();
    if runtime_dir != Path::new(tracer_hook::DEFAULT_RUNTIME_DIR) {
        options.extend(["--runtime-dir".to_owned(), utf8(&runtime_dir)?]);
    }
    let timeout = wanted.timeout.unwrap_or(TIMEOUT);
    ensure!(
        (Duration::from_millis(1)..=Duration::from_secs(60)).contains(&timeout),
        "--timeout takes 1ms to 60s"
    );
    if timeout != TIMEOUT {
        options.extend(["--timeout".to_owned(), format!("{}ms", timeout.as_millis())]);
    }
    options.extend(wanted.fail_closed.then(|| "--fail-closed".to_owned()));
    let program = match &wanted.hook {
        Some(path) => absolute(path)?,
        None => found(&place.root),
    };
    utf8(&program)?;
    Ok(Settings {
        runtime: place.runtime.into(),
        hook: Hook {
            program,
            options,
            timeout,
        },
        runtime_dir,
        hooks_dir: place.hooks_dir.as_deref().map(absolute).transpose()?,
        config: place.config.as_deref().map(absolute).transpose()?,
        root: absolute(&place.root)?,
        home,
        handlers: place.handlers,
        base_spec: wanted.base_spec,
        name: wanted.name.unwrap_or_else(|| NAME.to_owned()),
        wrapped: wanted.wrap.as_deref().map(absolute).transpose()?,
        all: wanted.all,
    })
}

/// How the hook stands with that runtime of the machine, step by step.
pub(super) fn standing(runtime_dir: &Path, runtime: Runtime) -> Result<Vec<install::Check>> {
    let place = Place {
        runtime,
        user: false,
        root: PathBuf::from("/"),
        hooks_dir: None,
        config: None,
        handlers: Vec::new(),
    };
    Ok(install::checks(&settings(runtime_dir, place, Wanted::default())?))
}

/// The hook's program: where packages put it, else beside this one.
fn found(root: &Path) -> PathBuf {
    let packaged = PathBuf::from(PROGRAM);
    let here = root == Path::new("/");
    let beside = env::current_exe()
        .ok()
        .map(|exe| exe.with_file_name("tracer-hook"));
    match beside {
        Some(beside) if here && !packaged.exists() && beside.exists() => beside,
        _ => packaged,
    }
}

fn settings_program_exists(settings: &Settings) -> bool {
    let program = &settings.hook.program;
    let below = program.strip_prefix("/").unwrap_or(program);
    settings.root.join(below).exists()
}

/// Configurations name absolute paths.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{:?}", path.as_os_str()))
}

/// JSON and TOML hold text.
fn utf8(path: &Path) -> Result<String> {
    let text = OsStr::to_str(path.as_os_str());
    Ok(text
        .with_context(|| format!("{path:?} is not UTF-8: a configuration cannot name it"))?
        .to_owned())
}
