//! What any store can say of its tree, given its tiles.

use std::collections::{BTreeMap, btree_map};

use super::StoreError;
use crate::hash::Hash;
use crate::merkle::{Edge, Perfect, TILE_HASHES, TileName, consistency_proof, inclusion_proof, perfect_in_tile};
use crate::proof_file::{ConsistencyFile, InclusionFile};

/// The hashes in a tile's bytes.
pub(super) fn hashes_of(bytes: &[u8]) -> Vec<Hash> {
    bytes.chunks(Hash::BYTES).filter_map(Hash::from_slice).collect()
}

/// A tile's bytes.
pub(super) fn bytes_of(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The hashes of a stored tile, unless they are no whole number of hashes.
pub(super) fn tile_of(name: TileName, bytes: &[u8]) -> Result<Vec<Hash>, StoreError> {
    if bytes.len().is_multiple_of(Hash::BYTES) && bytes.len() as u64 <= TILE_HASHES * Hash::BYTES as u64 {
        return Ok(hashes_of(bytes));
    }
    Err(StoreError::Inconsistent(format!("tile {} of level {} is damaged", name.index, name.level)))
}

/// What answers for the perfect subtrees of one proof or root, from the tiles that they lie in. Many of them lie in the
/// same few tiles, each of which is asked for once.
pub(super) fn nodes(
    mut tile: impl FnMut(TileName) -> Result<Option<Vec<Hash>>, StoreError>,
) -> impl FnMut(Perfect) -> Result<Hash, StoreError> {
    let mut tiles = BTreeMap::new();
    move |perfect| {
        let hashes = match tiles.entry(TileName::of(perfect)) {
            btree_map::Entry::Occupied(known) => known.into_mut(),
            btree_map::Entry::Vacant(place) => {
                let hashes = tile(*place.key())?.unwrap_or_default();
                place.insert(hashes)
            }
        };
        let missing = || StoreError::Inconsistent(format!("the tree has no hash for {perfect:?}"));
        perfect_in_tile(perfect, hashes).ok_or_else(missing)
    }
}

/// The proof that entry `index` of a ledger of `entries` is in it, with its last signed head; none where that does not
/// have it yet.
pub(super) fn prove(
    index: u64,
    entries: u64,
    head: Option<(u64, String)>,
    tile: impl Fn(TileName) -> Result<Option<Vec<Hash>>, StoreError>,
) -> Result<Option<InclusionFile>, StoreError> {
    if index >= entries {
        return Err(StoreError::NoEntry { index, size: entries });
    }
    let Some((size, checkpoint)) = head.filter(|(size, _)| *size > index) else { return Ok(None) };
    let hashes = inclusion_proof(index, size, nodes(tile))?;
    Ok(hashes.map(|hashes| InclusionFile { index, hashes, checkpoint, entry: None }))
}

/// The proof that the ledger of its last signed head begins with `old_size` entries of the same tree; none where that
/// head is shorter.
pub(super) fn prove_consistency(
    old_size: u64,
    head: Option<(u64, String)>,
    tile: impl Fn(TileName) -> Result<Option<Vec<Hash>>, StoreError>,
) -> Result<Option<ConsistencyFile>, StoreError> {
    let Some((size, checkpoint)) = head.filter(|(size, _)| *size >= old_size) else { return Ok(None) };
    let hashes = consistency_proof(old_size, size, nodes(tile))?;
    Ok(hashes.map(|hashes| ConsistencyFile { old_size, hashes, checkpoint }))
}

/// The edge of a stored tree of `size` entries, checked against those that its last tile stands for: `entry` gives the
/// bytes of one, none where they were dropped, and nothing where there is no such entry. `place` is for messages.
pub(super) fn load_edge(
    place: &str,
    size: u64,
    mut tile: impl FnMut(TileName) -> Result<Vec<Hash>, StoreError>,
    mut entry: impl FnMut(u64) -> Result<Option<Option<Vec<u8>>>, StoreError>,
) -> Result<Edge, StoreError> {
    let inconsistent = |what: String| StoreError::Inconsistent(format!("{place}: {what}"));
    let edge = Edge::load(size, &mut tile)?;
    let edge = edge.ok_or_else(|| inconsistent(format!("the tree is not one of {size} entries")))?;
    let Some((TileName { level: 0, index }, hashes)) = edge.partial_tiles().next() else { return Ok(edge) };
    for (position, hash) in (index * TILE_HASHES..).zip(hashes) {
        match entry(position)? {
            None => return Err(inconsistent(format!("entry {position} is missing"))),
            Some(Some(bytes)) if Hash::of_leaf(&bytes) != *hash => {
                return Err(inconsistent(format!("entry {position} is not what its hash says")));
            }
            Some(_) => {}
        }
    }
    Ok(edge)
}
