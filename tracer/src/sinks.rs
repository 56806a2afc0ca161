//! Sinks: where events go. Each has its selection, its format and its books; a slow or broken one costs only itself.
//!
//! It must not know how events came to be.

mod chunk;
pub mod configured;
pub mod delivery;
pub mod file;
mod handle;
pub mod journald;
pub mod json;
pub mod nats;
pub mod otlp;
pub mod queue;
pub mod text;
pub mod tree;

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

pub use chunk::{Account, Chunk, Counts};
pub use handle::Handle;

use crate::{
    event::{Body, Container, Descriptors, Event, Lifecycle, Loss, LossReason, Phase},
    filter::{Detail, Filter},
    recording::{self, Raw, Summary},
    selector::Selector,
    slots::Slots,
};

/// How events are written.
#[derive(Clone, Debug)]
pub enum Format {
    Text(text::TextOptions),
    Json(Descriptors),
    /// OpenTelemetry's log records.
    Otlp(Descriptors),
    /// JSON behind its subject.
    Nats(nats::Messages),
    /// Nothing until the end, then the processes.
    Tree(tree::Tree),
    /// Blocks of a recording, closed when they are full, or a second old.
    Recording(Box<recording::Draft>, Descriptors),
    /// Entries of the journal, with the event as JSON in them.
    Journal {
        json: bool,
    },
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

/// A kind of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Calls.
    Syscall,
    Process,
    /// All of a container's life.
    Container,
    /// A container's end, with its books.
    End,
    /// What a container asked for in vain, and containers that nobody registered.
    Warning,
    Loss,
    /// Why calls failed; for who takes them ([`Selection::explain`]).
    Diagnosis,
}

/// Kinds of events; the default is all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    pub const fn has(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }

    fn takes(self, body: &Body) -> bool {
        match body {
            Body::Syscall(_) => self.has(Kind::Syscall),
            Body::Process(_) => self.has(Kind::Process),
            Body::Loss(_) => self.has(Kind::Loss),
            Body::Diagnosis(_) => self.has(Kind::Diagnosis),
            Body::Container(life) => {
                let part = match life {
                    Lifecycle::Gone { .. } | Lifecycle::Detached { .. } => Kind::End,
                    Lifecycle::Warning { .. } | Lifecycle::Unregistered { .. } | Lifecycle::Frozen { .. } => {
                        Kind::Warning
                    }
                    _ => Kind::Container,
                };
                self.has(Kind::Container) || self.has(part)
            }
        }
    }
}

impl Default for Kinds {
    fn default() -> Self {
        Self(u8::MAX)
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<T: IntoIterator<Item = Kind>>(kinds: T) -> Self {
        Self(kinds.into_iter().fold(0, |all, kind| all | 1 << kind as u8))
    }
}

/// Which events a sink takes.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    pub kinds: Kinds,
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
        if !self.kinds.takes(&event.body) {
            return false;
        }
        let phase = match &event.body {
            Body::Syscall(call) if !self.filter.takes(call) => return false,
            Body::Syscall(call) => call.task.phase,
            Body::Process(process) => process.task.phase,
            Body::Diagnosis(found) if !self.explain || !self.filter.takes_failure(found) => return false,
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

/// What became of a chunk that was handed to a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    Written,
    /// It is out of the chunk: a thread of the sink's own has it and will settle it.
    Queued,
    /// There is no room.
    Dropped,
}

/// Where rendered events go.
pub trait Sink: Send {
    /// Takes a chunk, all of it or nothing.
    ///
    /// # Errors
    /// When the sink has failed for good: it gets nothing more.
    fn write(&mut self, chunk: &mut Chunk) -> io::Result<Taken>;

    /// Its end: what it buffers goes out.
    ///
    /// # Errors
    /// When what it buffered is lost.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Waits until what it has taken is delivered or given up; it has been ended.
    fn wait(&mut self) {}

