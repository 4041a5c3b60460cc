//! `ledger`: the record that anyone can verify.

mod retention;
mod text;
mod witness;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use hwledger_node::ledger::{
    self, CheckRequest, LedgerError, LedgerOptions, LogRequest, MigrateAnswer, PublicKey, key_of, witness_key_of,
};
use hwledger_node::planner::with_causes;

use crate::{fail, json, say};
use retention::RetentionArguments;
use text::{begun, damage, entry_in_full, levels, list, proved};
use witness::{CosignArguments, WitnessArguments};

/// Which ledger.
#[derive(Debug, Default, Args)]
pub(crate) struct LedgerPlace {
    /// Folder of the ledger, or `postgres` (default: the server that `HWLEDGER_LEDGER_DATABASE` says how to connect to, or
    /// else `hwledger/ledger` in the data directory)
    #[arg(long, global = true, value_name = "PLACE")]
    ledger: Option<PathBuf>,
    /// Folder of its signing key (default: below `hwledger/signer` in the state directory)
    #[arg(long, global = true, value_name = "FOLDER")]
    signer: Option<PathBuf>,
}

impl LedgerPlace {
    pub(crate) fn options(&self) -> LedgerOptions {
        LedgerOptions { ledger: self.ledger.clone(), signer: self.signer.clone() }
    }
}

/// Arguments of `ledger`.
#[derive(Debug, Args)]
pub(crate) struct LedgerArguments {
    #[command(flatten)]
    place: LedgerPlace,
    /// Print one JSON object
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: LedgerCommand,
}

