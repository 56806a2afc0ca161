//! `tracer-hook runtime`: an OCI runtime that is runc or crun, but for our hooks in the bundles of the containers that
//! ask to be traced. For engines that have no hooks of their own, as Docker.
//!
//! It changes `config.json` before `create` and `run`, and then becomes the real runtime by exec: whatever the engine
//! passed (words, environment, descriptors) is the runtime's, and what the runtime answers is the engine's. A change
//! that fails is noted, and the runtime runs with the bundle as it was, unless the policy says block.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs, io,
    io::Write,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{self, Command},
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use tracer_hook::{
    missed::timestamp,
    spec::{self, Hook},
};

use crate::{
    args::{self, OnFailure},
    one_line, say,
};

/// Bytes of a configuration that are read; a container with a longer one is not traced.
const MAX_CONFIG: u64 = 16 << 20;

/// What a shell says of a program that it cannot start.
const NO_RUNTIME: i32 = 127;

/// What stands before the runtime's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wrapper {
    runtime: Option<PathBuf>,
    /// Options for the hook, as they were given.
    hook_options: Vec<String>,
    timeout: Duration,
    all: bool,
    on_failure: OnFailure,
    /// An option that makes no sense. The container cannot help it.
    mistake: Option<String>,
    words: Vec<OsString>,
}

/// Becomes the runtime. It returns only when there is none, and then with the exit status.
pub(crate) fn run(words: &[OsString]) -> i32 {
    let wrapper = parse(words);
    let fallback = wrapper.clone();
    std::panic::set_hook(Box::new(move |info| {
        say(&format!(
            "container is not traced: hook has a bug, please report it: {info}"
        ));
        let status = match fallback.on_failure {
            OnFailure::Block => 1,
            OnFailure::Continue => become_runtime(&fallback),
        };
        process::exit(status);
    }));
    let call = Call::of(&wrapper.words);
    if call.starts_container()
        && let Err(why) = change(&wrapper, &call)
    {
        let why = format!("container is not traced: {why}");
        if wrapper.on_failure == OnFailure::Block {
            say(&why);
            return 1;
        }
        note(&call, &why);
    }
    become_runtime(&wrapper)
}

/// Our options end at the first word that is none of ours, or after `--`.
fn parse(words: &[OsString]) -> Wrapper {
    let mut wrapper = Wrapper {
        runtime: None,
        hook_options: Vec::new(),
        timeout: args::DEFAULT_TIMEOUT,
        all: false,
        on_failure: OnFailure::Continue,
        mistake: None,
        words: Vec::new(),
    };
    let mut rest = words;
    while let Some((word, after)) = rest.split_first() {
        let text = word.to_string_lossy();
        let (name, attached) = match text.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (text.as_ref(), None),
        };
        let mut end = after;
        let mut value = || {
            attached.clone().or_else(|| {
                let (value, after) = end.split_first()?;
                end = after;
                Some(value.clone())
            })
        };
        match name {
            "--runtime" => wrapper.runtime = value().map(PathBuf::from),
            "--runtime-dir" => match value() {
                Some(dir) => {
                    let dir = dir.to_string_lossy().into_owned();
                    wrapper.hook_options.extend(["--runtime-dir".into(), dir]);
                }
                None => wrapper.mistake = Some("--runtime-dir needs a value".into()),
            },
            "--timeout" => {
                let time = value().unwrap_or_default().to_string_lossy().into_owned();
                match args::timeout(&time) {
                    Ok(timeout) => {
                        wrapper.timeout = timeout;
                        wrapper.hook_options.extend(["--timeout".into(), time]);
                    }
                    Err(why) => wrapper.mistake = Some(why),
                }
            }
            "--on-failure" => match value().as_deref().and_then(OsStr::to_str) {
                Some("block") => wrapper.on_failure = OnFailure::Block,
                Some("continue") => wrapper.on_failure = OnFailure::Continue,
                _ => wrapper.mistake = Some("--on-failure takes block or continue".into()),
            },
            "--fail-closed" => wrapper.on_failure = OnFailure::Block,
            "--all" => wrapper.all = true,
            "--" => {
                rest = after;
                break;
            }
            _ => break,
        }
        rest = end;
    }
    if wrapper.on_failure == OnFailure::Block {
        wrapper.hook_options.push("--fail-closed".into());
    }
    wrapper.words = rest.to_vec();
    wrapper
}

