//! GGUF weight formats: the mixtures that `llama-quantize` writes.

mod recipe;

pub use recipe::{LayerChoice, Recipe};

use crate::ElementType;

/// A mixture by the name people give it (`Q4_K_M`), as `llama-quantize` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each name is the mixture's own")]
#[expect(non_camel_case_types, reason = "the names' underscores separate what letters cannot")]
pub enum FileType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q2_K_S,
    Q3_K_S,
    Q3_K_M,
    Q3_K_L,
    Q4_K_S,
    Q4_K_M,
    Q5_K_S,
    Q5_K_M,
    Q6_K,
    IQ1_S,
    IQ1_M,
    IQ2_XXS,
    IQ2_XS,
    IQ2_S,
    IQ2_M,
    IQ3_XXS,
    IQ3_XS,
    IQ3_S,
    IQ3_M,
    IQ4_NL,
    IQ4_XS,
    TQ1_0,
    TQ2_0,
    /// Experts in MXFP4, the rest in 8 bits.
    MXFP4,
    /// Matrices in NVFP4.
    NVFP4,
    /// One of the types that only `ik_llama.cpp` knows; see [`GgufFormat::extension`].
    Extension,
}

/// A GGUF weight format: a mixture, possibly varied by whoever published the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GgufFormat {
    /// The mixture.
    pub file_type: FileType,
    /// The bulk type where `file_type` is [`FileType::Extension`].
    pub extension: Option<ElementType>,
    /// The publisher chose types tensor by tensor (Unsloth's `UD-` and `_XL` files): sizes follow
    /// the nearest mixture only within some percent.
    pub is_dynamic: bool,
}

use FileType as T;

/// Names as they are spelled in file names, and the mixture each means.
const NAMES: &[(&str, FileType)] = &[
    ("F32", T::F32),
    ("F16", T::F16),
    ("FP16", T::F16),
    ("BF16", T::BF16),
    ("Q4_0", T::Q4_0),
    ("Q4_1", T::Q4_1),
    ("Q5_0", T::Q5_0),
    ("Q5_1", T::Q5_1),
    ("Q8_0", T::Q8_0),
    ("Q8_K", T::Q8_0),
    ("Q2_K", T::Q2_K),
    ("Q2_K_M", T::Q2_K),
    ("Q2_K_L", T::Q2_K),
    ("Q2_K_S", T::Q2_K_S),
    ("Q3_K", T::Q3_K_M),
    ("Q3_K_S", T::Q3_K_S),
    ("Q3_K_M", T::Q3_K_M),
    ("Q3_K_L", T::Q3_K_L),
    ("Q4_K", T::Q4_K_M),
    ("Q4_K_S", T::Q4_K_S),
    ("Q4_K_M", T::Q4_K_M),
    ("Q4_K_L", T::Q4_K_M),
    ("Q5_K", T::Q5_K_M),
    ("Q5_K_S", T::Q5_K_S),
    ("Q5_K_M", T::Q5_K_M),
    ("Q5_K_L", T::Q5_K_M),
    ("Q6_K", T::Q6_K),
    ("Q6_K_L", T::Q6_K),
    ("IQ1_S", T::IQ1_S),
    ("IQ1_M", T::IQ1_M),
    ("IQ2_XXS", T::IQ2_XXS),
    ("IQ2_XS", T::IQ2_XS),
    ("IQ2_S", T::IQ2_S),
    ("IQ2_M", T::IQ2_M),
    ("IQ3_XXS", T::IQ3_XXS),
    ("IQ3_XS", T::IQ3_XS),
    ("IQ3_S", T::IQ3_S),
    ("IQ3_M", T::IQ3_M),
    ("IQ4_NL", T::IQ4_NL),
    ("IQ4_XS", T::IQ4_XS),
    ("TQ1_0", T::TQ1_0),
    ("TQ2_0", T::TQ2_0),
    ("MXFP4", T::MXFP4),
    ("MXFP4_MOE", T::MXFP4),
    ("NVFP4", T::NVFP4),
];

/// Types of `ik_llama.cpp`: bits of an element, elements that share scales, bits of those scales.
/// `ggml-common.h` of `ik_llama.cpp` (block sizes 76, 110, 144, 176 and 212 bytes per 256; the KS
/// types add four bytes per row, which is left out as less than 0.1 %).
const EXTENSIONS: &[(&str, u8, u32, u8)] = &[
    ("IQ2_K", 2, 256, 96),
    ("IQ3_K", 3, 256, 112),
    ("IQ4_K", 4, 256, 128),
    ("IQ5_K", 5, 256, 128),
    ("IQ6_K", 6, 256, 160),
    ("IQ2_KS", 2, 256, 48),
    ("IQ2_KL", 2, 256, 176),
    ("IQ3_KS", 3, 256, 48),
    ("IQ4_KS", 4, 256, 64),
    ("IQ5_KS", 5, 256, 64),
    ("IQ4_KSS", 4, 256, 0),
    ("IQ1_KT", 1, 256, 192),
    ("IQ2_KT", 2, 256, 32),
    ("IQ3_KT", 3, 256, 32),
    ("IQ4_KT", 4, 256, 0),
];

