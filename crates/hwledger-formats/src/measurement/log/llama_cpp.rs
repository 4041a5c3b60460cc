//! llama.cpp: one line per buffer.

use super::{Devices, buffer, numbered, started};
use crate::measurement::llama_bench::{is_gguf, model_of, weights_of_label};
use crate::measurement::quantity::{after, between, count, number, parameters, size};
use crate::measurement::run::MeasuredRun;

/// Reads a log; each `load_tensors` of weights after compute buffers begins another run.
pub(in crate::measurement) fn llama_cpp(text: &str) -> Vec<MeasuredRun> {
    let mut runs = Vec::new();
    let mut run = started("llama.cpp", 1);
    let mut devices = Devices::default();
    let mut names = Names::default();
    for (index, line) in text.lines().enumerate() {
        let is_next = line.contains(" model buffer size") && run.memory.iter().any(|one| one.compute_bytes.is_some());
        if is_next {
            let version = run.engine_version.clone();
            finish(&mut run, &devices, std::mem::take(&mut names));
            runs.push(std::mem::replace(&mut run, started("llama.cpp", index as u64 + 1)));
            run.engine_version = version;
        }
        devices.read(line);
        read_line(line, &mut run);
        names.read(line, &mut run);
    }
    finish(&mut run, &devices, names);
    runs.push(run);
    numbered(runs)
}

fn finish(run: &mut MeasuredRun, devices: &Devices, names: Names) {
    run.model = names.file.or(names.name).or(run.model.take());
    if let Some((name, count)) = devices.kind() {
        run.device = Some(name.to_owned());
        run.device_count = Some(count);
    }
    let backend = run.memory.iter().find(|one| !one.is_host()).map(|one| family(&one.device).to_owned());
    run.backend = backend.or(run.backend.take());
}

/// `CUDA` of `CUDA0`.
fn family(device: &str) -> &str {
    device.trim_end_matches(|letter: char| letter.is_ascii_digit())
}

/// What the log calls the model.
#[derive(Default)]
struct Names {
    file: Option<String>,
    name: Option<String>,
}

impl Names {
    /// `print_info: general.name = ...`, `llama_model_loader: loaded meta data ... from PATH (version GGUF V3 ...`
    fn read(&mut self, line: &str, run: &mut MeasuredRun) {
        let value = |name: &str| after(line, name).and_then(|rest| after(rest, "= ")).map(str::trim);
        if let Some(name) = value("general.name ").filter(|_| line.contains("print_info") || line.contains("llm_load"))
        {
            self.name = Some(name.to_owned());
        }
        if line.contains("loaded meta data")
            && let Some(path) = between(line, " from ", &['(']).map(str::trim)
            && is_gguf(path)
        {
            self.file = Some(model_of(path));
        }
        let is_info = line.contains("print_info:") || line.contains("llm_load_print_meta:");
        if !is_info {
            return;
        }
        // `file type   = Q4_K - Medium`, `model params = 8.03 B`, `file size = 4.58 GiB (4.89 BPW)`
        if let Some(kind) = value("file type").or(value("model ftype")) {
            run.weights = weights_of_label(kind);
        }
        if let Some(found) = value("model params").and_then(|text| parameters(text.split('(').next().unwrap_or(text))) {
            run.parameters = Some(found);
        }
        if let Some(found) = value("file size").or(value("model size")).and_then(size) {
            run.size_bytes = Some(found);
        }
    }
}

/// `build: 6976 (a4b54f2697) with ...`, or since 2026 `... common_params_print_info: build 10488 (a4b54f2697) with ...`.
/// Builds outside version control are all number 0.
fn build(line: &str) -> Option<u64> {
    let rest = line.trim().strip_prefix("build: ").or_else(|| after(line, "print_info: build "))?;
    count(rest).filter(|build| *build > 0)
}

/// Takes what a line says of buffers and settings.
pub(super) fn read_line(line: &str, run: &mut MeasuredRun) {
    if let Some((front, rest)) = line.split_once("buffer size") {
        if let Some(bytes) = after(rest, "=").and_then(size) {
            // `llama_kv_cache:      CUDA0 KV` / `load_tensors:   CPU_Mapped model`
            let mut words = front.split_whitespace().rev();
            let (kind, device) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let Some(row) = buffer(&mut run.memory, device) else { return };
            let slot = match kind {
                "model" => &mut row.weights_bytes,
                "KV" => &mut row.kv_cache_bytes,
                "RS" => &mut row.recurrent_state_bytes,
                "compute" => &mut row.compute_bytes,
                "output" => &mut row.output_bytes,
                _ => return,
            };
            // Window layers have a cache and a line of their own; a compute buffer is printed again
            // when it is reserved anew, and only the last one stays.
            *slot = match (kind, *slot) {
                ("compute" | "output", _) | (_, None) => Some(bytes),
                (_, Some(before)) => Some(before + bytes),
            };
        }
        return;
    }
    let setting = |name: &str| {
        let rest = after(line, name)?.trim_start();
        rest.strip_prefix('=').and_then(count)
    };
    if let Some(layers) = between(line, "offloaded ", &['/']).and_then(count) {
        run.settings.gpu_layers = i64::try_from(layers).ok();
    } else if let Some(build) = build(line) {
        run.engine_version = Some(format!("b{build}"));
    } else if let Some(tokens) = setting(": n_ctx ") {
        run.settings.context = Some(tokens);
    } else if let Some(sequences) = setting(": n_seq_max ") {
        run.settings.sequences = Some(sequences);
    } else if let Some(tokens) = setting(": n_batch ") {
        run.settings.batch = Some(tokens);
    } else if let Some(tokens) = setting(": n_ubatch ") {
        run.settings.ubatch = Some(tokens);
    } else if let Some(word) = after(line, ": flash_attn ").and_then(|rest| after(rest, "= ")) {
        run.settings.flash_attention = match word.trim() {
            "1" | "enabled" => Some("on".to_owned()),
            "0" | "disabled" => Some("off".to_owned()),
            "-1" | "auto" => Some("auto".to_owned()),
            _ => None,
        };
    } else if line.contains(" K (")
        && line.contains(" V (")
        && number(after(line, "size").unwrap_or("").trim_start_matches([' ', '='])).is_some()
    {
        run.settings.kv_type_k = between(line, " K (", &[')']).map(str::to_owned);
        run.settings.kv_type_v = between(line, " V (", &[')']).map(str::to_owned);
    }
}
