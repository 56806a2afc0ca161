//! The data that a call moved, as strace dumps it under the call's line. What was not taken is told in its place.

use super::number;
use crate::{
    event::{Buffer, Data},
    filter::Moved,
};

/// Bytes of a line, and of each of its two groups.
const WIDTH: usize = 16;
const GROUP: usize = 8;

/// Writes the data's lines.
pub(super) fn data(out: &mut Vec<u8>, moved: Moved<'_>) {
    let Some(data) = moved.data else {
        return out.extend_from_slice(b" | <not taken: it was not asked for when the call was made>\n");
    };
    let mut messages = data.messages.iter().flatten().zip(0_u32..);
    let mut of = None;
    for buffer in &data.buffers {
        // A message without buffers has a line all the same.
        while of < buffer.message
            && let Some((count, index)) = messages.next()
        {
            message(out, *count, index);
            of = Some(index);
        }
        write(out, buffer);
    }
    for (count, index) in messages {
        message(out, *count, index);
    }
    if data.cut {
        out.extend_from_slice(match data {
            Data {
                messages: Some(_), ..
            } => b" | <more messages, not taken>\n".as_slice(),
            _ => b" | <more buffers, not taken>\n",
        });
    }
}

/// ` = 2 buffers in vector 0`
fn message(out: &mut Vec<u8>, count: u64, index: u32) {
    out.extend_from_slice(b" = ");
    number(out, count);
    out.extend_from_slice(b" buffers in vector ");
    number(out, u64::from(index));
    out.push(b'\n');
}

fn write(out: &mut Vec<u8>, buffer: &Buffer) {
    if let Some(index) = buffer.index {
        out.extend_from_slice(b" * ");
        number(out, buffer.len);
        out.extend_from_slice(b" bytes in buffer ");
        number(out, u64::from(index));
        out.push(b'\n');
    }
    // As wide as the last offset, five digits at least.
    let bits = 64 - buffer.len.saturating_sub(1).leading_zeros();
    let digits = bits.div_ceil(4).max(5);
    for (line, bytes) in buffer.bytes.chunks(WIDTH).enumerate() {
        out.extend_from_slice(b" | ");
        for digit in (0..digits).rev() {
            out.push(hex((line * WIDTH) >> (4 * digit)));
        }
        out.extend_from_slice(b"  ");
        for at in 0..WIDTH {
            match bytes.get(at) {
                Some(byte) => out.extend([hex(usize::from(byte >> 4)), hex(usize::from(*byte)), b' ']),
                None => out.extend_from_slice(b"   "),
            }
            if at % GROUP == GROUP - 1 {
                out.push(b' ');
            }
        }
        for at in 0..WIDTH {
            out.push(match bytes.get(at) {
                Some(byte @ b' '..=b'~') => *byte,
                Some(_) => b'.',
                None => b' ',
            });
        }
        out.extend_from_slice(b" |\n");
    }
    let missing = buffer.missing();
    if missing > 0 {
        out.extend_from_slice(b" | <");
        number(out, missing);
        out.extend_from_slice(if missing == 1 { b" byte" } else { b" bytes" });
        out.extend_from_slice(if buffer.fault {
            b" more, not in memory>\n".as_slice()
        } else {
            b" more, not taken: the record has no room>\n"
        });
    }
}

fn hex(nibble: usize) -> u8 {
    b"0123456789abcdef".get(nibble & 0xf).copied().unwrap_or(b'?')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Direction;

    fn dump(data: Option<Data>) -> String {
        let mut out = Vec::new();
        let data = data.as_ref();
        super::data(
            &mut out,
            Moved {
                direction: Direction::Read,
                data,
            },
        );
        String::from_utf8(out).unwrap()
    }

    fn buffer(bytes: &[u8], len: u64) -> Buffer {
        Buffer {
            len,
            bytes: bytes.to_vec(),
            ..Buffer::default()
        }
    }

    fn of(buffers: impl Into<Vec<Buffer>>) -> Option<Data> {
        Some(Data {
            buffers: buffers.into(),
            ..Data::default()
        })
    }

    /// The lines are those of strace 6.1.
    #[test]
    fn lines_are_straces() {
        assert_eq!(
            dump(of([buffer(b"hello\n", 6)])),
            " | 00000  68 65 6c 6c 6f 0a                                 hello.           |\n"
        );
        let bytes: Vec<u8> = (0x18..0x28).chain([0x7e, 0x7f, 0xff]).collect();
        assert_eq!(
            dump(of([buffer(&bytes, 19)])),
            " | 00000  18 19 1a 1b 1c 1d 1e 1f  20 21 22 23 24 25 26 27  ........ !\"#$%&' |\n \
              | 00010  7e 7f ff                                          ~..              |\n"
        );
        assert_eq!(dump(of([buffer(b"", 0)])), "");
    }

    #[test]
    fn vectors_and_messages_have_heads() {
        let part = |message, index, bytes: &[u8]| Buffer {
            message,
            index: Some(index),
            ..buffer(bytes, bytes.len() as u64)
        };
        let line = " | 00000  61                                                a                |\n";
        assert_eq!(
            dump(of([part(None, 0, b"a"), part(None, 1, b"a")])),
            format!(" * 1 bytes in buffer 0\n{line} * 1 bytes in buffer 1\n{line}")
        );
        let messages = Data {
            buffers: vec![part(Some(1), 0, b"a")],
            messages: Some(vec![0, 1, 0]),
            cut: true,
        };
        assert_eq!(
            dump(Some(messages)),
            format!(
                " = 0 buffers in vector 0\n = 1 buffers in vector 1\n * 1 bytes in buffer 0\n{line} = 0 buffers in \
                 vector 2\n | <more messages, not taken>\n"
            )
        );
    }

    #[test]
    fn what_is_missing_is_told() {
        assert!(dump(None).starts_with(" | <not taken"));
        let told = dump(of([buffer(b"a", 0x0010_0001)]));
        assert!(told.starts_with(" | 000000  61 "), "{told}");
        assert!(
            told.ends_with("\n | <1048576 bytes more, not taken: the record has no room>\n"),
            "{told}"
        );
        let torn = Buffer {
            fault: true,
            ..buffer(b"a", 2)
        };
        assert!(dump(of([torn])).ends_with("\n | <1 byte more, not in memory>\n"));
    }
}
