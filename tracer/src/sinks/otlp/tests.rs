//! Requests, read back by the protocol's own types; the receiver itself is the end-to-end tests' (`tests/tests/otlp.rs`).

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse},
        metrics::v1::{
            ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        },
    },
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{metric::Data, number_data_point::Value as Number},
};
use prost::Message;

use super::*;
use crate::{
    event::{Arch, Body, Comm, Container, Event, Loss, LossReason, Outcome, Syscall, Task},
    metrics::{Unit, Values},
    sinks::delivery::Id,
};

fn event(body: Body) -> Event {
    let container = Container {
        id: "4f1c".into(),
        name: "web".into(),
        pod: Some("shop-0".into()),
        namespace: Some("prod".into()),
        ..Container::default()
    };
    Event {
        time_ns: 1_700_000_000_000_000_001,
        ktime: 77,
        container: std::sync::Arc::new(container),
        body,
    }
}

fn call(outcome: Outcome) -> Event {
    event(Body::Syscall(Syscall {
        task: Task {
            pid: 7,
            tid: 8,
            comm: Comm(*b"na\xffme\0\0\0\0\0\0\0\0\0\0\0"),
            ..Task::default()
        },
        seq: 42,
        arch: Arch::X86_64,
        nr: 39,
        name: "getpid".into(),
        args: Default::default(),
        outcome,
        duration_ns: Some(1832),
        denied_by: None,
        negative: None,
        evidence: None,
    }))
}

fn get<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

#[test]
fn a_request_is_what_the_protocol_says() {
    let loss = Loss {
        reason: LossReason::Sink,
        count: 3,
        hole: None,
    };
    let events = [
        call(Outcome::Value(7)),
        call(Outcome::Error(2)),
        event(Body::Loss(loss)),
    ];
    let records: Vec<_> = events
        .iter()
        .map(|event| {
            let mut record = Vec::new();
            logs::write_event(&mut record, event, Descriptors::Numbers);
            record
        })
        .collect();
    let settings = Settings {
        resource: BTreeMap::from([("service.name".into(), "mine".into())]),
        ..Settings::default()
    };
    let ids = (5..).map(|number| Id { run: 0xab, number });
    let bytes = logs::request(&settings.resource(), ids.zip(records.iter().map(Vec::as_slice)));
    let request = ExportLogsServiceRequest::decode(&bytes[..]).unwrap();
    assert_eq!(request.encoded_len(), bytes.len(), "nothing is left over");
    let [resource] = &request.resource_logs[..] else {
        panic!("{request:?}")
    };
    let its = &resource.resource.as_ref().unwrap().attributes;
    assert_eq!(get(its, "service.name"), Some(&Value::StringValue("mine".into())));
    assert!(get(its, "host.name").is_some());
    let records = &resource.scope_logs[0].log_records;
    let text = |record: usize, key: &str| match get(&records[record].attributes, key) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    let severities: Vec<_> = records
        .iter()
        .map(|record| (record.severity_number, record.event_name.as_str()))
        .collect();
    assert_eq!(
        severities,
        [(9, "tracer.syscall"), (13, "tracer.syscall"), (17, "tracer.loss")]
    );
    assert_eq!(records[0].time_unix_nano, 1_700_000_000_000_000_001);
    let body = records[1].body.clone().unwrap().value;
    assert_eq!(
        body,
        Some(Value::StringValue(
            "getpid() = -1 ENOENT (No such file or directory) <0.000002>".into()
        ))
    );
    for (record, key, expected) in [
        (0, "container.id", "4f1c"),
        (0, "container.name", "web"),
        (0, "k8s.pod.name", "shop-0"),
        (0, "k8s.namespace.name", "prod"),
        (0, "process.pid", "7"),
        (0, "thread.id", "8"),
        (0, "thread.name", "na\u{fffd}me"),
        (0, "tracer.seq", "42"),
        (0, "tracer.ret", "7"),
        (0, "tracer.duration_ns", "1832"),
        (0, "tracer.errno", "None"),
        (0, "tracer.id", "00000000000000ab-5"),
        (1, "tracer.ret", "-1"),
        (1, "tracer.errno", "ENOENT"),
        (1, "error.type", "ENOENT"),
        (1, "tracer.id", "00000000000000ab-6"),
        (2, "tracer.loss.count", "3"),
        (2, "tracer.loss.reason", "sink_drop"),
        (2, "tracer.type", "loss"),
    ] {
        assert_eq!(text(record, key), expected, "{key} of {record}");
    }
}

#[test]
fn an_answer_says_what_was_rejected() {
    let answer = |rejected, why: &str| {
        ExportLogsServiceResponse {
            partial_success: Some(ExportLogsPartialSuccess {
                rejected_log_records: rejected,
                error_message: why.into(),
            }),
        }
        .encode_to_vec()
    };
    assert_eq!(logs::rejected(&answer(3, "too old")), (3, "too old".into()));
    assert_eq!(logs::rejected(&answer(-1, "")), (0, String::new()));
    assert_eq!(logs::rejected(b""), (0, String::new()));
    assert_eq!(logs::rejected(b"<html>"), (0, String::new()));
}

