//! Attention of a batch of tokens over the pages of their sequences, by online softmax.
//!
//! The formula is that of Vaswani et al. 2017, computed page by page with a running maximum and sum
//! (Milakov and Gimelshein 2018), so that no row of scores is ever stored.

use std::cell::RefCell;

use crate::cache::{PAGE_TOKENS, Pages, Scratch};
use crate::elementwise::{LANES, exp, for_every_set, total};
use crate::instruction_set::InstructionSet;
use crate::pool::Pool;

/// Queries of one key head that are taken side by side, at most.
pub(crate) const QUERIES_TOGETHER: usize = 4;

/// The same with these instructions: the sixteen registers of AVX2 hold the scores of two queries and a page.
pub(crate) const fn queries_together(set: InstructionSet) -> usize {
    match set {
        InstructionSet::Avx2 | InstructionSet::AvxVnni => 2,
        _ => QUERIES_TOGETHER,
    }
}

/// Tokens of one sequence that one chunk takes over the same pages.
const TOKENS_TOGETHER: usize = 16;
/// Query heads of one key head that one chunk takes: where all share one key head (latent attention), threads still
/// have something to share, and sums stay in the second cache.
const HEADS_TOGETHER: usize = 8;

/// How scores become weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scoring<'a> {
    /// Factor of the products of queries and keys.
    pub scale: f32,
    /// Tokens that a token sees, itself included; none for all before it.
    pub window: Option<usize>,
    /// Scores become `cap x tanh(score / cap)` (Gemma 2).
    pub cap: Option<f32>,
    /// One logit per query head that takes part in the softmax and has no value (gpt-oss).
    pub sinks: Option<&'a [f32]>,
}

/// A run of consecutive tokens of one sequence within the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run<'a> {
    /// Its first token's row in the batch.
    pub row: usize,
    /// How many tokens.
    pub tokens: usize,
    /// Position of the first token in its sequence.
    pub position: usize,
    /// The sequence's pages in order.
    pub pages: &'a [u32],
}

/// Queries and outputs of a batch.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Rows of queries, all heads one after the other from the row's start.
    pub queries: &'a [f32],
    /// Numbers of a row of queries.
    pub query_stride: usize,
    /// Query heads.
    pub heads: usize,
    /// Elements of an output head.
    pub value: usize,
    /// Rows of outputs, `heads x value` numbers each.
    pub out: &'a mut [f32],
}

pub(crate) struct Out(pub(crate) *mut f32);
#[expect(unsafe_code, reason = "threads write different heads of the same rows")]
// SAFETY: it only carries the address; each chunk writes its own tokens' own heads.
unsafe impl Sync for Out {}

struct Task {
    run: usize,
    first: usize,
    tokens: usize,
    /// The key head.
    head: usize,
    /// The first of its query heads, of all.
    query_head: usize,
    query_heads: usize,
}

/// One thread's working memory.
struct Working {
    page: Scratch,
    states: Vec<State>,
    sums: Vec<f32>,
}

/// The running softmax of one query.
#[derive(Clone, Copy)]
pub(crate) struct State {
    maximum: f32,
    pub(crate) total: f32,
}

impl State {
    /// Of a query that has seen nothing.
    pub(crate) const EMPTY: Self = Self { maximum: f32::NEG_INFINITY, total: 0.0 };
}

thread_local! {
    static WORKING: RefCell<Working> = const {
        RefCell::new(Working {
            page: Scratch { keys: Vec::new(), values: Vec::new() },
            states: Vec::new(),
            sums: Vec::new(),
        })
    };
}

