//! Functions of single rows: normalisation, activations, rotary positions.
//!
//! Each is written once in plain code and compiled for every set of instructions, so all sets compute
//! the same bits.

use crate::instruction_set::InstructionSet;

/// Defines a function that runs `$body` compiled for the best set of instructions that the caller allows.
macro_rules! for_every_set {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident($($argument:ident: $kind:ty),* $(,)?) = $body:path) => {
        $(#[$doc])*
        $visibility fn $name(set: InstructionSet, $($argument: $kind),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma,f16c,avx2")]
                fn wide($($argument: $kind),*) {
                    $body($($argument),*);
                }
                #[target_feature(enable = "avx2,fma,f16c")]
                fn middle($($argument: $kind),*) {
                    $body($($argument),*);
                }
                #[expect(unsafe_code, reason = "instructions found at run time")]
                if set >= InstructionSet::Avx512 {
                    // SAFETY: the set says that the processor has these instructions.
                    return unsafe { wide($($argument),*) };
                } else if set >= InstructionSet::Avx2 {
                    // SAFETY: as above.
                    return unsafe { middle($($argument),*) };
                }
            }
            let _ = set;
            $body($($argument),*);
        }
    };
}
pub(crate) use for_every_set;

/// Sums that are kept apart so that they fill a register; added pairwise at the end.
pub(crate) const LANES: usize = 16;

#[inline(always)]
pub(crate) fn total(lanes: [f32; LANES]) -> f32 {
    let mut sums = lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

/// The sum of `term(value)` over a row.
#[inline(always)]
fn sum_of(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let mut chunks = row.chunks_exact(LANES);
    for chunk in &mut chunks {
        for lane in 0..LANES {
            lanes[lane] += term(chunk[lane]);
        }
    }
    for (lane, &value) in chunks.remainder().iter().enumerate() {
        lanes[lane] += term(value);
    }
    total(lanes)
}

/// e to the power `x`, within two units in the last place; 0 far below, infinity far above.
///
/// Source: the polynomial of `expf` in Cephes (S. L. Moshier), the exponent put in by integer arithmetic.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// 1.5 x 2^23: adding it leaves the nearest integer in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.0, 88.0);
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, MAGIC);
    let power = shifted - MAGIC;
    let rest = power.mul_add(-0.693_359_4, clamped);
    let rest = power.mul_add(2.121_944_4e-4, rest);
    let mut sum = 1.987_569_1e-4_f32;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        sum = sum.mul_add(rest, coefficient);
    }
    let fraction = (rest * rest).mul_add(sum, rest) + 1.0;
    let result = f32::from_bits(fraction.to_bits().wrapping_add(shifted.to_bits() << 23));
    if x < -87.0 { 0.0 } else { result }
}

#[inline(always)]
fn tanh(x: f32) -> f32 {
    // Beyond 9 the nearest number is 1.
    let twice = exp(2.0 * x.clamp(-9.0, 9.0));
    (twice - 1.0) / (twice + 1.0)
}

/// An activation between the projections of a feed-forward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gate {
    /// x / (1 + e^-x): `SiLU`, also called swish (Elfwing et al. 2017).
    Silu,
    /// The tanh form of GELU (Hendrycks and Gimpel 2016).
    GeluTanh,
    /// GELU by the error function.
    Gelu,
    /// max(x, 0).
    Relu,
    /// max(x, 0) squared (Primer, So et al. 2021).
    ReluSquared,
    /// gpt-oss: both inputs clamped at `limit`, x sigmoid(1.702 x) times (up + 1).
    ClampedSwish {
        /// The bound of both inputs.
        limit: f32,
    },
}

#[inline(always)]
fn gate_value(gate: Gate, x: f32) -> f32 {
    match gate {
        Gate::Silu => x / (1.0 + exp(-x)),
        Gate::GeluTanh => 0.5 * x * (1.0 + tanh(0.797_884_6 * (0.044_715 * x * x).mul_add(x, x))),
        Gate::Gelu => 0.5 * x * (1.0 + error_function(x * std::f32::consts::FRAC_1_SQRT_2)),
        Gate::Relu => x.max(0.0),
        Gate::ReluSquared => x.max(0.0) * x.max(0.0),
        Gate::ClampedSwish { limit } => {
            let x = x.min(limit);
            x / (1.0 + exp(-1.702 * x))
        }
    }
}

