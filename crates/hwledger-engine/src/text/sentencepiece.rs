//! `SentencePiece`'s byte-pair encoding: of all neighbours that together are a
//! token, those with the best score become one, the leftmost of equals first.
//!
//! **Source** Kudo and Richardson, "`SentencePiece`" (2018), and the reference
//! implementation's `bpe_model.cc`: the agenda holds pairs in the order of
//! score, then position; a pair whose parts have changed is dropped.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

/// What a text becomes where no token spells it.
const BYTES: usize = 256;

/// The vocabulary of such an encoding.
#[derive(Debug)]
pub(super) struct SentencePiece {
    ids: HashMap<Box<str>, u32>,
    scores: Vec<f32>,
    bytes: Box<[Option<u32>; BYTES]>,
    unknown: Option<u32>,
}

/// One piece of the text: a span, and its neighbours.
#[derive(Clone, Copy)]
struct Symbol {
    start: usize,
    end: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours that may become one.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// Where the right part ended when the pair was found.
    end: usize,
    /// Where the right part started.
    middle: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

impl SentencePiece {
    /// Takes what text may become: token texts by id with their scores; `byte_of` says which tokens are bytes.
    pub(super) fn new(tokens: &[(&str, f32, Option<u8>)], unknown: Option<u32>) -> Self {
        let mut bytes = Box::new([None; BYTES]);
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, &(text, _, byte)) in (0..).zip(tokens) {
            match byte {
                Some(byte) => bytes[usize::from(byte)] = Some(id),
                None if text.is_empty() => {}
                None => drop(ids.insert(text.into(), id)),
            }
        }
        Self { ids, scores: tokens.iter().map(|&(_, score, _)| score).collect(), bytes, unknown }
    }

    /// The tokens of `text`, whose spaces are already written as `▁`.
    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        let mut symbols = split(text);
        let mut agenda = BinaryHeap::new();
        for right in 1..symbols.len() {
            agenda.extend(self.pair(text, &symbols, right - 1, right));
        }
        while let Some(pair) = agenda.pop() {
            let (left, right) = (symbols[pair.left], symbols[pair.right]);
            let is_stale = left.end != pair.middle || right.start != pair.middle || right.end != pair.end;
            if is_stale {
                continue;
            }
            symbols[pair.left].end = right.end;
            symbols[pair.left].next = right.next;
            // An empty span matches no later pair.
            symbols[pair.right].end = right.start;
            if let Some(next) = right.next {
                symbols[next].previous = Some(pair.left);
                agenda.extend(self.pair(text, &symbols, pair.left, next));
            }
            if let Some(previous) = left.previous {
                agenda.extend(self.pair(text, &symbols, previous, pair.left));
            }
        }
        let mut found = Vec::new();
        let mut at = if symbols.is_empty() { None } else { Some(0) };
        while let Some(position) = at {
            let symbol = symbols[position];
            self.write(&text[symbol.start..symbol.end], &mut found);
            at = symbol.next;
        }
        found
    }

    fn pair(&self, text: &str, symbols: &[Symbol], left: usize, right: usize) -> Option<Pair> {
        let (start, middle, end) = (symbols[left].start, symbols[right].start, symbols[right].end);
        let id = *self.ids.get(&text[start..end])?;
        Some(Pair { score: self.scores[id as usize], left, right, end, middle })
    }

    /// A piece as one token, else byte by byte, else as the unknown token.
    fn write(&self, piece: &str, found: &mut Vec<u32>) {
        if let Some(&id) = self.ids.get(piece) {
            found.push(id);
            return;
        }
        let bytes: Option<Vec<u32>> = piece.bytes().map(|byte| self.bytes[usize::from(byte)]).collect();
        match bytes {
            Some(bytes) => found.extend(bytes),
            // Neighbouring unknown characters are one unknown token.
            None if found.last().copied() == self.unknown => {}
            None => found.extend(self.unknown),
        }
    }
}

/// One symbol per character.
fn split(text: &str) -> Vec<Symbol> {
    let mut symbols: Vec<Symbol> = Vec::with_capacity(text.len());
    for (position, (start, character)) in text.char_indices().enumerate() {
        if let Some(last) = symbols.last_mut() {
            last.next = Some(position);
        }
        symbols.push(Symbol {
            start,
            end: start + character.len_utf8(),
            previous: position.checked_sub(1),
            next: None,
        });
    }
    symbols
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[u32]) {
        let mut tokens: Vec<(&str, f32, Option<u8>)> =
            vec![("<unk>", 0.0, None), ("▁", -9.0, None), ("a", -9.0, None), ("b", -9.0, None)];
        tokens.extend([("ab", -2.0, None), ("▁a", -1.0, None), ("aa", -1.5, None), ("▁ab", -3.0, None)]);
        tokens.extend([("<0xC3>", 0.0, Some(0xC3)), ("<0xA9>", 0.0, Some(0xA9))]);
        assert_eq!(SentencePiece::new(&tokens, Some(0)).encode(text), expected, "{text}");
    }

    #[test]
    fn better_scores_merge_first_and_equal_ones_from_the_left() {
        check("", &[]);
        check("ab", &[4]);
        // `▁a` beats `ab`, and then `▁ab` is a token too.
        check("▁ab", &[7]);
        check("aaa", &[6, 2]);
        check("▁aab", &[5, 4]);
    }

    #[test]
    fn what_no_token_spells_is_bytes_or_unknown() {
        check("aé", &[2, 8, 9]);
        check("ZZa", &[0, 2]);
    }
}
