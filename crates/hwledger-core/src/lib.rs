//! The vocabulary and the arithmetic of hwledger.
//!
//! A model is data ([`ModelSpec`]: a list of layers), an engine's memory is a
//! pure function of model, settings and devices ([`engine`]), and every number
//! that leaves this crate is a claim ([`Estimate`]). Nothing here touches
//! files, the network, the clock or the environment.

pub mod advice;
pub mod assumption;
pub mod breakdown;
pub mod cache;
pub mod calibration;
pub mod cost;
pub mod device;
pub mod element_type;
pub mod engine;
pub mod estimate;
pub mod inverse;
pub mod lora;
pub mod model;
mod nearest;
pub mod pareto;
pub mod projection;
pub mod settings;
pub mod sizing;
pub mod speculation;
pub mod training;
pub mod units;
pub mod verdict;
pub mod weight_format;

pub use assumption::{Assumption, Assumptions};
pub use element_type::ElementType;
pub use estimate::{Basis, Estimate};
pub use model::ModelSpec;
pub use nearest::nearest;
pub use settings::Settings;
pub use units::Bytes;
