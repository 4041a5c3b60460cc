//! The runs of a ledger: which there are, and what the entries of those that are wanted say.
//!
//! Which entries tell of which run is kept in the projections beside the ledger, so that only entries that are new are
//! looked through. Where the projections cannot be used (a medium that is only read, a file that misleads), all entries
//! are looked through instead, with the same answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hwledger_ledger::event::{EngineWindowRecorded, Event, Payload, PredictionMade};
use hwledger_ledger::projection::{ProjectionError, Projections, RUNS, Run};
use hwledger_ledger::store::{AnyReader, StoreError};

use super::RecordError;
use crate::ledger::Ledger;

/// Which runs are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted<'a> {
    /// Every run.
    All,
    /// Those that are not measured yet, or measured and not compared.
    ToReconcile,
    /// Those with these names.
    Named(&'a [String]),
}

impl Wanted<'_> {
    fn takes(&self, run: &Run) -> bool {
        match self {
            Self::All => true,
            Self::ToReconcile => run.is_to_reconcile(),
            Self::Named(names) => names.contains(&run.run),
        }
    }
}

/// A run as the ledger tells it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Its name.
    pub(super) run: String,
    /// The entry of its prediction, and what that says.
    pub(super) prediction: (u64, PredictionMade),
    /// The entries of what was measured.
    pub(super) measurements: Vec<(u64, EngineWindowRecorded)>,
    /// The measurements that were compared with the prediction.
    pub(super) reconciled: BTreeSet<u64>,
}

/// The wanted runs that were predicted, in the order of their predictions.
///
/// # Errors
///
/// The ledger cannot be read, or holds a run in a version that this program does not know.
pub(super) fn runs(ledger: &Ledger, wanted: Wanted<'_>) -> Result<Vec<Told>, RecordError> {
    let reader = ledger.reader()?;
    let kept = match kept(ledger.folder(), &reader, wanted) {
        Ok(runs) => told(&reader, &runs)?,
        Err(ProjectionError::Ledger(error)) => return Err(error.into()),
        Err(_) => None,
    };
    match kept {
        Some(found) => Ok(found),
        None => through_all(&reader, wanted),
    }
}

/// The wanted runs by looking through all entries.
fn through_all(reader: &AnyReader, wanted: Wanted<'_>) -> Result<Vec<Told>, RecordError> {
    let runs: Vec<Run> = scan(reader)?.into_iter().filter(|run| wanted.takes(run)).collect();
    // What an entry says does not change between two looks.
    Ok(told(reader, &runs)?.unwrap_or_default())
}

/// The wanted runs as the projections know them, once these have seen every entry.
fn kept(folder: &Path, reader: &AnyReader, wanted: Wanted<'_>) -> Result<Vec<Run>, ProjectionError> {
    let projections = Projections::new(folder);
    let progress = projections.catch_up(reader)?;
    let status = progress.projections.into_iter().find(|status| status.name == RUNS.name);
    if let Some(what) = status.and_then(|status| status.stopped) {
        return Err(StoreError::Unsuitable { path: folder.display().to_string(), what }.into());
    }
    match wanted {
        Wanted::All => projections.runs(u64::MAX),
        Wanted::ToReconcile => projections.runs_to_reconcile(u64::MAX),
        Wanted::Named(names) => {
            let found = names.iter().map(|name| projections.run(name));
            let mut found: Vec<Run> = found.filter_map(Result::transpose).collect::<Result<_, _>>()?;
            found.sort_by(|left, right| (left.prediction, &left.run).cmp(&(right.prediction, &right.run)));
            found.dedup();
            Ok(found)
        }
    }
}

