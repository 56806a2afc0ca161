//! Printers of what calls on files, descriptors and events read and write.

use super::{
    names,
    show::{Call, Captured, Out, signed},
    time, values,
};

/// `struct stat`, as strace abbreviates it.
pub(super) fn stat(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let (mode_at, rdev_at) = if call.aarch64 { (16, 32) } else { (24, 40) };
    let mode = u64::from(memory.u32(mode_at)?);
    out.str("{st_mode=");
    values::file_mode(out, mode);
    if is_device(mode) {
        out.str(", st_rdev=");
        values::device(out, memory.u64(rdev_at)?);
    } else {
        out.field(", st_size=", memory.i64(48)?);
    }
    out.str(", ...}");
    Some(())
}

pub(super) fn is_device(mode: u64) -> bool {
    let kind = mode & u64::from(libc::S_IFMT);
    kind == u64::from(libc::S_IFCHR) || kind == u64::from(libc::S_IFBLK)
}

/// `struct statx`, as strace abbreviates it.
pub(super) fn statx(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.str("{stx_mask=");
    out.flags(u64::from(memory.u32(0)?), &names::STATX);
    out.str(", stx_attributes=");
    out.flags(memory.u64(8)?, &names::STATX_ATTR);
    out.str(", stx_mode=");
    values::file_mode(out, u64::from(memory.u16(28)?));
    out.ufield(", stx_size=", memory.u64(40)?);
    out.str(", ...}");
    Some(())
}

/// Names of attributes: of none, the address.
pub(super) fn attribute_names(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    if call.ret == 0 {
        return None;
    }
    out.limited(memory.bytes, call.limit, memory.cut);
    Some(())
}

/// `struct open_how`.
pub(super) fn open_how(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let (flags, mode) = (memory.u64(0)?, memory.u64(8)?);
    out.str("{flags=");
    values::open_flags(out, call, flags);
    if mode != 0 || creates(flags) {
        out.str(", mode=");
        out.octal(mode);
    }
    out.str(", resolve=");
    out.flags(memory.u64(16)?, &names::RESOLVE);
    out.str("}");
    Some(())
}

/// Whether open(2) looks at its mode.
pub(super) fn creates(flags: u64) -> bool {
    let temporary = libc::O_TMPFILE as u64;
    flags & (libc::O_CREAT as u64) != 0 || flags & temporary == temporary
}

/// Two descriptors: `[3, 4]`.
pub(super) fn descriptors(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.list([memory.i32(0)?, memory.i32(4)?], |out, fd| {
        out.made_descriptor(call, fd);
        Some(())
    })
}

/// One `int`: `[5]`.
pub(super) fn int(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.field("[", i64::from(memory.i32(0)?));
    out.str("]");
    Some(())
}

/// One file offset: `[13]`.
pub(super) fn offset(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.field("[", memory.i64(0)?);
    out.str("]");
    Some(())
}

/// `[5] => [15]`: the offset that argument `ARG` points to, and where the call moved it.
pub(super) fn moved<const ARG: usize>(
    out: &mut Out<'_>,
    call: &Call<'_>,
    memory: Captured<'_>,
) -> Option<()> {
    offset(out, call, memory)?;
    if call.succeeded && call.ret != 0 {
        out.str(" => ");
        offset(out, call, call.captured(ARG)?)?;
    }
    Some(())
}

/// `0x7f… /* 5 entries */`: a directory's names are not copied; `+` when there were more than are counted.
pub(super) fn entries(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.pointer(call.arg(1));
    out.ufield(" /* ", u64::from(memory.total));
    out.str(if memory.cut { "+ entries */" } else { " entries */" });
    out.truncated = memory.cut;
    Some(())
}

