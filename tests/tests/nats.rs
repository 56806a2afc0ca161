//! The NATS sink with a real server: its stream is what a tail saw, event by event, also when the server was killed under
//! load, the daemon restarted, the disk full.

use anyhow::{Context, Result, ensure};
use std::{collections::BTreeMap, fs, path::Path};
use tracer_tests::{
    Daemon, Event, event,
    faults::Disk,
    nats::{Message, Server},
    otlp::certify,
    sink::{self, Caller},
    wait,
};

/// The sink's configuration; its spool is in that directory.
fn sink(server: &Server, dir: &Path, more: &str) -> String {
    format!(
        "[[sink]]\nkind = \"nats\"\nservers = [\"nats://127.0.0.1:{}\"]\nstream = \"TRACER\"\nphases = \"all\"\n\
         spool_directory = {:?}\nretry_max = \"500ms\"\ntimeout = \"2s\"\n{more}",
        server.port(),
        dir.join("spool")
    )
}

fn payloads(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| message.payload.clone()).collect()
}

/// The stream holds these lines, each once and in their order.
fn same(messages: &[Message], lines: &[String]) -> Result<()> {
    let found = payloads(messages);
    if found == lines {
        return Ok(());
    }
    let mut counts = BTreeMap::<&str, i64>::new();
    found
        .iter()
        .for_each(|line| *counts.entry(line).or_default() += 1);
    lines
        .iter()
        .for_each(|line| *counts.entry(line).or_default() -= 1);
    counts.retain(|_, count| *count != 0);
    let some: Vec<_> = counts.iter().take(3).collect();
    anyhow::bail!(
        "{} messages, {} lines; {} differ: {some:?}",
        found.len(),
        lines.len(),
        counts.len()
    )
}

/// Ids are of one run and stand once; how many are missing between them.
fn missing(messages: &[Message]) -> Result<u64> {
    let mut runs = BTreeMap::<&str, Vec<u64>>::new();
    for message in messages {
        let id = message.headers.get("Nats-Msg-Id").context("no id")?;
        let (run, number) = id.split_once('-').context("an id without a number")?;
        runs.entry(run).or_default().push(number.parse()?);
    }
    let mut missing = 0;
    for numbers in runs.values() {
        for pair in numbers.windows(2) {
            ensure!(pair[0] < pair[1], "{} after {}", pair[1], pair[0]);
            missing += pair[1] - pair[0] - 1;
        }
    }
    Ok(missing)
}

#[test]
fn the_stream_has_every_event_once_and_in_order() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = Server::start("")?;
    let config = sink(
        &server,
        dir.path(),
        "subject = \"tracer.{namespace}.{container}.{type}\"",
    );
    let daemon = sink::daemon(dir.path(), &config)?;
    let (verdict, lines) = sink::run(&daemon, "na.ts", 20_011)?;
    let id = sink::id(&verdict)?;
    let books = sink::settled(&daemon, &id, "nats")?;
    assert_eq!(
        (books.written, books.dropped, books.skipped),
        (verdict.book("decoded")?, 0, 0)
    );
    wait::until("the last message", wait::LONG, || {
        Ok((server.messages("TRACER")? >= lines.len() as u64).then_some(()))
    })?;
    let messages = server.read("TRACER")?;
    same(&messages, &lines)?;
    assert_eq!(missing(&messages)?, 0);
    // What a container is called makes no level of a subject.
    let name = id.replace('.', "_");
    for message in &messages {
        let kind = Event::parse(&message.payload)?.text("type").to_owned();
        assert_eq!(message.subject, format!("tracer._.{name}.{kind}"));
    }
    Ok(())
}

#[test]
fn a_server_that_is_killed_under_load_misses_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut server = Server::start("")?;
    let daemon = sink::daemon(dir.path(), &sink(&server, dir.path(), ""))?;
    let caller = Caller::start(&daemon, "killed", 1009)?;
    for round in 1..=2 {
        let before = server.messages("TRACER")?;
        wait::until("messages", wait::LONG, || {
            Ok((server.messages("TRACER")? > before + 4000).then_some(()))
        })?;
        server.kill()?;
        wait::until("events on disk", wait::LONG, || {
            // And it says that the server is down.
            let status = sink::status(&daemon, "nats")?;
            let spools = status["spooled_bytes"].as_u64() > Some(1 << 20);
            Ok((spools && status["down"].is_string()).then_some(()))
        })
        .with_context(|| format!("round {round}"))?;
        server.run()?;
    }
    // Back before the delivery has noticed: what was in flight comes before what was not.
    for _ in 0..5 {
        let before = server.messages("TRACER")?;
        wait::until("messages", wait::LONG, || {
            Ok((server.messages("TRACER")? > before + 500).then_some(()))
        })?;
        server.kill()?;
        server.run()?;
    }
    let id = caller.id().to_owned();
    let (verdict, lines) = caller.end(&daemon)?;
    // At the end it may still be queued; then it is all delivered, and nothing was dropped.
    sink::books(&verdict, "nats")?;
    let books = sink::settled(&daemon, &id, "nats")?;
    assert_eq!((books.written, books.dropped), (verdict.book("decoded")?, 0));
    wait::until("the last message", wait::LONG, || {
        Ok((sink::status(&daemon, "nats")?["queued"] == 0).then_some(()))
    })?;
    let messages = server.read("TRACER")?;
    same(&messages, &lines)?;
    assert_eq!(missing(&messages)?, 0);
    let status = sink::status(&daemon, "nats")?;
    assert_eq!(
        (&status["spooled_bytes"], &status["down"]),
        (&0.into(), &().into()),
        "{status}"
    );
    Ok(())
}

