//! A file elsewhere, of which only the beginning is fetched, as far as it is read.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::address::Address;
use super::client::Response;
use super::fetcher::Fetcher;
use super::store::{Facts, seconds_now};
use crate::locate::LocateError;

/// What is asked for first: most safetensors headers, and the metadata of a GGUF file up to its
/// vocabulary.
const FIRST_BYTES: u64 = 128 << 10;
/// The most that is asked for at once, whatever was read before.
const STEP_BYTES_MAX: u64 = 8 << 20;
/// A server that sends a file in more pieces than this is not worth waiting for.
const REQUESTS_MAX: u32 = 256;

/// The beginning of a file elsewhere.
pub(crate) struct RemoteFile {
    fetcher: Arc<Fetcher>,
    address: Address,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The bytes known so far, from the file's first one on.
    prefix: Vec<u8>,
    /// What is known of the file; none before the first question.
    facts: Option<Facts>,
    /// Whether the store has been asked, and whether its facts must be checked with the server.
    store: StoreState,
    /// The open answer of a server that knows no ranges.
    stream: Option<Response>,
    requests: u32,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum StoreState {
    #[default]
    NotAsked,
    /// Its pieces may be used.
    Usable,
    /// Its pieces may be used once the server confirms the version.
    Expired,
}

impl fmt::Debug for RemoteFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RemoteFile").field("address", &self.address).finish_non_exhaustive()
    }
}