/// Attends with every token of the runs, whose keys and values are written already.
///
/// # Panics
///
/// If rows or pages are missing.
pub fn attend(
    pages: &Pages,
    layer: usize,
    runs: &[Run<'_>],
    batch: &mut Batch<'_>,
    scoring: &Scoring<'_>,
    pool: &Pool,
    set: InstructionSet,
) {
    let shape = pages.shape().layers()[layer];
    let group = batch.heads / shape.heads;
    let row = batch.heads * batch.value;
    let mut tasks = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        assert!((run.row + run.tokens) * row <= batch.out.len(), "every token has an output row");
        for first in (0..run.tokens).step_by(TOKENS_TOGETHER) {
            let tokens = TOKENS_TOGETHER.min(run.tokens - first);
            for head in 0..shape.heads {
                tasks.extend((0..group).step_by(HEADS_TOGETHER).map(|part| Task {
                    run: index,
                    first,
                    tokens,
                    head,
                    query_head: head * group + part,
                    query_heads: HEADS_TOGETHER.min(group - part),
                }));
            }
        }
    }
    // The last tokens see most: they go first, so that threads end together.
    tasks.reverse();
    let out = Out(batch.out.as_mut_ptr());
    let (out, tasks, queries, stride, value) = (&out, &*tasks, batch.queries, batch.query_stride, batch.value);
    pool.run(tasks.len(), &|index| {
        let task = &tasks[index];
        let run = &runs[task.run];
        WORKING.with_borrow_mut(|working| {
            let heads = task.query_heads;
            let count = task.tokens * heads;
            working.page.keys.resize(shape.key * PAGE_TOKENS, 0.0);
            working.page.values.resize(value * PAGE_TOKENS, 0.0);
            working.sums.clear();
            working.sums.resize(count * value, 0.0);
            working.states.clear();
            for query in 0..count {
                let sink = scoring.sinks.map(|sinks| sinks[task.query_head + query % heads]);
                working.states.push(match sink {
                    Some(sink) => State { maximum: sink, total: 1.0 },
                    None => State::EMPTY,
                });
            }
            let query_rows: Vec<&[f32]> = (0..count)
                .map(|query| {
                    let row = run.row + task.first + query / heads;
                    &queries[row * stride + (task.query_head + query % heads) * shape.key..][..shape.key]
                })
                .collect();
            let position = run.position + task.first;
            let seen_first = scoring.window.map_or(0, |window| (position + 1).saturating_sub(window));
            for page in seen_first / PAGE_TOKENS..=(position + task.tokens - 1) / PAGE_TOKENS {
                pages.read(set, run.pages[page], layer, task.head, &mut working.page);
                let mut query = 0;
                while query < count {
                    let together = queries_together(set).min(count - query);
                    let step = PageStep {
                        queries: &query_rows[query..query + together],
                        keys: &working.page.keys,
                        values: &working.page.values,
                        value,
                        scoring,
                        first: page * PAGE_TOKENS,
                        positions: std::array::from_fn(|index| position + (query + index) / heads),
                    };
                    let states = &mut working.states[query..query + together];
                    add_page(set, &step, states, &mut working.sums[query * value..(query + together) * value]);
                    query += together;
                }
            }
            for (query, sums) in working.sums.chunks_exact_mut(value).enumerate() {
                let total = working.states[query].total;
                let row_index = run.row + task.first + query / heads;
                let head = task.query_head + query % heads;
                // SAFETY: the row and head are within the output and this task's alone.
                #[expect(unsafe_code, reason = "threads write different heads of the same rows")]
                let target =
                    unsafe { std::slice::from_raw_parts_mut(out.0.add(row_index * row + head * value), value) };
                for (target, sum) in target.iter_mut().zip(sums) {
                    *target = *sum / total;
                }
            }
        });
    });
}

/// Some queries of one key head over one page.
pub(crate) struct PageStep<'a> {
    pub(crate) queries: &'a [&'a [f32]],
    /// `[element][token]`.
    pub(crate) keys: &'a [f32],
    /// `[token][element]`.
    pub(crate) values: &'a [f32],
    /// Elements of a value.
    pub(crate) value: usize,
    pub(crate) scoring: &'a Scoring<'a>,
    /// Position of the page's first token.
    pub(crate) first: usize,
    /// Position of the last token that each query sees.
    pub(crate) positions: [usize; QUERIES_TOGETHER],
}

/// Values of one output that are summed side by side.
const VALUES_TOGETHER: usize = 32;

