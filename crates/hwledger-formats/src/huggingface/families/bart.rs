//! Encoders with decoders after Vaswani et al. (2017): BART, mBART, Pegasus, Marian, M2M-100 (NLLB), Whisper
//! (transformers `modeling_bart.py`, `modeling_mbart.py`, `modeling_pegasus.py`, `modeling_marian.py`, `modeling_m2m_100.py`,
//! `modeling_whisper.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Attention, CacheOwner, Layer, Mixer, Role, Stack};

use crate::huggingface::blocks::{self, Heads};
use crate::huggingface::builder::{LayerBuilder, Source};
use crate::huggingface::config::{Config, ConfigError};

/// What differs between the relatives.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Rows that a learned position table has before the first position; nothing where positions are computed.
    position_offset: Option<u64>,
    has_embedding_norm: bool,
    has_final_norm: bool,
}

/// One side: encoder or decoder.
struct Side {
    hidden: u64,
    heads: Heads,
    width: u64,
    layers: u64,
}

impl Side {
    fn read(config: &Config<'_>, side: &str) -> Result<Self, ConfigError> {
        let hidden = config.required("d_model")?;
        let key = |suffix: &str| format!("{side}_{suffix}");
        let heads = config.required(&key("attention_heads"))?;
        let layers = config.layers(&[&key("layers")])?;
        let head_dim = hidden / heads;
        if head_dim == 0 {
            return Err(config.contradiction(&key("attention_heads"), format!("is more than the width {hidden}")));
        }
        let heads = Heads { query_heads: heads, kv_heads: heads, head_dim };
        Ok(Self { hidden, heads, width: config.required(&key("ffn_dim"))?, layers })
    }

    fn attention(&self, layer: &mut LayerBuilder<'_>, module: &str, has_key_bias: bool) {
        let (hidden, inner) = (self.hidden, self.heads.query_heads * self.heads.head_dim);
        layer.linear_with_bias(Role::Query, &format!("{module}.q_proj"), inner, hidden, true);
        layer.linear_with_bias(Role::Key, &format!("{module}.k_proj"), inner, hidden, has_key_bias);
        layer.linear_with_bias(Role::Value, &format!("{module}.v_proj"), inner, hidden, true);
        layer.linear_with_bias(Role::AttentionOutput, &format!("{module}.out_proj"), hidden, inner, true);
    }

    fn layer(&self, source: &Source<'_>, index: u64, is_decoder: bool, has_key_bias: bool) -> Layer {
        let side = if is_decoder { "decoder" } else { "encoder" };
        let mut layer = source.layer(format!("model.{side}.layers.{index}"));
        self.attention(&mut layer, "self_attn", has_key_bias);
        if is_decoder {
            self.attention(&mut layer, "encoder_attn", has_key_bias);
        }
        let feed_forward = blocks::plain_feed_forward(&mut layer, self.hidden, self.width, true);
        for _ in 0..if is_decoder { 3 } else { 2 } {
            layer.norm(self.hidden, true);
        }
        let full = self.heads.attention(hwledger_core::model::Span::Full);
        let cache = if is_decoder { CacheOwner::Own } else { CacheOwner::Nobody };
        layer.finish(Mixer::Attention(Attention { cache, ..full }), feed_forward)
    }

    fn stack(&self, source: &Source<'_>, is_decoder: bool, has_key_bias: bool) -> Stack {
        let mut stack = Stack::default();
        for index in 0..self.layers {
            stack.push(self.layer(source, index, is_decoder, has_key_bias));
        }
        stack
    }
}

/// Both stacks, the shared table and the head; nothing else yet.
fn frame(source: &Source<'_>, config: &Config<'_>, has_key_bias: bool) -> Result<ModelSpec, ConfigError> {
    let encoder = Side::read(config, "encoder")?;
    let decoder = Side::read(config, "decoder")?;
    let mut model = source.decoder(decoder.hidden, config.required("vocab_size")?, source.is_head_tied(true)?);
    model.head.retain(|weight| weight.role != Role::Norm);
    model.encoder = Some(encoder.stack(source, false, has_key_bias));
    model.decoder = decoder.stack(source, true, has_key_bias);
    Ok(model)
}

