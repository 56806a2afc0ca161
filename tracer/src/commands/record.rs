//! `tracer record`, `replay` and `dump`: recordings from the daemon or of a command, and back to text.

use std::{
    io::{self, IsTerminal, Write},
    os::unix::fs::MetadataExt,
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    INCOMPLETE, Named, check_tree, code_of, end_of_tail, explain::Story, filter, format, json_line,
    node_settings, print, writer,
};
use crate::{
    cli::{self, Format},
    client,
    control::{Request, Tail},
    decode,
    event::{Body, Descriptors},
    filter::Filter,
    node::{Node, is_broken_pipe},
    recording::{self, Draft, Entry, Kept, Recording},
    registry::Mode,
    report::{Names, State, counted::Counted, summary},
    run,
    sinks::{self, Output, Selection, Shared, Stream, text::TextOptions},
};

/// Rendered events are handed on after so many.
const FLUSH: usize = 512;

/// Where a recording goes.
pub(super) type Target = recording::Writer<Box<dyn Write + Send>>;

/// Opens the file of a recording; `-` is standard output.
pub(super) fn create(path: &Path) -> Result<Target> {
    if path == Path::new("-") {
        ensure!(
            !io::stdout().is_terminal(),
            "a recording is no text: give -w FILE, or send standard output somewhere"
        );
        return Ok(recording::Writer::new(Box::new(io::stdout())));
    }
    let file =
        recording::create(path).with_context(|| format!("open {} to record events", path.display()))?;
    Ok(recording::Writer::new(Box::new(Named(file, path.to_owned()))))
}

/// A recording as a sink of a node.
pub(super) fn output(node: &Node, selection: Selection, descriptors: Descriptors, to: Target) -> Output {
    let draft = Box::new(Draft::new(node.origin()));
    Output::new(
        node.output_id(),
        "recording",
        selection,
        sinks::Format::Recording(draft, descriptors),
        Box::new(to),
    )
}

pub(super) fn run(directory: &Path, arguments: cli::Record) -> Result<u8> {
    let words = arguments.words();
    let filter = filter(&words)?;
    if !arguments.command.is_empty() {
        return of_command(arguments, filter);
    }
    let mut to = create(&arguments.write)?;
    let text = TextOptions {
        descriptors: arguments.descriptors(),
        ..TextOptions::default()
    };
    let request = Tail {
        explain: true,
        select: arguments.select.of(arguments.containers),
        phases: arguments.phase,
        json: false,
        tree: false,
        recording: true,
        text,
        since_start: arguments.since_start,
        until_gone: arguments.until_gone,
        filter: words,
    };
    let ended = client::tail(directory, request, &mut to, |word| {
        let _closed = writeln!(io::stderr(), "tracer: waiting for container {word}");
    })?;
    to.finish().context("end the recording")?;
    Ok(end_of_tail(ended))
}

fn of_command(arguments: cli::Record, filter: Filter) -> Result<u8> {
    let mut node = node_settings(&arguments.tuning, None);
    ensure!(
        node.mode != Mode::Counts,
        "--mode counts takes no events: there is nothing to record"
    );
    node.explain = true;
    let to = create(&arguments.write)?;
    let descriptors = arguments.descriptors();
    let phases = arguments.phase;
    let settings = run::Settings {
        command: arguments.start.of(arguments.command),
        phases,
        node,
    };
    let outcome = run::run(&settings, |node| {
        let selection = Selection {
            phases,
            filter,
            explain: true,
            ..Selection::default()
        };
        Ok(vec![output(node, selection, descriptors, to)])
    })?;
    Ok(code_of(&outcome, true))
}

