//! Events as OpenTelemetry log records: strace's line as the body, what else is known as attributes, by the semantic
//! conventions' names where they have one (container, k8s, process, thread, error), else under `tracer.`.
//!
//! It writes bytes and does no I/O. One entry is one encoded `LogRecord` without its id: the request is put together
//! when it is sent, since only then the numbers are known.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceResponse,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber},
    resource::v1::Resource,
};
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};

use crate::{
    decode, errno,
    event::{
        Body, Container, DeniedBy, Descriptors, Event, Exit, Lifecycle, Outcome, Phase, Process,
        ProcessEvent, Syscall, Task, Via,
    },
    sinks::{
        delivery::Id,
        text::{self, TextOptions},
    },
};

/// Where the attributes' names come from.
pub(super) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

/// A text as an attribute.
pub(super) fn word(key: &str, value: impl Into<String>) -> KeyValue {
    pair(key, Value::StringValue(value.into()))
}

/// A number as an attribute; what is beyond 63 bits is cut there.
fn number(key: &str, value: impl TryInto<i64>) -> KeyValue {
    pair(key, Value::IntValue(value.try_into().unwrap_or(i64::MAX)))
}

fn yes(key: &str) -> KeyValue {
    pair(key, Value::BoolValue(true))
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// Writes an event as a `LogRecord`.
pub fn write_event(out: &mut Vec<u8>, event: &Event, descriptors: Descriptors) {
    let mut attributes = container(&event.container);
    let (kind, severity) = match &event.body {
        Body::Syscall(call) => ("syscall", syscall(&mut attributes, call)),
        Body::Process(process) => ("process", self::process(&mut attributes, process)),
        Body::Container(life) => ("container", lifecycle(&mut attributes, event, life)),
        Body::Loss(loss) => {
            attributes.push(word("tracer.loss.reason", loss.reason.name()));
            attributes.push(number("tracer.loss.count", loss.count));
            ("loss", SeverityNumber::Error)
        }
        Body::Diagnosis(found) => {
            task(&mut attributes, &found.task);
            if !found.is_of_process() {
                attributes.push(word("tracer.syscall", found.syscall.clone()));
            }
            if let Some(errno) = found.errno {
                error(&mut attributes, errno);
            }
            attributes.push(word("tracer.diagnosis.cause", found.verdict.cause.name()));
            attributes.push(word("tracer.diagnosis.why", found.verdict.why.clone()));
            attributes.push(number("tracer.diagnosis.count", found.count));
            ("diagnosis", SeverityNumber::Warn)
        }
    };
    attributes.push(word("tracer.type", kind));
    attributes.push(number("tracer.ktime", event.ktime));
    let record = LogRecord {
        time_unix_nano: event.time_ns,
        observed_time_unix_nano: now(),
        severity_number: severity.into(),
        severity_text: severity_text(severity).to_owned(),
        body: Some(AnyValue {
            value: Some(Value::StringValue(line(event, descriptors))),
        }),
        attributes,
        event_name: format!("tracer.{kind}"),
        ..LogRecord::default()
    };
    // A growing vector has room for all.
    let _never = record.encode(out);
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn line(event: &Event, descriptors: Descriptors) -> String {
    let options = TextOptions {
        show_pid: false,
        show_processes: true,
        show_containers: true,
        descriptors,
        ..TextOptions::default()
    };
    let mut line = Vec::new();
    text::write_event(&mut line, event, &options);
    while line.last() == Some(&b'\n') {
        line.pop();
    }
    String::from_utf8_lossy(&line).into_owned()
}

const fn severity_text(severity: SeverityNumber) -> &'static str {
    match severity {
        SeverityNumber::Error => "ERROR",
        SeverityNumber::Warn => "WARN",
        _ => "INFO",
    }
}

/// Who it is.
fn container(container: &Container) -> Vec<KeyValue> {
    let mut attributes = vec![
        word("container.id", container.id.clone()),
        word("container.name", container.name.clone()),
    ];
    let known = [
        ("k8s.pod.name", &container.pod),
        ("k8s.namespace.name", &container.namespace),
        ("container.image.name", &container.image),
    ];
    for (key, value) in known {
        if let Some(value) = value {
            attributes.push(word(key, value.clone()));
        }
    }
    if container.pod.is_some() {
        attributes.push(word("k8s.container.name", container.name.clone()));
    }
    attributes
}

fn task(attributes: &mut Vec<KeyValue>, task: &Task) {
    attributes.extend([
        number("process.pid", task.pid),
        number("thread.id", task.tid),
        word("thread.name", String::from_utf8_lossy(task.comm.bytes())),
        number("tracer.host_pid", task.host_pid),
        number("tracer.host_tid", task.host_tid),
        number("tracer.cpu", task.cpu),
        word(
            "tracer.phase",
            match task.phase {
                Phase::Runtime => "runtime",
                Phase::App => "app",
            },
        ),
        word(
            "tracer.via",
            match task.via {
                Via::Start => "start",
                Via::Exec => "exec",
            },
        ),
    ]);
}

fn error(attributes: &mut Vec<KeyValue>, number: u16) {
    let name = errno::name(number);
    attributes.push(word("tracer.errno", name.clone()));
    attributes.push(word("error.type", name));
}

fn syscall(attributes: &mut Vec<KeyValue>, call: &Syscall) -> SeverityNumber {
    task(attributes, &call.task);
    attributes.extend([
        word("tracer.syscall", call.name.clone()),
        number("tracer.nr", call.nr),
        word("tracer.arch", call.arch.name()),
        number("tracer.seq", call.seq),
    ]);
    if let Some(duration) = call.duration_ns {
        attributes.push(number("tracer.duration_ns", duration));
    }
    if let Some(who) = call.denied_by {
        let who = match who {
            DeniedBy::Seccomp => "seccomp",
            DeniedBy::Ptrace => "ptrace",
        };
        attributes.push(word("tracer.denied_by", who));
    }
    match call.outcome {
        Outcome::Value(value) => attributes.push(number("tracer.ret", value)),
        Outcome::Error(errno) => {
            attributes.push(number("tracer.ret", -1));
            error(attributes, errno);
        }
        Outcome::Unfinished => attributes.push(yes("tracer.unfinished")),
        Outcome::Refused => {}
    }
    match (call.denied_by, call.outcome) {
        (Some(_), _) | (_, Outcome::Refused) => SeverityNumber::Error,
        (None, Outcome::Error(_)) => SeverityNumber::Warn,
        _ => SeverityNumber::Info,
    }
}

fn process(attributes: &mut Vec<KeyValue>, process: &Process) -> SeverityNumber {
    task(attributes, &process.task);
    let (word_of, severity) = match &process.what {
        ProcessEvent::Fork { pid, tid, thread, .. } => {
            attributes.push(number("tracer.child.pid", *pid));
            attributes.push(number("tracer.child.tid", *tid));
            if *thread {
                attributes.push(yes("tracer.child.thread"));
            }
            ("fork", SeverityNumber::Info)
        }
        ProcessEvent::Exec { path, .. } => {
            attributes.push(word("process.executable.path", String::from_utf8_lossy(path)));
            ("exec", SeverityNumber::Info)
        }
        ProcessEvent::Exit { code, .. } => ("exit", exit(attributes, *code)),
        ProcessEvent::Join => ("join", SeverityNumber::Info),
    };
    attributes.push(word("tracer.process", word_of));
    severity
}

fn exit(attributes: &mut Vec<KeyValue>, exit: Exit) -> SeverityNumber {
    match exit {
        Exit::Code(code) => {
            attributes.push(number("process.exit.code", code));
            SeverityNumber::Info
        }
        Exit::Signal { number, .. } => {
            attributes.push(word("tracer.signal", decode::signal_text(number)));
            SeverityNumber::Warn
        }
    }
}

fn lifecycle(attributes: &mut Vec<KeyValue>, event: &Event, life: &Lifecycle) -> SeverityNumber {
    for (key, value) in &event.container.labels {
        attributes.push(word(&format!("container.label.{key}"), value.clone()));
    }
    let books = |attributes: &mut Vec<KeyValue>, books: &crate::event::Books| {
        attributes.push(number("tracer.books.admitted", books.admitted));
        attributes.push(number("tracer.books.decoded", books.decoded));
        attributes.push(number("tracer.books.filtered", books.filtered));
        attributes.push(number("tracer.books.counted", books.counted));
        attributes.push(number("tracer.books.lost", books.lost()));
    };
    let (state, severity) = match life {
        Lifecycle::Registered { .. } => ("registered", SeverityNumber::Info),
        Lifecycle::Resumed => ("resumed", SeverityNumber::Info),
        Lifecycle::Armed { .. } => ("armed", SeverityNumber::Info),
        Lifecycle::Warning { .. } => ("warning", SeverityNumber::Warn),
        Lifecycle::Exec => ("exec", SeverityNumber::Info),
        Lifecycle::Gone {
            books: its,
            complete,
            exit: ended,
        } => {
            books(attributes, its);
            attributes.push(pair("tracer.complete", Value::BoolValue(*complete)));
            let severity = ended.map_or(SeverityNumber::Info, |ended| exit(attributes, ended));
            ("gone", severity)
        }
        Lifecycle::Detached { books: its } => {
            books(attributes, its);
            ("detached", SeverityNumber::Info)
        }
        Lifecycle::Unregistered { .. } => ("unregistered", SeverityNumber::Warn),
        Lifecycle::Frozen { times, ns } => {
            attributes.push(number("tracer.times", *times));
            attributes.push(number("tracer.frozen_ns", *ns));
            ("frozen", SeverityNumber::Info)
        }
    };
    attributes.push(word("tracer.state", state));
    severity
}

/// Which field of a message the parts of a request are (logs_service.proto, logs.proto).
mod field {
    pub(super) const RESOURCE_LOGS: u32 = 1;
    pub(super) const SCOPE_LOGS: u32 = 2;
    pub(super) const LOG_RECORDS: u32 = 2;
    pub(super) const ATTRIBUTES: u32 = 6;
}

/// The request that carries these records: `ExportLogsServiceRequest`. Records are copied as they are, each with its id
/// behind it: in protobuf a message may go on so.
pub(super) fn request<'a>(resource: &Resource, records: impl Iterator<Item = (Id, &'a [u8])>) -> Vec<u8> {
    let mut scope_logs = ScopeLogs {
        scope: Some(scope()),
        schema_url: SCHEMA_URL.to_owned(),
        ..ScopeLogs::default()
    }
    .encode_to_vec();
    for (id, record) in records {
        let id = word("tracer.id", id.to_string());
        let mut attribute = Vec::with_capacity(64);
        message(&mut attribute, field::ATTRIBUTES, &id.encode_to_vec());
        encode_key(field::LOG_RECORDS, WireType::LengthDelimited, &mut scope_logs);
        encode_varint((record.len() + attribute.len()) as u64, &mut scope_logs);
        scope_logs.extend_from_slice(record);
        scope_logs.extend_from_slice(&attribute);
    }
    let mut resource_logs = ResourceLogs {
        resource: Some(resource.clone()),
        schema_url: SCHEMA_URL.to_owned(),
        ..ResourceLogs::default()
    }
    .encode_to_vec();
    message(&mut resource_logs, field::SCOPE_LOGS, &scope_logs);
    let mut request = Vec::with_capacity(resource_logs.len() + 16);
    message(&mut request, field::RESOURCE_LOGS, &resource_logs);
    request
}

fn message(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "tracer".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    }
}

/// How many records the receiver rejected, and why, or what it wants known.
pub(super) fn rejected(answer: &[u8]) -> (usize, String) {
    // Who says 200 and nothing more has taken all.
    let answer = ExportLogsServiceResponse::decode(answer).unwrap_or_default();
    answer.partial_success.map_or((0, String::new()), |partial| {
        let rejected = usize::try_from(partial.rejected_log_records).unwrap_or(0);
        (rejected, partial.error_message)
    })
}