fn text(source: &mut Source<'_>, shape: Shape) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut model = frame(source, &config, true)?;
    let hidden = model.hidden_size;
    if !source.is_head_tied(true)? {
        // Encoder and decoder then have tables of their own beside the shared one, which is read by nobody.
        let table = model.embedding[0];
        model.embedding.extend([table, table]);
    }
    for _ in ["encoder", "decoder"] {
        if let Some(offset) = shape.position_offset {
            let rows = config.required("max_position_embeddings")? + offset;
            model.embedding.push(source.matrix(Role::PositionEmbedding, rows, hidden));
        }
        for has_norm in [shape.has_embedding_norm, shape.has_final_norm] {
            if has_norm {
                model.embedding.push(source.vector(Role::Norm, hidden));
                model.embedding.push(source.vector(Role::Norm, hidden));
            }
        }
    }
    let heads = Side::read(&config, "decoder")?.heads;
    super::remark_on_cross_attention(source, heads);
    Ok(model)
}

/// BART: norms after the blocks and after the embedding.
pub(super) fn read_bart(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    text(source, Shape { position_offset: Some(2), has_embedding_norm: true, has_final_norm: false })
}

/// `BlenderbotSmall`: BART whose positions start at the first row.
pub(super) fn read_blenderbot_small(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    text(source, Shape { position_offset: Some(0), has_embedding_norm: true, has_final_norm: false })
}

/// LED: BART whose encoder attends as Longformer does.
pub(super) fn read_led(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut model = frame(source, &config, true)?;
    let hidden = model.hidden_size;
    model.encoder = model.encoder.map(|stack| super::bert::with_global_projections(source, &stack, hidden));
    if !model.is_head_tied {
        // As for BART, both sides then have tables of their own.
        let table = model.embedding[0];
        model.embedding.extend([table, table]);
    }
    for positions in ["max_encoder_position_embeddings", "max_decoder_position_embeddings"] {
        model.embedding.push(source.matrix(Role::PositionEmbedding, config.required(positions)?, hidden));
        model.embedding.push(source.vector(Role::Norm, hidden));
        model.embedding.push(source.vector(Role::Norm, hidden));
    }
    model.context_max = config.positions("max_decoder_position_embeddings")?;
    let heads = Side::read(&config, "decoder")?.heads;
    super::remark_on_cross_attention(source, heads);
    Ok(model)
}

/// mBART: norms before the blocks, so one more at the end.
pub(super) fn read_mbart(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    text(source, Shape { position_offset: Some(2), has_embedding_norm: true, has_final_norm: true })
}

/// Pegasus: fixed positions, which the reference nevertheless keeps as a table.
pub(super) fn read_pegasus(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    text(source, Shape { position_offset: Some(0), has_embedding_norm: false, has_final_norm: true })
}

/// Marian: the same without final norms.
pub(super) fn read_marian(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    text(source, Shape { position_offset: Some(0), has_embedding_norm: false, has_final_norm: false })
}

/// M2M-100 and NLLB: positions are computed.
pub(super) fn read_m2m(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    text(source, Shape { position_offset: None, has_embedding_norm: false, has_final_norm: true })
}

/// Whisper: two convolutions over a spectrogram before the encoder; keys have no bias.
pub(super) fn read_whisper(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let mut model = frame(source, &config, false)?;
    let hidden = model.hidden_size;
    let bands = config.required("num_mel_bins")?;
    for channels in [bands, hidden] {
        // Three taps.
        model.embedding.push(source.matrix(Role::Other, hidden, 3 * channels));
        model.embedding.push(source.vector(Role::Other, hidden));
    }
    for positions in ["max_source_positions", "max_target_positions"] {
        model.embedding.push(source.matrix(Role::PositionEmbedding, config.required(positions)?, hidden));
        model.embedding.push(source.vector(Role::Norm, hidden));
        model.embedding.push(source.vector(Role::Norm, hidden));
    }
    model.context_max = config.positions("max_target_positions")?;
    let heads = Side::read(&config, "decoder")?.heads;
    super::remark_on_cross_attention(source, heads);
    Ok(model)
}
