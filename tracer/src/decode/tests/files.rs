//! Calls on files, descriptors, mounts and memory.

use libc::*;

use super::fake::{A::*, Fake, fields, golden};

const CWD: super::fake::A = N(AT_FDCWD as i64);

fn n(value: impl Into<i64>) -> super::fake::A {
    N(value.into())
}

/// `struct stat` of x86-64.
fn stat(mode: u32, rdev: u64, size: i64) -> super::fake::A {
    fields(&[
        &1_u64, &2_u64, &1_u64, &mode, &0_u32, &0_u32, &0_u32, &rdev, &size, &4096_u64,
    ])
}

fn statx(mask: u32, mode: u16, size: u64) -> super::fake::A {
    fields(&[
        &mask, &4096_u32, &0_u64, &1_u32, &0_u32, &0_u32, &mode, &0_u16, &5_u64, &size,
    ])
}

fn timespec(seconds: i64, nanos: i64) -> super::fake::A {
    fields(&[&seconds, &nanos])
}

golden! {
    opening: [
        ("open", [S(b"/nonexist"), n(O_RDONLY)], -ENOENT, r#"open("/nonexist", O_RDONLY) = -1 ENOENT (No such file or directory)"#),
        ("open", [S(b"/tmp/dx"), n(O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW), n(0o644)], 3,
            r#"open("/tmp/dx", O_WRONLY|O_CREAT|O_TRUNC|O_NOFOLLOW, 0644) = 3"#),
        ("open", [S(b"/tmp"), n(-1), n(0o777)], 4, "open(\"/tmp\", O_ACCMODE|O_CREAT|O_EXCL|O_NOCTTY|O_TRUNC|\
            O_APPEND|O_NONBLOCK|O_SYNC|O_DIRECT|O_LARGEFILE|O_NOFOLLOW|O_NOATIME|O_CLOEXEC|O_PATH|O_TMPFILE|FASYNC|0xff80003c, 0777) = 4"),
        ("open", [S(b"/tmp"), n(O_TMPFILE | O_RDWR), n(0o600)], 5, r#"open("/tmp", O_RDWR|O_TMPFILE, 0600) = 5"#),
        ("open", [Bad, n(O_PATH | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK)], -EFAULT,
            "open(0x7000, O_RDONLY|O_NONBLOCK|O_CLOEXEC|O_PATH|O_DIRECTORY) = -1 EFAULT (Bad address)"),
        ("open", [n(0), n(0)], -EFAULT, "open(NULL, O_RDONLY) = -1 EFAULT (Bad address)"),
        ("openat", [CWD, S(b"a\n\t\x1b[31m\xe2\x80\xae\x80 9\x019\"\\"), n(O_RDWR | O_EXCL | O_APPEND)], -ENOENT,
            r#"openat(AT_FDCWD, "a\n\t\33[31m\342\200\256\200 9\19\"\\", O_RDWR|O_EXCL|O_APPEND) = -1 ENOENT (No such file or directory)"#),
        ("openat", [CWD, S(b"/etc/passwd"), n(O_RDONLY | O_CLOEXEC)], 3,
            r#"openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 3"#),
        ("openat2", [CWD, S(b"/etc/passwd"), fields(&[&(O_CLOEXEC as u64), &0_u64, &(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)]), n(24)],
            -EXDEV, r#"openat2(AT_FDCWD, "/etc/passwd", {flags=O_RDONLY|O_CLOEXEC, resolve=RESOLVE_NO_SYMLINKS|RESOLVE_BENEATH}, 24) = -1 EXDEV (Invalid cross-device link)"#),
        ("openat2", [CWD, S(b"/tmp/dx"), fields(&[&((O_CREAT | O_RDWR) as u64), &0o644_u64, &0_u64]), n(24)], 6,
            r#"openat2(AT_FDCWD, "/tmp/dx", {flags=O_RDWR|O_CREAT, mode=0644, resolve=0}, 24) = 6"#),
        ("creat", [S(b"/tmp/dx"), n(0o600)], 7, r#"creat("/tmp/dx", 0600) = 7"#),
        ("memfd_create", [S(b"foo"), n(MFD_CLOEXEC | MFD_ALLOW_SEALING)], 28, r#"memfd_create("foo", MFD_CLOEXEC|MFD_ALLOW_SEALING) = 28"#),
    ]

    access: [
        ("access", [S(b"/etc"), n(R_OK | W_OK)], 0, r#"access("/etc", R_OK|W_OK) = 0"#),
        ("access", [S(b"/etc"), n(F_OK)], 0, r#"access("/etc", F_OK) = 0"#),
        ("access", [S(b"/etc"), n(0x17)], -EINVAL, r#"access("/etc", R_OK|W_OK|X_OK|0x10) = -1 EINVAL (Invalid argument)"#),
        ("faccessat", [n(5), S(b"x"), n(X_OK)], -ENOTDIR, r#"faccessat(5, "x", X_OK) = -1 ENOTDIR (Not a directory)"#),
        ("faccessat2", [CWD, S(b"/etc"), n(R_OK), n(AT_EACCESS | AT_SYMLINK_NOFOLLOW)], 0,
            r#"faccessat2(AT_FDCWD, "/etc", R_OK, AT_SYMLINK_NOFOLLOW|AT_EACCESS) = 0"#),
    ]

    stats: [
        ("stat", [S(b"/etc/passwd"), stat(S_IFREG | 0o644, 0, 1221)], 0, r#"stat("/etc/passwd", {st_mode=S_IFREG|0644, st_size=1221, ...}) = 0"#),
        ("lstat", [S(b"/dev/null"), stat(S_IFCHR | 0o666, 0x103, 0)], 0,
            r#"lstat("/dev/null", {st_mode=S_IFCHR|0666, st_rdev=makedev(0x1, 0x3), ...}) = 0"#),
        ("stat", [S(b"/tmp"), stat(S_IFDIR | S_ISVTX | 0o777, 0, 4096)], 0, r#"stat("/tmp", {st_mode=S_IFDIR|S_ISVTX|0777, st_size=4096, ...}) = 0"#),
        ("fstat", [n(99), n(0x7fff_a33b_5790_i64)], -EBADF, "fstat(99, 0x7fffa33b5790) = -1 EBADF (Bad file descriptor)"),
        ("newfstatat", [CWD, S(b"/etc"), stat(S_IFDIR | 0o755, 0, 4096), n(AT_SYMLINK_NOFOLLOW)], 0,
            r#"newfstatat(AT_FDCWD, "/etc", {st_mode=S_IFDIR|0755, st_size=4096, ...}, AT_SYMLINK_NOFOLLOW) = 0"#),
        ("newfstatat", [n(0), S(b""), stat(S_IFREG | 0o644, 0, 5), n(AT_EMPTY_PATH)], 0,
            r#"newfstatat(0, "", {st_mode=S_IFREG|0644, st_size=5, ...}, AT_EMPTY_PATH) = 0"#),
        ("statx", [CWD, S(b"/etc/passwd"), n(AT_STATX_SYNC_AS_STAT | AT_SYMLINK_NOFOLLOW), n(STATX_ALL),
            statx(STATX_ALL | STATX_MNT_ID, 0o100_644, 1221)], 0, "statx(AT_FDCWD, \"/etc/passwd\", AT_STATX_SYNC_AS_STAT|\
            AT_SYMLINK_NOFOLLOW, STATX_ALL, {stx_mask=STATX_ALL|STATX_MNT_ID, stx_attributes=0, stx_mode=S_IFREG|0644, stx_size=1221, ...}) = 0"),
        ("statx", [n(0), S(b""), n(AT_EMPTY_PATH | AT_STATX_FORCE_SYNC), n(STATX_MODE | STATX_SIZE | 0x40000), n(0)], -EFAULT,
            r#"statx(0, "", AT_STATX_FORCE_SYNC|AT_EMPTY_PATH, STATX_MODE|STATX_SIZE|0x40000, NULL) = -1 EFAULT (Bad address)"#),
        ("statfs", [S(b"/proc"), fields(&[&(PROC_SUPER_MAGIC as u64), &4096_u64, &0_u64, &0_u64, &0_u64, &0_u64, &0_u64,
            &0x15_u32, &0_u32, &255_u64, &4096_u64, &0x1020_u64])], 0, "statfs(\"/proc\", {f_type=PROC_SUPER_MAGIC, f_bsize=4096, \
            f_blocks=0, f_bfree=0, f_bavail=0, f_files=0, f_ffree=0, f_fsid={val=[0x15, 0]}, f_namelen=255, f_frsize=4096, \
            f_flags=ST_VALID|ST_RELATIME}) = 0"),
    ]

    reading_and_writing: [
        ("read", [n(8), S(b"root:x:0:0"), n(10)], 10, r#"read(8, "root:x:0:0", 10) = 10"#),
        ("read", [n(8), S(b":root:/root:/bin/bash\ndaemon:x:1:1"), n(100)], 100, r#"read(8, ":root:/root:/bin/bash\ndaemon:x:1"..., 100) = 100"#),
        ("read", [n(8), S(b""), n(0)], 0, r#"read(8, "", 0) = 0"#),
        ("read", [n(99), n(0x7ffe), n(10)], -EBADF, "read(99, 0x7ffe, 10) = -1 EBADF (Bad file descriptor)"),
        ("pread64", [n(8), S(b"x:0:0:root:/root:/bin/bash\ndaemo"), n(32), n(5)], 32, r#"pread64(8, "x:0:0:root:/root:/bin/bash\ndaemo", 32, 5) = 32"#),
        ("write", [n(9), S(b"hi\n"), n(3)], 3, r#"write(9, "hi\n", 3) = 3"#),
        ("write", [n(9), S(b"0123456789012345678901234567890123456789"), n(40)], 40, r#"write(9, "01234567890123456789012345678901"..., 40) = 40"#),
        ("write", [n(9), Bad, n(40)], -EFAULT, "write(9, 0x7100, 40) = -1 EFAULT (Bad address)"),
        ("write", [n(9), S(b""), n(0)], 0, r#"write(9, "", 0) = 0"#),
        ("pwrite64", [n(9), S(b"abc"), n(3), n(100)], 3, r#"pwrite64(9, "abc", 3, 100) = 3"#),
        ("writev", [n(9), fields(&[&0x10_u64, &2_u64, &0x20_u64, &3_u64]), n(2)], 5,
            "writev(9, [{iov_base=0x10, iov_len=2}, {iov_base=0x20, iov_len=3}], 2) = 5"),
        ("lseek", [n(9), n(-1), n(SEEK_END)], 5, "lseek(9, -1, SEEK_END) = 5"),
        ("lseek", [n(9), n(0), n(77)], -EINVAL, "lseek(9, 0, 0x4d /* SEEK_??? */) = -1 EINVAL (Invalid argument)"),
        ("copy_file_range", [n(8), fields(&[&3_u64]), n(9), n(0), n(10), n(0)], 10, "copy_file_range(8, [3], 9, NULL, 10, 0) = 10"),
        ("sendfile", [n(9), n(8), fields(&[&23_u64]), n(10)], 10, "sendfile(9, 8, [23] => [23], 10) = 10"),
        ("splice", [n(8), n(0), n(19), n(0), n(10), n(SPLICE_F_MOVE | SPLICE_F_NONBLOCK)], 10,
            "splice(8, NULL, 19, NULL, 10, SPLICE_F_MOVE|SPLICE_F_NONBLOCK) = 10"),
        ("getdents64", [n(30), n(0x7fff_a33b), n(8192)], 296, "getdents64(30, 0x7fffa33b, 8192) = 296"),
        ("getrandom", [S(b"\xeb\xb3w\x01"), n(4), n(GRND_NONBLOCK)], 4, r#"getrandom("\xeb\xb3\x77\x01", 4, GRND_NONBLOCK) = 4"#),
        ("fallocate", [n(9), n(FALLOC_FL_KEEP_SIZE), n(0), n(10)], 0, "fallocate(9, FALLOC_FL_KEEP_SIZE, 0, 10) = 0"),
        ("fadvise64", [n(9), n(0), n(0), n(POSIX_FADV_SEQUENTIAL)], 0, "fadvise64(9, 0, 0, POSIX_FADV_SEQUENTIAL) = 0"),
    ]

    memory: [
        ("mmap", [n(0), n(8192), n(PROT_READ | PROT_WRITE), n(MAP_PRIVATE | MAP_ANONYMOUS), n(-1), n(0)], 0x7f51_fbcf_3000_i64,
            "mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f51fbcf3000"),
        ("mmap", [n(0), n(4096), n(PROT_READ | PROT_EXEC | 0x100), n(MAP_SHARED_VALIDATE | MAP_SYNC | MAP_FIXED_NOREPLACE | MAP_32BIT | MAP_NONBLOCK | MAP_DENYWRITE),
            n(8), n(0x1000)], -EOPNOTSUPP, "mmap(NULL, 4096, PROT_READ|PROT_EXEC|0x100, MAP_SHARED_VALIDATE|MAP_32BIT|MAP_NONBLOCK|\
            MAP_DENYWRITE|MAP_SYNC|MAP_FIXED_NOREPLACE, 8, 0x1000) = -1 EOPNOTSUPP (Operation not supported)"),
        ("mmap", [n(0), n(4096), n(0x100), n(0x80), n(8), n(0)], -EINVAL, "mmap(NULL, 4096, 0x100 /* PROT_??? */, MAP_FILE|0x80, 8, 0) = -1 EINVAL (Invalid argument)"),
        ("mmap", [n(0x7000_0000), n(4096), n(PROT_NONE), n(MAP_SHARED | MAP_FIXED), n(8), n(0x1000)], 0x7000_0000,
            "mmap(0x70000000, 4096, PROT_NONE, MAP_SHARED|MAP_FIXED, 8, 0x1000) = 0x70000000"),
        ("mprotect", [n(0x7f51), n(4096), n(PROT_READ | PROT_GROWSDOWN)], -EINVAL, "mprotect(0x7f51, 4096, PROT_READ|PROT_GROWSDOWN) = -1 EINVAL (Invalid argument)"),
        ("munmap", [n(0x7f51), n(4096)], 0, "munmap(0x7f51, 4096) = 0"),
        ("madvise", [n(0x7f51), n(4096), n(MADV_DONTNEED)], 0, "madvise(0x7f51, 4096, MADV_DONTNEED) = 0"),
        ("madvise", [n(0x7f51), n(4096), n(999)], -EINVAL, "madvise(0x7f51, 4096, 0x3e7 /* MADV_??? */) = -1 EINVAL (Invalid argument)"),
        ("msync", [n(0x7f51), n(4096), n(MS_SYNC | MS_INVALIDATE)], 0, "msync(0x7f51, 4096, MS_SYNC|MS_INVALIDATE) = 0"),
        ("mremap", [n(0x7f51), n(8192), n(16384), n(MREMAP_MAYMOVE)], 0x7f00, "mremap(0x7f51, 8192, 16384, MREMAP_MAYMOVE) = 0x7f00"),
        ("mremap", [n(0x7f51), n(8192), n(16384), n(MREMAP_MAYMOVE | MREMAP_FIXED), n(0x5000)], -EFAULT,
            "mremap(0x7f51, 8192, 16384, MREMAP_MAYMOVE|MREMAP_FIXED, 0x5000) = -1 EFAULT (Bad address)"),
        ("brk", [n(0)], 0x5649_f7ff_c000_i64, "brk(NULL) = 0x5649f7ffc000"),
        ("mlock", [n(0x7f51), n(4096)], -ENOMEM, "mlock(0x7f51, 4096) = -1 ENOMEM (Cannot allocate memory)"),
        ("mlockall", [n(MCL_CURRENT | MCL_ONFAULT)], 0, "mlockall(MCL_CURRENT|MCL_ONFAULT) = 0"),
    ]

    descriptors: [
        ("close", [n(-1)], -EBADF, "close(-1) = -1 EBADF (Bad file descriptor)"),
        ("dup", [n(0)], 11, "dup(0) = 11"),
        ("dup2", [n(0), n(20)], 20, "dup2(0, 20) = 20"),
        ("dup3", [n(0), n(21), n(O_CLOEXEC)], 21, "dup3(0, 21, O_CLOEXEC) = 21"),
        ("close_range", [n(100), n(-1), n(CLOSE_RANGE_CLOEXEC)], 0, "close_range(100, 4294967295, CLOSE_RANGE_CLOEXEC) = 0"),
        ("pipe", [fields(&[&14_i32, &15_i32])], 0, "pipe([14, 15]) = 0"),
        ("pipe", [n(0x10)], -EFAULT, "pipe(0x10) = -1 EFAULT (Bad address)"),
        ("pipe2", [fields(&[&16_i32, &17_i32]), n(O_CLOEXEC | O_NONBLOCK)], 0, "pipe2([16, 17], O_NONBLOCK|O_CLOEXEC) = 0"),
        ("flock", [n(9), n(LOCK_EX | LOCK_NB)], 0, "flock(9, LOCK_EX|LOCK_NB) = 0"),
        ("fcntl", [n(0), n(F_GETFL)], 0x8002, "fcntl(0, F_GETFL) = 0x8002 (flags O_RDWR|O_LARGEFILE)"),
        ("fcntl", [n(0), n(F_SETFL), n(O_RDWR | O_NONBLOCK)], 0, "fcntl(0, F_SETFL, O_RDWR|O_NONBLOCK) = 0"),
        ("fcntl", [n(0), n(F_GETFD)], 0, "fcntl(0, F_GETFD) = 0"),
        ("fcntl", [n(20), n(F_GETFD)], 1, "fcntl(20, F_GETFD) = 0x1 (flags FD_CLOEXEC)"),
        ("fcntl", [n(20), n(F_SETFD), n(FD_CLOEXEC)], 0, "fcntl(20, F_SETFD, FD_CLOEXEC) = 0"),
        ("fcntl", [n(20), n(F_DUPFD_CLOEXEC), n(3)], 12, "fcntl(20, F_DUPFD_CLOEXEC, 3) = 12"),
        ("fcntl", [n(9), n(F_SETLK), fields(&[&1_u16, &0_u16, &0_u32, &0_i64, &10_i64, &0_u64])], 0,
            "fcntl(9, F_SETLK, {l_type=F_WRLCK, l_whence=SEEK_SET, l_start=0, l_len=10}) = 0"),
        ("fcntl", [n(0), n(777), n(1)], -EINVAL, "fcntl(0, 0x309 /* F_??? */, 0x1) = -1 EINVAL (Invalid argument)"),
        ("ioctl", [n(0), n(TCGETS as i64), n(0x7fff_a33b)], -ENOTTY, "ioctl(0, TCGETS, 0x7fffa33b) = -1 ENOTTY (Inappropriate ioctl for device)"),
        ("ioctl", [n(0), n(FIONBIO as i64), fields(&[&1_u64])], 0, "ioctl(0, FIONBIO, [1]) = 0"),
        ("ioctl", [n(0), n(FIOCLEX as i64), n(0)], 0, "ioctl(0, FIOCLEX) = 0"),
        ("ioctl", [n(0), n(0x1234_5678), n(5)], -ENOTTY,
            "ioctl(0, _IOC(_IOC_NONE, 0x56, 0x78, 0x1234), 0x5) = -1 ENOTTY (Inappropriate ioctl for device)"),
        ("ioctl", [n(0), n(TIOCGWINSZ as i64), fields(&[&24_u16, &80_u16, &0_u32])], 0,
            "ioctl(0, TIOCGWINSZ, {ws_row=24, ws_col=80, ws_xpixel=0, ws_ypixel=0}) = 0"),
        ("ioctl", [n(0), n(TIOCSCTTY as i64), n(0)], -ENOTTY, "ioctl(0, TIOCSCTTY, 0) = -1 ENOTTY (Inappropriate ioctl for device)"),
    ]

    waiting: [
        ("poll", [fields(&[&18_i32, &(POLLIN | POLLPRI).cast_unsigned(), &0_u16, &19_i32, &POLLOUT.cast_unsigned(), &POLLOUT.cast_unsigned()]), n(2), n(100)], 1,
            "poll([{fd=18, events=POLLIN|POLLPRI}, {fd=19, events=POLLOUT}], 2, 100) = 1 ([{fd=19, revents=POLLOUT}])"),
        ("poll", [fields(&[&-1_i32, &1_u32]), n(1), n(0)], 0, "poll([{fd=-1}], 1, 0) = 0 (Timeout)"),
        ("poll", [n(0), n(0), n(0)], 0, "poll(NULL, 0, 0) = 0 (Timeout)"),
        ("ppoll", [fields(&[&18_i32, &1_u32]), n(1), timespec(0, 1000), fields(&[&0x10000_u64]), n(8)], 0,
            "ppoll([{fd=18, events=POLLIN}], 1, {tv_sec=0, tv_nsec=1000}, [CHLD], 8) = 0 (Timeout)"),
        ("select", [n(19), fields(&[&(1_u64 << 18), &[0; 120]]), n(0), n(0), timespec(0, 999)], 1,
            "select(19, [18], NULL, NULL, {tv_sec=0, tv_usec=999}) = 1 (in [18], left {tv_sec=0, tv_usec=999})"),
        ("pselect6", [n(19), fields(&[&[0; 128]]), n(0), n(0), timespec(0, 1000), n(0)], 0,
            "pselect6(19, [], NULL, NULL, {tv_sec=0, tv_nsec=1000}, NULL) = 0 (Timeout)"),
        ("epoll_create1", [n(EPOLL_CLOEXEC)], 21, "epoll_create1(EPOLL_CLOEXEC) = 21"),
        ("epoll_ctl", [n(21), n(EPOLL_CTL_ADD), n(18), fields(&[&((EPOLLIN | EPOLLET | EPOLLRDHUP | EPOLLONESHOT).cast_unsigned()), &5_u64, &0_u32])], 0,
            "epoll_ctl(21, EPOLL_CTL_ADD, 18, {events=EPOLLIN|EPOLLRDHUP|EPOLLONESHOT|EPOLLET, data={u32=5, u64=5}}) = 0"),
        ("epoll_ctl", [n(21), n(EPOLL_CTL_DEL), n(18), n(0)], 0, "epoll_ctl(21, EPOLL_CTL_DEL, 18, NULL) = 0"),
        ("epoll_wait", [n(21), fields(&[&4_u32, &5_u64]), n(4), n(10)], 1, "epoll_wait(21, [{events=EPOLLOUT, data={u32=5, u64=5}}], 4, 10) = 1"),
        ("epoll_wait", [n(21), fields(&[&[0; 48]]), n(4), n(0)], 0, "epoll_wait(21, [], 4, 0) = 0"),
        ("epoll_pwait", [n(21), fields(&[&4_u32, &5_u64]), n(4), n(10), n(0), n(8)], 1,
            "epoll_pwait(21, [{events=EPOLLOUT, data={u32=5, u64=5}}], 4, 10, NULL, 8) = 1"),
        ("eventfd2", [n(3), n(EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK)], 24, "eventfd2(3, EFD_SEMAPHORE|EFD_CLOEXEC|EFD_NONBLOCK) = 24"),
        ("signalfd4", [n(-1), fields(&[&0x10000_u64]), n(8), n(SFD_CLOEXEC | SFD_NONBLOCK)], 29, "signalfd4(-1, [CHLD], 8, SFD_CLOEXEC|SFD_NONBLOCK) = 29"),
        ("inotify_init1", [n(IN_CLOEXEC | IN_NONBLOCK)], 26, "inotify_init1(IN_NONBLOCK|IN_CLOEXEC) = 26"),
        ("inotify_add_watch", [n(26), S(b"/tmp"), n(IN_CREATE | IN_DELETE | IN_ONLYDIR)], 1, r#"inotify_add_watch(26, "/tmp", IN_CREATE|IN_DELETE|IN_ONLYDIR) = 1"#),
        ("inotify_rm_watch", [n(26), n(1)], 0, "inotify_rm_watch(26, 1) = 0"),
    ]

    names: [
        ("readlink", [S(b"/proc/self/exe"), S(b"/usr/bin/a"), n(200)], 10, r#"readlink("/proc/self/exe", "/usr/bin/a", 200) = 10"#),
        ("readlink", [S(b"/tmp"), n(0x7fff_a33b), n(100)], -EINVAL, r#"readlink("/tmp", 0x7fffa33b, 100) = -1 EINVAL (Invalid argument)"#),
        ("readlinkat", [CWD, S(b"/proc/self/exe"), S(b"/tmp/"), n(5)], 5, r#"readlinkat(AT_FDCWD, "/proc/self/exe", "/tmp/", 5) = 5"#),
        ("getcwd", [S(b"/home"), n(100)], 6, r#"getcwd("/home", 100) = 6"#),
        ("getcwd", [n(0x7fff_a33b), n(1)], -ERANGE, "getcwd(0x7fffa33b, 1) = -1 ERANGE (Numerical result out of range)"),
        ("mkdir", [S(b"/tmp/dxd"), n(0o755)], 0, r#"mkdir("/tmp/dxd", 0755) = 0"#),
        ("mkdirat", [CWD, S(b"/tmp/dxd"), n(0o7777)], -EEXIST, r#"mkdirat(AT_FDCWD, "/tmp/dxd", 07777) = -1 EEXIST (File exists)"#),
        ("rmdir", [S(b"/tmp/dxd")], 0, r#"rmdir("/tmp/dxd") = 0"#),
        ("unlink", [S(b"/tmp/no")], 0, r#"unlink("/tmp/no") = 0"#),
        ("unlinkat", [CWD, S(b"/tmp/no"), n(AT_REMOVEDIR)], 0, r#"unlinkat(AT_FDCWD, "/tmp/no", AT_REMOVEDIR) = 0"#),
        ("rename", [S(b"/tmp/no"), S(b"/tmp/b")], 0, r#"rename("/tmp/no", "/tmp/b") = 0"#),
        ("renameat", [CWD, S(b"/tmp/no"), CWD, S(b"b")], 0, r#"renameat(AT_FDCWD, "/tmp/no", AT_FDCWD, "b") = 0"#),
        ("renameat2", [CWD, S(b"/tmp/no"), CWD, S(b"b"), n(RENAME_NOREPLACE | RENAME_EXCHANGE)], -EINVAL,
            r#"renameat2(AT_FDCWD, "/tmp/no", AT_FDCWD, "b", RENAME_NOREPLACE|RENAME_EXCHANGE) = -1 EINVAL (Invalid argument)"#),
        ("link", [S(b"/tmp/no"), S(b"/b")], 0, r#"link("/tmp/no", "/b") = 0"#),
        ("linkat", [CWD, S(b"/tmp/no"), n(3), S(b"b"), n(AT_SYMLINK_FOLLOW)], 0, r#"linkat(AT_FDCWD, "/tmp/no", 3, "b", AT_SYMLINK_FOLLOW) = 0"#),
        ("symlink", [S(b"a"), S(b"/tmp/no/b")], 0, r#"symlink("a", "/tmp/no/b") = 0"#),
        ("symlinkat", [S(b"a"), CWD, S(b"/tmp/no/b")], 0, r#"symlinkat("a", AT_FDCWD, "/tmp/no/b") = 0"#),
        ("chmod", [S(b"/tmp/no"), n(0o644)], 0, r#"chmod("/tmp/no", 0644) = 0"#),
        ("fchmod", [n(9), n(0o4755)], 0, "fchmod(9, 04755) = 0"),
        ("fchmodat", [CWD, S(b"/tmp/no"), n(0)], 0, r#"fchmodat(AT_FDCWD, "/tmp/no", 000) = 0"#),
        ("chown", [S(b"/tmp/no"), n(0), n(-1)], 0, r#"chown("/tmp/no", 0, -1) = 0"#),
        ("fchown", [n(9), n(-1), n(0)], 0, "fchown(9, -1, 0) = 0"),
        ("lchown", [S(b"/tmp/no"), n(1000), n(1000)], 0, r#"lchown("/tmp/no", 1000, 1000) = 0"#),
        ("fchownat", [CWD, S(b""), n(0), n(0), n(AT_EMPTY_PATH)], 0, r#"fchownat(AT_FDCWD, "", 0, 0, AT_EMPTY_PATH) = 0"#),
        ("mknod", [S(b"/tmp/x"), n(S_IFCHR | 0o600), n(0x103)], -ENOENT, r#"mknod("/tmp/x", S_IFCHR|0600, makedev(0x1, 0x3)) = -1 ENOENT (No such file or directory)"#),
        ("mknodat", [CWD, S(b"/tmp/x"), n(S_IFIFO | 0o600), n(0)], 0, r#"mknodat(AT_FDCWD, "/tmp/x", S_IFIFO|0600) = 0"#),
        ("truncate", [S(b"/tmp/no"), n(5)], 0, r#"truncate("/tmp/no", 5) = 0"#),
        ("ftruncate", [n(9), n(500)], 0, "ftruncate(9, 500) = 0"),
        ("umask", [n(0o22)], 0o22, "umask(022) = 022"),
        ("chdir", [S(b"/no")], 0, r#"chdir("/no") = 0"#),
        ("utimensat", [CWD, S(b"/tmp/dx"), fields(&[&1_i64, &2_i64, &0_i64, &UTIME_OMIT]), n(0)], 0,
            r#"utimensat(AT_FDCWD, "/tmp/dx", [{tv_sec=1, tv_nsec=2} /* 1970-01-01T00:00:01.000000002+0000 */, UTIME_OMIT], 0) = 0"#),
        ("utimensat", [n(9), n(0), n(0), n(0)], 0, "utimensat(9, NULL, NULL, 0) = 0"),
        ("setxattr", [S(b"/tmp/no"), S(b"user.x"), S(b"val"), n(3), n(XATTR_CREATE)], 0, r#"setxattr("/tmp/no", "user.x", "val", 3, XATTR_CREATE) = 0"#),
        ("getxattr", [S(b"/tmp"), S(b"user.x"), n(0x7fff), n(100)], -ENODATA, r#"getxattr("/tmp", "user.x", 0x7fff, 100) = -1 ENODATA (No data available)"#),
    ]

    mounts: [
        ("mount", [S(b"proc"), S(b"/nonex"), S(b"proc"), n((MS_NOSUID | MS_NODEV | MS_NOEXEC).cast_signed()), S(b"hidepid=2")], 0,
            r#"mount("proc", "/nonex", "proc", MS_NOSUID|MS_NODEV|MS_NOEXEC, "hidepid=2") = 0"#),
        ("mount", [S(b"none"), S(b"/nonex"), n(0), n((MS_REC | MS_PRIVATE).cast_signed()), n(0)], 0, r#"mount("none", "/nonex", NULL, MS_REC|MS_PRIVATE, NULL) = 0"#),
        ("mount", [n(0), S(b"/nonex"), n(0), n((MS_REMOUNT | MS_BIND | MS_RDONLY).cast_signed()), n(0)], 0,
            r#"mount(NULL, "/nonex", NULL, MS_RDONLY|MS_REMOUNT|MS_BIND, NULL) = 0"#),
        ("umount2", [S(b"/nonex"), n(MNT_DETACH)], 0, r#"umount2("/nonex", MNT_DETACH) = 0"#),
        ("pivot_root", [S(b"/nonex"), S(b".")], 0, r#"pivot_root("/nonex", ".") = 0"#),
        ("chroot", [S(b"/nonex")], 0, r#"chroot("/nonex") = 0"#),
    ]
}
