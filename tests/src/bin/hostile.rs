//! `hostile`: calls whose memory is not there, ends too early, is too much, or changes meanwhile.
//!
//! Each call is told by its first argument, a descriptor that does not exist: see `tests/hostile.rs`.

use std::{
    process::ExitCode,
    ptr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

const PAGE: usize = 4096;

macro_rules! call {
    ($name:ident $(, $arg:expr)* $(,)?) => {{
        // SAFETY: raw calls; the kernel checks what they point to.
        unsafe { libc::syscall(libc::$name $(, $arg)*) }
    }};
}

/// One page with nothing behind it.
fn page() -> *mut u8 {
    // SAFETY: a new mapping; the second half of it goes at once.
    unsafe {
        let (rights, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        let map = libc::mmap(ptr::null_mut(), 2 * PAGE, rights, kind, -1, 0);
        assert_ne!(map, libc::MAP_FAILED);
        assert_eq!(libc::munmap(map.byte_add(PAGE), PAGE), 0);
        map.cast()
    }
}

fn main() -> ExitCode {
    let page = page();
    // SAFETY: the last bytes of the page.
    let end = unsafe { page.add(PAGE - 4) };
    // SAFETY: four bytes that are there.
    unsafe { ptr::copy_nonoverlapping(b"abcd".as_ptr(), end, 4) };
    call!(SYS_openat, 1001, 0x10_usize, 0);
    call!(SYS_openat, 1002, end, 0);
    call!(SYS_write, 1003, end, 100_usize);
    call!(SYS_write, 1004, end, 4_usize);
    // SAFETY: the last byte of the page.
    unsafe { end.add(3).write(0) };
    call!(SYS_openat, 1005, end, 0);
    let one = libc::iovec {
        iov_base: end.cast(),
        iov_len: 3,
    };
    let beyond = libc::iovec {
        iov_base: end.cast(),
        iov_len: 100,
    };
    let nowhere = libc::iovec {
        iov_base: 0x10 as *mut _,
        iov_len: 5,
    };
    let many = vec![one; 1024];
    call!(SYS_writev, 1006, many.as_ptr(), 1024_usize);
    call!(SYS_writev, 1007, [one, beyond, nowhere].as_ptr(), 3_usize);
    call!(SYS_writev, 1008, end, 2_usize);
    call!(SYS_poll, end, 1000_usize, 0);
    let words = vec![c"x".as_ptr(); 3000];
    let long = vec![b'y'; 100_000];
    let long = std::ffi::CString::new(long).unwrap_or_default();
    let mut argv = vec![long.as_ptr(); 15];
    argv.extend(words);
    argv.push(ptr::null());
    call!(
        SYS_execve,
        c"/nothing/here".as_ptr(),
        argv.as_ptr(),
        [ptr::null::<u8>()].as_ptr()
    );
    call!(SYS_execve, c"/nothing/there".as_ptr(), end, ptr::null::<u8>());

    // Another thread writes what is read meanwhile.
    let stop = AtomicBool::new(false);
    let shared = page as usize;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut byte = b'a';
            while !stop.load(Ordering::Relaxed) {
                byte = if byte == b'a' { b'b' } else { b'a' };
                // SAFETY: the page is there to the end; that the other thread reads torn bytes is the point.
                unsafe { ptr::write_bytes(shared as *mut u8, byte, 64) };
            }
        });
        for _ in 0..2000 {
            call!(SYS_openat, 1009, shared, 0);
        }
        stop.store(true, Ordering::Relaxed);
    });
    ExitCode::SUCCESS
}
