//! Beginning, proving, checking, handing on, redacting.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use hwledger_ledger::bundle::{self, Bundle};
use hwledger_ledger::checkpoint::Checkpoint;
use hwledger_ledger::event::{Count, Draft, Event, Payload, RestoreDone, SubjectRedacted, random_identity};
use hwledger_ledger::hash::Hash;
use hwledger_ledger::note::{NOTE_BYTES_MAX, PublicKey};
use hwledger_ledger::projection::{Projections, Status};
use hwledger_ledger::proof_file::{ConsistencyFile, InclusionFile};
use hwledger_ledger::store::AnyReader;
use hwledger_ledger::vault::Vault;
use hwledger_ledger::verify::{self as check, Finding, Verification, VerifyOptions};
use serde::Serialize;

use super::integrity::{self, Checked};
use super::keys;
use super::own::{SOURCE, SUBJECT};
use super::place::{earlier, reader, vault_folder};
use super::read::index_of;
use super::schemas;
use super::server::{create, unfinished};
use super::{LedgerError, LedgerOptions, open, places};

/// A ledger that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InitAnswer {
    /// `hwledger.ledger-init/1`.
    pub schema: &'static str,
    /// Its name.
    pub origin: String,
    /// Its public key, to be kept wherever it will be checked.
    pub key: String,
    /// Its database, where it is on a server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Its folder, or that of what this machine keeps beside a ledger on a server.
    pub ledger: PathBuf,
    /// The folder of its signer.
    pub signer: PathBuf,
    /// Its first checkpoint.
    pub checkpoint: String,
}

/// Begins a ledger. `origin` names it; otherwise a name is made that nobody else has. `continues` is the place of a ledger
/// that was restored from a backup and can be signed no more, or was outgrown: the new one says what it takes up. On a
/// server the tables are made first.
///
/// # Errors
///
/// There is one already, the folders cannot be written, or the tables cannot be made.
pub fn init(
    options: &LedgerOptions,
    origin: Option<&str>,
    continues: Option<&Path>,
) -> Result<InitAnswer, LedgerError> {
    let origin = if let Some(origin) = origin {
        origin.to_owned()
    } else if let Some(origin) = unfinished(options)? {
        origin
    } else {
        // Nothing about the machine or its user goes into a name that is published.
        format!("hwledger.local/{}", &random_identity()?[..16])
    };
    let places = places(options, &origin)?;
    let earlier = continues.map(earlier).transpose()?;
    let name = earlier.as_ref().map(AnyReader::origin).transpose()?;
    let (ledger, database) = create(options, &places, &origin, name.as_deref())?;
    if let (Some(earlier), Some(source)) = (&earlier, name) {
        let size = earlier.size()?;
        let root = earlier.root_at(size)?;
        let restored = RestoreDone { size: Count(size), root, source };
        ledger.append(&Draft::new(SOURCE, SUBJECT, restored))?;
    }
    Ok(InitAnswer {
        schema: "hwledger.ledger-init/1",
        key: ledger.keys().first().map(ToString::to_string).unwrap_or_default(),
        checkpoint: ledger.checkpoint()?,
        origin,
        database,
        ledger: places.ledger,
        signer: places.signer,
    })
}

/// Signs everything that is in the ledger; the signed head.
///
/// # Errors
///
/// There is no ledger, or it must not be signed.
pub fn checkpoint(options: &LedgerOptions) -> Result<String, LedgerError> {
    Ok(open(options)?.checkpoint()?)
}

fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, LedgerError> {
    let in_file = |source| LedgerError::File { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes)).map_err(in_file)?;
    if bytes.len() as u64 > bytes_max {
        return Err(LedgerError::TooLong { path: path.to_owned(), bytes_max });
    }
    Ok(bytes)
}

pub(super) fn read_text(path: &Path) -> Result<String, LedgerError> {
    let bytes = read_bounded(path, 2 * NOTE_BYTES_MAX as u64)?;
    String::from_utf8(bytes).map_err(|_| LedgerError::File {
        path: path.to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, "this is not UTF-8"),
    })
}

/// A public key: its text, or a file whose first line it is.
///
/// # Errors
///
/// It is neither.
pub fn key_of(text: &str) -> Result<PublicKey, LedgerError> {
    Ok(PublicKey::parse(&key_text(text)?)?)
}

