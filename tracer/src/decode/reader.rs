//! Reads what the kernel side wrote word by word, and its sections one after the other. Each read is checked.
//!
//! It must not know what any of it means.

use tracer_common::{
    filter::copy,
    record::{self, section},
};

use super::{Captured, Undecodable};

/// Checked little-endian reads, one after the other.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Undecodable> {
        let end = self.at.saturating_add(length);
        let short = Undecodable::Short {
            have: self.bytes.len(),
            need: end,
        };
        let taken = self.bytes.get(self.at..end).ok_or(short)?;
        self.at = end;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Undecodable> {
        let short = Undecodable::Short {
            have: self.bytes.len(),
            need: self.at.saturating_add(N),
        };
        let taken = self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.first_chunk())
            .ok_or(short)?;
        self.at += N;
        Ok(*taken)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Undecodable> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Undecodable> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Undecodable> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn header(&mut self) -> Result<record::Header, Undecodable> {
        if self.bytes.len() < size_of::<record::Header>() {
            return Err(Undecodable::Short {
                have: self.bytes.len(),
                need: size_of::<record::Header>(),
            });
        }
        Ok(record::Header {
            kind: self.u16()?,
            flags: self.u16()?,
            slot: self.u16()?,
            cpu: self.u16()?,
            generation: self.u32()?,
            nr: self.u16()?,
            nargs: self.u16()?,
            seq: self.u64()?,
            ktime: self.u64()?,
            tgid: self.u32()?,
            tid: self.u32()?,
            ns_tgid: self.u32()?,
            ns_tid: self.u32()?,
        })
    }

    pub(super) fn args(&mut self, count: u16) -> Result<[u64; 6], Undecodable> {
        let mut args = [0; 6];
        if usize::from(count) > args.len() {
            return Err(Undecodable::Arguments(count));
        }
        for arg in args.iter_mut().take(usize::from(count)) {
            *arg = self.u64()?;
        }
        Ok(args)
    }

    /// The next section; `None` at the end.
    pub(super) fn section(&mut self) -> Result<Option<Taken<'a>>, Undecodable> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let [arg, kind] = self.array()?;
        let (flags, len, total) = (self.u16()?, self.u16()?, self.u16()?);
        let captured = Captured {
            bytes: self.take(usize::from(len))?,
            cut: flags & section::CUT != 0,
            fault: flags & section::FAULT != 0,
            total,
        };
        Ok(Some(Taken {
            arg,
            kind,
            part: (kind == copy::PART).then_some(total),
            before: flags & section::BEFORE != 0,
            captured,
        }))
    }
}

/// A section, read.
pub(super) struct Taken<'a> {
    pub(super) arg: u8,
    /// A [`copy`] kind.
    pub(super) kind: u8,
    /// Which part of the argument's memory, where it has several.
    pub(super) part: Option<u16>,
    pub(super) before: bool,
    pub(super) captured: Captured<'a>,
}
