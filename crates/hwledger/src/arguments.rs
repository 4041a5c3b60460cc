//! The command line's words.

use clap::{Args, Parser, Subcommand};
use hwledger_node::PlanRequest;
use hwledger_node::request::{
    CountOrAll, DeviceRequest, DraftRequest, HostRequest, LoraRequest, MemoryRequest, counted, tokens,
};
use hwledger_node::train::TrainRequest;

use crate::bench::BenchArguments;
use crate::calibrate::CalibrateArguments;
use crate::chip::ChipCommand;
use crate::cost::{CostArguments, PriceArguments};
use crate::device_list::DevicesArguments;
use crate::efficiency::EfficiencyArguments;
use crate::embed::EmbedArguments;
use crate::engine::EngineCommand;
use crate::hardware_search::SearchArguments;
use crate::ledger::LedgerArguments;
use crate::location::{Location, ModelsArguments};
use crate::metrics::MetricsCommand;
use crate::native::RunArguments;
use crate::plot::PlotArguments;
use crate::probe::{DoctorArguments, ProbeCommand};
use crate::record::ReconcileArguments;
use crate::sweep::SweepArguments;

/// Will a language model fit, how fast will it be, what will it cost.
#[derive(Debug, Parser)]
#[command(name = "hwledger", version, about)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) location: Location,
    /// Store of measurements that speeds are corrected by; `none` for none
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) calibration: Option<std::path::PathBuf>,
    /// TOML file that describes devices which the catalogue does not know; may be repeated
    #[arg(long = "device-file", global = true, value_name = "FILE")]
    pub(crate) device_files: Vec<std::path::PathBuf>,
    /// Table of prices that stand in for the built-in ones or add to them (docs/cost.md)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) prices: Option<std::path::PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a model on this machine: answer a prompt, or talk in the terminal
    Run(Box<RunArguments>),
    /// Measure a model on this machine: prefill, decode, decode of several sequences at once
    Bench(Box<BenchArguments>),
    /// Turn texts into vectors by a model on this machine
    Embed(Box<EmbedArguments>),
    /// Read what a running inference engine tells of itself
    #[command(subcommand)]
    Engine(EngineCommand),
    /// Serve or send readings to Prometheus and OpenTelemetry
    #[command(subcommand)]
    Metrics(MetricsCommand),
    /// Say what memory a model takes, layer by layer and device by device
    Plan(Box<PlanArguments>),
    /// Find the largest context, the most sequences and the finest weights that fit
    Fit(Box<Question>),
    /// Plan the same model on every engine, side by side
    Compare(Box<Question>),
    /// Print settings that the engine itself accepts
    Export(Box<Question>),
    /// List what devices are let and sold for
    Price(PriceArguments),
    /// Say what memory training or fine-tuning takes, per device
    Train(Box<TrainArguments>),
    /// Fit the efficiencies of speed predictions to measured speeds
    FitEfficiency(EfficiencyArguments),
    /// Learn from measured runs how far predictions are off
    Calibrate(CalibrateArguments),
    /// Keep and check the record of predictions, runs and what came of them
    Ledger(LedgerArguments),
    /// Compare what was predicted with what was measured, run by run
    Reconcile(ReconcileArguments),
    /// Draw a plan, a sweep or measurements as an SVG or PNG file
    Plot(PlotArguments),
    /// Find the hardware, engine and weights that serve a model best
    Search(Box<SearchArguments>),
    /// Plan every combination of several settings into a table
    Sweep(Box<SweepArguments>),
    /// List the devices of the catalogue, or show all that is known of one
    Devices(DevicesArguments),
    /// List the models on this machine and in the catalogue whose names hold some words
    Models(ModelsArguments),
    /// Read this machine: devices, processors, memory, disks, now or over time
    #[command(subcommand)]
    Probe(ProbeCommand),
    /// Print what a bug report should say about this machine
    Doctor(DoctorArguments),
    /// Size edge chips: tiers, projections, what-if
    #[command(subcommand)]
    Chip(ChipCommand),
}

