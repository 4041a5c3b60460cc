//! What recorded runs teach: the same store and the same rules as files of measurements (`calibrate`), from predictions
//! that were made before their runs.

use std::collections::HashSet;
use std::path::PathBuf;

use hwledger_core::calibration::{Calibration, Key, Sample, drifts};
use hwledger_formats::measurement::Excluded;
use hwledger_formats::measurement::Place;
use hwledger_ledger::event::{CalibrationUpdated, Count, Decimal, Draft};
use hwledger_ledger::hash::Hash;

use super::measurement::SHARE_LEFT;
use super::prediction::PredictionBasis;
use super::runs::{Told, Wanted, runs};
use super::{RecordError, blob};
use crate::calibrate::{self, CalibrateAnswer, Store, summary};
use crate::ledger::{LedgerOptions, open};

/// What to learn from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LearnRequest {
    /// The store of pairs; the user's own where absent.
    pub store: Option<PathBuf>,
    /// Nothing is written, neither to the store nor to the ledger.
    pub is_dry_run: bool,
}

/// The pairs of one run.
fn samples(folder: &std::path::Path, told: &Told) -> Result<Vec<Sample>, RecordError> {
    let (run, (index, made)) = (&told.run, &told.prediction);
    let bytes = blob::fetch(folder, made.inputs, *index)?;
    let basis: PredictionBasis = serde_json::from_slice(&bytes).map_err(|error| RecordError::Run(error.to_string()))?;
    let mut found = Vec::new();
    for (measurement, window) in &told.measurements {
        let share_left = window.measures.iter().find(|measure| measure.figure == SHARE_LEFT);
        let share_left = share_left.and_then(|measure| measure.value.as_ref()).map(Decimal::value);
        for said in &basis.figures {
            let name = said.figure.name();
            let measured =
                window.measures.iter().find(|measure| measure.figure == name && measure.quality == "measured");
            let Some(measured) = measured.and_then(|measure| measure.value.as_ref()) else { continue };
            found.push(Sample {
                key: said.key.clone(),
                subject: said.subject.clone(),
                is_own: true,
                predicted: said.formula,
                measured: measured.value(),
                spread: None,
                weight: 1.0,
                share_left,
                place: format!("run/{run}:{measurement}"),
            });
        }
    }
    Ok(found.into_iter().filter(Sample::is_sound).collect())
}

/// Learns from every recorded run, and records what was learnt.
///
/// # Errors
///
/// There is no ledger, or the store cannot be read or written.
pub fn learn(options: &LedgerOptions, request: &LearnRequest) -> Result<CalibrateAnswer, RecordError> {
    let ledger = open(options)?;
    let path = request.store.clone().or_else(Store::default_path);
    if path.is_none() && !request.is_dry_run {
        return Err(calibrate::StoreError::NoPlace.into());
    }
    let mut store = match &path {
        Some(path) => Store::read(path)?.unwrap_or_default(),
        None => Store::default(),
    };
    let all = runs(&ledger, Wanted::All)?;
    let (mut new, mut excluded) = (Vec::new(), Vec::new());
    let measured: Vec<_> = all.iter().filter(|told| !told.measurements.is_empty()).collect();
    for told in &measured {
        match samples(ledger.folder(), told) {
            Ok(found) => new.extend(found),
            Err(error) => excluded.push(Excluded {
                place: Place { file: format!("run/{}", told.run), line: 0, record: 0 },
                what: told.prediction.1.model.clone(),
                reason: error.to_string(),
            }),
        }
    }
    let alarms = drifts(&store.samples, &new);
    let touched: HashSet<Key> = new.iter().map(|sample| sample.key.clone()).collect();
    let (pairs_new, pairs_renewed) = calibrate::merge(&mut store.samples, new);
    let calibration = Calibration::new(store.samples.iter().cloned());
    let errors = summary::rows(&calibration, &touched);
    let answer = CalibrateAnswer {
        schema: "hwledger.calibrate/1",
        runs: measured.len(),
        pairs_new,
        pairs_renewed,
        pairs: store.samples.len(),
        errors,
        drifts: alarms,
        excluded,
        remarks: Vec::new(),
        store: path.filter(|_| !request.is_dry_run),
    };
    if let Some(path) = &answer.store {
        store.write(path)?;
        let bytes = std::fs::read(path).map_err(|source| RecordError::File { path: path.clone(), source })?;
        let hash = Hash::of(&bytes);
        let events = answer.errors.iter().filter_map(|row| {
            let key = row.key.as_ref()?;
            let correction = calibration.correction(key)?;
            let event = CalibrationUpdated {
                key: key.to_string(),
                figure: row.figure.name().to_owned(),
                pairs: Count(row.n as u64),
                factor: Decimal::new(correction.location.exp())?,
                low: correction.half_width.and_then(|half| Decimal::new((correction.location - half).exp())),
                high: correction.half_width.and_then(|half| Decimal::new((correction.location + half).exp())),
                error_before: Decimal::new(row.median_error_before),
                error_after: Decimal::new(row.median_error_after),
                store: Some(hash),
            };
            Some(Draft::new("hwledger/calibrate", &format!("calibration/{key}"), event))
        });
        for result in ledger.append_all(&events.collect::<Vec<_>>())? {
            result?;
        }
    }
    Ok(answer)
}
