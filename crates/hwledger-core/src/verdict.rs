//! Will it fit?

use serde::Serialize;

use crate::engine::{DeviceMemory, MemoryPlan};

/// Whether a plan fits its devices. The order is from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Even the upper end of the interval fits.
    Fits,
    /// The best figure fits, the upper end of its interval does not.
    Tight,
    /// Not known: the memory needed, or the memory there.
    Unknown,
    /// The best figure is more than the device has.
    DoesNotFit,
}

impl Verdict {
    /// Whether `device` holds what it is asked to hold.
    pub fn of(device: &DeviceMemory) -> Self {
        match (device.needed(), device.capacity) {
            (Some(total), Some(capacity)) if total.value > capacity => Self::DoesNotFit,
            (Some(total), Some(capacity)) if total.high > capacity => Self::Tight,
            (Some(_), Some(_)) => Self::Fits,
            // What is known may already be too much.
            (None, Some(capacity)) => {
                let known: crate::Bytes = device.components.parts().iter().flatten().map(|part| part.value).sum();
                if known.minus(device.reclaimable) > capacity { Self::DoesNotFit } else { Self::Unknown }
            }
            (_, None) => Self::Unknown,
        }
    }

    /// The verdict on a whole plan: the worst of its devices', and no better than what the cache pool holds.
    /// An engine that fills its budget with cache fits only if that cache holds one request.
    pub fn of_plan(plan: &MemoryPlan) -> Self {
        // A host of unknown size beside cards of known size: what stays on it is rarely what fails.
        let has_known_card = plan.devices.iter().any(|device| !device.is_host() && device.capacity.is_some());
        let decides = |device: &&DeviceMemory| !(has_known_card && device.is_host() && device.capacity.is_none());
        let devices = plan.devices.iter().filter(decides).map(Self::of).max().unwrap_or(Self::Unknown);
        let pool = match plan.max_concurrency {
            Some(requests) if requests.value < 1.0 => Self::DoesNotFit,
            Some(requests) if requests.low < 1.0 => Self::Tight,
            _ => Self::Fits,
        };
        devices.max(pool)
    }

    /// The word of the contract.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::Tight => "tight",
            Self::Unknown => "unknown",
            Self::DoesNotFit => "does_not_fit",
        }
    }
}
