//! The schemas of events, registered in the record.

use std::collections::BTreeSet;

use hwledger_ledger::event::{Count, Draft, Event, KINDS, Kind, Payload, SchemaRegistered, schema_hash};
use hwledger_ledger::store::AppendError;

use super::own::{SOURCE, SUBJECT, own_events};
use super::{Ledger, LedgerError};

/// Registers the schema of every kind of event that the ledger holds and whose schema it does not have yet. Each kind is
/// registered once per version, before it is first handed on, so that whoever reads an export knows that the schemas beside
/// it are those that its keeper's program had.
///
/// # Errors
///
/// The ledger cannot be read or appended to.
pub(super) fn register(ledger: &Ledger) -> Result<(), LedgerError> {
    let reader = ledger.reader()?;
    let known = own_events(&reader)?.into_iter().filter_map(|(_, payload)| match payload {
        Payload::SchemaRegistered(registered) => Some((registered.kind, registered.version.0)),
        _ => None,
    });
    let known: BTreeSet<(String, u64)> = known.collect();
    let mut used = BTreeSet::new();
    reader.entries(0, reader.size()?, |entry| {
        if let Some(event) = entry.bytes.as_deref().and_then(|bytes| Event::parse(bytes).ok()) {
            let kind = (event.kind.into_owned(), event.schema_version);
            if !known.contains(&kind) {
                used.insert(kind);
            }
        }
        Ok::<_, LedgerError>(true)
    })?;
    if used.is_empty() {
        return Ok(());
    }
    let own = "SchemaRegistered";
    let is_new = |kind: &&Kind| {
        let name = (kind.name.to_owned(), kind.version);
        used.contains(&name) || (kind.name == own && !known.contains(&name))
    };
    // Kinds of a newer program are registered by that program.
    let drafts = KINDS.iter().filter(is_new).filter_map(|kind| {
        let registered =
            SchemaRegistered { kind: kind.name.to_owned(), version: Count(kind.version), schema: schema_hash(*kind)? };
        Some(Draft::new(SOURCE, SUBJECT, registered).once(format!("schema {} {}", kind.name, kind.version)))
    });
    for result in ledger.append_all(&drafts.collect::<Vec<_>>())? {
        match result {
            // Registered by another process just now, or once with another content, which verification finds.
            Ok(_) | Err(AppendError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
