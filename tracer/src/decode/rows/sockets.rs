//! Rows of calls on sockets and other means to talk.

use super::*;

const LENGTH_OUT: Show = Show::output(4, net::length::<1, 2>)
    .at(Moment::Both)
    .or(values::pointer);

pub(super) static ROWS: &[Row] = &[
    // Sockets.
    row(
        "socket",
        &[
            ("family", Enum(&names::FAMILY)),
            ("type", Value(net::socket_type)),
            ("protocol", Value(net::protocol)),
        ],
    ),
    row(
        "socketpair",
        &[
            ("family", Enum(&names::FAMILY)),
            ("type", Value(net::socket_type)),
            ("protocol", Value(net::protocol)),
            ("usockvec", Show::output(8, fs::descriptors)),
        ],
    )
    .list("usockvec", list::PAIR),
    row("bind", &[("umyaddr", ADDRESS)]),
    row("connect", &[("uservaddr", ADDRESS)]),
    row(
        "accept accept4",
        &[
            (
                "upeer_sockaddr",
                Show::output(128, net::address_out::<2>).or(values::pointer),
            ),
            ("upeer_addrlen", LENGTH_OUT),
            ("flags", Flags(&names::SOCKET_FLAGS)),
        ],
    ),
    row(
        "getsockname getpeername",
        &[
            (
                "usockaddr",
                Show::output(128, net::address_out::<2>).or(values::pointer),
            ),
            ("usockaddr_len", LENGTH_OUT),
        ],
    ),
    row(
        "sendto",
        &[
            ("buff", Show::buffer("len").data()),
            ("flags", Flags(&names::MSG)),
            ("addr", Show::sized("addr_len", 128, net::address)),
        ],
    ),
    row(
        "recvfrom",
        &[
            ("ubuf", RETURNED.data()),
            ("flags", Flags(&names::MSG)),
            (
                "addr",
                Show::output(128, net::address_out::<5>).or(values::pointer),
            ),
            (
                "addr_len",
                Show::output(4, net::length::<4, 5>)
                    .at(Moment::Both)
                    .or(values::pointer),
            ),
        ],
    ),
    row(
        "send",
        &[
            ("buff", Show::buffer("len").data()),
            ("flags", Flags(&names::MSG)),
        ],
    ),
    row(
        "recv",
        &[("ubuf", RETURNED.data()), ("flags", Flags(&names::MSG))],
    ),
    row(
        "sendmsg",
        &[
            ("msg", Show::message(message::sent).data()),
            ("flags", Flags(&names::MSG)),
        ],
    ),
    row(
        "recvmsg",
        &[
            ("msg", Show::message(message::received).received().data()),
            ("flags", Flags(&names::MSG)),
        ],
    ),
    row(
        "sendmmsg",
        &[
            ("mmsg", Show::messages("vlen", message::all_sent).data()),
            ("flags", Flags(&names::MSG)),
        ],
    ),
    row(
        "recvmmsg",
        &[
            (
                "mmsg",
                Show::messages("vlen", message::all_received)
                    .received()
                    .data()
                    .or(values::pointer),
            ),
            ("flags", Flags(&names::MSG)),
            ("timeout", TIMESPEC.at(Moment::Both)),
        ],
    )
    .note(time::left::<4>),
    row("shutdown", &[("how", Enum(&names::SHUTDOWN))]),
    row(
        "setsockopt",
        &[
            ("level", Enum(&names::SOL)),
            ("optname", Value(net::option)),
            ("optval", Show::sized("optlen", 64, net::option_in)),
        ],
    ),
    row(
        "getsockopt",
        &[
            ("level", Enum(&names::SOL)),
            ("optname", Value(net::option)),
            ("optval", Show::output(16, net::option_out).or(values::pointer)),
            ("optlen", Show::output(4, net::room::<4>).at(Moment::Both)),
        ],
    ),
    // System V IPC.
    row(
        "semget msgget",
        &[
            ("key", Value(values::ipc_key)),
            ("semflg", Value(values::ipc_flags)),
            ("msgflg", Value(values::ipc_flags)),
        ],
    ),
    row(
        "shmget",
        &[
            ("key", Value(values::ipc_key)),
            ("shmflg", Value(values::shm_flags)),
        ],
    ),
    row(
        "semctl",
        &[
            ("cmd", Value(ipc::semaphore_command)),
            (
                "arg",
                Show::input(104, ipc::semaphores).wide().or(values::pointer),
            ),
        ],
    ),
    row(
        "semop semtimedop",
        &[
            ("tsops", Show::array("nsops", 6, 32, ipc::operations)),
            ("timeout", TIMESPEC),
        ],
    ),
    row(
        "shmat",
        &[("shmaddr", POINTER), ("shmflg", Flags(&names::SHM_AT))],
    )
    .ret(Ret::Hex),
    row("shmdt", &[("shmaddr", POINTER)]),
    row(
        "shmctl",
        &[
            ("cmd", Value(ipc::memory_command)),
            (
                "buf",
                Show::input(112, ipc::shared_memory).wide().or(values::pointer),
            ),
        ],
    ),
    row(
        "msgctl",
        &[
            ("cmd", Value(ipc::queue_command)),
            ("buf", Show::input(120, ipc::queue).wide().or(values::pointer)),
        ],
    ),
    row(
        "msgsnd",
        &[
            ("msgp", Show::bytes(Max::After(8), ipc::message_in).wide()),
            ("msgflg", Flags(&names::MSG_IPC)),
        ],
    ),
    row(
        "msgrcv",
        &[
            (
                "msgp",
                Show::bytes(Max::After(8), ipc::message_out).wide().written(),
            ),
            ("msgflg", Flags(&names::MSG_IPC)),
        ],
    ),
    // POSIX queues.
    row(
        "mq_open",
        &[
            ("u_name", TEXT),
            ("oflag", OPEN),
            ("mode", When(ipc::makes_queue, &MODE)),
            (
                "u_attr",
                When(ipc::makes_queue, &Show::input(32, ipc::attributes).wide()),
            ),
        ],
    ),
    row("mq_unlink", &[("u_name", TEXT)]),
    row(
        "mq_timedsend",
        &[
            ("u_msg_ptr", Show::buffer("msg_len").data()),
            ("u_abs_timeout", TIMESPEC),
        ],
    ),
    row(
        "mq_timedreceive",
        &[
            ("u_msg_ptr", RETURNED.data()),
            ("u_msg_prio", INT_OUT),
            ("u_abs_timeout", TIMESPEC),
        ],
    ),
    row("mq_notify", &[("u_notification", SIGEVENT)]),
    row(
        "mq_getsetattr",
        &[
            ("u_mqstat", Show::input(32, ipc::attributes).wide()),
            ("u_omqstat", Show::output(32, ipc::attributes).wide()),
        ],
    ),
];
