//! `fail VERB WORD…`: makes one system call that may fail, says how it went, and ends with its errno as exit code (0: it
//! did not fail). What stands before that call (a file to fill, a port to hold) is another verb in front of it:
//! `fail hold 8080 bind 0.0.0.0 8080`.
//!
//! Each verb is a raw call: what is traced is what stands here.

use std::{
    env,
    ffi::{CString, c_void},
    net::Ipv4Addr,
    process::ExitCode,
    ptr,
};

/// A verb's answer.
type Answer = Result<i64, i32>;

/// Wrong words.
const USAGE: i32 = 254;
/// What a step before the call in question ends with when it fails.
const BEFORE: i32 = 253;

macro_rules! call {
    ($name:ident $(, $arg:expr)* $(,)?) => {{
        // SAFETY: a raw call on memory that lives during it; the kernel checks what it points to.
        answer(unsafe { libc::syscall(libc::$name $(, $arg)*) })
    }};
}

fn answer(ret: i64) -> Answer {
    if ret == -1 { Err(errno()) } else { Ok(ret) }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(USAGE)
}

fn main() -> ExitCode {
    // SAFETY: no other thread runs; without it, a write beyond RLIMIT_FSIZE would end the process.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(_) => {
            println!("ok");
            ExitCode::SUCCESS
        }
        Err(errno) => {
            println!("{}", std::io::Error::from_raw_os_error(errno));
            ExitCode::from(u8::try_from(errno).unwrap_or(u8::MAX))
        }
    }
}

fn run(words: &[&str]) -> Answer {
    let (verb, rest) = words.split_first().ok_or(USAGE)?;
    match *verb {
        "hold" | "server" | "limit" | "own" | "file" | "landlock" => before(verb, rest),
        "scheduler" | "nice" | "fork" | "lock" | "map" | "touch" | "unshare" | "session" | "raise" => {
            task(verb, rest)
        }
        "setuid" | "setgroups" | "timezone" | "vmsplice" | "hostname" | "kcmp" | "kill" => rights(verb, rest),
        "open" | "opens" | "fill" | "swell" | "rename" | "chown" | "chmod" | "unlink" | "mkdir" | "link"
        | "mknod" | "chroot" | "mount" | "exec" | "args" | "watch" | "instances" => files(verb, rest),
        "connect" | "connecting" | "datagram" | "bind" | "device" | "socket" | "send" | "ask" => {
            network(verb, rest)
        }
        "used" | "handed" | "read" => descriptors(verb, rest),
        "empty-pipe" | "terminal" | "poll-file" | "seek-pipe" | "close" | "children" | "bad-address"
        | "pause" | "policy" | "cpu" => everyday(verb, rest),
        _ => Err(USAGE),
    }
}

fn text<'a>(words: &[&'a str], at: usize) -> Result<&'a str, i32> {
    words.get(at).copied().ok_or(USAGE)
}

fn number(words: &[&str], at: usize) -> Result<i64, i32> {
    text(words, at)?.parse().map_err(|_| USAGE)
}

fn path(words: &[&str], at: usize) -> Result<CString, i32> {
    CString::new(text(words, at)?).map_err(|_| USAGE)
}

/// What has to be so before the call in question, which the further words make.
fn before(verb: &str, words: &[&str]) -> Answer {
    let done = match verb {
        // A process of its own has the port.
        "hold" => {
            let rest = words.get(1..).unwrap_or_default();
            return beside(rest, |ready| holds(number(words, 0)?, ready));
        }
        // A name server of its own, which gives no answer, or any.
        "server" => {
            let rest = words.get(1..).unwrap_or_default();
            return beside(rest, |ready| serves(text(words, 0)? == "answers", ready));
        }
        // Writes a number into a file, such as a limit in /proc/sys.
        "limit" => std::fs::write(text(words, 1)?, text(words, 0)?),
        // May read files beneath that directory alone, from here on.
        "landlock" => {
            landlock(&path(words, 0)?).map_err(|_| BEFORE)?;
            return run(words.get(1..).unwrap_or_default());
        }
        // Copies a file.
        "file" => std::fs::copy(text(words, 0)?, text(words, 1)?).map(drop),
        // A user namespace of its own, where it may do what root may.
        "own" => {
            call!(SYS_unshare, libc::CLONE_NEWUSER).map_err(|_| BEFORE)?;
            for (file, text) in [("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1")] {
                std::fs::write(format!("/proc/self/{file}"), text).map_err(|_| BEFORE)?;
            }
            return run(words);
        }
        _ => return Err(USAGE),
    };
    done.map_err(|_| BEFORE)?;
    run(words.get(2..).unwrap_or_default())
}

