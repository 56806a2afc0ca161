//! Calls on terminals, block devices and interfaces, on locks and descriptors' options.

use super::{BAD, kernel::both, open};

pub(crate) fn devices() {
    let mut out = [0_u64; 64];
    let to = out.as_mut_ptr();
    let ptmx = open(c!("/dev/ptmx"), libc::O_RDWR | libc::O_NOCTTY);
    call!(SYS_ioctl, ptmx, libc::TIOCSPTLCK, [0_i32].as_ptr());
    call!(SYS_ioctl, ptmx, libc::TIOCGPTN, to);
    call!(SYS_ioctl, ptmx, libc::TIOCGPTLCK, to);
    let tty = call!(SYS_ioctl, ptmx, libc::TIOCGPTPEER, libc::O_RDWR | libc::O_NOCTTY);
    call!(SYS_ioctl, tty, libc::TCGETS, to);
    call!(SYS_ioctl, tty, libc::TCSETS, to);
    call!(SYS_ioctl, tty, libc::TCSETSW, to);
    call!(SYS_ioctl, tty, libc::TCSETSF, to);
    call!(SYS_ioctl, tty, libc::TCGETA, to);
    call!(SYS_ioctl, tty, libc::TCSETA, to);
    call!(SYS_ioctl, tty, libc::TCGETS2, to);
    call!(SYS_ioctl, tty, libc::TCFLSH, libc::TCIOFLUSH);
    call!(SYS_ioctl, tty, libc::TCXONC, libc::TCOON);
    call!(SYS_ioctl, tty, libc::TCSBRK, 1);
    call!(SYS_ioctl, tty, libc::TCSBRKP, 0);
    call!(SYS_ioctl, tty, libc::TIOCSWINSZ, [24_u16, 80, 0, 0].as_ptr());
    call!(SYS_ioctl, tty, libc::TIOCGWINSZ, to);
    call!(SYS_ioctl, tty, libc::TIOCGPGRP, to);
    call!(SYS_ioctl, tty, libc::TIOCSPGRP, [5_i32].as_ptr());
    call!(SYS_ioctl, tty, libc::TIOCGSID, to);
    call!(SYS_ioctl, tty, libc::TIOCOUTQ, to);
    call!(SYS_ioctl, tty, libc::FIONREAD, to);
    call!(SYS_ioctl, tty, libc::TIOCGETD, to);
    call!(SYS_ioctl, tty, libc::TIOCSETD, [0_i32].as_ptr());
    call!(SYS_ioctl, tty, libc::TIOCMGET, to);
    call!(SYS_ioctl, tty, libc::TIOCMBIS, [6_i32].as_ptr());
    call!(SYS_ioctl, tty, libc::TIOCEXCL);
    call!(SYS_ioctl, tty, libc::TIOCNXCL);
    call!(SYS_ioctl, tty, libc::TIOCGEXCL, to);
    call!(SYS_ioctl, tty, libc::TIOCSTI, c!("x"));
    call!(SYS_ioctl, ptmx, libc::TIOCPKT, [1_i32].as_ptr());
    call!(SYS_ioctl, tty, libc::TIOCGDEV, to);
    call!(SYS_ioctl, tty, libc::TIOCSCTTY, 0);
    call!(SYS_ioctl, tty, libc::TIOCNOTTY);
    call!(SYS_ioctl, tty, libc::TIOCGWINSZ, BAD);
    call!(SYS_ioctl, tty, libc::FIONBIO, [1_i32].as_ptr());
    call!(SYS_ioctl, tty, libc::FIOASYNC, [0_i32].as_ptr());
    call!(SYS_ioctl, tty, libc::FIONBIO, BAD);
    call!(SYS_ioctl, 0, libc::FIOCLEX);
    call!(SYS_ioctl, 0, libc::FIONCLEX);
    let file = open(c!("words"), libc::O_RDWR);
    for command in [
        0x8008_6601_u32,
        0x8008_7601,
        1,
        2,
        0xc020_660b,
        0x5421,
        0x4009_4094,
        0x4020_940d,
    ] {
        call!(SYS_ioctl, file, command, to);
    }
    call!(SYS_ioctl, file, 0x4008_6602_u32, [0x40_u64].as_ptr());
    call!(SYS_ioctl, file, 0x4004_9409_u32, 99);
    for command in [
        0x1260_u32,
        0x8008_1272,
        0x1268,
        0x125e,
        0x1277,
        0x4c00,
        0x4c01,
        0x4c05,
    ] {
        call!(SYS_ioctl, 99, command, to);
    }
    let socket = call!(SYS_socket, libc::AF_INET, libc::SOCK_DGRAM, 0);
    let mut request = [0_u8; 40];
    request[..3].copy_from_slice(b"lo\0");
    for command in [
        0x8913_u32, 0x8915, 0x8919, 0x891b, 0x891d, 0x8921, 0x8927, 0x8933, 0x8942, 0x8970,
    ] {
        call!(SYS_ioctl, socket, command, request.as_mut_ptr());
    }
    request[..3].copy_from_slice(b"no\0");
    call!(SYS_ioctl, socket, 0x8913_u32, request.as_mut_ptr());
    request[16] = 1;
    call!(SYS_ioctl, socket, 0x8910_u32, request.as_mut_ptr());
    call!(SYS_ioctl, socket, 0x8906_u32, to);
    call!(SYS_ioctl, socket, 0x8912_u32, [40_u64, 0].as_ptr());
    call!(SYS_ioctl, socket, 0x8905_u32, to);
    call!(SYS_ioctl, socket, 0x890b_u32, BAD);
    let null = open(c!("/dev/urandom"), libc::O_RDONLY);
    call!(SYS_ioctl, null, 0x8004_5200_u32, to);
    call!(SYS_ioctl, 99, 0xab00_u32, 0);
    call!(SYS_ioctl, 99, 0x4010_ae67_u32, BAD);
    call!(SYS_ioctl, 99, 0xc000_00ff_u32, 7);
}

