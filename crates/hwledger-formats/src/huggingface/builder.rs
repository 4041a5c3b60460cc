//! From keys to layers: the source that families read, and the layer that they fill.

use hwledger_core::ModelSpec;
use hwledger_core::model::{Certainty, FeedForward, Layer, Mixer, Role, Stack, Weight};

use super::config::{Config, ConfigError};
use super::quantization::Quantization;
use crate::Diagnostic;

/// Keys under which multimodal configurations nest their language model.
const TEXT_KEYS: &[&str] = &["text_config", "llm_config", "language_config", "thinker_config"];

/// Classes of the reference that take `tie_word_embeddings` from `text_config` where it is true there.
const FORWARDS_TIE: &[&str] = &[
    "fast_vlm",
    "glm4v",
    "glm4v_moe",
    "glm_ocr",
    "llava",
    "llava_next_video",
    "llava_onevision",
    "minimax_m3_vl",
    "paddleocr_vl",
    "qwen2_5_vl",
    "qwen2_vl",
    "video_llama_3",
];

/// Classes of the reference whose head is tied as the language model inside says.
const LEAVES_TIE: &[&str] = &["blip-2", "instructblip", "instructblipvideo", "shieldgemma2"];

/// Classes of the reference that tie the head where the file says nothing, whatever the language model inside does.
const TIES_UNASKED: &[&str] =
    &["deepseek_vl", "glmasr", "granite_speech", "granite_speech_plus", "qwen3_asr", "voxtral_realtime"];

/// A configuration as families see it.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    /// The whole file.
    pub(crate) root: Config<'a>,
    /// The language model's part; the whole file where nothing is nested.
    pub(crate) text: Config<'a>,
    /// How the files hold the weights.
    pub(crate) quantization: Quantization,
    /// Remarks so far.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// The nested language model is being read: a model in a model in a model is refused.
    pub(crate) is_nested: bool,
}

impl<'a> Source<'a> {
    pub(crate) fn new(root: Config<'a>) -> Result<Self, ConfigError> {
        let mut text = root.clone();
        // `thinker_config` holds a `text_config` of its own; deeper nesting does not occur.
        for _ in 0..2 {
            if let Some(nested) = TEXT_KEYS.iter().find_map(|key| text.nested(key)) {
                text = nested;
            } else if let Some(key) = TEXT_KEYS.iter().find(|key| text.has_part(key)) {
                // Older files have the language model's keys outside; where they are not there either, all take the
                // defaults of the class.
                let has_keys = text.has("num_hidden_layers");
                text = if has_keys { text.as_part(key) } else { text.nested_or_empty(key) };
            }
        }
        let quantization = Quantization::read(&root, &text)?;
        let remarks = quantization.remarks.iter().map(|remark| Diagnostic::new("quantization_config", remark.clone()));
        let diagnostics: Vec<_> = remarks.collect();
        Ok(Self { root, text, quantization, diagnostics, is_nested: false })
    }

