//! A file over rotations, full disks and lines that were cut.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use super::*;
use crate::sinks::{Account, Counts};

fn settings(path: &Path) -> Settings {
    Settings {
        path: path.to_owned(),
        format: Lines::Json,
        descriptors: Descriptors::Numbers,
        rotate_size: Bytes(0),
        rotate_every: Time::default(),
        keep: 0,
        compress: Compression::None,
    }
}

/// A chunk of numbered lines, all of them calls of that account.
fn chunk(account: &Arc<Account>, numbers: std::ops::Range<u32>) -> Chunk {
    let mut chunk = Chunk::new(Arc::default());
    for number in numbers {
        chunk.push(Some(account), |to| writeln!(to, "line {number:06}").unwrap());
    }
    chunk.book();
    chunk
}

fn counts(written: u64, dropped: u64, queued: u64) -> Counts {
    Counts {
        written,
        dropped,
        skipped: 0,
        queued,
    }
}

/// All that the directory holds of that file: the rotated ones in their order, then the file.
fn text(path: &Path) -> (String, usize) {
    let names: BTreeSet<_> = fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|found| found != path)
        .collect();
    let mut text = String::new();
    for name in &names {
        let file = fs::File::open(name).unwrap();
        match name.extension().and_then(|word| word.to_str()) {
            Some("gz") => flate2::read::GzDecoder::new(file).read_to_string(&mut text),
            Some("zst") => zstd::Decoder::new(file).unwrap().read_to_string(&mut text),
            _ => { file }.read_to_string(&mut text),
        }
        .unwrap();
    }
    text += &fs::read_to_string(path).unwrap_or_default();
    (text, names.len())
}

fn lines(numbers: std::ops::Range<u32>) -> String {
    numbers.map(|number| format!("line {number:06}\n")).collect()
}

#[test]
fn rotation_loses_no_line_and_splits_none() {
    for compress in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("calls");
        let account = Arc::default();
        let mut file = File::new(
            "test",
            Settings {
                rotate_size: Bytes(4096),
                compress,
                ..settings(&path)
            },
        );
        file.open();
        // 12 bytes a line: 341 go into a file.
        for from in (0..2000).step_by(100) {
            file.deliver(&mut chunk(&account, from..from + 100)).unwrap();
            assert!(fs::metadata(&path).unwrap().len() <= 4096);
        }
        file.finish();
        // What this packer has not done, the next one does before it takes another poke.
        let packer = Packer::start("test", &path, 0, compress).unwrap();
        packer.poke();
        packer.poke();
        while compress != Compression::None && plain(&path) > 0 {
            std::thread::yield_now();
        }
        packer.end();
        assert_eq!(text(&path), (lines(0..2000), 5), "{compress:?}");
        assert_eq!(account.counts(), counts(2000, 0, 0));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for entry in fs::read_dir(dir.path()).unwrap() {
            assert_eq!(mode(&entry.unwrap().path()), 0o640);
        }
    }
}

/// Rotated files that are not compressed.
fn plain(path: &Path) -> usize {
    let entries = fs::read_dir(path.parent().unwrap()).unwrap();
    entries
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .ends_with('Z')
        })
        .count()
}

#[test]
fn only_as_many_are_kept_as_shall_be_and_nothing_else_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("calls");
    let others = [
        "calls-notes",
        "calls-20261127T211845.123456789Z.bak",
        "callsx-20261127T211845.123456789Z",
    ];
    for other in others {
        fs::write(dir.path().join(other), "x").unwrap();
    }
    // Left by one that was killed.
    fs::write(dir.path().join("calls-20200101T000000.000000000Z.gz.tmp"), "x").unwrap();
    let mut file = File::new(
        "test",
        Settings {
            rotate_size: Bytes(4096),
            keep: 2,
            ..settings(&path)
        },
    );
    file.open();
    let account = Arc::default();
    file.deliver(&mut chunk(&account, 0..3000)).unwrap();
    let count = || fs::read_dir(dir.path()).unwrap().count();
    while count() > 3 + others.len() {
        std::thread::yield_now();
    }
    file.finish();
    assert!(others.iter().all(|other| dir.path().join(other).exists()));
    // 341 a file: the newest two, and the one at hand.
    assert_eq!(count(), 3 + others.len());
    let kept: u64 = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert_eq!(kept - 3, 12 * (3000 - 6 * 341));
}

