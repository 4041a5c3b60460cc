//! What is in the ledger: a list of entries, or one in full.

use std::collections::BTreeMap;

use hwledger_ledger::event::{Event, Payload};
use hwledger_ledger::hash::Hash;
use hwledger_ledger::merkle::{TILE_HASHES, TileName};
use hwledger_ledger::store::{AnyReader, Entry, StoreError};
use hwledger_ledger::verify::Source as _;
use serde::Serialize;
use serde_json::Value;

use super::place::{places, reader, vault_folder};
use super::retention::dropped_by;
use super::sealed::{self, SealedAnswer};
use super::{LedgerError, LedgerOptions, timestamp};
use crate::record::blob;

/// Entries that are listed where nobody says how many.
const LIMIT: u64 = 20;

/// Which entries to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRequest {
    /// Kinds of events; all where empty.
    pub kinds: Vec<String>,
    /// Streams, or beginnings of their names where they end in `/`; all where empty.
    pub subjects: Vec<String>,
    /// The first entry; otherwise the last ones are listed.
    pub from: Option<u64>,
    /// Most entries.
    pub limit: Option<u64>,
}

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogRow {
    /// Its place, from 0.
    pub index: u64,
    /// When it was recorded; none where its data were dropped.
    pub recorded_at: Option<String>,
    /// The kind of event.
    pub kind: String,
    /// Its stream.
    pub subject: String,
    /// The identity of the event.
    pub id: Option<String>,
    /// What it says, as `field=value` words.
    pub summary: String,
}

/// A list of entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogAnswer {
    /// `hwledger.ledger-log/1`.
    pub schema: &'static str,
    /// The ledger's name.
    pub origin: String,
    /// Entries altogether.
    pub size: u64,
    /// The entries, oldest first.
    pub entries: Vec<LogRow>,
}

fn is_wanted(entry: &Entry, request: &LogRequest) -> bool {
    let is_kind = request.kinds.is_empty() || request.kinds.contains(&entry.kind);
    let is_subject = |wanted: &String| match wanted.strip_suffix('/') {
        Some(_) => entry.subject.starts_with(wanted.as_str()),
        None => entry.subject == *wanted,
    };
    is_kind && (request.subjects.is_empty() || request.subjects.iter().any(is_subject))
}

/// Lists entries.
///
/// # Errors
///
/// There is no ledger, or it cannot be read.
pub fn log(options: &LedgerOptions, request: &LogRequest) -> Result<LogAnswer, LedgerError> {
    let (_, reader) = reader(options)?;
    let size = reader.size()?;
    let limit = usize::try_from(request.limit.unwrap_or(LIMIT)).unwrap_or(usize::MAX);
    let mut entries = Vec::new();
    if let Some(from) = request.from {
        reader.entries(from, size, |entry| {
            if is_wanted(&entry, request) {
                entries.push(row(&entry));
            }
            Ok::<_, StoreError>(entries.len() < limit)
        })?;
    } else {
        // Backwards in pieces until there are enough.
        let mut end = size;
        while end > 0 && entries.len() < limit {
            let start = end.saturating_sub(1024);
            let mut found = Vec::new();
            reader.entries(start, end, |entry| {
                if is_wanted(&entry, request) {
                    found.push(row(&entry));
                }
                Ok::<_, StoreError>(true)
            })?;
            found.append(&mut entries);
            entries = found;
            end = start;
        }
        entries.drain(..entries.len().saturating_sub(limit));
    }
    Ok(LogAnswer { schema: "hwledger.ledger-log/1", origin: reader.origin()?, size, entries })
}

fn row(entry: &Entry) -> LogRow {
    let event = entry.bytes.as_deref().map(Event::parse);
    let summary = match &event {
        None => "its data were dropped".to_owned(),
        Some(Err(error)) => format!("cannot be read: {error}"),
        Some(Ok(event)) => summary(event.data.get()),
    };
    let event = event.and_then(Result::ok);
    LogRow {
        index: entry.index,
        recorded_at: event.as_ref().map(|event| timestamp(event.recorded_at_ns.0)),
        kind: entry.kind.clone(),
        subject: entry.subject.clone(),
        id: event.map(|event| event.id.into_owned()),
        summary,
    }
}

