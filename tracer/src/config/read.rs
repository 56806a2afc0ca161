//! Reads the file: TOML, then table by table, so that each thing that is wrong is found, with its place. Pure.

use std::{collections::BTreeMap, fmt, ops::Range};

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, Deserializer},
};

use super::Config;
use crate::{
    cli, metrics,
    sinks::{
        configured::{Common, Delivered, KINDS, Kind, Settings},
        delivery,
    },
    units::Bytes,
};

/// Something that is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1; the column in characters.
    pub line: usize,
    pub column: usize,
    pub what: String,
}

impl fmt::Display for Problem {
    /// As compilers say it; the file's name stands before it.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}:{}: {}", self.line, self.column, self.what)
    }
}

/// Reads a configuration; all that is not said has its default.
///
/// # Errors
/// All that is wrong, in the order of the file.
pub fn read(text: &str) -> Result<Config, Vec<Problem>> {
    let mut reader = Reader {
        text,
        problems: Vec::new(),
    };
    let config = reader.config();
    if reader.problems.is_empty() {
        return Ok(config);
    }
    reader
        .problems
        .sort_by_key(|problem| (problem.line, problem.column));
    Err(reader.problems)
}

type Table<'a> = Spanned<DeTable<'a>>;

const TABLES: [&str; 7] = [
    "daemon",
    "users",
    "annotations",
    "audit",
    "flight_recorder",
    "metrics",
    "sink",
];

struct Reader<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn problem(&mut self, at: Range<usize>, what: impl Into<String>) {
        let before = self.text.get(..at.start).unwrap_or(self.text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        self.problems.push(Problem {
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
            what: what.into(),
        });
    }

    fn config(&mut self) -> Config {
        let mut config = Config::default();
        let tables = match DeTable::parse(self.text) {
            Ok(tables) => tables.into_inner(),
            Err(error) => {
                self.problem(error.span().unwrap_or(0..0), error.message());
                return config;
            }
        };
        for (key, value) in tables {
            let (at, span) = (key.span(), value.span());
            let name = key.into_inner();
            let table = match (name.as_ref(), value.into_inner()) {
                ("sink", DeValue::Array(sinks)) => {
                    for sink in sinks {
                        let span = sink.span();
                        match sink.into_inner() {
                            DeValue::Table(table) => {
                                let sink = self.sink(Spanned::new(span, table), &config.sinks);
                                config.sinks.extend(sink);
                            }
                            _ => self.problem(span, "a sink is a table: [[sink]]"),
                        }
                    }
                    continue;
                }
                ("sink", _) => {
                    self.problem(at, "there may be several sinks: write [[sink]]");
                    continue;
                }
                (name, _) if !TABLES.contains(&name) => {
                    self.problem(at, unknown("table", name, &TABLES));
                    continue;
                }
                (_, DeValue::Table(table)) => Spanned::new(span, table),
                (name, _) => {
                    self.problem(at, format!("{name} is a table: [{name}], and its keys below it"));
                    continue;
                }
            };
            match name.as_ref() {
                "daemon" => config.daemon = self.daemon(table),
                "users" => config.users = self.users(table),
                "metrics" => config.metrics = self.metrics(table),
                "annotations" => config.annotations = self.annotations(table),
                "flight_recorder" => config.flight_recorder = self.flight_recorder(table),
                _ => config.audit = self.table(table, &[]).unwrap_or_default(),
            }
        }
        config
    }

    fn daemon(&mut self, table: Table<'a>) -> super::Daemon {
        let places = places(&table);
        let daemon: super::Daemon = self.table(table, &[]).unwrap_or_default();
        self.size(&places, "ring_size", daemon.ring_size);
        daemon
    }

    fn users(&mut self, table: Table<'a>) -> super::Users {
        let places = places(&table);
        let users: super::Users = self.table(table, &[]).unwrap_or_default();
        self.size(&places, "queue", users.queue);
        users
    }

    fn annotations(&mut self, table: Table<'a>) -> super::Annotations {
        let places = places(&table);
        let annotations: super::Annotations = self.table(table, &[]).unwrap_or_default();
        self.size(&places, "max_flight_recorder", annotations.max_flight_recorder);
        annotations
    }