/// The structures of include/uapi/linux/landlock.h.
fn landlock(beneath: &CString) -> Answer {
    const READ_FILE: u64 = 1 << 2;
    const PATH_BENEATH: i32 = 1;
    call!(SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)?;
    let handled = READ_FILE;
    let ruleset = call!(
        SYS_landlock_create_ruleset,
        &raw const handled,
        size_of_val(&handled),
        0
    )?;
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    let parent = call!(SYS_openat, libc::AT_FDCWD, beneath.as_ptr(), flags)?;
    let mut rule = [0u8; 12];
    rule[..8].copy_from_slice(&READ_FILE.to_ne_bytes());
    rule[8..].copy_from_slice(&i32::try_from(parent).map_err(|_| USAGE)?.to_ne_bytes());
    call!(SYS_landlock_add_rule, ruleset, PATH_BENEATH, rule.as_ptr(), 0)?;
    call!(SYS_landlock_restrict_self, ruleset, 0)
}

/// What a descriptor stands for, or does no more.
fn descriptors(verb: &str, words: &[&str]) -> Answer {
    let mut byte = [0u8];
    let open = |flags: i32| call!(SYS_openat, libc::AT_FDCWD, c"/dev/null".as_ptr(), flags);
    let file = match (verb, text(words, 0)?) {
        ("read", fd) => fd.parse().map_err(|_| USAGE)?,
        ("used", "open") => open(libc::O_RDONLY)?,
        ("used", "closed") => {
            let file = open(libc::O_RDONLY)?;
            call!(SYS_close, file)?;
            file
        }
        ("used", "write-only") => open(libc::O_WRONLY)?,
        // Left to a program that reads from it, with a number that its loader does not use.
        ("handed", how) => {
            let copy = match how {
                "cloexec" => libc::F_DUPFD_CLOEXEC,
                _ => libc::F_DUPFD,
            };
            let file = call!(SYS_fcntl, open(libc::O_RDONLY)?, copy, 40)?.to_string();
            return files("exec", &["/bin/fail", "read", &file]);
        }
        _ => return Err(USAGE),
    };
    call!(SYS_read, file, byte.as_mut_ptr(), 1)
}

/// Makes the call in question while a process of its own does something else, from when that says so.
fn beside(rest: &[&str], other: impl FnOnce(i32) -> Answer) -> Answer {
    let mut ends = [0i32; 2];
    call!(SYS_pipe2, ends.as_mut_ptr(), 0)?;
    // SAFETY: one thread; the child only makes calls until it ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        return other(ends[1]);
    }
    let mut ready = [0u8];
    call!(SYS_read, ends[0], ready.as_mut_ptr(), 1).map_err(|_| BEFORE)?;
    let answer = run(rest);
    // SAFETY: our own child.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, ptr::null_mut(), 0);
    }
    answer
}

fn holds(port: i64, ready: i32) -> Answer {
    call!(SYS_prctl, libc::PR_SET_NAME, c"holder".as_ptr())?;
    let socket = call!(SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0)?;
    bind(socket, Ipv4Addr::UNSPECIFIED, port)?;
    call!(SYS_listen, socket, 8)?;
    call!(SYS_write, ready, b"x".as_ptr(), 1)?;
    // Until the other one ends it.
    call!(SYS_pause)?;
    Err(USAGE)
}

