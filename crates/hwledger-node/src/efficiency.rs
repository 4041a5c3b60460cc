//! The use case "fit efficiencies": measured speeds in, the table that projections use out.
//!
//! Records are JSON lines: a plan request, what was measured under it, and where that was
//! published. Records whose request has no projection are counted by reason, never dropped in
//! silence. The report says how well devices and models are predicted that the fit has not seen.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::BufRead;

use hwledger_core::Assumptions;
use hwledger_core::projection::efficiency::{Priors, Scatter, ScatterKey};
use hwledger_core::projection::fit::{Observation, fit};
use hwledger_core::projection::resource::{Backend, Runner};
use hwledger_core::projection::term::Cost;
use hwledger_core::projection::{Efficiencies, Novelty};
use serde::{Deserialize, Serialize};

use crate::planner::{PlanFailure, Planner, Prepared};
use crate::request::PlanRequest;

/// One measured request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SpeedRecord {
    /// How the model was run.
    pub request: PlanRequest,
    /// What was measured.
    pub measured: MeasuredSpeed,
    /// Where it was published.
    pub source: String,
    /// Nobody but whoever sent it in has seen the run.
    #[serde(default)]
    pub self_reported: bool,
}

/// Measured figures, named as in answers.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the contract documents each key")]
pub struct MeasuredSpeed {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_tokens_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_tokens_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpot_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_s: Option<f64>,
}

/// What a self-reported figure counts, against one that others can check.
const SELF_REPORTED_WEIGHT: f64 = 0.25;

/// One comparison of a prediction with a measurement.
#[derive(Clone, Debug)]
struct Sample {
    record: usize,
    observation: Observation,
    /// Figure and engines: what errors are averaged by.
    figure: &'static str,
    /// The class of comparisons that scatter alike.
    scatter_figure: &'static str,
    /// The engine, and the engines that share its kernels.
    runners: [Runner; 2],
    backend: Option<Backend>,
    group: String,
    device: String,
    device_name: String,
    model: String,
    counts: bool,
}

/// Errors of one figure: means over devices of means over models of medians of |ln ratio|.
#[derive(Clone, Debug, Serialize)]
pub struct FigureErrors {
    /// The figure and the engines.
    pub figure: String,
    /// Comparisons.
    pub samples: usize,
    /// With everything seen.
    pub fitted: f64,
    /// Each device predicted by a fit that has not seen it.
    pub device_held_out: Option<f64>,
    /// Each model predicted by a fit that has not seen it.
    pub model_held_out: Option<f64>,
    /// Share within 25 %, averaged alike: fitted, device held out, model held out.
    pub within_quarter: [Option<f64>; 3],
}

/// One comparison: seconds measured and predicted, by fits that have seen everything, not its
/// device, not its model.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "each name says what it holds")]
pub struct Comparison {
    pub record: usize,
    pub figure: &'static str,
    pub engines: String,
    pub device: String,
    pub model: String,
    pub measured_s: f64,
    pub fitted_s: f64,
    pub device_held_out_s: Option<f64>,
    pub model_held_out_s: Option<f64>,
}

/// A fit and what is known of its worth.
#[derive(Debug)]
pub struct FitReport {
    /// Every comparison.
    pub comparisons: Vec<Comparison>,
    /// The table.
    pub efficiencies: Efficiencies,
    /// Records without a projection, by reason.
    pub left_out: BTreeMap<String, usize>,
    /// Errors by figure.
    pub errors: Vec<FigureErrors>,
    /// Comparisons made.
    pub samples: usize,
}

/// A set of records that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// Reading failed.
    #[error("the records cannot be read")]
    Read(#[source] std::io::Error),
    /// A line is no record.
    #[error("line {line} is no record")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// There is none.
    #[error("there is no record to fit to")]
    Empty,
}

/// Reads records, one JSON object per line.
pub fn read_records(input: impl BufRead) -> Result<Vec<SpeedRecord>, RecordsError> {
    let mut records = Vec::new();
    for (line, text) in (1..).zip(input.lines()) {
        let text = text.map_err(RecordsError::Read)?;
        if !text.trim().is_empty() {
            records.push(serde_json::from_str(&text).map_err(|source| RecordsError::Line { line, source })?);
        }
    }
    if records.is_empty() { Err(RecordsError::Empty) } else { Ok(records) }
}

