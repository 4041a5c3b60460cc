//! SGLang: a static share of each card for weights and pools, the rest for activations and graphs.

pub(super) mod pool;
mod reserve;

use super::paged::{forward_peak, rows};
use super::parallel::Layout;
use super::shard::{Sharding, activation_type};
use super::{Components, EngineError, MemoryPlan};
use crate::model::ModelSpec;
use crate::settings::{Device, Switch};
use crate::weight_format::{WeightFormat, asked_or_stored};
use crate::{Assumptions, Bytes, ElementType, Estimate, Settings};

use pool::{Cells, Pools};
use reserve::{Defaults, fraction, reserve_mib};

const NAME: &str = "sglang";

/// GiB of a card that are gone before weights are loaded: context, kernels, NCCL. Low, usual, high.
/// Source: `Load weight begin. avail mem` lines: 0.66 to 0.77 GiB below the total.
const BEFORE_WEIGHTS_GIB: (f64, f64, f64) = (0.35, 0.7, 1.2);

fn gib(low: f64, value: f64, high: f64) -> Estimate<Bytes> {
    Estimate::formula(Bytes::from_gibibytes(low), Bytes::from_gibibytes(value), Bytes::from_gibibytes(high))
}

/// Sizes of the run, with SGLang's defaults by card.
struct Sizes {
    chunk: u64,
    graph_batch: u64,
    fraction: f64,
}

fn sizes(settings: &Settings, layout: &Layout, assumptions: &mut Assumptions) -> Sizes {
    // `nvidia-smi` shows the upper end of what drivers report.
    let memory = settings.devices.first().and_then(Device::total).map_or(0, |total| total.high.0 >> 20);
    let defaults = Defaults::of(memory, layout.tensor);
    let why = "the server's default on this card";
    let chunk = assumptions.or(settings.max_batched_tokens, "max_batched_tokens", defaults.chunk, why).max(1);
    let reserve =
        reserve_mib(memory, chunk, defaults.graph_batch, layout.tensor * layout.pipeline, layout.attention_data);
    let fraction = assumptions.or(
        settings.gpu_memory_utilization,
        "gpu_memory_utilization",
        fraction(memory, reserve),
        "what the server's own reserve leaves",
    );
    Sizes { chunk, graph_batch: defaults.graph_batch, fraction }
}

/// What the pools get: the static share of what was free before loading, less the weights.
fn static_memory(total: Estimate<Bytes>, weights: Estimate<Bytes>, fraction: f64) -> Estimate<Bytes> {
    let (low, value, high) = BEFORE_WEIGHTS_GIB;
    let before = |total: Bytes, used: f64| total.minus(Bytes::from_gibibytes(used)).scaled(fraction);
    Estimate::formula(
        before(total.low, high).minus(weights.high),
        before(total.value, value).minus(weights.value),
        before(total.high, low).minus(weights.low),
    )
}

/// The memory of `model` as SGLang allocates it.
///
/// **Formula**: pools = free before loading x `mem_fraction_static` - weights; tokens = pools / cell,
/// windows and states having pools of their own. **Source**: `server_args.py` and
/// `model_runner_kv_cache_mixin.py` of SGLang, early 2026.
pub fn plan(model: &ModelSpec, settings: &Settings, assumptions: &mut Assumptions) -> Result<MemoryPlan, EngineError> {
    let layout = Layout::read(NAME, model, settings, assumptions)?;
    let format = asked_or_stored(model, settings, assumptions)?;
    let activation = activation_type(format.as_ref(), model);
    let sizes = sizes(settings, &layout, assumptions);
    let weights = weights(model, settings, layout, format);
    let default = if activation == ElementType::F32 { ElementType::F32 } else { ElementType::BF16 };
    let (key, value) = (settings.kv_type_k.unwrap_or(default), settings.kv_type_v.unwrap_or(default));
    let cells = pool::cells(model, &layout, key, value);
    let context = settings.context.or(model.context_max).unwrap_or(4096).max(1);
    let total = settings.devices.first().and_then(Device::total);
    let heaviest = weights.iter().copied().max_by_key(|stage| stage.value).unwrap_or(Estimate::ZERO);
    let memory = total.map(|total| static_memory(total, heaviest, sizes.fraction));
    let pools = memory.map(|memory| memory_pools(&cells, memory, settings.sequences));
    let requests = settings.sequences.unwrap_or(sizes.graph_batch).min(sizes.graph_batch);
    let peak = forward_peak(model, settings, layout, activation.row_bytes(1), (sizes.chunk.min(context), requests));
    let components = Components {
        weights: None,
        repacked: Some(Estimate::ZERO),
        kv_cache: Some(pools.map_or_else(
            || Estimate::exact(Bytes(cells.request(context))),
            |pools| floor(pools.map(|pools| pools.attention), cells.request(context)),
        )),
        recurrent_state: Some(pools.map_or_else(
            || Estimate::exact(Bytes(cells.state)),
            |pools| floor(pools.map(|pools| pools.state), cells.state),
        )),
        compute: Some(Estimate::within(Bytes(peak), 0.5, 1.6)),
        output: Some(Estimate::ZERO),
        // Context and communication, and the graphs of decode batches.
        overhead: Some(gib(BEFORE_WEIGHTS_GIB.0, BEFORE_WEIGHTS_GIB.1, BEFORE_WEIGHTS_GIB.2) + gib(0.05, 0.4, 1.5)),
    };
    let tokens = pools.map(|pools| pools.map(|pools| pools.tokens));
    Ok(MemoryPlan {
        devices: rows(settings, &layout, &weights, components, total),
        kv_cache_tokens: tokens.map(|[low, value, high]| Estimate::formula(low, value, high)),
        available_kv: memory.map(|memory| {
            let ranks = layout.tensor * layout.pipeline;
            Estimate::formula(memory.low.times(ranks), memory.value.times(ranks), memory.high.times(ranks))
        }),
        max_concurrency: tokens.map(|tokens| {
            let [low, value, high] = tokens.map(|tokens| tokens as f64 / context as f64);
            Estimate::formula(low, value, high)
        }),
    })
}

fn weights(
    model: &ModelSpec,
    settings: &Settings,
    layout: Layout,
    format: Option<WeightFormat>,
) -> Vec<Estimate<Bytes>> {
    let sharding = Sharding {
        model,
        layout,
        format,
        weights_bytes: settings.weights_bytes.map(|bytes| bytes.0),
        vocabulary_multiple: 64,
        has_towers: settings.vision_projector != Some(Switch::Off),
        has_draft: settings.draft.is_some(),
        is_torch: true,
        // `RotaryEmbedding` keeps its table in 32 bits on CUDA.
        rotary_bytes: 4,
    };
    // `mem usage` is the fall of free memory: whole segments of the allocator, some partly used.
    let is_plain = matches!(format, Some(WeightFormat::Plain(_)) | None);
    let (low, high) = if is_plain { (0.99, 1.03) } else { (0.95, 1.25) };
    sharding.stages().into_iter().map(|bytes| Estimate::within(Bytes(bytes), low, high)).collect()
}

fn memory_pools(cells: &Cells, memory: Estimate<Bytes>, sequences: Option<u64>) -> [Pools; 3] {
    [memory.low, memory.value, memory.high].map(|memory| cells.divide(memory.0, sequences))
}

/// At least what one request needs: with less, the server refuses its requests.
fn floor(bytes: [u64; 3], needed: u64) -> Estimate<Bytes> {
    let [low, value, high] = bytes.map(|bytes| Bytes(bytes.max(needed)));
    Estimate::formula(low, value, high)
}
