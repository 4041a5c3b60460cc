//! Mixers with a state of fixed size, tensor by tensor.

use hwledger_core::model::{Recurrent, RecurrentKind, Role};

use super::builder::LayerBuilder;
use super::config::{Config, ConfigError};

/// Mamba, version 1 (Gu and Dao 2023).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mamba1 {
    pub(crate) inner: u64,
    pub(crate) state: u64,
    pub(crate) step_rank: u64,
    pub(crate) taps: u64,
    pub(crate) has_convolution_bias: bool,
    pub(crate) has_projection_bias: bool,
    /// Learned norms on step, input and output maps (Jamba).
    pub(crate) has_inner_norms: bool,
}

impl Mamba1 {
    /// The tensors under `module`.
    pub(crate) fn add(self, layer: &mut LayerBuilder<'_>, module: &str, hidden: u64) -> Recurrent {
        let Self { inner, state, step_rank, taps, .. } = self;
        let has_bias = self.has_projection_bias;
        layer.linear_with_bias(Role::RecurrentIn, &format!("{module}.in_proj"), 2 * inner, hidden, has_bias);
        layer.convolution(inner, taps, self.has_convolution_bias);
        layer.linear(Role::RecurrentInner, &format!("{module}.x_proj"), step_rank + 2 * state, inner);
        layer.linear_with_bias(Role::RecurrentInner, &format!("{module}.dt_proj"), inner, step_rank, true);
        layer.plain_matrix(Role::RecurrentSmall, inner, state);
        layer.vector(Role::RecurrentSmall, inner);
        if self.has_inner_norms {
            for length in [step_rank, state, state] {
                layer.norm(length, false);
            }
        }
        layer.linear_with_bias(Role::RecurrentOut, &format!("{module}.out_proj"), hidden, inner, has_bias);
        self.recurrent()
    }

    /// What it remembers.
    pub(crate) const fn recurrent(self) -> Recurrent {
        Recurrent {
            kind: RecurrentKind::Mamba1,
            heads: 1,
            inner_size: self.inner,
            state_size: self.state,
            groups: 1,
            convolution_channels: self.inner,
            convolution_taps: self.taps,
            state_elements: self.inner * self.state,
            shift_elements: 0,
        }
    }
}

/// Mamba-2 (Dao and Gu 2024).
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each says whether one tensor is there")]
pub(crate) struct Mamba2 {
    pub(crate) heads: u64,
    pub(crate) head_dim: u64,
    pub(crate) state: u64,
    pub(crate) groups: u64,
    pub(crate) taps: u64,
    pub(crate) has_convolution_bias: bool,
    /// On the input projection.
    pub(crate) has_projection_bias: bool,
    pub(crate) has_output_bias: bool,
    /// A gated norm before the output projection.
    pub(crate) has_norm: bool,
}

impl Mamba2 {
    /// The keys of Bamba, Granite 4 and Falcon-H1; `inner` is the width of all heads together.
    pub(crate) fn read(config: &Config<'_>, inner: u64) -> Result<Self, ConfigError> {
        let heads = config.required("mamba_n_heads")?;
        let head_dim = match config.get("mamba_d_head").and_then(serde_json::Value::as_str) {
            Some(_) => None,
            None => config.count("mamba_d_head")?,
        };
        let head_dim = head_dim.filter(|&dim| dim > 0).unwrap_or(inner / heads);
        if heads * head_dim != inner {
            let problem = format!("is {heads}, which with heads of {head_dim} does not make the inner width {inner}");
            return Err(config.contradiction("mamba_n_heads", problem));
        }
        Ok(Self {
            heads,
            head_dim,
            state: config.required("mamba_d_state")?,
            groups: config.required("mamba_n_groups")?,
            taps: config.required("mamba_d_conv")?,
            has_convolution_bias: config.flag("mamba_conv_bias", true)?,
            has_projection_bias: config.flag("mamba_proj_bias", false)?,
            has_output_bias: config.flag("mamba_proj_bias", false)?,
            has_norm: true,
        })
    }

