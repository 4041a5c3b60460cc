//! vLLM: a share of each card is budgeted, and what weights and the profile run leave is the cache.

pub(super) mod activation;
mod cache;
pub(super) mod release;

use super::parallel::{Layout, device_of};
use super::shard::{Sharding, activation_type};
use super::{Components, DeviceMemory, EngineError, MemoryPlan};
use crate::model::ModelSpec;
use crate::settings::{Device, Switch};
use crate::weight_format::{WeightFormat, asked_or_stored};
use crate::{Assumptions, Bytes, ElementType, Estimate, Settings};

use activation::{ProfileRun, library_workspace};
use cache::{CacheRules, Pool};
use release::Release;

const NAME: &str = "vllm";

/// Tokens for which the all-reduce workspaces hold a hidden state of every rank.
const WORKSPACE_TOKENS: u64 = 2600;

/// Everything that a plan rests on, resolved.
struct Plan<'a> {
    model: &'a ModelSpec,
    settings: &'a Settings,
    layout: Layout,
    release: Release,
    is_version_zero: bool,
    format: Option<WeightFormat>,
    activation: ElementType,
    context: u64,
    batched_tokens: u64,
    sequences: u64,
    utilization: f64,
}

/// The card that decides defaults.
fn first_device(settings: &Settings) -> Option<&Device> {
    settings.devices.first()
}

fn compute_capability(device: Option<&Device>) -> f64 {
    device.and_then(|device| device.spec.as_ref()?.compute_capability()).unwrap_or(0.0)
}

/// Cards of 70 GiB and more get larger batches by default, the A100 excepted (`EngineArgs`).
fn is_large(device: Option<&Device>) -> bool {
    device.is_some_and(|device| {
        device.memory.is_some_and(|memory| memory.gibibytes() >= 70.0) && !device.name.contains("A100")
    })
}

impl<'a> Plan<'a> {
    fn resolve(
        model: &'a ModelSpec,
        settings: &'a Settings,
        assumptions: &mut Assumptions,
    ) -> Result<Self, EngineError> {
        let layout = Layout::read(NAME, model, settings, assumptions)?;
        let format = asked_or_stored(model, settings, assumptions)?;
        let device = first_device(settings);
        let release = match settings.engine_version.as_deref().map(Release::parse) {
            Some(Some(release)) => release,
            _ => newest(assumptions),
        };
        let is_version_zero = release.is_version_zero(device);
        let context = settings.context.or(model.context_max).unwrap_or(4096).max(1);
        let default_tokens = match (is_version_zero, is_large(device)) {
            (true, _) => context.max(2048),
            (false, true) => 8192,
            (false, false) => 2048,
        };
        let why = "the server's default on this card";
        let batched_tokens =
            assumptions.or(settings.max_batched_tokens, "max_batched_tokens", default_tokens, why).max(1);
        let default_sequences = if is_large(device) && !is_version_zero { 1024 } else { 256 };
        let sequences =
            assumptions.or(settings.sequences, "sequences", default_sequences, why).clamp(1, batched_tokens);
        let utilization = assumptions.or(
            settings.gpu_memory_utilization,
            "gpu_memory_utilization",
            release.utilization(),
            "the release's default",
        );
        // `dtype` auto turns a 32-bit checkpoint into 16 bits; only a request for 32 bits keeps them.
        let activation = match activation_type(format.as_ref(), model) {
            ElementType::F32 if format.is_none() => ElementType::BF16,
            stated => stated,
        };
        Ok(Self {
            model,
            settings,
            layout,
            release,
            is_version_zero,
            format,
            activation,
            context,
            batched_tokens,
            sequences,
            utilization,
        })
    }

    /// Weights of each stage's ranks.
    fn weights(&self) -> Vec<Estimate<Bytes>> {
        let sharding = Sharding {
            model: self.model,
            layout: self.layout,
            format: self.format,
            weights_bytes: self.settings.weights_bytes.map(|bytes| bytes.0),
            vocabulary_multiple: 64,
            has_towers: self.settings.vision_projector != Some(Switch::Off),
            has_draft: self.settings.draft.is_some(),
            is_torch: true,
            rotary_bytes: self.activation.row_bytes(1),
        };
        // Quantised files differ in what they leave at 16 bits, and kernels in how they repack.
        let is_plain = matches!(self.format, Some(WeightFormat::Plain(_)) | None);
        let (low, high) = if is_plain { (0.995, 1.008) } else { (0.96, 1.06) };
        sharding.stages().into_iter().map(|bytes| Estimate::within(Bytes(bytes), low, high)).collect()
    }

