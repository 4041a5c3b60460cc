//! Private measurements of silicon: their names are public, their values are not.
//!
//! Nothing here prints a value. The types have no `Display` and no serialisation, and their `Debug`
//! writes names only.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Compatibility;
use super::error::SizingError;
use super::pattern::{Multiplier, WorkloadPattern};
use super::precision::Precision;
use super::projection::{AnchorNote, Projection, Question, Source, after, inverse, times};
use super::provenance::Method;
use super::tier::Tier;
use crate::{Basis, Estimate};

/// Tiers that private measurements exist for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpecTier {
    /// NPU Mid.
    Mid,
    /// NPU High.
    High,
}

/// Kinds of arithmetic that private measurements are filed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpecPrecision {
    /// 8-bit integers.
    Int8,
    /// Floats.
    Fp,
}

/// Where in the file a measurement is kept: `mid_int8`, `high_fp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SpecCell {
    /// The tier.
    pub tier: SpecTier,
    /// The arithmetic.
    pub precision: SpecPrecision,
}

impl SpecCell {
    /// All cells.
    pub const ALL: [Self; 4] = [
        Self { tier: SpecTier::Mid, precision: SpecPrecision::Int8 },
        Self { tier: SpecTier::Mid, precision: SpecPrecision::Fp },
        Self { tier: SpecTier::High, precision: SpecPrecision::Int8 },
        Self { tier: SpecTier::High, precision: SpecPrecision::Fp },
    ];

    /// Its name in the file.
    pub const fn name(self) -> &'static str {
        match (self.tier, self.precision) {
            (SpecTier::Mid, SpecPrecision::Int8) => "mid_int8",
            (SpecTier::Mid, SpecPrecision::Fp) => "mid_fp",
            (SpecTier::High, SpecPrecision::Int8) => "high_int8",
            (SpecTier::High, SpecPrecision::Fp) => "high_fp",
        }
    }

    /// The cell of a name.
    pub fn find(name: &str) -> Result<Self, SizingError> {
        let found = Self::ALL.into_iter().find(|cell| cell.name() == name);
        found.ok_or_else(|| SizingError::unknown("anchor cell", name, Self::ALL.into_iter().map(Self::name)))
    }

    /// The cell that a precision on a tier is looked up in, if any.
    pub fn of(tier: &Tier, precision: Precision) -> Option<Self> {
        use Precision::{Bf16, Fp8, Int8, Q4Km};
        let (tier, precision) = match (tier.lookup_name(), precision) {
            ("NPU Mid", Int8 | Q4Km) => (SpecTier::Mid, SpecPrecision::Int8),
            ("NPU High", Int8) => (SpecTier::High, SpecPrecision::Int8),
            ("NPU High", Bf16 | Fp8 | Q4Km) => (SpecTier::High, SpecPrecision::Fp),
            _ => return None,
        };
        Some(Self { tier, precision })
    }
}

/// A language model measured in private. A figure that is absent or zero was not measured.
#[derive(Clone, PartialEq)]
pub struct LlmAnchor {
    /// Generated tokens per second.
    pub decode_tokens_per_second: f64,
    /// Prompt tokens per second.
    pub prefill_tokens_per_second: Option<f64>,
    /// What it took in decimal gigabytes.
    pub memory_gb: Option<f64>,
    /// Context of the run.
    pub sequence_tokens: Option<u64>,
    /// How it was obtained.
    pub method: Option<Method>,
    /// When.
    pub measured_date: Option<String>,
    /// Peak bandwidth of the silicon in decimal GB/s.
    pub peak_bandwidth_gb_s: Option<f64>,
    /// Share of the bandwidth that the run had.
    pub bandwidth_share: f64,
    /// Sustained share of peak bandwidth.
    pub bandwidth_efficiency: f64,
    /// Remarks.
    pub notes: Option<String>,
}

/// A vision network measured in private.
#[derive(Clone, PartialEq)]
pub struct CnnAnchor {
    /// Time of one inference.
    pub latency_ms: f64,
    /// Inferences per second.
    pub frames_per_second: f64,
    /// What it took in decimal megabytes.
    pub memory_mb: Option<f64>,
    /// Resolution of its input.
    pub input_resolution: Option<String>,
    /// How it was obtained.
    pub method: Option<Method>,
    /// When.
    pub measured_date: Option<String>,
    /// Peak bandwidth of the silicon in decimal GB/s.
    pub peak_bandwidth_gb_s: Option<f64>,
    /// Share of the bandwidth that the run had.
    pub bandwidth_share: f64,
    /// Sustained share of peak bandwidth.
    pub bandwidth_efficiency: f64,
    /// Remarks.
    pub notes: Option<String>,
}

impl fmt::Debug for LlmAnchor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LlmAnchor(private)")
    }
}

impl fmt::Debug for CnnAnchor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CnnAnchor(private)")
    }
}

/// How a surface marks a figure by its provenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Badge {
    /// Measured.
    Green,
    /// Derived from a measurement.
    Blue,
    /// Stated by the vendor.
    Yellow,
    /// Anything else.
    Orange,
}

