//! The daemon's metrics by name, and Prometheus' text of them. It takes plain figures and knows neither node nor sockets.
//!
//! Names and units are Prometheus' conventions. What a container can make many of is bounded: a call, an errno or a
//! container that was not among the first so many is counted as `other`, and stays there, so that no counter ever goes
//! back.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    net::SocketAddr,
    path::Path,
    sync::Arc,
};

pub use prometheus_client::registry::Unit;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, prometheus_text},
    metrics::MetricType,
    registry::Registry,
};
use serde::{Deserialize, Serialize};

use crate::{
    event::Books,
    histogram::Histogram,
    report::{Names, SinkStatus, Status, counted::Call},
};

/// `[metrics]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// An address (`127.0.0.1:9464`), or the absolute path of a socket; empty: nowhere.
    pub listen: String,
    /// Containers that have series of their own.
    pub containers: usize,
    /// System calls, and pairs of call and errno, of one container that have series of their own.
    pub calls: usize,
    /// Of these, how many have a histogram.
    pub histograms: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: String::new(),
            containers: 200,
            calls: 64,
            histograms: 16,
        }
    }
}

impl Settings {
    /// The socket's path, where it is one.
    pub fn socket(listen: &str) -> Option<&Path> {
        listen.starts_with('/').then_some(Path::new(listen))
    }

    /// What whoever set this should know.
    pub fn warning(&self) -> Option<String> {
        let address = self.listen.parse::<SocketAddr>().ok()?;
        (!address.ip().is_loopback()).then(|| {
            format!(
                "{address} is no loopback address: whoever reaches it reads the names of all containers and what they \
                 call, without a password; 127.0.0.1, or a socket, keeps that on this machine"
            )
        })
    }

    /// What cannot be, by the key that says it.
    ///
    /// # Errors
    /// The key, and what to write.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let listen = self.listen.as_str();
        let address = listen.parse::<SocketAddr>().is_ok();
        let socket = Self::socket(listen).is_some_and(|path| path.file_name().is_some());
        if listen.is_empty() || address || socket {
            return Ok(());
        }
        let what =
            format!("{listen:?} is neither an address like 127.0.0.1:9464 nor an absolute path of a socket");
        Err(("listen", what))
    }
}

/// A container's counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub names: Names,
    /// No other has it, even of the same id.
    pub key: (u32, u32),
    pub books: Books,
    /// Of its application, by name.
    pub calls: HashMap<String, Call>,
}

/// All that is told, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub status: Status,
    /// Containers that were ever taken in.
    pub registered: u64,
    /// Of all of them.
    pub books: Books,
    pub containers: Vec<Container>,
    /// Bytes that waited in the ring when it was last read.
    pub ring_bytes: u64,
}

/// What all names begin with.
pub const PREFIX: &str = "tracer";
/// The word for what has no series of its own.
const OTHER: &str = "other";

/// Who has series of their own, of one container or of all.
#[derive(Clone, Debug)]
struct Chosen<K> {
    own: HashSet<K>,
    other: HashSet<K>,
}

impl<K> Default for Chosen<K> {
    fn default() -> Self {
        Self {
            own: HashSet::new(),
            other: HashSet::new(),
        }
    }
}

impl<K: Clone + Eq + std::hash::Hash + Ord> Chosen<K> {
    /// Takes in what is new, the most frequent first, while there is room for it.
    fn choose(&mut self, counts: impl IntoIterator<Item = (K, u64)>, room: usize) {
        let is_new = |(key, _): &(K, u64)| !self.own.contains(key) && !self.other.contains(key);
        let mut new: Vec<_> = counts.into_iter().filter(is_new).collect();
        new.sort_by(|(a, many), (b, few)| few.cmp(many).then_with(|| a.cmp(b)));
        for (key, _) in new {
            if self.own.len() < room {
                self.own.insert(key);
            } else {
                self.other.insert(key);
            }
        }
    }
}

/// What was chosen of a container.
#[derive(Debug, Default)]
struct Series {
    calls: Chosen<String>,
    errors: Chosen<(String, String)>,
    histograms: Chosen<String>,
}

/// Which containers, calls and errors have series of their own: from one scrape to the next.
#[derive(Debug, Default)]
pub struct Memory {
    containers: HashMap<(u32, u32), Series>,
}