    /// So many calls of that account were queued when the sink of that name ended in another daemon. Unless it has kept
    /// them, they are lost.
    fn resume(&mut self, account: &Arc<Account>, queued: u64) {
        account.settle(queued, false);
    }
}

/// A file, a pipe or a terminal. It waits for the writer: the ring absorbs that, and counts what it cannot.
pub struct Stream<W: Write + Send>(pub W);

impl<W: Write + Send> Sink for Stream<W> {
    fn write(&mut self, chunk: &mut Chunk) -> io::Result<Taken> {
        self.0.write_all(chunk.bytes())?;
        Ok(Taken::Written)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A recording's file. It waits for the writer, as [`Stream`].
impl<W: Write + Send> Sink for recording::Writer<W> {
    fn write(&mut self, chunk: &mut Chunk) -> io::Result<Taken> {
        self.blocks(chunk.bytes())?;
        Ok(Taken::Written)
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

/// A sink with its selection, format and books.
pub struct Output {
    pub id: u64,
    pub name: String,
    pub selection: Selection,
    format: Format,
    sink: Box<dyn Sink>,
    chunk: Chunk,
    total: Arc<Account>,
    /// By slot of the container.
    books: Slots<Book>,
    /// Of containers that have gone: what the sink is still to be told.
    owed: Vec<Book>,
    failed: Option<io::Error>,
}

/// What a sink did with one container's calls.
#[derive(Debug, Default)]
struct Book {
    account: Arc<Account>,
    /// Calls left out since the account was last brought up to date.
    skipped: u64,
    /// Events in the chunk at hand that are counted.
    pending: u64,
    /// Of these, those that were dropped since the sink was last told.
    untold: u64,
    /// Those of which the chunk at hand tells.
    telling: u64,
    /// The latest event's container and times.
    container: Option<Arc<Container>>,
    time_ns: u64,
    ktime: u64,
}

impl Book {
    /// The loss that is to be told before that event, if there is one.
    fn loss_at(&mut self, event: &Event) -> Option<Event> {
        if !self
            .container
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, &event.container))
        {
            self.container = Some(event.container.clone());
        }
        self.account.belongs_to(&event.container);
        (self.time_ns, self.ktime) = (event.time_ns, event.ktime);
        self.loss()
    }

    fn loss(&mut self) -> Option<Event> {
        let container = self.container.as_ref().filter(|_| self.untold > 0)?.clone();
        let count = std::mem::take(&mut self.untold);
        self.telling += count;
        Some(Event {
            time_ns: self.time_ns,
            ktime: self.ktime,
            container,
            body: Body::Loss(Loss {
                reason: LossReason::Sink,
                count,
                hole: None,
            }),
        })
    }

    /// What became of the chunk at hand.
    fn settle(&mut self, taken: bool) {
        let (pending, telling) = (
            std::mem::take(&mut self.pending),
            std::mem::take(&mut self.telling),
        );
        if !taken {
            self.untold += pending + telling;
        }
    }
}

/// Containers that have gone and whose losses are still to be told; more are in the books alone.
const MOST_OWED: usize = 256;

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
        let total = Arc::new(Account::default());
        Self {
            id,
            name: name.into(),
            selection,
            format,
            sink,
            chunk: Chunk::new(total.clone()),
            total,
            books: Slots::default(),
            owed: Vec::new(),
            failed: None,
        }
    }

    /// Goes on with the books of all events of one that it replaces.
    pub fn continuing(mut self, total: Arc<Account>) -> Self {
        self.chunk = Chunk::new(total.clone());
        self.total = total;
        self
    }

    /// What it wants to know of descriptors.
    pub fn descriptors(&self) -> Descriptors {
        match &self.format {
            Format::Text(options) => options.descriptors,
            Format::Json(descriptors) | Format::Otlp(descriptors) | Format::Recording(_, descriptors) => {
                *descriptors
            }
            Format::Nats(messages) => messages.descriptors(),
            Format::Tree(_) | Format::Journal { .. } => Descriptors::Numbers,
        }
    }

    /// Has lines of text begin with their container's name from here on.
    pub const fn show_containers(&mut self) {
        if let Format::Text(options) = &mut self.format {
            options.show_container = true;
        }
    }

    /// Whether it is a recording.
    pub const fn records(&self) -> bool {
        matches!(self.format, Format::Recording(..))
    }

