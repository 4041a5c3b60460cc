//! The lines that llama.cpp's start-up log would print, for comparing by eye.

use crate::model::ModelSpec;
use crate::settings::{Device, DeviceKind};
use crate::{Assumptions, Bytes, ElementType, Settings};

use super::{CacheGeometry, Layout, MemoryPlan, architecture};
use crate::engine::EngineError;

/// The lines about memory that llama.cpp would print, in its order.
///
/// # Errors
///
/// [`EngineError::Refused`] where the engine would not start.
pub fn log_lines(model: &ModelSpec, settings: &Settings) -> Result<Vec<String>, EngineError> {
    let layout = Layout::resolve(model, settings, &mut Assumptions::default())?;
    let plan = super::memory_plan(model, settings, &layout);
    let names = buffer_names(&layout.placement.cards, settings.backend.as_deref());
    let mut lines = Vec::new();
    lines.push(format!("load_tensors: offloaded {}/{} layers to GPU", layout.placement.offloaded(), layers(model)));
    let weights = |name: &str, bytes: u64| format!("load_tensors: {name:>12} model buffer size = {}", mebibytes(bytes));
    for buffer in layout.weights.host_buffers(layout.parameters.release) {
        // Read, not mapped, they are in memory that the first card's driver pins, where it can.
        let is_pinned =
            buffer.name == "CPU" && layout.placement.cards.iter().any(|card| card.kind != DeviceKind::Apple);
        let name = if is_pinned { format!("{}_Host", family(&names[0])) } else { buffer.name };
        lines.push(weights(&name, buffer.bytes.value.0));
    }
    for (name, &bytes) in names.iter().zip(&layout.weights.cards) {
        lines.push(weights(name, bytes));
    }
    let parameters = &layout.parameters;
    lines.push(format!("llama_context: n_seq_max     = {}", parameters.n_seq_max));
    lines.push(format!("llama_context: n_ctx         = {}", parameters.n_ctx));
    lines.push(format!("llama_context: n_ctx_seq     = {}", parameters.n_ctx_seq));
    lines.push(format!("llama_context: n_batch       = {}", parameters.n_batch));
    lines.push(format!("llama_context: n_ubatch      = {}", parameters.n_ubatch));
    let output = if names.is_empty() { "CPU".to_owned() } else { format!("{}_Host", family(names[0].as_str())) };
    lines.push(format!("llama_context: {output:>10}  output buffer size = {}", mebibytes(layout.output_bytes(model))));
    cache_lines(model, &layout, &names, &mut lines);
    compute_lines(&plan, &names, &mut lines);
    Ok(lines)
}

fn layers(model: &ModelSpec) -> usize {
    architecture::layers_in_file(model) + 1
}

fn mebibytes(bytes: u64) -> String {
    format!("{:8.2} MiB", Bytes(bytes).mebibytes())
}

/// `CUDA0` without its number.
fn family(name: &str) -> &str {
    name.trim_end_matches(|character: char| character.is_ascii_digit())
}

/// The names that backends give their buffers.
fn buffer_names(cards: &[Device], backend: Option<&str>) -> Vec<String> {
    cards
        .iter()
        .enumerate()
        .map(|(index, card)| {
            let family = match (backend, card.kind) {
                (Some(name), _) if name.eq_ignore_ascii_case("vulkan") => "Vulkan",
                (Some(name), _) if name.eq_ignore_ascii_case("rocm") => "ROCm",
                (Some(name), _) if name.eq_ignore_ascii_case("cuda") => "CUDA",
                (_, DeviceKind::Apple) => "MTL",
                (_, DeviceKind::Nvidia) => "CUDA",
                (_, DeviceKind::Amd | DeviceKind::SharedMemory) => "ROCm",
                (_, DeviceKind::Intel) => "SYCL",
                (_, DeviceKind::Cpu | DeviceKind::Other) => "GPU",
            };
            format!("{family}{index}")
        })
        .collect()
}

fn cache_lines(model: &ModelSpec, layout: &Layout, names: &[String], lines: &mut Vec<String>) {
    let places = || {
        std::iter::once(("CPU", layout.host)).chain(names.iter().map(String::as_str).zip(layout.cards.iter().copied()))
    };
    for (name, memory) in places().filter(|(_, memory)| memory.attention() > 0) {
        lines.push(format!("llama_kv_cache: {name:>10} KV buffer size = {}", mebibytes(memory.attention())));
    }
    let parameters = &layout.parameters;
    for (cells, count, key, value) in cell_groups(model, layout) {
        lines.push(format!(
            "llama_kv_cache: size = {:7.2} MiB ({cells:6} cells, {count:3} layers, {:2}/{} seqs), K ({}): {:7.2} MiB, V ({}): {:7.2} MiB",
            Bytes(key + value).mebibytes(),
            parameters.n_seq_max,
            parameters.n_stream(),
            parameters.type_k,
            Bytes(key).mebibytes(),
            parameters.type_v,
            Bytes(value).mebibytes(),
        ));
    }
    for (name, memory) in places().filter(|(_, memory)| memory.state > 0) {
        lines.push(format!("llama_memory_recurrent: {name:>10} RS buffer size = {}", mebibytes(memory.state)));
    }
    let state: u64 = layout.cards.iter().map(|card| card.state).sum::<u64>() + layout.host.state;
    if state > 0 {
        lines.push(format!(
            "llama_memory_recurrent: size = {:7.2} MiB ({:6} cells, {:3} layers, {:2} seqs), state type {}",
            Bytes(state).mebibytes(),
            parameters.n_seq_max,
            model.decoder.len(),
            parameters.n_seq_max,
            ElementType::F32,
        ));
    }
}

/// Layers with equally many cells: cells, layers, key bytes, value bytes.
fn cell_groups(model: &ModelSpec, layout: &Layout) -> Vec<(u64, u64, u64, u64)> {
    let mut groups: Vec<(u64, u64, u64, u64)> = Vec::new();
    if !architecture::has_cache(model) {
        return groups;
    }
    let geometry = CacheGeometry::new(model, &layout.parameters);
    for (layer, count) in model.decoder.counted() {
        let Some(attention) = layer.mixer.attention().filter(|attention| architecture::owns_cache(attention)) else {
            continue;
        };
        let cells = geometry.cells(attention);
        let memory = geometry.layer(layer);
        let index = groups.iter().position(|group| group.0 == cells).unwrap_or_else(|| {
            groups.push((cells, 0, 0, 0));
            groups.len() - 1
        });
        let group = &mut groups[index];
        group.1 += count;
        group.2 += memory.key.saturating_add(memory.index).saturating_mul(count);
        group.3 += memory.value.saturating_mul(count);
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.0));
    groups
}

fn compute_lines(plan: &MemoryPlan, names: &[String], lines: &mut Vec<String>) {
    let host = if names.is_empty() { "CPU".to_owned() } else { format!("{}_Host", family(names[0].as_str())) };
    let all = names.iter().map(String::as_str).chain(std::iter::once(host.as_str()));
    for (name, device) in all.zip(&plan.devices) {
        if let Some(compute) = device.components.compute {
            lines.push(format!("sched_reserve: {name:>10} compute buffer size = {}", mebibytes(compute.value.0)));
        }
    }
}
