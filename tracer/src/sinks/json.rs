//! Events as JSON Lines, schema version 1 (`docs/events.md`).
//!
//! One object a line, ASCII only: what is not printable ASCII is written as `\uXXXX`, which any JSON reader turns back
//! and no terminal obeys. Calls are written by hand, since they come by the million; rare parts go through serde.

mod data;
mod diagnosis;

use std::{cell::RefCell, sync::LazyLock};

use crate::{
    errno,
    event::{
        Arg, Args, Body, Container, Descriptors, Event, Exit, File, Lifecycle, Loss, Outcome, Process,
        ProcessEvent, SCHEMA_VERSION, Syscall, Task, Verbose,
    },
    filter::Detail,
    numbers,
};

/// The JSON Schema of what [`write_event`] writes.
pub const SCHEMA: &str = include_str!("../../schema/event.v1.json");

/// Writes the line of an event.
pub fn write_event(out: &mut Vec<u8>, event: &Event, descriptors: Descriptors) {
    write_detailed(out, event, descriptors, &Detail::default());
}

/// The same, with what is wanted beyond a call's line of text.
pub fn write_detailed(out: &mut Vec<u8>, event: &Event, descriptors: Descriptors, detail: &Detail) {
    match &event.body {
        Body::Syscall(call) => {
            syscall(out, event, call, descriptors, detail.verbose);
            if let Some(moved) = detail.data_of(call) {
                data::data(out, moved);
            }
        }
        Body::Process(process) => self::process(out, event, process),
        Body::Container(life) => lifecycle(out, event, life),
        Body::Loss(lost) => loss(out, event, lost),
        Body::Diagnosis(found) => diagnosis::diagnosis(out, event, found),
    }
    out.extend_from_slice(b"}\n");
}

fn syscall(out: &mut Vec<u8>, event: &Event, call: &Syscall, descriptors: Descriptors, verbose: bool) {
    head(out, event, "syscall", Some(call.seq));
    task(out, &call.task);
    out.extend_from_slice(b",\"arch\":\"");
    out.extend_from_slice(call.arch.name().as_bytes());
    field(out, b"\",\"nr\":", u64::from(call.nr));
    // The kernel's names need no escape, nor does `syscall_0x3e7`.
    out.extend_from_slice(b",\"syscall\":\"");
    out.extend_from_slice(call.name.as_bytes());
    out.extend_from_slice(b"\",\"args\":");
    arguments(out, &call.args, descriptors, verbose);
    out.extend_from_slice(b",\"ret\":");
    match call.outcome {
        Outcome::Value(value) => {
            if value < 0 {
                out.push(b'-');
            }
            number(out, value.unsigned_abs());
            out.extend_from_slice(b",\"errno\":null");
            if let Some(returned) = call
                .args
                .returned_file()
                .filter(|_| descriptors != Descriptors::Numbers)
            {
                field(out, b",\"ret_file\":{\"fd\":", value.unsigned_abs());
                file(out, returned, descriptors);
                out.push(b'}');
            }
        }
        Outcome::Error(errno) => {
            out.extend_from_slice(b"-1,\"errno\":\"");
            out.extend_from_slice(errno::name(errno).as_bytes());
            out.push(b'"');
        }
        Outcome::Unfinished => out.extend_from_slice(b"null,\"errno\":null,\"unfinished\":true"),
        Outcome::Refused => out.extend_from_slice(b"null,\"errno\":null"),
    }
    if let Some(note) = &call.args.ret_note {
        out.extend_from_slice(b",\"ret_note\":");
        string(out, note);
    }
    match call.duration_ns {
        Some(duration) => field(out, b",\"duration_ns\":", duration),
        None => out.extend_from_slice(b",\"duration_ns\":null"),
    }
    if let Some(by) = call.denied_by {
        out.extend_from_slice(b",\"denied_by\":\"");
        out.extend_from_slice(by.name().as_bytes());
        out.push(b'"');
    }
}

