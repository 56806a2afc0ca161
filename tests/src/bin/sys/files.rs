//! Calls on files, descriptors, memory and mounts.

use super::{BAD, NULL, open};

pub(crate) fn files() {
    let mut buffer = [0_u8; 4096];
    let out = buffer.as_mut_ptr();
    let fd = call!(
        SYS_open,
        c!("f"),
        libc::O_RDWR | libc::O_CREAT | libc::O_EXCL,
        0o640
    );
    call!(SYS_creat, c!("g"), 0o600);
    call!(SYS_write, fd, c!("hello\n\x01"), 7);
    call!(SYS_pwrite64, fd, c!("abc"), 3, 4096);
    call!(SYS_pread64, fd, out, 100, 2);
    call!(SYS_lseek, fd, 0, libc::SEEK_END);
    call!(SYS_lseek, fd, 0, libc::SEEK_DATA);
    call!(SYS_ftruncate, fd, 100);
    call!(SYS_truncate, c!("f"), 50);
    call!(SYS_fallocate, fd, 1, 0, 8192);
    call!(SYS_fsync, fd);
    call!(SYS_fdatasync, fd);
    call!(SYS_sync_file_range, fd, 0, 10, 7);
    call!(SYS_readahead, fd, 0, 10);
    call!(SYS_fadvise64, fd, 0, 0, libc::POSIX_FADV_WILLNEED);
    call!(SYS_flock, fd, libc::LOCK_EX | libc::LOCK_NB);
    call!(SYS_stat, c!("f"), out);
    call!(SYS_lstat, c!("none"), out);
    call!(SYS_fstat, fd, out);
    call!(
        SYS_statx,
        libc::AT_FDCWD,
        c!("f"),
        0,
        libc::STATX_BASIC_STATS,
        out
    );
    call!(SYS_statfs, c!("."), out);
    call!(SYS_fstatfs, fd, out);
    call!(SYS_access, c!("f"), libc::R_OK | libc::W_OK);
    call!(SYS_faccessat, libc::AT_FDCWD, c!("f"), libc::X_OK);
    call!(
        SYS_faccessat2,
        libc::AT_FDCWD,
        c!("f"),
        libc::F_OK,
        libc::AT_EACCESS
    );
    call!(SYS_mkdir, c!("d"), 0o755);
    call!(SYS_mkdirat, libc::AT_FDCWD, c!("d/e"), 0o700);
    call!(SYS_rmdir, c!("d"));
    call!(SYS_chdir, c!("d"));
    call!(SYS_getcwd, out, 4096);
    call!(SYS_chdir, c!(".."));
    let dir = open(c!("."), libc::O_DIRECTORY | libc::O_RDONLY);
    call!(SYS_fchdir, dir);
    call!(SYS_getdents64, dir, out, 4096);
    call!(SYS_getdents64, dir, out, 4096);
    call!(SYS_link, c!("f"), c!("f2"));
    call!(
        SYS_linkat,
        libc::AT_FDCWD,
        c!("f"),
        libc::AT_FDCWD,
        c!("f3"),
        libc::AT_SYMLINK_FOLLOW
    );
    call!(SYS_symlink, c!("f"), c!("s"));
    call!(SYS_symlinkat, c!("f"), libc::AT_FDCWD, c!("s2"));
    call!(SYS_readlink, c!("s"), out, 100);
    call!(SYS_readlinkat, libc::AT_FDCWD, c!("s2"), out, 100);
    call!(SYS_rename, c!("f2"), c!("f4"));
    call!(SYS_renameat, libc::AT_FDCWD, c!("f4"), libc::AT_FDCWD, c!("f5"));
    call!(
        SYS_renameat2,
        libc::AT_FDCWD,
        c!("f5"),
        libc::AT_FDCWD,
        c!("f3"),
        libc::RENAME_NOREPLACE
    );
    call!(SYS_unlink, c!("f5"));
    call!(SYS_unlinkat, libc::AT_FDCWD, c!("d/e"), libc::AT_REMOVEDIR);
    call!(SYS_chmod, c!("f"), 0o4755);
    call!(SYS_fchmod, fd, 0o644);
    call!(SYS_fchmodat, libc::AT_FDCWD, c!("f"), 0o600);
    call!(SYS_chown, c!("f"), 0, -1);
    call!(SYS_fchown, fd, -1, 0);
    call!(SYS_lchown, c!("s"), 0, 0);
    call!(
        SYS_fchownat,
        libc::AT_FDCWD,
        c!("s"),
        0,
        0,
        libc::AT_SYMLINK_NOFOLLOW
    );
    call!(SYS_umask, 0o27);
    call!(SYS_mknod, c!("fifo"), libc::S_IFIFO | 0o600, 0);
    call!(
        SYS_mknodat,
        libc::AT_FDCWD,
        c!("null"),
        libc::S_IFCHR | 0o600,
        libc::makedev(1, 3)
    );
    let times = [
        libc::timespec {
            tv_sec: 5,
            tv_nsec: 7,
        },
        libc::timespec {
            tv_sec: 0,
            tv_nsec: libc::UTIME_NOW,
        },
    ];
    call!(SYS_utimensat, libc::AT_FDCWD, c!("f"), times.as_ptr(), 0);
    call!(SYS_utimes, c!("f"), [1_i64, 2, 3, 4].as_ptr());
    call!(SYS_futimesat, libc::AT_FDCWD, c!("f"), [1_i64, 2, 3, 4].as_ptr());
    call!(SYS_utime, c!("f"), [1_i64, 2].as_ptr());
    let how = [
        libc::O_RDWR as u64 | libc::O_CREAT as u64,
        0o600,
        libc::RESOLVE_BENEATH,
    ];
    call!(SYS_openat2, libc::AT_FDCWD, c!("h"), how.as_ptr(), 24);
    call!(SYS_sync);
    call!(SYS_syncfs, fd);
    call!(SYS_chroot, c!("none"));
    call!(SYS_ustat, 1, out);
    call!(SYS_close, fd);
    call!(SYS_close, fd);
}

