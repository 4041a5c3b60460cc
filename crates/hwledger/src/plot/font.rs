//! The bundled font: how wide words are, and the outlines of their letters.
//!
//! Widths place labels; outlines are for pictures of pixels. A picture of shapes (SVG) names the
//! font and leaves letters to whoever shows it.

use std::sync::LazyLock;

use ttf_parser::{Face, OutlineBuilder};

/// What SVG files ask for; the others are alike in width.
pub(crate) const FAMILIES: &str = "Roboto, Arial, 'Liberation Sans', Helvetica, sans-serif";

static REGULAR: LazyLock<Face<'static>> = LazyLock::new(|| face(include_bytes!("../../assets/Roboto-Regular.ttf")));
static BOLD: LazyLock<Face<'static>> = LazyLock::new(|| face(include_bytes!("../../assets/Roboto-Bold.ttf")));

fn face(bytes: &'static [u8]) -> Face<'static> {
    Face::parse(bytes, 0).expect("the bundled font is whole")
}

fn chosen(is_bold: bool) -> &'static Face<'static> {
    if is_bold { &BOLD } else { &REGULAR }
}

/// Each letter's number in the font, where it starts and where the next one does, in pixels from the first.
fn letters(words: &str, size: f64, is_bold: bool) -> impl Iterator<Item = (ttf_parser::GlyphId, f64, f64)> {
    let face = chosen(is_bold);
    let scale = size / f64::from(face.units_per_em());
    let mut end = 0.0;
    words.chars().map(move |letter| {
        let glyph = face.glyph_index(letter).unwrap_or_default();
        let start = end;
        end += f64::from(face.glyph_hor_advance(glyph).unwrap_or(0)) * scale;
        (glyph, start, end)
    })
}

/// How wide words are, in pixels.
pub(crate) fn width(words: &str, size: f64, is_bold: bool) -> f64 {
    letters(words, size, is_bold).last().map_or(0.0, |(.., end)| end)
}

/// `words`, or as many of them as fit into `limit` pixels and an ellipsis.
pub(crate) fn shortened(words: &str, size: f64, is_bold: bool, limit: f64) -> String {
    if width(words, size, is_bold) <= limit {
        return words.to_owned();
    }
    let room = limit - width("…", size, is_bold);
    let fitting = letters(words, size, is_bold).take_while(|(.., end)| *end <= room).count();
    words.chars().take(fitting).collect::<String>().trim_end().to_owned() + "…"
}

/// `words` in lines of at most `limit` pixels, broken between words.
pub(crate) fn wrapped(words: &str, size: f64, limit: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(&format!("{line} {word}"), size, false) <= limit => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Hands each letter's outline to `draw`, with its start in pixels and the pixels of a font unit.
pub(crate) fn outline<B: OutlineBuilder>(
    words: &str,
    size: f64,
    is_bold: bool,
    builder: impl Fn(f64, f64) -> B,
) -> Vec<B> {
    let face = chosen(is_bold);
    let scale = size / f64::from(face.units_per_em());
    letters(words, size, is_bold)
        .map(|(glyph, start, _)| {
            let mut own = builder(start, scale);
            // Letters without an outline (spaces) leave the builder empty.
            let _ = face.outline_glyph(glyph, &mut own);
            own
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_widths() {
        let narrow = width("ill", 12.0, false);
        assert!(narrow > 5.0 && narrow < width("www", 12.0, false));
        assert!(width("bold", 12.0, true) > width("bold", 12.0, false));
        assert!((width("twice", 24.0, false) / width("twice", 12.0, false) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn words_that_do_not_fit_are_cut_or_wrapped() {
        let cut = shortened("a rather long label", 12.0, false, 60.0);
        assert!(cut.ends_with('…') && width(&cut, 12.0, false) <= 60.0, "{cut}");
        let lines = wrapped("a rather long label", 12.0, 60.0);
        assert!(lines.len() > 1 && lines.iter().all(|line| width(line, 12.0, false) <= 60.0), "{lines:?}");
        assert_eq!(lines.join(" "), "a rather long label");
    }
}