/// Scores of queries and the keys of a page: `[query][token]`.
#[inline(always)]
fn page_scores<const Q: usize>(rows: &[&[f32]], keys: &[f32]) -> [[f32; PAGE_TOKENS]; Q] {
    let mut scores = [[0.0_f32; PAGE_TOKENS]; Q];
    let (lanes, _) = keys.as_chunks::<PAGE_TOKENS>();
    // Checked here once: a check within the loop has the sums written to memory each time.
    let rows: [&[f32]; Q] = std::array::from_fn(|index| &rows[index][..lanes.len()]);
    for (element, lane) in lanes.iter().enumerate() {
        for query in 0..Q {
            let factor = rows[query][element];
            for token in 0..PAGE_TOKENS {
                scores[query][token] = lane[token].mul_add(factor, scores[query][token]);
            }
        }
    }
    scores
}

/// Turns the scores of one query into weights and brings its running softmax up to date. Returns the factor of
/// what was summed before; none where the query sees nothing of the page.
#[inline(always)]
fn weigh(step: &PageStep<'_>, position: usize, state: &mut State, scores: &mut [f32; PAGE_TOKENS]) -> Option<f32> {
    for score in scores.iter_mut() {
        *score *= step.scoring.scale;
    }
    if let Some(cap) = step.scoring.cap {
        for score in scores.iter_mut() {
            *score = cap * (*score / cap).tanh();
        }
    }
    let seen = step.scoring.window.map_or(0, |window| (position + 1).saturating_sub(window));
    if step.first < seen || step.first + PAGE_TOKENS - 1 > position {
        // Places within the page, in numbers as wide as scores.
        let place = |at: usize| at.saturating_sub(step.first).min(PAGE_TOKENS) as u32;
        let (from, until) = (place(seen), place(position + 1));
        for (token, score) in (0..).zip(scores.iter_mut()) {
            if token < from || token >= until {
                *score = f32::NEG_INFINITY;
            }
        }
    }
    let mut lanes = [state.maximum; LANES];
    for chunk in scores.chunks_exact(LANES) {
        for lane in 0..LANES {
            lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
        }
    }
    let maximum = lanes.iter().fold(f32::NEG_INFINITY, |max, &lane| if lane > max { lane } else { max });
    if maximum == f32::NEG_INFINITY {
        return None;
    }
    let mut sums = [0.0; LANES];
    for chunk in scores.chunks_exact_mut(LANES) {
        for lane in 0..LANES {
            chunk[lane] = exp(chunk[lane] - maximum);
            sums[lane] += chunk[lane];
        }
    }
    // The number that the formula gives too; most pages hold no greater score than those before.
    let correction = if maximum > state.maximum { exp(state.maximum - maximum) } else { 1.0 };
    *state = State { maximum, total: state.total.mul_add(correction, total(sums)) };
    Some(correction)
}

/// Adds a page's values, weighed, to what queries have summed.
#[inline(always)]
fn add_values<const Q: usize>(
    weights: &[[f32; PAGE_TOKENS]; Q],
    corrections: &[f32; Q],
    values: &[f32],
    width: usize,
    sums: &mut [f32],
) {
    let mut start = 0;
    while start + VALUES_TOGETHER <= width {
        let mut held = [[0.0_f32; VALUES_TOGETHER]; Q];
        for query in 0..Q {
            let sums = &sums[query * width + start..][..VALUES_TOGETHER];
            for index in 0..VALUES_TOGETHER {
                held[query][index] = sums[index] * corrections[query];
            }
        }
        for (token, row) in values.chunks_exact(width).take(PAGE_TOKENS).enumerate() {
            let (row, _) = row[start..].as_chunks::<VALUES_TOGETHER>();
            for query in 0..Q {
                let weight = weights[query][token];
                for index in 0..VALUES_TOGETHER {
                    held[query][index] = row[0][index].mul_add(weight, held[query][index]);
                }
            }
        }
        for query in 0..Q {
            sums[query * width + start..][..VALUES_TOGETHER].copy_from_slice(&held[query]);
        }
        start += VALUES_TOGETHER;
    }
    for query in 0..Q {
        for index in start..width {
            let mut sum = sums[query * width + index] * corrections[query];
            for token in 0..PAGE_TOKENS {
                sum = values[token * width + index].mul_add(weights[query][token], sum);
            }
            sums[query * width + index] = sum;
        }
    }
}

