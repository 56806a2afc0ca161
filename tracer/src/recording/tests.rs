//! A recording that is whole, cut, damaged, or no recording at all.

use std::{ops::Range, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::{
    decode::tests::fake::{A, Fake},
    event::{Cause, Descriptors, LossReason, Verdict},
    sinks::json,
};

/// An event, and its record where it has one.
type Happened = (Event, Option<(Comm, Vec<u8>)>);

const OFFSET: u64 = 1_700_000_000_000_000_000;

fn container(name: &str) -> Arc<Container> {
    Arc::new(Container {
        id: format!("id-{name}"),
        name: name.to_owned(),
        labels: [("tier".to_owned(), "web\u{202e}".to_owned())].into(),
        owner: 7,
        ..Container::default()
    })
}

fn origin() -> Arc<Origin> {
    Arc::new(Origin::here(&decode::Options::native()))
}

/// An event of a call with its record.
fn call(container: &Arc<Container>, name: &str, number: u64) -> Happened {
    let mut record = Fake::new("openat", [A::N(-100), A::S(b"/etc/passwd"), A::N(0), A::N(0)], 3).record();
    let ktime = 1000 + number;
    record[16..24].copy_from_slice(&number.to_le_bytes());
    record[24..32].copy_from_slice(&ktime.to_le_bytes());
    let mut comm = Comm::default();
    comm.0[..name.len()].copy_from_slice(name.as_bytes());
    let decode::Body::Syscall(mut call) = decode::decode(&record, &decode::Options::native()).unwrap().body
    else {
        panic!("a call");
    };
    call.task.comm = comm;
    let event = Event {
        time_ns: OFFSET + ktime,
        ktime,
        container: container.clone(),
        body: Body::Syscall(call),
    };
    (event, Some((comm, record)))
}

fn told(container: &Arc<Container>, number: u64) -> Happened {
    let event = Event {
        time_ns: OFFSET + 1000 + number,
        ktime: 1000 + number,
        container: container.clone(),
        body: Body::Loss(Loss {
            reason: LossReason::RingFull,
            count: number,
            hole: None,
        }),
    };
    (event, None)
}

/// Events of two containers, mixed.
fn story(numbers: Range<u64>) -> Vec<Happened> {
    let (web, db) = (container("web"), container("db"));
    numbers
        .map(|number| match number % 5 {
            0 => told(&web, number),
            1 | 2 => call(&web, "nginx", number),
            3 => call(&db, "redis", number),
            _ => call(&web, "sh", number),
        })
        .collect()
}

/// Blocks of so many events each.
fn blocks(story: &[Happened], each: usize) -> Vec<Vec<u8>> {
    let mut draft = Draft::new(origin());
    story
        .chunks(each)
        .map(|events| {
            for (event, raw) in events {
                let raw = raw.as_ref().map(|(comm, record)| Raw { comm: *comm, record });
                draft.take(event, raw);
            }
            let mut block = Vec::new();
            draft.close(&mut block);
            assert!(draft.is_empty());
            block
        })
        .collect()
}

fn file(blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    for block in blocks {
        writer.blocks(block).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

fn line(event: &Event) -> String {
    let mut line = Vec::new();
    json::write_event(&mut line, event, Descriptors::Numbers);
    String::from_utf8(line).unwrap()
}

fn lines(story: &[Happened]) -> Vec<String> {
    story.iter().map(|(event, _)| line(event)).collect()
}

fn read(bytes: &[u8]) -> (Vec<String>, Damage) {
    let mut recording = Recording::of(bytes.to_vec()).unwrap();
    let mut lines = Vec::new();
    while let Some(entry) = recording.entry().unwrap() {
        if let Entry::Event(_, event) = entry {
            lines.push(line(&event));
        }
    }
    assert!(recording.entry().unwrap().is_none(), "the end is the end");
    (lines, recording.damage().clone())
}

const WHOLE: Damage = Damage {
    ended: true,
    cut: 0,
    damaged: 0,
    skipped: 0,
};

#[test]
fn what_was_recorded_is_read() {
    let story = story(0..1000);
    let (read, damage) = read(&file(&blocks(&story, 300)));
    assert_eq!(read, lines(&story));
    assert_eq!(damage, WHOLE);
    assert!(damage.is_none() && read.len() == 1000);
}

#[test]
fn each_block_is_read_without_the_others_and_containers_stay_the_same() {
    let story = story(0..30);
    let mut parts = blocks(&story, 10);
    parts.remove(1);
    let bytes = file(&parts);
    let (read, damage) = read(&bytes);
    let expected = lines(&story);
    assert_eq!(read, [&expected[..10], &expected[20..]].concat());
    assert_eq!(
        damage, WHOLE,
        "whoever dropped a block has said so in another way"
    );
    let mut recording = Recording::of(bytes).unwrap();
    let mut known: Vec<(u16, Arc<Container>)> = Vec::new();
    while let Some(Entry::Event(number, event)) = recording.entry().unwrap() {
        match known.iter().find(|(known, _)| *known == number) {
            Some((_, container)) => assert!(Arc::ptr_eq(container, &event.container)),
            None => known.push((number, event.container)),
        }
    }
    assert_eq!(known.len(), 2);
}

#[test]
fn a_recording_that_is_cut_is_read_up_to_its_last_whole_block() {
    let story = story(0..60);
    let parts = blocks(&story, 20);
    let bytes = file(&parts);
    let expected = lines(&story);
    let mut ends = vec![HEAD];
    ends.extend(parts.iter().scan(HEAD, |at, part| {
        *at += part.len();
        Some(*at)
    }));
    for cut in HEAD..bytes.len() {
        let (read, damage) = read(&bytes[..cut]);
        let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
        assert_eq!(read.len(), whole * 20, "cut at {cut}");
        assert_eq!(read, expected[..whole * 20]);
        assert!(!damage.is_none() && !damage.ended);
        let behind = cut - ends[whole];
        // Behind the last block the index may be whole, and what follows it cut.
        assert!(
            damage.cut == behind as u64 || whole == 3,
            "{damage:?} at {cut}, {behind} behind"
        );
        assert!(!damage.to_string().is_empty());
    }
    for cut in 0..HEAD {
        assert!(Recording::of(bytes[..cut].to_vec()).is_err());
    }
}

#[test]
fn a_block_that_is_damaged_costs_only_itself() {
    let story = story(0..60);
    let parts = blocks(&story, 20);
    let good = file(&parts);
    let expected = lines(&story);
    let second = HEAD + parts[0].len();
    let others = [&expected[..20], &expected[40..]].concat();
    // In its head: where the next one begins has to be found.
    for at in second..second + block::HEAD {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        let (read, damage) = read(&bytes);
        assert_eq!(read, others, "byte {at}");
        assert_eq!((damage.ended, damage.damaged, damage.cut), (true, 0, 0));
        assert_eq!(damage.skipped, parts[1].len() as u64);
    }
    // In what follows.
    for at in (second + block::HEAD..second + parts[1].len()).step_by(7) {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        let (read, damage) = read(&bytes);
        assert_eq!(read, others, "byte {at}");
        assert_eq!((damage.ended, damage.damaged, damage.skipped), (true, 1, 0));
    }
}

#[test]
fn another_file_or_version_is_refused_with_what_to_do() {
    let bytes = file(&blocks(&story(0..10), 10));
    let refused = |bytes: &[u8]| Recording::of(bytes.to_vec()).unwrap_err().to_string();
    assert!(refused(b"{\"type\":\"syscall\"}").contains("no recording"));
    assert!(refused(b"").contains("no recording"));
    let mut newer = bytes;
    newer[8] = 2;
    assert!(
        refused(&newer).contains("format 2") && refused(&newer).contains("take the tracer that wrote it")
    );

    let other = Origin {
        abi: tracer_common::ABI_VERSION + 1,
        tracer: "9.9\u{1b}[0m".to_owned(),
        ..(*origin()).clone()
    };
    let mut draft = Draft::new(Arc::new(other));
    let (event, raw) = call(&container("web"), "sh", 1);
    let raw = raw.as_ref().map(|(comm, record)| Raw { comm: *comm, record });
    draft.take(&event, raw);
    let mut block = Vec::new();
    draft.close(&mut block);
    let mut recording = Recording::of(file(&[block])).unwrap();
    let refused = recording.entry().unwrap_err().to_string();
    assert!(
        refused.contains(&format!("version {}", tracer_common::ABI_VERSION + 1))
            && refused.contains("9.9\\u{1b}[0m"),
        "{refused}"
    );
}

#[test]
fn strings_are_cut_as_asked_but_never_beyond_what_was_recorded() {
    let web = container("web");
    let (mut event, _) = call(&web, "sh", 1);
    let record = Fake::new("write", [A::N(1), A::B(b"hello, world".to_vec()), A::N(12)], 12).record();
    event.ktime = 0;
    event.time_ns = OFFSET;
    let bytes = file(&blocks(&[(event, Some((Comm::default(), record)))], 1));
    let text = |recording: Recording| {
        let mut recording = recording;
        let Some(Entry::Event(_, event)) = recording.entry().unwrap() else {
            panic!("an event")
        };
        let Body::Syscall(call) = event.body else {
            panic!("a call")
        };
        call.args.text
    };
    let open = || Recording::of(bytes.clone()).unwrap();
    assert_eq!(text(open()), "1, \"hello, world\", 12");
    assert_eq!(text(open().strings(u16::MAX)), "1, \"hello, world\", 12");
    assert_eq!(text(open().strings(5)), "1, \"hello\"..., 12");
}

#[test]
fn a_history_keeps_the_newest_within_its_bounds_and_counts_the_rest() {
    let story = story(0..20_000);
    let bounds = Bounds {
        bytes: 16 * 1024,
        ..Bounds::default()
    };
    let mut history = History::new(origin(), bounds);
    for (event, raw) in &story {
        history.take(
            event,
            raw.as_ref().map(|(comm, record)| Raw { comm: *comm, record }),
        );
        assert!(history.bytes() <= bounds.bytes + 2 * 64 * 1024);
    }
    let mut held = Vec::new();
    history.replay(|event, raw| {
        assert_eq!(raw.is_some(), matches!(event.body, Body::Syscall(_)));
        held.push(line(event));
    });
    let all = lines(&story);
    assert!(!held.is_empty() && held.len() < all.len());
    assert_eq!(held, all[all.len() - held.len()..], "the newest, without a gap");
    let gone = &story[..all.len() - held.len()];
    let records = gone.iter().filter(|(_, raw)| raw.is_some()).count();
    assert_eq!(history.dropped(), records as u64);
    // As a recording it says the same.
    let parts: Vec<_> = history.blocks().map(|block| block.to_vec()).collect();
    assert_eq!(read(&file(&parts)), (held, WHOLE));
}

/// A container that fails in many ways is told why at its end, all at once.
#[test]
fn diagnoses_push_no_calls_out_of_a_history() {
    let web = container("web");
    let diagnosis = |number: u64| {
        let (mut event, _) = call(&web, "sh", number);
        let Body::Syscall(call) = &event.body else {
            panic!("a call")
        };
        event.body = Body::Diagnosis(Box::new(Diagnosis {
            task: call.task.clone(),
            arch: call.arch,
            nr: call.nr,
            syscall: call.name.clone(),
            errno: Some(2),
            call: format!("openat(AT_FDCWD, \"/none-{number}\", O_RDONLY)"),
            count: 1,
            verdict: Verdict {
                cause: Cause::Missing,
                why: format!("/none-{number} does not exist"),
                evidence: Vec::new(),
                fixes: Vec::new(),
                ruled_out: Vec::new(),
            },
        }));
        event
    };
    let take_calls = |history: &mut History, numbers: std::ops::Range<u64>| {
        for number in numbers {
            let (event, raw) = call(&web, "sh", number);
            let (comm, record) = raw.unwrap();
            let record = &record;
            history.take(&event, Some(Raw { comm, record }));
        }
    };
    for bytes in [8 * 1024, 64 * 1024] {
        let mut history = History::new(
            origin(),
            Bounds {
                bytes,
                ..Bounds::default()
            },
        );
        let taken = |history: &History| {
            let (mut calls, mut diagnoses) = (0_u64, 0_u64);
            history.replay(|event, raw| match raw {
                Some(_) => calls += 1,
                None => diagnoses += u64::from(matches!(event.body, Body::Diagnosis(_))),
            });
            (calls, diagnoses)
        };
        take_calls(&mut history, 0..4000);
        let before = taken(&history).0;
        for number in 0..256 {
            history.take(&diagnosis(number), None);
        }
        let (calls, diagnoses) = taken(&history);
        assert!(
            calls >= before / 2,
            "{calls} of {before} calls, {diagnoses} diagnoses, in {bytes} bytes"
        );
        assert!(diagnoses > 0, "none in {bytes} bytes");
        assert_eq!(calls + history.dropped(), 4000);
        // What goes makes room again.
        take_calls(&mut history, 4000..20_000);
        assert_eq!(taken(&history).1, 0);
        history.take(&diagnosis(1), None);
        assert_eq!(taken(&history).1, 1);
    }
}

#[test]
fn a_history_forgets_what_is_too_old() {
    let bounds = Bounds {
        time: Some(std::time::Duration::from_nanos(2_000)),
        ..Bounds::default()
    };
    let mut history = History::new(origin(), bounds);
    for (event, raw) in &story(0..20_000) {
        history.take(
            event,
            raw.as_ref().map(|(comm, record)| Raw { comm: *comm, record }),
        );
    }
    let mut oldest = None;
    history.replay(|event, _| {
        oldest.get_or_insert(event.ktime);
    });
    // A block goes as a whole: some that are older stay with it.
    assert!(
        oldest.unwrap() > 15_000 && oldest.unwrap() <= 19_000,
        "{oldest:?}"
    );
}

#[test]
fn dumps_are_bounded_and_the_oldest_give_way() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state/dumps");
    let parts = blocks(&story(0..100), 50);
    let length = file(&parts).len() as u64;
    let dumps = Dumps::open(&path, 3 * length, None).unwrap();
    assert!(dumps.list().unwrap().is_empty());
    let reasons: [&[Reason]; 4] = [
        &[Reason::Exit],
        &[Reason::Signal, Reason::Oom],
        &[Reason::Diagnosis],
        &[Reason::Exit],
    ];
    for reasons in reasons {
        dumps.keep(reasons, &parts).unwrap();
    }
    let kept = dumps.list().unwrap();
    let words: Vec<_> = kept.iter().map(|kept| kept.reasons.join("+")).collect();
    assert_eq!(words, ["signal+oom", "diagnosis", "exit"], "the oldest is gone");
    for kept in &kept {
        assert_eq!(
            (kept.container.name.as_str(), kept.owner, kept.bytes),
            ("web", 7, length)
        );
        let mode = std::fs::metadata(&kept.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert!(!kept.path.to_str().unwrap().contains("web"));
        assert_eq!(read(&std::fs::read(&kept.path).unwrap()).1, WHOLE);
    }
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o750
    );
    let none = Dumps::open(&path, 10, None).unwrap();
    assert!(none.keep(&[Reason::Exit], &parts).is_err());
    assert_eq!(dumps.list().unwrap().len(), 3, "for nothing nothing is removed");
    // Of other files nothing is known, and none is removed.
    std::fs::write(path.join("other.txt"), "x").unwrap();
    std::fs::write(path.join("x.trec"), "x").unwrap();
    assert_eq!(dumps.list().unwrap().len(), 3);
}

#[test]
fn reasons_are_read_as_people_write_them() {
    let read = |text: &str| text.parse::<Reasons>();
    assert!(read("none").unwrap().is_empty());
    assert!(Reason::ALL.iter().all(|reason| read("all").unwrap().has(*reason)));
    let some = read("exit, oom").unwrap();
    assert!(some.has(Reason::Exit) && some.has(Reason::Oom) && !some.has(Reason::Signal));
    assert!(read("exit,crash").is_err());
}

#[test]
fn a_word_is_a_file_where_it_looks_like_one_or_there_is_one() {
    for file in ["./web", "/tmp/x", "web.trec", "dir/web.trec", "Cargo.toml"] {
        assert!(is_file(file), "{file}");
    }
    for container in ["web", "c0ffee", "no-such-file", "trec"] {
        assert!(!is_file(container), "{container}");
    }
}

#[test]
fn a_recording_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.trec");
    create(&path).unwrap();
    assert_eq!(
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let mut recording = file(&[]);
        recording.truncate(HEAD);
        recording.extend(&bytes);
        let (read, damage) = read(&recording);
        prop_assert!(read.is_empty() && !damage.is_none());
    }

    #[test]
    fn bytes_changed_anywhere_show_nothing_that_was_not(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)
    ) {
        let story = story(0..60);
        let mut bytes = file(&blocks(&story, 20));
        let expected = lines(&story);
        for (at, byte) in changes {
            let at = HEAD + at.index(bytes.len() - HEAD);
            bytes[at] = byte;
        }
        let (read, _) = read(&bytes);
        prop_assert!(read.iter().all(|line| expected.contains(line)));
    }

    /// What has the right sums, and lies.
    #[test]
    fn items_of_any_bytes_are_read_to_an_end(plain in proptest::collection::vec(any::<u8>(), 0..600), story_first in any::<bool>()) {
        let mut all = Vec::new();
        if story_first {
            let block = blocks(&story(0..3), 3).remove(0);
            let head = block::Head::read(&block).unwrap();
            all = head.unpack(&block[block::HEAD..]).unwrap();
        }
        all.extend(&plain);
        let mut block = Vec::new();
        block::pack(block::ITEMS, &all, (0, 0), (0, 0), &mut block);
        let mut recording = Recording::of(file(&[block])).unwrap();
        while let Ok(Some(_)) = recording.entry() {}
    }

    /// Each kind of item, cut and of any bytes, behind a begin that is right.
    #[test]
    fn each_item_may_be_of_any_bytes(kind in 0u8..12, bytes in proptest::collection::vec(any::<u8>(), 0..400), length in 0u32..500) {
        let block = blocks(&story(0..3), 3).remove(0);
        let head = block::Head::read(&block).unwrap();
        let mut plain = head.unpack(&block[block::HEAD..]).unwrap();
        plain.extend((u32::from(kind) << 24 | length).to_le_bytes());
        plain.extend(&bytes);
        let mut block = Vec::new();
        block::pack(block::ITEMS, &plain, (0, 0), (0, 0), &mut block);
        let mut recording = Recording::of(file(&[block])).unwrap();
        let mut events = 0;
        while let Ok(Some(_)) = recording.entry() {
            events += 1;
        }
        prop_assert!(events >= 3);
    }
}

