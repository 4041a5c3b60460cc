//! One model's plan under every combination of several settings, as a table.
//!
//! Combinations are numbered in the order of the axes, the last one fastest, and computed in chunks
//! by all cores; chunks reach the sink in order, so that memory stays flat however many there are.

mod axis;
pub mod record;
mod row;
mod worker;

use std::sync::mpsc;

use hwledger_core::Assumptions;
use serde::{Deserialize, Serialize};

pub use axis::Axis;

use crate::planner::{PlanFailure, Planner};
use crate::request::PlanRequest;
use crate::table::record::Record;
use crate::table::{Block, BlockSink, Field, TableError};
use axis::Prepared as PreparedAxis;
use record::{Run, WorkloadRecord};
use worker::Worker;

/// Rows of one chunk: enough that handing it over costs nothing, few enough to wait for.
const CHUNK_ROWS: u64 = 4096;
/// Chunks that each core may be ahead.
const CHUNKS_AHEAD: usize = 4;
/// Most combinations of one sweep.
const COMBINATIONS_MAX: u64 = 1_000_000_000;

/// A plan and what varies of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SweepRequest {
    /// What all combinations share.
    pub plan: PlanRequest,
    /// The settings that vary, the last one fastest.
    pub vary: Vec<Axis>,
    /// Most combinations; all where nobody says.
    pub limit: Option<u64>,
}

/// Why a sweep has no end.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The request cannot be read.
    #[error(transparent)]
    Request(#[from] PlanFailure),
    /// The table cannot be written.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// What a sweep was.
#[derive(Clone, Debug, Serialize)]
pub struct SweepAnswer {
    /// `hwledger.sweep/1`.
    pub schema: &'static str,
    /// Combinations.
    pub rows: u64,
    /// Those that fit, tightly or not.
    pub fits: u64,
    /// Those whose settings were refused; their row says why.
    pub refused: u64,
    /// What the first combination had to assume, what varies left out.
    pub assumptions: Assumptions,
}

/// A sweep whose request has been read.
#[derive(Debug)]
pub struct Sweep<'a> {
    planner: &'a Planner,
    request: SweepRequest,
    axes: Vec<PreparedAxis>,
    rows: u64,
    /// Workload records are written instead of figures.
    records: Option<Run>,
}

impl Planner {
    /// Reads a sweep: every value of every axis is checked before any combination is.
    ///
    /// # Errors
    ///
    /// A key that plans do not know, a value that it does not take, more combinations than anybody
    /// waits for.
    pub fn sweep(&self, request: SweepRequest) -> Result<Sweep<'_>, PlanFailure> {
        let axes = axis::prepare(self, &request)?;
        // What does not vary is checked before anything is computed as well.
        let devices = self.expand(&request.plan.devices, &mut Assumptions::default())?;
        request.plan.settings(devices, &mut Assumptions::default())?;
        if axes.iter().all(|axis| axis.key != "model") {
            if request.plan.model.is_empty() {
                return Err(PlanFailure::NotARequest("it names no `model`".to_owned()));
            }
            self.model(&request.plan.model)?;
        }
        let all = axes.iter().fold(1_u64, |product, axis| product.saturating_mul(axis.len() as u64));
        let rows = request.limit.map_or(all, |limit| limit.min(all));
        if rows > COMBINATIONS_MAX {
            return Err(PlanFailure::NotARequest(format!(
                "{rows} combinations are more than the {COMBINATIONS_MAX} of one sweep; vary less, or set a limit"
            )));
        }
        Ok(Sweep { planner: self, request, axes, rows, records: None })
    }
}

impl Sweep<'_> {
    /// The same sweep as workload records: two rows per combination whose speed is known, its prefill
    /// and its decoding.
    #[must_use]
    pub fn as_records(self, run: Run) -> Self {
        Self { records: Some(run), ..self }
    }

    /// How many combinations it has.
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// The columns of its table.
    pub fn fields(&self) -> Vec<Field> {
        if self.records.is_some() { WorkloadRecord::fields() } else { row::fields(&self.axes) }
    }

    /// Computes all rows into `sink`, in order.
    ///
    /// # Errors
    ///
    /// Where the sink refuses them; a combination that is refused is a row that says so.
    pub fn run(&self, mut sink: Box<dyn BlockSink + '_>) -> Result<SweepAnswer, SweepError> {
        let fields = self.fields();
        let chunks = self.rows.div_ceil(CHUNK_ROWS);
        let workers = std::thread::available_parallelism().map_or(1, |count| count.get() as u64).min(chunks.max(1));
        let (mut fits, mut refused) = (0, 0);
        let mut assumptions = Assumptions::default();
        let written: Result<(), TableError> = std::thread::scope(|scope| {
            let receivers: Vec<_> = (0..workers)
                .map(|first| {
                    let (sender, receiver) = mpsc::sync_channel::<Chunk>(CHUNKS_AHEAD);
                    let fields = &fields;
                    scope.spawn(move || {
                        let mut worker = Worker::new(self.planner, &self.request, &self.axes, self.records.as_ref());
                        let mut chunk = first;
                        while chunk < chunks {
                            let start = chunk * CHUNK_ROWS;
                            let end = (start + CHUNK_ROWS).min(self.rows);
                            // Nobody listens any more where the sink has refused a block.
                            if sender.send(worker.chunk(fields, start..end)).is_err() {
                                return;
                            }
                            chunk += workers;
                        }
                    });
                    receiver
                })
                .collect();
            for chunk in 0..chunks {
                let receiver = &receivers[usize::try_from(chunk % workers).unwrap_or(0)];
                let Ok(next) = receiver.recv() else { break };
                fits += next.fits;
                refused += next.refused;
                if chunk == 0 {
                    assumptions = next.assumptions;
                }
                sink.write(next.block)?;
            }
            Ok(())
        });
        written?;
        sink.finish()?;
        assumptions.0.retain(|one| self.axes.iter().all(|axis| axis.key != one.what));
        Ok(SweepAnswer { schema: "hwledger.sweep/1", rows: self.rows, fits, refused, assumptions })
    }
}

/// Some rows, and what is counted of them.
struct Chunk {
    block: Block,
    fits: u64,
    refused: u64,
    /// Of its first row.
    assumptions: Assumptions,
}

#[cfg(test)]
mod tests;
