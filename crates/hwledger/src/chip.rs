//! `hwledger chip`: tables and text of the sizing of edge chips.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use hwledger_core::Estimate;
use hwledger_core::sizing::whatif::{Point, kpi_csv};
use hwledger_core::sizing::{Level, Outcome, Precision, Projection};
use hwledger_node::Planner;
use hwledger_node::planner::with_causes;
use hwledger_node::sizing::{ChipRequest, ProjectAnswer, ProjectRow, SizingFailure, TiersAnswer, WhatIf, list_tiers};
use serde::Serialize;

use crate::table::Table;
use crate::{fail, json, say};

/// What is asked about chips.
#[derive(Debug, Subcommand)]
pub(crate) enum ChipCommand {
    /// List the reference tiers, what they run, and where their figures come from
    Tiers(Format),
    /// Say how fast a model runs on tiers, or why it does not
    Project(Box<ProjectArguments>),
    /// Move sliders on one tier and hold the demands against its budgets
    Point(Box<PointArguments>),
    /// Move one slider, or several together, from end to end
    Sweep(Box<SweepArguments>),
    /// Find the settings of some sliders that no other beats on every objective at once
    Pareto(Box<ParetoArguments>),
}

/// How answers are written.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Format {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print comma-separated values with units in the header
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

/// A model on chips.
#[derive(Debug, Args)]
pub(crate) struct ChipQuestion {
    /// Model: `qwen3_30b_a3b`, `qwen2_5_32b`, `qwen2_5_7b`, or anything that `plan` takes
    #[arg(value_name = "MODEL")]
    model: String,
    /// Weight format: `Q4_K_M` `Q8_0` `INT8_W8A8` FP8 BF16 NVFP4 `INT4_AWQ` …
    #[arg(long, value_name = "FORMAT")]
    weights: Option<String>,
    /// A tier, as `chip tiers` lists it; may be repeated
    #[arg(long = "tier", value_name = "NAME")]
    tiers: Vec<String>,
    /// Another memory: `LPDDR5T@11.2`, `LPDDR6@14`
    #[arg(long, value_name = "KIND@GT/S")]
    memory: Option<String>,
    /// Width of that memory in bits
    #[arg(long, value_name = "BITS", requires = "memory")]
    bus_bits: Option<u32>,
    /// Workload, by which measured runs are found
    #[arg(long, value_name = "ID")]
    workload: Option<String>,
    /// Tokens of the prompt
    #[arg(long, value_name = "TOKENS")]
    prompt: Option<u64>,
    /// Tokens to generate
    #[arg(long, value_name = "TOKENS")]
    generate: Option<u64>,
    /// Host time of the request
    #[arg(long, value_name = "MS")]
    host_ms: Option<f64>,
    /// How near the compiler's code comes to the best (1)
    #[arg(long, value_name = "SHARE")]
    compiler_quality: Option<f64>,
    /// Share of the memory bandwidth that the model gets
    #[arg(long, value_name = "SHARE")]
    npu_share: Option<f64>,
    /// Kernels for 4-bit floats widen them to 16 bits first
    #[arg(long)]
    fp4_immature: bool,
    /// Compute as ratchet 0.2.6 does, its faults included, to compare with figures that it published
    #[arg(long)]
    reference: bool,
    #[command(flatten)]
    format: Format,
}

/// Arguments of `chip project`.
#[derive(Debug, Args)]
pub(crate) struct ProjectArguments {
    #[command(flatten)]
    question: ChipQuestion,
    /// Kernels are compiled anew rather than taken as binaries
    #[arg(long)]
    fresh_compile: bool,
    /// Workload pattern: `plain_chat` `long_form_reasoning` `tool_use` `rag_long_context` `cold_start`
    #[arg(long, value_name = "NAME")]
    pattern: Option<String>,
}

/// Arguments of `chip point`.
#[derive(Debug, Args)]
pub(crate) struct PointArguments {
    #[command(flatten)]
    question: ChipQuestion,
    /// A slider's value; may be repeated
    #[arg(long = "set", value_name = "SLIDER=VALUE", value_parser = setting)]
    set: Vec<(String, f64)>,
}

