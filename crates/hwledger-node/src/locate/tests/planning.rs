//! Models found here and elsewhere, as far as their description.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::json;

use super::Scratch;
use super::fetching::{listing, options};
use super::server::{Reply, Server};
use crate::locate::LocateOptions;
use crate::model::LoadedModel;

/// Parameters of Llama 3.1 8B, as its publisher counts them.
const PARAMETERS: u64 = 8_030_261_248;
/// Size of a real file with that header.
const FILE_BYTES: u64 = 4_920_738_944;

/// The header of a GGUF file, as the engine bench keeps it.
fn header() -> Vec<u8> {
    let name = "../../bench/engines/headers/llama-3.1-8b-q4_k_m.gguf.gz";
    let file = File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    let mut header = Vec::new();
    GzDecoder::new(file).read_to_end(&mut header).unwrap();
    header
}

/// Writes a file that holds the header and, sparsely, nothing else.
fn write_sparse(path: &Path) {
    std::fs::write(path, header()).unwrap();
    File::options().write(true).open(path).unwrap().set_len(FILE_BYTES).unwrap();
}

#[test]
fn a_gguf_elsewhere_is_described_from_its_header() {
    let scratch = Scratch::new();
    let header = header();
    let server = Server::start(move |seen| match seen.path.as_str() {
        path if path.starts_with("/api/") => listing(&[("m-Q4_K_M.gguf", FILE_BYTES)]),
        _ => Reply::range(seen, &header, FILE_BYTES),
    });
    let model = LoadedModel::load("org/m-GGUF:Q4_K_M", &options(&server, &scratch)).unwrap();
    assert_eq!(model.spec.parameters().total, PARAMETERS);
    assert!(model.is_gguf);
    let sent: u64 = server.take_log().iter().map(|seen| seen.sent).sum();
    assert!(sent < 1 << 20, "{sent}");
}

#[test]
fn a_gguf_in_the_stores_is_described_from_its_header() {
    let scratch = Scratch::new();
    let digest = "a".repeat(64);
    let blob = scratch.write(&format!("ollama/blobs/sha256-{digest}"), "");
    write_sparse(&blob);
    let layer = json!({"mediaType": "application/vnd.ollama.image.model", "digest": format!("sha256:{digest}"), "size": FILE_BYTES});
    let manifest = json!({"schemaVersion": 2, "layers": [layer]}).to_string();
    scratch.write("ollama/manifests/registry.ollama.ai/library/llama3.1/8b", manifest);
    let path = scratch.write("lmstudio/org/m-GGUF/m-Q4_K_M.gguf", "");
    write_sparse(&path);
    let options = LocateOptions {
        ollama_stores: vec![scratch.path().join("ollama")],
        lm_studio_folders: vec![scratch.path().join("lmstudio")],
        is_offline: true,
        ..LocateOptions::default()
    };
    for reference in ["ollama:llama3.1:8b", "llama3.1:8b", "org/m-GGUF", "m-GGUF", path.to_str().unwrap()] {
        let model = LoadedModel::load(reference, &options).unwrap();
        assert_eq!(model.spec.parameters().total, PARAMETERS, "{reference}");
    }
}

/// A safetensors header that names tensors by their shapes.
fn safetensors(tensors: &[(&str, &[u64])]) -> (Vec<u8>, u64) {
    let mut end = 0;
    let entries = tensors.iter().map(|(name, shape)| {
        let start = end;
        end += 2 * shape.iter().product::<u64>();
        ((*name).to_owned(), json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}))
    });
    let header = serde_json::Value::Object(entries.collect()).to_string();
    let mut content = (header.len() as u64).to_le_bytes().to_vec();
    content.extend(header.bytes());
    let total = content.len() as u64 + end;
    (content, total)
}

#[test]
fn a_repository_elsewhere_is_described_from_configuration_and_tensors() {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
        "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 1, "vocab_size": 100,
        "max_position_embeddings": 128, "tie_word_embeddings": true, "torch_dtype": "bfloat16"
    });
    let (header, total) = safetensors(&[
        ("model.embed_tokens.weight", &[100, 64]),
        ("model.layers.0.self_attn.q_proj.weight", &[64, 64]),
        ("model.layers.0.self_attn.k_proj.weight", &[32, 64]),
        ("model.layers.0.self_attn.v_proj.weight", &[32, 64]),
        ("model.layers.0.self_attn.o_proj.weight", &[64, 64]),
        ("model.layers.0.mlp.gate_proj.weight", &[128, 64]),
        ("model.layers.0.mlp.up_proj.weight", &[128, 64]),
        ("model.layers.0.mlp.down_proj.weight", &[64, 128]),
        ("model.layers.0.input_layernorm.weight", &[64]),
        ("model.layers.0.post_attention_layernorm.weight", &[64]),
        ("model.norm.weight", &[64]),
    ]);
    let scratch = Scratch::new();
    let server = Server::start(move |seen| match seen.path.rsplit('/').next() {
        Some("main?blobs=true") => listing(&[("config.json", 1), ("model.safetensors", total)]),
        Some("config.json") => Reply::whole(config.to_string()),
        Some("model.safetensors") => Reply::range(seen, &header, total),
        _ => Reply::status(404),
    });
    let model = LoadedModel::load("org/tiny", &options(&server, &scratch)).unwrap();
    assert_eq!(model.spec.parameters().total, 43_456);
    assert!(!model.is_gguf);
    assert_eq!(model.spec.file_bytes, Some(2 * 43_456));
}
