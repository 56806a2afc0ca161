//! What others' bytes reach first, one function a reader: each takes any bytes, and tells whether they were understood.
//! A panic, a hang or a broken promise (an assertion here) is a bug of the reader.
//!
//! Built for tests and for fuzzing alone. `tests/fuzz` calls these under libFuzzer; the tests below call them with the
//! same corpus, and with what chance makes of it. It must not know how the bytes come to be.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use tracer_hook::{
    annotations,
    protocol::{self, Lines},
    spec, state,
};

use crate::{
    cli, config, control,
    decode::{self, Options, decode},
    event::{Arch, Body, Container, Descriptors, Event},
    export,
    filter::Filter,
    follow, names,
    observe::Observed,
    options::{self, Policy},
    profile,
    recording::{Entry, Recording},
    selector,
    sinks::{json, text},
    source,
};

/// A reader of bytes.
pub type Target = fn(&[u8]) -> bool;

/// All of them, by the name of their program in `tests/fuzz` and of their folder in its corpus.
pub const TARGETS: [(&str, Target); 11] = [
    ("annotations", annotations),
    ("btf", btf),
    ("config", config),
    ("control", control),
    ("filter", filter),
    ("hook", hook),
    ("record", record),
    ("recording", recording),
    ("seccomp", seccomp),
    ("state", state),
    ("syscalls", syscalls),
];

/// Longest text of which a reader with more than linear work is asked: what a message or a line holds.
const LONG: usize = 16 * 1024;

/// `hook.sock`, both ways: a stream of messages.
pub fn hook(bytes: &[u8]) -> bool {
    let mut lines = Lines::default();
    let mut understood = false;
    // As a socket gives them.
    for part in bytes.chunks(61) {
        lines.push(part);
        while let Ok(Some(line)) = lines.next_line() {
            if let Ok(request) = protocol::parse_request(&line) {
                understood = true;
                let again = protocol::encode(&request);
                // What was read may be longer as we write it: escaped otherwise.
                if let Ok(again) = again {
                    assert_eq!(protocol::parse_request(&again), Ok(request));
                }
            }
            if let Ok(reply) = protocol::parse_reply(&line)
                && let Ok(again) = protocol::encode(&reply)
            {
                understood = true;
                assert_eq!(protocol::parse_reply(&again), Ok(reply));
            }
        }
    }
    understood
}

/// `control.sock` and `user.sock`: a request, and what is made of its words.
pub fn control(bytes: &[u8]) -> bool {
    let Ok(request) = serde_json::from_slice::<control::Request>(bytes) else {
        return false;
    };
    if let control::Request::Tail(tail) = &request {
        // What it says is wrong goes to the client.
        let _wrong = Filter::new(&tail.filter, Arch::X86_64);
        let _no_one = tail.select.takes(&Container::default());
    }
    stays(&request);
    true
}

/// The OCI state on a hook's standard input, and a bundle's configuration.
pub fn state(bytes: &[u8]) -> bool {
    if let Ok(mut config) = serde_json::from_slice(bytes) {
        let hook = spec::Hook {
            program: "/usr/libexec/oci/hooks.d/tracer-hook".into(),
            options: Vec::new(),
            timeout: std::time::Duration::from_secs(1),
        };
        let _asks = spec::asks_for_trace(&config, false);
        if spec::insert(&mut config, &hook).is_ok() {
            assert_eq!(spec::insert(&mut config, &hook), Ok(false), "once is enough");
        }
        if spec::annotate(&mut config).is_ok() {
            assert!(spec::asks_for_trace(&config, false));
        }
    }
    let Ok(state) = state::parse(bytes) else {
        return false;
    };
    let useful = annotations::useful(&state.annotations);
    assert!(serde_json::to_vec(&useful).is_ok_and(|json| json.len() <= annotations::MAX_USEFUL));
    protocol::check_id(&state.id).is_ok()
}

/// The annotations that a hook passes on: who the container is, what it asks for.
pub fn annotations(bytes: &[u8]) -> bool {
    let Ok(mut given) = serde_json::from_slice::<BTreeMap<String, String>>(bytes) else {
        return false;
    };
    let container = names::describe("4f1c", &given, 1000);
    assert_eq!((container.id.as_str(), container.owner), ("4f1c", 1000));
    let _manager = names::manager(&given);
    let policy = Policy {
        max_event_rate: 1000,
        ..Policy::default()
    };
    let asked = options::read(&given, &policy, cli::filter_words);
    assert!((1..=1000).contains(&asked.event_rate), "{}", asked.event_rate);
    assert!(
        !asked
            .warnings
            .iter()
            .any(|said| said.chars().any(char::is_control)),
        "{:?}",
        asked.warnings
    );
    names::set(&mut given, "named".to_owned());
    assert_eq!(names::describe("4f1c", &given, 1000).name, "named");
    true
}

/// The daemon's file.
pub fn config(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    match config::read(text) {
        Ok(config) => {
            let again = toml::to_string(&config).expect("a configuration can be shown");
            assert_eq!(config::read(&again), Ok(config), "{again}");
            true
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in &problems {
                assert!(
                    (1..=text.lines().count() + 1).contains(&problem.line),
                    "{problem}"
                );
            }
            false
        }
    }
}

