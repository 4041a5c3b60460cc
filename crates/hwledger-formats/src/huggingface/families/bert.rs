//! Encoders: BERT, `RoBERTa`, `DistilBERT`, ELECTRA, `MPNet`, ALBERT, Nomic BERT, `ModernBERT`, `DeBERTa`
//! (transformers `modeling_bert.py` and its relatives).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Activation, Attention, CacheOwner, Role, Span, Stack, Weight};

use crate::huggingface::blocks::AttentionBias;
use crate::huggingface::builder::Source;
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::dense::{Dense, NormShape, Projections};

/// What follows the layers, as `architectures` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// Nothing but a pooler where the family has one.
    Pooled,
    /// Prediction of masked tokens.
    Masked,
    /// Both, and whether two sentences follow each other.
    PreTraining,
    /// So many classes behind the pooler.
    Classes(u64),
}

impl Head {
    pub(super) fn read(config: &Config<'_>) -> Result<Self, ConfigError> {
        let name = config.texts("architectures")?.and_then(|names| names.first().copied()).unwrap_or("");
        Ok(if name.ends_with("ForPreTraining") {
            Self::PreTraining
        } else if name.ends_with("Classification") {
            let named = config.nested("id2label").map(|labels| labels.keys().count() as u64);
            Self::Classes(named.or(config.count("num_labels")?).unwrap_or(2))
        } else if name.ends_with("Model") {
            Self::Pooled
        } else {
            Self::Masked
        })
    }
}

/// An encoder being put together.
pub(super) struct Encoder {
    pub(super) dense: Dense,
    pub(super) head: Head,
    /// Width of the embedding tables.
    pub(super) table: u64,
    /// An untied token table has a bias of its own beside the head's.
    pub(super) unties_bias: bool,
}

impl Encoder {
    pub(super) fn read(source: &Source<'_>, hidden_keys: &[&str], width_keys: &[&str]) -> Result<Self, ConfigError> {
        let config = &source.text;
        let hidden = config.required_of(hidden_keys)?;
        let mut dense = Dense::with_width(source, config, true, hidden, config.required_of(width_keys)?)?;
        dense.attention_bias = AttentionBias::all(true);
        dense.has_feed_forward_bias = true;
        dense.activation = Activation::Plain;
        dense.norm = NormShape::ScaleAndBias;
        Ok(Self { dense, head: Head::read(config)?, table: hidden, unties_bias: true })
    }

    /// Whether a token table of its own predicts masked tokens.
    pub(super) fn predicts(&self) -> bool {
        matches!(self.head, Head::Masked | Head::PreTraining)
    }

    /// Attention that sees all tokens at once.
    pub(super) fn attention(&self, index: u64) -> Attention {
        Attention { cache: CacheOwner::Nobody, ..self.dense.attention(index) }
    }

    /// Embedding tables with their norm, layers, and no head yet.
    pub(super) fn build(&mut self, source: &Source<'_>, positions: u64, types: u64) -> ModelSpec {
        let is_tied = self.dense.is_head_tied && self.predicts();
        self.dense.is_head_tied = true;
        let mut model = self.dense.frame(source);
        model.is_head_tied = is_tied;
        model.is_causal = false;
        model.head.clear();
        model.embedding[0].columns = self.table;
        for (role, rows) in [(Role::PositionEmbedding, positions), (Role::TypeEmbedding, types)] {
            if rows > 0 {
                model.embedding.push(source.matrix(role, rows, self.table));
            }
        }
        self.norm(source, &mut model.embedding, self.table);
        for index in 0..self.dense.layers {
            model.decoder.push(self.dense.layer(source, index, self.attention(index)));
        }
        model
    }

    pub(super) fn norm(&self, source: &Source<'_>, weights: &mut Vec<Weight>, length: u64) {
        if self.dense.norm != NormShape::None {
            weights.push(source.vector(Role::Norm, length));
        }
        if self.dense.norm == NormShape::ScaleAndBias {
            weights.push(source.vector(Role::Norm, length));
        }
    }

    /// A dense layer and norm before the (tied) token table, and a bias per token.
    fn masked_head(&self, source: &Source<'_>, model: &mut ModelSpec, is_tied: bool) {
        if !self.predicts() {
            return;
        }
        let (hidden, table) = (self.dense.hidden, self.table);
        linear(source, &mut model.head, table, hidden);
        self.norm(source, &mut model.head, table);
        model.head.push(source.vector(Role::LanguageHead, self.dense.vocabulary));
        if !is_tied {
            model.head.push(source.matrix(Role::LanguageHead, self.dense.vocabulary, table));
            if self.unties_bias {
                model.head.push(source.vector(Role::LanguageHead, self.dense.vocabulary));
            }
        }
    }

