//! An access ACL as it stands in `system.posix_acl_access`, and what it decides. Pure.
//!
//! Sources: include/uapi/linux/posix_acl_xattr.h, fs/posix_acl.c (posix_acl_permission), acl(5).

/// An access ACL; ids are as who read it counts them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl(Vec<Entry>);

/// What an entry is for, and its bits, of 0o7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    who: Who,
    bits: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Owner,
    User(u32),
    OwningGroup,
    Group(u32),
    Mask,
    Other,
}

/// Whose access is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    pub uid: u32,
    pub gid: u32,
    /// Its other groups, where they are known.
    pub groups: Option<&'a [u32]>,
}

impl Caller<'_> {
    /// Whether it is in a group.
    fn is_in(&self, group: u32) -> Option<bool> {
        if self.gid == group {
            return Some(true);
        }
        self.groups.map(|groups| groups.contains(&group))
    }
}

impl Acl {
    /// Reads the attribute: a version, then entries of a tag, bits and an id, little-endian; `None` of any other form.
    pub fn read(attribute: &[u8]) -> Option<Self> {
        let (version, entries) = attribute.split_first_chunk()?;
        if u32::from_le_bytes(*version) != 2 || entries.len() % 8 != 0 {
            return None;
        }
        let entry = |entry: &[u8]| {
            let [t0, t1, b0, b1, id @ ..]: [u8; 8] = entry.try_into().ok()?;
            let id = u32::from_le_bytes(id);
            let who = match u16::from_le_bytes([t0, t1]) {
                0x01 => Who::Owner,
                0x02 => Who::User(id),
                0x04 => Who::OwningGroup,
                0x08 => Who::Group(id),
                0x10 => Who::Mask,
                0x20 => Who::Other,
                _ => return None,
            };
            let bits = u32::from(u16::from_le_bytes([b0, b1]) & 7);
            Some(Entry { who, bits })
        };
        entries
            .chunks_exact(8)
            .map(entry)
            .collect::<Option<_>>()
            .map(Self)
    }

    /// Whether it lets the caller do that with a file of that owner and group, and the entry that decides, as getfacl(1)
    /// writes it; `None` where the caller's groups are not known and matter.
    pub fn allows(&self, caller: Caller<'_>, owner: u32, group: u32, wanted: u32) -> Option<(bool, String)> {
        let mask = self
            .0
            .iter()
            .find(|entry| entry.who == Who::Mask)
            .map_or(7, |mask| mask.bits);
        let has = |bits: u32| bits & wanted == wanted;
        let mut refused = None;
        for entry in &self.0 {
            let masked = entry.bits & mask;
            match entry.who {
                Who::Owner if caller.uid == owner => return Some((has(entry.bits), entry.text(7))),
                Who::User(id) if caller.uid == id => return Some((has(masked), entry.text(mask))),
                Who::OwningGroup | Who::Group(_) => {
                    let id = if let Who::Group(id) = entry.who { id } else { group };
                    if !caller.is_in(id)? {
                        continue;
                    }
                    // One that has all of it decides, with the mask; else another may.
                    if has(entry.bits) {
                        return Some((has(masked), entry.text(mask)));
                    }
                    refused = refused.or_else(|| Some(entry.text(mask)));
                }
                Who::Other => {
                    return Some(match refused {
                        Some(entry) => (false, entry),
                        None => (has(entry.bits), entry.text(7)),
                    });
                }
                Who::Owner | Who::User(_) | Who::Mask => {}
            }
        }
        None
    }
}

impl Entry {
    fn text(&self, mask: u32) -> String {
        let letters = |bits: u32| {
            let letter = |(bit, letter): (u32, char)| if bits & bit == 0 { '-' } else { letter };
            [(4, 'r'), (2, 'w'), (1, 'x')]
                .map(letter)
                .iter()
                .collect::<String>()
        };
        let who = match self.who {
            Who::Owner => "user:".to_owned(),
            Who::User(id) => format!("user:{id}"),
            Who::OwningGroup => "group:".to_owned(),
            Who::Group(id) => format!("group:{id}"),
            Who::Mask => "mask:".to_owned(),
            Who::Other => "other:".to_owned(),
        };
        let bits = letters(self.bits);
        if self.bits & mask == self.bits {
            format!("{who}:{bits}")
        } else {
            format!(
                "{who}:{bits}, of which the mask leaves {}",
                letters(self.bits & mask)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The attribute as the kernel has it.
    pub(in crate::explain) fn attribute(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut bytes = 2u32.to_le_bytes().to_vec();
        for (tag, perm, id) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(perm.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    const NONE: u32 = u32::MAX;

    #[test]
    fn entries_decide_in_the_kernels_order() {
        // user::rw- user:7:r-- user:8:rw- group::--- group:50:rw- group:51:r-- mask::r-- other::r--
        let acl = Acl::read(&attribute(&[
            (0x01, 6, NONE),
            (0x02, 4, 7),
            (0x02, 6, 8),
            (0x04, 0, NONE),
            (0x08, 6, 50),
            (0x08, 4, 51),
            (0x10, 4, NONE),
            (0x20, 4, NONE),
        ]))
        .unwrap();
        let ask =
            |uid, gid, groups: Option<&[u32]>, wanted| acl.allows(Caller { uid, gid, groups }, 1, 2, wanted);
        for (uid, gid, groups, wanted, allowed, by) in [
            (1, 9, &[][..], 6, true, "user::rw-"),
            (7, 9, &[], 4, true, "user:7:r--"),
            (7, 9, &[], 2, false, "user:7:r--"),
            (8, 9, &[], 2, false, "user:8:rw-, of which the mask leaves r--"),
            (9, 50, &[], 2, false, "group:50:rw-, of which the mask leaves r--"),
            (9, 50, &[], 4, true, "group:50:rw-, of which the mask leaves r--"),
            (9, 2, &[], 4, false, "group::---"),
            (9, 2, &[51], 4, true, "group:51:r--"),
            (9, 9, &[], 4, true, "other::r--"),
            (9, 9, &[], 1, false, "other::r--"),
        ] {
            let told = ask(uid, gid, Some(groups), wanted);
            assert_eq!(
                told,
                Some((allowed, by.to_owned())),
                "{uid} {gid} {groups:?} {wanted}"
            );
        }
        assert_eq!(ask(9, 9, None, 4), None, "its groups are not known");
        assert_eq!(
            ask(7, 9, None, 4),
            Some((true, "user:7:r--".into())),
            "and do not matter"
        );
    }

    #[test]
    fn what_has_another_form_is_none() {
        for bytes in [
            &[][..],
            &[2, 0, 0],
            &[1, 0, 0, 0],
            &attribute(&[(0x40, 0, 0)]),
            &attribute(&[(1, 6, 0)])[..11],
        ] {
            assert_eq!(Acl::read(bytes), None, "{bytes:?}");
        }
    }
}
