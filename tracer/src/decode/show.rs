//! How one argument is shown and which memory that takes: the vocabulary of the table ([`super::rows`]), the call that
//! printers read ([`Call`]) and write to ([`Out`]).
//!
//! It knows no system call. Nothing here panics: what a record lacks is shown as the register's value.

use tracer_common::filter::copy;

pub(super) use super::names::Names;

use super::files::File;
pub(super) use super::out::Out;

/// How an argument is shown.
#[derive(Clone, Copy)]
pub(super) enum Show {
    /// A printer of the register. It gets 32 bits where the C type has 32 bits.
    Value(Number),
    /// Bits with names.
    Flags(&'static Names),
    /// One of some names.
    Enum(&'static Names),
    /// A signal, a capability, …: see [`Names`]; printed in decimal where it has no name.
    EnumOrNumber(&'static Names),
    /// Memory behind a pointer.
    Memory(Memory),
    /// A descriptor.
    Descriptor,
    /// A descriptor that a path begins at, or AT_FDCWD.
    Directory,
    /// Only for some calls; else the argument is left out.
    When(fn(&Call<'_>) -> bool, &'static Show),
}

/// Memory that an argument points to: how it is copied, and how the copy prints.
#[derive(Clone, Copy)]
pub(super) struct Memory {
    /// A [`copy`] kind.
    pub(super) kind: u8,
    pub(super) max: Max,
    /// Name of the argument with the length, for [`copy::LEN_ARG`]; with [`Moment::Retried`] of the one that may be written
    /// over.
    pub(super) len: &'static str,
    /// Bytes of an element, where the length counts elements; 0 stands for 1.
    pub(super) scale: u8,
    /// Written by the call: copied only when it succeeded.
    pub(super) output: bool,
    pub(super) moment: Moment,
    /// The buffers that it points to are filled by the call, with what it returned in all.
    pub(super) filled: bool,
    /// It is what goes through the call's descriptor: whole, where a reader asks for that.
    pub(super) data: bool,
    /// Where it begins: so many times eight bytes beyond the address.
    pub(super) skip: u8,
    /// Its layout is that of 64-bit callers; others' is not read.
    pub(super) wide: bool,
    /// `None`: not enough bytes, or none that mean anything; the address is shown.
    pub(super) print: Print,
    /// How it is shown without abbreviation (`-v`), where that is something else.
    pub(super) full: Option<Full>,
    /// Prints the register instead of memory, where other arguments decide that it is no pointer.
    pub(super) number: Option<Number>,
}

/// Memory without abbreviation.
#[derive(Clone, Copy)]
pub(super) struct Full {
    /// As many times eight bytes are copied; 0: no more than else.
    pub(super) words: u8,
    pub(super) print: Print,
}

/// When memory is copied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// When the call has ended.
    After,
    /// When it begins: it may write there.
    Before,
    /// When it begins, and again when it succeeded. What is shown is what it wrote where that is what counts
    /// ([`Memory::output`]), else what was there before; the printer finds the other in [`Call`].
    Both,
    /// When it begins, where the call may write there through the argument [`Memory::len`]; and when it has ended. What is shown is what was there before, if it could be read.
    Retried,
}

/// Most bytes of a copy.
#[derive(Clone, Copy)]
pub(super) enum Max {
    Bytes(u16),
    /// What is shown of a path.
    Path,
    /// What is shown of a string or buffer, and one byte to know that there was more.
    String,
    /// The same after so many bytes of something else.
    After(u16),
}

type Print = fn(&mut Out<'_>, &Call<'_>, Captured<'_>) -> Option<()>;
type Number = fn(&mut Out<'_>, &Call<'_>, u64);

impl Show {
    pub(super) const fn memory(kind: u8, max: Max, output: bool, wide: bool, print: Print) -> Self {
        Self::Memory(Memory {
            kind,
            max,
            len: "",
            scale: 0,
            output,
            moment: Moment::After,
            filled: false,
            data: false,
            skip: 0,
            wide,
            print,
            full: None,
            number: None,
        })
    }

    /// A NUL-terminated string that is shown whole.
    pub(super) const PATH: Self = Self::memory(copy::STR, Max::Path, false, false, path);
    /// The same, written by the call.
    pub(super) const PATH_OUT: Self = Self::memory(copy::STR, Max::Path, true, false, path);
    /// A NUL-terminated string that is shown up to the string limit.
    pub(super) const TEXT: Self = Self::memory(copy::STR, Max::String, false, false, buffer);
    /// As many bytes as the call returned.
    pub(super) const RETURNED: Self = Self::memory(copy::LEN_RET, Max::String, true, false, buffer);

    /// A string whose meaning (and direction) depends on other arguments.
    pub(super) const fn string(max: u16, print: Print) -> Self {
        Self::memory(copy::STR, Max::Bytes(max), false, false, print)
    }

    /// As many bytes as the argument `len` says.
    pub(super) const fn buffer(len: &'static str) -> Self {
        Self::memory(copy::LEN_ARG, Max::String, false, false, buffer).counted(len, 0)
    }

    /// At most `max` bytes, as many as the argument `len` says.
    pub(super) const fn sized(len: &'static str, max: u16, print: Print) -> Self {
        Self::memory(copy::LEN_ARG, Max::Bytes(max), false, false, print).counted(len, 0)
    }

    /// At most `max` elements of `size` bytes, as many as the argument `len` says.
    pub(super) const fn array(len: &'static str, size: u8, max: u16, print: Print) -> Self {
        let max = Max::Bytes(max * size as u16);
        Self::memory(copy::LEN_ARG, max, false, false, print).counted(len, size)
    }

    /// At most `max` elements of `size` bytes, as many as the call returned.
    pub(super) const fn returned(size: u8, max: u16, print: Print) -> Self {
        let max = Max::Bytes(max * size as u16);
        Self::memory(copy::LEN_RET, max, true, false, print).counted("", size)
    }

    /// A `struct iovec` array of as many elements as the argument `len` says, and its buffers.
    pub(super) const fn vector(len: &'static str, print: Print) -> Self {
        Self::memory(copy::VECTOR, Max::String, false, true, print).counted(len, 0)
    }

    /// A `struct msghdr` and what it points to.
    pub(super) const fn message(print: Print) -> Self {
        Self::memory(copy::MESSAGE, Max::String, false, true, print)
    }

    /// An array of `struct mmsghdr`, as many as the argument `len` says, and what they point to.
    pub(super) const fn messages(len: &'static str, print: Print) -> Self {
        Self::memory(copy::MESSAGES, Max::String, false, true, print).counted(len, 0)
    }

    /// Directory entries, of which only the number is copied.
    pub(super) const fn entries(print: Print) -> Self {
        Self::memory(copy::ENTRIES, Max::Bytes(1), true, true, print)
    }

    /// A pointer and a word, and `size` bytes behind that pointer.
    pub(super) const fn pointed(size: u16, print: Print) -> Self {
        Self::memory(copy::POINTED, Max::Bytes(size), false, true, print)
    }

    const fn counted(self, len: &'static str, scale: u8) -> Self {
        match self {
            Self::Memory(memory) => Self::Memory(Memory { len, scale, ..memory }),
            other => other,
        }
    }

    /// The same, copied at that moment.
    pub(super) const fn at(self, moment: Moment) -> Self {
        match self {
            Self::Memory(memory) => Self::Memory(Memory { moment, ..memory }),
            other => other,
        }
    }

    /// The same, of which the call may write over through that argument.
    pub(super) const fn over(self, output: &'static str) -> Self {
        self.of(output).at(Moment::Retried)
    }

    /// The same, whose buffers the call fills.
    pub(super) const fn filled(self) -> Self {
        match self {
            Self::Memory(memory) => Self::Memory(Memory {
                filled: true,
                ..memory
            }),
            other => other,
        }
    }

    /// The same, which has `words` times eight bytes where nothing is abbreviated (0: no more than else), and prints so.
    pub(super) const fn full(self, words: u8, print: Print) -> Self {
        match self {
            Self::Memory(memory) => Self::Memory(Memory {
                full: Some(Full { words, print }),
                ..memory
            }),
            other => other,
        }
    }

    /// The same, which goes through the call's descriptor.
    pub(super) const fn data(self) -> Self {
        match self {
            Self::Memory(memory) => Self::Memory(Memory { data: true, ..memory }),
            other => other,
        }
    }

    /// The same, filled by the call with its buffers; its room is copied when it begins.
    pub(super) const fn received(self) -> Self {
        match self {
            Self::Memory(memory) => Self::Memory(Memory {
                filled: true,
                output: true,
                moment: Moment::Both,
                ..memory
            }),
            other => other,
        }
    }

    /// The same, so many times eight bytes beyond the address.
    pub(super) const fn beyond(self, skip: u8) -> Self {
        match self {
            Self::Memory(memory) => Self::Memory(Memory { skip, ..memory }),
            other => other,
        }
    }

    /// A structure of `size` bytes that the call reads.
    pub(super) const fn input(size: u16, print: Print) -> Self {
        Self::memory(copy::FIXED, Max::Bytes(size), false, false, print)
    }

    /// A structure of `size` bytes that the call writes.
    pub(super) const fn output(size: u16, print: Print) -> Self {
        Self::memory(copy::FIXED, Max::Bytes(size), true, false, print)
    }

    /// As many bytes as are shown of a string, whether or not the call reads or writes them.
    pub(super) const fn bytes(max: Max, print: Print) -> Self {
        Self::memory(copy::FIXED, max, false, false, print)
    }

    /// A NULL-terminated array of strings.
    pub(super) const fn strings(print: Print) -> Self {
        Self::memory(copy::ARGV, Max::Path, false, false, print)
    }

    /// The same with the layout of 64-bit callers only.
    pub(super) const fn wide(self) -> Self {
        match self {
            Self::Memory(memory) => Self::Memory(Memory { wide: true, ..memory }),
            other => other,
        }
    }

    /// The same with the length in that argument.
    pub(super) const fn of(self, len: &'static str) -> Self {
        match self {
            Self::Memory(memory) => Self::Memory(Memory { len, ..memory }),
            other => other,
        }
    }

    /// The same, written by the call.
    pub(super) const fn written(self) -> Self {
        match self {
            Self::Memory(memory) => Self::Memory(Memory {
                output: true,
                ..memory
            }),
            other => other,
        }
    }

    /// The same, but for some calls a number.
    pub(super) const fn or(self, number: Number) -> Self {
        match self {
            Self::Memory(memory) => Self::Memory(Memory {
                number: Some(number),
                ..memory
            }),
            other => other,
        }
    }
}

/// A call, as far as the record tells.
pub(super) struct Call<'a> {
    pub(super) args: [u64; 6],
    pub(super) ret: i64,
    /// It returned and did not fail: what it wrote is there.
    pub(super) succeeded: bool,
    /// It was made by 64-bit code, so that `long` and pointers have 64 bits.
    pub(super) wide: bool,
    /// It ended in some way that allowed to read its memory.
    pub(super) ended: bool,
    /// The task came out of it.
    pub(super) returned: bool,
    pub(super) memory: [Option<Captured<'a>>; 6],
    /// The same when it began, where the plan asked for it.
    pub(super) before: [Option<Captured<'a>>; 6],
    /// Further memory of an argument that points to pointers.
    pub(super) parts: &'a [Part<'a>],
    /// A reader asked for all the data that it moved.
    pub(super) data: bool,
    /// A reader wants nothing abbreviated.
    pub(super) verbose: bool,
    /// What its descriptors stand for, where that was asked.
    pub(super) files: Vec<File>,
    /// String limit.
    pub(super) limit: usize,
    /// Layout of `struct stat` and the like.
    pub(super) aarch64: bool,
}

impl Call<'_> {
    pub(super) fn arg(&self, index: usize) -> u64 {
        self.args.get(index).copied().unwrap_or(0)
    }

    /// The argument's low 32 bits: what an `int` parameter means.
    pub(super) fn int(&self, index: usize) -> u64 {
        u64::from(low(self.arg(index)))
    }

    /// What an argument pointed to when the call began.
    pub(super) fn before(&self, index: usize) -> Option<Captured<'_>> {
        let before = self.before.get(index).copied().flatten();
        before.filter(|captured| !captured.fault)
    }

    /// A piece of an argument's memory; it may have been unreadable.
    pub(super) fn part(&self, arg: usize, which: u16) -> Option<Captured<'_>> {
        self.parts
            .iter()
            .find(|part| usize::from(part.arg) == arg && part.which == which)
            .map(|part| part.captured)
    }

    /// What an argument points to; it may have been unreadable.
    pub(super) fn captured_at(&self, index: usize) -> Option<Captured<'_>> {
        self.memory.get(index).copied().flatten()
    }

