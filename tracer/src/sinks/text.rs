//! Events as text: strace's own lines.
//!
//! It writes bytes and does no I/O; what to show is a value ([`TextOptions`]), never the command line. Whatever a
//! container chose (names, strings) is written as printable ASCII, so that it never drives a terminal.

mod data;
mod diagnosis;
mod paint;

use crate::{
    errno,
    event::{
        Base, Body, DeniedBy, Descriptors, Diagnosis, Event, Exit, Lifecycle, Loss, Outcome, Process,
        ProcessEvent, Syscall, Task,
    },
    filter::Detail,
    numbers,
};

/// What a line shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TextOptions {
    pub timestamps: Timestamps,
    /// `<0.000002>` after a call (`-T`).
    pub show_duration: bool,
    /// `[pid     7]` before a line.
    pub show_pid: bool,
    /// The task's name in it: `[pid     7<nginx>]`.
    pub show_comm: bool,
    /// The container's name before a line, for a stream of several.
    pub show_container: bool,
    /// Lines for fork, exec and join, which strace does not have.
    pub show_processes: bool,
    /// Lines for a container's life.
    pub show_containers: bool,
    /// Names, errors and strings in colour, as a terminal understands it.
    pub color: bool,
    /// Most columns of a line; what is longer is cut.
    pub columns: Option<u16>,
    /// What descriptors stand for (`-y`, `-yy`).
    #[serde(default)]
    pub descriptors: Descriptors,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self {
            timestamps: Timestamps::None,
            show_duration: true,
            show_pid: true,
            show_comm: false,
            show_container: false,
            show_processes: false,
            show_containers: false,
            color: false,
            columns: None,
            descriptors: Descriptors::Numbers,
        }
    }
}

/// When a call began, and another event happened, before its line. Times of day are UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Timestamps {
    #[default]
    None,
    /// `18:03:11` (`-t`)
    Time,
    /// `18:03:11.123456` (`-tt`)
    Micros,
    /// `1795370591.123456` (`-ttt`)
    Epoch,
    /// Since the line before, whose [`began_ns`] the caller keeps (`-r`); 0 = there was none.
    Relative { previous_ns: u64 },
}

/// Writes the line of an event, or nothing where strace has none and the options ask for none.
pub fn write_event(out: &mut Vec<u8>, event: &Event, options: &TextOptions) {
    write_detailed(out, event, options, &Detail::default());
}

/// The same, with what is wanted beyond the line.
pub fn write_detailed(out: &mut Vec<u8>, event: &Event, options: &TextOptions, detail: &Detail) {
    let start = out.len();
    write_line(out, event, options, detail.verbose);
    // A diagnosis has lines of its own, which must be read to their ends.
    if let Some(columns) = options.columns
        && !matches!(event.body, Body::Diagnosis(_))
    {
        paint::cut(out, start, usize::from(columns));
    }
    if let Body::Syscall(call) = &event.body
        && let Some(moved) = detail.data_of(call)
    {
        data::data(out, moved);
    }
}

/// Writes a diagnosis as one line: how often, what, and why.
pub fn write_briefly(out: &mut Vec<u8>, found: &Diagnosis) {
    diagnosis::briefly(out, found);
}

/// When the line's event began, in nanoseconds since 1970: a call is reported when it returns, but as strace does, a
/// line says when it was made.
pub fn began_ns(event: &Event) -> u64 {
    match &event.body {
        Body::Syscall(call) => event.time_ns.saturating_sub(call.duration_ns.unwrap_or(0)),
        _ => event.time_ns,
    }
}

fn write_line(out: &mut Vec<u8>, event: &Event, options: &TextOptions, verbose: bool) {
    match &event.body {
        Body::Syscall(call) => {
            prefix(out, event, Some(&call.task), options);
            syscall(out, call, options, verbose);
        }
        Body::Process(process) => {
            if matches!(process.what, ProcessEvent::Exit { .. }) || options.show_processes {
                prefix(out, event, Some(&process.task), options);
                self::process(out, process);
            }
        }
        Body::Container(life) if options.show_containers || is_warning(life) => {
            prefix(out, event, None, options);
            lifecycle(out, event, life);
        }
        Body::Container(_) => {}
        Body::Loss(lost) => {
            prefix(out, event, None, options);
            loss(out, lost);
        }
        Body::Diagnosis(found) => {
            prefix(out, event, Some(&found.task), options);
            diagnosis::diagnosis(out, found, options.color);
        }
    }
}

