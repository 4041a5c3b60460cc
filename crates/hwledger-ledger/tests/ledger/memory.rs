//! A record held in memory, whose every bit can be turned.

use hwledger_ledger::hash::Hash;
use hwledger_ledger::merkle::{TileName, tiles_of};
use hwledger_ledger::store::StoreError;
use hwledger_ledger::store::sqlite::Reader;
use hwledger_ledger::verify::{Source, TakeEntry};

/// All that a ledger's file protects: the bytes of events, the hashes of the tree, the signed heads.
#[derive(Clone)]
pub(crate) struct Memory {
    pub(crate) entries: Vec<Vec<u8>>,
    pub(crate) tiles: Vec<(TileName, Vec<u8>)>,
    pub(crate) checkpoints: Vec<(u64, Vec<u8>)>,
}

impl Memory {
    pub(crate) fn of(reader: &Reader) -> Self {
        let size = reader.size().unwrap();
        let mut entries = Vec::new();
        reader
            .entries(0, size, |entry| {
                entries.push(entry.bytes.unwrap());
                Ok::<_, StoreError>(true)
            })
            .unwrap();
        let tile = |name| reader.tile(name).unwrap().unwrap().iter().flat_map(|hash| hash.0).collect();
        let tiles = tiles_of(size).map(|(name, _)| (name, tile(name))).collect();
        let checkpoints = reader.checkpoints().unwrap();
        let checkpoints = checkpoints.into_iter().map(|(size, note)| (size, note.into_bytes())).collect();
        Self { entries, tiles, checkpoints }
    }

    /// Every part with what it is.
    pub(crate) fn parts(&mut self) -> Vec<(&'static str, &mut Vec<u8>)> {
        let entries = self.entries.iter_mut().map(|bytes| ("event", bytes));
        let tiles = self.tiles.iter_mut().map(|(_, bytes)| ("hashes", bytes));
        let heads = self.checkpoints.iter_mut().map(|(_, bytes)| ("checkpoint", bytes));
        entries.chain(tiles).chain(heads).collect()
    }
}

impl Source for Memory {
    fn size(&self) -> Result<u64, StoreError> {
        Ok(self.entries.len() as u64)
    }

    fn entries(&self, take: &mut TakeEntry<'_>) -> Result<(), StoreError> {
        (0..).zip(&self.entries).try_for_each(|(index, bytes)| take(index, Some(bytes)))
    }

    fn tile(&self, name: TileName) -> Result<Option<Vec<Hash>>, StoreError> {
        let found = self.tiles.iter().find(|(known, _)| *known == name);
        Ok(found.map(|(_, bytes)| bytes.chunks(32).filter_map(Hash::from_slice).collect()))
    }

    fn checkpoints(&self) -> Result<Vec<(u64, String)>, StoreError> {
        // SQLite hands out whatever bytes a text has; what is not UTF-8 is an error of its own there.
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(self.checkpoints.iter().map(|(size, note)| (*size, text(note))).collect())
    }
}
