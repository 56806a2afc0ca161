//! Printers of structures that strace abbreviates without `-v`: with all their fields.

use tracer_common::filter::part;

use super::{
    names,
    show::{Call, Captured, Out},
    time, values,
};

/// `struct stat`.
pub(super) fn stat(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let narrow = |at| memory.u32(at).map(u64::from);
    // arch/x86/include/uapi/asm/stat.h, include/uapi/asm-generic/stat.h.
    let (mode, links, ids, rdev, block) = if call.aarch64 {
        (16, narrow(20), 24, 32, narrow(56))
    } else {
        (24, memory.u64(16), 28, 40, memory.u64(56))
    };
    let mode = narrow(mode)?;
    out.str("{st_dev=");
    values::device(out, memory.u64(0)?);
    out.ufield(", st_ino=", memory.u64(8)?);
    out.str(", st_mode=");
    values::file_mode(out, mode);
    out.ufield(", st_nlink=", links?);
    out.ufield(", st_uid=", narrow(ids)?);
    out.ufield(", st_gid=", narrow(ids + 4)?);
    out.ufield(", st_blksize=", block?);
    out.ufield(", st_blocks=", memory.u64(64)?);
    if super::fs::is_device(mode) {
        out.str(", st_rdev=");
        values::device(out, memory.u64(rdev)?);
    } else {
        out.ufield(", st_size=", memory.u64(48)?);
    }
    for (name, at) in [("atime", 72), ("mtime", 88), ("ctime", 104)] {
        let (seconds, nanos) = (memory.i64(at)?, memory.i64(at + 8)?);
        out.str(", st_");
        out.str(name);
        out.field("=", seconds);
        time::comment(out, seconds, nanos);
        out.str(", st_");
        out.str(name);
        out.field("_nsec=", nanos);
    }
    out.str("}");
    Some(())
}

/// `struct statx`: the fields that its mask says are there.
pub(super) fn statx(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let mask = memory.u32(0)?;
    let has = |bit: u32| mask & bit != 0;
    let narrow = |at| memory.u32(at).map(u64::from);
    out.flags_field("{stx_mask=", u64::from(mask), &names::STATX);
    out.ufield(", stx_blksize=", narrow(4)?);
    out.flags_field(", stx_attributes=", memory.u64(8)?, &names::STATX_ATTR);
    if has(libc::STATX_NLINK) {
        out.ufield(", stx_nlink=", narrow(16)?);
    }
    if has(libc::STATX_UID) {
        out.field(", stx_uid=", i64::from(memory.i32(20)?));
    }
    if has(libc::STATX_GID) {
        out.field(", stx_gid=", i64::from(memory.i32(24)?));
    }
    if has(libc::STATX_TYPE | libc::STATX_MODE) {
        out.str(", stx_mode=");
        values::file_mode(out, u64::from(memory.u16(28)?));
    }
    for (bit, label, at) in [
        (libc::STATX_INO, ", stx_ino=", 32),
        (libc::STATX_SIZE, ", stx_size=", 40),
        (libc::STATX_BLOCKS, ", stx_blocks=", 48),
    ] {
        if has(bit) {
            out.ufield(label, memory.u64(at)?);
        }
    }
    out.flags_field(", stx_attributes_mask=", memory.u64(56)?, &names::STATX_ATTR);
    for (bit, label, at) in [
        (libc::STATX_ATIME, ", stx_atime=", 64),
        (libc::STATX_BTIME, ", stx_btime=", 80),
        (libc::STATX_CTIME, ", stx_ctime=", 96),
        (libc::STATX_MTIME, ", stx_mtime=", 112),
    ] {
        if has(bit) {
            let (seconds, nanos) = (memory.i64(at)?, narrow(at + 8)?);
            out.str(label);
            out.field("{tv_sec=", seconds);
            out.ufield(", tv_nsec=", nanos);
            out.str("}");
            time::comment(out, seconds, i64::try_from(nanos).ok()?);
        }
    }
    for (label, at) in [
        (", stx_rdev_major=", 128),
        (", stx_rdev_minor=", 132),
        (", stx_dev_major=", 136),
        (", stx_dev_minor=", 140),
    ] {
        out.ufield(label, narrow(at)?);
    }
    if has(libc::STATX_MNT_ID) {
        out.hfield(", stx_mnt_id=", memory.u64(144)?);
    }
    if has(libc::STATX_DIOALIGN) {
        out.ufield(", stx_dio_mem_align=", narrow(152)?);
        out.ufield(", stx_dio_offset_align=", narrow(156)?);
    }
    out.str("}");
    Some(())
}

