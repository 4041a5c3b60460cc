//! The right edge of a growing tree: all that appending needs.

use super::tile::{TILE_HASHES, TileName, fold};
use crate::hash::Hash;

/// The incomplete tile of each level. Never holds more than 255 hashes per level, and 8 levels reach 2^64 leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    partial: Vec<Vec<Hash>>,
}

impl Edge {
    /// The edge of a tree of `size` leaves, from what `tile` gives for its incomplete tiles; none where one of them has
    /// another width than such a tree's.
    ///
    /// # Errors
    ///
    /// Those of `tile`.
    pub fn load<E>(size: u64, mut tile: impl FnMut(TileName) -> Result<Vec<Hash>, E>) -> Result<Option<Self>, E> {
        let mut partial = Vec::new();
        let mut hashes = size;
        let mut level = 0;
        while hashes > 0 {
            let width = hashes % TILE_HASHES;
            let name = TileName { level, index: hashes / TILE_HASHES };
            let found = if width == 0 { Vec::new() } else { tile(name)? };
            if found.len() as u64 != width {
                return Ok(None);
            }
            partial.push(found);
            hashes /= TILE_HASHES;
            level += 1;
        }
        Ok(Some(Self { size, partial }))
    }

    /// Leaves so far.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf; `full` gets every tile that it completes.
    pub fn push(&mut self, leaf: Hash, mut full: impl FnMut(TileName, &[Hash])) {
        let mut hash = leaf;
        let mut index = self.size;
        for level in 0_u32.. {
            let position = level as usize;
            if self.partial.len() == position {
                self.partial.push(Vec::new());
            }
            let tile = &mut self.partial[position];
            tile.push(hash);
            if (tile.len() as u64) < TILE_HASHES {
                break;
            }
            index /= TILE_HASHES;
            full(TileName { level, index }, tile);
            hash = fold(tile);
            tile.clear();
        }
        self.size += 1;
    }

    /// The incomplete tiles that hold anything, by name.
    pub fn partial_tiles(&self) -> impl Iterator<Item = (TileName, &[Hash])> {
        let mut hashes = self.size;
        self.partial.iter().zip(0_u32..).filter_map(move |(tile, level)| {
            let index = hashes / TILE_HASHES;
            hashes = index;
            (!tile.is_empty()).then_some((TileName { level, index }, tile.as_slice()))
        })
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        let mut root = None;
        // From the leaves up and from the right: each tile's perfect subtrees stand left of all that is below it.
        for tile in &self.partial {
            let mut end = tile.len();
            while end > 0 {
                let width = 1 << end.trailing_zeros();
                let left = fold(&tile[end - width..end]);
                root = Some(root.map_or(left, |right| Hash::of_node(&left, &right)));
                end -= width;
            }
        }
        root.unwrap_or_else(Hash::of_empty_tree)
    }
}
