//! Waterfalls of memory, a panel per device.

use hwledger_core::verdict::Verdict;
use hwledger_core::{Bytes, Estimate};
use hwledger_node::plot::{DevicePanel, MemoryPlot};

use super::axis::{Axis, Spacing, digits};
use super::canvas::{Anchor, Canvas, Stroke, Text};
use super::color::Color;
use super::font;
use super::page::{self, Area};

pub(crate) const WIDTH: u32 = 860;
/// Room for the components' names.
const NAMES: f64 = 112.0;
/// Room for a panel's name above its rows and for its axis below them.
const PANEL_HEAD: f64 = 30.0;
const PANEL_FOOT: f64 = 44.0;
/// A row's usual height.
const ROW: f64 = 30.0;

/// Rows of a panel: its components and their sum.
fn rows(panel: &DevicePanel) -> f64 {
    panel.steps.len() as f64 + 1.0
}

/// The height in which every row has its usual height.
pub(crate) fn usual_height(plot: &MemoryPlot, width: f64) -> f64 {
    let panels: f64 = plot.devices.iter().map(|panel| rows(panel).mul_add(ROW, PANEL_HEAD + PANEL_FOOT)).sum();
    page::heading_height(&plot.heading, width) + panels
}

pub(crate) fn draw(canvas: &mut Canvas, plot: &MemoryPlot) {
    let area = page::begin(canvas, &plot.heading);
    let all: f64 = plot.devices.iter().map(rows).sum();
    let row = ((plot.devices.len() as f64).mul_add(-(PANEL_HEAD + PANEL_FOOT), area.height()) / all).max(4.0);
    let mut top = area.top;
    for panel in &plot.devices {
        let bottom = rows(panel).mul_add(row, top + PANEL_HEAD);
        self::panel(canvas, panel, &Area { top: top + PANEL_HEAD, bottom, ..area }, row);
        top = bottom + PANEL_FOOT;
    }
}

/// Each component's colour, the same in every panel.
fn color(canvas: &Canvas, name: &str) -> Color {
    let order = ["weights", "KV cache", "compute", "overhead", "recurrent state", "output"];
    canvas.theme.nth(order.iter().position(|own| *own == name).unwrap_or(7))
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Fits => "fits",
        Verdict::Tight => "tight",
        Verdict::DoesNotFit => "does not fit",
        Verdict::Unknown => "not known whether it fits",
    }
}

/// What a panel's rows are measured by.
struct Ruler {
    x: Axis,
    row: f64,
    /// Where what is usable ends, in pixels.
    usable: Option<f64>,
}

impl Ruler {
    fn of(panel: &DevicePanel, area: &Area, row: f64) -> Self {
        let ends = panel.steps.iter().filter_map(|step| Some((step.start + step.size?.high).gibibytes()));
        let total = panel.total.map(|total| total.high.gibibytes());
        let capacity = panel.capacity.map(Bytes::gibibytes);
        let high = ends.chain(total).chain(capacity).fold(0.0, f64::max);
        // Words stand right of bars, so the axis goes on beyond the longest.
        let high = if high > 0.0 { high * 1.14 } else { 1.0 };
        let x = Axis { low: 0.0, high, spacing: Spacing::Even, from: area.left + NAMES, to: area.right };
        Self { x, row, usable: capacity.map(|capacity| x.at(capacity)) }
    }

    /// Whether words there would stand on the page and clear of the line of what is usable.
    fn is_clear(&self, left: f64, width: f64) -> bool {
        let on_line = |line: f64| left - 3.0 < line && line < left + width + 3.0;
        left >= self.x.from && left + width <= self.x.to && !self.usable.is_some_and(on_line)
    }
}

fn panel(canvas: &mut Canvas, panel: &DevicePanel, area: &Area, row: f64) {
    let (ink, muted) = (canvas.theme.ink, canvas.theme.muted);
    let ruler = Ruler::of(panel, area, row);
    axis(canvas, &ruler.x, area);
    let middle_of = |index: usize| (index as f64 + 0.5).mul_add(row, area.top);
    for (index, step) in panel.steps.iter().enumerate() {
        let middle = middle_of(index);
        name(canvas, area, middle, step.name, false);
        let Some(size) = step.size else {
            not_known(canvas, ruler.x.at(step.start.gibibytes()), middle);
            continue;
        };
        let fill = color(canvas, step.name);
        bar(canvas, &ruler, middle, (step.start, size), fill);
        let end = ruler.x.at((step.start + size.value).gibibytes());
        let down = (row.mul_add(0.3, middle), row.mul_add(-0.3, middle_of(index + 1)));
        canvas.line(vec![(end, down.0), (end, down.1)], Stroke::dashed(muted, 0.8));
    }
    let middle = middle_of(panel.steps.len());
    name(canvas, area, middle, "total", true);
    match panel.total {
        Some(total) => bar(canvas, &ruler, middle, (Bytes::ZERO, total), canvas.theme.nth(7)),
        None => not_known(canvas, ruler.x.from, middle),
    }
    let title_ends = title(canvas, panel, area);
    if let (Some(at), Some(capacity)) = (ruler.usable, panel.capacity) {
        canvas.line(vec![(at, area.top - 4.0), (at, area.bottom)], Stroke::dashed(ink, 1.4));
        let words = format!("usable {capacity}");
        // The panel's name stands on the same line, from the left.
        let is_free = at - font::width(&words, 11.5, false) > title_ends + 12.0;
        let (at, anchor) = if is_free { (at, Anchor::End) } else { (at.max(title_ends + 12.0), Anchor::Start) };
        canvas.text(Text::new((at, area.top - 9.0), words, ink).size(11.5).anchored(anchor));
    }
}

