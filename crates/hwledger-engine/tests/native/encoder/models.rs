//! Tiny encoders with random weights.

use hwledger_core::ElementType;

use crate::gguf::Writer;
use crate::noise::{Noise, random_tensor};

/// No multiple of sixteen.
pub(crate) const VOCABULARY: usize = 83;
/// Of the tokens about a text.
pub(crate) const CLS: u32 = 2;
pub(crate) const SEP: u32 = 3;

/// What an encoder is made of.
#[derive(Clone)]
pub(crate) struct EncoderRecipe {
    pub(crate) architecture: &'static str,
    pub(crate) weight: ElementType,
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    pub(crate) width: usize,
    /// The longest text, and the rows of learned positions.
    pub(crate) context: usize,
    pub(crate) pooling: Option<u32>,
    /// Whether query, key and value heads are one matrix.
    pub(crate) is_fused: bool,
    /// A tensor that is left out.
    pub(crate) missing: Option<&'static str>,
    /// How large biases are.
    pub(crate) bias: f32,
}

impl EncoderRecipe {
    pub(crate) fn bert() -> Self {
        Self {
            architecture: "bert",
            weight: ElementType::F32,
            layers: 2,
            hidden: 96,
            heads: 3,
            width: 72,
            context: 80,
            pooling: Some(1),
            is_fused: false,
            missing: None,
            bias: 0.5,
        }
    }

    pub(crate) fn nomic() -> Self {
        Self { architecture: "nomic-bert", is_fused: true, ..Self::bert() }
    }

    /// The same with weights of another type, and extents that its blocks fill.
    pub(crate) fn with_weights(self, weight: ElementType) -> Self {
        match weight.block().0 {
            256 => Self { weight, hidden: 256, heads: 4, width: 256, ..self },
            1 => Self { weight, ..self },
            _ => Self { weight, width: 96, ..self },
        }
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut builder = Builder { recipe: self, writer: Writer::default(), noise: Noise(7) };
        builder.metadata();
        builder.tensors();
        builder.writer.bytes()
    }

    fn is_nomic(&self) -> bool {
        self.architecture == "nomic-bert"
    }
}

struct Builder<'a> {
    recipe: &'a EncoderRecipe,
    writer: Writer,
    noise: Noise,
}

