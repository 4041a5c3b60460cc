//! Attention cache and recurrent state: what each layer allocates.

use crate::ElementType;
use crate::model::{Attention, Layer, Mixer, ModelSpec, Recurrent};
use crate::units::round_up;

use super::architecture;
use super::parameters::ContextParameters;

/// Bytes that one layer allocates beside its weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerMemory {
    /// Cached keys (or latents).
    pub key: u64,
    /// Cached values.
    pub value: u64,
    /// Keys of a sparse-attention index, values too where the architecture keeps them.
    pub index: u64,
    /// Recurrent, convolution and compressor state.
    pub state: u64,
}

impl LayerMemory {
    /// The attention cache as one figure.
    pub const fn attention(&self) -> u64 {
        self.key.saturating_add(self.value).saturating_add(self.index)
    }
}

/// Cells and row widths that all layers of one model share.
#[derive(Clone, Copy, Debug)]
pub struct CacheGeometry<'a> {
    parameters: &'a ContextParameters,
    architecture: &'a str,
    layers: usize,
    /// Widest value row of any layer: without flash attention values are stored transposed,
    /// and all layers must then have equally wide rows.
    value_row_max: u64,
    /// DeepSeek-V4 keeps streams per sequence whatever was asked.
    has_compression: bool,
}

impl<'a> CacheGeometry<'a> {
    /// The geometry of `model` under `parameters`.
    pub fn new(model: &'a ModelSpec, parameters: &'a ContextParameters) -> Self {
        let attentions = || model.decoder.kinds.iter().filter_map(|layer| layer.mixer.attention());
        let value_row_max = attentions().map(|attention| attention.kv_heads * attention.value_dim).max().unwrap_or(0);
        Self {
            parameters,
            architecture: &model.architecture,
            layers: model.decoder.len(),
            value_row_max,
            has_compression: attentions().any(|attention| attention.compression.is_some()),
        }
    }

    /// Cells of one stream that a layer with `attention` keeps.
    ///
    /// **Formula**: all of a sequence's cells, or for a sliding window
    /// pad256(min(cells, window x sequences of the stream + micro-batch)).
    ///
    /// **Source**: `llama_kv_cache_iswa` of llama.cpp 0.5.0; before pull request 14363 the window was
    /// multiplied by the sequences in every case, before 13194 windows kept all cells.
    pub fn cells(&self, attention: &Attention) -> u64 {
        let parameters = self.parameters;
        let all = parameters.n_ctx_seq;
        if parameters.swa_full || !parameters.release.has_window_cache() {
            return all;
        }
        let Some(window) = architecture::window(self.architecture, self.layers, attention.span) else {
            return all;
        };
        let sequences = if parameters.kv_unified && !self.has_compression { parameters.n_seq_max } else { 1 };
        let needed = window.saturating_mul(sequences).saturating_add(parameters.n_ubatch).min(all);
        if parameters.release.pads_context() {
            round_up(needed, 256)
        } else {
            round_up(needed, parameters.release.cell_padding(parameters.flash_attention)).min(all)
        }
    }

    /// What one layer allocates for all sequences.
    pub fn layer(&self, layer: &Layer) -> LayerMemory {
        let mut memory = match layer.mixer.attention() {
            Some(own) => self.attention(layer, own),
            None => LayerMemory { value: self.padded_value(layer), ..LayerMemory::default() },
        };
        if let Some(recurrent) = layer.mixer.recurrent() {
            memory.state = memory.state.saturating_add(self.recurrent_state(recurrent));
        }
        memory
    }

    /// Values of a layer without attention: the layers that `deci` models lost still have a cache,
    /// of no keys, and without flash attention of values as wide as the widest.
    fn padded_value(&self, layer: &Layer) -> u64 {
        let is_cached = layer.mixer == Mixer::None && architecture::caches_lost_attention(self.architecture);
        if !is_cached || self.parameters.flash_attention {
            return 0;
        }
        let cells = self.parameters.n_ctx_seq.saturating_mul(self.parameters.n_stream());
        rows(self.parameters.type_v, self.value_row_max, cells)
    }

    fn streams(&self) -> u64 {
        if self.has_compression { self.parameters.n_seq_max } else { self.parameters.n_stream() }
    }

