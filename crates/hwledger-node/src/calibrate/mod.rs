//! The use case "calibrate": measured runs in, corrections of later predictions out.
//!
//! Each run becomes a plan request; what the plan says is put beside what the run gave. Runs that
//! cannot be planned are listed with the reason. The pairs are kept in a store, which later plans
//! are corrected by ([`Learned`]).

mod learned;
mod matching;
mod pairs;
mod store;
pub(crate) mod summary;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use hwledger_core::calibration::{Calibration, Drift, Key, Sample, Subject, drifts};
use hwledger_formats::measurement::{self, Excluded, FILE_BYTES_MAX, Format, MeasuredRun, MeasurementError};
use serde::Serialize;

pub use learned::Learned;
pub(crate) use learned::{figures, key, subject};
pub(crate) use matching::request_of;
pub(crate) use pairs::{measured, predicted_memory};
pub use store::{Store, StoreError};
pub use summary::ErrorRow;

use crate::locate::{LocateError, bounded};
use crate::planner::{PlanFailure, Planner};

/// What to learn from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CalibrateRequest {
    /// Files of measurements.
    pub files: Vec<PathBuf>,
    /// The model of all runs; otherwise each run's own name, as the built-in catalogue knows it.
    pub model: Option<String>,
    /// The device of all runs; otherwise each run's own.
    pub device: Option<String>,
    /// The format of all files; otherwise found by their content.
    pub format: Option<String>,
    /// The store; the user's own where absent.
    pub store: Option<PathBuf>,
    /// The runs were made on other machines: they correct predictions, and no figure becomes "measured".
    pub is_foreign: bool,
    /// Nothing is written.
    pub is_dry_run: bool,
}

/// What was learnt.
#[derive(Clone, Debug, Serialize)]
pub struct CalibrateAnswer {
    /// `hwledger.calibrate/1`.
    pub schema: &'static str,
    /// Runs read.
    pub runs: usize,
    /// Pairs of a prediction and a measurement that were new to the store.
    pub pairs_new: usize,
    /// Pairs that the store had, predicted anew.
    pub pairs_renewed: usize,
    /// Pairs in the store afterwards.
    pub pairs: usize,
    /// Errors by figure and key, each pair corrected only by the others.
    pub errors: Vec<ErrorRow>,
    /// Keys whose new runs behave otherwise than their stored ones.
    pub drifts: Vec<Drift>,
    /// Rows and runs that could not be used.
    pub excluded: Vec<Excluded>,
    /// What was odd without being wrong.
    pub remarks: Vec<String>,
    /// The store that was written.
    pub store: Option<PathBuf>,
}

/// Why nothing was learnt.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateFailure {
    /// A file cannot be opened.
    #[error(transparent)]
    File(#[from] LocateError),
    /// A file is no measurement.
    #[error("`{file}`: {source}")]
    Measurement {
        /// The file.
        file: String,
        /// What is wrong with it.
        source: MeasurementError,
    },
    /// No such format.
    #[error("there is no format `{0}`")]
    Format(String),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The model or device that was named cannot be planned.
    #[error(transparent)]
    Plan(#[from] PlanFailure),
}

impl CalibrateFailure {
    /// What to do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Measurement { source, .. } => Some(source.hint()),
            Self::Format(_) => Some(MeasurementError::UnknownFormat.hint()),
            Self::Store(error) => error.hint(),
            Self::Plan(failure) => failure.hint(),
        }
    }
}

impl Planner {
    /// Learns from files of measurements.
    ///
    /// # Errors
    ///
    /// A file, the store, or a model that was named cannot be read.
    pub fn calibrate(&self, request: &CalibrateRequest) -> Result<CalibrateAnswer, CalibrateFailure> {
        let path = request.store.clone().or_else(Store::default_path);
        if path.is_none() && !request.is_dry_run {
            return Err(StoreError::NoPlace.into());
        }
        let mut store = match &path {
            Some(path) => Store::read(path)?.unwrap_or_default(),
            None => Store::default(),
        };
        let (runs, mut excluded, mut remarks) = read_files(request)?;
        if let Some(model) = &request.model {
            // A model that nobody can plan is one mistake, not one per run.
            self.model(model)?;
        }
        let mut new = Vec::new();
        for run in &runs {
            match self.pairs(run, request) {
                Ok(pairs) => new.extend(pairs),
                Err(reason) => {
                    excluded.push(Excluded { place: run.place.clone(), what: run.label(), reason });
                }
            }
        }
        if store.is_stale() {
            remarks
                .push("the store was written by another version; what it predicted may have changed since".to_owned());
        }
        let alarms = drifts(&store.samples, &new);
        let touched: HashSet<Key> = new.iter().map(|sample| sample.key.clone()).collect();
        let (pairs_new, pairs_renewed) = merge(&mut store.samples, new);
        let calibration = Calibration::new(store.samples.iter().cloned());
        let answer = CalibrateAnswer {
            schema: "hwledger.calibrate/1",
            runs: runs.len(),
            pairs_new,
            pairs_renewed,
            pairs: store.samples.len(),
            errors: summary::rows(&calibration, &touched),
            drifts: alarms,
            excluded,
            remarks,
            store: path.filter(|_| !request.is_dry_run),
        };
        if let Some(path) = &answer.store {
            store.write(path)?;
        }
        Ok(answer)
    }
}

type FilesRead = (Vec<MeasuredRun>, Vec<Excluded>, Vec<String>);

fn read_files(request: &CalibrateRequest) -> Result<FilesRead, CalibrateFailure> {
    let format =
        request.format.as_ref().map(|name| name.parse::<Format>().map_err(|_| CalibrateFailure::Format(name.clone())));
    let format = format.transpose()?;
    let (mut runs, mut excluded, mut remarks) = (Vec::new(), Vec::new(), Vec::new());
    for path in &request.files {
        let bytes = bounded::read(path, FILE_BYTES_MAX as u64)?;
        let file = display_name(path);
        let found = measurement::read(&bytes, &file, format)
            .map_err(|source| CalibrateFailure::Measurement { file: file.clone(), source })?;
        runs.extend(found.runs);
        excluded.extend(found.excluded);
        remarks.extend(found.diagnostics.iter().map(|remark| format!("{file}: {remark}")));
    }
    Ok((runs, excluded, remarks))
}

/// The file's own name: a store may be passed on, and folders are nobody's business.
fn display_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Puts `new` into `samples`; a run that is there already is not counted twice, and its prediction
/// is renewed.
pub(crate) fn merge(samples: &mut Vec<Sample>, new: Vec<Sample>) -> (usize, usize) {
    type Identity = (Key, Subject, u64, bool);
    let identity = |sample: &Sample| -> Identity {
        (sample.key.clone(), sample.subject.clone(), sample.measured.to_bits(), sample.is_own)
    };
    let mut places: HashMap<Identity, usize> =
        samples.iter().enumerate().map(|(at, sample)| (identity(sample), at)).collect();
    let (mut added, mut renewed) = (0, 0);
    for sample in new {
        let identity = identity(&sample);
        if let Some(&at) = places.get(&identity) {
            samples[at] = sample;
            renewed += 1;
        } else {
            places.insert(identity, samples.len());
            samples.push(sample);
            added += 1;
        }
    }
    (added, renewed)
}
