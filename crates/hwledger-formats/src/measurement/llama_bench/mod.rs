//! The five outputs of llama-bench, and of `ik_llama.cpp`'s fork of it.
//!
//! CSV, JSON and SQL print one set of fields (`test::get_fields`); each becomes a [`Record`] and
//! [`run`] reads it. The table prints rounded figures under short titles and is read by itself.

mod delimited;
mod label;
mod sql;
mod table;

pub use label::weights_of_label;

pub(super) use delimited::read_csv;
pub(super) use label::{is_gguf, model_of_file as model_of};
pub(super) use sql::read_sql;
pub(super) use table::{is_header, read_table};

use hwledger_core::Bytes;

use super::error::MeasurementError;
use super::record::{Record, Value};
use super::run::{MeasuredRun, Statistic, TestKind};

/// Longest line of a table, a CSV file or a log.
pub(super) const LINE_BYTES_MAX: usize = 1 << 20;
/// Most columns.
const COLUMNS_MAX: usize = 512;

/// Fields that only `ik_llama.cpp` prints.
const FORK_FIELDS: [&str; 3] = ["mla_attn", "fused_moe", "attn_max_batch"];

/// Older builds say the backend by one flag each.
const BACKEND_FLAGS: [(&str, &str); 7] = [
    ("cuda", "CUDA"),
    ("vulkan", "Vulkan"),
    ("kompute", "Kompute"),
    ("metal", "Metal"),
    ("sycl", "SYCL"),
    ("gpu_blas", "GPU BLAS"),
    ("opencl", "OpenCL"),
];

/// One record of fields.
pub(super) fn run(record: &Record<'_>) -> Result<MeasuredRun, MeasurementError> {
    let mut run = record.run();
    let is_fork = FORK_FIELDS.iter().any(|field| record.has(field));
    run.engine = Some(if is_fork { "ik_llama.cpp" } else { "llama.cpp" }.to_owned());
    let build = record.count("build_number")?.filter(|build| *build > 0);
    run.engine_version = build.map(|build| format!("b{build}")).or(record.text("build_commit")?);
    let label = record.text("model_type")?;
    let file = record.text("model_filename")?;
    run.weights = label
        .as_deref()
        .and_then(weights_of_label)
        .or_else(|| file.as_deref().and_then(label::weights_of_file).map(str::to_owned));
    run.model = file.as_deref().map(label::model_of_file).or(label);
    run.size_bytes = record.count("model_size")?.filter(|bytes| *bytes > 0).map(Bytes);
    run.parameters = record.count("model_n_params")?.filter(|count| *count > 0);
    settings(record, &mut run)?;
    hardware(record, &mut run)?;
    figures(record, &mut run)?;
    Ok(run)
}

fn settings(record: &Record<'_>, run: &mut MeasuredRun) -> Result<(), MeasurementError> {
    let settings = &mut run.settings;
    settings.gpu_layers = record.integer("n_gpu_layers")?;
    settings.cpu_moe_layers = record.count("n_cpu_moe")?.filter(|layers| *layers > 0);
    settings.batch = record.count("n_batch")?;
    settings.ubatch = record.count("n_ubatch")?;
    settings.threads = record.count("n_threads")?;
    settings.kv_type_k = record.text("type_k")?;
    settings.kv_type_v = record.text("type_v")?;
    settings.split_mode = record.text("split_mode")?;
    settings.flash_attention = flash_attention(record)?;
    Ok(())
}

/// A flag, a number from -1, or a word, as builds have printed it over time.
fn flash_attention(record: &Record<'_>) -> Result<Option<String>, MeasurementError> {
    if let Some(Value::Text(word)) = record.values.get("flash_attn")
        && let Some(switch) = switch(word.trim())
    {
        return Ok(Some(switch.to_owned()));
    }
    match record.values.get("flash_attn") {
        Some(Value::Number(number)) if *number < 0.0 => Ok(Some("auto".to_owned())),
        _ => Ok(record.flag("flash_attn")?.map(|flag| if flag { "on" } else { "off" }.to_owned())),
    }
}

fn switch(word: &str) -> Option<&'static str> {
    match word {
        "on" | "1" | "true" => Some("on"),
        "off" | "0" | "false" => Some("off"),
        "auto" | "-1" => Some("auto"),
        _ => None,
    }
}

fn hardware(record: &Record<'_>, run: &mut MeasuredRun) -> Result<(), MeasurementError> {
    run.host_processor = record.text("cpu_info")?;
    run.backend = match record.text("backends")? {
        Some(backends) => Some(first_backend(&backends).to_owned()),
        None => BACKEND_FLAGS
            .iter()
            .find(|(flag, _)| record.flag(flag).ok().flatten() == Some(true))
            .map(|(_, name)| (*name).to_owned()),
    };
    let on_cpu = run.settings.gpu_layers == Some(0) && run.settings.cpu_moe_layers.is_none();
    let cards = record.text("gpu_info")?.filter(|_| !on_cpu);
    set_devices(run, cards.as_deref());
    Ok(())
}

/// `Metal,BLAS` computes on the first.
fn first_backend(backends: &str) -> &str {
    backends.split([',', '/']).next().unwrap_or(backends).trim()
}

/// Cards as llama-bench lists them, the processor where there are none.
fn set_devices(run: &mut MeasuredRun, cards: Option<&str>) {
    let names: Vec<&str> =
        cards.unwrap_or_default().split([',', '/']).map(str::trim).filter(|name| !name.is_empty()).collect();
    match names[..] {
        [] => {
            run.device.clone_from(&run.host_processor);
            run.device_count = run.device.as_ref().map(|_| 1);
        }
        [first, ..] if names.iter().all(|name| *name == first) => {
            run.device = Some(first.to_owned());
            run.device_count = Some(names.len() as u64);
        }
        // Cards of several kinds stay one text, which no catalogue knows.
        _ => run.device = Some(names.join(", ")),
    }
}

fn figures(record: &Record<'_>, run: &mut MeasuredRun) -> Result<(), MeasurementError> {
    let count = |key| Ok(record.count(key)?.filter(|tokens| *tokens > 0));
    run.workload.prompt = count("n_prompt")?;
    run.workload.generate = count("n_gen")?;
    run.workload.depth = count("n_depth")?;
    run.workload.duration_s = record.number("avg_ns")?.map(|nanoseconds| nanoseconds / 1e9);
    let samples = record.list("samples_ts").or(record.list("samples_ns")).map(|list| list.len() as u64);
    let rate = Statistic { value: record.required("avg_ts")?, deviation: record.number("stddev_ts")?, samples };
    set_rate(run, rate);
    Ok(())
}

/// Files a rate under what the test did.
fn set_rate(run: &mut MeasuredRun, rate: Statistic) {
    let (kind, slot) = match (run.workload.prompt, run.workload.generate) {
        (Some(_), None) => (TestKind::Prefill, &mut run.figures.prefill_tokens_per_s),
        (None, Some(_)) => (TestKind::Decode, &mut run.figures.decode_tokens_per_s),
        _ => (TestKind::PrefillAndDecode, &mut run.figures.mixed_tokens_per_s),
    };
    run.workload.kind = Some(kind);
    *slot = Some(rate);
}
