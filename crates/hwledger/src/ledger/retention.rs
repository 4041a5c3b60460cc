//! `ledger retention`: for how long data are kept.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use hwledger_node::ledger::{self, Keep, LedgerError, LedgerOptions, RetentionAnswer};

use crate::{json, say};

/// Arguments of `ledger retention`.
#[derive(Debug, Args)]
pub(super) struct RetentionArguments {
    #[command(subcommand)]
    command: Option<RetentionCommand>,
}

#[derive(Debug, Subcommand)]
enum RetentionCommand {
    /// Record for how long data are kept; nothing is dropped
    Set {
        /// The data of entries: `forever`, or days; hashes and proofs stay in any case
        #[arg(long, value_name = "DAYS")]
        entries: Option<Keep>,
        /// What entries refer to beside the ledger, such as raw measurements: `forever`, or days
        #[arg(long, value_name = "DAYS")]
        blobs: Option<Keep>,
    },
    /// Drop what the recorded policy lets go
    Apply,
}

/// Runs the command.
pub(super) fn answer(
    options: &LedgerOptions,
    arguments: &RetentionArguments,
    is_json: bool,
) -> Result<ExitCode, LedgerError> {
    let answer = match &arguments.command {
        None => ledger::retention(options)?,
        Some(RetentionCommand::Set { entries, blobs }) => ledger::set_retention(options, *entries, *blobs)?,
        Some(RetentionCommand::Apply) => ledger::apply_retention(options)?,
    };
    Ok(say(&if is_json { json(&answer) } else { text(&answer) }, true))
}

fn text(answer: &RetentionAnswer) -> String {
    let policy = &answer.policy;
    let mut text = format!("entries  {}\nblobs    {}\n", policy.entries, policy.blobs);
    let _ = match policy.entry {
        Some(entry) => writeln!(text, "recorded in entry {entry}"),
        None => {
            writeln!(text, "not recorded yet: nothing is dropped before `hwledger ledger retention set` records it")
        }
    };
    let would = if answer.is_applied { "dropped" } else { "would be dropped" };
    let _ = writeln!(text, "\n{would}:");
    let _ = match answer.entries {
        0 => writeln!(text, "  the data of no entry"),
        count => writeln!(text, "  the data of {count} entries before entry {}", answer.entries_end),
    };
    let (old, bytes) = (answer.old_blobs.len(), answer.old_blobs_bytes);
    let _ = writeln!(text, "  {old} of {} blobs, {bytes} bytes", answer.blobs);
    if !answer.said_in.is_empty() {
        let entries: Vec<String> = answer.said_in.iter().map(u64::to_string).collect();
        let _ = writeln!(text, "  entry {} says so", entries.join(" and "));
    }
    if !answer.needed.is_empty() || answer.unreferenced > 0 {
        text.push_str("\nkept all the same:\n");
    }
    for needed in &answer.needed {
        let (run, entry) = (&needed.run, needed.entry);
        let _ = writeln!(text, "  blob {} of entry {entry}: nothing was learnt from run {run} yet", needed.blob);
    }
    if !answer.needed.is_empty() {
        text.push_str("  (`hwledger calibrate --from-ledger` learns from them)\n");
    }
    if answer.unreferenced > 0 {
        let _ = writeln!(text, "  {} blobs that no entry refers to", answer.unreferenced);
    }
    text
}
