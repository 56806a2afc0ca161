//! Reads ring records into events: the one place that turns the kernel side's bytes into what the sinks print.
//!
//! It is a function of bytes and tables. It knows no clock, no container names and no sink; what the record lacks (the
//! task's name, wall-clock time) the enrich stage adds. No input makes it panic, and there is no unsafe code: every
//! read is checked. The same table says what the kernel side has to copy ([`plans`]), so that the two cannot differ.
#![deny(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    unsafe_code
)]

mod data;
mod evidence;
mod files;
mod fs;
mod ioctl;
mod ipc;
mod keys;
mod life;
mod message;
mod names;
mod net;
mod out;
mod overlap;
mod prctl;
mod process;
mod reader;
mod rows;
mod services;
mod show;
mod signal;
mod table;
mod time;
mod uring;
mod values;
mod whole;

#[cfg(test)]
pub(crate) mod tests;

use std::{borrow::Cow, fmt};

use tracer_common::{
    filter::{AggregateKey, MAX_COPY, NR_X32, Plan, X32_BIT, copy},
    record::{self, Kind, flag},
};

use crate::event::{
    Arch, Arg, Args, Base, Comm, Evidence, Mark, Outcome, Phase, Process, Syscall, Task, Verbose, Via,
};
use reader::{Reader, Taken};
use show::{Call, Captured, Memory, Moment, Out, Part, Show};
use table::{Entry, Param};
pub use values::capability_name;

/// How much of strings is copied and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a string or buffer that are shown (`-s`).
    pub string: u16,
    /// Bytes of a path.
    pub path: u16,
}

impl Default for Limits {
    /// strace's.
    fn default() -> Self {
        let (string, path) = (32, MAX_COPY);
        Self { string, path }
    }
}

/// How records are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Architecture of the machine that took the records.
    pub arch: Arch,
    pub limits: Limits,
}

impl Options {
    /// For records of this machine.
    pub fn native() -> Self {
        let arch = if cfg!(target_arch = "aarch64") {
            Arch::Aarch64
        } else {
            Arch::X86_64
        };
        Self {
            arch,
            limits: Limits::default(),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::native()
    }
}

/// A record, read.
#[derive(Clone, Debug)]
pub struct Record {
    /// Index of the container in the kernel's table.
    pub slot: u16,
    pub generation: u32,
    /// CLOCK_MONOTONIC nanoseconds when the kernel took it.
    pub ktime: u64,
    /// What is missing before it on its CPU was more than the container's share of the ring.
    pub over_share: bool,
    pub body: Body,
}

/// What a record says. `task.comm` is empty: calls do not carry it.
#[derive(Clone, Debug)]
pub enum Body {
    Syscall(Syscall),
    Process(Process),
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecodable {
    /// Shorter than its kind says.
    Short { have: usize, need: usize },
    /// A kind of record that this version does not know.
    Kind(u16),
    /// More than six arguments.
    Arguments(u16),
    /// A section for an argument that no call has.
    Section { arg: u8 },
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { have, need } => write!(f, "record has {have} bytes, needs {need}"),
            Self::Kind(kind) => write!(f, "record of unknown kind {kind}"),
            Self::Arguments(count) => write!(f, "record of a call with {count} arguments"),
            Self::Section { arg } => write!(f, "record with memory of argument {arg}"),
        }
    }
}

impl std::error::Error for Undecodable {}

/// What the kernel side has to copy of each call: entries of its plan table.
pub fn plans(arch: Arch, limits: Limits) -> impl Iterator<Item = (u32, Plan)> {
    table::plans(arch, limits)
}

/// The kernel's name of a call, where it has one.
pub fn name(arch: Arch, nr: u32) -> Option<&'static str> {
    table::entry(arch, u16::try_from(nr & !X32_MARK).ok()?).map(|entry| entry.name)
}

