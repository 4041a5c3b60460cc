//! The one thread that writes: it takes what waits as one group, makes it durable, and answers all at once.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use super::fault::{fault_of, fault_of_opening, fault_of_signing};
use super::ledger::Health;
use super::sqlite::{Appender, IsCommitting};
use super::{AppendError, Receipt, StoreError};
use crate::event::Sealing;
use crate::signer::Signer;

/// Events of one transaction at most.
pub(super) const GROUP: usize = 256;

/// How long a group waits for as many callers as the last one had. Callers that were answered together come back
/// together: without waiting, every second group would hold a single event.
pub(super) const GATHER: Duration = Duration::from_micros(1500);

/// A head is signed after this many events, but not more often than every [`SIGN_PAUSE`],
pub(super) const SIGN_EVENTS: u64 = 256;

/// which keeps signing, with its three syncs, out of the way of appending,
pub(super) const SIGN_PAUSE: Duration = Duration::from_secs(1);

/// and in any case this long after the first event that is not signed.
pub(super) const SIGN_AFTER: Duration = Duration::from_mins(1);

/// What is asked of the writer.
#[derive(Debug)]
pub(super) enum Request {
    /// Append an event.
    Append(Sealing, SyncSender<Result<Receipt, AppendError>>),
    /// Sign what there is.
    Checkpoint(SyncSender<Result<String, StoreError>>),
    /// Drop the data of the first entries.
    Prune(u64, SyncSender<Result<(), StoreError>>),
}

/// The writer's state.
#[derive(Debug)]
pub(super) struct Writer {
    appender: Appender,
    signer: Signer,
    health: Arc<Health>,
    log: PathBuf,
    /// The last head that was signed here.
    signed: Option<(u64, String)>,
    signed_at: Option<Instant>,
    /// When the first event came that no head has.
    unsigned_since: Option<Instant>,
}

impl Writer {
    pub(super) fn new(appender: Appender, signer: Signer, health: Arc<Health>, log: PathBuf) -> Self {
        // What a process that was killed left unsigned is signed like what comes from now on.
        let unsigned_since = (!appender.is_signed()).then(Instant::now);
        Self { appender, signer, health, log, signed: None, signed_at: None, unsigned_since }
    }

