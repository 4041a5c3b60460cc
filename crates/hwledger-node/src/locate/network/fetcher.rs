//! Fetching with a memory: what was fetched lately is not fetched again.

use std::io::Read;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use super::address::Address;
use super::client::{Client, Response};
use super::store::{Facts, Store, seconds_now};
use crate::locate::LocateError;

/// Fetches for one call of [`locate`](crate::locate::locate).
#[derive(Debug)]
pub(crate) struct Fetcher {
    pub(super) client: Client,
    pub(super) store: Option<Store>,
    pub(super) time_to_live: Duration,
    pub(super) is_offline: bool,
    /// The most that is read of one header.
    pub(super) header_bytes_max: u64,
    pub(super) stale: Mutex<Option<Duration>>,
}

impl Fetcher {
    /// Whether stored facts may be used without asking the server.
    pub(super) fn may_use(&self, facts: &Facts) -> bool {
        if facts.age() < self.time_to_live {
            return true;
        }
        if self.is_offline {
            self.note_stale(facts);
        }
        self.is_offline
    }

    /// Remembers that something older than asked for was used.
    pub(super) fn note_stale(&self, facts: &Facts) {
        let mut stale = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
        *stale = Some(stale.map_or(facts.age(), |age| age.max(facts.age())));
    }

    /// What the reader should know about the age of what was used.
    pub(crate) fn note(&self) -> Option<String> {
        let age = (*self.stale.lock().unwrap_or_else(PoisonError::into_inner))?;
        let hours = age.as_secs() / 3600;
        Some(format!("the server was not asked: what it said {hours} hours ago was used"))
    }

    pub(super) fn facts(&self, address: &Address) -> Option<Facts> {
        self.store.as_ref()?.facts(address)
    }

    pub(super) fn piece(&self, address: &Address, offset: u64, length: u64) -> Option<Vec<u8>> {
        self.store.as_ref()?.piece(address, offset, length)
    }

    pub(super) fn keep(&self, address: &Address, facts: &Facts, offset: u64, piece: &[u8]) {
        if let Some(store) = &self.store {
            store.keep(address, facts, offset, piece);
        }
    }

    pub(super) fn keep_facts(&self, address: &Address, facts: &Facts) {
        if let Some(store) = &self.store {
            store.keep_facts(address, facts);
        }
    }

    /// The whole of a small file, at most `limit` bytes.
    pub(crate) fn fetch_whole(&self, address: &Address, limit: u64) -> Result<Vec<u8>, LocateError> {
        let facts = self.facts(address);
        let stored = |facts: &Facts| match facts.pieces.as_slice() {
            [(0, length)] if facts.total == Some(*length) && *length <= limit => self.piece(address, 0, *length),
            _ => None,
        };
        if let Some(facts) = facts.as_ref().filter(|facts| self.may_use(facts))
            && let Some(content) = stored(facts)
        {
            return Ok(content);
        }
        if self.is_offline {
            return Err(LocateError::Offline { what: address.to_string(), suggestions: Vec::new() });
        }
        let response = match self.client.get(address, None) {
            Ok(response) => response,
            Err(error @ LocateError::Unreachable { .. }) => {
                let Some((facts, content)) = facts.and_then(|facts| stored(&facts).map(|content| (facts, content)))
                else {
                    return Err(error);
                };
                self.note_stale(&facts);
                return Ok(content);
            }
            Err(error) => return Err(error),
        };
        let (tag, content) = (response.tag.clone(), read_whole(response, address, limit)?);
        let length = content.len() as u64;
        let facts = Facts {
            address: address.to_string(),
            tag,
            total: Some(length),
            fetched_at: seconds_now(),
            pieces: vec![(0, length)],
        };
        self.keep(address, &facts, 0, &content);
        Ok(content)
    }
}

fn read_whole(response: Response, address: &Address, limit: u64) -> Result<Vec<u8>, LocateError> {
    let too_large = |bytes| LocateError::TooLarge { place: address.to_string(), bytes, limit };
    if let Some(length) = response.length.filter(|length| *length > limit) {
        return Err(too_large(length));
    }
    let mut content = Vec::new();
    let read = response.body.take(limit + 1).read_to_end(&mut content);
    read.map_err(|source| LocateError::BrokenAnswer { address: address.to_string(), source: Box::new(source) })?;
    let bytes = content.len() as u64;
    if bytes > limit {
        return Err(too_large(bytes));
    }
    if let Some(expected) = response.length.filter(|expected| *expected != bytes) {
        return Err(LocateError::Truncated { address: address.to_string(), bytes, expected });
    }
    Ok(content)
}
