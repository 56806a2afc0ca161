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
