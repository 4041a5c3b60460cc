//! What `engine watch` writes to the ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use hwledger_node::ledger::{self, Ledger, Vault};
use hwledger_node::record::EngineRecorder;

use crate::engine::Failure;
use crate::ledger::LedgerPlace;
use crate::{interrupt, probe};

/// How long a wait goes on after somebody has ended it, at most.
const PATIENCE: Duration = Duration::from_millis(100);

/// Whether and how watched engines are recorded.
#[derive(Debug, Args)]
pub(crate) struct EngineRecordArguments {
    /// Write to the ledger that the engine is watched, how it is set, and window after window what it did; its address is
    /// sealed
    #[arg(long)]
    record: bool,
    /// Time of a window, such as 15m
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = probe::interval, requires = "record")]
    span: Duration,
    #[command(flatten)]
    place: LedgerPlace,
}

/// A ledger that is open for recording.
pub(crate) struct Recording {
    ledger: Ledger,
    vault: Vault,
    span: Duration,
    is_ended: Arc<AtomicBool>,
}

impl EngineRecordArguments {
    /// Opens the ledger, where something is to be recorded. From here on Ctrl-C ends in order.
    pub(crate) fn begin(&self) -> Result<Option<Recording>, Failure> {
        if !self.record {
            return Ok(None);
        }
        let options = self.place.options();
        let ledger = ledger::open(&options).map_err(Failure::Ledger)?;
        if let Some(fault) = ledger.fault() {
            return Err(Failure::Usage(format!("the ledger is read-only: {fault}")));
        }
        let vault = ledger::vault(&options).map_err(Failure::Ledger)?;
        let is_ended = interrupt::flag();
        let is_ended = is_ended.map_err(|error| Failure::Usage(format!("nothing would end it in order: {error}")))?;
        Ok(Some(Recording { ledger, vault, span: self.span, is_ended }))
    }
}

impl Recording {
    /// What writes to it.
    pub(crate) fn recorder(&self) -> EngineRecorder<'_> {
        EngineRecorder::new(&self.ledger, &self.vault, self.span)
    }

    /// Waits so many seconds; whether nobody has ended it.
    pub(crate) fn wait(&self, seconds: f64) -> bool {
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        while !self.is_ended.load(Ordering::SeqCst) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(PATIENCE));
        }
        false
    }
}
