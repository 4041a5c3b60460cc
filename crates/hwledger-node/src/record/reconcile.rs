//! Predictions beside what really happened.

use std::collections::BTreeMap;

use hwledger_ledger::event::{Count, Decimal, Draft, Measure, PredictionReconciled, Residual};
use serde::Serialize;

use super::RecordError;
use super::runs::{Told, Wanted, runs};
use crate::ledger::{LedgerOptions, open};

/// How far memory may be from its prediction and still be called the same.
const SAME: f64 = 0.01;
/// The share of the processors that others must have taken to explain a slow run.
const BUSY: f64 = 0.05;

/// Which runs to compare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReconcileRequest {
    /// The runs; all where empty.
    pub runs: Vec<String>,
    /// Runs that were compared before too.
    pub again: bool,
}

/// One figure of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ResidualRow {
    /// Which figure.
    pub figure: String,
    /// What was said before: the best that was known.
    pub predicted: f64,
    /// Ends of its interval.
    pub interval: Option<[f64; 2]>,
    /// What it rested on.
    pub basis: String,
    /// What came out.
    pub measured: f64,
    /// Measured divided by predicted.
    pub ratio: f64,
    /// Whether it lies in the interval.
    pub is_covered: Option<bool>,
    /// What explains the difference, as far as known.
    pub reason: String,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReconciledRun {
    /// Its name.
    pub run: String,
    /// The model.
    pub model: String,
    /// The engine.
    pub engine: String,
    /// What was asked of it.
    pub settings: Vec<String>,
    /// The entry of the prediction, which is before that of the measurement.
    pub prediction: u64,
    /// The entry of the measurement.
    pub measurement: u64,
    /// The figures.
    pub residuals: Vec<ResidualRow>,
    /// Figures that were predicted and not measured, with the reason.
    pub missing: Vec<String>,
}

/// What was compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReconcileAnswer {
    /// `hwledger.reconcile/1`.
    pub schema: &'static str,
    /// The runs, oldest first.
    pub runs: Vec<ReconciledRun>,
    /// Predictions whose run was not measured, or not yet.
    pub open: Vec<String>,
    /// Per figure: how many, the median of `|ln(measured / predicted)|`, and the share within the interval.
    pub figures: BTreeMap<String, FigureSummary>,
}

/// How well one figure was predicted.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FigureSummary {
    /// Runs that have it.
    pub runs: usize,
    /// Median of `|ln(measured / predicted)|`.
    pub median_error: f64,
    /// Share of the runs within their interval, of those that have one.
    pub coverage: Option<f64>,
}

/// Compares what was predicted with what was measured, and records it.
///
/// # Errors
///
/// There is no ledger, it has no such run, or takes nothing.
pub fn reconcile(options: &LedgerOptions, request: &ReconcileRequest) -> Result<ReconcileAnswer, RecordError> {
    let ledger = open(options)?;
    let wanted = match (request.runs.is_empty(), request.again) {
        (false, _) => Wanted::Named(&request.runs),
        (true, true) => Wanted::All,
        (true, false) => Wanted::ToReconcile,
    };
    let all = runs(&ledger, wanted)?;
    if let Some(unknown) = request.runs.iter().find(|run| !all.iter().any(|told| told.run == **run)) {
        return Err(RecordError::NoRun(unknown.clone()));
    }
    let mut answer = ReconcileAnswer {
        schema: "hwledger.reconcile/1",
        runs: Vec::new(),
        open: Vec::new(),
        figures: BTreeMap::new(),
    };
    let mut drafts = Vec::new();
    for Told { run, prediction: (prediction, made), measurements, reconciled } in &all {
        if measurements.is_empty() {
            answer.open.push(run.clone());
        }
        for (measurement, window) in measurements {
            let is_done = reconciled.contains(measurement);
            if is_done && !request.again && request.runs.is_empty() {
                continue;
            }
            let (residuals, missing) = compare(made, &window.measures);
            let compared = ReconciledRun {
                run: run.clone(),
                model: made.model.clone(),
                engine: made.engine.clone(),
                settings: made.settings.clone(),
                prediction: *prediction,
                measurement: *measurement,
                residuals,
                missing,
            };
            if !is_done {
                drafts.push(draft(&compared));
            }
            answer.runs.push(compared);
        }
    }
    for result in ledger.append_all(&drafts)? {
        result?;
    }
    answer.figures = summaries(&answer.runs);
    Ok(answer)
}