fn serves(answers: bool, ready: i32) -> Answer {
    let socket = call!(SYS_socket, libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    bind(socket, Ipv4Addr::LOCALHOST, NAME_SERVER)?;
    call!(SYS_write, ready, b"x".as_ptr(), 1)?;
    let mut question = [0u8; 64];
    let mut from = sockaddr(Ipv4Addr::LOCALHOST, 0)?;
    let mut size = size_of::<libc::sockaddr_in>() as u32;
    let (text, whom) = (question.as_mut_ptr(), &raw mut from);
    call!(SYS_recvfrom, socket, text, question.len(), 0, whom, &raw mut size)?;
    if answers {
        call!(SYS_sendto, socket, text, 1, 0, whom, size)?;
    }
    call!(SYS_pause)?;
    Err(USAGE)
}

/// Scheduling, processes and memory.
fn task(verb: &str, words: &[&str]) -> Answer {
    match verb {
        "scheduler" => {
            let policy = match text(words, 0)? {
                "fifo" => libc::SCHED_FIFO,
                "rr" => libc::SCHED_RR,
                "other" => libc::SCHED_OTHER,
                _ => return Err(USAGE),
            };
            let priority = i32::try_from(number(words, 1)?).map_err(|_| USAGE)?;
            call!(SYS_sched_setscheduler, 0, policy, &raw const priority)
        }
        "nice" => call!(SYS_setpriority, libc::PRIO_PROCESS, 0, number(words, 0)?),
        "fork" => fork(number(words, 0)?),
        "lock" => {
            let bytes = number(words, 0)?;
            call!(SYS_mlock, map(bytes)?, bytes)
        }
        "map" => map(number(words, 0)?),
        "touch" => touch(number(words, 0)?),
        // Both limits, of what the kernel keeps of a crash.
        "raise" => {
            let limit = [number(words, 0)?; 2];
            call!(SYS_prlimit64, 0, libc::RLIMIT_CORE, limit.as_ptr(), 0usize)
        }
        "unshare" => call!(
            SYS_unshare,
            match text(words, 0)? {
                "user" => libc::CLONE_NEWUSER,
                "mount" => libc::CLONE_NEWNS,
                "network" => libc::CLONE_NEWNET,
                _ => return Err(USAGE),
            }
        ),
        // A container's first process leads its group, and may found no session (setsid(2)).
        "session" => call!(SYS_setsid),
        _ => Err(USAGE),
    }
}

fn map(bytes: i64) -> Answer {
    let (rights, kind) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    call!(SYS_mmap, 0usize, bytes, rights, kind, -1, 0)
}

/// Takes memory, and does not only ask for it.
fn touch(bytes: i64) -> Answer {
    const PAGE: usize = 4096;
    let size = usize::try_from(bytes).map_err(|_| USAGE)?;
    let start = map(bytes)? as *mut u8;
    for at in (0..size).step_by(PAGE) {
        // SAFETY: within the mapping of this function's own.
        unsafe { start.add(at).write_volatile(1) };
    }
    Ok(0)
}

/// So many children at once.
fn fork(children: i64) -> Answer {
    let mut born = Vec::new();
    let mut answer = Ok(0);
    for _ in 0..children {
        // SAFETY: one thread; the child only makes calls until it ends.
        match unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } {
            0 => loop {
                // SAFETY: no memory.
                unsafe { libc::syscall(libc::SYS_pause) };
            },
            -1 => {
                answer = Err(errno());
                break;
            }
            child => born.push(child),
        }
    }
    for child in born {
        // SAFETY: our own child.
        unsafe {
            libc::kill(child as i32, libc::SIGKILL);
            libc::waitpid(child as i32, ptr::null_mut(), 0);
        }
    }
    answer
}

