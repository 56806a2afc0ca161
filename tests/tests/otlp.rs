//! The OTLP sink with a receiver on the published protocol: what it decodes is what a tail saw, event by event, whatever it
//! answers and however it ends.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, path::Path};
use tracer_tests::{
    Event,
    daemon::Stats,
    event,
    otlp::{Receiver, ids},
    programs,
    sink::{self, Caller},
    wait,
};

fn sink(receiver: &Receiver, dir: &Path, more: &str) -> String {
    format!(
        "[[sink]]\nkind = \"otlp\"\nendpoint = \"http://127.0.0.1:{}\"\nphases = \"all\"\nspool_directory = {:?}\n\
         retry_max = \"500ms\"\ntimeout = \"2s\"\nlinger = \"50ms\"\n{more}",
        receiver.port(),
        dir.join("spool")
    )
}

/// What of an event's line stands in its record.
fn expected(event: &Event) -> Value {
    let (line, kind) = (&event.0, event.text("type"));
    let mut wanted = json!({
        "container.id": line["container"]["id"],
        "container.name": line["container"]["name"],
        "tracer.type": kind,
        "tracer.ktime": line["ktime"],
    });
    if kind == "syscall" || kind == "process" {
        for (attribute, field) in [
            ("process.pid", "pid"),
            ("thread.id", "tid"),
            ("thread.name", "comm"),
            ("tracer.host_pid", "host_pid"),
            ("tracer.cpu", "cpu"),
            ("tracer.phase", "phase"),
            ("tracer.via", "via"),
            ("tracer.seq", "seq"),
            ("tracer.syscall", "syscall"),
            ("tracer.nr", "nr"),
            ("tracer.arch", "arch"),
            ("tracer.duration_ns", "duration_ns"),
            ("tracer.ret", "ret"),
            ("tracer.errno", "errno"),
            ("error.type", "errno"),
        ] {
            if !line[field].is_null() {
                wanted[attribute] = line[field].clone();
            }
        }
    }
    wanted
}

/// Each record is what its event's line says.
fn agree(log: &Event, event: &Event) -> Result<()> {
    let attributes = &log.0["attributes"];
    for (key, value) in expected(event).as_object().context("no object")? {
        ensure!(attributes[key] == *value, "{key}: {} is not {}", log.0, event.0);
    }
    let severity = match event.text("type") {
        "loss" => "ERROR",
        "syscall" if !event.0["denied_by"].is_null() => "ERROR",
        "syscall" if !event.0["errno"].is_null() => "WARN",
        "syscall" => "INFO",
        _ => log.text("severity"),
    };
    ensure!(
        log.text("severity") == severity,
        "{} of {}",
        log.text("severity"),
        event.0
    );
    ensure!(
        log.text("event") == format!("tracer.{}", event.text("type")),
        "{}",
        log.0
    );
    if event.is_syscall() {
        let body = log.text("body");
        ensure!(
            body.starts_with(&format!("{}(", event.syscall())),
            "{body} of {}",
            event.0
        );
    }
    ensure!(log.0["resource"]["service.name"] == "tracer", "{}", log.0);
    Ok(())
}

/// All of them, in order.
fn all_agree(logs: &[Event], lines: &[String]) -> Result<()> {
    let events = event::parse(&lines.join("\n"))?;
    ensure!(
        logs.len() == events.len(),
        "{} records of {} events",
        logs.len(),
        events.len()
    );
    logs.iter()
        .zip(&events)
        .try_for_each(|(log, event)| agree(log, event))
}

fn delivered(receiver: &Receiver, daemon: &tracer_tests::Daemon) -> Result<Vec<Event>> {
    wait::until("the sink to have nothing queued", 2 * wait::LONG, || {
        Ok((sink::status(daemon, "otlp")?["queued"] == 0).then_some(()))
    })?;
    receiver.logs()
}

#[test]
fn every_event_is_a_log_record() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let receiver = Receiver::start()?;
    let config = sink(
        &receiver,
        dir.path(),
        "[sink.resource]\n\"deployment.environment.name\" = \"test\"\n",
    );
    let daemon = sink::daemon(dir.path(), &config)?;
    let (verdict, lines) = sink::run(&daemon, "otlp", 5003)?;
    let books = sink::settled(&daemon, &sink::id(&verdict)?, "otlp")?;
    assert_eq!(
        (books.written, books.dropped, books.skipped),
        (verdict.book("decoded")?, 0, 0)
    );
    let logs = delivered(&receiver, &daemon)?;
    all_agree(&logs, &lines)?;
    ids(&logs)?;
    assert_eq!(logs[0].0["resource"]["deployment.environment.name"], "test");
    let requests = receiver.requests()?;
    // A busy machine takes longer, so there are more: each of those linger.
    ensure!(requests.len() < logs.len() / 10, "{} requests", requests.len());
    assert_eq!(requests[0].0["headers"]["content-encoding"], "gzip");
    Ok(())
}