/// Writes the list of a call's arguments.
pub(crate) fn arguments(out: &mut Vec<u8>, args: &Args, descriptors: Descriptors, verbose: bool) {
    out.push(b'[');
    for (index, arg) in args.list.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let whole = args.verbose.iter().find(|whole| verbose && whole.arg == index);
        argument(out, arg, args, descriptors, whole);
    }
    out.push(b']');
}

fn argument(out: &mut Vec<u8>, arg: &Arg, args: &Args, descriptors: Descriptors, whole: Option<&Verbose>) {
    // Parameter names are C identifiers.
    out.extend_from_slice(b"{\"name\":\"");
    out.extend_from_slice(arg.name.as_bytes());
    field(out, b"\",\"raw\":", arg.raw);
    out.extend_from_slice(b",\"text\":");
    match whole {
        Some(whole) => string(out, &whole.text),
        None => string(out, &args.text_with(arg.text.clone(), descriptors)),
    }
    if let Some(opened) = args.file_of(arg).filter(|_| descriptors != Descriptors::Numbers) {
        file(out, opened, descriptors);
    }
    if whole.map_or(arg.truncated, |whole| whole.truncated) {
        out.extend_from_slice(b",\"truncated\":true");
    }
    if whole.map_or(arg.fault, |whole| whole.fault) {
        out.extend_from_slice(b",\"fault\":true");
    }
    out.push(b'}');
}

/// What a descriptor stands for.
fn file(out: &mut Vec<u8>, file: &File, descriptors: Descriptors) {
    bytes(out, "path", &file.path);
    if file.deleted {
        out.extend_from_slice(b",\"deleted\":true");
    }
    if file.cut {
        out.extend_from_slice(b",\"path_cut\":true");
    }
    if let Some(detail) = file.detail.as_ref().filter(|_| descriptors == Descriptors::All) {
        out.extend_from_slice(b",\"detail\":");
        string(out, detail);
    }
}

fn process(out: &mut Vec<u8>, event: &Event, process: &Process) {
    head(out, event, "process", None);
    task(out, &process.task);
    match &process.what {
        ProcessEvent::Fork {
            pid,
            tid,
            host_pid,
            host_tid,
            comm,
            thread,
        } => {
            out.extend_from_slice(b",\"event\":\"fork\",\"child\":{");
            ids(out, [*pid, *tid, *host_pid, *host_tid]);
            bytes(out, "comm", comm.bytes());
            out.extend_from_slice(if *thread {
                b",\"thread\":true}"
            } else {
                b",\"thread\":false}"
            });
        }
        ProcessEvent::Exec { path, truncated } => {
            out.extend_from_slice(b",\"event\":\"exec\"");
            bytes(out, "path", path);
            if *truncated {
                out.extend_from_slice(b",\"truncated\":true");
            }
        }
        ProcessEvent::Exit { code, oom } => {
            out.extend_from_slice(b",\"event\":\"exit\"");
            exit(out, *code);
            if let Some(oom) = oom {
                let of = if oom.level.is_some() { "cgroup" } else { "machine" };
                out.extend_from_slice(b",\"oom\":");
                string(out, of);
            }
        }
        ProcessEvent::Join => out.extend_from_slice(b",\"event\":\"join\""),
    }
}

fn exit(out: &mut Vec<u8>, exit: Exit) {
    match exit {
        Exit::Code(code) => field(out, b",\"exit_code\":", u64::from(code)),
        Exit::Signal { number, core_dumped } => {
            out.extend_from_slice(b",\"signal\":");
            string(out, &crate::decode::signal_text(number));
            out.extend_from_slice(if core_dumped {
                b",\"core_dumped\":true"
            } else {
                b",\"core_dumped\":false"
            });
        }
    }
}

