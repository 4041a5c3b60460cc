//! Families: the same weights in both containers.

use crate::files::{Gguf, Noise, Safetensors, difference, directory, logits, neighbours};

const HIDDEN: usize = 64;
const VOCABULARY: usize = 32;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD: usize = 16;
const WIDTH: usize = 96;
const LAYERS: usize = 2;
const EXPERTS: usize = 3;

/// The order of summation differs where heads are reordered; the cache rounds the same numbers to half precision.
const TOLERANCE: f32 = 2e-3;

/// What a weight is in GGUF files.
#[derive(Clone, Copy)]
enum As {
    /// The same.
    Same,
    /// Its heads reordered.
    Neighbours(usize),
    /// One more (Gemma's norms).
    PlusOne,
}

/// One model in both containers.
struct Pair {
    noise: Noise,
    safetensors: Safetensors,
    gguf: Gguf,
    /// Whether names in safetensors lack `model.`.
    is_bare: bool,
}

impl Pair {
    fn new(architecture: &str) -> Self {
        let mut gguf = Gguf::default();
        gguf.text("general.architecture", architecture);
        let counts = [
            ("block_count", LAYERS),
            ("context_length", 64),
            ("embedding_length", HIDDEN),
            ("feed_forward_length", WIDTH),
            ("attention.head_count", HEADS),
            ("attention.head_count_kv", KV_HEADS),
            ("attention.key_length", HEAD),
            ("attention.value_length", HEAD),
            ("vocab_size", VOCABULARY),
        ];
        for (key, value) in counts {
            gguf.count(&format!("{architecture}.{key}"), u32::try_from(value).unwrap());
        }
        gguf.number(&format!("{architecture}.attention.layer_norm_rms_epsilon"), 1e-5);
        gguf.number(&format!("{architecture}.rope.freq_base"), 10_000.0);
        Self { noise: Noise(1), safetensors: Safetensors::default(), gguf, is_bare: false }
    }

    fn put(&mut self, ours: &str, theirs: &str, shape: &[usize], kind: As) {
        let columns = *shape.last().unwrap();
        let size = if shape.len() == 1 { 0.5 } else { 2.0 / (columns as f32).sqrt() };
        let values = self.noise.values(shape.iter().product(), size);
        let theirs = if self.is_bare { theirs.strip_prefix("model.").unwrap() } else { theirs };
        self.safetensors.floats(theirs, shape, &values);
        let values = match kind {
            As::Same => values,
            As::Neighbours(heads) => neighbours(&values, heads, if shape.len() == 1 { 1 } else { columns }),
            As::PlusOne => values.iter().map(|value| value + 1.0).collect(),
        };
        self.gguf.tensor(ours, shape, values);
    }

    /// Embedding, final norm and, unless tied, the head.
    fn frame(&mut self, norm: As, has_head: bool) {
        self.put("token_embd.weight", "model.embed_tokens.weight", &[VOCABULARY, HIDDEN], As::Same);
        self.put("output_norm.weight", "model.norm.weight", &[HIDDEN], norm);
        if has_head {
            self.put("output.weight", "lm_head.weight", &[VOCABULARY, HIDDEN], As::Same);
        }
    }

    /// A tensor of layer `layer` by the ends of its names.
    fn layer(&mut self, layer: usize, [ours, theirs]: [&str; 2], shape: &[usize], kind: As) {
        self.put(&format!("blk.{layer}.{ours}"), &format!("model.layers.{layer}.{theirs}"), shape, kind);
    }

    fn norms(&mut self, layer: usize, names: &[[&str; 2]], kind: As) {
        for [ours, theirs] in names {
            let names = [&*format!("{ours}.weight"), &*format!("{theirs}.weight")];
            self.layer(layer, names, &[HIDDEN], kind);
        }
    }

    fn attention(&mut self, layer: usize, is_reordered: bool, has_bias: bool) {
        let kind = |heads| if is_reordered { As::Neighbours(heads) } else { As::Same };
        let parts = [
            ("attn_q", "self_attn.q_proj", HEADS, kind(HEADS)),
            ("attn_k", "self_attn.k_proj", KV_HEADS, kind(KV_HEADS)),
            ("attn_v", "self_attn.v_proj", KV_HEADS, As::Same),
        ];
        for (ours, theirs, heads, kind) in parts {
            let names = [&*format!("{ours}.weight"), &*format!("{theirs}.weight")];
            self.layer(layer, names, &[heads * HEAD, HIDDEN], kind);
            if has_bias {
                let names = [&*format!("{ours}.bias"), &*format!("{theirs}.bias")];
                self.layer(layer, names, &[heads * HEAD], kind);
            }
        }
        let names = ["attn_output.weight", "self_attn.o_proj.weight"];
        self.layer(layer, names, &[HIDDEN, HEADS * HEAD], As::Same);
    }

