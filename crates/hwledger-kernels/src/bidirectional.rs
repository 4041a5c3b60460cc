//! Attention in which every token of a sequence sees all of it, over the rows of a batch: encoders.
//!
//! Keys and values stay in single precision where projections wrote them; nothing is kept for later. Sums are those
//! of [`crate::attention`], 32 tokens of the sequence at a time from its first on, so that what else is in the batch
//! changes no bit.

use std::cell::RefCell;

use crate::attention::{Out, PageStep, QUERIES_TOGETHER, Scoring, State, add_page, queries_together};
use crate::cache::PAGE_TOKENS;
use crate::instruction_set::InstructionSet;
use crate::pool::Pool;

/// Tokens of one sequence that one chunk takes: enough that the turning of keys is small beside their products.
const TOKENS_TOGETHER: usize = 64;

/// One sequence of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Its first token's row.
    pub row: usize,
    /// How many tokens.
    pub tokens: usize,
}

/// Rows of query heads, then key heads, then value heads.
#[derive(Clone, Copy, Debug)]
pub struct HeadRows<'a> {
    /// `[token][stride]`.
    pub values: &'a [f32],
    /// Numbers of a row.
    pub stride: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of a key, and of a query.
    pub key: usize,
    /// Elements of a value.
    pub value: usize,
}

impl HeadRows<'_> {
    fn query(&self, row: usize, head: usize) -> &[f32] {
        &self.values[row * self.stride + head * self.key..][..self.key]
    }

    /// Copies up to 32 tokens of one key head from row `row` on: keys as `[element][token]`, values as
    /// `[token][element]`, zeros after the last.
    fn copy_page(&self, row: usize, tokens: usize, head: usize, working: &mut Working) {
        let (key, value) = (self.key, self.value);
        let keys_start = (self.heads + head) * key;
        let values_start = (self.heads + self.kv_heads) * key + head * value;
        if tokens < PAGE_TOKENS {
            working.keys.fill(0.0);
            working.values.fill(0.0);
        }
        for token in 0..tokens {
            let row = &self.values[(row + token) * self.stride..][..self.stride];
            for (element, &number) in row[keys_start..keys_start + key].iter().enumerate() {
                working.keys[element * PAGE_TOKENS + token] = number;
            }
            working.values[token * value..][..value].copy_from_slice(&row[values_start..values_start + value]);
        }
    }
}

/// Some tokens of one sequence, with one key head.
struct Task {
    sequence: Sequence,
    first: usize,
    tokens: usize,
    head: usize,
}

/// One thread's working memory.
struct Working {
    keys: Vec<f32>,
    values: Vec<f32>,
    states: Vec<State>,
    sums: Vec<f32>,
}

thread_local! {
    static WORKING: RefCell<Working> = const {
        RefCell::new(Working { keys: Vec::new(), values: Vec::new(), states: Vec::new(), sums: Vec::new() })
    };
}

/// Attends with every token of the sequences to all tokens of its own. `out` has `heads x value` numbers per row.
///
/// # Panics
///
/// If rows are missing or shorter than their heads, or query heads do not share key heads evenly.
pub fn attend(
    sequences: &[Sequence],
    rows: &HeadRows<'_>,
    scale: f32,
    out: &mut [f32],
    pool: &Pool,
    set: InstructionSet,
) {
    let width = rows.heads * rows.value;
    assert!(rows.heads.is_multiple_of(rows.kv_heads), "query heads share key heads evenly");
    assert!(rows.stride >= (rows.heads + rows.kv_heads) * rows.key + rows.kv_heads * rows.value, "rows hold all heads");
    let mut tasks = Vec::new();
    for &sequence in sequences {
        let end = sequence.row + sequence.tokens;
        assert!(end * width <= out.len() && end * rows.stride <= rows.values.len(), "every token has its rows");
        for first in (0..sequence.tokens).step_by(TOKENS_TOGETHER) {
            let tokens = TOKENS_TOGETHER.min(sequence.tokens - first);
            tasks.extend((0..rows.kv_heads).map(|head| Task { sequence, first, tokens, head }));
        }
    }
    let out = Out(out.as_mut_ptr());
    let (out, tasks) = (&out, &*tasks);
    let scoring = Scoring { scale, window: None, cap: None, sinks: None };
    pool.run(tasks.len(), &|index| {
        WORKING.with_borrow_mut(|working| run(&tasks[index], rows, &scoring, out, working, set));
    });
}