fn lifecycle(out: &mut Vec<u8>, event: &Event, life: &Lifecycle) {
    head(out, event, "container", None);
    out.extend_from_slice(b",\"state\":\"");
    out.extend_from_slice(life.name().as_bytes());
    out.push(b'"');
    match life {
        Lifecycle::Registered { late, away } => {
            out.extend_from_slice(b",\"late\":");
            out.extend_from_slice(if *late { b"true" } else { b"false" });
            // Structures of texts, here and below of numbers: serializing them cannot fail.
            if !away.is_empty()
                && let Ok(away) = serde_json::to_vec(away)
            {
                out.extend_from_slice(b",\"away\":");
                out.extend_from_slice(&away);
            }
        }
        Lifecycle::Detached { books } => {
            out.extend_from_slice(b",\"complete\":false");
            if let Ok(books) = serde_json::to_vec(books) {
                out.extend_from_slice(b",\"books\":");
                out.extend_from_slice(&books);
            }
        }
        Lifecycle::Unregistered { reason } => {
            out.extend_from_slice(b",\"reason\":");
            string(out, reason);
        }
        Lifecycle::Armed { round_trip_ns } => {
            field(out, b",\"receipt\":{\"armed_at\":", event.ktime);
            field(out, b",\"round_trip_ns\":", *round_trip_ns);
            out.push(b'}');
        }
        Lifecycle::Warning { text } => {
            out.extend_from_slice(b",\"warning\":");
            string(out, text);
        }
        Lifecycle::Frozen { times, ns } => {
            field(out, b",\"times\":", *times);
            field(out, b",\"frozen_ns\":", *ns);
        }
        Lifecycle::Resumed | Lifecycle::Exec => {}
        Lifecycle::Gone {
            books,
            complete,
            exit: ended,
        } => {
            out.extend_from_slice(b",\"complete\":");
            out.extend_from_slice(if *complete { b"true" } else { b"false" });
            if let Some(ended) = ended {
                exit(out, *ended);
            }
            if let Ok(books) = serde_json::to_vec(books) {
                out.extend_from_slice(b",\"books\":");
                out.extend_from_slice(&books);
            }
        }
    }
}

fn loss(out: &mut Vec<u8>, event: &Event, loss: &Loss) {
    head(out, event, "loss", None);
    out.extend_from_slice(b",\"reason\":\"");
    out.extend_from_slice(loss.reason.name().as_bytes());
    field(out, b"\",\"count\":", loss.count);
    if let Some(hole) = loss.hole {
        field(out, b",\"cpu\":", u64::from(hole.cpu));
        field(out, b",\"after\":", hole.after);
        field(out, b",\"before\":", hole.before);
    }
}

/// What all lines begin with.
fn head(out: &mut Vec<u8>, event: &Event, kind: &str, seq: Option<u64>) {
    static BEGIN: LazyLock<String> = LazyLock::new(|| format!("\",\"v\":{SCHEMA_VERSION}"));
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(BEGIN.as_bytes());
    if let Some(seq) = seq {
        field(out, b",\"seq\":", seq);
    }
    out.extend_from_slice(b",\"time\":\"");
    time(out, event.time_ns);
    field(out, b"\",\"ktime\":", event.ktime);
    // Labels are many and the calls are more: they stand where the container itself is what happened.
    container(out, &event.container, kind == "container");
}

fn container(out: &mut Vec<u8>, container: &Container, labels: bool) {
    out.extend_from_slice(b",\"container\":{\"id\":");
    string(out, &container.id);
    out.extend_from_slice(b",\"name\":");
    string(out, &container.name);
    let known = [
        (",\"pod\":", &container.pod),
        (",\"namespace\":", &container.namespace),
        (",\"image\":", &container.image),
    ];
    for (label, value) in known {
        if let Some(value) = value {
            out.extend_from_slice(label.as_bytes());
            string(out, value);
        }
    }
    if labels && !container.labels.is_empty() {
        out.extend_from_slice(b",\"labels\":");
        let mut before = b'{';
        for (key, value) in &container.labels {
            out.push(before);
            string(out, key);
            out.push(b':');
            string(out, value);
            before = b',';
        }
        out.push(b'}');
    }
    out.push(b'}');
}

