//! A canvas as pixels.

use tiny_skia::{FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, StrokeDash, Transform};
use ttf_parser::OutlineBuilder;

use super::canvas::{Anchor, Canvas, Point, Shape, Stroke, Text};
use super::color::Color;
use super::font;

/// Why there are no pixels.
#[derive(Debug)]
pub(crate) struct PixelsError;

/// The rasteriser's numbers; a picture is far smaller than what they count exactly.
#[expect(clippy::cast_possible_truncation, reason = "pixels of a picture lie well within 24 bits")]
const fn single(value: f64) -> f32 {
    value as f32
}

fn paint(Color(color): Color, opacity: f64) -> Paint<'static> {
    let [_, red, green, blue] = color.to_be_bytes();
    let part = |byte: u8| f32::from(byte) / 255.0;
    let color = tiny_skia::Color::from_rgba(part(red), part(green), part(blue), single(opacity.clamp(0.0, 1.0)))
        .unwrap_or(tiny_skia::Color::BLACK);
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color(color);
    paint
}

fn lines(points: &[Point], is_closed: bool) -> Option<Path> {
    let mut builder = PathBuilder::new();
    for (index, &(x, y)) in points.iter().enumerate() {
        if index == 0 { builder.move_to(single(x), single(y)) } else { builder.line_to(single(x), single(y)) }
    }
    if is_closed {
        builder.close();
    }
    builder.finish()
}

/// A letter's outline: font units go up, pixels down.
struct Letter {
    builder: PathBuilder,
    start: f32,
    scale: f32,
}

impl Letter {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (x.mul_add(self.scale, self.start), -y * self.scale)
    }
}

impl OutlineBuilder for Letter {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.builder.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.builder.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.builder.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.builder.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.builder.close();
    }
}

/// Pixels being drawn, at a number of pixels per unit of the canvas.
struct Drawing {
    pixels: Pixmap,
    scaled: Transform,
}

impl Drawing {
    fn fill(&mut self, path: &Path, color: Color, opacity: f64, moved: Transform) {
        self.pixels.fill_path(path, &paint(color, opacity), FillRule::Winding, moved, None);
    }

    fn stroke(&mut self, path: &Path, stroke: Stroke) {
        let dash = stroke.dash.and_then(|(dash, gap)| StrokeDash::new(vec![single(dash), single(gap)], 0.0));
        let style = tiny_skia::Stroke {
            width: single(stroke.width),
            line_cap: LineCap::Butt,
            line_join: LineJoin::Miter,
            dash,
            ..tiny_skia::Stroke::default()
        };
        self.pixels.stroke_path(path, &paint(stroke.color, 1.0), &style, self.scaled, None);
    }

    fn text(&mut self, text: &Text) {
        let width = font::width(&text.words, text.size, text.is_bold);
        let shift = match text.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => -width / 2.0,
            Anchor::End => -width,
        };
        let moved = self
            .scaled
            .pre_translate(single(text.at.0), single(text.at.1))
            .pre_concat(Transform::from_rotate(single(text.turned)));
        let letters = font::outline(&text.words, text.size, text.is_bold, |start, scale| Letter {
            builder: PathBuilder::new(),
            start: single(start + shift),
            scale: single(scale),
        });
        for path in letters.into_iter().filter_map(|letter| letter.builder.finish()) {
            self.fill(&path, text.color, 1.0, moved);
        }
    }

    fn shape(&mut self, shape: &Shape) {
        match shape {
            Shape::Path { points, is_closed, fill, stroke } => {
                let Some(path) = lines(points, *is_closed) else { return };
                if let Some((color, opacity)) = fill {
                    self.fill(&path, *color, *opacity, self.scaled);
                }
                if let Some(stroke) = stroke {
                    self.stroke(&path, *stroke);
                }
            }
            Shape::Circle { center: (x, y), radius, fill, rim } => {
                let Some(path) = PathBuilder::from_circle(single(*x), single(*y), single(*radius)) else { return };
                self.fill(&path, *fill, 1.0, self.scaled);
                if let Some(rim) = rim {
                    self.stroke(&path, *rim);
                }
            }
            Shape::Squares { corners, side, fill, opacity } => {
                for &(x, y) in corners {
                    let corners = [(x, y), (x + side, y), (x + side, y + side), (x, y + side)];
                    if let Some(path) = lines(&corners, true) {
                        self.fill(&path, *fill, *opacity, self.scaled);
                    }
                }
            }
            Shape::Text(text) => self.text(text),
        }
    }
}

/// The file, with `scale` pixels per unit of the canvas.
pub(crate) fn write(canvas: &Canvas, (width, height): (u32, u32), scale: u32) -> Result<Vec<u8>, PixelsError> {
    let pixels = Pixmap::new(width * scale, height * scale).ok_or(PixelsError)?;
    let scale = single(f64::from(scale));
    let mut drawing = Drawing { pixels, scaled: Transform::from_scale(scale, scale) };
    let page = [(0.0, 0.0), (canvas.width, 0.0), (canvas.width, canvas.height), (0.0, canvas.height)];
    if let Some(page) = lines(&page, true) {
        drawing.fill(&page, canvas.theme.page, 1.0, drawing.scaled);
    }
    for shape in &canvas.shapes {
        drawing.shape(shape);
    }
    drawing.pixels.encode_png().map_err(|_| PixelsError)
}
