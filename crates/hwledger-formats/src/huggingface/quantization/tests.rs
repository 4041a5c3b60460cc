use hwledger_core::ElementType;
use serde_json::{Value, json};

use super::*;

fn of(config: Value) -> Quantization {
    let Value::Object(object) = config else { panic!("the test's configuration is an object") };
    let root = Config::root(&object);
    Quantization::read(&root, &root).unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "what it is compared with")]
const fn grouped(bits: u8, group: u32, group_bits: u8) -> Option<ElementType> {
    Some(ElementType::Grouped { bits, group, group_bits })
}

#[test]
fn fp8_in_blocks_leaves_what_is_listed() {
    let quantization = of(json!({"torch_dtype": "bfloat16", "quantization_config": {
        "quant_method": "fp8", "weight_block_size": [128, 128], "modules_to_not_convert": ["gate", "lm_head"]}}));
    assert_eq!(quantization.linear("model.layers.3.self_attn.q_proj"), grouped(8, 16384, 32));
    assert_eq!(quantization.linear("model.layers.3.mlp.gate"), Some(ElementType::BF16));
    assert_eq!(quantization.table("lm_head"), Some(ElementType::BF16));
}

#[test]
fn packed_integers_cover_routed_experts_only() {
    let quantization = of(json!({"dtype": "bfloat16", "quantization_config": {
        "quant_method": "compressed-tensors", "format": "pack-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"],
            "weights": {"num_bits": 4, "group_size": 32, "symmetric": true, "type": "int"}}},
        "ignore": ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"]}}));
    assert_eq!(quantization.linear("model.layers.4.mlp.experts.0.up_proj"), grouped(4, 32, 16));
    assert_eq!(quantization.linear("model.layers.4.mlp.shared_experts.up_proj"), Some(ElementType::BF16));
    assert_eq!(quantization.linear("model.layers.0.mlp.up_proj"), Some(ElementType::BF16));
    assert_eq!(quantization.linear("model.layers.0.self_attn.o_proj"), Some(ElementType::BF16));
}

#[test]
fn modelopt_is_read_nested_mixed_and_by_group() {
    let nested = of(json!({"torch_dtype": "bfloat16", "quantization_config": {
        "producer": {"name": "modelopt"},
        "quantization": {"quant_algo": "NVFP4", "group_size": 16, "exclude_modules": ["model.layers.0.*", "lm_head"]}}}));
    assert_eq!(nested.name().as_deref(), Some("nvfp4"));
    assert_eq!(nested.linear("model.layers.1.mlp.up_proj"), Some(ElementType::Nvfp4));
    assert_eq!(nested.linear("model.layers.0.mlp.up_proj"), Some(ElementType::BF16));
    let mixed = of(json!({"dtype": "bfloat16", "quantization_config": {
        "quant_method": "fp8", "quant_algo": "MIXED_PRECISION", "weight_block_size": [128, 128],
        "ignore": ["*.attn.*"], "quantized_layers": {"layers.1.ffn.experts": {"quant_algo": "NVFP4"}}}}));
    assert_eq!(mixed.linear("model.layers.1.mlp.experts.0.up_proj"), Some(ElementType::Nvfp4));
    assert_eq!(mixed.linear("model.layers.1.self_attn.q_a_proj"), grouped(8, 16384, 32));
    let groups = of(json!({"dtype": "bfloat16", "quantization_config": {"quant_method": "compressed-tensors",
        "config_groups": {
            "group_0": {"targets": ["re:.*self_attn.*"], "weights": {"num_bits": 8, "type": "float"}},
            "group_1": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "float", "group_size": 16}}}}}));
    assert_eq!(groups.linear("model.layers.1.self_attn.q_proj"), Some(ElementType::Fp8));
    assert_eq!(groups.linear("model.layers.1.mlp.up_proj"), Some(ElementType::Nvfp4));
}

#[test]
fn integer_schemes_keep_scale_and_zero_per_group() {
    let awq = of(json!({"torch_dtype": "float16",
        "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128}}));
    assert_eq!(awq.linear("model.layers.0.mlp.up_proj"), grouped(4, 128, 20));
    let whole_rows = of(json!({"quantization_config": {"quant_method": "gptq", "bits": 8, "group_size": -1}}));
    assert_eq!(whole_rows.linear("model.layers.0.mlp.up_proj"), grouped(8, 1 << 20, 24));
    let nf4 = of(json!({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true,
        "bnb_4bit_use_double_quant": true}}));
    assert_eq!(nf4.linear("model.layers.0.mlp.up_proj"), grouped(4, 64, 8));
    let round = of(json!({"dtype": "bfloat16", "quantization_config": {"quant_method": "auto-round", "bits": 4,
        "group_size": 128, "extra_config": {"model.layers.0.mlp.down_proj": {"bits": 8, "group_size": 32},
        "model.layers.1.mlp.gate": {"bits": 16}}}}));
    assert_eq!(round.linear("model.layers.0.mlp.down_proj"), grouped(8, 32, 24));
    assert_eq!(round.linear("model.layers.1.mlp.gate"), Some(ElementType::BF16));
}

#[test]
fn mlx_reads_exceptions_by_module() {
    let quantization = of(json!({"torch_dtype": "bfloat16", "quantization": {"bits": 4, "group_size": 64,
        "model.layers.0.self_attn.v_proj": {"bits": 6, "group_size": 32}, "model.layers.0.mlp.gate": false}}));
    assert_eq!(quantization.linear("model.layers.1.mlp.up_proj"), grouped(4, 64, 32));
    assert_eq!(quantization.linear("model.layers.0.self_attn.v_proj"), grouped(6, 32, 32));
    assert_eq!(quantization.linear("model.layers.0.mlp.gate"), Some(ElementType::BF16));
    assert_eq!(quantization.table("model.embed_tokens"), grouped(4, 64, 32));
}

#[test]
fn experts_may_have_a_type_of_their_own() {
    let quantization = of(json!({"dtype": "bfloat16", "expert_dtype": "fp4",
        "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}));
    assert_eq!(quantization.linear("model.layers.3.mlp.experts.0.up_proj"), Some(ElementType::Mxfp4));
    assert_eq!(quantization.linear("model.layers.3.mlp.shared_experts.up_proj"), grouped(8, 16384, 32));
}

#[test]
fn wrong_types_name_their_key() {
    let Value::Object(object) = json!({"quantization_config": {"quant_method": "fp8", "ignore": [1]}}) else {
        panic!("the test's configuration is an object")
    };
    let root = Config::root(&object);
    let error = Quantization::read(&root, &root).unwrap_err().to_string();
    assert_eq!(error, "`quantization_config.ignore` should be a list of strings, but is `1`");
}

/// Where two groups name the same module, which one counts must not depend on how a file orders its keys.
#[test]
fn the_order_of_keys_changes_nothing() {
    let read = |groups: &str| {
        let text = format!(
            r#"{{"dtype": "bfloat16", "quantization_config":
                {{"quant_method": "compressed-tensors", "config_groups": {{{groups}}}}}}}"#
        );
        of(serde_json::from_str(&text).unwrap()).linear("model.layers.1.self_attn.q_proj")
    };
    let first = r#""group_0": {"targets": ["re:.*q_proj.*"], "weights": {"num_bits": 8, "type": "float"}}"#;
    let second = r#""group_1": {"targets": ["re:.*self_attn.*"], "weights": {"num_bits": 4, "group_size": 32}}"#;
    assert_eq!(read(&format!("{first}, {second}")), Some(ElementType::Fp8));
    assert_eq!(read(&format!("{second}, {first}")), Some(ElementType::Fp8));
}
