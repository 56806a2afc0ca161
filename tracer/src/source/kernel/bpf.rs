//! bpf(2) itself, for the commands that aya does not have. It must not know what they are for.

use std::io;

use aya_obj::generated::{bpf_attr, bpf_cmd};

/// A command's arguments, none of them given.
pub(super) fn nothing() -> bpf_attr {
    // SAFETY: all of its members are integers; zero is "not given".
    unsafe { std::mem::zeroed() }
}

/// What the kernel returns.
///
/// # Safety
/// What the arguments point to must be what the command asks for.
///
/// # Errors
/// The kernel's.
pub(super) unsafe fn call(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i64> {
    // SAFETY: the kernel reads and writes at most so many bytes of an attr that outlives the call; the rest is the caller's
    // word.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(done)
}
