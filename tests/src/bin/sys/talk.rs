//! Calls on sockets, System V and POSIX queues, events; new, wrong and gone ones.

use super::{BAD, NULL};

fn address(port: u16) -> libc::sockaddr_in {
    // SAFETY: plain integers.
    let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    address.sin_family = libc::AF_INET as u16;
    address.sin_port = port.to_be();
    address.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
    address
}

pub(crate) fn sockets() {
    let (address, mut out, mut lengths) = (address(4721), [0_u8; 128], [128_u32; 2]);
    let (at, len, len2) = (out.as_mut_ptr(), &raw mut lengths[0], &raw mut lengths[1]);
    let listener = call!(
        SYS_socket,
        libc::AF_INET,
        libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
        libc::IPPROTO_TCP
    );
    call!(SYS_bind, listener, &raw const address, 16);
    call!(SYS_listen, listener, 5);
    let client = call!(SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0);
    call!(SYS_connect, client, &raw const address, 16);
    let server = call!(SYS_accept4, listener, at, len, libc::SOCK_NONBLOCK);
    call!(SYS_getpeername, client, at, len);
    call!(SYS_getsockname, listener, at, len);
    call!(SYS_sendto, client, c!("hello"), 5, libc::MSG_NOSIGNAL, NULL, 0);
    call!(SYS_recvfrom, server, at, 100, 0, NULL, NULL);
    call!(SYS_recvfrom, server, at, 100, libc::MSG_DONTWAIT, NULL, NULL);
    call!(SYS_accept, 99, at, len);
    call!(SYS_shutdown, client, libc::SHUT_WR);
    call!(SYS_connect, 99, c!("\x01\x00/run/none"), 12);
    call!(
        SYS_bind,
        99,
        c!(
            "\x0a\x00\x12\x34\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x05\x00\x00\x00"
        ),
        28
    );
    call!(
        SYS_bind,
        99,
        c!("\x10\x00\x00\x00\x05\x00\x00\x00\x01\x00\x00\x00"),
        12
    );
    let udp = call!(SYS_socket, libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDP);
    call!(SYS_bind, udp, &raw const address, 16);
    call!(SYS_sendto, udp, c!("datagram"), 8, 0, &raw const address, 16);
    call!(
        SYS_recvfrom,
        udp,
        at,
        100,
        libc::MSG_DONTWAIT,
        at.wrapping_add(64),
        len2
    );
    call!(SYS_socket, libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE);
    call!(SYS_socket, libc::AF_UNIX, libc::SOCK_SEQPACKET, 0);
    call!(SYS_socket, 99, 1, 2);
    let mut pair = [0_i32; 2];
    call!(
        SYS_socketpair,
        libc::AF_UNIX,
        libc::SOCK_DGRAM,
        0,
        pair.as_mut_ptr()
    );
}

pub(crate) fn messages() {
    let mut pair = [0_i32; 2];
    call!(
        SYS_socketpair,
        libc::AF_UNIX,
        libc::SOCK_STREAM,
        0,
        pair.as_mut_ptr()
    );
    let (data, mut control) = ([0_u8; 64], [0_u64; 8]);
    let iov = |base: *const u8, len: usize| libc::iovec {
        iov_base: base.cast_mut().cast(),
        iov_len: len,
    };
    // SAFETY: plain integers and pointers.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    let mut out = [iov(c!("one"), 3), iov(c!("second"), 6)];
    message.msg_iov = out.as_mut_ptr();
    message.msg_iovlen = 2;
    call!(SYS_sendmsg, pair[0], &raw const message, libc::MSG_NOSIGNAL);
    let mut rights = [
        20_u64,
        libc::SOL_SOCKET as u64 | (libc::SCM_RIGHTS as u64) << 32,
        1,
    ];
    message.msg_control = rights.as_mut_ptr().cast();
    message.msg_controllen = 24;
    call!(SYS_sendmsg, pair[0], &raw const message, 0);
    let mut input = [iov(data.as_ptr(), 64)];
    // SAFETY: as above.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = input.as_mut_ptr();
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = 64;
    call!(SYS_recvmsg, pair[1], &raw mut message, libc::MSG_CMSG_CLOEXEC);
    call!(SYS_recvmsg, pair[1], &raw mut message, libc::MSG_DONTWAIT);
    call!(SYS_recvmsg, pair[1], &raw mut message, libc::MSG_DONTWAIT);
    call!(SYS_sendmsg, 99, BAD, 0);
    // SAFETY: as above.
    let mut many: [libc::mmsghdr; 2] = unsafe { std::mem::zeroed() };
    for one in &mut many {
        one.msg_hdr.msg_iov = out.as_mut_ptr();
        one.msg_hdr.msg_iovlen = 1;
    }
    call!(SYS_sendmmsg, pair[0], many.as_ptr(), 2, 0);
    for one in &mut many {
        one.msg_hdr.msg_iov = input.as_mut_ptr();
    }
    call!(SYS_recvmmsg, pair[1], many.as_ptr(), 2, libc::MSG_DONTWAIT, NULL);
}

