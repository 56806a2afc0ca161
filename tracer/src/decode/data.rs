//! The data that a call moved through its descriptor, from the sections that hold it: which bytes count is what strace's
//! `-e read=` and `-e write=` dump.

use tracer_common::filter::{MAX_VECTOR, copy, part};

use super::{
    show::{Call, Captured, Memory, Show},
    table::{Entry, Param},
};
use crate::event::{Buffer, Data, Direction};

/// As much as there is.
const ALL: u64 = u64::MAX;
const MMSGHDR: usize = 64;

/// Which way the data goes that is behind that argument.
pub(super) fn direction(show: &Show) -> Option<Direction> {
    let memory = moved(show)?;
    let reads = memory.filled || memory.kind == copy::LEN_RET;
    Some(if reads { Direction::Read } else { Direction::Write })
}

fn moved(show: &Show) -> Option<&Memory> {
    match show {
        Show::Memory(memory) => Some(memory).filter(|memory| memory.data),
        _ => None,
    }
}

/// The data, of a call whose record says that it was asked for.
pub(super) fn of(entry: &Entry, call: &Call<'_>) -> Option<Data> {
    let (arg, param, memory) = entry
        .params
        .iter()
        .enumerate()
        .find_map(|(arg, param)| Some((arg, param, moved(&param.show)?)))?;
    if memory.wide && !call.wide {
        return None;
    }
    let filled = call.succeeded.then_some(call.ret.cast_unsigned());
    let left = if memory.filled { filled? } else { ALL };
    let mut data = Data::default();
    match memory.kind {
        copy::LEN_RET => data.push(None, None, filled?, call.captured_at(arg)),
        copy::LEN_ARG => data.push(None, None, length(call, param), call.captured_at(arg)),
        copy::VECTOR => data.vector(call, (arg, 0), None, length(call, param), left),
        copy::MESSAGE => {
            let count = call.part(arg, part::HEAD).and_then(|head| head.u64(24));
            data.vector(call, (arg, 0), None, count.unwrap_or(0), left);
            data.cut |= count.is_none() && call.arg(arg) != 0;
        }
        copy::MESSAGES => data.messages(call, arg),
        _ => return None,
    }
    Some(data)
}

fn length(call: &Call<'_>, param: &Param) -> u64 {
    let index = usize::from(param.len);
    if param.len_narrow {
        call.int(index)
    } else {
        call.arg(index)
    }
}

impl Data {
    fn push(&mut self, message: Option<u32>, index: Option<u32>, len: u64, captured: Option<Captured<'_>>) {
        let bytes = captured.map_or(&[][..], |captured| captured.bytes);
        let len_here = usize::try_from(len).unwrap_or(usize::MAX);
        self.buffers.push(Buffer {
            message,
            index,
            len,
            bytes: bytes.get(..len_here).unwrap_or(bytes).to_vec(),
            fault: captured.is_some_and(|captured| captured.fault),
        });
    }

    /// A vector of `count` buffers whose parts begin at `first`, and which hold `left` bytes in all. As strace has it, the
    /// first empty one is the last.
    fn vector(
        &mut self,
        call: &Call<'_>,
        (arg, first): (usize, u16),
        message: Option<u32>,
        count: u64,
        mut left: u64,
    ) {
        let array = call.part(arg, first + part::VECTOR);
        for index in 0..u32::try_from(count).unwrap_or(u32::MAX) {
            if left == 0 {
                return;
            }
            let one = (index < MAX_VECTOR)
                .then(|| array?.element(usize::try_from(index).ok()?, 16))
                .flatten();
            let Some(len) = one.and_then(|one| one.u64(8)) else {
                self.cut = true;
                return;
            };
            let len = len.min(left);
            if len == 0 {
                return;
            }
            if left != ALL {
                left -= len;
            }
            let which = u16::try_from(index)
                .ok()
                .and_then(|index| (first + part::BUFFER).checked_add(index));
            let captured = which.and_then(|which| call.part(arg, which));
            self.push(message, Some(index), len, captured);
        }
    }

    /// The messages that were sent or received, each with as many bytes as the kernel says.
    fn messages(&mut self, call: &Call<'_>, arg: usize) {
        let mut counts = Vec::new();
        let done = if call.succeeded {
            call.ret.unsigned_abs()
        } else {
            0
        };
        for index in 0..u32::try_from(done).unwrap_or(u32::MAX) {
            let first = u16::try_from(index)
                .ok()
                .filter(|_| index < MAX_VECTOR)
                .map(|index| index * part::MESSAGE);
            let head = first.and_then(|first| {
                let head = call.part(arg, first)?;
                (head.bytes.len() >= MMSGHDR).then_some((first, head))
            });
            let Some((first, head)) = head else {
                self.cut = true;
                break;
            };
            let (count, len) = (head.u64(24).unwrap_or(0), head.u32(56).unwrap_or(0));
            counts.push(count);
            self.vector(call, (arg, first), Some(index), count, u64::from(len));
        }
        self.messages = Some(counts);
    }
}
