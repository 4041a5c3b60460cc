//! Comparing names as people type them.

/// The letters, digits and dots of `name` in lower case, so that `Llama_3.1 8B`, `llama-3.1-8b`
/// and `llama3.1:8b` compare equal; the slash after an organisation stays.
pub(crate) fn loose_key(name: &str) -> String {
    name.chars()
        .filter(|letter| letter.is_alphanumeric() || matches!(letter, '.' | '/'))
        .flat_map(char::to_lowercase)
        .collect()
}

/// Whether a file's name ends in `ending`, whatever the case.
pub(crate) fn has_ending(name: &str, ending: &str) -> bool {
    let (name, ending) = (name.as_bytes(), ending.as_bytes());
    name.len() >= ending.len() && name[name.len() - ending.len()..].eq_ignore_ascii_case(ending)
}
