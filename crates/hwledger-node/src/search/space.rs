//! The combinations of a search.

use std::collections::HashMap;

use hwledger_core::advice::weight_ladder;
use hwledger_core::device::{catalogue, find};
use hwledger_core::engine::support::{format_obstacle, obstacle};
use hwledger_core::model::ModelSpec;
use hwledger_core::settings::{Device, DeviceKind, Engine};
use hwledger_core::weight_format::{self, WeightFormat};
use hwledger_core::{Assumptions, Bytes};

use super::request::{Checked, SearchRequest};
use crate::model::LoadedModel;
use crate::planner::{PlanFailure, Planner};

/// Weights as one engine may hold them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Weights {
    /// The format; `None` for what the model's files hold.
    pub(super) format: Option<String>,
    /// Bytes of all of them, the embedding included.
    pub(super) bytes: Bytes,
    /// Bits per parameter.
    pub(super) bits: f64,
    /// Why the engine does not read it.
    pub(super) obstacle: Option<&'static str>,
}

/// A device of the search.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) device: Device,
    /// Engines that run there, as indices into [`Space::engines`], or why not.
    pub(super) obstacles: Vec<Option<&'static str>>,
    /// How many may be used together.
    pub(super) counts: Vec<u64>,
}

/// Everything that is combined.
pub(super) struct Space {
    pub(super) devices: Vec<Machine>,
    pub(super) engines: Vec<Engine>,
    /// Weights of each engine.
    pub(super) weights: Vec<Vec<Weights>>,
    pub(super) kv_types: usize,
}

impl Space {
    pub(super) fn of(
        planner: &Planner,
        request: &SearchRequest,
        asked: &Checked,
        model: &LoadedModel,
        assumptions: &mut Assumptions,
    ) -> Result<Self, PlanFailure> {
        let devices = if request.devices.is_empty() {
            known_devices()
        } else {
            planner.distinct_devices(&request.devices, assumptions)?
        };
        let machines = devices
            .into_iter()
            .map(|device| {
                let obstacles = asked.engines.iter().map(|&engine| obstacle(engine, &device)).collect();
                // Machines whose memory is their own are not joined here: nothing measured says how fast that is.
                let is_whole = matches!(device.kind, DeviceKind::Apple | DeviceKind::SharedMemory | DeviceKind::Cpu);
                let counts = if is_whole { vec![1] } else { asked.counts.clone() };
                Machine { device, obstacles, counts }
            })
            .collect();
        let mut known = HashMap::new();
        let weights = asked.engines.iter().map(|&engine| weights_of(engine, request, model, &mut known)).collect();
        Ok(Self { devices: machines, engines: asked.engines.clone(), weights, kv_types: asked.kv_types.len() })
    }

    /// How many combinations there are, layouts of ranks left out.
    pub(super) fn combinations(&self) -> u64 {
        let counts: usize = self.devices.iter().map(|machine| machine.counts.len()).sum();
        let formats: usize = self.weights.iter().map(Vec::len).sum();
        (counts as u64).saturating_mul(formats as u64).saturating_mul(self.kv_types as u64)
    }
}

/// Every device of the catalogue whose rates are known, once for each size sold.
fn known_devices() -> Vec<Device> {
    let mut devices = Vec::new();
    for spec in catalogue() {
        let has_rates = spec.bandwidth.is_some() && !spec.peaks.is_unknown();
        // A processor's memory is the machine's: nobody knows how much.
        if !has_rates || spec.kind == DeviceKind::Cpu {
            continue;
        }
        for &size in &spec.memory_sizes {
            if let Ok(found) = find(&spec.name, Some(size)) {
                devices.push(found.device);
            }
        }
    }
    devices
}

/// The formats in which an engine may hold a model, from the finest to the coarsest.
fn weights_of(
    engine: Engine,
    request: &SearchRequest,
    model: &LoadedModel,
    known: &mut HashMap<String, Option<(Bytes, f64)>>,
) -> Vec<Weights> {
    let is_gguf_engine = matches!(engine, Engine::LlamaCpp | Engine::IkLlamaCpp | Engine::Ollama);
    let mut list = Vec::new();
    if request.weights.is_empty() {
        // What the files hold, where the engine reads them and they are not 16 bits anyway.
        let is_read = model.is_gguf == is_gguf_engine && engine != Engine::Mlx;
        let is_wide = |stored: &str| {
            ["bf16", "f16", "f32", "float16", "bfloat16"].iter().any(|wide| stored.eq_ignore_ascii_case(wide))
        };
        if is_read && model.spec.stored_format.as_ref().is_some_and(|stored| !is_wide(stored)) {
            let bytes = Bytes(model.spec.weights().fold(0, |sum, (weight, count)| {
                let own = weight.bytes_as(weight_format::element_type(None, &model.spec, weight));
                sum.saturating_add(own.saturating_mul(count))
            }));
            list.push(Weights { format: None, bytes, bits: bits(bytes, &model.spec), obstacle: None });
        }
        if !model.is_gguf {
            for format in weight_ladder(engine) {
                push(engine, &mut list, format, model, known);
            }
        }
    } else {
        for format in &request.weights {
            push(engine, &mut list, format, model, known);
        }
    }
    list
}

fn push(
    engine: Engine,
    list: &mut Vec<Weights>,
    format: &str,
    model: &LoadedModel,
    known: &mut HashMap<String, Option<(Bytes, f64)>>,
) {
    let size = *known.entry(format.to_owned()).or_insert_with(|| {
        let parsed: WeightFormat = format.parse().ok()?;
        let bytes = match parsed {
            WeightFormat::Gguf(format) => weight_format::mixture_bytes(format, &model.spec),
            other => model.spec.weights().fold(0_u64, |sum, (weight, count)| {
                let own = weight.bytes_as(other.element_type(&model.spec, weight));
                sum.saturating_add(own.saturating_mul(count))
            }),
        };
        Some((Bytes(bytes), bits(Bytes(bytes), &model.spec)))
    });
    if let Some((bytes, bits)) = size {
        let obstacle = format.parse().ok().and_then(|parsed| format_obstacle(engine, format, &parsed));
        list.push(Weights { format: Some(format.to_owned()), bytes, bits, obstacle });
    }
}

/// Bits per parameter.
fn bits(bytes: Bytes, spec: &ModelSpec) -> f64 {
    let parameters = spec.weights().fold(0.0, |sum, (weight, count)| sum + weight.elements() as f64 * count as f64);
    bytes.0 as f64 * 8.0 / f64::max(parameters, 1.0)
}
