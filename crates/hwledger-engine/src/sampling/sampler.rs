//! The sampler.

use super::candidates::Candidates;
use super::constraint::Constraint;
use super::error::SamplingError;
use super::random::Random;
use super::settings::SamplingSettings;
use super::{dry, penalty};

/// Logits that are looked at together.
const BLOCK: usize = 256;
/// Logits of a block that are compared at once.
const LANES: usize = 16;

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
    /// Natural logarithm of its probability as the model gave it, before any setting; none where it was not asked for.
    pub logprob: Option<f32>,
    /// The tokens that the model found likeliest, with the same logarithm, the likeliest first.
    pub top: Vec<(u32, f32)>,
}

/// Chooses tokens.
#[derive(Clone, Debug)]
pub struct Sampler {
    settings: SamplingSettings,
    random: Random,
    constraint: Option<Constraint>,
    /// The model's own logits, kept only where their probabilities are asked for.
    original: Vec<f32>,
}

impl Sampler {
    /// A sampler at the start of its random numbers.
    pub fn new(settings: SamplingSettings) -> Result<Self, SamplingError> {
        settings.check()?;
        let random = Random::new(settings.seed);
        Ok(Self { settings, random, constraint: None, original: Vec::new() })
    }

    /// The same sampler, choosing only what a constraint allows.
    pub fn with_constraint(self, constraint: Option<Constraint>) -> Self {
        Self { constraint, ..self }
    }

    /// Whether the reply is all that its constraint allows, so that nothing may follow.
    pub fn is_finished(&self) -> bool {
        self.constraint.as_ref().is_some_and(Constraint::is_finished)
    }

    /// Its settings.
    pub fn settings(&self) -> &SamplingSettings {
        &self.settings
    }

    /// Chooses a token. The logits are changed on the way; minus infinity marks tokens that must not be chosen.
    ///
    /// One random number is drawn per token, none if the temperature is 0.
    pub fn sample(&mut self, logits: &mut [f32], history: History<'_>) -> Result<Choice, SamplingError> {
        if self.settings.logprobs.is_some() {
            self.original.clear();
            self.original.extend_from_slice(logits);
        }
        if let Some(constraint) = &mut self.constraint {
            constraint.mask(logits)?;
        }
        for &(token, bias) in &self.settings.logit_bias {
            let tokens = logits.len();
            *logits.get_mut(token as usize).ok_or(SamplingError::Bias { token, tokens })? += bias;
        }
        penalty::penalise(logits, history, &self.settings);
        dry::penalise(logits, history, &self.settings.dry);
        let (likeliest, most) = likeliest(logits)?;
        let token = if self.settings.temperature == 0.0 { likeliest } else { self.draw(logits, likeliest, most)? };
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(token)?;
        }
        let Some(count) = self.settings.logprobs else {
            return Ok(Choice { token, logprob: None, top: Vec::new() });
        };
        let normaliser = log_sum(&self.original)?;
        let logprob = logprob(self.original[token as usize], normaliser);
        Ok(Choice { token, logprob: Some(logprob), top: top(&self.original, count, normaliser) })
    }

    /// Draws a token; `likeliest` is the one with the largest logit, `most`.
    fn draw(&mut self, logits: &mut [f32], likeliest: u32, most: f32) -> Result<u32, SamplingError> {
        let settings = &self.settings;
        // A tiny temperature makes large logits infinite: the largest is then certain.
        if most / settings.temperature == f32::INFINITY {
            return Ok(likeliest);
        }
        for logit in logits.iter_mut() {
            *logit /= settings.temperature;
        }
        let mut candidates = Candidates::new(logits, settings.top_k);
        candidates.top_p(settings.top_p);
        candidates.min_p(settings.min_p);
        candidates.typical_p(settings.typical_p);
        candidates.at(self.random.fraction()).map(|candidate| candidate.token).ok_or(SamplingError::NoToken)
    }
}

/// Logarithm of the sum of the logits' exponentials.
fn log_sum(logits: &[f32]) -> Result<f64, SamplingError> {
    let (_, most) = likeliest(logits)?;
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

/// The token with the largest logit, the lowest id among equals, and that logit, in one pass.
///
/// A logit that is no number or infinite upwards is an error: the computation before went wrong.
fn likeliest(logits: &[f32]) -> Result<(u32, f32), SamplingError> {
    let (mut best, mut most) = (0, f32::NEG_INFINITY);
    for (index, block) in logits.chunks(BLOCK).enumerate() {
        let found = largest(block);
        if found.is_nan() || found == f32::INFINITY {
            let is_wrong = |logit: &f32| logit.is_nan() || *logit == f32::INFINITY;
            let token = index * BLOCK + block.iter().position(is_wrong).unwrap_or(0);
            return Err(SamplingError::Logit { token, found: logits[token] });
        }
        if found > most {
            (best, most) = (index * BLOCK, found);
        }
    }
    let token = logits[best.min(logits.len())..].iter().position(|&logit| logit >= most);
    match token.filter(|_| most > f32::NEG_INFINITY) {
        Some(place) => Ok((u32::try_from(best + place).unwrap_or(u32::MAX), most)),
        None => Err(SamplingError::NoToken),
    }
}

/// The largest of some logits; no number if any is none.
fn largest(logits: &[f32]) -> f32 {
    // Lanes that do not wait for each other, of which compilers make vectors.
    let (mut most, mut wrong) = ([f32::NEG_INFINITY; LANES], [false; LANES]);
    let (rows, rest) = logits.as_chunks::<LANES>();
    for row in rows {
        for lane in 0..LANES {
            most[lane] = if row[lane] > most[lane] { row[lane] } else { most[lane] };
            wrong[lane] |= row[lane].is_nan();
        }
    }
    if wrong.contains(&true) || rest.iter().any(|logit| logit.is_nan()) {
        return f32::NAN;
    }
    most.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}
