//! How the hook stands with a runtime: what is installed, and whether each step on the way to the daemon would work.
//!
//! Each check is a try where one can be made: files are parsed, the program is started, the daemon is asked.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;
use tracer_hook::{
    annotations::TRACE,
    client::{self, RegisterError},
    spec,
};

use super::{Runtime, Settings, containerd, docker, files, oci_hooks};

/// Time for one question to a program or a daemon.
const PATIENCE: Duration = Duration::from_secs(2);

/// An id that no container has: to say its end changes nothing.
const NOBODY: &str = "tracer hook status: no container";

/// One step, and whether it works.
#[derive(Debug, Serialize)]
pub struct Check {
    pub check: &'static str,
    pub ok: bool,
    /// Without it nothing is traced; of the others one may do without.
    pub required: bool,
    /// What was found, or what to do.
    pub detail: String,
}

fn check(name: &'static str, found: Result<String>) -> Check {
    Check {
        check: name,
        ok: found.is_ok(),
        required: true,
        detail: found.unwrap_or_else(|why| format!("{why:#}")),
    }
}

/// Checks every step.
pub fn checks(settings: &Settings) -> Vec<Check> {
    let (mut checks, call) = match settings.runtime {
        Runtime::Podman | Runtime::Crio => of_hook_file(settings),
        Runtime::Containerd => of_containerd(settings),
        Runtime::Docker => of_docker(settings),
    };
    let call = call.unwrap_or_else(|| Call {
        program: settings.hook.program.clone(),
        runtime_dir: settings.runtime_dir.clone(),
    });
    checks.push(check("program", program(&settings.real(&call.program))));
    checks.push(check("daemon", daemon(&call.runtime_dir)));
    // What is to be typed has the runtime in it.
    let mut install = format!("tracer hook install --runtime {}", settings.runtime.name());
    if settings.home.is_some() {
        install.push_str(" --user");
    }
    for check in &mut checks {
        check.detail = check.detail.replace("tracer hook install", &install);
    }
    checks
}

/// How the installed configuration calls the hook.
struct Call {
    program: PathBuf,
    runtime_dir: PathBuf,
}

impl Call {
    /// Of an entry with `path` and a list of words of that name.
    fn of(entry: &Value, words: &str) -> Option<Self> {
        let words: Vec<&str> = entry[words]
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let named = words.windows(2).find_map(|pair| {
            matches!(pair, ["--runtime-dir", _])
                .then(|| pair.last())
                .flatten()
        });
        Some(Self {
            program: entry["path"].as_str()?.into(),
            runtime_dir: named.map_or_else(|| tracer_hook::DEFAULT_RUNTIME_DIR.into(), PathBuf::from),
        })
    }
}

fn parsed(path: &Path) -> Result<Value> {
    let text = files::read(path)?.with_context(|| {
        format!(
            "{} is not there: `tracer hook install --write` writes it",
            path.display()
        )
    })?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
}

fn of_hook_file(settings: &Settings) -> (Vec<Check>, Option<Call>) {
    let podman = settings.runtime == Runtime::Podman;
    let (dir, reads) = if podman {
        (oci_hooks::podman_dir(settings), oci_hooks::podman_reads(settings))
    } else {
        (oci_hooks::crio_dir(settings), oci_hooks::crio_reads(settings))
    };
    let path = match &dir {
        Ok(dir) => oci_hooks::file(settings, dir),
        Err(why) => return (vec![check("file", Err(anyhow::anyhow!("{why:#}")))], None),
    };
    let file = parsed(&path);
    let call = file
        .as_ref()
        .ok()
        .and_then(|file| Call::of(&file["hook"], "args"));
    let matches = file.as_ref().ok().map(when_matches);
    let file = file.and_then(|file| {
        ensure!(
            spec::is_ours(&file["hook"]),
            "{} calls another program",
            path.display()
        );
        for stage in spec::STAGES {
            let stages = file["stages"].as_array().into_iter().flatten();
            ensure!(
                stages.into_iter().any(|listed| listed == stage),
                "{} does not name the stage {stage}",
                path.display()
            );
        }
        Ok(path.display().to_string())
    });
    let mut checks = vec![check("file", file)];
    checks.extend(matches.map(|matches| check("when", matches)));
    let read = dir.and_then(|dir| {
        let reads = reads?;
        let list: Vec<String> = reads.iter().map(|dir| dir.display().to_string()).collect();
        ensure!(
            reads.contains(&dir) || settings.hooks_dir.is_some(),
            "{} is not among the directories that are read ({})",
            dir.display(),
            list.join(", ")
        );
        Ok(match reads.contains(&dir) {
            true => format!("{} is read", dir.display()),
            false => format!(
                "{} is read when the engine is told so (--hooks-dir)",
                dir.display()
            ),
        })
    });
    checks.push(check("directory", read));
    (checks, call)
}

