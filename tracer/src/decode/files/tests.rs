//! What descriptors stand for, from the bytes of a section to what strace writes.

use super::*;
use crate::event::Descriptors;

/// A section's body.
fn body(head: record::File, tail: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&head.fd.to_le_bytes());
    bytes.extend_from_slice(&head.flags.to_le_bytes());
    bytes.extend_from_slice(&head.mode.to_le_bytes());
    bytes.extend_from_slice(&head.magic.to_le_bytes());
    bytes.extend_from_slice(&head.rdev.to_le_bytes());
    bytes.extend_from_slice(&head.ino.to_le_bytes());
    bytes.extend_from_slice(&u16::try_from(tail.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(&[0; 6]);
    bytes.extend_from_slice(tail);
    bytes.resize(bytes.len().next_multiple_of(8), 0xaa);
    bytes
}

fn texts(head: record::File, tail: &[u8]) -> (String, String) {
    let what = read(&body(head, tail)).unwrap().what;
    (
        what.text(Descriptors::Paths).to_owned(),
        what.text(Descriptors::All).to_owned(),
    )
}

fn same(head: record::File, tail: &[u8]) -> String {
    let (paths, all) = texts(head, tail);
    assert_eq!(paths, all);
    paths
}

fn file(flags: u16, mode: u32, magic: u32) -> record::File {
    record::File {
        fd: 3,
        flags,
        mode: u16::try_from(mode).unwrap(),
        magic,
        ino: 4711,
        ..record::File::default()
    }
}

#[test]
fn names_come_last_first() {
    let plain = file(0, libc::S_IFREG | 0o644, 0);
    assert_eq!(same(plain, b"passwd\0etc\0"), "</etc/passwd>");
    assert_eq!(same(plain, b""), "</>");
    let gone = file(file::DELETED, libc::S_IFREG, 0);
    assert_eq!(same(gone, b"x\0tmp\0"), "</tmp/x>(deleted)");
    let deep = file(file::CUT, libc::S_IFREG, 0);
    assert_eq!(same(deep, b"c\0b\0"), "<.../b/c>");
}

#[test]
fn no_byte_of_a_name_leaves_the_brackets() {
    let name = b"a<b>\"\\\x1b[31m\n\xff\0tmp\0";
    assert_eq!(
        same(file(0, libc::S_IFREG, 0), name),
        r#"</tmp/a\74b\76\"\\\33[31m\n\377>"#
    );
    let all: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').chain([0]).collect();
    let text = same(file(0, libc::S_IFREG, 0), &all);
    assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')));
    assert_eq!(text.find('>'), Some(text.len() - 1));
}

#[test]
fn what_is_in_no_directory_has_the_kernels_word() {
    let of = |mode, magic, name: &[u8]| same(file(file::PSEUDO, mode, magic), name);
    assert_eq!(of(libc::S_IFIFO, PIPEFS, b"\0"), "<pipe:[4711]>");
    assert_eq!(of(libc::S_IFSOCK, SOCKFS, b""), "<socket:[4711]>");
    assert_eq!(of(0, ANON_INODES, b"[eventpoll]\0"), "<anon_inode:[eventpoll]>");
    assert_eq!(of(0, NSFS, b"mnt\0"), "<mnt:[4711]>");
    assert_eq!(
        of(libc::S_IFREG, 0x0102_1994, b"memfd:x\0"),
        "</memfd:x>(deleted)"
    );
    let process = record::File {
        rdev: 7,
        ..file(file::PSEUDO | file::PID, 0, PIDFS)
    };
    assert_eq!(
        texts(process, b""),
        ("<anon_inode:[pidfd]>".into(), "<pid:7>".into())
    );
}

#[test]
fn devices_have_their_numbers() {
    let of = |mode, major: u32, minor: u32, flags| {
        let head = record::File {
            rdev: major << 20 | minor,
            ..file(flags, mode, 0)
        };
        texts(head, b"null\0dev\0")
    };
    assert_eq!(
        of(libc::S_IFCHR, 1, 3, 0),
        ("</dev/null>".into(), "</dev/null<char 1:3>>".into())
    );
    assert_eq!(
        of(libc::S_IFBLK, 259, 0xf_0000, file::DELETED).1,
        "</dev/null<block 259:983040>>(deleted)"
    );
}

fn described(socket: record::Socket, address: &[u8]) -> String {
    let mut tail = Vec::new();
    for word in [socket.family, socket.kind, socket.protocol, socket.port] {
        tail.extend_from_slice(&word.to_le_bytes());
    }
    tail.extend_from_slice(&socket.peer_port.to_be_bytes());
    tail.extend_from_slice(&socket.state.to_le_bytes());
    tail.extend_from_slice(&socket.portid.to_le_bytes());
    tail.extend_from_slice(&socket.peer_ino.to_le_bytes());
    tail.extend_from_slice(&socket.address);
    tail.extend_from_slice(&socket.peer_address);
    tail.extend_from_slice(&socket.name);
    tail.extend_from_slice(address);
    let head = file(file::PSEUDO | file::SOCKET, libc::S_IFSOCK, SOCKFS);
    let (paths, all) = texts(head, &tail);
    assert_eq!(paths, "<socket:[4711]>");
    all
}

fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut all = [0; N];
    all[..bytes.len()].copy_from_slice(bytes);
    all
}

