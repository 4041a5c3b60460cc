//! Sizing of edge chips: will a model run on a class of chip, how fast, and what would have to change.
//!
//! A chip is a [`Tier`]: peaks, memory, capabilities and what was measured on it, each with its
//! provenance. [`project`] walks from the most to the least trusted source: a measurement of this
//! model under this workload, a measurement of this model, one on a chip of the same family, and at
//! last a formula. `docs/chip-sizing.md` holds the formulas and their limits.
//!
//! The tiers, the capability tables and the order of the cascade come from ratchet 0.2.6, a public
//! Python package; its arithmetic has faults that are corrected here. [`Compatibility::Reference`]
//! computes as it does, so that its published examples can be compared.

mod anchor;
mod capability;
mod custom;
mod deployment;
mod error;
mod feasibility;
mod memory;
mod model;
mod pattern;
mod perception;
mod precision;
mod projection;
mod provenance;
mod registry;
mod table;
mod tier;
mod vision;
pub mod whatif;

pub use anchor::{Badge, CnnAnchor, LlmAnchor, PrivateAnchors, SpecCell, SpecPrecision, SpecTier, overlay};
pub use capability::{Capability, CapabilityTable, Level};
pub use custom::{CustomTier, TierClass};
pub use deployment::{Deployment, KernelSource, PathClass, deployment};
pub use error::SizingError;
pub use feasibility::{Feasibility, Fit, feasibility};
pub use memory::{MemoryInterface, MemoryKind, MemoryUpgrade};
pub use model::{CacheLayers, Experts, QualityRecord, ReferenceFigures, SizingModel, TrainingRecord, models};
pub use pattern::{Multiplier, PATTERN_NAMES, WorkloadPattern};
pub use perception::{Distribution, PerceptionAnchor, SolverAnchor, SolverProjection, StageProjection};
pub use precision::{Dtype, Fp4Maturity, Precision, PrecisionRung, QUANT_SCHEMES, QuantScheme};
pub use projection::{AnchorNote, DtypeMismatch, Outcome, Projection, Question, Regime, Source, project};
pub use provenance::{Calibration, Confidence, Method};
pub use registry::{tier, tiers};
pub use tier::{
    CpuComplex, Efficiency, LaunchTime, MeasuredCell, Measurements, Peaks, RateAnchor, StockMemory, Tier, VisionAnchor,
};
pub use vision::{VisionModel, VisionProjection, project_vision};

use serde::{Deserialize, Serialize};

/// Whose arithmetic is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compatibility {
    /// This project's.
    #[default]
    Corrected,
    /// That of ratchet 0.2.6, its known faults and its rounding included: for comparing with figures
    /// that it published, and for nothing else.
    Reference,
}