/// Arguments of `chip sweep`.
#[derive(Debug, Args)]
pub(crate) struct SweepArguments {
    #[command(flatten)]
    point: PointArguments,
    /// A slider to move; several move together
    #[arg(long = "slider", value_name = "SLIDER", required = true)]
    sliders: Vec<String>,
    /// Steps from end to end, both included
    #[arg(long, default_value_t = 5)]
    steps: usize,
}

/// Arguments of `chip pareto`.
#[derive(Debug, Args)]
pub(crate) struct ParetoArguments {
    #[command(flatten)]
    sweep: SweepArguments,
    /// What is good, as `max:NAME` or `min:NAME`; may be repeated
    #[arg(long = "objective", value_name = "OBJECTIVE", required = true)]
    objectives: Vec<String>,
    /// Take points that miss a budget too
    #[arg(long)]
    with_failing: bool,
}

/// `memory_rate=9.6` to a name and a number.
fn setting(text: &str) -> Result<(String, f64), String> {
    let wrong = || format!("`{text}` is no setting, such as memory_rate=9.6");
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let value: f64 = value.trim().parse().map_err(|_| wrong())?;
    if value.is_finite() { Ok((name.trim().to_owned(), value)) } else { Err(wrong()) }
}

impl ChipQuestion {
    fn request(&self) -> ChipRequest {
        ChipRequest {
            model: self.model.clone(),
            weights: self.weights.clone(),
            tiers: self.tiers.clone(),
            memory: self.memory.clone(),
            bus_bits: self.bus_bits,
            workload: self.workload.clone(),
            prompt_tokens: self.prompt,
            decode_tokens: self.generate,
            host_ms: self.host_ms,
            compiler_quality: self.compiler_quality,
            npu_share: self.npu_share,
            is_fp4_immature: self.fp4_immature,
            is_reference: self.reference,
            ..ChipRequest::default()
        }
    }
}

impl PointArguments {
    fn what_if(&self) -> WhatIf {
        let set: BTreeMap<String, f64> = self.set.iter().cloned().collect();
        WhatIf { chip: self.question.request(), set, ..WhatIf::default() }
    }
}

impl SweepArguments {
    fn what_if(&self) -> WhatIf {
        WhatIf { sliders: self.sliders.clone(), steps: self.steps, ..self.point.what_if() }
    }
}

/// Answers a question about chips.
pub(crate) fn run(planner: &Planner, command: &ChipCommand) -> ExitCode {
    let answered = match command {
        ChipCommand::Tiers(format) => Ok(tiers(*format)),
        ChipCommand::Project(arguments) => project(planner, arguments),
        ChipCommand::Point(arguments) => point(planner, arguments),
        ChipCommand::Sweep(arguments) => sweep(planner, arguments),
        ChipCommand::Pareto(arguments) => pareto(planner, arguments),
    };
    answered.unwrap_or_else(|failure| {
        let status = fail(with_causes(&failure));
        if let Some(hint) = failure.hint() {
            let _ = writeln!(io::stderr(), "hint: {hint}");
        }
        status
    })
}

/// A head and rows of cells.
struct Cells {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Cells {
    fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|&cell| cell.to_owned()).collect(), rows: Vec::new() }
    }

    fn csv(&self) -> String {
        let field = |text: &String| {
            if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.clone() }
        };
        let line = |row: &Vec<String>| row.iter().map(field).collect::<Vec<_>>().join(",") + "\n";
        std::iter::once(&self.head).chain(&self.rows).map(line).collect()
    }

    fn table(self) -> String {
        let head: Vec<&str> = self.head.iter().map(String::as_str).collect();
        let mut table = Table::new(&head);
        self.rows.into_iter().for_each(|row| table.row(row));
        table.lines("").join("\n") + "\n"
    }
}

/// The answer in the format that was asked for; `text` is called for the one for people.
fn written(format: Format, answer: &impl Serialize, cells: impl Fn() -> Cells, text: impl Fn() -> String) -> String {
    match format {
        Format { json: true, .. } => json(answer),
        Format { csv: true, .. } => cells().csv(),
        Format { .. } => text(),
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.01 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.2e}"),
    }
}

/// A number for other programs: unrounded.
fn unrounded(value: f64) -> String {
    value.to_string()
}

