//! `tracer export`: events of a recording, or of what the daemon holds of a container, as a file for another program.

use std::{
    io::{self, BufWriter, IsTerminal, Write},
    path::Path,
};

use anyhow::{Context, Result, ensure};

use super::{filter, record};
use crate::{
    cli, client,
    event::Body,
    export::{self, Format},
    recording::{self, Entry},
    sinks::Selection,
};

pub(super) fn run(directory: &Path, arguments: cli::Export) -> Result<u8> {
    let filter = filter(&arguments.words())?;
    let descriptors = arguments.descriptors();
    let mut recording = client::recording(directory, &arguments.source)?.within(&arguments.stretch.into())?;
    if let Some(most) = arguments.strings {
        recording = recording.strings(most);
    }
    let selection = Selection {
        phases: arguments.phase,
        select: arguments.select.of(arguments.containers),
        filter,
        explain: true,
        ..Selection::default()
    };
    let format = Format::from(arguments.format);
    let path = arguments.write.as_path();
    let to: Box<dyn Write + Send> = if path == Path::new("-") {
        ensure!(
            format != Format::Parquet || !io::stdout().is_terminal(),
            "Parquet is no text: give -w FILE, or send standard output somewhere"
        );
        Box::new(io::stdout())
    } else {
        ensure!(
            !record::is_same(Path::new(&arguments.source), Some(path)),
            "{} is the recording itself: write to another file",
            path.display()
        );
        let file = recording::create(path).with_context(|| format!("open {}", path.display()))?;
        Box::new(BufWriter::new(file))
    };
    let failed = || format!("write {}", path.display());
    let mut to = export::begin(format, to, descriptors).with_context(failed)?;
    let mut lost = 0;
    while let Some(entry) = recording.entry()? {
        let Entry::Event(_, event) = entry else {
            continue;
        };
        if !selection.takes(&event) {
            continue;
        }
        if let Body::Loss(loss) = &event.body {
            lost += loss.count;
        }
        to.take(&event).with_context(failed)?;
    }
    to.finish().with_context(failed)?;
    Ok(record::what_is_missing(&recording, lost))
}