/// What kinds of argument a call takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takes {
    /// A string that is shown like a path.
    pub path: bool,
    /// A file descriptor, the directory of a path among them.
    pub descriptor: bool,
    /// Memory that is copied when the call begins.
    pub early: bool,
}

/// What kinds of argument the call of that number takes.
pub fn takes(arch: Arch, nr: u32) -> Option<Takes> {
    table::entry(arch, u16::try_from(nr & !X32_MARK).ok()?).map(table::takes)
}

/// The table of the 32-bit entry on a machine of that architecture.
pub fn compat_of(native: Arch) -> Arch {
    table::compat_of(native)
}

#[cfg(any(test, fuzzing))]
pub(crate) use table::compiles;

/// A string as arguments show it.
pub fn quoted(bytes: &[u8]) -> String {
    let mut text = String::new();
    Out::new(&mut text).quoted(bytes);
    text
}

/// Table and name of a number as the kernel side's aggregates hold it.
pub fn named(native: Arch, key: u16) -> (Arch, Cow<'static, str>) {
    let number = key & !(AggregateKey::COMPAT | AggregateKey::X32);
    let arch = if key & AggregateKey::COMPAT != 0 {
        table::compat_of(native)
    } else if key & AggregateKey::X32 != 0 {
        Arch::X32
    } else {
        native
    };
    let name =
        name(arch, number.into()).map_or_else(|| Cow::Owned(format!("syscall_{number:#x}")), Cow::Borrowed);
    (arch, name)
}

/// `ENOENT`
pub fn errno_name(errno: u16) -> Cow<'static, str> {
    crate::errno::name(errno)
}

/// Bit 30 of an x32 number.
const X32_MARK: u32 = 0x4000_0000;
const _: () = assert!(X32_MARK as u64 == X32_BIT);

/// How much of a call is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// All that there is.
    Whole,
    /// All but its arguments, whose text is most of the work.
    Outline,
}

/// Reads one record.
pub fn decode(bytes: &[u8], options: &Options) -> Result<Record, Undecodable> {
    decode_to(Depth::Whole, bytes, options)
}

/// Reads one record, a call that far. What is no record is none at each depth.
pub fn decode_to(depth: Depth, bytes: &[u8], options: &Options) -> Result<Record, Undecodable> {
    let mut reader = Reader::of(bytes);
    let header = reader.header()?;
    let kind = Kind::from_raw(header.kind).ok_or(Undecodable::Kind(header.kind))?;
    let body = match kind {
        Kind::Syscall => Body::Syscall(syscall(depth, reader, &header, options)?),
        Kind::Fork | Kind::Exec | Kind::Exit | Kind::Join => {
            Body::Process(life::process(reader, &header, kind)?)
        }
    };
    Ok(Record {
        slot: header.slot,
        generation: header.generation,
        ktime: header.ktime,
        over_share: header.flags & flag::OVER_SHARE != 0,
        body,
    })
}

fn task(header: &record::Header) -> Task {
    Task {
        cpu: header.cpu,
        pid: header.ns_tgid,
        tid: header.ns_tid,
        host_pid: header.tgid,
        host_tid: header.tid,
        comm: Comm::default(),
        via: if header.flags & flag::VIA_EXEC != 0 {
            Via::Exec
        } else {
            Via::Start
        },
        phase: if header.flags & flag::APP != 0 {
            Phase::App
        } else {
            Phase::Runtime
        },
    }
}

