//! Forks: one child exits with 7, one is killed by SIGKILL while it waits in pause(2), one dies by its own SIGABRT.
//! Prints how each ended.

use std::{
    ptr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

fn main() {
    let pauses = shared();
    for kind in ["exit", "kill", "abort"] {
        pauses.store(false, Ordering::Relaxed);
        // SAFETY: the process has one thread, so its copy may do what this one may.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            child(kind, pauses);
        }
        if kind == "kill" {
            let_it_pause(pauses);
            // SAFETY: a number and a signal; the child is ours and not yet waited for.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        let mut status = 0;
        // SAFETY: `status` lives during the call.
        unsafe { libc::waitpid(pid, &mut status, 0) };
        println!("{kind} {status}");
    }
}

fn child(kind: &str, pauses: &AtomicBool) -> ! {
    pauses.store(true, Ordering::Relaxed);
    // SAFETY: calls without memory; none of them returns to code that expects the parent.
    unsafe {
        match kind {
            "kill" => loop {
                libc::pause();
            },
            "abort" => libc::abort(),
            _ => libc::_exit(7),
        }
    }
}

/// Until the child is in its pause. Asking /proc makes a number of calls that varies, where this program must make the same
/// ones each time. The child's sign takes no call and is the last that it does before: what is left is to enter the kernel.
fn let_it_pause(pauses: &AtomicBool) {
    while !pauses.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
    thread::sleep(Duration::from_millis(100));
}

/// What a child shares with its parent.
fn shared() -> &'static AtomicBool {
    // SAFETY: a new page of zeros, which is a bool, and which nobody unmaps.
    unsafe {
        let (rights, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
        );
        let page = libc::mmap(ptr::null_mut(), 1, rights, kind, -1, 0);
        assert_ne!(page, libc::MAP_FAILED);
        AtomicBool::from_ptr(page.cast())
    }
}
