//! A plan request as people and programs write it, and its translation into settings.

use std::collections::BTreeMap;

use hwledger_core::device::Instructions;
use hwledger_core::lora::{Adapters, Targets};
use hwledger_core::settings::{Device, Draft, Engine, LayerCount, Settings, SplitMode, Switch};
use hwledger_core::units::BytesPerSecond;
use hwledger_core::{Assumptions, Bytes, ElementType};
use hwledger_formats::device_file::DeviceDescription;
use serde::{Deserialize, Serialize};

use crate::cost::CostRequest;
use crate::planner::PlanFailure;

/// One request; the keys are those of the published contract.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the contract documents each key")]
pub struct PlanRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub model: String,
    pub weights: Option<String>,
    pub weights_bytes: Option<u64>,
    pub engine: Option<String>,
    pub engine_version: Option<String>,
    pub context: Option<u64>,
    pub sequences: Option<u64>,
    pub kv_type: Option<String>,
    pub kv_type_k: Option<String>,
    pub kv_type_v: Option<String>,
    pub batch: Option<u64>,
    pub ubatch: Option<u64>,
    pub max_batched_tokens: Option<u64>,
    pub flash_attention: Option<String>,
    pub kv_unified: Option<bool>,
    pub swa_full: Option<bool>,
    pub n_outputs_max: Option<u64>,
    pub attention_max_batch_mib: Option<u64>,
    pub embeddings: Option<bool>,
    pub gpu_layers: Option<CountOrAll>,
    pub cpu_moe_layers: Option<CountOrAll>,
    pub amx: Option<bool>,
    pub instructions: Option<String>,
    pub mmap: Option<bool>,
    pub repack: Option<bool>,
    pub gpu_memory_utilization: Option<f64>,
    pub devices: Vec<DeviceRequest>,
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
    pub request_rate: Option<f64>,
    pub prefix_hit_rate: Option<f64>,
    pub host: Option<HostRequest>,
    pub vision_projector: Option<String>,
    pub latent_cache: Option<String>,
    pub split_mode: Option<String>,
    pub draft: Option<DraftRequest>,
    pub lora: Option<LoraRequest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostRequest>,
    /// Keys that the contract does not know.
    #[serde(flatten, skip_serializing)]
    #[expect(clippy::zero_sized_map_values, reason = "serde flattens into maps only")]
    pub unknown: BTreeMap<String, serde::de::IgnoredAny>,
}

/// A number, or the word `all`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CountOrAll {
    /// A number; negative means all, as llama.cpp reads it.
    Count(i64),
    /// A word, which must be `all`.
    Word(String),
}

/// One kind of card and how many of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the contract documents each key")]
pub struct DeviceRequest {
    pub name: String,
    pub count: Option<u64>,
    pub memory_gib: Option<f64>,
    /// A device that the catalogue does not know, described.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<DeviceDescription>,
    /// Other memory than it is sold with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryRequest>,
}

/// Memory in place of a device's own: its bandwidth follows from the bus.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryRequest {
    /// LPDDR5X, GDDR7, HBM3E …
    pub kind: String,
    /// Width of the bus.
    pub bus_bits: u32,
    /// Transfers per second and pin, in 10^9.
    pub rate_gt_s: f64,
}

/// The machine that holds the devices.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the contract documents each key")]
pub struct HostRequest {
    pub name: Option<String>,
    pub memory_gib: Option<f64>,
    pub bandwidth_gb_s: Option<f64>,
}

/// Speculative decoding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the contract documents each key")]
pub struct DraftRequest {
    pub model: Option<String>,
    pub weights: Option<String>,
    pub tokens: Option<u64>,
    pub acceptance: Option<f64>,
}

/// Low-rank adapters held beside the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoraRequest {
    /// Rank of each; 16 where nobody says.
    pub rank: Option<u64>,
    /// How many at once; 1 where nobody says.
    pub count: Option<u64>,
    /// `attention` or `all`, which is taken where nobody says.
    pub targets: Option<String>,
}

/// Longest context that is believed. Together with the limits on models, products of these stay
/// far below 64 bits.
pub(crate) const CONTEXT_MAX: u64 = 1 << 32;
/// Most tokens of one step.
const STEP_TOKENS_MAX: u64 = 1 << 24;
/// Most sequences, ranks or threads.
const SEQUENCES_MAX: u64 = 1 << 16;

/// A count from 1 to `most`, if given.
fn bounded(key: &str, value: Option<u64>, most: u64) -> Result<Option<u64>, PlanFailure> {
    match value {
        Some(number) if number == 0 || number > most => Err(bad(key, &number.to_string(), format!("from 1 to {most}"))),
        value => Ok(value),
    }
}

/// Tokens with an optional binary suffix: `32768`, `32K`, `1M`.
///
/// # Errors
///
/// A sentence about what is no number or too large a one.
pub fn tokens(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1 << 10),
        Some((at, 'm' | 'M')) => (&text[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&text[..at], 1 << 30),
        _ => (text, 1_u64),
    };
    let number: u64 =
        digits.trim().parse().map_err(|_| format!("`{text}` is no number of tokens, such as 32768 or 32K"))?;
    number.checked_mul(unit).ok_or_else(|| format!("`{text}` is more tokens than can be counted"))
}