    /// What stands behind the first token: pooler, pair prediction, classes.
    fn pooled_head(&self, source: &Source<'_>, model: &mut ModelSpec, has_pooler: bool) {
        let hidden = self.dense.hidden;
        if has_pooler && self.head != Head::Masked {
            linear(source, &mut model.head, hidden, hidden);
        }
        match self.head {
            Head::PreTraining => linear(source, &mut model.head, 2, hidden),
            Head::Classes(classes) => linear(source, &mut model.head, classes, hidden),
            Head::Pooled | Head::Masked => {}
        }
    }
}

fn linear(source: &Source<'_>, weights: &mut Vec<Weight>, rows: u64, columns: u64) {
    weights.push(source.matrix(Role::Other, rows, columns));
    weights.push(source.vector(Role::Other, rows));
}

/// BERT and `RoBERTa`: a pooler, except where masked tokens are predicted.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut encoder = Encoder::read(source, &["hidden_size"], &["intermediate_size"])?;
    let is_tied = encoder.dense.is_head_tied;
    let config = source.text.clone();
    let types = config.count("type_vocab_size")?.unwrap_or(2);
    let mut model = encoder.build(source, config.required("max_position_embeddings")?, types);
    if config.flag("use_task_id", false)? {
        let tasks = config.count("task_type_vocab_size")?.unwrap_or(3);
        model.embedding.push(source.matrix(Role::TypeEmbedding, tasks, encoder.table));
    }
    encoder.masked_head(source, &mut model, is_tied);
    encoder.pooled_head(source, &mut model, true);
    Ok(model)
}

/// `DistilBERT`: no types, no pooler.
pub(super) fn read_distilbert(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut encoder = Encoder::read(source, &["dim", "hidden_size"], &["hidden_dim"])?;
    encoder.unties_bias = false;
    let is_tied = encoder.dense.is_head_tied;
    let mut model = encoder.build(source, source.text.required("max_position_embeddings")?, 0);
    encoder.masked_head(source, &mut model, is_tied);
    // Its classifier has a dense layer where others have the pooler.
    encoder.pooled_head(source, &mut model, matches!(encoder.head, Head::Classes(_)));
    Ok(model)
}

/// `MPNet`: one table of relative positions for all layers beside the absolute ones.
pub(super) fn read_mpnet(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut encoder = Encoder::read(source, &["hidden_size"], &["intermediate_size"])?;
    let is_tied = encoder.dense.is_head_tied;
    let config = source.text.clone();
    let mut model = encoder.build(source, config.required("max_position_embeddings")?, 0);
    let buckets = config.count("relative_attention_num_buckets")?.unwrap_or(32);
    model.embedding.push(source.matrix(Role::PositionEmbedding, buckets, encoder.dense.heads.query_heads));
    encoder.masked_head(source, &mut model, is_tied);
    encoder.pooled_head(source, &mut model, true);
    Ok(model)
}

/// ELECTRA: small tables projected to the hidden size; trained to tell replaced tokens.
pub(super) fn read_electra(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut encoder = Encoder::read(source, &["hidden_size"], &["intermediate_size"])?;
    let is_tied = encoder.dense.is_head_tied;
    let config = source.text.clone();
    encoder.table = config.required("embedding_size")?;
    encoder.unties_bias = false;
    let hidden = encoder.dense.hidden;
    let types = config.count("type_vocab_size")?.unwrap_or(2);
    let is_discriminator = encoder.head == Head::PreTraining;
    if is_discriminator {
        encoder.head = Head::Pooled;
    }
    let mut model = encoder.build(source, config.required("max_position_embeddings")?, types);
    if encoder.table != hidden {
        linear(source, &mut model.embedding, hidden, encoder.table);
    }
    encoder.masked_head(source, &mut model, is_tied);
    if is_discriminator {
        linear(source, &mut model.head, hidden, hidden);
        linear(source, &mut model.head, 1, hidden);
    } else {
        encoder.pooled_head(source, &mut model, matches!(encoder.head, Head::Classes(_)));
    }
    Ok(model)
}

/// ALBERT: one group of layers used over and over; small tables projected to the hidden size.
pub(super) fn read_albert(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut encoder = Encoder::read(source, &["hidden_size"], &["intermediate_size"])?;
    let is_tied = encoder.dense.is_head_tied;
    let config = source.text.clone();
    encoder.table = config.required("embedding_size")?;
    let groups = config.count("num_hidden_groups")?.unwrap_or(1);
    let distinct = groups.saturating_mul(config.count("inner_group_num")?.unwrap_or(1));
    encoder.dense.layers = encoder.dense.layers.min(distinct);
    let types = config.count("type_vocab_size")?.unwrap_or(2);
    let mut model = encoder.build(source, config.required("max_position_embeddings")?, types);
    linear(source, &mut model.embedding, encoder.dense.hidden, encoder.table);
    encoder.masked_head(source, &mut model, is_tied);
    encoder.pooled_head(source, &mut model, true);
    Ok(model)
}