const fn short(level: Level) -> &'static str {
    match level {
        Level::TensorNative => "native",
        Level::TensorCompat => "compat",
        Level::CudaCore => "cores",
        Level::Unsupported => "-",
    }
}

fn tier_cells(answer: &TiersAnswer) -> Cells {
    let mut head = vec!["tier", "memory", "width (bits)", "GB/s", "GB", "int8 TOPS", "bf16 TOPS"];
    head.extend(Precision::ALL.map(Precision::name));
    head.extend(["figures", "confidence"]);
    let mut cells = Cells::new(&head);
    for row in &answer.tiers {
        let tier = row.tier;
        let mut line = vec![
            tier.name.clone(),
            format!("{}-{}", tier.memory.kind, tier.memory.rate_gt_s),
            tier.memory.bus_bits.to_string(),
            tier.memory.bandwidth_gb_s.to_string(),
            tier.capacity_gb.to_string(),
            tier.peaks.int8_tops.to_string(),
            tier.peaks.bf16_tops.to_string(),
        ];
        line.extend(row.runs.iter().map(|runs| short(runs.level).to_owned()));
        line.extend([tier.calibration.method.word().to_owned(), tier.calibration.confidence.word().to_owned()]);
        cells.rows.push(line);
    }
    cells
}

fn tiers(format: Format) -> ExitCode {
    let answer = list_tiers();
    let note = "\nGB/s are peaks and decimal. Sources stand in `--json`.\n";
    let text = written(format, &answer, || tier_cells(&answer), || tier_cells(&answer).table() + note);
    say(&text, true)
}

fn interval(estimate: Estimate<f64>) -> String {
    if (estimate.high - estimate.low).abs() < 1e-9 {
        return number(estimate.value);
    }
    format!("{} ({}..{})", number(estimate.value), number(estimate.low), number(estimate.high))
}

/// A word of an answer, as its JSON spells it.
fn word(value: &impl Serialize) -> String {
    json(value).trim().trim_matches('"').replace('_', " ")
}

fn project_cells(answer: &ProjectAnswer) -> Cells {
    let mut cells = Cells::new(&[
        "tier",
        "fits",
        "decode (tok/s)",
        "prefill (tok/s)",
        "first token (s)",
        "request (s)",
        "bound by",
        "source",
        "basis",
    ]);
    for row in &answer.tiers {
        let mut line = vec![row.tier.clone()];
        match &row.outcome {
            Outcome::Projected(found) => line.extend(projected(found)),
            Outcome::WontFit { .. } => line.push("no".to_owned()),
            Outcome::DtypeMismatch(_) => line.push("precision does not run".to_owned()),
        }
        line.resize(cells.head.len(), String::new());
        cells.rows.push(line);
    }
    cells
}

/// The figures and the ends of their intervals, a column each.
fn project_figures(answer: &ProjectAnswer) -> Cells {
    let mut head = vec!["tier", "outcome", "fits"];
    for names in [
        ["decode (tok/s)", "decode low (tok/s)", "decode high (tok/s)"],
        ["prefill (tok/s)", "prefill low (tok/s)", "prefill high (tok/s)"],
        ["first token (s)", "first token low (s)", "first token high (s)"],
        ["request (s)", "request low (s)", "request high (s)"],
    ] {
        head.extend(names);
    }
    head.extend(["bound by", "source", "basis"]);
    let mut cells = Cells::new(&head);
    for row in &answer.tiers {
        let mut line = vec![row.tier.clone()];
        match &row.outcome {
            Outcome::Projected(found) => {
                line.extend(["projected".to_owned(), word(&found.feasibility.fit)]);
                let rates = [found.decode_tokens_per_second, found.prefill_tokens_per_second];
                for estimate in rates.into_iter().chain([found.ttft_s, found.total_s]) {
                    line.extend([estimate.value, estimate.low, estimate.high].map(unrounded));
                }
                line.extend([word(&found.regime), word(&found.source), word(&found.decode_tokens_per_second.basis)]);
            }
            Outcome::WontFit { .. } => line.extend(["wont fit".to_owned(), "no".to_owned()]),
            Outcome::DtypeMismatch(_) => line.push("dtype mismatch".to_owned()),
        }
        line.resize(cells.head.len(), String::new());
        cells.rows.push(line);
    }
    cells
}

