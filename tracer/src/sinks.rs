//! Sinks: where events go. Each has its selection, its format and its books; a slow or broken one costs only itself.
//!
//! It must not know how events came to be.

pub mod json;
pub mod text;
pub mod tree;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{
    event::{Body, Container, Descriptors, Event, Loss, LossReason, Phase},
    filter::Filter,
    recording::{self, Raw, Summary},
    selector::Selector,
};

/// How events are written.
#[derive(Clone, Debug)]
pub enum Format {
    Text(text::TextOptions),
    Json(Descriptors),
    /// Nothing until the end, then the processes.
    Tree(tree::Tree),
    /// Blocks of a recording, closed when they are full, or a second old.
    Recording(Box<recording::Draft>, Descriptors),
}

/// Which events of a container a sink takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phases {
    #[default]
    App,
    Runtime,
    All,
}

impl std::str::FromStr for Phases {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "app" => Ok(Self::App),
            "runtime" => Ok(Self::Runtime),
            "all" => Ok(Self::All),
            other => Err(format!("no phase {other:?}: app, runtime or all")),
        }
    }
}

/// Which events a sink takes.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub phases: Phases,
    /// Which containers, of those that `visible_to` may see.
    pub select: Selector,
    /// A uid that sees only its own containers; `None` sees all.
    pub visible_to: Option<u32>,
    /// Which calls; all else passes.
    pub filter: Filter,
    /// Also why calls failed.
    pub explain: bool,
}

impl Selection {
    /// Whether the container's events are for this sink at all.
    pub fn takes_container(&self, container: &crate::event::Container) -> bool {
        self.visible_to.is_none_or(|uid| uid == container.owner) && self.select.takes(container)
    }

    /// Whether the event is.
    pub fn takes(&self, event: &Event) -> bool {
        let phase = match &event.body {
            Body::Syscall(call) if !self.filter.takes(call) => return false,
            Body::Syscall(call) => call.task.phase,
            Body::Process(process) => process.task.phase,
            Body::Diagnosis(_) if !self.explain => return false,
            Body::Diagnosis(found) => found.task.phase,
            Body::Container(_) | Body::Loss(_) => return self.takes_container(&event.container),
        };
        let wanted = match self.phases {
            Phases::All => true,
            Phases::App => phase == Phase::App,
            Phases::Runtime => phase == Phase::Runtime,
        };
        wanted && self.takes_container(&event.container)
    }
}

/// Where rendered lines go.
pub trait Sink: Send {
    /// Takes whole lines; false when there is no room and they are dropped.
    ///
    /// # Errors
    /// When the sink has failed for good: it gets nothing more.
    fn write(&mut self, lines: &mut Vec<u8>) -> io::Result<bool>;

    /// Its end: what it buffers goes out.
    ///
    /// # Errors
    /// When what it buffered is lost.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file, a pipe or a terminal. It waits for the writer: the ring absorbs that, and counts what it cannot.
pub struct Stream<W: Write + Send>(pub W);

impl<W: Write + Send> Sink for Stream<W> {
    fn write(&mut self, lines: &mut Vec<u8>) -> io::Result<bool> {
        self.0.write_all(lines)?;
        lines.clear();
        Ok(true)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A recording's file. It waits for the writer, as [`Stream`].
impl<W: Write + Send> Sink for recording::Writer<W> {
    fn write(&mut self, blocks: &mut Vec<u8>) -> io::Result<bool> {
        self.blocks(blocks)?;
        blocks.clear();
        Ok(true)
    }

    fn finish(&mut self) -> io::Result<()> {
        recording::Writer::finish(self)
    }
}

/// A writer of several: the events', and what follows them.
pub struct Shared<W: Write>(Arc<Mutex<W>>);

impl<W: Write> Shared<W> {
    pub fn new(writer: W) -> Self {
        Self(Arc::new(Mutex::new(writer)))
    }

    fn lock(&self) -> MutexGuard<'_, W> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write> Clone for Shared<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<W: Write> Write for Shared<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lock().flush()
    }
}

/// What a sink did with one container's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub written: u64,
    pub dropped: u64,
    /// Left out by the sink's own selection.
    pub skipped: u64,
}

/// A sink with its selection, format and books.
pub struct Output {
    pub id: u64,
    pub name: String,
    pub selection: Selection,
    format: Format,
    sink: Box<dyn Sink>,
    lines: Vec<u8>,
    /// Calls in `lines`, by slot of the container.
    pending: HashMap<u16, u64>,
    counts: HashMap<u16, Counts>,
    /// Calls dropped since the sink was last told.
    untold: HashMap<u16, u64>,
    failed: Option<io::Error>,
}

impl fmt::Debug for Output {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Output")
            .field("name", &self.name)
            .field("selection", &self.selection)
            .finish_non_exhaustive()
    }
}

/// Rendered bytes after which a sink is written within a batch.
const FLUSH_BYTES: usize = 256 * 1024;

impl Output {
    pub fn new(
        id: u64,
        name: impl Into<String>,
        selection: Selection,
        format: Format,
        sink: Box<dyn Sink>,
    ) -> Self {
        Self {
            id,
            name: name.into(),
            selection,
            format,
            sink,
            lines: Vec::new(),
            pending: HashMap::new(),
            counts: HashMap::new(),
            untold: HashMap::new(),
            failed: None,
        }
    }

