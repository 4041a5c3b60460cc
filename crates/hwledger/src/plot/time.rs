//! Stacked bars of time, one per pass, with what each part is.

use hwledger_node::plot::{Cause, CauseTime, PassTime, TimePlot};

use super::axis::{Axis, Spacing, digits};
use super::canvas::{Anchor, Canvas, Stroke, Text};
use super::color::Color;
use super::font;
use super::page::{self, Area};

pub(crate) const WIDTH: u32 = 860;
/// Heights of a panel: its name, its bar, its axis, a row of its table.
const HEAD: f64 = 30.0;
const BAR: f64 = 34.0;
const FOOT: f64 = 36.0;
const ROW: f64 = 19.0;

/// Rows of a panel's table, which has two columns.
fn rows(pass: &PassTime) -> f64 {
    pass.causes.len().div_ceil(2) as f64
}

fn height(pass: &PassTime) -> f64 {
    rows(pass).mul_add(ROW, HEAD + BAR + FOOT + 12.0)
}

pub(crate) fn usual_height(plot: &TimePlot, width: f64) -> f64 {
    page::heading_height(&plot.heading, width) + plot.passes.iter().map(height).sum::<f64>()
}

pub(crate) fn draw(canvas: &mut Canvas, plot: &TimePlot) {
    let area = page::begin(canvas, &plot.heading);
    let usual: f64 = plot.passes.iter().map(height).sum();
    let room = ((area.height() - usual) / plot.passes.len().max(1) as f64).max(-BAR);
    let mut top = area.top;
    for pass in &plot.passes {
        let bottom = top + height(pass) + room;
        panel(canvas, pass, &Area { top, bottom, ..area }, BAR + room.clamp(-BAR / 2.0, 60.0));
        top = bottom;
    }
}

fn color(canvas: &Canvas, cause: Cause) -> Color {
    let theme = &canvas.theme;
    match cause {
        Cause::Weights => theme.data[0],
        Cause::Experts => theme.data[5],
        Cause::Products => theme.data[1],
        Cause::Attention => theme.data[2],
        Cause::Recurrence => theme.data[6],
        Cause::Activations => theme.data[4],
        Cause::Host => theme.data[3],
        Cause::Communication => theme.ink,
        Cause::Launches => theme.data[7],
        Cause::Step => theme.faint,
    }
}

/// A time in the unit that leaves it readable.
fn shown(seconds: f64) -> String {
    match seconds {
        long if long >= 1.0 => format!("{} s", digits(long)),
        short if short >= 1e-3 => format!("{} ms", digits(short * 1e3)),
        _ => format!("{} µs", digits(seconds * 1e6)),
    }
}

fn panel(canvas: &mut Canvas, pass: &PassTime, area: &Area, bar: f64) {
    let (grid, muted, ink, page) = (canvas.theme.grid, canvas.theme.muted, canvas.theme.ink, canvas.theme.page);
    let title = format!("{}: {}", pass.name, shown(pass.seconds));
    canvas.text(Text::new((area.left, area.top + 16.0), title, ink).size(13.0).bold());
    let (scale, unit) = if pass.seconds >= 1.0 { (1.0, "s") } else { (1e3, "ms") };
    let x = Axis { low: 0.0, high: pass.seconds * scale, spacing: Spacing::Even, from: area.left, to: area.right };
    let (top, bottom) = (area.top + HEAD, area.top + HEAD + bar);
    let mut start = 0.0;
    for part in &pass.causes {
        let end = part.seconds.mul_add(scale, start);
        let (left, right) = (x.at(start), x.at(end));
        canvas.bar((left, top), (right - left, bottom - top), color(canvas, part.cause));
        if right - left > 2.0 {
            canvas.line(vec![(right, top), (right, bottom)], Stroke::solid(page, 1.0));
        }
        start = end;
    }
    for tick in x.ticks(area.width() / 90.0) {
        let at = x.at(tick);
        canvas.line(vec![(at, bottom), (at, bottom + 4.0)], Stroke::solid(muted, 1.0));
        // The words of the ends stay on the page.
        let anchor = match at {
            at if at < area.left + 4.0 => Anchor::Start,
            at if at > area.right - 12.0 => Anchor::End,
            _ => Anchor::Middle,
        };
        let words = if tick == 0.0 { format!("0 {unit}") } else { digits(tick) };
        canvas.text(Text::new((at, bottom + 16.0), words, muted).size(11.0).anchored(anchor));
    }
    canvas.line(vec![(area.left, bottom), (area.right, bottom)], Stroke::solid(grid, 1.0));
    table(canvas, pass, &Area { top: bottom + 34.0, ..*area });
}

/// What each colour is, how long it takes, and its share.
fn table(canvas: &mut Canvas, pass: &PassTime, area: &Area) {
    let (muted, ink) = (canvas.theme.muted, canvas.theme.ink);
    let rows = pass.causes.len().div_ceil(2);
    let column = area.width() / 2.0;
    for (index, CauseTime { cause, seconds }) in pass.causes.iter().enumerate() {
        let left = if index < rows { area.left } else { area.left + column };
        let baseline = ((index % rows.max(1)) as f64).mul_add(ROW, area.top);
        let fill = color(canvas, *cause);
        canvas.bar((left, baseline - 9.0), (10.0, 10.0), fill);
        let name = font::shortened(cause.name(), page::WORDS, false, column - 170.0);
        canvas.text(Text::new((left + 17.0, baseline), name, ink));
        let right = left + column - 30.0;
        canvas.text(Text::new((right - 55.0, baseline), shown(*seconds), ink).anchored(Anchor::End));
        let share = format!("{:.1} %", seconds / pass.seconds * 100.0);
        canvas.text(Text::new((right, baseline), share, muted).anchored(Anchor::End));
    }
}
