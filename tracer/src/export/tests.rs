//! Each format read back: by JSON's and CSV's grammars, by Parquet's own reader, and by the rules of the trace format.

use std::{collections::HashMap, sync::Arc};

use ::parquet::{
    basic::{Compression, Encoding, LogicalType, TimeUnit},
    file::reader::{FileReader, SerializedFileReader},
    record::Field,
};
use serde_json::Value;
use tracer_common::record::flag;

use super::{
    row::{COLUMNS, Cell, Column, Kind, Row},
    *,
};
use crate::{
    decode::tests::fake::{A::*, Fake, event},
    event::{
        Body, Books, Cause, Comm, Container, Diagnosis, Exit, Hole, Lifecycle, Loss, LossReason, Outcome,
        Process, ProcessEvent, Syscall, Task, Verdict,
    },
    sinks::json,
};

const SECOND: u64 = 1_000_000_000;

fn comm(name: &[u8]) -> Comm {
    let mut comm = Comm::default();
    comm.0[..name.len()].copy_from_slice(name);
    comm
}

fn task(tid: u32) -> Task {
    Task {
        pid: tid - 4000,
        tid: tid - 4000,
        host_pid: tid,
        host_tid: tid,
        comm: comm(b"sh"),
        ..Task::default()
    }
}

/// A story: a container comes, its shell forks a child that opens a file in vain and one that it may, and ends.
fn story() -> Vec<Event> {
    let container = Arc::new(Container {
        id: "4f1c".into(),
        name: "=web".into(),
        pod: Some("web-0".into()),
        namespace: Some("shop".into()),
        ..Container::default()
    });
    let at = |ktime: u64, body: Body| Event {
        time_ns: 1_700_000_000 * SECOND + ktime,
        ktime,
        container: container.clone(),
        body,
    };
    let call = |tid: u32, seq: u64, call: Syscall, duration_ns: Option<u64>| {
        Body::Syscall(Syscall {
            task: task(tid),
            seq,
            duration_ns,
            ..call
        })
    };
    let process = |tid, what| {
        Body::Process(Process {
            task: task(tid),
            what,
        })
    };
    let open = |path: &'static [u8], ret| Fake::new("openat", [N(0xffff_ff9c), S(path), N(0)], ret).call();
    vec![
        at(
            1_000,
            Body::Container(Lifecycle::Registered {
                late: false,
                away: Vec::new(),
            }),
        ),
        at(
            12_500,
            process(
                4711,
                ProcessEvent::Fork {
                    pid: 712,
                    tid: 712,
                    host_pid: 4712,
                    host_tid: 4712,
                    comm: comm(b"sh"),
                    thread: false,
                },
            ),
        ),
        at(
            13_001,
            call(4711, 1, Fake::new("getppid", [], 1).call(), Some(2_001)),
        ),
        at(14_000, call(4712, 2, open(b"/nope", -2), Some(123))),
        at(15_000, call(4712, 3, open(b"/\xff,\"x\"", 3), Some(456))),
        // Without a duration: an instant.
        at(15_500, call(4712, 4, open(b"/etc", 4), None)),
        // Its clock says that it began before the one above ended.
        at(16_000, call(4712, 5, open(b"/etc", 5), Some(1_000))),
        at(
            16_500,
            Body::Loss(Loss {
                reason: LossReason::RingFull,
                count: 7,
                hole: Some(Hole {
                    cpu: 1,
                    after: 5,
                    before: 13,
                }),
            }),
        ),
        at(
            17_000,
            Body::Diagnosis(Box::new(Diagnosis {
                task: task(4712),
                arch: crate::event::Arch::X86_64,
                nr: 257,
                syscall: "openat".into(),
                errno: Some(2),
                call: "openat(AT_FDCWD, \"/nope\", O_RDONLY) = -1 ENOENT".into(),
                count: 1,
                verdict: Verdict {
                    cause: Cause::Missing,
                    why: "/nope is not there".into(),
                    evidence: Vec::new(),
                    fixes: Vec::new(),
                    ruled_out: Vec::new(),
                },
            })),
        ),
        at(
            18_000,
            process(
                4712,
                ProcessEvent::Exec {
                    path: b"/bin/ls".to_vec(),
                    truncated: false,
                },
            ),
        ),
        at(
            19_000,
            call(
                4712,
                6,
                Fake::new("exit_group", [N(0)], 0).flags(flag::UNFINISHED).call(),
                Some(10),
            ),
        ),
        at(
            19_001,
            process(
                4712,
                ProcessEvent::Exit {
                    code: Exit::Signal {
                        number: 9,
                        core_dumped: false,
                    },
                    oom: None,
                },
            ),
        ),
        at(
            20_000,
            Body::Container(Lifecycle::Gone {
                books: Books::default(),
                complete: true,
                exit: Some(Exit::Code(3)),
            }),
        ),
    ]
}