    /// The object that nests language model and towers: the whole file, or its `thinker_config` (Qwen-Omni).
    pub(crate) fn outer(&self) -> Config<'a> {
        const KEY: &str = "thinker_config";
        if self.root.has(KEY) || self.root.has_part(KEY) {
            return self.root.nested_or_empty(KEY);
        }
        self.root.clone()
    }

    /// The family: the outermost `model_type`, or what `architectures` suggests.
    pub(crate) fn model_type(&self) -> Result<String, ConfigError> {
        if let Some(name) = self.root.text("model_type")? {
            return Ok(name.to_owned());
        }
        match self.root.texts("architectures").ok().flatten().and_then(|names| names.first().copied()) {
            Some(class) => {
                let suffixes = ["ForCausalLM", "ForConditionalGeneration", "ForMaskedLM", "LMHeadModel", "Model"];
                Ok(snake_case(suffixes.iter().find_map(|suffix| class.strip_suffix(suffix)).unwrap_or(class)))
            }
            None => Err(self.root.missing("model_type")),
        }
    }

    /// Number of decoder layers, bounded.
    pub(crate) fn layer_count(&self) -> Result<u64, ConfigError> {
        self.layers_under(&["num_hidden_layers", "n_layer", "n_layers", "num_layers"])
    }

    /// Number of layers under one of `keys`, bounded.
    pub(crate) fn layers_under(&self, keys: &[&str]) -> Result<u64, ConfigError> {
        self.text.layers(keys)
    }

    /// A layer to fill; `prefix` is its module path, as quantisation exceptions name it.
    pub(crate) fn layer(&self, prefix: impl Into<String>) -> LayerBuilder<'_> {
        LayerBuilder { quantization: &self.quantization, prefix: prefix.into(), weights: Vec::with_capacity(16) }
    }

    /// A decoder without layers yet: embedding, final norm with `norm_weights` vectors of the hidden size, head.
    pub(crate) fn decoder(&self, hidden: u64, vocabulary: u64, is_head_tied: bool) -> ModelSpec {
        let dtype = self.quantization.dtype();
        let table = |role, module: &str| Weight {
            stored: self.quantization.table(module),
            ..Weight::matrix(role, vocabulary, hidden)
        };
        let mut head = vec![Weight { stored: dtype, ..Weight::vector(Role::Norm, hidden) }];
        let has_head = self.has_language_head();
        let is_head_tied = is_head_tied && has_head;
        if has_head && !is_head_tied {
            head.push(table(Role::LanguageHead, "lm_head"));
        }
        ModelSpec {
            architecture: String::new(),
            hidden_size: hidden,
            vocabulary_size: vocabulary,
            context_max: self.context_max(),
            decoder: Stack::default(),
            encoder: None,
            embedding: vec![table(Role::TokenEmbedding, "model.embed_tokens")],
            head,
            is_head_tied,
            is_causal: true,
            towers: Vec::new(),
            draft_layers: Vec::new(),
            file_order: None,
            file_bytes: None,
            stored_format: None,
            certainty: Certainty::Known,
        }
    }

    /// Whether `architectures` names a class that predicts tokens; embedding models name the bare model.
    pub(crate) fn has_language_head(&self) -> bool {
        let names = self.root.texts("architectures").ok().flatten().unwrap_or_default();
        !names.first().is_some_and(|name| {
            name.ends_with("Model") && !["LMHeadModel", "MTModel"].iter().any(|suffix| name.ends_with(suffix))
        })
    }

    /// A vector outside the layers.
    pub(crate) fn vector(&self, role: Role, length: u64) -> Weight {
        Weight { stored: self.quantization.dtype(), ..Weight::vector(role, length) }
    }

    /// A matrix outside the layers, which no scheme quantises.
    pub(crate) fn matrix(&self, role: Role, rows: u64, columns: u64) -> Weight {
        Weight { stored: self.quantization.dtype(), ..Weight::matrix(role, rows, columns) }
    }

    /// The longest context, under any of its names.
    pub(crate) fn context_max(&self) -> Option<u64> {
        ["max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length", "n_ctx"]
            .iter()
            .find_map(|key| self.text.positions(key).ok().flatten())
    }

    /// Whether the output projection is tied; `default` is the family's own.
    ///
    /// The key stands outside or inside `text_config`. The reference goes by the outer one, whose absence it reads as
    /// its class says; some classes forward the inner one, where older files have it. Outer classes that take it as set
    /// also do so for language models that keep a head of their own, so there the inner class decides.
    pub(crate) fn is_head_tied(&self, default: bool) -> Result<bool, ConfigError> {
        const KEY: &str = "tie_word_embeddings";
        if !self.text.is_nested() {
            return self.text.flag(KEY, default);
        }
        if self.root.model_type()?.is_some_and(|name| LEAVES_TIE.contains(&name)) {
            return self.text.flag(KEY, default);
        }
        let inner = self.text.has(KEY).then(|| self.text.flag(KEY, default)).transpose()?;
        let forwards = self.root.model_type()?.is_some_and(|name| FORWARDS_TIE.contains(&name));
        let forwarded = forwards && inner == Some(true);
        if self.root.has(KEY) {
            return Ok(self.root.flag(KEY, default)? || forwarded);
        }
        match (self.root.default_flag(KEY), self.root.is_known()) {
            (Some(false), _) | (None, true) => Ok(forwarded),
            (Some(true), _) if self.root.model_type()?.is_some_and(|name| TIES_UNASKED.contains(&name)) => Ok(true),
            (Some(true), _) | (None, false) => inner.map_or_else(|| self.text.flag(KEY, default), Ok),
        }
    }
}

