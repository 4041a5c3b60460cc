//! `hwledger plot`: pictures of plans and of measurements, as SVG or PNG files.
//!
//! Node says what is shown, one module per kind draws it on a [`canvas`], [`svg`] and [`png`] write
//! the canvas. Nothing here computes anything of a model or a device.

mod accuracy;
mod arguments;
mod axis;
mod canvas;
mod color;
mod font;
mod labels;
mod layers;
mod memory;
mod page;
mod pareto;
mod png;
mod roofline;
mod svg;
mod time;

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::process::ExitCode;

pub(crate) use arguments::PlotArguments;
use arguments::{Kind, Output, TableArguments};
use canvas::Canvas;
use color::Theme;
use hwledger_node::PlanRequest;
use hwledger_node::efficiency::{SpeedRecord, read_records};
use hwledger_node::planner::{Planner, with_causes};
use hwledger_node::plot::{PlotError, Table, accuracy as compare, pareto as find_front};

use crate::{fail, json, say};

/// Narrowest picture in which words stay apart, and longest side of any, in pixels.
const WIDTH_MIN: u32 = 560;
const SIDE_MAX: u32 = 4096;

/// The size of a kind of picture where nobody asks for one.
#[derive(Clone, Copy, Debug)]
struct Size {
    width: u32,
    height: u32,
    /// Share of the height below which words run into each other.
    least: f64,
}

impl Size {
    const fn fixed((width, height): (u32, u32)) -> Self {
        Self { width, height, least: 0.85 }
    }

    /// A height that what is shown decides.
    fn grown(width: u32, height: f64, least: f64) -> Self {
        Self { width, height: whole(height), least }
    }
}

/// Why there is no picture.
#[derive(Debug)]
enum Failure {
    /// There is nothing to draw.
    Plot(PlotError),
    /// Something about files or flags, and what would do.
    File(String, String),
}

impl<E: Into<PlotError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Plot(error.into())
    }
}

/// What is to be written, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Svg,
    Png,
}

pub(crate) fn run(planner: &Planner, arguments: &PlotArguments) -> ExitCode {
    let (failure, hint) = match picture(planner, arguments) {
        Ok(status) => return status,
        Err(Failure::Plot(error)) => (with_causes(&error), error.hint()),
        Err(Failure::File(message, hint)) => (message, Some(hint)),
    };
    let status = fail(failure);
    if let Some(hint) = hint {
        let _ = writeln!(io::stderr(), "hint: {hint}");
    }
    status
}

/// Draws and writes what is asked for.
fn picture(planner: &Planner, PlotArguments { kind }: &PlotArguments) -> Result<ExitCode, Failure> {
    match kind {
        Kind::Roofline(own) => {
            let plot = planner.plot_roofline(&request(&own.question)?)?;
            deliver(
                &own.output,
                own.question.json,
                &plot,
                |_| Size::fixed(roofline::SIZE),
                |canvas| roofline::draw(canvas, &plot),
            )
        }
        Kind::Memory(own) => {
            let plot = planner.plot_memory(&request(&own.question)?)?;
            let size = |width| Size::grown(memory::WIDTH, memory::usual_height(&plot, width), 0.8);
            deliver(&own.output, own.question.json, &plot, size, |canvas| memory::draw(canvas, &plot))
        }
        Kind::Layers(own) => {
            let plot = planner.plot_layers(&request(&own.question)?)?;
            deliver(
                &own.output,
                own.question.json,
                &plot,
                |_| Size::fixed(layers::SIZE),
                |canvas| layers::draw(canvas, &plot),
            )
        }
        Kind::Time(own) => {
            let plot = planner.plot_time(&request(&own.question)?)?;
            let size = |width| Size::grown(time::WIDTH, time::usual_height(&plot, width), 0.9);
            deliver(&own.output, own.question.json, &plot, size, |canvas| time::draw(canvas, &plot))
        }
        Kind::Pareto(own) => {
            let plot = find_front(&table(own)?, &own.columns()).map_err(PlotError::from)?;
            deliver(&own.output, own.json, &plot, |_| Size::fixed(pareto::SIZE), |canvas| pareto::draw(canvas, &plot))
        }
        Kind::Accuracy(own) => {
            let plot = compare(planner, &records(&own.file)?)?;
            let size = |width| Size::grown(accuracy::WIDTH, accuracy::usual_height(&plot, width), 0.7);
            deliver(&own.output, own.json, &plot, size, |canvas| accuracy::draw(canvas, &plot))
        }
    }
}