fn draft(run: &ReconciledRun) -> Draft {
    let residual = |row: &ResidualRow| {
        Some(Residual {
            figure: row.figure.clone(),
            predicted: Decimal::new(row.predicted)?,
            measured: Decimal::new(row.measured)?,
            ratio: Decimal::new(row.ratio)?,
            is_covered: row.is_covered,
            reason: row.reason.clone(),
        })
    };
    let event = PredictionReconciled {
        run: run.run.clone(),
        prediction: Count(run.prediction),
        measurement: Count(run.measurement),
        residuals: run.residuals.iter().filter_map(residual).collect(),
        missing: run.missing.clone(),
    };
    let subject = format!("run/{}", run.run);
    Draft::new("hwledger/reconcile", &subject, event).once(format!("{} {}", run.run, run.measurement))
}

fn value_of(measures: &[Measure], figure: &str) -> Option<f64> {
    measures.iter().find(|measure| measure.figure == figure)?.value.as_ref().map(Decimal::value)
}

/// The figures of both, and those that only the prediction has.
fn compare(made: &hwledger_ledger::event::PredictionMade, measures: &[Measure]) -> (Vec<ResidualRow>, Vec<String>) {
    let (mut rows, mut missing) = (Vec::<ResidualRow>::new(), Vec::new());
    for estimate in &made.estimates {
        // The best that was known comes first; the formula's own figure may follow it.
        if rows.iter().any(|row| row.figure == estimate.figure) {
            continue;
        }
        let predicted = estimate.value.value();
        let Some(measured) = value_of(measures, &estimate.figure) else {
            let reason = measures.iter().find(|one| one.figure == estimate.figure).and_then(|one| one.reason.clone());
            let word = format!("{}: {}", estimate.figure, reason.unwrap_or_else(|| "it was not measured".to_owned()));
            if !missing.contains(&word) {
                missing.push(word);
            }
            continue;
        };
        let interval = estimate.low.as_ref().zip(estimate.high.as_ref()).map(|(low, high)| [low.value(), high.value()]);
        let ratio = measured / predicted;
        // A figure that arithmetic gives exactly is the same to within a page or so.
        let is_covered = interval.map(|[low, high]| {
            (low..=high).contains(&measured) || (estimate.figure.ends_with("_bytes") && (ratio - 1.0).abs() <= SAME)
        });
        rows.push(ResidualRow {
            reason: reason(&estimate.figure, ratio, is_covered, measures),
            figure: estimate.figure.clone(),
            predicted,
            interval,
            basis: estimate.basis.clone(),
            measured,
            ratio,
            is_covered,
        });
    }
    (rows, missing)
}

/// What explains a difference, as far as anything that was recorded does.
fn reason(figure: &str, ratio: f64, is_covered: Option<bool>, measures: &[Measure]) -> String {
    let is_memory = figure.ends_with("_bytes");
    if is_memory && (ratio - 1.0).abs() <= SAME {
        return "the same to within 1 %".to_owned();
    }
    if is_covered == Some(true) {
        return "within the interval".to_owned();
    }
    if is_memory {
        let way = if ratio > 1.0 { "more" } else { "less" };
        return format!("{way} than planned; nothing that was recorded explains it");
    }
    let is_slow = (ratio < 1.0) == figure.ends_with("_per_s");
    let share = |name| value_of(measures, name).filter(|share| is_slow && *share > BUSY);
    if let Some(share) = share("processor_busy_elsewhere_ratio") {
        return format!("other work took {:.0} % of the processors meanwhile", share * 100.0);
    }
    if let Some(share) = share("processor_stolen_ratio") {
        return format!("the host took {:.0} % of the processors away meanwhile", share * 100.0);
    }
    "nothing that was recorded explains it: the formula is off, or its interval too narrow".to_owned()
}

fn summaries(runs: &[ReconciledRun]) -> BTreeMap<String, FigureSummary> {
    let mut errors: BTreeMap<String, Vec<(f64, Option<bool>)>> = BTreeMap::new();
    for row in runs.iter().flat_map(|run| &run.residuals) {
        errors.entry(row.figure.clone()).or_default().push((row.ratio.ln().abs(), row.is_covered));
    }
    let summary = |mut found: Vec<(f64, Option<bool>)>| {
        found.sort_by(|left, right| left.0.total_cmp(&right.0));
        let judged: Vec<bool> = found.iter().filter_map(|(_, is_covered)| *is_covered).collect();
        let covered = judged.iter().filter(|is_covered| **is_covered).count();
        let (low, high) = (found[(found.len() - 1) / 2].0, found[found.len() / 2].0);
        FigureSummary {
            runs: found.len(),
            median_error: f64::midpoint(low, high),
            coverage: (!judged.is_empty()).then(|| covered as f64 / judged.len() as f64),
        }
    };
    errors.into_iter().map(|(figure, found)| (figure, summary(found))).collect()
}
