//! Every target on its corpus, and on what chance makes of it: the part of fuzzing that every build runs.

use std::{fs, path::PathBuf};

use proptest::{prelude::*, sample::Index, test_runner::TestRunner};

use super::TARGETS;

/// Inputs that chance makes for each target.
const CASES: u32 = 3000;

/// The seeds of a target: what is named by a word and an ending.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fuzz/corpus")
        .join(target);
    let mut seeds: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some())
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(&path).unwrap())
        })
        .collect();
    seeds.sort();
    seeds
}

/// A change of an input: what is done, where, with what.
type Edit = (u8, Index, Index, Vec<u8>);

fn edit() -> impl Strategy<Value = Edit> {
    let word = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        prop::collection::vec(any::<u8>(), 0..9),
        // Where lengths and signs turn.
        prop::sample::select(vec![
            0_u32,
            1,
            0x7f,
            0x80,
            0xff,
            0x7fff,
            0xffff,
            0x7fff_ffff,
            0x8000_0000,
            u32::MAX
        ])
        .prop_map(|word| word.to_le_bytes().to_vec()),
        prop::sample::select(vec![
            "\"", "\\", "{", "}", "[", "]", ",", "=", "!", "%", "/", "(", "\n", "\u{1b}", "\u{202e}"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    (0..5_u8, any::<Index>(), any::<Index>(), word)
}

fn change(bytes: &mut Vec<u8>, other: &[u8], (what, at, to, word): &Edit) {
    let start = at.index(bytes.len() + 1);
    match what {
        0 => {
            for (old, new) in bytes.iter_mut().skip(start).zip(word) {
                *old = *new;
            }
        }
        1 => drop(bytes.splice(start..start, word.iter().copied())),
        2 => {
            let end = start + to.index(bytes.len() - start + 1);
            bytes.drain(start..end.min(start + 64));
        }
        // A piece of another seed, or of itself.
        3 => {
            let from = to.index(other.len() + 1);
            let piece = other.iter().skip(from).take(64).copied();
            bytes.splice(start..start, piece);
        }
        _ => bytes.truncate(start),
    }
}

#[test]
fn every_seed_is_understood() {
    let mut not = Vec::new();
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no corpus");
        let its = seeds.into_iter().filter(|(_, bytes)| !target(bytes));
        not.extend(its.map(|(file, _)| format!("{name}/{file}")));
    }
    assert!(not.is_empty(), "none of these is understood any more: {not:?}");
}

#[test]
fn what_chance_makes_of_the_seeds_is_read_or_refused() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        let all = || any::<Index>().prop_map(|index| index.get(&seeds).1.clone());
        let inputs = (all(), all(), prop::collection::vec(edit(), 1..6));
        let mut runner = TestRunner::new(ProptestConfig {
            // What was found becomes a seed, by hand.
            failure_persistence: None,
            ..ProptestConfig::with_cases(CASES)
        });
        let outcome = runner.run(&inputs, |(mut bytes, other, edits)| {
            for edit in &edits {
                change(&mut bytes, &other, edit);
            }
            target(&bytes);
            Ok(())
        });
        if let Err(failed) = outcome {
            panic!("{name}: {failed}");
        }
    }
}

/// All targets have a program, and a folder of seeds; and no program or folder is left over.
#[test]
fn targets_programs_and_seeds_are_the_same() {
    let fuzz = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz");
    let listed = |folder: &str| {
        let mut names: Vec<_> = fs::read_dir(fuzz.join(folder))
            .unwrap()
            .map(|entry| {
                entry
                    .unwrap()
                    .path()
                    .file_stem()
                    .unwrap()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    };
    let targets = TARGETS.map(|(name, _)| name);
    assert_eq!(listed("fuzz_targets"), targets);
    assert_eq!(listed("corpus"), targets);
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for name in targets {
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "{name} is no program of tests/fuzz"
        );
    }
}
