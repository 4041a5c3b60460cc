//! Times as people read them.

/// A time in nanoseconds since 1970 as RFC 3339 in UTC, to the millisecond: `2026-11-30T02:17:41.250Z`.
pub fn timestamp(nanoseconds: u64) -> String {
    let milliseconds = nanoseconds / 1_000_000;
    let seconds = milliseconds / 1000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", milliseconds % 1000)
}

/// Year, month and day, counting days since 1970-01-01: years begin in March, so that the day that leap years have more
/// is their last.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / DAYS_OF_400_YEARS, shifted % DAYS_OF_400_YEARS);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::{date, timestamp};

    #[test]
    fn known_moments() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(951_782_400_123_000_000), "2000-02-29T00:00:00.123Z");
        assert_eq!(timestamp(1_796_000_000_000_000_000), "2026-11-30T00:53:20.000Z");
        // Every day follows the one before.
        let mut last = date(0);
        for days in 1..60_000 {
            let next = date(days);
            let is_next =
                next == (last.0, last.1, last.2 + 1) || next == (last.0, last.1 + 1, 1) || next == (last.0 + 1, 1, 1);
            assert!(is_next && next.2 <= 31, "{last:?} {next:?}");
            last = next;
        }
        assert_eq!(last, (2134, 4, 10));
    }
}
