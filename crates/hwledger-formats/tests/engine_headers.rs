//! The headers of the models that the engine bench loads into llama.cpp: every
//! one is read, known and accounted for to the byte, and its layers keep what
//! the engine printed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use hwledger_core::ModelSpec;
use hwledger_core::model::{CacheOwner, Certainty};
use hwledger_formats::gguf::{model_spec, read_header};
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/engines/headers")
}

fn header_bytes(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = File::open(folder().join(format!("{name}.gguf.gz"))).unwrap();
    GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

/// Name, architecture, file bytes and tensors of every header.
fn index() -> Vec<(String, Value)> {
    let text = std::fs::read_to_string(folder().join("index.json")).unwrap();
    let index: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    index.into_iter().collect()
}

#[test]
fn every_header_is_known_and_accounted_for() {
    let index = index();
    let mut architectures = BTreeSet::new();
    for (name, row) in &index {
        let bytes = header_bytes(name);
        let size = row["file_bytes"].as_u64().unwrap();
        let header = read_header(&bytes[..], Some(size)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(header.tensors.len() as u64, row["tensors"].as_u64().unwrap(), "{name}: tensors");
        assert_eq!(header.data_offset, row["header_bytes"].as_u64().unwrap(), "{name}: header length");
        assert_eq!(header.data_offset + header.padded_data_bytes(), size, "{name}: the file is header and data");
        let (spec, notes) = model_spec(&header).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(spec.certainty, Certainty::Known, "{name}: {notes:?}");
        assert_eq!(spec.stored_bytes(), Some(header.tensor_bytes()), "{name}: weights");
        assert!(!spec.decoder.is_empty(), "{name}: layers");
        for layer in spec.decoder.layers() {
            assert!(
                !layer.weights.is_empty() || ["nanbeige", "graniteswitch", "hrm_text"].contains(&&*spec.architecture),
                "{name}: a layer without tensors"
            );
        }
        architectures.insert(spec.architecture);
    }
    assert!(architectures.len() >= 30, "{} architectures", architectures.len());
    println!("{} headers of {} architectures", index.len(), architectures.len());
}

/// Layers, key elements and value elements per cell of one cache.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct CacheShape {
    layers: u64,
    key: u64,
    value: u64,
}

impl CacheShape {
    fn add(&mut self, key: u64, value: u64) {
        self.layers += 1;
        self.key += key;
        self.value += value;
    }
}

/// The attention caches that llama.cpp makes for a model: full layers, windowed layers, index keys, and
/// compressed entries by ratio with their index keys.
fn cache_shapes(spec: &ModelSpec) -> Vec<CacheShape> {
    let mut shapes = [CacheShape::default(); 6];
    let [full, windowed, index, by_four, by_more, index_by_four] = &mut shapes;
    // MiniMax-M3's index keeps values as well, as long as the model's own.
    let index_values = spec.architecture == "minimax-m3";
    for attention in spec.decoder.layers().filter_map(|layer| layer.mixer.attention()) {
        if attention.cache != CacheOwner::Own {
            continue;
        }
        let target = if attention.span.window().is_some() { &mut *windowed } else { &mut *full };
        match attention.latent {
            Some(_) => target.add(attention.cached_elements_per_token(), 0),
            None => {
                target.add(attention.kv_heads * attention.key_dim, attention.kv_heads * attention.value_dim);
            }
        }
        let ratio = attention.compression.map_or(0, |compression| compression.ratio);
        let entry = attention.compression.map_or(0, |compression| compression.entry_elements);
        match ratio {
            0 => {}
            4 => by_four.add(entry, 0),
            _ => by_more.add(entry, 0),
        }
        if let Some(indexer) = attention.indexer.filter(|indexer| indexer.is_owner) {
            let target = if ratio == 4 { &mut *index_by_four } else { &mut *index };
            target.add(indexer.head_dim, if index_values { attention.value_dim } else { 0 });
        }
    }
    shapes.into_iter().filter(|shape| shape.layers > 0).collect()
}

/// The printed size of `elements` per cell, to the two decimals that the engine prints.
fn is_printed(part: &Value, elements: u64, cells: u64) -> bool {
    let bytes_per_element = match part["type"].as_str() {
        Some("f32") => 4.0,
        _ => 2.0,
    };
    let mebibytes = (elements * cells) as f64 * bytes_per_element / f64::from(1 << 20);
    (part["mib"].as_f64().unwrap() - mebibytes).abs() <= 0.0051
}

/// Every recorded case, a line each.
fn results() -> String {
    let file = File::open(folder().join("..").join("results/llamacpp.jsonl.gz")).unwrap();
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn caches_and_states_are_those_that_the_engine_printed() {
    let mut models = BTreeSet::new();
    let mut failures = Vec::new();
    for line in results().lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let name = row["model"].as_str().unwrap();
        let Some(caches) = row["printed"]["caches"].as_array() else { continue };
        let is_plain = caches.iter().all(|cache| {
            cache["parts"]
                .as_object()
                .unwrap()
                .values()
                .all(|part| matches!(part["type"].as_str(), Some("f16" | "f32")))
        });
        // Without flash attention values are padded, which is the engine's affair and not the model's.
        let is_flash = row["request"]["flash_attention"].as_str() != Some("off");
        let header_path = folder().join(format!("{name}.gguf.gz"));
        if !is_plain || !is_flash || !header_path.exists() || !models.insert(name.to_owned()) {
            continue;
        }
        let header = read_header(&header_bytes(name)[..], None).unwrap();
        let (spec, _) = model_spec(&header).unwrap();
        // The engine makes a cache for T5's encoder that nothing ever reads; the model needs none.
        if spec.architecture == "t5encoder" {
            continue;
        }
        failures.extend(disagreements(&spec, caches).into_iter().map(|what| format!("{name}: {what}")));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(models.len() >= 30, "{} models", models.len());
}

/// What the engine printed and the description does not give, and the reverse.
fn disagreements(spec: &ModelSpec, caches: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    let mut expected = cache_shapes(spec);
    for cache in caches {
        let cells = cache["cells"].as_u64().unwrap();
        let parts = &cache["parts"];
        if cache["what"] == "llama_memory_recurrent" {
            let states = || spec.decoder.layers().filter_map(|layer| layer.mixer.recurrent());
            let shift: u64 = states().map(|state| state.convolution_elements() + state.shift_elements).sum();
            let state: u64 = states().map(|state| state.state_elements).sum();
            if !is_printed(&parts["R"], shift, cells) || !is_printed(&parts["S"], state, cells) {
                found.push(format!("printed {cache}, described {shift} and {state} elements"));
            }
        } else if cache["what"] == "llama_kv_cache" && cache["layers"] != 0 {
            let all_cells = cells * cache["streams"].as_u64().unwrap();
            let at = expected.iter().position(|shape| {
                // Layers without heads are counted by the engine, with nothing in them (Deci).
                cache["layers"].as_u64() >= Some(shape.layers)
                    && is_printed(&parts["K"], shape.key, all_cells)
                    && is_printed(&parts["V"], shape.value, all_cells)
            });
            match at {
                Some(at) => drop(expected.swap_remove(at)),
                None => found.push(format!("printed {cache}, described {expected:?}")),
            }
        }
    }
    if !expected.is_empty() {
        found.push(format!("not printed: {expected:?}"));
    }
    found
}