/// What the engine asks of the runtime, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Call {
    command: String,
    bundle: PathBuf,
    /// crun's `--config`: another file than the bundle's.
    config: Option<PathBuf>,
    log: Option<PathBuf>,
    log_is_json: bool,
}

impl Call {
    /// Reads the words of a runc or crun command line.
    fn of(words: &[OsString]) -> Self {
        /// Options before the command that take the word after them.
        const VALUED: [&str; 6] = ["log", "log-format", "root", "criu", "rootless", "cgroup-manager"];
        let mut call = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some((name, attached)) = option(word) else {
                if !call.command.is_empty() {
                    continue;
                }
                call.command = word.to_string_lossy().into_owned();
                continue;
            };
            let before_command = call.command.is_empty();
            let wanted = match name {
                "bundle" | "b" | "config" | "f" => !before_command,
                _ => before_command && VALUED.contains(&name),
            };
            if !wanted {
                continue;
            }
            let Some(value) = attached.or_else(|| words.next().map(OsString::as_os_str)) else {
                break;
            };
            match name {
                "bundle" | "b" => call.bundle = value.into(),
                "config" | "f" => call.config = Some(value.into()),
                "log" => call.log = Some(value.into()),
                "log-format" => call.log_is_json = value == "json",
                _ => {}
            }
        }
        call
    }

    fn starts_container(&self) -> bool {
        self.command == "create" || self.command == "run"
    }

    /// A file of `--config` is not looked for in the bundle.
    fn config(&self) -> PathBuf {
        self.config
            .clone()
            .unwrap_or_else(|| self.bundle.join("config.json"))
    }
}

/// Name of an option and the value after its `=`; `None` for a word that is no option.
fn option(word: &OsStr) -> Option<(&str, Option<&OsStr>)> {
    let bytes = word.as_bytes().strip_prefix(b"-")?;
    let bytes = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (bytes.get(..at)?, bytes.get(at + 1..).map(OsStr::from_bytes)),
        None => (bytes, None),
    };
    let name = str::from_utf8(name).ok().filter(|name| !name.is_empty())?;
    Some((name, value))
}

