//! Numbers, strings, flags and names as they are written.

use super::*;

fn text(write: impl FnOnce(&mut Out<'_>)) -> String {
    let mut text = String::new();
    write(&mut Out::new(&mut text));
    text
}

#[test]
fn numbers_as_c_prints_them() {
    assert_eq!(text(|o| o.hex(0)), "0");
    assert_eq!(text(|o| o.hex(0xffff_ffff_ffff_ffff)), "0xffffffffffffffff");
    assert_eq!(text(|o| o.hex(0x10)), "0x10");
    for (value, octal) in [
        (0, "000"),
        (7, "007"),
        (0o22, "022"),
        (0o644, "0644"),
        (0o7777, "07777"),
    ] {
        assert_eq!(text(|o| o.octal(value)), octal);
    }
    assert_eq!(text(|o| o.signed(i64::MIN)), i64::MIN.to_string());
}

#[test]
fn quoting_as_strace_does_it() {
    let bytes = b"a\n\t\x1b[31m\xe2\x80\xae\x80 9\x019\x017\"\\\0";
    assert_eq!(
        text(|o| o.quoted(bytes)),
        r#""a\n\t\33[31m\342\200\256\200 9\19\0017\"\\\0""#
    );
}

#[test]
fn every_byte_is_printable_when_quoted() {
    let all: Vec<u8> = (0..=255).collect();
    assert!(text(|o| o.quoted(&all)).bytes().all(|b| matches!(b, b' '..=b'~')));
}

#[test]
fn unknown_bits_stay() {
    static NAMES: Names = Names {
        list: &[(1, "ONE"), (2, "TWO")],
        unknown: "N_???",
    };
    assert_eq!(text(|o| o.flags(3, &NAMES)), "ONE|TWO");
    assert_eq!(text(|o| o.flags(0x8000_0001, &NAMES)), "ONE|0x80000000");
    assert_eq!(text(|o| o.flags(8, &NAMES)), "0x8 /* N_??? */");
    assert_eq!(text(|o| o.flags(0, &NAMES)), "0");
    assert_eq!(text(|o| o.name(9, &NAMES)), "0x9 /* N_??? */");
}