#[derive(Debug, Subcommand)]
enum LedgerCommand {
    /// Begin a ledger and print its public key
    Init {
        /// Name of the ledger, as a URL without scheme (default: one that nobody else has)
        #[arg(long, value_name = "NAME")]
        origin: Option<String>,
        /// Folder of a ledger restored from a backup, or `postgres`, which this one takes up
        #[arg(long, value_name = "PLACE")]
        continues: Option<PathBuf>,
    },
    /// List entries, the last ones first to be asked for
    Log {
        /// Kind of event, such as `PredictionMade`; may be repeated
        #[arg(long = "kind", value_name = "KIND")]
        kinds: Vec<String>,
        /// Stream, or the beginning of its name with a slash at the end; may be repeated
        #[arg(long = "subject", value_name = "NAME")]
        subjects: Vec<String>,
        /// First entry (default: as many as fit before the end)
        #[arg(long, value_name = "INDEX")]
        from: Option<u64>,
        /// Most entries
        #[arg(long, value_name = "COUNT", default_value_t = 20)]
        limit: u64,
    },
    /// Show one entry in full
    Show {
        /// Place of the entry, or identity of the event
        #[arg(value_name = "ENTRY")]
        entry: String,
    },
    /// Sign everything that is in the ledger, and print the checkpoint
    Checkpoint,
    /// Check the ledger, or an exported record, level by level
    Verify {
        /// Folder of an exported record: no database is needed
        #[arg(long, value_name = "FOLDER")]
        bundle: Option<PathBuf>,
        #[command(flatten)]
        keys: Keys,
        /// Checkpoint held elsewhere, which the record must continue; may be repeated
        #[arg(long = "checkpoint", value_name = "FILE")]
        checkpoints: Vec<PathBuf>,
        /// Public key of a witness; may be repeated
        #[arg(long = "witness", value_name = "KEY")]
        witnesses: Vec<String>,
        /// How many witnesses must have signed one checkpoint
        #[arg(long, value_name = "COUNT", default_value_t = 1)]
        witnesses_needed: usize,
        /// Believe only the keys that are given, not those that the record introduces
        #[arg(long)]
        ignore_rotations: bool,
        /// Record in the ledger what came out, with the digests of what is derived from it
        #[arg(long, conflicts_with = "bundle")]
        record: bool,
    },
    /// Print the proof that an entry is in the ledger (a `.tlog-proof` file)
    Prove {
        /// Place of the entry, or identity of the event
        #[arg(value_name = "ENTRY")]
        entry: String,
    },
    /// Check a proof with nothing but a public key
    VerifyProof {
        /// Folder of an exported record, which leads from the key given to the one that signed, after a rotation
        #[arg(long, value_name = "FOLDER")]
        bundle: Option<PathBuf>,
        /// The proof, as `prove` or `consistency` printed it
        #[arg(value_name = "FILE")]
        proof: PathBuf,
        /// Bytes of the entry, where the proof does not carry them
        #[arg(long, value_name = "FILE", conflicts_with = "old")]
        entry: Option<PathBuf>,
        /// Earlier checkpoint, of a proof that one continues the other
        #[arg(long, value_name = "FILE")]
        old: Option<PathBuf>,
        #[command(flatten)]
        keys: Keys,
    },
    /// Print the proof that the ledger continues a checkpoint held elsewhere
    Consistency {
        /// The earlier checkpoint
        #[arg(value_name = "FILE", required_unless_present = "size", conflicts_with = "size")]
        checkpoint: Option<PathBuf>,
        /// How many entries it has, instead: what a witness asks for
        #[arg(long, value_name = "ENTRIES")]
        size: Option<u64>,
        #[command(flatten)]
        keys: Keys,
    },
    /// Write the record as plain files that anyone can publish and check
    Export {
        /// Folder to write to; one of the same ledger is brought up to date
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
    /// Be a witness: sign checkpoints of other ledgers that continue what was seen of them
    Witness(WitnessArguments),
    /// Record what witnesses signed of a checkpoint of this ledger
    Cosign(CosignArguments),
    /// Make everything unreadable that was sealed under a person or host; no proof breaks
    Redact {
        /// The subject, as it was sealed
        #[arg(value_name = "SUBJECT")]
        subject: String,
        /// Why; this is recorded
        #[arg(long, value_name = "TEXT", default_value = "asked for")]
        reason: String,
    },
    /// Show for how long data are kept and what would be dropped; nothing is, without `apply`
    Retention(RetentionArguments),
    /// Make another key, which signs beside the old one; then, with `--finish`, alone
    Rotate {
        /// Let the new key sign alone
        #[arg(long)]
        finish: bool,
        /// Why; this is recorded
        #[arg(long, value_name = "TEXT", default_value = "a new key", conflicts_with = "finish")]
        reason: String,
    },
    /// Make the tables of a ledger on a server, or bring them up to date
    Migrate,
    /// Give the events of all machines their places on a server, and sign, until stopped
    Sequence,
    /// Look for damage in the database; entries are never repaired
    Fsck {
        /// Make anew what is derived from the entries
        #[arg(long)]
        repair_projections: bool,
        /// Record in the ledger what came out, with the digests of what is derived from it
        #[arg(long)]
        record: bool,
    },
}

/// Public keys of the ledger.
#[derive(Debug, Args)]
struct Keys {
    /// Public key of the ledger, or a file with it; may be repeated
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
}

impl Keys {
    fn read(&self) -> Result<Vec<PublicKey>, LedgerError> {
        self.keys.iter().map(|key| key_of(key)).collect()
    }
}

/// Says why a question about the ledger has no answer.
pub(crate) fn refuse(error: &LedgerError) -> ExitCode {
    let status = fail(with_causes(error));
    if let Some(hint) = error.hint() {
        let _ = writeln!(io::stderr(), "hint: {hint}");
    }
    status
}

/// Runs the command.
pub(crate) fn run(arguments: &LedgerArguments) -> ExitCode {
    answer(arguments).unwrap_or_else(|error| refuse(&error))
}

fn answer(arguments: &LedgerArguments) -> Result<ExitCode, LedgerError> {
    let options = arguments.place.options();
    let is_json = arguments.json;
    Ok(match &arguments.command {
        LedgerCommand::Init { origin, continues } => {
            let answer = ledger::init(&options, origin.as_deref(), continues.as_deref())?;
            say(&if is_json { json(&answer) } else { begun(&answer) }, true)
        }
        LedgerCommand::Log { kinds, subjects, from, limit } => {
            let (kinds, subjects) = (kinds.clone(), subjects.clone());
            let answer = ledger::log(&options, &LogRequest { kinds, subjects, from: *from, limit: Some(*limit) })?;
            say(&if is_json { json(&answer) } else { list(&answer) }, true)
        }
        LedgerCommand::Show { entry } => {
            let answer = ledger::show(&options, entry)?;
            say(&if is_json { json(&answer) } else { entry_in_full(&answer) }, true)
        }
        LedgerCommand::Checkpoint => say(&ledger::checkpoint(&options)?, true),
        LedgerCommand::Verify { bundle, keys, checkpoints, witnesses, witnesses_needed, ignore_rotations, record } => {
            let answer = ledger::verify(
                &options,
                &CheckRequest {
                    bundle: bundle.clone(),
                    keys: keys.read()?,
                    checkpoints: checkpoints.clone(),
                    witnesses: witnesses.iter().map(|key| witness_key_of(key)).collect::<Result<_, _>>()?,
                    witnesses_needed: *witnesses_needed,
                    ignores_rotations: *ignore_rotations,
                    is_recorded: *record,
                },
            )?;
            let text = if is_json { json(&answer) } else { levels(&answer) };
            say(&text, answer.verification.is_sound() && *record == answer.recorded_in.is_some())
        }
        LedgerCommand::Prove { entry } => say(&ledger::prove(&options, entry)?, true),
        LedgerCommand::VerifyProof { bundle, proof, entry, old, keys } => {
            let (keys, bundle) = (keys.read()?, bundle.as_deref());
            let answer = match old {
                Some(old) => ledger::verify_consistency(&options, proof, old, &keys, bundle)?,
                None => ledger::verify_proof(&options, proof, entry.as_deref(), &keys, bundle)?,
            };
            say(&if is_json { json(&answer) } else { proved(&answer) }, true)
        }
        LedgerCommand::Consistency { checkpoint, size, keys } => {
            let proof = match (checkpoint, size) {
                (Some(checkpoint), _) => ledger::consistency(&options, checkpoint, &keys.read()?)?,
                (None, size) => ledger::consistency_from(&options, size.unwrap_or_default())?,
            };
            say(&proof, true)
        }
        LedgerCommand::Export { folder } => {
            let answer = ledger::export(&options, folder)?;
            let text = format!(
                "{} entries of {} in {}\nroot {}\n",
                answer.size,
                answer.origin,
                answer.folder.display(),
                answer.root
            );
            say(&if is_json { json(&answer) } else { text }, true)
        }
        LedgerCommand::Redact { subject, reason } => {
            let answer = ledger::redact(&options, subject, reason)?;
            let done = if answer.was_there { "deleted" } else { "was not there" };
            let text = format!("key {} {done}; entry {} says so\n", answer.key, answer.index);
            say(&if is_json { json(&answer) } else { text }, true)
        }
        LedgerCommand::Witness(arguments) => witness::answer(arguments, is_json)?,
        LedgerCommand::Cosign(arguments) => witness::cosign(&options, arguments, is_json)?,
        LedgerCommand::Retention(arguments) => retention::answer(&options, arguments, is_json)?,
        LedgerCommand::Rotate { finish, reason } => {
            let answer = ledger::rotate(&options, reason, *finish)?;
            let who = if answer.is_finished { "alone" } else { "beside the old one" };
            say(&if is_json { json(&answer) } else { format!("{}\nsigns {who} from now on\n", answer.key) }, true)
        }
        LedgerCommand::Migrate => {
            let answer = ledger::migrate(&options)?;
            let MigrateAnswer { database, version, role, .. } = &answer;
            let text = format!("{database} has version {version} of the tables; `{role}` reads and appends\n");
            say(&if is_json { json(&answer) } else { text }, true)
        }
        LedgerCommand::Sequence => {
            ledger::sequence(&options, |origin| {
                let _ = say(&format!("sequencing {origin}\n"), true);
            })?;
            ExitCode::SUCCESS
        }
        LedgerCommand::Fsck { repair_projections, record } => {
            let answer = ledger::fsck(&options, *repair_projections, *record)?;
            let is_sound = answer.findings.is_empty() && answer.fault.is_none() && answer.not_recorded.is_none();
            say(&if is_json { json(&answer) } else { damage(&answer) }, is_sound)
        }
    })
}
