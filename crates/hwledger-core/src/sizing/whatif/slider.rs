//! Sliders: the quantities that a what-if moves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::profile::Profile;
use crate::sizing::error::SizingError;

/// What a slider is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// What the chip can do.
    Capability,
    /// What is asked of it.
    Workload,
    /// How it is run.
    Operating,
    /// What is kept in reserve.
    Headroom,
}

/// What a slider does to a profile and a workload.
pub type Apply<W> = fn(&mut Profile, &mut W, f64) -> Result<(), SizingError>;

/// A quantity that a what-if moves.
#[derive(Clone, Debug, Serialize)]
pub struct Slider<W> {
    /// Its name.
    pub name: &'static str,
    /// One sentence about it.
    pub description: &'static str,
    /// What it is about.
    pub category: Category,
    /// Its unit.
    pub units: &'static str,
    /// Its value where nobody moves it.
    pub default: f64,
    /// Its least value.
    pub min: f64,
    /// Its greatest value.
    pub max: f64,
    /// The step that a surface moves it by.
    pub step: f64,
    /// What it changes, for surfaces to show.
    pub affects: Vec<&'static str>,
    /// What it does; `None` for one that only informs.
    #[serde(skip)]
    pub apply: Option<Apply<W>>,
}

impl<W> Slider<W> {
    /// The nearest value within its range. NaN becomes the default, as it is no value at all.
    pub fn clamp(&self, value: f64) -> f64 {
        if value.is_nan() { self.default } else { value.max(self.min).min(self.max) }
    }

    /// Applies a value, clamped.
    pub fn set(&self, profile: &mut Profile, workload: &mut W, value: f64) -> Result<(), SizingError> {
        match self.apply {
            Some(apply) => apply(profile, workload, self.clamp(value)),
            None => Ok(()),
        }
    }

    /// `steps` values from the least to the greatest, evenly spaced, both ends included.
    pub fn values(&self, steps: usize) -> Vec<f64> {
        let last = steps.saturating_sub(1).max(1) as f64;
        let at = |step: usize| self.min + (self.max - self.min) * (step as f64 / last);
        (0..steps).map(at).collect()
    }
}

/// Sliders by what they are about.
pub(crate) fn by_category<W>(sliders: &[Slider<W>]) -> BTreeMap<Category, Vec<&Slider<W>>> {
    let mut groups: BTreeMap<Category, Vec<&Slider<W>>> = BTreeMap::new();
    for slider in sliders {
        groups.entry(slider.category).or_default().push(slider);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slider() -> Slider<()> {
        Slider {
            name: "rate",
            description: "Transfers per pin",
            category: Category::Capability,
            units: "GT/s",
            default: 8.0,
            min: 4.0,
            max: 12.0,
            step: 0.5,
            affects: vec!["memory"],
            apply: Some(|profile, (), value| profile.set("memory.rate_gt_s", value)),
        }
    }

    #[test]
    fn values_are_clamped_and_evenly_spaced() {
        let mut profile = Profile::default();
        slider().set(&mut profile, &mut (), 99.0).expect("a sound path");
        assert_eq!(profile.number("memory.rate_gt_s"), Some(12.0));
        assert_eq!(slider().values(5), [4.0, 6.0, 8.0, 10.0, 12.0]);
        assert!((slider().clamp(f64::NAN) - 8.0).abs() < 1e-12);
    }

    #[test]
    fn a_slider_that_only_informs_changes_nothing() {
        let mut profile = Profile::default();
        Slider { apply: None, ..slider() }.set(&mut profile, &mut (), 5.0).expect("nothing to do");
        assert_eq!(profile, Profile::default());
    }
}
