//! Printers of socket addresses, options and types.

use std::net::Ipv6Addr;

use super::{
    fs, names,
    show::{Call, Captured, Out, signed},
};

/// A `struct sockaddr` that the call reads: its length is the call's next argument.
pub(super) fn address(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    sockaddr(out, call, memory)
}

/// A `struct sockaddr` that the call wrote: how much of it is there, the `int` behind argument `LENGTH` says.
pub(super) fn address_out<const LENGTH: usize>(
    out: &mut Out<'_>,
    call: &Call<'_>,
    memory: Captured<'_>,
) -> Option<()> {
    let length = usize::try_from(written::<LENGTH>(call)?).ok()?;
    if length < 2 {
        return None;
    }
    let bytes = memory.bytes.get(..length).unwrap_or(memory.bytes);
    sockaddr(out, call, Captured { bytes, ..memory })
}

/// How much the call wrote: what it had room for, or less.
fn written<const LENGTH: usize>(call: &Call<'_>) -> Option<i32> {
    let length = call.captured(LENGTH)?.i32(0)?;
    Some(call.before(LENGTH)?.i32(0)?.min(length))
}

/// `[128 => 16]`: the room that there was for what argument `OF` points to, and how much was needed.
pub(super) fn length<const OF: usize, const LENGTH: usize>(
    out: &mut Out<'_>,
    call: &Call<'_>,
    memory: Captured<'_>,
) -> Option<()> {
    if call.arg(OF) == 0 {
        return None;
    }
    room::<LENGTH>(out, call, memory)
}

/// The same of an option's value, which may be left out.
pub(super) fn room<const LENGTH: usize>(
    out: &mut Out<'_>,
    call: &Call<'_>,
    memory: Captured<'_>,
) -> Option<()> {
    let length = memory.i32(0)?;
    out.str("[");
    let before = call.before(LENGTH).and_then(|before| before.i32(0));
    if let Some(before) = before.filter(|before| call.succeeded && *before != length) {
        out.field("", i64::from(before));
        out.str(" => ");
    }
    out.signed(i64::from(length));
    out.str("]");
    Some(())
}

/// A `struct sockaddr` of as many bytes as there are.
pub(super) fn sockaddr(out: &mut Out<'_>, _: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let family = memory.u16(0)?;
    out.str("{sa_family=");
    out.name(u64::from(family), &names::FAMILY);
    let length = memory.bytes.len();
    match i32::from(family) {
        libc::AF_UNIX => {
            let path = memory.from(2)?;
            match path.split_first() {
                None => {}
                Some((0, name)) => {
                    out.str(", sun_path=@");
                    out.quoted(name);
                }
                Some(_) => {
                    out.str(", sun_path=");
                    out.quoted(path.split(|byte| *byte == 0).next()?);
                }
            }
        }
        libc::AF_INET if length >= 16 => {
            port(out, ", sin_port=htons(", memory)?;
            out.str("), sin_addr=inet_addr(\"");
            for (index, byte) in memory.take::<4>(4)?.into_iter().enumerate() {
                out.ufield(if index == 0 { "" } else { "." }, u64::from(byte));
            }
            out.str("\")");
        }
        libc::AF_INET6 if length >= 24 => {
            port(out, ", sin6_port=htons(", memory)?;
            out.ufield(
                "), sin6_flowinfo=htonl(",
                u64::from(u32::from_be_bytes(memory.take(4)?)),
            );
            out.str("), inet_pton(AF_INET6, \"");
            // An address is rare enough for the formatting machinery.
            out.str(&Ipv6Addr::from(memory.take::<16>(8)?).to_string());
            out.str("\", &sin6_addr)");
            if let Some(scope) = memory.u32(24) {
                out.ufield(", sin6_scope_id=", u64::from(scope));
            }
        }
        libc::AF_NETLINK if length >= 12 => {
            out.field(", nl_pid=", i64::from(memory.i32(4)?));
            out.str(", nl_groups=");
            let groups = memory.u32(8)?;
            if groups == 0 {
                out.str("00000000");
            } else {
                out.str("0x");
                for shift in (0..24)
                    .step_by(4)
                    .rev()
                    .skip_while(|shift| groups >> shift == 0 && *shift >= 24)
                {
                    out.str(char::from_digit(groups >> shift & 0xf, 16)?.encode_utf8(&mut [0; 4]));
                }
            }
        }
        _ => {
            out.str(", sa_data=");
            out.quoted(memory.from(2)?);
        }
    }
    out.str("}");
    Some(())
}

