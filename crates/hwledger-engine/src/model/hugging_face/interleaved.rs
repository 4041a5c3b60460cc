//! The experts of gpt-oss: gate and up in turns; plain ones with inputs before outputs, or 4-bit floats in blocks.
//!
//! Source: transformers `modeling_gpt_oss.py` (`GptOssExperts`) and `integrations/mxfp4.py`.

use hwledger_core::ElementType;
use hwledger_kernels::Shape;

use crate::error::LoadError;

use super::HuggingFaceTensors;
use super::matrix::check_shape;
use super::names::OurName;

/// Numbers of one block of 4-bit floats, and its bytes without the scale.
const BLOCK: usize = 32;
const BLOCK_BYTES: usize = BLOCK / 2;

impl HuggingFaceTensors {
    /// The module of experts that are held so; none for other tensors.
    pub(super) fn interleaved(&self, name: OurName<'_>) -> Option<String> {
        let part = match (name.stem, name.kind) {
            ("ffn_gate_up_exps", "weight") => "gate_up_proj",
            ("ffn_down_exps", "weight") => "down_proj",
            _ => return None,
        };
        let module = format!("model.layers.{}.mlp.experts.{part}", name.layer?);
        let has = |name: &str| self.tensors.contains_key(name);
        (self.family.interleaves_experts && (has(&module) || has(&format!("{module}_blocks")))).then_some(module)
    }

    /// The biases of gate or up, which lie in turns.
    pub(super) fn interleaved_bias(
        &self,
        name: OurName<'_>,
        expected: Option<u64>,
    ) -> Result<Option<Vec<f32>>, LoadError> {
        let first = match (name.stem, name.kind) {
            ("ffn_gate_exps", "bias") => 0,
            ("ffn_up_exps", "bias") => 1,
            _ => return Ok(None),
        };
        let Some(layer) = name.layer else { return Ok(None) };
        let both = format!("model.layers.{layer}.mlp.experts.gate_up_proj_bias");
        if !self.family.interleaves_experts || !self.tensors.contains_key(&both) {
            return Ok(None);
        }
        let values = self.numbers(&both, expected.map(|expected| expected.saturating_mul(2)))?;
        Ok(Some(values.into_iter().skip(first).step_by(2).collect()))
    }

    /// Such experts as rows of outputs, gates before ups.
    pub(super) fn interleaved_matrix(
        &self,
        module: &str,
        name: OurName<'_>,
        shape: Shape,
    ) -> Result<(ElementType, Vec<u8>), LoadError> {
        let is_in_turns = name.stem == "ffn_gate_up_exps";
        // Row `row` of the result is this row of the file.
        let row_of = |row: usize| match (is_in_turns, row.checked_sub(shape.rows / 2)) {
            (false, _) => row,
            (true, None) => 2 * row,
            (true, Some(up)) => 2 * up + 1,
        };
        if self.tensors.contains_key(module) {
            self.transposed(module, shape, row_of)
        } else {
            self.blocks(module, shape, row_of)
        }
    }

    /// `[expert][input][output]` to `[expert][output][input]`.
    fn transposed(
        &self,
        module: &str,
        shape: Shape,
        row_of: impl Fn(usize) -> usize,
    ) -> Result<(ElementType, Vec<u8>), LoadError> {
        let stored = self.stored(module)?;
        let across = Shape { rows: shape.columns, columns: shape.rows, copies: shape.copies };
        check_shape(stored, across, across.columns)?;
        let element_type = stored.info.element_type;
        let (ElementType::F32 | ElementType::F16 | ElementType::BF16) = element_type else {
            return Err(LoadError::Unsupported(format!("tensors of the type {} (`{module}`)", stored.info.dtype)));
        };
        let size = if element_type == ElementType::F32 { 4 } else { 2 };
        let bytes = self.read(stored)?;
        let mut turned = Vec::with_capacity(bytes.len());
        for expert in bytes.chunks_exact(shape.rows * shape.columns * size) {
            for row in (0..shape.rows).map(&row_of) {
                for column in 0..shape.columns {
                    turned.extend_from_slice(&expert[(column * shape.rows + row) * size..][..size]);
                }
            }
        }
        Ok((element_type, turned))
    }

    /// Blocks of 4-bit floats, two neighbours in a byte, with their scales apart, to ggml's `MXFP4`.
    fn blocks(
        &self,
        module: &str,
        shape: Shape,
        row_of: impl Fn(usize) -> usize,
    ) -> Result<(ElementType, Vec<u8>), LoadError> {
        let [blocks, scales] = ["blocks", "scales"].map(|part| self.stored(&format!("{module}_{part}")));
        let (blocks, scales) = (blocks?, scales?);
        let per_row = shape.columns / BLOCK;
        let extents = [shape.copies, shape.rows, per_row, BLOCK_BYTES].map(|extent| extent as u64);
        for (stored, expected) in [(blocks, &extents[..]), (scales, &extents[..3])] {
            if *stored.info.shape != *expected || &*stored.info.dtype != "U8" {
                return Err(LoadError::Shape {
                    name: stored.info.name.clone(),
                    found: super::reversed(&stored.info.shape),
                    expected: super::reversed(expected),
                });
            }
        }
        let (numbers, exponents) = (self.read(blocks)?, self.read(scales)?);
        let mut packed = Vec::with_capacity(numbers.len() + exponents.len());
        for expert in 0..shape.copies {
            for row in (0..shape.rows).map(&row_of) {
                for block in (0..per_row).map(|block| (expert * shape.rows + row) * per_row + block) {
                    packed.push(exponents[block]);
                    packed.extend(halves_apart(&numbers[block * BLOCK_BYTES..][..BLOCK_BYTES]));
                }
            }
        }
        Ok((ElementType::Mxfp4, packed))
    }
}

/// Numbers of which neighbours share a byte, so that number `i` shares one with number `i + 16`.
fn halves_apart(bytes: &[u8]) -> [u8; BLOCK_BYTES] {
    let number = |index: usize| bytes[index / 2] >> (4 * (index % 2)) & 15;
    std::array::from_fn(|index| number(index) | number(index + BLOCK_BYTES) << 4)
}
