//! traceme [--stop] CMD [ARGS…]: asks its parent to trace it, as a program does that expects a debugger, and becomes CMD.
//! With --stop it stops first, for the debugger to set things up.

use std::os::unix::process::CommandExt;

fn main() {
    let mut args = std::env::args().skip(1).peekable();
    let stop = args.next_if(|arg| arg == "--stop").is_some();
    // SAFETY: PTRACE_TRACEME looks at none of its other arguments.
    if unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } != 0 {
        eprintln!("PTRACE_TRACEME: {}", std::io::Error::last_os_error());
        std::process::exit(3);
    }
    if stop {
        // SAFETY: no memory is passed.
        unsafe { libc::raise(libc::SIGSTOP) };
    }
    let Some(program) = args.next() else {
        std::process::exit(2);
    };
    let error = std::process::Command::new(program).args(args).exec();
    eprintln!("{error}");
    std::process::exit(2);
}
