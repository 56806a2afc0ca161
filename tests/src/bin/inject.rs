//! Makes one system call in another process's name, by ptrace(2): what whoever has taken that process over could do.
//! Prints what it returned.
//!
//! Usage: inject PID NUMBER [ARGUMENT...]

use std::{io::Error, ptr::null_mut, thread, time::Duration};

fn request(request: libc::c_uint, pid: libc::pid_t, data: *mut libc::c_void) {
    // SAFETY: what the request writes to, if anything, is the whole structure that `data` points to.
    let done = unsafe { libc::ptrace(request, pid, null_mut::<libc::c_void>(), data) };
    assert_eq!(done, 0, "ptrace {request:#x}: {}", Error::last_os_error());
}

fn stopped(pid: libc::pid_t) {
    let mut status = 0;
    // SAFETY: status outlives the call.
    let found = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
    assert!(
        found == pid && libc::WIFSTOPPED(status),
        "{pid}: status {status:#x}"
    );
}

/// Stops it: its registers if it waits in a call; else it goes on for a moment.
fn waiting(pid: libc::pid_t) -> Option<libc::user_regs_struct> {
    request(libc::PTRACE_INTERRUPT, pid, null_mut());
    stopped(pid);
    // SAFETY: plain numbers.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    request(libc::PTRACE_GETREGS, pid, (&raw mut registers).cast());
    if registers.orig_rax != u64::MAX {
        return Some(registers);
    }
    request(libc::PTRACE_CONT, pid, null_mut());
    thread::sleep(Duration::from_millis(1));
    None
}

fn main() {
    let words: Vec<u64> = std::env::args()
        .skip(1)
        .map(|word| word.parse().expect("a number"))
        .collect();
    let [pid, number, arguments @ ..] = words.as_slice() else {
        panic!("usage: inject PID NUMBER [ARGUMENT...]");
    };
    let pid = libc::pid_t::try_from(*pid).expect("a pid");
    request(libc::PTRACE_SEIZE, pid, null_mut());
    let before = (0..1000).find_map(|_| waiting(pid));
    let mut before = before.expect("it waits in no system call");
    let mut registers = before;
    let argument = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // The instruction before is `syscall`, of two bytes.
    registers.rip -= 2;
    (registers.rax, registers.orig_rax) = (*number, u64::MAX);
    (registers.rdi, registers.rsi, registers.rdx) = (argument(0), argument(1), argument(2));
    (registers.r10, registers.r8, registers.r9) = (argument(3), argument(4), argument(5));
    request(libc::PTRACE_SETREGS, pid, (&raw mut registers).cast());
    request(libc::PTRACE_SINGLESTEP, pid, null_mut());
    stopped(pid);
    request(libc::PTRACE_GETREGS, pid, (&raw mut registers).cast());
    println!("{}", registers.rax.cast_signed());
    request(libc::PTRACE_SETREGS, pid, (&raw mut before).cast());
    request(libc::PTRACE_DETACH, pid, null_mut());
}
