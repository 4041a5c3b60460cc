//! Rotary positions: the angle that each pair of a head turns per token.

/// One way of turning heads.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotary {
    /// Angle per position of each pair, in radians.
    pub frequencies: Vec<f64>,
    /// Factor of cosines and sines (attention temperature of `YaRN` and `LongRoPE`).
    pub magnitude: f64,
}

/// `YaRN`'s parameters (Peng et al. 2023, section 3.4).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yarn {
    /// By how much the context is stretched.
    pub factor: f64,
    /// Context of the first training.
    pub original_context: f64,
    /// Turns within that context above which a pair is left as it is.
    pub beta_fast: f64,
    /// Turns below which it is fully interpolated.
    pub beta_slow: f64,
    /// Factor on top of the attention temperature.
    pub attention_factor: f64,
    /// Whether the bounds between fast and slow pairs are rounded outwards to whole pairs.
    pub rounds_bounds: bool,
}

impl Rotary {
    /// Plain positions (Su et al. 2021): pair `i` of `dimensions / 2` turns by `base^(-2i / dimensions)`.
    pub fn plain(dimensions: usize, base: f64) -> Self {
        let frequencies = (0..dimensions / 2).map(|pair| base.powf(-2.0 * pair as f64 / dimensions as f64)).collect();
        Self { frequencies, magnitude: 1.0 }
    }

    /// Positions pressed together by `factor` (linear interpolation, Chen et al. 2023).
    pub fn linear(mut self, factor: f64) -> Self {
        for frequency in &mut self.frequencies {
            *frequency /= factor;
        }
        self
    }

    /// Each pair slowed by its own factor (Llama 3's `rope_freqs`, `LongRoPE`); missing factors are 1.
    pub fn slowed(mut self, factors: &[f32]) -> Self {
        for (frequency, &factor) in self.frequencies.iter_mut().zip(factors) {
            *frequency /= f64::from(factor);
        }
        self
    }

    /// `YaRN`: slow pairs interpolated, fast ones kept, those between mixed.
    pub fn yarn(mut self, dimensions: usize, base: f64, yarn: &Yarn) -> Self {
        let correction = |turns: f64| {
            dimensions as f64 * (yarn.original_context / (turns * 2.0 * std::f64::consts::PI)).ln() / (2.0 * base.ln())
        };
        let (mut low, mut high) = (correction(yarn.beta_fast), correction(yarn.beta_slow));
        if yarn.rounds_bounds {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, high) = (low.max(0.0), high.min(dimensions as f64 - 1.0));
        for (pair, frequency) in self.frequencies.iter_mut().enumerate() {
            let ramp = ((pair as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
            let kept = 1.0 - ramp;
            *frequency = *frequency / yarn.factor * (1.0 - kept) + *frequency * kept;
        }
        self.magnitude = yarn.attention_factor * (1.0 + 0.1 * yarn.factor.max(1.0).ln());
        self
    }

    /// Llama 3.1: long waves slowed by `factor`, short ones kept, those between mixed by their turns within the
    /// context of the first training (transformers `_compute_llama3_parameters`).
    pub fn llama3(mut self, factor: f64, [low, high]: [f64; 2], original_context: f64) -> Self {
        for frequency in &mut self.frequencies {
            let turns = original_context * *frequency / (2.0 * std::f64::consts::PI);
            let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            *frequency = *frequency / factor * (1.0 - kept) + *frequency * kept;
        }
        self
    }

    /// Cosines and sines at a position.
    pub fn at(&self, position: usize, cosines: &mut [f32], sines: &mut [f32]) {
        for ((frequency, cosine), sine) in self.frequencies.iter().zip(cosines).zip(sines) {
            let (s, c) = (frequency * position as f64).sin_cos();
            #[expect(clippy::cast_possible_truncation, reason = "rounded to the precision of activations")]
            let (c, s) = ((c * self.magnitude) as f32, (s * self.magnitude) as f32);
            (*cosine, *sine) = (c, s);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_frequencies_fall_from_one() {
        let rotary = Rotary::plain(4, 10_000.0);
        assert_eq!(rotary.frequencies.len(), 2);
        assert!((rotary.frequencies[0] - 1.0).abs() < 1e-15 && (rotary.frequencies[1] - 0.01).abs() < 1e-15);
        let mut angles = ([0.0; 2], [0.0; 2]);
        rotary.at(0, &mut angles.0, &mut angles.1);
        assert_eq!(angles.0.map(f32::to_bits), [1.0_f32; 2].map(f32::to_bits));
    }

    #[test]
    fn yarn_keeps_fast_pairs_and_interpolates_slow_ones() {
        let yarn = Yarn {
            factor: 4.0,
            original_context: 4096.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: 1.0,
            rounds_bounds: true,
        };
        let plain = Rotary::plain(128, 10_000.0);
        let found = plain.clone().yarn(128, 10_000.0, &yarn);
        assert!((found.frequencies[0] - plain.frequencies[0]).abs() < 1e-12);
        assert!((found.frequencies[63] - plain.frequencies[63] / 4.0).abs() < 1e-12);
        // 0.1 ln 4 + 1, as the paper's equation 22 gives it.
        assert!((found.magnitude - 1.138_629_4).abs() < 1e-6);
    }
}
