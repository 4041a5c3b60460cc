//! Configurations against tables that agree, disagree, or hold packed tensors.

use hwledger_core::model::{Modality, Role, Weight};
use hwledger_core::{ElementType, ModelSpec};

use super::dtype::element_type;
use super::{TensorInfo, TensorTable, reconcile};
use crate::Diagnostic;
use crate::huggingface::read_config;

const LLAMA: &str = r#""model_type":"llama","architectures":["LlamaForCausalLM"],"hidden_size":64,
"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":128,"vocab_size":1000,
"torch_dtype":"bfloat16","tie_word_embeddings":false,"max_position_embeddings":512"#;

pub(super) fn tensor(name: &str, dtype: &str, shape: &[u64]) -> TensorInfo {
    let (element_type, bits) = element_type(dtype).unwrap();
    TensorInfo {
        name: name.to_owned(),
        dtype: dtype.into(),
        element_type,
        shape: shape.into(),
        bytes: shape.iter().product::<u64>() * bits / 8,
    }
}

/// The tables' outer tensors, and for each layer its norms and the linear layers that `linear` makes.
pub(super) fn llama(linear: impl Fn(&str, u64, u64) -> Vec<TensorInfo>) -> TensorTable {
    let mut tensors = vec![
        tensor("model.embed_tokens.weight", "BF16", &[1000, 64]),
        tensor("model.norm.weight", "BF16", &[64]),
        tensor("lm_head.weight", "BF16", &[1000, 64]),
    ];
    for layer in 0..2 {
        let at = |module: &str| format!("model.layers.{layer}.{module}");
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            tensors.push(tensor(&at(&format!("{norm}.weight")), "BF16", &[64]));
        }
        for (module, rows, columns) in [
            ("self_attn.q_proj", 64, 64),
            ("self_attn.k_proj", 32, 64),
            ("self_attn.v_proj", 32, 64),
            ("self_attn.o_proj", 64, 64),
            ("mlp.gate_proj", 128, 64),
            ("mlp.up_proj", 128, 64),
            ("mlp.down_proj", 64, 128),
        ] {
            tensors.extend(linear(&at(module), rows, columns));
        }
    }
    TensorTable { tensors, format: None }
}

pub(super) fn plain(module: &str, rows: u64, columns: u64) -> Vec<TensorInfo> {
    vec![tensor(&format!("{module}.weight"), "BF16", &[rows, columns])]
}

fn check(config: &str, table: &TensorTable) -> (ModelSpec, Vec<Diagnostic>) {
    let (mut spec, _) = read_config(format!("{{{config}}}").as_bytes()).unwrap();
    let notes = reconcile(&mut spec, table);
    assert_eq!(spec.file_bytes, Some(table.bytes()));
    assert_eq!(spec.stored_bytes(), Some(table.bytes()), "every byte has its place");
    (spec, notes)
}

#[test]
fn agreement_is_silent_and_changes_nothing() {
    let (spec, notes) = check(LLAMA, &llama(plain));
    assert_eq!(notes, []);
    assert_eq!(spec, {
        let (mut expected, _) = read_config(format!("{{{LLAMA}}}").as_bytes()).unwrap();
        expected.file_bytes = spec.file_bytes;
        // Only the order of a layer's weights is the files'.
        for (kind, real) in expected.decoder.kinds.iter_mut().zip(&spec.decoder.kinds) {
            assert!(kind.weights.iter().all(|weight| real.weights.contains(weight)));
            kind.weights.clone_from(&real.weights);
        }
        expected
    });
}

#[test]
fn real_shapes_win_and_are_reported() {
    let wide = LLAMA.replace("\"intermediate_size\":128", "\"intermediate_size\":96");
    let (spec, notes) = check(&wide, &llama(plain));
    let places: Vec<_> = notes.iter().map(|note| note.place.as_str()).collect();
    assert_eq!(places, ["layer 0", "layer 1", "parameters"]);
    let down = spec.decoder.kinds[0].weights.iter().find(|weight| weight.role == Role::Down).unwrap();
    assert_eq!((down.rows, down.columns), (64, 128));
}

