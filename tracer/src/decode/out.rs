//! The text that printers write: numbers, names and strings in strace's ways, and what of the current argument was lacking.
//! All but printable ASCII is escaped here. It knows no call and no memory.

use super::show::Names;
use crate::event::Mark;

/// A text under way. `truncated` and `fault` gather what the current argument's memory lacked.
pub(super) struct Out<'a> {
    pub(super) text: &'a mut String,
    /// Places of descriptors.
    pub(super) marks: Vec<Mark>,
    pub(super) truncated: bool,
    pub(super) fault: bool,
}

impl Out<'_> {
    pub(super) fn str(&mut self, text: &str) {
        self.text.push_str(text);
    }

    pub(super) fn unsigned(&mut self, value: u64) {
        self.str(itoa::Buffer::new().format(value));
    }

    pub(super) fn signed(&mut self, value: i64) {
        if value < 0 {
            self.text.push('-');
        }
        self.unsigned(value.unsigned_abs());
    }

    /// C's `%#x`: zero is `0`.
    pub(super) fn hex(&mut self, value: u64) {
        self.str(if value == 0 { "0" } else { "0x" });
        let digits = (64 - value.leading_zeros()).div_ceil(4);
        for digit in (0..digits).rev() {
            let nibble = u32::from(value.wrapping_shr(digit * 4).to_le_bytes()[0] & 0xf);
            self.text.push(char::from_digit(nibble, 16).unwrap_or('?'));
        }
    }

    /// C's `%#03o`, as strace shows permissions.
    pub(super) fn octal(&mut self, value: u64) {
        self.str(match value {
            0 => "000",
            1..8 => "00",
            _ => "0",
        });
        let digits = (64 - value.leading_zeros()).div_ceil(3);
        for digit in (0..digits).rev() {
            let bits = u32::from(value.wrapping_shr(digit * 3).to_le_bytes()[0] & 7);
            self.text.push(char::from_digit(bits, 8).unwrap_or('?'));
        }
    }

    pub(super) fn pointer(&mut self, value: u64) {
        if value == 0 {
            self.str("NULL")
        } else {
            self.hex(value)
        }
    }

    pub(super) fn comment(&mut self, what: &str) {
        if !what.is_empty() {
            self.str(" /* ");
            self.str(what);
            self.str(" */");
        }
    }

    /// Named bits joined by `|`; bits without a name follow in hex, none is dropped.
    pub(super) fn flags(&mut self, value: u64, names: &Names) {
        self.flags_with(value, names, false);
    }

    /// The same after something that was already written: `|A|B`, and nothing for zero.
    pub(super) fn more_flags(&mut self, value: u64, names: &Names) {
        if value != 0 {
            self.flags_with(value, names, true);
        }
    }

    fn flags_with(&mut self, value: u64, names: &Names, joined: bool) {
        if value == 0 {
            return self.str(names.get(0).unwrap_or("0"));
        }
        let mut rest = value;
        let mut some = joined;
        for &(bits, name) in names.list {
            if bits != 0 && rest & bits == bits {
                if some {
                    self.text.push('|');
                }
                self.str(name);
                some = true;
                rest &= !bits;
                if rest == 0 {
                    return;
                }
            }
        }
        if some {
            self.text.push('|');
        }
        self.hex(rest);
        if !some {
            self.comment(names.unknown);
        }
    }

    /// The name of a value, or hex.
    pub(super) fn name(&mut self, value: u64, names: &Names) {
        match names.get(value) {
            Some(name) => self.str(name),
            None => {
                self.hex(value);
                self.comment(names.unknown);
            }
        }
    }

    /// The name of a value, or decimal.
    pub(super) fn name_or_number(&mut self, value: u64, names: &Names) {
        match names.get(value) {
            Some(name) => self.str(name),
            None => self.unsigned(value),
        }
    }

    /// `label` and a signed number: a field of a structure.
    pub(super) fn field(&mut self, label: &str, value: i64) {
        self.str(label);
        self.signed(value);
    }

    /// `label` and an unsigned number.
    pub(super) fn ufield(&mut self, label: &str, value: u64) {
        self.str(label);
        self.unsigned(value);
    }

    /// `label` and a number in hex.
    pub(super) fn hfield(&mut self, label: &str, value: u64) {
        self.str(label);
        self.hex(value);
    }

    /// `label` and an address.
    pub(super) fn pfield(&mut self, label: &str, value: u64) {
        self.str(label);
        self.pointer(value);
    }

    /// `label` and named bits.
    pub(super) fn flags_field(&mut self, label: &str, value: u64, names: &Names) {
        self.str(label);
        self.flags(value, names);
    }

    /// `label` and the name of a value.
    pub(super) fn name_field(&mut self, label: &str, value: u64, names: &Names) {
        self.str(label);
        self.name(value, names);
    }

    /// Named bits of another kind, after those that were written: `|A|B`, and nothing for zero.
    pub(super) fn and_flags(&mut self, value: u64, names: &Names) {
        if value != 0 {
            self.str("|");
            self.flags(value, names);
        }
    }

    /// A quoted string. All but printable ASCII is escaped as strace does it, so that no byte of a container ever
    /// drives a terminal.
    pub(super) fn quoted(&mut self, bytes: &[u8]) {
        self.text.push('"');
        self.escaped(bytes, |_| false);
        self.text.push('"');
    }

    pub(super) fn escaped(&mut self, bytes: &[u8], also: impl Fn(u8) -> bool) {
        let mut rest = bytes;
        while let Some(special) = rest
            .iter()
            .position(|b| !matches!(b, b' '..=b'~') || matches!(b, b'"' | b'\\') || also(*b))
        {
            let (plain, tail) = rest.split_at(special);
            self.ascii(plain);
            let Some((&byte, tail)) = tail.split_first() else {
                return;
            };
            self.text.push('\\');
            match byte {
                b'"' | b'\\' => self.text.push(char::from(byte)),
                b'\t' => self.text.push('t'),
                b'\n' => self.text.push('n'),
                0x0b => self.text.push('v'),
                0x0c => self.text.push('f'),
                b'\r' => self.text.push('r'),
                _ => {
                    // As few octal digits as the next byte allows.
                    let full = matches!(tail.first(), Some(b'0'..=b'7'));
                    if full || byte >= 0o100 {
                        self.text.push(char::from(b'0' + (byte >> 6)));
                    }
                    if full || byte >= 0o10 {
                        self.text.push(char::from(b'0' + (byte >> 3 & 7)));
                    }
                    self.text.push(char::from(b'0' + (byte & 7)));
                }
            }
            rest = tail;
        }
        self.ascii(rest);
    }

    /// Quoted bytes, all as hex.
    pub(super) fn hex_bytes(&mut self, bytes: &[u8]) -> Option<()> {
        self.str("\"");
        for byte in bytes {
            self.str("\\x");
            self.text.push(char::from_digit(u32::from(byte >> 4), 16)?);
            self.text.push(char::from_digit(u32::from(byte & 0xf), 16)?);
        }
        self.str("\"");
        Some(())
    }

    /// Bytes that are known to be printable ASCII.
    fn ascii(&mut self, bytes: &[u8]) {
        self.str(std::str::from_utf8(bytes).unwrap_or_default());
    }

    /// A quoted string of at most `limit` bytes; more than that, or `cut`, shows as `...` after it.
    pub(super) fn limited(&mut self, bytes: &[u8], limit: usize, cut: bool) {
        let shown = bytes.get(..limit).unwrap_or(bytes);
        self.quoted(shown);
        if cut || shown.len() < bytes.len() {
            self.str("...");
            self.truncated = true;
        }
    }

    /// `[a, b]` of the elements that there are.
    pub(super) fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut print: impl FnMut(&mut Self, T) -> Option<()>,
    ) -> Option<()> {
        self.text.push('[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.str(", ");
            }
            print(self, item)?;
        }
        self.text.push(']');
        Some(())
    }
}
