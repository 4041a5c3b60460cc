//! Time to read headers: `cargo bench -p hwledger-formats --bench headers`.
//!
//! Budget: 40 ms for a GGUF header with 2,000 tensors and a vocabulary of 250,000 tokens (scores, types and merges
//! included, some 13 MiB), description included; and as much for a safetensors header of 20,000 tensors.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot start should stop at once")]

use std::fmt::Write as _;

use divan::{Bencher, black_box};
use hwledger_formats::{gguf, safetensors};

fn main() {
    divan::main();
}

const TOKENS: u64 = 250_000;
const MERGES: u64 = 500_000;
const LAYERS: u64 = 181;
/// Name, columns and rows of each layer's eleven tensors.
const TENSORS: &[(&str, u64, u64)] = &[
    ("attn_norm", 4096, 1),
    ("attn_q", 4096, 4096),
    ("attn_k", 4096, 1024),
    ("attn_v", 4096, 1024),
    ("attn_output", 4096, 4096),
    ("attn_q_norm", 128, 1),
    ("attn_k_norm", 128, 1),
    ("ffn_norm", 4096, 1),
    ("ffn_gate", 4096, 12288),
    ("ffn_up", 4096, 12288),
    ("ffn_down", 12288, 4096),
];

fn text(bytes: &mut Vec<u8>, value: &str) {
    bytes.extend((value.len() as u64).to_le_bytes());
    bytes.extend(value.as_bytes());
}

fn number(bytes: &mut Vec<u8>, key: &str, value: u64) {
    text(bytes, key);
    bytes.extend(4_u32.to_le_bytes());
    bytes.extend(u32::try_from(value).unwrap().to_le_bytes());
}

fn array(bytes: &mut Vec<u8>, key: &str, kind: u32, length: u64) {
    text(bytes, key);
    bytes.extend(9_u32.to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend(length.to_le_bytes());
}

fn gguf_header() -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    let keys = [
        ("block_count", LAYERS),
        ("embedding_length", 4096),
        ("attention.head_count", 32),
        ("attention.head_count_kv", 8),
    ];
    bytes.extend((LAYERS * TENSORS.len() as u64 + 2).to_le_bytes());
    bytes.extend((keys.len() as u64 + 5).to_le_bytes());
    text(&mut bytes, "general.architecture");
    bytes.extend(8_u32.to_le_bytes());
    text(&mut bytes, "qwen3");
    for (key, value) in keys {
        number(&mut bytes, &format!("qwen3.{key}"), value);
    }
    array(&mut bytes, "tokenizer.ggml.tokens", 8, TOKENS);
    (0..TOKENS).for_each(|token| text(&mut bytes, &format!("tok{token}")));
    array(&mut bytes, "tokenizer.ggml.scores", 6, TOKENS);
    bytes.extend(std::iter::repeat_n(0, 4 * usize::try_from(TOKENS).unwrap()));
    array(&mut bytes, "tokenizer.ggml.token_type", 5, TOKENS);
    bytes.extend(std::iter::repeat_n(1, 4 * usize::try_from(TOKENS).unwrap()));
    array(&mut bytes, "tokenizer.ggml.merges", 8, MERGES);
    (0..MERGES).for_each(|merge| text(&mut bytes, &format!("a{merge} b")));
    let mut offset = 0;
    let mut tensor = |name: &str, columns: u64, rows: u64| {
        text(&mut bytes, name);
        bytes.extend(2_u32.to_le_bytes());
        bytes.extend(columns.to_le_bytes());
        bytes.extend(rows.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(u64::to_le_bytes(offset));
        offset += columns * rows * 2;
    };
    tensor("token_embd.weight", 4096, TOKENS);
    tensor("output.weight", 4096, TOKENS);
    for layer in 0..LAYERS {
        for (name, columns, rows) in TENSORS {
            tensor(&format!("blk.{layer}.{name}.weight"), *columns, *rows);
        }
    }
    bytes
}

#[divan::bench]
fn gguf_with_2000_tensors_and_250000_tokens(bencher: Bencher<'_, '_>) {
    let bytes = gguf_header();
    bencher.bench(|| {
        let header = gguf::read_header(black_box(&bytes[..]), None).unwrap();
        gguf::model_spec(&header).unwrap()
    });
}

#[divan::bench]
fn safetensors_with_20000_tensors(bencher: Bencher<'_, '_>) {
    let mut json = String::from("{\"__metadata__\":{\"format\":\"pt\"}");
    let mut offset = 0_u64;
    for layer in 0..40 {
        for expert in 0..500 {
            let end = offset + 2 * 2048 * 7168;
            write!(
                json,
                ",\"model.layers.{layer}.mlp.experts.{expert}.up_proj.weight\":\
                 {{\"dtype\":\"BF16\",\"shape\":[2048,7168],\"data_offsets\":[{offset},{end}]}}"
            )
            .unwrap();
            offset = end;
        }
    }
    json.push('}');
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.as_bytes());
    bencher.bench(|| {
        let header = safetensors::read_header(black_box(&bytes[..]), None).unwrap();
        safetensors::infer(&header.into()).unwrap()
    });
}
