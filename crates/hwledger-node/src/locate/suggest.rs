//! The known names nearest to one that is not known.

use crate::names::loose_key;

const SUGGESTIONS_MAX: usize = 5;
/// Longer input is no name of a model; comparing it would cost time for nothing.
const COMPARED_MAX: usize = 128;

/// The names of `known` that look most like `name`, the nearest first; none when all are far off.
pub(crate) fn nearest(name: &str, known: impl Iterator<Item = String>) -> Vec<String> {
    let asked = Comparable::new(name);
    if asked.letters.is_empty() {
        return Vec::new();
    }
    // A third of the letters may differ: enough for a slip or a missing suffix, not for another model.
    let distance_max = asked.letters.len() / 3;
    let mut scored: Vec<(usize, String)> = known
        .filter_map(|candidate| {
            let distance = asked.distance_to(&Comparable::new(&candidate), distance_max)?;
            (distance <= distance_max).then_some((distance, candidate))
        })
        .collect();
    scored.sort();
    scored.dedup_by(|a, b| a.1 == b.1);
    scored.into_iter().take(SUGGESTIONS_MAX).map(|(_, candidate)| candidate).collect()
}

/// A name without scheme and organisation, as its distance to others is taken.
struct Comparable {
    letters: Vec<char>,
    /// What stands before the tag of an Ollama name.
    untagged: Option<String>,
}

impl Comparable {
    fn new(name: &str) -> Self {
        let name = name.strip_prefix("ollama:").or_else(|| name.strip_prefix("hf:")).unwrap_or(name);
        let key = loose_key(name);
        let short = key.rsplit_once('/').map_or(key.as_str(), |(_, short)| short);
        let untagged = name.rsplit_once(':').map(|(front, _)| loose_key(front));
        Self { letters: short.chars().take(COMPARED_MAX).collect(), untagged }
    }

    /// How far `other` is, unless its length alone puts it beyond `distance_max`.
    fn distance_to(&self, other: &Self, distance_max: usize) -> Option<usize> {
        let is_other_tag = self.untagged.is_some() && self.untagged == other.untagged;
        if is_other_tag || other.letters.starts_with(&self.letters) {
            return Some(usize::from(self.letters != other.letters));
        }
        let is_near = self.letters.len().abs_diff(other.letters.len()) <= distance_max;
        is_near.then(|| edit_distance(&self.letters, &other.letters))
    }
}

/// Insertions, deletions and substitutions that turn `a` into `b` (Levenshtein's distance).
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter_a) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, letter_b) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(letter_a != letter_b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggest(name: &str) -> Vec<String> {
        nearest(name, ["Qwen/Qwen3-8B", "Qwen/Qwen3-32B", "openai/gpt-oss-20b"].into_iter().map(str::to_owned))
    }

    #[test]
    fn slips_are_recognised() {
        assert_eq!(suggest("qwen3-8bb").first().map(String::as_str), Some("Qwen/Qwen3-8B"));
        assert_eq!(suggest("gtp-oss-20b"), ["openai/gpt-oss-20b"]);
        assert_eq!(suggest("someone/gpt-oss"), ["openai/gpt-oss-20b"]);
    }

    #[test]
    fn far_names_are_not_suggested() {
        assert!(suggest("completely-different").is_empty());
        assert!(suggest("").is_empty());
        assert!(suggest(&"x".repeat(100_000)).is_empty());
    }

    #[test]
    fn distance_counts_edits() {
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(edit_distance(&letters("kitten"), &letters("sitting")), 3);
        assert_eq!(edit_distance(&[], &letters("abc")), 3);
    }
}
