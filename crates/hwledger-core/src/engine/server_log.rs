//! The lines about memory that engines other than llama.cpp print at start-up, for comparing by eye.

use super::{MemoryPlan, plan_memory};
use crate::engine::EngineError;
use crate::settings::Engine;
use crate::{Assumptions, Bytes, Estimate, ModelSpec, Settings};

/// `476016` as `476,016`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn gigabytes(bytes: Bytes) -> f64 {
    bytes.0 as f64 / 1e9
}

/// The first rank's figures, which engines print once per rank.
struct Figures {
    weights: Bytes,
    pool: Option<Bytes>,
    tokens: Option<u64>,
    concurrency: Option<f64>,
    total: Option<Bytes>,
    context: u64,
}

impl Figures {
    fn of(plan: &MemoryPlan, model: &ModelSpec, settings: &Settings) -> Self {
        let value = |part: Option<Estimate<Bytes>>| part.map(|part| part.value);
        let first = plan.devices.first().map(|device| device.components);
        Self {
            weights: first.and_then(|components| value(components.weights)).unwrap_or_default(),
            pool: first
                .and_then(|components| {
                    plan.available_kv.and(value(components.kv_cache).zip(value(components.recurrent_state)))
                })
                .map(|(cache, state)| cache + state),
            tokens: plan.kv_cache_tokens.map(|tokens| tokens.value),
            concurrency: plan.max_concurrency.map(|requests| requests.value),
            total: plan.summed().total().map(|total| total.value),
            context: settings.context.or(model.context_max).unwrap_or(4096),
        }
    }

    fn vllm(&self) -> Vec<String> {
        let mut lines = vec![format!("Model loading took {:.4} GiB memory", self.weights.gibibytes())];
        lines.extend(self.pool.map(|pool| format!("Available KV cache memory: {:.2} GiB", pool.gibibytes())));
        lines.extend(self.tokens.map(|tokens| format!("GPU KV cache size: {} tokens", grouped(tokens))));
        lines.extend(self.concurrency.map(|requests| {
            format!("Maximum concurrency for {} tokens per request: {requests:.2}x", grouped(self.context))
        }));
        lines
    }

    fn sglang(&self) -> Vec<String> {
        let mut lines = vec![format!("Load weight end. mem usage={:.2} GB.", self.weights.gibibytes())];
        lines.extend(self.pool.zip(self.tokens).map(|(pool, tokens)| {
            format!("KV Cache is allocated. #tokens: {tokens}, KV size: {:.2} GB", pool.gibibytes())
        }));
        lines.extend(self.tokens.map(|tokens| format!("max_total_num_tokens={tokens}, context_len={}", self.context)));
        lines
    }

    fn tgi(&self) -> Vec<String> {
        self.tokens.map(|tokens| format!("Setting max batch total tokens to {tokens}")).into_iter().collect()
    }

    fn tensorrt_llm(&self) -> Vec<String> {
        let line = |(pool, tokens): (Bytes, u64)| {
            format!(
                "[MemUsageChange] Allocated {:.2} GiB for max tokens in paged KV cache ({tokens}).",
                pool.gibibytes()
            )
        };
        self.pool.zip(self.tokens).map(line).into_iter().collect()
    }

    fn mistralrs(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .pool
            .map(|pool| format!("Allocating {:.0} MB for PagedAttention KV cache per GPU", pool.mebibytes()))
            .into_iter()
            .collect();
        lines.extend(self.tokens.map(|tokens| {
            format!("Using PagedAttention with block size 32 and {} GPU blocks: available context length is {tokens} tokens", tokens / 32)
        }));
        lines
    }

    fn peak(&self) -> Vec<String> {
        self.total.map(|total| format!("Peak memory: {:.3} GB", gigabytes(total))).into_iter().collect()
    }
}

/// The lines that `engine` would print.
///
/// # Errors
///
/// As [`plan_memory`].
pub(super) fn lines(engine: Engine, model: &ModelSpec, settings: &Settings) -> Result<Vec<String>, EngineError> {
    let plan = plan_memory(engine, model, settings, &mut Assumptions::default())?;
    let figures = Figures::of(&plan, model, settings);
    match engine {
        Engine::Vllm => Ok(figures.vllm()),
        Engine::Sglang => Ok(figures.sglang()),
        Engine::Tgi => Ok(figures.tgi()),
        Engine::TensorRtLlm => Ok(figures.tensorrt_llm()),
        Engine::MistralRs => Ok(figures.mistralrs()),
        Engine::Mlx => Ok(figures.peak()),
        other => Err(EngineError::NotModelled(other.name())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::find;
    use crate::model::fixture;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(476_016), "476,016");
        assert_eq!(grouped(1_096_000), "1,096,000");
    }

    /// vLLM 0.19.0 on an H100, as llm-d-planner's accuracy report publishes the log: 14.99 GiB of
    /// weights, 58.11 GiB for the cache, 476,016 tokens.
    #[test]
    fn vllm_prints_what_was_published() {
        let device = find("NVIDIA H100 80GB HBM3", Some(Bytes::from_gibibytes(79.19))).expect("a known name").device;
        let settings = Settings {
            engine_version: Some("0.19.0".to_owned()),
            weights: Some("BF16".to_owned()),
            context: Some(8192),
            gpu_memory_utilization: Some(0.95),
            devices: vec![device],
            ..Settings::default()
        };
        let lines = lines(Engine::Vllm, &fixture::llama_8b(), &settings).expect("a valid request");
        assert!(lines[0].starts_with("Model loading took 14.98"), "{lines:?}");
        assert!(lines[1].starts_with("Available KV cache memory: 58.1"), "{lines:?}");
        assert!(lines[2].starts_with("GPU KV cache size: 47"), "{lines:?}");
        assert!(lines[3].starts_with("Maximum concurrency for 8,192 tokens per request: 58."), "{lines:?}");
    }
}
