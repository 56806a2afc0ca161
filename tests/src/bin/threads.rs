//! `threads T N`: T threads make N calls each, one thread after the other, so that the counts are always the same.

use std::{env, process::ExitCode, thread, time::Duration};

fn main() -> ExitCode {
    let mut numbers = env::args().skip(1).map(|word| word.parse::<u32>());
    let (Some(Ok(threads)), Some(Ok(calls))) = (numbers.next(), numbers.next()) else {
        return ExitCode::from(2);
    };
    for _ in 0..threads {
        let thread = thread::spawn(move || {
            for _ in 0..calls {
                // SAFETY: getppid takes nothing and cannot fail.
                unsafe { libc::syscall(libc::SYS_getppid) };
            }
            // So the main thread is always in its join by the time this one ends.
            thread::sleep(Duration::from_millis(50));
        });
        if thread.join().is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
