//! From values to pixels, and the values that are worth a line.

/// How values are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spacing {
    Even,
    /// By the logarithm; values are above 0.
    Logarithmic,
}

/// A range of values on a range of pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) spacing: Spacing,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// Most lines of an axis, whatever its range.
const TICKS_MAX: usize = 64;

impl Axis {
    /// Where a value lies.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let share = match self.spacing {
            Spacing::Even => (value - self.low) / (self.high - self.low),
            Spacing::Logarithmic => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        self.from + share * (self.to - self.from)
    }

    /// Values for lines with labels, at most about `count`.
    pub(crate) fn ticks(&self, count: f64) -> Vec<f64> {
        match self.spacing {
            Spacing::Even => even(self.low, self.high, count),
            Spacing::Logarithmic => logarithmic(self.low, self.high, count),
        }
    }

    /// An axis that holds all `values` with some room around; `None` where there is none.
    pub(crate) fn around(
        values: impl Iterator<Item = f64> + Clone,
        spacing: Spacing,
        (from, to): (f64, f64),
    ) -> Option<Self> {
        let low = values.clone().min_by(f64::total_cmp)?;
        let high = values.max_by(f64::total_cmp)?;
        let (low, high) = match spacing {
            Spacing::Logarithmic => {
                let room = (high / low).powf(0.06).max(1.25);
                (low / room, high * room)
            }
            Spacing::Even => {
                let spread = high - low;
                let room = if spread > 0.0 { spread * 0.08 } else { high.abs().max(1.0) * 0.1 };
                // A range that nearly reaches zero is shown from there.
                let down = if low >= 0.0 && low < spread { 0.0 } else { low - room };
                (down, high + room)
            }
        };
        Some(Self { low, high, spacing, from, to })
    }
}

/// Multiples of 1, 2 or 5 times a power of ten.
fn even(low: f64, high: f64, count: f64) -> Vec<f64> {
    let rough = (high - low) / count.max(1.0);
    let power = 10.0_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|step| *step >= rough * 0.999);
    let Some(step) = step.filter(|step| step.is_finite() && *step > 0.0) else { return Vec::new() };
    let first = (low / step - 1e-9).ceil();
    let ticks = (0_u32..).map(|index| (first + f64::from(index)) * step);
    ticks.take_while(|tick| *tick <= high + step * 1e-9).take(TICKS_MAX).collect()
}

/// Powers of ten; where they are few, 2 and 5 times them as well; where they are many, every second or third.
fn logarithmic(low: f64, high: f64, count: f64) -> Vec<f64> {
    let decades = (high / low).log10();
    let every = (decades / count.max(1.0)).ceil().max(1.0);
    let digits: &[f64] = match count / decades {
        dense if dense >= 3.0 => &[1.0, 2.0, 5.0],
        dense if dense >= 2.0 => &[1.0, 3.0],
        _ => &[1.0],
    };
    let first = low.log10().floor();
    let first = (first / every).floor() * every;
    let powers = (0_u32..).map(|index| 10.0_f64.powf(f64::from(index).mul_add(every, first)));
    let powers = powers.take_while(|power| *power <= high).take(TICKS_MAX);
    let ticks = powers.flat_map(|power| digits.iter().map(move |digit| digit * power));
    ticks.filter(|tick| *tick >= low * 0.999 && *tick <= high * 1.001).collect()
}

/// A value with a decimal prefix: `1.5 k`, `20`, `0.05`.
pub(crate) fn short(value: f64) -> String {
    const PREFIXES: [(f64, &str); 6] = [(1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let found = PREFIXES.into_iter().find(|(scale, _)| value.abs() >= *scale * 0.9995);
    match found {
        Some((scale, prefix)) => format!("{} {prefix}", digits(value / scale)),
        None => digits(value),
    }
}

/// Three digits that count, without zeros at the end.
pub(crate) fn digits(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let decimals = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.995 => 2,
        size if size >= 0.0995 => 3,
        size if size >= 0.00995 => 4,
        size if size >= 0.0005 => 5,
        _ => return format!("{value:.1e}"),
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(low: f64, high: f64, spacing: Spacing, count: f64, expected: &[&str]) {
        let axis = Axis { low, high, spacing, from: 0.0, to: 100.0 };
        let ticks: Vec<String> = axis.ticks(count).into_iter().map(short).collect();
        assert_eq!(ticks, expected, "{low} to {high}");
    }

    #[test]
    fn ticks_are_round_and_few() {
        check(0.0, 24.0, Spacing::Even, 5.0, &["0", "5", "10", "15", "20"]);
        check(0.0, 0.037, Spacing::Even, 4.0, &["0", "0.01", "0.02", "0.03"]);
        check(0.7, 30.0, Spacing::Logarithmic, 6.0, &["1", "2", "5", "10", "20"]);
        check(50.0, 3e6, Spacing::Logarithmic, 5.0, &["100", "1 k", "10 k", "100 k", "1 M"]);
        check(1.0, 1e12, Spacing::Logarithmic, 6.0, &["1", "100", "10 k", "1 M", "100 M", "10 G", "1 T"]);
    }

    #[test]
    fn values_land_between_the_ends() {
        let axis = Axis { low: 1.0, high: 100.0, spacing: Spacing::Logarithmic, from: 200.0, to: 0.0 };
        assert!((axis.at(10.0) - 100.0).abs() < 1e-9);
        let only = Axis::around([3.0].into_iter(), Spacing::Even, (0.0, 1.0)).expect("a value");
        assert!(only.low < 3.0 && only.high > 3.0);
    }
}