pub(crate) fn locks() {
    let file = open(c!("words"), libc::O_RDWR);
    let lock = [both(libc::F_WRLCK as u32, 0), 5, 10, 0];
    let mut ask = [both(libc::F_RDLCK as u32 | 1 << 16, 0), 5, 10, 0];
    call!(SYS_fcntl, file, libc::F_SETLK, lock.as_ptr());
    call!(SYS_fcntl, file, libc::F_GETLK, ask.as_mut_ptr());
    call!(SYS_fcntl, file, libc::F_OFD_SETLK, lock.as_ptr());
    call!(SYS_fcntl, file, libc::F_OFD_GETLK, ask.as_mut_ptr());
    call!(SYS_fcntl, file, libc::F_SETLKW, BAD);
    call!(SYS_fcntl, file, libc::F_SETOWN, 1);
    call!(SYS_fcntl, file, libc::F_GETOWN);
    call!(SYS_fcntl, file, 15, [1_i32, 1].as_ptr());
    call!(SYS_fcntl, file, 16, [0_i32; 2].as_mut_ptr());
    call!(SYS_fcntl, file, 10, libc::SIGIO);
    call!(SYS_fcntl, file, 11);
    call!(SYS_fcntl, file, libc::F_SETLEASE, libc::F_WRLCK);
    call!(SYS_fcntl, file, libc::F_GETLEASE);
    call!(SYS_fcntl, file, libc::F_SETLEASE, libc::F_UNLCK);
    call!(SYS_fcntl, file, libc::F_NOTIFY, 0x8000_0004_u32);
    call!(SYS_fcntl, file, libc::F_SETFD, libc::FD_CLOEXEC);
    call!(SYS_fcntl, file, libc::F_GETFD);
    call!(SYS_fcntl, file, libc::F_SETFL, libc::O_APPEND | libc::O_NONBLOCK);
    call!(SYS_fcntl, file, libc::F_GETFL);
    call!(SYS_fcntl, file, libc::F_DUPFD, 50);
    call!(SYS_fcntl, file, libc::F_DUPFD_CLOEXEC, 60);
    let memory = call!(SYS_memfd_create, c!("m"), libc::MFD_ALLOW_SEALING);
    call!(
        SYS_fcntl,
        memory,
        libc::F_ADD_SEALS,
        libc::F_SEAL_GROW | libc::F_SEAL_WRITE
    );
    call!(SYS_fcntl, memory, libc::F_GET_SEALS);
    call!(SYS_fcntl, file, 77, 5);
    call!(SYS_flock, file, libc::LOCK_EX | libc::LOCK_NB);
    call!(SYS_flock, file, libc::LOCK_UN);
    call!(SYS_flock, file, 0x87);
    call!(
        SYS_statx,
        libc::AT_FDCWD,
        c!("words"),
        0x6000,
        0x8000_0fff_u32,
        [0_u64; 32].as_mut_ptr()
    );
    call!(
        SYS_statx,
        libc::AT_FDCWD,
        c!("words"),
        0x2100,
        0x41,
        [0_u64; 32].as_mut_ptr()
    );
    call!(SYS_getxattr, c!("words"), c!("user.none"), BAD, 10);
    call!(SYS_lookup_dcookie, 5, BAD, 0);
}
