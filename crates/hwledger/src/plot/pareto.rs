//! Points of a table and their front.

use hwledger_node::plot::{Best, ParetoPlot, ParetoPoint};

use super::axis::{Axis, Spacing};
use super::canvas::{Canvas, Mark, Point, Stroke};
use super::color::{BLUE, VERMILION};
use super::labels::Labels;
use super::page::{self, AXIS_BELOW, AXIS_LEFT, Panel, Swatch};

pub(crate) const SIZE: (u32, u32) = (860, 560);

/// Most points of the front that are named.
const NAMED_MAX: usize = 24;

/// Values that span more than this factor are spaced by their logarithm.
const EVEN_MAX: f64 = 50.0;

fn axis(values: impl Iterator<Item = f64> + Clone, ends: (f64, f64)) -> Axis {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.clone().fold(f64::NEG_INFINITY, f64::max);
    let spacing = if low > 0.0 && high / low > EVEN_MAX { Spacing::Logarithmic } else { Spacing::Even };
    let usual = Axis { low: 0.0, high: 1.0, spacing: Spacing::Even, from: ends.0, to: ends.1 };
    Axis::around(values, spacing, ends).unwrap_or(usual)
}

fn title(name: &str, best: Best) -> String {
    let wanted = match best {
        Best::Low => "lower is better",
        Best::High => "higher is better",
    };
    format!("{name} ({wanted})")
}

pub(crate) fn draw(canvas: &mut Canvas, plot: &ParetoPlot) {
    let mut area = page::begin(canvas, &plot.heading);
    let (blue, vermilion, rest) = (canvas.theme.nth(BLUE), canvas.theme.nth(VERMILION), canvas.theme.nth(7));
    let entries = [
        (Swatch::Mark(Mark::Diamond), vermilion, "on the front".to_owned()),
        (Swatch::Mark(Mark::Disc), blue, "beaten by another".to_owned()),
    ];
    area.top = page::keys(canvas, &entries, &area) + 4.0;
    area.left += AXIS_LEFT;
    area.bottom -= AXIS_BELOW;
    let x = axis(plot.points.iter().map(|point| point.x), (area.left, area.right));
    let y = axis(plot.points.iter().map(|point| point.y), (area.bottom, area.top));
    let (x_title, y_title) = (title(&plot.x, plot.x_best), title(&plot.y, plot.y_best));
    Panel { x, y, x_title: &x_title, y_title: &y_title }.draw(canvas);
    let at = |point: &ParetoPoint| -> Point { (x.at(point.x), y.at(point.y)) };
    let mut labels = Labels::new(area);
    let front: Vec<&ParetoPoint> = plot.front.iter().map(|&index| &plot.points[index]).collect();
    let is_on_front = |point: &ParetoPoint| front.iter().any(|own| std::ptr::eq(*own, point));
    for point in plot.points.iter().filter(|point| !is_on_front(point)) {
        canvas.mark(Mark::Disc, at(point), 4.0, blue);
        labels.mark(at(point), 4.0);
    }
    let steps = steps(&front.iter().map(|point| at(point)).collect::<Vec<_>>(), plot);
    steps.windows(2).for_each(|ends| labels.avoid_line(ends[0], ends[1]));
    canvas.line(steps, Stroke::solid(rest, 1.6));
    for point in &front {
        canvas.mark(Mark::Diamond, at(point), 5.5, vermilion);
        labels.mark(at(point), 6.0);
    }
    for point in front.iter().take(NAMED_MAX) {
        if let Some(words) = &point.label {
            labels.write(canvas, at(point), 6.0, words, canvas.theme.ink);
        }
    }
}

/// The edge of what the front beats: between two of its points, the worse of both in each column.
fn steps(front: &[Point], plot: &ParetoPlot) -> Vec<Point> {
    let mut steps: Vec<Point> = Vec::new();
    for &point in front {
        if let Some(&last) = steps.last() {
            // Worse in x is right where little is wanted; y follows from the other point.
            let corner = match plot.x_best {
                Best::Low => (point.0, last.1),
                Best::High => (last.0, point.1),
            };
            steps.push(corner);
        }
        steps.push(point);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_ranges_are_spaced_by_their_logarithm() {
        let spacing = |values: &[f64]| axis(values.iter().copied(), (0.0, 100.0)).spacing;
        assert_eq!(spacing(&[1.0, 40.0]), Spacing::Even);
        assert_eq!(spacing(&[1.0, 400.0]), Spacing::Logarithmic);
        assert_eq!(spacing(&[0.0, 400.0]), Spacing::Even);
    }
}
