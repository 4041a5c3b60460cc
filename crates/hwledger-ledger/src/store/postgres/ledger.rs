//! The ledger as its users hold it, where several processes write.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ::postgres::types::Type;

use super::inbox::Request;
use super::outcome::Waiting;
use super::{Address, Reader, StoreError, candidate, in_server, inbox, outcome};
use crate::event::{Draft, LedgerCreated, Sealing};
use crate::note::PublicKey;
use crate::signer::Signer;
use crate::store::ledger::{Answer, Health, QUEUE, append_in_order, sealed};
use crate::store::rotate::{self, Rotating};
use crate::store::{AppendError, Fault, Receipt};

/// How long a head is waited for that was asked for.
const SIGN_WITHIN: Duration = Duration::from_secs(30);

/// How often a head that was asked for is looked for, and asked for again.
const SIGN_LOOK: Duration = Duration::from_millis(50);

/// Where a ledger is kept that several processes write.
#[derive(Clone, Debug)]
pub struct PostgresPlaces {
    /// The database.
    pub address: Address,
    /// The folder of the key and the last signed head, which all processes that may sign must share: it is what keeps
    /// them from signing two histories. A process without one appends, and leaves the sequencing to others.
    pub signer: Option<PathBuf>,
}

/// An event that is durable and will have its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub(super) sealing: Sealing,
}

impl Ticket {
    /// The event's identity: 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.sealing.id
    }
}

/// What the threads of a process share.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) health: Health,
    pub(super) waiting: Waiting,
    is_closed: AtomicBool,
    is_stopped: AtomicBool,
}

impl Shared {
    /// Whether nothing more is sent.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Whether this process's turn as the sequencer is to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }
}

/// Hangs up on those who wait when one of the threads ends unexpectedly: the others could not answer them alone.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.health.fail(Fault::WriterEnded);
            self.0.waiting.end();
        }
    }
}

/// A ledger that is open for appending, in one of the processes that write it.
pub struct PostgresLedger {
    places: PostgresPlaces,
    origin: String,
    keys: Vec<PublicKey>,
    queue: Option<SyncSender<Request>>,
    shared: Arc<Shared>,
    /// Writing, looking for outcomes, sequencing; they end in this order.
    threads: [Option<JoinHandle<()>>; 3],
}

