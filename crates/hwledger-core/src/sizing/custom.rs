//! Tiers that the registry does not hold, made from a class.

use serde::{Deserialize, Serialize};

use super::Compatibility;
use super::capability::CapabilityTable;
use super::error::{SizingError, not_negative, positive, share};
use super::memory::{MemoryInterface, MemoryKind};
use super::precision::PrecisionRung;
use super::provenance::{Calibration, Confidence, Method};
use super::tier::{Efficiency, LaunchTime, Measurements, Peaks, Tier};
use crate::nearest::folded;

/// The class of a custom tier: which efficiencies and capabilities it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TierClass {
    /// Like the Neutron tiers.
    Neutron,
    /// Like NPU Low-LP5X.
    Lp5x64,
    /// Like NPU High.
    Lp5x128,
    /// Like NPU Mid.
    Lp5x128Int8,
    /// Like a discrete card.
    GddrClass,
    /// Nothing is known; capabilities follow the peaks.
    Unknown,
}

impl TierClass {
    /// All classes.
    pub const ALL: [Self; 6] =
        [Self::Neutron, Self::Lp5x64, Self::Lp5x128, Self::Lp5x128Int8, Self::GddrClass, Self::Unknown];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Neutron => "neutron",
            Self::Lp5x64 => "lp5x_64",
            Self::Lp5x128 => "lp5x_128",
            Self::Lp5x128Int8 => "lp5x_128_int8",
            Self::GddrClass => "gddr_class",
            Self::Unknown => "unknown",
        }
    }

    /// The class of a name.
    ///
    /// **Errors**: a name that is no class; the hint lists all of them.
    pub fn find(name: &str) -> Result<Self, SizingError> {
        let found = Self::ALL.into_iter().find(|class| folded(class.name()) == folded(name));
        found.ok_or_else(|| SizingError::unknown("tier class", name, Self::ALL.into_iter().map(Self::name)))
    }

    const fn efficiency(self) -> Efficiency {
        let (compute, bandwidth, vision_utilisation, llm_utilisation) = match self {
            Self::Neutron | Self::Lp5x64 => (0.60, 0.70, 0.19, 0.10),
            Self::Lp5x128 => (0.70, 0.70, 0.50, 0.11),
            Self::Lp5x128Int8 | Self::Unknown => (0.65, 0.70, 0.45, 0.10),
            Self::GddrClass => (0.70, 0.85, 0.85, 0.10),
        };
        Efficiency { compute, bandwidth, vision_utilisation, llm_utilisation }
    }

    const fn capabilities(self) -> Option<CapabilityTable> {
        match self {
            Self::Neutron | Self::Lp5x128Int8 => Some(CapabilityTable::Int8Only),
            Self::Lp5x64 | Self::Lp5x128 => Some(CapabilityTable::FullNpu),
            Self::GddrClass => Some(CapabilityTable::Sm120),
            Self::Unknown => None,
        }
    }
}

/// What a custom tier is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomTier {
    /// Its name.
    pub name: String,
    /// Its class.
    pub class: TierClass,
    /// Peak arithmetic.
    pub peaks: Peaks,
    /// Kind of memory.
    pub memory: MemoryKind,
    /// Width of the memory in bits.
    pub bus_bits: u32,
    /// Transfers per pin, in 10^9 per second.
    pub rate_gt_s: f64,
    /// Size of the memory, in decimal gigabytes.
    pub capacity_gb: f64,
    /// Thermal design power, shown only.
    pub tdp_w: f64,
    /// In the place of the class's share of peak arithmetic.
    pub compute_efficiency: Option<f64>,
    /// In the place of the class's share of peak bandwidth.
    pub bandwidth_efficiency: Option<f64>,
    /// How far up the precisions the silicon goes; the class's own table where `None`.
    pub rung: Option<PrecisionRung>,
}

/// Peaks with those above a rung taken away.
const fn below(peaks: Peaks, rung: Option<PrecisionRung>) -> Peaks {
    match rung {
        None | Some(PrecisionRung::Int8Fp8Fp4) => peaks,
        Some(PrecisionRung::Int8Fp8) => Peaks { fp4_tops: 0.0, ..peaks },
        Some(PrecisionRung::Int8) => Peaks { fp4_tops: 0.0, fp8_tops: 0.0, bf16_tops: 0.0, ..peaks },
    }
}