/// What nobody should miss who only follows the calls: that some are missing, or not taken as was asked.
fn is_warning(life: &Lifecycle) -> bool {
    match life {
        Lifecycle::Registered { away, .. } => !away.is_empty(),
        Lifecycle::Detached { .. }
        | Lifecycle::Unregistered { .. }
        | Lifecycle::Warning { .. }
        | Lifecycle::Frozen { .. } => true,
        Lifecycle::Resumed | Lifecycle::Armed { .. } | Lifecycle::Exec | Lifecycle::Gone { .. } => false,
    }
}

fn prefix(out: &mut Vec<u8>, event: &Event, task: Option<&Task>, options: &TextOptions) {
    if options.show_container {
        out.push(b'[');
        escaped(out, event.container.name.as_bytes());
        out.extend_from_slice(b"] ");
    }
    if let Some(task) = task.filter(|_| options.show_pid) {
        out.extend_from_slice(b"[pid ");
        padded(out, u64::from(task.tid), 5, b' ');
        if options.show_comm {
            out.push(b'<');
            escaped(out, task.comm.bytes());
            out.push(b'>');
        }
        out.extend_from_slice(b"] ");
    }
    timestamp(out, began_ns(event), options.timestamps);
}

fn timestamp(out: &mut Vec<u8>, time_ns: u64, timestamps: Timestamps) {
    let (seconds, micros) = (time_ns / 1_000_000_000, time_ns % 1_000_000_000 / 1_000);
    match timestamps {
        Timestamps::None => return,
        Timestamps::Time => time_of_day(out, seconds),
        Timestamps::Micros => {
            time_of_day(out, seconds);
            fraction(out, micros);
        }
        Timestamps::Epoch => {
            number(out, seconds);
            fraction(out, micros);
        }
        Timestamps::Relative { previous_ns } => {
            let since = if previous_ns == 0 {
                0
            } else {
                time_ns.saturating_sub(previous_ns)
            };
            padded(out, since / 1_000_000_000, 6, b' ');
            fraction(out, since % 1_000_000_000 / 1_000);
        }
    }
    out.push(b' ');
}

fn time_of_day(out: &mut Vec<u8>, seconds: u64) {
    let time = numbers::utc(i64::try_from(seconds).unwrap_or(i64::MAX));
    padded(out, time.hour, 2, b'0');
    out.push(b':');
    padded(out, time.minute, 2, b'0');
    out.push(b':');
    padded(out, time.second, 2, b'0');
}

fn fraction(out: &mut Vec<u8>, micros: u64) {
    out.push(b'.');
    padded(out, micros, 6, b'0');
}

/// Writes a call without what stands before it on its line.
pub(crate) fn syscall(out: &mut Vec<u8>, call: &Syscall, options: &TextOptions, verbose: bool) {
    painted(out, paint::NAME, options, |out| {
        out.extend_from_slice(call.name.as_bytes())
    });
    out.push(b'(');
    let whole = call.args.text.len();
    let arguments = |out: &mut Vec<u8>, end: usize| {
        let text = if verbose {
            call.args.text_whole(end, options.descriptors)
        } else {
            call.args.text_with(0..end, options.descriptors)
        };
        if options.color {
            paint::strings(out, &text);
        } else {
            out.extend_from_slice(text.as_bytes());
        }
    };
    if call.outcome == Outcome::Unfinished && !never_returns(&call.name) {
        match call.args.before_output {
            Some(known) => arguments(out, known.min(whole)),
            None => {
                arguments(out, whole);
                if whole > 0 {
                    out.push(b' ');
                }
            }
        }
        out.extend_from_slice(b"<unfinished ...>");
    } else {
        arguments(out, whole);
    }
    out.extend_from_slice(b") = ");
    if matches!(call.outcome, Outcome::Error(_)) {
        painted(out, paint::ERROR, options, |out| outcome(out, call, options));
    } else {
        outcome(out, call, options);
    }
    match call.denied_by {
        None => {}
        Some(DeniedBy::Seccomp) => out.extend_from_slice(b" (denied by seccomp)"),
        Some(DeniedBy::Ptrace) => out.extend_from_slice(b" (skipped by ptrace)"),
    }
    if let Some(duration) = call
        .duration_ns
        .filter(|_| options.show_duration && call.outcome != Outcome::Unfinished)
    {
        let micros = duration.saturating_add(500) / 1_000;
        out.extend_from_slice(b" <");
        number(out, micros / 1_000_000);
        fraction(out, micros % 1_000_000);
        out.push(b'>');
    }
    use crate::event::Arch;
    if !matches!(call.arch, Arch::X86_64 | Arch::Aarch64) {
        out.extend_from_slice(b" [");
        out.extend_from_slice(call.arch.name().as_bytes());
        out.push(b']');
    }
    out.push(b'\n');
}