pub(super) fn replay(arguments: cli::Replay) -> Result<u8> {
    let events = &arguments.events;
    check_tree(events)?;
    let filter = filter(&events.words())?;
    let select = arguments.select.of(arguments.containers);
    if let Some(path) = events
        .write
        .as_deref()
        .filter(|_| is_same(&arguments.file, events.write.as_deref()))
    {
        bail!(
            "{} is the recording itself: write to another file",
            path.display()
        );
    }
    let mut recording = Recording::open(&arguments.file)?.within(&arguments.stretch.into())?;
    if let Some(most) = arguments.strings {
        recording = recording.strings(most);
    }
    let to = Shared::new(writer(events, io::stdout())?);
    let mut summary_to = to.clone();
    let selection = Selection {
        phases: events.phase,
        select,
        filter,
        explain: events.explain,
        ..Selection::default()
    };
    let look = format(events, &io::stdout());
    let shows = !arguments.summary_only || events.look.tree;
    let counts = arguments.summary_only || arguments.summary_too;
    let mut counted = None;
    let mut names = Vec::new();
    let mut shown = Output::new(0, "replay", selection.clone(), look, Box::new(Stream(to)));
    let mut story = events.explain.then(Story::new).transpose()?;
    let mut first = None;
    let (mut lost, mut seen) = (0, 0);
    let mut closed = false;
    while let Some(entry) = recording.entry()? {
        if let Some(story) = &mut story {
            story.take(&entry);
        }
        let Entry::Event(number, event) = entry else {
            continue;
        };
        // Of one container it is clear whose the lines are.
        if selection.select.words.len() != 1
            && selection.takes_container(&event.container)
            && *first.get_or_insert(number) != number
        {
            shown.show_containers();
        }
        if let Body::Loss(loss) = &event.body
            && selection.takes(&event)
        {
            lost += loss.count;
        }
        if counts
            && let Body::Syscall(call) = &event.body
            && selection.takes(&event)
        {
            let native = recording
                .origin()
                .map_or(decode::Options::native().arch, |origin| origin.arch);
            counted.get_or_insert_with(|| Counted::none(native)).take(call);
            if !names.iter().any(|known: &Names| known.id == event.container.id) {
                names.push(Names::from(&*event.container));
            }
        }
        if shows {
            shown.take(number, &event, recording.raw(), None);
            seen += 1;
            if seen % FLUSH == 0 {
                shown.flush();
                if shown.has_failed() {
                    closed = true;
                    break;
                }
            }
        }
    }
    // What nobody explained when it happened.
    for event in story.map(Story::not_told).unwrap_or_default() {
        shown.take(u16::MAX, &event, None, None);
    }
    shown.finish().context("write the events")?;
    // Nobody reads on: what the rest of the recording lacks was not asked.
    if closed {
        return Ok(0);
    }
    if let Some(counted) = counted.filter(|_| counts) {
        let names = match names.as_slice() {
            [one] => one.clone(),
            _ => Names::default(),
        };
        let stats = counted.stats(names, State::Gone, events.phase);
        let written = if events.output.output == Format::Json {
            json_line(&mut summary_to, &stats)
        } else {
            let columns = arguments.summary.columns.unwrap_or_else(summary::Columns::strace);
            let width = match events.write {
                None => print::fit(&io::stdout()),
                Some(_) => None,
            };
            Ok(summary::write(
                &mut summary_to,
                &stats,
                &columns,
                arguments.summary.sort,
                width,
            )?)
        };
        let written = written.and_then(|()| Ok(summary_to.flush()?));
        if let Err(error) = written
            && !is_broken_pipe(&error)
        {
            return Err(error.context("write the counts"));
        }
    }
    Ok(what_is_missing(&recording, lost))
}

/// Tells what a recording that was read to its end lacks, and how many events had been lost before; gives the exit code.
pub(super) fn what_is_missing(recording: &Recording, lost: u64) -> u8 {
    let damage = recording.damage();
    if lost > 0 {
        let _closed = writeln!(
            io::stderr(),
            "tracer: {lost} events were lost before they were recorded"
        );
    }
    if !damage.is_none() {
        let _closed = writeln!(io::stderr(), "tracer: the recording is not whole: {damage}");
    }
    if lost > 0 || !damage.is_none() {
        INCOMPLETE
    } else {
        0
    }
}

/// Whether events would go over the recording that they are read from.
pub(super) fn is_same(recording: &Path, to: Option<&Path>) -> bool {
    let of = |path: &Path| {
        std::fs::metadata(path)
            .ok()
            .map(|found| (found.dev(), found.ino()))
    };
    match to.filter(|path| *path != Path::new("-")) {
        Some(to) => of(to).is_some_and(|to| of(recording) == Some(to)),
        None => false,
    }
}

pub(super) fn dump(directory: &Path, arguments: cli::Dump) -> Result<u8> {
    let Some(container) = arguments.container else {
        let kept: Vec<Kept> = client::ask(directory, &Request::Dumps)?;
        let mut to = io::stdout().lock();
        match arguments.output.output {
            Format::Json => kept.iter().try_for_each(|kept| json_line(&mut to, kept))?,
            Format::Text => print::dumps(&mut to, &kept)?,
        }
        return Ok(0);
    };
    let recording = client::dump(directory, &container)?;
    let path = match arguments.write {
        Some(path) if path == Path::new("-") => {
            let mut to = io::stdout().lock();
            ensure!(
                !to.is_terminal(),
                "a recording is no text: give -w FILE, or send standard output somewhere"
            );
            to.write_all(&recording)?;
            to.flush()?;
            return Ok(0);
        }
        Some(path) => path,
        None => {
            let path = Path::new(&recording::name_now("dump")).to_owned();
            writeln!(io::stdout(), "{}", path.display())?;
            path
        }
    };
    let mut file = recording::create(&path).with_context(|| format!("open {}", path.display()))?;
    file.write_all(&recording)
        .with_context(|| format!("write {}", path.display()))?;
    Ok(0)
}