    fn attention(&self, layer: &Layer, attention: &Attention) -> LayerMemory {
        if !architecture::owns_cache(attention) {
            return LayerMemory::default();
        }
        let parameters = self.parameters;
        let cells = self.cells(attention).saturating_mul(self.streams());
        let (type_k, type_v) = (parameters.type_k, parameters.type_v);
        let mut memory = LayerMemory::default();
        let latent = architecture::cached_latent(self.architecture, layer, attention);
        match latent {
            _ if attention.compression.is_some() => {
                let entry = attention.compression.map_or(0, |compression| compression.entry_elements);
                memory.key = rows(type_k, entry, cells);
                self.add_compressed(&mut memory, attention);
            }
            Some(elements) if parameters.latent_cache => {
                memory.key = rows(type_k, elements, cells);
                if !parameters.release.stores_latent_once() {
                    // The value half, without the rotary key, was stored a second time.
                    let rope = attention.latent.map_or(0, |own| own.rope_dim);
                    memory.value = rows(type_v, elements - rope, cells);
                }
            }
            Some(_) => {
                memory.key = rows(type_k, attention.heads * head_key(attention), cells);
                memory.value = rows(type_v, attention.heads * attention.value_dim, cells);
            }
            None => {
                let (key, value) = self.head_rows(attention);
                memory.key = rows(type_k, key, cells);
                memory.value = rows(type_v, value, cells);
            }
        }
        self.add_index(&mut memory, attention, cells, latent.is_some());
        memory
    }

    /// Elements of a key row and a value row where heads are cached.
    fn head_rows(&self, attention: &Attention) -> (u64, u64) {
        let (key, value) = if attention.latent.is_some() {
            (attention.heads * head_key(attention), attention.heads * attention.value_dim)
        } else {
            (attention.kv_heads * attention.key_dim, attention.kv_heads * attention.value_dim)
        };
        if self.parameters.flash_attention || self.parameters.release.is_fork() || attention.latent.is_some() {
            (key, value)
        } else {
            (key, self.value_row_max.max(value))
        }
    }

    /// The key cache of a sparse-attention index (`llama_kv_cache_dsa`, `llama_kv_cache_msa`).
    fn add_index(&self, memory: &mut LayerMemory, attention: &Attention, cells: u64, is_latent: bool) {
        let Some(indexer) = attention.indexer.filter(|indexer| indexer.is_owner) else { return };
        if attention.compression.is_some() {
            return;
        }
        memory.index = rows(self.parameters.type_k, indexer.head_dim, cells);
        if !is_latent {
            // MiniMax-M3's index cache is shaped like the main one with a single head, values included.
            memory.index = memory.index.saturating_add(rows(self.parameters.type_v, attention.value_dim, cells));
        }
    }

    /// Compressed keys, their index and the compressor's state (`llama_kv_cache_dsv4`).
    ///
    /// Layers that compress by four also keep an index and a state over two windows of four;
    /// layers that compress by 128 keep one window of state.
    fn add_compressed(&self, memory: &mut LayerMemory, attention: &Attention) {
        let Some(compression) = attention.compression.filter(|compression| compression.ratio > 0) else { return };
        let parameters = self.parameters;
        let streams = parameters.n_seq_max;
        let ratio = compression.ratio;
        let cells = round_up(parameters.n_ctx_seq.div_ceil(ratio).max(1), 256).saturating_mul(streams);
        let entry = compression.entry_elements;
        memory.key = memory.key.saturating_add(rows(parameters.type_k, entry, cells));
        let planes = streams * (1 + parameters.n_rs_seq);
        // Keys and scores are held beside each other, at four bytes.
        let state = |width: u64, tokens: u64| 2 * 4 * width * tokens * planes;
        match attention.indexer {
            Some(indexer) => {
                memory.index = rows(parameters.type_k, indexer.head_dim, cells);
                memory.state = state(2 * entry, 2 * ratio) + state(2 * indexer.head_dim, 2 * ratio);
            }
            None => memory.state = state(entry, ratio),
        }
    }

    /// Bytes of a recurrent layer's state.
    ///
    /// **Formula**: 4 x (convolution or token-shift elements + state elements) x sequences x
    /// (1 + snapshots); unified caches do not share it. **Source**: `llama_memory_recurrent`.
    fn recurrent_state(&self, recurrent: &Recurrent) -> u64 {
        let elements = recurrent
            .convolution_elements()
            .saturating_add(recurrent.shift_elements)
            .saturating_add(recurrent.state_elements);
        let rows = self.parameters.n_seq_max.saturating_mul(1 + self.parameters.n_rs_seq);
        elements.saturating_mul(4).saturating_mul(rows)
    }
}

/// A head's key under latent attention: the part without position and the rotary part.
const fn head_key(attention: &Attention) -> u64 {
    match attention.latent {
        Some(latent) if latent.nope_dim > 0 => latent.nope_dim + latent.rope_dim,
        _ => attention.key_dim,
    }
}

fn rows(element_type: ElementType, elements: u64, cells: u64) -> u64 {
    element_type.row_bytes(elements).saturating_mul(cells)
}
