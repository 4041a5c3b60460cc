//! FP8 weights: 8-bit floats (E4M3, OCP 8-bit Floating Point 1.0) with scales per block, row or tensor.

use hwledger_kernels::bf16_from_f32;
use serde_json::Value;

use crate::error::LoadError;

use super::{HuggingFaceTensors, Stored, reversed};

/// Rows and columns that share a scale where the configuration does not say (DeepSeek-V3).
const BLOCK: [usize; 2] = [128, 128];

/// The value of an E4M3 number: no infinities, and one pattern that is no number.
fn e4m3(byte: u8) -> f32 {
    let (exponent, fraction) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let magnitude = match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => fraction * 2.0_f32.powi(-9),
        _ => (1.0 + fraction / 8.0) * 2.0_f32.powi(exponent - 7),
    };
    if byte >> 7 == 1 { -magnitude } else { magnitude }
}

impl HuggingFaceTensors {
    /// The name of the scales of a module's weight.
    pub(super) fn fp8_scale(&self, module: &str) -> Option<String> {
        let names = ["weight_scale_inv", "weight_scale"].map(|part| format!("{module}.{part}"));
        names.into_iter().find(|name| self.tensors.contains_key(name))
    }

    /// A matrix of FP8 numbers times its scales, as bfloat16.
    pub(super) fn fp8(&self, module: &str, stored: &Stored, [rows, columns]: [usize; 2]) -> Result<Vec<u8>, LoadError> {
        let name = self
            .fp8_scale(module)
            .ok_or_else(|| LoadError::Unsupported(format!("8-bit floats without a scale (`{}`)", stored.info.name)))?;
        let scales = self.numbers(&name, None)?;
        let shape = &self.stored(&name)?.info.shape;
        let [block_rows, block_columns] = if scales.len() == 1 {
            [rows, columns]
        } else if scales.len() == rows && shape.first() == Some(&(rows as u64)) {
            [1, columns]
        } else {
            self.fp8_block()
        };
        let per_row = columns.div_ceil(block_columns);
        if scales.len() != rows.div_ceil(block_rows) * per_row {
            let expected = vec![per_row as u64, rows.div_ceil(block_rows) as u64];
            return Err(LoadError::Shape { name, found: reversed(shape), expected });
        }
        let values: [f32; 256] = std::array::from_fn(|byte| e4m3(u8::try_from(byte).unwrap_or_default()));
        let mut bytes = Vec::with_capacity(rows * columns * 2);
        for (row, numbers) in self.read(stored)?.chunks_exact(columns).enumerate() {
            let scales = &scales[row / block_rows * per_row..][..per_row];
            for (numbers, scale) in numbers.chunks(block_columns).zip(scales) {
                for &number in numbers {
                    bytes.extend(bf16_from_f32(values[usize::from(number)] * scale).to_le_bytes());
                }
            }
        }
        Ok(bytes)
    }

    fn fp8_block(&self) -> [usize; 2] {
        let stated = self.config.get("quantization_config").and_then(|config| config.get("weight_block_size"));
        let extent = |index: usize| {
            let extent = stated?.get(index).and_then(Value::as_u64)?;
            usize::try_from(extent).ok().filter(|&extent| extent > 0)
        };
        [0, 1].map(|index| extent(index).unwrap_or(BLOCK[index]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_eight_bit_format() {
        // The largest, one, the smallest, and none (table 1 of the specification).
        let found = [0x7e, 0x38, 0x01, 0x80, 0xfe].map(e4m3);
        let expected = [448.0, 1.0, 2.0_f32.powi(-9), -0.0, -448.0];
        assert_eq!(found.map(f32::to_bits), expected.map(f32::to_bits));
        assert!(e4m3(0x7f).is_nan());
    }
}
