//! What is not run is refused by name; what is broken is an error and no panic.

use std::error::Error as _;

use hwledger_engine::model::ModelFile;

use crate::files::{Noise, Safetensors, directory, logits};

pub(crate) const CONFIG: &str = r#""hidden_size": 64, "vocab_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 96, "max_position_embeddings": 64, "rms_norm_eps": 1e-5"#;

pub(crate) fn small_model() -> Safetensors {
    let (mut file, mut noise) = (Safetensors::default(), Noise(3));
    let layer = |name: &str| format!("model.layers.0.{name}.weight");
    let tensors = [
        ("model.embed_tokens.weight".to_owned(), vec![32, 64]),
        ("model.norm.weight".to_owned(), vec![64]),
        (layer("input_layernorm"), vec![64]),
        (layer("post_attention_layernorm"), vec![64]),
        (layer("self_attn.q_proj"), vec![64, 64]),
        (layer("self_attn.k_proj"), vec![32, 64]),
        (layer("self_attn.v_proj"), vec![32, 64]),
        (layer("self_attn.o_proj"), vec![64, 64]),
        (layer("mlp.gate_proj"), vec![96, 64]),
        (layer("mlp.up_proj"), vec![96, 64]),
        (layer("mlp.down_proj"), vec![64, 96]),
    ];
    for (name, shape) in tensors {
        file.floats(&name, &shape, &noise.values(shape.iter().product(), 0.2));
    }
    file
}

