//! `storm forks ROUNDS`: forks until it may not, lets all end, and so on; each child makes one call.
//! `storm unshares N`: N children, one after the other, leave their namespaces; each, and a child of it there, makes one call.
//! `storm beats MILLISECONDS`: makes one call each so many, until it is killed.
//! `storm paths SECONDS`: fails to open 32 MB of paths a second that are full of what a terminal obeys.
//!
//! The one call is sched_get_priority_max. Prints what it did as `NAME NUMBER`, a line each.

use std::{
    env,
    io::Error,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

/// What a terminal would do something at: its title, a clear screen, C1 controls, a direction, a line's end.
const SEQUENCES: &[u8] = b"\x1b]0;owned\x07\x1b[2J\x9b31m\xe2\x80\xae\r\n\x08\x7f";
/// Bytes of a path, with its end.
const PATH: usize = 1024;
/// Paths a second: 32 MiB.
const RATE: u32 = 32 * 1024;
/// Between two looks at the clock.
const BURST: u32 = 512;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let number = words.get(1).and_then(|word| word.parse::<u32>().ok());
    let done = match (words.first().map(String::as_str), number) {
        (Some("forks"), Some(rounds)) => forks(rounds),
        (Some("unshares"), Some(count)) => unshares(count),
        (Some("beats"), Some(pause)) => loop {
            call();
            thread::sleep(Duration::from_millis(pause.into()));
        },
        (Some("paths"), Some(seconds)) => paths(seconds),
        _ => return ExitCode::from(2),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("storm: {why}");
            ExitCode::FAILURE
        }
    }
}

fn call() {
    // SAFETY: a number and no memory.
    unsafe { libc::syscall(libc::SYS_sched_get_priority_max, 0) };
}

/// Ends this child at once.
fn end(status: i32) -> ! {
    // SAFETY: it does not return.
    unsafe { libc::_exit(status) }
}

/// A child that does this and ends; the parent gets its process id.
fn child(does: impl FnOnce() -> i32) -> Result<libc::pid_t, Error> {
    // SAFETY: the process has one thread, so its copy may do what this one may.
    match unsafe { libc::fork() } {
        0 => end(does()),
        -1 => Err(Error::last_os_error()),
        pid => Ok(pid),
    }
}

fn ended(pid: libc::pid_t) -> Result<(), Error> {
    let mut status = 0;
    // SAFETY: `status` lives during the call.
    if unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {
        return Err(Error::last_os_error());
    }
    if status == 0 {
        Ok(())
    } else {
        Err(Error::other(format!("a child ended with {status}")))
    }
}

fn forks(rounds: u32) -> Result<(), Error> {
    let (mut forked, mut refused) = (0, 0);
    for _ in 0..rounds {
        let mut pipe = [0; 2];
        // SAFETY: room for two descriptors.
        if unsafe { libc::pipe(pipe.as_mut_ptr()) } != 0 {
            return Err(Error::last_os_error());
        }
        let mut children = Vec::new();
        loop {
            let waits = || {
                call();
                let mut byte = 0_u8;
                // SAFETY: closes what this process has, and reads one byte into one.
                unsafe {
                    libc::close(pipe[1]);
                    libc::read(pipe[0], (&raw mut byte).cast(), 1);
                }
                0
            };
            match child(waits) {
                Ok(pid) => children.push(pid),
                Err(why) if why.raw_os_error() == Some(libc::EAGAIN) => break,
                Err(why) => return Err(why),
            }
        }
        refused += 1;
        forked += children.len();
        // SAFETY: both are ours; the children's reads end with the last writer.
        unsafe {
            libc::close(pipe[1]);
            libc::close(pipe[0]);
        }
        children.into_iter().try_for_each(ended)?;
    }
    println!("forked {forked}\nrefused {refused}");
    Ok(())
}

fn unshares(count: u32) -> Result<(), Error> {
    for _ in 0..count {
        let leaves = || {
            let all = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
            // SAFETY: a number; the process has one thread.
            if unsafe { libc::unshare(all) } != 0 {
                return 1;
            }
            call();
            let inside = child(|| {
                call();
                0
            });
            i32::from(inside.and_then(ended).is_err())
        };
        ended(child(leaves)?)?;
    }
    println!("unshared {count}");
    Ok(())
}

fn paths(seconds: u32) -> Result<(), Error> {
    let mut path: Vec<u8> = b"/"
        .iter()
        .chain(SEQUENCES.iter().cycle())
        .copied()
        .take(PATH - 1)
        .collect();
    path.push(0);
    let bursts = seconds * RATE / BURST;
    let began = Instant::now();
    for burst in 0..bursts {
        for _ in 0..BURST {
            // SAFETY: a path that ends with a zero.
            let opened = unsafe { libc::open(path.as_ptr().cast(), libc::O_RDONLY) };
            if opened != -1 {
                return Err(Error::other("there is such a file"));
            }
        }
        let due = began + Duration::from_secs(1) * (burst + 1) * BURST / RATE;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    println!(
        "opens {}\nmilliseconds {}",
        bursts * BURST,
        began.elapsed().as_millis()
    );
    Ok(())
}
