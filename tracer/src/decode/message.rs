//! Printers of memory that points to memory: `struct iovec` arrays and their buffers, `struct msghdr` with its address,
//! vector and control data.
//!
//! A buffer that could not be read, or for which the record had no room, shows as its address, and is marked so.

use tracer_common::filter::{MAX_VECTOR, part};

use super::{
    names, net,
    show::{Call, Captured, Out},
    time,
};

/// As much as there is.
const ALL: u64 = u64::MAX;
const MMSGHDR: usize = 64;

/// `[{iov_base="text", iov_len=4}]`: the vector that argument `ARG` points to; the next argument counts its elements.
pub(super) fn vector<const ARG: usize>(
    out: &mut Out<'_>,
    call: &Call<'_>,
    memory: Captured<'_>,
) -> Option<()> {
    elements(
        out,
        call,
        memory,
        ARG,
        0,
        (call.arg(ARG), call.arg(ARG + 1)),
        Some(ALL),
    )
}

/// The same, filled by the call: with what it returned in all, and not at all when it failed.
pub(super) fn filled<const ARG: usize>(
    out: &mut Out<'_>,
    call: &Call<'_>,
    memory: Captured<'_>,
) -> Option<()> {
    let left = call.succeeded.then_some(call.ret.unsigned_abs());
    elements(
        out,
        call,
        memory,
        ARG,
        0,
        (call.arg(ARG), call.arg(ARG + 1)),
        left,
    )
}

/// A vector at `address` with `count` elements, whose parts begin at `first`. `left` is how many bytes its buffers have
/// in all; `None`: only their addresses mean something.
fn elements(
    out: &mut Out<'_>,
    call: &Call<'_>,
    array: Captured<'_>,
    arg: usize,
    first: u16,
    (address, count): (u64, u64),
    mut left: Option<u64>,
) -> Option<()> {
    out.str("[");
    let most = call.limit.min(usize::try_from(MAX_VECTOR).ok()?);
    for index in 0..usize::try_from(count).ok()? {
        if index > 0 {
            out.str(", ");
        }
        if index == most {
            out.str("...");
            out.truncated = true;
            break;
        }
        let Some(one) = array.element(index, 16) else {
            if index == 0 {
                return None;
            }
            unread(out, address.wrapping_add(16 * u64::try_from(index).ok()?));
            break;
        };
        let (base, length) = (one.u64(0)?, one.u64(8)?);
        out.str("{iov_base=");
        match &mut left {
            None => out.pointer(base),
            Some(left) => {
                let shown = length.min(*left);
                if *left != ALL {
                    *left -= shown;
                }
                let which = first + part::BUFFER + u16::try_from(index).ok()?;
                buffer(out, call, call.part(arg, which), base, shown);
            }
        }
        out.ufield(", iov_len=", length);
        out.str("}");
    }
    out.str("]");
    Some(())
}

/// `... /* 0x7f… */`: from here on the memory was not there.
fn unread(out: &mut Out<'_>, address: u64) {
    out.str("...");
    out.str(" /* ");
    out.hex(address);
    out.str(" */");
    out.truncated = true;
    out.fault = true;
}

fn buffer(out: &mut Out<'_>, call: &Call<'_>, memory: Option<Captured<'_>>, base: u64, length: u64) {
    match memory {
        _ if base == 0 => out.str("NULL"),
        _ if length == 0 => out.str("\"\""),
        Some(memory) if !memory.fault => out.limited(memory.bytes, call.limit, memory.cut),
        Some(_) => {
            out.hex(base);
            out.fault = true;
        }
        // There was no room for it.
        None => {
            out.hex(base);
            out.truncated = true;
        }
    }
}

/// The message that sendmsg(2) sends.
pub(super) fn sent(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    header(out, call, memory, 0, None, ALL)
}

/// The message that recvmsg(2) received; of one that failed, only how long an address might have been.
pub(super) fn received(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let room = call.before(1).and_then(|before| before.i32(8));
    if !call.succeeded {
        out.field("{msg_namelen=", i64::from(room?));
        out.str("}");
        return Some(());
    }
    header(out, call, memory, 0, room, call.ret.unsigned_abs())
}

/// The messages of sendmmsg(2): of those that were sent, with their lengths.
pub(super) fn all_sent(out: &mut Out<'_>, call: &Call<'_>, _: Captured<'_>) -> Option<()> {
    let sent = if call.succeeded {
        call.ret.unsigned_abs()
    } else {
        0
    };
    headers(out, call, call.int(2), sent, |_| None, |_| Some(ALL))
}