/// What `write` writes, in colour if there is any.
fn painted(out: &mut Vec<u8>, color: &[u8], options: &TextOptions, write: impl FnOnce(&mut Vec<u8>)) {
    if options.color {
        out.extend_from_slice(color);
    }
    write(out);
    if options.color {
        out.extend_from_slice(paint::PLAIN);
    }
}

fn never_returns(name: &str) -> bool {
    matches!(name, "exit" | "exit_group")
}

fn outcome(out: &mut Vec<u8>, call: &Syscall, options: &TextOptions) {
    match call.outcome {
        Outcome::Value(value) => {
            match call.args.ret_base {
                Base::Decimal => {
                    if value < 0 {
                        out.push(b'-');
                    }
                    number(out, value.unsigned_abs());
                }
                Base::Hex if value != 0 => radix(out, value.cast_unsigned(), 4, b"0x"),
                Base::Octal if value >= 8 => radix(out, value.cast_unsigned(), 3, b"0"),
                Base::Octal if value > 0 => radix(out, value.cast_unsigned(), 3, b"00"),
                Base::Hex => out.push(b'0'),
                Base::Octal => out.extend_from_slice(b"000"),
            }
            if let Some(file) = call.args.returned_file() {
                out.extend_from_slice(file.text(options.descriptors).as_bytes());
            }
            if let Some(note) = &call.args.ret_note {
                out.extend_from_slice(b" (");
                out.extend_from_slice(note.as_bytes());
                out.push(b')');
            }
        }
        Outcome::Error(errno) => {
            let restart = errno::restart(errno);
            out.extend_from_slice(if restart.is_some() { b"? " } else { b"-1 " });
            out.extend_from_slice(errno::name(errno).as_bytes());
            out.extend_from_slice(b" (");
            out.extend_from_slice(restart.unwrap_or_else(|| errno::description(errno)).as_bytes());
            out.push(b')');
        }
        Outcome::Unfinished | Outcome::Refused => out.push(b'?'),
    }
}

fn process(out: &mut Vec<u8>, process: &Process) {
    match &process.what {
        ProcessEvent::Exit { code, .. } => {
            out.extend_from_slice(b"+++ ");
            exit(out, *code);
            out.extend_from_slice(b" +++");
        }
        ProcessEvent::Fork {
            tid, comm, thread, ..
        } => {
            out.extend_from_slice(if *thread {
                b"--- new thread "
            } else {
                b"--- new process "
            });
            number(out, u64::from(*tid));
            out.extend_from_slice(b" \"");
            escaped(out, comm.bytes());
            out.extend_from_slice(b"\" ---");
        }
        ProcessEvent::Exec { path, truncated } => {
            out.extend_from_slice(b"--- program \"");
            escaped(out, path);
            out.extend_from_slice(if *truncated { b"\"... ---" } else { b"\" ---" });
        }
        ProcessEvent::Join => {
            out.extend_from_slice(b"--- joined \"");
            escaped(out, process.task.comm.bytes());
            out.extend_from_slice(b"\" ---");
        }
    }
    out.push(b'\n');
}

pub(super) fn exit(out: &mut Vec<u8>, exit: Exit) {
    match exit {
        Exit::Code(code) => {
            out.extend_from_slice(b"exited with ");
            number(out, u64::from(code));
        }
        Exit::Signal {
            number: signal,
            core_dumped,
        } => {
            out.extend_from_slice(b"killed by ");
            out.extend_from_slice(crate::decode::signal_text(signal).as_bytes());
            if core_dumped {
                out.extend_from_slice(b" (core dumped)");
            }
        }
    }
}

