//! Quantised weights, and models in several files, against the same numbers in plain ones.

use hwledger_engine::model::Tensors;
use hwledger_kernels::{bf16_from_f32, f32_from_bf16};

use crate::files::{Noise, Safetensors, difference, directory, logits};

const HIDDEN: usize = 128;
const WIDTH: usize = 192;
const VOCABULARY: usize = 32;

const CONFIG: &str = r#""hidden_size": 128, "vocab_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 64, "rms_norm_eps": 1e-5"#;

/// Activations become bytes where weights are quantised, which makes some 0.4 % of each product.
const TOLERANCE_BYTES: f32 = 0.08;

/// The matrices of a small Llama.
const MATRICES: &[(&str, [usize; 2])] = &[
    ("model.embed_tokens", [VOCABULARY, HIDDEN]),
    ("lm_head", [VOCABULARY, HIDDEN]),
    ("model.layers.0.self_attn.q_proj", [128, HIDDEN]),
    ("model.layers.0.self_attn.k_proj", [64, HIDDEN]),
    ("model.layers.0.self_attn.v_proj", [64, HIDDEN]),
    ("model.layers.0.self_attn.o_proj", [HIDDEN, 128]),
    ("model.layers.0.mlp.gate_proj", [WIDTH, HIDDEN]),
    ("model.layers.0.mlp.up_proj", [WIDTH, HIDDEN]),
    ("model.layers.0.mlp.down_proj", [HIDDEN, WIDTH]),
];

const NORMS: [&str; 3] = ["model.norm", "model.layers.0.input_layernorm", "model.layers.0.post_attention_layernorm"];

fn put_norms(file: &mut Safetensors, noise: &mut Noise) {
    for norm in NORMS {
        file.floats(&format!("{norm}.weight"), &[HIDDEN], &noise.values(HIDDEN, 1.0));
    }
}

fn open(extra: &str, file: &Safetensors) -> Tensors {
    let config = format!(r#"{{"model_type": "llama", "intermediate_size": {WIDTH}, {CONFIG}{extra}}}"#);
    directory(&config, None, vec![file.file("model.safetensors")]).unwrap()
}

fn bf16_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|&value| bf16_from_f32(value).to_le_bytes()).collect()
}

