//! Calls that ask for the kernel's own services: asynchronous input and output, programs, rules, policies, devices.
//!
//! Structures are written as the kernel's headers lay them out, as plain numbers: what matters is how they are shown.

use super::{BAD, NULL, open};
use std::ptr;

/// Two halves of a 64-bit field.
pub(crate) const fn both(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

pub(crate) fn aio() {
    let (mut context, mut events) = (0_u64, [0_u64; 16]);
    let time = [0_i64, 1000];
    call!(SYS_io_setup, 4, &raw mut context);
    call!(SYS_io_setup, 4, &raw mut context);
    call!(SYS_io_setup, 4, BAD);
    call!(SYS_io_submit, context, 0, NULL);
    call!(SYS_io_submit, context, 1, BAD);
    call!(
        SYS_io_getevents,
        context,
        0,
        4,
        events.as_mut_ptr(),
        time.as_ptr()
    );
    call!(SYS_io_getevents, context, 0, 4, events.as_mut_ptr(), NULL);
    call!(SYS_io_getevents, context, 2, 1, events.as_mut_ptr(), NULL);
    let mut block = [0_u64; 8];
    block[0] = 7;
    block[2] = both(1 << 16, 1);
    (block[3], block[4], block[5]) = (0, 0, 0);
    call!(SYS_io_cancel, context, block.as_ptr(), events.as_mut_ptr());
    (block[3], block[4], block[5]) = (BAD as u64, 5, 6);
    block[2] = both(1, 3);
    call!(SYS_io_cancel, context, block.as_ptr(), events.as_mut_ptr());
    call!(SYS_io_cancel, context, BAD, events.as_mut_ptr());

    call!(SYS_io_destroy, context);
    call!(SYS_io_destroy, context);
}

pub(crate) fn uring() {
    let mut params = [0_u32; 30];
    params[2] = 1 << 3 | 1 << 4;
    params[1] = 8;
    let ring = call!(SYS_io_uring_setup, 4, params.as_mut_ptr());
    params = [0; 30];
    params[2] = 0x8000_0003;
    params[3] = 1;
    call!(SYS_io_uring_setup, 4, params.as_mut_ptr());
    call!(SYS_io_uring_setup, 4, BAD);
    call!(SYS_io_uring_setup, 0, params.as_mut_ptr());
    call!(SYS_io_uring_enter, ring, 0, 0, 1, NULL, 8_u64);
    call!(SYS_io_uring_enter, ring, 0, 0, 0x8000_000f_u32, NULL, 8_u64);
    call!(SYS_io_uring_enter, 99, 1, 2, 0, NULL, 0_u64);
    let files = [0_i32, 1, -1];
    call!(SYS_io_uring_register, ring, 2, files.as_ptr(), 3);
    call!(SYS_io_uring_register, ring, 3, NULL, 0);
    call!(SYS_io_uring_register, ring, 4, [1_i32].as_ptr(), 1);
    call!(SYS_io_uring_register, ring, 5, NULL, 0);
    call!(SYS_io_uring_register, ring, 9, NULL, 0);
    call!(SYS_io_uring_register, ring, 12, NULL, 0);
    call!(SYS_io_uring_register, ring, 20, NULL, 0);
    call!(SYS_io_uring_register, ring, 99, NULL, 0);
    call!(SYS_io_uring_register, 99, 0, BAD, 1);
    call!(SYS_io_uring_register, 99, 8, BAD, 1);
}

pub(crate) fn programs() {
    // Without those that look for what others have loaded: the tracer has, strace has not.
    for command in (0..36).filter(|command| ![11, 12, 23, 31].contains(command)) {
        call!(SYS_bpf, command, NULL, 0);
    }
    call!(SYS_bpf, 0, BAD, 72);
    let mut attribute = [0_u64; 18];
    call!(SYS_bpf, 99, attribute.as_ptr(), 16);
    attribute[0] = both(2, 4);
    attribute[1] = both(8, 1);
    let map = call!(SYS_bpf, 0, attribute.as_ptr(), 72);
    let (key, mut value) = ([0_u32], [0_u64]);
    attribute = [0; 18];
    attribute[0] = both(map as u32, 0);
    attribute[1] = key.as_ptr() as u64;
    attribute[2] = value.as_mut_ptr() as u64;
    call!(SYS_bpf, 1, attribute.as_ptr(), 32);
    call!(SYS_bpf, 2, attribute.as_ptr(), 32);
    call!(SYS_bpf, 3, attribute.as_ptr(), 32);
    call!(SYS_bpf, 4, attribute.as_ptr(), 32);
    let mut event = [0_u64; 16];
    event[0] = both(1, 128);
    call!(SYS_perf_event_open, event.as_ptr(), 99_999, -1, -1, 8);
    call!(SYS_perf_event_open, BAD, 0, -1, -1, 0x8000_000f_u64);
    let filter = [both(0x06, 0x7fff_0000)];
    let program = [1_u64, filter.as_ptr() as u64];
    call!(SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    call!(SYS_seccomp, 1, 1, program.as_ptr());
    call!(SYS_seccomp, 1, 0x8000_0001_u32, BAD);
    let mut sizes = [0_u16; 3];
    call!(SYS_seccomp, 3, 0, sizes.as_mut_ptr());
    call!(SYS_seccomp, 3, 0, BAD);
    call!(SYS_seccomp, 0, 1, NULL);
    for action in [
        0_u32,
        0x8000_0000,
        0x0003_0000,
        0x0005_0001,
        0x7fc0_0000,
        0x7ff0_0000,
        0x7ffc_0000,
        0x7fff_0000,
        5,
    ] {
        call!(SYS_seccomp, 2, 0, &raw const action);
    }
}

pub(crate) fn rules() {
    call!(SYS_landlock_create_ruleset, NULL, 0, 1);
    call!(SYS_landlock_create_ruleset, NULL, 0, 6);
    let attribute = [0x1fff_u64, 3];
    let rules = call!(SYS_landlock_create_ruleset, attribute.as_ptr(), 8, 0);
    call!(SYS_landlock_create_ruleset, [1_u64 << 40].as_ptr(), 8, 0);
    call!(SYS_landlock_create_ruleset, attribute.as_ptr(), 4, 0);
    call!(SYS_landlock_create_ruleset, BAD, 8, 0);
    let mut path = [0_u8; 12];
    path[0] = 4;
    path[8..].copy_from_slice(&(open(c!("."), libc::O_PATH) as i32).to_ne_bytes());
    call!(SYS_landlock_add_rule, rules, 1, path.as_ptr(), 0);
    call!(SYS_landlock_add_rule, rules, 1, BAD, 0);
    call!(SYS_landlock_add_rule, rules, 77, BAD, 5);
    call!(SYS_landlock_restrict_self, -1, 0);
    call!(SYS_landlock_restrict_self, -1, 9);
}

pub(crate) fn policies() {
    let (mut mode, mut nodes) = (0_i32, [0_u64; 2]);
    let at = call!(
        SYS_mmap,
        NULL,
        8192,
        3,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        -1,
        0_u64
    );
    call!(SYS_get_mempolicy, &raw mut mode, nodes.as_mut_ptr(), 128, NULL, 0);
    call!(SYS_get_mempolicy, &raw mut mode, NULL, 0, at, 2);
    call!(SYS_get_mempolicy, &raw mut mode, NULL, 0, at, 3);
    call!(SYS_get_mempolicy, NULL, nodes.as_mut_ptr(), 128, NULL, 4);
    call!(SYS_get_mempolicy, BAD, NULL, 0, NULL, 9);
    nodes = [1, 0];
    call!(SYS_mbind, at, 4096, 2, nodes.as_ptr(), 128, 3);
    call!(SYS_mbind, at, 4096, 0x4003, nodes.as_ptr(), 64, 1);
    call!(SYS_mbind, at, 4096, 99, NULL, 0, 0x80);
    call!(SYS_mbind, at, 4096, 1, BAD, 64, 0);
    call!(SYS_set_mempolicy, 0, NULL, 0);
    call!(SYS_set_mempolicy, 1, nodes.as_ptr(), 65);
    call!(SYS_set_mempolicy, 0x8004, nodes.as_ptr(), 64);
    call!(SYS_set_mempolicy, 77, NULL, 0);
    call!(SYS_set_mempolicy_home_node, at, 4096, 0, 0);
    call!(SYS_migrate_pages, 0, 64, nodes.as_ptr(), nodes.as_ptr());
    call!(SYS_migrate_pages, 0, 64, BAD, BAD);
    let mut present = [0_u8; 2];
    call!(SYS_mincore, at, 8192, present.as_mut_ptr());
    call!(SYS_mincore, at, 8192, BAD);
    call!(SYS_mincore, at, 0, present.as_mut_ptr());
    call!(SYS_remap_file_pages, at, 4096, 1, 1, 0x10000);
    call!(SYS_mmap, NULL, 2 << 20, 3, 0x4_0022 | 21 << 26, -1, 0_u64);
    call!(SYS_mmap, NULL, 4096, 0x100_0008, 7, -1, 0_u64);
    call!(SYS_madvise, at, 4096, 99);
    call!(SYS_membarrier, 0, 0, 0);
    call!(SYS_membarrier, 16, 0, 0);
    call!(SYS_membarrier, 77, 1, 0);
    call!(SYS_userfaultfd, 0x8_0801);
    call!(SYS_userfaultfd, 0x7000_0000);
    call!(SYS_memfd_create, c!("m"), 0x8000_0003_u32);
    call!(SYS_memfd_create, c!("m"), 4 | 21 << 26);
    call!(SYS_memfd_secret, 0x8_0000);
}

pub(crate) fn controls() {
    let mut out = [0_u64; 64];
    let to = out.as_mut_ptr();
    let sem = call!(SYS_semget, libc::IPC_PRIVATE, 2, libc::IPC_CREAT | 0o600);
    let values = [5_u16, 6];
    call!(SYS_semctl, sem, 0, libc::SETALL, values.as_ptr());
    call!(SYS_semctl, sem, 0, libc::GETALL, to);
    call!(SYS_semctl, sem, 0, libc::GETPID, 0);
    call!(SYS_semctl, sem, 0, libc::GETNCNT, 0);
    call!(SYS_semctl, sem, 1, libc::GETZCNT, 0);
    call!(SYS_semctl, sem, 0, libc::IPC_STAT, to);
    call!(SYS_semctl, 0, 0, libc::SEM_INFO, to);
    call!(SYS_semctl, 0, 0, libc::IPC_INFO, to);
    call!(SYS_semctl, sem, 0, libc::IPC_STAT, BAD);
    call!(SYS_semctl, sem, 0, 77, 5);
    call!(SYS_semop, sem, BAD, 2);
    let operations = [0_u16, 1, 0, 1, 0xffff, 0x1800];
    call!(SYS_semop, sem, operations.as_ptr(), 2);
    call!(SYS_semctl, sem, 0, libc::IPC_RMID, 0);
    let shm = call!(SYS_shmget, libc::IPC_PRIVATE, 4096, libc::IPC_CREAT | 0o640);
    call!(SYS_shmctl, shm, libc::IPC_STAT, to);
    call!(SYS_shmctl, shm, libc::IPC_STAT, BAD);
    call!(SYS_shmctl, 0, libc::IPC_INFO, to);
    call!(SYS_shmctl, 0, 14, to);
    call!(SYS_shmctl, shm, 11, NULL);
    call!(SYS_shmctl, shm, 12, NULL);
    call!(SYS_shmctl, shm, 77, NULL);
    let at = call!(SYS_shmat, shm, NULL, libc::SHM_RDONLY);
    call!(SYS_shmdt, at);
    call!(SYS_shmat, -1, BAD, 0o170_000);
    call!(SYS_shmctl, shm, libc::IPC_RMID, NULL);
    let queue = call!(SYS_msgget, libc::IPC_PRIVATE, libc::IPC_CREAT | 0o600);
    call!(SYS_msgctl, queue, libc::IPC_STAT, to);
    call!(SYS_msgctl, queue, libc::IPC_SET, to);
    call!(SYS_msgctl, 0, libc::IPC_INFO, to);
    call!(SYS_msgctl, 0, libc::MSG_INFO, to);
    call!(SYS_msgctl, queue, libc::IPC_STAT, BAD);
    call!(SYS_msgsnd, queue, BAD, 8, 0);
    let message = [
        7_u64,
        u64::from_ne_bytes(*b"message!"),
        u64::from_ne_bytes(*b" and one"),
    ];
    call!(SYS_msgsnd, queue, message.as_ptr(), 16, 0);
    call!(SYS_msgrcv, queue, to, 100, 0, libc::MSG_COPY | libc::IPC_NOWAIT);
    call!(SYS_msgrcv, queue, to, 100, -9, libc::MSG_EXCEPT);
    call!(SYS_msgctl, queue, libc::IPC_RMID, NULL);
    let attr = [0_u64, 2, 32, 0, 0, 0, 0, 0];
    let fd = call!(
        SYS_mq_open,
        c!("r"),
        libc::O_RDWR | libc::O_CREAT,
        0o600,
        attr.as_ptr()
    );
    let set = [libc::O_NONBLOCK as u64, 0, 0, 0, 0, 0, 0, 0];
    call!(SYS_mq_getsetattr, fd, set.as_ptr(), to);
    let event = [
        7_u64,
        both(libc::SIGUSR1 as u32, libc::SIGEV_NONE as u32),
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    call!(SYS_mq_notify, fd, event.as_ptr());
    call!(SYS_mq_timedreceive, fd, to, 32, NULL, NULL);
    call!(SYS_mq_timedsend, fd, c!("message"), 7, 3, [1_i64, 5].as_ptr());
    call!(SYS_mq_unlink, c!("r"));
}

pub(crate) fn watches() {
    let fd = call!(SYS_fanotify_init, 0x203, libc::O_RDONLY | libc::O_CLOEXEC);
    call!(SYS_fanotify_init, 0x04, libc::O_RDWR | libc::O_LARGEFILE);
    call!(SYS_fanotify_init, 0x8000_000c_u32, 0);
    call!(SYS_fanotify_mark, fd, 0x11, 0x3b, libc::AT_FDCWD, c!("."));
    call!(
        SYS_fanotify_mark,
        fd,
        0x101,
        0x4002_0028_u64,
        libc::AT_FDCWD,
        c!("words")
    );
    call!(SYS_fanotify_mark, fd, 0x80, 0, libc::AT_FDCWD, NULL);
    call!(
        SYS_fanotify_mark,
        fd,
        0x8000_0002_u32,
        1_u64 << 40,
        99,
        c!("words")
    );
    let mut handle = [0_u8; 136];
    let mut mount = 0_i32;
    handle[0] = 128;
    call!(
        SYS_name_to_handle_at,
        libc::AT_FDCWD,
        c!("words"),
        handle.as_mut_ptr(),
        &raw mut mount,
        0
    );
    call!(
        SYS_open_by_handle_at,
        -1,
        handle.as_ptr(),
        libc::O_RDWR | libc::O_CLOEXEC
    );
    handle[0] = 0;
    call!(
        SYS_name_to_handle_at,
        libc::AT_FDCWD,
        c!("words"),
        handle.as_mut_ptr(),
        &raw mut mount,
        0x400
    );
    call!(SYS_name_to_handle_at, libc::AT_FDCWD, c!("words"), BAD, BAD, 0);
    call!(SYS_open_by_handle_at, -1, BAD, 0);
    for (command, id) in [
        (libc::Q_QUOTAON, libc::QFMT_VFS_V0),
        (libc::Q_QUOTAOFF, 0),
        (libc::Q_SYNC, 0),
        (libc::Q_GETFMT, 0),
        (libc::Q_GETQUOTA, 5),
        (libc::Q_SETQUOTA, 5),
        (libc::Q_GETINFO, 5),
        (0x5803, 5),
        (0x7777, 5),
    ] {
        let command = (command as u32) << 8 | 1;
        call!(SYS_quotactl, command, c!("/dev/none"), id, c!("/quota"));
        call!(SYS_quotactl, command | 2, NULL, id, BAD);
        call!(SYS_quotactl_fd, -1, command - 1, id, BAD);
    }
    let attribute = [1_u64, 2, 1 << 20, 5];
    call!(
        SYS_mount_setattr,
        libc::AT_FDCWD,
        c!("none"),
        0x8000,
        attribute.as_ptr(),
        32
    );
    call!(
        SYS_mount_setattr,
        libc::AT_FDCWD,
        c!("none"),
        0,
        attribute.as_ptr(),
        16
    );
    call!(SYS_mount_setattr, libc::AT_FDCWD, c!("none"), 0, BAD, 32);
    call!(
        SYS_openat2,
        libc::AT_FDCWD,
        c!("none"),
        [0x42_u64, 0o600, 8].as_ptr(),
        24
    );
    call!(
        SYS_openat2,
        libc::AT_FDCWD,
        c!("none"),
        [0_u64, 0, 1 << 20].as_ptr(),
        16
    );
    call!(SYS_openat2, libc::AT_FDCWD, c!("none"), BAD, 24);
    call!(SYS_inotify_add_watch, -1, c!("."), 0x8000_0fff_u32);
}

pub(crate) fn system() {
    // One of the magic numbers is always wrong.
    call!(SYS_reboot, 1, 0x2812_1969, 0xa1b2_c3d4_u32, c!("no"));
    call!(SYS_reboot, 0xfee1_dead_u32, 1, 0x4321_fedc, NULL);
    call!(SYS_reboot, 1, 0x0512_1996, 77, NULL);
    let mut text = [0_u8; 64];
    let to = text.as_mut_ptr();
    call!(SYS_syslog, 0, NULL, 0);
    call!(SYS_syslog, 3, NULL, 16);
    call!(SYS_syslog, 8, NULL, 99);
    call!(SYS_syslog, 8, NULL, -1);
    call!(SYS_syslog, 9, NULL, 0);
    call!(SYS_syslog, 77, NULL, 5);
    call!(SYS_sysfs, 1, c!("proc"));
    call!(SYS_sysfs, 2, 0, to);
    call!(SYS_sysfs, 3);
    call!(SYS_sysfs, 77, 5, 6);
    call!(SYS_ustat, 5, BAD);
    call!(SYS_personality, 0x0004_0000);
    call!(SYS_personality, 0x0804_0008);
    call!(SYS_personality, 0xffff_ffff_u32);
    call!(SYS_personality, 0);
    call!(SYS_kexec_load, 0, 99, BAD, 0x3e_0003_u64);
    call!(SYS_kexec_load, 0x1000, 99, NULL, 0x77_0000_u64);
    call!(SYS_kexec_file_load, -1, -1, 4, c!("ro\0"), 6);
    call!(SYS_init_module, c!("abc"), 3, c!("x=1"));
    call!(SYS_finit_module, -1, c!("x=1"), 3);
    call!(SYS_delete_module, c!("none"), 0xa00);
    call!(SYS_swapon, c!("none"), 0x3_8005);
    call!(SYS_swapoff, c!("none"));
    let own = call!(SYS_getpid);
    for kind in 0..8 {
        call!(SYS_kcmp, own, own, kind, 1, 2);
    }
    call!(SYS_kcmp, own, own, 77, 1, 2);
    call!(SYS_rseq, BAD, 32, 1, 0x5305_3053);
    call!(SYS_rseq, BAD, 32, 6, 0);
    call!(SYS_ioprio_set, 1, 0, 1 << 13 | 7);
    call!(SYS_ioprio_set, 2, 0, 3 << 13);
    call!(SYS_ioprio_set, 7, 0, 7 << 13 | 9);
    call!(SYS_ioprio_get, 1, 0);
    call!(SYS_ioprio_get, 77, 0);
    call!(SYS_process_mrelease, -1, 5);
    call!(SYS_pidfd_open, 0, 0x800);
    call!(SYS_set_robust_list, BAD, 24);
    let (mut head, mut size) = (0_u64, 0_u64);
    call!(SYS_get_robust_list, 0, &raw mut head, &raw mut size);
    call!(SYS_get_robust_list, 0, BAD, BAD);
    call!(SYS_modify_ldt, 0, to, 16);
    call!(SYS_arch_prctl, 0x1011, 0);
    call!(SYS_arch_prctl, 0x1004, to);
    call!(SYS_arch_prctl, 0x1021, to);
    call!(SYS_arch_prctl, 77, to);
    call!(SYS_getcpu, to, to.wrapping_add(8), NULL);
    call!(SYS_close_range, 900, 901, 6);
    call!(SYS_umask, 0);
    call!(SYS_umask, 0o22);
    let mut time = 0_i64;
    call!(SYS_time, NULL);
    call!(SYS_time, &raw mut time);
    call!(SYS_time, BAD);
    call!(SYS_times, NULL);
    let mut clock = [0_u64; 26];
    call!(SYS_adjtimex, clock.as_mut_ptr());
    call!(SYS_clock_adjtime, libc::CLOCK_REALTIME, clock.as_mut_ptr());
    call!(SYS_gettimeofday, NULL, to);
}

pub(crate) fn traced() {
    // SAFETY: the child makes its own end.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let own = call!(SYS_getpid);
        call!(SYS_kill, own, libc::SIGKILL);
    }
    let mut out = [0_u64; 64];
    let to = out.as_mut_ptr();
    for request in [3, 5, 6, 7, 8, 17, 24, 31, 77] {
        call!(SYS_ptrace, request, 99_999, BAD, 5);
    }
    call!(SYS_ptrace, 0x4206, 99_999, 0, 0x51);
    call!(SYS_ptrace, 0x4200, 99_999, 0, 0x10_0001);
    call!(SYS_ptrace, 0x4202, 99_999, 0, to);
    call!(SYS_ptrace, 0x4204, 99_999, 1, to);
    call!(SYS_ptrace, 0x4205, 99_999, 0x202, to);
    call!(SYS_ptrace, 0x4207, 99_999, 0, 0);
    call!(SYS_ptrace, 0x420e, 99_999, 24, to);
    call!(SYS_ptrace, 12, 99_999, 0, to);
    for address in [80, 120, 128, 144, 208, 224, 848, 9] {
        call!(SYS_ptrace, libc::PTRACE_PEEKUSER, 99_999, address, to);
    }
    call!(SYS_kill, child, 0);
    let mut info = [0_u32; 32];
    call!(
        SYS_waitid,
        libc::P_PID,
        child,
        info.as_mut_ptr(),
        libc::WEXITED | libc::WNOWAIT,
        to
    );
    call!(SYS_waitid, libc::P_PID, child, BAD, libc::WEXITED, NULL);
    call!(SYS_waitid, 77, -1, info.as_mut_ptr(), 0x8000_0004_u32, NULL);
    let pair = call!(SYS_getpid);
    for (code, signal) in [
        (-1, 10),
        (-6, 10),
        (-2, 12),
        (-3, 12),
        (-4, 12),
        (-60, 17),
        (-99, 99),
    ] {
        info = [0; 32];
        (info[0], info[2]) = (signal, code as u32);
        (info[4], info[5], info[6]) = (5, 6, 7);
        call!(SYS_rt_sigqueueinfo, 99_999, signal, info.as_ptr());
    }
    for (signal, code) in [
        (17, 1),
        (17, 5),
        (11, 1),
        (11, 2),
        (8, 1),
        (7, 2),
        (4, 1),
        (5, 1),
        (29, 1),
        (31, 1),
        (10, 0),
        (10, 0x80),
    ] {
        info = [0; 32];
        (info[0], info[2]) = (signal, code);
        (info[4], info[5], info[6]) = (5, 6, 7);
        call!(SYS_pidfd_send_signal, -1, signal, info.as_ptr(), 0);
    }
    call!(SYS_pidfd_send_signal, -1, 10, BAD, 9);
    call!(SYS_rt_tgsigqueueinfo, pair, pair, 10, BAD);
    let mut event = [0_u64; 8];
    for (signal, notify) in [(10, 0_u32), (77, 1), (12, 2), (12, 4), (12, 77)] {
        event[0] = 0x1122_3344_5566;
        event[1] = both(signal, notify);
        event[2] = 7;
        call!(SYS_timer_create, libc::CLOCK_MONOTONIC, event.as_ptr(), BAD);
    }
    call!(SYS_timer_create, libc::CLOCK_MONOTONIC, NULL, to);
    call!(SYS_timer_create, 77, BAD, to);
    call!(
        SYS_clone3,
        [0x8000_0000_0000_u64, 1, 2, 3, 77, 5, 6, 7, BAD as u64, 1, 3].as_ptr(),
        88
    );
    call!(SYS_clone3, [0_u64, 0, 0, 0, 77, 5, 6, 0].as_ptr(), 64);
    call!(SYS_clone3, BAD, 88);
    let mut attribute = [0_u64; 8];
    attribute[0] = both(56, 6);
    attribute[1] = 7;
    (attribute[3], attribute[4], attribute[5]) = (1, 2, 3);
    attribute[6] = both(5, 6);
    call!(SYS_sched_setattr, 99_999, attribute.as_ptr(), 0);
    call!(SYS_sched_setattr, 99_999, BAD, 1);
    call!(SYS_sched_getattr, 0, to, 48, 0);
    call!(SYS_sched_getattr, 0, to, 56, 1);
    let mut rusage = [0_u64; 18];
    call!(SYS_getrusage, libc::RUSAGE_THREAD, rusage.as_mut_ptr());
    call!(SYS_getrusage, 77, rusage.as_mut_ptr());
    call!(SYS_rt_sigaction, libc::SIGUSR2, NULL, ptr::null::<u8>(), 8);
}

pub(crate) fn secrets() {
    call!(SYS_keyctl, 1, NULL, 0, 0, 0);
    let key = call!(SYS_add_key, c!("user"), c!("name"), c!("secret"), 6, -2);
    let mut out = [0_u8; 64];
    let to = out.as_mut_ptr();
    call!(SYS_keyctl, 0, -3, 0);
    call!(SYS_keyctl, 1, c!("session"));
    call!(SYS_keyctl, 2, key, c!("other"), 5);
    call!(SYS_keyctl, 3, 99);
    call!(SYS_keyctl, 4, 99, 5, -1);
    call!(SYS_keyctl, 5, 99, 0x3f01_0000);
    call!(SYS_keyctl, 6, key, to, 64);
    call!(SYS_keyctl, 7, 99);
    call!(SYS_keyctl, 8, 99, -3);
    call!(SYS_keyctl, 9, 99, -3);
    call!(SYS_keyctl, 10, -3, c!("user"), c!("name"), 0);
    call!(SYS_keyctl, 11, key, to, 64);
    call!(SYS_keyctl, 12, 99, c!("data"), 4, -3);
    call!(SYS_keyctl, 13, 99, 5, -3);
    call!(SYS_keyctl, 14, 3);
    call!(SYS_keyctl, 15, 99, 60);
    call!(SYS_keyctl, 16, 99);
    call!(SYS_keyctl, 17, 99, to, 64);
    call!(SYS_keyctl, 18);
    call!(SYS_keyctl, 19, 99, 5, 13, -3);
    call!(SYS_keyctl, 21, 99);
    call!(SYS_keyctl, 22, -1, -4);
    call!(SYS_keyctl, 29, -2, c!("user"), NULL);
    call!(SYS_keyctl, 30, 99, -2, -3, 1);
    call!(SYS_keyctl, 31, to, 64);
    for (option, second, third, fourth, fifth) in [
        (
            libc::PR_SET_NAME,
            c!("a name of more than fifteen") as usize,
            0,
            0,
            0,
        ),
        (libc::PR_GET_UNALIGN, to as usize, 0, 0, 0),
        (libc::PR_SET_TSC, 1, 0, 0, 0),
        (libc::PR_GET_TSC, to as usize, 0, 0, 0),
        (libc::PR_SET_SECCOMP, 1 << 20, 0, 0, 0),
        (libc::PR_SET_SECUREBITS, 0x100, 0, 0, 0),
        (libc::PR_MCE_KILL, 1, 2, 0, 0),
        (libc::PR_MCE_KILL_GET, 0, 0, 0, 0),
        (libc::PR_SET_MM, 1, 0x1000, 0, 0),
        (libc::PR_SET_MM, 14, BAD, 0, 0),
        (libc::PR_GET_TID_ADDRESS, to as usize, 0, 0, 0),
        (libc::PR_SET_THP_DISABLE, 0, 0, 0, 0),
        (libc::PR_GET_THP_DISABLE, 0, 0, 0, 0),
        (libc::PR_CAP_AMBIENT, 1, 0, 0, 0),
        (libc::PR_CAP_AMBIENT, 4, 0, 0, 0),
        (libc::PR_GET_SPECULATION_CTRL, 0, 0, 0, 0),
        (libc::PR_SET_SPECULATION_CTRL, 1, 2, 0, 0),
        (libc::PR_SET_PTRACER, usize::MAX, 0, 0, 0),
        (libc::PR_SET_VMA, 0, 0x1000, 4096, c!("area") as usize),
        (libc::PR_SCHED_CORE, 0, 0, 0, to as usize),
        (libc::PR_GET_TIMING, 0, 0, 0, 0),
        (libc::PR_SET_TIMING, 0, 0, 0, 0),
        (libc::PR_TASK_PERF_EVENTS_DISABLE, 0, 0, 0, 0),
        (libc::PR_GET_CHILD_SUBREAPER, to as usize, 0, 0, 0),
        (libc::PR_SET_FP_MODE, 1, 0, 0, 0),
        (libc::PR_GET_FP_MODE, 0, 0, 0, 0),
        (libc::PR_SET_DUMPABLE, 77, 0, 0, 0),
        (libc::PR_CAPBSET_READ, 77, 0, 0, 0),
        (libc::PR_SET_PDEATHSIG, 77, 0, 0, 0),
    ] {
        call!(SYS_prctl, option, second, third, fourth, fifth);
    }
}
