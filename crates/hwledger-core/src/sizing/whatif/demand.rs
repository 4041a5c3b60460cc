//! What a subsystem of a workload demands of a chip.

use serde::{Deserialize, Serialize};

use super::profile::Profile;
use crate::sizing::error::{SizingError, not_negative, positive};
use crate::sizing::precision::Dtype;

/// The engines of a chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each name is the field's own term for the engine")]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    Npu,
    Cpu,
    Gpu,
    Vpu,
    Isp,
    Dsp,
    RtCore,
}

impl Engine {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Npu => "npu",
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
            Self::Vpu => "vpu",
            Self::Isp => "isp",
            Self::Dsp => "dsp",
            Self::RtCore => "rt_core",
        }
    }
}

/// What one subsystem demands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    /// The subsystem.
    pub name: String,
    /// The engine that it runs on.
    pub target: Engine,
    /// Arithmetic, in 10^12 operations per second.
    pub tops: f64,
    /// What the arithmetic runs in; `None` where any will do.
    pub precision: Option<Dtype>,
    /// General-purpose cores.
    pub cpu_cores: f64,
    /// Pixels to encode or decode, in 10^6 per second.
    pub megapixels_per_second: f64,
    /// Memory traffic in decimal GB/s.
    pub bandwidth_gb_s: f64,
    /// Memory in decimal megabytes.
    pub capacity_mb: f64,
    /// Its latency that 99 in 100 stay below.
    pub p99_ms: Option<f64>,
    /// Remarks.
    pub notes: String,
}

impl Demand {
    /// A subsystem that demands nothing yet.
    pub fn new(name: impl Into<String>, target: Engine) -> Self {
        Self {
            name: name.into(),
            target,
            tops: 0.0,
            precision: None,
            cpu_cores: 0.0,
            megapixels_per_second: 0.0,
            bandwidth_gb_s: 0.0,
            capacity_mb: 0.0,
            p99_ms: None,
            notes: String::new(),
        }
    }
}

/// A language model that must keep up a rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LlmDemand {
    /// Whether it runs at all.
    pub is_active: bool,
    /// Resident parameters in 10^9.
    pub params_b: f64,
    /// Parameters that one token reads, in 10^9.
    pub active_params_b: f64,
    /// Bytes of a parameter.
    pub bytes_per_param: f64,
    /// What the arithmetic runs in.
    pub precision: Dtype,
    /// The rate.
    pub tokens_per_second: f64,
    /// Bytes of cache that one token reads, in decimal megabytes.
    pub cache_mb: f64,
}

impl LlmDemand {
    /// Bytes of a parameter by the name of its width: half for 4-bit integers, one for 8 bits, two for
    /// 16 bits, and one where the name says nothing.
    pub fn bytes_of(name: &str) -> f64 {
        match name {
            "int4" => 0.5,
            "fp16" | "bf16" => 2.0,
            _ => 1.0,
        }
    }

    /// What it demands of the NPU; nothing where it is not active.
    ///
    /// **Formula**: GB/s = (active x bytes + cache) x rate; TOPS = 2 x active x rate / 1000; MB =
    /// resident x 1000 x bytes + cache; ms = 1000 / rate.
    ///
    /// **Units**: parameters in 10^9, GB = 1000 MB = 10^9 bytes.
    pub fn demand(&self, name: &str) -> Result<Demand, SizingError> {
        let mut demand = Demand::new(name, Engine::Npu);
        if !self.is_active {
            return Ok(demand);
        }
        let rate = positive("tokens per second", self.tokens_per_second)?;
        let active = not_negative("active parameters", self.active_params_b)?;
        let resident = not_negative("parameters", self.params_b)?;
        let cache_mb = not_negative("cache in MB", self.cache_mb)?;
        let bytes = not_negative("bytes per parameter", self.bytes_per_param)?;
        demand.bandwidth_gb_s = (active * bytes + cache_mb / 1000.0) * rate;
        demand.tops = 2.0 * active * rate / 1000.0;
        demand.precision = Some(self.precision);
        demand.capacity_mb = resident * 1000.0 * bytes + cache_mb;
        demand.p99_ms = Some(1000.0 / rate);
        Ok(demand)
    }
}

/// Arithmetic of a profile that work reaches, in TOPS: the peak of a precision (16-bit floats where
/// the profile states none) times the profile's `npu.efficiency_factor`, or `efficiency` without one.
pub(super) fn effective_tops(profile: &Profile, precision: Dtype, efficiency: f64) -> f64 {
    let peak = |dtype: Dtype| profile.number(&format!("npu.tops_{}", dtype.name()));
    let factor = profile.number("npu.efficiency_factor").unwrap_or(efficiency);
    peak(precision).or_else(|| peak(Dtype::Bf16)).unwrap_or_default() * factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_demands_what_its_bytes_and_operations_say() {
        let model = LlmDemand {
            is_active: true,
            params_b: 7.0,
            active_params_b: 7.0,
            bytes_per_param: LlmDemand::bytes_of("int4"),
            precision: Dtype::Int8,
            tokens_per_second: 20.0,
            cache_mb: 0.0,
        };
        let demand = model.demand("assistant").expect("sound figures");
        assert!((demand.bandwidth_gb_s - 70.0).abs() < 1e-9);
        assert!((demand.tops - 0.28).abs() < 1e-9);
        assert!((demand.capacity_mb - 3500.0).abs() < 1e-9);
        assert_eq!(demand.p99_ms, Some(50.0));
        let idle = LlmDemand { is_active: false, ..model }.demand("assistant").expect("sound figures");
        assert_eq!(idle, Demand::new("assistant", Engine::Npu));
        assert!(LlmDemand { tokens_per_second: 0.0, ..model }.demand("assistant").is_err());
    }

    #[test]
    fn a_precision_that_the_profile_lacks_falls_back_to_16_bits() {
        let mut profile = Profile::default();
        profile.set("npu.tops_bf16", 100.0).expect("a sound path");
        assert!((effective_tops(&profile, Dtype::Fp4, 0.55) - 55.0).abs() < 1e-9);
        profile.set("npu.efficiency_factor", 0.5).expect("a sound path");
        assert!((effective_tops(&profile, Dtype::Bf16, 0.55) - 50.0).abs() < 1e-9);
    }
}
