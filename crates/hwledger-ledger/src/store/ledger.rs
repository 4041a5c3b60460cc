//! The ledger as its users hold it: append, sign, read.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use super::fault::{fault_of_opening, fault_of_signing};
use super::sqlite::{Appender, FILE, Reader, is_unfinished};
use super::writer::{Request, Writer};
use super::{AppendError, Fault, StoreError};
use crate::event::{Draft, LedgerCreated, Payload, Sealing};
use crate::note::PublicKey;
use crate::signer::{Signer, create_private_folder};

/// Requests that wait for the writer at most; beyond, callers are told to come back.
pub(super) const QUEUE: usize = 1024;

/// Where a ledger and its signer are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerPlaces {
    /// The folder of the database.
    pub ledger: PathBuf,
    /// The folder of the key and the last signed head. Apart from the ledger, so that one backup does not hold both.
    pub signer: PathBuf,
}

impl LedgerPlaces {
    /// The database.
    pub fn database(&self) -> PathBuf {
        self.ledger.join(FILE)
    }
}

/// What a caller gets for an event that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The event's place in the ledger, from 0.
    pub index: u64,
    /// Whether it was appended now; otherwise it was there, under the same key and with the same content.
    pub is_new: bool,
}

/// What the handle and the writer share: why nothing is appended any more.
#[derive(Debug, Default)]
pub(super) struct Health {
    fault: Mutex<Option<Fault>>,
    /// Where tests want the writer to end.
    #[cfg(test)]
    pub(super) end: Mutex<Option<super::ended::Moment>>,
}

impl Health {
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note of the first fault, which comes back; later ones follow from it.
    pub(super) fn fail(&self, fault: Fault) -> Fault {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault).clone()
    }

    /// What became of the event that was sent to a writer which is gone: only a fresh start can tell.
    pub(super) fn unanswered(&self) -> AppendError {
        AppendError::Unknown(self.fail(Fault::WriterEnded))
    }
}

/// A ledger that is open for appending. Dropping it signs what is not signed yet.
#[derive(Debug)]
pub struct Ledger {
    places: LedgerPlaces,
    origin: String,
    keys: Vec<PublicKey>,
    queue: Option<SyncSender<Request>>,
    health: Arc<Health>,
    thread: Option<JoinHandle<()>>,
}

/// This machine's clock, in nanoseconds since 1970. Nothing relies on its going forward: the order is the ledger's.
pub fn clock_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|time| u64::try_from(time.as_nanos()).ok()).unwrap_or(0)
}

impl Ledger {
    /// Begins a ledger, or finishes beginning one where that was interrupted before the first entry. `continues` names
    /// another that this one takes up, after a restore.
    ///
    /// # Errors
    ///
    /// There is a ledger or a key already, or the folders cannot be written.
    pub fn create(places: &LedgerPlaces, origin: &str, continues: Option<&str>) -> Result<Self, StoreError> {
        let database = places.database();
        // Before a key is made for it; whether another comes first in between is seen when the tables are made.
        if !is_unfinished(&database)? {
            return Err(StoreError::Unsuitable {
                path: database.display().to_string(),
                what: "there is a ledger already".to_owned(),
            });
        }
        let folder = create_private_folder(&places.ledger);
        folder.map_err(|source| StoreError::File { path: places.ledger.display().to_string(), source })?;
        let signer = Signer::create_or_continue(&places.signer, origin)?;
        let appender = Appender::create(&database, origin)?;
        let key = signer.public()[0].to_string();
        let ledger = Self::start(places, origin, signer, appender, Arc::default());
        ledger.append(
            &Draft::new(
                "hwledger/ledger",
                "ledger",
                LedgerCreated {
                    origin: origin.to_owned(),
                    key,
                    continues: continues.map(str::to_owned),
                    program: concat!("hwledger ", env!("CARGO_PKG_VERSION")).to_owned(),
                },
            )
            .once("created"),
        )?;
        ledger.checkpoint()?;
        Ok(ledger)
    }

    /// Opens a ledger. Where its end, its tree and its signed heads do not belong together, or its signer cannot be used,
    /// it opens all the same, only to be read: [`Ledger::fault`] says why.
    ///
    /// # Errors
    ///
    /// There is none, or its files cannot be read.
    pub fn open(places: &LedgerPlaces) -> Result<Self, StoreError> {
        let database = places.database();
        if is_unfinished(&database)? {
            return Err(StoreError::unfinished(&database));
        }
        let origin = Reader::open(&database)?.origin()?;
        let signer = match Signer::open(&places.signer, &origin) {
            Ok(signer) => signer,
            Err(error) => return Ok(Self::read_only(places, &origin, Vec::new(), fault_of_signing(&error))),
        };
        let keys = signer.public();
        let lock = match signer.lock() {
            Ok(lock) => lock,
            Err(error) => return Ok(Self::read_only(places, &origin, keys, fault_of_signing(&error))),
        };
        let appender = match Appender::open(&database) {
            Ok(appender) => appender,
            Err(error) => return Ok(Self::read_only(places, &origin, keys, fault_of_opening(error)?)),
        };
        if let Err(error) = lock.check(appender.size(), |size| appender.root_at(size)) {
            return Ok(Self::read_only(places, &origin, keys, fault_of_signing(&error)));
        }
        drop(lock);
        Ok(Self::start(places, &origin, signer, appender, Arc::default()))
    }

    fn read_only(places: &LedgerPlaces, origin: &str, keys: Vec<PublicKey>, fault: Fault) -> Self {
        let health = Arc::<Health>::default();
        health.fail(fault);
        Self { places: places.clone(), origin: origin.to_owned(), keys, queue: None, health, thread: None }
    }

