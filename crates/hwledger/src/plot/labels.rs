//! Words beside points, where they cover neither each other nor the points.

use super::canvas::{Anchor, Canvas, Point, Stroke, Text};
use super::color::Color;
use super::font;
use super::page::Area;

/// Height of a line of words, as a share of its size: from the tallest letter to the lowest.
const LINE: f64 = 1.15;

/// What labels must keep clear of.
#[derive(Debug)]
pub(crate) struct Labels {
    within: Area,
    taken: Vec<(Area, f64)>,
    marks: Vec<Point>,
    /// Lines from marks to their labels.
    leaders: Vec<(Point, Point)>,
}

fn overlap(left: &Area, right: &Area) -> f64 {
    let across = (left.right.min(right.right) - left.left.max(right.left)).max(0.0);
    let down = (left.bottom.min(right.bottom) - left.top.max(right.top)).max(0.0);
    across * down
}

/// Whether two lines cross.
fn crosses((a, b): (Point, Point), (c, d): (Point, Point)) -> bool {
    let side = |from: Point, to: Point, at: Point| {
        (to.0 - from.0).mul_add(at.1 - from.1, -(to.1 - from.1) * (at.0 - from.0)) > 0.0
    };
    side(a, b, c) != side(a, b, d) && side(c, d, a) != side(c, d, b)
}

/// The point of an area that is nearest.
const fn nearest(area: &Area, (x, y): Point) -> Point {
    (x.clamp(area.left, area.right), y.clamp(area.top, area.bottom))
}

impl Labels {
    pub(crate) const fn new(within: Area) -> Self {
        Self { within, taken: Vec::new(), marks: Vec::new(), leaders: Vec::new() }
    }

    /// A mark that no label may cover.
    pub(crate) fn mark(&mut self, at: Point, radius: f64) {
        self.marks.push(at);
        self.keep_clear(at, radius);
    }

    /// A place that no label may cover.
    pub(crate) fn keep_clear(&mut self, (x, y): Point, radius: f64) {
        self.taken.push((Area { left: x - radius, right: x + radius, top: y - radius, bottom: y + radius }, 4.0));
    }

    /// A line that labels had better not cover.
    pub(crate) fn avoid_line(&mut self, (x0, y0): Point, (x1, y1): Point) {
        const PIECES: u32 = 64;
        for piece in 0..=PIECES {
            let share = f64::from(piece) / f64::from(PIECES);
            let (x, y) = (share.mul_add(x1 - x0, x0), share.mul_add(y1 - y0, y0));
            self.taken.push((Area { left: x - 3.0, right: x + 3.0, top: y - 3.0, bottom: y + 3.0 }, 1.0));
        }
    }

    /// An area that is full already.
    pub(crate) fn keep_free(&mut self, area: Area) {
        self.taken.push((area, 2.0));
    }

    /// How far the nearest mark is.
    pub(crate) fn clearance(&self, (x, y): Point) -> f64 {
        self.marks.iter().map(|mark| (mark.0 - x).hypot(mark.1 - y)).fold(f64::INFINITY, f64::min)
    }

    /// Whether words there would seem to belong to another mark.
    fn misleads(&self, area: &Area, own: Point) -> bool {
        let away = |at: Point| (at.0 - nearest(area, at).0).hypot(at.1 - nearest(area, at).1);
        let others = self.marks.iter().filter(|other| (other.0 - own.0).hypot(other.1 - own.1) > 1.0);
        others.fold(f64::INFINITY, |least, other| least.min(away(*other))) < away(own)
    }

    fn cost(&self, area: &Area) -> f64 {
        let inside = overlap(area, &self.within);
        let outside = area.width().mul_add(area.height(), -inside);
        outside.mul_add(8.0, self.taken.iter().map(|(taken, weight)| overlap(area, taken) * weight).sum::<f64>())
    }

    /// Writes `words` beside `at`, with a line to it where they had to go farther away.
    pub(crate) fn write(&mut self, canvas: &mut Canvas, at: Point, radius: f64, words: &str, color: Color) {
        const SIZE: f64 = 11.5;
        let (width, height) = (font::width(words, SIZE, false), SIZE * LINE);
        let mut best: Option<(f64, Area, Anchor, f64)> = None;
        for distance in [3.0, 11.0, 20.0, 32.0, 46.0, 62.0, 80.0, 100.0] {
            for (across, down) in
                [(1.0, 0.0), (-1.0, 0.0), (0.0, -1.0), (0.0, 1.0), (0.8, -0.8), (0.8, 0.8), (-0.8, -0.8), (-0.8, 0.8)]
            {
                let reach = radius + distance;
                let (x, y) = (f64::mul_add(across, reach, at.0), f64::mul_add(down, reach, at.1));
                let (left, anchor) = match across {
                    right if right > 0.0 => (x, Anchor::Start),
                    left if left < 0.0 => (x - width, Anchor::End),
                    _ => (x - width / 2.0, Anchor::Middle),
                };
                let top = match down {
                    below if below > 0.0 => y,
                    above if above < 0.0 => y - height,
                    _ => y - height / 2.0,
                };
                let area = Area { left, top, right: left + width, bottom: top + height };
                let misleading = if self.misleads(&area, at) { 150.0 } else { 0.0 };
                let leader = (at, nearest(&area, at));
                let crossed = self.leaders.iter().filter(|own| crosses(**own, leader)).count() as f64;
                let cost = crossed.mul_add(400.0, distance.mul_add(1.5, self.cost(&area))) + misleading;
                if best.is_none_or(|(lowest, ..)| cost < lowest) {
                    best = Some((cost, area, anchor, distance));
                }
            }
        }
        let Some((_, area, anchor, distance)) = best else { return };
        let baseline = SIZE.mul_add(0.9, area.top);
        let x = match anchor {
            Anchor::Start => area.left,
            Anchor::Middle => f64::midpoint(area.left, area.right),
            Anchor::End => area.right,
        };
        if distance > 12.0 {
            let end = nearest(&area, at);
            canvas.line(vec![at, end], Stroke::solid(canvas.theme.muted, 0.7));
            self.leaders.push((at, end));
        }
        canvas.text(Text::new((x, baseline), words, color).size(SIZE).anchored(anchor));
        self.taken.push((area, 3.0));
    }
}
