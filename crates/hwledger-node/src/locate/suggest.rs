//! The known names nearest to one that is not known.

use crate::names::loose_key;

const SUGGESTIONS_MAX: usize = 5;
/// Longer input is no name of a model; comparing it would cost time for nothing.
const COMPARED_MAX: usize = 128;

/// The names of `known` that look most like `name`, the nearest first; none when all are far off.
pub(crate) fn nearest(name: &str, known: impl Iterator<Item = String>) -> Vec<String> {
    let asked: Vec<char> = short(&loose_key(name)).chars().take(COMPARED_MAX).collect();
    if asked.is_empty() {
        return Vec::new();
    }
    // A third of the letters may differ: enough for a slip or a missing suffix, not for another model.
    let distance_max = asked.len() / 3;
    let mut scored: Vec<(usize, String)> = known
        .filter_map(|candidate| {
            let full_key = loose_key(&candidate);
            let letters: Vec<char> = short(&full_key).chars().take(COMPARED_MAX).collect();
            let mut distance = edit_distance(&asked, &letters);
            if letters.starts_with(&asked) {
                distance = distance.min(1);
            }
            (distance <= distance_max).then_some((distance, candidate))
        })
        .collect();
    scored.sort();
    scored.dedup_by(|a, b| a.1 == b.1);
    scored.into_iter().take(SUGGESTIONS_MAX).map(|(_, candidate)| candidate).collect()
}

fn short(key: &str) -> &str {
    key.rsplit_once('/').map_or(key, |(_, name)| name)
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
