//! The columns of a sweep's table.

use hwledger_core::Estimate;
use hwledger_core::engine::MemoryPlan;
use hwledger_core::projection::Speed;
use hwledger_core::verdict::Verdict;

use super::axis::Prepared as PreparedAxis;
use crate::table::{Block, Cell, Field, Kind};

/// Figures of speed, each with its two bounds.
const SPEEDS: [[&str; 3]; 7] = [
    ["prefill_tokens_per_s", "prefill_tokens_per_s_low", "prefill_tokens_per_s_high"],
    ["decode_tokens_per_s", "decode_tokens_per_s_low", "decode_tokens_per_s_high"],
    ["ttft_ms", "ttft_ms_low", "ttft_ms_high"],
    ["tpot_ms", "tpot_ms_low", "tpot_ms_high"],
    ["output_tokens_per_s", "output_tokens_per_s_low", "output_tokens_per_s_high"],
    ["requests_per_s", "requests_per_s_low", "requests_per_s_high"],
    ["total_ms", "total_ms_low", "total_ms_high"],
];

/// What is known of one combination.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) context: Option<u64>,
    pub(super) memory: Memory,
    pub(super) speed: Speed,
    /// Why there is no plan, or no speed.
    pub(super) why: Option<String>,
}

/// The memory of one combination, as far as a table tells it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    pub(super) verdict: Option<Verdict>,
    total: [Option<u64>; 3],
    /// Need and capacity of the fullest device.
    device: [Option<u64>; 2],
    cache_tokens: Option<u64>,
    pub(super) held: Option<Estimate<f64>>,
}

impl Memory {
    /// Bytes on all devices together.
    pub(super) const fn total(&self) -> Option<u64> {
        self.total[0]
    }

    pub(super) fn of(plan: &MemoryPlan) -> Self {
        let total = plan.summed().total();
        let fullest = plan
            .devices
            .iter()
            .filter_map(|device| Some((device.needed()?.value.0, device.capacity?.0)))
            .max_by(|a, b| (a.0 as f64 * b.1 as f64).total_cmp(&(b.0 as f64 * a.1 as f64)));
        Self {
            verdict: Some(Verdict::of_plan(plan)),
            total: [total.map(|sum| sum.value.0), total.map(|sum| sum.low.0), total.map(|sum| sum.high.0)],
            device: [fullest.map(|own| own.0), fullest.map(|own| own.1)],
            cache_tokens: plan.kv_cache_tokens.map(|tokens| tokens.value),
            held: plan.max_concurrency,
        }
    }
}

/// The columns: what varies, then what follows from it.
pub(super) fn fields(axes: &[PreparedAxis]) -> Vec<Field> {
    let mut fields: Vec<Field> = axes.iter().map(|axis| Field::required(axis.key.clone(), axis.kind)).collect();
    let mut add = |name: &'static str, kind| {
        // A key that varies has its column already.
        if fields.iter().all(|own| own.name != name) {
            fields.push(Field::optional(name, kind));
        }
    };
    add("engine", Kind::Text);
    add("context", Kind::Integer);
    add("verdict", Kind::Text);
    for name in [
        "memory_bytes",
        "memory_bytes_low",
        "memory_bytes_high",
        "device_bytes",
        "device_capacity_bytes",
        "kv_cache_tokens",
    ] {
        add(name, Kind::Integer);
    }
    add("max_concurrency", Kind::Real);
    for [value, low, high] in SPEEDS {
        add(value, Kind::Real);
        add(low, Kind::Single);
        add(high, Kind::Single);
    }
    add("speed_basis", Kind::Text);
    add("why", Kind::Text);
    fields
}

#[expect(clippy::cast_possible_truncation, reason = "bounds need no more than seven digits")]
const fn single(value: f64) -> Cell {
    if value.is_nan() { Cell::Absent } else { Cell::Single(value as f32) }
}

/// Appends a row: its cells of the axes, `engine` and `context` where they do not vary, the rest.
pub(super) fn push(block: &mut Block, axes: &[PreparedAxis], at: &[usize], engine: Option<&'static str>, row: &Row) {
    let mut columns = block.columns.iter_mut();
    let mut next = |cell: Cell| {
        if let Some(column) = columns.next() {
            column.push(cell);
        }
    };
    for (axis, &index) in axes.iter().zip(at) {
        next(axis.cells[index].clone());
    }
    let varies = |key: &str| axes.iter().any(|axis| axis.key == key);
    if !varies("engine") {
        next(Cell::text(engine));
    }
    if !varies("context") {
        next(Cell::count(row.context));
    }
    let memory = &row.memory;
    next(Cell::text(memory.verdict.map(Verdict::name)));
    memory.total.into_iter().chain(memory.device).for_each(|bytes| next(Cell::count(bytes)));
    next(Cell::count(memory.cache_tokens));
    next(Cell::real(memory.held.map(|requests| requests.value)));
    let speed = &row.speed;
    let figures = [
        speed.prefill_tokens_per_s,
        speed.decode_tokens_per_s,
        speed.ttft_ms,
        speed.tpot_ms,
        speed.output_tokens_per_s,
        speed.requests_per_s,
        speed.total_ms,
    ];
    for figure in figures {
        next(Cell::real(figure.map(|figure| figure.value)));
        next(figure.map_or(Cell::Absent, |figure| single(figure.low)));
        next(figure.map_or(Cell::Absent, |figure| single(figure.high)));
    }
    next(Cell::text(speed.decode_tokens_per_s.map(|figure| figure.basis.name())));
    next(Cell::text(row.why.clone()));
}
