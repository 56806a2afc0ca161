//! A sink of the daemon's configuration: what all kinds have in common, and which kinds there are. A new kind is a file
//! beside this one with its `Settings` and its [`Receiver`](super::queue::Receiver), and a line in [`Kind`].

use std::{fmt, io, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    Account, Format, Handle, Kinds, Output, Phases, Selection, Sink, delivery, file, journald,
    nats::{self, Nats},
    otlp::{self, Otlp},
    queue,
};
use crate::{
    decode,
    event::Descriptors,
    filter::{Begin, Filter, Words},
    selector::{self, Requirement, Selector},
    units::Bytes,
};

/// What every `[[sink]]` may say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Common {
    /// Its name in books, metrics and the log; unless given, its kind.
    pub name: String,
    /// Which events: `syscall`, `process`, `container`, `end`, `warning`, `loss`, `diagnosis`; unless given, what its kind
    /// is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<super::Kind>>,
    /// Which calls, as `tracer tail` takes it: `%file -Z`.
    pub filter: String,
    /// Whose: `app`, `runtime`, `all`.
    pub phases: Phases,
    /// Also why calls failed.
    pub explain: bool,
    /// Which containers: by name or id, Kubernetes namespace, Pod, labels.
    pub container: Vec<String>,
    pub namespace: Vec<String>,
    pub pod: Vec<String>,
    pub labels: String,
    /// Bytes that may wait for it; what comes beyond is dropped, and counted.
    pub queue: Bytes,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            name: String::new(),
            events: None,
            filter: String::new(),
            phases: Phases::default(),
            explain: false,
            container: Vec::new(),
            namespace: Vec::new(),
            pod: Vec::new(),
            labels: String::new(),
            queue: Bytes(16 << 20),
        }
    }
}

/// What the kinds say beside it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Kind {
    File(file::Settings),
    Journald(journald::Settings),
    Otlp(Delivered<otlp::Settings>),
    Nats(Delivered<nats::Settings>),
}

/// The settings of a sink that delivers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Delivered<T> {
    #[serde(flatten)]
    pub own: T,
    #[serde(flatten)]
    pub keys: delivery::Keys,
}

/// The words after `kind =`.
pub const KINDS: [&str; 4] = ["file", "otlp", "nats", "journald"];

/// A key that means nothing, and why.
pub type Wrong = (&'static str, String);

/// One sink.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    #[serde(flatten)]
    pub kind: Kind,
    #[serde(flatten)]
    pub common: Common,
}

impl Settings {
    /// Which events it takes. `words` reads a filter as it is typed.
    ///
    /// # Errors
    /// The key that means nothing, and why.
    pub fn selection(&self, words: impl Fn(&str) -> Result<Words, String>) -> Result<Selection, Wrong> {
        let Common {
            phases,
            explain,
            container,
            namespace,
            pod,
            ..
        } = &self.common;
        let kinds = self.common.events.as_deref().or_else(|| self.kind.events());
        let explain = *explain || kinds.is_some_and(|kinds| kinds.contains(&super::Kind::Diagnosis));
        Ok(Selection {
            kinds: kinds.map_or_else(Kinds::default, |kinds| {
                let diagnoses = explain.then_some(super::Kind::Diagnosis);
                kinds.iter().copied().chain(diagnoses).collect()
            }),
            phases: *phases,
            select: Selector {
                words: container.clone(),
                pods: pod.clone(),
                namespaces: namespace.clone(),
                names: Vec::new(),
                labels: self.labels()?,
            },
            visible_to: None,
            filter: self.filter(words)?,
            explain,
        })
    }

