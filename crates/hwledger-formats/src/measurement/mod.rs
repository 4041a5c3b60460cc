//! What benchmarks and start-up logs measured, whatever printed it, as one type: [`MeasuredRun`].
//!
//! Sources, read in September 2026: llama.cpp's `tools/llama-bench` (README and printers), `ik_llama.cpp`'s
//! fork of it; vLLM's `vllm/benchmarks/{serve,throughput,latency}.py`; SGLang's
//! `python/sglang/{bench_serving,bench_one_batch}.py`; the start-up logs of llama.cpp, vLLM, SGLang
//! and Ollama as people publish them. `docs/measurements.md` is the reference for people.

mod batches;
mod detect;
mod error;
mod json;
mod llama_bench;
mod log;
mod own;
mod plausible;
mod quantity;
mod record;
mod run;
mod serving;
#[cfg(test)]
mod tests;

pub use detect::Format;
pub use error::MeasurementError;
pub use llama_bench::weights_of_label;
pub use own::{SCHEMA, to_line};
pub use run::{
    BufferMemory, Excluded, Figures, Latency, MeasuredRun, Measurements, Percentile, Place, RunSettings, Statistic,
    TestKind, Workload,
};

use crate::Diagnostic;

/// Largest file that is read: detailed results of long serving runs reach some ten megabytes.
pub const FILE_BYTES_MAX: usize = 64 << 20;
/// Most records of one file.
const RECORDS_MAX: usize = 100_000;

/// Reads every run that `bytes` hold. `file` is only named in places and errors.
///
/// Rows that are well-formed but cannot be true (a rate of zero, a deviation above the mean) are
/// listed with their reason and left out.
///
/// # Errors
///
/// [`MeasurementError`] where the bytes are too many, are of no known format, or a record of the
/// format is malformed.
pub fn read(bytes: &[u8], file: &str, format: Option<Format>) -> Result<Measurements, MeasurementError> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(MeasurementError::TooLarge { bytes: bytes.len() });
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| MeasurementError::NotText {
        line: bytes[..error.valid_up_to()].split(|byte| *byte == b'\n').count() as u64,
    })?;
    let format = format.or_else(|| detect::detect(text)).ok_or(MeasurementError::UnknownFormat)?;
    let mut diagnostics = Vec::new();
    let runs = read_as(text, format, &mut diagnostics)?;
    let mut kept = Vec::with_capacity(runs.len());
    let mut excluded = Vec::new();
    for mut run in runs {
        file.clone_into(&mut run.place.file);
        match plausible::objection(&run) {
            None => kept.push(run),
            Some(reason) => excluded.push(Excluded { place: run.place.clone(), what: run.label(), reason }),
        }
    }
    Ok(Measurements { format, runs: kept, excluded, diagnostics })
}

fn read_as(
    text: &str,
    format: Format,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Vec<MeasuredRun>, MeasurementError> {
    match format {
        Format::LlamaBenchTable => llama_bench::read_table(text),
        Format::LlamaBenchCsv => llama_bench::read_csv(text),
        Format::LlamaBenchSql => llama_bench::read_sql(text),
        Format::LlamaBenchJson => json::each(text, |record| llama_bench::run(&record)),
        Format::VllmServing => json::each(text, |record| serving::vllm(&record, diagnostics)),
        Format::SglangServing => json::each(text, |record| serving::sglang(&record)),
        Format::VllmThroughput => json::each(text, |record| batches::vllm_throughput(&record)),
        Format::VllmLatency => json::each(text, |record| batches::vllm_latency(&record)),
        Format::SglangBatch => json::each(text, |record| batches::sglang(&record)),
        Format::Own => json::each(text, |record| own::run(&record, diagnostics)),
        Format::LlamaCppLog => Ok(log::llama_cpp(text)),
        Format::VllmLog => Ok(log::vllm(text)),
        Format::SglangLog => Ok(log::sglang(text)),
        Format::OllamaLog => Ok(log::ollama(text)),
    }
}
