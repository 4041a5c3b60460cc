//! Weight tensors by what they do.

use crate::ElementType;

/// What a tensor is for. Quantisation recipes, parallel splits, offloading and
/// counting choose by role, never by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each name is the field's own term for the tensor")]
pub enum Role {
    TokenEmbedding,
    PositionEmbedding,
    TypeEmbedding,
    /// Per-layer token embeddings (Gemma 3n and 4), read by lookup.
    PerLayerEmbedding,
    LanguageHead,
    Norm,
    Query,
    Key,
    Value,
    QueryKeyValue,
    /// MLA `q_a_proj`.
    QueryDown,
    /// MLA `q_b_proj`.
    QueryUp,
    /// MLA `kv_a_proj_with_mqa`.
    LatentDown,
    /// MLA `kv_b_proj`, both halves in one tensor.
    LatentUp,
    /// The key half of MLA `kv_b_proj` (GGUF `attn_k_b`).
    LatentKeyUp,
    /// The value half of MLA `kv_b_proj` (GGUF `attn_v_b`).
    LatentValueUp,
    AttentionGate,
    AttentionOutput,
    /// Learned sink logits, one per head.
    Sinks,
    /// Any tensor of a sparse-attention indexer or compressor.
    Indexer,
    Gate,
    Up,
    Down,
    /// Gate and up in one tensor.
    GateUp,
    Router,
    ExpertGate,
    ExpertUp,
    ExpertDown,
    ExpertGateUp,
    SharedGate,
    SharedUp,
    SharedDown,
    SharedGateUp,
    /// The gate on the shared expert's output.
    SharedRouter,
    /// Input projections of a recurrent mixer.
    RecurrentIn,
    /// Output projection of a recurrent mixer.
    RecurrentOut,
    /// Its causal convolution.
    RecurrentConvolution,
    /// Its small parameters: decay, step bias, skip.
    RecurrentSmall,
    /// Its inner projections (`x_proj`, `dt_proj`, low-rank mixes).
    RecurrentInner,
    /// Tensors of vision and audio towers.
    Tower,
    /// Tensors that map a tower's output into the model.
    Projector,
    /// Anything else that every token passes through.
    Other,
    /// Scales, zero points, indices and buffers that files hold beside the weights:
    /// bytes, but no parameters.
    Auxiliary,
}

impl Role {
    /// Read by lookup of a row, not by a product with the whole tensor.
    pub const fn is_lookup(self) -> bool {
        matches!(self, Self::TokenEmbedding | Self::PositionEmbedding | Self::TypeEmbedding | Self::PerLayerEmbedding)
    }

    /// One of the routed experts' stacked tensors: only the chosen copies take part in a token.
    pub const fn is_routed_expert(self) -> bool {
        matches!(self, Self::ExpertGate | Self::ExpertUp | Self::ExpertDown | Self::ExpertGateUp)
    }

    /// Belongs to a shared expert, which every token passes through.
    pub const fn is_shared_expert(self) -> bool {
        matches!(self, Self::SharedGate | Self::SharedUp | Self::SharedDown | Self::SharedGateUp | Self::SharedRouter)
    }
}

/// One tensor, or `copies` stacked tensors of the same shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weight {
    /// What it is for.
    pub role: Role,
    /// Outputs: rows of the matrix, or the length of a vector.
    pub rows: u64,
    /// Inputs: elements of one row, contiguous in memory; 1 for a vector.
    pub columns: u64,
    /// Stacked copies (experts); 1 otherwise.
    pub copies: u64,
    /// Element type in the files, where they say.
    pub stored: Option<ElementType>,
}

impl Weight {
    /// A matrix of `rows` outputs by `columns` inputs.
    pub const fn matrix(role: Role, rows: u64, columns: u64) -> Self {
        Self { role, rows, columns, copies: 1, stored: None }
    }

    /// A vector (norm, bias, scale).
    pub const fn vector(role: Role, length: u64) -> Self {
        Self { role, rows: length, columns: 1, copies: 1, stored: None }
    }

    /// The same tensor, stacked.
    pub const fn stacked(self, copies: u64) -> Self {
        Self { copies, ..self }
    }

    /// The same tensor with its element type known.
    pub const fn stored_as(self, stored: ElementType) -> Self {
        Self { stored: Some(stored), ..self }
    }

    /// One-dimensional per copy: engines keep such tensors at 16 or 32 bits.
    pub const fn is_vector(&self) -> bool {
        self.columns == 1 || self.rows == 1
    }

    /// Number of parameters, all copies (saturating).
    pub const fn elements(&self) -> u64 {
        if matches!(self.role, Role::Auxiliary) {
            return 0;
        }
        self.rows.saturating_mul(self.columns).saturating_mul(self.copies)
    }

    /// Bytes in `element_type`: whole blocks per contiguous row.
    pub fn bytes_as(&self, element_type: ElementType) -> u64 {
        let (row, rows) = if self.columns == 1 { (self.rows, 1) } else { (self.columns, self.rows) };
        element_type.row_bytes(row).saturating_mul(rows).saturating_mul(self.copies)
    }
}