#[test]
fn a_head_that_claims_too_much_is_none() {
    let block = blocks(&story(0..3), 3).remove(0);
    let mut huge = block;
    huge[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    let sum = crc32fast::hash(&huge[..block::HEAD - 4]);
    huge[block::HEAD - 4..block::HEAD].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(block::Head::read(&huge), None);
}

/// A file that counts what is read of it.
struct Counted(std::io::Cursor<Vec<u8>>, Arc<std::sync::atomic::AtomicU64>);

impl std::io::Read for Counted {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(to)?;
        self.1
            .fetch_add(read as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(read)
    }
}

impl std::io::Seek for Counted {
    fn seek(&mut self, to: std::io::SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

fn rest(mut recording: Recording) -> (Vec<String>, Damage) {
    let mut lines = Vec::new();
    while let Some(entry) = recording.entry().unwrap() {
        if let Entry::Event(_, event) = entry {
            lines.push(line(&event));
        }
    }
    (lines, recording.damage().clone())
}

#[test]
fn a_stretch_is_read_without_the_blocks_beside_it() {
    let story = story(0..4000);
    let bytes = file(&blocks(&story, 40));
    let expected = lines(&story);
    let after = |ns: u64| Some(Moment::After(ns));
    for (window, range) in [
        ((after(2000), after(2009)), 2000..2010),
        ((None, after(0)), 0..1),
        ((after(3990), None), 3990..4000),
        ((after(5000), None), 0..0),
        // The first event was at 1000.
        ((Some(Moment::At(OFFSET + 1100)), after(119)), 100..120),
        ((Some(Moment::At(0)), Some(Moment::At(OFFSET + 1004))), 0..5),
        ((None, Some(Moment::At(0))), 0..0),
        ((None, None), 0..4000),
    ] {
        let window = Window {
            from: window.0,
            to: window.1,
        };
        let read = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let from = Counted(std::io::Cursor::new(bytes.clone()), read.clone());
        let (told, damage) = rest(Recording::whole(from).unwrap().within(&window).unwrap());
        assert_eq!(told, expected[range.clone()], "{window:?}");
        assert_eq!(damage, WHOLE, "{window:?}");
        let read = read.load(std::sync::atomic::Ordering::Relaxed);
        // By the wall clock some more is read than is told: here all is within a second.
        if matches!(
            (window.from, window.to),
            (Some(Moment::After(_)), _) | (None, Some(Moment::After(_)))
        ) {
            assert!(read < bytes.len() as u64 / 10, "{read} of {} bytes", bytes.len());
        }
        // What cannot be read from anywhere, was cut, or has a wrong index, tells the same.
        let stream = Recording::new(std::io::Cursor::new(bytes.clone())).unwrap();
        assert_eq!(rest(stream.within(&window).unwrap()).0, expected[range.clone()]);
        let cut = Recording::of(bytes[..bytes.len() - 1].to_vec()).unwrap();
        assert_eq!(rest(cut.within(&window).unwrap()).0, expected[range.clone()]);
        let mut wrong = bytes.clone();
        let at = wrong.len() - 16;
        wrong[at..at + 8].copy_from_slice(&20u64.to_le_bytes());
        let wrong = Recording::of(wrong).unwrap();
        assert_eq!(rest(wrong.within(&window).unwrap()).0, expected[range]);
    }
    let backwards = Window {
        from: after(2),
        to: after(1),
    };
    assert!(Recording::of(bytes).unwrap().within(&backwards).is_err());
    assert!(
        rest(Recording::of(file(&[])).unwrap().within(&backwards).unwrap())
            .0
            .is_empty()
    );
}

#[test]
fn moments_are_read_as_people_write_them() {
    assert_eq!("1.5s".parse(), Ok(Moment::After(1_500_000_000)));
    assert_eq!("2m".parse(), Ok(Moment::After(120_000_000_000)));
    let at = Ok(Moment::At(1_795_817_444_000_000_001));
    assert_eq!("2026-11-27T22:10:44.000000001Z".parse(), at);
    assert_eq!("2026-11-27T23:10:44.000000001+01:00".parse(), at);
    for wrong in [
        "",
        "T",
        "22:10",
        "2026-11-27",
        "2026-11-27T22:10:44",
        "0001-01-01T00:00:00Z",
        "-1s",
    ] {
        assert!(wrong.parse::<Moment>().is_err(), "{wrong}");
    }
}
