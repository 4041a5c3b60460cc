//! Where the memory of each device goes, component by component.

use hwledger_core::engine::{DeviceMemory, EngineError};
use hwledger_core::verdict::Verdict;
use hwledger_core::{Bytes, Estimate};
use serde::Serialize;

use super::PlotError;
use super::heading::{Heading, counted};
use crate::planner::{PlanFailure, Planner};
use crate::request::PlanRequest;

/// A waterfall per device.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryPlot {
    /// What it is of.
    #[serde(flatten)]
    pub heading: Heading,
    /// The devices; those that hold the same stand together.
    pub devices: Vec<DevicePanel>,
}

/// One device, or several that hold the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DevicePanel {
    /// Its name.
    pub name: String,
    /// How many of them.
    pub count: usize,
    /// The components, each starting where the one before ends.
    pub steps: Vec<MemoryStep>,
    /// Their sum; `None` where a component is not known.
    pub total: Option<Estimate<Bytes>>,
    /// What the engine may use of it, where known.
    pub capacity: Option<Bytes>,
    /// Whether it fits.
    pub verdict: Verdict,
}

/// One component of a device's memory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemoryStep {
    /// What it is.
    pub name: &'static str,
    /// What lies below it: the sum of the components before.
    pub start: Bytes,
    /// Its size; `None` is "not known".
    pub size: Option<Estimate<Bytes>>,
}

/// The names of the components, in the order of `Components::parts`.
const NAMES: [&str; 7] = ["weights", "repacked copies", "KV cache", "recurrent state", "compute", "output", "overhead"];

impl DevicePanel {
    fn of(device: &DeviceMemory) -> Self {
        let mut start = Bytes::ZERO;
        let mut steps = Vec::new();
        for (name, size) in NAMES.into_iter().zip(device.components.parts()) {
            // Most models have no recurrent state; a row of nothing says nothing.
            let is_nothing = size.is_some_and(|size| size.high == Bytes::ZERO);
            if !is_nothing || name == "weights" || name == "KV cache" {
                steps.push(MemoryStep { name, start, size });
            }
            start += size.map_or(Bytes::ZERO, |size| size.value);
        }
        Self {
            name: device.name.clone(),
            count: 1,
            steps,
            total: device.components.total(),
            capacity: device.capacity,
            verdict: Verdict::of(device),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        let same = Self { name: other.name.clone(), count: other.count, ..self.clone() };
        same == *other && kind(&self.name) == kind(&other.name)
    }
}

/// A name without the number that tells equal cards apart.
fn kind(name: &str) -> &str {
    name.trim_end_matches(|last: char| last.is_ascii_digit()).trim_end_matches(['#', ' ', ':'])
}

impl Planner {
    /// The memory of a plan as waterfalls.
    pub fn plot_memory(&self, request: &PlanRequest) -> Result<MemoryPlot, PlotError> {
        let prepared = self.prepare(request)?;
        let plan = prepared.question().plan(&prepared.settings).map_err(|error| match error {
            EngineError::NotModelled(_) => PlotError::Memory(error),
            error => PlotError::Plan(PlanFailure::Refused(error)),
        })?;
        let mut devices: Vec<DevicePanel> = Vec::new();
        for panel in plan.devices.iter().map(DevicePanel::of) {
            match devices.last_mut() {
                Some(last) if last.is_like(&panel) => last.count += 1,
                _ => devices.push(panel),
            }
        }
        let sequences = prepared.settings.sequences.unwrap_or(1).max(1);
        let more = format!(
            "{} of {}",
            counted(sequences, "sequence", "sequences"),
            counted(prepared.context, "token", "tokens")
        );
        let mut heading = Heading::of_plan("Memory by device", &prepared, &[more]);
        heading.notes.push("Whiskers: the interval that is meant to hold the true size nine times in ten.".to_owned());
        Ok(MemoryPlot { heading, devices })
    }
}
