//! Loading latent attention: which tensors there are, and the two halves of its up-projection.
//!
//! Files hold the up-projection of keys and values whole, `[head][nope + value][rank]`, or as two stacks of matrices
//! as they are needed here: that of keys turned over, `[head][rank][nope]`, and that of values, `[head][value][rank]`.

use hwledger_core::model::{Attention, Latent, Layer};
use hwledger_core::{ElementType, ModelSpec};
use hwledger_kernels::{PackError, PackedWeight, Shape, dequantise, f16_from_f32};

use crate::error::LoadError;

use super::load::{Loader, size};
use super::tensors::StoredMatrix;
use super::{AttentionWeights, HeadShape, LatentWeights, Settings};

/// The most of anything that latent attention is made of: far beyond any model, and products of two stay numbers.
const EXTENT_MAX: u64 = 1 << 20;

/// Refuses latents that cannot be.
pub(super) fn check(attention: &Attention, latent: Latent) -> Result<(), LoadError> {
    let refuse = |what: &str| Err(LoadError::Unsupported(what.to_owned()));
    let Latent { kv_rank, rope_dim, query_rank, nope_dim } = latent;
    let extents = [attention.heads, kv_rank, nope_dim, attention.value_dim, query_rank.unwrap_or(1)];
    if extents.iter().any(|extent| !(1..=EXTENT_MAX).contains(extent)) || rope_dim > EXTENT_MAX {
        return refuse("latent attention of no or absurd extents");
    }
    if nope_dim + rope_dim != attention.key_dim || !rope_dim.is_multiple_of(2) {
        return refuse("latent attention whose keys are not a part without position and pairs that turn");
    }
    if attention.span.window().is_some() {
        return refuse("latent attention with a window");
    }
    Ok(())
}

/// Refuses positions that would turn more than the rotary part of a key.
pub(super) fn check_turning(spec: &ModelSpec, settings: &Settings) -> Result<(), LoadError> {
    let turning = settings.rotary_dimensions as u64;
    let is_short = |latent: Latent| latent.rope_dim < turning;
    if spec.decoder.layers().filter_map(Layer::latent).any(is_short) {
        return Err(LoadError::Unsupported("latent attention whose rotary key is shorter than what turns".to_owned()));
    }
    Ok(())
}