#[test]
fn sockets_have_addresses() {
    let tcp = record::Socket {
        family: 2,
        kind: 1,
        protocol: 6,
        name: padded(b"TCP"),
        ..record::Socket::default()
    };
    assert_eq!(described(tcp, b""), "<TCP:[4711]>");
    let bound = record::Socket {
        port: 80,
        address: padded(&[127, 0, 0, 1]),
        ..tcp
    };
    assert_eq!(described(bound, b""), "<TCP:[127.0.0.1:80]>");
    let connected = record::Socket {
        peer_port: 4711,
        peer_address: padded(&[10, 0, 0, 2]),
        ..bound
    };
    assert_eq!(described(connected, b""), "<TCP:[127.0.0.1:80->10.0.0.2:4711]>");
    let raw = record::Socket {
        kind: 3,
        name: padded(b"RAW"),
        ..bound
    };
    assert_eq!(described(raw, b""), "<RAW:[4711]>");
    let six = record::Socket {
        family: 10,
        name: padded(b"UDPv6"),
        address: [0; 16],
        ..bound
    };
    assert_eq!(described(six, b""), "<UDPv6:[[::]:80]>");
}

#[test]
fn sockets_of_one_machine_have_their_peers_and_names() {
    let unix = record::Socket {
        family: 1,
        kind: 1,
        name: padded(b"UNIX-STREAM"),
        ..record::Socket::default()
    };
    let pair = record::Socket {
        peer_ino: 4712,
        ..unix
    };
    assert_eq!(described(unix, b""), "<UNIX-STREAM:[4711]>");
    assert_eq!(described(pair, b""), "<UNIX-STREAM:[4711->4712]>");
    assert_eq!(described(unix, b"\0abs<>"), "<UNIX-STREAM:[4711,@\"abs<>\"]>");
    assert_eq!(
        described(pair, b"/tmp/s\"\x1b\0"),
        r#"<UNIX-STREAM:[4711->4712,"/tmp/s\"\33"]>"#
    );
    let netlink = record::Socket {
        family: 16,
        name: padded(b"NETLINK"),
        ..record::Socket::default()
    };
    let route = record::Socket { portid: 9, ..netlink };
    assert_eq!(described(netlink, b""), "<NETLINK:[4711]>");
    assert_eq!(described(route, b""), "<NETLINK:[ROUTE:9]>");
    let packet = record::Socket {
        family: 17,
        name: padded(b"PACKET"),
        ..record::Socket::default()
    };
    assert_eq!(described(packet, b""), "<socket:[4711]>");
}

#[test]
fn a_short_section_is_an_error() {
    let bytes = body(file(0, libc::S_IFREG, 0), b"passwd\0etc\0");
    for len in 0..32 + 11 {
        assert!(read(&bytes[..len]).is_err(), "{len}");
    }
    let mut long = bytes;
    long[24] = 0xff;
    assert!(read(&long).is_err());
    let socket = body(file(file::SOCKET, libc::S_IFSOCK, SOCKFS), &[0; 71]);
    assert!(read(&socket).is_err());
}