#[inline(always)]
fn add_page_of<const Q: usize>(step: &PageStep<'_>, states: &mut [State], sums: &mut [f32]) {
    let mut weights = page_scores::<Q>(step.queries, step.keys);
    let mut corrections = [1.0; Q];
    for query in 0..Q {
        match weigh(step, step.positions[query], &mut states[query], &mut weights[query]) {
            Some(correction) => corrections[query] = correction,
            None => weights[query] = [0.0; PAGE_TOKENS],
        }
    }
    add_values::<Q>(&weights, &corrections, step.values, step.value, sums);
}

#[inline(always)]
fn add_page_body(step: &PageStep<'_>, states: &mut [State], sums: &mut [f32]) {
    match step.queries.len() {
        1 => add_page_of::<1>(step, states, sums),
        2 => add_page_of::<2>(step, states, sums),
        3 => add_page_of::<3>(step, states, sums),
        _ => add_page_of::<QUERIES_TOGETHER>(step, states, sums),
    }
}

for_every_set! {
    pub(crate) fn add_page(step: &PageStep<'_>, states: &mut [State], sums: &mut [f32]) = add_page_body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{CacheFormat, LayerShape, PageShape, Place, Rows};
    use crate::product::tests::Noise;

    const TOLERANCE_F16: f64 = 2e-3;
    const TOLERANCE_Q8: f64 = 2e-2;

    struct Case {
        format: CacheFormat,
        shape: LayerShape,
        heads: usize,
        tokens: usize,
        window: Option<usize>,
        cap: Option<f32>,
        has_sinks: bool,
    }

    fn reference(case: &Case, queries: &[f32], rows: &[f32], sinks: &[f32], scale: f32) -> Vec<f64> {
        let LayerShape { heads: kv_heads, key, value } = case.shape;
        let width = kv_heads * (key + value);
        let (value, values_start) = if value == 0 { (PREFIX, 0) } else { (value, kv_heads * key) };
        let mut out = Vec::new();
        for token in 0..case.tokens {
            for head in 0..case.heads {
                let kv = head / (case.heads / kv_heads);
                let query = &queries[(token * case.heads + head) * key..][..key];
                let first = case.window.map_or(0, |window| (token + 1).saturating_sub(window));
                let mut weights: Vec<f64> = (first..=token)
                    .map(|at| {
                        let row = &rows[at * width + kv * key..][..key];
                        let dot: f64 = query.iter().zip(row).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                        let score = dot * f64::from(scale);
                        case.cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh()).exp()
                    })
                    .collect();
                let sink = if case.has_sinks { f64::from(sinks[head]).exp() } else { 0.0 };
                let total = weights.iter().sum::<f64>() + sink;
                for weight in &mut weights {
                    *weight /= total;
                }
                for element in 0..value {
                    let terms = weights.iter().enumerate().map(|(index, weight)| {
                        weight * f64::from(rows[(first + index) * width + values_start + kv * value + element])
                    });
                    out.push(terms.sum());
                }
            }
        }
        out
    }

    /// The batch's outputs, all tokens at once or in runs of `chunk`.
    fn outputs(
        case: &Case,
        queries: &[f32],
        rows: &[f32],
        sinks: &[f32],
        scale: f32,
        chunk: usize,
        set: InstructionSet,
    ) -> Vec<f32> {
        let pool = Pool::new(2).unwrap();
        let LayerShape { heads, key, value } = case.shape;
        let width = heads * (key + value);
        let value_start = heads * key;
        let value = if value == 0 { PREFIX } else { value };
        // A layer of another shape before it, and pages in an order of their own.
        let layers = vec![LayerShape { heads: 1, key: 32, value: 32 }, case.shape];
        let mut pages = Pages::new(PageShape::new(case.format, layers));
        let count = case.tokens.div_ceil(PAGE_TOKENS) as u32;
        pages.grow(count as usize + 1).unwrap();
        let table: Vec<u32> = (0..count).map(|page| count - page).collect();
        let mut out = vec![0.0; case.tokens * case.heads * value];
        for first in (0..case.tokens).step_by(chunk) {
            let tokens = chunk.min(case.tokens - first);
            let places: Vec<Place> = (first..first + tokens)
                .map(|token| Place { page: table[token / PAGE_TOKENS], slot: token % PAGE_TOKENS })
                .collect();
            let part = Rows { values: &rows[first * width..], stride: width, key: 0, value: value_start };
            pages.write(1, &places, &part, &pool);
            let scoring = Scoring { scale, window: case.window, cap: case.cap, sinks: case.has_sinks.then_some(sinks) };
            let mut batch = Batch {
                queries: &queries[first * case.heads * key..],
                query_stride: case.heads * key,
                heads: case.heads,
                value,
                out: &mut out[first * case.heads * value..],
            };
            let run = Run { row: 0, tokens, position: first, pages: &table };
            attend(&pages, 1, &[run], &mut batch, &scoring, &pool, set);
        }
        out
    }

    fn check(case: &Case) {
        let mut noise = Noise(11);
        let LayerShape { heads, key, value } = case.shape;
        let queries: Vec<f32> = (0..case.tokens * case.heads * key).map(|_| noise.value()).collect();
        let rows: Vec<f32> = (0..case.tokens * heads * (key + value)).map(|_| noise.value()).collect();
        let sinks: Vec<f32> = (0..case.heads).map(|_| noise.value()).collect();
        let expected = reference(case, &queries, &rows, &sinks, 0.7);
        let whole = outputs(case, &queries, &rows, &sinks, 0.7, case.tokens, InstructionSet::detect());
        let tolerance = if case.format == CacheFormat::F16 { TOLERANCE_F16 } else { TOLERANCE_Q8 };
        for (found, expected) in whole.iter().zip(&expected) {
            assert!((f64::from(*found) - expected).abs() < tolerance, "{found} {expected}");
        }
        for chunk in [1, 7, 33] {
            let parts = outputs(case, &queries, &rows, &sinks, 0.7, chunk, InstructionSet::detect());
            assert!(parts == whole, "chunks of {chunk} give the same bits");
        }
        let plain = outputs(case, &queries, &rows, &sinks, 0.7, case.tokens, InstructionSet::Scalar);
        assert!(plain == whole, "plain code gives the same bits");
    }

    const SHAPE: LayerShape = LayerShape { heads: 2, key: 64, value: 32 };
    /// Elements of a value that is the start of its key; no multiple of what is moved or summed together.
    const PREFIX: usize = 72;

    #[test]
    fn whole_attention() {
        for format in [CacheFormat::F16, CacheFormat::Q8] {
            for tokens in [1, 31, 32, 33, 100] {
                check(&Case { format, shape: SHAPE, heads: 6, tokens, window: None, cap: None, has_sinks: false });
            }
        }
    }

    #[test]
    fn values_that_start_their_keys() {
        let shape = LayerShape { heads: 1, key: 88, value: 0 };
        for format in [CacheFormat::F16, CacheFormat::Q8] {
            for (heads, tokens) in [(1, 1), (3, 32), (20, 70)] {
                check(&Case { format, shape, heads, tokens, window: None, cap: None, has_sinks: false });
            }
        }
    }

    #[test]
    fn windows_caps_and_sinks() {
        let case = Case {
            format: CacheFormat::F16,
            shape: SHAPE,
            heads: 2,
            tokens: 90,
            window: Some(5),
            cap: None,
            has_sinks: false,
        };
        check(&case);
        check(&Case { window: Some(40), cap: Some(3.0), ..case });
        check(&Case { window: Some(1), has_sinks: true, ..case });
    }
}
