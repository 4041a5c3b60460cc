//! What one forward pass asks of the hardware, counted from the layers.
//!
//! Nothing here knows a device: bytes, operations and kernels are facts of the model and of the
//! step. What they cost is the business of [`super::term`].

use crate::ElementType;
use crate::model::{Attention, CacheOwner, FeedForward, Layer, Recurrent, RecurrentKind};

/// One forward pass: `sequences` sequences, each with `tokens` new tokens after `depth` cached ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Sequences in the batch.
    pub sequences: f64,
    /// New tokens of each sequence.
    pub tokens: f64,
    /// Tokens of each sequence that are cached already.
    pub depth: f64,
}

impl Step {
    /// New tokens of the whole batch.
    pub const fn batch_tokens(&self) -> f64 {
        self.sequences * self.tokens
    }
}

/// How attention over latents (MLA) is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatentPath {
    /// Queries are mapped into the latent space, keys and values never expanded (decoding, and
    /// all of llama.cpp's graphs).
    Absorbed,
    /// Keys and values are expanded per head (prefill of the serving engines).
    Expanded,
}

/// How a pass is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Manner {
    /// Type of cached keys.
    pub key: ElementType,
    /// Type of cached values.
    pub value: ElementType,
    /// How latents are attended to.
    pub latent: LatentPath,
    /// Bytes of one activation element.
    pub activation_bytes: f64,
}

/// Families of recurrence that share kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecurrenceKernel {
    /// Selective scans (Mamba 1 and 2).
    Scan,
    /// Delta rules and linear attention.
    Delta,
    /// Short convolutions alone.
    Convolution,
    /// RWKV and gated linear recurrences.
    TokenShift,
}

impl RecurrenceKernel {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Scan, Self::Delta, Self::Convolution, Self::TokenShift];

    /// The kernel family of a recurrence.
    pub const fn of(kind: RecurrentKind) -> Self {
        match kind {
            RecurrentKind::Mamba1 | RecurrentKind::Mamba2 => Self::Scan,
            RecurrentKind::GatedDelta | RecurrentKind::KimiDelta | RecurrentKind::Lightning => Self::Delta,
            RecurrentKind::ShortConvolution => Self::Convolution,
            RecurrentKind::Rwkv4 | RecurrentKind::Rwkv6 | RecurrentKind::Rwkv7 | RecurrentKind::GatedLinear => {
                Self::TokenShift
            }
        }
    }
}

/// What a recurrence asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RecurrenceDemand {
    /// Bytes of state read and written.
    pub state_bytes: f64,
    /// Operations on states.
    pub flops: f64,
}

/// What a pass through one or several layers asks for. Weights' bytes are counted apart, by the
/// engine's own rules for types and places.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Demand {
    /// Operations of matrix products that every token takes part in (two per multiply-add).
    pub matmul_flops: f64,
    /// Operations of matrix products with routed experts.
    pub expert_flops: f64,
    /// Operations of one token through every routed expert that the batch touches: what padding a
    /// token tile costs per token of padding.
    pub expert_tile_flops: f64,
    /// Share of the routed experts that the batch touches, summed over layers with experts.
    pub experts_touched: f64,
    /// Layers with routed experts.
    pub expert_layers: f64,
    /// Operations of scores and weighted sums over plain caches.
    pub attention_flops: f64,
    /// The same over latents.
    pub latent_flops: f64,
    /// Bytes of cache read by a pass, each once per sequence.
    pub cache_bytes: f64,
    /// By kernel family, in the order of [`RecurrenceKernel::ALL`].
    pub recurrence: [RecurrenceDemand; 4],
    /// Bytes of activations that matrix products read and write.
    pub activation_bytes: f64,
    /// Kernels started.
    pub launches: f64,
}

impl Demand {
    /// Adds `count` times `other`.
    pub fn add(&mut self, other: &Self, count: f64) {
        self.matmul_flops += other.matmul_flops * count;
        self.expert_flops += other.expert_flops * count;
        self.expert_tile_flops += other.expert_tile_flops * count;
        self.experts_touched += other.experts_touched * count;
        self.expert_layers += other.expert_layers * count;
        self.attention_flops += other.attention_flops * count;
        self.latent_flops += other.latent_flops * count;
        self.cache_bytes += other.cache_bytes * count;
        for (own, more) in self.recurrence.iter_mut().zip(&other.recurrence) {
            own.state_bytes += more.state_bytes * count;
            own.flops += more.flops * count;
        }
        self.activation_bytes += other.activation_bytes * count;
        self.launches += other.launches * count;
    }