/// Arguments of `train`.
#[derive(Debug, Args)]
pub(crate) struct TrainArguments {
    /// Model: a path, a Hugging Face id, or a name of the built-in catalogue
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// What is trained: full, lora, qlora
    #[arg(long)]
    method: Option<String>,
    /// Rank of the adapters
    #[arg(long)]
    rank: Option<u64>,
    /// What adapters change: attention, all
    #[arg(long)]
    targets: Option<String>,
    /// Optimizer: adamw, adamw-8bit, sgd, adafactor
    #[arg(long)]
    optimizer: Option<String>,
    /// Sequences per device and step
    #[arg(long)]
    batch: Option<u64>,
    /// Tokens per sequence
    #[arg(long, value_parser = tokens)]
    sequence: Option<u64>,
    /// Whether activations are computed again in the backward pass
    #[arg(long, value_name = "BOOL")]
    checkpointing: Option<bool>,
    /// Whether attention keeps no score matrix
    #[arg(long, value_name = "BOOL")]
    flash_attention: Option<bool>,
    /// `ZeRO` stage: 1 divides optimizer states among devices, 2 gradients, 3 weights
    #[arg(long, value_name = "STAGE")]
    zero: Option<u64>,
    /// Format of frozen weights
    #[arg(long, value_name = "FORMAT")]
    weights: Option<String>,
    /// A card, as people write it; may be repeated
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<String>,
}

impl TrainArguments {
    /// The model and its devices.
    pub(crate) fn request(&self) -> PlanRequest {
        PlanRequest {
            model: self.model.clone().unwrap_or_default(),
            weights: self.weights.clone(),
            devices: self.devices.iter().map(|text| device(text, None)).collect(),
            ..PlanRequest::default()
        }
    }