/// The data's plain fields as words, the rest by how many there are.
fn summary(data: &str) -> String {
    let Ok(Value::Object(fields)) = serde_json::from_str(data) else { return String::new() };
    let words = fields.iter().filter_map(|(name, value)| match value {
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => {
            let short: String = text.chars().take(40).collect();
            let more = if short.len() < text.len() { "…" } else { "" };
            Some(format!("{name}={}{more}", short.replace(char::is_control, " ")))
        }
        Value::Array(values) => Some(format!("{name}={}", values.len())),
        Value::Object(_) => Some(format!("{name}=sealed")),
        other => Some(format!("{name}={other}")),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// One entry in full.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EntryAnswer {
    /// `hwledger.ledger-entry/1`.
    pub schema: &'static str,
    /// The ledger's name.
    pub origin: String,
    /// Its place, from 0.
    pub index: u64,
    /// Its number within its stream.
    pub version: u64,
    /// When it was recorded.
    pub recorded_at: Option<String>,
    /// The hash of its leaf, which stays where its data were dropped.
    pub leaf: Option<Hash>,
    /// The smallest signed head that has it.
    pub checkpoint_size: Option<u64>,
    /// The event; none where its data were dropped.
    pub event: Option<Value>,
    /// What its sealed fields say, by their names.
    pub sealed: BTreeMap<String, SealedAnswer>,
    /// The entry that says that its data were dropped.
    pub dropped_by: Option<u64>,
    /// What it refers to beside the ledger.
    pub blobs: Vec<EntryBlob>,
}

/// Data beside the ledger that an entry refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntryBlob {
    /// Their hash.
    pub hash: Hash,
    /// Their bytes; none where they are not there.
    pub bytes: Option<u64>,
    /// The entry that says that they were dropped, where they are not there.
    pub dropped_by: Option<u64>,
}

/// The hash of what an event refers to beside the ledger.
fn blob_of(event: &Event<'_>) -> Result<Option<Hash>, LedgerError> {
    Ok(match event.payload()? {
        Some(Payload::PredictionMade(made)) => Some(made.inputs),
        Some(Payload::EngineWindowRecorded(window)) => window.raw,
        Some(Payload::TelemetryWindowRecorded(window)) => window.raw,
        _ => None,
    })
}

/// The hash that the tree has for an entry.
fn leaf_of(reader: &AnyReader, index: u64) -> Result<Option<Hash>, LedgerError> {
    let tile = reader.tile(TileName { level: 0, index: index / TILE_HASHES })?.unwrap_or_default();
    Ok(tile.get((index % TILE_HASHES) as usize).copied())
}

/// The place of an entry that is named by its place or by its event's identity.
pub(super) fn index_of(reader: &AnyReader, name: &str) -> Result<u64, LedgerError> {
    let size = reader.size()?;
    // An identity has 32 digits; no ledger has as many entries.
    if name.len() < 20
        && let Ok(index) = name.parse::<u64>()
    {
        return if index < size { Ok(index) } else { Err(StoreError::NoEntry { index, size }.into()) };
    }
    let is_identity = name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let found = if is_identity { reader.find(name)? } else { None };
    found.ok_or_else(|| LedgerError::NoSuchEntry(name.to_owned()))
}

/// One entry, named by its place or by its event's identity.
///
/// # Errors
///
/// There is no such entry, or the ledger cannot be read.
pub fn show(options: &LedgerOptions, name: &str) -> Result<EntryAnswer, LedgerError> {
    let (folder, reader) = reader(options)?;
    let index = index_of(&reader, name)?;
    let entry = reader.entry(index)?;
    let event = entry.bytes.as_deref().map(Event::parse).transpose()?;
    let mut blobs = Vec::new();
    if let Some(hash) = event.as_ref().map(blob_of).transpose()?.flatten() {
        let bytes = blob::bytes_of(&folder, hash);
        let dropped_by = if bytes.is_none() { dropped_by(&reader, index, true)? } else { None };
        blobs.push(EntryBlob { hash, bytes, dropped_by });
    }
    let origin = reader.origin()?;
    let vault = vault_folder(&places(options, &origin)?);
    Ok(EntryAnswer {
        schema: "hwledger.ledger-entry/1",
        origin,
        sealed: event
            .as_ref()
            .map(|event| sealed::open(&reader, &vault, index, event))
            .transpose()?
            .unwrap_or_default(),
        index,
        version: entry.version,
        recorded_at: event.map(|event| timestamp(event.recorded_at_ns.0)),
        leaf: match &entry.bytes {
            Some(bytes) => Some(Hash::of_leaf(bytes)),
            None => leaf_of(&reader, index)?,
        },
        dropped_by: if entry.bytes.is_none() { dropped_by(&reader, index, false)? } else { None },
        blobs,
        checkpoint_size: reader.checkpoint(Some(index + 1))?.map(|(size, _)| size),
        event: entry.bytes.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok()),
    })
}