/// Puts our hooks into the bundle's configuration when its container asks to be traced.
fn change(wrapper: &Wrapper, call: &Call) -> Result<(), String> {
    if let Some(mistake) = &wrapper.mistake {
        return Err(mistake.clone());
    }
    let path = call.config();
    let text = read(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let mut config: Value =
        serde_json::from_slice(&text).map_err(|error| format!("{} is no JSON: {error}", path.display()))?;
    if !spec::asks_for_trace(&config, wrapper.all) {
        return Ok(());
    }
    let program = env::current_exe().map_err(|error| format!("own path cannot be read: {error}"))?;
    let hook = Hook {
        program,
        options: wrapper.hook_options.clone(),
        timeout: wrapper.timeout,
    };
    let before = config.clone();
    spec::annotate(&mut config)
        .and_then(|()| spec::insert(&mut config, &hook))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    if config == before {
        return Ok(());
    }
    write(&path, &config).map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read;
    let mut text = Vec::new();
    fs::File::open(path)?
        .take(MAX_CONFIG + 1)
        .read_to_end(&mut text)?;
    if text.len() as u64 > MAX_CONFIG {
        return Err(io::Error::other(format!("it is longer than {MAX_CONFIG} bytes")));
    }
    Ok(text)
}

/// In place of the old one, whole or not at all, with its owner and mode.
fn write(path: &Path, config: &Value) -> io::Result<()> {
    let old = fs::metadata(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.{}", process::id()));
    let written = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&serde_json::to_vec(config)?)?;
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (old.uid(), old.gid()) {
            chown(&new, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
        fs::rename(&new, path)
    })();
    if written.is_err() {
        fs::remove_file(&new).ok();
    }
    written
}

/// To the runtime's own log where the engine gave one: on standard error, which is the container's, it would stand in
/// the container's output.
fn note(call: &Call, why: &str) {
    let Some(log) = &call.log else {
        return say(why);
    };
    let (time, message) = (
        timestamp(SystemTime::now()),
        format!("tracer-hook: {}", one_line(why)),
    );
    let mut line = if call.log_is_json {
        json!({"level": "warning", "msg": message, "time": time}).to_string()
    } else {
        format!("time={time:?} level=warning msg={message:?}")
    };
    line.push('\n');
    let file = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .open(log);
    if file.and_then(|mut file| file.write_all(line.as_bytes())).is_err() {
        say(why);
    }
}

/// Replaces this program by the runtime.
fn become_runtime(wrapper: &Wrapper) -> i32 {
    let runtime = match find(wrapper) {
        Ok(runtime) => runtime,
        Err(why) => {
            say(&why);
            return NO_RUNTIME;
        }
    };
    let error = Command::new(&runtime).args(&wrapper.words).exec();
    say(&format!(
        "runtime {} cannot be started: {error}",
        runtime.display()
    ));
    NO_RUNTIME
}

/// The runtime to become: the given one, else the first of runc and crun in `PATH`; never this program.
fn find(wrapper: &Wrapper) -> Result<PathBuf, String> {
    let own = fs::metadata("/proc/self/exe")
        .map(|file| (file.dev(), file.ino()))
        .ok();
    let is_own =
        |path: &Path| own.is_some() && fs::metadata(path).map(|file| (file.dev(), file.ino())).ok() == own;
    let path = env::var_os("PATH")
        .unwrap_or_else(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    let in_path = |name: &Path| {
        env::split_paths(&path)
            .map(|folder| folder.join(name))
            .find(|file| is_program(file) && !is_own(file))
    };
    match &wrapper.runtime {
        Some(given) if is_own(given) => Err(format!(
            "runtime {} is this program itself: name runc or crun with --runtime",
            given.display()
        )),
        Some(given) if given.as_os_str().as_bytes().contains(&b'/') => Ok(given.clone()),
        Some(name) => in_path(name).ok_or_else(|| format!("runtime {} is not in PATH", name.display())),
        None => ["runc", "crun"]
            .iter()
            .find_map(|name| in_path(Path::new(name)))
            .ok_or_else(|| "neither runc nor crun is in PATH: name the runtime with --runtime PATH".into()),
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn our_options_end_where_the_runtimes_words_begin() {
        let wrapper = parse(&words(
            "--runtime /usr/bin/crun --runtime-dir=/r --timeout 2s --all --root /run/x create --all web",
        ));
        assert_eq!(wrapper.runtime, Some("/usr/bin/crun".into()));
        assert_eq!(wrapper.hook_options, ["--runtime-dir", "/r", "--timeout", "2s"]);
        assert_eq!((wrapper.timeout, wrapper.all), (Duration::from_secs(2), true));
        assert_eq!(wrapper.words, words("--root /run/x create --all web"));
        assert_eq!(parse(&words("--fail-closed -- --all")).words, words("--all"));
        assert_eq!(
            parse(&words("--fail-closed -- x")).hook_options,
            ["--fail-closed"]
        );
        assert_eq!(parse(&words("--version")).words, words("--version"));
        assert_eq!(parse(&[]).words, words(""));
    }

    #[test]
    fn a_mistake_is_no_reason_to_lose_a_word() {
        let wrapper = parse(&words("--timeout soon --on-failure stop state web"));
        assert!(wrapper.mistake.is_some());
        assert_eq!(wrapper.words, words("state web"));
    }

    #[test]
    fn command_and_bundle_are_found_as_engines_write_them() {
        let of = |line: &str| Call::of(&words(line));
        let docker = of(
            "--root /run/docker/runtime-runc/moby --log /run/b/log.json --log-format json create \
             --bundle /run/b --pid-file /run/b/init.pid 0123",
        );
        assert!(docker.starts_container());
        assert_eq!(docker.config(), PathBuf::from("/run/b/config.json"));
        assert_eq!(
            (docker.log, docker.log_is_json),
            (Some("/run/b/log.json".into()), true)
        );
        for line in [
            "run -b /run/b web",
            "--debug --systemd-cgroup run --bundle=/run/b web",
            "-root /x run -b /run/b web",
        ] {
            assert_eq!(of(line).config(), PathBuf::from("/run/b/config.json"), "{line}");
        }
        assert_eq!(of("create web").config(), PathBuf::from("config.json"));
        assert_eq!(
            of("run -b /b -f other.json web").config(),
            PathBuf::from("other.json")
        );
        for line in [
            "--root create state web",
            "exec web create",
            "--version",
            "delete --force run",
            "--log",
            "",
        ] {
            assert!(!of(line).starts_container(), "{line}");
        }
    }
}