#[test]
fn a_line_that_was_torn_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("calls");
    fs::write(&path, "line 000000\nline 0000").unwrap();
    let mut file = File::new("test", settings(&path));
    file.open();
    file.deliver(&mut chunk(&Arc::default(), 1..3)).unwrap();
    assert_eq!(text(&path).0, lines(0..3));
    // Cut by somebody else, as logrotate's copytruncate does.
    fs::write(&path, "").unwrap();
    file.deliver(&mut chunk(&Arc::default(), 3..5)).unwrap();
    assert_eq!(text(&path).0, lines(3..5));
}

#[test]
fn what_was_moved_away_is_left_when_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (path, moved) = (dir.path().join("calls"), dir.path().join("calls.1"));
    let mut file = File::new("test", settings(&path));
    let write = |file: &mut File, numbers| file.deliver(&mut chunk(&Arc::default(), numbers)).unwrap();
    file.open();
    write(&mut file, 0..2);
    fs::rename(&path, &moved).unwrap();
    write(&mut file, 2..4);
    file.open();
    assert_eq!(fs::read_to_string(&path).unwrap(), "", "it is there at once");
    write(&mut file, 4..6);
    assert_eq!(fs::read_to_string(&moved).unwrap(), lines(0..4));
    assert_eq!(fs::read_to_string(&path).unwrap(), lines(4..6));
}

#[test]
fn a_path_that_is_none_is_kept_waiting_for() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("later");
    let path = directory.join("calls");
    let mut file = File::new("test", settings(&path));
    file.open();
    let account = Arc::default();
    let mut waiting = chunk(&account, 0..3);
    let error = file.deliver(&mut waiting).unwrap_err().to_string();
    assert!(error.contains("later/calls"), "{error}");
    assert_eq!(account.counts(), counts(0, 0, 3));
    fs::create_dir(&directory).unwrap();
    file.deliver(&mut waiting).unwrap();
    assert_eq!((account.counts(), text(&path).0), (counts(3, 0, 0), lines(0..3)));

    let link = dir.path().join("link");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    assert!(
        File::new("test", settings(&link))
            .deliver(&mut chunk(&account, 0..1))
            .is_err()
    );
    assert!(
        File::new("test", settings(dir.path()))
            .deliver(&mut chunk(&account, 0..1))
            .is_err()
    );
    assert_eq!(account.counts(), counts(3, 2, 0), "given up with the chunk");
}

#[test]
fn a_file_is_rotated_at_the_multiples_of_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("calls");
    // Written the day before yesterday.
    fs::write(&path, lines(0..1)).unwrap();
    let old = SystemTime::now() - Duration::from_secs(2 * 86_400);
    fs::File::options()
        .append(true)
        .open(&path)
        .unwrap()
        .set_modified(old)
        .unwrap();
    let mut file = File::new(
        "test",
        Settings {
            rotate_every: Time(Duration::from_secs(86_400)),
            ..settings(&path)
        },
    );
    file.open();
    assert!(file.due().unwrap() <= Instant::now());
    file.tick();
    assert_eq!(
        (fs::read_to_string(&path).unwrap().as_str(), text(&path).1),
        ("", 1)
    );
    let due = file.due().unwrap();
    assert!(due > Instant::now() && due <= Instant::now() + Duration::from_secs(86_400));
    file.deliver(&mut chunk(&Arc::default(), 1..2)).unwrap();
    file.deliver(&mut chunk(&Arc::default(), 2..3)).unwrap();
    assert_eq!(text(&path), (lines(0..3), 1));
}

#[test]
fn a_clock_that_was_set_back_does_not_keep_a_file_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("calls");
    // Written in a year's time, by the clock before.
    fs::write(&path, lines(0..1)).unwrap();
    let year = Duration::from_secs(365 * 86_400);
    fs::File::options()
        .append(true)
        .open(&path)
        .unwrap()
        .set_modified(SystemTime::now() + year)
        .unwrap();
    let mut file = File::new(
        "test",
        Settings {
            rotate_every: Time(Duration::from_secs(86_400)),
            ..settings(&path)
        },
    );
    file.open();
    file.tick();
    assert!(file.due().unwrap() <= Instant::now() + Duration::from_secs(86_400));
    assert_eq!(text(&path), (lines(0..1), 0));
}
