//! One function a command: settings in, output and exit code out.

mod caps;
mod check;
mod config;
mod dentry;
mod explain;
mod export;
mod hook;
mod man;
mod page;
mod print;
mod profile;
mod record;
mod stats;
mod top;

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    cli::{self, Cli, Command, Events, Format, Tuning},
    client, complete,
    control::{Ended, Request},
    daemon, decode,
    filter::{Begin, Filter, Words},
    freezer::guard,
    node, nri,
    quota::Limits,
    recording::{self, Bounds, Recording, Summary},
    registry::Mode,
    report::{Attached, Audited, Line, Status, Verdict, summary},
    run,
    sinks::{
        self, Output, Phases, Selection, Shared, Sink, Stream, json,
        text::{TextOptions, Timestamps},
        tree::Tree,
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
            daemon::run(&daemon::Settings {
                runtime_dir: directory,
                load: Box::new(move || config::load(&arguments)),
            })?;
            Ok(0)
        }
        Command::Config(arguments) => config::run(arguments),
        Command::Nri(arguments) => match nri::run(&nri::Settings {
            socket: arguments.socket,
            name: arguments.name,
            index: arguments.index,
            hook: arguments.hook,
            runtime_dir: directory,
            pod_uid: arguments.pod_uid,
        })? {},
        Command::Tail(arguments) => tail(&directory, arguments),
        Command::Record(arguments) => record::run(&directory, arguments),
        Command::Replay(arguments) => record::replay(arguments),
        Command::Dump(arguments) => record::dump(&directory, arguments),
        Command::Export(arguments) => export::run(&directory, arguments),
        Command::Report(arguments) => page::run(&directory, &arguments),
        Command::Ps(arguments) => {
            let lines: Vec<Line> = client::ask(
                &directory,
                &Request::Ps {
                    select: arguments.select.of(arguments.containers),
                },
            )?;
            let mut to = io::stdout().lock();
            match arguments.output.output {
                Format::Json => lines.iter().try_for_each(|line| json_line(&mut to, line))?,
                Format::Text => {
                    let width = print::fit(&to);
                    print::ps(&mut to, &lines, width)?;
                }
            }
            Ok(0)
        }
        Command::Stats(arguments) => stats::run(&directory, arguments),
        Command::Top(arguments) => top::run(&directory, arguments),
        Command::Dentry(arguments) => dentry::run(&directory, arguments),
        Command::Profile(arguments) => profile::run(&directory, arguments),
        Command::Explain(arguments) => explain::run(&directory, arguments),
        Command::Caps(arguments) => caps::run(&directory, arguments),
        Command::Attach(arguments) => {
            let attached: Attached = client::ask(
                &directory,
                &Request::Attach {
                    container: arguments.container,
                    name: arguments.name,
                },
            )?;
            let mut to = io::stdout().lock();
            match arguments.output.output {
                Format::Json => json_line(&mut to, &attached)?,
                Format::Text => print::folded(&mut to, 0, |to| print::attached(to, &attached))?,
            }
            Ok(0)
        }
        Command::Detach(arguments) => {
            let verdict: Verdict = client::ask(
                &directory,
                &Request::Detach {
                    container: arguments.container,
                },
            )?;
            let mut to = io::stdout().lock();
            match arguments.output.output {
                Format::Json => json_line(&mut to, &verdict)?,
                Format::Text => print::folded(&mut to, print::INDENT, |to| print::verify(to, &verdict))?,
            }
            // That it is not complete was wanted.
            Ok(if verdict.lost == 0 { 0 } else { INCOMPLETE })
        }
        Command::Audit(arguments) => {
            let audited: Audited = client::ask(&directory, &Request::Audit)?;
            let found = &audited.unregistered;
            let mut to = io::stdout().lock();
            match arguments.output {
                Format::Json => found.iter().try_for_each(|line| json_line(&mut to, line))?,
                Format::Text => print::folded(&mut to, print::INDENT, |to| print::audited(to, &audited))?,
            }
            Ok(if found.is_empty() { 0 } else { INCOMPLETE })
        }
        Command::Verify(arguments) => {
            let request = Request::Verify {
                container: arguments.container.clone(),
            };
            let all = told(&directory, &arguments.container, &request, |summary| {
                summary.verdict
            })?;
            let mut to = io::stdout().lock();
            for verdict in &all {
                match arguments.output.output {
                    Format::Json => json_line(&mut to, verdict)?,
                    Format::Text => print::folded(&mut to, print::INDENT, |to| print::verify(to, verdict))?,
                }
            }
            let complete = all.iter().all(|verdict| verdict.complete);
            Ok(if complete { 0 } else { INCOMPLETE })
        }
        Command::Status(arguments) => {
            let status: Status = client::ask(&directory, &Request::Status)?;
            let mut to = io::stdout().lock();
            match arguments.output {
                Format::Json => json_line(&mut to, &status)?,
                Format::Text => print::folded(&mut to, print::INDENT, |to| print::status(to, &status))?,
            }
            Ok(0)
        }
        Command::Check(arguments) => check::run(&directory, &arguments),
        Command::Hook(arguments) => hook::run(&directory, arguments),
        Command::ThawWhenGone => {
            guard::run()?;
            Ok(0)
        }
        Command::Man(arguments) => man::run(arguments),
        Command::Completions(arguments) => {
            complete::script(arguments.shell, &mut io::stdout().lock())?;
            Ok(0)
        }
        Command::Schema => {
            io::stdout().lock().write_all(json::SCHEMA.as_bytes())?;
            Ok(0)
        }
    }
}