/// What root may do.
fn rights(verb: &str, words: &[&str]) -> Answer {
    match verb {
        "setuid" => call!(SYS_setuid, number(words, 0)?),
        "setgroups" => {
            let group = u32::try_from(number(words, 0)?).map_err(|_| USAGE)?;
            call!(SYS_setgroups, 1, &raw const group)
        }
        // The time zone that the kernel has already: nobody's clock changes.
        "timezone" => call!(SYS_settimeofday, 0usize, [0i32; 2].as_ptr()),
        "vmsplice" => {
            let mut ends = [0i32; 2];
            call!(SYS_pipe2, ends.as_mut_ptr(), 0)?;
            let memory = b"x";
            let part = libc::iovec {
                iov_base: memory.as_ptr() as *mut c_void,
                iov_len: 1,
            };
            call!(SYS_vmsplice, ends[1], &raw const part, 1, 0)
        }
        "hostname" => {
            let name = text(words, 0)?;
            call!(SYS_sethostname, name.as_ptr(), name.len())
        }
        "kcmp" => {
            let me = std::process::id();
            call!(SYS_kcmp, me, me, 0, 1, 1)
        }
        "kill" => call!(SYS_kill, number(words, 0)?, libc::SIGCONT),
        _ => Err(USAGE),
    }
}

/// Files, mounts and programs.
fn files(verb: &str, words: &[&str]) -> Answer {
    let here = libc::AT_FDCWD;
    match verb {
        "open" => open(words),
        "opens" => {
            let file = path(words, 1)?;
            for _ in 0..number(words, 0)? {
                call!(SYS_openat, here, file.as_ptr(), libc::O_RDONLY)?;
            }
            Ok(0)
        }
        "fill" => {
            let file = open(&["create", text(words, 1)?]).map_err(|_| BEFORE)?;
            let block = [b'x'; 1024];
            for _ in 0..number(words, 0)? {
                call!(SYS_write, file, block.as_ptr(), block.len())?;
            }
            Ok(0)
        }
        // In a memory cgroup that is full and has no OOM killer, whoever touches a page waits for ever: this one ends at once.
        "swell" => match files("fill", words) {
            Ok(_) => Ok(0),
            Err(errno) => call!(SYS_exit_group, errno),
        },
        "rename" => call!(
            SYS_renameat2,
            here,
            path(words, 0)?.as_ptr(),
            here,
            path(words, 1)?.as_ptr(),
            0
        ),
        "chown" => call!(
            SYS_fchownat,
            here,
            path(words, 1)?.as_ptr(),
            number(words, 0)?,
            -1,
            0
        ),
        "chmod" => call!(SYS_fchmodat, here, path(words, 0)?.as_ptr(), 0o600),
        "unlink" => call!(SYS_unlinkat, here, path(words, 0)?.as_ptr(), 0),
        "mkdir" => call!(SYS_mkdirat, here, path(words, 0)?.as_ptr(), 0o755),
        "link" => call!(
            SYS_linkat,
            here,
            path(words, 0)?.as_ptr(),
            here,
            path(words, 1)?.as_ptr(),
            0
        ),
        // A character device like /dev/null.
        "mknod" => call!(
            SYS_mknodat,
            here,
            path(words, 0)?.as_ptr(),
            libc::S_IFCHR | 0o666,
            libc::makedev(1, 3)
        ),
        "chroot" => call!(SYS_chroot, path(words, 0)?.as_ptr()),
        "mount" => {
            let kind = path(words, 0)?;
            let (kind, flags) = (kind.as_ptr(), 0usize);
            call!(SYS_mount, kind, path(words, 1)?.as_ptr(), kind, flags, 0usize)
        }
        "exec" => {
            let file = path(words, 0)?;
            let args = words.iter().map(|word| CString::new(*word));
            let args: Vec<CString> = args.collect::<Result<_, _>>().map_err(|_| USAGE)?;
            let mut pointers: Vec<_> = args.iter().map(|arg| arg.as_ptr()).collect();
            pointers.push(ptr::null());
            call!(
                SYS_execve,
                file.as_ptr(),
                pointers.as_ptr(),
                [ptr::null::<u8>()].as_ptr()
            )
        }
        // Starts itself with so many arguments more, each so long.
        "args" => {
            let size = usize::try_from(number(words, 1)?).map_err(|_| USAGE)?;
            let long = "x".repeat(size);
            let more = (0..number(words, 0)?).map(|_| long.as_str());
            let all: Vec<&str> = ["/bin/fail", "map", "4096"].into_iter().chain(more).collect();
            files("exec", &all)
        }
        // So many watches, on as many files.
        "watch" => {
            let instance = call!(SYS_inotify_init1, 0)?;
            for file in words {
                let file = CString::new(*file).map_err(|_| USAGE)?;
                call!(SYS_inotify_add_watch, instance, file.as_ptr(), libc::IN_MODIFY)?;
            }
            Ok(0)
        }
        "instances" => {
            for _ in 0..number(words, 0)? {
                call!(SYS_inotify_init1, 0)?;
            }
            Ok(0)
        }
        _ => Err(USAGE),
    }
}