    /// The tensors under `module`.
    pub(crate) fn add(self, layer: &mut LayerBuilder<'_>, module: &str, hidden: u64) -> Recurrent {
        let inner = self.heads * self.head_dim;
        let has_bias = self.has_projection_bias;
        let rows = inner + self.channels() + self.heads;
        layer.linear_with_bias(Role::RecurrentIn, &format!("{module}.in_proj"), rows, hidden, has_bias);
        layer.convolution(self.channels(), self.taps, self.has_convolution_bias);
        for _ in 0..3 {
            // Step bias, decay, skip.
            layer.vector(Role::RecurrentSmall, self.heads);
        }
        if self.has_norm {
            layer.norm(inner, false);
        }
        layer.linear_with_bias(Role::RecurrentOut, &format!("{module}.out_proj"), hidden, inner, self.has_output_bias);
        self.recurrent()
    }

    const fn channels(self) -> u64 {
        self.heads * self.head_dim + 2 * self.groups * self.state
    }

    /// What it remembers.
    pub(crate) const fn recurrent(self) -> Recurrent {
        let inner = self.heads * self.head_dim;
        Recurrent {
            kind: RecurrentKind::Mamba2,
            heads: self.heads,
            inner_size: inner,
            state_size: self.state,
            groups: self.groups,
            convolution_channels: self.channels(),
            convolution_taps: self.taps,
            state_elements: inner * self.state,
            shift_elements: 0,
        }
    }
}

/// Gated delta net (Yang et al. 2024) and its kin with a matrix of state per head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeltaShape {
    pub(crate) key_heads: u64,
    pub(crate) key_dim: u64,
    pub(crate) value_heads: u64,
    pub(crate) value_dim: u64,
    pub(crate) taps: u64,
}

impl DeltaShape {
    /// The keys that Qwen3-Next introduced.
    pub(crate) fn read(config: &Config<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            key_heads: config.required("linear_num_key_heads")?,
            key_dim: config.required("linear_key_head_dim")?,
            value_heads: config.required("linear_num_value_heads")?,
            value_dim: config.required("linear_value_head_dim")?,
            taps: config.required("linear_conv_kernel_dim")?,
        })
    }

    /// Elements of all keys.
    pub(crate) const fn keys(self) -> u64 {
        self.key_heads * self.key_dim
    }

    /// Elements of all values.
    pub(crate) const fn values(self) -> u64 {
        self.value_heads * self.value_dim
    }

    /// What it remembers.
    pub(crate) const fn recurrent(self, kind: RecurrentKind) -> Recurrent {
        Recurrent {
            kind,
            heads: self.value_heads,
            inner_size: self.values(),
            state_size: self.key_dim,
            groups: self.key_heads,
            convolution_channels: 2 * self.keys() + self.values(),
            convolution_taps: self.taps,
            state_elements: self.values() * self.key_dim,
            shift_elements: 0,
        }
    }

    /// The tensors of a gated delta net as Qwen3-Next has them (`linear_attn`); Qwen3.5 splits the two inputs,
    /// which changes no size.
    pub(crate) fn add_gated_delta(self, layer: &mut LayerBuilder<'_>, hidden: u64) -> Recurrent {
        let (keys, values, heads) = (self.keys(), self.values(), self.value_heads);
        layer.linear(Role::RecurrentIn, "linear_attn.in_proj_qkv", 2 * keys + values, hidden);
        layer.linear(Role::RecurrentIn, "linear_attn.in_proj_z", values, hidden);
        layer.linear(Role::RecurrentIn, "linear_attn.in_proj_b", heads, hidden);
        layer.linear(Role::RecurrentIn, "linear_attn.in_proj_a", heads, hidden);
        layer.convolution(2 * keys + values, self.taps, false);
        layer.vector(Role::RecurrentSmall, heads);
        layer.vector(Role::RecurrentSmall, heads);
        layer.norm(self.value_dim, false);
        layer.linear(Role::RecurrentOut, "linear_attn.out_proj", hidden, values);
        self.recurrent(RecurrentKind::GatedDelta)
    }
}
