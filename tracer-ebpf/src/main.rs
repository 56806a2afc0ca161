//! The kernel programs, each a thin shell: `admit` decides whose call it is, `capture` copies, `emit` queues. What a
//! system call looks like (how many arguments, what to copy) is data that the daemon writes; nothing here knows a
//! system call by name but execve and setns, whose numbers the daemon writes too.
//!
//! They must never change what the traced task does, never loop unbounded (the verifier sees to it) and never lose a
//! call without counting it.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
// For the atomic instructions of `known` and `sieve`, which `core` does not offer on this target.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod admit;
#[cfg(target_arch = "bpf")]
mod aggregate;
#[cfg(target_arch = "bpf")]
mod capability;
#[cfg(target_arch = "bpf")]
mod capture;
#[cfg(target_arch = "bpf")]
mod copy;
#[cfg(target_arch = "bpf")]
mod dentry;
#[cfg(target_arch = "bpf")]
mod emit;
#[cfg(target_arch = "bpf")]
mod evidence;
#[cfg(target_arch = "bpf")]
mod execve;
#[cfg(target_arch = "bpf")]
mod files;
#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
mod kfunc;
#[cfg(target_arch = "bpf")]
mod known;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod record;
#[cfg(target_arch = "bpf")]
mod share;
#[cfg(target_arch = "bpf")]
mod sieve;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{
        EbpfContext as _,
        macros::{btf_tracepoint, fentry, fexit, tracepoint},
        programs::{BtfTracePointContext, FEntryContext, FExitContext, TracePointContext},
    };

    use crate::{
        admit,
        capability::{self, Check},
        capture, dentry,
        kernel::{Credentials, Regs, TaskPtr, UserNamespace, forked},
        kfunc,
        known::{Known, Place},
        record,
    };

    /// `sys_enter(struct pt_regs *regs, long id)`, include/trace/events/syscalls.h.
    #[btf_tracepoint(function = "sys_enter")]
    pub(crate) fn sys_enter(ctx: BtfTracePointContext) -> i32 {
        enter(Regs::new(ctx.arg(0)), ctx.arg(1));
        0
    }

    /// `sys_exit(struct pt_regs *regs, long ret)`, include/trace/events/syscalls.h.
    // Else the wrapper that the macro makes calls it, a frame more than the kernel's eight.
    #[btf_tracepoint(function = "sys_exit")]
    #[inline(always)]
    pub(crate) fn sys_exit(ctx: BtfTracePointContext) -> i32 {
        exit(Regs::new(ctx.arg(0)), ctx.arg(1));
        0
    }

    /// A call begins.
    #[inline(always)]
    fn enter(regs: Regs, nr: u64) {
        let Some(place) = Place::of(regs) else { return };
        let known = place.known();
        if admit::is_strangers(known, nr) {
            return;
        }
        kfunc::call_preempt_disable();
        if let Some(member) = admit::on_enter(place, known, nr) {
            capture::enter(member, regs, nr);
        }
        kfunc::call_preempt_enable();
    }

    /// A call ends.
    #[inline(always)]
    fn exit(regs: Regs, ret: i64) {
        let Some(place) = Place::of(regs) else { return };
        let known = place.known();
        if known == Known::Stranger {
            return;
        }
        kfunc::call_preempt_disable();
        if let Some(member) = admit::on_exit(place, known)
            && capture::exit(&member, regs, ret)
        {
            record::queue();
        }
        kfunc::call_preempt_enable();
    }

    /// `sched_process_fork(parent, child)`: runs in the parent, before the child's first instruction.
    #[btf_tracepoint(function = "sched_process_fork")]
    pub(crate) fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
        let child = TaskPtr::new(ctx.arg(1));
        kfunc::preempt_disable();
        made(child);
        kfunc::preempt_enable();
        0
    }

    #[inline(always)]
    fn made(child: TaskPtr) {
        admit::born(child);
        if let Some((parent, state)) = admit::member() {
            capture::fork(parent, state, child);
        }
    }

    /// `sched_process_exec(task, old_pid, bprm)`: the new program is in place, execve(2) has yet to return.
    #[btf_tracepoint(function = "sched_process_exec")]
    pub(crate) fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
        kfunc::preempt_disable();
        if let Some((task, state)) = admit::member() {
            capture::exec(task, state, ctx.arg(1), ctx.arg(2));
        }
        kfunc::preempt_enable();
        0
    }

    /// `sched_process_exit(task)`: the only place that a killed task passes.
    #[btf_tracepoint(function = "sched_process_exit")]
    pub(crate) fn sched_process_exit(_ctx: BtfTracePointContext) -> i32 {
        end();
        0
    }

    #[inline(always)]
    fn end() {
        kfunc::preempt_disable();
        if let Some((task, state)) = admit::member() {
            if capture::last_call(task, state) {
                record::queue();
            }
            capture::task_exit(task, state);
        }
        kfunc::preempt_enable();
    }

    /// `cap_capable(cred, target_ns, capable_ns, cap, ret)`, include/trace/events/capability.h, since 6.14.
    #[btf_tracepoint(function = "cap_capable")]
    pub(crate) fn cap_capable(ctx: BtfTracePointContext) -> i32 {
        capability::note(&Check {
            cred: Credentials::new(ctx.arg(0)),
            namespace: UserNamespace::new(ctx.arg(1)),
            capability: ctx.arg(3),
            denied: ctx.arg::<i32>(4) != 0,
        });
        0
    }

    /// The same before, at the return of `cap_capable(cred, target_ns, cap, opts)`, security/commoncap.c.
    #[fexit(function = "cap_capable")]
    pub(crate) fn cap_capable_exit(ctx: FExitContext) -> i32 {
        capability::note(&Check {
            cred: Credentials::new(ctx.arg(0)),
            namespace: UserNamespace::new(ctx.arg(1)),
            capability: ctx.arg(2),
            denied: ctx.arg::<i32>(4) != 0,
        });
        0
    }

    /// `lookup_fast(nd)`, fs/namei.c, returns what the kernel's cache has of the next name of a path.
    #[fexit(function = "lookup_fast")]
    pub(crate) fn lookup_fast(ctx: FExitContext) -> i32 {
        if let Ok(found) = ctx.ret::<usize>() {
            dentry::looked_in_cache(found);
        }
        0
    }

    /// `d_add(dentry, inode)`, fs/dcache.c: what a file system says of a name that it was asked for.
    #[fentry(function = "d_add")]
    pub(crate) fn d_add(ctx: FEntryContext) -> i32 {
        dentry::given(ctx.arg(1));
        0
    }

    /// `d_splice_alias(inode, dentry)`, fs/dcache.c: the same.
    #[fentry(function = "d_splice_alias")]
    pub(crate) fn d_splice_alias(ctx: FEntryContext) -> i32 {
        dentry::given(ctx.arg(0));
        0
    }

    /// Costs what no program can avoid; `cargo xtask bench` measures the others against it.
    #[btf_tracepoint(function = "sys_enter")]
    pub(crate) fn empty_enter(ctx: BtfTracePointContext) -> i32 {
        let _unused = ctx.as_ptr();
        0
    }

    /// As [`empty_enter`], for the exit.
    #[btf_tracepoint(function = "sys_exit")]
    pub(crate) fn empty_exit(ctx: BtfTracePointContext) -> i32 {
        let _unused = ctx.as_ptr();
        0
    }

    // The same by the trace events of their tracepoints, for kernels that may preempt a program at the tracepoint itself and
    // skip it for others meanwhile. What an event has, and where, is its `format` in tracefs.

    /// As [`sys_enter`].
    #[tracepoint(category = "raw_syscalls", name = "sys_enter")]
    #[inline(always)]
    pub(crate) fn sys_enter_event(ctx: TracePointContext) -> u32 {
        enter(TaskPtr::current().regs(), field(&ctx, 8));
        0
    }

    /// As [`sys_exit`].
    #[tracepoint(category = "raw_syscalls", name = "sys_exit")]
    #[inline(always)]
    pub(crate) fn sys_exit_event(ctx: TracePointContext) -> u32 {
        exit(TaskPtr::current().regs(), field(&ctx, 16));
        0
    }

    /// As [`sched_process_fork`]. The event has the child's number in the place of the child.
    #[tracepoint(category = "sched", name = "sched_process_fork")]
    pub(crate) fn sched_process_fork_event(ctx: TracePointContext) -> u32 {
        kfunc::preempt_disable();
        kfunc::with_task(forked(&ctx), made);
        kfunc::preempt_enable();
        0
    }

    /// As [`sched_process_exit`].
    #[tracepoint(category = "sched", name = "sched_process_exit")]
    #[inline(always)]
    pub(crate) fn sched_process_exit_event(_ctx: TracePointContext) -> u32 {
        end();
        0
    }

    /// As [`cap_capable`].
    #[tracepoint(category = "capability", name = "cap_capable")]
    pub(crate) fn cap_capable_event(ctx: TracePointContext) -> u32 {
        capability::note(&Check {
            cred: Credentials::at(field(&ctx, 8)),
            namespace: UserNamespace::at(field(&ctx, 16)),
            capability: field(&ctx, 32),
            denied: field::<i32>(&ctx, 36) != 0,
        });
        0
    }

    /// As [`empty_enter`].
    #[tracepoint(category = "raw_syscalls", name = "sys_enter")]
    pub(crate) fn empty_enter_event(ctx: TracePointContext) -> u32 {
        let _unused = ctx.as_ptr();
        0
    }

    /// As [`empty_exit`].
    #[tracepoint(category = "raw_syscalls", name = "sys_exit")]
    pub(crate) fn empty_exit_event(ctx: TracePointContext) -> u32 {
        let _unused = ctx.as_ptr();
        0
    }

    #[inline(always)]
    fn field<T: Copy>(ctx: &TracePointContext, offset: usize) -> T {
        // SAFETY: the verifier refuses what lies beyond the event's record.
        unsafe { *ctx.as_ptr().byte_add(offset).cast::<T>() }
    }

    /// Loops, so that the verifier refuses an object in which a panic can be reached.
    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo) -> ! {
        loop {}
    }

    /// The helpers that read task storage and ring are for GPL-compatible programs only.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
