//! The roofline: two axes by the logarithm, a slope, ceilings, points.

use hwledger_node::plot::{Part, RooflinePlot, RooflinePoint, Work};

use super::axis::{Axis, Spacing, short};
use super::canvas::{Anchor, Canvas, Mark, Point, Stroke, Text};
use super::color::{BLUE, VERMILION};
use super::font;
use super::labels::Labels;
use super::page::{self, AXIS_BELOW, AXIS_LEFT, Area, Panel, Swatch};

pub(crate) const SIZE: (u32, u32) = (920, 600);

/// The picture's axes, wide enough for points, ridges and ceilings.
fn axes(plot: &RooflinePlot, area: &Area) -> (Axis, Axis) {
    let bandwidth = plot.bandwidth_bytes_per_s;
    let ridges = plot.ceilings.iter().map(|ceiling| ceiling.operations_per_s / bandwidth);
    let intensities = plot.points.iter().filter_map(RooflinePoint::intensity);
    let xs = intensities.chain(ridges).chain([0.5]);
    let low = xs.clone().fold(f64::INFINITY, f64::min) / 3.0;
    let high = xs.fold(0.0, f64::max) * 4.0;
    let rates = plot.points.iter().filter(|point| point.intensity().is_some()).map(RooflinePoint::rate);
    // Parts without operations stand on the left edge, at their bandwidth.
    let edges = plot.points.iter().filter(|point| is_edge(point)).map(|point| point.bytes_per_s() * low);
    let tops = plot.ceilings.iter().map(|ceiling| ceiling.operations_per_s);
    let bottom = rates.clone().chain(edges).chain([bandwidth * low]).fold(f64::INFINITY, f64::min) / 2.5;
    let top = rates.chain(tops).fold(0.0, f64::max) * 2.5;
    let x = Axis { low, high, spacing: Spacing::Logarithmic, from: area.left, to: area.right };
    let y = Axis { low: bottom, high: top, spacing: Spacing::Logarithmic, from: area.bottom, to: area.top };
    (x, y)
}

fn is_edge(point: &RooflinePoint) -> bool {
    point.bytes > 0.0 && point.operations <= 0.0
}

const fn look(work: Work) -> (Mark, usize, &'static str) {
    match work {
        Work::Decode => (Mark::Disc, BLUE, "decode"),
        Work::Prefill => (Mark::Diamond, VERMILION, "prefill"),
    }
}

pub(crate) fn draw(canvas: &mut Canvas, plot: &RooflinePlot) {
    let mut area = page::begin(canvas, &plot.heading);
    let colors = canvas.theme;
    let entries = [
        (Swatch::Line, colors.ink, format!("what {} can do at best", plot.device)),
        (Swatch::Mark(Mark::Disc), colors.nth(BLUE), "decode, predicted (large: the whole)".to_owned()),
        (Swatch::Mark(Mark::Diamond), colors.nth(VERMILION), "prefill, predicted (large: the whole)".to_owned()),
    ];
    area.top = page::keys(canvas, &entries, &area) + 4.0;
    area.left += AXIS_LEFT;
    area.bottom -= AXIS_BELOW;
    let (x, y) = axes(plot, &area);
    let panel = Panel {
        x,
        y,
        x_title: "operational intensity, operations per byte",
        y_title: "attained rate, operations per second",
    };
    panel.draw(canvas);
    let mut labels = Labels::new(area);
    for point in &plot.points {
        if let Some(at) = place(point, (&x, &y)) {
            labels.mark(at, radius(point));
        }
    }
    roof(canvas, plot, (&x, &y), &mut labels);
    points(canvas, plot, (&x, &y), &mut labels);
}

