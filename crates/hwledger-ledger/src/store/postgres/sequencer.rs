//! The one that gives events their places.

use std::collections::{HashMap, HashSet};

use ::postgres::types::Type;
use ::postgres::{Client, Row, Transaction};

use super::read::{SIZE, number};
use super::{Address, StoreError, in_server};
use crate::hash::Hash;
use crate::merkle::{Edge, TILE_HASHES, TileName, root_of};
use crate::note::PublicKey;
use crate::signer::Signer;
use crate::store::tree::{self, bytes_of, hashes_of};
use crate::verify::rotation;

/// Events that are given places in one transaction at most. With 48 KiB each they take 24 MiB.
pub(super) const BATCH: u64 = 512;

/// What tells every process that events have been given places. It is sent after the commit and not made durable:
/// within, every writer that notifies would wait for the sync of this one.
const TELL: &str = "BEGIN; SET LOCAL synchronous_commit = off; NOTIFY hwledger_placed; COMMIT";

/// A process's turn at giving events their places. It ends when another takes over, which this one finds out when it
/// commits next.
pub struct Sequencer {
    address: Address,
    client: Client,
    epoch: i64,
    edge: Edge,
}

impl std::fmt::Debug for Sequencer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Sequencer")
            .field("epoch", &self.epoch)
            .field("size", &self.edge.size())
            .finish_non_exhaustive()
    }
}

/// An event of the inbox.
struct Waiting {
    key: Vec<u8>,
    content: Vec<u8>,
    leaf: Hash,
    bytes: Vec<u8>,
    kind: String,
    subject: String,
    expected: Option<i64>,
}

impl Waiting {
    fn of(row: &Row) -> Result<Self, ::postgres::Error> {
        let bytes: Vec<u8> = row.try_get(2)?;
        Ok(Self {
            key: row.try_get(0)?,
            content: row.try_get(1)?,
            leaf: Hash::of_leaf(&bytes),
            bytes,
            kind: row.try_get(3)?,
            subject: row.try_get(4)?,
            expected: row.try_get(5)?,
        })
    }
}

