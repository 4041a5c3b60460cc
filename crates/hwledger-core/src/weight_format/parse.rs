//! Names of weight formats as their ecosystems spell them.

use std::str::FromStr;

use super::gguf::GgufFormat;
use super::{Coverage, Scheme, WeightFormat};
use crate::ElementType;
use crate::nearest::{folded, nearest};

/// A name that is no weight format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is no weight format that plans know")]
pub struct UnknownWeightFormat {
    /// The name as given.
    pub given: String,
    /// The nearest known names.
    pub suggestions: Vec<&'static str>,
}

impl UnknownWeightFormat {
    /// What may have been meant.
    pub fn hint(&self) -> String {
        format!("did you mean {}?", self.suggestions.join(", "))
    }
}

/// Per-channel scales: one per row, whose length no group exceeds.
const PER_ROW: u32 = 1 << 20;

const fn linear(bits: u8, group: u32, group_bits: u8) -> WeightFormat {
    let element_type = ElementType::Grouped { bits, group, group_bits };
    WeightFormat::Scheme(Scheme { element_type, coverage: Coverage::LinearLayers })
}

const fn mlx(bits: u8) -> WeightFormat {
    // Affine groups of 64 with a 16-bit scale and a 16-bit bias: half a bit per weight
    // (`mlx.core.quantize`; `mlx_lm.convert` default group size).
    let element_type = ElementType::Grouped { bits, group: 64, group_bits: 32 };
    WeightFormat::Scheme(Scheme { element_type, coverage: Coverage::EveryMatrix })
}

const fn block(element_type: ElementType, coverage: Coverage) -> WeightFormat {
    WeightFormat::Scheme(Scheme { element_type, coverage })
}

/// Block-scaled FP8 as DeepSeek publishes it: one 32-bit scale per 128 x 128 weights.
const FP8_BLOCK: WeightFormat = linear(8, 128 * 128, 32);
/// FP8 with one 32-bit scale per output channel (compressed-tensors `FP8_DYNAMIC`).
const FP8: WeightFormat = linear(8, PER_ROW, 32);
/// INT8 with one scale per output channel (compressed-tensors `W8A8`).
const INT8: WeightFormat = linear(8, PER_ROW, 32);
/// bitsandbytes NF4, doubly quantised: blocks of 64 share an 8-bit scale; a 32-bit scale per
/// 256 of those adds 0.002 bit, which is left out (QLoRA, section 3).
const NF4: WeightFormat = linear(4, 64, 8);
/// bitsandbytes FP4 or NF4 with 32-bit scales.
const NF4_SINGLE: WeightFormat = linear(4, 64, 32);

/// Four-bit integers in groups of 128 with a 16-bit scale and a zero point of four bits.
const fn asymmetric(bits: u8) -> WeightFormat {
    linear(bits, 128, 16 + bits)
}

/// Canonical spellings and what they mean; other spellings fold onto these.
const NAMES: &[(&str, WeightFormat)] = &[
    ("F32", WeightFormat::Plain(ElementType::F32)),
    ("FP32", WeightFormat::Plain(ElementType::F32)),
    ("float32", WeightFormat::Plain(ElementType::F32)),
    ("F16", WeightFormat::Plain(ElementType::F16)),
    ("FP16", WeightFormat::Plain(ElementType::F16)),
    ("float16", WeightFormat::Plain(ElementType::F16)),
    ("half", WeightFormat::Plain(ElementType::F16)),
    ("BF16", WeightFormat::Plain(ElementType::BF16)),
    ("bfloat16", WeightFormat::Plain(ElementType::BF16)),
    ("FP8", FP8),
    ("F8_E4M3", FP8),
    ("FP8_E4M3", FP8),
    ("float8_e4m3fn", FP8),
    ("FP8_DYNAMIC", FP8),
    ("W8A8-FP8", FP8),
    ("FP8_BLOCK", FP8_BLOCK),
    ("FP8-block-128", FP8_BLOCK),
    ("INT8", INT8),
    ("W8A8", INT8),
    ("W8A8-INT8", INT8),
    ("W8A16", linear(8, 128, 16)),
    ("GPTQ-8bit", asymmetric(8)),
    ("AWQ-8bit", asymmetric(8)),
    ("BNB-8bit", linear(8, PER_ROW, 32)),
    ("LLM.int8", linear(8, PER_ROW, 32)),
    ("AWQ-4bit", asymmetric(4)),
    ("AWQ", asymmetric(4)),
    ("GPTQ-4bit", asymmetric(4)),
    ("GPTQ", asymmetric(4)),
    ("GPTQ-3bit", asymmetric(3)),
    ("GPTQ-2bit", asymmetric(2)),
    ("AutoRound-4bit", asymmetric(4)),
    ("AutoRound", asymmetric(4)),
    ("INT4", asymmetric(4)),
    ("W4A16", linear(4, 128, 16)),
    ("W4A8", linear(4, 128, 16)),
    ("HQQ-4bit", linear(4, 64, 32)),
    ("AQLM-2bit", linear(2, 1 << 14, 32)),
    ("BNB-4bit", NF4),
    ("bnb NF4", NF4),
    ("bitsandbytes", NF4),
    ("NF4", NF4),
    ("FP4", NF4_SINGLE),
    ("MXFP4", block(ElementType::Mxfp4, Coverage::RoutedExperts)),
    ("NVFP4", block(ElementType::Nvfp4, Coverage::LinearLayersWithoutLatentAttention)),
    ("MLX-2bit", mlx(2)),
    ("MLX-3bit", mlx(3)),
    ("MLX-4bit", mlx(4)),
    ("MLX-5bit", mlx(5)),
    ("MLX-6bit", mlx(6)),
    ("MLX-8bit", mlx(8)),
    ("MLX-BF16", WeightFormat::Plain(ElementType::BF16)),
    ("MLX-F16", WeightFormat::Plain(ElementType::F16)),
    ("MLX-MXFP4", block(ElementType::Mxfp4, Coverage::EveryMatrix)),
    ("MLX-NVFP4", block(ElementType::Nvfp4, Coverage::EveryMatrix)),
];

