//! What is typed for a number, a size or a time; and what is said where it is none.

use std::{
    num::{IntErrorKind, ParseIntError},
    str::FromStr,
    time::Duration,
};

use crate::units::{Bytes, Time};

/// A whole number without a sign.
pub(super) fn number<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow => {
            let most = u64::MAX >> (u64::BITS - 8 * size_of::<T>() as u32);
            format!("{text:?} is too large: {most} is the most")
        }
        IntErrorKind::Zero => "1 is the least".to_owned(),
        _ => format!("{text:?} is no whole number"),
    })
}

pub(super) fn percent(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(percent @ 1..=100) => Ok(percent),
        _ => Err(format!("{text:?} is no percentage from 1 to 100")),
    }
}

pub(super) fn index(text: &str) -> Result<String, String> {
    match text.as_bytes() {
        [b'0'..=b'9', b'0'..=b'9'] => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is no number of two digits, as 07")),
    }
}

pub(super) fn size(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(Bytes(bytes @ 4096..=0x4000_0000)) => Ok(bytes as u32),
        _ => Err(format!("{text:?} is no size from 4K to 1G")),
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    text.parse().map(|Time(time)| time)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    #[test]
    fn sizes_and_times_are_read_as_people_write_them() {
        assert_eq!(size("64M"), Ok(64 << 20));
        assert!(size("1").is_err() && size("2G").is_err() && size("x").is_err() && size("").is_err());
        assert!(index("07").is_ok() && index("7").is_err() && index("a1").is_err());
        for (text, says) in [
            ("1k", "\"1k\" is no whole number"),
            ("-1", "\"-1\" is no whole number"),
            ("65536", "\"65536\" is too large: 65535 is the most"),
        ] {
            assert_eq!(number::<u16>(text).unwrap_err(), says);
        }
        assert_eq!(number::<u64>("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(number::<NonZeroU64>("0").unwrap_err(), "1 is the least");
        assert!(percent("100").is_ok() && percent("0").is_err() && percent("101").is_err());
    }
}
