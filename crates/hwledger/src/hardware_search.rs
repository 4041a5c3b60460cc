//! `search`: arguments in, the best machines out.

use std::process::ExitCode;

use clap::Args;
use hwledger_core::Estimate;
use hwledger_core::verdict::Verdict;
use hwledger_node::request::{HostRequest, tokens};
use hwledger_node::search::{Candidate, ModelFound, Objective, Reason, SearchAnswer, SearchRequest};
use hwledger_node::{PlanFailure, Planner};

use crate::arguments::device;
use crate::speed::number;
use crate::table::Table;
use crate::{json, say};

/// Reasons that are shown device by device.
const DEVICES_SHOWN: usize = 12;

/// Arguments of `search`; each flag is a key of the search request.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct SearchArguments {
    /// Models to serve, each searched by itself
    #[arg(value_name = "MODEL", required = true)]
    models: Vec<String>,
    /// Requests in flight
    #[arg(long)]
    users: Option<u64>,
    /// Requests that arrive per second, instead of users
    #[arg(long, value_name = "PER_SECOND")]
    request_rate: Option<f64>,
    /// Prompt tokens of one request
    #[arg(long, value_parser = tokens)]
    prompt: Option<u64>,
    /// Generated tokens of one request
    #[arg(long, value_parser = tokens)]
    generate: Option<u64>,
    /// Tokens that a request may hold at most
    #[arg(long, short = 'c', value_parser = tokens)]
    context: Option<u64>,
    /// Share of a prompt that an earlier request left in the cache
    #[arg(long, value_name = "SHARE")]
    prefix_hit_rate: Option<f64>,
    /// Longest time to the first token
    #[arg(long, value_name = "MS")]
    ttft_ms: Option<f64>,
    /// Longest time per generated token
    #[arg(long, value_name = "MS")]
    tpot_ms: Option<f64>,
    /// Fewest generated tokens per second of all requests
    #[arg(long, value_name = "RATE")]
    output_tokens_per_s: Option<f64>,
    /// Most that the devices may cost
    #[arg(long, value_name = "USD")]
    budget_usd: Option<f64>,
    /// Most that renting them may cost per hour
    #[arg(long, value_name = "USD")]
    hourly_usd: Option<f64>,
    /// Most power of the devices together
    #[arg(long, value_name = "WATTS")]
    power_w: Option<f64>,
    /// Fewest bits per weight
    #[arg(long)]
    bits: Option<f64>,
    /// A device to try, as people write it; may be repeated; the whole catalogue without any
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<String>,
    /// How many of one device to try
    #[arg(long = "count", value_name = "N", value_delimiter = ',')]
    counts: Vec<u64>,
    /// Engines to try
    #[arg(long = "engine", value_name = "ENGINE", value_delimiter = ',')]
    engines: Vec<String>,
    /// Weight formats to try
    #[arg(long, value_name = "FORMAT", value_delimiter = ',')]
    weights: Vec<String>,
    /// Types of cached keys and values to try, `auto` for the engine's own
    #[arg(long = "kv-type", value_name = "TYPE", value_delimiter = ',')]
    kv_types: Vec<String>,
    /// Let experts or layers stay on the processor where the rest fits
    #[arg(long)]
    offload: bool,
    /// Memory of the machine that holds the devices
    #[arg(long, value_name = "GIB")]
    host_memory_gib: Option<f64>,
    /// Bandwidth of that memory
    #[arg(long, value_name = "GB_PER_S")]
    host_bandwidth_gb_s: Option<f64>,
    /// Limits must hold at the bad end of each interval
    #[arg(long)]
    sure: bool,
    /// What to be best in: `purchase_usd`, `rent_usd_per_hour`, `usd_per_million_tokens`, `power_w`,
    /// `output_tokens_per_s`, `ttft_ms`, `tpot_ms`, `bits`
    #[arg(long = "objective", value_name = "NAME", value_delimiter = ',')]
    objectives: Vec<String>,
    /// Most rows that are shown of the best
    #[arg(long, default_value_t = 25)]
    limit: usize,
    /// Say of every device why it is not among the best
    #[arg(long)]
    why: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl SearchArguments {
    fn request(&self) -> Result<SearchRequest, PlanFailure> {
        let has_host = self.host_memory_gib.is_some() || self.host_bandwidth_gb_s.is_some();
        Ok(SearchRequest {
            models: self.models.clone(),
            users: self.users,
            request_rate: self.request_rate,
            prompt: self.prompt,
            generate: self.generate,
            context: self.context,
            prefix_hit_rate: self.prefix_hit_rate,
            ttft_ms: self.ttft_ms,
            tpot_ms: self.tpot_ms,
            output_tokens_per_s: self.output_tokens_per_s,
            budget_usd: self.budget_usd,
            hourly_usd: self.hourly_usd,
            power_w: self.power_w,
            bits: self.bits,
            devices: self.devices.iter().map(|text| device(text, None)).collect(),
            counts: self.counts.clone(),
            engines: self.engines.clone(),
            weights: self.weights.clone(),
            kv_types: self.kv_types.clone(),
            offload: self.offload,
            host: has_host.then_some(HostRequest {
                name: None,
                memory_gib: self.host_memory_gib,
                bandwidth_gb_s: self.host_bandwidth_gb_s,
            }),
            sure: self.sure,
            objectives: self.objectives.iter().map(|name| Objective::named(name)).collect::<Result<_, _>>()?,
        })
    }
}

