//! Answers as text for people.

use hwledger_core::engine::Components;
use hwledger_core::verdict::Verdict;
use hwledger_core::{Assumptions, Bytes, Estimate};
use hwledger_node::answer::{DeviceAnswer, PathAnswer};
use hwledger_node::compare::CompareAnswer;
use hwledger_node::fit::FitAnswer;
use hwledger_node::report::Report;
use hwledger_node::train::TrainAnswer;

use crate::picture;
use crate::table::Table;
use crate::{cost, speed};

/// A figure, with its interval where it has one.
fn figure(estimate: Option<Estimate<Bytes>>) -> String {
    match estimate {
        None => "?".to_owned(),
        Some(estimate) if estimate.value == Bytes::ZERO && estimate.high == Bytes::ZERO => "-".to_owned(),
        Some(estimate) => estimate.value.to_string(),
    }
}

fn size(bytes: Option<Bytes>) -> String {
    bytes.map_or_else(|| "?".to_owned(), |bytes| bytes.to_string())
}

/// Parameters in billions, as people say them.
fn billions(count: u64) -> String {
    if count >= 1_000_000_000 { format!("{:.2} B", count as f64 / 1e9) } else { format!("{:.1} M", count as f64 / 1e6) }
}

const COMPONENTS: [&str; 7] = ["weights", "repacked", "KV cache", "state", "compute", "output", "overhead"];

/// The components that a table shows: copies of weights only where any of `all` has them.
fn shown<'a>(all: impl IntoIterator<Item = &'a Components>) -> impl Fn(usize) -> bool + Copy {
    let has_copies =
        all.into_iter().any(|components| components.repacked.is_none_or(|copies| copies.high > Bytes::ZERO));
    move |index| has_copies || COMPONENTS[index] != "repacked"
}

fn heads(is_shown: impl Fn(usize) -> bool) -> Vec<&'static str> {
    (0..COMPONENTS.len()).filter(|&index| is_shown(index)).map(|index| COMPONENTS[index]).collect()
}

fn cells(
    name: &str,
    components: &Components,
    total: Option<Estimate<Bytes>>,
    is_shown: impl Fn(usize) -> bool,
) -> Vec<String> {
    let mut row = vec![name.to_owned()];
    let parts = components.parts().into_iter().enumerate().filter(|(index, _)| is_shown(*index));
    row.extend(parts.map(|(_, part)| figure(part)));
    row.push(figure(total));
    row
}

/// A plan.
pub(crate) fn report(report: &Report) -> String {
    let answer = &report.answer;
    let parameters = report.parameters;
    let mut lines = vec![
        format!(
            "{} · {} · {} parameters, {} active per token",
            report.name,
            report.architecture,
            billions(parameters.total),
            billions(parameters.active_per_token)
        ),
        format!(
            "{} · context {} tokens · cache {} per token and sequence, {} at this context{}",
            answer.engine,
            answer.context,
            Bytes(answer.kv.bytes_per_token),
            Bytes(answer.kv.bytes_per_sequence_at_context),
            match answer.kv.state_bytes_per_sequence {
                0 => String::new(),
                bytes => format!(", state {}", Bytes(bytes)),
            }
        ),
        String::new(),
    ];
    let is_shown = shown(answer.devices.iter().map(|device| &device.components));
    let mut head = vec!["device"];
    head.extend(heads(is_shown));
    head.extend(["total", "capacity", "verdict"]);
    let mut table = Table::new(&head);
    // Ranks that hold the same are one row.
    for same in answer.devices.chunk_by(|a, b| a == b) {
        let device = &same[0];
        let name = match same.len() {
            1 => device.name.clone(),
            count => format!("{} ({count}, each)", device.name),
        };
        let mut row = cells(&name, &device.components, device.total, is_shown);
        row.push(size(device.capacity_bytes));
        row.push(device.verdict.name().to_owned());
        table.row(row);
    }
    if answer.devices.len() != 1 {
        table.row(cells("all", &answer.memory.components, answer.memory.total, is_shown));
    }
    lines.extend(table.lines("  "));
    lines.extend(answer.devices.iter().filter_map(reclaimable));
    lines.extend(pool(report));
    let is_possible = answer.verdict != Verdict::DoesNotFit;
    lines.extend(speed::lines(&answer.speed, report.concurrency, is_possible));
    lines.extend(answer.path.as_ref().map(path_line));
    lines.extend(cost::lines(answer.cost.as_ref()));
    lines.push(String::new());
    lines.push("layers, one column each, for one sequence".to_owned());
    lines.extend(picture::lines(&report.layer_memory));
    lines.push(String::new());
    lines.extend(verdict(report));
    lines.extend(assumptions(&answer.assumptions));
    lines.push(String::new());
    lines.push(format!("again: {}", report.command));
    lines.join("\n") + "\n"
}

/// What of a device's total the system may take back.
fn reclaimable(device: &DeviceAnswer) -> Option<String> {
    let bytes = Some(device.reclaimable_bytes).filter(|bytes| *bytes > Bytes::ZERO)?;
    let copies = device.components.repacked?.value;
    Some(format!(
        "  {}: {bytes} of the mapped file were copied into {copies} laid out for the processor; they count in the peak, \
         and the system may drop them",
        device.name
    ))
}

