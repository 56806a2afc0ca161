//! The spool over restarts, and over whatever may happen to its files.

use proptest::prelude::*;

use super::*;

const RUN: u64 = 7;

fn open(directory: &Path, most: u64) -> Spool {
    Spool::open(directory, most, RUN).unwrap().unwrap()
}

fn record(number: u64, bytes: usize) -> Record {
    Record {
        run: RUN,
        first: number,
        owners: vec![11, 12],
        entries: vec![(bytes as u32 / 2, 0), (bytes as u32, u16::MAX)],
        bytes: vec![number as u8; bytes],
    }
}

fn all(spool: &mut Spool) -> Vec<Record> {
    let mut found = Vec::new();
    while let Some(head) = spool.head().unwrap().cloned() {
        found.push(head);
        spool.pop().unwrap();
    }
    found
}

#[test]
fn what_is_put_in_comes_out_in_order_even_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path(), 64 << 10);
    // Segments are of 8 KiB here: these are several.
    let records: Vec<_> = (0..40).map(|number| record(number, 1000)).collect();
    for each in &records {
        assert!(spool.append(each).unwrap());
    }
    for each in &records[..13] {
        assert_eq!(spool.head().unwrap(), Some(each));
        spool.pop().unwrap();
    }
    assert_eq!(spool.events(), 27 * 2);
    drop(spool);
    let mut spool = open(dir.path(), 64 << 10);
    assert_eq!(spool.events(), 27 * 2);
    let late = record(99, 10);
    assert!(spool.append(&late).unwrap());
    let mut expected = records[13..].to_vec();
    expected.push(late);
    assert_eq!(all(&mut spool), expected);
    assert_eq!(spool.damaged(), None);
    assert!(spool.is_empty());
    assert_eq!(spool.bytes(), 0);
    drop(spool);
    // An old cursor is not taken for one of a new segment.
    let mut spool = open(dir.path(), 64 << 10);
    for each in &records[..20] {
        assert!(spool.append(each).unwrap());
    }
    drop(spool);
    assert_eq!(all(&mut open(dir.path(), 64 << 10)), records[..20]);
}

#[test]
fn it_holds_no_more_than_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path(), 10_000);
    let mut taken = 0;
    while spool.append(&record(taken, 900)).unwrap() {
        taken += 1;
    }
    assert!(
        spool.bytes() <= 10_000 && taken >= 8,
        "{taken} in {}",
        spool.bytes()
    );
    let on_disk = || -> u64 {
        let files = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap());
        let segments = files.filter(|file| file.file_name().to_string_lossy().ends_with(SUFFIX));
        segments.map(|file| file.metadata().unwrap().len()).sum()
    };
    assert_eq!(on_disk(), spool.bytes());
    // Room comes back with what is delivered.
    spool.head().unwrap();
    spool.pop().unwrap();
    spool.head().unwrap();
    spool.pop().unwrap();
    assert!(spool.append(&record(taken, 900)).unwrap());
    assert_eq!(on_disk(), spool.bytes());
}

#[test]
fn nobody_else_reads_it_and_two_do_not_share_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b");
    let mut spool = open(&path, 1 << 20);
    spool.append(&record(1, 10)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&path), 0o700);
    for file in fs::read_dir(&path).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    assert!(Spool::open(&path, 1 << 20, RUN).unwrap().is_none());
    drop(spool);
    assert!(Spool::open(&path, 1 << 20, RUN).unwrap().is_some());
    // Nor is a link followed out of it.
    let elsewhere = dir.path().join("elsewhere");
    fs::write(&elsewhere, "precious").unwrap();
    fs::remove_file(path.join("cursor")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, path.join("cursor")).unwrap();
    Spool::open(&path, 1 << 20, RUN).unwrap_err();
    assert_eq!(fs::read(&elsewhere).unwrap(), b"precious");
}

#[test]
fn damage_while_it_runs_is_booked() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path(), 64 << 10);
    for number in 0..12 {
        spool.append(&record(number, 1000)).unwrap();
    }
    assert_eq!(spool.head().unwrap().map(|head| head.first), Some(0));
    spool.pop().unwrap();
    let first = spool.path(1);
    let file = OpenOptions::new().write(true).open(first).unwrap();
    // In the third record.
    file.write_all_at(b"damage", 2 * 1060 + 500).unwrap();
    let rest: Vec<_> = all(&mut spool).iter().map(|record| record.first).collect();
    let damaged = spool.damaged().unwrap();
    // Seven of them are in a segment of 8 KiB.
    assert_eq!(rest, [1, 7, 8, 9, 10, 11]);
    assert_eq!((damaged.events, damaged.calls), (10, vec![(11, 5)]));
}

proptest! {
    /// Whatever bytes are cut off, changed or added: what comes out was put in, in order, and nothing before the damage
    /// is missing.
    #[test]
    fn a_damaged_file_costs_what_comes_after_it(
        lengths in prop::collection::vec(0usize..300, 1..12),
        cut in 0usize..4000,
        changes in prop::collection::vec((0usize..4000, any::<u8>()), 0..4),
        added in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = open(dir.path(), 1 << 20);
        let records: Vec<_> = lengths.iter().zip(0..).map(|(len, number)| record(number, *len)).collect();
        let mut ends = Vec::new();
        for each in &records {
            prop_assert!(spool.append(each).unwrap());
            ends.push(spool.bytes() as usize);
        }
        let path = spool.path(1);
        drop(spool);
        let before = fs::read(&path).unwrap();
        let mut after = before.clone();
        after.truncate(cut.max(1));
        for (at, byte) in changes {
            if let Some(place) = after.get_mut(at) {
                *place = byte;
            }
        }
        after.extend(added);
        fs::write(&path, &after).unwrap();
        let same = before.iter().zip(&after).take_while(|(a, b)| a == b).count();
        let whole = ends.iter().filter(|end| **end <= same).count();
        let found = all(&mut open(dir.path(), 1 << 20));
        prop_assert!(found.len() >= whole, "{} of {whole}", found.len());
        prop_assert_eq!(&found[..], &records[..found.len()]);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _any = Record::decode(&bytes);
        let mut file = MAGIC.to_vec();
        file.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        file.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        file.extend(&bytes);
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(format!("{:020}{SUFFIX}", 3)), file).unwrap();
        for record in all(&mut open(dir.path(), 1 << 20)) {
            prop_assert_eq!(Record::decode(&record.encode()[HEAD as usize..]), Some(record));
        }
    }
}