    /// The training.
    pub(crate) fn training(&self) -> TrainRequest {
        TrainRequest {
            method: self.method.clone(),
            rank: self.rank,
            targets: self.targets.clone(),
            optimizer: self.optimizer.clone(),
            batch: self.batch,
            sequence: self.sequence,
            checkpointing: self.checkpointing,
            flash_attention: self.flash_attention,
            zero: self.zero,
        }
    }
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArguments {
    /// Answer the requests in this file, one JSON object per line (`-` for standard input)
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    pub(crate) requests: Option<String>,
    #[command(flatten)]
    pub(crate) question: Question,
}

/// A model and how it is run; each flag is a key of the request contract.
#[derive(Debug, Args)]
pub(crate) struct Question {
    /// Model: a path, a Hugging Face id, an Ollama name, or a name of the built-in catalogue
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the lines about memory that the engine's own log would print
    #[arg(long, conflicts_with = "json")]
    pub(crate) as_log: bool,
    /// Weight format: F16 BF16 FP8 `Q4_K_M` AWQ-4bit MLX-4bit …
    #[arg(long, value_name = "FORMAT")]
    weights: Option<String>,
    /// Bytes of the weight files, where known
    #[arg(long, value_name = "BYTES")]
    weights_bytes: Option<u64>,
    /// Engine: llama.cpp, ollama, vllm, sglang, mlx …
    #[arg(long)]
    engine: Option<String>,
    /// The engine's version
    #[arg(long, value_name = "VERSION")]
    engine_version: Option<String>,
    /// Context in tokens; K and M multiply by 1024 and 1024²
    #[arg(long, short = 'c', value_name = "TOKENS", value_parser = tokens)]
    context: Option<u64>,
    /// Sequences held at once
    #[arg(long)]
    sequences: Option<u64>,
    /// Type of cached keys and values: f16 bf16 fp8 `q8_0` `q4_0` …
    #[arg(long, value_name = "TYPE")]
    kv_type: Option<String>,
    /// Type of cached keys
    #[arg(long, value_name = "TYPE")]
    kv_type_k: Option<String>,
    /// Type of cached values
    #[arg(long, value_name = "TYPE")]
    kv_type_v: Option<String>,
    /// llama.cpp logical batch
    #[arg(long, value_parser = tokens)]
    batch: Option<u64>,
    /// llama.cpp micro-batch
    #[arg(long, value_parser = tokens)]
    ubatch: Option<u64>,
    /// vLLM and `SGLang`: tokens of one step
    #[arg(long, value_parser = tokens)]
    max_batched_tokens: Option<u64>,
    /// Flash attention: on, off, auto
    #[arg(long)]
    flash_attention: Option<String>,
    /// llama.cpp: one cache shared by all slots
    #[arg(long, value_name = "BOOL")]
    kv_unified: Option<bool>,
    /// llama.cpp: window layers cache the whole context
    #[arg(long, value_name = "BOOL")]
    swa_full: Option<bool>,
    /// llama.cpp: most tokens whose logits one step returns
    #[arg(long, value_name = "TOKENS")]
    n_outputs_max: Option<u64>,
    /// `ik_llama.cpp`: `-amb`, memory that one part of an attention may take; 0 is no bound
    #[arg(long, value_name = "MIB")]
    attention_max_batch_mib: Option<u64>,
    /// llama.cpp: embeddings are returned as well
    #[arg(long, value_name = "BOOL")]
    embeddings: Option<bool>,
    /// llama.cpp: layers on the GPU, the output layer counting as one, or `all`
    #[arg(long, value_name = "N|all")]
    gpu_layers: Option<String>,
    /// llama.cpp: layers whose experts stay on the CPU, or `all`
    #[arg(long, value_name = "N|all")]
    cpu_moe_layers: Option<String>,
    /// hwledger's own engine: the processor has AMX
    #[arg(long, value_name = "BOOL")]
    amx: Option<bool>,
    /// Instructions of the processor: scalar, neon, `neon_i8mm`, avx2, `avx_vnni`, avx512, amx
    #[arg(long, value_name = "SET")]
    instructions: Option<String>,
    /// llama.cpp: files are mapped, not read
    #[arg(long, value_name = "BOOL")]
    mmap: Option<bool>,
    /// llama.cpp: weights are laid out anew for the processor
    #[arg(long, value_name = "BOOL")]
    repack: Option<bool>,
    /// Share of a card that the engine may fill
    #[arg(long, value_name = "SHARE")]
    gpu_memory_utilization: Option<f64>,
    /// A card, as people write it (`"RTX 4090"`, `"2x H100"`), or `local` for this machine's; may be repeated
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<String>,
    /// Memory of each card, where it is not the standard size
    #[arg(long, value_name = "GIB")]
    device_memory_gib: Option<f64>,
    /// Other memory than the devices are sold with: its kind, bus width in bits and GT/s, as `LPDDR5X:256:8.533`
    #[arg(long, value_name = "KIND:BITS:RATE", value_parser = memory)]
    device_memory: Option<MemoryRequest>,
    /// Tensor-parallel ranks
    #[arg(long)]
    tensor_parallel: Option<u64>,
    /// Pipeline stages
    #[arg(long)]
    pipeline_parallel: Option<u64>,
    /// Expert-parallel ranks
    #[arg(long)]
    expert_parallel: Option<u64>,
    /// Replicas
    #[arg(long)]
    data_parallel: Option<u64>,
    /// Attention replicas (`SGLang`, TensorRT-LLM)
    #[arg(long)]
    attention_data_parallel: Option<u64>,
    /// CPU threads
    #[arg(long)]
    threads: Option<u64>,
    /// Backend: CUDA `ROCm` Metal Vulkan CPU …
    #[arg(long)]
    backend: Option<String>,
    /// Prompt tokens of one request
    #[arg(long, value_parser = tokens)]
    prompt: Option<u64>,
    /// Generated tokens of one request
    #[arg(long, value_parser = tokens)]
    generate: Option<u64>,
    /// Tokens already in the cache
    #[arg(long, value_parser = tokens)]
    depth: Option<u64>,
    /// Requests in flight
    #[arg(long)]
    concurrency: Option<u64>,
    /// Requests that arrive per second, at random
    #[arg(long, value_name = "PER_SECOND")]
    request_rate: Option<f64>,
    /// Share of a prompt that an earlier request left in the cache
    #[arg(long, value_name = "SHARE")]
    prefix_hit_rate: Option<f64>,
    /// The machine that holds the devices
    #[arg(long, value_name = "NAME")]
    host_name: Option<String>,
    /// Its memory
    #[arg(long, value_name = "GIB")]
    host_memory_gib: Option<f64>,
    /// Bandwidth of its memory
    #[arg(long, value_name = "GB_PER_S")]
    host_bandwidth_gb_s: Option<f64>,
    /// Whether the multimodal projector is loaded: on, off
    #[arg(long)]
    vision_projector: Option<String>,
    /// Whether the latent cache of MLA is used: on, off
    #[arg(long)]
    latent_cache: Option<String>,
    /// llama.cpp: layer, row, tensor
    #[arg(long)]
    split_mode: Option<String>,
    /// Draft model of speculative decoding
    #[arg(long, value_name = "MODEL")]
    draft_model: Option<String>,
    /// The draft model's weight format
    #[arg(long, value_name = "FORMAT")]
    draft_weights: Option<String>,
    /// Tokens drafted per step; without a draft model, the model's own prediction layers draft
    #[arg(long, value_name = "TOKENS")]
    draft_tokens: Option<u64>,
    /// Share of drafted tokens that the model would have chosen too
    #[arg(long, value_name = "SHARE")]
    draft_acceptance: Option<f64>,
    /// Rank of low-rank adapters held beside the model
    #[arg(long, value_name = "RANK")]
    lora_rank: Option<u64>,
    /// How many of them
    #[arg(long, value_name = "N")]
    lora_count: Option<u64>,
    /// What they change: attention, all
    #[arg(long, value_name = "TARGETS")]
    lora_targets: Option<String>,
    #[command(flatten)]
    cost: CostArguments,
}

/// `LPDDR5X:256:8.533` to a kind of memory, a bus and a rate.
fn memory(text: &str) -> Result<MemoryRequest, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let wrong = || format!("`{text}` is no kind of memory, bus width and rate, such as LPDDR5X:256:8.533");
    let [kind, bits, rate] = parts[..] else { return Err(wrong()) };
    let (bits, rate) = (bits.trim().parse().ok(), rate.trim().parse().ok());
    let (Some(bus_bits), Some(rate_gt_s)) = (bits, rate) else { return Err(wrong()) };
    Ok(MemoryRequest { kind: kind.trim().to_owned(), bus_bits, rate_gt_s })
}

