//! Latent attention of safetensors: the same weights as in GGUF, 8-bit floats, and what is refused.

use std::error::Error as _;

use hwledger_engine::model::Tensors;
use hwledger_kernels::{bf16_from_f32, f32_from_bf16};

use crate::files::{Gguf, Noise, Safetensors, difference, directory, logits, neighbours};

const HIDDEN: usize = 64;
const VOCABULARY: usize = 32;
const HEADS: usize = 3;
const NOPE: usize = 32;
const ROPE: usize = 16;
const VALUE: usize = 20;
const RANK: usize = 64;
const QUERY_RANK: usize = 48;
const WIDTH: usize = 96;
const EXPERTS: usize = 6;
const EXPERT_WIDTH: usize = 32;
const LAYERS: usize = 2;

/// The same products in the same order; what may differ is how scales were rounded on their way through the file.
const TOLERANCE: f32 = 1e-5;

/// A model in both containers.
struct Pair {
    /// Whether halves of rotary parts turn together in the safetensors; in GGUF it is neighbours.
    turns_halves: bool,
    noise: Noise,
    safetensors: Safetensors,
    gguf: Gguf,
}

impl Pair {
    /// A tensor by both names.
    fn put(&mut self, ours: &str, theirs: &str, shape: &[usize]) -> Vec<f32> {
        let values = self.safetensors_only(theirs, shape);
        self.gguf.tensor(ours, shape, values.clone());
        values
    }

    /// The same of rows in heads, each of which ends with a rotary part.
    fn put_turned(&mut self, ours: &str, theirs: &str, heads: usize, shape: [usize; 2]) {
        let mut values = self.safetensors_only(theirs, &shape);
        if self.turns_halves {
            for head in values.chunks_exact_mut(shape[0] / heads * shape[1]) {
                let start = head.len() - ROPE * shape[1];
                let turned = neighbours(&head[start..], 1, shape[1]);
                head[start..].copy_from_slice(&turned);
            }
        }
        self.gguf.tensor(ours, &shape, values);
    }

    fn safetensors_only(&mut self, theirs: &str, shape: &[usize]) -> Vec<f32> {
        let size = if shape.len() == 1 { 0.5 } else { 2.0 / (*shape.last().unwrap() as f32).sqrt() };
        let values = self.noise.values(shape.iter().product(), size);
        self.safetensors.floats(theirs, shape, &values);
        values
    }

    fn layer(&mut self, index: usize, query_rank: Option<usize>, is_sigmoid: bool) {
        let both = |ours: &str, theirs: &str| [format!("blk.{index}.{ours}"), format!("model.layers.{index}.{theirs}")];
        let mut put = |ours: &str, theirs: &str, shape: &[usize]| {
            let [ours, theirs] = both(ours, theirs);
            self.put(&ours, &theirs, shape);
        };
        put("attn_norm.weight", "input_layernorm.weight", &[HIDDEN]);
        put("ffn_norm.weight", "post_attention_layernorm.weight", &[HIDDEN]);
        if let Some(rank) = query_rank {
            put("attn_q_a.weight", "self_attn.q_a_proj.weight", &[rank, HIDDEN]);
            put("attn_q_a_norm.weight", "self_attn.q_a_layernorm.weight", &[rank]);
        }
        put("attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight", &[RANK]);
        put("attn_output.weight", "self_attn.o_proj.weight", &[HIDDEN, HEADS * VALUE]);
        if index == 0 {
            put("ffn_gate.weight", "mlp.gate_proj.weight", &[WIDTH, HIDDEN]);
            put("ffn_up.weight", "mlp.up_proj.weight", &[WIDTH, HIDDEN]);
            put("ffn_down.weight", "mlp.down_proj.weight", &[HIDDEN, WIDTH]);
        } else {
            put("ffn_gate_inp.weight", "mlp.gate.weight", &[EXPERTS, HIDDEN]);
            put("ffn_gate_shexp.weight", "mlp.shared_experts.gate_proj.weight", &[2 * EXPERT_WIDTH, HIDDEN]);
            put("ffn_up_shexp.weight", "mlp.shared_experts.up_proj.weight", &[2 * EXPERT_WIDTH, HIDDEN]);
            put("ffn_down_shexp.weight", "mlp.shared_experts.down_proj.weight", &[HIDDEN, 2 * EXPERT_WIDTH]);
            if is_sigmoid {
                put("exp_probs_b.bias", "mlp.gate.e_score_correction_bias", &[EXPERTS]);
            }
            self.experts(index);
        }
        let (ours, theirs, columns) = match query_rank {
            Some(rank) => ("attn_q_b.weight", "self_attn.q_b_proj.weight", rank),
            None => ("attn_q.weight", "self_attn.q_proj.weight", HIDDEN),
        };
        let [ours, theirs] = both(ours, theirs);
        self.put_turned(&ours, &theirs, HEADS, [HEADS * (NOPE + ROPE), columns]);
        let [ours, theirs] = both("attn_kv_a_mqa.weight", "self_attn.kv_a_proj_with_mqa.weight");
        self.put_turned(&ours, &theirs, 1, [RANK + ROPE, HIDDEN]);
        self.up(index);
    }