    /// Whether it looks at the arguments of that container's calls. A recording keeps their records.
    pub fn reads_arguments(&self, container: &Container) -> bool {
        self.selection.kinds.has(Kind::Syscall)
            && (!matches!(self.format, Format::Recording(..)) || self.selection.filter.reads_arguments())
            && self.selection.takes_container(container)
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
                self.books.entry(slot).or_default().skipped += 1;
            }
            return;
        }
        let book = self.books.entry(slot).or_default();
        book.pending += u64::from(is_call || !self.selection.kinds.has(Kind::Syscall));
        let told = book.loss_at(event);
        let account = is_call.then_some(&book.account);
        if self.failed.is_some() {
            self.chunk.push(account, |_| {});
            return;
        }
        if let Some(told) = told {
            self.chunk.push(None, |to| {
                render(&mut self.format, self.selection.filter.detail(), to, &told, None)
            });
        }
        self.chunk.push(account, |to| {
            render(&mut self.format, self.selection.filter.detail(), to, event, raw)
        });
        let full = match &self.format {
            Format::Recording(draft, _) => draft.is_full(),
            _ => self.chunk.size() >= FLUSH_BYTES,
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

    /// Hands what is rendered to the sink; of a recording, whole blocks.
    pub fn flush(&mut self) {
        match &self.format {
            Format::Recording(draft, _) if !draft.is_full() && !draft.is_old() => {}
            _ => self.settle(),
        }
    }

    /// Hands all that there is to the sink: a recording's block is closed for it.
    pub fn settle(&mut self) {
        for book in self.books.values_mut().filter(|book| book.skipped > 0) {
            book.account.skip(std::mem::take(&mut book.skipped));
        }
        if self.failed.is_none() {
            for told in self.owed.iter_mut().filter_map(Book::loss) {
                self.chunk.push(None, |to| {
                    render(&mut self.format, self.selection.filter.detail(), to, &told, None)
                });
            }
            if let Format::Recording(draft, _) = &mut self.format {
                self.chunk.push(None, |to| draft.close(to));
            }
        }
        if self.chunk.is_empty() {
            return;
        }
        self.chunk.book();
        let outcome = if self.failed.is_some() {
            Ok(Taken::Dropped)
        } else if self.chunk.bytes().is_empty() {
            Ok(Taken::Written)
        } else {
            self.sink.write(&mut self.chunk)
        };
        let taken = outcome.unwrap_or_else(|error| {
            self.failed = Some(error);
            Taken::Dropped
        });
        let mut chunk = std::mem::replace(&mut self.chunk, Chunk::new(self.total.clone()));
        chunk.settle(chunk.len(), taken == Taken::Written);
        let books = self.books.values_mut().chain(&mut self.owed);
        books.for_each(|book| book.settle(taken != Taken::Dropped));
        self.owed.retain(|book| book.untold > 0);
    }

    /// Ends the sink and says how it fared.
    ///
    /// # Errors
    /// What made it fail, if it did; a broken pipe is none.
    pub fn finish(mut self) -> io::Result<()> {
        self.close()
    }

    /// The same, for who still wants its books.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub fn close(&mut self) -> io::Result<()> {
        self.settle();
        if let Format::Tree(tree) = &self.format {
            self.chunk.push(None, |to| tree.write(to));
            self.settle();
        }
        match self.failed.take().map_or_else(|| self.sink.finish(), Err) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits until what it has taken is delivered or given up, after its end.
    pub fn wait(&mut self) {
        self.sink.wait();
    }

    /// Whether it takes nothing any more.
    pub fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Its books of all events, calls or not, of all containers.
    pub fn total(&self) -> Arc<Account> {
        self.total.clone()
    }

    /// Goes on with the books that the sink of that name had in another daemon.
    pub fn resume(&mut self, counts: Option<&BTreeMap<u16, Counts>>) {
        for (slot, before) in counts.into_iter().flatten() {
            let account = &self.books.entry(*slot).or_default().account;
            account.resume(before);
            if before.queued > 0 {
                self.sink.resume(account, before.queued);
            }
        }
    }

    /// Its books of a container's calls.
    pub fn account(&self, slot: u16) -> Arc<Account> {
        self.books
            .get(&slot)
            .map(|book| book.account.clone())
            .unwrap_or_default()
    }

    /// Closes its books of a container; what is still queued of it will be settled in them.
    pub fn forget(&mut self, slot: u16) -> Arc<Account> {
        let Some(book) = self.books.remove(&slot) else {
            return Arc::default();
        };
        let account = book.account.clone();
        if book.untold > 0 && self.owed.len() < MOST_OWED {
            self.owed.push(book);
        }
        account
    }
}

fn render(format: &mut Format, detail: &Detail, to: &mut Vec<u8>, event: &Event, raw: Option<Raw<'_>>) {
    match format {
        Format::Text(options) => {
            let before = to.len();
            text::write_detailed(to, event, options, detail);
            if let text::Timestamps::Relative { previous_ns } = &mut options.timestamps
                && to.len() > before
            {
                *previous_ns = text::began_ns(event);
            }
        }
        Format::Json(descriptors) => json::write_detailed(to, event, *descriptors, detail),
        Format::Otlp(descriptors) => otlp::logs::write_event(to, event, *descriptors),
        Format::Nats(messages) => messages.write_event(to, event, detail),
        Format::Tree(tree) => tree.take(event),
        Format::Recording(draft, _) => draft.take(event, raw),
        Format::Journal { json } => journald::write_event(to, event, *json),
    }
}
