//! `tracer-hook`: what an OCI runtime runs when it creates or deletes a container (`docs/hook.md`).
//!
//! It wires the library's parts in order (state, gate, identity, registration) and owns the failure policy: whatever
//! goes wrong, a panic included, is one line on standard error and, unless the policy says block, exit status 0.

mod args;
mod runtime;

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
    process::{self, ExitCode},
    time::{Duration, Instant, SystemTime},
};

use args::{Command, OnFailure, Options, Stage};
use tracer_hook::{
    RUNTIME_DIR_ENV, annotations,
    client::{self, RegisterError, Registration},
    identity::{Init, Numbers},
    missed::{self, Marker},
    protocol, records,
    state::{self, State},
};

/// Time for poststop: the container is over, and the daemon sees its end by the pidfd anyway.
const POSTSTOP_TIMEOUT: Duration = Duration::from_millis(200);

/// Characters of a line on standard error: some runtimes put it into their own error message.
const MAX_LINE: usize = 1000;

fn main() -> ExitCode {
    let started = Instant::now();
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    if let Some((first, rest)) = words.split_first()
        && first == "runtime"
    {
        process::exit(runtime::run(rest));
    }
    let on_failure = args::on_failure(&words);
    std::panic::set_hook(Box::new(move |info| {
        say(&format!(
            "container is not traced: hook has a bug, please report it: {info}"
        ));
        process::exit(status(on_failure));
    }));

    let command = args::parse(&words, env::var_os(RUNTIME_DIR_ENV));
    match command {
        Ok(Command::Help) => print(args::HELP),
        Ok(Command::Version) => print(concat!("tracer-hook ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::Run(options)) => {
            let deadline = started + options.timeout;
            // To its end, even where nothing else is done: the runtime is writing it.
            let state = state::read(io::stdin(), deadline).and_then(|text| state::parse(&text));
            match state {
                Ok(state) => run(&state, &options, deadline, on_failure),
                Err(error) => fail(&format!("container is not traced: {error}"), on_failure),
            }
        }
        Err(error) => {
            state::read(io::stdin(), started + Duration::from_secs(1)).ok();
            fail(&format!("container is not traced: {error}"), on_failure)
        }
    }
}

fn run(state: &State, options: &Options, deadline: Instant, on_failure: OnFailure) -> ExitCode {
    if !options.all && !annotations::asks_for_trace(&state.annotations) {
        return ExitCode::SUCCESS;
    }
    // Nothing of the user's runs there, and each Pod has one.
    if !options.sandboxes && annotations::is_sandbox(&state.annotations) {
        return ExitCode::SUCCESS;
    }
    let by_status = if state.status == "stopped" {
        Stage::Poststop
    } else {
        Stage::Register
    };
    match options.stage.unwrap_or(by_status) {
        Stage::Register => register(state, options, deadline, on_failure),
        Stage::Poststop => {
            let deadline = deadline.min(Instant::now() + POSTSTOP_TIMEOUT);
            match gone(state, options, deadline) {
                // No daemon, nothing to tell: that the container was missed was said when it started.
                Ok(()) | Err(Failure::Daemon(RegisterError::NoDaemon(..))) => ExitCode::SUCCESS,
                Err(why) => fail(
                    &format!("container {}: end was not told: {why}", state.id),
                    OnFailure::Continue,
                ),
            }
        }
    }
}

/// Registers the container. A failure is told; where the container starts all the same, a marker says so too.
fn register(state: &State, options: &Options, deadline: Instant, on_failure: OnFailure) -> ExitCode {
    let mut known = state.annotations.clone();
    records::add(state, &mut known);
    if !options.sandboxes && annotations::is_sandbox(&known) {
        return ExitCode::SUCCESS;
    }
    let useful = annotations::useful(&known);
    let mut numbers = None;
    let registered = check(state).and_then(|()| {
        let registration = Registration {
            id: state.id.clone(),
            bundle: state.bundle.clone(),
            annotations: useful.clone(),
            late: false,
            init: Init::open(state.pid).map_err(Failure::Identity)?,
        };
        client::register(
            &tracer_hook::socket_path(&options.runtime_dir),
            &registration,
            deadline,
        )
        .map_err(|error| {
            numbers = registration.init.numbers(state.pid);
            Failure::Daemon(error)
        })
    });
    let why = match registered {
        Ok(_receipt) => return ExitCode::SUCCESS,
        Err(why) => why,
    };
    let mut line = format!("{} is not traced: {why}", name(&state.id));
    if on_failure == OnFailure::Continue && why.leaves_a_marker() {
        match leave_marker(state, options, useful, &why, numbers) {
            Ok(path) => line.push_str(&format!("; noted in {}", path.display())),
            Err(error) => line.push_str(&format!("; not noted for the daemon ({error})")),
        }
    }
    fail(&line, on_failure)
}

fn gone(state: &State, options: &Options, deadline: Instant) -> Result<(), Failure> {
    check(state)?;
    client::gone(
        &tracer_hook::socket_path(&options.runtime_dir),
        &state.id,
        deadline,
    )
    .map_err(Failure::Daemon)
}

fn check(state: &State) -> Result<(), Failure> {
    protocol::check_id(&state.id).map_err(Failure::Id)?;
    protocol::check_bundle(&state.bundle).map_err(Failure::Bundle)
}

fn leave_marker(
    state: &State,
    options: &Options,
    annotations: std::collections::BTreeMap<String, String>,
    why: &Failure,
    numbers: Option<Numbers>,
) -> io::Result<PathBuf> {
    if !rustix::process::geteuid().is_root() {
        return Err(io::Error::other("only root leaves a marker"));
    }
    let marker = Marker {
        v: missed::VERSION,
        id: state.id.clone(),
        bundle: state.bundle.clone(),
        reason: one_line(&why.to_string()),
        time: missed::timestamp(SystemTime::now()),
        annotations,
        pid: state.pid,
        pid_start: numbers.map(|n| n.pid_start),
        pid_ns: numbers.map(|n| n.pid_ns),
        mnt_ns: numbers.map(|n| n.mnt_ns),
        ..Marker::default()
    };
    missed::write(&options.runtime_dir, &marker)
}

/// Why a container that asks to be traced is not.
#[derive(Debug)]
enum Failure {
    Id(protocol::IdError),
    Bundle(protocol::ProtocolError),
    Identity(tracer_hook::identity::IdentityError),
    Daemon(RegisterError),
}

impl Failure {
    /// Not for an id or a bundle that a marker cannot hold either, nor for what the daemon has refused: it knows.
    fn leaves_a_marker(&self) -> bool {
        matches!(self, Self::Identity(_) | Self::Daemon(_))
            && !matches!(self, Self::Daemon(RegisterError::Refused(_)))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(error) => error.fmt(f),
            Self::Bundle(error) => error.fmt(f),
            Self::Identity(error) => error.fmt(f),
            Self::Daemon(error) => error.fmt(f),
        }
    }
}

