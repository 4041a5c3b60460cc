//! The time that a template is told.

use std::fmt::Write as _;

use minijinja::value::Value;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A date and time of day, in whatever zone the caller means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    year: i64,
    /// 1 to 12.
    month: u8,
    /// 1 to 31.
    day: u8,
    /// Seconds since midnight.
    second: u32,
    /// Days since Sunday.
    weekday: u8,
}

impl Date {
    /// The date so many seconds after the start of 1970.
    ///
    /// **Source** Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "each is bounded by the calendar")]
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // Months from March.
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        Self {
            year: year_of_era + era * 400 + if month <= 2 { 1 } else { 0 },
            month: month as u8,
            day: day as u8,
            second: second as u32,
            weekday: (days + 4).rem_euclid(7) as u8,
        }
    }

    /// The date in the form that Python's `strftime` takes; directives not known here stay as they are.
    pub fn format(self, form: &str) -> String {
        let (hour, minute, second) = (self.second / 3600, self.second / 60 % 60, self.second % 60);
        let month = MONTHS[usize::from(self.month - 1)];
        let day = DAYS[usize::from(self.weekday)];
        let mut text = String::new();
        let mut letters = form.chars();
        while let Some(letter) = letters.next() {
            if letter != '%' {
                text.push(letter);
                continue;
            }
            match letters.next() {
                Some('Y') => text.push_str(&self.year.to_string()),
                Some('y') => _ = write!(text, "{:02}", self.year.rem_euclid(100)),
                Some('m') => _ = write!(text, "{:02}", self.month),
                Some('d') => _ = write!(text, "{:02}", self.day),
                Some('e') => _ = write!(text, "{:2}", self.day),
                Some('B') => text.push_str(month),
                Some('b' | 'h') => text.push_str(&month[..3]),
                Some('A') => text.push_str(day),
                Some('a') => text.push_str(&day[..3]),
                Some('H') => _ = write!(text, "{hour:02}"),
                Some('I') => _ = write!(text, "{:02}", (hour + 11) % 12 + 1),
                Some('p') => text.push_str(if hour < 12 { "AM" } else { "PM" }),
                Some('M') => _ = write!(text, "{minute:02}"),
                Some('S') => _ = write!(text, "{second:02}"),
                Some('F') => text.push_str(&self.format("%Y-%m-%d")),
                Some('T') => text.push_str(&self.format("%H:%M:%S")),
                Some('D') => text.push_str(&self.format("%m/%d/%y")),
                Some('%') | None => text.push('%'),
                Some(other) => text.extend(['%', other]),
            }
        }
        text
    }

    /// `strftime_now`.
    pub(super) fn function(self) -> Value {
        Value::from_function(move |form: &str| self.format(form))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let check = |seconds, expected: &str| {
            let form = "%A %a %d %e %B %b %Y %y-%m %H:%M:%S %I%p %F %T %D %% %Q";
            assert_eq!(Date::from_unix_seconds(seconds).format(form), expected);
        };
        check(0, "Thursday Thu 01  1 January Jan 1970 70-01 00:00:00 12AM 1970-01-01 00:00:00 01/01/70 % %Q");
        check(951_827_696, "Tuesday Tue 29 29 February Feb 2000 00-02 12:34:56 12PM 2000-02-29 12:34:56 02/29/00 % %Q");
        check(-1, "Wednesday Wed 31 31 December Dec 1969 69-12 23:59:59 11PM 1969-12-31 23:59:59 12/31/69 % %Q");
    }
}
