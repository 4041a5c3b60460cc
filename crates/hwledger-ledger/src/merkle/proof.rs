//! Proofs that an entry is in a tree, and that one tree is the beginning of another.

use super::{Perfect, perfect_subtrees};
use crate::hash::Hash;

/// Hashes that a proof can have: one per level of a tree with 2^63 leaves, and one more for consistency.
pub const PROOF_HASHES_MAX: usize = 64;

/// Why a proof does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The tree has no such entry.
    #[error("entry {index} is not in a tree of {size}")]
    OutOfRange {
        /// The entry.
        index: u64,
        /// Leaves of the tree.
        size: u64,
    },
    /// The later tree is smaller.
    #[error("a tree of {new} entries cannot continue one of {old}")]
    Shrunk {
        /// Leaves of the earlier tree.
        old: u64,
        /// Leaves of the later tree.
        new: u64,
    },
    /// Too few or too many hashes for a tree of this shape.
    #[error("the proof has {found} hashes where a tree of this size needs {needed}")]
    Length {
        /// Hashes of the proof.
        found: usize,
        /// Hashes that it must have.
        needed: usize,
    },
    /// The hashes lead to another root.
    #[error("the proof leads to another root than the one given")]
    Root,
}

/// The root over leaves `start..end`, with `node` answering for perfect subtrees.
fn range_root<E>(start: u64, end: u64, node: &mut impl FnMut(Perfect) -> Result<Hash, E>) -> Result<Hash, E> {
    let perfect: Vec<Perfect> = perfect_subtrees(start, end).collect();
    let mut root = None;
    for subtree in perfect.into_iter().rev() {
        let left = node(subtree)?;
        root = Some(root.map_or(left, |right| Hash::of_node(&left, &right)));
    }
    Ok(root.unwrap_or_else(Hash::of_empty_tree))
}

/// The root of a tree of `size` leaves, with `node` answering for perfect subtrees.
///
/// # Errors
///
/// Those of `node`.
pub fn root_of<E>(size: u64, mut node: impl FnMut(Perfect) -> Result<Hash, E>) -> Result<Hash, E> {
    range_root(0, size, &mut node)
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The hashes that lead from leaf `index` to the root of a tree of `size` leaves, the leaf's sibling first; none where
/// the tree has no such leaf.
///
/// # Errors
///
/// Those of `node`, which answers for perfect subtrees.
pub fn inclusion_proof<E>(
    index: u64,
    size: u64,
    mut node: impl FnMut(Perfect) -> Result<Hash, E>,
) -> Result<Option<Vec<Hash>>, E> {
    if index >= size {
        return Ok(None);
    }
    let (mut start, mut end) = (0, size);
    let mut siblings = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            siblings.push((middle, end));
            end = middle;
        } else {
            siblings.push((start, middle));
            start = middle;
        }
    }
    siblings.into_iter().rev().map(|(start, end)| range_root(start, end, &mut node)).collect::<Result<_, E>>().map(Some)
}

/// The hashes that show a tree of `old` leaves to be the beginning of one of `new`; none where `old` is larger. Nothing
/// needs to be shown where `old` is 0 or the same.
///
/// # Errors
///
/// Those of `node`, which answers for perfect subtrees.
pub fn consistency_proof<E>(
    old: u64,
    new: u64,
    mut node: impl FnMut(Perfect) -> Result<Hash, E>,
) -> Result<Option<Vec<Hash>>, E> {
    if old > new {
        return Ok(None);
    }
    if old == 0 || old == new {
        return Ok(Some(Vec::new()));
    }
    // RFC 6962, section 2.1.2: walk to where the old tree ends; a subtree that ends there exactly is shown itself, unless
    // it is the whole old tree, which the verifier has.
    let (mut start, mut end) = (0, new);
    let mut hashes = Vec::new();
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            hashes.push((middle, end));
            end = middle;
        } else {
            hashes.push((start, middle));
            start = middle;
        }
    }
    if start != 0 {
        hashes.push((start, end));
    }
    hashes.into_iter().rev().map(|(start, end)| range_root(start, end, &mut node)).collect::<Result<_, E>>().map(Some)
}

/// Checks that `leaf` is entry `index` of the tree of `size` leaves with this `root`.
///
/// # Errors
///
/// It is not, or the proof does not show it.
pub fn verify_inclusion(leaf: Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutOfRange { index, size });
    }
    // The path of the leaf and that of the last leaf part at `inner` levels; above, only levels where the path turns
    // right have a sibling.
    let inner = u64::BITS - (index ^ (size - 1)).leading_zeros();
    let needed = (inner + index.checked_shr(inner).unwrap_or(0).count_ones()) as usize;
    if proof.len() != needed {
        return Err(ProofError::Length { found: proof.len(), needed });
    }
    let mut hash = leaf;
    for (level, sibling) in (0..).zip(proof) {
        let is_right = level >= inner || (index >> level) & 1 == 1;
        hash = if is_right { Hash::of_node(sibling, &hash) } else { Hash::of_node(&hash, sibling) };
    }
    if hash == *root { Ok(()) } else { Err(ProofError::Root) }
}

/// Checks that the tree of `old` leaves with `old_root` is the beginning of that of `new` leaves with `new_root`
/// (RFC 9162, section 2.1.4.2).
///
/// # Errors
///
/// It is not, or the proof does not show it.
pub fn verify_consistency(
    old: u64,
    new: u64,
    old_root: &Hash,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old > new {
        return Err(ProofError::Shrunk { old, new });
    }
    if old == new || old == 0 {
        if !proof.is_empty() {
            return Err(ProofError::Length { found: proof.len(), needed: 0 });
        }
        let is_right = if old == 0 { *old_root == Hash::of_empty_tree() } else { old_root == new_root };
        // Every tree continues the empty one, but the empty new tree has one root only.
        let is_right = is_right && (new != 0 || *new_root == Hash::of_empty_tree());
        return if is_right { Ok(()) } else { Err(ProofError::Root) };
    }
    let needed = consistency_hashes(old, new);
    if proof.len() != needed {
        return Err(ProofError::Length { found: proof.len(), needed });
    }
    // A perfect old tree is not repeated in the proof.
    let mut rest = proof.iter();
    let first = if old.is_power_of_two() { *old_root } else { *rest.next().ok_or(ProofError::Root)? };
    let shift = (old - 1).trailing_ones();
    let (mut left, mut right) = ((old - 1) >> shift, (new - 1) >> shift);
    let (mut from_old, mut from_new) = (first, first);
    for hash in rest {
        if left & 1 == 1 || left == right {
            from_old = Hash::of_node(hash, &from_old);
            from_new = Hash::of_node(hash, &from_new);
            while left & 1 == 0 && left != 0 {
                left >>= 1;
                right >>= 1;
            }
        } else {
            from_new = Hash::of_node(&from_new, hash);
        }
        left >>= 1;
        right >>= 1;
    }
    if from_old == *old_root && from_new == *new_root { Ok(()) } else { Err(ProofError::Root) }
}

/// Hashes of the proof that a tree of `old` leaves begins one of `new`, both above 0 and not the same.
fn consistency_hashes(old: u64, new: u64) -> usize {
    let (mut start, mut end, mut count) = (0, new, 0);
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            end = middle;
        } else {
            start = middle;
        }
        count += 1;
    }
    count + usize::from(start != 0)
}
