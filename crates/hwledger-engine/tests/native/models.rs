//! Tiny models of every architecture, with random weights.

use hwledger_core::ElementType;

use crate::gguf::Writer;
use crate::noise::{Noise, random_tensor};

/// Tokens of the test's vocabulary: all bytes, a merge, and some marks; no multiple of sixteen.
pub(crate) const VOCABULARY: usize = 261;
/// The mark that ends a reply.
pub(crate) const END: u32 = 258;

/// Matrices that may have a scale beside them.
const SCALED: &str = "attn_q attn_k attn_v attn_qkv attn_output ffn_gate ffn_up ffn_down ffn_gate_shexp ffn_up_shexp \
                      ffn_down_shexp ffn_gate_exps ffn_up_exps ffn_down_exps output";

/// Experts of a model.
#[derive(Clone, Copy)]
pub(crate) struct Experts {
    pub(crate) count: usize,
    pub(crate) used: usize,
    /// Width of the shared expert; 0 for none.
    pub(crate) shared: usize,
}

/// The extents of latent attention.
#[derive(Clone, Copy)]
pub(crate) struct Latent {
    /// Of the queries' latent; 0 for none.
    pub(crate) query_rank: usize,
    pub(crate) rank: usize,
    pub(crate) nope: usize,
    pub(crate) rope: usize,
    pub(crate) value: usize,
    /// The up-projection is one tensor, as in files from before April 2025.
    pub(crate) is_whole: bool,
}

impl Latent {
    /// Extents that no register and no block divides.
    pub(crate) const AWKWARD: Self = Self { query_rank: 0, rank: 40, nope: 24, rope: 16, value: 20, is_whole: false };

    /// Extents that blocks of this many elements fill, but for those of the keys' up-projection, which no mixture
    /// holds in blocks of 256.
    const fn filling(self, block: u64) -> Self {
        let is_long = block > 32;
        let rank = if is_long { 256 } else { 64 };
        let query_rank = if self.query_rank > 0 { rank } else { 0 };
        Self { query_rank, rank, nope: 32, value: rank / 4 + 16 * !is_long as usize, ..self }
    }
}

/// Which projections have biases.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Biases {
    None,
    Heads,
    /// Three of them, though the heads' matrix is one.
    HeadsApart,
    All,
}

