//! The tokens that may still be chosen, and what narrows them down.

use std::cmp::Ordering;

/// Candidates that are looked at together at least.
const ROOM_MIN: usize = 128;

/// A token that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) token: u32,
    pub(super) logit: f32,
    /// Its part of the whole, once [`Candidates::weigh`] has run.
    pub(super) probability: f64,
}

/// Likelier first; the lower id first among equals.
fn likelier(left: &Candidate, right: &Candidate) -> Ordering {
    right.logit.total_cmp(&left.logit).then(left.token.cmp(&right.token))
}

/// The `count` likeliest of candidates that come in the order of their ids.
fn likeliest(all: impl Iterator<Item = Candidate>, count: usize) -> Vec<Candidate> {
    // A few more than are kept, so that they are parted seldom. What is not above the last one that would be kept
    // is passed over; of equals the first stays.
    let room = count.saturating_mul(2).max(ROOM_MIN);
    let mut list: Vec<Candidate> = Vec::new();
    let mut least = f32::NEG_INFINITY;
    let keep = |list: &mut Vec<Candidate>| {
        list.select_nth_unstable_by(count - 1, likelier);
        list.truncate(count);
    };
    for candidate in all {
        if candidate.logit > least {
            list.push(candidate);
            if list.len() >= room {
                keep(&mut list);
                least = list[count - 1].logit;
            }
        }
    }
    if list.len() > count {
        keep(&mut list);
    }
    list
}

/// Candidates, sorted, the likeliest first.
#[derive(Clone, Debug)]
pub(super) struct Candidates {
    pub(super) list: Vec<Candidate>,
}

impl Candidates {
    /// The `top_k` likeliest of all tokens with finite logits, or all if 0.
    pub(super) fn new(logits: &[f32], top_k: usize) -> Self {
        let all = (0..).zip(logits).filter(|(_, logit)| logit.is_finite()).map(|(token, &logit)| Candidate {
            token,
            logit,
            probability: 0.0,
        });
        let mut list: Vec<Candidate> = if top_k == 0 { all.collect() } else { likeliest(all, top_k) };
        list.sort_unstable_by(likelier);
        let mut candidates = Self { list };
        candidates.weigh();
        candidates
    }

    /// Gives each candidate its probability among those left.
    fn weigh(&mut self) {
        let Some(most) = self.list.iter().map(|candidate| candidate.logit).reduce(f32::max) else { return };
        let mut sum = 0.0;
        for candidate in &mut self.list {
            candidate.probability = f64::from(candidate.logit - most).exp();
            sum += candidate.probability;
        }
        for candidate in &mut self.list {
            candidate.probability /= sum;
        }
    }

    /// Keeps the first candidates until their probabilities reach `part`.
    fn keep_part(&mut self, part: f32) {
        let mut sum = 0.0;
        let enough = self.list.iter().position(|candidate| {
            sum += candidate.probability;
            sum >= f64::from(part)
        });
        if let Some(last) = enough {
            self.list.truncate(last + 1);
        }
        self.weigh();
    }

    /// Keeps the likeliest until they reach `top_p` (Holtzman et al., 2019).
    pub(super) fn top_p(&mut self, top_p: f32) {
        if top_p < 1.0 {
            self.keep_part(top_p);
        }
    }

    /// Keeps those at least `min_p` times as likely as the likeliest (Nguyen et al., 2024).
    pub(super) fn min_p(&mut self, min_p: f32) {
        if min_p > 0.0 {
            let least = self.list.first().map_or(0.0, |first| first.probability) * f64::from(min_p);
            self.list.retain(|candidate| candidate.probability >= least);
            self.weigh();
        }
    }

    /// Keeps those whose information is nearest to the entropy until they reach `typical_p`.
    pub(super) fn typical_p(&mut self, typical_p: f32) {
        if typical_p < 1.0 {
            let information = |candidate: &Candidate| -candidate.probability.max(f64::MIN_POSITIVE).ln();
            let entropy: f64 = self.list.iter().map(|candidate| candidate.probability * information(candidate)).sum();
            let distance = |candidate: &Candidate| (information(candidate) - entropy).abs();
            self.list.sort_by(|left, right| distance(left).total_cmp(&distance(right)).then(likelier(left, right)));
            self.keep_part(typical_p);
            self.list.sort_unstable_by(likelier);
        }
    }

    /// The candidate at `place` of the probabilities laid end to end.
    pub(super) fn at(&self, place: f64) -> Option<&Candidate> {
        let mut sum = 0.0;
        let found = self.list.iter().find(|candidate| {
            sum += candidate.probability;
            place < sum
        });
        // Rounding may leave the sum short of 1.
        found.or(self.list.last())
    }
}