fn written(format: Format, events: &[Event]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut export = begin(format, &mut out, Descriptors::Numbers).unwrap();
    events.iter().for_each(|event| export.take(event).unwrap());
    export.finish().unwrap();
    drop(export);
    out
}

#[test]
fn cells_are_of_their_columns_kinds() {
    let mut used = vec![false; COLUMNS.len()];
    for event in story() {
        let row = Row::of(&event, Descriptors::Numbers);
        for ((cell, (name, kind)), used) in row.cells().iter().zip(COLUMNS).zip(&mut used) {
            let fits = match (cell, kind) {
                (Cell::Empty, _) => continue,
                (Cell::Text(text), Kind::Json) => serde_json::from_str::<Value>(text).is_ok(),
                (Cell::Text(_), Kind::Text) | (Cell::Flag(_), Kind::Flag) => true,
                (Cell::Number(number), Kind::Int) => i32::try_from(*number).is_ok(),
                (Cell::Number(_), Kind::Long | Kind::Time) => true,
                _ => false,
            };
            assert!(fits, "{name}: {cell:?}");
            *used = true;
        }
    }
    let unused: Vec<_> = COLUMNS
        .iter()
        .zip(used)
        .filter(|(_, used)| !used)
        .map(|((name, _), _)| *name)
        .collect();
    assert_eq!(
        unused,
        ["image", "denied_by", "ret_note", "arg3", "arg4", "arg5"],
        "the story tells of all else"
    );
}

#[test]
fn lines_are_those_of_tail() {
    let mut expected = Vec::new();
    for event in story() {
        json::write_event(&mut expected, &event, Descriptors::Numbers);
    }
    assert_eq!(written(Format::Jsonl, &story()), expected);
}

/// Rows of cells, by the grammar of RFC 4180.
fn rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut rest = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = rest.next() {
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => cell.extend(rest.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !quoted => {
                assert_eq!(rest.next(), Some('\n'));
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            c => cell.push(c),
        }
    }
    assert!(cell.is_empty() && row.is_empty() && !quoted);
    rows
}

