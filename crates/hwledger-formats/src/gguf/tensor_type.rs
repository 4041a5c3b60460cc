//! ggml's numbers for element types.

use hwledger_core::ElementType;

/// A type number that names nothing that can be planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    /// A type that llama.cpp has removed.
    #[error("the tensor type {id} (`{name}`) was removed from llama.cpp; hint: {instead}")]
    Removed {
        /// Its number.
        id: u32,
        /// Its former name.
        name: &'static str,
        /// What to do.
        instead: &'static str,
    },
    /// A number that no type has.
    #[error("there is no tensor type {0}; hint: the file may be of a newer llama.cpp or of a fork")]
    Unknown(u32),
}

/// The element type with ggml's number `id` (`enum ggml_type` of `ggml.h`, llama.cpp of autumn 2026).
pub const fn element_type(id: u32) -> Result<ElementType, TypeError> {
    const REPACK: &str = "use `Q4_0`, which is repacked while loading";
    const REPACK_NL: &str = "use `IQ4_NL`, which is repacked while loading";
    let known = match id {
        0 => ElementType::F32,
        1 => ElementType::F16,
        2 => ElementType::Q4_0,
        3 => ElementType::Q4_1,
        4 => return Err(TypeError::Removed { id, name: "Q4_2", instead: "quantise the model again" }),
        5 => return Err(TypeError::Removed { id, name: "Q4_3", instead: "quantise the model again" }),
        6 => ElementType::Q5_0,
        7 => ElementType::Q5_1,
        8 => ElementType::Q8_0,
        9 => ElementType::Q8_1,
        10 => ElementType::Q2K,
        11 => ElementType::Q3K,
        12 => ElementType::Q4K,
        13 => ElementType::Q5K,
        14 => ElementType::Q6K,
        15 => ElementType::Q8K,
        16 => ElementType::Iq2Xxs,
        17 => ElementType::Iq2Xs,
        18 => ElementType::Iq3Xxs,
        19 => ElementType::Iq1S,
        20 => ElementType::Iq4Nl,
        21 => ElementType::Iq3S,
        22 => ElementType::Iq2S,
        23 => ElementType::Iq4Xs,
        24 => ElementType::I8,
        25 => ElementType::I16,
        26 => ElementType::I32,
        27 => ElementType::I64,
        28 => ElementType::F64,
        29 => ElementType::Iq1M,
        30 => ElementType::BF16,
        31 => return Err(TypeError::Removed { id, name: "Q4_0_4_4", instead: REPACK }),
        32 => return Err(TypeError::Removed { id, name: "Q4_0_4_8", instead: REPACK }),
        33 => return Err(TypeError::Removed { id, name: "Q4_0_8_8", instead: REPACK }),
        34 => ElementType::Tq1_0,
        35 => ElementType::Tq2_0,
        36 => return Err(TypeError::Removed { id, name: "IQ4_NL_4_4", instead: REPACK_NL }),
        37 => return Err(TypeError::Removed { id, name: "IQ4_NL_4_8", instead: REPACK_NL }),
        38 => return Err(TypeError::Removed { id, name: "IQ4_NL_8_8", instead: REPACK_NL }),
        39 => ElementType::Mxfp4,
        40 => ElementType::Nvfp4,
        41 => ElementType::Q1_0,
        42 => ElementType::Q2_0,
        _ => return Err(TypeError::Unknown(id)),
    };
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers, block lengths and block sizes as ggml's type table states them.
    #[test]
    fn blocks_are_those_of_ggml() {
        let table = [
            (0, 1, 4),
            (1, 1, 2),
            (2, 32, 18),
            (3, 32, 20),
            (6, 32, 22),
            (7, 32, 24),
            (8, 32, 34),
            (9, 32, 36),
            (10, 256, 84),
            (11, 256, 110),
            (12, 256, 144),
            (13, 256, 176),
            (14, 256, 210),
            (15, 256, 292),
            (16, 256, 66),
            (17, 256, 74),
            (18, 256, 98),
            (19, 256, 50),
            (20, 32, 18),
            (21, 256, 110),
            (22, 256, 82),
            (23, 256, 136),
            (24, 1, 1),
            (25, 1, 2),
            (26, 1, 4),
            (27, 1, 8),
            (28, 1, 8),
            (29, 256, 56),
            (30, 1, 2),
            (34, 256, 54),
            (35, 256, 66),
            (39, 32, 17),
            (40, 64, 36),
            (41, 128, 18),
            (42, 64, 18),
        ];
        for (id, elements, bytes) in table {
            assert_eq!(element_type(id).map(ElementType::block), Ok((elements, bytes)), "type {id}");
        }
    }

    #[test]
    fn removed_types_are_named() {
        let error = element_type(31).unwrap_err().to_string();
        assert!(error.contains("Q4_0_4_4") && error.contains("hint:"), "{error}");
        assert_eq!(element_type(43), Err(TypeError::Unknown(43)));
        assert_eq!(element_type(u32::MAX), Err(TypeError::Unknown(u32::MAX)));
    }
}
