//! Everything behind the ring, fed with records: decode, enrich and sinks, without a kernel and without root.

#![allow(clippy::unwrap_used, reason = "a panic of a test is its failure")]

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex,
        mpsc::{channel, sync_channel},
    },
    thread,
};

use serde_json::Value;
use tracer::{
    decode,
    event::{Books, Container},
    pipeline::{self, Births, End, Mark, Pipeline, Watch},
    recording::{Bounds, Damage, Draft, Entry, Origin, Reason, Recording, Writer},
    sinks::{Chunk, Counts, Format, Output, Phases, Selection, Sink, Stream, Taken},
    source::{Batch, Item},
};
use tracer_common::record::{Kind, flag};

const SLOT: u16 = 3;
const GENERATION: u32 = 9;
const INIT: u32 = 4711;

/// A record's bytes, as the kernel side writes them.
fn record(kind: Kind, flags: u16, nr: u16, cpu: u16, seq: u64, ktime: u64, rest: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for half in [kind as u16, flags, SLOT, cpu] {
        bytes.extend(half.to_le_bytes());
    }
    bytes.extend(GENERATION.to_le_bytes());
    let nargs = if kind == Kind::Syscall { rest.len() - 2 } else { 0 };
    bytes.extend(nr.to_le_bytes());
    bytes.extend((nargs as u16).to_le_bytes());
    bytes.extend(seq.to_le_bytes());
    bytes.extend(ktime.to_le_bytes());
    for id in [INIT, INIT, 7, 7] {
        bytes.extend(id.to_le_bytes());
    }
    for word in rest {
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

/// getppid(2) that returned 1 after 100 ns.
fn getppid(cpu: u16, seq: u64, ktime: u64) -> Vec<u8> {
    record(
        Kind::Syscall,
        flag::APP,
        libc::SYS_getppid as u16,
        cpu,
        seq,
        ktime,
        &[100, 1],
    )
}

fn exec(name: &[u8; 16], seq: u64, ktime: u64) -> Vec<u8> {
    let mut bytes = record(Kind::Exec, flag::APP, 0, 0, seq, ktime, &[u64::from(INIT), 0]);
    bytes.extend(name);
    bytes.extend([0, 1, 0, 0, 3, 0, 0, 0]);
    bytes.extend(b"/ls");
    bytes
}

/// A writer whose bytes the test reads.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lines(&self) -> Vec<Value> {
        let bytes = self.0.lock().unwrap().clone();
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Takes all but a few chunks; the first is that of the container's registration.
struct Slow {
    calls: u32,
    no_room: std::ops::Range<u32>,
    to: Shared,
}

impl Slow {
    fn new(no_room: std::ops::Range<u32>) -> Self {
        Self {
            calls: 0,
            no_room,
            to: Shared::default(),
        }
    }
}

impl Sink for Slow {
    fn write(&mut self, chunk: &mut Chunk) -> io::Result<Taken> {
        self.calls += 1;
        if self.no_room.contains(&self.calls) {
            return Ok(Taken::Dropped);
        }
        self.to.write_all(chunk.bytes())?;
        Ok(Taken::Written)
    }
}

struct Broken;

impl Sink for Broken {
    fn write(&mut self, _chunk: &mut Chunk) -> io::Result<Taken> {
        Err(io::ErrorKind::StorageFull.into())
    }
}

fn output(id: u64, name: &str, sink: Box<dyn Sink>) -> Output {
    let selection = Selection {
        phases: Phases::All,
        ..Selection::default()
    };
    Output::new(
        id,
        name,
        selection,
        Format::Json(tracer::event::Descriptors::Numbers),
        sink,
    )
}

/// What came of feeding batches of records: what each sink was counted to have done, and how it ended.
fn run(outputs: Vec<Output>, batches: &[Vec<Vec<u8>>], last_seq: &[u64]) -> Vec<(String, Counts)> {
    watched(outputs, batches, last_seq, None)
}

/// The same, with somebody who hears of what happens.
fn watched(
    outputs: Vec<Output>,
    batches: &[Vec<Vec<u8>>],
    last_seq: &[u64],
    watch: Option<Watch>,
) -> Vec<(String, Counts)> {
    let births = Births::default();
    let info = Arc::new(Container {
        id: "c".into(),
        name: "web".into(),
        ..Container::default()
    });
    let (live, progress) = pipeline::live(GENERATION, info, INIT);
    births.announce(SLOT, live, false, pipeline::Asked::default(), Vec::new());
    let (queue, items) = sync_channel::<Item<Mark>>(64);
    let pipeline = Pipeline::new(
        decode::Options::native(),
        births,
        watch.is_some().then(Bounds::default),
        watch,
        None,
    );
    let thread = thread::spawn(move || pipeline.run(&items));
    for output in outputs {
        queue
            .send(Item::Mark(Mark::Open {
                output: Box::new(output),
                history: false,
            }))
            .unwrap();
    }
    for records in batches {
        let mut batch = Batch::default();
        records.iter().for_each(|record| batch.push(record));
        queue.send(Item::Records(batch)).unwrap();
    }
    let (sinks, counts) = channel();
    let (decoded, undecodable) = {
        let (reached, done) = channel();
        queue
            .send(Item::Mark(Mark::Sync {
                slot: Some(SLOT),
                reached,
            }))
            .unwrap();
        done.recv().unwrap();
        use std::sync::atomic::Ordering::Relaxed;
        (progress.decoded.load(Relaxed), progress.undecodable.load(Relaxed))
    };
    let books = Books {
        decoded,
        undecodable,
        ..Books::default()
    };
    let end = Box::new(End {
        limited: 0,
        last_seq: last_seq.iter().map(|seq| (*seq, false)).collect(),
        books,
        complete: false,
        exit: progress.seen().exit,
        detached: false,
    });
    queue
        .send(Item::Mark(Mark::Gone {
            slot: SLOT,
            ktime: 9_000,
            end,
            sinks,
        }))
        .unwrap();
    let counts = counts.recv().unwrap();
    let counts = counts
        .into_iter()
        .map(|(name, account)| (name, account.counts()))
        .collect();
    drop(queue);
    thread.join().unwrap();
    counts
}

fn of<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == kind).collect()
}

