//! The daemon's metrics in Prometheus' text format. It takes plain figures and knows neither node nor sockets.
//!
//! Names and units are Prometheus' conventions. What a container can make many of is bounded: a call, an errno or a
//! container that was not among the first so many is counted as `other`, and stays there, so that no counter ever goes
//! back.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    net::SocketAddr,
    path::Path,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, prometheus_text},
    metrics::MetricType,
    registry::{Registry, Unit},
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
    /// The figures as text. What is known no more is forgotten.
    ///
    /// # Errors
    /// When a value has no text.
    pub fn text(&mut self, figures: &Figures, settings: &Settings) -> Result<String, fmt::Error> {
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
        let mut registry = Registry::with_prefix("tracer");
        registry.register_collector(Box::new(Scrape {
            figures: figures.clone(),
            counted,
            left_out,
        }));
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry)?;
        Ok(text)
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

type Labels = Vec<(&'static str, String)>;

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
        ("undecodable", books.undecodable),
        ("queue_drop", books.queue_drop),
    ]
}

/// One scrape.
#[derive(Debug)]
struct Scrape {
    figures: Figures,
    counted: Vec<Counted>,
    /// Containers without series.
    left_out: u64,
}

/// Upper ends of a histogram's buckets, as powers of two of nanoseconds: 1 us, and each four times the last. The kernel side
/// tells no durations apart that are longer than the last.
const ENDS: [usize; 12] = [10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 31];

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Figures {
            status,
            registered,
            books,
            ring_bytes,
            ..
        } = &self.figures;
        let to = &mut encoder;
        let one = |value: u64| vec![(Labels::new(), value)];
        let build = vec![
            ("version", status.version.clone()),
            ("abi", status.abi_version.to_string()),
        ];
        gauge(
            to,
            "build_info",
            "Version of the daemon, and of its contract with its kernel programs",
            vec![(build, 1)],
        )?;
        gauge(
            to,
            "programs_attached",
            "Whether the kernel programs are attached",
            one(u64::from(status.attached)),
        )?;
        gauge(
            to,
            "containers",
            "Containers that are traced now",
            one(status.containers as u64),
        )?;
        gauge(
            to,
            "missed_containers",
            "Containers that started while no daemon answered",
            one(status.missed as u64),
        )?;
        let unregistered = one(status.tracer_unregistered_containers as u64);
        gauge(
            to,
            "unregistered_containers",
            "Containers that ask to be traced, run, and are not",
            unregistered,
        )?;
        counter(
            to,
            "containers_registered",
            "Containers that were taken in",
            one(*registered),
        )?;
        let refused = by("reason", borrowed(&status.refused));
        counter(
            to,
            "refused",
            "Registrations and connections that were refused",
            refused,
        )?;
        counter(
            to,
            "kernel",
            "Counters of the kernel side that belong to no container",
            by("counter", borrowed(&status.counters)),
        )?;
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
        counter(to, "calls", "System calls by how far they came: the books", ways)?;
        counter(
            to,
            "lost_events",
            "Events that reached no sink, by reason",
            by("reason", lost(books)),
        )?;
        let help = "Bytes that waited in the kernel's ring buffer when it was last read";
        gauge_in(to, "ring_backlog", help, Unit::Bytes, one(*ring_bytes))?;
        sinks_of(to, &status.sinks)?;
        let left_out = one(self.left_out);
        gauge(
            to,
            "containers_without_series",
            "Containers beyond the limit: they have no series",
            left_out,
        )?;
        let lost = self.counted.iter().flat_map(|one| {
            let seen = one.lost.iter().filter(|(_, count)| *count > 0);
            seen.map(|(reason, count)| (one.with(&[("reason", reason)]), *count))
        });
        counter(
            to,
            "container_lost_events",
            "Events of a container that reached no sink, by reason",
            lost.collect(),
        )?;
        let calls = self.counted.iter().flat_map(|one| {
            one.calls
                .iter()
                .map(|(call, count)| (one.with(&[("syscall", call)]), *count))
        });
        counter(
            to,
            "container_syscalls",
            "System calls of a container's application that returned",
            calls.collect(),
        )?;
        let errors = self.counted.iter().flat_map(|one| {
            one.errors
                .iter()
                .map(|((call, errno), count)| (one.with(&[("syscall", call), ("errno", errno)]), *count))
        });
        let help = "System calls of a container's application that failed";
        counter(to, "container_syscall_errors", help, errors.collect())?;
        self.durations(to)
    }
}

impl Scrape {
    fn durations(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Time in system calls of a container's application";
        let mut family = to.encode_descriptor(
            "container_syscall_duration",
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for one in &self.counted {
            for (call, histogram) in &one.histograms {
                let mut below = 0;
                let mut buckets: Vec<(f64, u64)> = Vec::new();
                for end in ENDS {
                    let upto = histogram.below(end);
                    buckets.push((seconds(1 << end), upto - below));
                    below = upto;
                }
                let count = histogram.calls();
                buckets.push((f64::INFINITY, count - below));
                family
                    .encode_family(&one.with(&[("syscall", call)]))?
                    .encode_histogram::<Labels>(seconds(histogram.total_ns()), count, &buckets, None)?;
            }
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a sum of nanoseconds to 15 digits")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn sinks_of(to: &mut DescriptorEncoder<'_>, sinks: &[SinkStatus]) -> fmt::Result {
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
    counter(
        to,
        "sink_events",
        "Events by what a sink did with them",
        results.collect(),
    )?;
    let each = |value: fn(&SinkStatus) -> u64| sinks.iter().map(|sink| (labels(sink), value(sink))).collect();
    gauge(
        to,
        "sink_queue_events",
        "Events that wait for a sink",
        each(|sink| sink.books.queued),
    )?;
    gauge_in(
        to,
        "sink_queue",
        "Bytes that wait for a sink",
        Unit::Bytes,
        each(|sink| sink.queue_bytes as u64),
    )?;
    let help = "Bytes that may wait for a sink";
    gauge_in(
        to,
        "sink_queue_size",
        help,
        Unit::Bytes,
        each(|sink| sink.queue_size as u64),
    )
}

fn by<'a>(label: &'static str, values: impl IntoIterator<Item = (&'a str, u64)>) -> Vec<(Labels, u64)> {
    let labelled = |(key, value): (&str, u64)| (vec![(label, key.to_owned())], value);
    values.into_iter().map(labelled).collect()
}

fn borrowed(counts: &BTreeMap<String, u64>) -> impl Iterator<Item = (&str, u64)> {
    counts.iter().map(|(key, count)| (key.as_str(), *count))
}

fn counter(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: Vec<(Labels, u64)>,
) -> fmt::Result {
    let mut family = to.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in values {
        family
            .encode_family(&labels)?
            .encode_counter::<Labels, u64, f64>(&value, None)?;
    }
    Ok(())
}

fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, values: Vec<(Labels, u64)>) -> fmt::Result {
    let family = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
    gauges(family, values)
}

fn gauge_in(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Unit,
    values: Vec<(Labels, u64)>,
) -> fmt::Result {
    let family = to.encode_descriptor(name, help, Some(&unit), MetricType::Gauge)?;
    gauges(family, values)
}

fn gauges(
    mut family: prometheus_client::encoding::MetricEncoder<'_>,
    values: Vec<(Labels, u64)>,
) -> fmt::Result {
    for (labels, value) in values {
        family.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