/// The messages that recvmmsg(2) received.
pub(super) fn all_received(out: &mut Out<'_>, call: &Call<'_>, _: Captured<'_>) -> Option<()> {
    if !call.succeeded {
        return None;
    }
    let count = call.ret.unsigned_abs();
    let room = |index: usize| call.before(1)?.element(index, MMSGHDR)?.i32(8);
    let length = |memory: Captured<'_>| memory.u32(56).map(u64::from);
    headers(out, call, count, count, room, length)
}

fn headers(
    out: &mut Out<'_>,
    call: &Call<'_>,
    count: u64,
    with_length: u64,
    room: impl Fn(usize) -> Option<i32>,
    left: impl Fn(Captured<'_>) -> Option<u64>,
) -> Option<()> {
    out.str("[");
    let most = call.limit.min(usize::try_from(MAX_VECTOR).ok()?);
    for index in 0..usize::try_from(count).ok()? {
        if index > 0 {
            out.str(", ");
        }
        if index == most {
            out.str("...");
            out.truncated = true;
            break;
        }
        let first = u16::try_from(index).ok()? * part::MESSAGE;
        let Some(memory) = call.part(1, first).filter(|memory| memory.bytes.len() >= MMSGHDR) else {
            if index == 0 {
                return None;
            }
            match call.part(1, first) {
                Some(_) => unread(out, call.arg(1).wrapping_add(64 * u64::try_from(index).ok()?)),
                None => {
                    out.str("...");
                    out.truncated = true;
                }
            }
            break;
        };
        out.str("{msg_hdr=");
        header(out, call, memory, first, room(index), left(memory)?)?;
        if u64::try_from(index).ok()? < with_length {
            out.ufield(", msg_len=", u64::from(memory.u32(56)?));
        }
        out.str("}");
    }
    out.str("]");
    Some(())
}

/// A `struct msghdr` whose parts begin at `first`. `room` is how long its address might have been, where the call wrote
/// the address; `left` how many bytes its buffers have in all.
fn header(
    out: &mut Out<'_>,
    call: &Call<'_>,
    memory: Captured<'_>,
    first: u16,
    room: Option<i32>,
    left: u64,
) -> Option<()> {
    let (name, length) = (memory.u64(0)?, memory.i32(8)?);
    out.str("{msg_name=");
    let shown = usize::try_from(room.map_or(length, |room| room.min(length))).unwrap_or(0);
    address(out, call, call.part(1, first + part::NAME), name, shown);
    out.str(", msg_namelen=");
    if let Some(room) = room.filter(|room| *room != length) {
        out.field("", i64::from(room));
        out.str(" => ");
    }
    out.signed(i64::from(length));
    let (vector, count) = (memory.u64(16)?, memory.u64(24)?);
    out.str(", msg_iov=");
    match call.part(1, first + part::VECTOR) {
        _ if vector == 0 => out.str("NULL"),
        _ if count == 0 => out.str("[]"),
        Some(array) => {
            let start = out.text.len();
            if elements(out, call, array, 1, first, (vector, count), Some(left)).is_none() {
                out.text.truncate(start);
                out.hex(vector);
                out.fault = true;
            }
        }
        None => {
            out.hex(vector);
            out.truncated = true;
        }
    }
    out.ufield(", msg_iovlen=", count);
    let (control, length) = (memory.u64(32)?, memory.u64(40)?);
    if length != 0 {
        out.str(", msg_control=");
        match call.part(1, first + part::CONTROL) {
            Some(memory) if !memory.fault && length >= 16 => controls(out, call, memory, control)?,
            captured => {
                out.pointer(control);
                out.truncated |= captured.is_none() && control != 0;
                out.fault |= captured.is_some_and(|captured| captured.fault);
            }
        }
    }
    out.ufield(", msg_controllen=", length);
    out.str(", msg_flags=");
    out.flags(u64::from(memory.u32(48)?), &names::MSG);
    out.str("}");
    Some(())
}

fn address(out: &mut Out<'_>, call: &Call<'_>, memory: Option<Captured<'_>>, at: u64, length: usize) {
    let start = out.text.len();
    let shown = memory
        .filter(|memory| !memory.fault && length >= 2)
        .and_then(|memory| {
            let bytes = memory.bytes.get(..length).unwrap_or(memory.bytes);
            net::sockaddr(out, call, Captured { bytes, ..memory })
        });
    if shown.is_none() {
        out.text.truncate(start);
        out.pointer(at);
        out.fault |= memory.is_some_and(|memory| memory.fault);
        out.truncated |= memory.is_none() && at != 0 && length != 0;
    }
}

/// Control messages, one after the other, each with its length.
fn controls(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>, address: u64) -> Option<()> {
    const HEAD: usize = 16;
    out.str("[");
    let mut at = 0;
    let mut rest = memory.bytes.len();
    while rest >= HEAD {
        if at > 0 {
            out.str(", ");
        }
        let length = memory.u64(at)?;
        out.ufield("{cmsg_len=", length);
        let level = memory.i32(at + 8)?;
        out.str(", cmsg_level=");
        named(
            out,
            u64::from(memory.u32(at + 8)?),
            names::SOL.get(u64::from(level.cast_unsigned())),
            "SOL_???",
        );
        out.str(", cmsg_type=");
        let shown = usize::try_from(length).unwrap_or(usize::MAX).min(rest);
        let data = memory.bytes.get(at + HEAD..at + shown.max(HEAD))?;
        let data = Captured {
            bytes: data,
            ..memory
        };
        control(out, call, level, memory.u32(at + 12)?, data)?;
        out.str("}");
        if shown < HEAD {
            rest -= HEAD;
            at += HEAD;
            break;
        }
        let next = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_next_multiple_of(8))
            .unwrap_or(usize::MAX);
        if next >= rest {
            rest = 0;
            break;
        }
        at += next;
        rest -= next;
    }
    if rest != 0 {
        out.str(", ... /* ");
        out.hex(address.wrapping_add(u64::try_from(at).ok()?));
        out.str(" */");
        out.truncated = true;
    } else if memory.cut {
        out.str(", ...");
        out.truncated = true;
    }
    out.str("]");
    Some(())
}

