//! What a ledger says of itself: the events of its own stream.

use hwledger_ledger::event::{Event, Payload};
use hwledger_ledger::store::AnyReader;

use super::LedgerError;

/// The source and the stream of the ledger's own events, whose data are never dropped.
pub(super) const SOURCE: &str = "hwledger/ledger";
pub(super) const SUBJECT: &str = "ledger";

/// Every event of the ledger's own stream that this program can read, with its place.
///
/// # Errors
///
/// The ledger cannot be read, or such an event is malformed.
pub(super) fn own_events(reader: &AnyReader) -> Result<Vec<(u64, Payload)>, LedgerError> {
    let mut found = Vec::new();
    for entry in reader.stream(SUBJECT, i64::MAX.unsigned_abs())? {
        let Some(event) = entry.bytes.as_deref().and_then(|bytes| Event::parse(bytes).ok()) else { continue };
        if event.source == SOURCE && event.subject == SUBJECT {
            found.extend(event.payload()?.map(|payload| (entry.index, payload)));
        }
    }
    Ok(found)
}
