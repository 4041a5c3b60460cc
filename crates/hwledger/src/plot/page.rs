//! What every picture has: a heading, notes, keys to colours, panels with axes.

use hwledger_node::plot::Heading;

use super::axis::{Axis, short};
use super::canvas::{Anchor, Canvas, Mark, Stroke, Text};
use super::color::Color;
use super::font;

/// Blank pixels around everything.
const MARGIN: f64 = 18.0;
const TITLE: f64 = 17.0;
const SUBTITLE: f64 = 12.5;
const NOTE: f64 = 11.0;
/// The usual size of words in a panel.
pub(crate) const WORDS: f64 = 12.0;

/// A part of the canvas.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Area {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) right: f64,
    pub(crate) bottom: f64,
}

impl Area {
    pub(crate) fn width(&self) -> f64 {
        self.right - self.left
    }

    pub(crate) fn height(&self) -> f64 {
        self.bottom - self.top
    }
}

/// Pixels that heading and notes take of a picture's height.
pub(crate) fn heading_height(heading: &Heading, width: f64) -> f64 {
    let lines = |words: &str, size| font::wrapped(words, size, 2.0_f64.mul_add(-MARGIN, width)).len() as f64;
    let notes: f64 = heading.notes.iter().map(|note| lines(note, NOTE)).sum();
    2.0 * MARGIN + TITLE + 8.0 + lines(&heading.subtitle, SUBTITLE) * (SUBTITLE + 4.0) + notes * (NOTE + 4.0) + 14.0
}

/// Draws heading and notes, and gives what is left between them.
pub(crate) fn begin(canvas: &mut Canvas, heading: &Heading) -> Area {
    let (ink, muted) = (canvas.theme.ink, canvas.theme.muted);
    let (left, right) = (MARGIN, canvas.width - MARGIN);
    canvas.title.clone_from(&heading.title);
    canvas.description =
        std::iter::once(&heading.subtitle).chain(&heading.notes).cloned().collect::<Vec<_>>().join(". ");
    let title = font::shortened(&heading.title, TITLE, true, right - left);
    let mut top = MARGIN + TITLE * 0.8;
    canvas.text(Text::new((left, top), title, ink).size(TITLE).bold());
    top += 4.0;
    for line in font::wrapped(&heading.subtitle, SUBTITLE, right - left) {
        top += SUBTITLE + 4.0;
        canvas.text(Text::new((left, top), line, muted).size(SUBTITLE));
    }
    let notes: Vec<String> = heading.notes.iter().flat_map(|note| font::wrapped(note, NOTE, right - left)).collect();
    let bottom = (notes.len() as f64).mul_add(-(NOTE + 4.0), canvas.height - MARGIN + 4.0);
    for (index, line) in notes.iter().enumerate() {
        let baseline = (index as f64).mul_add(NOTE + 4.0, bottom + NOTE);
        canvas.text(Text::new((left, baseline), line.clone(), muted).size(NOTE));
    }
    Area { left, top: top + 12.0, right, bottom: bottom - 10.0 }
}

/// What stands before a word of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Swatch {
    Block,
    Mark(Mark),
    Line,
}

/// Draws keys to colours in as many lines as they need, and gives the pixels below them.
pub(crate) fn keys(canvas: &mut Canvas, entries: &[(Swatch, Color, String)], area: &Area) -> f64 {
    const SWATCH: f64 = 16.0;
    const GAP: f64 = 18.0;
    let ink = canvas.theme.ink;
    let (mut x, mut y) = (area.left, area.top + 6.0);
    for (swatch, color, words) in entries {
        let words = font::shortened(words, WORDS, false, area.width() - SWATCH);
        let width = SWATCH + font::width(&words, WORDS, false);
        if x > area.left && x + width > area.right {
            (x, y) = (area.left, y + WORDS + 6.0);
        }
        match swatch {
            Swatch::Block => canvas.bar((x, y - 5.0), (10.0, 10.0), *color),
            Swatch::Mark(mark) => canvas.mark(*mark, (x + 5.0, y), 5.0, *color),
            Swatch::Line => canvas.line(vec![(x, y), (x + 11.0, y)], Stroke::solid(*color, 2.0)),
        }
        canvas.text(Text::new((x + SWATCH, y + 4.0), words, ink).size(WORDS));
        x += width + GAP;
    }
    y + WORDS + 4.0
}

/// Two axes and what they are called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panel<'a> {
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) x_title: &'a str,
    pub(crate) y_title: &'a str,
}

/// Room that the axes' words take left of and below a panel.
pub(crate) const AXIS_LEFT: f64 = 64.0;
pub(crate) const AXIS_BELOW: f64 = 42.0;

impl Panel<'_> {
    /// Where data goes.
    pub(crate) const fn area(&self) -> Area {
        Area { left: self.x.from, right: self.x.to, top: self.y.to, bottom: self.y.from }
    }

    /// Lines to read values by, their values, and the axes' names.
    pub(crate) fn draw(&self, canvas: &mut Canvas) {
        let area = self.area();
        let (grid, muted, ink) = (canvas.theme.grid, canvas.theme.muted, canvas.theme.ink);
        for tick in self.x.ticks(area.width() / 60.0) {
            let x = self.x.at(tick);
            canvas.line(vec![(x, area.top), (x, area.bottom)], Stroke::solid(grid, 1.0));
            let words = Text::new((x, area.bottom + 16.0), short(tick), muted);
            canvas.text(words.size(11.0).anchored(Anchor::Middle));
        }
        for tick in self.y.ticks(area.height() / 48.0) {
            let y = self.y.at(tick);
            canvas.line(vec![(area.left, y), (area.right, y)], Stroke::solid(grid, 1.0));
            canvas.text(Text::new((area.left - 8.0, y + 4.0), short(tick), muted).size(11.0).anchored(Anchor::End));
        }
        canvas.line(
            vec![(area.left, area.top), (area.left, area.bottom), (area.right, area.bottom)],
            Stroke::solid(muted, 1.0),
        );
        let middle = f64::midpoint(area.left, area.right);
        let title = font::shortened(self.x_title, WORDS, false, area.width() + 50.0);
        canvas.text(Text::new((middle, area.bottom + 35.0), title, ink).anchored(Anchor::Middle));
        let middle = f64::midpoint(area.top, area.bottom);
        let title = font::shortened(self.y_title, WORDS, false, area.height() + 30.0);
        canvas.text(Text::new((area.left - 49.0, middle), title, ink).anchored(Anchor::Middle).turned(-90.0));
    }
}