/// What is known of a container: as the daemon answers, or of each that a recording has books of.
fn told<T: DeserializeOwned>(
    directory: &Path,
    word: &str,
    request: &Request,
    of: impl Fn(Summary) -> T,
) -> Result<Vec<T>> {
    if recording::is_file(word) {
        let summaries = Recording::open(Path::new(word))?.summaries()?;
        return Ok(summaries.into_iter().map(of).collect());
    }
    Ok(vec![client::ask(directory, request)?])
}

fn json_line(to: &mut impl Write, value: &impl Serialize) -> Result<()> {
    serde_json::to_writer(&mut *to, value)?;
    Ok(to.write_all(b"\n")?)
}

fn node_settings(tuning: &Tuning, hold: Option<Bounds>) -> node::Settings {
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
        mode: tuning.mode.into(),
        hold,
        watch: None,
        limits: Limits::default(),
        explain: hold.is_some(),
        lossless: tuning.lossless,
    }
}

fn format(events: &Events, stream: &impl IsTerminal) -> sinks::Format {
    match events.output.output {
        _ if events.look.tree => sinks::Format::Tree(Tree::default()),
        Format::Json => sinks::Format::Json(events.descriptors()),
        Format::Text => sinks::Format::Text(text_options(events, stream)),
    }
}

/// How lines look that go to the file of `-w`, or to that stream.
fn text_options(events: &Events, stream: &impl IsTerminal) -> TextOptions {
    let look = &events.look;
    let color = match events.write.as_deref() {
        None => look.color.on(stream),
        Some(path) if path == Path::new("-") => look.color.on(&io::stdout()),
        Some(_) => false,
    };
    let columns = look
        .columns
        .map(|columns| if columns == 0 { print::width() } else { columns });
    let timestamps = match (events.relative, events.time) {
        (true, _) => Timestamps::Relative { previous_ns: 0 },
        (false, 0) => Timestamps::None,
        (false, 1) => Timestamps::Time,
        (false, 2) => Timestamps::Micros,
        (false, _) => Timestamps::Epoch,
    };
    TextOptions {
        timestamps,
        show_duration: events.shows_durations(),
        color,
        columns,
        descriptors: events.descriptors(),
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
            Box::new(BufWriter::with_capacity(256 * 1024, Named(file, path.to_owned())))
        }
    })
}

