//! How many calls a core decodes and writes, how many go into a recording, and how many come out of one. Their records
//! are taken first, of programs as they come with a system: paths, structures, buffers, failures, forks.

use std::{
    os::{fd::AsFd, unix::process::CommandExt},
    process::{Command, Stdio},
    sync::{Arc, mpsc::sync_channel},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, unshare};
use tracer::{
    decode, event, identity,
    pipeline::{self, Asked, Births, Mark, Pipeline},
    recording::{Draft, Entry, Origin, Raw, Recording, Writer},
    sinks::{Format, Output, Phases, Selection, json, text},
    source::{
        self, Batch, Item, QUEUE_BATCHES,
        kernel::{Kernel, Options},
    },
};
use tracer_common::filter::{Container, state};

/// Events that a figure rests on.
pub(super) const EVENTS: usize = 1_000_000;
/// Least million events a second.
const GOAL: f64 = 1.0;
/// And into a recording, as that stage makes it.
const RECORDING_GOAL: f64 = 3.0;

const PROGRAMS: &str = "read go
    ls -lR /etc; find /usr/share -maxdepth 3 -name '*.conf'
    for i in 1 2 3 4 5 6 7; do cat /etc/passwd /nonexistent | sort | uniq -c; done
    exec grep -r root /etc";

/// Prints the figures; whether they reach the goals.
pub(super) fn bench() -> Result<bool> {
    let records = record().context("record programs")?;
    let bytes: usize = records.iter().map(Vec::len).sum();
    println!("## What a core decodes and writes\n");
    println!(
        "{EVENTS} events, of {} records of sh, ls, find, cat, sort, uniq and grep, {} bytes each.\n",
        records.len(),
        bytes / records.len().max(1)
    );
    println!("| | million events a second | bytes each | goal |\n| --- | --- | --- | --- |");
    let mut within = true;
    let mut line = |name: &str, rate: f64, each: String, goal: Option<f64>| {
        let goal = goal.map_or(String::new(), |goal| {
            within &= rate >= goal;
            let goal_text = format!("≥ {goal}");
            super::project_goal(
                &format!("million events a second, {name}"),
                &format!("{rate:.2}"),
                rate >= goal,
                &goal_text,
                "",
            )
        });
        println!("| {name} | {rate:.2} | {each} | {goal} |");
    };
    for (format, name) in [
        ("text", "decoded and written as text"),
        ("json", "decoded and written as JSON Lines"),
    ] {
        let (rate, each) = rate(&records, format)?;
        line(name, rate, each.to_string(), Some(GOAL));
    }
    let recorded = recorded(&records)?;
    let each = format!("{:.1}, {:.1} to 1", recorded.each, recorded.ratio);
    line("made a recording", recorded.stage, each, Some(RECORDING_GOAL));
    line(
        "from the queue into a recording's file, decoded on the way, none lost",
        piped(&records)?,
        String::new(),
        None,
    );
    line("a recording read and decoded", recorded.read, String::new(), None);
    println!();
    Ok(within)
}

/// What recording costs, and what it makes.
struct Recorded {
    /// Million events a second into blocks, and out of them.
    stage: f64,
    read: f64,
    /// Bytes of an event in a block, and how many of its record one of them stands for.
    each: f64,
    ratio: f64,
}

/// The records, as often as a figure needs.
fn all(records: &[Vec<u8>]) -> impl Iterator<Item = &Vec<u8>> {
    records.iter().cycle().take(EVENTS)
}

fn recorded(records: &[Vec<u8>]) -> Result<Recorded> {
    let options = decode::Options::native();
    let container = Arc::new(event::Container {
        id: "bench".into(),
        ..event::Container::default()
    });
    // Decoding is another stage: of each record once, before.
    let events: Vec<_> = records
        .iter()
        .map(|record| event_of(record, &options, &container))
        .collect::<Result<_>>()?;
    let mut draft = Draft::new(Arc::new(Origin::here(&options)));
    let mut file = Vec::with_capacity(64 << 20);
    let mut writer = Writer::new(&mut file);
    let mut blocks = Vec::new();
    let mut bytes = 0;
    let begin = Instant::now();
    for (event, record) in events.iter().zip(records).cycle().take(EVENTS) {
        let comm = event::Comm(*b"bench\0\0\0\0\0\0\0\0\0\0\0");
        draft.take(event, Some(Raw { comm, record }));
        bytes += record.len();
        if draft.is_full() {
            draft.close(&mut blocks);
            writer.blocks(&blocks)?;
            blocks.clear();
        }
    }
    draft.close(&mut blocks);
    writer.blocks(&blocks)?;
    let stage = EVENTS as f64 / begin.elapsed().as_secs_f64() / 1e6;
    writer.finish()?;
    let length = file.len();
    let mut recording = Recording::of(file)?;
    let begin = Instant::now();
    let mut read = 0;
    while let Some(entry) = recording.entry()? {
        read += usize::from(matches!(std::hint::black_box(entry), Entry::Event(..)));
    }
    ensure!(read == EVENTS, "{read} events came back");
    Ok(Recorded {
        stage,
        read: EVENTS as f64 / begin.elapsed().as_secs_f64() / 1e6,
        each: length as f64 / EVENTS as f64,
        ratio: bytes as f64 / length as f64,
    })
}

