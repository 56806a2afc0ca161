//! `tracer profile`: asks what a container did, or reads it out of a recording; reads and writes profiles.

use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
};

use anyhow::{Context, Result, anyhow, ensure};

use super::{INCOMPLETE, json_line};
use crate::{
    cli::{self, Format},
    client,
    control::Request,
    profile::{
        self, Form, Profile, Verdict,
        base::{self, Base},
    },
    recording::{self, Recording},
    report::{
        self, State, Stats,
        observed::{Arguments, Observed},
    },
    sinks::Phases,
};

pub(super) fn run(directory: &Path, arguments: cli::Profile) -> Result<u8> {
    match arguments {
        cli::Profile::Seccomp(arguments) => seccomp(directory, &arguments),
        cli::Profile::Capabilities(arguments) => super::caps::profile(directory, arguments),
        cli::Profile::Diff(cli::Diff { a, b, held }) => {
            let lines = read(&a, &held)?.differences(&read(&b, &held)?);
            let mut to = io::stdout().lock();
            for line in &lines {
                writeln!(to, "{line}")?;
            }
            Ok(if lines.is_empty() { 0 } else { INCOMPLETE })
        }
        cli::Profile::Check(arguments) => check(directory, &arguments),
        cli::Profile::Merge(arguments) => {
            let mut profiles = arguments.profiles.iter().map(|path| read(path, &arguments.held));
            let first = profiles.next().context("no profile was given")??;
            let joined = profiles.try_fold(first, |joined, next| {
                joined.merge(next?).map_err(anyhow::Error::msg)
            })?;
            write(&joined, arguments.output, "merged")?;
            Ok(0)
        }
    }
}

/// What a container did.
struct Did {
    app: Stats,
    seen: Arguments,
    /// Why the counts are not of the whole life of the container.
    partial: Option<String>,
}

/// What it did, as the daemon knows or a recording has it.
fn known(directory: &Path, word: &str) -> Result<Did> {
    if !recording::is_file(word) {
        return ask(directory, word);
    }
    let mut summaries = Recording::open(Path::new(word))?.summaries()?;
    let summary = summaries.pop().context("the recording has no books")?;
    ensure!(
        summaries.is_empty(),
        "{word}: it is of {} containers, and a profile is for one: record one alone (`tracer record CONTAINER`)",
        summaries.len() + 1
    );
    let seen = summary.arguments.with_context(|| {
        format!(
            "{word}: it has not what a profile is made from beside the counts: only a daemon keeps that, for `tracer record \
             CONTAINER` and its dumps"
        )
    })?;
    Ok(Did::of(summary.stats.app, seen, summary.verdict))
}

/// Asks. What was counted is asked for first: all of it is then among what was seen, unless it was lost.
fn ask(directory: &Path, container: &str) -> Result<Did> {
    let container = || container.to_owned();
    let app: Stats = client::ask(
        directory,
        &Request::Stats {
            container: container(),
            phases: Phases::App,
        },
    )?;
    let seen: Observed<Arguments> = client::ask(
        directory,
        &Request::Arguments {
            container: container(),
        },
    )?;
    let verdict: report::Verdict = client::ask(
        directory,
        &Request::Verify {
            container: container(),
        },
    )?;
    Ok(Did::of(app, seen.seen, verdict))
}

impl Did {
    fn of(app: Stats, seen: Arguments, verdict: report::Verdict) -> Self {
        let lost = &verdict.books.dropped;
        let partial = if verdict.round_trip_ns.is_none() || !verdict.away.is_empty() {
            verdict.reason
        } else if app.overflow > 0 {
            Some(format!("{} calls found no row in the counts", app.overflow))
        } else if lost.no_storage + lost.unpaired > 0 {
            Some(format!(
                "{} calls were not counted for want of kernel memory",
                lost.no_storage + lost.unpaired
            ))
        } else if verdict.state == State::Detached {
            Some("it was detached and goes on".to_owned())
        } else {
            None
        };
        Self { app, seen, partial }
    }
}