    fn experts(&mut self, index: usize) {
        for (ours, theirs, shape) in [
            ("gate", "gate_proj", [EXPERT_WIDTH, HIDDEN]),
            ("up", "up_proj", [EXPERT_WIDTH, HIDDEN]),
            ("down", "down_proj", [HIDDEN, EXPERT_WIDTH]),
        ] {
            let one = |expert| format!("model.layers.{index}.mlp.experts.{expert}.{theirs}.weight");
            let all = (0..EXPERTS).flat_map(|expert| self.safetensors_only(&one(expert), &shape)).collect();
            self.gguf.tensor(&format!("blk.{index}.ffn_{ours}_exps.weight"), &[EXPERTS, shape[0], shape[1]], all);
        }
    }

    /// The up-projection, which GGUF holds in two, that of keys turned over.
    fn up(&mut self, index: usize) {
        let name = format!("model.layers.{index}.self_attn.kv_b_proj.weight");
        let whole = self.safetensors_only(&name, &[HEADS * (NOPE + VALUE), RANK]);
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for head in whole.chunks_exact((NOPE + VALUE) * RANK) {
            let (key, value) = head.split_at(NOPE * RANK);
            keys.extend((0..RANK * NOPE).map(|place| key[place % NOPE * RANK + place / NOPE]));
            values.extend(value);
        }
        self.gguf.tensor(&format!("blk.{index}.attn_k_b.weight"), &[HEADS, RANK, NOPE], keys);
        self.gguf.tensor(&format!("blk.{index}.attn_v_b.weight"), &[HEADS, VALUE, RANK], values);
    }
}

/// A model in both containers, with the keys of GGUF that only it has.
fn pair(query_rank: Option<usize>, is_sigmoid: bool, counts: &[(&str, usize)], numbers: &[(&str, f32)]) -> Pair {
    pair_of(false, query_rank, is_sigmoid, counts, numbers)
}