fn task(out: &mut Vec<u8>, task: &Task) {
    field(out, b",\"cpu\":", u64::from(task.cpu));
    out.extend_from_slice(b",\"phase\":\"");
    out.extend_from_slice(task.phase.name().as_bytes());
    out.extend_from_slice(b"\",\"via\":\"");
    out.extend_from_slice(task.via.name().as_bytes());
    out.extend_from_slice(b"\",");
    ids(out, [task.pid, task.tid, task.host_pid, task.host_tid]);
    bytes(out, "comm", task.comm.bytes());
}

fn ids(out: &mut Vec<u8>, [pid, tid, host_pid, host_tid]: [u32; 4]) {
    field(out, b"\"pid\":", u64::from(pid));
    field(out, b",\"tid\":", u64::from(tid));
    field(out, b",\"host_pid\":", u64::from(host_pid));
    field(out, b",\"host_tid\":", u64::from(host_tid));
}

/// Nanoseconds since 1970 as RFC 3339 in UTC with nine digits.
pub fn rfc3339(time_ns: u64) -> String {
    let mut text = Vec::with_capacity(30);
    time(&mut text, time_ns);
    String::from_utf8_lossy(&text).into_owned()
}

/// RFC 3339 in UTC with nine digits.
pub(crate) fn time(out: &mut Vec<u8>, time_ns: u64) {
    thread_local! {
        /// Events come in the order of time: most are of the second of the one before.
        static LAST: RefCell<(u64, Vec<u8>)> = const { RefCell::new((u64::MAX, Vec::new())) };
    }
    let seconds = time_ns / 1_000_000_000;
    LAST.with_borrow_mut(|(last, text)| {
        if *last != seconds {
            text.clear();
            date(text, seconds);
            *last = seconds;
        }
        out.extend_from_slice(text);
    });
    padded(out, time_ns % 1_000_000_000, 9);
    out.push(b'Z');
}

/// `2026-11-22T18:03:11.`
fn date(out: &mut Vec<u8>, seconds: u64) {
    let at = numbers::utc(i64::try_from(seconds).unwrap_or(i64::MAX));
    padded(out, at.year.unsigned_abs(), 4);
    for (separator, value) in [
        (b'-', at.month),
        (b'-', at.day),
        (b'T', at.hour),
        (b':', at.minute),
        (b':', at.second),
    ] {
        out.push(separator);
        padded(out, value, 2);
    }
    out.push(b'.');
}

pub(crate) fn padded(out: &mut Vec<u8>, value: u64, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value);
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(digits.len())));
    out.extend_from_slice(digits.as_bytes());
}

pub(crate) fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

pub(crate) fn field(out: &mut Vec<u8>, label: &[u8], value: u64) {
    out.extend_from_slice(label);
    number(out, value);
}

/// `,"NAME":"…"` of bytes that a container chose. What is no UTF-8 becomes U+FFFD, and `NAME_hex` has all bytes.
fn bytes(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    match std::str::from_utf8(value) {
        Ok(text) => string(out, text),
        Err(_) => {
            string(out, &String::from_utf8_lossy(value));
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"_hex\":\"");
            for byte in value {
                hex(out, byte >> 4);
                hex(out, byte & 0xf);
            }
            out.push(b'"');
        }
    }
}

fn hex(out: &mut Vec<u8>, nibble: u8) {
    out.push(if nibble < 10 {
        b'0' + nibble
    } else {
        b'a' - 10 + nibble
    });
}

/// A JSON string of ASCII.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest
        .bytes()
        .position(|b| !matches!(b, b' '..=b'~') || matches!(b, b'"' | b'\\'))
    {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain.as_bytes());
        let mut characters = tail.chars();
        match characters.next() {
            Some(quote @ ('"' | '\\')) => out.extend_from_slice(if quote == '"' { b"\\\"" } else { b"\\\\" }),
            Some('\n') => out.extend_from_slice(b"\\n"),
            Some('\t') => out.extend_from_slice(b"\\t"),
            Some(other) => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    out.extend_from_slice(b"\\u");
                    for byte in unit.to_be_bytes() {
                        hex(out, byte >> 4);
                        hex(out, byte & 0xf);
                    }
                }
            }
            None => {}
        }
        rest = characters.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests;