/// `[{iov_base=0x…, iov_len=2}]`: what it points to is not copied. The argument `COUNT` says how many there are.
pub(super) fn iovec<const COUNT: usize>(
    out: &mut Out<'_>,
    call: &Call<'_>,
    memory: Captured<'_>,
) -> Option<()> {
    array(out, memory, call.arg(COUNT), 16, |out, one| {
        out.str("{iov_base=");
        out.pointer(one.u64(0)?);
        out.ufield(", iov_len=", one.u64(8)?);
        out.str("}");
        Some(())
    })
}

/// As many of `count` elements as were copied, and `...` when there are more.
pub(super) fn array(
    out: &mut Out<'_>,
    memory: Captured<'_>,
    count: u64,
    size: usize,
    mut print: impl FnMut(&mut Out<'_>, Captured<'_>) -> Option<()>,
) -> Option<()> {
    out.str("[");
    for index in 0..usize::try_from(count).ok()? {
        if index > 0 {
            out.str(", ");
        }
        match memory.element(index, size) {
            Some(one) => print(out, one)?,
            None if index == 0 => return None,
            None => {
                out.str("...");
                out.truncated = true;
                out.fault |= memory.fault;
                break;
            }
        }
    }
    out.str("]");
    Some(())
}

/// The `struct pollfd`s of poll(2), as asked.
pub(super) fn pollfds(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    array(out, memory, call.int(1), 8, |out, one| {
        let fd = one.i32(0)?;
        out.str("{fd=");
        out.descriptor(call, fd);
        if fd >= 0 {
            out.str(", events=");
            out.flags(u64::from(one.u16(4)?), &names::POLL);
        }
        out.str("}");
        Some(())
    })
}

/// What poll(2) found, as strace appends it to the return value; for ppoll(2) also how much of the timeout is left.
pub(super) fn poll_note<const LEFT: bool>(out: &mut Out<'_>, call: &Call<'_>) -> Option<()> {
    if call.ret == 0 {
        out.str("Timeout");
        return Some(());
    }
    let memory = call.captured(0)?;
    let mut first = true;
    for index in 0..usize::try_from(call.int(1)).ok()? {
        // Not all of a long array is copied; what follows is not known.
        let Some(one) = memory.element(index, 8) else {
            out.str(if first { "[..." } else { ", ..." });
            first = false;
            break;
        };
        let events = u64::from(one.u16(6)?);
        if events != 0 {
            out.field(if first { "[{fd=" } else { ", {fd=" }, i64::from(one.i32(0)?));
            out.str(", revents=");
            out.flags(events, &names::POLL);
            out.str("}");
            first = false;
        }
    }
    if !first {
        out.str("]");
    }
    if let Some(left) = call.captured(2).filter(|_| LEFT) {
        out.str(if first { "left " } else { ", left " });
        time::timespec(out, call, left)?;
    }
    Some(())
}

/// What select(2) found: `in [4], out [5], left {tv_sec=1, tv_usec=3}`; with a `struct timespec` for pselect6(2).
pub(super) fn select_note<const NANO: bool>(out: &mut Out<'_>, call: &Call<'_>) -> Option<()> {
    if call.ret == 0 {
        out.str("Timeout");
        return Some(());
    }
    let mut separator = "";
    for (arg, label) in [(1, "in "), (2, "out "), (3, "except ")] {
        let Some(memory) = call.captured(arg) else {
            continue;
        };
        let start = out.text.len();
        out.str(separator);
        out.str(label);
        let before = out.text.len();
        fd_set(out, call, memory)?;
        // A set that is empty is left out.
        if out.text.get(before..) == Some("[]") {
            out.text.truncate(start);
        } else {
            separator = ", ";
        }
    }
    if let Some(left) = call.captured(4) {
        out.str(separator);
        out.str("left ");
        if NANO {
            time::timespec(out, call, left)?;
        } else {
            time::timeval(out, call, left)?;
        }
    }
    Some(())
}