pub(crate) fn xattr() {
    let mut buffer = [0_u8; 256];
    let out = buffer.as_mut_ptr();
    let fd = open(c!("f"), libc::O_RDWR | libc::O_CREAT);
    call!(
        SYS_setxattr,
        c!("f"),
        c!("user.a"),
        c!("value"),
        5,
        libc::XATTR_CREATE
    );
    call!(SYS_lsetxattr, c!("f"), c!("user.b"), c!("value"), 6, 0);
    call!(SYS_fsetxattr, fd, c!("user.c"), c!("v"), 1, libc::XATTR_REPLACE);
    call!(SYS_getxattr, c!("f"), c!("user.a"), out, 256);
    call!(SYS_lgetxattr, c!("f"), c!("user.b"), out, 256);
    call!(SYS_fgetxattr, fd, c!("user.x"), out, 256);
    call!(SYS_fgetxattr, fd, c!("user.a"), NULL, 0);
    call!(SYS_listxattr, c!("f"), out, 256);
    call!(SYS_llistxattr, c!("f"), out, 256);
    call!(SYS_flistxattr, fd, NULL, 0);
    call!(SYS_removexattr, c!("f"), c!("user.a"));
    call!(SYS_lremovexattr, c!("f"), c!("user.b"));
    call!(SYS_fremovexattr, fd, c!("user.x"));
}