impl Badge {
    /// The badge of a method.
    pub const fn of(method: Option<Method>) -> Self {
        match method {
            Some(Method::Measured) => Self::Green,
            Some(Method::DerivedFromMeasured) => Self::Blue,
            Some(Method::VendorSpec) => Self::Yellow,
            _ => Self::Orange,
        }
    }
}

impl LlmAnchor {
    /// Bandwidth that the run achieved, in decimal GB/s, where the peak is known.
    ///
    /// **Formula**: peak x share x efficiency; `share` takes the place of the run's own.
    pub fn achieved_bandwidth_gb_s(&self, share: Option<f64>) -> Option<f64> {
        Some(self.peak_bandwidth_gb_s? * share.unwrap_or(self.bandwidth_share) * self.bandwidth_efficiency)
    }

    /// Bytes that one token moved, as the achieved bandwidth and the rate say.
    pub fn bytes_per_token(&self, share: Option<f64>) -> Option<f64> {
        Some(self.achieved_bandwidth_gb_s(share)? * 1e9 / self.decode_tokens_per_second)
    }
}

/// All private measurements that were read.
#[derive(Clone, Default, PartialEq)]
pub struct PrivateAnchors {
    /// Language models by cell and key.
    pub llm: BTreeMap<(SpecCell, String), LlmAnchor>,
    /// Vision networks by cell and key.
    pub cnn: BTreeMap<(SpecCell, String), CnnAnchor>,
}

impl fmt::Debug for PrivateAnchors {
    /// Names only: values never reach a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.llm.keys().chain(self.cnn.keys()).map(|(cell, key)| format!("{}.{key}", cell.name()));
        formatter.write_str("PrivateAnchors ")?;
        formatter.debug_list().entries(names).finish()
    }
}

/// Puts a private measurement in the place of a projection's rates, where one is filed for the
/// model; says whether it did.
///
/// `spec_keys` leads from the model's key to its key in the file. Only measurements count: a figure
/// that was stated or derived stays out. The decode rate follows the bandwidth of memory clones and
/// the share that is asked for; the time to the first token is computed for the prompt that is asked
/// about and keeps the host's time. `pattern` is applied to the measured rates, so a projection that
/// a pattern was applied to already loses nothing.
pub fn overlay(
    projection: &mut Projection,
    question: &Question<'_>,
    anchors: &PrivateAnchors,
    spec_keys: &BTreeMap<String, String>,
    pattern: Option<&WorkloadPattern>,
) -> bool {
    let Question { model, tier, .. } = *question;
    let is_reference = question.compatibility == Compatibility::Reference;
    let found = SpecCell::of(tier, model.scheme.precision).and_then(|cell| {
        let key = spec_keys.get(&model.key)?;
        Some((cell, key, anchors.llm.get(&(cell, key.clone()))?))
    });
    let Some((cell, key, anchor)) = found else { return false };
    if anchor.method != Some(Method::Measured) || anchor.decode_tokens_per_second <= 0.0 {
        return false;
    }
    let pattern = pattern.filter(|_| !model.is_decode_invariant);
    let (decode, ttft) = pattern.map_or((Multiplier::ONE, Multiplier::ONE), |pattern| (pattern.decode, pattern.ttft));
    let memory = tier.memory.bandwidth_gb_s / tier.stock_bandwidth_gb_s();
    let share = if is_reference { 1.0 } else { question.share() / anchor.bandwidth_share };
    let factor = memory * share;
    let is_scaled = (factor - 1.0).abs() > 1e-12;
    let basis = if is_scaled || pattern.is_some() { Basis::Calibrated } else { Basis::Measured };
    let exact = |value: f64| Estimate { value, low: value, high: value, basis };
    let measured = exact(anchor.decode_tokens_per_second * factor);
    let usual = times(measured, decode.p50);
    projection.decode_tokens_per_second = Estimate { low: usual.low.min(measured.value * decode.p95), ..usual };
    projection.decode_before_pattern = pattern.map(|_| measured);
    projection.pattern = pattern.map(|pattern| pattern.name.clone());
    let prefill = anchor.prefill_tokens_per_second.filter(|rate| *rate > 0.0);
    let is_ttft_replaced = !is_reference || (ttft.p50 - 1.0).abs() > 1e-12;
    if let (Some(rate), true) = (prefill, is_ttft_replaced) {
        let prompt = if is_reference { 1024.0 } else { question.prompt_tokens as f64 };
        let host_s = if is_reference { 0.0 } else { projection.host_s };
        projection.prefill_tokens_per_second = exact(rate);
        let first = after(host_s, inverse(exact(rate), prompt));
        let usual = times(first, ttft.p50);
        projection.ttft_s = Estimate { high: usual.high.max(first.value * ttft.p95), ..usual };
    }
    projection.settle(question.decode_tokens);
    projection.source = Source::MeasuredSiliconAnchor;
    projection.anchor = Some(AnchorNote {
        spec_cell: cell.name().to_owned(),
        spec_key: key.clone(),
        measured_date: anchor.measured_date.clone(),
        is_bandwidth_projected: tier.is_memory_clone(),
    });
    true
}

