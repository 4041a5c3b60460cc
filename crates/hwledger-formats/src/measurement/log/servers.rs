//! vLLM and SGLang.

use hwledger_core::Bytes;

use super::{buffer, numbered, started};
use crate::measurement::quantity::{after, between, count, number, size, size_where};
use crate::measurement::run::MeasuredRun;

/// Both engines print `GB` where they divide by 2^30.
const BINARY_GIGA: f64 = 1_073_741_824.0;

fn gibibytes(text: &str) -> Option<Bytes> {
    size_where(text, BINARY_GIGA)
}

/// vLLM: figures of the first worker; all workers of a plan hold alike.
pub(in crate::measurement) fn vllm(text: &str) -> Vec<MeasuredRun> {
    let mut runs = Vec::new();
    let mut run = started("vllm", 1);
    for (index, line) in text.lines().enumerate() {
        let is_start = line.contains("Initializing a V") || line.contains("Initializing an LLM engine");
        if is_start && !run.memory.is_empty() {
            runs.push(std::mem::replace(&mut run, started("vllm", index as u64 + 1)));
        }
        vllm_settings(line, &mut run);
        vllm_memory(line, &mut run);
    }
    runs.push(run);
    numbered(runs)
}

/// `Initializing a V1 LLM engine (v0.11.0) with config: model='Qwen/Qwen3-8B', ... max_seq_len=4096, ...`
fn vllm_settings(line: &str, run: &mut MeasuredRun) {
    if let Some(version) = between(line, "LLM engine (v", &[')']).or(between(line, "API server version ", &[' ', '\n']))
    {
        run.engine_version = Some(version.trim().to_owned());
    }
    if line.contains("LLM engine (v") {
        let text = |name: &str| between(line, name, &['\'']).filter(|text| text.len() < 500).map(str::to_owned);
        let whole = |name: &str| after(line, name).and_then(count);
        run.model = text(" model='").or(run.model.take());
        run.settings.context = whole(" max_seq_len=").or(run.settings.context);
        run.settings.tensor_parallel = whole(" tensor_parallel_size=").or(run.settings.tensor_parallel);
        run.settings.pipeline_parallel = whole(" pipeline_parallel_size=").or(run.settings.pipeline_parallel);
        run.settings.data_parallel = whole(" data_parallel_size=").or(run.settings.data_parallel);
        let word = |name: &str| between(line, name, &[',', ' ']).filter(|word| *word != "None" && *word != "auto");
        run.weights = word(" quantization=").map(str::to_owned).or(run.weights.take());
        run.settings.kv_type_k = word(" kv_cache_dtype=").map(str::to_owned);
        run.settings.kv_type_v.clone_from(&run.settings.kv_type_k);
    }
}

fn vllm_memory(line: &str, run: &mut MeasuredRun) {
    let found = |name: &str| after(line, name).and_then(gibibytes);
    if let Some(share) = after(line, "gpu_memory_utilization (").and_then(number) {
        run.settings.gpu_memory_utilization = Some(share.0);
    }
    let pool = after(line, "GPU KV cache size: ").or_else(|| after(line, "GPU + host KV cache size: "));
    if let Some(tokens) = pool.and_then(count) {
        run.figures.kv_cache_tokens.get_or_insert(tokens);
    }
    let weights = found("odel loading took ")
        .or_else(|| found("oading model weights took "))
        .or_else(|| found("model weights take "))
        .or_else(|| found("weights memory: "));
    let activation = found("PyTorch activation peak memory takes ").or_else(|| found("torch peak memory increase: "));
    let outside = found("non_torch_memory takes ").or_else(|| found("non-torch forward increase memory: "));
    let cache = found("Available KV cache memory: ").or_else(|| found("memory reserved for KV Cache is "));
    if weights.or(activation).or(outside).or(cache).is_none() {
        return;
    }
    let Some(row) = buffer(&mut run.memory, "worker") else { return };
    row.weights_bytes = row.weights_bytes.or(weights);
    row.compute_bytes = row.compute_bytes.or(activation);
    row.overhead_bytes = row.overhead_bytes.or(outside);
    row.kv_cache_bytes = row.kv_cache_bytes.or(cache);
}

