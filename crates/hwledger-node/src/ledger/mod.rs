//! The use cases of the ledger: begin one, read it, prove from it, check it, hand it on.

mod error;
mod integrity;
mod keys;
mod open;
mod own;
mod place;
mod read;
mod retention;
mod schemas;
mod sealed;
mod server;
#[cfg(test)]
pub(crate) mod temporary;
mod trust;
mod witness;

pub use crate::time::timestamp;
pub use error::LedgerError;
pub use hwledger_ledger::note::PublicKey;
pub use hwledger_ledger::vault::Vault;
pub use hwledger_ledger::verify::{Finding, Level, Outcome, Verification};
pub use open::Ledger;
pub use place::{DATABASE, EARLIER, FOLDER, LedgerOptions, OWNER, SERVER, is_missing, open, open_if_there, places};
pub use read::{EntryAnswer, EntryBlob, LogAnswer, LogRequest, LogRow, log, show};
pub use retention::{Keep, NeededBlob, Policy, RetentionAnswer, apply_retention, retention, set_retention};
pub use sealed::SealedAnswer;
pub use server::{MigrateAnswer, migrate, sequence};
pub use trust::{
    CheckRequest, ExportAnswer, FsckAnswer, InitAnswer, ProjectionAnswer, ProofAnswer, RedactAnswer, RotateAnswer,
    VerifyAnswer, checkpoint, consistency, consistency_from, export, fsck, init, key_of, prove, redact, rotate, vault,
    verify, verify_consistency, verify_proof,
};
pub use witness::{
    CosignAnswer, Cosigned, WitnessAnswer, WitnessedAnswer, cosign, witness_init, witness_key_of, witness_sign,
};
