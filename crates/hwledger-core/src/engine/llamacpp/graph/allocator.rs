//! llama.cpp's graph allocator: how much memory a tape needs at its fullest.

use super::tape::{Kind, Tape, Tensor};
use crate::units::round_up;

/// A stretch of free memory.
#[derive(Clone, Copy, Debug)]
struct FreeBlock {
    offset: u64,
    size: u64,
}

/// One backend's memory: free blocks by address, the last one without end.
#[derive(Clone, Debug)]
struct Arena {
    free: Vec<FreeBlock>,
    alignment: u64,
    /// One past the highest byte ever handed out.
    peak: u64,
}

impl Arena {
    fn new(alignment: u64) -> Self {
        let mut free = Vec::with_capacity(32);
        free.push(FreeBlock { offset: 0, size: u64::MAX });
        Self { free, alignment, peak: 0 }
    }

    /// Best fit among the blocks before the endless one; the later one of equals.
    fn allocate(&mut self, bytes: u64) -> u64 {
        let size = round_up(bytes, self.alignment);
        let last = self.free.len() - 1;
        let mut best = last;
        let mut best_size = u64::MAX;
        for (index, block) in self.free[..last].iter().enumerate() {
            if block.size >= size && block.size <= best_size {
                best = index;
                best_size = block.size;
            }
        }
        let block = &mut self.free[best];
        let offset = block.offset;
        block.offset = block.offset.saturating_add(size);
        if best < last {
            block.size -= size;
            if block.size == 0 {
                self.free.remove(best);
            }
        }
        self.peak = self.peak.max(offset.saturating_add(size));
        offset
    }

    /// Gives a stretch back and joins it with its free neighbours.
    fn release(&mut self, offset: u64, bytes: u64) {
        let size = round_up(bytes, self.alignment);
        if size == 0 {
            return;
        }
        let next = self.free.partition_point(|block| block.offset < offset);
        let joins_before = next > 0 && self.free[next - 1].offset.saturating_add(self.free[next - 1].size) == offset;
        let joins_after = self.free.get(next).is_some_and(|block| offset.saturating_add(size) == block.offset);
        match (joins_before, joins_after) {
            (true, true) => {
                self.free[next - 1].size =
                    self.free[next - 1].size.saturating_add(size).saturating_add(self.free[next].size);
                self.free.remove(next);
            }
            (true, false) => self.free[next - 1].size += size,
            (false, true) => {
                self.free[next].offset = offset;
                self.free[next].size = self.free[next].size.saturating_add(size);
            }
            (false, false) => self.free.insert(next, FreeBlock { offset, size }),
        }
    }
}

/// Whose memory a node's result lies in.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Operations that have still to read it.
    uses: u32,
    /// Whether it holds memory that is to be given back.
    is_owner: bool,
    offset: u64,
}

/// The most memory that `tape` needs at once, per backend.
///
/// Inputs are placed first, in order. Then each operation is placed when it is reached:
/// over a source of the same size that it is the last to read, if its kind allows that,
/// else in the smallest free block that holds it. A source is freed after the last
/// operation that reads it. What nobody reads, and what is kept, is never freed.
///
/// **Source**: `ggml_gallocr_alloc_graph_impl` and `ggml_dyn_tallocr_alloc` of ggml-alloc.c (ggml 0.25).
pub(super) fn peaks(tape: &Tape, alignments: &[u64]) -> Vec<u64> {
    let mut arenas: Vec<Arena> = alignments.iter().map(|&alignment| Arena::new(alignment)).collect();
    let mut places = vec![Place { uses: 0, is_owner: false, offset: 0 }; tape.nodes().len()];
    for (index, node) in tape.nodes().iter().enumerate() {
        if node.kind == Kind::Input {
            let offset = arenas[usize::from(node.backend)].allocate(node.bytes);
            places[index] = Place { uses: 0, is_owner: true, offset };
        }
        for source in tape.sources(node) {
            places[source.node()].uses += 1;
        }
    }
    for (index, node) in tape.nodes().iter().enumerate() {
        let sources = tape.sources(node);
        match node.kind {
            Kind::Input | Kind::Store | Kind::Weight | Kind::Cache => {}
            Kind::InPlace | Kind::Fresh => {
                let heir = (node.kind == Kind::InPlace).then(|| reusable(tape, &places, node.bytes, sources)).flatten();
                let offset = if let Some(parent) = heir {
                    places[parent.node()].is_owner = false;
                    places[parent.node()].offset
                } else {
                    arenas[usize::from(node.backend)].allocate(node.bytes)
                };
                places[index].is_owner = true;
                places[index].offset = offset;
            }
        }
        for source in sources {
            let place = &mut places[source.node()];
            place.uses -= 1;
            if place.uses == 0 && place.is_owner && !tape.nodes()[source.node()].is_kept {
                place.is_owner = false;
                let owner = &tape.nodes()[source.node()];
                arenas[usize::from(owner.backend)].release(place.offset, owner.bytes);
            }
        }
    }
    arenas.into_iter().map(|arena| arena.peak).collect()
}

/// The source whose memory an operation may take over: read here for the last time, whole, of the same size.
fn reusable(tape: &Tape, places: &[Place], bytes: u64, sources: &[Tensor]) -> Option<Tensor> {
    sources.iter().copied().find(|source| {
        let place = places[source.node()];
        let owner = &tape.nodes()[source.node()];
        !source.is_view() && place.uses == 1 && place.is_owner && !owner.is_kept && owner.bytes == bytes
    })
}