impl RemoteFile {
    pub(crate) fn new(fetcher: Arc<Fetcher>, address: Address) -> Self {
        Self { fetcher, address, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every step leaves the state whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the file's beginning, so that a refusal is known now; its size.
    pub(crate) fn probe(&self) -> Result<u64, LocateError> {
        let mut state = self.lock();
        self.extend(&mut state, FIRST_BYTES)?;
        state.total().ok_or_else(|| self.bad("it does not say how large the file is"))
    }

    /// Fetches a safetensors file's header; the file's size.
    pub(crate) fn fetch_safetensors_header(&self) -> Result<u64, LocateError> {
        let total = self.probe()?;
        let mut state = self.lock();
        let length = state.prefix.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
        // A length beyond file or bound is the parser's to judge; it need not be fetched for that.
        if let Some(end) = length.and_then(|length| length.checked_add(8))
            && end <= total.min(self.fetcher.header_bytes_max)
        {
            self.extend(&mut state, end)?;
        }
        Ok(total)
    }

    /// Makes the known beginning at least `target` bytes long, or the whole file.
    fn extend(&self, state: &mut State, target: u64) -> Result<(), LocateError> {
        if state.store == StoreState::NotAsked {
            state.facts = self.fetcher.facts(&self.address);
            let usable = state.facts.as_ref().is_none_or(|facts| self.fetcher.may_use(facts));
            state.store = if usable { StoreState::Usable } else { StoreState::Expired };
        }
        while state.known() < target && !state.is_complete() {
            let before = state.known();
            if state.stream.is_some() {
                self.read_on(state, target)?;
            } else if !self.take_stored(state) {
                self.ask(state, target)?;
            }
            if state.known() == before && state.stream.is_none() && !state.is_complete() {
                return Err(self.bad("it sends nothing"));
            }
        }
        Ok(())
    }

    /// Appends the stored piece that follows, if there is one and it may be used.
    fn take_stored(&self, state: &mut State) -> bool {
        let Some(facts) = state.facts.as_ref().filter(|_| state.store == StoreState::Usable) else { return false };
        let known = state.known();
        let Some((offset, length)) = facts.pieces.iter().copied().find(|(offset, _)| *offset == known) else {
            return false;
        };
        if length == 0 || length > self.fetcher.header_bytes_max {
            return false;
        }
        let Some(piece) = self.fetcher.piece(&self.address, offset, length) else { return false };
        state.prefix.extend_from_slice(&piece);
        true
    }

    /// Asks the server for what follows, up to `target`.
    fn ask(&self, state: &mut State, target: u64) -> Result<(), LocateError> {
        if self.fetcher.is_offline {
            return Err(LocateError::Offline { what: self.address.to_string(), suggestions: Vec::new() });
        }
        state.requests += 1;
        if state.requests > REQUESTS_MAX {
            return Err(self.bad(format!("it has not sent the header in {REQUESTS_MAX} pieces")));
        }
        let known = state.known();
        // To confirm a version the stored piece is fetched again as it is, so that the others still follow it.
        let end = match &state.facts {
            Some(facts) if state.store == StoreState::Expired => {
                facts.pieces.first().map_or(target, |(_, length)| (*length).max(1))
            }
            Some(Facts { total: Some(total), .. }) => target.min(*total),
            _ => target,
        };
        let response = match self.fetcher.client.get(&self.address, Some((known, end))) {
            Ok(response) => response,
            Err(error @ LocateError::Unreachable { .. }) if state.store == StoreState::Expired => {
                let Some(facts) = &state.facts else { return Err(error) };
                self.fetcher.note_stale(facts);
                state.store = StoreState::Usable;
                return if self.take_stored(state) { Ok(()) } else { Err(error) };
            }
            Err(error) => return Err(error),
        };
        self.accept(state, &response)?;
        if response.offset == 0 && known > 0 {
            return self.skip(state, response, known);
        }
        if response.total == response.length && response.length.is_none_or(|length| length > end - known) {
            // The whole file comes: read as far as needed, then hang up.
            state.stream = Some(response);
            return self.read_on(state, target);
        }
        self.append(state, response, known)
    }

    /// Checks that an answer is about the version known so far, and takes down what it says.
    fn accept(&self, state: &mut State, response: &Response) -> Result<(), LocateError> {
        let (tag, total) = (response.tag.as_deref(), response.total);
        if let Some(facts) = &mut state.facts {
            // Without a version to compare, what was stored long ago may be of another file as long.
            let is_confirmed = state.store == StoreState::Usable || (tag.is_some() && facts.tag.is_some());
            if is_confirmed && facts.is_same_version(tag, total) {
                facts.fetched_at = seconds_now();
                if state.store == StoreState::Expired {
                    self.fetcher.keep_facts(&self.address, facts);
                    state.store = StoreState::Usable;
                }
                return Ok(());
            }
            if state.known() > 0 {
                return Err(LocateError::Changed { address: self.address.to_string() });
            }
        }
        state.store = StoreState::Usable;
        state.facts = Some(Facts {
            address: self.address.to_string(),
            tag: tag.map(str::to_owned),
            total,
            fetched_at: seconds_now(),
            pieces: Vec::new(),
        });
        Ok(())
    }

    /// Reads the answer's piece of the file and keeps it.
    fn append(&self, state: &mut State, response: Response, offset: u64) -> Result<(), LocateError> {
        let expected = response.length.unwrap_or(0);
        let mut piece = Vec::new();
        response.body.take(expected).read_to_end(&mut piece).map_err(|source| self.broken(source))?;
        let bytes = piece.len() as u64;
        if bytes != expected {
            return Err(LocateError::Truncated { address: self.address.to_string(), bytes, expected });
        }
        self.add(state, offset, &piece);
        Ok(())
    }

    /// Reads on in an answer that holds the whole file.
    fn read_on(&self, state: &mut State, target: u64) -> Result<(), LocateError> {
        let Some(mut response) = state.stream.take() else { return Ok(()) };
        let known = state.known();
        let mut piece = Vec::new();
        let wanted = target.saturating_sub(known);
        response.body.by_ref().take(wanted).read_to_end(&mut piece).map_err(|source| self.broken(source))?;
        let (bytes, expected) = (known + piece.len() as u64, response.total);
        if (piece.len() as u64) < wanted {
            if let Some(expected) = expected.filter(|expected| bytes < *expected) {
                return Err(LocateError::Truncated { address: self.address.to_string(), bytes, expected });
            }
            if let Some(facts) = &mut state.facts {
                facts.total = Some(bytes);
            }
        } else {
            state.stream = Some(response);
        }
        self.add(state, known, &piece);
        Ok(())
    }

    /// Reads past what is known, where a server answers with the whole file again.
    fn skip(&self, state: &mut State, mut response: Response, known: u64) -> Result<(), LocateError> {
        let skipped = io::copy(&mut response.body.by_ref().take(known), &mut io::sink());
        let bytes = skipped.map_err(|source| self.broken(source))?;
        if bytes < known {
            return Err(LocateError::Truncated { address: self.address.to_string(), bytes, expected: known });
        }
        state.stream = Some(response);
        Ok(())
    }

    fn add(&self, state: &mut State, offset: u64, piece: &[u8]) {
        if piece.is_empty() {
            return;
        }
        state.prefix.extend_from_slice(piece);
        let Some(facts) = &mut state.facts else { return };
        let piece_facts = (offset, piece.len() as u64);
        if facts.pieces.contains(&piece_facts) {
            return;
        }
        // Pieces that were cut differently no longer follow on one another.
        facts.pieces.retain(|(stored, length)| stored + length <= offset);
        facts.pieces.push(piece_facts);
        self.fetcher.keep(&self.address, facts, offset, piece);
    }

    fn bad(&self, what: impl Into<String>) -> LocateError {
        LocateError::BadAnswer { address: self.address.to_string(), what: what.into() }
    }

    fn broken(&self, source: io::Error) -> LocateError {
        LocateError::BrokenAnswer { address: self.address.to_string(), source: Box::new(source) }
    }
}

impl State {
    fn known(&self) -> u64 {
        self.prefix.len() as u64
    }

    fn total(&self) -> Option<u64> {
        self.facts.as_ref()?.total
    }

    fn is_complete(&self) -> bool {
        self.store == StoreState::Usable && self.total().is_some_and(|total| self.known() >= total)
    }
}

/// Reads a file elsewhere from its first byte, fetching as it goes.
#[derive(Debug)]
pub(crate) struct RemoteReader {
    file: Arc<RemoteFile>,
    position: usize,
}

impl RemoteReader {
    pub(crate) fn new(file: Arc<RemoteFile>) -> Self {
        Self { file, position: 0 }
    }
}

impl Read for RemoteReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.file.lock();
        if self.position >= state.prefix.len() && !buffer.is_empty() {
            let (known, limit) = (state.known(), self.file.fetcher.header_bytes_max);
            if known >= limit && !state.is_complete() {
                let place = self.file.address.to_string();
                return Err(io::Error::other(LocateError::TooLarge { place, bytes: known + 1, limit }));
            }
            // Doubling keeps both the number of requests and what is fetched for nothing small.
            let target = known.saturating_add(known.clamp(FIRST_BYTES, STEP_BYTES_MAX)).min(limit);
            self.file.extend(&mut state, target).map_err(io::Error::other)?;
        }
        let rest = state.prefix.get(self.position..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.position += count;
        Ok(count)
    }
}
