//! Ollama: one line of estimates from its older scheduler, one line per device from its newer one, and the lines of
//! llama.cpp below it, which say what was really allocated.

use hwledger_core::Bytes;

use super::llama_cpp::read_line;
use super::{Devices, buffer, numbered, started};
use crate::measurement::quantity::{after, between, count, size};
use crate::measurement::run::MeasuredRun;

/// The quoted or bare value of `key` in a line of `key=value` pairs.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let rest = after(line, key)?;
    match rest.strip_prefix('"') {
        Some(rest) => rest.split('"').next(),
        None => rest.split_whitespace().next(),
    }
}

fn bytes(line: &str, key: &str) -> Option<Bytes> {
    value(line, key).and_then(size)
}

/// Reads a log. A load is printed again each time the layout is tried anew; the last one of a
/// model stays, and another model begins another run.
pub(in crate::measurement) fn ollama(text: &str) -> Vec<MeasuredRun> {
    let mut runs = Vec::new();
    let mut run = started("ollama", 1);
    let mut devices = Devices::default();
    // The newer scheduler prints weights, then caches, then graphs, for each try.
    let mut is_weights = false;
    let mut is_started = false;
    let mut below = started("llama.cpp", 1);
    for (index, line) in text.lines().enumerate() {
        let number = index as u64 + 1;
        devices.read(line);
        settings(line, &mut run);
        let starts_server = line.contains("msg=\"starting llama-server\"");
        if starts_server && !below.memory.is_empty() {
            allocated(&mut run, &mut below);
            runs.push(std::mem::replace(&mut run, started("ollama", number)));
            is_started = false;
        }
        if !line.contains("msg=") {
            read_line(line, &mut below);
        }
        let is_first =
            line.contains("memory.required.full=") || (line.contains("msg=\"model weights\"") && !is_weights);
        if is_first && is_started && !run.memory.is_empty() {
            allocated(&mut run, &mut below);
            runs.push(std::mem::replace(&mut run, started("ollama", number)));
            is_started = false;
        }
        is_started |=
            starts_server || line.contains("msg=\"starting runner\"") || line.contains("msg=\"starting llama server\"");
        if line.contains("memory.required.full=") {
            estimates(line, &mut run);
        } else if line.contains("msg=\"model weights\"") {
            if !is_weights {
                run.memory.clear();
            }
            is_weights = true;
            set(&mut run, line, Part::Weights);
        } else if line.contains("msg=\"kv cache\"") {
            is_weights = false;
            set(&mut run, line, Part::Cache);
        } else if line.contains("msg=\"compute graph\"") {
            is_weights = false;
            set(&mut run, line, Part::Graph);
        } else if line.contains("msg=\"total memory\"") {
            is_weights = false;
            run.figures.peak_memory_bytes = bytes(line, " size=");
        }
    }
    allocated(&mut run, &mut below);
    runs.push(run);
    for run in &mut runs {
        if let Some((name, count)) = devices.kind() {
            run.device = Some(name.to_owned());
            run.device_count = Some(count);
        }
    }
    numbered(runs)
}

/// What llama.cpp allocated takes the place of what was estimated before; the estimate of the whole stays.
fn allocated(run: &mut MeasuredRun, below: &mut MeasuredRun) {
    let found = std::mem::replace(below, started("llama.cpp", 1));
    if found.memory.is_empty() {
        return;
    }
    run.memory = found.memory;
    let (mine, theirs) = (&mut run.settings, found.settings);
    mine.context = theirs.context.or(mine.context);
    mine.gpu_layers = theirs.gpu_layers.or(mine.gpu_layers);
    mine.sequences = theirs.sequences;
    mine.batch = theirs.batch;
    mine.ubatch = theirs.ubatch;
    mine.flash_attention = theirs.flash_attention;
    mine.kv_type_k = theirs.kv_type_k;
    mine.kv_type_v = theirs.kv_type_v;
}

fn settings(line: &str, run: &mut MeasuredRun) {
    if let Some(version) = between(line, "Listening on ", &['\n']).and_then(|rest| between(rest, "(version ", &[')'])) {
        run.engine_version = Some(version.to_owned());
    }
    if let Some(tokens) = after(line, "--ctx-size ").and_then(count).or(after(line, "KvSize:").and_then(count)) {
        run.settings.context = Some(tokens);
    }
    if let Some(library) = value(line, "library=").filter(|library| library.len() < 20) {
        run.backend = Some(match library {
            "cuda" => "CUDA".to_owned(),
            "rocm" => "ROCm".to_owned(),
            "metal" => "Metal".to_owned(),
            "cpu" => "CPU".to_owned(),
            other => other.to_owned(),
        });
    }
    if let Some(layers) = between(line, "offloaded ", &['/']).and_then(count) {
        run.settings.gpu_layers = i64::try_from(layers).ok();
    }
}

#[derive(Clone, Copy)]
enum Part {
    Weights,
    Cache,
    Graph,
}

fn set(run: &mut MeasuredRun, line: &str, part: Part) {
    let (Some(device), Some(found)) = (value(line, " device="), bytes(line, " size=")) else { return };
    let Some(row) = buffer(&mut run.memory, device) else { return };
    *match part {
        Part::Weights => &mut row.weights_bytes,
        Part::Cache => &mut row.kv_cache_bytes,
        Part::Graph => &mut row.compute_bytes,
    } = Some(found);
}

/// `memory.required.full="6.2 GiB" ... memory.weights.total="4.7 GiB" ... memory.graph.full="560.0 MiB"`
fn estimates(line: &str, run: &mut MeasuredRun) {
    run.figures.peak_memory_bytes = bytes(line, "memory.required.full=");
    if let Some(layers) = value(line, "layers.offload=").and_then(count) {
        run.settings.gpu_layers = i64::try_from(layers).ok();
    }
    run.memory.clear();
    let Some(row) = buffer(&mut run.memory, "all") else { return };
    row.weights_bytes = bytes(line, "memory.weights.total=");
    row.kv_cache_bytes = bytes(line, "memory.required.kv=");
    row.compute_bytes = bytes(line, "memory.graph.full=");
}
