//! Printers of signal sets and actions.

use tracer_common::filter::part;

use super::{
    names,
    show::{Call, Captured, Out},
    values,
};

/// A `sigset_t` of the kernel: 64 bits. More than two thirds set is shown by what is not: `~[KILL STOP]`.
pub(super) fn set(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    write_set(out, memory.u64(0)?);
    Some(())
}

/// `{mask=[INT]}`: what rt_sigreturn(2) restores.
pub(super) fn frame(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.str("{mask=");
    set(out, call, memory)?;
    out.str("}");
    Some(())
}

/// `{sigmask=[INT], sigsetsize=8}`: a set and its size behind argument `ARG`.
pub(super) fn pointed_set<const ARG: usize>(
    out: &mut Out<'_>,
    call: &Call<'_>,
    memory: Captured<'_>,
) -> Option<()> {
    let (address, size) = (memory.u64(0)?, memory.u64(8)?);
    out.str("{sigmask=");
    match call.part(ARG, part::NAME).filter(|set| !set.fault && size == 8) {
        Some(shown) => set(out, call, shown)?,
        None => out.pointer(address),
    }
    out.ufield(", sigsetsize=", size);
    out.str("}");
    Some(())
}

fn write_set(out: &mut Out<'_>, set: u64) {
    let inverted = set.count_ones() >= 42;
    let shown = if inverted { !set } else { set };
    out.str(if inverted { "~[" } else { "[" });
    let mut first = true;
    for number in (1..=64).filter(|number| shown >> (number - 1) & 1 == 1) {
        if !first {
            out.str(" ");
        }
        first = false;
        match values::signal_name(number) {
            Some(name) => values::write_signal(out, name),
            None => out.unsigned(number),
        }
    }
    out.str("]");
}

/// The kernel's `struct sigaction` on 64-bit machines: handler, flags, (x86: restorer,) mask.
pub(super) fn action(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let (handler, flags) = (memory.u64(0)?, memory.u64(8)?);
    let mask = memory.u64(if call.aarch64 { 16 } else { 24 })?;
    let named = [
        (libc::SIG_DFL, "SIG_DFL"),
        (libc::SIG_IGN, "SIG_IGN"),
        (libc::SIG_ERR, "SIG_ERR"),
    ];
    out.str("{sa_handler=");
    match named.into_iter().find(|(value, _)| *value as u64 == handler) {
        Some((_, name)) => out.str(name),
        None => out.hex(handler),
    }
    out.str(", sa_mask=");
    write_set(out, mask);
    out.str(", sa_flags=");
    out.flags(flags, &names::SA);
    if flags & names::RESTORER != 0 && !call.aarch64 {
        out.str(", sa_restorer=");
        out.pointer(memory.u64(16)?);
    }
    out.str("}");
    Some(())
}

/// `stack_t`.
pub(super) fn stack(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    out.str("{ss_sp=");
    out.pointer(memory.u64(0)?);
    out.str(", ss_flags=");
    out.flags(u64::from(memory.u32(8)?), &names::SS);
    out.ufield(", ss_size=", memory.u64(16)?);
    out.str("}");
    Some(())
}

