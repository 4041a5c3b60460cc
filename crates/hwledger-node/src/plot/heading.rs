//! What a picture is of, in two lines and a few notes.

use hwledger_core::settings::Device;
use serde::Serialize;

use crate::planner::Prepared;

/// The words above and below a picture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Heading {
    /// What is shown, of what.
    pub title: String,
    /// Under which settings.
    pub subtitle: String,
    /// How to read it, and what was left out.
    pub notes: Vec<String>,
}

impl Heading {
    /// A picture of one plan: engine, weights and devices, then `more`.
    pub(super) fn of_plan(what: &str, prepared: &Prepared, more: &[String]) -> Self {
        let mut words = vec![prepared.engine.name().to_owned()];
        let weights = prepared.settings.weights.as_deref().or(prepared.model.spec.stored_format.as_deref());
        words.extend(weights.map(|weights| format!("{weights} weights")));
        words.extend(devices(&prepared.settings.devices));
        words.extend_from_slice(more);
        Self { title: format!("{what}: {}", prepared.model.name), subtitle: words.join(" · "), notes: Vec::new() }
    }
}

/// `2 × RTX 3090`, `H100`.
fn devices(devices: &[Device]) -> Option<String> {
    let mut counted: Vec<(&str, usize)> = Vec::new();
    for device in devices {
        match counted.iter_mut().find(|(name, _)| *name == device.name) {
            Some((_, count)) => *count += 1,
            None => counted.push((&device.name, 1)),
        }
    }
    let words: Vec<String> = counted
        .into_iter()
        .map(|(name, count)| if count == 1 { name.to_owned() } else { format!("{count} × {name}") })
        .collect();
    (!words.is_empty()).then(|| words.join(" + "))
}

/// `4,096 tokens`, `1 request`.
pub(super) fn counted(count: u64, singular: &str, plural: &str) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text} {}", if count == 1 { singular } else { plural })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_thousands() {
        assert_eq!(counted(1, "request", "requests"), "1 request");
        assert_eq!(counted(999, "token", "tokens"), "999 tokens");
        assert_eq!(counted(1_048_576, "token", "tokens"), "1,048,576 tokens");
    }
}
