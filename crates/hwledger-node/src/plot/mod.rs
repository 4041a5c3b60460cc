//! What pictures show, as plain values: points, bars and names, with nothing drawn yet.
//!
//! Each kind of picture is one function from a request or a file to one serialisable value. Whoever
//! draws it does no arithmetic on models or devices.

mod accuracy;
mod heading;
mod layers;
mod memory;
mod pareto;
mod roofline;
mod table;
mod time;

use hwledger_core::engine::EngineError;
use hwledger_core::projection::Gap;

pub use accuracy::{AccuracyPlot, Comparison, FigurePanel, accuracy};
pub use heading::Heading;
pub use layers::{LayerBar, LayersPlot};
pub use memory::{DevicePanel, MemoryPlot, MemoryStep};
pub use pareto::{Best, ParetoColumns, ParetoPlot, ParetoPoint, pareto};
pub use roofline::{Ceiling, Part, RooflinePlot, RooflinePoint, Work};
pub use table::{Table, TableError};
pub use time::{Cause, CauseTime, PassTime, TimePlot};

use crate::efficiency::RecordsError;
use crate::planner::PlanFailure;

/// Why there is nothing to draw.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// The request has no plan.
    #[error(transparent)]
    Plan(#[from] PlanFailure),
    /// The speed cannot be said.
    #[error("the speed is not known: {0}")]
    Speed(Gap),
    /// The memory cannot be said.
    #[error("the memory is not known: {0}")]
    Memory(EngineError),
    /// A device without figures.
    #[error("the roofline is not known: {0}")]
    Roofline(Gap),
    /// Records that cannot be read.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// A table that cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Nothing of the input can be compared.
    #[error("none of the {records} records has a prediction: {reason}")]
    NothingCompared {
        /// How many there are.
        records: usize,
        /// The most frequent reason.
        reason: String,
    },
}

impl PlotError {
    /// What to do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Plan(failure) => failure.hint(),
            Self::Speed(gap) | Self::Roofline(gap) => match gap.key {
                "devices" => Some("name a device that is known, for example `--device \"RTX 4090\"`".to_owned()),
                key => Some(format!("give another value of `{key}`")),
            },
            Self::Memory(_) => Some("name another engine, for example `--engine llama.cpp`".to_owned()),
            Self::Records(_) | Self::NothingCompared { .. } => Some(
                "one JSON object per line with `request` and `measured`, as `hwledger fit-efficiency` reads them"
                    .to_owned(),
            ),
            Self::Table(error) => Some(error.hint()),
        }
    }
}
