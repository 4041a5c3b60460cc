//! Sealed fields of an entry: opened where their keys are, and where they are not, why.

use std::collections::BTreeMap;
use std::path::Path;

use hwledger_ledger::event::{Event, Payload, Sealed};
use hwledger_ledger::store::AnyReader;
use hwledger_ledger::store::StoreError;
use hwledger_ledger::vault::{Vault, VaultError};
use serde::Serialize;
use serde_json::Value;

use super::LedgerError;
use super::own::SUBJECT;

/// What a sealed field says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SealedAnswer {
    /// Its key is here.
    Open {
        /// What was sealed.
        text: String,
    },
    /// Its key was deleted.
    Redacted {
        /// The entry that says so.
        index: u64,
        /// Why.
        reason: String,
    },
    /// Its key is not here, and the ledger does not say that it was deleted.
    NoKey,
    /// The text is not what was sealed in this place.
    Altered,
}

/// The sealed fields of the event of entry `index`, by their names. Nothing is made where there is no vault.
pub(super) fn open(
    reader: &AnyReader,
    vault: &Path,
    index: u64,
    event: &Event<'_>,
) -> Result<BTreeMap<String, SealedAnswer>, LedgerError> {
    let mut answers = BTreeMap::new();
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(event.data.get()) else { return Ok(answers) };
    let mut opened = None;
    for (name, value) in fields {
        let Ok(sealed) = serde_json::from_value::<Sealed>(value) else { continue };
        if opened.is_none() && vault.is_dir() {
            opened = Some(Vault::open(vault)?);
        }
        let place = format!("{}.{name}", event.kind);
        let text = opened.as_ref().map(|vault| vault.open_sealed(&place, &sealed));
        let answer = match text {
            Some(Ok(text)) => SealedAnswer::Open { text },
            Some(Err(VaultError::Redacted(_))) | None => {
                redaction(reader, index, &sealed.key)?.unwrap_or(SealedAnswer::NoKey)
            }
            // Where a subject was forgotten and is told of again, there is another key of the same name.
            Some(Err(VaultError::Altered | VaultError::Key(_))) => {
                redaction(reader, index, &sealed.key)?.unwrap_or(SealedAnswer::Altered)
            }
            Some(Err(error)) => return Err(error.into()),
        };
        answers.insert(name, answer);
    }
    Ok(answers)
}

/// Where the ledger says that a key was deleted after entry `index`.
fn redaction(reader: &AnyReader, index: u64, key: &str) -> Result<Option<SealedAnswer>, LedgerError> {
    for entry in reader.stream(SUBJECT, i64::MAX.cast_unsigned())? {
        let Some(bytes) = entry.bytes.filter(|_| entry.kind == "SubjectRedacted" && entry.index > index) else {
            continue;
        };
        let payload = Event::parse(&bytes).map_err(StoreError::from)?.payload().map_err(StoreError::from)?;
        if let Some(Payload::SubjectRedacted(redacted)) = payload
            && redacted.key == key
        {
            return Ok(Some(SealedAnswer::Redacted { index: entry.index, reason: redacted.reason }));
        }
    }
    Ok(None)
}