fn open(words: &[&str]) -> Answer {
    let flags = match text(words, 0)? {
        "read" => libc::O_RDONLY,
        "write" => libc::O_WRONLY,
        "create" => libc::O_WRONLY | libc::O_CREAT,
        _ => return Err(USAGE),
    };
    call!(SYS_openat, libc::AT_FDCWD, path(words, 1)?.as_ptr(), flags, 0o644)
}

/// Sockets.
fn network(verb: &str, words: &[&str]) -> Answer {
    match verb {
        "connect" => connect(libc::SOCK_STREAM, words),
        "connecting" => connect(libc::SOCK_STREAM | libc::SOCK_NONBLOCK, words),
        "datagram" => connect(libc::SOCK_DGRAM, words),
        "bind" => {
            let socket = call!(SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0)?;
            bind(socket, address(words)?, number(words, 1)?)
        }
        "device" => {
            let socket = call!(SYS_socket, libc::AF_INET, libc::SOCK_DGRAM, 0)?;
            let name = text(words, 0)?;
            let (level, option) = (libc::SOL_SOCKET, libc::SO_BINDTODEVICE);
            call!(SYS_setsockopt, socket, level, option, name.as_ptr(), name.len())
        }
        "send" => {
            let message = vec![0u8; usize::try_from(number(words, 0)?).map_err(|_| USAGE)?];
            let to = sockaddr(address(&words[1..])?, number(words, 2)?)?;
            let socket = call!(SYS_socket, libc::AF_INET, libc::SOCK_DGRAM, 0)?;
            let (text, length) = (message.as_ptr(), message.len());
            let (to, size) = (&raw const to, size_of::<libc::sockaddr_in>());
            call!(SYS_sendto, socket, text, length, 0, to, size)
        }
        "ask" => ask(words),
        "socket" => match text(words, 0)? {
            "raw" => call!(SYS_socket, libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
            "stream" => call!(SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0),
            // Linux 6.1 took DECnet out, and this kernel's socket(2) has no family of that number.
            "decnet" => call!(SYS_socket, libc::AF_DECnet, libc::SOCK_STREAM, 0),
            _ => Err(USAGE),
        },
        _ => Err(USAGE),
    }
}

fn address(words: &[&str]) -> Result<Ipv4Addr, i32> {
    text(words, 0)?.parse().map_err(|_| USAGE)
}

fn sockaddr(address: Ipv4Addr, port: i64) -> Result<libc::sockaddr_in, i32> {
    Ok(libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: u16::try_from(port).map_err(|_| USAGE)?.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(address).to_be(),
        },
        sin_zero: [0; 8],
    })
}

fn bind(socket: i64, to: Ipv4Addr, port: i64) -> Answer {
    let to = sockaddr(to, port)?;
    call!(SYS_bind, socket, &raw const to, size_of::<libc::sockaddr_in>())
}

fn connect(kind: i32, words: &[&str]) -> Answer {
    let to = sockaddr(address(words)?, number(words, 1)?)?;
    let socket = call!(SYS_socket, libc::AF_INET, kind, 0)?;
    call!(SYS_connect, socket, &raw const to, size_of::<libc::sockaddr_in>())
}

