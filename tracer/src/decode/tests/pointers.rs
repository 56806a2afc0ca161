//! Memory before the call and after it, and memory that points to memory.

use libc::*;
use tracer_common::filter::part;

use super::fake::{A, A::*, Fake, Field, fields, golden};

fn n(value: impl Into<i64>) -> A {
    N(value.into())
}

fn bytes(parts: &[&dyn Field]) -> Vec<u8> {
    parts.iter().flat_map(|part| part.bytes()).collect()
}

fn changed(before: &[&dyn Field], after: &[&dyn Field]) -> A {
    C(bytes(before), bytes(after))
}

fn iov(elements: &[(u64, u64)]) -> Vec<u8> {
    elements
        .iter()
        .flat_map(|(base, length)| bytes(&[base, length]))
        .collect()
}

fn buffer(index: u16, text: &str) -> (u16, Vec<u8>) {
    (part::BUFFER + index, text.into())
}

fn vector(elements: &[(u64, u64)], buffers: &[&str]) -> A {
    let buffers = (0..).zip(buffers).map(|(index, text)| buffer(index, text));
    P([(part::VECTOR, iov(elements))]
        .into_iter()
        .chain(buffers)
        .collect())
}

/// A `struct msghdr`: name, its length, vector, its length, control data, its length, flags.
fn header(name: u64, name_len: u32, vector: u64, control_len: u64, flags: i32) -> Vec<u8> {
    let control = if control_len == 0 { 0_u64 } else { 0x9000 };
    bytes(&[
        &name,
        &name_len,
        &0_u32,
        &0x8000_u64,
        &vector,
        &control,
        &control_len,
        &flags,
        &0_u32,
    ])
}

fn message(head: Vec<u8>, rest: Vec<(u16, Vec<u8>)>) -> A {
    P([(part::HEAD, head)].into_iter().chain(rest).collect())
}

fn one(text: &str, length: u64) -> Vec<(u16, Vec<u8>)> {
    vec![(part::VECTOR, iov(&[(0x10, length)])), buffer(0, text)]
}

fn inet() -> Vec<u8> {
    bytes(&[&2_u16, &80_u16.to_be_bytes(), &[127, 0, 0, 1], &0_u64])
}

fn control(level: i32, kind: i32, data: &[&dyn Field]) -> (u16, Vec<u8>) {
    let data = bytes(data);
    let length = 16 + u64::try_from(data.len()).unwrap();
    let mut all = bytes(&[&length, &level, &kind]);
    all.extend(data);
    (part::CONTROL, all)
}