/// A file whose errors say which it is.
struct Named(File, PathBuf);

impl Named {
    fn told(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("write to {}: {error}", self.1.display()))
    }
}

impl Write for Named {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(|error| self.told(&error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(|error| self.told(&error))
    }
}

/// Reads the filter here too, so that a wrong word is told before anything runs.
fn filter(words: &Words) -> Result<Filter> {
    Filter::new(words, decode::Options::native().arch).map_err(anyhow::Error::msg)
}

/// A tree is text, not events.
fn check_tree(events: &Events) -> Result<()> {
    ensure!(
        !events.look.tree || events.output.output == Format::Text,
        "--tree has no JSON: leave out one of --tree and -o json"
    );
    Ok(())
}

fn run_command(arguments: cli::Run) -> Result<u8> {
    if let Some(option) = arguments
        .command
        .first()
        .filter(|word| word.as_encoded_bytes().starts_with(b"-"))
    {
        bail!(
            "run has no option {}; `tracer run --help` lists them",
            option.display()
        );
    }
    check_tree(&arguments.events)?;
    let mut words = arguments.events.words();
    if arguments.summary_only || arguments.summary_too || arguments.stats.is_some() {
        // The table has the times of all calls.
        words.begin = Begin::Whole;
    } else if arguments.record.is_some() && words.begin == Begin::Nothing {
        words.begin = Begin::Time;
    }
    let filter = filter(&words)?;
    let asked = filter.clone();
    let mut node = node_settings(&arguments.tuning, None);
    let tree = arguments.events.look.tree;
    ensure!(
        !(tree && node.mode == Mode::Counts),
        "--tree is made of events, and --mode counts has none: leave out one of them"
    );
    let summary_only = arguments.summary_only || node.mode == Mode::Counts;
    ensure!(
        !(arguments.record.is_some() && summary_only),
        "--record takes events, and there are none with -c or --mode counts: leave out one of them"
    );
    ensure!(
        !(arguments.events.explain && (summary_only || tree)),
        "--explain stands under the calls that failed: leave out -c, --tree and --mode counts"
    );
    // A recording has the diagnoses too.
    node.explain = arguments.events.explain || arguments.record.is_some();
    if summary_only && !tree && node.mode == Mode::Full {
        // The counts need no event.
        node.mode = Mode::TimedCounts;
    }
    let untimed = !matches!(node.mode, Mode::Full | Mode::TimedCounts);
    ensure!(
        !untimed || arguments.events.filter.min_duration.is_none(),
        "--min-duration needs durations: leave it or --mode out"
    );
    let settings = run::Settings {
        command: arguments.start.of(arguments.command),
        phases: arguments.events.phase,
        node,
    };
    // Opened before anything runs: a bad path fails in the first moment.
    let to = Shared::new(writer(&arguments.events, io::stderr())?);
    let mut summary_to = to.clone();
    let stats = arguments.stats.as_deref().map(create).transpose()?;
    let books = arguments.verify.as_deref().map(create).transpose()?;
    let recording = arguments.record.as_deref().map(record::create).transpose()?;
    let events = &arguments.events;
    let mut outcome = run::run(&settings, |node| {
        let recording = recording.map(|to| {
            let selection = Selection {
                phases: Phases::All,
                filter: filter.clone(),
                explain: true,
                ..Selection::default()
            };
            record::output(node, selection, events.descriptors(), to)
        });
        let selection = Selection {
            phases: events.phase,
            filter,
            explain: events.explain,
            ..Selection::default()
        };
        let sink: Box<dyn Sink> = if summary_only && !tree {
            Box::new(Stream(io::sink()))
        } else {
            Box::new(Stream(to))
        };
        let shown = Output::new(
            node.output_id(),
            "events",
            selection,
            format(events, &io::stderr()),
            sink,
        );
        Ok(std::iter::once(shown).chain(recording).collect())
    })?;
    if let Some(mut file) = stats {
        json_line(&mut file, &outcome.stats).context("write the counts")?;
    }
    if let Some(mut file) = books {
        json_line(&mut file, &outcome.verdict).context("write the books")?;
    }
    if summary_only || arguments.summary_too {
        // The kernel side counts all; the table has what was asked for, as strace's.
        let compat = decode::compat_of(decode::Options::native().arch).name();
        outcome
            .stats
            .calls
            .retain(|row| asked.takes_number(row.nr, row.arch == compat));
        let default = if untimed {
            summary::Columns::untimed
        } else {
            summary::Columns::strace
        };
        let columns = arguments.summary.columns.unwrap_or_else(default);
        let width = match events.write.as_deref() {
            None => print::fit(&io::stderr()),
            Some(path) if path == Path::new("-") => print::fit(&io::stdout()),
            Some(_) => None,
        };
        let written = if events.output.output == Format::Json {
            json_line(&mut summary_to, &outcome.stats)
        } else {
            Ok(summary::write(
                &mut summary_to,
                &outcome.stats,
                &columns,
                arguments.summary.sort,
                width,
            )?)
        };
        let written = written.and_then(|()| Ok(summary_to.flush()?));
        if let Err(error) = written
            && !node::is_broken_pipe(&error)
        {
            return Err(error.context("write the counts"));
        }
    }
    if arguments.caps {
        let written = if events.output.output == Format::Json {
            json_line(&mut summary_to, &outcome.capabilities)
        } else {
            Ok(caps::write(&mut summary_to, &outcome.capabilities)?)
        };
        let written = written.and_then(|()| Ok(summary_to.flush()?));
        if let Err(error) = written
            && !node::is_broken_pipe(&error)
        {
            return Err(error.context("write the capabilities"));
        }
    }
    // The counts lose nothing with the events.
    let shown = !summary_only || tree || !outcome.verdict.counts_are_whole();
    Ok(code_of(&outcome, shown))
}

/// The command's exit code, or that its trace is not complete, which is told.
fn code_of(outcome: &run::Outcome, told: bool) -> u8 {
    if let Some(reason) = outcome.verdict.reason.as_ref().filter(|_| told) {
        // The command may have closed our standard error.
        let _closed = writeln!(io::stderr(), "tracer: the trace is not complete: {reason}");
        if outcome.code == 0 {
            return INCOMPLETE;
        }
    }
    outcome.code
}

fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("open {}", path.display()))
}

