//! Printers of plain register values: descriptors, ids, modes, numbers, and the flags that need more than a list.

use std::borrow::Cow;

use super::{
    names,
    show::{Call, Out, Show, low, signed},
};

pub(super) const INT: Show = Show::Value(int);
pub(super) const UINT: Show = Show::Value(uint);
pub(super) const LONG: Show = Show::Value(long);
pub(super) const HEX: Show = Show::Value(hex);
pub(super) const POINTER: Show = Show::Value(pointer);
pub(super) const MODE: Show = Show::Value(mode);
pub(super) const FD: Show = Show::Descriptor;
pub(super) const DIRFD: Show = Show::Directory;
pub(super) const ID: Show = INT;
pub(super) const SIGNAL: Show = Show::Value(signal);
pub(super) const OPEN: Show = Show::Value(open_flags);

/// A signed 32-bit number. Ids are shown so too: `-1` is how people write "leave it".
pub(super) fn int(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    out.signed(i64::from(signed(value)));
}

pub(super) fn uint(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    out.unsigned(value);
}

pub(super) fn long(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    out.signed(if call.wide {
        value.cast_signed()
    } else {
        i64::from(signed(value))
    });
}

pub(super) fn hex(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    out.hex(value);
}

pub(super) fn pointer(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    out.pointer(value);
}

pub(super) fn mode(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    out.octal(value);
}

pub(super) fn dirfd(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    if signed(value) == libc::AT_FDCWD {
        out.str("AT_FDCWD")
    } else {
        int(out, call, value)
    }
}

pub(super) fn signal(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    if signal_name(value).is_some() {
        write_signal_or_number(out, value)
    } else {
        int(out, call, value)
    }
}

pub(super) fn write_signal_or_number(out: &mut Out<'_>, number: u64) {
    match signal_name(number) {
        Some(name) => {
            out.str("SIG");
            write_signal(out, name);
        }
        None => out.unsigned(number),
    }
}

/// A signal's name without its `SIG`.
#[derive(Clone, Copy)]
pub(super) enum SignalName {
    Plain(&'static str),
    RealTimeMin,
    RealTime(u64),
}

/// The kernel's own numbering: real-time signals begin at 32, below what a libc lets programs use.
pub(super) fn signal_name(number: u64) -> Option<SignalName> {
    let plain = names::SIGNAL
        .get(number)
        .and_then(|name| name.strip_prefix("SIG"));
    match number {
        32 => Some(SignalName::RealTimeMin),
        33..=64 => Some(SignalName::RealTime(number - 32)),
        _ => plain.map(SignalName::Plain),
    }
}

pub(super) fn write_signal(out: &mut Out<'_>, name: SignalName) {
    match name {
        SignalName::Plain(name) => out.str(name),
        SignalName::RealTimeMin => out.str("RTMIN"),
        SignalName::RealTime(number) => out.ufield("RT_", number),
    }
}

/// Flags of open(2): the access mode is a number, not bits.
pub(super) fn open_flags(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    let access = value & 3;
    out.str(names::ACCESS_MODE.get(access).unwrap_or("O_ACCMODE"));
    out.more_flags(value & !access, &names::OPEN);
}

/// Flags of pipe2(2), dup3(2), …: open's without an access mode.
pub(super) fn fd_creation_flags(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    out.flags(value, &names::OPEN);
}

/// `makedev(0x1, 0x3)`.
pub(super) fn device(out: &mut Out<'_>, device: u64) {
    out.str("makedev(");
    out.hex((device >> 8 & 0xfff) | (device >> 32 & 0xffff_f000));
    out.str(", ");
    out.hex((device & 0xff) | (device >> 12 & 0xffff_ff00));
    out.str(")");
}

/// `S_IFREG|0644`.
pub(super) fn file_mode(out: &mut Out<'_>, mode: u64) {
    let kind = mode & u64::from(libc::S_IFMT);
    if let Some(name) = names::FILE_TYPE.get(kind) {
        out.str(name);
    } else {
        out.octal(kind);
    }
    let special = u64::from(libc::S_ISUID | libc::S_ISGID | libc::S_ISVTX);
    out.more_flags(mode & special, &names::SET_ID);
    out.str("|");
    out.octal(mode & !u64::from(libc::S_IFMT) & !special);
}

/// The mode argument of mknod(2).
pub(super) fn node_mode(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    if value & u64::from(libc::S_IFMT) == 0 {
        mode(out, call, value)
    } else {
        file_mode(out, value)
    }
}

pub(super) fn node_device(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    device(out, value);
}

/// Flags of statx(2): how to synchronize is a number, the rest bits.
pub(super) fn statx_flags(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    let sync = u64::from(low(value)) & (libc::AT_STATX_SYNC_TYPE as u64);
    out.str(
        names::AT_STATX
            .get(sync)
            .unwrap_or("AT_STATX_FORCE_SYNC|AT_STATX_DONT_SYNC"),
    );
    out.more_flags(value & !sync, &names::AT);
}

/// Flags of mmap(2): the type is a number, the rest bits.
pub(super) fn map_flags(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    let kind = value & (libc::MAP_TYPE as u64);
    out.name(kind, &names::MAP_TYPE);
    let size = page_size(value);
    out.more_flags(value & !kind & !(size << HUGE_SHIFT), &names::MAP);
    write_page_size(out, size, "|", "MAP_HUGE_SHIFT");
}

/// Where mmap(2), shmget(2) and memfd_create(2) take the logarithm of a page's size.
const HUGE_SHIFT: u32 = libc::MAP_HUGE_SHIFT.cast_unsigned();

fn page_size(flags: u64) -> u64 {
    flags >> HUGE_SHIFT & (libc::MAP_HUGE_MASK as u64)
}

/// `21<<MAP_HUGE_SHIFT`
fn write_page_size(out: &mut Out<'_>, size: u64, before: &str, shift: &str) {
    if size != 0 {
        out.ufield(before, size);
        out.str("<<");
        out.str(shift);
    }
}

/// Flags of memfd_create(2).
pub(super) fn memfd_flags(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    let size = page_size(value);
    let rest = value & !(size << HUGE_SHIFT);
    if rest != 0 || size == 0 {
        out.flags(rest, &names::MEMFD);
    }
    write_page_size(out, size, if rest == 0 { "" } else { "|" }, "MFD_HUGE_SHIFT");
}

/// `SCHED_FIFO|SCHED_RESET_ON_FORK`.
pub(super) fn scheduler(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    let reset = libc::SCHED_RESET_ON_FORK as u64;
    out.name(value & !reset, &names::SCHED);
    out.more_flags(value & reset, &names::SCHED_RESET);
}

/// `CAP_CHOWN`, by its number.
pub fn capability_name(number: u8) -> Cow<'static, str> {
    names::CAPABILITIES.get(usize::from(number)).map_or_else(
        || Cow::Owned(format!("CAP_{number}")),
        |name| Cow::Borrowed(*name),
    )
}