impl Memory {
    /// The figures by name. What is known no more is forgotten.
    pub fn families(&mut self, figures: &Figures, settings: &Settings) -> Vec<Family> {
        let present: HashSet<_> = figures.containers.iter().map(|one| one.key).collect();
        self.containers.retain(|key, _| present.contains(key));
        let mut counted = Vec::new();
        let mut left_out = 0;
        for container in &figures.containers {
            let key = container.key;
            if !self.containers.contains_key(&key) && self.containers.len() >= settings.containers {
                left_out += 1;
                continue;
            }
            counted.push(Counted::of(
                container,
                self.containers.entry(key).or_default(),
                settings,
            ));
        }
        let mut families = of_node(figures, left_out);
        families.extend(of_containers(&counted));
        families
    }
}

/// A container's series.
#[derive(Debug)]
struct Counted {
    labels: Labels,
    lost: Vec<(&'static str, u64)>,
    calls: BTreeMap<String, u64>,
    errors: BTreeMap<(String, String), u64>,
    histograms: BTreeMap<String, Histogram>,
}

/// Keys and values.
pub type Labels = Vec<(&'static str, String)>;

impl Counted {
    fn of(container: &Container, series: &mut Series, settings: &Settings) -> Self {
        let calls = || container.calls.iter();
        let errors = || {
            calls().flat_map(|(name, call)| {
                call.errors
                    .iter()
                    .map(|(errno, count)| ((name.clone(), errno.clone()), *count))
            })
        };
        series.calls.choose(
            calls().map(|(name, call)| (name.clone(), call.count)),
            settings.calls,
        );
        series.errors.choose(errors(), settings.calls);
        let timed = calls().filter(|(_, call)| call.durations.calls() > 0);
        series.histograms.choose(
            timed.map(|(name, call)| (name.clone(), call.count)),
            settings.histograms,
        );
        let mut counted = Self {
            labels: labels(&container.names),
            lost: lost(&container.books),
            calls: BTreeMap::new(),
            errors: BTreeMap::new(),
            histograms: BTreeMap::new(),
        };
        for (name, call) in calls() {
            let of = |chosen: &Chosen<String>| {
                let own = chosen.own.contains(name);
                if own { name.clone() } else { OTHER.to_owned() }
            };
            if call.count > 0 {
                *counted.calls.entry(of(&series.calls)).or_default() += call.count;
            }
            if call.durations.calls() > 0 {
                let sum = counted.histograms.entry(of(&series.histograms)).or_default();
                sum.merge(&call.durations);
            }
        }
        for (pair, count) in errors() {
            let own = series.errors.own.contains(&pair);
            let pair = if own {
                pair
            } else {
                (OTHER.to_owned(), OTHER.to_owned())
            };
            *counted.errors.entry(pair).or_default() += count;
        }
        counted
    }

    fn with(&self, more: &[(&'static str, &str)]) -> Labels {
        let more = more.iter().map(|(key, value)| (*key, (*value).to_owned()));
        self.labels.iter().cloned().chain(more).collect()
    }
}

fn labels(names: &Names) -> Labels {
    let Names {
        id,
        name,
        pod,
        namespace,
        ..
    } = names;
    let mut labels = vec![("container", name.clone()), ("id", id.clone())];
    labels.extend(pod.clone().map(|pod| ("pod", pod)));
    labels.extend(namespace.clone().map(|namespace| ("namespace", namespace)));
    labels
}

fn lost(books: &Books) -> Vec<(&'static str, u64)> {
    vec![
        ("ring_full", books.dropped.ring_full),
        ("no_storage", books.dropped.no_storage),
        ("unpaired", books.dropped.unpaired),
        ("rate_limit", books.dropped.rate_limit),
        ("ring_share", books.dropped.ring_share),
        ("undecodable", books.undecodable),
        ("queue_drop", books.queue_drop),
    ]
}

/// What is told under one name.
#[derive(Clone, Debug)]
pub struct Family {
    /// Without prefix, unit and `_total`.
    pub name: &'static str,
    pub help: &'static str,
    pub unit: Option<Unit>,
    pub values: Values,
}

/// Its series, and how their values come to be.
#[derive(Clone, Debug)]
pub enum Values {
    /// They only grow.
    Counters(Vec<(Labels, u64)>),
    Gauges(Vec<(Labels, u64)>),
    Durations(Vec<(Labels, Histogram)>),
}

impl Values {
    /// How many series.
    pub fn len(&self) -> usize {
        match self {
            Self::Counters(values) | Self::Gauges(values) => values.len(),
            Self::Durations(values) => values.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Upper ends of a histogram's buckets, as powers of two of nanoseconds: 1 us, and each four times the last. The kernel side
/// tells no durations apart that are longer than the last.
const ENDS: [usize; 12] = [10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 31];

/// The buckets of durations: upper ends in seconds, and how many are in each; what is beyond the last one comes last, at
/// infinity.
pub fn buckets(durations: &Histogram) -> Vec<(f64, u64)> {
    let mut below = 0;
    let mut buckets: Vec<(f64, u64)> = Vec::new();
    for end in ENDS {
        let upto = durations.below(end);
        buckets.push((seconds(1 << end), upto - below));
        below = upto;
    }
    buckets.push((f64::INFINITY, durations.calls() - below));
    buckets
}

/// Nanoseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "a sum of nanoseconds to 15 digits")]
pub fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn counters(name: &'static str, help: &'static str, values: Vec<(Labels, u64)>) -> Family {
    Family {
        name,
        help,
        unit: None,
        values: Values::Counters(values),
    }
}

fn gauges(name: &'static str, help: &'static str, values: Vec<(Labels, u64)>) -> Family {
    Family {
        name,
        help,
        unit: None,
        values: Values::Gauges(values),
    }
}

fn bytes(name: &'static str, help: &'static str, values: Vec<(Labels, u64)>) -> Family {
    Family {
        unit: Some(Unit::Bytes),
        ..gauges(name, help, values)
    }
}

fn one(value: u64) -> Vec<(Labels, u64)> {
    vec![(Labels::new(), value)]
}

/// What is of the node as a whole.
fn of_node(figures: &Figures, left_out: u64) -> Vec<Family> {
    let Figures {
        status,
        registered,
        books,
        ring_bytes,
        ..
    } = figures;
    let build = vec![
        ("version", status.version.clone()),
        ("abi", status.abi_version.to_string()),
    ];
    let ways = [
        ("admitted", books.admitted),
        ("emitted", books.emitted),
        ("filtered", books.filtered),
        ("counted", books.counted),
        ("decoded", books.decoded),
    ];
    let ways = ways
        .map(|(way, value)| (vec![("stage", way.to_owned())], value))
        .to_vec();
    let mut families = vec![
        gauges(
            "build_info",
            "Version of the daemon, and of its contract with its kernel programs",
            vec![(build, 1)],
        ),
        gauges(
            "programs_attached",
            "Whether the kernel programs are attached",
            one(u64::from(status.attached)),
        ),
        gauges(
            "containers",
            "Containers that are traced now",
            one(status.containers as u64),
        ),
        gauges(
            "missed_containers",
            "Containers that started while no daemon answered",
            one(status.missed as u64),
        ),
        gauges(
            "unregistered_containers",
            "Containers that ask to be traced, run, and are not",
            one(status.tracer_unregistered_containers as u64),
        ),
        counters(
            "containers_registered",
            "Containers that were taken in",
            one(*registered),
        ),
        counters(
            "refused",
            "Registrations and connections that were refused",
            by("reason", borrowed(&status.refused)),
        ),
        counters(
            "kernel",
            "Counters of the kernel side that belong to no container",
            by("counter", borrowed(&status.counters)),
        ),
        counters(
            "missed_runs",
            "Runs of tracing programs that the kernel skipped, since the same one was preempted on that CPU",
            by("program", borrowed(&status.missed_runs)),
        ),
        counters("calls", "System calls by how far they came: the books", ways),
        counters(
            "lost_events",
            "Events that reached no sink, by reason",
            by("reason", lost(books)),
        ),
        bytes(
            "ring_backlog",
            "Bytes that waited in the kernel's ring buffer when it was last read",
            one(*ring_bytes),
        ),
    ];
    families.extend(sinks_of(&status.sinks));
    families.push(gauges(
        "containers_without_series",
        "Containers beyond the limit: they have no series",
        one(left_out),
    ));
    families
}

/// What is of one container.
fn of_containers(counted: &[Counted]) -> Vec<Family> {
    let lost = counted.iter().flat_map(|one| {
        let seen = one.lost.iter().filter(|(_, count)| *count > 0);
        seen.map(|(reason, count)| (one.with(&[("reason", reason)]), *count))
    });
    let calls = counted.iter().flat_map(|one| {
        one.calls
            .iter()
            .map(|(call, count)| (one.with(&[("syscall", call)]), *count))
    });
    let errors = counted.iter().flat_map(|one| {
        one.errors
            .iter()
            .map(|((call, errno), count)| (one.with(&[("syscall", call), ("errno", errno)]), *count))
    });
    let durations = counted.iter().flat_map(|one| {
        one.histograms
            .iter()
            .map(|(call, durations)| (one.with(&[("syscall", call)]), durations.clone()))
    });
    vec![
        counters(
            "container_lost_events",
            "Events of a container that reached no sink, by reason",
            lost.collect(),
        ),
        counters(
            "container_syscalls",
            "System calls of a container's application that returned",
            calls.collect(),
        ),
        counters(
            "container_syscall_errors",
            "System calls of a container's application that failed",
            errors.collect(),
        ),
        Family {
            name: "container_syscall_duration",
            help: "Time in system calls of a container's application",
            unit: Some(Unit::Seconds),
            values: Values::Durations(durations.collect()),
        },
    ]
}

fn sinks_of(sinks: &[SinkStatus]) -> Vec<Family> {
    let labels = |sink: &SinkStatus| vec![("sink", sink.books.name.clone()), ("kind", sink.kind.clone())];
    let results = sinks.iter().flat_map(|sink| {
        let books = &sink.books;
        [
            ("written", books.written),
            ("dropped", books.dropped),
            ("skipped", books.skipped),
        ]
        .map(|(result, count)| {
            let mut labels = labels(sink);
            labels.push(("result", result.to_owned()));
            (labels, count)
        })
    });
    let each = |value: fn(&SinkStatus) -> u64| sinks.iter().map(|sink| (labels(sink), value(sink))).collect();
    vec![
        counters(
            "sink_events",
            "Events by what a sink did with them",
            results.collect(),
        ),
        gauges(
            "sink_queue_events",
            "Events that wait for a sink",
            each(|sink| sink.books.queued),
        ),
        bytes(
            "sink_queue",
            "Bytes that wait for a sink",
            each(|sink| sink.queue_bytes as u64),
        ),
        bytes(
            "sink_queue_size",
            "Bytes that may wait for a sink",
            each(|sink| sink.queue_size as u64),
        ),
    ]
}

fn by<'a>(label: &'static str, values: impl IntoIterator<Item = (&'a str, u64)>) -> Vec<(Labels, u64)> {
    let labelled = |(key, value): (&str, u64)| (vec![(label, key.to_owned())], value);
    values.into_iter().map(labelled).collect()
}

fn borrowed(counts: &BTreeMap<String, u64>) -> impl Iterator<Item = (&str, u64)> {
    counts.iter().map(|(key, count)| (key.as_str(), *count))
}

/// Prometheus' text.
///
/// # Errors
/// When a value has no text.
pub fn text(families: &Arc<Vec<Family>>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Scrape(families.clone())));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry)?;
    Ok(text)
}

/// One scrape.
#[derive(Debug)]
struct Scrape(Arc<Vec<Family>>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Family {
            name,
            help,
            unit,
            values,
        } in self.0.iter()
        {
            let kind = match values {
                Values::Counters(_) => MetricType::Counter,
                Values::Gauges(_) => MetricType::Gauge,
                Values::Durations(_) => MetricType::Histogram,
            };
            let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
            match values {
                Values::Counters(values) => {
                    for (labels, value) in values {
                        family
                            .encode_family(labels)?
                            .encode_counter::<Labels, u64, f64>(value, None)?;
                    }
                }
                Values::Gauges(values) => {
                    for (labels, value) in values {
                        family.encode_family(labels)?.encode_gauge(value)?;
                    }
                }
                Values::Durations(values) => {
                    for (labels, durations) in values {
                        family.encode_family(labels)?.encode_histogram::<Labels>(
                            seconds(durations.total_ns()),
                            durations.calls(),
                            &buckets(durations),
                            None,
                        )?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
