//! What the reference implementation takes for keys that a file leaves out.

use super::config::Defaults;
use super::reference_defaults::{DEFAULTS, PARTS};

/// The defaults of one configuration class.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Class {
    /// Its model type.
    pub(crate) model_type: &'static str,
    /// Its defaults.
    pub(crate) defaults: Defaults,
}

impl Class {
    /// The class of `model_type`, where the reference has one.
    pub(crate) fn named(model_type: &str) -> Option<Self> {
        let at = DEFAULTS.binary_search_by_key(&model_type, |(name, _)| name).ok()?;
        let (model_type, defaults) = DEFAULTS[at];
        Some(Self { model_type, defaults })
    }

    /// The class of the configuration nested under `key`.
    pub(crate) fn part(self, key: &str) -> Option<Self> {
        let at = PARTS.binary_search_by_key(&self.model_type, |(name, _)| name).ok()?;
        let (_, parts) = PARTS[at];
        parts.iter().find(|(name, _)| *name == key).and_then(|(_, part)| Self::named(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_parts_are_known() {
        assert!(DEFAULTS.is_sorted_by_key(|(name, _)| name));
        assert!(PARTS.is_sorted_by_key(|(name, _)| name));
        let gemma = Class::named("gemma3").and_then(|class| class.part("text_config")).unwrap();
        assert_eq!(gemma.model_type, "gemma3_text");
        assert!(gemma.defaults.contains(&("head_dim", 256)));
    }
}