/// `1<<CAP_CHOWN|…` is a set of capabilities; one alone is its name.
pub(super) fn capability(out: &mut Out<'_>, value: u64) {
    match usize::try_from(value)
        .ok()
        .and_then(|index| names::CAPABILITIES.get(index))
    {
        Some(name) => out.str(name),
        None => {
            out.hex(value);
            out.str(" /* CAP_??? */");
        }
    }
}

/// What semget(2) and msgget(2) get: flags and permissions in one number.
pub(super) fn ipc_flags(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    let flags = value & !0o777;
    if flags != 0 {
        out.flags(flags, &names::IPC_GET);
        out.str("|");
    }
    out.octal(value & 0o777);
}

/// What shmget(2) gets: the size of its pages, too.
pub(super) fn shm_flags(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    let size = page_size(value);
    let flags = value & !0o777 & !(size << HUGE_SHIFT);
    if flags != 0 {
        // Unlike elsewhere, strace says nothing of bits without a name.
        out.flags(flags, &names::SHM_GET);
        out.str("|");
    }
    write_page_size(out, size, "", "SHM_HUGE_SHIFT");
    if size != 0 {
        out.str("|");
    }
    out.octal(value & 0o777);
}

pub(super) fn ipc_key(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    if signed(value) == libc::IPC_PRIVATE {
        out.str("IPC_PRIVATE")
    } else {
        out.hex(value)
    }
}

pub(super) fn keyring(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    match names::KEYRING.get(u64::from(low(value))) {
        Some(name) => out.str(name),
        None => int(out, call, value),
    }
}

/// `FUTEX_WAIT_PRIVATE|FUTEX_CLOCK_REALTIME`.
pub(super) fn futex_op(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    let (private, realtime) = (libc::FUTEX_PRIVATE_FLAG as u64, libc::FUTEX_CLOCK_REALTIME as u64);
    out.name(value & !private & !realtime, &names::FUTEX);
    if value & private != 0 {
        out.str("_PRIVATE");
    }
    if value & realtime != 0 {
        out.str("|FUTEX_CLOCK_REALTIME");
    }
}

/// `PER_LINUX|ADDR_NO_RANDOMIZE`
pub(super) fn personality(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    if value == u64::from(u32::MAX) {
        return out.hex(value);
    }
    out.name(value & 0xff, &names::PERSONALITY);
    out.more_flags(value & !0xff, &names::PERSONALITY_FLAGS);
}

/// `IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 4)`
pub(super) fn io_priority(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    out.name_field("IOPRIO_PRIO_VALUE(", value >> 13, &names::IOPRIO_CLASS);
    out.ufield(", ", value & 0x1fff);
    out.str(")");
}
