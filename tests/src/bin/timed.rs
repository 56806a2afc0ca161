//! `timed WORKLOAD N [COMMAND…]`: does something N times and prints how long each took, so that whoever traces it does
//! not count: `timed N MEAN MEDIAN` in nanoseconds, the median of many short pieces, which other load on the machine
//! leaves alone.
//!
//! `null` is getppid(2), `file` open, read and close, `missing` an open that fails, `threads` getppid(2) in eight threads
//! at a time, `fork` a child that ends at once, `command` the command.

use std::{
    env,
    error::Error,
    process::{Command, Stdio},
    thread,
    time::Instant,
};

const THREADS: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let (Some(workload), Some(times)) = (words.first(), words.get(1)) else {
        return Err("usage: timed WORKLOAD N [COMMAND…]".into());
    };
    let times: usize = times.parse()?;
    let begin = Instant::now();
    let mut pieces = match workload.as_str() {
        "null" => pieces(times, 100, null),
        "file" => pieces(times, 50, file),
        "missing" => pieces(times, 100, missing),
        "threads" => {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| thread::spawn(move || pieces(times / THREADS, 100, null)))
                .collect();
            let done = threads.into_iter().map(thread::JoinHandle::join);
            done.collect::<Result<Vec<_>, _>>()
                .map_err(|_| "a thread panicked")?
                .concat()
        }
        "fork" => pieces(times, 1, fork),
        "command" => {
            let (program, args) = words.get(2..).and_then(<[_]>::split_first).ok_or("no command")?;
            let mut ended = Ok(());
            let pieces = pieces(times, 1, || {
                let status = Command::new(program).args(args).stdin(Stdio::null()).status();
                match status {
                    Ok(status) if status.success() => {}
                    other => ended = Err(format!("{program}: {other:?}")),
                }
            });
            ended?;
            pieces
        }
        other => return Err(format!("{other} is not one of ours").into()),
    };
    let mean = begin.elapsed().as_nanos() as f64 / times as f64;
    pieces.sort_unstable_by(f64::total_cmp);
    let median = pieces.get(pieces.len() / 2).copied().ok_or("nothing was done")?;
    println!("timed {times} {mean} {median}");
    Ok(())
}

/// Nanoseconds of each time, taken over so many at once.
fn pieces(times: usize, piece: usize, mut once: impl FnMut()) -> Vec<f64> {
    let pieces = (0..times / piece).map(|_| {
        let begin = Instant::now();
        for _ in 0..piece {
            once();
        }
        begin.elapsed().as_nanos() as f64 / piece as f64
    });
    pieces.collect()
}

fn null() {
    // SAFETY: no arguments, no effect.
    unsafe { libc::syscall(libc::SYS_getppid) };
}

fn file() {
    let mut bytes = [0_u8; 64];
    // SAFETY: the path ends with 0, the buffer is as long as it says, the descriptor is the one just opened.
    unsafe {
        let fd = libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len());
        libc::close(fd);
    }
}

fn missing() {
    // SAFETY: the path ends with 0.
    unsafe {
        libc::open(
            c"/usr/lib/x86_64-linux-gnu/libmissing.so.6".as_ptr(),
            libc::O_RDONLY | libc::O_CLOEXEC,
        )
    };
}

fn fork() {
    // SAFETY: one thread; the child does nothing but end, and is the one waited for.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(0);
        }
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
}
