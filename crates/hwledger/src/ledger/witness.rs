//! `ledger witness`, `ledger cosign`: witnesses without a server between.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use hwledger_node::ledger::{self, LedgerError, LedgerOptions, key_of, witness_key_of};

use crate::{json, say};

/// Arguments of `ledger witness`.
#[derive(Debug, Args)]
pub(super) struct WitnessArguments {
    /// Folder of the witness (default: `hwledger/witness` in the state directory)
    #[arg(long, global = true, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    #[command(subcommand)]
    command: WitnessCommand,
}

#[derive(Debug, Subcommand)]
enum WitnessCommand {
    /// Make a witness with a key of its own, and print its public key
    Init {
        /// Name of the witness, as a URL without scheme (default: one that nobody else has)
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Sign a checkpoint that continues the last one seen of its ledger, and print it
    Sign {
        /// A checkpoint, the first time; later what `ledger consistency --size ENTRIES` printed
        #[arg(value_name = "FILE")]
        request: PathBuf,
        /// Public key of the ledger, or a file with it, which is believed from now on; may be repeated
        #[arg(long = "key", value_name = "KEY")]
        keys: Vec<String>,
    },
}

/// Arguments of `ledger cosign`.
#[derive(Debug, Args)]
pub(super) struct CosignArguments {
    /// The checkpoint with the signatures of witnesses
    #[arg(value_name = "FILE")]
    note: PathBuf,
    /// Public key of a witness, or a file with it; may be repeated (default: those in the record)
    #[arg(long = "witness", value_name = "KEY")]
    witnesses: Vec<String>,
}

/// Runs `ledger witness`.
pub(super) fn answer(arguments: &WitnessArguments, is_json: bool) -> Result<ExitCode, LedgerError> {
    let folder = arguments.folder.as_deref();
    Ok(match &arguments.command {
        WitnessCommand::Init { name } => {
            let answer = ledger::witness_init(folder, name.as_deref())?;
            let text = format!("folder  {}\nkey     {}\n", answer.folder.display(), answer.key);
            say(&if is_json { json(&answer) } else { text }, true)
        }
        WitnessCommand::Sign { request, keys } => {
            let keys = keys.iter().map(|key| key_of(key)).collect::<Result<Vec<_>, _>>()?;
            let answer = ledger::witness_sign(folder, request, &keys)?;
            say(&if is_json { json(&answer) } else { answer.note }, true)
        }
    })
}

/// Runs `ledger cosign`.
pub(super) fn cosign(
    options: &LedgerOptions,
    arguments: &CosignArguments,
    is_json: bool,
) -> Result<ExitCode, LedgerError> {
    let keys = arguments.witnesses.iter().map(|key| witness_key_of(key)).collect::<Result<Vec<_>, _>>()?;
    let answer = ledger::cosign(options, &arguments.note, &keys)?;
    let line = |cosigned: &ledger::Cosigned| {
        let was = if cosigned.is_new { "entry" } else { "was recorded before, in entry" };
        format!("{} signed the checkpoint of {} entries: {was} {}\n", cosigned.witness, answer.size, cosigned.entry)
    };
    let text: String = answer.witnesses.iter().map(line).collect();
    Ok(say(&if is_json { json(&answer) } else { text }, true))
}
