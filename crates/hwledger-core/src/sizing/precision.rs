//! Precisions: what arithmetic runs at, and the path that a quantisation scheme needs.

use serde::{Deserialize, Serialize};

use super::error::SizingError;
use crate::nearest::folded;

/// What the arithmetic units compute in; each has a peak of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// 8-bit integers.
    Int8,
    /// 8-bit floats.
    Fp8,
    /// 16-bit floats of either kind.
    Bf16,
    /// 4-bit floats with block scales.
    Fp4,
}

impl Dtype {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Fp8 => "fp8",
            Self::Bf16 => "bf16",
            Self::Fp4 => "fp4",
        }
    }
}

/// The key of a capability table: what silicon must be able to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Weights and activations as 8-bit integers.
    Int8,
    /// Weights and activations as 8-bit floats.
    Fp8,
    /// 16-bit floats; weight-only integers (AWQ, GPTQ) need the same, as they are a memory format.
    #[serde(rename = "bf16/fp16")]
    Bf16,
    /// GGUF blocks, widened before the arithmetic.
    Q4Km,
    /// 4-bit floats with block scales.
    Nvfp4,
}

/// A quantisation scheme: a name, the path that it needs, and what a weight takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct QuantScheme {
    /// Its usual spelling.
    pub name: &'static str,
    /// The capability that it needs.
    pub precision: Precision,
    /// Mean bytes of a parameter, for models whose file size is not known.
    ///
    /// `Q8_0` is 34 bytes per 32 weights, NVFP4 36 per 64, MXFP4 17 per 32, 4-bit AWQ and GPTQ 4.156
    /// bits in groups of 128. Mixtures (`Q4_K_M`, `Q4_K_S`, `Q5_K_M`) have no constant: the figure is that of
    /// Qwen3-30B-A3B's file.
    pub bytes_per_param: f64,
    /// The constant that the reference system uses, where it has one.
    pub reference_bytes_per_param: Option<f64>,
}

const fn scheme(
    name: &'static str,
    precision: Precision,
    bytes_per_param: f64,
    reference_bytes_per_param: Option<f64>,
) -> QuantScheme {
    QuantScheme { name, precision, bytes_per_param, reference_bytes_per_param }
}

/// Every scheme that has a name of its own.
pub const QUANT_SCHEMES: &[QuantScheme] = &[
    scheme("Q4_K_M", Precision::Q4Km, 0.6076, Some(0.57)),
    scheme("Q5_K_M", Precision::Q4Km, 0.7114, Some(0.68)),
    scheme("Q4_K_S", Precision::Q4Km, 0.5715, None),
    scheme("Q6_K", Precision::Q4Km, 0.8203, None),
    scheme("Q4_0", Precision::Q4Km, 0.5625, None),
    scheme("Q8_0", Precision::Q4Km, 1.0625, Some(1.04)),
    scheme("INT8_W8A8", Precision::Int8, 1.0, Some(1.0)),
    scheme("FP8", Precision::Fp8, 1.0, Some(1.0)),
    scheme("FP16", Precision::Bf16, 2.0, Some(2.0)),
    scheme("BF16", Precision::Bf16, 2.0, Some(2.0)),
    scheme("NVFP4", Precision::Nvfp4, 0.5625, None),
    scheme("MXFP4", Precision::Nvfp4, 0.53125, None),
    scheme("INT4_AWQ", Precision::Bf16, 0.5195, None),
    scheme("INT4_GPTQ", Precision::Bf16, 0.5195, None),
];

/// Other spellings, folded to letters and digits.
const ALIASES: &[(&str, &str)] = &[
    ("q4", "Q4_K_M"),
    ("q4km", "Q4_K_M"),
    ("gguf", "Q4_K_M"),
    ("int8", "INT8_W8A8"),
    ("w8a8", "INT8_W8A8"),
    ("i8", "INT8_W8A8"),
    ("f16", "FP16"),
    ("float16", "FP16"),
    ("half", "FP16"),
    ("bfloat16", "BF16"),
    ("bf16fp16", "BF16"),
    ("float8", "FP8"),
    ("fp8e4m3", "FP8"),
    ("fp4", "NVFP4"),
    ("awq", "INT4_AWQ"),
    ("awq4bit", "INT4_AWQ"),
    ("gptq", "INT4_GPTQ"),
    ("gptq4bit", "INT4_GPTQ"),
    ("w4a16", "INT4_AWQ"),
    ("int4", "INT4_AWQ"),
];