    fn profile_run(&self) -> ProfileRun<'a> {
        let compute = compute_capability(first_device(self.settings));
        let quantises_inputs = match self.format {
            Some(WeightFormat::Scheme(scheme)) => (scheme.element_type.bytes_per_element() - 1.0).abs() < 0.01,
            _ => false,
        };
        let has_own_expert_kernels = match self.format {
            Some(WeightFormat::Scheme(scheme)) => scheme.element_type == ElementType::Mxfp4,
            _ => self.model.decoder.kinds.iter().any(|layer| {
                layer
                    .weights
                    .iter()
                    .any(|weight| weight.role.is_routed_expert() && weight.stored == Some(ElementType::Mxfp4))
            }),
        };
        ProfileRun {
            model: self.model,
            layout: self.layout,
            release: self.release,
            is_version_zero: self.is_version_zero,
            tokens: self.batched_tokens,
            rows: self.sequences.min(self.batched_tokens),
            context: self.context,
            activation_bytes: self.activation.row_bytes(1),
            quantises_inputs,
            has_own_expert_kernels,
            multiprocessors: if compute >= 9.0 { 132 } else { 108 },
            workspace: library_workspace(compute >= 9.0),
            has_vision: !self.model.towers.is_empty() && self.settings.vision_projector != Some(Switch::Off),
        }
    }

    /// The activation peak of one stage. The shapes are exact; which of them live together depends on
    /// how the compiler fuses, and before 0.17 on how the sampler sorts.
    fn activation_peak(&self, run: &ProfileRun<'_>, stage: u64) -> Estimate<Bytes> {
        let peak = Bytes(run.peak(stage == 0, stage + 1 == self.layout.pipeline));
        if self.release.has_sampling_kernel() {
            Estimate::within(peak, 0.95, 1.08)
        } else {
            Estimate::within(peak, 0.35, 1.3)
        }
    }

    /// Memory outside torch of one rank.
    ///
    /// With several tensor ranks: NCCL's channel buffers and the all-reduce workspaces of vLLM and
    /// `FlashInfer`, about 1.8 GiB on `NVLink` machines plus a part that grows with ranks and hidden size.
    /// Source: start-up logs of 0.19 on H100 (2.05 to 2.21 GiB at two and four ranks).
    fn non_torch(&self, stage: u64) -> Estimate<Bytes> {
        let gib = |low: f64, value: f64, high: f64| {
            Estimate::formula(Bytes::from_gibibytes(low), Bytes::from_gibibytes(value), Bytes::from_gibibytes(high))
        };
        let (low, value, high) = self.release.non_torch_gib(self.is_version_zero);
        if self.layout.tensor == 1 {
            // A stage that does not sample loads no sampler kernels.
            let samples = stage + 1 == self.layout.pipeline;
            return if samples || self.layout.pipeline == 1 { gib(low, value, high) } else { gib(0.05, 0.07, 0.2) };
        }
        let workspace = Bytes(self.layout.tensor * WORKSPACE_TOKENS * self.model.hidden_size * 2).gibibytes();
        let has_nvlink = compute_capability(first_device(self.settings)) >= 9.0;
        let channels = if has_nvlink { (1.4, 1.78, 1.95) } else { (0.1, 0.4, 1.6) };
        gib(low + channels.0, value + channels.1 + workspace, high + channels.2 + 1.5 * workspace)
    }

    /// What CUDA graphs take of the budget, where the release takes it off.
    fn graphs(&self) -> Estimate<Bytes> {
        if !self.release.subtracts_graphs() {
            return Estimate::ZERO;
        }
        Estimate::formula(Bytes::from_gibibytes(0.2), Bytes::from_gibibytes(0.6), Bytes::from_gibibytes(1.5))
    }

    fn cache_rules(&self) -> CacheRules<'a> {
        let default = if self.activation == ElementType::F32 { ElementType::F32 } else { ElementType::BF16 };
        CacheRules {
            model: self.model,
            layout: self.layout,
            release: self.release,
            key: self.settings.kv_type_k.unwrap_or(default),
            value: self.settings.kv_type_v.unwrap_or(default),
            activation_bytes: self.activation.row_bytes(1).min(2),
            context: self.context,
            batched_tokens: self.batched_tokens,
            has_draft: self.settings.draft.is_some(),
        }
    }
}

fn newest(assumptions: &mut Assumptions) -> Release {
    assumptions.note("engine_version", "0.22", "the newest whose rules are known");
    Release::NEWEST
}

/// One stage's memory per rank.
#[derive(Clone, Copy)]
struct Stage {
    weights: Estimate<Bytes>,
    activation: Estimate<Bytes>,
    non_torch: Estimate<Bytes>,
    graphs: Estimate<Bytes>,
    pool: Option<Pool>,
}

impl Stage {
    /// What is left of `budget` for the cache.
    fn available(&self, budget: Estimate<Bytes>) -> Estimate<Bytes> {
        let used = self.weights + self.activation + self.non_torch + self.graphs;
        Estimate::formula(budget.low.minus(used.high), budget.value.minus(used.value), budget.high.minus(used.low))
    }
}

