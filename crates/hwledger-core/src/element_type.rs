//! Element types: how many bytes a row of values takes.

use std::fmt;
use std::str::FromStr;

macro_rules! block_types {
    ($($variant:ident $name:literal $elements:literal $bytes:literal;)*) => {
        /// How numbers are stored. Block types hold a fixed number of elements in a
        /// fixed number of bytes, scales included.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each name is the type's own name in its ecosystem")]
        pub enum ElementType {
            $($variant,)*
            /// Integers or small floats of `bits` with scales (and zero points) shared by `group`
            /// elements: AWQ, GPTQ, MLX affine, bitsandbytes, block-scaled FP8.
            Grouped {
                /// Bits of one element.
                bits: u8,
                /// Elements that share a scale.
                group: u32,
                /// Bits of scale and zero point per group.
                group_bits: u8,
            },
        }

        impl ElementType {
            /// Every type that has a name of its own.
            pub const NAMED: &'static [Self] = &[$(Self::$variant,)*];

            /// Elements and bytes of the smallest unit that is stored whole.
            pub const fn block(self) -> (u64, u64) {
                match self {
                    $(Self::$variant => ($elements, $bytes),)*
                    Self::Grouped { bits, group, group_bits } => {
                        (group as u64, (group as u64 * bits as u64 + group_bits as u64).div_ceil(8))
                    }
                }
            }

            /// The type's name as its ecosystem spells it, in lower case.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Grouped { .. } => "grouped",
                }
            }
        }
    };
}

// Elements and bytes of one block. ggml types: `ggml-common.h` of llama.cpp.
block_types! {
    F64 "f64" 1 8;
    F32 "f32" 1 4;
    F16 "f16" 1 2;
    BF16 "bf16" 1 2;
    I64 "i64" 1 8;
    I32 "i32" 1 4;
    I16 "i16" 1 2;
    I8 "i8" 1 1;
    Fp8 "fp8" 1 1;
    Q1_0 "q1_0" 128 18;
    Q2_0 "q2_0" 64 18;
    Q4_0 "q4_0" 32 18;
    Q4_1 "q4_1" 32 20;
    Q5_0 "q5_0" 32 22;
    Q5_1 "q5_1" 32 24;
    Q8_0 "q8_0" 32 34;
    Q8_1 "q8_1" 32 36;
    Q2K "q2_k" 256 84;
    Q3K "q3_k" 256 110;
    Q4K "q4_k" 256 144;
    Q5K "q5_k" 256 176;
    Q6K "q6_k" 256 210;
    Q8K "q8_k" 256 292;
    Iq1S "iq1_s" 256 50;
    Iq1M "iq1_m" 256 56;
    Iq2Xxs "iq2_xxs" 256 66;
    Iq2Xs "iq2_xs" 256 74;
    Iq2S "iq2_s" 256 82;
    Iq3Xxs "iq3_xxs" 256 98;
    Iq3S "iq3_s" 256 110;
    Iq4Nl "iq4_nl" 32 18;
    Iq4Xs "iq4_xs" 256 136;
    Tq1_0 "tq1_0" 256 54;
    Tq2_0 "tq2_0" 256 66;
    Mxfp4 "mxfp4" 32 17;
    Nvfp4 "nvfp4" 64 36;
}

impl ElementType {
    /// Bytes of `elements` contiguous values: whole blocks (saturating). Grouped integers are
    /// packed without padding; a last short group has a scale of its own.
    pub const fn row_bytes(self, elements: u64) -> u64 {
        if let Self::Grouped { bits, group, group_bits } = self {
            let groups = if group == 0 { 0 } else { elements.div_ceil(group as u64) };
            let scales = groups.saturating_mul(group_bits as u64);
            return elements.saturating_mul(bits as u64).saturating_add(scales).div_ceil(8);
        }
        let (block_elements, block_bytes) = self.block();
        elements.div_ceil(block_elements).saturating_mul(block_bytes)
    }

    /// Mean bytes of one value, scales included.
    pub const fn bytes_per_element(self) -> f64 {
        if let Self::Grouped { bits, group, group_bits } = self {
            return (bits as f64 + group_bits as f64 / group as f64) / 8.0;
        }
        let (elements, bytes) = self.block();
        bytes as f64 / elements as f64
    }

    /// Whether values are stored in blocks that share a scale.
    pub const fn is_quantised(self) -> bool {
        self.block().0 > 1
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grouped { bits, group, .. } => write!(formatter, "{bits}-bit, groups of {group}"),
            named => formatter.write_str(named.name()),
        }
    }
}

/// A name that is no element type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no element type")]
pub struct UnknownElementType(pub String);

impl FromStr for ElementType {
    type Err = UnknownElementType;

    fn from_str(text: &str) -> Result<Self, UnknownElementType> {
        let lower = text.trim().to_ascii_lowercase();
        let known = match lower.as_str() {
            "float64" | "double" => Self::F64,
            "float32" | "float" | "fp32" => Self::F32,
            "float16" | "half" | "fp16" => Self::F16,
            "bfloat16" => Self::BF16,
            "int8" => Self::I8,
            // mlx-lm's cache types: groups of 64 with two 16-bit constants weigh as much.
            "q4" => Self::Q4_0,
            "q8" => Self::Q8_0,
            "f8_e4m3" | "f8_e5m2" | "fp8_e4m3" | "fp8_e5m2" | "float8_e4m3fn" | "float8_e5m2" | "f8e4m3"
            | "fp8_e4m3fn" => Self::Fp8,
            name => {
                return Self::NAMED
                    .iter()
                    .copied()
                    .find(|known| known.name() == name)
                    .ok_or_else(|| UnknownElementType(text.to_owned()));
            }
        };
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_hold_whole_blocks() {
        assert_eq!(ElementType::Q8_0.row_bytes(1024), 1088);
        assert_eq!(ElementType::Q4K.row_bytes(4096), 2304);
        assert_eq!(ElementType::Q4_0.row_bytes(33), 36);
        assert_eq!(ElementType::Grouped { bits: 4, group: 64, group_bits: 32 }.row_bytes(64), 36);
        assert_eq!(ElementType::Grouped { bits: 8, group: 1 << 14, group_bits: 32 }.row_bytes(4096), 4100);
    }

    #[test]
    fn every_name_is_read_back() {
        for &element_type in ElementType::NAMED {
            assert_eq!(element_type.name().parse(), Ok(element_type));
        }
    }
}
