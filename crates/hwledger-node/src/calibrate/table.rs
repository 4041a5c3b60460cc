//! Calibration pairs as a table.

use std::fs::File;
use std::path::Path;

use hwledger_core::calibration::{Figure, Key, Sample, Subject};

use super::store::StoreError;
use crate::table::parquet::ParquetWriter;
use crate::table::record::{Record, block_of, read_parquet, record};
use crate::table::{BlockSink, TableError};

record! {
    /// One pair of a prediction and a measurement, in the figure's unit.
    struct PairRecord {
        required {
            /// The figure, by its name in answers.
            figure: String,
            /// The model, by the reference that plans it.
            model: String,
            /// Everything else that moves the figure: lengths, requests in flight, settings.
            run: String,
            /// Whether it ran on the machine that the calibration is for.
            is_own: bool,
            /// What the formula said.
            predicted: f64,
            /// What was measured.
            measured: f64,
            /// How much it counts; 1 for an ordinary run.
            weight: f64,
            /// Where it was read (`file:line`).
            place: String,
            /// The version whose formula predicted.
            formula: String,
        }
        optional {
            /// The engine.
            engine: String,
            /// Its version or build.
            engine_version: String,
            /// The device, its count before it.
            device: String,
            /// CUDA, Vulkan, ...
            backend: String,
            /// Weight format.
            quantisation: String,
            /// The model's architecture.
            architecture: String,
            /// The class of the workload.
            workload: String,
            /// Standard deviation of the measurement over its value.
            spread: f64,
            /// Share of the processors' time that others left to the run; all where absent.
            share_left: f64,
        }
    }
}

impl PairRecord {
    fn of(sample: &Sample, formula: &str) -> Self {
        let Sample { key, subject, is_own, predicted, measured, spread, weight, share_left, place } = sample.clone();
        Self {
            figure: key.figure.name().to_owned(),
            model: subject.model,
            run: subject.workload,
            is_own,
            predicted,
            measured,
            weight,
            place,
            formula: formula.to_owned(),
            engine: key.engine,
            engine_version: key.engine_version,
            device: key.device,
            backend: key.backend,
            quantisation: key.quantisation,
            architecture: key.architecture,
            workload: key.workload,
            spread,
            share_left,
        }
    }

    /// The pair; none where its figure is not one.
    fn into_sample(self) -> Option<Sample> {
        let figure = Figure::ALL.iter().copied().find(|figure| figure.name() == self.figure)?;
        Some(Sample {
            key: Key {
                figure,
                engine: self.engine,
                device: self.device,
                backend: self.backend,
                quantisation: self.quantisation,
                architecture: self.architecture,
                workload: self.workload,
                engine_version: self.engine_version,
            },
            subject: Subject { model: self.model, workload: self.run },
            is_own: self.is_own,
            predicted: self.predicted,
            measured: self.measured,
            spread: self.spread,
            weight: self.weight,
            share_left: self.share_left,
            place: self.place,
        })
    }
}

/// Whether a store of this name is a table.
pub(super) fn is_table(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"))
}

/// The pairs of a table, and the version that predicted the first of them.
pub(super) fn read(path: &Path) -> Result<(Vec<Sample>, Option<String>), StoreError> {
    let wrong = |source| StoreError::Table { path: path.to_owned(), source };
    let file = File::open(path).map_err(|error| wrong(TableError::File(error)))?;
    let size = file.metadata().map_err(|error| wrong(TableError::File(error)))?.len();
    if size > super::store::STORE_BYTES_MAX {
        let what = format!("{size} bytes are more than the {} of a store", super::store::STORE_BYTES_MAX);
        return Err(wrong(TableError::Shape { column: String::new(), what }));
    }
    let (rows, _) = read_parquet::<PairRecord>(file).map_err(wrong)?;
    let formula = rows.first().map(|row| row.formula.clone());
    Ok((rows.into_iter().filter_map(PairRecord::into_sample).collect(), formula))
}

/// Writes pairs as a table.
pub(super) fn write(file: File, samples: &[Sample], formula: &str) -> Result<(), TableError> {
    let mut writer = ParquetWriter::new(file, PairRecord::fields())?;
    let rows: Vec<PairRecord> = samples.iter().map(|sample| PairRecord::of(sample, formula)).collect();
    writer.write(block_of(&rows))?;
    Box::new(writer).finish()
}