/// Whether the `when` of a hook file matches our annotation, and does not match every container.
fn when_matches(file: &Value) -> Result<String> {
    let when = file["when"].as_object().context("there is no `when`")?;
    let patterns = file["when"]["annotations"]
        .as_object()
        .context("`when` asks for no annotation")?;
    let others: Vec<&str> = when
        .iter()
        .filter(|(name, value)| *name != "annotations" && **value != Value::Bool(false))
        .map(|(name, _)| name.as_str())
        .collect();
    ensure!(others.is_empty(), "`when` asks for more: {}", others.join(", "));
    for (key, value) in patterns {
        let value = value.as_str().context("a pattern is no text")?;
        for (pattern, text) in [(key.as_str(), TRACE), (value, "true")] {
            let regex = regex_lite::Regex::new(pattern).with_context(|| format!("pattern {pattern:?}"))?;
            ensure!(
                regex.is_match(text),
                "pattern {pattern:?} does not match {text:?}"
            );
        }
    }
    Ok(format!("matches {TRACE}=true"))
}

fn of_containerd(settings: &Settings) -> (Vec<Check>, Option<Call>) {
    let (config, _) = containerd::paths(settings);
    let path = settings.real(&config);
    let document =
        files::read(&path).and_then(|text| containerd::read(text.as_deref().unwrap_or_default(), &config));
    let document = match document {
        Ok(document) => document,
        Err(why) => return (vec![check("configuration", Err(why))], None),
    };
    let found = match path.exists() {
        true => path.display().to_string(),
        false => format!("{} is not there: containerd has its defaults", path.display()),
    };
    let mut checks = vec![check("configuration", Ok(found))];
    let mut call = None;
    let handlers = containerd::handlers(settings, &document, &mut super::Plan::default()).unwrap_or_default();
    for handler in handlers {
        let table = containerd::handler_table(&document, &handler);
        let text = |name: &str| table.and_then(|table| table.get(name)?.as_str());
        let named = text("base_runtime_spec").filter(|spec| !spec.is_empty());
        let spec = named
            .with_context(|| {
                format!("handler {handler} has no base_runtime_spec: `tracer hook install --write` sets it")
            })
            .and_then(|spec| {
                let file = settings.real(Path::new(spec));
                let value = parsed(&file)?;
                for stage in spec::STAGES {
                    let ours = value["hooks"][stage]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .find(|entry| spec::is_ours(entry));
                    let ours =
                        ours.with_context(|| format!("{} has no hook of ours at {stage}", file.display()))?;
                    call = call.take().or_else(|| Call::of(ours, "args"));
                }
                Ok(format!("handler {handler}: {}", file.display()))
            });
        checks.push(check("base spec", spec));
        let passes = containerd::LISTS.iter().try_for_each(|list| {
            let patterns = table.and_then(|table| table.get(list)?.as_array());
            let passes = patterns.is_some_and(|patterns| {
                patterns
                    .iter()
                    .filter_map(|pattern| pattern.as_str())
                    .any(passes_ours)
            });
            ensure!(
                passes,
                "handler {handler}: {list} does not list {:?}: containers are not told the annotation",
                containerd::ANNOTATIONS
            );
            Ok(())
        });
        checks.push(check(
            "annotations",
            passes.map(|()| format!("handler {handler} passes on {}", containerd::ANNOTATIONS)),
        ));
    }
    checks.push(nri(&document));
    (checks, call)
}

/// Whether a pattern of containerd (a glob) lets our annotation through.
fn passes_ours(pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => TRACE.starts_with(prefix),
        None => pattern == TRACE,
    }
}

