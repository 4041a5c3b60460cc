//! Bars of weights and of cache, a column per layer.

use hwledger_core::Bytes;
use hwledger_node::plot::{LayerBar, LayersPlot};

use super::axis::{Axis, Spacing};
use super::canvas::{Anchor, Canvas, Stroke, Text};
use super::color::Color;
use super::page::{self, AXIS_LEFT, Area, Swatch};

pub(crate) const SIZE: (u32, u32) = (920, 520);

/// The unit in which sizes up to `largest` are numbers that people read.
fn unit(largest: Bytes) -> (f64, &'static str) {
    match largest.mebibytes() {
        size if size >= 2048.0 => (1024.0, "GiB"),
        size if size >= 2.0 => (1.0, "MiB"),
        _ => (1.0 / 1024.0, "KiB"),
    }
}

pub(crate) fn draw(canvas: &mut Canvas, plot: &LayersPlot) {
    let mut area = page::begin(canvas, &plot.heading);
    let count = |kind: usize| plot.layers.iter().filter(|layer| layer.kind == kind).count();
    let named = plot.kinds.iter().enumerate();
    let entries: Vec<_> = named
        .map(|(kind, name)| (Swatch::Block, canvas.theme.nth(kind), format!("{} × {name}", count(kind))))
        .collect();
    area.top = page::keys(canvas, &entries, &area) + 10.0;
    area.left += AXIS_LEFT;
    area.bottom -= 40.0;
    let has_state = plot.layers.iter().any(|layer| layer.state > Bytes::ZERO);
    let has_cache = plot.layers.iter().any(|layer| layer.cache > Bytes::ZERO);
    let kept = match (has_cache, has_state) {
        (true, true) => "cache and state",
        (false, true) => "state",
        _ => "cache",
    };
    let middle = f64::midpoint(area.top, area.bottom);
    let upper = Area { bottom: middle - 16.0, ..area };
    let lower = Area { top: middle + 16.0, ..area };
    bars(canvas, plot, &upper, "weights", |layer| layer.weights);
    bars(canvas, plot, &lower, kept, |layer| layer.cache + layer.state);
    let every = step(plot.layers.len());
    let x = columns(plot, &area);
    for index in (0..plot.layers.len()).step_by(every) {
        let at = x.at(index as f64 + 0.5);
        let words = Text::new((at, area.bottom + 15.0), index.to_string(), canvas.theme.muted);
        canvas.text(words.size(11.0).anchored(Anchor::Middle));
    }
    let center = f64::midpoint(area.left, area.right);
    canvas.text(Text::new((center, area.bottom + 34.0), "layer", canvas.theme.ink).anchored(Anchor::Middle));
}

/// Every how many layers one is numbered.
fn step(layers: usize) -> usize {
    [1, 2, 4, 5, 10, 20, 50, 100].into_iter().find(|step| layers / step <= 24).unwrap_or(200)
}

fn columns(plot: &LayersPlot, area: &Area) -> Axis {
    let count = plot.layers.len().max(1) as f64;
    Axis { low: 0.0, high: count, spacing: Spacing::Even, from: area.left, to: area.right }
}

fn bars(canvas: &mut Canvas, plot: &LayersPlot, area: &Area, name: &str, of: impl Fn(&LayerBar) -> Bytes) {
    let (grid, muted, ink) = (canvas.theme.grid, canvas.theme.muted, canvas.theme.ink);
    let largest = plot.layers.iter().map(&of).max().unwrap_or_default();
    let (scale, unit) = unit(largest);
    let size = |layer: &LayerBar| of(layer).mebibytes() / scale;
    let high = if largest > Bytes::ZERO { largest.mebibytes() / scale * 1.08 } else { 1.0 };
    let y = Axis { low: 0.0, high, spacing: Spacing::Even, from: area.bottom, to: area.top };
    let x = columns(plot, area);
    for tick in y.ticks(area.height() / 26.0) {
        let at = y.at(tick);
        canvas.line(vec![(area.left, at), (area.right, at)], Stroke::solid(grid, 1.0));
        let words = Text::new((area.left - 8.0, at + 4.0), super::axis::digits(tick), muted);
        canvas.text(words.size(11.0).anchored(Anchor::End));
    }
    let width = x.at(1.0) - x.at(0.0);
    let gap = if width > 5.0 { (width * 0.16).min(4.0) } else { 0.4 };
    for (index, layer) in plot.layers.iter().enumerate() {
        let (left, top) = (x.at(index as f64) + gap / 2.0, y.at(size(layer)));
        let color: Color = canvas.theme.nth(layer.kind);
        if of(layer) > Bytes::ZERO {
            canvas.bar((left, top.min(area.bottom - 1.5)), (width - gap, area.bottom - top), color);
        }
    }
    canvas.line(
        vec![(area.left, area.top), (area.left, area.bottom), (area.right, area.bottom)],
        Stroke::solid(muted, 1.0),
    );
    let middle = f64::midpoint(area.top, area.bottom);
    let title = Text::new((area.left - 49.0, middle), format!("{name}, {unit}"), ink);
    canvas.text(title.anchored(Anchor::Middle).turned(-90.0));
}
