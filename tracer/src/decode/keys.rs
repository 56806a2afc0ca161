//! Printers of keyctl(2): its arguments mean something else with each operation.

use super::{
    names,
    show::{Call, Captured, Out, c_string, signed},
    values,
};

/// What an argument of keyctl(2) is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A key or keyring, or the kernel's number of a special one.
    Key,
    /// A NUL-terminated string.
    Text,
    /// Bytes, as many as the next argument says.
    Data,
    /// A string that the call writes: as much as it returned.
    Out,
    /// Bits of what the kernel can, which the call writes.
    Abilities,
    Id,
    Number,
    Error,
    Permissions,
    Default,
    Flags,
    Address,
}

/// The arguments after the operation.
fn kinds(operation: u64) -> &'static [Kind] {
    use Kind::{Abilities, Address, Data, Default, Error, Flags, Id, Key, Number, Out, Permissions, Text};
    match names::KEYCTL.get(operation) {
        Some("KEYCTL_GET_KEYRING_ID") => &[Key, Number],
        Some("KEYCTL_JOIN_SESSION_KEYRING") => &[Text],
        Some("KEYCTL_UPDATE") => &[Key, Data, Number],
        Some("KEYCTL_REVOKE" | "KEYCTL_CLEAR" | "KEYCTL_INVALIDATE" | "KEYCTL_ASSUME_AUTHORITY") => &[Key],
        Some("KEYCTL_CHOWN") => &[Key, Id, Id],
        Some("KEYCTL_SETPERM") => &[Key, Permissions],
        Some("KEYCTL_DESCRIBE" | "KEYCTL_READ" | "KEYCTL_GET_SECURITY") => &[Key, Out, Number],
        Some("KEYCTL_LINK" | "KEYCTL_UNLINK") => &[Key, Key],
        Some("KEYCTL_SEARCH") => &[Key, Text, Text, Key],
        Some("KEYCTL_INSTANTIATE") => &[Key, Data, Number, Key],
        Some("KEYCTL_NEGATE") => &[Key, Number, Key],
        Some("KEYCTL_SET_REQKEY_KEYRING") => &[Default],
        Some("KEYCTL_SET_TIMEOUT") => &[Key, Number],
        Some("KEYCTL_SESSION_TO_PARENT") => &[],
        Some("KEYCTL_REJECT") => &[Key, Number, Error, Key],
        Some("KEYCTL_INSTANTIATE_IOV") => &[Key, Address, Number, Key],
        Some("KEYCTL_GET_PERSISTENT") => &[Id, Key],
        Some("KEYCTL_RESTRICT_KEYRING") => &[Key, Text, Text],
        Some("KEYCTL_MOVE") => &[Key, Key, Key, Flags],
        Some("KEYCTL_CAPABILITIES") => &[Abilities, Number],
        _ => &[Address, Address, Address, Address],
    }
}

fn kind<const INDEX: usize>(call: &Call<'_>) -> Option<Kind> {
    kinds(call.int(0)).get(INDEX - 1).copied()
}

/// Whether the operation has that argument.
pub(super) fn has<const INDEX: usize>(call: &Call<'_>) -> bool {
    kind::<INDEX>(call).is_some()
}

/// An argument that is a number.
pub(super) fn number<const INDEX: usize>(out: &mut Out<'_>, call: &Call<'_>, value: u64) {
    match kind::<INDEX>(call) {
        Some(Kind::Key) => values::keyring(out, call, value),
        Some(Kind::Id) => values::int(out, call, value),
        Some(Kind::Number) => out.unsigned(value),
        Some(Kind::Permissions) => out.flags(u64::from(signed(value).cast_unsigned()), &names::KEY_PERM),
        Some(Kind::Default) => out.name(u64::from(signed(value).cast_unsigned()), &names::KEY_REQKEY),
        Some(Kind::Flags) => out.flags(value, &names::KEYCTL_MOVE_FLAGS),
        Some(Kind::Error) => {
            let known = u16::try_from(value).ok().filter(|errno| *errno != 0);
            match known.map(crate::errno::name) {
                Some(name) if name.starts_with('E') => out.str(&name),
                _ => out.unsigned(value),
            }
        }
        Some(Kind::Text | Kind::Data | Kind::Out | Kind::Abilities) => out.pointer(value),
        Some(Kind::Address) | None => out.hex(value),
    }
}

/// An argument that points to something.
pub(super) fn memory<const INDEX: usize>(
    out: &mut Out<'_>,
    call: &Call<'_>,
    memory: Captured<'_>,
) -> Option<()> {
    match kind::<INDEX>(call)? {
        Kind::Text => c_string(out, call, memory),
        Kind::Data => bytes(out, call, memory, call.arg(INDEX + 1)),
        Kind::Out if call.succeeded => {
            let room = call.arg(INDEX + 1);
            let length = call.ret.unsigned_abs().min(room);
            // Descriptions end with a NUL, which is no part of them.
            let end = usize::try_from(length).ok()?;
            let text = memory.bytes.get(..end).unwrap_or(memory.bytes);
            let length = if text.len() == end && text.last() == Some(&0) {
                length - 1
            } else {
                length
            };
            bytes(out, call, memory, length)
        }
        Kind::Abilities if call.succeeded => {
            let tables = [&names::KEYCTL_CAPS0, &names::KEYCTL_CAPS1];
            let count = usize::try_from(call.ret).ok()?;
            out.list(memory.bytes.iter().zip(0..count), |out, (byte, index)| {
                match tables.get(index) {
                    Some(names) => out.flags(u64::from(*byte), names),
                    None => out.hex(u64::from(*byte)),
                }
                Some(())
            })
        }
        _ => None,
    }
}

fn bytes(out: &mut Out<'_>, call: &Call<'_>, memory: Captured<'_>, length: u64) -> Option<()> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let shown = memory.bytes.get(..length).unwrap_or(memory.bytes);
    out.limited(shown, call.limit, shown.len() < length);
    Some(())
}
