//! `tracer report`: reads a recording, or what the daemon still holds of a container, and writes the page.

use std::{
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result, ensure};

use super::record::{is_same, what_is_missing};
use crate::{
    cli, client,
    control::Request,
    event::{Body, Container},
    page::{Known, Page},
    recording::{self, Entry, Recording, Summary},
    report::Line,
    selector::Selector,
};

/// The file of a page that nobody named.
const DEFAULT: &str = "report.html";

pub(super) fn run(directory: &Path, arguments: &cli::Report) -> Result<u8> {
    let word = arguments.of.as_str();
    let is_file = word == "-" || recording::is_file(word);
    ensure!(
        is_file || arguments.container.is_none(),
        "--container chooses one of a recording, and {word:?} is a container already"
    );
    let output = arguments.output.as_deref().unwrap_or(Path::new(DEFAULT));
    ensure!(
        !is_same(Path::new(word), Some(output)),
        "{} is the recording itself: write to another file",
        output.display()
    );
    let mut known = Known::default();
    if is_file {
        let name = Path::new(word).file_name().unwrap_or_default();
        known.source = format!("the recording {}", name.display());
    } else {
        "what the daemon held of the container".clone_into(&mut known.source);
        known.runtime = runtime(directory, word)?;
    }
    let mut recording = client::recording(directory, word)?;
    let mut page = Page::new(arguments.phase);
    let lost = read(&mut recording, arguments, &mut page, &mut known)?;
    ensure!(
        !page.is_empty(),
        "{word}: there is no event of {} in it",
        arguments.container.as_deref().unwrap_or("any container")
    );
    if let Some(origin) = recording.origin() {
        known.source += &format!(" (Linux {}, tracer {})", origin.kernel, origin.tracer);
    }
    if !recording.damage().is_none() {
        known
            .notes
            .push(format!("The recording is not whole: {}.", recording.damage()));
    }
    write(output, &page.finish(&known))?;
    if arguments.output.is_none() {
        writeln!(io::stdout(), "{}", output.display())?;
    }
    Ok(what_is_missing(&recording, lost))
}

/// Gives the page all that is of its container; how many events of it were lost.
fn read(
    recording: &mut Recording,
    arguments: &cli::Report,
    page: &mut Page,
    known: &mut Known,
) -> Result<u64> {
    let wanted = |container: &Container| {
        arguments
            .container
            .as_ref()
            .is_none_or(|word| container.is_meant_by(word))
    };
    let (mut lost, mut others) = (0, 0_u64);
    while let Some(entry) = recording.entry()? {
        match entry {
            Entry::Event(_, event) if wanted(&event.container) && page.is_of(&event.container) => {
                if let Body::Loss(loss) = &event.body {
                    lost += loss.count;
                }
                page.take(&event);
            }
            Entry::Event(..) => others += 1,
            Entry::Summary(_, summary) => {
                let container = Arc::new(Container::from(summary.verdict.container.clone()));
                if wanted(&container) && page.is_of(&container) {
                    tell(*summary, &container, arguments, page, known);
                }
            }
        }
    }
    if others > 0 {
        known.notes.push(format!(
            "{others} events of other containers in the same recording."
        ));
    }
    Ok(lost)
}

/// What the recording says of the container beside its events.
fn tell(
    summary: Summary,
    container: &Arc<Container>,
    arguments: &cli::Report,
    page: &mut Page,
    known: &mut Known,
) {
    known.stats = Some(summary.stats.of(arguments.phase).clone());
    known.verdict = Some(summary.verdict);
    known.capabilities = Some(summary.capabilities);
    known.arguments = summary.arguments;
    let Some(explanation) = summary.explanation else {
        return;
    };
    for told in explanation.diagnoses.into_iter().chain(explanation.expected) {
        page.take(&told.event(container.clone()));
    }
    if explanation.left_out > 0 {
        known.notes.push(format!(
            "Why {} failed calls failed: they were too many kinds, or too many at once.",
            explanation.left_out
        ));
    }
}

/// What runs a container that the daemon knows.
fn runtime(directory: &Path, word: &str) -> Result<Option<String>> {
    let request = Request::Ps {
        select: Selector {
            words: vec![word.to_owned()],
            ..Selector::default()
        },
    };
    let lines: Vec<Line> = client::ask(directory, &request)?;
    Ok(lines.into_iter().next_back().and_then(|line| line.runtime))
}

/// Writes the page; only its owner may read it, as a recording.
fn write(path: &Path, page: &str) -> Result<()> {
    if path == Path::new("-") {
        let mut to = io::stdout().lock();
        to.write_all(page.as_bytes())?;
        return Ok(to.flush()?);
    }
    let mut file = recording::create(path).with_context(|| format!("open {}", path.display()))?;
    file.write_all(page.as_bytes())
        .with_context(|| format!("write {}", path.display()))
}
