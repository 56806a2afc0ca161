//! `calls N [NAME [NUMBER]]`: makes N system calls that do nothing (getppid, or the one named) with that number as their
//! argument, then prints `done N`. With N = `forever` it prints `ready` and never ends; with a path in its place it goes on until
//! a file is there, and prints how many there were.

use std::{env, path::Path, process::ExitCode};

/// Calls between two looks at a path.
const ROUND: u64 = 2003;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let number = match args.get(1).map_or("getppid", String::as_str) {
        "getppid" => libc::SYS_getppid,
        // One that neither a runtime nor libc makes by itself.
        "sched_get_priority_max" => libc::SYS_sched_get_priority_max,
        other => {
            eprintln!("calls: {other} is not one of ours");
            return ExitCode::from(2);
        }
    };
    let Ok(argument) = args.get(2).map_or("0", String::as_str).parse::<u32>() else {
        return ExitCode::from(2);
    };
    let call = || {
        // SAFETY: the calls above read at most one integer and touch no memory.
        unsafe { libc::syscall(number, argument) }
    };
    match args.first().map(String::as_str) {
        Some("forever") => {
            println!("ready");
            loop {
                call();
            }
        }
        Some(path) if path.starts_with('/') => {
            let mut made = 0;
            while !Path::new(path).exists() {
                for _ in 0..ROUND {
                    call();
                }
                made += ROUND;
            }
            println!("done {made}");
            ExitCode::SUCCESS
        }
        Some(n) => {
            let Ok(n) = n.parse::<u64>() else {
                return ExitCode::from(2);
            };
            for _ in 0..n {
                call();
            }
            println!("done {n}");
            ExitCode::SUCCESS
        }
        None => ExitCode::from(2),
    }
}