#[test]
fn whatever_it_answers_nothing_is_missing_and_the_books_say_what_it_rejected() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut receiver = Receiver::start()?;
    let daemon = sink::daemon(dir.path(), &sink(&receiver, dir.path(), ""))?;
    let caller = Caller::start(&daemon, "answers", 151)?;
    let more = |receiver: &Receiver| {
        let before = receiver.logs()?.len();
        wait::until("records", wait::LONG, || {
            Ok((receiver.logs()?.len() > before + 500).then_some(()))
        })
    };
    let refused = |receiver: &Receiver, count: usize| {
        let before = receiver.requests()?.len();
        wait::until("attempts", wait::LONG, || {
            Ok((receiver.requests()?.len() >= before + count).then_some(()))
        })
    };
    more(&receiver)?;
    for answer in ["503", "429 1", "401"] {
        receiver.answer(answer)?;
        refused(&receiver, 2)?;
        receiver.answer("ok")?;
        more(&receiver)?;
    }
    // It takes the records, and does not live to say so: they come again, and their ids tell.
    receiver.answer("die")?;
    receiver.ended()?;
    receiver.answer("ok")?;
    receiver.run()?;
    more(&receiver)?;
    receiver.kill()?;
    wait::until("the sink to see it", wait::LONG, || {
        Ok(sink::status(&daemon, "otlp")?["down"].is_string().then_some(()))
    })?;
    receiver.run()?;
    more(&receiver)?;
    // Slower than an attempt may take: again they come twice.
    receiver.answer("slow 3")?;
    refused(&receiver, 1)?;
    receiver.answer("ok")?;
    let id = caller.id().to_owned();
    let (verdict, lines) = caller.end(&daemon)?;
    let books = sink::settled(&daemon, &id, "otlp")?;
    assert_eq!((books.written, books.dropped), (verdict.book("decoded")?, 0));
    let logs = delivered(&receiver, &daemon)?;
    let mut seen = BTreeMap::new();
    let once: Vec<_> = logs
        .iter()
        .filter(|log| {
            let id = log.0["attributes"]["tracer.id"].to_string();
            seen.insert(id, ()).is_none()
        })
        .cloned()
        .collect();
    ensure!(once.len() < logs.len(), "nothing came twice: did it die?");
    all_agree(&once, &lines)
}

#[test]
fn what_is_rejected_is_booked_and_told() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let receiver = Receiver::start()?;
    let daemon = sink::daemon(dir.path(), &sink(&receiver, dir.path(), ""))?;
    receiver.answer("partial 7")?;
    let (verdict, _) = sink::run(&daemon, "partial", 1009)?;
    let id = sink::id(&verdict)?;
    sink::settled(&daemon, &id, "otlp")?;
    receiver.answer("400")?;
    let (second, _) = sink::run(&daemon, "rejected", 1009)?;
    let second = sink::settled(&daemon, &sink::id(&second)?, "otlp")?;
    assert_eq!(second.written, 0, "a 400 is not tried again");
    receiver.answer("ok")?;
    let (_, third) = sink::run(&daemon, "taken", 11)?;
    let logs = delivered(&receiver, &daemon)?;
    let of_first = |log: &&Event| log.0["attributes"]["container.id"] == *id;
    let first: Vec<_> = logs.iter().filter(of_first).collect();
    let calls = first
        .iter()
        .filter(|log| log.text("event") == "tracer.syscall")
        .count() as u64;
    let books = sink::settled(&daemon, &id, "otlp")?;
    ensure!(books.dropped > 0, "nothing was rejected: {books:?}");
    // Which were rejected is not said, so calls and other events may stand for each other: all of them are booked.
    let status = sink::status(&daemon, "otlp")?;
    let all = |key: &str| {
        status[key]
            .as_u64()
            .with_context(|| format!("no {key}: {status}"))
    };
    assert_eq!(all("written")?, logs.len() as u64);
    ensure!(
        calls.abs_diff(books.written) <= 7 * first.len() as u64,
        "{calls} of {books:?}"
    );
    ensure!(logs.len() >= third.len(), "the third container's are there");
    ensure!(daemon.log().contains("rejected"), "{}", daemon.log());
    Ok(())
}

