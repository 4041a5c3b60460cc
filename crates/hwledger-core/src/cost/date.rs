//! The days on which prices were known.

use std::fmt;

use serde::Serialize;

/// Prices older than this are marked.
pub const STALE_DAYS: i64 = 90;

/// A day, or a month where the day was not noted. Printed as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    /// 0: only the month is known.
    day: u8,
}

impl Date {
    /// Reads `YYYY-MM-DD` or `YYYY-MM`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut number = |digits: usize| {
            let part = parts.next()?;
            let is_plain = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
            is_plain.then(|| part.parse::<u16>().ok()).flatten()
        };
        let (year, month) = (number(4)?, u8::try_from(number(2)?).ok()?);
        if !(1..=12).contains(&month) || year < 1970 {
            return None;
        }
        let is_month = text.len() == 7;
        let day = if is_month { 0 } else { u8::try_from(number(2)?).ok()? };
        let is_day = is_month || (1..=days_of_month(year, month)).contains(&day);
        (is_day && parts.next().is_none()).then_some(Self { year, month, day })
    }

    /// The day that begins so many seconds after 1970-01-01, as clocks of systems count.
    pub fn from_unix_seconds(seconds: u64) -> Option<Self> {
        let mut days = seconds / 86_400;
        let mut year = 1970_u16;
        loop {
            let length = if is_leap(year) { 366 } else { 365 };
            if days < length {
                break;
            }
            days -= length;
            year = year.checked_add(1).filter(|&year| year < 10_000)?;
        }
        let mut month = 1;
        while days >= u64::from(days_of_month(year, month)) {
            days -= u64::from(days_of_month(year, month));
            month += 1;
        }
        Some(Self { year, month, day: u8::try_from(days + 1).ok()? })
    }

    /// Days since 1970-01-01; a month counts from its first day, the oldest it can be.
    fn days(self) -> i64 {
        let year = i64::from(self.year) - 1;
        let leaps = |year: i64| year / 4 - year / 100 + year / 400;
        let months: i64 = (1..self.month).map(|month| i64::from(days_of_month(self.year, month))).sum();
        (year - 1969) * 365 + leaps(year) - leaps(1969) + months + i64::from(self.day.max(1)) - 1
    }

    /// Days from this date to `today`, at most; negative if it lies ahead.
    pub fn age_days(self, today: Self) -> i64 {
        today.days() - self.days()
    }

    /// Whether a price of this date may be older than [`STALE_DAYS`] on `today`.
    pub fn is_stale(self, today: Self) -> bool {
        self.age_days(today) > STALE_DAYS
    }
}

const fn is_leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_of_month(year: u16, month: u8) -> u8 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl fmt::Display for Date {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04}-{:02}", self.year, self.month)?;
        if self.day == 0 { Ok(()) } else { write!(formatter, "-{:02}", self.day) }
    }
}

impl Serialize for Date {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Date {
        Date::parse(text).expect("a date of a test is written well")
    }

    #[test]
    fn dates_are_read_strictly() {
        assert_eq!(date("2025-06").to_string(), "2025-06");
        assert_eq!(date("2024-02-29").to_string(), "2024-02-29");
        for wrong in ["", "2025", "2025-13", "2025-00", "2025-02-29", "2025-6", "2025-06-1", "2025-06-01-01", "+025-06"]
        {
            assert_eq!(Date::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn days_count_through_leap_years() {
        assert_eq!(date("1970-01-01").days(), 0);
        // 30 years of 365 days and 7 leap days before 2000-01-01; January and 29 days of February after.
        assert_eq!(date("2000-03-01").days(), 30 * 365 + 7 + 31 + 29);
        for day in [0_u64, 58, 59, 364, 365, 11_016, 20_000] {
            let date = Date::from_unix_seconds(day * 86_400 + 5).expect("the day is before the year 10000");
            assert_eq!(date.days().cast_unsigned(), day, "{date}");
        }
        assert_eq!(Date::from_unix_seconds(u64::MAX), None);
    }

    #[test]
    fn a_price_is_stale_after_ninety_days() {
        // From 1 June: 30 days of June, 31 of July, 29 more to 30 August are 90.
        assert!(!date("2025-06").is_stale(date("2025-08-30")));
        assert!(date("2025-06").is_stale(date("2025-08-31")));
        assert!(!date("2026-01").is_stale(date("2025-08-31")));
    }
}