#[test]
fn what_a_daemon_leaves_in_the_spool_is_delivered_by_the_next() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut server = Server::stopped("")?;
    let mut daemon = sink::daemon(dir.path(), &sink(&server, dir.path(), ""))?;
    let (verdict, lines) = sink::run(&daemon, "spooled", 5003)?;
    let books = sink::books(&verdict, "nats")?;
    assert_eq!((books.written, books.queued), (0, verdict.book("decoded")?));
    ensure!(daemon.stop()?.success(), "{}", daemon.log());
    ensure!(daemon.log().contains("left in the spool"), "{}", daemon.log());
    server.run()?;
    daemon.restart()?;
    wait::until("what was left", wait::LONG, || {
        Ok((server.messages("TRACER")? >= lines.len() as u64).then_some(()))
    })?;
    let messages = server.read("TRACER")?;
    same(&messages, &lines)?;
    assert_eq!(missing(&messages)?, 0);
    wait::until("the spool to be empty", wait::LONG, || {
        Ok((sink::status(&daemon, "nats")?["queued"] == 0).then_some(()))
    })
}

#[test]
fn what_finds_no_room_is_told_when_the_server_is_back() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut server = Server::stopped("")?;
    let config = sink(&server, dir.path(), "spool = \"256K\"\nqueue = \"128K\"");
    let daemon = sink::daemon(dir.path(), &config)?;
    let (verdict, lines) = sink::run(&daemon, "full", 5003)?;
    let before = sink::books(&verdict, "nats")?;
    ensure!(before.dropped > 0 && before.queued > 0, "{before:?}");
    server.run()?;
    let id = sink::id(&verdict)?;
    let books = sink::settled(&daemon, &id, "nats")?;
    assert_eq!((books.written, books.dropped), (before.queued, before.dropped));
    wait::until("the last message", wait::LONG, || {
        Ok((sink::status(&daemon, "nats")?["queued"] == 0).then_some(()))
    })?;
    let messages = server.read("TRACER")?;
    let events = event::parse(&payloads(&messages).join("\n"))?;
    let calls = events.iter().filter(|event| event.is_syscall()).count() as u64;
    assert_eq!((calls, sink::told(&events)?), (books.written, books.dropped));
    ensure!(missing(&messages)? >= books.dropped, "no hole in the numbers");
    let all: std::collections::HashSet<_> = lines.iter().collect();
    for (message, event) in messages.iter().zip(&events) {
        ensure!(
            event.text("type") == "loss" || all.contains(&message.payload),
            "{}",
            message.payload
        );
    }
    Ok(())
}

#[test]
fn a_full_disk_costs_what_it_has_no_room_for() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut server = Server::stopped("")?;
    let _small = Disk::small(dir.path().join("spool"), "512k")?;
    full_disk(&dir, &mut server)
}

fn full_disk(dir: &tempfile::TempDir, server: &mut Server) -> Result<()> {
    let daemon: Daemon = sink::daemon(dir.path(), &sink(server, dir.path(), "queue = \"256K\""))?;
    let caller = Caller::start(&daemon, "disk", 151)?;
    wait::until("the disk to be full", wait::LONG, || {
        Ok(daemon.log().contains("No space left").then_some(()))
    })?;
    wait::until("a loss", wait::LONG, || {
        let verdict = daemon.verify_now(caller.id())?;
        Ok((sink::books(&verdict, "nats")?.dropped > 0).then_some(()))
    })?;
    let (verdict, _) = caller.end(&daemon)?;
    let before = sink::books(&verdict, "nats")?;
    ensure!(before.dropped > 0 && before.queued > 300, "{before:?}");
    server.run()?;
    let books = sink::settled(&daemon, &sink::id(&verdict)?, "nats")?;
    wait::until("the last message", wait::LONG, || {
        Ok((sink::status(&daemon, "nats")?["queued"] == 0).then_some(()))
    })?;
    let events = event::parse(&payloads(&server.read("TRACER")?).join("\n"))?;
    let calls = events.iter().filter(|event| event.is_syscall()).count() as u64;
    assert_eq!((calls, sink::told(&events)?), (books.written, books.dropped));
    Ok(())
}

#[test]
fn it_speaks_tls_and_proves_who_it_is() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let cert = certify(dir.path())?;
    // Requests for the stream come over another account's connection: without TLS that is refused.
    let tls = format!(
        "tls {{ cert_file: {cert:?}, key_file: {:?} }}\nauthorization {{ users: [ {{user: tracer, password: secret}} ] }}",
        dir.path().join("key.pem")
    );
    let server = Server::start(&tls)?;
    let user = dir.path().join("user");
    fs::write(&user, "tracer:wrong\n")?;
    let config = sink(
        &server,
        dir.path(),
        &format!("user_file = {user:?}\nca_file = {cert:?}"),
    );
    let daemon = sink::daemon(dir.path(), &config)?;
    let (verdict, _) = sink::run(&daemon, "tls", 1009)?;
    let down = wait::until("the server's refusal", wait::LONG, || {
        Ok(sink::status(&daemon, "nats")?["down"].as_str().map(str::to_owned))
    })?;
    ensure!(down.to_lowercase().contains("authoriz"), "{down}");
    // The file is read again when it connects again.
    fs::write(&user, "tracer:secret\n")?;
    let books = sink::settled(&daemon, &sink::id(&verdict)?, "nats")?;
    assert_eq!((books.written, books.dropped), (verdict.book("decoded")?, 0));
    Ok(())
}