#[test]
fn records_become_events_in_order_with_names_and_holes() {
    let to = Shared::default();
    let records = vec![
        // Reserved later than taken: the other CPU's record comes first in time.
        getppid(0, 1, 2_000),
        getppid(1, 1, 1_000),
        exec(b"ls\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 1, 2_500),
        getppid(0, 2, 3_000),
        // Two are missing on CPU 0, one on CPU 1 at the very end.
        getppid(0, 5, 4_000),
    ];
    let counts = run(
        vec![output(1, "file", Box::new(Stream(to.clone())))],
        &[records],
        &[5, 2],
    );
    let lines = to.lines();
    let calls: Vec<_> = of(&lines, "syscall")
        .iter()
        .map(|call| (call["cpu"].clone(), call["seq"].clone()))
        .collect();
    assert_eq!(
        calls,
        [(1, 1), (0, 1), (0, 2), (0, 5)].map(|(cpu, seq)| (cpu.into(), seq.into())),
        "{lines:#?}"
    );
    let names: Vec<_> = of(&lines, "syscall")
        .iter()
        .map(|call| call["comm"].clone())
        .collect();
    assert_eq!(names, ["", "", "ls", "ls"], "known from the execve on");
    let holes: Vec<_> = of(&lines, "loss")
        .iter()
        .map(|loss| {
            (
                loss["cpu"].clone(),
                loss["after"].clone(),
                loss["before"].clone(),
                loss["count"].clone(),
            )
        })
        .collect();
    assert_eq!(
        holes,
        [(0, 2, 5, 2), (1, 1, 3, 1)].map(|(c, a, b, n)| (c.into(), a.into(), b.into(), n.into()))
    );
    let states: Vec<_> = of(&lines, "container")
        .iter()
        .map(|life| life["state"].clone())
        .collect();
    assert_eq!(states, ["registered", "exec", "gone"]);
    assert_eq!(
        counts,
        [(
            "file".to_owned(),
            Counts {
                written: 4,
                dropped: 0,
                skipped: 0,
                queued: 0,
            }
        )]
    );
}

#[test]
fn what_cannot_be_decoded_is_counted_and_stops_nothing() {
    let to = Shared::default();
    let mut damaged = getppid(0, 2, 2_000);
    damaged.truncate(damaged.len() - 5);
    let batch = vec![getppid(0, 1, 1_000), damaged, vec![0; 3], getppid(0, 3, 3_000)];
    run(
        vec![output(1, "file", Box::new(Stream(to.clone())))],
        &[batch],
        &[3],
    );
    let lines = to.lines();
    assert_eq!(of(&lines, "syscall").len(), 2);
    let losses: Vec<_> = of(&lines, "loss")
        .iter()
        .map(|loss| loss["reason"].clone())
        .collect();
    // The damaged record had its number: it is told once, as what it is, and leaves no hole.
    assert_eq!(losses, ["undecodable"], "{lines:#?}");
}

#[test]
fn a_slow_sink_and_a_broken_one_cost_only_themselves() {
    let (good, slow) = (Shared::default(), Slow::new(3..4));
    let slow_lines = slow.to.clone();
    let batches: Vec<_> = (0..3u64)
        .map(|batch| {
            (1..=5)
                .map(|n| getppid(0, batch * 5 + n, 1_000 * (batch * 5 + n)))
                .collect()
        })
        .collect();
    let outputs = vec![
        output(1, "good", Box::new(Stream(good.clone()))),
        output(2, "slow", Box::new(slow)),
        output(3, "broken", Box::new(Broken)),
    ];
    let counts = run(outputs, &batches, &[15]);
    assert_eq!(
        counts,
        [
            (
                "good".to_owned(),
                Counts {
                    written: 15,
                    dropped: 0,
                    skipped: 0,
                    queued: 0,
                }
            ),
            (
                "slow".to_owned(),
                Counts {
                    written: 10,
                    dropped: 5,
                    skipped: 0,
                    queued: 0,
                }
            ),
            (
                "broken".to_owned(),
                Counts {
                    written: 0,
                    dropped: 15,
                    skipped: 0,
                    queued: 0,
                }
            ),
        ],
        "decoded = written + dropped, for each"
    );
    assert_eq!(of(&good.lines(), "syscall").len(), 15);
    let lines = slow_lines.lines();
    assert_eq!(of(&lines, "syscall").len(), 10);
    let told = of(&lines, "loss");
    assert_eq!(
        (told.len(), &told[0]["reason"], &told[0]["count"]),
        (1, &"sink_drop".into(), &5.into())
    );
}

#[test]
fn a_loss_whose_telling_is_lost_is_told_again() {
    let slow = Slow::new(3..5);
    let lines = slow.to.clone();
    let batches: Vec<_> = (0..4u64)
        .map(|batch| {
            (1..=5)
                .map(|n| getppid(0, batch * 5 + n, 1_000 * (batch * 5 + n)))
                .collect()
        })
        .collect();
    let counts = run(vec![output(1, "slow", Box::new(slow))], &batches, &[20]);
    assert_eq!((counts[0].1.written, counts[0].1.dropped), (10, 10));
    let lines = lines.lines();
    let told: Vec<_> = of(&lines, "loss")
        .iter()
        .map(|loss| loss["count"].clone())
        .collect();
    assert_eq!(told, [10]);
}

#[test]
fn what_a_container_lost_is_told_after_its_end_if_there_is_room_then() {
    // Neither its calls nor its end find room; the pipeline's own end does.
    let slow = Slow::new(1..3);
    let lines = slow.to.clone();
    let batch = (1..=5).map(|n| getppid(0, n, 1_000 * n)).collect();
    run(
        vec![output(1, "slow", Box::new(slow))],
        &[Vec::new(), batch],
        &[5],
    );
    let lines = lines.lines();
    let told: Vec<_> = of(&lines, "loss")
        .iter()
        .map(|loss| loss["count"].clone())
        .collect();
    assert_eq!(told, [5], "{lines:#?}");
}

#[test]
fn records_of_another_generation_are_nobodys() {
    let to = Shared::default();
    let mut stale = getppid(0, 1, 1_000);
    stale[8..12].copy_from_slice(&(GENERATION - 1).to_le_bytes());
    run(
        vec![output(1, "file", Box::new(Stream(to.clone())))],
        &[vec![stale, getppid(0, 1, 2_000)]],
        &[1],
    );
    let lines = to.lines();
    assert_eq!(
        (of(&lines, "syscall").len(), of(&lines, "loss").len()),
        (1, 0),
        "{lines:#?}"
    );
}

#[test]
fn a_recording_tells_again_what_was_told() {
    let (to, file) = (Shared::default(), Shared::default());
    let selection = Selection {
        phases: Phases::All,
        ..Selection::default()
    };
    let draft = Draft::new(Arc::new(Origin::here(&decode::Options::native())));
    let format = Format::Recording(Box::new(draft), tracer::event::Descriptors::Numbers);
    let recorder = Output::new(
        2,
        "recording",
        selection,
        format,
        Box::new(Writer::new(file.clone())),
    );
    let mut broken = getppid(0, 3, 3_000);
    broken.truncate(60);
    let batches = [
        vec![
            exec(b"ls\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 1, 1_000),
            getppid(0, 1, 2_000),
        ],
        // With a hole, a record that cannot be decoded, and losses behind the last.
        vec![broken, getppid(0, 5, 5_000), getppid(1, 1, 4_000)],
    ];
    let counts = run(
        vec![output(1, "file", Box::new(Stream(to.clone()))), recorder],
        &batches,
        &[7, 1],
    );
    assert_eq!(counts[0].1, counts[1].1, "both were given the same");
    assert_eq!((counts[1].1.written, counts[1].1.dropped), (3, 0));

    let bytes = file.0.lock().unwrap().clone();
    let mut recording = Recording::of(bytes).unwrap();
    let again = Shared::default();
    let mut shown = output(3, "again", Box::new(Stream(again.clone())));
    while let Some(entry) = recording.entry().unwrap() {
        let Entry::Event(number, event) = entry else {
            panic!()
        };
        shown.take(number, &event, recording.raw(), None);
    }
    shown.finish().unwrap();
    assert_eq!(
        recording.damage(),
        &Damage {
            ended: true,
            ..Damage::default()
        }
    );
    assert!(to.lines().len() > 8, "calls, losses, the container's life");
    assert_eq!(again.lines(), to.lines());
}

/// The end of a task, with what wait(2) says of it, and more of it than that it is the application's.
fn exit(status: u16, flags: u16, tid: u32, seq: u64, ktime: u64) -> Vec<u8> {
    let mut bytes = record(
        Kind::Exit,
        flag::APP | flags,
        status,
        0,
        seq,
        ktime,
        &[0, 0, 0, 0],
    );
    bytes[32..36].copy_from_slice(&tid.to_le_bytes());
    bytes[36..40].copy_from_slice(&tid.to_le_bytes());
    bytes
}

#[test]
fn what_happens_to_a_container_is_told_once() {
    let told = |on: &str, ends: &[(u16, u16, u32)]| {
        let (to, triggers) = sync_channel(16);
        let watch = Watch {
            on: on.parse().unwrap(),
            to,
        };
        let records = ends
            .iter()
            .zip(1u64..)
            .map(|((status, flags, tid), seq)| exit(*status, *flags, *tid, seq, 1_000 * seq))
            .collect();
        watched(Vec::new(), &[records], &[], Some(watch));
        let all: Vec<_> = triggers
            .iter()
            .map(|told| (told.id, told.reason, told.over))
            .collect();
        all
    };
    let of = |reason, over| ("c".to_owned(), reason, over);
    let segv = libc::SIGSEGV as u16;
    // Two processes die of a signal, then the first one ends with 1.
    let ends = [(segv, 0, 5000), (segv, 0, 5001), (1 << 8, 0, INIT)];
    assert_eq!(
        told("exit,signal", &ends),
        [of(Some(Reason::Signal), false), of(Some(Reason::Exit), true)]
    );
    assert_eq!(told("exit", &ends), [of(Some(Reason::Exit), true)]);
    // The end of the container is the end of the wait for more.
    assert_eq!(
        told("signal", &ends),
        [of(Some(Reason::Signal), false), of(None, true)]
    );
    // For want of memory a process gets a signal; not each such signal is that.
    let kill = libc::SIGKILL as u16;
    let oom = [(kill, flag::OOM, 5000), (0, 0, INIT)];
    assert_eq!(told("oom", &oom), [of(Some(Reason::Oom), false), of(None, true)]);
    assert_eq!(
        told("signal,oom", &oom),
        [
            of(Some(Reason::Oom), false),
            of(Some(Reason::Signal), false),
            of(None, true)
        ]
    );
    assert_eq!(told("oom", &[(kill, 0, 5000), (0, 0, INIT)]), []);
    // What was asked to end, and ended well, is nobody's business.
    assert_eq!(told("all", &[(libc::SIGTERM as u16, 0, 5000), (0, 0, INIT)]), []);
    assert_eq!(told("none", &ends), []);
}
