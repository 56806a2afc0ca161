//! `unshare_inside N`: leaves its mount and PID namespaces, as a sandbox does, and makes N calls in a child there.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    let Some(Ok(calls)) = env::args().nth(1).map(|word| word.parse::<u32>()) else {
        return ExitCode::from(2);
    };
    // SAFETY: a number; the process has one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWPID) } != 0 {
        eprintln!("unshare: {}", std::io::Error::last_os_error());
        return ExitCode::FAILURE;
    }
    // SAFETY: the process has one thread, so its copy may do what this one may.
    match unsafe { libc::fork() } {
        0 => {
            for _ in 0..calls {
                // SAFETY: a number and no memory.
                unsafe { libc::syscall(libc::SYS_sched_get_priority_max, 0) };
            }
            ExitCode::SUCCESS
        }
        pid => {
            let mut status = 0;
            // SAFETY: `status` lives during the call.
            unsafe { libc::waitpid(pid, &mut status, 0) };
            ExitCode::from(u8::from(status != 0))
        }
    }
}
