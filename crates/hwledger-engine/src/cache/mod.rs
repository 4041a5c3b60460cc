//! The paged cache: who owns which page, and what is written where.
//!
//! Pages are taken as sequences grow, shared by reference counts, and copied when a sequence writes to the
//! last, partly filled page of another.

use std::collections::HashMap;

use hwledger_kernels::Pool;
use hwledger_kernels::cache::{PAGE_TOKENS, PageShape, Pages, Place, Rows};

use crate::error::RunError;

/// A sequence in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(u64);

/// What the cache keeps of one sequence.
#[derive(Clone, Debug, Default)]
struct Sequence {
    pages: Vec<u32>,
    tokens: usize,
}

/// The cache of one model.
#[derive(Debug)]
pub struct Cache {
    pages: Pages,
    /// References to each page that exists.
    references: Vec<u32>,
    free: Vec<u32>,
    pages_max: usize,
    sequences: HashMap<SequenceId, Sequence>,
    next: u64,
}

impl Cache {
    /// An empty cache of at most `pages_max` pages.
    pub fn new(shape: PageShape, pages_max: usize) -> Self {
        Self {
            pages: Pages::new(shape),
            references: Vec::new(),
            free: Vec::new(),
            pages_max,
            sequences: HashMap::new(),
            next: 0,
        }
    }

    /// Bytes taken from the system for pages.
    pub fn bytes(&self) -> usize {
        self.pages.bytes()
    }

    /// Bytes of one page.
    pub fn page_bytes(&self) -> usize {
        self.pages.shape().bytes()
    }

    /// Pages in use.
    pub fn pages_used(&self) -> usize {
        self.references.len() - self.free.len()
    }

    /// The most pages that there may be.
    pub const fn pages_max(&self) -> usize {
        self.pages_max
    }

    /// Pages that can still be taken.
    pub fn pages_free(&self) -> usize {
        self.pages_max - self.pages_used()
    }

    /// Sequences in the cache.
    pub fn sequences(&self) -> usize {
        self.sequences.len()
    }

    /// A new, empty sequence.
    pub fn create(&mut self) -> SequenceId {
        let id = SequenceId(self.next);
        self.next += 1;
        self.sequences.insert(id, Sequence::default());
        id
    }

    /// A sequence that starts with all that another has; the pages are shared.
    pub fn fork(&mut self, from: SequenceId) -> SequenceId {
        let sequence = self.sequences.get(&from).cloned().unwrap_or_default();
        for &page in &sequence.pages {
            self.references[page as usize] += 1;
        }
        let id = self.create();
        self.sequences.insert(id, sequence);
        id
    }

    /// Forgets a sequence; pages that no other has are free again.
    pub fn remove(&mut self, id: SequenceId) {
        if let Some(sequence) = self.sequences.remove(&id) {
            self.release(&sequence.pages);
        }
    }

    fn release(&mut self, pages: &[u32]) {
        for &page in pages {
            let references = &mut self.references[page as usize];
            *references -= 1;
            if *references == 0 {
                self.free.push(page);
            }
        }
    }

    /// Tokens of a sequence.
    pub fn tokens(&self, id: SequenceId) -> usize {
        self.sequences.get(&id).map_or(0, |sequence| sequence.tokens)
    }

    /// Forgets the tokens of a sequence past the first `tokens`.
    pub fn truncate(&mut self, id: SequenceId, tokens: usize) {
        let Some(sequence) = self.sequences.get_mut(&id) else { return };
        if tokens < sequence.tokens {
            sequence.tokens = tokens;
            let dropped = sequence.pages.split_off(tokens.div_ceil(PAGE_TOKENS));
            self.release(&dropped);
        }
    }

    /// Pages that `more` tokens of a sequence would take anew.
    pub fn pages_for(&self, id: SequenceId, more: usize) -> usize {
        let Some(sequence) = self.sequences.get(&id) else { return more.div_ceil(PAGE_TOKENS) };
        let needed = (sequence.tokens + more).div_ceil(PAGE_TOKENS).saturating_sub(sequence.pages.len());
        needed + usize::from(more > 0 && self.must_copy(sequence))
    }

    /// Whether the next token would go to a page that another sequence reads.
    fn must_copy(&self, sequence: &Sequence) -> bool {
        !sequence.tokens.is_multiple_of(PAGE_TOKENS)
            && sequence.pages.last().is_some_and(|&page| self.references[page as usize] > 1)
    }