pub(crate) fn options() {
    let fd = call!(SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0);
    let (mut out, one, mut length);
    (out, one) = ([0_u8; 128], 1_i32);
    for (level, option) in [
        (libc::SOL_SOCKET, libc::SO_REUSEADDR),
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
        (libc::SOL_SOCKET, libc::SO_RCVBUF),
        (libc::SOL_SOCKET, libc::SO_ERROR),
        (libc::SOL_SOCKET, libc::SO_TYPE),
        (libc::SOL_TCP, libc::TCP_NODELAY),
        (libc::SOL_IP, libc::IP_TTL),
        (libc::SOL_IPV6, libc::IPV6_V6ONLY),
    ] {
        call!(SYS_setsockopt, fd, level, option, &raw const one, 4);
        length = 4;
        call!(
            SYS_getsockopt,
            fd,
            level,
            option,
            out.as_mut_ptr(),
            &raw mut length
        );
    }
    length = 128;
    call!(
        SYS_getsockopt,
        fd,
        libc::SOL_SOCKET,
        libc::SO_LINGER,
        out.as_mut_ptr(),
        &raw mut length
    );
    call!(
        SYS_setsockopt,
        fd,
        libc::SOL_SOCKET,
        libc::SO_LINGER,
        [1_i32, 5].as_ptr(),
        8
    );
    call!(
        SYS_setsockopt,
        fd,
        libc::SOL_SOCKET,
        libc::SO_RCVTIMEO,
        [5_i64, 6].as_ptr(),
        16
    );
    call!(
        SYS_setsockopt,
        fd,
        libc::SOL_SOCKET,
        libc::SO_BINDTODEVICE,
        c!("lo"),
        2
    );
}

pub(crate) fn ipc() {
    let mut out = [0_u64; 64];
    let to = out.as_mut_ptr();
    let sem = call!(SYS_semget, libc::IPC_PRIVATE, 2, libc::IPC_CREAT | 0o600);
    call!(SYS_semop, sem, [0_u16, 1, 0].as_ptr(), 1);
    call!(
        SYS_semtimedop,
        sem,
        [0_u16, 0xffff, 0x800].as_ptr(),
        1,
        [0_i64, 100].as_ptr()
    );
    call!(SYS_semctl, sem, 0, libc::GETVAL, 0);
    call!(SYS_semctl, sem, 0, libc::SETVAL, 5);
    call!(SYS_semctl, sem, 0, libc::IPC_RMID, 0);
    let shm = call!(SYS_shmget, libc::IPC_PRIVATE, 4096, libc::IPC_CREAT | 0o640);
    let at = call!(SYS_shmat, shm, NULL, 0);
    call!(SYS_shmdt, at);
    call!(SYS_shmctl, shm, libc::IPC_STAT, to);
    call!(SYS_shmctl, shm, libc::IPC_RMID, NULL);
    let queue = call!(SYS_msgget, 0x1234, libc::IPC_CREAT | libc::IPC_EXCL | 0o600);
    let message = [7_u64, u64::from_ne_bytes(*b"message!")];
    call!(SYS_msgsnd, queue, message.as_ptr(), 8, libc::IPC_NOWAIT);
    call!(SYS_msgrcv, queue, to, 100, 7, libc::MSG_NOERROR);
    call!(SYS_msgrcv, queue, to, 100, 7, libc::IPC_NOWAIT);
    call!(SYS_msgctl, queue, libc::IPC_STAT, to);
    call!(SYS_msgctl, queue, libc::IPC_RMID, NULL);
}

pub(crate) fn queues() {
    let mut out = [0_u64; 1024];
    let to = out.as_mut_ptr();
    let attr = [0_u64, 4, 64, 0, 0, 0, 0, 0];
    let fd = call!(
        SYS_mq_open,
        c!("q"),
        libc::O_RDWR | libc::O_CREAT | libc::O_NONBLOCK,
        0o600,
        attr.as_ptr()
    );
    call!(SYS_mq_timedsend, fd, c!("message"), 7, 3, NULL);
    call!(SYS_mq_getsetattr, fd, NULL, to);
    call!(SYS_mq_timedreceive, fd, to, 64, to.wrapping_add(100), NULL);
    call!(SYS_mq_timedreceive, fd, to, 64, NULL, [1_i64, 5].as_ptr());
    call!(SYS_mq_notify, fd, NULL);
    call!(SYS_mq_unlink, c!("q"));
}

