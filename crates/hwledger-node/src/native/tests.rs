//! Directories of safetensors files, as `hwledger run` opens them.

use std::cell::RefCell;
use std::fmt::Write as _;

use super::{DEMO, LoadProgress, NativeError, NativeOptions, ReplyRequest, Session};
use crate::locate::LocateOptions;
use crate::locate::tests::Scratch;

const CONFIG: &str = r#"{"model_type": "llama", "hidden_size": 32, "vocab_size": 4, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 32, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5}"#;

const TOKENIZER: &str = r#"{"version": "1.0", "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
    "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "c": 2, "d": 3}, "unk_token": "a"}}"#;

/// A model whose logits are all zero.
fn weights() -> Vec<u8> {
    let layer = |name: &str| format!("model.layers.0.{name}.weight");
    let tensors = [
        ("model.embed_tokens.weight".to_owned(), "[4,32]", 128),
        ("model.norm.weight".to_owned(), "[32]", 32),
        (layer("input_layernorm"), "[32]", 32),
        (layer("post_attention_layernorm"), "[32]", 32),
        (layer("self_attn.q_proj"), "[32,32]", 1024),
        (layer("self_attn.k_proj"), "[16,32]", 512),
        (layer("self_attn.v_proj"), "[16,32]", 512),
        (layer("self_attn.o_proj"), "[32,32]", 1024),
        (layer("mlp.gate_proj"), "[32,32]", 1024),
        (layer("mlp.up_proj"), "[32,32]", 1024),
        (layer("mlp.down_proj"), "[32,32]", 1024),
    ];
    let (mut header, mut end) = (String::new(), 0);
    for (name, shape, elements) in tensors {
        let comma = if end == 0 { "{" } else { "," };
        let start = end;
        end += elements * 2;
        let entry = format!(r#"{comma}"{name}":{{"dtype":"BF16","shape":{shape},"data_offsets":[{start},{end}]}}"#);
        header.write_str(&entry).unwrap();
    }
    header.push('}');
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; end]].concat()
}

fn open(scratch: &Scratch) -> Result<Session, NativeError> {
    let options = NativeOptions { threads: Some(1), ..NativeOptions::default() };
    Session::open(scratch.path().to_str().unwrap(), &LocateOptions::default(), &options)
}

#[test]
fn a_directory_of_safetensors_is_run() {
    let scratch = Scratch::new();
    scratch.write("config.json", CONFIG);
    scratch.write("model.safetensors", weights());
    scratch.write("tokenizer.json", TOKENIZER);
    let session = open(&scratch).unwrap();
    assert_eq!(session.context(), 64);
    let messages = vec![("user".to_owned(), "b d".to_owned())];
    let prompt = session.prompt(&ReplyRequest { messages, is_raw: true, ..ReplyRequest::default() }).unwrap();
    assert_eq!(prompt, [1, 3]);
}

#[test]
fn what_is_missing_is_named() {
    let scratch = Scratch::new();
    scratch.write("config.json", CONFIG);
    let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    scratch.write("model.safetensors.index.json", index);
    scratch.write("model-1.safetensors", weights());
    assert!(matches!(open(&scratch), Err(NativeError::Incomplete(_))));

    let scratch = Scratch::new();
    scratch.write("model.safetensors", weights());
    assert!(matches!(open(&scratch), Err(NativeError::NoConfiguration(_))));
}

#[test]
fn loading_tells_how_far_it_is() {
    let scratch = Scratch::new();
    scratch.write("config.json", CONFIG);
    scratch.write("model.safetensors", weights());
    scratch.write("tokenizer.json", TOKENIZER);
    for (model, matrices) in [(scratch.path().to_str().unwrap(), 8), (DEMO, 29)] {
        let told = RefCell::new(Vec::new());
        let options = NativeOptions { threads: Some(1), keeps_nothing: true, ..NativeOptions::default() };
        Session::open_with_progress(model, &LocateOptions::default(), &options, &|progress| {
            told.borrow_mut().push(progress);
        })
        .unwrap();
        let told = told.into_inner();
        assert_eq!(told.len(), matrices, "{told:?}");
        assert!(told.is_sorted_by_key(|progress| progress.bytes_read), "{told:?}");
        let &LoadProgress { bytes_read, bytes } = told.last().unwrap();
        // All but headers, and the norms that are read last.
        assert!(bytes_read <= bytes && bytes_read * 10 > bytes * 9, "{bytes_read} of {bytes}");
    }
}