/// Million events a second through the pipeline into a file.
fn piped(records: &[Vec<u8>]) -> Result<f64> {
    const SLOT: u16 = 1;
    let options = decode::Options::native();
    let births = Births::default();
    let info = Arc::new(event::Container {
        id: "bench".into(),
        ..event::Container::default()
    });
    let (live, progress) = pipeline::live(1, info, 1);
    births.announce(SLOT, live, false, Asked::default(), Vec::new());
    let pipeline = Pipeline::new(options, births, None, None, None);
    let (queue, items) = sync_channel(QUEUE_BATCHES);
    let thread = std::thread::spawn(move || pipeline.run(&items));
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(std::env::temp_dir().join(format!("bench-{}.trec", std::process::id())))?;
    let selection = Selection {
        phases: Phases::All,
        ..Selection::default()
    };
    let draft = Box::new(Draft::new(Arc::new(Origin::here(&options))));
    let output = Output::new(
        1,
        "recording",
        selection,
        Format::Recording(draft, event::Descriptors::Numbers),
        Box::new(Writer::new(file)),
    );
    let open = Mark::Open {
        output: Box::new(output),
        history: false,
    };
    let begin = Instant::now();
    let sent = queue.send(Item::Mark(open)).and_then(|()| {
        let mut batch = Batch::default();
        for (number, record) in all(records).enumerate() {
            batch.push(record);
            if number % 1024 == 1023 {
                queue.send(Item::Records(std::mem::take(&mut batch)))?;
            }
        }
        queue.send(Item::Records(batch))
    });
    drop(queue);
    if sent.is_err() || thread.join().is_err() {
        bail!("the pipeline ended");
    }
    let rate = EVENTS as f64 / begin.elapsed().as_secs_f64() / 1e6;
    let path = std::env::temp_dir().join(format!("bench-{}.trec", std::process::id()));
    let mut recording = Recording::open(&path)?;
    let mut calls = 0;
    while let Some(entry) = recording.entry()? {
        let Entry::Event(_, event) = entry else { continue };
        calls += u64::from(matches!(event.body, event::Body::Syscall(_)));
    }
    std::fs::remove_file(path)?;
    let decoded = progress.decoded.load(std::sync::atomic::Ordering::Relaxed);
    ensure!(calls == decoded, "{calls} of {decoded} calls are in the file");
    Ok(rate)
}

/// Records of some programs, all of them.
pub(super) fn record() -> Result<Vec<Vec<u8>>> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", PROGRAMS]).stdin(Stdio::piped());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: one system call, between fork and exec.
    unsafe { command.pre_exec(|| Ok(unshare(CloneFlags::CLONE_NEWNS)?)) };
    let mut child = command.spawn().context("start sh")?;

    let options = decode::Options::native();
    let (mut kernel, ring) = Kernel::load(&Options::default(), decode::plans(options.arch, options.limits))?;
    let (queue, items) = sync_channel::<Item<()>>(QUEUE_BATCHES);
    let sink = std::thread::spawn(move || {
        let mut records = Vec::new();
        for item in items {
            if let Item::Records(batch) = item {
                records.extend(batch.by_time().into_iter().map(<[u8]>::to_vec));
            }
        }
        records
    });
    let (marks, begin, reader) = source::read_ring(ring, queue, |_record| false)?;
    begin.begin();
    let init =
        tracer_hook::identity::Init::open(child.id().into()).map_err(|error| anyhow::anyhow!("{error}"))?;
    let identity = identity::of(init.pidfd.as_fd(), init.pid_ns.as_fd(), init.mnt_ns.as_fd())?;
    kernel.attach(true)?;
    let container = Container {
        generation: 1,
        state: state::LIVE,
        mnt_ns: identity.mnt_ns,
        pid_ns: identity.pid_ns,
        init_tgid: identity.init_tgid,
        ..Container::default()
    };
    kernel.arm(1, container, true, false)?;
    // The shell goes on when its standard input closes.
    drop(child.stdin.take());
    child.wait().context("wait for sh")?;
    drop(marks);
    if reader.join().is_err() {
        bail!("the ring's reader panicked");
    }
    let records = sink.join().unwrap_or_default();
    ensure!(records.len() > 1000, "only {} records came", records.len());
    Ok(records)
}

/// The event of a record.
pub(super) fn event_of(
    record: &[u8],
    options: &decode::Options,
    container: &Arc<event::Container>,
) -> Result<event::Event> {
    let decoded = decode::decode(record, options)?;
    let body = match decoded.body {
        decode::Body::Syscall(call) => event::Body::Syscall(call),
        decode::Body::Process(process) => event::Body::Process(process),
    };
    let ktime = decoded.ktime;
    Ok(event::Event {
        time_ns: ktime,
        ktime,
        container: container.clone(),
        body,
    })
}

/// Million events a second, and bytes written of each.
fn rate(records: &[Vec<u8>], format: &str) -> Result<(f64, usize)> {
    let options = decode::Options::native();
    let text_options = text::TextOptions::default();
    let container = Arc::new(event::Container {
        id: "bench".into(),
        ..event::Container::default()
    });
    let mut out = Vec::with_capacity(1 << 20);
    let mut written = 0;
    let begin = Instant::now();
    for record in all(records) {
        let event = event_of(std::hint::black_box(record), &options, &container)?;
        if format == "text" {
            text::write_event(&mut out, &event, &text_options);
        } else {
            json::write_event(&mut out, &event, event::Descriptors::Numbers);
        }
        if out.len() > 1 << 19 {
            written += out.len();
            std::hint::black_box(&out);
            out.clear();
        }
    }
    let rate = EVENTS as f64 / begin.elapsed().as_secs_f64() / 1e6;
    Ok((rate, (written + out.len()) / EVENTS))
}
