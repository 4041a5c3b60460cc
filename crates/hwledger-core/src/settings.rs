//! How a model is to be run: every setting that moves memory or speed, absent where nobody said.

use crate::device::{Instructions, SpecReference};
use crate::lora::Adapters;
use crate::units::BytesPerSecond;
use crate::{Bytes, ElementType};

/// Inference engines whose memory is modelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each name is the engine's own")]
pub enum Engine {
    LlamaCpp,
    IkLlamaCpp,
    Ollama,
    Vllm,
    Sglang,
    TensorRtLlm,
    Tgi,
    Mlx,
    MistralRs,
    Transformers,
    Hwledger,
}

impl Engine {
    /// All engines.
    pub const ALL: &'static [Self] = &[
        Self::LlamaCpp,
        Self::IkLlamaCpp,
        Self::Ollama,
        Self::Vllm,
        Self::Sglang,
        Self::TensorRtLlm,
        Self::Tgi,
        Self::Mlx,
        Self::MistralRs,
        Self::Transformers,
        Self::Hwledger,
    ];

    /// The engine's name in requests and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LlamaCpp => "llama.cpp",
            Self::IkLlamaCpp => "ik_llama.cpp",
            Self::Ollama => "ollama",
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::TensorRtLlm => "tensorrt-llm",
            Self::Tgi => "tgi",
            Self::Mlx => "mlx",
            Self::MistralRs => "mistral.rs",
            Self::Transformers => "transformers",
            Self::Hwledger => "hwledger",
        }
    }
}

/// A count of layers, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerCount {
    /// This many.
    Some(u64),
    /// Every one.
    All,
}

/// A switch that the engine may decide itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Asked for.
    On,
    /// Refused.
    Off,
    /// The engine decides.
    Auto,
}

/// How llama.cpp divides a model among cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitMode {
    /// Whole layers.
    Layer,
    /// Rows of each matrix; cache on the main card.
    Row,
    /// Tensor parallel: weights and cache.
    Tensor,
}

/// One card of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// The name as it was given.
    pub name: String,
    /// Nominal memory, where known.
    pub memory: Option<Bytes>,
    /// What runs on it.
    pub kind: DeviceKind,
    /// What is known of it: its row in the device catalogue, or a description.
    pub spec: Option<SpecReference>,
}

/// What decides how engines treat a device's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "vendor names")]
pub enum DeviceKind {
    Nvidia,
    Amd,
    Intel,
    /// Memory shared between processor and graphics: Apple silicon.
    Apple,
    /// Memory shared between processor and graphics, not Apple: Strix Halo.
    SharedMemory,
    Cpu,
    Other,
}

impl DeviceKind {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Nvidia, Self::Amd, Self::Intel, Self::Apple, Self::SharedMemory, Self::Cpu, Self::Other];

    /// The name in data files and requests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nvidia => "nvidia",
            Self::Amd => "amd",
            Self::Intel => "intel",
            Self::Apple => "apple",
            Self::SharedMemory => "shared",
            Self::Cpu => "cpu",
            Self::Other => "other",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Speculative decoding.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Weight format of the draft model.
    pub weights: Option<String>,
    /// Tokens drafted per step.
    pub tokens: u64,
    /// Share of drafted tokens that the model would have chosen too, from 0 to 1.
    pub acceptance: Option<f64>,
}

/// Settings of one plan. `None` means that nobody said: the engine's own
/// default applies and is reported as an assumption.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "the names and meanings are those of the request contract")]
pub struct Settings {
    pub engine: Option<Engine>,
    pub engine_version: Option<String>,
    pub weights: Option<String>,
    pub weights_bytes: Option<Bytes>,
    pub context: Option<u64>,
    pub sequences: Option<u64>,
    pub kv_type_k: Option<ElementType>,
    pub kv_type_v: Option<ElementType>,
    pub batch: Option<u64>,
    pub ubatch: Option<u64>,
    pub max_batched_tokens: Option<u64>,
    pub flash_attention: Option<Switch>,
    pub kv_unified: Option<bool>,
    pub swa_full: Option<bool>,
    pub n_outputs_max: Option<u64>,
    /// `-amb` of `ik_llama.cpp`: mebibytes that one part of an attention's scores, or of the keys and values
    /// computed from latents, may take; 0 is no bound.
    pub attention_max_batch_mib: Option<u64>,
    /// llama.cpp hands out embeddings beside logits.
    pub embeddings: Option<bool>,
    pub gpu_layers: Option<LayerCount>,
    pub cpu_moe_layers: Option<LayerCount>,
    /// Our own engine: whether the processor multiplies in the tiles of AMX.
    pub amx: Option<bool>,
    /// The instructions of the processor that computes, where they are not those of the one that was named.
    pub instructions: Option<Instructions>,
    /// llama.cpp maps the files instead of reading them.
    pub mmap: Option<bool>,
    /// llama.cpp lays weights out anew for the processor.
    pub repack: Option<bool>,
    pub gpu_memory_utilization: Option<f64>,
    /// One entry per card, counts expanded.
    pub devices: Vec<Device>,
    pub tensor_parallel: Option<u64>,
    pub pipeline_parallel: Option<u64>,
    pub expert_parallel: Option<u64>,
    pub data_parallel: Option<u64>,
    pub attention_data_parallel: Option<u64>,
    pub threads: Option<u64>,
    pub backend: Option<String>,
    pub prompt: Option<u64>,
    pub generate: Option<u64>,
    pub depth: Option<u64>,
    pub concurrency: Option<u64>,
    /// Requests that arrive per second, at random; it decides how many are in flight.
    pub request_rate: Option<f64>,
    /// Share of a prompt's tokens that an earlier request left in the cache, from 0 to 1.
    pub prefix_hit_rate: Option<f64>,
    /// The machine that holds the devices, where it was named.
    pub host: Option<Device>,
    pub host_memory: Option<Bytes>,
    pub host_bandwidth: Option<BytesPerSecond>,
    pub vision_projector: Option<Switch>,
    pub latent_cache: Option<Switch>,
    pub split_mode: Option<SplitMode>,
    pub draft: Option<Draft>,
    pub adapters: Option<Adapters>,
}