/// The error of a model with further keys and tensors.
fn error(keys: &str, change: impl FnOnce(&mut Safetensors)) -> String {
    let mut file = small_model();
    change(&mut file);
    let config = format!("{{{CONFIG}, {keys}}}");
    let tensors = directory(&config, None, vec![file.file("model.safetensors")]);
    let error = tensors.and_then(|tensors| logits(&tensors)).unwrap_err();
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

#[test]
fn what_is_not_run_is_refused_by_name() {
    let check = |keys: &str, change: &dyn Fn(&mut Safetensors), expected: &str| {
        assert_eq!(error(keys, change), expected, "{keys}");
    };
    let none = |_: &mut Safetensors| ();
    let refuses = |what: &str| format!("the native engine does not run {what}");
    check(r#""model_type": "mamba""#, &none, &refuses("models of the type `mamba`"));
    check(r#""model_type": "llama", "hidden_act": "quick_gelu""#, &none, &refuses("the activation `quick_gelu`"));
    check(
        r#""model_type": "qwen2", "is_causal": false"#,
        &none,
        &refuses("decoders whose tokens see those after them (`is_causal`)"),
    );
    check(
        r#""model_type": "llama", "rope_scaling": {"type": "mrope"}"#,
        &none,
        &refuses("positions scaled by `mrope`"),
    );
    check(
        r#""model_type": "llama", "rope_scaling": {"type": "linear"}"#,
        &none,
        "the key `factor` is missing, which cannot be; positions that are scaled need it",
    );
    check(
        r#""model_type": "llama", "quantization_config": {"quant_method": "gptq", "bits": 4}"#,
        &|file| file.put("model.layers.0.self_attn.q_proj.qweight", "I32", &[8, 64], &[0; 2048]),
        &refuses("weights quantised by `gptq` (the tensor `model.layers.0.self_attn.q_proj.qweight` of the type I32)"),
    );
    check(
        r#""model_type": "llama", "quantization": {"bits": 4, "group_size": 32, "mode": "mxfp4"}"#,
        &|file| {
            file.put("lm_head.weight", "U32", &[32, 8], &[0; 1024]);
            file.put("lm_head.scales", "U8", &[32, 2], &[0; 64]);
        },
        &refuses("weights quantised by `mxfp4` (the tensor `lm_head.scales` of the type U8)"),
    );
    check(r#""model_type": "llama", "tie_word_embeddings": false"#, &none, "the tensor `lm_head.weight` is missing");
    check(
        r#""model_type": "llama", "num_hidden_layers": 1"#,
        &|file| {
            file.put("lm_head.weight", "U32", &[32, 12], &[0; 1536]);
            file.put("lm_head.scales", "F16", &[32, 2], &[0; 128]);
            file.put("lm_head.biases", "F16", &[32, 2], &[0; 128]);
        },
        "the tensor `lm_head.weight` cannot be used: there is no kernel for 6-bit numbers in groups of 32",
    );
}

#[test]
fn the_small_model_runs_as_it_is() {
    let config = format!(r#"{{{CONFIG}, "model_type": "llama"}}"#);
    let tensors = directory(&config, None, vec![small_model().file("model.safetensors")]).unwrap();
    assert_eq!(logits(&tensors).unwrap().len(), 12 * 32);
}

#[test]
fn broken_files_are_errors() {
    let config = format!(r#"{{{CONFIG}, "model_type": "llama"}}"#);
    let whole = small_model().bytes();
    let header = usize::try_from(u64::from_le_bytes(whole[..8].try_into().unwrap())).unwrap();
    let run = |bytes: Vec<u8>| {
        let file = ModelFile::embedded("model.safetensors", bytes.leak());
        directory(&config, None, vec![file]).and_then(|tensors| logits(&tensors))
    };
    for length in (0..8 + header).step_by(7).chain([whole.len() - 1]) {
        assert!(run(whole[..length].to_vec()).is_err(), "{length} bytes");
    }
    // One byte of the header changed: an error, or another model that runs or is refused; never a panic.
    let mut noise = Noise(4);
    for place in (8..8 + header).step_by(3) {
        let mut bytes = whole.clone();
        bytes[place] = noise.bits().to_le_bytes()[0];
        let _ = run(bytes);
    }
}

#[test]
fn absurd_configurations_are_errors() {
    let keys = [
        "hidden_size",
        "vocab_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "intermediate_size",
        "rms_norm_eps",
        "head_dim",
        "max_position_embeddings",
        "rope_theta",
    ];
    for key in keys {
        for value in ["0", "-1", "1e300", "2097152", "\"x\"", "[]"] {
            let mut config: serde_json::Value =
                serde_json::from_str(&format!(r#"{{{CONFIG}, "model_type": "llama"}}"#)).unwrap();
            config[key] = serde_json::from_str(value).unwrap();
            let file = small_model().file("model.safetensors");
            let _ = directory(&config.to_string(), None, vec![file]).and_then(|tensors| logits(&tensors));
        }
    }
}

#[test]
fn a_tensor_in_two_files_needs_an_index() {
    let config = format!(r#"{{{CONFIG}, "model_type": "llama"}}"#);
    let files = vec![small_model().file("a.safetensors"), small_model().file("b.safetensors")];
    let error = directory(&config, None, files).unwrap_err().to_string();
    assert!(error.ends_with("is in two files, and there is no index that says which counts"), "{error}");
}

#[test]
fn encoders_that_are_computed_otherwise_are_refused_by_name() {
    const ENCODER: &str = r#""vocab_size": 32, "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4,
        "intermediate_size": 96, "max_position_embeddings": 64, "architectures": ["Model"]"#;
    let settings = |keys: &str| {
        let files = vec![Safetensors::default().file("model.safetensors")];
        let tensors = directory(&format!("{{{ENCODER}, {keys}}}"), None, files)?;
        tensors.encoder_settings(&tensors.spec()?, 64)
    };
    let check = |keys: &str, expected: &str| {
        let error = settings(keys).unwrap_err().to_string();
        assert!(error.contains(expected), "{keys}: {error}");
    };
    let bert = r#""model_type": "bert", "layer_norm_eps": 1e-12"#;
    let nomic = r#""model_type": "nomic_bert", "layer_norm_epsilon": 1e-12, "rotary_emb_base": 1000"#;
    settings(bert).unwrap();
    let found = settings(nomic).unwrap();
    assert!((found.rotary.unwrap().frequencies[1] - 1000.0_f64.powf(-0.125)).abs() < 1e-12);
    let roberta = settings(r#""model_type": "xlm-roberta", "layer_norm_eps": 1e-5, "pad_token_id": 1"#).unwrap();
    assert_eq!(roberta.first_position, 2);
    check(r#""model_type": "mpnet", "layer_norm_eps": 1e-12"#, "models of the type `mpnet`");
    check(r#""model_type": "modernbert", "layer_norm_eps": 1e-12"#, "models of the type `modernbert`");
    check(r#""model_type": "bert""#, "the key `layer_norm_eps` is missing");
    check(&format!(r#"{bert}, "position_embedding_type": "alibi""#), "positions of the kind `alibi`");
    check(&format!(r#"{bert}, "hidden_act": "quick_gelu""#), "the activation `quick_gelu`");
    check(&format!(r#"{bert}, "is_decoder": true"#), "see only those before them");
    check(&format!(r#"{nomic}, "prenorm": true"#), "`prenorm`");
    check(&format!(r#"{nomic}, "rotary_emb_interleaved": true"#), "`rotary_emb_interleaved`");
    check(&format!(r#"{nomic}, "rope_parameters": {{"rope_type": "yarn"}}"#), "positions scaled by `yarn`");
    let wrong = r#""model_type": "roberta", "layer_norm_eps": 1e-5, "pad_token_id": -1"#;
    check(wrong, "the key `pad_token_id` is -1");
}