/// One layer being filled.
#[derive(Debug)]
pub(crate) struct LayerBuilder<'a> {
    quantization: &'a Quantization,
    prefix: String,
    weights: Vec<Weight>,
}

impl LayerBuilder<'_> {
    /// The matrix of a linear layer.
    pub(crate) fn linear(&mut self, role: Role, module: &str, rows: u64, columns: u64) {
        let stored = self.quantization.linear(&format!("{}.{module}", self.prefix));
        self.weights.push(Weight { stored, ..Weight::matrix(role, rows, columns) });
    }

    /// A linear layer with its bias.
    pub(crate) fn linear_with_bias(&mut self, role: Role, module: &str, rows: u64, columns: u64, has_bias: bool) {
        self.linear(role, module, rows, columns);
        if has_bias {
            self.vector(role, rows);
        }
    }

    /// The matrices of stacked experts.
    pub(crate) fn experts(&mut self, role: Role, module: &str, copies: u64, rows: u64, columns: u64) {
        let stored = self.quantization.linear(&format!("{}.{module}", self.prefix));
        self.weights.push(Weight { stored, ..Weight::matrix(role, rows, columns).stacked(copies) });
    }

    /// A vector that no scheme quantises: norm, bias, scale.
    pub(crate) fn vector(&mut self, role: Role, length: u64) {
        self.weights.push(Weight { stored: self.quantization.dtype(), ..Weight::vector(role, length) });
    }

    /// A matrix that no scheme quantises.
    pub(crate) fn plain_matrix(&mut self, role: Role, rows: u64, columns: u64) {
        self.weights.push(Weight { stored: self.quantization.dtype(), ..Weight::matrix(role, rows, columns) });
    }

    /// A causal convolution of one filter of `taps` per channel.
    pub(crate) fn convolution(&mut self, channels: u64, taps: u64, has_bias: bool) {
        self.plain_matrix(Role::RecurrentConvolution, channels, taps);
        if has_bias {
            self.vector(Role::RecurrentConvolution, channels);
        }
    }

    /// One stacked vector per expert (expert biases).
    pub(crate) fn expert_vector(&mut self, role: Role, copies: u64, length: u64) {
        self.weights.push(Weight { stored: self.quantization.dtype(), ..Weight::vector(role, length).stacked(copies) });
    }

    /// A norm's scale, and its bias if it has one.
    pub(crate) fn norm(&mut self, length: u64, has_bias: bool) {
        self.vector(Role::Norm, length);
        if has_bias {
            self.vector(Role::Norm, length);
        }
    }

    /// The finished layer.
    pub(crate) fn finish(self, mixer: Mixer, feed_forward: FeedForward) -> Layer {
        Layer { mixer, feed_forward, weights: self.weights }
    }
}

/// `Qwen3Moe` to `qwen3_moe`.
fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let mut previous_lower = false;
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && previous_lower {
            out.push('_');
        }
        previous_lower = letter.is_ascii_lowercase() || letter.is_ascii_digit();
        out.push(letter.to_ascii_lowercase());
    }
    out
}