/// What `tracer nri` needs, the way without a base spec.
fn nri(document: &toml_edit::DocumentMut) -> Check {
    let plugin = document
        .get("plugins")
        .and_then(|plugins| plugins.get("io.containerd.nri.v1.nri"));
    let disabled = plugin
        .and_then(|plugin| plugin.get("disable"))
        .and_then(toml_edit::Item::as_bool);
    let newer = document.get("version").and_then(toml_edit::Item::as_integer) >= Some(3);
    let found = match disabled {
        Some(false) => Ok("enabled".to_owned()),
        None if newer => Ok("enabled (the default of containerd 2)".to_owned()),
        _ => Err(anyhow::anyhow!(
            "not enabled: `tracer nri` needs containerd 1.7 with disable = false in [plugins.\"io.containerd.nri.v1.nri\"]; \
             the base spec does without"
        )),
    };
    Check {
        required: false,
        ..check("nri", found)
    }
}

fn of_docker(settings: &Settings) -> (Vec<Check>, Option<Call>) {
    let path = docker::config(settings);
    let file = parsed(&path);
    let mut call = None;
    let registered = file.and_then(|file| {
        let runtimes = file["runtimes"].as_object();
        let ours = runtimes
            .into_iter()
            .flatten()
            .find(|(_, entry)| docker::is_ours(entry));
        let (name, entry) = ours.with_context(|| {
            format!(
                "{} has no runtime of ours: `tracer hook install --write` registers it",
                path.display()
            )
        })?;
        call = Call::of(entry, "runtimeArgs");
        Ok((name.clone(), entry.clone()))
    });
    let mut checks = vec![check(
        "file",
        registered
            .as_ref()
            .map(|(name, _)| format!("{}: runtime {name}", path.display()))
            .map_err(|why| anyhow::anyhow!("{why:#}")),
    )];
    if let Ok((name, entry)) = registered {
        let words = entry["runtimeArgs"].as_array().into_iter().flatten();
        let words: Vec<&str> = words.filter_map(Value::as_str).collect();
        let wrapped = words
            .windows(2)
            .find_map(|pair| matches!(pair, ["--runtime", _]).then(|| pair.last()).flatten());
        checks.push(check(
            "wrapped runtime",
            match wrapped {
                Some(path) => program(&settings.real(Path::new(path))),
                None => Ok("the first of runc and crun in dockerd's PATH".into()),
            },
        ));
        if settings.root == Path::new("/") && settings.config.is_none() {
            checks.push(check("registered", registered_with_docker(settings, &name)));
        }
    }
    (checks, call)
}

fn registered_with_docker(settings: &Settings, name: &str) -> Result<String> {
    let out = answer(Command::new("docker").args(["info", "--format", "{{json .Runtimes}}"]))?;
    let runtimes: Value = serde_json::from_str(out.trim()).context("docker info: no JSON")?;
    ensure!(
        runtimes.get(name).is_some(),
        "dockerd does not know the runtime {name}: {}",
        docker::reload(settings)
    );
    Ok(format!("dockerd knows the runtime {name}"))
}

/// Whether the program can be started by the runtime.
fn program(path: &Path) -> Result<String> {
    let file = fs::metadata(path).with_context(|| path.display().to_string())?;
    ensure!(
        file.is_file() && file.mode() & 0o111 != 0,
        "{} is not executable",
        path.display()
    );
    let said = answer(Command::new(path).arg("--version"))?;
    Ok(format!(
        "{}: {}",
        path.display(),
        said.lines().next().unwrap_or_default()
    ))
}

/// What a program prints, when it ends soon and well.
pub(crate) fn answer(command: &mut Command) -> Result<String> {
    use std::process::Stdio;
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.with_context(|| format!("start {name}"))?;
    let end = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            bail!("{name} does not answer");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let out = child.wait_with_output()?;
    ensure!(
        out.status.success(),
        "{name}: {}: {}",
        out.status,
        String::from_utf8_lossy(&out.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Whether the daemon answers on the socket that the hook is told.
fn daemon(runtime_dir: &Path) -> Result<String> {
    let socket = tracer_hook::socket_path(runtime_dir);
    match client::gone(&socket, NOBODY, Instant::now() + PATIENCE) {
        Ok(()) | Err(RegisterError::Refused(_)) => Ok(format!("answers on {}", socket.display())),
        Err(why) => bail!("{why}; without it containers start untraced"),
    }
}
