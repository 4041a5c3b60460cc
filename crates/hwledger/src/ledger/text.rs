//! Answers about the ledger as text.

use std::fmt::Write as _;

use hwledger_node::ledger::{
    EntryAnswer, EntryBlob, FsckAnswer, InitAnswer, LogAnswer, Outcome, ProofAnswer, SealedAnswer, VerifyAnswer,
};

pub(super) fn begun(answer: &InitAnswer) -> String {
    let database = answer.database.as_ref().map(|database| format!("server  {database}\n")).unwrap_or_default();
    format!(
        "ledger  {}\n{database}folder  {}\nsigner  {}\nkey     {}\n\nKeep the key, and now and then a checkpoint, where this machine cannot reach them:\n\
         with them anyone can tell whether the ledger was changed.\n",
        answer.origin,
        answer.ledger.display(),
        answer.signer.display(),
        answer.key
    )
}

pub(super) fn list(answer: &LogAnswer) -> String {
    let mut text = format!("{}: {} entries\n", answer.origin, answer.size);
    let width = answer.entries.iter().map(|entry| entry.kind.len()).max().unwrap_or(0);
    for entry in &answer.entries {
        let time = entry.recorded_at.as_deref().unwrap_or("                        ");
        let _ =
            writeln!(text, "{:>8}  {time}  {:<width$}  {}  {}", entry.index, entry.kind, entry.subject, entry.summary);
    }
    text
}

pub(super) fn entry_in_full(answer: &EntryAnswer) -> String {
    let mut text = format!("entry {} of {}\n", answer.index, answer.origin);
    if let Some(time) = &answer.recorded_at {
        let _ = writeln!(text, "recorded    {time}");
    }
    let _ = writeln!(text, "in stream   number {}", answer.version);
    if let Some(leaf) = answer.leaf {
        let _ = writeln!(text, "leaf        {leaf}");
    }
    match answer.checkpoint_size {
        Some(size) => drop(writeln!(text, "signed      by the checkpoint of {size} entries")),
        None => text.push_str("signed      not yet\n"),
    }
    for EntryBlob { hash, bytes, dropped_by } in &answer.blobs {
        let _ = match (bytes, dropped_by) {
            (Some(bytes), _) => writeln!(text, "data        {hash}, {bytes} bytes beside the ledger"),
            (None, Some(entry)) => {
                writeln!(text, "data        {hash}, dropped under a retention policy (entry {entry})")
            }
            (None, None) => writeln!(text, "data        {hash}, not beside the ledger"),
        };
    }
    if let Some(event) = &answer.event {
        let event = serde_json::to_string_pretty(event).unwrap_or_default();
        let _ = writeln!(text, "\n{event}");
        text.extend(answer.sealed.iter().map(|(name, sealed)| sealed_field(name, sealed) + "\n"));
    } else {
        let said = said_in(answer.dropped_by);
        let _ =
            writeln!(text, "\nIts data were dropped under a retention policy{said}; its hash and its proofs remain.");
    }
    text
}

/// What a sealed field says, or why it says nothing.
fn sealed_field(name: &str, sealed: &SealedAnswer) -> String {
    match sealed {
        SealedAnswer::Open { text } => format!("{name}, sealed: {}", text.escape_debug()),
        SealedAnswer::Redacted { index, reason } => {
            format!("{name}: redacted, says entry {index} ({})", reason.escape_debug())
        }
        SealedAnswer::NoKey => format!("{name}: sealed with a key that is not here"),
        SealedAnswer::Altered => format!("{name}: not what was sealed there"),
    }
}

/// Where the record says that data were dropped.
fn said_in(entry: Option<u64>) -> String {
    entry.map_or_else(|| ", of which no entry speaks".to_owned(), |entry| format!(" (entry {entry})"))
}

pub(super) fn levels(answer: &VerifyAnswer) -> String {
    let verification = &answer.verification;
    let mut text = format!("{} entries, root {}\n\n", verification.size, verification.root);
    for level in &verification.levels {
        let word = match level.outcome {
            Outcome::Holds => "holds",
            Outcome::Fails => "FAILS",
            Outcome::NotChecked => "not checked",
        };
        let _ = writeln!(text, "{}  {word:<11}  {}", level.number, level.claim);
        let _ = writeln!(text, "                {}", level.detail);
        for finding in &level.findings {
            let _ = writeln!(text, "                {}", finding.what);
        }
        let more = level.findings_count - level.findings.len() as u64;
        if more > 0 {
            let _ = writeln!(text, "                and {more} more");
        }
    }
    if !answer.remarks.is_empty() {
        text.push('\n');
    }
    for remark in &answer.remarks {
        let _ = writeln!(text, "note: {remark}");
    }
    if let Some(entry) = answer.recorded_in {
        let _ = writeln!(text, "\nrecorded in entry {entry}");
    }
    text
}

pub(super) fn proved(answer: &ProofAnswer) -> String {
    let head = format!("{} with {} entries, root {}", answer.origin, answer.size, answer.root);
    match (answer.index, answer.old_size) {
        (Some(index), _) => {
            let event = answer.event.as_ref().and_then(|event| serde_json::to_string_pretty(event).ok());
            format!("entry {index} is in {head}\n\n{}\n", event.unwrap_or_default())
        }
        (None, Some(old)) => format!("{head}\ncontinues its checkpoint of {old} entries\n"),
        (None, None) => format!("{head}\n"),
    }
}

pub(super) fn damage(answer: &FsckAnswer) -> String {
    let mut text = format!("{} entries\n", answer.size);
    if let Some(fault) = &answer.fault {
        let _ = writeln!(text, "read-only: {fault}");
    }
    for finding in &answer.findings {
        let _ = writeln!(text, "{}", finding.what);
    }
    for projection in &answer.projections {
        let digest = projection.digest.map_or_else(|| "?".to_owned(), |digest| digest.to_string());
        let _ = writeln!(text, "{} of {} entries, {digest}", projection.name, projection.cursor);
        if projection.lacking > 0 {
            let _ = writeln!(text, "  {} of them had been dropped before it saw them", projection.lacking);
        }
        if let Some(reason) = &projection.stopped {
            let _ = writeln!(text, "  goes no further: {reason}");
        }
    }
    if answer.findings.is_empty() && answer.fault.is_none() {
        text.push_str("nothing is wrong\n");
    }
    if let Some(entry) = answer.recorded_in {
        let _ = writeln!(text, "recorded in entry {entry}");
    }
    if let Some(reason) = &answer.not_recorded {
        let _ = writeln!(text, "this was not recorded: {reason}");
    }
    text
}