impl GgufFormat {
    /// The format of a name as files and people spell it: case, `UD-`, `_XL` and the
    /// interleaving suffixes `_R4`, `_R8` (same size, other order) do not matter.
    pub fn parse(name: &str) -> Option<Self> {
        let mut upper = name.trim().to_ascii_uppercase().replace('-', "_");
        let mut is_dynamic = false;
        if let Some(rest) = upper.strip_prefix("UD_") {
            upper = rest.to_owned();
            is_dynamic = true;
        }
        if upper.ends_with("_XL") {
            upper.truncate(upper.len() - 3);
            is_dynamic = true;
        }
        for suffix in ["_R4", "_R8", "_R16"] {
            if let Some(rest) = upper.strip_suffix(suffix) {
                upper = rest.to_owned();
            }
        }
        if let Some(&(_, file_type)) = NAMES.iter().find(|(known, _)| *known == upper) {
            return Some(Self { file_type, extension: None, is_dynamic });
        }
        let &(_, bits, group, group_bits) = EXTENSIONS.iter().find(|(known, ..)| *known == upper)?;
        let extension = Some(ElementType::Grouped { bits, group, group_bits });
        Some(Self { file_type: T::Extension, extension, is_dynamic: true })
    }

    /// The type of most matrices, before bumps and fallbacks.
    pub fn bulk_type(self) -> ElementType {
        match self.file_type {
            T::F32 => ElementType::F32,
            T::F16 => ElementType::F16,
            T::BF16 => ElementType::BF16,
            T::Q4_0 => ElementType::Q4_0,
            T::Q4_1 => ElementType::Q4_1,
            T::Q5_0 => ElementType::Q5_0,
            T::Q5_1 => ElementType::Q5_1,
            T::Q8_0 => ElementType::Q8_0,
            T::Q2_K | T::Q2_K_S => ElementType::Q2K,
            T::Q3_K_S | T::Q3_K_M | T::Q3_K_L => ElementType::Q3K,
            T::Q4_K_S | T::Q4_K_M => ElementType::Q4K,
            T::Q5_K_S | T::Q5_K_M => ElementType::Q5K,
            T::Q6_K => ElementType::Q6K,
            T::IQ1_S => ElementType::Iq1S,
            T::IQ1_M => ElementType::Iq1M,
            T::IQ2_XXS => ElementType::Iq2Xxs,
            T::IQ2_XS | T::IQ2_S => ElementType::Iq2Xs,
            T::IQ2_M => ElementType::Iq2S,
            T::IQ3_XXS => ElementType::Iq3Xxs,
            T::IQ3_XS | T::IQ3_S | T::IQ3_M => ElementType::Iq3S,
            T::IQ4_NL => ElementType::Iq4Nl,
            T::IQ4_XS => ElementType::Iq4Xs,
            T::TQ1_0 => ElementType::Tq1_0,
            T::TQ2_0 => ElementType::Tq2_0,
            T::MXFP4 => ElementType::Mxfp4,
            T::NVFP4 => ElementType::Nvfp4,
            T::Extension => self.extension.unwrap_or(ElementType::Q4K),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_type(name: &str) -> Option<FileType> {
        GgufFormat::parse(name).map(|format| format.file_type)
    }

    #[test]
    fn names_of_files_are_understood() {
        assert_eq!(file_type("Q4_K_M"), Some(T::Q4_K_M));
        assert_eq!(file_type("iq4_xs"), Some(T::IQ4_XS));
        assert_eq!(file_type("UD-Q4_K_XL"), Some(T::Q4_K_M));
        assert_eq!(file_type("Q8_0_R8"), Some(T::Q8_0));
        assert_eq!(file_type("AWQ-4bit"), None);
        assert!(GgufFormat::parse("UD-Q4_K_XL").is_some_and(|format| format.is_dynamic));
    }

    #[test]
    fn extensions_have_the_bits_per_weight_of_their_names() {
        // ik_llama.cpp's own listing: IQ2_K 2.375, IQ3_K 3.4375, IQ4_K 4.5, IQ5_K 5.5, IQ6_K 6.625.
        for (name, bits) in
            [("IQ2_K_R4", 2.375), ("IQ3_K", 3.4375), ("IQ4_K_R4", 4.5), ("IQ5_K", 5.5), ("IQ6_K", 6.625)]
        {
            let element_type = GgufFormat::parse(name).unwrap().bulk_type();
            assert!((element_type.bytes_per_element() * 8.0 - bits).abs() < 1e-9, "{name}");
        }
    }
}