/// Nomic BERT: rotary positions, a gate, biases in norms only. The first files use the keys of GPT-2.
pub(super) fn read_nomic(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut encoder = Encoder::read(source, &["n_embd", "hidden_size"], &["n_inner", "intermediate_size"])?;
    let is_tied = encoder.dense.is_head_tied;
    let config = source.text.clone();
    encoder.dense.attention_bias = AttentionBias {
        query_key_value: config.flag("qkv_proj_bias", false)?,
        output: config.flag("attn_out_bias", config.flag("qkv_proj_bias", false)?)?,
    };
    encoder.dense.has_feed_forward_bias = config.flag("mlp_fc1_bias", false)?;
    encoder.dense.activation = Activation::Gated;
    let types = config.count("type_vocab_size")?.unwrap_or(2);
    let mut model = encoder.build(source, 0, types);
    encoder.masked_head(source, &mut model, is_tied);
    Ok(model)
}

/// GTE: rotary positions, a gate, biases everywhere but on gate and up.
pub(super) fn read_gte(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut encoder = Encoder::read(source, &["hidden_size"], &["intermediate_size"])?;
    let is_tied = encoder.dense.is_head_tied;
    encoder.unties_bias = false;
    encoder.dense.activation = Activation::Gated;
    encoder.dense.has_feed_forward_bias = false;
    encoder.dense.extras = vec![(Role::Down, encoder.dense.hidden)];
    let types = source.text.count("type_vocab_size")?.unwrap_or(1);
    let mut model = encoder.build(source, 0, types);
    encoder.masked_head(source, &mut model, is_tied);
    encoder.pooled_head(source, &mut model, true);
    Ok(model)
}

/// `ModernBERT`: rotary positions, fused projections, scales only; the first layer has no norm before attention.
pub(super) fn read_modernbert(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let hidden = config.required("hidden_size")?;
    let mut dense = Dense::read(source, &config, true)?;
    dense.projections = Projections::Fused;
    dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    dense.has_feed_forward_bias = config.flag("mlp_bias", false)?;
    if config.flag("norm_bias", false)? {
        dense.norm = NormShape::ScaleAndBias;
    }
    let is_decoder = source.text.text("model_type")? == Some("modernbert-decoder");
    let head = if is_decoder { Head::Masked } else { Head::read(&config)? };
    let is_tied = dense.is_head_tied;
    let mut encoder = Encoder { dense, head, table: hidden, unties_bias: false };
    let every = config.count("global_attn_every_n_layers")?.unwrap_or(3).max(1);
    let window = config.positions("local_attention")?.unwrap_or(128);
    let has_decoder_bias = config.flag("decoder_bias", true)?;
    let mut model = encoder.build(source, 0, 0);
    model.is_causal = is_decoder;
    model.decoder = Stack::default();
    for index in 0..encoder.dense.layers {
        encoder.dense.norms_per_layer = if index == 0 { 1 } else { 2 };
        // The window counts both directions.
        let span = if index % every == 0 { Span::Full } else { Span::Sliding(window / 2) };
        let cache = if is_decoder { CacheOwner::Own } else { CacheOwner::Nobody };
        let attention = Attention { cache, ..encoder.dense.heads.attention(span) };
        model.decoder.push(encoder.dense.layer(source, index, attention));
    }
    encoder.norm(source, &mut model.head, hidden);
    if encoder.head != Head::Pooled {
        let has_bias = config.flag("classifier_bias", false)?;
        model.head.push(source.matrix(Role::Other, hidden, hidden));
        if has_bias {
            model.head.push(source.vector(Role::Other, hidden));
        }
        encoder.norm(source, &mut model.head, hidden);
        if let Head::Classes(classes) = encoder.head {
            linear(source, &mut model.head, classes, hidden);
        } else {
            if has_decoder_bias {
                model.head.push(source.vector(Role::LanguageHead, encoder.dense.vocabulary));
            }
            if !is_tied {
                model.head.push(source.matrix(Role::LanguageHead, encoder.dense.vocabulary, hidden));
            }
        }
    }
    Ok(model)
}

/// Which relative positions attention learns: `c2p`, `p2c`.
fn relative_kinds(config: &Config<'_>) -> Result<(bool, bool), ConfigError> {
    let kinds: Vec<&str> = match config.get("pos_att_type").and_then(|value| value.as_str()) {
        Some(word) => word.split('|').collect(),
        None => config.texts("pos_att_type")?.unwrap_or_default(),
    };
    Ok((kinds.contains(&"c2p"), kinds.contains(&"p2c")))
}