/// A key as text: itself, or the first line of the file that it names.
pub(super) fn key_text(text: &str) -> Result<String, LedgerError> {
    let path = Path::new(text);
    if !text.contains('+') || path.is_file() {
        let content = read_text(path)?;
        return Ok(content.lines().next().unwrap_or_default().to_owned());
    }
    Ok(text.to_owned())
}

/// What a record is checked against, and which record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckRequest {
    /// The folder of an exported record; otherwise the ledger itself.
    pub bundle: Option<PathBuf>,
    /// Public keys of the ledger.
    pub keys: Vec<PublicKey>,
    /// Checkpoints that were held elsewhere.
    pub checkpoints: Vec<PathBuf>,
    /// Public keys of witnesses.
    pub witnesses: Vec<PublicKey>,
    /// How many of them must have signed.
    pub witnesses_needed: usize,
    /// Only the keys that were given are believed, not those that the record introduces.
    pub ignores_rotations: bool,
    /// What comes out is recorded in the ledger; not for an exported record.
    pub is_recorded: bool,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyAnswer {
    /// What was found, level by level.
    #[serde(flatten)]
    pub verification: Verification,
    /// What else must be known to judge it.
    pub remarks: Vec<String>,
    /// The entry that says what was found, where it was to be recorded.
    pub recorded_in: Option<u64>,
}

/// Checks the ledger, or a record exported from one.
///
/// # Errors
///
/// There is none, or it cannot be read at all.
pub fn verify(options: &LedgerOptions, request: &CheckRequest) -> Result<VerifyAnswer, LedgerError> {
    let mut held = Vec::new();
    for path in &request.checkpoints {
        held.push((path.display().to_string(), read_text(path)?));
    }
    let mut remarks = Vec::new();
    let mut keys = request.keys.clone();
    let mut own_keys = |found: Result<Vec<PublicKey>, LedgerError>| {
        if keys.is_empty() {
            keys = found?;
            if !keys.is_empty() {
                remarks.push(
                    "the key is the record's own, which says nothing about who made it: give it with `--key`"
                        .to_owned(),
                );
            }
        }
        Ok::<_, LedgerError>(keys.clone())
    };
    let check_options = |keys| VerifyOptions {
        keys,
        held,
        witnesses: request.witnesses.clone(),
        witnesses_needed: request.witnesses_needed,
        follow_rotations: !request.ignores_rotations,
    };
    let verification = if let Some(folder) = &request.bundle {
        let bundle = Bundle::open(folder)?;
        let keys = own_keys(bundle.keys().map_err(LedgerError::from))?;
        check::verify(&bundle, &check_options(keys))?
    } else {
        let (_, reader) = reader(options)?;
        let keys = own_keys(first_key(&reader))?;
        let check_options = check_options(keys);
        reader.at_one_moment(|reader| check::verify(reader, &check_options))?
    };
    let mut recorded_in = None;
    if request.is_recorded && request.bundle.is_none() {
        match record_verification(options, &verification) {
            Ok(entry) => recorded_in = Some(entry),
            Err(error) => remarks.push(format!("this was not recorded: {error}")),
        }
    }
    Ok(VerifyAnswer { verification, remarks, recorded_in })
}

/// Appends what a verification of the ledger found.
fn record_verification(options: &LedgerOptions, verification: &Verification) -> Result<u64, LedgerError> {
    let (folder, reader) = reader(options)?;
    let levels = verification.levels.iter();
    let findings = levels
        .flat_map(|level| level.findings.iter().map(|finding| format!("level {}: {}", level.number, finding.what)));
    let is_sound = verification.is_sound();
    let projections = integrity::projections_of(&folder, &reader, is_sound)?;
    let (size, root, findings) = (verification.size, verification.root, findings.collect());
    integrity::record(options, Checked { size, root, is_sound, findings, projections: &projections })
}

/// The key that the first entry names.
pub(super) fn first_key(reader: &AnyReader) -> Result<Vec<PublicKey>, LedgerError> {
    if reader.size()? == 0 {
        return Ok(Vec::new());
    }
    let Some(bytes) = reader.entry(0)?.bytes else { return Ok(Vec::new()) };
    match Event::parse(&bytes).ok().and_then(|event| event.payload().ok().flatten()) {
        Some(Payload::LedgerCreated(created)) => Ok(vec![PublicKey::parse(&created.key)?]),
        _ => Ok(Vec::new()),
    }
}

