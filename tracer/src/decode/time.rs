//! Printers of times and timers.

use super::{
    names,
    show::{Call, Captured, Out, signed},
};
use crate::numbers;

/// `{tv_sec=0, tv_nsec=1000}`.
pub(super) fn pair(out: &mut Out<'_>, unit: &str, seconds: i64, parts: i64) {
    out.field("{tv_sec=", seconds);
    out.str(", ");
    out.str(unit);
    // The kernel takes a negative one for too large a number, and so does strace.
    out.ufield("=", parts.cast_unsigned());
    out.str("}");
}

fn pair_at(out: &mut Out<'_>, unit: &str, memory: Captured<'_>, at: usize) -> Option<()> {
    pair(out, unit, memory.i64(at)?, memory.i64(at + 8)?);
    Some(())
}

/// ` /* 1970-01-01T00:00:01.000000002+0000 */`: strace adds it to a file's times. Ours are UTC.
pub(super) fn comment(out: &mut Out<'_>, seconds: i64, nanos: i64) {
    comment_in(out, seconds, nanos, 100_000_000);
}

/// The same with parts of a second whose first digit counts `unit`.
fn comment_in(out: &mut Out<'_>, seconds: i64, parts: i64, unit: u64) {
    out.str(" /* ");
    date(out, seconds, parts, unit);
    out.str(" */");
}

/// `1970-01-01T00:00:01+0000`
fn date(out: &mut Out<'_>, seconds: i64, parts: i64, mut unit: u64) {
    let t = numbers::utc(seconds);
    out.field("", t.year);
    for (separator, value) in [
        ("-", t.month),
        ("-", t.day),
        ("T", t.hour),
        (":", t.minute),
        (":", t.second),
    ] {
        out.str(separator);
        if value < 10 {
            out.str("0");
        }
        out.unsigned(value);
    }
    if parts > 0 {
        out.str(".");
        let parts = parts.unsigned_abs();
        while unit > parts && unit > 1 {
            out.str("0");
            unit /= 10;
        }
        out.unsigned(parts);
    }
    out.str("+0000");
}

/// The time that time(2) stored.
pub(super) fn stored(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let seconds = memory.i64(0)?;
    out.field("[", seconds);
    comment(out, seconds, 0);
    out.str("]");
    Some(())
}

/// The date that time(2) returned.
pub(super) fn date_note(out: &mut Out<'_>, call: &Call<'_>) -> Option<()> {
    date(out, call.ret, 0, 1);
    Some(())
}

/// `struct timezone`.
pub(super) fn zone(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.field("{tz_minuteswest=", i64::from(memory.i32(0)?));
    out.field(", tz_dsttime=", i64::from(memory.i32(4)?));
    out.str("}");
    Some(())
}

/// `struct timex`.
pub(super) fn clock_state(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.flags_field("{modes=", u64::from(memory.u32(0)?), &names::ADJ);
    for (label, at) in [
        (", offset=", 8),
        (", freq=", 16),
        (", maxerror=", 24),
        (", esterror=", 32),
    ] {
        out.field(label, memory.i64(at)?);
    }
    out.flags_field(", status=", u64::from(memory.u32(40)?), &names::STA);
    for (label, at) in [(", constant=", 48), (", precision=", 56), (", tolerance=", 64)] {
        out.field(label, memory.i64(at)?);
    }
    out.str(", time=");
    pair_at(out, "tv_usec", memory, 72)?;
    out.field(", tick=", memory.i64(88)?);
    out.field(", ppsfreq=", memory.i64(96)?);
    out.field(", jitter=", memory.i64(104)?);
    out.field(", shift=", i64::from(memory.i32(112)?));
    let counts = [", stabil=", ", jitcnt=", ", calcnt=", ", errcnt=", ", stbcnt="];
    for (label, at) in counts.into_iter().zip((120..).step_by(8)) {
        out.field(label, memory.i64(at)?);
    }
    out.field(", tai=", i64::from(memory.i32(160)?));
    out.str("}");
    Some(())
}

/// `(TIME_OK)`
pub(super) fn clock_note(out: &mut Out<'_>, call: &Call<'_>) -> Option<()> {
    out.name(call.ret.unsigned_abs(), &names::TIME_STATE);
    Some(())
}

/// The two times of utimes(2).
pub(super) fn file_timevals(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.list([0, 16], |out, at| {
        let (seconds, micros) = (memory.i64(at)?, memory.i64(at + 8)?);
        pair(out, "tv_usec", seconds, micros);
        comment_in(out, seconds, micros, 100_000);
        Some(())
    })
}

/// `struct utimbuf`.
pub(super) fn utimbuf(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    for (label, at) in [("{actime=", 0), (", modtime=", 8)] {
        let seconds = memory.i64(at)?;
        out.field(label, seconds);
        comment(out, seconds, 0);
    }
    out.str("}");
    Some(())
}

/// `struct timespec`.
pub(super) fn timespec(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    pair_at(out, "tv_nsec", memory, 0)
}