fn seccomp(directory: &Path, arguments: &cli::Seccomp) -> Result<u8> {
    let did = known(directory, &arguments.container)?;
    ensure!(
        !did.app.calls.is_empty(),
        "container {} has made no call yet: its application has not begun",
        did.app.container.id
    );
    ensure!(
        arguments.base != Base::Seen || did.seen.under_filter.is_some(),
        "what the runtime calls under a seccomp filter was not seen: run the container with one (podman's default is one), or leave --base out"
    );
    let made = profile::make(
        &did.app,
        &did.seen,
        &base::calls(
            arguments.base,
            did.seen.under_filter.as_deref().unwrap_or_default(),
        ),
    );
    for text in &made.notes {
        note(text);
    }
    if did.seen.full {
        note("it had more refused calls than are kept: some may be allowed for it");
    }
    if did.app.state == State::Live {
        note("the container still runs: what it has not called yet is not in the profile");
    }
    write(&made.profile, arguments.output, &did.app.container.name)?;
    Ok(ending(&did))
}

/// Says where the container was not seen from its beginning to its end.
fn ending(did: &Did) -> u8 {
    match &did.partial {
        Some(reason) => {
            note(&format!("what the container called is not known whole: {reason}"));
            INCOMPLETE
        }
        None => 0,
    }
}

fn check(directory: &Path, arguments: &cli::ProfileCheck) -> Result<u8> {
    let profile = read(&arguments.profile, &arguments.held)?;
    let did = known(directory, &arguments.container)?;
    let verdict = profile::check(&profile, &did.app, &did.seen);
    let mut to = io::stdout().lock();
    match arguments.output.output {
        Format::Json => json_line(&mut to, &verdict)?,
        Format::Text => print(&mut to, &verdict)?,
    }
    let code = ending(&did);
    Ok(if verdict.fits() { code } else { INCOMPLETE })
}

fn print(to: &mut impl Write, verdict: &Verdict) -> io::Result<()> {
    for (what, findings) in [("refused", &verdict.refused), ("undecided", &verdict.undecided)] {
        for finding in findings {
            let calls = match (finding.phase.as_str(), finding.calls) {
                ("app", 1) => "1 call".to_owned(),
                ("app", calls) => format!("{calls} calls"),
                _ => "by the runtime".to_owned(),
            };
            writeln!(
                to,
                "{what:<10} {:<24} {calls:<16} {}",
                finding.syscall, finding.answer
            )?;
        }
    }
    for arch in &verdict.architectures {
        writeln!(
            to,
            "{:<10} all calls of {arch}: the profile does not have it",
            "refused"
        )?;
    }
    if verdict.fits() {
        writeln!(
            to,
            "{:<10} the profile refuses nothing that the container did",
            "fits"
        )?;
    }
    writeln!(
        to,
        "{:<10} {} calls that the profile allows and the container has not made",
        "unused",
        verdict.unused.len()
    )
}

fn read(path: &Path, held: &cli::Held) -> Result<Profile> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(path)
    };
    let text = text.with_context(|| format!("read the profile {}", path.display()))?;
    let read =
        profile::read(&text, &held.capabilities).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    if read.needing_capabilities > 0 && held.capabilities.is_empty() {
        note(&format!(
            "{}: {} entries hold only with capabilities; name those of the container by --cap-add",
            path.display(),
            read.needing_capabilities
        ));
    }
    Ok(read.profile)
}

fn write(profile: &Profile, form: Form, name: &str) -> Result<()> {
    let text = profile::write(profile, form, name).map_err(anyhow::Error::msg)?;
    let mut to = io::stdout().lock();
    to.write_all(text.as_bytes())?;
    Ok(to.flush()?)
}

fn note(text: &str) {
    // Whoever closed standard error does not want it.
    let _closed = writeln!(io::stderr(), "tracer: {text}");
}