/// What a model is made of. Tensors follow from the architecture as llama.cpp's loaders ask for them.
#[derive(Clone)]
pub(crate) struct Recipe {
    pub(crate) architecture: &'static str,
    pub(crate) weight: ElementType,
    /// The type of experts, where it is another.
    pub(crate) expert_weight: Option<ElementType>,
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) key: usize,
    pub(crate) width: usize,
    pub(crate) vocabulary: usize,
    pub(crate) context: u32,
    pub(crate) experts: Option<Experts>,
    pub(crate) latent: Option<Latent>,
    pub(crate) has_head: bool,
    /// Rows of the head, where they are not the vocabulary's.
    pub(crate) head_rows: Option<usize>,
    pub(crate) biases: Biases,
    /// Root mean square of token embeddings.
    pub(crate) embedding: f32,
    /// Keys after the architecture's name.
    pub(crate) floats: Vec<(&'static str, f32)>,
    pub(crate) integers: Vec<(&'static str, u32)>,
    pub(crate) texts: Vec<(&'static str, &'static str)>,
    pub(crate) flags: Vec<(&'static str, bool)>,
    pub(crate) lists: Vec<(&'static str, Vec<i32>)>,
    /// Small tensors of factors between 1 and a bound.
    pub(crate) factors: Vec<(&'static str, f32)>,
    /// Whether matrices have scales beside them, as converters write them for NVFP4.
    pub(crate) has_scales: bool,
}

impl Recipe {
    /// A model of single precision with awkward extents.
    pub(crate) fn new(architecture: &'static str) -> Self {
        Self {
            architecture,
            weight: ElementType::F32,
            expert_weight: None,
            layers: 2,
            hidden: 96,
            heads: 3,
            kv_heads: 1,
            key: 32,
            width: 72,
            vocabulary: VOCABULARY,
            context: 512,
            experts: None,
            latent: None,
            has_head: false,
            head_rows: None,
            biases: Biases::None,
            embedding: 1.0,
            floats: Vec::new(),
            integers: Vec::new(),
            texts: Vec::new(),
            flags: Vec::new(),
            lists: Vec::new(),
            factors: Vec::new(),
            has_scales: false,
        }
    }

    /// The same with weights of another type, and extents that its blocks fill.
    pub(crate) fn with_weights(mut self, weight: ElementType) -> Self {
        self.weight = weight;
        let block = weight.block().0.max(self.expert_weight.map_or(1, |weight| weight.block().0));
        if block > 32 {
            (self.hidden, self.key, self.width) = (256, 64, 256);
            (self.heads, self.kv_heads) = (4, 2);
        } else if block > 1 {
            self.width = 96;
        }
        if let Some(experts) = &mut self.experts
            && experts.shared > 0
        {
            experts.shared = self.width;
        }
        if let Some(latent) = &mut self.latent
            && block > 1
        {
            *latent = latent.filling(block);
        }
        self
    }

    /// A whole number among the keys.
    fn integer(&self, suffix: &str) -> Option<usize> {
        self.integers.iter().find(|(key, _)| *key == suffix).map(|&(_, value)| value as usize)
    }

    fn has(&self, architectures: &[&str]) -> bool {
        architectures.contains(&self.architecture)
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut builder = Builder { recipe: self, writer: Writer::default(), noise: Noise(7) };
        builder.metadata();
        builder.tensors();
        builder.writer.bytes()
    }
}

struct Builder<'a> {
    recipe: &'a Recipe,
    writer: Writer,
    noise: Noise,
}

impl Builder<'_> {
    fn metadata(&mut self) {
        let recipe = self.recipe;
        let key = |suffix: &str| format!("{}.{suffix}", recipe.architecture);
        let writer = &mut self.writer;
        writer.text("general.architecture", recipe.architecture);
        let size = |value: usize| u32::try_from(value).unwrap();
        for (suffix, value) in [
            ("block_count", size(recipe.layers)),
            ("context_length", recipe.context),
            ("embedding_length", size(recipe.hidden)),
            ("feed_forward_length", size(recipe.width)),
            ("attention.head_count", size(recipe.heads)),
        ] {
            writer.integer(&key(suffix), value);
        }
        let extents = match recipe.latent {
            None => vec![
                ("attention.head_count_kv", recipe.kv_heads),
                ("attention.key_length", recipe.key),
                ("attention.value_length", recipe.key),
            ],
            Some(Latent { query_rank, rank, nope, rope, value, is_whole }) => {
                let mut extents = vec![("attention.kv_lora_rank", rank), ("rope.dimension_count", rope)];
                if query_rank > 0 {
                    extents.push(("attention.q_lora_rank", query_rank));
                }
                extents.extend(if is_whole {
                    vec![
                        ("attention.head_count_kv", recipe.heads),
                        ("attention.key_length", nope + rope),
                        ("attention.value_length", value),
                    ]
                } else {
                    vec![
                        ("attention.head_count_kv", 1),
                        ("attention.key_length", rank + rope),
                        ("attention.value_length", rank),
                        ("attention.key_length_mla", nope + rope),
                        ("attention.value_length_mla", value),
                    ]
                });
                extents
            }
        };
        for (suffix, value) in extents {
            writer.integer(&key(suffix), size(value));
        }
        writer.float(&key("attention.layer_norm_rms_epsilon"), 1e-5);
        if let Some(experts) = recipe.experts {
            writer.integer(&key("expert_count"), size(experts.count));
            writer.integer(&key("expert_used_count"), size(experts.used));
            writer.integer(&key("expert_feed_forward_length"), size(recipe.width));
            if experts.shared > 0 {
                writer.integer(&key("expert_shared_feed_forward_length"), size(experts.shared));
            }
        }
        for &(suffix, value) in &recipe.floats {
            writer.float(&key(suffix), value);
        }
        for &(suffix, value) in &recipe.integers {
            writer.integer(&key(suffix), value);
        }
        for &(suffix, value) in &recipe.texts {
            writer.text(&key(suffix), value);
        }
        for &(suffix, value) in &recipe.flags {
            writer.flag(&key(suffix), value);
        }
        for (suffix, values) in &recipe.lists {
            writer.integers(&key(suffix), values);
        }
        tokenizer(writer, VOCABULARY);
    }

    /// A matrix (or stacked ones) whose outputs are `gain` times as large as its inputs.
    fn matrix(&mut self, name: &str, weight: ElementType, extents: &[usize], gain: f32) {
        let elements = extents.iter().product();
        let size = gain / (extents[0] as f32).sqrt();
        let bytes = random_tensor(weight, elements, size, &mut self.noise);
        self.writer.tensor(&format!("{name}.weight"), weight, extents, &bytes);
        if self.recipe.has_scales && SCALED.split(' ').any(|part| name.rsplit('.').next() == Some(part)) {
            self.vector(&format!("{name}.scale"), &[extents.get(2).copied().unwrap_or(1)], 1.0, 0.5);
        }
    }

    fn vector(&mut self, name: &str, extents: &[usize], middle: f32, spread: f32) {
        let elements: usize = extents.iter().product();
        let bytes: Vec<u8> = (0..elements).flat_map(|_| (middle + spread * self.noise.value()).to_le_bytes()).collect();
        self.writer.tensor(name, ElementType::F32, extents, &bytes);
    }

    fn norm(&mut self, name: &str, length: usize) {
        self.vector(&format!("{name}.weight"), &[length], 1.0, 0.4);
    }

    fn projection(&mut self, name: &str, columns: usize, rows: usize, has_bias: bool) {
        self.matrix(name, self.recipe.weight, &[columns, rows], 1.2);
        if has_bias {
            self.vector(&format!("{name}.bias"), &[rows], 0.0, 0.5);
        }
    }

    fn tensors(&mut self) {
        let recipe = self.recipe;
        let embedding = recipe.embedding * (recipe.hidden as f32).sqrt();
        self.matrix("token_embd", recipe.weight, &[recipe.hidden, recipe.vocabulary], embedding);
        self.norm("output_norm", recipe.hidden);
        if recipe.has_head {
            let rows = recipe.head_rows.unwrap_or(recipe.vocabulary);
            self.projection("output", recipe.hidden, rows, recipe.has(&["qwen2"]));
        }
        for &(name, bound) in &recipe.factors {
            let turning = recipe.integer("rope.dimension_count").unwrap_or(recipe.key);
            let half = (bound - 1.0) / 2.0;
            self.vector(name, &[turning / 2], 1.0 + half, half);
        }
        for layer in 0..recipe.layers {
            match recipe.latent {
                Some(latent) => self.latent_attention(layer, latent),
                None => self.attention(layer),
            }
            self.feed_forward(layer);
        }
    }

    fn attention(&mut self, layer: usize) {
        let recipe = self.recipe;
        let name = |part: &str| format!("blk.{layer}.{part}");
        let Recipe { hidden, heads, kv_heads, key, .. } = *recipe;
        if !recipe.has(&["olmo2"]) {
            self.norm(&name("attn_norm"), hidden);
        }
        let has_bias = recipe.biases != Biases::None;
        if recipe.has(&["phi3"]) {
            let is_apart = recipe.biases == Biases::HeadsApart;
            self.projection(&name("attn_qkv"), hidden, (heads + 2 * kv_heads) * key, has_bias && !is_apart);
            for (part, heads) in [("attn_q", heads), ("attn_k", kv_heads), ("attn_v", kv_heads)] {
                if is_apart {
                    self.vector(&name(&format!("{part}.bias")), &[heads * key], 0.0, 0.5);
                }
            }
        } else {
            self.projection(&name("attn_q"), hidden, heads * key, has_bias);
            self.projection(&name("attn_k"), hidden, kv_heads * key, has_bias);
            self.projection(&name("attn_v"), hidden, kv_heads * key, has_bias);
        }
        if recipe.has(&["qwen3", "qwen3moe", "gemma3"]) {
            self.norm(&name("attn_q_norm"), key);
            self.norm(&name("attn_k_norm"), key);
        } else if recipe.has(&["olmo2", "olmoe"]) {
            self.norm(&name("attn_q_norm"), heads * key);
            self.norm(&name("attn_k_norm"), kv_heads * key);
        }
        if recipe.has(&["gpt-oss"]) {
            self.vector(&name("attn_sinks.weight"), &[heads], 0.5, 1.5);
        }
        self.projection(&name("attn_output"), heads * key, hidden, recipe.biases == Biases::All);
        if recipe.has(&["gemma2", "gemma3", "glm4", "olmo2", "gpt-oss"]) {
            self.norm(&name("post_attention_norm"), hidden);
        }
    }

    fn latent_attention(&mut self, layer: usize, latent: Latent) {
        let recipe = self.recipe;
        let name = |part: &str| format!("blk.{layer}.{part}");
        let (hidden, heads) = (recipe.hidden, recipe.heads);
        let Latent { query_rank, rank, nope, rope, value, is_whole } = latent;
        self.norm(&name("attn_norm"), hidden);
        if query_rank > 0 {
            self.projection(&name("attn_q_a"), hidden, query_rank, false);
            self.norm(&name("attn_q_a_norm"), query_rank);
            self.projection(&name("attn_q_b"), query_rank, heads * (nope + rope), false);
        } else {
            self.projection(&name("attn_q"), hidden, heads * (nope + rope), false);
        }
        self.projection(&name("attn_kv_a_mqa"), hidden, rank + rope, false);
        self.norm(&name("attn_kv_a_norm"), rank);
        if is_whole {
            self.projection(&name("attn_kv_b"), rank, heads * (nope + value), false);
        } else {
            // As large as in the whole projection, whose inputs are the latent.
            let gain = 1.2 * (nope as f32 / rank as f32).sqrt();
            let fits = (nope as u64).is_multiple_of(recipe.weight.block().0);
            let weight = if fits { recipe.weight } else { ElementType::Q8_0 };
            self.matrix(&name("attn_k_b"), weight, &[nope, rank, heads], gain);
            self.matrix(&name("attn_v_b"), recipe.weight, &[rank, value, heads], 1.2);
        }
        self.projection(&name("attn_output"), heads * value, hidden, false);
    }

    fn feed_forward(&mut self, layer: usize) {
        let recipe = self.recipe;
        let name = |part: &str| format!("blk.{layer}.{part}");
        let Recipe { hidden, width, .. } = *recipe;
        if !recipe.has(&["olmo2", "gpt-oss"]) {
            self.norm(&name("ffn_norm"), hidden);
        }
        let has_bias = recipe.biases == Biases::All;
        let dense = recipe.integer("leading_dense_block_count").unwrap_or(0);
        if let Some(experts) = recipe.experts.filter(|_| layer >= dense) {
            self.experts(layer, experts, has_bias);
        } else if recipe.has(&["glm4", "phi3"]) {
            self.projection(&name("ffn_up"), hidden, 2 * width, has_bias);
            self.projection(&name("ffn_down"), width, hidden, has_bias);
        } else {
            self.projection(&name("ffn_gate"), hidden, width, has_bias);
            self.projection(&name("ffn_up"), hidden, width, has_bias);
            self.projection(&name("ffn_down"), width, hidden, has_bias);
        }
        if recipe.has(&["gemma2", "gemma3", "glm4", "olmo2"]) {
            self.norm(&name("post_ffw_norm"), hidden);
        }
    }

    fn experts(&mut self, layer: usize, experts: Experts, has_bias: bool) {
        let recipe = self.recipe;
        let name = |part: &str| format!("blk.{layer}.{part}");
        let Recipe { hidden, width, .. } = *recipe;
        let count = experts.count;
        self.matrix(&name("ffn_gate_inp"), ElementType::F32, &[hidden, count], 2.0);
        if has_bias {
            self.vector(&name("ffn_gate_inp.bias"), &[count], 0.0, 1.0);
        }
        if recipe.integer("expert_gating_func") == Some(2) {
            self.vector(&name("exp_probs_b.bias"), &[count], 0.0, 0.3);
        }
        for (part, columns, rows) in
            [("ffn_gate_exps", hidden, width), ("ffn_up_exps", hidden, width), ("ffn_down_exps", width, hidden)]
        {
            let weight = recipe.expert_weight.unwrap_or(recipe.weight);
            // Gates and ups of gpt-oss must be large for its bound of 7 to be felt.
            let gain = if has_bias && rows == width { 4.0 } else { 1.2 };
            self.matrix(&name(part), weight, &[columns, rows, count], gain);
            if has_bias {
                self.vector(&name(&format!("{part}.bias")), &[rows, count], 0.0, 0.5);
            }
        }
        if experts.shared > 0 {
            if recipe.has(&["qwen2moe"]) {
                self.matrix(&name("ffn_gate_inp_shexp"), ElementType::F32, &[hidden], 1.0);
            }
            self.projection(&name("ffn_gate_shexp"), hidden, experts.shared, false);
            self.projection(&name("ffn_up_shexp"), hidden, experts.shared, false);
            self.projection(&name("ffn_down_shexp"), experts.shared, hidden, false);
        }
    }
}

/// The character that GPT-2 writes a byte as.
fn character(byte: u8) -> char {
    let is_itself = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    if is_itself(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&byte| !is_itself(byte)).count();
    char::from_u32(256 + u32::try_from(before).unwrap()).unwrap()
}

/// A byte-level tokenizer: token `n` is byte `n`; then `ab`, and marks up to the vocabulary's end.
pub(crate) fn tokenizer(writer: &mut Writer, vocabulary: usize) {
    let mut tokens: Vec<String> = (0..=255).map(|byte| character(byte).to_string()).collect();
    tokens.push("ab".to_owned());
    tokens.extend((tokens.len()..vocabulary).map(|id| format!("<|mark {id}|>")));
    let kinds: Vec<i32> = (0..vocabulary).map(|id| if id > 256 { 3 } else { 1 }).collect();
    writer.text("tokenizer.ggml.model", "gpt2");
    writer.text("tokenizer.ggml.pre", "gpt-2");
    writer.texts("tokenizer.ggml.tokens", &tokens);
    writer.integers("tokenizer.ggml.token_type", &kinds);
    writer.texts("tokenizer.ggml.merges", &["a b".to_owned()]);
    writer.integer("tokenizer.ggml.bos_token_id", 257);
    writer.integer("tokenizer.ggml.eos_token_id", END);
}