fn projected(found: &Projection) -> [String; 8] {
    [
        word(&found.feasibility.fit),
        interval(found.decode_tokens_per_second),
        interval(found.prefill_tokens_per_second),
        interval(found.ttft_s),
        interval(found.total_s),
        word(&found.regime).replace(" bound", ""),
        word(&found.source),
        word(&found.decode_tokens_per_second.basis),
    ]
}

/// Why a model does not run on a tier, or what is not the best about how it does.
fn remark(row: &ProjectRow) -> Vec<String> {
    let mut lines = Vec::new();
    match &row.outcome {
        Outcome::Projected(found) => {
            let noted = |assumption: &hwledger_core::Assumption| {
                format!("{}: {} {}: {}", row.tier, assumption.what, assumption.value, assumption.why)
            };
            lines.extend(found.assumptions.0.iter().map(noted));
            lines.extend(row.deployment.hint.iter().map(|hint| format!("{}: {hint}", row.tier)));
        }
        Outcome::WontFit { feasibility } => lines.push(format!(
            "{}: needs {:.2} GB (weights {:.2}, cache {:.2}, overhead {:.2}) and has {}",
            row.tier,
            feasibility.required_gb,
            feasibility.weights_gb,
            feasibility.kv_cache_gb,
            feasibility.overhead_gb,
            feasibility.available_gb
        )),
        Outcome::DtypeMismatch(mismatch) => {
            lines.push(format!("{}: {} does not run: {}", row.tier, mismatch.precision.name(), mismatch.reason));
            lines.extend(mismatch.hint.iter().map(|hint| format!("{}: {hint}", row.tier)));
        }
    }
    lines
}

fn project_text(answer: &ProjectAnswer) -> String {
    let model = &answer.model;
    let head = format!(
        "{} · {} · {:.2} B parameters, {:.2} B active · {} tokens in, {} out\n\n",
        model.key,
        model.scheme.name,
        model.total_params_b,
        model.active_params_b,
        answer.prompt_tokens,
        answer.decode_tokens
    );
    // The same remark about several tiers is told once.
    let mut remarks: Vec<(String, Vec<&str>)> = Vec::new();
    for row in &answer.tiers {
        for line in remark(row) {
            let line = line.strip_prefix(&format!("{}: ", row.tier)).unwrap_or(&line).to_owned();
            match remarks.iter_mut().find(|(known, _)| *known == line) {
                Some((_, tiers)) => tiers.push(&row.tier),
                None => remarks.push((line, vec![&row.tier])),
            }
        }
    }
    let told = |(line, names): &(String, Vec<&str>)| {
        let whose =
            if names.len() == answer.tiers.len() && names.len() > 1 { "all".to_owned() } else { names.join(", ") };
        format!("  {whose}: {line}\n")
    };
    let remarks: String = remarks.iter().map(told).collect();
    format!("{head}{}\n{remarks}", project_cells(answer).table())
}

fn project(planner: &Planner, arguments: &ProjectArguments) -> Result<ExitCode, SizingFailure> {
    let request = ChipRequest {
        is_fresh_compile: arguments.fresh_compile,
        pattern: arguments.pattern.clone(),
        ..arguments.question.request()
    };
    let answer = planner.project_chips(&request)?;
    let runs_somewhere = answer.tiers.iter().any(|row| row.outcome.projected().is_some());
    let cells = || project_figures(&answer);
    Ok(say(&written(arguments.question.format, &answer, cells, || project_text(&answer)), runs_somewhere))
}

/// Names and values in two columns.
fn pairs(values: &BTreeMap<String, f64>) -> String {
    let mut cells = Cells::new(&[]);
    cells.rows = values.iter().map(|(name, value)| vec![format!("  {name}"), number(*value)]).collect();
    cells.table().trim_start_matches('\n').to_owned()
}

