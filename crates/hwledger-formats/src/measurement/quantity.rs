//! Sizes and counts as logs and tables print them.

use hwledger_core::Bytes;

/// The number at the start of `text` after spaces, and what follows it.
pub(super) fn number(text: &str) -> Option<(f64, &str)> {
    let text = text.trim_start();
    let end = text
        .char_indices()
        .find(|(at, letter)| !(letter.is_ascii_digit() || *letter == '.' || (*at == 0 && *letter == '-')))
        .map_or(text.len(), |(at, _)| at);
    // A full stop after a number ends a sentence.
    let digits = text[..end].trim_end_matches('.');
    digits.parse().ok().filter(|value: &f64| value.is_finite()).map(|value| (value, &text[digits.len()..]))
}

/// A whole number at the start of `text`, commas between thousands allowed.
pub(super) fn count(text: &str) -> Option<u64> {
    let text = text.trim_start();
    let end = text.find(|letter: char| !(letter.is_ascii_digit() || letter == ',')).unwrap_or(text.len());
    text[..end].replace(',', "").parse().ok()
}

/// A size such as `3.56 GiB`, `14.99GiB` or `411.0 MiB` at the start of `text`. `giga` is what
/// `GB` means to whoever wrote it.
pub(super) fn size_where(text: &str, giga: f64) -> Option<Bytes> {
    let (value, rest) = number(text)?;
    let rest = rest.trim_start();
    let unit = &rest[..rest.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(rest.len())];
    let scale = match unit {
        "TiB" => 1_099_511_627_776.0,
        "GiB" => 1_073_741_824.0,
        "MiB" => 1_048_576.0,
        "KiB" => 1024.0,
        "GB" => giga,
        "MB" => giga / 1000.0,
        "B" => 1.0,
        _ => return None,
    };
    // Negative and absurd sizes are no sizes: nobody has an exbibyte.
    let bytes = value * scale;
    (0.0..1e18).contains(&bytes).then(|| Bytes(1).scaled(bytes))
}

/// A size whose `GB`, if it says so, are decimal.
pub(super) fn size(text: &str) -> Option<Bytes> {
    size_where(text, 1e9)
}

/// A count of parameters such as `6.74 B` or `494.03 M`.
pub(super) fn parameters(text: &str) -> Option<u64> {
    let (value, rest) = number(text)?;
    let scale = match rest.trim() {
        "T" => 1e12,
        "B" => 1e9,
        "M" => 1e6,
        "K" => 1e3,
        _ => return None,
    };
    let parameters = value * scale;
    (1.0..1e16).contains(&parameters).then(|| Bytes(1).scaled(parameters).0)
}

/// The text between `before` and the first of `ends` behind it.
pub(super) fn between<'a>(text: &'a str, before: &str, ends: &[char]) -> Option<&'a str> {
    let start = text.find(before)? + before.len();
    let rest = &text[start..];
    Some(&rest[..rest.find(ends).unwrap_or(rest.len())])
}

/// The text behind `before`.
pub(super) fn after<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    text.find(before).map(|at| &text[at + before.len()..])
}