/// SGLang: one row per rank that prints.
pub(in crate::measurement) fn sglang(text: &str) -> Vec<MeasuredRun> {
    let mut runs = Vec::new();
    let mut run = started("sglang", 1);
    for (index, line) in text.lines().enumerate() {
        let is_start = line.contains("server_args=ServerArgs(");
        if is_start && !run.memory.is_empty() {
            runs.push(std::mem::replace(&mut run, started("sglang", index as u64 + 1)));
        }
        sglang_settings(line, &mut run);
        sglang_memory(line, &mut run);
    }
    runs.push(run);
    numbered(runs)
}

/// `server_args=ServerArgs(model_path='...', ..., tp_size=4, ...)`
fn sglang_settings(line: &str, run: &mut MeasuredRun) {
    if line.contains("server_args") {
        let whole = |name: &str| after(line, name).and_then(count);
        let text = |name: &str| between(line, name, &['\'']).filter(|text| text.len() < 500).map(str::to_owned);
        run.model = text("model_path='").or(run.model.take());
        run.weights = text(" quantization='").or(run.weights.take());
        run.settings.kv_type_k = text(" kv_cache_dtype='").filter(|kind| kind != "auto");
        run.settings.kv_type_v.clone_from(&run.settings.kv_type_k);
        run.settings.tensor_parallel = whole(" tp_size=");
        run.settings.pipeline_parallel = whole(" pp_size=");
        run.settings.gpu_memory_utilization =
            after(line, "mem_fraction_static=").and_then(number).map(|(share, _)| share);
    }
    if let Some(tokens) = after(line, "max_total_num_tokens=").and_then(count) {
        run.figures.kv_cache_tokens = Some(tokens);
        let whole = |name: &str| after(line, name).and_then(count);
        run.settings.context = whole("context_len=");
        run.settings.max_batched_tokens = whole("chunked_prefill_size=");
    }
}

fn sglang_memory(line: &str, run: &mut MeasuredRun) {
    let found = |name: &str| after(line, name).and_then(gibibytes);
    // `[2025-11-04 05:27:13 DP0 TP0 EP0] Load weight end. ...`
    let rank = between(line, "TP", &[' ', ']']).filter(|digits| {
        line.starts_with('[') && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    });
    let device = rank.map_or_else(|| "TP0".to_owned(), |digits| format!("TP{digits}"));
    if line.contains("Load weight end.") {
        if let (Some(bytes), Some(row)) = (found("mem usage="), buffer(&mut run.memory, &device)) {
            row.weights_bytes = row.weights_bytes.or(Some(bytes));
        }
    } else if line.contains("KV Cache is allocated.") {
        // Window and full layers have a pool each.
        let parts = [found(" K size: "), found(" V size: ")].into_iter().flatten().reduce(|a, b| a + b);
        if let (Some(bytes), Some(row)) = (parts.or(found("KV size: ")), buffer(&mut run.memory, &device)) {
            row.kv_cache_bytes = Some(row.kv_cache_bytes.map_or(bytes, |before| before + bytes));
        }
    } else if line.contains("Mamba Cache is allocated.") {
        let size = |name: &str| after(line, name).and_then(gibibytes);
        let parts = [size("conv_state size: "), size("ssm_state size: ")].into_iter().flatten().reduce(|a, b| a + b);
        if let (Some(bytes), Some(row)) = (parts, buffer(&mut run.memory, &device)) {
            row.recurrent_state_bytes = Some(bytes);
        }
    } else if (line.contains("apture cuda graph end.") || line.contains(" CUDA graph end."))
        && let (Some(bytes), Some(row)) = (found("mem usage="), buffer(&mut run.memory, &device))
    {
        // Prefill and decode, target and draft have a line each.
        row.compute_bytes = Some(row.compute_bytes.map_or(bytes, |before| before + bytes));
    }
    if let Some(peak) = after(line, "peak memory=").and_then(size) {
        run.figures.peak_memory_bytes = Some(peak);
    }
}