/// What an engine that fills its budget with cache makes of it.
fn pool(report: &Report) -> Vec<String> {
    let memory = &report.answer.memory;
    let mut lines = Vec::new();
    if let Some(tokens) = memory.kv_cache_tokens {
        lines.push(format!("  cache pool: {} tokens ({} to {})", tokens.value, tokens.low, tokens.high));
    }
    if let Some(requests) = memory.max_concurrency {
        lines.push(format!("  requests of this context at once: {:.2}", requests.value));
    }
    lines
}

/// How the weights are computed, where that is not simply as they should be.
fn path_line(path: &PathAnswer) -> String {
    let hint = path.hint.map_or_else(String::new, |hint| format!("; better: {hint}"));
    format!("  computed by {}: {}{hint}", path.name, path.reason)
}

fn verdict(report: &Report) -> Vec<String> {
    let answer = &report.answer;
    let word = answer.verdict.name();
    let line = match &answer.constraint {
        None => format!("verdict: {word}"),
        Some(constraint) => format!(
            "verdict: {word}; {} needs {} ({} to {}) of {}, most of it {}",
            constraint.device,
            constraint.needed.value,
            constraint.needed.low,
            constraint.needed.high,
            constraint.capacity,
            constraint.largest.replace('_', " ")
        ),
    };
    let mut lines = vec![line];
    if !report.changes.is_empty() {
        lines.push("it fits with any one of:".to_owned());
    }
    for change in &report.changes {
        lines.push(format!("  {} {}: {}; price: {}", change.setting, change.value, figure(change.total), change.price));
    }
    lines
}

fn assumptions(assumptions: &Assumptions) -> Vec<String> {
    if assumptions.0.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![String::new(), "assumed".to_owned()];
    lines.extend(assumptions.0.iter().map(|one| format!("  {} = {}: {}", one.what, one.value, one.why)));
    lines
}

/// What fits.
pub(crate) fn fit(answer: &FitAnswer) -> String {
    let mut table = Table::new(&["weights", "size", "total", "verdict", "largest context", "most sequences"]);
    let count = |value: Option<u64>| value.map_or_else(|| "none".to_owned(), |value| value.to_string());
    for row in &answer.weights {
        table.row(vec![
            row.weights.to_owned(),
            figure(row.weight_bytes),
            figure(row.total),
            row.verdict.name().to_owned(),
            count(row.largest_context),
            count(row.most_sequences),
        ]);
    }
    let mut lines = vec![format!("{} on {}", answer.model, answer.engine), String::new()];
    lines.extend(table.lines("  "));
    lines.push(String::new());
    lines.push(match answer.best_weights {
        Some(weights) => format!("finest weights that fit: {weights}"),
        None => "none of these fits as asked".to_owned(),
    });
    lines.extend(assumptions(&answer.assumptions));
    lines.join("\n") + "\n"
}

/// One model on every engine.
pub(crate) fn compare(answer: &CompareAnswer) -> String {
    let is_shown = shown(answer.engines.iter().filter_map(|row| row.memory.as_ref()).map(|memory| &memory.components));
    let mut head = vec!["engine"];
    head.extend(heads(is_shown));
    head.extend(["total", "verdict"]);
    let mut table = Table::new(&head);
    let mut refusals = Vec::new();
    for row in &answer.engines {
        if let Some(memory) = &row.memory {
            let mut cells = cells(row.engine, &memory.components, memory.total, is_shown);
            cells.push(row.verdict.name().to_owned());
            table.row(cells);
        } else if let Some(refusal) = &row.refusal {
            refusals.push(format!("  {}: {refusal}", row.engine));
        }
    }
    let mut lines = vec![format!("{} at {} tokens", answer.model, answer.context), String::new()];
    lines.extend(table.lines("  "));
    if !refusals.is_empty() {
        lines.push(String::new());
        lines.push("no plan".to_owned());
        lines.extend(refusals);
    }
    lines.extend(assumptions(&answer.assumptions));
    lines.join("\n") + "\n"
}

/// Training.
pub(crate) fn train(answer: &TrainAnswer) -> String {
    let memory = &answer.memory;
    let mut table = Table::new(&["per device", "memory", "low", "high"]);
    let mut row = |name: &str, estimate: Estimate<Bytes>| {
        table.row(vec![
            name.to_owned(),
            estimate.value.to_string(),
            estimate.low.to_string(),
            estimate.high.to_string(),
        ]);
    };
    row("weights", memory.weights);
    row("master weights", memory.master_weights);
    row("gradients", memory.gradients);
    row("optimizer", memory.optimizer);
    row("activations", memory.activations);
    row("logits", memory.logits);
    row("overhead", memory.overhead);
    row("total", answer.total);
    let mut lines = vec![
        format!(
            "{} · {} trained parameters · {} devices",
            answer.model,
            billions(memory.trained_parameters),
            answer.devices
        ),
        String::new(),
    ];
    lines.extend(table.lines("  "));
    lines.push(String::new());
    lines.push(format!("verdict: {} of {}", answer.verdict.name(), size(answer.capacity)));
    lines.push(format!("compute-optimal training tokens: {}", billions(memory.compute_optimal_tokens)));
    lines.extend(assumptions(&answer.assumptions));
    lines.join("\n") + "\n"
}