/// Fits efficiencies to `records`; with `held_out`, also predicts each device and each model by a
/// fit without it, which takes a fit for each.
pub fn fit_efficiencies(planner: &Planner, records: &[SpeedRecord], held_out: bool) -> FitReport {
    let mut left_out = BTreeMap::new();
    let samples = samples(planner, records, &mut left_out);
    let start = known_names(planner, records);
    let observations: Vec<&Observation> = samples.iter().map(|sample| &sample.observation).collect();
    let whole = fit(&observations, &start);
    let residuals = |efficiencies: &Efficiencies, sample: &Sample| {
        (sample.observation.seconds / sample.observation.cost.seconds(efficiencies)).ln()
    };
    let fitted: Vec<f64> = samples.iter().map(|sample| residuals(&whole, sample)).collect();
    // The fit of everything is a good start; factors that only what is held out bore on are dropped.
    let hold_out = |key: fn(&Sample) -> &str| -> Vec<f64> {
        let names: Vec<String> =
            samples.iter().map(|sample| key(sample).to_owned()).collect::<BTreeSet<_>>().into_iter().collect();
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(names.len().max(1));
        let mut out = vec![0.0; samples.len()];
        let found: Vec<(usize, f64)> = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..workers)
                .map(|worker| {
                    let (samples, names, start, residuals) = (&samples, &names, &whole, &residuals);
                    scope.spawn(move || {
                        let mut found = Vec::new();
                        for name in names.iter().skip(worker).step_by(workers) {
                            let rest: Vec<&Observation> = samples
                                .iter()
                                .filter(|sample| key(sample) != name)
                                .map(|sample| &sample.observation)
                                .collect();
                            let without = fit(&rest, start);
                            for (index, sample) in samples.iter().enumerate().filter(|(_, sample)| key(sample) == name)
                            {
                                found.push((index, residuals(&without, sample)));
                            }
                        }
                        found
                    })
                })
                .collect();
            handles.into_iter().flat_map(|handle| handle.join().unwrap_or_default()).collect()
        });
        for (index, residual) in found {
            out[index] = residual;
        }
        out
    };
    let by_device = held_out.then(|| hold_out(|sample| &sample.device_name));
    let by_model = held_out.then(|| hold_out(|sample| &sample.model));
    let errors = errors(&samples, &fitted, by_device.as_deref(), by_model.as_deref());
    let comparisons = samples.iter().enumerate().map(|(index, sample)| {
        let measured_s = sample.observation.seconds;
        let predicted = |residuals: &[f64]| measured_s / residuals[index].exp();
        Comparison {
            record: sample.record,
            figure: sample.figure,
            engines: sample.group.clone(),
            device: sample.device.clone(),
            model: sample.model.clone(),
            measured_s,
            fitted_s: predicted(&fitted),
            device_held_out_s: by_device.as_deref().map(predicted),
            model_held_out_s: by_model.as_deref().map(predicted),
        }
    });
    let comparisons = comparisons.collect();
    let mut efficiencies = whole;
    set_scatter(&mut efficiencies, &samples, &fitted, by_device.as_deref(), by_model.as_deref());
    FitReport { comparisons, efficiencies, left_out, errors, samples: samples.len() }
}

/// Efficiencies that know the names of every device, family and architecture of the records, and nothing else.
fn known_names(planner: &Planner, records: &[SpeedRecord]) -> Efficiencies {
    let mut start = Efficiencies::of_priors(Priors::embedded().clone());
    for record in records {
        let Ok(prepared) = planner.prepare(&record.request) else { continue };
        start.vocabulary.insert(&prepared.model.spec.architecture);
        for spec in prepared.settings.devices.iter().filter_map(|device| device.spec.as_deref()) {
            start.vocabulary.insert(&spec.name);
            if let Some(family) = &spec.family {
                start.vocabulary.insert(family);
            }
        }
    }
    start
}

fn samples(planner: &Planner, records: &[SpeedRecord], left_out: &mut BTreeMap<String, usize>) -> Vec<Sample> {
    let names = known_names(planner, records);
    let mut samples = Vec::new();
    for (index, record) in records.iter().enumerate() {
        match planner.prepare(&record.request).and_then(|prepared| compared(&prepared, record, &names)) {
            Ok(found) => samples.extend(found.into_iter().map(|sample| Sample { record: index, ..sample })),
            Err(failure) => *left_out.entry(failure.to_string()).or_insert(0) += 1,
        }
    }
    set_weights(&mut samples);
    samples
}