/// Names without a method: `4bit` alone is how MLX repositories are called.
const SHORT: &[(&str, &str)] =
    &[("4bit", "MLX-4bit"), ("8bit", "MLX-8bit"), ("6bit", "MLX-6bit"), ("5bit", "MLX-5bit"), ("3bit", "MLX-3bit")];

/// `AWQ-4bit`, `awq_int4`, `gptq-int4`, `awq-w4a16`, `mlx-q4`: a method and a width in any order.
fn method_and_width(folded: &str) -> Option<&'static str> {
    let method = ["awq", "gptq", "mlx", "bnb", "bitsandbytes", "autoround", "hqq"]
        .into_iter()
        .find(|method| folded.contains(method))?;
    let rest = folded.replace(method, "");
    let width = ["8", "6", "5", "4", "3", "2"].into_iter().find(|width| rest.contains(width)).unwrap_or("4");
    let method = if method == "bitsandbytes" { "bnb" } else { method };
    let wanted = format!("{method}{width}bit");
    NAMES.iter().map(|(name, _)| *name).find(|name| self::folded(name) == wanted)
}

/// The nearest names, or the usual ones where nothing is near.
fn suggestions(text: &str) -> Vec<&'static str> {
    const MIXTURES: [&str; 8] = ["Q4_K_M", "Q4_K_S", "Q5_K_M", "Q6_K", "Q8_0", "Q4_0", "IQ4_XS", "Q3_K_M"];
    let near = nearest(text, NAMES.iter().map(|(name, _)| *name).chain(MIXTURES));
    if near.is_empty() { vec!["BF16", "FP8", "AWQ-4bit", "MLX-4bit", "Q4_K_M"] } else { near }
}

impl FromStr for WeightFormat {
    type Err = UnknownWeightFormat;

    fn from_str(text: &str) -> Result<Self, UnknownWeightFormat> {
        let trimmed = text.trim();
        // The usual names are spelled as in the table: no folding, no allocation.
        if let Some((_, format)) = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(trimmed)) {
            return Ok(*format);
        }
        let word = folded(trimmed);
        let short = SHORT.iter().find(|(short, _)| *short == word).map(|(_, name)| *name);
        let found = NAMES.iter().map(|(name, _)| *name).find(|name| folded(name) == word);
        let name = short.or(found).or_else(|| method_and_width(&word));
        let known = name.and_then(|name| NAMES.iter().find(|(known, _)| *known == name)).map(|(_, format)| *format);
        known
            .or_else(|| GgufFormat::parse(trimmed).map(Self::Gguf))
            .ok_or_else(|| UnknownWeightFormat { given: text.to_owned(), suggestions: suggestions(trimmed) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(left: &str, right: &str) {
        assert_eq!(left.parse::<WeightFormat>(), right.parse::<WeightFormat>(), "{left} and {right}");
        assert!(left.parse::<WeightFormat>().is_ok(), "{left}");
    }

    #[test]
    fn spellings_fold_onto_one_format() {
        same("awq", "AWQ-4bit");
        same("awq_int4", "AWQ-4bit");
        same("4bit-awq", "AWQ-4bit");
        same("GPTQ-Int4", "GPTQ-4bit");
        same("gptq-int8", "GPTQ-8bit");
        same("mlx_4bit", "MLX-4bit");
        same("4-bit", "MLX-4bit");
        same("bitsandbytes-4bit", "BNB-4bit");
        same("bf16", "bfloat16");
        same("fp8-e4m3", "FP8");
        same("w8a8", "INT8");
    }

    #[test]
    fn mixtures_of_gguf_are_formats_too() {
        assert!(matches!("Q4_K_M".parse(), Ok(WeightFormat::Gguf(_))));
        assert!(matches!("UD-IQ2_XXS".parse(), Ok(WeightFormat::Gguf(_))));
        assert!(matches!("BF16".parse(), Ok(WeightFormat::Plain(ElementType::BF16))));
    }

    #[test]
    fn unknown_names_get_suggestions() {
        let error = "NVPF4".parse::<WeightFormat>().expect_err("no such format");
        assert!(error.suggestions.contains(&"NVFP4"), "{error}");
        let error = "completely wrong".parse::<WeightFormat>().expect_err("no such format");
        assert!(error.suggestions.contains(&"BF16"), "{error}");
    }
}