    fn feed_forward(&mut self, layer: usize) {
        self.layer(layer, ["ffn_gate.weight", "mlp.gate_proj.weight"], &[WIDTH, HIDDEN], As::Same);
        self.layer(layer, ["ffn_up.weight", "mlp.up_proj.weight"], &[WIDTH, HIDDEN], As::Same);
        self.layer(layer, ["ffn_down.weight", "mlp.down_proj.weight"], &[HIDDEN, WIDTH], As::Same);
    }

    /// Experts that lie apart in one container and stacked in the other.
    fn experts(&mut self, layer: usize, router: &str, names: [&str; 3]) {
        self.layer(layer, ["ffn_gate_inp.weight", router], &[EXPERTS, HIDDEN], As::Same);
        let shapes = [[WIDTH, HIDDEN], [WIDTH, HIDDEN], [HIDDEN, WIDTH]];
        for ((ours, theirs), shape) in ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"].iter().zip(names).zip(shapes) {
            let mut all = Vec::new();
            for expert in 0..EXPERTS {
                let values = self.noise.values(WIDTH * HIDDEN, 0.2);
                let name = format!("model.layers.{layer}.{}.weight", theirs.replace('*', &expert.to_string()));
                self.safetensors.floats(&name, &shape, &values);
                all.extend(values);
            }
            self.gguf.tensor(&format!("blk.{layer}.{ours}.weight"), &[EXPERTS, shape[0], shape[1]], all);
        }
    }

    /// Runs both and compares.
    fn check(&self, config: &str) {
        let config = format!(
            r#"{{"hidden_size": {HIDDEN}, "vocab_size": {VOCABULARY}, "num_hidden_layers": {LAYERS},
            "num_attention_heads": {HEADS}, "num_key_value_heads": {KV_HEADS}, "head_dim": {HEAD},
            "intermediate_size": {WIDTH}, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0, {config}}}"#
        );
        let tensors = directory(&config, None, vec![self.safetensors.file("model.safetensors")]).unwrap();
        let found = logits(&tensors).unwrap();
        let expected = logits(&hwledger_engine::model::Tensors::new(vec![self.gguf.file()]).unwrap()).unwrap();
        let difference = difference(&found, &expected);
        assert!(difference < TOLERANCE, "{config}: {difference}");
    }
}

const TWO_NORMS: &[[&str; 2]] = &[["attn_norm", "input_layernorm"], ["ffn_norm", "post_attention_layernorm"]];

