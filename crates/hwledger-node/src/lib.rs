//! The use cases of hwledger as plain functions on plain values: what the
//! command line can do, every other face can do through the same calls.

pub mod answer;
pub mod batch;
pub mod calibrate;
pub mod catalogue;
pub mod command;
pub mod compare;
pub mod cost;
mod default_engine;
mod devices;
mod directories;
pub mod efficiency;
pub mod export;
pub mod fit;
pub mod hardware;
pub mod ledger;
pub mod locate;
pub mod machine;
pub mod metrics;
pub mod model;
mod names;
pub mod native;
pub mod planner;
pub mod plot;
pub mod price;
pub mod probe;
pub mod record;
pub mod report;
pub mod request;
pub mod search;
pub mod sizing;
pub mod sweep;
pub mod table;
mod time;
pub mod train;

pub use answer::Answer;
pub use planner::{PlanFailure, Planner};
pub use request::PlanRequest;