/// A filter as it is typed, and a selector of labels.
pub fn filter(bytes: &[u8]) -> bool {
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= LONG) else {
        return false;
    };
    let labels = selector::labels(text);
    let labelled = labels.is_ok();
    for requirement in labels.unwrap_or_default() {
        let shown = requirement.to_string();
        assert_eq!(shown.parse(), Ok(requirement), "{shown}");
    }
    let Ok(words) = cli::filter_words(text) else {
        return labelled;
    };
    stays(&words);
    let of = |arch| Filter::new(&words, arch);
    let (Ok(here), Ok(there)) = (of(Arch::X86_64), of(Arch::Aarch64)) else {
        return labelled;
    };
    let all = Filter::default();
    assert_eq!(
        Filter::union([&here, &all]),
        Filter::union([&all, &here]),
        "a union has no order"
    );
    let _both = (Filter::union([&here, &there]), here.detail());
    true
}

/// A record of the ring, and all that shows an event.
pub fn record(bytes: &[u8]) -> bool {
    let mut understood = false;
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let options = Options {
            arch,
            ..Options::native()
        };
        let Ok(record) = decode(bytes, &options) else {
            continue;
        };
        understood = true;
        let event = Event {
            time_ns: 1_795_370_591_123_456_789,
            ktime: record.ktime,
            container: Arc::new(Container::default()),
            body: match record.body {
                decode::Body::Syscall(call) => Body::Syscall(call),
                decode::Body::Process(process) => Body::Process(process),
            },
        };
        show(&event);
    }
    understood
}

/// A recording: whole, cut, damaged, or none; and the same bytes as what a whole one holds, because chance finds no sums.
pub fn recording(bytes: &[u8]) -> bool {
    let as_file = told(bytes);
    let as_items = told(&crate::recording::around(bytes));
    as_file || as_items
}

/// Whether the recording tells anything.
fn told(file: &[u8]) -> bool {
    let read = || Recording::of(file.to_vec());
    let Ok(mut recording) = read() else { return false };
    let mut entries = 0;
    while let Ok(Some(entry)) = recording.entry() {
        entries += 1;
        if let Entry::Event(_, event) = entry {
            show(&event);
            let _record = recording.raw();
        }
    }
    let _told = (recording.damage().to_string(), recording.origin().cloned());
    // None has books when it was cut.
    let _books = read().and_then(Recording::summaries);
    entries > 0
}

/// The kernel's description of its types.
pub fn btf(bytes: &[u8]) -> bool {
    source::reads(
        bytes,
        &[
            ("upid", "ns"),
            ("mnt_namespace", "ns.inum"),
            ("mnt_namespace", "c"),
        ],
    )
}

/// The kernel's description of its calls, as the decoder has it.
pub fn syscalls(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= LONG);
    text.is_some_and(decode::compiles)
}

/// A seccomp profile, in any of its forms.
pub fn seccomp(bytes: &[u8]) -> bool {
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= LONG) else {
        return false;
    };
    let Ok(read) = profile::read(text, &["CAP_SYS_ADMIN".to_owned()]) else {
        return false;
    };
    for form in [profile::Form::Oci, profile::Form::Kubernetes] {
        let mut said = read.profile.clone();
        if form == profile::Form::Kubernetes {
            // It has no field for it.
            said.default.errno = None;
        }
        // Not every profile can be said in every form.
        let Ok(written) = profile::write(&read.profile, form, "name") else {
            continue;
        };
        let again = profile::read(&written, &[]).expect("what is written can be read");
        assert_eq!(
            again.profile.differences(&said),
            Vec::<String>::new(),
            "{written}"
        );
    }
    true
}

/// What is written as JSON is read as the same.
fn stays<T: Serialize + DeserializeOwned>(value: &T) {
    let written = serde_json::to_string(value).expect("it can be written");
    let again: T = serde_json::from_str(&written).expect("what is written can be read");
    assert_eq!(serde_json::to_string(&again).expect("again"), written);
}

/// Through every sink and export: one line each of printable ASCII, JSON that parses.
fn show(event: &Event) {
    for descriptors in [Descriptors::Numbers, Descriptors::All] {
        let mut line = Vec::new();
        json::write_event(&mut line, event, descriptors);
        let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&line);
        assert!(parsed.is_ok(), "{}", String::from_utf8_lossy(&line));
        printable(&line);
        let options = text::TextOptions {
            show_processes: true,
            show_containers: true,
            show_container: true,
            show_comm: true,
            columns: Some(80),
            descriptors,
            ..text::TextOptions::default()
        };
        line.clear();
        text::write_event(&mut line, event, &options);
        if !line.is_empty() {
            printable(&line);
        }
    }
    for format in [export::Format::Chrome, export::Format::Csv] {
        let mut file = Vec::new();
        let made = export::begin(format, &mut file, Descriptors::Paths).and_then(|mut to| {
            to.take(event)?;
            to.finish()
        });
        assert!(made.is_ok() && !file.is_empty(), "{made:?}");
    }
    let observed = Observed::default();
    let mut followed = follow::Followed::default();
    observed.take(event, Some(&followed));
    followed.see(event);
    let _told = (observed.arguments(), observed.lookups());
}

fn printable(line: &[u8]) {
    let harmless = |byte: &u8| matches!(byte, b' '..=b'~');
    let (end, rest) = line.split_last().expect("a line");
    assert!(
        *end == b'\n' && rest.iter().all(harmless),
        "{}",
        String::from_utf8_lossy(line).escape_debug()
    );
}

#[cfg(test)]
mod tests;