fn port(out: &mut Out<'_>, label: &str, memory: Captured<'_>) -> Option<()> {
    out.ufield(label, u64::from(u16::from_be_bytes(memory.take(2)?)));
    Some(())
}

/// `SOCK_STREAM|SOCK_CLOEXEC`: the type is a number, the rest bits.
pub(super) fn socket_type(out: &mut Out<'_>, _: &Call<'_>, value: u64) {
    match names::SOCKET_TYPE.get(value & 0xf) {
        Some(name) => {
            out.str(name);
            out.more_flags(value & !0xf, &names::SOCKET_FLAGS);
        }
        // Nothing says that its low bits are a type.
        None => out.flags(value, &names::SOCKET_FLAGS),
    }
}

/// The protocol means something else in each family.
pub(super) fn protocol(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    match signed(call.arg(0)) {
        libc::AF_INET | libc::AF_INET6 => out.name_or_number(value, &names::IP_PROTOCOL),
        libc::AF_NETLINK => out.name_or_number(value, &names::NETLINK),
        libc::AF_PACKET => {
            let [a, b, ..] = value.to_le_bytes();
            let protocol = u16::from_be_bytes([a, b]);
            out.name_field("htons(", u64::from(protocol), &names::ETH_P);
            out.str(")");
        }
        _ => out.unsigned(value),
    }
}

/// The option's name, which depends on its level.
pub(super) fn option(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    let names = match names::SOL.get(call.int(1)) {
        Some("SOL_SOCKET") => &names::SO,
        Some("SOL_TCP") => &names::TCP,
        Some("SOL_UDP") => &names::UDP,
        Some("SOL_IP") => &names::IP,
        Some("SOL_IPV6") => &names::IPV6,
        Some("SOL_PACKET") => &names::PACKET,
        Some("SOL_NETLINK") => &names::NETLINK_OPTION,
        Some("SOL_SCTP") => &names::SCTP,
        Some("SOL_ALG") => &names::ALG,
        Some("SOL_TLS") => &names::TLS,
        Some("SOL_XDP") => &names::XDP,
        _ => return out.unsigned(value),
    };
    out.name(value, names);
}

/// The value given to setsockopt(2).
pub(super) fn option_in(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let length = usize::try_from(signed(call.arg(4))).ok()?;
    option_value(out, call, memory, length)
}

/// The value that getsockopt(2) gave.
pub(super) fn option_out(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>) -> Option<()> {
    let length = usize::try_from(written::<4>(call)?).ok()?;
    let bytes = memory.bytes.get(..length).unwrap_or(memory.bytes);
    let error = signed(call.arg(1)) == libc::SOL_SOCKET && signed(call.arg(2)) == libc::SO_ERROR;
    if let Some(errno @ 1..) = memory.u16(0).filter(|_| error && length == 4) {
        out.str("[");
        out.str(&crate::errno::name(errno));
        out.str("]");
        return Some(());
    }
    option_value(out, call, Captured { bytes, ..memory }, length)
}

fn option_value(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>, length: usize) -> Option<()> {
    let socket = signed(call.arg(1)) == libc::SOL_SOCKET;
    match signed(call.arg(2)) {
        libc::SO_LINGER if socket => {
            out.field("{l_onoff=", i64::from(memory.i32(0)?));
            out.field(", l_linger=", i64::from(memory.i32(4)?));
            out.str("}");
        }
        libc::SO_PEERCRED if socket => {
            out.field("{pid=", i64::from(memory.i32(0)?));
            out.field(", uid=", i64::from(memory.i32(4)?));
            out.field(", gid=", i64::from(memory.i32(8)?));
            out.str("}");
        }
        _ if length == 4 => return fs::int(out, call, memory),
        _ => out.limited(memory.bytes, call.limit, memory.cut),
    }
    Some(())
}