/// Runs `search`: status 0 where every model can be served within the limits.
pub(crate) fn run(planner: &Planner, arguments: &SearchArguments) -> Result<ExitCode, PlanFailure> {
    let answer = planner.search(&arguments.request()?)?;
    let is_yes = answer.models.iter().all(|model| model.feasible > 0);
    let text = if arguments.json { json(&answer) } else { render(&answer, arguments) };
    Ok(say(&text, is_yes))
}

fn render(answer: &SearchAnswer, arguments: &SearchArguments) -> String {
    let mut lines = Vec::new();
    for model in &answer.models {
        lines.push(format!(
            "{}: {} combinations, {} within the limits, {} that nothing beats in {}",
            model.model,
            model.combinations,
            model.feasible,
            model.frontier.len(),
            answer.objectives.join(", ")
        ));
        lines.extend(best(model, arguments.limit));
        lines.push(String::new());
        lines.extend(losses(model));
        lines.extend(devices(model, if arguments.why { usize::MAX } else { DEVICES_SHOWN }));
        if let Some(first) = model.frontier.first() {
            lines.extend([String::new(), format!("the first in full: {}", first.command)]);
        }
        lines.push(String::new());
    }
    if !answer.assumptions.0.is_empty() {
        lines.push("assumed".to_owned());
        let told = answer.assumptions.0.iter();
        lines.extend(told.map(|one| format!("  {} = {}: {}", one.what, one.value, one.why)));
    }
    lines.join("\n") + "\n"
}

fn best(model: &ModelFound, limit: usize) -> Vec<String> {
    if model.frontier.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(&[
        "machine",
        "engine",
        "weights",
        "USD",
        "USD/h",
        "USD/M",
        "W",
        "tokens/s",
        "ms/token",
        "first, ms",
        "",
    ]);
    for one in model.frontier.iter().take(limit) {
        table.row(row(one));
    }
    let mut lines = table.lines("  ");
    if model.frontier.len() > limit {
        lines.push(format!("  and {} more (`--limit`)", model.frontier.len() - limit));
    }
    lines
}

fn row(one: &Candidate) -> Vec<String> {
    let value = |figure: Option<Estimate<f64>>| figure.map_or_else(|| "?".to_owned(), |figure| number(figure.value));
    let plain = |figure: Option<f64>| figure.map_or_else(|| "?".to_owned(), |figure| format!("{figure:.0}"));
    let memory = one.memory_gib.map_or_else(String::new, |memory| format!(" {memory:.0} GiB"));
    let layout = match one.request.data_parallel {
        Some(replicas) => format!(", {replicas} replicas"),
        None => String::new(),
    };
    let offload = if one.request.cpu_moe_layers.is_some() {
        ", experts on the host"
    } else if one.request.gpu_layers.is_some() {
        ", layers on the host"
    } else {
        ""
    };
    vec![
        format!("{}x {}{memory}", one.count, one.device),
        format!("{}{layout}{offload}", one.engine),
        format!("{} ({:.1} bits)", one.weights, one.bits),
        plain(one.purchase_usd),
        one.rent_usd_per_hour.map_or_else(|| "?".to_owned(), |rent| format!("{rent:.2}")),
        one.usd_per_million_tokens.map_or_else(|| "?".to_owned(), number),
        plain(one.power_w),
        value(one.speed.output_tokens_per_s),
        value(one.speed.tpot_ms),
        value(one.speed.ttft_ms),
        if one.verdict == Verdict::Tight { "tight".to_owned() } else { String::new() },
    ]
}

fn losses(model: &ModelFound) -> Vec<String> {
    let mut table = Table::new(&["why the rest lost", "", "nearest"]);
    for loss in &model.lost {
        let nearest = match (&loss.nearest, loss.missed_by) {
            (Some(nearest), Some(missed)) => {
                let count = nearest.devices.first().and_then(|device| device.count).unwrap_or(1);
                let name = nearest.devices.first().map_or("", |device| &device.name);
                let engine = nearest.engine.as_deref().unwrap_or_default();
                let weights = nearest.weights.as_deref().unwrap_or("as stored");
                format!("{count}x {name}, {engine}, {weights}: by {missed:.2}x")
            }
            _ => String::new(),
        };
        table.row(vec![loss.text.to_owned(), loss.count.to_string(), nearest]);
    }
    table.lines("  ")
}

fn devices(model: &ModelFound, limit: usize) -> Vec<String> {
    // Those that came furthest interest most.
    let mut fates: Vec<_> = model.devices.iter().collect();
    fates.sort_by_key(|fate| std::cmp::Reverse(fate.reason));
    if fates.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(&["how far other devices came", "", ""]);
    for fate in fates.iter().take(limit) {
        let memory = fate.memory_gib.map_or_else(String::new, |memory| format!(" {memory:.0} GiB"));
        let more = match (&fate.detail, fate.missed_by) {
            (Some(by), _) if fate.reason == Reason::Beaten => format!("by {by}"),
            (Some(detail), _) => detail.clone(),
            (None, Some(missed)) => format!("by {missed:.2}x"),
            (None, None) => String::new(),
        };
        table.row(vec![format!("{}{memory}", fate.device), fate.text.to_owned(), more]);
    }
    let mut lines = vec![String::new()];
    lines.extend(table.lines("  "));
    if fates.len() > limit {
        lines.push(format!("  and {} more (`--why`)", fates.len() - limit));
    }
    lines
}
