//! What a daemon that root started gives up: rights before its first thread (they are each thread's own), system calls
//! when it is ready (for all threads at once). What it keeps has its reason here; docs/security.md has the rest.
//!
//! A service manager may have left it fewer already: nothing is added.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use rustix::{
    io::Errno,
    thread::{
        CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
        clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
        set_no_new_privs,
    },
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// What is kept, of what there is.
const KEPT: CapabilitySet = CapabilitySet::BPF // programs and maps
    .union(CapabilitySet::PERFMON) // programs that read the kernel's memory
    .union(CapabilitySet::SYS_PTRACE) // /proc/PID/ns, root, fd of others' processes
    .union(CapabilitySet::DAC_READ_SEARCH) // the files of containers, for `explain`
    .union(CapabilitySet::DAC_OVERRIDE) // cgroups and sinks' folders that are not root's
    .union(CapabilitySet::SYS_ADMIN) // setns(2), for `explain` of what has ended
    .union(CapabilitySet::SYS_CHROOT) // the same
    .union(CapabilitySet::CHOWN) // control.sock and dumps to group tracer
    .union(CapabilitySet::SYS_NICE); // the ring's reader before those who fill it

/// What it never calls, and whoever takes it over would: other programs, other processes' memory, mounts, the kernel
/// itself, other users, time, names, keys; and io_uring, which takes calls past a filter.
const DENIED: [libc::c_long; 57] = [
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_open_by_handle_at,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_mknodat,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_userfaultfd,
    libc::SYS_personality,
    libc::SYS_vhangup,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_setuid,
    libc::SYS_setreuid,
    libc::SYS_setresuid,
    libc::SYS_setfsuid,
    libc::SYS_setgid,
    libc::SYS_setregid,
    libc::SYS_setresgid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_nfsservctl,
    libc::SYS_lookup_dcookie,
];

/// Of x86-64 alone: the older ways to the same, access to ports, and those that x32 numbers apart.
#[cfg(target_arch = "x86_64")]
const DENIED_HERE: [libc::c_long; 11] = [
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_mknod,
    libc::SYS_uselib,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    520, // execve (arch/x86/entry/syscalls/syscall_64.tbl)
    521, // ptrace
    528, // kexec_load
    545, // execveat
];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: [libc::c_long; 0] = [];

/// Bit 30: the same call for an x32 program, which any program of x86-64 may make.
#[cfg(target_arch = "x86_64")]
const ENTRIES: [libc::c_long; 2] = [0, 0x4000_0000];
#[cfg(not(target_arch = "x86_64"))]
const ENTRIES: [libc::c_long; 1] = [0];

/// Gives up all rights but [`KEPT`], for good. For this thread and those that it starts from here on: call it first.
///
/// # Errors
/// The kernel's.
pub(super) fn keep_few() -> Result<()> {
    let held = capabilities(None).context("read the daemon's capabilities")?;
    let may_bound = held.effective.contains(CapabilitySet::SETPCAP);
    for capability in (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit)) {
        match capability_is_in_bounding_set(capability) {
            // Without the right to, no_new_privs has to do: no program adds any.
            Ok(true) if may_bound && !KEPT.contains(capability) => {
                remove_capability_from_bounding_set(capability).context("bound the daemon's capabilities")?;
            }
            Ok(_) => {}
            // The last that this kernel knows was before it.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error).context("read the daemon's bounding set"),
        }
    }
    clear_ambient_capability_set().context("clear the daemon's ambient capabilities")?;
    let few = CapabilitySets {
        effective: held.effective & KEPT,
        permitted: held.permitted & KEPT,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, few).context("drop the daemon's capabilities")?;
    set_no_new_privs(true).context("forbid the daemon new privileges")
}

/// From here on the calls in [`DENIED`] fail with EPERM, in every thread.
///
/// # Errors
/// The kernel has no seccomp filters.
pub(super) fn deny_calls() -> Result<()> {
    let numbers = DENIED.iter().chain(&DENIED_HERE);
    let rules: BTreeMap<i64, _> = numbers
        .flat_map(|number| ENTRIES.map(|entry| (number | entry, Vec::new())))
        .collect();
    let program: BpfProgram = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.cast_unsigned()),
        std::env::consts::ARCH.try_into().context("its architecture")?,
    )
    .and_then(TryInto::try_into)
    .context("make the daemon's filter of system calls")?;
    seccompiler::apply_filter_all_threads(&program).context("filter the daemon's system calls")
}