/// The port of name servers.
const NAME_SERVER: i64 = 53;

/// Asks a name server and waits so many milliseconds for its answer, as the C library does. No call fails.
fn ask(words: &[&str]) -> Answer {
    let to = sockaddr(address(words)?, NAME_SERVER)?;
    let socket = call!(SYS_socket, libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    call!(SYS_connect, socket, &raw const to, size_of::<libc::sockaddr_in>())?;
    call!(SYS_sendto, socket, b"?".as_ptr(), 1, 0, 0usize, 0)?;
    let mut waits = libc::pollfd {
        fd: i32::try_from(socket).map_err(|_| USAGE)?,
        events: libc::POLLIN,
        revents: 0,
    };
    let found = call!(SYS_poll, &raw mut waits, 1, number(words, 1)?)?;
    call!(SYS_close, socket)?;
    match (found, waits.revents & libc::POLLIN) {
        (0, _) => Err(libc::ETIMEDOUT),
        (_, 0) => Err(libc::ECONNREFUSED),
        _ => Ok(0),
    }
}

/// Answers that programs live with every day: nothing is wrong.
fn everyday(verb: &str, words: &[&str]) -> Answer {
    let mut ends = [0i32; 2];
    let mut byte = [0u8];
    match verb {
        "empty-pipe" => {
            call!(SYS_pipe2, ends.as_mut_ptr(), libc::O_NONBLOCK)?;
            call!(SYS_read, ends[0], byte.as_mut_ptr(), 1)
        }
        // A file is always ready: epoll(7) takes none.
        "poll-file" => {
            let file = call!(
                SYS_openat,
                libc::AT_FDCWD,
                c"/etc/passwd".as_ptr(),
                libc::O_RDONLY
            )?;
            let mut event = [0u8; 12];
            event[0] = libc::EPOLLIN as u8;
            let set = call!(SYS_epoll_create1, 0)?;
            call!(SYS_epoll_ctl, set, libc::EPOLL_CTL_ADD, file, event.as_ptr())
        }
        "terminal" => {
            call!(SYS_pipe2, ends.as_mut_ptr(), 0)?;
            call!(SYS_ioctl, ends[0], libc::TCGETS, [0u8; 64].as_mut_ptr())
        }
        "seek-pipe" => {
            call!(SYS_pipe2, ends.as_mut_ptr(), 0)?;
            call!(SYS_lseek, ends[0], 0, libc::SEEK_CUR)
        }
        "close" => call!(SYS_close, number(words, 0)?),
        "children" => call!(SYS_wait4, -1, 0usize, 0, 0usize),
        "bad-address" => {
            call!(SYS_pipe2, ends.as_mut_ptr(), 0)?;
            // Nothing is mapped there.
            call!(SYS_write, ends[1], 0x10usize, 1)
        }
        // A timer's signal ends the sleep.
        "pause" => {
            // SAFETY: the handler does nothing; SA_RESTART is not set, so the sleep ends.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = nothing as *const () as usize;
                libc::sigaction(libc::SIGALRM, &raw const action, ptr::null_mut());
            }
            // Again and again: the first may come before the sleep.
            let second = libc::timeval {
                tv_sec: 1,
                tv_usec: 0,
            };
            let timer = libc::itimerval {
                it_interval: second,
                it_value: second,
            };
            call!(SYS_setitimer, libc::ITIMER_REAL, &raw const timer, 0usize)?;
            call!(SYS_pause)
        }
        "cpu" => {
            let cpu = usize::try_from(number(words, 0)?).map_err(|_| USAGE)?;
            let mut mask = [0u64; 16];
            *mask.get_mut(cpu / 64).ok_or(USAGE)? |= 1 << (cpu % 64);
            call!(SYS_sched_setaffinity, 0, size_of_val(&mask), mask.as_ptr())
        }
        "policy" => call!(SYS_sched_setscheduler, 0, number(words, 0)?, [0i32].as_ptr()),
        _ => Err(USAGE),
    }
}

extern "C" fn nothing(_signal: i32) {}