/// The slope and the ceilings, each with its words.
fn roof(canvas: &mut Canvas, plot: &RooflinePlot, (x, y): (&Axis, &Axis), labels: &mut Labels) {
    let (ink, muted) = (canvas.theme.ink, canvas.theme.muted);
    let bandwidth = plot.bandwidth_bytes_per_s;
    let at = |intensity: f64, rate: f64| (x.at(intensity), y.at(rate));
    let highest = plot.ceilings.last().map_or(bandwidth, |ceiling| ceiling.operations_per_s);
    let mut above: Option<f64> = None;
    for (index, ceiling) in plot.ceilings.iter().enumerate().rev() {
        let is_highest = index + 1 == plot.ceilings.len();
        let ends =
            (at(ceiling.operations_per_s / bandwidth, ceiling.operations_per_s), at(x.high, ceiling.operations_per_s));
        let stroke = if is_highest { Stroke::solid(ink, 2.0) } else { Stroke::dashed(muted, 1.2) };
        canvas.line(vec![ends.0, ends.1], stroke);
        labels.avoid_line(ends.0, ends.1);
        let words = format!("{} {}op/s", ceiling.name, short(ceiling.operations_per_s));
        let (width, baseline) = (font::width(&words, 11.0, false), ends.1.1 - 4.0);
        // Two ceilings close together: the lower one's words go below it.
        let baseline = if above.is_some_and(|above| baseline - above < 14.0) { ends.1.1 + 13.0 } else { baseline };
        above = Some(baseline);
        let right = ends.1.0 - 4.0;
        labels.keep_free(Area { left: right - width, right, top: baseline - 10.0, bottom: baseline + 3.0 });
        canvas.text(
            Text::new((right, baseline), words, if is_highest { ink } else { muted }).size(11.0).anchored(Anchor::End),
        );
    }
    let lowest = (y.low / bandwidth).max(x.low);
    let (start, end) = (at(lowest, bandwidth * lowest), at(highest / bandwidth, highest));
    canvas.line(vec![start, end], Stroke::solid(ink, 2.0));
    labels.avoid_line(start, end);
    slope_words(canvas, &format!("memory {}B/s", short(bandwidth)), (start, end), labels);
}

/// Words along the slope, where they are farthest from the marks.
fn slope_words(canvas: &mut Canvas, words: &str, (start, end): (Point, Point), labels: &mut Labels) {
    let (across, down) = (end.0 - start.0, end.1 - start.1);
    let length = across.hypot(down);
    let along = |share: f64, away: f64| {
        (share.mul_add(across, start.0) + down / length * away, share.mul_add(down, start.1) - across / length * away)
    };
    let own = font::width(words, 11.0, false) / length;
    let clearance = |share: &f64| labels.clearance(along(share + own / 2.0, 10.0));
    let starts = (2..=14_u32).map(|step| f64::from(step) * 0.05);
    let from = starts.max_by(|left, right| clearance(left).total_cmp(&clearance(right))).unwrap_or(0.3);
    let degrees = down.atan2(across).to_degrees();
    canvas.text(Text::new(along(from, 6.0), words, canvas.theme.ink).size(11.0).turned(degrees));
    for piece in 0..8_u32 {
        labels.keep_clear(along(own.mul_add(f64::from(piece) / 7.0, from), 10.0), 8.0);
    }
}

/// Where a point lies, if it lies anywhere.
fn place(point: &RooflinePoint, (x, y): (&Axis, &Axis)) -> Option<Point> {
    match point.intensity() {
        Some(intensity) => Some((x.at(intensity), y.at(point.rate()))),
        None if is_edge(point) => Some((x.from, y.at(point.bytes_per_s() * x.low))),
        None => None,
    }
}

const fn radius(point: &RooflinePoint) -> f64 {
    if matches!(point.part, Part::Whole) { 8.0 } else { 5.0 }
}

fn points(canvas: &mut Canvas, plot: &RooflinePlot, axes: (&Axis, &Axis), labels: &mut Labels) {
    let placed = || plot.points.iter().filter_map(|point| Some((point, place(point, axes)?)));
    for (point, at) in placed() {
        let (mark, color, _) = look(point.work);
        canvas.mark(mark, at, radius(point), canvas.theme.nth(color));
    }
    for (point, at) in placed() {
        let (.., name) = look(point.work);
        let words = match (point.part, is_edge(point)) {
            (Part::Whole, _) => format!("{name}, {}op/s", short(point.rate())),
            (part, true) => format!("{name}: {}, {}B/s", part.name(), short(point.bytes_per_s())),
            (part, false) => format!("{name}: {}", part.name()),
        };
        labels.write(canvas, at, radius(point), &words, canvas.theme.ink);
    }
}