#[test]
fn csv_has_a_row_an_event_and_a_cell_a_column() {
    let text = String::from_utf8(written(Format::Csv, &story())).unwrap();
    let rows = rows(&text);
    let (head, rows) = rows.split_first().unwrap();
    assert_eq!(rows.len(), story().len());
    assert!(rows.iter().all(|row| row.len() == head.len()), "{text}");
    let cell = |row: usize, name: &str| {
        let at = head.iter().position(|head| head == name).unwrap();
        rows[row][at].as_str()
    };
    assert_eq!(cell(3, "time"), "2023-11-14T22:13:20.000014000Z");
    assert_eq!(
        (
            cell(3, "syscall"),
            cell(3, "ret"),
            cell(3, "errno"),
            cell(3, "arg1")
        ),
        ("openat", "-1", "ENOENT", "\"/nope\"")
    );
    assert_eq!(cell(4, "arg1"), r#""/\377,\"x\"""#);
    assert_eq!(cell(4, "container_name"), "'=web", "no formula");
    assert_eq!((cell(7, "reason"), cell(7, "count")), ("ring_full", "7"));
    assert_eq!(
        (cell(8, "reason"), cell(8, "why")),
        ("missing", "/nope is not there")
    );
    assert_eq!((cell(11, "event"), cell(11, "signal")), ("exit", "SIGKILL"));
    assert_eq!((cell(12, "event"), cell(12, "exit_code")), ("gone", "3"));
    assert!(!head.contains(&"args".to_owned()));
}

#[test]
fn parquet_has_types_dictionaries_and_all_rows() {
    // More than a row group.
    let call = story().remove(3);
    let events: Vec<_> = story()
        .into_iter()
        .chain(std::iter::repeat_n(call, 70_000))
        .collect();
    let file = written(Format::Parquet, &events);
    let reader = SerializedFileReader::new(bytes_of(file)).unwrap();
    let metadata = reader.metadata();
    assert_eq!(metadata.num_row_groups(), 2);
    let schema = metadata.file_metadata().schema_descr();
    let time = schema.column(Column::Time as usize);
    assert_eq!(
        time.logical_type_ref(),
        Some(&LogicalType::timestamp(true, TimeUnit::NANOS))
    );
    for column in [
        Column::ContainerId,
        Column::ContainerName,
        Column::Pod,
        Column::Namespace,
        Column::Syscall,
        Column::Comm,
    ] {
        let chunk = metadata.row_group(0).column(column as usize);
        assert!(
            chunk
                .encodings()
                .any(|encoding| encoding == Encoding::RLE_DICTIONARY),
            "{column:?}"
        );
        assert!(matches!(chunk.compression(), Compression::ZSTD(_)));
    }
    let mut failed = 0;
    for (at, row) in reader.get_row_iter(None).unwrap().enumerate() {
        let row = row.unwrap();
        let cell = |column: Column| row.get_column_iter().nth(column as usize).unwrap().1;
        assert_eq!(row.len(), COLUMNS.len());
        if cell(Column::Errno) == &Field::Str("ENOENT".into())
            && cell(Column::Type) == &Field::Str("syscall".into())
        {
            failed += 1;
            assert_eq!(cell(Column::Ret), &Field::Long(-1));
            assert_eq!(cell(Column::DurationNs), &Field::Long(123));
            assert_eq!(cell(Column::Arg1), &Field::Str("\"/nope\"".into()));
            assert_eq!(cell(Column::Pod), &Field::Str("web-0".into()));
            let Field::Str(args) = cell(Column::Args) else {
                panic!("{:?}", cell(Column::Args))
            };
            assert_eq!(
                serde_json::from_str::<Value>(args).unwrap()[1]["name"],
                "filename"
            );
        }
        if at == 0 {
            assert_eq!(cell(Column::Syscall), &Field::Null);
            assert_eq!(cell(Column::Event), &Field::Str("registered".into()));
        }
    }
    assert_eq!(failed, 70_001);
}

fn bytes_of(file: Vec<u8>) -> prost::bytes::Bytes {
    file.into()
}

/// Begin, end and name of slices, by process and thread.
type Slices = HashMap<(u64, u64), Vec<(u64, u64, String)>>;

/// Checks the invariants of the format that viewers rely on; returns the slices of each thread.
fn checked(trace: &Value) -> Slices {
    let ns = |value: &Value| {
        // As Perfetto reads it: what stands before and after the point.
        let text = value.to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        whole.parse::<u64>().unwrap() * 1000 + format!("{fraction:0<3}").parse::<u64>().unwrap()
    };
    let mut slices = Slices::new();
    let mut named = std::collections::HashSet::new();
    let mut arrows: HashMap<u64, Vec<String>> = HashMap::new();
    for event in trace["traceEvents"].as_array().unwrap() {
        let phase = event["ph"].as_str().unwrap();
        let (pid, tid) = (event["pid"].as_u64().unwrap(), event["tid"].as_u64().unwrap());
        assert!(
            event["name"].as_str().is_some_and(|name| !name.is_empty()),
            "{event}"
        );
        // Perfetto looks for times only in events without lists.
        assert!(event.as_object().unwrap().values().all(|value| !value.is_array()));
        if phase == "M" {
            named.insert((pid, tid));
            assert!(event["args"].is_object());
            continue;
        }
        assert!(named.contains(&(pid, tid)), "a track without a name: {event}");
        let begin = ns(&event["ts"]);
        match phase {
            "X" => slices.entry((pid, tid)).or_default().push((
                begin,
                begin + ns(&event["dur"]),
                event["name"].as_str().unwrap().to_owned(),
            )),
            "i" => assert!(matches!(event["s"].as_str(), Some("t" | "p" | "g")), "{event}"),
            "s" | "f" => arrows
                .entry(event["id"].as_u64().unwrap())
                .or_default()
                .push(phase.to_owned()),
            _ => panic!("{event}"),
        }
    }
    for list in slices.values() {
        for two in list.windows(2) {
            assert!(two[0].1 <= two[1].0, "slices of a thread overlap: {two:?}");
        }
    }
    assert!(arrows.values().all(|ends| *ends == ["s", "f"]), "{arrows:?}");
    slices
}

#[test]
fn a_trace_keeps_the_rules_of_its_format() {
    let text = String::from_utf8(written(Format::Chrome, &story())).unwrap();
    let trace: Value = serde_json::from_str(&text).unwrap();
    let slices = checked(&trace);
    let names = |tid: u64| -> Vec<_> {
        slices[&(tid, tid)]
            .iter()
            .map(|(begin, end, name)| (*begin, *end, name.as_str()))
            .collect()
    };
    assert_eq!(names(4711), [(11_000, 13_001, "getppid")]);
    assert_eq!(
        names(4712),
        [
            (13_877, 14_000, "openat"),
            (14_544, 15_000, "openat"),
            // From where the instant stands that came before it.
            (15_500, 16_000, "openat"),
            (18_990, 19_000, "exit_group"),
        ]
    );
    assert_eq!(text.matches("\"ts\":13.877,").count(), 1, "as it stands: {text}");
    let events = trace["traceEvents"].as_array().unwrap();
    let one = |name: &str| {
        let found: Vec<_> = events
            .iter()
            .filter(|event| event["name"].as_str().is_some_and(|told| told.starts_with(name)))
            .collect();
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        found[0]
    };
    assert_eq!(one("7 lost: ring_full")["args"]["event"]["before"], 13);
    assert_eq!(one("missing: ")["tid"], 4712);
    assert_eq!(one("gone")["args"]["event"]["exit_code"], 3);
    assert_eq!(one("exec /bin/ls")["s"], "t");
    let failed = events
        .iter()
        .find(|event| event["args"]["errno"] == "ENOENT")
        .unwrap();
    assert_eq!(failed["args"]["arguments"]["filename"], "\"/nope\"");
    let names: Vec<_> = events
        .iter()
        .filter(|event| event["name"] == "process_name")
        .map(|event| event["args"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "container shop/web-0/=web",
            "sh 711 in shop/web-0/=web",
            "sh 712 in shop/web-0/=web"
        ]
    );
}

#[test]
fn an_empty_export_is_a_whole_file() {
    let trace: Value = serde_json::from_slice(&written(Format::Chrome, &[])).unwrap();
    assert_eq!(trace["traceEvents"], serde_json::json!([]));
    let reader = SerializedFileReader::new(bytes_of(written(Format::Parquet, &[]))).unwrap();
    assert_eq!(reader.metadata().file_metadata().num_rows(), 0);
    assert_eq!(
        rows(&String::from_utf8(written(Format::Csv, &[])).unwrap()).len(),
        1
    );
    assert!(written(Format::Jsonl, &[]).is_empty());
}

#[test]
fn a_thread_that_is_gone_is_forgotten() {
    let mut chrome = chrome::Chrome::begin(Vec::new(), Descriptors::Numbers).unwrap();
    let mut event = event(Body::Container(Lifecycle::Exec));
    for tid in 5_000..200_000 {
        event.ktime += 1_000;
        event.body = Body::Process(Process {
            task: task(tid),
            what: ProcessEvent::Join,
        });
        chrome.take(&event).unwrap();
        if tid % 2 == 0 {
            event.body = Body::Process(Process {
                task: task(tid),
                what: ProcessEvent::Exit {
                    code: Exit::Code(0),
                    oom: None,
                },
            });
            chrome.take(&event).unwrap();
        }
        assert!(chrome.held() <= 2 * 65_536);
    }
    chrome.finish().unwrap();
}

#[test]
fn a_call_that_was_refused_has_no_result() {
    let mut refused = story().remove(2);
    if let Body::Syscall(call) = &mut refused.body {
        call.outcome = Outcome::Refused;
        call.denied_by = Some(crate::event::DeniedBy::Seccomp);
    }
    let row = Row::of(&refused, Descriptors::Numbers);
    assert_eq!(row.cells()[Column::Ret as usize], Cell::Empty);
    assert_eq!(row.cells()[Column::DeniedBy as usize], Cell::from("seccomp"));
    let trace: Value = serde_json::from_slice(&written(Format::Chrome, &[refused])).unwrap();
    let call = trace["traceEvents"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&call["args"]["denied_by"], &call["args"]["ret"]),
        (&"seccomp".into(), &Value::Null)
    );
    assert_eq!(call["cat"], "syscall,failed");
}
