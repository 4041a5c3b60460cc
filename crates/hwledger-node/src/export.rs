//! A plan as settings that the engine itself accepts.
//!
//! Names of flags and keys: llama.cpp `common/arg.cpp`, vLLM `EngineArgs`,
//! SGLang `server_args.py`, mlx-lm `server.py`, Ollama's Modelfile reference.

use std::fmt::Write as _;

use hwledger_core::settings::{Engine, LayerCount, Settings, SplitMode, Switch};
use serde::Serialize;

use crate::planner::{PlanFailure, Planner, Prepared};
use crate::request::PlanRequest;

/// Settings for an engine.
#[derive(Clone, Debug, Serialize)]
pub struct ExportAnswer {
    /// `hwledger.export/1`.
    pub schema: &'static str,
    /// The engine.
    pub engine: &'static str,
    /// What kind of text it is.
    pub kind: &'static str,
    /// The text: a command line, a YAML file or a Modelfile.
    pub text: String,
}

impl Planner {
    /// The engine's own settings for a request.
    pub fn export(&self, request: &PlanRequest) -> Result<ExportAnswer, PlanFailure> {
        let prepared = self.prepare(request)?;
        let model = request.model.as_str();
        let (kind, text) = match prepared.engine {
            Engine::LlamaCpp | Engine::IkLlamaCpp => ("command", llamacpp(&prepared, model)),
            Engine::Ollama => ("Modelfile", modelfile(&prepared, model)),
            Engine::Vllm => ("yaml", vllm(&prepared, model)),
            Engine::Sglang => ("command", sglang(&prepared, model)),
            Engine::Mlx => ("command", mlx(&prepared, model)),
            engine => {
                return Err(PlanFailure::BadRequest {
                    key: "engine".to_owned(),
                    value: engine.name().to_owned(),
                    hint: "settings can be exported for llama.cpp, ollama, vllm, sglang and mlx".to_owned(),
                });
            }
        };
        Ok(ExportAnswer { schema: "hwledger.export/1", engine: prepared.engine.name(), kind, text })
    }
}

/// Words of a command, a flag and its value at a time.
struct Command(String);

impl Command {
    fn flag(&mut self, flag: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.0.push_str(" \\\n  ");
            self.0.push_str(flag);
            self.0.push(' ');
            self.0.push_str(&value.to_string());
        }
    }

    fn switch(&mut self, flag: &str, is_on: bool) {
        if is_on {
            self.0.push_str(" \\\n  ");
            self.0.push_str(flag);
        }
    }

    fn finish(mut self) -> String {
        self.0.push('\n');
        self.0
    }
}

fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn count(layers: LayerCount) -> String {
    match layers {
        LayerCount::Some(count) => count.to_string(),
        // llama.cpp caps the number at what the model has.
        LayerCount::All => "999".to_owned(),
    }
}

fn llamacpp(prepared: &Prepared, model: &str) -> String {
    let settings = &prepared.settings;
    let mut command = Command("llama-server".to_owned());
    let is_repository = model.contains('/') && !std::path::Path::new(model).exists();
    command.flag(if is_repository { "--hf-repo" } else { "--model" }, Some(shell(model)));
    command.flag("--ctx-size", settings.context);
    command.flag("--parallel", settings.sequences);
    command.flag("--batch-size", settings.batch);
    command.flag("--ubatch-size", settings.ubatch);
    command.flag("--cache-type-k", settings.kv_type_k.map(hwledger_core::ElementType::name));
    command.flag("--cache-type-v", settings.kv_type_v.map(hwledger_core::ElementType::name));
    let flash = settings.flash_attention.map(|switch| match switch {
        Switch::On => "on",
        Switch::Off => "off",
        Switch::Auto => "auto",
    });
    command.flag("--flash-attn", flash);
    let is_fork = settings.engine == Some(Engine::IkLlamaCpp);
    command.flag("--attention-max-batch", settings.attention_max_batch_mib.filter(|_| is_fork));
    command.switch("--kv-unified", settings.kv_unified == Some(true));
    command.switch("--swa-full", settings.swa_full == Some(true));
    command.flag("--n-gpu-layers", settings.gpu_layers.map(count));
    match settings.cpu_moe_layers {
        Some(LayerCount::All) => command.switch("--cpu-moe", true),
        Some(LayerCount::Some(layers)) => command.flag("--n-cpu-moe", Some(layers)),
        None => {}
    }
    let split = settings.split_mode.map(|mode| match mode {
        SplitMode::Layer => "layer",
        SplitMode::Row => "row",
        SplitMode::Tensor => "tensor",
    });
    command.flag("--split-mode", split);
    command.flag("--threads", settings.threads);
    command.finish()
}

