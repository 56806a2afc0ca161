//! The daemon's metrics as OpenTelemetry's: the same series as Prometheus gets, with the attributes' names that log
//! records have. It writes bytes and does no I/O.

use std::ops::Range;

use opentelemetry_proto::tonic::{
    collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse},
    common::v1::KeyValue,
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point::Value,
    },
    resource::v1::Resource,
};
use prost::Message;

use super::logs::{SCHEMA_URL, scope, word};
use crate::metrics::{self, Family, Labels, Unit, Values};

/// Points of one request at most: a receiver's usual bound is 4 MiB, and a point has some 200 bytes.
const POINTS: usize = 8192;

/// The requests that carry these series, as of `now` and counted since `since` (nanoseconds since 1970):
/// `ExportMetricsServiceRequest`.
pub(super) fn requests(resource: &Resource, families: &[Family], since: u64, now: u64) -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    let (mut metrics, mut room) = (Vec::new(), POINTS);
    let mut send = |metrics: &mut Vec<Metric>| {
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(resource.clone()),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(scope()),
                    metrics: std::mem::take(metrics),
                    schema_url: SCHEMA_URL.to_owned(),
                }],
                schema_url: SCHEMA_URL.to_owned(),
            }],
        };
        requests.push(request.encode_to_vec());
    };
    for family in families {
        let (mut from, all) = (0, family.values.len());
        while from < all {
            let to = all.min(from + room);
            metrics.push(metric(family, from..to, since, now));
            room -= to - from;
            from = to;
            if room == 0 {
                send(&mut metrics);
                room = POINTS;
            }
        }
    }
    if !metrics.is_empty() {
        send(&mut metrics);
    }
    requests
}

/// Some of a family's series.
fn metric(family: &Family, range: Range<usize>, since: u64, now: u64) -> Metric {
    let numbers = |values: &[(Labels, u64)], since| {
        let points = values.get(range.clone()).unwrap_or_default().iter();
        points
            .map(|(labels, value)| NumberDataPoint {
                attributes: attributes(labels),
                start_time_unix_nano: since,
                time_unix_nano: now,
                value: Some(Value::AsInt(i64::try_from(*value).unwrap_or(i64::MAX))),
                ..NumberDataPoint::default()
            })
            .collect()
    };
    let temporality = AggregationTemporality::Cumulative.into();
    let data = match &family.values {
        Values::Counters(values) => Data::Sum(Sum {
            data_points: numbers(values, since),
            aggregation_temporality: temporality,
            is_monotonic: true,
        }),
        Values::Gauges(values) => Data::Gauge(Gauge {
            data_points: numbers(values, 0),
        }),
        Values::Durations(values) => Data::Histogram(Histogram {
            data_points: values
                .get(range)
                .unwrap_or_default()
                .iter()
                .map(|(labels, durations)| {
                    let (ends, counts): (Vec<f64>, Vec<u64>) =
                        metrics::buckets(durations).into_iter().unzip();
                    HistogramDataPoint {
                        attributes: attributes(labels),
                        start_time_unix_nano: since,
                        time_unix_nano: now,
                        count: durations.calls(),
                        sum: Some(metrics::seconds(durations.total_ns())),
                        bucket_counts: counts,
                        // The last one has no end.
                        explicit_bounds: ends.into_iter().filter(|end| end.is_finite()).collect(),
                        ..HistogramDataPoint::default()
                    }
                })
                .collect(),
            aggregation_temporality: temporality,
        }),
    };
    Metric {
        name: format!("{}.{}", metrics::PREFIX, family.name),
        description: family.help.to_owned(),
        unit: match family.unit {
            Some(Unit::Seconds) => "s",
            Some(Unit::Bytes) => "By",
            _ => "",
        }
        .to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

/// By the names that the attributes of log records have.
fn attributes(labels: &Labels) -> Vec<KeyValue> {
    let attribute = |(key, value): &(&'static str, String)| {
        let key = match *key {
            "container" => "container.name".to_owned(),
            "id" => "container.id".to_owned(),
            "pod" => "k8s.pod.name".to_owned(),
            "namespace" => "k8s.namespace.name".to_owned(),
            key => format!("{}.{key}", metrics::PREFIX),
        };
        word(&key, value.as_str())
    };
    labels.iter().map(attribute).collect()
}

/// How many points the receiver rejected, and why, or what it wants known.
pub(super) fn rejected(answer: &[u8]) -> (u64, String) {
    let answer = ExportMetricsServiceResponse::decode(answer).unwrap_or_default();
    answer.partial_success.map_or((0, String::new()), |partial| {
        let rejected = u64::try_from(partial.rejected_data_points).unwrap_or(0);
        (rejected, partial.error_message)
    })
}
