//! The one Merkle tree of RFC 6962 (the same in RFC 9162): its shape, its proofs and their verification.
//!
//! A tree of `size` leaves is a row of perfect subtrees, the largest first. A perfect subtree of `2^level` leaves is
//! named by its level and its index within the level. Whoever keeps the tree answers for these names
//! ([`Edge`] while appending, tiles afterwards); everything here is arithmetic over them.

mod edge;
mod proof;
#[cfg(test)]
mod tests;
mod tile;

pub use edge::Edge;
pub use proof::{
    PROOF_HASHES_MAX, ProofError, consistency_proof, inclusion_proof, root_of, verify_consistency, verify_inclusion,
};
pub use tile::{TILE_HASHES, TileName, perfect_in_tile, tiles_of};

/// A perfect subtree: leaves `index * 2^level .. (index + 1) * 2^level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Perfect {
    /// Its height; a leaf is of level 0.
    pub level: u32,
    /// Its place among those of its level, from the left.
    pub index: u64,
}

/// The perfect subtrees that leaves `start..end` consist of, from the left, where `start` is a multiple of the largest
/// power of two that fits in (as in every range that a proof asks for).
fn perfect_subtrees(start: u64, end: u64) -> impl Iterator<Item = Perfect> {
    let mut next = start;
    std::iter::from_fn(move || {
        let left = end.checked_sub(next).filter(|left| *left > 0)?;
        let level = left.ilog2();
        debug_assert_eq!(next & ((1 << level) - 1), 0, "a range of {left} leaves starts at {next}");
        let perfect = Perfect { level, index: next >> level };
        next += 1 << level;
        Some(perfect)
    })
}