/// The panel's name and verdict; gives where they end.
fn title(canvas: &mut Canvas, panel: &DevicePanel, area: &Area) -> f64 {
    let name = match panel.count {
        0 | 1 => panel.name.clone(),
        count => format!("{} and {} more like it", panel.name, count - 1),
    };
    let title = if panel.capacity.is_some() { format!("{name}: {}", verdict(panel.verdict)) } else { name };
    let width = font::width(&title, 13.0, true);
    canvas.text(Text::new((area.left, area.top - 12.0), title, canvas.theme.ink).size(13.0).bold());
    area.left + width
}

fn not_known(canvas: &mut Canvas, left: f64, middle: f64) {
    canvas.text(Text::new((left + 6.0, middle + 4.0), "not known", canvas.theme.muted).size(11.5));
}

fn name(canvas: &mut Canvas, area: &Area, middle: f64, words: &str, is_bold: bool) {
    let text = Text::new((area.left + NAMES - 10.0, middle + 4.0), words, canvas.theme.ink).anchored(Anchor::End);
    canvas.text(if is_bold { text.bold() } else { text });
}

fn axis(canvas: &mut Canvas, x: &Axis, area: &Area) {
    let (grid, muted, ink) = (canvas.theme.grid, canvas.theme.muted, canvas.theme.ink);
    for tick in x.ticks((x.to - x.from) / 75.0) {
        let at = x.at(tick);
        canvas.line(vec![(at, area.top), (at, area.bottom)], Stroke::solid(grid, 1.0));
        canvas.text(Text::new((at, area.bottom + 14.0), digits(tick), muted).size(11.0).anchored(Anchor::Middle));
    }
    canvas.line(vec![(x.from, area.top), (x.from, area.bottom), (x.to, area.bottom)], Stroke::solid(muted, 1.0));
    let middle = f64::midpoint(x.from, x.to);
    canvas.text(Text::new((middle, area.bottom + 30.0), "GiB", ink).anchored(Anchor::Middle));
}

/// A bar from `start` as long as `size`, its interval as a whisker, its size in words.
fn bar(canvas: &mut Canvas, ruler: &Ruler, middle: f64, (start, size): (Bytes, Estimate<Bytes>), fill: Color) {
    let ink = canvas.theme.ink;
    let at = |size: Bytes| ruler.x.at((start + size).gibibytes());
    let (left, right) = (at(Bytes::ZERO), at(size.value));
    let height = ruler.row * 0.6;
    if size.value > Bytes::ZERO {
        canvas.bar((left, middle - height / 2.0), (right - left, height), fill);
    }
    let (low, high) = (at(size.low), at(size.high));
    if high - low > 1.0 {
        let cap = ruler.row * 0.15;
        canvas.line(vec![(low, middle), (high, middle)], Stroke::solid(ink, 1.3));
        for end in [low, high] {
            canvas.line(vec![(end, middle - cap), (end, middle + cap)], Stroke::solid(ink, 1.3));
        }
    }
    let words = size.value.to_string();
    let width = font::width(&words, 11.5, false);
    let (after, before) = (right.max(high) + 6.0, left.min(low) - 6.0);
    let inside = low.min(right) - 8.0;
    // Right of the bar, else left of it, else in it: never across what is usable.
    let (at, anchor, color) = match () {
        () if ruler.is_clear(after, width) => (after, Anchor::Start, ink),
        () if ruler.is_clear(before - width, width) => (before, Anchor::End, ink),
        () if inside - width > left && ruler.is_clear(inside - width, width) => {
            (inside, Anchor::End, canvas.theme.page)
        }
        () => (after.min(ruler.x.to - width), Anchor::Start, ink),
    };
    canvas.text(Text::new((at, middle + 4.0), words, color).size(11.5).anchored(anchor));
}
