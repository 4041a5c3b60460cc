//! The devices that ggml's backends name before anything is loaded.

use crate::measurement::quantity::{after, between};

/// Cards and processor, as far as lines have named them.
#[derive(Debug, Default)]
pub(in crate::measurement) struct Devices {
    pub(in crate::measurement) cards: Vec<String>,
    pub(in crate::measurement) processor: Option<String>,
}

/// Most cards that are believed.
const CARDS_MAX: usize = 64;

impl Devices {
    /// Whether a line opens another list of devices.
    pub(in crate::measurement) fn begins_anew(line: &str) -> bool {
        ["ggml_cuda_init: found", "ggml_vulkan: Found", "ggml_metal_init: found device", "ggml_metal_init: allocating"]
            .iter()
            .any(|start| line.contains(start))
    }

    /// Takes the device that a line names, if it does:
    ///
    /// * CUDA and `ROCm`: `  Device 0: NVIDIA GeForce RTX 3090, compute capability 8.6, VMM: yes`
    /// * Vulkan: `ggml_vulkan: 0 = AMD Radeon RX 7900 XTX (RADV NAVI31) (radv) | uma: 0 | ...`
    /// * Metal: `ggml_metal_device_init: GPU name:   Apple M2 Ultra`
    pub(in crate::measurement) fn read(&mut self, line: &str) {
        let line = line.trim();
        let name = if let Some(rest) = line.strip_prefix("Device ") {
            let is_numbered = rest.starts_with(|letter: char| letter.is_ascii_digit());
            is_numbered.then(|| between(rest, ": ", &[','])).flatten()
        } else if let Some(rest) = after(line, "ggml_vulkan: ") {
            between(rest, " = ", &['|', '(']).filter(|_| rest.contains('|'))
        } else if line.contains("ggml_metal") {
            after(line, "GPU name:").or_else(|| after(line, "found device:"))
        } else {
            None
        };
        let Some(name) = name.map(str::trim).filter(|name| !name.is_empty() && name.len() < 200) else { return };
        // Metal names its one device on two lines.
        let is_repeated = line.contains("ggml_metal") && self.cards.iter().any(|card| card == name);
        if !is_repeated && self.cards.len() < CARDS_MAX {
            self.cards.push(name.to_owned());
        }
    }

    /// The one kind of card and its count; several kinds give neither.
    pub(in crate::measurement) fn kind(&self) -> Option<(&str, u64)> {
        let first = self.cards.first()?;
        self.cards.iter().all(|card| card == first).then_some((first.as_str(), self.cards.len() as u64))
    }
}