    /// Serves until the last handle is gone.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        let mut group: Vec<(Sealing, SyncSender<Result<Receipt, AppendError>>)> = Vec::with_capacity(GROUP);
        let mut last_group = 1;
        loop {
            let first = match requests.recv_timeout(self.until_signing()) {
                Ok(request) => request,
                Err(RecvTimeoutError::Timeout) => {
                    self.sign_when_due();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let deadline = Instant::now() + GATHER;
            let mut next = Some(first);
            let mut other = None;
            while let Some(request) = next.take() {
                match request {
                    Request::Append(sealing, answer) => group.push((sealing, answer)),
                    // Whatever else is asked comes after the events that were sent before it.
                    request => {
                        other = Some(request);
                        break;
                    }
                }
                if group.len() < GROUP {
                    let left = deadline.saturating_duration_since(Instant::now());
                    next = requests
                        .try_recv()
                        .ok()
                        .or_else(|| (group.len() < last_group).then(|| requests.recv_timeout(left).ok()).flatten());
                }
            }
            if !group.is_empty() {
                last_group = group.len();
                self.append(&mut group);
            }
            match other {
                Some(Request::Checkpoint(answer)) => drop(answer.send(self.sign())),
                Some(Request::Prune(end, answer)) => drop(answer.send(self.prune(end))),
                Some(Request::Append(..)) | None => {}
            }
            self.sign_when_due();
        }
        if self.unsigned_since.is_some() && self.health.fault().is_none() {
            // Whoever opens the ledger next signs it if this fails.
            let _ = self.sign();
        }
        self.appender.fold_log();
    }

    fn append(&mut self, group: &mut Vec<(Sealing, SyncSender<Result<Receipt, AppendError>>)>) {
        if let Some(fault) = self.health.fault() {
            for (_, answer) in group.drain(..) {
                let _ = answer.send(Err(AppendError::ReadOnly(fault.clone())));
            }
            return;
        }
        #[cfg(test)]
        self.health.reach(super::ended::Moment::BeforeCommit);
        let (sealings, answers): (Vec<_>, Vec<_>) = group.drain(..).unzip();
        let results = match self.appender.append(&sealings) {
            Ok(results) => results,
            Err((error, IsCommitting(is_committing))) => {
                let answer = match fault_of(&error) {
                    None => AppendError::Busy,
                    Some(fault) => {
                        self.health.fail(fault.clone());
                        // A sync that failed may have lost what it was to write: only a fresh start can tell.
                        if is_committing { AppendError::Unknown(fault) } else { AppendError::ReadOnly(fault) }
                    }
                };
                vec![Err(answer); answers.len()]
            }
        };
        if results.iter().any(|result| result.as_ref().is_ok_and(|receipt| receipt.is_new)) {
            self.unsigned_since.get_or_insert_with(Instant::now);
        }
        #[cfg(test)]
        self.health.reach(super::ended::Moment::AfterCommit);
        for (answer, result) in answers.into_iter().zip(results) {
            // A caller that went away has its event all the same.
            let _ = answer.send(result);
        }
    }

    fn until_signing(&self) -> Duration {
        let Some(since) = self.unsigned_since else { return SIGN_AFTER };
        if self.unsigned() >= SIGN_EVENTS {
            let pause = self.signed_at.map_or(Duration::ZERO, |at| SIGN_PAUSE.saturating_sub(at.elapsed()));
            return pause.max(Duration::from_millis(1));
        }
        SIGN_AFTER.saturating_sub(since.elapsed()).max(Duration::from_millis(1))
    }

    /// Events that no head has.
    fn unsigned(&self) -> u64 {
        self.appender.size().saturating_sub(self.signed.as_ref().map_or(0, |(size, _)| *size))
    }

    fn sign_when_due(&mut self) {
        let Some(since) = self.unsigned_since else { return };
        let is_due = since.elapsed() >= SIGN_AFTER
            || (self.unsigned() >= SIGN_EVENTS && self.signed_at.is_none_or(|at| at.elapsed() >= SIGN_PAUSE));
        if is_due && self.health.fault().is_none() {
            // The fault, if any, is what callers see from now on.
            let _ = self.sign();
        }
    }

    fn sign(&mut self) -> Result<String, StoreError> {
        if let Some(fault) = self.health.fault() {
            return Err(StoreError::ReadOnly(fault));
        }
        let health = Arc::clone(&self.health);
        let lock = self.signer.lock().inspect_err(|error| drop(health.fail(fault_of_signing(error))))?;
        if let Err(error) = self.appender.refresh() {
            let fault = fault_of_opening(error)?;
            health.fail(fault.clone());
            return Err(StoreError::ReadOnly(fault));
        }
        let size = self.appender.size();
        if let Some((signed, note)) = &self.signed
            && *signed == size
        {
            return Ok(note.clone());
        }
        let signed = lock.sign(size, self.appender.root(), |size| self.appender.root_at(size));
        drop(lock);
        let note = signed.inspect_err(|error| drop(health.fail(fault_of_signing(error))))?;
        if let Err(error) = self.appender.keep_checkpoint(size, &note) {
            if let Some(fault) = fault_of(&error) {
                self.health.fail(fault.clone());
                return Err(StoreError::ReadOnly(fault));
            }
            return Err(AppendError::Busy.into());
        }
        #[cfg(test)]
        self.health.reach(super::ended::Moment::AfterSigning);
        self.write_log(&note);
        self.signed = Some((size, note.clone()));
        self.signed_at = Some(Instant::now());
        self.unsigned_since = None;
        Ok(note)
    }

    /// Keeps the head beside the database too, one note after the other, with a blank line between.
    fn write_log(&self, note: &str) {
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        // The heads are in the database; the file is for people and other programs.
        let _ = options.open(&self.log).and_then(|mut file| file.write_all(format!("{note}\n").as_bytes()));
    }

    fn prune(&mut self, end: u64) -> Result<(), StoreError> {
        if let Some(fault) = self.health.fault() {
            return Err(StoreError::ReadOnly(fault));
        }
        #[cfg(test)]
        self.health.reach(super::ended::Moment::BeforePruning);
        match self.appender.prune(0, end) {
            Ok(_) => Ok(()),
            Err(error) => match fault_of(&error) {
                Some(fault) => {
                    self.health.fail(fault.clone());
                    Err(StoreError::ReadOnly(fault))
                }
                None => Err(AppendError::Busy.into()),
            },
        }
    }
}
