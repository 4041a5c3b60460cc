//! The words of `hwledger plot`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use hwledger_node::plot::{Best, ParetoColumns};

use crate::arguments::Question;

/// Arguments of `plot`.
#[derive(Debug, Args)]
pub(crate) struct PlotArguments {
    #[command(subcommand)]
    pub(super) kind: Kind,
}

#[derive(Debug, Subcommand)]
pub(super) enum Kind {
    /// Operations per byte against operations per second, under what the device can do
    Roofline(Box<QuestionArguments>),
    /// Where each device's memory goes, up to what it has
    Memory(Box<QuestionArguments>),
    /// Weights and cache of every layer
    Layers(Box<QuestionArguments>),
    /// Where the time of a decoding pass and of a prefill goes
    Time(Box<QuestionArguments>),
    /// Two columns of a table (JSON lines or CSV) and the rows that nothing beats
    Pareto(TableArguments),
    /// Predicted against measured speeds
    Accuracy(RecordsArguments),
}

/// Where a picture goes and how it looks.
#[derive(Debug, Args)]
pub(super) struct Output {
    /// Write the picture here; the name ends in .svg or .png
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// Width in pixels
    #[arg(long, value_name = "PIXELS")]
    pub(super) width: Option<u32>,
    /// Height in pixels
    #[arg(long, value_name = "PIXELS")]
    pub(super) height: Option<u32>,
    /// PNG: this many pixels for each of the picture's, so that it stays sharp when enlarged
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
    pub(super) scale: u8,
    /// For a dark page
    #[arg(long)]
    pub(super) dark: bool,
}

/// A picture of a plan.
#[derive(Debug, Args)]
pub(super) struct QuestionArguments {
    #[command(flatten)]
    pub(super) question: Question,
    #[command(flatten)]
    pub(super) output: Output,
}

/// A picture of a table.
#[derive(Debug, Args)]
pub(super) struct TableArguments {
    /// JSON lines, or CSV with a line of names (`-` for standard input)
    #[arg(value_name = "FILE")]
    pub(super) file: String,
    /// The column along the picture; objects within objects are named with points
    #[arg(long, value_name = "COLUMN")]
    x: String,
    /// The column up the picture
    #[arg(long, value_name = "COLUMN")]
    y: String,
    /// Which end of the first is wanted
    #[arg(long, value_name = "END", default_value = "low")]
    x_best: End,
    /// Which end of the second is wanted
    #[arg(long, value_name = "END", default_value = "high")]
    y_best: End,
    /// The column that names points
    #[arg(long, value_name = "COLUMN")]
    label: Option<String>,
    /// Print what would be drawn as one JSON object
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) output: Output,
}

/// An end of a column.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum End {
    /// Little is good
    Low,
    /// Much is good
    High,
}

impl From<End> for Best {
    fn from(end: End) -> Self {
        match end {
            End::Low => Self::Low,
            End::High => Self::High,
        }
    }
}

impl TableArguments {
    /// What is compared.
    pub(super) fn columns(&self) -> ParetoColumns {
        ParetoColumns {
            x: self.x.clone(),
            y: self.y.clone(),
            x_best: self.x_best.into(),
            y_best: self.y_best.into(),
            label: self.label.clone(),
        }
    }
}

/// A picture of measurements.
#[derive(Debug, Args)]
pub(super) struct RecordsArguments {
    /// Measured speeds, one JSON object per line, as `fit-efficiency` reads them (`-` for standard input)
    #[arg(value_name = "FILE")]
    pub(super) file: String,
    /// Print what would be drawn as one JSON object
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) output: Output,
}
