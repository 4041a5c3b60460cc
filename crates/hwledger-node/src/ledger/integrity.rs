//! Recording what a check found, so that two machines, or two years, can be compared.

use std::path::Path;

use hwledger_ledger::event::{Count, Draft, IntegrityChecked};
use hwledger_ledger::hash::Hash;
use hwledger_ledger::projection::Projections;
use hwledger_ledger::store::AnyReader;

use super::own::{SOURCE, SUBJECT};
use super::trust::{ProjectionAnswer, projections};
use super::{LedgerError, LedgerOptions, open};

/// Findings that are recorded at most, and characters of each.
const FINDINGS_MAX: usize = 20;
const FINDING_CHARACTERS_MAX: usize = 300;

/// What was checked, and how it came out.
pub(super) struct Checked<'a> {
    pub(super) size: u64,
    pub(super) root: Hash,
    pub(super) is_sound: bool,
    pub(super) findings: Vec<String>,
    /// The state of what is derived from the entries.
    pub(super) projections: &'a [ProjectionAnswer],
}

/// The projections of a sound ledger, brought up to date; none of one that contradicts itself.
pub(super) fn projections_of(
    folder: &Path,
    reader: &AnyReader,
    is_sound: bool,
) -> Result<Vec<ProjectionAnswer>, LedgerError> {
    if is_sound { projections(&Projections::new(folder), reader, false) } else { Ok(Vec::new()) }
}

/// Appends `IntegrityChecked`, and signs it. Returns its entry.
///
/// # Errors
///
/// The ledger cannot be appended to, such as where the check found that it contradicts itself.
pub(super) fn record(options: &LedgerOptions, checked: Checked<'_>) -> Result<u64, LedgerError> {
    let short = |finding: String| finding.chars().take(FINDING_CHARACTERS_MAX).collect();
    let state = |projection: &ProjectionAnswer| {
        let digest = projection.digest.map_or_else(|| "unknown".to_owned(), |digest| digest.to_string());
        format!("{} of {} entries, {digest}", projection.name, projection.cursor)
    };
    let event = IntegrityChecked {
        size: Count(checked.size),
        root: checked.root,
        is_sound: checked.is_sound,
        findings: checked.findings.into_iter().take(FINDINGS_MAX).map(short).collect(),
        projections: checked.projections.iter().map(state).collect(),
    };
    let ledger = open(options)?;
    let receipt = ledger.append(&Draft::new(SOURCE, SUBJECT, event))?;
    ledger.checkpoint()?;
    Ok(receipt.index)
}
