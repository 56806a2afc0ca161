//! A stand-in for the kernel side: it makes the record of a call as the plan says, from arguments and memory.

use std::sync::Arc;

use tracer_common::{
    filter::{NEAR_BYTES, copy, part, when},
    record::{self, Kind, flag, section},
};

use crate::{
    decode::{self, Body, Options},
    event::{self, Arch, Event},
    sinks::text::{self, TextOptions},
};

/// An argument: a register, or memory at an address that the record makes up.
#[derive(Clone, Debug)]
pub(crate) enum A {
    /// A number.
    N(i64),
    /// A string; its NUL is added.
    S(&'static [u8]),
    /// Bytes.
    B(Vec<u8>),
    /// A vector of strings.
    V(Vec<&'static str>),
    /// A pointer to memory that cannot be read.
    Bad,
    /// Memory that points to memory: its parts, by [`tracer_common::filter::part`].
    P(Vec<(u16, Vec<u8>)>),
    /// Memory before the call, and after it.
    C(Vec<u8>, Vec<u8>),
    /// The memory of that argument, some bytes on, and what the call wrote there.
    Same(u64, u64, Vec<u8>),
}

/// Where argument `index` lies, when it is memory.
pub(crate) const fn address(index: u64) -> u64 {
    0x7000 + 0x100 * index
}

/// A call to make a record of.
#[derive(Clone, Debug)]
pub(crate) struct Fake {
    pub(crate) arch: Arch,
    pub(crate) nr: u16,
    pub(crate) ret: i64,
    pub(crate) flags: u16,
    pub(crate) args: Vec<A>,
    /// Nothing is copied when it begins.
    pub(crate) blind: bool,
}

/// Number of a call in that table.
pub(crate) fn number(arch: Arch, name: &str) -> u16 {
    (0..1024)
        .find(|nr| decode::name(arch, *nr) == Some(name))
        .expect(name)
        .try_into()
        .unwrap()
}

impl Fake {
    pub(crate) fn new(name: &str, args: impl Into<Vec<A>>, ret: i64) -> Self {
        Self::on(Arch::X86_64, name, args, ret)
    }

    pub(crate) fn on(arch: Arch, name: &str, args: impl Into<Vec<A>>, ret: i64) -> Self {
        let flags = if arch == Arch::I386 { flag::COMPAT } else { 0 };
        Self {
            arch,
            nr: number(arch, name),
            ret,
            flags,
            args: args.into(),
            blind: false,
        }
    }

    /// As where no call's beginning is looked at.
    pub(crate) fn blind(self) -> Self {
        Self { blind: true, ..self }
    }

    pub(crate) fn flags(self, flags: u16) -> Self {
        Self {
            flags: self.flags | flags,
            ..self
        }
    }

    pub(crate) fn options(&self) -> Options {
        let arch = if self.arch == Arch::I386 {
            Arch::X86_64
        } else {
            self.arch
        };
        Options {
            arch,
            limits: decode::Limits::default(),
        }
    }

    /// The bytes that the kernel side would put into the ring.
    pub(crate) fn record(&self) -> Vec<u8> {
        let options = self.options();
        let index = u32::from(self.nr)
            + if self.flags & flag::COMPAT != 0 {
                tracer_common::filter::COMPAT_PLANS
            } else {
                0
            };
        let plan = decode::plans(options.arch, options.limits)
            .find(|(at, _)| *at == index)
            .map(|(_, plan)| plan)
            .unwrap_or(tracer_common::filter::Plan {
                nargs: 6,
                ..Default::default()
            });
        let registers: Vec<u64> = (0..u64::from(plan.nargs))
            .map(|index| match self.args.get(usize::try_from(index).unwrap()) {
                Some(A::N(number)) => number.cast_unsigned(),
                Some(A::Same(of, on, _)) => address(*of) + on,
                Some(_) => address(index),
                None => 0,
            })
            .collect();
        let mut out = header(Kind::Syscall, self.flags, self.nr, u16::from(plan.nargs));
        out.extend(1832_u64.to_le_bytes());
        out.extend(self.ret.to_le_bytes());
        out.extend(registers.iter().flat_map(|register| register.to_le_bytes()));
        let returned = self.flags & (flag::UNFINISHED | flag::SECCOMP) == 0;
        let failed = (-4095..0).contains(&self.ret);
        for op in &plan.ops[..usize::from(plan.nops)] {
            let address = registers[usize::from(op.arg)];
            if !returned || address == 0 || (op.flags & when::SUCCESS != 0 && failed) {
                continue;
            }
            let early = op.flags & when::ENTER != 0;
            let apart = registers[usize::from(op.len_arg)].wrapping_sub(address);
            let far = apart.wrapping_add(NEAR_BYTES) >= 2 * NEAR_BYTES;
            if early && (self.blind || op.flags & when::NEAR != 0 && far) {
                continue;
            }
            if let A::P(parts) = &self.args[usize::from(op.arg)]
                && matches!(
                    op.kind,
                    copy::VECTOR | copy::MESSAGE | copy::MESSAGES | copy::POINTED
                )
            {
                for (which, bytes) in parts {
                    push_section(&mut out, op.arg, copy::PART, 0, *which, bytes);
                }
                continue;
            }
            let max = usize::from(op.max);
            let scale = usize::from(op.scale.max(1));
            let wanted = match op.kind {
                copy::LEN_ARG => usize::try_from(registers[usize::from(op.len_arg)])
                    .unwrap()
                    .saturating_mul(scale)
                    .min(max),
                copy::LEN_RET => usize::try_from(self.ret.max(0))
                    .unwrap()
                    .saturating_mul(scale)
                    .min(max),
                _ => max,
            };
            let mut total = 0;
            let mut flags = if early { section::BEFORE } else { 0 };
            let mut bytes = match &self.args[usize::from(op.arg)] {
                A::N(_) | A::Bad => {
                    flags |= section::FAULT;
                    Vec::new()
                }
                A::S(string) => string.to_vec(),
                A::B(bytes) | A::Same(_, _, bytes) => bytes.clone(),
                A::P(parts) => parts.first().map(|(_, bytes)| bytes.clone()).unwrap_or_default(),
                A::C(before, after) => if early { before } else { after }.clone(),
                A::V(strings) => {
                    total = u16::try_from(strings.len()).unwrap();
                    strings.iter().flat_map(|s| s.bytes().chain([0])).collect()
                }
            };
            if op.kind == copy::STR {
                bytes = bytes.split(|byte| *byte == 0).next().unwrap().to_vec();
            }
            let asked = match op.kind {
                copy::LEN_ARG => usize::try_from(registers[usize::from(op.len_arg)])
                    .unwrap()
                    .saturating_mul(scale),
                copy::LEN_RET => usize::try_from(self.ret.max(0)).unwrap().saturating_mul(scale),
                _ => bytes.len(),
            };
            if op.kind == copy::ENTRIES {
                total = u16::try_from(bytes.len()).unwrap();
                bytes.clear();
            }
            if bytes.len() > wanted || (asked > wanted && matches!(op.kind, copy::LEN_ARG | copy::LEN_RET)) {
                bytes.truncate(wanted);
                flags |= if op.kind == copy::FIXED { 0 } else { section::CUT };
            }
            // What the argument itself points to, alone.
            let (kind, total) = match op.kind {
                copy::VECTOR => (copy::PART, part::VECTOR),
                copy::MESSAGE | copy::MESSAGES | copy::POINTED => (copy::PART, part::HEAD),
                kind => (kind, total),
            };
            push_section(&mut out, op.arg, kind, flags, total, &bytes);
        }
        out
    }

    pub(crate) fn call(&self) -> event::Syscall {
        match decode::decode(&self.record(), &self.options()).unwrap().body {
            Body::Syscall(call) => call,
            other => panic!("{other:?}"),
        }
    }

    /// strace's line, without pid and duration.
    pub(crate) fn line(&self) -> String {
        line(
            event::Body::Syscall(self.call()),
            &TextOptions {
                show_duration: false,
                show_pid: false,
                ..plain()
            },
        )
    }
}

pub(crate) fn plain() -> TextOptions {
    TextOptions::default()
}

/// The text of an event.
pub(crate) fn line(body: event::Body, options: &TextOptions) -> String {
    let mut out = Vec::new();
    text::write_event(&mut out, &event(body), options);
    String::from_utf8(out).unwrap().trim_end_matches('\n').to_owned()
}

/// An event of a container.
pub(crate) fn event(body: event::Body) -> Event {
    let container = event::Container {
        id: "4f1c".into(),
        name: "web".into(),
        ..Default::default()
    };
    Event {
        time_ns: 1_795_370_591_123_456_789,
        ktime: 5_123_456_789,
        container: Arc::new(container),
        body,
    }
}

pub(crate) fn header(kind: Kind, flags: u16, nr: u16, nargs: u16) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [kind as u16, flags, 3, 1] {
        out.extend(word.to_le_bytes());
    }
    out.extend(9_u32.to_le_bytes());
    out.extend(nr.to_le_bytes());
    out.extend(nargs.to_le_bytes());
    out.extend(42_u64.to_le_bytes());
    out.extend(5_123_456_789_u64.to_le_bytes());
    for id in [4711_u32, 4712, 7, 8] {
        out.extend(id.to_le_bytes());
    }
    assert_eq!(out.len(), size_of::<record::Header>());
    out
}

pub(crate) fn push_section(out: &mut Vec<u8>, arg: u8, kind: u8, flags: u16, total: u16, bytes: &[u8]) {
    out.extend([arg, kind]);
    out.extend(flags.to_le_bytes());
    out.extend(u16::try_from(bytes.len()).unwrap().to_le_bytes());
    out.extend(total.to_le_bytes());
    out.extend(bytes);
}

/// Little-endian fields one after the other.
pub(crate) fn fields(parts: &[&dyn Field]) -> A {
    A::B(parts.iter().flat_map(|part| part.bytes()).collect())
}

/// A field of a structure.
pub(crate) trait Field {
    fn bytes(&self) -> Vec<u8>;
}

macro_rules! field {
    ($($number:ty)*) => {$(
        impl Field for $number {
            fn bytes(&self) -> Vec<u8> {
                self.to_le_bytes().to_vec()
            }
        }
    )*};
}
field!(u8 u16 u32 u64 i32 i64);

impl<const N: usize> Field for [u8; N] {
    fn bytes(&self) -> Vec<u8> {
        self.to_vec()
    }
}

/// One line per call: `NAME(ARGS) = RET` as strace prints it.
macro_rules! golden {
    ($($test:ident: [$(($name:literal, [$($arg:expr),* $(,)?], $ret:expr, $line:expr)),* $(,)?])*) => {$(
        #[test]
        fn $test() {
            $(assert_eq!(Fake::new($name, vec![$($arg),*], i64::from($ret)).line(), $line);)*
        }
    )*};
}
pub(crate) use golden;