golden! {
    before_and_after: [
        ("accept", [n(3), fields(&[&1_u16, &[0; 14]]), changed(&[&110_i32], &[&2_i32])], 4, "accept(3, {sa_family=AF_UNIX}, [110 => 2]) = 4"),
        ("getpeername", [n(3), n(0x7ffd), changed(&[&110_i32], &[&2_i32])], -ENOTCONN,
            "getpeername(3, 0x7ffd, [110]) = -1 ENOTCONN (Transport endpoint is not connected)"),
        ("accept", [n(3), n(0), changed(&[&110_i32], &[&2_i32])], 4, "accept(3, NULL, 0x7200) = 4"),
        ("getsockopt", [n(3), n(SOL_SOCKET), n(SO_LINGER), fields(&[&0_i32, &5_i32, &0_u64]), changed(&[&128_i32], &[&8_i32])], 0,
            "getsockopt(3, SOL_SOCKET, SO_LINGER, {l_onoff=0, l_linger=5}, [128 => 8]) = 0"),
        ("sendfile", [n(9), n(8), changed(&[&5_u64], &[&15_u64]), n(10)], 10, "sendfile(9, 8, [5] => [15], 10) = 10"),
        ("sendfile", [n(9), n(8), changed(&[&5_u64], &[&5_u64]), n(10)], 0, "sendfile(9, 8, [5], 10) = 0"),
        ("copy_file_range", [n(3), changed(&[&5_u64], &[&15_u64]), n(4), n(0), n(10), n(0)], 10, "copy_file_range(3, [5], 4, NULL, 10, 0) = 10"),
        ("select", [n(8), changed(&[&0b11_0000_u64, &[0; 120]], &[&0b1_0000_u64, &[0; 120]]), n(0), n(0), changed(&[&1_u64, &5_u64], &[&1_u64, &3_u64])], 1,
            "select(8, [4 5], NULL, NULL, {tv_sec=1, tv_usec=5}) = 1 (in [4], left {tv_sec=1, tv_usec=3})"),
        ("ppoll", [fields(&[&3_i32, &(1_u32 << 16 | 1)]), n(1), changed(&[&1_u64, &0_u64], &[&0_u64, &7_u64]), n(0), n(8)], 1,
            "ppoll([{fd=3, events=POLLIN}], 1, {tv_sec=1, tv_nsec=0}, NULL, 8) = 1 ([{fd=3, revents=POLLIN}], left {tv_sec=0, tv_nsec=7})"),
        ("capget", [changed(&[&0_u32, &7_i32], &[&0x2008_0522_u32, &7_i32]), n(0)], -EINVAL,
            "capget({version=0 /* _LINUX_CAPABILITY_VERSION_??? */, pid=7}, NULL) = -1 EINVAL (Invalid argument)"),
        ("rt_sigreturn", [fields(&[&2_u64])], 42, "rt_sigreturn({mask=[INT]}) = 42"),
        ("getdents64", [n(3), B(vec![0; 5]), n(32768)], 128, "getdents64(3, 0x7100 /* 5 entries */, 32768) = 128"),
    ]

    vectors: [
        ("writev", [n(9), vector(&[(0x10, 2), (0x20, 3), (0, 0), (0x30, 0)], &["ab", "cde"]), n(4)], 5,
            r#"writev(9, [{iov_base="ab", iov_len=2}, {iov_base="cde", iov_len=3}, {iov_base=NULL, iov_len=0}, {iov_base="", iov_len=0}], 4) = 5"#),
        ("readv", [n(9), vector(&[(0x10, 2), (0x20, 30), (0x30, 5)], &["ab", "c"]), n(3)], 3,
            r#"readv(9, [{iov_base="ab", iov_len=2}, {iov_base="c", iov_len=30}, {iov_base="", iov_len=5}], 3) = 3"#),
        ("readv", [n(9), vector(&[(0x10, 2)], &[]), n(1)], -EBADF, "readv(9, [{iov_base=0x10, iov_len=2}], 1) = -1 EBADF (Bad file descriptor)"),
        // A buffer for which there was no room, and an array that was not all there.
        ("writev", [n(9), vector(&[(0x10, 2), (0x20, 3)], &["ab"]), n(2)], 5,
            r#"writev(9, [{iov_base="ab", iov_len=2}, {iov_base=0x20, iov_len=3}], 2) = 5"#),
        ("writev", [n(9), vector(&[(0x10, 2)], &["ab"]), n(2)], -EFAULT,
            r#"writev(9, [{iov_base="ab", iov_len=2}, ... /* 0x7110 */], 2) = -1 EFAULT (Bad address)"#),
    ]

    messages: [
        ("sendmsg", [n(3), message(header(0, 0, 1, 0, 0), one("ab", 2)), n(MSG_NOSIGNAL)], 2,
            r#"sendmsg(3, {msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="ab", iov_len=2}], msg_iovlen=1, msg_controllen=0, msg_flags=0}, MSG_NOSIGNAL) = 2"#),
        ("sendmsg", [n(3), message(header(0x10, 16, 0, 0, 0), vec![(part::NAME, inet())]), n(0)], 0,
            r#"sendmsg(3, {msg_name={sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}, msg_namelen=16, msg_iov=[], msg_iovlen=0, msg_controllen=0, msg_flags=0}, 0) = 0"#),
        ("sendmsg", [n(3), message(header(0, 0, 0, 24, 0), vec![control(SOL_SOCKET, SCM_RIGHTS, &[&5_i32, &6_i32])]), n(0)], 0,
            "sendmsg(3, {msg_name=NULL, msg_namelen=0, msg_iov=[], msg_iovlen=0, msg_control=[{cmsg_len=24, cmsg_level=SOL_SOCKET, \
             cmsg_type=SCM_RIGHTS, cmsg_data=[5, 6]}], msg_controllen=24, msg_flags=0}, 0) = 0"),
        ("sendmsg", [n(3), message(header(0, 0, 0, 28, 0), vec![control(SOL_SOCKET, SCM_CREDENTIALS, &[&5_i32, &6_i32, &7_i32])]), n(0)], 0,
            "sendmsg(3, {msg_name=NULL, msg_namelen=0, msg_iov=[], msg_iovlen=0, msg_control=[{cmsg_len=28, cmsg_level=SOL_SOCKET, \
             cmsg_type=SCM_CREDENTIALS, cmsg_data={pid=5, uid=6, gid=7}}], msg_controllen=28, msg_flags=0}, 0) = 0"),
        ("sendmsg", [n(3), message(header(0, 0, 0, 32, 0), vec![control(SOL_SOCKET, SO_TIMESTAMPNS, &[&5_u64, &6_u64])]), n(0)], 0,
            "sendmsg(3, {msg_name=NULL, msg_namelen=0, msg_iov=[], msg_iovlen=0, msg_control=[{cmsg_len=32, cmsg_level=SOL_SOCKET, \
             cmsg_type=SO_TIMESTAMPNS_OLD, cmsg_data={tv_sec=5, tv_nsec=6}}], msg_controllen=32, msg_flags=0}, 0) = 0"),
        // A control message that says that it is longer than the data, and one that is too short to be one.
        ("sendmsg", [n(3), message(header(0, 0, 0, 16, 0), vec![(part::CONTROL, bytes(&[&99_u64, &9_i32, &9_i32]))]), n(0)], 0,
            "sendmsg(3, {msg_name=NULL, msg_namelen=0, msg_iov=[], msg_iovlen=0, msg_control=[{cmsg_len=99, cmsg_level=0x9 /* SOL_??? */, \
             cmsg_type=0x9}], msg_controllen=16, msg_flags=0}, 0) = 0"),
        ("sendmsg", [n(3), message(header(0, 0, 0, 8, 0), vec![(part::CONTROL, vec![0; 8])]), n(0)], 0,
            "sendmsg(3, {msg_name=NULL, msg_namelen=0, msg_iov=[], msg_iovlen=0, msg_control=0x9000, msg_controllen=8, msg_flags=0}, 0) = 0"),
        ("sendmmsg", [n(3), message([header(0, 0, 1, 0, 0), bytes(&[&2_u32, &0_u32])].concat(), one("ab", 2)), n(1), n(0)], 1,
            r#"sendmmsg(3, [{msg_hdr={msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="ab", iov_len=2}], msg_iovlen=1, msg_controllen=0, msg_flags=0}, msg_len=2}], 1, 0) = 1"#),
        ("sendmsg", [n(3), Bad, n(0)], -EFAULT, "sendmsg(3, 0x7100, 0) = -1 EFAULT (Bad address)"),
    ]
}

#[test]
fn what_is_missing_is_marked() {
    let marks = |args: Vec<A>, ret: i32| {
        let args = Fake::new("writev", args, i64::from(ret)).call().args;
        (args.list[1].truncated, args.list[1].fault)
    };
    let elements = [(0x10, 2), (0x20, 3)];
    assert_eq!(
        marks(vec![n(9), vector(&elements, &["ab", "cde"]), n(2)], 5),
        (false, false)
    );
    assert_eq!(
        marks(vec![n(9), vector(&elements, &["ab"]), n(2)], 5),
        (true, false)
    );
    assert_eq!(
        marks(vec![n(9), vector(&elements[..1], &["ab"]), n(2)], -EFAULT),
        (true, true)
    );
    assert_eq!(marks(vec![n(9), Bad, n(2)], -EFAULT), (false, true));
}

/// A set of signals, as the call got it or left it there.
fn set(signals: u64) -> Vec<u8> {
    signals.to_le_bytes().to_vec()
}

#[test]
fn what_a_call_writes_over_is_shown_as_it_was() {
    let call = |nset: A, oset: A, ret| Fake::new("rt_sigprocmask", [n(SIG_BLOCK), nset, oset, n(8)], ret);
    let wrote = || Same(1, 0, set(0));
    assert_eq!(
        call(C(set(1 << 9), set(0)), wrote(), 0).line(),
        "rt_sigprocmask(SIG_BLOCK, [USR1], [], 8) = 0"
    );
    // Without a look at the beginning, what is there now is not what the call got, and says so.
    let blind = call(C(set(1 << 9), set(0)), wrote(), 0).blind().call();
    assert_eq!(blind.args.text_of(&blind.args.list[1]), "0x7100");
    assert!(blind.args.list[1].fault, "{blind:?}");
    // Where nothing was written over it, it is what the call got.
    let apart = call(B(set(1 << 9)), B(set(0)), 0).blind().call();
    assert_eq!(apart.args.text_of(&apart.args.list[1]), "[USR1]");
    assert!(!apart.args.list[1].fault);
}

#[test]
fn an_input_inside_what_the_call_wrote_is_no_input() {
    // The path lies in the last bytes of the buffer that gets the link's target.
    let inside = |on: i64| {
        let mut call = Fake::new("readlink", [S(b"/x"), Same(0, 0, b"target".to_vec()), n(64)], 6);
        call.args[1] = Same(0, on.cast_unsigned(), b"target".to_vec());
        call.call()
    };
    let over = inside(0);
    assert_eq!(over.args.text_of(&over.args.list[0]), "0x7000");
    assert!(over.args.list[0].fault);
    let behind = inside(2);
    assert_eq!(behind.args.text_of(&behind.args.list[0]), "\"/x\"");
}
