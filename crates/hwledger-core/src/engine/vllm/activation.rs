//! The activation peak of vLLM's profile run: a forward pass of `max_num_batched_tokens` tokens
//! without attention, then the sampler on `max_num_seqs` rows of logits.

use super::super::parallel::Layout;
use super::release::Release;
use crate::model::{Activation, Attention, FeedForward, Layer, Mixer, MixtureOfExperts, ModelSpec};
use crate::units::MEBIBYTE;

/// The profile run of one plan.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each named where it is set")]
pub(in crate::engine) struct ProfileRun<'a> {
    pub(in crate::engine) model: &'a ModelSpec,
    pub(in crate::engine) layout: Layout,
    pub(in crate::engine) release: Release,
    pub(in crate::engine) is_version_zero: bool,
    /// `max_num_batched_tokens`.
    pub(in crate::engine) tokens: u64,
    /// Rows of logits: `max_num_seqs`, at most one per token.
    pub(in crate::engine) rows: u64,
    /// `max_model_len`.
    pub(in crate::engine) context: u64,
    /// Bytes of one activation.
    pub(in crate::engine) activation_bytes: u64,
    /// Linear layers quantise their inputs to 8 bits.
    pub(in crate::engine) quantises_inputs: bool,
    /// Experts run in kernels that bring their own workspace (MXFP4).
    pub(in crate::engine) has_own_expert_kernels: bool,
    /// Streaming multiprocessors of the card.
    pub(in crate::engine) multiprocessors: u64,
    /// cuBLAS workspaces and input buffers that live in torch's pool.
    pub(in crate::engine) workspace: u64,
    pub(in crate::engine) has_vision: bool,
}

/// Tokens whose up-projected keys and values the chunked prefill of latent attention holds at once,
/// which the profile run allocates: `chunked_prefill_workspace_size`, at most 64 Ki.
const LATENT_WORKSPACE_TOKENS: u64 = 64 * 1024;

/// Tokens that the fused expert kernels take at once (`VLLM_FUSED_MOE_CHUNK_SIZE`).
const EXPERT_CHUNK_TOKENS: u64 = 16 * 1024;