fn pair_of(
    turns_halves: bool,
    query_rank: Option<usize>,
    is_sigmoid: bool,
    counts: &[(&str, usize)],
    numbers: &[(&str, f32)],
) -> Pair {
    let mut pair = Pair { turns_halves, noise: Noise(5), safetensors: Safetensors::default(), gguf: Gguf::default() };
    pair.gguf.text("general.architecture", "deepseek2");
    let always = [
        ("block_count", LAYERS),
        ("context_length", 64),
        ("embedding_length", HIDDEN),
        ("feed_forward_length", WIDTH),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", 1),
        ("attention.key_length", RANK + ROPE),
        ("attention.value_length", RANK),
        ("attention.key_length_mla", NOPE + ROPE),
        ("attention.value_length_mla", VALUE),
        ("attention.kv_lora_rank", RANK),
        ("rope.dimension_count", ROPE),
        ("leading_dense_block_count", 1),
        ("expert_count", EXPERTS),
        ("expert_used_count", 2),
        ("expert_shared_count", 2),
        ("expert_feed_forward_length", EXPERT_WIDTH),
        ("vocab_size", VOCABULARY),
    ];
    let rank = query_rank.map(|rank| ("attention.q_lora_rank", rank));
    for (key, value) in always.into_iter().chain(rank).chain(counts.iter().copied()) {
        pair.gguf.count(&format!("deepseek2.{key}"), u32::try_from(value).unwrap());
    }
    for &(key, value) in [("attention.layer_norm_rms_epsilon", 1e-6)].iter().chain(numbers) {
        pair.gguf.number(&format!("deepseek2.{key}"), value);
    }
    pair.put("token_embd.weight", "model.embed_tokens.weight", &[VOCABULARY, HIDDEN]);
    pair.put("output_norm.weight", "model.norm.weight", &[HIDDEN]);
    pair.put("output.weight", "lm_head.weight", &[VOCABULARY, HIDDEN]);
    for layer in 0..LAYERS {
        pair.layer(layer, query_rank, is_sigmoid);
    }
    pair
}

fn config(query_rank: Option<usize>, keys: &str) -> String {
    let query_rank = query_rank.map_or("null".to_owned(), |rank| rank.to_string());
    format!(
        r#"{{"hidden_size": {HIDDEN}, "vocab_size": {VOCABULARY}, "num_hidden_layers": {LAYERS},
        "num_attention_heads": {HEADS}, "num_key_value_heads": {HEADS}, "intermediate_size": {WIDTH},
        "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": false,
        "q_lora_rank": {query_rank}, "kv_lora_rank": {RANK}, "qk_nope_head_dim": {NOPE}, "qk_rope_head_dim": {ROPE},
        "v_head_dim": {VALUE}, "first_k_dense_replace": 1, "n_routed_experts": {EXPERTS}, "n_shared_experts": 2,
        "num_experts_per_tok": 2, "moe_intermediate_size": {EXPERT_WIDTH}, {keys}}}"#
    )
}

fn open(config: &str, file: &Safetensors) -> Result<Tensors, hwledger_engine::LoadError> {
    directory(config, None, vec![file.file("model.safetensors")])
}

fn check(pair: &Pair, config: &str) {
    let found = logits(&open(config, &pair.safetensors).unwrap()).unwrap();
    let expected = logits(&Tensors::new(vec![pair.gguf.file()]).unwrap()).unwrap();
    let difference = difference(&found, &expected);
    assert!(difference < TOLERANCE, "{config}: {difference}");
}

