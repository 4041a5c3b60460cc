//! The DRY penalty on repeated stretches.

use std::collections::HashMap;

use super::sampler::History;
use super::settings::Dry;

/// Largest penalty; beyond any logit, and finite.
const PENALTY_MAX: f32 = 1e6;

/// Takes from each token what extending a repetition with it costs.
pub(super) fn penalise(logits: &mut [f32], history: History<'_>, dry: &Dry) {
    if dry.multiplier == 0.0 {
        return;
    }
    for (token, length) in repetitions(history, dry) {
        if length >= dry.allowed_length
            && let Some(logit) = logits.get_mut(token as usize)
        {
            let extra = i32::try_from(length - dry.allowed_length).unwrap_or(i32::MAX);
            *logit -= (dry.multiplier * dry.base.powi(extra)).min(PENALTY_MAX);
        }
    }
}

/// For each token that would extend a repetition, the longest one that it would extend.
fn repetitions(history: History<'_>, dry: &Dry) -> HashMap<u32, usize> {
    // Latest token first.
    let reversed: Vec<u32> = history.last(dry.window).collect();
    let reach = reversed.iter().position(|token| dry.breakers.contains(token)).unwrap_or(reversed.len());
    let mut longest = HashMap::new();
    for (place, length) in common_prefixes(&reversed).into_iter().enumerate().skip(1) {
        let length = length.min(reach);
        // What followed the earlier occurrence.
        let next = reversed[place - 1];
        if length > 0 && !dry.breakers.contains(&next) {
            let known = longest.entry(next).or_insert(0);
            *known = length.max(*known);
        }
    }
    longest
}

/// For each place, how many tokens from there are those from the start.
///
/// **Source** Gusfield, "Algorithms on Strings, Trees, and Sequences" (1997), section 1.4: linear time.
fn common_prefixes(tokens: &[u32]) -> Vec<usize> {
    let mut lengths = vec![0; tokens.len()];
    let (mut left, mut right) = (0, 0);
    for place in 1..tokens.len() {
        let mut length = if place < right { lengths[place - left].min(right - place) } else { 0 };
        while place + length < tokens.len() && tokens[length] == tokens[place + length] {
            length += 1;
        }
        if place + length > right {
            (left, right) = (place, place + length);
        }
        lengths[place] = length;
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tokens: &[u32], breakers: &[u32], token: u32, expected: f32) {
        let dry = Dry { multiplier: 1.0, base: 2.0, breakers: breakers.to_vec(), ..Dry::default() };
        let mut logits = [0.0; 10];
        penalise(&mut logits, History { prompt: tokens, generated: &[] }, &dry);
        assert!((logits[token as usize] + expected).abs() < 1e-6, "{tokens:?}: {logits:?}");
    }

    #[test]
    fn longer_repetitions_cost_more() {
        check(&[1, 2, 3, 1], &[], 2, 0.0);
        check(&[1, 2, 3, 1, 2], &[], 3, 1.0);
        check(&[1, 2, 3, 4, 1, 2, 3], &[], 4, 2.0);
        check(&[5, 1, 2, 3, 4, 5, 1, 2, 3], &[], 4, 4.0);
        check(&[], &[], 4, 0.0);
    }

    #[test]
    fn breakers_end_repetitions() {
        check(&[1, 2, 3, 4, 1, 2, 3], &[2], 4, 0.0);
        check(&[1, 2, 3, 4, 1, 2, 3], &[4], 4, 0.0);
        check(&[1, 2, 3, 4, 1, 2, 3], &[1], 4, 1.0);
    }

    #[test]
    fn the_linear_way_is_the_plain_one() {
        let mut random = super::super::Random::new(3);
        for _ in 0..200 {
            let tokens: Vec<u32> = (0..20).map(|_| u32::try_from(random.bits() % 3).unwrap()).collect();
            let plain = |place: usize| tokens[place..].iter().zip(&tokens).take_while(|(a, b)| a == b).count();
            let lengths = common_prefixes(&tokens);
            assert!((1..20).all(|place| lengths[place] == plain(place)), "{tokens:?}");
        }
    }
}
