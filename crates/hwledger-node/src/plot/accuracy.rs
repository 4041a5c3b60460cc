//! Predicted against measured speeds.

use std::collections::BTreeMap;

use hwledger_core::projection::{Efficiencies, Speed};
use hwledger_core::{Assumptions, Estimate};
use serde::Serialize;

use super::PlotError;
use super::heading::{Heading, counted};
use crate::efficiency::{MeasuredSpeed, SpeedRecord};
use crate::planner::Planner;

/// A relative error that is called near.
const NEAR: f64 = 0.25;

/// A panel per figure.
#[derive(Clone, Debug, Serialize)]
pub struct AccuracyPlot {
    /// What it is of.
    #[serde(flatten)]
    pub heading: Heading,
    /// The figures that were measured.
    pub figures: Vec<FigurePanel>,
    /// Records without a prediction, by reason.
    pub left_out: BTreeMap<String, usize>,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct FigurePanel {
    /// Its key in answers.
    pub figure: &'static str,
    /// In words.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// The comparisons.
    pub comparisons: Vec<Comparison>,
    /// Share of measurements within the predicted interval.
    pub within_interval: f64,
    /// Share of predictions within a quarter of the measurement.
    pub within_quarter: f64,
    /// Median of |ln(predicted / measured)|.
    pub median_error: f64,
}

/// One measurement with its prediction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// What was measured.
    pub measured: f64,
    /// What is predicted, with its interval.
    pub predicted: Estimate<f64>,
}

impl Comparison {
    fn is_within_interval(&self) -> bool {
        (self.predicted.low..=self.predicted.high).contains(&self.measured)
    }

    fn is_near(&self) -> bool {
        (self.predicted.value / self.measured - 1.0).abs() <= NEAR
    }

    fn error(&self) -> f64 {
        (self.predicted.value / self.measured).ln().abs()
    }
}

/// A figure's key, words, unit, and where it is measured and predicted.
type Figure =
    (&'static str, &'static str, &'static str, fn(&MeasuredSpeed) -> Option<f64>, fn(&Speed) -> Option<Estimate<f64>>);

const FIGURES: [Figure; 5] = [
    ("prefill_tokens_per_s", "prefill", "tokens/s", |own| own.prefill_tokens_per_s, |own| own.prefill_tokens_per_s),
    ("decode_tokens_per_s", "decode", "tokens/s", |own| own.decode_tokens_per_s, |own| own.decode_tokens_per_s),
    (
        "output_tokens_per_s",
        "output, all requests",
        "tokens/s",
        |own| own.output_tokens_per_s,
        |own| own.output_tokens_per_s,
    ),
    ("ttft_ms", "time to first token", "ms", |own| own.ttft_ms, |own| own.ttft_ms),
    ("tpot_ms", "time per output token", "ms", |own| own.tpot_ms, |own| own.tpot_ms),
];

impl FigurePanel {
    fn of((figure, name, unit, ..): Figure, comparisons: Vec<Comparison>) -> Option<Self> {
        let count = comparisons.len();
        let mut errors: Vec<f64> = comparisons.iter().map(Comparison::error).collect();
        errors.sort_by(f64::total_cmp);
        let median_error = *errors.get(count / 2)?;
        let share =
            |is: fn(&Comparison) -> bool| comparisons.iter().filter(|own| is(own)).count() as f64 / count as f64;
        Some(Self {
            figure,
            name,
            unit,
            within_interval: share(Comparison::is_within_interval),
            within_quarter: share(Comparison::is_near),
            median_error,
            comparisons,
        })
    }
}

/// Compares what `records` measured with what is predicted for their requests.
///
/// Efficiencies are those of this build, which may have been fitted to the same records.
pub fn accuracy(planner: &Planner, records: &[SpeedRecord]) -> Result<AccuracyPlot, PlotError> {
    let efficiencies = Efficiencies::embedded();
    let mut left_out: BTreeMap<String, usize> = BTreeMap::new();
    let mut comparisons: [Vec<Comparison>; 5] = Default::default();
    for record in records {
        let predicted = planner.prepare(&record.request).map_err(|failure| failure.to_string()).and_then(|prepared| {
            let projection = prepared.projection(efficiencies, &mut Assumptions::default());
            projection.map(|own| own.speed(efficiencies)).map_err(|gap| gap.to_string())
        });
        let speed = match predicted {
            Ok(speed) => speed,
            Err(reason) => {
                *left_out.entry(reason).or_insert(0) += 1;
                continue;
            }
        };
        for ((.., measured, predicted), own) in FIGURES.iter().zip(&mut comparisons) {
            let measured = measured(&record.measured).filter(|value| value.is_finite() && *value > 0.0);
            let predicted = predicted(&speed).filter(|own| own.value.is_finite() && own.value > 0.0);
            if let (Some(measured), Some(predicted)) = (measured, predicted) {
                own.push(Comparison { measured, predicted });
            }
        }
    }
    let figures: Vec<FigurePanel> =
        FIGURES.into_iter().zip(comparisons).filter_map(|(figure, own)| FigurePanel::of(figure, own)).collect();
    if figures.is_empty() {
        let most = left_out.into_iter().max_by_key(|(_, count)| *count);
        let reason = most.map_or_else(|| "none says what was measured".to_owned(), |(reason, _)| reason);
        return Err(PlotError::NothingCompared { records: records.len(), reason });
    }
    Ok(AccuracyPlot { heading: heading(records.len(), &left_out), figures, left_out })
}

fn heading(records: usize, left_out: &BTreeMap<String, usize>) -> Heading {
    let mut notes = vec![
        "Line: prediction and measurement agree; band: within 25 %. In interval: what was measured lies in the \
         predicted interval, meant for nine in ten."
            .to_owned(),
        "Records that this build's efficiencies were fitted to are predicted better than new ones.".to_owned(),
    ];
    let without: usize = left_out.values().sum();
    if without > 0 {
        notes.push(format!("{} without a prediction left out.", counted(without as u64, "record", "records")));
    }
    Heading {
        title: "Predicted against measured".to_owned(),
        subtitle: counted((records - without) as u64, "record", "records"),
        notes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hwledger_core::Basis;

    #[test]
    fn a_panel_counts_what_it_says() {
        let compare = |measured, value| Comparison {
            measured,
            predicted: Estimate { value, low: value * 0.9, high: value * 1.1, basis: Basis::Calibrated },
        };
        let comparisons = vec![compare(100.0, 100.0), compare(100.0, 120.0), compare(100.0, 200.0)];
        let panel = FigurePanel::of(FIGURES[0], comparisons).expect("three comparisons");
        assert!((panel.within_interval - 1.0 / 3.0).abs() < 1e-12);
        assert!((panel.within_quarter - 2.0 / 3.0).abs() < 1e-12);
        assert!((panel.median_error - 1.2_f64.ln()).abs() < 1e-12);
        assert!(FigurePanel::of(FIGURES[0], Vec::new()).is_none());
    }
}
