//! CSV as RFC 4180 has it, a header first. All columns of the table but `args`, which is JSON for machines: `arg0` to
//! `arg5` say the same.
//!
//! A spreadsheet takes a cell that begins with `=`, `+`, `-`, `@`, a tab or a line's end for a formula, and a container
//! chooses names, paths and arguments. Such a cell gets an apostrophe before it, which spreadsheets take for "this is
//! text"; so does one that begins with an apostrophe, so that whoever wants the text takes one away. Integers are as they
//! are: they compute nothing. Control characters, and those that turn text around, are escaped: a file is looked at in
//! terminals too.

use std::io::{self, Write};

use super::{
    Buffered, Export,
    row::{COLUMNS, Cell, Column, Kind, Row},
};
use crate::{
    event::{Descriptors, Event},
    report::table,
    sinks::json,
};

pub(super) struct Csv<W> {
    to: Buffered<W>,
    descriptors: Descriptors,
}

impl<W: Write> Csv<W> {
    /// Writes the header.
    pub(super) fn begin(to: W, descriptors: Descriptors) -> io::Result<Self> {
        let mut to = Buffered::new(to);
        for (at, (name, _)) in COLUMNS.iter().enumerate().filter(|(at, _)| is_in(*at)) {
            if at > 0 {
                to.bytes.push(b',');
            }
            to.bytes.extend_from_slice(name.as_bytes());
        }
        to.bytes.extend_from_slice(b"\r\n");
        Ok(Self { to, descriptors })
    }
}

impl<W: Write> Export for Csv<W> {
    fn take(&mut self, event: &Event) -> io::Result<()> {
        let out = &mut self.to.bytes;
        let row = Row::of(event, self.descriptors);
        for (at, (cell, (_, kind))) in row.cells().iter().zip(COLUMNS).enumerate() {
            if !is_in(at) {
                continue;
            }
            if at > 0 {
                out.push(b',');
            }
            match cell {
                Cell::Empty => {}
                Cell::Text(value) => text(out, value),
                Cell::Number(number) if *kind == Kind::Time => json::time(out, number.unsigned_abs()),
                Cell::Number(number) => {
                    out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes());
                }
                Cell::Flag(flag) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
            }
        }
        out.extend_from_slice(b"\r\n");
        self.to.drain()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.to.finish()
    }
}

/// Whether it is a column here.
fn is_in(at: usize) -> bool {
    at != Column::Args as usize
}

/// A cell of text.
fn text(out: &mut Vec<u8>, value: &str) {
    let plain = |byte: u8| matches!(byte, b' '..=b'~');
    if !value.bytes().all(plain) {
        return quoted(out, &table::safe(value), is_formula(value));
    }
    let formula = is_formula(value);
    if formula || value.contains(['"', ',']) {
        quoted(out, value, formula);
    } else {
        out.extend_from_slice(value.as_bytes());
    }
}

fn quoted(out: &mut Vec<u8>, value: &str, formula: bool) {
    out.push(b'"');
    if formula {
        out.push(b'\'');
    }
    for byte in value.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// Whether a spreadsheet computes it, or it looks as if that had been prevented.
fn is_formula(value: &str) -> bool {
    let is_integer = || {
        let digits = value.strip_prefix('-').unwrap_or(value);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    value.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '\'']) && !is_integer()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(value: &str) -> String {
        let mut out = Vec::new();
        text(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn cells_are_quoted_as_rfc_4180_says() {
        assert_eq!(cell("plain text"), "plain text");
        assert_eq!(cell("a,b"), "\"a,b\"");
        assert_eq!(cell("say \"x\""), "\"say \"\"x\"\"\"");
        assert_eq!(cell("Behälter"), "\"Behälter\"");
        assert_eq!(cell("two\nlines\u{1b}[2J"), "\"two\\u{a}lines\\u{1b}[2J\"");
    }

    #[test]
    fn what_a_container_chose_is_no_formula() {
        for begin in ["=", "+", "-", "@", "\t", "\r", "'"] {
            let told = cell(&format!("{begin}HYPERLINK(1)"));
            assert!(told.starts_with("\"'"), "{told}");
        }
        assert_eq!(cell("-100"), "-100");
        assert_eq!(cell("-1+cmd|' /C calc'!A0"), "\"'-1+cmd|' /C calc'!A0\"");
        assert_eq!(cell("-"), "\"'-\"");
    }
}