    fn flight_recorder(&mut self, table: Table<'a>) -> super::FlightRecorder {
        let places = places(&table);
        let recorder: super::FlightRecorder = self.table(table, &[]).unwrap_or_default();
        self.size(&places, "bytes", recorder.bytes);
        self.size(&places, "total", recorder.total);
        recorder
    }

    fn metrics(&mut self, table: Table<'a>) -> metrics::Settings {
        let places = places(&table);
        let metrics: metrics::Settings = self.table(table, &[]).unwrap_or_default();
        if let Err((key, why)) = metrics.check() {
            self.problem(places.of(key), format!("{key}: {why}"));
        }
        metrics
    }

    /// What is held in memory has bounds.
    fn size(&mut self, places: &Places, key: &str, size: Bytes) {
        if !(4096..=1 << 30).contains(&size.0) {
            self.problem(
                places.of(key),
                format!("{key} is {size}: write a size from 4K to 1G"),
            );
        }
    }

    /// A table's keys; what is wrong in it is noted, taken out, and the rest read on.
    fn table<T: DeserializeOwned>(&mut self, table: Table<'a>, also: &[&str]) -> Option<T> {
        let span = table.span();
        let mut rest = table.into_inner();
        loop {
            let error = match T::deserialize(Deserializer::from(Spanned::new(span.clone(), rest.clone()))) {
                Ok(read) => return Some(read),
                Err(error) => error,
            };
            let at = error.span().unwrap_or(span.clone());
            let key = rest.iter().find_map(|(key, value)| {
                let whole = key.span().start..value.span().end.max(key.span().end);
                (whole.start <= at.start && at.end <= whole.end).then(|| key.clone())
            });
            self.problem(
                at,
                said(
                    error.message(),
                    key.as_ref().map(|key| key.as_ref().as_ref()),
                    also,
                ),
            );
            rest.remove(&key?);
        }
    }

    fn sink(&mut self, table: Table<'a>, others: &[Settings]) -> Option<Settings> {
        let span = table.span();
        let places = places(&table);
        let known = fields::<Common>();
        let (mut common, mut own, mut kind) = (DeTable::new(), DeTable::new(), None);
        for (key, value) in table.into_inner() {
            match key.get_ref().as_ref() {
                "kind" => kind = Some(value),
                word if known.contains(&word) => drop(common.insert(key, value)),
                _ => drop(own.insert(key, value)),
            }
        }
        let Some(kind) = kind else {
            self.problem(
                span,
                format!("the sink has no kind: write kind = \"{}\"", KINDS[0]),
            );
            return None;
        };
        let at = kind.span();
        let rest = Spanned::new(span.clone(), own);
        let kind = match kind.get_ref().as_str() {
            Some("file") => self.table(rest, known).map(Kind::File),
            Some("otlp") => self.delivered(rest, known).map(Kind::Otlp),
            Some("nats") => self.delivered(rest, known).map(Kind::Nats),
            Some("journald") => self.table(rest, known).map(Kind::Journald),
            other => {
                let what = match other {
                    Some(word) => unknown("kind", word, &KINDS),
                    None => format!("kind is a word: {}", KINDS.join(", ")),
                };
                self.problem(at, what);
                None
            }
        };
        let mut common: Common = self.table(Spanned::new(span, common), &[])?;
        let kind = kind?;
        if common.name.is_empty() {
            kind.word().clone_into(&mut common.name);
        }
        let settings = Settings { kind, common };
        self.size(&places, "queue", settings.common.queue);
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name = &settings.common.name;
        if !name.chars().all(is_name) || name.len() > 64 || name.starts_with('.') {
            self.problem(
                places.of("name"),
                format!("{name:?} is no name: at most 64 letters, digits, '-', '_', '.', the first not '.'"),
            );
        }
        let checked = [
            unlike(&settings, others),
            settings.kind.check(),
            settings.filter(cli::filter_words).map(drop),
            settings.labels().map(drop),
        ];
        for (key, why) in checked.into_iter().filter_map(Result::err) {
            self.problem(places.of(key), format!("{key}: {why}"));
        }
        Some(settings)
    }