/// `2x NAME` as a count and a name; without a count it is one.
pub fn counted(text: &str) -> (u64, &str) {
    let text = text.trim();
    let split =
        text.split_once(['x', 'X', '*']).and_then(|(count, name)| Some((count.trim().parse().ok()?, name.trim())));
    split.unwrap_or((1, text))
}

/// A share from 0 to 1, if given.
fn share(key: &str, value: Option<f64>) -> Result<Option<f64>, PlanFailure> {
    match value {
        Some(share) if !(0.0..=1.0).contains(&share) => Err(bad(key, &share.to_string(), "a share from 0 to 1")),
        value => Ok(value),
    }
}

/// A rate above 0 that a service could see, if given.
fn positive(key: &str, value: Option<f64>) -> Result<Option<f64>, PlanFailure> {
    match value {
        Some(rate) if !(rate > 0.0 && rate < 1e9) => Err(bad(key, &rate.to_string(), "a rate per second above 0")),
        value => Ok(value),
    }
}

pub(crate) fn bad(key: &str, value: &str, hint: impl Into<String>) -> PlanFailure {
    PlanFailure::BadRequest { key: key.to_owned(), value: value.to_owned(), hint: hint.into() }
}

fn switch(key: &str, text: Option<&str>) -> Result<Option<Switch>, PlanFailure> {
    text.map(|text| match text {
        "on" | "true" | "1" => Ok(Switch::On),
        "off" | "false" | "0" => Ok(Switch::Off),
        "auto" => Ok(Switch::Auto),
        other => Err(bad(key, other, "one of `on`, `off`, `auto`")),
    })
    .transpose()
}

fn element_type(key: &str, text: Option<&String>) -> Result<Option<ElementType>, PlanFailure> {
    match text.map(String::as_str) {
        None | Some("auto") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| bad(key, text, "one of f16, bf16, f32, fp8, q8_0, q4_0 …")),
    }
}

fn layer_count(key: &str, value: Option<&CountOrAll>) -> Result<Option<LayerCount>, PlanFailure> {
    value
        .map(|value| match value {
            CountOrAll::Count(count) => Ok(u64::try_from(*count).map_or(LayerCount::All, LayerCount::Some)),
            CountOrAll::Word(word) if word == "all" => Ok(LayerCount::All),
            CountOrAll::Word(word) => match word.parse() {
                Ok(count) => Ok(LayerCount::Some(count)),
                Err(_) => Err(bad(key, word, "a number or `all`")),
            },
        })
        .transpose()
}

/// An engine by its name or a usual spelling of it.
pub(crate) fn engine(text: &str) -> Result<Engine, PlanFailure> {
    let plain: String = text.to_ascii_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    let matches = |engine: &&Engine| {
        let name: String = engine.name().chars().filter(char::is_ascii_alphanumeric).collect();
        name == plain
    };
    let alias = match plain.as_str() {
        "llamaserver" | "llamabench" | "llamacli" => Some(Engine::LlamaCpp),
        "ikllama" => Some(Engine::IkLlamaCpp),
        "mlxlm" => Some(Engine::Mlx),
        "trtllm" => Some(Engine::TensorRtLlm),
        "hf" | "huggingface" => Some(Engine::Transformers),
        _ => None,
    };
    alias.or_else(|| Engine::ALL.iter().find(matches).copied()).ok_or_else(|| {
        let names: Vec<_> = Engine::ALL.iter().map(|engine| engine.name()).collect();
        bad("engine", text, format!("one of {}", names.join(", ")))
    })
}

