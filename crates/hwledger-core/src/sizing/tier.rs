//! A tier: one class of chip with its peaks, its memory and what was measured on it.

use serde::Serialize;

use super::capability::{Capability, CapabilityTable, probed};
use super::memory::MemoryInterface;
use super::perception::PerceptionAnchor;
use super::precision::{Dtype, Precision, PrecisionRung};
use super::provenance::Calibration;

/// Peak arithmetic in 10^12 operations per second; 0 where there are no units for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Peaks {
    /// 16-bit floats of either kind.
    pub bf16_tops: f64,
    /// 8-bit integers.
    pub int8_tops: f64,
    /// 8-bit floats.
    pub fp8_tops: f64,
    /// 4-bit floats.
    pub fp4_tops: f64,
}

impl Peaks {
    /// The peak of one kind of arithmetic.
    pub const fn of(&self, dtype: Dtype) -> f64 {
        match dtype {
            Dtype::Int8 => self.int8_tops,
            Dtype::Fp8 => self.fp8_tops,
            Dtype::Bf16 => self.bf16_tops,
            Dtype::Fp4 => self.fp4_tops,
        }
    }
}

/// The share of peaks that work reaches. Those for vision and for language models are separate
/// calibrations and must not be mixed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Efficiency {
    /// Vision only: reachable share of the arithmetic peak.
    pub compute: f64,
    /// Sustained share of the memory's peak bandwidth.
    pub bandwidth: f64,
    /// Vision only: utilisation on top of `compute`.
    pub vision_utilisation: f64,
    /// Language models: utilisation of the raw arithmetic peak.
    pub llm_utilisation: f64,
}

/// Time that one decoder layer takes beside its memory traffic, in microseconds: launching kernels,
/// waiting between them, normalising. What makes small models slower than their bytes say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LaunchTime {
    /// The least that is plausible.
    pub low_us: f64,
    /// The usual.
    pub usual_us: f64,
    /// The most that is plausible.
    pub high_us: f64,
    /// Where they come from.
    pub calibration: Calibration,
}

/// The general-purpose cores of a chip.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CpuComplex {
    /// How many.
    pub cores: u32,
    /// Their microarchitecture.
    pub microarchitecture: String,
    /// Their clock.
    pub clock_ghz: f64,
}

/// A rate that somebody measured or took from a measurement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RateAnchor {
    /// The model's key.
    pub model: String,
    /// The rate.
    pub tokens_per_second: f64,
    /// Share of the memory that the run had: 1 on an idle chip.
    pub npu_share: f64,
    /// Where it comes from.
    pub calibration: Calibration,
}

/// A language-model run measured under one workload; what was not measured is `None`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MeasuredCell {
    /// The model's key.
    pub model: String,
    /// The workload's id.
    pub workload: String,
    /// Generated tokens per second.
    pub decode_tokens_per_second: f64,
    /// Prompt tokens per second.
    pub prefill_tokens_per_second: Option<f64>,
    /// Time to the first token, host time included.
    pub ttft_s: Option<f64>,
    /// Host time.
    pub host_ms: Option<f64>,
    /// Prompt of the run; `None` where it was that of the question.
    pub prompt_tokens: Option<u64>,
    /// Share of the memory that the run had.
    pub npu_share: f64,
    /// Where it comes from.
    pub calibration: Calibration,
}

/// A vision network measured on a tier.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VisionAnchor {
    /// The network's key.
    pub model: String,
    /// Resolution of its input, as people write it.
    pub input_resolution: String,
    /// Time of one inference.
    pub latency_ms: f64,
    /// Precision that it ran in.
    pub precision: Precision,
    /// Where it comes from.
    pub calibration: Calibration,
}

/// What was measured on a tier.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Measurements {
    /// Decode rates by model, whatever the workload.
    pub decode: Vec<RateAnchor>,
    /// Prefill rates by model.
    pub prefill: Vec<RateAnchor>,
    /// Runs by model and workload.
    pub cells: Vec<MeasuredCell>,
    /// Vision networks.
    pub vision: Vec<VisionAnchor>,
    /// Perception stages on the general-purpose cores.
    pub perception: Vec<PerceptionAnchor>,
}

/// What a tier with exchanged memory was before.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StockMemory {
    /// Name of the tier as sold: what measurements are found by.
    pub name: String,
    /// Its memory as sold.
    pub memory: MemoryInterface,
}

/// One class of chip.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tier {
    /// Its name.
    pub name: String,
    /// Peak arithmetic.
    pub peaks: Peaks,
    /// Its memory.
    pub memory: MemoryInterface,
    /// Size of the memory, in decimal gigabytes.
    pub capacity_gb: f64,
    /// The share of peaks that work reaches.
    pub efficiency: Efficiency,
    /// Time per layer beside memory traffic.
    pub launch: LaunchTime,
    /// Host time of one request where nobody says.
    pub overhead_ms: f64,
    /// Share of the memory bandwidth that a model gets beside everything else on the chip.
    pub npu_share: f64,
    /// Thermal design power; shown, never computed with.
    pub tdp_w: f64,
    /// Tiers of one family scale into each other.
    pub family: String,
    /// What it can run; `None` where only its peaks are known.
    pub capabilities: Option<CapabilityTable>,
    /// For custom tiers, how far up the precisions it goes.
    pub rung: Option<PrecisionRung>,
    /// Its general-purpose cores, where known.
    pub cpu: Option<CpuComplex>,
    /// Where the figures come from.
    pub calibration: Calibration,
    /// What it was before its memory was exchanged; `None` for a tier as sold.
    pub stock: Option<StockMemory>,
    /// What was measured on it.
    pub measurements: Measurements,
}

impl Tier {
    /// Sustained bandwidth in GB/s, before it is shared.
    ///
    /// **Formula**: peak x bandwidth efficiency.
    pub fn effective_bandwidth_gb_s(&self) -> f64 {
        self.memory.bandwidth_gb_s * self.efficiency.bandwidth
    }

    /// Reachable arithmetic for vision networks in TOPS. Not for language models: those take the raw
    /// peak times [`Efficiency::llm_utilisation`].
    ///
    /// **Formula**: peak x compute efficiency.
    pub fn effective_vision_tops(&self, dtype: Dtype) -> f64 {
        self.peaks.of(dtype) * self.efficiency.compute
    }

    /// The name that measurements are found by: that of the tier as sold.
    pub fn lookup_name(&self) -> &str {
        self.stock.as_ref().map_or(&self.name, |stock| &stock.name)
    }

    /// Bandwidth of the memory as sold.
    pub fn stock_bandwidth_gb_s(&self) -> f64 {
        self.stock.as_ref().map_or(self.memory.bandwidth_gb_s, |stock| stock.memory.bandwidth_gb_s)
    }

    /// Whether its memory was exchanged.
    pub const fn is_memory_clone(&self) -> bool {
        self.stock.is_some()
    }

    /// How it runs a precision.
    pub fn capability(&self, precision: Precision) -> Capability {
        let mut capability = match self.capabilities {
            Some(table) => table.entry(precision),
            None => probed(&self.peaks, precision),
        };
        if let (Some(rung), true) = (self.rung, capability.level.is_executable()) {
            capability.path = rung.execution_dtype();
        }
        capability
    }
}