/// `[3 5]` of a `fd_set`.
pub(super) fn fd_set(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let count = usize::try_from(signed(call.arg(0)))
        .ok()
        .filter(|count| *count != 0)?;
    if count.div_ceil(8) > memory.bytes.len() {
        return None;
    }
    out.str("[");
    let mut first = true;
    for fd in 0..count {
        if memory.u8(fd / 8)?.wrapping_shr(u32::try_from(fd % 8).ok()?) & 1 == 1 {
            if !first {
                out.str(" ");
            }
            out.descriptor(call, i32::try_from(fd).ok()?);
            first = false;
        }
    }
    out.str("]");
    Some(())
}

/// Bytes of a `struct epoll_event`: x86-64 packs it.
fn epoll_layout(call: &Call<'_>) -> (usize, usize) {
    if call.aarch64 { (16, 8) } else { (12, 4) }
}

fn epoll_one(out: &mut Out<'_>, data_at: usize, one: Captured<'_>) -> Option<()> {
    out.str("{events=");
    out.flags(u64::from(one.u32(0)?), &names::EPOLL);
    out.ufield(", data={u32=", u64::from(one.u32(data_at)?));
    out.ufield(", u64=", one.u64(data_at)?);
    out.str("}}");
    Some(())
}

/// The event that epoll_ctl(2) sets.
pub(super) fn epoll_event(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    if call.int(1) == libc::EPOLL_CTL_DEL as u64 {
        return None;
    }
    epoll_one(out, epoll_layout(call).1, memory)
}

/// The events that epoll_wait(2) returned.
pub(super) fn epoll_events(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let (size, data_at) = epoll_layout(call);
    array(out, memory, call.ret.unsigned_abs(), size, |out, one| {
        epoll_one(out, data_at, one)
    })
}

/// Whether fcntl(2)'s command takes an argument.
pub(super) fn fcntl_has_arg(call: &Call<'_>) -> bool {
    !matches!(
        signed(call.arg(1)),
        libc::F_GETFD
            | libc::F_GETFL
            | libc::F_GETOWN
            | libc::F_GETLEASE
            | libc::F_GETPIPE_SZ
            | libc::F_GET_SEALS
            | F_GETSIG
    )
}

/// What libc lacks has 32 bits without a sign in the kernel's headers.
const F_GETSIG: i32 = linux_raw_sys::general::F_GETSIG.cast_signed();
const F_SETSIG: i32 = linux_raw_sys::general::F_SETSIG.cast_signed();
const F_SETOWN_EX: i32 = linux_raw_sys::general::F_SETOWN_EX.cast_signed();
const F_GETOWN_EX: i32 = linux_raw_sys::general::F_GETOWN_EX.cast_signed();

/// fcntl(2)'s argument: a structure for locks, else a number.
pub(super) fn fcntl_arg(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let command = signed(call.arg(1));
    if command == F_SETOWN_EX || (command == F_GETOWN_EX && call.succeeded) {
        out.name_field("{type=", u64::from(memory.u32(0)?), &names::F_OWNER);
        out.field(", pid=", i64::from(memory.i32(4)?));
        out.str("}");
        return Some(());
    }
    let get = matches!(command, libc::F_GETLK | libc::F_OFD_GETLK);
    if get && !call.succeeded {
        return None;
    }
    if !get
        && !matches!(
            command,
            libc::F_SETLK | libc::F_SETLKW | libc::F_OFD_SETLK | libc::F_OFD_SETLKW
        )
    {
        return None;
    }
    out.str("{l_type=");
    out.name(u64::from(memory.u16(0)?), &names::LOCK_TYPE);
    out.str(", l_whence=");
    out.name(u64::from(memory.u16(2)?), &names::SEEK);
    out.field(", l_start=", memory.i64(8)?);
    out.field(", l_len=", memory.i64(16)?);
    if get {
        out.field(", l_pid=", i64::from(memory.i32(24)?));
    }
    out.str("}");
    Some(())
}