/// The comparisons that one record gives.
fn compared(prepared: &Prepared, record: &SpeedRecord, names: &Efficiencies) -> Result<Vec<Sample>, PlanFailure> {
    let projection = prepared
        .projection(names, &mut Assumptions::default())
        .map_err(|gap| PlanFailure::NotARequest(gap.to_string()))?;
    let request = &record.request;
    let device_name = request.devices.first().map_or("host", |device| device.name.as_str()).to_owned();
    let cards: u64 = request.devices.iter().map(|device| device.count.unwrap_or(1)).sum();
    let is_batch = projection.concurrency > 1.0;
    let MeasuredSpeed { prefill_tokens_per_s, decode_tokens_per_s, ttft_ms, tpot_ms, output_tokens_per_s } =
        record.measured;
    let per_rate = |count: f64| move |rate: f64| count / rate;
    let figures: [(&'static str, Option<f64>, &Cost); 5] = [
        ("prefill", prefill_tokens_per_s.map(per_rate(projection.prompt)), &projection.prefill),
        ("decode", decode_tokens_per_s.map(per_rate(1.0)), &projection.per_token),
        (if is_batch { "tpot" } else { "decode" }, tpot_ms.map(|time| time / 1e3), &projection.per_token),
        ("ttft", ttft_ms.map(|time| time / 1e3), &projection.first_token),
        ("output", output_tokens_per_s.map(per_rate(projection.concurrency * projection.generated)), &projection.whole),
    ];
    let found = figures.into_iter().filter_map(|(figure, seconds, cost)| {
        let seconds = seconds.filter(|seconds| seconds.is_finite() && *seconds > 0.0)?;
        Some(Sample {
            record: 0,
            observation: Observation {
                cost: cost.clone(),
                seconds,
                weight: if record.self_reported { SELF_REPORTED_WEIGHT } else { 1.0 },
            },
            figure,
            scatter_figure: projection.scatter_figure(figure),
            runners: [projection.engine, projection.group],
            backend: projection.backend(),
            group: projection.group.name().to_owned(),
            device: format!("{device_name} x{cards}"),
            device_name: device_name.clone(),
            model: request.model.clone(),
            counts: !record.self_reported,
        })
    });
    Ok(found.collect())
}

/// Campaigns of thousands of rows weigh more than one of ten, but not in proportion: a cell of one
/// figure, engine, device and model counts as the root of its rows, an engine's device as the root
/// of its cells' sum.
fn set_weights(samples: &mut [Sample]) {
    let cell = |sample: &Sample| (sample.figure, sample.runners[0], sample.device.clone(), sample.model.clone());
    let mut rows = HashMap::new();
    for sample in samples.iter() {
        *rows.entry(cell(sample)).or_insert(0.0) += 1.0;
    }
    let mut devices: HashMap<(&str, Runner, String), f64> = HashMap::new();
    for ((figure, engine, device, _), count) in &rows {
        *devices.entry((figure, *engine, device.clone())).or_insert(0.0) += f64::sqrt(*count);
    }
    for sample in samples {
        let rows: f64 = rows[&cell(sample)];
        let device = devices[&(sample.figure, sample.runners[0], sample.device.clone())];
        sample.observation.weight /= rows.sqrt() * device.sqrt();
    }
}

/// Mean over devices of means over models of what `of` makes of a cell's residuals.
fn mean_of_cells(samples: &[(&Sample, f64)], of: impl Fn(&mut Vec<f64>) -> f64) -> f64 {
    let mut cells: BTreeMap<&str, BTreeMap<&str, Vec<f64>>> = BTreeMap::new();
    for (sample, residual) in samples {
        cells.entry(&sample.device).or_default().entry(&sample.model).or_default().push(residual.abs());
    }
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    mean(cells.into_values().map(|models| mean(models.into_values().map(|mut own| of(&mut own)).collect())).collect())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) { f64::midpoint(values[middle - 1], values[middle]) } else { values[middle] }
}

