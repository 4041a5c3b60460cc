//! A measured run as the plan request that predicts it.

use hwledger_core::device::DeviceError;
use hwledger_formats::measurement::{MeasuredRun, RunSettings, TestKind};

use super::CalibrateRequest;
use crate::catalogue;
use crate::planner::{PlanFailure, Planner, Prepared};
use crate::request::{CountOrAll, DeviceRequest, HostRequest, PlanRequest};

/// Most requests in flight that a plan believes.
const CONCURRENCY_MAX: u64 = 1 << 16;
/// How far a run's count of parameters may be from the plan's: tables round it, and files leave out
/// layers that only draft.
const PARAMETERS_TOLERANCE: f64 = 0.04;

impl Planner {
    /// The run as a plan, or why there is none.
    pub(super) fn prepare_run(&self, run: &MeasuredRun, request: &CalibrateRequest) -> Result<Prepared, String> {
        if let Some(rate) = run.workload.request_rate {
            return Err(format!("requests were sent at {rate} per second: it measures the load, not the engine"));
        }
        let plan = request_of(run, request)?;
        let prepared = self.prepare(&plan).map_err(|failure| reason(&failure))?;
        if prepared.settings.devices.is_empty() {
            return Err("it names no device; name one with `--device`".to_owned());
        }
        if let Some(unknown) = prepared.settings.devices.iter().find(|device| device.spec.is_none()) {
            return Err(format!("no device `{}` is known; name it with `--device`", unknown.name));
        }
        check_parameters(run, &prepared)?;
        Ok(prepared)
    }
}

/// The plan request that predicts a run.
pub(crate) fn request_of(run: &MeasuredRun, request: &CalibrateRequest) -> Result<PlanRequest, String> {
    let model = match &request.model {
        Some(model) => model.clone(),
        None => known_model(run.model.as_deref())?,
    };
    let settings = &run.settings;
    let is_llama = run.engine.as_deref().is_some_and(|engine| engine.ends_with("llama.cpp"));
    Ok(PlanRequest {
        model,
        weights: weights(run, is_llama),
        weights_bytes: run.size_bytes.filter(|_| is_llama).map(|bytes| bytes.0),
        engine: run.engine.clone(),
        engine_version: run.engine_version.clone(),
        context: settings.context.or_else(|| is_llama.then(|| context(run)).flatten()),
        sequences: settings.sequences,
        kv_type_k: settings.kv_type_k.clone(),
        kv_type_v: settings.kv_type_v.clone(),
        batch: settings.batch,
        ubatch: settings.ubatch,
        max_batched_tokens: settings.max_batched_tokens,
        flash_attention: settings.flash_attention.clone(),
        gpu_layers: settings.gpu_layers.map(CountOrAll::Count),
        cpu_moe_layers: settings.cpu_moe_layers.and_then(|layers| layers.try_into().ok()).map(CountOrAll::Count),
        gpu_memory_utilization: settings.gpu_memory_utilization,
        devices: devices(run, request),
        tensor_parallel: settings.tensor_parallel,
        pipeline_parallel: settings.pipeline_parallel,
        expert_parallel: settings.expert_parallel.filter(|ranks| *ranks > 1),
        data_parallel: settings.data_parallel,
        threads: settings.threads,
        backend: run.backend.clone(),
        prompt: run.workload.prompt,
        generate: run.workload.generate,
        depth: run.workload.depth,
        concurrency: concurrency(run),
        host: run
            .host_processor
            .clone()
            .filter(|name| run.device.as_ref() != Some(name))
            .map(|name| HostRequest { name: Some(name), ..HostRequest::default() }),
        split_mode: settings.split_mode.clone(),
        ..PlanRequest::default()
    })
}

fn reason(failure: &PlanFailure) -> String {
    let mut text = crate::planner::with_causes(failure);
    let is_device = matches!(failure, PlanFailure::Device(DeviceError::Ambiguous { .. } | DeviceError::Empty));
    if is_device {
        text.push_str("; name it with `--device`");
    } else if let Some(hint) = failure.hint() {
        text.push_str("; ");
        text.push_str(&hint);
    }
    text
}

/// The catalogue's model behind a run's own name.
fn known_model(name: Option<&str>) -> Result<String, String> {
    let Some(name) = name else { return Err("it names no model; name one with `--model`".to_owned()) };
    let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let found = catalogue::find(name).or_else(|| catalogue::find(last));
    found
        .map(|entry| entry.id.to_owned())
        .ok_or_else(|| format!("no model `{name}` is in the catalogue; name it with `--model`"))
}

/// llama.cpp's files say their format; servers say how they read a checkpoint, which knows itself.
fn weights(run: &MeasuredRun, is_llama: bool) -> Option<String> {
    let weights = run.weights.clone()?;
    match weights.to_ascii_lowercase().as_str() {
        _ if is_llama || run.engine.is_none() => Some(weights),
        "fp8" => Some("FP8".to_owned()),
        word if ["awq", "gptq", "compressed", "bitsandbytes", "modelopt", "marlin"]
            .iter()
            .any(|start| word.contains(start)) =>
        {
            None
        }
        _ => Some(weights),
    }
}

/// llama-bench makes its context just long enough for the test.
fn context(run: &MeasuredRun) -> Option<u64> {
    let workload = &run.workload;
    let parts = [workload.prompt, workload.generate, workload.depth];
    let tokens = parts.into_iter().flatten().fold(0, u64::saturating_add);
    (tokens > 0).then_some(tokens)
}

/// Requests in flight. A server that is sent all at once has all of them.
fn concurrency(run: &MeasuredRun) -> Option<u64> {
    let workload = &run.workload;
    let sent = workload.requests.filter(|_| workload.kind == Some(TestKind::Serving));
    workload.concurrency.or(sent).map(|requests| requests.clamp(1, CONCURRENCY_MAX))
}

fn devices(run: &MeasuredRun, request: &CalibrateRequest) -> Vec<DeviceRequest> {
    let ranks = |settings: &RunSettings| {
        [settings.tensor_parallel, settings.pipeline_parallel, settings.data_parallel]
            .into_iter()
            .flatten()
            .fold(1_u64, u64::saturating_mul)
    };
    let count = run.device_count.unwrap_or_else(|| ranks(&run.settings));
    match (&request.device, &run.device) {
        // A name with its own count says all (`2x RTX 3090`).
        (Some(name), _) => {
            let is_counted = hwledger_core::device::find(name, None).is_ok_and(|found| found.count > 1);
            vec![DeviceRequest {
                name: name.clone(),
                count: Some(if is_counted { 1 } else { count }),
                ..DeviceRequest::default()
            }]
        }
        (None, Some(name)) => {
            vec![DeviceRequest { name: name.clone(), count: Some(count), ..DeviceRequest::default() }]
        }
        (None, None) => Vec::new(),
    }
}

/// Refuses a run whose count of parameters says that it is another model.
fn check_parameters(run: &MeasuredRun, prepared: &Prepared) -> Result<(), String> {
    let Some(counted) = run.parameters else { return Ok(()) };
    let own = prepared.model.spec.parameters();
    // A GGUF file keeps towers in a file of their own.
    let is_close = |own: u64| (counted as f64 / own.max(1) as f64 - 1.0).abs() <= PARAMETERS_TOLERANCE;
    if is_close(own.total) || is_close(own.total.saturating_sub(own.vision)) {
        return Ok(());
    }
    Err(format!(
        "it ran {counted} parameters and `{}` has {}: another model; name it with `--model`",
        prepared.model.name, own.total
    ))
}