#[cfg(test)]
mod tests {
    use super::super::{MemoryUpgrade, SizingModel, project, tier};
    use super::*;

    fn anchors() -> (PrivateAnchors, BTreeMap<String, String>) {
        let anchor = LlmAnchor {
            decode_tokens_per_second: 41.375,
            prefill_tokens_per_second: Some(2000.0),
            memory_gb: Some(19.0),
            sequence_tokens: Some(1024),
            method: Some(Method::Measured),
            measured_date: Some("2026-01-02".to_owned()),
            peak_bandwidth_gb_s: Some(134.4),
            bandwidth_share: 0.75,
            bandwidth_efficiency: 0.70,
            notes: Some("not to be told".to_owned()),
        };
        let cell = SpecCell::find("mid_int8").expect("a cell");
        let all = PrivateAnchors { llm: [((cell, "moe".to_owned()), anchor)].into(), ..PrivateAnchors::default() };
        (all, [("qwen3_30b_a3b".to_owned(), "moe".to_owned())].into())
    }

    fn question(tier: &Tier) -> Question<'_> {
        let model = SizingModel::find("qwen3_30b_a3b").expect("a reference model");
        Question { prompt_tokens: 4000, host_ms: Some(50.0), ..Question::new(model, tier) }
    }

    fn overlaid(tier: &Tier) -> Projection {
        let (anchors, keys) = anchors();
        let question = question(tier);
        let mut projection = project(&question).expect("sound").projected().expect("it fits").clone();
        assert!(overlay(&mut projection, &question, &anchors, &keys, None));
        projection
    }

    #[test]
    fn printing_shows_names_and_no_values() {
        let (anchors, _) = anchors();
        let text = format!("{anchors:?} {:?}", anchors.llm.values().collect::<Vec<_>>());
        assert!(text.contains("mid_int8.moe"), "{text}");
        for secret in ["41", "2000", "19", "1024", "2026", "134", "0.7", "told"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }

    #[test]
    fn d11_the_overlay_keeps_host_time_and_the_prompt_that_was_asked_about() {
        let projection = overlaid(tier("NPU Mid").expect("a tier of the registry"));
        assert!((projection.ttft_s.value - (0.05 + 4000.0 / 2000.0)).abs() < 1e-9);
        let expected = projection.ttft_s.value + 200.0 / 41.375;
        assert!((projection.total_s.value - expected).abs() < 1e-9);
        assert_eq!(
            (projection.source, projection.decode_tokens_per_second.basis),
            (Source::MeasuredSiliconAnchor, Basis::Measured)
        );
    }

    #[test]
    fn memory_clones_scale_private_measurements() {
        let mid = tier("NPU Mid").expect("a tier of the registry");
        let clone = mid.with_memory(MemoryUpgrade::OFFERED[0], Compatibility::Corrected).expect("a real part");
        let projection = overlaid(&clone);
        assert!((projection.decode_tokens_per_second.value - 41.375 * 179.2 / 134.4).abs() < 1e-9);
        assert!(projection.anchor.is_some_and(|note| note.is_bandwidth_projected));
    }

    #[test]
    fn routing_is_that_of_the_reference() {
        let cell = |name: &str, precision| SpecCell::of(tier(name).expect("known"), precision).map(SpecCell::name);
        assert_eq!(cell("NPU Mid", Precision::Q4Km), Some("mid_int8"));
        assert_eq!(cell("NPU Mid", Precision::Bf16), None);
        assert_eq!(cell("NPU High", Precision::Int8), Some("high_int8"));
        assert_eq!(cell("NPU High", Precision::Fp8), Some("high_fp"));
        assert_eq!(cell("NPU High", Precision::Nvfp4), None);
        assert_eq!(cell("RTX 5090", Precision::Q4Km), None);
    }

    #[test]
    fn only_measurements_take_part() {
        let (mut anchors, keys) = anchors();
        for anchor in anchors.llm.values_mut() {
            anchor.method = Some(Method::VendorSpec);
        }
        let question = question(tier("NPU Mid").expect("known"));
        let mut projection = project(&question).expect("sound").projected().expect("it fits").clone();
        let before = projection.clone();
        assert!(!overlay(&mut projection, &question, &anchors, &keys, None));
        assert_eq!(projection, before);
        assert_eq!(Badge::of(Some(Method::VendorSpec)), Badge::Yellow);
    }

    #[test]
    fn achieved_bandwidth_and_bytes_per_token() {
        let (anchors, _) = anchors();
        let anchor = anchors.llm.values().next().expect("one");
        let achieved = anchor.achieved_bandwidth_gb_s(None).expect("the peak is known");
        assert!((achieved - 134.4 * 0.75 * 0.70).abs() < 1e-9);
        assert!((anchor.bytes_per_token(Some(1.0)).expect("known") - 134.4 * 0.7e9 / 41.375).abs() < 1.0);
    }
}
