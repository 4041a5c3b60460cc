//! Versions of engines, and ranges of them.

use std::cmp::Ordering;
use std::fmt;

/// Most numbers of a version that are compared.
const NUMBERS_MAX: usize = 8;

/// A version as an engine tells it, compared by the numbers that it begins with.
///
/// `0.6.6.post1`, `v0.11.0rc1` and `b6976-2b6dfe8` compare as 0.6.6, 0.11.0 and 6976.
#[derive(Debug, Clone)]
pub struct Version {
    text: String,
    numbers: Vec<u64>,
}

impl Version {
    /// The version in `text`; none where it holds no number, or only zeros (a build outside version control).
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let start = text.find(|letter: char| letter.is_ascii_digit()).filter(|start| *start <= 1)?;
        let mut numbers = Vec::new();
        for part in text[start..].split('.').take(NUMBERS_MAX) {
            let digits = part.split(|letter: char| !letter.is_ascii_digit()).next().unwrap_or_default();
            let Ok(number) = digits.parse() else { break };
            numbers.push(number);
            if digits.len() < part.len() {
                break;
            }
        }
        numbers.iter().any(|number| *number > 0).then(|| Self { text: text.chars().take(80).collect(), numbers })
    }

    fn compare(&self, other: &Self) -> Ordering {
        let at = |numbers: &[u64], index: usize| numbers.get(index).copied().unwrap_or(0);
        (0..NUMBERS_MAX)
            .map(|index| at(&self.numbers, index).cmp(&at(&other.numbers, index)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Versions from one on, up to but without another.
#[derive(Debug, Clone, Default)]
pub(super) struct VersionRange {
    from: Option<Version>,
    below: Option<Version>,
}

impl VersionRange {
    /// `*`, `>=0.9`, `<0.13` or `>=0.9,<0.13`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut range = Self::default();
        if text == "*" {
            return Some(range);
        }
        for bound in text.split(',') {
            let (slot, version) = match bound.trim() {
                bound if bound.starts_with(">=") => (&mut range.from, &bound[2..]),
                bound if bound.starts_with('<') => (&mut range.below, &bound[1..]),
                _ => return None,
            };
            if slot.replace(Version::parse(version)?).is_some() {
                return None;
            }
        }
        Some(range)
    }

    /// Whether `version` is in the range; one that is not known is in every range.
    pub(super) fn holds(&self, version: Option<&Version>) -> bool {
        let Some(version) = version else { return true };
        self.from.as_ref().is_none_or(|from| version.compare(from).is_ge())
            && self.below.as_ref().is_none_or(|below| version.compare(below).is_lt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_their_numbers() {
        let order = |a: &str, b: &str| Version::parse(a).unwrap().compare(&Version::parse(b).unwrap());
        assert_eq!(order("0.9.2", "0.11.0"), Ordering::Less);
        assert_eq!(order("v0.11", "0.11.0"), Ordering::Equal);
        assert_eq!(order("0.6.6.post1", "0.6.6"), Ordering::Equal);
        assert_eq!(order("b6976-2b6dfe8", "b6975"), Ordering::Greater);
        for text in ["", "dev", "b0-unknown", "unknown 3"] {
            assert!(Version::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn ranges_have_a_first_version_and_end_before_their_last() {
        let holds = |range: &str, version: &str| {
            VersionRange::parse(range).unwrap().holds(Some(&Version::parse(version).unwrap()))
        };
        assert!(holds(">=0.9,<0.13", "0.9") && holds(">=0.9,<0.13", "0.12.9") && holds("*", "7"));
        assert!(!holds(">=0.9,<0.13", "0.13.0") && !holds(">=0.9", "0.8.5.post1"));
        assert!(VersionRange::parse("<0.1").unwrap().holds(None));
        for text in ["", "0.9", ">=", ">=0.9,>=0.10", "=0.9", ">0.9"] {
            assert!(VersionRange::parse(text).is_none(), "{text}");
        }
    }
}
