//! Predicted against measured, a square panel per figure.

use std::collections::BTreeMap;

use hwledger_node::plot::{AccuracyPlot, Comparison, FigurePanel};

use super::axis::{Axis, Spacing};
use super::canvas::{Canvas, Point, Shape, Stroke, Text};
use super::color::{BLUE, Color, GREEN, Theme, VERMILION};
use super::page::{self, AXIS_BELOW, AXIS_LEFT, Area, Panel, Swatch};

pub(crate) const WIDTH: u32 = 940;
/// Room above a panel for its name and its figures.
const HEAD: f64 = 40.0;
/// Room for the keys to colours.
const KEYS: f64 = 26.0;
/// Gap between panels.
const GAP: f64 = 22.0;
/// Side of the squares that comparisons are counted in.
const CELL: f64 = 3.0;

/// Panels beside each other.
fn columns(plot: &AccuracyPlot, width: f64) -> usize {
    let most = if width >= 760.0 {
        3
    } else if width >= 520.0 {
        2
    } else {
        1
    };
    match plot.figures.len() {
        4 => most.min(2),
        count => count.clamp(1, most),
    }
}

/// The side of a panel that fills the width.
fn side(plot: &AccuracyPlot, width: f64) -> f64 {
    let columns = columns(plot, width) as f64;
    ((width - 36.0 - GAP * (columns - 1.0)) / columns - AXIS_LEFT).min(420.0)
}

pub(crate) fn usual_height(plot: &AccuracyPlot, width: f64) -> f64 {
    let rows = plot.figures.len().div_ceil(columns(plot, width)) as f64;
    rows.mul_add(side(plot, width) + HEAD + AXIS_BELOW + 8.0, page::heading_height(&plot.heading, width) + KEYS)
}

pub(crate) fn draw(canvas: &mut Canvas, plot: &AccuracyPlot) {
    let mut area = page::begin(canvas, &plot.heading);
    let entries = keys(&canvas.theme);
    area.top = page::keys(canvas, &entries, &area) + 4.0;
    let columns = columns(plot, canvas.width);
    let rows = plot.figures.len().div_ceil(columns) as f64;
    let across = (area.width() + GAP) / columns as f64;
    let down = area.height() / rows;
    let side = (across - GAP - AXIS_LEFT).min(down - HEAD - AXIS_BELOW - 8.0).max(40.0);
    for (index, figure) in plot.figures.iter().enumerate() {
        let left = ((index % columns) as f64).mul_add(across, area.left + AXIS_LEFT);
        let top = ((index / columns) as f64).mul_add(down, area.top + HEAD);
        panel(canvas, figure, &Area { left, top, right: left + side, bottom: top + side });
    }
}

fn keys(theme: &Theme) -> [(Swatch, Color, String); 3] {
    [
        (Swatch::Block, theme.nth(BLUE), "measured within the predicted interval".to_owned()),
        (Swatch::Block, theme.nth(VERMILION), "outside it".to_owned()),
        (Swatch::Line, theme.muted, "prediction and measurement agree".to_owned()),
    ]
}

fn panel(canvas: &mut Canvas, figure: &FigurePanel, area: &Area) {
    let (ink, muted, green) = (canvas.theme.ink, canvas.theme.muted, canvas.theme.nth(GREEN));
    let left = area.left - AXIS_LEFT + 8.0;
    canvas.text(Text::new((left, area.top - 24.0), figure.name, ink).size(13.0).bold());
    let words = format!(
        "n = {}; within 25 %: {:.0} %; in interval: {:.0} %",
        figure.comparisons.len(),
        figure.within_quarter * 100.0,
        figure.within_interval * 100.0
    );
    canvas.text(Text::new((left, area.top - 9.0), words, muted).size(11.0));
    let values = figure.comparisons.iter().flat_map(|own| [own.measured, own.predicted.value]);
    let Some(x) = Axis::around(values, Spacing::Logarithmic, (area.left, area.right)) else { return };
    let y = Axis { from: area.bottom, to: area.top, ..x };
    let (low, high) = (x.low, x.high);
    let at = |measured: f64, predicted: f64| (x.at(measured), y.at(predicted));
    let band = vec![
        at(low, low),
        at(low, low * 1.25),
        at(high / 1.25, high),
        at(high, high),
        at(high, high * 0.75),
        at(low / 0.75, low),
    ];
    canvas.polygon(band, green, 0.18);
    let (x_title, y_title) = (format!("measured, {}", figure.unit), format!("predicted, {}", figure.unit));
    Panel { x, y, x_title: &x_title, y_title: &y_title }.draw(canvas);
    canvas.line(vec![at(low, low), at(high, high)], Stroke::solid(muted, 1.0));
    let is_outside = |own: &&Comparison| !(own.predicted.low..=own.predicted.high).contains(&own.measured);
    let place = |own: &Comparison| at(own.measured, own.predicted.value);
    let inside = figure.comparisons.iter().filter(|own| !is_outside(own)).map(place);
    cells(canvas, inside, canvas.theme.nth(BLUE));
    cells(canvas, figure.comparisons.iter().filter(is_outside).map(place), canvas.theme.nth(VERMILION));
}

/// Points counted in cells, fuller cells darker: thousands of points stay a small file.
fn cells(canvas: &mut Canvas, points: impl Iterator<Item = Point>, fill: Color) {
    let mut counts: BTreeMap<(i64, i64), usize> = BTreeMap::new();
    for (x, y) in points {
        // Coordinates of a canvas are a few thousand at most.
        #[expect(clippy::cast_possible_truncation, reason = "whole numbers of a few thousand")]
        let cell = ((x / CELL).floor() as i64, (y / CELL).floor() as i64);
        *counts.entry(cell).or_default() += 1;
    }
    for (opacity, from, to) in [(0.35, 1, 2), (0.6, 2, 4), (0.8, 4, 8), (1.0, 8, usize::MAX)] {
        let full = counts.iter().filter(|(_, count)| (from..to).contains(*count));
        let corners: Vec<Point> = full.map(|((x, y), _)| (*x as f64 * CELL, *y as f64 * CELL)).collect();
        if !corners.is_empty() {
            canvas.shapes.push(Shape::Squares { corners, side: CELL, fill, opacity });
        }
    }
}
