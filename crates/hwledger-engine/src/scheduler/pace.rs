//! How many tokens of prompts a step takes, so that those who are being answered do not wait long.

use std::time::Duration;

/// Prompt tokens of a step at first, before anything is measured.
const CHUNK_START: usize = 256;
/// The fewest prompt tokens of a step: fewer would read all weights for little.
const CHUNK_MIN: usize = 32;
/// How much a new measurement counts.
const WEIGHT: f64 = 0.3;

/// Measured seconds of steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    target: Duration,
    chunk_max: usize,
    /// Seconds of one prompt token.
    per_token: Option<f64>,
    /// Seconds of a step without prompts.
    decode: f64,
}

impl Pace {
    pub(super) const fn new(target: Duration, chunk_max: usize) -> Self {
        Self { target, chunk_max, per_token: None, decode: 0.0 }
    }

    /// Prompt tokens that the next step may take, beside `decoding` sequences that wait for a token.
    pub(super) fn chunk(&self, decoding: usize) -> usize {
        if decoding == 0 {
            return self.chunk_max;
        }
        let Some(per_token) = self.per_token else { return CHUNK_START.min(self.chunk_max) };
        let left = self.target.as_secs_f64() - self.decode;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped just after")]
        let tokens = (left / per_token).max(0.0) as usize;
        tokens.clamp(CHUNK_MIN.min(self.chunk_max), self.chunk_max)
    }

    /// Takes note of a step.
    pub(super) fn measured(&mut self, prompt_tokens: usize, took: Duration) {
        let seconds = took.as_secs_f64();
        if prompt_tokens == 0 {
            self.decode += WEIGHT * (seconds - self.decode);
        } else {
            let found = (seconds - self.decode).max(0.0) / prompt_tokens as f64;
            self.per_token = Some(self.per_token.map_or(found, |known| known + WEIGHT * (found - known)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_follow_what_was_measured() {
        let mut pace = Pace::new(Duration::from_millis(200), 512);
        assert_eq!((pace.chunk(0), pace.chunk(3)), (512, CHUNK_START));
        for _ in 0..50 {
            pace.measured(0, Duration::from_millis(100));
            pace.measured(100, Duration::from_millis(200));
        }
        let chunk = pace.chunk(3);
        assert!((90..=110).contains(&chunk), "{chunk}");
        for _ in 0..50 {
            pace.measured(0, Duration::from_millis(500));
        }
        assert_eq!(pace.chunk(3), CHUNK_MIN);
    }
}