#[test]
fn metrics_are_what_the_protocol_says_and_as_many() {
    let mut durations = crate::histogram::Histogram::default();
    for ns in [500, 5_000, 3_000_000_000] {
        durations.took(ns);
    }
    let labels = |number: usize| {
        vec![
            ("container", "web".to_owned()),
            ("id", format!("{number}")),
            ("syscall", "read".to_owned()),
        ]
    };
    let many = 10_000;
    let family = |name, unit, values| Family {
        name,
        help: "what it is",
        unit,
        values,
    };
    let families = [
        family(
            "calls",
            None,
            Values::Counters((0..many).map(|at| (labels(at), at as u64)).collect()),
        ),
        family("nothing", None, Values::Gauges(Vec::new())),
        family(
            "queue",
            Some(Unit::Bytes),
            Values::Gauges(vec![(vec![("sink", "s".into())], 7)]),
        ),
        family(
            "time",
            Some(Unit::Seconds),
            Values::Durations(vec![(labels(0), durations)]),
        ),
    ];
    let settings = Settings::default();
    let requests = super::metrics::requests(&settings.resource(), &families, 5, 9);
    assert_eq!(requests.len(), 2, "10002 points");
    let read: Vec<_> = requests
        .iter()
        .map(|request| ExportMetricsServiceRequest::decode(&request[..]).unwrap())
        .flat_map(|mut request| {
            let mut resource = request.resource_metrics.remove(0);
            assert!(get(&resource.resource.unwrap().attributes, "service.name").is_some());
            resource.scope_metrics.remove(0).metrics
        })
        .collect();
    let names: Vec<_> = read
        .iter()
        .map(|metric| (metric.name.as_str(), metric.unit.as_str()))
        .collect();
    let wanted = [
        ("tracer.calls", ""),
        ("tracer.calls", ""),
        ("tracer.queue", "By"),
        ("tracer.time", "s"),
    ];
    assert_eq!(names, wanted);
    let mut seen = 0;
    for metric in &read {
        match metric.data.as_ref().unwrap() {
            Data::Sum(sum) => {
                assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "cumulative");
                for point in &sum.data_points {
                    assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (5, 9));
                    let id = format!("{seen}");
                    assert_eq!(
                        get(&point.attributes, "container.id"),
                        Some(&Value::StringValue(id))
                    );
                    assert_eq!(point.value, Some(Number::AsInt(seen)));
                    seen += 1;
                }
            }
            Data::Gauge(gauge) => {
                let [point] = gauge.data_points.as_slice() else {
                    panic!("one")
                };
                assert_eq!(point.value, Some(Number::AsInt(7)));
                assert_eq!(
                    get(&point.attributes, "tracer.sink"),
                    Some(&Value::StringValue("s".into()))
                );
            }
            Data::Histogram(histogram) => {
                let [point] = histogram.data_points.as_slice() else {
                    panic!("one")
                };
                assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                assert_eq!(point.bucket_counts.iter().sum::<u64>(), 3);
                assert_eq!((point.bucket_counts[0], point.bucket_counts[12]), (1, 1));
                assert_eq!((point.count, point.sum), (3, Some(3.000_005_5)));
                assert!(point.explicit_bounds[0] > 1e-6 && point.explicit_bounds[11] > 2.0);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, many as i64);
    let answer = ExportMetricsServiceResponse {
        partial_success: Some(ExportMetricsPartialSuccess {
            rejected_data_points: 2,
            error_message: "too many".into(),
        }),
    };
    assert_eq!(
        super::metrics::rejected(&answer.encode_to_vec()),
        (2, "too many".into())
    );
    assert_eq!(super::metrics::rejected(b"<html>"), (0, String::new()));
    let every = |ms| Settings {
        metrics_every: Time(Duration::from_millis(ms)),
        ..Settings::default()
    };
    assert!(every(0).check().is_ok() && every(1000).check().is_ok());
    assert_eq!(every(999).check().unwrap_err().0, "metrics_every");
    assert_eq!(every(0).url(Signal::Metrics), "http://127.0.0.1:4318/v1/metrics");
}

#[test]
fn times_to_wait_are_read_in_both_forms() {
    let now = std::time::UNIX_EPOCH + Duration::from_secs(1_445_412_470);
    for (value, seconds) in [
        ("7", Some(7)),
        (" 0 ", Some(0)),
        ("Wed, 21 Oct 2015 07:28:00 GMT", Some(10)),
        ("Wed, 21 Oct 2015 07:27:00 GMT", None),
        ("soon", None),
        ("-1", None),
    ] {
        assert_eq!(
            retry_after(value, now),
            seconds.map(Duration::from_secs),
            "{value}"
        );
    }
}

#[test]
fn headers_and_addresses_are_checked() {
    let read = headers("# a token\nAuthorization: Bearer x:y\n\nX-Scope-OrgID:1\n").unwrap();
    assert_eq!(read[0].0, "authorization");
    assert_eq!(read[0].1.to_str().unwrap(), "Bearer x:y");
    assert!(!format!("{read:?}").contains("Bearer"), "a secret is not shown");
    assert_eq!(read[1].1.to_str().unwrap(), "1");
    assert_eq!(headers("a: b\nno colon").unwrap_err(), 2);
    assert_eq!(headers("a b: c").unwrap_err(), 1);
    let check = |endpoint: &str| {
        let settings = Settings {
            endpoint: endpoint.into(),
            ..Settings::default()
        };
        (settings.check().is_ok(), settings.url(Signal::Logs))
    };
    assert_eq!(check("http://c:4318/"), (true, "http://c:4318/v1/logs".into()));
    assert_eq!(check("https://c/otlp"), (true, "https://c/otlp/v1/logs".into()));
    for wrong in ["", "c:4318", "ftp://c", "http://", "http://c/?x=1"] {
        assert!(!check(wrong).0, "{wrong}");
    }
}