pub(crate) fn descriptors() {
    let mut pipe = [0_i32; 2];
    let fd = open(c!("words"), libc::O_RDWR);
    call!(SYS_dup, fd);
    call!(SYS_dup2, fd, 20);
    call!(SYS_dup3, fd, 21, libc::O_CLOEXEC);
    for (command, value) in [
        (libc::F_GETFD, 0),
        (libc::F_SETFD, 1),
        (libc::F_GETFL, 0),
        (libc::F_SETFL, libc::O_NONBLOCK),
        (libc::F_DUPFD, 30),
        (libc::F_DUPFD_CLOEXEC, 31),
        (libc::F_GETOWN, 0),
        (libc::F_GETLEASE, 0),
        (999, 5),
    ] {
        call!(SYS_fcntl, fd, command, value);
    }
    // SAFETY: plain integers.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as i16;
    lock.l_len = 10;
    call!(SYS_fcntl, fd, libc::F_SETLK, &raw const lock);
    call!(SYS_fcntl, fd, libc::F_GETLK, &raw const lock);
    call!(SYS_fcntl, fd, libc::F_OFD_SETLK, &raw const lock);
    call!(SYS_pipe, pipe.as_mut_ptr());
    call!(SYS_pipe2, pipe.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK);
    call!(SYS_fcntl, pipe[0], libc::F_SETPIPE_SZ, 8192);
    call!(SYS_fcntl, pipe[0], libc::F_GETPIPE_SZ);
    let mut number = 0_i32;
    call!(SYS_write, pipe[1], c!("pipe"), 4);
    call!(SYS_ioctl, pipe[0], libc::FIONREAD, &raw mut number);
    call!(SYS_ioctl, pipe[0], libc::FIONBIO, &raw mut number);
    call!(SYS_ioctl, pipe[0], libc::TCGETS, BAD);
    call!(SYS_ioctl, pipe[0], libc::TIOCGWINSZ, BAD);
    call!(SYS_ioctl, pipe[0], libc::FIOCLEX);
    call!(SYS_tee, pipe[0], pipe[1], 10, libc::SPLICE_F_NONBLOCK);
    let mut offset = 3_i64;
    let to = open(c!("to"), libc::O_RDWR | libc::O_CREAT);
    call!(
        SYS_splice,
        pipe[0],
        NULL,
        to,
        &raw mut offset,
        4,
        libc::SPLICE_F_MOVE
    );
    offset = 5;
    call!(SYS_sendfile, to, fd, &raw mut offset, 10);
    call!(SYS_sendfile, to, fd, NULL, 10);
    let mut other = 1_i64;
    call!(
        SYS_copy_file_range,
        fd,
        &raw mut offset,
        to,
        &raw mut other,
        20,
        0
    );
    call!(SYS_close_range, 20, 31, libc::CLOSE_RANGE_CLOEXEC);
    call!(SYS_close_range, 20, 31, 0);
}

pub(crate) fn vectors() {
    let mut a = [0_u8; 5];
    let mut b = [0_u8; 60];
    let fd = open(c!("words"), libc::O_RDWR);
    let iov = |base: *const u8, len: usize| libc::iovec {
        iov_base: base.cast_mut().cast(),
        iov_len: len,
    };
    let input = [iov(a.as_mut_ptr(), 5), iov(b.as_mut_ptr(), 60)];
    let output = [iov(c!("first"), 5), iov(c!("second"), 6), iov(NULL, 0)];
    call!(SYS_readv, fd, input.as_ptr(), 2);
    call!(SYS_writev, fd, output.as_ptr(), 3);
    call!(SYS_preadv, fd, input.as_ptr(), 2, 7, 0);
    call!(SYS_pwritev, fd, output.as_ptr(), 3, 9, 0);
    call!(SYS_preadv2, fd, input.as_ptr(), 2, 7, 0, 0);
    call!(SYS_pwritev2, fd, output.as_ptr(), 3, 9, 0, 0);
    call!(SYS_readv, 77, input.as_ptr(), 2);
    call!(SYS_writev, 77, output.as_ptr(), 2);
    call!(SYS_writev, fd, output.as_ptr(), 0);
    call!(SYS_writev, fd, BAD, 2);
    let many = [output[0]; 40];
    call!(SYS_writev, fd, many.as_ptr(), 40);
    let mut pipe = [0_i32; 2];
    call!(SYS_pipe2, pipe.as_mut_ptr(), 0);
    call!(SYS_vmsplice, pipe[1], output.as_ptr(), 2, 0);
    let own = call!(SYS_getpid);
    call!(
        SYS_process_vm_readv,
        own,
        input.as_ptr(),
        1,
        output.as_ptr(),
        1,
        0
    );
    call!(
        SYS_process_vm_writev,
        own,
        output.as_ptr(),
        1,
        input.as_ptr(),
        1,
        0
    );
}

