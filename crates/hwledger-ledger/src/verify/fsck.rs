//! What a database says beside its events: whether columns, streams and keys are those that the events give.

use std::collections::HashMap;

use super::{Finding, Findings};
use crate::canonical::check_canonical;
use crate::event::Event;
use crate::store::{Entry, LedgerReader, StoreError};

/// What does not fit within a database, beyond what [`super::verify`] finds: the store's own structure, events that are
/// not canonical or not readable, columns that contradict their event, streams with gaps.
///
/// # Errors
///
/// The database cannot be read.
pub fn fsck(reader: &impl LedgerReader) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Findings::default();
    for line in reader.findings()? {
        findings.add(None, format!("the database: {line}"));
    }
    let mut streams: HashMap<String, u64> = HashMap::new();
    reader.entries_in(0..reader.size()?, |entry| {
        let next = streams.entry(entry.subject.clone()).or_default();
        if entry.version != *next {
            let what = format!(
                "entry {} is number {} of `{}`, where {next} is next",
                entry.index, entry.version, entry.subject
            );
            findings.add(Some(entry.index), what);
        }
        *next = entry.version.saturating_add(1);
        check(&entry, &mut findings);
        Ok::<_, StoreError>(true)
    })?;
    Ok(findings.list)
}

fn check(entry: &Entry, findings: &mut Findings) {
    let Some(bytes) = &entry.bytes else { return };
    let index = entry.index;
    if let Err(error) = check_canonical(bytes) {
        findings.add(Some(index), format!("entry {index}: {error}"));
    }
    let event = match Event::parse(bytes) {
        Ok(event) => event,
        Err(error) => return findings.add(Some(index), format!("entry {index}: {error}")),
    };
    if let Err(error) = event.payload() {
        findings.add(Some(index), format!("entry {index}: {error}"));
    }
    for (column, stored, said) in [("kind", &entry.kind, &event.kind), ("subject", &entry.subject, &event.subject)] {
        if stored != said {
            findings
                .add(Some(index), format!("entry {index} is kept under the {column} `{stored}`, and says `{said}`"));
        }
    }
}
