//! Forks: one child exits with 7, one is killed by SIGKILL while it waits in pause(2), one dies by its own SIGABRT.
//! Prints how each ended.

fn main() {
    for kind in ["exit", "kill", "abort"] {
        // SAFETY: the process has one thread, so its copy may do what this one may.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            child(kind);
        }
        if kind == "kill" {
            let_it_pause();
            // SAFETY: a number and a signal; the child is ours and not yet waited for.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        let mut status = 0;
        // SAFETY: `status` lives during the call.
        unsafe { libc::waitpid(pid, &mut status, 0) };
        println!("{kind} {status}");
    }
}

fn child(kind: &str) -> ! {
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

/// Until the child is in its pause. Its own sign would come before that call, and asking /proc makes a number of calls
/// that varies, where this program must make the same ones each time: so it waits long enough instead.
fn let_it_pause() {
    std::thread::sleep(std::time::Duration::from_millis(50));
}
