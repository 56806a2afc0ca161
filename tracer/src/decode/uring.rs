//! Printers of asynchronous input and output: io_submit(2) and its kin, io_uring(7).

use super::{
    fs, names,
    show::{Call, Captured, Out, signed},
};

/// The context that io_setup(2) made.
pub(super) fn context(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.pfield("[", memory.u64(0)?);
    out.str("]");
    Some(())
}

/// The `struct io_event`s that io_getevents(2) returned.
pub(super) fn events(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    fs::array(out, memory, call.ret.unsigned_abs(), 32, |out, one| {
        out.hfield("{data=", one.u64(0)?);
        out.hfield(", obj=", one.u64(8)?);
        out.field(", res=", one.i64(16)?);
        out.field(", res2=", one.i64(24)?);
        out.str("}");
        Some(())
    })
}

/// The `struct iocb` that io_cancel(2) is to find, without what it transfers.
pub(super) fn cancelled(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.str("{");
    let data = memory.u64(0)?;
    if data != 0 {
        out.hfield("aio_data=", data);
        out.str(", ");
    }
    let key = memory.u32(8)?;
    if key != 0 {
        out.ufield("aio_key=", u64::from(key));
        out.str(", ");
    }
    let command = u64::from(memory.u16(16)?);
    out.name_field("aio_lio_opcode=", command, &names::IOCB);
    let priority = memory.u16(18)?;
    if priority != 0 {
        out.field(", aio_reqprio=", i64::from(priority.cast_signed()));
    }
    out.field(", aio_fildes=", i64::from(memory.i32(20)?));
    out.str("}");
    Some(())
}

/// `struct io_uring_params`: what the kernel chose follows when the call succeeded.
pub(super) fn parameters(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let flags = memory.u32(8)?;
    out.flags_field("{flags=", u64::from(flags), &names::URING_SETUP);
    out.hfield(", sq_thread_cpu=", u64::from(memory.u32(12)?));
    out.ufield(", sq_thread_idle=", u64::from(memory.u32(16)?));
    if flags & linux_raw_sys::io_uring::IORING_SETUP_ATTACH_WQ != 0 {
        out.field(", wq_fd=", i64::from(memory.i32(24)?));
    }
    if call.succeeded {
        out.ufield(", sq_entries=", u64::from(memory.u32(0)?));
        out.ufield(", cq_entries=", u64::from(memory.u32(4)?));
        out.flags_field(", features=", u64::from(memory.u32(20)?), &names::URING_FEAT);
        let submission = [
            ", sq_off={head=",
            ", tail=",
            ", ring_mask=",
            ", ring_entries=",
            ", flags=",
            ", dropped=",
            ", array=",
        ];
        let completion = [
            "}, cq_off={head=",
            ", tail=",
            ", ring_mask=",
            ", ring_entries=",
            ", overflow=",
            ", cqes=",
            ", flags=",
        ];
        for (labels, first) in [(submission, 40), (completion, 80)] {
            for (label, at) in labels.into_iter().zip((first..).step_by(4)) {
                out.ufield(label, u64::from(memory.u32(at)?));
            }
        }
        out.str("}");
    }
    out.str("}");
    Some(())
}

/// io_uring_register(2)'s argument where it is a list of descriptors.
pub(super) fn registered(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let descriptors = matches!(
        names::URING_REGISTER.get(call.int(1))?,
        "IORING_REGISTER_FILES" | "IORING_REGISTER_EVENTFD" | "IORING_REGISTER_EVENTFD_ASYNC"
    );
    if !descriptors {
        return None;
    }
    fs::array(out, memory, call.int(3), 4, |out, one| {
        out.field("", i64::from(one.i32(0)?));
        Some(())
    })
}

/// The waiters of futex_waitv(2).
pub(super) fn futex_waiters(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    fs::array(
        out,
        memory,
        u64::from(signed(call.arg(1)).cast_unsigned()),
        24,
        |out, one| {
            out.hfield("{val=", one.u64(0)?);
            out.pfield(", uaddr=", one.u64(8)?);
            out.hfield(", flags=", u64::from(one.u32(16)?));
            out.str("}");
            Some(())
        },
    )
}