/// Which entries tell of which run, by looking through all of them.
fn scan(reader: &AnyReader) -> Result<Vec<Run>, RecordError> {
    let mut runs: BTreeMap<String, Run> = BTreeMap::new();
    let mut unknown = None;
    reader.entries(0, reader.size()?, |entry| {
        let is_told = ["PredictionMade", "EngineWindowRecorded", "PredictionReconciled"].contains(&entry.kind.as_str());
        let Some(bytes) = entry.bytes.filter(|_| is_told) else { return Ok::<_, StoreError>(true) };
        let payload = Event::parse(&bytes)?.payload()?;
        let name = match &payload {
            Some(Payload::PredictionMade(made)) => Some(&made.run),
            Some(Payload::EngineWindowRecorded(window)) => window.run.as_ref(),
            Some(Payload::PredictionReconciled(done)) => Some(&done.run),
            _ => {
                unknown = Some((entry.index, entry.kind));
                return Ok(false);
            }
        };
        let Some(name) = name else { return Ok(true) };
        let empty = || Run {
            run: name.clone(),
            prediction: None,
            measurements: Vec::new(),
            reconciliations: Vec::new(),
            reconciled: Vec::new(),
        };
        let run = runs.entry(name.clone()).or_insert_with(empty);
        match &payload {
            // A run is predicted once, before it starts: the first is the one that counts.
            Some(Payload::PredictionMade(_)) => run.prediction = run.prediction.or(Some(entry.index)),
            Some(Payload::PredictionReconciled(done)) => {
                run.reconciliations.push(entry.index);
                run.reconciled.push(done.measurement.0);
            }
            _ => run.measurements.push(entry.index),
        }
        Ok(true)
    })?;
    if let Some((index, kind)) = unknown {
        let what = format!("entry {index} is a `{kind}` in a version that this program does not know");
        return Err(RecordError::Run(what));
    }
    let mut runs: Vec<Run> = runs.into_values().filter(|run| run.prediction.is_some()).collect();
    for run in &mut runs {
        run.reconciled.sort_unstable();
        run.reconciled.dedup();
    }
    runs.sort_by_key(|run| run.prediction);
    Ok(runs)
}

/// What the entry `index` says; none where its data were dropped.
fn payload(reader: &AnyReader, index: u64) -> Result<Option<Payload>, RecordError> {
    let Some(bytes) = reader.entry(index)?.bytes else { return Ok(None) };
    let event = Event::parse(&bytes).map_err(StoreError::from)?;
    Ok(event.payload().map_err(StoreError::from)?)
}

