//! Calls of functions of the kernel's that aya 0.14 does not know (kfuncs). The object has a move of a constant where each
//! call is to be; the daemon makes calls of them (`source/kernel/kfunc.rs`).
//!
//! Most keep other tasks off the CPU while a program works with what that CPU has: its scratch, its books. Up to Linux 6.19
//! the kernel runs a tracepoint's programs with preemption off. Since 7.0 it does not (`__DO_TRACE_CALL`,
//! include/linux/tracepoint.h), and since 7.2 not at system calls either (`__BPF_DECLARE_TRACE_SYSCALL`,
//! include/trace/bpf_probe.h): another task of the CPU could run our other programs in the middle of one. So they turn it
//! off themselves, by functions that came with 6.10. That a program is skipped while the same one is in progress on its
//! CPU, no program can prevent: the kernel asks before it begins, so there they are at trace events where they can be.

use core::arch::asm;

use tracer_common::kfunc::{CALL_DISABLE, CALL_ENABLE, DISABLE, ENABLE, TASK_FROM_PID, TASK_RELEASE};

use crate::kernel::TaskPtr;

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
    preempt_disable, DISABLE
}
place! {
    /// From here on others may. Each way out of a program passes it.
    preempt_enable, ENABLE
}
place! {
    /// [`preempt_disable`] at the begin and the end of a system call, where it costs nothing on kernels that need it not.
    call_preempt_disable, CALL_DISABLE
}
place! {
    /// [`preempt_enable`], likewise.
    call_preempt_enable, CALL_ENABLE
}

/// A call with an argument.
macro_rules! call {
    ($constant:ident, $argument:expr) => {{
        let returned: *const u8;
        // SAFETY: a move, or a call that changes these registers and takes one of them.
        unsafe {
            asm!(
                "r0 = {constant}",
                constant = const $constant,
                inout("r1") $argument => _,
                out("r0") returned,
                out("r2") _, out("r3") _, out("r4") _, out("r5") _,
                options(nostack),
            );
        }
        returned
    }};
}

/// What is done with a task of that number, if there is one; it stays until then.
#[inline(always)]
pub(crate) fn with_task(tid: u32, done: impl FnOnce(TaskPtr)) {
    let task = call!(TASK_FROM_PID, u64::from(tid));
    if !task.is_null() {
        done(TaskPtr::new(task));
        call!(TASK_RELEASE, task);
    }
}
