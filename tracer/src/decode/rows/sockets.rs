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
    ),
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
            ("buff", Show::buffer("len")),
            ("flags", Flags(&names::MSG)),
            ("addr", Show::sized("addr_len", 128, net::address)),
        ],
    ),
    row(
        "recvfrom",
        &[
            ("ubuf", RETURNED),
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
        "sendmsg",
        &[
            ("msg", Show::message(message::sent)),
            ("flags", Flags(&names::MSG)),
        ],
    ),
    row(
        "recvmsg",
        &[
            ("msg", Show::message(message::received).received()),
            ("flags", Flags(&names::MSG)),
        ],
    ),
    row(
        "sendmmsg",
        &[
            ("mmsg", Show::messages("vlen", message::all_sent)),
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
        "semget shmget msgget",
        &[
            ("key", Value(values::ipc_key)),
            ("semflg", Value(values::ipc_flags)),
            ("shmflg", Value(values::ipc_flags)),
            ("msgflg", Value(values::ipc_flags)),
        ],
    ),
    row("shmat", &[("shmaddr", POINTER)]).ret(Ret::Hex),
    row("shmdt", &[("shmaddr", POINTER)]),
    // Buffers that look like strings to their C type.
    row("mq_timedsend", &[("u_msg_ptr", Show::buffer("msg_len"))]),
    row("swapon swapoff", &[("specialfile", PATH)]),
    row("init_module", &[("uargs", TEXT)]),
    row("finit_module", &[("uargs", TEXT)]),
    row("kexec_file_load", &[("cmdline_ptr", POINTER)]),
    row("mq_open", &[("u_name", TEXT), ("oflag", OPEN)]),
];
