//! Becoming the sequencer, and being it for as long as one can.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::postgres::Client;
use ::postgres::types::Type;

use super::address::notified;
use super::ledger::Shared;
use super::sequencer::BATCH;
use super::{Address, LOCK_OF_SEQUENCER, LOCK_SPACE, Sequencer, StoreError, fault_of, in_server};
use crate::signer::{SignError, Signer};
use crate::store::Fault;
use crate::store::writer::{SIGN_AFTER, SIGN_EVENTS, SIGN_PAUSE};

/// How often one that is not the sequencer tries to be.
const TRY: Duration = Duration::from_millis(250);

/// How often the sequencer looks into the inbox without being told.
const LOOK: Duration = Duration::from_millis(250);

/// How often a candidate asks whether the sequencer shows signs of life.
const WATCH: Duration = Duration::from_secs(1);

/// Seconds without a sign of life after which a sequencer's session is ended. It shows one every [`LOOK`],
const STALLED_SECONDS: i32 = 5;

/// or has the server busy with one statement, which may take longer.
const BUSY_SECONDS: i32 = 20;

/// A process that would be the sequencer.
pub struct Candidate {
    address: Address,
    client: Client,
    holder: String,
    watched_at: Instant,
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Candidate").field("holder", &self.holder).finish_non_exhaustive()
    }
}

/// How an election came out.
#[derive(Debug)]
pub enum Elected {
    /// It is the sequencer.
    Yes(Sequencer),
    /// Another one is.
    No(Candidate),
}

impl Candidate {
    /// Connects. `holder` is what others read of who the sequencer is.
    ///
    /// # Errors
    ///
    /// The server cannot be reached.
    pub fn connect(address: &Address, holder: &str) -> Result<Self, StoreError> {
        let client = in_server(address, address.connect())?;
        Ok(Self { address: address.clone(), client, holder: holder.to_owned(), watched_at: Instant::now() })
    }

    /// Becomes the sequencer, if nobody is. The session of one that shows no sign of life is ended, so that the next try
    /// may do.
    ///
    /// # Errors
    ///
    /// The server failed, or the ledger contradicts itself at its end.
    pub fn elect(mut self) -> Result<Elected, StoreError> {
        let keys = [(&LOCK_SPACE as _, Type::INT4), (&LOCK_OF_SEQUENCER as _, Type::INT4)];
        let locked = self.client.query_typed_one("SELECT pg_try_advisory_lock($1, $2)", &keys);
        if in_server(&self.address, locked.and_then(|row| row.try_get(0)))? {
            return Sequencer::begin(&self.address, self.client, &self.holder).map(Elected::Yes);
        }
        if self.watched_at.elapsed() >= WATCH {
            self.watched_at = Instant::now();
            // A connection whose process stands still keeps its lock; only its silence tells. By the server's clock.
            let end = "SELECT pg_terminate_backend(pid)
                FROM pg_locks JOIN pg_stat_activity USING (pid)
                WHERE locktype = 'advisory' AND granted AND classid = $1::int4::oid AND objid = $2::int4::oid
                    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                    AND state_change < clock_timestamp() - make_interval(secs => CASE state WHEN 'active' THEN $4 ELSE $3 END)";
            let [space, lock] = keys;
            let parameters = [space, lock, (&STALLED_SECONDS as _, Type::INT4), (&BUSY_SECONDS as _, Type::INT4)];
            in_server(&self.address, self.client.query_typed(end, &parameters))?;
        }
        Ok(Elected::No(self))
    }
}

/// When the next head is due.
#[derive(Debug, Default)]
struct Pace {
    signed_size: u64,
    signed_at: Option<Instant>,
    unsigned_since: Option<Instant>,
    is_asked: bool,
}

impl Pace {
    fn is_due(&self, size: u64) -> bool {
        self.is_asked
            || self.unsigned_since.is_some_and(|since| {
                since.elapsed() >= SIGN_AFTER
                    || (size.saturating_sub(self.signed_size) >= SIGN_EVENTS
                        && self.signed_at.is_none_or(|at| at.elapsed() >= SIGN_PAUSE))
            })
    }
}

/// The thread of a process that may be the sequencer.
pub(super) fn run(address: &Address, signer: &Signer, shared: &Arc<Shared>) {
    let holder = format!("process {}", std::process::id());
    let mut candidate = None;
    while !shared.is_stopped() {
        let turn = candidate
            .take()
            .map_or_else(|| Candidate::connect(address, &holder), Ok)
            .and_then(Candidate::elect)
            .and_then(|elected| match elected {
                Elected::Yes(sequencer) => serve(sequencer, signer, shared),
                Elected::No(waiting) => {
                    candidate = Some(waiting);
                    Ok(())
                }
            });
        if let Err(error) = turn
            && let Some(fault) = fault_that_stays(&error)
        {
            // Only a person can say what is to be done; the lock goes with the connection.
            shared.health.fail(fault);
            return;
        }
        if !shared.is_stopped() {
            std::thread::sleep(TRY);
        }
    }
}

/// What no other try changes.
fn fault_that_stays(error: &StoreError) -> Option<Fault> {
    match error {
        StoreError::Server { error, .. } => match fault_of(error) {
            // There may be room again in a moment.
            None | Some(Fault::DiskFull) => None,
            fault => fault,
        },
        StoreError::Fenced { .. } | StoreError::Sign(SignError::Ledger(_)) => None,
        StoreError::Sign(refusal) => Some(Fault::Refused(refusal.to_string())),
        other => Some(Fault::Inconsistent(other.to_string())),
    }
}

/// A turn, until this process ends or loses it.
fn serve(mut sequencer: Sequencer, signer: &Signer, shared: &Shared) -> Result<(), StoreError> {
    // Where another process stands still while signing, appending goes on; heads wait until it goes on or ends.
    let mut is_checked = false;
    // What came before this turn may not be signed yet.
    let mut pace = Pace { unsigned_since: Some(Instant::now()), ..Pace::default() };
    loop {
        is_checked = is_checked || sequencer.check(signer)?;
        let moved = sequencer.step()?;
        if moved > 0 {
            pace.unsigned_since.get_or_insert_with(Instant::now);
        }
        // Others may put events into the inbox for ever; what was there is done when a batch is not full.
        let is_ending = shared.is_stopped() && moved < BATCH;
        let is_due = pace.is_due(sequencer.size()) || (is_ending && pace.unsigned_since.is_some());
        if is_due && let Some((size, _)) = sequencer.sign(signer)? {
            pace = Pace { signed_size: size, signed_at: Some(Instant::now()), ..Pace::default() };
        }
        if is_ending {
            return Ok(());
        }
        let wait = if moved == 0 { LOOK } else { Duration::ZERO };
        let told = notified(sequencer.client(), wait);
        pace.is_asked |= in_server(sequencer.address(), told)?.iter().any(|payload| payload == "sign");
    }
}
