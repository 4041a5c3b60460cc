//! Speeds as text for people.

use hwledger_core::Estimate;
use hwledger_core::projection::Speed;

use crate::table::Table;

/// Three digits that count.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The figures of a plan that are known, with their intervals; they are hypothetical where it is not
/// possible.
pub(crate) fn lines(speed: &Speed, concurrency: u64, is_possible: bool) -> Vec<String> {
    let head = if is_possible { "speed" } else { "speed, if it fitted" };
    let mut table = Table::new(&[head, "", "nine times in ten", "basis"]);
    let mut row = |name: &str, unit: &str, estimate: Option<Estimate<f64>>| {
        if let Some(estimate) = estimate {
            table.row(vec![
                name.to_owned(),
                format!("{} {unit}", number(estimate.value)),
                format!("{} to {}", number(estimate.low), number(estimate.high)),
                estimate.basis.name().to_owned(),
            ]);
        }
    };
    row("prefill", "tokens/s", speed.prefill_tokens_per_s);
    row("decode, one sequence", "tokens/s", speed.decode_tokens_per_s);
    row("time to first token", "ms", speed.ttft_ms);
    row("time per output token", "ms", speed.tpot_ms);
    if concurrency > 1 {
        row("output, all sequences", "tokens/s", speed.output_tokens_per_s);
        row("requests", "per s", speed.requests_per_s);
    }
    row("whole request", "ms", speed.total_ms);
    let lines = table.lines("  ");
    if lines.len() == 1 { Vec::new() } else { std::iter::once(String::new()).chain(lines).collect() }
}
