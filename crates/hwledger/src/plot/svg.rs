//! A canvas as an SVG file.

use std::fmt::Write as _;

use super::canvas::{Anchor, Canvas, Point, Shape, Stroke, Text};
use super::color::Color;
use super::font::FAMILIES;

/// A length with at most two decimals: the hundredth of a pixel that nobody sees.
fn length(value: f64) -> String {
    let text = format!("{value:.2}");
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if short == "-0" { "0".to_owned() } else { short.to_owned() }
}

/// Words with the characters that XML keeps for itself, or does not know, replaced.
fn escaped(words: &str) -> String {
    let mut text = String::with_capacity(words.len());
    for letter in words.chars() {
        match letter {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => text.push('\u{fffd}'),
            letter => text.push(letter),
        }
    }
    text
}

fn hex(Color(color): Color) -> String {
    format!("#{color:06x}")
}

fn stroked(stroke: Option<Stroke>) -> String {
    let Some(stroke) = stroke else { return String::new() };
    let dash = stroke.dash.map(|(dash, gap)| format!(" stroke-dasharray=\"{} {}\"", length(dash), length(gap)));
    format!(" stroke=\"{}\" stroke-width=\"{}\"{}", hex(stroke.color), length(stroke.width), dash.unwrap_or_default())
}

fn path(points: &[Point], is_closed: bool) -> String {
    let mut data = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        let _ = write!(data, "{}{} {}", if index == 0 { "M" } else { "L" }, length(*x), length(*y));
    }
    data + if is_closed { "Z" } else { "" }
}

fn text(text: &Text) -> String {
    let (x, y) = text.at;
    let anchor = match text.anchor {
        Anchor::Start => "",
        Anchor::Middle => " text-anchor=\"middle\"",
        Anchor::End => " text-anchor=\"end\"",
    };
    let turned = if text.turned == 0.0 {
        String::new()
    } else {
        format!(" transform=\"rotate({} {} {})\"", length(text.turned), length(x), length(y))
    };
    format!(
        "<text x=\"{}\" y=\"{}\" font-size=\"{}\"{}{anchor} fill=\"{}\"{turned}>{}</text>\n",
        length(x),
        length(y),
        length(text.size),
        if text.is_bold { " font-weight=\"bold\"" } else { "" },
        hex(text.color),
        escaped(&text.words)
    )
}

fn shape(shape: &Shape) -> String {
    match shape {
        Shape::Path { points, is_closed, fill, stroke } => {
            let (fill, opacity) = match fill {
                Some((fill, opacity)) if *opacity < 1.0 => {
                    (hex(*fill), format!(" fill-opacity=\"{}\"", length(*opacity)))
                }
                Some((fill, _)) => (hex(*fill), String::new()),
                None => ("none".to_owned(), String::new()),
            };
            format!("<path d=\"{}\" fill=\"{fill}\"{opacity}{}/>\n", path(points, *is_closed), stroked(*stroke))
        }
        Shape::Circle { center: (x, y), radius, fill, rim } => format!(
            "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{}\"{}/>\n",
            length(*x),
            length(*y),
            length(*radius),
            hex(*fill),
            stroked(*rim)
        ),
        Shape::Squares { corners, side, fill, opacity } => {
            let side = length(*side);
            let mut data = String::new();
            for (x, y) in corners {
                let _ = write!(data, "M{} {}h{side}v{side}h-{side}z", length(*x), length(*y));
            }
            format!("<path d=\"{data}\" fill=\"{}\" fill-opacity=\"{}\"/>\n", hex(*fill), length(*opacity))
        }
        Shape::Text(words) => text(words),
    }
}

/// The file. The same canvas gives the same bytes.
pub(crate) fn write(canvas: &Canvas) -> String {
    let (width, height) = (length(canvas.width), length(canvas.height));
    let mut file = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"{FAMILIES}\">\n\
         <title>{}</title>\n<desc>{}</desc>\n<rect width=\"{width}\" height=\"{height}\" fill=\"{}\"/>\n",
        escaped(&canvas.title),
        escaped(&canvas.description),
        hex(canvas.theme.page),
    );
    for own in &canvas.shapes {
        file.push_str(&shape(own));
    }
    file + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_words_are_safe() {
        assert_eq!(length(12.0), "12");
        assert_eq!(length(-0.001), "0");
        assert_eq!(length(0.126), "0.13");
        assert_eq!(length(100.0), "100");
        assert_eq!(escaped("a<b & \"c\"\u{1b}"), "a&lt;b &amp; &quot;c&quot;\u{fffd}");
    }
}