/// `struct rusage`.
pub(super) fn rusage(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.str("{ru_utime=");
    time::pair(out, "tv_usec", memory.i64(0)?, memory.i64(8)?);
    out.str(", ru_stime=");
    time::pair(out, "tv_usec", memory.i64(16)?, memory.i64(24)?);
    let counts = [
        "maxrss", "ixrss", "idrss", "isrss", "minflt", "majflt", "nswap", "inblock", "oublock", "msgsnd",
        "msgrcv", "nsignals", "nvcsw", "nivcsw",
    ];
    for (index, name) in counts.into_iter().enumerate() {
        out.str(", ru_");
        out.str(name);
        out.ufield("=", memory.u64(32 + 8 * index)?);
    }
    out.str("}");
    Some(())
}

/// `struct new_utsname`.
pub(super) fn utsname(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let fields = [
        "{sysname=",
        ", nodename=",
        ", release=",
        ", version=",
        ", machine=",
        ", domainname=",
    ];
    for (index, label) in fields.into_iter().enumerate() {
        let field = memory.bytes.get(65 * index..)?.get(..65)?;
        out.str(label);
        out.quoted(field.split(|byte| *byte == 0).next()?);
    }
    out.str("}");
    Some(())
}

/// Directory entries of getdents64(2).
pub(super) fn entries(out: &mut Out<'_>, call: &Call<'_>, _: Captured<'_>) -> Option<()> {
    // `struct linux_dirent64`: d_ino, d_off, d_reclen, d_type, d_name.
    list(out, call, 19, |out, entry| {
        kind(out, entry.u8(18)?);
        name(out, entry.from(19)?);
        Some(())
    })
}

/// Those of getdents(2).
pub(super) fn old_entries(out: &mut Out<'_>, call: &Call<'_>, _: Captured<'_>) -> Option<()> {
    // `struct linux_dirent`: d_ino, d_off, d_reclen, d_name, and the type in the last byte.
    list(out, call, 18, |out, entry| {
        let (last, rest) = entry.from(18)?.split_last()?;
        name(out, rest);
        kind(out, *last);
        Some(())
    })
}

/// `[{d_ino=1, d_off=2, d_reclen=24, …}, …]` of entries whose heads have so many bytes; `tail` prints what follows.
fn list(
    out: &mut Out<'_>,
    call: &Call<'_>,
    head: usize,
    tail: impl Fn(&mut Out<'_>, Captured<'_>) -> Option<()>,
) -> Option<()> {
    let memory = call.part(1, part::NAME)?;
    let mut rest = memory.bytes;
    let mut separator = "[";
    while rest.len() >= head {
        let entry = Captured {
            bytes: rest,
            ..memory
        };
        let length = usize::from(entry.u16(16)?);
        // What is not all there is not shown; nor does the kernel write an entry shorter than its head.
        let Some((bytes, more)) = rest.split_at_checked(length.max(head)) else {
            break;
        };
        let entry = Captured { bytes, ..memory };
        out.str(separator);
        out.ufield("{d_ino=", entry.u64(0)?);
        out.ufield(", d_off=", entry.u64(8)?);
        out.ufield(", d_reclen=", u64::try_from(length).ok()?);
        tail(out, entry)?;
        out.str("}");
        separator = ", ";
        rest = more;
    }
    if memory.cut || memory.fault {
        out.str(separator);
        out.str("...");
        out.truncated = true;
        out.fault |= memory.fault;
    } else if separator == "[" {
        out.str("[");
    }
    out.str("]");
    Some(())
}

fn name(out: &mut Out<'_>, bytes: &[u8]) {
    out.str(", d_name=");
    out.quoted(bytes.split(|byte| *byte == 0).next().unwrap_or_default());
}

fn kind(out: &mut Out<'_>, kind: u8) {
    out.str(", d_type=");
    out.name(u64::from(kind), &names::DIRENT);
}