pub(crate) fn events() {
    let mut pipe = [0_i32; 2];
    call!(SYS_pipe2, pipe.as_mut_ptr(), 0);
    call!(SYS_write, pipe[1], c!("x"), 1);
    let mut polls = [
        libc::pollfd {
            fd: pipe[0],
            events: libc::POLLIN | libc::POLLPRI,
            revents: 0,
        },
        libc::pollfd {
            fd: -1,
            events: 0,
            revents: 0,
        },
        libc::pollfd {
            fd: 99,
            events: libc::POLLOUT,
            revents: 0,
        },
    ];
    call!(SYS_poll, polls.as_mut_ptr(), 3, 10);
    call!(SYS_poll, polls.as_mut_ptr(), 1, 0);
    polls[0].fd = pipe[1];
    polls[0].events = libc::POLLIN;
    call!(SYS_poll, polls.as_mut_ptr(), 1, 1);
    let set = 1_u64 << 16;
    call!(
        SYS_ppoll,
        polls.as_mut_ptr(),
        2,
        [0_i64, 1000].as_ptr(),
        &raw const set,
        8
    );
    let mut many = [polls[0]; 40];
    call!(SYS_poll, many.as_mut_ptr(), 40, 0);
    let mut read = [0_u64; 16];
    let mut write = [0_u64; 16];
    read[0] = 1 << pipe[0] | 1 << pipe[1];
    write[0] = 1 << pipe[1];
    let mut time = [1_i64, 5];
    call!(
        SYS_select,
        8,
        read.as_mut_ptr(),
        write.as_mut_ptr(),
        NULL,
        time.as_mut_ptr()
    );
    read[0] = 1 << pipe[1];
    time = [0, 100];
    call!(SYS_select, 8, read.as_mut_ptr(), NULL, NULL, time.as_mut_ptr());
    call!(SYS_select, -1, NULL, NULL, NULL, NULL);
    let mask = [&raw const set as u64, 8];
    read[0] = 1 << pipe[0];
    time = [0, 100];
    call!(
        SYS_pselect6,
        8,
        read.as_mut_ptr(),
        NULL,
        NULL,
        time.as_mut_ptr(),
        mask.as_ptr()
    );
    let ep = call!(SYS_epoll_create1, libc::EPOLL_CLOEXEC);
    call!(SYS_epoll_create, 5);
    let event = [libc::epoll_event {
        events: (libc::EPOLLIN | libc::EPOLLET) as u32,
        u64: 7,
    }; 40];
    let mut got = event;
    call!(SYS_epoll_ctl, ep, libc::EPOLL_CTL_ADD, pipe[0], event.as_ptr());
    call!(SYS_epoll_ctl, ep, libc::EPOLL_CTL_MOD, pipe[0], event.as_ptr());
    call!(SYS_epoll_ctl, ep, 99, pipe[0], event.as_ptr());
    call!(SYS_epoll_wait, ep, got.as_mut_ptr(), 40, 10);
    call!(SYS_epoll_wait, ep, got.as_mut_ptr(), 40, 0);
    call!(
        SYS_epoll_pwait,
        ep,
        got.as_mut_ptr(),
        40,
        0,
        &raw const set,
        8_u64
    );
    call!(
        SYS_epoll_pwait2,
        ep,
        got.as_mut_ptr(),
        40,
        [0_i64, 1].as_ptr(),
        NULL,
        0
    );
    call!(SYS_epoll_ctl, ep, libc::EPOLL_CTL_DEL, pipe[0], NULL);
    let fd = call!(SYS_eventfd2, 5, libc::EFD_NONBLOCK | libc::EFD_SEMAPHORE);
    call!(SYS_eventfd, 1);
    call!(SYS_read, fd, read.as_mut_ptr(), 8);
    let fd = call!(SYS_inotify_init1, libc::IN_NONBLOCK);
    call!(SYS_inotify_init);
    let watch = call!(
        SYS_inotify_add_watch,
        fd,
        c!("."),
        libc::IN_CREATE | libc::IN_DELETE
    );
    call!(SYS_creat, c!("new"), 0o600);
    call!(SYS_read, fd, read.as_mut_ptr(), 100);
    call!(SYS_inotify_rm_watch, fd, watch);
    let fd = call!(SYS_fanotify_init, 0, 0);
    call!(SYS_fanotify_mark, fd, 1, 0x20, libc::AT_FDCWD, c!("."));
}