impl std::fmt::Debug for PostgresLedger {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PostgresLedger")
            .field("places", &self.places)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl PostgresLedger {
    /// Begins a ledger in tables that [`super::migrate`] has made, or finishes beginning one where that was interrupted
    /// before the first entry. `continues` names another that this one takes up.
    ///
    /// # Errors
    ///
    /// There is a ledger or a key already, no folder for a signer is given, or the server cannot be reached.
    pub fn create(places: &PostgresPlaces, origin: &str, continues: Option<&str>) -> Result<Self, StoreError> {
        let PostgresPlaces { address, signer } = places;
        let unsuitable =
            |what: &str| StoreError::Unsuitable { path: address.database().to_owned(), what: what.to_owned() };
        let folder = signer.as_ref().ok_or_else(|| unsuitable("a new ledger needs a folder for its key"))?;
        let reader = Reader::open(address)?;
        let is_begun = match reader.origin() {
            Ok(found) => {
                // Only whoever has the key that was made for it may go on with it.
                let is_own = found == origin && Signer::open(folder, origin).is_ok();
                if !is_own || reader.size()? > 0 {
                    return Err(unsuitable("there is a ledger already"));
                }
                true
            }
            Err(StoreError::NotBegun { .. }) => false,
            Err(error) => return Err(error),
        };
        drop(reader);
        let signer = Signer::create_or_continue(folder, origin)?;
        if !is_begun {
            let mut client = in_server(address, address.connect())?;
            let begin = "INSERT INTO meta (name, value) VALUES ('origin', $1) ON CONFLICT DO NOTHING";
            if in_server(address, client.execute_typed(begin, &[(&origin, Type::TEXT)]))? == 0 {
                return Err(unsuitable("there is a ledger already"));
            }
        }
        let key = signer.public()[0].to_string();
        let ledger = Self::start(places, origin, Some(signer), Arc::default());
        let program = concat!("hwledger ", env!("CARGO_PKG_VERSION")).to_owned();
        let continues = continues.map(str::to_owned);
        let created = LedgerCreated { origin: origin.to_owned(), key, continues, program };
        ledger.append(&Draft::new("hwledger/ledger", "ledger", created).once("created"))?;
        ledger.checkpoint()?;
        Ok(ledger)
    }

    /// Opens a ledger. Where it does not continue what was signed it opens all the same, only to be read:
    /// [`PostgresLedger::fault`] says why.
    ///
    /// # Errors
    ///
    /// There is none, its tables are of another version, or the server cannot be reached.
    pub fn open(places: &PostgresPlaces) -> Result<Self, StoreError> {
        let reader = Reader::open(&places.address)?;
        let origin = reader.origin()?;
        let signer = places.signer.as_ref().map(|folder| Signer::open(folder, &origin)).transpose()?;
        let shared = Arc::<Shared>::default();
        if let Some(signer) = &signer
            && let Some(lock) = signer.try_lock()?
        {
            let size = reader.size()?;
            if let Err(error) = lock.check(size, |earlier| reader.root_at(earlier)) {
                shared.health.fail(Fault::Refused(error.to_string()));
                let (places, keys, threads) = (places.clone(), signer.public(), [const { None }; 3]);
                return Ok(Self { places, origin, keys, queue: None, shared, threads });
            }
        }
        Ok(Self::start(places, &origin, signer, shared))
    }

    fn start(places: &PostgresPlaces, origin: &str, signer: Option<Signer>, shared: Arc<Shared>) -> Self {
        let (queue, requests) = sync_channel(QUEUE);
        let keys = signer.as_ref().map(Signer::public).unwrap_or_default();
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let ending = Ending(Arc::clone(&shared));
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
                let _ending = ending;
                work();
            });
            thread.map_err(|error| drop(shared.health.fail(Fault::Storage(format!("no thread: {error}"))))).ok()
        };
        let (address, own) = (places.address.clone(), Arc::clone(&shared));
        let writing = spawn("ledger inbox", Box::new(move || inbox::run(address, &requests, &own)));
        let (address, own) = (places.address.clone(), Arc::clone(&shared));
        let looking = spawn("ledger outcomes", Box::new(move || outcome::run(address, &own)));
        let sequencing = signer.and_then(|signer| {
            let (address, own) = (places.address.clone(), Arc::clone(&shared));
            spawn("ledger sequencer", Box::new(move || candidate::run(&address, &signer, &own)))
        });
        let (places, origin) = (places.clone(), origin.to_owned());
        Self { places, origin, keys, queue: Some(queue), shared, threads: [writing, looking, sequencing] }
    }

    /// The ledger's name.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The keys that sign its checkpoints; none in a process without a signer.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// Why this process appends nothing; none while everything is well.
    pub fn fault(&self) -> Option<Fault> {
        self.shared.health.fault()
    }

    /// A connection that reads.
    ///
    /// # Errors
    ///
    /// The server cannot be reached.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.places.address)
    }

    fn send(&self, request: Request) -> Result<(), AppendError> {
        if let Some(fault) = self.shared.health.fault() {
            return Err(AppendError::ReadOnly(fault));
        }
        self.queue.as_ref().ok_or(AppendError::Closed)?.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => AppendError::Busy,
            TrySendError::Disconnected(_) => AppendError::ReadOnly(self.shared.health.fail(Fault::WriterEnded)),
        })
    }

    /// Appends one event; when this returns it is durable and has its place.
    ///
    /// # Errors
    ///
    /// It was not appended, or nobody knows ([`AppendError::Unknown`]), such as where no process was the sequencer for 30
    /// seconds. Appending it again with the same key appends it once.
    pub fn append(&self, draft: &Draft) -> Result<Receipt, AppendError> {
        self.append_sealed(sealed(draft)?)
    }

    fn append_sealed(&self, sealing: Sealing) -> Result<Receipt, AppendError> {
        let (answer, result) = sync_channel(1);
        self.send(Request::Append(sealing, answer))?;
        result.recv().unwrap_or_else(|_| Err(self.shared.health.unanswered()))
    }

    /// Appends several events, in order and in as few transactions as possible. Each has its own answer.
    ///
    /// # Errors
    ///
    /// A draft is no event: then none is appended.
    pub fn append_all(&self, drafts: &[Draft]) -> Result<Vec<Result<Receipt, AppendError>>, AppendError> {
        append_in_order(drafts, &self.shared.health, |sealing, answer: Answer| {
            self.send(Request::Append(sealing, answer))
        })
    }

    /// Makes an event durable without waiting for its place. It will have one, unless its stream is not where it expects
    /// it: [`PostgresLedger::outcome`] tells.
    ///
    /// # Errors
    ///
    /// As for [`PostgresLedger::append`].
    pub fn accept(&self, draft: &Draft) -> Result<Ticket, AppendError> {
        let (answer, result) = sync_channel(1);
        self.send(Request::Accept(sealed(draft)?, answer))?;
        result.recv().unwrap_or_else(|_| Err(self.shared.health.unanswered()))
    }

    /// Waits for the place of an event that was accepted, here or by another process. Refusals are told for a week.
    ///
    /// # Errors
    ///
    /// As for [`PostgresLedger::append`].
    pub fn outcome(&self, ticket: &Ticket) -> Result<Receipt, AppendError> {
        // Putting the same event into the inbox again changes nothing.
        self.append_sealed(ticket.sealing.clone())
    }

    /// The signed head of everything appended so far, by whichever process is the sequencer.
    ///
    /// # Errors
    ///
    /// None was signed within 30 seconds ([`AppendError::Busy`]), or none must be.
    pub fn checkpoint(&self) -> Result<String, StoreError> {
        let address = &self.places.address;
        let reader = self.reader()?;
        let size = reader.size()?;
        let mut client = in_server(address, address.connect())?;
        let started = Instant::now();
        while started.elapsed() < SIGN_WITHIN {
            if let Some(fault) = self.shared.health.fault() {
                return Err(StoreError::ReadOnly(fault));
            }
            if let Some((_, note)) = reader.checkpoint(None)?.filter(|(signed, _)| *signed >= size) {
                return Ok(note);
            }
            in_server(address, client.batch_execute("NOTIFY hwledger_inbox, 'sign'"))?;
            std::thread::sleep(SIGN_LOOK);
        }
        Err(AppendError::Busy.into())
    }
}