/// Every key that the record names: the first one, and those that it was changed for.
fn named_keys(reader: &AnyReader) -> Result<Vec<PublicKey>, LedgerError> {
    let mut keys = first_key(reader)?;
    for entry in reader.stream("ledger", u64::from(u32::MAX))?.into_iter().filter(|entry| entry.kind == "KeyRotated") {
        let event = entry.bytes.as_deref().and_then(|bytes| Event::parse(bytes).ok());
        if let Some(Payload::KeyRotated(rotated)) = event.and_then(|event| event.payload().ok().flatten()) {
            keys.extend(PublicKey::parse(&rotated.new).ok());
        }
    }
    Ok(keys)
}

/// The proof that an entry is in the ledger, with the entry, as a file that needs nothing but a public key.
///
/// # Errors
///
/// There is no such entry, or nothing signed has it.
pub fn prove(options: &LedgerOptions, name: &str) -> Result<String, LedgerError> {
    let (_, reader) = reader(options)?;
    let index = index_of(&reader, name)?;
    let proof = reader.prove(index)?.ok_or(LedgerError::NotSigned(index))?;
    Ok(InclusionFile { entry: reader.entry(index)?.bytes, ..proof }.to_text())
}

/// The proof that the ledger continues a checkpoint that was held elsewhere.
///
/// # Errors
///
/// The checkpoint is not this ledger's, or the ledger is shorter.
pub fn consistency(options: &LedgerOptions, old: &Path, keys: &[PublicKey]) -> Result<String, LedgerError> {
    let (_, reader) = reader(options)?;
    let mut given = keys.to_vec();
    if given.is_empty() {
        given = first_key(&reader)?;
        // It may be that its entry cannot be read; the signer has the key of today.
        given.extend(open(options)?.keys().iter().filter(|key| !given.contains(key)).cloned().collect::<Vec<_>>());
    }
    let note = read_text(old)?;
    let old = Checkpoint::verify(&note, &keys::led_to(&reader, &given, &note)?)?;
    consistency_from(options, old.size)
}

/// The proof that the ledger continues its own first `size` entries: what a witness asks for that has seen so many.
///
/// # Errors
///
/// The ledger is shorter.
pub fn consistency_from(options: &LedgerOptions, size: u64) -> Result<String, LedgerError> {
    let (_, reader) = reader(options)?;
    Ok(reader.prove_consistency(size)?.ok_or(LedgerError::Shorter(size))?.to_text())
}

/// What a proof shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProofAnswer {
    /// `hwledger.ledger-proof/1`.
    pub schema: &'static str,
    /// The ledger.
    pub origin: String,
    /// Entries of the checkpoint that it refers to.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// The entry's place, of a proof of one.
    pub index: Option<u64>,
    /// Entries of the earlier checkpoint, of a proof of two.
    pub old_size: Option<u64>,
    /// The event that is proved to be there.
    pub event: Option<serde_json::Value>,
}

/// Checks a proof that an entry is in a ledger, from the file and a public key alone. Where its head was signed by a later
/// or an earlier key, `bundle`, an exported record, leads there.
///
/// # Errors
///
/// It shows nothing. Where the ledger of `options` introduces the key that is needed, the error says which.
pub fn verify_proof(
    options: &LedgerOptions,
    path: &Path,
    entry: Option<&Path>,
    keys: &[PublicKey],
    bundle: Option<&Path>,
) -> Result<ProofAnswer, LedgerError> {
    if keys.is_empty() {
        return Err(LedgerError::NoKey);
    }
    let file = InclusionFile::parse(&read_text(path)?)?;
    let keys = keys::for_note(options, keys, bundle, &file.checkpoint)?;
    let entry = match entry {
        Some(path) => read_bounded(path, hwledger_ledger::event::EVENT_BYTES_MAX as u64)?,
        None => file.entry.clone().ok_or(LedgerError::NoEntry)?,
    };
    let head = file.verify(&entry, &keys)?;
    Ok(ProofAnswer {
        schema: "hwledger.ledger-proof/1",
        origin: head.origin,
        size: head.size,
        root: head.root,
        index: Some(file.index),
        old_size: None,
        event: serde_json::from_slice(&entry).ok(),
    })
}