/// The error function within 1.5e-7 (Abramowitz and Stegun 7.1.26).
#[inline(always)]
fn error_function(x: f32) -> f32 {
    let t = 1.0 / 0.327_591_1_f32.mul_add(x.abs(), 1.0);
    let mut sum = 1.061_405_4_f32;
    for coefficient in [-1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6] {
        sum = sum.mul_add(t, coefficient);
    }
    (1.0 - sum * t * exp(-x * x)).copysign(x)
}

#[inline(always)]
fn gated_body(gate: Gate, gates: &[f32], ups: &[f32], out: &mut [f32]) {
    let length = out.len();
    let (gates, ups) = (&gates[..length], &ups[..length]);
    // One loop per activation, so that each is compiled for whole registers.
    macro_rules! each {
        ($gate:expr) => {
            for index in 0..length {
                out[index] = gate_value($gate, gates[index]) * ups[index];
            }
        };
    }
    match gate {
        Gate::Silu => each!(Gate::Silu),
        Gate::GeluTanh => each!(Gate::GeluTanh),
        Gate::Gelu => each!(Gate::Gelu),
        Gate::Relu => each!(Gate::Relu),
        Gate::ReluSquared => each!(Gate::ReluSquared),
        Gate::ClampedSwish { limit } => {
            for index in 0..length {
                let up = ups[index].clamp(-limit, limit);
                out[index] = gate_value(gate, gates[index]) * (up + 1.0);
            }
        }
    }
}

#[inline(always)]
fn activate_body(gate: Gate, values: &[f32], out: &mut [f32]) {
    let length = out.len();
    let values = &values[..length];
    macro_rules! each {
        ($gate:expr) => {
            for index in 0..length {
                out[index] = gate_value($gate, values[index]);
            }
        };
    }
    match gate {
        Gate::Silu => each!(Gate::Silu),
        Gate::GeluTanh => each!(Gate::GeluTanh),
        Gate::Gelu => each!(Gate::Gelu),
        Gate::Relu => each!(Gate::Relu),
        Gate::ReluSquared => each!(Gate::ReluSquared),
        Gate::ClampedSwish { .. } => each!(gate),
    }
}

for_every_set! {
    /// `out = gate(gates) x ups`, element by element; `out`'s length counts.
    pub fn gated(gate: Gate, gates: &[f32], ups: &[f32], out: &mut [f32]) = gated_body
}

for_every_set! {
    /// `out = gate(values)`, element by element; `out`'s length counts.
    pub fn activate(gate: Gate, values: &[f32], out: &mut [f32]) = activate_body
}

/// One over the root of a mean of squares, or of a variance. No number where the squares were too large to add up: zeros would hide
/// that the row is lost.
#[inline(always)]
fn inverse_root(mean: f32, epsilon: f32) -> f32 {
    if mean < f32::INFINITY { 1.0 / (mean + epsilon).sqrt() } else { f32::NAN }
}

#[inline(always)]
fn rms_norm_body(row: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    let mean = sum_of(row, |value| value * value) / row.len() as f32;
    let factor = inverse_root(mean, epsilon);
    for ((out, &value), &weight) in out.iter_mut().zip(row).zip(weight) {
        *out = value * factor * weight;
    }
}

for_every_set! {
    /// Root-mean-square normalisation (Zhang and Sennrich 2019): `out = row / sqrt(mean(row^2) + epsilon) x weight`.
    pub fn rms_norm(row: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) = rms_norm_body
}

#[inline(always)]
fn rms_norm_in_place_body(row: &mut [f32], weight: &[f32], epsilon: f32) {
    let mean = sum_of(row, |value| value * value) / row.len() as f32;
    let factor = inverse_root(mean, epsilon);
    for (value, &weight) in row.iter_mut().zip(weight) {
        *value = *value * factor * weight;
    }
}