    /// Makes room for `more` tokens of a sequence and says where they go. Nothing is changed on failure.
    pub fn extend(&mut self, id: SequenceId, more: usize) -> Result<Vec<Place>, RunError> {
        let needed = self.pages_for(id, more);
        let free = self.pages_free();
        if needed > free {
            return Err(RunError::Cache { needed, free, pages: self.pages_max });
        }
        let fresh = self.take(needed)?;
        let mut fresh = fresh.into_iter();
        let must_copy = self.sequences.get(&id).is_some_and(|sequence| more > 0 && self.must_copy(sequence));
        let sequence = self.sequences.entry(id).or_default();
        let copied = if must_copy { sequence.pages.pop().zip(fresh.next()) } else { None };
        sequence.pages.extend(copied.map(|(_, to)| to));
        sequence.pages.extend(fresh);
        let first = sequence.tokens;
        sequence.tokens += more;
        let places = (first..first + more)
            .map(|token| Place { page: sequence.pages[token / PAGE_TOKENS], slot: token % PAGE_TOKENS })
            .collect();
        if let Some((from, to)) = copied {
            self.pages.copy(from, to);
            self.release(&[from]);
        }
        Ok(places)
    }

    /// Takes pages that the caller knows to be free.
    fn take(&mut self, count: usize) -> Result<Vec<u32>, RunError> {
        let from_free = count.min(self.free.len());
        let fresh = count - from_free;
        let total = self.references.len() + fresh;
        self.pages.grow(total).map_err(|source| RunError::Memory { what: "pages of the cache", source })?;
        let mut taken = self.free.split_off(self.free.len() - from_free);
        for _ in 0..fresh {
            taken.push(u32::try_from(self.references.len()).unwrap_or(u32::MAX));
            self.references.push(0);
        }
        for &page in &taken {
            self.references[page as usize] = 1;
        }
        Ok(taken)
    }

    /// The pages of a sequence in order.
    pub(crate) fn pages_of(&self, id: SequenceId) -> &[u32] {
        self.sequences.get(&id).map_or(&[], |sequence| &sequence.pages)
    }

    /// The memory of the pages.
    pub(crate) const fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Writes a batch's keys and values of one layer.
    pub(crate) fn write(&mut self, layer: usize, places: &[Place], rows: &Rows<'_>, pool: &Pool) {
        self.pages.write(layer, places, rows, pool);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hwledger_kernels::cache::{CacheFormat, LayerShape};

    fn cache(pages: usize) -> Cache {
        let layer = LayerShape { heads: 1, key: 32, value: 32 };
        Cache::new(PageShape::new(CacheFormat::F16, vec![layer]), pages)
    }

    #[test]
    fn pages_are_taken_as_tokens_come_and_given_back() {
        let mut cache = cache(3);
        let id = cache.create();
        assert_eq!(cache.extend(id, 1).unwrap().len(), 1);
        assert_eq!(cache.pages_used(), 1);
        cache.extend(id, 31).unwrap();
        assert_eq!(cache.pages_used(), 1);
        cache.extend(id, 33).unwrap();
        assert_eq!((cache.pages_used(), cache.tokens(id)), (3, 65));
        let error = cache.extend(id, 32).unwrap_err();
        assert_eq!(error.to_string(), "the cache has no room: 1 more pages are needed, 0 are free of 3");
        assert_eq!(cache.tokens(id), 65);
        cache.truncate(id, 32);
        assert_eq!((cache.pages_used(), cache.tokens(id)), (1, 32));
        cache.remove(id);
        assert_eq!((cache.pages_used(), cache.sequences()), (0, 0));
    }

    #[test]
    fn a_shared_partial_page_is_copied_when_written() {
        let mut cache = cache(4);
        let first = cache.create();
        cache.extend(first, 40).unwrap();
        let second = cache.fork(first);
        assert_eq!(cache.pages_used(), 2);
        assert_eq!(cache.pages_for(second, 1), 1);
        cache.extend(second, 1).unwrap();
        assert_eq!(cache.pages_used(), 3);
        assert_eq!(cache.pages_of(first)[0], cache.pages_of(second)[0]);
        assert_ne!(cache.pages_of(first)[1], cache.pages_of(second)[1]);
        // The page is its own again: no copy for the first.
        assert_eq!(cache.pages_for(first, 1), 0);
        cache.remove(first);
        assert_eq!(cache.pages_used(), 2);
    }
}