fn scaled(estimate: Estimate<Bytes>, factor: f64) -> Estimate<Bytes> {
    Estimate::formula(estimate.low.scaled(factor), estimate.value.scaled(factor), estimate.high.scaled(factor))
}

/// The pool of a replica: every stage has as many blocks as the stage that has fewest.
struct Blocks {
    low: u64,
    value: u64,
    high: u64,
}

impl Blocks {
    fn of(stages: &[Stage], available: &[Estimate<Bytes>]) -> Option<Self> {
        let fewest = |of: fn(&Estimate<Bytes>) -> Bytes| {
            stages.iter().zip(available).filter_map(|(stage, bytes)| Some(stage.pool?.blocks(of(bytes).0))).min()
        };
        Some(Self { low: fewest(|e| e.low)?, value: fewest(|e| e.value)?, high: fewest(|e| e.high)? })
    }
}

/// The memory of `model` as vLLM allocates it.
///
/// **Formula**: cache = total x `gpu_memory_utilization` - weights - activation peak of the profile
/// run - memory outside torch (- graphs, from 0.21). **Source**: `gpu_worker.py`,
/// `kv_cache_utils.py` and `kv_cache_interface.py` of vLLM 0.19.
pub fn plan(model: &ModelSpec, settings: &Settings, assumptions: &mut Assumptions) -> Result<MemoryPlan, EngineError> {
    let plan = Plan::resolve(model, settings, assumptions)?;
    let run = plan.profile_run();
    let rules = plan.cache_rules();
    let stages: Vec<Stage> = (0..)
        .zip(plan.weights())
        .map(|(stage, weights)| Stage {
            weights,
            activation: plan.activation_peak(&run, stage),
            non_torch: plan.non_torch(stage),
            graphs: plan.graphs(),
            pool: rules.pool(stage),
        })
        .collect();
    let total = first_device(settings).and_then(Device::total);
    let available: Option<Vec<Estimate<Bytes>>> =
        total.map(|total| stages.iter().map(|stage| stage.available(scaled(total, plan.utilization))).collect());
    let blocks = available.as_deref().and_then(|available| Blocks::of(&stages, available));
    let devices = rows(&plan, &stages, total, available.as_deref());
    let pool = stages.iter().find_map(|stage| stage.pool);
    Ok(MemoryPlan {
        devices,
        kv_cache_tokens: blocks.as_ref().zip(pool).map(|(blocks, pool)| {
            Estimate::formula(pool.tokens(blocks.low), pool.tokens(blocks.value), pool.tokens(blocks.high))
        }),
        available_kv: available
            .map(|available| available.into_iter().map(|bytes| scaled(bytes, plan.layout.tensor as f64)).sum()),
        max_concurrency: blocks.zip(pool).map(|(blocks, pool)| {
            let requests = |blocks: u64| blocks as f64 / pool.request_blocks.max(1) as f64;
            Estimate::formula(requests(blocks.low), requests(blocks.value), requests(blocks.high))
        }),
    })
}

/// A row per rank. The cache is the whole pool, or what one request needs where the pool is smaller:
/// vLLM refuses to start then.
fn rows(
    plan: &Plan<'_>,
    stages: &[Stage],
    total: Option<Estimate<Bytes>>,
    available: Option<&[Estimate<Bytes>]>,
) -> Vec<DeviceMemory> {
    let mut rows = Vec::new();
    let mut rank = 0;
    for _ in 0..plan.layout.data {
        for (index, stage) in stages.iter().enumerate() {
            let needed = stage.pool.map_or(0, |pool| pool.request_blocks.saturating_mul(pool.block_bytes));
            let state = stage.pool.map_or(0, |pool| pool.state_blocks.saturating_mul(pool.block_bytes));
            let floor = |bytes: Bytes| Bytes(bytes.0.max(needed).saturating_sub(state));
            let kv_cache = match available.and_then(|available| available.get(index)) {
                Some(pool) => Estimate::formula(floor(pool.low), floor(pool.value), floor(pool.high)),
                None => Estimate::exact(Bytes(needed.saturating_sub(state))),
            };
            let components = Components {
                weights: Some(stage.weights),
                repacked: Some(Estimate::ZERO),
                kv_cache: Some(kv_cache),
                recurrent_state: Some(Estimate::exact(Bytes(state))),
                compute: Some(stage.activation),
                output: Some(Estimate::ZERO),
                overhead: Some(stage.non_torch + stage.graphs),
            };
            for _ in 0..plan.layout.tensor {
                let device = device_of(plan.settings, rank);
                rows.push(DeviceMemory::new(
                    device.map_or_else(|| "device".to_owned(), |device| device.name.clone()),
                    components,
                    total.map(|total| total.value),
                ));
                rank += 1;
            }
        }
    }
    rows
}