    fn start(places: &LedgerPlaces, origin: &str, signer: Signer, appender: Appender, health: Arc<Health>) -> Self {
        let (queue, requests) = sync_channel(QUEUE);
        let keys = signer.public();
        let writer = Writer::new(appender, signer, Arc::clone(&health), places.ledger.join("checkpoints.log"));
        let thread = std::thread::Builder::new().name("ledger".to_owned()).spawn(move || writer.run(&requests));
        let thread = thread.map_err(|error| drop(health.fail(Fault::Storage(format!("no thread: {error}"))))).ok();
        let queue = thread.is_some().then_some(queue);
        Self { places: places.clone(), origin: origin.to_owned(), keys, queue, health, thread }
    }

    /// The ledger's name.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The keys that sign its checkpoints, as of opening it or of the last step of a rotation here.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// Why nothing is appended; none while everything is well.
    pub fn fault(&self) -> Option<Fault> {
        self.health.fault()
    }

    /// A connection that reads.
    ///
    /// # Errors
    ///
    /// The database cannot be opened.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.places.database())
    }

    fn send(&self, request: Request) -> Result<(), AppendError> {
        if let Some(fault) = self.health.fault() {
            return Err(AppendError::ReadOnly(fault));
        }
        self.queue.as_ref().ok_or(AppendError::Closed)?.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => AppendError::Busy,
            TrySendError::Disconnected(_) => AppendError::ReadOnly(self.health.fail(Fault::WriterEnded)),
        })
    }

    /// Appends one event; when this returns it is durable.
    ///
    /// # Errors
    ///
    /// It was not appended, or nobody knows ([`AppendError::Unknown`]).
    pub fn append(&self, draft: &Draft) -> Result<Receipt, AppendError> {
        self.append_sealed(sealed(draft)?)
    }

    pub(super) fn append_sealed(&self, sealing: Sealing) -> Result<Receipt, AppendError> {
        let (answer, result) = sync_channel(1);
        self.send(Request::Append(sealing, answer))?;
        result.recv().unwrap_or_else(|_| Err(self.health.unanswered()))
    }

    /// Appends several events, in order and in as few transactions as possible. Each has its own answer.
    ///
    /// # Errors
    ///
    /// A draft is no event: then none is appended.
    pub fn append_all(&self, drafts: &[Draft]) -> Result<Vec<Result<Receipt, AppendError>>, AppendError> {
        append_in_order(drafts, &self.health, |sealing, answer| self.send(Request::Append(sealing, answer)))
    }

    /// The signed head of everything appended so far, signing it if need be.
    ///
    /// # Errors
    ///
    /// It cannot be signed, or must not be, or nobody knows whether it was ([`StoreError::Unknown`]).
    pub fn checkpoint(&self) -> Result<String, StoreError> {
        let (answer, result) = sync_channel(1);
        self.send(Request::Checkpoint(answer))?;
        result.recv().unwrap_or_else(|_| Err(StoreError::Unknown(self.health.fail(Fault::WriterEnded))))
    }

    /// Drops the data of the first `end` entries, but for those that verification needs ([`super::Entry::is_kept`]). Their
    /// hashes, and so all proofs, stay. Whoever asks for it has appended `RetentionApplied` before.
    ///
    /// # Errors
    ///
    /// The database failed, or nobody knows whether it was done ([`StoreError::Unknown`]).
    pub fn prune(&self, end: u64) -> Result<(), StoreError> {
        let (answer, result) = sync_channel(1);
        self.send(Request::Prune(end, answer))?;
        result.recv().unwrap_or_else(|_| Err(StoreError::Unknown(self.health.fail(Fault::WriterEnded))))
    }

    #[cfg(test)]
    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    pub(super) fn signer_folder(&self) -> &Path {
        &self.places.signer
    }

    pub(super) fn set_keys(&mut self, keys: Vec<PublicKey>) {
        self.keys = keys;
    }

    /// The folder of the database.
    pub fn folder(&self) -> &Path {
        &self.places.ledger
    }
}

/// Seals what a caller wants to append, unless only the ledger itself may say it.
pub(super) fn sealed(draft: &Draft) -> Result<Sealing, AppendError> {
    if matches!(draft.payload, Payload::KeyRotated(_)) {
        return Err(AppendError::Reserved);
    }
    Ok(draft.seal(clock_ns())?)
}

/// Where the answer for an event goes.
pub(super) type Answer = SyncSender<Result<Receipt, AppendError>>;

/// Sends several events one after the other, with at most half a queue of them under way.
pub(super) fn append_in_order(
    drafts: &[Draft],
    health: &Health,
    send: impl Fn(Sealing, Answer) -> Result<(), AppendError>,
) -> Result<Vec<Result<Receipt, AppendError>>, AppendError> {
    let sealings = drafts.iter().map(sealed).collect::<Result<Vec<_>, _>>()?;
    let wait = |result: &Receiver<_>| result.recv().unwrap_or_else(|_| Err(health.unanswered()));
    let mut waiting = Vec::with_capacity(sealings.len());
    let mut results = Vec::with_capacity(sealings.len());
    for sealing in sealings {
        if waiting.len() == QUEUE / 2 {
            results.extend(waiting.drain(..).map(|result| wait(&result)));
        }
        let (answer, result) = sync_channel(1);
        match send(sealing, answer) {
            Ok(()) => waiting.push(result),
            Err(error) => {
                results.extend(waiting.drain(..).map(|result| wait(&result)));
                results.push(Err(error));
            }
        }
    }
    results.extend(waiting.drain(..).map(|result| wait(&result)));
    Ok(results)
}

impl Drop for Ledger {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has told its callers by hanging up.
            let _ = thread.join();
        }
    }
}