fn errors(
    samples: &[Sample],
    fitted: &[f64],
    by_device: Option<&[f64]>,
    by_model: Option<&[f64]>,
) -> Vec<FigureErrors> {
    let mut figures: BTreeSet<(&str, &str)> = BTreeSet::new();
    for sample in samples {
        figures.insert((sample.figure, &sample.group));
    }
    figures
        .into_iter()
        .filter_map(|(figure, group)| {
            let pick = |residuals: &[f64]| -> Vec<(&Sample, f64)> {
                let all = samples.iter().zip(residuals.iter().copied());
                // Figures are compared as the scorers of predictors do: without what only one person saw.
                all.filter(|(sample, _)| sample.counts && sample.figure == figure && sample.group == group).collect()
            };
            let own = pick(fitted);
            if own.is_empty() {
                return None;
            }
            let error = |residuals: &[f64]| mean_of_cells(&pick(residuals), |cell| median(cell));
            let within = |residuals: &[f64]| {
                mean_of_cells(&pick(residuals), |cell| {
                    // The measured time over the predicted, as a rate's relative error.
                    let near = cell.iter().filter(|residual| residual.exp_m1() <= 0.25).count();
                    near as f64 / cell.len() as f64
                })
            };
            Some(FigureErrors {
                figure: format!("{figure}/{group}"),
                samples: own.len(),
                fitted: error(fitted),
                device_held_out: by_device.map(error),
                model_held_out: by_model.map(error),
                within_quarter: [Some(within(fitted)), by_device.map(within), by_model.map(within)],
            })
        })
        .collect()
}

/// Fewest rows, and fewest devices where devices or models are new, of a class of one backend.
const BACKEND_ROWS: usize = 30;
/// See [`BACKEND_ROWS`].
const BACKEND_DEVICES: usize = 4;

/// Residuals that one in twenty is below and one in twenty above.
fn quantiles(mut residuals: Vec<f64>) -> Option<Scatter> {
    const FEWEST: usize = 8;
    if residuals.len() < FEWEST {
        return None;
    }
    residuals.sort_by(f64::total_cmp);
    // One more lies beyond either end (finite-sample correction of conformal prediction).
    let count = residuals.len() as f64 + 1.0;
    let at = |share: f64| {
        let wanted = (1..=residuals.len()).find(|&rank| rank as f64 >= share * count);
        residuals[wanted.unwrap_or(residuals.len()) - 1]
    };
    Some(Scatter { low: at(0.045).min(-0.01), high: at(0.955).max(0.01) })
}

fn set_scatter(
    efficiencies: &mut Efficiencies,
    samples: &[Sample],
    fitted: &[f64],
    by_device: Option<&[f64]>,
    by_model: Option<&[f64]>,
) {
    let classes = [(Novelty::Seen, Some(fitted)), (Novelty::NewModel, by_model), (Novelty::NewDevice, by_device)];
    for (novelty, residuals) in classes {
        let Some(residuals) = residuals else { continue };
        let mut figures: BTreeMap<ScatterKey, (Vec<f64>, BTreeSet<&str>)> = BTreeMap::new();
        for (sample, residual) in samples.iter().zip(residuals).filter(|(sample, _)| sample.counts) {
            let [engine, group] = sample.runners;
            for runner in [Some(engine), Some(group).filter(|&own| own != engine)].into_iter().flatten() {
                // Every class on its own backend and on any, and all classes together for those that
                // were hardly measured.
                let classes = BTreeSet::from([
                    (sample.scatter_figure, sample.backend),
                    (sample.scatter_figure, None),
                    (sample.figure, None),
                ]);
                for (figure, backend) in classes {
                    let class = figures.entry((figure, runner, backend, novelty)).or_default();
                    class.0.push(*residual);
                    class.1.insert(&sample.device);
                }
            }
        }
        for (key, (residuals, devices)) in figures {
            // What few devices show of new devices, or few rows of anything, is no class of its own.
            let is_rare =
                residuals.len() < BACKEND_ROWS || (novelty != Novelty::Seen && devices.len() < BACKEND_DEVICES);
            if key.2.is_some() && is_rare {
                continue;
            }
            if let Some(scatter) = quantiles(residuals) {
                efficiencies.scatter.insert(key, scatter);
            }
        }
    }
}
