//! Member offsets from the kernel's BTF (Documentation/bpf/btf.rst), and nothing else of it.
//!
//! Own code for one reason: start-up. It resolves all offsets in 5 ms, where the well-kept crates that can do it take
//! 90 to 170 ms (they build every type), and `tracer run` pays that before each command. Every read is bounds-checked:
//! a truncated or hostile file gives an error, never a panic.

use anyhow::{Context, Result, bail};

const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_FUNC: u32 = 12;

/// The type section of a BTF file, indexed.
pub(super) struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type's record begins, by type id; id 0 is `void`.
    records: Vec<u32>,
}

/// A `struct btf_type`.
struct Type {
    at: usize,
    kind: u32,
    members: usize,
    /// Member offsets hold a bit-field size in their top byte.
    bitfields: bool,
    /// `size` or `type`.
    size: u32,
}

impl<'a> Btf<'a> {
    /// Indexes `/sys/kernel/btf/vmlinux` or the like.
    pub(super) fn parse(file: &'a [u8]) -> Result<Self> {
        if file.get(..2) != Some(&[0x9f, 0xeb]) {
            bail!("not a little-endian BTF file");
        }
        let header = |at| {
            word(file, at)
                .map(|word| word as usize)
                .context("the BTF header is cut")
        };
        let (length, types, types_len, strings, strings_len) =
            (header(4)?, header(8)?, header(12)?, header(16)?, header(20)?);
        let part = |offset: usize, len: usize| {
            let start = length.checked_add(offset)?;
            file.get(start..start.checked_add(len)?)
        };
        let types = part(types, types_len).context("the BTF type section is cut")?;
        let strings = part(strings, strings_len).context("the BTF string section is cut")?;
        let mut records = vec![u32::MAX];
        let mut at = 0usize;
        while at + 12 <= types.len() {
            records.push(u32::try_from(at)?);
            let info = word(types, at + 4).context("a BTF type is cut")?;
            let (kind, vlen) = ((info >> 24) & 0x1f, (info & 0xffff) as usize);
            at += 12
                + match kind {
                    1 | 14 | 17 => 4,
                    2 | 7..=12 | 16 | 18 => 0,
                    3 => 12,
                    KIND_STRUCT | KIND_UNION | 15 | 19 => vlen * 12,
                    KIND_ENUM | 13 => vlen * 8,
                    unknown => bail!("BTF kind {unknown} is newer than this program"),
                };
        }
        Ok(Self {
            types,
            strings,
            records,
        })
    }

    /// Byte offset of a member, by path (`ns.inum`); anonymous structs and unions on the way are looked into.
    pub(super) fn offset(&self, structure: &str, path: &str) -> Result<u32> {
        let mut id = self
            .find(structure)
            .with_context(|| format!("this kernel's BTF has no struct {structure}"))?;
        let mut offset = 0;
        for name in path.split('.') {
            let (at, member) = self
                .member(id, name.as_bytes(), 0)
                .with_context(|| format!("this kernel's struct {structure} has no member {path}"))?;
            offset += at;
            id = member;
        }
        Ok(offset)
    }

    /// Size of a structure in bytes.
    pub(super) fn size(&self, structure: &str) -> Result<u32> {
        self.find(structure)
            .and_then(|id| self.get(id))
            .map(|structure| structure.size)
            .with_context(|| format!("this kernel's BTF has no struct {structure}"))
    }

    /// Whether there is a typedef of that name.
    pub(super) fn has_typedef(&self, name: &str) -> bool {
        self.named(name, |found| found.kind == KIND_TYPEDEF).is_some()
    }

    /// The number that an enumeration gives a name.
    pub(super) fn value(&self, name: &str) -> Result<u32> {
        let enums = self.records.iter().skip(1).zip(1..);
        let enums = enums.filter_map(|(_, id)| self.get(id).filter(|found| found.kind == KIND_ENUM));
        for found in enums {
            for index in 0..found.members {
                let at = found.at + 12 + index * 8;
                if word(self.types, at).map(|at| self.name(at)) == Some(name.as_bytes()) {
                    return word(self.types, at + 4).context("the BTF type section is cut");
                }
            }
        }
        bail!("this kernel's BTF has no enumeration with {name}")
    }

    /// The id of a function.
    pub(super) fn function(&self, name: &str) -> Option<u32> {
        self.named(name, |found| found.kind == KIND_FUNC)
    }