/// What a batch comes to, column by column as the server takes it.
#[derive(Default)]
struct Batch<'a> {
    placed: Vec<(&'a Waiting, i64, i64)>,
    refused: Vec<(&'a Waiting, i64, i64)>,
    tiles: Vec<(TileName, Vec<u8>)>,
}

impl Sequencer {
    /// Begins a turn over a connection that holds the sequencer's lock.
    pub(super) fn begin(address: &Address, mut client: Client, holder: &str) -> Result<Self, StoreError> {
        let take = "SELECT take_sequencer($1)";
        let row = in_server(address, client.query_typed_one(take, &[(&holder, Type::TEXT)]))?;
        let epoch = in_server(address, row.try_get(0))?;
        let listen = client.batch_execute("LISTEN hwledger_inbox");
        in_server(address, listen)?;
        let mut sequencer = Self { address: address.clone(), client, epoch, edge: Edge::default() };
        let mut transaction = in_server(address, sequencer.client.transaction())?;
        sequencer.edge = load_edge(address, &mut transaction)?;
        drop(transaction);
        Ok(sequencer)
    }

    /// The number of this turn.
    pub const fn epoch(&self) -> u64 {
        self.epoch.cast_unsigned()
    }

    /// Entries, as of this turn's last transaction.
    pub const fn size(&self) -> u64 {
        self.edge.size()
    }

    pub(super) const fn address(&self) -> &Address {
        &self.address
    }

    /// The connection, to wait for notifications over.
    pub(super) const fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Gives places to what is in the inbox, up to a batch. Returns how many events left it.
    ///
    /// # Errors
    ///
    /// Another sequencer took over, the database contradicts itself, or the server failed. Of the batch nothing was kept,
    /// unless the connection was lost while committing; then it was kept as a whole or not at all.
    pub fn step(&mut self) -> Result<u64, StoreError> {
        let Self { address, client, epoch, edge } = self;
        let mut transaction = in_server(address, client.transaction())?;
        let take = "SELECT key, content, bytes, kind, subject, expected FROM inbox ORDER BY arrival LIMIT $1";
        let rows = in_server(address, transaction.query_typed(take, &[(&BATCH.cast_signed(), Type::INT8)]))?;
        if rows.is_empty() {
            return Ok(0);
        }
        hold(address, &mut transaction, *epoch)?;
        let waiting = in_server(address, rows.iter().map(Waiting::of).collect::<Result<Vec<_>, _>>())?;
        drop(rows);
        // Nobody else should have appended; if so, the tree is read anew and found to fit or not.
        let size = in_server(address, transaction.query_typed_one(SIZE, &[]).and_then(|row| number(&row, 0)))?;
        let mut next = if size == edge.size() { edge.clone() } else { load_edge(address, &mut transaction)? };
        let batch = in_server(address, decide(&mut transaction, &mut next, &waiting))?;
        let keys: Vec<&[u8]> = waiting.iter().map(|event| event.key.as_slice()).collect();
        in_server(address, keep(&mut transaction, &batch, &keys))?;
        in_server(address, transaction.commit())?;
        *edge = next;
        // A notification that is lost is made up for by looking.
        let _ = client.batch_execute(TELL);
        Ok(waiting.len() as u64)
    }

    /// Signs the head of everything that has a place and keeps it; none while another process uses the signer.
    ///
    /// # Errors
    ///
    /// The ledger does not continue what was signed, another sequencer took over, or the server failed.
    pub fn sign(&mut self, signer: &Signer) -> Result<Option<(u64, String)>, StoreError> {
        let Some(lock) = signer.try_lock()? else { return Ok(None) };
        let Self { address, client, epoch, edge } = self;
        let mut transaction = in_server(address, client.transaction())?;
        hold(address, &mut transaction, *epoch)?;
        let size = in_server(address, transaction.query_typed_one(SIZE, &[]).and_then(|row| number(&row, 0)))?;
        if size != edge.size() {
            *edge = load_edge(address, &mut transaction)?;
        }
        let known = "SELECT note FROM checkpoints WHERE size = $1";
        let known = transaction.query_typed_opt(known, &[(&size.cast_signed(), Type::INT8)]);
        if let Some(row) = in_server(address, known)? {
            return Ok(Some((size, in_server(address, row.try_get(0))?)));
        }
        let from = signer.last_signed()?.map_or(0, |last| last.size);
        check_rotations(address, &mut transaction, (from, size), &lock.public())?;
        let root = edge.root();
        let note = lock.sign(size, root, |earlier| root_at(address, &mut transaction, edge, earlier))?;
        let keep = "INSERT INTO checkpoints (size, note) VALUES ($1, $2)";
        let kept = transaction.execute_typed(keep, &[(&size.cast_signed(), Type::INT8), (&note, Type::TEXT)]);
        in_server(address, kept)?;
        in_server(address, transaction.commit())?;
        Ok(Some((size, note)))
    }

    /// Checks that the ledger continues what was signed; `false` while another process uses the signer.
    ///
    /// # Errors
    ///
    /// It does not, or the server failed.
    pub fn check(&mut self, signer: &Signer) -> Result<bool, StoreError> {
        let Some(lock) = signer.try_lock()? else { return Ok(false) };
        let Self { address, client, edge, .. } = self;
        let mut transaction = in_server(address, client.transaction())?;
        lock.check(edge.size(), |earlier| root_at(address, &mut transaction, edge, earlier))?;
        Ok(true)
    }
}

/// Checks that this turn is the current one and keeps it so until the transaction ends: whoever takes over waits for it.
fn hold(address: &Address, transaction: &mut Transaction<'_>, epoch: i64) -> Result<(), StoreError> {
    let row = transaction.query_typed_one("SELECT hold_sequencer($1)", &[(&epoch, Type::INT8)]);
    if in_server(address, row.and_then(|row| row.try_get::<_, Option<bool>>(0)))? == Some(true) {
        return Ok(());
    }
    Err(StoreError::Fenced { epoch: epoch.cast_unsigned() })
}

fn tile_in(transaction: &mut Transaction<'_>, name: TileName) -> Result<Vec<Hash>, ::postgres::Error> {
    let statement = "SELECT hashes FROM tiles WHERE level = $1 AND position = $2";
    let (level, index) = (name.level.cast_signed(), name.index.cast_signed());
    let found = transaction.query_typed_opt(statement, &[(&level, Type::INT4), (&index, Type::INT8)])?;
    found.map_or(Ok(Vec::new()), |row| row.try_get::<_, Vec<u8>>(0).map(|bytes| hashes_of(&bytes)))
}

fn root_at(address: &Address, transaction: &mut Transaction<'_>, edge: &Edge, size: u64) -> Result<Hash, StoreError> {
    if size == edge.size() {
        return Ok(edge.root());
    }
    root_of(size, tree::nodes(|name| in_server(address, tile_in(transaction, name)).map(Some)))
}

/// Checks that entries which change keys, and which no head covers yet, change this signer's: whoever may append could name
/// a key of their own, and the head over it would vouch for it.
fn check_rotations(
    address: &Address,
    transaction: &mut Transaction<'_>,
    (from, to): (u64, u64),
    keys: &[PublicKey],
) -> Result<(), StoreError> {
    let statement = "SELECT position, bytes FROM entries
                     WHERE position >= $1 AND position < $2 AND position('KeyRotated\"'::bytea IN bytes) > 0";
    let range = [(&from.cast_signed() as _, Type::INT8), (&to.cast_signed() as _, Type::INT8)];
    for row in in_server(address, transaction.query_typed(statement, &range))? {
        let index = in_server(address, number(&row, 0))?;
        let bytes: Vec<u8> = in_server(address, row.try_get(1))?;
        let Some([old, new]) = rotation::named(&bytes) else { continue };
        if !keys.contains(&old) || !keys.contains(&new) {
            let what = format!("entry {index} changes the ledger's key for one that its signer does not have");
            return Err(StoreError::Inconsistent(what));
        }
    }
    Ok(())
}

/// The edge of the stored tree, checked against the entries that its last tile stands for.
fn load_edge(address: &Address, transaction: &mut Transaction<'_>) -> Result<Edge, StoreError> {
    let size = in_server(address, transaction.query_typed_one(SIZE, &[]).and_then(|row| number(&row, 0)))?;
    let first = size / TILE_HASHES * TILE_HASHES;
    let last = "SELECT position, bytes FROM entries WHERE position >= $1";
    let rows = transaction.query_typed(last, &[(&first.cast_signed(), Type::INT8)]);
    let read = |row: &Row| Ok((number(row, 0)?, row.try_get::<_, Option<Vec<u8>>>(1)?));
    let entries = in_server(address, rows.and_then(|rows| rows.iter().map(read).collect::<Result<Vec<_>, _>>()))?;
    let mut entries: HashMap<u64, Option<Vec<u8>>> = entries.into_iter().collect();
    let tile = |name| in_server(address, tile_in(transaction, name));
    tree::load_edge(address.database(), size, tile, |position| Ok(entries.remove(&position)))
}

/// Gives places: to events whose key has none yet, that were not refused before, and whose stream is where they expect
/// it. An event that came a second time, or under another's key, just leaves the inbox; whoever waits for it finds what
/// is kept under the key.
fn decide<'a>(
    transaction: &mut Transaction<'_>,
    edge: &mut Edge,
    waiting: &'a [Waiting],
) -> Result<Batch<'a>, ::postgres::Error> {
    let keys: Vec<&[u8]> = waiting.iter().map(|event| event.key.as_slice()).collect();
    let leaves: Vec<&[u8]> = waiting.iter().map(|event| event.leaf.0.as_slice()).collect();
    let known = "SELECT key FROM once WHERE key = ANY ($1) UNION ALL SELECT leaf FROM refused WHERE leaf = ANY ($2)";
    let rows = transaction.query_typed(known, &[(&keys, Type::BYTEA_ARRAY), (&leaves, Type::BYTEA_ARRAY)])?;
    let known = rows.iter().map(|row| row.try_get(0)).collect::<Result<HashSet<Vec<u8>>, _>>()?;
    let subjects: HashSet<&str> = waiting.iter().map(|event| event.subject.as_str()).collect();
    let subjects: Vec<&str> = subjects.into_iter().collect();
    // One look into the index per stream: `max` over a group would read each stream from its beginning.
    let last = "SELECT asked.subject, (SELECT version FROM entries WHERE entries.subject = asked.subject
                    ORDER BY version DESC LIMIT 1)
                FROM unnest($1) AS asked (subject)";
    let mut versions = HashMap::new();
    for row in transaction.query_typed(last, &[(&subjects, Type::TEXT_ARRAY)])? {
        let last: Option<i64> = row.try_get(1)?;
        // The table refuses the same version twice, should there be no higher one.
        versions.insert(row.try_get::<_, String>(0)?, last.map_or(0, |last| last.saturating_add(1)));
    }
    let mut batch = Batch::default();
    for event in waiting {
        if known.contains(&event.key) || known.contains(event.leaf.0.as_slice()) {
            continue;
        }
        let version = versions.entry(event.subject.clone()).or_insert(0);
        if let Some(expected) = event.expected.filter(|expected| expected != version) {
            batch.refused.push((event, expected, *version));
            continue;
        }
        batch.placed.push((event, edge.size().cast_signed(), *version));
        *version = version.saturating_add(1);
        edge.push(event.leaf, |name, hashes| batch.tiles.push((name, bytes_of(hashes))));
    }
    let is_completed = !batch.tiles.is_empty();
    if !batch.placed.is_empty() {
        for (name, hashes) in edge.partial_tiles() {
            // A tile of a higher level only changes when one below is completed.
            if name.level == 0 || is_completed {
                batch.tiles.push((name, bytes_of(hashes)));
            }
        }
    }
    Ok(batch)
}

