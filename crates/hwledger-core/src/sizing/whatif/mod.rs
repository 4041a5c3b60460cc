//! What-if: sliders on a chip's profile, what a workload demands of it, and where that leaves it.

mod budget;
mod demand;
mod kpi;
mod profile;
mod runner;
mod slider;

pub use budget::{budget_csv, kpi_csv};
pub use demand::{Demand, Engine, LlmDemand};
pub use kpi::{ChipSummary, Failure, Kpi, KpiPolicy, Scope, Status, kpis};
pub use profile::Profile;
pub use runner::{Evaluation, FrontierPoint, Grid, Objective, Point, Runner, STEPS_MAX};
pub use slider::{Apply, Category, Slider};