impl Builder<'_> {
    fn metadata(&mut self) {
        let recipe = self.recipe;
        let key = |suffix: &str| format!("{}.{suffix}", recipe.architecture);
        let size = |value: usize| u32::try_from(value).unwrap();
        let writer = &mut self.writer;
        writer.text("general.architecture", recipe.architecture);
        for (suffix, value) in [
            ("block_count", recipe.layers),
            ("context_length", recipe.context),
            ("embedding_length", recipe.hidden),
            ("feed_forward_length", recipe.width),
            ("attention.head_count", recipe.heads),
        ] {
            writer.integer(&key(suffix), size(value));
        }
        if recipe.missing != Some("epsilon") {
            writer.float(&key("attention.layer_norm_epsilon"), 1e-5);
        }
        writer.flag(&key("attention.causal"), recipe.missing == Some("sight"));
        if let Some(pooling) = recipe.pooling {
            writer.integer(&key("pooling_type"), pooling);
        }
        if recipe.is_nomic() {
            writer.float(&key("rope.freq_base"), 1000.0);
        }
        if recipe.missing != Some("tokenizer") {
            tokenizer(writer);
        }
    }

    fn matrix(&mut self, name: &str, weight: ElementType, extents: [usize; 2], size: f32) {
        let bytes = random_tensor(weight, extents[0] * extents[1], size, &mut self.noise);
        if self.recipe.missing != Some(name) {
            self.writer.tensor(&format!("{name}.weight"), weight, &extents, &bytes);
        }
    }

    fn vector(&mut self, name: &str, length: usize, middle: f32, spread: f32) {
        let bytes: Vec<u8> = (0..length).flat_map(|_| (middle + spread * self.noise.value()).to_le_bytes()).collect();
        if self.recipe.missing != Some(name) {
            self.writer.tensor(name, ElementType::F32, &[length], &bytes);
        }
    }

    fn norm(&mut self, name: &str) {
        self.vector(&format!("{name}.weight"), self.recipe.hidden, 1.0, 0.4);
        self.vector(&format!("{name}.bias"), self.recipe.hidden, 0.0, 0.3);
    }

    /// A projection whose outputs are about `gain` times as large as its inputs.
    fn projection(&mut self, name: &str, columns: usize, rows: usize, gain: f32) {
        self.matrix(name, self.recipe.weight, [columns, rows], gain / (columns as f32).sqrt());
        if !self.recipe.is_nomic() {
            self.vector(&format!("{name}.bias"), rows, 0.0, self.recipe.bias);
        }
    }

    fn tensors(&mut self) {
        let EncoderRecipe { weight, hidden, width, context, layers, .. } = *self.recipe;
        self.matrix("token_embd", weight, [hidden, VOCABULARY], 1.0);
        // Converters leave these as they are.
        let whole = if weight.block().0 == 1 { weight } else { ElementType::F32 };
        self.matrix("token_types", ElementType::F32, [hidden, 2], 0.5);
        if !self.recipe.is_nomic() {
            self.matrix("position_embd", whole, [hidden, context], 0.7);
        }
        self.norm("token_embd_norm");
        for layer in 0..layers {
            let name = |part: &str| format!("blk.{layer}.{part}");
            if self.recipe.is_fused {
                self.projection(&name("attn_qkv"), hidden, 3 * hidden, 1.2);
            } else {
                for part in ["attn_q", "attn_k", "attn_v"] {
                    self.projection(&name(part), hidden, hidden, 1.2);
                }
            }
            self.projection(&name("attn_output"), hidden, hidden, 1.2);
            self.norm(&name("attn_output_norm"));
            if self.recipe.is_nomic() {
                self.projection(&name("ffn_gate"), hidden, width, 1.2);
            }
            self.projection(&name("ffn_up"), hidden, width, 1.2);
            self.projection(&name("ffn_down"), width, hidden, 1.2);
            self.norm(&name("layer_output_norm"));
        }
    }
}

/// Tokens as `vocab.txt` of BERT has them: marks, letters, the same within words, some words.
pub(crate) fn words() -> Vec<String> {
    let marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned);
    let letters = ('a'..='z').map(String::from);
    let inner = ('a'..='z').map(|letter| format!("##{letter}"));
    let words = ["the", "hell", "##o", "search", "_", "query", ":", "##ing", "wörld", "!", "北", "un", "##able"];
    let mut all: Vec<String> = marks.into_iter().chain(letters).chain(inner).collect();
    for word in words.map(str::to_owned) {
        if !all.contains(&word) {
            all.push(word);
        }
    }
    let missing = VOCABULARY - all.len();
    all.extend((0..missing).map(|index| format!("[unused{index}]")));
    all
}

/// The same as GGUF spells them.
pub(crate) fn tokenizer(writer: &mut Writer) {
    let words = words();
    let tokens: Vec<String> = words
        .iter()
        .map(|word| match word.strip_prefix("##") {
            Some(inner) => inner.to_owned(),
            None if word.starts_with('[') => word.clone(),
            None => format!("▁{word}"),
        })
        .collect();
    let kinds: Vec<i32> = words.iter().map(|word| if word.starts_with('[') { 3 } else { 1 }).collect();
    writer.text("tokenizer.ggml.model", "bert");
    writer.texts("tokenizer.ggml.tokens", &tokens);
    writer.integers("tokenizer.ggml.token_type", &kinds);
    for (name, id) in [("padding", 0), ("unknown", 1), ("cls", CLS), ("seperator", SEP), ("mask", 4)] {
        writer.integer(&format!("tokenizer.ggml.{name}_token_id"), id);
    }
}