    /// What a pass asks of one layer.
    pub fn of_layer(layer: &Layer, step: &Step, manner: &Manner) -> Self {
        let mut demand = Self::default();
        demand.add_products(layer, step, manner);
        match layer.mixer.attention() {
            Some(attention) if attention.cache != CacheOwner::Nobody => demand.add_attention(attention, step, manner),
            Some(attention) => demand.add_bidirectional(attention, step),
            None => {}
        }
        if let Some(recurrent) = layer.mixer.recurrent() {
            demand.add_recurrence(recurrent, step);
        }
        demand
    }

    /// Matrix products with the layer's weights.
    fn add_products(&mut self, layer: &Layer, step: &Step, manner: &Manner) {
        let tokens = step.batch_tokens();
        let (experts, chosen) = match &layer.feed_forward {
            FeedForward::Experts(moe) if moe.experts > 0 => (moe.experts as f64, moe.experts_per_token as f64),
            _ => (1.0, 1.0),
        };
        let touched = experts_touched(experts, chosen, tokens);
        let mut routed = 0.0;
        let mut elements_moved = 0.0;
        for weight in &layer.weights {
            if weight.is_vector() || weight.role.is_lookup() {
                continue;
            }
            self.launches += 1.0;
            let elements = weight.elements() as f64;
            if weight.role.is_routed_expert() {
                routed += elements;
                // Experts are stacked as copies or folded into rows; either way `experts` equal parts.
                let rows = weight.rows as f64 * weight.copies as f64 / experts;
                elements_moved += chosen * (rows + weight.columns as f64);
                self.launches += 1.0;
            } else {
                self.matmul_flops += 2.0 * elements * tokens;
                elements_moved += (weight.rows + weight.columns) as f64 * weight.copies as f64;
            }
        }
        if routed > 0.0 {
            self.expert_flops += 2.0 * routed * chosen / experts * tokens;
            self.expert_tile_flops += 2.0 * routed * touched;
            self.experts_touched += touched;
            self.expert_layers += 1.0;
            self.launches += 4.0;
        }
        self.activation_bytes += elements_moved * tokens * manner.activation_bytes;
        // Norms, residual sums, activation.
        self.launches += 4.0;
    }

    fn add_attention(&mut self, attention: &Attention, step: &Step, manner: &Manner) {
        let reach = attended(attention, step);
        let entry = entry_bytes(attention, manner);
        let heads = attention.heads as f64;
        let queries = step.batch_tokens();
        self.cache_bytes += step.sequences * reach.kept * entry;
        self.launches += 6.0;
        if let Some(indexer) = attention.indexer {
            let score = 2.0 * (indexer.heads * indexer.head_dim) as f64;
            self.attention_flops += queries * (step.depth + step.tokens / 2.0) * score;
            self.launches += 6.0;
        }
        if let (Some(latent), LatentPath::Absorbed) = (attention.latent, manner.latent) {
            let width = (2 * latent.kv_rank + latent.rope_dim) as f64;
            self.latent_flops += 2.0 * queries * reach.seen * heads * width;
            self.launches += 4.0;
        } else {
            let width = (attention.key_dim + attention.value_dim) as f64;
            self.attention_flops += 2.0 * queries * reach.seen * heads * width;
        }
    }

    /// Attention of encoders: every token sees every other.
    fn add_bidirectional(&mut self, attention: &Attention, step: &Step) {
        let width = (attention.heads * (attention.key_dim + attention.value_dim)) as f64;
        self.attention_flops += 2.0 * step.batch_tokens() * step.tokens * width;
        self.launches += 4.0;
    }

    fn add_recurrence(&mut self, recurrent: &Recurrent, step: &Step) {
        let at = RecurrenceKernel::of(recurrent.kind) as usize;
        let small = (recurrent.convolution_elements() + recurrent.shift_elements) as f64 * 2.0;
        let state = recurrent.state_elements as f64;
        let demand = &mut self.recurrence[at];
        demand.state_bytes += 2.0 * step.sequences * (state * 4.0 + small);
        // Decay, outer product, sum, and product with the query: three multiply-adds per element.
        let convolution = (recurrent.convolution_channels * recurrent.convolution_taps) as f64;
        demand.flops += step.batch_tokens() * (6.0 * state + 2.0 * convolution);
        self.launches += 8.0;
    }
}