#[test]
fn deepseek2_is_the_same_in_both_containers() {
    let keys = r#""model_type": "deepseek_v2", "routed_scaling_factor": 1.0, "topk_method": "greedy", "n_group": 1"#;
    check(&pair(None, false, &[], &[]), &config(None, keys));
    let groups = [("expert_group_count", 3), ("expert_group_used_count", 1)];
    let model = pair(Some(QUERY_RANK), false, &groups, &[("expert_weights_scale", 2.0)]);
    let keys = r#""model_type": "deepseek_v2", "routed_scaling_factor": 2.0, "n_group": 3, "topk_group": 1"#;
    check(&model, &config(Some(QUERY_RANK), &format!(r#"{keys}, "topk_method": "group_limited_greedy""#)));
}

#[test]
fn deepseek3_is_the_same_in_both_containers() {
    let counts = [("expert_gating_func", 2), ("expert_group_count", 3), ("expert_group_used_count", 2)];
    let mut model = pair(Some(QUERY_RANK), true, &counts, &[("expert_weights_scale", 2.5)]);
    model.gguf.count("deepseek2.rope.scaling.original_context_length", 16);
    model.gguf.text("deepseek2.rope.scaling.type", "yarn");
    model.gguf.number("deepseek2.rope.scaling.factor", 4.0);
    model.gguf.number("deepseek2.rope.scaling.yarn_log_multiplier", 0.1);
    model.gguf.flag("deepseek2.expert_weights_norm", true);
    let scaling = r#"{"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 32,
        "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0}"#;
    let keys = format!(
        r#""routed_scaling_factor": 2.5, "topk_method": "noaux_tc", "scoring_func": "sigmoid", "n_group": 3,
        "topk_group": 2, "norm_topk_prob": true, "rope_scaling": {scaling}"#
    );
    for kind in ["deepseek_v3", "glm4_moe_lite"] {
        check(&model, &config(Some(QUERY_RANK), &format!(r#""model_type": "{kind}", {keys}"#)));
    }
}

#[test]
fn halves_turn_where_the_configuration_says_so() {
    let keys = r#""model_type": "deepseek_v3", "norm_topk_prob": false, "routed_scaling_factor": 1.0"#;
    let counts = [("expert_gating_func", 2)];
    for query_rank in [None, Some(QUERY_RANK)] {
        for turns_halves in [false, true] {
            let model = pair_of(turns_halves, query_rank, true, &counts, &[]);
            let turns_neighbours = !turns_halves;
            check(&model, &config(query_rank, &format!(r#"{keys}, "rope_interleave": {turns_neighbours}"#)));
        }
    }
}

#[test]
fn up_projections_of_eight_bit_floats_are_split() {
    let keys =
        r#""model_type": "deepseek_v3", "quantization_config": {"quant_method": "fp8", "weight_block_size": [32, 32]}"#;
    let text = config(None, keys);
    let name = |layer: usize| format!("model.layers.{layer}.self_attn.kv_b_proj");
    let rows = HEADS * (NOPE + VALUE);
    // Codes of small numbers of both signs, and scales that are powers of two: exact in bfloat16.
    let mut noise = Noise(8);
    let codes: Vec<u8> = (0..rows * RANK).map(|_| noise.bits().to_le_bytes()[0] & 0b1011_1111).collect();
    let per_row = RANK.div_ceil(32);
    let scales: Vec<f32> = (0..rows.div_ceil(32) * per_row).map(|index| [0.25, 0.5][index % 2]).collect();
    let value = |code: u8| {
        let (exponent, fraction) = (i32::from(code >> 3 & 15), f32::from(code & 7) / 8.0);
        let size = if exponent == 0 { fraction / 64.0 } else { (1.0 + fraction) * 2.0_f32.powi(exponent - 7) };
        if code >= 128 { -size } else { size }
    };
    let values: Vec<f32> = codes
        .iter()
        .enumerate()
        .map(|(place, &code)| value(code) * scales[place / RANK / 32 * per_row + place % RANK / 32])
        .collect();
    let model = |puts: &dyn Fn(&mut Safetensors, usize)| {
        let (mut file, mut noise) = (Safetensors::default(), Noise(5));
        for (tensor, shape) in shapes() {
            file.floats(&tensor, &shape, &noise.values(shape.iter().product(), 0.3));
        }
        (0..LAYERS).for_each(|layer| puts(&mut file, layer));
        logits(&open(&text, &file).unwrap()).unwrap()
    };
    let packed = model(&|file, layer| {
        file.put(&format!("{}.weight", name(layer)), "F8_E4M3", &[rows, RANK], &codes);
        file.floats(&format!("{}.weight_scale_inv", name(layer)), &[rows.div_ceil(32), per_row], &scales);
    });
    let plain = model(&|file, layer| file.floats(&format!("{}.weight", name(layer)), &[rows, RANK], &values));
    let difference = difference(&packed, &plain);
    assert!(difference < 1e-5, "{difference}");
}

/// Matrices of MLX, packed and as the numbers that they stand for.
fn put_affine(packed: &mut Safetensors, plain: &mut Safetensors, name: &str, shape: &[usize], bits: usize) {
    let group = 32;
    let mut noise = Noise(name.len() as u64);
    let count: usize = shape.iter().product();
    let columns = *shape.last().unwrap();
    let numbers: Vec<u8> = (0..count * bits / 8).map(|_| noise.bits().to_le_bytes()[3]).collect();
    let top = if bits == 4 { 15.0 } else { 255.0 };
    let rounded = |value: f32| f32_from_bf16(bf16_from_f32(value));
    let scales: Vec<f32> = (0..count / group).map(|_| rounded((1.0 + noise.value(0.3)) * 0.6 / top)).collect();
    let biases: Vec<f32> = scales.iter().map(|scale| rounded(-scale * top / 2.0)).collect();
    let number = |place: usize| {
        if bits == 4 { numbers[place / 2] >> (4 * (place % 2)) & 15 } else { numbers[place] }
    };
    let value = |place: usize| scales[place / group] * f32::from(number(place)) + biases[place / group];
    plain.floats(&format!("{name}.weight"), shape, &(0..count).map(value).collect::<Vec<_>>());
    let with_columns = |columns: usize| [&shape[..shape.len() - 1], &[columns]].concat();
    packed.put(&format!("{name}.weight"), "U32", &with_columns(columns * bits / 32), &numbers);
    for (part, values) in [("scales", scales), ("biases", biases)] {
        let bytes: Vec<u8> = values.iter().flat_map(|&value| bf16_from_f32(value).to_le_bytes()).collect();
        packed.put(&format!("{name}.{part}"), "BF16", &with_columns(columns / group), &bytes);
    }
}

#[test]
fn up_projections_of_mlx_are_read_whole_and_split() {
    /// Sums are rounded to bytes before they are multiplied with packed weights.
    const TOLERANCE: f32 = 0.05;
    for bits in [4, 8] {
        for is_split in [false, true] {
            let (mut packed, mut plain, mut noise) = (Safetensors::default(), Safetensors::default(), Noise(5));
            for (tensor, shape) in shapes() {
                let values = noise.values(shape.iter().product(), 0.3);
                packed.floats(&tensor, &shape, &values);
                plain.floats(&tensor, &shape, &values);
            }
            for layer in 0..LAYERS {
                let mut put = |name: &str, shape: &[usize]| {
                    let name = format!("model.layers.{layer}.self_attn.{name}");
                    put_affine(&mut packed, &mut plain, &name, shape, bits);
                };
                if is_split {
                    put("embed_q", &[HEADS, RANK, NOPE]);
                    put("unembed_out", &[HEADS, VALUE, RANK]);
                } else {
                    put("kv_b_proj", &[HEADS * (NOPE + VALUE), RANK]);
                }
            }
            let quantisation = format!(r#""quantization": {{"group_size": 32, "bits": {bits}}}"#);
            let text = |more: &str| config(None, &format!(r#""model_type": "deepseek_v3"{more}"#));
            let found = logits(&open(&text(&format!(", {quantisation}")), &packed).unwrap()).unwrap();
            let expected = logits(&open(&text(""), &plain).unwrap()).unwrap();
            let difference = difference(&found, &expected);
            println!("{bits} bits, split {is_split}: {difference}");
            assert!(difference < TOLERANCE, "{bits} bits, split {is_split}: {difference}");
        }
    }
}

/// The tensors of a model but for the up-projections.
fn shapes() -> Vec<(String, Vec<usize>)> {
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
        ("lm_head.weight".to_owned(), vec![VOCABULARY, HIDDEN]),
    ];
    for layer in 0..LAYERS {
        let of_layer = |name: &str, shape: &[usize]| (format!("model.layers.{layer}.{name}.weight"), shape.to_vec());
        shapes.extend([
            of_layer("input_layernorm", &[HIDDEN]),
            of_layer("post_attention_layernorm", &[HIDDEN]),
            of_layer("self_attn.q_proj", &[HEADS * (NOPE + ROPE), HIDDEN]),
            of_layer("self_attn.kv_a_proj_with_mqa", &[RANK + ROPE, HIDDEN]),
            of_layer("self_attn.kv_a_layernorm", &[RANK]),
            of_layer("self_attn.o_proj", &[HIDDEN, HEADS * VALUE]),
        ]);
        if layer == 0 {
            shapes.push(of_layer("mlp.gate_proj", &[WIDTH, HIDDEN]));
            shapes.push(of_layer("mlp.up_proj", &[WIDTH, HIDDEN]));
            shapes.push(of_layer("mlp.down_proj", &[HIDDEN, WIDTH]));
            continue;
        }
        shapes.push(of_layer("mlp.gate", &[EXPERTS, HIDDEN]));
        shapes.push((format!("model.layers.{layer}.mlp.gate.e_score_correction_bias"), vec![EXPERTS]));
        for (module, width) in (0..EXPERTS)
            .map(|expert| (format!("experts.{expert}"), EXPERT_WIDTH))
            .chain([("shared_experts".to_owned(), 2 * EXPERT_WIDTH)])
        {
            shapes.push(of_layer(&format!("mlp.{module}.gate_proj"), &[width, HIDDEN]));
            shapes.push(of_layer(&format!("mlp.{module}.up_proj"), &[width, HIDDEN]));
            shapes.push(of_layer(&format!("mlp.{module}.down_proj"), &[HIDDEN, width]));
        }
    }
    shapes
}

#[test]
fn what_is_not_run_is_refused_by_name() {
    let model = pair(None, true, &[], &[]);
    let check = |keys: &str, expected: &str| {
        let text = config(None, keys);
        let error = open(&text, &model.safetensors).and_then(|tensors| logits(&tensors)).unwrap_err();
        let found = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        assert_eq!(found, format!("the native engine does not run {expected}"), "{keys}");
    };
    check(r#""model_type": "deepseek_v3", "scoring_func": "tanh""#, "experts behind the router `tanh`");
    check(r#""model_type": "deepseek_v3", "topk_method": "lottery""#, "experts chosen by `lottery`");
    let groups = r#""model_type": "deepseek_v3", "topk_group": 1, "n_group""#;
    check(&format!("{groups}: 4"), "6 experts of which 1 of 4 groups are chosen");
    check(&format!("{groups}: 6"), "6 experts of which 1 of 6 groups are chosen");
    check(
        r#""model_type": "deepseek_v3", "rope_scaling": {"type": "yarn", "factor": 4.0, "llama_4_scaling_beta": 0.1}"#,
        "attention whose temperature depends on the position",
    );
    check(
        r#""model_type": "deepseek_v32", "index_n_heads": 2, "index_head_dim": 16, "index_topk": 4"#,
        "models of the type `deepseek_v32`",
    );
}

#[test]
fn absurd_configurations_are_errors() {
    let model = pair(Some(QUERY_RANK), true, &[], &[]);
    let keys = [
        "q_lora_rank",
        "kv_lora_rank",
        "qk_nope_head_dim",
        "qk_rope_head_dim",
        "v_head_dim",
        "num_attention_heads",
        "n_routed_experts",
        "n_shared_experts",
        "num_experts_per_tok",
        "moe_intermediate_size",
        "first_k_dense_replace",
        "n_group",
        "topk_group",
    ];
    let text = config(Some(QUERY_RANK), r#""model_type": "deepseek_v3", "n_group": 3, "topk_group": 2"#);
    for key in keys {
        for value in ["0", "-1", "1e300", "2097152", "17", "18446744073709551615", "\"x\"", "[]"] {
            let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
            config[key] = serde_json::from_str(value).unwrap();
            let found = open(&config.to_string(), &model.safetensors).and_then(|tensors| logits(&tensors));
            // All else must have the tensors' extents; without shared experts those of the file are left alone.
            let is_free = matches!(key, "n_group" | "topk_group" | "first_k_dense_replace" | "num_experts_per_tok");
            assert!(is_free || (key, value) == ("n_shared_experts", "0") || found.is_err(), "{key} {value}");
        }
    }
}