    /// What it wants to know of descriptors.
    pub fn descriptors(&self) -> Descriptors {
        match &self.format {
            Format::Text(options) => options.descriptors,
            Format::Json(descriptors) | Format::Recording(_, descriptors) => *descriptors,
            Format::Tree(_) => Descriptors::Numbers,
        }
    }

    /// Whether it is a recording.
    pub const fn records(&self) -> bool {
        matches!(self.format, Format::Recording(..))
    }

    /// Renders an event of the container in `slot`, of whose calls nobody gets what `at_most` leaves out. `raw` is the
    /// record that it was made of, where it is a call's or a process's: all that a recording keeps of these.
    pub fn take(&mut self, slot: u16, event: &Event, raw: Option<Raw<'_>>, at_most: Option<&Filter>) {
        let is_call = matches!(event.body, Body::Syscall(_));
        let left_out = match (&event.body, at_most) {
            (Body::Syscall(call), Some(filter)) => !filter.takes(call),
            _ => false,
        };
        if left_out || !self.selection.takes(event) {
            if is_call {
                self.counts.entry(slot).or_default().skipped += 1;
            }
            return;
        }
        if self.failed.is_some() {
            if is_call {
                self.counts.entry(slot).or_default().dropped += 1;
            }
            return;
        }
        if let Some(count) = self.untold.remove(&slot) {
            let loss = Loss {
                reason: LossReason::Sink,
                count,
                hole: None,
            };
            let told = Event {
                body: Body::Loss(loss),
                ..event.clone()
            };
            self.render(&told, None);
        }
        self.render(event, raw);
        if is_call {
            *self.pending.entry(slot).or_default() += 1;
        }
        let full = match &self.format {
            Format::Recording(draft, _) => draft.is_full(),
            _ => self.lines.len() >= FLUSH_BYTES,
        };
        if full {
            self.flush();
        }
    }

    /// Takes what is known of a container beside its events; only a recording has a place for it.
    pub fn summary(&mut self, container: &Arc<Container>, summary: &Summary) {
        if self.failed.is_none()
            && self.selection.takes_container(container)
            && let Format::Recording(draft, _) = &mut self.format
        {
            draft.summary(container, summary);
        }
    }

    fn render(&mut self, event: &Event, raw: Option<Raw<'_>>) {
        match &mut self.format {
            Format::Text(options) => {
                let before = self.lines.len();
                text::write_event(&mut self.lines, event, options);
                if let text::Timestamps::Relative { previous_ns } = &mut options.timestamps
                    && self.lines.len() > before
                {
                    *previous_ns = text::began_ns(event);
                }
            }
            Format::Json(descriptors) => json::write_event(&mut self.lines, event, *descriptors),
            Format::Tree(tree) => tree.take(event),
            Format::Recording(draft, _) => draft.take(event, raw),
        }
    }

    /// Hands what is rendered to the sink; of a recording, whole blocks.
    pub fn flush(&mut self) {
        match &self.format {
            Format::Recording(draft, _) if !draft.is_full() && !draft.is_old() => {}
            _ => self.settle(),
        }
    }

    /// Hands all that there is to the sink: a recording's block is closed for it.
    pub fn settle(&mut self) {
        if self.failed.is_some() {
            return;
        }
        if let Format::Recording(draft, _) = &mut self.format {
            draft.close(&mut self.lines);
        }
        let outcome = if self.lines.is_empty() {
            Ok(true)
        } else {
            self.sink.write(&mut self.lines)
        };
        let delivered = match outcome {
            Ok(delivered) => delivered,
            Err(error) => {
                self.failed = Some(error);
                self.lines.clear();
                false
            }
        };
        for (slot, calls) in self.pending.drain() {
            let counts = self.counts.entry(slot).or_default();
            if delivered {
                counts.written += calls;
            } else {
                counts.dropped += calls;
                *self.untold.entry(slot).or_default() += calls;
            }
        }
    }

    /// Ends the sink and says how it fared.
    ///
    /// # Errors
    /// What made it fail, if it did; a broken pipe is none.
    pub fn finish(mut self) -> io::Result<()> {
        if let Format::Tree(tree) = &self.format {
            tree.write(&mut self.lines);
        }
        self.settle();
        match self.failed {
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Some(error) => Err(error),
            None => match self.sink.finish() {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
                _ => Ok(()),
            },
        }
    }

    /// Whether it takes nothing any more.
    pub fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Its books of a container.
    pub fn counts(&self, slot: u16) -> Counts {
        self.counts.get(&slot).copied().unwrap_or_default()
    }

    /// Goes on with the books that the sink of that name had in another daemon.
    pub fn resume(&mut self, counts: Option<&BTreeMap<u16, Counts>>) {
        for (slot, before) in counts.into_iter().flatten() {
            let counts = self.counts.entry(*slot).or_default();
            counts.written += before.written;
            counts.dropped += before.dropped;
            counts.skipped += before.skipped;
        }
    }

    /// Closes its books of a container.
    pub fn forget(&mut self, slot: u16) -> Counts {
        self.untold.remove(&slot);
        self.counts.remove(&slot).unwrap_or_default()
    }
}
