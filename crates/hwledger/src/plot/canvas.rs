//! A picture as a list of shapes, before it is a file of any kind.

use super::color::{Color, Theme};

/// A point, in pixels from the upper left corner.
pub(crate) type Point = (f64, f64);

/// Where a text's anchor lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A line of words. The point is on the baseline.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Text {
    pub(crate) at: Point,
    pub(crate) words: String,
    pub(crate) size: f64,
    pub(crate) is_bold: bool,
    pub(crate) anchor: Anchor,
    pub(crate) color: Color,
    /// Clockwise, in degrees, about `at`.
    pub(crate) turned: f64,
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stroke {
    pub(crate) color: Color,
    pub(crate) width: f64,
    /// Lengths of a dash and of the gap after it.
    pub(crate) dash: Option<(f64, f64)>,
}

/// One shape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    /// Straight lines from point to point.
    Path { points: Vec<Point>, is_closed: bool, fill: Option<(Color, f64)>, stroke: Option<Stroke> },
    /// A circle.
    Circle { center: Point, radius: f64, fill: Color, rim: Option<Stroke> },
    /// Many equal squares, by their upper left corners.
    Squares { corners: Vec<Point>, side: f64, fill: Color, opacity: f64 },
    /// Words.
    Text(Text),
}

/// A picture.
#[derive(Clone, Debug)]
pub(crate) struct Canvas {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) theme: Theme,
    /// What a reader who cannot see it is told.
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) shapes: Vec<Shape>,
}

impl Stroke {
    pub(crate) const fn solid(color: Color, width: f64) -> Self {
        Self { color, width, dash: None }
    }

    pub(crate) const fn dashed(color: Color, width: f64) -> Self {
        Self { color, width, dash: Some((4.0, 3.0)) }
    }
}

impl Text {
    /// Words of the usual size.
    pub(crate) fn new(at: Point, words: impl Into<String>, color: Color) -> Self {
        Self { at, words: words.into(), size: 12.0, is_bold: false, anchor: Anchor::Start, color, turned: 0.0 }
    }

    pub(crate) fn size(self, size: f64) -> Self {
        Self { size, ..self }
    }

    pub(crate) fn bold(self) -> Self {
        Self { is_bold: true, ..self }
    }

    pub(crate) fn anchored(self, anchor: Anchor) -> Self {
        Self { anchor, ..self }
    }

    pub(crate) fn turned(self, degrees: f64) -> Self {
        Self { turned: degrees, ..self }
    }
}

impl Canvas {
    pub(crate) fn new(width: f64, height: f64, theme: Theme) -> Self {
        Self { width, height, theme, title: String::new(), description: String::new(), shapes: Vec::new() }
    }

    pub(crate) fn text(&mut self, text: Text) {
        self.shapes.push(Shape::Text(text));
    }

    pub(crate) fn line(&mut self, points: Vec<Point>, stroke: Stroke) {
        self.shapes.push(Shape::Path { points, is_closed: false, fill: None, stroke: Some(stroke) });
    }

    pub(crate) fn polygon(&mut self, points: Vec<Point>, fill: Color, opacity: f64) {
        self.shapes.push(Shape::Path { points, is_closed: true, fill: Some((fill, opacity)), stroke: None });
    }

    /// A filled rectangle, never thinner than a hair.
    pub(crate) fn bar(&mut self, corner: Point, (width, height): (f64, f64), fill: Color) {
        let (left, top) = corner;
        let (right, bottom) = (left + width.max(0.5), top + height.max(0.5));
        self.polygon(vec![(left, top), (right, top), (right, bottom), (left, bottom)], fill, 1.0);
    }

    /// A mark with a rim in the colour of the page, so that marks on each other stay apart.
    pub(crate) fn mark(&mut self, mark: Mark, center: Point, radius: f64, fill: Color) {
        let rim = Stroke::solid(self.theme.page, 1.2);
        let (x, y) = center;
        let points = match mark {
            Mark::Disc => {
                self.shapes.push(Shape::Circle { center, radius, fill, rim: Some(rim) });
                return;
            }
            Mark::Diamond => {
                vec![(x, y - radius * 1.2), (x + radius * 1.2, y), (x, y + radius * 1.2), (x - radius * 1.2, y)]
            }
        };
        self.shapes.push(Shape::Path { points, is_closed: true, fill: Some((fill, 1.0)), stroke: Some(rim) });
    }
}

/// The form of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Disc,
    Diamond,
}