/// The same, when it is a number.
pub(super) fn fcntl_number(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    match signed(call.arg(1)) {
        libc::F_SETFL => values::open_flags(out, call, value),
        libc::F_SETFD => out.flags(value, &names::FD_FLAGS),
        libc::F_ADD_SEALS => out.flags(value, &names::SEALS),
        libc::F_SETLEASE => out.name(value, &names::LOCK_TYPE),
        libc::F_NOTIFY => out.flags(value, &names::DN),
        F_SETSIG => values::signal(out, call, value),
        F_SETOWN_EX | F_GETOWN_EX => out.pointer(value),
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC | libc::F_SETPIPE_SZ | libc::F_SETOWN => {
            values::int(out, call, value)
        }
        libc::F_GETLK | libc::F_SETLK | libc::F_SETLKW => out.pointer(value),
        libc::F_OFD_GETLK | libc::F_OFD_SETLK | libc::F_OFD_SETLKW => out.pointer(value),
        _ => out.hex(value),
    }
}

/// `(flags O_RDWR|O_LARGEFILE)` after what fcntl(2) returned.
pub(super) fn fcntl_note(out: &mut Out<'_>, call: &Call<'_>) -> Option<()> {
    let value = call.ret.unsigned_abs();
    let command = signed(call.arg(1));
    match command {
        libc::F_GETFL => {
            out.str("flags ");
            values::open_flags(out, call, value);
        }
        libc::F_GETFD if value != 0 => {
            out.str("flags ");
            out.flags(value, &names::FD_FLAGS);
        }
        libc::F_GET_SEALS if value != 0 => {
            out.str("seals ");
            out.flags(value, &names::SEALS);
        }
        libc::F_GETLEASE => out.name(value, &names::LOCK_TYPE),
        F_GETSIG => return super::signal::note(out, call),
        _ => return None,
    }
    Some(())
}

/// Whether what fcntl(2) returned is a descriptor.
pub(super) fn fcntl_duplicates(call: &Call<'_>) -> bool {
    matches!(signed(call.arg(1)), libc::F_DUPFD | libc::F_DUPFD_CLOEXEC)
}

/// Whether strace shows what fcntl(2) returned in hex.
pub(super) fn fcntl_in_hex(call: &Call<'_>) -> bool {
    matches!(
        signed(call.arg(1)),
        libc::F_GETFL | libc::F_GETFD | libc::F_GET_SEALS | libc::F_GETLEASE
    )
}

/// `struct statfs`.
pub(super) fn statfs(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.str("{f_type=");
    out.name(memory.u64(0)?, &names::MAGIC);
    let labels = [
        ", f_bsize=",
        ", f_blocks=",
        ", f_bfree=",
        ", f_bavail=",
        ", f_files=",
        ", f_ffree=",
    ];
    for (label, at) in labels.into_iter().zip((8..).step_by(8)) {
        out.ufield(label, memory.u64(at)?);
    }
    out.str(", f_fsid={val=[");
    out.hex(u64::from(memory.u32(56)?));
    out.str(", ");
    out.hex(u64::from(memory.u32(60)?));
    out.ufield("]}, f_namelen=", memory.u64(64)?);
    out.ufield(", f_frsize=", memory.u64(72)?);
    out.str(", f_flags=");
    out.flags(memory.u64(80)?, &names::ST);
    out.str("}");
    Some(())
}

/// The two times of utimensat(2).
pub(super) fn file_times(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.list([0, 16], |out, at| {
        let (seconds, nanos) = (memory.i64(at)?, memory.i64(at + 8)?);
        match nanos {
            libc::UTIME_NOW => out.str("UTIME_NOW"),
            libc::UTIME_OMIT => out.str("UTIME_OMIT"),
            _ => {
                time::pair(out, "tv_nsec", seconds, nanos);
                time::comment(out, seconds, nanos);
            }
        }
        Some(())
    })
}