#[test]
fn mlx_weights_are_their_scale_times_number_plus_bias() {
    for (bits, group) in [(4, 32), (4, 64), (8, 64), (8, 32)] {
        let mut noise = Noise(5);
        let (mut packed, mut plain) = (Safetensors::default(), Safetensors::default());
        for &(module, [rows, columns]) in MATRICES {
            let bytes: Vec<u8> = (0..rows * columns * bits / 8).map(|_| noise.bits().to_le_bytes()[3]).collect();
            let count = rows * columns / group;
            let top = if bits == 4 { 15.0 } else { 255.0 };
            let size = 1.0 / (columns as f32).sqrt();
            let rounded = |value: f32| f32_from_bf16(bf16_from_f32(value));
            let scales: Vec<f32> = (0..count).map(|_| rounded(size / top * (1.5 + noise.value(0.5)))).collect();
            let biases: Vec<f32> = scales.iter().map(|scale| rounded(-scale * top / 2.0)).collect();
            let values: Vec<f32> = (0..rows * columns)
                .map(|index| {
                    let number = if bits == 4 { bytes[index / 2] >> (4 * (index % 2)) & 15 } else { bytes[index] };
                    scales[index / group] * f32::from(number) + biases[index / group]
                })
                .collect();
            packed.put(&format!("{module}.weight"), "U32", &[rows, columns * bits / 32], &bytes);
            packed.put(&format!("{module}.scales"), "BF16", &[rows, columns / group], &bf16_bytes(&scales));
            packed.put(&format!("{module}.biases"), "BF16", &[rows, columns / group], &bf16_bytes(&biases));
            plain.floats(&format!("{module}.weight"), &[rows, columns], &values);
        }
        put_norms(&mut packed, &mut Noise(6));
        put_norms(&mut plain, &mut Noise(6));
        let extra = format!(r#", "quantization": {{"group_size": {group}, "bits": {bits}}}"#);
        let found = logits(&open(&extra, &packed)).unwrap();
        let difference = difference(&found, &logits(&open("", &plain)).unwrap());
        assert!(difference < TOLERANCE_BYTES, "{bits} {group}: {difference}");
    }
}

#[test]
fn eight_bit_floats_become_bfloat16_with_every_kind_of_scale() {
    // Powers of two times these codes, so that the product is exact.
    let value = |code: u8| f32::from(8 + (code & 7)) * 2.0_f32.powi(i32::from(code >> 3 & 15) - 10);
    for block in [[usize::MAX, usize::MAX], [1, usize::MAX], [32, 64]] {
        let mut noise = Noise(9);
        let (mut packed, mut plain) = (Safetensors::default(), Safetensors::default());
        for &(module, [rows, columns]) in MATRICES {
            let [tall, wide] = [block[0].min(rows), block[1].min(columns)];
            let per_row = columns.div_ceil(wide);
            // Of one exponent, below one.
            let codes: Vec<u8> = (0..rows * columns).map(|_| noise.bits().to_le_bytes()[0] & 0x87 | 0x28).collect();
            let scales: Vec<f32> = (0..rows.div_ceil(tall) * per_row)
                .map(|_| 2.0_f32.powi(-3 - i32::from(noise.bits().to_le_bytes()[0] & 1)))
                .collect();
            let values: Vec<f32> = codes
                .iter()
                .enumerate()
                .map(|(index, &code)| {
                    let scale = scales[index / columns / tall * per_row + index % columns / wide];
                    if code >= 128 { -value(code) * scale } else { value(code) * scale }
                })
                .collect();
            if module.contains("layers") {
                let part = if block[0] == 32 { "weight_scale_inv" } else { "weight_scale" };
                let shape: &[usize] = if scales.len() == 1 { &[] } else { &[rows.div_ceil(tall), per_row] };
                packed.put(&format!("{module}.weight"), "F8_E4M3", &[rows, columns], &codes);
                packed.floats(&format!("{module}.{part}"), shape, &scales);
            } else {
                packed.put(&format!("{module}.weight"), "BF16", &[rows, columns], &bf16_bytes(&values));
            }
            plain.put(&format!("{module}.weight"), "BF16", &[rows, columns], &bf16_bytes(&values));
        }
        put_norms(&mut packed, &mut Noise(6));
        put_norms(&mut plain, &mut Noise(6));
        let extra = r#", "quantization_config": {"quant_method": "fp8", "weight_block_size": [32, 64]}"#;
        let tensors = open(extra, &packed);
        assert_eq!(
            tensors.notes(),
            ["7 matrices of 8-bit floats (FP8) are held as bfloat16, which takes twice their bytes"]
        );
        let bits = |tensors: &Tensors| logits(tensors).unwrap().iter().map(|logit| logit.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&tensors), bits(&open("", &plain)), "{block:?}");
    }
}

