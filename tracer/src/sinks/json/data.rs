//! The data that a call moved: `"data":{"direction":"read","whole":true,"buffers":[{"length":6,"base64":"aGVsbG8K"}]}`.

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::{field, number};
use crate::{
    event::{Buffer, Direction},
    filter::Moved,
};

/// Writes the field.
pub(super) fn data(out: &mut Vec<u8>, moved: Moved<'_>) {
    out.extend_from_slice(match moved.direction {
        Direction::Read => b",\"data\":{\"direction\":\"read\"".as_slice(),
        Direction::Write => b",\"data\":{\"direction\":\"write\"",
    });
    let whole = moved.data.is_some_and(crate::event::Data::is_whole);
    out.extend_from_slice(if whole {
        b",\"whole\":true"
    } else {
        b",\"whole\":false"
    });
    if let Some(data) = moved.data {
        if let Some(messages) = &data.messages {
            out.extend_from_slice(b",\"messages\":");
            number(out, messages.len() as u64);
        }
        out.extend_from_slice(b",\"buffers\":[");
        for (index, one) in data.buffers.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            buffer(out, one);
        }
        out.push(b']');
    }
    out.push(b'}');
}

fn buffer(out: &mut Vec<u8>, buffer: &Buffer) {
    out.push(b'{');
    if let Some(message) = buffer.message {
        field(out, b"\"message\":", u64::from(message));
        out.push(b',');
    }
    if let Some(index) = buffer.index {
        field(out, b"\"index\":", u64::from(index));
        out.push(b',');
    }
    field(out, b"\"length\":", buffer.len);
    out.extend_from_slice(b",\"base64\":\"");
    out.extend_from_slice(BASE64_STANDARD.encode(&buffer.bytes).as_bytes());
    out.push(b'"');
    if buffer.missing() > 0 {
        field(out, b",\"missing\":", buffer.missing());
        out.extend_from_slice(if buffer.fault { b",\"fault\":true" } else { b"" });
    }
    out.push(b'}');
}
