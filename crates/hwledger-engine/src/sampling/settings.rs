//! How tokens are chosen.

use super::error::SamplingError;

/// DRY: tokens that would repeat a stretch of text lose more the longer the stretch.
///
/// **Formula** a token that would extend a repetition of `n` tokens, `n >= allowed_length`,
/// loses `multiplier * base^(n - allowed_length)`.
/// **Source** p-e-w, text-generation-webui, pull request 5677.
#[derive(Clone, Debug, PartialEq)]
pub struct Dry {
    /// Strength; 0 is off.
    pub multiplier: f32,
    /// Growth per repeated token.
    pub base: f32,
    /// Longest repetition that costs nothing, plus one.
    pub allowed_length: usize,
    /// How many of the last tokens are searched.
    pub window: usize,
    /// Tokens that no repetition reaches across, such as line ends and quotes.
    pub breakers: Vec<u32>,
}

impl Default for Dry {
    fn default() -> Self {
        Self { multiplier: 0.0, base: 1.75, allowed_length: 2, window: 1024, breakers: Vec::new() }
    }
}

/// How tokens are chosen. The default is greedy: the likeliest token, always,
/// with every other setting such that it changes nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingSettings {
    /// Divides the logits; 0 takes the likeliest token, the lowest id among equals.
    pub temperature: f32,
    /// Keeps so many of the likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the likeliest tokens until their probabilities reach this; 1 keeps all.
    pub top_p: f32,
    /// Drops tokens less likely than this part of the likeliest; 0 keeps all.
    pub min_p: f32,
    /// Keeps the tokens whose information is nearest to the expected, until their
    /// probabilities reach this; 1 keeps all (Meister et al., "Locally Typical Sampling", 2022).
    pub typical_p: f32,
    /// Divides positive logits and multiplies negative ones of tokens within the window;
    /// 1 changes nothing (Keskar et al., "CTRL", 2019).
    pub repetition_penalty: f32,
    /// How many of the last tokens, prompt included, are repeated if chosen again.
    pub repetition_window: usize,
    /// Taken from the logits of tokens that the reply has already.
    pub presence_penalty: f32,
    /// Taken from the logits of tokens once for every time that the reply has them.
    pub frequency_penalty: f32,
    /// Against repeated stretches.
    pub dry: Dry,
    /// Added to the logits of tokens; minus infinity forbids one.
    pub logit_bias: Vec<(u32, f32)>,
    /// Whether the probabilities of tokens are told, and of how many of the likeliest beside the chosen one
    /// ([`Choice::top`](super::Choice::top)). They are computed over the whole vocabulary, so only where asked for.
    pub logprobs: Option<usize>,
    /// Where random numbers start.
    pub seed: u64,
}

impl Default for SamplingSettings {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            repetition_window: 64,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            dry: Dry::default(),
            logit_bias: Vec::new(),
            logprobs: None,
            seed: 0,
        }
    }
}

impl SamplingSettings {
    /// Every setting is within its range.
    pub(super) fn check(&self) -> Result<(), SamplingError> {
        let wrong = |name, found, range| Err(SamplingError::Setting { name, found, range });
        let fractions = [("top_p", self.top_p), ("typical_p", self.typical_p)];
        for (name, found) in fractions {
            if !(found > 0.0 && found <= 1.0) {
                return wrong(name, found, "above 0 and at most 1");
            }
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return wrong("min_p", self.min_p, "from 0 to 1");
        }
        let positive = [("repetition_penalty", self.repetition_penalty), ("dry.base", self.dry.base)];
        for (name, found) in positive {
            if !(found > 0.0 && found.is_finite()) {
                return wrong(name, found, "above 0");
            }
        }
        for (name, found) in [("temperature", self.temperature), ("dry.multiplier", self.dry.multiplier)] {
            if !(found >= 0.0 && found.is_finite()) {
                return wrong(name, found, "0 or more");
            }
        }
        let finite = [("presence_penalty", self.presence_penalty), ("frequency_penalty", self.frequency_penalty)];
        for (name, found) in finite {
            if !found.is_finite() {
                return wrong(name, found, "a finite number");
            }
        }
        for &(_, found) in &self.logit_bias {
            if found.is_nan() || found == f32::INFINITY {
                return wrong("logit_bias", found, "a finite number or minus infinity");
            }
        }
        Ok(())
    }
}