/// What the entries of these runs say; none where one is not what it should be, which means that the list misleads.
fn told(reader: &AnyReader, runs: &[Run]) -> Result<Option<Vec<Told>>, RecordError> {
    let size = reader.size()?;
    let mut found = Vec::new();
    for run in runs {
        let Some(index) = run.prediction else { continue };
        if index >= size || run.measurements.iter().any(|measurement| *measurement >= size) {
            return Ok(None);
        }
        let prediction = match payload(reader, index)? {
            Some(Payload::PredictionMade(made)) if made.run == run.run => made,
            Some(_) => return Ok(None),
            None => continue,
        };
        let mut measurements = Vec::new();
        for measurement in &run.measurements {
            match payload(reader, *measurement)? {
                Some(Payload::EngineWindowRecorded(window)) if window.run.as_ref() == Some(&run.run) => {
                    measurements.push((*measurement, window));
                }
                Some(_) => return Ok(None),
                None => {}
            }
        }
        let reconciled = run.reconciled.iter().copied().collect();
        found.push(Told { run: run.run.clone(), prediction: (index, prediction), measurements, reconciled });
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use hwledger_ledger::event::{AgentLost, Count, Draft, PredictionReconciled};
    use hwledger_ledger::hash::Hash;
    use hwledger_ledger::projection::FILE;

    use super::*;
    use crate::ledger::temporary::Temporary;

    fn prediction(run: &str, model: &str) -> Draft {
        let made = PredictionMade {
            run: run.to_owned(),
            model: model.to_owned(),
            revision: None,
            engine: "hwledger".to_owned(),
            engine_version: None,
            device: "cpu".to_owned(),
            quantisation: None,
            settings: Vec::new(),
            inputs: Hash::of(run.as_bytes()),
            program: "test".to_owned(),
            estimates: Vec::new(),
            assumptions: Vec::new(),
        };
        Draft::new("test", &format!("run/{run}"), made)
    }

    fn window(run: Option<&str>, end_ns: u64) -> Draft {
        let window = EngineWindowRecorded {
            run: run.map(str::to_owned),
            engine: "hwledger".to_owned(),
            engine_version: None,
            start_ns: Count(1),
            end_ns: Count(end_ns),
            measures: Vec::new(),
            raw: None,
        };
        Draft::new("test", &format!("run/{}", run.unwrap_or("none")), window)
    }

    fn reconciliation(run: &str, prediction: u64, measurement: u64) -> Draft {
        let (residuals, missing) = (Vec::new(), Vec::new());
        let (prediction, measurement) = (Count(prediction), Count(measurement));
        let done = PredictionReconciled { run: run.to_owned(), prediction, measurement, residuals, missing };
        Draft::new("test", &format!("run/{run}"), done)
    }

    fn unrelated(number: u64) -> Draft {
        let agent = format!("agent-{number}");
        Draft::new("test", "agent/x", AgentLost { agent, last_seen_at_ns: Count(number) })
    }

    /// The names of the wanted runs, found both ways, which must agree in all that they say.
    fn both_ways(ledger: &Ledger, wanted: Wanted<'_>) -> Vec<String> {
        let found = runs(ledger, wanted).unwrap();
        assert_eq!(found, through_all(&ledger.reader().unwrap(), wanted).unwrap());
        found.into_iter().map(|told| told.run).collect()
    }

    fn check(ledger: &Ledger, all: &[&str], open: &[&str]) {
        assert_eq!(both_ways(ledger, Wanted::All), all);
        assert_eq!(both_ways(ledger, Wanted::ToReconcile), open);
        let names = ["a", "b", "b", "nobody"].map(str::to_owned);
        assert_eq!(both_ways(ledger, Wanted::Named(&names)), ["b", "a"]);
    }

    #[test]
    fn what_is_kept_tells_the_same_as_all_entries() {
        let folder = Temporary::new("runs");
        let ledger = folder.create();
        let append = |drafts: &[Draft]| {
            assert!(ledger.append_all(drafts).unwrap().iter().all(Result::is_ok));
        };
        append(&[
            prediction("b", "first"),
            prediction("a", "first"),
            window(Some("b"), 3),
            window(Some("unpredicted"), 4),
            window(Some("b"), 5),
            reconciliation("b", 1, 3),
            window(None, 7),
            prediction("a", "second"),
            unrelated(9),
            prediction("c", "first"),
        ]);
        check(&ledger, &["b", "a", "c"], &["b", "a", "c"]);
        assert_eq!(runs(&ledger, Wanted::Named(&["a".to_owned()])).unwrap()[0].prediction.1.model, "first");

        // Entries that came since.
        append(&[reconciliation("b", 1, 5), window(Some("c"), 12), reconciliation("b", 1, 5)]);
        append(&(0..3000).map(unrelated).collect::<Vec<_>>());
        check(&ledger, &["b", "a", "c"], &["a", "c"]);

        // A file that is missing or damaged is made again.
        let file = ledger.folder().join(FILE);
        let size = std::fs::metadata(&file).unwrap().len();
        std::fs::remove_file(&file).unwrap();
        check(&ledger, &["b", "a", "c"], &["a", "c"]);
        assert!(file.is_file());
        std::fs::write(&file, vec![0x55; usize::try_from(size).unwrap()]).unwrap();
        check(&ledger, &["b", "a", "c"], &["a", "c"]);
        assert_ne!(std::fs::read(&file).unwrap()[0], 0x55);

        // A list that misleads is not believed.
        let reader = ledger.reader().unwrap();
        for (prediction, measurement) in [(2, 3), (1, 4), (1, 9), (1, 1 << 40), (1 << 40, 3)] {
            let run = Run {
                run: "b".to_owned(),
                prediction: Some(prediction),
                measurements: vec![measurement],
                reconciliations: Vec::new(),
                reconciled: Vec::new(),
            };
            assert_eq!(told(&reader, &[run]).unwrap(), None, "{prediction} {measurement}");
        }

        // Where nothing can be kept, all entries are looked through.
        std::fs::remove_file(ledger.folder().join("projections.lock")).unwrap();
        std::fs::create_dir(ledger.folder().join("projections.lock")).unwrap();
        check(&ledger, &["b", "a", "c"], &["a", "c"]);
    }
}