#[test]
fn it_speaks_tls_and_shows_its_token() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut receiver = Receiver::stopped()?;
    let cert = receiver.certify()?;
    fs::write(receiver.dir().join("token"), "Bearer right")?;
    receiver.run()?;
    let headers = dir.path().join("headers");
    fs::write(&headers, "Authorization: Bearer wrong\n")?;
    let config = sink(
        &receiver,
        dir.path(),
        &format!("headers_file = {headers:?}\nca_file = {cert:?}\n"),
    )
    .replace("http:", "https:");
    let daemon = sink::daemon(dir.path(), &config)?;
    let (verdict, lines) = sink::run(&daemon, "tls", 101)?;
    let down = wait::until("the receiver's refusal", wait::LONG, || {
        Ok(sink::status(&daemon, "otlp")?["down"].as_str().map(str::to_owned))
    })?;
    ensure!(down.contains("401"), "{down}");
    fs::write(&headers, "Authorization: Bearer right\n")?;
    let books = sink::settled(&daemon, &sink::id(&verdict)?, "otlp")?;
    assert_eq!((books.written, books.dropped), (verdict.book("decoded")?, 0));
    all_agree(&delivered(&receiver, &daemon)?, &lines)?;
    Ok(())
}

/// The points of the latest metrics of a name, by the value of an attribute.
fn latest(points: &[Event], name: &str, key: &str) -> BTreeMap<String, Value> {
    let of_it = points.iter().filter(|point| point.text("name") == name);
    let value = |point: &Event| point.0["attributes"][key].as_str().unwrap_or_default().to_owned();
    of_it.map(|point| (value(point), point.0.clone())).collect()
}

#[test]
fn metrics_are_what_is_counted_with_as_many_series_as_may_be() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut receiver = Receiver::start()?;
    let config = sink(
        &receiver,
        dir.path(),
        "events = [\"end\"]\nmetrics_every = \"1s\"\n",
    );
    let config = format!("{config}[metrics]\ncalls = 4\nhistograms = 1\n");
    let daemon = sink::daemon(dir.path(), &config)?;
    let (verdict, _) = sink::run(&daemon, "figures", 5003)?;
    let id = sink::id(&verdict)?;
    // Of the application, as the metrics are.
    let stats = programs::success(daemon.client("stats").args(["-o", "json", &id]))?;
    let counts = Stats::parse(&stats)?.counts()?;
    // Away when the next figures are due: those after them have all in them.
    receiver.kill()?;
    wait::until("a refusal in the log", wait::LONG, || {
        Ok(daemon.log().contains("sink otlp: metrics: ").then_some(()))
    })?;
    receiver.run()?;
    let of_it = |points: Vec<Event>| -> Vec<Event> {
        let of_it = |point: &Event| point.0["attributes"]["container.id"] == *id;
        points.into_iter().filter(of_it).collect()
    };
    let all: u64 = counts.values().sum();
    let points = wait::until("all calls to be told", wait::LONG, || {
        let points = of_it(receiver.points()?);
        let calls = latest(&points, "tracer.container_syscalls", "tracer.syscall");
        let told: u64 = calls.values().filter_map(|point| point["value"].as_u64()).sum();
        Ok((told == all).then_some(points))
    })?;
    let calls = latest(&points, "tracer.container_syscalls", "tracer.syscall");
    ensure!(calls.len() == 5 && calls.contains_key("other"), "{calls:?}");
    for (call, point) in calls.iter().filter(|(call, _)| *call != "other") {
        ensure!(
            point["value"] == json!(counts[call]),
            "{call}: {point} of {counts:?}"
        );
        ensure!(
            point["kind"] == "sum" && point["cumulative"] == true && point["unit"] == "",
            "{point}"
        );
        ensure!(point["resource"]["service.name"] == "tracer", "{point}");
        let (since, time) = (point["since"].as_u64(), point["time"].as_u64());
        ensure!(since < time && since > Some(0), "{point}");
    }
    let durations = latest(&points, "tracer.container_syscall_duration", "tracer.syscall");
    ensure!(durations.len() == 2, "{durations:?}");
    let busiest = &durations[sink::CALL];
    ensure!(busiest["count"] == 5003 && busiest["unit"] == "s", "{busiest}");
    let buckets = busiest["buckets"].as_array().context("buckets")?;
    let counted: u64 = buckets.iter().filter_map(Value::as_u64).sum();
    let bounds = busiest["bounds"].as_array().context("bounds")?.len();
    ensure!(counted == 5003 && buckets.len() == bounds + 1, "{busiest}");
    // The node's own.
    let points = receiver.points()?;
    let stages = latest(&points, "tracer.calls", "tracer.stage");
    assert_eq!(stages["decoded"]["value"], json!(verdict.book("decoded")?));
    let queue = latest(&points, "tracer.sink_queue_size", "tracer.sink");
    ensure!(
        queue["otlp"]["value"] == 16 << 20 && queue["otlp"]["unit"] == "By",
        "{queue:?}"
    );
    Ok(())
}