pub(crate) fn modern() {
    let mut out = [0_u64; 64];
    let to = out.as_mut_ptr();
    let ring = call!(SYS_io_uring_setup, 0, to);
    call!(SYS_io_uring_enter, ring, 0, 0, 0, NULL, 0);
    call!(SYS_io_uring_register, ring, 0, NULL, 0);
    call!(SYS_io_setup, 1, to);
    call!(SYS_io_destroy, out[0]);
    call!(SYS_io_submit, 0, 0, NULL);
    call!(SYS_io_cancel, 0, NULL, NULL);
    call!(SYS_io_getevents, 0, 0, 0, NULL, NULL);
    call!(SYS_bpf, 99, NULL, 0);
    call!(SYS_perf_event_open, NULL, 0, -1, -1, 0);
    call!(SYS_landlock_create_ruleset, NULL, 0, 1);
    call!(SYS_landlock_restrict_self, -1, 0);
    call!(SYS_landlock_add_rule, -1, 1, NULL, 0);
    call!(SYS_name_to_handle_at, libc::AT_FDCWD, c!("none"), to, to, 0);
    call!(SYS_open_by_handle_at, -1, to, 0);
    call!(SYS_process_mrelease, -1, 0);
    call!(SYS_get_robust_list, 0, to, to);
    call!(SYS_set_robust_list, NULL, 24);
    call!(SYS_migrate_pages, 0, 0, NULL, NULL);
    call!(SYS_move_pages, 0, 0, NULL, NULL, NULL, 0);
    call!(SYS_lookup_dcookie, 0, to, 0);
    call!(SYS_iopl, 9);
    call!(SYS_ioperm, 0, 0, 0);
    call!(SYS_modify_ldt, 99, NULL, 0);
    call!(SYS_init_module, NULL, 0, c!(""));
    call!(SYS_finit_module, -1, c!(""), 0);
    call!(SYS_delete_module, c!("none"), libc::O_NONBLOCK);
    call!(SYS_reboot, 0, 0, 0, NULL);
    call!(SYS_kexec_load, 0, 0, NULL, 99);
    call!(SYS_rseq, NULL, 0, 0, 0);
    call!(SYS_set_tid_address, to);
}

pub(crate) fn wrong() {
    call!(SYS_openat, libc::AT_FDCWD, BAD, libc::O_RDONLY);
    call!(SYS_openat, 77, c!("x"), 0x8000_0003_u32 as i32);
    call!(SYS_read, -1, BAD, 10);
    call!(SYS_write, 1, BAD, 10);
    call!(
        SYS_write,
        -1,
        c!("a string of more than thirty-two bytes that is cut"),
        50
    );
    call!(SYS_stat, BAD, BAD);
    call!(SYS_fstat, 1, BAD);
    call!(SYS_uname, BAD);
    call!(SYS_pipe2, BAD, 0);
    call!(SYS_poll, BAD, 2, 0);
    call!(SYS_nanosleep, BAD, NULL);
    call!(SYS_mmap, BAD, 0, 0xff, 0xffff_ffff_u32, -1, 0);
    call!(SYS_socket, -1, -1, -1);
    call!(SYS_connect, -1, BAD, 16);
    call!(SYS_sendto, -1, BAD, 5, -1, BAD, 16);
    call!(SYS_wait4, -1, BAD, -1, BAD);
    call!(SYS_rt_sigaction, 99, BAD, BAD, 8);
    call!(SYS_rt_sigaction, 10, NULL, NULL, 4);
    call!(SYS_prlimit64, -1, 99, BAD, BAD);
    call!(SYS_epoll_ctl, -1, 1, -1, BAD);
    call!(SYS_getdents64, -1, BAD, 10);
    call!(SYS_getdents, -1, BAD, 10);
    call!(SYS_ioctl, -1, 0x1234_5678, 5);
    call!(SYS_setsockopt, -1, 77, 88, BAD, 4);
    call!(SYS_getsockopt, -1, 1, 88, BAD, BAD);
    call!(SYS_mount, BAD, BAD, BAD, 0, BAD);
    call!(SYS_readlink, c!("none"), BAD, 10);
    call!(SYS_utimensat, -1, NULL, NULL, 0x8000);
    call!(SYS_clock_gettime, 77, BAD);
    call!(SYS_futex, BAD, 99, 1, 2, 3, 4);
    call!(SYS_getgroups, -1, NULL);
    call!(SYS_setgroups, 99, BAD);
}
