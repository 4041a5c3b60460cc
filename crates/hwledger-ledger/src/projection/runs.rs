//! Runs: where each was predicted, measured and reconciled.

use rusqlite::{Connection, OptionalExtension as _, Row, ToSql};

use super::{Needs, Projection, Seen};
use crate::event::Payload;

/// What is known of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its name.
    pub run: String,
    /// The entry of its prediction, the first if there were several.
    pub prediction: Option<u64>,
    /// The entries of what was measured, in order.
    pub measurements: Vec<u64>,
    /// The entries that compare the two, in order.
    pub reconciliations: Vec<u64>,
    /// The measurements that these compare, in order, each once.
    pub reconciled: Vec<u64>,
}

impl Run {
    /// Whether it was predicted, and not measured yet or measured without being compared.
    pub fn is_to_reconcile(&self) -> bool {
        let is_open = self.measurements.is_empty()
            || self.measurements.iter().any(|measurement| !self.reconciled.contains(measurement));
        self.prediction.is_some() && is_open
    }
}

/// Runs by name: `PredictionMade`, `EngineWindowRecorded`, `PredictionReconciled`.
pub const RUNS: Projection = Projection {
    name: "runs",
    version: 2,
    tables: "
CREATE TABLE runs (run TEXT PRIMARY KEY, prediction INTEGER) STRICT, WITHOUT ROWID;
CREATE INDEX runs_by_prediction ON runs (prediction);
CREATE TABLE run_measurements (run TEXT NOT NULL, entry INTEGER NOT NULL, PRIMARY KEY (run, entry))
    STRICT, WITHOUT ROWID;
CREATE TABLE run_reconciliations (
    run TEXT NOT NULL, entry INTEGER NOT NULL, measurement INTEGER NOT NULL, PRIMARY KEY (run, entry)
) STRICT, WITHOUT ROWID;
",
    needs: Needs::Data(&["PredictionMade", "EngineWindowRecorded", "PredictionReconciled"]),
    apply,
    state: &[
        "SELECT run, prediction FROM runs ORDER BY run",
        "SELECT run, entry FROM run_measurements ORDER BY run, entry",
        "SELECT run, entry, measurement FROM run_reconciliations ORDER BY run, entry",
    ],
};

fn apply(connection: &Connection, seen: &Seen<'_>) -> rusqlite::Result<()> {
    let entry = seen.index.cast_signed();
    let execute = |statement: &str, values: &[&dyn ToSql]| connection.prepare_cached(statement)?.execute(values);
    let known = "INSERT INTO runs (run) VALUES (?1) ON CONFLICT DO NOTHING";
    match seen.payload {
        // A run is predicted once, before it starts: the first is the one that counts.
        Some(Payload::PredictionMade(made)) => {
            execute(known, &[&made.run])?;
            execute("UPDATE runs SET prediction = coalesce(prediction, ?2) WHERE run = ?1", &[&made.run, &entry])?;
        }
        Some(Payload::EngineWindowRecorded(recorded)) => {
            let Some(run) = &recorded.run else { return Ok(()) };
            execute(known, &[run])?;
            execute("INSERT INTO run_measurements (run, entry) VALUES (?1, ?2)", &[run, &entry])?;
        }
        Some(Payload::PredictionReconciled(done)) => {
            execute(known, &[&done.run])?;
            execute(
                "INSERT INTO run_reconciliations (run, entry, measurement) VALUES (?1, ?2, ?3)",
                &[&done.run, &entry, &done.measurement.0.cast_signed()],
            )?;
        }
        _ => {}
    }
    Ok(())
}

const MEASUREMENTS: &str = "SELECT entry FROM run_measurements WHERE run = ?1 ORDER BY entry";
const RECONCILIATIONS: &str = "SELECT entry FROM run_reconciliations WHERE run = ?1 ORDER BY entry";
const RECONCILED: &str = "SELECT DISTINCT measurement FROM run_reconciliations WHERE run = ?1 ORDER BY measurement";

/// Runs in the order of their predictions, those without one last.
pub(super) fn list(connection: &Connection, limit: u64, is_open: bool) -> rusqlite::Result<Vec<Run>> {
    // As `Run::is_to_reconcile`.
    let statement = "SELECT run, prediction FROM runs WHERE NOT ?2 OR prediction IS NOT NULL AND (
                         NOT EXISTS (SELECT 1 FROM run_measurements AS any_of WHERE any_of.run = runs.run)
                         OR EXISTS (SELECT 1 FROM run_measurements AS one WHERE one.run = runs.run AND NOT EXISTS (
                             SELECT 1 FROM run_reconciliations AS done
                             WHERE done.run = one.run AND done.measurement = one.entry)))
                     ORDER BY prediction IS NULL, prediction, run LIMIT ?1";
    let mut statement = connection.prepare_cached(statement)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = statement.query_map((limit, is_open), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let found = found.collect::<rusqlite::Result<Vec<_>>>()?;
    found.into_iter().map(|(run, prediction)| with_entries(connection, run, prediction)).collect()
}

/// The run of this name.
pub(super) fn one(connection: &Connection, run: &str) -> rusqlite::Result<Option<Run>> {
    let mut statement = connection.prepare_cached("SELECT prediction FROM runs WHERE run = ?1")?;
    let prediction = statement.query_row([run], |row| row.get(0)).optional()?;
    prediction.map(|prediction| with_entries(connection, run.to_owned(), prediction)).transpose()
}

fn with_entries(connection: &Connection, run: String, prediction: Option<i64>) -> rusqlite::Result<Run> {
    let entries = |statement: &str| -> rusqlite::Result<Vec<u64>> {
        let mut statement = connection.prepare_cached(statement)?;
        let entry = |row: &Row<'_>| row.get::<_, i64>(0).map(i64::cast_unsigned);
        statement.query_map([&run], entry)?.collect()
    };
    Ok(Run {
        prediction: prediction.map(i64::cast_unsigned),
        measurements: entries(MEASUREMENTS)?,
        reconciliations: entries(RECONCILIATIONS)?,
        reconciled: entries(RECONCILED)?,
        run,
    })
}