pub(crate) fn memory() {
    let map = call!(
        SYS_mmap,
        NULL,
        16384,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        -1,
        0
    );
    let mut pages = [0_u8; 4];
    call!(SYS_mprotect, map, 4096, libc::PROT_READ);
    call!(SYS_madvise, map, 8192, libc::MADV_DONTNEED);
    call!(SYS_madvise, map, 8192, libc::MADV_HUGEPAGE);
    call!(SYS_mincore, map, 16384, pages.as_mut_ptr());
    call!(SYS_msync, map, 4096, libc::MS_SYNC);
    call!(SYS_mlock, map, 4096);
    call!(SYS_mlock2, map, 4096, libc::MLOCK_ONFAULT);
    call!(SYS_munlock, map, 4096);
    call!(SYS_mlockall, 0);
    call!(SYS_munlockall);
    let map = call!(SYS_mremap, map, 16384, 32768, libc::MREMAP_MAYMOVE);
    call!(SYS_munmap, map, 32768);
    call!(SYS_munmap, 1, 5);
    call!(SYS_brk, 0);
    call!(SYS_mbind, NULL, 0, 0, NULL, 0, 0);
    call!(SYS_get_mempolicy, NULL, NULL, 0, NULL, 0);
    call!(SYS_set_mempolicy, 0, NULL, 0);
    call!(SYS_pkey_alloc, 0, 0);
    call!(SYS_pkey_free, 5);
    call!(SYS_pkey_mprotect, NULL, 0, 1, -1);
    call!(SYS_remap_file_pages, NULL, 0, 0, 0, 0);
    call!(SYS_membarrier, libc::MEMBARRIER_CMD_QUERY, 0, 0);
    let fd = call!(
        SYS_memfd_create,
        c!("mem"),
        libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING
    );
    call!(SYS_fcntl, fd, libc::F_ADD_SEALS, libc::F_SEAL_SEAL);
    call!(SYS_fcntl, fd, libc::F_GET_SEALS);
    call!(SYS_memfd_secret, 0);
    call!(SYS_userfaultfd, libc::O_CLOEXEC);
    call!(SYS_process_madvise, -1, NULL, 0, libc::MADV_COLD, 0);
}

pub(crate) fn mounts() {
    call!(SYS_mkdir, c!("m"), 0o700);
    call!(
        SYS_mount,
        c!("none"),
        c!("m"),
        c!("tmpfs"),
        libc::MS_NOSUID | libc::MS_NODEV,
        c!("size=64k")
    );
    call!(
        SYS_mount,
        c!("none"),
        c!("m"),
        NULL,
        libc::MS_REMOUNT | libc::MS_RDONLY,
        NULL
    );
    call!(SYS_umount2, c!("m"), libc::MNT_DETACH);
    let fs = call!(SYS_fsopen, c!("tmpfs"), 1);
    call!(SYS_fsconfig, fs, 1, c!("size"), c!("64k"), 0);
    call!(SYS_fsconfig, fs, 6, NULL, NULL, 0);
    let fd = call!(SYS_fsmount, fs, 1, 0);
    call!(SYS_move_mount, fd, c!(""), libc::AT_FDCWD, c!("m"), 4);
    call!(SYS_open_tree, libc::AT_FDCWD, c!("m"), libc::O_CLOEXEC);
    call!(SYS_fspick, libc::AT_FDCWD, c!("none"), 0);
    call!(
        SYS_mount_setattr,
        libc::AT_FDCWD,
        c!("none"),
        0,
        [1_u64, 0, 0, 0].as_ptr(),
        32
    );
    call!(SYS_umount2, c!("m"), 0);
    call!(SYS_pivot_root, c!("none"), c!("m"));
    call!(SYS_swapon, c!("none"), 0);
    call!(SYS_swapoff, c!("none"));
    call!(SYS_quotactl, 0, NULL, 0, NULL);
    call!(SYS_sysfs, 3);
}
