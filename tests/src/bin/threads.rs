//! `threads T N`: T threads make N calls each, one thread after the other, so that the counts are always the same.

use std::{
    env,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// The main thread is about to join: said without a call.
static JOINS: AtomicBool = AtomicBool::new(false);

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
            while !JOINS.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            thread::sleep(Duration::from_millis(50));
        });
        JOINS.store(true, Ordering::Relaxed);
        if thread.join().is_err() {
            return ExitCode::FAILURE;
        }
        JOINS.store(false, Ordering::Relaxed);
    }
    ExitCode::SUCCESS
}
