//! The nearest known names to one that is not known.

/// Letters and digits only, in lower case: `Q4_K_M` and `q4km` are the same word.
pub(crate) fn folded(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// Insertions, deletions and replacements that lead from one word to the other.
fn distance(from: &[u8], to: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, a) in from.iter().enumerate() {
        let mut diagonal = line;
        row[0] = line + 1;
        for (column, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

/// At most three of `candidates`, nearest first; those that differ in more than half their letters are left out.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    /// A longer name is no name; the bound keeps the search short.
    const LETTERS_MAX: usize = 64;
    let word: Vec<u8> = folded(word).into_bytes().into_iter().take(LETTERS_MAX).collect();
    let mut ranked: Vec<(usize, &str)> = candidates
        .map(|candidate| (distance(&word, folded(candidate).as_bytes()), candidate))
        .filter(|(steps, candidate)| *steps <= candidate.len().max(word.len()) / 2)
        .collect();
    ranked.sort_unstable_by_key(|(steps, candidate)| (*steps, candidate.len(), *candidate));
    ranked.into_iter().map(|(_, candidate)| candidate).take(3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names_come_first() {
        let known = ["Q4_K_M", "Q4_K_S", "Q8_0", "BF16"];
        assert_eq!(nearest("q4_k_n", known.into_iter())[..2], ["Q4_K_M", "Q4_K_S"]);
        assert!(nearest("something else entirely", known.into_iter()).is_empty());
    }
}