fn tail(directory: &Path, arguments: cli::Tail) -> Result<u8> {
    let events = &arguments.events;
    check_tree(events)?;
    let words = events.words();
    filter(&words)?;
    let mut to = writer(events, io::stdout())?;
    let mut text = text_options(events, &io::stdout());
    text.show_container = arguments.containers.len() != 1;
    let request = crate::control::Tail {
        explain: events.explain,
        select: arguments.select.of(arguments.containers),
        phases: events.phase,
        json: events.output.output == Format::Json,
        tree: events.look.tree,
        recording: false,
        text,
        // A tree has its beginning and its end.
        since_start: arguments.since_start || events.look.tree,
        until_gone: arguments.until_gone || events.look.tree,
        filter: words,
    };
    let ended = client::tail(directory, request, &mut to, |word| {
        let _closed = writeln!(io::stderr(), "tracer: waiting for container {word}");
    })?;
    to.flush()?;
    Ok(end_of_tail(ended))
}

/// Tells what a subscription lost.
fn end_of_tail(ended: Option<Ended>) -> u8 {
    let told = match ended {
        Some(Ended { dropped: 0, lost: 0 }) => return 0,
        Some(Ended { dropped, lost }) => {
            format!("{lost} events were lost, {dropped} dropped for this tail")
        }
        None => "the daemon has ended".to_owned(),
    };
    let _closed = writeln!(io::stderr(), "tracer: {told}");
    INCOMPLETE
}