/// `siginfo_t`: which fields it has depends on the signal and on who sent it.
pub(super) fn info(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let (number, error, code) = (memory.i32(0)?, memory.i32(4)?, memory.i32(8)?);
    if number == 0 {
        out.str("{}");
        return Some(());
    }
    let value = u64::from(number.cast_unsigned());
    out.str("{si_signo=");
    values::signal(out, call, value);
    out.str(", si_code=");
    let bits = u64::from(code.cast_unsigned());
    match code_name(number, code, bits) {
        Some(name) => out.str(name),
        None => out.hex(bits),
    }
    if error != 0 {
        out.field(", si_errno=", i64::from(error));
    }
    if code <= 0 {
        match code {
            libc::SI_USER | libc::SI_TKILL => sender(out, memory)?,
            libc::SI_TIMER => {
                out.hfield(", si_timerid=", u64::from(memory.u32(16)?));
                out.field(", si_overrun=", i64::from(memory.i32(20)?));
                payload(out, memory, true)?;
            }
            _ => {
                sender(out, memory)?;
                payload(out, memory, false)?;
            }
        }
    } else {
        match number {
            libc::SIGCHLD => {
                sender(out, memory)?;
                let status = memory.i32(24)?;
                out.str(", si_status=");
                if code == libc::CLD_EXITED {
                    out.field("", i64::from(status));
                } else {
                    values::signal(out, call, u64::from(status.cast_unsigned()));
                }
                out.field(", si_utime=", memory.i64(32)?);
                out.field(", si_stime=", memory.i64(40)?);
            }
            libc::SIGILL | libc::SIGFPE | libc::SIGSEGV | libc::SIGBUS | libc::SIGTRAP => {
                out.pfield(", si_addr=", memory.u64(16)?);
            }
            libc::SIGIO => {
                out.field(", si_band=", memory.i64(16)?);
                out.field(", si_fd=", i64::from(memory.i32(24)?));
            }
            libc::SIGSYS => {
                out.pfield(", si_call_addr=", memory.u64(16)?);
                out.field(", si_syscall=", i64::from(memory.i32(24)?));
                out.name_field(", si_arch=", u64::from(memory.u32(28)?), &names::AUDIT_ARCH);
            }
            _ => {
                if memory.u64(16)? != 0 {
                    sender(out, memory)?;
                }
                payload(out, memory, false)?;
            }
        }
    }
    out.str("}");
    Some(())
}

fn code_name(number: i32, code: i32, bits: u64) -> Option<&'static str> {
    let own = match number {
        libc::SIGTRAP => Some(&names::SI_TRAP),
        libc::SIGCHLD => Some(&names::SI_CHLD),
        libc::SIGIO => Some(&names::SI_POLL),
        libc::SIGILL => Some(&names::SI_ILL),
        libc::SIGFPE => Some(&names::SI_FPE),
        libc::SIGSEGV => Some(&names::SI_SEGV),
        libc::SIGBUS => Some(&names::SI_BUS),
        libc::SIGSYS => Some(&names::SI_SYS),
        _ => None,
    };
    own.filter(|_| code > 0)
        .and_then(|names| names.get(bits))
        .or_else(|| names::SI.get(bits))
}

fn sender(out: &mut Out<'_>, memory: Captured<'_>) -> Option<()> {
    out.field(", si_pid=", i64::from(memory.i32(16)?));
    out.field(", si_uid=", i64::from(memory.i32(20)?));
    Some(())
}

/// The value that came with the signal; `always`, or when there is one.
fn payload(out: &mut Out<'_>, memory: Captured<'_>, always: bool) -> Option<()> {
    let value = memory.u64(24)?;
    if always || value != 0 {
        out.field(", si_int=", i64::from(memory.i32(24)?));
        out.pfield(", si_ptr=", value);
    }
    Some(())
}

/// `struct sigevent`.
pub(super) fn event(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let (value, number, notify) = (memory.u64(0)?, memory.i32(8)?, memory.i32(12)?);
    out.str("{");
    if value != 0 {
        out.field("sigev_value={sival_int=", i64::from(memory.i32(0)?));
        out.pfield(", sival_ptr=", value);
        out.str("}, ");
    }
    out.str("sigev_signo=");
    let signals = [libc::SIGEV_SIGNAL, libc::SIGEV_THREAD, libc::SIGEV_THREAD_ID];
    if signals.contains(&notify) {
        values::signal(out, call, u64::from(number.cast_unsigned()));
    } else {
        out.field("", i64::from(number));
    }
    out.name_field(
        ", sigev_notify=",
        u64::from(notify.cast_unsigned()),
        &names::SIGEV,
    );
    match notify {
        libc::SIGEV_THREAD_ID => out.field(", sigev_notify_thread_id=", i64::from(memory.i32(16)?)),
        libc::SIGEV_THREAD => {
            out.pfield(", sigev_notify_function=", memory.u64(16)?);
            out.pfield(", sigev_notify_attributes=", memory.u64(24)?);
        }
        _ => {}
    }
    out.str("}");
    Some(())
}

/// `(SIGUSR1)` after a number that is a signal's.
pub(super) fn note(out: &mut Out<'_>, call: &Call<'_>) -> Option<()> {
    let number = call.ret.unsigned_abs();
    values::signal_name(number)?;
    values::write_signal_or_number(out, number);
    Some(())
}
