//! One function a command: settings in, output and exit code out.

mod check;
mod print;

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    cli::{self, Cli, Command, Events, Format, Tuning},
    client,
    control::{Ended, Request},
    daemon, decode, node,
    report::{Line, Stats, Status, Verdict},
    run,
    sinks::{
        self, Output, Selection, Stream, json,
        text::{TextOptions, Timestamps},
    },
    source::kernel,
};

/// Finished, but events were lost or a sink failed; for `verify`: not complete.
pub const INCOMPLETE: u8 = 1;
/// Usage or set-up error.
pub const SETUP: u8 = 2;

/// Runs a command; returns the exit code.
///
/// # Errors
/// What keeps it from being done.
pub fn run(cli: Cli) -> Result<u8> {
    let directory = cli.runtime_dir;
    match cli.command {
        Command::Run(arguments) => run_command(arguments),
        Command::Daemon(arguments) => {
            let node = node_settings(&arguments.tuning, true);
            daemon::run(&daemon::Settings {
                runtime_dir: directory,
                node,
                linger: arguments.linger,
            })?;
            Ok(0)
        }
        Command::Tail(arguments) => tail(&directory, arguments),
        Command::Ps(arguments) => {
            let lines: Vec<Line> = client::ask(&directory, &Request::Ps)?;
            let mut to = io::stdout().lock();
            match arguments.output {
                Format::Json => lines.iter().try_for_each(|line| json_line(&mut to, line))?,
                Format::Text => print::ps(&mut to, &lines)?,
            }
            Ok(0)
        }
        Command::Stats(arguments) => {
            let stats: Stats = client::ask(
                &directory,
                &Request::Stats {
                    container: arguments.container,
                },
            )?;
            let mut to = io::stdout().lock();
            match arguments.output.output {
                Format::Json => json_line(&mut to, &stats)?,
                Format::Text => print::stats(&mut to, &stats)?,
            }
            Ok(0)
        }
        Command::Verify(arguments) => {
            let verdict: Verdict = client::ask(
                &directory,
                &Request::Verify {
                    container: arguments.container,
                },
            )?;
            let mut to = io::stdout().lock();
            match arguments.output.output {
                Format::Json => json_line(&mut to, &verdict)?,
                Format::Text => print::verify(&mut to, &verdict)?,
            }
            Ok(if verdict.complete { 0 } else { INCOMPLETE })
        }
        Command::Status(arguments) => {
            let status: Status = client::ask(&directory, &Request::Status)?;
            let mut to = io::stdout().lock();
            match arguments.output {
                Format::Json => json_line(&mut to, &status)?,
                Format::Text => print::status(&mut to, &status)?,
            }
            Ok(0)
        }
        Command::Check(arguments) => check::check(arguments.output == Format::Json),
        Command::Schema => {
            io::stdout().lock().write_all(json::SCHEMA.as_bytes())?;
            Ok(0)
        }
    }
}

fn json_line(to: &mut impl Write, value: &impl Serialize) -> Result<()> {
    serde_json::to_writer(&mut *to, value)?;
    Ok(to.write_all(b"\n")?)
}

fn node_settings(tuning: &Tuning, keep_history: bool) -> node::Settings {
    node::Settings {
        kernel: kernel::Options {
            ring_bytes: tuning.ring_size,
            ..kernel::Options::default()
        },
        decode: decode::Options {
            limits: decode::Limits {
                string: tuning.strings,
                ..decode::Limits::default()
            },
            ..decode::Options::native()
        },
        keep_history,
    }
}

fn format(events: &Events) -> sinks::Format {
    match events.output.output {
        Format::Json => sinks::Format::Json,
        Format::Text => sinks::Format::Text(text_options(events)),
    }
}

fn text_options(events: &Events) -> TextOptions {
    let timestamps = match (events.relative, events.time) {
        (true, _) => Timestamps::Relative { previous_ns: 0 },
        (false, 0) => Timestamps::None,
        (false, 1) => Timestamps::Time,
        (false, 2) => Timestamps::Micros,
        (false, _) => Timestamps::Epoch,
    };
    TextOptions {
        timestamps,
        show_processes: events.lifecycle,
        show_containers: events.lifecycle,
        ..TextOptions::default()
    }
}

/// Where the events go: the file, or what stands for it.
fn writer(events: &Events, default: impl Write + Send + 'static) -> Result<Box<dyn Write + Send>> {
    Ok(match events.write.as_deref() {
        None => Box::new(default),
        Some(path) if path == Path::new("-") => Box::new(io::stdout()),
        Some(path) => {
            let file =
                File::create(path).with_context(|| format!("open {} to write events", path.display()))?;
            Box::new(BufWriter::with_capacity(256 * 1024, file))
        }
    })
}

fn run_command(arguments: cli::Run) -> Result<u8> {
    let settings = run::Settings {
        command: arguments.command,
        rootfs: arguments.rootfs,
        node: node_settings(&arguments.tuning, false),
    };
    // Opened before anything runs: a bad path fails in the first moment.
    let to = writer(&arguments.events, io::stderr())?;
    let stats = arguments.stats.as_deref().map(create).transpose()?;
    let books = arguments.verify.as_deref().map(create).transpose()?;
    let events = &arguments.events;
    let outcome = run::run(&settings, |id| {
        let selection = Selection {
            phases: events.phase,
            ..Selection::default()
        };
        Ok(Output::new(
            id,
            "events",
            selection,
            format(events),
            Box::new(Stream(to)),
        ))
    })?;
    if let Some(mut file) = stats {
        json_line(&mut file, &outcome.stats).context("write the counts")?;
    }
    if let Some(mut file) = books {
        json_line(&mut file, &outcome.verdict).context("write the books")?;
    }
    if let Some(reason) = &outcome.verdict.reason {
        // The command may have closed our standard error.
        let _closed = writeln!(io::stderr(), "tracer: the trace is not complete: {reason}");
        return Ok(if outcome.code == 0 {
            INCOMPLETE
        } else {
            outcome.code
        });
    }
    Ok(outcome.code)
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("open {}", path.display()))
}

fn tail(directory: &Path, arguments: cli::Tail) -> Result<u8> {
    let events = &arguments.events;
    let mut to = writer(events, io::stdout())?;
    let request = crate::control::Tail {
        containers: arguments.containers,
        phases: events.phase,
        json: events.output.output == Format::Json,
        text: text_options(events),
        since_start: arguments.since_start,
        until_gone: arguments.until_gone,
    };
    let ended = client::tail(directory, request, &mut to, |word| {
        let _closed = writeln!(io::stderr(), "tracer: waiting for container {word}");
    })?;
    to.flush()?;
    match ended {
        Some(Ended { dropped: 0, lost: 0 }) => Ok(0),
        Some(Ended { dropped, lost }) => {
            let _closed = writeln!(
                io::stderr(),
                "tracer: {lost} events were lost, {dropped} dropped for this tail"
            );
            Ok(INCOMPLETE)
        }
        None => {
            let _closed = writeln!(io::stderr(), "tracer: the daemon has ended");
            Ok(INCOMPLETE)
        }
    }
}