for_every_set! {
    /// [`rms_norm`] with the row as its own output.
    pub fn rms_norm_in_place(row: &mut [f32], weight: &[f32], epsilon: f32) = rms_norm_in_place_body
}

#[inline(always)]
fn layer_norm_body(row: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32) {
    let count = row.len() as f32;
    let mean = sum_of(row, |value| value) / count;
    let variance = sum_of(row, |value| (value - mean) * (value - mean)) / count;
    let factor = inverse_root(variance, epsilon);
    for ((value, &weight), &bias) in row.iter_mut().zip(weight).zip(bias) {
        *value = ((*value - mean) * factor).mul_add(weight, bias);
    }
}

for_every_set! {
    /// Layer normalisation (Ba et al. 2016) of a row in place:
    /// `row = (row - mean) / sqrt(variance + epsilon) x weight + bias`.
    pub fn layer_norm(row: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32) = layer_norm_body
}

/// Which two elements of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RotaryPairs {
    /// Element `i` with element `i + half`: Hugging Face's layout, GPT-NeoX's.
    Halves,
    /// Element `2i` with element `2i + 1`: the layout of the RoPE paper, and of Llama's weights in GGUF.
    Neighbours,
}

#[inline(always)]
fn rotate_body(head: &mut [f32], cosines: &[f32], sines: &[f32], pairs: RotaryPairs) {
    let half = cosines.len();
    match pairs {
        RotaryPairs::Halves => {
            let (first, second) = head[..2 * half].split_at_mut(half);
            for index in 0..half {
                let (x, y) = (first[index], second[index]);
                first[index] = x * cosines[index] - y * sines[index];
                second[index] = x * sines[index] + y * cosines[index];
            }
        }
        RotaryPairs::Neighbours => {
            for (index, pair) in head[..2 * half].chunks_exact_mut(2).enumerate() {
                let (x, y) = (pair[0], pair[1]);
                pair[0] = x * cosines[index] - y * sines[index];
                pair[1] = x * sines[index] + y * cosines[index];
            }
        }
    }
}

for_every_set! {
    /// Turns the pairs of a head by the angles whose cosines and sines are given (Su et al. 2021); elements
    /// past them stay.
    pub fn rotate(head: &mut [f32], cosines: &[f32], sines: &[f32], pairs: RotaryPairs) = rotate_body
}

#[inline(always)]
fn add_scaled_body(target: &mut [f32], values: &[f32], factor: f32) {
    for (target, &value) in target.iter_mut().zip(values) {
        *target = value.mul_add(factor, *target);
    }
}