    fn find(&self, name: &str) -> Option<u32> {
        self.named(name, |found| {
            matches!(found.kind, KIND_STRUCT | KIND_UNION) && found.members > 0
        })
    }

    fn named(&self, name: &str, is_meant: impl Fn(&Type) -> bool) -> Option<u32> {
        (1..u32::try_from(self.records.len()).ok()?).find(|id| {
            self.get(*id).is_some_and(|found| {
                is_meant(&found)
                    && word(self.types, found.at).map(|at| self.name(at)) == Some(name.as_bytes())
            })
        })
    }

    fn get(&self, id: u32) -> Option<Type> {
        let at = *self.records.get(id as usize)? as usize;
        let info = word(self.types, at + 4)?;
        Some(Type {
            at,
            kind: (info >> 24) & 0x1f,
            members: (info & 0xffff) as usize,
            bitfields: info >> 31 == 1,
            size: word(self.types, at + 8)?,
        })
    }

    fn name(&self, at: u32) -> &'a [u8] {
        let rest = self.strings.get(at as usize..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// Follows typedefs and qualifiers to a type that has members or a size.
    fn strip(&self, mut id: u32) -> Option<u32> {
        for _ in 0..16 {
            let found = self.get(id)?;
            // typedef, volatile, const, restrict, type tag
            if !matches!(found.kind, 8..=11 | 18) {
                return Some(id);
            }
            id = found.size;
        }
        None
    }

    /// (byte offset, type id) of a direct member or one in an anonymous member.
    fn member(&self, id: u32, name: &[u8], depth: u32) -> Option<(u32, u32)> {
        let outer = self.get(id)?;
        if !matches!(outer.kind, KIND_STRUCT | KIND_UNION) || depth > 8 {
            return None;
        }
        for index in 0..outer.members {
            let at = outer.at + 12 + index * 12;
            let bits = word(self.types, at + 8)?;
            let offset = if outer.bitfields { bits & 0x00ff_ffff } else { bits } / 8;
            let member = self.name(word(self.types, at)?);
            if member == name {
                return Some((offset, self.strip(word(self.types, at + 4)?)?));
            }
            if member.is_empty()
                && let Some(inner) = self.strip(word(self.types, at + 4)?)
                && let Some((within, found)) = self.member(inner, name, depth + 1)
            {
                return Some((offset + within, found));
            }
        }
        None
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kernel() -> Vec<u8> {
        std::fs::read("/sys/kernel/btf/vmlinux").expect("the tests need a kernel with BTF")
    }

    #[test]
    fn offsets_agree_with_what_the_kernel_says_of_itself() {
        let file = kernel();
        let btf = Btf::parse(&file).unwrap();
        // upid { int nr; struct pid_namespace *ns; } has had this layout on 64-bit machines since 2.6.24.
        assert_eq!(btf.offset("upid", "nr").unwrap(), 0);
        assert_eq!(btf.offset("upid", "ns").unwrap(), 8);
        assert_eq!(btf.size("upid").unwrap(), 16);
        // enum pid_type, include/linux/pid_types.h
        assert_eq!(btf.value("PIDTYPE_TGID").unwrap(), 1);
        assert!(btf.value("PIDTYPE_NONE_OF_THEM").is_err());
        // A path through an embedded struct, and one through an anonymous union.
        assert!(
            btf.offset("mnt_namespace", "ns.inum").unwrap() >= btf.offset("mnt_namespace", "ns").unwrap()
        );
        assert!(btf.offset("pid_namespace", "ns.inum").is_ok());
    }

    #[test]
    fn what_is_not_there_is_named() {
        let file = kernel();
        let btf = Btf::parse(&file).unwrap();
        let error = btf
            .offset("task_struct", "no_such_member")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("task_struct") && error.contains("no_such_member"),
            "{error}"
        );
        assert!(
            btf.offset("no_such_struct", "x")
                .unwrap_err()
                .to_string()
                .contains("no_such_struct")
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..512), magic: bool) {
            if magic && bytes.len() > 2 {
                bytes[0] = 0x9f;
                bytes[1] = 0xeb;
            }
            if let Ok(btf) = Btf::parse(&bytes) {
                let _unused = btf.offset("task_struct", "pid");
            }
        }
    }

    #[test]
    fn a_cut_kernel_file_is_an_error_or_a_smaller_file() {
        let file = kernel();
        for len in (0..file.len()).step_by(file.len() / 97) {
            if let Ok(btf) = Btf::parse(&file[..len]) {
                let _unused = btf.offset("task_struct", "nsproxy");
            }
        }
    }
}
