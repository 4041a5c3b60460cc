//! The answer to a plan request, in the published shape `hwledger.plan/1`.

use hwledger_core::advice::Constraint;
use hwledger_core::cache::SequenceMemory;
use hwledger_core::engine::{Components, DeviceMemory, MemoryPlan, WeightBuffer};
use hwledger_core::model::{
    Attention, CacheOwner, FeedForward, Layer, Mixer, ModelSpec, ParameterCount, RecurrentKind, Span,
};
use hwledger_core::projection::Speed;
use hwledger_core::verdict::Verdict;
use hwledger_core::{Assumptions, Bytes, Estimate};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::cost::CostAnswer;

/// The schema's name.
pub const SCHEMA: &str = "hwledger.plan/1";

/// One answered request.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the contract documents each key")]
pub struct Answer {
    pub schema: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub model: Box<RawValue>,
    pub engine: &'static str,
    pub context: u64,
    pub kv: SequenceMemory,
    pub memory: MemoryAnswer,
    pub devices: Vec<DeviceAnswer>,
    pub verdict: Verdict,
    /// The device that decides the verdict, where one does.
    pub constraint: Option<Constraint>,
    /// How the weights are computed, on the device where that is worst; `None` where too little is known.
    pub path: Option<PathAnswer>,
    pub speed: Speed,
    /// The speeds before measurements corrected them, where any did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed_formula: Option<Speed>,
    pub cost: Option<CostAnswer>,
    pub assumptions: Assumptions,
}

/// How weights are computed on a device by an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PathAnswer {
    /// `native_fast`, `fp4_runtime_immature`, `compat_fast`, `compat_blocked`, `vector_fallback` or `unsupported`.
    pub name: &'static str,
    /// Why this one.
    pub reason: &'static str,
    /// What to use instead, where something is better.
    pub hint: Option<&'static str>,
}

/// What a model is.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the contract documents each key")]
pub struct ModelAnswer {
    pub architecture: String,
    pub parameters: ParameterCount,
    pub layers: Vec<LayerAnswer>,
}

/// One layer.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the contract documents each key")]
pub struct LayerAnswer {
    pub index: usize,
    pub mixer: &'static str,
    pub attention: &'static str,
    pub window_tokens: Option<u64>,
    pub ffn: &'static str,
    pub parameters: u64,
}

/// Memory summed over devices.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the contract documents each key")]
pub struct MemoryAnswer {
    #[serde(flatten)]
    pub components: Components,
    pub total: Option<Estimate<Bytes>>,
    pub kv_cache_tokens: Option<Estimate<u64>>,
    pub available_kv_bytes: Option<Estimate<Bytes>>,
    pub max_concurrency: Option<Estimate<f64>>,
}

/// What one device holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the contract documents each key")]
pub struct DeviceAnswer {
    pub name: String,
    #[serde(flatten)]
    pub components: Components,
    pub total: Option<Estimate<Bytes>>,
    pub capacity_bytes: Option<Bytes>,
    /// The buffers that its weights are in, where they are more than one sum.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weight_buffers: Vec<WeightBuffer>,
    /// What of `total` the system may take back without loss; the verdict leaves it out.
    #[serde(skip_serializing_if = "is_nothing")]
    pub reclaimable_bytes: Bytes,
    pub verdict: Verdict,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_nothing(bytes: &Bytes) -> bool {
    *bytes == Bytes::ZERO
}

impl ModelAnswer {
    /// Describes a model.
    pub fn describe(spec: &ModelSpec) -> Self {
        let kinds: Vec<LayerAnswer> = spec.decoder.kinds.iter().map(LayerAnswer::describe).collect();
        let layers = spec
            .decoder
            .order
            .iter()
            .enumerate()
            .map(|(index, &kind)| LayerAnswer { index, ..kinds[usize::from(kind)].clone() })
            .collect();
        Self { architecture: spec.architecture.clone(), parameters: spec.parameters(), layers }
    }
}

impl LayerAnswer {
    fn describe(layer: &Layer) -> Self {
        let attention = match &layer.mixer {
            Mixer::None => "none",
            Mixer::Attention(attention) | Mixer::Both(attention, _) => attention_kind(attention),
            Mixer::Recurrent(recurrent) => recurrent_kind(recurrent.kind),
        };
        Self {
            index: 0,
            mixer: match &layer.mixer {
                Mixer::None => "none",
                Mixer::Attention(_) => "attention",
                Mixer::Recurrent(_) => "recurrent",
                Mixer::Both(..) => "both",
            },
            attention,
            window_tokens: layer.mixer.attention().and_then(|attention| attention.span.window()),
            ffn: match layer.feed_forward {
                FeedForward::None => "none",
                FeedForward::Dense { .. } => "dense",
                FeedForward::Experts(_) => "moe",
            },
            parameters: layer.parameters(),
        }
    }
}

/// The contract's word for a kind of attention.
fn attention_kind(attention: &Attention) -> &'static str {
    match (attention.span, attention.latent, attention.cache) {
        (_, _, CacheOwner::Encoder) => "cross",
        (_, Some(_), _) => "mla",
        (Span::Sliding(_), ..) => "sliding",
        (Span::Chunked(_), ..) => "chunked",
        (Span::Full, ..) if attention.kv_heads == attention.heads => "mha",
        (Span::Full, ..) if attention.kv_heads == 1 => "mqa",
        (Span::Full, ..) => "gqa",
    }
}

/// The contract's word for a kind of recurrence.
fn recurrent_kind(kind: RecurrentKind) -> &'static str {
    match kind {
        RecurrentKind::Mamba1 => "mamba1",
        RecurrentKind::Mamba2 => "mamba2",
        RecurrentKind::GatedDelta => "gated_delta",
        RecurrentKind::KimiDelta | RecurrentKind::Lightning | RecurrentKind::GatedLinear => "linear",
        RecurrentKind::Rwkv4 | RecurrentKind::Rwkv6 | RecurrentKind::Rwkv7 => "rwkv",
        RecurrentKind::ShortConvolution => "shortconv",
    }
}

impl MemoryAnswer {
    /// The sums of a plan.
    pub fn of(plan: &MemoryPlan) -> Self {
        let components = plan.summed();
        Self {
            total: components.total(),
            components,
            kv_cache_tokens: plan.kv_cache_tokens,
            available_kv_bytes: plan.available_kv,
            max_concurrency: plan.max_concurrency,
        }
    }

    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        components: Components {
            weights: None,
            repacked: None,
            kv_cache: None,
            recurrent_state: None,
            compute: None,
            output: None,
            overhead: None,
        },
        total: None,
        kv_cache_tokens: None,
        available_kv_bytes: None,
        max_concurrency: None,
    };
}

impl DeviceAnswer {
    /// One device's row.
    pub fn of(device: &DeviceMemory) -> Self {
        Self {
            name: device.name.clone(),
            components: device.components,
            total: device.components.total(),
            capacity_bytes: device.capacity,
            weight_buffers: device.weight_buffers.clone(),
            reclaimable_bytes: device.reclaimable,
            verdict: Verdict::of(device),
        }
    }
}
