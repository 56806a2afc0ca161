//! Keeps other tasks off the CPU while a program works with what that CPU has: its scratch, its books.
//!
//! Up to Linux 6.19 the kernel runs a tracepoint's programs with preemption off. Since 7.0 it does not (`__DO_TRACE_CALL`,
//! include/linux/tracepoint.h), and since 7.2 not at system calls either (`__BPF_DECLARE_TRACE_SYSCALL`,
//! include/trace/bpf_probe.h): another task of the CPU could run our other programs in the middle of one. So they turn it
//! off themselves, by functions of the kernel's that came with 6.10.
//!
//! aya 0.14 knows no such functions (kfuncs). The object has a move of a constant where each call is to be; the daemon
//! makes calls of them (`source/kernel/preempt.rs`). That a program is skipped while the same one is in progress on its
//! CPU, no program can prevent: the kernel asks before it begins. It counts them, and the daemon tells.

use core::arch::asm;

use tracer_common::preempt::{CALL_DISABLE, CALL_ENABLE, DISABLE, ENABLE};

macro_rules! place {
    ($(#[$doc:meta])* $name:ident, $constant:ident) => {
        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $name() {
            // SAFETY: a move, or a call that changes these registers and takes nothing.
            unsafe {
                asm!(
                    "r0 = {constant}",
                    constant = const $constant,
                    out("r0") _, out("r1") _, out("r2") _, out("r3") _, out("r4") _, out("r5") _,
                    options(nostack),
                );
            }
        }
    };
}

place! {
    /// From here on nothing else runs on this CPU, but interrupts, which make no calls.
    disable, DISABLE
}
place! {
    /// From here on others may. Each way out of a program passes it.
    enable, ENABLE
}
place! {
    /// [`disable`] at the begin and the end of a system call, where it costs nothing on kernels that need it not.
    call_disable, CALL_DISABLE
}
place! {
    /// [`enable`], likewise.
    call_enable, CALL_ENABLE
}