fn kpi_table(point: &Point) -> String {
    let mut cells = Cells::new(&["demand", "needed", "budget", "unit", "status", "left"]);
    for kpi in &point.kpis {
        cells.rows.push(vec![
            kpi.name.clone(),
            number(kpi.required),
            number(kpi.budget),
            kpi.units.to_owned(),
            word(&kpi.status),
            kpi.margin_pct.map_or_else(|| "-".to_owned(), |percent| format!("{percent:.0} %")),
        ]);
    }
    cells.table()
}

fn point(planner: &Planner, arguments: &PointArguments) -> Result<ExitCode, SizingFailure> {
    let answer = planner.what_if_point(&arguments.what_if())?;
    let format = arguments.question.format;
    let is_viable = answer.point.summary.is_viable;
    if format.csv {
        return Ok(say(&kpi_csv(&answer.point.kpis), is_viable));
    }
    let text = || {
        let mut sliders = Cells::new(&["slider", "value", "from", "to", "unit"]);
        for slider in &answer.sliders {
            let value = answer.point.values.get(slider.name).copied().unwrap_or(slider.default);
            let figures = [value, slider.min, slider.max].map(number);
            let mut line = vec![slider.name.to_owned()];
            line.extend(figures);
            line.push(slider.units.to_owned());
            sliders.rows.push(line);
        }
        format!(
            "{} on {}\n\n{}\n{}\n{}",
            answer.model,
            answer.tier,
            sliders.table(),
            kpi_table(&answer.point),
            pairs(&answer.point.metrics)
        )
    };
    Ok(say(&if format.json { json(&answer) } else { text() }, is_viable))
}

/// Metrics that tables show, with their heads.
const METRICS: [(&str, &str); 4] = [
    ("memory_bandwidth_gb_s", "memory (GB/s)"),
    ("decode_tokens_per_second", "decode (tok/s)"),
    ("ttft_s", "first token (s)"),
    ("total_s", "request (s)"),
];

fn sweep(planner: &Planner, arguments: &SweepArguments) -> Result<ExitCode, SizingFailure> {
    let answer = planner.what_if_sweep(&arguments.what_if())?;
    let cells = |figure: fn(f64) -> String| {
        let mut head: Vec<&str> = answer.sliders.iter().map(String::as_str).collect();
        head.extend(METRICS.map(|(_, title)| title));
        head.push("missed budgets");
        let mut cells = Cells::new(&head);
        for point in &answer.points {
            let moved = answer.sliders.iter().map(|name| point.values.get(name));
            let metrics = METRICS.iter().map(|(name, _)| point.metrics.get(*name));
            let mut line: Vec<String> = moved
                .chain(metrics)
                .map(|value| value.map_or_else(|| "-".to_owned(), |value| figure(*value)))
                .collect();
            let failures: Vec<&str> = point.summary.failures.iter().map(|failure| failure.name.as_str()).collect();
            line.push(if failures.is_empty() { "-".to_owned() } else { failures.join("; ") });
            cells.rows.push(line);
        }
        cells
    };
    let text = || format!("{} on {}\n\n{}", answer.model, answer.tier, cells(number).table());
    Ok(say(&written(arguments.point.question.format, &answer, || cells(unrounded), text), true))
}

fn pareto(planner: &Planner, arguments: &ParetoArguments) -> Result<ExitCode, SizingFailure> {
    let sweep = &arguments.sweep;
    let what_if =
        WhatIf { objectives: arguments.objectives.clone(), with_failing: arguments.with_failing, ..sweep.what_if() };
    let answer = planner.what_if_frontier(&what_if)?;
    let cells = |figure: fn(f64) -> String| {
        let mut head: Vec<String> = answer.sliders.clone();
        head.extend(arguments.objectives.iter().cloned());
        let mut cells = Cells { head, rows: Vec::new() };
        for point in &answer.points {
            let moved = answer.sliders.iter().filter_map(|name| point.values.get(name));
            cells.rows.push(moved.chain(&point.objectives).map(|value| figure(*value)).collect());
        }
        cells
    };
    let text = || {
        let count = answer.points.len();
        format!(
            "{} on {} · {count} settings that no other beats\n\n{}",
            answer.model,
            answer.tier,
            cells(number).table()
        )
    };
    Ok(say(&written(sweep.point.question.format, &answer, || cells(unrounded), text), !answer.points.is_empty()))
}
