//! States to one vector.

use crate::model::Pooling;

/// The vector of a text from the states of its tokens, `[token][width]`, at least one.
#[expect(clippy::cast_possible_truncation, reason = "rounded to the precision of vectors")]
pub(super) fn pooled(pooling: Pooling, states: &[f32], width: usize) -> Vec<f32> {
    match pooling {
        Pooling::Cls => states[..width].to_vec(),
        Pooling::Last => states[states.len() - width..].to_vec(),
        Pooling::Mean => {
            let mut sums = vec![0.0_f64; width];
            for row in states.chunks_exact(width) {
                for (sum, &value) in sums.iter_mut().zip(row) {
                    *sum += f64::from(value);
                }
            }
            let tokens = (states.len() / width) as f64;
            sums.into_iter().map(|sum| (sum / tokens) as f32).collect()
        }
    }
}

/// Brings a vector to length one; zeros, which have no direction, stay.
#[expect(clippy::cast_possible_truncation, reason = "rounded to the precision of vectors")]
pub(super) fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
    if length > 0.0 {
        for value in vector {
            *value = (f64::from(*value) / length) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_pooled_by_name() {
        let states = [1.0, 2.0, 3.0, 6.0, 8.0, 1.0];
        let check = |name: &str, expected: [f32; 2]| {
            let found = pooled(Pooling::named(name).unwrap(), &states, 2);
            assert_eq!(found.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), expected.map(f32::to_bits));
        };
        check("mean", [4.0, 3.0]);
        check("cls", [1.0, 2.0]);
        check("last", [8.0, 1.0]);
        assert!(Pooling::named("max").is_none());
    }

    #[test]
    fn vectors_have_length_one() {
        let mut vector = [3.0e30, -4.0e30];
        normalise(&mut vector);
        assert!((vector[0] - 0.6).abs() < 1e-6 && (vector[1] + 0.8).abs() < 1e-6);
        let mut zeros = [0.0; 3];
        normalise(&mut zeros);
        assert_eq!(zeros.map(f32::to_bits), [0; 3]);
    }
}
