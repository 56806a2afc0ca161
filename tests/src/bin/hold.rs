//! Holds one thread of another process, as a lock that is never given back would, until that process is killed, or
//! this one: the kernel then lets the thread go (ptrace(2)).

use std::io::Error;

fn main() {
    let tid = std::env::args()
        .nth(1)
        .and_then(|word| word.parse::<libc::pid_t>().ok());
    let tid = tid.expect("a thread id");
    let no = std::ptr::null_mut::<libc::c_void>();
    for (request, name) in [
        (libc::PTRACE_SEIZE, "seize"),
        (libc::PTRACE_INTERRUPT, "interrupt"),
    ] {
        // SAFETY: neither request reads or writes memory of ours.
        let done = unsafe { libc::ptrace(request, tid, no, no) };
        assert_eq!(done, 0, "{name} {tid}: {}", Error::last_os_error());
    }
    let wait = || {
        let mut status = 0;
        // SAFETY: status outlives the call.
        (
            unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL) },
            status,
        )
    };
    let (stopped, _) = wait();
    assert_eq!(stopped, tid, "wait for {tid}: {}", Error::last_os_error());
    println!("held");
    // Its process does not end before this thread's end was taken note of here.
    while let (found, status) = wait()
        && found == tid
        && libc::WIFSTOPPED(status)
    {}
}