#[test]
fn shards_are_read_by_their_index() {
    let mut noise = Noise(2);
    let (mut whole, mut shards) = (Safetensors::default(), [Safetensors::default(), Safetensors::default()]);
    let mut map = Vec::new();
    let mut put = |name: String, shape: &[usize], values: &[f32]| {
        whole.floats(&name, shape, values);
        let place = map.len() % 2;
        shards[place].floats(&name, shape, values);
        map.push(format!(r#""{name}": "model-{place}.safetensors""#));
    };
    for &(module, shape) in MATRICES {
        put(format!("{module}.weight"), &shape, &noise.values(shape[0] * shape[1], 0.2));
    }
    for norm in NORMS {
        put(format!("{norm}.weight"), &[HIDDEN], &noise.values(HIDDEN, 1.0));
    }
    // A tensor that the index does not list counts nowhere.
    shards[1].floats("model.norm.bias", &[HIDDEN], &[f32::NAN; HIDDEN]);
    let index = format!(r#"{{"weight_map": {{{}}}}}"#, map.join(","));
    let files = || [0, 1].map(|place| shards[place].file(&format!("model-{place}.safetensors"))).into();
    let config = format!(r#"{{"model_type": "llama", "intermediate_size": {WIDTH}, {CONFIG}}}"#);
    let found = logits(&directory(&config, Some(&index), files()).unwrap()).unwrap();
    assert_eq!(found, logits(&open("", &whole)).unwrap());

    let more = index.replacen('{', r#"{"metadata": {}, "#, 1).replace("lm_head.weight", "lm_head.other");
    let error = directory(&config, Some(&more), files()).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(cause, "tensor `lm_head.other` is not in its shard `model-1.safetensors`");
}

/// The values of 4-bit floats (OCP Microscaling Formats 1.0, table 5).
const E2M1: [f32; 16] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

#[test]
fn experts_of_gpt_oss_are_the_same_in_blocks_and_across() {
    const EXPERTS: usize = 3;
    let mut noise = Noise(8);
    let (mut blocks, mut across) = (Safetensors::default(), Safetensors::default());
    let layer = "model.layers.0";
    let mut both = |name: String, shape: &[usize], size: f32| {
        let values = noise.values(shape.iter().product(), size);
        blocks.floats(&name, shape, &values);
        across.floats(&name, shape, &values);
    };
    for &(module, shape) in MATRICES.iter().filter(|(module, _)| !module.contains("mlp")) {
        both(format!("{module}.weight"), &shape, 0.2);
    }
    for norm in NORMS {
        both(format!("{norm}.weight"), &[HIDDEN], 1.0);
    }
    both(format!("{layer}.self_attn.sinks"), &[4], 1.0);
    both(format!("{layer}.mlp.router.weight"), &[EXPERTS, HIDDEN], 0.2);
    both(format!("{layer}.mlp.router.bias"), &[EXPERTS], 0.2);
    both(format!("{layer}.mlp.experts.gate_up_proj_bias"), &[EXPERTS, 2 * WIDTH], 0.5);
    both(format!("{layer}.mlp.experts.down_proj_bias"), &[EXPERTS, HIDDEN], 0.5);
    for (part, rows, columns) in [("gate_up_proj", 2 * WIDTH, HIDDEN), ("down_proj", HIDDEN, WIDTH)] {
        let name = format!("{layer}.mlp.experts.{part}");
        let count = EXPERTS * rows * columns;
        let bytes: Vec<u8> = (0..count / 2).map(|_| noise.bits().to_le_bytes()[1]).collect();
        let scales: Vec<u8> = (0..count / 32).map(|_| 121 + (noise.bits().to_le_bytes()[2] & 3)).collect();
        blocks.put(&format!("{name}_blocks"), "U8", &[EXPERTS, rows, columns / 32, 16], &bytes);
        blocks.put(&format!("{name}_scales"), "U8", &[EXPERTS, rows, columns / 32], &scales);
        let value = |expert: usize, row: usize, column: usize| {
            let index = (expert * rows + row) * columns + column;
            let code = bytes[index / 2] >> (4 * (index % 2)) & 15;
            E2M1[usize::from(code)] * 2.0_f32.powi(i32::from(scales[index / 32]) - 127)
        };
        let mut values = Vec::new();
        for expert in 0..EXPERTS {
            for column in 0..columns {
                values.extend((0..rows).map(|row| value(expert, row, column)));
            }
        }
        across.floats(&name, &[EXPERTS, columns, rows], &values);
    }
    let config = format!(
        r#"{{"model_type": "gpt_oss", "intermediate_size": {WIDTH}, "num_local_experts": {EXPERTS}, {CONFIG},
        "num_experts_per_tok": 2, "sliding_window": 4, "layer_types": ["sliding_attention"], "swiglu_limit": 7.0}}"#
    );
    let run =
        |file: &Safetensors| logits(&directory(&config, None, vec![file.file("model.safetensors")]).unwrap()).unwrap();
    let difference = difference(&run(&blocks), &run(&across));
    // Only for blocks are activations rounded to bytes.
    assert!(difference < TOLERANCE_BYTES, "{difference}");
}
