//! No bytes make the decoder or the sinks panic, and what they write is always printable.

use proptest::prelude::*;

use super::fake::{A, Fake, event};
use crate::{
    decode::{self, Body, Limits, Options, decode},
    event::Arch,
    sinks::{json, text},
};

fn options(arch: Arch) -> Options {
    Options {
        arch,
        limits: Limits::default(),
    }
}

/// Decodes and writes; a line is ASCII, one line, and (JSON) parses.
fn exercise(bytes: &[u8]) {
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let Ok(record) = decode(bytes, &options(arch)) else {
            continue;
        };
        let body = match record.body {
            Body::Syscall(call) => crate::event::Body::Syscall(call),
            Body::Process(process) => crate::event::Body::Process(process),
        };
        let event = event(body);
        let mut line = Vec::new();
        json::write_event(&mut line, &event, crate::event::Descriptors::All);
        serde_json::from_slice::<serde_json::Value>(&line).unwrap();
        printable(&line);
        line.clear();
        let options = text::TextOptions {
            show_processes: true,
            show_comm: true,
            ..Default::default()
        };
        text::write_event(&mut line, &event, &options);
        printable(&line);
    }
}

fn printable(line: &[u8]) {
    let (last, rest) = line.split_last().unwrap();
    assert_eq!(*last, b'\n');
    assert!(
        rest.iter().all(|byte| matches!(byte, b' '..=b'~')),
        "{}",
        String::from_utf8_lossy(line)
    );
}

fn argument() -> impl Strategy<Value = A> {
    prop_oneof![
        any::<i64>().prop_map(A::N),
        (0..100_i64).prop_map(A::N),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(A::B),
        Just(A::Bad),
    ]
}

fn call() -> impl Strategy<Value = Fake> {
    let ret = prop_oneof![Just(0), any::<i64>(), -600..600_i64];
    let arch = prop_oneof![Just(Arch::X86_64), Just(Arch::I386), Just(Arch::Aarch64)];
    (arch, 0..470_u16, ret, proptest::collection::vec(argument(), 6)).prop_map(|(arch, nr, ret, args)| {
        let flags = if arch == Arch::I386 {
            tracer_common::record::flag::COMPAT
        } else {
            0
        };
        // Lengths beyond what a buffer holds are the kernel's to cut.
        let args = args
            .into_iter()
            .map(|arg| if let A::N(n) = arg { A::N(n.max(0)) } else { arg })
            .collect();
        Fake {
            arch,
            nr,
            ret,
            flags,
            args,
            blind: false,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        exercise(&bytes);
    }

    #[test]
    fn any_bytes_of_a_known_kind(kind in 1..=6_u8, nargs in 0..=6_u8, mut bytes in proptest::collection::vec(any::<u8>(), 48..400)) {
        bytes[..2].copy_from_slice(&[kind, 0]);
        bytes[13] &= 1;
        bytes[14..16].copy_from_slice(&[nargs, 0]);
        exercise(&bytes);
    }

    #[test]
    fn records_their_cuts_and_changes(fake in call(), cut in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut record = fake.record();
        let (end, change) = (cut.index(record.len()), at.index(record.len()));
        exercise(&record);
        exercise(&record[..end]);
        record[change] = byte;
        exercise(&record);
    }
}

#[test]
fn every_call_of_every_table_prints() {
    for arch in [Arch::X86_64, Arch::I386, Arch::Aarch64] {
        for nr in (0..470).filter(|nr| decode::name(arch, u32::from(*nr)).is_some()) {
            for value in [0, 1, 3, 0x7fff_0000, -1] {
                let flags = if arch == Arch::I386 {
                    tracer_common::record::flag::COMPAT
                } else {
                    0
                };
                let arg = if value < 0 { A::Bad } else { A::N(value) };
                let fake = Fake {
                    arch,
                    nr,
                    ret: value,
                    flags,
                    args: vec![arg; 6],
                    blind: false,
                };
                exercise(&fake.record());
            }
        }
    }
}