#[test]
fn a_head_that_is_not_there_is_tied() {
    let mut table = llama(plain);
    table.tensors.retain(|tensor| tensor.name != "lm_head.weight");
    let (spec, notes) = check(LLAMA, &table);
    assert!(spec.is_head_tied && notes[0].place == "lm_head.weight", "{notes:?}");
}

#[test]
fn fp8_scales_are_bytes_but_no_parameters() {
    let table = llama(|module, rows, columns| {
        vec![
            tensor(&format!("{module}.weight"), "F8_E4M3", &[rows, columns]),
            tensor(&format!("{module}.weight_scale_inv"), "F32", &[1, 1]),
        ]
    });
    let (spec, notes) = check(LLAMA, &table);
    assert_eq!(notes, []);
    let kind = &spec.decoder.kinds[0];
    assert!(kind.weights.contains(&Weight::matrix(Role::Query, 64, 64).stored_as(ElementType::Fp8)));
    assert!(kind.weights.contains(&Weight::vector(Role::Auxiliary, 7 * 4).stored_as(ElementType::I8)));
}

#[test]
fn packed_tensors_keep_their_logical_shape() {
    let mlx = llama(|module, rows, columns| {
        vec![
            tensor(&format!("{module}.weight"), "U32", &[rows, columns / 8]),
            tensor(&format!("{module}.scales"), "BF16", &[rows, columns / 64]),
            tensor(&format!("{module}.biases"), "BF16", &[rows, columns / 64]),
        ]
    });
    let gptq = llama(|module, rows, columns| {
        vec![
            tensor(&format!("{module}.qweight"), "I32", &[columns / 8, rows]),
            tensor(&format!("{module}.qzeros"), "I32", &[columns / 64, rows / 8]),
            tensor(&format!("{module}.scales"), "F16", &[columns / 64, rows]),
            tensor(&format!("{module}.g_idx"), "I32", &[columns]),
        ]
    });
    let bitsandbytes = llama(|module, rows, columns| {
        vec![
            tensor(&format!("{module}.weight"), "U8", &[rows * columns / 2, 1]),
            tensor(&format!("{module}.weight.absmax"), "U8", &[rows * columns / 64]),
            tensor(&format!("{module}.weight.quant_map"), "F32", &[16]),
            tensor(&format!("{module}.weight.quant_state.bitsandbytes__nf4"), "U8", &[81]),
        ]
    });
    let nvfp4 = llama(|module, rows, columns| {
        vec![
            tensor(&format!("{module}.weight"), "U8", &[rows, columns / 2]),
            tensor(&format!("{module}.weight_scale"), "F8_E4M3", &[rows, columns / 16]),
            tensor(&format!("{module}.weight_scale_2"), "F32", &[]),
        ]
    });
    let compressed = llama(|module, rows, columns| {
        vec![
            tensor(&format!("{module}.weight_packed"), "I32", &[rows, columns / 8]),
            tensor(&format!("{module}.weight_scale"), "BF16", &[rows, columns / 32]),
            tensor(&format!("{module}.weight_shape"), "I64", &[2]),
        ]
    });
    let (unquantised, _) = check(LLAMA, &llama(plain));
    for (name, table) in
        [("mlx", mlx), ("gptq", gptq), ("bitsandbytes", bitsandbytes), ("nvfp4", nvfp4), ("compressed", compressed)]
    {
        let (spec, notes) = check(LLAMA, &table);
        assert_eq!(notes, [], "{name}");
        assert_eq!(spec.parameters(), unquantised.parameters(), "{name}");
    }
}