#[test]
fn llama_turns_halves_where_gguf_turns_neighbours() {
    let mut pair = Pair::new("llama");
    pair.gguf.count("llama.rope.dimension_count", 16);
    pair.frame(As::Same, true);
    for layer in 0..LAYERS {
        pair.norms(layer, TWO_NORMS, As::Same);
        pair.attention(layer, true, true);
        pair.feed_forward(layer);
    }
    pair.check(r#""model_type": "llama", "tie_word_embeddings": false"#);
}

#[test]
fn linear_scaling_is_read_from_both_spellings() {
    let mut pair = Pair::new("llama");
    pair.gguf.count("llama.rope.dimension_count", 16);
    pair.gguf.text("llama.rope.scaling.type", "linear");
    pair.gguf.number("llama.rope.scaling.factor", 4.0);
    pair.frame(As::Same, true);
    for layer in 0..LAYERS {
        pair.norms(layer, TWO_NORMS, As::Same);
        pair.attention(layer, true, false);
        pair.feed_forward(layer);
    }
    pair.check(r#""model_type": "llama", "rope_scaling": {"type": "linear", "factor": 4.0}"#);
    pair.check(
        r#""model_type": "llama", "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}"#,
    );
}

#[test]
fn granite_has_four_multipliers() {
    let mut pair = Pair::new("granite");
    let multipliers =
        [("embedding_scale", 6.0), ("residual_scale", 0.3), ("logit_scale", 4.0), ("attention.scale", 0.125)];
    for (key, value) in multipliers {
        pair.gguf.number(&format!("granite.{key}"), value);
    }
    pair.gguf.count("granite.rope.dimension_count", 16);
    pair.frame(As::Same, false);
    for layer in 0..LAYERS {
        pair.norms(layer, TWO_NORMS, As::Same);
        pair.attention(layer, true, false);
        pair.feed_forward(layer);
    }
    pair.check(
        r#""model_type": "granite", "tie_word_embeddings": true, "embedding_multiplier": 6.0,
        "residual_multiplier": 0.3, "logits_scaling": 4.0, "attention_multiplier": 0.125"#,
    );
}

#[test]
fn qwen3_normalises_queries_and_keys() {
    let mut pair = Pair::new("qwen3");
    pair.frame(As::Same, true);
    for layer in 0..LAYERS {
        pair.norms(layer, TWO_NORMS, As::Same);
        pair.attention(layer, false, false);
        pair.layer(layer, ["attn_q_norm.weight", "self_attn.q_norm.weight"], &[HEAD], As::Same);
        pair.layer(layer, ["attn_k_norm.weight", "self_attn.k_norm.weight"], &[HEAD], As::Same);
        pair.feed_forward(layer);
    }
    pair.check(r#""model_type": "qwen3""#);
}

#[test]
fn models_that_embed_are_saved_without_their_head() {
    let mut pair = Pair { is_bare: true, ..Pair::new("qwen2") };
    pair.frame(As::Same, false);
    for layer in 0..LAYERS {
        pair.norms(layer, TWO_NORMS, As::Same);
        pair.attention(layer, false, true);
        pair.feed_forward(layer);
    }
    pair.check(r#""model_type": "qwen2", "tie_word_embeddings": true"#);
}

#[test]
fn gemma2_adds_one_to_norms_and_caps() {
    let mut pair = Pair::new("gemma2");
    pair.gguf.number("gemma2.attn_logit_softcapping", 2.0);
    pair.gguf.number("gemma2.final_logit_softcapping", 3.0);
    pair.gguf.number("gemma2.attention.scale", 0.125);
    pair.gguf.count("gemma2.attention.sliding_window", 5);
    pair.frame(As::PlusOne, false);
    for layer in 0..LAYERS {
        let names = [
            ["attn_norm", "input_layernorm"],
            ["post_attention_norm", "post_attention_layernorm"],
            ["ffn_norm", "pre_feedforward_layernorm"],
            ["post_ffw_norm", "post_feedforward_layernorm"],
        ];
        pair.norms(layer, &names, As::PlusOne);
        pair.attention(layer, false, false);
        pair.feed_forward(layer);
    }
    pair.check(
        r#""model_type": "gemma2", "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0,
        "sliding_window": 5, "query_pre_attn_scalar": 64, "hidden_activation": "gelu_pytorch_tanh""#,
    );
}

#[test]
fn experts_that_lie_apart_are_stacked() {
    let mut pair = Pair::new("llama");
    pair.gguf.count("llama.rope.dimension_count", 16);
    pair.gguf.count("llama.expert_count", u32::try_from(EXPERTS).unwrap());
    pair.gguf.count("llama.expert_used_count", 2);
    pair.frame(As::Same, true);
    for layer in 0..LAYERS {
        pair.norms(layer, TWO_NORMS, As::Same);
        pair.attention(layer, true, false);
        let names = ["w1", "w3", "w2"].map(|part| format!("block_sparse_moe.experts.*.{part}"));
        pair.experts(layer, "block_sparse_moe.gate.weight", names.each_ref().map(String::as_str));
    }
    pair.check(&format!(r#""model_type": "mixtral", "num_local_experts": {EXPERTS}, "num_experts_per_tok": 2"#));
}

#[test]
fn phi3_fuses_projections() {
    let mut pair = Pair::new("phi3");
    pair.gguf.count("phi3.rope.dimension_count", 16);
    pair.frame(As::Same, true);
    for layer in 0..LAYERS {
        pair.norms(layer, TWO_NORMS, As::Same);
        let rows = (HEADS + 2 * KV_HEADS) * HEAD;
        pair.layer(layer, ["attn_qkv.weight", "self_attn.qkv_proj.weight"], &[rows, HIDDEN], As::Same);
        let names = ["attn_output.weight", "self_attn.o_proj.weight"];
        pair.layer(layer, names, &[HIDDEN, HEADS * HEAD], As::Same);
        pair.layer(layer, ["ffn_up.weight", "mlp.gate_up_proj.weight"], &[2 * WIDTH, HIDDEN], As::Same);
        pair.layer(layer, ["ffn_down.weight", "mlp.down_proj.weight"], &[HIDDEN, WIDTH], As::Same);
    }
    pair.check(r#""model_type": "phi3", "sliding_window": null"#);
}