for_every_set! {
    /// `target += factor x values`.
    pub fn add_scaled(target: &mut [f32], values: &[f32], factor: f32) = add_scaled_body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets() -> impl Iterator<Item = InstructionSet> {
        InstructionSet::available()
    }

    fn row(length: usize) -> Vec<f32> {
        (0..length).map(|index| ((index * 37 + 11) % 101) as f32 / 17.0 - 3.0).collect()
    }

    #[test]
    fn the_exponential_is_that_of_the_library() {
        for index in -8700..8800 {
            let x = index as f32 / 100.0;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found - expected).abs() <= 3e-7 * expected, "{x}: {found} {expected}");
        }
        assert!(exp(-1000.0) == 0.0 && exp(f32::NEG_INFINITY) == 0.0);
    }

    #[test]
    fn activations_are_those_of_their_papers() {
        type Reference = fn(f64) -> f64;
        let cases: [(Gate, Reference); 5] = [
            (Gate::Silu, |x| x / (1.0 + (-x).exp())),
            (Gate::GeluTanh, |x| {
                0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
            }),
            (Gate::Relu, |x| x.max(0.0)),
            (Gate::ReluSquared, |x| x.max(0.0).powi(2)),
            (Gate::ClampedSwish { limit: 2.0 }, |x| x.min(2.0) / (1.0 + (-1.702 * x.min(2.0)).exp())),
        ];
        let values = row(133);
        for set in sets() {
            for (gate, reference) in cases {
                let mut out = vec![0.0; values.len()];
                activate(set, gate, &values, &mut out);
                for (&found, &x) in out.iter().zip(&values) {
                    let expected = reference(f64::from(x));
                    assert!(
                        (f64::from(found) - expected).abs() < 2e-6 * expected.abs().max(1.0),
                        "{gate:?} {x}: {found}"
                    );
                }
            }
            // Published values of GELU: 0.8413 at 1, -0.1587 at -1.
            let mut out = [0.0; 2];
            activate(set, Gate::Gelu, &[1.0, -1.0], &mut out);
            assert!((out[0] - 0.841_344_7).abs() < 1e-6 && (out[1] + 0.158_655_3).abs() < 1e-6);
        }
    }

    /// The error function by its Taylor series, which double precision sums up to 4 without loss that matters here.
    fn exact_error_function(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..120 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn gelu_is_that_of_the_error_function() {
        let values: Vec<f32> = (-500..=500).map(|index| index as f32 / 100.0).collect();
        let mut out = vec![0.0; values.len()];
        activate(InstructionSet::detect(), Gate::Gelu, &values, &mut out);
        for (&found, &x) in out.iter().zip(&values) {
            let x = f64::from(x);
            let expected = 0.5 * x * (1.0 + exact_error_function(x / 2.0_f64.sqrt()));
            assert!((f64::from(found) - expected).abs() < 1e-6, "{x}: {found} for {expected}");
        }
    }

    #[test]
    fn layer_norm_is_that_of_its_paper() {
        let (values, weight, bias) = (row(133), row(140), row(150));
        let mut out = values.clone();
        layer_norm(InstructionSet::detect(), &mut out, &weight[..133], &bias[17..], 1e-5);
        let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / 133.0;
        let variance = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / 133.0;
        for (index, &found) in out.iter().enumerate() {
            let normalised = (f64::from(values[index]) - mean) / (variance + 1e-5).sqrt();
            let expected = normalised * f64::from(weight[index]) + f64::from(bias[17 + index]);
            assert!((f64::from(found) - expected).abs() < 1e-5, "{index}: {found} for {expected}");
        }
        // Squares that overflow are no silence.
        let mut out = [1e30, -1e30];
        layer_norm(InstructionSet::detect(), &mut out, &[1.0; 2], &[0.0; 2], 1e-5);
        assert!(out.iter().all(|value| value.is_nan()));
    }

    #[test]
    fn every_set_computes_the_same_bits() {
        let (values, weight) = (row(133), row(133));
        let all = |set| {
            let mut outs = vec![vec![0.0; 133]; 5];
            rms_norm(set, &values, &weight, 1e-5, &mut outs[0]);
            outs[1].copy_from_slice(&values);
            layer_norm(set, &mut outs[1], &weight, &values, 1e-5);
            activate(set, Gate::Gelu, &values, &mut outs[4]);
            gated(set, Gate::Silu, &values, &weight, &mut outs[2]);
            outs[3].copy_from_slice(&values);
            let (cosines, sines) = (row(32), row(32));
            rotate(set, &mut outs[3], &cosines, &sines, RotaryPairs::Neighbours);
            add_scaled(set, &mut outs[3], &weight, 0.3);
            outs.concat().iter().map(|value| value.to_bits()).collect::<Vec<_>>()
        };
        for set in sets() {
            assert_eq!(all(set), all(InstructionSet::Scalar), "{}", set.name());
        }
    }

    #[test]
    fn a_normalised_row_has_unit_size() {
        let values = row(64);
        let mut out = vec![0.0; 64];
        rms_norm(InstructionSet::detect(), &values, &[1.0; 64], 0.0, &mut out);
        let mean: f32 = out.iter().map(|value| value * value).sum::<f32>() / 64.0;
        assert!((mean - 1.0).abs() < 1e-6);
        // Squares that overflow are no silence.
        rms_norm(InstructionSet::detect(), &[1e30; 64], &[1.0; 64], 0.0, &mut out);
        assert!(out.iter().all(|value| value.is_nan()));
    }
}
