//! Sizes and times as people write them: `64M`, `30s`. Pure.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes: `32M`, `4096`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// A time: `500ms`, `30s`, `5m`, `24h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Duration);

impl Bytes {
    /// As a number of something in memory; it is no more than there can be.
    pub fn count(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let shift = match text.as_bytes().last() {
            Some(b'K' | b'k') => 10,
            Some(b'M' | b'm') => 20,
            Some(b'G' | b'g') => 30,
            Some(b'T' | b't') => 40,
            _ => 0,
        };
        let digits = if shift == 0 { text } else { &text[..text.len() - 1] };
        digits
            .trim()
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(1 << shift))
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no size like 4096, 64K, 32M or 1G"))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
        let unit = units
            .iter()
            .find(|(shift, _)| self.0 != 0 && self.0.trailing_zeros() >= *shift);
        match unit {
            Some((shift, unit)) => write!(to, "{}{unit}", self.0 >> shift),
            None => self.0.fmt(to),
        }
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let split = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let unit = match unit {
            "us" => 0.000_001,
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return Err(format!("{text:?} is no time like 500ms, 30s or 5m")),
        };
        let number: f64 = number
            .parse()
            .map_err(|_error| format!("{text:?} is no time like 500ms, 30s or 5m"))?;
        Duration::try_from_secs_f64(number * unit)
            .map(Self)
            .map_err(|_error| format!("{text:?} is too long"))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (86_400_000_000, "d"),
            (3_600_000_000, "h"),
            (60_000_000, "m"),
            (1_000_000, "s"),
            (1_000, "ms"),
        ];
        let micros = self.0.as_micros();
        // One day is better read as 24h, and no time as 0s.
        let unit = units.iter().find(|(size, _)| {
            micros.is_multiple_of(*size) && micros >= *size && (*size, micros) != (86_400_000_000, *size)
        });
        match (micros, unit) {
            (0, _) => to.write_str("0s"),
            (_, Some((size, unit))) => write!(to, "{}{unit}", micros / size),
            (_, None) => write!(to, "{micros}us"),
        }
    }
}

/// Both travel as they are written; a bare number is bytes, or seconds.
macro_rules! as_written {
    ($name:ident, $what:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;

                    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                        to.write_str($what)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }

                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$name, E> {
                        number.to_string().parse().map_err(E::custom)
                    }

                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$name, E> {
                        number.to_string().parse().map_err(E::custom)
                    }
                }
                from.deserialize_any(Visitor)
            }
        }
    };
}

as_written!(Bytes, "a size like \"32M\"");
as_written!(Time, "a time like \"30s\"");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_as_people_write_them() {
        assert_eq!("64M".parse(), Ok(Bytes(64 << 20)));
        assert_eq!(" 8192 ".parse(), Ok(Bytes(8192)));
        for wrong in ["", "x", "M", "-1", "1.5M", "99999999999T"] {
            assert!(wrong.parse::<Bytes>().is_err(), "{wrong}");
        }
        assert_eq!("500ms".parse(), Ok(Time(Duration::from_millis(500))));
        assert_eq!("0s".parse(), Ok(Time(Duration::ZERO)));
        assert_eq!("2m".parse(), Ok(Time(Duration::from_secs(120))));
        for wrong in ["soon", "", "-1s", "1e400s", "1.2.3"] {
            assert!(wrong.parse::<Time>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["0", "1", "1023", "1K", "1536K", "32M", "3G", "1T"] {
            assert_eq!(
                text.parse::<Bytes>().map(|bytes| bytes.to_string()).as_deref(),
                Ok(text)
            );
        }
        for text in [
            "0s", "1us", "1500us", "500ms", "1s", "90s", "5m", "24h", "36h", "2d",
        ] {
            assert_eq!(
                text.parse::<Time>().map(|time| time.to_string()).as_deref(),
                Ok(text)
            );
        }
    }
}
