//! The tree cut into tiles of 256 hashes (C2SP tlog-tiles): how it is kept, and how it is published.

use std::fmt::Write as _;

use super::Perfect;
use crate::hash::Hash;

/// Hashes of a full tile.
pub const TILE_HASHES: u64 = 256;

/// Levels of the tree that one tile spans.
const TILE_LEVELS: u32 = 8;

/// Names a tile. Its first hash is the perfect subtree of level `8 * level` and index `256 * index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileName {
    /// The level of tiles: 0 holds leaf hashes.
    pub level: u32,
    /// The place among tiles of that level.
    pub index: u64,
}

impl TileName {
    /// The tile that a perfect subtree lies in.
    pub const fn of(perfect: Perfect) -> Self {
        let level = perfect.level / TILE_LEVELS;
        Self { level, index: (perfect.index << (perfect.level % TILE_LEVELS)) / TILE_HASHES }
    }

    /// Where a tile of `width` hashes is published: `tile/0/x001/x234/067.p/17`.
    pub fn path(self, width: u64) -> String {
        format!("tile/{}/{}", self.level, indexed(self.index, width))
    }

    /// Where the entries below a tile of level 0 are published.
    pub fn entries_path(self, width: u64) -> String {
        format!("tile/entries/{}", indexed(self.index, width))
    }
}

/// `1234067` of full width is `x001/x234/067`; partial ones end in `.p/<width>`.
fn indexed(index: u64, width: u64) -> String {
    let mut groups = vec![index % 1000];
    let mut rest = index / 1000;
    while rest > 0 {
        groups.push(rest % 1000);
        rest /= 1000;
    }
    let mut path = String::new();
    for (position, group) in groups.iter().enumerate().rev() {
        let mark = if position == 0 { "" } else { "x" };
        let slash = if position == 0 { "" } else { "/" };
        write!(path, "{mark}{group:03}{slash}").expect("a string takes what is written");
    }
    if width < TILE_HASHES {
        write!(path, ".p/{width}").expect("a string takes what is written");
    }
    path
}

/// The hash of a perfect subtree that lies in the tile with these hashes; none where they do not reach that far.
pub fn perfect_in_tile(perfect: Perfect, hashes: &[Hash]) -> Option<Hash> {
    let row = perfect.level % TILE_LEVELS;
    let first = usize::try_from((perfect.index << row) % TILE_HASHES).ok()?;
    let covered = hashes.get(first..first + (1 << row))?;
    Some(fold(covered))
}

/// The root over a number of hashes that is a power of two.
pub(super) fn fold(hashes: &[Hash]) -> Hash {
    if let [one] = hashes {
        return *one;
    }
    let (left, right) = hashes.split_at(hashes.len() / 2);
    Hash::of_node(&fold(left), &fold(right))
}

/// Every tile of a tree of `size` leaves with its width, level by level from the leaves up.
pub fn tiles_of(size: u64) -> impl Iterator<Item = (TileName, u64)> {
    let mut hashes = size;
    let mut level = 0;
    std::iter::from_fn(move || {
        (hashes > 0).then(|| {
            let (count, this) = (hashes, level);
            hashes /= TILE_HASHES;
            level += 1;
            (0..count.div_ceil(TILE_HASHES))
                .map(move |index| (TileName { level: this, index }, (count - index * TILE_HASHES).min(TILE_HASHES)))
        })
    })
    .flatten()
}
