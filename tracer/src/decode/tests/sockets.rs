//! Calls on sockets.

use libc::*;

use super::fake::{A, A::*, Fake, fields, golden};

fn n(value: impl Into<i64>) -> A {
    N(value.into())
}

fn inet(port: u16) -> A {
    fields(&[&2_u16, &port.to_be_bytes(), &[127, 0, 0, 1], &0_u64])
}

fn inet6() -> A {
    fields(&[
        &10_u16,
        &80_u16.to_be_bytes(),
        &5_u32.to_be_bytes(),
        &1_u128.to_be_bytes(),
        &1_u32,
    ])
}

fn length(bytes: i32) -> A {
    fields(&[&bytes])
}

golden! {
    making: [
        ("socket", [n(AF_INET), n(SOCK_STREAM | SOCK_CLOEXEC), n(IPPROTO_TCP)], 3, "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_TCP) = 3"),
        ("socket", [n(AF_INET6), n(SOCK_DGRAM), n(0)], 4, "socket(AF_INET6, SOCK_DGRAM, IPPROTO_IP) = 4"),
        ("socket", [n(AF_UNIX), n(SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK), n(0)], 5, "socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, 0) = 5"),
        ("socket", [n(AF_NETLINK), n(SOCK_RAW | SOCK_CLOEXEC), n(NETLINK_ROUTE)], 6, "socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, NETLINK_ROUTE) = 6"),
        ("socket", [n(AF_PACKET), n(SOCK_RAW), n(0x300)], 8, "socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)) = 8"),
        ("socket", [n(99), n(SOCK_RAW), n(99)], -EINVAL, "socket(0x63 /* AF_??? */, SOCK_RAW, 99) = -1 EINVAL (Invalid argument)"),
        ("socketpair", [n(AF_UNIX), n(SOCK_STREAM), n(0), fields(&[&19_i32, &20_i32])], 0, "socketpair(AF_UNIX, SOCK_STREAM, 0, [19, 20]) = 0"),
        ("listen", [n(12), n(128)], 0, "listen(12, 128) = 0"),
        ("shutdown", [n(13), n(SHUT_RDWR)], 0, "shutdown(13, SHUT_RDWR) = 0"),
        ("shutdown", [n(13), n(9)], -EINVAL, "shutdown(13, 0x9 /* SHUT_??? */) = -1 EINVAL (Invalid argument)"),
    ]

    addresses: [
        ("connect", [n(3), inet(80), n(16)], -ECONNREFUSED,
            r#"connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}, 16) = -1 ECONNREFUSED (Connection refused)"#),
        ("connect", [n(3), inet(80), n(8)], -EINVAL, r#"connect(3, {sa_family=AF_INET, sa_data="\0P\177\0\0\1"}, 8) = -1 EINVAL (Invalid argument)"#),
        ("connect", [n(3), inet6(), n(28)], 0, "connect(3, {sa_family=AF_INET6, sin6_port=htons(80), sin6_flowinfo=htonl(5), \
            inet_pton(AF_INET6, \"::1\", &sin6_addr), sin6_scope_id=1}, 28) = 0"),
        ("connect", [n(3), fields(&[&1_u16, b"/run/x.sock\0"]), n(14)], 0, r#"connect(3, {sa_family=AF_UNIX, sun_path="/run/x.sock"}, 14) = 0"#),
        ("connect", [n(3), fields(&[&1_u16, b"\0abs"]), n(6)], 0, r#"connect(3, {sa_family=AF_UNIX, sun_path=@"abs"}, 6) = 0"#),
        ("connect", [n(3), fields(&[&1_u16]), n(2)], -EINVAL, "connect(3, {sa_family=AF_UNIX}, 2) = -1 EINVAL (Invalid argument)"),
        ("connect", [n(3), n(0), n(0)], -EINVAL, "connect(3, NULL, 0) = -1 EINVAL (Invalid argument)"),
        ("connect", [n(3), Bad, n(16)], -EFAULT, "connect(3, 0x7100, 16) = -1 EFAULT (Bad address)"),
        ("connect", [n(3), fields(&[&99_u16, b"\0abs"]), n(6)], -EINVAL,
            r#"connect(3, {sa_family=0x63 /* AF_??? */, sa_data="\0abs"}, 6) = -1 EINVAL (Invalid argument)"#),
        ("bind", [n(6), fields(&[&16_u16, &0_u16, &7_u32, &1_u32]), n(12)], 0, "bind(6, {sa_family=AF_NETLINK, nl_pid=7, nl_groups=0x000001}, 12) = 0"),
        ("getsockname", [n(12), inet(50839), length(16)], 0,
            r#"getsockname(12, {sa_family=AF_INET, sin_port=htons(50839), sin_addr=inet_addr("127.0.0.1")}, [16]) = 0"#),
        ("getpeername", [n(12), n(0x7ffd), length(16)], -ENOTCONN, "getpeername(12, 0x7ffd, [16]) = -1 ENOTCONN (Transport endpoint is not connected)"),
        ("accept", [n(12), inet(43140), length(16)], 14,
            r#"accept(12, {sa_family=AF_INET, sin_port=htons(43140), sin_addr=inet_addr("127.0.0.1")}, [16]) = 14"#),
        ("accept4", [n(12), n(0), n(0), n(SOCK_CLOEXEC | SOCK_NONBLOCK)], 16, "accept4(12, NULL, NULL, SOCK_CLOEXEC|SOCK_NONBLOCK) = 16"),
    ]

    data: [
        ("sendto", [n(13), S(b"hello"), n(5), n(MSG_NOSIGNAL | MSG_DONTWAIT), n(0), n(0)], 5, r#"sendto(13, "hello", 5, MSG_DONTWAIT|MSG_NOSIGNAL, NULL, 0) = 5"#),
        ("sendto", [n(18), S(b"dgram"), n(5), n(0), inet(5353), n(16)], 5,
            r#"sendto(18, "dgram", 5, 0, {sa_family=AF_INET, sin_port=htons(5353), sin_addr=inet_addr("127.0.0.1")}, 16) = 5"#),
        ("recvfrom", [n(14), S(b"hello"), n(100), n(0), n(0), n(0)], 5, r#"recvfrom(14, "hello", 100, 0, NULL, NULL) = 5"#),
        ("recvfrom", [n(14), n(0x7ffd), n(100), n(MSG_DONTWAIT | MSG_PEEK), n(0), n(0)], -EAGAIN,
            "recvfrom(14, 0x7ffd, 100, MSG_PEEK|MSG_DONTWAIT, NULL, NULL) = -1 EAGAIN (Resource temporarily unavailable)"),
        ("recvfrom", [n(17), S(b"dgram"), n(100), n(0), inet(56095), length(16)], 5,
            r#"recvfrom(17, "dgram", 100, 0, {sa_family=AF_INET, sin_port=htons(56095), sin_addr=inet_addr("127.0.0.1")}, [16]) = 5"#),
        ("sendmsg", [n(18), n(0x7ffd), n(MSG_NOSIGNAL)], 2, "sendmsg(18, 0x7ffd, MSG_NOSIGNAL) = 2"),
    ]

    options: [
        ("setsockopt", [n(3), n(SOL_SOCKET), n(SO_REUSEADDR), fields(&[&1_i32]), n(4)], 0, "setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0"),
        ("setsockopt", [n(3), n(SOL_TCP), n(TCP_NODELAY), fields(&[&1_i32]), n(4)], 0, "setsockopt(3, SOL_TCP, TCP_NODELAY, [1], 4) = 0"),
        ("setsockopt", [n(3), n(SOL_IPV6), n(IPV6_V6ONLY), fields(&[&1_i32]), n(4)], 0, "setsockopt(3, SOL_IPV6, IPV6_V6ONLY, [1], 4) = 0"),
        ("setsockopt", [n(3), n(SOL_SOCKET), n(SO_LINGER), fields(&[&1_i32, &5_i32]), n(8)], 0, "setsockopt(3, SOL_SOCKET, SO_LINGER, {l_onoff=1, l_linger=5}, 8) = 0"),
        ("setsockopt", [n(3), n(99), n(99), fields(&[&1_i32]), n(4)], -ENOPROTOOPT, "setsockopt(3, 0x63 /* SOL_?? */, 99, [1], 4) = -1 ENOPROTOOPT (Protocol not available)"),
        ("setsockopt", [n(3), n(SOL_SOCKET), n(999), S(b"abcdef"), n(6)], -ENOPROTOOPT,
            r#"setsockopt(3, SOL_SOCKET, 0x3e7 /* SO_??? */, "abcdef", 6) = -1 ENOPROTOOPT (Protocol not available)"#),
        ("getsockopt", [n(3), n(SOL_SOCKET), n(SO_ERROR), fields(&[&0_i32]), length(4)], 0, "getsockopt(3, SOL_SOCKET, SO_ERROR, [0], [4]) = 0"),
        ("getsockopt", [n(17), n(SOL_SOCKET), n(SO_PEERCRED), fields(&[&0_i32, &-1_i32, &-1_i32]), length(12)], 0,
            "getsockopt(17, SOL_SOCKET, SO_PEERCRED, {pid=0, uid=-1, gid=-1}, [12]) = 0"),
    ]
}