fn lifecycle(out: &mut Vec<u8>, event: &Event, life: &Lifecycle) {
    out.extend_from_slice(b"--- container ");
    escaped(out, event.container.name.as_bytes());
    match life {
        Lifecycle::Registered { away, .. } if !away.is_empty() => {
            out.extend_from_slice(b" registered again: the daemon was away");
            for away in away {
                for (word, time) in [(&b" from "[..], &away.from), (b" to ", &away.to)] {
                    out.extend_from_slice(word);
                    escaped(out, time.as_bytes());
                }
            }
        }
        Lifecycle::Registered { late: false, .. } => out.extend_from_slice(b" registered"),
        Lifecycle::Registered { late: true, .. } => {
            out.extend_from_slice(b" registered late: its beginning was missed")
        }
        Lifecycle::Resumed => {
            out.extend_from_slice(b" goes on with another daemon, nothing is missing between");
        }
        Lifecycle::Detached { books } => {
            out.extend_from_slice(b" detached, it goes on untraced: ");
            number(out, books.emitted);
            out.extend_from_slice(b" events, ");
            number(out, books.lost());
            out.extend_from_slice(b" lost");
        }
        Lifecycle::Unregistered { reason } => {
            out.extend_from_slice(b" asks to be traced and is not: ");
            told(out, reason);
        }
        Lifecycle::Frozen { times, ns } => {
            out.extend_from_slice(b" was frozen for ");
            number(out, ns / 1_000);
            out.extend_from_slice(b" us until its events were taken (");
            number(out, *times);
            out.extend_from_slice(if *times == 1 { b" time)" } else { b" times)" });
        }
        Lifecycle::Armed { round_trip_ns } => {
            out.extend_from_slice(b" armed, proved in ");
            number(out, round_trip_ns / 1_000);
            out.extend_from_slice(b" us");
        }
        Lifecycle::Warning { text } => {
            out.extend_from_slice(b": ");
            told(out, text);
        }
        Lifecycle::Exec => out.extend_from_slice(b" begins its application"),
        Lifecycle::Gone {
            books,
            complete,
            exit: ended,
        } => {
            out.extend_from_slice(b" gone");
            if let Some(ended) = ended {
                out.extend_from_slice(b", ");
                exit(out, *ended);
            }
            out.extend_from_slice(b": ");
            number(out, books.emitted);
            out.extend_from_slice(b" events, ");
            number(out, books.lost());
            out.extend_from_slice(if *complete {
                b" lost, complete"
            } else {
                b" lost, incomplete"
            });
        }
    }
    out.extend_from_slice(b" ---\n");
}

fn loss(out: &mut Vec<u8>, loss: &Loss) {
    out.extend_from_slice(b"--- ");
    number(out, loss.count);
    out.extend_from_slice(if loss.count == 1 {
        b" event lost: "
    } else {
        b" events lost: "
    });
    out.extend_from_slice(loss.reason.name().as_bytes());
    if let Some(hole) = loss.hole {
        out.extend_from_slice(b" (cpu ");
        number(out, u64::from(hole.cpu));
        out.extend_from_slice(b", after seq ");
        number(out, hole.after);
        out.push(b')');
    }
    out.extend_from_slice(b" ---\n");
}

fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn padded(out: &mut Vec<u8>, value: u64, width: usize, fill: u8) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value);
    out.extend(std::iter::repeat_n(fill, width.saturating_sub(digits.len())));
    out.extend_from_slice(digits.as_bytes());
}

/// `bits` a digit.
fn radix(out: &mut Vec<u8>, value: u64, bits: u32, prefix: &[u8]) {
    out.extend_from_slice(prefix);
    let digits = (64 - value.leading_zeros()).div_ceil(bits);
    for digit in (0..digits).rev() {
        let low = value >> (digit * bits) & ((1 << bits) - 1);
        out.push(
            b"0123456789abcdef"
                .get(usize::try_from(low).unwrap_or(0))
                .copied()
                .unwrap_or(b'?'),
        );
    }
}

/// A sentence of ours that may quote what a container chose: its quotes stand as they are.
fn told(out: &mut Vec<u8>, text: &str) {
    for part in text.split_inclusive('"') {
        let (part, quote) = part
            .strip_suffix('"')
            .map_or((part, &b""[..]), |part| (part, b"\""));
        escaped(out, part.as_bytes());
        out.extend_from_slice(quote);
    }
}

/// Bytes that a container chose: printable ASCII as it is, the rest as three octal digits.
pub(super) fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            _ => {
                out.extend_from_slice(&[
                    b'\\',
                    b'0' + (byte >> 6),
                    b'0' + (byte >> 3 & 7),
                    b'0' + (byte & 7),
                ]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