#[test]
fn layers_that_predict_further_tokens_are_apart() {
    let mut table = llama(plain);
    table.tensors.push(tensor("model.layers.2.eh_proj.weight", "BF16", &[64, 128]));
    table.tensors.push(tensor("mtp.norm.weight", "BF16", &[64]));
    let (spec, notes) = check(LLAMA, &table);
    assert_eq!(notes, []);
    assert_eq!((spec.decoder.len(), spec.draft_layers.len()), (2, 1));
    assert_eq!(spec.draft_layers[0].parameters(), 64 * 128 + 64);
}

#[test]
fn masks_and_foreign_tensors_are_no_parameters_of_layers() {
    let mut table = llama(plain);
    table.tensors.push(tensor("model.layers.0.attn.bias", "U8", &[1, 1, 512, 512]));
    table.tensors.push(tensor("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", &[8]));
    table.tensors.push(tensor("vision_tower.blocks.0.attn.qkv.weight", "BF16", &[96, 32]));
    let (spec, notes) = check(LLAMA, &table);
    assert_eq!(spec.towers[0].weights.len(), 1);
    let places: Vec<_> = notes.iter().map(|note| note.place.as_str()).collect();
    assert_eq!(places, ["vision tower", "parameters"]);
}

#[test]
fn buffers_of_reference_modules_are_bytes_only() {
    let mut table = llama(plain);
    table.tensors.push(tensor("model.layers.0.mlp.gate.e_score_correction_bias", "F32", &[8]));
    table.tensors.push(tensor("model.layers.1.layer_scalar", "BF16", &[1]));
    let (_, notes) = check(LLAMA, &table);
    assert_eq!(notes, []);
}

#[test]
fn a_projector_beside_an_audio_tower_is_its_own() {
    let mut table = llama(plain);
    table.tensors.push(tensor("audio_tower.layers.0.fc1.weight", "BF16", &[96, 32]));
    table.tensors.push(tensor("multi_modal_projector.linear_1.weight", "BF16", &[64, 32]));
    let (spec, _) = check(LLAMA, &table);
    assert_eq!((spec.towers.len(), spec.towers[0].weights.len()), (1, 2));
    assert_eq!(spec.towers[0].modality, Modality::Audio);
}

#[test]
fn experts_of_their_own_are_copies() {
    let config = r#""model_type":"qwen3_moe","architectures":["Qwen3MoeForCausalLM"],"hidden_size":64,
    "num_hidden_layers":1,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":16,"intermediate_size":128,
    "moe_intermediate_size":32,"num_experts":4,"num_experts_per_tok":2,"decoder_sparse_step":1,"mlp_only_layers":[],
    "vocab_size":1000,"torch_dtype":"bfloat16","tie_word_embeddings":false"#;
    let mut tensors = vec![
        tensor("model.embed_tokens.weight", "BF16", &[1000, 64]),
        tensor("model.norm.weight", "BF16", &[64]),
        tensor("lm_head.weight", "BF16", &[1000, 64]),
    ];
    for (name, shape) in [
        ("input_layernorm", &[64][..]),
        ("post_attention_layernorm", &[64]),
        ("self_attn.q_norm", &[16]),
        ("self_attn.k_norm", &[16]),
        ("self_attn.q_proj", &[64, 64]),
        ("self_attn.k_proj", &[32, 64]),
        ("self_attn.v_proj", &[32, 64]),
        ("self_attn.o_proj", &[64, 64]),
        ("mlp.gate", &[4, 64]),
    ] {
        tensors.push(tensor(&format!("model.layers.0.{name}.weight"), "BF16", shape));
    }
    for expert in 0..4 {
        for (matrix, shape) in [("gate_proj", [32, 64]), ("up_proj", [32, 64]), ("down_proj", [64, 32])] {
            tensors.push(tensor(&format!("model.layers.0.mlp.experts.{expert}.{matrix}.weight"), "BF16", &shape));
        }
    }
    let (spec, notes) = check(config, &TensorTable { tensors, format: None });
    assert_eq!(notes, []);
    let experts: Vec<_> = spec.decoder.kinds[0].weights.iter().filter(|weight| weight.copies == 4).collect();
    assert_eq!(experts.len(), 3);
}
