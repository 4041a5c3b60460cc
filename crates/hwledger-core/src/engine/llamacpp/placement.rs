//! Which device holds which layer.

use crate::model::ModelSpec;
use crate::settings::{Device, DeviceKind, LayerCount, SplitMode};
use crate::{Assumptions, Bytes, Settings};

/// Where the layers of a model are.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// Cards, in order; empty where everything runs on the processor.
    pub cards: Vec<Device>,
    /// How layers are divided among them.
    pub split_mode: SplitMode,
    /// The first layer on a card; the output layer comes after the last one.
    first_on_card: u64,
    /// Layers of the model, those that predict further tokens included; the output layer is not.
    layers: u64,
    /// Cumulated share of each card.
    shares: Vec<f32>,
    /// The first layers whose experts stay on the host.
    pub cpu_moe_layers: u64,
}

impl Placement {
    /// The placement that llama.cpp chooses.
    ///
    /// **Source**: `llama_model_base::load_tensors` of llama.cpp 0.5.0: the output layer counts as
    /// one of `n_gpu_layers`; layers are divided by free memory, here by nominal memory.
    pub fn resolve(model: &ModelSpec, settings: &Settings, assumptions: &mut Assumptions) -> Self {
        let layers = super::architecture::layers_in_file(model) as u64;
        let mut cards: Vec<Device> =
            settings.devices.iter().filter(|device| device.kind != DeviceKind::Cpu).cloned().collect();
        if cards.is_empty() && asks_for_card(settings) {
            assumptions.note("devices", "one card", "layers are asked on a card that nobody named");
            cards.push(Device { name: "GPU".to_owned(), memory: None, kind: DeviceKind::Other, spec: None });
        }
        let offloaded = match settings.gpu_layers {
            _ if cards.is_empty() || is_backend_cpu(settings) => 0,
            Some(LayerCount::Some(count)) => count.min(layers + 1),
            Some(LayerCount::All) => layers + 1,
            None => {
                assumptions.note("gpu_layers", "all", "the engine offloads every layer where it fits");
                layers + 1
            }
        };
        if offloaded == 0 && is_backend_cpu(settings) {
            cards.clear();
        }
        let cpu_moe_layers = match settings.cpu_moe_layers {
            None => 0,
            Some(LayerCount::Some(count)) => count,
            Some(LayerCount::All) => u64::MAX,
        };
        let shares = shares(&cards);
        Self {
            cards,
            split_mode: settings.split_mode.unwrap_or(SplitMode::Layer),
            first_on_card: layers + 1 - offloaded,
            layers,
            shares,
            cpu_moe_layers,
        }
    }

    /// The card that holds `layer`; `None` is the host. The output layer's number is that of layers.
    // Single precision, as the engine compares.
    pub fn card_of(&self, layer: u64) -> Option<usize> {
        if self.cards.is_empty() || layer < self.first_on_card {
            return None;
        }
        let offloaded = self.layers + 1 - self.first_on_card;
        let place = (layer - self.first_on_card) as f32 / offloaded as f32;
        Some(self.shares.iter().position(|&share| share > place).unwrap_or(self.cards.len() - 1))
    }

    /// The card that holds the output layer.
    pub fn output_card(&self) -> Option<usize> {
        self.card_of(self.layers)
    }

    /// Layers on cards, the output layer as one.
    pub const fn offloaded(&self) -> u64 {
        self.layers + 1 - self.first_on_card
    }

    /// Whether every layer is on a card.
    pub const fn is_full(&self) -> bool {
        self.first_on_card == 0
    }

    /// Share of card `index` in what is divided evenly by memory.
    pub fn share(&self, index: usize) -> f64 {
        let before = if index == 0 { 0.0 } else { self.shares[index - 1] };
        f64::from(self.shares[index] - before)
    }

    /// Whether several cards work on consecutive batches at once, which keeps four copies of the
    /// graph's inputs: all layers on more than one card, split by layer, no tensor moved.
    pub fn is_pipelined(&self) -> bool {
        self.cards.len() > 1
            && self.is_full()
            && self.split_mode == SplitMode::Layer
            && self.cpu_moe_layers == 0
            // Asynchronous copies and events: CUDA and its HIP build.
            && self.cards.iter().all(|card| matches!(card.kind, DeviceKind::Nvidia | DeviceKind::Amd))
    }
}

fn is_backend_cpu(settings: &Settings) -> bool {
    settings.backend.as_deref().is_some_and(|backend| backend.eq_ignore_ascii_case("cpu"))
}

fn asks_for_card(settings: &Settings) -> bool {
    settings.devices.is_empty()
        && !is_backend_cpu(settings)
        && match settings.gpu_layers {
            Some(LayerCount::Some(count)) => count > 0,
            Some(LayerCount::All) => true,
            None => settings.backend.is_some(),
        }
}

/// Cumulated shares by memory; equal where one is not known.
fn shares(cards: &[Device]) -> Vec<f32> {
    let is_known = cards.iter().all(|card| card.memory.is_some_and(|memory| memory > Bytes::ZERO));
    let weight = |card: &Device| card.memory.filter(|_| is_known).map_or(1.0, |memory| memory.0 as f32);
    let total: f32 = cards.iter().map(weight).sum();
    let mut sum = 0.0;
    cards
        .iter()
        .map(|card| {
            sum += weight(card);
            sum / total
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::llama_8b;

    fn cards(gibibytes: &[u64]) -> Vec<Device> {
        let card = |&size: &u64| Device {
            name: "card".to_owned(),
            memory: Some(Bytes(size << 30)),
            kind: DeviceKind::Nvidia,
            spec: None,
        };
        gibibytes.iter().map(card).collect()
    }

    fn placed(devices: &[u64], gpu_layers: LayerCount) -> Placement {
        let settings = Settings { devices: cards(devices), gpu_layers: Some(gpu_layers), ..Settings::default() };
        Placement::resolve(&llama_8b(), &settings, &mut Assumptions::default())
    }

    #[test]
    fn the_output_layer_counts_as_one_and_goes_first() {
        let one = placed(&[24], LayerCount::Some(1));
        assert_eq!((one.card_of(31), one.output_card()), (None, Some(0)));
        let ten = placed(&[24], LayerCount::Some(10));
        assert_eq!((ten.card_of(22), ten.card_of(23)), (None, Some(0)));
        assert!(placed(&[24], LayerCount::Some(33)).is_full());
        assert!(!placed(&[24], LayerCount::Some(32)).is_full());
        assert!(placed(&[24], LayerCount::Some(999)).is_full());
    }

    #[test]
    fn layers_are_divided_by_memory() {
        let two = placed(&[24, 8], LayerCount::All);
        let on_first = (0..=32).filter(|&layer| two.card_of(layer) == Some(0)).count();
        // Three quarters of 33 layers, the output layer included.
        assert_eq!(on_first, 25);
        assert!(two.is_pipelined());
    }

    #[test]
    fn without_cards_everything_is_on_the_host() {
        let none = placed(&[], LayerCount::Some(0));
        assert_eq!((none.card_of(0), none.output_card(), none.cards.len()), (None, None, 0));
    }
}