    pub(super) fn captured(&self, index: usize) -> Option<Captured<'_>> {
        self.captured_at(index).filter(|captured| !captured.fault)
    }
}

/// A piece of an argument's memory.
pub(super) struct Part<'a> {
    pub(super) arg: u8,
    /// By [`tracer_common::filter::part`].
    pub(super) which: u16,
    pub(super) captured: Captured<'a>,
}

/// Bytes of the caller's memory.
#[derive(Clone, Copy)]
pub(super) struct Captured<'a> {
    pub(super) bytes: &'a [u8],
    /// There was more.
    pub(super) cut: bool,
    /// Not all of it could be read.
    pub(super) fault: bool,
    /// Strings in all, for an array of strings; directory entries.
    pub(super) total: u16,
}

impl<'a> Captured<'a> {
    pub(super) fn empty() -> Self {
        Self {
            bytes: &[],
            cut: false,
            fault: false,
            total: 0,
        }
    }

    pub(super) fn take<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..)?.first_chunk().copied()
    }

    pub(super) fn u8(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    pub(super) fn u16(&self, at: usize) -> Option<u16> {
        self.take(at).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&self, at: usize) -> Option<u32> {
        self.take(at).map(u32::from_le_bytes)
    }

    pub(super) fn i32(&self, at: usize) -> Option<i32> {
        self.take(at).map(i32::from_le_bytes)
    }

    pub(super) fn u64(&self, at: usize) -> Option<u64> {
        self.take(at).map(u64::from_le_bytes)
    }

    pub(super) fn i64(&self, at: usize) -> Option<i64> {
        self.take(at).map(i64::from_le_bytes)
    }

    pub(super) fn from(&self, at: usize) -> Option<&'a [u8]> {
        self.bytes.get(at..)
    }

    /// Element `index` of an array whose elements have `size` bytes.
    pub(super) fn element(&self, index: usize, size: usize) -> Option<Captured<'a>> {
        let bytes = self.bytes.get(index.checked_mul(size)?..)?.get(..size)?;
        Some(Captured { bytes, ..*self })
    }
}

/// The low 32 bits.
pub(super) fn low(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The low 32 bits as a signed number.
pub(super) fn signed(value: u64) -> i32 {
    low(value).cast_signed()
}

/// A NUL-terminated string of which more may have been copied than there is.
pub(super) fn c_string(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let end = memory.bytes.iter().position(|byte| *byte == 0);
    let string = memory.bytes.get(..end.unwrap_or(memory.bytes.len()))?;
    out.limited(string, call.limit, end.is_none());
    Some(())
}

fn path(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.limited(memory.bytes, usize::MAX, memory.cut);
    Some(())
}

fn buffer(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.limited(memory.bytes, call.limit, memory.cut);
    Some(())
}

/// Random bytes, all as hex: strace's way for getrandom(2).
pub(super) fn hex_buffer(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let shown = memory.bytes.get(..call.limit).unwrap_or(memory.bytes);
    out.hex_bytes(shown)?;
    if memory.cut || shown.len() < memory.bytes.len() {
        out.str("...");
        out.truncated = true;
    }
    Some(())
}

#[cfg(test)]
mod tests;