impl Loader<'_> {
    /// The weights of a layer's latent attention.
    pub(super) fn latent_attention(
        &self,
        index: usize,
        attention: &Attention,
        latent: Latent,
    ) -> Result<AttentionWeights, LoadError> {
        let hidden = size(self.spec.hidden_size);
        let (rank, rope) = (size(latent.kv_rank), size(latent.rope_dim));
        let heads = size(attention.heads);
        let (key, value) = (size(attention.key_dim), size(attention.value_dim));
        let name = |part: &str| format!("blk.{index}.{part}");
        let down = name("attn_kv_a_mqa");
        let query_rank = latent.query_rank.map(size);
        let (input, query_norm, query_up) = match query_rank {
            Some(query_rank) => (
                self.projection(&[&name("attn_q_a"), &down], &[query_rank, rank + rope], hidden)?,
                Some(self.required_vector(&name("attn_q_a_norm.weight"), query_rank)?),
                Some(self.projection(&[&name("attn_q_b")], &[heads * key], query_rank)?),
            ),
            None => (self.projection(&[&name("attn_q"), &down], &[heads * key, rank + rope], hidden)?, None, None),
        };
        if query_up.as_ref().is_some_and(|up| up.bias.is_some()) {
            return Err(LoadError::Unsupported("biases of queries made of a latent".to_owned()));
        }
        let norm = self.required_vector(&name("attn_kv_a_norm.weight"), rank)?;
        let up = UpShape { heads, nope: key - rope, value, rank };
        let (key_up, value_up) = self.latent_up(index, up)?;
        Ok(AttentionWeights {
            shape: HeadShape { heads, kv_heads: heads, key, value, window: None },
            input,
            query_norm,
            key_norm: None,
            output: self.projection(&[&name("attn_output")], &[hidden], heads * value)?,
            sinks: None,
            latent: Some(Box::new(LatentWeights { rank, rope, norm, query_up, key_up, value_up })),
        })
    }

    /// The halves of the up-projection, for keys and for values.
    fn latent_up(&self, index: usize, up: UpShape) -> Result<(PackedWeight, PackedWeight), LoadError> {
        let name = |part: &str| format!("blk.{index}.{part}.weight");
        let (keys, values, both) = (name("attn_k_b"), name("attn_v_b"), name("attn_kv_b"));
        if self.tensors.has(&keys) || !self.tensors.has(&both) {
            return Ok((self.matrix(&keys, up.keys())?, self.matrix(&values, up.values())?));
        }
        let whole = Shape::matrix(up.rows(), up.rank);
        let failed = |source| LoadError::Pack { name: both.clone(), source };
        let pack = |(element_type, bytes): (ElementType, Vec<u8>), shape| {
            PackedWeight::pack(element_type, shape, &bytes, self.pool).map_err(failed)
        };
        match self.tensors.stored(&both, whole)? {
            StoredMatrix::Plain(element_type, bytes) => {
                let keys = up.turned_keys(element_type, &bytes).map_err(failed)?;
                let values = (element_type, up.value_rows(&bytes));
                Ok((pack(keys, up.keys())?, pack(values, up.values())?))
            }
            StoredMatrix::Affine(matrix) => {
                let decoded = PackedWeight::pack_affine(&matrix.tensor(), whole, self.pool).map_err(failed)?;
                let mut values = vec![0.0; up.rows() * up.rank];
                for (row, values) in values.chunks_exact_mut(up.rank).enumerate() {
                    decoded.row(row, values);
                }
                let keys = up.turned_keys(ElementType::F16, &halves(&values)).map_err(failed)?;
                let values = matrix.map(|part| up.value_rows(part));
                let values = PackedWeight::pack_affine(&values.tensor(), up.values(), self.pool).map_err(failed)?;
                Ok((pack(keys, up.keys())?, values))
            }
        }
    }
}

fn halves(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|&value| f16_from_f32(value).to_le_bytes()).collect()
}

/// The extents of the up-projection.
#[derive(Clone, Copy, Debug)]
struct UpShape {
    heads: usize,
    nope: usize,
    value: usize,
    rank: usize,
}

impl UpShape {
    const fn rows(self) -> usize {
        self.heads * (self.nope + self.value)
    }

    const fn keys(self) -> Shape {
        Shape { rows: self.rank, columns: self.nope, copies: self.heads }
    }

    const fn values(self) -> Shape {
        Shape { rows: self.value, columns: self.rank, copies: self.heads }
    }

    /// What the rows of values have, of all heads, in the whole projection's bytes.
    fn value_rows(self, bytes: &[u8]) -> Vec<u8> {
        let row = bytes.len() / self.rows();
        let heads = bytes.chunks_exact((self.nope + self.value) * row);
        heads.flat_map(|head| &head[self.nope * row..]).copied().collect()
    }

    /// The rows of keys, those of each head turned over. Blocks lie along rows, so that turned ones would have to be
    /// made anew: they are decoded and kept in half precision.
    fn turned_keys(self, element_type: ElementType, bytes: &[u8]) -> Result<(ElementType, Vec<u8>), PackError> {
        let (element_type, bytes) = match element_type {
            ElementType::F32 | ElementType::F16 | ElementType::BF16 => {
                (element_type, std::borrow::Cow::Borrowed(bytes))
            }
            blocks => {
                let mut values = vec![0.0; self.rows() * self.rank];
                dequantise(blocks, bytes, &mut values).ok_or(PackError::Type(blocks))?;
                (ElementType::F16, std::borrow::Cow::Owned(halves(&values)))
            }
        };
        let number = if element_type == ElementType::F32 { 4 } else { 2 };
        let row = self.rank * number;
        let mut turned = Vec::with_capacity(self.heads * self.nope * row);
        for head in bytes.chunks_exact((self.nope + self.value) * row) {
            for column in (0..row).step_by(number) {
                for key in head.chunks_exact(row).take(self.nope) {
                    turned.extend_from_slice(&key[column..column + number]);
                }
            }
        }
        Ok((element_type, turned))
    }
}