    /// The keys of a sink that delivers: its own, and those of all that do.
    fn delivered<T: DeserializeOwned>(&mut self, table: Table<'a>, also: &[&str]) -> Option<Delivered<T>> {
        let span = table.span();
        let shared = fields::<delivery::Keys>();
        let (keys, own): (DeTable<'_>, DeTable<'_>) = table
            .into_inner()
            .into_iter()
            .partition(|(key, _)| shared.contains(&key.get_ref().as_ref()));
        let also: Vec<_> = also.iter().chain(shared).copied().collect();
        let own = self.table(Spanned::new(span.clone(), own), &also);
        let keys = self.table(Spanned::new(span, keys), &[]);
        Some(Delivered {
            own: own?,
            keys: keys?,
        })
    }
}

/// No two sinks have one name or write to one file.
fn unlike(sink: &Settings, others: &[Settings]) -> Result<(), (&'static str, String)> {
    let name = &sink.common.name;
    if others.iter().any(|other| other.common.name == *name) {
        return Err((
            "name",
            format!("another sink is called {name:?}: give this one another name"),
        ));
    }
    let mut others = others.iter();
    match sink.kind.owns() {
        Some(path) if others.any(|other| other.kind.owns() == Some(path)) => {
            Err(("path", format!("another sink writes to {}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Where the keys of a table stand, and the table.
struct Places {
    table: Range<usize>,
    values: BTreeMap<String, Range<usize>>,
}

fn places(table: &Table<'_>) -> Places {
    let values = table.as_ref().iter();
    Places {
        table: table.span(),
        values: values
            .map(|(key, value)| (key.as_ref().to_string(), value.span()))
            .collect(),
    }
}

impl Places {
    fn of(&self, key: &str) -> Range<usize> {
        self.values.get(key).unwrap_or(&self.table).clone()
    }
}

/// Says an error of serde's so that it tells what to write; `also` are keys that the table may have beside those of its
/// type.
fn said(message: &str, key: Option<&str>, also: &[&str]) -> String {
    let words =
        |text: &str| -> Vec<String> { text.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let words = words(rest);
        let (word, known) = words
            .split_first()
            .map_or(("", [].as_slice()), |(word, known)| (word.as_str(), known));
        let known: Vec<_> = known
            .iter()
            .map(String::as_str)
            .chain(also.iter().copied())
            .collect();
        return unknown("key", word, &known);
    }
    if let Some(missing) = message.strip_prefix("missing field ") {
        let missing = missing.replace('`', "");
        return format!("{missing} is missing: write {missing} = ...");
    }
    let message = match message.strip_prefix("unknown variant ") {
        Some(rest) => {
            let words = words(rest);
            let (word, known) = words
                .split_first()
                .map_or(("", [].as_slice()), |(word, known)| (word.as_str(), known));
            let known: Vec<_> = known.iter().map(String::as_str).collect();
            unknown("word", word, &known)
        }
        None => message.replace('`', "\""),
    };
    match key {
        Some(key) => format!("{key}: {message}"),
        None => message,
    }
}

fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    let near = similar::get_close_matches(word, known, 1, 0.6);
    let known = known.join(", ");
    match near.first() {
        Some(near) => format!("there is no {what} {word:?}; did you mean {near}? There are {known}"),
        None => format!("there is no {what} {word:?}; there are {known}"),
    }
}

/// The keys of a table, by its type.
fn fields<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Ask<'a>(&'a mut &'static [&'static str]);

    impl<'de> serde::Deserializer<'de> for Ask<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_any<V: serde::de::Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
            Err(serde::de::Error::custom("asked for its fields alone"))
        }

        fn deserialize_struct<V: serde::de::Visitor<'de>>(
            self,
            _name: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            self.deserialize_any(visitor)
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let mut fields: &'static [&'static str] = &[];
    let _asked = T::deserialize(Ask(&mut fields));
    fields
}