fn syscall(
    depth: Depth,
    mut reader: Reader<'_>,
    header: &record::Header,
    options: &Options,
) -> Result<Syscall, Undecodable> {
    let duration = reader.u64()?;
    let ret = reader.u64()?.cast_signed();
    let words = reader.args(header.nargs)?;
    let has = |bit: u16| header.flags & bit != 0;
    let arch = if has(flag::COMPAT) {
        table::compat_of(options.arch)
    } else if header.nr & NR_X32 != 0 && options.arch == Arch::X86_64 {
        Arch::X32
    } else {
        options.arch
    };
    let (number, nr) = if arch == Arch::X32 {
        let number = header.nr & !NR_X32;
        (number, u32::from(number) | X32_MARK)
    } else {
        (header.nr, u32::from(header.nr))
    };

    let outcome = if has(flag::UNFINISHED) {
        Outcome::Unfinished
    } else if has(flag::SECCOMP) && ret == i64::from(nr) {
        Outcome::Refused
    } else {
        match u16::try_from(ret.saturating_neg()) {
            Ok(errno @ 1..=4095) => Outcome::Error(errno),
            _ => Outcome::Value(ret),
        }
    };
    let entry = table::entry(arch, number);
    let (args, evidence) = match depth {
        Depth::Outline => (Args::default(), outline(reader)?),
        Depth::Whole => {
            let refused = has(flag::SECCOMP | flag::SKIPPED);
            let call = Call {
                args: words,
                ret,
                succeeded: matches!(outcome, Outcome::Value(_)) && !refused,
                wide: table::is_wide(arch),
                ended: matches!(outcome, Outcome::Value(_) | Outcome::Error(_)) && !refused,
                returned: outcome != Outcome::Unfinished,
                memory: [None; 6],
                before: [None; 6],
                parts: &[],
                data: has(flag::DATA),
                verbose: has(flag::VERBOSE),
                files: Vec::new(),
                limit: usize::from(options.limits.string),
                aarch64: arch == Arch::Aarch64,
            };
            whole(reader, call, entry, header.nargs)?
        }
    };
    Ok(Syscall {
        task: task(header),
        seq: header.seq,
        arch,
        nr,
        name: entry.map_or_else(
            || Cow::Owned(format!("syscall_{nr:#x}")),
            |entry| Cow::Borrowed(entry.name),
        ),
        args,
        outcome,
        duration_ns: (!has(flag::NO_DURATION | flag::SECCOMP | flag::SKIPPED)).then_some(duration),
        denied_by: evidence::denied_by(header.flags),
        negative: evidence::negative(header.flags),
        evidence,
    })
}

/// The arguments of a call, by its registers and the sections that follow, and what the kernel knew of its task.
fn whole<'a>(
    mut reader: Reader<'a>,
    mut call: Call<'a>,
    entry: Option<&Entry>,
    nargs: u16,
) -> Result<(Args, Option<Box<Evidence>>), Undecodable> {
    let (mut parts, mut evidence) = (Vec::new(), None);
    while let Some(taken) = reader.section()? {
        if taken.kind == copy::FILE {
            call.files.push(files::read(taken.captured.bytes)?);
            continue;
        }
        if taken.kind == copy::EVIDENCE {
            evidence = Some(Box::new(evidence::read(taken.captured.bytes)?));
            continue;
        }
        let arg = taken.arg;
        let all = if taken.before {
            &mut call.before
        } else {
            &mut call.memory
        };
        let of = all
            .get_mut(usize::from(arg))
            .ok_or(Undecodable::Section { arg })?;
        // What the argument itself points to comes first.
        if taken.part.is_none() || of.is_none() {
            *of = Some(taken.captured);
        }
        parts.extend(taken.part.map(|which| Part {
            arg,
            which,
            captured: taken.captured,
        }));
    }
    let call = Call {
        parts: &parts,
        ..call
    };
    let args = match entry {
        Some(entry) => arguments(entry, &call, usize::from(nargs)),
        None => unknown(&call, nargs),
    };
    Ok((args, evidence))
}

/// Checks what [`whole`] does.
fn outline(mut reader: Reader<'_>) -> Result<Option<Box<Evidence>>, Undecodable> {
    let mut evidence = None;
    while let Some(Taken {
        arg, kind, captured, ..
    }) = reader.section()?
    {
        match kind {
            copy::FILE => drop(files::read(captured.bytes)?),
            copy::EVIDENCE => evidence = Some(Box::new(evidence::read(captured.bytes)?)),
            _ if arg > 5 => return Err(Undecodable::Section { arg }),
            _ => {}
        }
    }
    Ok(evidence)
}

