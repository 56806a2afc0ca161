//! `hostile`: calls whose memory is not there, ends too early, is too much, or changes meanwhile.
//!
//! Each call is told by its first argument, a descriptor that does not exist: see `tests/hostile.rs`.

use std::{
    process::ExitCode,
    ptr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
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
    // What a call is given, and what it writes, in one place.
    let mut set = 1_u64 << (libc::SIGWINCH - 1);
    let set: *mut u64 = &mut set;
    call!(SYS_rt_sigprocmask, libc::SIG_BLOCK, set, set, 8_usize);
    let mut path = *b"/proc/self/exe\0";
    let path = path.as_mut_ptr();
    call!(SYS_readlink, path, path, 15_usize);
    vectors(page, &many);
    messages(page);
    call!(SYS_poll, end, 1000_usize, 0);
    // 4 MiB in all, and more strings than anyone looks at.
    let words = vec![c"x".as_ptr(); 3000];
    let long = vec![b'y'; 100_000];
    let long = std::ffi::CString::new(long).unwrap_or_default();
    let mut argv = vec![long.as_ptr(); 42];
    argv.extend(words);
    argv.push(ptr::null());
    call!(
        SYS_execve,
        c"/nothing/here".as_ptr(),
        argv.as_ptr(),
        [ptr::null::<u8>()].as_ptr()
    );
    call!(SYS_execve, c"/nothing/there".as_ptr(), end, ptr::null::<u8>());
    large(&argv);

    changing(page);
    nested();
    ExitCode::SUCCESS
}

/// An execve that the kernel takes, with 4 MiB of arguments: they count against the stack's limit.
fn large(argv: &[*const libc::c_char]) {
    // SAFETY: the child makes calls on memory that it has, and ends.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let limit = libc::rlimit {
                rlim_cur: 64 << 20,
                rlim_max: libc::RLIM_INFINITY,
            };
            libc::setrlimit(libc::RLIMIT_STACK, &raw const limit);
            libc::execv(c"/bin/true".as_ptr(), argv.as_ptr());
            libc::_exit(1);
        }
        libc::waitpid(child, ptr::null_mut(), 0);
    }
}

/// Arrays that end where the memory does.
fn vectors(page: *mut u8, many: &[libc::iovec]) {
    call!(SYS_writev, 1011, many.as_ptr(), 1_000_000_usize);
    // SAFETY: the last bytes of the page; nothing else uses them.
    unsafe {
        let last = page.add(PAGE - 16).cast::<libc::iovec>();
        page.add(100).copy_from(b"whole".as_ptr(), 5);
        last.write(libc::iovec {
            iov_base: page.add(100).cast(),
            iov_len: 5,
        });
    }
    call!(SYS_writev, 1010, page.wrapping_add(PAGE - 16), 2_usize);
}

/// A message that points nowhere, and one with more than is shown.
fn messages(page: *mut u8) {
    let text = b"message";
    let one = libc::iovec {
        iov_base: text.as_ptr().cast_mut().cast(),
        iov_len: text.len(),
    };
    let mut vector = vec![one; 1024];
    // SAFETY: plain integers and pointers.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (vector.as_mut_ptr(), 1024);
    call!(SYS_sendmsg, 1012, &raw const message, 0);
    message.msg_iovlen = 1;
    (message.msg_name, message.msg_namelen) = (0x10 as *mut _, 16);
    (message.msg_control, message.msg_controllen) = (0x10 as *mut _, 32);
    call!(SYS_sendmsg, 1013, &raw const message, 0);
    (message.msg_name, message.msg_namelen) = (ptr::null_mut(), 0);
    // Control data that says that it is longer than it is, and longer than is copied.
    let mut control = [0_u64; 1000];
    control[0] = u64::MAX;
    (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), 8000);
    call!(SYS_sendmsg, 1014, &raw const message, 0);
    call!(SYS_sendmsg, 1015, page.wrapping_add(PAGE - 20), 0);
}

/// Another thread writes what is read meanwhile: a string, and where a vector's buffer ends.
fn changing(page: *mut u8) {
    let stop = AtomicBool::new(false);
    let shared = page as usize;
    let vector = [page.wrapping_add(1000) as usize, 1_usize];
    let length = AtomicUsize::new(0);
    let text = [b'v'; 64];
    // SAFETY: the page is there to the end.
    unsafe { page.add(1000).copy_from(text.as_ptr(), 64) };
    let array = [(vector[0]), 0];
    // SAFETY: as above; the array lies where both threads reach it.
    unsafe { page.add(2000).cast::<[usize; 2]>().write_unaligned(array) };
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut byte = b'a';
            while !stop.load(Ordering::Relaxed) {
                byte = if byte == b'a' { b'b' } else { b'a' };
                let count = length.fetch_add(1, Ordering::Relaxed) % 33;
                // SAFETY: the page is there to the end; that the other thread reads torn bytes is the point.
                unsafe {
                    ptr::write_bytes(shared as *mut u8, byte, 64);
                    ptr::write_volatile((shared + 2008) as *mut usize, count);
                }
            }
        });
        for round in 0..2000 {
            if round % 50 == 0 {
                // Without a call of its own: on a busy machine the other thread has not even begun.
                let before = length.load(Ordering::Relaxed);
                while length.load(Ordering::Relaxed) == before {
                    std::hint::spin_loop();
                }
            }
            call!(SYS_openat, 1009, shared, 0);
            call!(SYS_writev, 1016, shared + 2000, 1_usize);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// How often the handler began.
static BEGUN: AtomicUsize = AtomicUsize::new(0);
/// How often it is over.
static OVER: AtomicUsize = AtomicUsize::new(0);
const DEEPEST: usize = 50;

/// Makes a call whose memory is kept from its begin, and comes again from within.
extern "C" fn handler(_: libc::c_int) {
    let depth = BEGUN.fetch_add(1, Ordering::Relaxed) + 1;
    if depth <= DEEPEST {
        let mut time = [0_usize, depth];
        call!(SYS_select, 0, 0, 0, 0, time.as_mut_ptr());
        let (process, thread) = (call!(SYS_getpid), call!(SYS_gettid));
        call!(SYS_tgkill, process, thread, libc::SIGUSR1);
    }
    OVER.fetch_add(1, Ordering::Relaxed);
}

/// A call that a signal interrupts, whose handler makes the same calls, and is interrupted by itself.
fn nested() {
    // SAFETY: the handler makes system calls alone.
    let waiting_thread = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_NODEFER;
        libc::sigaction(libc::SIGUSR1, &raw const action, ptr::null_mut());
        libc::pthread_self()
    };
    let waiting = AtomicBool::new(true);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Until it came while the other thread waited.
            while waiting.load(Ordering::Relaxed) {
                let over = OVER.load(Ordering::Relaxed);
                // SAFETY: that thread waits for this one to end.
                unsafe { libc::pthread_kill(waiting_thread, libc::SIGUSR1) };
                // A signal that comes while the frame of the one before is made lies on top of it: a thread that sends
                // without a pause fills the stack.
                while OVER.load(Ordering::Relaxed) == over {
                    thread::yield_now();
                }
            }
        });
        let time = [600_usize, 777];
        let waited = call!(
            SYS_ppoll,
            ptr::null::<u8>(),
            0,
            time.as_ptr(),
            ptr::null::<u8>(),
            8
        );
        waiting.store(false, Ordering::Relaxed);
        assert_eq!(waited, -1);
    });
}