fn run(task: &Task, rows: &HeadRows<'_>, scoring: &Scoring<'_>, out: &Out, working: &mut Working, set: InstructionSet) {
    let (group, value, width) = (rows.heads / rows.kv_heads, rows.value, rows.heads * rows.value);
    let (count, last) = (task.tokens * group, task.sequence.tokens - 1);
    working.keys.resize(rows.key * PAGE_TOKENS, 0.0);
    working.values.resize(value * PAGE_TOKENS, 0.0);
    working.sums.clear();
    working.sums.resize(count * value, 0.0);
    working.states.clear();
    working.states.resize(count, State::EMPTY);
    let place = |query: usize| (task.sequence.row + task.first + query / group, task.head * group + query % group);
    let queries: Vec<&[f32]> = (0..count)
        .map(|query| {
            let (row, head) = place(query);
            rows.query(row, head)
        })
        .collect();
    for first in (0..task.sequence.tokens).step_by(PAGE_TOKENS) {
        let tokens = PAGE_TOKENS.min(task.sequence.tokens - first);
        rows.copy_page(task.sequence.row + first, tokens, task.head, working);
        let Working { keys, values, states, sums } = &mut *working;
        let together = queries_together(set);
        let parts = queries.chunks(together).zip(states.chunks_mut(together));
        for ((queries, states), sums) in parts.zip(sums.chunks_mut(together * value)) {
            let positions = [last; QUERIES_TOGETHER];
            add_page(set, &PageStep { queries, keys, values, value, scoring, first, positions }, states, sums);
        }
    }
    for (query, sums) in working.sums.chunks_exact(value).enumerate() {
        let (row, head) = place(query);
        // SAFETY: the row and head are within the output and this task's alone.
        #[expect(unsafe_code, reason = "threads write different heads of the same rows")]
        let target = unsafe { std::slice::from_raw_parts_mut(out.0.add(row * width + head * value), value) };
        for (target, sum) in target.iter_mut().zip(sums) {
            *target = *sum / working.states[query].total;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::product::tests::Noise;

    /// Single-precision sums against double precision.
    const TOLERANCE: f64 = 2e-6;

    const HEADS: usize = 4;
    const KV_HEADS: usize = 2;
    const KEY: usize = 48;
    const VALUE: usize = 40;
    const STRIDE: usize = (HEADS + KV_HEADS) * KEY + KV_HEADS * VALUE + 3;

    fn outputs(sequences: &[Sequence], values: &[f32], threads: usize, set: InstructionSet) -> Vec<f32> {
        let rows = HeadRows { values, stride: STRIDE, heads: HEADS, kv_heads: KV_HEADS, key: KEY, value: VALUE };
        let mut out = vec![0.0; values.len() / STRIDE * HEADS * VALUE];
        attend(sequences, &rows, 0.3, &mut out, &Pool::new(threads).unwrap(), set);
        out
    }

    fn expected(rows: &[f32]) -> Vec<f64> {
        let tokens = rows.len() / STRIDE;
        let mut out = Vec::new();
        for (token, head) in (0..tokens).flat_map(|token| (0..HEADS).map(move |head| (token, head))) {
            let kv = head / (HEADS / KV_HEADS);
            let query = &rows[token * STRIDE + head * KEY..][..KEY];
            let weights: Vec<f64> = (0..tokens)
                .map(|at| {
                    let key = &rows[at * STRIDE + (HEADS + kv) * KEY..][..KEY];
                    let dot: f64 = query.iter().zip(key).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                    (dot * f64::from(0.3_f32)).exp()
                })
                .collect();
            let total: f64 = weights.iter().sum();
            for element in 0..VALUE {
                let place = (HEADS + KV_HEADS) * KEY + kv * VALUE + element;
                let terms =
                    weights.iter().enumerate().map(|(at, weight)| weight * f64::from(rows[at * STRIDE + place]));
                out.push(terms.sum::<f64>() / total);
            }
        }
        out
    }

    #[test]
    fn every_token_sees_its_sequence_and_no_other() {
        let lengths = [1, 31, 32, 33, 64, 65, 130];
        let mut noise = Noise(5);
        let values: Vec<f32> = (0..lengths.iter().sum::<usize>() * STRIDE).map(|_| noise.value()).collect();
        let mut row = 0;
        let sequences = lengths.map(|tokens| {
            row += tokens;
            Sequence { row: row - tokens, tokens }
        });
        let all = outputs(&sequences, &values, 2, InstructionSet::detect());
        for Sequence { row, tokens } in sequences {
            let rows = &values[row * STRIDE..(row + tokens) * STRIDE];
            let found = &all[row * HEADS * VALUE..(row + tokens) * HEADS * VALUE];
            for (found, expected) in found.iter().zip(expected(rows)) {
                assert!((f64::from(*found) - expected).abs() < TOLERANCE, "{found} {expected}");
            }
            let alone = outputs(&[Sequence { row: 0, tokens }], rows, 1, InstructionSet::detect());
            assert!(alone == found, "{tokens} tokens alone give the same bits");
        }
        for set in InstructionSet::available() {
            assert!(outputs(&sequences, &values, 1, set) == all, "{} gives the same bits", set.name());
        }
    }

    #[test]
    fn a_value_that_is_no_number_is_not_hidden() {
        let mut noise = Noise(6);
        let mut values: Vec<f32> = (0..40 * STRIDE).map(|_| noise.value()).collect();
        values[7 * STRIDE + HEADS * KEY] = f32::NAN;
        let found = outputs(&[Sequence { row: 0, tokens: 40 }], &values, 1, InstructionSet::detect());
        // The heads that share the first key head.
        let shared = HEADS / KV_HEADS * VALUE;
        assert!(found.chunks_exact(HEADS * VALUE).all(|row| row[..shared].iter().all(|value| value.is_nan())));
        assert!(found.chunks_exact(HEADS * VALUE).all(|row| row[shared..].iter().all(|value| value.is_finite())));
    }
}
