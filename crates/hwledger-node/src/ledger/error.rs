//! Why a question about the ledger has no answer.

use std::path::PathBuf;

use hwledger_ledger::checkpoint::CheckpointError;
use hwledger_ledger::event::EventError;
use hwledger_ledger::note::NoteError;
use hwledger_ledger::projection::ProjectionError;
use hwledger_ledger::proof_file::ProofFileError;
use hwledger_ledger::store::{AppendError, StoreError};
use hwledger_ledger::vault::VaultError;
use hwledger_ledger::witness::WitnessError;

use super::place::{DATABASE, OWNER};

/// Why a question about the ledger has no answer.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// No folder was named, and the environment names none.
    #[error("there is no place for a ledger: neither XDG_DATA_HOME nor HOME is set")]
    NoPlace,
    /// The ledger on the server was asked for, and the environment names none.
    #[error("`{DATABASE}` is not set, which says how to connect to the ledger on a server")]
    NoDatabase,
    /// The owner of the tables is needed, and the environment does not say how it connects.
    #[error("`{OWNER}` is not set, which says how the owner of the tables connects")]
    NoOwner,
    /// A connection string is no text.
    #[error("`{0}` is not UTF-8")]
    NotText(&'static str),
    /// A connection string cannot be used. Nothing of it is told.
    #[error("`{variable}`")]
    Address {
        /// The environment variable.
        variable: &'static str,
        /// Why.
        source: StoreError,
    },
    /// The ledger is in a file.
    #[error("the ledger is in a file, whose writers take turns by themselves")]
    NotOnServer,
    /// The ledger's key and those of sealed fields are on another machine.
    #[error("the signer of `{0}` is not on this machine")]
    NoSigner(String),
    /// No ledger where one is asked for.
    #[error("there is no ledger in `{0}`")]
    NoLedger(PathBuf),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Appending.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A file of ours cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is longer than it may be.
    #[error("{}: longer than the {bytes_max} bytes that it may have", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its bound.
        bytes_max: u64,
    },
    /// A key or a note is malformed.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A checkpoint is not to be believed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A proof shows nothing.
    #[error(transparent)]
    Proof(#[from] ProofFileError),
    /// The event cannot be read.
    #[error(transparent)]
    Event(#[from] EventError),
    /// What is derived from the entries.
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    /// A witness refuses.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// No witness where one is asked for.
    #[error("there is no witness in `{0}`")]
    NoWitness(PathBuf),
    /// Another ledger's head, or one that this ledger never signed.
    #[error("the ledger has signed no such checkpoint of {0} entries")]
    ForeignHead(u64),
    /// The signature of a known witness does not hold.
    #[error("the signature of a known witness does not belong to this checkpoint")]
    WrongCosignature,
    /// No known witness signed.
    #[error("none of the {0} known witnesses has signed this checkpoint")]
    NotCosigned(usize),
    /// Keys of sealed fields.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Neither a place nor an identity of an entry.
    #[error("`{0}` is neither the number of an entry nor the identity of an event in this ledger")]
    NoSuchEntry(String),
    /// Nothing signed has the entry.
    #[error("no checkpoint has entry {0} yet")]
    NotSigned(u64),
    /// The proof carries no entry and none was given.
    #[error("the proof does not carry its entry")]
    NoEntry,
    /// No key to check with.
    #[error("no public key was given")]
    NoKey,
    /// Nothing in the record says how long data are kept.
    #[error("the record has no policy yet under which data may be dropped")]
    NoPolicy,
    /// The note is signed by another key, which the ledger at hand introduces.
    #[error("it is signed by the key `{key}`, which entry {entry} of the ledger introduces, signed by `{by}`")]
    Introduced {
        /// The key that signed.
        key: String,
        /// The entry that introduces it.
        entry: u64,
        /// The key that vouches for the entry.
        by: String,
    },
    /// The ledger is shorter than the checkpoint.
    #[error("the ledger's last checkpoint has fewer than the {0} entries of the one given")]
    Shorter(u64),
}

impl LedgerError {
    /// What to do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NoPlace => "name a folder with `--ledger`",
            Self::NoDatabase | Self::NoOwner | Self::Address { .. } => {
                "such as `host=db.example dbname=ledger user=ledger_program password=…`"
            }
            Self::NoSigner(_) => "name its folder with `--signer`, or do this where it is",
            Self::NoLedger(_) => "`hwledger ledger init` begins one",
            Self::Store(error) => return error.hint(),
            Self::Append(error) => return error.hint(),
            Self::NotSigned(_) => "`hwledger ledger checkpoint` signs what there is",
            Self::NoEntry => "give the event's bytes with `--entry FILE`",
            Self::NoKey => "give the ledger's key, as `hwledger ledger init` printed it, with `--key`",
            Self::Witness(error) => return error.hint(),
            Self::NoWitness(_) => "`hwledger ledger witness init` makes one",
            Self::NotCosigned(_) => "give the witness's key with `--witness`, as `ledger witness init` printed it",
            Self::Introduced { .. } => {
                "give that key with `--key`, or an exported record that leads to it with `--bundle`"
            }
            Self::NoPolicy => "`hwledger ledger retention set` records one",
            Self::Shorter(_) => "if it had them once, it was rolled back: `hwledger ledger verify --checkpoint FILE`",
            _ => return None,
        };
        Some(text.to_owned())
    }
}