/// The arguments of a call without a name: registers.
fn unknown(call: &Call<'_>, nargs: u16) -> Args {
    let mut args = Args::default();
    for (name, raw) in table::UNNAMED.into_iter().zip(call.args).take(usize::from(nargs)) {
        append(&mut args, &mut Vec::new(), name, raw, |out| out.hex(raw));
    }
    args
}

fn arguments(entry: &Entry, call: &Call<'_>, nargs: usize) -> Args {
    let mut args = Args {
        list: Vec::with_capacity(entry.order.len()),
        ..Args::default()
    };
    let mut marks = Vec::new();
    if !entry.order.is_empty() {
        args.text.reserve(96);
    }
    for &index in entry.order.iter().filter(|index| **index < nargs) {
        let Some(param) = entry.params.get(index) else {
            continue;
        };
        let raw = call.arg(index);
        let Some(show) = shown(&param.show, call) else {
            continue;
        };
        if !call.returned && args.before_output.is_none() && writes(show) {
            args.before_output = Some(args.text.len() + if args.list.is_empty() { 0 } else { 2 });
        }
        append(&mut args, &mut marks, param.name, raw, |out| {
            print(out, call, entry, index, show, raw)
        });
        if let Show::Memory(memory @ Memory { full: Some(full), .. }) = show
            && call.verbose
        {
            let memory = Memory {
                print: full.print,
                ..*memory
            };
            args.verbose
                .push(verbose(call, entry, (index, param, &memory), args.list.len() - 1));
        }
    }
    args.moves = entry.moves;
    if call.data {
        args.data = data::of(entry, call).map(Box::new);
    }
    let returned = call.succeeded && entry.descriptor.is_some_and(|is_one| is_one(call));
    args.files = files::marked(&call.files, marks, returned.then_some(call.ret));
    if call.succeeded {
        args.ret_base = match entry.ret {
            rows::Ret::Decimal => Base::Decimal,
            rows::Ret::Hex => Base::Hex,
            rows::Ret::Octal => Base::Octal,
            rows::Ret::HexWhen(hex) => {
                if hex(call) {
                    Base::Hex
                } else {
                    Base::Decimal
                }
            }
        };
        args.ret_note = entry.note.and_then(|note| {
            let mut text = String::new();
            note(&mut Out::new(&mut text), call).map(|()| text)
        });
    }
    args
}

/// How the argument is shown in this call; `None`: not at all.
fn shown<'a>(show: &'a Show, call: &Call<'_>) -> Option<&'a Show> {
    match show {
        Show::When(applies, show) => applies(call).then_some(show),
        _ => Some(show),
    }
}

/// Whether the call writes the argument's memory.
fn writes(show: &Show) -> bool {
    matches!(show, Show::Memory(memory) if memory.output || memory.filled)
}

