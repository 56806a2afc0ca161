//! What a shell offers for a word that is being typed: containers and system calls. The rest is clap's.
//!
//! A key was pressed and somebody waits: what does not answer at once offers nothing, and nothing is an error.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use clap::{Arg, Command, CommandFactory};
use clap_complete::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter,
    engine::ValueCompleter,
    env::{Bash, CompleteEnv, EnvCompleter, Fish, Zsh},
};

use crate::{
    cli::{Cli, Shell},
    client,
    control::Request,
    decode,
    filter::CLASSES,
    report::Line,
    runtimes::{Found, Runtimes},
    selector::Selector,
};

/// What the shell's script sets when it asks.
const ASKED: &str = "TRACER_COMPLETE";
/// How long the daemon may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// Answers a shell that asks, and ends; returns where nobody asked.
pub fn answer() {
    CompleteEnv::with_factory(command).var(ASKED).complete();
}

fn command() -> Command {
    with_candidates(Cli::command().disable_help_subcommand(true))
}

/// By what a value is called, so that a new command has them too.
fn with_candidates(command: Command) -> Command {
    let add = |arg: Arg| {
        let names = arg.get_value_names().unwrap_or_default();
        match names.first().map(|name| name.as_str()) {
            Some("CONTAINER") => arg.add(ArgValueCandidates::new(containers)),
            Some("CONTAINER|RECORDING") => arg.add(ArgValueCompleter::new(traced)),
            Some("PID|CONTAINER") => arg.add(ArgValueCandidates::new(running)),
            Some("EXPR") => arg.add(ArgValueCompleter::new(calls)),
            _ => arg,
        }
    };
    command.mut_args(add).mut_subcommands(with_candidates)
}

/// The script with which a shell asks.
///
/// # Errors
/// None but the writer's.
pub fn script(shell: Shell, to: &mut dyn std::io::Write) -> std::io::Result<()> {
    let shell: &dyn EnvCompleter = match shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    shell.write_registration(ASKED, "tracer", "tracer", "tracer", to)
}

/// Containers that the daemon knows: by name, and by id where that is another word.
fn containers() -> Vec<CompletionCandidate> {
    let (to, answer) = channel();
    thread::spawn(move || {
        let select = Selector::default();
        let rows: Vec<Line> = client::ask(&runtime_dir(), &Request::Ps { select }).unwrap_or_default();
        // Whoever asked may wait no longer.
        let _late = to.send(rows);
    });
    let rows = answer.recv_timeout(PATIENCE).unwrap_or_default();
    let words = rows.into_iter().flat_map(|row| [row.names.name, row.names.id]);
    candidates(words)
}

/// Containers that the daemon knows, and the files of recordings.
fn traced(word: &OsStr) -> Vec<CompletionCandidate> {
    let typed = word.as_encoded_bytes();
    let mut found = containers();
    found.retain(|name| name.get_value().as_encoded_bytes().starts_with(typed));
    found.extend(recordings(PathCompleter::any(), word));
    found
}

fn recordings(paths: PathCompleter, word: &OsStr) -> Vec<CompletionCandidate> {
    let is_named_so = |path: &Path| path.extension() == Some(OsStr::new("trec"));
    let mut found = paths.filter(is_named_so).complete(word);
    // Where nothing was typed yet, directories would hide the containers.
    found.retain(|path| !word.is_empty() || !path.get_value().as_encoded_bytes().ends_with(b"/"));
    found
}

/// Containers that runtimes on this machine run, as `tracer attach` takes them.
fn running() -> Vec<CompletionCandidate> {
    let found = Runtimes::default().running();
    candidates(
        found
            .into_iter()
            .flat_map(|Found { id, name, .. }| name.into_iter().chain([id])),
    )
}

/// A word of a container's choice may have spaces and worse in it, and would become a part of a command line.
fn candidates(words: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    let plain = |word: &String| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            && !word.starts_with('-')
    };
    let mut words: Vec<String> = words.filter(plain).collect();
    words.sort();
    words.dedup();
    words.into_iter().map(CompletionCandidate::new).collect()
}

/// The last name of an expression of `-e`: a call or a class of them.
fn calls(word: &OsStr) -> Vec<CompletionCandidate> {
    let Some(word) = word.to_str() else {
        return Vec::new();
    };
    let head = word.rfind([',', '=', '!']).map_or(0, |at| at + 1);
    let (before, typed) = word.split_at(head);
    let arch = decode::Options::native().arch;
    let calls = (0..0x400).filter_map(|nr| decode::name(arch, nr));
    let mut names: Vec<&str> = CLASSES
        .into_iter()
        .chain(calls)
        .filter(|name| name.starts_with(typed))
        .collect();
    names.sort_unstable();
    names
        .into_iter()
        .map(|name| CompletionCandidate::new(format!("{before}{name}")))
        .collect()
}

/// The daemon's directory as the line names it, else as the command would take it.
fn runtime_dir() -> PathBuf {
    const OPTION: &str = "--runtime-dir";
    let words: Vec<_> = env::args_os().skip_while(|word| word != "--").skip(1).collect();
    let apart = words.iter().position(|word| word == OPTION);
    let apart = apart.and_then(|at| words.get(at + 1)).cloned();
    let joined = || {
        words.iter().find_map(|word| {
            let value = word.to_str()?.strip_prefix(OPTION)?.strip_prefix('=')?;
            Some(value.into())
        })
    };
    apart
        .or_else(joined)
        .or_else(|| env::var_os(tracer_hook::RUNTIME_DIR_ENV))
        .unwrap_or_else(|| tracer_hook::DEFAULT_RUNTIME_DIR.into())
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(candidates: Vec<CompletionCandidate>) -> Vec<String> {
        let words = candidates.iter();
        words
            .map(|word| word.get_value().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn every_container_and_recording_is_completed() {
        fn check(command: &Command) {
            for arg in command.get_arguments() {
                let offers =
                    arg.get::<ArgValueCandidates>().is_some() || arg.get::<ArgValueCompleter>().is_some();
                let names = arg.get_value_names().unwrap_or_default();
                let is_one = names.iter().any(|name| name.contains("CONTAINER"));
                assert!(offers || !is_one, "{} of {}", arg.get_id(), command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&command());
    }

    #[test]
    fn of_files_recordings_are_offered() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["web.trec", "web.html", "other.trec"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        std::fs::create_dir(directory.path().join("webs")).unwrap();
        let of = |word: &str| {
            words(recordings(
                PathCompleter::any().current_dir(directory.path()),
                word.as_ref(),
            ))
        };
        assert_eq!(of("web"), ["web.trec", "webs/"]);
        assert_eq!(of(""), ["other.trec", "web.trec"]);
    }

    #[test]
    fn the_last_name_of_an_expression_is_completed() {
        assert_eq!(words(calls("sched_setsch".as_ref())), ["sched_setscheduler"]);
        assert_eq!(
            words(calls("trace=!openat,%net".as_ref())),
            ["trace=!openat,%network"]
        );
        assert_eq!(words(calls("!pidfd_g".as_ref())), ["!pidfd_getfd"]);
        assert!(calls("nothing_such".as_ref()).is_empty());
    }

    #[test]
    fn a_name_that_a_shell_would_read_otherwise_is_not_offered() {
        let names = [
            "web",
            "$(reboot)",
            "-rf",
            "a b",
            "web",
            "k8s_pod.1",
            "\u{1b}[2J",
            "",
        ];
        assert_eq!(
            words(candidates(names.map(str::to_owned).into_iter())),
            ["k8s_pod.1", "web"]
        );
    }
}