/// A container in a line on standard error, where the id must leave room for the reason.
fn name(id: &str) -> String {
    const LONGEST: usize = 64; // what podman, containerd and Docker generate
    match id.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("container {}…", id.get(..end).unwrap_or_default()),
        None if id.is_empty() => "container".into(),
        None => format!("container {id}"),
    }
}

fn fail(line: &str, on_failure: OnFailure) -> ExitCode {
    say(line);
    if status(on_failure) == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn status(on_failure: OnFailure) -> i32 {
    match on_failure {
        OnFailure::Continue => 0,
        OnFailure::Block => 1,
    }
}

/// One line on standard error, in one write. Nobody may be reading; that is no failure of the hook.
fn say(text: &str) {
    io::stderr()
        .write_all(format!("tracer-hook: {}\n", one_line(text)).as_bytes())
        .ok();
}

fn print(text: &str) -> ExitCode {
    io::stdout().write_all(text.as_bytes()).ok();
    ExitCode::SUCCESS
}

/// Text that is one line of at most [`MAX_LINE`] characters and harmless to a terminal: parts of it came from a
/// container's maker or over the socket.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == MAX_LINE {
            line.push('…');
            break;
        }
        match c {
            // Bidirectional controls, zero-width characters, line and paragraph separators.
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{61c}'
            | '\u{feff}' => {
                line.extend(c.escape_unicode());
            }
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(
            one_line("a\nb\u{1b}[2J\u{9b}\u{202e}é"),
            "a\\nb\\u{1b}[2J\\u{9b}\\u{202e}é"
        );
        assert_eq!(one_line(&"x".repeat(2000)).chars().count(), 1001);
    }
}