/// Checks a proof that one checkpoint continues another, from the files and a public key alone, or as [`verify_proof`] with
/// an exported record.
///
/// # Errors
///
/// Those of [`verify_proof`].
pub fn verify_consistency(
    options: &LedgerOptions,
    path: &Path,
    old: &Path,
    keys: &[PublicKey],
    bundle: Option<&Path>,
) -> Result<ProofAnswer, LedgerError> {
    if keys.is_empty() {
        return Err(LedgerError::NoKey);
    }
    let (note, file) = (read_text(old)?, ConsistencyFile::parse(&read_text(path)?)?);
    let old = Checkpoint::verify(&note, &keys::for_note(options, keys, bundle, &note)?)?;
    let head = file.verify(&old, &keys::for_note(options, keys, bundle, &file.checkpoint)?)?;
    Ok(ProofAnswer {
        schema: "hwledger.ledger-proof/1",
        origin: head.origin,
        size: head.size,
        root: head.root,
        index: None,
        old_size: Some(old.size),
        event: None,
    })
}

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExportAnswer {
    /// `hwledger.ledger-export/1`.
    pub schema: &'static str,
    /// The ledger.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
    /// The folder.
    pub folder: PathBuf,
}

/// Registers the schemas of the kinds of events that there are, signs what there is and writes the record as plain files.
///
/// # Errors
///
/// There is no ledger, it must not be signed, or the folder cannot be written.
pub fn export(options: &LedgerOptions, folder: &Path) -> Result<ExportAnswer, LedgerError> {
    let ledger = open(options)?;
    if ledger.fault().is_none() {
        schemas::register(&ledger)?;
        ledger.checkpoint()?;
    }
    let reader = ledger.reader()?;
    let mut keys = ledger.keys().to_vec();
    if keys.is_empty() {
        // Another machine signs: its key is one of those that the record names.
        let note = reader.checkpoint(None)?.map(|(_, note)| note).unwrap_or_default();
        keys = named_keys(&reader)?;
        keys.retain(|key| Checkpoint::verify(&note, std::slice::from_ref(key)).is_ok());
    }
    let head = reader.at_one_moment(|reader| bundle::export(reader, &keys, folder))?;
    Ok(ExportAnswer {
        schema: "hwledger.ledger-export/1",
        origin: head.origin,
        size: head.size,
        root: head.root,
        folder: folder.to_owned(),
    })
}

/// What was redacted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RedactAnswer {
    /// `hwledger.ledger-redact/1`.
    pub schema: &'static str,
    /// The name of the key that was deleted; it says nothing about the subject.
    pub key: String,
    /// Whether there was one.
    pub was_there: bool,
    /// The entry that says so.
    pub index: u64,
}

/// The keys of sealed fields, beside the ledger and never in it.
///
/// # Errors
///
/// There is no ledger, or the folder of the keys cannot be used.
pub fn vault(options: &LedgerOptions) -> Result<Vault, LedgerError> {
    let (_, reader) = reader(options)?;
    let places = places(options, &reader.origin()?)?;
    Ok(Vault::open(&vault_folder(&places))?)
}

/// Makes everything unreadable that was sealed under a subject, and records that it was done.
///
/// # Errors
///
/// There is no ledger, or the key cannot be deleted.
pub fn redact(options: &LedgerOptions, subject: &str, reason: &str) -> Result<RedactAnswer, LedgerError> {
    let ledger = open(options)?;
    if ledger.keys().is_empty() && ledger.fault().is_none() {
        return Err(LedgerError::NoSigner(ledger.origin().to_owned()));
    }
    let vault = vault(options)?;
    let key = vault.key_of(subject);
    // Said first: should this stop in between, doing it again does no harm, and a key is never gone without a word.
    let redacted = SubjectRedacted { key: key.clone(), reason: reason.to_owned() };
    let receipt = ledger.append(&Draft::new(SOURCE, SUBJECT, redacted))?;
    let was_there = vault.shred(&key)?;
    Ok(RedactAnswer { schema: "hwledger.ledger-redact/1", key, was_there, index: receipt.index })
}

