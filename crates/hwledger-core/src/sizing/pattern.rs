//! Workload patterns: how a kind of use moves the rates of a projection.

use serde::{Deserialize, Serialize};

use super::error::{SizingError, positive};
use super::model::SizingModel;
use super::projection::{Projection, times};
use super::provenance::{Calibration, Confidence, Method};
use crate::Estimate;

/// The patterns that surfaces know, the first being what the others are relative to.
pub const PATTERN_NAMES: [&str; 5] =
    ["plain_chat", "long_form_reasoning", "tool_use", "rag_long_context", "cold_start"];

/// A factor, in the usual case and in the slow tail.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Multiplier {
    /// Half of the runs are better.
    pub p50: f64,
    /// 95 in 100 runs are better.
    pub p95: f64,
}

impl Multiplier {
    /// Changes nothing.
    pub const ONE: Self = Self { p50: 1.0, p95: 1.0 };
}

/// A kind of use.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkloadPattern {
    /// Its name.
    pub name: String,
    /// On the decode rate.
    pub decode: Multiplier,
    /// On the time to the first token.
    pub ttft: Multiplier,
    /// Where the factors come from.
    pub calibration: Calibration,
}

impl WorkloadPattern {
    /// The known patterns. Their factors are 1: nobody has measured enough to say otherwise, and
    /// whoever has brings their own.
    pub fn standard() -> Vec<Self> {
        let neutral = |name: &&str| Self {
            name: (*name).to_owned(),
            decode: Multiplier::ONE,
            ttft: Multiplier::ONE,
            calibration: Calibration::new(Method::Default, Confidence::Low, "no measurement; changes nothing"),
        };
        PATTERN_NAMES.iter().map(neutral).collect()
    }

    /// The standard pattern of a name.
    pub fn find(name: &str) -> Result<Self, SizingError> {
        let found = Self::standard().into_iter().find(|pattern| pattern.name == name);
        found.ok_or_else(|| SizingError::unknown("workload pattern", name, PATTERN_NAMES.into_iter()))
    }

    /// A pattern by what was measured under it and under the reference pattern.
    ///
    /// **Formula**: factor = figure under the pattern / figure under the reference pattern. Both must
    /// come from one stack: the factor then says what the use changes, not what the stack does.
    pub fn of_measurements(
        name: &str,
        decode: (Multiplier, f64),
        ttft: (Multiplier, f64),
        calibration: Calibration,
    ) -> Result<Self, SizingError> {
        let ratio = |(measured, reference): (Multiplier, f64)| {
            positive("reference figure", reference)?;
            let p50 = positive("figure of the pattern", measured.p50)? / reference;
            Ok(Multiplier { p50, p95: positive("figure of the pattern", measured.p95)? / reference })
        };
        Ok(Self { name: name.to_owned(), decode: ratio(decode)?, ttft: ratio(ttft)?, calibration })
    }

    /// Applies the pattern to a projection of `model`.
    ///
    /// The usual factor moves the figures, the tail's factor widens the interval to the slow side.
    /// A model whose decode rate is the same whatever the use is left alone.
    pub fn apply(&self, projection: &mut Projection, model: &SizingModel, decode_tokens: u64) {
        if model.is_decode_invariant {
            return;
        }
        let before = projection.decode_tokens_per_second;
        let usual = times(before, self.decode.p50);
        projection.decode_tokens_per_second = Estimate { low: usual.low.min(before.value * self.decode.p95), ..usual };
        let first = projection.ttft_s;
        let usual = times(first, self.ttft.p50);
        projection.ttft_s = Estimate { high: usual.high.max(first.value * self.ttft.p95), ..usual };
        projection.decode_before_pattern = Some(before);
        projection.pattern = Some(self.name.clone());
        projection.assumptions.note("workload pattern", &self.name, self.calibration.reference.clone());
        projection.settle(decode_tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Question, project, tier};
    use super::*;

    fn projected(model: &SizingModel) -> Projection {
        let question = Question::new(model, tier("NPU High").expect("a tier of the registry"));
        project(&question).expect("a sound question").projected().expect("it fits").clone()
    }

    fn slow() -> WorkloadPattern {
        let calibration = Calibration::new(Method::Measured, Confidence::Low, "a run");
        let decode = (Multiplier { p50: 50.0, p95: 20.0 }, 100.0);
        let ttft = (Multiplier { p50: 0.2, p95: 1.0 }, 0.1);
        WorkloadPattern::of_measurements("tool_use", decode, ttft, calibration).expect("sound figures")
    }

    #[test]
    fn the_tail_widens_the_interval_and_the_unchanged_rate_is_kept() {
        let model =
            SizingModel { is_decode_invariant: false, ..SizingModel::find("qwen2_5_7b").expect("known").clone() };
        let (before, mut after) = (projected(&model), projected(&model));
        slow().apply(&mut after, &model, 200);
        let rate = after.decode_tokens_per_second;
        assert!((rate.value - before.decode_tokens_per_second.value * 0.5).abs() < 1e-9);
        assert!(rate.low <= before.decode_tokens_per_second.value * 0.2 + 1e-9 && rate.high >= rate.value);
        assert!((after.ttft_s.value - before.ttft_s.value * 2.0).abs() < 1e-9);
        assert!(after.ttft_s.high >= before.ttft_s.value * 10.0 - 1e-9);
        assert_eq!(after.decode_before_pattern, Some(before.decode_tokens_per_second));
        assert!((after.total_s.value - (after.ttft_s.value + 200.0 / rate.value)).abs() < 1e-9);
    }

    #[test]
    fn models_take_part_only_if_they_say_so_and_standard_patterns_change_nothing() {
        let model = SizingModel::find("qwen2_5_7b").expect("known");
        let mut after = projected(model);
        slow().apply(&mut after, model, 200);
        assert_eq!(after, projected(model));
        assert!(WorkloadPattern::standard().iter().all(|pattern| pattern.decode == Multiplier::ONE));
        assert!(WorkloadPattern::find("chat").is_err());
    }
}