fn append(
    args: &mut Args,
    marks: &mut Vec<Mark>,
    name: &'static str,
    raw: u64,
    write: impl FnOnce(&mut Out<'_>),
) {
    if !args.list.is_empty() {
        args.text.push_str(", ");
    }
    let start = args.text.len();
    let mut out = Out::new(&mut args.text);
    write(&mut out);
    let (truncated, fault) = (out.truncated, out.fault);
    marks.append(&mut out.marks);
    args.list.push(Arg {
        name,
        raw,
        text: start..args.text.len(),
        truncated,
        fault,
    });
}

fn print(out: &mut Out<'_>, call: &Call<'_>, entry: &Entry, index: usize, show: &Show, raw: u64) {
    let Some(param) = entry.params.get(index) else {
        return;
    };
    let value = if param.narrow {
        u64::from(show::low(raw))
    } else {
        raw
    };
    match show {
        Show::Value(print) => print(out, call, value),
        Show::Flags(names) => out.flags(value, names),
        Show::Enum(names) => out.name(value, names),
        Show::EnumOrNumber(names) => out.name_or_number(value, names),
        Show::Memory(memory) => print_memory(out, call, entry, (index, param, memory), value),
        Show::Descriptor => out.descriptor(call, show::signed(value)),
        Show::Directory => out.directory(call, value),
        Show::When(..) => {}
    }
}

fn print_memory<'a>(
    out: &mut Out<'_>,
    call: &Call<'a>,
    entry: &Entry,
    (index, param, memory): (usize, &Param, &Memory),
    value: u64,
) {
    let number = |out: &mut Out<'_>| match memory.number {
        Some(number) => number(out, call, value),
        None => out.pointer(value),
    };
    let readable = call.wide || !memory.wide;
    let early = memory.moment != Moment::After;
    let due = readable
        && if memory.output && !early {
            call.succeeded
        } else {
            call.ended
        };
    // Where the register is gone and the memory was taken all the same: execve's, taken at its exit.
    let taken = call
        .memory
        .get(index)
        .copied()
        .flatten()
        .is_some_and(|taken| !taken.fault);
    if value == 0 && memory.number.is_none() && !taken {
        return out.str("NULL");
    }
    // No bytes were asked for: an empty buffer, whether or not there is a section that says so.
    let nothing = match memory.kind {
        copy::LEN_ARG | copy::VECTOR | copy::MESSAGES if param.len_narrow => {
            call.int(usize::from(param.len)) == 0
        }
        copy::LEN_ARG | copy::VECTOR => call.arg(usize::from(param.len)) == 0,
        copy::LEN_RET => call.ret == 0,
        _ => false,
    };
    let of = |all: &[Option<Captured<'a>>; 6]| all.get(index).copied().flatten();
    let after =
        || of(&call.memory).map(|captured| overlap::if_its_own(call, entry, (index, memory), captured));
    // An output of a call that failed holds what the caller left there.
    let found = if early && !(memory.output && call.succeeded) {
        let retried = memory.moment == Moment::Retried;
        of(&call.before)
            .filter(|before| !(before.fault && retried))
            .or_else(|| after().filter(|_| retried))
    } else {
        after()
    };
    let captured = match found {
        None if nothing && due => Some(Captured::empty()),
        // Of a structure that was not all there, what was is enough or not: its printer knows.
        captured => {
            captured.filter(|captured| !captured.fault || (in_pieces(memory) && !captured.bytes.is_empty()))
        }
    };
    let shown = (value != 0 || taken) && readable && (!memory.output || early || call.succeeded);
    if let Some(captured) = captured.filter(|_| shown) {
        let start = (out.text.len(), out.marks.len());
        if (memory.print)(out, call, captured).is_some() {
            return;
        }
        out.text.truncate(start.0);
        out.marks.truncate(start.1);
        out.truncated = false;
        out.fault = captured.fault;
        return number(out);
    }
    number(out);
    // Where another argument may have decided that this is no pointer, nothing was missed.
    out.fault = due && memory.number.is_none();
}

/// An argument without abbreviation.
fn verbose(call: &Call<'_>, entry: &Entry, of: (usize, &Param, &Memory), arg: usize) -> Verbose {
    let mut text = String::new();
    let mut out = Out::new(&mut text);
    print_memory(&mut out, call, entry, of, call.arg(of.0));
    let (truncated, fault) = (out.truncated, out.fault);
    Verbose {
        arg,
        text,
        truncated,
        fault,
    }
}

/// Whether a part of that memory means something without the rest.
fn in_pieces(memory: &Memory) -> bool {
    match memory.kind {
        copy::STR | copy::ARGV => false,
        copy::LEN_ARG | copy::LEN_RET => memory.scale != 0,
        _ => true,
    }
}

/// `SIGKILL`, or the number of a signal without a name.
pub(crate) fn signal_text(number: u8) -> String {
    let mut text = String::new();
    let mut out = Out::new(&mut text);
    values::write_signal_or_number(&mut out, u64::from(number));
    text
}
