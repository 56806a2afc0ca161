//! Dates, without an allocation: what the sinks write most.

/// A UTC date and time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Utc {
    pub(crate) year: i64,
    pub(crate) month: u64,
    pub(crate) day: u64,
    pub(crate) hour: u64,
    pub(crate) minute: u64,
    pub(crate) second: u64,
}

/// Seconds since 1970 as a date of the Gregorian calendar. The year is taken to begin in March, so that the leap day
/// is its last, and eras of 400 years repeat exactly.
pub(crate) fn utc(seconds: i64) -> Utc {
    let days = seconds.div_euclid(86_400);
    let of_day = seconds.rem_euclid(86_400).unsigned_abs();
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    Utc {
        year: era * 400 + year_of_era + i64::from(month <= 2),
        month: month.unsigned_abs(),
        day: (day_of_year - (153 * from_march + 2) / 5 + 1).unsigned_abs(),
        hour: of_day / 3_600,
        minute: of_day / 60 % 60,
        second: of_day % 60,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let at = |seconds| {
            let t = utc(seconds);
            (t.year, t.month, t.day, t.hour, t.minute, t.second)
        };
        assert_eq!(at(0), (1970, 1, 1, 0, 0, 0));
        assert_eq!(at(951_827_696), (2000, 2, 29, 12, 34, 56));
        assert_eq!(at(4_107_542_399), (2100, 2, 28, 23, 59, 59));
        assert_eq!(at(-1), (1969, 12, 31, 23, 59, 59));
    }
}
