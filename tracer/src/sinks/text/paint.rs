//! Colour and the cut: what is done to a line after it is written, for a terminal. Nothing here knows what a line means
//! beyond its quotes.

/// Before the name of a call.
pub(super) const NAME: &[u8] = b"\x1b[36m";
/// Before an error, or an end by a signal.
pub(super) const ERROR: &[u8] = b"\x1b[31m";
/// Before a string.
const STRING: &[u8] = b"\x1b[32m";
/// Back to plain.
pub(super) const PLAIN: &[u8] = b"\x1b[0m";

/// Writes arguments with their strings coloured: what stands between quotes, which no string ends by itself, since its
/// own quotes are escaped.
pub(super) fn strings(out: &mut Vec<u8>, text: &str) {
    let (mut quoted, mut escape) = (false, false);
    for byte in text.bytes() {
        let quote = byte == b'"' && !escape;
        if quote && !quoted {
            out.extend_from_slice(STRING);
        }
        out.push(byte);
        if quote && quoted {
            out.extend_from_slice(PLAIN);
        }
        quoted ^= quote;
        escape = byte == b'\\' && !escape;
    }
    if quoted {
        out.extend_from_slice(PLAIN);
    }
}

/// Cuts the line that begins at `start` to so many columns; colours take none.
pub(super) fn cut(out: &mut Vec<u8>, start: usize, columns: usize) {
    let mut seen = 0;
    let mut colour = false;
    let mut painted = false;
    let line = out.get(start..).unwrap_or_default();
    let end = line.iter().position(|&byte| {
        if byte == b'\x1b' {
            (colour, painted) = (true, true);
        } else if colour {
            colour = byte != b'm';
        } else if byte != b'\n' {
            seen += 1;
        }
        seen > columns
    });
    if let Some(end) = end {
        out.truncate(start + end);
        if painted {
            out.extend_from_slice(PLAIN);
        }
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_found_by_their_quotes() {
        let mut out = Vec::new();
        strings(&mut out, r#"3, "a\"b\\", 1"#);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "3, \x1b[32m\"a\\\"b\\\\\"\x1b[0m, 1"
        );
    }

    #[test]
    fn a_line_is_cut_by_what_is_seen_of_it() {
        let cut_to = |line: &str, columns| {
            let mut out = b"before\n".to_vec();
            out.extend_from_slice(line.as_bytes());
            cut(&mut out, 7, columns);
            String::from_utf8(out.split_off(7)).unwrap()
        };
        assert_eq!(cut_to("abcdef\n", 6), "abcdef\n");
        assert_eq!(cut_to("abcdef\n", 5), "abcde\n");
        assert_eq!(cut_to("\x1b[36mabcdef\x1b[0m\n", 6), "\x1b[36mabcdef\x1b[0m\n");
        assert_eq!(cut_to("\x1b[36mabcdef\x1b[0m\n", 2), "\x1b[36mab\x1b[0m\n");
    }
}
