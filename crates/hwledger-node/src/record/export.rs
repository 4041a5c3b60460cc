//! Recorded runs as tables that other programs read: figures beside predictions, or workload records of 65 columns.

use hwledger_core::calibration::Figure;
use hwledger_ledger::event::{EngineWindowRecorded, Measure, PredictionMade};

use super::RecordError;
use super::reconcile::ReconciledRun;
use super::runs::{Told, Wanted, runs};
use crate::ledger::{LedgerOptions, open};
use crate::sweep::record::WorkloadRecord;
use crate::table::record::record;

record! {
    /// One figure of one recorded run.
    #[expect(missing_docs, reason = "each column is named as in `hwledger reconcile --json`")]
    pub struct FigureRecord {
        required {
            run: String,
            figure: String,
            /// The entry of the prediction, which is before that of the measurement.
            prediction: i64,
            /// The entry of the measurement.
            measurement: i64,
        }
        optional {
            model: String,
            engine: String,
            settings: String,
            predicted: f64,
            low: f64,
            high: f64,
            basis: String,
            measured: f64,
            ratio: f64,
            is_covered: bool,
            reason: String,
        }
    }
}

fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The figures of compared runs, one row each.
pub fn figure_records(runs: &[ReconciledRun]) -> Vec<FigureRecord> {
    let rows = runs.iter().flat_map(|run| {
        run.residuals.iter().map(|row| FigureRecord {
            run: run.run.clone(),
            figure: row.figure.clone(),
            prediction: count(run.prediction),
            measurement: count(run.measurement),
            model: Some(run.model.clone()),
            engine: Some(run.engine.clone()),
            settings: Some(run.settings.join(" ")),
            predicted: Some(row.predicted),
            low: row.interval.map(|[low, _]| low),
            high: row.interval.map(|[_, high]| high),
            basis: Some(row.basis.clone()),
            measured: Some(row.measured),
            ratio: Some(row.ratio),
            is_covered: row.is_covered,
            reason: Some(row.reason.clone()),
        })
    });
    rows.collect()
}

/// The phases of every measured run of the ledger, one workload record each.
///
/// # Errors
///
/// There is no ledger, or it cannot be read.
pub fn workload_records(options: &LedgerOptions) -> Result<Vec<WorkloadRecord>, RecordError> {
    let ledger = open(options)?;
    Ok(runs(&ledger, Wanted::All)?.iter().flat_map(phases).collect())
}

fn value(measures: &[Measure], figure: Figure) -> Option<f64> {
    measures.iter().find(|one| one.figure == figure.name())?.value.as_ref().map(hwledger_ledger::event::Decimal::value)
}

/// A number among settings, which are `name=value`.
fn setting(made: &PredictionMade, name: &str) -> Option<i64> {
    made.settings.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

#[expect(clippy::cast_possible_truncation, reason = "the columns hold whole nanoseconds and seven digits")]
fn phases(told: &Told) -> Vec<WorkloadRecord> {
    let (run, (_, made)) = (&told.run, &told.prediction);
    let phase = |number: usize, window: &EngineWindowRecorded, name: &str, from: f64, takes: f64, tokens: i64| {
        let milliseconds = |value: f64| (value * 1e6).round() as i64;
        WorkloadRecord {
            record_id: format!("{run}-{number}-{name}"),
            run_id: run.clone(),
            t_wall_ns: count(window.start_ns.0),
            t_sim_ns: milliseconds(from),
            subsystem: Some(made.device.clone()),
            operation: Some("llm".to_owned()),
            phase: Some(name.to_owned()),
            latency_ns: Some(milliseconds(takes)),
            precision: made.quantisation.clone(),
            llm_prompt_tokens: setting(made, "prompt"),
            llm_output_tokens: setting(made, "generate"),
            llm_kv_cache_mb: value(&window.measures, Figure::KvCacheBytes).map(|bytes| (bytes / 1e6) as f32),
            llm_tokens_per_sec: (takes > 0.0).then(|| (tokens as f64 * 1000.0 / takes) as f32),
            ..WorkloadRecord::default()
        }
    };
    let mut records = Vec::new();
    for (number, (_, window)) in told.measurements.iter().enumerate() {
        let (prompt, generate) = (setting(made, "prompt"), setting(made, "generate"));
        let by_rate = |figure, tokens: Option<i64>| {
            Some(tokens? as f64 * 1000.0 / value(&window.measures, figure).filter(|rate| *rate > 0.0)?)
        };
        let first = value(&window.measures, Figure::TtftMs).or_else(|| by_rate(Figure::PrefillTokensPerS, prompt));
        if let (Some(first), Some(prompt)) = (first, prompt) {
            records.push(phase(number, window, "prefill", 0.0, first, prompt));
        }
        let rest = generate.map(|tokens| (tokens - 1).max(1));
        let decode = value(&window.measures, Figure::TpotMs)
            .zip(rest)
            .map(|(gap, tokens)| gap * tokens as f64)
            .or_else(|| by_rate(Figure::DecodeTokensPerS, rest));
        if let (Some(decode), Some(tokens)) = (decode, rest) {
            records.push(phase(number, window, "decode", first.unwrap_or(0.0), decode, tokens));
        }
    }
    records
}
