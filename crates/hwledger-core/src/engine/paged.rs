//! Engines that give a share of each card to one pool of cache blocks: TGI, TensorRT-LLM, mistral.rs.

use super::parallel::{Layout, device_of};
use super::sglang::pool::{Cells, cells};
use super::shard::{Sharding, activation_type};
use super::vllm::activation::{ProfileRun, library_workspace};
use super::vllm::release::Release;
use super::{Components, DeviceMemory, EngineError, MemoryPlan};
use crate::model::ModelSpec;
use crate::settings::{Device, Switch};
use crate::weight_format::asked_or_stored;
use crate::{Assumptions, Bytes, ElementType, Estimate, Settings};

/// What the share is taken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShareOf {
    /// The card's total: weights and activations come out of the share.
    Total,
    /// What is free after weights and activations.
    Free,
}

/// How one engine sizes its pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolRules {
    pub(super) engine: &'static str,
    /// Tokens per block.
    pub(super) block: u64,
    /// The default share.
    pub(super) share: f64,
    pub(super) share_of: ShareOf,
    /// Tokens of the largest step, by default.
    pub(super) step_tokens: u64,
    /// Context, kernels and communication in GiB: low, usual, high.
    pub(super) overhead_gib: (f64, f64, f64),
    /// How good the figure for activations is, as factors.
    pub(super) activation_bounds: (f64, f64),
}

fn gib((low, value, high): (f64, f64, f64)) -> Estimate<Bytes> {
    Estimate::formula(Bytes::from_gibibytes(low), Bytes::from_gibibytes(value), Bytes::from_gibibytes(high))
}

/// Most tokens of one pass that are believed: beyond, products with widths would leave 64 bits.
const TOKENS_MAX: u64 = 1 << 34;

/// Bytes that a forward pass of `tokens` tokens holds at once, with logits for `rows` of them: the
/// shapes of the layers, which all engines share.
pub(super) fn forward_peak(
    model: &ModelSpec,
    settings: &Settings,
    layout: Layout,
    activation_bytes: u64,
    (tokens, rows): (u64, u64),
) -> u64 {
    let compute = settings.devices.first().and_then(|device| device.spec.as_ref()?.compute_capability()).unwrap_or(0.0);
    let run = ProfileRun {
        model,
        layout,
        release: Release::NEWEST,
        is_version_zero: false,
        tokens: tokens.clamp(1, TOKENS_MAX),
        rows: rows.max(1),
        context: settings.context.unwrap_or(0),
        activation_bytes,
        quantises_inputs: false,
        has_own_expert_kernels: true,
        multiprocessors: 0,
        workspace: library_workspace(compute >= 9.0),
        has_vision: !model.towers.is_empty() && settings.vision_projector != Some(Switch::Off),
    };
    run.peak(true, true)
}

/// What one plan rests on.
struct Resolved {
    layout: Layout,
    stages: Vec<Estimate<Bytes>>,
    width: u64,
    share: f64,
    step_tokens: u64,
    cells: Cells,
}

impl PoolRules {
    /// What is left of `total` for the pool.
    fn pool(&self, total: Bytes, used: Bytes, share: f64) -> Bytes {
        match self.share_of {
            ShareOf::Total => total.scaled(share).minus(used),
            ShareOf::Free => total.minus(used).scaled(share),
        }
    }

    fn resolve(
        &self,
        model: &ModelSpec,
        settings: &Settings,
        assumptions: &mut Assumptions,
    ) -> Result<Resolved, EngineError> {
        let layout = Layout::read(self.engine, model, settings, assumptions)?;
        let format = asked_or_stored(model, settings, assumptions)?;
        let activation = activation_type(format.as_ref(), model);
        let width = activation.row_bytes(1);
        let why = "the engine's default";
        let share = assumptions.or(settings.gpu_memory_utilization, "gpu_memory_utilization", self.share, why);
        let step_tokens = assumptions.or(settings.max_batched_tokens, "max_batched_tokens", self.step_tokens, why);
        let sharding = Sharding {
            model,
            layout,
            format,
            weights_bytes: settings.weights_bytes.map(|bytes| bytes.0),
            vocabulary_multiple: 1,
            has_towers: settings.vision_projector != Some(Switch::Off),
            has_draft: settings.draft.is_some(),
            is_torch: false,
            rotary_bytes: width,
        };
        let stages = sharding.stages().into_iter().map(|bytes| Estimate::within(Bytes(bytes), 0.97, 1.06)).collect();
        let default = if activation == ElementType::F32 { ElementType::F32 } else { ElementType::BF16 };
        let (key, value) = (settings.kv_type_k.unwrap_or(default), settings.kv_type_v.unwrap_or(default));
        Ok(Resolved { layout, stages, width, share, step_tokens, cells: cells(model, &layout, key, value) })
    }