/// Writes what a batch comes to and clears the inbox of it.
fn keep(transaction: &mut Transaction<'_>, batch: &Batch<'_>, keys: &[&[u8]]) -> Result<(), ::postgres::Error> {
    let placed = &batch.placed;
    if !placed.is_empty() {
        let positions: Vec<i64> = placed.iter().map(|(_, position, _)| *position).collect();
        let versions: Vec<i64> = placed.iter().map(|(_, _, version)| *version).collect();
        let bytes: Vec<&[u8]> = placed.iter().map(|(event, ..)| event.bytes.as_slice()).collect();
        let kinds: Vec<&str> = placed.iter().map(|(event, ..)| event.kind.as_str()).collect();
        let subjects: Vec<&str> = placed.iter().map(|(event, ..)| event.subject.as_str()).collect();
        transaction.execute_typed(
            "INSERT INTO entries (position, bytes, kind, subject, version) SELECT * FROM unnest($1, $2, $3, $4, $5)",
            &[
                (&positions, Type::INT8_ARRAY),
                (&bytes, Type::BYTEA_ARRAY),
                (&kinds, Type::TEXT_ARRAY),
                (&subjects, Type::TEXT_ARRAY),
                (&versions, Type::INT8_ARRAY),
            ],
        )?;
        let own: Vec<&[u8]> = placed.iter().map(|(event, ..)| event.key.as_slice()).collect();
        let contents: Vec<&[u8]> = placed.iter().map(|(event, ..)| event.content.as_slice()).collect();
        let leaves: Vec<&[u8]> = placed.iter().map(|(event, ..)| event.leaf.0.as_slice()).collect();
        transaction.execute_typed(
            "INSERT INTO once (key, content, leaf, position) SELECT * FROM unnest($1, $2, $3, $4)",
            &[
                (&own, Type::BYTEA_ARRAY),
                (&contents, Type::BYTEA_ARRAY),
                (&leaves, Type::BYTEA_ARRAY),
                (&positions, Type::INT8_ARRAY),
            ],
        )?;
        let levels: Vec<i32> = batch.tiles.iter().map(|(name, _)| name.level.cast_signed()).collect();
        let places: Vec<i64> = batch.tiles.iter().map(|(name, _)| name.index.cast_signed()).collect();
        let hashes: Vec<&[u8]> = batch.tiles.iter().map(|(_, hashes)| hashes.as_slice()).collect();
        transaction.query_typed(
            "SELECT keep_tile(level, place, hashes) FROM unnest($1, $2, $3) AS tile (level, place, hashes)",
            &[(&levels, Type::INT4_ARRAY), (&places, Type::INT8_ARRAY), (&hashes, Type::BYTEA_ARRAY)],
        )?;
    }
    if !batch.refused.is_empty() {
        let leaves: Vec<&[u8]> = batch.refused.iter().map(|(event, ..)| event.leaf.0.as_slice()).collect();
        let expected: Vec<i64> = batch.refused.iter().map(|(_, expected, _)| *expected).collect();
        let found: Vec<i64> = batch.refused.iter().map(|(_, _, found)| *found).collect();
        transaction.execute_typed(
            "INSERT INTO refused (leaf, expected, found) SELECT * FROM unnest($1, $2, $3)",
            &[(&leaves, Type::BYTEA_ARRAY), (&expected, Type::INT8_ARRAY), (&found, Type::INT8_ARRAY)],
        )?;
    }
    transaction.query_typed("SELECT settle($1)", &[(&keys, Type::BYTEA_ARRAY)]).map(|_| ())
}