/// Another key for a ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RotateAnswer {
    /// `hwledger.ledger-rotate/1`.
    pub schema: &'static str,
    /// The new public key.
    pub key: String,
    /// Whether it signs alone now; otherwise both sign.
    pub is_finished: bool,
}

/// Makes another key, which signs beside the old one from now on; or, where that was done before, lets it sign alone.
///
/// # Errors
///
/// There is no ledger, it is read-only, or its signer cannot be written.
pub fn rotate(options: &LedgerOptions, reason: &str, is_finishing: bool) -> Result<RotateAnswer, LedgerError> {
    let mut ledger = open(options)?;
    let key = if is_finishing { ledger.finish_rotation()? } else { ledger.rotate(reason)? };
    Ok(RotateAnswer { schema: "hwledger.ledger-rotate/1", key: key.to_string(), is_finished: is_finishing })
}

/// What does not fit in a ledger's database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FsckAnswer {
    /// `hwledger.ledger-fsck/1`.
    pub schema: &'static str,
    /// Entries.
    pub size: u64,
    /// Why nothing can be appended, where nothing can.
    pub fault: Option<String>,
    /// What does not fit.
    pub findings: Vec<Finding>,
    /// What is derived from the entries and kept beside them: how far each is, and the digest of its state.
    pub projections: Vec<ProjectionAnswer>,
    /// The entry that says what was found, where it was to be recorded.
    pub recorded_in: Option<u64>,
    /// Why it was not recorded, where it was to be.
    pub not_recorded: Option<String>,
}

/// One projection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProjectionAnswer {
    /// Its name.
    pub name: String,
    /// Entries that it has seen.
    pub cursor: u64,
    /// Why it goes no further.
    pub stopped: Option<String>,
    /// Entries whose data it needs, and which had been dropped before it saw them.
    pub lacking: u64,
    /// The digest of its state: the same entries give the same on any machine.
    pub digest: Option<Hash>,
}

/// The projections of a ledger, brought up to date, or made anew from its entries.
pub(super) fn projections(
    projections: &Projections,
    reader: &AnyReader,
    is_repairing: bool,
) -> Result<Vec<ProjectionAnswer>, LedgerError> {
    let statuses = if is_repairing { projections.rebuild(reader)? } else { projections.catch_up(reader)?.projections };
    let answer = |status: Status| ProjectionAnswer {
        digest: projections.digest(&status.name).ok(),
        name: status.name,
        cursor: status.cursor,
        lacking: status.lacking,
        stopped: status.stopped,
    };
    Ok(statuses.into_iter().map(answer).collect())
}

/// Looks for damage in a ledger's database, beyond what [`verify`] checks. Entries are never repaired; what is derived from
/// them is made anew where `is_repairing`, and what was found is recorded where `is_recorded`.
///
/// # Errors
///
/// There is no ledger, or it cannot be read at all.
pub fn fsck(options: &LedgerOptions, is_repairing: bool, is_recorded: bool) -> Result<FsckAnswer, LedgerError> {
    let (folder, reader) = reader(options)?;
    let size = reader.size()?;
    let fault = match open(options) {
        Ok(ledger) => ledger.fault().map(|fault| fault.to_string()),
        Err(error) => Some(error.to_string()),
    };
    let findings = reader.at_one_moment(check::fsck)?;
    // Of a ledger that contradicts itself nothing is derived.
    let projections =
        if findings.is_empty() { projections(&Projections::new(&folder), &reader, is_repairing)? } else { Vec::new() };
    let (mut recorded_in, mut not_recorded) = (None, None);
    if is_recorded {
        let lines = findings.iter().map(|finding| finding.what.clone()).collect();
        let is_sound = findings.is_empty() && fault.is_none();
        let root = reader.root_at(size)?;
        let checked = Checked { size, root, is_sound, findings: lines, projections: &projections };
        match integrity::record(options, checked) {
            Ok(entry) => recorded_in = Some(entry),
            Err(error) => not_recorded = Some(error.to_string()),
        }
    }
    let schema = "hwledger.ledger-fsck/1";
    Ok(FsckAnswer { schema, size, fault, findings, projections, recorded_in, not_recorded })
}