impl QuantScheme {
    /// The scheme of a name, whatever the case and the separators.
    pub fn find(name: &str) -> Result<&'static Self, SizingError> {
        let given = folded(name);
        let canonical = ALIASES.iter().find(|(alias, _)| *alias == given).map_or(given.clone(), |(_, of)| folded(of));
        QUANT_SCHEMES
            .iter()
            .find(|scheme| folded(scheme.name) == canonical)
            .ok_or_else(|| SizingError::unknown("precision", name, QUANT_SCHEMES.iter().map(|scheme| scheme.name)))
    }
}

impl Precision {
    /// All of them, in the order of capability tables.
    pub const ALL: [Self; 5] = [Self::Int8, Self::Fp8, Self::Bf16, Self::Q4Km, Self::Nvfp4];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Fp8 => "fp8",
            Self::Bf16 => "bf16/fp16",
            Self::Q4Km => "q4_km",
            Self::Nvfp4 => "nvfp4",
        }
    }

    /// The precision that a name asks for: a dtype, a capability key or a raw quantisation name.
    ///
    /// ```
    /// use hwledger_core::sizing::Precision;
    /// for name in ["fp4", "MXFP4", "nvfp4"] {
    ///     assert_eq!(Precision::find(name)?, Precision::Nvfp4);
    /// }
    /// assert_eq!(Precision::find("Q5_K_M")?, Precision::Q4Km);
    /// # Ok::<(), hwledger_core::sizing::SizingError>(())
    /// ```
    pub fn find(name: &str) -> Result<Self, SizingError> {
        QuantScheme::find(name).map(|scheme| scheme.precision)
    }
}

/// Whether the software for 4-bit floats has caught up with the silicon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fp4Maturity {
    /// Kernels reach the 4-bit peak.
    #[default]
    Mature,
    /// Kernels widen to 16 bits first: the 4-bit peak is out of reach.
    Immature,
}

/// How far up the precisions a custom tier's silicon goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrecisionRung {
    /// 8-bit integers only.
    Int8,
    /// 8-bit integers and floats.
    Int8Fp8,
    /// Those and 4-bit floats.
    Int8Fp8Fp4,
}

impl PrecisionRung {
    /// All rungs, lowest first.
    pub const ALL: [Self; 3] = [Self::Int8, Self::Int8Fp8, Self::Int8Fp8Fp4];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Int8Fp8 => "int8_fp8",
            Self::Int8Fp8Fp4 => "int8_fp8_fp4",
        }
    }

    /// The rung of a name.
    pub fn find(name: &str) -> Result<Self, SizingError> {
        let found = Self::ALL.into_iter().find(|rung| folded(rung.name()) == folded(name));
        found.ok_or_else(|| SizingError::unknown("precision rung", name, Self::ALL.into_iter().map(Self::name)))
    }

    /// What models execute in on silicon of this rung: its highest precision.
    pub const fn execution_dtype(self) -> Dtype {
        match self {
            Self::Int8 => Dtype::Int8,
            Self::Int8Fp8 => Dtype::Fp8,
            Self::Int8Fp8Fp4 => Dtype::Fp4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_only_integers_are_a_memory_format() {
        assert_eq!(Precision::find("INT4_AWQ"), Ok(Precision::Bf16));
        assert_eq!(Precision::find("gptq-4bit"), Ok(Precision::Bf16));
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = Precision::find("q4_k_n").expect_err("no such scheme");
        assert!(error.hint().is_some_and(|hint| hint.contains("Q4_K_M")), "{error:?}");
    }

    /// 34 bytes hold 32 weights of `Q8_0` (`ggml-common.h`); the crate's own block table agrees.
    #[test]
    fn widths_agree_with_the_block_types() {
        for (name, element_type) in [
            ("Q8_0", crate::ElementType::Q8_0),
            ("NVFP4", crate::ElementType::Nvfp4),
            ("MXFP4", crate::ElementType::Mxfp4),
            ("Q6_K", crate::ElementType::Q6K),
            ("Q4_0", crate::ElementType::Q4_0),
        ] {
            let scheme = QuantScheme::find(name).expect("a known scheme");
            assert!((scheme.bytes_per_param - element_type.bytes_per_element()).abs() < 1e-4, "{name}");
        }
    }
}