    /// Which calls.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn filter(&self, words: impl Fn(&str) -> Result<Words, String>) -> Result<Filter, Wrong> {
        let begin = if self.descriptors() == Descriptors::Numbers {
            Begin::Time
        } else {
            Begin::Whole
        };
        words(&self.common.filter)
            .and_then(|words| Filter::new(&Words { begin, ..words }, decode::Options::native().arch))
            .map_err(|why| ("filter", why))
    }

    /// Which labels.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn labels(&self) -> Result<Vec<Requirement>, Wrong> {
        match self.common.labels.as_str() {
            "" => Ok(Vec::new()),
            labels => selector::labels(labels).map_err(|why| ("labels", why)),
        }
    }

    fn descriptors(&self) -> Descriptors {
        match &self.kind {
            Kind::File(settings) => settings.descriptors,
            Kind::Otlp(settings) => settings.own.descriptors,
            Kind::Nats(settings) => settings.own.descriptors,
            Kind::Journald(_) => Descriptors::Numbers,
        }
    }

    /// Opens it, with the books of all its events; it begins to write when `after` have ended, who had its name or file
    /// before. What it writes to need not be there yet.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn open(
        &self,
        id: u64,
        selection: Selection,
        total: Arc<Account>,
        after: Vec<Handle>,
    ) -> io::Result<(Output, Handle)> {
        let name = self.common.name.clone();
        let most = self.common.queue.count();
        let (format, sink, handle): (_, Box<dyn Sink>, _) = match &self.kind {
            Kind::File(settings) => {
                let receiver = file::File::new(&name, settings.clone());
                let (queue, handle) = queue::open(&name, most, after, receiver)?;
                (settings.format(), Box::new(queue), Handle::Queue(handle))
            }
            Kind::Otlp(Delivered { own, keys }) => {
                let format = Format::Otlp(own.descriptors);
                let (own, its) = (own.clone(), name.clone());
                let (keys, form) = (keys.settings(&name, most), format.clone());
                let open = move || Otlp::new(&its, own);
                let (delivery, handle) = delivery::open(&name, keys, form, total.clone(), after, open)?;
                (format, Box::new(delivery), Handle::Delivery(handle))
            }
            Kind::Nats(Delivered { own, keys }) => {
                let format = Format::Nats(nats::Messages::new(own));
                let (own, its) = (own.clone(), name.clone());
                let (keys, form) = (keys.settings(&name, most), format.clone());
                let open = move || Nats::new(&its, own);
                let (delivery, handle) = delivery::open(&name, keys, form, total.clone(), after, open)?;
                (format, Box::new(delivery), Handle::Delivery(handle))
            }
            Kind::Journald(settings) => {
                let receiver = journald::Journald::new(settings.clone());
                let (queue, handle) = queue::open(&name, most, after, receiver)?;
                let format = Format::Journal { json: settings.json };
                (format, Box::new(queue), Handle::Queue(handle))
            }
        };
        let output = Output::new(id, name, selection, format, sink).continuing(total);
        Ok((output, handle))
    }
}

impl Kind {
    /// Its word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::File(_) => KINDS[0],
            Self::Otlp(_) => KINDS[1],
            Self::Nats(_) => KINDS[2],
            Self::Journald(_) => KINDS[3],
        }
    }

    /// The events that it is for, where that is not all.
    const fn events(&self) -> Option<&[super::Kind]> {
        match self {
            Self::File(_) | Self::Otlp(_) | Self::Nats(_) => None,
            Self::Journald(_) => Some(journald::EVENTS),
        }
    }

    /// What cannot be, by the key that says it.
    ///
    /// # Errors
    /// The key, and what to write.
    pub fn check(&self) -> Result<(), Wrong> {
        match self {
            Self::File(settings) => settings.check(),
            Self::Otlp(Delivered { own, keys }) => own.check().and_then(|()| keys.check()),
            Self::Nats(Delivered { own, keys }) => own.check().and_then(|()| keys.check()),
            Self::Journald(settings) => settings.check(),
        }
    }

    /// What two sinks cannot both have.
    pub fn owns(&self) -> Option<&std::path::Path> {
        match self {
            Self::File(settings) => Some(&settings.path),
            // Their spools have their names.
            Self::Otlp(_) | Self::Nats(_) => None,
            Self::Journald(_) => None,
        }
    }
}

impl fmt::Display for Kind {
    /// Where it writes.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(settings) => settings.fmt(to),
            Self::Otlp(settings) => settings.own.fmt(to),
            Self::Nats(settings) => settings.own.fmt(to),
            Self::Journald(settings) => settings.fmt(to),
        }
    }
}

/// The format of a sink that writes lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lines {
    #[default]
    Json,
    Text,
}

impl Lines {
    pub(super) fn format(self, descriptors: Descriptors) -> Format {
        match self {
            Self::Json => Format::Json(descriptors),
            Self::Text => Format::Text(super::text::TextOptions {
                timestamps: super::text::Timestamps::Epoch,
                show_container: true,
                show_processes: true,
                show_containers: true,
                descriptors,
                ..Default::default()
            }),
        }
    }
}