impl ProfileRun<'_> {
    fn residual(&self) -> u64 {
        self.tokens * self.model.hidden_size * self.activation_bytes
    }

    /// Inner activations of a feed-forward of `width` on this rank.
    fn feed_forward(&self, width: u64, activation: Activation) -> u64 {
        let inner = width / self.layout.tensor;
        let inputs = match activation {
            Activation::Gated => 2,
            Activation::Plain => 1,
        };
        let quantised = if self.quantises_inputs { inner + self.model.hidden_size } else { 0 };
        self.tokens * ((inputs + 1) * inner * self.activation_bytes + quantised)
    }

    fn attention(&self, attention: &Attention) -> u64 {
        let over = self.layout.attention_tensor();
        let heads = attention.heads / over;
        let query = heads * attention.key_dim;
        let output = heads * attention.value_dim;
        let kv_heads = (attention.kv_heads / over).max(1);
        let key_value = kv_heads * (attention.key_dim + attention.value_dim);
        let own = self.tokens * (query + key_value + output) * self.activation_bytes;
        let latent = attention.latent.map_or(0, |latent| {
            let tokens = (8 * self.context).max(4 * self.rows * 64).min(LATENT_WORKSPACE_TOKENS);
            tokens * heads * (latent.nope_dim + attention.value_dim) * self.activation_bytes
        });
        own + latent
    }

    /// The most that one layer holds at once, the residual stream included.
    fn layer(&self, layer: &Layer) -> u64 {
        let mixer = match &layer.mixer {
            Mixer::None => 0,
            Mixer::Attention(attention) => self.attention(attention),
            Mixer::Recurrent(recurrent) | Mixer::Both(_, recurrent) => {
                let channels = 2 * recurrent.convolution_channels + 3 * recurrent.inner_size;
                self.tokens * channels / self.layout.tensor * self.activation_bytes
            }
        };
        let feed_forward = match &layer.feed_forward {
            FeedForward::None => 0,
            FeedForward::Dense { width, activation } => self.feed_forward(*width, *activation),
            FeedForward::Experts(moe) => {
                let beside = moe.shared_width + moe.dense_width;
                let kept = if self.keeps_workspace() { 0 } else { self.expert_workspace(moe) };
                self.feed_forward(beside, moe.activation) + self.residual() + kept
            }
        };
        // Attention output, residual before and after its addition, and half of a normed input.
        mixer.max(feed_forward) + self.residual() * 7 / 2
    }

    fn keeps_workspace(&self) -> bool {
        self.release.keeps_expert_workspace() && !self.has_own_expert_kernels
    }

    /// The two workspaces of the modular Triton expert kernels: `tokens x top_k x max(N / 2, K)`
    /// and `tokens x top_k x max(N, K)` with N both input projections of an expert, K the hidden size.
    fn expert_workspace(&self, moe: &MixtureOfExperts) -> u64 {
        let width = if self.layout.expert > 1 { moe.expert_width } else { moe.expert_width / self.layout.tensor };
        let hidden = self.model.hidden_size;
        let elements = width.max(hidden) + (2 * width).max(hidden);
        self.tokens.min(EXPERT_CHUNK_TOKENS) * moe.experts_per_token * elements * self.activation_bytes
    }

    fn kept_workspace(&self) -> u64 {
        if !self.keeps_workspace() {
            return 0;
        }
        let moe = |layer: &Layer| match &layer.feed_forward {
            FeedForward::Experts(moe) => self.expert_workspace(moe),
            FeedForward::None | FeedForward::Dense { .. } => 0,
        };
        self.model.decoder.kinds.iter().map(moe).max().unwrap_or(0)
    }

    /// Logits and what sampling makes of them.
    ///
    /// With the sampling kernel: logits as computed, in 32 bits, probabilities and the exponential
    /// noise that they are divided by, and one row per multiprocessor as the kernel's buffer. With a
    /// sort: also sorted values, 64-bit indices, their temporaries, masks and the scattered result.
    fn sampler(&self) -> u64 {
        let vocabulary = self.model.vocabulary_size;
        let per_logit = if self.release.has_sampling_kernel() {
            self.activation_bytes + 12
        } else if self.is_version_zero {
            self.activation_bytes + 22
        } else {
            self.activation_bytes + 36
        };
        let buffer =
            if self.release.has_sampling_kernel() { self.multiprocessors.min(self.rows) * vocabulary * 4 } else { 0 };
        self.rows * (vocabulary * per_logit + self.model.hidden_size * self.activation_bytes) + buffer + self.residual()
    }

    /// Embeddings of the images that fill one step, and their pixels.
    fn vision(&self) -> u64 {
        // A token stands for 28 x 28 (Qwen-VL, InternVL) to 56 x 56 pixels (Gemma 3), three colours, 16 bits.
        const PIXEL_BYTES_PER_TOKEN: u64 = 40 * 40 * 3 * 2;
        if self.has_vision { self.residual() + self.tokens * PIXEL_BYTES_PER_TOKEN } else { 0 }
    }

    /// The peak of one pipeline stage.
    pub(in crate::engine) fn peak(&self, is_first: bool, is_last: bool) -> u64 {
        let layer = self.model.decoder.kinds.iter().map(|layer| self.layer(layer)).max().unwrap_or(0);
        // What goes to the next stage: hidden states and residual.
        let handed_on = if is_last { 0 } else { 2 * self.residual() };
        let sampled = if is_last { self.sampler() } else { 0 };
        let vision = if is_first { self.vision() } else { 0 };
        (layer + handed_on).max(sampled) + vision + self.kept_workspace() + self.workspace
    }
}

/// Workspaces of cuBLAS (32 MiB on Hopper and later, 8 MiB before) and the runner's input buffers.
pub(in crate::engine) const fn library_workspace(is_hopper_or_later: bool) -> u64 {
    if is_hopper_or_later { 40 * MEBIBYTE } else { 16 * MEBIBYTE }
}
