//! The command line: words to options. Pure. By hand, because an argument parser would be half of the program.
//!
//! A hook's mistake in its own command line must not stop a container, so what to do on failure is found first and
//! on its own, and a usage error is a failure like any other.

use std::{ffi::OsString, path::PathBuf, time::Duration};

/// Time for all of it, unless the command line says otherwise.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Registers a container with the tracer's daemon, from the OCI runtime's hook stages.

Usage: tracer-hook [STAGE] [OPTIONS] < STATE
       tracer-hook runtime [--runtime PATH] [OPTIONS] [--] WORDS...

Reads the OCI state on standard input. A container without the annotation
container-tracer.io/trace=true is left alone.

Stages:
  createRuntime, prestart  register the container, and wait until it is traced
  poststop                 tell the daemon that the container was deleted
  (none)                   poststop when the state's status is `stopped`, else register

runtime is an OCI runtime that puts this hook into the bundles of containers
that ask to be traced, and then becomes runc or crun (the first in PATH, or
--runtime PATH) with these words. Docker's containers ask by the variable
CONTAINER_TRACER_TRACE=true; with --all, all do.

Options:
  --runtime-dir DIR        directory of the daemon's sockets [env: TRACER_RUNTIME_DIR] [default: /run/tracer]
  --timeout TIME           time for all of it, 1ms to 60s, such as 500ms or 1.5s [default: 1s]
  --all                    register containers without the annotation too
  --sandboxes              register the sandbox (pause) containers of Pods too
  --on-failure WHAT        continue: start the container untraced; block: do not start it [default: continue]
  --fail-closed            the same as --on-failure block
  -h, --help               print this
  -V, --version            print the version

Exit status: 0; 1 when the container is to be traced and cannot be, with --on-failure block. poststop is always 0.
";

/// What the hook is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Version,
    Run(Options),
}

/// How.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// `None`: the state's status decides.
    pub(crate) stage: Option<Stage>,
    pub(crate) runtime_dir: PathBuf,
    pub(crate) timeout: Duration,
    pub(crate) all: bool,
    pub(crate) sandboxes: bool,
}

/// What a stage asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Register,
    Poststop,
}

/// What a failure does to the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFailure {
    Continue,
    Block,
}

/// What a failure does, by a command line that may be wrong otherwise: `block` where it stands anywhere, except that
/// poststop, when the container is over, never fails.
pub(crate) fn on_failure(words: &[OsString]) -> OnFailure {
    let is = |word: &OsString, text: &str| word.to_str() == Some(text);
    let blocks = words
        .iter()
        .any(|word| is(word, "--fail-closed") || is(word, "--on-failure=block"))
        || words
            .windows(2)
            .any(|pair| matches!(pair, [a, b] if is(a, "--on-failure") && is(b, "block")));
    if blocks && !words.iter().any(|word| is(word, "poststop")) {
        OnFailure::Block
    } else {
        OnFailure::Continue
    }
}

/// Reads the command line without the program's name. `runtime_dir` is what the environment says.
pub(crate) fn parse(words: &[OsString], runtime_dir: Option<OsString>) -> Result<Command, String> {
    let mut options = Options {
        stage: None,
        runtime_dir: runtime_dir
            .filter(|dir| !dir.is_empty())
            .map_or_else(|| PathBuf::from(tracer_hook::DEFAULT_RUNTIME_DIR), PathBuf::from),
        timeout: DEFAULT_TIMEOUT,
        all: false,
        sandboxes: false,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        let (name, attached) = match text.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(OsString::from(value))),
            _ => (text.as_ref(), None),
        };
        let mut value = || {
            attached
                .clone()
                .or_else(|| words.next().cloned())
                .ok_or_else(|| format!("{name} needs a value"))
        };
        match name {
            "--runtime-dir" => options.runtime_dir = value()?.into(),
            "--timeout" => options.timeout = timeout(&value()?.to_string_lossy())?,
            "--on-failure" => match value()?.to_str() {
                Some("block" | "continue") => {}
                _ => return Err("--on-failure takes block or continue".into()),
            },
            _ if attached.is_some() => return Err(format!("argument {text:?} is unknown: see --help")),
            "--all" => options.all = true,
            "--sandboxes" => options.sandboxes = true,
            "--fail-closed" => {}
            "-h" | "--help" => return Ok(Command::Help),
            "-V" | "--version" => return Ok(Command::Version),
            "createRuntime" | "prestart" => options.stage = Some(Stage::Register),
            "poststop" => options.stage = Some(Stage::Poststop),
            _ => {
                return Err(format!(
                    "argument {text:?} is unknown: the stages are createRuntime, prestart and poststop; see --help"
                ));
            }
        }
    }
    Ok(Command::Run(options))
}