/// The request that flags spell, where they ask for a picture alone.
fn request(question: &crate::arguments::Question) -> Result<PlanRequest, Failure> {
    if question.as_log {
        return Err(Failure::File(
            "a log cannot be drawn".to_owned(),
            "leave out `--as-log`, or ask `hwledger plan` for the log".to_owned(),
        ));
    }
    Ok(question.request())
}

fn open(path: &str) -> Result<Box<dyn Read>, Failure> {
    if path == "-" {
        return Ok(Box::new(io::stdin().lock()));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(Failure::File(
            format!("`{path}` cannot be read: {error}"),
            "name a file, or `-` for standard input".to_owned(),
        )),
    }
}

fn table(arguments: &TableArguments) -> Result<Table, Failure> {
    Ok(Table::read(open(&arguments.file)?).map_err(PlotError::from)?)
}

fn records(path: &str) -> Result<Vec<SpeedRecord>, Failure> {
    Ok(read_records(BufReader::new(open(path)?)).map_err(PlotError::from)?)
}

/// Pixels as a whole number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what a picture may have")]
fn whole(pixels: f64) -> u32 {
    pixels.ceil().clamp(1.0, f64::from(SIDE_MAX)) as u32
}

/// The format that a file's name asks for.
fn format(path: &std::path::Path) -> Result<Format, Failure> {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("svg") => Ok(Format::Svg),
        Some("png") => Ok(Format::Png),
        _ => Err(Failure::File(
            format!("`{}` does not say what kind of picture it is", path.display()),
            "a name that ends in `.svg` or `.png`".to_owned(),
        )),
    }
}

/// Draws on a canvas of the asked size, or of the usual one for its width, and writes the file; or
/// prints what would be drawn.
fn deliver(
    output: &Output,
    is_json: bool,
    plot: &impl serde::Serialize,
    usual: impl Fn(f64) -> Size,
    draw: impl FnOnce(&mut Canvas),
) -> Result<ExitCode, Failure> {
    if is_json {
        return Ok(say(&json(plot), true));
    }
    let Some(path) = &output.out else {
        return Err(Failure::File(
            "no file is named".to_owned(),
            "`--out FILE.svg` or `--out FILE.png`, or `--json`".to_owned(),
        ));
    };
    let format = format(path)?;
    let width = output.width.unwrap_or_else(|| usual(f64::from(WIDTH_MIN)).width);
    let size = usual(f64::from(width));
    let least = whole(f64::from(size.height) * size.least);
    let height = output.height.unwrap_or(size.height);
    if !(WIDTH_MIN..=SIDE_MAX).contains(&width) || !(least..=SIDE_MAX).contains(&height) {
        return Err(Failure::File(
            format!("a picture of {width} x {height} pixels cannot hold what is to be shown"),
            format!("`--width` from {WIDTH_MIN} to {SIDE_MAX}, `--height` from {least} to {SIDE_MAX}"),
        ));
    }
    let mut canvas = Canvas::new(f64::from(width), f64::from(height), Theme::of(output.dark));
    draw(&mut canvas);
    let bytes = match format {
        Format::Svg => svg::write(&canvas).into_bytes(),
        Format::Png => png::write(&canvas, (width, height), output.scale.into()).map_err(|png::PixelsError| {
            Failure::File(
                "the picture has more pixels than fit into memory".to_owned(),
                "a smaller `--scale`".to_owned(),
            )
        })?,
    };
    fs::write(path, bytes).map_err(|error| {
        Failure::File(
            format!("`{}` cannot be written: {error}", path.display()),
            "a file in a directory that exists".to_owned(),
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