/// How much of the cache a query sees, and how much of it a step reads.
struct Reach {
    /// Mean number of entries that a query of the step attends to.
    seen: f64,
    /// Entries of a sequence that the step reads.
    kept: f64,
}

fn attended(attention: &Attention, step: &Step) -> Reach {
    let end = step.depth + step.tokens;
    let mean = step.depth + step.tokens / 2.0;
    let (mut seen, mut kept) = match attention.span.window() {
        Some(window) => {
            let window = window as f64;
            (window_mean(window, step), end.min(window + step.tokens))
        }
        None => (mean, end),
    };
    if let Some(indexer) = attention.indexer {
        let top = indexer.top_k as f64;
        seen = seen.min(top);
        if step.tokens <= 1.0 {
            kept = kept.min(top);
        }
    }
    if let Some(compression) = attention.compression.filter(|compression| compression.ratio > 0) {
        let ratio = compression.ratio as f64;
        seen += mean / ratio;
        kept += end / ratio;
    }
    Reach { seen, kept }
}

/// Mean over the step's queries of min(window, entries before the query).
fn window_mean(window: f64, step: &Step) -> f64 {
    let (start, end) = (step.depth, step.depth + step.tokens);
    if start >= window {
        return window;
    }
    if end <= window {
        return f64::midpoint(start, end);
    }
    let growing = window - start;
    (growing * f64::midpoint(start, window) + (end - window) * window) / step.tokens
}

/// Bytes of one token's cache entry as a query reads it, whoever owns the cache.
fn entry_bytes(attention: &Attention, manner: &Manner) -> f64 {
    let index = attention.indexer.map_or(0, |indexer| manner.key.row_bytes(indexer.head_dim));
    let own = match attention.latent {
        Some(latent) => manner.key.row_bytes(latent.kv_rank + latent.rope_dim),
        None => {
            manner.key.row_bytes(attention.kv_heads * attention.key_dim)
                + manner.value.row_bytes(attention.kv_heads * attention.value_dim)
        }
    };
    (index + own) as f64
}

/// Share of the experts that at least one of `tokens` tokens chooses, each token choosing
/// `chosen` of `experts` at random: 1 - (1 - chosen / experts)^tokens.
pub fn experts_touched(experts: f64, chosen: f64, tokens: f64) -> f64 {
    if experts <= chosen {
        return 1.0;
    }
    1.0 - (1.0 - chosen / experts).powf(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture::llama_8b;

    const MANNER: Manner =
        Manner { key: ElementType::F16, value: ElementType::F16, latent: LatentPath::Absorbed, activation_bytes: 4.0 };

    fn close(left: f64, right: f64) {
        assert!((left / right - 1.0).abs() < 1e-9, "{left} is not {right}");
    }

    #[test]
    fn a_decoded_token_takes_two_operations_per_weight_and_reads_its_cache_once() {
        let model = llama_8b();
        let step = Step { sequences: 1.0, tokens: 1.0, depth: 1000.0 };
        let demand = Demand::of_layer(&model.decoder.kinds[0], &step, &MANNER);
        // 32 query and 8 key-value heads of 128, feed-forward 14336, width 4096.
        let weights = 4096.0 * 4096.0 * 2.0 + 2.0 * 4096.0 * 1024.0 + 3.0 * 4096.0 * 14336.0;
        close(demand.matmul_flops, 2.0 * weights);
        close(demand.cache_bytes, 1001.0 * 8.0 * 256.0 * 2.0);
        close(demand.attention_flops, 2.0 * 1000.5 * 32.0 * 256.0);
    }

    #[test]
    fn a_long_prompt_touches_every_expert_and_one_token_only_its_own() {
        close(experts_touched(128.0, 8.0, 1.0), 8.0 / 128.0);
        assert!(experts_touched(128.0, 8.0, 512.0) > 0.999_999);
        close(experts_touched(8.0, 8.0, 1.0), 1.0);
    }

    #[test]
    fn windows_bound_what_a_query_sees() {
        let at = |depth, tokens| window_mean(100.0, &Step { sequences: 1.0, tokens, depth });
        close(at(500.0, 10.0), 100.0);
        close(at(0.0, 50.0), 25.0);
        // Half of the queries see 50 on average, the other half the whole window.
        close(at(0.0, 200.0), 75.0);
    }
}