    /// The memory of `model` under these rules, a row per rank.
    pub(super) fn plan(
        &self,
        model: &ModelSpec,
        settings: &Settings,
        assumptions: &mut Assumptions,
    ) -> Result<MemoryPlan, EngineError> {
        let Resolved { layout, stages, width, share, step_tokens, cells } =
            self.resolve(model, settings, assumptions)?;
        let block_bytes = (cells.full + cells.window) * self.block;
        let context = settings.context.or(model.context_max).unwrap_or(4096).max(1);
        let sequences = settings.sequences.unwrap_or(1).max(1);
        let peak = forward_peak(model, settings, layout, width, (step_tokens.min(context), sequences.min(256)));
        let compute = Estimate::within(Bytes(peak), self.activation_bounds.0, self.activation_bounds.1);
        let state = Bytes(cells.state).times(sequences);
        let overhead = gib(self.overhead_gib);
        let heaviest = stages.iter().copied().max_by_key(|stage| stage.value).unwrap_or(Estimate::ZERO);
        let used = heaviest + compute + overhead + Estimate::exact(state);
        let total = settings.devices.first().and_then(Device::total);
        let pool = total.map(|total| {
            Estimate::formula(
                self.pool(total.low, used.high, share),
                self.pool(total.value, used.value, share),
                self.pool(total.high, used.low, share),
            )
        });
        let needed = Bytes(context.div_ceil(self.block).saturating_mul(block_bytes));
        let kv_cache = pool.map_or(Estimate::exact(needed), |pool| {
            Estimate::formula(pool.low.max(needed), pool.value.max(needed), pool.high.max(needed))
        });
        let components = Components {
            weights: None,
            repacked: Some(Estimate::ZERO),
            kv_cache: Some(kv_cache),
            recurrent_state: Some(Estimate::exact(state)),
            compute: Some(compute),
            output: Some(Estimate::ZERO),
            overhead: Some(overhead),
        };
        let pool_tokens = |bytes: Bytes| bytes.0.checked_div(block_bytes).unwrap_or(0) * self.block;
        let tokens = pool.map(|pool| [pool.low, pool.value, pool.high].map(pool_tokens));
        let ranks = layout.tensor * layout.pipeline;
        Ok(MemoryPlan {
            devices: rows(settings, &layout, &stages, components, total),
            kv_cache_tokens: tokens.map(|[low, value, high]| Estimate::formula(low, value, high)),
            available_kv: pool
                .map(|pool| Estimate::formula(pool.low.times(ranks), pool.value.times(ranks), pool.high.times(ranks))),
            max_concurrency: tokens.map(|tokens| {
                let [low, value, high] = tokens.map(|tokens| tokens as f64 / context as f64);
                Estimate::formula(low, value, high)
            }),
        })
    }
}

/// A row per rank of every replica: stages differ in their weights only.
pub(super) fn rows(
    settings: &Settings,
    layout: &Layout,
    weights: &[Estimate<Bytes>],
    components: Components,
    total: Option<Estimate<Bytes>>,
) -> Vec<DeviceMemory> {
    let mut rows = Vec::new();
    for _ in 0..layout.data {
        for stage in weights {
            for _ in 0..layout.tensor {
                let device = device_of(settings, rows.len() as u64);
                rows.push(DeviceMemory::new(
                    device.map_or_else(|| "device".to_owned(), |device| device.name.clone()),
                    Components { weights: Some(*stage), ..components },
                    total.map(|total| total.value),
                ));
            }
        }
    }
    rows
}