impl PlanRequest {
    /// The settings that the request names, on `devices`; what it leaves open stays open.
    pub fn settings(&self, devices: Vec<Device>, assumptions: &mut Assumptions) -> Result<Settings, PlanFailure> {
        for key in self.unknown.keys() {
            assumptions.note(key.clone(), "ignored", "the request has a key that plans do not know");
        }
        let kv_type = element_type("kv_type", self.kv_type.as_ref())?;
        Ok(Settings {
            engine: self.engine.as_deref().map(engine).transpose()?,
            engine_version: self.engine_version.clone(),
            weights: self.weights.clone(),
            weights_bytes: self.weights_bytes.map(Bytes),
            context: bounded("context", self.context, CONTEXT_MAX)?,
            sequences: bounded("sequences", self.sequences, SEQUENCES_MAX)?,
            kv_type_k: element_type("kv_type_k", self.kv_type_k.as_ref())?.or(kv_type),
            kv_type_v: element_type("kv_type_v", self.kv_type_v.as_ref())?.or(kv_type),
            batch: bounded("batch", self.batch, STEP_TOKENS_MAX)?,
            ubatch: bounded("ubatch", self.ubatch, STEP_TOKENS_MAX)?,
            max_batched_tokens: bounded("max_batched_tokens", self.max_batched_tokens, STEP_TOKENS_MAX)?,
            flash_attention: switch("flash_attention", self.flash_attention.as_deref())?,
            kv_unified: self.kv_unified,
            swa_full: self.swa_full,
            n_outputs_max: self.n_outputs_max.map(|rows| rows.min(STEP_TOKENS_MAX)),
            attention_max_batch_mib: self.attention_max_batch_mib,
            embeddings: self.embeddings,
            gpu_layers: layer_count("gpu_layers", self.gpu_layers.as_ref())?,
            cpu_moe_layers: layer_count("cpu_moe_layers", self.cpu_moe_layers.as_ref())?,
            amx: self.amx,
            instructions: self.instructions()?,
            mmap: self.mmap,
            repack: self.repack,
            gpu_memory_utilization: self.utilization()?,
            devices,
            tensor_parallel: bounded("tensor_parallel", self.tensor_parallel, SEQUENCES_MAX)?,
            pipeline_parallel: bounded("pipeline_parallel", self.pipeline_parallel, SEQUENCES_MAX)?,
            expert_parallel: bounded("expert_parallel", self.expert_parallel, SEQUENCES_MAX)?,
            data_parallel: bounded("data_parallel", self.data_parallel, SEQUENCES_MAX)?,
            attention_data_parallel: bounded("attention_data_parallel", self.attention_data_parallel, SEQUENCES_MAX)?,
            threads: bounded("threads", self.threads, SEQUENCES_MAX)?,
            backend: self.backend.clone(),
            prompt: self.prompt,
            generate: self.generate,
            depth: self.depth,
            concurrency: bounded("concurrency", self.concurrency, SEQUENCES_MAX)?,
            request_rate: positive("request_rate", self.request_rate)?,
            prefix_hit_rate: share("prefix_hit_rate", self.prefix_hit_rate)?,
            host: None,
            host_memory: self.host.as_ref().and_then(|host| host.memory_gib).map(Bytes::from_gibibytes),
            host_bandwidth: self.host_bandwidth()?,
            vision_projector: switch("vision_projector", self.vision_projector.as_deref())?,
            latent_cache: switch("latent_cache", self.latent_cache.as_deref())?,
            split_mode: self.split_mode()?,
            adapters: self.adapters(assumptions)?,
            draft: self.drafting()?,
        })
    }

    fn drafting(&self) -> Result<Option<Draft>, PlanFailure> {
        let Some(draft) = &self.draft else { return Ok(None) };
        let tokens = bounded("draft.tokens", draft.tokens, SEQUENCES_MAX)?.unwrap_or(1);
        let acceptance = share("draft.acceptance", draft.acceptance)?;
        Ok(Some(Draft { weights: draft.weights.clone(), tokens, acceptance }))
    }

    fn adapters(&self, assumptions: &mut Assumptions) -> Result<Option<Adapters>, PlanFailure> {
        let Some(lora) = &self.lora else { return Ok(None) };
        let targets = match lora.targets.as_deref() {
            None | Some("all") => Targets::AllLinear,
            Some("attention") => Targets::Attention,
            Some(other) => return Err(bad("lora.targets", other, "one of `attention`, `all`")),
        };
        let rank = assumptions.or(lora.rank, "lora.rank", 16, "the usual rank");
        let count = assumptions.or(lora.count, "lora.count", 1, "one adapter was asked for");
        let checked = |key, value| bounded(key, Some(value), SEQUENCES_MAX).map(|value| value.unwrap_or(1));
        let (rank, count) = (checked("lora.rank", rank)?, checked("lora.count", count)?);
        Ok(Some(Adapters { rank, count, targets }))
    }

    fn host_bandwidth(&self) -> Result<Option<BytesPerSecond>, PlanFailure> {
        match self.host.as_ref().and_then(|host| host.bandwidth_gb_s) {
            Some(rate) if !(rate > 0.0 && rate < 1e6) => {
                Err(bad("host.bandwidth_gb_s", &rate.to_string(), "a rate in GB/s above 0"))
            }
            rate => Ok(rate.map(BytesPerSecond::from_gigabytes)),
        }
    }

    fn utilization(&self) -> Result<Option<f64>, PlanFailure> {
        match self.gpu_memory_utilization {
            Some(share) if !(share > 0.0 && share <= 1.0) => {
                Err(bad("gpu_memory_utilization", &share.to_string(), "a share above 0 and at most 1"))
            }
            share => Ok(share),
        }
    }

    fn instructions(&self) -> Result<Option<Instructions>, PlanFailure> {
        let named = |name: &str| {
            let names = Instructions::ALL.map(Instructions::name).join(", ");
            Instructions::named(&name.to_ascii_lowercase())
                .ok_or_else(|| bad("instructions", name, format!("one of {names}")))
        };
        self.instructions.as_deref().map(named).transpose()
    }

    fn split_mode(&self) -> Result<Option<SplitMode>, PlanFailure> {
        self.split_mode
            .as_deref()
            .map(|text| match text {
                "layer" | "none" => Ok(SplitMode::Layer),
                "row" => Ok(SplitMode::Row),
                "tensor" | "graph" => Ok(SplitMode::Tensor),
                other => Err(bad("split_mode", other, "one of `layer`, `row`, `tensor`")),
            })
            .transpose()
    }
}
