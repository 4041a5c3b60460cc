//! Hostile configurations of every family: absurd, zero, contradictory and missing keys give an error that names one,
//! or a plan with remarks; never a panic.

use serde_json::{Map, Value, json};

use super::reference_defaults::{DEFAULTS, PARTS};
use super::{families, read_config};

/// A configuration of the class `model_type` with `value` for each of its counts, parts included.
fn filled(model_type: &str, depth: usize, value: &dyn Fn(&str, u64) -> Value) -> Value {
    let mut object = Map::new();
    object.insert("model_type".to_owned(), json!(model_type));
    if let Ok(at) = DEFAULTS.binary_search_by_key(&model_type, |(name, _)| name) {
        for (key, default) in DEFAULTS[at].1 {
            object.insert((*key).to_owned(), value(key, *default));
        }
    }
    if depth > 0
        && let Ok(at) = PARTS.binary_search_by_key(&model_type, |(name, _)| name)
    {
        for (key, part) in PARTS[at].1 {
            object.insert((*key).to_owned(), filled(part, depth - 1, value));
        }
    }
    Value::Object(object)
}

/// Reads it; a refusal must name a key.
fn check(config: &Value) -> bool {
    match read_config(config.to_string().as_bytes()) {
        Ok((model, _)) => {
            // Sums saturate.
            let _ = model.parameters();
            true
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains('`'), "{text}: names no key of {config}");
            false
        }
    }
}

fn known() -> impl Iterator<Item = &'static str> {
    DEFAULTS.iter().map(|(name, _)| *name).filter(|name| families::reader(name).is_some())
}

fn is_layer_count(key: &str) -> bool {
    key.contains("layers") || key.contains("n_layer") || key.contains("depth")
}

#[test]
fn class_defaults_are_read_with_remarks() {
    for model_type in known() {
        let config = json!({"model_type": model_type}).to_string();
        match read_config(config.as_bytes()) {
            Ok((_, remarks)) => assert!(!remarks.is_empty(), "{model_type}: took defaults without saying so"),
            Err(error) => assert!(error.to_string().contains('`'), "{model_type}: {error}"),
        }
    }
}

#[test]
fn absurd_counts_do_not_overflow() {
    let largest = super::config::COUNT_MAX;
    for model_type in known() {
        check(&filled(model_type, 2, &|key, default| match default {
            0 | 1 => json!(default == 1),
            _ if is_layer_count(key) => json!(3),
            _ => json!(largest),
        }));
    }
}

#[test]
fn zeros_ones_and_wrong_types_are_refused_or_read() {
    for model_type in known() {
        for value in [json!(0), json!(1), json!(-1), json!("many"), json!([]), json!([7, 7]), json!({}), json!(null)] {
            check(&filled(model_type, 2, &|_, default| if default < 2 { json!(default == 1) } else { value.clone() }));
            // One key at a time.
            let at = DEFAULTS.binary_search_by_key(&model_type, |(name, _)| name).unwrap();
            for (key, _) in DEFAULTS[at].1 {
                let mut config = json!({"model_type": model_type});
                config[*key] = value.clone();
                check(&config);
            }
        }
    }
}

#[test]
fn absurd_layer_counts_are_refused() {
    for value in [4097_u64, 1 << 24, 1 << 40, u64::MAX] {
        let config = json!({"model_type": "llama", "num_hidden_layers": value});
        assert!(!check(&config), "{value} layers were believed");
    }
}

#[test]
fn contradictions_name_their_key() {
    let refused = |config: Value, key: &str| {
        let error = read_config(config.to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.contains(key), "{error}: does not name {key}");
    };
    refused(json!({"model_type": "llama", "num_attention_heads": 0}), "num_attention_heads");
    refused(json!({"model_type": "llama", "hidden_size": 64, "num_attention_heads": 128}), "num_attention_heads");
    refused(json!({"model_type": "gemma2", "num_hidden_layers": 4, "layer_types": ["full_attention"]}), "layer_types");
    refused(json!({"model_type": "gemma2", "num_hidden_layers": 1, "layer_types": ["sideways"]}), "layer_types");
    refused(json!({"model_type": "gemma3n_text", "intermediate_size": [8, 8]}), "intermediate_size");
    refused(json!({"model_type": "gemma4_text", "num_kv_shared_layers": 99}), "num_kv_shared_layers");
    refused(json!({"model_type": "llava", "text_config": {"model_type": "llava"}}), "model_type");
    refused(json!({"model_type": "internvl", "downsample_ratio": 0.0}), "downsample_ratio");
    refused(json!({"model_type": "llava", "vision_config": {"model_type": "abacus"}}), "vision_config.model_type");
    refused(
        json!({"model_type": "nemotron-nas", "hidden_size": 64, "vocab_size": 8, "num_hidden_layers": 2,
        "num_attention_heads": 2, "block_configs": [{}]}),
        "block_configs",
    );
    refused(json!({"model_type": "orion"}), "hidden_size");
}
