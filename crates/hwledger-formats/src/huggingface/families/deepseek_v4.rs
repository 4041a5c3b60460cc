//! DeepSeek-V4: caches compressed along the sequence, hyper-connections, experts chosen by hash in the first
//! layers (transformers `modeling_deepseek_v4.py`).

use hwledger_core::ModelSpec;
use hwledger_core::model::{Attention, Compression, Indexer, Layer, Mixer, Role, Span};

use crate::huggingface::builder::{LayerBuilder, Source};
use crate::huggingface::config::{Config, ConfigError};
use crate::huggingface::experts::Mixture;
use crate::huggingface::schedule;
use crate::huggingface::sparse::{deepseek_experts, prediction_layer};

/// Shape of a DeepSeek-V4 layer.
#[derive(Clone, Copy, Debug)]
struct Shape {
    hidden: u64,
    heads: u64,
    head_dim: u64,
    query_rank: u64,
    window: u64,
    output_groups: u64,
    output_rank: u64,
    index: Indexer,
    /// Parallel residual streams.
    streams: u64,
    mixture: Mixture,
}

/// Tokens per compressed entry of each layer; 0 where a layer has only its window.
fn ratios(config: &Config<'_>, layers: u64) -> Result<Vec<u64>, ConfigError> {
    const KEY: &str = "layer_types";
    if let Some(ratios) = schedule::per_layer(config, "compress_ratios", layers)? {
        return Ok(ratios);
    }
    let rates = config.nested_or_empty("compress_rates");
    // The reference's `default_compress_rates`.
    let fine = rates.count("compressed_sparse_attention")?.unwrap_or(4);
    let coarse = rates.count("heavily_compressed_attention")?.unwrap_or(128);
    let Some(kinds) = schedule::kinds(config, KEY, layers)? else {
        return Ok((0..layers).map(|index| if index >= 2 && index % 2 == 1 { fine } else { coarse }).collect());
    };
    kinds
        .into_iter()
        .map(|kind| match kind {
            "sliding_attention" => Ok(0),
            "compressed_sparse_attention" => Ok(fine),
            "heavily_compressed_attention" => Ok(coarse),
            other => Err(schedule::unknown(config, KEY, other)),
        })
        .collect()
}

impl Shape {
    fn read(config: &Config<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            hidden: config.required("hidden_size")?,
            heads: config.required("num_attention_heads")?,
            head_dim: config.required("head_dim")?,
            query_rank: config.required("q_lora_rank")?,
            window: config.required("sliding_window")?,
            output_groups: config.required("o_groups")?,
            output_rank: config.required("o_lora_rank")?,
            index: Indexer {
                heads: config.required("index_n_heads")?,
                head_dim: config.required("index_head_dim")?,
                top_k: config.required("index_topk")?,
                is_owner: true,
            },
            streams: config.required("hc_mult")?,
            mixture: deepseek_experts(config)?,
        })
    }

    /// One entry of the cache is key and value at once, shared by all heads.
    fn attention(&self, ratio: u64) -> Attention {
        let compression = Compression { ratio, entry_elements: self.head_dim };
        Attention {
            value_dim: 0,
            span: Span::Sliding(self.window),
            has_sinks: true,
            indexer: is_fine(ratio).then_some(self.index),
            compression: Some(compression),
            ..Attention::full(self.heads, 1, self.head_dim)
        }
    }

    fn add_attention(&self, layer: &mut LayerBuilder<'_>, ratio: u64) {
        let Self { hidden, heads, head_dim, query_rank, output_groups, output_rank, .. } = *self;
        layer.vector(Role::Sinks, heads);
        layer.linear(Role::QueryDown, "self_attn.q_a_proj", query_rank, hidden);
        layer.norm(query_rank, false);
        layer.linear(Role::QueryUp, "self_attn.q_b_proj", heads * head_dim, query_rank);
        layer.linear(Role::LatentDown, "self_attn.kv_proj", head_dim, hidden);
        layer.norm(head_dim, false);
        let latent = output_groups * output_rank;
        layer.linear(Role::AttentionOutput, "self_attn.o_a_proj", latent, heads * head_dim / output_groups);
        layer.linear(Role::AttentionOutput, "self_attn.o_b_proj", hidden, latent);
        if ratio > 0 {
            self.add_compressor(layer, ratio, head_dim);
        }
        if is_fine(ratio) {
            self.add_compressor(layer, ratio, self.index.head_dim);
            let rows = self.index.heads * self.index.head_dim;
            layer.linear(Role::Indexer, "self_attn.compressor.indexer.q_b_proj", rows, query_rank);
            layer.plain_matrix(Role::Indexer, self.index.heads, hidden);
        }
    }

    /// Fine compression overlaps its windows and so projects to twice the width.
    fn add_compressor(&self, layer: &mut LayerBuilder<'_>, ratio: u64, width: u64) {
        let rows = if is_fine(ratio) { 2 * width } else { width };
        layer.plain_matrix(Role::Indexer, ratio, rows);
        layer.plain_matrix(Role::Indexer, rows, self.hidden);
        layer.plain_matrix(Role::Indexer, rows, self.hidden);
        layer.norm(width, false);
    }

    fn layer(&self, source: &Source<'_>, index: u64, ratio: u64) -> Layer {
        let mut layer = source.layer(format!("model.layers.{index}"));
        self.add_attention(&mut layer, ratio);
        let feed_forward = self.mixture.add(&mut layer, self.hidden);
        for _ in 0..2 {
            layer.norm(self.hidden, false);
            // Hyper-connections: read, write and mix the streams, before attention and before the experts.
            let outputs = self.streams * (self.streams + 2);
            layer.plain_matrix(Role::Other, outputs, self.streams * self.hidden);
            layer.vector(Role::Other, outputs);
            layer.vector(Role::Other, 3);
        }
        layer.finish(Mixer::Attention(self.attention(ratio)), feed_forward)
    }
}

/// Entries of few tokens are chosen among by an index; entries of many are all attended to.
const fn is_fine(ratio: u64) -> bool {
    0 < ratio && ratio < 128
}

/// DeepSeek-V4.
pub(super) fn read(source: &mut Source<'_>) -> Result<ModelSpec, ConfigError> {
    let config = source.text.clone();
    let shape = Shape::read(&config)?;
    let layers = source.layer_count()?;
    let ratios = ratios(&config, layers)?;
    let hidden = shape.hidden;
    let mut model = source.decoder(hidden, config.required("vocab_size")?, source.is_head_tied(false)?);
    model.head.push(source.matrix(Role::Other, shape.streams, shape.streams * hidden));
    model.head.push(source.vector(Role::Other, shape.streams));
    model.head.push(source.vector(Role::Other, 1));
    for (index, &ratio) in (0..layers).zip(&ratios) {
        model.decoder.push(shape.layer(source, index, ratio));
    }
    for index in 0..config.count("num_nextn_predict_layers")?.unwrap_or(0).min(16) {
        let layer = shape.layer(source, layers + index, 0);
        model.draft_layers.push(prediction_layer(source, layer, hidden));
    }
    Ok(model)
}