/// `left {tv_sec=0, tv_nsec=5}`: what the call left of the timeout that argument `ARG` points to, or that it ran out.
pub(super) fn left<const ARG: usize>(out: &mut Out<'_>, call: &Call<'_>) -> Option<()> {
    if call.ret == 0 {
        out.str("Timeout");
        return Some(());
    }
    let memory = call.captured(ARG)?;
    out.str("left ");
    timespec(out, call, memory)
}

/// `struct timeval`.
pub(super) fn timeval(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    pair_at(out, "tv_usec", memory, 0)
}

/// The time left of a sleep: written only when a signal interrupted it.
pub(super) fn remaining(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let interrupted = -i64::from(libc::EINTR);
    // ERESTART_RESTARTBLOCK and its kin are EINTR once user space sees them.
    if call.ret == interrupted || (-516..=-512).contains(&call.ret) {
        timespec(out, call, memory)
    } else {
        None
    }
}

/// `struct itimerspec`.
pub(super) fn itimerspec(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    interval(out, "tv_nsec", memory)
}

/// `struct itimerval`.
pub(super) fn itimerval(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    interval(out, "tv_usec", memory)
}

fn interval(out: &mut Out<'_>, unit: &str, memory: Captured<'_>) -> Option<()> {
    out.str("{it_interval=");
    pair_at(out, unit, memory, 0)?;
    out.str(", it_value=");
    pair_at(out, unit, memory, 16)?;
    out.str("}");
    Some(())
}

/// The timeout of futex(2), for the operations that have one.
pub(super) fn futex_timeout(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    if futex(call).timeout {
        timespec(out, call, memory)
    } else {
        None
    }
}

/// What the arguments of a futex operation mean.
pub(super) struct Futex {
    /// `val` is used.
    pub(super) value: bool,
    /// The fourth is a timeout, the fourth is a number, or neither.
    pub(super) timeout: bool,
    pub(super) value2: bool,
    pub(super) address2: bool,
    pub(super) value3: bool,
    /// `val3` is a bit set.
    pub(super) bitset: bool,
    pub(super) known: bool,
}

pub(super) fn futex(call: &Call<'_>) -> Futex {
    use libc::{
        FUTEX_CMP_REQUEUE, FUTEX_CMP_REQUEUE_PI, FUTEX_LOCK_PI, FUTEX_LOCK_PI2, FUTEX_REQUEUE,
        FUTEX_TRYLOCK_PI, FUTEX_UNLOCK_PI, FUTEX_WAIT, FUTEX_WAIT_BITSET, FUTEX_WAIT_REQUEUE_PI, FUTEX_WAKE,
        FUTEX_WAKE_BITSET, FUTEX_WAKE_OP,
    };
    let op = signed(call.arg(1)) & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME);
    let nothing = Futex {
        value: true,
        timeout: false,
        value2: false,
        address2: false,
        value3: false,
        bitset: false,
        known: true,
    };
    match op {
        FUTEX_WAIT => Futex {
            timeout: true,
            ..nothing
        },
        FUTEX_WAKE => nothing,
        FUTEX_LOCK_PI | FUTEX_LOCK_PI2 => Futex {
            value: false,
            timeout: true,
            ..nothing
        },
        FUTEX_UNLOCK_PI | FUTEX_TRYLOCK_PI => Futex {
            value: false,
            ..nothing
        },
        FUTEX_REQUEUE => Futex {
            value2: true,
            address2: true,
            ..nothing
        },
        FUTEX_CMP_REQUEUE | FUTEX_CMP_REQUEUE_PI | FUTEX_WAKE_OP => Futex {
            value2: true,
            address2: true,
            value3: true,
            ..nothing
        },
        FUTEX_WAIT_BITSET => Futex {
            timeout: true,
            value3: true,
            bitset: true,
            ..nothing
        },
        FUTEX_WAKE_BITSET => Futex {
            value3: true,
            bitset: true,
            ..nothing
        },
        FUTEX_WAIT_REQUEUE_PI => Futex {
            timeout: true,
            address2: true,
            ..nothing
        },
        _ => Futex {
            value2: true,
            address2: true,
            value3: true,
            known: false,
            ..nothing
        },
    }
}

/// The fourth argument of futex(2), when it is no timeout in memory.
pub(super) fn futex_value2(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    let futex = futex(call);
    if futex.timeout {
        out.pointer(value);
    } else if futex.known {
        out.unsigned(value & 0xffff_ffff);
    } else {
        out.hex(value);
    }
}

/// The last argument of futex(2).
pub(super) fn futex_value3(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    let futex = futex(call);
    if futex.bitset && value == u64::from(u32::MAX) {
        out.str("FUTEX_BITSET_MATCH_ANY");
    } else if futex.bitset || !futex.known || call.int(1) & 0x7f == libc::FUTEX_WAKE_OP as u64 {
        out.hex(value);
    } else {
        out.unsigned(value);
    }
}