/// `"2x RTX 3090"` to a count and a name.
pub(crate) fn device(text: &str, memory_gib: Option<f64>) -> DeviceRequest {
    let (count, name) = counted(text);
    DeviceRequest { name: name.to_owned(), count: Some(count), memory_gib, ..DeviceRequest::default() }
}

impl Question {
    fn device(&self, text: &str) -> DeviceRequest {
        DeviceRequest { memory: self.device_memory.clone(), ..device(text, self.device_memory_gib) }
    }

    fn draft(&self) -> Option<DraftRequest> {
        let is_asked = self.draft_model.is_some()
            || self.draft_weights.is_some()
            || self.draft_tokens.is_some()
            || self.draft_acceptance.is_some();
        is_asked.then(|| DraftRequest {
            model: self.draft_model.clone(),
            weights: self.draft_weights.clone(),
            tokens: self.draft_tokens,
            acceptance: self.draft_acceptance,
        })
    }

    fn lora(&self) -> Option<LoraRequest> {
        let is_asked = self.lora_rank.is_some() || self.lora_count.is_some() || self.lora_targets.is_some();
        is_asked.then(|| LoraRequest {
            rank: self.lora_rank,
            count: self.lora_count,
            targets: self.lora_targets.clone(),
        })
    }

    /// The request that the flags spell.
    pub(crate) fn request(&self) -> PlanRequest {
        let has_host = self.host_name.is_some() || self.host_memory_gib.is_some() || self.host_bandwidth_gb_s.is_some();
        PlanRequest {
            id: None,
            model: self.model.clone().unwrap_or_default(),
            weights: self.weights.clone(),
            weights_bytes: self.weights_bytes,
            engine: self.engine.clone(),
            engine_version: self.engine_version.clone(),
            context: self.context,
            sequences: self.sequences,
            kv_type: self.kv_type.clone(),
            kv_type_k: self.kv_type_k.clone(),
            kv_type_v: self.kv_type_v.clone(),
            batch: self.batch,
            ubatch: self.ubatch,
            max_batched_tokens: self.max_batched_tokens,
            flash_attention: self.flash_attention.clone(),
            kv_unified: self.kv_unified,
            swa_full: self.swa_full,
            n_outputs_max: self.n_outputs_max,
            attention_max_batch_mib: self.attention_max_batch_mib,
            embeddings: self.embeddings,
            gpu_layers: self.gpu_layers.clone().map(CountOrAll::Word),
            cpu_moe_layers: self.cpu_moe_layers.clone().map(CountOrAll::Word),
            amx: self.amx,
            instructions: self.instructions.clone(),
            mmap: self.mmap,
            repack: self.repack,
            gpu_memory_utilization: self.gpu_memory_utilization,
            devices: self.devices.iter().map(|text| self.device(text)).collect(),
            tensor_parallel: self.tensor_parallel,
            pipeline_parallel: self.pipeline_parallel,
            expert_parallel: self.expert_parallel,
            data_parallel: self.data_parallel,
            attention_data_parallel: self.attention_data_parallel,
            threads: self.threads,
            backend: self.backend.clone(),
            prompt: self.prompt,
            generate: self.generate,
            depth: self.depth,
            concurrency: self.concurrency,
            request_rate: self.request_rate,
            prefix_hit_rate: self.prefix_hit_rate,
            host: has_host.then(|| HostRequest {
                name: self.host_name.clone(),
                memory_gib: self.host_memory_gib,
                bandwidth_gb_s: self.host_bandwidth_gb_s,
            }),
            vision_projector: self.vision_projector.clone(),
            latent_cache: self.latent_cache.clone(),
            split_mode: self.split_mode.clone(),
            draft: self.draft(),
            lora: self.lora(),
            cost: self.cost.request(),
            ..PlanRequest::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn tokens_take_binary_suffixes() {
        assert_eq!(tokens("32768"), Ok(32768));
        assert_eq!(tokens("32K"), Ok(32768));
        assert_eq!(tokens("1m"), Ok(1 << 20));
        assert!(tokens("many").is_err());
        assert!(tokens("99999999999999999999G").is_err());
        assert!(tokens("").is_err());
    }

    #[test]
    fn memory_is_a_kind_a_bus_and_a_rate() {
        let own = memory("LPDDR5X:256:8.533").expect("it is one");
        assert_eq!((own.kind.as_str(), own.bus_bits), ("LPDDR5X", 256));
        for wrong in ["", "LPDDR5X", "LPDDR5X:x:1", "LPDDR5X:256:8:1"] {
            assert!(memory(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn devices_may_be_counted() {
        assert_eq!(device("2x RTX 3090", None).count, Some(2));
        assert_eq!(device("RTX 3090", None).name, "RTX 3090");
        assert_eq!(device("RTX 3090", None).count, Some(1));
    }
}
