//! What repeated tokens lose.

use std::collections::{HashMap, HashSet};

use super::sampler::History;
use super::settings::SamplingSettings;

/// Applies repetition, presence and frequency penalties.
pub(super) fn penalise(logits: &mut [f32], history: History<'_>, settings: &SamplingSettings) {
    #[expect(clippy::float_cmp, reason = "exactly 1 is off")]
    let has_repetition = settings.repetition_penalty != 1.0;
    if has_repetition {
        let repeated: HashSet<u32> = history.last(settings.repetition_window).collect();
        for token in repeated {
            if let Some(logit) = logits.get_mut(token as usize) {
                let penalty = settings.repetition_penalty;
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
    }
    if settings.presence_penalty != 0.0 || settings.frequency_penalty != 0.0 {
        let mut counts: HashMap<u32, f32> = HashMap::new();
        for &token in history.generated {
            *counts.entry(token).or_default() += 1.0;
        }
        for (token, count) in counts {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit -= settings.presence_penalty + settings.frequency_penalty * count;
            }
        }
    }
}