/// `DeBERTa` 1 to 3: content and position attend to each other.
pub(super) fn read_deberta(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut encoder = Encoder::read(source, &["hidden_size"], &["intermediate_size"])?;
    let is_tied = encoder.dense.is_head_tied;
    let config = source.text.clone();
    let is_second = config.text("model_type")? != Some("deberta");
    let hidden = encoder.dense.hidden;
    let is_relative = config.flag("relative_attention", false)?;
    let (content_to_position, position_to_content) = relative_kinds(&config)?;
    let mut extras = Vec::new();
    if is_relative && !(is_second && config.flag("share_att_key", false)?) {
        // The first version's key projection has no bias.
        if content_to_position {
            extras.push((Role::Other, hidden.saturating_mul(hidden) + if is_second { hidden } else { 0 }));
        }
        if position_to_content {
            extras.push((Role::Other, hidden.saturating_mul(hidden) + hidden));
        }
    }
    encoder.dense.extras = extras;
    if !is_second {
        // Biases of queries and values alone.
        encoder.dense.projections = Projections::Fused;
        encoder.dense.attention_bias = AttentionBias { query_key_value: false, output: true };
        encoder.dense.extras.extend([(Role::Other, hidden), (Role::Other, hidden)]);
    }
    let positions = config.required("max_position_embeddings")?;
    let absolute = if config.flag("position_biased_input", true)? { positions } else { 0 };
    let mut model = encoder.build(source, absolute, config.count("type_vocab_size")?.unwrap_or(0));
    if is_relative {
        // Negative counts, as the class has by default, stand for the number of positions.
        let reach = config.count("max_relative_positions").ok().flatten().filter(|&reach| reach > 0);
        let buckets = config.count("position_buckets").ok().flatten().filter(|&count| count > 0 && is_second);
        let rows = buckets.or(reach).unwrap_or(positions).saturating_mul(2);
        model.embedding.push(source.matrix(Role::PositionEmbedding, rows, hidden));
        if config.get("norm_rel_ebd").and_then(|value| value.as_str()).is_some_and(|word| word.contains("layer_norm")) {
            encoder.norm(source, &mut model.embedding, hidden);
        }
    }
    let taps = config.count("conv_kernel_size")?.unwrap_or(0);
    if taps > 0 {
        model.embedding.push(source.matrix(Role::Other, hidden, hidden).stacked(taps));
        model.embedding.push(source.vector(Role::Other, hidden));
        encoder.norm(source, &mut model.embedding, hidden);
    }
    encoder.masked_head(source, &mut model, is_tied);
    encoder.pooled_head(source, &mut model, matches!(encoder.head, Head::Classes(_)));
    Ok(model)
}

/// `EuroBERT`: Llama that sees all tokens at once.
pub(super) fn read_eurobert(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut dense = Dense::read(source, &config, false)?;
    dense.attention_bias = AttentionBias::all(config.flag("attention_bias", false)?);
    dense.has_feed_forward_bias = config.flag("mlp_bias", false)?;
    let mut model = dense.frame(source);
    if Head::read(&config)? == Head::Pooled {
        model.head.retain(|weight| weight.role != Role::LanguageHead);
    } else if dense.has_feed_forward_bias {
        model.head.push(source.vector(Role::LanguageHead, dense.vocabulary));
    }
    model.is_causal = false;
    for index in 0..dense.layers {
        let attention = Attention { cache: CacheOwner::Nobody, ..dense.attention(index) };
        model.decoder.push(dense.layer(source, index, attention));
    }
    Ok(model)
}

/// Longformer: tokens that see everything have projections of their own.
pub(super) fn read_longformer(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = read(source)?;
    model.decoder = with_global_projections(source, &model.decoder, model.hidden_size);
    Ok(model)
}

/// The same layers with a second query, key and value projection (Beltagy et al. 2020, Longformer).
pub(super) fn with_global_projections(source: &Source<'_>, layers: &Stack, hidden: u64) -> Stack {
    let mut stack = Stack::default();
    for layer in layers.layers() {
        let mut layer = layer.clone();
        for role in [Role::Query, Role::Key, Role::Value] {
            layer.weights.push(source.matrix(role, hidden, hidden));
            layer.weights.push(source.vector(role, hidden));
        }
        stack.push(layer);
    }
    stack
}

/// `RoBERTa` with norms before the blocks, so one more behind the layers.
pub(super) fn read_roberta_prelayernorm(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let mut model = read(source)?;
    for _ in ["scale", "bias"] {
        model.head.insert(0, source.vector(Role::Norm, model.hidden_size));
    }
    Ok(model)
}
