//! `seccomp_denied N`: N calls of sched_get_priority_max(2), then whether they were refused with EPERM. The filter is
//! the container's own.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    let Some(Ok(calls)) = env::args().nth(1).map(|word| word.parse::<u32>()) else {
        return ExitCode::from(2);
    };
    let refused = (0..calls).filter(|_| {
        // SAFETY: a number and no memory.
        let ret = unsafe { libc::syscall(libc::SYS_sched_get_priority_max, 0) };
        ret == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
    });
    println!("refused {}", refused.count());
    ExitCode::SUCCESS
}