impl CustomTier {
    /// The tier. Its calibration is always a default of low confidence: nothing about it was measured.
    pub fn build(self, compatibility: Compatibility) -> Result<Tier, SizingError> {
        let peaks = [self.peaks.bf16_tops, self.peaks.int8_tops, self.peaks.fp8_tops, self.peaks.fp4_tops];
        for peak in peaks {
            not_negative("peak TOPS", peak)?;
        }
        positive("memory capacity in GB", self.capacity_gb)?;
        not_negative("power in W", self.tdp_w)?;
        let mut efficiency = self.class.efficiency();
        if let Some(given) = self.compute_efficiency {
            efficiency.compute = share("compute efficiency", given)?;
        }
        if let Some(given) = self.bandwidth_efficiency {
            efficiency.bandwidth = share("bandwidth efficiency", given)?;
        }
        let is_card = self.class == TierClass::GddrClass;
        let reference = format!("the usual figures of class {}", self.class.name());
        let calibration = Calibration::new(Method::Default, Confidence::Low, reference);
        Ok(Tier {
            peaks: below(self.peaks, self.rung),
            memory: MemoryInterface::new(self.memory, self.bus_bits, self.rate_gt_s, compatibility)?,
            capacity_gb: self.capacity_gb,
            efficiency,
            launch: LaunchTime { low_us: 0.0, usual_us: 75.0, high_us: 150.0, calibration: calibration.clone() },
            overhead_ms: if is_card { 0.3 } else { 1.0 },
            npu_share: if is_card { 1.0 } else { 0.75 },
            tdp_w: self.tdp_w,
            family: format!("{}-custom", self.class.name()),
            capabilities: self.rung.map(CapabilityTable::of_rung).or_else(|| self.class.capabilities()),
            rung: self.rung,
            cpu: None,
            calibration,
            stock: None,
            measurements: Measurements::default(),
            name: self.name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::precision::{Dtype, Precision};
    use super::*;

    fn custom(class: TierClass, rung: Option<PrecisionRung>) -> CustomTier {
        CustomTier {
            name: "prototype".to_owned(),
            class,
            peaks: Peaks { bf16_tops: 100.0, int8_tops: 200.0, fp8_tops: 200.0, fp4_tops: 400.0 },
            memory: MemoryKind::Lpddr5x,
            bus_bits: 128,
            rate_gt_s: 8.4,
            capacity_gb: 32.0,
            tdp_w: 20.0,
            compute_efficiency: None,
            bandwidth_efficiency: None,
            rung,
        }
    }

    #[test]
    fn an_unknown_class_lists_the_valid_ones() {
        let hint = TierClass::find("lp6x").expect_err("no such class").hint().expect("a list");
        for class in TierClass::ALL {
            assert!(hint.contains(class.name()), "{hint}");
        }
    }

    #[test]
    fn whatever_the_class_nothing_about_it_is_trusted() {
        for class in TierClass::ALL {
            let tier = custom(class, None).build(Compatibility::Corrected).expect("a sound tier");
            assert_eq!((tier.calibration.method, tier.calibration.confidence), (Method::Default, Confidence::Low));
            assert!(tier.family.ends_with("-custom"));
        }
    }

    #[test]
    fn a_rung_takes_away_what_is_above_it_and_names_the_execution_path() {
        let build = |rung| custom(TierClass::Lp5x128, Some(rung)).build(Compatibility::Corrected).expect("sound");
        let int8 = build(PrecisionRung::Int8);
        assert!(int8.peaks.bf16_tops + int8.peaks.fp8_tops + int8.peaks.fp4_tops < 1e-9);
        assert_eq!(int8.capability(Precision::Q4Km).path, Dtype::Int8);
        assert!(!int8.capability(Precision::Bf16).level.is_executable());
        let fp8 = build(PrecisionRung::Int8Fp8);
        assert!(fp8.peaks.fp4_tops < 1e-9 && fp8.peaks.bf16_tops > 0.0);
        assert_eq!(fp8.capability(Precision::Q4Km).path, Dtype::Fp8);
        assert_eq!(build(PrecisionRung::Int8Fp8Fp4).capability(Precision::Nvfp4).path, Dtype::Fp4);
    }

    #[test]
    fn without_a_table_the_peaks_decide() {
        let mut unknown = custom(TierClass::Unknown, None);
        unknown.peaks.fp4_tops = 0.0;
        let tier = unknown.build(Compatibility::Corrected).expect("sound");
        assert!(tier.capability(Precision::Bf16).level.is_executable());
        assert!(!tier.capability(Precision::Nvfp4).level.is_executable());
        assert_eq!(tier.capability(Precision::Q4Km).path, Dtype::Int8);
    }

    #[test]
    fn only_sound_figures_make_a_tier() {
        let mut silly = custom(TierClass::Neutron, None);
        silly.bandwidth_efficiency = Some(1.5);
        assert!(silly.build(Compatibility::Corrected).is_err());
        let mut silly = custom(TierClass::Neutron, None);
        silly.capacity_gb = f64::NAN;
        assert!(silly.build(Compatibility::Corrected).is_err());
    }
}
