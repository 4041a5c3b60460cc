//! The roofline: the least time that memory traffic and arithmetic take.

use super::{Question, Regime};
use crate::sizing::capability::Capability;
use crate::sizing::precision::{Dtype, Fp4Maturity};
use crate::sizing::tier::Tier;

/// What the arithmetic runs in: the path that the capability names, whatever the model's nominal type.
pub(super) fn execution_dtype(question: &Question<'_>, capability: Capability) -> Dtype {
    match (capability.path, question.fp4_maturity) {
        (Dtype::Fp4, Fp4Maturity::Immature) => Dtype::Bf16,
        (path, _) => path,
    }
}

/// The parts of a token's and of a prompt's time, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Floors {
    /// Reading the active weights and the cache for one token.
    pub(super) decode_bandwidth_ms: f64,
    /// The arithmetic of one token.
    pub(super) decode_compute_ms: f64,
    /// What the layers of one token take beside both: least, usual, most.
    pub(super) launch_ms: [f64; 3],
    /// Reading the weights that the prompt touches.
    pub(super) prefill_bandwidth_ms: f64,
    /// The arithmetic of the prompt.
    pub(super) prefill_compute_ms: f64,
    /// Gigabytes that one token reads.
    pub(super) decode_gb: f64,
}

/// Usable arithmetic of language models, in GOP per millisecond (TOPS).
///
/// **Formula**: raw peak of the execution path x utilisation.
pub(super) fn usable_tops(tier: &Tier, path: Dtype) -> f64 {
    tier.peaks.of(path) * tier.efficiency.llm_utilisation
}

impl Floors {
    /// The parts for a question whose arithmetic runs in `path`.
    ///
    /// **Formula**, with B = peak bandwidth x efficiency x share, T = peak of the path x utilisation,
    /// a = active parameters:
    ///
    /// * token, memory: (a x bytes per parameter + cache at the mean context) / B
    /// * token, arithmetic: 2 a / T
    /// * token, launch: layers x time per layer
    /// * prompt, memory: weights that the prompt touches / B
    /// * prompt, arithmetic: 2 a x prompt / T
    ///
    /// **Units**: GB = 10^9 bytes, GB/s, TOPS; GB / (GB/s) in seconds, 10^9 operations / TOPS in ms.
    ///
    /// **Assumptions**: the mean context is the prompt and half of what is generated; the arithmetic
    /// of attention is left out (it is small below a context of about 10,000 tokens).
    pub(super) fn of(question: &Question<'_>, path: Dtype) -> Self {
        let Question { model, tier, .. } = *question;
        let (prompt, generated) = (question.prompt_tokens as f64, question.decode_tokens as f64);
        let bandwidth = tier.effective_bandwidth_gb_s() * question.share();
        let tops = usable_tops(tier, path);
        let operations = 2.0 * model.active_params_b;
        let decode_gb = model.active_params_b * model.bytes_per_param() + model.cache_gb(prompt + generated / 2.0);
        let launch = &tier.launch;
        Self {
            decode_bandwidth_ms: 1000.0 * decode_gb / bandwidth,
            decode_compute_ms: operations / tops,
            launch_ms: [launch.low_us, launch.usual_us, launch.high_us].map(|us| us * model.layers as f64 / 1000.0),
            prefill_bandwidth_ms: 1000.0 * model.prompt_weights_gb(prompt) / bandwidth,
            prefill_compute_ms: operations * prompt / tops,
            decode_gb,
        }
    }

    /// The larger of memory traffic and arithmetic of one token.
    pub(super) const fn decode_ms(&self) -> f64 {
        self.decode_bandwidth_ms.max(self.decode_compute_ms)
    }

    /// What takes most of a token's time.
    pub(super) const fn regime(&self) -> Regime {
        if self.launch_ms[1] > self.decode_ms() {
            Regime::LaunchBound
        } else if self.decode_bandwidth_ms >= self.decode_compute_ms {
            Regime::BandwidthBound
        } else {
            Regime::ComputeBound
        }
    }

    /// Whether the prompt waits for memory rather than for arithmetic.
    pub(super) const fn is_prefill_bandwidth_bound(&self) -> bool {
        self.prefill_bandwidth_ms >= self.prefill_compute_ms
    }
}