fn modelfile(prepared: &Prepared, model: &str) -> String {
    let settings = &prepared.settings;
    let mut text = format!("FROM {}\n", model.trim_start_matches("ollama:"));
    let mut parameter = |name: &str, value: Option<u64>| {
        if let Some(value) = value {
            let _ = writeln!(text, "PARAMETER {name} {value}");
        }
    };
    parameter("num_ctx", settings.context);
    parameter("num_batch", settings.ubatch.or(settings.batch));
    let layers = settings.gpu_layers.map(|layers| match layers {
        LayerCount::Some(count) => count,
        LayerCount::All => 999,
    });
    parameter("num_gpu", layers);
    parameter("num_thread", settings.threads);
    // The cache type and the number of requests are the server's, not the model's.
    if let Some(kind) = settings.kv_type_k {
        let _ = writeln!(text, "# start the server with OLLAMA_KV_CACHE_TYPE={}", kind.name());
    }
    if let Some(sequences) = settings.sequences {
        let _ = writeln!(text, "# start the server with OLLAMA_NUM_PARALLEL={sequences}");
    }
    text
}

/// The cache type as vLLM and `SGLang` spell it; `None` where the model's own type is meant.
fn serving_cache_type(settings: &Settings) -> Option<&'static str> {
    match settings.kv_type_k?.name() {
        "fp8" => Some("fp8_e4m3"),
        "bf16" => Some("bfloat16"),
        _ => None,
    }
}

fn vllm(prepared: &Prepared, model: &str) -> String {
    let settings = &prepared.settings;
    let mut text = format!("# vllm serve --config FILE\nmodel: {}\n", serde_json::Value::from(model));
    let mut key = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(text, "{name}: {value}");
        }
    };
    let number = |value: Option<u64>| value.map(|value| value.to_string());
    key("max-model-len", number(settings.context));
    key("max-num-seqs", number(settings.sequences));
    key("max-num-batched-tokens", number(settings.max_batched_tokens));
    key("gpu-memory-utilization", settings.gpu_memory_utilization.map(|share| share.to_string()));
    key("tensor-parallel-size", number(settings.tensor_parallel));
    key("pipeline-parallel-size", number(settings.pipeline_parallel));
    key("data-parallel-size", number(settings.data_parallel));
    let is_expert_parallel = settings.expert_parallel.is_some_and(|ranks| ranks > 1);
    key("enable-expert-parallel", is_expert_parallel.then(|| "true".to_owned()));
    key("kv-cache-dtype", serving_cache_type(settings).map(str::to_owned));
    text
}

fn sglang(prepared: &Prepared, model: &str) -> String {
    let settings = &prepared.settings;
    let mut command = Command("python -m sglang.launch_server".to_owned());
    command.flag("--model-path", Some(shell(model)));
    command.flag("--context-length", settings.context);
    command.flag("--max-running-requests", settings.sequences);
    command.flag("--chunked-prefill-size", settings.max_batched_tokens);
    command.flag("--mem-fraction-static", settings.gpu_memory_utilization);
    command.flag("--tp-size", settings.tensor_parallel);
    command.flag("--pp-size", settings.pipeline_parallel);
    command.flag("--ep-size", settings.expert_parallel);
    command.flag("--dp-size", settings.attention_data_parallel.or(settings.data_parallel));
    command.switch("--enable-dp-attention", settings.attention_data_parallel.is_some_and(|ranks| ranks > 1));
    command.flag("--kv-cache-dtype", serving_cache_type(settings));
    command.finish()
}

fn mlx(prepared: &Prepared, model: &str) -> String {
    let settings = &prepared.settings;
    let mut command = Command("mlx_lm.generate".to_owned());
    command.flag("--model", Some(shell(model)));
    command.flag("--max-kv-size", settings.context);
    command.flag("--max-tokens", settings.generate);
    let bits = settings.kv_type_k.and_then(|kind| match kind.name() {
        "q8_0" => Some(8),
        "q4_0" => Some(4),
        _ => None,
    });
    command.flag("--kv-bits", bits);
    command.finish()
}
