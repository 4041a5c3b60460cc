//! The sampler.

use super::candidates::Candidates;
use super::error::SamplingError;
use super::random::Random;
use super::settings::SamplingSettings;
use super::{dry, penalty};

/// The tokens before the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History<'a> {
    /// What the model was given.
    pub prompt: &'a [u32],
    /// What it has replied.
    pub generated: &'a [u32],
}

impl<'a> History<'a> {
    /// The last `count` tokens, the latest first.
    pub(super) fn last(self, count: usize) -> impl Iterator<Item = u32> + 'a {
        self.generated.iter().rev().chain(self.prompt.iter().rev()).copied().take(count)
    }
}

/// A chosen token.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: u32,
    /// Natural logarithm of its probability as the model gave it, before any setting.
    pub logprob: f32,
    /// The tokens that the model found likeliest, with the same logarithm, the likeliest first.
    pub top: Vec<(u32, f32)>,
}

/// Chooses tokens.
#[derive(Clone, Debug)]
pub struct Sampler {
    settings: SamplingSettings,
    random: Random,
}

impl Sampler {
    /// A sampler at the start of its random numbers.
    pub fn new(settings: SamplingSettings) -> Result<Self, SamplingError> {
        settings.check()?;
        let random = Random::new(settings.seed);
        Ok(Self { settings, random })
    }

    /// Its settings.
    pub fn settings(&self) -> &SamplingSettings {
        &self.settings
    }

    /// Chooses a token. The logits are changed on the way; minus infinity marks tokens that must not be chosen.
    ///
    /// One random number is drawn per token, none if the temperature is 0.
    pub fn sample(&mut self, logits: &mut [f32], history: History<'_>) -> Result<Choice, SamplingError> {
        let normaliser = log_sum(logits)?;
        let top = top(logits, self.settings.top_logprobs, normaliser);
        // Penalties keep the original logit only where nothing else remembers it.
        let original = logits.to_vec();
        for &(token, bias) in &self.settings.logit_bias {
            let tokens = logits.len();
            *logits.get_mut(token as usize).ok_or(SamplingError::Bias { token, tokens })? += bias;
        }
        penalty::penalise(logits, history, &self.settings);
        dry::penalise(logits, history, &self.settings.dry);
        let token = if self.settings.temperature == 0.0 { likeliest(logits) } else { self.draw(logits) };
        let token = token.ok_or(SamplingError::NoToken)?;
        Ok(Choice { token, logprob: logprob(original[token as usize], normaliser), top })
    }

    fn draw(&mut self, logits: &mut [f32]) -> Option<u32> {
        let settings = &self.settings;
        for logit in logits.iter_mut() {
            *logit /= settings.temperature;
        }
        // A tiny temperature makes large logits infinite: the largest is then certain.
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if most == f32::INFINITY {
            return likeliest(logits);
        }
        let mut candidates = Candidates::new(logits, settings.top_k);
        candidates.top_p(settings.top_p);
        candidates.min_p(settings.min_p);
        candidates.typical_p(settings.typical_p);
        candidates.at(self.random.fraction()).map(|candidate| candidate.token)
    }
}

/// Logarithm of the sum of the logits' exponentials.
fn log_sum(logits: &[f32]) -> Result<f64, SamplingError> {
    let mut most = f32::NEG_INFINITY;
    for (token, &found) in logits.iter().enumerate() {
        if found.is_nan() || found == f32::INFINITY {
            return Err(SamplingError::Logit { token, found });
        }
        most = most.max(found);
    }
    if most == f32::NEG_INFINITY {
        return Err(SamplingError::NoToken);
    }
    let sum: f64 = logits.iter().map(|&logit| f64::from((logit - most).exp())).sum();
    Ok(f64::from(most) + sum.ln())
}

#[expect(clippy::cast_possible_truncation, reason = "logarithms are reported as the model computes")]
fn logprob(logit: f32, normaliser: f64) -> f32 {
    (f64::from(logit) - normaliser) as f32
}

fn top(logits: &[f32], count: usize, normaliser: f64) -> Vec<(u32, f32)> {
    if count == 0 {
        return Vec::new();
    }
    let candidates = Candidates::new(logits, count);
    candidates.list.iter().map(|candidate| (candidate.token, logprob(candidate.logit, normaliser))).collect()
}

/// The token with the largest logit, the lowest id among equals.
fn likeliest(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(u32, f32)> = None;
    for (token, &logit) in (0..).zip(logits) {
        if logit > best.map_or(f32::NEG_INFINITY, |(_, most)| most) {
            best = Some((token, logit));
        }
    }
    best.map(|(token, _)| token)
}
