//! Runs: where each was predicted, measured and reconciled.

use rusqlite::{Connection, Row};

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
}

/// Runs by name: `PredictionMade`, `EngineWindowRecorded`, `PredictionReconciled`.
pub const RUNS: Projection = Projection {
    name: "runs",
    version: 1,
    tables: "
CREATE TABLE runs (run TEXT PRIMARY KEY, prediction INTEGER) STRICT, WITHOUT ROWID;
CREATE INDEX runs_by_prediction ON runs (prediction);
CREATE TABLE run_measurements (run TEXT NOT NULL, entry INTEGER NOT NULL, PRIMARY KEY (run, entry))
    STRICT, WITHOUT ROWID;
CREATE TABLE run_reconciliations (run TEXT NOT NULL, entry INTEGER NOT NULL, PRIMARY KEY (run, entry))
    STRICT, WITHOUT ROWID;
",
    needs: Needs::Data(&["PredictionMade", "EngineWindowRecorded", "PredictionReconciled"]),
    apply,
    state: &[
        "SELECT run, prediction FROM runs ORDER BY run",
        "SELECT run, entry FROM run_measurements ORDER BY run, entry",
        "SELECT run, entry FROM run_reconciliations ORDER BY run, entry",
    ],
};

fn apply(connection: &Connection, seen: &Seen<'_>) -> rusqlite::Result<()> {
    let entry = seen.index.cast_signed();
    let known = "INSERT INTO runs (run) VALUES (?1) ON CONFLICT DO NOTHING";
    let (run, statement) = match seen.payload {
        // A run is predicted once, before it starts: the first is the one that counts.
        Some(Payload::PredictionMade(made)) => {
            (&made.run, "UPDATE runs SET prediction = coalesce(prediction, ?2) WHERE run = ?1")
        }
        Some(Payload::EngineWindowRecorded(recorded)) => match &recorded.run {
            Some(run) => (run, "INSERT INTO run_measurements (run, entry) VALUES (?1, ?2)"),
            None => return Ok(()),
        },
        Some(Payload::PredictionReconciled(done)) => {
            (&done.run, "INSERT INTO run_reconciliations (run, entry) VALUES (?1, ?2)")
        }
        _ => return Ok(()),
    };
    connection.prepare_cached(known)?.execute([run])?;
    connection.prepare_cached(statement)?.execute((run, entry)).map(|_| ())
}

/// Runs in the order of their predictions, those without one last.
pub(super) fn list(connection: &Connection, limit: u64, is_open: bool) -> rusqlite::Result<Vec<Run>> {
    let statement = "SELECT run, prediction FROM runs WHERE NOT ?2 OR prediction IS NOT NULL
                         AND NOT EXISTS (SELECT 1 FROM run_reconciliations AS done WHERE done.run = runs.run)
                     ORDER BY prediction IS NULL, prediction, run LIMIT ?1";
    let mut statement = connection.prepare_cached(statement)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = statement.query_map((limit, is_open), |row| {
        let prediction = row.get::<_, Option<i64>>(1)?.map(i64::cast_unsigned);
        Ok(Run { run: row.get(0)?, prediction, measurements: Vec::new(), reconciliations: Vec::new() })
    })?;
    let mut runs = found.collect::<rusqlite::Result<Vec<_>>>()?;
    for run in &mut runs {
        run.measurements =
            entries(connection, "SELECT entry FROM run_measurements WHERE run = ?1 ORDER BY entry", run)?;
        run.reconciliations =
            entries(connection, "SELECT entry FROM run_reconciliations WHERE run = ?1 ORDER BY entry", run)?;
    }
    Ok(runs)
}

fn entries(connection: &Connection, statement: &str, run: &Run) -> rusqlite::Result<Vec<u64>> {
    let mut statement = connection.prepare_cached(statement)?;
    let entry = |row: &Row<'_>| row.get::<_, i64>(0).map(i64::cast_unsigned);
    statement.query_map([&run.run], entry)?.collect()
}
