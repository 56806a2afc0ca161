//! `cargo xtask lint`: formatting, clippy, and the rules of this workspace. All failures are collected, then shown.
//!
//! The tables below are the rules; what reads them is in `lint/`.

mod claims;
mod links;
mod source;

use crate::sh;
use anyhow::{Result, bail};
use std::path::Path;

/// What may stand only in the places named, because a rule that is only written dies. Comments and strings do not
/// count. A place is a file, or a folder when it ends in `/`.
struct Home {
    what: What,
    places: &'static [&'static str],
    why: &'static str,
}

enum What {
    /// A path of this crate: `use aya…`, `aya::…`.
    Crate(&'static str),
    /// A word: a keyword, or a macro with its `!`.
    Word(&'static str),
}

const HOMES: &[Home] = &[
    Home {
        what: What::Crate("aya"),
        places: &["tracer/src/source/kernel.rs", "tracer/src/source/kernel/"],
        why: "all after the ring is testable without a kernel",
    },
    Home {
        what: What::Crate("procfs"),
        places: &["tracer/src/identity.rs", "tracer/src/identity/"],
        why: "what depends on the running system is read in one stage",
    },
    Home {
        what: What::Crate("oci_spec"),
        places: &["hooks/", "tracer/src/profile.rs", "tracer/src/profile/"],
        why: "the hook owns what runtimes say, and a profile is what they read",
    },
    Home {
        what: What::Crate("crc32fast"),
        places: &[
            "tracer/src/recording/",
            "tracer/src/sinks/delivery/",
            "tracer/src/source/kernel.rs",
        ],
        why: "one piece of code makes blocks and one batches, and reads them; one tells eBPF objects apart",
    },
    Home {
        what: What::Crate("flate2"),
        places: &[
            "tracer/src/page/",
            "tracer/src/sinks/file/",
            "tracer/src/sinks/otlp.rs",
            "tracer/src/sinks/otlp/",
        ],
        why: "others unpack gzip; what only we read is zstd",
    },
    Home {
        what: What::Crate("seccompiler"),
        places: &["tracer/src/daemon/rights.rs"],
        why: "what the daemon gives up is one file",
    },
    Home {
        what: What::Crate("libfuzzer_sys"),
        places: &["tests/fuzz/"],
        why: "readers are fuzzed through one list of targets",
    },
    Home {
        what: What::Crate("tokio"),
        places: &[
            "tracer/src/main.rs",
            "tracer/src/daemon.rs",
            "tracer/src/daemon/",
            "tracer/src/control.rs",
            "tracer/src/control/",
            "tracer/src/registration.rs",
            "tracer/src/registration/",
            // Its client is async: a runtime of its own, on its sink's thread, while an attempt runs.
            "tracer/src/sinks/nats.rs",
        ],
        why: "the pipeline is plain threads and bounded queues",
    },
    Home {
        what: What::Crate("parquet"),
        places: &["tracer/src/export.rs", "tracer/src/export/"],
        why: "a format is one file",
    },
    Home {
        what: What::Crate("ratatui"),
        places: &["tracer/src/top/"],
        why: "only the live table draws on a terminal",
    },
    Home {
        what: What::Crate("hyper"),
        places: &["tracer/src/daemon/metrics.rs"],
        why: "the daemon serves HTTP in one place",
    },
    Home {
        what: What::Crate("prometheus_client"),
        places: &["tracer/src/metrics.rs", "tracer/src/metrics/"],
        why: "metrics are made in one place, of plain figures",
    },
    Home {
        what: What::Crate("toml"),
        places: &[
            "tracer/src/config/",
            "tracer/src/commands/config.rs",
            // What a reader of it may be given.
            "tracer/src/fuzz.rs",
            "tests/",
        ],
        why: "the daemon's file is read in one place",
    },
    Home {
        what: What::Word("unsafe"),
        places: &[
            "tracer-ebpf/src/",
            "tracer/src/source/kernel.rs",
            "tracer/src/source/kernel/batch.rs",
            "tracer/src/source/kernel/bpf.rs",
            "tracer/src/source/kernel/events.rs",
            "tracer/src/source/kernel/objects.rs",
            "tracer/src/source/kernel/table.rs",
            "tracer/src/source/ring.rs",
            "tracer/src/identity.rs",
            "tracer/src/run.rs",
            "tracer/src/run/",
            "tracer/src/daemon.rs",
            "tracer/src/daemon/handover.rs",
            "tracer/src/registration.rs",
            "tracer/examples/bench/",
            "hooks/src/client.rs",
            "hooks/tests/",
            "tests/src/bin/",
        ],
        why: "each place is one that a reviewer reads for it",
    },
    Home {
        what: What::Word("println!"),
        places: PRINTERS,
        why: "what users read goes through the sinks or the command line",
    },
    Home {
        what: What::Word("eprintln!"),
        places: PRINTERS,
        why: "what users read goes through the sinks or the command line",
    },
];

const PRINTERS: &[&str] = &[
    "tracer/src/main.rs",
    "tracer/src/cli.rs",
    "tracer/src/cli/",
    "tracer/src/commands.rs",
    "tracer/src/commands/",
    "tracer/examples/",
    "hooks/src/main.rs",
    "xtask/",
    "tests/",
];

/// A longer file says why in its head, in a line that begins with [`LONG_BECAUSE`].
const LONG: usize = 700;
const LONG_BECAUSE: &str = "//! Long because";

/// Text that belongs to somebody's machine and to no file here. In two halves, or this file would have it.
const LEFTOVERS: &[(&str, &str)] = &[
    ("/ho", "me/"),
    ("/ro", "ot/.cargo"),
    ("crates", ".io"),
    ("py", "pi.org"),
    ("deb.", "debian"),
];

pub(crate) fn run() -> Result<()> {
    let mut failures = Vec::new();
    let mut keep = |result: Result<()>| failures.extend(result.err().map(|why| format!("{why:#}")));
    keep(sh::run(&mut sh::cargo(["fmt", "--all", "--check"])));
    keep(sh::run(&mut sh::cargo([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ])));
    for file in files()? {
        // A file that is gone from the tree, or holds no text, has no rules to keep.
        let Ok(text) = std::fs::read_to_string(sh::root().join(&file)) else {
            continue;
        };
        leftovers(&file, &text, &mut failures);
        if file.ends_with(".rs") {
            rust(&file, &text, &mut failures);
        }
        if file.ends_with(".md") {
            links::check(&sh::root(), &file, &text, &mut failures);
        }
        if file == claims::PAGE {
            claims::check(&sh::root(), &text, &mut failures);
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    for failure in &failures {
        eprintln!("lint: {failure}");
    }
    bail!("{} lint failures", failures.len())
}

/// Tracked files, and new ones that git does not ignore.
fn files() -> Result<Vec<String>> {
    let list = sh::output(&mut sh::command(
        "git",
        ["ls-files", "--cached", "--others", "--exclude-standard"],
    ))?;
    Ok(list.lines().map(str::to_owned).collect())
}

fn rust(file: &str, text: &str, failures: &mut Vec<String>) {
    let code = source::code(text);
    for Home { what, places, why } in HOMES {
        if places
            .iter()
            .any(|place| file == *place || place.ends_with('/') && file.starts_with(place))
        {
            continue;
        }
        for (number, line) in code.lines().enumerate() {
            let (name, found) = match what {
                What::Crate(name) => (name, source::names_crate(line, name)),
                What::Word(name) => (name, source::has_word(line, name)),
            };
            if found {
                failures.push(format!(
                    "{file}:{}: {name} stands only in {places:?}: {why}",
                    number + 1
                ));
            }
        }
    }
    if !text.lines().any(|line| line.starts_with("//!")) {
        failures.push(format!("{file}: has no `//!` head that says what it owns"));
    }
    let lines = text.lines().count();
    if lines > LONG && !text.lines().any(|line| line.starts_with(LONG_BECAUSE)) {
        failures.push(format!(
            "{file}: {lines} lines without a reason (`{LONG_BECAUSE} …` in its head)"
        ));
    }
    if Path::new(file).file_name().is_some_and(|name| name == "mod.rs") {
        failures.push(format!(
            "{file}: a module with children is `foo.rs` beside `foo/`"
        ));
    }
}

fn leftovers(file: &str, text: &str, failures: &mut Vec<String>) {
    // cargo's own, and it names where it took each package from.
    if file.ends_with("Cargo.lock") {
        return;
    }
    for (head, tail) in LEFTOVERS {
        let leftover = format!("{head}{tail}");
        for (number, _) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.contains(&leftover))
        {
            failures.push(format!(
                "{file}:{}: has {leftover}, of somebody's machine",
                number + 1
            ));
        }
    }
}