impl Rotating for PostgresLedger {
    fn signer(&self) -> Result<Signer, StoreError> {
        if let Some(fault) = self.fault() {
            return Err(StoreError::ReadOnly(fault));
        }
        let Some(folder) = &self.places.signer else {
            return Err(StoreError::Unsuitable {
                path: self.places.address.database().to_owned(),
                what: "the ledger's key is changed where it is: this process has no folder of a signer".to_owned(),
            });
        };
        Ok(Signer::open(folder, &self.origin)?)
    }

    fn set_keys(&mut self, keys: Vec<PublicKey>) {
        self.keys = keys;
    }

    fn append_sealed(&self, sealing: Sealing) -> Result<Receipt, AppendError> {
        Self::append_sealed(self, sealing)
    }

    fn checkpoint(&self) -> Result<String, StoreError> {
        Self::checkpoint(self)
    }
}

impl PostgresLedger {
    /// Makes a new key, records it, and signs with both from now on, whichever process is the sequencer. Where a rotation
    /// is under way, it goes on with that one. Returns the new key, which whoever holds the old one can learn from the
    /// ledger.
    ///
    /// # Errors
    ///
    /// This process has no folder of a signer or appends nothing, the folder cannot be written, or no head was signed
    /// within 30 seconds. What was done stays, and is gone on with.
    pub fn rotate(&mut self, reason: &str) -> Result<PublicKey, StoreError> {
        rotate::begin(self, reason)
    }

    /// Lets the new key sign alone, once a head that both have signed covers the entry that names it. The old secret key is
    /// kept nowhere.
    ///
    /// # Errors
    ///
    /// No rotation is under way, or as for [`PostgresLedger::rotate`].
    pub fn finish_rotation(&mut self) -> Result<PublicKey, StoreError> {
        rotate::finish(self)
    }
}

impl Drop for PostgresLedger {
    fn drop(&mut self) {
        let [writing, looking, sequencing] = &mut self.threads;
        // A thread that panicked has told its callers by hanging up.
        drop(self.queue.take());
        let _ = writing.take().map(JoinHandle::join);
        self.shared.is_closed.store(true, Ordering::Release);
        let _ = looking.take().map(JoinHandle::join);
        self.shared.is_stopped.store(true, Ordering::Release);
        let _ = sequencing.take().map(JoinHandle::join);
    }
}

const _: () = {
    // A ledger is shared by the threads of a server.
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<PostgresLedger>();
};

#[cfg(test)]
mod tests {
    use std::sync::PoisonError;

    use super::{Arc, PostgresLedger, PostgresPlaces, Shared};
    use crate::event::{AgentLost, Count, Draft};
    use crate::store::ended::Moment;
    use crate::store::postgres::{Address, Transport};
    use crate::store::{AppendError, Fault};

    #[test]
    fn callers_are_told_when_what_would_answer_them_has_ended() {
        // No server is there: what is sent waits until it is given up.
        let address = Address::parse("host=/nowhere/at/all user=nobody", Transport::Verified).unwrap();
        let shared = Arc::<Shared>::default();
        let ledger =
            PostgresLedger::start(&PostgresPlaces { address, signer: None }, "test", None, Arc::clone(&shared));
        let lost = AgentLost { agent: "a".to_owned(), last_seen_at_ns: Count(1) };
        let draft = Draft::new("test", "agent/a", lost);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| ledger.append(&draft));
            while shared.waiting.len() == 0 {
                std::thread::yield_now();
            }
            *shared.health.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(Moment::Looking);
            assert_eq!(waiting.join().unwrap(), Err(AppendError::Unknown(Fault::WriterEnded)));
        });
        assert_eq!(ledger.append(&draft), Err(AppendError::ReadOnly(Fault::WriterEnded)));
        assert_eq!(ledger.fault(), Some(Fault::WriterEnded));
    }
}
