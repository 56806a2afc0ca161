//! `sys GROUP`: makes system calls that everyday programs do not make, with and without success, as one group of the
//! comparison with strace. It checks nothing: what counts is that each run makes the same calls.

use std::{env, process::ExitCode, ptr};

/// One raw call; its result.
macro_rules! call {
    ($name:ident $(, $arg:expr)* $(,)?) => {{
        // SAFETY: raw calls on memory of this function; the ones that fail are meant to.
        unsafe { libc::syscall(libc::$name $(, $arg)*) }
    }};
}

/// What C sees of a string.
macro_rules! c {
    ($text:literal) => {
        concat!($text, "\0").as_ptr()
    };
}

mod devices;
mod files;
mod kernel;
mod processes;
mod talk;

const NULL: *const u8 = ptr::null();
/// Where nothing is mapped.
const BAD: usize = 0x10;

fn open(name: *const u8, flags: i32) -> i64 {
    call!(SYS_openat, libc::AT_FDCWD, name, flags, 0o644)
}

fn main() -> ExitCode {
    let group = env::args().nth(1).unwrap_or_default();
    match group.as_str() {
        "files" => files::files(),
        "xattr" => files::xattr(),
        "descriptors" => files::descriptors(),
        "vectors" => files::vectors(),
        "memory" => files::memory(),
        "signals" => processes::signals(),
        "timers" => processes::timers(),
        "processes" => processes::processes(),
        "scheduling" => processes::scheduling(),
        "ids" => processes::ids(),
        "sockets" => talk::sockets(),
        "messages" => talk::messages(),
        "options" => talk::options(),
        "ipc" => talk::ipc(),
        "queues" => talk::queues(),
        "events" => talk::events(),
        "mounts" => files::mounts(),
        "modern" => talk::modern(),
        "keys" => processes::keys(),
        "wrong" => talk::wrong(),
        "aio" => kernel::aio(),
        "uring" => kernel::uring(),
        "programs" => kernel::programs(),
        "rules" => kernel::rules(),
        "policies" => kernel::policies(),
        "controls" => kernel::controls(),
        "watches" => kernel::watches(),
        "system" => kernel::system(),
        "traced" => kernel::traced(),
        "secrets" => kernel::secrets(),
        "devices" => devices::devices(),
        "locks" => devices::locks(),
        _ => return ExitCode::from(2),
    }
    ExitCode::SUCCESS
}