/// A time such as `500ms` or `1.5s`, 1 ms to 60 s.
pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 0.001),
        None => (text.strip_suffix('s').unwrap_or(""), 1.0),
    };
    let seconds = number.parse::<f64>().map(|number| number * unit);
    match seconds {
        Ok(seconds) if (0.001..=60.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!(
            "--timeout {text:?} is no time from 1ms to 60s: write it as 500ms or 1.5s"
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn run(line: &str) -> Options {
        match parse(&words(line), None) {
            Ok(Command::Run(options)) => options,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn options_are_read_in_both_forms() {
        for line in [
            "prestart --runtime-dir /r --timeout 250ms --all --sandboxes",
            "--sandboxes --all --timeout=0.25s --runtime-dir=/r createRuntime",
        ] {
            let timeout = Duration::from_millis(250);
            let want = Options {
                stage: Some(Stage::Register),
                runtime_dir: "/r".into(),
                timeout,
                all: true,
                sandboxes: true,
            };
            assert_eq!(run(line), want);
        }
        assert_eq!(run("poststop").stage, Some(Stage::Poststop));
        assert_eq!(run("").timeout, Duration::from_secs(1));
        assert_eq!(parse(&words("--all -h"), None), Ok(Command::Help));
    }

    #[test]
    fn the_environment_names_the_directory_and_the_option_wins() {
        let dir = |line: &str, env: &str| match parse(&words(line), Some(env.into())) {
            Ok(Command::Run(options)) => options.runtime_dir,
            other => panic!("{other:?}"),
        };
        assert_eq!(dir("", "/e"), PathBuf::from("/e"));
        assert_eq!(dir("--runtime-dir /r", "/e"), PathBuf::from("/r"));
        assert_eq!(dir("", ""), PathBuf::from("/run/tracer"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, says) in [
            ("startContainer", "the stages are"),
            ("--all=yes", "unknown"),
            ("--timeout", "needs a value"),
            ("--timeout 0s", "1ms to 60s"),
            ("--timeout 1", "500ms"),
            ("--timeout -1s", "1ms to 60s"),
            ("--timeout nans", "1ms to 60s"),
            ("--timeout 61s", "1ms to 60s"),
            ("--on-failure stop", "block or continue"),
        ] {
            let error = parse(&words(line), None).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
    }

    #[test]
    fn a_failure_blocks_even_when_the_rest_is_wrong() {
        for line in [
            "--fail-closed --nonsense",
            "--on-failure block",
            "--on-failure=block x",
        ] {
            assert_eq!(on_failure(&words(line)), OnFailure::Block, "{line}");
        }
        for line in ["", "--on-failure continue", "block", "poststop --fail-closed"] {
            assert_eq!(on_failure(&words(line)), OnFailure::Continue, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_words_are_read_or_refused(line in proptest::collection::vec(".{0,12}", 0..6)) {
            let line: Vec<OsString> = line.into_iter().map(OsString::from).collect();
            parse(&line, None).ok();
            on_failure(&line);
        }

        #[test]
        fn any_time_is_read_or_refused(text in "[0-9.e+-]{0,8}(s|ms|m)?") {
            timeout(&text).ok();
        }
    }
}