fn named(out: &mut Out<'_>, value: u64, name: Option<&str>, unknown: &str) {
    match name {
        Some(name) => out.str(name),
        None => {
            out.hex(value);
            out.comment(unknown);
        }
    }
}

/// The type of a control message, and what it says where that is known.
fn control(out: &mut Out<'_>, call: &Call<'_>, level: i32, kind: u32, data: Captured<'_>) -> Option<()> {
    let begin = |out: &mut Out<'_>| out.str(", cmsg_data=");
    let length = data.bytes.len();
    let kind_number = u64::from(kind);
    match level {
        libc::SOL_SOCKET => {
            out.name(kind_number, &names::SCM);
            match i32::try_from(kind).ok()? {
                libc::SCM_RIGHTS if length >= 4 => {
                    begin(out);
                    out.list(data.bytes.chunks_exact(4), |out, fd| {
                        out.signed(i64::from(i32::from_le_bytes(fd.try_into().ok()?)));
                        Some(())
                    })?;
                }
                libc::SCM_CREDENTIALS if length >= 12 => {
                    begin(out);
                    out.field("{pid=", i64::from(data.i32(0)?));
                    out.field(", uid=", i64::from(data.i32(4)?));
                    out.field(", gid=", i64::from(data.i32(8)?));
                    out.str("}");
                }
                libc::SO_TIMESTAMP if length >= 16 => {
                    begin(out);
                    time::timeval(out, call, data)?;
                }
                libc::SO_TIMESTAMPNS if length >= 16 => {
                    begin(out);
                    time::timespec(out, call, data)?;
                }
                libc::SO_TIMESTAMPING if length >= 48 => {
                    begin(out);
                    out.list(0..3, |out, index| {
                        time::timespec(out, call, data.element(index, 16)?)
                    })?;
                }
                _ => {}
            }
        }
        libc::SOL_IP => {
            out.name(kind_number, &names::IP_CONTROL);
            match i32::try_from(kind).ok()? {
                libc::IP_TTL if length >= 4 => {
                    begin(out);
                    out.list(data.bytes.chunks_exact(4), |out, number| {
                        out.unsigned(u64::from(u32::from_le_bytes(number.try_into().ok()?)));
                        Some(())
                    })?;
                }
                libc::IP_TOS if length >= 1 => {
                    begin(out);
                    out.list(data.bytes, |out, byte| {
                        out.hex(u64::from(*byte));
                        Some(())
                    })?;
                }
                _ => {}
            }
        }
        _ => out.hex(kind_number),
    }
    Some(())
}
